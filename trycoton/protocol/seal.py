# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Sealed messages: what they carry is encrypted to their receiver alone.

A JSON Web Encryption (RFC 7516) in compact form: a fresh key encrypts the
content with AES-256-GCM, and is wrapped by ECDH-ES+A256KW (RFC 7518, 4.6)
with an X25519 key of the receiver (RFC 8037).  Its header has exactly
``alg``, ``apu``, ``apv``, ``enc``, ``epk``, ``kid`` and ``typ``: nothing else
is accepted, no other algorithm and no compression.
apu is the sender, apv the receiver, the id and the sequence, so that what
was sealed for one message is of no use in another one.

What is encrypted is a salt of 32 bytes, then the content: the UBL document,
or ``{"body", "kind"}`` of a statement in canonical JSON.  AES-GCM does not
tell which key made a text: the message has, in what its sender signs, the
commitment, SHA-256 of domain, salt and SHA-256 of the content.  So there is
one content only that the signature can be shown to cover, and who is given
the key of the content, in an evidence file, reads that one.
"""
import hashlib
import os
import re
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash
from cryptography.hazmat.primitives.keywrap import (
    InvalidUnwrap, aes_key_unwrap, aes_key_wrap)

from . import canonical, envelope, signature
from .envelope import SEALED_KIND, Envelope, Header, Statement
from .errors import Malformed, Rejected, UnknownKey
from .signature import EncryptionKey, PublicKey, b64url, b64url_decode
from .statement import SealedBody

__all__ = [
    'ALGORITHM', 'ENCRYPTION', 'TYP', 'KEY_SIZE', 'STATEMENTS', 'Unsealed',
    'is_sealed', 'kid_of', 'seal', 'unseal', 'unseal_with']

ALGORITHM = 'ECDH-ES+A256KW'
ENCRYPTION = 'A256GCM'
TYP = 'trycoton-sealed'
KEY_SIZE = SALT_SIZE = 32
DOMAIN = b'trycoton-sealed@1\n'
# The statements that may be sealed: the others are for third persons too, or
# their signature has a type of its own
STATEMENTS = {'document-read'}

# Header, wrapped key of 40 bytes, nonce of 12, text, tag of 16
_compact = re.compile(
    r'([A-Za-z0-9_-]{1,2000})\.([A-Za-z0-9_-]{54})\.([A-Za-z0-9_-]{16})\.'
    r'([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]{22})', re.ASCII)
_members = {'alg', 'apu', 'apv', 'enc', 'epk', 'kid', 'typ'}


class Unsealed(NamedTuple):
    """What was sealed: the message as it would be in clear, whose bytes
    nobody signed, and the 32 bytes of the key of the content"""
    message: Header
    key: bytes


class _Parts(NamedTuple):
    header: dict
    additional: bytes
    wrapped: bytes
    nonce: bytes
    text: bytes


def is_sealed(message):
    "Tell if the content of the message is encrypted"
    return (message.sealed is not None if isinstance(message, Envelope)
        else message.kind == SEALED_KIND)


def seal(message, key, total=None, draw=os.urandom):
    """Return the Unsealed of a message in clear, for the PublicKey of its
    receiver: the sealed message, and the key of its content

    total is the commission.Total told in clear, if any; draw(size) returns
    random bytes.
    Raise Malformed or Rejected when the message or the key cannot be used.
    """
    if is_sealed(message):
        raise Malformed("The message is sealed already.")
    if key.use != 'enc':
        raise Rejected("The key is not for encryption.")
    content = _content(message)
    ephemeral = EncryptionKey.from_bytes(draw(32))
    salt, content_key = draw(SALT_SIZE), draw(KEY_SIZE)
    epk = ephemeral.public.to_jwk()
    del epk['use']
    header = b64url(canonical.dump({
            **_binding(message),
            'alg': ALGORITHM,
            'enc': ENCRYPTION,
            'epk': epk,
            'kid': key.kid,
            'typ': TYP,
            }))
    nonce = draw(12)
    wrapped = aes_key_wrap(
        _agree(ephemeral, key, _binding(message)), content_key)
    text = AESGCM(content_key).encrypt(
        nonce, salt + content, header.encode('ascii'))
    jwe = '.'.join([header, *map(
                b64url, [wrapped, nonce, text[:-16], text[-16:]])])
    return Unsealed(
        _carry(message, jwe, _commitment(salt, content), total), content_key)


def kid_of(message):
    """Return the id of the key that a message is sealed for

    Raise Malformed or Rejected.
    """
    return _parts(message).header['kid']


def unseal(message, keys):
    """Return the Unsealed of a sealed message

    keys maps the ids of the receiver's keys to their EncryptionKey.
    Raise Malformed, Rejected, or UnknownKey if the key is not among them.
    """
    parts = _parts(message)
    kid = parts.header['kid']
    try:
        key = keys[kid]
    except KeyError as exception:
        raise UnknownKey(
            f"It is sealed for the key {kid}, which is not here."
            ) from exception
    if key.use != 'enc' or key.kid != kid:
        raise Rejected("The key is not for this message.")
    epk = PublicKey.from_jwk({**parts.header['epk'], 'use': 'enc'})
    try:
        content_key = aes_key_unwrap(
            _agree(key, epk, parts.header), parts.wrapped)
    except InvalidUnwrap as exception:
        raise Rejected("The key of the content does not open.") from exception
    return Unsealed(_open(message, parts, content_key), content_key)


def unseal_with(message, content_key):
    """Return the message in clear of a sealed one, by the key of its content

    Raise Malformed or Rejected.
    """
    if len(content_key) != KEY_SIZE:
        raise Malformed("The key of the content is not 32 bytes.")
    return _open(message, _parts(message), content_key)


def _content(message):
    if isinstance(message, Envelope):
        return message.payload
    if message.kind not in STATEMENTS:
        raise Rejected(f"A statement {message.kind} is not sealed.")
    return canonical.dump({'kind': message.kind, 'body': message.body})


def _carry(message, jwe, commitment, total):
    "Return the message with the sealed content in the place of its own"
    header = {
        name: getattr(message, name) for name, _ in Header._members()
        if name != 'type'}
    if isinstance(message, Envelope):
        return Envelope(
            payload=envelope.sealed_payload(jwe), commitment=commitment,
            total=total, **header)
    return Statement(
        kind=SEALED_KIND, body={'commitment': commitment, 'jwe': jwe},
        **header)


def _sealed(message):
    "Return the JWE and the commitment of a message"
    if not is_sealed(message):
        raise Malformed("The message is not sealed.")
    if isinstance(message, Envelope):
        return message.sealed, message.commitment
    body = SealedBody.from_json(message.body)
    return body.jwe, body.commitment


def _commitment(salt, content):
    return hashlib.sha256(
        DOMAIN + salt + hashlib.sha256(content).digest()).hexdigest()


def _binding(message):
    "Return what ties the encryption to the message (RFC 7518, 4.6.1)"
    receiver = f'{message.receiver}\n{message.id}\n{message.sequence}'
    return {
        'apu': b64url(message.sender.encode('ascii')),
        'apv': b64url(receiver.encode('ascii')),
        }


def _agree(private, public, header):
    "Return the key that wraps the key of the content (RFC 7518, 4.6.2)"
    try:
        shared = private.exchange(public)
    except ValueError as exception:
        raise Rejected("The public key is a weak one.") from exception
    info = b''.join(
        len(part).to_bytes(4, 'big') + part for part in [
            ALGORITHM.encode('ascii'), b64url_decode(header['apu']),
            b64url_decode(header['apv'])])
    info += (8 * KEY_SIZE).to_bytes(4, 'big')
    return ConcatKDFHash(SHA256(), KEY_SIZE, info).derive(shared)


def _parts(message):
    "Return the parts of what is sealed, its header checked"
    jwe, _ = _sealed(message)
    match = _compact.fullmatch(jwe)
    if not match:
        raise Malformed("Not a JWE.")
    header, *rest = match.groups()
    additional = header.encode('ascii')
    header = signature.read_header(header, _members)
    epk = header['epk']
    if not (isinstance(epk, dict) and set(epk) == {'crv', 'kty', 'x'}
            and all(isinstance(header[n], str) for n in _members - {'epk'})):
        raise Malformed("The JWE header is not in its form.")
    for name, value in [
            ('alg', ALGORITHM), ('enc', ENCRYPTION), ('typ', TYP)]:
        if header[name] != value:
            raise Rejected(f"The {name} of the JWE is not accepted.")
    for name, value in _binding(message).items():
        if header[name] != value:
            raise Rejected("It was sealed for another message.")
    wrapped, nonce, text, tag = map(b64url_decode, rest)
    return _Parts(header, additional, wrapped, nonce, text + tag)


def _open(message, parts, content_key):
    "Return the message in clear"
    try:
        plain = AESGCM(content_key).decrypt(
            parts.nonce, parts.text, parts.additional)
    except InvalidTag as exception:
        raise Rejected("The content does not open.") from exception
    salt, content = plain[:SALT_SIZE], plain[SALT_SIZE:]
    _, commitment = _sealed(message)
    if len(salt) < SALT_SIZE or _commitment(salt, content) != commitment:
        raise Rejected("The content is not the one that is signed for.")
    header = {
        name: getattr(message, name) for name, _ in Header._members()
        if name != 'type'}
    if isinstance(message, Envelope):
        return _document(content, header)
    value = canonical.load(content)
    if not isinstance(value, dict) or set(value) != {'kind', 'body'}:
        raise Malformed("Not a kind and a body.")
    if value['kind'] not in STATEMENTS:
        raise Rejected("Such a statement is not sealed.")
    return Statement(**value, **header)


def _document(content, header):
    message = Envelope(payload=content, **header)
    if message.payload != content:
        raise Malformed("Not the bytes of a document alone.")
    return message
