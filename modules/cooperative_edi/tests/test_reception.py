# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What an instance answers to what it receives, good or bad"""
import datetime as dt
import json
import time
import uuid
from unittest.mock import patch

from trytond.pool import Pool
from trytond.tests.test_tryton import RouteTestCase
from trytond.transaction import Transaction

from cooperative_edi import courier, refusal
from cooperative_edi.transaction import hold, transact
from trycoton.protocol import canonical, envelope, signature, ubl
from trycoton.protocol.directory import PublishedKey
from trycoton.protocol.envelope import Envelope
from trycoton.protocol.receipt import Receipt, Refusal

from .tools import (
    THIRD, US, Other, configure, create_identity, create_relation, now)

HEADER = signature.SIGNATURE_HEADER


class ReceptionTestCase(RouteTestCase):
    "Test reception of messages"
    module = 'cooperative_edi'

    @classmethod
    def setUpDatabase(cls):
        configure()
        identity = create_identity()
        cls.company = identity.company.id
        cls.keys = identity.public_keys()
        cls.other = Other()
        relation = create_relation(identity, cls.other)
        cls.peer, cls.relation = relation.peer.id, relation.uuid
        Transaction().commit()

    def setUp(self):
        super().setUp()
        # Each test refuses so often that not all would be written at once
        refusal._tallies.clear()

    def post(self, data, jws):
        return self.client().post(
            f'/{self.db_name}/cooperative/edi/messages', data=data,
            headers={HEADER: jws})

    def send(self, message, other=None, typ=None):
        data = message.to_bytes()
        return self.post(data, signature.sign(
                data, typ or message.typ, (other or self.other).key))

    def test_hold(self):
        "Test what is held is read again, and the transaction goes on"
        Peer = Pool(self.db_name).get('cooperative.edi.peer')
        with Transaction().start(self.db_name, 0) as transaction:
            peer = Peer(self.peer)
            table = Peer.__table__()
            before = peer.name
            transaction.connection.cursor().execute(*table.update(
                    [table.name], ["Changed"], where=table.id == self.peer))
            self.assertEqual(peer.name, before)
            # No TransactionError, which would start it again
            self.assertEqual(hold(peer).name, "Changed")
            transaction.rollback()

    def ask(self, function, *args):
        return transact(self.db_name, function, *args)

    def count(self, model, domain=()):
        Model = Pool(self.db_name).get(model)
        return self.ask(lambda: Model.search(list(domain), count=True))

    def refused(self, problem):
        Refusal = Pool(self.db_name).get('cooperative.edi.refusal')
        return self.ask(lambda: sum(
                r.count for r in Refusal.search([('problem', '=', problem)])))

    def assertProblem(self, call, status, name, retry=False):
        messages = self.count('cooperative.edi.message')
        refused = self.refused(name)
        # Other processes are none of our time
        start = time.thread_time()
        response = call()
        elapsed = time.thread_time() - start
        self.assertEqual(
            (response.status_code, response.content_type),
            (status, 'application/problem+json'), response.data)
        body = json.loads(response.data)
        self.assertTrue(body['type'].endswith(f'/{name}'), body)
        self.assertEqual(body['status'], status)
        self.assertEqual('Retry-After' in response.headers, retry)
        self.assertLess(elapsed, 1)
        self.assertEqual(self.count('cooperative.edi.message'), messages)
        self.assertEqual(self.refused(name), refused + 1)
        return response

    def assertDeclined(self, message, *response, data=None):
        "Check that the problem holds what we signed of our refusal"
        body = json.loads(self.assertProblem(*response).data)
        data = data or message.to_bytes()
        refusal = Refusal.open(
            body['refusal'].encode(), body['signature'], self.keys)
        self.assertEqual(
            (refusal.message, refusal.digest, refusal.receiver,
                refusal.problem),
            (message.id, canonical.digest(data), US,
                body['type'].rpartition('/')[2]))
        return refusal

    def test_declined(self):
        "What is refused for good, and really from its sender, is signed"
        unknown = self.other.statement('tractor-loan', {})
        refusal = self.assertDeclined(
            unknown, lambda: self.send(unknown), 422, 'malformed')
        self.assertIn("tractor-loan", refusal.text)
        routed = self.other.invoice(self.relation, via=THIRD)
        self.assertDeclined(
            routed, lambda: self.send(routed), 403, 'other-route')
        first = self.other.invoice(self.relation)
        self.assertEqual(self.send(first).status_code, 201)
        second = self.other.invoice(self.relation, id=first.id)
        self.assertDeclined(
            second, lambda: self.send(second), 409, 'conflict')

    def test_not_declined(self):
        "What may pass, or is not by its sender, is refused unsigned"
        Peer = Pool(self.db_name).get('cooperative.edi.peer')
        third = Other(THIRD)
        self.ask(lambda: Peer.update_from(
                self.company, third.participant()))
        good = self.other.invoice(self.relation)
        elsewhere = self.other.invoice(self.relation, receiver=THIRD)
        for call, status, name, retry in [
                # A peer has us refuse what another one wrote
                (lambda: self.send(good, third), 403, 'not-sender', False),
                (lambda: self.send(elsewhere), 404, 'not-addressed', False),
                (lambda: self.send(good, typ=signature.STATEMENT),
                    401, 'signature', False),
                (lambda: self.send(self.other.invoice(str(uuid.uuid4()))),
                    403, 'no-relation', True)]:
            with self.subTest(name=name):
                response = self.assertProblem(call, status, name, retry)
                self.assertNotIn('refusal', json.loads(response.data))
        self.assertEqual(self.send(good).status_code, 201)

    def test_stored(self):
        "A good message is answered by a receipt, each time the same"
        message = self.other.invoice(self.relation)
        response = self.send(message)
        self.assertEqual(response.status_code, 201, response.data)
        answer = canonical.load(response.data)
        receipt = Receipt.parse(answer['receipt'].encode())
        signature.verify(
            receipt.to_bytes(), answer['signature'], signature.RECEIPT,
            self.keys)
        self.assertEqual(
            (receipt.message, receipt.digest, receipt.receiver,
                receipt.status),
            (message.id, message.digest, US, 'stored'))

        again = self.send(message)
        self.assertEqual(again.status_code, 200)
        self.assertEqual(again.data, response.data)
        self.assertEqual(self.count(
                'cooperative.edi.message', [('uuid', '=', message.id)]), 1)

    def test_bytes(self):
        "The bytes are kept as they came"
        message = self.other.statement()
        self.assertEqual(self.send(message).status_code, 201)

        def read():
            stored, = Pool().get('cooperative.edi.message').search([
                    ('uuid', '=', message.id)])
            return bytes(stored.data), stored.state, stored.relation
        self.assertEqual(
            self.ask(read), (message.to_bytes(), 'received', None))

    def test_conflict(self):
        "Another message of the same identifier is kept as evidence"
        Refusal = Pool(self.db_name).get('cooperative.edi.refusal')
        message = self.other.statement()
        self.send(message)
        other = self.other.statement(id=message.id)
        for _ in range(2):
            self.assertProblem(lambda: self.send(other), 409, 'conflict')

        def read():
            refusal, = Refusal.search([('message.uuid', '=', message.id)])
            return (bytes(refusal.data), refusal.digest, refusal.signature,
                refusal.count, refusal.peer.id)
        data, digest, jws, count, peer = self.ask(read)
        self.assertEqual(
            (data, digest, count, peer),
            (other.to_bytes(), other.digest, 2, self.peer))
        signature.verify(
            data, jws, other.typ,
            {self.other.key.kid: self.other.key.public})

    def test_signature(self):
        message = self.other.statement()
        data = message.to_bytes()
        jws = signature.sign(data, message.typ, self.other.key)
        header, _, value = jws.split('.')
        surrogate = signature.b64url(json.dumps({
                    'alg': 'Ed25519', 'kid': '\ud800', 'typ': message.typ,
                    }).encode())
        for title, call in {
                'none': lambda: self.post(data, ''),
                'malformed': lambda: self.post(data, 'a.b.c'),
                'of other bytes': lambda: self.post(data + b' ', jws),
                'flipped': lambda: self.post(
                    data, f'{header}..{"A" * len(value)}'),
                'receipt': lambda: self.send(
                    message, typ=signature.RECEIPT),
                'token': lambda: self.send(message, typ=signature.TOKEN),
                'application': lambda: self.send(
                    message, typ=signature.APPLICATION),
                'envelope': lambda: self.send(
                    message, typ=signature.ENVELOPE),
                'key id': lambda: self.post(data, f'{surrogate}..{value}'),
                }.items():
            with self.subTest(title):
                self.assertProblem(call, 401, 'signature')

    def test_unknown_key(self):
        other = Other()
        self.assertProblem(
            lambda: self.send(other.statement(), other), 401, 'unknown-key',
            retry=True)

    def test_revoked_key(self):
        Peer = Pool(self.db_name).get('cooperative.edi.peer')
        for values in [{'revoked': now()}, {
                    'valid_to': now() - dt.timedelta(seconds=1)}]:
            other = Other(THIRD)
            participant = other.participant()
            key = PublishedKey(
                key=other.key.public,
                valid_from=now() - dt.timedelta(days=1), **values)
            object.__setattr__(participant, 'keys', (key,))
            self.ask(Peer.update_from, self.company, participant)
            self.assertProblem(
                lambda: self.send(other.statement(), other), 401,
                'unknown-key', retry=True)

    def test_not_addressed(self):
        message = self.other.statement(receiver='0225:552100554')
        self.assertProblem(
            lambda: self.send(message), 404, 'not-addressed')

    def test_not_sender(self):
        message = self.other.statement(sender='0225:552100554')
        self.assertProblem(lambda: self.send(message), 403, 'not-sender')

    def test_suspended(self):
        Peer = Pool(self.db_name).get('cooperative.edi.peer')
        other = Other('0225:732829320_8')
        participant = other.participant(state='suspended')
        self.ask(Peer.update_from, self.company, participant)
        self.assertProblem(
            lambda: self.send(other.statement(), other), 403, 'suspended')

    def test_inactive_updated(self):
        "A peer that was deactivated may not send, but is still updated"
        Peer = Pool(self.db_name).get('cooperative.edi.peer')
        other = Other('0225:732829320_10')
        participant = other.participant()

        def update():
            peer = Peer.update_from(self.company, participant)
            Peer.write([peer], {'active': False})
            return Peer.update_from(self.company, participant) == peer
        self.assertTrue(self.ask(update))
        self.assertProblem(
            lambda: self.send(other.statement(), other), 401, 'unknown-key',
            retry=True)

    def test_no_relation(self):
        for relation in [None, str(uuid.uuid4())]:
            message = self.other.invoice(relation)
            self.assertProblem(
                lambda: self.send(message), 403, 'no-relation', retry=True)

    def test_relation_of_another(self):
        Peer = Pool(self.db_name).get('cooperative.edi.peer')
        other = Other('0225:732829320_7')
        self.ask(Peer.update_from, self.company, other.participant())
        message = other.invoice(self.relation)
        self.assertProblem(
            lambda: self.send(message, other), 403, 'no-relation',
            retry=True)

    def test_other_route(self):
        message = self.other.invoice(self.relation, via=THIRD)
        self.assertProblem(lambda: self.send(message), 403, 'other-route')

    def test_too_large(self):
        data = b'<' * (5 * 1024 * 1024 + 1)
        jws = signature.sign(data, signature.ENVELOPE, self.other.key)
        self.assertProblem(lambda: self.post(data, jws), 413, 'too-large')

    def test_malformed(self):
        good = self.other.invoice(self.relation).to_bytes()
        statement = self.other.statement().to_bytes()
        bomb = (b'<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa">'
            b'<!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;">'
            b'<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;">]><a>&c;</a>')
        for title, data in {
                'empty': b'',
                'text': b'hello',
                'not well-formed': good[:-10],
                'doctype': b'<!DOCTYPE a SYSTEM "http://127.0.0.1:9/">'
                + good[good.index(b'<sh:'):],
                'bomb': bomb,
                'deep': b'<a>' * 50000 + b'</a>' * 50000,
                'customization': good.replace(
                    b'urn:cen.eu:en16931', b'urn:cen.eu:en16932'),
                'float': statement.replace(
                    b'"sequence":', b'"sequence":1.5,"x":'),
                'duplicate key': statement.replace(
                    b'{"body":', b'{"body":{},"body":'),
                'deep json': b'[' * 100000,
                'deep object': b'{"a":' * 100000,
                'not canonical': statement + b'\n',
                'not UTF-8': b'\xff' + statement,
                }.items():
            jws = signature.sign(data, signature.ENVELOPE, self.other.key)
            with self.subTest(title):
                self.assertProblem(
                    lambda: self.post(data, jws), 422, 'malformed')

    def test_large_malformed(self):
        size = 5 * 1024 * 1024
        for start, piece in [
                (b'', b'<a/>'), (b'<a>', b'<a/>'), (b'{"a":[', b'1,')]:
            data = start + piece * ((size - len(start)) // len(piece))
            jws = signature.sign(data, signature.ENVELOPE, self.other.key)
            with self.subTest(piece):
                self.assertProblem(
                    lambda: self.post(data, jws), 422, 'malformed')

    def test_statement_kinds(self):
        "No statement passes for a document, which needs a relation"
        for kind in ['invoice', 'order', 'application', 'unknown-kind']:
            message = self.other.statement(kind, {})
            with self.subTest(kind):
                if message.typ == signature.APPLICATION:
                    self.assertProblem(
                        lambda: self.send(message), 401, 'signature')
                else:
                    self.assertProblem(
                        lambda: self.send(message), 422, 'malformed')

    def test_other_sender_in_document(self):
        "A document that its sender did not write is stored, then refused"
        pool = Pool(self.db_name)
        Document = pool.get('cooperative.edi.document')
        Message = pool.get('cooperative.edi.message')
        message = self.other.invoice(self.relation, seller=THIRD)

        def receive(message, document):
            Document.check_document(
                message, document, document.seller, document.buyer)
        with patch.object(
                Document, 'receive_invoice', receive, create=True):
            self.assertEqual(self.send(message).status_code, 201)
            courier.import_received(self.db_name)

        def read():
            stored, = Message.search([('uuid', '=', message.id)])
            answer, = Message.search([('answers', '=', stored.id)])
            return stored.state, answer.kind, b'>BV<' in bytes(answer.data)
        self.assertEqual(
            self.ask(read), ('refused', 'message_level_response', True))

    def test_unreadable_document(self):
        """A document of a known type that cannot be read is stored, then
        refused with the place of its fault, and breaks nothing else"""
        pool = Pool(self.db_name)
        Message = pool.get('cooperative.edi.message')
        date = b'<cbc:IssueDate>2026-11-22</cbc:IssueDate>'
        good = self.other.invoice(self.relation)
        payload = good.payload.replace(date, date.replace(b'11', b'13'))
        self.assertNotEqual(payload, good.payload)
        message = Envelope(payload=payload, **self.other.header(
                relation=self.relation))
        response = self.send(message)
        self.assertEqual(response.status_code, 201, response.data)
        courier.import_received(self.db_name)
        self.assertEqual(self.send(message).data, response.data)

        def read():
            stored, = Message.search([('uuid', '=', message.id)])
            answer, = Message.search([('answers', '=', stored.id)])
            self.assertEqual(
                (stored.kind, stored.document_number), ('invoice', 'F1'))
            self.assertIn('IssueDate', stored.error)
            self.assertIsNone(stored.document)
            self.assertEqual(stored.document_references, set())
            self.assertEqual(stored.answer_in_words, '')
            return stored.state, stored.rule, ubl.parse(
                envelope.parse(bytes(answer.data)).payload)
        state, rule, answer = self.ask(read)
        self.assertEqual((state, rule), ('refused', 'TCT-SYNTAX'))
        self.assertEqual(
            (answer.document, answer.code, answer.lines[0].code),
            (message.id, 'RE', 'SV'))

    def test_revoked_elsewhere(self):
        "What another process writes of a key counts at the next message"
        Key = Pool(self.db_name).get('cooperative.edi.peer.key')
        Peer = Pool(self.db_name).get('cooperative.edi.peer')
        Relation = Pool(self.db_name).get('cooperative.edi.relation')
        other = Other('0225:732829320_11')

        def meet():
            peer = Peer.update_from(self.company, other.participant())
            relation, = Relation.create([{
                        'company': self.company, 'peer': peer.id,
                        'state': 'agreed'}])
            return peer.id, relation.id, relation.uuid
        peer, relation, uuid = self.ask(meet)

        def write(Model, column, value, where):
            # As no cache of this process can know
            table = Model.__table__()
            self.ask(lambda: Transaction().connection.cursor().execute(
                    *table.update([getattr(table, column)], [value],
                        where=where(table))))

        def post():
            return self.send(other.invoice(uuid), other)
        self.assertEqual(post().status_code, 201)
        for Model, column, bad, good, where, status, name, retry in [
                (Relation, 'state', 'ended', 'agreed',
                    lambda t: t.id == relation, 403, 'no-relation', True),
                (Peer, 'state', 'suspended', 'active',
                    lambda t: t.id == peer, 403, 'suspended', False),
                (Peer, 'active', False, True,
                    lambda t: t.id == peer, 401, 'unknown-key', True),
                (Key, 'valid_to', now(), None,
                    lambda t: t.peer == peer, 401, 'unknown-key', True),
                (Key, 'revoked', now(), None,
                    lambda t: t.peer == peer, 401, 'unknown-key', True),
                ]:
            with self.subTest(Model.__name__, column=column):
                if bad and not isinstance(bad, str):
                    bad = bad.replace(tzinfo=None)
                write(Model, column, bad, where)
                self.assertProblem(post, status, name, retry=retry)
                write(Model, column, good, where)
                self.assertEqual(post().status_code, 201)

    def test_replaced_signing_key(self):
        "A receipt is signed by the key that signs now"
        Identity = Pool(self.db_name).get('cooperative.edi.identity')

        def signer():
            response = self.send(self.other.statement())
            return signature.kid_of(
                canonical.load(response.data)['signature'],
                signature.RECEIPT)

        def replace():
            identity = Identity.get(self.company)
            identity.roll_over()
            return Identity(identity.id).signing_key.kid
        before = signer()
        self.assertIn(before, self.keys)
        after = self.ask(replace)
        self.assertNotEqual(after, before)
        self.assertEqual(signer(), after)
        type(self).keys = self.ask(
            lambda: Identity.get(self.company).public_keys())

    def test_internal_error(self):
        "An error of our own tells nothing and lets the sender try again"
        Message = Pool(self.db_name).get('cooperative.edi.message')
        message = self.other.statement()
        with patch.object(
                Message, '_store', side_effect=ValueError("secret")), \
                self.assertLogs('cooperative_edi.http', 'CRITICAL'):
            response = self.send(message)
        self.assertEqual(response.status_code, 500)
        self.assertNotIn(b'secret', response.data)
        self.assertEqual(self.send(message).status_code, 201)

    def test_key_missing(self):
        "Without the key of the configuration, the sender tries again"
        message = self.other.statement()
        with patch('cooperative_edi.keystore.config.get', return_value=None), \
                self.assertLogs('cooperative_edi.http', 'ERROR'):
            response = self.send(message)
        self.assertEqual(response.status_code, 503)
        self.assertIn('Retry-After', response.headers)

    def test_in_sequence(self):
        "What was skipped or changed on the way is seen"
        Peer = Pool(self.db_name).get('cooperative.edi.peer')
        other = Other('0225:732829320_5')
        self.ask(Peer.update_from, self.company, other.participant())
        messages = [other.statement() for _ in range(4)]
        for index in [0, 1, 3, 2]:
            self.send(messages[index], other)

        def read():
            return [m.in_sequence for m in Pool().get(
                    'cooperative.edi.message').search(
                    [('sender', '=', other.identifier)],
                    order=[('sequence', 'ASC')])]
        self.assertEqual(self.ask(read), [True, True, False, False])

    def test_refusals_bounded(self):
        "A flood is counted in one row"
        before = self.count('cooperative.edi.refusal')
        for _ in range(20):
            other = Other()
            self.send(other.statement(), other)
        self.assertLessEqual(
            self.count('cooperative.edi.refusal'), before + 1)

    def test_descriptor(self):
        response = self.client().get(
            f'/{self.db_name}/cooperative/edi/descriptor')
        self.assertEqual(response.status_code, 200)
        signature.verify(
            response.data, response.headers[HEADER], signature.DESCRIPTOR,
            self.keys)

    def test_token(self):
        path = f'/{self.db_name}/cooperative/edi/mailbox'
        good = self.other.authorization('GET', path)
        response = self.client().get(path, headers=good)
        self.assertEqual(response.status_code, 200, response.data)
        self.assertIn('messages', canonical.load(response.data))
        minute = dt.timedelta(seconds=61)
        for title, headers in {
                'none': {},
                'basic': {'Authorization': 'Basic YTpi'},
                'malformed': {'Authorization': 'Bearer a.b'},
                'replayed': good,
                'expired': self.other.authorization(
                    'GET', path, now=now() - minute),
                'of tomorrow': self.other.authorization(
                    'GET', path, now=now() + minute),
                'other path': self.other.authorization('GET', path + '/x'),
                'other method': self.other.authorization('POST', path),
                'other audience': self.other.authorization(
                    'GET', path, audience=THIRD),
                'unknown issuer': Other(THIRD).authorization('GET', path),
                'other key': Other().authorization('GET', path),
                }.items():
            with self.subTest(title):
                self.assertProblem(
                    lambda: self.client().get(path, headers=headers),
                    401, 'token')


del RouteTestCase
