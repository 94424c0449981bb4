# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""A foreign partner buys from Tryton and sells to it.

Each instance is a trytond process of its own; the partner is made of what
the description of the protocol says and of nothing of ours.
"""
import json
import unittest
from decimal import Decimal

from trycoton.protocol import canonical, evidence, signature
from trycoton.protocol.entry import Record
from trycoton.protocol.note import Verifier

from .community import FARM, FOREIGN, TRUST, Community
from .foreign import message, proof, web
from .stage import Foreigner, Stage, line, product, wait

FARM_INSTANCE = {'farm': ('actor', "La Ferme", FARM)}
JAR = {'name': "Bocal", 'unit': 'C62', 'price': '1.20', 'rate': '20'}


class PartnerTestCase(unittest.TestCase):
    "Test deals between Tryton and the foreign partner"

    @classmethod
    def buy(cls, relation, number, quantity='6', price='8.50'):
        "The partner buys honey of the farm, from order to payment"
        foreign, farm = cls.foreign, cls.farm
        cls.trader.buy(relation, number, [
                line('1', 'MIEL', "Miel", quantity, price, '5.5')])
        foreign.wait_state(number, 'received')
        sale = wait(lambda: farm.find('sale.sale', [
                    ('reference', '=', number)]), f"the sale of {number}")[0]
        sale.click('confirm')
        foreign.wait_state(number, 'accepted')
        shipment = farm.ship(sale)
        foreign.wait(lambda: cls.trader.deal(number)['despatches'],
            f"the despatch of {number}")
        cls.trader.receive(number)
        foreign.wait(lambda: farm.find('stock.shipment.out', [
                    ('id', '=', shipment.id),
                    ('edi_state', '=', 'received')]),
            f"the receipt of {number}")
        invoice = farm.invoice(sale)
        foreign.wait(lambda: cls.trader.deal(number)['invoices'],
            f"the invoice of {number}")
        paid = cls.trader.pay(number)
        announcement = foreign.wait(
            lambda: farm.find('cooperative.edi.payment.announcement', [
                    ('lines.invoice', '=', invoice.id)]),
            f"the payment of {number}")[0]
        farm.bank_statement((farm.peer(foreign).party, paid))
        cls.settle()
        for record in [sale, shipment, invoice, announcement]:
            record.reload()
        return sale, shipment, invoice, announcement

    @classmethod
    def sell(cls, purchase):
        "The partner sells what the farm ordered, from the answer to the end"
        farm, foreign, trader = cls.farm, cls.foreign, cls.trader
        number = purchase.number
        foreign.wait(
            lambda: purchase.reload() or purchase.state == 'processing',
            "the acceptance of the order")
        trader.despatch(number)
        foreign.wait(lambda: purchase.reload() or [
                s for s in purchase.shipments if s.edi_state == 'announced'],
            "the despatch")
        farm.receive(purchase)
        foreign.wait(lambda: trader.deal(number)['receipts'], "the receipt")
        total = trader.invoice(number)
        foreign.wait(lambda: farm.supplier_invoices(
                ('state', '=', 'draft'), ('reference', '=', f'F-{number}')),
            "the invoice")
        invoice, = farm.post_supplier_invoices(
            ('reference', '=', f'F-{number}'))
        paid = farm.pay(invoice)
        foreign.wait(lambda: Decimal(trader.deal(number)['paid']),
            "the payment")
        cls.settle()
        invoice.reload()
        return purchase, invoice, total, paid

    @classmethod
    def settle(cls):
        "Wait until nothing is under way any more"
        cls.foreign.wait(
            lambda: not cls.farm.unsettled() and not
            cls.partner.store.messages(direction='out', state='waiting'),
            "the end of the exchange")

    def assertProcessed(self):
        "Nothing was refused on either side"
        self.assertEqual(self.farm.unsettled(), [])
        states = {
            (m['direction'], m['state'])
            for m in self.partner.store.messages()}
        self.assertEqual(states, {('out', 'sent'), ('in', 'processed')})

    def assertSold(self, purchase, invoice, total, paid):
        "Both sides have the same deal"
        deal = self.trader.deal(purchase.number)
        self.assertEqual(total, Decimal('14.40'))
        self.assertEqual(invoice.total_amount, total)
        self.assertEqual(paid, total)
        self.assertEqual(Decimal(deal['paid']), total)
        self.assertEqual(deal['responses'][:2], ['AB', 'AP'])
        received, = deal['receipts']
        self.assertEqual(Decimal(received['lines'][0]['quantity']), 10)
        self.assertEqual(self.farm.received(purchase, 'BOCAL'), 10)
        self.assertEqual(
            self.farm.balance(self.foreign, 'payable'), Decimal(0))
        self.assertProcessed()

    def assertPaid(self, number, sale, shipment, invoice, announcement):
        "Both sides have the same deal"
        deal = self.trader.deal(number)
        self.assertEqual(deal['state'], 'accepted')
        self.assertEqual(sale.edi_state, 'accepted')
        self.assertEqual(shipment.edi_state, 'received')
        self.assertEqual(
            [Decimal(i['total']) for i in deal['invoices']],
            [invoice.total_amount])
        self.assertEqual(announcement.amount, invoice.total_amount)
        self.assertEqual(announcement.state, 'reconciled')
        self.assertEqual(invoice.state, 'paid')
        self.assertEqual(
            self.farm.balance(self.foreign, 'receivable'), Decimal(0))


class DirectTestCase(PartnerTestCase):
    "Test deals without a community and a trust party"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.stage = Stage(**FARM_INSTANCE)
        cls.addClassCleanup(cls.stage.close)
        cls.foreign = Foreigner(cls.stage.folder, FOREIGN, "L'Étranger", {
                'BOCAL': JAR})
        cls.addClassCleanup(cls.foreign.close)
        cls.partner, cls.trader = cls.foreign.partner, cls.foreign.trader
        farm = cls.farm = cls.stage.farm
        farm.identify(f'0225:{FARM}')
        identity, = farm.find('cooperative.edi.identity')
        identity.direct = True
        identity.save()
        farm.make_product(product('MIEL', "Miel", '8.50', '5.5'))
        cls.peer = farm.add_peer(cls.foreign)
        cls.partner.add_peer(farm.url(), farm.fingerprint)
        cls.relation = cls.partner.relate(farm.identifier)
        cls.foreign.wait(
            lambda: cls.partner.relation(cls.relation)['state'] == 'agreed',
            "the agreement on the relation")

    def test_buyer(self):
        "The partner orders, receives and pays"
        records = self.buy(self.relation, 'C-1')
        self.assertPaid('C-1', *records)
        _, shipment, invoice, _ = records
        self.assertEqual(invoice.total_amount, Decimal('53.80'))
        move, = shipment.outgoing_moves
        self.assertEqual(move.edi_received_quantity, 6)
        self.assertProcessed()

    def test_seller(self):
        "The partner delivers, invoices and is paid"
        self.assertSold(*self.sell(self.purchase('BOCAL')))

    def test_refused(self):
        "An order of what is not sold is refused, with the reason"
        purchase = self.purchase('VERRE')
        self.foreign.wait(
            lambda: purchase.reload() or purchase.edi_state == 'refused',
            "the refusal")
        self.assertIn('VERRE', purchase.edi_answer)
        self.settle()

    def test_fetch(self):
        "A partner without an address fetches what waits for it"
        foreign = Foreigner(self.stage.folder, '100000009', "L'Abonné")
        self.addCleanup(foreign.close)
        partner = foreign.partner
        partner.endpoint = None
        self.farm.add_peer(foreign)
        partner.add_peer(self.farm.url(), self.farm.fingerprint)
        relation = partner.relate(self.farm.identifier)

        def fetched():
            partner.fetch(self.farm.identifier)
            return partner.relation(relation)['state'] == 'agreed'
        foreign.wait(fetched, "the agreement on the relation")
        self.assertEqual(partner.fetch(self.farm.identifier), 0)
        received = [
            m['id'] for m in partner.store.messages(direction='in')]
        self.assertEqual(
            [m.uuid for m in self.farm.messages(
                    ('peer.identifier', '=', foreign.identifier),
                    ('direction', '=', 'out'), ('state', '=', 'sent'))],
            received)

    def purchase(self, code):
        "The farm orders 10 of the partner"
        farm = self.farm
        bought = self.bought(code)
        Purchase = farm.model('purchase.purchase')
        purchase = Purchase(party=self.peer.party)
        purchase.relation = farm.relation(self.foreign, direct=True)
        ordered = purchase.lines.new()
        ordered.product = bought
        ordered.quantity = 10
        ordered.unit_price = Decimal('1.20')
        purchase.save()
        purchase.click('quote')
        purchase.click('confirm')
        return purchase

    def bought(self, code):
        farm = self.farm
        Template = farm.model('product.template')
        template = Template(
            name=code.title(), type='goods', purchasable=True,
            account_category=farm.find_one(
                'product.category', ('code', '=', 'goods-20')))
        template.default_uom = farm.find_one(
            'product.uom', ('unece_code', '=', 'C62'))
        template.list_price = Decimal('1.20')
        supplier = template.product_suppliers.new()
        supplier.party = self.peer.party
        supplier.code = code
        template.save()
        return template.products[0]

    def test_answers(self):
        "Who is not known is told so, by both"
        stranger = Foreigner(self.stage.folder, '100000009', "Personne")
        self.addCleanup(stranger.close)
        data, _ = stranger.partner.descriptor()
        statement = message.statement({
                'sender': stranger.identifier,
                'receiver': self.farm.identifier, 'sequence': 1,
                'id': '0b9f1c6e-4a1d-4f3e-9a53-1c2d3e4f5a6b',
                'created': canonical.load(data)['created'],
                'type': 'relation-end'}, {'relation': None})
        jws = stranger.partner.key.sign(statement, 'trycoton-relation')
        for url in [self.farm.url(), self.foreign.url()]:
            for signed, name in [(jws, 'unknown-key'), ('', 'signature')]:
                with self.subTest(url=url, name=name):
                    status, headers, data = web.call(
                        'POST', url + '/edi/messages', statement, **{
                            signature.SIGNATURE_HEADER: signed,
                            'Content-Type': 'application/json'})
                    self.assertEqual(status, 401)
                    self.assertEqual(
                        headers['Content-Type'], 'application/problem+json')
                    self.assertEqual(
                        json.loads(data)['type'].rpartition('/')[2], name)


class CommunityTestCase(PartnerTestCase):
    "Test deals of a member of a community, through the trust party"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        community = Community(
            FARM_INSTANCE, catalogue={'BOCAL': JAR})
        cls.addClassCleanup(community.close)
        cls.stage, cls.foreign = community.stage, community.foreign
        cls.partner, cls.trader = cls.foreign.partner, cls.foreign.trader
        stage, manager = cls.stage, community.manager
        farm = cls.farm = stage.farm
        farm.identify(f'0225:{FARM}')
        farm.join(manager.url(), manager.fingerprint)
        community.accept(farm)
        cls.joined = community.join()
        wait(lambda: farm.find('cooperative.edi.peer', [
                    ('identifier', '=', f'0225:{TRUST}')]), "the directory")
        farm.accept_trust_party(stage.trust)
        honey = product('MIEL', "Miel", '8.50', '5.5')
        farm.offer({farm.make_product(honey): honey})
        wait(manager.offers, "the offer")
        manager.approve_offers(manager.offers())
        cls.relation = cls.agree()
        cls.offers = cls.foreign.wait(
            lambda: cls.partner.catalogue(cls.joined), "the catalogue")
        cls.records = cls.buy(
            cls.relation, 'C-2', price=cls.offers[0]['price'])
        cls.sold = cls.sell(cls.order_offer())
        cls.foreign.wait(cls.proved, "the proofs")

    @classmethod
    def order_offer(cls):
        "The farm orders what the community approved of the partner"
        farm, manager = cls.farm, cls.stage.community
        relation, = cls.partner.relations(cls.joined)
        cls.trader.offer(relation, 'K-1')
        offers = cls.foreign.wait(manager.offers, "the partner's offer")
        manager.approve_offers(offers)
        cls.foreign.wait(
            lambda: cls.partner.store.get('approved', 'BOCAL'),
            "the approval")

        def found():
            farm.fetch_offers()
            return farm.find('cooperative.offer.item', [
                    ('code', '=', 'BOCAL')])
        item, = wait(found, "the offer in the catalogue")
        return farm.order(farm.relation(cls.foreign), {item: Decimal(10)})

    @classmethod
    def agree(cls):
        def known():
            cls.partner.fetch_directory(cls.joined)
            peer = cls.partner.peer(cls.farm.identifier)
            return peer and f'0225:{TRUST}' in peer.get('trust_parties', [])
        cls.foreign.wait(known, "the directory")
        relation = cls.partner.relate(
            cls.farm.identifier, cls.joined, f'0225:{TRUST}')
        cls.foreign.wait(
            lambda: cls.partner.relation(relation)['state'] == 'agreed',
            "the agreement on the relation")
        return relation

    @classmethod
    def relayed(cls):
        return cls.partner.store.messages(hop=f'0225:{TRUST}')

    @classmethod
    def proved(cls):
        cls.partner.prove()
        return all(
            'delivery' in json.loads(m['records']) for m in cls.relayed())

    def test_member(self):
        "The partner is a member with its roles"
        membership = self.partner.store.get('membership', self.joined)
        self.assertEqual(membership['roles'], ['buyer', 'offerer'])
        self.assertTrue(membership['number'])
        self.assertEqual(
            self.stage.community.membership(self.foreign).state, 'active')

    def test_offers(self):
        "The partner found the approved offer in the catalogue"
        offer, = self.offers
        self.assertEqual(
            (offer['seller'], offer['code'], Decimal(offer['price'])),
            (self.farm.identifier, 'MIEL', Decimal('8.50')))

    def test_deal(self):
        "The deal went through the trust party, to its end"
        self.assertPaid('C-2', *self.records)
        self.assertProcessed()
        kinds = {
            message.read(m['data']).header['type'].partition('##')[0]
            for m in self.relayed()}
        self.assertEqual(kinds, {
                'relation-proposal', 'relation-answer', 'Catalogue', 'Order',
                'OrderResponse', 'DespatchAdvice', 'ReceiptAdvice',
                'Invoice', 'ApplicationResponse', 'RemittanceAdvice'})

    def test_sold(self):
        "What the partner offered was ordered, delivered and paid"
        self.assertSold(*self.sold)

    def test_proofs(self):
        "What the partner verified is what the reference verifies"
        log, = self.stage.trust.find('cooperative.trust.log')
        verifier = Verifier.from_vkey(log.vkey)
        for row in self.relayed():
            for name, value in json.loads(row['records']).items():
                event, _ = Record.from_json(value).verify([verifier])
                self.assertEqual(
                    (event.event, event.digest), (name, row['digest']))

    def test_checkpoints(self):
        "The partner shows in what it signs the log that it followed itself"
        log, = self.stage.trust.find('cooperative.trust.log')
        shown = {'out': [], 'in': []}
        for row in self.relayed():
            if row['direction'] == 'out':
                note = message.read(row['data']).header['checkpoint']
            else:
                note = canonical.load(row['receipt'].encode())['checkpoint']
            if note:
                shown[row['direction']].append(proof.checkpoint(
                        canonical.decode(note).decode(), log.vkey).size)
        for direction, sizes in shown.items():
            with self.subTest(direction=direction):
                self.assertTrue(sizes)
                self.assertEqual(sizes, sorted(sizes))
        self.assertEqual(self.partner.store.all('alarm'), {})

    def test_evidence(self):
        "The evidence that Tryton exports holds the partner's messages"
        farm = self.farm
        messages = farm.messages(
            ('relation.uuid', '=', self.relation),
            ('delivery_record', '!=', None))
        self.assertTrue(messages)
        wizard = farm.wizard('cooperative.edi.evidence.export', messages)
        data = wizard.form.file
        wizard.execute('end')
        report = evidence.verify(data)
        self.assertIn(report.status, [
                evidence.VERIFIED, evidence.UNESTABLISHED],
            msg=[c.text for c in report.checks if not c.ok])
        senders = {
            message.read(m.data).header['sender']
            for m in evidence.File.parse(data).messages}
        self.assertEqual(
            senders, {self.farm.identifier, self.foreign.identifier})


del PartnerTestCase
