# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"What the community manager and the trust operator do"
from decimal import Decimal

from ..calendar import today
from .actor import MANAGER_GROUPS, TRUST_GROUPS, Actor

ORIGIN = 'tiers-de-confiance-des-alpes.example/journal'


class Manager(Actor):
    groups = MANAGER_GROUPS

    def found(self, name, charter, fee, rate, trust):
        "Open the community, with its charter, fee, commission, trust party"
        Community = self.model('cooperative.community')
        fee_product = self._product("Cotisation", 'fee')
        commission = self._product("Commission", 'services-20')
        community = Community(
            name=name, charter=charter, charter_date=today(),
            fee_product=fee_product, commission_product=commission)
        community.trust_parties.append(self.add_peer(trust))
        if fee:
            line = community.fees.new()
            line.start_date = today()
            line.amount = fee
        line = community.rates.new()
        line.start_date = today()
        line.rate = rate
        community.save()
        return community

    def _product(self, name, category):
        Template = self.model('product.template')
        unit = self.find_one('product.uom', ('unece_code', '=', 'C62'))
        template = Template(
            name=name, code=name[:4].upper(), type='service', salable=True,
            account_category=self.find_one(
                'product.category', ('code', '=', category)))
        template.default_uom = unit
        template.list_price = Decimal(0)
        template.save()
        product, = template.products
        return product

    @property
    def community(self):
        return self.find_one('cooperative.community')

    def membership(self, actor):
        return self.find_one(
            'cooperative.community.membership',
            ('identifier', '=', actor.identifier))

    def accept(self, actor):
        self.membership(actor).click('accept')

    def refuse(self, actor, reason):
        wizard = self.wizard(
            'cooperative.community.membership.refuse',
            [self.membership(actor)])
        wizard.form.reason = reason
        wizard.execute('do')

    def elect(self, actors):
        "Elect the members as witnesses of the log"
        self.model('cooperative.community.membership').click(
            [self.membership(a) for a in actors], 'elect')

    def elected(self):
        "Return the names of the witnesses that are elected"
        return [m.rec_name for m in self.find(
                'cooperative.community.membership',
                [('witness_state', '=', 'elected')])]

    def recorded(self):
        "Tell if the log holds each directory"
        return not self.find('cooperative.community.directory.record', [
                ('record', '=', None)])

    def offers(self, *domain):
        return self.find('cooperative.offer.moderation', [
                ('state', '=', 'submitted'), *domain])

    def approve_offers(self, offers):
        self.model('cooperative.offer.moderation').click(offers, 'approve')

    def refuse_offer(self, offer, reason):
        wizard = self.wizard('cooperative.offer.moderation.refuse', [offer])
        wizard.form.reason = reason
        wizard.execute('refuse')

    def collect(self):
        "Fetch from the trust party what the commission is computed on"
        self.community.click('collect')
        return self.find('cooperative.community.commission')

    def invoice_commissions(self):
        "Invoice the commissions and post the invoices"
        wizard = self.wizard('cooperative.community.commission.invoice')
        wizard.execute('invoice')
        invoices = self.find('account.invoice', [
                ('type', '=', 'out'), ('state', '=', 'draft')])
        for invoice in invoices:
            invoice.invoice_date = today()
            invoice.save()
            invoice.click('post')
        return invoices


class Operator(Actor):
    groups = TRUST_GROUPS

    def open_log(self):
        "Open the log in which everything relayed is recorded"
        Log = self.model('cooperative.trust.log')
        log = Log(origin=ORIGIN)
        log.save()
        log.click('open')
