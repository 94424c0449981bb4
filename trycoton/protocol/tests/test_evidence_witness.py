# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"Evidence under the witnesses that a community elected"
import unittest
from dataclasses import replace

from trycoton.protocol.directory import Participant
from trycoton.protocol.evidence import (
    REFUSED, UNESTABLISHED, VERIFIED, File, verify)
from trycoton.protocol.note import Cosigner
from trycoton.protocol.policy import Policy

from .test_evidence import (
    BUYER, COMMUNITY, NOW, SELLER, TRUST, World, key, minutes)


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
                    kind='trust-party' if i == TRUST else 'participant',
                    log=self.world.log.signer.vkey if i == TRUST else None)
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
