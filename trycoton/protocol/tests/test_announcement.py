# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
import datetime as dt
import unittest
from dataclasses import replace

from trycoton.protocol.announcement import KeyAnnouncement, WitnessAnnouncement
from trycoton.protocol.directory import PublishedKey
from trycoton.protocol.errors import Malformed, Rejected
from trycoton.protocol.note import Cosigner
from trycoton.protocol.signature import EncryptionKey, SigningKey

NOW = dt.datetime(2026, 11, 22, 10, tzinfo=dt.timezone.utc)
LATER = NOW + dt.timedelta(days=1)


def published(key, **values):
    return PublishedKey(key=key.public, valid_from=NOW, **values)


class AnnouncementTestCase(unittest.TestCase):
    "Test the announcement of keys"

    def setUp(self):
        self.old, self.new, self.recovery = (
            SigningKey.generate() for _ in range(3))
        self.announcement = KeyAnnouncement(
            identifier='0225:732829320', created=LATER,
            keys=(
                published(self.new), published(self.old, valid_to=LATER)),
            recovery=self.recovery.public)

    def check(self, announcement, kid, known=NOW):
        announcement.check_after(known, kid, self.recovery.public)

    def test_round_trip(self):
        "What is written is read"
        data = self.announcement.to_json()
        self.assertEqual(KeyAnnouncement.from_json(data), self.announcement)

    def test_signed(self):
        "The old key and the recovery key may announce the new one"
        self.check(self.announcement, self.old.kid)
        self.check(self.announcement, self.recovery.kid)
        self.check(self.announcement, self.old.kid, known=None)

    def test_replayed(self):
        "An earlier announcement does not come back"
        for known in [LATER, LATER + dt.timedelta(1)]:
            with self.assertRaises(Rejected):
                self.check(self.announcement, self.recovery.kid, known)

    def test_recovery(self):
        "A signing key cannot replace the recovery key"
        other = replace(
            self.announcement, recovery=SigningKey.generate().public)
        with self.assertRaises(Rejected):
            self.check(other, self.old.kid)
        self.check(other, self.recovery.kid)

    def test_left_out(self):
        "Only the recovery key leaves out the keys before"
        alone = replace(self.announcement, keys=(published(self.new),))
        with self.assertRaises(Rejected):
            self.check(alone, self.old.kid)
        self.check(alone, self.recovery.kid)

    def test_no_key(self):
        "Somebody without a signing key could say nothing any more"
        for keys in [(), (published(EncryptionKey.generate()),),
                (published(self.new, revoked=NOW),)]:
            with self.assertRaises(Malformed):
                replace(self.announcement, keys=keys)

    def test_witness(self):
        "Test what a member announces of its witness keeps its bytes"
        key = Cosigner('witness.example/w', self.new).vkey
        for witness in [key, None]:
            said = WitnessAnnouncement('0225:732829320', witness, NOW)
            self.assertEqual(
                WitnessAnnouncement.parse(said.to_bytes()), said)
        for values in [
                {'identifier': 'x'}, {'witness': 'x'}, {'witness': 1},
                {'created': None}]:
            with self.subTest(values=values), self.assertRaises(Malformed):
                replace(said, **values)
