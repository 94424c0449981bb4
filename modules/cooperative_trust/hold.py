# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Money that a licensed custodian has for a deal, as the custodian signs it.

The trust party has none and moves none.  Without a custodian named here,
there is nothing of all this on any screen.
"""
import uuid
from decimal import Decimal

from sql import Null
from sql.functions import Round
from trytond import backend
from trytond.i18n import gettext
from trytond.model import (
    Check, DeactivableMixin, ModelSQL, ModelView, Unique, Workflow, fields)
from trytond.modules.currency.fields import Monetary
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Bool, Eval, If
from trytond.transaction import Transaction, inactive_records
from trytond.wizard import Button, StateTransition, StateView, Wizard

from cooperative_edi.dispute_arbiter import check_arbiter
from cooperative_edi.exceptions_dispute import DisputeArbiterError
from cooperative_edi.http import Problem
from cooperative_edi.peer import naive
from cooperative_edi.transaction import hold
from trycoton.protocol import signature
from trycoton.protocol.custody import EVENTS, Balance, Confirmation
from trycoton.protocol.dispute import Award
from trycoton.protocol.errors import ProtocolError, Rejected

from .exceptions_hold import HoldAwardError, HoldDisputeError, HoldModifyError
from .log import AppendOnlyMixin

BEFORE = ['agreed', 'funding']
FREEZABLE = ['held', 'part_released']
# To which the balance is exact: SQLite adds floating numbers
DIGITS = 3 if backend.name == 'sqlite' else 6
# What a confirmation, a button or an award alone changes
PROTECTED = {
    'uuid', 'licence', 'confirmation', 'held', 'released', 'refunded',
    'remaining', 'to_seller', 'to_buyer', 'award', 'award_signature',
    'award_notice', 'state'}
# What is agreed before anything happens
AGREED = {'company', 'custodian', 'buyer', 'seller', 'amount', 'currency'}


class Custodian(DeactivableMixin, ModelSQL, ModelView):
    __name__ = 'cooperative.trust.custodian'

    company = fields.Many2One(
        'company.company', "Company", required=True, ondelete='CASCADE')
    peer = fields.Many2One(
        'cooperative.edi.peer', "Custodian", required=True,
        ondelete='RESTRICT',
        domain=[
            ('company', '=', Eval('company', -1)),
            ],
        help="Who is licensed to collect money for others, and signs what "
        "happens to it.")
    licence = fields.Char("Licence Number", required=True,
        help="The number under which the authority lists it.")
    authority = fields.Char("Authority", required=True,
        help="Who gave the licence, such as the ACPR.")

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_constraints += [
            ('peer_unique', Unique(t, t.peer),
                'cooperative_trust.msg_custodian_peer_unique'),
            ('licence', Check(t, (t.licence != '') & (t.authority != '')),
                'cooperative_trust.msg_custodian_licence'),
            ]

    @classmethod
    def default_company(cls):
        return Transaction().context.get('company')

    def get_rec_name(self, name):
        return f'{self.peer.rec_name} ({self.authority} {self.licence})'

    @classmethod
    def search_rec_name(cls, name, clause):
        return ['OR',
            ('peer.rec_name', *clause[1:]),
            ('licence', *clause[1:]),
            ]

    @classmethod
    def check_modification(
            cls, mode, custodians, values=None, external=False):
        pool = Pool()
        Hold = pool.get('cooperative.trust.hold')
        super().check_modification(
            mode, custodians, values=values, external=external)
        if mode != 'write' or not (
                values.keys() & {'company', 'peer', 'licence', 'authority'}
                or not values.get('active', True)):
            return
        # Who has money stays who it is
        for record in Hold.search([
                    ('custodian', 'in', [c.id for c in custodians]),
                    ('remaining', '>', 0),
                    ], limit=1):
            raise HoldModifyError(gettext(
                    'cooperative_trust.msg_hold_modify',
                    hold=record.rec_name))

    @classmethod
    def on_modification(cls, mode, custodians, field_names=None):
        super().on_modification(mode, custodians, field_names=field_names)
        cls._show()

    @classmethod
    def on_delete(cls, custodians):
        callback = super().on_delete(custodians)
        callback.append(cls._show)
        return callback

    @classmethod
    def _show(cls):
        "Show what there is to custody as long as there is a custodian"
        pool = Pool()
        Data = pool.get('ir.model.data')
        Menu = pool.get('ir.ui.menu')
        with inactive_records():
            menu = Menu(Data.get_id('cooperative_trust', 'menu_hold'))
            named = bool(cls.search([('active', '=', True)], limit=1))
            if menu.active != named:
                menu.active = named
                menu.save()


class Hold(Workflow, ModelSQL, ModelView):
    __name__ = 'cooperative.trust.hold'

    _states = {
        'readonly': Eval('state') != 'agreed',
        }
    company = fields.Many2One(
        'company.company', "Company", required=True, ondelete='CASCADE',
        states=_states)
    custodian = fields.Many2One(
        'cooperative.trust.custodian', "Custodian", required=True,
        ondelete='RESTRICT',
        domain=[
            ('company', '=', Eval('company', -1)),
            ],
        states=_states,
        help="Who has the money. The trust party never has it.")
    licence = fields.Char("Licence Number", readonly=True,
        help="The licence of the custodian when the money came.")
    buyer = fields.Many2One(
        'cooperative.edi.peer', "Buyer", required=True, ondelete='RESTRICT',
        domain=[
            ('company', '=', Eval('company', -1)),
            ],
        states=_states)
    seller = fields.Many2One(
        'cooperative.edi.peer', "Seller", required=True, ondelete='RESTRICT',
        domain=[
            ('company', '=', Eval('company', -1)),
            ('id', '!=', Eval('buyer', -1)),
            ],
        states=_states)
    uuid = fields.Char("UUID", required=True, readonly=True,
        help="By which the custodian names it.")
    currency = fields.Many2One(
        'currency.currency', "Currency", required=True, ondelete='RESTRICT',
        states=_states)
    amount = Monetary(
        "Amount", currency='currency', digits='currency', required=True,
        domain=[('amount', '>', 0)],
        states=_states, help="What buyer and seller agreed on.")
    held = Monetary(
        "Held", currency='currency', digits='currency', required=True,
        readonly=True, help="What the custodian received.")
    released = Monetary(
        "Released", currency='currency', digits='currency', required=True,
        readonly=True, help="What the custodian gave to the seller.")
    refunded = Monetary(
        "Refunded", currency='currency', digits='currency', required=True,
        readonly=True, help="What the custodian gave back to the buyer.")
    remaining = Monetary(
        "Remaining", currency='currency', digits='currency', required=True,
        readonly=True, help="What the custodian still has.")
    confirmation = fields.Many2One(
        'cooperative.trust.hold.confirmation', "Confirmation", readonly=True,
        ondelete='RESTRICT',
        help="By which the custodian confirmed that the money came.")
    confirmations = fields.One2Many(
        'cooperative.trust.hold.confirmation', 'hold', "Confirmations",
        readonly=True)
    dispute = fields.Char("Dispute",
        states={
            'readonly': ~Eval('state').in_(BEFORE + FREEZABLE),
            },
        help="The UUID of the dispute that freezes the money.")
    arbiter = fields.Many2One(
        'cooperative.edi.peer', "Arbiter", ondelete='RESTRICT',
        domain=[
            ('company', '=', Eval('company', -1)),
            ('kind', '!=', 'trust-party'),
            ],
        states={
            'readonly': ~Eval('state').in_(BEFORE + FREEZABLE),
            },
        help="Whom both parties of the dispute named.")
    to_seller = Monetary(
        "To the Seller", currency='currency', digits='currency',
        readonly=True, help="What the award leaves to be released.")
    to_buyer = Monetary(
        "To the Buyer", currency='currency', digits='currency',
        readonly=True, help="What the award leaves to be refunded.")
    award = fields.Binary("Award", readonly=True)
    award_signature = fields.Text("Signature of Award", readonly=True)
    state = fields.Selection([
            ('agreed', "Agreed"),
            ('funding', "Funding"),
            ('held', "Held"),
            ('part_released', "Part Released"),
            ('released', "Released"),
            ('refunding', "Refunding"),
            ('refunded', "Refunded"),
            ('disputed', "Disputed"),
            ('awarded', "Awarded"),
            ('split', "Split"),
            ('settled', "Settled"),
            ], "State", required=True, readonly=True, sort=False)

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        # SQLite keeps decimals in a form that it does not compare by itself
        held, released, refunded, remaining = (
            Round(c, DIGITS)
            for c in [t.held, t.released, t.refunded, t.remaining])
        balance = Round(held - released - refunded - remaining, DIGITS)
        cls._sql_constraints += [
            ('uuid_unique', Unique(t, t.uuid),
                'cooperative_trust.msg_hold_uuid_unique'),
            ('balance', Check(t, balance == 0),
                'cooperative_trust.msg_hold_balance'),
            ('positive', Check(t,
                    (held >= 0) & (released >= 0)
                    & (refunded >= 0) & (remaining >= 0)),
                'cooperative_trust.msg_hold_balance'),
            ('custody', Check(t,
                    (t.state.in_(BEFORE) & (held == 0))
                    | ((t.licence != Null) & (t.licence != '')
                        & (t.confirmation != Null) & (held > 0))),
                'cooperative_trust.msg_hold_custody'),
            ]
        cls._order.insert(0, ('id', 'DESC'))
        cls._transitions |= {
            ('agreed', 'funding'),
            ('held', 'refunding'),
            ('part_released', 'refunding'),
            ('held', 'disputed'),
            ('part_released', 'disputed'),
            }
        cls._buttons.update(
            fund={
                'invisible': Eval('state') != 'agreed',
                'depends': ['state'],
                },
            refund={
                'invisible': ~Eval('state').in_(FREEZABLE),
                'depends': ['state'],
                },
            freeze={
                'invisible': ~Eval('state').in_(FREEZABLE),
                'readonly': ~Bool(Eval('dispute')) | ~Bool(Eval('arbiter')),
                'depends': ['state', 'dispute', 'arbiter'],
                },
            record_award={
                'invisible': Eval('state') != 'disputed',
                'depends': ['state'],
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
    def default_uuid(cls):
        return str(uuid.uuid4())

    @staticmethod
    def default_state():
        return 'agreed'

    @staticmethod
    def _zero():
        return Decimal(0)

    default_held = default_released = _zero
    default_refunded = default_remaining = _zero

    def get_rec_name(self, name):
        return ' - '.join([
                self.seller.rec_name, self.buyer.rec_name, self.uuid[:8]])

    @classmethod
    def search_rec_name(cls, name, clause):
        return ['OR',
            ('seller.rec_name', *clause[1:]),
            ('buyer.rec_name', *clause[1:]),
            ('uuid', *clause[1:]),
            ]

    @classmethod
    def view_attributes(cls):
        return super().view_attributes() + [
            ('/tree/field[@name="state"]', 'visual',
                If(Eval('state') == 'disputed', 'warning', '')),
            ]

    @classmethod
    def check_modification(cls, mode, holds, values=None, external=False):
        super().check_modification(
            mode, holds, values=values, external=external)
        for record in holds:
            if not record._admits(mode, set(values or {}), external):
                raise HoldModifyError(gettext(
                        'cooperative_trust.msg_hold_modify',
                        hold=record.rec_name))

    def _admits(self, mode, names, external):
        "Tell if the record may be modified so"
        if mode == 'create':
            # What a person records is agreed, and nothing more
            return not external or (
                self.state == 'agreed' and not any(
                    getattr(self, name) for name in PROTECTED - {
                        'uuid', 'state'}))
        if mode == 'delete':
            return self.state == 'agreed'
        return (not (external and names & PROTECTED)
            and (self.state == 'agreed' or not names & AGREED))

    @classmethod
    def copy(cls, holds, default=None):
        default = default.copy() if default is not None else {}
        for name in PROTECTED | {'dispute', 'arbiter', 'confirmations'}:
            default.setdefault(name)
        default['uuid'] = lambda _: cls.default_uuid()
        default['state'] = 'agreed'
        for name in ['held', 'released', 'refunded', 'remaining']:
            default[name] = Decimal(0)
        return super().copy(holds, default=default)

    # What the operator records

    @classmethod
    @ModelView.button
    @Workflow.transition('funding')
    def fund(cls, holds):
        pass

    @classmethod
    @ModelView.button
    @Workflow.transition('refunding')
    def refund(cls, holds):
        pass

    @classmethod
    @ModelView.button
    @Workflow.transition('disputed')
    def freeze(cls, holds):
        for record in holds:
            if not record.dispute or not record.arbiter:
                raise HoldDisputeError(gettext(
                        'cooperative_trust.msg_hold_dispute',
                        hold=record.rec_name))
            check_arbiter(
                record.arbiter, record.company,
                [record.buyer, record.seller, record.custodian.peer], None)

    @classmethod
    @ModelView.button_action('cooperative_trust.wizard_hold_award')
    def record_award(cls, holds):
        pass

    def take_award(self, data, jws):
        "Leave to each what the arbiter of the dispute awards"
        record = hold(self)
        try:
            award = Award.open(data, jws, record.arbiter.public_keys()
                if record.arbiter else {})
            check_arbiter(
                record.arbiter, record.company,
                [record.buyer, record.seller, record.custodian.peer], None)
            balance = record._award(award)
        except (ProtocolError, DisputeArbiterError) as exception:
            raise HoldAwardError(gettext(
                    'cooperative_trust.msg_hold_award',
                    hold=record.rec_name,
                    error=str(exception))) from exception
        record.award, record.award_signature = data, jws
        record._set(balance)

    def _award(self, award):
        names = [award.dispute, award.arbiter, award.buyer, award.seller]
        if names != [
                self.dispute, self.arbiter.identifier,
                self.buyer.identifier, self.seller.identifier]:
            raise Rejected("The award is about another dispute.")
        amounts = [a for a in [award.credited, award.paid] if a]
        if any(a.currency != self.currency.code for a in amounts):
            raise Rejected("The award is in another currency.")
        for amount in amounts:
            self._check_digits(Decimal(amount.amount))
        credited = award.credited and Decimal(award.credited.amount)
        return self.balance.award(award.outcome, credited)

    def _check_digits(self, amount):
        if self.currency.round(amount) != amount:
            raise Rejected("It has more digits than the currency.")

    @property
    def balance(self):
        return Balance(
            self.state, self.amount, self.held, self.released, self.refunded,
            self.to_seller or Decimal(0), self.to_buyer or Decimal(0))

    def _set(self, balance):
        for name in [
                'state', 'held', 'released', 'refunded', 'remaining',
                'to_seller', 'to_buyer']:
            setattr(self, name, getattr(balance, name))
        self.save()

    # What the custodian confirms

    @classmethod
    def confirm(cls, data, jws):
        """Record what a custodian signed.  Return if it is new.
        Raise Problem for what is not one's or contradicts the record."""
        custodians = cls._custodians(data, jws)
        try:
            confirmation = Confirmation.parse(data)
        except ProtocolError as exception:
            raise Problem.malformed(exception) from exception
        for record in cls.search([
                    ('uuid', '=', confirmation.hold),
                    ('custodian', 'in', [c.id for c in custodians]),
                    ]):
            custodian = record.custodian
            if custodian.peer.identifier != confirmation.custodian:
                raise Problem.not_sender(confirmation.custodian)
            with Transaction().set_context(company=record.company.id):
                return cls._confirm(
                    hold(custodian), record, confirmation, data, jws)
        raise Problem.not_found(confirmation.hold)

    @classmethod
    def _custodians(cls, data, jws):
        "Return the custodians whose key signed the bytes"
        pool = Pool()
        Custodian = pool.get('cooperative.trust.custodian')
        Key = pool.get('cooperative.edi.peer.key')
        try:
            kid = signature.kid_of(jws, signature.CUSTODY)
            signers = Key.signers([kid])[kid]
            for signer in signers[:1]:
                signature.verify(
                    data, jws, signature.CUSTODY, {kid: signer.public_key})
        except ProtocolError as exception:
            raise Problem.signature(exception) from exception
        custodians = Custodian.search(
            [('peer', 'in', [s.peer for s in signers])])
        if not custodians:
            raise Problem.unknown_key(kid)
        return custodians

    @classmethod
    def _confirm(cls, custodian, record, confirmation, data, jws):
        pool = Pool()
        Recorded = pool.get('cooperative.trust.hold.confirmation')
        for known in Recorded.search([
                    ('custodian', '=', custodian.id),
                    ['OR',
                        ('nonce', '=', confirmation.nonce),
                        ('reference', '=', confirmation.reference),
                        ]]):
            if known.digest == confirmation.digest:
                return False
            raise cls._contradicts("The reference or the nonce is used.")
        record = hold(record)
        amount = Decimal(confirmation.amount.amount)
        try:
            if confirmation.amount.currency != record.currency.code:
                raise Rejected("It is in another currency.")
            record._check_digits(amount)
            balance = record.balance.after(confirmation.event, amount)
        except ProtocolError as exception:
            raise cls._contradicts(exception) from exception
        recorded = Recorded(
            hold=record, custodian=custodian, event=confirmation.event,
            nonce=confirmation.nonce, reference=confirmation.reference,
            amount=amount, time=naive(confirmation.time), data=data,
            signature=jws, digest=confirmation.digest)
        recorded.save()
        if not record.confirmation:
            record.confirmation = recorded
            record.licence = custodian.licence
        record._set(balance)
        return True

    @classmethod
    def _contradicts(cls, detail):
        return Problem(
            'custody', "The confirmation contradicts what is recorded.",
            str(detail))


