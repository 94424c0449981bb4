# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What several documents share: values and their descriptions."""
from dataclasses import dataclass
from decimal import Decimal

from .schema import (
    Amount, Base, Boolean, Broken, Code, Computed, Constant, Date, Echo,
    Endpoint, Group, Identifier, Many, Number, One, Text)

# UNCL 5305, as EN 16931 uses it
VAT_CATEGORIES = ['S', 'Z', 'E', 'AE', 'K', 'G', 'O', 'L', 'M', 'B']
CENT = Decimal('0.01')


@dataclass(frozen=True)
class Address:
    "country is an ISO 3166-1 alpha-2 code: every document needs it"
    street: str = None
    additional: str = None
    city: str = None
    postal_code: str = None
    country: str = None


@dataclass(frozen=True)
class Party:
    """identifier is 'scheme:value', the electronic address

    legal_id is 'scheme:value' too; tax_id is the registration of a seller
    that has no VAT number but categories that need one.
    A document carries of a party what its rules let it carry.
    """
    identifier: str = None
    name: str = None
    legal_id: str = None
    vat: str = None
    address: Address = None
    email: str = None
    phone: str = None
    contact: str = None
    tax_id: str = None


@dataclass(frozen=True)
class Item:
    "vat_rate is in percent, None for category O"
    name: str = None
    description: str = None
    seller_code: str = None
    buyer_code: str = None
    gtin: str = None
    category: str = None
    vat_category: str = None
    vat_rate: Decimal = None


@dataclass(frozen=True)
class Tax:
    "reason (or reason_code, VATEX) is for the categories without tax"
    category: str = None
    rate: Decimal = None
    base: Decimal = None
    amount: Decimal = None
    reason: str = None
    reason_code: str = None


@dataclass(frozen=True)
class Charge:
    "A charge on the whole document, or an allowance: amount is positive"
    charge: bool
    amount: Decimal = None
    reason: str = None
    vat_category: str = None
    vat_rate: Decimal = None
    reason_code: str = None


@dataclass(frozen=True)
class LineCharge:
    "A charge on a line, or an allowance: amount is positive"
    charge: bool
    amount: Decimal = None
    reason: str = None
    reason_code: str = None


def charged(charges):
    "Return what the charges add, less the allowances"
    return sum(
        ((c.amount if c.charge else -c.amount) for c in charges), Decimal(0))


class Priced:
    "A document with lines, charges, untaxed, tax and total"

    @property
    def lines_total(self):
        return sum((line.amount or 0 for line in self.lines), Decimal(0))

    @property
    def allowance_total(self):
        return self._charge_total(False)

    @property
    def charge_total(self):
        return self._charge_total(True)

    def _charge_total(self, charge):
        amounts = [c.amount for c in self.charges if c.charge == charge]
        return sum(amounts) if amounts else None

    def check(self):
        problems = super().check()
        for line in self.lines:
            if line.amount is None or line.price is None:
                continue
            charges = charged(getattr(line, 'charges', ()))
            amount = line.quantity * line.price + charges
            if abs(line.amount - amount) > 2 * CENT:
                with_charges = f" with charges of {charges}" * bool(charges)
                problems.append(Broken(
                        'TCT-SUM-01',
                        f"Line {line.id}: {line.amount} is not "
                        f"{line.quantity} times {line.price}{with_charges}."))
        untaxed = (
            self.lines_total
            + (self.charge_total or 0) - (self.allowance_total or 0))
        if self.untaxed is not None and self.untaxed != untaxed:
            problems.append(Broken(
                    'TCT-SUM-02',
                    f"The untaxed amount is {self.untaxed} "
                    f"but the lines and charges make {untaxed}."))
        if None not in {self.untaxed, self.tax, self.total}:
            if self.total != self.untaxed + self.tax:
                problems.append(Broken(
                        'TCT-SUM-03',
                        f"The total is {self.total} but the untaxed amount "
                        f"and the tax make {self.untaxed + self.tax}."))
        return problems


# Descriptions

NUMBER = Text('cbc:ID', 'number', required=True)


def head(customization, *profiles):
    return (
        Constant('cbc:CustomizationID', customization),
        Code('cbc:ProfileID', 'profile', profiles, required=True),
        NUMBER,
        )


