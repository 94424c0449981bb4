# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Messages that do not go through: delays, operators and other routes."""
import datetime as dt
import uuid
from contextlib import ExitStack
from unittest.mock import patch

from trytond.model.exceptions import AccessError
from trytond.pool import Pool
from trytond.tests.test_tryton import with_transaction
from trytond.transaction import Transaction

from cooperative_edi import client, courier
from cooperative_edi.exceptions import DocumentHeld
from trycoton.protocol import signature

from .test_documents import DealTestCase, deliver
from .test_exchange import InstancesTestCase
from .test_follow import as_user, user
from .tools import invoice, now


class Clock:
    "A clock that the test moves"

    def __init__(self):
        self.time = now()

    def __call__(self):
        return self.time


class BreakerTestCase(InstancesTestCase):
    "Test the delays before who does not answer is called again"

    def setUp(self):
        super().setUp()
        self.clock = Clock()
        stack = ExitStack()
        for module in ['message', 'peer', 'operation']:
            stack.enter_context(
                patch(f'cooperative_edi.{module}.now', self.clock))
        self.addCleanup(stack.close)

    def wait(self):
        "Let the time pass until something is due; return the delay"
        delay = self.anne.do(self.anne.get('message').next_due)
        # The clock has no fractions of a second
        delay = dt.timedelta(seconds=int(delay) + 1)
        self.clock.time += delay
        self.round(self.anne)
        return delay.total_seconds()

    def test_delays(self):
        "The delays double, are not all the same, and end after days"
        self.handle(lambda message, document: None)
        relation = self.agree()
        self.down.add('bruno')
        numbers = ['F1', 'F2', 'F3']
        for number in numbers:
            self.send(relation, number)
        sent = self.read(self.anne, 'uuid', 'data', kind='invoice')
        start = self.clock.time
        self.calls.clear()
        self.round(self.anne)
        delays = []
        while 'failed' not in self.read(self.anne, 'state', kind='invoice'):
            self.assertEqual(
                len(self.calls), len(delays) + 1, "one at a time")
            delays.append(self.wait())
            self.assertLess(len(delays), 100)
        for i, delay in enumerate(delays):
            longest = min(60 * 2 ** i, 6 * 60 * 60)
            self.assertLessEqual(delay, longest + 1)
            self.assertGreaterEqual(delay, longest / 2)
        self.assertGreater(len({d for d in delays if d > 3 * 60 * 60}), 5)
        self.assertGreater(self.clock.time - start, dt.timedelta(days=5))
        self.assertLess(
            self.clock.time - start, dt.timedelta(days=5, hours=6))

        self.assertEqual(
            self.read(self.anne, 'state', kind='invoice'), ['failed'] * 3)
        self.assertEqual(
            self.read(self.anne, 'task', model='waiting'), ['retry'] * 3)
        self.anne.do(self.retry)
        self.round(self.anne)
        self.assertEqual(
            self.read(self.anne, 'state', kind='invoice'), ['waiting'] * 3,
            "tried for days again")
        self.down.clear()
        self.wait()
        self.assertEqual(
            self.read(self.anne, 'state', kind='invoice'), ['sent'] * 3)
        self.round(self.bruno)
        self.assertEqual(
            self.read(self.bruno, 'uuid', 'data', kind='invoice'), sent)
        self.assertEqual(
            self.read(self.bruno, 'document_number', kind='invoice'),
            numbers)

    def retry(self):
        Message = self.anne.get('message')
        Message.retry(Message.search([('state', '=', 'failed')]))

    def test_call(self):
        "An operator has a peer called that is left alone"
        self.handle(lambda message, document: None)
        relation = self.agree()
        self.down.add('bruno')
        sent = self.send(relation)
        self.round(self.anne)
        self.down.clear()
        self.round(self.anne)
        self.assertEqual(self.read(self.anne, 'state', id=sent), ['waiting'])

        def call():
            self.anne.get('peer').call([self.peer(self.anne, self.bruno)])
        with patch.object(courier, 'wake') as wake:
            self.anne.do(call)
        wake.assert_called_once_with(self.anne.name)
        self.round(self.anne)
        self.assertEqual(self.read(self.anne, 'state', id=sent), ['sent'])

    def test_files(self):
        "An operator gets bytes and signatures that verify"
        self.handle(lambda message, document: None)
        sent = self.send(self.agree())
        self.round(self.anne)
        (data, jws, receipt, receipt_jws, name), = self.read(
            self.anne, 'data', 'signature_file', 'receipt',
            'receipt_signature_file', 'receipt_signature_file_name', id=sent)
        keys = {}
        for instance in [self.anne, self.bruno]:
            keys[instance] = instance.do(
                lambda: instance.get('identity').get().public_keys())
        signature.verify(
            bytes(data), bytes(jws).decode(), signature.ENVELOPE,
            keys[self.anne])
        signature.verify(
            bytes(receipt), bytes(receipt_jws).decode(), signature.RECEIPT,
            keys[self.bruno])
        self.assertRegex(name, r'^invoice-[0-9a-f-]{36}\.receipt\.jws$')

    def test_silent_trust_party(self):
        "The proofs of a trust party that does not answer are one call"
        relation = self.agree()

        def submit():
            Message = self.anne.get('message')
            Peer = self.anne.get('peer')
            trust_party = self.peer(self.anne, self.bruno)
            Peer.write([trust_party], {'log_key': 'log+00000000+AAAA'})
            for number in 'F1', 'F2':
                message = Message.send(
                    self.anne.get('relation')(relation), invoice(
                        self.anne.identifier, self.bruno.identifier, number))
                Message.write([message], {
                        'state': 'sent', 'trust_party': trust_party.id,
                        'proof_at': self.clock().replace(tzinfo=None)})
        self.anne.do(submit)
        self.down.add('bruno')
        self.calls.clear()
        self.round(self.anne)
        self.assertEqual(len(self.calls), 1)
        self.round(self.anne)
        self.assertEqual(len(self.calls), 1)
        self.assertEqual(
            self.read(self.anne, 'silences', model='peer'), [1])


