# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""People at work in their own Tryton, by proteus over HTTP.

Nothing here knows more than what the person sees and presses.
"""
import functools
import time
from decimal import Decimal

from .. import CommandError
from ..calendar import today
from ..client import Client

GROUPS = [
    'cooperative_edi.group_edi',
    'cooperative_edi.group_edi_admin',
    ]
TRADE_GROUPS = GROUPS + [
    'account.group_account',
    'account_product.group_account_product_admin',
    'account_payment.group_payment',
    'account_payment.group_payment_approval',
    'account_statement.group_statement',
    'party.group_party_admin',
    'product.group_product_admin',
    'purchase.group_purchase',
    'sale.group_sale',
    'stock.group_stock',
    'stock.group_stock_force_assignment',
    ]
MEMBER_GROUPS = TRADE_GROUPS + [
    'cooperative_community.group_member',
    'cooperative_offer.group_offerer',
    'cooperative_offer.group_buyer',
    ]
MANAGER_GROUPS = TRADE_GROUPS + [
    'cooperative_community.group_manager',
    ]
TRUST_GROUPS = GROUPS + [
    'cooperative_trust.group_trust',
    ]

STUCK = ['parked', 'held', 'failed', 'refused']
UNSETTLED = ['checking', 'waiting', 'received', *STUCK]


class DemoError(CommandError):
    "The story did not go as told"


class Actor:
    "A person of an instance, by its server, login and password"
    groups = MEMBER_GROUPS
    # Of the models, shared by those with the same groups
    descriptions = None

    def __init__(self, server, login, password):
        self.server = server
        self.login = login
        self.password = password

    @property
    def name(self):
        return self.server.name

    @property
    def company(self):
        return self.server.instance.company

    @functools.cached_property
    def client(self):
        self.server.wait_ready()
        return Client(
            self.server.instance, self.login, self.password,
            self.descriptions)

    def model(self, name):
        return self.client.model(name)

    def find(self, name, domain=(), **options):
        return self.model(name).find(list(domain), **options)

    def find_one(self, name, *domain):
        records = self.find(name, domain)
        if len(records) != 1:
            raise DemoError(
                f"{self.name}: {len(records)} {name} where one was expected: "
                f"{domain}")
        return records[0]

    def wizard(self, name, records=None):
        return self.client.wizard(name, records)

    def read(self, name, domain, fields):
        return self.client.read(name, domain, fields)

    def url(self):
        return self.server.instance.cooperative_url

    # Identity

    def identify(self, identifier, kind='participant'):
        "Make the identity of the company and return its recovery key"
        Identity = self.model('cooperative.edi.identity')
        identity = Identity(identifier=identifier, kind=kind)
        identity.save()
        wizard = self.wizard('cooperative.edi.identity.generate', [identity])
        recovery = wizard.form.recovery
        wizard.execute('end')
        self.identifier = identifier
        return recovery

    @property
    def fingerprint(self):
        identity, = self.find('cooperative.edi.identity')
        return identity.fingerprint

    def add_peer(self, actor):
        "Add the other by its address, once the fingerprints are compared"
        wizard = self.wizard('cooperative.edi.peer.add')
        wizard.form.url = actor.url()
        wizard.execute('compare')
        if wizard.form.fingerprint != actor.fingerprint:
            raise DemoError(f"{self.name}: not the fingerprint of {actor}")
        wizard.form.compared = True
        wizard.execute('add')
        return self.peer(actor)

    def peer(self, actor):
        return self.find_one(
            'cooperative.edi.peer', ('identifier', '=', actor.identifier))

    def messages(self, *domain):
        return self.find(
            'cooperative.edi.message', domain, order=[('id', 'ASC')])

    def unsettled(self):
        """Return the messages that still have to be sent or imported, or
        that wait for a person, as dictionaries"""
        return self.read(
            'cooperative.edi.message', [('state', 'in', UNSETTLED)],
            ['rec_name', 'state', 'error'])

    def newest_message(self):
        "Return the id of the newest message, in a list"
        return self.client.call(
            'cooperative.edi.message', 'search', [], 0, 1, [('id', 'DESC')])

    # Trade

    def relate(self, actor, community=None, trust_party=None):
        "Propose the relation by which the other is dealt with"
        Relation = self.model('cooperative.edi.relation')
        relation = Relation(
            peer=self.peer(actor),
            community=self.peer(community) if community else None,
            trust_party=self.peer(trust_party) if trust_party else None)
        relation.save()
        relation.click('propose')
        return relation

    def pay(self, *invoices):
        "Pay the posted supplier invoices by one bank transfer"
        payments = self.process_payments(*invoices)
        self.model('account.payment').click(payments, 'succeed')
        return sum(
            (p.amount if p.kind == 'payable' else -p.amount)
            for p in payments)

    def process_payments(self, *invoices):
        "Give the bank the order to pay the posted supplier invoices"
        for invoice in invoices:
            invoice.reload()
        lines = [
            l for i in invoices for l in i.lines_to_pay
            if not l.reconciliation]
        if not lines:
            raise DemoError(f"{self.name}: nothing to pay")
        wizard = self.wizard('account.move.line.pay', lines)
        wizard.form.date = today()
        wizard.execute('next_')
        if wizard.form_state == 'ask_journal':
            wizard.execute('next_')
        payments = self.find('account.payment', [
                ('line', 'in', [l.id for l in lines]),
                ])
        Payment = self.model('account.payment')
        Payment.click(payments, 'submit')
        Payment.click([p for p in payments if p.kind == 'payable'], 'approve')
        self.wizard('account.payment.process', payments)
        for payment in payments:
            payment.reload()
        return payments

    def bank_statement(self, *receipts):
        "Enter and post the bank's statement of what the others paid"
        Statement = self.model('account.statement')
        journal, = self.find('account.statement.journal')
        statement = Statement(
            name=f"Relevé {today()}", journal=journal,
            total_amount=sum(a for _, a in receipts))
        for party, amount in receipts:
            line = statement.lines.new()
            line.number = str(len(statement.lines))
            line.date = today()
            line.party = party
            line.amount = amount
        statement.save()
        statement.click('validate_statement')
        statement.click('post')
        self._reconcile()
        return statement

    def _reconcile(self):
        "Accept what is proposed for the announced payments"
        Announcement = self.model('cooperative.edi.payment.announcement')
        if proposed := self.find(
                Announcement.__name__, [('state', '=', 'proposed')]):
            Announcement.click(proposed, 'reconcile')

    def balance(self, actor, kind):
        "Return what is open with the other, receivable or payable"
        Line = self.model('account.move.line')
        peers = self.find('cooperative.edi.peer', [
                ('identifier', '=', actor.identifier)])
        lines = Line.find([
                ('party', 'in', [p.party.id for p in peers]),
                (f'account.type.{kind}', '=', True),
                ('reconciliation', '=', None),
                ])
        sign = 1 if kind == 'receivable' else -1
        return sign * sum((l.debit - l.credit for l in lines), Decimal(0))

    def invoiced(self, actor, type):
        "Return the total of the posted invoices, credit notes deducted"
        peers = self.find('cooperative.edi.peer', [
                ('identifier', '=', actor.identifier)])
        invoices = self.find('account.invoice', [
                ('type', '=', type),
                ('party', 'in', [p.party.id for p in peers]),
                ('state', 'in', ['posted', 'paid']),
                ])
        return sum((i.total_amount for i in invoices), Decimal(0))

    def quantity(self, code):
        "Return how much of the product is in the warehouse"
        Product = self.model('product.product')
        warehouse, = self.find(
            'stock.location', [('type', '=', 'warehouse')], limit=1)
        with self.client.config.set_context(
                locations=[warehouse.storage_location.id],
                stock_date_end=today()):
            products = Product.find([('code', '=', code)])
            return sum(p.quantity for p in products)


def wait(condition, what, timeout=300):
    "Wait until the condition is true; raise DemoError after the timeout"
    limit = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > limit:
            raise DemoError(f"{what} did not happen in {timeout} seconds")
        time.sleep(0.2)
    return value
