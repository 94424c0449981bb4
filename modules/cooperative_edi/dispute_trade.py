# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What disputes freeze in the books, and the drafts that end them"""
from trytond.i18n import gettext
from trytond.model import ModelView, Workflow, fields
from trytond.modules.product import round_price
from trytond.pool import Pool, PoolMeta
from trytond.transaction import without_check_access

from .check import warn
from .exceptions_dispute import DisputeFrozenWarning

ORDERS = ['purchase.purchase', 'sale.sale']


class Dispute_Invoice(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.dispute'

    @property
    def invoices(self):
        "The invoices in question, and those of the orders in question"
        invoices = self.origins('account.invoice')
        for name in ORDERS:
            for order in self.origins(name):
                invoices += order.invoices
        return list(dict.fromkeys(invoices))

    def _propose(self):
        super()._propose()
        if self.we_sell and self.credited:
            self._propose_credit()

    def _propose_credit(self):
        "Draft the credit notes of what was awarded, one for each invoice"
        pool = Pool()
        Proposal = pool.get('cooperative.edi.dispute.proposal')
        left = self.credited
        for invoice in self.invoices:
            if (not left or invoice.state not in {'posted', 'paid'}
                    or invoice.currency != self.currency
                    or invoice.total_amount <= 0):
                continue
            part = min(left, invoice.total_amount)
            credit = self._credit(invoice, part)
            Proposal(dispute=self, record=credit).save()
            left -= part

    def _credit(self, invoice, amount):
        pool = Pool()
        Invoice = pool.get('account.invoice')
        credit, = Invoice.credit([invoice])
        credit.description = gettext(
            'cooperative_edi.msg_dispute_proposal', dispute=self.rec_name)
        if amount != invoice.total_amount:
            lines = list(credit.lines)
            for line in lines:
                if line.type == 'line':
                    line.unit_price = round_price(
                        line.unit_price * amount / invoice.total_amount)
            credit.lines = lines
        credit.save()
        Invoice.update_taxes([credit])
        return credit


class DisputeProposal_Invoice(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.dispute.proposal'

    @classmethod
    def _get_records(cls):
        return super()._get_records() + ['account.invoice']


class Dispute_Payment(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.dispute'

    def _changed(self):
        self._freeze_payments()
        super()._changed()

    def _freeze_payments(self):
        "Block for payment what waits, and nothing more once it is over"
        pool = Pool()
        MoveLine = pool.get('account.move.line')
        if self.role == 'arbiter':
            return
        blocked = MoveLine.search([('edi_dispute', '=', self.id)])
        if self.open and self.freeze_payments and not self.we_sell:
            lines = [l for i in self.invoices for l in i.lines_to_pay
                if i.state == 'posted' and not l.payment_blocked
                and not l.reconciliation]
            MoveLine.payment_block(lines)
            MoveLine.write(lines, {'edi_dispute': self.id})
        elif blocked:
            MoveLine.payment_unblock(blocked)
            MoveLine.write(blocked, {'edi_dispute': None})

    def _propose(self):
        super()._propose()
        if not self.we_sell and self.paid:
            self._propose_payments()

    def _propose_payments(self):
        "Draft the payments of what was awarded, one for each line to pay"
        pool = Pool()
        Journal = pool.get('account.payment.journal')
        Proposal = pool.get('cooperative.edi.dispute.proposal')
        journals = Journal.search([
                ('company', '=', self.company.id),
                ('currency', '=', self.currency.id),
                ], order=[('id', 'ASC')], limit=1)
        left = self.paid
        for line in [l for i in self.invoices for l in i.lines_to_pay
                if i.state == 'posted' and i.currency == self.currency]:
            part = min(left, line.payment_amount or 0)
            if not journals or part <= 0 or line.reconciliation:
                continue
            payment = self._payment(line, part, *journals)
            Proposal(dispute=self, record=payment).save()
            left -= part

    def _payment(self, line, amount, journal):
        pool = Pool()
        Date = pool.get('ir.date')
        Payment = pool.get('account.payment')
        payment = Payment(
            company=self.company, journal=journal, kind='payable',
            party=line.party, date=Date.today(), line=line, amount=amount)
        payment.save()
        return payment


class DisputeProposal_Payment(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.dispute.proposal'

    @classmethod
    def _get_records(cls):
        return super()._get_records() + ['account.payment']


class MoveLine(metaclass=PoolMeta):
    __name__ = 'account.move.line'

    edi_dispute = fields.Many2One(
        'cooperative.edi.dispute', "Blocked by Dispute", readonly=True,
        ondelete='RESTRICT')

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._check_modify_exclude.add('edi_dispute')

    @classmethod
    def copy(cls, lines, default=None):
        default = default.copy() if default is not None else {}
        default.setdefault('edi_dispute')
        return super().copy(lines, default=default)


class Payment(metaclass=PoolMeta):
    __name__ = 'account.payment'

    @classmethod
    @ModelView.button
    @Workflow.transition('submitted')
    def submit(cls, payments):
        cls._warn_disputes(payments)
        super().submit(payments)

    @classmethod
    @without_check_access
    def _warn_disputes(cls, payments):
        "Warn of what the parties of a dispute leave alone"
        pool = Pool()
        Dispute = pool.get('cooperative.edi.dispute')
        Invoice = pool.get('account.invoice')
        for payment in payments:
            invoice = payment.line.move_origin if payment.line else None
            if (payment.kind != 'payable'
                    or not isinstance(invoice, Invoice)):
                continue
            records = [invoice, *getattr(invoice, 'purchases', ())]
            for dispute in Dispute.freezing(records, 'payments'):
                warn(DisputeFrozenWarning, 'edi_dispute', [payment, dispute],
                    'msg_dispute_payment', payment=payment.rec_name,
                    invoice=invoice.rec_name, dispute=dispute.rec_name)


class ShipmentOut(metaclass=PoolMeta):
    __name__ = 'stock.shipment.out'

    @classmethod
    def _send_despatch(cls, shipments):
        for shipment in shipments:
            if shipment.edi_state == 'none':
                shipment._warn_disputes()
        super()._send_despatch(shipments)

    @without_check_access
    def _warn_disputes(self):
        "Warn of what the parties of a dispute leave alone"
        pool = Pool()
        Dispute = pool.get('cooperative.edi.dispute')
        sales = {m.origin.sale for m in self.edi_moves}
        records = [r for s in sales for r in [s, *s.invoices]]
        for dispute in Dispute.freezing(records, 'despatches'):
            warn(DisputeFrozenWarning, 'edi_dispute', [self, dispute],
                'msg_dispute_despatch', shipment=self.rec_name,
                dispute=dispute.rec_name)
