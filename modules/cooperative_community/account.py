# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
from trytond.pool import Pool, PoolMeta


class Invoice(metaclass=PoolMeta):
    __name__ = 'account.invoice'

    @classmethod
    def paid(cls, invoices):
        pool = Pool()
        Membership = pool.get('cooperative.community.membership')
        super().paid(invoices)
        Membership.fee_paid(invoices)


class InvoiceLine(metaclass=PoolMeta):
    __name__ = 'account.invoice.line'

    @property
    def origin_name(self):
        pool = Pool()
        Commission = pool.get('cooperative.community.commission')
        Membership = pool.get('cooperative.community.membership')
        name = super().origin_name
        if isinstance(self.origin, (Commission, Membership)):
            name = self.origin.rec_name
        return name

    @classmethod
    def _get_origin(cls):
        return super()._get_origin() + [
            'cooperative.community.membership',
            'cooperative.community.commission',
            ]
