# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
import unittest
from dataclasses import replace
from datetime import datetime, timezone

from trycoton.protocol import entry, merkle
from trycoton.protocol.checkpoint import Checkpoint
from trycoton.protocol.errors import Malformed, ProtocolError, Rejected
from trycoton.protocol.note import NoteSigner, Verifier
from trycoton.protocol.proof import Proof
from trycoton.protocol.signature import SigningKey

EVIDENCE = entry.Evidence(
    event='submission', message='00000000-0000-4000-8000-000000000001',
    sender='0225:542065479', recipient='0225:552100554', digest='0' * 64,
    time=datetime(2026, 9, 1, tzinfo=timezone.utc), sequence=1, previous=None,
    signature='AA..' + 'A' * 86)
NONCE = bytes(range(32))


class EntryTestCase(unittest.TestCase):
    "Test entries of the log"

    def setUp(self):
        signer = NoteSigner('log.example', SigningKey.from_bytes(bytes(32)))
        self.verifiers = [Verifier.from_vkey(signer.vkey)]
        data = EVIDENCE.to_bytes()
        root = merkle.leaf_hash(entry.commitment(NONCE, data))
        note = Checkpoint('log.example', 1, root).sign(signer)
        self.record = entry.Record(
            data, NONCE, Proof(0, (), note).to_bytes().decode())

    def test_commitment(self):
        "Test a commitment is 33 bytes that depend on all"
        data = EVIDENCE.to_bytes()
        commitment = entry.commitment(NONCE, data)
        self.assertEqual(
            entry.parse(commitment), (entry.COMMITMENT, commitment[1:]))
        self.assertNotEqual(commitment, entry.commitment(bytes(32), data))
        self.assertNotEqual(commitment, entry.commitment(NONCE, data + b'.'))
        with self.assertRaises(Malformed):
            entry.commitment(NONCE[:-1], data)

    def test_directory(self):
        "Test the entry of a directory"
        data = entry.directory_entry('ab' * 32)
        self.assertEqual(
            entry.parse(data), (entry.DIRECTORY, b'\xab' * 32))
        for digest in ['', 'AB' * 32, 'ab' * 31, None, b'ab' * 32]:
            with self.assertRaises(Malformed):
                entry.directory_entry(digest)

    def test_parse(self):
        "Test what is not an entry"
        for data in [b'', b'\x01', bytes(33), b'\x04' + bytes(32),
                b'\x01' + bytes(31), b'\x01' + bytes(33)]:
            with self.assertRaises(Malformed):
                entry.parse(data)

    def test_evidence(self):
        "Test an evidence keeps its bytes"
        self.assertEqual(
            entry.Evidence.parse(EVIDENCE.to_bytes()), EVIDENCE)
        for values in [
                {'event': 'other'}, {'event': 'delivery'}, {'receipt': '{}'},
                {'sequence': 0}, {'digest': 'A'}, {'signature': 'A'},
                {'message': '1'}, {'sender': 'x'}, {'previous': ''}]:
            with self.subTest(values=values), self.assertRaises(Malformed):
                replace(EVIDENCE, **values)
        delivery = replace(EVIDENCE, event='delivery', receipt='{}')
        self.assertEqual(
            entry.Evidence.parse(delivery.to_bytes()), delivery)

    def test_record(self):
        "Test a record proves its evidence"
        record = entry.Record.parse(self.record.to_bytes())
        evidence, checkpoint = record.verify(self.verifiers)
        self.assertEqual(evidence, EVIDENCE)
        self.assertEqual(checkpoint.size, 1)
        for values in [
                {'nonce': bytes(32)},
                {'evidence': replace(EVIDENCE, sequence=2).to_bytes()}]:
            with self.assertRaises(Rejected):
                replace(record, **values).verify(self.verifiers)
        with self.assertRaises(Rejected):
            record.verify([])

    def test_record_malformed(self):
        "Test a record in another form"
        for values in [
                {'nonce': b''}, {'evidence': b'{}'}, {'proof': 'x'},
                {'proof': self.record.proof.replace(
                        'index', 'extra AAAA\nindex')}]:
            with self.subTest(values=values), self.assertRaises(Malformed):
                entry.Record.parse(
                    replace(self.record, **values).to_bytes())

    def test_flips(self):
        "Test every byte of a record counts"
        data = self.record.to_bytes()
        for i in range(len(data)):
            for changed in [
                    data[:i] + bytes([data[i] ^ 1]) + data[i + 1:],
                    data[:i] + data[i + 1:]]:
                with self.assertRaises(ProtocolError):
                    entry.Record.parse(changed).verify(self.verifiers)
