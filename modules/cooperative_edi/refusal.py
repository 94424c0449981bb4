# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What was refused to the others, and the requests that were made once"""
import datetime as dt
import logging

from trytond import backend
from trytond.exceptions import UserError
from trytond.model import ModelSQL, ModelView, Unique, fields
from trytond.pyson import Eval

from .identity import now
from .peer import naive
from .transaction import transact

logger = logging.getLogger(__name__)

REQUEST_MAX = 200


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
        "Count the refusal of the request in a transaction of its own"
        try:
            transact(
                database, cls._count, problem, address,
                request[:REQUEST_MAX])
        except (backend.DatabaseOperationalError, UserError):
            logger.warning("refusal not counted", exc_info=True)

    @classmethod
    def _count(cls, problem, address, request):
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
                (refusal.data, refusal.digest,
                    refusal.signature) = problem.evidence
        refusal.count += 1
        refusal.last = time
        refusal.address = address
        refusal.request = request
        refusal.detail = problem.detail
        refusal.save()


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
