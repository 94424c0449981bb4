# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"Messages: statements in canonical JSON, envelopes around UBL documents"
import re
from datetime import datetime, timezone
from typing import NamedTuple

from lxml import etree

from . import canonical
from .canonical import Refused

PROTOCOL = 'trycoton-1'
MAX_SIZE = 5 * 1024 * 1024
SBDH = 'http://www.unece.org/cefact/namespaces/StandardBusinessDocumentHeader'
CBC = '{urn:oasis:names:specification:ubl:schema:xsd:CommonBasicComponents-2}'
AUTHORITY = 'iso6523-actorid-upis'
DOCUMENT, PROCESS = 'busdox-docid-qns', 'cenbii-procid-ubl'
MEMBERS = [
    'sender', 'receiver', 'id', 'created', 'type', 'sequence', 'previous',
    'relation', 'correlation', 'via', 'checkpoint', 'replaces', 'country']
# The scopes of an envelope and the members of the header that they are
SCOPES = {
    'SEQUENCE': 'sequence', 'PREVIOUS': 'previous', 'RELATION': 'relation',
    'CORRELATION': 'correlation', 'VIA': 'via', 'CHECKPOINT': 'checkpoint',
    'REPLACES': 'replaces', 'COUNTRY_C1': 'country'}
TYPES = {
    'application': 'trycoton-application',
    'offer-decision': 'trycoton-offer-approval'}
UUID = r'[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}'
FORMS = {
    'id': UUID, 'relation': UUID, 'correlation': UUID, 'replaces': UUID,
    'previous': '[0-9a-f]{64}', 'country': '[A-Z]{2}'}
SCHEMES = {
    '0002': r'\d{9}', '0009': r'\d{14}', '0088': r'\d{13}',
    '0225': r'\d{9}(_[A-Za-z0-9][A-Za-z0-9_.-]{0,79})?'}


class Message(NamedTuple):
    "content is the body of a statement, or the root of a UBL document"
    header: dict
    content: object
    data: bytes

    @property
    def digest(self):
        return canonical.digest(self.data)

    @property
    def typ(self):
        if self.data.startswith(b'<'):
            return 'trycoton-envelope'
        kind = self.header['type']
        if kind.startswith('relation-'):
            return 'trycoton-relation'
        return TYPES.get(kind, 'trycoton-statement')


def statement(header, body):
    "Return the bytes of a statement"
    header = {**dict.fromkeys(MEMBERS), **header, 'protocol': PROTOCOL}
    return canonical.dump({'header': header, 'body': body})


def envelope(header, document):
    "Return the bytes of an envelope around the bytes of a UBL document"
    root = etree.fromstring(document)
    name = etree.QName(root)
    version = '2.3' if name.localname in {
        'OrderResponse', 'ReceiptAdvice'} else '2.1'
    customization = root.findtext(f'{CBC}CustomizationID')

    def element(parent, name, text=None, **attributes):
        child = etree.SubElement(parent, f'{{{SBDH}}}{name}', attributes)
        child.text = text
        return child

    def scope(type, value, identifier):
        child = element(scopes, 'Scope')
        element(child, 'Type', type)
        element(child, 'InstanceIdentifier', value)
        if identifier:
            element(child, 'Identifier', identifier)

    business = etree.Element(
        f'{{{SBDH}}}StandardBusinessDocument', nsmap={'sh': SBDH})
    top = element(business, 'StandardBusinessDocumentHeader')
    element(top, 'HeaderVersion', '1.0')
    for side in ['Sender', 'Receiver']:
        element(element(top, side), 'Identifier', header[side.lower()],
            Authority=AUTHORITY)
    identification = element(top, 'DocumentIdentification')
    for tag, text in [
            ('Standard', name.namespace), ('TypeVersion', version),
            ('InstanceIdentifier', header['id']), ('Type', name.localname),
            ('CreationDateAndTime', header['created'])]:
        element(identification, tag, text)
    scopes = element(top, 'BusinessScope')
    scope('DOCUMENTID', f'{name.namespace}::{name.localname}'
        f'##{customization}::{version}', DOCUMENT)
    scope('PROCESSID', root.findtext(f'{CBC}ProfileID'), PROCESS)
    for type_, member in SCOPES.items():
        if header.get(member) is not None:
            scope(type_, str(header[member]),
                None if type_ == 'COUNTRY_C1' else PROTOCOL)
    business.append(root)
    return etree.tostring(business, encoding='UTF-8', xml_declaration=True)


def read(data):
    "Return the message of the bytes; refuse what is not in its form"
    if len(data) > MAX_SIZE:
        raise Refused("too large", 'too-large', 413)
    if data.startswith(b'{'):
        header, body = canonical.members(
            canonical.load(data), 'header', 'body')
        canonical.members(header, *MEMBERS, 'protocol')
        header = dict(header)
        if header.pop('protocol') != PROTOCOL:
            raise Refused("another protocol")
        if not isinstance(body, dict) or not re.fullmatch(
                '[a-z]{1,20}(-[a-z]{1,20}){0,4}', header['type'] or ''):
            raise Refused("not a statement")
    elif data.startswith(b'<'):
        header, body = _envelope(data)
    else:
        raise Refused("neither an envelope nor a statement")
    _check(header)
    return Message(header, body, data)


def parse(data):
    "Return the root of an XML document, none of the dangerous kinds"
    try:
        root = etree.fromstring(data, etree.XMLParser(
                resolve_entities=False, no_network=True, load_dtd=False,
                remove_blank_text=False))
    except (etree.XMLSyntaxError, ValueError) as exception:
        raise Refused("not well-formed") from exception
    info = root.getroottree().docinfo
    if info.doctype or info.xml_version != '1.0' or (
            info.encoding or 'UTF-8').upper() not in ('UTF-8', 'UTF8'):
        raise Refused("a DOCTYPE, or not XML 1.0 in UTF-8")
    around = [*root.itersiblings(), *root.itersiblings(preceding=True)]
    if any(isinstance(e, (etree._ProcessingInstruction, etree._Entity))
            for e in [*root.iter(), *around]):
        raise Refused("an instruction or an entity")
    return root


