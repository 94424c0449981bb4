# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
import contextlib
import http.server
import json
import subprocess
import sys
import tempfile
import threading
import unittest
from functools import partial
from pathlib import Path

from trycoton.command import template
from trycoton.command.instance import Instance, Specification, create
from trycoton.protocol.tests.test_audit import SIGNER, published

from .test_main import call

SIZE = 300
# What the operator does in the client, and what members send
PREPARE = '''
import datetime as dt, sys, uuid
from trytond.pool import Pool
from trytond.transaction import Transaction
from trycoton.protocol.directory import Legal, Participant, PublishedKey
from trycoton.protocol.signature import SigningKey
Pool.start()
pool = Pool(sys.argv[1])
pool.init()
with Transaction().start(sys.argv[1], 0) as transaction:
    Company = pool.get('company.company')
    Directory = pool.get('cooperative.trust.directory')
    Leaf = pool.get('cooperative.trust.log.leaf')
    Log = pool.get('cooperative.trust.log')
    Peer = pool.get('cooperative.edi.peer')
    company, = Company.search([])
    log, = Log.search([]) or Log.create([{
                'company': company.id, 'origin': 'example.org/trust'}])
    if not log.vkey:
        Log.open([log])
        Peer.update_from(company.id, Participant(
                identifier='0225:732829320', name="Community",
                kind='community', keys=(PublishedKey(
                        key=SigningKey.generate().public,
                        valid_from=dt.datetime.now(dt.timezone.utc).replace(
                            microsecond=0)),),
                legal=Legal(country='FR')))
    peer, = Peer.search([])
    version = Directory.search([], count=True) + 1
    with Transaction().set_context(company=company.id):
        Leaf.record_directory(Directory.create([{
                        'company': company.id, 'community': peer.id,
                        'version': version, 'digest': uuid.uuid4().hex * 2,
                        'expires': '2030-01-01 00:00:00', 'signature': "-",
                        }])[0])
    transaction.commit()
Log.sweep(sys.argv[1])
with Transaction().start(sys.argv[1], 0, readonly=True):
    print(Log(log.id).vkey)
'''


