# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The Merkle tree of a log: RFC 6962, section 2.1, with SHA-256.

A *range* ``(start, end)`` stands for the tree over the leaves from start up
to end.  A proof is the hashes of a list of ranges, and is checked by folding
what is known into the range of the whole tree: one description of the shape
serves to write proofs and to read them.

A log keeps a :class:`Frontier` to append, and its *nodes*, the hashes of
perfect subtrees: node (level, index) is the range
``(index << level, index + 1 << level)``.
"""
import hashlib

from .errors import Malformed, Rejected

EMPTY_ROOT = hashlib.sha256(b'').digest()
MAX_SIZE = 2 ** 63 - 1


def leaf_hash(entry):
    "Return the 32 byte hash of the bytes of an entry"
    return hashlib.sha256(b'\x00' + entry).digest()


def node_hash(left, right):
    "Return the 32 byte hash of two subtrees"
    return hashlib.sha256(b'\x01' + left + right).digest()


def root(hashes):
    "Return the root of the tree over leaf hashes; raise Malformed"
    frontier = Frontier()
    for hash_ in hashes:
        frontier.append(hash_)
    return frontier.root


def perfect_root(hashes):
    """Return the root of the tree over 2 ** n leaf hashes

    As root, but in a quarter of the time; raise Malformed.
    """
    hashes = list(hashes)
    check_hashes(hashes)
    if not hashes or len(hashes) & len(hashes) - 1:
        raise Malformed("The tree is not perfect.")
    while len(hashes) > 1:
        hashes = list(map(node_hash, hashes[::2], hashes[1::2]))
    return hashes[0]


class Frontier:
    """What a log must remember to append: O(log n) hashes

    hashes are those of the perfect subtrees that size leaves fill, from the
    largest, on the left, to the smallest.
    """

    def __init__(self, size=0, hashes=()):
        check_size(size)
        self.size = size
        self.hashes = list(hashes)
        if len(self.hashes) != bin(size).count('1'):
            raise Malformed("The frontier is not of this size.")
        check_hashes(self.hashes)

    @classmethod
    def from_bytes(cls, size, data):
        "Return the frontier of what to_bytes gave; raise Malformed"
        return cls(size, split_hashes(data))

    def to_bytes(self):
        "Return the hashes one after the other"
        return b''.join(self.hashes)

    def append(self, hash_):
        """Append a leaf hash and return the nodes that it completes

        They are (level, index, hash), from the leaf up; raise Malformed.
        """
        check_hashes([hash_])
        level, index, nodes = 0, self.size, [(0, self.size, hash_)]
        while index & 1:
            level, index = level + 1, index >> 1
            hash_ = node_hash(self.hashes.pop(), hash_)
            nodes.append((level, index, hash_))
        self.hashes.append(hash_)
        self.size += 1
        return nodes

    @property
    def root(self):
        "The root of the tree"
        hashes = self.hashes[::-1]
        if not hashes:
            return EMPTY_ROOT
        result = hashes[0]
        for hash_ in hashes[1:]:
            result = node_hash(hash_, result)
        return result


def inclusion_ranges(index, size):
    "Return the ranges of an inclusion proof, from the leaf; raise Rejected"
    check_size(size)
    if not _is_integer(index) or not 0 <= index < size:
        raise Rejected("The entry is outside the tree.")
    start, end, ranges = 0, size, []
    while end - start > 1:
        middle = _middle(start, end)
        if index < middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((start, middle))
            start = middle
    return ranges[::-1]


def consistency_ranges(old, new):
    "Return the ranges of a consistency proof, RFC 6962 order; raise Rejected"
    check_size(old)
    check_size(new)
    if not 0 < old <= new:
        raise Rejected("The sizes have no consistency proof.")
    start, end, ranges = 0, new, []
    while end != old:
        middle = _middle(start, end)
        if old <= middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((start, middle))
            start = middle
    if start:
        ranges.append((start, old))
    return ranges[::-1]


def growth_ranges(old, new):
    """Return ranges of which the trees of both sizes are made

    They are those of the consistency proof and, where it leaves out the old
    tree as known, that tree itself; raise Rejected.
    """
    ranges = consistency_ranges(old, new)
    if all(end != old for _, end in ranges):
        ranges.insert(0, (0, old))
    return ranges


def inclusion_proof(node, index, size):
    """Return the hashes that prove the entry at index of a tree of size

    node(level, index) gives the hash of a perfect subtree.
    """
    return [range_hash(node, *r) for r in inclusion_ranges(index, size)]


def consistency_proof(node, old, new):
    "Return the hashes that prove that the tree of size old grew into new"
    return [range_hash(node, *r) for r in consistency_ranges(old, new)]


def growth(node, old, new):
    "Return the hashes of the growth_ranges, from the nodes of the new tree"
    return [range_hash(node, *r) for r in growth_ranges(old, new)]


def growth_roots(old, new, hashes):
    """Return the roots of both trees that the hashes of growth_ranges give

    Raise Malformed or Rejected.
    """
    check_hashes(hashes)
    known = _known(growth_ranges(old, new), hashes)
    return _fold(known, 0, old), _fold(known, 0, new)


def tree_root(node, size):
    "Return the root of the tree of size, from its nodes"
    return range_hash(node, 0, size) if size else EMPTY_ROOT


def range_hash(node, start, end):
    "Return the hash of a range, from the nodes it is made of"
    level = (end - start).bit_length() - 1
    if end - start == 1 << level:
        return node(level, start >> level)
    middle = _middle(start, end)
    return node_hash(
        range_hash(node, start, middle), range_hash(node, middle, end))


def verify_inclusion(index, size, leaf, proof, root):
    """Check that the tree of size and root holds a leaf hash at index

    Return the hash of each range seen on the way: in one log a range has
    one hash, whatever the size of the tree.
    Raise Malformed, or Rejected if the proof does not hold.
    """
    check_hashes([leaf, root, *proof])
    known = _known(inclusion_ranges(index, size), proof)
    known[index, index + 1] = leaf
    _fold_to(known, size, root)
    return known


def verify_consistency(old, new, old_root, new_root, proof):
    """Check that the tree of size old and old_root grew into the new one

    Return the hash of each range seen on the way.
    Raise Malformed, or Rejected if the proof does not hold.
    """
    check_hashes([old_root, new_root, *proof])
    ranges = consistency_ranges(old, new) if old or new else []
    known = _known(ranges, proof)
    if all(end != old for _, end in ranges):
        known[0, old] = old_root  # the old tree is whole in the new one
    _fold_to(known, old, old_root)
    _fold_to(known, new, new_root)
    return known


def check_size(size):
    "Raise Malformed if it is not the size of a tree"
    if not _is_integer(size) or not 0 <= size <= MAX_SIZE:
        raise Malformed("Not the size of a tree.")


def check_hashes(hashes):
    "Raise Malformed if one is not 32 bytes"
    for hash_ in hashes:
        if not isinstance(hash_, bytes) or len(hash_) != 32:
            raise Malformed("A hash is not 32 bytes.")


def split_hashes(data):
    "Return the list of hashes written one after the other; raise Malformed"
    hashes = [data[i:i + 32] for i in range(0, len(data), 32)]
    check_hashes(hashes)
    return hashes


def _is_integer(value):
    return isinstance(value, int) and not isinstance(value, bool)


def _middle(start, end):
    "Where a range is split: after the largest power of two below its count"
    return start + (1 << (end - start - 1).bit_length() - 1)


def _known(ranges, proof):
    if len(ranges) != len(proof):
        raise Rejected(
            f"The proof has {len(proof)} hashes instead of {len(ranges)}.")
    return dict(zip(ranges, proof))


def _fold(known, start, end):
    if (start, end) not in known:
        middle = _middle(start, end)
        known[start, end] = node_hash(
            _fold(known, start, middle), _fold(known, middle, end))
    return known[start, end]


def _fold_to(known, size, root):
    if (_fold(known, 0, size) if size else EMPTY_ROOT) != root:
        raise Rejected("The proof does not lead to the root of the tree.")
