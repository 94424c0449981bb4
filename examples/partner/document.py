# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""UBL documents, written from a deal and read back.

A deal is a dict: ``number`` of the order, ``currency``, ``buyer``,
``seller`` and ``lines``.  A party has ``identifier``, ``name`` and mostly
``siren``, ``vat``, ``street``, ``city``, ``postal_code`` and ``country``; a
line ``id``, ``code`` of the seller, ``name``, ``quantity``, ``unit`` (UNECE
20), ``price`` and ``rate`` of VAT in percent, numbers as decimal text.
"""
from datetime import datetime, timezone
from decimal import Decimal

from lxml import etree

from .canonical import Refused

UBL = 'urn:oasis:names:specification:ubl:schema:xsd:'
CAC = UBL + 'CommonAggregateComponents-2'
CBC = UBL + 'CommonBasicComponents-2'
SPACES = {'cac': CAC, 'cbc': CBC}

PEPPOL = 'urn:fdc:peppol.eu:'
LOGISTICS = (PEPPOL
    + 'logistics:bis:despatch_advice_w_receipt_advice:1')
# Root, CustomizationID and ProfileID
TYPES = {
    'catalogue': ('Catalogue', PEPPOL + 'poacc:trns:catalogue:3',
        PEPPOL + 'poacc:bis:catalogue_wo_response:3'),
    'order': ('Order', PEPPOL + 'poacc:trns:order:3',
        PEPPOL + 'poacc:bis:advanced_ordering:3'),
    'order_response': (
        'OrderResponse', PEPPOL + 'poacc:trns:order_response_advanced:3',
        PEPPOL + 'poacc:bis:advanced_ordering:3'),
    'despatch_advice': ('DespatchAdvice',
        PEPPOL + 'logistics:trns:advanced_despatch_advice:1', LOGISTICS),
    'receipt_advice': ('ReceiptAdvice',
        PEPPOL + 'logistics:trns:receipt_advice:1', LOGISTICS),
    'invoice': ('Invoice', 'urn:cen.eu:en16931:2017#compliant#'
        + PEPPOL + '2017:poacc:billing:3.0',
        PEPPOL + '2017:poacc:billing:01:1.0'),
    'invoice_response': (
        'ApplicationResponse', PEPPOL + 'poacc:trns:invoice_response:3',
        PEPPOL + 'poacc:bis:invoice_response:3'),
    'remittance_advice': (
        'RemittanceAdvice', 'urn:trycoton.org:trns:remittance_advice:1',
        'urn:trycoton.org:bis:payment:1'),
    'message_level_response': (
        'ApplicationResponse', PEPPOL + 'poacc:trns:mlr:3',
        PEPPOL + 'poacc:bis:mlr:3'),
    }
_kinds = {f'{r}##{c}': kind for kind, (r, c, _) in TYPES.items()}


# Elements: a tree is (name, content, attributes), None is left out

def cbc(name, text, **attributes):
    return None if text is None else (f'cbc:{name}', str(text), attributes)


def cac(name, *children):
    return f'cac:{name}', children, {}


def money(name, amount, currency):
    return cbc(name, f'{Decimal(amount):.2f}', currencyID=currency)


def _build(parent, tree):
    name, content, attributes = tree
    prefix, _, name = name.partition(':')
    element = etree.SubElement(
        parent, f'{{{SPACES[prefix]}}}{name}', attributes)
    if isinstance(content, str):
        element.text = content
    else:
        for child in filter(None, content):
            _build(element, child)


def write(kind, number, *children):
    "Return the bytes of a document of today"
    root, customization, profile = TYPES[kind]
    element = etree.Element(f'{{{UBL}{root}-2}}{root}', nsmap={
            None: f'{UBL}{root}-2', **SPACES})
    for tree in [
            cbc('CustomizationID', customization), cbc('ProfileID', profile),
            cbc('ID', number), *children]:
        if tree:
            _build(element, tree)
    return etree.tostring(element, encoding='UTF-8')


def issued(time=False):
    now = datetime.now(timezone.utc)
    return [cbc('IssueDate', now.date()), *(
            [cbc('IssueTime', f'{now:%H:%M:%S}Z')] if time else [])]


# What documents have in common

def endpoint(party):
    scheme, _, value = party['identifier'].partition(':')
    return cbc('EndpointID', value, schemeID=scheme)


def address(party):
    return cac('PostalAddress',
        cbc('StreetName', party.get('street')),
        cbc('CityName', party.get('city')),
        cbc('PostalZone', party.get('postal_code')),
        cac('Country', cbc(
                'IdentificationCode', party.get('country') or 'FR')))


def vat(party):
    if party.get('vat'):
        return cac('PartyTaxScheme',
            cbc('CompanyID', party['vat']),
            cac('TaxScheme', cbc('ID', 'VAT')))


def legal(party):
    return cac('PartyLegalEntity',
        cbc('RegistrationName', party['name']),
        cbc('CompanyID', party.get('siren'), schemeID='0002'))


def full(party):
    return cac('Party',
        endpoint(party), address(party), vat(party), legal(party))


def logistic(party):
    return cac('Party',
        endpoint(party), cac('PartyName', cbc('Name', party['name'])),
        address(party), vat(party), legal(party))


def brief(name, party):
    named = cac(
        'PartyLegalEntity', cbc('RegistrationName', party['name']))
    return cac(name, endpoint(party), named)


def item(line, *properties, tax=True):
    return cac('Item',
        cbc('Name', line['name']),
        cac('SellersItemIdentification', cbc('ID', line['code'])),
        category('ClassifiedTaxCategory', line['rate']) if tax else None,
        *properties)


def category(name, rate):
    return cac(name,
        cbc('ID', 'S' if Decimal(rate) else 'Z'), cbc('Percent', rate),
        cac('TaxScheme', cbc('ID', 'VAT')))


def quantity(name, line):
    return cbc(name, line['quantity'], unitCode=line['unit'])


def price(line, currency):
    return cac(
        'Price', cbc('PriceAmount', line['price'], currencyID=currency))


def amount(line):
    return (Decimal(line['quantity']) * Decimal(line['price'])).quantize(
        Decimal('0.01'))


def totals(lines):
    "Return base and tax by rate, base, tax and total"
    bases = {}
    for line in lines:
        rate = Decimal(line['rate'])
        bases[rate] = bases.get(rate, Decimal(0)) + amount(line)
    taxes = {r: (base, (base * r / 100).quantize(Decimal('0.01')))
        for r, base in bases.items()}
    base, tax = (sum(t[i] for t in taxes.values()) for i in (0, 1))
    return taxes, base, tax, base + tax


# The documents

def catalogue(number, seller, community, lines, currency):
    "What we offer to a community"
    return write('catalogue', number, *issued(),
        cac('ValidityPeriod', cbc(
                'StartDate', datetime.now(timezone.utc).date())),
        cac('ProviderParty',
            endpoint(seller), address(seller), legal(seller)),
        cac('ReceiverParty',
            endpoint(community), address(community), legal(community)),
        *(_catalogue_line(line, currency) for line in lines))


def _catalogue_line(line, currency):
    kind = cac('AdditionalItemProperty',
        cbc('Name', 'kind'), cbc('Value', 'good'))
    return cac('CatalogueLine',
        cbc('ID', line['id']),
        cbc('ActionCode', 'Add'),
        cbc('OrderableUnit', line['unit']),
        cac('RequiredItemLocationQuantity', price(line, currency)),
        item(line, kind))


def order(deal):
    currency = deal['currency']
    _, base, tax, total = totals(deal['lines'])
    return write('order', deal['number'], *issued(),
        cbc('DocumentCurrencyCode', currency),
        cac('BuyerCustomerParty', full(deal['buyer'])),
        cac('SellerSupplierParty', cac('Party',
                endpoint(deal['seller']), address(deal['seller']),
                legal(deal['seller']))),
        cac('TaxTotal', money('TaxAmount', tax, currency)),
        cac('AnticipatedMonetaryTotal',
            money('LineExtensionAmount', base, currency),
            money('TaxExclusiveAmount', base, currency),
            money('TaxInclusiveAmount', total, currency),
            money('PayableAmount', total, currency)),
        *(_order_line(line, currency) for line in deal['lines']))


def _order_line(line, currency):
    return cac('OrderLine', cac('LineItem',
            cbc('ID', line['id']),
            quantity('Quantity', line),
            money('LineExtensionAmount', amount(line), currency),
            price(line, currency),
            item(line)))


def order_response(deal, code, note=None):
    "code is AB received, AP accepted or RE refused"
    return write(
        'order_response', f"{deal['number']}-{code}", *issued(),
        cbc('OrderResponseCode', code), cbc('Note', note),
        cbc('DocumentCurrencyCode', deal['currency']),
        cac('OrderReference', cbc('ID', deal['number'])),
        cac('SellerSupplierParty', brief('Party', deal['seller'])),
        cac('BuyerCustomerParty', brief('Party', deal['buyer'])))


def despatch_advice(deal, number, lines):
    return write('despatch_advice', number, *issued(time=True),
        cac('OrderReference', cbc('ID', deal['number'])),
        cac('DespatchSupplierParty', logistic(deal['seller'])),
        cac('DeliveryCustomerParty', logistic(deal['buyer'])),
        cac('Shipment', cbc('ID', 'NA')),
        *map(_despatch_line, lines))


def _despatch_line(line):
    return cac('DespatchLine',
        cbc('ID', line['id']),
        quantity('DeliveredQuantity', line),
        cac('OrderLineReference', cbc('LineID', line['id'])),
        item(line, tax=False))


def receipt_advice(deal, number, despatch):
    "All the lines of the despatch arrived, in full"
    return write('receipt_advice', number, *issued(time=True),
        cbc('ReceiptAdviceTypeCode', 'S'),
        cac('OrderReference', cbc('ID', deal['number'])),
        cac('DespatchDocumentReference',
            cbc('ID', despatch['number']), cbc('IssueDate', despatch['date']),
            cbc('IssueTime', despatch['time'])),
        cac('DeliveryCustomerParty', logistic(deal['buyer'])),
        cac('DespatchSupplierParty', logistic(deal['seller'])),
        cac('Shipment', cbc('ID', 'NA'), cac('Delivery', cbc(
                    'ActualDeliveryDate',
                    datetime.now(timezone.utc).date()))),
        *map(_receipt_line, despatch['lines']))


def _receipt_line(line):
    return cac('ReceiptLine',
        cbc('ID', line['id']),
        quantity('ReceivedQuantity', line),
        cac('OrderLineReference', cbc('LineID', line['order_line'])),
        cac('DespatchLineReference', cbc('LineID', line['id'])),
        item(line, tax=False))


def invoice(deal, number, lines, due=None):
    currency = deal['currency']
    taxes, base, tax, total = totals(lines)
    return write('invoice', number, *issued(),
        cbc('DueDate', due or datetime.now(timezone.utc).date()),
        cbc('InvoiceTypeCode', '380'),
        cbc('DocumentCurrencyCode', currency),
        cac('OrderReference', cbc('ID', deal['number'])),
        cac('AccountingSupplierParty', full(deal['seller'])),
        cac('AccountingCustomerParty', full(deal['buyer'])),
        cac('PaymentMeans', cbc('PaymentMeansCode', '1')),
        cac('TaxTotal',
            money('TaxAmount', tax, currency),
            *(_subtotal(r, *values, currency)
                for r, values in taxes.items())),
        cac('LegalMonetaryTotal',
            money('LineExtensionAmount', base, currency),
            money('TaxExclusiveAmount', base, currency),
            money('TaxInclusiveAmount', total, currency),
            money('PayableAmount', total, currency)),
        *(_invoice_line(line, currency) for line in lines))


def _subtotal(rate, base, tax, currency):
    return cac('TaxSubtotal',
        money('TaxableAmount', base, currency),
        money('TaxAmount', tax, currency),
        category('TaxCategory', rate))


def _invoice_line(line, currency):
    return cac('InvoiceLine',
        cbc('ID', line['id']),
        quantity('InvoicedQuantity', line),
        money('LineExtensionAmount', amount(line), currency),
        cac('OrderLineReference', cbc('LineID', line['id'])),
        item(line),
        price(line, currency))


def invoice_response(deal, invoice, code):
    "code is AB received, AP accepted or PD paid"
    return write(
        'invoice_response', f"{invoice['number']}-{code}", *issued(),
        brief('SenderParty', deal['buyer']),
        brief('ReceiverParty', deal['seller']),
        cac('DocumentResponse',
            cac('Response', cbc('ResponseCode', code)),
            cac('DocumentReference',
                cbc('ID', invoice['number']),
                cbc('IssueDate', invoice['date']),
                cbc('DocumentTypeCode', '380'))))


def remittance_advice(deal, number, invoice):
    currency = deal['currency']
    return write('remittance_advice', number, *issued(),
        cbc('DocumentCurrencyCode', currency),
        money('TotalPaymentAmount', invoice['total'], currency),
        cac('AccountingCustomerParty', cac('Party',
                endpoint(deal['buyer']), address(deal['buyer']),
                legal(deal['buyer']))),
        cac('AccountingSupplierParty', cac('Party',
                endpoint(deal['seller']), address(deal['seller']),
                legal(deal['seller']))),
        cac('RemittanceAdviceLine',
            cbc('ID', '1'),
            money('DebitLineAmount', invoice['total'], currency),
            cac('BillingReference', cac('InvoiceDocumentReference',
                    cbc('ID', invoice['number']),
                    cbc('IssueDate', invoice['date'])))))


def message_level_response(number, sender, receiver, id_, code, text=None):
    "code is AP, or RE with what is wrong"
    return write('message_level_response', number, *issued(),
        cac('SenderParty', endpoint(sender)),
        cac('ReceiverParty', endpoint(receiver)),
        cac('DocumentResponse',
            cac('Response', cbc('ResponseCode', code)),
            cac('DocumentReference', cbc('ID', id_)),
            *([] if not text else [cac('LineResponse',
                        cac('LineReference', cbc('LineID', 'NA')),
                        cac('Response', cbc('Description', text),
                            cac('Status',
                                cbc('StatusReasonCode', 'BV'))))])))


# Reading

def kind_of(type):
    "Return the kind of a document by the type of its message"
    if type not in _kinds:
        raise Refused(f"{type} is not known")
    return _kinds[type]


def text(element, path):
    "Return the text of the only element of the path, or None"
    found = element.xpath(path, namespaces=SPACES)
    if len(found) > 1:
        raise Refused(f"several {path}")
    return (found[0].text or '').strip() if found else None


def read(root):
    "Return what all documents say: number, date and the two parties"
    identifiers = []
    for element in root.xpath(
            './*/cac:Party/cbc:EndpointID | ./*/cbc:EndpointID',
            namespaces=SPACES):
        identifiers.append(f"{element.get('schemeID')}:{element.text}")
    return {
        'number': text(root, 'cbc:ID'),
        'date': text(root, 'cbc:IssueDate'),
        'time': text(root, 'cbc:IssueTime'),
        'order': text(root, 'cac:OrderReference/cbc:ID'),
        'code': text(root, 'cbc:OrderResponseCode')
        or text(root, 'cac:DocumentResponse/cac:Response/cbc:ResponseCode'),
        'reference': text(
            root, 'cac:DocumentResponse/cac:DocumentReference/cbc:ID'),
        'currency': text(root, 'cbc:DocumentCurrencyCode'),
        'total': text(
            root, 'cac:LegalMonetaryTotal/cbc:PayableAmount')
        or text(root, 'cbc:TotalPaymentAmount'),
        'parties': sorted(identifiers),
        'lines': list(map(_line, root.xpath(
                    'cac:OrderLine/cac:LineItem | cac:DespatchLine'
                    ' | cac:ReceiptLine | cac:InvoiceLine'
                    ' | cac:RemittanceAdviceLine', namespaces=SPACES))),
        }


def _line(element):
    quantity, = element.xpath(
        'cbc:Quantity | cbc:DeliveredQuantity | cbc:ReceivedQuantity'
        ' | cbc:InvoicedQuantity', namespaces=SPACES) or [None]
    return {
        'id': text(element, 'cbc:ID'),
        'code': text(
            element, 'cac:Item/cac:SellersItemIdentification/cbc:ID'),
        'name': text(element, 'cac:Item/cbc:Name'),
        'quantity': None if quantity is None else quantity.text,
        'unit': None if quantity is None else quantity.get('unitCode'),
        'price': text(element, 'cac:Price/cbc:PriceAmount'),
        'rate': text(
            element, 'cac:Item/cac:ClassifiedTaxCategory/cbc:Percent')
        or '0',
        'order_line': text(element, 'cac:OrderLineReference/cbc:LineID'),
        'invoice': text(
            element,
            'cac:BillingReference/cac:InvoiceDocumentReference/cbc:ID'),
        }


def offers(root):
    "Return the lines of a catalogue that are offered"
    lines = []
    for element in root.xpath('cac:CatalogueLine', namespaces=SPACES):
        price = element.xpath(
            'cac:RequiredItemLocationQuantity/cac:Price/cbc:PriceAmount',
            namespaces=SPACES)
        lines.append({
                **_line(element),
                'unit': text(element, 'cbc:OrderableUnit'),
                'price': price[0].text if price else None,
                'currency': price[0].get('currencyID') if price else None,
                })
    return lines
