# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What people say in a dispute, each from its button"""
import datetime as dt

from trytond.i18n import gettext
from trytond.model import ModelView, fields
from trytond.modules.currency.fields import Monetary
from trytond.pool import Pool
from trytond.pyson import Bool, Eval
from trytond.transaction import Transaction
from trytond.wizard import (
    Button, StateAction, StateTransition, StateView, Wizard)

from .dispute import ASKED, OUTCOMES, SIDES
from .exceptions_dispute import DisputeMessagesError
from .identity import now
from .peer import naive
from .vouch import SIDES as WRITERS

ANSWER_DAYS = 14
AWARD_DAYS = 60
ARBITER_DOMAIN = [
    ('company', '=', Eval('company', -1)),
    ('kind', '!=', 'trust-party'),
    ('state', '=', 'active'),
    ]


class _Said(Wizard):
    "Say something in the disputes selected"
    start_state = 'start'
    say = StateTransition()

    def transition_say(self):
        self._say(self.record)
        return 'end'

    def default_start(self, fields):
        return {'company': self.record.company.id}


class Open(Wizard):
    __name__ = 'cooperative.edi.dispute.open'
    start = StateView(
        'cooperative.edi.dispute.open.start',
        'cooperative_edi.dispute_open_start_view_form', [
            Button("Cancel", 'end', 'tryton-cancel'),
            Button("Open", 'open_', 'tryton-ok', default=True),
            ])
    open_ = StateAction('cooperative_edi.act_dispute')

    def default_start(self, fields):
        messages = self._messages()
        return {
            'company': messages[0].company.id,
            'side': self._side(messages[0]),
            'currency': messages[0].company.currency.id,
            'answer_by': naive(now()) + dt.timedelta(ANSWER_DAYS),
            'award_by': naive(now()) + dt.timedelta(AWARD_DAYS),
            'notice': gettext('cooperative_edi.msg_dispute_notice'),
            }

    def _messages(self):
        "Return the documents selected, or those of the selected records"
        pool = Pool()
        Message = pool.get('cooperative.edi.message')
        if self.model == Message:
            messages = list(self.records)
        else:
            messages = Message.search([
                    ('origin', 'in', [str(r) for r in self.records]),
                    ('kind', 'in', list(WRITERS)),
                    ('state', 'in', ['sent', 'processed', 'received']),
                    ], order=[('id', 'ASC')])
        messages = [m for m in messages if not m.unsigned]
        if not messages:
            raise DisputeMessagesError(
                gettext('cooperative_edi.msg_dispute_messages'))
        return messages

    def _side(self, message):
        "Return what we are in the deal of the message"
        writer, _ = WRITERS.get(message.kind, (None, None))
        writer = {'payer': 'buyer'}.get(writer, writer)
        if message.direction == 'in' and writer:
            return 'seller' if writer == 'buyer' else 'buyer'
        return writer

    def do_open_(self, action):
        pool = Pool()
        Dispute = pool.get('cooperative.edi.dispute')
        start = self.start
        freezes = [name for name, value in [
                ('despatch', start.freeze_despatches),
                ('payment', start.freeze_payments)] if value]
        dispute = Dispute.open_about(
            self._messages(), side=start.side, claim=start.claim,
            asked=start.asked, amount=start.amount,
            currency=start.currency if start.amount else None,
            freezes=freezes, arbiter=start.arbiter,
            answer_by=start.answer_by.replace(microsecond=0),
            award_by=start.award_by.replace(microsecond=0))
        if start.proofs:
            dispute.say_proofs()
        action['views'].sort(key=lambda v: v[1] != 'form')
        return action, {'res_id': [dispute.id]}


