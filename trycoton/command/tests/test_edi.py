# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
import datetime as dt
import json
import tempfile
import unittest
from decimal import Decimal
from pathlib import Path

from trycoton.command.client import Client
from trycoton.command.demo.actor import MEMBER_GROUPS
from trycoton.command.demo.world import free_port
from trycoton.command.instance import Specification, create
from trycoton.command.server import Server
from trycoton.protocol import ubl

from .test_main import call

US, THEM = '0225:521783415', '0225:732829320'


def order(number, receiver=US, code='MIEL'):
    "Return the bytes of an order of somebody who is no peer"
    def party(identifier, name):
        return ubl.Party(
            identifier=identifier, name=name,
            address=ubl.Address(country='FR'))
    return ubl.Order(
        number=number, date=dt.date(2026, 11, 22), currency='EUR',
        buyer=party(THEM, "Épicerie"), seller=party(receiver, "Ferme"),
        lines=(ubl.OrderLine(
                id='1', quantity=Decimal(3), unit='KGM',
                price=Decimal('12.5'),
                item=ubl.Item(name="Miel", seller_code=code)),)).to_bytes()


class EdiTestCase(unittest.TestCase):
    "Test documents are brought in by the command"

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = Path(folder.name)
        users = [{
                'login': login,
                'name': login,
                'password': 'secret',
                'groups': [*MEMBER_GROUPS, *groups],
                } for login, groups in [
                ('clerk', ['cooperative_edi.group_edi_vouch']),
                ('other', [])]]
        instance, = create(cls.folder, [Specification(
                    name='ferme', role='actor', company="Ferme",
                    siren='521783415', port=free_port(), local=True, retry=1,
                    fetch=1,
                    users=users)])
        server = Server(instance.folder, instance.name)
        cls.addClassCleanup(server.stop)
        server.start().wait_ready()
        cls.client = Client(instance, 'clerk', 'secret')
        cls.addClassCleanup(cls.client.close)
        (cls.folder / 'password').write_text('secret\n')

    def import_(self, *files, user='clerk', json_=True):
        names = []
        for name, data in files:
            path = self.folder / name
            if data is not None:
                path.write_bytes(data)
            names.append(str(path))
        status, out, errors = call(
            'edi', 'import', *names, '--folder', str(self.folder),
            '--instance', 'ferme', '--user', user, '--password-file',
            str(self.folder / 'password'), *(['--json'] if json_ else []))
        self.assertNotIn('Traceback', errors)
        return status, json.loads(out) if json_ else out

    def test_import(self):
        "Test each file is held, becomes a record or is refused"
        status, value = self.import_(('a.xml', order('C1')))
        self.assertEqual(status, 0)
        document, = value['documents']
        self.assertEqual(
            (document['result'], document['kind'], document['number'],
                document['sender'], document['record']),
            ('held', 'order', 'C1', THEM, None))
        self.assertEqual(
            [(m['kind'], m['code']) for m in document['missing']],
            [('party', THEM)])

        Party = self.client.model('party.party')
        party = Party(name="Épicerie")
        party.save()
        mapping, = self.client.find('cooperative.edi.mapping')
        mapping.party = party
        mapping.save()
        status, value = self.import_(('a.xml', None))
        document, = value['documents']
        self.assertEqual(document['result'], 'held', msg=document)
        self.assertEqual(
            [(m['kind'], m['code'], m['name'])
                for m in document['missing']],
            [('product', 'MIEL', "Miel")])
        self._create_product()
        mapping, = self.client.find(
            'cooperative.edi.mapping', ('kind', '=', 'product'))
        mapping.product, = self.client.find('product.product')
        mapping.save()

        status, value = self.import_(('a.xml', None))
        self.assertEqual(status, 0)
        document, = value['documents']
        self.assertEqual(
            (document['result'], document['known'], document['party']),
            ('record', True, "Épicerie"))
        sale, = self.client.find('sale.sale')
        self.assertEqual(document['record'], {
                'model': 'sale.sale', 'id': sale.id, 'name': sale.rec_name})
        self.assertEqual((sale.state, sale.reference), ('draft', 'C1'))

        status, out = self.import_(
            ('b.xml', order('C2')),
            ('c.xml', order('C3', receiver=THEM)),
            ('d.xml', b'<a/>'), json_=False)
        self.assertEqual(status, 1)
        record, receiver, unknown = out.splitlines()
        self.assertIn('C2: record: sale.sale ', record)
        self.assertIn(': refused: TCT-RECEIVER: ', receiver)
        self.assertIn(': refused: TCT-TYPE: ', unknown)
        self.assertEqual(len(self.client.find('sale.sale')), 2)
        self.assertEqual(self.client.find(
                'cooperative.edi.message', ('direction', '=', 'out')), [])

        status, value = self.import_(
            ('nowhere.xml', None), ('b.xml', None))
        self.assertEqual(status, 1)
        self.assertEqual(
            [d['result'] for d in value['documents']],
            ['unreadable', 'record'])

    def _create_product(self):
        Category = self.client.model('product.category')
        Template = self.client.model('product.template')
        Uom = self.client.model('product.uom')
        category, *_ = Category.find([('accounting', '=', True)])
        kilogram, = Uom.find([('unece_code', '=', 'KGM')])
        template = Template(
            name="Honey", default_uom=kilogram, list_price=Decimal(1),
            salable=True, account_category=category)
        template.save()

    def test_group(self):
        "Test who may not vouch for documents brings none in"
        status, value = self.import_(
            ('e.xml', order('C9')), user='other')
        self.assertEqual(status, 2)
        self.assertIn('ferme: ', value['error'])
        self.assertEqual(self.client.find(
                'cooperative.edi.message', ('document_number', '=', 'C9')),
            [])
