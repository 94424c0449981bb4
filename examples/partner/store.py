# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"What the partner keeps, in a file of SQLite: messages, peers, deals"
import json
import sqlite3
import threading
from contextlib import contextmanager

SCHEMA = """
CREATE TABLE IF NOT EXISTS message (
    number INTEGER PRIMARY KEY, direction TEXT, peer TEXT, id TEXT,
    sequence INTEGER, digest TEXT, data BLOB, signature TEXT, hop TEXT,
    receipt TEXT, receipt_signature TEXT, records TEXT DEFAULT '{}',
    state TEXT, error TEXT, UNIQUE (direction, peer, id));
CREATE TABLE IF NOT EXISTS thing (
    kind TEXT, name TEXT, value TEXT, PRIMARY KEY (kind, name));
"""


class Store:
    def __init__(self, path):
        self._database = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False)
        self._database.row_factory = sqlite3.Row
        self._database.executescript(
            'PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;' + SCHEMA)
        self._lock = threading.RLock()

    @contextmanager
    def transaction(self):
        "What a receipt says leaves after the commit"
        with self._lock:
            if self._database.in_transaction:
                yield
                return
            self._database.execute('BEGIN IMMEDIATE')
            try:
                yield
            except BaseException:
                self._database.execute('ROLLBACK')
                raise
            self._database.execute('COMMIT')

    def _execute(self, query, *values):
        with self._lock:
            return self._database.execute(query, values).fetchall()

    def add(self, **values):
        names = ', '.join(values)
        marks = ', '.join('?' * len(values))
        self._execute(
            f'INSERT INTO message ({names}) VALUES ({marks})',
            *values.values())

    def change(self, message, **values):
        names = ', '.join(f'{name} = ?' for name in values)
        self._execute(
            f'UPDATE message SET {names} WHERE number = ?',
            *values.values(), message['number'])

    def messages(self, **where):
        "Return the messages in order"
        clause = ' AND '.join(f'{name} = ?' for name in where) or '1'
        return self._execute(
            f'SELECT * FROM message WHERE {clause} ORDER BY number',
            *where.values())

    def put(self, kind, name, value):
        self._execute('INSERT OR REPLACE INTO thing VALUES (?, ?, ?)',
            kind, name, json.dumps(value))

    def get(self, kind, name):
        for row in self._execute(
                'SELECT value FROM thing WHERE kind = ? AND name = ?',
                kind, name):
            return json.loads(row['value'])

    def all(self, kind):
        return {
            row['name']: json.loads(row['value']) for row in self._execute(
                'SELECT * FROM thing WHERE kind = ? ORDER BY name', kind)}
