# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
import datetime as dt
import json
import os
import stat
import tempfile
import time
import unittest
from pathlib import Path
from unittest.mock import patch

from trycoton.command.client import PASSWORD, Client
from trycoton.command.demo.actor import MANAGER_GROUPS
from trycoton.command.demo.world import free_port
from trycoton.command.instance import Instance, Specification, create
from trycoton.command.server import Server

from .test_main import call

MEMBERS = """\
Nom;Rôles;SIREN;TVA;Courriel
Ferme des Trois Chênes;offreur;521 783 415;FR50521783415;f@chenes.example
Jean-Noël Cœur;demandeur;;;
"""
OFFERS = """\
Vendeur;Référence;Désignation;Catégorie;Nature;Unité;Prix HT;TVA;Quantité
Ferme des Trois Chênes;POM;Pommes;Fruits;bien;kg;1,45;5,5 %;400
521783415;VISITE;Visite de la ferme;;service;heure;20;20 %;
"""


class CommandsTestCase(unittest.TestCase):
    "Test the commands on a community and its members"

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = Path(folder.name)
        cls.host = cls.folder / 'host'
        cls.members = cls.folder / 'members.csv'
        cls.members.write_text(MEMBERS, encoding='utf-8-sig')
        cls.offers = cls.folder / 'offers.csv'
        instance, = create(cls.folder, [Specification(
                    name='halle', role='community', company="La Halle",
                    siren='901255331', port=free_port(), local=True, retry=1,
                    fetch=1,
                    users=[{
                            'login': 'manager',
                            'name': "Manager",
                            'password': 'secret',
                            'groups': MANAGER_GROUPS,
                            }])])
        cls.community = cls.start(instance)
        cls.manager = Client(instance, 'manager', 'secret')
        cls.addClassCleanup(cls.manager.close)
        cls.fingerprint = cls.found(cls.manager)
        cls.onboarded = cls.onboard('--fingerprint', cls.fingerprint, '--yes')
        secrets = json.loads(
            (cls.host / 'onboard-secrets.json').read_text())['members']
        cls.user = secrets[0]
        cls.password_file = cls.folder / 'password'
        cls.password_file.write_text(cls.user['password'] + '\n')

    @classmethod
    def start(cls, instance):
        server = Server(instance.folder, instance.name)
        cls.addClassCleanup(server.stop)
        return server.start().wait_ready()

    @classmethod
    def found(cls, client):
        Identity = client.model('cooperative.edi.identity')
        Community = client.model('cooperative.community')
        identity = Identity(identifier='0225:901255331', kind='community')
        identity.save()
        client.wizard(
            'cooperative.edi.identity.generate', [identity]).execute('end')
        Community(
            name="La Halle", charter="Entraide.",
            charter_date=dt.date.today()).save()
        identity.reload()
        return identity.fingerprint

    @classmethod
    def onboard(cls, *args, members=None):
        return call(
            'onboard', str(members or cls.members), '--json', '--folder',
            str(cls.host), '--community',
            cls.community.instance.cooperative_url, *args)

    def command(self, *args, instance='ferme_des', password=None):
        file = self.password_file
        if password:
            file = self.folder / 'other'
            file.write_text(password)
        return call(
            *args, '--json', '--folder', str(self.host), '--instance',
            instance, '--user', self.user['login'], '--password-file',
            str(file))

    def import_(self, *args, text=OFFERS, **options):
        self.offers.write_text(text, encoding='utf-8')
        return self.command(
            'offers', 'import', str(self.offers), *args, **options)

    def assertFails(self, result, text):
        status, out, errors = result
        self.assertEqual(status, 2)
        self.assertIn(text, json.loads(out)['error'])
        self.assertNotIn('Traceback', errors)

    def client(self):
        return Client(
            Instance(self.host, 'ferme_des'), self.user['login'],
            self.user['password'])

    def test_onboard(self):
        "Test the members are set up and applied"
        status, out, errors = self.onboarded
        self.assertEqual(status, 0, errors)
        self.assertIn("2/2", errors)
        value = json.loads(out)
        self.assertEqual(
            value['community']['fingerprint'], self.fingerprint)
        self.assertEqual(
            [(m['instance'], m['identifier'], m['state'])
                for m in value['members']], [
                ('ferme_des', '0225:521783415', 'applied'),
                ('jean_noel', '0225:901255331_2', 'applied')])
        for name in ['onboard-secrets.json', 'onboard.json']:
            mode = (self.host / name).stat().st_mode
            self.assertEqual(stat.S_IMODE(mode), 0o600)
        self.assertEqual(
            value['secrets'], str(self.host / 'onboard-secrets.json'))
        self.assertEqual(len(self.user['recovery_key']), 64)
        self.assertNotIn(self.user['password'], out + errors)
        self.assertNotIn(self.user['recovery_key'], out + errors)
        self.assertNotIn(
            self.user['password'], (self.host / 'onboard.json').read_text())
        self.assertEqual(
            {(m.identifier, m.offerer, m.buyer) for m in self.manager.find(
                    'cooperative.community.membership')}, {
                ('0225:521783415', True, False),
                ('0225:901255331_2', False, True)})

    def test_onboard_again(self):
        "Test what was interrupted is continued"
        status, out, errors = self.onboard(
            '--fingerprint', self.fingerprint, '--yes')
        self.assertEqual(status, 0, errors)
        self.assertEqual(
            [m['state'] for m in json.loads(out)['members']],
            ['skipped', 'skipped'])

        path = self.host / 'onboard.json'
        kept = path.read_text()
        state = json.loads(kept)
        # Ended after the application was sent
        state['members'][1]['applied'] = []
        path.write_text(json.dumps(state))
        status, out, errors = self.onboard(
            '--fingerprint', self.fingerprint, '--yes')
        self.assertEqual(status, 0, errors)
        self.assertIn("had already applied", errors)
        self.assertEqual(
            [m['state'] for m in json.loads(out)['members']],
            ['skipped', 'skipped'])
        self.assertEqual(json.loads(path.read_text()), json.loads(kept))

    def test_onboard_errors(self):
        "Test nothing is made of what is wrong"
        other = self.folder / 'other.csv'
        other.write_text(
            'name;roles;colour\nA;buyer;red\n', encoding='utf-8')
        self.assertFails(
            self.onboard('--fingerprint', self.fingerprint, members=other),
            'line 1: "colour": no column has this heading')
        other.write_text('name;roles\nA;buyer\n', encoding='utf-8')
        for args, text in [
                (['--fingerprint', 'abcd', '--yes'],
                    'the fingerprint of La Halle is not "abcd"'),
                (['--yes'], "give --fingerprint"),
                (['--fingerprint', self.fingerprint], "give --yes"),
                (['--community', 'http://127.0.0.1:9/x'], "does not answer"),
                (['--community', f'{self.community.instance.url}x'],
                    "there is no community at"),
                (['--community', 'file:///etc/passwd'],
                    "must begin with https://")]:
            with self.subTest(args), \
                    patch('sys.stdin.isatty', return_value=False):
                self.assertFails(self.onboard(*args, members=other), text)
        self.assertEqual(len(Instance.all(self.host)), 2)

    def test_onboard_dry_run(self):
        "Test nothing is made when nothing shall be"
        other = self.folder / 'plan.csv'
        other.write_text(
            MEMBERS + 'A;buyer;;;\n', encoding='utf-8')
        status, out, _ = self.onboard('--dry-run', members=other)
        self.assertEqual(status, 0)
        self.assertEqual(
            [(m['instance'], m['state'])
                for m in json.loads(out)['members']], [
                ('ferme_des', 'skipped'), ('jean_noel', 'skipped'),
                ('a', 'planned')])
        self.assertEqual(len(Instance.all(self.host)), 2)

    def test_instance(self):
        "Test who speaks to which instance"
        self.assertFails(
            self.import_(instance='nobody'),
            "there is no instance nobody in")
        empty = self.folder / 'empty'
        empty.touch()
        for args, text in [
                (['--password-file', str(empty)], "holds no password"),
                ([], f"the environment variable {PASSWORD}")]:
            with self.subTest(args), \
                    patch.dict(os.environ), \
                    patch('sys.stdin.isatty', return_value=False):
                os.environ.pop(PASSWORD, None)
                self.assertFails(
                    call('evidence', 'export', '--json', '--folder',
                        str(self.host), '--instance', 'ferme_des',
                        '--sale', '1', *args), text)

    def test_offers_and_evidence(self):
        "Test offers are entered, all or none"
        # Started for the time of the command
        status, out, errors = self.import_()
        self.assertEqual(status, 0, errors)
        self.assertIn("is started", errors)
        value = json.loads(out)
        self.assertEqual(value['community'], '0225:901255331')
        self.assertEqual(
            [(o['line'], o['code'], o['result']) for o in value['offers']],
            [(2, 'POM', 'created'), (3, 'VISITE', 'created')])
        self.assertIsNone(Instance(self.host, 'ferme_des').pid)

        self.start(Instance(self.host, 'ferme_des'))
        client = self.client()
        self.addCleanup(client.close)
        self._test_entered(client)
        self._test_errors(client)
        self._test_all_or_none(client)
        self._test_submit(client)
        self._test_evidence_errors()

    def _test_entered(self, client):
        offer, = client.find('cooperative.offer', ('code', '=', 'POM'))
        self.assertEqual(
            (offer.name, offer.state, offer.unit.symbol, str(offer.price)),
            ("Pommes", 'draft', 'kg', '1.45'))
        self.assertEqual(
            (offer.vat_category, float(offer.vat_rate)), ('S', 0.055))
        self.assertEqual(
            [c.name for c in offer.product.template.categories], ["Fruits"])
        self.assertEqual(client.find('stock.move'), [])

        status, out, errors = self.import_(
            text=OFFERS.replace('1,45', '1,60') + (
                'Ferme des Trois Chênes;NOIX;Noix;Fruits;bien;kg;6;5,5;\n'))
        self.assertEqual(status, 0, errors)
        self.assertEqual(
            [(o['code'], o['result']) for o in json.loads(out)['offers']],
            [('POM', 'updated'), ('VISITE', 'unchanged'),
                ('NOIX', 'created')])
        offer.reload()
        self.assertEqual(str(offer.price), '1.60')
        self.assertEqual(str(offer.product.template.list_price), '1.60')

    def _test_errors(self, client):
        count = len(client.find('product.product'))
        for text, args, expected in [
                (OFFERS + 'Autre;A;A;;bien;kg;1;20;\n', [],
                    'line 4: "Autre": the seller is not Ferme des Trois'),
                (OFFERS + '490267150;A;A;;bien;kg;1;20;\n', [],
                    'line 4: "490267150": this SIREN is not that of'),
                (OFFERS.replace('20;20', '-20;20'), [],
                    'line 3: "-20": the number is negative'),
                (OFFERS.replace(';heure', ';ha').replace('service', 'bien'),
                    [], 'line 3: "VISITE": the product of this code is of '
                    'another kind'),
                (OFFERS, ['--seller', 'Autre'], 'has no offer of "Autre"'),
                (OFFERS, ['--community', '0225:521783415'],
                    'there is no community "0225:521783415", only La Halle'),
                (OFFERS, ['--submit'], "before the membership is active"),
                ]:
            with self.subTest(expected):
                self.assertFails(self.import_(*args, text=text), expected)
        self.assertFails(
            self.import_(password='wrong'),
            "ferme_des: the login or the password is wrong")
        self.assertEqual(len(client.find('product.product')), count)

    def _test_all_or_none(self, client):
        "What was created is removed when something fails later"
        count = len(client.find('product.product'))
        text = OFFERS.replace('1,60', '2') + (
            'Ferme des Trois Chênes;X;X;Nouvelle;bien;kg;6;5,5;\n')
        with patch(
                'trycoton.command.offers.Importer._update_offers',
                lambda self: self.client.call(
                    'cooperative.offer', 'write', [10 ** 6], {'name': "X"})):
            self.assertFails(self.import_(text=text), "ferme_des: ")
        self.assertEqual(len(client.find('product.product')), count)
        self.assertEqual(client.find(
                'cooperative.offer', ('product.code', '=', 'X')), [])
        self.assertEqual(client.find(
                'product.category', ('name', '=', "Nouvelle")), [])
        offer, = client.find('cooperative.offer', ('code', '=', 'POM'))
        self.assertEqual(str(offer.product.template.list_price), '1.60')

    def _test_submit(self, client):
        membership, = self.manager.find(
            'cooperative.community.membership',
            ('identifier', '=', '0225:521783415'))
        membership.click('accept')
        limit = time.monotonic() + 60
        own, = client.find('cooperative.community.membership')
        while own.state != 'active':
            self.assertLess(time.monotonic(), limit)
            time.sleep(0.2)
            own.reload()
        status, out, errors = self.import_('--submit')
        self.assertEqual(status, 0, errors)
        self.assertEqual(
            [(o['result'], o['submitted'])
                for o in json.loads(out)['offers']],
            [('updated', True), ('unchanged', True)])
        self.assertFails(
            self.import_(text=OFFERS.replace('1,45', '3')),
            'line 2: "POM": this offer waits for the decision')

    def _test_evidence_errors(self):
        for args, expected in [
                (['--purchase', '7'],
                    "ferme_des has no purchase of the number 7"),
                (['--invoice', 'F1'],
                    "ferme_des has no invoice of the number F1"),
                (['--message', 'abc'],
                    "ferme_des has no message of the number abc"),
                (['--sale', '1', '--output', str(self.folder / 'no' / 'f')],
                    "there is no folder")]:
            with self.subTest(args):
                self.assertFails(
                    self.command('evidence', 'export', *args), expected)
        self.assertFails(
            self.command('evidence', 'export', '--sale', '1',
                password='wrong'),
            "ferme_des: the login or the password is wrong")
