# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Invoice and credit note (Peppol BIS Billing 3, EN 16931)."""
import datetime as dt
from collections import defaultdict
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from .common import (
    ADDRESS, CENT, CHARGES, CONTACT, CURRENCY, ENDPOINT, IDENTIFICATION,
    ISSUE_DATE, ITEM, LEGAL, LINE_CHARGES, NUMBER, TAX_REGISTRATION, TAXED,
    UNTAXED, VAT, Address, Charge, Item, LineCharge, Party, Priced, Tax,
    address, head, item, party, price, totals, vat_category)
from .schema import (
    Amount, Broken, Constant, Date, Document, Echo, Group, Many, Quantity,
    Read, Text, located)

CUSTOMIZATION = (
    'urn:cen.eu:en16931:2017#compliant'
    '#urn:fdc:peppol.eu:2017:poacc:billing:3.0')
PROFILE = 'urn:fdc:peppol.eu:2017:poacc:billing:01:1.0'
WITHOUT_TAX = {'E', 'AE', 'K', 'G', 'O'}


class InvoiceTotal(NamedTuple):
    """What an invoice or a credit note comes to, in its currency, and nothing
    else of it"""
    kind: str
    number: str
    date: dt.date
    currency: str
    untaxed: Decimal
    total: Decimal


TOTAL = (
    NUMBER, ISSUE_DATE, CURRENCY,
    Group('cac:LegalMonetaryTotal', UNTAXED, TAXED, required=True),
    )


class Preceding(NamedTuple):
    "An invoice that this document corrects"
    number: str
    date: dt.date = None


@dataclass(frozen=True, kw_only=True)
class InvoiceLine:
    "order_number is for a line of another order than the document's"
    id: str
    quantity: Decimal
    unit: str
    price: Decimal
    amount: Decimal
    item: Item
    order_line: str = None
    order_number: str = None
    note: str = None
    charges: tuple[LineCharge, ...] = ()


def description(*identity, line, quantity, payment=()):
    "Return the description of an invoice or a credit note"
    return (
        *head(CUSTOMIZATION, PROFILE),
        ISSUE_DATE,
        *identity,
        Text('cbc:Note', 'note'),
        CURRENCY,
        Text('cbc:BuyerReference', 'buyer_reference'),
        Text('cac:OrderReference/cbc:ID', 'order_number'),
        Many('cac:BillingReference', 'preceding', Preceding, (
                Group('cac:InvoiceDocumentReference',
                    Text('cbc:ID', 'number', required=True),
                    Date('cbc:IssueDate', 'date'),
                    required=True),
                )),
        Text('cac:DespatchDocumentReference/cbc:ID', 'despatch_number'),
        party('cac:AccountingSupplierParty/cac:Party', 'seller',
            ENDPOINT, IDENTIFICATION, ADDRESS, VAT, TAX_REGISTRATION, LEGAL,
            CONTACT, required=True),
        party('cac:AccountingCustomerParty/cac:Party', 'buyer',
            ENDPOINT, ADDRESS, VAT, LEGAL, CONTACT, required=True),
        Group('cac:Delivery',
            Date('cbc:ActualDeliveryDate', 'delivery_date'),
            address('cac:DeliveryLocation/cac:Address', 'delivery_address')),
        Group('cac:PaymentMeans',
            Echo(Text('cbc:PaymentMeansCode', 'payment_means')),
            *payment,
            Text('cbc:PaymentID', 'payment_reference'),
            Text('cac:PayeeFinancialAccount/cbc:ID', 'iban'),
            first=True),
        Text('cac:PaymentTerms/cbc:Note', 'payment_terms'),
        CHARGES,
        Group('cac:TaxTotal',
            Amount('cbc:TaxAmount', 'tax', required=True),
            Many('cac:TaxSubtotal', 'taxes', Tax, (
                    Amount('cbc:TaxableAmount', 'base', required=True),
                    Amount('cbc:TaxAmount', 'amount', required=True),
                    vat_category('cac:TaxCategory', 'category', 'rate',
                        Text('cbc:TaxExemptionReasonCode', 'reason_code'),
                        Text('cbc:TaxExemptionReason', 'reason')),
                    ), required=True),
            required=True, where='cac:TaxSubtotal'),
        totals('cac:LegalMonetaryTotal',
            Amount('cbc:PrepaidAmount', 'prepaid'),
            Amount('cbc:PayableRoundingAmount', 'rounding'),
            Amount('cbc:PayableAmount', 'payable', required=True),
            required=True),
        Many(line, 'lines', InvoiceLine, (
                Text('cbc:ID', 'id', required=True),
                Text('cbc:Note', 'note'),
                Quantity(quantity, 'quantity', required=True),
                Amount('cbc:LineExtensionAmount', 'amount', required=True),
                Group('cac:OrderLineReference',
                    Text('cbc:LineID', 'order_line', required=True),
                    Text('cac:OrderReference/cbc:ID', 'order_number')),
                LINE_CHARGES,
                item('cac:Item', *ITEM, required=True),
                price(required=True),
                ), required=True),
        )


