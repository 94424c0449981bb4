# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The answers: order (T116), invoice (T111), message level (T71)."""
import datetime as dt
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from .common import (
    CONTACT, CURRENCY, ENDPOINT, ISSUE_DATE, ITEM_CODES, ITEM_NAME, LEGAL_NAME,
    Item, Party, head, item, party, price)
from .schema import (
    Broken, Code, Date, Document, Group, Many, Quantity, Text, Time)


@dataclass(frozen=True, kw_only=True)
class OrderResponseLine:
    """What becomes of a line of the order

    code is of UNCL 1229: 1 added, 3 changed, 5 accepted, 7 refused,
    42 already delivered.
    """
    id: str
    order_line: str
    code: str
    quantity: Decimal = None
    unit: str = None
    price: Decimal = None
    item: Item
    note: str = None
    delivery_date: dt.date = None


@dataclass(frozen=True, kw_only=True)
class OrderResponse(Document):
    """code is AB received, AP accepted, CA accepted with the lines as given
    here, or RE refused; only CA has lines

    change_number is the number of the change answered, if it is one.
    """
    kind = 'order_response'
    root = 'OrderResponse'
    customization = 'urn:fdc:peppol.eu:poacc:trns:order_response_advanced:3'

    profile: str = 'urn:fdc:peppol.eu:poacc:bis:advanced_ordering:3'
    number: str
    date: dt.date
    time: dt.time = None
    code: str
    order_number: str
    change_number: str = None
    sale_number: str = None
    currency: str
    buyer: Party
    seller: Party
    note: str = None
    delivery_date: dt.date = None
    lines: tuple[OrderResponseLine, ...] = ()

    schema = (
        *head(customization, profile),
        Text('cbc:SalesOrderID', 'sale_number'),
        ISSUE_DATE,
        Time('cbc:IssueTime', 'time'),
        Code('cbc:OrderResponseCode', 'code',
            ['AB', 'AP', 'CA', 'RE'], required=True),
        Text('cbc:Note', 'note'),
        CURRENCY,
        Text('cac:OrderReference/cbc:ID', 'order_number', required=True),
        Text('cac:OrderChangeDocumentReference/cbc:ID', 'change_number'),
        party('cac:SellerSupplierParty/cac:Party', 'seller',
            ENDPOINT, LEGAL_NAME, required=True),
        party('cac:BuyerCustomerParty/cac:Party', 'buyer',
            ENDPOINT, LEGAL_NAME, required=True),
        Date('cac:Delivery/cac:PromisedDeliveryPeriod/cbc:EndDate',
            'delivery_date'),
        Many('cac:OrderLine', 'lines', OrderResponseLine, (
                Group('cac:LineItem',
                    Text('cbc:ID', 'id', required=True),
                    Text('cbc:Note', 'note'),
                    Code('cbc:LineStatusCode', 'code',
                        ['1', '3', '5', '7', '42'], required=True),
                    Quantity('cbc:Quantity', 'quantity'),
                    Date('cac:Delivery/cac:PromisedDeliveryPeriod'
                        '/cbc:EndDate', 'delivery_date'),
                    price(),
                    item('cac:Item', ITEM_NAME, *ITEM_CODES, required=True),
                    required=True),
                Text('cac:OrderLineReference/cbc:LineID', 'order_line',
                    required=True),
                )),
        )

    def check(self):
        problems = super().check()
        if bool(self.lines) != (self.code == 'CA'):
            problems.append(Broken(
                    'TCT-RES-01',
                    "The answer has lines with CA, and only then."))
        return problems


class Reason(NamedTuple):
    "code is of the list OPStatusReason or OPStatusAction"
    code: str = None
    text: str = None
    list: str = 'OPStatusReason'


