# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Two companies that are peers deal with each other in one database."""
import datetime as dt
import unittest
import unittest.mock
from decimal import Decimal

from trytond.model import Model
from trytond.modules.account.tests import create_chart, get_fiscalyear
from trytond.modules.account_invoice.tests import set_invoice_sequences
from trytond.modules.company.tests import create_company
from trytond.modules.currency.tests import add_currency_rate, create_currency
from trytond.pool import Pool
from trytond.tests.test_tryton import (
    activate_module, drop_db, with_transaction)
from trytond.transaction import Transaction

from trycoton.protocol import ubl

from .tools import configure

MODULES = [
    'cooperative_edi', 'edocument_unece', 'purchase', 'sale',
    'account_payment_clearing', 'account_statement', 'party_siret']
TODAY = dt.date.today()
NOTICE = "TVA non applicable, art. 293 B du CGI"


class Side:
    "One of the two companies with what it needs to trade"

    def __init__(self, name, siren, vat, currency):
        pool = Pool()
        Identity = pool.get('cooperative.edi.identity')
        User = pool.get('res.user')
        self.name = name
        self.company = create_company(name, currency)
        User.write([User(Transaction().user)], {
                'companies': [('add', [self.company.id])],
                })
        self._set_party(siren, vat)
        with self.context():
            create_chart(self.company)
            fiscalyear = set_invoice_sequences(get_fiscalyear(self.company))
            fiscalyear.save()
            fiscalyear.create_period([fiscalyear])
            self._set_accounts()
            identity, = Identity.create([{
                        'company': self.company.id,
                        'identifier': f'0225:{siren}',
                        }])
            identity.generate_keys()
        self.identity = identity

    def again(self):
        "Return the side as the running transaction sees it"
        side = Side.__new__(Side)
        with self.context():
            vars(side).update(again(vars(self)))
        return side

    def context(self):
        return Transaction().set_context(
            company=self.company.id, companies=[self.company.id],
            _skip_warnings=True)

    def _set_party(self, siren, vat):
        pool = Pool()
        Country = pool.get('country.country')
        Identifier = pool.get('party.identifier')
        country, = Country.search([('code', '=', 'FR')]) or Country.create(
            [{'name': "France", 'code': 'FR'}])
        party = self.company.party
        address, = party.addresses
        address.street_unstructured = "1 rue des Abeilles"
        address.postal_code = '31000'
        address.city = 'Toulouse'
        address.country = country
        address.save()
        Identifier.create([
                {'party': party.id, 'type': 'fr_siren', 'code': siren}])
        if vat:
            Identifier.create([
                    {'party': party.id, 'type': 'eu_vat', 'code': vat}])

    def _set_accounts(self):
        pool = Pool()
        Account = pool.get('account.account')
        Configuration = pool.get('account.configuration')

        def account(*clause):
            return Account.search([
                    ('company', '=', self.company.id),
                    ('closed', '!=', True),
                    *clause], limit=1)[0]

        self.expense = account(('type.expense', '=', True))
        self.revenue = account(('type.revenue', '=', True))
        self.tax_account = account(
            ('type.expense', '=', False), ('type.revenue', '=', False),
            ('type.payable', '=', False), ('type.receivable', '=', False),
            ('type.statement', '=', 'balance'))
        configuration = Configuration(1)
        configuration.default_category_account_expense = self.expense
        configuration.save()
        self.receivable = configuration.default_account_receivable

    def tax(self, name, rate, kind, notice=None):
        pool = Pool()
        Group = pool.get('account.tax.group')
        Tax = pool.get('account.tax')
        group, = Group.create([{'name': name, 'code': name, 'kind': kind}])
        tax, = Tax.create([{
                    'name': name, 'description': name,
                    'company': self.company.id,
                    'group': group.id,
                    'type': 'percentage',
                    'rate': Decimal(rate),
                    'legal_notice': notice,
                    'invoice_account': self.tax_account.id,
                    'credit_note_account': self.tax_account.id,
                    }])
        return tax

    def product(
            self, name, code, unit, taxes=(), type='goods', **values):
        pool = Pool()
        Category = pool.get('product.category')
        Template = pool.get('product.template')
        field = 'supplier_taxes' if 'purchasable' in values else (
            'customer_taxes')
        category, = Category.create([{
                    'name': name,
                    'accounting': True,
                    'account_expense': self.expense.id,
                    'account_revenue': self.revenue.id,
                    field: [('add', [t.id for t in taxes])],
                    }])
        template = Template(
            name=name, type=type, default_uom=unit,
            list_price=Decimal('1'),
            account_category=category, **values)
        for field in ['purchase_uom', 'sale_uom']:
            setattr(template, field, unit)
        template.products = [{'suffix_code': code}]
        template.save()
        return template.products[0]

    def knows(self, other):
        "Make the other side a peer with an agreed relation"
        pool = Pool()
        Peer = pool.get('cooperative.edi.peer')
        Relation = pool.get('cooperative.edi.relation')
        with self.context():
            self.peer = Peer.update_from(
                self.company, other.identity.participant())
            self.relation = Relation(
                company=self.company, peer=self.peer, state='agreed',
                uuid='5cd2d2a0-67ab-4c1c-8fd9-4b3ab2eabc01')
            self.relation.save()
        return self.peer


