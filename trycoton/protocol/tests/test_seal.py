# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
import json
import random
import unittest
import zlib
from dataclasses import replace
from decimal import Decimal
from unittest import mock

from joserfc import jwe as jose
from joserfc.jwk import OKPKey

from trycoton.protocol import canonical, commission, envelope, seal, signature
from trycoton.protocol.errors import (
    Malformed, ProtocolError, Rejected, UnknownKey)
from trycoton.protocol.signature import (
    WEAK_EXCHANGE, EncryptionKey, PublicKey, b64url, b64url_decode)

from . import sample

KEY = sample.ENCRYPTION_KEY
KEYS = {KEY.kid: KEY}
OTHER = EncryptionKey.from_bytes(bytes(range(1, 33)))
TOTAL = commission.Total(
    'invoice', sample.TIME.date(), 'EUR', Decimal('100.00'), '120.00')


def read_notice(**values):
    return sample.statement(kind='document-read', body={
            'message': sample.ID, 'digest': sample.DIGEST,
            'time': '2026-01-31T12:00:00Z'}, **values)


def with_jwe(message, jwe, **values):
    "Return the message with another JWE"
    if isinstance(message, envelope.Envelope):
        return replace(
            message, payload=envelope.sealed_payload(jwe), tree=None,
            **values)
    return replace(message, body={**message.body, 'jwe': jwe})


def parts(message):
    return (message.sealed if isinstance(message, envelope.Envelope)
        else message.body['jwe']).split('.')


