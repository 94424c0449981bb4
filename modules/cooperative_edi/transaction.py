# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Transactions outside of a request of a client.

What is sent, received and recorded is committed step by step, with the
network between the steps and never inside one.
"""
import contextlib
import random
import threading
import time
from collections import defaultdict

import trytond.config as config
from sql import Column, For
from trytond import backend
from trytond.pool import Pool
from trytond.transaction import Transaction, TransactionError
from trytond.worker import run_task

TURN = 60  # seconds
TURNS = 64
_turns = defaultdict(threading.RLock)


def transact(
        database, function, *args, context=None, readonly=False, turn=None):
    """Return function(*args) called in a transaction of its own, which is
    committed, and tried again when another one was in its way.
    turn is a text: of those who give the same, one goes after the other in
    this process, as they would be in the way of each other."""
    pool = Pool(database)
    retry = config.getint('database', 'retry')
    count, extras = 0, {}
    while True:
        if count:
            time.sleep(0.02 * count * random.uniform(0.5, 1.5))
        with _turn(database, readonly, turn), Transaction(new=True).start(
                database, 0, context=context, readonly=readonly,
                **extras) as transaction:
            try:
                if not readonly:
                    _be_durable(transaction)
                result = function(*args)
                transaction.commit()
            except TransactionError as exception:
                transaction.rollback()
                transaction.tasks.clear()
                exception.fix(extras)
                continue
            except backend.DatabaseOperationalError:
                transaction.rollback()
                transaction.tasks.clear()
                if count >= retry:
                    raise
                count += 1
                continue
            except BaseException:
                transaction.rollback()
                transaction.tasks.clear()
                raise
        while not readonly and transaction.tasks:
            run_task(pool, transaction.tasks.pop())
        return result


@contextlib.contextmanager
def _turn(database, readonly, name):
    "Have the threads of the process go one after the other"
    if backend.name == 'sqlite' and not readonly:
        # It has those who wait for another one sleep, longer and longer
        name = ''
    if name is None:
        yield
        return
    turn = _turns[database, hash(name) % TURNS]
    # What takes longer is left to the database
    taken = turn.acquire(timeout=TURN)
    try:
        yield
    finally:
        if taken:
            turn.release()


def _be_durable(transaction):
    """Have SQLite survive a power cut, as a receipt may leave after the
    commit, and read nothing that another one is about to change"""
    if backend.name != 'sqlite':
        return
    connection = transaction.connection
    if not connection.in_transaction:
        cursor = connection.cursor()
        cursor.execute('PRAGMA synchronous = FULL')
        cursor.execute('BEGIN IMMEDIATE')


def hold(record, **values):
    """Return the record as it is now: nobody else changes it until the end
    of the transaction.  The values are written as they are: that is for what
    only counts or dates, and of which nothing else depends.

    Model.lock() would start the transaction again, each time and with all
    that was done in it: here it starts again only when another one has
    really changed the record meanwhile."""
    Model = record.__class__
    transaction = Transaction()
    table = Model.__table__()
    values = values or {'id': record.id}
    transaction.connection.cursor().execute(*table.update(
            [Column(table, name) for name in values], list(values.values()),
            where=table.id == record.id))
    for cache in transaction.cache.values():
        if Model.__name__ in cache:
            cache[Model.__name__].pop(record.id, None)
    return Model(record.id)


class _ForUpdate(For):
    """python-sql has no words for it yet: no key changes, and who writes what
    names the rows is not in the way"""
    skip_locked = False

    def __str__(self):
        return 'FOR NO KEY UPDATE' + (
            ' SKIP LOCKED' if self.skip_locked else '')


def hold_all(Model, ids, names, patient=True):
    """Return by their ids the columns of the rows, as they are now: nobody
    else changes them until the end of the transaction.
    Unless patient, the rows that another one holds are left out."""
    table = Model.__table__()
    query = table.select(
        table.id, *[Column(table, name) for name in names],
        where=table.id.in_(sorted(ids)), order_by=table.id)
    if backend.name != 'sqlite':  # where one transaction writes at a time
        query.for_ = for_ = _ForUpdate('UPDATE')
        for_.skip_locked = not patient
    cursor = Transaction().connection.cursor()
    cursor.execute(*query)
    return {id_: values for id_, *values in cursor}
