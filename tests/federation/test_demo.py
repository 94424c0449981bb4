# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The whole deal, played once with the trust party stopped in its middle"""
import json
import os
import re
import stat
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from collections import Counter
from decimal import Decimal
from pathlib import Path

from lxml import etree

from trycoton.protocol import envelope, merkle, signature, tile, ubl
from trycoton.protocol.checkpoint import Checkpoint
from trycoton.protocol.directory import Directory
from trycoton.protocol.note import Verifier
from trycoton.protocol.receipt import Receipt

from .. import conformance

ROOT = Path(__file__).resolve().parents[2]
# What a deal cannot do without
KINDS = {
    'catalogue', 'order', 'order_change', 'order_response', 'despatch_advice',
    'receipt_advice', 'invoice', 'credit_note', 'invoice_response',
    'remittance_advice', 'message_level_response', 'application',
    'membership-decision', 'membership-state', 'offer-decision',
    'relation-proposal', 'relation-answer'}


def trycoton(*arguments, **options):
    return subprocess.run(
        [sys.executable, '-m', 'trycoton.command.main', *map(str, arguments)],
        cwd=ROOT, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, **options)


class Watch(threading.Thread):
    "Look at the files that the processes of the instances have open"

    def __init__(self, folder):
        super().__init__(daemon=True)
        self.instances = folder / 'instances'
        self.ended = threading.Event()
        self.seen = {}

    def run(self):
        while not self.ended.wait(0.2):
            for path in self.instances.glob('*/pid'):
                try:
                    self.look(path.parent.name, int(path.read_text()))
                except (OSError, ValueError):
                    continue

    def look(self, name, pid):
        for link in Path(f'/proc/{pid}/fd').iterdir():
            try:
                target = os.readlink(link)
            except OSError:
                continue
            if target.startswith(str(self.instances)):
                owner = Path(target).relative_to(self.instances).parts[0]
                self.seen.setdefault(name, Counter())[owner] += 1


