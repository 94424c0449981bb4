# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
import unittest

from trycoton.protocol.errors import Malformed, ProtocolError, Rejected
from trycoton.protocol.note import (
    Cosigner, Note, NoteSigner, Verifier, open_note, sign_note)
from trycoton.protocol.signature import SigningKey

TEXT = "If you think cryptography is the answer to your problem,\n\nno.\n"
# The example of the specification of signed notes
EXAMPLE = (
    "Ognuno sta solo sul cuor della terra\n"
    "trafitto da un raggio di sole:\n\ned è subito sera.\n\n"
    "— quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddn"
    "GITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=\n").encode()


def key(number):
    return SigningKey.from_bytes(bytes([number]) * 32)


class NoteTestCase(unittest.TestCase):
    "Test signed notes"

    def setUp(self):
        self.signer = NoteSigner('log.example/1', key(1))
        self.other = NoteSigner('log.example/1', key(2))
        self.witness = Cosigner('witness.example', key(3))
        self.verifier = Verifier.from_vkey(self.signer.vkey)
        self.note = sign_note(TEXT, self.signer, self.other)

    def test_example(self):
        "Test the example of the specification keeps its bytes"
        note = Note.parse(EXAMPLE)
        self.assertEqual(note.to_bytes(), EXAMPLE)
        self.assertEqual(note.signatures[0].id.hex(), '367ba04b')

    def test_round_trip(self):
        "Test a note signed is a note opened"
        text, names = open_note(self.note, [self.verifier])
        self.assertEqual(text, TEXT)
        self.assertEqual(names, ['log.example/1'])
        self.assertEqual(Note.parse(self.note).to_bytes(), self.note)

    def test_cosignature(self):
        "Test a witness signs the time as well"
        verifier = Verifier.from_vkey(self.witness.vkey)
        signature = self.witness.sign(TEXT, 1790000000)
        data = Note(TEXT, (self.signer.sign(TEXT), signature)).to_bytes()
        self.assertEqual(
            open_note(data, [verifier, self.verifier])[1],
            ['log.example/1', 'witness.example'])
        for i in range(len(signature.data)):
            changed = bytearray(signature.data)
            changed[i] ^= 1
            with self.assertRaises(Rejected):
                verifier.verify(TEXT, bytes(changed))
        for length in range(len(signature.data)):
            with self.assertRaises(Rejected):
                verifier.verify(TEXT, signature.data[:length])
        with self.assertRaises(Rejected):
            verifier.verify(TEXT, self.signer.sign(TEXT).data)

    def test_unknown(self):
        "Test only unknown keys signed"
        with self.assertRaises(Rejected):
            open_note(self.note, [])
        with self.assertRaises(Rejected):
            open_note(self.note, [Verifier('other.example', key(1).public)])

    def test_wrong_signature(self):
        "Test a wrong signature of a known key is fatal"
        signature = self.other.sign("Something else\n")
        note = Note(TEXT, (self.signer.sign(TEXT), signature)).to_bytes()
        open_note(note, [self.verifier])
        with self.assertRaises(Rejected):
            open_note(note, [self.verifier, Verifier.from_vkey(
                        self.other.vkey)])

    def test_flips(self):
        "Test every byte changed, removed or added is refused"
        verifiers = [
            self.verifier, Verifier.from_vkey(self.other.vkey)]
        expected = open_note(self.note, verifiers)
        for i in range(len(self.note)):
            before, after = self.note[:i], self.note[i + 1:]
            for middle in [bytes([self.note[i] ^ 1]), b'',
                    self.note[i:i + 1] * 2, b'\n', b' ', b'\r', b'A']:
                data = before + middle + after
                if data == self.note:
                    continue
                try:
                    self.assertNotEqual(open_note(data, verifiers), expected)
                except ProtocolError:
                    pass

    def test_malformed(self):
        "Test what the writer would not write"
        line = str(self.signer.sign(TEXT))
        for data in [
                b'', b'\n', b'\n\n', TEXT.encode(), b'a\n\n', b'\xff\n\n',
                self.note[:-1],
                self.note.replace(b'\n', b'\r\n'),
                f"{TEXT}\n{line}{line}".encode(),
                f"{TEXT}\n{line}\n".encode(),
                f"{TEXT}\n{line} \n".encode(),
                f"{TEXT}\n{line.replace('— ', '- ')}".encode(),
                f"{TEXT}\n{line.replace('=', '')}".encode(),
                f"{TEXT}\n{line.replace('log', 'l g')}".encode(),
                f"{TEXT}\n{line.replace('log', 'l+g')}".encode(),
                f"{TEXT}\n{line.replace('log', chr(0xa0))}".encode(),
                f"{TEXT}\n— log AAAA\n".encode(),
                f"a\tb\n\n{line}".encode(),
                f"{'a' * 65536}\n\n{line}".encode()]:
            with self.subTest(data=data[:80]), self.assertRaises(Malformed):
                Note.parse(data)
        with self.assertRaises(Malformed):
            sign_note(TEXT)
        with self.assertRaises(Malformed):
            sign_note("No end of line", self.signer)

    def test_many_signatures(self):
        "Test the number of signatures has a limit"
        def note(count):
            return sign_note("Text\n", *(
                    NoteSigner(f'log{i}', key(1)) for i in range(count)))

        self.assertEqual(len(Note.parse(note(32)).signatures), 32)
        with self.assertRaises(Malformed):
            note(33)

    def test_vkey(self):
        "Test verifier keys"
        vkey = self.signer.vkey
        self.assertEqual(Verifier.from_vkey(vkey).vkey, vkey)
        name, id_, data = vkey.split('+', 2)
        for text in [
                '', 'a+b+c', None, b'', vkey + ' ', ' ' + vkey, vkey[:-1],
                f'{name}+{id_.upper()}+{data}', f'+{id_}+{data}',
                f'other+{id_}+{data}', f'{name}+00000000+{data}',
                f'{name}+{id_}+AAAA', f'{name}+{id_}+B{data[1:]}',
                f'a b+{id_}+{data}']:
            with self.subTest(text=text), self.assertRaises(Malformed):
                Verifier.from_vkey(text)
        for i in range(len(vkey)):
            changed = vkey[:i] + chr(ord(vkey[i]) ^ 1) + vkey[i + 1:]
            with self.assertRaises(Malformed):
                Verifier.from_vkey(changed)

    def test_known_vkey(self):
        "Test the key that Go publishes for its checksum database"
        vkey = ('sum.golang.org+033de0ae'
            '+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8')
        self.assertEqual(Verifier.from_vkey(vkey).vkey, vkey)
