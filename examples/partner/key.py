# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"Keys, detached signatures and pull tokens"
import base64
import hashlib
import json
import re
import time
import uuid

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc import jws as jose
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from . import canonical
from .canonical import Refused

HEADER = 'TryCoTon-Signature'
LIFETIME = 60
# Anybody can sign for the points of small order
WEAK = {bytes.fromhex(y) for y in [
        '00' * 32, '01' + '00' * 31, 'ec' + 'ff' * 30 + '7f',
        'ed' + 'ff' * 30 + '7f', 'ee' + 'ff' * 30 + '7f',
        '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05',
        'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a']}
# And anybody knows what is agreed with these
WEAK_EXCHANGE = {bytes.fromhex(u) for u in [
        '00' * 32, '01' + '00' * 31, 'ec' + 'ff' * 30 + '7f',
        'ed' + 'ff' * 30 + '7f', 'ee' + 'ff' * 30 + '7f',
        'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800',
        '5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157']}

_registry = jose.JWSRegistry(algorithms=['Ed25519', 'EdDSA'])
_registry.max_payload_length = 64 * 1024 * 1024


def b64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b'=').decode()


def b64url_decode(text):
    try:
        data = base64.urlsafe_b64decode(text + '=' * (-len(text) % 4))
    except (TypeError, ValueError) as exception:
        raise Refused("not base64url") from exception
    if b64url(data) != text:
        raise Refused("not canonical base64url")
    return data


class Key:
    "An Ed25519 private key, of 32 bytes"

    def __init__(self, secret=None):
        key = (Ed25519PrivateKey.from_private_bytes(secret) if secret
            else Ed25519PrivateKey.generate())
        self.secret = key.private_bytes_raw()
        self.jwk = {
            'crv': 'Ed25519',
            'kty': 'OKP',
            'use': 'sig',
            'x': b64url(key.public_key().public_bytes_raw()),
            }
        self.kid = kid(self.jwk)
        self._jose = OKPKey.import_key({**self.jwk, 'd': b64url(self.secret)})

    def sign(self, data, typ):
        "Return the detached JWS over the bytes"
        header = {'alg': 'Ed25519', 'kid': self.kid, 'typ': typ}
        return jose.detach_content(jose.serialize_compact(
                header, data, self._jose, registry=_registry))

    def token(self, issuer, audience, method, path, clock=time.time):
        "Return a pull token, good for one request"
        issued = int(clock())
        claims = canonical.dump({
                'iss': issuer, 'aud': audience, 'htm': method, 'htu': path,
                'iat': issued, 'exp': issued + LIFETIME,
                'jti': str(uuid.uuid4())})
        header, _, value = self.sign(
            claims, 'trycoton-pull-token').split('.')
        return f'{header}.{b64url(claims)}.{value}'


def raw(jwk):
    "Return the 32 bytes of a public key"
    crv, kty, use, x = canonical.members(jwk, 'crv', 'kty', 'use', 'x')
    if (crv, kty, use) not in {
            ('Ed25519', 'OKP', 'sig'), ('X25519', 'OKP', 'enc')}:
        raise Refused("not a known kind of key")
    data = b64url_decode(x)
    if len(data) != 32:
        raise Refused("not 32 bytes")
    weak = WEAK if use == 'sig' else WEAK_EXCHANGE
    if data[:31] + bytes([data[31] & 0x7f]) in weak:
        raise Refused("a weak key")
    return data


def kid(jwk):
    "Return the thumbprint of a public key (RFC 7638)"
    text = '{"crv":"%(crv)s","kty":"OKP","x":"%(x)s"}' % jwk
    return b64url(hashlib.sha256(text.encode()).digest())


def fingerprint(jwk):
    "Return what people compare"
    text = hashlib.sha256(raw(jwk)).hexdigest()
    return ' '.join(text[i:i + 4] for i in range(0, 32, 4))


def valid(published, at=None):
    "Return the signing keys that count at a time, by their id"
    at = at or canonical.now()
    return {
        kid(k['key']): k['key'] for k in published
        if k['key']['use'] == 'sig' and raw(k['key'])
        and not k['revoked'] and k['valid_from'] <= at
        and (not k['valid_to'] or at < k['valid_to'])}


def head(jws):
    "Return the header of a detached JWS"
    match = re.fullmatch(
        r'([A-Za-z0-9_-]{1,512})\.\.([A-Za-z0-9_-]{86})', jws or '')
    if not match:
        raise Refused("not a detached signature", 'signature', 401)
    try:
        header = json.loads(b64url_decode(match[1]))
        b64url_decode(match[2])
        canonical.members(header, 'alg', 'kid', 'typ')
    except (ValueError, Refused) as exception:
        raise Refused(str(exception), 'signature', 401) from exception
    if header['alg'] not in ('Ed25519', 'EdDSA'):
        raise Refused("another algorithm", 'signature', 401)
    return header


def verify(data, jws, typ, keys):
    "Check the detached JWS over the bytes, by one of the keys"
    header = head(jws)
    if header['typ'] != typ:
        raise Refused("signed for something else", 'signature', 401)
    if header['kid'] not in keys:
        raise Refused("the key is not known", 'unknown-key', 401)
    try:
        jose.deserialize_compact(
            jws, OKPKey.import_key(keys[header['kid']]), payload=data,
            registry=_registry)
    except (JoseError, ValueError) as exception:
        raise Refused(
            "the signature does not match", 'signature', 401) from exception
