# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
import datetime as dt
import re
from collections import defaultdict
from decimal import Decimal
from typing import NamedTuple

from trytond.i18n import gettext
from trytond.model import Index, ModelSQL, ModelView, Unique, Workflow, fields
from trytond.modules.company.model import CompanyValueMixin
from trytond.modules.currency.fields import Monetary
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Date, Eval, If
from trytond.transaction import Transaction

from trycoton.protocol import ubl

from .account_invoice import ISSUED
from .document import decimal, today
from .exceptions_document import AnnouncementBankError
from .exchange import ProgressMixin

WAITING = ['announced', 'proposed']
LATE = dt.timedelta(days=5)


class Configuration(metaclass=PoolMeta):
    __name__ = 'account.configuration'

    edi_reconcile_exact = fields.MultiValue(fields.Boolean(
            "Reconcile Announced Payments",
            help="Reconcile without asking a payment that a customer "
            "announced, once a posted bank line has its party, its amount "
            "and its reference."))


class ConfigurationReconcileExact(ModelSQL, CompanyValueMixin):
    __name__ = 'account.configuration.edi_reconcile_exact'

    edi_reconcile_exact = fields.Boolean("Reconcile Announced Payments")


class Announcement(ProgressMixin, Workflow, ModelSQL, ModelView):
    __name__ = 'cooperative.edi.payment.announcement'
    _rec_name = 'number'

    company = fields.Many2One(
        'company.company', "Company", required=True, readonly=True,
        ondelete='RESTRICT')
    message = fields.Many2One(
        'cooperative.edi.message', "Message", required=True, readonly=True,
        ondelete='RESTRICT',
        help="The remittance advice that announces the payment.")
    party = fields.Many2One(
        'party.party', "Party", required=True, readonly=True,
        ondelete='RESTRICT',
        context={
            'company': Eval('company', -1),
            },
        depends={'company'},
        help="Who pays.")
    number = fields.Char("Number", required=True, readonly=True,
        help="The number of the remittance advice.")
    date = fields.Date("Payment Date", readonly=True)
    currency = fields.Many2One(
        'currency.currency', "Currency", required=True, readonly=True,
        ondelete='RESTRICT')
    amount = Monetary(
        "Amount", currency='currency', digits='currency', required=True,
        readonly=True,
        help="What is paid, credit notes deducted.")
    reference = fields.Char("Reference", readonly=True,
        help="The text that comes with the payment.")
    lines = fields.One2Many(
        'cooperative.edi.payment.announcement.line', 'announcement', "Lines",
        readonly=True)
    state = fields.Selection([
            ('announced', "Announced"),
            ('proposed', "Proposed"),
            ('reconciled', "Reconciled"),
            ('cancelled', "Cancelled"),
            ], "State", required=True, readonly=True, sort=False,
        help="An announced payment changes nothing in the accounts until it "
        "is on a bank statement.\n"
        "Proposed: the bank lines were found and wait for the accountant.")

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_constraints += [
            ('message_unique', Unique(t, t.message),
                'cooperative_edi.msg_document_message_unique'),
            ]
        cls._sql_indexes.add(
            Index(t, (t.party, Index.Range()),
                where=t.state.in_(WAITING)))
        cls._order = [('id', 'DESC')]
        cls._transitions |= {
            ('announced', 'proposed'),
            ('announced', 'reconciled'),
            ('announced', 'cancelled'),
            ('proposed', 'announced'),
            ('proposed', 'reconciled'),
            ('proposed', 'cancelled'),
            ('cancelled', 'announced'),
            }
        cls._buttons.update(
            reconcile={
                'invisible': ~Eval('state').in_(WAITING),
                'depends': ['state'],
                },
            cancel={
                'invisible': ~Eval('state').in_(WAITING),
                'depends': ['state'],
                },
            announce={
                'invisible': Eval('state') != 'cancelled',
                'depends': ['state'],
                },
            )

    @classmethod
    def default_company(cls):
        return Transaction().context.get('company')

    @classmethod
    def default_state(cls):
        return 'announced'

    @classmethod
    def view_attributes(cls):
        late = (
            (Eval('state') == 'announced')
            & (Eval('date', Date()) < Date(delta_days=-LATE.days)))
        return super().view_attributes() + [
            ('/tree', 'visual',
                If(late, 'danger',
                    If(Eval('state') == 'proposed', 'warning', ''))),
            ]

    @classmethod
    @ModelView.button
    @Workflow.transition('announced')
    def announce(cls, announcements):
        pass

    @classmethod
    @ModelView.button
    @Workflow.transition('cancelled')
    def cancel(cls, announcements):
        pass

    @classmethod
    @ModelView.button
    def reconcile(cls, announcements):
        "Reconcile the invoices with what the bank statements show"
        announcements = [a for a in announcements if a.state in WAITING]
        cls._release(announcements)
        matches = list(cls._matches(announcements))
        for match in matches:
            match.reconcile()
            cls._settled(match.announcements)
        if announcements and not matches:
            announcement, *_ = announcements
            raise AnnouncementBankError(gettext(
                    'cooperative_edi.msg_announcement_bank',
                    announcement=announcement.rec_name,
                    party=announcement.party.rec_name,
                    amount=announcement.amount))

    @classmethod
    def propose(cls, announcements):
        """Show the accountant what the bank statements show, or reconcile it
        if the accountant lets what is exact pass"""
        pool = Pool()
        Configuration = pool.get('account.configuration')
        configuration = Configuration(1)
        announcements = [a for a in announcements if a.state in WAITING]
        cls._release(announcements)
        for match in cls._matches(announcements):
            company = match.announcements[0].company
            passes = match.exact and configuration.get_multivalue(
                'edi_reconcile_exact', company=company.id)
            # What is paid otherwise needs no booking
            if passes or not match.bank_lines:
                match.reconcile()
                cls._settled(match.announcements)
            else:
                match.keep()
                cls._proposed(match.announcements)

    @classmethod
    def _release(cls, announcements):
        "Forget the bank lines proposed"
        pool = Pool()
        Line = pool.get('cooperative.edi.payment.announcement.line')
        cls._unproposed([a for a in announcements if a.state == 'proposed'])
        Line.write([l for a in announcements for l in a.lines], {
                'move_line': None,
                })

    @classmethod
    @Workflow.transition('announced')
    def _unproposed(cls, announcements):
        pass

    @classmethod
    @Workflow.transition('proposed')
    def _proposed(cls, announcements):
        pass

    @classmethod
    @Workflow.transition('reconciled')
    def _settled(cls, announcements):
        pass

    @classmethod
    def _matches(cls, announcements):
        "Yield what is found on the bank statements, each bank line once"
        taken, remaining = set(), defaultdict(list)
        for announcement in announcements:
            match = (
                cls._match_together([announcement], taken)
                or announcement._match_lines(taken))
            if match:
                taken.update(match.bank_lines)
                yield match
            else:
                remaining[announcement.company, announcement.party].append(
                    announcement)
        for together in remaining.values():
            # Credit notes may be deducted from another announcement
            if len(together) > 1:
                if match := cls._match_together(together, taken):
                    taken.update(match.bank_lines)
                    yield match

    @classmethod
    def _match_together(cls, announcements, taken):
        "Return the one bank line that pays all that is due exactly"
        lines = [l for a in announcements for l in a.lines]
        if not all(l.invoice for l in lines):
            return
        due = {m for a in announcements for m in a.lines_to_pay}
        if not due:
            return Match(announcements, [(lines, None)], True)
        if len({(m.account, m.party) for m in due}) > 1:
            return
        balance = sum(m.debit - m.credit for m in due)
        references = {r for l in lines for r in l.references}
        bank_line, exact = cls._bank_line(
            next(iter(due)), balance, references, taken)
        if bank_line:
            return Match(announcements, [(lines, bank_line)], exact)

    def _match_lines(self, taken):
        "Return a bank line for each line: paid one by one, or in part"
        if self.currency != self.company.currency:
            return
        pairs, all_exact, taken = [], True, set(taken)
        for line in self.lines:
            if not line.invoice:
                return
            due = line.invoice.edi_due
            if not due:
                pairs.append(([line], None))
                continue
            balance = sum(m.debit - m.credit for m in due)
            if line.amount * balance <= 0 or abs(line.amount) > abs(balance):
                return
            bank_line, exact = self._bank_line(
                due[0], line.amount, line.references, taken)
            if not bank_line:
                return
            taken.add(bank_line)
            all_exact &= exact
            pairs.append(([line], bank_line))
        return Match([self], pairs, all_exact)

    @property
    def lines_to_pay(self):
        "The lines of the invoices that are not reconciled"
        return [m for i in dict.fromkeys(
                l.invoice for l in self.lines if l.invoice)
            for m in i.edi_due]

    @classmethod
    def _bank_line(cls, due, amount, references, taken):
        """Return the booked line of the amount, and whether it is exactly
        what was announced: it has the reference"""
        pool = Pool()
        MoveLine = pool.get('account.move.line')
        Invoice = pool.get('account.invoice')
        candidates = [
            c for c in MoveLine.search([
                    ('account', '=', due.account.id),
                    ('party', '=', due.party.id if due.party else None),
                    ('reconciliation', '=', None),
                    ('move_state', '=', 'posted'),
                    ('invoice_payments', '=', None),
                    ], order=[('date', 'ASC'), ('id', 'ASC')])
            if c.credit - c.debit == amount
            and c not in taken and not cls._promised(c)
            and not isinstance(c.move.origin, Invoice)]
        for candidate in candidates:
            if candidate.edi_refers_to(references):
                return candidate, True
        return (candidates[0] if candidates else None), False

    @classmethod
    def _promised(cls, move_line):
        "Tell if the bank line is proposed for another announcement"
        pool = Pool()
        Line = pool.get('cooperative.edi.payment.announcement.line')
        return Line.search([
                ('move_line', '=', move_line.id),
                ('announcement.state', '=', 'proposed'),
                ], limit=1)

    @classmethod
    def propose_parties(cls, company, parties):
        "Look for what the parties announced to the company"
        cls.propose(cls.search([
                    ('company', '=', company.id),
                    ('party', 'in', [p.id for p in parties]),
                    ('state', 'in', WAITING),
                    ]))

    @classmethod
    def invoices_paid(cls, invoices):
        "Settle the announcements that pay nothing else than paid invoices"
        announcements = cls.search([
                ('lines.invoice', 'in', [i.id for i in invoices]),
                ('state', 'in', WAITING),
                ])
        cls._settled([a for a in announcements
                if all(l.invoice for l in a.lines) and not a.lines_to_pay])


