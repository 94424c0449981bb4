# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"What a member, an exporter or a trust party might make of an evidence file"
import unittest
from dataclasses import replace

from trycoton.protocol.checkpoint import Checkpoint
from trycoton.protocol.descriptor import Descriptor, TrustParty
from trycoton.protocol.directory import Participant
from trycoton.protocol.entry import FAILURE, SUBMISSION
from trycoton.protocol.errors import Malformed
from trycoton.protocol.evidence import UNESTABLISHED, VERIFIED, verify
from trycoton.protocol.note import Cosigner, Note, NoteSigner
from trycoton.protocol.policy import Policy

from .test_events import tell
from .test_evidence import (
    BUYER, COMMUNITY, NOW, OTHER, SELLER, TRUST, Log, World, key, minutes)


class EvidenceAttackTestCase(unittest.TestCase):
    "Test attacks on evidence files"

    def setUp(self):
        self.world = World()

    def build(self, exporter=BUYER, **values):
        return self.world.build(
            exporter=exporter,
            sign=lambda d: self.world.sign(d, exporter), **values)

    def assertStatus(self, data, status, *keys, text='^'):
        "Test the status for who trusts the community, and the keys"
        report = verify(
            data, Policy.of([self.world.vkey(COMMUNITY), *keys]))
        wrong = [c.text for c in report.checks if not c.ok]
        self.assertEqual(report.status, status, wrong)
        self.assertRegex('\n'.join(wrong), text)

    def direct(self, time, **changed):
        """Publish a version of the directory in which what it says of some
        identifiers is changed"""
        world = self.world
        world.direct(time, participants=[
                Participant(**{
                        'identifier': i, 'name': i, 'keys': world.publish(i),
                        **world.keep(i), **changed.get(i, {})})
                for i in world.keys])

    def tell(self, data):
        "Return all that is checked, in words"
        return '\n'.join(c.text for c in verify(data).checks)

    # Messages

    def test_checkpoint_in_message(self):
        "Test a sender does not spoil its message by its checkpoint"
        signer = self.world.log.signer
        signed = Note.parse(Checkpoint('log.example', 3, bytes(32)).sign(
                signer))
        signature, = signed.signatures
        false = replace(signature, data=bytes(64))
        for checkpoint in [
                b'garbage',
                Note('text\n', (signature,)).to_bytes(),
                Note(signed.text, (false,)).to_bytes()]:
            with self.subTest(checkpoint=checkpoint):
                self.setUp()
                self.world.direct(NOW)
                tell(self.world, [SUBMISSION], checkpoint=checkpoint)
                data = self.build(SELLER)
                self.assertStatus(data, VERIFIED)
                self.assertIn(
                    "checkpoint in it, which establishes nothing",
                    self.tell(data))

    # Logs

    def test_log_of_participant(self):
        "Test the log that a mere participant keeps records nothing"
        world = self.world
        world.keys[OTHER] = key(60)
        own = Log(NoteSigner('member.example', key(77)))
        self.direct(NOW, **{OTHER: {'log': own.signer.vkey}})
        world.log = own
        tell(world, [SUBMISSION, FAILURE])
        data = self.build(keys=[own.signer.vkey])
        self.assertStatus(
            data, UNESTABLISHED, text="member.example is not one that you")

    def test_log_of_other(self):
        "Test the log of another trust party records nothing for this one"
        world = self.world
        world.keys[OTHER] = key(60)
        other = Log(NoteSigner('other.example', key(77)))
        self.direct(NOW, **{OTHER: world.keep(TRUST, other)})
        world.log = other
        tell(world, [SUBMISSION, FAILURE])
        self.assertStatus(
            self.build(), UNESTABLISHED, other.signer.vkey,
            text=f"other.example is not one of {TRUST}, through which")

    def test_no_log(self):
        "Test what is not the key of a log is not published as such"
        witness = Cosigner('witness.example', key(7))
        named = {'identifier': OTHER, 'name': OTHER}
        described = {
            **named, 'kind': 'trust-party', 'endpoint': None,
            'keys': self.world.publish(TRUST), 'created': NOW}
        for log in ['x+00000000+AAAA', witness.vkey]:
            for Holder, values in [
                    (Participant, named), (TrustParty, named),
                    (Descriptor, described)]:
                with self.subTest(log=log, holder=Holder), \
                        self.assertRaises(Malformed):
                    Holder(log=log, **values)

    def test_log_of_successor(self):
        "Test a trust party may have had several logs"
        world = self.world
        world.direct(NOW)
        tell(world, [SUBMISSION, FAILURE])
        successor = Log(NoteSigner('next.example', key(77)))
        successor.previous = world.log.previous
        world.log = successor
        world.direct(minutes(5))
        tell(world, [SUBMISSION, FAILURE], created=minutes(9))
        self.assertStatus(self.build(), VERIFIED)
