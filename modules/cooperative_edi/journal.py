# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What the logs of the trust parties hold of our acts, and to ask them"""
import datetime as dt
import logging
import time
from functools import partial

from sql import Literal, Null, Union
from sql.conditionals import Case, Coalesce
from trytond.i18n import gettext
from trytond.model import ModelSQL, ModelView, fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Eval, If
from trytond.transaction import Transaction, without_check_access
from trytond.wizard import Button, StateAction, StateView, Wizard

from trycoton.protocol import canonical, merkle, tile
from trycoton.protocol.checkpoint import Checkpoint
from trycoton.protocol.entry import DELIVERY, SUBMISSION, Record
from trycoton.protocol.errors import Malformed, ProtocolError, Rejected
from trycoton.protocol.record import UUID, Integer, Text

from . import client, courier
from .event import EVENTS
from .identity import now
from .monitor import MAX_SIZE
from .peer import naive
from .transaction import hold, transact

logger = logging.getLogger(__name__)

# Where a message keeps the record of each event
RECORDS = {
    SUBMISSION: 'submission_record',
    DELIVERY: 'delivery_record',
    }
ACTS = [
    (SUBMISSION, "Submission"),
    (DELIVERY, "Delivery"),
    *EVENTS,
    ]
TASKS = [
    ('verify', "Verify the proofs"),
    ('compare', "Compare what the log holds of us"),
    ('export', "All the data kept about us"),
    ]
FINDINGS = [
    ('unknown', "The log holds an act that is not known here"),
    ('unlisted', "The trust party leaves out an act that it proved"),
    ('moved', "The trust party places the act elsewhere than it proved"),
    ('unrecorded', "The trust party took the message, the log has no trace"),
    ('coming', "A message for us is on its way"),
    ('unproved', "The proof was missing here and is now asked for"),
    ('erased', "The trust party erased the act before it was proved here"),
    ]
# What is nobody's fault
HARMLESS = {'coming', 'unproved', 'erased'}
GONE = 410
# The models and records that acts come from
SHARDS = len(RECORDS) + 1
# A log that is honest is late by minutes at most
LATE = dt.timedelta(hours=1)
PAGES_MAX = 100000
# How long the pages are together: what is listed takes more in memory
LIST_MAX, FILE_MAX = 64 * 1024 * 1024, 512 * 1024 * 1024
# How many seconds the courier reads them at most
PAGES_LAST = 10 * 60
# What is listed of an act
INDEX = Integer()
EVENT = Text(r'[a-z-]{1,100}')


