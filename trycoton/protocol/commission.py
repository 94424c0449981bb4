# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"What a trust party's log proves of the trade of a community, line by line"
from dataclasses import dataclass
from datetime import date, datetime

from . import signature
from .errors import Malformed
from .record import (
    AMOUNT, CURRENCY, DATE, DIGEST, IDENTIFIER, TEXT, TIME, UUID, Choice,
    Integer, Many, Nested, Record, Value, member)

KINDS = ['invoice', 'credit_note']


@dataclass(frozen=True)
class Total(Record):
    """What a sealed invoice or credit note tells in clear of its document,
    where a commission is taken on it; who answers it repeats it.
    Amounts are decimal texts."""
    kind: str = member(Choice(*KINDS))
    date: date = member(DATE)
    currency: str = member(CURRENCY)
    untaxed: str = member(AMOUNT)
    total: str = member(AMOUNT)

    @classmethod
    def of(cls, document):
        "Return what is told of a ubl document, None when it is no invoice"
        if document.kind in KINDS:
            return cls(
                document.kind, document.date, document.currency,
                document.untaxed, document.total)

    def __str__(self):
        return ' '.join(self.to_json().values())

    @classmethod
    def read(cls, text):
        "Return the total of a text that str gives; raise Malformed"
        names = [name for name, _ in cls._members()]
        values = text.split(' ')
        if len(values) != len(names):
            raise Malformed("Not a total.")
        return cls.from_json(dict(zip(names, values)))


def check(invoice):
    """Raise Malformed if no CommissionLine can tell what an invoice or credit
    note, or its ubl.InvoiceTotal, comes to"""
    Total.of(invoice)
    TEXT.check(invoice.number)


class Totalled(Value):
    "A Total, as text"

    def load(self, value):
        return Total.read(value)

    def dump(self, value):
        if not isinstance(value, Total):
            raise Malformed("Not a total.")
        return str(value)


@dataclass(frozen=True)
class CommissionLine(Record):
    """An invoice or credit note that was handed over

    message, digest and index name it in the log; amounts are those of the
    document, as decimal texts.
    """
    message: str = member(UUID)
    kind: str = member(Choice(*KINDS))
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