def run_tasks():
    "Run what the queue would run after the commit"
    Queue = Pool().get('ir.queue')
    tasks = Transaction().tasks
    while tasks:
        task = Queue(tasks.pop(0))
        if task.data['method'] != 'print_invoice':
            task.run()


def deliver(kind, state='processed'):
    "Take what waits to the other company; return the last of the kind"
    pool = Pool()
    Message = pool.get('cooperative.edi.message')
    run_tasks()
    received = []
    for message in Message.search([
                ('direction', '=', 'out'),
                ('state', '=', 'waiting'),
                ], order=[('id', 'ASC')]):
        message = receive(message)
        process(message)
        run_tasks()
        if message.kind == kind:
            received.append(message)
    message = received[-1]
    assert message.state == state, (message.state, message.error)
    return message.content


def receive(message):
    "Store the message for the other company"
    pool = Pool()
    Message = pool.get('cooperative.edi.message')
    received, known = Message.receive(bytes(message.data), message.signature)
    assert not known
    Message.write([message], {'state': 'sent'})
    return received


def process(message):
    pool = Pool()
    Message = pool.get('cooperative.edi.message')
    try:
        Message.process(message.id)
    except Exception as exception:
        if not hasattr(exception, 'text'):
            raise
        Message.not_processed(message.id, exception)


def again(value):
    "Return the value with its records as the running transaction sees them"
    if isinstance(value, Model):
        return value.__class__(value.id)
    if isinstance(value, dict):
        return {k: again(v) for k, v in value.items()}
    return value


