# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The deal that the demonstration tells, from joining to commission.

Each step is done by people in their own Tryton; between the steps only
messages pass.
"""
from decimal import ROUND_CEILING, Decimal
from functools import partial
from xmlrpc.client import Fault

from ..client import fault_text
from .actor import DemoError, wait

CHARTER = """\
1. Chacun tient ses propres comptes et répond de ses offres.
2. Les prix sont ceux que la communauté a approuvés.
3. Ce qui est commandé est livré, reçu, facturé et payé dans les délais dits.
4. Les messages passent par le tiers de confiance que les deux parties ont
   accepté, ou directement si les deux le veulent."""
FEE = Decimal('30.00')
RATE = Decimal('0.05')
MOST = Decimal(20)
WITNESSES = 3


class Story:
    """The story, told step by step

    world gives the actors, offers are those of the catalogue, tell is called
    with the title of each step and say with what happened in it.  With pause
    the trust party is stopped while the orders are made.
    """

    def __init__(self, world, offers, tell, say, pause=False):
        self.world = world
        self.pause = pause
        self.tell = tell
        self.say = say
        self.manager = world.manager
        self.trust = world.trust
        self.offers = offers
        self.applicants = world.members
        self.intruder = world.intruder
        self.sellers = self._sellers()
        self.buyers = [
            m for m in world.members if 'buyer' in m.member.roles
            and m not in self.sellers[:2]]
        if len(self.buyers) < 2:
            raise DemoError(
                "the demonstration needs two buyers beside the offerers "
                + " and ".join(s.member.name for s in self.sellers[:2]))
        self.products = {}
        self.fees = {}
        self.deals = []

    def _sellers(self):
        "Return the offerers, one with goods first, then one with services"
        sellers = [
            m for m in self.world.members if 'offerer' in m.member.roles
            and self.offers_of(m)]
        sellers.sort(key=lambda m: not self.offers_of(m, 'good'))
        return sellers[:1] + sorted(
            sellers[1:], key=lambda m: not self.offers_of(m, 'service'))

    def play(self):
        for step in [
                self.found, self.apply, self.join, self.elect, self.publish,
                self.moderate, self.agree_routes, self.order, self.answer,
                self.deliver, self.invoice, self.pay, self.reconcile]:
            self.tell(' '.join(step.__doc__.split()))
            step()

    def offers_of(self, seller, kind=None):
        return [o for o in self.offers if o.seller == seller.member.name
            and (kind is None or o.kind == kind)]

    # Chapters

    def found(self):
        "The trust party and the community open"
        world = self.world
        self.trust.identify(world.identifier(self.trust), 'trust-party')
        self.trust.open_log()
        self.manager.identify(world.identifier(self.manager), 'community')
        self.manager.found(
            self.manager.company, CHARTER, FEE, RATE, self.trust)
        self.trust.add_peer(self.manager)
        self.manager.community.click('publish')
        world.settle()
        self.say(f"{self.manager.company}: fingerprint "
            f"{self.manager.fingerprint}")

    def apply(self):
        "The members apply, from their own Tryton"
        applicants = [*self.applicants, self.intruder]
        address, fingerprint = self.manager.url(), self.manager.fingerprint

        def apply(actor):
            actor.identify(self.world.identifier(actor))
            actor.join(address, fingerprint)
        self.world.together(apply, applicants)
        self.world.settle()

    def join(self):
        "One is refused, the others pay their fees; sellers enter products"
        self.world.side_by_side({
                self.manager: self._admit,
                **{a: partial(self._join, a) for a in self.applicants}})
        self.world.settle()
        if self.intruder.membership.state != 'refused':
            raise DemoError("the refused applicant was not told")
        self.say(f"{len(self.applicants)} accepted; {self.intruder.company} "
            f"refused: {self.intruder.membership.reason}")
        self.manager.bank_statement(*[
                (self._party(self.manager, a), self.fees[a])
                for a in self.applicants])
        self.world.settle()
        for actor in self.applicants:
            if actor.membership.state != 'active':
                raise DemoError(f"{actor.name} is not an active member")
        self.world.together(lambda a: a.synchronise(), self.applicants)
        self.say(f"{len(self.fees)} fees of {FEE} paid, "
            f"{sum(self.fees.values())} received")

    def _admit(self):
        self.manager.refuse(
            self.intruder, "La charte exclut la revente sans transformation.")
        for actor in self.applicants:
            self.manager.accept(actor)

    def _join(self, actor):
        if actor in self.sellers:
            self.products[actor] = {
                actor.make_product(o): o for o in self.offers_of(actor)}
        wait(lambda: actor.supplier_invoices(('state', '=', 'draft')),
            f"the invoice of the fee of {actor.company}")
        actor.synchronise()
        actor.accept_trust_party(self.trust)
        self.fees[actor] = actor.pay(*actor.post_supplier_invoices())

    def elect(self):
        "Members are elected to witness the log of the trust party"
        witnesses = self.applicants[:WITNESSES]
        self.world.together(lambda a: a.open_witness(), witnesses)
        self.manager.elect(witnesses)
        wait(lambda: len(self.manager.elected()) == len(witnesses)
            and self.manager.recorded(), "the election of the witnesses")
        self.world.together(lambda a: a.synchronise(), self.applicants)
        self.say(f"{', '.join(a.company for a in witnesses)} cosign its "
            "checkpoints")

    def publish(self):
        "The offerers offer their products to the community"
        def offer(seller):
            offers = seller.offer(self.products[seller])
            self.say(f"{seller.company}: {len(offers)} offers")
        self.world.together(offer, self.sellers)
        self.world.settle()

    def moderate(self):
        "The manager approves the offers but one; a price is then changed"
        seller = self.sellers[0]
        goods = self.offers_of(seller, 'good')
        refused = max(goods, key=lambda o: o.price) if len(goods) > 2 else None
        for offer in self.manager.offers():
            if refused and offer.code == refused.code:
                self.manager.refuse_offer(
                    offer, "Allégation que rien ne prouve.")
        self.manager.approve_offers(self.manager.offers())
        self.world.settle()
        if refused:
            offer = seller.find_offer(refused.code)
            self.say(f"{offer.name}: {offer.state}: {offer.reason}")
            goods.remove(refused)
        # The first one is ordered most
        self.goods = sorted(goods, key=lambda o: (o.quantity or MOST) < MOST)
        changed = goods[-1]
        price = (changed.price * Decimal('1.1')).quantize(Decimal('0.01'))
        seller.change_price(changed.code, price)
        self.world.settle()
        self.say(f"{changed.name}: {price} waits for approval, "
            f"{changed.price} keeps selling")
        for buyer in self.buyers:
            buyer.fetch_offers()

    def agree_routes(self):
        "Buyers and sellers agree on the route of their messages"
        first, second = self.buyers[:2]
        for buyer in [first, second]:
            for seller in self.sellers[:2]:
                direct = (buyer, seller) == (second, self.sellers[0])
                buyer.relate(
                    seller, community=self.manager,
                    trust_party=None if direct else self.trust)
        self.world.settle()
        self.say(f"{second.company} and {self.sellers[0].company} deal "
            "directly, the others through the trust party")

    def order(self):
        "Both buyers order goods and services in their own purchases"
        first, second = self.buyers[:2]
        farm, service = self.sellers[:2]
        goods = dict(zip(self.goods, [MOST, Decimal(6), Decimal(4)]))
        self.world.together(
            lambda buyer: self._refused_price(buyer, farm), [first])
        if self.pause:
            self.trust.server.stop()
            self.say("The trust party is stopped")
        offer = (self.offers_of(service, 'service')
            or self.offers_of(service))[0]
        some = {offer: Decimal(1)}
        self.deals = self.world.together(self._order, [
                Deal(first, farm, goods),
                Deal(second, farm, {self.goods[0]: Decimal(8)}, direct=True),
                Deal(first, service, some),
                Deal(second, service, some),
                ], lambda deal: deal.buyer)
        if self.pause:
            self._resume()
        self.world.settle()

    def _resume(self):
        "Start the trust party again: what waited for it goes on"
        waiting = [m for b in self.buyers[:2] for m in b.messages(
                ('state', '=', 'waiting'), ('kind', '=', 'order'))]
        if len(waiting) != 3:
            raise DemoError(
                f"{len(waiting)} orders wait for the trust party, not 3")
        self.say(f"{len(waiting)} orders wait; it is started again")
        self.trust.server.start().wait_ready()

    def _order(self, deal):
        buyer, seller = deal.buyer, deal.seller
        deal.lines = {
            o: max(
                min(q, o.quantity // 2 if o.quantity else q),
                o.min_quantity or Decimal(1))
            for o, q in deal.lines.items()}
        deal.purchase = buyer.order(
            buyer.relation(seller, deal.direct),
            {buyer.item(seller, o.code): q for o, q in deal.lines.items()})
        deal.number = deal.purchase.number
        self.say(f"{buyer.company} orders {deal.purchase.total_amount} from "
            f"{seller.company}{', directly' if deal.direct else ''}")
        return deal

    def _refused_price(self, buyer, seller):
        "An order at another price does not leave the buyer's instance"
        offer = self.goods[0]
        item = buyer.item(seller, offer.code)
        Purchase = buyer.model('purchase.purchase')
        purchase = Purchase(party=self._party(buyer, seller))
        purchase.relation = buyer.relation(seller)
        line = purchase.lines.new()
        line.product = item.product
        line.quantity = 10
        line.unit_price = offer.price / 2
        purchase.save()
        try:
            purchase.click('quote')
            purchase.click('confirm')
        except Fault as exception:
            self.say(f"refused: {fault_text(exception)}")
        else:
            raise DemoError("an order at another price was not refused")
        purchase.reload()
        if purchase.state == 'quotation':
            purchase.click('draft')
        purchase.click('cancel')

    def _party(self, actor, other):
        "Return the party of the other in the books of the actor"
        return actor.peer(other).party

    def answer(self):
        "The sellers accept, one of them with a smaller quantity"
        self.world.together(
            self._answer, self.deals, lambda deal: deal.seller)
        self.world.settle()
        changed = self.deals[0]
        purchase = changed.purchase
        purchase.reload()
        if purchase.edi_state != 'changed':
            raise DemoError("the buyer did not see the changed quantity")
        self.say(f"{changed.buyer.company}: {purchase.edi_answer}")
        purchase.click('edi_accept')
        self.world.settle()
        for deal in self.deals:
            # What a message sets off goes on after it has taken effect
            wait(deal.is_processed, f"the processing of {deal.number}")

    def _answer(self, deal):
        sale = deal.sale = deal.seller.sale(deal.buyer, deal.number)
        if deal is self.deals[0]:
            fewer = deal.lines[self.goods[0]] // 10 or 1
            sale.lines[0].quantity -= float(fewer)
            deal.lines[self.goods[0]] -= fewer
            sale.edi_answer = "Il n'en reste plus assez."
            sale.save()
        sale.click('confirm')

    def deliver(self):
        "A delivery in two parts, and a difference at the reception"
        first = self.deals[0]
        offer = self.goods[0]
        part = (first.lines[offer] / 2).to_integral_value(ROUND_CEILING)
        goods = [
            d for d in self.deals if any(o.kind == 'good' for o in d.lines)]

        def some(deal, quantity):
            return {offer.code: quantity} if deal is first else None
        self.world.together(
            lambda d: d.seller.ship(d.sale, some(d, part)),
            goods, lambda d: d.seller)
        self.world.settle()
        self.world.together(
            lambda d: d.buyer.receive(d.purchase, some(d, part - 1)),
            goods, lambda d: d.buyer)
        self.world.settle()
        self.say(f"{first.seller.company} ships {part} of "
            f"{first.lines[offer]} {offer.name}; {part - 1} arrive")
        first.seller.ship(first.sale)
        self.world.settle()
        first.buyer.receive(first.purchase)
        self.world.settle()

    def invoice(self):
        "The sellers invoice; a credit note settles the difference"
        first = self.deals[0]

        def invoice(seller):
            for deal in self.deals:
                if deal.seller is seller:
                    seller.invoice(deal.sale)
            if seller is first.seller:
                return seller.credit_difference(first.sale)
        credit, *_ = self.world.together(invoice, self.sellers[:2])
        self.world.settle()
        self.world.together(
            lambda b: b.post_supplier_invoices(), self.buyers[:2])
        self.world.settle()
        self.say(f"credit note {credit.number} of "
            f"{-credit.total_amount} for what did not arrive")

    def pay(self):
        """The buyers pay; the community invoices its commission on what the
        log proves"""
        self.paid = {}

        def pay(buyer):
            for deal in self.deals[:-1]:
                if deal.buyer is buyer:
                    self.paid[deal] = self._pay(deal)
        self.world.side_by_side({
                self.manager: self._charge_commission,
                **{b: partial(pay, b) for b in self.buyers[:2]}})
        self.world.settle()
        last = self.deals[-1]
        self.say(f"{last.buyer.company} has 30 days to pay "
            f"{last.seller.company}")

    def _pay(self, deal):
        party = self._party(deal.buyer, deal.seller)
        amount = deal.buyer.pay(*deal.buyer.supplier_invoices(
                ('party', '=', party.id), ('state', '=', 'posted')))
        self.say(f"{deal.buyer.company} pays {amount} to "
            f"{deal.seller.company}")
        return amount

    def _charge_commission(self):
        self.commissions = self.manager.collect()
        self.commission_invoices = self.manager.invoice_commissions()

    def reconcile(self):
        """The sellers reconcile with their bank statements and pay the
        commission"""
        def reconcile(seller):
            seller.bank_statement(*[
                    (self._party(seller, d.buyer), amount)
                    for d, amount in self.paid.items() if d.seller is seller])
            due = seller.post_supplier_invoices()
            return seller.pay(*due) if due else None
        sellers = self.sellers[:2]
        amounts = self.world.together(reconcile, sellers)
        self.world.settle()
        self.manager.bank_statement(*[
                (self._party(self.manager, seller), amount)
                for seller, amount in zip(sellers, amounts) if amount])
        self.world.settle()
        for invoice in self.commission_invoices:
            invoice.reload()
            self.say(f"{invoice.party.name}: commission of "
                f"{invoice.total_amount} ({invoice.state})")


class Deal:
    "A purchase and the sale that it became; lines are {offer: quantity}"

    def __init__(self, buyer, seller, lines, direct=False):
        self.buyer = buyer
        self.seller = seller
        self.lines = lines
        self.direct = direct
        self.purchase = None
        self.number = None
        self.sale = None

    def __str__(self):
        return f"{self.buyer.name} > {self.seller.name}"

    def is_processed(self):
        "Tell if both sides have agreed"
        self.purchase.reload()
        return self.purchase.state == 'processing'