class AnnouncementLine(ModelSQL, ModelView):
    __name__ = 'cooperative.edi.payment.announcement.line'

    announcement = fields.Many2One(
        'cooperative.edi.payment.announcement', "Announcement",
        required=True, readonly=True, ondelete='CASCADE')
    number = fields.Char("Number", required=True, readonly=True,
        help="The number of the invoice or credit note.")
    invoice = fields.Many2One(
        'account.invoice', "Invoice", readonly=True, ondelete='RESTRICT')
    amount = Monetary(
        "Amount", currency='currency', digits='currency', required=True,
        readonly=True,
        help="What is paid of the invoice, negative for a credit note.")
    reference = fields.Char("Reference", readonly=True,
        help="The text that comes with the payment of the invoice.")
    move_line = fields.Many2One(
        'account.move.line', "Bank Line", readonly=True, ondelete='SET NULL',
        help="The line by which the payment was booked, or seems to be as "
        "long as it is only proposed.")
    currency = fields.Function(fields.Many2One(
            'currency.currency', "Currency"), 'on_change_with_currency')

    __access__ = {'announcement'}

    @fields.depends('announcement', '_parent_announcement.currency')
    def on_change_with_currency(self, name=None):
        return self.announcement.currency if self.announcement else None

    def get_rec_name(self, name):
        return f'{self.number} @ {self.announcement.rec_name}'

    @classmethod
    def search_rec_name(cls, name, clause):
        return [('number', *clause[1:])]

    @property
    def references(self):
        "What a bank line may say to name the payment"
        return set(filter(None, [
                    self.reference, self.number, self.announcement.reference,
                    self.announcement.number]))


