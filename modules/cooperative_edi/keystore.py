# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Private keys at rest, encrypted with the key of the configuration.

The sealed keys stand in columns that no field declares: the ORM, and so
every API and report built on it, does not know them.
"""
import sys

import trytond.config as config
from cryptography.fernet import Fernet, InvalidToken
from trytond.i18n import gettext
from trytond.model import fields
from trytond.transaction import Transaction

from .exceptions import KeyAccessError, KeyMissingError

COLUMN = 'sealed'


def _fernet():
    key = config.get('cooperative', 'key')
    if not key:
        raise KeyMissingError(gettext('cooperative_edi.msg_key_missing'))
    try:
        return Fernet(key)
    except ValueError as exception:
        raise KeyMissingError(
            gettext('cooperative_edi.msg_key_missing')) from exception


def register(Model, module):
    "Add to the table of Model the column of the sealed keys"
    Model.__table_handler__(module).add_column(
        COLUMN, fields.Text("Sealed").sql_type().base)


def seal(record, secret):
    "Store the secret bytes beside the saved record"
    table = record.__table__()
    token = _fernet().encrypt(secret).decode('ascii')
    Transaction().connection.cursor().execute(*table.update(
            [getattr(table, COLUMN)], [token],
            where=table.id == record.id))


def erase(record):
    "Forget the secret bytes of the record for good"
    table = record.__table__()
    Transaction().connection.cursor().execute(*table.update(
            [getattr(table, COLUMN)], [None], where=table.id == record.id))


def unseal(record):
    "Return the secret bytes stored beside the record"
    table = record.__table__()
    return unseal_first(table, table.id == record.id)


def unseal_content(record):
    """Return the secret bytes of the content of the record, None without.
    They sign nothing: who reads the record, a report as well, may use them"""
    table = record.__table__()
    return _unseal(table, table.id == record.id)


def unseal_first(table, where):
    "Return the secret bytes of the first row of that kind, None without"
    if _rendering():
        raise KeyAccessError(gettext('cooperative_edi.msg_key_report'))
    return _unseal(table, where)


def _unseal(table, where):
    cursor = Transaction().connection.cursor()
    cursor.execute(*table.select(
            getattr(table, COLUMN), where=where,
            order_by=table.id, limit=1))
    row = cursor.fetchone()
    if not row:
        return
    token, = row
    if not token:
        return
    try:
        return _fernet().decrypt(token)
    except InvalidToken as exception:
        raise KeyMissingError(
            gettext('cooperative_edi.msg_key_missing')) from exception


def _rendering():
    "Tell if a template is asking: no report signs"
    frame = sys._getframe()
    while frame:
        if frame.f_globals.get('__name__', '').startswith('genshi.'):
            return True
        frame = frame.f_back
    return False
