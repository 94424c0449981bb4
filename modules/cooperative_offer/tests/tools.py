# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"A community, a seller and a buyer in one database"
from decimal import Decimal

from trytond.exceptions import UserError
from trytond.modules.currency.tests import add_currency_rate, create_currency
from trytond.pool import Pool
from trytond.transaction import Transaction

from cooperative_community.tests.tools import Response as DirectoryResponse
from cooperative_community.tests.tools import (
    applied, configure, create_actor, create_community, deliver, identity_of,
    join)

UUID = '5cd2d2a0-67ab-4c1c-8fd9-4b3ab2eabc01'


def run_tasks():
    "Run what the queue would run after the commit"
    Queue = Pool().get('ir.queue')
    tasks = Transaction().tasks
    while tasks:
        Queue(tasks.pop(0)).run()


class Response:
    "What the catalogue route answers"
    status = 200

    def __init__(self, data, tag):
        self.data = data
        self.headers = {'ETag': f'"{tag}"'}


class Side:
    "A company with its identity and the accounts that its products need"

    def __init__(self, name, siren, currency, kind='participant'):
        self.company = create_actor(
            f'0225:{siren}', name, kind=kind, currency=currency)
        self.identity = identity_of(self.company)
        self._set_party(siren)
        with self.context():
            self.expense = self._account("Expense", 'income', expense=True)
            self.revenue = self._account("Revenue", 'income', revenue=True)
            self.tax_account = self._account("VAT", 'balance')
            Configuration = Pool().get('account.configuration')
            configuration = Configuration(1)
            configuration.default_category_account_expense = self.expense
            configuration.save()

    def context(self):
        return Transaction().set_context(
            company=self.company.id, companies=[self.company.id],
            _skip_warnings=True)

    def _set_party(self, siren):
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
        Identifier.create([{
                    'party': party.id,
                    'type': 'fr_siren',
                    'code': siren,
                    }])

    def _account(self, name, statement, **flags):
        pool = Pool()
        Account = pool.get('account.account')
        Type = pool.get('account.account.type')
        type, = Type.create([{
                    'name': name,
                    'company': self.company.id,
                    'statement': statement,
                    **flags,
                    }])
        account, = Account.create([{
                    'name': name,
                    'company': self.company.id,
                    'type': type.id,
                    }])
        return account

    def tax(self, name, rate, kind):
        pool = Pool()
        Group = pool.get('account.tax.group')
        Tax = pool.get('account.tax')
        group, = Group.create([{'name': name, 'code': name, 'kind': kind}])
        tax, = Tax.create([{
                    'name': name,
                    'description': name,
                    'company': self.company.id,
                    'group': group.id,
                    'type': 'percentage',
                    'rate': Decimal(rate),
                    'invoice_account': self.tax_account.id,
                    'credit_note_account': self.tax_account.id,
                    }])
        return tax

    def product(self, name, code, unit, tax):
        pool = Pool()
        Category = pool.get('product.category')
        Template = pool.get('product.template')
        category, = Category.create([{
                    'name': name,
                    'accounting': True,
                    'account_expense': self.expense.id,
                    'account_revenue': self.revenue.id,
                    'customer_taxes': [('add', [tax.id])],
                    }])
        template = Template(
            name=name, type='goods', default_uom=unit, salable=True,
            sale_uom=unit, list_price=Decimal('1'),
            account_category=category)
        template.products = [{'suffix_code': code}]
        template.save()
        product, = template.products
        return product


