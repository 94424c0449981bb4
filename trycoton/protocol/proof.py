# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"Proofs to keep in a file: ``.tlog-proof`` (c2sp.org/tlog-proof)"
import re
from dataclasses import dataclass

from . import canonical, merkle
from .checkpoint import NUMBER, Checkpoint
from .errors import Malformed
from .note import Note

HEADER = 'c2sp.org/tlog-proof@v1'

_head = re.compile(
    rf'{re.escape(HEADER)}\n(?:extra ([A-Za-z0-9+/=]+)\n)?'
    rf'index ({NUMBER})\n((?:[A-Za-z0-9+/=]{{44}}\n){{0,64}})', re.ASCII)


@dataclass(frozen=True)
class Proof:
    """That an entry is in the tree of a checkpoint

    hashes are the inclusion proof and checkpoint the bytes of the signed
    note.  extra, opaque bytes, is covered by nothing.
    """
    index: int
    hashes: tuple
    checkpoint: bytes
    extra: 'bytes | None' = None

    def to_bytes(self):
        "Return the bytes of the file"
        lines = [HEADER]
        if self.extra:
            lines.append(f'extra {canonical.encode(self.extra)}')
        lines.append(f'index {self.index}')
        lines.extend(map(canonical.encode, self.hashes))
        return '\n'.join(lines).encode('ascii') + b'\n\n' + self.checkpoint

    @classmethod
    def parse(cls, data):
        "Return the proof of the bytes of a file; raise Malformed"
        head, separator, checkpoint = data.partition(b'\n\n')
        try:
            match = _head.fullmatch(head.decode('ascii') + '\n')
        except ValueError:
            match = None
        if not separator or not match:
            raise Malformed("Not a proof of a transparency log.")
        Checkpoint.parse(Note.parse(checkpoint).text)
        extra, index, hashes = match.groups()
        return cls(
            int(index), tuple(map(canonical.decode, hashes.split())),
            checkpoint, canonical.decode(extra) if extra else None)

    def verify(self, entry, verifiers):
        """Return the Checkpoint whose tree holds the bytes of an entry

        Raise Malformed, or Rejected if its log is not among the verifiers,
        if its signature is wrong or if the proof does not hold.
        """
        checkpoint = Checkpoint.open(self.checkpoint, verifiers)
        self.ranges(entry, checkpoint)
        return checkpoint

    def ranges(self, entry, checkpoint):
        "Check an entry; return its ranges (merkle.verify_inclusion)"
        return merkle.verify_inclusion(
            self.index, checkpoint.size, merkle.leaf_hash(entry),
            self.hashes, checkpoint.root)
