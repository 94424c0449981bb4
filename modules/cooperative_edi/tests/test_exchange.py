# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Instances in one process: each its database, HTTP between them"""
import datetime as dt
import logging
import tempfile
import threading
import time
import unittest
from concurrent.futures import ThreadPoolExecutor
from email.utils import format_datetime
from unittest.mock import patch
from urllib.parse import urlsplit
from uuid import uuid4

import trytond.config as config
from trytond import backend
from trytond.cache import Cache
from trytond.pool import Pool
from trytond.protocols.wrappers import Response
from trytond.tests.test_tryton import DB_NAME, activate_module, drop_db
from trytond.transaction import Transaction
from trytond.wsgi import app
from werkzeug.test import Client

from cooperative_edi import client, courier, reception
from cooperative_edi.exceptions import DocumentHeld, DocumentParked
from cooperative_edi.http import Problem
from cooperative_edi.transaction import transact
from trycoton.protocol import canonical, signature
from trycoton.protocol.receipt import Receipt

from .copies import copy
from .tools import configure, create_identity, invoice, now

IDENTIFIERS = {
    'anne': '0225:833555675',
    'bruno': '0225:732829320',
    'clara': '0225:552100554',
    }


class Instance:
    "A database with an identity, and how the others see it"

    def __init__(self, name, identifier, address):
        self.name = name
        self.identifier = identifier
        self.endpoint = (
            f'http://{name}/{name}/cooperative' if address else None)
        self.company = transact(
            name, create, self.identifier, name, self.endpoint)

    def do(self, function, *args):
        return transact(
            self.name, function, *args, context={'company': self.company})

    def get(self, model):
        return Pool(self.name).get(f'cooperative.edi.{model}')


def create(identifier, name, endpoint):
    with Transaction().set_user(1):
        return create_identity(identifier, name, endpoint=endpoint).company.id


