# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"How an instance presents itself to those who do not know it yet"
import hashlib
from dataclasses import dataclass
from datetime import date, datetime

from . import canonical, signature
from .directory import KIND, PUBLISHED_KEYS, ROLES, KeyHolder, Legal
from .errors import Malformed
from .record import (
    AMOUNT, CURRENCY, DATE, DIGEST, ENDPOINT, IDENTIFIER, KEY, LONG_TEXT, TEXT,
    TIME, URL, VKEY, Integer, Many, Members, Nested, Optional, Record, member)
from .signature import PublicKey

FEE = Members({
        'amount': AMOUNT,
        'currency': CURRENCY,
        })


def fingerprint(key):
    "Return the start of the SHA-256 of a key, in 8 groups of 4 digits"
    text = hashlib.sha256(key.to_bytes()).hexdigest()
    return ' '.join(text[i:i + 4] for i in range(0, 32, 4))


@dataclass(frozen=True)
class Charter(Record):
    "The rules of a community; digest is the SHA-256 of the text"
    version: int = member(Integer(1))
    date: date = member(DATE)
    digest: str = member(DIGEST)
    url: str = member(Optional(URL), default=None)
    text: str = member(Optional(LONG_TEXT), default=None)

    def __post_init__(self):
        super().__post_init__()
        if self.text is not None and self.digest != canonical.digest(
                self.text.encode('utf-8', 'surrogatepass')):
            raise Malformed("The digest is not the one of the charter.")


@dataclass(frozen=True)
class TrustParty(KeyHolder):
    "A trust party that a community works with"
    kind = 'trust-party'

    identifier: str = member(IDENTIFIER)
    name: str = member(TEXT)
    endpoint: str = member(Optional(ENDPOINT), default=None)
    keys: tuple = member(PUBLISHED_KEYS, default=())
    log: str = member(Optional(VKEY), default=None)


@dataclass(frozen=True)
class Descriptor(KeyHolder):
    """Name, keys and address of an instance, signed by its own first key

    It proves nothing by itself: a person compares the fingerprint with what
    was given on paper or by voice.
    recovery is the key, kept offline, that signs the next signing key after
    a loss; witness the one by which it cosigns checkpoints, if it does.
    A community adds its trust parties, its charter, its fee and the rate of
    its commission.
    """
    typ = signature.DESCRIPTOR

    identifier: str = member(IDENTIFIER)
    name: str = member(TEXT)
    kind: str = member(KIND)
    endpoint: str = member(Optional(ENDPOINT))
    keys: tuple = member(PUBLISHED_KEYS)
    created: datetime = member(TIME)
    log: str = member(Optional(VKEY), default=None)
    trust_parties: tuple = member(
        Many(Nested(TrustParty), key=lambda p: p.identifier), default=())
    charter: Charter = member(Optional(Nested(Charter)), default=None)
    roles: tuple = member(ROLES, default=())
    legal: Legal = member(Optional(Nested(Legal)), default=None)
    recovery: PublicKey = member(Optional(KEY), default=None)
    fee: dict = member(Optional(FEE), default=None)
    commission: str = member(Optional(AMOUNT), default=None)
    witness: str = member(Optional(VKEY), default=None)

    def __post_init__(self):
        super().__post_init__()
        if not self.public_keys():
            raise Malformed("A descriptor needs a signing key.")

    @property
    def signer(self):
        "The first valid signing key: the only one that may sign"
        return next(iter(self.public_keys().values()))

    @property
    def fingerprint(self):
        "The fingerprint of the signer"
        return fingerprint(self.signer)

    def verify(self, jws):
        """Check the descriptor's own signature

        Raise Malformed, Rejected or UnknownKey.
        """
        return signature.verify(
            self.to_bytes(), jws, self.typ, {self.signer.kid: self.signer})

    @classmethod
    def open(cls, data, jws):
        """Return the descriptor of bytes that its own first key signed

        Raise Malformed, Rejected or UnknownKey.
        """
        self = cls.parse(data)
        self.verify(jws)
        return self
