# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"Fields that only differ by how they are written"
from trytond.model import fields


class BigInteger(fields.Integer):
    "What others count: the protocol admits more than four bytes hold"
    _sql_type = 'BIGINT'


class Bytes(fields.Binary):
    """Bytes that are written with the rest of their row

    Tryton sets a binary field by an UPDATE of its own, after the INSERT, for
    the sake of those that it keeps in files.
    """

    @property
    def set(self):
        raise AttributeError('set')
