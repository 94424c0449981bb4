# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Every instance watches the logs of its trust parties.

What the others were shown comes signed inside their messages and receipts:
it is stored with them, to check.  The courier then fetches the checkpoint and
tiles of the log, without any transaction, and computes itself if one grew
into the other.  The last checkpoint that was verified never goes back.
"""
import datetime as dt
import logging
import random
from typing import NamedTuple

from sql import Null
from trytond.model import Index, ModelSQL, fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Eval

from trycoton.protocol import canonical, entry, envelope, signature
from trycoton.protocol.checkpoint import Checkpoint as SignedCheckpoint
from trycoton.protocol.contradiction import compare
from trycoton.protocol.errors import (
    Malformed, ProtocolError, Rejected, UnknownKey)
from trycoton.protocol.note import Note
from trycoton.protocol.promise import Promise
from trycoton.protocol.receipt import Receipt
from trycoton.protocol.tile import Tile

from . import client, courier
from .column import Bytes
from .identity import now
from .peer import later, naive
from .transaction import hold, transact

logger = logging.getLogger(__name__)

INTERVAL = dt.timedelta(hours=1)
# What came with messages is checked together, at most so much later
SOON = dt.timedelta(seconds=60)
AGAIN = dt.timedelta(minutes=10)
# How long a log may be away, or behind what others were shown: more than a
# clock may be wrong
SILENT = dt.timedelta(hours=6)
BEHIND = dt.timedelta(hours=3)
SKEW = dt.timedelta(hours=1)
GAP = dt.timedelta(days=1)
NOTHING = {404, 410}
# Of what the database keeps as an integer
MAX_SIZE = 2 ** 31 - 1


def _note_of(data):
    return SignedCheckpoint.parse(Note.parse(data).text)


def _of_log(data, verifier):
    "Return the note as the log alone signed it: each message carries it"
    note = Note.parse(data)
    return Note(note.text, tuple(
            s for s in note.signatures
            if (s.name, s.id) == (verifier.name, verifier.id))).to_bytes()


def _jittered(interval):
    return naive(now()) + interval * random.uniform(0.5, 1.5)


class Unavailable(Exception):
    "The log did not give what it was asked for"


class Seen(NamedTuple):
    "A checkpoint that is to be compared with those of the log"
    id: int
    note: bytes
    size: int
    since: dt.datetime


class Peer(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.peer'

    monitored = fields.DateTime("Log Checked", readonly=True,
        states={
            'invisible': Eval('kind') != 'trust-party',
            },
        help="When its log last proved to have grown from what was known.")
    monitor_at = fields.DateTime("Next Check of the Log", readonly=True,
        states={
            'invisible': Eval('kind') != 'trust-party',
            })
    monitor_failures = fields.Integer("Failed Checks", readonly=True,
        states={
            'invisible': ~Eval('monitor_failures'),
            })
    monitor_failing = fields.DateTime("Failing Since", readonly=True,
        states={
            'invisible': ~Eval('monitor_failing'),
            })
    monitor_error = fields.Text("Error of the Log", readonly=True,
        states={
            'invisible': ~Eval('monitor_error'),
            })

    @classmethod
    def copy(cls, peers, default=None):
        default = default.copy() if default is not None else {}
        for name in [
                'monitored', 'monitor_at', 'monitor_failures',
                'monitor_failing', 'monitor_error']:
            default.setdefault(name)
        return super().copy(peers, default=default)

    @classmethod
    def update_from(cls, company, entry):
        known = cls.get(company, entry.identifier)
        log_key = known.log_key if known else None
        peer = super().update_from(company, entry)
        if log_key and peer.log_key != log_key:
            peer._change_log(log_key)
        return peer

    def _change_log(self, log_key):
        "Start again from another log, and keep what shows the one before"
        pool = Pool()
        Alarm = pool.get('cooperative.edi.alarm')
        Checkpoint = pool.get('cooperative.edi.checkpoint')
        files = [('log.vkey', log_key.encode()), *self._known_files]
        Alarm.raise_alarm(
            self.company.id, 'keys', f'{log_key} {self.log_key}',
            'cooperative_edi.msg_alarm_log_key', peer=self, evidence=files,
            peer_name=self.rec_name, old=log_key, new=self.log_key)
        Checkpoint.delete(Checkpoint.search([('peer', '=', self.id)]))
        self.checkpoint = self.checkpoint_size = self.monitored = None
        self.monitor_at = None
        self.save()

    def see_checkpoint(self, note, message=None):
        """Have the signed note be compared with the log of the trust party.
        What its log did not sign says nothing of it."""
        pool = Pool()
        Checkpoint = pool.get('cooperative.edi.checkpoint')
        if not note or not self.log_key:
            return
        try:
            checkpoint = SignedCheckpoint.open(note, [self.log_verifier])
        except ProtocolError as exception:
            logger.warning(
                "checkpoint of %s: %s", self.identifier, exception)
            return
        if 0 < checkpoint.size <= MAX_SIZE:
            note = _of_log(note, self.log_verifier)
            Checkpoint.see(self, checkpoint, note, message)

    @classmethod
    def _monitored(cls):
        "The domain of the trust parties whose logs are watched"
        return [
            ('kind', '=', 'trust-party'),
            ('accepted', '=', True),
            ('state', '=', 'active'),
            ('endpoint', 'not in', [None, '']),
            ('log_key', 'not in', [None, '']),
            ]

    @classmethod
    def to_monitor(cls):
        "Return the ids of the trust parties whose logs are to be checked"
        pool = Pool()
        Checkpoint = pool.get('cooperative.edi.checkpoint')
        time = naive(now())
        return [p.id for p in cls.search([
                    cls._monitored(),
                    ['OR',
                        ('monitor_at', '=', None),
                        ('monitor_at', '<=', time),
                        # Who did not answer is asked again later
                        [
                            ('monitor_error', '=', None),
                            ('id', 'in', Checkpoint.due(time)),
                            ],
                        ],
                    ])]

    @classmethod
    def next_monitor(cls):
        "Return when a log is to be checked next, or None"
        pool = Pool()
        Checkpoint = pool.get('cooperative.edi.checkpoint')
        times = []
        for peer in cls.search(cls._monitored()):
            times.append(peer.monitor_at or naive(now()))
            if not peer.monitor_error:
                times += [c.at for c in Checkpoint.search(
                        [('peer', '=', peer.id)],
                        order=[('at', 'ASC')], limit=1)]
        return min(times, default=None)

    @classmethod
    def monitor(cls, database):
        "Check the logs that are due.  Called outside any transaction."
        for id_ in transact(database, cls.to_monitor, readonly=True):
            courier._attempt(cls._monitor, database, id_)

    @classmethod
    def _monitor(cls, database, id_):
        log = transact(database, cls.claim_log, id_)
        try:
            view = log.check()
        except Unavailable as exception:
            transact(database, cls.not_monitored, id_, str(exception))
        else:
            transact(database, cls.keep_view, id_, view)

    @classmethod
    def claim_log(cls, id_):
        """Return what is known of the log of the trust party.  Nobody else
        checks it meanwhile, nor at once if this one is interrupted."""
        pool = Pool()
        Checkpoint = pool.get('cooperative.edi.checkpoint')
        peer = hold(cls(id_), monitor_at=_jittered(INTERVAL))
        seen = Checkpoint.search(
            [('peer', '=', id_)], order=[('size', 'ASC')])
        Checkpoint.postpone([c.id for c in seen])
        return LogView(
            peer.endpoint + '/trust/', peer.log_verifier,
            peer.known_checkpoint, [
                Seen(c.id, bytes(c.note), c.size, c.since) for c in seen])

    @classmethod
    def not_monitored(cls, id_, error):
        "Take note that the log did not answer, or not what it should"
        pool = Pool()
        Alarm = pool.get('cooperative.edi.alarm')
        peer = hold(cls(id_))
        peer.monitor_failures = (peer.monitor_failures or 0) + 1
        peer.monitor_error = error
        peer.monitor_at = min(
            later(peer.monitor_failures), naive(now()) + INTERVAL)
        since = peer.monitor_failing = peer.monitor_failing or naive(now())
        peer.save()
        if naive(now()) - since > SILENT:
            Alarm.raise_alarm(
                peer.company.id, 'silent', f'{peer.id} {since}',
                'cooperative_edi.msg_alarm_silent', peer=peer,
                evidence=peer._known_files, peer_name=peer.rec_name,
                since=str(since), error=error)

    @property
    def _known_files(self):
        note = self.known_checkpoint
        return [('checkpoint.txt', note)] if note else []

    @classmethod
    def keep_view(cls, id_, view):
        "Keep what was found of the log, and raise the alarms"
        pool = Pool()
        Alarm = pool.get('cooperative.edi.alarm')
        Checkpoint = pool.get('cooperative.edi.checkpoint')
        peer = hold(cls(id_))
        if peer.log_key != view.verifier.vkey:
            return
        for finding in view.findings:
            peer._raise_finding(finding)
        Checkpoint.delete(Checkpoint.search([('id', 'in', view.checked)]))
        peer.advance_checkpoint(view.note, view.base)
        peer.monitor_at = _jittered(INTERVAL)
        peer.monitor_failures = 0
        peer.monitor_failing = peer.monitor_error = None
        settled = ['silent']
        if view.current:
            peer.monitored = naive(now())
            found = {f.kind for f in view.findings}
            settled += [k for k in ['tiles'] if k not in found]
            settled += [] if view.behind else ['back']
        Alarm.settle(settled, peer)
        peer.save()
        if view.behind:
            peer._raise_back(view)

    def advance_checkpoint(self, note, base):
        """Keep the note, of which the checks proved that base, the one kept
        when they began, is its beginning.  The only way to move on: another
        one may have done it meanwhile, and nobody goes back."""
        if note is None or self.known_checkpoint != base:
            return
        size = _note_of(note).size
        if base is None or size > (self.checkpoint_size or 0):
            self.checkpoint = note
            self.checkpoint_size = size

    def _raise_finding(self, finding):
        "Raise the alarm of what contradicts the log, or cannot be proved"
        pool = Pool()
        Alarm = pool.get('cooperative.edi.alarm')
        Checkpoint = pool.get('cooperative.edi.checkpoint')
        if Alarm.is_open(finding.kind, self):
            # It goes on: one alarm is enough until somebody took note
            if finding.kind == 'split' and finding.seen:
                # Its note is not compared again, and kept nowhere else
                Alarm.add_evidence('split', self, finding.files)
            return
        messages = [c.message for c in Checkpoint.search(
                [('id', '=', finding.seen)])]
        Alarm.raise_alarm(
            self.company.id, finding.kind, finding.key,
            f'cooperative_edi.msg_alarm_{finding.kind}', peer=self,
            message=messages[0] if messages else None,
            evidence=finding.files, peer_name=self.rec_name,
            **finding.values)

    def _raise_back(self, view):
        "Raise the alarm if the log is behind what others saw for long"
        pool = Pool()
        Alarm = pool.get('cooperative.edi.alarm')
        seen = view.behind
        since = seen.since or self.monitored or naive(now())
        if naive(now()) - since <= BEHIND:
            return
        if Alarm.is_open('back', self):
            return
        Alarm.raise_alarm(
            self.company.id, 'back', f'{self.id} {seen.size} {since}',
            'cooperative_edi.msg_alarm_back', peer=self,
            evidence=[
                ('shown-now.txt', view.head), ('shown-before.txt', seen.note)],
            peer_name=self.rec_name, size=seen.size,
            head=_note_of(view.head).size, since=str(since))


class Finding(NamedTuple):
    "What is wrong with a log, and the bytes that show it"
    kind: str
    key: str
    values: dict
    files: list
    seen: int = None


class LogView:
    """The log of a trust party as it is shown to us, without a transaction

    known is the note of the last checkpoint that was verified here, or None,
    seen what is to be compared with the log, in order of size.
    """

    def __init__(self, url, verifier, known, seen):
        self.url = url
        self.verifier = verifier
        self.known = known
        self.seen = seen
        self.tiles = {}

    def check(self):
        """Fetch the checkpoint of the log, compare with it what is known and
        what others were shown, and return the View.  Raise Unavailable."""
        view = View(self)
        view.head = self._head()
        size = _note_of(self.known).size if self.known else 0
        if not self.known:
            # Nothing is known to compare the first one with
            view.note = view.head
        elif _note_of(view.head).size < size:
            # A cache may be late, and a backup restored: not for long
            view.behind = Seen(None, self.known, size, None)
            view.current = False
            self._compare_old(view, view.head)
        elif self._compare(view, view.head):
            view.note = view.head
        else:
            view.current = False
            return view
        for seen in self.seen:
            self._check_seen(view, seen)
        return view

    def _head(self):
        data = self._fetch('checkpoint')
        try:
            checkpoint = SignedCheckpoint.open(data, [self.verifier])
            if checkpoint.size > MAX_SIZE:
                raise Rejected("The log is too large.")
        except ProtocolError as exception:
            raise Unavailable(f"checkpoint: {exception}") from exception
        return _of_log(data, self.verifier)

    def _check_seen(self, view, seen):
        size = _note_of(view.note or self.known).size
        if seen.size > size:
            if not view.behind or (
                    view.behind.since and view.behind.since > seen.since):
                view.behind = seen
            return
        if view.current:
            told = self._compare(view, seen.note, seen.id)
        else:
            told = self._compare_old(view, seen.note, seen.id)
        if told is not None:
            view.checked.append(seen.id)

    def _compare_old(self, view, note, seen=None):
        "Compare with a log that went back: it may lack the tiles"
        try:
            return self._compare(view, note, seen)
        except Unavailable:
            pass

    def _compare(self, view, note, seen=None):
        """Tell if the note and the last known one are of one log, with a
        finding if not; None if the tiles do not tell"""
        known = view.note or self.known
        try:
            found = compare(known, note, self.verifier, self._fetch_tile)
        except ProtocolError as exception:
            view.findings.append(Finding(
                    'tiles', ' '.join(map(canonical.digest, [known, note])),
                    {'error': str(exception)},
                    [('known.txt', known), ('other.txt', note)], seen))
            return
        if found:
            old, new = found.verify(self.verifier)
            view.findings.append(Finding(
                    'split', canonical.digest(found.to_bytes()),
                    {'old': old.size, 'new': new.size},
                    [('known.txt', known), ('other.txt', note),
                        ('contradiction.json', found.to_bytes())], seen))
        return not found

    def _fetch_tile(self, wanted):
        "Return the bytes of a tile, cut from the whole one if need be"
        if wanted not in self.tiles:
            try:
                data = self._fetch(wanted.path)
            except Unavailable:
                whole = Tile(wanted.level, wanted.index)
                if wanted == whole:
                    raise
                # The specification lets a log drop the partial ones
                data = self._fetch(whole.path)[:32 * wanted.width]
            self.tiles[wanted] = data
        return self.tiles[wanted]

    def _fetch(self, path):
        try:
            response = client.get(self.url + path)
        except client.ClientError as exception:
            raise Unavailable(str(exception)) from exception
        if response.status != 200:
            raise Unavailable(f"{path}: {courier.problem(response)}")
        return response.data


class View:
    "What was found of a log"

    def __init__(self, log):
        self.base = log.known
        self.verifier = log.verifier
        self.head = None
        self.note = None        # to keep, as it continues what was known
        self.current = True     # the log is not behind what was known
        self.behind = None      # the Seen of which the log shows less
        self.findings = []
        self.checked = []       # the ids of what need not be compared again


class Checkpoint(ModelSQL):
    __name__ = 'cooperative.edi.checkpoint'

    peer = fields.Many2One(
        'cooperative.edi.peer', "Trust Party", required=True,
        ondelete='CASCADE')
    size = fields.Integer("Size", required=True)
    root = fields.Char("Root", required=True)
    note = Bytes("Note", required=True)
    message = fields.Many2One(
        'cooperative.edi.message', "Message", ondelete='SET NULL')
    since = fields.DateTime("Since", required=True)
    at = fields.DateTime("Not Before", required=True)

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_indexes.add(
            Index(t, (t.peer, Index.Equality()), (t.at, Index.Range())))

    @classmethod
    def see(cls, peer, checkpoint, note, message=None):
        "Have the checkpoint compared soon, unless it is the known one"
        known = peer.known_checkpoint
        if known and _note_of(known) == checkpoint:
            return
        root = checkpoint.root.hex()
        if cls.search([
                    ('peer', '=', peer.id),
                    ('size', '=', checkpoint.size),
                    ('root', '=', root),
                    ], limit=1):
            return
        time = naive(now())
        cls.create([{
                    'peer': peer.id,
                    'size': checkpoint.size,
                    'root': root,
                    'note': note,
                    'message': message.id if message else None,
                    'since': time,
                    'at': time + SOON * random.random(),
                    }])

    @classmethod
    def due(cls, time):
        "Return the query of the peers whose checkpoints are to be checked"
        table = cls.__table__()
        return table.select(table.peer, where=table.at <= time)

    @classmethod
    def postpone(cls, ids):
        "Compare what is not settled by then"
        cls.write(cls.search([('id', 'in', ids)]), {
                'at': _jittered(AGAIN),
                })


class Message(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.message'

    promise = fields.Binary("Promise", readonly=True,
        states={
            'invisible': ~Eval('promise'),
            },
        help="What the trust party signed instead of the proof of "
        "submission.")
    promised = fields.DateTime("Promised Before", readonly=True,
        states={
            'invisible': ~Eval('promised'),
            },
        help="When the proof of submission is due, by the clock of the "
        "trust party.")
    gap_at = fields.DateTime("Check of the Sequence", readonly=True)

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_indexes.add(
            Index(t, (t.gap_at, Index.Range()), where=t.gap_at != Null))

    # What others were shown

    def _stored(self, arrival):
        super()._stored(arrival)
        if arrival.trust_party:
            arrival.trust_party.see_checkpoint(
                arrival.header.checkpoint, self)
            if not arrival.in_sequence:
                self.gap_at = naive(now()) + GAP
                self.save()

    def _recorded(self, record):
        super()._recorded(record)
        self.trust_party.see_checkpoint(record.inclusion.checkpoint, self)
        if record.event.event == entry.DELIVERY and self.direction == 'out':
            receipt = Receipt.parse(record.event.receipt.encode('utf-8'))
            self.trust_party.see_checkpoint(receipt.checkpoint, self)

    # What the trust party should have recorded

    def _check_record(self, event, record):
        super()._check_record(event, record)
        if _note_of(record.inclusion.checkpoint).size > MAX_SIZE:
            raise Rejected("the log is too large")
        if event == entry.DELIVERY:
            if self.direction == 'out':
                self._check_receipt(record.event)
            elif (record.event.receipt.encode('utf-8')
                    != bytes(self.receipt)):
                raise Rejected("the receipt is not the one that was given")

    def _check_receipt(self, evidence):
        "Check that the recipient itself signed the receipt"
        receipt = Receipt.parse(evidence.receipt.encode('utf-8'))
        if ((receipt.message, receipt.digest, receipt.receiver)
                != (self.uuid, self.digest, self.recipient)):
            raise Rejected("the receipt is of something else")
        signature.verify(
            receipt.to_bytes(), evidence.signature, signature.RECEIPT,
            {k.kid: k.public_key for k in self.peer.keys
                if k.purpose == 'signing'})

    def _refuse_record(self, event, value, exception):
        pool = Pool()
        Alarm = pool.get('cooperative.edi.alarm')
        super()._refuse_record(event, value, exception)
        if isinstance(exception, UnknownKey) or not self.trust_party.log_key:
            # The keys may be on their way
            return
        try:
            data = canonical.dump(value)
        except ProtocolError:
            data = repr(value).encode()
        Alarm.raise_alarm(
            self.company.id, 'record',
            f'{self.id} {event} {canonical.digest(data)}',
            'cooperative_edi.msg_alarm_record', peer=self.trust_party,
            message=self, evidence=[
                (f'{event}.json', data), *self._signed_files],
            peer_name=self.trust_party.rec_name, record=self.rec_name,
            error=str(exception))

    @property
    def _signed_files(self):
        "The message and the receipt of the trust party, as files"
        files = [
            (self.filename, bytes(self.data)),
            (f'{self.filename}.jws', self.signature.encode())]
        if self.relay_receipt:
            files += [
                ('relay-receipt.json', bytes(self.relay_receipt)),
                ('relay-receipt.jws', self.relay_receipt_signature.encode())]
        return files

    def accept_receipt(self, data):
        super().accept_receipt(data)
        if self.state == 'sent' and self._passes_by:
            self._keep_promise(courier.parse_answer(data).get('promise'))

    def _keep_promise(self, text):
        if not text or not self.trust_party.log_key:
            return
        try:
            if not isinstance(text, str):
                raise Malformed("the promise is not a text")
            data = text.encode('utf-8', 'replace')
            promise = Promise.open(data, [self.trust_party.log_verifier])
            if ((promise.message, promise.digest)
                    != (self.uuid, self.digest)):
                raise Rejected("the promise is of something else")
        except ProtocolError as exception:
            self.error = str(exception)
        else:
            self.promise = data
            self.promised = naive(promise.deadline)
        self.save()

    @classmethod
    def prove(cls, id_, data):
        super().prove(id_, data)
        cls(id_)._check_promise()

    @classmethod
    def not_proven(cls, id_, status):
        super().not_proven(id_, status)
        if status in NOTHING:
            cls(id_)._check_promise()

    def _check_promise(self):
        """Raise the alarm if the trust party, which has just answered, does
        not hold what it promised"""
        pool = Pool()
        Alarm = pool.get('cooperative.edi.alarm')
        if (not self.promised or self.submission_record
                or naive(now()) <= self.promised + SKEW):
            return
        Alarm.raise_alarm(
            self.company.id, 'promise', str(self.id),
            'cooperative_edi.msg_alarm_promise', peer=self.trust_party,
            message=self, evidence=[
                ('promise.txt', bytes(self.promise)), *self._signed_files],
            peer_name=self.trust_party.rec_name, record=self.rec_name,
            deadline=str(self.promised))

    # What is missing

    @classmethod
    def _gaps(cls):
        return [m.id for m in cls.search([('gap_at', '<=', naive(now()))])]

    @classmethod
    def check_gap(cls, id_):
        "Raise the alarm if the message before has not arrived either"
        pool = Pool()
        Alarm = pool.get('cooperative.edi.alarm')
        message = hold(cls(id_))
        message.gap_at = None
        message.save()
        header = envelope.parse(bytes(message.data))
        if header.sequence == 1 or cls.search([
                    ('company', '=', message.company.id),
                    ('direction', '=', 'in'),
                    ('peer', '=', message.peer.id),
                    ('sequence', '=', header.sequence - 1),
                    ('digest', '=', header.previous),
                    ], limit=1):
            return
        Alarm.raise_alarm(
            message.company.id, 'gap', str(message.id),
            'cooperative_edi.msg_alarm_gap', peer=message.peer,
            message=message, evidence=message._signed_files,
            peer_name=message.peer.rec_name, record=message.rec_name,
            trust_party=message.trust_party.rec_name,
            sequence=header.sequence - 1)

    # The courier

    @classmethod
    def watch(cls, database):
        super().watch(database)
        Peer = Pool(database).get('cooperative.edi.peer')
        Peer.monitor(database)
        for id_ in transact(database, cls._gaps, readonly=True):
            transact(database, cls.check_gap, id_)

    @classmethod
    def next_due(cls):
        pool = Pool()
        Peer = pool.get('cooperative.edi.peer')
        delays = [super().next_due()]
        times = [Peer.next_monitor()]
        times += [m.gap_at for m in cls.search(
                [('gap_at', '!=', None)], order=[('gap_at', 'ASC')],
                limit=1)]
        delays += [
            max((t - naive(now())).total_seconds(), 0.1)
            for t in times if t]
        return min((d for d in delays if d is not None), default=None)