class Message(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.message'

    @property
    def log_records(self):
        "The records of the message that are kept here, by their event"
        records = {
            event: Record.parse(bytes(data))
            for event, name in RECORDS.items()
            if (data := getattr(self, name))}
        for event in self.events:
            records[event.event] = Record.parse(bytes(event.record))
        return records

    @property
    def unrecorded(self):
        "If the trust party took the message, and gave no proof for long"
        return bool(
            self.relay_receipt and not self.submission_record
            and naive(now()) - self.created > LATE)

    @classmethod
    def deal_of(cls, records):
        pool = Pool()
        Journal = pool.get('cooperative.edi.journal')
        if records and isinstance(records[0], Journal):
            records = [act.message for act in records]
        return super().deal_of(records)

    @classmethod
    def attend(cls, database):
        super().attend(database)
        Request = Pool(database).get('cooperative.edi.journal.request')
        Request.attend(database)


class Journal(ModelSQL, ModelView):
    __name__ = 'cooperative.edi.journal'

    company = fields.Many2One('company.company', "Company")
    message = fields.Many2One('cooperative.edi.message', "Message")
    event = fields.Selection(ACTS, "Event", sort=False)
    created = fields.DateTime("Created")
    direction = fields.Selection([
            ('in', "In"),
            ('out', "Out"),
            ], "Direction")
    peer = fields.Many2One('cooperative.edi.peer', "Peer")
    trust_party = fields.Many2One('cooperative.edi.peer', "Trust Party")
    state = fields.Selection([
            ('recorded', "Recorded"),
            ('awaited', "Awaited"),
            ('missing', "Missing"),
            ], "Proof", sort=False,
        help="Recorded: the proof was verified and is kept here.\n"
        "Awaited: the trust party is still asked for it.\n"
        "Missing: the trust party did not give it within 5 days.")
    index = fields.Function(fields.Integer(
            "Log Entry",
            help="The number of the entry in the log of the trust party."),
        'get_proof')
    time = fields.Function(fields.DateTime(
            "Time",
            help="When it happened, by the clock of the trust party."),
        'get_proof')
    size = fields.Function(fields.Integer(
            "Log Size",
            help="The size of the log in the checkpoint of the proof."),
        'get_proof')
    root = fields.Function(fields.Char(
            "Root",
            help="The root of the log in the checkpoint of the proof."),
        'get_proof')
    entry = fields.Function(fields.Char(
            "Entry",
            help="What the log publishes, in hexadecimal."),
        'get_proof')
    proof = fields.Function(fields.Binary(
            "Proof File", filename='proof_name',
            help="What anybody verifies with the key of the log and the "
            "entry, with our software or another."),
        'get_proof')
    proof_name = fields.Function(fields.Char("Proof Name"), 'get_proof')
    verified = fields.Function(fields.DateTime(
            "Verified Again",
            help="When the log was last seen to hold it still."),
        'get_verified')
    requests = fields.Function(fields.Many2Many(
            'cooperative.edi.journal.request', None, None, "Verifications"),
        'get_requests')

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._order = [('id', 'DESC')]
        cls._buttons.update(
            verify={})

    @classmethod
    def table_query(cls):
        return Union(
            cls._query_events(), *[
                cls._query(i, event, name)
                for i, (event, name) in enumerate(RECORDS.items(), 1)],
            all_=True)

    @classmethod
    def _query(cls, number, event, name):
        "Return the acts that are the event of a message"
        pool = Pool()
        Message = pool.get('cooperative.edi.message')
        table = Message.__table__()
        state = Case(
            (getattr(table, name) != Null, 'recorded'),
            (table.proof_at != Null, 'awaited'),
            else_='missing')
        expected = Literal(True)
        if event == DELIVERY:
            # What is closed without is not awaited
            expected = Coalesce(table.failure, '') == ''
        return table.select(
            (table.id * SHARDS + number).as_('id'),
            table.company.as_('company'),
            table.id.as_('message'),
            Literal(event).as_('event'),
            table.created.as_('created'),
            table.direction.as_('direction'),
            table.peer.as_('peer'),
            table.trust_party.as_('trust_party'),
            state.as_('state'),
            where=(table.trust_party != Null)
            & ((getattr(table, name) != Null)
                | (expected & (
                        (table.relay_receipt != Null)
                        | (table.direction == 'in')))))

    @classmethod
    def _query_events(cls):
        "Return the acts that are other events of a message"
        pool = Pool()
        Event = pool.get('cooperative.edi.message.event')
        Message = pool.get('cooperative.edi.message')
        table, message = Event.__table__(), Message.__table__()
        return (table
            .join(message, condition=table.message == message.id)
            .select(
                (table.id * SHARDS).as_('id'),
                message.company.as_('company'),
                message.id.as_('message'),
                table.event.as_('event'),
                message.created.as_('created'),
                message.direction.as_('direction'),
                message.peer.as_('peer'),
                message.trust_party.as_('trust_party'),
                Literal('recorded').as_('state')))

    def get_rec_name(self, name):
        return self.message.rec_name

    @classmethod
    def search_rec_name(cls, name, clause):
        return [('message.rec_name', *clause[1:])]

    @classmethod
    def view_attributes(cls):
        return super().view_attributes() + [
            ('/tree/field[@name="state"]', 'visual',
                If(Eval('state') == 'missing', 'danger',
                    If(Eval('state') == 'awaited', 'muted', 'success'))),
            ]

    @property
    def record(self):
        "The record of the act, None if it is not kept here"
        return self.message.log_records.get(self.event)

    @classmethod
    @without_check_access
    def get_proof(cls, acts, names):
        proofs = {a.id: a._proof() for a in acts}
        return {
            name: {id_: values[name] for id_, values in proofs.items()}
            for name in names}

    def _proof(self):
        names = [
            'index', 'time', 'size', 'root', 'entry', 'proof', 'proof_name']
        values = dict.fromkeys(names)
        if record := self.record:
            checkpoint = _checkpoint(record)
            values.update(
                index=record.inclusion.index,
                time=naive(record.event.time),
                size=checkpoint.size,
                root=canonical.encode(checkpoint.root),
                entry=record.entry.hex(),
                proof=record.proof.encode(),
                proof_name=f'{self.event}-{self.message.uuid}.tlog-proof')
        return values

    @classmethod
    def get_verified(cls, acts, name):
        pool = Pool()
        Request = pool.get('cooperative.edi.journal.request')
        times = {r.message.id: r.done for r in Request.search([
                    ('message', 'in', [a.message.id for a in acts]),
                    ('state', '=', 'right'),
                    ], order=[('done', 'ASC')])}
        return {
            a.id: times.get(a.message.id) if a.state == 'recorded' else None
            for a in acts}

    @classmethod
    def get_requests(cls, acts, name):
        pool = Pool()
        Request = pool.get('cooperative.edi.journal.request')
        result = {a.id: [] for a in acts}
        requests = Request.search(
            [('message', 'in', [a.message.id for a in acts])])
        for act in acts:
            result[act.id] = [
                r.id for r in requests if r.message == act.message]
        return result

    @classmethod
    @ModelView.button
    def verify(cls, acts):
        pool = Pool()
        Request = pool.get('cooperative.edi.journal.request')
        Request.ask([
                Request(trust_party=m.trust_party, message=m, task='verify')
                for m in dict.fromkeys(a.message for a in acts)])


def _checkpoint(record):
    "Return the checkpoint of the proof of a record"
    return Checkpoint.parse(
        record.inclusion.checkpoint.decode('utf-8').partition('\n\n')[0]
        + '\n')


class Request(courier.CourierMixin, ModelSQL, ModelView):
    __name__ = 'cooperative.edi.journal.request'

    trust_party = fields.Many2One(
        'cooperative.edi.peer', "Trust Party", required=True, readonly=True,
        ondelete='CASCADE')
    task = fields.Selection(
        TASKS, "Request", required=True, readonly=True, sort=False)
    message = fields.Many2One(
        'cooperative.edi.message', "Message", readonly=True,
        ondelete='CASCADE',
        states={
            'invisible': ~Eval('message'),
            })
    asked = fields.DateTime("Asked", required=True, readonly=True)
    done = fields.DateTime("Answered", readonly=True)
    report = fields.Text("Answer", readonly=True)
    findings = fields.One2Many(
        'cooperative.edi.journal.finding', 'request', "Differences",
        readonly=True,
        states={
            'invisible': Eval('task') != 'compare',
            })
    file = fields.Binary("File", readonly=True, filename='file_name',
        states={
            'invisible': ~Eval('file'),
            })
    file_name = fields.Char("File Name", readonly=True)
    state = fields.Selection([
            ('asked', "Asked"),
            ('right', "Right"),
            ('wrong', "Wrong"),
            ('failed', "Not Answered"),
            ], "State", required=True, readonly=True, sort=False)

    __access__ = {'trust_party'}

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._order = [('id', 'DESC')]
        cls._buttons.update(
            again={
                'invisible': Eval('state') == 'asked',
                'depends': ['state'],
                })

    @classmethod
    def default_state(cls):
        return 'asked'

    @classmethod
    def default_asked(cls):
        return naive(now())

    def get_rec_name(self, name):
        return self.trust_party.rec_name

    @classmethod
    def search_rec_name(cls, name, clause):
        return [('trust_party.rec_name', *clause[1:])]

    @classmethod
    def view_attributes(cls):
        return super().view_attributes() + [
            ('/tree/field[@name="state"]', 'visual',
                If(Eval('state') == 'wrong', 'danger',
                    If(Eval('state') == 'failed', 'warning',
                        If(Eval('state') == 'right', 'success', '')))),
            ]

    @classmethod
    def ask(cls, requests):
        "Have the courier ask the trust parties"
        cls.save(requests)
        cls.call_courier(requests)
        return requests

    @classmethod
    @ModelView.button
    def again(cls, requests):
        "Ask the same as the requests, which stay"
        cls.ask([
                cls(trust_party=r.trust_party, message=r.message, task=r.task)
                for r in requests if r.state != 'asked'])

    # By the courier, outside any transaction

    @classmethod
    def attend(cls, database):
        "Do what was asked"
        for id_ in transact(database, cls._asked, readonly=True):
            try:
                cls._attend(database, id_)
            except Exception:
                # It is asked again when somebody wants it
                logger.critical("journal request %s", id_, exc_info=True)
                courier._attempt(transact, database, cls._give_up, id_)

    @classmethod
    def _asked(cls):
        return [r.id for r in cls.search(
                [('state', '=', 'asked')], order=[('id', 'ASC')])]

    @classmethod
    def _attend(cls, database, id_):
        task, trust_party, message = transact(
            database, cls._to_do, id_, readonly=True)
        try:
            result = getattr(cls, f'_fetch_{task}')(
                database, trust_party, message)
        except client.ClientError as exception:
            transact(database, cls._end, id_, 'failed', str(exception))
        except ProtocolError as exception:
            transact(database, cls._end, id_, 'wrong', str(exception))
        else:
            transact(database, cls._keep, id_, result)

    @classmethod
    def _to_do(cls, id_):
        request = cls(id_)
        return (request.task, request.trust_party.id,
            request.message.id if request.message else None)

    @classmethod
    def _keep(cls, id_, result):
        request = hold(cls(id_))
        if request.state != 'asked':
            return
        with request._in_company():
            request = cls(id_)
            try:
                getattr(request, f'_keep_{request.task}')(result)
            except ProtocolError as exception:
                cls._end(id_, 'wrong', str(exception))

    def _in_company(self):
        "Set the context of the company"
        company = self.trust_party.company
        language = company.party.lang
        return Transaction().set_context(
            company=company.id, language=language.code if language else None)

    @classmethod
    def _give_up(cls, id_):
        "Say that something else went wrong than what the answer tells"
        request = cls(id_)
        with request._in_company():
            cls._end(id_, 'failed', gettext(
                    'cooperative_edi.msg_journal_failed',
                    trust_party=request.trust_party.rec_name))

    @classmethod
    def _end(cls, id_, state, report):
        request = cls(id_)
        request.state = state
        request.report = report
        request.done = naive(now())
        request.save()

    # Verify

    @classmethod
    def _fetch_verify(cls, database, trust_party, message):
        """Return what the trust party answers of the message, an empty value
        if it erased it; the size of the last checkpoint verified here; and
        the hashes that lead from each entry to its root"""
        uuid = transact(database, cls._uuid, message, readonly=True)
        answer = {}
        try:
            answer = courier.parse_answer(courier.call(
                    database, trust_party, 'GET',
                    f'/trust/records/{uuid}').data)
        except client.Refused as exception:
            if exception.response.status != GONE:
                raise
        indexes, url, size = transact(
            database, cls._places, message, answer, readonly=True)
        node = tile.node_getter(partial(_hashes, _Tiles(url, size)))
        return answer, size, {
            event: merkle.inclusion_proof(node, index, size)
            for event, index in indexes.items() if index < size}

    @classmethod
    def _uuid(cls, message):
        pool = Pool()
        Message = pool.get('cooperative.edi.message')
        return Message(message).uuid

    @classmethod
    def _places(cls, message, answer):
        """Return the indexes of the entries by event, the address of the
        trust party, and the size of the tree to find them in"""
        pool = Pool()
        Message = pool.get('cooperative.edi.message')
        message = Message(message)
        peer = message.trust_party
        records = message.log_records
        for event, value in answer.items():
            if value and event not in records:
                records[event] = Record.from_json(value)
                message._check_record(event, records[event])
        checkpoints = cls._checkpoints(peer, records.values())
        if not checkpoints:
            raise Rejected("There is no proof, here or there.")
        return (
            {event: r.inclusion.index for event, r in records.items()},
            peer.endpoint, max(c.size for c in checkpoints))

    @classmethod
    def _checkpoints(cls, peer, records):
        "Return the checkpoints of the log that are known, verified again"
        notes = [r.inclusion.checkpoint for r in records]
        if notes and peer.checkpoint:
            notes.append(bytes(peer.checkpoint))
        return [Checkpoint.open(n, [peer.log_verifier]) for n in notes]

    def _keep_verify(self, result):
        pool = Pool()
        Message = pool.get('cooperative.edi.message')
        answer, size, proofs = result
        message = hold(Message(self.message.id))
        for event, record in message.log_records.items():
            message._check_record(event, record)
            self._check_same(record, answer.get(event))
        message.keep_records(answer)
        peer, records = message.trust_party, message.log_records
        roots = {
            c.root for c in self._checkpoints(peer, records.values())
            if c.size == size}
        if len(roots) != 1:
            raise Rejected(f"The log signed {len(roots)} roots of {size}.")
        root, = roots
        Journal = pool.get('cooperative.edi.journal')
        names = dict(Journal.fields_get(['event'])['event']['selection'])
        lines = []
        for event, hashes in proofs.items():
            if event not in records:
                continue
            record = records[event]
            merkle.verify_inclusion(
                record.inclusion.index, size,
                merkle.leaf_hash(record.entry), hashes, root)
            lines.append(gettext(
                    'cooperative_edi.msg_journal_act',
                    event=names.get(event, event),
                    index=record.inclusion.index, size=size,
                    trust_party=peer.rec_name))
        if not answer:
            lines.append(gettext(
                    'cooperative_edi.msg_journal_erased',
                    trust_party=peer.rec_name))
        self._end(self.id, 'right', '\n'.join(lines))

    def _check_same(self, record, given):
        "Refuse that the trust party now proves something else"
        if not given:
            return
        given = Record.from_json(given)
        if (given.entry, given.inclusion.index) != (
                record.entry, record.inclusion.index):
            raise Rejected(gettext(
                    'cooperative_edi.msg_journal_other',
                    index=record.inclusion.index,
                    other=given.inclusion.index))

    # Compare

    @classmethod
    def _fetch_compare(cls, database, trust_party, _):
        """Return the indexes proved here by (uuid, event), as they were
        before, and the entries that the trust party lists of us, likewise"""
        proved = transact(database, cls._proved, trust_party, readonly=True)
        entries = {}
        for page in _pages(
                database, trust_party, '/trust/entries', 'entries', LIST_MAX):
            entries.update((_key(e), e) for e in page['entries'])
        return proved, entries

    @classmethod
    def _proved(cls, trust_party):
        return {
            (message.uuid, event): record.inclusion.index
            for message in cls._messages(trust_party)
            for event, record in message.log_records.items()}

    @classmethod
    def _messages(cls, trust_party):
        pool = Pool()
        Message = pool.get('cooperative.edi.message')
        return Message.search([
                ('trust_party', '=', trust_party),
                ('digest', '!=', None),
                ], order=[('id', 'ASC')])

    def _keep_compare(self, result):
        pool = Pool()
        Finding = pool.get('cooperative.edi.journal.finding')
        proved, entries = result
        findings = list(self._compare(proved, entries))
        Finding.save(findings)
        wrong = [f for f in findings if f.kind not in HARMLESS]
        name = 'different' if wrong else 'same'
        self._end(self.id, 'wrong' if wrong else 'right', gettext(
                f'cooperative_edi.msg_journal_{name}',
                count=len(entries), wrong=len(wrong),
                trust_party=self.trust_party.rec_name))

    def _compare(self, proved, entries):
        "Return the differences between the entries and what is known here"
        pool = Pool()
        Message = pool.get('cooperative.edi.message')
        messages = {
            m.uuid: m for m in self._messages(self.trust_party.id)}
        for key, index in proved.items():
            listed = entries.get(key, {}).get('index')
            if listed != index:
                yield self._finding(
                    'unlisted' if listed is None else 'moved',
                    key, messages, index, listed)
        to_prove = set()
        for key, entry in entries.items():
            # A newer trust party may list what is not known here
            if key[1] in dict(ACTS) and key not in proved:
                kind = self._kind(entry, key, messages, entries)
                if kind == 'unproved':
                    to_prove.add(messages[key[0]])
                yield self._finding(
                    kind, key, messages, None, entry['index'])
        for message in messages.values():
            key = message.uuid, SUBMISSION
            if message.unrecorded and key not in entries:
                yield self._finding('unrecorded', key, messages)
        Message.write(list(to_prove), {'proof_at': naive(now())})

    def _kind(self, entry, key, messages, entries):
        "Return what is odd about an entry that was not proved here"
        uuid, _ = key
        if uuid in messages:
            return 'erased' if entry.get('erased') else 'unproved'
        if (entry.get('sender') != self._identifier
                and (uuid, DELIVERY) not in entries):
            return 'coming'
        return 'unknown'

    @property
    def _identifier(self):
        pool = Pool()
        Identity = pool.get('cooperative.edi.identity')
        return Identity.get(self.trust_party.company.id).identifier

    def _finding(self, kind, key, messages, index=None, listed=None):
        pool = Pool()
        Finding = pool.get('cooperative.edi.journal.finding')
        uuid, event = key
        return Finding(
            request=self, kind=kind, uuid=uuid, event=event,
            message=messages.get(uuid), index=index, listed=listed)

    # Export

    @classmethod
    def _fetch_export(cls, database, trust_party, _):
        "Return the bytes of all that the trust party holds about us"
        held, messages = {}, []
        for page in _pages(
                database, trust_party, '/trust/held', 'messages', FILE_MAX):
            messages += page['messages']
            held = held or page
        held['messages'] = messages
        held.pop('next', None)
        return canonical.dump(held)

    def _keep_export(self, data):
        self.file = data
        self.file_name = f'{self.trust_party.identifier}.json'.replace(
            ':', '-')
        self.save()
        self._end(self.id, 'right', gettext(
                'cooperative_edi.msg_journal_exported',
                count=len(canonical.load(data)['messages']),
                trust_party=self.trust_party.rec_name))


def _pages(database, trust_party, path, name, size_max):
    """Give the pages that the trust party answers, one after the other, each
    with a part of the list of that name"""
    after = size = 0
    end = time.monotonic() + PAGES_LAST
    for _ in range(PAGES_MAX):
        data = courier.call(
            database, trust_party, 'GET', f'{path}?after={after}').data
        size += len(data)
        if size > size_max:
            raise Malformed("The pages are too large.")
        page = courier.parse_answer(data)
        if not isinstance(page.get(name), list):
            raise Malformed(f"The page has no {name}.")
        yield page
        next_ = page.get('next')
        if next_ is None:
            return
        if type(next_) is not int or next_ <= after or not page[name]:
            raise Malformed("The pages do not end.")
        if time.monotonic() > end:
            raise client.ClientError(path, "The pages take too long.")
        after = next_
    raise Malformed("There are too many pages.")


def _key(entry):
    "Return the UUID and event of an entry as it is listed"
    if not isinstance(entry, dict):
        raise Malformed("Not the entries of a log.")
    if INDEX.load(entry.get('index')) >= MAX_SIZE:
        raise Malformed("The log is too large.")
    return UUID.load(entry.get('message')), EVENT.load(entry.get('event'))


class _Tiles(dict):
    "The tiles of a log of that size, fetched when they are wanted"

    def __init__(self, url, size):
        super().__init__()
        self.url = url
        self.size = size

    def __missing__(self, key):
        level, index = key
        nodes = self.size >> tile.HEIGHT * level
        wanted = tile.Tile(
            level, index, min(nodes - index * tile.WIDTH, tile.WIDTH))
        url = f'{self.url}/trust/{wanted.path}'
        response = client.get(url)
        if response.status != 200:
            raise client.Refused(url, courier.problem(response), response)
        self[key] = wanted.check(response.data)
        return self[key]


def _hashes(tiles, level, start, count):
    "Return consecutive hashes of a tile, for trycoton.protocol.tile"
    index, first = divmod(start, tile.WIDTH)
    return tiles[level, index][first:first + count]


class Finding(ModelSQL, ModelView):
    __name__ = 'cooperative.edi.journal.finding'

    request = fields.Many2One(
        'cooperative.edi.journal.request', "Request", required=True,
        readonly=True, ondelete='CASCADE')
    kind = fields.Selection(
        FINDINGS, "Difference", required=True, readonly=True, sort=False)
    uuid = fields.Char("UUID", required=True, readonly=True)
    event = fields.Selection(ACTS, "Event", readonly=True, sort=False)
    message = fields.Many2One(
        'cooperative.edi.message', "Message", readonly=True,
        ondelete='CASCADE')
    index = fields.Integer("Proved Entry", readonly=True)
    listed = fields.Integer("Listed Entry", readonly=True)

    __access__ = {'request'}

    @classmethod
    def view_attributes(cls):
        return super().view_attributes() + [
            ('/tree', 'visual',
                If(Eval('kind').in_(sorted(HARMLESS)), '', 'danger')),
            ]


class Ask(Wizard):
    __name__ = 'cooperative.edi.journal.ask'
    start = StateView(
        'cooperative.edi.journal.ask.start',
        'cooperative_edi.journal_ask_start_view_form', [
            Button("Cancel", 'end', 'tryton-cancel'),
            Button("Ask", 'ask', 'tryton-ok', default=True),
            ])
    ask = StateAction('cooperative_edi.act_journal_request')

    def default_start(self, fields):
        pool = Pool()
        Peer = pool.get('cooperative.edi.peer')
        company = Transaction().context.get('company')
        known = Peer.search([
                ('company', '=', company),
                ('kind', '=', 'trust-party'),
                ], limit=2)
        if self.model == Peer and self.record in known:
            known = [self.record]
        return {
            'company': company,
            'trust_party': known[0].id if len(known) == 1 else None,
            }

    def do_ask(self, action):
        pool = Pool()
        Request = pool.get('cooperative.edi.journal.request')
        requests = Request.ask([Request(
                    trust_party=self.start.trust_party,
                    task=self.start.task)])
        return action, {'res_id': [r.id for r in requests]}


class AskStart(ModelView):
    __name__ = 'cooperative.edi.journal.ask.start'

    company = fields.Many2One('company.company', "Company", readonly=True)
    trust_party = fields.Many2One(
        'cooperative.edi.peer', "Trust Party", required=True,
        domain=[
            ('company', '=', Eval('company', -1)),
            ('kind', '=', 'trust-party'),
            ('endpoint', 'not in', [None, '']),
            ])
    task = fields.Selection(
        [t for t in TASKS if t[0] != 'verify'], "Request", required=True,
        sort=False)

    @classmethod
    def default_task(cls):
        return 'compare'
