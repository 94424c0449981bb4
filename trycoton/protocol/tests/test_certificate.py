# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
import unittest

from trycoton.protocol import canonical, certificate
from trycoton.protocol.errors import ProtocolError
from trycoton.protocol.note import Cosigner

from .test_events import CONSIGNMENT, DELIVERY, FAILURE, SUBMISSION, tell
from .test_events import world as new_world
from .test_evidence import BUYER, COMMUNITY, SELLER, key, minutes


class CertificateTestCase(unittest.TestCase):
    "Test what an evidence file says to a person"

    def test_read(self):
        "Test all that a certificate tells"
        world = new_world()
        witness = Cosigner('witness.example', key(7))
        tell(world, [SUBMISSION, CONSIGNMENT, DELIVERY])
        world.log.witnesses.append(witness)
        tell(world, [SUBMISSION, FAILURE], created=minutes(2))
        data = world.build(keys=[witness.vkey])
        told = certificate.read(data)
        self.assertEqual(told.digest, canonical.digest(data))
        self.assertEqual((told.size, told.exporter), (len(data), BUYER))
        self.assertEqual(told.names[SELLER], SELLER)
        one, two = told.messages
        self.assertEqual(
            (one.kind, one.sender, one.recipient),
            ('relation-proposal', BUYER, SELLER))
        self.assertEqual(one.digest, world.messages[0].value.digest)
        self.assertEqual(one.receipt, minutes(1))
        self.assertIsNone(two.receipt)
        self.assertEqual(
            [(e.event, e.index, e.size) for e in one.events],
            [(SUBMISSION, 1, 2), (CONSIGNMENT, 2, 3), (DELIVERY, 3, 4)])
        self.assertEqual(two.events[1].reason, 'expired')
        # Nobody elected the one that cosigned
        self.assertFalse(any(
                e.witnesses for m in told.messages for e in m.events))
        keys = {k.identifier: k for k in told.keys}
        self.assertEqual(keys.keys(), {BUYER, SELLER})
        self.assertEqual(keys[BUYER].kid, one.kid)
        self.assertEqual(
            (keys[BUYER].community, keys[BUYER].version, keys[BUYER].index),
            (COMMUNITY, 1, 0))
        self.assertEqual(
            keys[BUYER].fingerprint, world.descriptor.value.fingerprint)

    def test_refused(self):
        "Test nothing is certified of a file that does not hold"
        data = tell(new_world(), [SUBMISSION]).build()
        for place in range(0, len(data), len(data) // 20):
            flipped = bytearray(data)
            flipped[place] ^= 1
            with self.assertRaises(ProtocolError):
                certificate.read(bytes(flipped))
