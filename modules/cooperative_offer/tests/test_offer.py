# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
import datetime as dt
import unittest
from decimal import Decimal

from trytond.model.exceptions import AccessError
from trytond.pool import Pool
from trytond.tests.test_tryton import activate_module, with_transaction

from cooperative_offer.exceptions import (
    CatalogueError, OfferIncompleteError, OfferOrderError, OfferRelationError)
from trycoton.protocol import canonical, envelope, signature, ubl
from trycoton.protocol.offer import Page as SignedPage

from .tools import Market, Response

TODAY = dt.date.today()
DAY = dt.timedelta(days=1)


class OfferTestCase(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        activate_module('cooperative_offer')

    def page(self, group=None):
        "Return the last page of the community"
        Page = Pool().get('cooperative.offer.page')
        return Page.last(self.market.community, group)


class SellerTestCase(OfferTestCase):
    "Test the offers of the seller and their moderation"

    @with_transaction()
    def test_terms_of_product(self):
        "Test the terms that the product gives"
        market = Market()
        offer = market.offer()

        self.assertEqual(offer.code, 'MIEL')
        self.assertEqual(offer.name, "Miel")
        self.assertEqual(offer.kind, 'good')
        self.assertEqual(offer.unit, market.kilogram)
        with market.seller.context():
            offer = Pool().get('cooperative.offer')(offer.id)
            self.assertEqual(offer.vat_category, 'S')
            self.assertEqual(offer.vat_rate, Decimal('0.055'))
        self.assertEqual(offer.state, 'draft')

    @with_transaction()
    def test_submit(self):
        "Test the catalogue that is submitted"
        market = Market()
        offer = market.offer(
            min_quantity=2, quantity=50, delivery="Samedi",
            lead_time=dt.timedelta(days=3), valid_to=TODAY + DAY)
        moderation = market.submit(offer)

        self.assertEqual(offer.state, 'submitted')
        self.assertEqual(offer.version, 1)
        self.assertIsNone(offer.on_sale)
        version, = offer.versions
        message = version.message
        self.assertEqual(message.peer, market.seller.community.peer)
        catalogue = ubl.parse(
            envelope.parse(bytes(message.data)).payload)
        line, = catalogue.lines
        self.assertEqual(line.action, 'Add')
        self.assertEqual(line.item.seller_code, 'MIEL')
        self.assertEqual(line.item.vat_rate, Decimal('5.5'))
        self.assertEqual(line.price, Decimal('9.5'))
        self.assertEqual(line.unit, 'KGM')

        self.assertEqual(moderation.seller.identifier, '0225:732829320')
        self.assertEqual(moderation.state, 'submitted')
        self.assertEqual(moderation.message.digest, message.digest)
        self.assertEqual(moderation.terms, version.terms)

    @with_transaction()
    def test_approve(self):
        "Test an approval"
        self.market = market = Market()
        offer = market.offer()
        moderation = market.submit(offer)
        self.assertIsNone(self.page())
        market.approve(moderation)

        self.assertEqual(moderation.state, 'approved')
        self.assertEqual(offer.state, 'approved')
        self.assertEqual(offer.on_sale.number, 1)
        page = self.page()
        self.assertEqual((page.version, page.offers), (1, 1))
        approval, = page.content.offers
        message = offer.on_sale.message
        self.assertEqual(approval.catalogue, bytes(message.data))
        self.assertEqual(approval.lines, (offer.on_sale.line,))
        approval.verify(market.seller.identity.public_keys())
        signature.verify(
            bytes(page.data), page.signature, signature.CATALOGUE_PAGE,
            market.manager.identity.public_keys())

    @with_transaction()
    def test_refuse(self):
        "Test a refusal with its reason"
        self.market = market = Market()
        offer = market.offer()
        moderation = market.submit(offer)
        market.refuse(moderation, "Trop cher")

        self.assertEqual(moderation.state, 'refused')
        self.assertEqual(offer.state, 'refused')
        self.assertEqual(offer.reason, "Trop cher")
        self.assertIsNone(offer.on_sale)
        self.assertIsNone(self.page())

    @with_transaction()
    def test_change(self):
        "Test the approved version sells until the next one is approved"
        self.market = market = Market()
        offer = market.on_sale(quantity=10)
        market.change(offer, price=Decimal('11'))
        self.assertEqual(offer.state, 'draft')
        self.assertEqual(offer.on_sale.price, Decimal('9.5'))
        moderation = market.submit(offer)

        self.assertEqual(offer.state, 'submitted')
        self.assertEqual(offer.on_sale.number, 1)
        self.assertEqual(moderation.previous.price, Decimal('9.5'))
        self.assertEqual(moderation.previous_price, Decimal('9.5'))
        self.assertEqual(self.page().version, 1)

        market.approve(moderation)

        self.assertEqual(offer.on_sale.number, 2)
        self.assertEqual(offer.on_sale.price, Decimal('11'))
        self.assertEqual(
            [v.state for v in offer.versions], ['approved', 'superseded'])
        self.assertEqual(self.page().version, 2)
        self.assertEqual(
            self.page().content.previous,
            canonical.digest(bytes(self.first_page().data)))

    def first_page(self):
        Page = Pool().get('cooperative.offer.page')
        page, = Page.search([('version', '=', 1)])
        return page

    @with_transaction()
    def test_change_refused(self):
        "Test the approved version still sells when the next is refused"
        self.market = market = Market()
        offer = market.on_sale()
        market.change(offer, price=Decimal('20'))
        market.refuse(market.submit(offer), "Trop cher")

        self.assertEqual(offer.state, 'refused')
        self.assertEqual(offer.on_sale.price, Decimal('9.5'))
        self.assertEqual(self.page().version, 1)

    @with_transaction()
    def test_withdraw(self):
        "Test what is withdrawn is no more published"
        Offer = Pool().get('cooperative.offer')
        self.market = market = Market()
        offer = market.on_sale()
        with market.seller.context():
            Offer.withdraw([offer])
        self.assertIsNone(offer.on_sale)
        market.exchange()

        self.assertEqual(offer.state, 'withdrawn')
        self.assertEqual((self.page().version, self.page().offers), (2, 0))

        market.change(offer, price=Decimal('8'))
        market.approve(market.submit(offer))
        self.assertEqual(offer.on_sale.price, Decimal('8'))
        self.assertEqual(self.page().offers, 1)

    @with_transaction()
    def test_button_without_effect(self):
        "Test a transition that is not allowed changes nothing"
        Moderation = Pool().get('cooperative.offer.moderation')
        self.market = market = Market()
        moderation = market.submit(market.offer())
        market.refuse(moderation, "Non")
        market.approve(moderation)

        self.assertEqual(moderation.state, 'refused')
        self.assertIsNone(self.page())
        self.assertFalse(Moderation.search([('state', '=', 'approved')]))

    @with_transaction()
    def test_groups(self):
        "Test an offer made to a group is on the page of the group only"
        Group = Pool().get('cooperative.community.group')
        self.market = market = Market()
        with market.manager.context():
            group, = Group.create([{
                        'community': market.community.id,
                        'name': "Épiceries",
                        }])
        moderation = market.submit(market.offer())
        moderation.groups = [group]
        moderation.save()
        market.approve(moderation)

        self.assertIsNone(self.page())
        self.assertEqual(self.page(group).offers, 1)
        self.assertEqual(self.page(group).content.groups, ("Épiceries",))
        self.assertFalse(market.synchronise())
        membership = market.memberships[market.buyer]
        membership.groups = [group]
        membership.save()
        self.assertEqual(len(market.synchronise()), 1)

    @with_transaction()
    def test_seller_suspended(self):
        "Test the offers of a suspended seller leave the pages"
        Membership = Pool().get('cooperative.community.membership')
        self.market = market = Market()
        market.on_sale()
        membership = market.memberships[market.seller]
        with market.manager.context():
            Membership.suspend([membership], "Charte")
        self.assertEqual(self.page().offers, 0)
        with market.manager.context():
            Membership.reactivate([Membership(membership.id)])
        self.assertEqual(self.page().offers, 1)

    @with_transaction()
    def test_not_offerer(self):
        "Test only active offerers can submit"
        pool = Pool()
        Membership = pool.get('cooperative.community.membership')
        Message = pool.get('cooperative.edi.message')
        Offer = pool.get('cooperative.offer')
        self.market = market = Market()
        offer = market.offer()
        with market.seller.context():
            own = market.seller.community.membership
            own.offerer = False
            own.save()
            with self.assertRaises(OfferRelationError):
                Offer.submit([offer])
            own.offerer = True
            own.save()
        membership = market.memberships[market.seller]
        with market.manager.context():
            Membership.write([membership], {'offerer': False})
        own.offerer = True
        own.save()
        with market.seller.context():
            Offer.submit([Offer(offer.id)])
        message, = Message.search([('kind', '=', 'catalogue')])
        received, _ = Message.receive(bytes(message.data), message.signature)
        message.state = 'sent'
        message.save()
        market.process(received)
        self.assertEqual(received.state, 'refused')
        market.exchange()
        self.assertEqual(Offer(offer.id).state, 'refused')
        self.assertTrue(Offer(offer.id).reason)

    @with_transaction()
    def test_unknown_unit(self):
        "Test a catalogue that the community cannot read is refused"
        pool = Pool()
        Message = pool.get('cooperative.edi.message')
        Moderation = pool.get('cooperative.offer.moderation')
        Offer = pool.get('cooperative.offer')
        market = Market()
        offer = market.offer()
        with market.seller.context():
            market.kilogram.unece_code = 'XXX'
            market.kilogram.save()
            Offer.submit([offer])
            market.kilogram.unece_code = 'KGM'
            market.kilogram.save()
        market.exchange()

        self.assertFalse(Moderation.search([]))
        message, = Message.search([
                ('kind', '=', 'catalogue'),
                ('direction', '=', 'in'),
                ])
        self.assertEqual(message.state, 'refused')
        self.assertEqual(offer.state, 'refused')
        self.assertIn('XXX', offer.reason)

    @with_transaction()
    def test_incomplete(self):
        "Test an offer without code is not submitted"
        Offer = Pool().get('cooperative.offer')
        market = Market()
        with market.seller.context():
            product = market.honey
            product.suffix_code = None
            product.save()
            offer = market.offer()
            with self.assertRaises(OfferIncompleteError):
                Offer.submit([offer])

    @with_transaction()
    def test_delete(self):
        "Test only what was never submitted is deleted"
        Offer = Pool().get('cooperative.offer')
        market = Market()
        offer = market.offer()
        Offer.delete([offer])
        offer = market.on_sale()
        with self.assertRaises(AccessError):
            Offer.delete([offer])


class BuyerTestCase(OfferTestCase):
    "Test the offers at the buyer"

    @with_transaction()
    def test_synchronise(self):
        "Test the offer in the purchase function"
        self.market = market = Market()
        market.on_sale(min_quantity=2, lead_time=dt.timedelta(days=3))
        item, = market.synchronise()

        self.assertEqual(item.code, 'MIEL')
        self.assertEqual(item.price, Decimal('9.5'))
        self.assertEqual(item.vat_rate, Decimal('0.055'))
        self.assertEqual(item.lead_time, dt.timedelta(days=3))
        with market.buyer.context():
            supplier = item.product_supplier
            self.assertEqual(supplier.party, market.buyer.peer.party)
            self.assertEqual(supplier.code, 'MIEL')
            self.assertEqual(supplier.lead_time, dt.timedelta(days=3))
            price, = supplier.prices
            self.assertEqual(
                (price.quantity, price.unit_price), (2, Decimal('9.5')))
            product = item.product
            self.assertTrue(product.purchasable)
            self.assertEqual(product.purchase_uom, market.kilogram)
            tax, = product.supplier_taxes_used
            self.assertEqual(tax.rate, Decimal('0.055'))

        again, = market.synchronise()
        self.assertEqual(again, item)

    @with_transaction()
    def test_price_changed(self):
        "Test an approved change reaches the supplier of the product"
        self.market = market = Market()
        offer = market.on_sale()
        first, = market.synchronise()
        supplier = first.product_supplier
        market.change(offer, price=Decimal('11'))
        market.approve(market.submit(offer))
        second, = market.synchronise()

        self.assertNotEqual(second, first)
        self.assertFalse(first.active)
        self.assertEqual(second.product_supplier, supplier)
        price, = supplier.prices
        self.assertEqual(price.unit_price, Decimal('11'))

    @with_transaction()
    def test_withdrawn(self):
        "Test what is withdrawn cannot be found any more"
        Offer = Pool().get('cooperative.offer')
        self.market = market = Market()
        offer = market.on_sale()
        item, = market.synchronise()
        with market.seller.context():
            Offer.withdraw([offer])
        market.exchange()

        self.assertFalse(market.synchronise())
        self.assertFalse(item.product_supplier.active)

    @with_transaction()
    def test_expired(self):
        "Test the supplier is not proposed after the last day"
        Item = Pool().get('cooperative.offer.item')
        self.market = market = Market()
        market.on_sale(valid_to=TODAY)
        item, = market.synchronise()
        self.assertTrue(item.product_supplier.active)
        Item.write([item], {'valid_to': TODAY - DAY})
        with market.buyer.context():
            Item.update_suppliers(item.community)
        self.assertFalse(item.product_supplier.active)

    @with_transaction()
    def test_chosen(self):
        "Test the product is made when the offer is chosen"
        Community = Pool().get('cooperative.community')
        Item = Pool().get('cooperative.offer.item')
        self.market = market = Market()
        Community.write([market.buyer.community], {
                'make_purchasable': False,
                })
        market.on_sale()
        item, = market.synchronise()
        self.assertIsNone(item.product_supplier)
        with market.buyer.context():
            Item.make_purchasable([item])
            self.assertTrue(item.product.purchasable)

    @with_transaction()
    def test_refused_answers(self):
        "Test the pages that the buyer does not take"
        self.market = market = Market()
        offer = market.on_sale()
        first = market.answer()
        market.synchronise(first)
        market.change(offer, price=Decimal('11'))
        market.approve(market.submit(offer))
        second = market.answer()

        def altered(function):
            value = canonical.load(second.data)
            function(value['pages'][0])
            return Response(canonical.dump(value), 'tag')

        def flip(page):
            data = bytearray(canonical.decode(page['page']))
            data[100] ^= 1
            page['page'] = canonical.encode(bytes(data))

        def sign(page):
            page['signature'] = market.seller.identity.sign(
                canonical.decode(page['page']), signature.CATALOGUE_PAGE)

        def fork(page):
            content = SignedPage.parse(bytes(self.page().data))
            other = SignedPage(**{
                    **content.__dict__, 'previous': '0' * 64}).to_bytes()
            page['page'] = canonical.encode(other)
            page['signature'] = market.manager.identity.sign(
                other, signature.CATALOGUE_PAGE)

        for name, response in [
                ('no json', Response(b'<html/>', 'tag')),
                ('no pages', Response(b'{}', 'tag')),
                ('changed', altered(flip)),
                ('other signer', altered(sign)),
                ('fork', altered(fork)),
                ]:
            with self.subTest(name=name):
                with self.assertRaises(CatalogueError):
                    market.synchronise(response)
        market.synchronise(second)
        with self.assertRaises(CatalogueError):
            market.synchronise(first)

    @with_transaction()
    def test_unknown_seller(self):
        "Test offers of sellers out of the directory are left out"
        Participant = Pool().get('cooperative.community.participant')
        self.market = market = Market()
        market.on_sale()
        Participant.write(Participant.search([]), {'state': 'suspended'})

        self.assertFalse(market.synchronise())
        community = market.joined(market.buyer)
        self.assertTrue(community.offers_error)
        self.assertIsNone(community.offers_tag)

    @with_transaction()
    def test_order(self):
        "Test an order that follows an offer"
        pool = Pool()
        Sale = pool.get('sale.sale')
        self.market = market = Market()
        offer = market.on_sale(quantity=10)
        item, = market.synchronise()
        purchase = market.purchase(item, quantity=4)
        self.assertEqual(purchase.relation, market.buyer.relation)
        market.order(purchase)

        self.assertEqual(purchase.lines[0].offer, item)
        sale, = Sale.search([])
        self.assertEqual(sale.lines[0].offer_version, offer.on_sale)
        self.assertEqual(offer.quantity_left, 6)
        with market.seller.context():
            Sale.cancel([sale])
        offer = pool.get('cooperative.offer')(offer.id)
        self.assertEqual(offer.quantity_left, 10)

    @with_transaction()
    def test_order_not_allowed(self):
        "Test the buyer's own instance refuses what no offer allows"
        pool = Pool()
        Line = pool.get('purchase.line')
        Purchase = pool.get('purchase.purchase')
        Supplier = pool.get('purchase.product_supplier')
        self.market = market = Market()
        market.on_sale(min_quantity=2, quantity=10)
        item, = market.synchronise()
        purchase = market.purchase(item)
        line, = purchase.lines
        allowed = {
            'quantity': 2,
            'unit': market.kilogram.id,
            'unit_price': Decimal('9.5'),
            }
        for values in [
                {'unit_price': Decimal('9')},
                {'unit_price': Decimal('10')},
                {'quantity': 1},
                {'quantity': 11},
                {'quantity': 2000, 'unit': market.gram.id},
                ]:
            with self.subTest(values=values), market.buyer.context():
                Line.write([line], {**allowed, **values})
                with self.assertRaises(OfferOrderError):
                    Purchase.quote([purchase])
        with market.buyer.context():
            Line.write([line], allowed)
            Supplier.write([item.product_supplier], {'code': 'CIRE'})
            with self.assertRaises(OfferOrderError):
                Purchase.quote([purchase])
            Supplier.write([item.product_supplier], {'code': 'MIEL'})
            Purchase.quote([purchase])
        self.assertEqual(purchase.state, 'quotation')

    @with_transaction()
    def test_order_outdated(self):
        "Test the price that changed since the quotation is refused"
        Purchase = Pool().get('purchase.purchase')
        self.market = market = Market()
        offer = market.on_sale()
        item, = market.synchronise()
        purchase = market.purchase(item)
        with market.buyer.context():
            Purchase.quote([purchase])
        market.change(offer, price=Decimal('11'))
        market.approve(market.submit(offer))
        market.synchronise()
        with market.buyer.context():
            with self.assertRaises(OfferOrderError):
                Purchase.confirm([purchase])

    @with_transaction()
    def test_order_suspended(self):
        "Test a suspended member does not order"
        Purchase = Pool().get('purchase.purchase')
        self.market = market = Market()
        market.on_sale()
        item, = market.synchronise()
        purchase = market.purchase(item)
        own = market.buyer.community.membership
        own.state = 'suspended'
        own.save()
        with market.buyer.context():
            with self.assertRaises(OfferOrderError):
                Purchase.quote([purchase])

    @with_transaction()
    def test_order_outside_community(self):
        "Test purchases outside of any community are not touched"
        pool = Pool()
        Purchase = pool.get('purchase.purchase')
        self.market = market = Market()
        market.on_sale()
        item, = market.synchronise()
        for relation in [None, market.buyer.relation]:
            purchase = market.purchase(item, unit_price=Decimal('1'))
            with self.subTest(relation=relation), market.buyer.context():
                if relation:
                    relation.community = None
                    relation.save()
                Purchase.write([purchase], {
                        'relation': relation.id if relation else None,
                        })
                Purchase.quote([purchase])
                self.assertEqual(purchase.state, 'quotation')

    @with_transaction()
    def test_order_refused_by_seller(self):
        "Test the seller's instance refuses what no offer allows"
        pool = Pool()
        Item = pool.get('cooperative.offer.item')
        Sale = pool.get('sale.sale')
        self.market = market = Market()
        market.on_sale(quantity=10)
        item, = market.synchronise()
        # A buyer that does not check
        Item.write([item], {'price': Decimal('1'), 'quantity': None})
        for values in [
                {'unit_price': Decimal('1')},
                {'unit_price': Decimal('9.5'), 'quantity': 11},
                ]:
            with self.subTest(values=values):
                Item.write([item], {'price': values['unit_price']})
                purchase = market.purchase(item, **values)
                market.order(purchase)
                self.assertEqual(purchase.edi_state, 'refused')
                self.assertTrue(purchase.edi_answer)
        self.assertFalse(Sale.search([]))

    def ask(self, purchase, **values):
        "Have the buyer ask for other values of the only line"
        Line = Pool().get('purchase.line')
        with self.market.buyer.context():
            line = Line(purchase.lines[0].id)
            for name, value in values.items():
                setattr(line, name, value)
            purchase.edi_ask_change([line])
        self.market.exchange()

    @with_transaction()
    def test_change_not_allowed(self):
        "Test neither instance lets a change have what no offer allows"
        pool = Pool()
        Item = pool.get('cooperative.offer.item')
        Purchase = pool.get('purchase.purchase')
        Sale = pool.get('sale.sale')
        self.market = market = Market()
        offer = market.on_sale(min_quantity=2, quantity=10)
        item, = market.synchronise()
        purchase = market.purchase(item, quantity=4)
        market.order(purchase)
        sale, = Sale.search([])
        for values in [
                {'quantity': 11},
                {'unit_price': Decimal('9')},
                {'quantity': 5, 'unit_price': Decimal('10')},
                ]:
            with self.subTest(values=values):
                with self.assertRaises(OfferOrderError):
                    self.ask(purchase, **values)
        self.assertFalse(purchase.edi_request)

        # A buyer that does not check
        price = item.price
        for values in [
                {'quantity': 11},
                {'unit_price': Decimal('9')},
                ]:
            with self.subTest(seller=values):
                Item.write([item], {
                        'price': values.get('unit_price', price),
                        'quantity': None})
                self.ask(purchase, **values)
                purchase = Purchase(purchase.id)
                self.assertFalse(purchase.edi_request)
                self.assertTrue(purchase.edi_answer)
                self.assertEqual(purchase.edi_state, 'waiting')
                self.assertEqual([l.quantity for l in sale.lines], [4])
        Item.write([item], {'price': price, 'quantity': 10})

        # All that is left, with what is ordered already
        self.ask(purchase, quantity=10)
        self.assertEqual([l.quantity for l in sale.lines], [10])
        self.assertEqual(offer.__class__(offer.id).quantity_left, 0)
        with market.seller.context():
            Sale.edi_refuse([sale])
        market.exchange()

        # Less, even when the offer cannot be ordered any more
        Item.write([item], {'active': False})
        self.ask(purchase, quantity=3)
        self.assertEqual([l.quantity for l in sale.lines], [3])

    @with_transaction()
    def test_taxes(self):
        "Test the account category by rate and type"
        pool = Pool()
        Category = pool.get('product.category')
        market = Market()
        with market.buyer.context():
            category = Category.for_purchase_vat(Decimal('0.055'), 'goods')
            self.assertEqual(
                category,
                Category.for_purchase_vat(Decimal('0.055'), 'goods'))
            none = Category.for_purchase_vat(None, 'service')
            self.assertNotEqual(none, category)
            self.assertFalse(none.supplier_taxes_used)
