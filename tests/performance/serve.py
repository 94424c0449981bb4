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

from trytond.model import ModelSQL, fields
from trytond.pool import Pool
from trytond.protocols.wrappers import Response, with_pool, with_transaction
from trytond.transaction import Transaction
from trytond.wsgi import app
from werkzeug.serving import run_simple

from trycoton.command.server import take_short_turns
from trycoton.command.sqlite import keep_connections
from trycoton.protocol import signature, ubl
from trycoton.protocol.directory import Legal, Participant, PublishedKey
from trycoton.protocol.envelope import Envelope

US, THEM = '0225:833555675', '0225:732829320'


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


def prepare(database, folder, count):
    """Make a peer with a relation, and messages of it in the folder.
    Return its key."""
    pool = Pool(database)
    now = dt.datetime.now(dt.timezone.utc).replace(microsecond=0)
    key = signature.SigningKey.generate()
    with Transaction().start(database, 0):
        Company = pool.get('company.company')
        Identity = pool.get('cooperative.edi.identity')
        Peer = pool.get('cooperative.edi.peer')
        Relation = pool.get('cooperative.edi.relation')
        pool.get('bare').__register__('cooperative_edi')
        company, = Company.search([])
        identity, = Identity.create([{
                    'company': company.id, 'identifier': US}])
        identity.generate_keys()
        peer = Peer.update_from(company.id, Participant(
                identifier=THEM, name="Them", kind='participant', direct=True,
                endpoint='http://127.0.0.1:9/them/cooperative',
                keys=(PublishedKey(key=key.public, valid_from=now),),
                legal=Legal(country='FR')))
        relation = Relation(
            company=company, peer=peer, uuid=str(uuid.uuid4()),
            proposed_by='peer', state='agreed')
        relation.save()
        relation = relation.uuid
    previous = None
    for number in range(1, count + 1):
        message = Envelope(
            sender=THEM, receiver=US, id=str(uuid.uuid4()), created=now,
            sequence=number, previous=previous, relation=relation,
            payload=order(number).to_bytes())
        previous, data = message.digest, message.to_bytes()
        (folder / f'{number:06}.xml').write_bytes(data)
        (folder / f'{number:06}.jws').write_text(
            signature.sign(data, message.typ, key))
    return key


def order(number, buyer=THEM, seller=US):
    "Return an order of 10 kB"
    def party(identifier):
        return ubl.Party(
            identifier=identifier, name=identifier,
            legal_id=f'0002:{identifier[5:]}',
            address=ubl.Address(country='FR'))
    return ubl.Order(
        number=f'P{number}', date=dt.date(2026, 11, 22), currency='EUR',
        buyer=party(buyer), seller=party(seller),
        lines=tuple(ubl.OrderLine(
                id=str(i), quantity=Decimal(i), unit='KGM',
                price=Decimal('1.45'), amount=i * Decimal('1.45'),
                item=ubl.Item(name="Pommes", seller_code=f'POM-{i}'))
            for i in range(1, 19)),
        untaxed=171 * Decimal('1.45'), total=171 * Decimal('1.45'))


def main():
    database, port, folder, count = sys.argv[1:]
    take_short_turns()
    keep_connections()
    Pool.start()
    Pool.register(Bare, module='cooperative_edi', type_='model')
    Pool(database).init()
    prepare(database, Path(folder), int(count))
    run_simple('127.0.0.1', int(port), app, threaded=True)


if __name__ == '__main__':
    main()