class DealTestCase(unittest.TestCase):
    "Two companies that deal with each other"

    modules = MODULES

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        configure()
        # The one before may have had other modules
        drop_db()
        # What most have is made once
        for modules in [MODULES, cls.modules]:
            activate_module(modules)
        cls._deal = cls()
        cls._deal._make_deal()

    def send(self, side, document):
        """Have the side send the document, as software that checks nothing
        may write it; return it as the other receives it"""
        Message = Pool().get('cooperative.edi.message')
        with side.context(), unittest.mock.patch.object(
                type(document), 'check', return_value=[]):
            message = Message.send(side.relation, document)
        received = receive(message)
        process(received)
        return received

    def set_up_deal(self):
        "Give the test the deal of its class"
        deal = self._deal
        self.kilogram, self.day, self.unit = map(
            again, [deal.kilogram, deal.day, deal.unit])
        self.seller, self.buyer = deal.seller.again(), deal.buyer.again()
        with self.seller.context():
            self.sold = again(deal.sold)
        with self.buyer.context():
            self.bought = again(deal.bought)

    @with_transaction()
    def _make_deal(self):
        "Make what each test needs, and takes longer than most of them"
        pool = Pool()
        Uom = pool.get('product.uom')
        currency = create_currency('EUR')
        add_currency_rate(currency, 1)
        self.kilogram, = Uom.search([('name', '=', "Kilogram")])
        self.day, = Uom.search([('name', '=', "Day")])
        self.unit, = Uom.search([('name', '=', "Unit")])
        self.seller = Side(
            "Rucher", '732829320', 'FR44732829320', currency)
        self.buyer = Side("Épicerie", '404833048', 'FR83404833048', currency)
        self.seller.knows(self.buyer)
        self.buyer.knows(self.seller)
        self._set_up_seller()
        self._set_up_buyer()
        Transaction().commit()

    def _set_up_seller(self):
        seller = self.seller
        with seller.context():
            low = seller.tax("VAT 5.5 %", '0.055', 'sale')
            high = seller.tax("VAT 20 %", '0.2', 'sale')
            none = seller.tax("No VAT", '0', 'sale', notice=NOTICE)
            self.sold = {
                'MIEL': seller.product(
                    "Miel", 'MIEL', self.kilogram, [low], salable=True),
                'CIRE': seller.product(
                    "Cire", 'CIRE', self.unit, [high], salable=True),
                'CONSEIL': seller.product(
                    "Conseil", 'CONSEIL', self.day, [none], type='service',
                    salable=True),
                }

    def _set_up_buyer(self):
        pool = Pool()
        ProductSupplier = pool.get('purchase.product_supplier')
        buyer = self.buyer
        with buyer.context():
            low = buyer.tax("Supplier VAT 5.5 %", '0.055', 'purchase')
            high = buyer.tax("Supplier VAT 20 %", '0.2', 'purchase')
            self.bought = {
                'MIEL': buyer.product(
                    "Honey", 'honey', self.kilogram, [low],
                    purchasable=True),
                'CIRE': buyer.product(
                    "Wax", 'wax', self.unit, [high], purchasable=True),
                # the seller's exemption is not known yet
                'CONSEIL': buyer.product(
                    "Advice", 'advice', self.day, [high], type='service',
                    purchasable=True),
                }
            for code, product in self.bought.items():
                ProductSupplier(
                    template=product.template, party=buyer.peer.party,
                    company=buyer.company,
                    currency=buyer.company.currency, code=code).save()

    def purchase(self, **lines):
        pool = Pool()
        Line = pool.get('purchase.line')
        Purchase = pool.get('purchase.purchase')
        with self.buyer.context():
            purchase = Purchase(
                company=self.buyer.company, party=self.buyer.peer.party,
                currency=self.buyer.company.currency)
            purchase.on_change_party()
            purchase.lines = []
            for code, (quantity, price) in lines.items():
                line = Line(
                    type='line', purchase=purchase, quantity=quantity,
                    product=self.bought[code])
                line.on_change_product()
                line.unit_price = Decimal(price)
                purchase.lines = [*purchase.lines, line]
            purchase.save()
            Purchase.quote([purchase])
            Purchase.confirm([purchase])
            run_tasks()
        return purchase

    def sale(self, order):
        Sale = Pool().get('sale.sale')
        sale, = Sale.search([('reference', '=', order.number)])
        return sale

    def accept(self, sale):
        Sale = Pool().get('sale.sale')
        with self.seller.context():
            Sale.confirm([sale])
            run_tasks()

    def ship(self, sale, **quantities):
        Shipment = Pool().get('stock.shipment.out')
        Move = Pool().get('stock.move')
        with self.seller.context():
            shipment = [
                s for s in sale.shipments if s.state == 'waiting'][0]
            for move in shipment.inventory_moves:
                code = move.product.code
                if code in quantities:
                    Move.write([move], {'quantity': quantities[code]})
            Shipment.assign_force([shipment])
            Shipment.pick([shipment])
            Shipment.pack([shipment])
            Shipment.ship([shipment])
            Shipment.do([shipment])
            run_tasks()
            return Shipment(shipment.id)

    def receive(self, **quantities):
        Shipment = Pool().get('stock.shipment.in')
        Move = Pool().get('stock.move')
        with self.buyer.context():
            shipment, = Shipment.search([('state', '=', 'draft')])
            for move in shipment.incoming_moves:
                code = move.product.code
                if code in quantities:
                    Move.write([move], {'quantity': quantities[code]})
            Shipment.receive([shipment])
            Shipment.do([shipment])
            run_tasks()
            return Shipment(shipment.id)

    def expected(self, purchase):
        "Return the quantity still to receive"
        return sum(m.quantity for m in purchase.moves if m.state == 'draft')

    def post(self, side, *invoices):
        Invoice = Pool().get('account.invoice')
        with side.context():
            for invoice in invoices:
                if not invoice.invoice_date:
                    Invoice.write([invoice], {'invoice_date': TODAY})
            Invoice.post(invoices)
            run_tasks()

    def invoice(self, document):
        "Return the supplier invoice of the document"
        Invoice = Pool().get('account.invoice')
        invoice, = Invoice.search([
                ('reference', '=', document.number),
                ('company', '=', self.buyer.company.id),
                ('type', '=', 'in'),
                ])
        return invoice

    def new_invoice(self, *lines):
        """Return the draft invoice of the seller: description, quantity,
        unit, price and taxes of each line"""
        pool = Pool()
        Invoice = pool.get('account.invoice')
        Line = pool.get('account.invoice.line')
        seller = self.seller
        with seller.context():
            invoice = Invoice(
                company=seller.company, type='out',
                party=seller.peer.party, currency=seller.company.currency)
            invoice.set_journal()
            invoice.on_change_party()
            invoice.lines = [Line(
                    type='line', description=description, quantity=quantity,
                    unit=unit, account=seller.revenue,
                    unit_price=Decimal(price), taxes=list(taxes))
                for description, quantity, unit, price, *taxes in lines]
            invoice.save()
        return invoice

    def issue(self, *lines, tax=None):
        "Post an invoice of the seller without order; return its document"
        taxes = [tax] if tax else []
        invoice = self.new_invoice(*(
                (description, quantity, None, price, *taxes)
                for description, quantity, price in lines))
        self.post(self.seller, invoice)
        document = deliver('invoice')
        self.check(document)
        self.assertEqual(document.total, invoice.total_amount)
        return document

    def transfer(self, bills):
        "Pay the bills by one transfer"
        pool = Pool()
        Account = pool.get('account.account')
        AccountJournal = pool.get('account.journal')
        Group = pool.get('account.payment.group')
        Journal = pool.get('account.payment.journal')
        Payment = pool.get('account.payment')
        company = self.buyer.company
        with self.buyer.context():
            clearing, = Account.copy([self.buyer.tax_account], {
                    'name': "Clearing", 'reconcile': True})
            account_journal, = AccountJournal.search(
                [('type', '=', 'general')], limit=1) or (
                AccountJournal.create([{'name': "General", 'code': 'GEN',
                            'type': 'general'}]))
            journal, = Journal.create([{
                        'name': "Transfer", 'company': company.id,
                        'currency': company.currency.id,
                        'process_method': 'manual',
                        'clearing_account': clearing.id,
                        'clearing_journal': account_journal.id,
                        }])
            payments = Payment.create([{
                        'journal': journal.id, 'company': company.id,
                        'party': bill.party.id,
                        'kind': (
                            'payable' if bill.total_amount > 0
                            else 'receivable'),
                        'amount': abs(bill.total_amount),
                        'line': bill.lines_to_pay[0].id,
                        } for bill in bills])
            Payment.submit(payments)
            Payment.approve([p for p in payments if p.kind == 'payable'])
            for kind in ['payable', 'receivable']:
                group, = Group.create([{
                            'journal': journal.id, 'company': company.id,
                            'kind': kind,
                            }])
                Payment.process(
                    [p for p in payments if p.kind == kind], lambda: group)
            Payment.succeed(payments)
            run_tasks()

    def credit_bank(self, amount):
        "Post a statement of the seller on which the buyer pays"
        pool = Pool()
        Account = pool.get('account.account')
        AccountJournal = pool.get('account.journal')
        Journal = pool.get('account.statement.journal')
        Statement = pool.get('account.statement')
        company = self.seller.company
        with self.seller.context():
            bank, = Account.copy(
                [self.seller.tax_account], {'name': "Bank"})
            account_journal, = AccountJournal.create([{
                        'name': "Bank", 'code': 'BNK', 'type': 'statement'}])
            journal, = Journal.create([{
                        'name': "Bank", 'company': company.id,
                        'journal': account_journal.id,
                        'account': bank.id, 'validation': 'amount',
                        }])
            statement, = Statement.create([{
                        'name': "1", 'company': company.id,
                        'journal': journal.id, 'date': TODAY,
                        'total_amount': amount,
                        'lines': [('create', [{
                                        'date': TODAY, 'amount': amount,
                                        'party': self.seller.peer.party.id,
                                        'account': self.seller.receivable.id,
                                        'description': "Transfer",
                                        }])],
                        }])
            Statement.validate_statement([statement])
            Statement.post([statement])
            run_tasks()

    def check(self, document):
        self.assertEqual(list(document.check()), [])
        self.assertEqual(ubl.parse(document.to_bytes()), document)


