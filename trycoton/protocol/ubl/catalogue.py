# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Catalogue (Peppol T19)."""
import datetime as dt
from dataclasses import dataclass
from decimal import Decimal

from .common import (
    ADDRESS, CONTACT, ENDPOINT, ISSUE_DATE, ITEM, LEGAL, NAME, Item, Party,
    head, item, party, price)
from .schema import (
    Broken, Code, Constant, Date, Document, Group, Integer, Many, Quantity,
    Text)

PROFILES = [
    'urn:fdc:peppol.eu:poacc:bis:catalogue_wo_response:3',
    'urn:fdc:peppol.eu:poacc:bis:catalogue_only:3',
    ]
ACTIONS = ['Add', 'Update', 'Delete']


def _property(name, Value=Text):
    return Group('cac:AdditionalItemProperty',
        Constant('cbc:Name', name),
        Value('cbc:Value', name))


@dataclass(frozen=True, kw_only=True)
class CatalogueLine:
    """max_quantity is what is left to order; kind tells a good from a
    service; lead_time is in days; the item needs a seller code or a GTIN
    """
    id: str
    action: str = None
    item: Item
    price: Decimal = None
    currency: str = None
    unit: str = None
    min_quantity: Decimal = None
    max_quantity: Decimal = None
    note: str = None
    delivery: str = None
    kind: str = None
    lead_time: int = None
    valid_from: dt.date = None
    valid_to: dt.date = None


@dataclass(frozen=True, kw_only=True)
class Catalogue(Document):
    """action is on the whole catalogue: Add, Replace, Update or Delete

    valid_from or valid_to is required.
    """
    kind = 'catalogue'
    root = 'Catalogue'
    customization = 'urn:fdc:peppol.eu:poacc:trns:catalogue:3'

    profile: str = PROFILES[0]
    number: str
    action: str = None
    version: str = None
    date: dt.date
    valid_from: dt.date = None
    valid_to: dt.date = None
    provider: Party
    receiver: Party
    seller: Party = None
    lines: tuple[CatalogueLine, ...]

    schema = (
        *head(customization, *PROFILES),
        Code('cbc:ActionCode', 'action', [*ACTIONS, 'Replace']),
        ISSUE_DATE,
        Text('cbc:VersionID', 'version'),
        Group('cac:ValidityPeriod',
            Date('cbc:StartDate', 'valid_from'),
            Date('cbc:EndDate', 'valid_to'),
            required=True),
        party('cac:ProviderParty', 'provider',
            ENDPOINT, ADDRESS, LEGAL, required=True),
        party('cac:ReceiverParty', 'receiver',
            ENDPOINT, ADDRESS, LEGAL, required=True),
        party('cac:SellerSupplierParty/cac:Party', 'seller',
            ENDPOINT, NAME, ADDRESS, CONTACT),
        Many('cac:CatalogueLine', 'lines', CatalogueLine, (
                Text('cbc:ID', 'id', required=True),
                Code('cbc:ActionCode', 'action', ACTIONS),
                Text('cbc:OrderableUnit', 'unit'),
                Quantity('cbc:MinimumOrderQuantity', 'min_quantity'),
                Quantity('cbc:MaximumOrderQuantity', 'max_quantity'),
                Group('cac:LineValidityPeriod',
                    Date('cbc:StartDate', 'valid_from'),
                    Date('cbc:EndDate', 'valid_to')),
                Group('cac:RequiredItemLocationQuantity', price()),
                Group('cac:Item',
                    item('.', *ITEM, required=True),
                    _property('delivery'),
                    _property('note'),
                    _property('kind'),
                    _property('lead_time', Integer),
                    required=True),
                ), required=True),
        )

    def check(self):
        problems = super().check()
        for line in self.lines:
            numbers = [line.price, line.min_quantity, line.max_quantity]
            if any(n is not None and n < 0 for n in numbers):
                problems.append(Broken(
                        'TCT-CAT-01',
                        f"Line {line.id}: a number is negative."))
            if not (line.item.seller_code or line.item.gtin):
                problems.append(Broken(
                        'TCT-CAT-02',
                        f"Line {line.id}: a seller code or GTIN is missing."))
        return problems
