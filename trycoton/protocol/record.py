# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Records: frozen dataclasses whose members are described once.

The description of a member reads it, writes it and checks it, so a record
that could be built can be written, and what was written can be read.
It gives its JSON Schema as well: what the schema cannot say (an order, a
check digit) is said in the description of the protocol.
"""
import re
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from decimal import Decimal
from functools import cached_property
from inspect import cleandoc

from . import canonical, identifier, signature
from .errors import Malformed
from .signature import PublicKey


def member(description, **options):
    "A field of a Record, described by a Value"
    return field(metadata={'value': description}, **options)


@contextmanager
def at(name):
    """Have what is malformed tell where: .member or [index].
    With None, the path so far is one inside of the value."""
    try:
        yield
    except Malformed as exception:
        path = exception.path or ''
        if not name:
            name = path = ''
        if path and not path.startswith('['):
            path = f'.{path}'
        exception.path = f'{name}{path}'.removeprefix('.') or None
        raise


class Value:
    "A member: load reads it from JSON, dump writes it, check admits it"

    def load(self, value):
        return value

    def dump(self, value):
        return value

    def check(self, value):
        return self.load(self.dump(value))

    def schema(self, refer):
        """Return the JSON Schema (2020-12) of what dump gives

        refer(class) returns the one that refers to a Record.
        """
        return {}


class Text(Value):
    "A text that matches a pattern"

    def __init__(self, pattern=r'[^\x00-\x1f\x7f]{1,1000}'):
        self._pattern = re.compile(pattern)

    def load(self, value):
        if not isinstance(value, str) or not self._pattern.fullmatch(value):
            raise Malformed("The text is not in its form.")
        return value

    def schema(self, refer):
        return _pattern(self._pattern)


class Choice(Value):
    "One of a few texts"

    def __init__(self, *choices):
        self._choices = choices

    def load(self, value):
        if not isinstance(value, str) or value not in self._choices:
            raise Malformed(
                f"The text is not one of {', '.join(self._choices)}.")
        return value

    def schema(self, refer):
        return {'type': 'string', 'enum': list(self._choices)}


class Integer(Value):
    "An integer not below a minimum"

    def __init__(self, minimum=0):
        self._minimum = minimum

    def load(self, value):
        if type(value) is not int or not (
                self._minimum <= value <= canonical.MAX_INTEGER):
            raise Malformed("The number is out of range.")
        return value

    def schema(self, refer):
        return {
            'type': 'integer',
            'minimum': self._minimum,
            'maximum': canonical.MAX_INTEGER,
            }


class Flag(Value):
    "True or False"

    def load(self, value):
        if type(value) is not bool:
            raise Malformed("Not true or false.")
        return value

    def schema(self, refer):
        return {'type': 'boolean'}


class Amount(Text):
    "A decimal as text, given as text or Decimal"

    def __init__(self):
        super().__init__(
            r'(?!-0(\.0*)?$)-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,8})?')

    def dump(self, value):
        return format(value, 'f') if isinstance(value, Decimal) else value


class Binary(Value):
    "Bytes, as base64, so many at most"

    def __init__(self, maximum=None):
        self._maximum = maximum

    def load(self, value):
        if not isinstance(value, str):
            raise Malformed("Not base64.")
        data = canonical.decode(value)
        if self._maximum and len(data) > self._maximum:
            raise Malformed("There are too many bytes.")
        return data

    def dump(self, value):
        if not isinstance(value, bytes):
            raise Malformed("Not bytes.")
        return canonical.encode(value)

    def schema(self, refer):
        return {'type': 'string', 'contentEncoding': 'base64'}


class Time(Value):
    "An aware datetime, in UTC"
    load = staticmethod(canonical.parse_time)
    dump = staticmethod(canonical.format_time)

    def schema(self, refer):
        return {**_pattern(canonical.TIME), 'format': 'date-time'}


class Date(Value):
    "A date"
    load = staticmethod(canonical.parse_date)
    dump = staticmethod(canonical.format_date)

    def schema(self, refer):
        return {**_pattern(canonical.DATE), 'format': 'date'}


class Identifier(Value):
    "A participant identifier"

    def load(self, value):
        identifier.parse(value)
        return value

    def schema(self, refer):
        return _pattern('|'.join(
                f'{scheme}:{pattern.pattern}'
                for scheme, (pattern, _) in identifier.SCHEMES.items()))


class Key(Value):
    "A PublicKey, as JSON Web Key"
    load = staticmethod(PublicKey.from_jwk)

    def dump(self, value):
        if not isinstance(value, PublicKey):
            raise Malformed("Not a public key.")
        return value.to_jwk()

    def check(self, value):
        self.dump(value)
        return value

    def schema(self, refer):
        return {
            'oneOf': [_object({
                        'crv': {'const': curve},
                        'kty': {'const': 'OKP'},
                        'use': {'const': use},
                        'x': _pattern('[A-Za-z0-9_-]{43}'),
                        })
                for use, curve in signature.CURVES.items()],
            }


class Object(Value):
    "A JSON object, of a form that is not ours to know"

    def load(self, value):
        if not isinstance(value, dict):
            raise Malformed("Not an object.")
        return canonical.load(canonical.dump(value))

    def schema(self, refer):
        return {'type': 'object'}


class Members(Value):
    "A JSON object of which the members are known, as a dict"

    def __init__(self, required={}, optional={}):
        self._required = required
        self._members = {**required, **optional}

    def load(self, value):
        if not isinstance(value, dict) or not (
                self._required.keys() <= value.keys()
                <= self._members.keys()):
            raise Malformed("Not the members expected.")
        for name, item in value.items():
            self._members[name].load(item)
        return dict(value)

    def schema(self, refer):
        return _object(
            {n: v.schema(refer) for n, v in self._members.items()},
            self._required)


class Nested(Value):
    "Another record"

    def __init__(self, class_):
        self._class = class_

    def load(self, value):
        return self._class.from_json(value)

    def dump(self, value):
        return self.check(value).to_json()

    def check(self, value):
        if not isinstance(value, self._class):
            raise Malformed(f"Not a {self._class.__name__}.")
        return value

    def schema(self, refer):
        return refer(self._class)


class Optional(Value):
    "A value or None"

    def __init__(self, value):
        self._value = value

    def load(self, value):
        return None if value is None else self._value.load(value)

    def dump(self, value):
        return None if value is None else self._value.dump(value)

    def check(self, value):
        return None if value is None else self._value.check(value)

    def schema(self, refer):
        return {'anyOf': [self._value.schema(refer), {'type': 'null'}]}


class Many(Value):
    "A tuple of values; with key, in strict order of it"

    def __init__(self, value, key=None):
        self._value = value
        self._key = key

    def _order(self, values):
        if self._key:
            keys = list(map(self._key_at, range(len(values)), values))
            if any(a >= b for a, b in zip(keys, keys[1:])):
                raise Malformed("The list is not sorted, or not unique.")
        return values

    def _key_at(self, index, value):
        with at(f'[{index}]'), at(None):
            return self._key(value)

    def load(self, value):
        if not isinstance(value, list):
            raise Malformed("Not a list.")
        values = []
        for index, item in enumerate(value):
            with at(f'[{index}]'):
                values.append(self._value.load(item))
        return self._order(tuple(values))

    def dump(self, value):
        return [self._value.dump(v) for v in value]

    def check(self, value):
        if not isinstance(value, (list, tuple)):
            raise Malformed("Not a list.")
        values = tuple(map(self._value.check, value))
        if self._key:
            values = tuple(sorted(values, key=self._key))
        return self._order(values)

    def schema(self, refer):
        schema = {'type': 'array', 'items': self._value.schema(refer)}
        if self._key:
            schema['uniqueItems'] = True
            schema['description'] = "Sorted, each once."
        return schema


def _pattern(pattern):
    return {
        'type': 'string',
        'pattern': f"^(?:{getattr(pattern, 'pattern', pattern)})$",
        }


def _object(properties, required=None):
    return {
        'type': 'object',
        'properties': properties,
        'required': list(properties if required is None else required),
        'additionalProperties': False,
        }


TEXT = Text()
LONG_TEXT = Text(r'[^\x00-\x08\x0b-\x1f\x7f]{1,200000}')
UUID = Text('-'.join(r'[0-9a-f]{%d}' % n for n in (8, 4, 4, 4, 12)))
DIGEST = Text(r'[0-9a-f]{64}')
COUNTRY = Text(r'[A-Z]{2}')
CURRENCY = Text(r'[A-Z]{3}')
URL = Text(r'https?://[!-~]{1,2000}')
# To which paths are added: neither credentials, query nor fragment
ENDPOINT = Text(
    r'https?://([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?'
    r'(/[A-Za-z0-9._~!$&\'()*+,;=:@%/-]{0,2000})?')
# Name, key id and key of a signed note: note.py reads it
VKEY = Text(r'[!-*,-~]{1,250}\+[0-9a-f]{8}\+[A-Za-z0-9+/]{1,5000}={0,2}')
# The RFC 7638 thumbprint of a key
KID = Text(r'[A-Za-z0-9_-]{43}')
# A detached JWS: signature.py reads it
JWS = Text(r'[A-Za-z0-9_-]{1,512}\.\.[A-Za-z0-9_-]{86}')
AMOUNT = Amount()
BINARY = Binary()
# A signed note: note.py reads it
NOTE = Binary(64 * 1024)
TIME = Time()
DATE = Date()
IDENTIFIER = Identifier()
KEY = Key()
FLAG = Flag()


@dataclass(frozen=True)
class Record:
    """A frozen dataclass with a canonical form

    A value that its member does not admit raises Malformed.
    """
    typ = None  # of the signature over it

    def __post_init__(self):
        for name, value in self._members():
            try:
                checked = value.check(getattr(self, name))
            except Malformed as exception:
                raise Malformed(f"{name}: {exception}") from exception
            object.__setattr__(self, name, checked)

    @classmethod
    def _members(cls):
        return [
            (f.name, f.metadata['value']) for f in fields(cls)
            if 'value' in f.metadata]

    def to_json(self):
        "Return the value for canonical JSON"
        return {
            name: value.dump(getattr(self, name))
            for name, value in self._members()}

    @classmethod
    def from_json(cls, value):
        "Return the record of what to_json gives; raise Malformed"
        members = cls._members()
        names = {name for name, _ in members}
        if not isinstance(value, dict) or set(value) != names:
            raise cls._error(value, names)
        result = {}
        for name, description in members:
            with at(f'.{name}'):
                result[name] = description.load(value[name])
        with at(None):
            return cls(**result)

    @classmethod
    def _error(cls, value, names):
        # Not where it is raised: the two would keep each other in memory
        error = Malformed(f"Not the members of a {cls.__name__}.")
        if isinstance(value, dict):
            error.path = min(names - set(value), default=None)
        return error

    def to_bytes(self):
        "Return the canonical bytes, those that are signed"
        return canonical.dump(self.to_json())

    @classmethod
    def parse(cls, data):
        "Return the record of canonical bytes; raise Malformed"
        return cls.from_json(canonical.load(data))

    @classmethod
    def open(cls, data, jws, keys):
        """Return the record of bytes that one of the keys signed

        Raise Malformed, Rejected or UnknownKey.
        """
        signature.verify(data, jws, cls.typ, keys)
        return cls.parse(data)

    @classmethod
    def schema(cls, refer):
        "Return the JSON Schema of what to_json gives, as Value.schema"
        return {
            'title': cls.__name__,
            'description': cleandoc(cls.__doc__),
            **_object({
                    name: value.schema(refer)
                    for name, value in cls._members()}),
            }

    @cached_property
    def digest(self):
        "The SHA-256 of the bytes, in hexadecimal"
        return canonical.digest(self.to_bytes())
