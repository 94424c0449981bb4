# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Signatures over exact bytes: detached JWS (RFC 7515, appendix F).

``header..signature``, Ed25519 (RFC 9864), with a header of exactly
``alg``, ``kid`` (the RFC 7638 thumbprint of the key) and ``typ``, which
tells what the bytes are, so that a signature serves one purpose only.
"""
import base64
import hashlib
import json
import re
from dataclasses import dataclass
from functools import cached_property

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey, Ed25519PublicKey)
from cryptography.hazmat.primitives.asymmetric.x25519 import (
    X25519PrivateKey, X25519PublicKey)
from joserfc import jws as jose
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from .errors import Malformed, Rejected, UnknownKey

__all__ = [
    'ENVELOPE', 'RECEIPT', 'DESCRIPTOR', 'DIRECTORY', 'APPLICATION',
    'STATEMENT', 'OFFER_APPROVAL', 'CATALOGUE_PAGE', 'RELATION',
    'COMMISSION', 'TOKEN', 'AWARD', 'CUSTODY', 'ACKNOWLEDGEMENT', 'REFUSAL',
    'TYPES', 'SIGNATURE_HEADER', 'PublicKey', 'SigningKey', 'EncryptionKey',
    'UnknownKey', 'sign', 'type_of', 'kid_of', 'read_header', 'verify']

SIGNATURE_HEADER = 'TryCoTon-Signature'

TYPES = (
    ENVELOPE, RECEIPT, DESCRIPTOR, DIRECTORY, APPLICATION,
    STATEMENT, OFFER_APPROVAL, CATALOGUE_PAGE, RELATION,
    COMMISSION, TOKEN, AWARD, CUSTODY, ACKNOWLEDGEMENT, REFUSAL) = (
    'trycoton-envelope', 'trycoton-receipt', 'trycoton-descriptor',
    'trycoton-directory', 'trycoton-application', 'trycoton-statement',
    'trycoton-offer-approval', 'trycoton-catalogue-page',
    'trycoton-relation', 'trycoton-commission-statement',
    'trycoton-pull-token', 'trycoton-award', 'trycoton-custody',
    'trycoton-acknowledgement', 'trycoton-refusal')

# The points of small order, less their sign: anybody signs for such a key
WEAK = {bytes.fromhex(y) for y in [
        '00' * 32,
        '01' + '00' * 31,
        '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05',
        'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a',
        'ec' + 'ff' * 30 + '7f',
        'ed' + 'ff' * 30 + '7f',
        'ee' + 'ff' * 30 + '7f']}
# Those of X25519: everybody agrees on the same secret with such a key
WEAK_EXCHANGE = {bytes.fromhex(u) for u in [
        '00' * 32,
        '01' + '00' * 31,
        'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800',
        '5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157',
        'ec' + 'ff' * 30 + '7f',
        'ed' + 'ff' * 30 + '7f',
        'ee' + 'ff' * 30 + '7f']}

CURVES = {'sig': 'Ed25519', 'enc': 'X25519'}
ALGORITHMS = ['Ed25519', 'EdDSA']

_compact = re.compile(
    r'([A-Za-z0-9_-]{1,512})\.\.([A-Za-z0-9_-]{86})', re.ASCII)
_kid = re.compile(r'[A-Za-z0-9_-]{43}')


class _Registry(jose.JWSRegistry):
    max_payload_length = 64 * 1024 * 1024

    def get_alg(self, name):
        # kid_of has refused the others; no warning for foreign EdDSA
        return self.algorithms[name]


_registry = _Registry(algorithms=ALGORITHMS)


def b64url(data):
    "Return bytes as base64url without padding"
    return base64.urlsafe_b64encode(data).rstrip(b'=').decode('ascii')


def b64url_decode(text):
    "Return the bytes of strict base64url without padding; raise Malformed"
    try:
        data = base64.urlsafe_b64decode(text + '=' * (-len(text) % 4))
    except (TypeError, ValueError) as exception:
        raise Malformed("Not base64url.") from exception
    if b64url(data) != text:
        raise Malformed("Not canonical base64url.")
    return data


@dataclass(frozen=True)
class PublicKey:
    "The 32 bytes of an Ed25519 ('sig') or X25519 ('enc') public key"
    use: str
    data: bytes

    def __post_init__(self):
        if self.use not in CURVES:
            raise Malformed("The use of the key is not known.")
        if not isinstance(self.data, bytes) or len(self.data) != 32:
            raise Malformed("The key is not 32 bytes.")
        weak = WEAK if self.use == 'sig' else WEAK_EXCHANGE
        if self.data[:31] + bytes([self.data[31] & 0x7f]) in weak:
            raise Malformed("The key is a weak one.")

    @cached_property
    def kid(self):
        "The RFC 7638 thumbprint"
        text = '{"crv":"%s","kty":"OKP","x":"%s"}' % (
            CURVES[self.use], b64url(self.data))
        return b64url(hashlib.sha256(text.encode('ascii')).digest())

    def to_bytes(self):
        return self.data

    def to_jwk(self):
        "Return the JSON Web Key (RFC 8037)"
        return {
            'crv': CURVES[self.use],
            'kty': 'OKP',
            'use': self.use,
            'x': b64url(self.data),
            }

    @classmethod
    def from_jwk(cls, jwk):
        "Return the key of what to_jwk gives; raise Malformed"
        if not (isinstance(jwk, dict)
                and set(jwk) == {'crv', 'kty', 'use', 'x'}
                and all(isinstance(v, str) for v in jwk.values())):
            raise Malformed("Not a public key.")
        key = cls(jwk['use'], b64url_decode(jwk['x']))
        if key.to_jwk() != jwk:
            raise Malformed("Not a public key.")
        return key

    def verify(self, data, signature):
        "Check a bare 64 byte Ed25519 signature; raise Rejected"
        if self.use != 'sig':
            raise Rejected("The key is not for signatures.")
        try:
            Ed25519PublicKey.from_public_bytes(self.data).verify(
                signature, data)
        except InvalidSignature as exception:
            raise Rejected("The signature does not match.") from exception


class _PrivateKey:
    use = _type = None

    def __init__(self, key):
        self._key = key
        self.public = PublicKey(
            self.use, key.public_key().public_bytes_raw())

    @classmethod
    def generate(cls):
        return cls(cls._type.generate())

    @classmethod
    def from_bytes(cls, data):
        "Return the key of its 32 secret bytes; raise Malformed"
        try:
            return cls(cls._type.from_private_bytes(data))
        except (TypeError, ValueError) as exception:
            raise Malformed("The key is not 32 bytes.") from exception

    def to_bytes(self):
        return self._key.private_bytes_raw()

    @property
    def kid(self):
        return self.public.kid


class SigningKey(_PrivateKey):
    "An Ed25519 private key"
    use = 'sig'
    _type = Ed25519PrivateKey

    def sign(self, data):
        "Return the bare 64 byte signature of bytes"
        return self._key.sign(data)

    @cached_property
    def jose(self):
        return OKPKey.import_key({
                **self.public.to_jwk(), 'd': b64url(self.to_bytes())})


class EncryptionKey(_PrivateKey):
    "An X25519 private key"
    use = 'enc'
    _type = X25519PrivateKey

    def exchange(self, public):
        """Return the 32 secret bytes shared with the holder of the PublicKey

        Raise ValueError when the point is of small order.
        """
        return self._key.exchange(
            X25519PublicKey.from_public_bytes(public.data))


def sign(data, typ, key):
    "Return the detached JWS of bytes, for one of TYPES"
    assert typ in TYPES, typ
    header = {'alg': 'Ed25519', 'kid': key.kid, 'typ': typ}
    return jose.detach_content(jose.serialize_compact(
            header, data, key.jose, registry=_registry))


def _unique(pairs):
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("duplicate key")
    return result


def read_header(text, members):
    """Return the JSON object in base64url of exactly these members

    It is the protected header of a JWS or JWE; raise Malformed.
    """
    try:
        header = json.loads(
            b64url_decode(text).decode('utf-8'), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as exception:
        raise Malformed("The header is not JSON.") from exception
    if not isinstance(header, dict) or set(header) != set(members):
        raise Malformed(
            f"The header is not {{{', '.join(sorted(members))}}}.")
    return header


def _header(jws):
    "Return the header of a detached JWS; raise Malformed or Rejected"
    match = _compact.fullmatch(jws) if isinstance(jws, str) else None
    if not match:
        raise Malformed("Not a detached JWS.")
    text, value = match.groups()
    b64url_decode(value)
    header = read_header(text, {'alg', 'kid', 'typ'})
    if not all(isinstance(v, str) for v in header.values()):
        raise Malformed("The members of the JWS header are not texts.")
    if header['alg'] not in ALGORITHMS:
        raise Rejected("The algorithm is not accepted.")
    if not _kid.fullmatch(header['kid']):
        raise Malformed("Not the id of a key.")
    return header


def type_of(jws):
    "Return the type that a detached JWS claims; raise Malformed or Rejected"
    return _header(jws)['typ']


def kid_of(jws, typ):
    """Return the id of the key that a detached JWS claims

    Raise Malformed, or Rejected if the JWS is of another type.
    """
    header = _header(jws)
    if header['typ'] != typ:
        raise Rejected("The signature is for something else.")
    return header['kid']


def verify(data, jws, typ, keys):
    """Check the detached JWS over bytes and return the id of its key

    keys maps the accepted key ids to their PublicKey.
    Raise Malformed, Rejected, or UnknownKey if the key is not among them.
    """
    kid = kid_of(jws, typ)
    try:
        key = keys[kid]
    except KeyError as exception:
        raise UnknownKey(f"The key {kid} is not known.") from exception
    if key.use != 'sig' or key.kid != kid:
        raise Rejected("The key is not for this signature.")
    try:
        jose.deserialize_compact(
            jws, OKPKey.import_key(key.to_jwk()), payload=data,
            registry=_registry)
    except (JoseError, ValueError) as exception:
        raise Rejected("The signature does not match.") from exception
    return kid
