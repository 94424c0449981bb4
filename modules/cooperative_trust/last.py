# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What came last between each two parties, found for many at once"""
from sql import Values
from trytond.transaction import Transaction


def last_of(Model, pairs, name, where, *names):
    """Return the columns of the names of the row that comes last, in the
    order of the column of the name, for each pair of sender and recipient
    that has one.  where makes the condition on the table of the rows, of
    which an index has the pair and then the name."""
    row, found = Model.__table__(), Model.__table__()
    pair = Values(sorted(pairs))
    last = row.select(
        row.id,
        where=where(row)
        & (row.sender == pair.column1) & (row.recipient == pair.column2),
        order_by=getattr(row, name).desc, limit=1)
    cursor = Transaction().connection.cursor()
    cursor.execute(*found.select(
            found.sender, found.recipient,
            *(getattr(found, n) for n in names),
            where=found.id.in_(pair.select(last))))
    return {
        (sender, recipient): values for sender, recipient, *values in cursor}
