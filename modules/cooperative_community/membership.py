# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
from decimal import Decimal
from functools import wraps

from sql import Null
from sql.functions import CharLength
from trytond.i18n import gettext
from trytond.model import Index, ModelSQL, ModelView, Unique, Workflow, fields
from trytond.model.exceptions import AccessError
from trytond.modules.currency.fields import Monetary
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Eval, If
from trytond.transaction import Transaction, without_check_access
from trytond.wizard import Button, StateTransition, StateView, Wizard

from cooperative_edi.column import BigInteger
from cooperative_edi.courier import CourierMixin
from cooperative_edi.exceptions import DocumentHeld
from cooperative_edi.http import Problem
from cooperative_edi.identity import now
from cooperative_edi.peer import naive
from trycoton.protocol import envelope, signature
from trycoton.protocol.errors import ProtocolError, Rejected
from trycoton.protocol.receipt import Receipt
from trycoton.protocol.statement import (
    Acceptance, Application, MembershipState, Money, Resignation, Route)

from .exceptions import (
    AccountMissingError, AlreadyMemberError, FeeProductMissingError)


def told(func):
    "Tell the members of their new state, and the others by the directory"
    @wraps(func)
    def wrapper(cls, memberships, *args, **kwargs):
        states = {m.id: m.state for m in memberships}
        result = func(cls, memberships, *args, **kwargs)
        cls.tell([
                (m, states[m.id]) for m in cls.browse(memberships)
                if m.state != states[m.id]])
        return result
    return wrapper


