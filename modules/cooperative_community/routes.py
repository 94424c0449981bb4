# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
import base64
import time
from collections import defaultdict, deque

import trytond.config as config
from trytond.pool import Pool
from trytond.protocols.wrappers import (
    HTTPStatus, set_max_request_size, with_pool, with_transaction)
from trytond.transaction import Transaction
from trytond.wsgi import app

from cooperative_edi.http import (
    Problem, body, problems, respond, respond_cached)
from cooperative_edi.transaction import transact
from trycoton.protocol import canonical, signature
from trycoton.protocol.directory import RECORD_HEADER

MAX_SIZE = 64 * 1024
MAX_RATE = config.getint('cooperative', 'applications_rate', default=60)

_applications = defaultdict(deque)


@app.route(
    '/<database_name>/cooperative/community/descriptor', methods=['GET'])
@with_pool
@with_transaction()
@problems
def descriptor(request, pool):
    return respond(*_community().descriptor())


@app.route(
    '/<database_name>/cooperative/community/directory', methods=['GET'])
@with_pool
@with_transaction()
@problems
def directory(request, pool):
    Directory = pool.get('cooperative.community.directory')
    last = Directory.last(_community())
    if not last:
        raise Problem.not_found('directory')
    headers = {}
    if last.record:
        headers[RECORD_HEADER] = base64.b64encode(
            last.record).decode('ascii')
    return respond_cached(
        request, bytes(last.data), last.signature, last.etag, headers)


@app.route(
    '/<database_name>/cooperative/community/applications', methods=['POST'])
@set_max_request_size(MAX_SIZE)
@with_pool
@problems
def applications(request, pool):
    _limit(pool.database_name, request.remote_addr)
    known, answer = transact(
        pool.database_name, _receive, body(request),
        request.headers.get(signature.SIGNATURE_HEADER, ''))
    return respond(
        canonical.dump(answer),
        status=HTTPStatus.OK if known else HTTPStatus.CREATED)


def _receive(data, jws):
    pool = Pool()
    Membership = pool.get('cooperative.community.membership')
    membership, known = Membership.receive(data, jws)
    return known, membership.answer


def _community():
    pool = Pool()
    Community = pool.get('cooperative.community')
    communities = Community.search([
            ('role', '=', 'manager'),
            ('charter', '!=', None),
            ], limit=1)
    if not communities:
        raise Problem.not_found('community')
    Transaction().set_context(company=communities[0].company.id)
    return Community(communities[0].id)


def _limit(database, address):
    "Raise Problem if the address applied too often in the last minute"
    times = _applications[database, address]
    now = time.monotonic()
    while times and now - times[0] > 60:
        times.popleft()
    if len(times) >= MAX_RATE:
        raise Problem.overload("Apply again in a minute.")
    times.append(now)
