# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What is asked and answered after an order: changes, cancellations"""
import contextlib
import datetime as dt
import unittest.mock
from dataclasses import replace
from decimal import Decimal

from trytond.pool import Pool
from trytond.pyson import PYSONDecoder, PYSONEncoder
from trytond.tests.test_tryton import with_transaction
from trytond.transaction import Transaction

from trycoton.protocol import ubl

from .test_documents import (
    MODULES, TODAY, DealTestCase, deliver, process, receive, refused,
    run_tasks)


class OrderTestCase(DealTestCase):
    "Two companies, one order"

    def order(self, **lines):
        "Return the purchase, sent, and the sale made of it"
        self.set_up_deal()
        purchase = self.purchase(**(lines or {'MIEL': (10, '12')}))
        sale = self.sale(deliver('order'))
        deliver('order_response')
        return purchase, sale

    def accepted(self, **lines):
        "Return the purchase and the sale, both processed"
        purchase, sale = self.order(**lines)
        self.accept(sale)
        deliver('order_response')
        self.assertEqual(purchase.state, 'processing')
        self.assertEqual(sale.state, 'processing')
        return purchase, sale

    @contextlib.contextmanager
    def wizard(self, name, purchase):
        "Yield the defaults of the wizard, and run it with what they became"
        Wizard = Pool().get(name, type='wizard')
        with self.buyer.context(), Transaction().set_context(
                active_model=purchase.__name__, active_id=purchase.id,
                active_ids=[purchase.id]):
            session, start, _ = Wizard.create()
            view = Wizard.execute(session, {}, start)['view']
            values = view.get('defaults') or {}
            yield values
            Wizard.execute(session, {start: values}, 'send')
            Wizard.delete(session)
            run_tasks()

    def change(self, purchase, note=None, **products):
        "Ask for other values for the products"
        Line = Pool().get('purchase.line')
        with self.wizard('purchase.edi_change', purchase) as values:
            values['note'] = note
            for line in values['lines']:
                del line['line.']
                line.update(
                    products.get(Line(line['line']).product.code, {}))

    def cancel(self, purchase, reason="Trop tard"):
        with self.wizard('purchase.edi_cancel', purchase) as values:
            values['reason'] = reason

    def press(self, side, button, record):
        with side.context():
            getattr(record.__class__, button)([record])
            run_tasks()
        return record.__class__(record.id)

    def requests(self, kind):
        "Return what waits to be delivered"
        Message = Pool().get('cooperative.edi.message')
        return Message.search([
                ('direction', '=', 'out'),
                ('state', '=', 'waiting'),
                ('kind', '=', kind),
                ], order=[('id', 'ASC')])

    def document(self, purchase):
        "Return a change that asks for 8 of each line"
        Document = Pool().get('cooperative.edi.document')
        with self.buyer.context():
            order = Document.order(purchase)
        return ubl.OrderChange(
            number='C1', date=order.date, sequence=1, currency='EUR',
            order_number=purchase.number, buyer=order.buyer,
            seller=order.seller, lines=tuple(
                ubl.OrderChangeLine(**{
                        **vars(line), 'quantity': Decimal(8),
                        'amount': None, 'code': '3'})
                for line in order.lines))

    def resend(self, document, **values):
        "Have the buyer send such a document; return it as received"
        received = self.send(self.buyer, replace(document, **values))
        run_tasks()
        return received

    def assertAgree(self, purchase, sale):
        self.assertEqual(purchase.untaxed_amount, sale.untaxed_amount)
        self.assertEqual(
            [l.quantity for l in purchase.line_lines],
            [l.quantity for l in sale.line_lines])


