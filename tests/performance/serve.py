# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""A server that also has a bare route, to compare reception with.

``python -m tests.performance.serve DATABASE PORT FOLDER COUNT`` makes a peer,
writes that many signed messages of it in the folder, and serves."""
import datetime as dt
import sys
import uuid
from decimal import Decimal
from pathlib import Path

from sql import Table

from trycoton.command.sqlite import keep_connections
from trycoton.protocol import signature, ubl
from trycoton.protocol.envelope import Envelope

keep_connections()

from trytond import backend  # noqa: E402
from trytond.pool import Pool  # noqa: E402
from trytond.protocols.wrappers import (  # noqa: E402
    Response, with_pool, with_transaction)
from trytond.transaction import Transaction  # noqa: E402
from trytond.wsgi import app  # noqa: E402
from werkzeug.serving import run_simple  # noqa: E402

from cooperative_edi.tests.tools import Other  # noqa: E402

US, THEM = '0225:833555675', '0225:732829320'
BARE = Table('bare')


@app.route('/<database_name>/bare', methods=['POST'])
@with_pool
@with_transaction()
def bare(request, pool):
    "Store the same bytes in one row"
    cursor = Transaction().connection.cursor()
    cursor.execute(*BARE.insert([BARE.data], [[request.get_data()]]))
    return Response(b'{}', content_type='application/json')


def prepare(database, folder, count):
    "Make a peer with a relation, and messages of it in the folder"
    pool = Pool(database)
    with Transaction().start(
            database, 0, context={'company': 1}) as transaction:
        Identity = pool.get('cooperative.edi.identity')
        Peer = pool.get('cooperative.edi.peer')
        Relation = pool.get('cooperative.edi.relation')
        binary = 'BLOB' if backend.name == 'sqlite' else 'BYTEA'
        transaction.connection.cursor().execute(
            f'CREATE TABLE bare (data {binary})')
        identity, = Identity.create([{'company': 1, 'identifier': US}])
        identity.generate_keys()
        other = Other(THEM)
        relation = Relation(
            company=1, peer=Peer.update_from(1, other.participant()),
            uuid=str(uuid.uuid4()), proposed_by='peer', state='agreed')
        relation.save()
        for number in range(count):
            message = Envelope(
                payload=order(number).to_bytes(),
                **other.header(relation=relation.uuid))
            other.previous = message.digest
            data = message.to_bytes()
            (folder / f'{number:06}.xml').write_bytes(data)
            (folder / f'{number:06}.jws').write_text(
                signature.sign(data, message.typ, other.key))


def order(number):
    "Return an order of 10 kB"
    def party(identifier):
        return ubl.Party(
            identifier=identifier, name=identifier,
            legal_id=f'0002:{identifier[5:]}',
            address=ubl.Address(country='FR'))
    return ubl.Order(
        number=f'P{number}', date=dt.date(2026, 11, 22), currency='EUR',
        buyer=party(THEM), seller=party(US),
        lines=tuple(ubl.OrderLine(
                id=str(i), quantity=Decimal(i), unit='KGM',
                price=Decimal('1.45'), amount=i * Decimal('1.45'),
                item=ubl.Item(name="Pommes", seller_code=f'POM-{i}'))
            for i in range(1, 12)),
        untaxed=66 * Decimal('1.45'), total=66 * Decimal('1.45'))


def main():
    database, port, folder, count = sys.argv[1:]
    Pool.start()
    Pool(database).init()
    prepare(database, Path(folder), int(count))
    run_simple('127.0.0.1', int(port), app, threaded=True)


if __name__ == '__main__':
    main()