class InstancesTestCase(unittest.TestCase):
    "Instances that talk to each other"
    module = 'cooperative_edi'
    identifiers = IDENTIFIERS

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        configure()
        # The one before may have had other modules
        drop_db()
        activate_module(cls.module)
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.addClassCleanup(
            config.set, 'database', 'path', config.get('database', 'path'))
        config.set('database', 'path', folder.name)
        cls.instances = {}
        for name, identifier in cls.identifiers.items():
            copy(DB_NAME, name)
            with Transaction().start(name, 0, readonly=True):
                Pool(name).init()
            cls.addClassCleanup(Pool.stop, name)
            cls.addClassCleanup(Cache.drop, name)
            cls.instances[name] = Instance(
                name, identifier, name != 'clara')
            cls.prepare(cls.instances[name])
            copy(name, f'{name}_first')

    @classmethod
    def prepare(cls, instance):
        "Give the new instance what it has in each test"

    def setUp(self):
        self.down = set()
        self.calls = []
        self.skew = dt.timedelta()
        self.executor = ThreadPoolExecutor(1)
        self.addCleanup(self.executor.shutdown)
        wire = patch.object(client, 'request', self.request)
        wire.start()
        self.addCleanup(wire.stop)
        self.anne = self.create('anne')
        self.bruno = self.create('bruno')
        self.meet(self.anne, self.bruno)

    def create(self, name):
        copy(f'{name}_first', name)
        return self.instances[name]

    def request(self, method, url, data=None, headers=None):
        "Call the application as another process would"
        parts = urlsplit(url)
        self.calls.append((parts.netloc, method, parts.path))
        if parts.netloc in self.down or not parts.netloc:
            raise client.ClientError(url, "down")

        def call():
            with patch('cooperative_edi.http.now',
                    lambda: now() + self.skew):
                return Client(app, Response).open(
                    parts.path, method=method, data=data, headers=headers,
                    query_string=parts.query)
        response = self.executor.submit(call).result()
        response.headers['Date'] = format_datetime(
            now() + self.skew, usegmt=True)
        return client.Response(
            response.status_code, response.headers, response.data)

    def meet(self, *instances):
        "Have the instances know each other as participants"
        def entry():
            Identity = Pool().get('cooperative.edi.identity')
            return Identity.get().participant()
        entries = {i: i.do(entry) for i in instances}
        for instance in instances:
            for other in instances:
                if other is not instance:
                    instance.do(
                        instance.get('peer').update_from, instance.company,
                        entries[other])

    def peer(self, instance, other):
        return instance.get('peer').get(instance.company, other.identifier)

    def propose(self, instance, other):
        def propose():
            Relation = instance.get('relation')
            relation = Relation(peer=self.peer(instance, other))
            relation.save()
            Relation.propose([relation])
            return relation.id
        return instance.do(propose)

    def agree(self):
        "Return the id of the relation of Anne with Bruno"
        relation = self.propose(self.anne, self.bruno)
        self.round(self.anne, self.bruno, self.anne)
        return relation

    def send(self, relation, number='F1'):
        def send():
            return self.anne.get('message').send(
                self.anne.get('relation')(relation),
                invoice(
                    self.anne.identifier, self.bruno.identifier, number)).id
        return self.anne.do(send)

    def round(self, *instances):
        for instance in instances:
            courier.exchange(instance.name)

    def read(self, instance, *names, model='message', **where):
        def read():
            records = instance.get(model).search(
                [(n, '=', v) for n, v in where.items()],
                order=[('id', 'ASC')])
            rows = [[getattr(r, n) for n in names] for r in records]
            return [r[0] if len(names) == 1 else tuple(r) for r in rows]
        return instance.do(read)

    def hasten(self, instance):
        "Have what waits for its time be due"
        def hasten():
            Message = instance.get('message')
            Peer = instance.get('peer')
            Message.write(Message.search([('state', '=', 'waiting')]), {
                    'next_attempt': dt.datetime(2026, 1, 1)})
            Peer.write(Peer.search([]), {'silent_until': None})
        instance.do(hasten)

    def handle(self, function):
        "Have both know what to do with an invoice"
        for instance in [self.anne, self.bruno]:
            handler = patch.object(
                instance.get('document'), 'receive_invoice',
                lambda message, document: function(message, document),
                create=True)
            handler.start()
            self.addCleanup(handler.stop)


