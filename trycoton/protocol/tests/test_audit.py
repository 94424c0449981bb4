# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
import unittest

from trycoton.protocol import merkle, tile
from trycoton.protocol.audit import audit
from trycoton.protocol.checkpoint import Checkpoint
from trycoton.protocol.note import NoteSigner
from trycoton.protocol.signature import SigningKey

ORIGIN = 'example.org/trust'
SIGNER = NoteSigner(ORIGIN, SigningKey.generate())


def published(size, origin=ORIGIN, signer=SIGNER):
    "Return the files of a log of that size, by their path"
    entries = [b'\1' + i.to_bytes(32, 'big') for i in range(size)]
    frontier = merkle.Frontier()
    levels = {}
    for entry in entries:
        for level, number, hash_ in frontier.append(merkle.leaf_hash(entry)):
            if not level % tile.HEIGHT:
                levels.setdefault(level // tile.HEIGHT, []).append(hash_)
    files = {'checkpoint': Checkpoint(
            origin, size, frontier.root).sign(signer)}
    for one in tile.tiles(size):
        items = entries if one.level is None else levels[one.level]
        part = items[one.start:one.start + one.width]
        files[one.path] = (
            tile.pack_entries(part) if one.level is None else b''.join(part))
    return files


class AuditTestCase(unittest.TestCase):
    "Test the published files are recomputed"

    def test_right(self):
        "Test the files of logs of all kinds of sizes"
        for size in [0, 1, 2, 255, 256, 257, 600, 65537]:
            with self.subTest(size=size):
                found = audit(published(size).get, [SIGNER])
                self.assertEqual(found.faults, ())
                self.assertTrue(found.signed)
                self.assertEqual(found.checkpoint.size, size)

    def test_not_signed(self):
        "Test without a key to trust nothing is said to be signed"
        found = audit(published(3).get)
        self.assertEqual((found.faults, found.signed), ((), False))

    def test_other_key(self):
        "Test the key of another log"
        other = NoteSigner(ORIGIN, SigningKey.generate())
        found = audit(published(3, signer=other).get, [SIGNER])
        self.assertEqual([f.path for f in found.faults], ['checkpoint'])
        self.assertFalse(found.signed)

    def test_full_for_partial(self):
        "Test a full tile takes the place of the partial one"
        files = published(257)
        more = published(512)
        for path in list(files):
            if '/001.p/' in path:
                files[path.partition('.')[0]] = more[path.partition('.')[0]]
                del files[path]
        self.assertEqual(audit(files.get, [SIGNER]).faults, ())

    def test_flipped(self):
        "Test a flipped bit is named by the file that has it"
        files = published(600)
        self.assertGreater(len(files), 7)
        for path, data in files.items():
            for position in [0, len(data) // 2, len(data) - 1]:
                changed = bytearray(data)
                changed[position] ^= 1
                with self.subTest(path=path, position=position):
                    found = audit(
                        {**files, path: bytes(changed)}.get, [SIGNER])
                    self.assertEqual(
                        {f.path for f in found.faults}, {path})

    def test_missing(self):
        "Test a missing, cut or longer file is named"
        files = published(600)
        for path, data in files.items():
            for changed in [None, b'', data[:-1], data + b'\0', data * 2]:
                with self.subTest(path=path, changed=changed):
                    found = audit({**files, path: changed}.get, [SIGNER])
                    self.assertEqual(
                        {f.path for f in found.faults}, {path})
