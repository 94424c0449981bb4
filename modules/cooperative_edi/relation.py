# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
import uuid

from trytond.i18n import gettext
from trytond.model import ModelSQL, ModelView, Unique, Workflow, fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Eval, If
from trytond.transaction import Transaction

from trycoton.protocol.errors import ProtocolError
from trycoton.protocol.statement import BODIES

from .exceptions import DocumentHeld, DocumentRefused, RelationRouteError


class Relation(Workflow, ModelSQL, ModelView):
    __name__ = 'cooperative.edi.relation'

    _states = {
        'readonly': Eval('state') != 'draft',
        }

    company = fields.Many2One(
        'company.company', "Company", required=True, ondelete='CASCADE',
        states=_states)
    peer = fields.Many2One(
        'cooperative.edi.peer', "Peer", required=True, ondelete='CASCADE',
        domain=[
            ('company', '=', Eval('company', -1)),
            ],
        states=_states,
        help="With whom the company trades.")
    community = fields.Many2One(
        'cooperative.edi.peer', "Community", ondelete='RESTRICT',
        domain=[
            ('company', '=', Eval('company', -1)),
            ('kind', '=', 'community'),
            ],
        states=_states,
        help="The community whose offers and rules apply.\n"
        "Leave empty to trade outside any community.")
    trust_party = fields.Many2One(
        'cooperative.edi.peer', "Trust Party", ondelete='RESTRICT',
        domain=[
            ('company', '=', Eval('company', -1)),
            ('kind', '=', 'trust-party'),
            If(Eval('state') == 'draft',
                ('accepted', '=', True),
                ()),
            ],
        states=_states,
        help="What relays and records the messages.\n"
        "Leave empty to send them directly.")
    sealed = fields.Boolean("End-to-End Encrypted",
        states=_states,
        help="The documents are encrypted to who receives them: the trust "
        "party sees nothing but who sends something to whom, and when.\n"
        "Both sides must agree to it, and keep their private keys: nobody "
        "else can read what was exchanged.")
    uuid = fields.Char("UUID", required=True, readonly=True)
    reason = fields.Text("Reason", readonly=True,
        states={
            'invisible': ~Eval('reason'),
            })
    proposed_by = fields.Selection([
            ('us', "Us"),
            ('peer', "Peer"),
            ], "Proposed By", readonly=True, required=True)
    state = fields.Selection([
            ('draft', "Draft"),
            ('proposed', "Proposed"),
            ('agreed', "Agreed"),
            ('refused', "Refused"),
            ('ended', "Ended"),
            ], "State", required=True, readonly=True, sort=False)

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_constraints += [
            ('uuid_unique', Unique(t, t.peer, t.uuid),
                'cooperative_edi.msg_relation_uuid_unique'),
            ]
        cls._order.insert(0, ('id', 'DESC'))
        cls._transitions |= {
            ('draft', 'proposed'),
            ('proposed', 'agreed'),
            ('proposed', 'refused'),
            ('agreed', 'ended'),
            ('proposed', 'ended'),
            }
        answerable = (
            (Eval('state') == 'proposed') & (Eval('proposed_by') == 'peer'))
        cls._buttons.update(
            propose={
                'invisible': Eval('state') != 'draft',
                'depends': ['state'],
                },
            agree={
                'invisible': ~answerable,
                'depends': ['state', 'proposed_by'],
                },
            refuse={
                'invisible': ~answerable,
                'depends': ['state', 'proposed_by'],
                },
            end={
                'invisible': ~Eval('state').in_(['proposed', 'agreed']),
                'depends': ['state'],
                },
            )

    @classmethod
    def default_company(cls):
        return Transaction().context.get('company')

    @classmethod
    def default_uuid(cls):
        return str(uuid.uuid4())

    @classmethod
    def default_proposed_by(cls):
        return 'us'

    @classmethod
    def default_state(cls):
        return 'draft'

    def get_rec_name(self, name):
        names = [self.peer.rec_name]
        if self.community:
            names.append(self.community.rec_name)
        names.append(self.trust_party.rec_name if self.trust_party
            else gettext('cooperative_edi.msg_relation_direct'))
        return ' - '.join(names)

    @classmethod
    def search_rec_name(cls, name, clause):
        return ['OR',
            ('peer.rec_name', *clause[1:]),
            ('community.rec_name', *clause[1:]),
            ('trust_party.rec_name', *clause[1:]),
            ]

    @classmethod
    def copy(cls, relations, default=None):
        default = default.copy() if default is not None else {}
        default.setdefault('uuid', lambda _: cls.default_uuid())
        default.setdefault('reason')
        default.setdefault('proposed_by', 'us')
        return super().copy(relations, default=default)

    @classmethod
    def find(cls, company, peer, **where):
        """Return the last agreed relation with the peer, or None.
        where can name the community or the trust party, None included."""
        relations = cls.search([
                ('company', '=', company),
                ('peer', '=', peer),
                ('state', '=', 'agreed'),
                *[(name, '=', value) for name, value in where.items()],
                ], order=[('id', 'DESC')], limit=1)
        return relations[0] if relations else None

    @property
    def route(self):
        return {
            'relation': self.uuid,
            'community': (
                self.community.identifier if self.community else None),
            'trust_party': (
                self.trust_party.identifier if self.trust_party else None),
            'replaces': None,
            'sealed': self.sealed_for,
            }

    def check_route(self):
        "Raise an error if the peer does not accept the route"
        if not self.peer.accepts(self.trust_party):
            raise RelationRouteError(gettext(
                    'cooperative_edi.msg_relation_route',
                    relation=self.rec_name, peer=self.peer.rec_name))

    @classmethod
    @ModelView.button
    @Workflow.transition('proposed')
    def propose(cls, relations):
        pool = Pool()
        Message = pool.get('cooperative.edi.message')
        for relation in relations:
            relation.check_route()
            Message.send_statement(
                relation.peer, 'relation-proposal', relation.route,
                origin=relation)

    @classmethod
    @ModelView.button
    @Workflow.transition('agreed')
    def agree(cls, relations):
        cls._answer(relations, True)

    @classmethod
    @ModelView.button
    @Workflow.transition('refused')
    def refuse(cls, relations):
        cls._answer(relations, False)

    @classmethod
    @ModelView.button
    @Workflow.transition('ended')
    def end(cls, relations):
        pool = Pool()
        Message = pool.get('cooperative.edi.message')
        for relation in relations:
            Message.send_statement(
                relation.peer, 'relation-end', {'relation': relation.uuid},
                origin=relation)

    @classmethod
    def _answer(cls, relations, agreed):
        pool = Pool()
        Message = pool.get('cooperative.edi.message')
        for relation in relations:
            Message.send_statement(
                relation.peer, 'relation-answer', {
                    'relation': relation.uuid,
                    'agreed': agreed,
                    'reason': relation.reason or None,
                    'sealed': relation.sealed_for if agreed else None,
                    }, origin=relation)

    @property
    def agreeable(self):
        "Tell if the relation may be agreed without a person"
        pool = Pool()
        Identity = pool.get('cooperative.edi.identity')
        identity = Identity.get(self.company.id)
        return (identity.agree_relations
            and self.peer.state == 'active'
            and (self.trust_party.accepted if self.trust_party
                else identity.direct))


