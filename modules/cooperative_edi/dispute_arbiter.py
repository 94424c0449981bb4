# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Who may decide the disputes of a relation: whom both sides name, neither
party nor operator"""
from trytond.i18n import gettext
from trytond.model import ModelView, fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Eval

from trycoton.protocol import dispute as rules
from trycoton.protocol.errors import ProtocolError

from .exceptions_dispute import DisputeArbiterError
from .transaction import hold


class Relation(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.relation'

    arbiter = fields.Many2One(
        'cooperative.edi.peer', "Arbiter", ondelete='RESTRICT',
        domain=[
            ('company', '=', Eval('company', -1)),
            ('kind', '!=', 'trust-party'),
            ('id', '!=', Eval('peer', -1)),
            ],
        states={
            'invisible': Eval('state') != 'agreed',
            },
        help="Who decides the disputes, once both have named the same.")
    arbiter_of_us = fields.Char("Arbiter Named by Us", readonly=True,
        states={
            'invisible': ~Eval('arbiter_of_us'),
            })
    arbiter_of_peer = fields.Char("Arbiter Named by the Peer", readonly=True,
        states={
            'invisible': ~Eval('arbiter_of_peer'),
            })

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._buttons.update(
            name_arbiter={
                'invisible': Eval('state') != 'agreed',
                'depends': ['state'],
                },
            )

    @classmethod
    def copy(cls, relations, default=None):
        default = default.copy() if default is not None else {}
        for name in ['arbiter', 'arbiter_of_us', 'arbiter_of_peer']:
            default.setdefault(name)
        return super().copy(relations, default=default)

    @classmethod
    @ModelView.button
    def name_arbiter(cls, relations):
        "Tell the peers who decides the disputes, as far as we are concerned"
        pool = Pool()
        Message = pool.get('cooperative.edi.message')
        for relation in relations:
            if relation.arbiter:
                check_arbiter(
                    relation.arbiter, relation.company, [relation.peer],
                    relation.trust_party)
            relation.arbiter_of_us = (
                relation.arbiter.identifier if relation.arbiter else None)
            Message.send_statement(relation.peer, 'relation-arbiter', {
                    'relation': relation.uuid,
                    'arbiter': relation.arbiter_of_us,
                    }, origin=relation)
        cls.save(relations)

    @property
    def agreed_arbiter(self):
        "The peer whom both named to decide, or None"
        pool = Pool()
        Peer = pool.get('cooperative.edi.peer')
        if self.arbiter_of_us and self.arbiter_of_us == self.arbiter_of_peer:
            return Peer.get(self.company.id, self.arbiter_of_us)

    @property
    def arbiter_messages(self):
        "The last messages by which both named the arbiter"
        pool = Pool()
        Message = pool.get('cooperative.edi.message')
        messages = Message.search([
                ('kind', '=', 'relation-arbiter'),
                ('origin', '=', str(self)),
                ], order=[('id', 'ASC')])
        return list({m.direction: m for m in messages}.values())


class Document(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.document'

    @classmethod
    def receive_relation_arbiter(cls, message, body):
        said = cls._relation_body(message, body)
        relation = hold(cls._named_relation(message, said))
        relation.arbiter_of_peer = said.arbiter
        relation.save()
        return relation


def _kids(record):
    return {k.kid for k in record.keys}


def check_arbiter(arbiter, company, parties, trust_party):
    """Raise an error if the arbiter is us, another party or an operator,
    be it by one of its keys.  arbiter and parties are peers."""
    pool = Pool()
    Identity = pool.get('cooperative.edi.identity')
    Peer = pool.get('cooperative.edi.peer')
    operators = set(Peer.search([
                ('company', '=', company.id),
                ('kind', '=', 'trust-party'),
                ])) | set(filter(None, [trust_party]))
    try:
        rules.check_arbiter(
            (arbiter.identifier, _kids(arbiter)),
            [(p.identifier, _kids(p))
                for p in [Identity.get(company.id), *parties]],
            [(p.identifier, _kids(p)) for p in operators])
    except ProtocolError as exception:
        raise DisputeArbiterError(gettext(
                'cooperative_edi.msg_dispute_arbiter',
                arbiter=arbiter.rec_name,
                error=str(exception))) from exception