class MirrorTestCase(unittest.TestCase):
    "Test check published files"

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name)
        for path, data in published(SIZE).items():
            path = self.path / path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)

    def fsck(self, *arguments, mirror=None):
        status, out, err = call(
            '--json', 'trust', 'fsck', '--mirror', str(mirror or self.path),
            *arguments)
        self.assertNotIn('Traceback', err)
        return status, json.loads(out)

    def test_folder(self):
        "Test a folder, with and without the key of the log"
        status, result = self.fsck('--key', SIGNER.vkey)
        log, = result['logs']
        self.assertEqual((status, log['faults'], log['size']), (0, [], SIZE))
        status, result = self.fsck()
        self.assertEqual(status, 3)
        self.assertEqual(
            call('trust', 'fsck', '--mirror', str(self.path),
                '--key', SIGNER.vkey)[:2],
            (0, f"{self.path}: example.org/trust, {SIZE} entries: right\n"))

    def test_damaged(self):
        "Test a flipped bit is named"
        path = self.path / 'tile' / 'entries' / '000'
        data = bytearray(path.read_bytes())
        data[40] ^= 1
        path.write_bytes(data)
        status, result = self.fsck('--key', SIGNER.vkey)
        log, = result['logs']
        self.assertEqual(status, 1)
        self.assertEqual(
            log['faults'],
            ["tile/entries/000: the entry 1 is another one."])

    def test_url(self):
        "Test an address"
        class Handler(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *args):
                pass
        server = http.server.ThreadingHTTPServer(
            ('127.0.0.1', 0), partial(Handler, directory=self.path))
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        mirror = f'http://127.0.0.1:{server.server_port}'
        status, result = self.fsck('--key', SIGNER.vkey, mirror=mirror)
        self.assertEqual((status, result['logs'][0]['faults']), (0, []))
        (self.path / 'tile' / '1' / '000.p' / '1').unlink()
        status, result = self.fsck('--key', SIGNER.vkey, mirror=mirror)
        self.assertEqual(
            (status, result['logs'][0]['faults']),
            (1, ["tile/1/000.p/1: it is missing."]))

    def test_not_made(self):
        "Test the check cannot be made"
        for arguments in [
                ['--mirror', str(self.path / 'none')],
                ['--mirror', 'http://127.0.0.1:9'],
                ['--mirror', str(self.path), '--key', 'x'],
                [],
                ['one', '--mirror', str(self.path)],
                ['none', '--folder', str(self.path)]]:
            with self.subTest(arguments):
                status, _, err = call('trust', 'fsck', *arguments)
                self.assertEqual(status, 2)
                self.assertTrue(err.startswith('trycoton: '), err)

    def test_without_trytond(self):
        "Test it needs no Tryton"
        process = subprocess.run([
                sys.executable, '-c', "import sys\n"
                "sys.modules['trytond'] = None\n"
                "from trycoton.command.main import main\n"
                "sys.exit(main(sys.argv[1:]))",
                'trust', 'fsck', '--mirror', str(self.path),
                '--key', SIGNER.vkey],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.assertEqual(process.returncode, 0, process.stderr)


class InstanceTestCase(unittest.TestCase):
    "Test check and continue an instance"

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = Path(folder.name)
        create(cls.folder, [Specification(
                    name='trust', role='trust', company="Tiers")])
        cls.instance = Instance.get(cls.folder, 'trust')
        cls.mirror = cls.folder / 'mirror'
        cls.mirror.mkdir()
        config = cls.instance.config
        config['cooperative']['log_mirror'] = str(cls.mirror)
        config['cooperative']['courier'] = 'False'
        with open(cls.instance.config_path, 'w') as file:
            config.write(file)

    def prepare(self):
        "Have the log take one entry, and return its key"
        process = subprocess.run(
            [sys.executable, '-c', PREPARE, 'trust'], text=True,
            env=template.environment(
                TRYTOND_CONFIG=str(self.instance.config_path)),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertEqual(process.returncode, 0, process.stderr)
        return process.stdout.strip()

    def fsck(self, *arguments):
        status, out, err = call(
            '--json', 'trust', 'fsck', 'trust', '--folder', str(self.folder),
            *arguments)
        self.assertNotIn('Traceback', err)
        return status, json.loads(out)

    def damage(self, query):
        import sqlite3
        with contextlib.closing(sqlite3.connect(
                    self.instance.database_path)) as connection:
            connection.execute(query)
            connection.commit()

    def test_instance(self):
        "Test right, damaged, restored and read back"
        status, result = self.fsck()
        self.assertEqual((status, list(result)), (2, ['error']))
        key = self.prepare()
        backup = self.instance.database_path.read_bytes()
        self.prepare()
        status, result = self.fsck('--key', key)
        self.assertEqual(status, 0)
        database, mirror = result['logs']
        self.assertEqual(
            (database['size'], database['root']),
            (mirror['size'], mirror['root']))
        self.assertEqual(self.fsck('--key', SIGNER.vkey)[0], 1)

        self.damage(
            "UPDATE cooperative_trust_log_leaf SET hash = zeroblob(32) "
            "WHERE \"index\" = 1")
        status, result = self.fsck()
        self.assertEqual(status, 1)
        self.assertEqual(
            result['logs'][0]['faults'],
            ["The entry 1 is not the one that its bytes give."])

        self.restore(backup)
        status, result = self.fsck()
        self.assertEqual(status, 0)
        self.assertIn("old backup", result['logs'][0]['halt'])
        status, out, err = call(
            'trust', 'read-back', 'trust', '--folder', str(self.folder),
            '--mirror', str(self.mirror))
        self.assertEqual(
            (status, out),
            (0, "example.org/trust: 1 entries read back, 2 in all\n"), err)
        status, result = self.fsck()
        self.assertEqual(
            (status, result['logs'][0]['halt'], result['logs'][0]['size']),
            (0, None, 2))

    def restore(self, data):
        for path in self.instance.path.glob('trust.sqlite*'):
            path.unlink()
        self.instance.database_path.write_bytes(data)