class Match(NamedTuple):
    "The bank lines found for the lines of announcements"
    announcements: list
    pairs: list
    exact: bool

    @property
    def bank_lines(self):
        return [b for _, b in self.pairs if b]

    def keep(self):
        "Write the bank lines on the lines that they pay"
        pool = Pool()
        Line = pool.get('cooperative.edi.payment.announcement.line')
        for lines, bank_line in self.pairs:
            Line.write(lines, {
                    'move_line': bank_line.id if bank_line else None,
                    })

    def reconcile(self):
        "Book that the bank lines pay the invoices"
        pool = Pool()
        MoveLine = pool.get('account.move.line')
        for lines, bank_line in self.pairs:
            if not bank_line:
                continue
            invoices = dict.fromkeys(l.invoice for l in lines)
            due = [m for i in invoices for m in i.edi_due]
            balance = sum(m.debit - m.credit for m in [*due, bank_line])
            if not balance:
                MoveLine.reconcile([*due, bank_line])
            else:
                self._pay_in_part(*invoices, bank_line)
        self.keep()

    @staticmethod
    def _pay_in_part(invoice, bank_line):
        "Add the bank line to what was paid of the invoice"
        pool = Pool()
        Invoice = pool.get('account.invoice')
        MoveLine = pool.get('account.move.line')
        lines, remainder = invoice.get_reconcile_lines_for_amount(
            bank_line.credit - bank_line.debit, invoice.company.currency,
            party=bank_line.party)
        Invoice.add_payment_lines({invoice: [bank_line.id]})
        if not remainder:
            MoveLine.reconcile([*lines, bank_line])