class OrderChangeTestCase(OrderTestCase):
    "Test changes and cancellations of orders"

    @with_transaction()
    def test_change_accepted(self):
        "Test a change before the order is answered"
        purchase, sale = self.order(MIEL=(10, '12'), CIRE=(7, '1'))
        tomorrow = TODAY + dt.timedelta(1)
        self.change(purchase, "Moins de monde", honey={
                'quantity': 6, 'delivery_date': tomorrow}, wax={
                'unit_price': Decimal('1.1')})
        self.assertEqual(purchase.edi_request, 'change')
        self.assertEqual(purchase.state, 'confirmed')
        self.assertEqual([l.quantity for l in purchase.lines], [10, 7])

        change = deliver('order_change')
        self.check(change)
        self.assertEqual(change.sequence, 1)
        self.assertEqual(change.order_number, purchase.number)
        self.assertEqual([l.code for l in change.lines], ['3', '3'])
        self.assertEqual(sale.state, 'quotation')
        self.assertEqual((sale.edi_state, sale.edi_request),
            ('waiting', 'change'))
        self.assertEqual(
            [(l.quantity, l.unit_price, l.edi_date) for l in sale.lines],
            [(6, 12, tomorrow), (7, Decimal('1.1'), None)])
        response = deliver('order_response')
        self.assertEqual(
            (response.code, response.change_number), ('AB', change.number))
        self.assertEqual(purchase.edi_request, 'change')

        self.accept(sale)
        response = deliver('order_response')
        self.check(response)
        self.assertEqual(
            (response.code, response.change_number), ('AP', change.number))
        self.assertEqual((sale.edi_state, sale.edi_request),
            ('accepted', None))
        self.assertEqual(sale.state, 'processing')
        self.assertEqual((purchase.edi_state, purchase.edi_request),
            ('accepted', None))
        self.assertEqual(purchase.state, 'processing')
        self.assertAgree(purchase, sale)
        move, _ = purchase.moves
        self.assertEqual((move.quantity, move.planned_date), (6, tomorrow))

    @with_transaction()
    def test_change_refused(self):
        "Test the order goes on as before when its change is refused"
        purchase, sale = self.order()
        self.change(purchase, honey={'quantity': 60})
        deliver('order_change')
        self.assertEqual([l.quantity for l in sale.lines], [60])
        with self.seller.context():
            sale.edi_answer = "Pas autant"
            sale.save()
        self.press(self.seller, 'edi_refuse', sale)
        response = deliver('order_response')
        self.check(response)
        self.assertEqual((response.code, response.note), ('RE', "Pas autant"))
        self.assertEqual(sale.state, 'quotation')
        self.assertEqual((sale.edi_state, sale.edi_request),
            ('waiting', None))
        self.assertEqual(
            [(l.quantity, l.edi_quantity) for l in sale.lines], [(10, 10)])
        self.assertEqual((purchase.state, purchase.edi_state),
            ('confirmed', 'waiting'))
        self.assertEqual((purchase.edi_request, purchase.edi_answer),
            (None, "Pas autant"))

        # and a second one follows the first
        self.change(purchase, honey={'quantity': 12})
        self.assertEqual(deliver('order_change').sequence, 2)
        self.accept(sale)
        response = deliver('order_response')
        self.assertEqual(response.code, 'AP')
        self.assertEqual(purchase.state, 'processing')
        self.assertEqual([l.quantity for l in purchase.lines], [12])
        self.assertAgree(purchase, sale)

    @with_transaction()
    def test_change_countered(self):
        "Test the seller accepts a change with changes"
        purchase, sale = self.order()
        SaleLine = Pool().get('sale.line')
        self.change(purchase, honey={'quantity': 60})
        deliver('order_change')
        with self.seller.context():
            SaleLine.write(list(sale.lines), {'quantity': 40})
        self.accept(sale)
        self.assertEqual(sale.state, 'quotation')
        response = deliver('order_response')
        self.assertEqual(response.code, 'CA')
        self.assertEqual(purchase.edi_state, 'changed')
        self.assertIsNone(purchase.edi_request)
        self.assertEqual(
            [(l.quantity, l.edi_quantity) for l in purchase.lines],
            [(10, 40)])
        self.press(self.buyer, 'edi_accept', purchase)
        change = deliver('order_change')
        self.check(change)
        self.assertEqual(change.sequence, 2)
        self.assertEqual(deliver('order_response').code, 'AP')
        self.assertEqual(sale.state, 'processing')
        self.assertEqual(purchase.state, 'processing')
        self.assertAgree(purchase, sale)

    def proposed(self):
        "Return a purchase whose sale is accepted with changes"
        purchase, sale = self.order(MIEL=(10, '12'), CIRE=(7, '1'))
        SaleLine = Pool().get('sale.line')
        honey, wax = sale.lines
        with self.seller.context():
            SaleLine.write([honey], {'quantity': 6})
            SaleLine.write([wax], {'quantity': 0})
        self.accept(sale)
        self.assertEqual(deliver('order_response').code, 'CA')
        return purchase, sale

    @with_transaction()
    def test_proposal_accepted(self):
        "Test a counter-proposal is accepted by the matching change"
        from cooperative_edi.exceptions_document import SaleProposedError
        purchase, sale = self.proposed()
        self.assertEqual((sale.state, sale.edi_state),
            ('quotation', 'changed'))
        with self.assertRaises(SaleProposedError):
            self.accept(sale)
        self.press(self.buyer, 'edi_accept', purchase)
        self.assertEqual(purchase.state, 'confirmed')
        change = deliver('order_change')
        self.check(change)
        self.assertEqual(
            [(l.code, l.quantity) for l in change.lines],
            [('3', 6), ('2', 0)])
        self.assertEqual(sale.state, 'processing')
        response = deliver('order_response')
        self.assertEqual(
            (response.code, response.change_number), ('AP', change.number))
        self.assertEqual(purchase.state, 'processing')
        self.assertAgree(purchase, sale)
        move, = purchase.moves
        self.assertEqual(move.quantity, 6)

    @with_transaction()
    def test_proposal_reconsidered(self):
        "Test a person sees the change that no more matches the proposal"
        purchase, sale = self.proposed()
        self.press(self.buyer, 'edi_accept', purchase)
        self.press(self.seller, 'draft', sale)
        deliver('order_change')
        self.assertEqual((sale.state, sale.edi_state, sale.edi_request),
            ('draft', 'waiting', 'change'))
        self.assertEqual(deliver('order_response').code, 'AB')
        self.assertEqual(purchase.state, 'confirmed')
        self.press(self.seller, 'quote', sale)
        self.accept(sale)
        self.assertEqual(deliver('order_response').code, 'AP')
        self.assertEqual(purchase.state, 'processing')
        self.assertAgree(purchase, sale)

    @with_transaction()
    def test_withdrawn(self):
        "Test the answers to an order that the buyer took back"
        Message = Pool().get('cooperative.edi.message')
        purchase, sale = self.order()
        self.change(purchase, honey={'quantity': 8})
        deliver('order_change')
        deliver('order_response')
        self.press(self.buyer, 'draft', purchase)
        self.assertEqual((purchase.edi_state, purchase.edi_request),
            ('none', None))
        self.accept(sale)
        message, = self.requests('order_response')
        received = receive(message)
        process(received)
        self.assertEqual(Message(received.id).state, 'refused')
        self.assertEqual((purchase.state, purchase.edi_state),
            ('draft', 'none'))
        self.assertEqual([l.quantity for l in purchase.lines], [10])

    @with_transaction()
    def test_proposal_refused(self):
        "Test a counter-proposal is refused by a cancellation"
        purchase, sale = self.proposed()
        self.cancel(purchase, "Il en faut 10")
        cancellation = deliver('order_cancellation')
        self.check(cancellation)
        self.assertEqual(cancellation.reason, "Il en faut 10")
        self.assertEqual((sale.state, sale.edi_state),
            ('cancelled', 'cancelled'))
        self.assertEqual(purchase.state, 'confirmed')
        response = deliver('order_response')
        self.check(response)
        self.assertEqual(response.code, 'AP')
        self.assertEqual((purchase.state, purchase.edi_state),
            ('cancelled', 'cancelled'))
        self.assertIsNone(purchase.edi_request)

    @with_transaction()
    def test_proposal_withdrawn(self):
        "Test the seller cancels what it had proposed"
        purchase, sale = self.proposed()
        self.press(self.seller, 'cancel', sale)
        self.assertEqual(deliver('order_response').code, 'RE')
        self.assertEqual((purchase.state, purchase.edi_state),
            ('cancelled', 'refused'))

    @with_transaction()
    def test_order_refused_with_its_change(self):
        "Test the seller cancels the sale whose change waits"
        purchase, sale = self.order()
        self.change(purchase, honey={'quantity': 60})
        deliver('order_change')
        self.press(self.seller, 'cancel', sale)
        self.assertEqual(
            len([m for m in self.requests('order_response')]), 3)
        deliver('order_response')
        self.assertEqual((purchase.state, purchase.edi_state),
            ('cancelled', 'refused'))
        self.assertIsNone(purchase.edi_request)

    @with_transaction()
    def test_change_late(self):
        "Test the change of a sale in process needs amendments"
        purchase, sale = self.order()
        self.change(purchase, honey={'quantity': 6})
        # while it is under way the seller accepts the order
        self.accept(sale)
        message, = self.requests('order_change')
        self.assertEqual(deliver('order_response').code, 'AP')
        self.assertEqual(message.state, 'sent')
        # what the answer to the change says is not known yet
        self.assertEqual((purchase.state, purchase.edi_state),
            ('confirmed', 'accepted'))
        response = deliver('order_response')
        self.check(response)
        self.assertEqual(response.code, 'RE')
        self.assertEqual((purchase.state, purchase.edi_state),
            ('processing', 'accepted'))
        self.assertIn(sale.number, purchase.edi_answer)
        self.assertEqual(sale.edi_state, 'accepted')
        self.assertAgree(purchase, sale)
        self.assertEqual([l.quantity for l in purchase.lines], [10])

    @with_transaction()
    def test_change_same(self):
        "Test a change of an order in process that asks for nothing new"
        purchase, sale = self.accepted()
        change = self.document(purchase)
        line, = change.lines
        received = self.resend(
            change, lines=(replace(line, quantity=Decimal(10)),))
        self.assertEqual(received.state, 'processed')
        answer = sale.edi_sent('order_response')[0]
        self.assertEqual(answer.answers, received)
        response = Pool().get('cooperative.edi.document').content(answer)
        self.assertEqual(
            (response.code, response.change_number), ('AP', 'C1'))
        self.assertEqual((sale.state, sale.edi_state, sale.edi_request),
            ('processing', 'accepted', None))

    @with_transaction()
    def test_change_crosses_proposal(self):
        "Test a change and a counter-proposal that cross"
        purchase, sale = self.order()
        SaleLine = Pool().get('sale.line')
        self.change(purchase, honey={'quantity': 8})
        with self.seller.context():
            SaleLine.write(list(sale.lines), {'quantity': 6})
        self.accept(sale)
        deliver('order_response')
        self.assertEqual((purchase.edi_state, purchase.edi_request),
            ('changed', 'change'))
        # a person looks at what is asked, which is not what was proposed
        self.assertEqual((sale.state, sale.edi_state, sale.edi_request),
            ('quotation', 'waiting', 'change'))
        self.assertEqual([l.quantity for l in sale.lines], [8])
        self.accept(sale)
        self.assertEqual(deliver('order_response').code, 'AP')
        self.assertEqual(purchase.state, 'processing')
        self.assertEqual([l.quantity for l in purchase.lines], [8])
        self.assertAgree(purchase, sale)

    @with_transaction()
    def test_cancellation_crosses_change(self):
        "Test the cancellation of an order whose change is accepted meanwhile"
        purchase, sale = self.order()
        self.change(purchase, honey={'quantity': 8})
        deliver('order_change')
        self.cancel(purchase)
        self.assertEqual(purchase.edi_request, 'cancellation')
        self.accept(sale)
        self.assertEqual(sale.state, 'processing')
        deliver('order_response')
        self.assertEqual((purchase.state, purchase.edi_state),
            ('confirmed', 'accepted'))
        self.assertEqual(purchase.edi_request, 'cancellation')
        self.assertEqual([l.quantity for l in purchase.lines], [8])
        deliver('order_response')
        self.assertEqual((purchase.state, purchase.edi_state),
            ('cancelled', 'cancelled'))
        self.assertEqual((sale.state, sale.edi_state), ('done', 'cancelled'))
        self.assertEqual(sale.total_amount, 0)

    def cancelled(self, purchase, sale):
        "Have the order cancelled before it is answered"
        self.cancel(purchase)
        self.assertEqual(purchase.edi_request, 'cancellation')
        deliver('order_cancellation')
        self.assertEqual((sale.state, sale.edi_state),
            ('cancelled', 'cancelled'))
        self.assertEqual(deliver('order_response').code, 'AP')
        self.assertEqual((purchase.state, purchase.edi_state),
            ('cancelled', 'cancelled'))
        self.assertFalse(purchase.moves)

    @with_transaction()
    def test_cancellation_quotation(self):
        "Test the cancellation of an order that is not answered yet"
        self.cancelled(*self.order())

    @with_transaction()
    def test_cancellation_draft(self):
        "Test the cancellation of an order whose sale is put back to draft"
        purchase, sale = self.order()
        self.press(self.seller, 'draft', sale)
        self.cancelled(purchase, sale)

    @with_transaction()
    def test_cancellation_confirmed(self):
        "Test the cancellation of a sale confirmed but not processed"
        Sale = Pool().get('sale.sale')
        purchase, sale = self.order()
        self.cancel(purchase)
        with self.seller.context():
            Sale.confirm([sale])
        self.assertEqual(sale.state, 'confirmed')
        tasks = list(Transaction().tasks)
        Transaction().tasks.clear()
        message, = self.requests('order_cancellation')
        process(receive(message))
        self.assertEqual(sale.state, 'cancelled')
        Transaction().tasks.extend(tasks)
        run_tasks()
        self.assertEqual(sale.state, 'cancelled')
        deliver('order_response')
        self.assertEqual((purchase.state, purchase.edi_state),
            ('cancelled', 'cancelled'))

    @with_transaction()
    def test_cancellation_processing(self):
        "Test the cancellation of an order in process on both sides"
        purchase, sale = self.accepted(
            MIEL=(10, '12'), CONSEIL=(2, '450'))
        shipment, = sale.shipments
        invoice, = sale.invoices
        self.cancel(purchase)
        self.assertEqual(purchase.state, 'processing')
        deliver('order_cancellation')
        self.assertEqual(shipment.state, 'cancelled')
        self.assertEqual(invoice.state, 'cancelled')
        self.assertEqual((sale.state, sale.edi_state), ('done', 'cancelled'))
        self.assertEqual(sale.total_amount, 0)
        self.assertEqual(list(sale.invoices), [invoice])
        self.assertEqual(list(sale.shipments), [shipment])
        self.assertEqual(sale.shipment_state, 'none')
        response = deliver('order_response')
        self.check(response)
        self.assertEqual(response.code, 'AP')
        self.assertEqual((purchase.state, purchase.edi_state),
            ('done', 'cancelled'))
        self.assertEqual({m.state for m in purchase.moves}, {'cancelled'})
        self.assertEqual(purchase.shipment_state, 'none')
        self.assertEqual(purchase.total_amount, 0)

    def prepared(self, *steps):
        "Have an order cancelled whose shipment went through the steps"
        Shipment = Pool().get('stock.shipment.out')
        purchase, sale = self.accepted()
        shipment, = sale.shipments
        with self.seller.context():
            for step in steps:
                getattr(Shipment, step)([shipment])
            run_tasks()
        self.cancel(purchase)
        deliver('order_cancellation')
        self.assertEqual(deliver('order_response').code, 'AP')
        shipment = Shipment(shipment.id)
        self.assertEqual(shipment.state, 'cancelled')
        self.assertEqual({m.state for m in shipment.moves}, {'cancelled'})
        self.assertEqual((sale.state, sale.edi_state), ('done', 'cancelled'))
        self.assertEqual(purchase.state, 'done')

    @with_transaction()
    def test_cancellation_assigned(self):
        "Test the cancellation of an order that is assigned"
        self.prepared('assign_force')

    @with_transaction()
    def test_cancellation_packed(self):
        "Test the cancellation of an order that is packed"
        self.prepared('assign_force', 'pick', 'pack')

    @with_transaction()
    def test_cancellation_shipped(self):
        "Test the cancellation of an order that is shipped is refused"
        purchase, sale = self.accepted()
        self.ship(sale, MIEL=6)
        self.cancel(purchase)
        self.assertEqual(
            deliver('order_cancellation').number, f'{purchase.number}-X1')
        self.assertEqual(sale.state, 'processing')
        response = deliver('order_response')
        self.check(response)
        self.assertEqual(response.code, 'RE')
        self.assertEqual((purchase.state, purchase.edi_state),
            ('processing', 'accepted'))
        self.assertIsNone(purchase.edi_request)
        self.assertEqual(purchase.edi_answer, response.note)
        self.assertIn(sale.number, response.note)
        self.assertEqual(
            sorted(m.quantity for m in purchase.moves), [4, 6])

    @with_transaction()
    def test_cancellation_invoiced(self):
        "Test the cancellation of an order that is invoiced is refused"
        purchase, sale = self.accepted(CONSEIL=(2, '450'))
        self.post(self.seller, *sale.invoices)
        deliver('invoice')
        self.cancel(purchase)
        deliver('order_cancellation')
        self.assertEqual(deliver('order_response').code, 'RE')
        self.assertEqual(sale.untaxed_amount, purchase.untaxed_amount)
        self.assertEqual(purchase.edi_state, 'accepted')
        self.assertEqual(len(purchase.invoices), 1)

    @with_transaction()
    def test_cancellation_crosses_refusal(self):
        "Test both cancel at the same time"
        purchase, sale = self.order()
        self.cancel(purchase)
        self.press(self.seller, 'cancel', sale)
        deliver('order_response')
        self.assertEqual((purchase.state, purchase.edi_state),
            ('cancelled', 'refused'))
        response = deliver('order_response')
        self.assertEqual(response.code, 'AP')
        self.assertEqual(purchase.state, 'cancelled')
        self.assertEqual(sale.state, 'cancelled')

    @with_transaction()
    def test_sequence(self):
        "Test a change applies only after the one before it, and once"
        Message = Pool().get('cooperative.edi.message')
        purchase, sale = self.order()
        change = self.document(purchase)
        line, = change.lines
        # the second one waits for the first
        second = self.resend(change, number='C2', sequence=2, lines=(
                replace(line, quantity=Decimal(4)),))
        self.assertEqual(second.state, 'parked')
        self.assertEqual([l.quantity for l in sale.lines], [10])
        first = self.resend(change, number='C1', sequence=1)
        self.assertEqual((first.state, first.origin), ('processed', sale))
        self.assertEqual([l.quantity for l in sale.lines], [8])
        self.press(self.seller, 'edi_refuse', sale)
        process(Message(second.id))
        second = Message(second.id)
        self.assertEqual((second.state, second.origin), ('processed', sale))
        self.assertEqual([l.quantity for l in sale.lines], [4])
        self.assertEqual(sale.edi_sequence, 2)
        # the same once more: nothing happens
        responses = len(sale.edi_sent('order_response'))
        again = self.resend(change, number='C2', sequence=2, lines=(
                replace(line, quantity=Decimal(4)),))
        self.assertEqual((again.state, again.origin), ('processed', sale))
        self.assertEqual(len(sale.edi_sent('order_response')), responses)
        self.assertEqual(sale.edi_change, second)
        # another document with the number, or with the sequence number
        for values in [
                {'number': 'C2', 'sequence': 2},
                {'number': 'C2b', 'sequence': 2},
                {'number': 'C3', 'sequence': 1}]:
            with self.subTest(**values):
                other = self.resend(change, **values)
                self.assertEqual(other.state, 'refused')
        self.assertEqual([l.quantity for l in sale.lines], [4])

    @with_transaction()
    def test_change_malformed(self):
        "Test a change that breaks a rule is refused and comes back"
        purchase, sale = self.order()
        change = self.document(purchase)
        line, = change.lines
        for values in [
                {'currency': 'USD'},
                {'lines': (replace(line, quantity=Decimal(-1)),)},
                {'lines': (replace(line, price=Decimal(-1)),)},
                {'lines': (replace(line, code='2'),)},
                {'lines': (replace(line, unit='C62'),)},
                {'lines': (line, line)},
                {'buyer': change.seller},
                ]:
            with self.subTest(values=values):
                received = self.resend(change, **values)
                self.assertIn(received.state, {'refused', 'held'})
        parked = self.resend(change, number='C9', order_number='P9')
        self.assertEqual(parked.state, 'parked')
        self.assertEqual([l.quantity for l in sale.lines], [10])
        self.assertEqual((sale.edi_state, sale.edi_request),
            ('waiting', None))

    @with_transaction()
    def test_change_message_refused(self):
        "Test the buyer goes on when the change is refused technically"
        Document = Pool().get('cooperative.edi.document')
        purchase, sale = self.order()
        self.change(purchase, honey={'quantity': 8})
        message, = self.requests('order_change')
        received = receive(message)
        with unittest.mock.patch.object(
                Document, 'check_change',
                side_effect=refused("Not an approved offer")):
            process(received)
        self.assertEqual(received.state, 'refused')
        deliver('message_level_response')
        self.assertIsNone(purchase.edi_request)
        self.assertIn("Not an approved offer", purchase.edi_answer)
        self.assertEqual(purchase.edi_state, 'waiting')
        # the seller did not count it
        self.change(purchase, honey={'quantity': 9})
        self.assertEqual(deliver('order_change').sequence, 1)
        self.accept(sale)
        deliver('order_response')
        self.assertEqual([l.quantity for l in purchase.lines], [9])

    @with_transaction()
    def test_change_not_sent(self):
        "Test the buyer asks again when the change could not be sent"
        Message = Pool().get('cooperative.edi.message')
        purchase, sale = self.order()
        self.change(purchase, honey={'quantity': 8})
        with self.buyer.context():
            Message.cancel(self.requests('order_change'))
        self.assertIsNone(purchase.edi_request)
        self.assertEqual(purchase.edi_state, 'waiting')
        self.change(purchase, honey={'quantity': 9})
        self.assertEqual(deliver('order_change').sequence, 1)
        self.assertEqual([l.quantity for l in sale.lines], [9])

    @with_transaction()
    def test_line_added(self):
        "Test a line added by the buyer is in the sale to confirm"
        purchase, sale = self.order()
        change = self.document(purchase)
        line, = change.lines
        item = replace(line.item, seller_code='CIRE', name="Cire")
        added = replace(
            line, id='2', code='1', unit='C62', quantity=Decimal(3),
            price=Decimal(1), amount=None, item=item)
        received = self.resend(change, lines=(line, added))
        self.assertEqual(received.state, 'processed')
        self.assertEqual(sale.state, 'quotation')
        self.assertEqual(
            [(l.product.code, l.quantity) for l in sale.lines],
            [('MIEL', 8), ('CIRE', 3)])
        self.press(self.seller, 'edi_refuse', sale)
        self.assertEqual(
            [(l.product.code, l.quantity) for l in sale.lines],
            [('MIEL', 10), ('CIRE', 0)])
        self.accept(sale)
        self.assertEqual(sale.edi_state, 'accepted')

    @with_transaction()
    def test_request_errors(self):
        "Test what cannot be asked"
        from cooperative_edi.exceptions_document import (
            OrderQuantityError, OrderRequestError)
        purchase, sale = self.order()
        with self.assertRaises(OrderQuantityError):
            self.change(purchase, honey={'quantity': 0})
        self.change(purchase, honey={'quantity': 8})
        with self.assertRaises(OrderRequestError):
            self.change(purchase, honey={'quantity': 9})
        self.cancel(purchase)
        with self.assertRaises(OrderRequestError):
            self.cancel(purchase)
        deliver('order_change')
        deliver('order_response')
        self.assertEqual(purchase.state, 'cancelled')
        with self.assertRaises(OrderRequestError):
            self.cancel(purchase)
        with self.assertRaises(OrderRequestError):
            self.change(purchase, honey={'quantity': 8})

    @with_transaction()
    def test_answer_twice(self):
        "Test the answer of a change takes effect once"
        Message = Pool().get('cooperative.edi.message')
        purchase, sale = self.order()
        self.change(purchase, honey={'quantity': 8})
        deliver('order_change')
        self.accept(sale)
        message = self.requests('order_response')[-1]
        deliver('order_response')
        self.assertEqual(purchase.state, 'processing')
        Document = Pool().get('cooperative.edi.document')
        response = Document.content(message)
        for values in [
                {}, {'code': 'RE'}, {'code': 'AP', 'change_number': 'C9'},
                {'code': 'RE', 'change_number': None}]:
            with self.subTest(values), self.seller.context():
                again = Message.send(
                    self.seller.relation, replace(response, **values),
                    answers=message.answers)
                received = receive(again)
                process(received)
                self.assertEqual(received.state, 'refused')
        self.assertEqual((purchase.state, purchase.edi_state),
            ('processing', 'accepted'))
        self.assertEqual([l.quantity for l in purchase.lines], [8])

    @with_transaction()
    def test_buttons(self):
        "Test who may press the buttons, and when"
        pool = Pool()
        Button = pool.get('ir.model.button')
        ActionWizard = pool.get('ir.action.wizard')
        ModelData = pool.get('ir.model.data')
        for model, names, group in [
                ('purchase.purchase',
                    ['edi_accept', 'edi_refuse', 'edi_change', 'edi_cancel'],
                    ('purchase', 'group_purchase')),
                ('sale.sale', ['edi_accept', 'edi_refuse'],
                    ('sale', 'group_sale'))]:
            for name in names:
                with self.subTest(model=model, name=name):
                    self.assertEqual(
                        Button.get_groups(model, name),
                        {ModelData.get_id(*group)})
        for name in ['purchase.edi_change', 'purchase.edi_cancel']:
            action, = ActionWizard.search([('wiz_name', '=', name)])
            self.assertEqual(
                [g.id for g in action.groups],
                [ModelData.get_id('purchase', 'group_purchase')])

    def shown(self, model, **values):
        "Return our buttons that a person sees on such a record"
        Model = Pool().get(model)
        return {
            name for name, states in Model._buttons.items()
            if name.startswith('edi_')
            and not PYSONDecoder(values).decode(
                PYSONEncoder().encode(states['invisible']))}

    @with_transaction()
    def test_shown(self):
        "Test which buttons are shown"
        for state, edi_state, edi_request, expected in [
                ('draft', 'none', None, set()),
                ('processing', 'none', None, set()),
                ('confirmed', 'waiting', None, {'edi_change', 'edi_cancel'}),
                ('confirmed', 'waiting', 'change', {'edi_cancel'}),
                ('confirmed', 'waiting', 'cancellation', set()),
                ('confirmed', 'changed', None,
                    {'edi_accept', 'edi_refuse', 'edi_change'}),
                ('confirmed', 'changed', 'change', set()),
                ('confirmed', 'accepted', 'change', {'edi_cancel'}),
                ('processing', 'accepted', None, {'edi_cancel'}),
                ('cancelled', 'refused', None, set()),
                ('cancelled', 'cancelled', None, set()),
                ('done', 'cancelled', None, set()),
                ]:
            with self.subTest(state, answer=edi_state, asked=edi_request):
                self.assertEqual(self.shown(
                        'purchase.purchase', state=state, edi_state=edi_state,
                        edi_request=edi_request), expected)
        for state, edi_request, expected in [
                ('quotation', None, set()),
                ('quotation', 'change', {'edi_refuse'}),
                ('processing', None, set()),
                ('processing', 'change', {'edi_accept', 'edi_refuse'}),
                ]:
            with self.subTest(sale=state, asked=edi_request):
                self.assertEqual(self.shown(
                        'sale.sale', state=state, edi_request=edi_request),
                    expected)


