# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What the log commits to: the events in the life of a relayed message"""
import datetime as dt
import os

from sql import Null
from trytond.i18n import gettext
from trytond.model import Index, Unique, fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Eval

from trycoton.protocol import canonical, entry
from trycoton.protocol.errors import ProtocolError

from .last import last_of

EVENTS = [
    (entry.SUBMISSION, "Submission"),
    (entry.CONSIGNMENT, "Placed in the Mailbox"),
    (entry.DELIVERY, "Delivery"),
    (entry.FAILURE, "Not Delivered"),
    ]
# What evidence is made of
_told = [
    'uuid', 'sender', 'recipient', 'digest', 'sequence', 'signature',
    'receipt', 'receipt_signature', 'refusal', 'refusal_signature']
_states = {
    'invisible': ~Eval('event').in_([event for event, _ in EVENTS]),
    }


class Leaf(metaclass=PoolMeta):
    __name__ = 'cooperative.trust.log.leaf'

    message = fields.Many2One(
        'cooperative.edi.message', "Message", readonly=True,
        ondelete='RESTRICT',
        states={
            'invisible': _states['invisible'],
            'required': ~_states['invisible'],
            },
        help="The message received, or handed over.")
    sender = fields.Char("Sender", readonly=True, states=_states)
    recipient = fields.Char("Recipient", readonly=True, states=_states)
    previous = fields.Char("Previous", readonly=True, states=_states,
        help="The digest of the evidence before, between the same two.")
    evidence = fields.Binary("Evidence", readonly=True, states=_states,
        help="What the entry commits to, shown to nobody but the parties.")
    digest = fields.Char("Digest", readonly=True, states=_states,
        help="The digest of the evidence.")
    nonce = fields.Binary("Nonce", readonly=True, states=_states,
        help="The random bytes without which nobody can guess the evidence.")

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls.event.selection.extend(EVENTS)
        cls._sealed |= {'previous', 'evidence', 'digest', 'nonce'}
        t = cls.__table__()
        cls._sql_constraints += [
            ('message_event_unique', Unique(t, t.message, t.event),
                'cooperative_trust.msg_leaf_message_event_unique'),
            ]
        cls._sql_indexes.add(Index(
                t,
                (t.log, Index.Equality()),
                (t.sender, Index.Equality()),
                (t.recipient, Index.Equality()),
                (t.index, Index.Range(order='DESC'))))

    @classmethod
    def record_event(cls, event, messages, **values):
        "Have the log take the event of each message"
        pool = Pool()
        Log = pool.get('cooperative.trust.log')
        logs = {c: Log.get(c.id).id for c in {m.company for m in messages}}
        leaves = cls.create([{
                    'log': logs[message.company],
                    'event': event,
                    'message': message.id,
                    'sender': message.sender,
                    'recipient': message.recipient,
                    **values,
                    } for message in messages])
        cls.check_evidence(leaves)
        return leaves

    @classmethod
    def check_evidence(cls, leaves):
        """Raise ProtocolError for an event that no evidence can tell: once it
        waits for its place, all that comes after waits as well"""
        for leaf in leaves:
            leaf.get_evidence()

    @classmethod
    def record_submissions(cls, arrivals):
        "Have the log take the messages just stored, which are not read again"
        return cls.create([{
                    'log': arrival.log.id,
                    'event': entry.SUBMISSION,
                    'message': arrival.message.id,
                    'sender': arrival.header.sender,
                    'recipient': arrival.header.receiver,
                    } for arrival in arrivals])

    @classmethod
    def seal(cls, leaves):
        super().seal(leaves)
        leaves = [l for l in leaves if l.sender]
        if not leaves:
            return
        cls._read_messages(leaves)
        log = leaves[0].log.id
        last = last_of(
            cls, {l.pair for l in leaves}, 'index',
            lambda t: (t.log == log) & (t.index != Null), 'digest')
        for leaf in leaves:
            digest, = last.get(leaf.pair, [None])
            leaf.commit(digest)
            last[leaf.pair] = [leaf.digest]

    @classmethod
    def _read_messages(cls, leaves):
        "Read of the messages what they tell, and not their forty columns"
        pool = Pool()
        Message = pool.get('cooperative.edi.message')
        leaves = [l for l in leaves if l.message]
        messages = {values['id']: Message(**values)
            for values in Message.read([l.message.id for l in leaves], _told)}
        for leaf in leaves:
            leaf.message = messages[leaf.message.id]

    @property
    def pair(self):
        "Between whom it happened: their evidence is a chain"
        return self.sender, self.recipient

    def commit(self, previous):
        "Compute the evidence, and the entry that commits to it"
        self.previous = previous
        self.evidence = self.get_evidence().to_bytes()
        self.digest = canonical.digest(self.evidence)
        self.nonce = os.urandom(entry.NONCE_SIZE)
        self.entry = entry.commitment(self.nonce, self.evidence)

    @property
    def subject(self):
        "What the event happened to"
        return self.message

    def get_evidence(self):
        message = self.subject
        return entry.Evidence(
            event=self.event,
            message=message.uuid,
            sender=message.sender,
            recipient=message.recipient,
            digest=message.digest,
            time=self.time.replace(tzinfo=dt.timezone.utc),
            sequence=message.sequence,
            previous=self.previous,
            signature=self._evidence_signature(),
            receipt=self._evidence_receipt(),
            reason=self.reason, text=self.reason_text)

    def _evidence_signature(self):
        "Return the signature of who acted"
        if self.event == entry.DELIVERY:
            return self.message.receipt_signature
        if self.event == entry.SUBMISSION:
            return self.message.signature

    def _evidence_receipt(self):
        "Return what the recipient signed, beside the message"
        if self.event == entry.DELIVERY:
            return bytes(self.message.receipt).decode()

    @property
    def record(self):
        "What proves the event to the parties of the message"
        return self.record_of(self.proof)

    def record_of(self, proof):
        return entry.Record(
            evidence=bytes(self.evidence), nonce=bytes(self.nonce),
            proof=proof.to_bytes().decode())

    @property
    def is_right(self):
        right = super().is_right
        if not right or not self.nonce:
            # Erased: the entry stays and proves what the parties kept
            return right
        try:
            return (
                bytes(self.evidence) == self.get_evidence().to_bytes()
                and self.digest == canonical.digest(bytes(self.evidence))
                and bytes(self.entry) == entry.commitment(
                    bytes(self.nonce), bytes(self.evidence))
                and (not self.message
                    or self.message.digest == canonical.digest(
                        bytes(self.message.alone.data))))
        except (ProtocolError, AttributeError, TypeError, ValueError):
            # What is not there, or in no form
            return False

    @classmethod
    def find(cls, uuid, peer):
        "Return by event the leaves of a message for one of its parties"
        leaves = cls.search([
                ('message.uuid', '=', uuid),
                ('log.company', '=', peer.company.id),
                ['OR',
                    ('sender', '=', peer.identifier),
                    ('recipient', '=', peer.identifier),
                    ],
                ])
        return {leaf.event: leaf for leaf in leaves}

    def get_rec_name(self, name):
        rec_name = super().get_rec_name(name)
        if self.message:
            rec_name = gettext(
                'cooperative_trust.msg_leaf_rec_name',
                index=rec_name, message=self.message.rec_name)
        return rec_name
