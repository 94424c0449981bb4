# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"The foreign partner answers the vectors as the reference does"
import ast
import sys
import unittest
from itertools import combinations_with_replacement
from pathlib import Path

from trycoton.protocol import merkle, vector
from trycoton.protocol.tile import Tile

from . import EXAMPLES
from .foreign import Refused, canonical, key, message, proof

ALLOWED = {'cryptography', 'joserfc', 'lxml'}


def _canonical(case):
    data = canonical.decode(case['data'])
    return {
        'value': canonical.load(data), 'digest': canonical.digest(data)}


def _identifier(case):
    return dict(zip(
            ['scheme', 'value'], message.check_identifier(case['text'])))


def _key(case):
    key.raw(case['key'])
    return {
        'kid': key.kid(case['key']),
        'fingerprint': key.fingerprint(case['key'])}


def _signature(case):
    key.raw(case['key'])
    key.verify(
        canonical.decode(case['data']), case['jws'], case['typ'],
        {key.kid(case['key']): case['key']})


def _message(case):
    said = message.read(canonical.decode(case['data']))
    result = {
        'header': said.header, 'digest': said.digest, 'typ': said.typ}
    if said.typ != 'trycoton-envelope':
        result['body'] = said.content
    return result


def _merkle(case):
    hashes = [bytes.fromhex(h) for h in case['proof']]
    leaf = proof.sha256(b'\x00', bytes.fromhex(case['entry']))
    if proof.root(case['index'], case['size'], leaf, hashes).hex() != (
            case['root']):
        raise Refused("another root")


def _note(case):
    return {
        **(seen := proof.checkpoint(case['note'], case['vkey']))._asdict(),
        'root': seen.root.hex()}


def _proof(case):
    value = canonical.load(canonical.decode(case['data']))
    entry, event, seen = proof.record(value, case['vkey'])
    return {'entry': entry.hex(), 'event': event, 'size': seen.size}


ANSWERS = {
    'canonical': _canonical, 'identifier': _identifier, 'key': _key,
    'signature': _signature, 'message': _message, 'merkle': _merkle,
    'note': _note, 'proof': _proof}


class VectorTestCase(unittest.TestCase):
    "Test the forms of the foreign partner"

    def test_vectors(self):
        "It accepts and refuses the same, and finds the same"
        for name, answer in ANSWERS.items():
            for case in vector.load(name)['cases']:
                if name == 'merkle' and 'entry' not in case:
                    # It follows no tree from one size to another
                    continue
                with self.subTest(vectors=name, case=case['name']):
                    self.check(answer, case)

    def check(self, answer, case):
        if not case['valid']:
            with self.assertRaises(Refused):
                answer(case)
            return
        expected = case.get('result')
        if expected:
            # It keeps the document and not its bytes
            expected.pop('payload', None)
        self.assertEqual(answer(case), expected)

    def test_grown(self):
        "It follows a tree from one size to another, by its tiles"
        leaves = [
            proof.sha256(b'\x00', bytes([i % 256])) for i in range(600)]

        def seen(size, fork=None):
            hashes = leaves[:size]
            if fork is not None:
                hashes[fork] = bytes(32)
            return proof.Checkpoint('log', size, merkle.root(hashes))

        def read(path):
            tile = Tile.parse(f'tile/{path}')
            step = 256 ** tile.level
            return b''.join(
                merkle.root(leaves[i * step:(i + 1) * step])
                for i in range(tile.start, tile.start + tile.width))

        sizes = [0, 1, 2, 3, 7, 8, 255, 256, 257, 511, 512, 513, 600]
        for old, new in combinations_with_replacement(sizes, 2):
            with self.subTest(old=old, new=new):
                proof.grown(seen(old), seen(new), read)
                for wrong in {0, old // 2, old - 1} if old else []:
                    with self.assertRaises(Refused):
                        proof.grown(seen(old, wrong), seen(new), read)
                    with self.assertRaises(Refused):
                        proof.grown(seen(old), seen(new, wrong), read)
        proof.grown(None, seen(600), read)
        with self.assertRaises(Refused):
            proof.grown(seen(1), seen(0), read)

    def test_foreign(self):
        "It is made of the standard library and three packages"
        for path in Path(EXAMPLES, 'partner').glob('*.py'):
            for node in ast.walk(ast.parse(path.read_text('utf-8'))):
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom) and not node.level:
                    names = [node.module]
                else:
                    continue
                for name in names:
                    root = name.partition('.')[0]
                    self.assertTrue(
                        root in ALLOWED | sys.stdlib_module_names,
                        msg=f'{path.name}: {name}')
