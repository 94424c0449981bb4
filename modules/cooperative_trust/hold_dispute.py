# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The dispute about money at a custodian, as far as it was said by way of the
trust party: the operator chooses it and its award, and types nothing"""
from trytond.i18n import gettext
from trytond.model import fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Bool, Eval

from trycoton.protocol import dispute as protocol
from trycoton.protocol import envelope
from trycoton.protocol.errors import ProtocolError, Rejected

from .exceptions_hold import HoldDisputeError
from .hold import BEFORE, FREEZABLE

# What names an arbiter, as it stands at the end
NAMING = [
    'relation-arbiter', 'dispute-opening', 'dispute-answer',
    'dispute-arbiter']


class Hold(metaclass=PoolMeta):
    __name__ = 'cooperative.trust.hold'

    opening = fields.Many2One(
        'cooperative.edi.message', "Recorded Dispute", ondelete='RESTRICT',
        domain=[
            ('company', '=', Eval('company', -1)),
            ('kind', '=', 'dispute-opening'),
            ('relays', '!=', None),
            ('erased', '=', None),
            ('relays.peer', 'in', [Eval('buyer', -1), Eval('seller', -1)]),
            ('peer', 'in', [Eval('buyer', -1), Eval('seller', -1)]),
            ],
        help="By which one party opened the dispute, as it passed here.\n"
        "Empty if they said it to each other directly, or sealed.")
    award_notice = fields.Many2One(
        'cooperative.edi.message', "Recorded Award", readonly=True,
        ondelete='RESTRICT',
        states={
            'invisible': ~Eval('award_notice'),
            },
        help="By which the arbiter told the award, as it passed here.")

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls.opening.states['readonly'] = cls.dispute.states['readonly']
        cls.dispute.states['readonly'] |= Bool(Eval('opening'))

    def _admits(self, mode, names, external):
        # Who decides is settled before anything is frozen
        settled = mode == 'write' and external and (
            names & {'opening', 'dispute', 'arbiter'}
            and self.state not in BEFORE + FREEZABLE)
        return not settled and super()._admits(mode, names, external)

    @classmethod
    def copy(cls, holds, default=None):
        default = default.copy() if default is not None else {}
        default.setdefault('opening')
        default.setdefault('award_notice')
        return super().copy(holds, default=default)

    @fields.depends('company', 'buyer', 'seller', 'opening')
    def on_change_opening(self):
        self.dispute = self.arbiter = None
        if self.opening:
            try:
                self.dispute = self._opening().dispute
            except ProtocolError:
                return
            self.arbiter = self._arbiter_named()

    @classmethod
    def validate_fields(cls, holds, field_names):
        super().validate_fields(holds, field_names)
        if field_names and not field_names & {
                'opening', 'dispute', 'buyer', 'seller'}:
            return
        for record in holds:
            if record.opening and not record.opening.erased:
                record._check_opening()

    def _check_opening(self):
        try:
            body = self._opening()
            if body.dispute != self.dispute:
                raise Rejected("It opens another dispute.")
            claimant = self.buyer if body.side == 'buyer' else self.seller
            if {self.opening.sender, self.opening.recipient} != {
                    self.buyer.identifier, self.seller.identifier} or (
                    self.opening.sender != claimant.identifier):
                raise Rejected("It is between others.")
        except ProtocolError as exception:
            raise HoldDisputeError(gettext(
                    'cooperative_trust.msg_hold_opening',
                    hold=self.rec_name, opening=self.opening.rec_name,
                    error=str(exception))) from exception

    def _opening(self):
        "Return what opened the dispute; raise ProtocolError"
        return _body(self.opening, protocol.Opening)

    def _arbiter_named(self):
        "Return whom both parties named, as far as it was said here"
        pool = Pool()
        Message = pool.get('cooperative.edi.message')
        Peer = pool.get('cooperative.edi.peer')
        opening, named = self._opening(), {}
        for message in Message.search([
                    ('company', '=', self.company.id),
                    ('kind', 'in', NAMING),
                    ('relays', '!=', None),
                    ('erased', '=', None),
                    ('sender', 'in', _identifiers(self.buyer, self.seller)),
                    ('recipient', 'in', _identifiers(
                            self.buyer, self.seller)),
                    ], order=[('id', 'ASC')]):
            try:
                body = _body(message)
            except ProtocolError:
                continue
            if isinstance(body, protocol.RelationArbiter):
                about = opening.relation and (
                    body.relation == opening.relation)
            else:
                about = body.dispute == opening.dispute and body.arbiter
            if about:
                named[message.sender] = body.arbiter
        arbiters = {named.get(p.identifier) for p in [
                self.buyer, self.seller]}
        if len(arbiters) == 1 and (arbiter := arbiters.pop()):
            return Peer.get(self.company.id, arbiter)

    def award_notices(self):
        "Return the messages by which an award of the dispute was told"
        pool = Pool()
        Message = pool.get('cooperative.edi.message')
        if not self.arbiter:
            return []
        notices = {}
        for message in Message.search([
                    ('company', '=', self.company.id),
                    ('kind', '=', 'dispute-award'),
                    ('relays', '!=', None),
                    ('erased', '=', None),
                    ('sender', '=', self.arbiter.identifier),
                    ('recipient', 'in', _identifiers(
                            self.buyer, self.seller)),
                    ], order=[('id', 'ASC')]):
            try:
                notice = _body(message, protocol.AwardNotice)
                award = protocol.Award.parse(notice.award)
            except ProtocolError:
                continue
            if award.dispute == self.dispute:
                # The two parties were told the same
                notices.setdefault(notice, message)
        return list(notices.values())

    def take_award_notice(self, message):
        "Leave to each what the arbiter told to have awarded"
        notice = _body(message, protocol.AwardNotice)
        self.take_award(notice.award, notice.signature)
        record = self.__class__(self.id)
        record.award_notice = message
        record.save()

    def _award(self, award):
        if self.opening and not self.opening.erased:
            award.check_case(
                envelope.parse(bytes(self.opening.data)),
                self.arbiter.identifier)
        return super()._award(award)


class HoldAward(metaclass=PoolMeta):
    __name__ = 'cooperative.trust.hold.award'

    def default_start(self, fields):
        notices = self.record.award_notices()
        return {
            'notices': [n.id for n in notices],
            'notice': notices[0].id if len(notices) == 1 else None,
            }

    def transition_record_(self):
        if not self.start.notice:
            return super().transition_record_()
        self.record.take_award_notice(self.start.notice)
        return 'end'


class HoldAwardStart(metaclass=PoolMeta):
    __name__ = 'cooperative.trust.hold.award.start'

    notices = fields.Many2Many(
        'cooperative.edi.message', None, None, "Recorded Awards",
        readonly=True)
    notice = fields.Many2One(
        'cooperative.edi.message', "Recorded Award",
        domain=[
            ('id', 'in', Eval('notices', [])),
            ],
        states={
            'invisible': ~Eval('notices'),
            },
        help="By which the arbiter told the award, as it passed here.\n"
        "Empty to record one that a party gives.")

    @classmethod
    def __setup__(cls):
        super().__setup__()
        for name in ['award', 'signature']:
            field = getattr(cls, name)
            field.required = False
            field.states = {
                'required': ~Eval('notice'),
                'invisible': Bool(Eval('notice')),
                }


def _identifiers(*peers):
    return [p.identifier for p in peers]


def _body(message, Body=None):
    "Return what the relayed statement says; raise ProtocolError"
    statement = envelope.parse(bytes(message.alone.data))
    if not isinstance(statement, envelope.Statement) or (
            statement.kind != message.kind):
        raise Rejected("It is sealed.")
    body = protocol.BODIES[statement.kind].from_json(statement.body)
    if Body and not isinstance(body, Body):
        raise Rejected("It says something else.")
    return body
