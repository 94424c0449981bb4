# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Other people's verifiers accept our log, and refuse a tampered one"""
import base64
import shutil
import tempfile
import unittest
from pathlib import Path

from trycoton.protocol import merkle, tile
from trycoton.protocol.checkpoint import Checkpoint
from trycoton.protocol.note import NoteSigner
from trycoton.protocol.proof import Proof
from trycoton.protocol.signature import SigningKey
from trycoton.protocol.tests.test_audit import ORIGIN, SIGNER, published

from . import HERE, build_go, build_python, run

SIZE = 600
OLD = [1, 2, 255, 256, 257, 599, 600]


class Log:
    "The published files of a log, and proofs of it"

    def __init__(self, folder, size=SIZE, olds=OLD):
        self.folder = folder / 'log'
        for path, data in published(size).items():
            self.put(path, data)
        bundles = [
            (self.folder / t.path).read_bytes()
            for t in tile.tiles(size) if t.level is None]
        self.entries = [
            e for b in bundles for e in tile.parse_entries(b)]
        self.hashes = list(map(merkle.leaf_hash, self.entries))
        self.olds = []
        for old in olds:
            path = folder / f'checkpoint-{old}'
            path.write_bytes(Checkpoint(
                    ORIGIN, old, merkle.root(self.hashes[:old])).sign(SIGNER))
            self.olds.append(path)

    def put(self, path, data):
        path = self.folder / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def node(self, level, index):
        return merkle.root(self.hashes[index << level:index + 1 << level])

    def proof(self, index):
        return Proof(
            index, tuple(merkle.inclusion_proof(self.node, index, SIZE)),
            (self.folder / 'checkpoint').read_bytes()).to_bytes()


def flip(data, position):
    changed = bytearray(data)
    changed[position] ^= 1
    return bytes(changed)


class VerifierMixin:
    "What each verifier must accept, and refuse"

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix='foreign-')
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name)
        self.log = Log(self.path)

    def assertAccepted(self, answer):
        accepted, text = answer
        self.assertTrue(accepted, text)

    def assertRefused(self, answer):
        accepted, text = answer
        self.assertFalse(accepted, text)

    def test_accepted(self):
        "Our checkpoints, tiles, entries and proofs are accepted"
        self.assertAccepted(self.verify(SIGNER.vkey, self.log.olds))

    def test_tampered(self):
        "A flipped bit of each kind of file is refused"
        for path in [
                'checkpoint', 'tile/0/000', 'tile/0/001', 'tile/0/002.p/88',
                'tile/1/000.p/2', 'tile/entries/001',
                'tile/entries/002.p/88']:
            file = self.log.folder / path
            data = file.read_bytes()
            with self.subTest(path=path):
                position = -9 if path == 'checkpoint' else len(data) // 2
                file.write_bytes(flip(data, position))
                self.assertRefused(self.verify(SIGNER.vkey))
                file.write_bytes(data)
        self.assertAccepted(self.verify(SIGNER.vkey))

    def test_missing(self):
        "A missing tile is not passed over"
        (self.log.folder / 'tile/entries/001').unlink()
        self.assertRefused(self.verify(SIGNER.vkey))

    def test_other_key(self):
        "Another key of the same name is refused"
        other = NoteSigner(ORIGIN, SigningKey.generate())
        self.assertRefused(self.verify(other.vkey))

    def test_other_story(self):
        "An old checkpoint of another tree is refused"
        path = self.path / 'other'
        path.write_bytes(Checkpoint(
                ORIGIN, 300, merkle.root(self.log.hashes[1:301])).sign(
                SIGNER))
        self.assertRefused(self.verify(SIGNER.vkey, [path]))


class GoTestCase(VerifierMixin, unittest.TestCase):
    "Test golang.org/x/mod/sumdb"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        folder = tempfile.TemporaryDirectory(prefix='foreign-')
        cls.addClassCleanup(folder.cleanup)
        cls.program = build_go(folder.name)

    def verify(self, vkey, olds=()):
        return run(self.program, 'tiles', self.log.folder, vkey, *olds)

    def test_proof(self):
        "A .tlog-proof is accepted, and not with another entry or hash"
        path = self.path / 'proof'
        for index in [0, 255, 256, 512, 599]:
            data = self.log.proof(index)
            for entry, content, accepted in [
                    (self.log.entries[index], data, True),
                    (self.log.entries[index - 1], data, False),
                    (self.log.entries[index], data.replace(
                            b'index ', b'index 1'), False),
                    (self.log.entries[index], flip(data, 60), False),
                    (self.log.entries[index], flip(data, -9), False),
                    ]:
                with self.subTest(index=index, content=content):
                    path.write_bytes(content)
                    answer, text = run(
                        self.program, 'proof', path, SIGNER.vkey,
                        base64.b64encode(entry).decode())
                    self.assertEqual(answer, accepted, text)


class PythonTestCase(VerifierMixin):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if not PythonTestCase.python:
            folder = tempfile.mkdtemp(prefix='foreign-')
            unittest.addModuleCleanup(
                shutil.rmtree, folder, ignore_errors=True)
            PythonTestCase.python = build_python(folder)

    python = None


class ScalesTestCase(PythonTestCase, unittest.TestCase):
    "Test tlog-scales"

    def verify(self, vkey, olds=()):
        return run(
            self.python, HERE / 'scales.py', self.log.folder, vkey, *olds)


class AicsTestCase(PythonTestCase, unittest.TestCase):
    "Test aics-tlog"

    def verify(self, vkey, olds=()):
        source = ['--tiles', self.log.folder, '--log-key', vkey]
        command = [self.python, '-m', 'aics_tlog']
        answers = [run(*command, 'verify-checkpoint', *source)]
        # The first, the last, and those that are tampered with
        for index in [0, 384, 556, 599]:
            answers.append(run(
                    *command, 'verify-inclusion', '--index', index, *source))
        for path in olds:
            answers.append(run(
                    *command, 'verify-consistency', '--old-checkpoint', path,
                    *source))
        return all(a for a, _ in answers), '\n'.join(t for _, t in answers)