class HoldConfirmation(AppendOnlyMixin, ModelSQL, ModelView):
    __name__ = 'cooperative.trust.hold.confirmation'

    hold = fields.Many2One(
        'cooperative.trust.hold', "Hold", required=True, readonly=True,
        ondelete='RESTRICT')
    custodian = fields.Many2One(
        'cooperative.trust.custodian', "Custodian", required=True,
        readonly=True, ondelete='RESTRICT')
    event = fields.Selection([
            ('funded', "Funded"),
            ('released', "Released"),
            ('refunded', "Refunded"),
            ], "Event", required=True, readonly=True, sort=False)
    reference = fields.Char("Reference", required=True, readonly=True,
        help="Of the movement in the books of the custodian.")
    nonce = fields.Char("Nonce", required=True, readonly=True)
    amount = fields.Numeric("Amount", required=True, readonly=True)
    time = fields.DateTime("Time", required=True, readonly=True)
    data = fields.Binary("Confirmation", required=True, readonly=True,
        help="The exact bytes that the custodian signed.")
    signature = fields.Text("Signature", required=True, readonly=True)
    digest = fields.Char("Digest", required=True, readonly=True)

    __access__ = {'hold'}

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_constraints += [
            ('nonce_unique', Unique(t, t.custodian, t.nonce),
                'cooperative_trust.msg_hold_confirmation_unique'),
            ('reference_unique', Unique(t, t.custodian, t.reference),
                'cooperative_trust.msg_hold_confirmation_unique'),
            ]
        cls._order = [('id', 'ASC')]
        assert set(dict(cls.event.selection)) == set(EVENTS)

    def get_rec_name(self, name):
        return self.reference