class Document(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.document'

    @classmethod
    def receive_relation_proposal(cls, message, body):
        pool = Pool()
        Relation = pool.get('cooperative.edi.relation')
        proposal = cls._relation_body(message, body)
        if relation := cls._relation(message, proposal.relation):
            return relation
        relation = Relation(
            company=message.company,
            peer=message.peer,
            uuid=proposal.relation,
            community=cls._named_peer(message, proposal.community),
            trust_party=cls._named_peer(message, proposal.trust_party),
            sealed=bool(proposal.sealed),
            proposed_by='peer',
            state='proposed')
        relation.save()
        if relation.agreeable:
            Relation.agree([relation])
        return relation

    @classmethod
    def receive_relation_answer(cls, message, body):
        pool = Pool()
        Relation = pool.get('cooperative.edi.relation')
        answer = cls._relation_body(message, body)
        relation = cls._named_relation(message, answer)
        if relation.state != 'proposed' or relation.proposed_by != 'us':
            return relation
        relation.reason = answer.reason
        # Who does not know what it agrees to does not agree
        agreed = answer.agreed and bool(answer.sealed) == bool(
            relation.sealed)
        relation.state = 'agreed' if agreed else 'refused'
        Relation.save([relation])
        return relation

    @classmethod
    def receive_relation_end(cls, message, body):
        relation = cls._named_relation(
            message, cls._relation_body(message, body))
        if relation.state in {'proposed', 'agreed'}:
            relation.state = 'ended'
            relation.save()
        return relation

    @classmethod
    def _relation_body(cls, message, body):
        "Return what the body of the message says, or refuse it"
        try:
            return BODIES[message.kind].from_json(body)
        except ProtocolError as exception:
            raise DocumentRefused('SV', gettext(
                    'cooperative_edi.msg_relation_body',
                    error=str(exception))) from exception

    @classmethod
    def _named_peer(cls, message, identifier):
        pool = Pool()
        Peer = pool.get('cooperative.edi.peer')
        if identifier is None:
            return
        peer = Peer.get(message.company.id, identifier)
        if not peer:
            raise DocumentHeld(gettext(
                    'cooperative_edi.msg_peer_unknown',
                    identifier=identifier))
        return peer

    @classmethod
    def _relation(cls, message, uuid):
        "Return the relation with the sender of that UUID, or None"
        pool = Pool()
        Relation = pool.get('cooperative.edi.relation')
        relations = Relation.search([
                ('company', '=', message.company.id),
                ('peer', '=', message.peer.id),
                ('uuid', '=', uuid),
                ])
        return relations[0] if relations else None

    @classmethod
    def _named_relation(cls, message, body):
        relation = cls._relation(message, body.relation)
        if not relation:
            raise DocumentHeld(gettext(
                    'cooperative_edi.msg_relation_unknown',
                    relation=body.relation))
        return relation
