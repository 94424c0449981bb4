# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What the buyer asks after the order: its change (T114) or its
cancellation (T115)."""
import datetime as dt
from dataclasses import dataclass
from decimal import Decimal

from .common import (
    CHARGES, CURRENCY, ISSUE_DATE, Address, Charge, Party, Priced, head)
from .order import (
    BUYER, DELIVERY, PROFILES, SELLER, TOTALS, OrderLine, order_lines)
from .schema import Broken, Code, Date, Document, Integer, Text, Time

ADDED, DELETED, CHANGED, UNCHANGED = CODES = ['1', '2', '3', '4']


@dataclass(frozen=True, kw_only=True)
class OrderChangeLine(OrderLine):
    """What the line of the order becomes

    code is ADDED, DELETED, CHANGED or UNCHANGED.
    """
    code: str


@dataclass(frozen=True, kw_only=True)
class OrderChange(Priced, Document):
    """sequence is 1 for the first change of an order, and so on

    Lines of the order that are not in it stay as they are.
    """
    kind = 'order_change'
    root = 'OrderChange'
    customization = 'urn:fdc:peppol.eu:poacc:trns:order_change:3'

    profile: str = PROFILES[0]
    number: str
    date: dt.date
    time: dt.time = None
    sequence: int
    order_number: str
    sale_number: str = None
    currency: str
    buyer: Party
    seller: Party
    lines: tuple[OrderChangeLine, ...]
    note: str = None
    valid_to: dt.date = None
    delivery_date: dt.date = None
    delivery_address: Address = None
    charges: tuple[Charge, ...] = ()
    untaxed: Decimal = None
    tax: Decimal = None
    total: Decimal = None

    schema = (
        *head(customization, profile),
        Text('cbc:SalesOrderID', 'sale_number'),
        ISSUE_DATE,
        Time('cbc:IssueTime', 'time'),
        Integer('cbc:SequenceNumberID', 'sequence', required=True),
        Text('cbc:Note', 'note'),
        CURRENCY,
        Date('cac:ValidityPeriod/cbc:EndDate', 'valid_to'),
        Text('cac:OrderReference/cbc:ID', 'order_number', required=True),
        BUYER,
        SELLER,
        DELIVERY,
        CHARGES,
        *TOTALS,
        order_lines(
            OrderChangeLine,
            Code('cbc:LineStatusCode', 'code', CODES, required=True)),
        )

    def check(self):
        problems = super().check()
        if self.sequence < 1:
            problems.append(Broken(
                    'TCT-CHG-01',
                    "The first change has the sequence number 1."))
        return problems


@dataclass(frozen=True, kw_only=True)
class OrderCancellation(Document):
    "reason is what the seller is told"
    kind = 'order_cancellation'
    root = 'OrderCancellation'
    customization = 'urn:fdc:peppol.eu:poacc:trns:order_cancellation:3'

    profile: str = PROFILES[0]
    number: str
    date: dt.date
    time: dt.time = None
    reason: str
    order_number: str
    buyer: Party
    seller: Party
    note: str = None

    schema = (
        *head(customization, profile),
        ISSUE_DATE,
        Time('cbc:IssueTime', 'time'),
        Text('cbc:Note', 'note'),
        Text('cbc:CancellationNote', 'reason', required=True),
        Text('cac:OrderReference/cbc:ID', 'order_number', required=True),
        BUYER,
        SELLER,
        )
