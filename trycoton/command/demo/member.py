# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"What the members of a community do: join, offer, order, deliver, invoice"
from decimal import Decimal

from ..calendar import today
from .actor import MEMBER_GROUPS, Actor, DemoError


class Member(Actor):
    groups = MEMBER_GROUPS

    def __init__(self, server, login, password, member):
        super().__init__(server, login, password)
        self.member = member

    # Joining

    def join(self, address, fingerprint):
        "Apply to the community, the charter read and fingerprints compared"
        wizard = self.wizard('cooperative.community.join')
        wizard.form.url = address
        wizard.execute('compare')
        if wizard.form.fingerprint != fingerprint:
            raise DemoError(f"{self.name}: not the fingerprint given")
        wizard.form.compared = True
        wizard.execute('roles')
        wizard.form.offerer = 'offerer' in self.member.roles
        wizard.form.buyer = 'buyer' in self.member.roles
        wizard.form.accepted = True
        wizard.execute('apply')

    @property
    def membership(self):
        return self.find_one('cooperative.community.membership')

    def accept_trust_party(self, trust):
        "Accept that the trust party of the community carries our messages"
        peer = self.peer(trust)
        peer.accepted = True
        peer.save()

    def open_witness(self):
        "Make the key by which our instance cosigns what a log signs"
        witness = self.model('cooperative.edi.witness')()
        witness.save()
        witness.click('open')

    def witnessed(self):
        """Return how many of our messages the trust party has recorded, and
        of how many the witnesses have signed so"""
        recorded = [
            ('trust_party', '!=', None), ('direction', '=', 'out'),
            ('state', '=', 'sent')]
        return (
            len(self.find('cooperative.edi.message', recorded)),
            len(self.find('cooperative.edi.message', [
                        *recorded, ('submission_witnesses', '!=', None)])))

    def synchronise(self):
        "Fetch the directory of the community now"
        self.find_one('cooperative.community').click('synchronise')

    def fetch_offers(self):
        "Fetch the approved offers of the community now"
        self.find_one('cooperative.community').click('synchronise_offers')

    # Offering

    def make_product(self, offer):
        "Enter the product with its price, taxes and stock"
        Template = self.model('product.template')
        service = offer.kind == 'service'
        unit = self.find_one('product.uom', ('unece_code', '=', offer.unit))
        rate = format(offer.vat.normalize(), 'f')
        kind = 'services' if service else 'goods'
        template = Template(
            name=offer.name,
            code=offer.code,
            type='service' if service else 'goods',
            salable=True,
            list_price=offer.price,
            account_category=self.find_one(
                'product.category', ('code', '=', f'{kind}-{rate}')))
        template.default_uom = unit
        template.sale_uom = unit
        template.save()
        product, = template.products
        product.description = offer.description
        product.save()
        if not service:
            self._stock(product, offer.quantity or Decimal(100))
        return product

    def _stock(self, product, quantity):
        Inventory = self.model('stock.inventory')
        storage, = self.find('stock.location', [('code', '=', 'STO')])
        inventory = Inventory(location=storage)
        line = inventory.lines.new()
        line.product = product
        line.quantity = float(quantity)
        inventory.save()
        inventory.click('confirm')

    def offer(self, products):
        "Offer the products, {product: offer}, to the community"
        Offer = self.model('cooperative.offer')
        community = self.find_one(
            'cooperative.edi.peer', ('kind', '=', 'community'))
        offers = []
        for product, line in products.items():
            offer = Offer(community=community, product=product)
            offer.kind = line.kind
            offer.price = line.price
            offer.min_quantity = _float(line.min_quantity)
            offer.quantity = _float(line.quantity)
            offer.delivery = line.delivery
            offer.save()
            offers.append(offer)
        Offer.click(offers, 'submit')
        return offers

    def find_offer(self, code):
        return self.find_one('cooperative.offer', ('code', '=', code))

    def change_price(self, code, price):
        "Submit another price; the approved one keeps selling"
        offer = self.find_offer(code)
        offer.click('change')
        offer.price = price
        offer.save()
        offer.click('submit')

    # Ordering

    def order(self, relation, lines, delivery=None):
        "Order the lines, {item of the catalogue: quantity}; return it"
        Purchase = self.model('purchase.purchase')
        purchase = Purchase(party=relation.peer.party)
        purchase.relation = relation
        purchase.delivery_date = delivery
        for item, quantity in lines.items():
            line = purchase.lines.new()
            line.product = item.product
            line.quantity = float(quantity)
            line.unit = item.unit
            line.unit_price = item.price
        purchase.save()
        purchase.click('quote')
        purchase.click('confirm')
        return purchase

    def item(self, seller, code):
        "Return the approved offer of the seller"
        return self.find_one(
            'cooperative.offer.item',
            ('seller.identifier', '=', seller.identifier),
            ('code', '=', code))

    def relation(self, actor, direct=False):
        relations = self.find('cooperative.edi.relation', [
                ('peer.identifier', '=', actor.identifier),
                ('state', '=', 'agreed'),
                ('trust_party', '=' if direct else '!=', None),
                ])
        return relations[-1]

    # Selling

    def sale(self, buyer, number):
        "Return the sale that the purchase of the buyer became"
        return self.find_one(
            'sale.sale',
            ('relation.peer.identifier', '=', buyer.identifier),
            ('reference', '=', number))

    def shipment_out(self, sale):
        "Return the shipment of the sale that is to be prepared"
        sale.reload()
        shipments = [
            s for s in sale.shipments if s.state in {'draft', 'waiting'}]
        if len(shipments) != 1:
            raise DemoError(f"{self.name}: no shipment for {sale.number}")
        return shipments[0]

    def ship(self, sale, quantities=None):
        "Ship the sale, or only the quantities, by code of product"
        shipment = self.shipment_out(sale)
        for move in shipment.inventory_moves:
            if quantities and move.product.code in quantities:
                move.quantity = float(quantities[move.product.code])
        shipment.save()
        for button in ['assign_force', 'pick', 'pack', 'ship', 'do']:
            if button == 'assign_force' and shipment.state == 'assigned':
                continue
            shipment.click(button)
        return shipment

    def invoice(self, sale):
        "Post the invoice of what was shipped or done"
        sale.reload()
        invoices = [i for i in sale.invoices if i.state == 'draft']
        for invoice in invoices:
            invoice.invoice_date = today()
            invoice.save()
            invoice.click('post')
        if not invoices:
            raise DemoError(f"{self.name}: nothing to invoice")
        return invoices[0]

    def credit_difference(self, sale):
        "Post the credit note of what the customer did not receive"
        sale.reload()
        for shipment in sale.shipments:
            if shipment.edi_state == 'difference':
                shipment.click('edi_credit')
        credit = self.find_one(
            'account.invoice', ('type', '=', 'out'), ('state', '=', 'draft'))
        credit.invoice_date = today()
        credit.save()
        credit.click('post')
        return credit

    # Receiving

    def receive(self, purchase, received=None):
        "Receive what the supplier sent, or only the quantities by code"
        purchase.reload()
        shipments = [s for s in purchase.shipments if s.state == 'draft']
        if len(shipments) != 1:
            raise DemoError(
                f"{self.name}: {len(shipments)} shipments to receive")
        shipment, = shipments
        for move in shipment.incoming_moves:
            code = move.origin.product_supplier.code
            if received and code in received:
                move.quantity = float(received[code])
        shipment.save()
        shipment.click('receive')
        shipment.click('do')
        return shipment

    def received(self, purchase, code):
        "Return how much of what was ordered is in our stock"
        purchase.reload()
        return sum(
            m.quantity for m in purchase.moves
            if m.state == 'done' and m.origin.product_supplier.code == code)

    def supplier_invoices(self, *domain):
        return self.find('account.invoice', [
                ('type', '=', 'in'), *domain])

    def post_supplier_invoices(self, *domain):
        "Check and post the invoices that the suppliers sent"
        invoices = self.supplier_invoices(('state', '=', 'draft'), *domain)
        for invoice in invoices:
            invoice.click('post')
        return invoices


def _float(value):
    return None if value is None else float(value)
