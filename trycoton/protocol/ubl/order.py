# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Order (Peppol T01)."""
import datetime as dt
from dataclasses import dataclass
from decimal import Decimal

from .common import (
    ADDRESS, CHARGES, CONTACT, CURRENCY, ENDPOINT, ISSUE_DATE, ITEM, LEGAL,
    VAT, Address, Charge, Item, Party, Priced, address, head, item, party,
    price, totals)
from .schema import (
    Amount, Date, Document, Echo, Group, Many, Quantity, Refused, Text)

PROFILES = [
    'urn:fdc:peppol.eu:poacc:bis:advanced_ordering:3',
    'urn:fdc:peppol.eu:poacc:bis:ordering:3',
    'urn:fdc:peppol.eu:poacc:bis:order_only:3',
    ]
BUYER = party('cac:BuyerCustomerParty/cac:Party', 'buyer',
    ENDPOINT, ADDRESS, VAT, LEGAL, CONTACT, required=True)
SELLER = party('cac:SellerSupplierParty/cac:Party', 'seller',
    ENDPOINT, ADDRESS, LEGAL, CONTACT, required=True)
DELIVERY = Group('cac:Delivery',
    address('cac:DeliveryLocation/cac:Address', 'delivery_address'),
    Date('cac:RequestedDeliveryPeriod/cbc:EndDate', 'delivery_date'))
TOTALS = [
    Amount('cac:TaxTotal/cbc:TaxAmount', 'tax'),
    totals('cac:AnticipatedMonetaryTotal',
        Echo(Amount('cbc:PayableAmount', 'total'))),
    ]


def order_lines(Line, *status):
    """Return the part of the schema that lists what is ordered.
    Line is an OrderLine; status is what tells the status of a line, if any
    does (T01 and T114, cac:OrderLine)."""
    return Many('cac:OrderLine', 'lines', Line, (
            Text('cbc:Note', 'note'),
            Group('cac:LineItem',
                Text('cbc:ID', 'id', required=True),
                *status,
                Quantity('cbc:Quantity', 'quantity', required=True),
                Amount('cbc:LineExtensionAmount', 'amount'),
                Date('cac:Delivery/cac:RequestedDeliveryPeriod'
                    '/cbc:EndDate', 'delivery_date'),
                Refused('cac:AllowanceCharge'),
                price(),
                item('cac:Item', *ITEM, required=True),
                required=True),
            ), required=True)


@dataclass(frozen=True, kw_only=True)
class OrderLine:
    "unit is a code of UNECE Recommendation 20"
    id: str
    quantity: Decimal
    unit: str
    price: Decimal = None
    amount: Decimal = None
    item: Item
    note: str = None
    delivery_date: dt.date = None


@dataclass(frozen=True, kw_only=True)
class Order(Priced, Document):
    "valid_to is the day until which the answer is expected"
    kind = 'order'
    root = 'Order'
    customization = 'urn:fdc:peppol.eu:poacc:trns:order:3'

    profile: str = PROFILES[0]
    number: str
    date: dt.date
    currency: str
    buyer: Party
    seller: Party
    lines: tuple[OrderLine, ...]
    note: str = None
    valid_to: dt.date = None
    delivery_date: dt.date = None
    delivery_address: Address = None
    charges: tuple[Charge, ...] = ()
    untaxed: Decimal = None
    tax: Decimal = None
    total: Decimal = None

    schema = (
        *head(customization, *PROFILES),
        ISSUE_DATE,
        Text('cbc:Note', 'note'),
        CURRENCY,
        Date('cac:ValidityPeriod/cbc:EndDate', 'valid_to'),
        BUYER,
        SELLER,
        DELIVERY,
        CHARGES,
        *TOTALS,
        order_lines(OrderLine),
        )