@dataclass(frozen=True, kw_only=True)
class Invoice(Priced, Document):
    """buyer_reference is required when there is no order number

    taxes has one element for each category and rate; payable is what is
    still due: total less prepaid, with rounding.
    """
    kind = 'invoice'
    root = 'Invoice'
    customization = CUSTOMIZATION

    profile: str = PROFILE
    number: str
    date: dt.date
    due_date: dt.date = None
    currency: str
    seller: Party
    buyer: Party
    buyer_reference: str = None
    order_number: str = None
    despatch_number: str = None
    note: str = None
    lines: tuple[InvoiceLine, ...]
    charges: tuple[Charge, ...] = ()
    taxes: tuple[Tax, ...]
    untaxed: Decimal
    tax: Decimal
    total: Decimal
    prepaid: Decimal = None
    rounding: Decimal = None
    payable: Decimal
    iban: str = None
    payment_reference: str = None
    payment_terms: str = None
    delivery_date: dt.date = None
    delivery_address: Address = None
    preceding: tuple[Preceding, ...] = ()

    schema = description(
        Date('cbc:DueDate', 'due_date'),
        Constant('cbc:InvoiceTypeCode', '380'),
        line='cac:InvoiceLine', quantity='cbc:InvoicedQuantity')

    @classmethod
    def total_of(cls, element):
        "Return the InvoiceTotal of a root element; raise Malformed, Rejected"
        scope = Read({'kind': cls.kind})
        with located(element):
            cls.check_constants(element)
            for node in TOTAL:
                node.read(element, scope)
            return scope.build(InvoiceTotal)

    @property
    def payment_means(self):
        "Credit transfer, or undefined (UNCL 4461)"
        return '30' if self.iban else '1'

    def check(self):
        return [
            *super().check(), *self._check_taxes(), *self._check_payable(),
            *self._check_parties()]

    def _check_taxes(self):
        bases, counts = defaultdict(Decimal), defaultdict(int)
        for line in self.lines:
            key = line.item.vat_category, line.item.vat_rate or 0
            bases[key] += line.amount
            counts[key] += 1
        for charge in self.charges:
            key = charge.vat_category, charge.vat_rate or 0
            bases[key] += charge.amount if charge.charge else -charge.amount
        for tax in self.taxes:
            name = f"{tax.category} {tax.rate or 0} %"
            key = tax.category, tax.rate or 0
            base = bases.pop(key, None)
            if base != tax.base:
                yield Broken(
                    'TCT-INV-01',
                    f"The base of {name} is {tax.base} but must be {base}.")
            amount = tax.base * (tax.rate or 0) / 100
            if abs(tax.amount - amount) > CENT * max(1, counts[key]):
                yield Broken(
                    'TCT-INV-02',
                    f"The tax of {name} is {tax.amount} "
                    f"but must be {amount:.2f}.")
            if (tax.category in WITHOUT_TAX
                    and not (tax.reason or tax.reason_code)):
                yield Broken('TCT-INV-03', f"The tax {name} needs a reason.")
        for category, rate in bases:
            yield Broken(
                'TCT-INV-04',
                f"The tax of {category} {rate} % is missing.")
        if self.tax != sum(t.amount for t in self.taxes):
            yield Broken(
                'TCT-INV-05',
                f"The tax is {self.tax} but not the sum of the taxes.")

    def _check_payable(self):
        payable = self.total - (self.prepaid or 0) + (self.rounding or 0)
        if self.payable != payable:
            yield Broken(
                'TCT-INV-06',
                f"Payable is {self.payable} but {payable} is due.")

    def _check_parties(self):
        categories = {t.category for t in self.taxes}
        if not (self.order_number or self.buyer_reference):
            yield Broken(
                'TCT-INV-07',
                "An order number or a buyer reference is missing.")
        if 'O' in categories:
            if categories != {'O'}:
                yield Broken(
                    'TCT-INV-08',
                    "Category O can not be with another category.")
            if self.seller.vat or self.buyer.vat:
                yield Broken(
                    'TCT-INV-09',
                    "With category O no party has a VAT number.")
        elif not (self.seller.vat or self.seller.tax_id):
            yield Broken(
                'TCT-INV-10',
                "The seller needs a VAT number or a tax registration.")
        if 'AE' in categories and not (self.buyer.vat or self.buyer.legal_id):
            yield Broken(
                'TCT-INV-11',
                "With category AE the buyer needs a VAT number or legal id.")
        if categories & {'K', 'G'} and not self.seller.vat:
            yield Broken(
                'TCT-INV-12',
                "With categories K and G the seller needs a VAT number.")
        if 'K' in categories:
            if not self.buyer.vat:
                yield Broken(
                    'TCT-INV-13',
                    "With category K the buyer needs a VAT number.")
            if not self.delivery_date or not getattr(
                    self.delivery_address, 'country', None):
                yield Broken(
                    'TCT-INV-14',
                    "With category K the delivery needs a date and country.")


@dataclass(frozen=True, kw_only=True)
class CreditNote(Invoice):
    "The same, with positive amounts that are given back"
    kind = 'credit_note'
    root = 'CreditNote'

    schema = description(
        Constant('cbc:CreditNoteTypeCode', '381'),
        line='cac:CreditNoteLine', quantity='cbc:CreditedQuantity',
        payment=[Date('cbc:PaymentDueDate', 'due_date')])
