# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
import datetime as dt
import re
import uuid
from math import ceil

import trytond.config as config
from sql import Null
from sql.aggregate import Min
from sql.conditionals import Coalesce, Greatest
from trytond import backend
from trytond.exceptions import UserError
from trytond.i18n import gettext
from trytond.model import Index, ModelSQL, ModelView, Unique, Workflow, fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Eval, If
from trytond.tools import sqlite_apply_types
from trytond.transaction import Transaction, without_check_access

from trycoton.protocol import envelope, problem, signature, ubl
from trycoton.protocol.entry import Record
from trycoton.protocol.errors import Malformed, ProtocolError, Rejected
from trycoton.protocol.receipt import Receipt

from . import courier, rules
from .column import BigInteger, Bytes
from .exceptions import (
    DocumentHeld, DocumentParked, DocumentRefused, RelationMissingError)
from .http import Problem, printable
from .identity import now
from .peer import RETRY_MAX, RETRY_MIN, later, naive
from .transaction import hold

FETCH_INTERVAL = config.getint('cooperative', 'fetch', default=60)
RETRY_LAST = dt.timedelta(days=5)
PARK_LAST = dt.timedelta(days=5)
# How long who fetches a message has it alone
LEASE = dt.timedelta(minutes=5)
# How many messages a mailbox shows at a time
PAGE, PAGE_MAX = 100, 1000
KINDS = [
    ('catalogue', "Catalogue"),
    ('order', "Order"),
    ('order_change', "Order Change"),
    ('order_cancellation', "Order Cancellation"),
    ('order_response', "Order Response"),
    ('despatch_advice', "Despatch Advice"),
    ('receipt_advice', "Receipt Advice"),
    ('invoice', "Invoice"),
    ('credit_note', "Credit Note"),
    ('invoice_response', "Invoice Response"),
    ('remittance_advice', "Remittance Advice"),
    ('message_level_response', "Message Level Response"),
    ('relation-proposal', "Relation Proposal"),
    ('relation-answer', "Relation Answer"),
    ('relation-end', "End of Relation"),
    ]
# What nobody answers, by a business document or by a technical one
ANSWERS = {
    'order_response', 'receipt_advice', 'invoice_response',
    'message_level_response'}
# What no business document answers
ANSWERED_TECHNICALLY = {'catalogue', 'remittance_advice'}
# The states of what has been signed
SIGNED_STATES = ['waiting', 'sent', 'received', 'parked', 'processed']


class Cron(metaclass=PoolMeta):
    __name__ = 'ir.cron'

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls.method.selection.append(
            ('cooperative.edi.message|wake', "Exchange Messages"))


