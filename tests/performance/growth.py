# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What a message costs after ten to the same peer, and after many.

``python -m tests.performance.growth DATABASE FOLDER`` measures in the
database of the configuration, and writes its messages in the folder."""
import datetime as dt
import statistics
import subprocess
import sys
import time
import uuid
from pathlib import Path

from cryptography.fernet import Fernet
from trytond import backend
from trytond.model import fields
from trytond.pool import Pool
from trytond.transaction import Transaction

from cooperative_edi import client
from cooperative_edi.transaction import transact
from trycoton.command import template
from trycoton.command.sqlite import keep_connections
from trycoton.protocol import canonical, signature
from trycoton.protocol.receipt import Receipt

from . import postgresql, serve

NAME = 'bench'
SIZES = [10, 1_000, 100_000]
COUNT = 60
BATCH = 1_000


def fill(size):
    "Have as many messages received and sent, as the last of each, in bulk"
    Message = Pool().get('cooperative.edi.message')
    table = Message.__table__()
    cursor = Transaction().connection.cursor()
    for direction, state in [('in', 'processed'), ('out', 'sent')]:
        message, = Message.search(
            [('direction', '=', direction)], order=[('id', 'DESC')], limit=1)
        names = [n for n, f in Message._fields.items()
            if n != 'id' and f.sql_type()
            and not isinstance(f, fields.Function)]
        cursor.execute(*table.select(
                *[getattr(table, n) for n in names],
                where=table.id == message.id))
        row = dict(zip(names, cursor.fetchone()))
        # The width of what is not looked at does not matter
        row.update(state=state, next_attempt=None, data=b'-', payload=None)
        missing = size - Message.search(
            [('direction', '=', direction)], count=True)
        for start in range(0, missing, BATCH):
            rows = [{
                    **row, 'uuid': str(uuid.uuid4()),
                    'document_number': f'{direction}{start + i}',
                    } for i in range(min(BATCH, missing - start))]
            for part in [rows[i:i + 20] for i in range(0, len(rows), 20)]:
                cursor.execute(*table.insert(
                        [getattr(table, n) for n in names],
                        [[r[n] for n in names] for r in part]))


def analyse():
    "Have PostgreSQL know its tables, as it does by itself after a while"
    if backend.name != 'postgresql':
        return
    with Transaction().start(NAME, 0, autocommit=True) as transaction:
        transaction.connection.cursor().execute('ANALYZE')


def receive(data, jws):
    Message = Pool().get('cooperative.edi.message')
    message, known = Message.receive(data, jws)
    assert not known
    return message.answer


def write(number):
    pool = Pool()
    Message = pool.get('cooperative.edi.message')
    Relation = pool.get('cooperative.edi.relation')
    relation, = Relation.search([])
    with Transaction().set_context(company=relation.company.id):
        message = Message.send(
            relation, serve.order(number, serve.US, serve.THEM))
    Transaction().tasks.clear()
    return message.id, message.uuid, message.digest


def send(number, key):
    "Write an order, and take it through the steps of the courier"
    Message = Pool(NAME).get('cooperative.edi.message')
    id_, message, digest = transact(NAME, write, number)
    data = Receipt(
        message=message, digest=digest, receiver=serve.THEM,
        time=dt.datetime.now(dt.timezone.utc)).to_bytes()
    answer = canonical.dump({
            'receipt': data.decode(),
            'signature': signature.sign(data, signature.RECEIPT, key),
            })
    (found, _), = transact(NAME, Message.to_send, readonly=True)
    assert found == id_
    transact(NAME, Message.claim, id_)
    transact(NAME, Message.posted, id_, client.Response(201, {}, answer))
    transact(NAME, Message.next_due, readonly=True)


def timed(function, *args):
    # SQLite works in the process, whatever the others of the machine do
    clock = (time.process_time if backend.name == 'sqlite'
        else time.perf_counter)
    started = clock()
    function(*args)
    return clock() - started


def forget():
    "Import nothing of what came: only its reception is measured"
    Message = Pool().get('cooperative.edi.message')
    Message.write(
        Message.search([('state', '=', 'received')]), {'state': 'processed'})


def run(folder):
    key = serve.prepare(NAME, folder, COUNT * len(SIZES) + 9)
    messages = iter(sorted(folder.glob('*.xml')))

    def next_():
        path = next(messages)
        return path.read_bytes(), path.with_suffix('.jws').read_text()
    for number in range(9):
        transact(NAME, receive, *next_())
        send(number, key)
    times = {'receiving': [], 'sending': []}
    for size in SIZES:
        transact(NAME, forget)
        transact(NAME, fill, size)
        analyse()
        received, sent = [], []
        for number in range(COUNT):
            received.append(timed(transact, NAME, receive, *next_()))
            sent.append(timed(send, size + number, key))
        times['receiving'].append(statistics.median(received))
        times['sending'].append(statistics.median(sent))
    for name, (first, *others) in times.items():
        print(f"{name} after {SIZES[0]}, {backend.name}: "
            f"{first * 1000:.1f} ms; " + ', '.join(
                f"after {size}: {time / first:.2f} times"
                for size, time in zip(SIZES[1:], others)), flush=True)


def measure(uri, path):
    subprocess.run(
        [sys.executable, '-m', 'tests.performance.growth', str(path)],
        env=template.environment(
            TRYTOND_DATABASE_URI=uri, TRYTOND_DATABASE__PATH=str(path),
            TRYTOND_COOPERATIVE__KEY=Fernet.generate_key().decode(),
            TRYTOND_COOPERATIVE__COURIER='False'), check=True)


def main():
    for _, uri, path in postgresql.databases(NAME):
        measure(uri, path)


if __name__ == '__main__':
    if len(sys.argv) == 1:
        main()
    else:
        folder = Path(sys.argv[1], 'messages')
        folder.mkdir()
        keep_connections()
        Pool.start()
        Pool.register(serve.Bare, module='cooperative_edi', type_='model')
        Pool(NAME).init()
        run(folder)
