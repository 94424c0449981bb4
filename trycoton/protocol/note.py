# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Signed notes (c2sp.org/signed-note): a text and the keys that signed it.

Two algorithms: Ed25519 (0x01) for logs, and the timestamped cosignature/v1
(0x04, c2sp.org/tlog-cosignature) for witnesses.
"""
import hashlib
import re
from dataclasses import dataclass

from . import canonical
from .errors import Malformed, Rejected
from .signature import PublicKey

ED25519 = 0x01
COSIGNATURE = 0x04
MAX_SIZE = 64 * 1024
MAX_SIGNATURES = 32

_vkey = re.compile(r'([^+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]+=*)', re.ASCII)
_line = re.compile(r'— ([^\s+]+) ([A-Za-z0-9+/]+=*)')
_control = re.compile(r'[\x00-\x09\x0b-\x1f]')


@dataclass(frozen=True)
class Verifier:
    "The name and public key that sign notes, by one algorithm"
    name: str
    key: PublicKey
    algorithm: int = ED25519

    def __post_init__(self):
        if (not self.name
                or not self.name.isprintable()
                or set(self.name) & {' ', '+'}):
            raise Malformed("The name of the key is not usable.")
        if self.algorithm not in (ED25519, COSIGNATURE):
            raise Malformed(
                f"The algorithm {self.algorithm} of the key is not known.")
        if self.key.use != 'sig':
            raise Malformed("The key is not for signatures.")

    @classmethod
    def from_vkey(cls, text):
        "Return the verifier of 'name+id+key'; raise Malformed"
        match = _vkey.fullmatch(text) if isinstance(text, str) else None
        if not match:
            raise Malformed("Not a verifier key.")
        data = canonical.decode(match[3])
        verifier = cls(match[1], PublicKey('sig', data[1:]), data[0])
        if verifier.vkey != text:
            raise Malformed("The verifier key does not match its id.")
        return verifier

    @property
    def id(self):
        "The 4 bytes that tell keys of one name apart"
        return hashlib.sha256(
            self.name.encode('utf-8') + b'\n' + self._typed_key).digest()[:4]

    @property
    def vkey(self):
        "The text by which the key is known"
        return '+'.join([
                self.name, self.id.hex(), canonical.encode(self._typed_key)])

    @property
    def _typed_key(self):
        return bytes([self.algorithm]) + self.key.data

    def verify(self, text, signature):
        "Check the bytes of a signature over a note text; raise Rejected"
        data = text.encode('utf-8')
        if self.algorithm == COSIGNATURE:
            time, signature = signature[:8], signature[8:]
            data = _cosigned(data, int.from_bytes(time, 'big'))
        self.key.verify(data, signature)


class NoteSigner(Verifier):
    "A name and SigningKey that sign notes: the key of a log"

    def __init__(self, name, signing_key, algorithm=ED25519):
        super().__init__(name, signing_key.public, algorithm)
        object.__setattr__(self, '_signing_key', signing_key)

    def sign(self, text):
        "Return the Signature of a note text"
        return Signature(
            self.name, self.id, self._signing_key.sign(text.encode('utf-8')))


class Cosigner(NoteSigner):
    "A name and SigningKey that cosign checkpoints: the key of a witness"

    def __init__(self, name, signing_key):
        super().__init__(name, signing_key, COSIGNATURE)

    def sign(self, text, time):
        "Return the Signature of a checkpoint text, at POSIX seconds"
        return Signature(
            self.name, self.id, time.to_bytes(8, 'big')
            + self._signing_key.sign(_cosigned(text.encode('utf-8'), time)))


@dataclass(frozen=True)
class Signature:
    "A line of a signed note"
    name: str
    id: bytes
    data: bytes

    def __str__(self):
        return f"— {self.name} {canonical.encode(self.id + self.data)}\n"

    @classmethod
    def parse(cls, line):
        "Return the signature of a line without its end; raise Malformed"
        match = _line.fullmatch(line)
        data = canonical.decode(match[2]) if match else b''
        if len(data) < 5:
            raise Malformed("Not the signature line of a note.")
        return cls(match[1], data[:4], data[4:])


@dataclass(frozen=True)
class Note:
    "A text, which ends with a newline, and its signatures"
    text: str
    signatures: tuple = ()

    def to_bytes(self):
        return (
            self.text + '\n' + ''.join(map(str, self.signatures))
            ).encode('utf-8')

    @classmethod
    def parse(cls, data):
        "Return the note of bytes; raise Malformed"
        if len(data) > MAX_SIZE:
            raise Malformed("The note is too large.")
        try:
            text = data.decode('utf-8')
        except ValueError as exception:
            raise Malformed("The note is not UTF-8.") from exception
        text, separator, lines = text.rpartition('\n\n')
        if (not text or not separator or not lines.endswith('\n')
                or _control.search(text + lines)):
            raise Malformed("Not a signed note.")
        lines = lines[:-1].split('\n')
        if len(lines) > MAX_SIGNATURES:
            raise Malformed("The note has too many signatures.")
        signatures = tuple(map(Signature.parse, lines))
        if len({(s.name, s.id) for s in signatures}) < len(signatures):
            raise Malformed("The note is signed twice by the same key.")
        return cls(text + '\n', signatures)

    def verify(self, verifiers):
        """Return those of the verifiers that signed the note

        Signatures of unknown keys are ignored, as the specification wants.
        Raise Rejected if the signature of one does not match.
        """
        known = {(v.name, v.id): v for v in verifiers}
        signed = []
        for signature in self.signatures:
            verifier = known.get((signature.name, signature.id))
            if verifier:
                try:
                    verifier.verify(self.text, signature.data)
                except Rejected as exception:
                    raise Rejected(
                        f"The signature of {verifier.name} does not match "
                        "the note.") from exception
                signed.append(verifier)
        return signed


def sign_note(text, *signers):
    "Return the bytes of a text signed by NoteSigners; raise Malformed"
    data = Note(text, tuple(s.sign(text) for s in signers)).to_bytes()
    Note.parse(data)
    return data


def open_note(data, verifiers):
    """Return the text of a note and the names of the verifiers that signed it

    Raise Malformed, or Rejected if none signed or one signature is wrong.
    """
    note = Note.parse(data)
    signed = note.verify(verifiers)
    if not signed:
        raise Rejected("No known key signed the note.")
    return note.text, [v.name for v in signed]


def _cosigned(data, time):
    return b'cosignature/v1\ntime %d\n' % time + data
