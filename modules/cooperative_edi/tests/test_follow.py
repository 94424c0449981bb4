# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Where documents are, and what waits for a person."""

from trytond.model.exceptions import AccessError
from trytond.pool import Pool
from trytond.tests.test_tryton import with_transaction
from trytond.transaction import Transaction

from .test_documents import DealTestCase, deliver, run_tasks


def user(side, *groups):
    "Return a user of the company with the groups of those XML ids"
    pool = Pool()
    ModelData = pool.get('ir.model.data')
    User = pool.get('res.user')
    user, = User.create([{
                'name': ' '.join(groups), 'login': ' '.join(groups),
                'companies': [('add', [side.company.id])],
                'company': side.company.id,
                'groups': [('add', [
                            ModelData.get_id(g) for g in groups])],
                }])
    return user


def as_user(user, side):
    "Return what makes the user ask by the client"
    return Transaction().set_user(user.id), Transaction().set_context(
        company=side.company.id, companies=[side.company.id],
        _check_access=True, groups=[g.id for g in user.groups])


class FollowTestCase(DealTestCase):
    "Test the follow-up of documents"

    def progress(self, side, record):
        "Return the progress that is shown, which can be searched"
        Model = record.__class__
        with side.context():
            progress = Model(record.id).edi_progress
            for clause in [
                    ('=', progress), ('in', [progress, 'failed']),
                    ('!=', 'cancelled'), ('not in', ['cancelled', None])]:
                if progress is None and clause[0] == 'not in':
                    continue
                self.assertIn(
                    record, Model.search([('edi_progress', *clause)]),
                    clause)
            self.assertNotIn(
                record, Model.search([('edi_progress', '!=', progress)]))
        return progress

    def story(self, record):
        return '\n'.join(e.story for e in record.edi_exchanges)

    @with_transaction()
    def test_order(self):
        "Test both sides see where an order is, and its answer in words"
        self.set_up_deal()
        Message = Pool().get('cooperative.edi.message')
        Sale = Pool().get('sale.sale')
        company = self.buyer.company
        company.timezone = 'Asia/Tokyo'
        company.save()
        purchase = self.purchase(MIEL=(10, '12'))
        self.assertEqual(self.progress(self.buyer, purchase), 'waiting')
        sent, = purchase.edi_messages

        def fail():
            sent.fail("closed")
            self.assertEqual(self.progress(self.buyer, purchase), 'failed')
            self.assertIn("closed", self.story(purchase))
            sent.error, sent.state = None, 'waiting'
            sent.save()
        fail()
        sale = self.sale(deliver('order'))
        # the wire of the tests gives no receipt
        self.assertEqual(self.progress(self.buyer, purchase), 'sent')
        received, = [
            m for m in sale.edi_messages if m.direction == 'in']
        sent.accept_receipt(received_answer(received))
        sent = Message(sent.id)
        self.assertEqual(self.progress(self.buyer, purchase), 'delivered')
        exchange, = purchase.edi_exchanges
        self.assertEqual(
            exchange.delivered, received.stored.replace(microsecond=0))
        local = Message._local(sent, exchange.delivered)
        self.assertIn(local, exchange.story)
        hours = (exchange.delivered.hour + 9) % 24
        self.assertIn(f'{hours:02}:', local)

        deliver('order_response')
        self.assertEqual(self.progress(self.buyer, purchase), 'delivered')
        self.assertEqual(self.progress(self.seller, sale), 'received')
        with self.seller.context():
            Sale.write([sale], {'edi_answer': "Plus de miel"})
            Sale.cancel([sale])
        self.assertEqual(self.progress(self.seller, sale), 'waiting')
        deliver('order_response')
        self.assertEqual(self.progress(self.buyer, purchase), 'answered')
        order = [e for e in purchase.edi_exchanges if e.kind == 'order'][0]
        self.assertEqual(order.answer, "refused\nPlus de miel")
        self.assertIn("Plus de miel", order.story)
        self.assertEqual(order.state, 'answered')

    @with_transaction()
    def test_rights(self):
        "Test a seller follows sales without reading messages or purchases"
        self.set_up_deal()
        pool = Pool()
        Exchange = pool.get('cooperative.edi.exchange')
        Message = pool.get('cooperative.edi.message')
        Sale = pool.get('sale.sale')
        Waiting = pool.get('cooperative.edi.waiting')
        self.purchase(MIEL=(10, '12'))
        sale = self.sale(deliver('order'))
        seller = user(self.seller, 'sale.group_sale')
        buyer = user(self.seller, 'purchase.group_purchase')
        nobody = user(self.seller, 'stock.group_stock')
        other = user(
            self.buyer, 'sale.group_sale', 'cooperative_edi.group_edi')
        for person, side, found in [
                (seller, self.seller, 1), (buyer, self.seller, 0),
                (nobody, self.seller, 0), (other, self.buyer, 0)]:
            set_user, set_context = as_user(person, side)
            with self.subTest(person.login), set_user, set_context:
                self.assertEqual(Waiting.search([], count=True), found)
                self.assertEqual(Exchange.search([
                            ('origin', '=', str(sale))], count=True),
                    2 * found)
        set_user, set_context = as_user(seller, self.seller)
        with set_user, set_context:
            values, = Sale.read(
                [sale.id], ['edi_progress', 'edi_exchanges'])
            self.assertEqual(values['edi_progress'], 'received')
            stories = Exchange.read(
                values['edi_exchanges'], ['story', 'answer', 'delivered'])
            self.assertTrue(all(s['story'] for s in stories))
            with self.assertRaises(AccessError):
                Message.search([])

    def waiting(self, side, *groups):
        "Return task and record of what waits for a person of the groups"
        Waiting = Pool().get('cooperative.edi.waiting')
        with side.context():
            for waiting in Waiting.search([]):
                self.assertTrue(waiting.since)
                self.assertEqual(
                    waiting.party, getattr(
                        waiting.record, 'customer', None)
                    or getattr(waiting.record, 'party', None)
                    or waiting.record.peer.party)
            return {(w.task, w.record) for w in Waiting.search([
                        ('company', '=', side.company.id)])}

    @with_transaction()
    def test_waiting(self):
        "Test what waits appears, and disappears once it is decided"
        self.set_up_deal()
        pool = Pool()
        Invoice = pool.get('account.invoice')
        Message = pool.get('cooperative.edi.message')
        Purchase = pool.get('purchase.purchase')
        Relation = pool.get('cooperative.edi.relation')
        SaleLine = pool.get('sale.line')
        Shipment = pool.get('stock.shipment.out')
        purchase = self.purchase(MIEL=(10, '12'))
        self.assertEqual(self.waiting(self.buyer), set())
        sale = self.sale(deliver('order'))
        deliver('order_response')
        self.assertEqual(
            self.waiting(self.seller), {('answer_order', sale)})
        with self.seller.context():
            SaleLine.write(list(sale.lines), {'quantity': 6})
        self.accept(sale)
        self.assertEqual(self.waiting(self.seller), set())
        deliver('order_response')
        self.assertEqual(
            self.waiting(self.buyer), {('accept_changes', purchase)})
        with self.buyer.context():
            Purchase.edi_accept([purchase])
            run_tasks()
        self.assertEqual(self.waiting(self.buyer), set())
        deliver('order_change')
        self.assertEqual(self.waiting(self.seller), set())
        deliver('order_response')

        shipment = self.ship(sale)
        deliver('despatch_advice')
        self.receive(honey=5)
        deliver('receipt_advice')
        self.assertEqual(
            self.waiting(self.seller), {('credit', shipment)})
        invoice, = sale.invoices
        self.post(self.seller, invoice)
        bill = self.invoice(deliver('invoice'))
        self.assertEqual(
            self.waiting(self.buyer), {('check_invoice', bill)})
        with self.seller.context():
            Shipment.edi_credit([shipment])
        self.assertEqual(self.waiting(self.seller), set())
        with self.buyer.context():
            Invoice.write([bill], {'edi_answer': "Trop cher"})
            Invoice.cancel([bill])
        deliver('invoice_response')
        self.assertEqual(self.waiting(self.buyer), set())
        self.assertEqual(
            self.waiting(self.seller), {('settle', invoice)})
        self.assertEqual(
            [e.answer for e in invoice.edi_exchanges
                if e.kind == 'invoice'], ["refused\nTrop cher"])

        message, *_ = Message.search([
                ('company', '=', self.buyer.company.id),
                ('direction', '=', 'out')])
        message.fail("gone")
        with self.buyer.context():
            relation = Relation(
                company=self.buyer.company, peer=self.buyer.peer,
                state='proposed', proposed_by='peer')
            relation.save()
        self.assertEqual(
            self.waiting(self.buyer),
            {('retry', message), ('answer_relation', relation)})

    @with_transaction()
    def test_open(self):
        "Test opening what waits shows the record"
        self.set_up_deal()
        pool = Pool()
        Open = pool.get('cooperative.edi.waiting.open', type='wizard')
        Waiting = pool.get('cooperative.edi.waiting')
        self.purchase(MIEL=(10, '12'))
        sale = self.sale(deliver('order'))
        person = user(self.seller, 'sale.group_sale')
        set_user, set_context = as_user(person, self.seller)
        with set_user, set_context:
            waiting, = Waiting.search([])
            with Transaction().set_context(
                    active_model='cooperative.edi.waiting',
                    active_id=waiting.id, active_ids=[waiting.id]):
                session, start, _ = Open.create()
                result = Open.execute(session, {}, start)
        (action, data), = result['actions']
        self.assertEqual(action['res_model'], 'sale.sale')
        self.assertEqual(action['views'][0][1], 'form')
        self.assertEqual(data['res_id'], [sale.id])

    @with_transaction()
    def test_payment(self):
        "Test a payment shows where its announcement is"
        self.set_up_deal()
        Announcement = Pool().get('cooperative.edi.payment.announcement')
        Payment = Pool().get('account.payment')
        bill = self.invoice(self.issue(("Cotisation", 1, '50')))
        self.post(self.buyer, bill)
        self.transfer([bill])
        payment, = Payment.search([])
        exchange, = payment.edi_exchanges
        self.assertEqual(
            (exchange.kind, exchange.state), ('remittance_advice', 'waiting'))
        deliver('remittance_advice')
        with self.seller.context():
            announcement, = Announcement.search([])
            self.assertEqual(announcement.edi_progress, 'received')


def received_answer(message):
    from trycoton.protocol import canonical
    return canonical.dump(message.answer)
