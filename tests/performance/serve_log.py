# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What the measures of the log do in the database of the trust party.

``python -m tests.performance.serve_log DATABASE ACTION [ARGUMENT]``"""
import hashlib
import json
import random
import statistics
import sys
import time

from sql.aggregate import Count
from trytond.model import ModelSQL, fields
from trytond.pool import Pool
from trytond.protocols.wrappers import Response, with_pool, with_transaction
from trytond.transaction import Transaction
from trytond.wsgi import app
from werkzeug.serving import run_simple

from cooperative_trust.log import STEP
from tests.faults import log_party
from trycoton.command.server import take_short_turns
from trycoton.protocol import merkle
from trycoton.protocol.proof import Proof

PROOFS = 50
TABLES = [
    'cooperative.trust.log.leaf', 'cooperative.trust.log.node',
    'cooperative.trust.log.checkpoint']


class Bare(ModelSQL):
    "The same bytes in one row"
    __name__ = 'bare'
    data = fields.Binary("Data", required=True)


@app.route('/<database_name>/bare', methods=['POST'])
@with_pool
@with_transaction()
def bare(request, pool):
    pool.get('bare').create([{'data': request.get_data()}])
    return Response(b'{}', content_type='application/json')


def open_(database):
    print(log_party.open_log(database, *json.load(sys.stdin)))
    with Transaction().start(database, 0) as transaction:
        Pool().get('bare').__register__('cooperative_trust')
        transaction.commit()


def serve(database, port):
    run_simple('127.0.0.1', int(port), app, threaded=True)


def count(database):
    """Print how many of the messages are not in the log, once what waits is
    integrated, and how many are there more than once"""
    ids = json.load(sys.stdin)
    Pool(database).get('cooperative.trust.log').sweep(database)
    with Transaction().start(database, 0, readonly=True) as transaction:
        pool = Pool()
        leaf = pool.get('cooperative.trust.log.leaf').__table__()
        message = pool.get('cooperative.edi.message').__table__()
        cursor = transaction.connection.cursor()
        cursor.execute(*leaf.join(message,
                condition=leaf.message == message.id).select(
                message.uuid, Count(leaf.id),
                where=(leaf.index >= 0) & (leaf.event == 'submission'),
                group_by=message.uuid))
        found = dict(cursor.fetchall())
    print(json.dumps([
                sum(i not in found for i in ids),
                sum(found.get(i, 1) - 1 for i in ids)]))


def size(database):
    "Print how many entries the log has"
    with Transaction().start(database, 0, readonly=True):
        log, = Pool().get('cooperative.trust.log').search([])
        print(log.size)


def fill(database, size):
    "Have the log grow to the size, by what PostgreSQL loads fastest"
    size = int(size)
    with Transaction().start(database, 0) as transaction:
        pool = Pool()
        Log = pool.get('cooperative.trust.log')
        Checkpoint = pool.get('cooperative.trust.log.checkpoint')
        log, = Log.search([])
        head = log.head
        frontier, nodes = head.frontier, []
        cursor = transaction.connection.cursor()
        # The columns of the evidence as they are filled
        digest, nonce = '0' * 64, bytes(32)
        with cursor.copy(
                'COPY cooperative_trust_log_leaf (log, "index", event, time, '
                'entry, hash, nonce, digest, previous, sender, recipient) '
                'FROM STDIN') as copy:
            for index in range(head.size, size):
                entry = b'\1' + hashlib.sha256(b'%d' % index).digest()
                hash_ = merkle.leaf_hash(entry)
                copy.write_row((
                        log.id, index, 'restored', '2026-11-22 10:00:00',
                        entry, hash_, nonce, digest, digest,
                        '0225:732829320_1', '0225:732829320_2'))
                for level, number, node in frontier.append(hash_):
                    if level and not level % STEP:
                        nodes.append((log.id, level, number, node))
        with cursor.copy(
                'COPY cooperative_trust_log_node (log, level, number, hash) '
                'FROM STDIN') as copy:
            for node in nodes:
                copy.write_row(node)
        head.move(frontier)
        Checkpoint.sign(log, frontier)
        transaction.commit()
    with Transaction().start(database, 0, autocommit=True) as transaction:
        transaction.connection.cursor().execute('VACUUM ANALYZE')


class Queries:
    "Count the queries of a connection"

    def __init__(self, connection):
        self.connection = connection
        self.count = 0

    def __enter__(self):
        cursor_factory = self.connection.cursor_factory
        counter = self

        class Cursor(cursor_factory):
            def execute(self, *args, **kwargs):
                counter.count += 1
                return super().execute(*args, **kwargs)
        self.before = cursor_factory
        self.connection.cursor_factory = Cursor
        return self

    def __exit__(self, *_):
        self.connection.cursor_factory = self.before


def measure(database, size):
    "Print the figures of the log"
    size = int(size)
    random.seed(size)
    pool = Pool(database)
    Leaf = pool.get('cooperative.trust.log.leaf')
    Log = pool.get('cooperative.trust.log')
    Checkpoint = pool.get('cooperative.trust.log.checkpoint')

    def start():
        log, = Log.search([])
        return log.size, log.pending, Checkpoint.last(log).size, log.halt

    def ids(indexes):
        return {l.index: l.id for l in Leaf.search(
                [('index', 'in', indexes)])}

    def prove(id_):
        with Transaction().start(database, 0, readonly=True) as transaction:
            with Queries(transaction.connection) as queries:
                started = time.perf_counter()
                proof = Leaf.read_proof(id_)
                elapsed = time.perf_counter() - started
        with Transaction().start(database, 0, readonly=True):
            leaf = Leaf(id_)
            Proof.parse(proof.encode()).verify(
                bytes(leaf.entry), [leaf.log.verifier])
        return elapsed, queries.count
    with Transaction().start(database, 0, readonly=True) as transaction:
        with Queries(transaction.connection) as start_queries:
            started = time.perf_counter()
            assert start()[0] == size
            elapsed = time.perf_counter() - started
    wanted = sorted(random.sample(range(size), PROOFS))
    with Transaction().start(database, 0, readonly=True):
        chosen = ids(wanted)
    # The code is warm, the leaves and the tiles are not
    with Transaction().start(database, 0, readonly=True):
        first = ids([wanted[0]])[wanted[0]]
    prove(first)
    cold = [prove(chosen[i]) for i in wanted[1:]]
    warm = [prove(chosen[i])[0] for i in wanted[1:]]
    with Transaction().start(database, 0, readonly=True) as transaction:
        cursor = transaction.connection.cursor()
        tables, indexes = 0, 0
        for name in TABLES:
            cursor.execute(
                'SELECT pg_table_size(%s), pg_indexes_size(%s)',
                [Pool().get(name)._table] * 2)
            table, index = cursor.fetchone()
            tables, indexes = tables + table, indexes + index
        cursor.execute(
            'SELECT sum(length(entry) + length(hash)) FROM '
            'cooperative_trust_log_leaf WHERE "index" >= 0')
        leaf_bytes, = cursor.fetchone()
        cursor.execute(
            'SELECT coalesce(sum(length(hash)), 0) FROM '
            'cooperative_trust_log_node')
        node_bytes, = cursor.fetchone()
    print(json.dumps({
                'cold': statistics.median(t for t, _ in cold),
                'worst': max(t for t, _ in cold),
                'warm': statistics.median(warm),
                'queries': max(q for _, q in cold),
                'start': elapsed,
                'start_queries': start_queries.count,
                'payload': float(leaf_bytes + node_bytes) / size,
                'table': tables / size,
                'index': indexes / size,
                }))


ACTIONS = {
    'open': open_, 'serve': serve, 'count': count, 'size': size,
    'fill': fill, 'measure': measure}


def main():
    database, action, *arguments = sys.argv[1:]
    take_short_turns()
    Pool.start()
    Pool.register(Bare, module='cooperative_trust', type_='model')
    Pool(database).init()
    ACTIONS[action](database, *arguments)


if __name__ == '__main__':
    main()