class Membership(CourierMixin, Workflow, ModelSQL, ModelView):
    __name__ = 'cooperative.community.membership'

    _states = {
        'readonly': (
            (Eval('role') != 'manager')
            | Eval('state').in_(['refused', 'left'])),
        }
    _managed = {
        'invisible': Eval('role') != 'manager',
        }

    community = fields.Many2One(
        'cooperative.community', "Community", required=True, readonly=True,
        ondelete='RESTRICT')
    company = fields.Function(
        fields.Many2One('company.company', "Company"),
        'on_change_with_company', searcher='search_community_field')
    role = fields.Function(
        fields.Selection('get_community_roles', "Role"),
        'on_change_with_role', searcher='search_community_field')
    number = fields.Char("Number", readonly=True,
        help="Given when the application is accepted, and never again to "
        "somebody else.")
    identifier = fields.Char("Identifier", required=True, readonly=True)
    name = fields.Char("Name", required=True, readonly=True)
    party = fields.Many2One(
        'party.party', "Party", readonly=True, ondelete='RESTRICT',
        states={
            'required': Eval('state').in_(
                ['pending_payment', 'active', 'suspended', 'left']),
            },
        context={
            'company': Eval('company', -1),
            },
        depends={'company'})
    peer = fields.Many2One(
        'cooperative.edi.peer', "Peer", readonly=True, ondelete='RESTRICT',
        states=_managed,
        help="The instance of the member.")
    relation = fields.Many2One(
        'cooperative.edi.relation', "Relation", readonly=True,
        ondelete='RESTRICT',
        help="By which the community and the member write to each other.")
    offerer = fields.Boolean("Offerer", states=_states,
        help="The member may offer.")
    buyer = fields.Boolean("Buyer", states=_states,
        help="The member may order.")
    groups = fields.Many2Many(
        'cooperative.community.membership-group', 'membership', 'group',
        "Groups",
        domain=[
            ('community', '=', Eval('community', -1)),
            ],
        states=_states,
        help="The member sees the offers made to these groups.")
    charter_version = BigInteger("Charter Version", readonly=True,
        help="The version of the charter that the member accepted.")
    charter_date = fields.Date("Charter Accepted On", readonly=True)
    applied = fields.DateTime("Applied", readonly=True)
    joined_date = fields.Date("Joined", readonly=True,
        help="When the member was first accepted.")
    start_date = fields.Date("Start Date", readonly=True,
        help="When the membership became active.")
    end_date = fields.Date("End Date", readonly=True)
    reason = fields.Text("Reason", readonly=True,
        states={
            'invisible': ~Eval('reason'),
            },
        help="Why the application was refused, or the membership suspended "
        "or ended.")
    currency = fields.Function(
        fields.Many2One('currency.currency', "Currency"),
        'on_change_with_currency')
    fee = Monetary(
        "Fee", currency='currency', digits='currency', readonly=True,
        help="What the member pays to join, without taxes.")
    fee_invoice = fields.Many2One(
        'account.invoice', "Fee Invoice", readonly=True, ondelete='RESTRICT',
        states=_managed)
    commissions = fields.One2Many(
        'cooperative.community.commission', 'membership', "Commissions",
        readonly=True, states=_managed)

    application = fields.Binary("Application", readonly=True,
        filename='application_name', states=_managed,
        help="The exact bytes that the applicant signed.")
    application_name = fields.Function(
        fields.Char("Application Name"), 'get_application_name')
    application_uuid = fields.Char("Application UUID", readonly=True)
    application_signature = fields.Text(
        "Application Signature", readonly=True, states=_managed)
    application_receipt = fields.Binary(
        "Application Receipt", readonly=True, states=_managed)
    application_receipt_signature = fields.Text(
        "Application Receipt Signature", readonly=True, states=_managed)

    state = fields.Selection([
            ('applicant', "Applicant"),
            ('refused', "Refused"),
            ('pending_payment', "Pending Payment"),
            ('active', "Active"),
            ('suspended', "Suspended"),
            ('left', "Left"),
            ], "State", required=True, readonly=True, sort=False)

    del _states, _managed

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_constraints += [
            ('identifier_unique', Unique(t, t.community, t.identifier),
                'cooperative_community.msg_membership_identifier_unique'),
            ('number_unique', Unique(t, t.community, t.number),
                'cooperative_community.msg_membership_number_unique'),
            ('application_unique', Unique(t, t.community, t.application_uuid),
                'cooperative_community.msg_membership_application_unique'),
            ]
        cls._sql_indexes.add(
            Index(t, (t.state, Index.Equality(cardinality='low')),
                where=t.state.in_(['applicant', 'pending_payment'])))
        cls._order = [('number', 'ASC'), ('id', 'ASC')]
        cls._transitions |= {
            ('applicant', 'refused'),
            ('applicant', 'pending_payment'),
            ('applicant', 'active'),
            ('pending_payment', 'active'),
            ('pending_payment', 'left'),
            ('active', 'suspended'),
            ('active', 'left'),
            ('suspended', 'active'),
            ('suspended', 'left'),
            }
        managed = Eval('role') == 'manager'
        cls._buttons.update(
            accept={
                'invisible': ~(managed & (Eval('state') == 'applicant')),
                'icon': 'tryton-ok',
                'depends': ['role', 'state'],
                },
            refuse_wizard={
                'invisible': ~(managed & (Eval('state') == 'applicant')),
                'icon': 'tryton-cancel',
                'depends': ['role', 'state'],
                },
            suspend_wizard={
                'invisible': ~(managed & (Eval('state') == 'active')),
                'icon': 'tryton-block',
                'depends': ['role', 'state'],
                },
            reactivate={
                'invisible': ~(managed & (Eval('state') == 'suspended')),
                'icon': 'tryton-undo',
                'depends': ['role', 'state'],
                },
            end_wizard={
                'invisible': ~(managed & Eval('state').in_(
                        ['pending_payment', 'active', 'suspended'])),
                'icon': 'tryton-close',
                'depends': ['role', 'state'],
                },
            leave={
                'invisible': ~((Eval('role') == 'member')
                    & Eval('state').in_(
                        ['pending_payment', 'active', 'suspended'])),
                'icon': 'tryton-exit',
                'depends': ['role', 'state'],
                },
            )

    @classmethod
    def order_number(cls, tables):
        table, _ = tables[None]
        return [
            table.number != Null, CharLength(table.number), table.number]

    @classmethod
    def default_state(cls):
        return 'applicant'

    @fields.depends('community', '_parent_community.company')
    def on_change_with_company(self, name=None):
        if self.community and self.community.company:
            return self.community.company.id

    @fields.depends('community', '_parent_community.role')
    def on_change_with_role(self, name=None):
        return self.community.role if self.community else None

    @fields.depends('community', '_parent_community.company')
    def on_change_with_currency(self, name=None):
        if self.community and self.community.company:
            return self.community.company.currency

    @classmethod
    def get_community_roles(cls):
        pool = Pool()
        Community = pool.get('cooperative.community')
        return Community.fields_get(['role'])['role']['selection']

    @classmethod
    def search_community_field(cls, name, clause):
        nested = clause[0][len(name):]
        return [('community.' + name + nested, *clause[1:])]

    def get_application_name(self, name):
        return f'application-{self.application_uuid}.json'

    def get_rec_name(self, name):
        return f'[{self.number}] {self.name}' if self.number else self.name

    @classmethod
    def search_rec_name(cls, name, clause):
        _, operator, value = clause
        bool_op = 'AND' if operator.startswith(('!', 'not ')) else 'OR'
        return [bool_op,
            ('number', *clause[1:]),
            ('name', *clause[1:]),
            ('identifier', *clause[1:]),
            ]

    @classmethod
    def view_attributes(cls):
        return super().view_attributes() + [
            ('/tree', 'visual',
                If(Eval('state').in_(['refused', 'left']), 'muted',
                    If(Eval('state') == 'suspended', 'danger', ''))),
            ]

    @classmethod
    def check_modification(
            cls, mode, memberships, values=None, external=False):
        super().check_modification(
            mode, memberships, values=values, external=external)
        if mode == 'delete':
            for membership in memberships:
                if membership.state != 'applicant' or membership.number:
                    raise AccessError(gettext(
                            'cooperative_community.msg_membership_delete',
                            membership=membership.rec_name))

    # Who may what

    @classmethod
    def of_peer(cls, community, peer):
        "Return the membership of the peer in the managed community, or None"
        memberships = cls.search([
                ('community', '=', community),
                ('peer', '=', peer),
                ])
        return memberships[0] if memberships else None

    @classmethod
    def of_identifier(cls, community, identifier):
        memberships = cls.search([
                ('community', '=', community),
                ('identifier', '=', identifier),
                ])
        return memberships[0] if memberships else None

    @property
    def roles(self):
        return [r for r in ['offerer', 'buyer'] if getattr(self, r)]

    def has_role(self, role=None):
        "Tell if the membership is active, with the role if one is given"
        return self.state == 'active' and (
            role is None or role in self.roles)

    def participant(self):
        "Return the entry of the member in the directory"
        roles = [] if self.state == 'pending_payment' else self.roles
        state = 'suspended' if self.state == 'suspended' else 'active'
        return self.peer.participant(roles, state)

    # Applications

    @classmethod
    def receive(cls, data, jws):
        """Store the application and return its membership, and if it was
        already known.  Raise Problem for what is refused."""
        statement, application = cls._open(data, jws)
        community = cls._addressee(statement)
        with Transaction().set_context(company=community.company.id):
            membership = cls.of_identifier(community, statement.sender)
            if membership and membership.application_uuid == statement.id:
                if bytes(membership.application) != data:
                    raise Problem.conflict(statement.id)
                return membership, True
            cls._check(community, membership, statement, application, jws)
            membership = membership or cls(
                community=community, identifier=statement.sender)
            membership._apply(statement, application, jws)
            return membership, False

    @classmethod
    def _open(cls, data, jws):
        try:
            statement = envelope.parse(data)
            if (not isinstance(statement, envelope.Statement)
                    or statement.kind != 'application'):
                raise Rejected("not an application")
            application = Application.from_json(statement.body)
            if application.participant.identifier != statement.sender:
                raise Rejected("not the application of its sender")
            cls._check_participant(application.participant)
        except ProtocolError as exception:
            raise Problem.malformed(exception) from exception
        try:
            signature.verify(
                data, jws, signature.APPLICATION,
                application.participant.public_keys())
        except ProtocolError as exception:
            raise Problem.signature(exception) from exception
        return statement, application

    @classmethod
    def _check_participant(cls, participant):
        "Raise Rejected for what only a community may say of somebody"
        if participant.kind != 'participant':
            raise Rejected("only a participant may apply")
        if participant.log or participant.witness:
            raise Rejected("an applicant has no key of a log or witness")

    @classmethod
    def _addressee(cls, statement):
        pool = Pool()
        Community = pool.get('cooperative.community')
        for community in Community.search([('role', '=', 'manager')]):
            if community.identifier == statement.receiver:
                return community
        raise Problem.not_addressed(statement.receiver)

    @classmethod
    def _check(cls, community, membership, statement, application, jws):
        "Raise Problem if the application may not be made"
        pool = Pool()
        Peer = pool.get('cooperative.edi.peer')
        if application.charter.to_json() != community.charter_terms:
            raise Problem('charter', "The charter is another one.",
                f"The version in force is {community.charter_version}.")
        if not application.roles:
            raise Problem('roles', "The application names no role.")
        trust_party = application.relation.trust_party
        if trust_party and trust_party not in {
                t.identifier for t in community.trust_parties}:
            raise Problem('trust-party',
                "The community does not work with the trust party.",
                trust_party)
        peer = Peer.get(community.company.id, statement.sender)
        kid = signature.kid_of(jws, signature.APPLICATION)
        if peer and peer.public_keys() and kid not in peer.public_keys():
            raise Problem('other-keys',
                "The applicant is known by other keys.", statement.sender)
        if membership and (
                membership.state not in {'refused', 'left'}
                or naive(statement.created) <= membership.applied):
            raise Problem('applied', "There is an application already.",
                statement.sender)

    def _apply(self, statement, application, jws):
        pool = Pool()
        Date = pool.get('ir.date')
        identity = self.community.identity
        receipt = Receipt(
            message=statement.id, digest=statement.digest,
            receiver=identity.identifier, time=now()).to_bytes()
        self.name = application.participant.name
        self.offerer = 'offerer' in application.roles
        self.buyer = 'buyer' in application.roles
        self.charter_version = application.charter.version
        self.charter_date = Date.today()
        self.applied = naive(statement.created)
        self.reason = None
        self.application = statement.to_bytes()
        self.application_uuid = statement.id
        self.application_signature = jws
        self.application_receipt = receipt
        self.application_receipt_signature = identity.sign(
            receipt, signature.RECEIPT)
        # Who applies again is recognised: number and history stay
        self.state = 'applicant'
        self.save()

    @property
    def answer(self):
        "What the applicant is answered"
        return {
            'receipt': bytes(self.application_receipt).decode('utf-8'),
            'signature': self.application_receipt_signature,
            'record': None,
            }

    @property
    def _application(self):
        statement = envelope.parse(bytes(self.application))
        return Application.from_json(statement.body)

    # Decisions of the manager

    @classmethod
    @ModelView.button
    def accept(cls, memberships):
        memberships = [m for m in memberships if m.state == 'applicant']
        for membership in memberships:
            membership._admit()
        cls.save(memberships)
        cls._accept(memberships)
        cls._charge([m for m in memberships if m.fee])

    @classmethod
    @told
    def _accept(cls, memberships):
        cls._wait_payment([m for m in memberships if m.fee])
        cls._activate([m for m in memberships if not m.fee])

    @classmethod
    @Workflow.transition('pending_payment')
    def _wait_payment(cls, memberships):
        pass

    @classmethod
    @Workflow.transition('active')
    def _activate(cls, memberships):
        pool = Pool()
        Date = pool.get('ir.date')
        for membership in memberships:
            if not membership.start_date:
                membership.start_date = Date.today()
            membership.end_date = None
            membership.reason = None
        cls.save(memberships)

    def _admit(self):
        "Make the applicant a peer with an agreed relation and a number"
        pool = Pool()
        Date = pool.get('ir.date')
        today = Date.today()
        self._update_peer()
        self._agree_relation()
        self.groups = list({
                *self.groups,
                *(g for g in self.community.groups if g.everyone)})
        if not self.number:
            self.number = self.community.membership_sequence.get()
        self.joined_date = self.joined_date or today
        self.start_date = self.end_date = self.reason = None
        self.fee = self.community.fee_at(today)

    def _update_peer(self):
        pool = Pool()
        Peer = pool.get('cooperative.edi.peer')
        self.peer = Peer.update_from(
            self.community.company.id, self._application.participant)
        self.party = self.peer.party

    def _agree_relation(self):
        pool = Pool()
        Peer = pool.get('cooperative.edi.peer')
        Relation = pool.get('cooperative.edi.relation')
        route = self._application.relation
        company = self.community.company
        self.relation = Relation(
            company=company, peer=self.peer, uuid=route.relation,
            trust_party=(Peer.get(company.id, route.trust_party)
                if route.trust_party else None),
            proposed_by='peer', state='agreed')
        self.relation.save()

    @classmethod
    def _charge(cls, memberships):
        "Post the invoices of the fees"
        pool = Pool()
        Invoice = pool.get('account.invoice')
        invoices = []
        for membership in memberships:
            membership.fee_invoice = membership._get_fee_invoice()
            invoices.append(membership.fee_invoice)
        Invoice.save(invoices)
        cls.save(memberships)
        Invoice.update_taxes(invoices)
        Invoice.post(invoices)

    def _get_fee_invoice(self):
        invoice = self._get_invoice()
        product = self.community.fee_product
        if not product:
            raise FeeProductMissingError(gettext(
                    'cooperative_community.msg_fee_product_missing',
                    community=self.community.rec_name))
        invoice.lines = [self._get_invoice_line(
                invoice, product, 1, self.fee, origin=self)]
        return invoice

    def _get_invoice(self):
        "Return a customer invoice to the member"
        pool = Pool()
        Invoice = pool.get('account.invoice')
        invoice = Invoice(
            company=self.community.company,
            type='out',
            party=self.party,
            currency=self.community.currency,
            )
        invoice.set_journal()
        invoice.on_change_party()
        return invoice

    def _get_invoice_line(
            self, invoice, product, quantity, unit_price, **values):
        pool = Pool()
        Line = pool.get('account.invoice.line')
        line = Line(
            invoice=invoice, type='line', company=invoice.company,
            currency=invoice.currency, product=product, quantity=quantity)
        line.on_change_invoice()
        line.on_change_product()
        line.unit = product.default_uom
        line.unit_price = unit_price
        for name, value in values.items():
            setattr(line, name, value)
        if not line.account:
            raise AccountMissingError(gettext(
                    'cooperative_community.msg_account_missing',
                    product=product.rec_name))
        return line

    @classmethod
    def fee_paid(cls, invoices):
        "Activate the memberships of which the fee is paid"
        with without_check_access():
            cls.activate(cls.search([
                        ('fee_invoice', 'in', [i.id for i in invoices]),
                        ('state', '=', 'pending_payment'),
                        ]))

    @classmethod
    @told
    def activate(cls, memberships):
        cls._activate(memberships)

    @classmethod
    @ModelView.button_action(
        'cooperative_community.wizard_membership_refuse')
    def refuse_wizard(cls, memberships):
        pass

    @classmethod
    @told
    @Workflow.transition('refused')
    def refuse(cls, memberships, reason):
        for membership in memberships:
            membership._update_peer()
            membership.reason = reason
        cls.save(memberships)

    @classmethod
    @ModelView.button_action(
        'cooperative_community.wizard_membership_suspend')
    def suspend_wizard(cls, memberships):
        pass

    @classmethod
    @told
    @Workflow.transition('suspended')
    def suspend(cls, memberships, reason):
        cls.write(memberships, {'reason': reason})

    @classmethod
    @ModelView.button
    def reactivate(cls, memberships):
        cls.activate([m for m in memberships if m.state == 'suspended'])

    @classmethod
    @ModelView.button_action(
        'cooperative_community.wizard_membership_end')
    def end_wizard(cls, memberships):
        pass

    @classmethod
    @told
    @Workflow.transition('left')
    def end(cls, memberships, reason=None):
        pool = Pool()
        Date = pool.get('ir.date')
        cls.write(memberships, {
                'reason': reason,
                'end_date': Date.today(),
                })

    @classmethod
    def on_modification(cls, mode, memberships, field_names=None):
        super().on_modification(mode, memberships, field_names=field_names)
        if mode == 'write' and field_names & {'offerer', 'buyer', 'groups'}:
            cls.tell([
                    (m, m.state) for m in memberships
                    if m.role == 'manager' and m.state == 'active'])

    @classmethod
    def tell(cls, changes):
        "Send the memberships, given with their previous state, as they are"
        pool = Pool()
        Community = pool.get('cooperative.community')
        Message = pool.get('cooperative.edi.message')
        for membership, previous in changes:
            kind = ('membership-decision' if previous == 'applicant'
                else 'membership-state')
            Message.send_statement(
                membership.peer, kind, membership.statement.to_json(),
                origin=membership)
            membership._close()
        Community.publish(list({m.community for m, _ in changes}))

    def _close(self):
        "Let nothing more pass between the community and who is not a member"
        closed = self.state in {'refused', 'left'}
        if self.role == 'manager':
            self.peer.state = 'removed' if closed else 'active'
            self.peer.save()
        if closed and self.relation:
            self.relation.state = 'ended'
            self.relation.save()

    @property
    def statement(self):
        "What the community says of the membership"
        fee = self.fee and Money(**self.community.currency_value(self.fee))
        return MembershipState(
            state=self.state, reason=self.reason or None, number=self.number,
            roles=tuple(self.roles), groups=tuple(g.name for g in self.groups),
            fee=fee or None, start=self.start_date, end=self.end_date,
            relation=self._route)

    # The side of the member

    @classmethod
    def apply(cls, community, offerer, buyer):
        "Send our application to the joined community and return it"
        pool = Pool()
        Date = pool.get('ir.date')
        Message = pool.get('cooperative.edi.message')
        membership = community.membership
        if membership and membership.state not in {'refused', 'left'}:
            raise AlreadyMemberError(gettext(
                    'cooperative_community.msg_already_member',
                    community=community.rec_name))
        identity = community.identity
        membership = membership or cls(
            community=community, identifier=identity.identifier)
        membership.name = identity.party.name
        membership.party = identity.party
        membership.offerer, membership.buyer = offerer, buyer
        membership.charter_version = community.charter_version
        membership.charter_date = Date.today()
        membership.applied = naive(now())
        membership.reason = None
        membership.relation = membership._get_relation()
        membership.state = 'applicant'
        membership.save()
        message = Message.send_statement(
            community.peer, 'application',
            membership._get_application(identity).to_json(),
            origin=membership)
        membership.application_uuid = message.uuid
        membership.save()
        return membership

    def _get_relation(self):
        """Return the relation with the community.
        The company agrees to it by applying, the community by accepting."""
        pool = Pool()
        Relation = pool.get('cooperative.edi.relation')
        community = self.community
        relation = Relation(
            company=community.company, peer=community.peer,
            trust_party=(
                community.trust_parties[0] if community.trust_parties
                else None),
            state='agreed')
        relation.save()
        return relation

    def _get_application(self, identity):
        return Application(
            participant=identity.participant(),
            roles=tuple(self.roles),
            charter=Acceptance(**self.community.charter_terms),
            relation=self._route)

    @property
    def _route(self):
        if self.relation:
            trust_party = self.relation.trust_party
            return Route(
                self.relation.uuid, trust_party and trust_party.identifier)

    @classmethod
    @ModelView.button
    def leave(cls, memberships):
        pool = Pool()
        Message = pool.get('cooperative.edi.message')
        for membership in memberships:
            Message.send_statement(
                membership.community.peer, 'membership-end',
                Resignation(reason=None).to_json(),
                origin=membership)

    def update_from(self, statement):
        "Make the membership what the community says that it is"
        pool = Pool()
        Date = pool.get('ir.date')
        self.number = statement.number
        self.offerer = 'offerer' in statement.roles
        self.buyer = 'buyer' in statement.roles
        self.groups = [
            self.community.get_group(name) for name in statement.groups]
        self.fee = statement.fee and Decimal(statement.fee.amount)
        self.reason = statement.reason
        self.start_date = statement.start
        self.end_date = statement.end
        if statement.state not in {'applicant', 'refused'}:
            self.joined_date = self.joined_date or Date.today()
        # The state is the community's: there is no transition to check here
        self.state = statement.state
        self.save()
        self._close()
        self.community.to_synchronise = True
        self.community.save()


