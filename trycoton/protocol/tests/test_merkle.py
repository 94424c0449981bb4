# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
import base64
import json
import os
import unittest
from pathlib import Path

from trycoton.protocol import merkle
from trycoton.protocol.errors import Malformed, ProtocolError, Rejected

CONFORMANCE = Path(os.environ.get('TRYCOTON_CONFORMANCE')
    or Path(__file__).parents[4] / 'shared' / 'conformance')
# Its roots have 12 bytes
SKIPPED = 'sizes-are-equal-one-and-proof-is-empty.json'
SIZE = 32

LEAVES = [merkle.leaf_hash(bytes([i])) for i in range(SIZE)]


def definition(leaves):
    "MTH of RFC 6962, word for word"
    if not leaves:
        return merkle.EMPTY_ROOT
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return merkle.node_hash(definition(leaves[:k]), definition(leaves[k:]))


ROOTS = [definition(LEAVES[:size]) for size in range(SIZE + 1)]


def node(level, index):
    return definition(LEAVES[index << level:index + 1 << level])


def flips(proof):
    "The proofs with one bit changed in one hash, or one hash less or more"
    for i, hash_ in enumerate(proof):
        for byte in 0, 17, 31:
            changed = bytearray(hash_)
            changed[byte] ^= 1 << byte % 8
            yield [*proof[:i], bytes(changed), *proof[i + 1:]]
        yield [*proof[:i], *proof[i + 1:]]
        yield [*proof[:i], hash_[:-1], *proof[i + 1:]]
        yield [*proof[:i], hash_ + b'\0', *proof[i + 1:]]
    if len(set(proof)) > 1:
        yield proof[::-1]
    for hash_ in [bytes(32), ROOTS[0], LEAVES[0]]:
        yield [hash_, *proof]
        yield [*proof, hash_]


