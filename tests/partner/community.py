# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"A community with its trust party, which the foreign partner joins"
from decimal import Decimal

from .stage import Foreigner, Stage, wait

CHARTER = "Chacun tient ses propres comptes."
COMMUNITY, TRUST, FARM, FOREIGN = (
    '732829320', '404833048', '542065479', '552032534')
INSTANCES = {
    'community': ('community', "La Commune", COMMUNITY),
    'trust': ('trust', "Le Tiers", TRUST),
    }


class Community:
    "The instances, others among them, and the partner"

    def __init__(self, others=None, config=None, catalogue=None):
        self.stage = Stage(config, **INSTANCES, **(others or {}))
        self.foreign = Foreigner(
            self.stage.folder, FOREIGN, "L'Étranger", catalogue)
        self.partner = self.foreign.partner
        trust, self.manager = self.stage.trust, self.stage.community
        trust.identify(f'0225:{TRUST}', 'trust-party')
        trust.open_log()
        self.manager.identify(f'0225:{COMMUNITY}', 'community')
        self.manager.found(
            "La Commune", CHARTER, None, Decimal('0.05'), trust)
        trust.add_peer(self.manager)
        self.manager.community.click('publish')

    def close(self):
        self.foreign.close()
        self.stage.close()

    def join(self, roles=('buyer', 'offerer')):
        "Have the partner join and return the identifier of the community"
        joined = self.partner.join(
            self.manager.url(), self.manager.fingerprint, roles,
            f'0225:{TRUST}')
        self.partner.post()
        self.accept(self.foreign)
        self.foreign.wait(
            lambda: (self.partner.store.get('membership', joined) or {}
                ).get('state') == 'active', "the admission")
        return joined

    def accept(self, actor):
        "Have the manager accept the application of the actor"
        wait(lambda: self.manager.find(
                'cooperative.community.membership', [
                    ('identifier', '=', actor.identifier)]),
            "the application")
        self.manager.accept(actor)
