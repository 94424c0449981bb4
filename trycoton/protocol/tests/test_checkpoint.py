# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
import unittest

from trycoton.protocol import merkle
from trycoton.protocol.checkpoint import Checkpoint
from trycoton.protocol.errors import Malformed, ProtocolError, Rejected
from trycoton.protocol.note import NoteSigner, Verifier
from trycoton.protocol.signature import SigningKey

# The example of the specification
EXAMPLE = ("example.com/behind-the-sofa\n20852163\n"
    "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n")
SIGNATURE = ("\n— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZ"
    "niMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n")
VKEY = ("example.com/behind-the-sofa+033de0ae"
    "+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8")


class CheckpointTestCase(unittest.TestCase):
    "Test checkpoints"

    def setUp(self):
        self.signer = NoteSigner(
            'log.example', SigningKey.from_bytes(bytes(32)))
        self.checkpoint = Checkpoint('log.example', 7, bytes(range(32)))
        self.verifiers = [Verifier.from_vkey(self.signer.vkey)]

    def test_example(self):
        "Test the example of the specification"
        checkpoint = Checkpoint.parse(EXAMPLE)
        self.assertEqual(checkpoint.size, 20852163)
        self.assertEqual(checkpoint.text(), EXAMPLE)

    def test_round_trip(self):
        "Test a checkpoint signed is a checkpoint opened"
        data = self.checkpoint.sign(self.signer)
        self.assertEqual(
            Checkpoint.open(data, self.verifiers), self.checkpoint)

    def test_other_log(self):
        "Test only the log that origin names may sign"
        other = NoteSigner('other.example', SigningKey.generate())
        data = self.checkpoint.sign(other)
        with self.assertRaises(Rejected):
            Checkpoint.open(data, [Verifier.from_vkey(other.vkey)])
        with self.assertRaises(Rejected):
            Checkpoint.open(data, self.verifiers)

    def test_flips(self):
        "Test every byte changed or removed is refused"
        data = self.checkpoint.sign(self.signer)
        for i in range(len(data)):
            for middle in [
                    b'', *(bytes([data[i] ^ 1 << b]) for b in range(8))]:
                with self.assertRaises(ProtocolError):
                    Checkpoint.open(
                        data[:i] + middle + data[i + 1:], self.verifiers)

    def test_malformed(self):
        "Test what the writer would not write"
        root = 'AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8='
        self.assertTrue(Checkpoint.parse(f"a\n7\n{root}\n"))
        for text in [
                '', '\n', f"a\n7\n{root}", f"\n7\n{root}\n",
                f"a\n07\n{root}\n", f"a\n+7\n{root}\n", f"a\n7 \n{root}\n",
                f"a\n-7\n{root}\n", f"a\n٧\n{root}\n", f"a\n1_0\n{root}\n",
                f"a\n{2 ** 63}\n{root}\n", f"a\n7\n{root}\nextension\n",
                f"a\n7\n{root}\n\n", f"a\n7\n{root[:-2]}9=\n",
                f"a\n7\n{root[:-4]}\n", f"a\n7\nAA{root}\n",
                f"a\n0\n{root}\n", f"a\r\n7\r\n{root}\r\n",
                f"a\x9b\n7\n{root}\n"]:
            with self.subTest(text=text), self.assertRaises(Malformed):
                Checkpoint.parse(text)
        Checkpoint('a', 0, merkle.EMPTY_ROOT)
        for size, root in [(0, bytes(32)), (1, bytes(31)), (-1, bytes(32))]:
            with self.assertRaises(Malformed):
                Checkpoint('a', size, root)
