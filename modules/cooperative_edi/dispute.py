# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Disputes: what is said in them, the deadlines and the award of the arbiter.

Each instance keeps its own case: the one who opened it, the one who answers,
and the arbiter, who is handed what both said as they signed it.  What ends a
dispute is proposed to both as drafts and tasks, never booked.
"""
import uuid
from decimal import Decimal

from sql import Literal, Null
from sql.conditionals import Case
from trytond.i18n import gettext
from trytond.model import ModelSQL, ModelView, Unique, Workflow, fields
from trytond.modules.currency.fields import Monetary
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Bool, Eval, If
from trytond.transaction import Transaction, without_check_access
from trytond.wizard import StateAction

from trycoton.protocol import dispute as rules
from trycoton.protocol import envelope
from trycoton.protocol.errors import ProtocolError

from .dispute_arbiter import check_arbiter
from .dispute_message import body_of
from .exceptions_dispute import (
    DisputeError, DisputeMessagesError, DisputeModifyError)
from .identity import aware, now
from .peer import naive
from .transaction import hold

SIDES = [
    ('buyer', "Buyer"),
    ('seller', "Seller"),
    ]
ASKED = [
    ('refund', "Refund"),
    ('credit', "Credit Note"),
    ('replacement', "Replacement"),
    ('payment', "Payment"),
    ('other', "Other"),
    ]
OUTCOMES = [
    ('buyer', "For the Buyer"),
    ('seller', "For the Seller"),
    ('split', "Split"),
    ]
OPEN = list(rules.OPEN)


class Cron(metaclass=PoolMeta):
    __name__ = 'ir.cron'

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls.method.selection.append(
            ('cooperative.edi.dispute|expire',
                "Close Disputes at Their Deadline"))


class Dispute(Workflow, ModelSQL, ModelView):
    __name__ = 'cooperative.edi.dispute'

    company = fields.Many2One(
        'company.company', "Company", required=True, readonly=True,
        ondelete='RESTRICT')
    role = fields.Selection([
            ('claimant', "Claimant"),
            ('respondent', "Respondent"),
            ('arbiter', "Arbiter"),
            ], "Role", required=True, readonly=True, sort=False,
        help="What the company is in the dispute.")
    peer = fields.Many2One(
        'cooperative.edi.peer', "Peer", required=True, readonly=True,
        ondelete='RESTRICT',
        help="The other party; for the arbiter, who opened the dispute.")
    against = fields.Many2One(
        'cooperative.edi.peer', "Against", readonly=True,
        ondelete='RESTRICT',
        states={
            'required': Eval('role') == 'arbiter',
            'invisible': Eval('role') != 'arbiter',
            })
    relation = fields.Many2One(
        'cooperative.edi.relation', "Relation", readonly=True,
        ondelete='RESTRICT',
        states={
            'invisible': Eval('role') == 'arbiter',
            })
    uuid = fields.Char("UUID", required=True, readonly=True)
    side = fields.Selection(
        SIDES, "Side of the Claimant", required=True, readonly=True,
        help="What the one who opened the dispute is in the deal.")
    messages = fields.One2Many(
        'cooperative.edi.dispute.message', 'dispute', "Messages",
        readonly=True, help="What the dispute is about.")
    items = fields.One2Many(
        'cooperative.edi.dispute.item', 'dispute', "Case File", readonly=True,
        help="What was said, as it was signed. Nothing is taken out.")
    claim = fields.Text("Claim", required=True, readonly=True)
    asked = fields.Selection(
        ASKED, "Asked", required=True, readonly=True, sort=False)
    amount = Monetary(
        "Amount", currency='currency', digits='currency', readonly=True)
    currency = fields.Many2One(
        'currency.currency', "Currency", readonly=True, ondelete='RESTRICT')
    freeze_payments = fields.Boolean("Payments Wait", readonly=True,
        help="The buyer does not pay the invoices in question.")
    freeze_despatches = fields.Boolean("Despatches Wait", readonly=True,
        help="The seller does not ship what is in question.")
    answer_by = fields.DateTime("Answer By", required=True, readonly=True)
    award_by = fields.DateTime("Award By", required=True, readonly=True)
    answer = fields.Text("Answer", readonly=True,
        states={
            'invisible': ~Eval('answer'),
            })
    arbiter = fields.Many2One(
        'cooperative.edi.peer', "Arbiter", readonly=True, ondelete='RESTRICT',
        states={
            'invisible': Eval('role') == 'arbiter',
            },
        help="Whom both named to decide.")
    arbiter_of_claimant = fields.Char(
        "Arbiter Named by the Claimant", readonly=True)
    arbiter_of_respondent = fields.Char(
        "Arbiter Named by the Respondent", readonly=True)
    outcome = fields.Selection(
        [(None, "")] + OUTCOMES, "Outcome", readonly=True, sort=False,
        states={
            'invisible': ~Eval('outcome'),
            })
    credited = Monetary(
        "Credited", currency='currency', digits='currency', readonly=True,
        states={
            'invisible': ~Eval('credited'),
            },
        help="What the seller credits or refunds.")
    paid = Monetary(
        "Paid", currency='currency', digits='currency', readonly=True,
        states={
            'invisible': ~Eval('paid'),
            },
        help="What the buyer pays.")
    reasons = fields.Text("Reasons", readonly=True,
        states={
            'invisible': ~Eval('reasons'),
            })
    award = fields.Binary("Award", readonly=True, filename='award_name',
        states={
            'invisible': ~Eval('award_signature'),
            },
        help="The exact bytes that the arbiter signed.")
    award_name = fields.Function(
        fields.Char("Name of Award"), 'get_award_name')
    award_signature = fields.Text("Signature of Award", readonly=True,
        states={
            'invisible': ~Eval('award_signature'),
            })
    proposals = fields.One2Many(
        'cooperative.edi.dispute.proposal', 'dispute', "Proposals",
        readonly=True,
        states={
            'invisible': ~Eval('proposals', [-1]),
            },
        help="What was drafted for you to check. Nothing is booked.")
    to_do = fields.Function(fields.Text(
            "To Do",
            states={
                'invisible': ~Eval('to_do'),
                }), 'get_to_do')
    notice = fields.Function(fields.Text("Notice"), 'get_notice')
    done = fields.Boolean("Done", readonly=True,
        states={
            'invisible': ~Eval('done'),
            },
        help="What ended the dispute is carried out.")
    state = fields.Selection([
            ('draft', "Draft"),
            ('opened', "Opened"),
            ('unanswered', "Not Answered"),
            ('answered', "Answered"),
            ('agreed', "Agreed"),
            ('withdrawn', "Withdrawn"),
            ('awarded', "Awarded"),
            ('expired', "Expired"),
            ], "State", required=True, readonly=True, sort=False)

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_constraints += [
            ('uuid_unique', Unique(t, t.company, t.peer, t.uuid),
                'cooperative_edi.msg_dispute_uuid_unique'),
            ]
        cls._order.insert(0, ('id', 'DESC'))
        living = Eval('state').in_(OPEN)
        party = Eval('role') != 'arbiter'
        cls._buttons.update(
            answer_claim={
                'invisible': (
                    (Eval('role') != 'respondent')
                    | ~Eval('state').in_(OPEN)),
                'depends': ['role', 'state'],
                },
            name_arbiter={
                'invisible': ~(living & party & ~Eval('arbiter')),
                'depends': ['role', 'state', 'arbiter'],
                },
            add_evidence={
                'invisible': ~(living & party),
                'depends': ['role', 'state'],
                },
            withdraw={
                'invisible': ~(living & (Eval('role') == 'claimant')),
                'depends': ['role', 'state'],
                },
            decide={
                'invisible': ~(living & (Eval('role') == 'arbiter')),
                'depends': ['role', 'state'],
                },
            finish={
                'invisible': (
                    ~Eval('state').in_(['agreed', 'awarded']) | ~party
                    | Bool(Eval('done'))),
                'depends': ['role', 'state', 'done'],
                },
            )

    @classmethod
    def default_state(cls):
        return 'draft'

    def get_rec_name(self, name):
        names = [self.peer.rec_name]
        if self.against:
            names.append(self.against.rec_name)
        return ' - '.join([*names, self.uuid[:8]])

    @classmethod
    def search_rec_name(cls, name, clause):
        return ['OR',
            ('peer.rec_name', *clause[1:]),
            ('against.rec_name', *clause[1:]),
            ('uuid', *clause[1:]),
            ]

    def get_award_name(self, name):
        return f'award-{self.uuid}.json'

    def name_of(self, identifier):
        "Return how people call who has the identifier"
        pool = Pool()
        Identity = pool.get('cooperative.edi.identity')
        Peer = pool.get('cooperative.edi.peer')
        identity = Identity.get(self.company.id)
        if identity.identifier == identifier:
            return self.company.rec_name
        peer = Peer.get(self.company.id, identifier)
        return peer.rec_name if peer else identifier

    def get_notice(self, name):
        return gettext('cooperative_edi.msg_dispute_notice')

    def get_to_do(self, name):
        "Return in words what ended the dispute asks of us"
        if self.role == 'arbiter' or self.state not in {'agreed', 'awarded'}:
            return
        amount = self.credited if self.we_sell else self.paid
        if self.state == 'agreed' and not amount:
            return gettext('cooperative_edi.msg_dispute_agreed',
                asked=self.asked_string)
        if not amount:
            return gettext('cooperative_edi.msg_dispute_nothing')
        lang = Pool().get('ir.lang').get()
        return gettext(
            'cooperative_edi.msg_dispute_credit' if self.we_sell
            else 'cooperative_edi.msg_dispute_pay',
            peer=self.peer.rec_name,
            amount=lang.currency(amount, self.currency))

    asked_string = asked.translated('asked')

    @classmethod
    def view_attributes(cls):
        return super().view_attributes() + [
            ('/tree/field[@name="state"]', 'visual',
                If(Eval('state').in_(['expired', 'unanswered']), 'warning',
                    If(Eval('state').in_(['agreed', 'awarded']), 'success',
                        ''))),
            ('//page[@id="award"]', 'states', {
                    'invisible': ~Eval('state').in_(['agreed', 'awarded']),
                    }, ['state']),
            ]

    @classmethod
    def check_modification(cls, mode, disputes, values=None, external=False):
        super().check_modification(
            mode, disputes, values=values, external=external)
        if mode == 'delete':
            for dispute in disputes:
                raise DisputeModifyError(gettext(
                        'cooperative_edi.msg_dispute_modify',
                        record=dispute.rec_name))

    @classmethod
    def copy(cls, disputes, default=None):
        if disputes:
            raise DisputeModifyError(
                gettext('cooperative_edi.msg_dispute_copy'))
        return super().copy(disputes, default=default)

    # Who and what

    @property
    def parties(self):
        "The identifiers of claimant and respondent"
        opening = self.opening
        return opening.sender, opening.receiver

    @property
    def opening(self):
        "The statement that opened the dispute"
        for item in self.case_file:
            if item.kind == 'dispute-opening':
                return item.statement

    @property
    def case_file(self):
        "The items as they are now"
        pool = Pool()
        Item = pool.get('cooperative.edi.dispute.item')
        return Item.search([('dispute', '=', self.id)])

    @property
    def others(self):
        "The parties that are not us, as peers"
        return [p for p in [self.peer, self.against] if p]

    @property
    def we_sell(self):
        return (self.side == 'seller') == (self.role == 'claimant')

    @property
    def open(self):
        return self.state in OPEN

    @classmethod
    def freezing(cls, records, name):
        "Return the open disputes that freeze the records"
        return cls.search([
                ('state', 'in', OPEN),
                ('role', '!=', 'arbiter'),
                (f'freeze_{name}', '=', True),
                ('messages', 'where', [
                        ('message.origin', 'in', [str(r) for r in records]),
                        ]),
                ])

    def origins(self, name):
        "Return the records of the model that the dispute is about"
        return list(dict.fromkeys(
                m.message.origin for m in self.messages
                if m.message and m.message.origin
                and m.message.origin.__name__ == name))

    # Opening

    @classmethod
    @without_check_access
    def open_about(cls, messages, **values):
        """Open a dispute with the peer about the messages.
        side, claim, asked, answer_by and award_by are needed; amount,
        currency, freezes and arbiter are not."""
        pool = Pool()
        Contested = pool.get('cooperative.edi.dispute.message')
        messages = [m for m in messages if m.data and m.signature]
        peers = {m.peer for m in messages}
        if len(peers) != 1:
            raise DisputeMessagesError(
                gettext('cooperative_edi.msg_dispute_messages'))
        peer, = peers
        relation = next((m.relation for m in messages if m.relation), None)
        freezes = values.pop('freezes', ())
        arbiter = values.pop('arbiter', None) or (
            relation.agreed_arbiter if relation else None)
        dispute = cls(
            company=peer.company, role='claimant', peer=peer,
            relation=relation, uuid=str(uuid.uuid4()),
            freeze_payments='payment' in freezes,
            freeze_despatches='despatch' in freezes,
            **values)
        dispute.messages = [
            Contested(message=m, uuid=m.uuid, digest=m.digest)
            for m in messages]
        dispute.save()
        if arbiter:
            dispute.check_arbiter(arbiter)
        dispute._say('dispute-opening', rules.Opening(
                dispute=dispute.uuid,
                relation=relation.uuid if relation else None,
                side=dispute.side,
                messages=[rules.Contested(m.uuid, m.digest)
                    for m in messages],
                claim=dispute.claim,
                asked=dispute.asked,
                amount=due(dispute.amount, dispute.currency),
                freezes=freezes,
                arbiter=arbiter.identifier if arbiter else None,
                answer_by=aware(dispute.answer_by),
                award_by=aware(dispute.award_by)))
        return dispute

    def check_arbiter(self, arbiter):
        check_arbiter(
            arbiter, self.company, self.others,
            self.relation.trust_party if self.relation else None)

    # Saying

    def _say(self, kind, body):
        "Tell the other party, and take it ourselves"
        pool = Pool()
        Message = pool.get('cooperative.edi.message')
        message = Message.send_statement(
            self.peer, kind, body.to_json(), origin=self)
        statement = envelope.parse(bytes(message.data))
        try:
            hold(self)._take(
                statement, message.signature, aware(message.stored))
        except ProtocolError as exception:
            raise DisputeError(gettext(
                    'cooperative_edi.msg_dispute_say',
                    dispute=self.rec_name,
                    error=str(exception))) from exception

    @classmethod
    @ModelView.button_action('cooperative_edi.wizard_dispute_answer')
    def answer_claim(cls, disputes):
        pass

    @classmethod
    @ModelView.button_action('cooperative_edi.wizard_dispute_arbiter')
    def name_arbiter(cls, disputes):
        pass

    @classmethod
    @ModelView.button_action('cooperative_edi.wizard_dispute_evidence')
    def add_evidence(cls, disputes):
        pass

    @classmethod
    @ModelView.button_action('cooperative_edi.wizard_dispute_award')
    def decide(cls, disputes):
        pass

    @classmethod
    @ModelView.button
    def withdraw(cls, disputes):
        for dispute in disputes:
            dispute._say(
                'dispute-withdrawal', rules.Withdrawal(dispute.uuid, None))

    @classmethod
    @ModelView.button
    def finish(cls, disputes):
        cls.write([d for d in disputes if d.state in {'agreed', 'awarded'}],
            {'done': True})

    @without_check_access
    def say_answer(self, agreed, text=None, freezes=(), arbiter=None):
        if arbiter:
            self.check_arbiter(arbiter)
        self._say('dispute-answer', rules.Answer(
                self.uuid, agreed, text or None, freezes,
                arbiter.identifier if arbiter else None))

    @without_check_access
    def say_arbiter(self, arbiter):
        self.check_arbiter(arbiter)
        self._say('dispute-arbiter', rules.ArbiterNaming(
                self.uuid, arbiter.identifier))

    @without_check_access
    def say_evidence(self, text=None, name=None, file=None):
        try:
            body = rules.CaseEvidence(
                self.uuid, text or None, name, file)
        except ProtocolError as exception:
            raise DisputeError(gettext(
                    'cooperative_edi.msg_dispute_say',
                    dispute=self.rec_name,
                    error=str(exception))) from exception
        self._say('dispute-evidence', body)

    @without_check_access
    def say_proofs(self):
        "Add the evidence file of the messages in question"
        pool = Pool()
        Message = pool.get('cooperative.edi.message')
        messages = [m.message for m in self.messages if m.message]
        self.say_evidence(
            name=f'{self.uuid}.evidence', file=Message.evidence(messages))

    # Taking

    def _take(self, statement, jws, received):
        """Take what a party said.  Return if it is new.
        Raise ProtocolError for what has no place in the dispute."""
        pool = Pool()
        Item = pool.get('cooperative.edi.dispute.item')
        if any(i.digest == statement.digest for i in self.case_file):
            return False
        body = body_of(statement.kind, statement.body)
        first = isinstance(body, rules.Opening)
        if not first:
            rules.check_speaker(body, statement.sender, *self.parties)
            self._check_event(body, statement, received)
        item = Item.of_statement(self, statement, jws, body)
        item.save()
        getattr(self, '_take_' + statement.kind.replace('-', '_'))(
            body, statement)
        self.save()
        self._settle_arbiter([item])
        self._changed()
        return True

    def _check_event(self, body, statement, received):
        event = rules.event_of(body)
        deadline = {
            'answer': self.answer_by,
            'agreement': self.award_by,
            }.get(event)
        if deadline:
            rules.check_in_time(aware(deadline), statement.created, received)
        if not isinstance(body, rules.RelationArbiter):
            self.state = rules.after(self.state, event)

    def _take_dispute_opening(self, body, statement):
        self.state = 'opened'
        self.arbiter_of_claimant = body.arbiter

    def _take_dispute_answer(self, body, statement):
        self.answer = body.text
        if body.arbiter:
            self._name(statement.sender, body.arbiter)
        if body.agreed:
            self._agree()
        # Nothing more than was asked
        self.freeze_payments &= 'payment' in body.freezes
        self.freeze_despatches &= 'despatch' in body.freezes

    def _agree(self):
        "Give what was asked to whom asked it"
        if self.amount:
            name = 'credited' if self.side == 'buyer' else 'paid'
            setattr(self, name, self.amount)

    def _take_dispute_arbiter(self, body, statement):
        self._name(statement.sender, body.arbiter)

    def _take_relation_arbiter(self, body, statement):
        if body.arbiter:
            self._name(statement.sender, body.arbiter)

    def _take_dispute_evidence(self, body, statement):
        pass

    def _take_dispute_withdrawal(self, body, statement):
        self.reasons = body.reason

    def _name(self, sender, arbiter):
        "Note whom the party accepts, until both accept the same"
        if (self.arbiter_of_claimant
                and self.arbiter_of_claimant == self.arbiter_of_respondent):
            return
        claimant, _ = self.parties
        if sender == claimant:
            self.arbiter_of_claimant = arbiter
        else:
            self.arbiter_of_respondent = arbiter

    @property
    def arbiter_named(self):
        "The identifier of whom both named, or None"
        if self.arbiter_of_claimant == self.arbiter_of_respondent:
            return self.arbiter_of_claimant

    def _settle_arbiter(self, items):
        """Make who both named the arbiter, who is handed the whole case;
        hand the new items to the arbiter otherwise"""
        pool = Pool()
        Item = pool.get('cooperative.edi.dispute.item')
        Peer = pool.get('cooperative.edi.peer')
        if self.role == 'arbiter':
            return
        if not self.arbiter:
            if not self.arbiter_named:
                self._name_by_relation()
            if not self.arbiter_named:
                return
            arbiter = Peer.get(self.company.id, self.arbiter_named)
            if not arbiter:
                return
            self.check_arbiter(arbiter)
            self.arbiter = arbiter
            self.save()
            items = self.case_file
        Item.hand_over(items, self.arbiter)

    def _name_by_relation(self):
        "Name who the two agreed on before, if the dispute names nobody else"
        pool = Pool()
        Item = pool.get('cooperative.edi.dispute.item')
        relation = self.relation
        agreed = relation.agreed_arbiter if relation else None
        if not agreed or self.arbiter_of_claimant not in {
                None, agreed.identifier}:
            return
        for message in relation.arbiter_messages:
            statement = envelope.parse(bytes(message.data))
            body = body_of(statement.kind, statement.body)
            item = Item.of_statement(
                self, statement, message.signature, body)
            item.save()
            self._take_relation_arbiter(body, statement)
        self.save()

    def _changed(self):
        "Do what the state means for the records of the deal"
        if self.role != 'arbiter' and self.state in {'agreed', 'awarded'}:
            self._propose()

    def _propose(self):
        "Draft what ended the dispute: nothing here has an account"

    # The award

    @without_check_access
    def sign_award(self, outcome, reasons, credited=None, paid=None,
            currency=None):
        "Decide, and tell both"
        pool = Pool()
        Identity = pool.get('cooperative.edi.identity')
        Message = pool.get('cooperative.edi.message')
        dispute = hold(self)
        identity = Identity.get(dispute.company.id)
        try:
            award = dispute._make_award(
                identity, outcome, reasons, due(credited, currency),
                due(paid, currency))
            data = award.to_bytes()
            jws = identity.sign(data, award.typ)
            dispute._take_award(award, data, jws)
        except ProtocolError as exception:
            raise DisputeError(gettext(
                    'cooperative_edi.msg_dispute_say',
                    dispute=dispute.rec_name,
                    error=str(exception))) from exception
        for peer in dispute.others:
            Message.send_statement(
                peer, 'dispute-award',
                rules.AwardNotice(data, jws).to_json(), origin=dispute)

    def _make_award(self, identity, outcome, reasons, credited, paid):
        claimant, respondent = self.parties
        buyer, seller = ((claimant, respondent) if self.side == 'buyer'
            else (respondent, claimant))
        award = rules.Award(
            dispute=self.uuid, opening=self.opening.digest,
            arbiter=identity.identifier, seller=seller, buyer=buyer,
            outcome=outcome, credited=credited, paid=paid, reasons=reasons,
            considered=[i.digest for i in self.case_file
                if i.kind != 'dispute-opening'],
            created=now())
        award.check_case(self.opening, self.arbiter_named)
        rules.check_in_time(aware(self.award_by), award.created, now())
        return award

    @without_check_access
    def receive_award(self, notice, received):
        "Take the award of the arbiter; raise ProtocolError if it is not one"
        if self.award and bytes(self.award) == notice.award:
            return
        arbiter = self.arbiter
        award = rules.Award.open(
            notice.award, notice.signature,
            arbiter.public_keys() if arbiter else {})
        award.check_case(self.opening, arbiter.identifier)
        self.check_arbiter(arbiter)
        rules.check_in_time(aware(self.award_by), award.created, received)
        self._take_award(award, notice.award, notice.signature)

    def _take_award(self, award, data, jws):
        pool = Pool()
        Document = pool.get('cooperative.edi.document')
        self.state = rules.after(self.state, 'award')
        self.outcome = award.outcome
        self.reasons = award.reasons
        for name in ['credited', 'paid']:
            value = getattr(award, name)
            setattr(self, name, Decimal(value.amount) if value else None)
            if value:
                self.currency = Document.currency(value.currency)
        self.award, self.award_signature = data, jws
        self.save()
        self._changed()

    # Deadlines

    @classmethod
    def expire(cls):
        "End what nobody answered or decided in time"
        time = naive(now())
        for event, name, states in [
                ('expiry', 'award_by', OPEN),
                ('silence', 'answer_by', ['opened']),
                ]:
            for dispute in cls.search([
                        ('state', 'in', states), (name, '<', time)]):
                with Transaction().set_context(company=dispute.company.id):
                    dispute = hold(dispute)
                    if dispute.state in states:
                        dispute.state = rules.after(dispute.state, event)
                        dispute.save()
                        dispute._changed()


def due(amount, currency):
    "Return what the protocol says of an amount, None if there is none"
    if amount:
        return rules.Due(Decimal(amount), currency.code)


class Waiting(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.waiting'

    @classmethod
    def union_models(cls):
        return super().union_models() + ['cooperative.edi.dispute']

    @classmethod
    def _waiting_cooperative_edi_dispute(cls, table):
        living = table.state.in_(OPEN)
        party = table.role != 'arbiter'
        task = Case(
            ((table.role == 'respondent')
                & table.state.in_(['opened', 'unanswered']),
                'answer_dispute'),
            ((table.role == 'arbiter') & living, 'decide'),
            (party & (table.state == 'answered') & (table.arbiter == Null),
                'name_arbiter'),
            (party & table.state.in_(['agreed', 'awarded'])
                & ((table.done == Null) | (table.done == Literal(False))),
                'carry_out'),
            else_=Null)
        return task, *cls._with_peer(table)


class Open(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.waiting.open'
    cooperative_edi_dispute = StateAction('cooperative_edi.act_dispute')

    def do_cooperative_edi_dispute(self, action):
        return self._open(action)
