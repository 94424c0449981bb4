# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Canonical JSON: one value, one text.

UTF-8, keys in ASCII and sorted, no space, no float: the subset on which
RFC 8785 and Python agree.  Other values are strings:
times are ``2026-01-31T12:00:00Z``, amounts ``12.50``, digests hexadecimal
SHA-256 and bytes standard base64.
"""
import base64
import bisect
import hashlib
import json
import re
from datetime import date, datetime, timezone

from .errors import Malformed

MAX_DEPTH = 32
MAX_INTEGER = 2 ** 53 - 1

TIME = re.compile(
    r'2\d{3}-\d\d-\d\dT\d\d:\d\d:\d\dZ', re.ASCII)
DATE = re.compile(r'[12]\d{3}-\d\d-\d\d', re.ASCII)
_token = re.compile(rb'[{}\[\],]|"(?:[^"\\]|\\.)*"?', re.DOTALL)


def _check(value, depth=0):
    if depth > MAX_DEPTH:
        raise Malformed("The value is too deep.")
    if value is None or isinstance(value, (bool, str)):
        return
    if isinstance(value, int):
        if abs(value) > MAX_INTEGER:
            raise Malformed("The integer is too large.")
    elif isinstance(value, (list, tuple)):
        for item in value:
            _check(item, depth + 1)
    elif isinstance(value, dict):
        for key, item in value.items():
            if not (isinstance(key, str) and key.isascii()):
                raise Malformed("The key is not ASCII text.")
            _check(item, depth + 1)
    else:
        raise Malformed(f"A {type(value).__name__} has no canonical form.")


def dump(value):
    "Return the canonical bytes of a JSON value; raise Malformed"
    _check(value)
    try:
        return json.dumps(
            value, sort_keys=True, separators=(',', ':'),
            ensure_ascii=False, allow_nan=False).encode('utf-8')
    except ValueError as exception:
        raise Malformed("The text is not Unicode.") from exception


def load(data):
    "Return the value of canonical bytes; raise Malformed for any other form"
    try:
        value = json.loads(data.decode('utf-8'))
    except (ValueError, RecursionError) as exception:
        raise _error("Not JSON in UTF-8", _place(exception)) from exception
    canonical = dump(value)
    if canonical != data:
        raise _error("Not canonical JSON", _common(canonical, data))
    return value


def _error(text, place):
    # What tells the path reads all: only who needs it does, with locate
    error = Malformed(f"{text}, at byte {place}.")
    error.place = place
    return error


def _common(one, other):
    "Return how many bytes both begin with"
    return bisect.bisect_left(
        range(min(len(one), len(other))), True,
        key=lambda i: one[:i + 1] != other[:i + 1])


def _place(exception):
    "Return how many bytes could be read before the exception"
    if isinstance(exception, UnicodeDecodeError):
        return exception.start
    if isinstance(exception, json.JSONDecodeError):
        return len(exception.doc[:exception.pos].encode('utf-8'))
    return 0


def locate(data, place):
    """Return the path of what is at that place in the bytes of JSON, as in
    messages[0].data, or None for the whole"""
    path, in_key = [], False
    for match in _token.finditer(data):
        token = match[0]
        if match.start() > place:
            break
        if token in b'{[':
            path.append(None if token == b'{' else 0)
            in_key = token == b'{'
        elif token in b'}]':
            del path[-1:]
            in_key = False
        elif token == b',' and path:
            in_key = not isinstance(path[-1], int)
            path[-1] = None if in_key else path[-1] + 1
        elif in_key:
            path[-1] = token.strip(b'"').decode('utf-8', 'replace')
            in_key = False
    return ''.join(
        f'[{name}]' if isinstance(name, int) else f'.{name}'
        for name in path if name is not None).removeprefix('.') or None


def digest(data):
    "Return the SHA-256 of bytes in hexadecimal"
    return hashlib.sha256(data).hexdigest()


def encode(data):
    "Return bytes as standard base64"
    return base64.b64encode(data).decode('ascii')


def decode(text):
    "Return the bytes of strict standard base64; raise Malformed"
    try:
        data = base64.b64decode(text, validate=True)
    except (TypeError, ValueError) as exception:
        raise Malformed("Not base64.") from exception
    if encode(data) != text:
        raise Malformed("Not canonical base64.")
    return data


def format_time(value):
    "Return an aware datetime as text, in UTC and whole seconds"
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise Malformed("The time needs a zone.")
    try:
        value = value.astimezone(timezone.utc)
    except OverflowError as exception:
        raise Malformed("The time is out of range.") from exception
    return value.strftime('%Y-%m-%dT%H:%M:%SZ')


def parse_time(text):
    "Return the aware datetime of a text made by format_time"
    if not isinstance(text, str) or not TIME.fullmatch(text):
        raise Malformed("Not a time.")
    try:
        return datetime.fromisoformat(text[:-1]).replace(tzinfo=timezone.utc)
    except ValueError as exception:
        raise Malformed("Not a time.") from exception


def format_date(value):
    "Return a date as text"
    if not isinstance(value, date) or isinstance(value, datetime):
        raise Malformed("Not a date.")
    return value.isoformat()


def parse_date(text):
    "Return the date of a text made by format_date"
    if not isinstance(text, str) or not DATE.fullmatch(text):
        raise Malformed("Not a date.")
    try:
        return date.fromisoformat(text)
    except ValueError as exception:
        raise Malformed("Not a date.") from exception