class RouteTestCase(InstancesTestCase):
    "Test a relation that changes its route while messages are under way"

    def setUp(self):
        super().setUp()
        self.clara = self.create('clara')
        self.meet(self.anne, self.bruno, self.clara)
        self.imported = []
        self.handle(self.do_import)
        self.uuid = str(uuid.uuid4())
        self.relations = {
            i: i.do(self.relate, i, o) for i, o in [
                (self.anne, self.bruno), (self.bruno, self.anne)]}

    def do_import(self, message, document):
        self.imported.append(document.number)
        return message.relation

    def relate(self, instance, other):
        "Return a relation by a trust party that never answers"
        Peer = instance.get('peer')
        Relation = instance.get('relation')
        clara = self.peer(instance, self.clara)
        Peer.write([clara], {'kind': 'trust-party', 'accepted': True})
        relation = Relation(
            peer=self.peer(instance, other), trust_party=clara,
            uuid=self.uuid, state='agreed')
        relation.save()
        return relation.id

    def send(self, instance, other, number):
        def send():
            return instance.get('message').send(
                instance.get('relation')(self.relations[instance]),
                invoice(instance.identifier, other.identifier, number)).id
        return instance.do(send)

    def change(self, trust_party=None):
        "Propose another route, as a person does"
        def change():
            pool = Pool()
            Wizard = pool.get('cooperative.edi.relation.route', type='wizard')
            id_ = self.relations[self.anne]
            with Transaction().set_user(1), Transaction().set_context(
                    active_model='cooperative.edi.relation', active_id=id_,
                    active_ids=[id_]):
                session, _, _ = Wizard.create()
                Wizard.execute(
                    session, {'start': {'trust_party': trust_party}},
                    'propose')
        self.anne.do(change)

    def post(self, id_):
        "Have the message of Anne arrive as its trust party relays it"
        (data, jws), = self.read(self.anne, 'data', 'signature', id=id_)
        return client.request(
            'POST', f'{self.bruno.endpoint}/edi/messages', bytes(data),
            {'Content-Type': 'application/xml',
                signature.SIGNATURE_HEADER: jws}).status

    def received(self):
        return self.read(
            self.bruno, 'document_number', 'state', 'replaces',
            kind='invoice', direction='in')

    def test_change(self):
        "What waits goes by the new route, on both sides, and once"
        first = self.send(self.anne, self.bruno, 'F1')
        second = self.send(self.anne, self.bruno, 'F2')
        self.send(self.bruno, self.anne, 'F3')

        def relayed():
            Message = self.anne.get('message')
            Message.write([Message(second)], {'state': 'sent'})
        self.anne.do(relayed)
        self.round(self.anne, self.bruno)
        self.assertEqual(self.received(), [])
        self.change()
        self.round(self.anne, self.bruno, self.anne, self.bruno)
        uuids = self.read(self.anne, 'uuid', id=first) + self.read(
            self.anne, 'uuid', id=second)
        self.assertEqual(self.received(), [
                ('F1', 'processed', uuids[0]),
                ('F2', 'processed', uuids[1]),
                ])
        # Anne had not read the answer yet when the first attempt came
        self.hasten(self.bruno)
        self.round(self.bruno, self.anne)
        self.assertEqual(sorted(self.imported), ['F1', 'F2', 'F3'])
        self.assertEqual(
            self.read(self.anne, 'state', id=first), ['cancelled'])
        self.assertEqual(
            self.read(self.anne, 'state', id=second), ['sent'],
            "its trust party has it")
        for instance in [self.anne, self.bruno]:
            self.assertEqual(
                self.read(instance, 'state', model='relation'),
                ['ended', 'agreed'])

        self.assertEqual(self.post(second), 201)
        self.assertEqual(self.post(second), 200)
        self.round(self.bruno)
        self.assertEqual(sorted(self.imported), ['F1', 'F2', 'F3'])
        *_, late = self.received()
        self.assertEqual(late, ('F2', 'processed', None))
        origins = self.read(
            self.bruno, 'origin', kind='invoice', document_number='F2')
        self.assertEqual(len(set(origins)), 1)

        self.send(self.anne, self.bruno, 'F4')
        self.round(self.anne, self.bruno)
        self.assertEqual(self.received()[-1], ('F4', 'processed', None))

    def test_first(self):
        "Nothing happens again if the old route was faster"
        sent = self.send(self.anne, self.bruno, 'F1')
        self.assertEqual(self.post(sent), 201)
        self.round(self.bruno)
        self.assertEqual(self.imported, ['F1'])
        self.change()
        self.round(self.anne, self.bruno, self.anne, self.bruno)
        self.assertEqual(
            [s for _, s, _ in self.received()], ['processed'] * 2)
        self.assertEqual(self.imported, ['F1'])

    def test_held(self):
        "What waits for a person by one route takes effect once by both"
        def hold(message, document):
            raise DocumentHeld("Which product?")
        self.handle(hold)
        sent = self.send(self.anne, self.bruno, 'F1')
        self.post(sent)
        self.change()
        self.round(self.anne, self.bruno, self.anne, self.bruno)
        self.assertEqual([s for _, s, _ in self.received()], ['held'] * 2)
        self.handle(self.do_import)

        def retry():
            Message = self.bruno.get('message')
            Message.retry(Message.search([('state', '=', 'held')]))
        self.bruno.do(retry)
        self.round(self.bruno)
        self.assertEqual(
            [s for _, s, _ in self.received()], ['processed'] * 2)
        self.assertEqual(self.imported, ['F1'])

    def test_late(self):
        "The former route is not taken for ever"
        sent = self.send(self.anne, self.bruno, 'F1')
        self.change()
        self.round(self.anne, self.bruno, self.anne)
        with patch('cooperative_edi.route.now',
                lambda: now() + dt.timedelta(days=11)):
            self.assertEqual(self.post(sent), 403)

    def test_not_agreed(self):
        "Until the peer agrees nothing changes"
        def manual():
            identity = self.bruno.get('identity').get()
            identity.agree_relations = False
            identity.save()
        self.bruno.do(manual)
        sent = self.send(self.anne, self.bruno, 'F1')
        self.change()
        self.round(self.anne, self.bruno, self.anne)
        self.assertEqual(self.read(self.anne, 'state', id=sent), ['waiting'])
        self.assertEqual(self.post(sent), 201)

        def agree():
            Relation = self.bruno.get('relation')
            Relation.agree(Relation.search([('state', '=', 'proposed')]))
        self.bruno.do(agree)
        self.round(self.bruno, self.anne, self.bruno)
        self.assertEqual(self.imported, ['F1'])
        self.assertEqual(
            self.read(self.anne, 'state', id=sent), ['cancelled'])


