# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What is said before sending, and that a person read what was sent."""
from decimal import Decimal

from trytond.model.modelview import AccessButtonError
from trytond.pool import Pool
from trytond.tests.test_tryton import with_transaction
from trytond.transaction import Transaction

from cooperative_edi.exceptions_document import (
    DocumentInvalidError, PartyCountryWarning, PeerSilentWarning,
    PeerSuspendedError, RelationEndedWarning, RelationUnusedWarning,
    TaxCodeWarning)

from .test_documents import (
    TODAY, DealTestCase, deliver, process, receive, run_tasks)
from .test_follow import as_user, user


class WarningTestCase(DealTestCase):
    "Test what a partner would refuse is said before"

    def person(self, side):
        return Transaction().set_context(
            company=side.company.id, companies=[side.company.id],
            _skip_warnings=False)

    def skip(self, warning):
        Warning = Pool().get('res.user.warning')
        Warning.create([{
                    'user': Transaction().user, 'name': warning.name}])

    def draft(self, **values):
        "Return a new purchase like the last one"
        Purchase = Pool().get('purchase.purchase')
        with self.buyer.context():
            purchase, = Purchase.copy(
                [self.purchase(MIEL=(10, '12'))],
                {'purchase_date': TODAY, **values})
        return purchase

    @with_transaction()
    def test_silent(self):
        "Test an order to who does not answer warns before it is confirmed"
        self.set_up_deal()
        Purchase = Pool().get('purchase.purchase')
        purchase = self.draft()
        peer = self.buyer.peer
        with self.person(self.buyer):
            # As after a short cut
            for _ in range(3):
                peer.silent()
            peer = peer.__class__(peer.id)
            peer.relations[0].warn_peer(purchase)
            Purchase.quote([purchase])
            for _ in range(4):
                peer.silent()
            with self.assertRaises(PeerSilentWarning) as cm:
                Purchase.confirm([purchase])
            self.assertIn(peer.name, cm.exception.message)
            purchase = Purchase(purchase.id)
            self.assertEqual(
                (purchase.state, purchase.edi_messages), ('quotation', ()))
            self.skip(cm.exception)
            Purchase.confirm([purchase])
        self.assertEqual(len(purchase.edi_messages), 1)

    @with_transaction()
    def test_unused(self):
        "Test a purchase from a peer that is not sent warns"
        self.set_up_deal()
        Purchase = Pool().get('purchase.purchase')
        purchase = self.draft(relation=None)
        with self.person(self.buyer):
            with self.assertRaises(RelationUnusedWarning):
                Purchase.quote([purchase])

    @with_transaction()
    def test_suspended(self):
        "Test nothing is ordered from who is suspended"
        self.set_up_deal()
        Purchase = Pool().get('purchase.purchase')
        purchase = self.draft()
        peer = self.buyer.peer
        peer.state = 'suspended'
        peer.save()
        with self.person(self.buyer):
            with self.assertRaises(PeerSuspendedError):
                Purchase.quote([purchase])

    @with_transaction()
    def test_ended(self):
        "Test confirming a sale whose relation ended warns"
        self.set_up_deal()
        Sale = Pool().get('sale.sale')
        self.purchase(MIEL=(10, '12'))
        sale = self.sale(deliver('order'))
        relation = sale.relation
        relation.state = 'ended'
        relation.save()
        with self.person(self.seller):
            with self.assertRaises(RelationEndedWarning):
                Sale.confirm([sale])

    def draft_invoice(self):
        "Return an invoice to post"
        self.purchase(CONSEIL=(2, '450'))
        sale = self.sale(deliver('order'))
        self.accept(sale)
        deliver('order_response')
        invoice, = sale.invoices
        invoice.invoice_date = TODAY
        invoice.save()
        return invoice

    @with_transaction()
    def test_invoice(self):
        "Test an invoice warns of what it lacks, and is not posted"
        self.set_up_deal()
        Invoice = Pool().get('account.invoice')
        invoice = self.draft_invoice()
        address, = self.seller.peer.party.addresses
        address.country = None
        address.save()
        with self.person(self.seller):
            with self.assertRaises(PartyCountryWarning) as cm:
                Invoice.post([invoice])
            self.assertIn(
                self.seller.peer.party.name, cm.exception.message)
            self.skip(cm.exception)
            with self.assertRaises(TaxCodeWarning) as cm:
                Invoice.post([invoice])
            self.assertEqual(Invoice(invoice.id).edi_messages, ())
            self.skip(cm.exception)
            Invoice.post([invoice])
        self.assertEqual(invoice.edi_progress, 'waiting')

    @with_transaction()
    def test_invalid(self):
        "Test what breaks a rule is not sent, nor posted"
        self.set_up_deal()
        Identifier = Pool().get('party.identifier')
        Invoice = Pool().get('account.invoice')
        invoice = self.draft_invoice()
        Identifier.delete(list(self.seller.company.party.identifiers))
        with self.seller.context():
            tax = self.seller.tax("20 %", '0.2', 'sale')
            line, = invoice.lines
            line.taxes = [tax]
            line.save()
            with self.assertRaises(DocumentInvalidError) as cm:
                Invoice.post([invoice])
        self.assertIn("VAT number", cm.exception.description)
        self.assertEqual(line.unit_price, Decimal(450))


