# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"What happens to a message: refused, placed, delivered or not delivered"
import datetime as dt
import json
import uuid
from unittest.mock import patch

from trytond.exceptions import UserError
from trytond.pool import Pool
from trytond.protocols.wrappers import HTTPStatus
from trytond.tests.test_tryton import RouteTestCase
from trytond.transaction import Transaction

from cooperative_edi.client import Response
from cooperative_edi.transaction import transact
from cooperative_trust import event
from trycoton.protocol import canonical, entry, evidence, signature
from trycoton.protocol.descriptor import Descriptor
from trycoton.protocol.errors import ProtocolError
from trycoton.protocol.note import Verifier
from trycoton.protocol.policy import Policy

from .tools import (
    BUYER, COMMUNITY, SELLER, TRUST, Community, Member, create_trust_party,
    now, record_of, set_key)

ENDPOINT = 'https://buyer.example.org/db/cooperative'


class EventTestCase(RouteTestCase):
    "Test the events of messages at the trust party"
    module = 'cooperative_trust'

    @classmethod
    def setUpDatabase(cls):
        set_key()
        log = create_trust_party()
        cls.verifier = Verifier.from_vkey(log.vkey)

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.community = Community(COMMUNITY)
        cls.seller, cls.buyer = Member(SELLER), Member(BUYER)

    def setUp(self):
        super().setUp()
        self.publish()
        self.relation = str(uuid.uuid4())
        for member, other, kind, body in [
                (self.buyer, self.seller, 'relation-proposal', {
                        'relation': self.relation, 'community': COMMUNITY,
                        'trust_party': TRUST, 'replaces': None,
                        'sealed': None}),
                (self.seller, self.buyer, 'relation-answer', {
                        'relation': self.relation, 'agreed': True,
                        'reason': None, 'sealed': None})]:
            message = member.statement(other.identifier, kind, body)
            self.send(member, message)
            other.fetch(self.client(), self.db_name, message)

    def tearDown(self):
        Log = Pool(self.db_name).get('cooperative.trust.log')
        Log.sweep(self.db_name)
        with Transaction().start(self.db_name, 0, readonly=True):
            for log in Log.search([]):
                self.assertEqual(log.fsck(), [])
        super().tearDown()

    def publish(self, seller=None, buyer=None):
        self.directory = self.community.directory(
            self.seller.participant(**(seller or {})),
            self.buyer.participant(**(buyer or {})))
        response = self.community.publish(
            self.client(), self.db_name, self.directory)
        self.assertEqual(response.status_code, HTTPStatus.OK)
        self.logged = canonical.load(response.data)['record']['proof']

    def send(self, member, message, status=HTTPStatus.CREATED):
        response = member.send(self.client(), self.db_name, message)
        self.assertEqual(response.status_code, status, response.data)
        return canonical.load(response.data)

    def invoice(self, **values):
        message = self.seller.invoice(BUYER, self.relation, **values)
        self.send(self.seller, message)
        return message

    def records(self, message, member=None):
        "Return the Evidence of what happened to the message, by event"
        response = (member or self.seller).get(
            self.client(), f'/{self.db_name}/cooperative/trust/records/'
            f'{message.id}')
        return {
            name: record_of(record).verify([self.verifier])[0]
            for name, record in canonical.load(response.data).items()
            if record}

    def mailbox(self):
        response = self.buyer.get(
            self.client(), f'/{self.db_name}/cooperative/edi/mailbox')
        return canonical.load(response.data)['messages']

    def do(self, func, *args):
        return transact(self.db_name, func, *args)

    def relayed(self, message):
        "Return the id of what is sent on"
        Message = Pool(self.db_name).get('cooperative.edi.message')
        with Transaction().start(self.db_name, 0, readonly=True):
            relayed, = Message.search([
                    ('uuid', '=', message.id),
                    ('relays', '!=', None),
                    ])
            return relayed.id

    def age(self, id_, delta):
        "Have the message be stored some time ago"
        Message = Pool(self.db_name).get('cooperative.edi.message')

        def age():
            table = Message.__table__()
            message = Message(id_)
            Transaction().connection.cursor().execute(*table.update(
                    [table.stored], [message.stored - delta],
                    where=table.id == id_))
        self.do(age)

    def expire(self, message):
        Message = Pool(self.db_name).get('cooperative.edi.message')
        id_ = self.relayed(message)
        self.age(id_, event.MAILBOX_LAST + dt.timedelta(hours=1))
        Message.attend(self.db_name)
        return id_

    def refuse(self, message, status=HTTPStatus.NO_CONTENT, data=None):
        "Post the problem for which the buyer does not take the message"
        path = (f'/{self.db_name}/cooperative/edi/mailbox/{message.id}'
            '/receipt')
        response = self.client().post(path, data=data or canonical.dump({
                    'type': 'https://trycoton.org/problems/suspended',
                    'title': "The sender is not active.", 'status': 403,
                    }), headers=self.buyer.authorization('POST', path))
        self.assertEqual(response.status_code, status)

    # Refused by the trust party

    def test_rejected(self):
        "Test a refusal is recorded with its reason, once for each message"
        Rejection = Pool(self.db_name).get('cooperative.trust.rejection')
        message = self.seller.invoice(BUYER, self.relation)
        self.publish(seller={'state': 'suspended'})
        for _ in range(2):
            answer = self.send(self.seller, message, HTTPStatus.FORBIDDEN)
            told, _ = record_of(answer['record']).verify([self.verifier])
            self.assertEqual(told.event, 'submission-rejection')
            self.assertEqual(told.reason, 'suspended')
            self.assertEqual(told.digest, message.digest)
            signature.verify(
                message.to_bytes(), told.signature, signature.ENVELOPE,
                {self.seller.key.kid: self.seller.key.public})
        with Transaction().start(self.db_name, 0, readonly=True):
            self.assertEqual(Rejection.search_count([
                        ('uuid', '=', message.id)]), 1)
        self.assertEqual(
            self.records(message), {'submission-rejection': told})
        response = self.buyer.get(
            self.client(), f'/{self.db_name}/cooperative/trust/records/'
            f'{message.id}')
        self.assertEqual(response.status_code, HTTPStatus.NOT_FOUND)

    def test_same_id(self):
        "Test other content under the same id is refused and recorded"
        message = self.invoice()
        other = self.seller.invoice(BUYER, self.relation, id=message.id)
        self.assertNotEqual(other.digest, message.digest)
        answer = self.send(self.seller, other, HTTPStatus.CONFLICT)
        told, _ = record_of(answer['record']).verify([self.verifier])
        self.assertEqual(
            (told.reason, told.digest), ('conflict', other.digest))
        self.assertEqual(
            self.records(message)['submission'].digest, message.digest)

    def test_not_rejected(self):
        "Test what nobody known signed, or may be sent again, leaves no trace"
        Leaf = Pool(self.db_name).get('cooperative.trust.log.leaf')

        def count():
            with Transaction().start(self.db_name, 0, readonly=True):
                return Leaf.search_count([('rejection', '!=', None)])
        before = count()
        stranger = Member('0225:732829320_9')
        forged = self.seller.invoice(BUYER, self.relation)
        data = forged.to_bytes()
        for member, message in [
                (stranger, stranger.invoice(BUYER, self.relation)),
                (self.buyer, forged),
                (self.seller, self.seller.invoice(
                        BUYER, str(uuid.uuid4()))),
                (self.seller, self.seller.invoice(
                        BUYER, self.relation, via=None))]:
            response = member.send(self.client(), self.db_name, message)
            self.assertGreaterEqual(response.status_code, 400)
            self.assertNotIn('record', canonical.load(response.data))
        response = self.client().post(
            f'/{self.db_name}/cooperative/edi/messages', data=data + b' ',
            headers=self.seller.sign(data, forged.typ))
        self.assertEqual(response.status_code, HTTPStatus.UNAUTHORIZED)
        self.assertEqual(count(), before)

    def test_flood(self):
        "Test a flood of refused messages fills no log"
        Rejection = Pool(self.db_name).get('cooperative.trust.rejection')
        relation = self.relation
        self.publish(buyer={'state': 'suspended'})
        proved = 0
        for _ in range(event.REJECTIONS_MAX + 5):
            answer = self.send(
                self.buyer, self.buyer.invoice(SELLER, relation),
                HTTPStatus.FORBIDDEN)
            proved += 'record' in answer
        self.assertLessEqual(proved, event.REJECTIONS_MAX)
        with Transaction().start(self.db_name, 0, readonly=True):
            self.assertEqual(Rejection.search_count([
                        ('sender', '=', BUYER)]), event.REJECTIONS_MAX)

    # Placed at the disposal

    def test_consignment(self):
        "Test only what is to be fetched is placed in the mailbox"
        message = self.invoice()
        self.assertEqual(
            list(self.records(message)), ['consignment', 'submission'])
        self.assertIsNone(self.records(message)['consignment'].signature)
        self.publish(buyer={'endpoint': ENDPOINT})
        message = self.invoice()
        self.assertEqual(list(self.records(message)), ['submission'])

    # Closed, once

    def test_expired(self):
        "Test what nobody fetches is not delivered"
        message = self.invoice()
        young = self.invoice()
        id_ = self.expire(message)
        told = self.records(message)['delivery-failure']
        self.assertEqual(told.reason, 'expired')
        self.assertIn("30 days", told.text)
        self.assertNotIn(message.id, self.mailbox())
        self.assertIn(young.id, self.mailbox())
        self.assertNotIn('delivery-failure', self.records(young))
        self.assertEqual(
            self.records(message, self.buyer)['delivery-failure'], told)
        Message = Pool(self.db_name).get('cooperative.edi.message')
        self.do(Message.expire, id_)
        self.assertEqual(
            self.records(message)['delivery-failure'], told)

    def test_late_receipt(self):
        "Test a receipt after the end does not make another one"
        message = self.invoice()
        self.expire(message)
        for _ in range(2):
            response = self.buyer.fetch(
                self.client(), self.db_name, message)
            self.assertEqual(response.status_code, HTTPStatus.CONFLICT)
            self.assertIn(b'problems/closed', response.data)
        self.assertNotIn('delivery', self.records(message))

    def test_late_expiry(self):
        "Test what was delivered does not expire"
        message = self.invoice()
        response = self.buyer.fetch(self.client(), self.db_name, message)
        self.assertEqual(response.status_code, HTTPStatus.NO_CONTENT)
        Message = Pool(self.db_name).get('cooperative.edi.message')
        id_ = self.expire(message)
        self.do(Message.expire, id_)
        self.refuse(message)
        records = self.records(message)
        self.assertIn('delivery', records)
        self.assertNotIn('delivery-failure', records)

    def test_refused_by_recipient(self):
        "Test a message that its recipient refuses is not delivered"
        message = self.invoice()
        self.refuse(message)
        self.refuse(message)
        told = self.records(message)['delivery-failure']
        self.assertEqual(told.reason, 'refused')
        self.assertEqual(told.text, "The sender is not active.")
        response = self.buyer.fetch(self.client(), self.db_name, message)
        self.assertEqual(response.status_code, HTTPStatus.CONFLICT)

    def test_text_of_any_sort(self):
        "Test no text of others keeps the log from taking the next message"
        Message = Pool(self.db_name).get('cooperative.edi.message')
        told = {'type': 'x', 'title': "No\x00\x01\x7f .", 'status': 403}
        fetched, pushed = self.invoice(), self.invoice()
        self.refuse(fetched, data=canonical.dump(told))
        told['title'] += '\ud800'
        self.do(Message.posted, self.relayed(pushed),
            Response(403, {}, json.dumps(told).encode()))
        for message in [fetched, pushed]:
            failure = self.records(message)['delivery-failure']
            self.assertEqual(failure.reason, 'refused')
            self.assertIn("No??", failure.text)
        self.assertIn('submission', self.records(self.invoice()))

    def test_untold(self):
        "Test what no evidence can tell is not left to the log"
        Leaf = Pool(self.db_name).get('cooperative.trust.log.leaf')
        Message = Pool(self.db_name).get('cooperative.edi.message')
        id_ = self.relayed(self.invoice())
        with self.assertRaises(ProtocolError):
            self.do(lambda: Leaf.record_event(
                    entry.FAILURE, [Message(id_)], reason='refused',
                    reason_text='\x01'))
        self.assertIn('submission', self.records(self.invoice()))

    def test_receipt_of_any_sort(self):
        "Test only a receipt that says 'stored' delivers"
        Message = Pool(self.db_name).get('cooperative.edi.message')
        for values in [
                {'status': 'relayed'}, {'checkpoint': 'eA' * 150_000}]:
            message = self.invoice()
            data = canonical.dump({
                    **canonical.load(canonical.load(
                            self.buyer.receipt(message))['receipt'].encode()),
                    **values})
            answer = canonical.dump({
                    'receipt': data.decode(),
                    'signature': signature.sign(
                        data, signature.RECEIPT, self.buyer.key)})
            self.do(Message.posted, self.relayed(message),
                Response(201, {}, answer))
            with self.subTest(values=values):
                self.assertNotIn('delivery', self.records(message))
                self.assertIn(message.id, self.mailbox())

    def test_refused_under_signature(self):
        "Test what the recipient signs of its refusal is in the log"
        message = self.invoice()
        answer = self.buyer.refusal(message)
        self.refuse(message, data=answer)
        told = self.records(message)['delivery-failure']
        answer = canonical.load(answer)
        self.assertEqual(told.reason, 'refused')
        self.assertEqual(
            (told.receipt, told.signature),
            (answer['refusal'], answer['signature']))
        # Not signed again, nor unsigned, nor taken after all
        self.refuse(message)
        self.refuse(message, data=self.buyer.refusal(message, 'malformed'))
        response = self.buyer.fetch(self.client(), self.db_name, message)
        self.assertEqual(response.status_code, HTTPStatus.CONFLICT)
        self.assertEqual(self.records(message)['delivery-failure'], told)
        self.assertIn(
            'refusal', [c.name for c in self.verified(message).checks])

    def test_refused_without_signature(self):
        "Test what the recipient did not sign so stays our own word"
        other = self.invoice()
        stranger = Member('0225:732829320_8')
        stranger.identifier = BUYER

        def changed(message, **values):
            return canonical.dump({
                    **canonical.load(self.buyer.refusal(message)), **values})
        for refuse in [
                lambda m: self.buyer.refusal(m, message=other.id),
                lambda m: self.buyer.refusal(m, digest=other.digest),
                lambda m: self.buyer.refusal(m, receiver=SELLER),
                lambda m: self.seller.refusal(m, receiver=BUYER),
                stranger.refusal,
                lambda m: changed(m, refusal='{}'),
                lambda m: changed(m, refusal=1),
                lambda m: changed(m, signature=None)]:
            message = self.invoice()
            data = refuse(message)
            self.refuse(message, data=data)
            told = self.records(message)['delivery-failure']
            with self.subTest(data=data):
                self.assertEqual(told.reason, 'refused')
                self.assertEqual((told.receipt, told.signature), (None, None))
        for i in range(3):
            message = self.invoice()
            data = self.buyer.refusal(message)
            place = data.index(b'refusal":"') + 30 + 40 * i
            flipped = data[:place] + bytes([data[place] ^ 1]) + (
                data[place + 1:])
            self.refuse(message, data=flipped)
            told = self.records(message)['delivery-failure']
            self.assertEqual((told.receipt, told.signature), (None, None))
        self.assertNotIn(
            'refusal', [c.name for c in self.verified(message).checks])

    def verified(self, message):
        records = sorted(
            (r for r in self.raw(message).values() if r),
            key=lambda r: entry.EVENTS.index(r.event.event))
        report = evidence.verify(self.build([evidence.SignedMessage(
                        data=message.to_bytes(),
                        signature=self.seller.sign(
                            message.to_bytes(), message.typ).popitem()[1],
                        records=records)]), Policy.of([self.verifier.vkey]))
        self.assertEqual(
            report.status, evidence.VERIFIED,
            [c for c in report.checks if not c.ok])
        return report

    def test_refusal_that_may_pass(self):
        "Test who refuses for now has the message again"
        message = self.invoice()
        answer = canonical.load(
            self.buyer.refusal(message, 'unavailable'))
        self.refuse(
            message, data=canonical.dump({**answer, 'status': 503}))
        self.assertNotIn('delivery-failure', self.records(message))
        response = self.buyer.fetch(self.client(), self.db_name, message)
        self.assertEqual(response.status_code, HTTPStatus.NO_CONTENT)

    def test_pushed(self):
        "Test what an address refuses, or does not answer, is not delivered"
        Message = Pool(self.db_name).get('cooperative.edi.message')
        self.publish(buyer={'endpoint': ENDPOINT})
        refused, silent = self.invoice(), self.invoice()
        self.do(
            Message.posted, self.relayed(refused),
            Response(422, {}, b'{"title":"No.","type":"x"}'))
        told = self.records(refused)['delivery-failure']
        self.assertEqual((told.reason, told.text), ('refused', "422 No."))
        self.assertIsNone(told.receipt)
        signed = self.invoice()
        answer = self.buyer.refusal(signed)
        self.do(
            Message.posted, self.relayed(signed), Response(403, {}, answer))
        told = self.records(signed)['delivery-failure']
        self.assertEqual(
            told.receipt, canonical.load(answer)['refusal'])
        self.do(Message.unanswered, self.relayed(silent), "timed out")
        self.assertNotIn('delivery-failure', self.records(silent))
        self.age(self.relayed(silent), dt.timedelta(days=6))
        self.do(Message.unanswered, self.relayed(silent), "timed out")
        told = self.records(silent)['delivery-failure']
        self.assertEqual(
            (told.reason, told.text), ('unreachable', "timed out"))

    def test_given_up(self):
        "Test a person gives up, and nobody tries again what is closed"
        Message = Pool(self.db_name).get('cooperative.edi.message')
        message = self.invoice()
        id_ = self.relayed(message)
        for _ in range(2):
            self.do(lambda: Message.abandon([Message(id_)], "It moved."))
        told = self.records(message)['delivery-failure']
        self.assertEqual((told.reason, told.text), ('given-up', "It moved."))
        self.do(lambda: Message.retry([Message(id_)]))
        with Transaction().start(self.db_name, 0, readonly=True):
            self.assertEqual(Message(id_).state, 'failed')

    def test_closed_in_the_database(self):
        "Test the database keeps a second end out"
        Message = Pool(self.db_name).get('cooperative.edi.message')
        Leaf = Pool(self.db_name).get('cooperative.trust.log.leaf')
        delivered, failed = self.invoice(), self.invoice()
        self.buyer.fetch(self.client(), self.db_name, delivered)
        self.expire(failed)
        for message, name, values in [
                (delivered, entry.FAILURE, {'reason': 'expired'}),
                (delivered, entry.DELIVERY, {}),
                (failed, entry.DELIVERY, {}),
                (failed, entry.FAILURE, {'reason': 'refused'})]:
            id_ = self.relayed(message)
            with self.subTest(name=name), self.assertRaises(UserError):
                self.do(lambda: Leaf.record_event(
                        name, [Message(id_)], **values))

    def test_at_once(self):
        "Test a receipt and the end of the delay that come together"
        Message = Pool(self.db_name).get('cooperative.edi.message')
        hold = event.hold

        def expire(record, **values):
            Message.expire(record.id)
            return hold(record, **values)

        def deliver(record, **values):
            message = Message(record.id)
            Message.fetched(
                message.peer, message.uuid, self.buyer.receipt(delivered))
            return hold(record, **values)

        failed, delivered = self.invoice(), self.invoice()
        with patch('cooperative_edi.message.hold', expire):
            response = self.buyer.fetch(
                self.client(), self.db_name, failed)
        self.assertEqual(response.status_code, HTTPStatus.CONFLICT)
        with patch('cooperative_trust.event.hold', deliver):
            self.do(Message.expire, self.relayed(delivered))
        self.assertNotIn('delivery', self.records(failed))
        self.assertNotIn('delivery-failure', self.records(delivered))
        self.assertIn('delivery', self.records(delivered))

    # To the end of the road

    def test_other_agreement(self):
        "Test an agreement of any kind is proved in an evidence file"
        message = self.seller.statement(
            BUYER, 'tractor-loan', {'from': '2026-10-01', 'diesel': None})
        self.send(self.seller, message)
        self.buyer.fetch(self.client(), self.db_name, message)
        records = [
            r for r in self.raw(message).values() if r]
        data = self.build([evidence.SignedMessage(
                    data=message.to_bytes(),
                    signature=self.seller.sign(
                        message.to_bytes(), message.typ).popitem()[1],
                    records=sorted(
                        records, key=lambda r: entry.EVENTS.index(
                            r.event.event)))])
        report = evidence.verify(data, Policy.of([self.verifier.vkey]))
        self.assertEqual(
            report.status, evidence.VERIFIED,
            [c for c in report.checks if not c.ok])
        self.assertIn('tractor-loan', report.checks[-1].text + ''.join(
                c.text for c in report.checks))

    def raw(self, message):
        response = self.seller.get(
            self.client(), f'/{self.db_name}/cooperative/trust/records/'
            f'{message.id}')
        return {name: record_of(r) if r else None
            for name, r in canonical.load(response.data).items()}

    def build(self, messages):
        key = self.community.key
        descriptor = Descriptor(
            identifier=COMMUNITY, name=COMMUNITY, kind='community',
            endpoint=None, created=now() - dt.timedelta(days=1),
            keys=self.community.participant().keys).to_bytes()
        return evidence.build(
            messages, exporter=SELLER, keys=[self.verifier.vkey],
            sign=lambda d: signature.sign(
                d, evidence.SEAL, self.seller.key),
            descriptors=[evidence.SignedDescriptor(
                    data=descriptor, signature=signature.sign(
                        descriptor, signature.DESCRIPTOR, key))],
            directories=[evidence.SignedDirectory(
                    data=self.directory.to_bytes(), proof=self.logged,
                    signature=signature.sign(
                        self.directory.to_bytes(), signature.DIRECTORY,
                        key))])


del RouteTestCase
