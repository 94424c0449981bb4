# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
from trytond.pool import Pool, PoolMeta


class Identity(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.identity'

    def log_key(self):
        pool = Pool()
        Log = pool.get('cooperative.trust.log')
        for log in Log.search(Log.signing(self.company.id)):
            return log.vkey
        return super().log_key()
