# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"What a trust party's log proves of the trade of a community, line by line"
from dataclasses import dataclass
from datetime import date, datetime

from . import signature
from .record import (
    AMOUNT, CURRENCY, DATE, DIGEST, IDENTIFIER, TEXT, TIME, UUID, Choice,
    Integer, Many, Nested, Record, member)


@dataclass(frozen=True)
class CommissionLine(Record):
    """An invoice or credit note that was handed over

    message, digest and index name it in the log; amounts are those of the
    document, as decimal texts.
    """
    message: str = member(UUID)
    kind: str = member(Choice('invoice', 'credit_note'))
    number: str = member(TEXT)
    date: date = member(DATE)
    seller: str = member(IDENTIFIER)
    buyer: str = member(IDENTIFIER)
    relation: str = member(UUID)
    currency: str = member(CURRENCY)
    untaxed: str = member(AMOUNT)
    total: str = member(AMOUNT)
    digest: str = member(DIGEST)
    index: int = member(Integer())


@dataclass(frozen=True)
class CommissionStatement(Record):
    """The lines of a community that the log has from an index on

    Signed by the trust party.
    """
    typ = signature.COMMISSION

    community: str = member(IDENTIFIER)
    trust_party: str = member(IDENTIFIER)
    created: datetime = member(TIME)
    after: int = member(Integer())
    lines: tuple = member(
        Many(Nested(CommissionLine), key=lambda l: l.index))
