# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"The catalogue of a community: the offers it approved, for some groups"
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from . import signature
from .envelope import Envelope
from .errors import Malformed
from .record import (
    BINARY, DIGEST, IDENTIFIER, JWS, TEXT, TIME, UUID, Choice, Integer, Many,
    Nested, Optional, Record, member)


@dataclass(frozen=True)
class Approval(Record):
    """Lines of a seller's catalogue that a community approved

    catalogue are the exact bytes of the seller's envelope and signature
    the seller's JWS over them; lines the ids of those on sale in this very
    version.
    """
    catalogue: bytes = member(BINARY)
    signature: str = member(JWS)
    lines: tuple = member(Many(TEXT, key=str))
    state: str = member(Choice('approved', 'suspended'), default='approved')

    def __post_init__(self):
        super().__post_init__()
        if self.envelope.root != 'Catalogue':
            raise Malformed("The document is not a catalogue.")

    @cached_property
    def envelope(self):
        "The Envelope of the catalogue"
        return Envelope.parse(self.catalogue)

    @property
    def seller(self):
        return self.envelope.sender

    def verify(self, keys):
        "Check the seller's signature, by its keys; raise Rejected"
        return signature.verify(
            self.catalogue, self.signature, signature.ENVELOPE, keys)


@dataclass(frozen=True)
class Page(Record):
    """The offers on sale to some groups of buyers

    Signed by the community: with the seller's own, each offer has two
    signatures over the same version.
    """
    typ = signature.CATALOGUE_PAGE

    community: str = member(IDENTIFIER)
    version: int = member(Integer(1))
    previous: str = member(Optional(DIGEST))
    created: datetime = member(TIME)
    expires: datetime = member(TIME)
    groups: tuple = member(Many(TEXT, key=str))
    offers: tuple = member(Many(Nested(Approval)))

    def __post_init__(self):
        super().__post_init__()
        if (self.version == 1) != (self.previous is None):
            raise Malformed("All versions but the first name the previous.")
        if self.created >= self.expires:
            raise Malformed("The page expires before its creation.")
        if len({o.catalogue for o in self.offers}) != len(self.offers):
            raise Malformed("A catalogue is in the page twice.")


@dataclass(frozen=True)
class ApprovalStatement(Record):
    """The body of the statement 'offer-decision', to the seller

    It answers lines of a catalogue, named by the id of its message and the
    SHA-256 of its bytes.
    """
    message: str = member(UUID)
    digest: str = member(DIGEST)
    approved: tuple = member(Many(TEXT, key=str))
    refused: tuple = member(Many(TEXT, key=str))
    reason: str = member(Optional(TEXT), default=None)

    def __post_init__(self):
        super().__post_init__()
        if set(self.approved) & set(self.refused):
            raise Malformed("A line is approved and refused.")
        if self.refused and not self.reason:
            raise Malformed("A refusal needs a reason.")