class OrderAmendmentTestCase(OrderTestCase):
    "Test changes of orders in process"

    modules = [*MODULES, 'purchase_amendment', 'sale_amendment']

    @with_transaction()
    def test_amended(self):
        "Test the change of an order in process on both sides"
        purchase, sale = self.accepted(MIEL=(10, '12'), CONSEIL=(2, '450'))
        tomorrow = TODAY + dt.timedelta(1)
        self.change(purchase, honey={
                'quantity': 14, 'delivery_date': tomorrow},
            advice={'quantity': 1})
        self.assertEqual(purchase.edi_request, 'change')
        deliver('order_change')
        self.assertEqual((sale.edi_state, sale.edi_request),
            ('waiting', 'change'))
        self.assertEqual(
            [(l.quantity, l.edi_quantity) for l in sale.lines],
            [(10, 14), (2, 1)])
        self.assertEqual(deliver('order_response').code, 'AB')
        self.press(self.seller, 'edi_accept', sale)
        self.assertEqual((sale.edi_state, sale.edi_request),
            ('accepted', None))
        shipment, = sale.shipments
        self.assertEqual(
            (shipment.state, [m.quantity for m in shipment.outgoing_moves]),
            ('waiting', [14]))
        invoice, = sale.invoices
        self.assertEqual(invoice.untaxed_amount, 450)
        response = deliver('order_response')
        self.check(response)
        self.assertEqual(response.code, 'AP')
        self.assertEqual((purchase.state, purchase.edi_state),
            ('processing', 'accepted'))
        self.assertIsNone(purchase.edi_request)
        move, = purchase.moves
        self.assertEqual((move.quantity, move.planned_date), (14, tomorrow))
        self.assertAgree(purchase, sale)
        self.assertEqual((purchase.revision, sale.revision), (1, 1))

        # the deal goes on
        self.ship(sale)
        advice = deliver('despatch_advice')
        self.assertEqual([l.quantity for l in advice.lines], [14])
        self.receive()
        self.assertEqual(purchase.shipment_state, 'received')

    @with_transaction()
    def test_amendment_refused(self):
        "Test the seller refuses the change of an order in process"
        purchase, sale = self.accepted()
        self.change(purchase, honey={'quantity': 14})
        deliver('order_change')
        self.press(self.seller, 'edi_refuse', sale)
        self.assertEqual(deliver('order_response').code, 'RE')
        self.assertEqual((sale.edi_state, sale.state),
            ('accepted', 'processing'))
        self.assertEqual([l.edi_quantity for l in sale.lines], [10])
        self.assertIsNone(purchase.edi_request)
        self.assertAgree(purchase, sale)
        self.assertEqual([m.quantity for m in purchase.moves], [10])

    @with_transaction()
    def test_amendment_prepared(self):
        "Test no change while a shipment is prepared"
        from cooperative_edi.exceptions_document import SaleChangeError
        Shipment = Pool().get('stock.shipment.out')
        purchase, sale = self.accepted()
        shipment, = sale.shipments
        with self.seller.context():
            Shipment.assign_force([shipment])
        self.change(purchase, honey={'quantity': 6})
        deliver('order_change')
        response = deliver('order_response')
        self.assertEqual(response.code, 'RE')
        self.assertEqual(purchase.edi_answer, response.note)
        with self.seller.context():
            Shipment.wait([shipment])
        self.change(purchase, honey={'quantity': 6})
        self.assertEqual(deliver('order_change').sequence, 2)
        # or when it is prepared before the change is accepted
        with self.seller.context():
            Shipment.assign_force([shipment])
        with self.assertRaises(SaleChangeError):
            self.press(self.seller, 'edi_accept', sale)
        with self.seller.context():
            Shipment.wait([shipment])
        self.press(self.seller, 'edi_accept', sale)
        self.assertEqual(deliver('order_response').code, 'AP')
        self.assertEqual([m.quantity for m in purchase.moves], [6])
        self.assertAgree(purchase, sale)

    @with_transaction()
    def test_amendment_shipped(self):
        "Test a change never goes below what is shipped"
        purchase, sale = self.accepted()
        self.ship(sale, MIEL=8)
        deliver('despatch_advice')
        self.change(purchase, honey={'quantity': 7})
        deliver('order_change')
        response = deliver('order_response')
        self.assertEqual(response.code, 'RE')
        self.assertIn('8', response.note)
        self.change(purchase, honey={'quantity': 9})
        deliver('order_change')
        self.press(self.seller, 'edi_accept', sale)
        self.assertEqual(deliver('order_response').code, 'AP')
        self.assertAgree(purchase, sale)
        self.assertEqual(
            sorted(m.quantity for m in purchase.moves), [1, 8])
        rest, = [s for s in sale.shipments if s.state == 'waiting']
        self.assertEqual([m.quantity for m in rest.outgoing_moves], [1])

    @with_transaction()
    def test_change_crosses_acceptance(self):
        "Test a change sent while the order is being accepted"
        purchase, sale = self.order()
        self.change(purchase, honey={'quantity': 8})
        self.accept(sale)
        deliver('order_response')
        self.assertEqual((purchase.state, purchase.edi_state),
            ('confirmed', 'accepted'))
        self.assertEqual((sale.state, sale.edi_request),
            ('processing', 'change'))
        self.press(self.seller, 'edi_accept', sale)
        deliver('order_response')
        self.assertEqual(purchase.state, 'processing')
        self.assertEqual([m.quantity for m in purchase.moves], [8])
        self.assertAgree(purchase, sale)

    @with_transaction()
    def test_line_added_late(self):
        "Test no line is added to an order in process"
        purchase, sale = self.accepted()
        change = self.document(purchase)
        line, = change.lines
        added = replace(line, id='2', code='1')
        received = self.resend(change, lines=(added,))
        self.assertEqual(received.state, 'processed')
        self.assertEqual(len(sale.lines), 1)
        self.assertIsNone(sale.edi_request)
        answer = sale.edi_sent('order_response')[0]
        self.assertEqual(answer.answers, received)

    @with_transaction()
    def test_shown(self):
        "Test the buyer can change an order in process"
        shown = OrderChangeTestCase.shown
        for edi_request, expected in [
                (None, {'edi_change', 'edi_cancel'}),
                ('change', {'edi_cancel'}),
                ('cancellation', set())]:
            with self.subTest(asked=edi_request):
                self.assertEqual(
                    shown(self, 'purchase.purchase', state='processing',
                        edi_state='accepted', edi_request=edi_request),
                    expected)