class SealTestCase(unittest.TestCase):
    "Test what only its receiver reads"

    def setUp(self):
        self.sealed, self.key = seal.seal(
            sample.envelope(), KEY.public, draw=random.Random(1).randbytes)

    def refused(self, message, error=ProtocolError, keys=KEYS):
        with self.assertRaises(error):
            seal.unseal(message, keys)

    def header(self, **values):
        """Return a sealed message with another header of its JWE, which its
        sender has authenticated"""
        dump = canonical.dump

        def change(value):
            if 'epk' in value:
                value = {**value, **values}
                value = {n: v for n, v in value.items() if v is not None}
            return dump(value)
        with mock.patch.object(canonical, 'dump', change):
            return seal.seal(sample.envelope(), KEY.public).message

    def test_header_is_its_own(self):
        "Test what header() makes is opened when nothing is changed"
        seal.unseal(self.header(), KEYS)

    def test_round(self):
        "Test the receiver reads what was sealed, of each form"
        for plain in [sample.envelope(), read_notice()]:
            with self.subTest(type=plain.type):
                sealed, key = seal.seal(plain, KEY.public)
                parsed = envelope.parse(sealed.to_bytes())
                self.assertEqual(parsed.digest, sealed.digest)
                self.assertTrue(seal.is_sealed(parsed))
                self.assertFalse(seal.is_sealed(plain))
                self.assertEqual(seal.kid_of(parsed), KEY.kid)
                opened, found = seal.unseal(parsed, KEYS)
                self.assertEqual(opened.to_bytes(), plain.to_bytes())
                self.assertEqual(found, key)
                self.assertEqual(
                    seal.unseal_with(parsed, key).to_bytes(),
                    plain.to_bytes())

    def test_nothing_shown(self):
        "Test the bytes tell nothing of the document, its type included"
        data = self.sealed.to_bytes()
        for word in [b'Order', b'farine', b'poacc', b'BasicComponents']:
            self.assertNotIn(word, data)
        self.assertEqual(
            self.sealed.type,
            'Sealed##urn:trycoton.org:sealed:1')
        self.assertIsNone(self.sealed.number)
        data = seal.seal(read_notice(), KEY.public)[0].to_bytes()
        self.assertNotIn(b'document-read', data)
        self.assertNotIn(b'time', data)

    def test_fresh(self):
        "Test the same twice gives nothing in common"
        first, second = (
            seal.seal(sample.envelope(), KEY.public)[0] for _ in range(2))
        for one, other in zip(parts(first), parts(second)):
            self.assertNotEqual(one, other)
        self.assertNotEqual(first.commitment, second.commitment)

    def test_joserfc(self):
        "Test another implementation opens it, and what it seals is opened"
        def key(value):
            return OKPKey.import_key({
                    **value.public.to_jwk(), 'd': b64url(value.to_bytes())})
        algorithms = [seal.ALGORITHM, seal.ENCRYPTION]
        opened = jose.decrypt_compact(
            self.sealed.sealed, key(KEY), algorithms=algorithms)
        self.assertEqual(
            opened.plaintext[32:], sample.envelope().payload)
        header = json.loads(b64url_decode(parts(self.sealed)[0]))
        del header['epk']
        jwe = jose.encrypt_compact(
            header, opened.plaintext, key(KEY), algorithms=algorithms)
        self.assertEqual(
            seal.unseal(with_jwe(self.sealed, jwe), KEYS).message.payload,
            sample.envelope().payload)

    def test_wrong_key(self):
        "Test nobody else opens it, not even under the same key id"
        self.refused(self.sealed, UnknownKey, {OTHER.kid: OTHER})
        for wrong in [OTHER, sample.KEY]:
            self.refused(self.sealed, Rejected, {KEY.kid: wrong})
        sealed, key = seal.seal(sample.envelope(), OTHER.public)
        self.refused(sealed, UnknownKey)
        header = json.loads(b64url_decode(parts(sealed)[0]))
        header['kid'] = KEY.kid
        self.refused(with_jwe(sealed, '.'.join([
                        b64url(json.dumps(header).encode()),
                        *parts(sealed)[1:]])), Rejected)
        for wrong in [bytes(32), key[:31], b'']:
            with self.assertRaises(ProtocolError):
                seal.unseal_with(self.sealed, wrong)
        with self.assertRaises(Rejected):
            seal.seal(sample.envelope(), sample.KEY.public)

    def test_flips(self):
        "Test a bit flipped anywhere in what is sealed is refused"
        jwe = self.sealed.sealed.encode()
        for flipped in sample.flips(jwe):
            try:
                message = with_jwe(self.sealed, flipped.decode('ascii'))
            except (ProtocolError, UnicodeError):
                continue
            self.refused(message)
            with self.assertRaises(ProtocolError):
                # The wrapped key is not looked at, but nothing else changes
                opened = seal.unseal_with(message, self.key)
                if opened.payload == sample.envelope().payload and (
                        parts(message)[1] != parts(self.sealed)[1]):
                    raise Rejected("only the wrapped key")

    def test_other_message(self):
        "Test what was sealed is of no use in another message"
        for values in [
                {'sender': sample.SELLER}, {'receiver': sample.BUYER},
                {'id': sample.ID.replace('0', '1')}, {'sequence': 3}]:
            with self.subTest(values=values):
                other = replace(self.sealed, tree=None, **values)
                self.assertNotEqual(other.digest, self.sealed.digest)
                self.refused(other, Rejected)
                with self.assertRaises(Rejected):
                    seal.unseal_with(other, self.key)

    def test_commitment(self):
        "Test the content is the one that the sender signed for"
        other = replace(self.sealed, commitment='0' * 64, tree=None)
        self.refused(other, Rejected)
        with self.assertRaises(Rejected):
            seal.unseal_with(other, self.key)
        with self.assertRaises(Malformed):
            replace(self.sealed, commitment=None, tree=None)
        with self.assertRaises(Malformed):
            sample.envelope(commitment='0' * 64)

    def test_header(self):
        "Test no other algorithm, member or form of the header is taken"
        for name, values in [
                ("no algorithm", {'alg': 'none'}),
                ("direct", {'alg': 'dir'}),
                ("direct agreement", {'alg': 'ECDH-ES'}),
                ("password", {'alg': 'PBES2-HS256+A128KW', 'p2c': 10 ** 9}),
                ("other encryption", {'enc': 'A128GCM'}),
                ("no type", {'typ': None}),
                ("other type", {'typ': 'JOSE'}),
                ("compression", {'zip': 'DEF'}),
                ("critical", {'crit': ['exp']}),
                ("nested", {'cty': 'JWE'}),
                ("key address", {'jku': 'https://example.org'}),
                ("no sender", {'apu': None}),
                ("sender a number", {'apu': 1}),
                ("key id a list", {'kid': [KEY.kid]}),
                ("no ephemeral key", {'epk': None}),
                ("ephemeral key a text", {'epk': 'x'}),
                ("ephemeral key of a signature", {
                        'epk': {'crv': 'Ed25519', 'kty': 'OKP', 'x': b64url(
                                sample.KEY.public.data)}}),
                ("ephemeral key with its use", {
                        'epk': OTHER.public.to_jwk()}),
                ("private ephemeral key", {
                        'epk': {'crv': 'X25519', 'kty': 'OKP', 'd': 'AAAA',
                            'x': b64url(OTHER.public.data)}}),
                ]:
            with self.subTest(name), mock.patch.object(
                    signature.EncryptionKey, 'from_bytes',
                    lambda data: OTHER):
                # OTHER is the ephemeral key
                self.refused(self.header(**values))

    def test_member_twice(self):
        "Test a member of the header given twice is refused"
        header, *rest = parts(self.sealed)
        text = b64url_decode(header).decode()
        self.refused(with_jwe(self.sealed, '.'.join([
                        b64url(f'{text[:-1]},"alg":"none"}}'.encode()),
                        *rest])), Malformed)

    def test_small_order(self):
        "Test a point with which everybody shares the same secret"
        for point in sorted(WEAK_EXCHANGE):
            for data in [point, point[:31] + bytes([point[31] | 0x80])]:
                with self.subTest(point=data.hex()):
                    self.refused(self.header(epk={
                                'crv': 'X25519', 'kty': 'OKP',
                                'x': b64url(data)}), ProtocolError)
                    with self.assertRaises(Malformed):
                        PublicKey('enc', data)

    def test_small_order_exchange(self):
        "Test the exchange itself refuses such a point"
        point = object.__new__(PublicKey)
        object.__setattr__(point, 'data', sorted(WEAK_EXCHANGE)[0])
        with self.assertRaises(ValueError):
            KEY.exchange(point)

    def test_content(self):
        "Test what is inside is one document or statement that may be sealed"
        inner = seal.seal(sample.envelope(), KEY.public)[0]
        with self.assertRaises(Malformed):
            seal.seal(inner, KEY.public)
        with self.assertRaises(Rejected):
            seal.seal(sample.statement(), KEY.public)
        for name, message, content in [
                ("sealed twice", self.sealed, inner.payload),
                ("no document", self.sealed, b'text'),
                ("declaration", self.sealed,
                    b'<?xml version="1.0"?>' + sample.ORDER),
                ("entity", self.sealed, sample.ORDER.replace(
                        b'<cbc:Note>', b'<!DOCTYPE a><cbc:Note>')),
                ("compressed", self.sealed, zlib.compress(sample.ORDER)),
                ("relation", seal.seal(read_notice(), KEY.public)[0],
                    canonical.dump(
                        {'kind': 'relation-end', 'body': {}})),
                ("other members", seal.seal(read_notice(), KEY.public)[0],
                    canonical.dump({'kind': 'document-read'})),
                ]:
            with self.subTest(name):
                forged = self.forge(message, content)
                self.refused(forged)

    def forge(self, message, content):
        "Return the message with that content, as its sender could make it"
        original = seal._content
        try:
            seal._content = lambda _: content
            plain = (sample.envelope()
                if isinstance(message, envelope.Envelope) else read_notice())
            return seal.seal(plain, KEY.public).message
        finally:
            seal._content = original

    def test_forged_is_opened(self):
        "Test the forgeries of test_content differ by their content alone"
        forged = self.forge(self.sealed, sample.CATALOGUE)
        self.assertEqual(
            seal.unseal(forged, KEYS).message.payload, sample.CATALOGUE)

    def test_form(self):
        "Test what is no JWE"
        jwe = self.sealed.sealed
        for text in [
                '..', 'a.b.c.d.e', jwe + '.', jwe[:-1], jwe + 'A', f'{jwe}=',
                jwe.replace('.', ' ', 1), jwe.replace('.', '', 1)]:
            with self.subTest(text=text[-20:]):
                self.refused(with_jwe(self.sealed, text), Malformed)
        data = self.sealed.to_bytes()
        for old, new in [
                (b'<Sealed ', b'<Sealed a="b" '),
                (b'</Sealed>', b'<a/></Sealed>'),
                (jwe.encode(), b''),
                (b'>COMMITMENT<', b'>OTHER<'),
                (b'Type>Sealed<', b'Type>Order<'),
                (b'##urn:trycoton.org:sealed:1',
                    b'##urn:fdc:peppol.eu:poacc:trns:order:3'),
                ]:
            with self.subTest(new=new), self.assertRaises(Malformed):
                changed = data.replace(old, new, 1)
                self.assertNotEqual(changed, data)
                envelope.parse(changed)

    def test_size(self):
        "Test what is too large once sealed is refused as any message is"
        large = sample.ORDER.replace(b'kept', b'k' * 4_000_000)
        with self.assertRaises(Malformed):
            seal.seal(sample.envelope(payload=large), KEY.public
                ).message.to_bytes()

    def test_total(self):
        "Test what is told of an invoice, only of what is sealed"
        sealed, _ = seal.seal(sample.envelope(), KEY.public, total=TOTAL)
        parsed = envelope.parse(sealed.to_bytes())
        self.assertEqual(parsed.total, TOTAL)
        self.assertIn(
            b'>invoice 2026-01-31 EUR 100.00 120.00<', sealed.to_bytes())
        data = sealed.to_bytes()
        for text in [
                b'invoice 2026-01-31 EUR 100.00', b'order 2026-01-31 EUR 1 2',
                b'invoice 2026-01-31 EUR 0100.00 120.00',
                b'invoice 2026-01-31  EUR 100.00 120.00', b'']:
            with self.subTest(text=text), self.assertRaises(Malformed):
                envelope.parse(data.replace(
                        b'invoice 2026-01-31 EUR 100.00 120.00', text))
        with self.assertRaises(Malformed):
            sample.envelope(total=TOTAL)
