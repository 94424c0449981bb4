# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
from trytond.pool import Pool, PoolMeta


class Relation(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.relation'

    @property
    def tells_total(self):
        "The community takes its commission on what the trust party can tell"
        pool = Pool()
        Community = pool.get('cooperative.community')
        if super().tells_total:
            return True
        if not self.trust_party or not self.community:
            return False
        community = Community.of_peer(self.community)
        return bool(community) and any(r.rate for r in community.rates)