ISSUE_DATE = Date('cbc:IssueDate', 'date', required=True)
CURRENCY = Text('cbc:DocumentCurrencyCode', 'currency', required=True)


def address(path, field='address', **options):
    return One(path, field, Address, (
            Text('cbc:StreetName', 'street'),
            Text('cbc:AdditionalStreetName', 'additional'),
            Text('cbc:CityName', 'city'),
            Text('cbc:PostalZone', 'postal_code'),
            Text('cac:Country/cbc:IdentificationCode', 'country'),
            ), **options)


ENDPOINT = Endpoint('cbc:EndpointID', 'identifier', required=True)
IDENTIFICATION = Echo(
    Endpoint('cac:PartyIdentification/cbc:ID', 'identifier'))
NAME = Text('cac:PartyName/cbc:Name', 'name')
ADDRESS = address('cac:PostalAddress')
VAT = Group('cac:PartyTaxScheme',
    Text('cbc:CompanyID', 'vat', required=True),
    Constant('cac:TaxScheme/cbc:ID', 'VAT'))
TAX_REGISTRATION = Group('cac:PartyTaxScheme',
    Text('cbc:CompanyID', 'tax_id', required=True),
    Constant('cac:TaxScheme/cbc:ID', 'TAX'))
LEGAL_NAME = Text('cac:PartyLegalEntity/cbc:RegistrationName', 'name')
LEGAL = Group('cac:PartyLegalEntity',
    Text('cbc:RegistrationName', 'name', required=True),
    Identifier('cbc:CompanyID', 'legal_id'),
    required=True)
CONTACT = Group('cac:Contact',
    Text('cbc:Name', 'contact'),
    Text('cbc:Telephone', 'phone'),
    Text('cbc:ElectronicMail', 'email'))


def party(path, field, *nodes, **options):
    return One(path, field, Party, nodes, **options)


def vat_category(path, category='vat_category', rate='vat_rate', *nodes):
    return Group(path,
        Code('cbc:ID', category, VAT_CATEGORIES, required=True),
        Number('cbc:Percent', rate),
        *nodes,
        Constant('cac:TaxScheme/cbc:ID', 'VAT'))


ITEM_NAME = Text('cbc:Name', 'name', required=True)
ITEM_CODES = (
    Text('cac:BuyersItemIdentification/cbc:ID', 'buyer_code'),
    Text('cac:SellersItemIdentification/cbc:ID', 'seller_code'),
    Text('cac:StandardItemIdentification/cbc:ID', 'gtin',
        fixed={'schemeID': '0160'}),
    )
ITEM = (
    Text('cbc:Description', 'description'),
    ITEM_NAME,
    *ITEM_CODES,
    Text('cac:CommodityClassification/cbc:ItemClassificationCode',
        'category', fixed={'listID': 'ZZZ'}),
    vat_category('cac:ClassifiedTaxCategory'),
    )


def item(path, *nodes, **options):
    return One(path, 'item', Item, nodes, **options)


def price(**options):
    return Group('cac:Price',
        Amount('cbc:PriceAmount', 'price', required=True),
        Base('cbc:BaseQuantity', 'price'),
        **options)


LINE_CHARGE = (
    Boolean('cbc:ChargeIndicator', 'charge', required=True),
    Text('cbc:AllowanceChargeReasonCode', 'reason_code'),
    Text('cbc:AllowanceChargeReason', 'reason'),
    Amount('cbc:Amount', 'amount', required=True),
    )
LINE_CHARGES = Many('cac:AllowanceCharge', 'charges', LineCharge, LINE_CHARGE)
CHARGES = Many('cac:AllowanceCharge', 'charges', Charge, (
        *LINE_CHARGE,
        vat_category('cac:TaxCategory'),
        ))


UNTAXED = Amount('cbc:TaxExclusiveAmount', 'untaxed')
TAXED = Amount('cbc:TaxInclusiveAmount', 'total')


def totals(path, *nodes, **options):
    return Group(path,
        Computed(Amount('cbc:LineExtensionAmount', 'lines_total')),
        UNTAXED,
        TAXED,
        Computed(Amount('cbc:AllowanceTotalAmount', 'allowance_total')),
        Computed(Amount('cbc:ChargeTotalAmount', 'charge_total')),
        *nodes,
        **options)
