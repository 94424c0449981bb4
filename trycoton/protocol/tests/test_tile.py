# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
import unittest

from trycoton.protocol import merkle
from trycoton.protocol.errors import Malformed
from trycoton.protocol.tile import (
    Tile, needed, node_getter, pack_entries, parse_entries, tiles)


class TileTestCase(unittest.TestCase):
    "Test tiles"

    def test_path(self):
        "Test paths of the specification"
        for tile, path in [
                (Tile(0, 0), 'tile/0/000'),
                (Tile(0, 999, 1), 'tile/0/999.p/1'),
                (Tile(1, 1000), 'tile/1/x001/000'),
                (Tile(63, 1234067, 255), 'tile/63/x001/x234/067.p/255'),
                (Tile(None, 1234067), 'tile/entries/x001/x234/067'),
                (Tile(None, 5, 12), 'tile/entries/005.p/12')]:
            with self.subTest(path=path):
                self.assertEqual(tile.path, path)
                self.assertEqual(Tile.parse(path), tile)

    def test_malformed_path(self):
        "Test what the writer would not write"
        for path in [
                '', 'tile', 'tile/0', 'tile/0/0', 'tile/0/00', 'tile/00/000',
                'tile/64/000', 'tile/-1/000', 'tile/0/0000', 'tile/0/x000/000',
                'tile/0/000/000', 'tile/0/x001', 'tile/0/x001/x002',
                'tile/0/000.p/0', 'tile/0/000.p/256', 'tile/0/000.p/01',
                'tile/0/000.p/', 'tile/0/000.p', 'tile/0/000 ', '/tile/0/000',
                'tile/0/000\n', 'tile/0/٠٠٠', 'tile/data/000',
                'tile/Entries/000', 'tile/0/../000',
                'tile/0/' + 'x001/' * 7 + '000']:
            with self.subTest(path=path), self.assertRaises(Malformed):
                Tile.parse(path)

    def test_tiles(self):
        "Test the tiles of a tree, after the example of the specification"
        paths = [t.path for t in tiles(70000) if t.level is not None]
        self.assertEqual(len(paths), 273 + 1 + 1 + 1 + 1)
        self.assertEqual([p for p in paths if '.p/' in p], [
                'tile/0/273.p/112', 'tile/1/001.p/17', 'tile/2/000.p/1'])
        self.assertEqual(
            [t.path for t in tiles(256)],
            ['tile/entries/000', 'tile/0/000', 'tile/1/000.p/1'])
        self.assertEqual(tiles(0), [])
        self.assertEqual(
            [t.path for t in tiles(1)],
            ['tile/entries/000.p/1', 'tile/0/000.p/1'])

    def test_new_tiles(self):
        "Test the tiles that a tree did not have"
        for old in range(0, 1100, 13):
            for size in range(old, 1100, 101):
                self.assertEqual(
                    set(tiles(size, old)),
                    set(tiles(size)) - set(tiles(old)))

    def test_exists(self):
        "Test which tiles a tree has"
        for size in [0, 1, 255, 256, 257, 70000]:
            for tile in tiles(size):
                self.assertTrue(tile.exists(size))
                self.assertFalse(tile.exists(size - 1)
                    and tile not in tiles(size - 1)
                    and tile.width == 256)
            self.assertFalse(Tile(0, size // 256, size % 256 + 1).exists(size))

    def test_entries(self):
        "Test bundles of entries"
        entries = [b'', b'a', b'b' * 33, b'c' * 65535]
        data = pack_entries(entries)
        self.assertEqual(parse_entries(data), entries)
        self.assertEqual(Tile(None, 0, 4).check(data), entries)
        with self.assertRaises(Malformed):
            pack_entries([b'c' * 65536])
        for cut in [1, 3, 4, 6, 39, 41, len(data) - 1]:
            with self.assertRaises(Malformed):
                parse_entries(data[:cut])
        with self.assertRaises(Malformed):
            Tile(None, 0, 3).check(data)

    def test_check(self):
        "Test the bytes of a tile"
        data = bytes(range(256)) * 32
        hashes = Tile(0, 0).check(data)
        self.assertEqual(b''.join(hashes), data)
        for wrong in [data[:-1], data[:-32], data + data[:32], b'']:
            with self.assertRaises(Malformed):
                Tile(0, 0).check(wrong)

    def test_node_getter(self):
        "Test proofs made from tiles alone"
        size, sizes = 66000, [1, 255, 256, 257, 4097, 65535, 65536, 66000]
        frontier, nodes, roots, leaves = merkle.Frontier(), {}, {}, {}
        for index in range(size):
            leaves[index] = leaf = merkle.leaf_hash(b'%d' % index)
            for level, n, hash_ in frontier.append(leaf):
                if not level % 8:
                    nodes[level // 8, n] = hash_
            if index + 1 in sizes:
                roots[index + 1] = frontier.root
        files, asked = {}, set()
        for tile in tiles(size):
            if tile.level is not None:
                files[tile.level, tile.index] = [
                    nodes[tile.level, tile.start + i]
                    for i in range(tile.width)]

        def hashes(level, start, count):
            index, start = divmod(start, 256)
            asked.add((level, index))
            return files[level, index][start:start + count]

        node = node_getter(hashes)
        for new in sizes:
            self.assertEqual(merkle.tree_root(node, new), roots[new])
            for index in {0, new // 2, new - 1}:
                asked.clear()
                merkle.verify_inclusion(
                    index, new, leaves[index],
                    merkle.inclusion_proof(node, index, new), roots[new])
                self.assertEqual(asked, needed(
                        lambda node: merkle.inclusion_proof(
                            node, index, new)))
            for old in sizes:
                if old <= new:
                    merkle.verify_consistency(
                        old, new, roots[old], roots[new],
                        merkle.consistency_proof(node, old, new))