def _envelope(data):
    root = parse(data)
    if root.tag != f'{{{SBDH}}}StandardBusinessDocument':
        raise Refused("not a StandardBusinessDocument")
    top, document = _children(root, 'StandardBusinessDocumentHeader', None)
    version, sender, receiver, identification, scopes = _children(
        top, 'HeaderVersion', 'Sender', 'Receiver', 'DocumentIdentification',
        'BusinessScope')
    standard, ubl, id_, type_, created = map(_text, _children(
            identification, 'Standard', 'TypeVersion', 'InstanceIdentifier',
            'Type', 'CreationDateAndTime'))
    header = {
        **dict.fromkeys(MEMBERS),
        'sender': _participant(sender),
        'receiver': _participant(receiver),
        'id': id_,
        'created': _time(created),
        }
    found = _scopes(scopes)
    name = etree.QName(document)
    customization = _only(document, 'CustomizationID')
    expected = {
        'DOCUMENTID': f'{name.namespace}::{name.localname}'
        f'##{customization}::{ubl}',
        'PROCESSID': _only(document, 'ProfileID')}
    if ({k: found.pop(k, None) for k in expected} != expected
            or (standard, type_) != (name.namespace, name.localname)
            or _text(version) != '1.0'):
        raise Refused("the header is not the one of the document")
    header.update({SCOPES[k]: v for k, v in found.items()})
    if not re.fullmatch('[1-9][0-9]{0,14}', header['sequence'] or ''):
        raise Refused("the sequence is not in its form")
    header['sequence'] = int(header['sequence'])
    header['type'] = f'{name.localname}##{customization}'
    return header, document


def _children(element, *names):
    texts = [element.text, *(c.tail for c in element)]
    if (element.attrib or len(element) != len(names)
            or any((t or '').strip(' \t\r\n') for t in texts)
            or any(not isinstance(c.tag, str) or (
                    name and c.tag != f'{{{SBDH}}}{name}')
                for c, name in zip(element, names))):
        raise Refused("not the elements of the header")
    return list(element)


def _text(element, **attributes):
    if len(element) or dict(element.attrib) != attributes:
        raise Refused("not a value of the header")
    return element.text or ''


def _only(document, name):
    found = document.findall(f'{CBC}{name}')
    if len(found) != 1:
        raise Refused(f"not one {name}")
    return found[0].text


def _participant(element):
    identifier, = _children(element, 'Identifier')
    return _text(identifier, Authority=AUTHORITY)


def _scopes(element):
    schemes = {
        'DOCUMENTID': DOCUMENT, 'PROCESSID': PROCESS,
        **dict.fromkeys(SCOPES, PROTOCOL), 'COUNTRY_C1': None}
    found = {}
    for scope in _children(element, *['Scope'] * len(element)):
        type_ = scope[0].text if len(scope) else None
        if type_ not in schemes:
            raise Refused("an unknown scope, or one that is there twice")
        scheme = schemes.pop(type_)
        _, value, *identifier = map(_text, _children(
                scope, 'Type', 'InstanceIdentifier',
                *(['Identifier'] if scheme else [])))
        if identifier != ([scheme] if scheme else []):
            raise Refused("another scheme")
        found[type_] = value
    return found


def _time(text):
    match = re.fullmatch(
        r'(2\d{3}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d{1,9})?'
        r'(Z|[+-]\d\d:\d\d)', text, re.ASCII)
    try:
        moment = datetime.fromisoformat(
            match[1] + match[2].replace('Z', '+00:00'))
    except (TypeError, ValueError) as exception:
        raise Refused("not a time") from exception
    return moment.astimezone(timezone.utc).strftime('%Y-%m-%dT%H:%M:%SZ')


def _check(header):
    for name, form in FORMS.items():
        value = header[name]
        if value is None and name != 'id':
            continue
        if not isinstance(value, str) or not re.fullmatch(form, value):
            raise Refused(f"{name} is not in its form")
    if type(header['sequence']) is not int or header['sequence'] < 1:
        raise Refused("the sequence is not in its form")
    _time(header['created'])
    if header['checkpoint'] is not None:
        canonical.decode(header['checkpoint'])
    for name in ['sender', 'receiver', 'via']:
        if header[name] is not None or name != 'via':
            check_identifier(header[name])


def check_identifier(text):
    "Refuse what is no identifier of a participant"
    scheme, _, value = (
        text.partition(':') if isinstance(text, str) else (None, '', ''))
    if not re.fullmatch(
            SCHEMES.get(scheme, '(?!)'), value, re.ASCII) or not (
            _gtin(value) if scheme == '0088' else
            _luhn(value[:9]) and (scheme != '0009' or _siret(value))):
        raise Refused("not an identifier")
    return scheme, value


def _luhn(digits):
    doubled = [sum(divmod(2 * int(d), 10)) for d in digits[-2::-2]]
    return (sum(map(int, digits[-1::-2])) + sum(doubled)) % 10 == 0


def _siret(digits):
    # The offices of La Poste have another check
    if digits.startswith('356000000') and digits != '35600000000048':
        return sum(map(int, digits)) % 5 == 0
    return _luhn(digits)


def _gtin(digits):
    return sum(
        int(d) * (3 if i % 2 else 1) for i, d in enumerate(digits)) % 10 == 0