class Paid(NamedTuple):
    "What is paid of an invoice received from a peer"
    invoice: object
    amount: Decimal
    reference: str = None


class MoveLine(metaclass=PoolMeta):
    __name__ = 'account.move.line'

    @property
    def edi_text(self):
        "The texts that may hold the reference of a payment"
        texts = [
            self.description, self.move.description,
            getattr(self.origin, 'description', None),
            getattr(self.origin, 'number', None)]
        return ' '.join(filter(None, texts))

    def edi_refers_to(self, references):
        "Tell if one of the references is a word of the texts"
        text = self.edi_text
        return any(
            re.search(rf'(?<!\w){re.escape(r)}(?!\w)', text)
            for r in references)


class Invoice(metaclass=PoolMeta):
    __name__ = 'account.invoice'

    @property
    def edi_due(self):
        "The lines that are not reconciled, with what was paid in part"
        return [m for m in [*self.lines_to_pay, *self.payment_lines]
            if not m.reconciliation]

    def pay_invoice(
            self, amount, payment_method, date, description=None,
            overpayment=0, party=None):
        lines = super().pay_invoice(
            amount, payment_method, date, description=description,
            overpayment=overpayment, party=party)
        # Cash, cheque and whatever else is paid without order to the bank
        self.edi_announce(
            self.number, date, [Paid(self, amount, description or None)],
            self, note=payment_method.name)
        return lines

    @classmethod
    def edi_announce(cls, number, date, paid, origin, note=None):
        "Tell the suppliers what is paid: a message each"
        pool = Pool()
        Document = pool.get('cooperative.edi.document')
        Message = pool.get('cooperative.edi.message')
        relations = defaultdict(list)
        for payment in paid:
            invoice = payment.invoice
            if invoice.type == 'in' and invoice.edi_message:
                relations[invoice.relation, invoice.currency].append(payment)
        for (relation, _), payments in relations.items():
            Message.send(
                relation, Document.remittance_advice(
                    relation, number, date, payments, origin, note=note),
                origin=origin)

    @classmethod
    @Workflow.transition('paid')
    def paid(cls, invoices):
        pool = Pool()
        Announcement = pool.get('cooperative.edi.payment.announcement')
        super().paid(invoices)
        Announcement.invoices_paid([i for i in invoices if i.type == 'out'])


