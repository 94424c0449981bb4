# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
import datetime as dt
import unittest

from trycoton.protocol import canonical, signature, token
from trycoton.protocol.errors import Malformed, Rejected, UnknownKey

from .sample import BUYER, ID, KEY, KEYS, OTHER_KEY, SELLER, TIME, TRUST

PATH = '/database/cooperative/edi/mailbox'


def keys_of(issuer):
    return KEYS if issuer == BUYER else {}


def issue(**values):
    return token.issue(**{
            'key': KEY,
            'issuer': BUYER,
            'audience': TRUST,
            'method': 'GET',
            'path': PATH,
            'now': TIME,
            **values})


def verify(value, **values):
    return token.verify(value, **{
            'keys_of': keys_of,
            'audience': TRUST,
            'method': 'GET',
            'path': PATH,
            'now': TIME,
            **values})


def attached(claims):
    header, _, value = signature.sign(
        claims, signature.TOKEN, KEY).split('.')
    return f'{header}.{signature.b64url(claims)}.{value}'


class TokenTestCase(unittest.TestCase):
    "Test pull tokens"

    def test_verify(self):
        "A token tells who asks"
        claims = verify(issue(jti=ID))
        self.assertEqual(claims['iss'], BUYER)
        self.assertEqual(claims['jti'], ID)
        self.assertEqual(claims['exp'] - claims['iat'], 60)
        self.assertNotEqual(verify(issue())['jti'], verify(issue())['jti'])

    def test_other_request(self):
        "A token is for one request"
        for values in [
                {'audience': SELLER}, {'method': 'POST'},
                {'path': PATH + '/'}]:
            with self.subTest(values=values):
                with self.assertRaises(Rejected):
                    verify(issue(), **values)

    def test_time(self):
        "A token lives a minute"
        for seconds, valid in [
                (-60, False), (-6, False), (-5, True), (0, True), (59, True),
                (60, False)]:
            with self.subTest(seconds=seconds):
                now = TIME + dt.timedelta(seconds=seconds)
                if valid:
                    verify(issue(), now=now)
                else:
                    with self.assertRaises(Rejected):
                        verify(issue(), now=now)

    def test_lifetime(self):
        "A token that would live longer is refused"
        claims = verify(issue())
        for exp in [claims['iat'], claims['iat'] + 61, 2 ** 40]:
            with self.assertRaises(Rejected):
                verify(attached(canonical.dump({**claims, 'exp': exp})))

    def test_signer(self):
        "A token is signed by its issuer"
        for values in [{'key': OTHER_KEY}, {'issuer': SELLER}]:
            with self.assertRaises(UnknownKey):
                verify(issue(**values))

    def test_malformed(self):
        "Another form of token is refused"
        value = issue()
        claims = verify(value)
        header, data, signed = value.split('.')
        for bad in [
                None, '', '..', '...', header, f'{header}..{signed}',
                f'{header}.{data}=.{signed}', value + '.', value + '\n',
                attached(b''), attached(b'[]'), attached(b'{}'),
                attached(canonical.dump({**claims, 'sub': 'x'})),
                attached(canonical.dump({**claims, 'iat': '1'})),
                attached(canonical.dump({**claims, 'htu': 'x'})),
                attached(canonical.dump(claims) + b' ')]:
            with self.subTest(token=bad):
                with self.assertRaises(Malformed):
                    verify(bad)

    def test_typ(self):
        "Nothing else signed is a token"
        _, data, _ = issue().split('.')
        claims = signature.b64url_decode(data)
        header, _, value = signature.sign(
            claims, signature.STATEMENT, KEY).split('.')
        with self.assertRaises(Rejected):
            verify(f'{header}.{data}.{value}')

    def test_flips(self):
        "A character changed is refused"
        value = issue()
        for index in range(len(value)):
            changed = (
                value[:index] + chr(ord(value[index]) ^ 1)
                + value[index + 1:])
            with self.assertRaises((Malformed, Rejected)):
                verify(changed)
