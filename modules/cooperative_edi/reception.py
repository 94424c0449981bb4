# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""How messages come in: those that arrive at the same time go together.

One thread of the process receives for all that wait meanwhile, so that its
transactions, their queries and their commits are paid once for many.  Who is
in the way of another transaction, or breaks something, is received alone.
"""
import logging
import threading
from collections import defaultdict
from contextlib import contextmanager
from functools import cached_property
from typing import NamedTuple

from trytond.pool import Pool, PoolMeta
from trytond.transaction import Transaction

from trycoton.protocol import envelope, seal, signature, ubl
from trycoton.protocol.errors import Malformed, ProtocolError, Rejected
from trycoton.protocol.receipt import Receipt

from .http import Problem, check_created
from .identity import now
from .peer import naive
from .transaction import hold, transact

logger = logging.getLogger(__name__)

BATCH = 64
# The types of the signatures of messages
SIGNED = {
    signature.ENVELOPE, signature.STATEMENT, signature.RELATION,
    signature.OFFER_APPROVAL}


class Outline(NamedTuple):
    "What a message is"
    kind: str
    number: str = None


def signed_as(jws):
    """Return the type of message that is signed, and the id of the key.
    Raise ProtocolError."""
    typ = signature.type_of(jws)
    if typ not in SIGNED:
        raise Rejected("The signature is for something else.")
    return typ, signature.kid_of(jws, typ)


class Arrival:
    """A message that arrives, what is found of it and what becomes of it

    It ends as the id of what is stored, with the answer to its sender, or as
    a Problem.
    """

    def __init__(self, data, jws):
        self.data = data
        self.jws = jws
        self.signers = []
        self.public = None      # the key by which the signature is verified
        self.header = self.outline = None
        self.forget()

    def forget(self):
        "Start again: what the transaction found and did is no more"
        self.identity = self.signer = self.held = self.relation = None
        self.known = self.message = self.id = self.problem = None
        self.used = False       # if a message of anybody has the id
        self.answer, self.headers = {}, {}

    @cached_property
    def _claims(self):
        try:
            return signed_as(self.jws)
        except ProtocolError as exception:
            raise Problem.signature(exception) from exception

    @property
    def typ(self):
        return self._claims[0]

    @property
    def kid(self):
        return self._claims[1]

    @property
    def peer(self):
        return self.held.peer

    @property
    def active(self):
        return self.held.active and self.held.state == 'active'

    @property
    def relayed(self):
        "It only passes by here"
        return self.header.receiver != self.identity.identifier

    @property
    def sealed(self):
        return seal.is_sealed(self.header)

    @property
    def settled(self):
        return bool(self.problem or self.id)

    @contextmanager
    def judged(self):
        "Keep the Problem for which the message is refused"
        try:
            try:
                yield
            except ProtocolError as exception:
                raise Problem.malformed(exception) from exception
        except Problem as problem:
            if self.signers:
                problem.peer = problem.peer or self.signers[0].peer
            self.problem = problem

    def verify(self, signers):
        "Verify the signature by the key of those who may have signed"
        if not signers:
            raise Problem.unknown_key(self.kid)
        self.signers = signers
        if self.public == signers[0].public:
            return
        key = signers[0].public_key
        try:
            signature.verify(self.data, self.jws, self.typ, {key.kid: key})
        except ProtocolError as exception:
            raise Problem.signature(exception) from exception
        self.public = signers[0].public

    def find_signer(self):
        "Return who of the signers is the sender"
        for signer in self.signers:
            if (signer.company == self.identity.company.id
                    and signer.identifier == self.header.sender):
                return signer
        raise Problem.not_sender(self.header.sender)

    def keep(self, message, answer, known=False):
        "Take note that the message is stored"
        self.message, self.answer, self.known = message, answer, known
        self.id = message.id


def open_ones(arrivals):
    "Return the arrivals of which nothing is settled yet"
    return [a for a in arrivals if not a.settled]


class Queue:
    "What waits in this process for the one thread that receives"

    def __init__(self):
        self.lock = threading.Lock()
        self.waiting = []
        self.led = False

    def join(self, arrival):
        "Wait, and tell if the thread is to receive for those that wait"
        turn = Turn(arrival)
        with self.lock:
            self.waiting.append(turn)
            if not self.led:
                self.led = turn.leads = True
                turn.called.set()
        turn.called.wait()
        return turn.leads

    def take(self):
        with self.lock:
            turns, self.waiting = self.waiting[:BATCH], self.waiting[BATCH:]
        return turns

    def leave(self):
        "Have the first of those that came meanwhile lead"
        with self.lock:
            self.led = bool(self.waiting)
            if self.led:
                self.waiting[0].leads = True
                self.waiting[0].called.set()


class Turn:
    leads = False

    def __init__(self, arrival):
        self.arrival = arrival
        self.called = threading.Event()


_queues = defaultdict(Queue)


def receive(database, data, jws):
    """Return the Arrival of the message, stored with those that arrive at the
    same time.  Raise Problem.  Called outside any transaction."""
    Message = Pool(database).get('cooperative.edi.message')
    arrival, queue = Arrival(data, jws), _queues[database]
    if queue.join(arrival):
        _lead(database, queue)
    if not arrival.settled:
        _receive_alone(database, arrival)
        if arrival.id:
            Message.conclude(database, [arrival])
    if arrival.problem:
        Message.refuse(database, arrival)
    return arrival


def _lead(database, queue):
    "Receive what waits; the next ones are received meanwhile it concludes"
    Message = Pool(database).get('cooperative.edi.message')
    turns = queue.take()
    arrivals = [t.arrival for t in turns]
    try:
        try:
            _receive_together(database, arrivals)
        finally:
            queue.leave()
        Message.conclude(database, [a for a in arrivals if a.id])
    except Exception:
        # Each does it again, alone, and finds what is wrong
        logger.info("%s messages together", len(arrivals), exc_info=True)
        for arrival in arrivals:
            if not arrival.problem:
                arrival.forget()
    finally:
        for turn in turns:
            turn.called.set()


def _receive_together(database, arrivals):
    Message = Pool(database).get('cooperative.edi.message')
    # Before anything is held that the messages of others wait for
    transact(database, Message.authenticate, arrivals, readonly=True)
    arrivals = open_ones(arrivals)
    if arrivals:
        transact(database, Message.receive_all, arrivals, False)


def _receive_alone(database, arrival):
    Message = Pool(database).get('cooperative.edi.message')
    with arrival.judged():
        transact(database, Message.authenticate, [arrival], readonly=True)
        if not arrival.problem:
            # Two messages of one key count in one row, that of its peer
            transact(
                database, Message.receive_all, [arrival], turn=arrival.kid)


class Message(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.message'

    @classmethod
    def screen(cls, database, jws):
        """Raise Problem for what is refused whatever the bytes that are
        signed.  Called outside any transaction."""

    @classmethod
    def receive(cls, data, jws):
        """Store the message signed by a known peer.  Return it and whether it
        was known already.  Raise Problem for what is refused."""
        arrival = Arrival(data, jws)
        cls.receive_all([arrival])
        if arrival.problem:
            raise arrival.problem
        return arrival.message, arrival.known

    @classmethod
    def refuse(cls, database, arrival):
        """Raise the Problem of the arrival.
        Called outside any transaction."""
        raise arrival.problem

    @classmethod
    def authenticate(cls, arrivals):
        """Verify the signatures of the arrivals, then read their envelopes,
        or keep why they are refused"""
        claimed = {}
        for arrival in open_ones(arrivals):
            with arrival.judged():
                claimed.setdefault(arrival.kid, []).append(arrival)
        signers = cls._signers(claimed)
        for kid, ones in claimed.items():
            for arrival in ones:
                with arrival.judged():
                    arrival.verify(signers.get(kid))
        for arrival in open_ones(arrivals):
            with arrival.judged():
                cls._read_envelope(arrival)
        cls._place(open_ones(arrivals))

    @classmethod
    def receive_all(cls, arrivals, patient=True):
        """Store the arrivals, or keep why they are refused.

        Unless patient, those whose peer another transaction holds are left
        as they are, as are those that must wait for another of them."""
        for arrival in arrivals:
            arrival.forget()
        cls.authenticate(arrivals)
        companies = defaultdict(list)
        for arrival in open_ones(arrivals):
            companies[arrival.identity.company.id].append(arrival)
        for company, ones in companies.items():
            with Transaction().set_context(company=company):
                cls._receive(cls._hold_peers(ones, patient))

    @classmethod
    def _signers(cls, kids):
        "Return who may sign messages now, by the ids of the keys"
        pool = Pool()
        Key = pool.get('cooperative.edi.peer.key')
        return Key.signers(kids)

    @classmethod
    def _read_envelope(cls, arrival):
        "Read the envelope, the signature of which is verified"
        if arrival.header:
            return
        header = envelope.parse(arrival.data)
        if header.typ != arrival.typ:
            raise Problem.signature(
                Rejected("The signature is for something else."))
        check_created(header.created)
        arrival.header = header

    @classmethod
    def _place(cls, arrivals):
        "Find whom the messages are for, who sent them and what they are"
        pool = Pool()
        Identity = pool.get('cooperative.edi.identity')
        identities = Identity.named({
                i for a in arrivals
                for i in [a.header.receiver, a.header.via]})
        for arrival in arrivals:
            with arrival.judged():
                cls._address(arrival, identities)
                arrival.signer = arrival.find_signer()
                if not arrival.outline:
                    arrival.outline = cls._outline_of(arrival)

    @classmethod
    def _address(cls, arrival, identities):
        "Find the identity of that identifier that the message is for"
        receiver = arrival.header.receiver
        arrival.identity = identities.get(receiver)
        if not arrival.identity:
            raise Problem.not_addressed(receiver)

    @classmethod
    def _outline_of(cls, arrival):
        return cls._outline(arrival.header)

    @classmethod
    def _outline(cls, header):
        """Return what the message is, without reading its document: that is
        done once it is stored and answered"""
        if isinstance(header, envelope.Envelope):
            document = ubl.class_of(
                f'{{{header.namespace}}}{header.root}', header.customization)
            if not header.number:
                raise Malformed("The document has no number.")
            return Outline(document.kind, header.number)
        if (header.kind in ubl.DOCUMENTS
                or header.kind not in dict(cls.kind.selection)):
            raise Rejected(f"Statements {header.kind!r} are not known.")
        return Outline(header.kind)

    @classmethod
    def _hold_peers(cls, arrivals, patient):
        "Return the arrivals whose peers nobody else changes meanwhile"
        pool = Pool()
        Peer = pool.get('cooperative.edi.peer')
        held = Peer.hold_all({a.signer.peer for a in arrivals}, patient)
        for arrival in arrivals:
            arrival.held = held.get(arrival.signer.peer)
        return [a for a in arrivals if a.held]

    @classmethod
    def _receive(cls, arrivals):
        "Store the arrivals for the company of the context"
        cls._find_known(arrivals)
        # In the order in which they were written
        new = sorted(
            cls._first_ones(open_ones(arrivals)),
            key=lambda a: (a.peer.id, a.header.sequence))
        if not new:
            return
        cls._load(new)
        for arrival in new:
            with arrival.judged():
                arrival.relation = cls._admit(arrival)
        new = open_ones(new)
        if new:
            cls._store(new)

    @classmethod
    def _find_known(cls, arrivals):
        "Settle what was stored before: it is answered again, or a conflict"
        table = cls.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*table.select(
                table.id, table.sender, table.uuid, table.digest,
                where=(table.company == Transaction().context['company'])
                & (table.direction == 'in')
                & table.uuid.in_([a.header.id for a in arrivals] or [None])))
        known = defaultdict(dict)
        for id_, sender, uuid, digest in cursor:
            known[uuid][sender] = id_, digest
        for arrival in arrivals:
            header = arrival.header
            senders = known[header.id]
            arrival.used = bool(senders)
            id_, digest = senders.get(header.sender, (None, None))
            if not id_:
                continue
            with arrival.judged():
                if digest != header.digest:
                    conflict = Problem.conflict(header.id)
                    conflict.message = id_
                    conflict.evidence = (
                        header.to_bytes(), header.digest, arrival.jws)
                    raise conflict
                message = cls(id_)
                arrival.keep(message, message.answer, known=True)

    @classmethod
    def _first_ones(cls, arrivals):
        "Return the first of each message: the others are known then"
        return {
            (a.header.sender, a.header.id): a
            for a in reversed(arrivals)}.values()

    @classmethod
    def _load(cls, arrivals):
        "Read what the arrivals are admitted by, at once for all"
        pool = Pool()
        Peer = pool.get('cooperative.edi.peer')
        # What passes by has no relation with us
        ours = [a for a in arrivals if not a.relayed]
        trust_parties = Peer.named(
            Transaction().context['company'],
            {a.header.via for a in ours if a.header.via})
        standing = Peer.standing(
            {a.peer.id for a in ours}, {a.header.relation for a in ours})
        answers = cls._answered(
            {a.header.correlation for a in arrivals if a.header.correlation})
        for arrival in arrivals:
            header, peer = arrival.header, arrival.peer
            arrival.trust_party = trust_parties.get(header.via)
            arrival.agreed = standing.get((peer.id, header.relation))
            arrival.answers = answers.get((peer.id, header.correlation))

    @classmethod
    def _answered(cls, uuids):
        "Return what was sent under the ids, by peer and id"
        if not uuids:
            return {}
        return {(m.peer.id, m.uuid): m for m in cls.search([
                    ('company', '=', Transaction().context['company']),
                    ('direction', '=', 'out'),
                    ('uuid', 'in', list(uuids)),
                    ])}

    @classmethod
    def _admit(cls, arrival):
        """Return the relation that the message belongs to.
        Statements need none: they make relations."""
        pool = Pool()
        Relation = pool.get('cooperative.edi.relation')
        header = arrival.header
        if not arrival.active:
            raise Problem.suspended(header.sender)
        if isinstance(header, envelope.Statement):
            return
        if not arrival.agreed:
            raise Problem.no_relation(header.relation)
        relation, via, sealed = arrival.agreed
        if header.via != via:
            raise Problem.other_route(header.via)
        return Relation(relation, sealed=sealed)

    @classmethod
    def _store(cls, arrivals):
        "Store the messages that are admitted, with their receipts"
        cls._follow(arrivals)
        sign = arrivals[0].identity.signing()
        vlist = []
        for arrival in arrivals:
            values = cls._arrived(arrival)
            values['receipt_signature'] = sign(
                values['receipt'], signature.RECEIPT)
            vlist.append(values)
        for arrival, values, message in zip(
                arrivals, vlist, cls.create(vlist)):
            arrival.keep(message, _answer(
                    values['receipt'], values['receipt_signature']))
            message._stored(arrival)

    @classmethod
    def _follow(cls, arrivals):
        "Find which are the next ones of their peers, from now the last"
        last, moved = {}, {}
        for arrival in arrivals:
            header, peer = arrival.header, arrival.peer
            sequence, digest = last.setdefault(peer, (
                    arrival.held.received_sequence or 0,
                    arrival.held.received_digest))
            arrival.in_sequence = (
                (header.sequence, header.previous) == (sequence + 1, digest))
            if header.sequence > sequence:
                last[peer] = moved[peer] = header.sequence, header.digest
        for peer, (sequence, digest) in moved.items():
            hold(peer, received_sequence=sequence, received_digest=digest)

    @classmethod
    def _arrived(cls, arrival):
        "Return the values of the message to create"
        header, outline = arrival.header, arrival.outline
        trust_party = arrival.trust_party
        return {
            'company': Transaction().context['company'],
            'direction': 'in',
            'peer': arrival.peer.id,
            'sender': header.sender,
            'recipient': header.receiver,
            'trust_party': trust_party.id if trust_party else None,
            'relation': arrival.relation.id if arrival.relation else None,
            'kind': outline.kind,
            'document_number': outline.number,
            'uuid': header.id,
            'created': naive(header.created),
            'sequence': header.sequence,
            'in_sequence': arrival.in_sequence,
            'answers': arrival.answers.id if arrival.answers else None,
            'data': arrival.data,
            'digest': header.digest,
            'signature': arrival.jws,
            'receipt': cls._receipt(arrival).to_bytes(),
            'state': 'received',
            'proof_at': naive(now()) if trust_party else None,
            }

    @classmethod
    def _receipt(cls, arrival):
        "Return what is signed once the message is stored"
        trust_party = arrival.trust_party
        return Receipt(
            message=arrival.header.id, digest=arrival.header.digest,
            receiver=arrival.identity.identifier, time=now(),
            status='stored',
            checkpoint=trust_party.known_checkpoint if trust_party else None)

    def _stored(self, arrival):
        "Do what must be committed with the message"

    @property
    def answer(self):
        "What is answered to the sender, each time the same"
        table = self.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*table.select(
                table.receipt, table.receipt_signature,
                where=table.id == self.id))
        return _answer(*cursor.fetchone())

    @classmethod
    def conclude(cls, database, arrivals):
        """Add to the answers to stored messages what stands beside the
        receipt.  Called outside any transaction."""


def _answer(receipt, jws):
    return {
        'receipt': bytes(receipt).decode('utf-8'),
        'signature': jws,
        }
