# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
from itertools import groupby

from sql import Null
from sql.aggregate import Sum
from trytond import backend
from trytond.i18n import gettext
from trytond.model import Index, ModelSQL, ModelView, Unique, Workflow, fields
from trytond.model.exceptions import AccessError
from trytond.modules.account_product.exceptions import AccountError, TaxError
from trytond.modules.company.model import employee_field, set_employee
from trytond.modules.product import round_price
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Bool, Eval
from trytond.tools import grouped_slice
from trytond.transaction import Transaction
from trytond.wizard import Button, StateAction, StateView, Wizard

from cooperative_edi.column import BigInteger
from cooperative_edi.exceptions import DocumentRefused
from trycoton.protocol.errors import ProtocolError
from trycoton.protocol.offer import ApprovalStatement
from trycoton.protocol.ubl import Catalogue, CatalogueLine, Item

from .exceptions import OfferIncompleteError, OfferRelationError
from .terms import TermsMixin, decimal, percent, ratio, visual


class Offer(TermsMixin, Workflow, ModelSQL, ModelView):
    __name__ = 'cooperative.offer'

    company = fields.Many2One(
        'company.company', "Company", required=True,
        states={
            'readonly': Bool(Eval('product')) | (Eval('state') != 'draft'),
            })
    community = fields.Many2One(
        'cooperative.edi.peer', "Community", required=True,
        ondelete='RESTRICT',
        domain=[
            ('company', '=', Eval('company', -1)),
            ('kind', '=', 'community'),
            ],
        states={
            'readonly': Bool(Eval('versions', [-1])),
            },
        help="The community that approves the offer for its members.")
    product = fields.Many2One(
        'product.product', "Product", required=True, ondelete='RESTRICT',
        domain=[
            ('salable', '=', True),
            ],
        states={
            'readonly': Bool(Eval('versions', [-1])),
            },
        context={
            'company': Eval('company', -1),
            },
        depends={'company'})
    versions = fields.One2Many(
        'cooperative.offer.version', 'offer', "Versions", readonly=True)
    version = fields.Function(fields.Integer(
            "Version",
            help="The number of the last version that was submitted."),
        'get_last')
    reason = fields.Function(fields.Text(
            "Reason",
            states={
                'invisible': ~Eval('reason'),
                },
            help="Why the community refused the last version."),
        'get_last')
    on_sale = fields.Function(fields.Many2One(
            'cooperative.offer.version', "On Sale",
            help="The approved version at which members can order now."),
        'get_on_sale', searcher='search_on_sale')
    quantity_left = fields.Function(fields.Float(
            "Quantity Left", digits='unit',
            help="What can still be ordered of the version on sale.\n"
            "Empty if there is no limit."),
        'get_quantity_left')
    submitted_by = employee_field(
        "Submitted By",
        states=['submitted', 'approved', 'refused', 'withdrawn'])
    state = fields.Selection([
            ('draft', "Draft"),
            ('submitted', "Submitted"),
            ('approved', "Approved"),
            ('refused', "Refused"),
            ('withdrawn', "Withdrawn"),
            ], "State", required=True, readonly=True, sort=False)

    @classmethod
    def __setup__(cls):
        super().__setup__()
        # Only what is submitted keeps what the product said at that time
        cls.code = fields.Function(fields.Char(
                "Code", help="The code of the product."),
            'on_change_with_code', searcher='search_code')
        cls.vat_category = fields.Function(
            cls.vat_category, 'on_change_with_vat_category')
        cls.vat_rate = fields.Function(
            cls.vat_rate, 'on_change_with_vat_rate')
        t = cls.__table__()
        cls._sql_constraints += [
            ('product_unique', Unique(t, t.company, t.community, t.product),
                'cooperative_offer.msg_offer_product_unique'),
            ]
        cls._sql_indexes.add(
            Index(
                t, (t.state, Index.Equality(cardinality='low')),
                where=t.state.in_(['draft', 'submitted'])))
        cls._order.insert(0, ('id', 'DESC'))
        cls._freeze_terms(Eval('state') != 'draft')
        cls._transitions |= {
            ('draft', 'submitted'),
            ('submitted', 'approved'),
            ('submitted', 'refused'),
            ('submitted', 'withdrawn'),
            ('approved', 'draft'),
            ('approved', 'withdrawn'),
            ('refused', 'draft'),
            ('refused', 'withdrawn'),
            ('draft', 'withdrawn'),
            ('withdrawn', 'draft'),
            }
        cls._buttons.update(
            submit={
                'invisible': Eval('state') != 'draft',
                'depends': ['state'],
                },
            change={
                'invisible': ~Eval('state').in_(
                    ['approved', 'refused', 'withdrawn']),
                'depends': ['state'],
                },
            withdraw={
                'invisible': (
                    (Eval('state') == 'withdrawn')
                    | ~Eval('versions', [])),
                'depends': ['state', 'versions'],
                },
            )

    @classmethod
    def default_company(cls):
        return Transaction().context.get('company')

    @classmethod
    def default_currency(cls):
        pool = Pool()
        Company = pool.get('company.company')
        if company := cls.default_company():
            return Company(company).currency.id

    @classmethod
    def default_kind(cls):
        return 'good'

    @classmethod
    def default_state(cls):
        return 'draft'

    @fields.depends(
        'product', 'company',
        methods=['on_change_with_code', 'on_change_with_vat_category',
            'on_change_with_vat_rate'])
    def on_change_product(self):
        if not self.product:
            return
        self.name = self.product.name
        self.description = self.product.description
        self.kind = (
            'service' if self.product.type == 'service' else 'good')
        self.unit = self.product.sale_uom
        self.price = self._list_price()
        self.code = self.on_change_with_code()
        self.vat_category = self.on_change_with_vat_category()
        self.vat_rate = self.on_change_with_vat_rate()

    @fields.depends('product', 'unit', 'company')
    def _list_price(self):
        pool = Pool()
        Product = pool.get('product.product')
        Uom = pool.get('product.uom')
        with Transaction().set_context(
                company=self.company.id if self.company else None):
            product = Product(self.product.id)
            if product.list_price_used is not None:
                return round_price(Uom.compute_price(
                        product.default_uom, product.list_price_used,
                        self.unit))

    @fields.depends('product')
    def on_change_with_code(self, name=None):
        return self.product.code if self.product else None

    @classmethod
    def search_code(cls, name, clause):
        return [('product.code', *clause[1:])]

    @fields.depends('product', 'company')
    def on_change_with_vat_category(self, name=None):
        return self._vat[0]

    @fields.depends('product', 'company')
    def on_change_with_vat_rate(self, name=None):
        return self._vat[1]

    @property
    def _vat(self):
        "Category and rate of the VAT of the product, None if not set up"
        pool = Pool()
        Date = pool.get('ir.date')
        Document = pool.get('cooperative.edi.document')
        Identity = pool.get('cooperative.edi.identity')
        Product = pool.get('product.product')
        if not self.product or not self.company:
            return None, None
        with Transaction().set_context(company=self.company.id):
            identities = Identity.search([
                    ('company', '=', self.company.id),
                    ])
            if not identities:
                return None, None
            try:
                taxes = Product(self.product.id).customer_taxes_used
            except (AccountError, TaxError):
                return None, None
            category, rate = Document.tax_category(
                taxes, Date.today(), Document.party(identities[0]))
        return category, ratio(rate)

    @classmethod
    def get_last(cls, offers, names):
        values = {name: dict.fromkeys(map(int, offers)) for name in names}
        for offer in offers:
            if version := offer.last_version:
                if 'version' in values:
                    values['version'][offer.id] = version.number
                if 'reason' in values:
                    values['reason'][offer.id] = version.reason
        return values

    @property
    def last_version(self):
        return max(self.versions, key=lambda v: v.number, default=None)

    def get_on_sale(self, name):
        for version in self.versions:
            if version.state == 'approved':
                return version.id

    @classmethod
    def search_on_sale(cls, name, clause):
        pool = Pool()
        Version = pool.get('cooperative.offer.version')
        _, operator, operand, *extra = clause
        if operand is None and operator in {'=', '!='}:
            where = 'not where' if operator == '=' else 'where'
            return [('versions', where, [('state', '=', 'approved')])]
        nested = clause[0][len(name):].lstrip('.') or (
            'rec_name' if isinstance(operand, str) else 'id')
        offers = Version.search([
                ('state', '=', 'approved'),
                (nested, operator, operand, *extra),
                ])
        return [('id', 'in', [v.offer.id for v in offers])]

    def get_quantity_left(self, name):
        return self.on_sale.quantity_left if self.on_sale else None

    def get_rec_name(self, name):
        return f"[{self.code}] {self.name}"

    @classmethod
    def search_rec_name(cls, name, clause):
        _, operator, *_ = clause
        bool_op = 'AND' if operator.startswith(('!', 'not ')) else 'OR'
        return [bool_op,
            ('name', *clause[1:]),
            ('product.code', *clause[1:]),
            ]

    @classmethod
    def view_attributes(cls):
        return super().view_attributes() + [
            ('/tree', 'visual', visual()),
            ]

    @classmethod
    def copy(cls, offers, default=None):
        default = default.copy() if default is not None else {}
        default.setdefault('versions')
        default.setdefault('submitted_by')
        return super().copy(offers, default=default)

    @classmethod
    def check_modification(cls, mode, offers, values=None, external=False):
        super().check_modification(
            mode, offers, values=values, external=external)
        if mode == 'delete':
            for offer in offers:
                if offer.versions:
                    raise AccessError(gettext(
                            'cooperative_offer.msg_offer_delete',
                            offer=offer.rec_name))

    @classmethod
    @ModelView.button
    @Workflow.transition('submitted')
    @set_employee('submitted_by')
    def submit(cls, offers):
        pool = Pool()
        Version = pool.get('cooperative.offer.version')
        for offer in offers:
            offer.check_complete()
        versions = [Version.from_offer(o) for o in offers]
        Version.save(versions)
        cls._send(versions)

    @classmethod
    @ModelView.button
    @Workflow.transition('draft')
    def change(cls, offers):
        for offer in offers:
            if offer.on_sale:
                offer.quantity = offer.quantity_left
            offer.submitted_by = None
        cls.save(offers)

    @classmethod
    @ModelView.button
    @Workflow.transition('withdrawn')
    def withdraw(cls, offers):
        pool = Pool()
        Version = pool.get('cooperative.offer.version')
        last = [o.last_version for o in offers if o.versions]
        cls._send(last, action='Delete')
        Version.withdraw([
                v for o in offers for v in o.versions if v.open])

    @classmethod
    @Workflow.transition('approved')
    def approve(cls, offers):
        pass

    @classmethod
    @Workflow.transition('refused')
    def refuse(cls, offers):
        pass

    def check_complete(self):
        "Raise an error if a catalogue could not say what is offered"
        for name in ['code', 'vat_category']:
            if not getattr(self, name):
                field, = self.fields_get([name]).values()
                raise OfferIncompleteError(gettext(
                        'cooperative_offer.msg_offer_incomplete',
                        offer=self.rec_name, field=field['string']))
        if not self.unit.unece_code:
            raise OfferIncompleteError(gettext(
                    'cooperative_offer.msg_offer_unit',
                    offer=self.rec_name, unit=self.unit.rec_name))

    @classmethod
    def _send(cls, versions, action=None):
        "Send to each community one catalogue of the versions"
        pool = Pool()
        Message = pool.get('cooperative.edi.message')
        Version = pool.get('cooperative.offer.version')

        def key(version):
            return version.offer.company.id, version.offer.community.id

        for (company, _), sub in groupby(sorted(versions, key=key), key=key):
            sub = list(sub)
            with Transaction().set_context(company=company):
                sub = Version.browse(sub)
                community = sub[0].offer.community
                message = Message.send(
                    cls._relation(community),
                    cls._catalogue(community, sub, action))
            if not action:
                Version.write(sub, {'message': message.id})

    @classmethod
    def _relation(cls, community):
        "Return the relation by which the community takes our offers"
        pool = Pool()
        Community = pool.get('cooperative.community')
        Relation = pool.get('cooperative.edi.relation')
        relation = Relation.find(community.company.id, community.id)
        if (not relation
                or community not in [
                    c.peer for c in Community.joined(
                        community.company.id, 'offerer')]):
            raise OfferRelationError(gettext(
                    'cooperative_offer.msg_offer_relation',
                    community=community.rec_name))
        return relation

    @classmethod
    def _catalogue(cls, community, versions, action=None):
        pool = Pool()
        Date = pool.get('ir.date')
        Document = pool.get('cooperative.edi.document')
        ModelData = pool.get('ir.model.data')
        Sequence = pool.get('ir.sequence')
        seller = Document.us(community.company)
        sequence = Sequence(ModelData.get_id(
                'cooperative_offer', 'sequence_catalogue'))
        today = Date.today()
        return Catalogue(
            number=sequence.get(),
            version=str(max(v.number for v in versions)),
            date=today,
            valid_from=min(
                (v.valid_from for v in versions if v.valid_from),
                default=today),
            valid_to=(max(v.valid_to for v in versions)
                if all(v.valid_to for v in versions) else None),
            provider=seller,
            receiver=Document.party(community),
            seller=seller,
            lines=tuple(v.catalogue_line(action) for v in versions))


