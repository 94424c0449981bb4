# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""A whole log recomputed from its published files (c2sp.org/tlog-tiles)"""
from collections import defaultdict
from dataclasses import dataclass

from . import merkle, tile
from .checkpoint import Checkpoint
from .errors import Malformed, ProtocolError
from .note import Note

CHECKPOINT = 'checkpoint'


@dataclass(frozen=True)
class Fault:
    "The path of a file that is not right, and why"
    path: str
    text: str

    def __str__(self):
        return f"{self.path}: {self.text}"


@dataclass(frozen=True)
class Audit:
    """What was found: the Checkpoint, None when there is none to read, if
    its log is one of those trusted, and a tuple of Faults"""
    checkpoint: 'Checkpoint | None'
    signed: bool
    faults: tuple


def audit(read, verifiers=()):
    """Return the Audit of the log published as files

    read(path) gives the bytes of a file, or None if there is none.
    verifiers are the Verifiers of the logs to trust; without any, the files
    are only compared with each other.
    """
    data = read(CHECKPOINT)
    if data is None:
        return Audit(None, False, (Fault(CHECKPOINT, "there is none."),))
    try:
        checkpoint = Checkpoint.parse(Note.parse(data).text)
    except ProtocolError as exception:
        return Audit(None, False, (Fault(CHECKPOINT, str(exception)),))
    faults = []
    if verifiers:
        try:
            Checkpoint.open(data, verifiers)
        except ProtocolError as exception:
            faults.append(Fault(CHECKPOINT, str(exception)))
    signed = bool(verifiers) and not faults
    faults += _Reader(read, checkpoint).check()
    return Audit(checkpoint, signed, tuple(faults))


def read_tile(read, wanted):
    """Return the hashes or entries of a Tile; raise Malformed

    A partial tile may have given way to the full one.
    """
    for path, width in [
            (wanted.path, wanted.width),
            (tile.Tile(wanted.level, wanted.index).path, tile.WIDTH)]:
        data = read(path)
        if data is not None:
            full = tile.Tile(wanted.level, wanted.index, width)
            return full.check(data)[:wanted.width]
    raise Malformed("it is missing.")


class _Reader:

    def __init__(self, read, checkpoint):
        self.read = read
        self.checkpoint = checkpoint
        self.faults = []
        # What differs, and the nodes above, as the entries and as the
        # hashes of level 0 give them
        self.different = []
        self.frontiers = [merkle.Frontier(), merkle.Frontier()]
        self.nodes = [{}, {}]

    def check(self):
        wanted = defaultdict(dict)
        for one in tile.tiles(self.checkpoint.size):
            wanted[one.level][one.index] = one
        for index, bundle in sorted(wanted.pop(None, {}).items()):
            self._check_leaves(bundle, wanted[0][index])
        wanted.pop(0, None)
        nodes = self._choose()
        for tiles in wanted.values():
            for one in tiles.values():
                self._check_nodes(one, nodes)
        return self.faults

    def _items(self, wanted):
        try:
            return read_tile(self.read, wanted)
        except ProtocolError as exception:
            self.faults.append(Fault(wanted.path, str(exception)))

    def _check_leaves(self, bundle, hashes):
        entries, given = self._items(bundle), self._items(hashes)
        computed = [merkle.leaf_hash(e) for e in entries or []] or given
        given = given or computed or [bytes(32)] * bundle.width
        computed = computed or given
        for position, pair in enumerate(zip(computed, given), bundle.start):
            if pair[0] != pair[1]:
                self.different.append((position, bundle.path, hashes.path))
            for frontier, nodes, hash_ in zip(
                    self.frontiers, self.nodes, pair):
                for level, number, node in frontier.append(hash_):
                    if level and not level % tile.HEIGHT:
                        nodes[level // tile.HEIGHT, number] = node

    def _choose(self):
        "Name what differs, and return the nodes that are signed"
        signed = [
            f.root == self.checkpoint.root for f in self.frontiers]
        for position, bundle, hashes in self.different:
            if not signed[0]:
                self.faults.append(Fault(
                        bundle, f"the entry {position} is another one."))
            if not signed[1]:
                self.faults.append(Fault(
                        hashes, f"the hash {position} is another one."))
        if not any(signed):
            self.faults.append(Fault(
                    CHECKPOINT, "the root is not the one of the entries."))
        return self.nodes[1 if signed == [False, True] else 0]

    def _check_nodes(self, wanted, nodes):
        for number, hash_ in enumerate(
                self._items(wanted) or [], wanted.start):
            if nodes[wanted.level, number] != hash_:
                self.faults.append(Fault(
                        wanted.path, f"the hash {number} is another one."))
