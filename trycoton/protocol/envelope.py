# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Messages: a header and what it carries, in one signed run of bytes.

An :class:`Envelope` carries a UBL document, inside a UN/CEFACT
StandardBusinessDocument laid out like the Peppol envelope; a
:class:`Statement` carries the cooperative's own words, in canonical JSON.
The bytes received are the bytes kept: they are never written again.
"""
import re
from dataclasses import InitVar, dataclass
from datetime import datetime
from functools import cached_property
from xml.parsers import expat
from xml.sax.saxutils import escape

from lxml import etree

from . import canonical, signature
from .commission import Total, Totalled
from .errors import Malformed
from .identifier import AUTHORITY
from .record import (
    COUNTRY, DIGEST, IDENTIFIER, NOTE, TIME, UUID, Integer, Object, Optional,
    Record, Text, member)

__all__ = [
    'MAX_SIZE', 'MAX_DEPTH', 'PROTOCOL', 'SEALED', 'SEALED_KIND', 'TYPES',
    'Header', 'Envelope', 'Statement', 'parse', 'sealed_payload']

MAX_SIZE = 5 * 1024 * 1024
MAX_DEPTH = 64
MAX_ELEMENTS = 200_000
PROTOCOL = 'trycoton-1'
# The types of the signatures over messages
TYPES = {
    signature.ENVELOPE, signature.APPLICATION, signature.RELATION,
    signature.OFFER_APPROVAL, signature.STATEMENT}

SBDH = ('http://www.unece.org/cefact/namespaces/'
    'StandardBusinessDocumentHeader')
CBC = 'urn:oasis:names:specification:ubl:schema:xsd:CommonBasicComponents-2'
DOCUMENT_SCHEME = 'busdox-docid-qns'
# What a sealed document has in the place of its namespace, CustomizationID
# and ProfileID, and what a sealed statement has as kind: seal.py opens them
SEALED = 'urn:trycoton.org:sealed:1'
SEALED_KIND = 'sealed'
PROCESS_SCHEME = 'cenbii-procid-ubl'

# The scopes of a header; ours have the version of the protocol as scheme
SCOPES = {
    'COUNTRY_C1': ('country', None),
    'CORRELATION': ('correlation', PROTOCOL),
    'VIA': ('via', PROTOCOL),
    'SEQUENCE': ('sequence', PROTOCOL),
    'PREVIOUS': ('previous', PROTOCOL),
    'CHECKPOINT': ('checkpoint', PROTOCOL),
    'RELATION': ('relation', PROTOCOL),
    'REPLACES': ('replaces', PROTOCOL),
    'COMMITMENT': ('commitment', PROTOCOL),
    'TOTAL': ('total', PROTOCOL),
    }

# The documents that only UBL 2.3 has, or has in full
UBL_23 = {
    'urn:fdc:peppol.eu:poacc:trns:order_response_advanced:3',
    'urn:fdc:peppol.eu:poacc:trns:order_change:3',
    'urn:fdc:peppol.eu:poacc:trns:order_cancellation:3',
    'urn:fdc:peppol.eu:logistics:trns:receipt_advice:1',
    }

_document_id = re.compile(
    r'[!-~]{1,200}::[A-Za-z]{1,50}##[!-~]{1,300}::2\.[0-9]')
_kind = r'[a-z]{1,20}(-[a-z]{1,20}){0,4}'
_created = re.compile(
    r'(2[0-9]{3}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})'
    r'(?:\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})')
_sequence = re.compile(r'[1-9][0-9]{0,14}')
_blank = ' \t\r\n'
_declaration = re.compile(rb'<\?xml[ \t\r\n][^>]*\?>')


@dataclass(frozen=True, kw_only=True)
class Header(Record):
    """Who says what to whom, and after what

    id is fresh for each message; sequence and previous (SHA-256 of the
    bytes) chain the messages of one sender to one receiver; correlation is
    the id of the message answered; via the identifier of the trust party
    that relays; relation the id of the agreement; checkpoint the last signed
    note of the trust party that the sender has verified; replaces the id of
    a message sent again by another route.
    """
    sender: str = member(IDENTIFIER)
    receiver: str = member(IDENTIFIER)
    id: str = member(UUID)
    created: datetime = member(TIME)
    type: str = member(Optional(Text()), default=None)
    sequence: int = member(Integer(1))
    previous: str = member(Optional(DIGEST), default=None)
    relation: str = member(Optional(UUID), default=None)
    correlation: str = member(Optional(UUID), default=None)
    via: str = member(Optional(IDENTIFIER), default=None)
    checkpoint: bytes = member(Optional(NOTE), default=None)
    replaces: str = member(Optional(UUID), default=None)
    country: str = member(Optional(COUNTRY), default=None)

    def __post_init__(self):
        super().__post_init__()
        if (self.sequence == 1) != (self.previous is None):
            raise Malformed("Only number 1 follows no other.")

    def _set_type(self, type):
        if self.type not in {None, type}:
            raise Malformed("The type is not the one of the content.")
        object.__setattr__(self, 'type', type)

    def to_bytes(self):
        "Return the bytes, as received or as written the first time"
        return self._bytes

    @cached_property
    def _bytes(self):
        data = self._write()
        _check_size(data)
        return data

    @cached_property
    def digest(self):
        "The SHA-256 of the bytes, in hexadecimal"
        return canonical.digest(self._bytes)


@dataclass(frozen=True, kw_only=True)
class Statement(Header):
    "A message in canonical JSON; type is its kind"
    media_type = 'application/json'

    kind: str = member(Text(_kind))
    body: dict = member(Object())

    def __post_init__(self):
        super().__post_init__()
        self._set_type(self.kind)

    @property
    def typ(self):
        "The type that its signature has"
        if self.kind.startswith('relation-'):
            return signature.RELATION
        return {
            'application': signature.APPLICATION,
            'offer-decision': signature.OFFER_APPROVAL,
            }.get(self.kind, signature.STATEMENT)

    def _write(self):
        header = self.to_json()
        del header['kind']
        body = header.pop('body')
        return canonical.dump({
                'header': {**header, 'protocol': PROTOCOL},
                'body': body,
                })

    @classmethod
    def parse(cls, data):
        "Return the statement of bytes; raise Malformed"
        _check_size(data)
        value = canonical.load(data)
        if not (isinstance(value, dict) and set(value) == {'header', 'body'}
                and isinstance(value['header'], dict)):
            raise Malformed("Not a header and a body.")
        header = dict(value['header'])
        if header.pop('protocol', None) != PROTOCOL:
            raise Malformed("The version of the protocol is not known.")
        if 'kind' in header or 'body' in header:
            raise Malformed("Not the members of a header.")
        self = cls.from_json({
                **header, 'kind': header.get('type'), 'body': value['body']})
        if self.to_bytes() != data:
            raise Malformed("Not written as a statement.")
        return self


@dataclass(frozen=True, kw_only=True)
class Envelope(Header):
    """A message that carries a UBL document

    payload is the document in UTF-8, kept without its XML declaration; type
    is its root and CustomizationID, process its ProfileID.
    When the document is sealed, payload is the element that holds the JWE,
    which is the attribute sealed, else None; commitment is the digest that
    binds the document, and total what is told of it, or of the one that is
    answered: a commission.Total.
    The attributes namespace, root, number and document_id (the DOCUMENTID of
    Peppol) are read from the payload, and so is what is not given.
    tree is the one of the payload, where the caller has it.
    """
    media_type = 'application/xml'
    typ = signature.ENVELOPE

    process: str = member(Optional(Text(r'[!-~]{1,300}')), default=None)
    version: str = member(Optional(Text(r'2\.[0-9]')), default=None)
    customization: str = member(Optional(Text()), default=None)
    commitment: str = member(Optional(DIGEST), default=None)
    total: Total = member(Optional(Totalled()), default=None)
    payload: bytes
    tree: InitVar[object] = None

    def __post_init__(self, tree):
        super().__post_init__()
        if not isinstance(self.payload, bytes):
            raise Malformed("The payload is not bytes.")
        payload, root = self.payload, tree
        if root is None:
            payload = _declaration.sub(
                b'', payload, count=1).strip(_blank.encode())
            _scan(payload)
            root = _tree(payload)
        name = etree.QName(root)
        sealed = _read_sealed(root)
        if (self.commitment is None) != (sealed is None):
            raise Malformed("What is sealed has a commitment.")
        if sealed is None and self.total is not None:
            raise Malformed("Only what is sealed has a total.")
        customization, process = (SEALED, SEALED) if sealed else (
            _basic(root, 'CustomizationID'), _basic(root, 'ProfileID'))
        version = self.version or (
            '2.3' if customization in UBL_23 else '2.1')
        document_id = (f'{name.namespace or ""}::{name.localname}'
            f'##{customization}::{version}')
        if not _document_id.fullmatch(document_id):
            raise Malformed("The type of the document is not in its form.")
        if (self.process not in {None, process}
                or self.customization not in {None, customization}):
            raise Malformed("The process is not the one of the document.")
        self._set_type(f'{name.localname}##{customization}')
        for attribute, value in [
                ('payload', payload),
                ('process', process),
                ('version', version),
                ('namespace', name.namespace),
                ('root', name.localname),
                ('customization', customization),
                ('number', None if sealed else _number(root)),
                ('sealed', sealed),
                ('document_id', document_id)]:
            object.__setattr__(self, attribute, value)

    def _write(self):
        header = self.to_json()
        scopes = [
            _scope('DOCUMENTID', self.document_id, DOCUMENT_SCHEME),
            _scope('PROCESSID', self.process, PROCESS_SCHEME)]
        for type_, (name, scheme) in SCOPES.items():
            if header.get(name) is not None:
                scopes.append(_scope(type_, str(header[name]), scheme))
        header = _element('StandardBusinessDocumentHeader',
            _element('HeaderVersion', '1.0'),
            _participant('Sender', self.sender),
            _participant('Receiver', self.receiver),
            _element('DocumentIdentification',
                _element('Standard', escape(self.namespace)),
                _element('TypeVersion', self.version),
                _element('InstanceIdentifier', self.id),
                _element('Type', self.root),
                _element('CreationDateAndTime', header['created'])),
            _element('BusinessScope', *scopes))
        return b''.join([
                b'<?xml version="1.0" encoding="UTF-8"?>\n',
                f'<sh:StandardBusinessDocument xmlns:sh="{SBDH}">\n'.encode(),
                header.encode('utf-8'), b'\n',
                self.payload, b'\n',
                b'</sh:StandardBusinessDocument>\n'])

    @classmethod
    def parse(cls, data):
        "Return the envelope of bytes; raise Malformed"
        _check_size(data)
        if not data.startswith(b'<'):
            raise Malformed("Not an XML document.")
        spans = _scan(data)
        root = _tree(data)
        if root.tag != _tag('StandardBusinessDocument'):
            raise Malformed("Not a StandardBusinessDocument.")
        header, document = _children(
            root, 'StandardBusinessDocumentHeader', None)
        version, sender, receiver, identification, scopes = _children(
            header, 'HeaderVersion', 'Sender', 'Receiver',
            'DocumentIdentification', 'BusinessScope')
        standard, type_version, id_, type_, created = map(_text, _children(
                identification, 'Standard', 'TypeVersion',
                'InstanceIdentifier', 'Type', 'CreationDateAndTime'))
        if _text(version) != '1.0':
            raise Malformed("The version of the header is not known.")
        scopes = _read_scopes(scopes)
        document_id = scopes.pop('document_id')
        payload, tree = _read_payload(data, spans[1], document)
        self = cls(
            sender=_read_participant(sender),
            receiver=_read_participant(receiver),
            id=id_,
            created=_read_created(created),
            version=type_version,
            payload=payload, tree=tree,
            **scopes)
        if (standard, type_, document_id) != (
                self.namespace, self.root, self.document_id):
            raise Malformed("The header is not the one of the document.")
        self.__dict__['_bytes'] = data
        return self


def parse(data):
    "Return the Envelope or Statement of bytes; raise Malformed"
    _check_size(data)
    if data.startswith(b'{'):
        return Statement.parse(data)
    return Envelope.parse(data)


def _check_size(data):
    if len(data) > MAX_SIZE:
        raise Malformed("The message is too large.")


def _refuse(*args):
    raise Malformed("A DOCTYPE, entity or instruction is not accepted.")


def _scan(data):
    """Return where the children of the root element start and end

    Refuse what makes XML dangerous, before anything reads it.
    """
    parser = expat.ParserCreate('utf-8')
    spans, depth, count = [], 0, 0

    def declaration(version, encoding, standalone):
        if version != '1.0' or (encoding or 'utf-8').lower() != 'utf-8':
            raise Malformed("Not XML 1.0 in UTF-8.")

    def start(name, attributes):
        nonlocal depth, count
        depth += 1
        count += 1
        if depth > MAX_DEPTH:
            raise Malformed("The document is too deep.")
        if count > MAX_ELEMENTS:
            raise Malformed("The document has too many elements.")
        if depth == 2:
            spans.append([parser.CurrentByteIndex, None])

    def end(name):
        nonlocal depth
        if depth == 2:
            spans[-1][1] = data.index(b'>', parser.CurrentByteIndex) + 1
        depth -= 1

    parser.XmlDeclHandler = declaration
    parser.StartDoctypeDeclHandler = _refuse
    parser.EntityDeclHandler = _refuse
    parser.ProcessingInstructionHandler = _refuse
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, ValueError) as exception:
        raise Malformed("Not well-formed XML.") from exception
    finally:
        # It and its handlers would keep each other, and the bytes, in memory
        parser = None
    return spans


def _tree(data):
    parser = etree.XMLParser(
        encoding='utf-8', resolve_entities=False, no_network=True,
        load_dtd=False, huge_tree=False)
    try:
        return etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError) as exception:
        raise Malformed("Not well-formed XML.") from exception


def _tag(name):
    return f'{{{SBDH}}}{name}'


def _children(element, *names):
    "Return the children, which have exactly these names (None for any)"
    children = list(element)
    texts = [element.text, *(c.tail for c in children)]
    if (element.attrib
            or len(children) != len(names)
            or any((text or '').strip(_blank) for text in texts)):
        raise Malformed("Not the elements of the header.")
    for child, name in zip(children, names):
        if not isinstance(child.tag, str) or (
                name and child.tag != _tag(name)):
            raise Malformed("Not the elements of the header.")
    return children


def _text(element, **attributes):
    if len(element) or dict(element.attrib) != attributes:
        raise Malformed("Not the values of the header.")
    return element.text or ''


def _basic(root, name):
    "Return the text of a basic component of a document, there once"
    elements = root.findall(f'{{{CBC}}}{name}')
    if len(elements) != 1 or len(elements[0]):
        raise Malformed(f"The document needs one {name}.")
    return elements[0].text or ''


def sealed_payload(jwe):
    "Return the bytes of the element that holds a JWE"
    return f'<Sealed xmlns="{SEALED}">{jwe}</Sealed>'.encode('ascii')


def _read_sealed(root):
    "Return the JWE of a sealed document, None for another document"
    if root.tag == f'{{{SEALED}}}Sealed':
        if len(root) or root.attrib or not (root.text or '').strip(_blank):
            raise Malformed("Not a sealed document.")
        return root.text.strip(_blank)


def _number(root):
    "Return the number of a document, None without"
    return (root.findtext(f'{{{CBC}}}ID') or '').strip(_blank) or None


def _read_participant(element):
    identifier, = _children(element, 'Identifier')
    return _text(identifier, Authority=AUTHORITY)


def _read_created(text):
    match = _created.fullmatch(text)
    if not match:
        raise Malformed("The time of creation is not in its form.")
    time, zone = match.groups()
    try:
        return datetime.fromisoformat(time + zone.replace('Z', '+00:00'))
    except ValueError as exception:
        raise Malformed("Not a time.") from exception


def _read_scopes(element):
    "Return the values of the scopes by name"
    schemes = {
        'DOCUMENTID': ('document_id', DOCUMENT_SCHEME),
        'PROCESSID': ('process', PROCESS_SCHEME),
        **SCOPES}
    values = {}
    for scope in _children(element, *['Scope'] * len(element)):
        type_ = _text(scope[0]) if len(scope) else None
        if type_ not in schemes:
            raise Malformed("The scope is not known.")
        name, scheme = schemes.pop(type_)
        if scheme:
            _, value, identifier = _children(
                scope, 'Type', 'InstanceIdentifier', 'Identifier')
            if _text(identifier) != scheme:
                raise Malformed("The scheme of the scope is not known.")
        else:
            _, value = _children(scope, 'Type', 'InstanceIdentifier')
        values[name] = _text(value)
    if not {'document_id', 'process', 'sequence'} <= set(values):
        raise Malformed("A scope is missing.")
    if not _sequence.fullmatch(values['sequence']):
        raise Malformed("The sequence is not in its form.")
    values['sequence'] = int(values['sequence'])
    if 'total' in values:
        values['total'] = Total.read(values['total'])
    if 'checkpoint' in values:
        values['checkpoint'] = canonical.decode(values['checkpoint'])
    return values


def _read_payload(data, span, element):
    """Return the bytes of the document, as they are if they stand alone, and
    their tree"""
    payload = data[slice(*span)]
    try:
        tree = _tree(payload)
    except Malformed:
        tree = None
    # Only a namespace without prefix is inherited in silence
    inherits = None in element.getparent().nsmap
    if tree is None or (inherits
            and [e.tag for e in tree.iter()]
            != [e.tag for e in element.iter()]):
        # Its namespaces are declared further out
        payload = etree.tostring(element, encoding='utf-8', with_tail=False)
        tree = None
    return payload, tree


def _element(name, *contents, **attributes):
    attributes = ''.join(f' {k}="{v}"' for k, v in attributes.items())
    return f'<sh:{name}{attributes}>{"".join(contents)}</sh:{name}>'


def _participant(name, identifier):
    return _element(
        name, _element('Identifier', identifier, Authority=AUTHORITY))


def _scope(type, value, scheme):
    return _element('Scope',
        _element('Type', type),
        _element('InstanceIdentifier', escape(value)),
        *([_element('Identifier', scheme)] if scheme else []))
