# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""SQLite connections that are kept between the transactions, and patient.

Tryton opens one for each transaction, of which a click makes three, and each
reads the schema again: some 3 ms for the 280 tables of an actor.

One at a time writes in a file.  Tryton gives up after five seconds, and tells
a person who logs in meanwhile that there is no such database.
"""
import atexit
import os
import threading
from collections import defaultdict

from trytond.backend.sqlite import database as sqlite

MOST = 8
# The seconds to wait for the one who writes
PATIENCE = 60


class _Connection(sqlite.SQLiteConnection):

    def __init__(self, *args, **kwargs):
        # One thread at a time uses it, but not always the same
        super().__init__(
            *args, check_same_thread=False, timeout=PATIENCE, **kwargs)


class _Connections:
    "The connections that nobody uses, by file"

    def __init__(self):
        self._lock = threading.Lock()
        self._free = defaultdict(list)

    def take(self, file):
        "Return a connection to the file, None if there is none"
        with self._lock:
            if self._free[file]:
                return self._free[file].pop()

    def give(self, file, connection):
        "Keep the connection for the next one, unless there are enough"
        with self._lock:
            if len(self._free[file]) < MOST:
                self._free[file].append(connection)
                return
        connection.close()

    def close(self):
        with self._lock:
            for connections in self._free.values():
                while connections:
                    connections.pop().close()


_connections = _Connections()


class _Database(sqlite.Database):
    _users = 0

    def connect(self):
        if self._conn is None and self.name != ':memory:':
            self._file = self._identify()
            self._conn = _connections.take(self._file)
        return super().connect()

    def _identify(self):
        # Another file may take the place of a dropped or restored one
        try:
            status = os.stat(os.path.join(
                    sqlite.config.get('database', 'path'),
                    f'{self.name}.sqlite'))
        except OSError:
            return None
        return self.name, status.st_dev, status.st_ino

    def get_connection(self, *args, **kwargs):
        connection = super().get_connection(*args, **kwargs)
        # A transaction lends its own one to what it calls
        self._users += 1
        return connection

    def put_connection(self, connection=None):
        super().put_connection(connection)
        self._users -= 1
        if self.name != ':memory:' and connection and not self._users:
            self._conn = None
            connection.rollback()
            # As it was when it was new
            connection.execute('PRAGMA synchronous = NORMAL')
            _connections.give(self._file, connection)


def keep_connections():
    "Have the transactions of this process share their connections"
    from trytond import backend
    if backend.name == 'sqlite':
        sqlite.SQLiteConnection = _Connection
        backend.Database = sqlite.Database = _Database
        atexit.register(_connections.close)
