# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
from collections import defaultdict

from trytond.model import ModelView, Workflow
from trytond.pool import Pool, PoolMeta

from .account_payment import Paid


class Statement(metaclass=PoolMeta):
    __name__ = 'account.statement'

    @classmethod
    @ModelView.button
    @Workflow.transition('posted')
    def post(cls, statements):
        pool = Pool()
        Announcement = pool.get('cooperative.edi.payment.announcement')
        super().post(statements)
        for statement in statements:
            statement._edi_announce()
        parties = defaultdict(set)
        for statement in statements:
            for line in statement.lines:
                if line.party:
                    parties[statement.company].add(line.party)
        for company, company_parties in parties.items():
            Announcement.propose_parties(company, company_parties)

    def _edi_announce(self):
        "Tell the suppliers which of their invoices the bank paid"
        pool = Pool()
        Invoice = pool.get('account.invoice')
        paid = defaultdict(list)
        for line in self.lines:
            if line.invoice:
                paid[line.date].append(Paid(
                        line.invoice, -line.amount, line.description or None))
        for date, payments in paid.items():
            Invoice.edi_announce(
                f'{self.name}-{self.id}', date, payments, self)


class Message(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.message'

    @classmethod
    def _get_origin(cls):
        return super()._get_origin() + ['account.statement']
