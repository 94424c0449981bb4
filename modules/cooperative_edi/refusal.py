# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What was refused to the others, and the requests that were made once"""
import datetime as dt
import logging
import threading
import time

from trytond import backend
from trytond.exceptions import UserError
from trytond.model import ModelSQL, ModelView, Unique, fields
from trytond.pyson import Eval

from .http import printable
from .identity import now
from .peer import naive
from .transaction import transact

logger = logging.getLogger(__name__)

REQUEST_MAX = 200
# Of how many messages a day the bytes are kept that contradict others
EVIDENCE_MAX = 10
# What is refused more often in a minute is written once a second
OFTEN = 20
MINUTE = 60
PAUSE = 1
TALLIES_MAX = 1000

_tallies = {}
_lock = threading.Lock()


class Tally:
    "How often the same was refused, and what is not written of it yet"

    def __init__(self, first):
        self.first = self.last = first
        self.written = self.waiting = 0
        self.what = None

    def take(self, now):
        "Return how many are to be written now"
        if now - self.first > MINUTE:
            self.first, self.written = now, 0
        if self.written >= OFTEN and now - self.last < PAUSE:
            return 0
        self.written += 1
        self.last = now
        count, self.waiting = self.waiting, 0
        return count


def _tally(database, problem, *request):
    "Return how many refusals of the kind are to be written, this one included"
    now = time.monotonic()
    key = database, problem.name, problem.peer, problem.message
    with _lock:
        if len(_tallies) > TALLIES_MAX:
            for old in [k for k, t in _tallies.items()
                    if now - t.last > MINUTE and not t.waiting]:
                del _tallies[old]
        tally = _tallies.setdefault(key, Tally(now))
        tally.waiting += 1
        count = tally.take(now)
        if not count:
            # It was kept the first times
            problem.evidence = None
            tally.what = problem, *request
        return count


class Refusal(ModelSQL, ModelView):
    __name__ = 'cooperative.edi.refusal'

    _evidence = {
        'invisible': ~Eval('message'),
        }

    date = fields.Date("Date", required=True, readonly=True)
    problem = fields.Char("Problem", required=True, readonly=True,
        help="The name of the problem that the sender was told.")
    peer = fields.Many2One(
        'cooperative.edi.peer', "Peer", readonly=True, ondelete='CASCADE',
        help="Whose key signed what was refused.\n"
        "Empty if that was not established.")
    address = fields.Char("Network Address", readonly=True,
        help="Where the last request came from.")
    request = fields.Char("Request", readonly=True)
    detail = fields.Char("Detail", readonly=True,
        help="What the sender was told the last time.")
    count = fields.Integer("Count", required=True, readonly=True)
    first = fields.DateTime("First Time", required=True, readonly=True)
    last = fields.DateTime("Last Time", required=True, readonly=True)
    message = fields.Many2One(
        'cooperative.edi.message', "Message", readonly=True,
        ondelete='CASCADE', states=_evidence,
        help="The message received before under the same identifier.")
    data = fields.Binary("Other Message", readonly=True, states=_evidence,
        help="The bytes that the peer signed under the same identifier.")
    digest = fields.Char("Digest", readonly=True, states=_evidence)
    signature = fields.Text("Signature", readonly=True, states=_evidence)
    key = fields.Char("Key", required=True, readonly=True,
        help="What is counted together.")

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_constraints += [
            ('key_unique', Unique(t, t.key),
                'cooperative_edi.msg_refusal_key_unique'),
            ]
        cls._order = [('last', 'DESC'), ('id', 'DESC')]

    def get_rec_name(self, name):
        return f'{self.problem} {self.date}'

    @classmethod
    def search_rec_name(cls, name, clause):
        return ['OR',
            ('problem', *clause[1:]),
            ('peer.rec_name', *clause[1:]),
            ]

    @classmethod
    def count_problem(cls, database, problem, address, request):
        """Count the refusal of the request, in a transaction of its own or,
        when there are many, together with the next ones.
        Return if it was written."""
        request = printable(request, size=REQUEST_MAX)
        count = _tally(database, problem, address, request)
        if count:
            cls._write_count(database, count, problem, address, request)
        return bool(count)

    @classmethod
    def settle(cls, database):
        "Write what was refused often and is not written yet"
        now = time.monotonic()
        with _lock:
            due = [(t.take(now), t.what) for k, t in _tallies.items()
                if k[0] == database and t.waiting and now - t.last >= PAUSE]
        for count, what in due:
            cls._write_count(database, count, *what)

    @classmethod
    def _write_count(cls, database, count, *what):
        try:
            transact(database, cls._count, count, *what)
        except (backend.DatabaseOperationalError, UserError):
            logger.warning("refusal not counted", exc_info=True)

    @classmethod
    def _count(cls, count, problem, address, request):
        time = naive(now())
        # One row a day, or a message, keeps a flood from filling the disk
        key = ' '.join(str(p) for p in [
                time.date(), problem.name, problem.peer, problem.message]
            if p is not None)
        refusals = cls.search([('key', '=', key)])
        if refusals:
            refusal, = refusals
        else:
            refusal = cls(
                key=key, date=time.date(), problem=problem.name,
                peer=problem.peer, message=problem.message, count=0,
                first=time)
            if problem.evidence:
                refusal.keep_evidence(*problem.evidence)
        refusal.count += count
        refusal.last = time
        refusal.address = address
        refusal.request = request
        refusal.detail = problem.detail
        refusal.save()

    def keep_evidence(self, data, digest, jws):
        "Keep what the peer signed, of the first messages of the day"
        self.digest, self.signature = digest, jws
        if self.__class__.search_count([
                    ('date', '=', self.date),
                    ('peer', '=', self.peer.id),
                    ('data', '!=', None),
                    ]) < EVIDENCE_MAX:
            self.data = data


class Token(ModelSQL):
    __name__ = 'cooperative.edi.token'

    peer = fields.Many2One(
        'cooperative.edi.peer', "Peer", required=True, ondelete='CASCADE')
    jti = fields.Char("ID", required=True)
    expires = fields.DateTime("Expires", required=True)

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_constraints += [
            ('jti_unique', Unique(t, t.peer, t.jti),
                'cooperative_edi.msg_token_jti_unique'),
            ]

    @classmethod
    def use(cls, peer, claims):
        "Tell if the token was not used before"
        tokens = cls.search([('peer', '=', peer), ('jti', '=', claims['jti'])])
        if tokens:
            return False
        cls.delete(cls.search([('expires', '<', naive(now()))]))
        cls.create([{
                    'peer': peer,
                    'jti': claims['jti'],
                    'expires': dt.datetime.fromtimestamp(
                        claims['exp'], dt.timezone.utc).replace(tzinfo=None),
                    }])
        return True