@dataclass(frozen=True, kw_only=True)
class InvoiceResponse(Document):
    """code is AB received, IP in process, UQ in dispute, CA accepted with
    conditions, RE refused, AP accepted or PD paid

    CA, UQ and RE need at least one reason.
    """
    kind = 'invoice_response'
    root = 'ApplicationResponse'
    customization = 'urn:fdc:peppol.eu:poacc:trns:invoice_response:3'

    profile: str = 'urn:fdc:peppol.eu:poacc:bis:invoice_response:3'
    number: str
    date: dt.date
    time: dt.time = None
    invoice_number: str
    invoice_date: dt.date = None
    invoice_type: str = '380'
    code: str
    effective_date: dt.date = None
    seller: Party
    buyer: Party
    note: str = None
    reasons: tuple[Reason, ...] = ()

    schema = (
        *head(customization, profile),
        ISSUE_DATE,
        Time('cbc:IssueTime', 'time'),
        Text('cbc:Note', 'note'),
        party('cac:SenderParty', 'buyer',
            ENDPOINT, LEGAL_NAME, CONTACT, required=True),
        party('cac:ReceiverParty', 'seller',
            ENDPOINT, LEGAL_NAME, required=True),
        Group('cac:DocumentResponse',
            Group('cac:Response',
                Code('cbc:ResponseCode', 'code',
                    ['AB', 'IP', 'UQ', 'CA', 'RE', 'AP', 'PD'],
                    required=True),
                Date('cbc:EffectiveDate', 'effective_date'),
                Many('cac:Status', 'reasons', Reason, (
                        Text('cbc:StatusReasonCode', 'code',
                            attributes={'listID': 'list'}),
                        Text('cbc:StatusReason', 'text'),
                        )),
                required=True),
            Group('cac:DocumentReference',
                Text('cbc:ID', 'invoice_number', required=True),
                Date('cbc:IssueDate', 'invoice_date'),
                Text('cbc:DocumentTypeCode', 'invoice_type', required=True),
                required=True),
            required=True),
        )

    def check(self):
        problems = super().check()
        if self.code in {'CA', 'UQ', 'RE'} and not self.reasons:
            problems.append(Broken(
                    'TCT-RES-02',
                    f"The answer {self.code} needs a reason."))
        return problems


class MessageLevelResponseLine(NamedTuple):
    """A refusal: line is what it is about (a path or a line id), code is
    SV for the syntax or BV for a rule
    """
    line: str
    code: str
    text: str


@dataclass(frozen=True, kw_only=True)
class MessageLevelResponse(Document):
    """code is AP accepted, AB received or RE refused

    document is the instance id of the message answered.
    """
    kind = 'message_level_response'
    root = 'ApplicationResponse'
    customization = 'urn:fdc:peppol.eu:poacc:trns:mlr:3'

    profile: str = 'urn:fdc:peppol.eu:poacc:bis:mlr:3'
    number: str
    date: dt.date
    time: dt.time = None
    sender: Party
    receiver: Party
    document: str
    code: str
    text: str = None
    lines: tuple[MessageLevelResponseLine, ...] = ()

    schema = (
        *head(customization, profile),
        ISSUE_DATE,
        Time('cbc:IssueTime', 'time'),
        party('cac:SenderParty', 'sender', ENDPOINT, required=True),
        party('cac:ReceiverParty', 'receiver', ENDPOINT, required=True),
        Group('cac:DocumentResponse',
            Group('cac:Response',
                Code('cbc:ResponseCode', 'code', ['AP', 'AB', 'RE'],
                    required=True),
                Text('cbc:Description', 'text'),
                required=True),
            Text('cac:DocumentReference/cbc:ID', 'document', required=True),
            Many('cac:LineResponse', 'lines', MessageLevelResponseLine, (
                    Text('cac:LineReference/cbc:LineID', 'line',
                        required=True),
                    Group('cac:Response',
                        Text('cbc:Description', 'text', required=True),
                        Code('cac:Status/cbc:StatusReasonCode', 'code',
                            ['SV', 'BV', 'BW'], required=True),
                        required=True),
                    )),
            required=True),
        )
