# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Remittance advice: what a payment pays

Peppol has none: UBL 2.1 under a customization of our own.
"""
import datetime as dt
from dataclasses import dataclass
from decimal import Decimal

from .common import (
    ADDRESS, CURRENCY, ENDPOINT, ISSUE_DATE, LEGAL, Party, head, party)
from .schema import Amount, Broken, Date, Document, Echo, Group, Many, Text

CUSTOMIZATION = 'urn:trycoton.org:trns:remittance_advice:1'


@dataclass(frozen=True, kw_only=True)
class RemittanceLine:
    """amount is paid of an invoice; or credit is taken off for a credit note

    reference is the text that comes with the payment, if it has its own.
    """
    id: str
    amount: Decimal = None
    credit: Decimal = None
    invoice_number: str
    invoice_date: dt.date = None
    reference: str = None

    @property
    def invoice_type(self):
        return '380' if self.credit is None else '381'


@dataclass(frozen=True, kw_only=True)
class RemittanceAdvice(Document):
    kind = 'remittance_advice'
    root = 'RemittanceAdvice'
    customization = CUSTOMIZATION

    profile: str = 'urn:trycoton.org:bis:payment:1'
    number: str
    date: dt.date
    currency: str
    payer: Party
    payee: Party
    total: Decimal
    payment_date: dt.date = None
    payment_reference: str = None
    note: str = None
    lines: tuple[RemittanceLine, ...]

    schema = (
        *head(CUSTOMIZATION, profile),
        ISSUE_DATE,
        Text('cbc:Note', 'note'),
        CURRENCY,
        Amount('cbc:TotalPaymentAmount', 'total', required=True),
        party('cac:AccountingCustomerParty/cac:Party', 'payer',
            ENDPOINT, ADDRESS, LEGAL, required=True),
        party('cac:AccountingSupplierParty/cac:Party', 'payee',
            ENDPOINT, ADDRESS, LEGAL, required=True),
        Group('cac:PaymentMeans',
            Echo(Text('cbc:PaymentMeansCode', 'payment_means')),
            Date('cbc:PaymentDueDate', 'payment_date'),
            Text('cbc:PaymentID', 'payment_reference')),
        Many('cac:RemittanceAdviceLine', 'lines', RemittanceLine, (
                Text('cbc:ID', 'id', required=True),
                Text('cbc:Note', 'reference'),
                Amount('cbc:DebitLineAmount', 'amount'),
                Amount('cbc:CreditLineAmount', 'credit'),
                Group('cac:BillingReference/cac:InvoiceDocumentReference',
                    Text('cbc:ID', 'invoice_number', required=True),
                    Date('cbc:IssueDate', 'invoice_date'),
                    Echo(Text('cbc:DocumentTypeCode', 'invoice_type')),
                    required=True),
                ), required=True),
        )

    payment_means = '1'  # undefined (UNCL 4461)

    def check(self):
        problems = super().check()
        total = Decimal(0)
        for line in self.lines:
            total += (line.amount or 0) - (line.credit or 0)
            if (line.amount is None) == (line.credit is None):
                problems.append(Broken(
                        'TCT-REM-01',
                        f"Line {line.id}: either an amount or a credit."))
        if self.total != total:
            problems.append(Broken(
                    'TCT-REM-02',
                    f"The total is {self.total} but the lines make {total}."))
        return problems
