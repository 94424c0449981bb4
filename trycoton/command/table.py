# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Tables as people write them in a spreadsheet and save as CSV.

Any of the usual separators and encodings, headings in English or French in
any order.  Either all the lines are right or none is returned, with each
fault told by its line, its value and a reason.
"""
import codecs
import csv
import io
import itertools
import re
import unicodedata
from dataclasses import dataclass
from decimal import Decimal

from . import CommandError

MAX_SIZE = 20 * 1024 * 1024
MAX_LINE = 250
MAX_FAULTS = 50
MAX_NUMBER = Decimal(10) ** 12
DECIMALS = 4
_SHOWN = 60
_DECIMAL = re.compile(r'[+-]?([0-9]{1,3}( [0-9]{3})+|[0-9]+)([.,][0-9]+)?')
# What a spreadsheet would compute, or run
_FORMULA = re.compile(r'=|[+@-].*\|.*!|@\w+\(', re.DOTALL)


@dataclass(frozen=True)
class Fault:
    "What is wrong in a line of a table: line is 1 for the headings"
    line: int
    value: str
    reason: str

    def __str__(self):
        value = ' '.join(self.value.split())
        if len(value) > _SHOWN:
            value = value[:_SHOWN] + '…'
        value = f' "{value}":' if value else ''
        return f'line {self.line}:{value} {self.reason}'


class TableError(CommandError):
    "A table was refused; faults tells why"

    def __init__(self, path, faults):
        self.path = path
        self.faults = sorted(faults, key=lambda f: f.line)
        lines = [f"  {fault}" for fault in self.faults[:MAX_FAULTS]]
        if (more := len(self.faults) - MAX_FAULTS) > 0:
            lines.append(f"  and {more} more")
        super().__init__('\n'.join(
                [f"{path} was refused and nothing was imported:", *lines]))


class ValueRefused(Exception):
    "The reason why a value is refused"


def line(text):
    "Return the text on one line"
    text = ' '.join(text.split())
    if len(text) > MAX_LINE:
        raise ValueRefused(
            f"the text has more than {MAX_LINE} characters")
    return text


class Column:
    """A column of a table

    headings are the other names that it may have, read gives the value of a
    text that is not empty and raises ValueRefused.
    """

    def __init__(self, name, *headings, read=line, required=False):
        self.name = name
        self.headings = {fold(h) for h in [name, *headings]}
        self.read = read
        self.required = required


def fold(text):
    "Return the text without case, accents and separators, to compare it"
    text = unicodedata.normalize('NFKD', text.strip().casefold())
    text = text.replace('œ', 'oe').replace('æ', 'ae')
    return ''.join(c for c in text if c.isalnum())


def decode(data):
    """Return the text of a file of a spreadsheet.
    Raise ValueError when it is none."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        text = data.decode('utf-16')
    else:
        try:
            text = data.decode('utf-8-sig')
        except UnicodeDecodeError:
            text = data.decode('cp1252')
    if '\0' in text:
        raise ValueError("a text has no null")
    return text


def _dialect(text):
    "Return the separator of the first line that is not empty"
    first = next(filter(str.strip, text.splitlines()), '')
    first = re.sub('"[^"]*"', '', first)
    return max(';\t,', key=first.count)


def _rows(path, text):
    "Yield each row that is not empty with the line where it starts"
    reader = csv.reader(
        io.StringIO(text, newline=''), delimiter=_dialect(text), strict=True)
    while True:
        number = reader.line_num + 1
        try:
            row = next(reader, None)
        except csv.Error as exception:
            lines = list(io.StringIO(text, newline=''))
            value = lines[number - 1] if number <= len(lines) else ''
            raise TableError(path, [Fault(
                        number, value, "the line cannot be read, look at "
                        f"its quotes: {exception}")]) from exception
        if row is None:
            break
        if any(cell.strip() for cell in row):
            yield number, row


def read(path, columns):
    """Return a list of (line, dictionary of name to value) of the file

    Raise TableError, or CommandError when the file is no table at all.
    """
    with open(path, 'rb') as file:
        data = file.read(MAX_SIZE + 1)
    if len(data) > MAX_SIZE:
        raise CommandError(
            f"{path}: the file is larger than {MAX_SIZE // 1024 ** 2} MiB")
    try:
        text = decode(data)
    except ValueError as exception:
        raise CommandError(
            f"{path}: the file is not a text: save the table as CSV"
            ) from exception
    rows = list(_rows(path, text))
    if not rows:
        raise TableError(path, [Fault(1, '', "there are no headings")])
    names, faults = _headings(*rows.pop(0), columns)
    if faults:
        raise TableError(path, faults)
    records = []
    for number, row in rows:
        record, problems = _record(number, row, names, columns)
        records.append((number, record))
        faults.extend(problems)
    if faults:
        raise TableError(path, faults)
    return records


def _headings(number, row, columns):
    """Return the column of each heading, None for those left empty, and the
    faults"""
    names, faults = [], []
    for heading in row:
        column = next(
            (c for c in columns if fold(heading) in c.headings), None)
        if not column and heading.strip():
            faults.append(
                Fault(number, heading, "no column has this heading"))
        elif column and column in names:
            faults.append(Fault(number, heading, "the column is there twice"))
        names.append(column)
    for column in columns:
        if column.required and column not in names:
            faults.append(Fault(number, column.name, "the column is missing"))
    return names, faults


def _record(number, row, names, columns):
    record = {column.name: None for column in columns}
    faults, refused = [], set()
    for column, cell in itertools.zip_longest(names, row, fillvalue=None):
        cell = (cell or '').strip()
        if not cell:
            continue
        try:
            if not column:
                raise ValueRefused("the column has no heading")
            _check(cell)
            record[column.name] = column.read(cell)
        except ValueRefused as exception:
            refused.add(column)
            faults.append(Fault(number, cell, str(exception)))
    for column in columns:
        if (column.required and record[column.name] is None
                and column not in refused):
            faults.append(Fault(
                    number, '', f'the value of "{column.name}" is missing'))
    return record, faults


def _check(text):
    if _FORMULA.match(text):
        raise ValueRefused("this is a formula, not a value")
    if any(unicodedata.category(c) == 'Cc' and c not in '\t\r\n'
            for c in text):
        raise ValueRefused("this has control characters")


def decimal(text):
    """Return the positive decimal, written with a comma or a point; the
    euros may be named and the thousands set apart by spaces"""
    compact = ' '.join(text.replace('−', '-').split())
    compact = re.sub(r'^(€|EUR) ?| ?(€|EUR)$', '', compact)
    if not _DECIMAL.fullmatch(compact):
        raise ValueRefused("this is not a number")
    value = Decimal(compact.replace(' ', '').replace(',', '.'))
    if value < 0:
        raise ValueRefused("the number is negative")
    if value >= MAX_NUMBER:
        raise ValueRefused("the number is too large")
    if value != round(value, DECIMALS):
        raise ValueRefused(
            f"the number has more than {DECIMALS} decimals")
    return value


def one_of(choices, reason):
    """Return a reader of the values of choices, by any of their names, in
    the singular or the plural"""
    names = {
        fold(name): value for value, names in choices.items()
        for name in [value, *names]}

    def read(text):
        name = fold(text)
        for name in [name, name.removesuffix('s')]:
            if name in names:
                return names[name]
        raise ValueRefused(reason)
    return read


def number(module, reason, compact=None):
    "Return a reader of the numbers that a module of stdnum accepts"
    def read(text):
        if not module.is_valid(text):
            raise ValueRefused(reason)
        return (compact or module.compact)(text)
    return read