class ReadingTestCase(DealTestCase):
    "Test a partner learns that its document was read, if we choose to tell"

    def notices(self):
        Message = Pool().get('cooperative.edi.message')
        run_tasks()
        return Message.search([
                ('kind', '=', 'document-read'), ('direction', '=', 'out')])

    @with_transaction()
    def test_read(self):
        "Test the notice is sent once, and only where it is chosen"
        self.set_up_deal()
        Message = Pool().get('cooperative.edi.message')
        Sale = Pool().get('sale.sale')
        purchase = self.purchase(MIEL=(10, '12'))
        sale = self.sale(deliver('order'))
        deliver('order_response')
        person = user(self.seller, 'sale.group_sale')

        def open():
            set_user, set_context = as_user(person, self.seller)
            with set_user, set_context:
                visible = Sale(sale.id).edi_to_open
                if visible:
                    Sale.edi_open([sale])
                else:
                    with self.assertRaises(AccessButtonError):
                        Sale.edi_open([sale])
            return visible
        self.assertFalse(open())
        self.assertEqual(self.notices(), [])

        identity = self.seller.identity
        identity.tell_opened = True
        identity.save()
        self.assertTrue(open())
        self.assertFalse(open())
        notice, = self.notices()
        self.assertNotIn(person.name.encode(), bytes(notice.data))
        received = receive(notice)
        process(received)
        self.assertEqual(received.state, 'processed', received.error)
        self.assertIsNone(received.origin)
        order = [e for e in purchase.edi_exchanges if e.kind == 'order'][0]
        self.assertEqual(order.state, 'opened')
        self.assertTrue(order.opened)
        self.assertIn("read by a person of Rucher", order.story)
        with self.buyer.context():
            self.assertEqual(purchase.edi_progress, 'opened')
        own, = [e for e in sale.edi_exchanges if e.kind == 'order']
        self.assertEqual(own.opened, Message(own.message.id).opened)

    @with_transaction()
    def test_other(self):
        "Test a notice about something else is refused"
        self.set_up_deal()
        Message = Pool().get('cooperative.edi.message')
        purchase = self.purchase(MIEL=(10, '12'))
        deliver('order')
        order, = [
            m for m in purchase.edi_messages if m.direction == 'out']
        time = '2026-11-22T10:00:00Z'
        for body in [
                {}, {'message': order.uuid, 'digest': '0' * 64, 'time': time},
                {'message': order.uuid, 'digest': order.digest, 'time': ''}]:
            with self.seller.context():
                notice = Message.send_statement(
                    self.seller.peer, 'document-read', body)
            received = receive(notice)
            process(received)
            self.assertEqual(received.state, 'refused', body)
        self.assertIsNone(Message(order.id).opened)

    @with_transaction()
    def test_not_understood(self):
        "Test a notice that the partner does not take bothers nobody"
        self.set_up_deal()
        Message = Pool().get('cooperative.edi.message')
        with self.seller.context():
            notice = Message.send_statement(
                self.seller.peer, 'document-read', {})
        notice.fail("422")
        self.assertEqual(Message(notice.id).state, 'cancelled')
