# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
import re

from trytond.pool import Pool
from trytond.protocols.wrappers import (
    HTTPStatus, Response, set_max_request_size, with_pool, with_transaction)
from trytond.wsgi import app

from cooperative_edi.http import Problem, authenticate, body, problems, respond
from cooperative_edi.transaction import transact
from trycoton.protocol import canonical, entry, signature, tile
from trycoton.protocol.errors import ProtocolError

from .public import HEADERS

BASE = '/<database_name>/cooperative/trust'
CUSTODY_MAX = 64 * 1024
DIRECTORY_MAX = 32 * 1024 * 1024
DAY = 24 * 60 * 60
IMMUTABLE = f'public, max-age={365 * DAY}, immutable'
# The full tile takes the place of a partial one
PARTIAL = f'public, max-age={DAY}, immutable'


@app.route(f'{BASE}/', methods=['GET'])
@with_pool
@problems
@with_transaction(readonly=True)
def public(request, pool):
    log = _log()
    language = log.public_language(request.accept_languages)
    kind = request.accept_mimetypes.best_match(
        ['text/html', 'application/json'], default='text/html')
    if kind == 'text/html':
        data = log.public_page(language)
        kind = 'text/html; charset=utf-8'
    else:
        data = canonical.dump(log.public_values(language))
    response = Response(data, content_type=kind)
    response.headers.update(HEADERS)
    response.headers['Content-Language'] = language
    response.set_etag(canonical.digest(data))
    return response.make_conditional(request)


@app.route(f'{BASE}/checkpoint', methods=['GET'])
@with_pool
@problems
@with_transaction(readonly=True)
def checkpoint(request, pool):
    Checkpoint = pool.get('cooperative.trust.log.checkpoint')
    return _note(request, Checkpoint.shown(_log()).cosigned, 'no-cache')


@app.route(f'{BASE}/witnessed', methods=['GET'])
@with_pool
@problems
@with_transaction(readonly=True)
def witnessed(request, pool):
    Quorum = pool.get('cooperative.trust.quorum')
    checkpoint = Quorum.last(_log())
    if not checkpoint:
        raise Problem.not_found('witnessed')
    return _note(request, checkpoint.cosigned, 'no-cache')


@app.route(f'{BASE}/predecessor', methods=['GET'])
@with_pool
@problems
@with_transaction(readonly=True)
def predecessor(request, pool):
    log = _log()
    if not log.predecessor:
        return Problem.not_found('predecessor').response()
    return _note(
        request, log.predecessor_note.encode(), f'public, max-age={DAY}')


def _note(request, data, cache):
    response = Response(data, content_type='text/plain; charset=utf-8')
    response.headers['Cache-Control'] = cache
    response.set_etag(canonical.digest(data))
    return response.make_conditional(request)


@app.route(f'{BASE}/tile/<path:path>', methods=['GET'])
@with_pool
@problems
@with_transaction(readonly=True)
def tiles(request, pool, path):
    log = _log()
    try:
        wanted = tile.Tile.parse(f'tile/{path}')
    except ProtocolError:
        wanted = None
    if not wanted or not wanted.exists(log.size):
        # Not counted as a refusal: who only reads has nothing written
        return Problem.not_found(path).response()
    data = log.read_tile(wanted)
    response = Response(data, content_type='application/octet-stream')
    response.headers['Cache-Control'] = (
        IMMUTABLE if wanted.width == tile.WIDTH else PARTIAL)
    response.set_etag(canonical.digest(data))
    return response.make_conditional(request)


def _log():
    "Return the log published by the database"
    pool = Pool()
    Log = pool.get('cooperative.trust.log')
    for log in Log.search(
            [('vkey', '!=', None)],
            order=[('closed', 'ASC NULLS FIRST'), ('id', 'ASC')], limit=1):
        return log
    raise Problem.not_found('log')


@app.route(f'{BASE}/records/<uuid>', methods=['GET'])
@with_pool
@problems
def records(request, pool, uuid):
    Leaf = pool.get('cooperative.trust.log.leaf')
    database = pool.database_name
    leaves = transact(database, _leaves, request, uuid)
    records = Leaf.records(database, list(filter(None, leaves.values())))
    return respond(canonical.dump(
            {event: records.get(leaf) for event, leaf in leaves.items()}))


def _leaves(request, uuid):
    Leaf = Pool().get('cooperative.trust.log.leaf')
    _, peer = authenticate(request)
    leaves = Leaf.find(uuid, peer)
    if not leaves:
        raise Problem.not_found(uuid)
    return {event: leaves[event].id if event in leaves else None
        for event in entry.EVENTS}


@app.route(f'{BASE}/entries', methods=['GET'])
@with_pool
@problems
@with_transaction()
def entries(request, pool):
    Leaf = pool.get('cooperative.trust.log.leaf')
    _, peer = authenticate(request)
    return respond(canonical.dump(Leaf.listed(peer, _after(request))))


@app.route(f'{BASE}/held', methods=['GET'])
@with_pool
@problems
@with_transaction()
def held(request, pool):
    Held = pool.get('cooperative.trust.held')
    _, peer = authenticate(request)
    return respond(canonical.dump(Held.page(peer, _after(request))))


def _after(request):
    "Return where the page that is asked for starts"
    value = request.args.get('after', '0')
    if not re.fullmatch('[0-9]{1,9}', value):
        raise Problem.malformed(f"after={value}")
    return int(value)


@app.route(f'{BASE}/directories', methods=['POST'])
@set_max_request_size(DIRECTORY_MAX)
@with_pool
@problems
def directories(request, pool):
    Leaf = pool.get('cooperative.trust.log.leaf')
    database = pool.database_name
    leaf = transact(
        database, _directory, body(request),
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
    transact(database, _check_open, readonly=True)
    return respond(*transact(database, _statement, request))


def _check_open():
    log = _log()
    if log.known_halt:
        raise Problem(log.known_halt.name, "The log signs nothing at present.")


def _statement(request):
    Statement = Pool().get('cooperative.trust.statement')
    identity, peer = authenticate(request)
    wanted = request.args.get('community', peer.identifier)
    if peer.kind != 'community' or peer.identifier != wanted:
        raise Problem.forbidden(wanted)
    return Statement.make(identity, peer, _after(request))
