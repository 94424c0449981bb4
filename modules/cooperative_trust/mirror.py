# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""A copy of what the log publishes, outside the database.

The files are those of tlog-tiles, in a folder of each log.  Each commit is
copied before what it signs is handed out, so that a database that comes from
a backup is seen to be behind.
"""
import contextlib
import errno
import fcntl
import os
import re
import shutil
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote

import trytond.config as config
from trytond.i18n import gettext
from trytond.model import ModelView, fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Bool, Eval
from trytond.transaction import Transaction

from cooperative_edi.http import Problem
from cooperative_edi.transaction import hold, transact
from trycoton.protocol import audit, merkle, tile
from trycoton.protocol.checkpoint import Checkpoint as SignedCheckpoint
from trycoton.protocol.errors import ProtocolError
from trycoton.protocol.note import Note, Verifier

from .exceptions import (
    LogBehindError, LogClosedError, LogHaltError, LogMirrorError,
    LogModifyError, LogReadBackError)
from .log import PENDING_MAX, now

RESTORED = 'restored'
ROWS = 100


class Folder:
    """The published files of a log.

    A file appears whole and on the disk, and does not change, except the
    checkpoint, which comes after the tiles that it covers."""

    def __init__(self, path):
        self.path = Path(path)

    @classmethod
    def of(cls, log):
        "Return the folder of the log, None if none is configured"
        base = config.get('cooperative', 'log_mirror')
        if base:
            return cls(Path(base, log.mirror_name))

    def read(self, path):
        "Return the bytes of the file, or None; raise OSError"
        with contextlib.suppress(FileNotFoundError):
            return (self.path / path).read_bytes()

    @property
    def note(self):
        return self.read(audit.CHECKPOINT)

    @contextlib.contextmanager
    def lock(self):
        "Have one at a time write, of all the processes"
        # Its folder is for the operator to make: it may be a disk that is
        # not mounted
        self.path.mkdir(exist_ok=True)
        with open(self.path / '.lock', 'w') as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def write(self, files, note):
        """Add the files, then the note of the checkpoint that covers them.
        Raise OSError, as FileExistsError if another one is there."""
        folders = set()
        for path, data in files:
            path = self.path / path
            if path.exists() and path.read_bytes() == data:
                continue
            if path.exists():
                raise FileExistsError(
                    errno.EEXIST, "another file is there", str(path))
            folders |= self._make(path.parent)
            self._put(path, data)
        for folder in folders:
            _flush(folder)
        self._put(self.path / audit.CHECKPOINT, note)
        _flush(self.path)

    def _make(self, folder):
        "Make the folder and return those that change by it"
        changed = {folder}
        while not folder.exists():
            folder = folder.parent
            changed.add(folder)
        for made in sorted(changed, key=lambda p: len(p.parts)):
            made.mkdir(exist_ok=True)
        return changed

    def _put(self, path, data):
        new = self.path / '.new'
        with open(new, 'wb') as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, path)

    def prune(self, tiles):
        "Remove the partial tiles that the full ones take the place of"
        for one in tiles:
            if one.width == tile.WIDTH:
                shutil.rmtree(
                    self.path / f'{one.path}.p', ignore_errors=True)


def _flush(folder):
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@lru_cache(maxsize=64)
def _open(note, vkey):
    return SignedCheckpoint.open(note, [Verifier.from_vkey(vkey)])


class Log(metaclass=PoolMeta):
    __name__ = 'cooperative.trust.log'

    mirrored = fields.Boolean(
        "Mirrored", readonly=True,
        help="There is a copy of the log outside the database.\n"
        "From then on nothing is signed without it.")
    ahead = fields.Text(
        "Last Known Head", readonly=True, strip=False,
        states={
            'invisible': ~Eval('ahead'),
            },
        help="What the log signed and the database does not have, "
        "as after the restoration of a backup.")
    halt = fields.Function(fields.Text(
            "Nothing Is Signed",
            states={
                'invisible': ~Eval('halt'),
                },
            help="Why the log signs nothing at present."),
        'get_halt')

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._buttons.update(
            read_back={
                'invisible': ~Eval('ahead') | Bool(Eval('closed')),
                'depends': ['ahead', 'closed'],
                },
            renew_mirror={
                'invisible': ~Eval('mirrored') | Bool(Eval('closed')),
                'depends': ['mirrored', 'closed'],
                },
            )

    @classmethod
    def check_modification(cls, mode, logs, values=None, external=False):
        super().check_modification(
            mode, logs, values=values, external=external)
        if (mode == 'write' and external
                and values.keys() & {'mirrored', 'ahead', 'closed'}):
            for log in logs:
                raise LogModifyError(gettext(
                        'cooperative_trust.msg_log_modify',
                        record=log.rec_name))

    @classmethod
    def copy(cls, logs, default=None):
        default = default.copy() if default is not None else {}
        for name in ['mirrored', 'ahead']:
            default.setdefault(name)
        return super().copy(logs, default=default)

    def get_halt(self, name):
        if not self.vkey:
            return
        halt = self.known_halt or self._compare_mirror()
        return halt.message if halt else None

    # Comparing

    @property
    def known_halt(self):
        "Why nothing may be signed, as far as the database knows, or None"
        if self.closed:
            return LogClosedError(gettext(
                    'cooperative_trust.msg_log_closed', log=self.rec_name))
        if self.ahead:
            return self.confront(self.ahead.encode())

    def admit(self):
        super().admit()
        if halt := self.known_halt:
            # Nothing is signed, the receipt neither
            raise _problem(halt)

    def find_halt(self):
        """Compare the head with its copy, and keep what halts the log.

        It reads a small file under the lock of the log: a head that is
        compared before could be an old one by then."""
        halt = super().find_halt() or _gravest(
            self.known_halt, self._compare_mirror())
        if halt:
            self._keep_halt(halt)
        return halt

    def _keep_halt(self, halt):
        # Starts again if the head that was read is not the last one
        hold(self.head)
        if isinstance(halt, LogClosedError) and not self.closed:
            self.closed = now()
        if halt.note and (
                not self.ahead
                or _size(halt.note) > _size(self.ahead.encode())):
            self.ahead = halt.note.decode()
        self.save()

    def _compare_mirror(self):
        folder = Folder.of(self)
        if not folder:
            return self._mirror_missing(None) if self.mirrored else None
        try:
            note = folder.note
        except OSError as exception:
            return self._mirror_error(exception)
        if note is None:
            return self._mirror_missing(folder) if self.mirrored else None
        return self.confront(note) or self._mirror_late(folder, note)

    def _mirror_missing(self, folder):
        return LogMirrorError(gettext(
                'cooperative_trust.msg_log_mirror_missing',
                log=self.rec_name,
                folder=str(folder.path) if folder else '-'))

    def _mirror_late(self, folder, note):
        missing = self.head.size - _open(note, self.vkey).size
        if self.mirrored and missing >= PENDING_MAX:
            return LogMirrorError(gettext(
                    'cooperative_trust.msg_log_mirror_late',
                    log=self.rec_name, folder=str(folder.path),
                    missing=missing))

    def _mirror_error(self, exception):
        return LogMirrorError(gettext(
                'cooperative_trust.msg_log_mirror',
                log=self.rec_name, error=str(exception)))

    def confront(self, note):
        """Compare the head with the bytes of a checkpoint that the log
        signed; return why nothing may be signed, or None"""
        try:
            checkpoint = _open(note, self.vkey)
        except ProtocolError as exception:
            return LogMirrorError(gettext(
                    'cooperative_trust.msg_log_mirror_foreign',
                    log=self.rec_name, error=str(exception)))
        head = self.head
        if checkpoint.size > head.size:
            return LogBehindError(gettext(
                    'cooperative_trust.msg_log_behind', log=self.rec_name,
                    size=head.size, known=checkpoint.size), note)
        if self.root_at(checkpoint.size) != checkpoint.root:
            return LogClosedError(gettext(
                    'cooperative_trust.msg_log_forked', log=self.rec_name,
                    size=checkpoint.size), note)

    def root_at(self, size):
        "Return the root that the log had"
        head = self.head
        if size == head.size:
            return bytes.fromhex(head.root)
        return self.prove(lambda node: merkle.tree_root(node, size))

    @classmethod
    def learn(cls, database, log, note):
        """Compare the head with the bytes of a checkpoint that somebody
        else kept, outside any transaction.  Raise LogHaltError."""
        halt = transact(database, cls._learn, log, note)
        if halt:
            raise halt

    @classmethod
    def _learn(cls, log, note):
        log = cls(log)
        halt = _gravest(log.known_halt, log.confront(note))
        # What the log did not sign proves nothing
        if halt and halt.note:
            log._keep_halt(halt)
        return halt

    def heed(self, note):
        """Halt if a member was shown more of the log than there is, as
        before a backup was restored: who sends tells what it verified"""
        try:
            size = SignedCheckpoint.parse(Note.parse(note).text).size
        except ProtocolError:
            return
        if size > self.head.size:
            halt = self.confront(note)
            # What the log did not sign proves nothing
            if halt.note:
                self._keep_halt(halt)

    @classmethod
    def check_open(cls, database, log):
        "Raise LogHaltError if nothing may be signed, outside any transaction"
        halt = transact(database, cls._find_halt, log)
        if halt:
            raise halt

    @classmethod
    def _find_halt(cls, log):
        return cls(log).find_halt()

    @classmethod
    def _attend(cls, database, log):
        cls.check_open(database, log)
        super()._attend(database, log)
        cls.publish(database, log, patient=True)

    # Copying

    @classmethod
    def publish(cls, database, log, patient=False):
        """Copy what is missing in the mirror, outside any transaction, so
        that what is signed may be handed out.  Raise LogHaltError.

        The first copy of a long log takes long: that is for who is
        patient."""
        folder, size, mirrored = transact(
            database, cls._mirror, log, readonly=True)
        if (not folder or not (
                    patient or mirrored or size <= PENDING_MAX)):
            return
        try:
            with folder.lock():
                halt = transact(
                    database, cls._publish, log, folder, readonly=True)
        except OSError as exception:
            halt = transact(
                database, cls._not_written, log, exception, readonly=True)
        if halt:
            raise halt
        if not mirrored:
            transact(database, cls._set_mirrored, log)

    @classmethod
    def _mirror(cls, log):
        log = cls(log)
        return Folder.of(log), log.head.size, log.mirrored

    @classmethod
    def _publish(cls, log, folder):
        pool = Pool()
        Checkpoint = pool.get('cooperative.trust.log.checkpoint')
        log = cls(log)
        note, size = folder.note, 0
        if note:
            halt = log.confront(note)
            if halt:
                return halt
            size = _open(note, log.vkey).size
        elif log.mirrored:
            return log._mirror_missing(folder)
        last = Checkpoint.last(log)
        if note and last.size == size:
            return
        tiles = tile.tiles(last.size, size)
        try:
            folder.write(
                ((t.path, log.read_tile(t)) for t in tiles),
                last.note.encode())
        except FileExistsError as exception:
            return LogMirrorError(gettext(
                    'cooperative_trust.msg_log_mirror_other',
                    log=log.rec_name, file=exception.filename))
        folder.prune(tiles)

    @classmethod
    def _not_written(cls, log, exception):
        return cls(log)._mirror_error(exception)

    @classmethod
    def _set_mirrored(cls, log):
        log = cls(log)
        log.mirrored = True
        log.save()

    def read_tile(self, wanted):
        "Return the bytes of the tile, which exists"
        pool = Pool()
        Leaf = pool.get('cooperative.trust.log.leaf')
        Node = pool.get('cooperative.trust.log.node')
        if wanted.level is None:
            return tile.pack_entries(
                Leaf.column('entry', self, wanted.start, wanted.width))
        return b''.join(Node.hashes(
                self, wanted.level * tile.HEIGHT, wanted.start, wanted.width))

    @property
    def mirror_name(self):
        "The name of the folder of the log, beside others"
        return re.sub(r'^\.', '%2E', quote(self.origin, safe=''))

    @property
    def mirror(self):
        "The path of the folder where the copy is, or None"
        folder = Folder.of(self)
        if folder and (folder.path / audit.CHECKPOINT).exists():
            return str(folder.path)

    @property
    def published_size(self):
        "The size up to which what is signed may be handed out"
        folder = Folder.of(self)
        if not folder or not self.mirrored:
            return self.head.size
        try:
            return _open(folder.note or b'', self.vkey).size
        except (OSError, ProtocolError):
            return -1

    def has_published(self, index):
        "Tell if the entry is in the copy, or if there is to be none"
        folder = Folder.of(self)
        if not folder:
            return True
        with contextlib.suppress(OSError, ProtocolError):
            return _open(folder.note or b'', self.vkey).size > index

    @classmethod
    @ModelView.button
    def renew_mirror(cls, logs):
        "Start the copy again, in an empty folder"
        cls.write(logs, {'mirrored': False})

    # Reading back

    @classmethod
    @ModelView.button
    def read_back(cls, logs):
        for log in logs:
            folder = Folder.of(log)
            if not folder:
                raise LogReadBackError(gettext(
                        'cooperative_trust.msg_log_read_back_folder',
                        log=log.rec_name))
            log.read_back_from(folder.read)

    def read_back_from(self, read):
        """Continue the tree with the entries that the log published.
        read(path) returns the bytes of a published file, or None.

        The transaction must be new, as for the leader.  Nothing is signed:
        the checkpoint is the one that was."""
        pool = Pool()
        Checkpoint = pool.get('cooperative.trust.log.checkpoint')
        if not self._lock_id():
            raise LogReadBackError(gettext(
                    'cooperative_trust.msg_log_fork', log=self.rec_name))
        if self.closed:
            raise self.known_halt
        try:
            note = read(audit.CHECKPOINT) or b''
            checkpoint = _open(note, self.vkey)
            if self.ahead:
                known = _open(self.ahead.encode(), self.vkey)
                if checkpoint.size < known.size:
                    raise LogReadBackError(gettext(
                            'cooperative_trust.msg_log_read_back_short',
                            log=self.rec_name, size=checkpoint.size,
                            known=known.size))
            if checkpoint.size > self.head.size:
                self._continue(read, checkpoint)
                Checkpoint.keep(self, checkpoint, note)
        except (ProtocolError, OSError) as exception:
            raise LogReadBackError(gettext(
                    'cooperative_trust.msg_log_read_back',
                    log=self.rec_name, error=str(exception))) from exception
        self.ahead = None
        self.save()

    def _continue(self, read, checkpoint):
        pool = Pool()
        Leaf = pool.get('cooperative.trust.log.leaf')
        Node = pool.get('cooperative.trust.log.node')
        head = self.head
        frontier = head.frontier
        for bundle in tile.tiles(checkpoint.size, head.size):
            if bundle.level is not None:
                continue
            entries = audit.read_tile(read, bundle)
            entries = entries[max(frontier.size - bundle.start, 0):]
            Leaf.put_back(self, frontier.size, entries)
            nodes = []
            for entry in entries:
                nodes += frontier.append(merkle.leaf_hash(entry))
            Node.add(self, nodes)
        if frontier.root != checkpoint.root:
            raise LogReadBackError(gettext(
                    'cooperative_trust.msg_log_read_back_root',
                    log=self.rec_name, size=checkpoint.size))
        head.move(frontier)


class Leaf(metaclass=PoolMeta):
    __name__ = 'cooperative.trust.log.leaf'

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls.event.selection.append((RESTORED, "Restored without Evidence"))

    @classmethod
    def put_back(cls, log, size, entries):
        "Store the entries of which only what was published is left"
        table = cls.__table__()
        cursor = Transaction().connection.cursor()
        time = cls._fields['time'].sql_format(now())
        rows = [[log.id, index, RESTORED, time, *(
                    cls._fields[name].sql_format(value)
                    for name, value in [
                        ('entry', entry), ('hash', merkle.leaf_hash(entry))])]
            for index, entry in enumerate(entries, size)]
        for first in range(0, len(rows), ROWS):
            cursor.execute(*table.insert([
                        table.log, table.index, table.event, table.time,
                        table.entry, table.hash],
                    rows[first:first + ROWS]))

    @classmethod
    def wait(cls, database, *leaves):
        pool = Pool(database)
        Log = pool.get('cooperative.trust.log')
        try:
            placed = super().wait(database, *leaves)
            if placed and config.get('cooperative', 'log_mirror'):
                for log in transact(
                        database, cls._not_published, placed, readonly=True):
                    Log.publish(database, log)
        except LogHaltError as exception:
            raise _problem(exception) from exception
        return placed

    @classmethod
    def _not_published(cls, leaves):
        "Return the ids of the logs whose copies lack one of the leaves"
        last = {}
        for leaf in cls.browse(leaves):
            last[leaf.log] = max(leaf.index, last.get(leaf.log, 0))
        return [log.id for log, index in last.items()
            if not log.has_published(index)]

    @classmethod
    def promise(cls, leaf):
        halt = cls(leaf).log.known_halt
        if halt:
            raise _problem(halt)
        return super().promise(leaf)


class Checkpoint(metaclass=PoolMeta):
    __name__ = 'cooperative.trust.log.checkpoint'

    @classmethod
    def keep(cls, log, checkpoint, note):
        "Store the checkpoint as the log signed it before"
        cls.create([{
                    'log': log.id,
                    'size': checkpoint.size,
                    'root': checkpoint.root.hex(),
                    'note': note.decode(),
                    'time': now(),
                    }])

    @classmethod
    def published(cls, log):
        "Return the last checkpoint that may be handed out, or None"
        checkpoints = cls.search([
                ('log', '=', log.id),
                ('size', '<=', log.published_size),
                ], order=[('size', 'DESC')], limit=1)
        return checkpoints[0] if checkpoints else None

    @classmethod
    def shown(cls, log):
        "Return the last checkpoint for anybody to see; raise Problem"
        checkpoint = cls.published(log)
        if not checkpoint or (log.ahead and log.known_halt):
            # An old one would look like another story
            raise Problem('log-behind', "The log signs nothing at present.")
        return checkpoint


class Message(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.message'

    @classmethod
    def _admit_load(cls, arrival):
        pool = Pool()
        Log = pool.get('cooperative.trust.log')
        if not arrival.log:
            for log in Log.search([
                        ('company', '=', arrival.identity.company.id),
                        ('closed', '!=', None),
                        ], order=[('rank', 'DESC')], limit=1):
                raise _problem(log.known_halt)
        super()._admit_load(arrival)

    @classmethod
    def _relay(cls, arrivals):
        super()._relay(arrivals)
        log = arrivals[0].log
        for checkpoint in {a.header.checkpoint for a in arrivals} - {None}:
            log.heed(checkpoint)


def _size(note):
    return SignedCheckpoint.parse(Note.parse(note).text).size


def _gravest(*halts):
    "Return what closes the log, else what knows most of it, or None"
    return max(filter(None, halts), default=None, key=lambda h: (
            isinstance(h, LogClosedError), _size(h.note) if h.note else -1))


def _problem(halt):
    "Return what is told to who waits for a signature"
    return Problem(halt.name, "The log signs nothing at present.")
