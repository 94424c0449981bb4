# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
from trytond import backend
from trytond.exceptions import UserError
from trytond.i18n import gettext
from trytond.model import (
    DeactivableMixin, Index, ModelSQL, ModelView, Unique, fields)
from trytond.pool import Pool
from trytond.pyson import Eval, If
from trytond.tools import grouped_slice
from trytond.transaction import Transaction
from trytond.wizard import StateAction, Wizard

from trycoton.protocol import ubl
from trycoton.protocol.errors import ProtocolError, Rejected

from .exceptions import OfferSupplierError
from .terms import TERMS, TermsMixin

GOODS = {'good', 'gift'}


class Item(TermsMixin, DeactivableMixin, ModelSQL, ModelView):
    __name__ = 'cooperative.offer.item'

    company = fields.Many2One(
        'company.company', "Company", required=True, readonly=True,
        ondelete='CASCADE')
    community = fields.Many2One(
        'cooperative.edi.peer', "Community", required=True, readonly=True,
        ondelete='CASCADE',
        help="The community that approved the offer.")
    seller = fields.Many2One(
        'cooperative.edi.peer', "Seller", required=True, readonly=True,
        ondelete='CASCADE')
    line = fields.Char("Line", required=True, readonly=True,
        help="The line of the catalogue, "
        "the same for each version of the offer.")
    message = fields.Char("Message", required=True, readonly=True,
        help="The UUID of the catalogue that the seller signed.")
    digest = fields.Char("Digest", required=True, readonly=True,
        help="The digest of the catalogue that the seller signed.")
    product_supplier = fields.Many2One(
        'purchase.product_supplier', "Product Supplier", readonly=True,
        ondelete='SET NULL',
        help="By which the purchases find the offer.")
    product = fields.Function(fields.Many2One(
            'product.product', "Product",
            context={
                'company': Eval('company', -1),
                },
            depends={'company'}),
        'on_change_with_product', searcher='search_product')

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_constraints += [
            ('line_unique',
                Unique(t, t.community, t.seller, t.digest, t.line),
                'cooperative_offer.msg_item_line_unique'),
            ]
        cls._sql_indexes.add(
            Index(t, (t.seller, Index.Equality()),
                (t.code, Index.Equality())))
        cls._order = [('name', 'ASC'), ('id', 'ASC')]
        cls._freeze_terms()
        cls.active.readonly = True
        cls.active.help = "The offer can be ordered."
        cls._buttons.update(
            make_purchasable={
                'invisible': (
                    ~Eval('active', True) | Eval('product_supplier')),
                'depends': ['active', 'product_supplier'],
                },
            order={
                'invisible': ~Eval('active', True),
                'depends': ['active'],
                },
            )

    @fields.depends('product_supplier')
    def on_change_with_product(self, name=None):
        return self.product_supplier and self.product_supplier.product

    @classmethod
    def search_product(cls, name, clause):
        return [('product_supplier.' + clause[0], *clause[1:])]

    def get_rec_name(self, name):
        return f"[{self.code}] {self.name}"

    @classmethod
    def search_rec_name(cls, name, clause):
        _, operator, *_ = clause
        bool_op = 'AND' if operator.startswith(('!', 'not ')) else 'OR'
        return [bool_op,
            ('name', *clause[1:]),
            ('code', *clause[1:]),
            ('description', *clause[1:]),
            ('seller.rec_name', *clause[1:]),
            ]

    @classmethod
    def view_attributes(cls):
        return super().view_attributes() + [
            ('/tree', 'visual', If(~Eval('active', True), 'muted', '')),
            ]

    @property
    def key(self):
        "What is the same for each version of an offer"
        return self.seller.id, self.line

    @classmethod
    @ModelView.button
    def make_purchasable(cls, items):
        for item in items:
            if item.active and not item.product_supplier:
                item._make_supplier()
        cls.save(items)

    @classmethod
    @ModelView.button_action('cooperative_offer.wizard_item_order')
    def order(cls, items):
        pass

    # Catalogue

    @classmethod
    def update_from(cls, community, approvals):
        """Make the offers of the community those that were approved and
        return what was left out and why"""
        verified, errors = {}, []
        for approval in approvals:
            try:
                verified.update(cls._verify(community, approval, errors))
            except (ProtocolError, UserError) as exception:
                errors.append(gettext(
                        'cooperative_offer.msg_item_refused',
                        seller=approval.seller, error=str(exception)))
        cls._replace(community, verified)
        return errors

    @classmethod
    def _verify(cls, community, approval, errors):
        "Yield key and values of the lines that seller and community signed"
        pool = Pool()
        Participant = pool.get('cooperative.community.participant')
        Peer = pool.get('cooperative.edi.peer')
        seller = Peer.get(community.company.id, approval.seller)
        if not seller or not Participant.find(community, seller, 'offerer'):
            raise Rejected("not an active offerer of the directory")
        approval.verify(seller.public_keys())
        envelope = approval.envelope
        if envelope.receiver != community.identifier:
            raise Rejected("a catalogue for somebody else")
        for line in ubl.parse(envelope.payload).lines:
            if line.id not in approval.lines or line.action == 'Delete':
                continue
            try:
                terms = cls.terms_of(line)
            except UserError as exception:
                errors.append(f"{line.item.name}: {exception}")
                continue
            yield (seller.id, envelope.digest, line.id), {
                'company': community.company.id,
                'community': community.id,
                'seller': seller.id,
                'line': line.id,
                'message': envelope.id,
                'digest': envelope.digest,
                'active': True,
                **terms,
                }

    @classmethod
    def _replace(cls, community, verified):
        domain = [('community', '=', community.id)]
        with Transaction().set_context(active_test=False):
            known = {
                (i.seller.id, i.digest, i.line): i
                for i in cls.search(domain)}
        gone = [i for k, i in known.items() if i.active and k not in verified]
        back = [i for k, i in known.items() if not i.active and k in verified]
        cls._insert([v for k, v in verified.items() if k not in known])
        cls.write(gone, {'active': False})
        cls.write(back, {'active': True})
        cls._hand_over(gone, cls.search(domain))

    @classmethod
    def _insert(cls, values):
        "Create the offers, of which there may be many"
        table = cls.__table__()
        cursor = Transaction().connection.cursor()
        names = [
            'company', 'community', 'seller', 'line', 'message', 'digest',
            'active', *TERMS]
        columns = [getattr(table, n) for n in names]
        for sub_values in grouped_slice(
                values, backend.MAX_QUERY_PARAMS // len(names)):
            cursor.execute(*table.insert(columns, [
                        [getattr(cls, n).sql_format(v[n]) for n in names]
                        for v in sub_values]))

    @classmethod
    def _hand_over(cls, gone, items):
        "Give the suppliers of the versions gone to those that replace them"
        items = {i.key: i for i in items}
        replacing = []
        for old in gone:
            new = items.get(old.key)
            if new and old.product_supplier and new.unit == old.unit:
                new.product_supplier = old.product_supplier
                new._update_supplier()
                replacing.append(new)
        cls.save(replacing)

    # Suppliers

    @classmethod
    def make_all_purchasable(cls, community, limit):
        "Make products of all the offers unless they are many"
        errors = []
        items = cls.search([('community', '=', community.id)])
        if len(items) > limit:
            return errors
        for item in items:
            if item.product_supplier:
                continue
            try:
                item._make_supplier()
                item.save()
            except UserError as exception:
                errors.append(f"{item.rec_name}: {exception}")
        return errors

    def _make_supplier(self):
        pool = Pool()
        Supplier = pool.get('purchase.product_supplier')
        product = self._known_product()
        if not product:
            product = self._product()
        supplier = Supplier(
            template=product.template, product=product,
            party=self.seller.party, company=self.company,
            community=self.community)
        self.product_supplier = supplier
        self._update_supplier()

    def _known_product(self):
        "Return the product already made of another offer of the seller"
        with Transaction().set_context(active_test=False):
            items = self.search([
                    ('company', '=', self.company.id),
                    ('seller', '=', self.seller.id),
                    ('code', '=', self.code),
                    ('unit', '=', self.unit.id),
                    ('product_supplier', '!=', None),
                    ], limit=1)
        return items[0].product if items else None

    def _product(self):
        pool = Pool()
        Category = pool.get('product.category')
        Product = pool.get('product.product')
        Template = pool.get('product.template')
        type = 'goods' if self.kind in GOODS else 'service'
        # First as it may raise an error
        category = Category.for_purchase_vat(self.vat_rate, type)
        template = Template(
            name=self.name, type=type,
            default_uom=self.unit, purchasable=True, purchase_uom=self.unit,
            account_category=category,
            products=[Product(description=self.description)])
        if type == 'service':
            template.cost_price_method = 'fixed'
        template.save()
        product, = template.products
        return product

    def _update_supplier(self):
        "Make the supplier say what the offer says"
        pool = Pool()
        Price = pool.get('purchase.product_supplier.price')
        supplier = self.product_supplier
        supplier.code = self.code
        supplier.name = self.name
        supplier.currency = self.currency
        supplier.lead_time = self.lead_time
        supplier.prices = [Price(
                quantity=self.min_quantity or 0, unit_price=self.price)]
        supplier.active = True
        supplier.save()

    @classmethod
    def update_suppliers(cls, community):
        "Keep active the suppliers whose offer can be ordered today"
        pool = Pool()
        Date = pool.get('ir.date')
        Supplier = pool.get('purchase.product_supplier')
        today = Date.today()
        offered = {
            i.product_supplier for i in cls.search([
                    ('community', '=', community.id),
                    ('product_supplier', '!=', None),
                    ]) if i.is_valid_on(today)}
        with Transaction().set_context(active_test=False):
            known = set(Supplier.search([
                        ('community', '=', community.id),
                        ]))
        Supplier.write([s for s in known - offered if s.active], {
                'active': False,
                })
        Supplier.write([s for s in known & offered if not s.active], {
                'active': True,
                })

    # Orders

    @classmethod
    def approved(cls, relation, code):
        "Return the offers of the code that may be ordered in the relation"
        return cls.search([
                ('community', '=', relation.community.id),
                ('seller', '=', relation.peer.id),
                ('code', '=', code),
                ])

    def quantity_left(self, purchase):
        "Return what our other purchases leave to order"
        pool = Pool()
        Line = pool.get('purchase.line')
        Uom = pool.get('product.uom')
        if self.quantity is None:
            return
        others = Line.search([
                ('offer', '=', self.id),
                ('purchase.state', 'in',
                    ['quotation', 'confirmed', 'processing', 'done']),
                ('purchase', '!=', purchase.id),
                ])
        return self.quantity - sum(
            Uom.compute_qty(l.unit, l.quantity, self.unit, round=False)
            for l in others)

    def purchase(self):
        "Return a draft purchase with a line for the offer"
        pool = Pool()
        Purchase = pool.get('purchase.purchase')
        if not self.product_supplier:
            self.make_purchasable([self])
        relation = self._relation()
        purchases = Purchase.search([
                ('company', '=', self.company.id),
                ('relation', '=', relation.id),
                ('state', '=', 'draft'),
                ('currency', '=', self.currency.id),
                ], limit=1)
        if purchases:
            purchase, = purchases
        else:
            purchase = Purchase(
                company=self.company, party=self.seller.party)
            purchase.on_change_party()
            purchase.currency = self.currency
            purchase.relation = relation
            purchase.invoice_method = 'manual'
        purchase.lines = [*(purchase.lines or []), self._line(purchase)]
        purchase.save()
        return purchase

    def _relation(self):
        pool = Pool()
        Relation = pool.get('cooperative.edi.relation')
        relation = Relation.find(
            self.company.id, self.seller, community=self.community)
        if not relation:
            raise OfferSupplierError(gettext(
                    'cooperative_offer.msg_item_relation',
                    seller=self.seller.rec_name,
                    community=self.community.rec_name))
        return relation

    def _line(self, purchase):
        pool = Pool()
        Line = pool.get('purchase.line')
        line = Line(
            type='line', purchase=purchase, product=self.product,
            product_supplier=self.product_supplier, unit=self.unit,
            quantity=self.min_quantity or 1)
        line.on_change_product()
        line.product_supplier = self.product_supplier
        line.unit_price = self.price
        return line


class ItemOrder(Wizard):
    __name__ = 'cooperative.offer.item.order'
    start_state = 'order'
    order = StateAction('purchase.act_purchase_form')

    def do_order(self, action):
        purchases = {i.purchase() for i in self.records}
        if len(purchases) == 1:
            action['views'].reverse()
        return action, {'res_id': [p.id for p in purchases]}
