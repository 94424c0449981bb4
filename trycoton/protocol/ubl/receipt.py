# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Receipt advice (Peppol logistics T128)."""
import datetime as dt
from dataclasses import dataclass
from decimal import Decimal

from .common import (
    ADDRESS, CONTACT, ENDPOINT, ISSUE_DATE, ITEM_CODES, ITEM_NAME, LEGAL, NAME,
    VAT, Item, Party, head, item, party)
from .schema import (
    Broken, Code, Constant, Date, Document, Echo, Group, Many, Quantity, Text,
    Time)

# What the buyer wants: the missing goods, or a credit note
REPLACE, CREDIT = ACTIONS = ['1', '2']
OTHER_REASON = '99'


@dataclass(frozen=True, kw_only=True)
class ReceiptLine:
    """received counts all that arrived, the rejected quantity as well

    short is what did not arrive; an action is REPLACE or CREDIT;
    reject_code is of the list RejectReasonCode: 1 broken, 2 quality,
    3 wrong item, 5 label, 7 and 8 packaging, 99 other.
    """
    id: str
    received: Decimal = None
    short: Decimal = None
    short_action: str = None
    rejected: Decimal = None
    reject_code: str = None
    reject_reason: str = None
    reject_action: str = None
    unit: str = None
    despatch_line: str
    order_line: str = None
    order_number: str = None
    item: Item = None
    note: str = None


@dataclass(frozen=True, kw_only=True)
class ReceiptAdvice(Document):
    """type is S for a receipt of goods, which needs delivery_date, or D for
    an answer to the despatch advice, which needs code: AB, AP, CA, RE

    All the lines of the despatch advice are in it.
    """
    kind = 'receipt_advice'
    root = 'ReceiptAdvice'
    customization = 'urn:fdc:peppol.eu:logistics:trns:receipt_advice:1'

    profile: str = (
        'urn:fdc:peppol.eu:logistics:bis:despatch_advice_w_receipt_advice:1')
    number: str
    date: dt.date
    time: dt.time
    type: str = 'S'
    code: str = None
    order_number: str = None
    despatch_number: str
    despatch_date: dt.date
    despatch_time: dt.time
    delivery_date: dt.date = None
    buyer: Party
    seller: Party
    note: str = None
    lines: tuple[ReceiptLine, ...]

    schema = (
        *head(customization, profile),
        ISSUE_DATE,
        Time('cbc:IssueTime', 'time', required=True),
        Code('cbc:ReceiptAdviceTypeCode', 'type', ['S', 'D'], required=True),
        Text('cbc:Note', 'note'),
        Text('cac:OrderReference/cbc:ID', 'order_number'),
        Group('cac:DespatchDocumentReference',
            Text('cbc:ID', 'despatch_number', required=True),
            Date('cbc:IssueDate', 'despatch_date', required=True),
            Time('cbc:IssueTime', 'despatch_time', required=True),
            Code('cbc:DocumentStatusCode', 'code', ['AB', 'AP', 'CA', 'RE']),
            required=True),
        party('cac:DeliveryCustomerParty/cac:Party', 'buyer',
            ENDPOINT, Echo(NAME), ADDRESS, VAT, LEGAL, CONTACT,
            required=True),
        party('cac:DespatchSupplierParty/cac:Party', 'seller',
            ENDPOINT, Echo(NAME), ADDRESS, VAT, LEGAL, CONTACT,
            required=True),
        Group('cac:Shipment',
            Echo(Constant('cbc:ID', 'NA')),
            Date('cac:Delivery/cbc:ActualDeliveryDate', 'delivery_date')),
        Many('cac:ReceiptLine', 'lines', ReceiptLine, (
                Text('cbc:ID', 'id', required=True),
                Text('cbc:Note', 'note'),
                Quantity('cbc:ReceivedQuantity', 'received'),
                Quantity('cbc:ShortQuantity', 'short'),
                Code('cbc:ShortageActionCode', 'short_action', ACTIONS),
                Quantity('cbc:RejectedQuantity', 'rejected'),
                Text('cbc:RejectReasonCode', 'reject_code'),
                Text('cbc:RejectReason', 'reject_reason'),
                Code('cbc:RejectActionCode', 'reject_action', ACTIONS),
                Group('cac:OrderLineReference',
                    Text('cbc:LineID', 'order_line', required=True),
                    Text('cac:OrderReference/cbc:ID', 'order_number')),
                Text('cac:DespatchLineReference/cbc:LineID', 'despatch_line',
                    required=True),
                item('cac:Item', ITEM_NAME, *ITEM_CODES),
                ), required=True),
        )

    def check(self):
        problems = super().check()
        if (self.type == 'S') != bool(self.delivery_date):
            problems.append(Broken(
                    'TCT-REC-01',
                    "A receipt of goods has a delivery date."))
        if (self.type == 'D') != bool(self.code):
            problems.append(Broken(
                    'TCT-REC-02',
                    "An answer to the despatch advice has a code."))
        for line in self.lines:
            quantities = [
                q or 0 for q in [line.received, line.short, line.rejected]]
            if min(quantities) < 0:
                problems.append(Broken(
                        'TCT-REC-03',
                        f"Line {line.id}: a quantity is negative."))
            if (line.rejected or 0) > (line.received or 0):
                problems.append(Broken(
                        'TCT-REC-04',
                        f"Line {line.id}: more is rejected than received."))
            if line.short and not line.short_action:
                problems.append(Broken(
                        'TCT-REC-05',
                        f"Line {line.id}: short needs an action."))
            if line.rejected and not (
                    line.reject_code and line.reject_reason
                    and line.reject_action):
                problems.append(Broken(
                        'TCT-REC-06',
                        f"Line {line.id}: rejected needs code, reason, "
                        f"action."))
        return problems