class ExchangeTestCase(InstancesTestCase):
    "Test exchange between instances"

    def test_relation(self):
        "A proposal and its answer make a relation on both sides"
        self.agree()
        for instance in [self.anne, self.bruno]:
            self.assertEqual(
                self.read(instance, 'state', model='relation'), ['agreed'])
            self.assertEqual(
                self.read(instance, 'in_sequence', direction='in'), [True])
        uuids = [self.read(i, 'uuid', model='relation')
            for i in [self.anne, self.bruno]]
        self.assertEqual(*uuids)

    def test_receipt(self):
        "What is sent is stored once, and its receipt kept and verified"
        self.handle(lambda message, document: None)
        relation = self.agree()
        sent = self.send(relation)
        self.round(self.anne, self.bruno, self.anne)
        (state, receipt, jws, digest), = self.read(
            self.anne, 'state', 'receipt', 'receipt_signature', 'digest',
            id=sent)
        self.assertEqual(state, 'sent')
        signature.verify(
            bytes(receipt), jws, signature.RECEIPT, self.anne.do(
                lambda: self.peer(self.anne, self.bruno).public_keys()))
        self.assertEqual(Receipt.parse(bytes(receipt)).digest, digest)
        self.assertEqual(
            self.read(self.bruno, 'state', 'document_number', kind='invoice'),
            [('processed', 'F1')])

    def test_refused_relation(self):
        "Who is asked may refuse, and nothing can be sent"
        def manual():
            identity = self.bruno.get('identity').get()
            identity.agree_relations = False
            identity.save()
        self.bruno.do(manual)
        relation = self.propose(self.anne, self.bruno)
        self.round(self.anne, self.bruno)
        self.assertEqual(
            self.read(self.bruno, 'state', model='relation'), ['proposed'])

        def refuse():
            Relation = self.bruno.get('relation')
            relation, = Relation.search([])
            relation.reason = "Closed"
            relation.save()
            Relation.refuse([relation])
        self.bruno.do(refuse)
        self.round(self.bruno, self.anne)
        self.assertEqual(
            self.read(
                self.anne, 'state', 'reason', model='relation', id=relation),
            [('refused', "Closed")])

    def test_ended_relation(self):
        "An ended relation refuses what comes after"
        self.agree()
        relation, = self.read(self.anne, 'id', model='relation')

        def end():
            Relation = self.bruno.get('relation')
            Relation.end(Relation.search([]))
        self.bruno.do(end)
        sent = self.send(relation)
        self.round(self.anne)
        (state, attempts, error), = self.read(
            self.anne, 'state', 'attempts', 'error', id=sent)
        self.assertEqual((state, attempts), ('waiting', 1))
        self.assertIn('403', error)
        self.round(self.bruno, self.anne)
        self.assertEqual(
            self.read(self.anne, 'state', model='relation'), ['ended'])

    def test_down(self):
        "While the other is down all wait, and then come once and in order"
        self.handle(lambda message, document: None)
        relation = self.agree()
        self.down.add('bruno')
        first, second = self.send(relation, 'F1'), self.send(relation, 'F2')
        self.calls.clear()
        self.round(self.anne, self.anne)
        self.assertEqual(len(self.calls), 1)
        self.assertEqual(
            self.read(self.anne, 'state', 'attempts', kind='invoice'),
            [('waiting', 1), ('waiting', 0)])
        self.assertEqual(
            self.read(self.anne, 'silences', model='peer'), [1])
        self.assertGreater(self.anne.do(
                self.anne.get('message').next_due), 1)

        self.down.clear()
        self.hasten(self.anne)
        self.round(self.anne, self.bruno)
        self.assertEqual(
            self.read(self.anne, 'state', kind='invoice'), ['sent', 'sent'])
        self.assertEqual(
            self.read(
                self.bruno, 'document_number', 'state', 'in_sequence',
                kind='invoice'),
            [('F1', 'processed', True), ('F2', 'processed', True)])
        self.assertEqual(
            self.read(self.anne, 'silences', model='peer'), [0])
        self.assertEqual(first + 1, second)

    def test_slow(self):
        "Who answers slowly holds up nobody else"
        clara = self.create('clara')
        self.meet(self.anne, self.bruno, clara)

        def give_address():
            Peer = self.anne.get('peer')
            Peer.write([self.peer(self.anne, clara)], {
                    'endpoint': 'http://clara/clara/cooperative'})
        self.anne.do(give_address)
        answer, slow = threading.Event(), threading.Event()
        request = client.request

        def call(method, url, **options):
            if '//clara' in url:
                slow.set()
                answer.wait(30)
                raise client.ClientError(url, "late")
            slow.wait(30)
            return request(method, url, **options)
        for other in [clara, self.bruno]:
            self.propose(self.anne, other)
        with patch.object(client, 'request', call), \
                patch.object(courier, 'PATIENCE', 1):
            self.round(self.anne)
            self.assertEqual(
                self.read(self.anne, 'recipient', 'state'), [
                    (clara.identifier, 'waiting'),
                    (self.bruno.identifier, 'sent')])
            # It is still called, and not called twice
            self.hasten(self.anne)
            self.propose(self.anne, self.bruno)
            self.round(self.anne)
            self.assertEqual(
                self.read(self.anne, 'state'), ['waiting', 'sent', 'sent'])
            answer.set()
            while courier._busy:
                threading.Event().wait(0.01)
        self.assertEqual(
            self.read(self.anne, 'attempts', 'error')[0],
            (1, "http://clara/clara/cooperative/edi/messages: late"))

    def test_turn(self):
        "What is for a hop to which something is sent waits, and wakes nobody"
        relation = self.agree()
        sent = self.send(relation)
        Message = self.anne.get('message')
        (due, hop), = self.anne.do(Message.to_send)
        self.assertEqual(due, sent)
        self.assertLess(self.anne.do(Message.next_due), 1)
        with patch.object(courier, '_busy', {(self.anne.name, hop)}):
            self.assertEqual(self.anne.do(Message.to_send), [])
            self.assertIsNone(self.anne.do(Message._next_sending))
        with patch.object(courier, '_busy', {(self.bruno.name, hop)}):
            self.assertEqual(self.anne.do(Message.to_send), [(due, hop)])

    def test_alive(self):
        "Who sends something is called again at once"
        self.agree()
        relation, = self.read(self.anne, 'id', model='relation')
        self.down.add('bruno')
        sent = self.send(relation)
        self.round(self.anne)
        self.down.clear()
        self.round(self.anne)
        self.assertEqual(self.read(self.anne, 'state', id=sent), ['waiting'])
        self.propose(self.bruno, self.anne)
        self.round(self.bruno, self.anne)
        self.assertEqual(self.read(self.anne, 'state', id=sent), ['sent'])

    def test_given_up(self):
        "After days a message fails, and a person can try again or cancel"
        self.agree()
        relation, = self.read(self.anne, 'id', model='relation')
        self.down.add('bruno')
        sent = self.send(relation)
        Message = self.anne.get('message')

        def age():
            message = Message(sent)
            message.stored -= dt.timedelta(days=6)
            message.save()
        self.anne.do(age)
        self.round(self.anne)
        self.assertEqual(self.read(self.anne, 'state', id=sent), ['failed'])
        self.anne.do(lambda: Message.retry([Message(sent)]))
        self.down.clear()
        self.round(self.anne)
        self.assertEqual(self.read(self.anne, 'state', id=sent), ['sent'])
        self.anne.do(lambda: Message.retry([Message(sent)]))
        self.anne.do(lambda: Message.cancel([Message(sent)]))
        self.assertEqual(self.read(self.anne, 'state', id=sent), ['sent'])

    def test_killed(self):
        "Killed before it noted the answer, the sender sends the same again"
        self.handle(lambda message, document: None)
        relation = self.agree()
        sent = self.send(relation)
        Message = self.anne.get('message')
        with patch.object(Message, 'posted', side_effect=SystemExit), \
                self.assertRaises(SystemExit):
            self.round(self.anne)
        self.round(self.bruno)
        self.assertEqual(
            self.read(self.anne, 'state', 'attempts', id=sent),
            [('waiting', 1)])
        self.calls.clear()
        self.round(self.anne)
        self.assertEqual(self.calls, [], "another one may be posting it")
        self.hasten(self.anne)
        self.round(self.anne, self.bruno)
        (state, attempts, receipt), = self.read(
            self.anne, 'state', 'attempts', 'receipt', id=sent)
        self.assertEqual((state, attempts), ('sent', 2))
        self.assertEqual(
            self.read(self.bruno, 'state', 'receipt', kind='invoice'),
            [('processed', receipt)])

    def test_claim(self):
        "A message is posted by one process at a time"
        self.agree()
        relation, = self.read(self.anne, 'id', model='relation')
        sent = self.send(relation)
        Message = self.anne.get('message')
        barrier = threading.Barrier(4)

        def claim():
            barrier.wait()
            return transact('anne', Message.claim, sent)
        with ThreadPoolExecutor(4) as executor:
            claims = [executor.submit(claim) for _ in range(4)]
        self.assertEqual(sum(bool(c.result()) for c in claims), 1)

    def test_sequence(self):
        "Messages written at the same time follow each other"
        barrier = threading.Barrier(4)

        def send():
            barrier.wait()
            return self.propose(self.anne, self.bruno)
        with ThreadPoolExecutor(4) as executor:
            list(executor.map(lambda _: send(), range(4)))
        self.assertEqual(
            sorted(self.read(self.anne, 'sequence')), [1, 2, 3, 4])
        self.round(self.anne)
        self.assertEqual(
            self.read(self.bruno, 'in_sequence', direction='in'), [True] * 4)

    def test_other_receipt(self):
        "A receipt of something else, or not signed by the other, is none"
        self.agree()
        relation, = self.read(self.anne, 'id', model='relation')
        sent = self.send(relation)
        Message = self.anne.get('message')
        for data in [b'', b'[]', b'{}', b'{"receipt":"","signature":""}',
                b'{"receipt":{},"signature":1}', b'\xff']:
            self.hasten(self.anne)
            with self.subTest(data), patch.object(
                    client, 'request',
                    return_value=client.Response(201, {}, data)):
                self.round(self.anne)
            self.assertEqual(
                self.read(self.anne, 'state', id=sent), ['waiting'])
        self.hasten(self.anne)
        self.round(self.anne)
        self.assertEqual(self.read(self.anne, 'state', id=sent), ['sent'])
        self.assertIsNotNone(Message)

    def test_pull(self):
        "Who has no address fetches what waits for it"
        clara = self.create('clara')
        self.meet(self.anne, clara)
        self.propose(self.anne, clara)
        self.round(self.anne)
        self.assertEqual(self.read(self.anne, 'state'), ['waiting'])
        self.round(clara, self.anne)
        self.assertEqual(
            self.read(self.anne, 'state', direction='out'), ['sent'])
        self.assertEqual(
            self.read(clara, 'state', model='relation'), ['agreed'])
        self.assertEqual(
            self.read(self.anne, 'state', model='relation'), ['agreed'])
        self.calls.clear()
        self.round(clara)
        self.assertEqual(
            self.calls, [('anne', 'GET', '/anne/cooperative/edi/mailbox')])

    def test_pull_skewed(self):
        "A clock that is an hour wrong does not keep it from fetching"
        clara = self.create('clara')
        self.meet(self.anne, clara)
        self.propose(self.anne, clara)
        for hours in [1, -1]:
            self.skew = dt.timedelta(hours=hours)
            self.round(clara)
        self.assertEqual(
            self.read(clara, 'state', model='relation'), ['agreed'])

    def test_pull_other_age(self):
        "A clock that is days wrong is not followed, and stops nobody else"
        clara = self.create('clara')
        self.meet(self.anne, clara)
        self.meet(self.bruno, clara)
        for days in [-25000, 3]:
            self.skew = dt.timedelta(days=days)
            self.calls.clear()
            courier.fetch_mailboxes('clara')
            self.assertEqual(
                [c[0] for c in self.calls], ['anne', 'bruno'], days)

    def test_clock(self):
        "A clock that is none is not followed"
        for date in [
                None, '', "yesterday", "Fri, 01 Jan 1960 00:00:00 GMT",
                "Fri, 01 Jan 2060 00:00:00 -0000",
                f"Fri, 01 Jan 2060 00:00:00 +{'9' * 30}"]:
            response = client.Response(401, {'Date': date}, b'')
            self.assertIsNone(courier._clock(response), date)

    def test_pull_strange(self):
        "What fails in a way that nobody thought of stops nothing else"
        clara = self.create('clara')
        self.meet(self.anne, clara)
        self.meet(self.bruno, clara)
        for instance in [self.anne, self.anne, self.bruno]:
            self.propose(instance, clara)
        receive, failed = reception.receive, []

        def fail(database, data, jws):
            if not failed:
                failed.append(data)
                raise KeyError("strange")
            return receive(database, data, jws)
        with patch.object(reception, 'receive', fail), \
                self.assertLogs('cooperative_edi.courier', 'CRITICAL'):
            self.assertEqual(courier.fetch_mailboxes('clara'), 2)
        self.calls.clear()
        with patch.object(courier, 'parse_answer', lambda data: None), \
                self.assertLogs('cooperative_edi.courier', 'CRITICAL'):
            courier.fetch_mailboxes('clara')
        self.assertEqual([c[0] for c in self.calls], ['anne', 'bruno'])
        # They are left alone for a time
        self.assertFalse(clara.do(clara.get('peer').to_fetch_from))

    def test_pull_endless(self):
        "A mailbox without end holds up nobody else"
        clara = self.create('clara')
        self.meet(self.anne, clara)
        self.meet(self.bruno, clara)
        self.propose(self.bruno, clara)
        asked = []

        def request(method, url, data=None, headers=None):
            if '//anne/' not in url:
                return self.request(method, url, data, headers)
            asked.append(url)
            names = [str(uuid4()) for _ in range(100)]
            return client.Response(
                200 if len(asked) < 500 else 404, {},
                canonical.dump({'messages': names}))
        with patch.object(client, 'request', request), \
                patch.object(reception, 'receive') as receive, \
                patch.object(courier, 'LANE', 0.1), \
                patch.object(courier.logger, 'warning'):
            receive.side_effect = Problem.malformed(ValueError("strange"))
            courier.fetch_mailboxes('clara')
        self.assertTrue(2 < len(asked) < 500, len(asked))
        self.assertIn(
            ('bruno', 'GET', '/bruno/cooperative/edi/mailbox'), self.calls)

    def test_pull_refused(self):
        "What is refused does not hold up what follows"
        clara = self.create('clara')
        self.meet(self.anne, clara)
        for _ in range(2):
            self.propose(self.anne, clara)
        read = clara.get('message')._read_envelope
        refused = set()

        def refuse(arrival):
            if refused <= {arrival.data}:
                refused.add(arrival.data)
                raise Problem.malformed(ValueError("strange"))
            return read(arrival)
        with patch.object(clara.get('message'), '_read_envelope', refuse):
            self.round(clara)
        states = self.read(self.anne, 'state', 'error', direction='out')
        self.assertEqual([s for s, _ in states], ['failed', 'sent'])
        self.assertIn("strange", states[0][1])
        self.assertEqual(
            self.read(clara, 'problem', 'count', model='refusal'),
            [('malformed', 1)])

    def test_parked(self):
        "What refers to something else waits for it"
        relation = self.agree()
        seen = []

        def receive(message, document):
            if document.number == 'F1' and 'F2' not in seen:
                raise DocumentParked("F2 is awaited")
            seen.append(document.number)
        self.handle(receive)
        self.send(relation, 'F1')
        self.round(self.anne, self.bruno)
        self.assertEqual(
            self.read(self.bruno, 'state', 'error', kind='invoice'),
            [('parked', "F2 is awaited")])
        self.send(relation, 'F2')
        self.round(self.anne, self.bruno)
        self.assertEqual(
            self.read(self.bruno, 'state', 'error', kind='invoice'),
            [('processed', None)] * 2)
        self.assertEqual(seen, ['F2', 'F1'])

    def test_parked_in_the_same_round(self):
        relation = self.agree()
        seen = []

        def receive(message, document):
            if document.number == 'F1' and not seen:
                raise DocumentParked("F2 is awaited")
            seen.append(document.number)
        self.handle(receive)
        self.send(relation, 'F1')
        self.send(relation, 'F2')
        self.round(self.anne, self.bruno)
        self.assertEqual(
            self.read(self.bruno, 'state', kind='invoice'),
            ['processed', 'processed'])

    def test_parked_meanwhile(self):
        "What came before the message was seen to wait is not missed"
        relation = self.agree()
        seen = []

        def receive(message, document):
            seen.append(message.state)
            if len(seen) == 1:
                raise DocumentParked("F2 is awaited")
        self.handle(receive)
        self.send(relation, 'F1')
        self.round(self.anne, self.bruno)
        self.assertEqual(seen, ['received', 'parked'])
        self.assertEqual(
            self.read(self.bruno, 'state', kind='invoice'), ['processed'])

    def test_parked_too_long(self):
        "What nothing came for is refused"
        relation = self.agree()

        def receive(message, document):
            raise DocumentParked("F2 is awaited")
        self.handle(receive)
        self.send(relation)
        self.round(self.anne, self.bruno)
        Message = self.bruno.get('message')

        def age():
            message, = Message.search([('state', '=', 'parked')])
            message.stored -= dt.timedelta(days=6)
            message.save()
        self.bruno.do(age)
        self.round(self.bruno, self.anne)
        self.assertEqual(
            self.read(self.bruno, 'state', kind='invoice'), ['refused'])
        self.assertEqual(
            self.read(self.anne, 'state', 'error', kind='invoice'),
            [('refused', "F2 is awaited")])

    def test_held_and_failed(self):
        "A person gives what is missing and has it tried again"
        relation = self.agree()
        missing = [DocumentHeld("No product"), ValueError("bug"), None]

        def receive(message, document):
            if error := missing.pop(0):
                raise error
        self.handle(receive)
        self.send(relation)
        Message = self.bruno.get('message')
        logging.disable(logging.CRITICAL)
        self.addCleanup(logging.disable, logging.NOTSET)
        self.round(self.anne, self.bruno)
        for state, error in [
                ('held', "No product"), ('failed', "bug"),
                ('processed', None)]:
            self.assertEqual(
                self.read(self.bruno, 'state', 'error', kind='invoice'),
                [(state, error)])
            self.round(self.bruno)
            self.bruno.do(lambda: Message.retry(
                    Message.search([('kind', '=', 'invoice')])))
            self.round(self.bruno)

    def test_busy(self):
        "A database that is busy does not make a message fail"
        relation = self.agree()
        busy = [True]

        def receive(message, document):
            if busy:
                raise backend.DatabaseOperationalError("locked")
        self.handle(receive)
        self.send(relation)
        with self.assertLogs('cooperative_edi.courier', 'WARNING'):
            self.round(self.anne, self.bruno)
        self.assertEqual(
            self.read(self.bruno, 'state', kind='invoice'), ['received'])
        self.assertIsNotNone(
            self.bruno.do(self.bruno.get('message').next_due))
        busy.clear()
        self.round(self.bruno)
        self.assertEqual(
            self.read(self.bruno, 'state', kind='invoice'), ['processed'])

    def test_malformed_relation(self):
        "Strange words about relations are refused or held, not obeyed"
        self.agree()
        for kind, body in [
                ('relation-proposal', {}),
                ('relation-proposal', {'relation': {'a': 1}}),
                ('relation-proposal', {'relation': 'x'}),
                ('relation-answer', {'relation': None}),
                ('relation-end', {'relation': [1]}),
                ]:
            with self.subTest(kind=kind, body=body):
                self.anne.do(
                    lambda: self.anne.get('message').send_statement(
                        self.peer(self.anne, self.bruno), kind, body,
                        origin=self.anne.get('relation').search([])[0]))
                self.round(self.anne, self.bruno)
                state = self.read(self.bruno, 'state', direction='in')[-1]
                self.assertEqual(state, 'refused')
        self.assertEqual(
            self.read(self.bruno, 'state', model='relation'), ['agreed'])

    def test_left_tasks(self):
        "What a killed process left in the queue is done"
        def leave(days):
            Queue = Pool().get('ir.queue')
            Peer = self.anne.get('peer')
            Peer.__queue__.answered(Peer.search([])[0])
            task = Queue(Transaction().tasks.pop())
            task.enqueued_at = courier.STARTED + dt.timedelta(days)
            task.save()
            return task.id

        def finished(id_):
            return Pool().get('ir.queue')(id_).finished_at
        left, running = self.anne.do(leave, -1), self.anne.do(leave, 1)
        courier.finish_tasks('anne')
        time = self.anne.do(finished, left)
        self.assertTrue(time)
        self.assertFalse(self.anne.do(finished, running))
        # Another process had found it as well
        with patch.object(courier, '_left', lambda: [left]):
            courier.finish_tasks('anne')
        self.assertEqual(self.anne.do(finished, left), time)