class MembershipGroup(ModelSQL):
    __name__ = 'cooperative.community.membership-group'

    membership = fields.Many2One(
        'cooperative.community.membership', "Membership", required=True,
        ondelete='CASCADE')
    group = fields.Many2One(
        'cooperative.community.group', "Group", required=True,
        ondelete='RESTRICT')

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_constraints += [
            ('group_unique', Unique(t, t.membership, t.group),
                'cooperative_community.msg_membership_group_unique'),
            ]


class MembershipReason(ModelView):
    __name__ = 'cooperative.community.membership.reason'

    reason = fields.Text("Reason", required=True,
        help="The member reads it.")


class _MembershipReasonWizard(Wizard):
    start_state = 'ask'

    def transition_do(self):
        self._do(self.records, self.ask.reason)
        return 'end'


class MembershipRefuse(_MembershipReasonWizard):
    __name__ = 'cooperative.community.membership.refuse'

    ask = StateView(
        'cooperative.community.membership.reason',
        'cooperative_community.membership_reason_view_form', [
            Button("Cancel", 'end', 'tryton-cancel'),
            Button("Refuse", 'do', 'tryton-ok', default=True),
            ])
    do = StateTransition()

    def _do(self, memberships, reason):
        self.model.refuse(memberships, reason)


class MembershipSuspend(_MembershipReasonWizard):
    __name__ = 'cooperative.community.membership.suspend'

    ask = StateView(
        'cooperative.community.membership.reason',
        'cooperative_community.membership_reason_view_form', [
            Button("Cancel", 'end', 'tryton-cancel'),
            Button("Suspend", 'do', 'tryton-ok', default=True),
            ])
    do = StateTransition()

    def _do(self, memberships, reason):
        self.model.suspend(memberships, reason)


