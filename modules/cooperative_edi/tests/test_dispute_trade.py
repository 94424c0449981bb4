# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What a dispute freezes in the books, and the drafts that end it."""
import datetime as dt
from decimal import Decimal

from trytond.pool import Pool
from trytond.tests.test_tryton import with_transaction
from trytond.transaction import Transaction

from cooperative_edi.exceptions_dispute import DisputeFrozenWarning
from trycoton.protocol import dispute as rules
from trycoton.protocol import signature

from . import test_documents, test_payments
from .test_documents import TODAY, deliver, process, receive, run_tasks
from .tools import Other, now

D = Decimal
ARBITER = '0225:552100554'


class DisputeTradeTestCase(test_documents.DealTestCase):
    "Test disputes about orders and invoices"

    trade = test_payments.PaymentsTestCase.trade

    def setUp(self):
        super().setUp()
        self.judge = Other(ARBITER)

    def arbiter(self, side):
        Peer = Pool().get('cooperative.edi.peer')
        with side.context():
            return Peer.update_from(
                side.company.id, self.judge.participant())

    def take(self):
        "Take the statements that wait to the other company"
        Message = Pool().get('cooperative.edi.message')
        run_tasks()
        for message in Message.search([
                    ('direction', '=', 'out'),
                    ('state', '=', 'waiting'),
                    ('recipient', '!=', ARBITER),
                    ], order=[('id', 'ASC')]):
            received = receive(message)
            process(received)
            received = Message(received.id)
            self.assertEqual(received.state, 'processed', received.error)

    def disputes(self):
        "Return the disputes of the seller and of the buyer"
        Dispute = Pool().get('cooperative.edi.dispute')
        found = {d.company: d for d in Dispute.search([])}
        return found[self.seller.company], found[self.buyer.company]

    def open(self, messages, **values):
        "Have the buyer open a dispute, and the seller answer"
        Dispute = Pool().get('cooperative.edi.dispute')
        time = now().replace(tzinfo=None)
        arbiter = self.arbiter(self.seller)
        with self.buyer.context():
            Dispute.open_about(
                messages, side='buyer', claim="Gâté.", asked='refund',
                arbiter=self.arbiter(self.buyer),
                freezes=['despatch', 'payment'],
                answer_by=time + dt.timedelta(1),
                award_by=time + dt.timedelta(2), **values)
        self.take()
        sold, _ = self.disputes()
        with self.seller.context():
            sold.say_answer(
                False, "Bon.", ['despatch', 'payment'], arbiter)
        self.take()

    def award(self, outcome, **amounts):
        "Have the arbiter decide, for both"
        for dispute, side in zip(
                self.disputes(), [self.seller, self.buyer]):
            award = rules.Award(
                dispute=dispute.uuid, opening=dispute.opening.digest,
                arbiter=ARBITER, seller=self.seller.identity.identifier,
                buyer=self.buyer.identity.identifier, outcome=outcome,
                credited=amounts.get('credited'), paid=amounts.get('paid'),
                reasons="Vu.", considered=[], created=now())
            data = award.to_bytes()
            jws = signature.sign(data, award.typ, self.judge.key)
            with side.context():
                dispute.__class__(dispute.id).receive_award(
                    rules.AwardNotice(data, jws), now())

    def moves(self):
        Move = Pool().get('account.move')
        return Move.search([], count=True)

    def journal(self):
        Journal = Pool().get('account.payment.journal')
        with self.buyer.context():
            journal, = Journal.create([{
                        'name': "Virement",
                        'company': self.buyer.company.id,
                        'currency': self.buyer.company.currency.id,
                        'process_method': 'manual'}])
        return journal

    @with_transaction()
    def test_payments(self):
        "What is in question is not paid, until the award is drafted"
        self.set_up_deal()
        pool = Pool()
        Payment = pool.get('account.payment')
        Warning = pool.get('res.user.warning')
        (invoice,), (bill,) = self.trade('100')
        journal = self.journal()
        line, = bill.lines_to_pay
        self.open(bill.edi_messages[:1])
        sold, bought = self.disputes()
        self.assertEqual((sold.state, bought.state), ('answered',) * 2)
        line = line.__class__(line.id)
        self.assertEqual(
            (line.payment_blocked, line.edi_dispute), (True, bought))
        with self.buyer.context():
            payment, = Payment.create([{
                        'journal': journal.id, 'kind': 'payable',
                        'company': self.buyer.company.id,
                        'party': bill.party.id, 'amount': D(100),
                        'date': TODAY, 'line': line.id}])
            with Transaction().set_context(_skip_warnings=False):
                with self.assertRaises(DisputeFrozenWarning) as cm:
                    Payment.submit([payment])
                Warning.create([{
                            'user': Transaction().user,
                            'name': cm.exception.name}])
            self.assertEqual(payment.state, 'draft')
            Payment.delete([payment])
        booked = self.moves()

        self.award(
            'split', credited=rules.Due('40.00', 'EUR'),
            paid=rules.Due('60.00', 'EUR'))
        sold, bought = self.disputes()
        self.assertEqual((sold.state, bought.state), ('awarded',) * 2)
        proposal, = sold.proposals
        credit = proposal.record
        self.assertEqual(
            (credit.__name__, credit.state, credit.total_amount),
            ('account.invoice', 'draft', D('-40.00')))
        proposal, = bought.proposals
        payment = proposal.record
        self.assertEqual(
            (payment.__name__, payment.state, payment.amount,
                payment.line),
            ('account.payment', 'draft', D('60.00'), line))
        line = line.__class__(line.id)
        self.assertEqual(
            (line.payment_blocked, line.edi_dispute), (False, None))
        self.assertEqual(self.moves(), booked)
        self.assertIn('40', sold.to_do)
        self.assertIn('60', bought.to_do)
        with self.buyer.context(), \
                Transaction().set_context(_skip_warnings=False):
            Payment.submit([payment])

    @with_transaction()
    def test_blocked_before(self):
        "What somebody had blocked stays so after the dispute"
        self.set_up_deal()
        MoveLine = Pool().get('account.move.line')
        _, (bill,) = self.trade('100')
        with self.buyer.context():
            MoveLine.payment_block(list(bill.lines_to_pay))
        self.open(bill.edi_messages[:1])
        _, bought = self.disputes()
        with self.buyer.context():
            bought.__class__.withdraw([bought])
        self.take()
        sold, bought = self.disputes()
        self.assertEqual((sold.state, bought.state), ('withdrawn',) * 2)
        line, = bill.__class__(bill.id).lines_to_pay
        self.assertTrue(line.payment_blocked)
        self.assertEqual(sold.proposals + bought.proposals, ())

    @with_transaction()
    def test_agreement(self):
        "What the seller agrees to is drafted in full, without a journal"
        self.set_up_deal()
        _, (bill,) = self.trade('100')
        Dispute = Pool().get('cooperative.edi.dispute')
        time = now().replace(tzinfo=None)
        with self.buyer.context():
            Dispute.open_about(
                bill.edi_messages[:1], side='buyer', claim="Gâté.",
                asked='credit', amount=bill.total_amount,
                currency=bill.currency, answer_by=time + dt.timedelta(1),
                award_by=time + dt.timedelta(2))
        self.take()
        sold, _ = self.disputes()
        with self.seller.context():
            sold.say_answer(True)
        self.take()
        sold, bought = self.disputes()
        self.assertEqual((sold.state, bought.state), ('agreed',) * 2)
        proposal, = sold.proposals
        self.assertEqual(
            (proposal.record.state, proposal.record.total_amount),
            ('draft', -bill.total_amount))
        self.assertEqual(bought.proposals, ())

    @with_transaction()
    def test_despatch(self):
        "Shipping what is in question warns"
        self.set_up_deal()
        Shipment = Pool().get('stock.shipment.out')
        Warning = Pool().get('res.user.warning')
        purchase = self.purchase(MIEL=(10, '12'))
        sale = self.sale(deliver('order'))
        self.accept(sale)
        deliver('order_response')
        self.open([m for m in purchase.edi_messages if m.kind == 'order'])
        shipment, = sale.shipments
        with self.seller.context():
            Shipment.assign_force([shipment])
            Shipment.pick([shipment])
            Shipment.pack([shipment])
            with Transaction().set_context(_skip_warnings=False):
                with self.assertRaises(DisputeFrozenWarning) as cm:
                    Shipment.do([shipment])
                Warning.create([{
                            'user': Transaction().user,
                            'name': cm.exception.name}])
                Shipment.do([shipment])
