# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
import unittest
from datetime import timedelta

from trycoton.protocol.checkpoint import Checkpoint
from trycoton.protocol.directory import Directory, Participant
from trycoton.protocol.errors import Malformed, Rejected
from trycoton.protocol.note import Cosigner, Note, NoteSigner
from trycoton.protocol.policy import Policy
from trycoton.protocol.signature import SigningKey

from .sample import TIME


def key(number):
    return SigningKey.from_bytes(bytes([number]) * 32)


LOG = NoteSigner('log.example', key(0))
OTHER = NoteSigner('other.example', key(2))
COMMUNITY = NoteSigner('0225:123456782', key(1))
WITNESSES = {
    name: Cosigner(f'witness.example/{name}', key(i))
    for i, name in enumerate(['X1', 'X2', 'X3', 'Y1', 'Y2'], 10)}

POLICY = '\n'.join([
    "# Whom we trust",
    f"log {LOG.vkey} https://log.example/",
    f"\tcommunity  {COMMUNITY.vkey} ",
    '',
    *(f"witness {n} {w.vkey}" for n, w in WITNESSES.items()),
    "group X 2 X1 X2 X3",
    "group Y any Y1 Y2",
    "group é all X Y",
    "quorum é",
    ''])


class PolicyTestCase(unittest.TestCase):
    "Test policies"

    def test_parse(self):
        "Test a policy"
        policy = Policy.parse(POLICY.encode())
        self.assertEqual([v.vkey for v in policy.logs], [LOG.vkey])
        self.assertEqual(
            [v.vkey for v in policy.communities], [COMMUNITY.vkey])
        self.assertEqual(set(policy.witnesses), set(WITNESSES))
        self.assertEqual(len(policy.verifiers), 6)
        self.assertEqual(policy.groups['X'], (2, ('X1', 'X2', 'X3')))

    def test_quorum(self):
        "Test the quorum of witnesses"
        policy = Policy.parse(POLICY.encode())
        checkpoint = Checkpoint('log.example', 1, bytes(32))
        text = checkpoint.text()
        for names, accepted in [
                ('X1 X2 Y1', True), ('X3 X2 Y2 Y1', True),
                ('X1 X2 X3', False), ('X1 Y1 Y2', False), ('', False)]:
            with self.subTest(names=names):
                note = Note(text, (LOG.sign(text), *(
                            WITNESSES[name].sign(text, 1790000000)
                            for name in names.split())))
                signed = note.verify(policy.verifiers)
                if accepted:
                    policy.check(checkpoint, signed)
                else:
                    with self.assertRaises(Rejected):
                        policy.check(checkpoint, signed)

    def test_unknown_log(self):
        "Test a checkpoint of a log that is not trusted"
        policy = Policy.parse(b'quorum none\n')
        with self.assertRaises(Rejected):
            policy.check(Checkpoint('log.example', 1, bytes(32)), [LOG])

    def test_of(self):
        "Test keys alone"
        policy = Policy.of([LOG.vkey])
        policy.check(
            Checkpoint('log.example', 1, bytes(32)), policy.verifiers)
        for vkey in ['', 'log', WITNESSES['X1'].vkey]:
            with self.assertRaises(Malformed):
                Policy.of([vkey])

    def test_of_directory(self):
        "Test the policy of a directory"
        names = ['0225:732829320_1', '0225:732829320_2', '0225:732829320_3']
        directory = Directory(
            '0225:732829320', 1, None, TIME, TIME + timedelta(days=1), [
                Participant(
                    '0225:833555675', "Tiers", 'trust-party', log=LOG.vkey),
                Participant('0225:732829320_9', "A", log=OTHER.vkey),
                *[Participant(n, n, witness=w.vkey)
                    for n, w in zip(names, WITNESSES.values())],
                ], 2)
        policy = Policy.of_directory(directory, [COMMUNITY.vkey])
        self.assertEqual([log.vkey for log in policy.logs], [LOG.vkey])
        self.assertEqual(list(policy.witnesses), names)
        self.assertEqual(
            [c.vkey for c in policy.communities], [COMMUNITY.vkey])
        self.assertEqual(Policy.parse(policy.to_bytes()), policy)
        signers = list(policy.witnesses.values())
        self.assertTrue(policy.is_witnessed(signers[1:]))
        self.assertFalse(policy.is_witnessed(signers[1:2] * 2))

        without = Policy.of_directory(Directory(
                '0225:732829320', 1, None, TIME, TIME + timedelta(days=1),
                []))
        self.assertIsNone(without.quorum)
        self.assertEqual(Policy.parse(without.to_bytes()), without)

    def test_malformed(self):
        "Test what is refused names its line"
        vkey, witness = LOG.vkey, WITNESSES['X1'].vkey
        for line in [
                'unknown', 'key', 'log', f'log {vkey[:-1]}', f'log {witness}',
                f'log {vkey} url more', f'log {vkey}',
                f'community {vkey} url', f'community {witness}',
                f'community {COMMUNITY.vkey}',
                f'witness X1 {Cosigner("w", key(99)).vkey}',
                f'witness X {Cosigner("w", key(99)).vkey}',
                f'witness none {Cosigner("w", key(99)).vkey}',
                f'witness Z {witness}', f'witness Z {vkey}', 'witness Z',
                'group', 'group Z', 'group Z all', 'group Z all Z',
                'group Z all none', 'group Z all X1', 'group Z all é é',
                'group Z 0 é', 'group Z 2 é', 'group Z 01 é', 'group Z +1 é',
                'group X all é', 'group none all é',
                'quorum é', 'quorum none', 'quorum']:
            with self.subTest(line=line):
                with self.assertRaisesRegex(Malformed, r"^Line 14 "):
                    Policy.parse((POLICY + line + '\n').encode())
        for data in [
                b'', b'quorum missing', b'quorum\n', b'\rquorum none',
                b'quorum none\x7f', b'quorum none\n' + b'\n' * 1000]:
            with self.subTest(data=data[:30]), self.assertRaises(Malformed):
                Policy.parse(data)
