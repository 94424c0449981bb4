# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What the recipient alone reads"""
import dataclasses
import datetime as dt
from unittest.mock import patch

from trytond.transaction import Transaction

from cooperative_edi import keystore
from cooperative_edi.exceptions import (
    KeyMissingError, SealKeyMissingError, SealRelationError)
from trycoton.protocol import canonical, envelope, evidence, seal, signature
from trycoton.protocol.signature import EncryptionKey

from .test_exchange import InstancesTestCase
from .tools import invoice, now


class SealingTestCase(InstancesTestCase):
    "Test sealed relations"

    def setUp(self):
        super().setUp()
        self.handle(lambda message, document: message.relation)

    def propose(self, instance, other, **values):
        values.setdefault('sealed', True)

        def propose():
            Relation = instance.get('relation')
            relation = Relation(peer=self.peer(instance, other), **values)
            relation.save()
            Relation.propose([relation])
            return relation.id
        return instance.do(propose)

    def messages(self, instance, *names, kind='invoice', **where):
        return self.read(instance, *names, kind=kind, **where)

    def kids(self, instance):
        return [k.kid for k in instance.get('identity').get().keys
            if k.purpose == 'encryption']

    def clear(self, instance, id_):
        "Return the document of the message as its owner reads it"
        return instance.do(
            lambda: instance.get('message')(id_).content.number)

    def rest(self):
        self.round(self.anne, self.bruno, self.anne, self.bruno)

    def test_agree(self):
        "Both sides agree to seal, by name"
        self.agree()
        for instance in [self.anne, self.bruno]:
            self.assertEqual(self.read(
                    instance, 'state', 'sealed', model='relation'),
                [('agreed', True)])
        for instance, kind in [
                (self.anne, 'relation-proposal'),
                (self.bruno, 'relation-answer')]:
            data, = self.messages(
                instance, 'data', kind=kind, direction='out')
            self.assertEqual(
                envelope.parse(bytes(data)).body['sealed'],
                instance.do(self.kids, instance)[-1])

    def test_other_answer(self):
        "Who answers for another relation than the sealed one refuses it"
        relation = self.propose(self.anne, self.bruno)

        def answer():
            Relation = self.anne.get('relation')
            Message = self.anne.get('message')
            Document = self.anne.get('document')
            message = Message(
                company=self.anne.company, kind='relation-answer',
                peer=self.peer(self.anne, self.bruno))
            return Document.receive_relation_answer(message, {
                    'relation': Relation(relation).uuid, 'agreed': True,
                    'reason': None, 'sealed': None}).state
        self.assertEqual(self.anne.do(answer), 'refused')

    def test_exchange(self):
        "The document arrives, and what travels tells nothing of it"
        relation = self.agree()
        sent = self.send(relation, 'F-SECRET-1')
        self.rest()
        (kind, number, data, encrypted), = self.messages(
            self.bruno, 'kind', 'document_number', 'data', 'encrypted',
            direction='in', state='processed')
        self.assertEqual(
            (kind, number, encrypted), ('invoice', 'F-SECRET-1', True))
        for word in [b'SECRET', b'Invoice', b'Miel', b'billing']:
            self.assertNotIn(word, bytes(data))
        received, = self.messages(self.bruno, 'id')
        self.assertEqual(self.clear(self.bruno, received), 'F-SECRET-1')
        self.assertEqual(self.clear(self.anne, sent), 'F-SECRET-1')
        content, = self.messages(self.anne, 'clear')
        self.assertIn(b'F-SECRET-1', bytes(content))

        def size():
            with Transaction().set_context(
                    **{'cooperative.edi.message.clear': 'size'}):
                return self.anne.get('message')(sent).clear
        self.assertEqual(self.anne.do(size), len(content))
        self.assertEqual(
            self.messages(self.anne, 'state', 'digest'),
            [('sent', canonical.digest(bytes(data)))])

    def test_key_at_rest(self):
        "The key of the content is kept encrypted"
        relation = self.agree()
        sent = self.send(relation)
        self.rest()

        def column(instance, id_):
            Message = instance.get('message')
            table = Message.__table__()
            cursor = Transaction().connection.cursor()
            cursor.execute(*table.select(
                    table.sealed, where=table.id == id_))
            (token,), key = cursor.fetchone(), Message(id_).content_key
            return token, key
        received, = self.messages(self.bruno, 'id')
        token, key = self.anne.do(column, self.anne, sent)
        other, same = self.bruno.do(column, self.bruno, received)
        self.assertEqual(key, same)
        self.assertEqual(len(key), seal.KEY_SIZE)
        for text in [token, other]:
            self.assertNotIn(key.hex(), text)
            self.assertNotIn(canonical.encode(key), text)
        self.assertNotEqual(token, other)

    def test_no_key(self):
        "Nothing is agreed with who publishes no key to seal for"
        def forget(instance, other):
            Key = instance.get('peer.key')
            Key.delete(Key.search([
                        ('peer', '=', self.peer(instance, other).id),
                        ('purpose', '=', 'encryption'),
                        ]))
        self.anne.do(forget, self.anne, self.bruno)
        with self.assertRaises(SealKeyMissingError):
            self.propose(self.anne, self.bruno)
        self.propose(self.bruno, self.anne)
        self.rest()
        (state, error), = self.messages(
            self.anne, 'state', 'error', kind='relation-proposal')
        self.assertEqual(state, 'held')
        self.assertIn("Update its directory", error)
        self.meet(self.anne, self.bruno)

        def retry():
            Message = self.anne.get('message')
            Message.retry(Message.search([('state', '=', 'held')]))
        self.anne.do(retry)
        self.rest()
        self.assertEqual(
            self.read(self.bruno, 'state', model='relation'), ['agreed'])

    def test_named_key(self):
        "Who publishes the directory cannot have us seal for its own key"
        relation = self.agree()

        def publish():
            Identity = self.bruno.get('identity')
            return Identity.get().participant()

        def update(**values):
            entry = dataclasses.replace(participant, **values)
            self.anne.get('peer').update_from(self.anne.company, entry)
        participant = self.bruno.do(publish)
        signing, = [k for k in participant.keys if k.key.use == 'sig']
        own, = [k for k in participant.keys if k.key.use == 'enc']
        false = dataclasses.replace(
            own, key=EncryptionKey.generate().public)
        for keys in [(signing, own, false), (signing, false)]:
            with self.subTest(count=len(keys)):
                self.anne.do(lambda: update(keys=keys))
                id_ = self.send(relation, f'F-{len(keys)}')
                data, = self.read(self.anne, 'data', id=id_)
                self.assertEqual(
                    seal.kid_of(envelope.parse(bytes(data))), own.key.kid)
        self.anne.do(lambda: update(keys=(
                    signing, dataclasses.replace(own, revoked=now()),
                    false)))
        with self.assertRaises(SealKeyMissingError):
            self.send(relation)

    def test_revoked_key(self):
        "Nothing is sealed for a key that is revoked or has ended"
        relation = self.agree()

        def spoil(**values):
            Key = self.anne.get('peer.key')
            Key.write(Key.search([('purpose', '=', 'encryption')]), values)
        past = dt.datetime(2026, 1, 1)
        for name in ['revoked', 'valid_to']:
            with self.subTest(name):
                self.anne.do(lambda: spoil(**{name: past}))
                with self.assertRaises(SealKeyMissingError):
                    self.send(relation)
                self.anne.do(lambda: spoil(**{name: None}))
        self.send(relation)

    def test_community(self):
        "A community reads what it is sent"
        def community():
            peer = self.peer(self.anne, self.bruno)
            peer.kind = 'community'
            peer.save()
        self.anne.do(community)
        with self.assertRaises(SealRelationError):
            self.propose(self.anne, self.bruno)

    def test_in_clear(self):
        "A document in clear is refused when sealing is agreed, and so on"
        for sealed in [True, False]:
            with self.subTest(sealed=sealed):
                self.setUp()
                relation = self.propose(
                    self.anne, self.bruno, sealed=sealed)
                self.rest()

                def forget():
                    Relation = self.anne.get('relation')
                    Relation.write(
                        [Relation(relation)], {'sealed': not sealed})
                self.anne.do(forget)
                self.send(relation)
                self.rest()
                (state, error), = self.messages(
                    self.anne, 'state', 'error', direction='out')
                self.assertEqual(state, 'failed')
                self.assertIn('403', error)
                self.assertEqual(self.messages(self.bruno, 'id'), [])

    def lose(self, instance, other):
        "Have the instance seal for a key that the other does not have"
        def lose():
            Key = instance.get('peer.key')
            key, = Key.search([
                    ('peer', '=', self.peer(instance, other).id),
                    ('purpose', '=', 'encryption'),
                    ])
            public = EncryptionKey.generate().public
            key.kid, key.public = public.kid, signature.b64url(public.data)
            key.save()
        instance.do(lose)

    def test_wrong_key(self):
        "What does not open is kept, and refused to its sender"
        relation = self.agree()
        self.lose(self.anne, self.bruno)
        self.send(relation, 'F-SECRET-1')
        self.rest()
        (state, error, data, answer), = self.messages(
            self.bruno, 'state', 'error', 'data', 'receipt', kind='sealed')
        self.assertEqual(state, 'refused')
        self.assertIn("sealed for the key", error)
        self.assertTrue(data)
        self.assertTrue(answer)
        (state, error), = self.messages(self.anne, 'state', 'error')
        self.assertEqual(state, 'refused')
        self.assertIn("sealed for the key", error)

    def test_no_ping_pong(self):
        "Two that cannot read each other do not answer for ever"
        relation = self.agree()
        self.lose(self.anne, self.bruno)
        self.lose(self.bruno, self.anne)
        self.send(relation)
        for _ in range(4):
            self.rest()
        self.assertEqual(
            [len(self.read(i, 'id', direction='out'))
                for i in [self.anne, self.bruno]], [2, 2])
        self.assertEqual(
            self.messages(self.anne, 'state', kind='sealed'), ['held'])

    def test_key_of_configuration(self):
        "What cannot be opened for the time being is imported later"
        relation = self.agree()
        self.send(relation)
        with patch.object(
                self.bruno.get('identity.key'), 'decryption_keys',
                side_effect=KeyMissingError("No key")):
            self.round(self.anne, self.bruno)
            self.assertEqual(
                self.messages(self.bruno, 'state', kind='sealed'),
                ['failed'])

        def retry():
            Message = self.bruno.get('message')
            Message.retry(Message.search([('kind', '=', 'sealed')]))
        self.bruno.do(retry)
        self.rest()
        self.assertEqual(
            self.messages(self.bruno, 'state', 'document_number'),
            [('processed', 'F1')])

    def test_roll_over(self):
        "What was sealed for the key before is read, then the new one serves"
        relation = self.agree()
        self.down.add('bruno')
        self.send(relation, 'F1')
        self.round(self.anne)
        self.down.clear()

        def renew():
            self.bruno.get('identity').get().roll_over()

        self.bruno.do(renew)
        old, new = self.bruno.do(self.kids, self.bruno)
        self.hasten(self.anne)
        self.rest()
        self.send(relation, 'F2')
        self.rest()
        self.assertEqual(
            self.messages(self.bruno, 'document_number', 'state'),
            [('F1', 'processed'), ('F2', 'processed')])
        self.assertEqual([
                seal.kid_of(envelope.parse(bytes(d)))
                for d in self.messages(self.anne, 'data')], [old, new])

    def test_recovery(self):
        "After a loss nothing is sealed for the key that was revoked"
        relation = self.agree()
        self.send(relation, 'F1')

        def recover():
            Identity = self.bruno.get('identity')
            identity = Identity.get()
            secret = signature.SigningKey.generate()
            with patch.object(
                    Identity, '_recovery_secret', lambda *a: secret):
                identity.recover('')
            return [k.revoked for k in Identity.get().keys
                if k.purpose == 'encryption']
        old, new = self.bruno.do(recover)
        self.assertTrue(old)
        self.assertIsNone(new)
        self.rest()
        self.assertEqual(
            self.messages(self.bruno, 'document_number', 'state'),
            [('F1', 'processed')])

    def test_evidence(self):
        "Who has the evidence file reads the document and verifies it"
        relation = self.agree()
        self.send(relation, 'F-SECRET-1')
        self.rest()

        def descriptor(instance):
            return instance.get('identity').get().descriptor()
        descriptors = [
            evidence.SignedDescriptor(data=data, signature=jws)
            for data, jws in (
                i.do(descriptor, i) for i in [self.anne, self.bruno])]
        for instance in [self.anne, self.bruno]:
            Message = instance.get('message')
            with patch.object(Message, '_evidence_sources', classmethod(
                        lambda cls, company: (descriptors, []))):
                data = instance.do(lambda: Message.evidence(
                        Message.search([('kind', '=', 'invoice')])))
            report = evidence.verify(data)
            self.assertEqual(report.status, evidence.UNESTABLISHED)
            self.assertIn("it says Invoice F-SECRET-1", '\n'.join(
                    c.text for c in report.checks))
            message, = evidence.contents(data)
            self.assertIn(b'F-SECRET-1', message.payload)

    def test_deal(self):
        "The documents of a deal are found by what they say"
        relation = self.agree()
        first, other = (self.send(relation, n) for n in ['F1', 'F2'])
        again = self.send(relation, 'F1')

        def deal():
            Message = self.anne.get('message')
            Message.write(
                Message.search([('state', '=', 'waiting')]),
                {'state': 'sent'})
            return [m.id for m in Message.deal([Message(first)])]
        self.assertEqual(self.anne.do(deal), [first, again])

    def test_reroute(self):
        "What did not arrive is sealed again for the relation that follows"
        relation = self.agree()
        self.down.add('bruno')
        self.send(relation, 'F1')
        self.round(self.anne)
        former = self.anne.do(lambda: self.anne.get('relation')(relation))
        self.propose(self.anne, self.bruno, replaces=former)
        self.down.clear()
        self.hasten(self.anne)
        for _ in range(3):
            self.rest()
            self.hasten(self.anne)
        self.assertEqual(self.messages(
                self.bruno, 'document_number', 'state', 'encrypted')[-1],
            ('F1', 'processed', True))

    def test_in_clear_again(self):
        "Nobody but a person agrees to go on in clear"
        relation = self.agree()
        former = self.anne.do(lambda: self.anne.get('relation')(relation))
        self.propose(
            self.anne, self.bruno, replaces=former, sealed=False)
        self.rest()
        self.assertEqual(self.read(
                self.bruno, 'state', 'sealed', model='relation'),
            [('agreed', True), ('proposed', False)])

    def test_twice(self):
        "The same by two routes takes effect once, whatever its bytes"
        imported = []
        self.handle(lambda message, document: imported.append(document))
        relation = self.agree()
        first = self.send(relation, 'F1')

        def again():
            Message = self.anne.get('message')
            message = Message(first)
            return Message._send(
                message.peer, envelope.Envelope, 'invoice', None, None,
                relation=message.relation, number='F1',
                payload=message.parsed.payload, replaces=message.uuid).id
        second = self.anne.do(again)
        self.rest()
        one, other = self.read(self.anne, 'data', kind='invoice')
        self.assertNotEqual(
            envelope.parse(bytes(one)).sealed,
            envelope.parse(bytes(other)).sealed)
        self.assertNotEqual(first, second)
        self.assertEqual(
            self.messages(self.bruno, 'state'), ['processed', 'processed'])
        self.assertEqual(len(imported), 1)

    def test_replayed(self):
        "What was sealed for one message is no use to another sender"
        relation = self.agree()
        sent = self.send(relation, 'F1')
        data, = self.read(self.anne, 'data', id=sent)
        stolen = envelope.parse(bytes(data))

        def replay():
            Message = self.bruno.get('message')
            Relation = self.bruno.get('relation')
            relation, = Relation.search([])
            with patch.object(seal, 'seal', lambda message, *a, **k: (
                        seal._carry(
                            message, stolen.sealed, stolen.commitment, None),
                        b'\x00' * 32)):
                return Message.send(relation, invoice(
                        self.bruno.identifier, self.anne.identifier, 'F9')).id
        self.bruno.do(replay)
        self.rest()
        (state, error), = self.messages(
            self.anne, 'state', 'error', kind='sealed', direction='in')
        self.assertEqual(state, 'refused')
        self.assertIn("sealed for another message", error)

    def test_read_notice(self):
        "That a person reads a document is sealed as well"
        relation = self.agree()
        self.send(relation)
        self.rest()

        def read():
            Message = self.bruno.get('message')
            identity = self.bruno.get('identity').get()
            identity.tell_opened = True
            identity.save()
            Message.tell_opened(Message.search([('kind', '=', 'invoice')]))
        self.bruno.do(read)
        self.rest()
        (state, data), = self.messages(
            self.anne, 'state', 'data', kind='document-read')
        self.assertEqual(state, 'processed')
        self.assertNotIn(b'document-read', bytes(data))
        opened, = self.messages(self.anne, 'opened')
        self.assertTrue(opened)

    def test_report(self):
        "A report may show the document, and still not sign"
        relation = self.agree()
        sent = self.send(relation, 'F1')
        with patch.object(keystore, '_rendering', lambda: True):
            self.assertEqual(self.clear(self.anne, sent), 'F1')
