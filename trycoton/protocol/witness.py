# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Witnesses (c2sp.org/tlog-witness): what a log asks them, and they answer.

A witness remembers, for each log, the last checkpoint that it cosigned, and
cosigns another one only if the log proves that it grew out of it.
"""
import re
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property

from . import canonical, merkle
from .checkpoint import NUMBER, Checkpoint
from .errors import Malformed, Rejected
from .note import COSIGNATURE, MAX_SIGNATURES, Note, Signature, Verifier

MAX_SIZE = 16 * 1024
MAX_HASHES = 63
SIZE_TYPE = 'text/x.tlog.size'
# What the clocks of an honest log and an honest witness may differ
SKEW = timedelta(hours=1)

_head = re.compile(
    rf'old ({NUMBER})\n((?:[A-Za-z0-9+/=]{{44}}\n){{0,{MAX_HASHES}}})',
    re.ASCII)
_size = re.compile(rf'({NUMBER})\n', re.ASCII)


class Stale(Rejected):
    "The request does not start from what the witness knows: 409"


@dataclass(frozen=True)
class Request:
    """The body of ``add-checkpoint``

    hashes prove that the tree of size old grew into the one of checkpoint,
    the bytes of a signed note.
    """
    old: int
    hashes: tuple
    checkpoint: bytes

    def to_bytes(self):
        "Return the body"
        lines = [f'old {self.old}', *map(canonical.encode, self.hashes)]
        return '\n'.join(lines).encode('ascii') + b'\n\n' + self.checkpoint

    @classmethod
    def parse(cls, data):
        "Return the request of a body; raise Malformed"
        if len(data) > MAX_SIZE:
            raise Malformed("The request is too large.")
        head, separator, checkpoint = data.partition(b'\n\n')
        try:
            match = _head.fullmatch(head.decode('ascii') + '\n')
        except ValueError:
            match = None
        if not separator or not match:
            raise Malformed("Not a request to add a checkpoint.")
        old, hashes = match.groups()
        request = cls(
            int(old), tuple(map(canonical.decode, hashes.split())),
            checkpoint)
        merkle.check_size(request.old)
        merkle.check_hashes(request.hashes)
        if request.old > request.value.size:
            raise Malformed("The old size is above that of the checkpoint.")
        return request

    @cached_property
    def note(self):
        "The Note of the checkpoint; raise Malformed"
        return Note.parse(self.checkpoint)

    @cached_property
    def value(self):
        "The Checkpoint, whoever signed it; raise Malformed"
        return Checkpoint.parse(self.note.text)

    def check(self, size, root):
        """Check that the checkpoint grew out of the last one cosigned

        size is 0, and root that of the empty tree, when there is none.
        Raise Stale (409) if the request starts from somewhere else or is a
        fork of the same size, Rejected (422) if the proof does not hold.
        """
        if self.old != size:
            raise Stale(f"The last checkpoint cosigned has the size {size}.")
        if self.is_fork(size, root):
            raise Stale(f"There are two checkpoints of the size {size}.")
        if size:
            merkle.verify_consistency(
                size, self.value.size, root, self.value.root, self.hashes)
        elif self.hashes:
            raise Rejected("Nothing is to be proved of an empty tree.")

    def is_fork(self, size, root):
        "Tell if the log has two trees of one size"
        return self.value.size == size and self.value.root != root


def verifier(vkey):
    "Return the Verifier of the vkey of a witness; raise Malformed"
    key = Verifier.from_vkey(vkey)
    if key.algorithm != COSIGNATURE:
        raise Malformed("Not the key of a witness.")
    return key


def cosign(cosigner, text, time):
    "Return the answer by which a Cosigner signs a note text at POSIX seconds"
    return str(cosigner.sign(text, time)).encode('utf-8')


def parse_cosignatures(data):
    "Return the Signatures of an answer; raise Malformed"
    if len(data) > MAX_SIZE:
        raise Malformed("The answer is too large.")
    try:
        text = data.decode('utf-8')
    except ValueError as exception:
        raise Malformed("The answer is not UTF-8.") from exception
    *lines, end = text.split('\n')
    if not lines or end or len(lines) > MAX_SIGNATURES:
        raise Malformed("Not the signatures of a witness.")
    return [Signature.parse(line) for line in lines]


def find_cosignature(data, text, key, now):
    """Return the Signature of an answer by which the key of a witness signed
    the note text, and its time in POSIX seconds

    now is an aware datetime: a clock may be wrong by an hour.  Signatures by
    other keys are ignored, as the specification wants.
    Raise Malformed, or Rejected if there is none or it is not right.
    """
    found = [
        s for s in parse_cosignatures(data)
        if (s.name, s.id) == (key.name, key.id)]
    if len(found) != 1:
        raise Rejected(
            f"The witness {key.name} did not sign once but "
            f"{len(found)} times.")
    signature, = found
    Note(text, (signature,)).verify([key])
    time = int.from_bytes(signature.data[:8], 'big')
    if abs(time - now.timestamp()) > SKEW.total_seconds():
        raise Rejected(f"The clock of the witness {key.name} is wrong.")
    return signature, time


def format_size(size):
    "Return the body of an answer 409"
    return f'{size}\n'.encode('ascii')


def parse_size(data):
    "Return the size in the body of an answer 409; raise Malformed"
    match = _size.fullmatch(data[:32].decode('ascii', 'replace'))
    if not match or len(data) > 32:
        raise Malformed("Not the size of a tree.")
    size = int(match[1])
    merkle.check_size(size)
    return size


def join(note, signatures):
    """Return the bytes of a note with other signatures added to its own,
    each key once"""
    known = {(s.name, s.id): s for s in note.signatures}
    for signature in signatures:
        known.setdefault((signature.name, signature.id), signature)
    return Note(
        note.text, tuple(known.values())[:MAX_SIGNATURES]).to_bytes()


def keep(data, verifiers):
    """Return the bytes of a note with the signatures of the verifiers only

    Raise Malformed, or Rejected if one of them is wrong.
    """
    note = Note.parse(data)
    known = {(v.name, v.id) for v in note.verify(verifiers)}
    return Note(note.text, tuple(
            s for s in note.signatures if (s.name, s.id) in known)).to_bytes()
