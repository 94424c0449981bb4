# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""UBL documents: bytes to values and back.

Every document is a frozen dataclass with ``kind``, ``customization``,
``profile``, ``to_bytes()`` and ``check()``.
"""
from lxml import etree

from ..errors import Rejected
from .catalogue import Catalogue, CatalogueLine
from .change import OrderCancellation, OrderChange, OrderChangeLine
from .common import Address, Charge, Item, LineCharge, Party, Tax
from .despatch import DespatchAdvice, DespatchLine
from .invoice import CreditNote, Invoice, InvoiceLine, InvoiceTotal, Preceding
from .order import Order, OrderLine
from .receipt import ReceiptAdvice, ReceiptLine
from .remittance import RemittanceAdvice, RemittanceLine
from .response import (
    InvoiceResponse, MessageLevelResponse, MessageLevelResponseLine,
    OrderResponse, OrderResponseLine, Reason)
from .schema import NAMESPACES, Document, parse_xml

__all__ = [
    'DOCUMENTS', 'class_of', 'from_root', 'parse', 'read_total', 'Document',
    'Address', 'Charge', 'Item', 'Party', 'Tax',
    'Catalogue', 'CatalogueLine', 'CreditNote', 'DespatchAdvice',
    'DespatchLine', 'Invoice', 'InvoiceLine', 'InvoiceResponse',
    'InvoiceTotal', 'LineCharge', 'MessageLevelResponse',
    'MessageLevelResponseLine', 'Order', 'OrderCancellation', 'OrderChange',
    'OrderChangeLine', 'OrderLine', 'OrderResponse', 'OrderResponseLine',
    'Preceding', 'Reason', 'ReceiptAdvice', 'ReceiptLine', 'RemittanceAdvice',
    'RemittanceLine']

DOCUMENTS = {
    document.kind: document for document in [
        Catalogue, Order, OrderChange, OrderCancellation, OrderResponse,
        DespatchAdvice, ReceiptAdvice, Invoice, CreditNote, InvoiceResponse,
        RemittanceAdvice, MessageLevelResponse]}
_types = {(d.tag(), d.customization): d for d in DOCUMENTS.values()}


def parse(payload):
    """Return the document of a payload, by its root and CustomizationID

    Raise Malformed when it is not such a document, and Rejected when it is
    not one of the known documents, or one that says what is not supported.
    """
    return from_root(parse_xml(payload))


def from_root(root):
    "Return the document of a root element; raise as parse"
    return _class_of(root).from_element(root)


def read_total(payload):
    """Return the InvoiceTotal of the payload of an invoice or a credit note,
    in a fifth of the time of parse; raise as it does"""
    root = parse_xml(payload)
    class_ = _class_of(root)
    if not issubclass(class_, Invoice):
        raise Rejected(f"{class_.root} has no total.", rule='TCT-TYPE')
    return class_.total_of(root)


def _class_of(root):
    return class_of(root.tag, root.findtext(
            'cbc:CustomizationID', default='', namespaces=NAMESPACES))


def class_of(tag, customization):
    """Return the class of the documents with that root and CustomizationID.
    Raise Rejected when they are not known."""
    document = _types.get((tag, customization.strip()))
    if not document:
        raise Rejected(
            f"{etree.QName(tag).localname} with CustomizationID "
            f"{customization[:200]!r} is not known.", rule='TCT-TYPE')
    return document
