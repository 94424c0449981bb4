# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
import unittest

from trycoton.protocol import signature
from trycoton.protocol.errors import Malformed, ProtocolError, Rejected
from trycoton.protocol.note import Cosigner, NoteSigner
from trycoton.protocol.promise import Promise

from .sample import DIGEST, ID, TIME


class PromiseTestCase(unittest.TestCase):
    "Test promises"

    def setUp(self):
        self.signer = NoteSigner(
            'log.example', signature.SigningKey.generate())
        self.promise = Promise('log.example', ID, DIGEST, TIME)

    def test_round_trip(self):
        "Test a promise signed is a promise opened"
        data = self.promise.sign(self.signer)
        self.assertEqual(Promise.open(data, [self.signer]), self.promise)

    def test_refused(self):
        "Test what is no promise of the log"
        data = self.promise.sign(self.signer)
        stranger = NoteSigner('log.example', signature.SigningKey.generate())
        other = NoteSigner('other.example', self.signer._signing_key)
        witness = Cosigner('log.example', self.signer._signing_key)
        for verifiers in [[], [stranger], [other], [witness]]:
            with self.assertRaises(Rejected):
                Promise.open(data, verifiers)
        for i in range(len(data)):
            changed = bytearray(data)
            changed[i] ^= 1
            with self.assertRaises(ProtocolError):
                Promise.open(bytes(changed), [self.signer])
        for text in [
                '', 'trycoton-promise\n', self.promise.text() + '\n',
                self.promise.text().replace('promise', 'other'),
                self.promise.text().replace(ID, ID.upper()),
                self.promise.text().replace('Z', '+00:00')]:
            with self.subTest(text), self.assertRaises(Malformed):
                Promise.parse(text)
        for origin in ['', 'a\nb']:
            with self.assertRaises(Malformed):
                Promise(origin, ID, DIGEST, TIME)