class OfferVersion(TermsMixin, Workflow, ModelSQL, ModelView):
    __name__ = 'cooperative.offer.version'

    offer = fields.Many2One(
        'cooperative.offer', "Offer", required=True, readonly=True,
        ondelete='CASCADE')
    number = BigInteger("Version", required=True, readonly=True)
    message = fields.Many2One(
        'cooperative.edi.message', "Message", readonly=True,
        ondelete='RESTRICT',
        help="The signed catalogue in which it was submitted.")
    reason = fields.Text("Reason", readonly=True)
    quantity_left = fields.Function(fields.Float(
            "Quantity Left", digits='unit',
            help="What can still be ordered.\n"
            "Empty if there is no limit."),
        'get_quantity_left')
    state = fields.Selection([
            ('submitted', "Submitted"),
            ('approved', "Approved"),
            ('refused', "Refused"),
            ('superseded', "Superseded"),
            ('withdrawn', "Withdrawn"),
            ], "State", required=True, readonly=True, sort=False)

    __access__ = {'offer'}

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_constraints += [
            ('number_unique', Unique(t, t.offer, t.number),
                'cooperative_offer.msg_version_number_unique'),
            ]
        cls._sql_indexes.add(
            Index(
                t, (t.state, Index.Equality(cardinality='low')),
                where=t.state.in_(['submitted', 'approved'])))
        cls._order.insert(0, ('number', 'DESC'))
        cls._freeze_terms()
        cls._transitions |= {
            ('submitted', 'approved'),
            ('submitted', 'refused'),
            ('submitted', 'withdrawn'),
            ('approved', 'superseded'),
            ('approved', 'withdrawn'),
            }

    @classmethod
    def default_state(cls):
        return 'submitted'

    def get_rec_name(self, name):
        return gettext(
            'cooperative_offer.msg_version_name',
            offer=f"[{self.code}] {self.name}", number=self.number)

    @classmethod
    def search_rec_name(cls, name, clause):
        _, operator, *_ = clause
        bool_op = 'AND' if operator.startswith(('!', 'not ')) else 'OR'
        return [bool_op,
            ('name', *clause[1:]),
            ('code', *clause[1:]),
            ]

    @classmethod
    def view_attributes(cls):
        return super().view_attributes() + [
            ('/tree', 'visual', visual()),
            ]

    @classmethod
    def get_quantity_left(cls, versions, name):
        pool = Pool()
        Uom = pool.get('product.uom')
        left = {v.id: v.quantity for v in versions}
        units = {v.id: v.unit for v in versions}
        for version, unit, quantity in cls._ordered(versions):
            if left[version] is not None:
                left[version] -= Uom.compute_qty(
                    Uom(unit), quantity, units[version], round=False)
        return left

    @classmethod
    def _ordered(cls, versions):
        "Yield by version and unit the quantity that sales have reserved"
        pool = Pool()
        Line = pool.get('sale.line')
        Sale = pool.get('sale.sale')
        line, sale = Line.__table__(), Sale.__table__()
        cursor = Transaction().connection.cursor()
        for sub_versions in grouped_slice(
                versions, backend.MAX_QUERY_PARAMS):
            cursor.execute(*line
                .join(sale, condition=line.sale == sale.id)
                .select(
                    line.offer_version, line.unit, Sum(line.quantity),
                    where=line.offer_version.in_(
                        [v.id for v in sub_versions])
                    & (line.unit != Null)
                    & (sale.state != 'cancelled'),
                    group_by=[line.offer_version, line.unit]))
            yield from cursor.fetchall()

    @property
    def line(self):
        "The id of the line in each catalogue"
        return str(self.offer.id)

    @property
    def open(self):
        return self.state in {'submitted', 'approved'}

    @classmethod
    def from_offer(cls, offer):
        last = offer.last_version
        return cls(
            offer=offer, number=last.number + 1 if last else 1,
            **offer.terms)

    def catalogue_line(self, action=None):
        "Return what the catalogue says of the version"
        if not action:
            action = 'Add' if self.number == 1 else 'Update'
        return CatalogueLine(
            id=self.line,
            action=action,
            item=Item(
                name=self.name,
                description=self.description or None,
                seller_code=self.code,
                vat_category=self.vat_category,
                vat_rate=percent(self.vat_rate)),
            price=self.price,
            currency=self.currency.code,
            unit=self.unit.unece_code,
            min_quantity=decimal(self.min_quantity),
            max_quantity=decimal(self.quantity),
            note=None,
            delivery=self.delivery or None,
            kind=self.kind,
            lead_time=self.lead_time.days if self.lead_time else None,
            valid_from=self.valid_from,
            valid_to=self.valid_to)

    @classmethod
    @Workflow.transition('superseded')
    def supersede(cls, versions):
        pass

    @classmethod
    @Workflow.transition('withdrawn')
    def withdraw(cls, versions):
        pass

    @classmethod
    @Workflow.transition('approved')
    def approve(cls, versions):
        pass

    @classmethod
    @Workflow.transition('refused')
    def refuse(cls, versions):
        pass

    @classmethod
    def decided(cls, versions, approved, reason=None):
        "Apply the decision of the community to the versions"
        pool = Pool()
        Offer = pool.get('cooperative.offer')
        versions = [v for v in versions if v.state == 'submitted']
        offers = [v.offer for v in versions]
        cls.write(versions, {'reason': reason})
        if approved:
            cls.supersede([o.on_sale for o in offers if o.on_sale])
            cls.approve(versions)
            Offer.approve(offers)
        else:
            cls.refuse(versions)
            Offer.refuse(offers)

    @classmethod
    def on_sale_in(cls, community):
        "Return by code the versions that the community approved"
        return {v.code: v for v in cls.search([
                    ('offer.community', '=', community.id),
                    ('state', '=', 'approved'),
                    ])}