class Payment(metaclass=PoolMeta):
    __name__ = 'account.payment'

    @classmethod
    @ModelView.button
    @Workflow.transition('succeeded')
    def succeed(cls, payments):
        super().succeed(payments)
        cls._edi_announce(payments)

    @classmethod
    def _edi_announce(cls, payments):
        "Tell the suppliers what is paid: a message each for a group"
        pool = Pool()
        Invoice = pool.get('account.invoice')
        groups = defaultdict(list)
        for payment in payments:
            if payment.edi_invoice:
                groups[payment.company, payment.journal].append(payment)
        for grouped in groups.values():
            payment, *_ = grouped
            origin = payment.group or payment
            Invoice.edi_announce(
                origin.number, payment.date,
                [p.edi_paid for p in grouped], origin)

    @property
    def edi_paid(self):
        "What the payment pays"
        # Without a text, the bank still has the number of the transfer
        reference = self.reference_used or getattr(
            self, 'sepa_end_to_end_id', None)
        amount = self.amount if self.kind == 'payable' else -self.amount
        return Paid(self.edi_invoice, amount, reference or None)

    @property
    def edi_invoice(self):
        "The invoice received from a peer that is paid, if any"
        pool = Pool()
        Invoice = pool.get('account.invoice')
        origin = self.line.move.origin if self.line else None
        if isinstance(origin, Invoice) and origin.edi_message:
            return origin


class Message(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.message'

    @classmethod
    def _get_origin(cls):
        return super()._get_origin() + [
            'cooperative.edi.payment.announcement']


class Message_Payment(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.message'

    @classmethod
    def _get_origin(cls):
        return super()._get_origin() + [
            'account.payment', 'account.payment.group']


class Document(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.document'

    @classmethod
    def receive_remittance_advice(cls, message, advice):
        "Keep the payment that the customer announces"
        pool = Pool()
        Announcement = pool.get('cooperative.edi.payment.announcement')
        cls.check_document(message, advice, advice.payer, advice.payee)
        if announcement := cls.known(message, advice):
            return announcement
        announcement = Announcement(
            company=message.company,
            message=message,
            party=message.partner,
            number=advice.number,
            date=advice.payment_date or advice.date,
            currency=cls.currency(advice.currency, message),
            amount=decimal(advice.total),
            reference=advice.payment_reference,
            lines=[
                cls._announcement_line(message, l) for l in advice.lines])
        announcement.save()
        # The bank may have been faster
        Announcement.propose([announcement])
        return announcement

    @classmethod
    def _announcement_line(cls, message, line):
        pool = Pool()
        Line = pool.get('cooperative.edi.payment.announcement.line')
        return Line(
            number=line.invoice_number,
            invoice=cls._announced_invoice(message, line.invoice_number),
            amount=decimal(
                (line.amount or Decimal(0)) - (line.credit or Decimal(0))),
            reference=line.reference)

    @classmethod
    def _announced_invoice(cls, message, number):
        pool = Pool()
        Invoice = pool.get('account.invoice')
        if invoice := cls._origin(message, 'out', ISSUED, number):
            return invoice
        invoices = Invoice.search([
                ('company', '=', message.company.id),
                ('type', '=', 'out'),
                ('party', '=', message.partner.id),
                ('number', '=', number),
                ], limit=1)
        return invoices[0] if invoices else None

    @classmethod
    def remittance_advice(
            cls, relation, number, date, paid, origin, note=None):
        "Return what tells the supplier which invoices are paid"
        company = relation.company
        lines = tuple(
            cls._remittance_line(i, p) for i, p in enumerate(paid, 1))
        return ubl.RemittanceAdvice(
            number=cls._remittance_number(relation, number, origin),
            date=today(company),
            currency=paid[0].invoice.currency.code,
            payer=cls.us(company),
            payee=cls.party(relation.peer),
            total=sum(p.amount for p in paid),
            payment_date=date,
            payment_reference=' '.join(filter(None, dict.fromkeys(
                        p.reference for p in paid))) or None,
            note=note or None,
            lines=lines)

    @classmethod
    def _remittance_number(cls, relation, number, origin):
        "Return the number, distinct for each message"
        pool = Pool()
        Message = pool.get('cooperative.edi.message')
        sent = Message.search([
                ('direction', '=', 'out'),
                ('peer', '=', relation.peer.id),
                ('kind', '=', 'remittance_advice'),
                ('origin', '=', str(origin)),
                ], count=True)
        return f'{number}-{sent + 1}' if sent else number

    @classmethod
    def _remittance_line(cls, number, paid):
        amount = {'amount': paid.amount}
        if paid.amount < 0:
            amount = {'credit': -paid.amount}
        return ubl.RemittanceLine(
            id=str(number),
            invoice_number=paid.invoice.reference,
            invoice_date=paid.invoice.invoice_date,
            reference=paid.reference,
            **amount)
