# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What the routes share: problems (RFC 9457), bytes, pull tokens"""
import datetime as dt
import logging
from functools import wraps
from math import ceil
from urllib.parse import urlsplit

import trytond.config as config
from trytond import backend
from trytond.exceptions import UserError, UserWarning
from trytond.pool import Pool
from trytond.protocols.wrappers import HTTPStatus, Response
from trytond.transaction import Transaction, TransactionError
from werkzeug.exceptions import HTTPException

from trycoton.protocol import canonical, problem, signature, token
from trycoton.protocol.errors import ProtocolError
from trycoton.protocol.evidence import SKEW

from .identity import now
from .transaction import transact

logger = logging.getLogger(__name__)

DETAIL_MAX = 500
TEXT_MAX = 1000

# When who is refused for now may try again, in seconds
RETRY = config.getint('cooperative', 'retry_min', default=60)


def printable(*texts, size=TEXT_MAX):
    """Return what others said in one line, with a mark for what has no form:
    a database refuses some of it, and so do UTF-8 and evidence"""
    text = ' '.join(' '.join(filter(None, texts)).split())
    return ''.join(c if c.isprintable() else '?' for c in text)[:size]


def check_created(created):
    """Raise Problem for what is dated too far ahead: what proves it would be
    dated before it"""
    ahead = created - now() - SKEW
    if ahead > dt.timedelta():
        raise Problem.early(created, ceil(ahead.total_seconds()))


class Problem(Exception):
    """A request that is refused, told as problem+json

    name is the stable last part of the type, which tells the status and if
    the same request may be tried again after retry seconds; detail is a
    sentence for the person who reads the log of the sender.
    peer is the id of whose key signed, message and evidence of what was
    received before and what contradicts it: bytes, digest and signature.
    record is what a trust party proves of its refusal, and refusal the text
    of the Refusal of a recipient with its signature.
    """

    def __init__(self, name, title, detail=None):
        if detail:
            detail = printable(detail, size=DETAIL_MAX)
        super().__init__(title, detail)
        status, _, again = problem.PROBLEMS[name]
        self.status = HTTPStatus(status)
        self.name = name
        self.title = title
        self.detail = detail
        self.retry = RETRY if again else None
        self.headers = {}
        self.peer = self.message = self.evidence = None
        self.record = self.refusal = None

    @classmethod
    def signature(cls, exception):
        return cls('signature', "The signature is refused.", str(exception))

    @classmethod
    def unknown_key(cls, kid):
        return cls('unknown-key', "The key is not known here.",
            f"No peer signs with the key {kid}. Try again later.")

    @classmethod
    def token(cls, exception):
        return cls('token', "The token is refused.", str(exception))

    @classmethod
    def malformed(cls, exception):
        path = getattr(exception, 'path', None)
        return cls('malformed', "The message is refused.",
            f"{path}: {exception}" if path else str(exception))

    @classmethod
    def too_large(cls, size):
        return cls('too-large', "The message is too large.",
            f"At most {size} bytes are accepted.")

    @classmethod
    def not_addressed(cls, identifier):
        return cls('not-addressed', "Nobody has this identifier here.",
            identifier)

    @classmethod
    def not_found(cls, name):
        return cls('not-found', "There is no such thing here.", name)

    @classmethod
    def not_a_request(cls, exception):
        return cls('not-a-request', "The request is refused.", str(exception))

    @classmethod
    def unknown_log(cls, origin):
        return cls('unknown-log', "The log is not witnessed here.", origin)

    @classmethod
    def not_log(cls, detail):
        return cls('not-log', "The log did not sign the checkpoint.",
            str(detail))

    @classmethod
    def inconsistent(cls, exception):
        return cls('inconsistent', "The log does not prove that it grew.",
            str(exception))

    @classmethod
    def erased(cls, name):
        return cls('erased',
            "It was erased here: the parties keep it with its proofs.", name)

    @classmethod
    def not_sender(cls, identifier):
        return cls('not-sender', "The key is not one of the sender.",
            identifier)

    @classmethod
    def suspended(cls, identifier):
        return cls('suspended', "The sender is not active.", identifier)

    @classmethod
    def no_relation(cls, relation):
        return cls('no-relation', "The relation is not agreed.", relation)

    @classmethod
    def other_route(cls, via):
        return cls('other-route',
            "The relation was agreed for another route.", via)

    @classmethod
    def other_seal(cls, relation):
        return cls('other-seal',
            "What was agreed is to seal all the documents, or none.",
            relation)

    @classmethod
    def forbidden(cls, detail):
        return cls('forbidden', "This is not for the caller.", detail)

    @classmethod
    def closed(cls, uuid):
        return cls(
            'closed', "The message was closed as not delivered.", uuid)

    @classmethod
    def conflict(cls, uuid):
        return cls(
            'conflict', "Another message has the same identifier.", uuid)

    @classmethod
    def unavailable(cls):
        return cls('unavailable', "This is not possible at present.",
            "Try again later.")

    @classmethod
    def internal(cls):
        return cls('internal', "Something is wrong here.",
            "The administrator finds it in the log.")

    @classmethod
    def early(cls, created, seconds):
        problem = cls('early', "The message is dated in the future.",
            f"{canonical.format_time(created)}: set the clock.")
        problem.retry = seconds
        return problem

    @classmethod
    def overload(cls, detail):
        return cls('overload', "There are too many requests.", detail)

    @classmethod
    def encoded(cls, encoding):
        return cls('encoding', "The message is to be sent as it is.",
            f"The encoding {encoding} is not accepted.")

    @classmethod
    def leased(cls, uuid, seconds):
        problem = cls(
            'leased', "Another one has just fetched the message.", uuid)
        problem.retry = seconds
        return problem

    @classmethod
    def quota(cls, seconds, headers):
        problem = cls('quota', "The quota is used up.",
            f"Try again in {seconds} seconds.")
        problem.retry = seconds
        problem.headers = headers
        return problem

    @property
    def body(self):
        body = {
            'type': problem.BASE + self.name,
            'title': self.title,
            'status': int(self.status),
            }
        if self.detail:
            body['detail'] = self.detail
        if self.record:
            body['record'] = self.record
        if self.refusal:
            body['refusal'], body['signature'] = self.refusal
        return body

    def response(self):
        response = Response(
            canonical.dump(self.body), status=self.status,
            content_type=problem.MEDIA_TYPE)
        response.headers.update(self.headers)
        if self.retry:
            response.headers['Retry-After'] = str(self.retry)
        return response


