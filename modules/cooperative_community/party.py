# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
from trytond.i18n import gettext
from trytond.modules.party.exceptions import EraseError
from trytond.pool import Pool, PoolMeta


class Replace(metaclass=PoolMeta):
    __name__ = 'party.replace'

    @classmethod
    def fields_to_replace(cls):
        return super().fields_to_replace() + [
            ('cooperative.community.membership', 'party'),
            ]


class Erase(metaclass=PoolMeta):
    __name__ = 'party.erase'

    def check_erase_company(self, party, company):
        pool = Pool()
        Membership = pool.get('cooperative.community.membership')
        super().check_erase_company(party, company)

        memberships = Membership.search([
                ('party', '=', party.id),
                ('community.company', '=', company.id),
                ('state', 'not in', ['refused', 'left']),
                ])
        if memberships:
            raise EraseError(gettext(
                    'cooperative_community.msg_erase_party_membership',
                    party=party.rec_name,
                    company=company.rec_name))
