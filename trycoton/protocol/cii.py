# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Invoices and credit notes as UN/CEFACT Cross Industry Invoice.

The other syntax of EN 16931: what a Factur-X PDF holds (1.0.7 and later), in
its profile EN 16931.  The elements are in the order of the schema D22B, which
is that of D16B for all that is written here.  It says what the UBL document
says, with the same numbers.

The smaller profiles of Factur-X only know fewer elements: BASIC asks for
nothing less of an invoice with lines, so there is nothing to fall back on.

EN 16931 has no place for the order of a line that is not the order of the
document (BT-13): such a line does not name its line of the order (BT-132)
either.
"""
from dataclasses import replace

from lxml import etree

from .ubl.common import (
    VAT_CATEGORIES, Address, Charge, Item, LineCharge, Party, Tax)
from .ubl.invoice import InvoiceLine, Preceding
from .ubl.schema import (
    CII_NAMESPACES, Amount, Boolean, Code, Constant, Date, Endpoint, Group,
    Identifier, Many, Number, One, Quantity, Section, Text, Written)

GUIDELINE = 'urn:cen.eu:en16931:2017'  # BT-24
TYPES = {'invoice': '380', 'credit_note': '381'}  # BT-3


class Day(Date):
    "A date as CCYYMMDD, the format 102 of UNTDID 2379"
    fixed = {'format': '102'}

    def write_text(self, element, value):
        element.text = value.isoformat().replace('-', '')


def address(path, field='address', **options):
    "BG-5, BG-8 and BG-15"
    return One(path, field, Address, (
            Text('ram:PostcodeCode', 'postal_code'),
            Text('ram:LineOne', 'street'),
            Text('ram:LineTwo', 'additional'),
            Text('ram:CityName', 'city'),
            Text('ram:CountryID', 'country', required=True),
            ), **options)


def party(path, field, *, first=(), last=()):
    "BG-4 and BG-7"
    return One(path, field, Party, (
            *first,
            Text('ram:Name', 'name', required=True),
            Identifier('ram:SpecifiedLegalOrganization/ram:ID', 'legal_id'),
            Group('ram:DefinedTradeContact',
                Text('ram:PersonName', 'contact'),
                Text('ram:TelephoneUniversalCommunication'
                    '/ram:CompleteNumber', 'phone'),
                Text('ram:EmailURIUniversalCommunication/ram:URIID',
                    'email')),
            address('ram:PostalTradeAddress', required=True),
            Endpoint('ram:URIUniversalCommunication/ram:URIID', 'identifier'),
            Text('ram:SpecifiedTaxRegistration/ram:ID', 'vat',
                fixed={'schemeID': 'VA'}),
            *last,
            ), required=True)


SELLER = party('ram:SellerTradeParty', 'seller',
    first=[Endpoint('ram:GlobalID', 'identifier')],
    last=[Text('ram:SpecifiedTaxRegistration/ram:ID', 'tax_id',
            fixed={'schemeID': 'FC'})])
BUYER = party('ram:BuyerTradeParty', 'buyer')


def vat(path, category='vat_category', rate='vat_rate'):
    "BG-30 and the VAT of BG-20 and BG-21"
    return Group(path,
        Constant('ram:TypeCode', 'VAT'),
        Code('ram:CategoryCode', category, VAT_CATEGORIES, required=True),
        Number('ram:RateApplicablePercent', rate))


def charges(class_, *nodes):
    "BG-20 and BG-21, BG-27 and BG-28"
    return Many('ram:SpecifiedTradeAllowanceCharge', 'charges', class_, (
            Boolean('ram:ChargeIndicator/udt:Indicator', 'charge',
                required=True),
            Number('ram:ActualAmount', 'amount', required=True),
            Text('ram:ReasonCode', 'reason_code'),
            Text('ram:Reason', 'reason'),
            *nodes))


# BG-25
LINES = Many('ram:IncludedSupplyChainTradeLineItem', 'lines', InvoiceLine, (
        Group('ram:AssociatedDocumentLineDocument',
            Text('ram:LineID', 'id', required=True),
            Text('ram:IncludedNote/ram:Content', 'note')),
        One('ram:SpecifiedTradeProduct', 'item', Item, (
                Text('ram:GlobalID', 'gtin', fixed={'schemeID': '0160'}),
                Text('ram:SellerAssignedID', 'seller_code'),
                Text('ram:BuyerAssignedID', 'buyer_code'),
                Text('ram:Name', 'name', required=True),
                Text('ram:Description', 'description'),
                Text('ram:DesignatedProductClassification/ram:ClassCode',
                    'category', fixed={'listID': 'ZZZ'}),
                ), required=True),
        Group('ram:SpecifiedLineTradeAgreement',
            Text('ram:BuyerOrderReferencedDocument/ram:LineID',
                'order_line'),
            Number('ram:NetPriceProductTradePrice/ram:ChargeAmount', 'price',
                required=True)),
        Group('ram:SpecifiedLineTradeDelivery',
            Quantity('ram:BilledQuantity', 'quantity', required=True)),
        Group('ram:SpecifiedLineTradeSettlement',
            One('.', 'item', Item, (
                    vat('ram:ApplicableTradeTax'),
                    ), required=True),
            charges(LineCharge),
            Number('ram:SpecifiedTradeSettlementLineMonetarySummation'
                '/ram:LineTotalAmount', 'amount', required=True)),
        ), required=True)
# BG-23
TAXES = Many('ram:ApplicableTradeTax', 'taxes', Tax, (
        Number('ram:CalculatedAmount', 'amount', required=True),
        Constant('ram:TypeCode', 'VAT'),
        Text('ram:ExemptionReason', 'reason'),
        Number('ram:BasisAmount', 'base', required=True),
        Code('ram:CategoryCode', 'category', VAT_CATEGORIES, required=True),
        Text('ram:ExemptionReasonCode', 'reason_code'),
        Number('ram:RateApplicablePercent', 'rate'),
        ), required=True)
# BG-22
TOTALS = Group('ram:SpecifiedTradeSettlementHeaderMonetarySummation',
    Number('ram:LineTotalAmount', 'lines_total', required=True),
    Number('ram:ChargeTotalAmount', 'charge_total'),
    Number('ram:AllowanceTotalAmount', 'allowance_total'),
    Number('ram:TaxBasisTotalAmount', 'untaxed', required=True),
    Amount('ram:TaxTotalAmount', 'tax', required=True),
    Number('ram:RoundingAmount', 'rounding'),
    Number('ram:GrandTotalAmount', 'total', required=True),
    Number('ram:TotalPrepaidAmount', 'prepaid'),
    Number('ram:DuePayableAmount', 'payable', required=True))


def description(type):
    "Return the description of the document of the type"
    return (
        Group('rsm:ExchangedDocumentContext',
            Group('ram:GuidelineSpecifiedDocumentContextParameter',
                Constant('ram:ID', GUIDELINE), required=True),
            required=True),
        Group('rsm:ExchangedDocument',
            Text('ram:ID', 'number', required=True),
            Constant('ram:TypeCode', type),
            Day('ram:IssueDateTime/udt:DateTimeString', 'date',
                required=True),
            Text('ram:IncludedNote/ram:Content', 'note')),
        Group('rsm:SupplyChainTradeTransaction',
            LINES,
            Group('ram:ApplicableHeaderTradeAgreement',
                Text('ram:BuyerReference', 'buyer_reference'),
                SELLER,
                BUYER,
                Text('ram:BuyerOrderReferencedDocument'
                    '/ram:IssuerAssignedID', 'order_number')),
            Section('ram:ApplicableHeaderTradeDelivery',
                Group('ram:ShipToTradeParty',
                    address('ram:PostalTradeAddress', 'delivery_address')),
                Day('ram:ActualDeliverySupplyChainEvent'
                    '/ram:OccurrenceDateTime/udt:DateTimeString',
                    'delivery_date'),
                Text('ram:DespatchAdviceReferencedDocument'
                    '/ram:IssuerAssignedID', 'despatch_number')),
            Group('ram:ApplicableHeaderTradeSettlement',
                Text('ram:PaymentReference', 'payment_reference'),
                Text('ram:InvoiceCurrencyCode', 'currency', required=True),
                Group('ram:SpecifiedTradeSettlementPaymentMeans',
                    Text('ram:TypeCode', 'payment_means', required=True),
                    Text('ram:PayeePartyCreditorFinancialAccount/ram:IBANID',
                        'iban')),
                TAXES,
                charges(Charge, vat('ram:CategoryTradeTax')),
                Group('ram:SpecifiedTradePaymentTerms',
                    Text('ram:Description', 'payment_terms'),
                    Day('ram:DueDateDateTime/udt:DateTimeString',
                        'due_date')),
                TOTALS,
                Many('ram:InvoiceReferencedDocument', 'preceding', Preceding,
                    (Text('ram:IssuerAssignedID', 'number', required=True),
                        Day('ram:FormattedIssueDateTime'
                            '/qdt:DateTimeString', 'date'))))),
        )


SCHEMAS = {kind: description(type) for kind, type in TYPES.items()}


def to_bytes(document):
    """Return the XML in UTF-8 of a ubl.Invoice or a ubl.CreditNote

    Raise Malformed when a value is missing or of the wrong type.
    """
    document = replace(document, lines=tuple(
            replace(line, order_line=None) if line.order_number else line
            for line in document.lines))
    root = etree.Element(
        etree.QName(CII_NAMESPACES['rsm'], 'CrossIndustryInvoice'),
        nsmap=CII_NAMESPACES)
    scope = Written(document)
    for node in SCHEMAS[document.kind]:
        node.write(root, scope)
    return etree.tostring(root, encoding='UTF-8', xml_declaration=True)
