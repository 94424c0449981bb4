# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The log: leaves, the nodes above them, the head and its checkpoints.

The leaves are written pending, beside what they record.  A leader, one
transaction at a time, then gives an index to all that wait, moves the head
and signs it: only what is committed is ever handed out.
"""
import datetime as dt
import logging
import random
import threading
import time
from collections import defaultdict
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import urlsplit

import trytond.config as config
from sql import Literal, Null, Select, Union
from sql.aggregate import Count
from sql.operators import Between, Or
from trytond import backend
from trytond.i18n import gettext
from trytond.model import Index, ModelSQL, ModelView, Unique, fields
from trytond.pool import Pool
from trytond.pyson import Bool, Eval
from trytond.transaction import Transaction

from cooperative_edi import keystore
from cooperative_edi.transaction import transact
from trycoton.protocol import merkle, tile
from trycoton.protocol.checkpoint import Checkpoint as SignedCheckpoint
from trycoton.protocol.errors import ProtocolError
from trycoton.protocol.note import NoteSigner, Verifier
from trycoton.protocol.proof import Proof
from trycoton.protocol.signature import SigningKey

from .exceptions import (
    LogDurabilityError, LogForkError, LogHaltError, LogKeyError,
    LogMissingError, LogModifyError, LogOriginInvalid)

logger = logging.getLogger(__name__)

SYNCHRONOUS_FULL = 2
BATCH = 1000
# The nodes of every fourth level are stored: those that a proof asks for are
# made of fifteen at each
STEP = 4
WIDTH = 1 << STEP
PENDING_MAX = 4096
TIMEOUT = 2
LOCK = int.from_bytes(b'log', 'big') << 32


class Led(NamedTuple):
    "The ids of the leaves that have got their place"
    leaves: tuple = ()


class Placed(NamedTuple):
    """The index of a leaf in the log of an id, and the first checkpoint that
    covers it: its id, its size and its note"""
    log: int
    index: int
    checkpoint: int
    size: int
    note: str


class Queue:
    """The threads of the process that wait for the log: one at a time leads,
    for all of them, and who has its place meanwhile asks nobody"""

    def __init__(self):
        self.turn = threading.Lock()
        self.waiters = set()

    def place(self, leaves):
        for waiter in list(self.waiters):
            waiter.place(leaves)


class Waiter:
    "Who waits for leaves"

    def __init__(self, leaves):
        self.waiting = frozenset(leaves)

    def place(self, leaves):
        # Another thread may do it at the same time
        self.waiting -= leaves


_queues = defaultdict(Queue)


def now():
    "Return the time in UTC, to the second, as the database keeps it"
    return (dt.datetime.now(dt.timezone.utc)
        .replace(microsecond=0, tzinfo=None))


def check_durable(transaction):
    """Refuse to sign if SQLite may lose what it committed:
    what was handed out must survive a power cut"""
    if transaction.database.name == ':memory:':
        return
    cursor = transaction.connection.cursor()
    cursor.execute('PRAGMA synchronous')
    level, = cursor.fetchone()
    if level < SYNCHRONOUS_FULL:
        raise LogDurabilityError(
            gettext('cooperative_trust.msg_log_durability'))


class AppendOnlyMixin:
    __slots__ = ()

    @classmethod
    def check_modification(cls, mode, records, values=None, external=False):
        super().check_modification(
            mode, records, values=values, external=external)
        if mode != 'create':
            for record in records:
                if not record.modifiable:
                    raise LogModifyError(gettext(
                            'cooperative_trust.msg_log_modify',
                            record=record.rec_name))

    @classmethod
    def _validate(cls, records, field_names=None):
        # This module alone writes them: to check each field again takes a
        # third of the time that the others wait
        cls.validate(records)
        cls.validate_fields(records, field_names)

    @property
    def modifiable(self):
        return False


class Log(ModelSQL, ModelView):
    __name__ = 'cooperative.trust.log'

    company = fields.Many2One(
        'company.company', "Company", required=True, ondelete='RESTRICT',
        states={
            'readonly': Bool(Eval('vkey')),
            },
        help="The company that keeps the log.")
    origin = fields.Char(
        "Origin", required=True,
        states={
            'readonly': Bool(Eval('vkey')),
            },
        help="The name of the log, under which it signs for ever: "
        "its address without https://.")
    vkey = fields.Char(
        "Verifier Key", readonly=True,
        help="What everybody needs to verify what the log signs.")
    heads = fields.One2Many(
        'cooperative.trust.log.head', 'log', "Head", readonly=True)
    size = fields.Function(fields.Integer(
            "Size",
            help="How many entries the log has."),
        'get_head')
    root = fields.Function(fields.Char(
            "Root",
            help="The hash that stands for all the entries."),
        'get_head')
    pending = fields.Function(fields.Integer(
            "Pending",
            help="How many records still wait for their place in the log."),
        'get_pending')
    checkpoints = fields.One2Many(
        'cooperative.trust.log.checkpoint', 'log', "Checkpoints",
        readonly=True)
    rank = fields.Integer("Rank", required=True, readonly=True,
        help="How many logs of the company came before.")
    closed = fields.DateTime(
        "Closed", readonly=True,
        states={
            'invisible': ~Eval('closed'),
            },
        help="Since when the log signs no more.")

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_constraints += [
            ('company_rank_unique', Unique(t, t.company, t.rank),
                'cooperative_trust.msg_log_company_unique'),
            ('origin_unique', Unique(t, t.origin),
                'cooperative_trust.msg_log_origin_unique'),
            ]
        cls._buttons.update(
            open={
                'invisible': Bool(Eval('vkey')),
                'depends': ['vkey'],
                },
            )

    @classmethod
    def __register__(cls, module):
        super().__register__(module)
        keystore.register(cls, module)

    @classmethod
    def default_company(cls):
        return Transaction().context.get('company')

    @classmethod
    def default_rank(cls):
        return 0

    @classmethod
    def default_origin(cls):
        url = config.get('cooperative', 'url')
        if url:
            parts = urlsplit(url)
            return f'{parts.netloc}{parts.path.rstrip("/")}/trust'

    def get_rec_name(self, name):
        return self.origin

    @classmethod
    def search_rec_name(cls, name, clause):
        return [('origin', *clause[1:])]

    @classmethod
    def get_head(cls, logs, names):
        values = {name: dict.fromkeys(map(int, logs)) for name in names}
        for log in logs:
            for head in log.heads:
                for name in names:
                    values[name][log.id] = getattr(head, name)
        return values

    @classmethod
    def get_pending(cls, logs, name):
        Leaf = Pool().get('cooperative.trust.log.leaf')
        return {l.id: Leaf.search_count(Leaf.waiting(l)) for l in logs}

    @classmethod
    def validate_fields(cls, logs, field_names):
        super().validate_fields(logs, field_names)
        if field_names and 'origin' not in field_names:
            return
        for log in logs:
            if set(log.origin) & set('+ \n'):
                raise LogOriginInvalid(gettext(
                        'cooperative_trust.msg_log_origin_invalid',
                        origin=log.origin))

    @classmethod
    def check_modification(cls, mode, logs, values=None, external=False):
        super().check_modification(
            mode, logs, values=values, external=external)
        if mode == 'delete' or (
                mode == 'write'
                and values.keys() & {'company', 'origin', 'vkey'}):
            for log in logs:
                if log.vkey:
                    raise LogModifyError(gettext(
                            'cooperative_trust.msg_log_modify',
                            record=log.rec_name))

    @classmethod
    def copy(cls, logs, default=None):
        default = default.copy() if default is not None else {}
        for name in ['vkey', 'heads', 'checkpoints', 'closed']:
            default.setdefault(name)
        default.setdefault('rank', cls.default_rank())
        return super().copy(logs, default=default)

    @classmethod
    @ModelView.button
    def open(cls, logs):
        for log in logs:
            log.generate()

    def generate(self):
        "Make the key of the log and sign its empty head"
        pool = Pool()
        Head = pool.get('cooperative.trust.log.head')
        Checkpoint = pool.get('cooperative.trust.log.checkpoint')
        if self.vkey:
            raise LogKeyError(gettext(
                    'cooperative_trust.msg_log_key', log=self.rec_name))
        key = SigningKey.generate()
        self.vkey = NoteSigner(self.origin, key).vkey
        self.save()
        keystore.seal(self, key.to_bytes())
        frontier = merkle.Frontier()
        Head.create([{'log': self.id, **Head.values(frontier)}])
        Checkpoint.sign(self, frontier)

    @classmethod
    def get(cls, company=None):
        "Return the log of the company, by default the current one"
        company = company or Transaction().context.get('company')
        logs = cls.search(cls.signing(company))
        if not logs:
            raise LogMissingError(
                gettext('cooperative_trust.msg_log_missing'))
        log, = logs
        return log

    @classmethod
    def signing(cls, company):
        "Return the domain of the log that signs for the company"
        return [
            ('company', '=', company),
            ('vkey', '!=', None),
            ('closed', '=', None),
            ]

    @property
    def head(self):
        pool = Pool()
        Head = pool.get('cooperative.trust.log.head')
        head, = Head.search([('log', '=', self.id)])
        return head

    @property
    def signer(self):
        return NoteSigner(
            self.origin, SigningKey.from_bytes(keystore.unseal(self)))

    @property
    def verifier(self):
        return Verifier.from_vkey(self.vkey)

    @classmethod
    def integrate(cls, database, log):
        """Give their place to the leaves that wait, in a transaction of its
        own, and return what this one Led, or False.  Raise LogHaltError."""
        try:
            led = transact(database, cls._lead, log)
        except backend.DatabaseOperationalError:
            # Others were faster each time
            return False
        if isinstance(led, LogHaltError):
            raise led
        return led

    @classmethod
    def _lead(cls, log):
        return cls(log).lead()

    def lead(self):
        """Integrate what waits unless another transaction does.

        Return what this one Led, False if it did not, or the LogHaltError
        that tells why nothing may be signed, which the transaction keeps.

        The transaction must be new: what it has read would be too old.
        """
        pool = Pool()
        Leaf = pool.get('cooperative.trust.log.leaf')
        if not self._lock():
            return False
        halt = self.find_halt()
        if halt:
            return halt
        leaves = Leaf.search(
            Leaf.waiting(self), order=[('id', 'ASC')], limit=BATCH)
        if leaves:
            self.append(leaves)
        return Led(tuple(leaf.id for leaf in leaves))

    def admit(self):
        "Raise Problem if the log takes nothing in at present"

    def find_halt(self):
        "Return the LogHaltError that tells why nothing may be signed, or None"

    def _lock(self):
        transaction = Transaction()
        cursor = transaction.connection.cursor()
        if backend.name == 'sqlite':
            check_durable(transaction)
            if not transaction.connection.in_transaction:
                cursor.execute('BEGIN IMMEDIATE')
        return self._lock_id()

    def _lock_id(self):
        transaction = Transaction()
        cursor = transaction.connection.cursor()
        cursor.execute(*Select(
                [transaction.database.lock_id(LOCK + self.id)]))
        locked, = cursor.fetchone()
        return bool(locked)

    def append(self, leaves):
        "Add the leaves to the tree and sign the new head"
        pool = Pool()
        Leaf = pool.get('cooperative.trust.log.leaf')
        Node = pool.get('cooperative.trust.log.node')
        Checkpoint = pool.get('cooperative.trust.log.checkpoint')
        Leaf.seal(leaves)
        head = self.head
        frontier, size, nodes = head.frontier, head.size, []
        for leaf in leaves:
            nodes += frontier.append(merkle.leaf_hash(leaf.entry))
        # First: it fails at once if another leader was faster
        head.move(frontier)
        Leaf.place(leaves, size)
        Node.add(self, nodes)
        return Checkpoint.sign(self, frontier)

    def prove(self, compute):
        """Return what compute(node) makes of the nodes of the tree by the node
        getter of trycoton.protocol.merkle.  They are read at once."""
        Node = Pool().get('cooperative.trust.log.node')
        groups = Node.groups(self, tile.needed(compute, STEP))

        def hashes(step, first, count):
            number, start = divmod(first, WIDTH)
            return groups[step, number][start:start + count]
        return compute(lru_cache(maxsize=None)(
                tile.node_getter(hashes, STEP)))

    def proofs(self, places):
        """Return the proofs of inclusion of the places, each an index and the
        size of a tree"""
        return self.prove(lambda node: [
                merkle.inclusion_proof(node, *p) for p in places])

    @classmethod
    def sweep(cls, database):
        """Integrate what nobody waits for any more.
        Called outside any transaction."""
        for log in transact(database, cls._open, readonly=True):
            try:
                cls._attend(database, log)
            except LogHaltError as exception:
                logger.error("%s", exception.message)

    @classmethod
    def _attend(cls, database, log):
        if transact(database, cls._late, log, readonly=True):
            cls.integrate(database, log)

    @classmethod
    def _open(cls):
        return [l.id for l in cls.search([
                    ('vkey', '!=', None),
                    ('closed', '=', None),
                    ])]

    @classmethod
    def _late(cls, log):
        return bool(cls(log).pending)


class Head(ModelSQL):
    __name__ = 'cooperative.trust.log.head'

    log = fields.Many2One(
        'cooperative.trust.log', "Log", required=True, readonly=True,
        ondelete='CASCADE')
    size = fields.Integer("Size", required=True, readonly=True)
    root = fields.Char("Root", required=True, readonly=True)
    hashes = fields.Binary("Frontier", readonly=True,
        help="What must be remembered to append.")

    __access__ = {'log'}

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_constraints += [
            ('log_unique', Unique(t, t.log),
                'cooperative_trust.msg_head_log_unique'),
            ]

    def get_rec_name(self, name):
        return self.log.rec_name

    @classmethod
    def values(cls, frontier):
        return {
            'size': frontier.size,
            'root': frontier.root.hex(),
            'hashes': frontier.to_bytes(),
            }

    @property
    def frontier(self):
        return merkle.Frontier.from_bytes(
            self.size, bytes(self.hashes or b''))

    def move(self, frontier):
        "Move to the frontier, unless the head moved in between"
        table = self.__table__()
        values = self.values(frontier)
        cursor = Transaction().connection.cursor()
        cursor.execute(*table.update(
                [getattr(table, name) for name in values],
                [self._fields[n].sql_format(v) for n, v in values.items()],
                where=(table.id == self.id) & (table.size == self.size)))
        if cursor.rowcount != 1:
            raise LogForkError(gettext(
                    'cooperative_trust.msg_log_fork', log=self.log.rec_name))


class Leaf(AppendOnlyMixin, ModelSQL, ModelView):
    __name__ = 'cooperative.trust.log.leaf'

    log = fields.Many2One(
        'cooperative.trust.log', "Log", required=True, readonly=True,
        ondelete='RESTRICT')
    index = fields.Integer("Index", readonly=True,
        help="Its place in the log, which never changes.\n"
        "Empty as long as it waits.")
    event = fields.Selection([], "Event", required=True, readonly=True)
    time = fields.DateTime("Time", required=True, readonly=True,
        help="When it happened.")
    entry = fields.Binary("Entry", readonly=True,
        help="What the log publishes.")
    hash = fields.Binary("Hash", readonly=True)

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_constraints += [
            ('index_unique', Unique(t, t.log, t.index),
                'cooperative_trust.msg_leaf_index_unique'),
            ]
        cls._sql_indexes.add(Index(
                t, (t.log, Index.Equality()), (t.id, Index.Range()),
                where=t.index == Null))
        cls._order.insert(0, ('index', 'DESC NULLS FIRST'))
        cls._sealed = {'index', 'entry', 'hash'}

    @classmethod
    def default_time(cls):
        return now()

    def get_rec_name(self, name):
        if self.index is None:
            return f'({self.id})'
        return str(self.index)

    @property
    def modifiable(self):
        return self.index is None

    @property
    def is_right(self):
        "Tell if the stored values are those that the bytes give"
        return bytes(self.hash or b'') == merkle.leaf_hash(
            bytes(self.entry or b''))

    @classmethod
    def waiting(cls, log):
        "Return the domain of the leaves without a place"
        return [
            ('log', '=', log.id),
            ('index', '=', None),
            ]

    @classmethod
    def seal(cls, leaves):
        "Compute the entry of the leaves that have none yet"

    @classmethod
    def place(cls, leaves, size):
        "Store what was sealed, and the index, for ever"
        # The others wait for the leader: SQL is 20 times faster than the ORM
        table = cls.__table__()
        cursor = Transaction().connection.cursor()
        names = sorted(cls._sealed)
        rows = []
        for index, leaf in enumerate(leaves, size):
            leaf.index = index
            leaf.hash = merkle.leaf_hash(leaf.entry)
            query, values = table.update(
                [getattr(table, name) for name in names],
                [cls._fields[name].sql_format(getattr(leaf, name))
                    for name in names],
                where=(table.id == leaf.id) & (table.index == Null))
            rows.append(values)
        cursor.executemany(query, rows)
        for cache in Transaction().cache.values():
            cache.pop(cls.__name__, None)

    @classmethod
    def column(cls, name, log, first, count):
        "Return the values of consecutive leaves: their entry or hash"
        table = cls.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*table.select(
                getattr(table, name),
                where=(table.log == log.id)
                & (table.index >= first) & (table.index < first + count),
                order_by=table.index.asc))
        return [bytes(value) for value, in cursor]

    @classmethod
    def places(cls, leaves):
        "Return in a dictionary where each leaf is Placed"
        pool = Pool()
        Checkpoint = pool.get('cooperative.trust.log.checkpoint')
        # Each proof asks
        table = cls.__table__()
        checkpoint, first = Checkpoint.__table__(), Checkpoint.__table__()
        covering = first.select(
            first.id,
            where=(first.log == table.log) & (first.size > table.index),
            order_by=first.size.asc, limit=1)
        cursor = Transaction().connection.cursor()
        cursor.execute(*table
            .join(checkpoint, condition=checkpoint.id == covering)
            .select(
                table.id, table.log, table.index,
                checkpoint.id, checkpoint.size, checkpoint.note,
                where=table.id.in_([leaf.id for leaf in leaves])))
        places = {id_: Placed(*values) for id_, *values in cursor}
        return {leaf: places[leaf.id] for leaf in leaves}

    @classmethod
    def proofs(cls, leaves):
        "Return for each leaf the proof that its entry is in the signed log"
        pool = Pool()
        Log = pool.get('cooperative.trust.log')
        places, hashes = cls.places(leaves), {}
        for log in {place.log for place in places.values()}:
            ones = [leaf for leaf in leaves if places[leaf].log == log]
            hashes.update(zip(ones, Log(log).proofs([
                            (places[leaf].index, places[leaf].size)
                            for leaf in ones])))
        return [
            Proof(places[leaf].index, tuple(hashes[leaf]),
                places[leaf].note.encode())
            for leaf in leaves]

    @property
    def proof(self):
        proof, = self.proofs([self])
        return proof

    @classmethod
    def read_proof(cls, leaf):
        return cls(leaf).proof.to_bytes().decode()

    @classmethod
    def wait(cls, database, *leaves):
        """Lead or wait until the leaves have their places, and return those
        that have.

        Not within a transaction: it uses short ones of its own.
        """
        waiting = transact(database, cls._waiting, leaves, readonly=True)
        for log, ones in waiting.items():
            queue, waiter = _queues[database, log], Waiter(ones)
            queue.waiters.add(waiter)
            try:
                cls._wait(database, log, queue, waiter)
            finally:
                queue.waiters.discard(waiter)
            waiting[log] = waiter.waiting
        return sorted(set(leaves).difference(*waiting.values()))

    @classmethod
    def _wait(cls, database, log, queue, waiter):
        pool = Pool(database)
        Log = pool.get('cooperative.trust.log')
        deadline = time.monotonic() + TIMEOUT
        while (left := deadline - time.monotonic()) > 0:
            if not queue.turn.acquire(timeout=left):
                break
            try:
                led = waiter.waiting and Log.integrate(database, log)
                if led:
                    queue.place(frozenset(led.leaves))
            finally:
                queue.turn.release()
            if not waiter.waiting:
                return
            # Another process leads, or led when this one came
            left = transact(
                database, cls._waiting, waiter.waiting, readonly=True)
            waiter.place(waiter.waiting.difference(*left.values()))
            if not waiter.waiting:
                return
            time.sleep(random.uniform(.005, .015))

    @classmethod
    def _waiting(cls, leaves):
        "Return those that have no place yet, in lists by the ids of the logs"
        table = cls.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*table.select(
                table.log, table.id,
                where=table.id.in_(list(leaves)) & (table.index == Null)))
        result = defaultdict(list)
        for log, leaf in cursor.fetchall():
            result[log].append(leaf)
        return result


def _within(column, index):
    "Return the expression that tells if the column is in the group"
    start = index * WIDTH
    return Between(column, start, start + WIDTH - 1)


class Node(AppendOnlyMixin, ModelSQL):
    __name__ = 'cooperative.trust.log.node'

    log = fields.Many2One(
        'cooperative.trust.log', "Log", required=True, ondelete='RESTRICT')
    level = fields.Integer("Level", required=True,
        help="How many levels it is above the entries.")
    number = fields.Integer("Number", required=True)
    hash = fields.Binary("Hash", required=True)

    __access__ = {'log'}

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_constraints += [
            ('number_unique', Unique(t, t.log, t.level, t.number),
                'cooperative_trust.msg_node_number_unique'),
            ]

    @classmethod
    def __register__(cls, module):
        super().__register__(module)
        cls._complete()

    @classmethod
    def _complete(cls):
        "Store what logs have that stored the nodes of the tiles alone"
        pool = Pool()
        Head = pool.get('cooperative.trust.log.head')
        Log = pool.get('cooperative.trust.log')
        table, head = cls.__table__(), Head.__table__()
        cursor = Transaction().connection.cursor()
        # They were at the level of their tile
        cursor.execute(*table.update(
                [table.level], [table.level * tile.HEIGHT],
                where=table.level < STEP))
        cursor.execute(*head.select(head.log, head.size))
        for log, size in cursor.fetchall():
            for level in range(STEP, size.bit_length(), STEP):
                cls._complete_level(Log(log), level, size >> level)

    @classmethod
    def _complete_level(cls, log, level, count):
        table = cls.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*table.select(
                Count(table.id),
                where=(table.log == log.id) & (table.level == level)))
        found, = cursor.fetchone()
        for first in range(found, count, BATCH):
            hashes = cls.hashes(
                log, level - STEP, first * WIDTH,
                min(BATCH, count - first) * WIDTH)
            cls._insert(log, [
                    (level, first + i, merkle.perfect_root(
                            hashes[i * WIDTH:(i + 1) * WIDTH]))
                    for i in range(len(hashes) // WIDTH)])

    @classmethod
    def add(cls, log, nodes):
        "Keep of the nodes those at each step above the leaves"
        nodes = [
            (level, number, hash_) for level, number, hash_ in nodes
            if level and not level % STEP]
        if nodes:
            cls._insert(log, nodes)

    @classmethod
    def _insert(cls, log, nodes):
        table = cls.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*table.insert(
                [table.log, table.level, table.number, table.hash],
                [[log.id, level, number, cls.hash.sql_format(hash_)]
                    for level, number, hash_ in nodes]))

    @classmethod
    def groups(cls, log, places):
        """Return the hashes of the groups at the places: their step above the
        leaves and their index"""
        pool = Pool()
        Leaf = pool.get('cooperative.trust.log.leaf')
        leaf, node = Leaf.__table__(), cls.__table__()
        leaves = [_within(leaf.index, i) for step, i in places if not step]
        nodes = [
            (node.level == step * STEP) & _within(node.number, i)
            for step, i in places if step]
        queries = []
        if leaves:
            queries.append(leaf.select(
                    Literal(0), leaf.index, leaf.hash,
                    where=(leaf.log == log.id) & Or(leaves)))
        if nodes:
            queries.append(node.select(
                    node.level, node.number, node.hash,
                    where=(node.log == log.id) & Or(nodes)))
        groups = {place: [] for place in places}
        if queries:
            cursor = Transaction().connection.cursor()
            cursor.execute(*Union(*queries, all_=True))
            for level, number, hash_ in sorted(cursor.fetchall()):
                groups[level // STEP, number // WIDTH].append(bytes(hash_))
        return groups

    @classmethod
    def hashes(cls, log, level, first, count):
        "Return consecutive hashes of a level that is stored"
        pool = Pool()
        Leaf = pool.get('cooperative.trust.log.leaf')
        if not level:
            return Leaf.column('hash', log, first, count)
        table = cls.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*table.select(
                table.hash,
                where=(table.log == log.id) & (table.level == level)
                & (table.number >= first) & (table.number < first + count),
                order_by=table.number.asc))
        return [bytes(hash_) for hash_, in cursor]


class Checkpoint(AppendOnlyMixin, ModelSQL, ModelView):
    __name__ = 'cooperative.trust.log.checkpoint'

    log = fields.Many2One(
        'cooperative.trust.log', "Log", required=True, readonly=True,
        ondelete='RESTRICT')
    size = fields.Integer("Size", required=True, readonly=True)
    root = fields.Char("Root", required=True, readonly=True)
    note = fields.Text("Note", required=True, readonly=True, strip=False,
        help="The state of the log as signed.")
    time = fields.DateTime("Time", required=True, readonly=True)

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_constraints += [
            ('size_unique', Unique(t, t.log, t.size),
                'cooperative_trust.msg_checkpoint_size_unique'),
            ]
        cls._order.insert(0, ('size', 'DESC'))

    def get_rec_name(self, name):
        return f'{self.log.rec_name} {self.size}'

    @classmethod
    def sign(cls, log, frontier):
        "Sign the state of the log"
        signed = SignedCheckpoint(
            log.origin, frontier.size, frontier.root).sign(log.signer)
        checkpoint, = cls.create([{
                    'log': log.id,
                    'size': frontier.size,
                    'root': frontier.root.hex(),
                    'note': signed.decode(),
                    'time': now(),
                    }])
        return checkpoint

    @property
    def cosigned(self):
        "The bytes of the note, with the lines of those who signed it since"
        return self.note.encode()

    def signs(self, frontier):
        "Tell if the log signed that it is at the frontier"
        try:
            checkpoint = SignedCheckpoint.open(
                self.note.encode(), [self.log.verifier])
        except ProtocolError:
            return False
        return (
            checkpoint.size == self.size == frontier.size
            and checkpoint.root == frontier.root
            and self.root == frontier.root.hex())

    @classmethod
    def last(cls, log):
        checkpoints = cls.search(
            [('log', '=', log.id)], order=[('size', 'DESC')], limit=1)
        return checkpoints[0] if checkpoints else None
