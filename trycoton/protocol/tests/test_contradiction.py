# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
import unittest
from dataclasses import replace

from trycoton.protocol import merkle, signature
from trycoton.protocol.checkpoint import Checkpoint
from trycoton.protocol.contradiction import Contradiction, compare, verify
from trycoton.protocol.errors import Malformed, ProtocolError, Rejected
from trycoton.protocol.evidence import REFUSED, UNESTABLISHED
from trycoton.protocol.note import NoteSigner
from trycoton.protocol.policy import Policy

SIGNER = NoteSigner('log.example', signature.SigningKey.generate())
SIZES = [1, 2, 3, 4, 7, 8, 255, 256, 257, 300, 512, 600]


class Log:
    "A log in memory, which other may turn into another one"

    def __init__(self, other=None):
        self.leaves = [
            merkle.leaf_hash(b'other' if i == other else str(i).encode())
            for i in range(max(SIZES))]
        self.asked = []

    def note(self, size, signer=SIGNER):
        return Checkpoint(
            signer.name, size, merkle.root(self.leaves[:size])).sign(signer)

    def fetch(self, wanted):
        self.asked.append(wanted)
        height = 8 * wanted.level
        return b''.join(
            merkle.root(self.leaves[i << height:i + 1 << height])
            for i in range(wanted.start, wanted.start + wanted.width))


class ContradictionTestCase(unittest.TestCase):
    "Test contradictions"

    def test_no_key(self):
        "Test what contradicts nothing is refused, whether a key is given"
        other = NoteSigner('other.example', signature.SigningKey.generate())
        note, fork = Log().note(3), Log(1).note(3)
        for second, status in [
                (note, REFUSED), (Log(1).note(3, other), REFUSED),
                (fork, UNESTABLISHED)]:
            data = Contradiction(note, second).to_bytes()
            for policy in [None, Policy.of([other.vkey])]:
                with self.subTest(second=second, policy=policy):
                    self.assertEqual(verify(data, policy).status, status)

    def test_growth(self):
        "Test the checkpoints of one log do not contradict each other"
        log = Log()
        notes = {size: log.note(size) for size in [0, *SIZES]}
        for old in notes:
            for new in notes:
                with self.subTest(old=old, new=new):
                    log.asked.clear()
                    self.assertIsNone(compare(
                            notes[old], notes[new], SIGNER, log.fetch))
                    self.assertLessEqual(len(log.asked), 4)
                    self.assertTrue(all(
                            t.exists(max(old, new)) for t in log.asked))

    def test_fork(self):
        "Test a different leaf is seen from both sides, and shown"
        for other in [0, 5, 255, 256, 299]:
            honest, fork = Log(), Log(other)
            for old in SIZES:
                for new in SIZES:
                    forked = min(old, new) > other
                    with self.subTest(other=other, old=old, new=new):
                        first, second = honest.note(old), fork.note(new)
                        larger = honest if old > new else fork
                        found = compare(
                            first, second, SIGNER, larger.fetch)
                        self.assertEqual(bool(found), forked)
                        if found:
                            found = Contradiction.parse(found.to_bytes())
                            self.assertEqual(
                                {found.old, found.new}, {first, second})
                            found.verify(SIGNER)

    def test_tiles_lie(self):
        "Test tiles of another tree accuse nobody"
        honest, fork = Log(), Log(5)
        for fetch in [
                fork.fetch, lambda tile: bytes(32 * tile.width),
                lambda tile: honest.fetch(tile)[:-1],
                lambda tile: honest.fetch(tile) + bytes(32),
                lambda tile: b'']:
            with self.assertRaises(ProtocolError):
                compare(honest.note(6), honest.note(300), SIGNER, fetch)

    def test_false(self):
        "Test nothing changed in a contradiction holds"
        honest, fork = Log(), Log(5)
        good = compare(
            honest.note(100), fork.note(300), SIGNER, fork.fetch)
        same = compare(honest.note(300), fork.note(300), SIGNER, None)
        good.verify(SIGNER)
        same.verify(SIGNER)
        stranger = NoteSigner('log.example', signature.SigningKey.generate())
        renamed = NoteSigner('other.example', stranger._signing_key)
        grown = b''.join(merkle.growth(
                lambda l, i: merkle.root(
                    honest.leaves[i << l:i + 1 << l]), 100, 300))
        for contradiction in [
                replace(good, old=good.new, new=good.old),
                replace(good, new=good.old),
                replace(good, hashes=good.hashes[:-32]),
                replace(good, hashes=good.hashes + bytes(32)),
                replace(good, hashes=b''),
                replace(good, hashes=bytes(len(good.hashes))),
                replace(good, old=honest.note(100, stranger)),
                replace(good, old=honest.note(0)),
                replace(good, old=fork.note(100)),
                replace(same, new=same.old),
                replace(same, hashes=bytes(32)),
                Contradiction(honest.note(100), honest.note(300), grown),
                replace(good, old=honest.note(100, renamed)),
                ]:
            with self.subTest(contradiction), self.assertRaises(Rejected):
                contradiction.verify(SIGNER)
        with self.assertRaises(Malformed):
            replace(good, hashes=good.hashes[:-1]).verify(SIGNER)
        for i in range(len(good.hashes)):
            changed = bytearray(good.hashes)
            changed[i] ^= 1
            with self.assertRaises(Rejected):
                replace(good, hashes=bytes(changed)).verify(SIGNER)

    def test_notes(self):
        "Test notes that the log did not sign, or not in one way"
        log = Log()
        stranger = NoteSigner('log.example', signature.SigningKey.generate())
        note = log.note(3)
        text, line = note.split(b'\n\n')
        for other in [
                b'', note[:-1], note.replace(b'\n3\n', b'\n03\n'),
                note + line, text + b'\nextension\n\n' + line,
                note.replace(b'\n', b'\r\n'), log.note(3, stranger),
                note.replace(b'\n3\n', b'\n4\n')]:
            with self.subTest(other), self.assertRaises(ProtocolError):
                compare(log.note(7), other, SIGNER, log.fetch)
