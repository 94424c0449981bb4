# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"What a trust party proves: checkpoints, inclusion in its log, records"
import hashlib
import re
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from . import canonical
from .canonical import Refused, decode

EVIDENCE = [
    'event', 'message', 'sender', 'recipient', 'digest', 'time', 'sequence',
    'previous', 'signature', 'receipt', 'reason', 'text']
# What ends the way of a message
CLOSING = ['submission-rejection', 'delivery', 'delivery-failure']


class Checkpoint(NamedTuple):
    origin: str
    size: int
    root: bytes


def sha256(*parts):
    return hashlib.sha256(b''.join(parts)).digest()


def vkey(text):
    "Return name, id and raw key of the vkey of a log"
    name, _, rest = text.partition('+')
    id_, _, key = rest.partition('+')
    key = decode(key)
    if len(key) != 33 or key[0] != 1 or sha256(
            name.encode(), b'\n', key)[:4].hex() != id_:
        raise Refused("not the key of a log")
    return name, bytes.fromhex(id_), key[1:]


def checkpoint(note, log):
    "Return the checkpoint of a note that the log signed"
    name, id_, key = vkey(log)
    text, separator, lines = note.rpartition('\n\n')
    text += '\n'
    head = re.fullmatch(
        '([^\n]+)\n(0|[1-9][0-9]{0,18})\n([A-Za-z0-9+/]{43}=)\n', text)
    if not separator or not lines.endswith('\n') or not head:
        raise Refused("not a checkpoint")
    for line in lines[:-1].split('\n'):
        dash, signer, value = (line.split(' ') + ['', ''])[:3]
        if dash == '\u2014' and signer == name == head[1]:
            value = decode(value)
            if value[:4] == id_:
                try:
                    Ed25519PublicKey.from_public_bytes(key).verify(
                        value[4:], text.encode())
                except InvalidSignature as exception:
                    raise Refused("a false checkpoint") from exception
                return Checkpoint(head[1], int(head[2]), decode(head[3]))
    raise Refused("the log did not sign the checkpoint")


def root(index, size, leaf, hashes):
    "Return the root that the inclusion proof leads to (RFC 9162, 2.1.3.2)"
    if not 0 <= index < size:
        raise Refused("outside the tree")
    last, result = size - 1, leaf
    for hash_ in hashes:
        if not last:
            raise Refused("a hash too many")
        if index & 1 or index == last:
            result = sha256(b'\x01', hash_, result)
            while not index & 1 and index:
                index, last = index >> 1, last >> 1
        else:
            result = sha256(b'\x01', result, hash_)
        index, last = index >> 1, last >> 1
    if last:
        raise Refused("a hash too few")
    return result


def grown(old, new, read):
    """Refuse the new checkpoint unless its tree begins with that of the old
    one, which may be None.

    read gives the content of a tile by its path (c2sp.org/tlog-tiles)."""
    if new.size:
        size = old.size if old else 0
        hashes = dict(_parts(0, new.size, size, new.size, read))
        if _join(hashes, 0, new.size) != new.root:
            raise Refused("the tiles do not lead to the checkpoint")
        if size and _join(hashes, 0, size) != old.root:
            raise Refused("the tree does not begin with the known one")
    elif old and old.size:
        raise Refused("the log went back")


def _parts(start, size, old, total, read):
    "Yield the hashes that make both trees, by start and size"
    half = _half(size)
    if size == 2 * half or size == 1:
        if not start < old < start + size:
            yield (start, size), _node(start, size, total, read)
            return
    yield from _parts(start, half, old, total, read)
    yield from _parts(start + half, size - half, old, total, read)


def _half(size):
    "The largest power of two below the size"
    return 1 << (size - 1).bit_length() >> 1


def _join(hashes, start, size):
    if (start, size) in hashes:
        return hashes[start, size]
    half = _half(size)
    return sha256(b'\x01', _join(hashes, start, half),
        _join(hashes, start + half, size - half))


def _node(start, size, total, read):
    "Return the hash of a part of the tree of total entries"
    level, depth = divmod(size.bit_length() - 1, 8)
    number, first = divmod(start >> 8 * level, 256)
    width = min((total >> 8 * level) - 256 * number, 256)
    tile = read(_path(level, number, width))
    if len(tile) != 32 * width:
        raise Refused("not a tile")
    hashes = [
        tile[32 * i:32 * i + 32] for i in range(first, first + (1 << depth))]
    while len(hashes) > 1:
        hashes = [
            sha256(b'\x01', *pair) for pair in zip(hashes[::2], hashes[1::2])]
    return hashes[0]


def _path(level, number, width):
    digits = f'{number:03}'
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[i:i + 3] for i in range(0, len(digits), 3)]
    path = '/'.join([*(f'x{g}' for g in groups[:-1]), groups[-1]])
    return f'{level}/{path}' + (f'.p/{width}' if width < 256 else '')


def included(entry, proof, log):
    "Return the checkpoint of the log whose tree holds the entry"
    head, _, note = proof.partition('\n\n')
    lines = head.split('\n')
    if (len(lines) < 2 or lines[0] != 'c2sp.org/tlog-proof@v1'
            or not re.fullmatch('index (0|[1-9][0-9]{0,18})', lines[1])):
        raise Refused("not a proof")
    seen = checkpoint(note, log)
    leaf = sha256(b'\x00', entry)
    if root(int(lines[1][6:]), seen.size, leaf,
            [decode(line) for line in lines[2:]]) != seen.root:
        raise Refused("the log does not hold the entry")
    return seen


def record(value, log):
    "Return entry, evidence and checkpoint of a record of the trust party"
    evidence, nonce, proof = canonical.members(
        value, 'evidence', 'nonce', 'proof')
    evidence, nonce = decode(evidence), decode(nonce)
    if len(nonce) != 32:
        raise Refused("the nonce is not 32 bytes")
    entry = b'\x01' + sha256(
        b'trycoton-commitment@1\n', nonce, sha256(evidence))
    event = canonical.load(evidence)
    canonical.members(event, *EVIDENCE)
    return entry, event, included(entry, proof, log)