class OpenStart(ModelView):
    __name__ = 'cooperative.edi.dispute.open.start'

    company = fields.Many2One('company.company', "Company", readonly=True)
    notice = fields.Text("Notice", readonly=True)
    side = fields.Selection(SIDES, "We Are", required=True,
        help="What the company is in the deal.")
    claim = fields.Text("Claim", required=True,
        help="What is wrong. The other party and the arbiter read it.")
    asked = fields.Selection(ASKED, "Asked", required=True, sort=False)
    amount = Monetary(
        "Amount", currency='currency', digits='currency',
        domain=['OR',
            ('amount', '=', None),
            ('amount', '>', 0),
            ],
        help="With taxes. Leave empty if it is not about an amount.")
    currency = fields.Many2One('currency.currency', "Currency",
        states={
            'required': Bool(Eval('amount')),
            })
    freeze_payments = fields.Boolean("Payments Wait",
        help="The buyer does not pay the invoices in question.")
    freeze_despatches = fields.Boolean("Despatches Wait",
        help="The seller does not ship what is in question.")
    arbiter = fields.Many2One(
        'cooperative.edi.peer', "Arbiter", domain=ARBITER_DOMAIN,
        help="Whom you accept to decide. Leave empty to take the one of the "
        "relation, or to name one later.")
    answer_by = fields.DateTime("Answer By", required=True)
    award_by = fields.DateTime("Award By", required=True,
        domain=[
            ('award_by', '>', Eval('answer_by')),
            ],
        help="The dispute expires then, unless it is decided.")
    proofs = fields.Boolean("Add the Proofs",
        help="Hand over the evidence file of the messages: the documents, "
        "the signatures and the entries in the log of the trust party.\n"
        "Uncheck it if they are not complete yet, and add them later.")

    @classmethod
    def default_asked(cls):
        return 'refund'

    @classmethod
    def default_freeze_payments(cls):
        return True

    @classmethod
    def default_freeze_despatches(cls):
        return True

    @classmethod
    def default_proofs(cls):
        return True

    @classmethod
    def default_company(cls):
        return Transaction().context.get('company')


class Answer(_Said):
    __name__ = 'cooperative.edi.dispute.answer'
    start = StateView(
        'cooperative.edi.dispute.answer.start',
        'cooperative_edi.dispute_answer_start_view_form', [
            Button("Cancel", 'end', 'tryton-cancel'),
            Button("Answer", 'say', 'tryton-ok', default=True),
            ])

    def default_start(self, fields):
        pool = Pool()
        Peer = pool.get('cooperative.edi.peer')
        dispute = self.record
        arbiter = dispute.arbiter_of_claimant and Peer.get(
            dispute.company.id, dispute.arbiter_of_claimant)
        return {
            'company': dispute.company.id,
            'claim': dispute.claim,
            'freeze_payments': dispute.freeze_payments,
            'freeze_despatches': dispute.freeze_despatches,
            'arbiter': arbiter.id if arbiter else None,
            }

    def _say(self, dispute):
        start = self.start
        freezes = [name for name, value in [
                ('despatch', start.freeze_despatches),
                ('payment', start.freeze_payments)] if value]
        dispute.say_answer(
            start.answer == 'agree', start.text, freezes, start.arbiter)


class AnswerStart(ModelView):
    __name__ = 'cooperative.edi.dispute.answer.start'

    company = fields.Many2One('company.company', "Company", readonly=True)
    claim = fields.Text("Claim", readonly=True)
    answer = fields.Selection([
            ('contest', "Contest the Claim"),
            ('agree', "Agree to What Is Asked"),
            ], "Answer", required=True, sort=False,
        help="To agree ends the dispute as asked.")
    text = fields.Text("Text",
        states={
            'required': Eval('answer') == 'contest',
            })
    freeze_payments = fields.Boolean("Payments Wait")
    freeze_despatches = fields.Boolean("Despatches Wait")
    arbiter = fields.Many2One(
        'cooperative.edi.peer', "Arbiter", domain=ARBITER_DOMAIN,
        help="Whom you accept to decide: nobody decides before both name "
        "the same.")

    @classmethod
    def default_answer(cls):
        return 'contest'


