# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What others write otherwise, and what a person brings in by hand."""
import datetime as dt
import os
import random
import re
import resource
from decimal import Decimal
from pathlib import Path

from trytond.exceptions import UserError
from trytond.model.exceptions import AccessError, SQLConstraintError
from trytond.pool import Pool
from trytond.tests.test_tryton import with_transaction
from trytond.transaction import Transaction

from cooperative_edi.exceptions import DocumentRefused, EvidenceError
from trycoton.protocol import ubl
from trycoton.protocol.envelope import SBDH
from trycoton.protocol.errors import ProtocolError

from .test_documents import DealTestCase, deliver, process, run_tasks

SAMPLES = os.environ.get('TRYCOTON_CONFORMANCE')
SELLER, BUYER = '732829320', '404833048'
MEGABYTE = 1024  # in the unit of getrusage


class ImportTestCase(DealTestCase):
    "Test documents of others"

    def vouch(self, side, document, user=None):
        "Have somebody of the side bring in the file and import it"
        pool = Pool()
        Message = pool.get('cooperative.edi.message')
        if not isinstance(document, bytes):
            document = document.to_bytes()
        with side.context():
            message, known = Message.vouch(document)
            process(message)
            run_tasks()
        return Message(message.id), known

    def refused(self, side, document):
        with self.assertRaises((DocumentRefused, ProtocolError)) as context:
            self.vouch(side, document)
        return context.exception.rule

    def party(self, siren, **values):
        values.setdefault('name', siren)
        values.setdefault('address', ubl.Address(country='FR'))
        return ubl.Party(identifier=f'0225:{siren}', **values)

    def foreign_order(self, number='C1', **values):
        lines = values.pop('lines', None) or [self.order_line()]
        return ubl.Order(
            number=number, date=dt.date(2026, 11, 22), currency='EUR',
            buyer=self.party(BUYER, name="Épicerie"),
            seller=self.party(SELLER), lines=tuple(lines), **values)

    def order_line(self, id='1', **values):
        values.setdefault('unit', 'KGM')
        values.setdefault('item', ubl.Item(name="Miel", seller_code='MIEL'))
        return ubl.OrderLine(
            id=id, quantity=Decimal(3), price=Decimal('12.5'), **values)

    def foreign_invoice(self, number='F1', rate=20, seller=SELLER, **values):
        base, rate = Decimal('100.00'), Decimal(rate)
        tax = base * rate / 100
        order_line = values.pop('order_line', None)
        quantity = values.pop('quantity', Decimal(1))
        item = values.pop('item', None) or ubl.Item(name="Pots")
        return ubl.Invoice(
            number=number, date=dt.date(2026, 11, 22),
            currency=values.pop('currency', 'EUR'),
            seller=self.party(
                seller, name="Rucher", vat='FR44732829320'),
            buyer=self.party(BUYER), buyer_reference='-',
            due_date=dt.date(2026, 12, 22),
            lines=(ubl.InvoiceLine(
                    id='1', quantity=quantity, unit='C62',
                    price=base / quantity, amount=base,
                    order_line=order_line, item=ubl.Item(
                        name=item.name, seller_code=item.seller_code,
                        vat_category='S', vat_rate=rate)),),
            taxes=(ubl.Tax(
                    category='S', rate=rate, base=base, amount=tax),),
            untaxed=base, tax=tax, total=base + tax, payable=base + tax,
            **values)

    def silent(self):
        "Tell if nothing is sent to anybody"
        Message = Pool().get('cooperative.edi.message')
        run_tasks()
        return not Message.search([('direction', '=', 'out')])

    # Unsigned

    @with_transaction()
    def test_order(self):
        "Test an unsigned order becomes a sale that is not answered"
        self.set_up_deal()
        pool = Pool()
        Message = pool.get('cooperative.edi.message')
        Sale = pool.get('sale.sale')
        message, known = self.vouch(self.seller, self.foreign_order())
        self.assertFalse(known)
        self.assertEqual(
            (message.state, message.error), ('processed', None))
        self.assertTrue(message.unsigned)
        self.assertEqual(message.vouched_by.id, Transaction().user)
        self.assertIsNone(message.signature)
        self.assertIsNone(message.receipt)
        self.assertIsNone(message.relation)
        self.assertEqual(
            Message.search([('unsigned', '=', True)]), [message])
        sale = message.origin
        self.assertIsInstance(sale, Sale)
        self.assertEqual(
            (sale.state, sale.edi_state, sale.reference, sale.party),
            ('draft', 'none', 'C1', self.seller.peer.party))
        self.assertEqual(sale.untaxed_amount, Decimal('37.50'))
        with self.seller.context():
            Sale.quote([sale])
            Sale.confirm([sale])
        self.assertTrue(self.silent())
        self.ship(sale)
        with self.seller.context():
            self.assertRaises(EvidenceError, Message.evidence, [message])
            self.assertEqual(Message.deal([message]), [message])

    @with_transaction()
    def test_once(self):
        "Test the same document is one message, whatever its bytes are"
        self.set_up_deal()
        Sale = Pool().get('sale.sale')
        order = self.foreign_order()
        data = order.to_bytes()
        message, _ = self.vouch(self.seller, data)
        envelope = (
            f'<?xml version="1.0"?><s:StandardBusinessDocument xmlns:s="'
            f'{SBDH}"><s:StandardBusinessDocumentHeader/><!-- -->'
            ).encode() + data + b'</s:StandardBusinessDocument>'
        for again in [data, envelope, data.decode().encode('utf-16')]:
            found, known = self.vouch(self.seller, again)
            self.assertEqual((found, known), (message, True))
        other, known = self.vouch(
            self.seller, self.foreign_order(note="Vite"))
        self.assertFalse(known)
        self.assertEqual(
            (other.state, other.rule), ('refused', 'TCT-NUMBER'))
        self.assertEqual(len(Sale.search([])), 1)
        self.assertTrue(self.silent())

    @with_transaction()
    def test_signed_later(self):
        "Test a signed order is not entered beside its unsigned copy"
        self.set_up_deal()
        pool = Pool()
        Message = pool.get('cooperative.edi.message')
        Sale = pool.get('sale.sale')
        self.purchase(MIEL=(3, '12.5'))
        sent, = Message.search([('kind', '=', 'order')])
        copy, known = self.vouch(self.seller, sent.content)
        self.assertEqual((copy.state, known), ('processed', False))
        deliver('order', state='held')
        held, = Message.search([('state', '=', 'held')])
        self.assertIn(copy.origin.rec_name, held.error)
        with self.seller.context():
            Sale.cancel([copy.origin])
            Message.retry([held])
        process(held)
        held = Message(held.id)
        self.assertEqual((held.state, held.error), ('processed', None))
        self.assertEqual(held.origin.edi_state, 'waiting')

    @with_transaction()
    def test_unsigned_later(self):
        "Test the copy of a signed order is known"
        self.set_up_deal()
        Message = Pool().get('cooperative.edi.message')
        self.purchase(MIEL=(3, '12.5'))
        deliver('order')
        message, = Message.search([
                ('kind', '=', 'order'), ('direction', '=', 'in')])
        found, known = self.vouch(self.seller, message.content)
        self.assertEqual((found, known), (message, True))
        self.assertFalse(found.unsigned)

    @with_transaction()
    def test_refused(self):
        "Test what is not for us or takes effect only when signed"
        self.set_up_deal()
        Message = Pool().get('cooperative.edi.message')
        order = self.foreign_order()
        self.assertEqual(self.refused(self.buyer, order), 'TCT-RECEIVER')
        response = ubl.MessageLevelResponse(
            number='1', date=dt.date(2026, 11, 22),
            sender=self.party(BUYER), receiver=self.party(SELLER),
            document='x', code='RE')
        self.assertEqual(self.refused(self.seller, response), 'TCT-UNSIGNED')
        data = order.to_bytes()
        for wrong, rule in [
                (b'', 'TCT-XML'),
                (b'<!DOCTYPE a [<!ENTITY b "c">]>' + data, 'TCT-XML'),
                (b'<a/>', 'TCT-TYPE'),
                (data.replace(b'order:3', b'order:9'), 'TCT-TYPE'),
                (data.replace(b'>12.5<', b'>douze<'), 'TCT-SYNTAX'),
                (b' ' * 6_000_000, 'TCT-SIZE'),
                ]:
            with self.subTest(wrong[:60]):
                self.assertEqual(self.refused(self.seller, wrong), rule)
        self.assertEqual(Message.search([]), [])
        message, _ = self.vouch(
            self.seller, self.foreign_order(
                lines=[self.order_line(), self.order_line()]))
        self.assertEqual(
            (message.state, message.rule), ('refused', 'TCT-LINE-01'))
        self.assertTrue(self.silent())

    @with_transaction()
    def test_path(self):
        "Test it is said where the syntax is wrong"
        self.set_up_deal()
        data = self.foreign_order(lines=[
                self.order_line(id='1'),
                self.order_line(id='2', note="x")]).to_bytes()
        with self.assertRaises(ProtocolError) as context:
            self.vouch(self.seller, re.sub(
                    b'(.*)<cbc:Quantity.*?</cbc:Quantity>', rb'\1', data))
        self.assertEqual(
            context.exception.path, '/Order/OrderLine[2]/LineItem')
        self.assertIn('cbc:Quantity', str(context.exception))

    @with_transaction()
    def test_invoice(self):
        "Test an unsigned invoice becomes a draft supplier invoice"
        self.set_up_deal()
        Invoice = Pool().get('account.invoice')
        message, _ = self.vouch(
            self.buyer, self.foreign_invoice(order_number='unknown'))
        self.assertEqual(
            (message.state, message.error), ('processed', None))
        invoice = message.origin
        self.assertEqual(
            (invoice.state, invoice.type, invoice.edi_state,
                invoice.total_amount), ('draft', 'in', 'none', 120))
        self.post(self.buyer, invoice)
        self.assertEqual(Invoice(invoice.id).state, 'posted')
        self.assertTrue(self.silent())

    @with_transaction()
    def test_identifiers(self):
        "Test who is meant is known by any identifier"
        self.set_up_deal()
        Party = Pool().get('party.party')
        seller, buyer = (
            s.company.party for s in [self.seller, self.buyer])
        for values, party in [
                ({'identifier': f'0225:{SELLER}'}, seller),
                ({'identifier': f'0002:{SELLER}'}, seller),
                ({'identifier': '9957:X', 'vat': 'FR44732829320'}, seller),
                ({'identifier': '9957:FR44732829320'}, seller),
                ({'identifier': '0088:2', 'legal_id': '0002:404 833 048'},
                    buyer),
                ({'identifier': '0088:1', 'legal_id': BUYER}, buyer),
                # A member of a community is not the community
                ({'identifier': f'0225:{SELLER}_2'}, None),
                ({'identifier': '0088:1'}, None),
                ]:
            with self.subTest(values):
                named = ubl.Party(**values)
                found = Party.edi_named(named)
                self.assertEqual(
                    [p.id for p in found if p in {seller, buyer}],
                    [party.id] if party else [])
                if party:
                    self.assertTrue(party.edi_is(named))

    @with_transaction()
    def test_rights(self):
        "Test only who may vouch brings documents in"
        self.set_up_deal()
        pool = Pool()
        Group = pool.get('res.group')
        Import = pool.get('cooperative.edi.import', type='wizard')
        Mapping = pool.get('cooperative.edi.mapping')
        Message = pool.get('cooperative.edi.message')
        User = pool.get('res.user')

        def user(login, name, side=self.seller):
            group, = Group.search([('name', '=', name)])
            user, = User.create([{
                        'name': login, 'login': login,
                        'groups': [('add', [group.id])],
                        'companies': [('add', [side.company.id])],
                        'company': side.company.id,
                        }])
            return user.id

        vouching = user('v', "EDI Unsigned Documents")
        elsewhere = user('w', "EDI Unsigned Documents", self.buyer)
        with self.seller.context(), \
                Transaction().set_user(user('e', "EDI")), \
                Transaction().set_context(_check_access=True):
            self.assertRaises(UserError, Import.create)
            self.assertEqual(Mapping.search([]), [])
            with self.assertRaises(AccessError):
                Message.create([{}])
        with self.seller.context(), Transaction().set_user(vouching), \
                Transaction().set_context(_check_access=True):
            session, _, _ = Import.create()
            files = [
                {'name': 'a.xml', 'data': self.foreign_order().to_bytes()},
                {'name': 'b.xml', 'data': b'<a/>'}]
            result = Import.execute(
                session, {'start': {'files': files}},
                'import_')
            made, refused = result['view']['defaults']['files']
            self.assertEqual(refused['rule'], 'TCT-TYPE')
            self.assertIsNone(refused['message'])
            self.assertIn("is not known", refused['error'])
            message = Message(made['message'])
            self.assertEqual(
                (message.kind, message.vouched_by.id), ('order', vouching))
        with self.buyer.context(), \
                Transaction().set_context(_check_access=True), \
                Transaction().set_user(elsewhere):
            self.assertEqual(Message.search([]), [])
            self.assertEqual(Mapping.search([]), [])

    # Earlier exchanges

    @with_transaction()
    def test_order_response(self):
        "Test the unsigned answer to an order that was sent, or was not"
        self.set_up_deal()
        pool = Pool()
        Purchase = pool.get('purchase.purchase')
        self.buyer.relation.state = 'ended'
        self.buyer.relation.save()
        purchase = self.purchase(MIEL=(3, '12.5'))
        self.assertIsNone(purchase.relation)

        def response(number, code, order_number):
            return ubl.OrderResponse(
                number=number, date=dt.date(2026, 11, 22), code=code,
                order_number=order_number, sale_number='V7', currency='EUR',
                buyer=self.party(BUYER), seller=self.party(SELLER))
        message, _ = self.vouch(
            self.buyer, response('1', 'AP', purchase.number))
        self.assertEqual(
            (message.state, message.origin), ('processed', purchase))
        self.assertEqual(Purchase(purchase.id).reference, 'V7')
        for number, code, order_number, rule in [
                ('2', 'RE', purchase.number, 'TCT-NOT-SENT'),
                ('3', 'AP', 'unknown', 'TCT-REFERENCE')]:
            message, _ = self.vouch(
                self.buyer, response(number, code, order_number))
            self.assertEqual(
                (message.state, message.rule), ('refused', rule))
        self.assertTrue(self.silent())

    @with_transaction()
    def test_despatch_and_invoice(self):
        "Test an order made elsewhere is delivered and invoiced unsigned"
        self.set_up_deal()
        pool = Pool()
        Purchase = pool.get('purchase.purchase')
        self.buyer.relation.state = 'ended'
        self.buyer.relation.save()
        purchase = self.purchase(MIEL=(3, '12.5'))
        item = ubl.Item(name="Miel", seller_code='MIEL')
        advice = ubl.DespatchAdvice(
            number='BL1', date=dt.date(2026, 11, 22), time=dt.time(10, 0),
            order_number=purchase.number, buyer=self.party(BUYER),
            seller=self.party(SELLER), lines=(ubl.DespatchLine(
                    id='1', quantity=Decimal(3), unit='KGM', order_line='1',
                    item=item),))
        message, _ = self.vouch(self.buyer, advice)
        self.assertEqual(
            (message.state, message.error), ('processed', None))
        shipment = message.origin
        self.assertEqual(
            (shipment.edi_state, shipment.reference), ('none', 'BL1'))
        self.receive()
        self.assertEqual(Purchase(purchase.id).shipment_state, 'received')
        invoice = self.foreign_invoice(
            order_number=purchase.number, order_line='1', item=item)
        message, _ = self.vouch(self.buyer, invoice)
        self.assertEqual(message.state, 'held')
        self.assertIn(purchase.rec_name, message.error)
        self.assertTrue(self.silent())

    @with_transaction()
    def test_remittance(self):
        "Test an unsigned announcement of a payment"
        self.set_up_deal()
        advice = ubl.RemittanceAdvice(
            number='R1', date=dt.date(2026, 11, 22), currency='EUR',
            payer=self.party(BUYER), payee=self.party(SELLER),
            total=Decimal(10), lines=(ubl.RemittanceLine(
                    id='1', amount=Decimal(10), invoice_number='1'),))
        message, _ = self.vouch(self.seller, advice)
        self.assertEqual(
            (message.state, message.error), ('processed', None))
        self.assertEqual(message.origin.state, 'announced')
        self.assertTrue(self.silent())

    # What is missing

    @with_transaction()
    def test_missing_order(self):
        "Test all that an order misses is given and remembered"
        self.set_up_deal()
        pool = Pool()
        Mapping = pool.get('cooperative.edi.mapping')
        Message = pool.get('cooperative.edi.message')
        order = self.foreign_order(lines=[
                self.order_line('1', item=ubl.Item(
                        name="Honey", seller_code='H1'), unit='XBX'),
                self.order_line('2', item=ubl.Item(name="Beeswax")),
                self.order_line('2b', item=ubl.Item(
                        name="Spring honey", seller_code='H1')),
                self.order_line('3')])
        message, _ = self.vouch(self.seller, order)
        self.assertEqual(message.state, 'held')
        self.assertEqual(len(message.missing), 3)
        self.assertEqual(
            {(m.kind, m.code, m.name, m.party) for m in message.missing}, {
                ('product', 'H1', "Honey", message.party),
                ('product', '"Beeswax"', "Beeswax", message.party),
                ('unit', 'XBX', None, message.party)})
        for text in ["Honey", "Beeswax", "XBX"]:
            self.assertIn(text, message.error)
        with self.seller.context():
            self.assertEqual(
                Mapping.search([('given', '=', False)], count=True), 3)
            values = {
                'H1': ('product', self.sold['MIEL']),
                '"Beeswax"': ('product', self.sold['CIRE']),
                'XBX': ('unit', self.kilogram)}
            for mapping in message.missing:
                self.assertEqual(Message(message.id).state, 'held')
                name, value = values[mapping.code]
                Mapping.write([mapping], {name: value.id})
            self.assertEqual(
                Mapping.search([('given', '=', True)], count=True), 3)
        # Giving the last one tries again
        self.assertEqual(Message(message.id).state, 'received')
        process(message)
        message = Message(message.id)
        # Kilograms of a product by unit
        self.assertEqual(message.state, 'held')
        self.assertEqual(
            [(m.kind, m.code) for m in message.missing], [('unit', 'KGM')])
        self.assertIn("KGM", message.error)

    @with_transaction()
    def test_missing_remembered(self):
        "Test what was given holds for the next document, signed or not"
        self.set_up_deal()
        pool = Pool()
        Mapping = pool.get('cooperative.edi.mapping')
        order = self.foreign_order(lines=[
                self.order_line(item=ubl.Item(
                        name="Honey", buyer_code='h'), unit='XBX')])
        message, _ = self.vouch(self.seller, order)
        self.assertEqual(
            {m.code for m in message.missing}, {'(h)', 'XBX'})
        self._give(message, self.unit)
        process(message)
        message, = message.browse([message.id])
        self.assertEqual(message.state, 'held')
        self.assertIn(self.kilogram.rec_name, message.error)
        self._give(message, self.kilogram)
        message, known = self.vouch(self.seller, order)
        self.assertTrue(known)
        self.assertEqual(
            (message.state, message.missing, message.error),
            ('processed', (), None))
        line, = message.origin.lines
        self.assertEqual(
            (line.product, line.unit, line.quantity, line.unit_price),
            (self.sold['MIEL'], self.kilogram, 3, Decimal('12.5')))
        message, _ = self.vouch(self.seller, self.foreign_order(
                'C2', lines=order.lines))
        self.assertEqual(message.state, 'processed')
        with self.seller.context(), self.assertRaises(SQLConstraintError):
            Mapping.copy(Mapping.search([('kind', '=', 'unit')]))

    def _give(self, message, unit):
        with self.seller.context():
            for mapping in message.missing:
                if mapping.kind == 'unit':
                    mapping.unit = unit
                else:
                    mapping.product = self.sold['MIEL']
                mapping.save()

    @with_transaction()
    def test_missing_party(self):
        "Test an unknown sender is given once"
        self.set_up_deal()
        pool = Pool()
        Mapping = pool.get('cooperative.edi.mapping')
        Message = pool.get('cooperative.edi.message')
        data = self.foreign_order().to_bytes().replace(
            f'schemeID="0225">{BUYER}'.encode(),
            b'schemeID="0208">0428759497')
        message, _ = self.vouch(self.seller, data)
        self.assertEqual(message.state, 'held')
        self.assertIsNone(message.party)
        mapping, = message.missing
        self.assertEqual(
            (mapping.kind, mapping.code, mapping.name, mapping.party),
            ('party', '0208:0428759497', "Épicerie", None))
        with self.seller.context():
            self.assertIn('0208:0428759497', message.rec_name)
            Mapping.write([mapping], {
                    'party': self.seller.peer.party.id})
        process(message)
        message = Message(message.id)
        self.assertEqual(message.state, 'processed')
        self.assertEqual(message.origin.party, self.seller.peer.party)
        message, _ = self.vouch(
            self.seller, data.replace(b'>C1<', b'>C2<'))
        self.assertEqual(message.state, 'processed')

    @with_transaction()
    def test_missing_invoice(self):
        "Test an unknown currency is given once, and an unknown tax made"
        self.set_up_deal()
        pool = Pool()
        Mapping = pool.get('cooperative.edi.mapping')
        invoice = self.foreign_invoice(rate='19.0', currency='ZZZ')
        message, _ = self.vouch(self.buyer, invoice)
        self.assertEqual(self.missing(message), ('currency', 'ZZZ'))
        with self.buyer.context():
            Mapping.write(list(message.missing), {
                    'currency': self.buyer.company.currency.id})
        message, _ = self.vouch(self.buyer, invoice)
        self.assertEqual(self.missing(message), ('tax', '19 %'))
        with self.buyer.context():
            tax = self.buyer.tax("VAT 19 %", '0.19', 'purchase')
        message, _ = self.vouch(self.buyer, invoice)
        self.assertEqual(
            (message.state, message.error), ('processed', None))
        self.assertEqual(message.origin.lines[0].taxes, (tax,))

    @with_transaction()
    def test_tax_of_another_rate(self):
        "Test the tax given for an unknown one must make the same total"
        self.set_up_deal()
        pool = Pool()
        Mapping = pool.get('cooperative.edi.mapping')
        with self.buyer.context():
            low = self.buyer.tax("VAT 7 %", '0.07', 'purchase')
        invoice = self.foreign_invoice(rate='19.0')
        message, _ = self.vouch(self.buyer, invoice)
        self.assertEqual(self.missing(message), ('tax', '19 %'))
        with self.buyer.context():
            Mapping.write(list(message.missing), {'tax': low.id})
        message, _ = self.vouch(self.buyer, invoice)
        self.assertEqual(message.state, 'held')
        self.assertIn('107.00', message.error)

    def missing(self, message):
        "Return what the held message misses, the only one"
        self.assertEqual(message.state, 'held')
        mapping, = message.missing
        return mapping.kind, mapping.code

    @with_transaction()
    def test_missing_signed(self):
        "Test a signed order is held, completed, and answered then"
        self.set_up_deal()
        pool = Pool()
        Mapping = pool.get('cooperative.edi.mapping')
        Message = pool.get('cooperative.edi.message')
        Product = pool.get('product.product')
        with self.seller.context():
            for number, code in enumerate(['MIEL', 'CIRE']):
                Product.write([self.sold[code]], {'suffix_code': str(number)})
        purchase = self.purchase(MIEL=(3, '12.5'), CIRE=(1, '2'))
        deliver('order', state='held')
        message, = Message.search([('state', '=', 'held')])
        self.assertEqual(
            {m.code for m in message.missing}, {'MIEL', 'CIRE'})
        with self.seller.context():
            for mapping in message.missing:
                Mapping.write([mapping], {
                        'product': self.sold[mapping.code].id})
        process(message)
        self.assertEqual(Message(message.id).state, 'processed')
        self.assertEqual(deliver('order_response').code, 'AB')
        self.assertEqual(purchase.state, 'confirmed')

    # Robustness

    def samples(self):
        if not SAMPLES or not Path(SAMPLES, 'samples').is_dir():
            self.skipTest(
                "SKIPPED: no official samples: set TRYCOTON_CONFORMANCE to "
                "the folder that holds them")
        samples = sorted(Path(SAMPLES, 'samples').glob('*.xml'))
        self.assertGreater(len(samples), 10)
        return {s.stem: s.read_bytes() for s in samples}

    def outcome(self, data):
        "Return what becomes of the file for the seller or for the buyer"
        for side in [self.seller, self.buyer]:
            try:
                message, _ = self.vouch(side, data)
            except (DocumentRefused, ProtocolError) as exception:
                rule = exception.rule
                self.assertTrue(str(exception))
                if rule != 'TCT-RECEIVER':
                    break
            else:
                self.assertIn(
                    message.state, {'processed', 'held', 'parked', 'refused'},
                    msg=message.error)
                self.assertEqual(
                    bool(message.rule), message.state == 'refused')
                return message.state, message.rule
        self.assertRegex(rule, r'^TCT-')
        return 'refused', rule

    def to_us(self, data):
        "Return the sample with our identifiers in it"
        def endpoint(match):
            return next(endpoints)
        endpoints = iter(
            [f'<cbc:EndpointID schemeID="0225">{s}</cbc:EndpointID>'.encode()
                for s in [SELLER, BUYER]] * 2)
        return re.sub(
            b'<cbc:EndpointID .*?</cbc:EndpointID>', endpoint, data)

    @with_transaction()
    def test_samples(self):
        "Test each official sample ends as a record or as a named refusal"
        self.set_up_deal()
        outcomes = {}
        for name, data in self.samples().items():
            with self.subTest(name):
                state, rule = self.outcome(data)
                self.assertEqual(state, 'refused')
                self.assertIn(
                    rule, {'TCT-RECEIVER', 'TCT-TYPE', 'TCT-UNSIGNED'})
                outcomes[name] = self.outcome(self.to_us(data))
        self.assertEqual(outcomes['Invoice'][0], 'held')
        self.assertEqual(outcomes['MLR'], ('refused', 'TCT-UNSIGNED'))
        self.assertEqual(
            outcomes['InvoiceResponse'], ('refused', 'TCT-REFERENCE'))
        self.assertEqual(
            outcomes['ReceiptAdvice'], ('refused', 'TCT-REFERENCE'))

    @with_transaction()
    def test_mutations(self):
        "Test no mutation of a sample crashes the import or fills the memory"
        self.set_up_deal()
        samples = [
            *map(self.to_us, self.samples().values()),
            self.foreign_order().to_bytes(),
            self.foreign_invoice().to_bytes()]
        random_ = random.Random(20261122)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        states = set()
        for number in range(200):
            data = mutate(random_, random_.choice(samples))
            with self.subTest(number):
                states.add(self.outcome(data)[0])
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        self.assertLess(after - before, 200 * MEGABYTE)
        self.assertLessEqual({'processed', 'held', 'refused'}, states)

    @with_transaction()
    def test_variations(self):
        "Test a valid document may be written in other ways"
        self.set_up_deal()
        data = self.foreign_order().to_bytes().decode()
        for number, text in enumerate([
                    data.replace('cbc:', 'x:').replace(':cbc=', ':x='),
                    '<?xml-stylesheet href="a.xsl"?><!-- a -->' + data,
                    data.replace('<cbc:IssueDate>',
                        '<cbc:UUID>a</cbc:UUID><cbc:IssueDate>'),
                    data.replace('</cac:Item>', '<cac:ItemInstance>'
                        '<cbc:ProductTraceID>1</cbc:ProductTraceID>'
                        '</cac:ItemInstance></cac:Item>'),
                    data.replace(
                        '>12.5<', '><![CDATA[12.5]]><!-- a --><'),
                    data.replace('>12.5<', '>\n\t12.50\n<'),
                    data.replace(' unitCode="KGM"',
                        ' unitCodeListID="UNECERec20" unitCode="KGM"'),
                    ]):
            with self.subTest(number):
                self.assertNotEqual(text, data)
                message, _ = self.vouch(self.seller, text.replace(
                        '>C1<', f'>C{number}<').encode())
                self.assertEqual(
                    (message.state, message.error), ('processed', None))
                self.assertEqual(
                    message.origin.untaxed_amount, Decimal('37.50'))


def mutate(random_, data):
    "Return the bytes of the document with something else in it"
    def spot():
        return random_.randrange(len(data))

    def values():
        return [m.span(1) for m in re.finditer(b'>([^<>]+)<', data)]

    def elements():
        return [m.span() for m in re.finditer(
                rb'<([a-z]+:\w+)[^>]*>[^<]*</\1>', data)]

    kind = random_.choice(['byte', 'cut', 'value', 'value', 'drop', 'twice'])
    if kind == 'byte':
        at = spot()
        return data[:at] + bytes([random_.randrange(256)]) + data[at + 1:]
    if kind == 'cut':
        return data[:spot()]
    if kind == 'value':
        start, end = random_.choice(values())
        value = random_.choice([
                b'', b'-1', b'0', b'1e9', b'9' * 40, b'0.' + b'3' * 30,
                b'x' * 100_000, b'&lt;', b'2026-02-30', b'\xc3\xa9', b'NaN'])
        return data[:start] + value + data[end:]
    start, end = random_.choice(elements())
    if kind == 'drop':
        return data[:start] + data[end:]
    return data[:end] + data[start:end] + data[end:]
