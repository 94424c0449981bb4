# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The copy of the log outside the database, and backups that are restored"""
import errno
import json
import os
import tempfile
import uuid
from pathlib import Path
from unittest.mock import patch

import trytond.config as config
from trytond.pool import Pool
from trytond.protocols.wrappers import HTTPStatus
from trytond.tests.test_tryton import RouteTestCase
from trytond.transaction import Transaction

from cooperative_edi.transaction import transact
from trycoton.protocol import canonical, entry, merkle, tile
from trycoton.protocol.audit import audit
from trycoton.protocol.checkpoint import Checkpoint
from trycoton.protocol.note import Note, NoteSigner, Verifier
from trycoton.protocol.proof import Proof
from trycoton.protocol.signature import SigningKey

from ..exceptions import (
    LogBehindError, LogClosedError, LogMirrorError, LogModifyError,
    LogReadBackError, LogSuccessorError)
from ..mirror import Folder
from .tools import (
    BUYER, COMMUNITY, SELLER, Community, Member, create_trust_party, record_of,
    set_key)

# Each after those that it refers to
TABLES = [
    'cooperative.trust.log', 'cooperative.trust.directory',
    'cooperative.trust.log.head', 'cooperative.trust.log.leaf',
    'cooperative.trust.log.node', 'cooperative.trust.log.checkpoint']


class Backup:
    "The tables of the log, to be brought back as they were"

    def __init__(self, database):
        self.database = database
        with Transaction().start(database, 0, readonly=True):
            self.rows = {name: self._read(name) for name in TABLES}

    @staticmethod
    def _read(name):
        table = Pool().get(name).__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*table.select())
        columns = [d[0] for d in cursor.description]
        return [dict(zip(columns, row)) for row in cursor.fetchall()]

    def restore(self):
        with Transaction().start(self.database, 0) as transaction:
            cursor = transaction.connection.cursor()
            for name in reversed(TABLES):
                table = Pool().get(name).__table__()
                kept = [-1, *(r['id'] for r in self.rows[name])]
                cursor.execute(*table.delete(where=~table.id.in_(kept)))
            for name, rows in self.rows.items():
                table = Pool().get(name).__table__()
                for row in rows:
                    cursor.execute(*table.update(
                            [getattr(table, n) for n in row],
                            list(row.values()), where=table.id == row['id']))
            transaction.commit()


class MirrorCase(RouteTestCase):
    "A trust party with a mirror, as it was before after each test"
    module = 'cooperative_trust'

    @classmethod
    def setUpDatabase(cls):
        set_key()
        create_trust_party()

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.community = Community(COMMUNITY)
        cls.buyer, cls.seller = Member(BUYER), Member(SELLER)

    def setUp(self):
        super().setUp()
        if not self.community.version:
            response = self.community.publish(
                self.client(), self.db_name, self.directory())
            self.assertEqual(response.status_code, HTTPStatus.OK)
        folder = tempfile.TemporaryDirectory(prefix='mirror-')
        self.addCleanup(folder.cleanup)
        self.base = Path(folder.name)
        self.addCleanup(Backup(self.db_name).restore)
        config.set('cooperative', 'log_mirror', str(self.base))
        self.addCleanup(config.set, 'cooperative', 'log_mirror', '')
        self.addCleanup(
            self.seller.sequences.update, self.seller.sequences.copy())

    def directory(self):
        return self.community.directory(
            self.buyer.participant(), self.seller.participant())

    def send(self, status=HTTPStatus.CREATED, problem=None, **values):
        "Send a message and return the answer"
        message = self.seller.statement(
            BUYER, 'relation-end', {'relation': str(uuid.uuid4())}, **values)
        return self.post(message, status, problem)

    def post(self, message, status=HTTPStatus.CREATED, problem=None):
        response = self.seller.send(self.client(), self.db_name, message)
        self.assertEqual(response.status_code, status, response.data)
        answer = canonical.load(response.data)
        if problem:
            self.assertEqual(answer['type'].rpartition('/')[-1], problem)
            self.assertIn('Retry-After', response.headers)
        return answer

    def log(self, method=lambda log: log, readonly=True):
        "Return what the method gives in a transaction of its own"
        def call():
            Log = Pool().get('cooperative.trust.log')
            log, = Log.search(
                [('vkey', '!=', None)],
                order=[('rank', 'DESC')], limit=1)
            return method(log)
        return transact(self.db_name, call, readonly=readonly)

    @property
    def folder(self):
        return self.log(Folder.of)

    @property
    def verifier(self):
        return Verifier.from_vkey(self.log(lambda log: log.vkey))

    def audited(self):
        found = audit(self.folder.read, [self.verifier])
        self.assertEqual(found.faults, ())
        return found.checkpoint

    def get(self, path, etag=None):
        return self.client().get(
            f'/{self.db_name}/cooperative/trust/{path}',
            headers={'If-None-Match': etag} if etag else {})

    def grow(self, size):
        "Have the log take entries up to the size at once"
        def fill(log):
            Leaf = Pool().get('cooperative.trust.log.leaf')
            frontier = log.head.frontier
            first, nodes = frontier.size, []
            entries = [
                b'\1' + os.urandom(32) for _ in range(size - first)]
            Leaf.put_back(log, first, entries)
            for value in entries:
                nodes += frontier.append(merkle.leaf_hash(value))
            Pool().get('cooperative.trust.log.node').add(log, nodes)
            log.head.move(frontier)
            Pool().get('cooperative.trust.log.checkpoint').sign(
                log, frontier)
        self.log(fill, readonly=False)

    def attend(self):
        Message = Pool(self.db_name).get('cooperative.edi.message')
        Message.attend(self.db_name)


