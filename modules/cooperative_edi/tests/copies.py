# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"Copies of databases"
import contextlib
import os
import sqlite3

import trytond.config as config
from trytond import backend


def copy(source, target):
    "Have the database of the name target be what source is"
    {'sqlite': _copy_file, 'postgresql': _copy_template}[backend.name](
        source, target)
    backend.Database.clear_cache()


def _copy_file(source, target):
    path = os.path.join(config.get('database', 'path'), f'{target}.sqlite')
    with contextlib.closing(sqlite3.connect(path)) as connection:
        with _connection(source) as origin:
            origin.backup(connection)


def _copy_template(source, target):
    from psycopg.sql import SQL, Identifier

    # Neither may be in use, nor be connected to in the background
    config.set('database', 'minconn', '0')
    for name in [source, target]:
        backend.Database(name).close()
    with _connection('postgres', autocommit=True) as connection:
        connection.execute(
            SQL("DROP DATABASE IF EXISTS {}").format(Identifier(target)))
        backend.Database.create(connection, target, template=source)


@contextlib.contextmanager
def _connection(name, **options):
    database = backend.Database(name).connect()
    connection = database.get_connection(**options)
    try:
        yield connection
    finally:
        database.put_connection(connection)