class Market:
    "Who takes part, with one offer of honey ready to submit"

    def __init__(self):
        pool = Pool()
        configure()
        currency = create_currency('EUR')
        add_currency_rate(currency, 1)
        self.manager = Side(
            "Communauté", '356000000', currency, kind='community')
        self.seller = Side("Rucher", '732829320', currency)
        self.buyer = Side("Épicerie", '404833048', currency)
        self._set_up_community()
        self._set_up_relation()
        Uom = pool.get('product.uom')
        self.kilogram, = Uom.search([('name', '=', "Kilogram")])
        self.gram, = Uom.search([('name', '=', "Gram")])
        with self.seller.context():
            tax = self.seller.tax("VAT 5.5 %", '0.055', 'sale')
            self.honey = self.seller.product(
                "Miel", 'MIEL', self.kilogram, tax)
        with self.buyer.context():
            self.buyer.tax("Supplier VAT 5.5 %", '0.055', 'purchase')

    def _set_up_community(self):
        pool = Pool()
        Directory = pool.get('cooperative.community.directory')
        Membership = pool.get('cooperative.community.membership')
        with self.manager.context():
            self.community = create_community(self.manager.company)
        self.memberships = {}
        for side, offerer, buyer in [
                (self.seller, True, False), (self.buyer, False, True)]:
            join(side.company, self.community, offerer, buyer)
            with self.manager.context():
                membership = applied(side.company, self.community)
                Membership.accept([membership])
            deliver(self.manager.company)
            self.memberships[side] = Membership(membership.id)
        with self.manager.context():
            self.directory = Directory.publish(self.community)
        for side in [self.seller, self.buyer]:
            side.community = self.joined(side)
            with side.context():
                Directory.synchronise(
                    side.community, DirectoryResponse(self.directory))

    def joined(self, side):
        Community = Pool().get('cooperative.community')
        community, = Community.search([
                ('company', '=', side.company.id),
                ('role', '=', 'member'),
                ])
        return community

    def _set_up_relation(self):
        pool = Pool()
        Peer = pool.get('cooperative.edi.peer')
        Relation = pool.get('cooperative.edi.relation')
        for side, other in [
                (self.seller, self.buyer), (self.buyer, self.seller)]:
            with side.context():
                side.peer = Peer.get(
                    side.company.id, other.identity.identifier)
                side.relation = Relation(
                    company=side.company, peer=side.peer, state='agreed',
                    uuid=UUID, community=side.community.peer)
                side.relation.save()

    def offer(self, price='9.5', **values):
        "Return a new draft offer of honey"
        Offer = Pool().get('cooperative.offer')
        with self.seller.context():
            offer = Offer(
                company=self.seller.company, product=self.honey,
                community=self.seller.community.peer,
                currency=self.seller.company.currency)
            offer.on_change_product()
            offer.price = Decimal(price)
            for name, value in values.items():
                setattr(offer, name, value)
            offer.save()
        return offer

    def submit(self, offer):
        "Submit the offer and return what the manager has to moderate"
        pool = Pool()
        Moderation = pool.get('cooperative.offer.moderation')
        Offer = pool.get('cooperative.offer')
        with self.seller.context():
            Offer.submit([offer])
        self.exchange()
        moderations = Moderation.search([
                ('state', '=', 'submitted'),
                ], order=[('id', 'DESC')], limit=1)
        return moderations[0] if moderations else None

    def approve(self, moderation):
        Moderation = Pool().get('cooperative.offer.moderation')
        with self.manager.context():
            Moderation.approve([moderation])
        self.exchange()

    def refuse(self, moderation, reason):
        Moderation = Pool().get('cooperative.offer.moderation')
        with self.manager.context():
            Moderation.refuse_for([moderation], reason)
        self.exchange()

    def change(self, offer, **values):
        Offer = Pool().get('cooperative.offer')
        with self.seller.context():
            Offer.change([offer])
            Offer.write([offer], values)

    def on_sale(self, **values):
        "Return an approved offer"
        offer = self.offer(**values)
        self.approve(self.submit(offer))
        return offer

    def exchange(self):
        "Bring every message to whom it is for"
        pool = Pool()
        Message = pool.get('cooperative.edi.message')
        with Transaction().set_context(_skip_warnings=True):
            run_tasks()
            while messages := Message.search([
                        ('direction', '=', 'out'),
                        ('state', '=', 'waiting'),
                        ], order=[('id', 'ASC')]):
                for message in messages:
                    received, _ = Message.receive(
                        bytes(message.data), message.signature)
                    Message.write([message], {'state': 'sent'})
                    self.process(received)
                    run_tasks()

    def process(self, message):
        Message = Pool().get('cooperative.edi.message')
        try:
            Message.process(message.id)
        except UserError as exception:
            Message.not_processed(message.id, exception)

    def answer(self):
        "Return what the buyer is answered for the catalogue"
        Page = Pool().get('cooperative.offer.page')
        with self.manager.context():
            return Response(*Page.answer(
                    self.community, self.memberships[self.buyer].groups))

    def synchronise(self, response=None):
        "Have the buyer take the offers and return its active items"
        pool = Pool()
        Community = pool.get('cooperative.community')
        Item = pool.get('cooperative.offer.item')
        with self.buyer.context():
            Community(self.buyer.community.id)._take_offers(
                response or self.answer())
            return Item.search([('company', '=', self.buyer.company.id)])

    def purchase(self, item, **values):
        "Return a draft purchase with a line for the offer"
        pool = Pool()
        Line = pool.get('purchase.line')
        with self.buyer.context():
            purchase = item.purchase()
            if values:
                Line.write(list(purchase.lines), values)
            return purchase

    def order(self, purchase):
        "Have the buyer order and the seller take the order in"
        Purchase = Pool().get('purchase.purchase')
        with self.buyer.context():
            Purchase.quote([purchase])
            Purchase.confirm([purchase])
        self.exchange()
