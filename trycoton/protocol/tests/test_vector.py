# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
import unittest

from trycoton.protocol import vector

from .make_vectors import VECTORS, make


class VectorTestCase(unittest.TestCase):
    "Test the vectors that are shipped"

    def test_names(self):
        "Each file is one that can be made"
        self.assertEqual(vector.names(), sorted(VECTORS))

    def test_cases(self):
        "The reference answers each case as it must"
        for name in vector.names():
            cases = vector.load(name)['cases']
            self.assertEqual(
                {c['valid'] for c in cases}, {True, False}, msg=name)
            self.assertEqual(len({c['name'] for c in cases}), len(cases))
            for case in cases:
                with self.subTest(vectors=name, case=case['name']):
                    self.assertIsNone(vector.check(name, case))

    def test_same(self):
        "The files are those that the reference makes"
        for name in VECTORS:
            with self.subTest(vectors=name):
                text = (vector.FOLDER / f'{name}.json').read_text('utf-8')
                self.assertEqual(text, make(name))
