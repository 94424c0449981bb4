# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"What is recorded becomes witnessed, and nothing else does"
import datetime as dt
from dataclasses import replace
from unittest.mock import patch

from trytond.pool import Pool
from trytond.tests.test_tryton import RouteTestCase
from trytond.transaction import Transaction

from cooperative_edi import courier
from cooperative_edi.identity import now
from cooperative_edi.peer import naive
from cooperative_edi.transaction import transact
from trycoton.protocol import canonical, entry
from trycoton.protocol.checkpoint import Checkpoint
from trycoton.protocol.note import Cosigner, Note, NoteSigner, Verifier
from trycoton.protocol.policy import Policy
from trycoton.protocol.signature import SigningKey
from trycoton.protocol.tests.test_evidence import Log

from .tools import Other, configure, create_identity, create_relation

TRUST = '0225:521783415'


class WitnessedTestCase(RouteTestCase):
    "Test witnessed records"
    module = 'cooperative_edi'

    @classmethod
    def setUpDatabase(cls):
        pool = Pool()
        Peer = pool.get('cooperative.edi.peer')
        configure()
        identity = create_identity()
        cls.company = identity.company.id
        cls.log = Log(NoteSigner('log.example', SigningKey.generate()))
        trust_party = Other(TRUST)
        peer = Peer.update_from(cls.company, trust_party.participant(
                kind='trust-party', endpoint='https://trust.example/c',
                log=cls.log.signer.vkey))
        peer.accepted = True
        peer.save()
        cls.trust_party = peer.id
        cls.other = Other()
        cls.peer = create_relation(identity, cls.other).peer.id
        Transaction().commit()

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.witnesses = [
            Cosigner(f'w{i}.example/witness', SigningKey.generate())
            for i in range(3)]

    def setUp(self):
        super().setUp()
        Message = Pool(self.db_name).get('cooperative.edi.message')
        self.policies = [self.policy(2)]
        patcher = patch.object(
            Message, 'witness_policies', lambda message: self.policies)
        patcher.start()
        self.addCleanup(patcher.stop)
        self.log.witnesses = []

    def policy(self, quorum):
        return Policy(
            (Verifier.from_vkey(self.log.signer.vkey),),
            {w.name: Verifier.from_vkey(w.vkey) for w in self.witnesses},
            {'all': (quorum, tuple(w.name for w in self.witnesses))}, 'all')

    def ask(self, function, *args):
        return transact(self.db_name, function, *args)

    def message(self):
        "Return the id of a message that passed the trust party"
        Message = Pool(self.db_name).get('cooperative.edi.message')
        self.said = said = self.other.statement(via=TRUST)
        self.jws = self.other.sign(
            said.to_bytes(), said.typ).popitem()[1]

        def create():
            message = Message(
                company=self.company, direction='in', peer=self.peer,
                trust_party=self.trust_party, sender=said.sender,
                recipient=said.receiver, kind='relation-end', uuid=said.id,
                created=naive(said.created), sequence=said.sequence,
                data=said.to_bytes(), digest=said.digest,
                signature=self.jws, state='processed',
                proof_at=naive(now()))
            message.save()
            return message.id
        return self.ask(create)

    def record(self, *witnesses):
        self.log.witnesses = witnesses
        return self.log.record(self.said, 'submission', now(), self.jws)

    def again(self, record, *witnesses):
        "Return the record under the last checkpoint, as they signed it"
        self.log.witnesses = witnesses
        return replace(record, proof=self.log.prove(
                record.inclusion.index, self.log.frontier.size))

    def keep(self, id_, record):
        Message = Pool(self.db_name).get('cooperative.edi.message')
        self.ask(Message.prove, id_, canonical.dump({
                    'submission': record.to_json(), 'delivery': None}))

    def read(self, id_):
        Message = Pool(self.db_name).get('cooperative.edi.message')
        names = [
            'submission_record', 'submission_proof', 'delivery_proof',
            'proof_at', 'error']

        def read():
            message = Message(id_)
            return {n: getattr(message, n) for n in names}
        return self.ask(read)

    def test_witnessed(self):
        "Test the record of the quorum takes the place of that of the log"
        id_ = self.message()
        record = self.record()
        self.keep(id_, record)
        found = self.read(id_)
        self.assertEqual(found['submission_proof'], "Recorded")
        self.assertIsNone(found['delivery_proof'])
        self.assertEqual(found['submission_record'], record.to_bytes())
        wait = found['proof_at'] - naive(now())
        self.assertTrue(
            dt.timedelta(seconds=10) <= wait <= dt.timedelta(seconds=60))

        strong = self.again(record, *self.witnesses[:2])
        self.keep(id_, strong)
        found = self.read(id_)
        self.assertEqual(
            found['submission_proof'], "Witnessed by 2 of 3")
        self.assertEqual(found['submission_record'], strong.to_bytes())
        self.assertIsNone(found['error'])
        # It stays, whatever comes
        self.keep(id_, record)
        self.assertEqual(
            self.read(id_)['submission_record'], strong.to_bytes())

    def test_not_known_yet(self):
        "Test who knows no witness keeps what the log alone signed"
        id_ = self.message()
        self.policies = []
        strong = self.record(*self.witnesses)
        self.keep(id_, strong)
        found = self.read(id_)
        self.assertEqual(found['submission_proof'], "Recorded")
        self.assertIsNone(found['error'])
        record = entry.Record.parse(found['submission_record'])
        self.assertEqual(
            [s.name for s in Note.parse(
                    record.inclusion.checkpoint).signatures],
            ['log.example'])

        self.policies = [self.policy(2)]
        self.keep(id_, strong)
        self.assertEqual(
            self.read(id_)['submission_proof'], "Witnessed by 3 of 3")

    def test_less(self):
        "Test less than the quorum is not called witnessed"
        id_ = self.message()
        record = self.record()
        self.keep(id_, record)
        again = Cosigner('w9.example', self.witnesses[0]._signing_key)
        stranger = Cosigner('w8.example', SigningKey.generate())
        for witnesses in [
                [], self.witnesses[:1], [stranger], [
                    self.witnesses[0], again, stranger]]:
            with self.subTest(witnesses=witnesses):
                self.keep(id_, self.again(record, *witnesses))
                found = self.read(id_)
                self.assertEqual(found['submission_proof'], "Recorded")
                self.assertIsNotNone(found['proof_at'])

    def test_at_once(self):
        "Test a record that comes witnessed is, by those known alone"
        id_ = self.message()
        stranger = Cosigner('w8.example', SigningKey.generate())
        self.keep(id_, self.record(*self.witnesses, stranger))
        found = self.read(id_)
        self.assertEqual(
            found['submission_proof'], "Witnessed by 3 of 3")
        record = entry.Record.parse(found['submission_record'])
        self.assertEqual(
            [s.name for s in Note.parse(
                    record.inclusion.checkpoint).signatures],
            ['log.example', *[w.name for w in self.witnesses]])
        Peer = Pool(self.db_name).get('cooperative.edi.peer')

        def keep():
            peer = Peer(self.trust_party)
            peer.advance_checkpoint(None, peer.known_checkpoint)
            peer.advance_checkpoint(
                record.inclusion.checkpoint, peer.known_checkpoint)
            return bytes(peer.checkpoint)
        note = Note.parse(self.ask(keep))
        self.assertEqual(
            [s.name for s in note.signatures], ['log.example'])
        self.assertEqual(
            Checkpoint.parse(note.text).size, self.log.frontier.size)

    def test_nobody(self):
        "Test nothing is waited for where nobody is elected"
        self.policies = []
        id_ = self.message()
        self.keep(id_, self.record())
        found = self.read(id_)
        self.assertEqual(found['submission_proof'], "Recorded")
        self.assertGreater(
            found['proof_at'], naive(now()) + dt.timedelta(seconds=30))

    def test_false(self):
        "Test a false line is refused, with the reason"
        id_ = self.message()
        record = self.record()
        self.keep(id_, record)
        thief = Cosigner(self.witnesses[0].name, SigningKey.generate())

        class False_:
            def sign(_, text, time):
                return replace(
                    thief.sign(text, time), id=self.witnesses[0].id)
        self.keep(id_, self.again(record, False_(), *self.witnesses[1:]))
        found = self.read(id_)
        self.assertEqual(found['submission_record'], record.to_bytes())
        self.assertIn("does not match", found['error'])

    def test_false_at_once(self):
        "Test a record that comes with a false line is kept without it"
        id_ = self.message()
        thief = Cosigner(self.witnesses[0].name, SigningKey.generate())

        class False_:
            def sign(_, text, time):
                return replace(
                    thief.sign(text, time), id=self.witnesses[0].id)
        self.keep(id_, self.record(False_(), *self.witnesses[1:]))
        found = self.read(id_)
        self.assertEqual(found['submission_proof'], "Recorded")
        record = entry.Record.parse(found['submission_record'])
        self.assertEqual(
            [s.name for s in Note.parse(
                    record.inclusion.checkpoint).signatures],
            ['log.example'])

    def test_refused(self):
        "Test what the log did not sign is refused as ever"
        Message = Pool(self.db_name).get('cooperative.edi.message')
        id_ = self.message()
        record = self.record(*self.witnesses)
        other = replace(record, nonce=b'0' * 32)
        with patch.object(Message, '_refuse_record') as refuse:
            self.keep(id_, other)
        self.assertEqual(refuse.call_count, 1)
        self.assertIsNone(self.read(id_)['submission_record'])

    def test_other_record(self):
        "Test another record of the same event is not taken, and shown"
        id_ = self.message()
        record = self.record()
        self.keep(id_, record)
        other = self.record(*self.witnesses)
        self.assertNotEqual(other.inclusion.index, record.inclusion.index)
        self.keep(id_, other)
        found = self.read(id_)
        self.assertEqual(found['submission_record'], record.to_bytes())
        self.assertEqual(found['submission_proof'], "Recorded")
        self.assertIn("another record", found['error'])

    def test_event(self):
        "Test the record of any event of the message becomes witnessed"
        Event = Pool(self.db_name).get('cooperative.edi.message.event')
        Message = Pool(self.db_name).get('cooperative.edi.message')
        id_ = self.message()
        self.keep(id_, self.record(*self.witnesses))
        self.log.witnesses = []
        record = self.log.record(
            self.said, entry.CONSIGNMENT, now(), None)

        def keep(record):
            self.ask(Message.prove, id_, canonical.dump({
                        entry.CONSIGNMENT: record.to_json()}))

            def read():
                event, = Event.search([('message', '=', id_)])
                return event.witnesses, bytes(event.record)
            return self.ask(read)
        self.assertEqual(keep(record), (None, record.to_bytes()))
        self.assertIsNotNone(self.read(id_)['proof_at'])
        strong = self.again(record, *self.witnesses)
        self.assertEqual(keep(strong), ('3/3', strong.to_bytes()))

    def test_courier(self):
        "Test the courier fetches the stronger record"
        id_ = self.message()
        record = self.record()
        self.keep(id_, record)
        strong = self.again(record, *self.witnesses)
        Message = Pool(self.db_name).get('cooperative.edi.message')
        self.ask(lambda: Message.write(Message.search([
                        ('proof_at', '!=', None)]), {'proof_at': None}))
        self.ask(lambda: Message.write(
                [Message(id_)], {'proof_at': dt.datetime(2026, 1, 1)}))
        asked = []

        def call(database, peer, method, path):
            asked.append(path)
            return courier.client.Response(200, {}, canonical.dump({
                        'submission': strong.to_json(), 'delivery': None}))
        with patch.object(courier, 'call', call):
            courier.fetch_records(self.db_name)
        self.assertEqual(asked, [f'/trust/records/{self.said.id}'])
        self.assertEqual(
            self.read(id_)['submission_proof'], "Witnessed by 3 of 3")


del RouteTestCase
