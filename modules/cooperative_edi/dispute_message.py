# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The messages of a dispute: the way that they go, and what is done with those
that come in"""
from decimal import Decimal

from trytond.i18n import gettext
from trytond.pool import Pool, PoolMeta

from trycoton.protocol import dispute as rules
from trycoton.protocol import envelope, signature
from trycoton.protocol.errors import ProtocolError
from trycoton.protocol.statement import BODIES

from .exceptions import DocumentParked, DocumentRefused
from .exceptions_dispute import DisputeArbiterError
from .identity import aware
from .peer import naive
from .transaction import hold

KINDS = [
    ('dispute-opening', "Opening of Dispute"),
    ('dispute-answer', "Answer to Dispute"),
    ('dispute-arbiter', "Naming of Arbiter"),
    ('dispute-evidence', "Evidence in Dispute"),
    ('dispute-withdrawal', "Withdrawal of Dispute"),
    ('dispute-case', "Case for Arbiter"),
    ('dispute-award', "Award"),
    ('relation-arbiter', "Arbiter of Relation"),
    ]


def body_of(kind, body):
    "Return what the body of the statement says; raise ProtocolError"
    return BODIES[kind].from_json(body)


class Message(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.message'

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls.kind.selection += KINDS

    @classmethod
    def _get_origin(cls):
        return super()._get_origin() + ['cooperative.edi.dispute']

    @classmethod
    def _statement_route(cls, peer, kind, origin):
        relation = getattr(origin, 'relation', None)
        if (kind.startswith('dispute-') and relation
                and relation.trust_party and relation.peer == peer):
            return relation.trust_party
        return super()._statement_route(peer, kind, origin)


class Document(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.document'

    @classmethod
    def receive_dispute_opening(cls, message, body):
        pool = Pool()
        Dispute = pool.get('cooperative.edi.dispute')
        Relation = pool.get('cooperative.edi.relation')
        opening = cls._dispute_body(message, body)
        known = Dispute.search([
                ('company', '=', message.company.id),
                ('peer', '=', message.peer.id),
                ('uuid', '=', opening.dispute),
                ])
        if known:
            raise cls._dispute_refused("The dispute is open already.")
        relations = Relation.search([
                ('company', '=', message.company.id),
                ('peer', '=', message.peer.id),
                ('uuid', '=', opening.relation),
                ]) if opening.relation else []
        dispute = cls._dispute(
            message, opening, role='respondent', peer=message.peer,
            relation=relations[0] if relations else None)
        dispute.messages = cls._contested(message, opening)
        dispute.save()
        return cls._take_statement(message, dispute)

    @classmethod
    def _dispute(cls, message, opening, **values):
        pool = Pool()
        Dispute = pool.get('cooperative.edi.dispute')
        if naive(opening.answer_by) < message.stored:
            raise cls._dispute_refused("The deadline is over.")
        return Dispute(
            company=message.company, uuid=opening.dispute,
            side=opening.side, claim=opening.claim, asked=opening.asked,
            amount=(
                Decimal(opening.amount.amount) if opening.amount else None),
            currency=(cls.currency(opening.amount.currency)
                if opening.amount else None),
            freeze_payments='payment' in opening.freezes,
            freeze_despatches='despatch' in opening.freezes,
            answer_by=naive(opening.answer_by),
            award_by=naive(opening.award_by), **values)

    @classmethod
    def _contested(cls, message, opening):
        "Return what is in question; refuse what was not exchanged so"
        pool = Pool()
        Contested = pool.get('cooperative.edi.dispute.message')
        Message = pool.get('cooperative.edi.message')
        found = {m.uuid: m for m in Message.search([
                    ('company', '=', message.company.id),
                    ('peer', '=', message.peer.id),
                    ('uuid', 'in', [c.message for c in opening.messages]),
                    ])}
        for contested in opening.messages:
            known = found.get(contested.message)
            if known and known.digest != contested.digest:
                raise cls._dispute_refused(gettext(
                        'cooperative_edi.msg_dispute_digest',
                        message=known.rec_name))
        if not found:
            raise cls._dispute_refused(
                gettext('cooperative_edi.msg_dispute_unknown_messages'))
        return [Contested(
                message=found.get(c.message), uuid=c.message,
                digest=c.digest) for c in opening.messages]

    @classmethod
    def receive_dispute_answer(cls, message, body):
        said = cls._dispute_body(message, body)
        return cls._take_statement(
            message, cls._known_dispute(message, said.dispute))

    receive_dispute_arbiter = receive_dispute_answer
    receive_dispute_evidence = receive_dispute_answer
    receive_dispute_withdrawal = receive_dispute_answer

    @classmethod
    def _take_statement(cls, message, dispute):
        statement = envelope.parse(bytes(message.data))
        dispute = hold(dispute)
        try:
            dispute._take(
                statement, message.signature, aware(message.stored))
        except ProtocolError as exception:
            raise cls._dispute_refused(exception) from exception
        except DisputeArbiterError as exception:
            raise cls._dispute_refused(exception.message) from exception
        return dispute

    @classmethod
    def _known_dispute(cls, message, uuid):
        pool = Pool()
        Dispute = pool.get('cooperative.edi.dispute')
        disputes = Dispute.search([
                ('company', '=', message.company.id),
                ('peer', '=', message.peer.id),
                ('role', '!=', 'arbiter'),
                ('uuid', '=', uuid),
                ])
        if not disputes:
            raise DocumentParked(gettext(
                    'cooperative_edi.msg_dispute_unknown', dispute=uuid))
        dispute, = disputes
        return dispute

    @classmethod
    def receive_dispute_award(cls, message, body):
        pool = Pool()
        Dispute = pool.get('cooperative.edi.dispute')
        notice = cls._dispute_body(message, body)
        try:
            uuid = rules.Award.parse(notice.award).dispute
            # Any of the two parties may bring it as well
            disputes = Dispute.search([
                    ('company', '=', message.company.id),
                    ('role', '!=', 'arbiter'),
                    ('uuid', '=', uuid),
                    ['OR',
                        ('arbiter', '=', message.peer.id),
                        ('peer', '=', message.peer.id),
                        ],
                    ])
            if not disputes:
                raise cls._dispute_refused(
                    gettext('cooperative_edi.msg_dispute_not_arbiter'))
            dispute = hold(disputes[0])
            dispute.receive_award(notice, aware(message.stored))
        except ProtocolError as exception:
            raise cls._dispute_refused(exception) from exception
        except DisputeArbiterError as exception:
            raise cls._dispute_refused(exception.message) from exception
        return dispute

    @classmethod
    def receive_dispute_case(cls, message, body):
        "Take as arbiter what a party hands over"
        case = cls._dispute_body(message, body)
        try:
            statement = envelope.Statement.parse(case.statement)
            cls._verify_handed(message, statement, case.signature)
            said = body_of(statement.kind, statement.body)
            dispute = hold(cls._case(message, statement, said))
            dispute._take(
                statement, case.signature, aware(message.stored))
        except (ProtocolError, KeyError) as exception:
            raise cls._dispute_refused(exception) from exception
        return dispute

    @classmethod
    def _verify_handed(cls, message, statement, jws):
        "Check the signature of what is handed over, by the key of its author"
        author = cls._named_peer(message, statement.sender)
        signature.verify(statement.to_bytes(), jws, statement.typ, {
                k.kid: k.public_key for k in author.keys
                if k.purpose == 'signing' and not k.revoked})

    @classmethod
    def _case(cls, message, statement, said):
        "Return the case that the statement belongs to"
        pool = Pool()
        Dispute = pool.get('cooperative.edi.dispute')
        if message.peer.identifier not in {
                statement.sender, statement.receiver}:
            raise cls._dispute_refused("This is not for the sender to say.")
        party = cls._named_peer(message, statement.sender)
        other = cls._named_peer(message, statement.receiver)
        cases = Dispute.search([
                ('company', '=', message.company.id),
                ('role', '=', 'arbiter'),
                ['OR', [
                        ('peer', '=', party.id),
                        ('against', '=', other.id),
                        ], [
                        ('peer', '=', other.id),
                        ('against', '=', party.id),
                        ]],
                ])
        if isinstance(said, rules.RelationArbiter):
            cases = [c for c in cases
                if c.opening.body['relation'] == said.relation and c.open]
        else:
            cases = [c for c in cases if c.uuid == said.dispute]
        if cases:
            return cases[0]
        if not isinstance(said, rules.Opening):
            raise DocumentParked(gettext(
                    'cooperative_edi.msg_dispute_unknown',
                    dispute=getattr(said, 'dispute', statement.id)))
        return cls._new_case(message, said, party, other)

    @classmethod
    def _new_case(cls, message, opening, claimant, respondent):
        pool = Pool()
        Contested = pool.get('cooperative.edi.dispute.message')
        dispute = cls._dispute(
            message, opening, role='arbiter', peer=claimant,
            against=respondent)
        dispute.messages = [
            Contested(uuid=c.message, digest=c.digest)
            for c in opening.messages]
        dispute.save()
        return dispute

    @classmethod
    def answer_relation(cls, message):
        pool = Pool()
        Relation = pool.get('cooperative.edi.relation')
        if message.kind.startswith('dispute-') and message.peer:
            return Relation.find(message.company.id, message.peer.id)
        return super().answer_relation(message)

    @classmethod
    def message_refused(cls, message, text):
        "Show on the dispute that the other party did not take its opening"
        super().message_refused(message, text)
        if message.kind == 'dispute-opening' and message.origin:
            dispute = message.origin
            dispute.answer = text
            dispute.save()

    @classmethod
    def _dispute_body(cls, message, body):
        try:
            return body_of(message.kind, body)
        except ProtocolError as exception:
            raise DocumentRefused('SV', gettext(
                    'cooperative_edi.msg_relation_body',
                    error=str(exception))) from exception

    @classmethod
    def _dispute_refused(cls, error):
        return DocumentRefused('BV', gettext(
                'cooperative_edi.msg_dispute_refused', error=str(error)),
            'TCT-DISPUTE')