class HoldAward(Wizard):
    __name__ = 'cooperative.trust.hold.award'
    start = StateView(
        'cooperative.trust.hold.award.start',
        'cooperative_trust.hold_award_start_view_form', [
            Button("Cancel", 'end', 'tryton-cancel'),
            Button("Record", 'record_', 'tryton-ok', default=True),
            ])
    record_ = StateTransition()

    def transition_record_(self):
        self.record.take_award(
            bytes(self.start.award), self.start.signature.strip())
        return 'end'


class HoldAwardStart(ModelView):
    __name__ = 'cooperative.trust.hold.award.start'

    award = fields.Binary("Award", required=True,
        help="The file that the arbiter signed, as a party exports it.")
    signature = fields.Text("Signature", required=True)


class NoticeMixin:
    "A screen that tells who has the money of the deals"
    __slots__ = ()

    notice = fields.Function(fields.Text("Notice"), 'get_notice')

    def get_notice(self, name):
        pool = Pool()
        Custodian = pool.get('cooperative.trust.custodian')
        custodians = Custodian.search([('company', '=', self.company.id)])
        if not custodians:
            return gettext('cooperative_trust.msg_notice')
        return gettext('cooperative_trust.msg_notice_custodian',
            custodians=', '.join(c.rec_name for c in custodians))


class Log(NoticeMixin, metaclass=PoolMeta):
    __name__ = 'cooperative.trust.log'


class Agreement(NoticeMixin, metaclass=PoolMeta):
    __name__ = 'cooperative.trust.agreement'

    @property
    def company(self):
        return self.proposer.company