class MirrorTestCase(MirrorCase):
    "Test the mirror of the log"

    def test_published(self):
        "Test what is handed out is in the mirror"
        for count in range(3):
            record = record_of(self.send()['record'])
            checkpoint = self.audited()
            self.assertGreater(checkpoint.size, record.inclusion.index)
        self.assertTrue(self.log(lambda log: log.mirrored))
        served = Checkpoint.open(
            self.get('checkpoint').data, [self.verifier])
        self.assertEqual(served, checkpoint)

    def test_catch_up(self):
        "Test what is missing in the mirror is copied, and partials go"
        self.send()
        for size in [200, 256, 258, 700]:
            with self.subTest(size=size):
                self.grow(size)
                self.attend()
                self.assertEqual(self.audited().size, size)
        self.assertFalse(list(self.folder.path.glob('tile/0/000.p')))
        self.assertTrue(list(self.folder.path.glob('tile/0/002.p/188')))

    def test_served_after_mirrored(self):
        "Test a checkpoint that is not in the mirror is not served"
        self.send()
        size = self.audited().size
        self.grow(size + 1)
        served = Checkpoint.open(
            self.get('checkpoint').data, [self.verifier])
        self.assertEqual(served.size, size)

    def test_restored(self):
        "Test a restored backup signs nothing until it has caught up"
        self.send()
        backup = Backup(self.db_name)
        self.grow(300)
        answers = [self.send() for _ in range(2)]
        known = self.audited()
        backup.restore()

        for _ in range(2):
            answer = self.send(HTTPStatus.SERVICE_UNAVAILABLE, 'log-behind')
            self.assertFalse({'receipt', 'record', 'promise'} & set(answer))
        size, last = self.log(lambda log: (
                log.size,
                Pool().get('cooperative.trust.log.checkpoint').last(log).size))
        self.assertEqual(size, last)
        self.assertLess(size, known.size)
        self.assertEqual(
            self.get('checkpoint').status_code,
            HTTPStatus.SERVICE_UNAVAILABLE)
        self.assertIn(
            str(known.size), self.log(lambda log: log.halt))
        # Even if the mirror goes away
        config.set('cooperative', 'log_mirror', '')
        self.send(HTTPStatus.SERVICE_UNAVAILABLE, 'log-behind')
        config.set('cooperative', 'log_mirror', str(self.base))

        self.log(lambda log: log.read_back([log]), readonly=False)
        self.assertEqual(
            Checkpoint.open(self.get('checkpoint').data, [self.verifier]),
            known)
        self.assertEqual(self.log(lambda log: log.fsck()), [])
        self.assertEqual(
            self.log(lambda log: [
                    l.event for l in Pool().get(
                        'cooperative.trust.log.leaf').search([
                            ('log', '=', log.id),
                            ('index', '>=', size),
                            ('index', '<', known.size)])]),
            ['restored'] * (known.size - size))
        self.attend()
        self.send()
        grown = self.audited()
        self.assertGreater(grown.size, known.size)
        proof = self.log(lambda log: log.prove(
                lambda node: merkle.consistency_proof(
                    node, known.size, grown.size)))
        merkle.verify_consistency(
            known.size, grown.size, known.root, grown.root, proof)
        for answer in answers:
            record_of(answer['record']).verify([self.verifier])
        self.assertEqual(self.log(lambda log: log.fsck()), [])

    def test_restored_at_start(self):
        "Test the scheduled actions see it before anybody asks"
        self.send()
        backup = Backup(self.db_name)
        self.send()
        backup.restore()
        with self.assertLogs('cooperative_trust.log', 'ERROR'):
            self.attend()
        # Nothing is stored any more
        self.send(HTTPStatus.SERVICE_UNAVAILABLE, 'log-behind')
        self.assertEqual(self.log(lambda log: log.pending), 0)

    def test_read_back_refused(self):
        "Test only what continues to the signed head is read back"
        self.send()
        backup = Backup(self.db_name)
        self.grow(300)
        self.send()
        self.audited()
        backup.restore()
        self.send(HTTPStatus.SERVICE_UNAVAILABLE, 'log-behind')
        read = self.folder.read
        before = Backup(self.db_name)

        def other(path):
            data = read(path)
            if path.startswith('tile/entries/000') and data:
                data = data[:-1] + bytes([data[-1] ^ 1])
            return data

        def older(path):
            return before_note if path == 'checkpoint' else read(path)
        before_note = self.log(lambda log: Pool().get(
                'cooperative.trust.log.checkpoint').last(log).note).encode()
        for name, source in {
                'other': other,
                'cut': lambda p: read(p)[:-1],
                'missing': lambda p: (
                    None if p.startswith('tile/entries/001') else read(p)),
                'nothing': lambda p: None,
                'older': older,
                }.items():
            with self.subTest(name), self.assertRaises(LogReadBackError):
                self.log(
                    lambda log: log.read_back_from(source), readonly=False)
            self.assertEqual(Backup(self.db_name).rows, before.rows)
        self.log(lambda log: log.read_back_from(read), readonly=False)
        self.attend()
        self.send()

    def test_fork(self):
        "Test a mirror that tells another story closes the log"
        self.send()
        backup = Backup(self.db_name)
        self.grow(20)
        self.send()
        known = self.audited()
        backup.restore()
        config.set('cooperative', 'log_mirror', '')
        self.log(lambda log: log.renew_mirror([log]), readonly=False)
        self.grow(40)
        config.set('cooperative', 'log_mirror', str(self.base))

        self.send(HTTPStatus.SERVICE_UNAVAILABLE, 'log-closed')
        self.send(HTTPStatus.SERVICE_UNAVAILABLE, 'log-closed')
        self.assertEqual(self.audited(), known)
        self.assertTrue(self.log(lambda log: log.closed))
        size = self.log(lambda log: log.size)
        with self.assertRaises(LogClosedError):
            Log = Pool(self.db_name).get('cooperative.trust.log')
            Log.integrate(self.db_name, self.log(lambda log: log.id))
        self.assertEqual(self.log(lambda log: log.size), size)

    def test_fork_same_size(self):
        "Test another root at the same size is a fork as well"
        self.send()
        backup = Backup(self.db_name)
        self.grow(20)
        self.attend()
        backup.restore()
        config.set('cooperative', 'log_mirror', '')
        self.log(lambda log: log.renew_mirror([log]), readonly=False)
        self.grow(20)
        config.set('cooperative', 'log_mirror', str(self.base))
        self.send(HTTPStatus.SERVICE_UNAVAILABLE, 'log-closed')

    def test_successor(self):
        "Test what is lost has a successor that commits to the last head"
        first = self.log(lambda log: log.id)
        origin = self.log(lambda log: log.origin)
        self.send()
        backup = Backup(self.db_name)
        self.grow(30)
        self.send()
        known = self.audited()
        with self.assertRaises(LogSuccessorError):
            self.log(lambda log: log.succeed([log]), readonly=False)
        backup.restore()
        lost = self.seller.statement(BUYER, 'some-news', {})
        self.post(lost, HTTPStatus.SERVICE_UNAVAILABLE, 'log-behind')
        old = self.verifier

        self.log(lambda log: log.succeed([log]), readonly=False)
        with self.assertRaises(LogSuccessorError):
            self.log(
                lambda log: log.predecessor.start_successor(),
                readonly=False)
        # What waited is in the successor
        answer = self.post(lost, HTTPStatus.OK)
        record = record_of(answer['record'])
        _, checkpoint = record.verify([self.verifier])
        self.assertEqual(record.inclusion.index, 1)
        self.assertEqual(checkpoint.origin, f'{origin}/2')
        self.send()

        note = self.get('predecessor').data
        self.assertEqual(Checkpoint.open(note, [old]), known)
        size = Checkpoint.open(
            self.get('checkpoint').data, [self.verifier]).size
        bundle = tile.Tile(None, 0, size)
        self.assertEqual(
            tile.parse_entries(self.get(bundle.path).data)[0],
            entry.predecessor_entry(known))
        self.assertEqual(self.log(lambda log: log.fsck()), [])
        self.assertEqual(
            self.log(lambda log: (log.rank, log.predecessor.id)), (1, first))

    def test_mirror_unwritable(self):
        "Test nothing is handed out while the mirror cannot be written"
        self.send()
        size = self.audited().size
        message = self.seller.statement(BUYER, 'some-news', {})
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with patch('cooperative_trust.mirror.os.fsync', side_effect=full):
            for _ in range(2):
                self.post(
                    message, HTTPStatus.SERVICE_UNAVAILABLE, 'log-mirror')
            for note in self.told():
                checkpoint = Checkpoint.open(note, [self.verifier])
                self.assertLessEqual(checkpoint.size, size)
            # What is refused is so without its proof
            self.post(
                self.seller.statement(
                    BUYER, 'relation-end', {'relation': 'x'}),
                HTTPStatus.UNPROCESSABLE_ENTITY)
        self.assertEqual(
            Checkpoint.open(
                self.get('checkpoint').data, [self.verifier]).size, size)
        answer = self.post(message, HTTPStatus.OK)
        record = record_of(answer['record'])
        record.verify([self.verifier])
        self.assertEqual(record.inclusion.index, size)
        self.assertGreater(self.audited().size, size)

    def told(self):
        "Return the notes that the page and the export of a member have"
        page = self.client().get(
            f'/{self.db_name}/cooperative/trust/',
            headers={'Accept': 'application/json'})
        held = canonical.load(self.seller.get(
                self.client(),
                f'/{self.db_name}/cooperative/trust/held').data)
        records = [
            e['record'] for m in held['messages'] for e in m['entries']]
        self.assertIn(None, records)
        return [json.loads(page.data)['checkpoint']['note'].encode()] + [
            record_of(r).inclusion.checkpoint for r in records if r]

    def test_successor_of_most(self):
        "Test a successor commits to the most that anybody knows"
        self.send()
        backup = Backup(self.db_name)
        self.send()
        less = self.get('checkpoint').data
        self.send()
        most = self.get('checkpoint').data
        backup.restore()
        self.send(
            HTTPStatus.SERVICE_UNAVAILABLE, 'log-behind', checkpoint=less)
        self.attend()
        self.log(lambda log: log.succeed([log]), readonly=False)
        self.assertEqual(
            Note.parse(self.get('predecessor').data).text,
            Note.parse(most).text)
        # The entries of both logs are listed
        self.send()

        def page(after):
            return canonical.load(self.seller.get(
                    self.client(),
                    f'/{self.db_name}/cooperative/trust/entries',
                    f'?after={after}').data)
        listed, after = [], 0
        with patch('cooperative_trust.held.ENTRIES_MAX', 1):
            while after is not None:
                found = page(after)
                listed += found['entries']
                after = found['next']
        self.assertCountEqual(listed, page(0)['entries'])

    def test_mirror_late(self):
        "Test no more is signed when the mirror is too late"
        self.send()
        self.grow(self.log(lambda log: log.size) + 4096)
        self.send(HTTPStatus.SERVICE_UNAVAILABLE, 'log-mirror')
        self.assertTrue(self.log(lambda log: log.pending))
        Log = Pool(self.db_name).get('cooperative.trust.log')
        Log.publish(self.db_name, self.log(lambda log: log.id))
        self.attend()
        self.assertEqual(self.log(lambda log: log.pending), 0)

    def test_mirror_missing(self):
        "Test a mirror that is not there, as a disk that is not mounted"
        config.set('cooperative', 'log_mirror', str(self.base / 'disk'))
        self.send(HTTPStatus.SERVICE_UNAVAILABLE, 'log-mirror')
        (self.base / 'disk').mkdir()
        self.send()
        for base in ['', str(self.base)]:
            with self.subTest(base=base):
                config.set('cooperative', 'log_mirror', base)
                self.send(HTTPStatus.SERVICE_UNAVAILABLE, 'log-mirror')
        self.log(lambda log: log.renew_mirror([log]), readonly=False)
        self.send()
        self.audited()

    def test_mirror_foreign(self):
        "Test the mirror of another log is not overwritten"
        self.folder.path.mkdir()
        origin = self.log(lambda log: log.origin)
        note = Checkpoint(origin, 0, merkle.EMPTY_ROOT).sign(
            NoteSigner(origin, SigningKey.generate()))
        (self.folder.path / 'checkpoint').write_bytes(note)
        self.send(HTTPStatus.SERVICE_UNAVAILABLE, 'log-mirror')
        self.assertEqual(self.folder.note, note)
        self.assertFalse(self.log(lambda log: log.closed))

    def test_mirror_changed(self):
        "Test a file of the mirror that differs is not overwritten"
        self.send()
        size = self.audited().size
        paths = [
            self.folder.path / tile.Tile(None, 0, size + more).path
            for more in range(1, 9)]
        for path in paths:
            path.parent.mkdir(exist_ok=True, parents=True)
            path.write_bytes(b'other')
        self.send(HTTPStatus.SERVICE_UNAVAILABLE, 'log-mirror')
        for path in paths:
            self.assertEqual(path.read_bytes(), b'other')

    def test_learn(self):
        "Test a head that somebody else kept shows an old backup or a fork"
        Log = Pool(self.db_name).get('cooperative.trust.log')
        id_ = self.log(lambda log: log.id)
        config.set('cooperative', 'log_mirror', '')
        self.send()
        note = self.get('checkpoint').data
        backup = Backup(self.db_name)
        self.send()
        newer = self.get('checkpoint').data
        Log.learn(self.db_name, id_, note)
        backup.restore()
        Log.learn(self.db_name, id_, note)
        other = NoteSigner(
            self.log(lambda log: log.origin), SigningKey.generate())
        with self.assertRaises(LogMirrorError):
            Log.learn(self.db_name, id_, Checkpoint(
                    other.name, 10 ** 6, bytes(32)).sign(other))
        self.send()
        self.assertIsNone(self.log(lambda log: log.halt))
        backup.restore()
        with self.assertRaises(LogBehindError):
            Log.learn(self.db_name, id_, newer)
        self.send(HTTPStatus.SERVICE_UNAVAILABLE, 'log-behind')
        backup.restore()
        self.grow(7)
        with self.assertRaises(LogClosedError):
            Log.learn(self.db_name, id_, newer)
        self.send(HTTPStatus.SERVICE_UNAVAILABLE, 'log-closed')

    def test_heed(self):
        "Test the message of a member shows an old backup, without mirror"
        config.set('cooperative', 'log_mirror', '')
        self.send()
        backup = Backup(self.db_name)
        self.send()
        newer = self.get('checkpoint').data
        other = NoteSigner(
            self.log(lambda log: log.origin), SigningKey.generate())
        for note in [
                newer, b'x',
                Checkpoint(other.name, 10 ** 6, bytes(32)).sign(other)]:
            self.send(checkpoint=note)
        self.assertIsNone(self.log(lambda log: log.halt))
        backup.restore()
        size = self.log(lambda log: log.size)
        self.send(HTTPStatus.SERVICE_UNAVAILABLE, 'log-behind',
            checkpoint=newer)
        self.send(HTTPStatus.SERVICE_UNAVAILABLE, 'log-behind')
        self.assertEqual(self.log(lambda log: log.size), size)

    def test_directory(self):
        "Test a directory is not proved either by a restored backup"
        self.send()
        backup = Backup(self.db_name)
        self.send()
        backup.restore()
        version, previous = self.community.version, self.community.previous
        directory = self.directory()
        self.community.version = version
        self.community.previous = previous
        response = self.community.publish(
            self.client(), self.db_name, directory)
        self.assertEqual(
            response.status_code, HTTPStatus.SERVICE_UNAVAILABLE)
        self.assertIn(b'log-behind', response.data)

    def test_write(self):
        "Test nobody opens the log again by hand"
        Log = Pool(self.db_name).get('cooperative.trust.log')
        for values in [
                {'ahead': None}, {'closed': None}, {'mirrored': False}]:
            with self.subTest(values), self.assertRaises(LogModifyError):
                self.log(lambda log: Log.check_modification(
                        'write', [log], values=values, external=True))

    def test_proof(self):
        "Test the proof of a directory after the mirror was begun"
        directory = self.directory()
        answer = canonical.load(self.community.publish(
                self.client(), self.db_name, directory).data)
        Proof.parse(answer['record']['proof'].encode()).verify(
            entry.directory_entry(directory.digest), [self.verifier])
        self.audited()


del RouteTestCase