class OfferPublish(Wizard):
    __name__ = 'cooperative.offer.publish'
    start = StateView(
        'cooperative.offer.publish.start',
        'cooperative_offer.offer_publish_start_view_form', [
            Button("Cancel", 'end', 'tryton-cancel'),
            Button("Offer", 'publish', 'tryton-ok', default=True),
            ])
    publish = StateAction('cooperative_offer.act_offer')

    def default_start(self, fields):
        pool = Pool()
        Community = pool.get('cooperative.community')
        communities = Community.joined(
            Transaction().context.get('company'), 'offerer')
        if len(communities) == 1:
            community, = communities
            return {'community': community.peer.id}
        return {}

    @property
    def _products(self):
        if self.model.__name__ == 'product.template':
            return [p for t in self.records for p in t.products]
        return list(self.records)

    def do_publish(self, action):
        pool = Pool()
        Offer = pool.get('cooperative.offer')
        products = self._products
        offers = Offer.search([
                ('community', '=', self.start.community.id),
                ('product', 'in', [p.id for p in products]),
                ])
        offered = {o.product for o in offers}
        created = [
            self._offer(p) for p in products if p not in offered]
        Offer.save(created)
        return action, {'res_id': [o.id for o in (*offers, *created)]}

    def _offer(self, product):
        pool = Pool()
        Offer = pool.get('cooperative.offer')
        offer = Offer(
            community=self.start.community, product=product,
            company=Offer.default_company(),
            currency=Offer.default_currency(),
            valid_from=self.start.valid_from,
            valid_to=self.start.valid_to)
        offer.on_change_product()
        return offer