class DocumentsTestCase(DealTestCase):
    "Test the documents of a deal"

    @with_transaction()
    def test_deal(self):
        "Test a deal from the order to the payment"
        self.set_up_deal()
        pool = Pool()
        Invoice = pool.get('account.invoice')
        Shipment = pool.get('stock.shipment.out')

        purchase = self.purchase(
            MIEL=(10, '12.345'), CIRE=(7, '1.27'), CONSEIL=(2, '450'))
        self.assertEqual(purchase.invoice_method, 'manual')
        self.assertEqual(purchase.state, 'confirmed')
        self.assertEqual(purchase.edi_state, 'waiting')

        order = deliver('order')
        self.check(order)
        sale = self.sale(order)
        self.assertEqual(sale.state, 'quotation')
        self.assertEqual(sale.untaxed_amount, Decimal('1032.34'))
        response = deliver('order_response')
        self.check(response)
        self.assertEqual(response.code, 'AB')
        self.assertEqual(purchase.state, 'confirmed')

        self.accept(sale)
        response = deliver('order_response')
        self.check(response)
        self.assertEqual(response.code, 'AP')
        self.assertEqual(purchase.edi_state, 'accepted')
        self.assertEqual(purchase.state, 'processing')
        self.assertEqual(len(purchase.moves), 2)
        self.assertEqual(purchase.invoices, ())

        shipment = self.ship(sale, MIEL=8)
        advice = deliver('despatch_advice')
        self.check(advice)
        self.assertEqual(
            {l.item.seller_code: (l.quantity, l.outstanding)
                for l in advice.lines},
            {'MIEL': (8, 2), 'CIRE': (7, None)})
        shipment_in = self.receive(honey=7)
        self.assertEqual(shipment_in.edi_state, 'answered')
        receipt = deliver('receipt_advice')
        self.check(receipt)
        self.assertEqual(
            {l.item.seller_code: (l.received, l.short)
                for l in receipt.lines},
            {'MIEL': (7, 1), 'CIRE': (7, None)})
        shipment = Shipment(shipment.id)
        self.assertEqual(shipment.edi_state, 'difference')
        # 2 still to come and 1 missing
        self.assertEqual(self.expected(purchase), 3)

        # the service was invoiced at once, the goods after their shipment
        invoices = sorted(sale.invoices, key=int)
        self.post(self.seller, *invoices)
        self.assertEqual({i.edi_state for i in invoices}, {'sent'})
        deliver('invoice')
        documents = [
            m.content for i in invoices for m in i.edi_sent('invoice')]
        service, goods = documents
        for document in documents:
            self.check(document)
        self.assertEqual(
            [(t.category, t.rate, t.base, t.amount, t.reason)
                for t in service.taxes],
            [('E', 0, 900, 0, NOTICE)])
        self.assertEqual(
            {(t.category, t.rate): (t.base, t.amount) for t in goods.taxes},
            {('S', Decimal('5.5')): (Decimal('98.76'), Decimal('5.43')),
                ('S', 20): (Decimal('8.89'), Decimal('1.78'))})
        for document in documents:
            invoice = self.invoice(document)
            self.assertEqual(invoice.state, 'draft')
            self.assertEqual(invoice.total_amount, document.total)
            self.assertEqual(invoice.tax_amount, document.tax)
            self.assertEqual(invoice.purchases, (purchase,))
        deliver('invoice_response')
        self.assertEqual({i.edi_state for i in invoices}, {'received'})

        bills = [self.invoice(d) for d in documents]
        self.post(self.buyer, *bills)
        deliver('invoice_response')
        self.assertEqual({i.edi_state for i in invoices}, {'accepted'})
        self.assertEqual(
            len(Invoice.search([('company', '=', self.buyer.company.id)])), 2)

        with self.seller.context():
            Shipment.edi_credit([shipment])
            credit, = Invoice.search([
                    ('company', '=', self.seller.company.id),
                    ('state', '=', 'draft'),
                    ])
        self.assertEqual(credit.untaxed_amount, Decimal('-12.34'))
        self.post(self.seller, credit)
        document = deliver('credit_note')
        self.check(document)
        self.assertEqual(
            [p.number for p in document.preceding], [goods.number])
        self.assertEqual(document.total, -credit.total_amount)
        credit_in = self.invoice(document)
        self.assertEqual(credit_in.total_amount, credit.total_amount)
        self.assertEqual(
            list(credit_in.origin_invoices), [self.invoice(goods)])
        self.post(self.buyer, credit_in)
        deliver('invoice_response')
        # what was credited is not expected any more
        self.assertEqual(self.expected(purchase), 2)

        self._pay([*bills, credit_in], [*invoices, credit])

        self.ship(sale)
        deliver('despatch_advice')
        self.receive()
        deliver('receipt_advice')
        rest, = [i for i in sale.invoices if i.state == 'draft']
        self.post(self.seller, rest)
        document = deliver('invoice')
        deliver('invoice_response')
        bill = self.invoice(document)
        self.assertEqual(bill.total_amount, rest.total_amount)
        self.assertEqual(purchase.shipment_state, 'received')

    def _pay(self, bills, invoices):
        pool = Pool()
        Announcement = pool.get('cooperative.edi.payment.announcement')
        total = sum(b.total_amount for b in bills)
        self.transfer(bills)
        advice = deliver('remittance_advice')
        self.check(advice)
        self.assertEqual(advice.total, total)
        with self.seller.context():
            announcement, = Announcement.search([])
        self.assertEqual(announcement.state, 'announced')
        self.assertEqual({i.state for i in invoices}, {'posted'})
        for invoice in invoices:
            self.assertTrue(invoice.amount_to_pay)

        self.credit_bank(total)
        self.assertEqual(
            Announcement(announcement.id).state, 'proposed')
        self.assertEqual({i.state for i in invoices}, {'posted'})
        with self.seller.context():
            Announcement.reconcile([announcement])
            run_tasks()
        self.assertEqual(
            Announcement(announcement.id).state, 'reconciled')
        self.assertEqual({i.state for i in invoices}, {'paid'})
        deliver('message_level_response')

    @with_transaction()
    def test_changed_order(self):
        "Test an order that the seller accepts with changes"
        self.set_up_deal()
        pool = Pool()
        Purchase = pool.get('purchase.purchase')
        SaleLine = pool.get('sale.line')
        purchase = self.purchase(MIEL=(10, '12'), CIRE=(7, '1'))
        sale = self.sale(deliver('order'))
        deliver('order_response')
        honey, wax = sale.lines
        tomorrow = TODAY + dt.timedelta(1)
        with self.seller.context():
            SaleLine.write([honey], {'quantity': 6, 'edi_date': tomorrow})
            SaleLine.write([wax], {'quantity': 0})
        self.accept(sale)
        response = deliver('order_response')
        self.check(response)
        self.assertEqual(
            [(l.code, l.quantity) for l in response.lines],
            [('3', 6), ('7', None)])
        self.assertEqual(purchase.edi_state, 'changed')
        self.assertEqual(purchase.state, 'confirmed')
        self.assertEqual([l.quantity for l in purchase.lines], [10, 7])
        self.assertEqual([l.edi_quantity for l in purchase.lines], [6, 0])
        with self.buyer.context():
            Purchase.edi_accept([purchase])
            run_tasks()
        deliver('order_change')
        deliver('order_response')
        self.assertEqual(purchase.state, 'processing')
        self.assertEqual(purchase.total_amount, sale.total_amount)
        move, = purchase.moves
        self.assertEqual((move.quantity, move.planned_date), (6, tomorrow))

    @with_transaction()
    def test_refused_order(self):
        "Test an order that the seller refuses with a reason"
        self.set_up_deal()
        Sale = Pool().get('sale.sale')
        purchase = self.purchase(MIEL=(10, '12'))
        sale = self.sale(deliver('order'))
        deliver('order_response')
        with self.seller.context():
            Sale.write([sale], {'edi_answer': "Plus de miel"})
            Sale.cancel([sale])
        response = deliver('order_response')
        self.check(response)
        self.assertEqual(purchase.state, 'cancelled')
        self.assertEqual(purchase.edi_state, 'refused')
        self.assertEqual(purchase.edi_answer, "Plus de miel")

    @with_transaction()
    def test_unknown_product(self):
        "Test an order is held until its product is known"
        self.set_up_deal()
        pool = Pool()
        Message = pool.get('cooperative.edi.message')
        Product = pool.get('product.product')
        purchase = self.purchase(MIEL=(10, '12'))
        product = self.sold['MIEL']
        Product.write([product], {'suffix_code': 'OTHER'})
        deliver('order', state='held')
        message, = Message.search([('state', '=', 'held')])
        self.assertIn('MIEL', message.error)
        Product.write([product], {'suffix_code': 'MIEL'})
        Message.retry([message])
        process(message)
        self.assertEqual(message.state, 'processed')
        self.assertEqual(message.origin.reference, purchase.number)

    @with_transaction()
    def test_refused_message(self):
        "Test an order that breaks a rule comes back"
        self.set_up_deal()
        Document = Pool().get('cooperative.edi.document')
        purchase = self.purchase(MIEL=(10, '12'))
        received = receive(purchase.edi_sent('order')[0])
        with unittest.mock.patch.object(
                Document, 'check_order',
                side_effect=refused("Not an approved offer")):
            process(received)
        self.assertEqual(received.state, 'refused')
        response = deliver('message_level_response')
        self.check(response)
        self.assertEqual(purchase.state, 'cancelled')
        self.assertIn("Not an approved offer", purchase.edi_answer)

    @with_transaction()
    def test_invoice_without_order(self):
        "Test an invoice of something that was not ordered"
        self.set_up_deal()
        document = self.issue(("Cotisation 2026", 1, '50'))
        tax, = document.taxes
        self.assertEqual((tax.category, tax.amount), ('E', 0))
        bill = self.invoice(document)
        self.assertEqual(bill.total_amount, 50)
        line, = bill.lines
        self.assertEqual(line.account, self.buyer.expense)
        self.post(self.buyer, bill)
        self.assertEqual(bill.state, 'posted')

    @with_transaction()
    def test_seller_without_vat(self):
        "Test an invoice of a seller below the threshold of the VAT"
        self.set_up_deal()
        Identifier = Pool().get('party.identifier')
        Identifier.delete([
                i for i in self.seller.company.party.identifiers
                if i.type == 'eu_vat'])
        with self.seller.context():
            tax = self.seller.tax("293 B", '0', 'sale', notice=NOTICE)
        document = self.issue(("Conseil", 3, '100'), tax=tax)
        tax, = document.taxes
        self.assertEqual((tax.category, tax.reason), ('E', NOTICE))
        self.assertEqual(document.seller.tax_id, '732829320')
        self.assertEqual(self.invoice(document).tax_amount, 0)

    @with_transaction()
    def test_taxes_not_deducted(self):
        "Test the cents of a buyer for whom the taxes are an expense"
        self.set_up_deal()
        company = self.buyer.company
        company.purchase_taxes_expense = True
        company.save()
        with self.seller.context():
            tax = self.seller.tax("20 %", '0.2', 'sale')
        document = self.issue(
            ("One", 7, '0.33'), ("Two", 7, '0.33'), ("Three", 7, '0.33'),
            tax=tax)
        self.assertEqual(document.total, Decimal('8.32'))
        bill = self.invoice(document)
        self.assertEqual(bill.total_amount, Decimal('8.32'))
        self.assertEqual(bill.tax_amount, 0)
        self.post(self.buyer, bill)
        self.assertEqual(bill.state, 'posted')

    @with_transaction()
    def test_credit_note_before_invoice(self):
        "Test a credit note waits for the invoice that it credits"
        self.set_up_deal()
        pool = Pool()
        Invoice = pool.get('account.invoice')
        Message = pool.get('cooperative.edi.message')
        self.purchase(CONSEIL=(2, '450'))
        sale = self.sale(deliver('order'))
        self.accept(sale)
        deliver('order_response')
        invoice, = sale.invoices
        self.post(self.seller, invoice)
        with self.seller.context():
            credit, = Invoice.credit([invoice])
        self.post(self.seller, credit)
        first, second = Message.search(
            [('state', '=', 'waiting')], order=[('id', 'ASC')])
        note = receive(second)
        process(note)
        self.assertEqual(note.state, 'parked')
        bill = receive(first)
        process(bill)
        self.assertEqual(bill.state, 'processed')
        process(note)
        self.assertEqual(note.state, 'processed')
        self.assertEqual(
            note.origin.total_amount, -bill.origin.total_amount)

    @with_transaction()
    def test_same_number(self):
        "Test a second message of the same order makes no other sale"
        self.set_up_deal()
        pool = Pool()
        Document = pool.get('cooperative.edi.document')
        Message = pool.get('cooperative.edi.message')
        purchase = self.purchase(MIEL=(10, '12'))
        sale = self.sale(deliver('order'))
        with self.buyer.context():
            order = Document.order(purchase)
            number, other = (
                ubl.Order(**{**vars(order), **values}) for values in [
                    {'number': purchase.number},
                    {'number': purchase.number, 'note': "Other"}])
            for document in [number, other]:
                Message.send(self.buyer.relation, document)
        messages = Message.search(
            [('kind', '=', 'order'), ('state', '=', 'waiting')],
            order=[('id', 'ASC')])
        received = [receive(m) for m in messages]
        for message in received:
            process(message)
        same, different = received
        self.assertEqual((same.state, same.origin), ('processed', sale))
        self.assertEqual(different.state, 'refused')


def refused(text):
    from cooperative_edi.exceptions import DocumentRefused
    return DocumentRefused('BV', text)
