# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Despatch advice that wants a receipt (Peppol logistics T120)."""
import datetime as dt
from dataclasses import dataclass
from decimal import Decimal

from .common import (
    ADDRESS, CONTACT, ENDPOINT, ISSUE_DATE, ITEM_CODES, ITEM_NAME, LEGAL, NAME,
    VAT, Item, Party, head, item, party)
from .schema import (
    Broken, Constant, Date, Document, Echo, Group, Many, Quantity, Text, Time)

PROFILES = [
    'urn:fdc:peppol.eu:logistics:bis:despatch_advice_w_receipt_advice:1',
    'urn:fdc:peppol.eu:logistics:bis:despatch_advice_only:1',
    ]


@dataclass(frozen=True, kw_only=True)
class DespatchLine:
    """outstanding is what of the order is still to come, with its reason

    order_number is for a line of another order than the document's.
    """
    id: str
    quantity: Decimal
    unit: str
    outstanding: Decimal = None
    outstanding_reason: str = None
    order_line: str
    order_number: str = None
    item: Item
    note: str = None


@dataclass(frozen=True, kw_only=True)
class DespatchAdvice(Document):
    "buyer is the delivery customer, seller the despatch supplier"
    kind = 'despatch_advice'
    root = 'DespatchAdvice'
    customization = (
        'urn:fdc:peppol.eu:logistics:trns:advanced_despatch_advice:1')

    profile: str = PROFILES[0]
    number: str
    date: dt.date
    time: dt.time
    order_number: str = None
    buyer: Party
    seller: Party
    note: str = None
    delivery_date: dt.date = None
    lines: tuple[DespatchLine, ...]

    schema = (
        *head(customization, *PROFILES),
        ISSUE_DATE,
        Time('cbc:IssueTime', 'time', required=True),
        Text('cbc:Note', 'note'),
        Text('cac:OrderReference/cbc:ID', 'order_number'),
        party('cac:DespatchSupplierParty/cac:Party', 'seller',
            ENDPOINT, Echo(NAME), ADDRESS, VAT, LEGAL, CONTACT,
            required=True),
        party('cac:DeliveryCustomerParty/cac:Party', 'buyer',
            ENDPOINT, Echo(NAME), ADDRESS, VAT, LEGAL, CONTACT,
            required=True),
        Group('cac:Shipment',
            Echo(Constant('cbc:ID', 'NA')),
            Date('cac:Delivery/cac:EstimatedDeliveryPeriod/cbc:EndDate',
                'delivery_date'),
            required=True),
        Many('cac:DespatchLine', 'lines', DespatchLine, (
                Text('cbc:ID', 'id', required=True),
                Text('cbc:Note', 'note'),
                Quantity('cbc:DeliveredQuantity', 'quantity', required=True),
                Quantity('cbc:OutstandingQuantity', 'outstanding'),
                Text('cbc:OutstandingReason', 'outstanding_reason'),
                Group('cac:OrderLineReference',
                    Text('cbc:LineID', 'order_line', required=True),
                    Text('cac:OrderReference/cbc:ID', 'order_number'),
                    required=True),
                item('cac:Item', ITEM_NAME, *ITEM_CODES, required=True),
                ), required=True),
        )

    def check(self):
        problems = super().check()
        for line in self.lines:
            if line.quantity < 0 or (line.outstanding or 0) < 0:
                problems.append(Broken(
                        'TCT-DES-01',
                        f"Line {line.id}: a quantity is negative."))
            if line.outstanding is not None and not line.outstanding_reason:
                problems.append(Broken(
                        'TCT-DES-02',
                        f"Line {line.id}: outstanding needs a reason."))
        return problems