class OfferPublishStart(ModelView):
    __name__ = 'cooperative.offer.publish.start'

    community = fields.Many2One(
        'cooperative.edi.peer', "Community", required=True,
        domain=[
            ('company', '=', Eval('context', {}).get('company', -1)),
            ('kind', '=', 'community'),
            ])
    valid_from = fields.Date("Valid From")
    valid_to = fields.Date("Valid To")


class Message(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.message'

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls.kind.selection.append(('offer-decision', "Offer Decision"))


class Document(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.document'

    @classmethod
    def receive_offer_decision(cls, message, body):
        "Have the versions approved or refused"
        pool = Pool()
        Version = pool.get('cooperative.offer.version')
        try:
            statement = ApprovalStatement.from_json(body)
        except ProtocolError as exception:
            raise DocumentRefused('SV', str(exception)) from exception
        versions = cls._decided_versions(message, statement)
        for lines, approved in [
                (statement.approved, True), (statement.refused, False)]:
            Version.decided(
                [v for v in versions if v.line in lines], approved,
                reason=None if approved else statement.reason)

    @classmethod
    def _decided_versions(cls, message, statement):
        pool = Pool()
        Version = pool.get('cooperative.offer.version')
        versions = Version.search([
                ('message.peer', '=', message.peer.id),
                ('message.uuid', '=', statement.message),
                ('message.digest', '=', statement.digest),
                ])
        known = {v.line for v in versions}
        for line in (*statement.approved, *statement.refused):
            if line not in known:
                raise DocumentRefused('BV', gettext(
                        'cooperative_offer.msg_decision_unknown',
                        line=line, message=statement.message))
        return versions

    @classmethod
    def message_refused(cls, message, text):
        pool = Pool()
        Version = pool.get('cooperative.offer.version')
        super().message_refused(message, text)
        if message.kind == 'catalogue':
            Version.decided(
                Version.search([('message', '=', message.id)]), False,
                reason=text)