def problems(func):
    "Answer the problems of the route, count and log them"
    @wraps(func)
    def wrapper(request, pool, *args, **kwargs):
        try:
            return func(request, pool, *args, **kwargs)
        except Problem as exception:
            problem = exception
        except HTTPException as exception:
            if exception.code != HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
                raise
            problem = Problem.too_large(request.max_content_length)
        except TransactionError:
            raise
        except (backend.DatabaseOperationalError, UserError, UserWarning):
            logger.error("%s", request, exc_info=True)
            return Problem.unavailable().response()
        except Exception:
            # Nothing of our inside goes to the sender, who tries again
            logger.critical("%s", request, exc_info=True)
            return Problem.internal().response()
        Refusal = pool.get('cooperative.edi.refusal')
        if Refusal.count_problem(
                pool.database_name, problem, request.remote_addr,
                f'{request.method} {request.path}'):
            logger.warning(
                "refused %s %s from %s: %s %s", request.method,
                request.path, request.remote_addr, problem.name,
                problem.detail)
        return problem.response()
    return wrapper


def body(request):
    "Return the bytes that were posted.  Raise Problem if they are encoded."
    encoding = request.headers.get('Content-Encoding', 'identity')
    if encoding.strip().lower() not in {'', 'identity'}:
        # Nothing is ever inflated: a few bytes could fill the memory
        raise Problem.encoded(encoding)
    return request.get_data()


def respond(data, jws=None, status=HTTPStatus.OK,
        content_type='application/json', headers=None):
    "Return the bytes with their signature"
    response = Response(data, status=status, content_type=content_type)
    if jws:
        response.headers[signature.SIGNATURE_HEADER] = jws
    response.headers.update(headers or {})
    return response


def respond_cached(request, data, jws, etag, headers=None):
    "Return the bytes, or nothing if the caller has them already"
    response = respond(data, jws, headers=headers)
    response.set_etag(etag)
    return response.make_conditional(request)


def authenticate(request):
    """Return the identity and the peer of a pull token.
    Raise Problem."""
    pool = Pool()
    Identity = pool.get('cooperative.edi.identity')
    Peer = pool.get('cooperative.edi.peer')
    error = "nobody is known here"
    value = request.headers.get('Authorization', '')
    scheme, _, value = value.partition(' ')
    if scheme.lower() != 'bearer':
        raise Problem.token("a bearer token is wanted")
    for identity in Identity.search([]):
        company = identity.company.id

        def keys_of(issuer):
            peer = Peer.get(company, issuer)
            return peer.public_keys() if peer else {}
        try:
            claims = token.verify(
                value, keys_of, audience=identity.identifier,
                method=request.method, path=request.path, now=now())
        except ProtocolError as exception:
            error = exception
            continue
        peer = Peer.get(company, claims['iss'])
        if not _use(peer, claims):
            raise Problem.token("the token was used before")
        peer.admit_request()
        Transaction().set_context(company=company)
        return identity, peer
    raise Problem.token(error)


def _use(peer, claims):
    "Tell if the token was not used before, even if nothing can be written"
    Token = Pool().get('cooperative.edi.token')
    transaction = Transaction()
    if not transaction.readonly:
        return Token.use(peer.id, claims)
    return transact(transaction.database.name, Token.use, peer.id, claims)


def authorization(identity, peer, method, url, time=None):
    """Return the headers that authenticate the identity at the peer.
    time is the one of the peer's clock, if it is known."""
    value = identity.token(
        peer.identifier, method, urlsplit(url).path, time=time)
    return {'Authorization': f'Bearer {value}'}


__all__ = [
    'Problem', 'printable', 'check_created', 'problems', 'body', 'respond',
    'respond_cached', 'authenticate', 'authorization']
