# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Payments are announced, and booked from the bank statement only"""
from decimal import Decimal

from lxml import etree
from trytond.pool import Pool
from trytond.tests.test_tryton import with_transaction

from cooperative_edi.exceptions_document import AnnouncementBankError

from .test_documents import (
    MODULES, TODAY, DealTestCase, deliver, process, receive, run_tasks)
from .tools import rule_errors

D = Decimal
PAYER = 'FR7630006000011234567890189'
PAYEE = 'FR7630004000031234567890143'


class PaymentsTestCase(DealTestCase):
    "Test how payments are announced and reconciled"

    modules = [*MODULES, 'account_payment_sepa']

    def trade(self, *prices):
        "Return the posted invoices and the supplier invoices of the buyer"
        pool = Pool()
        Invoice = pool.get('account.invoice')
        Line = pool.get('account.invoice.line')
        seller, invoices, bills = self.seller, [], []
        for price in prices:
            with seller.context():
                invoice = Invoice(
                    company=seller.company, type='out',
                    party=seller.peer.party,
                    currency=seller.company.currency)
                invoice.set_journal()
                invoice.on_change_party()
                invoice.lines = [Line(
                        type='line', description="Conseil", quantity=1,
                        account=seller.revenue, unit_price=D(price))]
                invoice.save()
            self.post(seller, invoice)
            kind = 'invoice' if invoice.total_amount > 0 else 'credit_note'
            bill = self.invoice(deliver(kind))
            self.post(self.buyer, bill)
            deliver('invoice_response')
            invoices.append(invoice)
            bills.append(bill)
        return invoices, bills

    @property
    def announcements(self):
        "The announcements, the first one first"
        Announcement = Pool().get('cooperative.edi.payment.announcement')
        return Announcement.search([], order=[('id', 'ASC')])

    def booked(self):
        "Return the number of moves of the seller and what is reconciled"
        pool = Pool()
        Move = pool.get('account.move')
        MoveLine = pool.get('account.move.line')
        company = ('company', '=', self.seller.company.id)
        return (
            Move.search([company], count=True),
            MoveLine.search([
                    ('move.company', '=', self.seller.company.id),
                    ('reconciliation', '!=', None),
                    ], count=True))

    def bank_account(self, party, iban):
        pool = Pool()
        Account = pool.get('bank.account')
        Bank = pool.get('bank')
        Party = pool.get('party.party')
        party_bank, = Party.create([{'name': "Bank"}])
        bank, = Bank.create([{'party': party_bank.id, 'bic': 'BNPAFRPP'}])
        account, = Account.create([{
                    'bank': bank.id,
                    'owners': [('add', [party.id])],
                    'numbers': [('create', [
                                {'type': 'iban', 'number': iban}])],
                    }])
        return account.numbers[0]

    def sepa(self, bills):
        "Pay the bills by a SEPA file; return the file"
        pool = Pool()
        Account = pool.get('account.account')
        AccountJournal = pool.get('account.journal')
        Group = pool.get('account.payment.group')
        Journal = pool.get('account.payment.journal')
        Payment = pool.get('account.payment')
        buyer = self.buyer
        with buyer.context():
            clearing, = Account.copy([buyer.tax_account], {
                    'name': "Clearing", 'reconcile': True})
            account_journal, = AccountJournal.create([{
                        'name': "Clearing", 'code': 'CLR',
                        'type': 'general'}])
            journal, = Journal.create([{
                        'name': "SEPA", 'company': buyer.company.id,
                        'currency': buyer.company.currency.id,
                        'process_method': 'sepa',
                        'sepa_bank_account_number': self.bank_account(
                            buyer.company.party, PAYER).id,
                        'sepa_payable_flavor': 'pain.001.001.03',
                        'sepa_receivable_flavor': 'pain.008.001.02',
                        'sepa_charge_bearer': 'SLEV',
                        'clearing_account': clearing.id,
                        'clearing_journal': account_journal.id,
                        }])
            self.bank_account(buyer.peer.party, PAYEE)
            payments = Payment.create([{
                        'journal': journal.id, 'company': buyer.company.id,
                        'party': bill.party.id, 'kind': 'payable',
                        'amount': bill.total_amount, 'date': TODAY,
                        'line': bill.lines_to_pay[0].id,
                        } for bill in bills])
            Payment.submit(payments)
            Payment.approve(payments)
            group, = Group.create([{
                        'journal': journal.id, 'company': buyer.company.id,
                        'kind': 'payable'}])
            Payment.process(payments, lambda: group)
            run_tasks()
            message, = Group(group.id).sepa_messages
            Payment.succeed(Payment.browse(payments))
            run_tasks()
        return bytes(message.message, 'utf8') if isinstance(
            message.message, str) else bytes(message.message)

    def method(self, side, name):
        "Return a payment method of the side"
        pool = Pool()
        Journal = pool.get('account.journal')
        Method = pool.get('account.invoice.payment.method')
        with side.context():
            journal, = Journal.create([{
                        'name': name, 'code': name[:3], 'type': 'cash'}])
            method, = Method.create([{
                        'name': name, 'company': side.company.id,
                        'journal': journal.id,
                        'credit_account': side.tax_account.id,
                        'debit_account': side.tax_account.id,
                        }])
        return method

    def bank(self, side, *lines):
        "Post a statement: amount, description and invoice of each line"
        pool = Pool()
        Account = pool.get('account.account')
        AccountJournal = pool.get('account.journal')
        Journal = pool.get('account.statement.journal')
        Statement = pool.get('account.statement')
        company = side.company
        with side.context():
            account, = Account.copy([side.tax_account], {'name': "Bank"})
            account_journal, = AccountJournal.create([{
                        'name': "Bank", 'code': 'BNK', 'type': 'statement'}])
            journal, = Journal.create([{
                        'name': "Bank", 'company': company.id,
                        'journal': account_journal.id,
                        'account': account.id, 'validation': 'amount',
                        }])
            invoice_account = side.peer.party.account_receivable_used
            statement, = Statement.create([{
                        'name': "1", 'company': company.id,
                        'journal': journal.id, 'date': TODAY,
                        'total_amount': sum(D(l[0]) for l in lines),
                        'lines': [('create', [{
                                        'date': TODAY, 'amount': D(amount),
                                        'party': side.peer.party.id,
                                        'account': (
                                            related[0].account
                                            if related
                                            else invoice_account).id,
                                        'description': description,
                                        'related_to': (
                                            str(related[0]) if related
                                            else None),
                                        } for amount, description, *related
                                    in lines])],
                        }])
            Statement.validate_statement([statement])
            Statement.post([statement])
            run_tasks()

    def let_pass(self):
        "Let what is exact be reconciled without asking"
        Configuration = Pool().get('account.configuration')
        with self.seller.context():
            configuration = Configuration(1)
            configuration.edi_reconcile_exact = True
            configuration.save()

    def reconcile(self, *announcements):
        Announcement = Pool().get('cooperative.edi.payment.announcement')
        with self.seller.context():
            Announcement.reconcile(announcements or self.announcements)
            run_tasks()

    def states(self, *invoices):
        Invoice = Pool().get('account.invoice')
        return [Invoice(i.id).state for i in invoices]

    @with_transaction()
    def test_sepa(self):
        "Test a SEPA file, its remittance advice and the bank's statement"
        self.set_up_deal()
        invoices, bills = self.trade('100', '40.55')
        before = self.booked()
        data = self.sepa(bills)
        root = etree.fromstring(data)
        texts = [e.text for e in root.iter() if e.text and e.text.strip()]
        self.assertIn(PAYEE, texts)
        for invoice in invoices:
            self.assertIn(str(invoice.total_amount), texts)
            self.assertIn(invoice.number, texts)
        advice = deliver('remittance_advice')
        self.check(advice)
        self.assertEqual(rule_errors(advice), [])
        self.assertEqual(
            [(l.amount, l.invoice_number, l.reference) for l in advice.lines],
            [(i.total_amount, i.number, i.number) for i in invoices])
        announcement, = self.announcements
        self.assertEqual(announcement.state, 'announced')
        # Nothing is booked by a message
        self.assertEqual(self.booked(), before)
        self.assertEqual(self.states(*invoices), ['posted', 'posted'])

        self.bank(self.seller,
            ('100', f"VIR SEPA {invoices[0].number}"),
            ('40.55', f"VIR SEPA {invoices[1].number}"))
        announcement, = self.announcements
        self.assertEqual(announcement.state, 'proposed')
        self.assertEqual(
            [l.move_line.credit for l in announcement.lines],
            [D('100'), D('40.55')])
        self.assertEqual(self.states(*invoices), ['posted', 'posted'])
        self.assertEqual(self.booked()[1], before[1])
        self.reconcile()
        announcement, = self.announcements
        self.assertEqual(announcement.state, 'reconciled')
        self.assertEqual(self.states(*invoices), ['paid', 'paid'])

    @with_transaction()
    def test_rule(self):
        "Test the accountant lets exact matches pass, and nothing else"
        self.set_up_deal()
        self.let_pass()
        invoices, bills = self.trade('100', '40.55', '7')
        cash = self.method(self.buyer, "Virement")
        with self.buyer.context():
            for bill in bills:
                bill.pay_invoice(bill.total_amount, cash, TODAY)
        deliver('remittance_advice')
        # The number of another invoice begins with the one announced
        self.bank(self.seller,
            ('100', f"VIR {invoices[0].number}."),
            ('40.55', f"VIR {invoices[1].number}0"),
            ('6.99', f"VIR {invoices[2].number}"))
        self.assertEqual(
            [a.state for a in self.announcements],
            ['reconciled', 'proposed', 'announced'])
        self.assertEqual(
            self.states(*invoices), ['paid', 'posted', 'posted'])

    @with_transaction()
    def test_statement_first(self):
        "Test the bank is faster than the message"
        self.set_up_deal()
        self.let_pass()
        invoices, bills = self.trade('100')
        self.bank(self.seller, ('100', invoices[0].number))
        self.assertEqual(self.states(*invoices), ['posted'])
        self.sepa(bills)
        deliver('remittance_advice')
        self.assertEqual(
            [a.state for a in self.announcements], ['reconciled'])
        run_tasks()
        self.assertEqual(self.states(*invoices), ['paid'])

    @with_transaction()
    def test_one_transfer(self):
        "Test one transfer, seen on the statement of the buyer, pays both"
        self.set_up_deal()
        self.let_pass()
        invoices, bills = self.trade('100', '40')
        self.bank(self.buyer, *[
                (-b.total_amount, "Transfer", b) for b in bills])
        advice = deliver('remittance_advice')
        self.check(advice)
        self.assertEqual(rule_errors(advice), [])
        self.assertEqual(advice.total, 140)
        self.assertEqual([l.amount for l in advice.lines], [100, 40])
        self.bank(self.seller, ('140', invoices[1].number))
        announcement, = self.announcements
        self.assertEqual(announcement.state, 'reconciled')
        self.assertEqual(self.states(*invoices), ['paid'] * 2)

    @with_transaction()
    def test_cash_and_cheque(self):
        "Test an invoice paid in part in cash, then by cheque"
        self.set_up_deal()
        pool = Pool()
        Invoice = pool.get('account.invoice')
        (invoice,), (bill,) = self.trade('100')
        before = self.booked()
        with self.buyer.context():
            bill.pay_invoice(
                D('30'), self.method(self.buyer, "Espèces"), TODAY)
        advice = deliver('remittance_advice')
        self.check(advice)
        self.assertEqual((advice.total, advice.note), (30, "Espèces"))
        with self.buyer.context():
            bill = Invoice(bill.id)
            # As the wizard does
            bill.pay_invoice(
                D('70'), self.method(self.buyer, "Chèque"), TODAY,
                "Chèque 1234567", 0, party=bill.party)
        advice = deliver('remittance_advice')
        self.assertEqual(
            (advice.total, advice.payment_reference),
            (70, "Chèque 1234567"))
        self.assertEqual(self.booked(), before)
        self.assertEqual(
            [a.amount for a in self.announcements], [30, 70])

        # The seller books the cash, and the cheque from the bank
        with self.seller.context():
            invoice.pay_invoice(
                D('30'), self.method(self.seller, "Caisse"), TODAY)
            run_tasks()
        self.bank(self.seller, ('70', "Remise de chèque"))
        cash, cheque = self.announcements
        self.assertEqual(cheque.state, 'proposed')
        self.assertEqual(self.states(invoice), ['posted'])
        self.reconcile(cheque)
        self.assertEqual(self.states(invoice), ['paid'])
        self.assertEqual(
            [a.state for a in self.announcements], ['reconciled'] * 2)

    @with_transaction()
    def test_partial(self):
        "Test a transfer of a part of an invoice, then the rest"
        self.set_up_deal()
        self.let_pass()
        pool = Pool()
        Invoice = pool.get('account.invoice')
        (invoice,), (bill,) = self.trade('100')
        method = self.method(self.buyer, "Virement")
        with self.buyer.context():
            bill.pay_invoice(D('60'), method, TODAY)
        deliver('remittance_advice')
        self.bank(self.seller, ('60', invoice.number))
        self.assertEqual(
            [a.state for a in self.announcements], ['reconciled'])
        invoice = Invoice(invoice.id)
        self.assertEqual(
            (invoice.state, invoice.amount_to_pay), ('posted', 40))
        with self.buyer.context():
            Invoice(bill.id).pay_invoice(D('40'), method, TODAY)
        deliver('remittance_advice')
        self.bank(self.seller, ('40', invoice.number))
        self.assertEqual(
            [a.state for a in self.announcements], ['reconciled'] * 2)
        self.assertEqual(self.states(invoice), ['paid'])

    @with_transaction()
    def test_never_paid(self):
        "Test an announcement that never comes true"
        self.set_up_deal()
        Announcement = Pool().get('cooperative.edi.payment.announcement')
        invoices, bills = self.trade('100')
        self.sepa(bills)
        deliver('remittance_advice')
        before = self.booked()
        with self.assertRaisesRegex(AnnouncementBankError, '100'):
            self.reconcile()
        with self.seller.context():
            Announcement.cancel(self.announcements)
        self.assertEqual(
            [a.state for a in self.announcements], ['cancelled'])
        self.bank(self.seller, ('100', invoices[0].number))
        self.assertEqual(
            [a.state for a in self.announcements], ['cancelled'])
        self.assertEqual(self.states(*invoices), ['posted'])
        self.assertEqual(self.booked()[1], before[1])
        with self.seller.context():
            Announcement.announce(self.announcements)
        self.reconcile()
        self.assertEqual(self.states(*invoices), ['paid'])

    @with_transaction()
    def test_taken(self):
        "Test a bank line is proposed for one announcement only"
        self.set_up_deal()
        invoices, bills = self.trade('100', '100')
        method = self.method(self.buyer, "Virement")
        with self.buyer.context():
            for bill in bills:
                bill.pay_invoice(D('100'), method, TODAY)
        run_tasks()
        Message = Pool().get('cooperative.edi.message')
        messages = Message.search([
                ('kind', '=', 'remittance_advice'),
                ('state', '=', 'waiting')], order=[('id', 'ASC')])
        self.bank(self.seller, ('100', "VIR"))
        for message in messages:
            process(receive(message))
        self.assertEqual(
            [a.state for a in self.announcements],
            ['proposed', 'announced'])