class MembershipEnd(_MembershipReasonWizard):
    __name__ = 'cooperative.community.membership.end'

    ask = StateView(
        'cooperative.community.membership.reason',
        'cooperative_community.membership_reason_view_form', [
            Button("Cancel", 'end', 'tryton-cancel'),
            Button("End", 'do', 'tryton-ok', default=True),
            ])
    do = StateTransition()

    def _do(self, memberships, reason):
        self.model.end(memberships, reason)


class Document(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.document'

    @classmethod
    def receive_membership_decision(cls, message, body):
        return cls.receive_membership_state(message, body)

    @classmethod
    def receive_membership_state(cls, message, body):
        pool = Pool()
        Community = pool.get('cooperative.community')
        statement = cls._membership_statement(MembershipState, message, body)
        community = Community.of_peer(message.peer)
        if not community or not community.membership:
            raise DocumentHeld(gettext(
                    'cooperative_community.msg_membership_unknown',
                    peer=message.peer.rec_name))
        membership = community.membership
        membership.update_from(statement)
        return membership

    @classmethod
    def receive_membership_end(cls, message, body):
        pool = Pool()
        Community = pool.get('cooperative.community')
        Membership = pool.get('cooperative.community.membership')
        statement = cls._membership_statement(Resignation, message, body)
        community = Community.managed(message.company)
        membership = community and Membership.of_peer(
            community, message.peer)
        if not membership:
            raise DocumentHeld(gettext(
                    'cooperative_community.msg_membership_unknown',
                    peer=message.peer.rec_name))
        Membership.end([membership], statement.reason)
        return membership

    @classmethod
    def _membership_statement(cls, Statement, message, body):
        try:
            return Statement.from_json(body)
        except ProtocolError as exception:
            raise DocumentHeld(gettext(
                    'cooperative_community.msg_statement_malformed',
                    peer=message.peer.rec_name,
                    error=str(exception))) from exception
