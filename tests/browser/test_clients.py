# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What people see in the two clients of Tryton, in French and in English.

With the environment variable TRYCOTON_SCREENSHOTS the pictures of the
screens are left in the folder that it names, doc/images for those of the
documentation; stage.py tells about TRYCOTON_DEMO."""
import contextlib
import functools
import os
import re
import shutil
import tempfile
import unittest
import xml.etree.ElementTree as ET
from pathlib import Path

from trycoton.command.instance import Instance
from trycoton.command.template import ROOT

from . import clients
from .desktop import Desktop
from .languages import OURS, foreign, french, word
from .stage import Stage, demonstration
from .web import Web

COOPERATION = ('cooperative_edi', 'menu_cooperative')


def setUpModule():
    global folder, demo, absent, installed
    absent, installed = {}, {}
    for client in [clients.desktop, clients.web]:
        try:
            installed[client.__name__] = client()
        except clients.Absent as exception:
            absent[client.__name__] = str(exception)
    if not installed:
        raise unittest.SkipTest(f"NO CLIENT OF TRYTON IS TESTED: {absent}")
    temporary = tempfile.TemporaryDirectory()
    unittest.addModuleCleanup(temporary.cleanup)
    folder = Path(temporary.name)
    demo = demonstration(folder)


class ClientTestCase(unittest.TestCase):
    "Test what is seen in a client"
    client = None

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if cls.client in absent:
            raise unittest.SkipTest(
                f"THE {cls.client.upper()} CLIENT IS NOT TESTED: "
                f"{absent[cls.client]}")

    def assertSeen(self, seen, *texts, language='fr'):
        "All the texts are seen, nothing is in another language"
        # The clients end labels each in its way
        seen = [re.sub(r'\s*:$', '', t) for t in seen]
        for text in texts:
            self.assertIn(text, seen)
        self.assertFalse(
            foreign(language).intersection(seen), msg=f"not in {language}")

    def picture(self, name):
        "Return the path of a picture, to be taken"
        kept = os.environ.get('TRYCOTON_SCREENSHOTS')
        base = Path(kept) if kept else folder
        base.mkdir(parents=True, exist_ok=True)
        return base / f'{self.client}-{name}.png'

    def assertPicture(self, path):
        "The picture shows something"
        self.assertEqual(path.read_bytes()[:8], b'\x89PNG\r\n\x1a\n')
        # A uniform one has 5 kB
        self.assertGreater(path.stat().st_size, 15_000)


class DesktopTestCase(ClientTestCase):
    "Test the desktop client"
    client = 'desktop'

    def _test(self, model, name, screenshot):
        stage = Stage(folder / name, demo)
        instance_name, id_ = stage.origin(model, 'order_change')
        login = stage.logins[instance_name]
        with stage.serve(instance_name) as instance, \
                contextlib.closing(Desktop(
                        installed['desktop'], folder / name, instance,
                        login['login'], f'model/{model}/{id_}')) as desktop:
            desktop.login(login['password'])
            seen = desktop.look()
            self.assertSeen(
                seen,
                french('cooperative_edi', f'field:{model},relation:'),
                french('cooperative_edi', f'field:{model},edi_state:'))
            titles = [t for t in desktop.windows() if t]
            self.assertTrue(
                any(instance.company in t for t in titles), msg=titles)
            first = self.picture(name)
            desktop.screenshot(first)
            self.assertPicture(first)

            exchanges = french(
                'cooperative_edi', f'field:{model},edi_exchanges:')
            desktop.click(desktop.find(exchanges))
            other = desktop.look()
            self.assertSeen(
                other, exchanges,
                french('cooperative_edi',
                    'field:cooperative.edi.exchange,answer:'),
                french('cooperative_edi',
                    'selection:cooperative.edi.message,kind:', "Order"))
            self.assertTrue(
                any("Il n'en reste plus assez." in t for t in other), other)
            second = folder / f'{name}-exchanges.png'
            desktop.screenshot(second)
            self.assertPicture(second)
            self.assertNotEqual(first.read_bytes(), second.read_bytes())
            if screenshot == 'exchanges':
                shutil.copyfile(second, first)

    def test_purchase(self):
        "The buyer sees the purchase with the answer to it"
        self._test('purchase.purchase', 'purchase', 'exchanges')

    def test_sale(self):
        "The offerer sees the sale that the order became"
        self._test('sale.sale', 'sale', 'form')


class WebTestCase(ClientTestCase):
    "Test the web client"
    client = 'web'

    @contextlib.contextmanager
    def browse(self, name, language='fr'):
        "Serve the instance and yield the client once logged in"
        root, driver = installed['web']
        stage = Stage(folder / self.id(), demo, root)
        login = stage.logins[name]
        with stage.serve(name, language) as instance, \
                contextlib.closing(Web(driver)) as web:
            web.login(instance, login['login'], login['password'])
            yield web
            self.assertEqual(web.errors(), [])

    def actor(self, role):
        return Stage(folder, demo).actor(role)

    def test_members(self):
        "The manager sees the members"
        model = 'cooperative.community.membership'
        labels = [
            french('cooperative_community', f'field:{model},{name}:')
            for name in ['identifier', 'offerer', 'buyer', 'state']]
        active = french(
            'cooperative_community', f'selection:{model},state:', "Active")
        member = Instance(demo, Stage(folder, demo).record(
                'sale_sale', 'number')[0]).company
        with self.browse(self.actor('community')) as web:
            web.menu(*path(('cooperative_community', 'menu_membership')))
            web.part(french(
                    'cooperative_community',
                    'model:ir.action.act_window.domain,'
                    'name:act_membership_domain5'))
            self.assertSeen(web.look(), *labels, active, member)
            picture = self.picture('members')
            web.screenshot(picture)
            self.assertPicture(picture)

            web.row(member)
            self.assertSeen(
                web.look(), *labels, active, member,
                *(french('cooperative_community', c) for c in [
                        f'field:{model},charter_date:',
                        f'field:{model},fee_invoice:',
                        f'field:{model},commissions:']))

    def test_log(self):
        "The trust party sees what is in the log"
        model = 'cooperative.trust.log.leaf'
        with self.browse(self.actor('trust')) as web:
            web.menu(*path(('cooperative_trust', 'menu_leaf')))
            web.part(french(
                    'cooperative_trust',
                    'model:ir.action.act_window.domain,'
                    'name:act_leaf_domain2'))
            self.assertSeen(
                web.look(),
                *(french('cooperative_trust', f'field:{model},{name}:')
                    for name in [
                        'index', 'event', 'sender', 'recipient', 'message']),
                *(french(
                        'cooperative_trust', f'selection:{model},event:', e)
                    for e in ["Submission", "Delivery"]))
            picture = self.picture('log')
            web.screenshot(picture)
            self.assertPicture(picture)

    def test_french(self):
        "Each of our menus opens, in French"
        self._test_menus('fr')

    def test_english(self):
        "Each of our menus opens, in English"
        self._test_menus('en')

    def _test_menus(self, language):
        opened = set()
        for name in [
                self.actor('trust'), self.actor('community'),
                Stage(folder, demo).record(
                    'purchase_purchase', 'number')[0]]:
            with self.browse(name, language) as web:
                for menu in menus():
                    names = path(menu, language)
                    with self.subTest(instance=name, menu=names):
                        if web.has_menu(*names):
                            web.menu(*names)
                            self.assertSeen(web.look(), language=language)
                            self.assertEqual(web.errors(), [])
                            opened.add(menu)
        # Of an offerer who buys nothing, and the configuration of others
        self.assertEqual(set(menus()) - opened, set())


@functools.cache
def _items():
    "Return what opens each menu and its parent, by module and identifier"
    items = {}
    for module in OURS:
        for file in sorted((ROOT / 'modules' / module).glob('*.xml')):
            for node in ET.parse(file).iter('menuitem'):
                parent = node.get('parent')
                if parent:
                    parent = (
                        tuple(parent.split('.')) if '.' in parent
                        else (module, parent))
                items[module, node.get('id')] = node.get('action'), parent
    return items


def menus():
    "Return the menus that open a window, as module and identifier"
    return [
        m for m, (action, parent) in _items().items()
        if action and action.startswith('act_')
        and path(m)[0] == path(COOPERATION)[0]]


def path(menu, language='fr'):
    "Return the names of the menus to open one after the other"
    items, result = _items(), []
    while menu in items:
        module, id_ = menu
        result.insert(
            0, word(language, module, f'model:ir.ui.menu,name:{id_}'))
        _, menu = items[menu]
    return result