class Arbiter(_Said):
    __name__ = 'cooperative.edi.dispute.arbiter'
    start = StateView(
        'cooperative.edi.dispute.arbiter.start',
        'cooperative_edi.dispute_arbiter_start_view_form', [
            Button("Cancel", 'end', 'tryton-cancel'),
            Button("Name", 'say', 'tryton-ok', default=True),
            ])

    def _say(self, dispute):
        dispute.say_arbiter(self.start.arbiter)


class ArbiterStart(ModelView):
    __name__ = 'cooperative.edi.dispute.arbiter.start'

    company = fields.Many2One('company.company', "Company", readonly=True)
    arbiter = fields.Many2One(
        'cooperative.edi.peer', "Arbiter", required=True,
        domain=ARBITER_DOMAIN,
        help="Whom you accept to decide: nobody decides before both name "
        "the same.")


class Evidence(_Said):
    __name__ = 'cooperative.edi.dispute.evidence'
    start = StateView(
        'cooperative.edi.dispute.evidence.start',
        'cooperative_edi.dispute_evidence_start_view_form', [
            Button("Cancel", 'end', 'tryton-cancel'),
            Button("Add", 'say', 'tryton-ok', default=True),
            ])

    def _say(self, dispute):
        start = self.start
        if start.text or start.file:
            dispute.say_evidence(
                start.text,
                start.name or 'file' if start.file else None,
                bytes(start.file) if start.file else None)
        if start.proofs:
            dispute.say_proofs()


class EvidenceStart(ModelView):
    __name__ = 'cooperative.edi.dispute.evidence.start'

    company = fields.Many2One('company.company', "Company", readonly=True)
    text = fields.Text("Text",
        states={
            'required': ~Eval('file') & ~Eval('proofs', False),
            })
    name = fields.Char("File Name")
    file = fields.Binary("File", filename='name',
        help="A photo, a letter, an evidence file: 2 MB at most.")
    proofs = fields.Boolean("Add the Proofs",
        help="Hand over the evidence file of the messages in question.")


class Award(_Said):
    __name__ = 'cooperative.edi.dispute.decide'
    start = StateView(
        'cooperative.edi.dispute.award.start',
        'cooperative_edi.dispute_award_start_view_form', [
            Button("Cancel", 'end', 'tryton-cancel'),
            Button("Sign", 'say', 'tryton-ok', default=True),
            ])

    def default_start(self, fields):
        dispute = self.record
        return {
            'company': dispute.company.id,
            'claim': dispute.claim,
            'currency': (
                dispute.currency or dispute.company.currency).id,
            }

    def _say(self, dispute):
        start = self.start
        dispute.sign_award(
            start.outcome, start.reasons,
            credited=start.credited if start.outcome != 'seller' else None,
            paid=start.paid if start.outcome != 'buyer' else None,
            currency=start.currency)


class AwardStart(ModelView):
    __name__ = 'cooperative.edi.dispute.award.start'

    company = fields.Many2One('company.company', "Company", readonly=True)
    claim = fields.Text("Claim", readonly=True)
    outcome = fields.Selection(OUTCOMES, "Outcome", required=True, sort=False)
    credited = Monetary(
        "Credited", currency='currency', digits='currency',
        domain=['OR',
            ('credited', '=', None),
            ('credited', '>', 0),
            ],
        states={
            'required': Eval('outcome') == 'split',
            'invisible': Eval('outcome') == 'seller',
            },
        help="What the seller credits or refunds, with taxes.")
    paid = Monetary(
        "Paid", currency='currency', digits='currency',
        domain=['OR',
            ('paid', '=', None),
            ('paid', '>', 0),
            ],
        states={
            'required': Eval('outcome') == 'split',
            'invisible': Eval('outcome') == 'buyer',
            },
        help="What the buyer pays, with taxes.")
    currency = fields.Many2One(
        'currency.currency', "Currency", required=True)
    reasons = fields.Text("Reasons", required=True,
        help="Both parties read them. They cannot be changed once signed.")
