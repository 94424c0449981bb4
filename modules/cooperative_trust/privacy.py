# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""How long the relay keeps what it relays, and what it erases.

What is erased is the document and what opens the commitment of its entries:
the entries, the tree and all that was proved stay as they are.
"""
import datetime as dt
from collections import Counter, defaultdict
from itertools import islice

from dateutil.relativedelta import relativedelta
from sql import Null
from trytond.i18n import gettext
from trytond.model import Index, ModelSQL, ModelView, Unique, fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Bool, Eval
from trytond.tools import grouped_slice
from trytond.transaction import Transaction, without_check_access
from trytond.wizard import Button, StateTransition, StateView, Wizard

from cooperative_edi.http import Problem
from cooperative_edi.peer import naive
from trycoton.protocol import dispute, envelope
from trycoton.protocol.errors import ProtocolError

from .log import now

BATCH = 100
RUN = 10000
REJECTION = 'rejection'
# Nobody has something kept for good by a dispute without end
DISPUTE_LAST = dt.timedelta(days=2 * 365)
# No award ends it: the arbiter may have been named where we do not see it
DISPUTES = ['dispute-opening', 'dispute-withdrawal']
REASONS = [
    ('law', "The law requires to keep it"),
    ('dispute', "A dispute is open about it"),
    ('undelivered', "It waits for its recipient"),
    ('pending', "It waits for its place in the log"),
    ]


class Cron(metaclass=PoolMeta):
    __name__ = 'ir.cron'

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls.method.selection.append((
                'cooperative.edi.message|erase_expired',
                "Erase Relayed Messages"))


class Retention(ModelSQL, ModelView):
    __name__ = 'cooperative.trust.retention'

    kind = fields.Selection('get_kinds', "Type", required=True)
    kind_string = kind.translated('kind')
    months = fields.Integer("Months", required=True,
        domain=[
            ('months', '>=', 1),
            ],
        help="How long the trust party keeps what it relayed.")
    statutory = fields.Boolean("Required by Law",
        help="Nobody can have it erased before.\n"
        "The months count from the end of the year.")

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_constraints += [
            ('kind_unique', Unique(t, t.kind),
                'cooperative_trust.msg_retention_kind_unique'),
            ]

    @classmethod
    def default_statutory(cls):
        return False

    @classmethod
    def get_kinds(cls):
        pool = Pool()
        Message = pool.get('cooperative.edi.message')
        return Message.fields_get(['kind'])['kind']['selection'] + [
            (REJECTION, gettext('cooperative_trust.msg_retention_rejection'))]

    def get_rec_name(self, name):
        return self.kind_string

    @property
    def limit(self):
        "What was stored before that time is no longer kept"
        time = now() - relativedelta(months=self.months)
        if self.statutory:
            time = dt.datetime(time.year, 1, 1)
        return time

    def until(self, stored):
        "Return the day from which what was stored at the time may be erased"
        if self.statutory:
            stored = dt.datetime(stored.year + 1, 1, 1)
        return (stored + relativedelta(months=self.months)).date()


class Message(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.message'

    erased = fields.DateTime("Erased", readonly=True,
        states={
            'invisible': ~Eval('erased'),
            },
        help="When its document was erased: what was proved stays proved.")

    @classmethod
    def __setup__(cls):
        super().__setup__()
        for field in [cls.data, cls.signature]:
            field.states['required'] &= ~Bool(Eval('erased'))
        t = cls.__table__()
        cls._sql_indexes.update({
                Index(t, (t.relays, Index.Equality()),
                    where=t.relays != Null),
                Index(t, (t.kind, Index.Equality()),
                    (t.stored, Index.Range()),
                    where=(t.relays != Null) & (t.erased == Null)),
                })

    @classmethod
    def copy(cls, messages, default=None):
        default = default.copy() if default is not None else {}
        default.setdefault('erased')
        return super().copy(messages, default=default)

    @classmethod
    def relayed_to(cls, peers=None):
        """Return the domain of what is relayed and not erased, of the peers
        alone if they are given"""
        domain = [('relays', '!=', None), ('erased', '=', None)]
        if peers is not None:
            names = [p.identifier for p in peers]
            domain += [
                ('company', 'in', [p.company.id for p in peers]),
                ['OR', ('sender', 'in', names), ('recipient', 'in', names)],
                ]
        return domain

    @classmethod
    def expired(cls):
        "Return the domain of what was kept long enough"
        pool = Pool()
        Retention = pool.get('cooperative.trust.retention')
        return [
            # Handed over, or closed without
            ('state', 'in', ['sent', 'failed']),
            cls.relayed_to(),
            ['OR', ('id', '<', 0), *[[
                        ('kind', '=', r.kind),
                        ('stored', '<', r.limit),
                        ] for r in Retention.search([])]],
            ]

    @classmethod
    @without_check_access
    def erase_expired(cls):
        "Have what was kept long enough erased, some at a time"
        pool = Pool()
        Rejection = pool.get('cooperative.trust.rejection')
        for Model in [cls, Rejection]:
            for batch in grouped_slice(islice(Model.to_erase(), RUN), BATCH):
                Model.__queue__.erase(list(batch))

    @classmethod
    def to_erase(cls):
        "Yield what was kept long enough, but what must be kept anyway"
        # What is kept is not in the way of the others
        last = 0
        while messages := cls.search(
                [cls.expired(), ('id', '>', last)],
                order=[('id', 'ASC')], limit=BATCH):
            kept = cls.kept(messages)
            yield from (m for m in messages if m not in kept)
            last = messages[-1].id

    @classmethod
    @without_check_access
    def erase(cls, messages):
        """Erase the documents of the relayed messages, and what opens their
        entries in the log, but what must be kept anyway"""
        pool = Pool()
        Leaf = pool.get('cooperative.trust.log.leaf')
        Refusal = pool.get('cooperative.edi.refusal')
        messages = [m for m in messages if not m.erased]
        kept = cls.kept(messages)
        erased = [m for m in messages if m not in kept]
        for sub in grouped_slice(erased, BATCH):
            copies = list({
                    c for found in cls.copies(list(sub)).values()
                    for c in found})
            ids = [c.id for c in copies]
            Leaf.erase(Leaf.search([('message', 'in', ids)]))
            Refusal.write(Refusal.search([('message', 'in', ids)]), {
                    'data': None, 'signature': None})
            cls.write(copies, {
                    'data': None,
                    'signature': None,
                    'document_number': None,
                    'error': None,
                    'erased': now(),
                    })
            cls.write([c for c in copies if c.relays], {
                    'receipt': None,
                    'receipt_signature': None,
                    'refusal': None,
                    'refusal_signature': None,
                    })
        return erased

    @classmethod
    def kept(cls, messages):
        """Return, by the relayed messages that are kept whoever asks to have
        them erased, the reason and the day until which the law wants it"""
        pool = Pool()
        Leaf = pool.get('cooperative.trust.log.leaf')
        Retention = pool.get('cooperative.trust.retention')
        statutory = {r.kind: r for r in Retention.search(
                [('statutory', '=', True)])}
        disputed = cls.disputed(messages)
        copies = cls.copies(messages)
        pending = {l.message for l in Leaf.search([
                    ('message', 'in', [
                            c.id for m in messages for c in copies[m]]),
                    ('index', '=', None),
                    ])}
        today = dt.date.today()
        kept = {}
        for message in messages:
            until = None
            if retention := statutory.get(message.kind):
                until = retention.until(message.stored)
            if message in disputed:
                kept[message] = 'dispute', None
            elif any(c.state == 'waiting' for c in copies[message]):
                kept[message] = 'undelivered', None
            elif pending.intersection(copies[message]):
                kept[message] = 'pending', None
            elif until and until > today:
                kept[message] = 'law', until
        return kept

    @classmethod
    def copies(cls, messages):
        """Return by the relayed messages what came in and all that it was
        sent on as"""
        sent = defaultdict(list)
        for message in cls.search([
                    ('relays', 'in', [m.relays.id for m in messages])]):
            sent[message.relays].append(message)
        return {m: [m.relays, *sent[m.relays]] for m in messages}

    @classmethod
    def disputed(cls, messages):
        """Return those of the relayed messages that are disputed by way of
        the trust party: what opens a dispute and what it is about, until who
        opened it withdraws it"""
        by_uuid = defaultdict(list)
        for message in messages:
            by_uuid[message.uuid].append(message)
        disputed, withdrawn = defaultdict(set), set()
        for statement in cls.search([
                    ('relays', '!=', None),
                    ('erased', '=', None),
                    ('kind', 'in', DISPUTES),
                    ('company', 'in', list({m.company for m in messages})),
                    ]):
            try:
                body = statement.alone.dispute_body
            except ProtocolError:
                # Sealed, or no statement that counts
                continue
            # Of others, the same dispute is another one
            key = body.dispute, statement.sender, statement.recipient
            if isinstance(body, dispute.Opening):
                end = min(
                    naive(body.award_by), statement.stored + DISPUTE_LAST)
                if now() < end:
                    pair = {statement.sender, statement.recipient}
                    uuids = [statement.uuid, *(
                            c.message for c in body.messages)]
                    disputed[key].update(
                        m for uuid in uuids for m in by_uuid[uuid]
                        if {m.sender, m.recipient} == pair)
            else:
                withdrawn.add(key)
        return set().union(
            *(m for key, m in disputed.items() if key not in withdrawn))

    @property
    def alone(self):
        """The message without those that it was found with: with its bytes,
        those of all of them would be read"""
        return self.__class__(self.id)

    @property
    def dispute_body(self):
        "What the relayed message says of a dispute; raise ProtocolError"
        statement = envelope.parse(bytes(self.data))
        return dispute.BODIES[self.kind].from_json(statement.body)

    @classmethod
    def _submissions(cls, ids):
        # Its receipt is given again, its record no longer is
        return super()._submissions(
            [m.id for m in cls.browse(ids) if not m.erased])


class Rejection(metaclass=PoolMeta):
    __name__ = 'cooperative.trust.rejection'

    erased = fields.DateTime("Erased", readonly=True,
        states={
            'invisible': ~Eval('erased'),
            },
        help="When what opens its entry was erased.")

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls.signature.required = False
        cls.signature.states = {
            'required': ~Eval('erased'),
            }

    @classmethod
    def copy(cls, rejections, default=None):
        default = default.copy() if default is not None else {}
        default.setdefault('erased')
        return super().copy(rejections, default=default)

    @classmethod
    def expired(cls):
        "Return the domain of what was kept long enough"
        pool = Pool()
        Retention = pool.get('cooperative.trust.retention')
        return [
            ('erased', '=', None),
            ['OR', ('id', '<', 0), *[
                    ('date', '<', r.limit.date()) for r in Retention.search(
                        [('kind', '=', REJECTION)])]],
            ]

    @classmethod
    def to_erase(cls):
        "Return what was kept long enough"
        return cls.search(cls.expired(), order=[('id', 'ASC')], limit=RUN)

    @classmethod
    @without_check_access
    def erase(cls, rejections):
        "Erase what opens the entries of the rejections"
        pool = Pool()
        Leaf = pool.get('cooperative.trust.log.leaf')
        leaves = Leaf.search([
                ('rejection', 'in', [r.id for r in rejections]),
                ('index', '!=', None),
                ])
        Leaf.erase(leaves)
        cls.write([l.rejection for l in leaves], {
                'signature': None, 'reason_text': None, 'erased': now()})


class Leaf(metaclass=PoolMeta):
    __name__ = 'cooperative.trust.log.leaf'

    @classmethod
    def erase(cls, leaves):
        """Erase what opens the commitments of the leaves.  What the log
        consists of stays: nothing else of a leaf ever changes."""
        table = cls.__table__()
        cursor = Transaction().connection.cursor()
        for sub in grouped_slice(leaves, BATCH):
            cursor.execute(*table.update(
                    [table.evidence, table.nonce, table.reason_text],
                    [Null, Null, Null],
                    where=table.id.in_([l.id for l in sub])
                    & (table.index != Null)))
        for cache in Transaction().cache.values():
            cache.pop(cls.__name__, None)

    @property
    def erased(self):
        return bool(self.subject and self.subject.erased)

    def record_of(self, proof):
        if not self.nonce:
            raise Problem.erased(self.subject.uuid)
        return super().record_of(proof)

    @property
    def is_right(self):
        if not self.erased:
            # A nonce does not go by itself
            whole = not self.subject or (
                self.nonce and self.evidence
                and (not self.message or self.message.data))
            return bool(whole) and super().is_right
        return not self.nonce and not self.evidence and super().is_right


class EraseMember(Wizard):
    __name__ = 'cooperative.trust.member.erase'
    start = StateView(
        'cooperative.trust.member.erase.start',
        'cooperative_trust.member_erase_start_view_form', [
            Button("Cancel", 'end', 'tryton-cancel', default=True),
            Button("Erase", 'erase', 'tryton-delete',
                states={
                    'invisible': ~Eval('count', 0),
                    }),
            ])
    erase = StateTransition()

    def default_start(self, fields):
        pool = Pool()
        Message = pool.get('cooperative.edi.message')
        kept, until = Counter(), {}
        messages = self._messages()
        for batch in grouped_slice(messages, BATCH):
            for message, (reason, day) in Message.kept(list(batch)).items():
                key = message.kind_string, reason
                kept[key] += 1
                if day:
                    until[key] = max(day, until.get(key, day))
        return {
            'peer': self.record.peer.id,
            'count': len(messages) - kept.total(),
            'kept': [{
                    'kind': kind,
                    'reason': reason,
                    'count': count,
                    'until': until.get((kind, reason)),
                    } for (kind, reason), count in sorted(kept.items())],
            }

    def transition_erase(self):
        pool = Pool()
        Message = pool.get('cooperative.edi.message')
        Rejection = pool.get('cooperative.trust.rejection')
        for Model, records in [
                (Message, self._messages()),
                (Rejection, Rejection.search([
                            ('peer', '=', self.record.peer.id),
                            ('erased', '=', None),
                            ]))]:
            for batch in grouped_slice(records, BATCH):
                Model.__queue__.erase(list(batch))
        return 'end'

    def _messages(self):
        "Return what is relayed from or to the member"
        pool = Pool()
        Message = pool.get('cooperative.edi.message')
        return Message.search(
            Message.relayed_to([self.record.peer]), order=[('id', 'ASC')])


class EraseMemberStart(ModelView):
    __name__ = 'cooperative.trust.member.erase.start'

    peer = fields.Many2One('cooperative.edi.peer', "Member", readonly=True)
    count = fields.Integer("Messages to Erase", readonly=True)
    kept = fields.One2Many(
        'cooperative.trust.member.erase.kept', None, "Kept", readonly=True,
        help="What is not erased, and why: tell it to the member.")


class EraseMemberKept(ModelView):
    __name__ = 'cooperative.trust.member.erase.kept'

    kind = fields.Char("Type", readonly=True)
    count = fields.Integer("Messages", readonly=True)
    reason = fields.Selection(REASONS, "Reason", readonly=True, sort=False)
    until = fields.Date("Until", readonly=True,
        help="The last of them can be erased from that day.\n"
        "Empty: once the reason is gone.")
