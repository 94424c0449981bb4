# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
from decimal import Decimal

from sql.operators import Equal
from trytond.i18n import gettext
from trytond.model import Exclude, ModelSQL, ModelView, Unique, fields
from trytond.modules.currency.fields import Monetary
from trytond.pool import Pool
from trytond.pyson import Eval, Id, If
from trytond.transaction import Transaction

from cooperative_edi.column import BigInteger
from cooperative_edi.courier import CourierMixin
from trycoton.protocol import canonical
from trycoton.protocol.descriptor import Charter
from trycoton.protocol.evidence import SignedDescriptor

from .exceptions import (
    CharterMissingError, CommunityIdentityError, DirectoryRefusedError)

_managed = {
    'readonly': Eval('role') != 'manager',
    }
_only_managed = {
    'invisible': Eval('role') != 'manager',
    }


class Community(CourierMixin, ModelSQL, ModelView):
    __name__ = 'cooperative.community'

    company = fields.Many2One(
        'company.company', "Company", required=True, ondelete='RESTRICT',
        states={
            'readonly': Eval('id', -1) >= 0,
            },
        help="The company that manages the community or is a member of it.")
    role = fields.Selection([
            ('manager', "Manager"),
            ('member', "Member"),
            ], "Role", required=True, readonly=True, sort=False,
        help="What the company is in the community.")
    name = fields.Char("Name", required=True, states=_managed)
    peer = fields.Many2One(
        'cooperative.edi.peer', "Community Manager", readonly=True,
        ondelete='RESTRICT',
        domain=[
            ('company', '=', Eval('company', -1)),
            ('kind', '=', 'community'),
            ],
        states={
            'required': Eval('role') == 'member',
            'invisible': Eval('role') != 'member',
            },
        help="The instance that manages the community.")
    identifier = fields.Function(fields.Char(
            "Identifier",
            help="By which the others know the community."),
        'get_identity')
    fingerprint = fields.Function(fields.Char(
            "Fingerprint",
            help="To give to the applicants on paper or by voice: "
            "they compare it before they apply."),
        'get_identity')

    charter = fields.Text("Charter", states=_managed,
        help="The rules that the applicants accept.\n"
        "Give a changed charter another version.")
    charter_version = BigInteger(
        "Charter Version",
        domain=[
            If(Eval('role') == 'manager',
                ('charter_version', '>=', 1),
                ()),
            ],
        states={
            'readonly': _managed['readonly'],
            'required': Eval('role') == 'manager',
            })
    charter_date = fields.Date(
        "Charter Date",
        states={
            'readonly': _managed['readonly'],
            'required': Eval('role') == 'manager',
            })
    trust_parties = fields.Many2Many(
        'cooperative.community-trust_party', 'community', 'trust_party',
        "Trust Parties",
        domain=[
            ('company', '=', Eval('company', -1)),
            ('kind', '=', 'trust-party'),
            If(Eval('role') == 'manager',
                ('accepted', '=', True),
                ()),
            ],
        order=[('trust_party.identifier', 'ASC')], states=_managed,
        help="What relays and records the deals of the members.\n"
        "The first one carries the invoices of the community itself.")

    membership_sequence = fields.Many2One(
        'ir.sequence', "Member Number Sequence",
        domain=[
            ('sequence_type', '=',
                Id('cooperative_community', 'sequence_type_membership')),
            ('company', 'in', [Eval('company', -1), None]),
            ],
        states={
            'invisible': Eval('role') != 'manager',
            'required': Eval('role') == 'manager',
            })
    groups = fields.One2Many(
        'cooperative.community.group', 'community', "Groups",
        states=_managed,
        help="To show offers only to some of the members.")
    fees = fields.One2Many(
        'cooperative.community.fee', 'community', "Fees",
        states=_only_managed,
        help="What a member pays to join, by date.")
    fee_product = fields.Many2One(
        'product.product', "Fee Product", ondelete='RESTRICT',
        domain=[
            ('type', '=', 'service'),
            ],
        states=_only_managed,
        context={
            'company': Eval('company', -1),
            },
        depends={'company'},
        help="Gives the fee its account and its taxes.")
    rates = fields.One2Many(
        'cooperative.community.rate', 'community', "Commission Rates",
        states=_managed,
        help="The part of the untaxed amounts invoiced by the offerers, "
        "less their credit notes, by date of the deal.")
    commission_product = fields.Many2One(
        'product.product', "Commission Product", ondelete='RESTRICT',
        domain=[
            ('type', '=', 'service'),
            ],
        states=_only_managed,
        context={
            'company': Eval('company', -1),
            },
        depends={'company'},
        help="Gives the commission its account and its taxes.")

    memberships = fields.One2Many(
        'cooperative.community.membership', 'community', "Memberships",
        readonly=True)
    participants = fields.One2Many(
        'cooperative.community.participant', 'community', "Participants",
        readonly=True,
        states={
            'invisible': Eval('role') != 'member',
            },
        help="Who is in the directory of the community.")
    directories = fields.One2Many(
        'cooperative.community.directory', 'community', "Directories",
        readonly=True)
    descriptor_data = fields.Binary("Descriptor", readonly=True,
        states={
            'invisible': Eval('role') != 'member',
            },
        help="The exact bytes of the descriptor that was compared.")
    descriptor_signature = fields.Text("Descriptor Signature", readonly=True,
        states={
            'invisible': Eval('role') != 'member',
            })
    synchronised = fields.DateTime("Synchronised", readonly=True,
        states={
            'invisible': Eval('role') != 'member',
            },
        help="When the directory was last compared with the community's.")
    to_synchronise = fields.Boolean("To Synchronise", readonly=True,
        states={
            'invisible': True,
            })
    alarm = fields.Text("Alarm", readonly=True,
        states={
            'invisible': ~Eval('alarm'),
            },
        help="What in the directory contradicts this instance.")

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_constraints += [
            ('manager_unique',
                Exclude(t, (t.company, Equal), where=t.role == 'manager'),
                'cooperative_community.msg_community_manager_unique'),
            ('peer_unique', Unique(t, t.company, t.peer),
                'cooperative_community.msg_community_peer_unique'),
            ]
        cls._order.insert(0, ('name', 'ASC'))
        cls._buttons.update(
            publish={
                'invisible': Eval('role') != 'manager',
                'icon': 'tryton-publish',
                'depends': ['role'],
                },
            synchronise={
                'invisible': Eval('role') != 'member',
                'icon': 'tryton-refresh',
                'depends': ['role'],
                },
            collect={
                'invisible': Eval('role') != 'manager',
                'icon': 'tryton-import',
                'depends': ['role'],
                },
            )

    @classmethod
    def default_company(cls):
        return Transaction().context.get('company')

    @classmethod
    def default_role(cls):
        return 'manager'

    @classmethod
    def default_name(cls):
        pool = Pool()
        Company = pool.get('company.company')
        company = cls.default_company()
        if company is not None and company >= 0:
            return Company(company).party.name

    @classmethod
    def default_charter_version(cls):
        return 1

    @classmethod
    def default_charter_date(cls):
        pool = Pool()
        Date = pool.get('ir.date')
        return Date.today()

    @classmethod
    def default_groups(cls):
        return [{
                'name': gettext('cooperative_community.msg_group_everyone'),
                'everyone': True,
                }]

    @classmethod
    def default_membership_sequence(cls):
        pool = Pool()
        ModelData = pool.get('ir.model.data')
        try:
            return ModelData.get_id(
                'cooperative_community', 'sequence_membership')
        except KeyError:
            return None

    @classmethod
    def get_identity(cls, communities, names):
        pool = Pool()
        Identity = pool.get('cooperative.edi.identity')
        result = {n: dict.fromkeys(map(int, communities)) for n in names}
        identities = {
            i.company: i for i in Identity.search([
                    ('company', 'in', [c.company.id for c in communities]),
                    ])}
        for community in communities:
            owner = community.peer or identities.get(community.company)
            if owner:
                for name in names:
                    result[name][community.id] = getattr(owner, name)
        return result

    @classmethod
    def view_attributes(cls):
        return super().view_attributes() + [
            ('/tree', 'visual', If(Eval('alarm'), 'danger', '')),
            ]

    @classmethod
    def preprocess_values(cls, mode, values):
        values = super().preprocess_values(mode, values)
        if values.get('charter'):
            # Everybody must compute the same digest
            values['charter'] = '\n'.join(values['charter'].splitlines())
        return values

    @classmethod
    def validate_fields(cls, communities, field_names):
        super().validate_fields(communities, field_names)
        if not field_names or field_names & {'company', 'role'}:
            for community in communities:
                community.check_identity()

    def check_identity(self):
        "Raise an error if the managing company is not known as a community"
        if self.role == 'manager' and self.identity.kind != 'community':
            raise CommunityIdentityError(gettext(
                    'cooperative_community.msg_community_identity',
                    community=self.rec_name,
                    company=self.company.rec_name))

    @classmethod
    def copy(cls, communities, default=None):
        default = default.copy() if default is not None else {}
        for name in [
                'memberships', 'participants', 'directories',
                'descriptor_data', 'descriptor_signature', 'synchronised',
                'alarm']:
            default.setdefault(name)
        return super().copy(communities, default=default)

    @classmethod
    def managed(cls, company):
        "Return the community that the company manages, or None"
        communities = cls.search([
                ('company', '=', company),
                ('role', '=', 'manager'),
                ])
        return communities[0] if communities else None

    @classmethod
    def joined(cls, company, role=None):
        """Return the communities of which the company is an active member,
        with the role if one is given"""
        communities = cls.search([
                ('company', '=', company),
                ('role', '=', 'member'),
                ])
        return [c for c in communities
            if c.membership and c.membership.has_role(role)]

    @classmethod
    def of_peer(cls, peer):
        "Return the community that the peer manages and we joined, or None"
        communities = cls.search([
                ('peer', '=', peer),
                ('role', '=', 'member'),
                ])
        return communities[0] if communities else None

    @property
    def identity(self):
        pool = Pool()
        Identity = pool.get('cooperative.edi.identity')
        return Identity.get(self.company.id)

    @property
    def membership(self):
        "The membership of the company itself"
        if self.role == 'member' and self.memberships:
            membership, = self.memberships
            return membership

    @property
    def currency(self):
        return self.company.currency

    @property
    def charter_digest(self):
        return canonical.digest((self.charter or '').encode('utf-8'))

    @property
    def charter_terms(self):
        "Return what an application must name to accept the charter"
        return {
            'version': self.charter_version,
            'digest': self.charter_digest,
            }

    def fee_at(self, date):
        "Return what a member pays who joins at the date"
        if fee := Fee.in_force(self.fees, date):
            return fee.amount

    def rate_at(self, date):
        "Return the rate of the commission of a deal of the date, or None"
        if rate := Rate.in_force(self.rates, date):
            return rate.rate

    def get_group(self, name):
        "Return the group of that name, created if needed"
        pool = Pool()
        Group = pool.get('cooperative.community.group')
        for group in self.groups:
            if group.name == name:
                return group
        group = Group(community=self, name=name)
        group.save()
        return group

    def descriptor(self):
        "Return the bytes of the descriptor of the community and its JWS"
        if not self.charter:
            raise CharterMissingError(gettext(
                    'cooperative_community.msg_charter_missing',
                    community=self.rec_name))
        return self.identity.descriptor(**self._descriptor_values())

    @property
    def evidence(self):
        "The signed descriptor and directories that tell whose keys signed"
        if self.role == 'manager':
            data, jws = self.descriptor()
        else:
            data = bytes(self.descriptor_data)
            jws = self.descriptor_signature
        return (
            SignedDescriptor(data=data, signature=jws),
            [d.evidence for d in self.directories])

    def _descriptor_values(self):
        pool = Pool()
        Date = pool.get('ir.date')
        with Transaction().set_context(company=self.company.id):
            today = Date.today()
        fee, rate = self.fee_at(today), self.rate_at(today)
        return {
            'trust_parties': tuple(
                p.as_trust_party() for p in self.trust_parties),
            'charter': Charter(
                **self.charter_terms, date=self.charter_date,
                text=self.charter),
            'fee': self.currency_value(fee) if fee else None,
            'commission': format(rate, 'f') if rate else None,
            }

    def currency_value(self, amount):
        "Return the amount as it is written in messages"
        return {
            'amount': format(self.currency.round(amount), 'f'),
            'currency': self.currency.code,
            }

    @classmethod
    @ModelView.button
    def publish(cls, communities):
        "Sign a new version of the directory if something changed in it"
        pool = Pool()
        Directory = pool.get('cooperative.community.directory')
        for community in communities:
            if community.role == 'manager':
                Directory.publish(community)

    @classmethod
    @ModelView.button
    def synchronise(cls, communities):
        "Fetch the directory and update the participants"
        pool = Pool()
        Directory = pool.get('cooperative.community.directory')
        fetched = [(c, Directory.fetch(c)) for c in communities]
        for community, answer in fetched:
            try:
                Directory.synchronise(community, answer)
            except DirectoryRefusedError as exception:
                Directory.alarm_at_end(community, exception)
                raise

    @classmethod
    @ModelView.button
    def collect(cls, communities):
        "Fetch from the trust parties what commissions are due on"
        pool = Pool()
        Statement = pool.get('cooperative.community.statement')
        fetched = []
        for community in communities:
            for trust_party in community.trust_parties:
                fetched.extend(Statement.fetch(community, trust_party))
        Statement.add(fetched)

    @classmethod
    def join(cls, descriptor, jws, offerer, buyer):
        """Apply to the community of the verified descriptor, accepting its
        charter, and return the membership"""
        pool = Pool()
        Membership = pool.get('cooperative.community.membership')
        Peer = pool.get('cooperative.edi.peer')
        company = cls.default_company()
        peer = Peer.update_from(company, descriptor)
        community = cls.of_peer(peer) or cls(
            company=company, role='member', peer=peer, groups=[],
            membership_sequence=None)
        community._update_from(descriptor, jws)
        return Membership.apply(community, offerer, buyer)

    def _update_from(self, descriptor, jws):
        pool = Pool()
        Peer = pool.get('cooperative.edi.peer')
        Rate = pool.get('cooperative.community.rate')
        charter = descriptor.charter
        self.descriptor_data = descriptor.to_bytes()
        self.descriptor_signature = jws
        self.name = descriptor.name
        self.charter = charter.text
        self.charter_version = charter.version
        self.charter_date = charter.date
        self.trust_parties = [
            Peer.accept_trust_party(self.company.id, t)
            for t in descriptor.trust_parties]
        self.save()
        if descriptor.commission and not self.rates:
            Rate(community=self, rate=Decimal(descriptor.commission)).save()

    @classmethod
    def publish_due(cls):
        "Renew the directories before they expire"
        cls.publish(cls.search([
                    ('role', '=', 'manager'),
                    ('charter', '!=', None),
                    ]))

    @classmethod
    def collect_due(cls):
        cls.collect(cls.search([('role', '=', 'manager')]))

    @classmethod
    def synchronise_due(cls):
        "Have the courier compare the directories"
        communities = cls.search([('role', '=', 'member')])
        cls.write(communities, {'to_synchronise': True})
        cls.call_courier(communities)


