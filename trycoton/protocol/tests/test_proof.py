# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
import unittest

from trycoton.protocol import merkle
from trycoton.protocol.checkpoint import Checkpoint
from trycoton.protocol.errors import Malformed, ProtocolError, Rejected
from trycoton.protocol.note import NoteSigner, Verifier
from trycoton.protocol.proof import Proof
from trycoton.protocol.signature import SigningKey

ENTRIES = [b'entry %d' % i for i in range(11)]


class ProofTestCase(unittest.TestCase):
    "Test proofs in files"

    def setUp(self):
        self.signer = NoteSigner(
            'log.example/tevere', SigningKey.from_bytes(bytes(32)))
        self.verifiers = [Verifier.from_vkey(self.signer.vkey)]

    def proof(self, index, extra=None):
        frontier, nodes = merkle.Frontier(), {}
        for entry in ENTRIES:
            for level, n, hash_ in frontier.append(merkle.leaf_hash(entry)):
                nodes[level, n] = hash_
        checkpoint = Checkpoint(
            'log.example/tevere', frontier.size, frontier.root)
        return Proof(
            index,
            tuple(merkle.inclusion_proof(
                    lambda *n: nodes[n], index, frontier.size)),
            checkpoint.sign(self.signer), extra)

    def test_round_trip(self):
        "Test each entry is proved, and its file keeps its bytes"
        for index, entry in enumerate(ENTRIES):
            for extra in [None, b'\x00extra']:
                data = self.proof(index, extra).to_bytes()
                proof = Proof.parse(data)
                self.assertEqual(proof, self.proof(index, extra))
                self.assertEqual(proof.to_bytes(), data)
                checkpoint = proof.verify(entry, self.verifiers)
                self.assertEqual(checkpoint.size, len(ENTRIES))
                with self.assertRaises(Rejected):
                    proof.verify(entry + b'!', self.verifiers)
                with self.assertRaises(Rejected):
                    proof.verify(entry, [])

    def test_single(self):
        "Test the tree of one entry has no hash in its proof"
        root = merkle.leaf_hash(b'alone')
        note = Checkpoint('log.example/tevere', 1, root).sign(self.signer)
        proof = Proof.parse(Proof(0, (), note).to_bytes())
        proof.verify(b'alone', self.verifiers)

    def test_flips(self):
        "Test every byte changed, removed or doubled is refused"
        data = self.proof(6).to_bytes()
        for i in range(len(data)):
            for middle in [
                    b'', data[i:i + 1] * 2,
                    *(bytes([data[i] ^ 1 << b]) for b in range(8))]:
                changed = data[:i] + middle + data[i + 1:]
                if changed == data:
                    continue
                with self.assertRaises(ProtocolError):
                    Proof.parse(changed).verify(ENTRIES[6], self.verifiers)

    def test_malformed(self):
        "Test what the writer would not write"
        data = self.proof(6).to_bytes()
        for old, new in [
                (b'index 6', b'index 06'), (b'index 6', b'index +6'),
                (b'index 6', b'index  6'), (b'index 6', b'Index 6'),
                (b'index 6', b'extra \nindex 6'),
                (b'index 6', b'extra AA\nindex 6'),
                (b'index 6', b'extra AB==\nindex 6'),
                (b'index 6', b'index 6\nextra AA=='),
                (b'index 6', b'index 6\nAAAA'),
                (b'index 6', b'index 6\n'),
                (b'proof@v1', b'proof@v2'),
                (b'\n', b'\r\n'), (b'\n\n', b'\n')]:
            with self.subTest(new=new), self.assertRaises(Malformed):
                Proof.parse(data.replace(old, new))
        for wrong in [b'', b'\xff\n\n', data + b'\n', data[:40]]:
            with self.subTest(data=wrong), self.assertRaises(Malformed):
                Proof.parse(wrong)