class MerkleTestCase(unittest.TestCase):
    "Test the Merkle tree"

    def test_known_roots(self):
        "Test roots that RFC 6962 implementations publish"
        leaves = [merkle.leaf_hash(bytes.fromhex(e)) for e in [
                '', '00', '10', '2021', '3031', '40414243',
                '5051525354555657', '606162636465666768696a6b6c6d6e6f']]
        for size, root in [
                (0, 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b'
                    '7852b855'),
                (1, '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a306'
                    '17afa01d'),
                (8, '5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370ef'
                    'f4604328')]:
            with self.subTest(size=size):
                self.assertEqual(merkle.root(leaves[:size]).hex(), root)

    def test_perfect_root(self):
        "Test the faster way to the same root, where there is one"
        leaves = [merkle.leaf_hash(b'%d' % i) for i in range(64)]
        for size in range(65):
            with self.subTest(size=size):
                if size and not size & size - 1:
                    self.assertEqual(
                        merkle.perfect_root(leaves[:size]),
                        merkle.root(leaves[:size]))
                else:
                    with self.assertRaises(Malformed):
                        merkle.perfect_root(leaves[:size])
        with self.assertRaises(Malformed):
            merkle.perfect_root([b'short'])

    def test_frontier(self):
        "Test appending gives every root and every node"
        frontier, nodes = merkle.Frontier(), {}
        for size in range(SIZE):
            self.assertEqual(frontier.root, ROOTS[size])
            copy = merkle.Frontier.from_bytes(size, frontier.to_bytes())
            self.assertEqual(copy.root, ROOTS[size])
            for level, index, hash_ in frontier.append(LEAVES[size]):
                nodes[level, index] = hash_
            self.assertEqual(
                merkle.tree_root(lambda *n: nodes[n], size + 1),
                ROOTS[size + 1])
        self.assertEqual(len(nodes), 2 * SIZE - 1)
        for (level, index), hash_ in nodes.items():
            self.assertEqual(hash_, node(level, index))

    def test_frontier_malformed(self):
        "Test a frontier is refused when it is not of its size"
        for size, hashes in [
                (1, []), (0, [LEAVES[0]]), (2, LEAVES[:2]), (-1, []),
                (1, [b'short']), (True, LEAVES[:1]), (2 ** 63, LEAVES[:1])]:
            with self.subTest(size=size), self.assertRaises(Malformed):
                merkle.Frontier(size, hashes)
        with self.assertRaises(Malformed):
            merkle.Frontier.from_bytes(1, bytes(33))
        with self.assertRaises(Malformed):
            merkle.Frontier().append(bytes(31))

    def test_inclusion(self):
        "Test every entry of every small tree, and no other"
        for size in range(1, SIZE + 1):
            for index in range(size):
                proof = merkle.inclusion_proof(node, index, size)
                ranges = merkle.verify_inclusion(
                    index, size, LEAVES[index], proof, ROOTS[size])
                for (start, end), hash_ in ranges.items():
                    self.assertEqual(hash_, definition(LEAVES[start:end]))
                self.assertRejected(merkle.verify_inclusion,
                    index, size, LEAVES[index - 1] if size > 1 else ROOTS[0],
                    proof, ROOTS[size])
                for other in {index - 1, index + 1, index ^ 2, size}:
                    self.assertRejected(merkle.verify_inclusion,
                        other, size, LEAVES[index], proof, ROOTS[size])
                for other in {size - 1, size + 1, size * 2, 0}:
                    self.assertRejected(merkle.verify_inclusion,
                        index, other, LEAVES[index], proof, ROOTS[size - 1])
                for changed in flips(proof):
                    self.assertRejected(merkle.verify_inclusion,
                        index, size, LEAVES[index], changed, ROOTS[size])

    def test_consistency(self):
        "Test every pair of small trees, and no other"
        for new in range(1, SIZE + 1):
            for old in range(1, new + 1):
                proof = merkle.consistency_proof(node, old, new)
                ranges = merkle.verify_consistency(
                    old, new, ROOTS[old], ROOTS[new], proof)
                for (start, end), hash_ in ranges.items():
                    self.assertEqual(hash_, definition(LEAVES[start:end]))
                for roots in [
                        (ROOTS[old - 1], ROOTS[new]),
                        (ROOTS[old], ROOTS[new - 1]),
                        (ROOTS[0], ROOTS[new])]:
                    self.assertRejected(
                        merkle.verify_consistency, old, new, *roots, proof)
                for sizes in [
                        (old - 1, new), (old, new - 1), (new + 1, new)]:
                    self.assertRejected(merkle.verify_consistency,
                        *sizes, ROOTS[old], ROOTS[new - 1], proof)
                for changed in flips(proof):
                    self.assertRejected(merkle.verify_consistency,
                        old, new, ROOTS[old], ROOTS[new], changed)

    def test_empty(self):
        "Test the empty tree"
        empty = merkle.EMPTY_ROOT
        merkle.verify_consistency(0, 0, empty, empty, [])
        self.assertEqual(merkle.tree_root(node, 0), empty)
        for arguments in [
                (0, 0, empty, ROOTS[1], []),
                (0, 0, ROOTS[1], ROOTS[1], []),
                (0, 1, empty, ROOTS[1], []),
                (0, 0, empty, empty, [empty])]:
            self.assertRejected(merkle.verify_consistency, *arguments)

    def test_second_preimage(self):
        "Test an entry does not pass for a node"
        self.assertRejected(merkle.verify_inclusion,
            0, 2, merkle.leaf_hash(LEAVES[0] + LEAVES[1]), [node(1, 1)],
            ROOTS[4])

    def test_types(self):
        "Test what is not a size or a hash is refused"
        for arguments in [
                (0, 1, LEAVES[0], [], LEAVES[0].hex()),
                (0, 1, bytearray(LEAVES[0]), [], LEAVES[0]),
                (0, True, LEAVES[0], [], LEAVES[0]),
                (False, 1, LEAVES[0], [], LEAVES[0]),
                (0.0, 1, LEAVES[0], [], LEAVES[0]),
                (0, 1.0, LEAVES[0], [], LEAVES[0]),
                (0, 2 ** 64, LEAVES[0], [], LEAVES[0])]:
            with self.subTest(arguments=arguments):
                self.assertRejected(merkle.verify_inclusion, *arguments)

    def test_huge(self):
        "Test a proof in a huge tree takes no time"
        size = merkle.MAX_SIZE
        self.assertRejected(merkle.verify_inclusion,
            size - 1, size, LEAVES[0], [LEAVES[0]] * 62, LEAVES[0])
        self.assertRejected(merkle.verify_consistency,
            size // 2 - 5, size, LEAVES[0], LEAVES[0], [LEAVES[0]] * 62)

    def assertRejected(self, function, *arguments):
        with self.assertRaises((Malformed, Rejected)):
            function(*arguments)


@unittest.skipUnless(CONFORMANCE.is_dir(),
    "SKIPPED: no Merkle vectors, set TRYCOTON_CONFORMANCE to their folder")
class ConformanceTestCase(unittest.TestCase):
    "Test the Merkle tree with the vectors of others"

    def test_inclusion(self):
        "Test inclusion vectors"
        for vector in self.vectors('inclusion'):
            self.check(vector, merkle.verify_inclusion,
                vector['leafIdx'], vector['treeSize'], vector['leafHash'],
                vector['proof'], vector['root'])

    def test_consistency(self):
        "Test consistency vectors"
        for vector in self.vectors('consistency'):
            self.check(vector, merkle.verify_consistency,
                vector['size1'], vector['size2'], vector['root1'],
                vector['root2'], vector['proof'])

    def vectors(self, kind):
        paths = sorted((CONFORMANCE / 'merkle' / kind).rglob('*.json'))
        self.assertGreater(len(paths), 50)
        for path in paths:
            if path.name != SKIPPED:
                with self.subTest(path=str(path)):
                    yield json.loads(path.read_bytes())

    def check(self, vector, function, *arguments):
        arguments = [self.decode(argument) for argument in arguments]
        if vector['wantErr']:
            with self.assertRaises(ProtocolError):
                function(*arguments)
        else:
            function(*arguments)

    def decode(self, value):
        if isinstance(value, int):
            return value
        if isinstance(value, str):
            return base64.b64decode(value)
        return [base64.b64decode(v) for v in value or []]