class CommunityTrustParty(ModelSQL):
    __name__ = 'cooperative.community-trust_party'

    community = fields.Many2One(
        'cooperative.community', "Community", required=True,
        ondelete='CASCADE')
    trust_party = fields.Many2One(
        'cooperative.edi.peer', "Trust Party", required=True,
        ondelete='RESTRICT')

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_constraints += [
            ('trust_party_unique', Unique(t, t.community, t.trust_party),
                'cooperative_community.msg_trust_party_unique'),
            ]


class Group(ModelSQL, ModelView):
    __name__ = 'cooperative.community.group'

    community = fields.Many2One(
        'cooperative.community', "Community", required=True,
        ondelete='CASCADE')
    name = fields.Char("Name", required=True,
        help="By which the members know the group too.")
    everyone = fields.Boolean("Everyone",
        help="Add every member when the application is accepted.")

    __access__ = {'community'}

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_constraints += [
            ('name_unique', Unique(t, t.community, t.name),
                'cooperative_community.msg_group_name_unique'),
            ]
        cls._order.insert(0, ('name', 'ASC'))


class _Dated(ModelSQL, ModelView):
    "What a community asks from a date on, until the next one"

    community = fields.Many2One(
        'cooperative.community', "Community", required=True,
        ondelete='CASCADE')
    start_date = fields.Date("Start Date", required=True)

    __access__ = {'community'}

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_constraints += [
            ('start_date_unique', Unique(t, t.community, t.start_date),
                'cooperative_community.msg_start_date_unique'),
            ]
        cls._order.insert(0, ('start_date', 'DESC'))

    @classmethod
    def default_start_date(cls):
        pool = Pool()
        Date = pool.get('ir.date')
        return Date.today()

    def get_rec_name(self, name):
        return self.start_date.isoformat()

    @classmethod
    def in_force(cls, records, date):
        "Return the one of the records that applies at the date, or None"
        records = [r for r in records if r.start_date <= date]
        return max(records, key=lambda r: r.start_date, default=None)


class Fee(_Dated):
    __name__ = 'cooperative.community.fee'

    amount = Monetary(
        "Amount", currency='currency', digits='currency', required=True,
        domain=[
            ('amount', '>=', 0),
            ],
        help="Without taxes.")
    currency = fields.Function(
        fields.Many2One('currency.currency', "Currency"),
        'on_change_with_currency')

    @fields.depends('community', '_parent_community.company')
    def on_change_with_currency(self, name=None):
        if self.community and self.community.company:
            return self.community.company.currency


class Rate(_Dated):
    __name__ = 'cooperative.community.rate'

    rate = fields.Numeric(
        "Rate", digits=(None, 4), required=True,
        domain=[
            ('rate', '>=', 0),
            ('rate', '<=', 1),
            ],
        help="The part of the invoiced untaxed amount.")
