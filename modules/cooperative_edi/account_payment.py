# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
from collections import defaultdict
from decimal import Decimal

from trytond.model import Index, ModelSQL, ModelView, Unique, Workflow, fields
from trytond.modules.currency.fields import Monetary
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Eval
from trytond.transaction import Transaction

from trycoton.protocol import ubl

from .account_invoice import ISSUED
from .document import decimal, today


class Announcement(Workflow, ModelSQL, ModelView):
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
    move_line = fields.Many2One(
        'account.move.line', "Bank Line", readonly=True, ondelete='SET NULL',
        states={
            'invisible': ~Eval('move_line'),
            },
        help="The line by which the payment was booked.")
    state = fields.Selection([
            ('announced', "Announced"),
            ('reconciled', "Reconciled"),
            ('cancelled', "Cancelled"),
            ], "State", required=True, readonly=True, sort=False,
        help="An announced payment changes nothing in the accounts until it "
        "is on a bank statement.")

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
                where=t.state == 'announced'))
        cls._order = [('id', 'DESC')]
        cls._transitions |= {
            ('announced', 'reconciled'),
            ('announced', 'cancelled'),
            ('cancelled', 'announced'),
            }
        cls._buttons.update(
            reconcile={
                'invisible': Eval('state') != 'announced',
                'depends': ['state'],
                },
            cancel={
                'invisible': Eval('state') != 'announced',
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
        announcements = [a for a in announcements if a.state == 'announced']
        remaining = [a for a in announcements if not cls._reconcile([a])]
        parties = defaultdict(list)
        for announcement in remaining:
            parties[announcement.company, announcement.party].append(
                announcement)
        for together in parties.values():
            # Credit notes may be deducted from another announcement
            if len(together) > 1:
                cls._reconcile(together)

    @classmethod
    def _reconcile(cls, announcements):
        "Tell if all that the announcements pay is reconciled now"
        pool = Pool()
        MoveLine = pool.get('account.move.line')
        lines = {l for a in announcements for l in a.lines_to_pay}
        bank_line = None
        if lines:
            bank_line = cls._bank_line(announcements, lines)
            if not bank_line:
                return False
            MoveLine.reconcile([*lines, bank_line])
        elif not all(l.invoice for a in announcements for l in a.lines):
            return False
        cls.write(announcements, {
                'move_line': bank_line.id if bank_line else None,
                })
        cls._settled(announcements)
        return True

    @classmethod
    @Workflow.transition('reconciled')
    def _settled(cls, announcements):
        pass

    @property
    def lines_to_pay(self):
        "The lines of the invoices that are not reconciled"
        return [m for l in self.lines if l.invoice
            for m in l.invoice.lines_to_pay if not m.reconciliation]

    @classmethod
    def _bank_line(cls, announcements, lines):
        "Return the booked line that pays exactly the lines"
        pool = Pool()
        MoveLine = pool.get('account.move.line')
        Invoice = pool.get('account.invoice')
        if len({l.account for l in lines}) > 1:
            return
        line, *_ = lines
        balance = sum(l.debit - l.credit for l in lines)
        candidates = [
            c for c in MoveLine.search([
                    ('account', '=', line.account.id),
                    ('party', '=', line.party.id if line.party else None),
                    ('reconciliation', '=', None),
                    ('move_state', '=', 'posted'),
                    ('id', 'not in', [l.id for l in lines]),
                    ], order=[('date', 'ASC'), ('id', 'ASC')])
            if c.debit - c.credit == -balance
            and not isinstance(c.move.origin, Invoice)]
        references = {a.reference for a in announcements if a.reference}
        for candidate in candidates:
            if any(r in candidate.edi_text for r in references):
                return candidate
        return candidates[0] if candidates else None

    @classmethod
    def reconcile_parties(cls, company, parties):
        "Reconcile what the parties announced to the company"
        cls.reconcile(cls.search([
                    ('company', '=', company.id),
                    ('party', 'in', [p.id for p in parties]),
                    ('state', '=', 'announced'),
                    ]))

    @classmethod
    def invoices_paid(cls, invoices):
        "Settle the announcements that pay nothing else than paid invoices"
        announcements = cls.search([
                ('lines.invoice', 'in', [i.id for i in invoices]),
                ('state', '=', 'announced'),
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


class Invoice(metaclass=PoolMeta):
    __name__ = 'account.invoice'

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
        Document = pool.get('cooperative.edi.document')
        Message = pool.get('cooperative.edi.message')
        groups = defaultdict(list)
        for payment in payments:
            if invoice := payment.edi_invoice:
                key = (
                    payment.company, invoice.relation, payment.currency,
                    payment.journal)
                groups[key].append(payment)
        for (_, relation, *_), grouped in groups.items():
            Message.send(
                relation, Document.remittance_advice(relation, grouped),
                origin=grouped[0].group or grouped[0])

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
        Announcement.reconcile([announcement])
        return announcement

    @classmethod
    def _announcement_line(cls, message, line):
        pool = Pool()
        Line = pool.get('cooperative.edi.payment.announcement.line')
        return Line(
            number=line.invoice_number,
            invoice=cls._announced_invoice(message, line.invoice_number),
            amount=decimal(
                (line.amount or Decimal(0)) - (line.credit or Decimal(0))))

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


class Document_Payment(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.document'

    @classmethod
    def remittance_advice(cls, relation, payments):
        "Return what tells the supplier which invoices are paid"
        payment, *_ = payments
        company = payment.company
        lines = tuple(map(cls._remittance_line, payments))
        return ubl.RemittanceAdvice(
            number=cls._remittance_number(relation, payment),
            date=today(company),
            currency=payment.currency.code,
            payer=cls.us(company),
            payee=cls.party(relation.peer),
            total=sum(
                (l.amount or Decimal(0)) - (l.credit or Decimal(0))
                for l in lines),
            payment_date=payment.date,
            payment_reference=' '.join(filter(None, dict.fromkeys(
                        p.reference_used for p in payments))) or None,
            lines=lines)

    @classmethod
    def _remittance_number(cls, relation, payment):
        "Return the number of the group, distinct for each message"
        pool = Pool()
        Message = pool.get('cooperative.edi.message')
        number = payment.group.number if payment.group else payment.number
        sent = Message.search([
                ('direction', '=', 'out'),
                ('peer', '=', relation.peer.id),
                ('kind', '=', 'remittance_advice'),
                ('origin', '=', str(payment.group or payment)),
                ], count=True)
        return f'{number}-{sent + 1}' if sent else number

    @classmethod
    def _remittance_line(cls, payment):
        invoice = payment.edi_invoice
        values = {
            'id': str(payment.id),
            'invoice_number': invoice.reference,
            'invoice_date': invoice.invoice_date,
            }
        if payment.kind == 'payable':
            return ubl.RemittanceLine(amount=payment.amount, **values)
        return ubl.RemittanceLine(credit=payment.amount, **values)
