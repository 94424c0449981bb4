# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"Canonical JSON: one value, one text"
import base64
import hashlib
import json
from datetime import datetime, timezone


class Refused(Exception):
    """What was received is not accepted: name and status are the problem's,
    refusal and signature what we sign of it"""

    def __init__(self, text, name='malformed', status=422):
        super().__init__(text)
        self.name = name
        self.status = status
        self.refusal = self.signature = None


def dump(value):
    return json.dumps(
        value, sort_keys=True, separators=(',', ':'), ensure_ascii=False,
        allow_nan=False).encode()


def load(data):
    "Return the value of canonical bytes; refuse any other form"
    try:
        value = json.loads(
            data.decode(), parse_float=_refuse, parse_int=_integer)
        _check(value)
        same = dump(value) == data
    except (ValueError, RecursionError) as exception:
        raise Refused("not JSON in UTF-8") from exception
    if not same:
        raise Refused("not canonical JSON")
    return value


def _refuse(text):
    raise ValueError(text)


def _integer(text):
    value = int(text)
    if abs(value) >= 2 ** 53:
        raise ValueError(text)
    return value


def _check(value, depth=0):
    if depth > 32:
        raise ValueError("too deep")
    if isinstance(value, dict):
        if not all(name.isascii() for name in value):
            raise ValueError("a name is not in ASCII")
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            _check(item, depth + 1)


def members(value, *names):
    "Return the values of an object that has exactly these members"
    if not isinstance(value, dict) or set(value) != set(names):
        raise Refused(f"not the members {', '.join(names)}")
    return [value[name] for name in names]


def digest(data):
    return hashlib.sha256(data).hexdigest()


def encode(data):
    return base64.b64encode(data).decode()


def decode(text):
    try:
        data = base64.b64decode(text, validate=True)
    except (TypeError, ValueError) as exception:
        raise Refused("not base64") from exception
    if encode(data) != text:
        raise Refused("not canonical base64")
    return data


def now():
    return datetime.now(timezone.utc).strftime('%Y-%m-%dT%H:%M:%SZ')
