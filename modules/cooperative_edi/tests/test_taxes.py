# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Both ledgers agree to the cent, whatever the taxes"""
from dataclasses import replace
from decimal import Decimal

from trytond.pool import Pool
from trytond.tests.test_tryton import with_transaction
from trytond.transaction import Transaction

from cooperative_edi.exceptions_document import (
    DocumentInvalidError, InvoiceDifferenceWarning)
from trycoton.protocol import ubl

from .test_documents import (
    NOTICE, TODAY, DealTestCase, deliver, process, receive, run_tasks)
from .tools import rule_errors

D = Decimal


def ledger(invoice, sign):
    "Return what the invoice books: without tax, taxes and due"
    amounts = {'base': 0, 'tax': 0, 'due': 0}
    for line in invoice.move.lines:
        kind = 'base'
        if line.account == invoice.account:
            kind = 'due'
        elif line.tax_lines and any(t.type == 'tax' for t in line.tax_lines):
            kind = 'tax'
        amounts[kind] += sign * (line.debit - line.credit)
    return amounts


class TaxesTestCase(DealTestCase):
    "Test taxes, discounts and rounding of invoices"

    def credit(self, invoice):
        Invoice = Pool().get('account.invoice')
        with self.seller.context():
            credit, = Invoice.credit([invoice])
        return credit

    def exchange(self, invoice):
        "Post the invoice on both sides, return document and supplier invoice"
        self.post(self.seller, invoice)
        document = deliver(
            'credit_note' if invoice.total_amount < 0 else 'invoice')
        self.check(document)
        self.assertEqual(rule_errors(document), [])
        bill = self.invoice(document)
        self.assertEqual(bill.total_amount, invoice.total_amount)
        self.post(self.buyer, bill)
        self.assertEqual(bill.state, 'posted')
        self.assertEqual(ledger(bill, 1), ledger(invoice, -1))
        run_tasks()
        return document, bill

    def taxes(self):
        with self.seller.context():
            return [
                self.seller.tax("5.5 %", '0.055', 'sale'),
                self.seller.tax("20 %", '0.2', 'sale')]

    @with_transaction()
    def test_discount(self):
        "Test two rates, a service, units, four decimals and a discount"
        self.set_up_deal()
        low, high = self.taxes()
        invoice = self.new_invoice(
            ("Miel", 12.34, self.kilogram, '12.3457', low),
            ("Cire", 7, self.unit, '1.2699', high),
            ("Conseil", 2.5, self.day, '450', high),
            ("Remise de fidélité", -1, None, '10.01', high))
        document, _ = self.exchange(invoice)
        charge, = document.charges
        self.assertEqual(
            (charge.charge, charge.amount, charge.reason, charge.vat_rate),
            (False, D('10.01'), "Remise de fidélité", 20))
        self.assertEqual(len(document.lines), 3)
        self.assertEqual(
            {t.rate: t.base for t in document.taxes},
            {D('5.5'): D('152.35'), 20: D('1123.88')})

        document, _ = self.exchange(self.credit(invoice))
        charge, = document.charges
        self.assertEqual(charge.amount, D('10.01'))
        self.assertEqual(document.total, invoice.total_amount)

    @with_transaction()
    def test_rounding(self):
        "Test a seller who rounds the tax of each line, a buyer who does not"
        self.set_up_deal()
        Configuration = Pool().get('account.configuration')
        with self.seller.context():
            configuration = Configuration(1)
            configuration.tax_rounding = 'line'
            configuration.save()
        with self.buyer.context():
            configuration = Configuration(1)
            configuration.tax_rounding = 'document'
            configuration.save()
        _, high = self.taxes()
        invoice = self.new_invoice(
            *[("Cire", 1, self.unit, '0.33', high)] * 5)
        self.assertEqual(invoice.tax_amount, D('0.35'))
        document, bill = self.exchange(invoice)
        self.assertEqual(bill.tax_amount, D('0.35'))
        self.exchange(self.credit(invoice))

    @with_transaction()
    def test_categories(self):
        "Test the categories in which the seller charges no tax"
        self.set_up_deal()
        for category, notice, expected, code in [
                ('E', NOTICE, NOTICE, None),
                ('AE', None, "Reverse charge", 'VATEX-EU-AE'),
                ('K', "Art. 262 ter, I du CGI", "Art. 262 ter, I du CGI",
                    'VATEX-EU-IC'),
                ('G', None, "Export, exempt from VAT", 'VATEX-EU-G'),
                ('O', None, "Not subject to VAT", 'VATEX-EU-O')]:
            with self.seller.context():
                tax = self.seller.tax(
                    category, '0', 'sale', notice=notice)
                tax.unece_category_code = category
                tax.save()
            invoice = self.new_invoice(
                ("Conseil", 3, self.day, '333.3333', tax),
                ("Remise", -1, None, '0.5', tax))
            document, bill = self.exchange(invoice)
            found, = document.taxes
            self.assertEqual(
                (found.category, found.base, found.amount, found.reason,
                    found.reason_code),
                (category, D('999.50'), 0, expected, code))
            self.assertEqual(document.seller.vat is None, category == 'O')
            note, _ = self.exchange(self.credit(invoice))
            self.assertEqual(note.taxes, document.taxes)

    @with_transaction()
    def test_reverse_charge(self):
        "Test the buyer is told to account for the tax, and does"
        self.set_up_deal()
        pool = Pool()
        Invoice = pool.get('account.invoice')
        Tax = pool.get('account.tax')
        with self.seller.context():
            tax = self.seller.tax("AE", '0', 'sale')
            tax.unece_category_code = 'AE'
            tax.save()
        invoice = self.new_invoice(("Conseil", 1, self.day, '100', tax))
        self.post(self.seller, invoice)
        bill = self.invoice(deliver('invoice'))
        self.assertIn("Conseil", bill.edi_difference)
        with self.buyer.context():
            reverse = self.buyer.tax("Reverse", '0', 'purchase')
            reverse.type = 'none'
            reverse.save()
            for rate in ['0.2', '-0.2']:
                child = self.buyer.tax(rate, rate, 'purchase')
                child.parent = reverse
                child.save()
            reverse = Tax(reverse.id)
            line, = bill.lines
            line.taxes = [reverse]
            line.save()
            bill = Invoice(bill.id)
            bill.save()
            Invoice.update_taxes([bill])
        bill = Invoice(bill.id)
        self.assertEqual(
            sorted(t.amount for t in bill.taxes), [-20, 20])
        self.assertIsNone(bill.edi_difference)
        with self.buyer.context(), Transaction().set_context(
                _skip_warnings=False):
            Invoice.post([bill])
        self.assertEqual(bill.total_amount, 100)

    @with_transaction()
    def test_not_sendable(self):
        "Test an invoice that breaks a rule is not posted"
        self.set_up_deal()
        Identifier = Pool().get('party.identifier')
        Identifier.delete([
                i for i in self.buyer.company.party.identifiers
                if i.type == 'eu_vat'])
        with self.seller.context():
            tax = self.seller.tax("K", '0', 'sale')
            tax.unece_category_code = 'K'
            tax.save()
        invoice = self.new_invoice(("Miel", 1, self.kilogram, '10', tax))
        with self.assertRaises(DocumentInvalidError) as cm:
            self.post(self.seller, invoice)
        self.assertIn("VAT number", cm.exception.description)

    def send_invoice(self, **values):
        "Send an invoice as other software may write it"
        Document = Pool().get('cooperative.edi.document')
        with self.seller.context():
            document = ubl.Invoice(
                date=TODAY, currency='EUR', buyer_reference='-',
                seller=Document.us(self.seller.company),
                buyer=Document.party(self.seller.peer), **values)
        return document, self.send(self.seller, document)

    def foreign(self, **values):
        item = ubl.Item(name="Sel", vat_category='S', vat_rate=D(20))
        return {
            'number': 'X1',
            'lines': (
                ubl.InvoiceLine(
                    id='1', quantity=D(1000), unit='C62', price=D('0.123456'),
                    amount=D('123.46'), item=item),
                ubl.InvoiceLine(
                    id='2', quantity=D(3), unit='KGM', price=D(10),
                    amount=D('28.00'), item=item, charges=(
                        ubl.LineCharge(False, D('2.00'), "Remise"),))),
            'charges': (ubl.Charge(True, D('8.54'), "Port", 'S', D(20)),),
            'taxes': (ubl.Tax('S', D(20), D('160.00'), D('32.00')),),
            'untaxed': D('160.00'), 'tax': D('32.00'),
            'total': D('192.00'), 'payable': D('192.00'),
            **values}

    @with_transaction()
    def test_foreign(self):
        "Test discounts of lines, prices and rounding as others write them"
        self.set_up_deal()
        document, received = self.send_invoice(**self.foreign(
                prepaid=D('50.00'), rounding=D('0.02'),
                payable=D('142.02')))
        self.assertEqual(rule_errors(document), [])
        self.assertEqual(received.state, 'processed', received.error)
        bill = received.origin
        self.assertEqual(bill.untaxed_amount, D('160.02'))
        self.assertEqual(bill.tax_amount, D('32.00'))
        self.assertEqual(bill.total_amount, D('192.02'))
        self.assertIn('50.00', bill.edi_difference)
        self.post(self.buyer, bill)
        self.assertEqual(bill.state, 'posted')
        self.assertEqual(ledger(bill, 1), {
                'base': D('160.02'), 'tax': D('32.00'),
                'due': D('-192.02')})

    @with_transaction()
    def test_contradiction(self):
        "Test an invoice that contradicts itself goes back"
        self.set_up_deal()
        for number, values, text in [
                ('X1', {'payable': D('192.01')}, "192.00 is due"),
                ('X2', {'untaxed': D('160.01'), 'total': D('192.01'),
                        'payable': D('192.01')}, "160.01")]:
            _, received = self.send_invoice(
                **self.foreign(number=number, **values))
            self.assertEqual(received.state, 'refused', number)
            self.assertIn(text, received.error)

    def received_short(self):
        "Return a sale of 10 kg and its shipment, of which 9 kg arrived"
        self.set_up_deal()
        self.purchase(MIEL=(10, '12.345'))
        sale = self.sale(deliver('order'))
        self.accept(sale)
        deliver('order_response')
        shipment = self.ship(sale)
        deliver('despatch_advice')
        self.receive(honey=9)
        return sale, shipment

    @with_transaction()
    def test_difference_credited(self):
        "Test what is credited differs no more from what was received"
        sale, shipment = self.received_short()
        pool = Pool()
        Invoice = pool.get('account.invoice')
        Shipment = pool.get('stock.shipment.out')
        deliver('receipt_advice')
        self.post(self.seller, *sale.invoices)
        bill = self.invoice(deliver('invoice'))
        self.assertIn('9', bill.edi_difference)
        with self.seller.context():
            Shipment.edi_credit([shipment])
            credit, = Invoice.search([
                    ('company', '=', self.seller.company.id),
                    ('state', '=', 'draft'),
                    ])
        self.post(self.seller, credit)
        deliver('credit_note')
        self.assertIsNone(Invoice(bill.id).edi_difference)

    @with_transaction()
    def test_other_than_ordered(self):
        "Test what is not as ordered and received is queried, then accepted"
        sale, _ = self.received_short()
        pool = Pool()
        Invoice = pool.get('account.invoice')
        Line = pool.get('account.invoice.line')
        invoice, = sale.invoices
        with self.seller.context():
            Line.write(list(invoice.lines), {
                    'unit_price': D('12.5'), 'quantity': 11})
        self.post(self.seller, Invoice(invoice.id))
        bill = self.invoice(deliver('invoice'))
        deliver('invoice_response')
        for number in ['12.5', '12.345', '11', '9']:
            self.assertIn(number, bill.edi_difference)
        with self.buyer.context(), Transaction().set_context(
                _skip_warnings=False):
            with self.assertRaises(InvoiceDifferenceWarning):
                Invoice.post([bill])
            Invoice.edi_query([bill])
        deliver('invoice_response')
        invoice = Invoice(invoice.id)
        self.assertEqual(invoice.edi_state, 'queried')
        self.assertEqual(invoice.edi_answer, bill.edi_answer)
        self.assertIn('12.345', invoice.edi_answer)
        # The person accepts the difference
        with self.buyer.context():
            Invoice.validate_invoice([Invoice(bill.id)])
        deliver('invoice_response')
        self.assertEqual(Invoice(invoice.id).edi_state, 'in_process')
        self.post(self.buyer, Invoice(bill.id))
        deliver('invoice_response')
        self.assertEqual(Invoice(invoice.id).edi_state, 'accepted')
        self.assertEqual(ledger(bill, 1), ledger(invoice, -1))

    @with_transaction()
    def test_as_ordered(self):
        "Test nothing is asked about what is as ordered and received"
        self.set_up_deal()
        self.purchase(MIEL=(10, '12.345'))
        sale = self.sale(deliver('order'))
        self.accept(sale)
        deliver('order_response')
        self.ship(sale)
        deliver('despatch_advice')
        invoice, = sale.invoices
        self.post(self.seller, invoice)
        bill = self.invoice(deliver('invoice'))
        self.assertIn(' 0 ', bill.edi_difference)
        self.receive()
        Invoice = Pool().get('account.invoice')
        self.assertIsNone(Invoice(bill.id).edi_difference)

    @with_transaction()
    def test_other_currency(self):
        "Test an invoice in another currency than its order is refused"
        self.set_up_deal()
        purchase = self.purchase(CONSEIL=(1, '100'))
        sale = self.sale(deliver('order'))
        self.accept(sale)
        deliver('order_response')
        purchase_line, = purchase.lines
        values = self.foreign(order_number=purchase.number)
        line = replace(
            values['lines'][0], order_line=purchase_line.edi_line)
        values['lines'] = (line, *values['lines'][1:])
        pool = Pool()
        Document = pool.get('cooperative.edi.document')
        Message = pool.get('cooperative.edi.message')
        with self.seller.context():
            message = Message.send(self.seller.relation, ubl.Invoice(
                    date=TODAY, currency='USD', buyer_reference='-',
                    seller=Document.us(self.seller.company),
                    buyer=Document.party(self.seller.peer), **values))
        run_tasks()
        received = receive(message)
        with self.buyer.context():
            currency = Document.currency('EUR')
            currency.copy([currency], {'code': 'USD', 'name': "Dollar"})
        process(received)
        self.assertEqual(received.state, 'refused')
        self.assertIn('USD', received.error)
        self.assertIn('EUR', received.error)
