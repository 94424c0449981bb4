# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""How much each member may send, so that none is in the way of the others.

What is stored is counted in the row of the member, in the transaction of the
message: exactly, whatever the number of processes.  What is asked for and not
stored is counted by each process alone, and who is over its quota is refused
for some seconds before anything is read.
"""
import threading
import time
from math import ceil
from typing import NamedTuple

import trytond.config as config
from sql import Null
from trytond.model import ModelSQL, ModelView, Unique, fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Eval, If
from trytond.transaction import Transaction

from cooperative_edi.http import Problem
from cooperative_edi.identity import now
from cooperative_edi.reception import signed_as
from trycoton.protocol.errors import ProtocolError

MINUTE, DAY = 60, 24 * 60 * 60
MEGABYTE = 1000 * 1000
# A community writes to all its members
COMMUNITY = 100
# A message is listed, fetched, acknowledged and proved, and may be repeated
REQUESTS = 10
# How often a message is answered again a minute
REPEATS = 10
REPEATED_MAX = 1000
# How long a process refuses without another look at the quota, in seconds
CLOSED = 5
CLOSED_MAX = 1000

_requests = {}
_repeated = {}
_closed = {}
_lock = threading.Lock()


class Meter(NamedTuple):
    """What is left of a limit for each period of so many seconds; no limit if
    it is 0.

    at is when all that was taken will have been given back: one number tells
    all of a bucket that fills evenly (the GCRA of ATM Forum TM 4.1).
    """
    limit: int
    period: int
    at: float = 0

    def _at(self, time):
        at = self.at or 0
        # A clock that was set back closes nothing for long
        return at if time < at <= time + 2 * self.period else time

    def used(self, time):
        return (self._at(time) - time) * self.limit / self.period

    def take(self, cost, time):
        "Return the meter after the cost was taken"
        if not self.limit:
            return self
        cost = min(cost, self.limit) * self.period / self.limit
        return self._replace(at=self._at(time) + cost)

    def wait(self, cost, time):
        "Return in how many seconds the cost can be taken"
        if not self.limit:
            return 0
        return max(0, self.take(cost, time).at - time - self.period)

    def policy(self, name, unit=''):
        return f'"{name}";q={self.limit};w={self.period}{unit}'

    def left(self, name, time):
        left = int(self.limit - self.used(time))
        return f'"{name}";r={left};t={ceil(self._at(time) - time)}'


def _meters(kind, messages, size, messages_at, size_at):
    "Return the meters of messages and of bytes of a peer of the kind"
    factor = COMMUNITY if kind == 'community' else 1
    if messages is None:
        messages = factor * config.getint(
            'cooperative', 'quota_messages', default=600)
    if size is None:
        size = factor * config.getint(
            'cooperative', 'quota_size', default=200)
    return (
        Meter(messages, MINUTE, messages_at),
        Meter(size * MEGABYTE, DAY, size_at))


class Allowance:
    "What a transaction finds left of the quota of a peer, and takes of it"

    def __init__(self, quota, peer, messages, bytes):
        self.quota = quota
        self.peer = peer
        self.messages = messages
        self.bytes = bytes

    @property
    def headers(self):
        "What tells the member its quota, and what is left of it"
        time_ = time.time()
        parts = [
            (meter, *name) for meter, *name in [
                (self.messages, 'messages', ''),
                (self.bytes, 'bytes', ';qu="content-bytes"')]
            if meter.limit]
        if not parts:
            return {}
        return {
            'RateLimit-Policy': ', '.join(
                meter.policy(name, unit) for meter, name, unit in parts),
            'RateLimit': ', '.join(
                meter.left(name, time_) for meter, name, unit in parts),
            }

    def take(self, size, kid=None):
        """Take the message of the size from what is left, to be counted then.
        Raise Problem if it is more."""
        time_ = time.time()
        seconds = max(
            self.messages.wait(1, time_), self.bytes.wait(size, time_))
        if seconds:
            self._refuse(seconds, kid)
        self.messages = self.messages.take(1, time_)
        self.bytes = self.bytes.take(size, time_)

    def ask(self, kid=None):
        """Count a request in this process, whatever becomes of it.
        Raise Problem if there are too many."""
        database, time_ = Transaction().database.name, time.time()
        with _lock:
            meter = self._requested(database)
            seconds = meter.wait(1, time_)
            if not seconds:
                _requests[database, self.quota] = meter.take(1, time_)
        if seconds:
            self._refuse(seconds, kid)

    def _requested(self, database):
        "Return the meter of what was asked of this process"
        asked = _requests.get((database, self.quota), (0,))[-1]
        return Meter(self.messages.limit * REQUESTS, MINUTE, asked)

    def repeat(self, jws):
        """Count the repeated message by itself, and not as a request of its
        sender: whoever has received it can post it again"""
        database, time_ = Transaction().database.name, time.time()
        with _lock:
            _requests[database, self.quota] = self._requested(
                database).take(-1, time_)
            if len(_repeated) > REPEATED_MAX:
                for key in [k for k, m in _repeated.items() if m.at < time_]:
                    del _repeated[key]
            meter = _repeated.get((database, jws), Meter(REPEATS, MINUTE))
            _repeated[database, jws] = meter = meter.take(1, time_)
            seconds = meter.wait(1, time_)
        if seconds:
            self._close(jws, seconds)

    def _refuse(self, seconds, kid):
        "Raise Problem, and again for some seconds when the key comes back"
        problem = _over(seconds, self.peer, self.headers)
        if kid:
            self._close(kid, seconds)
        raise problem

    def _close(self, key, seconds):
        "Refuse what comes by the key, or is signed so, for some seconds"
        database, now = Transaction().database.name, time.monotonic()
        with _lock:
            if len(_closed) > CLOSED_MAX:
                for old in [k for k, (t, _) in _closed.items() if t < now]:
                    del _closed[old]
            _closed[database, key] = now + min(seconds, CLOSED), _over(
                seconds, self.peer, self.headers)


def check_closed(database, key):
    "Raise Problem if there was too much by the key some seconds ago"
    until, problem = _closed.get((database, key), (0, None))
    left = until - time.monotonic()
    if left > 0:
        raise _over(left, problem.peer, problem.headers)


def _over(seconds, peer, headers):
    problem = Problem.quota(max(1, ceil(seconds)), headers)
    problem.peer = peer
    return problem


class Quota(ModelSQL, ModelView):
    __name__ = 'cooperative.trust.quota'

    peer = fields.Many2One(
        'cooperative.edi.peer', "Member", required=True, readonly=True,
        ondelete='CASCADE')
    messages = fields.Integer(
        "Own Messages a Minute",
        domain=['OR',
            ('messages', '=', None),
            ('messages', '>=', 0),
            ],
        help="How many messages the member may send a minute.\n"
        "Leave empty for what the configuration says, 0 for no limit.")
    size = fields.Integer(
        "Own Megabytes a Day",
        domain=['OR',
            ('size', '=', None),
            ('size', '>=', 0),
            ],
        help="How much the member may send a day.\n"
        "Leave empty for what the configuration says, 0 for no limit.")
    messages_at = fields.Float("Messages Given Back", readonly=True)
    size_at = fields.Float("Bytes Given Back", readonly=True)
    messages_limit = fields.Function(fields.Integer(
            "Messages a Minute",
            help="How many messages are accepted a minute; 0 if any."),
        'get_usage')
    messages_used = fields.Function(fields.Integer(
            "Messages Used",
            help="What the last messages took of it."),
        'get_usage')
    size_limit = fields.Function(fields.Integer(
            "Megabytes a Day",
            help="How much is accepted a day; 0 if any."),
        'get_usage')
    size_used = fields.Function(fields.Float(
            "Megabytes Used", digits=(16, 3),
            help="What the last messages took of it."),
        'get_usage')
    refused = fields.Function(fields.Integer(
            "Refused Today",
            help="How many requests were over the quota."),
        'get_refused')

    __access__ = {'peer'}

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_constraints += [
            ('peer_unique', Unique(t, t.peer),
                'cooperative_trust.msg_quota_peer_unique'),
            ]

    def get_rec_name(self, name):
        return self.peer.rec_name

    @classmethod
    def search_rec_name(cls, name, clause):
        return [('peer.rec_name', *clause[1:])]

    @classmethod
    def view_attributes(cls):
        return super().view_attributes() + [
            ('/tree/field[@name="refused"]', 'visual',
                If(Eval('refused', 0) > 0, 'warning', '')),
            ]

    @classmethod
    def get_usage(cls, quotas, names):
        values = {name: {} for name in names}
        for quota in quotas:
            messages, size = quota.meters
            found = {
                'messages_limit': messages.limit,
                'messages_used': round(messages.used(time.time())),
                'size_limit': size.limit // MEGABYTE,
                'size_used': round(size.used(time.time()) / MEGABYTE, 3),
                }
            for name in names:
                values[name][quota.id] = found[name]
        return values

    @classmethod
    def get_refused(cls, quotas, name):
        pool = Pool()
        Refusal = pool.get('cooperative.edi.refusal')
        counts = {r.peer.id: r.count for r in Refusal.search([
                    ('date', '=', now().date()),
                    ('problem', '=', 'quota'),
                    ('peer', 'in', [q.peer.id for q in quotas]),
                    ])}
        return {q.id: counts.get(q.peer.id, 0) for q in quotas}

    @classmethod
    def complete(cls, community):
        "Give a quota to the members of the community who have none yet"
        pool = Pool()
        Member = pool.get('cooperative.trust.member')
        table, member = cls.__table__(), Member.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*member
            .join(table, 'LEFT', condition=table.peer == member.peer)
            .select(
                member.peer,
                where=(member.community == community.id)
                & (table.id == Null)))
        cls.create([{'peer': peer} for peer, in cursor.fetchall()])

    @property
    def meters(self):
        "The meters of messages and of bytes"
        return _meters(
            self.peer.kind, self.messages, self.size,
            self.messages_at, self.size_at)

    @classmethod
    def allowances(cls, peers):
        "Return the Allowances of those of the peers that have one, by peer"
        if not peers:
            return {}
        pool = Pool()
        Peer = pool.get('cooperative.edi.peer')
        table, peer = cls.__table__(), Peer.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*table
            .join(peer, condition=table.peer == peer.id)
            .select(
                table.id, table.peer, peer.kind, table.messages, table.size,
                table.messages_at, table.size_at,
                where=table.peer.in_(list(peers))))
        return {
            peer: Allowance(id_, peer, *_meters(*values))
            for id_, peer, *values in cursor}

    @classmethod
    def count(cls, allowances):
        "Count what was taken, in the transaction of the messages"
        table = cls.__table__()
        cursor = Transaction().connection.cursor()
        rows = []
        for allowance in allowances:
            query, values = table.update(
                [table.messages_at, table.size_at],
                [allowance.messages.at, allowance.bytes.at],
                where=table.id == allowance.quota)
            rows.append(values)
        if rows:
            cursor.executemany(query, rows)
        for cache in Transaction().cache.values():
            cache.pop(cls.__name__, None)


class Member(metaclass=PoolMeta):
    __name__ = 'cooperative.trust.member'

    @classmethod
    def synchronise(cls, community, directory, previous):
        pool = Pool()
        Quota = pool.get('cooperative.trust.quota')
        super().synchronise(community, directory, previous)
        Quota.complete(community)


class Peer(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.peer'

    def admit_request(self):
        pool = Pool()
        Quota = pool.get('cooperative.trust.quota')
        super().admit_request()
        for allowance in Quota.allowances([self.id]).values():
            allowance.ask()


class Message(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.message'

    @classmethod
    def screen(cls, database, jws):
        super().screen(database, jws)
        try:
            _, kid = signed_as(jws)
        except ProtocolError:
            # Refused by who reads it
            return
        check_closed(database, kid)
        check_closed(database, jws)

    @classmethod
    def authenticate(cls, arrivals):
        super().authenticate(arrivals)
        cls._find_allowances(arrivals)
        if not Transaction().readonly:
            # They asked before
            return
        for arrival in arrivals:
            if arrival.allowance and not arrival.problem:
                with arrival.judged():
                    arrival.allowance.ask(arrival.kid)
                    arrival.allowance.take(len(arrival.data), arrival.kid)

    @classmethod
    def _find_allowances(cls, arrivals):
        pool = Pool()
        Quota = pool.get('cooperative.trust.quota')
        allowances = Quota.allowances(
            {s.peer for a in arrivals for s in a.signers})
        for arrival in arrivals:
            arrival.allowance = next((
                    allowances[s.peer] for s in arrival.signers
                    if s.peer in allowances), None)

    @classmethod
    def _admit(cls, arrival):
        relation = super()._admit(arrival)
        if arrival.allowance:
            arrival.allowance.take(len(arrival.data))
        return relation

    @classmethod
    def _store(cls, arrivals):
        pool = Pool()
        Quota = pool.get('cooperative.trust.quota')
        super()._store(arrivals)
        Quota.count({a.allowance for a in arrivals if a.allowance})

    @classmethod
    def _receive(cls, arrivals):
        super()._receive(arrivals)
        for arrival in arrivals:
            if arrival.id and arrival.allowance:
                arrival.headers.update(arrival.allowance.headers)
                if arrival.known:
                    arrival.allowance.repeat(arrival.jws)