class Message(courier.CourierMixin, Workflow, ModelSQL, ModelView):
    __name__ = 'cooperative.edi.message'

    company = fields.Many2One(
        'company.company', "Company", required=True, readonly=True,
        ondelete='RESTRICT')
    direction = fields.Selection([
            ('in', "In"),
            ('out', "Out"),
            ], "Direction", required=True, readonly=True)
    peer = fields.Many2One(
        'cooperative.edi.peer', "Peer", required=True, readonly=True,
        ondelete='RESTRICT',
        help="Who sent the message, or who is to receive it.")
    sender = fields.Char("Sender", required=True, readonly=True)
    recipient = fields.Char("Recipient", required=True, readonly=True)
    trust_party = fields.Many2One(
        'cooperative.edi.peer', "Trust Party", readonly=True,
        ondelete='RESTRICT',
        help="What relays and records the message.\n"
        "Empty if it travels directly.")
    relation = fields.Many2One(
        'cooperative.edi.relation', "Relation", readonly=True,
        ondelete='RESTRICT')
    kind = fields.Selection(KINDS, "Type", required=True, readonly=True)
    kind_string = kind.translated('kind')
    document_number = fields.Char("Document", readonly=True,
        help="The number of the document in the books of who wrote it.")
    code = fields.Char("Answer Code", readonly=True,
        help="What the document answers, if it is an answer.")
    uuid = fields.Char("UUID", required=True, readonly=True)
    created = fields.DateTime("Created", required=True, readonly=True,
        help="When the sender wrote the message, by its clock.")
    stored = fields.DateTime("Stored", required=True, readonly=True,
        help="When the message was stored here.")
    sequence = BigInteger("Sequence", readonly=True,
        states={
            'required': Eval('state').in_(SIGNED_STATES),
            },
        help="The rank among the messages of the sender to the recipient.")
    in_sequence = fields.Boolean("In Sequence", readonly=True,
        states={
            'invisible': Eval('direction') != 'in',
            },
        help="The message follows the last one received from the sender.")
    answers = fields.Many2One(
        'cooperative.edi.message', "Answers", readonly=True,
        ondelete='RESTRICT')
    payload = fields.Binary("Document to Check", readonly=True,
        filename='filename',
        states={
            'invisible': (
                (Eval('direction') != 'out')
                | ~Eval('state').in_(
                    ['checking', 'held', 'failed', 'cancelled'])),
            },
        help="The document that is signed once it has been checked.")
    data = Bytes("Message", readonly=True,
        filename='filename',
        states={
            'required': Eval('state').in_(SIGNED_STATES),
            },
        help="The exact bytes that are signed.")
    filename = fields.Function(fields.Char("File Name"), 'get_filename')
    digest = fields.Char("Digest", readonly=True,
        states={
            'required': Eval('state').in_(SIGNED_STATES),
            })
    signature = fields.Text("Signature", readonly=True,
        states={
            'required': Eval('state').in_(SIGNED_STATES),
            })
    receipt = Bytes("Receipt", readonly=True,
        help="What the other instance signed once it had stored the message.")
    receipt_signature = fields.Text("Receipt Signature", readonly=True)
    relay_receipt = Bytes("Receipt of the Trust Party", readonly=True)
    relay_receipt_signature = fields.Text(
        "Receipt Signature of the Trust Party", readonly=True)
    submission_record = Bytes("Proof of Submission", readonly=True,
        help="Proves that the log of the trust party holds the submission.")
    delivery_record = Bytes("Proof of Delivery", readonly=True,
        help="Proves that the log of the trust party holds the hand-over.")
    origin = fields.Reference("Origin", 'get_origins', readonly=True,
        help="The record that the message comes from or became.")
    error = fields.Text("Error", readonly=True,
        states={
            'invisible': ~Eval('error'),
            })
    attempts = fields.Integer("Attempts", readonly=True)
    next_attempt = fields.DateTime("Not Before", readonly=True)
    leased_until = fields.DateTime("Leased Until", readonly=True,
        states={
            'invisible': ~Eval('leased_until') | (Eval('state') != 'waiting'),
            },
        help="The recipient has fetched the message and did not say yet what "
        "became of it: until then it is not shown to it again.")
    due = fields.Function(fields.DateTime(
            "Next Attempt",
            states={
                'invisible': ~Eval('due'),
                },
            help="When the message is sent again, if its address answers "
            "the others by then."),
        'get_due')
    proof_at = fields.DateTime("Next Proof", readonly=True,
        help="When the missing proofs are asked for again.")
    state = fields.Selection([
            ('checking', "Checking"),
            ('waiting', "Waiting"),
            ('sent', "Sent"),
            ('received', "Received"),
            ('parked', "Parked"),
            ('held', "Held"),
            ('processed', "Processed"),
            ('refused', "Refused"),
            ('failed', "Failed"),
            ('cancelled', "Cancelled"),
            ], "State", required=True, readonly=True, sort=False,
        help="Checking: it is signed once it obeys the official rules.\n"
        "Parked: it refers to something that has not arrived yet.\n"
        "Held: somebody must first give what is missing here.")

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_constraints += [
            ('uuid_unique',
                Unique(t, t.company, t.direction, t.sender, t.uuid),
                'cooperative_edi.msg_message_uuid_unique'),
            ]
        cls._sql_indexes.update({
                # Whole, as SQLite makes none that names the living states
                Index(t, (t.state, Index.Equality()),
                    (t.next_attempt, Index.Range())),
                Index(t, (t.uuid, Index.Equality())),
                Index(t, (t.origin, Index.Equality())),
                Index(t, (t.answers, Index.Equality()),
                    where=t.answers != Null),
                Index(t, (t.document_number, Index.Equality()),
                    where=t.document_number != Null),
                Index(t, (t.proof_at, Index.Range()),
                    where=t.proof_at != Null),
                })
        cls._order = [('id', 'DESC')]
        cls._transitions |= {
            ('checking', 'cancelled'),
            ('held', 'cancelled'),
            ('waiting', 'sent'),
            ('waiting', 'failed'),
            ('waiting', 'cancelled'),
            ('failed', 'cancelled'),
            }
        cls._buttons.update(
            retry={
                'invisible': (
                    ~Eval('state').in_(['failed', 'held', 'parked'])
                    & ~(Eval('state').in_(['checking', 'waiting'])
                        & (Eval('attempts', 0) > 0))),
                'depends': ['state', 'attempts'],
                },
            cancel={
                'invisible': (
                    (Eval('direction') != 'out')
                    | ~Eval('state').in_(
                        ['checking', 'waiting', 'held', 'failed'])),
                'depends': ['state', 'direction'],
                },
            )

    @classmethod
    def default_company(cls):
        return Transaction().context.get('company')

    @classmethod
    def default_state(cls):
        return 'waiting'

    @classmethod
    def default_stored(cls):
        return naive(now())

    @classmethod
    def default_attempts(cls):
        return 0

    def get_rec_name(self, name):
        names = [self.kind_string]
        if self.document_number:
            names.append(self.document_number)
        names.append(self.peer.rec_name)
        return ' - '.join(names)

    @classmethod
    def search_rec_name(cls, name, clause):
        return ['OR',
            ('document_number', *clause[1:]),
            ('peer.rec_name', *clause[1:]),
            ('uuid', *clause[1:]),
            ]

    def get_filename(self, name):
        extension = 'xml' if self.kind in ubl.DOCUMENTS else 'json'
        return f'{self.kind}-{self.uuid}.{extension}'

    @classmethod
    def _get_origin(cls):
        "Return the names of the models that messages come from or become"
        return ['cooperative.edi.relation']

    @classmethod
    def get_origins(cls):
        pool = Pool()
        Model = pool.get('ir.model')
        get_name = Model.get_name
        return [(None, "")] + [
            (m, get_name(m)) for m in cls._get_origin()]

    @classmethod
    def view_attributes(cls):
        return super().view_attributes() + [
            ('/tree/field[@name="state"]', 'visual',
                If(Eval('state').in_(['failed', 'refused']), 'danger',
                    If(Eval('state').in_(['held', 'parked']), 'warning',
                        ''))),
            ]

    @classmethod
    def _validate(cls, messages, field_names=None):
        # This module alone writes them, out of what it has just checked:
        # to check each field again takes a third of a reception
        cls.validate(messages)
        cls.validate_fields(messages, field_names)

    # Sending

    @classmethod
    def send(cls, relation, document, origin=None, answers=None):
        "Put the UBL document in the outbox of the relation"
        if not relation:
            raise RelationMissingError(
                gettext('cooperative_edi.msg_relation_missing'))
        return cls._send(
            relation.peer, envelope.Envelope, document.kind, origin, answers,
            relation=relation, trust_party=relation.trust_party,
            number=document.number, code=_code(document),
            payload=document.to_bytes())

    @classmethod
    def send_statement(
            cls, peer, kind, body, origin=None, answers=None):
        "Put the statement for the peer in the outbox"
        return cls._send(
            peer, envelope.Statement, kind, origin, answers,
            trust_party=cls._statement_route(peer, kind, origin), body=body)

    @classmethod
    def _statement_route(cls, peer, kind, origin):
        """Return the trust party to pass by: the one of the relation, which
        must know what is agreed, or one when the peer has no address"""
        pool = Pool()
        Peer = pool.get('cooperative.edi.peer')
        if kind.startswith('relation-') and origin.trust_party:
            return origin.trust_party
        if peer.endpoint or peer.kind != 'participant':
            return
        for trust_party in Peer.accepted_trust_parties(peer.company.id):
            if peer.accepts(trust_party):
                return trust_party

    @classmethod
    @without_check_access
    def _send(
            cls, peer, Envelope, kind, origin, answers, relation=None,
            trust_party=None, number=None, code=None, **values):
        pool = Pool()
        Identity = pool.get('cooperative.edi.identity')
        message = cls(
            company=peer.company, direction='out', peer=peer,
            sender=Identity.get(peer.company.id).identifier,
            recipient=peer.identifier, trust_party=trust_party,
            relation=relation, kind=kind, document_number=number, code=code,
            uuid=str(uuid.uuid4()), created=naive(now()), answers=answers,
            origin=origin)
        if relation and rules.folder():
            message._check_first(values['payload'])
        else:
            if Envelope is envelope.Statement:
                values['kind'] = kind
            message._sign(Envelope, **values)
        cls.call_courier([message])
        return message

    def _check_first(self, payload):
        "Have the courier check the document before it is signed"
        self.payload = payload
        self.state = 'checking'
        self.attempts = 0
        self.next_attempt = naive(now())
        self.error = None
        self.save()

    def _sign(self, Envelope, **values):
        "Give the message its rank, its bytes and its signature"
        pool = Pool()
        Identity = pool.get('cooperative.edi.identity')
        identity = Identity.get(self.company.id)
        relation, trust_party = self.relation, self.trust_party
        peer = hold(self.peer)
        created = now()
        sent = Envelope(
            sender=identity.identifier, receiver=peer.identifier,
            id=self.uuid, created=created, sequence=peer.sent_sequence + 1,
            previous=peer.sent_digest,
            relation=relation.uuid if relation else None,
            correlation=self.answers.uuid if self.answers else None,
            via=trust_party.identifier if trust_party else None,
            checkpoint=trust_party.known_checkpoint if trust_party else None,
            country=identity.party.edi_country,
            **values)
        self.created = self.next_attempt = naive(created)
        self.sequence = sent.sequence
        self.data = sent.to_bytes()
        self.digest = sent.digest
        self.signature = identity.sign(self.data, sent.typ)
        self.state = 'waiting'
        self.save()
        hold(peer, sent_sequence=sent.sequence, sent_digest=sent.digest)

    @classmethod
    @ModelView.button
    def retry(cls, messages):
        messages = [m for m in messages if m.retriable]
        sending = [m for m in messages if m.direction == 'out' and m.data]
        for peer in {m._hop for m in sending}:
            peer.answered()
        cls.write(sending, {
                'state': 'waiting',
                'attempts': 0,
                'next_attempt': naive(now()),
                })
        cls.write([m for m in messages if m.direction == 'in'], {
                'state': 'received',
                'error': None,
                })
        for message in messages:
            if message.payload:
                message._write_again()
        cls.call_courier(messages)

    @property
    def retriable(self):
        return (self.state in {'failed', 'held', 'parked'}
            or (self.state in {'checking', 'waiting'} and self.attempts))

    @classmethod
    @ModelView.button
    @Workflow.transition('cancelled')
    def cancel(cls, messages):
        pass

    @property
    def url(self):
        "Where the message is sent, or None if it is to be fetched"
        if self._hop.endpoint:
            return self._hop.endpoint + self._path()

    @property
    def _hop(self):
        "Who is to give the receipt that ends the waiting"
        return self.trust_party if self._passes_by else self.peer

    def get_due(self, name):
        if self.state == 'waiting' and self.url:
            return max(filter(
                    None, [self.next_attempt, self._hop.silent_until]))

    @property
    def _passes_by(self):
        "Tell if the next hop is the trust party"
        return bool(self.trust_party)

    def _path(self):
        return '/edi/messages'

    @classmethod
    def _waiting(cls):
        """Return the messages and their hops, where they wait for hops that
        have an address and to which nothing is being sent, and the time when
        they are due: that of get_due, for an outbox of thousands"""
        pool = Pool()
        Peer = pool.get('cooperative.edi.peer')
        message, hop = cls.__table__(), Peer.__table__()
        waiting = message.join(hop,
            condition=hop.id == Coalesce(message.trust_party, message.peer))
        where = (
            (message.direction == 'out') & (message.state == 'waiting')
            & (Coalesce(hop.endpoint, '') != ''))
        if busy := courier.busy(Transaction().database.name):
            where &= ~hop.id.in_(busy)
        due = Greatest(
            message.next_attempt,
            Coalesce(hop.silent_until, message.next_attempt))
        return waiting, where, due

    @classmethod
    def to_send(cls):
        "Return the ids of what is due, in order, each with that of its hop"
        waiting, where, due = cls._waiting()
        message, hop = waiting.left, waiting.right
        cursor = Transaction().connection.cursor()
        cursor.execute(*waiting.select(
                message.id, hop.id,
                where=where & (due <= naive(now())),
                order_by=message.id.asc))
        return cursor.fetchall()

    @classmethod
    def _next_sending(cls):
        "Return when the first message is due, or None"
        waiting, where, due = cls._waiting()
        query = waiting.select(Min(due).as_('due'), where=where)
        if backend.name == 'sqlite':
            sqlite_apply_types(query, ['TIMESTAMP'])
        cursor = Transaction().connection.cursor()
        cursor.execute(*query)
        first, = cursor.fetchone()
        return first

    @classmethod
    def next_due(cls):
        "Return in how many seconds something is due, or None"
        pool = Pool()
        Peer = pool.get('cooperative.edi.peer')
        times = [cls._next_sending()]
        times += [m.next_attempt for m in cls.search(
                [('state', '=', 'checking')],
                order=[('next_attempt', 'ASC')], limit=1)]
        times += [m.proof_at for m in cls.search(
                [('proof_at', '!=', None), cls._provable()],
                order=[('proof_at', 'ASC')], limit=1)]
        delays = [(t - naive(now())).total_seconds() for t in times if t]
        if Peer.to_fetch_from():
            delays.append(FETCH_INTERVAL)
        if cls.to_process():
            delays.append(RETRY_MIN)
        return max(min(delays), 0.1) if delays else None

    @classmethod
    def claim(cls, id_):
        """Return what to post for the waiting message, or None, as when its
        address is silent.  Nobody else posts it in the next minutes."""
        message = hold(cls(id_))
        if not message.due or message.due > naive(now()):
            return
        message.next_attempt = naive(now()) + dt.timedelta(minutes=2)
        message.attempts = (message.attempts or 0) + 1
        message.save()
        return message.url, bytes(message.data), {
            'Content-Type': message.media_type,
            signature.SIGNATURE_HEADER: message.signature,
            }

    @classmethod
    def posted(cls, id_, response):
        "Keep what the other instance answered"
        message = hold(cls(id_))
        if message.state != 'waiting':
            return
        wanted = _seconds(response.headers.get('Retry-After'))
        if response.status in {200, 201, 202}:
            message.accept_receipt(response.data)
        elif response.status >= 500 or response.status in {408, 429}:
            cls.unanswered(id_, courier.problem(response), wanted)
            return
        elif response.status == 401 or wanted:
            message.postpone(courier.problem(response), wanted)
        else:
            message.fail(courier.problem(response))
        message._hop.answered()

    def accept_receipt(self, data):
        "Verify and keep the receipt of the next hop"
        answer = courier.parse_answer(data)
        hop = self._hop
        try:
            receipt = Receipt.parse(answer['receipt'].encode())
            signature.verify(
                receipt.to_bytes(), answer['signature'],
                signature.RECEIPT, hop.public_keys())
            if (receipt.message != self.uuid
                    or receipt.digest != self.digest
                    or receipt.receiver != hop.identifier):
                raise Rejected("receipt of another message")
            if receipt.status != (
                    'relayed' if self._passes_by else 'stored'):
                raise Rejected("receipt of another status")
        except (ProtocolError, KeyError, AttributeError) as exception:
            self.postpone(str(exception))
            return
        prefix = 'relay_receipt' if self._passes_by else 'receipt'
        setattr(self, prefix, receipt.to_bytes())
        setattr(self, f'{prefix}_signature', answer['signature'])
        self.state = 'sent'
        self.error = None
        self.next_attempt = None
        if self._passes_by:
            self.keep_records({'submission': answer.get('record')})
        else:
            self.save()
        self._acknowledged()

    def _acknowledged(self):
        "Do what must be committed with the receipt of the next hop"

    def postpone(self, error, wanted=0):
        "Try again later, after longer and longer delays, then give up"
        if self._expired:
            self.fail(error)
            return
        self.next_attempt = later(self.attempts or 0, wanted)
        self.error = printable(error)
        self.save()

    @property
    def _expired(self):
        return naive(now()) - self.stored > RETRY_LAST

    def fail(self, error):
        self.state = 'failed'
        self.error = error
        self.save()

    @classmethod
    def unanswered(cls, id_, error, wanted=0):
        """Postpone the message that could not be posted, and with it all
        that goes the same way, so that the order is kept"""
        message = hold(cls(id_))
        if message.state != 'waiting':
            return
        message._hop.silent(wanted)
        if message._expired:
            message.fail(error)
        else:
            message.next_attempt = naive(now())
            message.error = printable(error)
            message.save()

    # Checking

    @classmethod
    def to_check(cls):
        "Return the ids of what is to be checked before it is signed"
        return [m.id for m in cls.search(
                [('state', '=', 'checking')], order=[('id', 'ASC')])]

    @classmethod
    def to_check_now(cls, id_):
        """Return the bytes to check for the message, or None when it waits,
        as for another one to the same peer"""
        message = cls(id_)
        if (message.state == 'checking'
                and message.next_attempt <= naive(now())
                and not cls.search([
                        ('state', '=', 'checking'),
                        ('peer', '=', message.peer.id),
                        ('id', '<', id_),
                        ], limit=1)):
            return bytes(message.payload)

    @classmethod
    def checked(cls, id_, payload, findings):
        "Sign the payload if the rules let it pass, hold it otherwise"
        message = hold(cls(id_))
        if message.state != 'checking' or bytes(message.payload) != payload:
            return
        if broken := [str(f) for f in findings if f.fatal]:
            with Transaction().set_context(language=message._language):
                message.error = '\n'.join(
                    [gettext('cooperative_edi.msg_message_rules'), *broken])
            message.state = 'held'
            message.next_attempt = None
            message.save()
        else:
            message.payload = message.error = None
            message.attempts = 0
            message._sign(envelope.Envelope, payload=payload)

    @classmethod
    def not_checked(cls, id_, exception):
        "Keep why the message could not be checked, and check it later"
        message = hold(cls(id_))
        if message.state == 'checking':
            message.attempts = (message.attempts or 0) + 1
            message.postpone(_text(exception))

    @without_check_access
    def _write_again(self):
        "Have the document checked as its record says it now"
        pool = Pool()
        Document = pool.get('cooperative.edi.document')
        with Transaction().set_context(company=self.company.id):
            self._check_first(Document.write_again(self).to_bytes())

    @property
    def media_type(self):
        return envelope.parse(bytes(self.data)).media_type

    @classmethod
    def attend(cls, database):
        """Do what else waits for the network, before anything is sent.
        Called by the courier outside any transaction."""

    @classmethod
    def watch(cls, database):
        """Check what the trust parties did with what was exchanged.
        Called by the courier outside any transaction."""

    # Importing

    @classmethod
    def to_process(cls):
        "Return the ids of what waits to be imported, oldest first"
        messages = cls.search([
                ('direction', '=', 'in'),
                ['OR',
                    ('state', '=', 'received'),
                    # To be refused unless it takes effect at last
                    [
                        ('state', '=', 'parked'),
                        ('stored', '<', naive(now()) - PARK_LAST),
                        ],
                    ],
                ], order=[('id', 'ASC')])
        return [m.id for m in messages]

    @classmethod
    def process(cls, id_):
        "Import the received message"
        pool = Pool()
        Document = pool.get('cooperative.edi.document')
        message = hold(cls(id_))
        if message.state not in {'received', 'parked'}:
            return
        with Transaction().set_context(
                company=message.company.id, _skip_warnings=True,
                language=message._language):
            message = cls(id_)
            content = message._read()
            message.code = _code(content)
            message.prepare(content)
            handler = getattr(
                Document, 'receive_' + message.kind.replace('-', '_'), None)
            if not handler:
                raise DocumentHeld(gettext(
                        'cooperative_edi.msg_message_no_handler',
                        kind=message.kind_string))
            message.origin = handler(message, content)
            message.state = 'processed'
            message.error = None
            message.save()
            if message.kind in ANSWERED_TECHNICALLY:
                Document.answer_message(message, 'AP')
            cls._unpark(message.company)

    @property
    def content(self):
        "The document, or the body of the statement"
        if self.payload:
            return ubl.parse(bytes(self.payload))
        parsed = self.parsed
        if isinstance(parsed, envelope.Statement):
            return parsed.body
        return self._document_of(parsed)

    @property
    def parsed(self):
        "The envelope or statement, in clear"
        return envelope.parse(bytes(self.data))

    @staticmethod
    def _document_of(parsed):
        return ubl.parse(parsed.payload)

    def _read(self):
        "Return the content, or refuse the message"
        try:
            return self.content
        except ProtocolError as exception:
            raise DocumentRefused('SV', ': '.join(
                    filter(None, [exception.path, str(exception)])),
                exception.rule) from exception

    @property
    def document(self):
        "The UBL document, None if it is no such message or not readable"
        try:
            content = self.content
        except ProtocolError:
            return
        return content if isinstance(content, ubl.Document) else None

    def prepare(self, content):
        "Raise an error if the message cannot take effect"

    @property
    def partner(self):
        "The party that wrote the message, or is to receive it"
        return self.peer.party

    @property
    def with_partner(self):
        "The domain of the messages exchanged with the same one"
        return [('peer', '=', self.peer.id)]

    @property
    def _language(self):
        language = self.company.party.lang
        return language.code if language else None

    @classmethod
    def _unpark(cls, company):
        "Give what was waiting for something else another try"
        messages = cls.search([
                ('company', '=', company.id),
                ('state', '=', 'parked'),
                ])
        if messages:
            cls.write(messages, {'state': 'received'})

    @classmethod
    def not_processed(cls, id_, exception):
        "Keep why the message did not take effect"
        pool = Pool()
        Document = pool.get('cooperative.edi.document')
        message = hold(cls(id_))
        if message.state not in {'received', 'parked'}:
            return
        with Transaction().set_context(
                company=message.company.id, language=message._language):
            message = cls(id_)
            message.error = _text(exception)
            exception = message.explain(exception)
            if isinstance(exception, DocumentParked):
                if naive(now()) - message.stored > PARK_LAST:
                    exception = DocumentRefused('BV', exception.text)
            if isinstance(exception, DocumentParked):
                message.state = 'parked'
            elif isinstance(exception, DocumentHeld):
                message.state = 'held'
            elif isinstance(exception, DocumentRefused):
                message.state = 'refused'
            else:
                message.state = 'failed'
            message.save()
            if message.state == 'refused' and message.kind not in ANSWERS:
                Document.answer_message(
                    message, 'RE', exception.code, exception.text)

    def explain(self, exception):
        "Keep what the exception says beside its text, and return it"
        return exception

    # Proofs

    @classmethod
    def _provable(cls):
        "The domain of what passed a trust party that can be asked"
        return [
            ('trust_party.endpoint', 'not in', [None, '']),
            ('trust_party.log_key', 'not in', [None, '']),
            ['OR',
                ('trust_party.silent_until', '=', None),
                ('trust_party.silent_until', '<=', naive(now())),
                ],
            ]

    @classmethod
    def to_prove(cls):
        "Return id, trust party and path of the proofs to ask for now"
        messages = cls.search(
            [('proof_at', '<=', naive(now())), cls._provable()])
        return [
            (m.id, m.trust_party.id, f'/trust/records/{m.uuid}')
            for m in messages]

    @classmethod
    def prove(cls, id_, data):
        "Keep the records that the trust party answered"
        message = hold(cls(id_))
        message.keep_records(courier.parse_answer(data))

    @classmethod
    def prove_later(cls, id_):
        message = hold(cls(id_))
        message._schedule_proof()
        message.save()

    @classmethod
    def not_proven(cls, id_, status):
        "Take note that the trust party answered the status and no records"
        cls.prove_later(id_)

    def keep_records(self, records):
        "Verify and keep what the trust party proves of the message"
        self._keep_records(records)
        self._schedule_proof()
        self.save()

    def _keep_records(self, records):
        "Keep the proofs of submission and delivery"
        for event in ['submission', 'delivery']:
            name = f'{event}_record'
            if not records.get(event) or getattr(self, name):
                continue
            try:
                record = Record.from_json(records[event])
                self._check_record(event, record)
            except ProtocolError as exception:
                self._refuse_record(event, records[event], exception)
                continue
            setattr(self, name, record.to_bytes())
            if event == 'delivery' and self.direction == 'out':
                self._keep_delivery(record)
            self._recorded(record)

    def _check_record(self, event, record):
        "Raise a ProtocolError unless the log holds the event of the message"
        evidence, _ = record.verify([self.trust_party.log_verifier])
        if (evidence.event, evidence.message, evidence.sender,
                evidence.recipient, evidence.digest,
                evidence.sequence) != (
                event, self.uuid, self.sender,
                self.recipient, self.digest, self.sequence):
            raise Rejected("the record is of something else")

    def _refuse_record(self, event, value, exception):
        "Keep why the record is not the one of the event"
        self.error = str(exception)

    def _recorded(self, record):
        "Do what must be committed with the record that was verified"

    def _keep_delivery(self, record):
        "Keep the receipt that the recipient signed for the trust party"
        self.receipt = record.event.receipt.encode('utf-8')
        self.receipt_signature = record.event.signature

    def _schedule_proof(self):
        "Ask later for what is missing: sooner for what is younger"
        age = naive(now()) - self.stored
        if ((self.submission_record and self.delivery_record)
                or age > RETRY_LAST):
            self.proof_at = None
        else:
            delay = min(max(RETRY_MIN, age.total_seconds()), RETRY_MAX)
            self.proof_at = naive(now()) + dt.timedelta(seconds=delay)

    # Mailbox

    @classmethod
    def _mailbox(cls, peer, *clauses, **options):
        "Search among the messages that the peer fetches by itself"
        return cls.search([
                ('company', '=', peer.company.id),
                ('direction', '=', 'out'),
                ('peer', '=', peer.id),
                ('trust_party', '=', None),
                *clauses,
                ], order=[('id', 'ASC')], **options)

    @classmethod
    def mailbox(cls, peer, after=None, limit=PAGE):
        """Return the messages that wait for the peer, oldest first, after the
        one of that UUID.  A sender of whom one is leased waits for it, so that
        the order is kept."""
        waiting = ('state', '=', 'waiting')
        leased = cls._mailbox(
            peer, waiting, ('leased_until', '>', naive(now())))
        clauses = [('sender', 'not in', [m.sender for m in leased])]
        if after:
            clauses += [
                ('id', '>', m.id)
                for m in cls._mailbox(peer, ('uuid', '=', after))]
        return cls._mailbox(peer, waiting, *clauses, limit=limit)

    @classmethod
    def fetch(cls, peer, uuid):
        "Return the message that waits for the peer, leased to who asks"
        waiting = [('uuid', '=', uuid), ('state', '=', 'waiting')]
        for message in cls._mailbox(peer, *waiting):
            message = hold(message)
            left = message._lease_left
            if left > 0:
                raise Problem.leased(uuid, left)
            message.leased_until = naive(now()) + LEASE
            message.save()
            return message
        raise Problem.not_found(uuid)

    @property
    def _lease_left(self):
        "For how many seconds the message is leased"
        if not self.leased_until:
            return 0
        return ceil((self.leased_until - naive(now())).total_seconds())

    def give_back(self, error):
        "Show the message again to the recipient, who cannot tell yet"
        self.leased_until = None
        self.error = printable(error)
        self.save()

    @classmethod
    def fetched(cls, peer, uuid, data):
        """Keep the receipt that the peer posted for what it fetched, or the
        problem for which it refuses it, unless it may take it later"""
        messages = cls._mailbox(
            peer, ('uuid', '=', uuid), ('state', 'in', ['waiting', 'sent']))
        if not messages:
            raise Problem.not_found(uuid)
        message = hold(messages[0])
        if message.state != 'waiting':
            return message
        answer = courier.parse_answer(data)
        if 'type' in answer:
            text = courier.problem_text(answer)
            if problem.may_pass(answer):
                message.give_back(text)
            else:
                message.fail(text)
            return message
        message.accept_receipt(data)
        if message.state != 'sent':
            raise Problem.malformed(Malformed(message.error))
        return message


def _code(document):
    return getattr(document, 'code', None) or None


def _text(exception):
    "Return what the exception says to a person"
    if isinstance(exception, UserError):
        return '\n'.join(
            filter(None, [exception.message, exception.description]))
    return str(exception) or repr(exception)


def _seconds(text):
    "Return the seconds of a Retry-After, 0 if there is none"
    match = re.fullmatch('[0-9]{1,9}', text or '')
    return min(int(match[0]), RETRY_MAX) if match else 0
