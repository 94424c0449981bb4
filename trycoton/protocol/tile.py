# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Tiles (c2sp.org/tlog-tiles): a log as immutable files for any cache.

A tile of level L holds up to 256 hashes of nodes of level 8 * L; a bundle
of entries goes with each tile of level 0.  A partial tile, at the right edge,
is named by its width.
"""
import re
from dataclasses import dataclass

from . import merkle
from .errors import Malformed

HEIGHT = 8
WIDTH = 1 << HEIGHT
MAX_ENTRY = 2 ** 16 - 1

_path = re.compile(
    r'tile/(entries|0|[1-9][0-9]?)/((?:x[0-9]{3}/){0,6}[0-9]{3})'
    r'(?:\.p/([1-9][0-9]{0,2}))?', re.ASCII)


@dataclass(frozen=True)
class Tile:
    "A tile of hashes or, without level, a bundle of entries"
    level: 'int | None'
    index: int
    width: int = WIDTH

    @property
    def path(self):
        "The path below the prefix of the log"
        groups, number = [], self.index
        while number >= 1000:
            number, group = divmod(number, 1000)
            groups.insert(0, f'{group:03}')
        groups.insert(0, f'{number:03}')
        *first, last = groups
        level = 'entries' if self.level is None else self.level
        partial = f'.p/{self.width}' if self.width < WIDTH else ''
        return '/'.join(
            ['tile', str(level), *(f'x{g}' for g in first), last]) + partial

    @classmethod
    def parse(cls, path):
        "Return the tile of a path; raise Malformed"
        match = _path.fullmatch(path)
        if not match:
            raise Malformed("Not the path of a tile.")
        level, index, width = match.groups()
        tile = cls(
            None if level == 'entries' else int(level),
            int(index.replace('/', '').replace('x', '')),
            int(width or WIDTH))
        if tile.path != path or (tile.level or 0) > 63:
            raise Malformed("Not the path of a tile.")
        return tile

    @property
    def start(self):
        "The index of its first node at its level, or of its first entry"
        return self.index * WIDTH

    def exists(self, size):
        "Tell if a tree of size has so many nodes there"
        nodes = size >> HEIGHT * (self.level or 0)
        return self.start + self.width <= nodes

    def check(self, data):
        "Return the hashes or entries in its bytes; raise Malformed"
        if self.level is None:
            items = parse_entries(data)
        else:
            items = merkle.split_hashes(data)
        if len(items) != self.width:
            raise Malformed("The tile has another width.")
        return items


def tiles(size, old=0):
    """Return the tiles of hashes and bundles of entries of a tree of size

    With old, only those that the tree of that size did not have.
    """
    result = []
    for level in [None, *range((size.bit_length() + HEIGHT - 1) // HEIGHT)]:
        nodes = size >> HEIGHT * (level or 0)
        before = old >> HEIGHT * (level or 0)
        if nodes == before:
            continue
        for index in range(before // WIDTH, -(-nodes // WIDTH)):
            width = min(nodes - index * WIDTH, WIDTH)
            result.append(Tile(level, index, width))
    return result


def pack_entries(entries):
    "Return the bytes of a bundle of entries; raise Malformed"
    result = []
    for entry in entries:
        if len(entry) > MAX_ENTRY:
            raise Malformed("The entry is too large.")
        result += [len(entry).to_bytes(2, 'big'), entry]
    return b''.join(result)


def parse_entries(data):
    "Return the entries of the bytes of a bundle; raise Malformed"
    entries, position = [], 0
    while position < len(data):
        start = position + 2
        position = start + int.from_bytes(data[position:start], 'big')
        if len(data) < start or len(data) < position:
            raise Malformed("The bundle of entries is cut.")
        entries.append(data[start:position])
    return entries


def reader(fetch, size):
    """Return the hashes of :func:`node_getter` out of the tiles of a tree

    fetch(tile) gives the bytes of a Tile that a tree of size has; each is
    asked for once.  What it raises passes through, as does Malformed.
    """
    known = {}

    def hashes(level, start, count):
        index = start >> HEIGHT
        nodes = size >> HEIGHT * level
        tile = Tile(level, index, min(nodes - (index << HEIGHT), WIDTH))
        if tile not in known:
            known[tile] = tile.check(fetch(tile))
        first = start - tile.start
        return known[tile][first:first + count]
    return hashes


def needed(compute, height=HEIGHT):
    """Return the (level, index) of the tiles that hold the nodes that
    compute(node) asks of a node getter of the same height, whose hashes it
    must not look at"""
    found = set()

    def node(level, index):
        level, above = divmod(level, height)
        found.add((level, index << above >> height))
        return merkle.EMPTY_ROOT
    compute(node)
    return found


def node_getter(hashes, height=HEIGHT):
    """Return the node getter of :mod:`~trycoton.protocol.merkle` over tiles

    hashes(level, start, count) gives the hashes of consecutive nodes of a
    tile level: a range scan of the nodes of level height * level, or a slice
    of one tile, for it never crosses the border of one.
    height is how many levels a tile stands for.
    """
    def node(level, index):
        level, above = divmod(level, height)
        return merkle.perfect_root(
            hashes(level, index << above, 1 << above))
    return node