class CourierTestCase(unittest.TestCase):
    "Test the thread of the courier"

    def setUp(self):
        configure()
        config.set('cooperative', 'courier', 'True')
        self.addCleanup(config.set, 'cooperative', 'courier', 'False')
        self.addCleanup(courier._couriers.pop, 'none', None)
        finish = patch.object(courier, 'finish_tasks')
        self.finish = finish.start()
        self.addCleanup(finish.stop)

    def test_one_thread(self):
        "Woken from many threads at once, one courier runs"
        done = threading.Event()

        def exchange(database):
            done.wait(5)
            raise SystemExit
        with patch.object(courier, 'exchange', exchange), \
                ThreadPoolExecutor(8) as executor:
            list(executor.map(lambda _: courier.wake('none'), range(40)))
            threads = [t for t in threading.enumerate()
                if t.name == 'courier-none']
            self.assertEqual(len(threads), 1)
            done.set()

    def test_exception(self):
        "A round that fails, as when the database is gone, is not the last"
        rounds = []
        done = threading.Event()

        def exchange(database):
            rounds.append(database)
            if len(rounds) > 1:
                done.set()
                raise SystemExit
            raise backend.DatabaseOperationalError("gone")
        finished = threading.Event()
        self.finish.side_effect = lambda _: finished.set()
        with patch.object(courier, 'exchange', exchange), \
                patch.object(courier, 'PAUSE', 0.01), \
                patch.object(courier, 'GRACE', 0), \
                self.assertLogs('cooperative_edi.courier', 'CRITICAL'):
            courier.wake('none')
            self.assertTrue(done.wait(5))
            self.assertTrue(finished.wait(5))
        self.finish.assert_called_once_with('none')

    def test_called(self):
        "What is missing for long does not keep what is due from being sent"
        asked = []

        class Message:
            @classmethod
            def to_prove(cls):
                return [(id_, 1, f'/{id_}') for id_ in range(4)]

            @classmethod
            def prove(cls, id_, data):
                pass

        def call(database, peer, method, path):
            asked.append(path)
            if path == '/1':
                called.event.set()
            time.sleep(courier.TURN)
            return client.Response(200, {}, b'')

        def transact(database, function, *args, readonly=False):
            return function(*args)
        called = courier.Courier('x')
        with patch.object(courier, 'Pool') as pool, \
                patch.object(courier, 'call', call), \
                patch.object(courier, 'transact', transact), \
                patch.dict(courier._couriers, x=called):
            pool.return_value.get.return_value = Message
            courier.fetch_records('x')
        self.assertEqual(asked, ['/0', '/1'])

    def test_steps(self):
        "A step that fails does not keep the others from being done"
        done = []

        def fetch(database):
            time.sleep(0.2)
            done.append(database)

        class Message:
            @classmethod
            def attend(cls, database):
                raise ValueError(database)

            @classmethod
            def watch(cls, database):
                done.append(database)
        with patch.object(courier, 'Pool') as pool, \
                patch.object(courier, 'import_received', done.append), \
                patch.object(courier, 'check_payloads', done.append), \
                patch.object(courier, 'send_due', done.append), \
                patch.object(
                    courier, 'fetch_mailboxes', lambda _: 0), \
                patch.object(courier, 'fetch_records', fetch), \
                patch.object(courier, 'settle_refusals', done.append), \
                patch.object(courier.logger, 'critical') as critical:
            pool.return_value.get.return_value = Message
            seconds = courier.exchange('x')
        self.assertEqual(done, ['x'] * 6)
        # It does not rest for the proofs
        self.assertLess(seconds, 0.2)
        critical.assert_called_once()
