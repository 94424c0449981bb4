# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Pull tokens: who asks for what, for a minute.

A compact JWS (RFC 7515) over canonical JSON claims (RFC 7519), bound to a
method and a path as DPoP (RFC 9449) does.  That a token is used only once
is for the caller to see, who remembers its jti until it expires.
"""
from dataclasses import dataclass
from uuid import uuid4

from . import signature
from .errors import Malformed, Rejected
from .record import IDENTIFIER, UUID, Choice, Integer, Record, Text, member

LIFETIME = 60
SKEW = 5


@dataclass(frozen=True)
class Claims(Record):
    "Issuer, audience, method, path, issue, expiry (Unix time), unique id"
    iss: str = member(IDENTIFIER)
    aud: str = member(IDENTIFIER)
    htm: str = member(Choice('GET', 'POST', 'PUT', 'DELETE'))
    htu: str = member(Text(r'/[!-~]{0,1000}'))
    iat: int = member(Integer())
    exp: int = member(Integer())
    jti: str = member(UUID)


def issue(key, issuer, audience, method, path, now, jti=None):
    "Return a token signed by key; now is an aware datetime"
    issued = int(now.timestamp())
    claims = Claims(
        iss=issuer, aud=audience, htm=method, htu=path, iat=issued,
        exp=issued + LIFETIME, jti=jti or str(uuid4())).to_bytes()
    header, _, value = signature.sign(
        claims, signature.TOKEN, key).split('.')
    return '.'.join([header, signature.b64url(claims), value])


def verify(token, keys_of, audience, method, path, now):
    """Return the claims of a token, a dict, if it is for this request

    keys_of returns the keys of an issuer, by their id; now is an aware
    datetime.
    Raise Malformed, Rejected, or UnknownKey.
    """
    if not isinstance(token, str) or token.count('.') != 2:
        raise Malformed("Not a token.")
    header, data, value = token.split('.')
    data = signature.b64url_decode(data)
    claims = Claims.parse(data)
    signature.verify(
        data, f'{header}..{value}', signature.TOKEN, keys_of(claims.iss))
    if (claims.aud, claims.htm, claims.htu) != (audience, method, path):
        raise Rejected("The token is for another request.")
    if not claims.iat < claims.exp <= claims.iat + LIFETIME:
        raise Rejected("The token lives too long.")
    if not claims.iat - SKEW <= now.timestamp() < claims.exp:
        raise Rejected("The token is not valid at this time.")
    return claims.to_json()
