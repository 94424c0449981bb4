# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""One description of each document, read and written by the same nodes.

A description is a tuple of nodes, in the order of the UBL schema.
A node has a path below its parent element and, mostly, the name of a field;
it reads from an element into a scope and writes from a scope to an element.
Elements that are not described are ignored when reading.
Constants choose: among several elements of one name, those count in which
the constants of their description hold.
"""
import datetime as dt
import re
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from inspect import signature
from typing import NamedTuple

from lxml import etree

from ..errors import Malformed, ProtocolError, Rejected

UBL = 'urn:oasis:names:specification:ubl:schema:xsd:'
NAMESPACES = {
    'cac': UBL + 'CommonAggregateComponents-2',
    'cbc': UBL + 'CommonBasicComponents-2',
    }
CII = 'urn:un:unece:uncefact:data:standard:'
CII_NAMESPACES = {
    'rsm': CII + 'CrossIndustryInvoice:100',
    'ram': CII + 'ReusableAggregateBusinessInformationEntity:100',
    'udt': CII + 'UnqualifiedDataType:100',
    'qdt': CII + 'QualifiedDataType:100',
    }
SPACES = ' \t\r\n'
MAX_DIGITS = 40

_namespaces = {**NAMESPACES, **CII_NAMESPACES}
_decimal = re.compile(r'[+-]?(\d+(\.\d*)?|\.\d+)', re.ASCII)
_date = re.compile(r'\d{4}-\d\d-\d\d', re.ASCII)
_time = re.compile(
    r'\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)?', re.ASCII)
_scheme = re.compile(r'(\d{4}):(.+)', re.ASCII | re.DOTALL)


# Types: text of an element to value and back

class Type(NamedTuple):
    of: type
    read: callable
    write: callable


def _read_decimal(text):
    if len(text) > MAX_DIGITS or not _decimal.fullmatch(text):
        raise ValueError
    return Decimal(text)


def _write_decimal(value):
    text = format(value, 'f')
    _read_decimal(text)
    return text


def _read_integer(text):
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise ValueError
    return int(text)


def _read_date(text):
    if not _date.fullmatch(text):
        raise ValueError
    return dt.date.fromisoformat(text)


def _read_time(text):
    match = _time.fullmatch(text)
    if not match:
        raise ValueError
    fraction, zone = match.groups()
    if fraction:
        text = text.replace(fraction, fraction.ljust(7, '0'))
    if zone == 'Z':
        text = text[:-1] + '+00:00'
    return dt.time.fromisoformat(text)


def _read_boolean(text):
    return {'true': True, '1': True, 'false': False, '0': False}[text]


TEXT = Type(str, str, str)
DECIMAL = Type(Decimal, _read_decimal, _write_decimal)
INTEGER = Type(int, _read_integer, str)
DATE = Type(dt.date, _read_date, dt.date.isoformat)
TIME = Type(dt.time, _read_time, dt.time.isoformat)
BOOLEAN = Type(bool, _read_boolean, lambda value: str(value).lower())


def one_of(codes):
    def read(text):
        if text not in codes:
            raise ValueError
        return text
    return Type(str, read, read)


@cache
def _fields(class_):
    return signature(class_).parameters


# Scopes: the value being read or written, inside the one that holds it

class Scope:
    def __init__(self, values, outer=None):
        self.values = values
        self.outer = outer

    def look_up(self, name):
        "Return the value of name here or in the nearest scope around"
        value = self.get(name)
        if value is None and self.outer:
            value = self.outer.look_up(name)
        return value


class Written(Scope):
    "A value being written"

    def get(self, name):
        return getattr(self.values, name, None)


class Read(Scope):
    "The fields read so far"

    def get(self, name):
        return self.values.get(name)

    def set(self, name, value, path):
        if self.values.setdefault(name, value) != value:
            raise Malformed(f"{path} has several values of {name}.")

    def build(self, class_):
        "Return the value; what is computed must be what was stated"
        fields = _fields(class_)
        for field in fields.values():
            if field.default is field.empty and field.name not in self.values:
                raise Malformed(f"{field.name} is missing.")
        value = class_(**{
                k: v for k, v in self.values.items() if k in fields})
        for name in self.values.keys() - fields.keys():
            stated, computed = self.values[name], getattr(value, name)
            if stated != (computed or 0):
                raise Rejected(
                    f"{name} is {stated} instead of {computed or 0}.")
        return value


# Nodes

def _text(element):
    if len(element):
        raise Malformed(f"{_name(element)} must not have elements.")
    return (element.text or '').strip(SPACES)


def _name(element):
    return etree.QName(element).localname


@contextmanager
def located(element):
    "Say of the error of the block that it is in the element"
    try:
        yield
    except ProtocolError as exception:
        if not exception.path:
            exception.path = _location(element)
        raise


def _location(element):
    steps = []
    while element is not None:
        step, parent = _name(element), element.getparent()
        if parent is not None:
            same = parent.findall(element.tag)
            if len(same) > 1:
                step += f'[{same.index(element) + 1}]'
        steps.append(step)
        element = parent
    return '/' + '/'.join(reversed(steps))


@cache
def _tags(path):
    "Return the tags of the steps of the path"
    steps = [s.partition(':') for s in path.split('/') if s != '.']
    return [
        f'{{{_namespaces[prefix]}}}{name}' for prefix, _, name in steps]


def _select(parent, path):
    """Return the elements that the path leads to

    As findall, in a fifth of its time.
    """
    elements = [parent]
    for tag in _tags(path):
        elements = [c for e in elements for c in e.iterchildren(tag)]
    return elements


def _create(parent, path):
    for tag in _tags(path):
        parent = etree.SubElement(parent, tag)
    return parent


class Node:
    required = first = False
    nodes = ()

    def __init__(self, path, *, required=False, first=False):
        self.path = path
        self.required = required
        self.first = first

    def holds(self, element):
        "Return whether element may be the one described"
        return all(
            n.found(element) for n in self.nodes if isinstance(n, Constant))

    def find_all(self, parent):
        found = [
            e for e in _select(parent, self.path) if self.holds(e)]
        if self.required and not found:
            raise Malformed(f"{self.path} is missing in {_name(parent)}.")
        return found

    def find(self, parent):
        found = self.find_all(parent)
        if len(found) > 1 and not self.first:
            raise Malformed(f"{_name(parent)} has several {self.path}.")
        return found[0] if found else None

    def expected(self, scope):
        "Return whether there is something to write; check what must be"
        if self.has(scope):
            return True
        if self.required:
            raise Malformed(f"{self.path} needs a value.")
        return False


class Leaf(Node):
    """An element with text

    attributes gives the field of an attribute, looked up in the scopes, and
    fixed the text of an attribute.
    """

    type = TEXT
    attributes = {}
    fixed = {}

    def __init__(
            self, path, field, *, attributes=None, fixed=None, **options):
        super().__init__(path, **options)
        self.field = field
        self.attributes = attributes or self.attributes
        self.fixed = fixed or self.fixed

    def holds(self, element):
        return all(element.get(k) == v for k, v in self.fixed.items())

    def has(self, scope):
        value = scope.get(self.field)
        if isinstance(value, str):
            value = value.strip(SPACES) or None
        return value is not None

    def read(self, parent, scope):
        element = self.find(parent)
        if element is None:
            return
        for name, field in self.attributes.items():
            value = (element.get(name) or '').strip(SPACES)
            if not value:
                raise Malformed(f"{self.path} needs {name}.")
            known = scope.look_up(field)
            if known is None:
                scope.values[field] = value
            elif known != value:
                raise Malformed(f"{self.path} has another {name}.")
        text = _text(element)
        try:
            if not text:
                raise ValueError
            value = self.read_text(element, text)
        except (ValueError, LookupError) as exception:
            raise Malformed(
                f"{self.path} must not be {text[:50]!r}.") from exception
        scope.set(self.field, value, self.path)

    def read_text(self, element, text):
        return self.type.read(text)

    def write(self, parent, scope):
        if not self.expected(scope):
            return
        element = _create(parent, self.path)
        attributes = dict(self.fixed)
        for name, field in self.attributes.items():
            attributes[name] = scope.look_up(field)
            if not attributes[name]:
                raise Malformed(f"{self.path} needs {field}.")
        value = scope.get(self.field)
        try:
            if not isinstance(value, self.type.of):
                raise ValueError
            element.attrib.update(attributes)
            self.write_text(element, value)
        except (TypeError, ValueError) as exception:
            raise Malformed(
                f"{self.path} must not be {value!r}.") from exception

    def write_text(self, element, value):
        element.text = self.type.write(value).strip(SPACES)


class Identifier(Leaf):
    "An element with a schemeID, 'scheme:value' as value"

    scheme = False

    def read_text(self, element, text):
        scheme = element.get('schemeID')
        if scheme:
            text = f'{scheme}:{text}'
        return self.check(text)

    def write_text(self, element, value):
        match = _scheme.fullmatch(self.check(value))
        if match:
            scheme, value = match.groups()
            element.set('schemeID', scheme)
        element.text = value.strip(SPACES)

    def check(self, value):
        if self.scheme and not _scheme.fullmatch(value):
            raise ValueError
        return value


class Endpoint(Identifier):
    "An identifier whose scheme is required"
    scheme = True


class Constant(Node):
    "An element that is there once, with always the same text"

    def __init__(self, path, text):
        super().__init__(path)
        self.text = text

    def found(self, parent):
        return [self.text] == [
            _text(e) for e in _select(parent, self.path)]

    def has(self, scope):
        return False

    def read(self, parent, scope):
        pass

    def write(self, parent, scope):
        _create(parent, self.path).text = self.text


class Refused(Node):
    "An element that would change the meaning"

    def has(self, scope):
        return False

    def read(self, parent, scope):
        if _select(parent, self.path):
            raise Rejected(f"{self.path} is not supported.")

    def write(self, parent, scope):
        pass


class Base(Node):
    "The quantity, in the unit of the value, that its price is for"

    def __init__(self, path, price):
        super().__init__(path)
        self.price = price

    def has(self, scope):
        return False

    def read(self, parent, scope):
        element = self.find(parent)
        if element is None:
            return
        try:
            base = _read_decimal(_text(element))
        except ValueError as exception:
            raise Malformed(f"{self.path} is no number.") from exception
        unit = element.get('unitCode')
        if base <= 0 or base != 1 and unit not in {
                None, scope.look_up('unit')}:
            raise Rejected(f"{self.path} is not supported.")
        if base != 1:
            scope.values[self.price] /= base

    def write(self, parent, scope):
        pass


class Computed:
    "A leaf whose field is a property: when stated it must be equal"

    def __init__(self, leaf):
        self.leaf = leaf

    def has(self, scope):
        return False

    def read(self, parent, scope):
        self.leaf.read(parent, scope)

    def write(self, parent, scope):
        self.leaf.write(parent, scope)


class Echo(Computed):
    "A leaf that repeats a value for the rules, never read"

    def read(self, parent, scope):
        pass


class Group(Node):
    """An element that only holds others

    where is the path of an element that it must have to be the one.
    """

    def __init__(self, path, *nodes, where=None, **options):
        super().__init__(path, **options)
        self.nodes = nodes
        self.where = where

    def holds(self, element):
        return super().holds(element) and (
            not self.where or bool(_select(element, self.where)))

    def has(self, scope):
        return any(n.has(scope) for n in self.nodes)

    def read(self, parent, scope):
        element = self.find(parent)
        if element is not None:
            with located(element):
                for node in self.nodes:
                    node.read(element, scope)

    def write(self, parent, scope):
        if self.required or self.has(scope):
            element = _create(parent, self.path)
            for node in self.nodes:
                node.write(element, scope)
            if not len(element):
                raise Malformed(f"{self.path} needs a value.")


class Section(Group):
    "A group that is written even when there is nothing in it"

    def write(self, parent, scope):
        element = _create(parent, self.path)
        for node in self.nodes:
            node.write(element, scope)


class One(Node):
    "An element that is a value of its own"

    def __init__(self, path, field, class_, nodes, **options):
        super().__init__(path, **options)
        self.field = field
        self.class_ = class_
        self.nodes = nodes

    def has(self, scope):
        value = scope.get(self.field)
        return value is not None and any(
            n.has(Written(value, scope)) for n in self.nodes)

    def read(self, parent, scope):
        element = self.find(parent)
        if element is not None:
            value = self.read_value(element, scope)
            if value is not None:
                scope.values[self.field] = value

    def read_value(self, element, outer):
        scope = Read({}, outer)
        with located(element):
            for node in self.nodes:
                node.read(element, scope)
            if scope.values:
                return scope.build(self.class_)

    def write(self, parent, scope):
        if self.expected(scope):
            self.write_value(parent, scope.get(self.field), scope)

    def write_value(self, parent, value, outer):
        element = _create(parent, self.path)
        scope = Written(value, outer)
        for node in self.nodes:
            node.write(element, scope)


class Many(One):
    "Elements that are the values of a tuple"

    def has(self, scope):
        return bool(scope.get(self.field))

    def read(self, parent, scope):
        scope.values[self.field] = tuple(
            self.read_value(e, scope) for e in self.find_all(parent))

    def read_value(self, element, outer):
        value = super().read_value(element, outer)
        if value is None:
            raise Malformed(f"{self.path} is empty.")
        return value

    def write(self, parent, scope):
        if self.expected(scope):
            for value in scope.get(self.field):
                if isinstance(value, tuple):
                    value = self.class_._make(value)
                self.write_value(parent, value, scope)


class Text(Leaf):
    pass


class Date(Leaf):
    type = DATE


class Time(Leaf):
    type = TIME


class Number(Leaf):
    type = DECIMAL


class Integer(Leaf):
    type = INTEGER


class Boolean(Leaf):
    type = BOOLEAN


class Code(Leaf):
    "One of codes"

    def __init__(self, path, field, codes, **options):
        super().__init__(path, field, **options)
        self.type = one_of(codes)


class Amount(Number):
    "In the currency of the document, or of the value itself"
    attributes = {'currencyID': 'currency'}


class Quantity(Number):
    "In the unit of the value"
    attributes = {'unitCode': 'unit'}


# Documents

class Broken(str):
    "A sentence on what is wrong in the meaning, with the rule that is broken"

    def __new__(cls, rule, text):
        self = super().__new__(cls, text)
        self.rule = rule
        return self


@dataclass(frozen=True, kw_only=True)
class Document:
    """A UBL document

    root is the name of its root element, customization its CustomizationID,
    and schema its description.
    """
    kind = root = customization = None
    schema = ()

    @classmethod
    def tag(cls):
        return f'{{{UBL}{cls.root}-2}}{cls.root}'

    @classmethod
    def from_element(cls, element):
        "Return the document of a root element; raise Malformed, Rejected"
        with located(element):
            cls.check_constants(element)
            scope = Read({})
            for node in cls.schema:
                node.read(element, scope)
            return scope.build(cls)

    @classmethod
    def check_constants(cls, element):
        "Raise Rejected for a root element without what is always the same"
        for node in cls.schema:
            if isinstance(node, Constant) and not node.found(element):
                raise Rejected(f"{node.path} must be {node.text!r}.")

    def to_bytes(self):
        """Return the XML in UTF-8, without declaration

        Raise Malformed when a value is missing or of the wrong type.
        """
        root = etree.Element(
            self.tag(), nsmap={None: f'{UBL}{self.root}-2', **NAMESPACES})
        scope = Written(self)
        for node in self.schema:
            node.write(root, scope)
        return etree.tostring(root, encoding='UTF-8')

    def check(self):
        """Return what is wrong in the meaning, one sentence each

        Only what the document alone tells: sums, lines, references.
        """
        lines = getattr(self, 'lines', ())
        ids = Counter(line.id for line in lines if hasattr(line, 'id'))
        return [
            Broken('TCT-LINE-01', f"Line {id} is there several times.")
            for id, count in ids.items() if count > 1]


def parse_xml(data):
    "Return the root element of bytes; raise Malformed"
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False,
        dtd_validation=False, huge_tree=False, remove_comments=True,
        remove_pis=True)
    try:
        root = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError) as exception:
        raise Malformed(
            "Not well-formed XML.", rule='TCT-XML') from exception
    if root.getroottree().docinfo.internalDTD is not None:
        raise Malformed("A DOCTYPE is not allowed.", rule='TCT-XML')
    return root