class GiveUpTestCase(DealTestCase):
    "Test what giving up a message means for its record"

    def give_up(self, side, message, *groups):
        pool = Pool()
        Wizard = pool.get('cooperative.edi.message.give_up', type='wizard')
        person = user(side, *groups)
        set_user, set_context = as_user(person, side)
        with set_user, set_context, Transaction().set_context(
                active_model='cooperative.edi.message', active_id=message.id,
                active_ids=[message.id]):
            session, _, _ = Wizard.create()
            Wizard.execute(
                session, {'start': {'reason': "Closed for good"}}, 'give_up')

    @with_transaction()
    def test_order(self):
        "Test an order given up is a draft again, to order elsewhere"
        self.set_up_deal()
        Message = Pool().get('cooperative.edi.message')
        Purchase = Pool().get('purchase.purchase')
        purchase = self.purchase(MIEL=(10, '12'))
        message, = purchase.edi_messages
        message.fail("down")
        with self.assertRaises(AccessError):
            self.give_up(self.buyer, message, 'cooperative_edi.group_edi')
        self.give_up(self.buyer, message, 'cooperative_edi.group_edi_admin')
        purchase = Purchase(purchase.id)
        self.assertEqual(
            (purchase.state, purchase.edi_state, purchase.edi_answer),
            ('draft', 'none', "Closed for good"))
        self.assertEqual(purchase.edi_progress, 'cancelled')
        self.assertEqual(Message(message.id).error, "Closed for good")
        with self.buyer.context():
            Purchase.quote([purchase])
            Purchase.confirm([purchase])
        self.assertEqual(purchase.edi_progress, 'waiting')

    @with_transaction()
    def test_invoice(self):
        "Test an invoice given up says that it was not sent"
        self.set_up_deal()
        Invoice = Pool().get('account.invoice')
        self.purchase(CONSEIL=(2, '450'))
        sale = self.sale(deliver('order'))
        self.accept(sale)
        deliver('order_response')
        invoice, = sale.invoices
        self.post(self.seller, invoice)
        message, = [
            m for m in invoice.edi_messages if m.kind == 'invoice']
        self.give_up(
            self.seller, message, 'cooperative_edi.group_edi_admin')
        invoice = Invoice(invoice.id)
        self.assertEqual(
            (invoice.state, invoice.edi_state, invoice.edi_answer),
            ('posted', 'unsent', "Closed for good"))
