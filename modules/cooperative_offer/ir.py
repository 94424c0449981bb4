# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
from trytond.pool import PoolMeta


class Cron(metaclass=PoolMeta):
    __name__ = 'ir.cron'

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls.method.selection += [
            ('cooperative.offer.page|publish_due',
                "Publish Offers"),
            ('cooperative.community|synchronise_offers_due',
                "Synchronise Offers"),
            ]
