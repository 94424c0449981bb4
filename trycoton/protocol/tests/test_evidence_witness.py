# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"Evidence under the witnesses that a community elected"
import unittest
from dataclasses import replace

from trycoton.protocol import certificate
from trycoton.protocol.directory import Participant
from trycoton.protocol.evidence import (
    REFUSED, UNESTABLISHED, VERIFIED, File, ToldPolicy, policies, verify)
from trycoton.protocol.note import Cosigner
from trycoton.protocol.policy import Policy

from .test_evidence import BUYER, COMMUNITY, NOW, SELLER, World, key, minutes


class EvidenceWitnessTestCase(unittest.TestCase):
    "Test evidence files and the witnesses of a directory"

    def setUp(self):
        self.world = World()
        self.witnesses = [
            Cosigner(f'w{i}.example/witness', key(20 + i)) for i in range(3)]

    def direct(self, time):
        self.world.direct(time, quorum=2, participants=[
                Participant(
                    identifier=i, name=i, keys=self.world.publish(i),
                    **self.world.keep(i))
                for i in self.world.keys] + [
                Participant(
                    identifier=f'{COMMUNITY}_{i}', name=f'W{i}',
                    witness=w.vkey)
                for i, w in enumerate(self.witnesses)])

    def policy(self):
        "Return the policy that a member exports"
        policy = Policy.of_directory(
            self.world.directories[-1].value, [self.world.vkey(COMMUNITY)])
        return Policy.parse(policy.to_bytes())

    def build(self, witnesses):
        self.world.log.witnesses = witnesses
        self.direct(NOW)
        self.world.relay(BUYER, SELLER, minutes(1))
        return self.world.build()

    def test_quorum(self):
        "Test a deal is verified under the quorum of its community"
        for count, status in [
                (3, VERIFIED), (2, VERIFIED), (1, UNESTABLISHED),
                (0, UNESTABLISHED)]:
            with self.subTest(count=count):
                self.setUp()
                data = self.build(self.witnesses[:count])
                self.assertEqual(
                    verify(data, self.policy()).status, status)
                self.assertEqual(
                    len(File.parse(data).keys), 1 + count)

    def test_other(self):
        "Test others than the elected do not count, nor one for two"
        other = Cosigner('w9.example/witness', key(29))
        again = Cosigner('w8.example/witness', key(20))
        self.world.log.witnesses = [self.witnesses[0], other, again]
        self.direct(NOW)
        self.world.relay(BUYER, SELLER, minutes(1))
        data = self.world.build(keys=[other.vkey, again.vkey])
        self.assertEqual(verify(data, self.policy()).status, UNESTABLISHED)

    def test_false(self):
        "Test a line that is not by the witness it names"
        data = self.build(self.witnesses)
        file = File.parse(data)
        thief = Cosigner(self.witnesses[0].name, key(30))
        false = thief.sign('x', 1790000000)
        false = replace(false, id=self.witnesses[0].id)
        message = file.messages[0]
        record = message.records[0]
        lines = record.proof.split('\n')
        at, = [
            i for i, line in enumerate(lines)
            if line.startswith(f'— {self.witnesses[0].name} ')]
        lines[at] = str(false).rstrip('\n')
        records = [
            replace(record, proof='\n'.join(lines)), *message.records[1:]]
        changed = self.world.reseal(
            data, messages=[replace(message, records=records)])
        self.assertEqual(verify(changed, self.policy()).status, REFUSED)

    def told(self, data, policy=None):
        "Return what the file informs of, without what is trusted"
        return [c.text for c in verify(data, policy).checks
            if c.name in {'policy', 'witnessed'}]

    def test_policy(self):
        "Test the file tells the policy of the community, and trusts it not"
        data = self.build(self.witnesses[:2])
        told, = File.parse(data).policies
        self.assertEqual((told.community, told.version), (COMMUNITY, 1))
        self.assertEqual(
            told.text.encode(), self.policy().to_bytes())
        self.assertEqual(
            policies(data), {COMMUNITY: self.policy().to_bytes()})
        self.assertEqual(verify(data).status, UNESTABLISHED)
        other = Policy.of([self.world.vkey(SELLER)])
        self.assertEqual(verify(data, other).status, UNESTABLISHED)
        # The one that is given counts, not the one inside
        alone = Policy.of([self.world.vkey(COMMUNITY)])
        unwitnessed = self.build([])
        self.assertEqual(verify(unwitnessed, alone).status, VERIFIED)
        self.assertEqual(
            verify(unwitnessed, self.policy()).status, UNESTABLISHED)
        read = certificate.read(data).policies
        self.assertEqual(
            [(p.community, p.version, p.quorum, p.witnesses) for p in read],
            [(COMMUNITY, 1, 2, tuple(w.name for w in self.witnesses))])

    def test_policy_changed(self):
        "Test a policy that the directory does not tell is named"
        data = self.build(self.witnesses)
        told, = File.parse(data).policies
        for text in [
                told.text.replace('witnesses 2', 'witnesses 1'),
                told.text.replace('quorum witnesses', 'quorum none'),
                told.text + '\n',
                told.text.replace('log log.example+', 'log log.example+0'),
                told.text.split('\n', 1)[1]]:
            with self.subTest(text=text):
                self.assertNotEqual(text, told.text)
                self.assertPolicyWrong(self.world.reseal(
                        data, policies=[replace(told, text=text)]))
        for changed in [
                replace(told, version=2), replace(told, community=SELLER)]:
            self.assertPolicyWrong(
                self.world.reseal(data, policies=[changed]))

    def assertPolicyWrong(self, data):
        report = verify(data, self.policy())
        self.assertEqual(report.status, REFUSED)
        self.assertEqual(
            [(c.name, c.part) for c in report.checks if not c.ok],
            [('policy', 'policies[0]')])

    def test_policy_flips(self):
        "Test a flipped bit of the policy is named"
        data = self.build(self.witnesses)
        start = data.index(b'"policies":')
        end = data.index(b'}]', start)
        for i in range(data.index(b'"text":"', start) + 8, end - 1, 7):
            for bit in [1, 2, 4]:
                flipped = bytearray(data)
                flipped[i] ^= bit
                report = verify(bytes(flipped), self.policy())
                self.assertEqual(report.status, REFUSED)
                parts = [c.part for c in report.checks if not c.ok]
                self.assertTrue(
                    any('policies[0]' in (p or '') for p in parts)
                    or [c.name for c in report.checks] == ['form'], parts)

    def test_no_policy(self):
        "Test a file without what only informs is as good"
        data = self.build(self.witnesses)
        changed = self.world.reseal(data, policies=[])
        self.assertEqual(verify(changed, self.policy()).status, VERIFIED)

    def test_policy_last(self):
        "Test the policy is the one of the last directory in the file"
        self.world.log.witnesses = self.witnesses
        self.direct(NOW)
        self.world.relay(BUYER, SELLER, minutes(1))
        self.witnesses.pop()
        self.direct(minutes(2))
        self.world.relay(BUYER, SELLER, minutes(3))
        data = self.world.build()
        told, = File.parse(data).policies
        self.assertEqual(told.version, 2)
        self.assertEqual(told.text.encode(), self.policy().to_bytes())
        first = ToldPolicy.of(
            self.world.descriptor.value, self.world.directories[0].value)
        self.assertPolicyWrong(
            self.world.reseal(data, policies=[first]))

    def test_told(self):
        "Test how many of the elected witnesses signed is said"
        for count, text in [
                (3, "witnessed, 3 of 3 witnesses signed and the quorum is 2"),
                (2, "witnessed, 2 of 3"),
                (1, "only recorded, 1 of 3"), (0, "only recorded, 0 of 3")]:
            with self.subTest(count=count):
                self.setUp()
                data = self.build(self.witnesses[:count])
                policy, told = self.told(data)
                self.assertIn(f" log.example {text}", told)
                self.assertIn("which you do not trust", told)
                self.assertNotIn("do not trust", ''.join(self.told(
                            data, Policy.of([self.world.vkey(COMMUNITY)]))))

    def test_certificate(self):
        "Test a certificate names the witnesses that were elected, alone"
        stranger = Cosigner('w9.example/witness', key(29))
        for elected in [True, False]:
            self.setUp()
            self.world.log.witnesses = [*self.witnesses[:1], stranger]
            (self.direct if elected else self.world.direct)(NOW)
            self.world.relay(BUYER, SELLER, minutes(1))
            data = self.world.build(keys=[
                    w.vkey for w in self.world.log.witnesses])
            message, = certificate.read(data).messages
            for event in message.events:
                self.assertEqual(
                    event.witnesses, ('w0.example/witness',) * elected)

    def test_told_of_each(self):
        "Test the checkpoints that differ are told apart"
        self.world.log.witnesses = []
        self.direct(NOW)
        self.world.relay(BUYER, SELLER, minutes(1), received=False)
        self.world.log.witnesses = self.witnesses
        self.world.relay(BUYER, SELLER, minutes(2))
        _, first, second = self.told(self.world.build())
        self.assertRegex(first, "^Checkpoints 1, 2 of .* only recorded, 0 ")
        self.assertRegex(second, "^Checkpoints 3, 4 of .* witnessed, 3 of 3 ")

    def test_dismissed(self):
        "Test who was dismissed witnesses nothing after the next change"
        old = self.world.log.witnesses = self.witnesses
        new = [Cosigner(f'w{i}.example/witness', key(20 + i))
            for i in range(3, 6)]
        for time, witnesses, strength in [
                (1, old, "3 of log.example witnessed, 3 of 3"),
                (3, new, "6 of log.example witnessed, 3 of 3"),
                (5, new, "9 of log.example only recorded, 0 of 3")]:
            self.witnesses = witnesses
            self.direct(minutes(time))
            self.world.relay(BUYER, SELLER, minutes(time + 1))
            told = self.told(self.world.build(keys=[w.vkey for w in old]))
            self.assertIn(strength, '\n'.join(told))

    def test_nobody_elected(self):
        "Test a community without witnesses says nothing of them"
        self.world.direct(NOW)
        self.world.relay(BUYER, SELLER, minutes(1))
        data = self.world.build()
        self.assertEqual(len(self.told(data)), 1)
        self.assertEqual(
            [p.quorum for p in certificate.read(data).policies], [None])
