# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
import json
import random
import unittest
import warnings

from joserfc import jws as jose
from joserfc.jwk import OKPKey

from trycoton.protocol import signature
from trycoton.protocol.errors import (
    Malformed, ProtocolError, Rejected, UnknownKey)
from trycoton.protocol.signature import (
    EncryptionKey, PublicKey, SigningKey, b64url, b64url_decode)

from .sample import ENCRYPTION_KEY, KEY, KEYS, OTHER_KEY, flips, mutations

DATA = b'anything'


def foreign(header, data=DATA, key=KEY):
    "Return a JWS with a header of another writer"
    if not isinstance(header, bytes):
        header = json.dumps(header).encode()
    start = b64url(header)
    value = key.sign(f'{start}.{b64url(data)}'.encode())
    return f'{start}..{b64url(value)}'


class SignatureTestCase(unittest.TestCase):
    "Test signatures"

    def test_verify(self):
        "Each type of signature is accepted for itself and nothing else"
        for typ in signature.TYPES:
            jws = signature.sign(DATA, typ, KEY)
            self.assertEqual(signature.type_of(jws), typ)
            for other in signature.TYPES:
                with self.subTest(typ=typ, other=other):
                    if typ == other:
                        self.assertEqual(
                            signature.verify(DATA, jws, other, KEYS), KEY.kid)
                    else:
                        with self.assertRaises(Rejected):
                            signature.verify(DATA, jws, other, KEYS)
                        with self.assertRaises(Rejected):
                            signature.kid_of(jws, other)

    def test_large(self):
        "Large and empty data are signed"
        for data in [b'', b'x' * 6 * 1024 * 1024]:
            jws = signature.sign(data, signature.ENVELOPE, KEY)
            signature.verify(data, jws, signature.ENVELOPE, KEYS)

    def test_joserfc(self):
        "A JWS library verifies what we sign"
        jws = signature.sign(DATA, signature.RECEIPT, KEY)
        key = OKPKey.import_key(KEY.public.to_jwk())
        self.assertEqual(key.thumbprint(), KEY.kid)
        value = jose.deserialize_compact(
            jws, key, algorithms=['Ed25519'], payload=DATA)
        self.assertEqual(value.headers()['typ'], signature.RECEIPT)

    def test_foreign(self):
        "We verify what others sign: EdDSA, spaces, another order"
        for header in [
                {'typ': signature.RECEIPT, 'kid': KEY.kid, 'alg': 'EdDSA'},
                {'kid': KEY.kid, 'alg': 'Ed25519', 'typ': signature.RECEIPT},
                ]:
            with self.subTest(header=header), warnings.catch_warnings():
                warnings.simplefilter('error')
                self.assertEqual(
                    signature.verify(
                        DATA, foreign(header), signature.RECEIPT, KEYS),
                    KEY.kid)

    def test_unknown(self):
        "An unknown key is told from a bad signature"
        jws = signature.sign(DATA, signature.RECEIPT, OTHER_KEY)
        with self.assertRaises(UnknownKey):
            signature.verify(DATA, jws, signature.RECEIPT, KEYS)
        for key in [KEY.public, ENCRYPTION_KEY.public]:
            with self.assertRaises(Rejected):
                signature.verify(
                    DATA, jws, signature.RECEIPT, {OTHER_KEY.kid: key})

    def test_flips(self):
        "A bit flipped in the data or in the JWS is refused"
        data = bytes(range(256))
        jws = signature.sign(data, signature.RECEIPT, KEY)
        for flipped in flips(data):
            with self.assertRaises(Rejected):
                signature.verify(flipped, jws, signature.RECEIPT, KEYS)
        for bit in range(7):
            for index in range(len(jws)):
                flipped = (jws[:index] + chr(ord(jws[index]) ^ 1 << bit)
                    + jws[index + 1:])
                with self.assertRaises((Malformed, Rejected)):
                    signature.verify(data, flipped, signature.RECEIPT, KEYS)

    def test_malformed(self):
        "Another form of JWS is refused"
        good = {'alg': 'Ed25519', 'kid': KEY.kid, 'typ': signature.RECEIPT}
        jws = signature.sign(DATA, signature.RECEIPT, KEY)
        header, _, value = jws.split('.')
        for bad in [
                None, b'', '', '..', jws + '\n', ' ' + jws, jws + '=',
                f'{header}.{b64url(DATA)}.{value}', f'{header}.{value}',
                f'{header}..{value[:-1]}', f'{header}=..{value}',
                foreign(b''), foreign(b'[]'), foreign(b'"a"'),
                foreign(b'\xff'), foreign(b'[' * 300),
                foreign({}), foreign({**good, 'crit': []}),
                foreign({**good, 'b64': False}), foreign({**good, 'kid': 1}),
                foreign({**good, 'kid': 43 * '\0'}),
                foreign({**good, 'kid': KEY.kid + '\n'}),
                foreign({**good, 'kid': '\ud800'}),
                foreign({**good, 'alg': None}),
                foreign({k: good[k] for k in ['alg', 'kid']}),
                foreign(json.dumps(good)[:-1].encode() + b',"kid":"a"}'),
                ]:
            with self.subTest(jws=bad):
                with self.assertRaises(Malformed):
                    signature.verify(DATA, bad, signature.RECEIPT, KEYS)
        for alg in ['none', 'HS256', 'ES256', 'Ed448', 'eddsa', '']:
            with self.subTest(alg=alg):
                with self.assertRaises(Rejected):
                    signature.verify(
                        DATA, foreign({**good, 'alg': alg}),
                        signature.RECEIPT, KEYS)

    def test_mutations(self):
        "A mutated JWS is refused, with our errors only"
        jws = signature.sign(DATA, signature.RECEIPT, KEY)
        for mutated in mutations(jws.encode(), 500, random.Random(1)):
            mutated = mutated.decode('latin-1')
            if mutated != jws:
                with self.assertRaises(ProtocolError):
                    signature.verify(DATA, mutated, signature.RECEIPT, KEYS)

    def test_keys(self):
        "Keys survive their bytes and their JWK"
        for class_ in [SigningKey, EncryptionKey]:
            key = class_.generate()
            self.assertEqual(
                class_.from_bytes(key.to_bytes()).kid, key.kid)
            self.assertEqual(
                PublicKey.from_jwk(key.public.to_jwk()), key.public)
            self.assertEqual(len(b64url_decode(key.kid)), 32)
            with self.assertRaises(Malformed):
                class_.from_bytes(b'short')

    def test_public_key_refused(self):
        "Other forms of public key are refused"
        good = KEY.public.to_jwk()
        for jwk in [
                None, {}, [], {**good, 'd': 'AA'}, {**good, 'kty': 'RSA'},
                {**good, 'crv': 'X25519'}, {**good, 'use': 'enc'},
                {**good, 'use': 'other'}, {**good, 'x': good['x'] + '='},
                {**good, 'x': good['x'][:-2]}, {**good, 'x': 1},
                {**good, 'x': '\u00e9'}]:
            with self.subTest(jwk=jwk):
                with self.assertRaises(Malformed):
                    PublicKey.from_jwk(jwk)

    def test_weak_key(self):
        "A key for which anybody can sign is refused"
        for data in signature.WEAK:
            for sign in [0, 0x80]:
                with self.assertRaises(Malformed):
                    PublicKey('sig', data[:31] + bytes([data[31] | sign]))

    def test_bare(self):
        "Bare signatures are for signing keys"
        value = KEY.sign(DATA)
        KEY.public.verify(DATA, value)
        for key, data, value in [
                (KEY.public, b'other', value),
                (OTHER_KEY.public, DATA, value),
                (KEY.public, DATA, value[:-1]),
                (ENCRYPTION_KEY.public, DATA, value)]:
            with self.assertRaises(Rejected):
                key.verify(data, value)
