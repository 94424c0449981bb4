# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
from uuid import UUID

from trytond.pool import Pool
from trytond.protocols.wrappers import (
    HTTPStatus, Response, set_max_request_size, with_pool, with_transaction)
from trytond.wsgi import app

from trycoton.protocol import canonical, openapi, signature, witness
from trycoton.protocol.envelope import MAX_SIZE

from . import courier, reception
from .http import (
    Problem, authenticate, body, problems, respond, respond_cached)
from .message import PAGE, PAGE_MAX
from .rate import Limit
from .transaction import transact


@app.route('/<database_name>/cooperative/openapi.json', methods=['GET'])
@with_pool
@problems
@with_transaction(readonly=True)
def description(request, pool):
    Module = pool.get('ir.module')
    modules = {m.name for m in Module.search([('state', '=', 'activated')])}
    data = canonical.dump(openapi.description(
            modules, f'/{pool.database_name}/cooperative'))
    return respond_cached(request, data, None, canonical.digest(data))


@app.route('/<database_name>/cooperative/edi/messages', methods=['POST'])
@set_max_request_size(MAX_SIZE)
@with_pool
@problems
def messages(request, pool):
    Message = pool.get('cooperative.edi.message')
    database = pool.database_name
    jws = request.headers.get(signature.SIGNATURE_HEADER, '')
    Message.screen(database, jws)
    arrival = reception.receive(database, body(request), jws)
    courier.wake(database)
    if 'promise' in arrival.answer:
        status = HTTPStatus.ACCEPTED
    else:
        status = HTTPStatus.OK if arrival.known else HTTPStatus.CREATED
    return respond(
        canonical.dump(arrival.answer), status=status,
        headers=arrival.headers)


@app.route('/<database_name>/cooperative/edi/descriptor', methods=['GET'])
@with_pool
@problems
@with_transaction()
def descriptor(request, pool):
    Identity = pool.get('cooperative.edi.identity')
    for identity in Identity.search([('keys', '!=', None)], limit=1):
        return respond(*identity.descriptor())
    raise Problem.not_found('descriptor')


@app.route('/<database_name>/cooperative/edi/mailbox', methods=['GET'])
@with_pool
@problems
@with_transaction()
def mailbox(request, pool):
    Message = pool.get('cooperative.edi.message')
    _, peer = authenticate(request)
    limit = request.args.get('limit', default=PAGE, type=int)
    after = request.args.get('after', type=UUID)
    messages = Message.mailbox(
        peer, str(after or ''), max(1, min(limit, PAGE_MAX)))
    return respond(canonical.dump({'messages': [m.uuid for m in messages]}))


@app.route(
    '/<database_name>/cooperative/edi/mailbox/<uuid>', methods=['GET'])
@with_pool
@problems
def mailbox_message(request, pool, uuid):
    data, jws, media_type = transact(
        pool.database_name, _fetch, request, uuid)
    return respond(data, jws, content_type=media_type)


def _fetch(request, uuid):
    pool = Pool()
    Message = pool.get('cooperative.edi.message')
    _, peer = authenticate(request)
    message = Message.fetch(peer, uuid)
    return bytes(message.data), message.signature, message.media_type


@app.route(
    '/<database_name>/cooperative/edi/mailbox/<uuid>/receipt',
    methods=['POST'])
@set_max_request_size(64 * 1024)
@with_pool
@problems
def mailbox_receipt(request, pool, uuid):
    database = pool.database_name
    transact(database, _fetched, request, uuid)
    courier.wake(database)
    return Response(status=HTTPStatus.NO_CONTENT)


def _fetched(request, uuid):
    pool = Pool()
    Message = pool.get('cooperative.edi.message')
    _, peer = authenticate(request)
    Message.fetched(peer, uuid, body(request))


_witness_rate = Limit('witness_rate', default=120)


@app.route(
    '/<database_name>/cooperative/witness/add-checkpoint', methods=['POST'])
@set_max_request_size(witness.MAX_SIZE)
@with_pool
@problems
def add_checkpoint(request, pool):
    Witness = pool.get('cooperative.edi.witness')
    database = pool.database_name
    _witness_rate.check(database, request.remote_addr)
    status, answer = Witness.answer(database, body(request))
    return Response(answer, status=status, content_type=(
            witness.SIZE_TYPE if status == HTTPStatus.CONFLICT
            else 'text/plain; charset=utf-8'))
