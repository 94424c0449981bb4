# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Another route for a relation, while messages are under way"""
from sql import Null
from trytond.i18n import gettext
from trytond.model import Index, ModelView, fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Eval, If
from trytond.wizard import Button, StateAction, StateView, Wizard

from trycoton.protocol import envelope
from trycoton.protocol.errors import ProtocolError

from .exceptions import RelationSameRouteError
from .http import Problem
from .identity import now
from .message import RETRY_LAST
from .peer import naive
from .transaction import hold

# How long what was under way is taken by the former route
LATE = 2 * RETRY_LAST


class Relation(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.relation'

    replaces = fields.Many2One(
        'cooperative.edi.relation', "Replaces", readonly=True,
        ondelete='RESTRICT',
        states={
            'invisible': ~Eval('replaces'),
            },
        help="The relation that this one continues by another route.")
    route_lost = fields.Function(fields.Boolean(
            "Route Lost",
            states={
                'invisible': ~Eval('route_lost'),
                },
            help="The trust party was removed, or the community does not work "
            "with it any more: what passes by it may be refused.\n"
            "Change the route; what it recorded stays proved."),
        'get_route_lost', searcher='search_route_lost')

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._buttons.update(
            change_route={
                'invisible': Eval('state') != 'agreed',
                'depends': ['state'],
                },
            )

    @classmethod
    def copy(cls, relations, default=None):
        default = default.copy() if default is not None else {}
        default.setdefault('replaces')
        return super().copy(relations, default=default)

    @classmethod
    def view_attributes(cls):
        return super().view_attributes() + [
            ('/tree/field[@name="trust_party"]', 'visual',
                If(Eval('route_lost', False), 'danger', ''),
                ['route_lost']),
            ]

    @classmethod
    def without_route(cls, table):
        "Return the expression that tells if the agreed relation has no route"
        pool = Pool()
        Peer = pool.get('cooperative.edi.peer')
        peer = Peer.__table__()
        return (table.state == 'agreed') & table.trust_party.in_(
            peer.select(peer.id, where=peer.state != 'active'))

    @classmethod
    def get_route_lost(cls, relations, name):
        lost = set(cls.search([
                    ('id', 'in', [r.id for r in relations]),
                    ('route_lost', '=', True),
                    ]))
        return {r.id: r in lost for r in relations}

    @classmethod
    def search_route_lost(cls, name, clause):
        _, operator, value = clause
        table = cls.__table__()
        query = table.select(table.id, where=cls.without_route(table))
        lost = bool(value) == (operator == '=')
        return [('id', 'in' if lost else 'not in', query)]

    @property
    def route(self):
        route = super().route
        if self.replaces:
            route['replaces'] = self.replaces.uuid
        return route

    @property
    def current(self):
        "The relation by which what belongs to this one is sent now"
        if self.state == 'agreed':
            return self
        for relation in self.search([
                    ('replaces', '=', self.id),
                    ('state', 'in', ['agreed', 'ended']),
                    ], order=[('id', 'DESC')]):
            if current := relation.current:
                return current

    @classmethod
    @ModelView.button_action('cooperative_edi.wizard_relation_route')
    def change_route(cls, relations):
        pass

    @classmethod
    @ModelView.button
    def agree(cls, relations):
        super().agree(relations)
        cls.take_over([r for r in relations if r.state == 'agreed'])

    @classmethod
    def take_over(cls, relations):
        "Have the agreed relations carry what waits by those they replace"
        pool = Pool()
        Message = pool.get('cooperative.edi.message')
        for relation in relations:
            former = relation.replaces
            if not former:
                continue
            if former.state == 'agreed':
                if relation.proposed_by == 'us':
                    # The trust party of the former route is told as well
                    cls.end([former])
                else:
                    cls.write([former], {'state': 'ended'})
            relation._take_records()
            Message.reroute(former, relation)

    def _take_records(self):
        "Have the records that are not sent yet go by the relation"


class Relation_Purchase(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.relation'

    def _take_records(self):
        pool = Pool()
        Purchase = pool.get('purchase.purchase')
        super()._take_records()
        Purchase.write(Purchase.search([
                    ('relation', '=', self.replaces.id),
                    ('state', 'in', ['draft', 'quotation']),
                    ]), {'relation': self.id})


class Message(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.message'

    replaces = fields.Char("Replaces", readonly=True,
        states={
            'invisible': ~Eval('replaces'),
            },
        help="The UUID of the same message by the former route.")

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_indexes.add(
            Index(t, (t.replaces, Index.Equality()),
                where=t.replaces != Null))

    @classmethod
    def send(cls, relation, *args, **kwargs):
        if relation:
            relation = relation.current or relation
        return super().send(relation, *args, **kwargs)

    @classmethod
    def _send(cls, *args, replaces=None, **values):
        if replaces:
            values['replaces'] = replaces
        message = super()._send(*args, **values)
        if replaces:
            message.replaces = replaces
            message.save()
        return message

    @classmethod
    def reroute(cls, former, relation):
        """Send again by the relation what the former one carries and did
        not arrive, as far as is known here"""
        messages = cls.search([
                ('relation', '=', former.id),
                ('direction', '=', 'out'),
                ['OR',
                    ('state', 'in', ['waiting', 'failed']),
                    [
                        ('state', '=', 'sent'),
                        ('receipt', '=', None),
                        ],
                    ],
                ], order=[('id', 'ASC')])
        for message in messages:
            message._reroute(relation)

    def _reroute(self, relation):
        if self.search([
                    ('direction', '=', 'out'),
                    ('replaces', '=', self.uuid),
                    ]):
            return
        payload = self.parsed.payload
        self._send(
            relation.peer, envelope.Envelope, self.kind, self.origin,
            self.answers, relation=relation,
            trust_party=relation.trust_party, number=self.document_number,
            code=self.code, payload=payload, replaces=self.uuid)
        if self.state != 'sent':
            self.cancel([self])
            self.error = gettext('cooperative_edi.msg_message_rerouted')
            self.save()

    @classmethod
    def _admit(cls, arrival):
        try:
            return super()._admit(arrival)
        except Problem:
            relation = cls._replaced(arrival)
            if not relation:
                raise
            return relation

    @classmethod
    def _replaced(cls, arrival):
        "Return the relation by whose former route the message arrives"
        pool = Pool()
        Relation = pool.get('cooperative.edi.relation')
        header = arrival.header
        if (not arrival.active
                or not isinstance(header, envelope.Envelope)):
            return
        for relation in Relation.search([
                    ('company', '=', arrival.identity.company.id),
                    ('peer', '=', arrival.peer.id),
                    ('state', '=', 'agreed'),
                    ('replaces.uuid', '=', header.relation),
                    ('create_date', '>', naive(now()) - LATE),
                    ]):
            former = relation.replaces
            via = former.trust_party
            if header.via == (via.identifier if via else None):
                return former

    @classmethod
    def _arrived(cls, arrival):
        values = super()._arrived(arrival)
        if arrival.header.replaces:
            values['replaces'] = arrival.header.replaces
        return values

    @classmethod
    def process(cls, id_):
        message = cls(id_)
        if twins := message._twins():
            for record in sorted([message, *twins], key=int):
                hold(record)
            message = cls(id_)
            for twin in message._twins():
                if twin.state == 'processed':
                    message._took_effect(twin)
                    return
        super().process(id_)

    def _twins(self):
        "Return the same message as it arrived by another route"
        same = [[('replaces', '=', self.uuid)]]
        if self.replaces:
            same.append([('uuid', '=', self.replaces)])
        twins = self.search([
                ('id', '!=', self.id),
                ('company', '=', self.company.id),
                ('direction', '=', 'in'),
                ('sender', '=', self.sender),
                ('kind', '=', self.kind),
                ['OR', *same],
                ])
        payload = self._payload if twins else None
        return [t for t in twins
            if payload is not None and t._payload == payload]

    @property
    def _payload(self):
        "What the message carries, which its route does not change"
        try:
            return getattr(self.parsed, 'payload', None)
        except ProtocolError:
            # What is sealed and does not open
            return

    def _took_effect(self, twin):
        "Keep what the twin became, once"
        if self.state in {'received', 'parked'}:
            self.origin = twin.origin
            self.state = 'processed'
            self.error = None
            self.save()


class Document(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.document'

    @classmethod
    def receive_relation_proposal(cls, message, body):
        pool = Pool()
        Relation = pool.get('cooperative.edi.relation')
        relation = super().receive_relation_proposal(message, body)
        uuid = cls._relation_body(message, body).replaces
        former = uuid and cls._relation(message, uuid)
        if (former and former != relation and not relation.replaces
                and former.community == relation.community
                and relation.proposed_by == 'peer'):
            relation.replaces = former
            relation.save()
            if relation.state == 'agreed':
                Relation.take_over([relation])
        return relation

    @classmethod
    def receive_relation_answer(cls, message, body):
        pool = Pool()
        Relation = pool.get('cooperative.edi.relation')
        relation = super().receive_relation_answer(message, body)
        if relation.state == 'agreed':
            Relation.take_over([relation])
        return relation


class ChangeRoute(Wizard):
    __name__ = 'cooperative.edi.relation.route'
    start = StateView(
        'cooperative.edi.relation.route.start',
        'cooperative_edi.relation_route_start_view_form', [
            Button("Cancel", 'end', 'tryton-cancel'),
            Button("Propose", 'propose', 'tryton-ok', default=True),
            ])
    propose = StateAction('cooperative_edi.act_relation')

    def default_start(self, fields):
        return {
            'company': self.record.company.id,
            'peer': self.record.peer.id,
            'former': (self.record.trust_party.id
                if self.record.trust_party else None),
            }

    def do_propose(self, action):
        pool = Pool()
        Relation = pool.get('cooperative.edi.relation')
        former = self.record
        if self.start.trust_party == former.trust_party:
            raise RelationSameRouteError(gettext(
                    'cooperative_edi.msg_relation_same_route',
                    relation=former.rec_name))
        relation = Relation(
            company=former.company, peer=former.peer,
            community=former.community,
            trust_party=self.start.trust_party, sealed=former.sealed,
            replaces=former)
        relation.save()
        Relation.propose([relation])
        return action, {'res_id': [relation.id]}


class ChangeRouteStart(ModelView):
    __name__ = 'cooperative.edi.relation.route.start'

    company = fields.Many2One('company.company', "Company", readonly=True)
    peer = fields.Many2One(
        'cooperative.edi.peer', "Peer", readonly=True)
    former = fields.Many2One(
        'cooperative.edi.peer', "Present Trust Party", readonly=True)
    trust_party = fields.Many2One(
        'cooperative.edi.peer', "New Trust Party",
        domain=[
            ('company', '=', Eval('company', -1)),
            ('kind', '=', 'trust-party'),
            ('accepted', '=', True),
            ],
        help="What is to relay and record the messages.\n"
        "Leave empty to send them directly.\n"
        "The present route is used until the peer agrees; what did not "
        "arrive by then is sent again by the new one.")