class DemoTestCase(unittest.TestCase):
    "Test what the demonstration did and left behind"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        temporary = tempfile.TemporaryDirectory(prefix='demo-')
        cls.addClassCleanup(temporary.cleanup)
        cls.folder = Path(temporary.name).resolve() / 'kept'
        cls.folder.mkdir()
        cls.watch = Watch(cls.folder)
        cls.watch.start()
        started = time.monotonic()
        cls.process = trycoton(
            'demo', '--keep', cls.folder, '--pause', timeout=800)
        cls.seconds = time.monotonic() - started
        cls.watch.ended.set()
        cls.watch.join()
        if cls.process.returncode:
            raise AssertionError(
                cls.process.stdout[-5000:] + cls.process.stderr[-5000:])
        cls.report = json.loads((cls.folder / 'report.json').read_text())

    def documents(self, pattern='*.xml'):
        return sorted((self.folder / 'documents').glob(pattern))

    def test_witnessed(self):
        "Elected members cosign the log, and the evidence of the deals says so"
        witnesses = self.report['witnesses']
        self.assertEqual(witnesses['elected'], 3)
        self.assertGreater(witnesses['witnessed'], 0)
        self.assertLessEqual(witnesses['witnessed'], witnesses['recorded'])
        path = sorted((self.folder / 'evidence').glob('*.evidence'))[0]
        key = (self.folder / 'log' / 'key').read_text().strip()
        process = trycoton('verify', '--key', key, path)
        self.assertEqual(process.returncode, 0, process.stdout)
        self.assertRegex(
            process.stdout, r'(?m)^ok .* witnessed, [23] of 3 witnesses')

    def test_story(self):
        "What was asked of the story happened"
        for text in [
                "orders wait; it is started again",
                "keeps selling",
                "ne suit aucune offre",
                "refused:",
                "verified",
                ]:
            with self.subTest(text=text):
                self.assertIn(text, self.process.stdout)

    def test_report(self):
        "The report tells the deal to machines"
        report = self.report
        self.assertGreater(report['seconds'], 0)
        roles = Counter(i['role'] for i in report['instances'])
        self.assertEqual(roles['trust'], 1)
        self.assertEqual(roles['community'], 1)
        self.assertGreaterEqual(roles['actor'], 4)
        for name in ['pid', 'port']:
            values = [i[name] for i in report['instances']]
            self.assertEqual(len(set(values)), len(values), msg=name)
        for instance in report['instances']:
            self.assertGreater(instance['memory'], 10_000_000)
        for ledger in report['ledgers']:
            self.assertEqual(Decimal(ledger['difference']), 0, msg=ledger)
        self.assertTrue(
            [l for l in report['ledgers'] if Decimal(l['receivable']) > 0])
        commission = report['commission']
        self.assertAlmostEqual(
            float(commission['base']) * float(commission['rate']),
            float(commission['amount']), delta=0.03)
        self.assertGreater(Decimal(commission['paid']), 0)

    def test_every_kind(self):
        "Each kind of document was exchanged, and saved once"
        self.assertEqual(KINDS - set(self.report['documents']), set())
        saved = Counter()
        for path in [
                *self.documents(), *self.documents('json/[0-9]*.json')]:
            saved[path.stem.split('-', 2)[2]] += 1
        self.assertEqual(saved, Counter(self.report['documents']))

    def test_each_document_once(self):
        "Nothing was sent, or took effect, twice"
        ids = Counter(
            envelope.parse(p.read_bytes()).id for p in self.documents())
        self.assertEqual(set(ids.values()), {1})
        numbers = Counter()
        for path in self.documents():
            parsed = envelope.parse(path.read_bytes())
            root = etree.fromstring(parsed.payload)
            number = root.findtext('{*}ID')
            numbers[parsed.root, parsed.sender, parsed.receiver, number] += 1
        self.assertEqual(
            [k for k, n in numbers.items() if n > 1], [])

    def keys(self):
        "Return the keys of the last directory, and of the community"
        path = sorted(self.documents('json/directory-*.json'))[-1]
        directory = Directory.parse(path.read_bytes())
        return {
            kid: key for participant in directory.participants
            for kid, key in participant.public_keys().items()}

    def test_signatures(self):
        "Each document stands beside its signature and receipt, both right"
        keys = self.keys()
        for path in self.documents():
            with self.subTest(document=path.name):
                data = path.read_bytes()
                jws = path.with_suffix('.jws').read_text()
                signature.verify(data, jws, signature.ENVELOPE, keys)
                parsed = envelope.parse(data)
                suffix = '.relay-receipt' if parsed.via else '.receipt'
                receipt = path.with_suffix(suffix).read_bytes()
                value = Receipt.parse(receipt)
                self.assertEqual(value.message, parsed.id)
                self.assertEqual(value.digest, parsed.digest)
                signature.verify(
                    receipt, path.with_suffix(suffix + '.jws').read_text(),
                    signature.RECEIPT, keys)
                changed = data.replace(b'2026', b'2027', 1)
                self.assertNotEqual(changed, data)
                with self.assertRaises(Exception):
                    signature.verify(changed, jws, signature.ENVELOPE, keys)

    def test_routes(self):
        "One pair deals directly, the others through the trust party"
        orders = [
            envelope.parse(p.read_bytes())
            for p in self.documents('*-order.xml')]
        self.assertEqual(
            Counter(bool(o.via) for o in orders), {True: 3, False: 1})

    def test_conformance(self):
        "The official rules accept each document"
        self.assertEqual(conformance.faults(self.documents()), [])

    def test_own_database(self):
        "No instance opened the files of another"
        names = {i['name'] for i in self.report['instances']}
        self.assertEqual(set(self.watch.seen), names)
        for name, owners in self.watch.seen.items():
            with self.subTest(instance=name):
                self.assertEqual(set(owners), {name})

    def test_secrets(self):
        "What is secret is readable by its owner only"
        for path in [
                self.folder / 'logins.json',
                *self.folder.glob('instances/*/trytond.conf'),
                *self.folder.glob('instances/*/*.sqlite')]:
            with self.subTest(path=path.name):
                self.assertEqual(
                    stat.S_IMODE(path.stat().st_mode) & 0o077, 0)

    def test_stopped(self):
        "No process is left"
        for instance in self.report['instances']:
            self.assertFalse(
                (self.folder / 'instances' / instance['name'] / 'pid'
                    ).exists())

    def test_log(self):
        "The saved log is what its checkpoint says"
        path = self.folder / 'log'
        note = (path / 'checkpoint').read_bytes()
        verifier = Verifier.from_vkey((path / 'key').read_text().strip())
        checkpoint = Checkpoint.open(note, [verifier])
        entries = []
        for part in tile.tiles(checkpoint.size):
            data = (path / part.path).read_bytes()
            if part.level is None:
                entries += tile.parse_entries(data)
        self.assertEqual(len(entries), self.report['log']['size'])
        self.assertEqual(
            merkle.root([merkle.leaf_hash(e) for e in entries]),
            checkpoint.root)
        for entry in entries:
            self.assertEqual(len(entry), 33)

    def log_key(self):
        return (self.folder / 'log' / 'key').read_text().strip()

    def evidence(self):
        return sorted((self.folder / 'evidence').glob('*.evidence'))

    def test_verify(self):
        "Whom the verifier trusts decides, and nothing in the file"
        path = self.evidence()[0]
        process = trycoton('verify', '--key', self.log_key(), path)
        self.assertEqual(process.returncode, 0, msg=process.stdout)
        process = trycoton('verify', '--json', path)
        self.assertEqual(process.returncode, 3, msg=process.stdout)
        checks = json.loads(process.stdout)['checks']
        self.assertTrue({'name', 'ok', 'text'} <= set(checks[0]))
        other = signature.SigningKey.generate()
        vkey = Verifier('example.org/log', other.public).vkey
        process = trycoton('verify', '--key', vkey, path)
        self.assertNotEqual(process.returncode, 0, msg=process.stdout)

    def test_export(self):
        "The command exports the same deal, once the servers are stopped"
        path = next(
            p for p in self.documents('*-order.xml')
            if envelope.parse(p.read_bytes()).via)
        order = ubl.parse(envelope.parse(path.read_bytes()).payload)
        name = path.name.split('-')[1]
        login, = [
            l for l in json.loads((self.folder / 'logins.json').read_text())
            if l['name'] == name]
        password = self.folder / 'password'
        password.write_text(login['password'])
        target = self.folder / 'purchase.evidence'
        process = trycoton(
            'evidence', 'export', '--json', '--folder', self.folder,
            '--instance', name, '--user', login['login'],
            '--password-file', password, '--purchase', order.number,
            '--output', target)
        self.assertEqual(process.returncode, 0, msg=process.stderr)
        self.assertGreater(json.loads(process.stdout)['messages'], 5)
        self.test_stopped()
        process = trycoton('verify', '--key', self.log_key(), target)
        self.assertEqual(process.returncode, 0, msg=process.stdout)

    def test_flipped(self):
        "A byte flipped, added or removed makes the file refused, with words"
        from trycoton.protocol import evidence
        data = min(self.evidence(), key=lambda p: p.stat().st_size
            ).read_bytes()
        step = max(len(data) // 60, 1)
        for position in range(0, len(data), step):
            flipped = bytearray(data)
            flipped[position] ^= 1
            for changed in [
                    bytes(flipped),
                    data[:position] + b'0' + data[position:],
                    data[:position] + data[position + 1:]]:
                with self.subTest(position=position, size=len(changed)):
                    report = evidence.verify(changed)
                    self.assertEqual(report.status, evidence.REFUSED)
                    self.assertTrue([
                            c.text for c in report.checks if not c.ok])

    def test_no_taste_of_the_machine(self):
        "The documents say nothing of where they were made"
        for path in self.documents():
            self.assertNotRegex(
                path.read_text(), re.escape(str(self.folder)))
