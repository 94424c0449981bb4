# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The thread that sends, fetches and imports the messages of a database.

The message rows are the outbox and the inbox; the courier only moves them on:
each step in a transaction of its own, the network between the steps.  It is
woken after a commit and by cron, and sleeps until something is due.
"""
import datetime as dt
import json
import logging
import re
import threading
import time
from collections import deque
from email.utils import parsedate_to_datetime

import trytond.config as config
from trytond import backend
from trytond.exceptions import UserError, UserWarning
from trytond.pool import Pool
from trytond.transaction import Transaction

from trycoton.protocol import canonical, signature
from trycoton.protocol.errors import ProtocolError

from . import client, reception, rules
from .exceptions import DocumentParked
from .http import Problem, authorization, printable
from .identity import now
from .transaction import transact

logger = logging.getLogger(__name__)

PAUSE = 60
# How long a courier rests at most after a round
REST = 1
GRACE = 30
PAGE = 100
# To how many hops is sent at once
LANES = 8
# How many seconds a round waits for all, and one hop is given in a round
PATIENCE, LANE = 5, 30
# How many seconds of a round proofs take that others wait for
TURN = 0.2
SKEW = dt.timedelta(seconds=2)
# A clock that is further away is none to follow
SKEW_MAX = dt.timedelta(days=1)
STARTED = dt.datetime.now()

_couriers = {}
_busy = set()
_lock = threading.Lock()


def wake(database):
    "Have the courier of the database do what is due"
    if (not config.getboolean('cooperative', 'courier', default=True)
            or database == ':memory:'):  # which belongs to its thread
        return
    with _lock:
        courier = _couriers.get(database)
        if not courier or not courier.is_alive():
            courier = _couriers[database] = Courier(database)
            courier.start()
    courier.event.set()


def is_at_work(database):
    "Tell if this is the courier of the database, which will send on its own"
    thread = threading.current_thread()
    return isinstance(thread, Courier) and thread.database == database


def is_called(database):
    "Tell if the courier of the database is to begin another round"
    courier = _couriers.get(database)
    return bool(courier and courier.event.is_set())


class CourierMixin:
    "What the courier has something to do for, once it is committed"
    __slots__ = ()

    @classmethod
    def call_courier(cls, records):
        "Have the courier come for the records.  Nothing is queued for none."
        if not is_at_work(Transaction().database.name):
            cls.__queue__.wake(records)

    @classmethod
    def wake(cls, records=None):
        "Have the courier do what is due"
        wake(Transaction().database.name)


class Courier(threading.Thread):

    def __init__(self, database):
        super().__init__(name=f'courier-{database}', daemon=True)
        self.database = database
        self.event = threading.Event()

    def run(self):
        finish = threading.Timer(
            GRACE, _attempt, [finish_tasks, self.database])
        finish.daemon = True
        finish.start()
        timeout = None
        while True:
            self.event.wait(timeout)
            self.event.clear()
            rest = 0
            try:
                rest = exchange(self.database)
                timeout = transact(
                    self.database, _next_due, readonly=True)
            except Exception:
                logger.critical("courier of %s", self.database, exc_info=True)
                timeout = PAUSE
            # What comes meanwhile goes together in the next round
            time.sleep(min(rest, REST))


def _next_due():
    return Pool().get('cooperative.edi.message').next_due()


def finish_tasks(database):
    """Do what a process that was killed left in the queue: without a worker
    nobody else would, and a confirmed sale would stay so.

    Called some time after the start of this process: what was queued before,
    and is at work in another one, is done by then."""
    if config.getboolean('queue', 'worker', default=False):
        return
    for id_ in transact(database, _left, readonly=True):
        _attempt(transact, database, _finish, id_)


def _finish(id_):
    "Do the task, unless another process has just done it"
    task = Pool().get('ir.queue')(id_)
    if not task.finished_at:
        task.run()


def _left():
    Queue = Pool().get('ir.queue')
    return [t.id for t in Queue.search([
                ('enqueued_at', '<', STARTED),
                ('finished_at', '=', None),
                ], order=[('id', 'ASC')])]


def exchange(database):
    """Import what was received, send what is due, fetch what waits elsewhere.
    Return the seconds that it took, before the proofs."""
    Message = Pool(database).get('cooperative.edi.message')
    started = time.monotonic()
    _attempt(import_received, database)
    _attempt(Message.attend, database)
    _attempt(check_payloads, database)
    _attempt(send_due, database)
    if _attempt(fetch_mailboxes, database):
        _attempt(import_received, database)
        _attempt(check_payloads, database)
        _attempt(send_due, database)
    seconds = time.monotonic() - started
    _attempt(fetch_records, database)
    _attempt(Message.watch, database)
    _attempt(settle_refusals, database)
    return seconds


def _attempt(step, *args):
    "Have the error of one step or message not stop the others"
    try:
        return step(*args)
    except Exception:
        logger.critical("%s %s", step.__name__, args, exc_info=True)


def import_received(database):
    "Have each received message take effect, or keep why it does not"
    Message = Pool(database).get('cooperative.edi.message')
    done = set()
    while ids := [i for i in transact(
                database, Message.to_process, readonly=True)
            if i not in done]:
        for id_ in ids:
            done.add(id_)
            if _attempt(_import, database, id_):
                # Others may have waited for this one
                done = {id_}


def _import(database, id_, again=True):
    "Tell if the message took effect, or keep why it did not"
    Message = Pool(database).get('cooperative.edi.message')
    try:
        transact(database, Message.process, id_)
        return True
    except backend.DatabaseOperationalError:
        # Nothing is wrong with the message: it stays received
        logger.warning("import of message %s", id_, exc_info=True)
    except (UserError, UserWarning) as exception:
        transact(database, Message.not_processed, id_, exception)
        if again and isinstance(exception, DocumentParked):
            # What it waits for may have come before it was seen to wait
            return _import(database, id_, again=False)
    except Exception as exception:
        logger.critical("import of message %s", id_, exc_info=True)
        transact(database, Message.not_processed, id_, exception)


def check_payloads(database):
    "Sign what obeys the official rules: the next to a peer waits for it"
    Message = Pool(database).get('cooperative.edi.message')
    for id_ in transact(database, Message.to_check, readonly=True):
        _attempt(_check, database, id_)


def _check(database, id_):
    Message = Pool(database).get('cooperative.edi.message')
    payload = transact(database, Message.to_check_now, id_, readonly=True)
    if not payload:
        return
    try:
        findings = rules.check(payload)
        transact(database, Message.checked, id_, payload, findings)
    except (rules.CheckError, UserError) as exception:
        logger.warning("check of message %s: %s", id_, exception)
        transact(database, Message.not_checked, id_, exception)


def send_due(database):
    """Post what is due, to each hop in order: one that does not answer waits,
    and one that is slow is left alone with what is for it"""
    Message = Pool(database).get('cooperative.edi.message')
    lanes = {}
    for id_, hop in transact(database, Message.to_send, readonly=True):
        lanes.setdefault(hop, []).append(id_)
    if database == ':memory:':  # which belongs to its thread
        for ids in lanes.values():
            _send_all(database, ids)
        return
    lanes, errors = deque(lanes.items()), []
    threads = [
        threading.Thread(
            target=_send_lanes, args=[database, lanes, errors], daemon=True)
        for _ in range(min(LANES, len(lanes)))]
    for thread in threads:
        thread.start()
    end = time.monotonic() + PATIENCE
    for thread in threads:
        thread.join(max(0, end - time.monotonic()))
    for error in errors:
        raise error


def busy(database):
    "Return the ids of the hops to which something is being sent"
    return [hop for name, hop in list(_busy) if name == database]


def _send_lanes(database, lanes, errors):
    "Send what is for one hop after the other, as long as any is left"
    start = time.monotonic()
    while lanes:
        try:
            hop, ids = lanes.popleft()
        except IndexError:
            break
        _busy.add((database, hop))
        try:
            _send_all(database, ids)
        except BaseException as exception:
            errors.append(exception)
        finally:
            _busy.discard((database, hop))
    if time.monotonic() - start > PATIENCE:
        # The round went on without it
        wake(database)


def _send_all(database, ids):
    end = time.monotonic() + LANE
    for id_ in ids:
        if time.monotonic() < end:
            _attempt(_send, database, id_)


def _send(database, id_):
    Message = Pool(database).get('cooperative.edi.message')
    request = transact(database, Message.claim, id_)
    if not request:
        return
    url, data, headers = request
    try:
        response = client.post(url, data, headers)
    except client.ClientError as exception:
        transact(database, Message.unanswered, id_, str(exception))
    else:
        transact(database, Message.posted, id_, response)


def fetch_mailboxes(database):
    "Fetch what waits at the others; return how many messages came"
    Peer = Pool(database).get('cooperative.edi.peer')
    count = 0
    for id_ in transact(database, Peer.to_fetch_from, readonly=True):
        end = time.monotonic() + LANE
        try:
            for name in _waiting_at(database, id_):
                if _fetch(database, id_, name):
                    count += 1
                if time.monotonic() > end:
                    # The rest is for another round
                    break
        except client.Refused as exception:
            logger.warning("mailbox: %s", exception)
        except client.ClientError as exception:
            logger.info("mailbox: %s", exception)
            transact(database, _silent, id_)
        except Exception:
            logger.critical("mailbox of peer %s", id_, exc_info=True)
            _attempt(transact, database, _silent, id_)
    return count


def _waiting_at(database, peer):
    "Yield the ids of what waits at the peer, page by page"
    known, query = set(), ''
    while True:
        response = call(
            database, peer, 'GET', f'/edi/mailbox?limit={PAGE}{query}')
        names = parse_answer(response.data).get('messages')
        new = [n for n in names if _is_uuid(n) and n not in known] \
            if isinstance(names, list) else []
        yield from new
        if len(new) < PAGE:
            return
        known.update(new)
        query = f'&after={new[-1]}'


def _is_uuid(name):
    return isinstance(name, str) and re.fullmatch('[0-9a-f-]{36}', name)


def _silent(peer):
    Pool().get('cooperative.edi.peer')(peer).silent()


def _fetch(database, peer, name):
    "Tell if the message that waits at the peer was stored, or refuse it"
    path = f'/edi/mailbox/{name}'
    response = call(database, peer, 'GET', path)
    try:
        arrival = reception.receive(
            database, response.data,
            response.headers.get(signature.SIGNATURE_HEADER, ''))
    except Problem as problem:
        _refuse(database, peer, path, problem)
        return False
    except Exception:
        # Without an answer the peer shows it again, once its lease is over
        logger.critical("%s of peer %s", path, peer, exc_info=True)
        return False
    call(database, peer, 'POST', f'{path}/receipt',
        canonical.dump(arrival.answer))
    return True


def _refuse(database, peer, path, problem):
    "Say what is refused for good, and give the rest back for another time"
    logger.warning("refused %s: %s %s", path, problem.name, problem.detail)
    Refusal = Pool(database).get('cooperative.edi.refusal')
    Refusal.count_problem(database, problem, None, f'GET {path}')
    call(database, peer, 'POST', f'{path}/receipt',
        canonical.dump(problem.body))


def settle_refusals(database):
    Pool(database).get('cooperative.edi.refusal').settle(database)


def fetch_records(database):
    """Fetch from the trust parties the proofs that are still missing.
    They wait for the next round when there is something to send."""
    Message = Pool(database).get('cooperative.edi.message')
    silent = set()
    missing = transact(database, Message.to_prove, readonly=True)
    end = time.monotonic() + TURN
    for id_, peer, path in missing:
        if is_called(database) and time.monotonic() > end:
            break
        if peer in silent:
            continue
        try:
            _fetch_record(database, id_, peer, path)
        except client.ClientError as exception:
            logger.info("record: %s", exception)
            transact(database, Message.prove_later, id_)
            transact(database, _silent, peer)
            silent.add(peer)
        except Exception:
            # Asked for at once again, it would fail again
            logger.critical("record of message %s", id_, exc_info=True)
            _attempt(transact, database, Message.prove_later, id_)


def _fetch_record(database, id_, peer, path):
    "Keep what the trust party proves of the message, or that it does not"
    Message = Pool(database).get('cooperative.edi.message')
    try:
        response = call(database, peer, 'GET', path)
    except client.Refused as exception:
        logger.info("record: %s", exception)
        transact(database, Message.not_proven, id_, exception.response.status)
    else:
        transact(database, Message.prove, id_, response.data)


def call(database, peer, method, path, data=None, headers=None):
    """Return the Response of the peer to an authenticated request.
    Raise ClientError unless it succeeds.  Outside any transaction."""
    def request(clock=None):
        url, authorization = transact(
            database, _authorization, peer, method, path, clock,
            readonly=True)
        return url, client.request(
            method, url, data, {**(headers or {}), **authorization})
    url, response = request()
    if response.status == 401 and (clock := _clock(response)):
        url, response = request(clock)
    if response.status >= 400:
        raise client.Refused(url, problem(response), response)
    return response


def _clock(response):
    "Return the time of the peer, if its clock is a little off ours"
    try:
        clock = parsedate_to_datetime(response.headers['Date'])
        skew = abs(clock - now())
    except (TypeError, ValueError, OverflowError):
        return
    if SKEW < skew < SKEW_MAX:
        return clock


def _authorization(peer, method, path, clock):
    pool = Pool()
    Identity = pool.get('cooperative.edi.identity')
    Peer = pool.get('cooperative.edi.peer')
    peer = Peer(peer)
    identity = Identity.get(peer.company.id)
    url = (peer.endpoint or '') + path
    return url, authorization(identity, peer, method, url, clock)


def parse_answer(data):
    "Return the JSON object of an answer, empty if it is none"
    try:
        answer = canonical.load(data)
    except ProtocolError:
        return {}
    return answer if isinstance(answer, dict) else {}


def problem(response):
    "Return what a refusal says, in a line"
    try:
        text = problem_text(json.loads(response.data))
    except (ValueError, AttributeError, RecursionError):
        text = ''
    return f"{response.status} {text}".strip()


def problem_text(body):
    texts = [body.get('title'), body.get('detail')]
    return printable(*(t for t in texts if isinstance(t, str)))
