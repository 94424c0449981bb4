# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Two checkpoints that a log signed, and that cannot be of one log.

A log only grows: the tree of an older checkpoint is the beginning of that of
a newer one.  Who has fetched the tiles of the newer tree can show to anybody
that it does not begin with the older one: no secret and no network is needed
to verify it, and no honest log can be accused by it.
"""
from dataclasses import dataclass

from . import merkle, tile
from .checkpoint import Checkpoint
from .errors import Malformed, ProtocolError, Rejected
from .evidence import Check, Report
from .note import Note
from .policy import Policy
from .record import BINARY, Record, member

MAX_SIZE = 2 ** 18


@dataclass(frozen=True)
class Contradiction(Record):
    """That one log signed two trees of which none is the other's beginning

    old and new are the bytes of the signed notes, old the one of the smaller
    tree.  hashes, 32 bytes each, are those of merkle.growth_ranges in the
    new tree; there are none between two trees of one size.
    """
    old: bytes = member(BINARY)
    new: bytes = member(BINARY)
    hashes: bytes = member(BINARY, default=b'')

    def verify(self, verifier):
        """Return the old and the new Checkpoint, both signed by the log of
        the Verifier, which contradict each other

        Raise Malformed, or Rejected where they do not.
        """
        for note in [self.old, self.new]:
            Checkpoint.open(note, [verifier])
        return self.check()

    def check(self):
        """Return the old and the new Checkpoint, which contradict each other
        whoever signed them; raise Malformed or Rejected"""
        old, new = (
            Checkpoint.parse(Note.parse(n).text) for n in [self.old, self.new])
        if old.origin != new.origin:
            raise Rejected("The checkpoints are not of one log.")
        hashes = merkle.split_hashes(self.hashes)
        if not 0 < old.size <= new.size:
            raise Rejected("The checkpoints are not in the order of size.")
        if old.size == new.size:
            roots = new.root, new.root
            if hashes:
                raise Rejected("Trees of one size need no hashes.")
        else:
            roots = merkle.growth_roots(old.size, new.size, hashes)
        if roots[1] != new.root:
            raise Rejected("The hashes are not those of the newer tree.")
        if roots[0] == old.root:
            raise Rejected("The newer tree begins with the older one.")
        return old, new


def compare(first, second, verifier, fetch):
    """Return the Contradiction of two signed notes, or None if the tree of
    one begins with that of the other

    fetch(tile) gives the bytes of a Tile of the larger tree; what it raises
    passes through.  Raise Malformed, or Rejected if a note is not signed by
    the log of the Verifier, or if the tiles are not those of the larger
    tree: who serves them lies, but that shows nothing of the notes.
    """
    old, new = sorted([
            (Checkpoint.open(n, [verifier]), n) for n in [first, second]],
        key=lambda pair: pair[0].size)
    (old, old_note), (new, new_note) = old, new
    if (old.size, old.root) == (new.size, new.root) or not old.size:
        return
    hashes = []
    if old.size < new.size:
        node = tile.node_getter(tile.reader(fetch, new.size))
        hashes = merkle.growth(node, old.size, new.size)
        roots = merkle.growth_roots(old.size, new.size, hashes)
        if roots[1] != new.root:
            raise Rejected(
                f"The tiles are not those of the checkpoint {new.size} of "
                f"{new.origin}.")
        if roots[0] == old.root:
            return
    return Contradiction(old_note, new_note, b''.join(hashes))


def is_one(data):
    "Tell if the bytes of a file have the form of a Contradiction"
    try:
        if len(data) > MAX_SIZE:
            return False
        Contradiction.parse(data)
    except Malformed:
        return False
    return True


def verify(data, policy=None):
    """Return the Report on the bytes of a Contradiction

    policy is the Policy that tells which logs are known: none when None.
    """
    checks = [Check('form', True, "The file is in its canonical form")]
    try:
        contradiction = Contradiction.parse(data)
        origin = contradiction.check()[1].origin
        logs = [v for v in (policy or Policy()).logs if v.name == origin]
        if not logs:
            checks.append(Check(
                    'log', False, f"The key of the log {origin} is given"))
        for log in logs:
            old, new = contradiction.verify(log)
            checks.append(Check(
                    'contradiction', True,
                    f"The log {origin} signed two trees that cannot be of "
                    f"one log, of {old.size} and of {new.size} entries"))
    except ProtocolError as exception:
        checks.append(Check(
                'contradiction', False,
                f"The log signed what cannot be of one log: {exception}"))
    return Report(tuple(checks))
