# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"What a member, an exporter or a trust party might make of an evidence file"
import unittest
from dataclasses import replace
from datetime import timedelta
from unittest.mock import patch

from trycoton.protocol import certificate, evidence, signature
from trycoton.protocol.checkpoint import Checkpoint
from trycoton.protocol.commission import Total
from trycoton.protocol.descriptor import Descriptor, TrustParty
from trycoton.protocol.directory import Participant, PublishedKey
from trycoton.protocol.entry import DELIVERY, EXPIRED, FAILURE, SUBMISSION
from trycoton.protocol.errors import Malformed, Rejected
from trycoton.protocol.evidence import (
    UNESTABLISHED, VERIFIED, SignedDescriptor, SignedMessage, policies, verify)
from trycoton.protocol.note import Cosigner, Note, NoteSigner
from trycoton.protocol.policy import Policy

from . import sample
from .test_events import tell
from .test_evidence import (
    BUYER, COMMUNITY, NOW, OTHER, SELLER, TRUST, Log, World, key, minutes)


def days(number):
    return NOW + timedelta(days=number)


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
        true, = signed.signatures
        false = replace(true, data=bytes(64))
        for checkpoint in [
                b'garbage',
                Note('text\n', (true,)).to_bytes(),
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

    def test_number(self):
        "Test the number of a sealed document makes no line of its own"
        number = "1\nok      Signer\u2028Signer\x9b8m"
        payload = sample.ORDER.replace(
            b'<cbc:Note>', f'<cbc:ID>{number}</cbc:ID><cbc:Note>'.encode())
        self.world.direct(NOW)
        self.world.seal(BUYER, SELLER, minutes(1), payload=payload)
        checks = verify(self.build()).checks
        text, = [c.text for c in checks if c.name == 'content']
        self.assertIn("Order 1 ok      Signer Signer 8m", text)
        for check in checks:
            self.assertTrue(check.text.isprintable())

    def test_total(self):
        "Test a total that is not the one of the sealed document is told"
        world = self.world
        total = Total('invoice', NOW.date(), 'EUR', '1.00', '1.20')
        world.direct(NOW)
        for number, values in enumerate([
                    {'total': total}, {},
                    {'total': total, 'correlation': sample.ID}]):
            world.seal(BUYER, SELLER, minutes(number), **values)
        data = self.build()
        self.assertStatus(data, VERIFIED)
        self.assertEqual(
            ["the total of another document" in c.text
                for c in verify(data).checks if c.name == 'content'],
            [True, False, False])

    # Times

    def publish(self, identifier, **values):
        "Publish a key that was valid long before"
        return [PublishedKey(
                key=self.world.keys[identifier].public,
                valid_from=days(-800), **values)]

    def assertNotBuilt(self, text, exporter=SELLER):
        with self.assertRaisesRegex(Rejected, text):
            self.build(exporter)

    def test_dated_before_submission(self):
        "Test no event of a message is dated long before its submission"
        for event, time, text in [
                (FAILURE, days(-3000), "dated before the submission"),
                (DELIVERY, days(-400), "dated before the submission"),
                (DELIVERY, minutes(-58), None)]:
            with self.subTest(event=event, time=time):
                self.setUp()
                world = self.world
                world.publish = self.publish
                world.direct(NOW)
                said, jws = world.say(BUYER, SELLER, minutes(1), via=TRUST)
                receipt = world.receive(said, minutes(2))
                values = (
                    [receipt.signature, receipt.data.decode()]
                    if event == DELIVERY else [None, None, EXPIRED])
                world.messages.append(SignedMessage(
                        data=said.to_bytes(), signature=jws, records=[
                            world.log.record(
                                said, SUBMISSION, minutes(1), jws),
                            world.log.record(said, event, time, **dict(zip(
                                        ['signature', 'receipt', 'reason'],
                                        values)))]))
                if text:
                    self.assertNotBuilt(text)
                else:
                    self.assertStatus(self.build(), VERIFIED)

    def test_dated_before_log(self):
        "Test nothing is recorded long before what the log held already"
        for between in [
                lambda: tell(
                    self.world, [SUBMISSION], created=days(20)),
                lambda: self.world.direct(days(20))]:
            self.setUp()
            self.world.publish = self.publish
            self.world.direct(NOW)
            between()
            tell(self.world, [SUBMISSION], sender=SELLER, receiver=BUYER,
                created=days(1))
            self.assertNotBuilt("which had come to 2026-09-21T12:00:00Z")

    def test_directory_logged_late(self):
        "Test a directory may have waited for its place in the log"
        world = self.world
        tell(world, [SUBMISSION], created=days(1))
        world.direct(NOW)
        self.assertStatus(self.build(), VERIFIED)

    def test_receipt_before_message(self):
        "Test a receipt alone is not dated long before its message"
        world = self.world
        world.publish = self.publish
        world.direct(NOW)
        world.direct(days(5), revoked=[BUYER])
        said, jws = world.say(BUYER, SELLER, days(10))
        world.messages.append(SignedMessage(
                data=said.to_bytes(), signature=jws,
                receipt=world.receive(said, days(1))))
        self.assertNotBuilt("It is dated before the message")

    def test_recorded_receipt_before_message(self):
        "Test a recipient does not spoil a delivery by the date it tells"
        world = self.world
        world.direct(NOW)
        said, jws = world.say(BUYER, SELLER, minutes(1), via=TRUST)
        receipt = world.receive(said, days(-400))
        world.messages.append(SignedMessage(
                data=said.to_bytes(), signature=jws, records=[
                    world.log.record(said, SUBMISSION, minutes(1), jws),
                    world.log.record(
                        said, DELIVERY, minutes(2), receipt.signature,
                        receipt.data.decode())]))
        self.assertStatus(self.build(), VERIFIED)

    # Communities

    def describe(self, *keys):
        "Have the first of the keys sign the descriptor of the community"
        data = Descriptor(
            identifier=COMMUNITY, name="Community", kind='community',
            endpoint=None, created=NOW,
            keys=[PublishedKey(k.public, NOW) for k in keys]).to_bytes()
        self.world.descriptor = SignedDescriptor(
            data=data, signature=signature.sign(
                data, signature.DESCRIPTOR, keys[0]))

    def test_forged_descriptor(self):
        "Test nobody tells the policy of a community by its own key"
        world = self.world
        world.direct(NOW)
        tell(world, [SUBMISSION])
        policy = Policy.of([world.vkey(COMMUNITY), world.log.signer.vkey])
        self.assertIn(COMMUNITY, policies(self.build(), policy))
        self.describe(key(99), world.keys[COMMUNITY])
        data = self.build()
        for trusted in [policy.communities, policy.logs]:
            self.assertStatus(
                data, UNESTABLISHED, *(v.vkey for v in trusted),
                text="^Descriptor of .* nobody that you trust")
        self.assertEqual(policies(data, policy), {})
        self.assertEqual(certificate.read(data, policy).policies, ())

    def test_changed_key(self):
        "Test a community that changed its key"
        world = self.world
        old, new = world.keys[COMMUNITY], key(99)
        parts = [Participant(
                identifier=i, name=i, **world.keep(i), keys=(
                    [PublishedKey(k.public, NOW) for k in [old, new]]
                    if i == COMMUNITY else world.publish(i)))
            for i in world.keys]
        world.direct(NOW, participants=parts)
        self.describe(new, old)
        tell(world, [SUBMISSION])
        data = self.build()
        for trusted in [old, new]:
            world.keys[COMMUNITY] = trusted
            self.assertStatus(data, VERIFIED)

    # The exporter

    def test_seal_revoked(self):
        "Test a key that the file tells to be revoked does not seal it"
        world = self.world
        world.direct(NOW)
        tell(world, [SUBMISSION])
        world.direct(minutes(5), revoked=[SELLER])
        self.assertStatus(self.build(SELLER), VERIFIED)
        tell(world, [SUBMISSION], receiver=TRUST, created=minutes(7))
        self.assertNotBuilt("^Seal of .* was revoked", SELLER)
        self.assertStatus(self.build(), VERIFIED)

    def test_many(self):
        "Test each message looks once or twice at each directory"
        world, count = self.world, 20
        for i in range(count):
            world.direct(NOW + timedelta(seconds=i), logged=False)
            world.send(BUYER, SELLER, days(-9), received=False)
        file = evidence.Contents(
            exporter=BUYER, messages=world.messages, keys=[],
            descriptors=[world.descriptor],
            directories=world.directories).seal(world.sign)
        with patch.object(
                evidence._Verification, '_is_before', autospec=True,
                side_effect=evidence._Verification._is_before) as before:
            evidence._Verification(file)
        self.assertLess(before.call_count, 4 * count ** 2)

    def test_too_many(self):
        "Test the parts of a file are not without number"
        world = self.world
        world.direct(NOW)
        world.send(BUYER, SELLER, minutes(1))
        world.send(BUYER, SELLER, minutes(2))
        with patch.object(evidence, 'MAX_PARTS', 1), \
                self.assertRaisesRegex(Malformed, "too many messages"):
            self.build()

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
