# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What the trust party relays without reading it.

Three instances in one process: two members and their trust party.
"""
import contextlib
import datetime as dt
from decimal import Decimal
from pathlib import Path
from unittest.mock import patch

import trytond.config as config
from trytond import backend
from trytond.pool import Pool
from trytond.protocols.wrappers import Response
from trytond.transaction import Transaction
from trytond.wsgi import app
from werkzeug.test import Client

from cooperative_edi.tests.test_exchange import InstancesTestCase
from cooperative_edi.tests.tools import invoice
from trycoton.protocol import commission, envelope, evidence, seal, ubl
from trycoton.protocol.policy import Policy

from .tools import Community, party

COMMUNITY = '0225:542065479'
SECRET = 'ORDER-SECRET-1'
# Not a part of the text of a time, as 8.50 may be
PRICE = '4711.27'
# What would betray the document, its kind included
WORDS = [
    SECRET, 'SECRET', 'Miel', 'poacc', 'OrderResponse', 'BasicComponents',
    PRICE]

TABLES = {
    'sqlite': "SELECT name FROM sqlite_master WHERE type = 'table'",
    'postgresql':
    "SELECT tablename FROM pg_tables WHERE schemaname = 'public'",
    }


def order(buyer, seller, number=SECRET):
    return ubl.Order(
        number=number, date=dt.date(2026, 11, 22), currency='EUR',
        buyer=party(buyer), seller=party(seller),
        lines=(ubl.OrderLine(
                id='1', quantity=Decimal(2), unit='C62',
                price=Decimal(PRICE), amount=Decimal('9422.54'),
                item=ubl.Item(
                    name="Miel", seller_code='MIEL', vat_category='S',
                    vat_rate=Decimal('5.5'))),),
        untaxed=Decimal('9422.54'), tax=Decimal('518.24'),
        total=Decimal('9940.78'))


def response(buyer, seller, number=SECRET):
    return ubl.OrderResponse(
        number=f'R-{number}', date=dt.date(2026, 11, 22),
        code='AP', order_number=number, currency='EUR', buyer=party(buyer),
        seller=party(seller))


class RelayTestCase(InstancesTestCase):
    "Members that trade by a trust party"
    module = 'cooperative_trust'

    def setUp(self):
        super().setUp()
        self.clara = self.create('clara')
        self.clara.do(self.open_log)
        self.community = Community(COMMUNITY)
        self.meet(self.anne, self.bruno, self.clara)
        for instance in [self.anne, self.bruno]:
            instance.do(self.accept, instance)
        self.meet(self.anne, self.bruno, self.clara)
        for instance in [self.anne, self.bruno, self.clara]:
            instance.do(self.serve, instance)
        published = self.community.publish(
            Client(app, Response), 'clara', self.community.directory(
                *(i.do(self.participant) for i in [self.anne, self.bruno])))
        self.assertEqual(published.status_code, 200, published.data)
        for instance in [self.anne, self.bruno]:
            for kind in [
                    'order', 'order_response', 'invoice',
                    'invoice_response']:
                handler = patch.object(
                    instance.get('document'), f'receive_{kind}',
                    lambda message, document: message.relation, create=True)
                handler.start()
                self.addCleanup(handler.stop)

    def open_log(self):
        pool = Pool()
        Log = pool.get('cooperative.trust.log')
        Identity = pool.get('cooperative.edi.identity')
        identity = Identity.get()
        identity.kind = 'trust-party'
        identity.endpoint = 'http://clara/clara/cooperative'
        identity.save()
        log = Log(company=identity.company, origin='clara.example/log')
        log.save()
        Log.open([log])

    def accept(self, instance):
        peer = self.peer(instance, self.clara)
        peer.accepted = True
        peer.save()

    def participant(self):
        Identity = Pool().get('cooperative.edi.identity')
        return Identity.get().participant()

    def serve(self, instance):
        instance.get('peer').update_from(
            instance.company, self.community.participant(kind='community'))

    def propose(self, instance, other, sealed=True, community=False):
        def propose():
            Relation = instance.get('relation')
            relation = Relation(
                peer=self.peer(instance, other), sealed=sealed,
                trust_party=self.peer(instance, self.clara),
                community=(self.peer(instance, self.community)
                    if community else None))
            relation.save()
            Relation.propose([relation])
            return relation.id
        return instance.do(propose)

    def agree(self, **values):
        relation = self.propose(self.anne, self.bruno, **values)
        self.rest()
        for instance in [self.anne, self.bruno]:
            self.assertEqual(self.read(
                    instance, 'state', model='relation'), ['agreed'])
        return relation

    def rest(self):
        for _ in range(2):
            self.round(self.anne, self.clara, self.bruno, self.clara)

    def send(self, instance, document, answers=None):
        "Send the document, in answer to the one received of that number"
        def send():
            Message = instance.get('message')
            relation, = instance.get('relation').search([])
            answered = Message.search([
                    ('direction', '=', 'in'),
                    ('document_number', '=', answers),
                    ]) if answers else [None]
            return Message.send(relation, document, answers=answered[0]).id
        return instance.do(send)

    def holds(self, text):
        "Tell if the database of the trust party has the text anywhere"
        data = text.encode()
        if self.clara.do(_holds, data):
            return True
        # What the tables do not show any more
        return backend.name == 'sqlite' and any(
            data in p.read_bytes()
            for p in Path(config.get('database', 'path')).glob(
                'clara.sqlite*'))


def _holds(data):
    cursor = Transaction().connection.cursor()
    cursor.execute(TABLES[backend.name])
    for table, in cursor.fetchall():
        cursor.execute(f'SELECT * FROM "{table}"')
        for row in cursor:
            if any(data in (
                        cell if isinstance(cell, bytes)
                        else str(cell).encode()) for cell in row):
                return True


class SealedTestCase(RelayTestCase):
    "Test what is sealed for the recipient, relayed"

    def deal(self):
        "Have an order sent, and answered"
        buyer, seller = self.anne.identifier, self.bruno.identifier
        self.send(self.anne, order(buyer, seller))
        self.rest()
        self.send(self.bruno, response(buyer, seller), answers=SECRET)
        self.rest()
        self.hasten_proofs()
        self.rest()

    def hasten_proofs(self):
        for instance in [self.anne, self.bruno]:
            def hasten():
                Message = instance.get('message')
                Message.write(
                    Message.search([('proof_at', '!=', None)]),
                    {'proof_at': dt.datetime(2026, 1, 1)})
            instance.do(hasten)

    def test_relay(self):
        "Both sides read the order, and the trust party has nothing of it"
        self.agree()
        self.deal()
        for instance in [self.anne, self.bruno]:
            self.assertEqual(
                [self.read(
                        instance, 'document_number', 'encrypted', kind=kind)
                    for kind in ['order', 'order_response']],
                [[(SECRET, True)], [(f'R-{SECRET}', True)]])
            self.assertEqual(
                self.read(instance, 'state', kind='order_response'),
                ['sent' if instance is self.bruno else 'processed'])
        self.assertEqual(
            self.read(self.clara, 'kind', 'document_number', kind='sealed'),
            [('sealed', None)] * 4)
        for word in WORDS:
            with self.subTest(word):
                self.assertFalse(self.holds(word))
        data, = self.read(self.bruno, 'data', kind='order')
        self.assertTrue(self.holds(envelope.parse(bytes(data)).sealed))

    def test_in_clear(self):
        "The search of test_relay finds what is not sealed"
        self.agree(sealed=False)
        self.deal()
        for word in WORDS:
            with self.subTest(word):
                self.assertTrue(self.holds(word))

    def bill(self, number, total=True, confirm='AB', lie=False):
        """Have Bruno bill Anne, and Anne answer; return the UUID of the
        invoice"""
        seller, buyer = self.bruno.identifier, self.anne.identifier
        told = patch.object(
            self.bruno.get('relation'), 'tells_total', total)
        with told:
            id_ = self.send(self.bruno, invoice(seller, buyer, number))
            self.rest()
        uuid, = self.read(self.bruno, 'uuid', id=id_)
        if confirm:
            answer = ubl.InvoiceResponse(
                number=f'A-{number}', date=dt.date(2026, 11, 22),
                code=confirm, invoice_number=number, seller=party(seller),
                buyer=party(buyer))
            lies = patch.object(
                self.anne.get('message'), '_get_total',
                lambda *args: commission.Total(
                    'invoice', dt.date(2026, 11, 22), 'EUR', '1', '1'))
            with lies if lie else contextlib.nullcontext():
                self.send(self.anne, answer, answers=number)
            self.rest()
        return uuid

    def lines(self, after=0):
        "Return the lines of the statement for the commission"
        def lines():
            pool = Pool()
            Statement = pool.get('cooperative.trust.statement')
            identity = self.clara.get('identity').get()
            data, _ = Statement.make(
                identity, self.peer(self.clara, self.community), after)
            return commission.CommissionStatement.parse(data).lines
        return self.clara.do(lines)

    def test_commission(self):
        "A sealed invoice counts once both sides told the same total"
        self.agree(community=True)
        self.bill('F-SECRET-0', total=False)
        self.bill('F-SECRET-1', confirm=None)
        self.bill('F-SECRET-2', lie=True)
        self.assertEqual(self.lines(), ())
        first = self.bill('F-SECRET-3')
        line, = self.lines()
        self.assertEqual(
            (line.message, line.number, line.kind, line.untaxed, line.total,
                line.currency, line.seller, line.buyer),
            (first, first, 'invoice', '100.00', '120.00', 'EUR',
                self.bruno.identifier, self.anne.identifier))
        second = self.bill('F-SECRET-4')
        self.assertEqual(
            [l.message for l in self.lines(line.index + 1)], [second])
        self.assertFalse(self.holds('F-SECRET'))

    def test_total(self):
        "An invoice that tells another total, or none, is refused"
        self.agree(community=True)
        for told in [None, commission.Total(
                    'invoice', dt.date(2026, 11, 22), 'EUR', '1.00', '1.20')]:
            with self.subTest(told=told), patch.object(
                    self.bruno.get('message'), '_get_total',
                    lambda *args: told), patch.object(
                    self.anne.get('relation'), 'tells_total', True):
                number = f'F-{told and told.total}'
                self.bill(number, confirm=None)
                (state, rule), = self.read(
                    self.anne, 'state', 'rule', document_number=number)
                self.assertEqual((state, rule), ('refused', 'TCT-TOTAL'))
                self.assertEqual(self.read(
                        self.bruno, 'state', document_number=number),
                    ['refused'])

    def test_evidence(self):
        "The evidence shows to whoever has it what the log proves"
        self.agree()
        self.deal()
        descriptors = []
        for instance in [self.anne, self.bruno, self.clara]:
            data, jws = instance.do(
                lambda: instance.get('identity').get().descriptor())
            descriptors.append(
                evidence.SignedDescriptor(data=data, signature=jws))
        vkey, = self.read(self.anne, 'log_key', model='peer',
            identifier=self.clara.identifier)
        for instance in [self.anne, self.bruno]:
            Message = instance.get('message')
            with patch.object(Message, '_evidence_sources', classmethod(
                        lambda cls, company: (descriptors, []))):
                data = instance.do(lambda: Message.evidence(Message.search([
                                ('encrypted', '=', True)])))
            report = evidence.verify(data, Policy.of([vkey]))
            texts = [c.text for c in report.checks]
            self.assertEqual(
                [c.text for c in report.checks
                    if not c.ok and c.name not in evidence.TRUST], [])
            self.assertEqual(
                len([t for t in texts if "its sender signed for" in t]), 2)
            # Within one second, they come in the order of who sent them
            shown = {m.number: m for m in evidence.contents(data)}
            self.assertEqual(shown.keys(), {SECRET, f'R-{SECRET}'})
            line, = ubl.parse(shown[SECRET].payload).lines
            self.assertEqual(line.price, Decimal(PRICE))
            self.assertIn('delivery', {c.name for c in report.checks})

    def test_refused(self):
        "The trust party takes what was agreed, sealed or in clear"
        relation = self.agree()
        for sealed in [True, False]:
            def change(instance, sealed):
                Relation = instance.get('relation')
                Relation.write([Relation(relation)], {'sealed': sealed})

            def agree():
                Agreement = Pool().get('cooperative.trust.agreement')
                Agreement.write(
                    Agreement.search([]), {'sealed': not sealed})
            with self.subTest(sealed=sealed):
                self.anne.do(change, self.anne, sealed)
                self.clara.do(agree)
                id_ = self.send(self.anne, order(
                        self.anne.identifier, self.bruno.identifier))
                self.round(self.anne)
                (state, error), = self.read(
                    self.anne, 'state', 'error', id=id_)
                self.assertEqual(state, 'failed')
                self.assertIn("seal", error)

    def test_answer(self):
        "The trust party takes no answer for another agreement"
        def answer(body):
            statement = envelope.Statement(
                sender=self.bruno.identifier, receiver=self.anne.identifier,
                id='5cd2d2a0-67ab-4c1c-8fd9-4b3ab2eabc01', sequence=1,
                created=dt.datetime.now(dt.timezone.utc),
                kind='relation-answer', body=body)
            Agreement = Pool().get('cooperative.trust.agreement')
            agreement, = Agreement.search([])
            return Agreement._relation_answer(
                agreement, agreement.acceptor, agreement.proposer, statement
                ).state
        self.propose(self.anne, self.bruno)
        self.round(self.anne, self.clara)
        self.assertEqual(
            self.clara.do(answer, {'agreed': True, 'sealed': None}),
            'refused')

    def test_not_its_own(self):
        "The trust party cannot open what it relays, whatever it asks"
        self.agree()
        self.deal()

        def read():
            Message = self.clara.get('message')
            return [
                (m.document, m.content_key, m.rec_name)
                for m in Message.search([('kind', '=', 'sealed')])]
        for document, key, rec_name in self.clara.do(read):
            self.assertIsNone(document)
            self.assertIsNone(key)
            self.assertNotIn(SECRET, rec_name)
        with self.assertRaises(seal.UnknownKey):
            data, = self.read(self.bruno, 'data', kind='order')
            seal.unseal(envelope.parse(bytes(data)), {})
