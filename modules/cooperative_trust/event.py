# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What else happens to a message: refused, placed at the disposal of its
recipient, or not delivered"""
import datetime as dt
import logging

import trytond.config as config
from trytond import backend
from trytond.exceptions import UserError
from trytond.model import ModelSQL, ModelView, Unique, fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Bool, Eval
from trytond.transaction import Transaction

from cooperative_edi import courier
from cooperative_edi.column import BigInteger
from cooperative_edi.http import Problem, printable
from cooperative_edi.identity import now
from cooperative_edi.peer import naive
from cooperative_edi.transaction import hold, transact
from trycoton.protocol import entry
from trycoton.protocol.errors import ProtocolError

from .evidence import EVENTS

logger = logging.getLogger(__name__)

# How long a message waits for who fetches it
MAILBOX_LAST = dt.timedelta(
    days=config.getint('cooperative', 'mailbox_days', default=30))
EXPIRE_MAX = 1000
# A flood of one member does not fill the log
REJECTIONS_MAX = 20
_evidence_fields = [
    'sender', 'recipient', 'previous', 'evidence', 'digest', 'nonce']


class Rejection(ModelSQL, ModelView):
    __name__ = 'cooperative.trust.rejection'

    company = fields.Many2One(
        'company.company', "Company", required=True, readonly=True,
        ondelete='RESTRICT')
    peer = fields.Many2One(
        'cooperative.edi.peer', "Peer", required=True, readonly=True,
        ondelete='RESTRICT',
        help="Whose key signed the message.")
    sender = fields.Char("Sender", required=True, readonly=True)
    recipient = fields.Char("Recipient", required=True, readonly=True)
    uuid = fields.Char("UUID", required=True, readonly=True)
    sequence = BigInteger("Sequence", required=True, readonly=True)
    digest = fields.Char("Digest", required=True, readonly=True)
    signature = fields.Text("Signature", required=True, readonly=True)
    date = fields.Date("Date", required=True, readonly=True)
    reason = fields.Char("Reason", required=True, readonly=True)
    reason_text = fields.Text("Explanation", readonly=True)
    leaves = fields.One2Many(
        'cooperative.trust.log.leaf', 'rejection', "Log", readonly=True)

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_constraints += [
            ('digest_unique', Unique(t, t.peer, t.digest, t.reason),
                'cooperative_trust.msg_rejection_digest_unique'),
            ]
        cls._order.insert(0, ('id', 'DESC'))

    def get_rec_name(self, name):
        return f'{self.reason} {self.uuid}'

    @classmethod
    def search_rec_name(cls, name, clause):
        return ['OR',
            ('uuid', *clause[1:]),
            ('peer.rec_name', *clause[1:]),
            ('reason', *clause[1:]),
            ]

    @classmethod
    def copy(cls, rejections, default=None):
        default = default.copy() if default is not None else {}
        default.setdefault('leaves')
        return super().copy(rejections, default=default)

    @classmethod
    def answer(cls, database, problem):
        "Have the log take the refusal of a message, and the problem prove it"
        Leaf = Pool(database).get('cooperative.trust.log.leaf')
        try:
            leaf = transact(database, cls.keep, problem)
            if leaf and Leaf.wait(database, leaf):
                problem.record = transact(
                    database, Leaf.read_record, leaf, readonly=True)
        except (
                Problem, backend.DatabaseOperationalError, UserError,
                ProtocolError):
            # It is refused all the same
            logger.warning("rejection not recorded", exc_info=True)

    @classmethod
    def keep(cls, problem):
        "Return the id of the leaf of the refusal, None when there are many"
        pool = Pool()
        Leaf = pool.get('cooperative.trust.log.leaf')
        Peer = pool.get('cooperative.edi.peer')
        values = problem.rejected
        hold(Peer(values['peer']))
        known = cls.search([
                ('peer', '=', values['peer']),
                ('digest', '=', values['digest']),
                ('reason', '=', problem.name),
                ])
        if known:
            leaf, = known[0].leaves
            return leaf.id
        date = naive(now()).date()
        if cls.search_count([
                    ('peer', '=', values['peer']),
                    ('date', '=', date),
                    ]) >= REJECTIONS_MAX:
            return
        rejection, = cls.create([{
                    **values,
                    'date': date,
                    'reason': problem.name,
                    'reason_text': printable(
                        problem.title, problem.detail),
                    }])
        return Leaf.record_rejection(rejection).id


class Leaf(metaclass=PoolMeta):
    __name__ = 'cooperative.trust.log.leaf'

    rejection = fields.Many2One(
        'cooperative.trust.rejection', "Rejection", readonly=True,
        ondelete='RESTRICT',
        states={
            'invisible': Eval('event') != entry.REJECTION,
            'required': Eval('event') == entry.REJECTION,
            })
    reason = fields.Char("Reason", readonly=True,
        states={
            'invisible': ~Eval('reason'),
            })
    reason_text = fields.Text("Explanation", readonly=True,
        states={
            'invisible': ~Eval('reason_text'),
            })
    closing = fields.Boolean("Closing", readonly=True,
        states={
            'invisible': ~Eval('closing'),
            },
        help="It ends the way of the message, which only one event does.")

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls.event.selection.append((entry.REJECTION, "Submission Refused"))
        for name in _evidence_fields:
            getattr(cls, name).states['invisible'] = ~Eval('event').in_(
                [entry.REJECTION, *dict(EVENTS)])
        t = cls.__table__()
        cls._sql_constraints += [
            ('message_closing_unique', Unique(t, t.message, t.closing),
                'cooperative_trust.msg_leaf_message_closing_unique'),
            ('rejection_unique', Unique(t, t.rejection),
                'cooperative_trust.msg_leaf_rejection_unique'),
            ]

    @classmethod
    def record_event(cls, event, messages, **values):
        if event in entry.CLOSING:
            # Nothing for the others: many nothings are unique
            values['closing'] = True
        return super().record_event(event, messages, **values)

    @classmethod
    def record_rejection(cls, rejection):
        "Have the log take the rejection"
        pool = Pool()
        Log = pool.get('cooperative.trust.log')
        leaf = cls(
            log=Log.get(rejection.company.id), event=entry.REJECTION,
            rejection=rejection, sender=rejection.sender,
            recipient=rejection.recipient, reason=rejection.reason,
            reason_text=rejection.reason_text)
        leaf.save()
        cls.check_evidence([leaf])
        return leaf

    @property
    def subject(self):
        return self.rejection or super().subject

    def _evidence_signature(self):
        if self.rejection:
            return self.rejection.signature
        if self.is_refusal:
            return self.message.refusal_signature
        return super()._evidence_signature()

    def _evidence_receipt(self):
        if self.is_refusal:
            return bytes(self.message.refusal).decode()
        return super()._evidence_receipt()

    @property
    def is_refusal(self):
        "Tell if the recipient has signed that it does not take the message"
        return self.reason == entry.REFUSED and bool(
            self.message and self.message.refusal)

    @classmethod
    def find(cls, uuid, peer):
        leaves = super().find(uuid, peer)
        for leaf in cls.search([
                    ('rejection.uuid', '=', uuid),
                    ('rejection.peer', '=', peer.id),
                    ], order=[('id', 'ASC')]):
            leaves[leaf.event] = leaf
        return leaves

    def get_rec_name(self, name):
        rec_name = super().get_rec_name(name)
        if self.rejection:
            rec_name = f'{rec_name} - {self.rejection.rec_name}'
        return rec_name


class Message(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.message'

    @classmethod
    def __setup__(cls):
        super().__setup__()
        # What is closed stays so
        for name in ['retry', 'give_up']:
            cls._buttons[name]['invisible'] |= (
                Bool(Eval('relays')) & (Eval('state') == 'failed'))
            cls._buttons[name]['depends'].append('relays')

    @property
    def retriable(self):
        return super().retriable and not (
            self.relays and self.state == 'failed')

    @classmethod
    def refuse(cls, database, arrival):
        # What a member really signed for somebody else
        if (not arrival.problem.retry
                and arrival.signer and arrival.relayed):
            arrival.problem.rejected = cls._rejected(arrival)
        super().refuse(database, arrival)

    @classmethod
    def _rejected(cls, arrival):
        "Return the values of the rejection"
        header = arrival.header
        return {
            'company': arrival.identity.company.id,
            'peer': arrival.signer.peer,
            'sender': header.sender,
            'recipient': header.receiver,
            'uuid': header.id,
            'sequence': header.sequence,
            'digest': header.digest,
            'signature': arrival.jws,
            }

    @classmethod
    def _relay(cls, arrivals):
        pool = Pool()
        Leaf = pool.get('cooperative.trust.log.leaf')
        super()._relay(arrivals)
        Leaf.record_event(entry.CONSIGNMENT, [
                a.copied for a in arrivals if not a.recipient.endpoint])

    def postpone(self, error, wanted=0):
        with Transaction().set_context(_failure=entry.UNREACHABLE):
            super().postpone(error, wanted)

    @classmethod
    def unanswered(cls, id_, error, wanted=0):
        with Transaction().set_context(_failure=entry.UNREACHABLE):
            super().unanswered(id_, error, wanted)

    def fail(self, error):
        super().fail(error)
        if self.relays:
            self._not_delivered(
                Transaction().context.get('_failure', entry.REFUSED), error)

    def _not_delivered(self, reason, text):
        "Close the message: nobody acknowledges it from now on"
        pool = Pool()
        Leaf = pool.get('cooperative.trust.log.leaf')
        Leaf.record_event(
            entry.FAILURE, [self], reason=reason,
            reason_text=printable(text) or None)

    @classmethod
    def abandon(cls, messages, reason):
        super().abandon([m for m in messages if not m.relays], reason)
        for message in messages:
            if message.relays:
                message = hold(message)
                if message.state == 'waiting':
                    with Transaction().set_context(_failure=entry.GIVEN_UP):
                        message.fail(reason)

    @classmethod
    def fetched(cls, peer, uuid, data):
        closed = cls.search([
                ('company', '=', peer.company.id),
                ('direction', '=', 'out'),
                ('peer', '=', peer.id),
                ('uuid', '=', uuid),
                ('relays', '!=', None),
                ('state', '=', 'failed'),
                ], limit=1)
        message = (
            closed[0] if closed else super().fetched(peer, uuid, data))
        if (message.relays and message.state == 'failed'
                and 'type' not in courier.parse_answer(data)):
            # Its sender was told, and may have sent something else
            raise Problem.closed(uuid)
        return message

    @classmethod
    def attend(cls, database):
        for id_ in transact(database, cls.to_expire, readonly=True):
            transact(database, cls.expire, id_)
        super().attend(database)

    @classmethod
    def to_expire(cls):
        "Return the ids of what nobody fetched in time, oldest first"
        return [m.id for m in cls.search([
                    ('direction', '=', 'out'),
                    ('state', '=', 'waiting'),
                    ('relays', '!=', None),
                    ('stored', '<', naive(now()) - MAILBOX_LAST),
                    ], order=[('id', 'ASC')], limit=EXPIRE_MAX)
            if not m.url]

    @classmethod
    def expire(cls, id_):
        "Close the message that nobody fetched in time"
        message = hold(cls(id_))
        if message.state == 'waiting':
            with Transaction().set_context(_failure=entry.EXPIRED):
                message.fail(
                    f"It was not fetched within {MAILBOX_LAST.days} days.")


class Refusal(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.refusal'

    @classmethod
    def count_problem(cls, database, problem, address, request):
        Rejection = Pool(database).get('cooperative.trust.rejection')
        super().count_problem(database, problem, address, request)
        if getattr(problem, 'rejected', None):
            Rejection.answer(database, problem)
