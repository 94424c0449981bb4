# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Connections to SQLite are kept, in a process of its own: the backend of
trytond is chosen when it is first imported."""
import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from trycoton.command.template import ROOT, environment

SCRIPT = '''
import json, os, sqlite3, sys, threading, time
from trycoton.command.sqlite import keep_connections
keep_connections()
from trytond import backend
import trytond.config as config

folder = sys.argv[1]
config.set('database', 'path', folder)
path = os.path.join(folder, 'test.sqlite')


def make(value):
    connection = sqlite3.connect(path)
    connection.execute('CREATE TABLE test (value INTEGER)')
    connection.execute('INSERT INTO test VALUES (?)', [value])
    connection.commit()
    connection.close()


def use(function=lambda connection: None, **options):
    database = backend.Database('test').connect()
    connection = database.get_connection(**options)
    try:
        function(connection)
        return id(connection), connection
    finally:
        database.put_connection(connection)


def read(connection=None):
    values = []
    use(lambda c: values.extend(
            c.execute('SELECT value FROM test').fetchall()))
    return [v for v, in values]


result = {}
make(1)
_, first = use()
_, second = use()
result['kept'] = first is second

# A transaction lends its connection to what it calls
database = backend.Database('test').connect()
connection = database.get_connection()
database.put_connection(database.get_connection())
other = backend.Database('test').connect()
result['lent'] = other.get_connection() is not connection
other.put_connection(other.get_connection())
database.put_connection(connection)

# What was not committed is forgotten
use(lambda c: c.execute('UPDATE test SET value = 5'))
result['forgotten'] = read()
use(lambda c: c.execute('PRAGMA synchronous = FULL'))
levels = []
use(lambda c: levels.append(
        c.execute('PRAGMA synchronous').fetchone()[0]))
result['synchronous'] = levels

# At the same time, each its own
barrier = threading.Barrier(20)
seen, errors = [], []


def at_once():
    def work(connection):
        barrier.wait()
        seen.append(id(connection))
        barrier.wait()
    try:
        use(work)
    except Exception as exception:
        errors.append(repr(exception))


threads = [threading.Thread(target=at_once) for _ in range(20)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join(30)
result['at once'] = len(set(seen)), errors

# The one who writes takes their time
writing = threading.Event()


def write_slowly(connection):
    connection.execute('UPDATE test SET value = 6')
    writing.set()
    time.sleep(6)


thread = threading.Thread(target=use, args=[write_slowly])
thread.start()
writing.wait(30)
started = time.monotonic()
try:
    use(lambda c: c.execute('UPDATE test SET value = 7'))
    result['patient'] = time.monotonic() - started
except sqlite3.OperationalError as exception:
    result['patient'] = str(exception)
thread.join()

# Another file in its place
os.rename(path, path + '.old')
make(2)
result['replaced'] = read()
print(json.dumps(result))
'''


class SQLiteTestCase(unittest.TestCase):

    def test_keep_connections(self):
        "Test connections are kept, lent, cleaned, wait, follow their file"
        with tempfile.TemporaryDirectory() as folder:
            process = subprocess.run(
                [sys.executable, '-c', SCRIPT, folder],
                capture_output=True, text=True, timeout=120, cwd=ROOT,
                env=environment(TRYTOND_DATABASE_URI='sqlite://'))
            self.assertEqual(process.returncode, 0, process.stderr)
            result = json.loads(process.stdout)
            # The last one to close takes the log of changes away
            self.assertEqual(
                [p.name for p in Path(folder).glob('test.sqlite-*')], [])
        self.assertTrue(result['kept'])
        self.assertTrue(result['lent'])
        self.assertEqual(result['forgotten'], [1])
        self.assertEqual(result['synchronous'], [1])
        self.assertEqual(result['at once'], [20, []])
        self.assertIsInstance(result['patient'], float, result['patient'])
        self.assertGreater(result['patient'], 5)
        self.assertEqual(result['replaced'], [2])
