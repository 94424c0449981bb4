# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
from collections import defaultdict

from trytond.model import ModelView, Workflow
from trytond.pool import Pool, PoolMeta


class Statement(metaclass=PoolMeta):
    __name__ = 'account.statement'

    @classmethod
    @ModelView.button
    @Workflow.transition('posted')
    def post(cls, statements):
        pool = Pool()
        Announcement = pool.get('cooperative.edi.payment.announcement')
        super().post(statements)
        parties = defaultdict(set)
        for statement in statements:
            for line in statement.lines:
                if line.party:
                    parties[statement.company].add(line.party)
        for company, company_parties in parties.items():
            Announcement.reconcile_parties(company, company_parties)
