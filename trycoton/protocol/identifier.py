# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Participant identifiers, ``scheme:value`` of ISO 6523.

0002 SIREN, 0009 SIRET, 0088 GLN and 0225, the French electronic address:
a SIREN, alone or followed by ``_`` and a suffix.
"""
import re

from stdnum import ean, luhn
from stdnum.fr import siret

from .errors import Malformed

AUTHORITY = 'iso6523-actorid-upis'

SCHEMES = {
    '0002': (re.compile(r'[0-9]{9}'), luhn.is_valid),
    '0009': (re.compile(r'[0-9]{14}'), siret.is_valid),
    '0088': (re.compile(r'[0-9]{13}'), ean.is_valid),
    '0225': (
        re.compile(r'[0-9]{9}(_[A-Za-z0-9][A-Za-z0-9_.-]{0,79})?'),
        lambda value: luhn.is_valid(value[:9])),
    }


def parse(text):
    "Return the scheme and the value of an identifier; raise Malformed"
    if not isinstance(text, str):
        raise Malformed("The identifier is not a text.")
    scheme, _, value = text.partition(':')
    if scheme not in SCHEMES:
        raise Malformed("The scheme of the identifier is not known.")
    pattern, is_valid = SCHEMES[scheme]
    if not pattern.fullmatch(value) or not is_valid(value):
        raise Malformed("The identifier is not valid in its scheme.")
    return scheme, value


def siren(text):
    "Return the SIREN inside an identifier, or None"
    scheme, value = parse(text)
    if scheme != '0088':
        return value[:9]
