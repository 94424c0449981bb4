# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
from trytond.pool import Pool
from trytond.protocols.wrappers import (
    HTTPStatus, Response, set_max_request_size, with_pool, with_transaction)
from trytond.wsgi import app

from cooperative_edi.http import Problem, authenticate, problems, respond
from cooperative_edi.transaction import transact
from trycoton.protocol import canonical, signature, tile
from trycoton.protocol.errors import ProtocolError

BASE = '/<database_name>/cooperative/trust'
CUSTODY_MAX = 64 * 1024
DIRECTORY_MAX = 32 * 1024 * 1024
IMMUTABLE = 'public, max-age=31536000, immutable'


@app.route(f'{BASE}/checkpoint', methods=['GET'])
@with_pool
@problems
@with_transaction(readonly=True)
def checkpoint(request, pool):
    Checkpoint = pool.get('cooperative.trust.log.checkpoint')
    checkpoint = Checkpoint.last(_log())
    response = Response(
        checkpoint.note.encode(), content_type='text/plain; charset=utf-8')
    response.headers['Cache-Control'] = 'no-cache'
    response.set_etag(f'{checkpoint.size}')
    return response.make_conditional(request)


@app.route(f'{BASE}/tile/<path:path>', methods=['GET'])
@with_pool
@problems
@with_transaction(readonly=True)
def tiles(request, pool, path):
    Node = pool.get('cooperative.trust.log.node')
    Leaf = pool.get('cooperative.trust.log.leaf')
    try:
        wanted = tile.Tile.parse(f'tile/{path}')
    except ProtocolError as exception:
        raise Problem.not_found(path) from exception
    log = _log()
    if not wanted.exists(log.size):
        raise Problem.not_found(path)
    if wanted.level is None:
        data = tile.pack_entries(
            Leaf.column('entry', log, wanted.start, wanted.width))
    else:
        data = b''.join(
            Node.hashes(log, wanted.level, wanted.start, wanted.width))
    response = Response(data, content_type='application/octet-stream')
    response.headers['Cache-Control'] = IMMUTABLE
    response.set_etag(canonical.digest(data))
    return response.make_conditional(request)


def _log():
    "Return the log published by the database"
    pool = Pool()
    Log = pool.get('cooperative.trust.log')
    for log in Log.search([('vkey', '!=', None)], limit=1):
        return log
    raise Problem.not_found('log')


@app.route(f'{BASE}/records/<uuid>', methods=['GET'])
@with_pool
@problems
def records(request, pool, uuid):
    Leaf = pool.get('cooperative.trust.log.leaf')
    database = pool.database_name
    leaves = transact(database, _leaves, request, uuid)
    answer = {}
    for event, leaf in leaves.items():
        answer[event] = None
        if leaf and Leaf.wait(database, leaf):
            answer[event] = transact(
                database, Leaf.read_record, leaf, readonly=True)
    return respond(canonical.dump(answer))


def _leaves(request, uuid):
    Leaf = Pool().get('cooperative.trust.log.leaf')
    _, peer = authenticate(request)
    leaves = Leaf.find(uuid, peer)
    if not leaves:
        raise Problem.not_found(uuid)
    return {event: leaves[event].id if event in leaves else None
        for event in ['submission', 'delivery']}


@app.route(f'{BASE}/directories', methods=['POST'])
@set_max_request_size(DIRECTORY_MAX)
@with_pool
@problems
def directories(request, pool):
    Leaf = pool.get('cooperative.trust.log.leaf')
    database = pool.database_name
    leaf = transact(
        database, _directory, request.get_data(),
        request.headers.get(signature.SIGNATURE_HEADER, ''))
    if not Leaf.wait(database, leaf):
        return respond(
            canonical.dump({'record': None}), status=HTTPStatus.ACCEPTED)
    proof = transact(database, Leaf.read_proof, leaf, readonly=True)
    return respond(canonical.dump({'record': {'proof': proof}}))


def _directory(data, jws):
    Directory = Pool().get('cooperative.trust.directory')
    return Directory.receive(data, jws).id


@app.route(f'{BASE}/custody', methods=['POST'])
@set_max_request_size(CUSTODY_MAX)
@with_pool
@problems
def custody(request, pool):
    Hold = pool.get('cooperative.trust.hold')
    new = transact(
        pool.database_name, Hold.confirm, request.get_data(),
        request.headers.get(signature.SIGNATURE_HEADER, ''))
    return Response(
        status=HTTPStatus.CREATED if new else HTTPStatus.OK)


@app.route(f'{BASE}/statements', methods=['GET'])
@with_pool
@problems
def statements(request, pool):
    Log = pool.get('cooperative.trust.log')
    database = pool.database_name
    Log.sweep(database)
    return respond(*transact(database, _statement, request))


def _statement(request):
    Statement = Pool().get('cooperative.trust.statement')
    identity, peer = authenticate(request)
    wanted = request.args.get('community', peer.identifier)
    if peer.kind != 'community' or peer.identifier != wanted:
        raise Problem.forbidden(wanted)
    after = request.args.get('after', default=0, type=int)
    if after < 0:
        raise Problem.malformed(f"after={after}")
    return Statement.make(identity, peer, after)
