# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
import uuid
from unittest.mock import patch

from sql import Table
from trytond.modules.company.tests import (
    CompanyTestMixin, create_company, set_company)
from trytond.pool import Pool
from trytond.tests.test_tryton import ModuleTestCase, with_transaction
from trytond.transaction import Transaction

from cooperative_edi.tests.inheritance import InheritanceTestMixin
from cooperative_edi.tests.views import ViewsTestMixin
from cooperative_trust.exceptions import (
    LogCheckError, LogForkError, LogKeyError, LogModifyError, LogOriginInvalid)
from trycoton.protocol import merkle, tile
from trycoton.protocol.checkpoint import Checkpoint as SignedCheckpoint
from trycoton.protocol.signature import STATEMENT

from .tools import (
    BUYER, COMMUNITY, SELLER, TRUST, Member, create_trust_party, set_key)


class CooperativeTrustTestCase(
        CompanyTestMixin, InheritanceTestMixin, ViewsTestMixin,
        ModuleTestCase):
    "Test Cooperative Trust module"
    module = 'cooperative_trust'

    def setUp(self):
        super().setUp()
        set_key()

    def create_leaves(self, log, count):
        "Return so many leaves that wait, of messages of two members"
        pool = Pool()
        Leaf = pool.get('cooperative.trust.log.leaf')
        Message = pool.get('cooperative.edi.message')
        Peer = pool.get('cooperative.edi.peer')
        seller = Member(SELLER)
        peer = Peer.update_from(log.company.id, seller.participant())
        sent = seller.statement(BUYER, 'relation-end', {'relation': 'x'})
        data = sent.to_bytes()
        values = {
            'company': log.company.id,
            'direction': 'in',
            'peer': peer.id,
            'sender': SELLER,
            'recipient': BUYER,
            'kind': 'relation-end',
            'created': '2026-11-22 10:00:00',
            'sequence': 1,
            'data': data,
            'digest': sent.digest,
            'signature': seller.sign(data, STATEMENT).popitem()[1],
            'state': 'processed',
            }
        messages = Message.create([
                {**values, 'uuid': str(uuid.uuid4())}
                for _ in range(count)])
        return Leaf.record_event('submission', messages)

    def lead(self, log, leaves=()):
        "Integrate what waits and return the leaves again"
        self.assertTrue(log.lead())
        return [leaf.__class__(leaf.id) for leaf in leaves]

    def damage(self, Model, record, **values):
        "Change the record behind the back of Tryton"
        table = Model.__table__()
        Transaction().connection.cursor().execute(*table.update(
                [getattr(table, n) for n in values], list(values.values()),
                where=table.id == record.id))

    @with_transaction()
    def test_open(self):
        "Test open the log"
        pool = Pool()
        Log = pool.get('cooperative.trust.log')
        Identity = pool.get('cooperative.edi.identity')
        log = create_trust_party()

        self.assertEqual(log.size, 0)
        self.assertEqual(log.root, merkle.EMPTY_ROOT.hex())
        self.assertEqual(log.fsck(), [])
        checkpoint, = log.checkpoints
        opened = SignedCheckpoint.open(
            checkpoint.note.encode(), [log.verifier])
        self.assertEqual(opened.origin, log.origin)
        self.assertEqual(
            Identity.get(log.company.id).participant().log, log.vkey)
        with self.assertRaises(LogKeyError):
            Log.open([log])
        with self.assertRaises(LogModifyError):
            Log.write([log], {'origin': "other"})

    @with_transaction()
    def test_origin(self):
        "Test invalid origin"
        pool = Pool()
        Log = pool.get('cooperative.trust.log')
        log, = Log.create([{
                    'company': create_company().id, 'origin': 'example.org'}])
        for origin in ["a b", "a+b"]:
            with self.subTest(origin=origin), \
                    self.assertRaises(LogOriginInvalid):
                Log.write([log], {'origin': origin})

    @with_transaction()
    def test_key_unreadable(self):
        "Test the key of the log is no field and is encrypted"
        pool = Pool()
        Log = pool.get('cooperative.trust.log')
        log = create_trust_party()
        secret = log.signer._signing_key.to_bytes()

        self.assertNotIn('sealed', Log._fields)
        with self.assertRaises(Exception):
            Log.read([log.id], ['sealed'])
        cursor = Transaction().connection.cursor()
        table = Table(Log._table)
        cursor.execute(*table.select(table.sealed))
        sealed, = cursor.fetchone()
        self.assertNotIn(secret.hex(), sealed)
        self.assertTrue(sealed.startswith('gAAAA'))

    @with_transaction()
    def test_append(self):
        "Test the proofs of what is appended in several batches"
        log = create_trust_party()
        with set_company(log.company):
            leaves = []
            for count in [1, 2, 5, 250, 300]:
                leaves += self.lead(log, self.create_leaves(log, count))
            self.assertEqual([l.index for l in leaves], list(range(558)))
            self.assertEqual(log.size, 558)
            self.assertEqual(
                log.root,
                merkle.root([bytes(l.hash) for l in leaves]).hex())
            self.assertEqual(
                [c.size for c in log.checkpoints], [558, 258, 8, 3, 1, 0])
            for index in [0, 1, 7, 8, 255, 256, 257, 258, 557]:
                with self.subTest(index=index):
                    leaf = leaves[index]
                    evidence, checkpoint = leaf.record.verify(
                        [log.verifier])
                    self.assertEqual(evidence.message, leaf.message.uuid)
                    self.assertGreater(checkpoint.size, index)
            Node = Pool().get('cooperative.trust.log.node')
            with patch.object(Node, 'groups', wraps=Node.groups) as groups:
                proofs = leaves[0].proofs([leaves[i] for i in [557, 3, 256]])
            groups.assert_called_once()
            for proof, index in zip(proofs, [557, 3, 256]):
                self.assertEqual(proof.index, index)
                proof.verify(bytes(leaves[index].entry), [log.verifier])
            self.assertEqual(log.fsck(), [])

    @with_transaction()
    def test_nodes_completed(self):
        "Test a log that stored the nodes of its tiles alone has all of them"
        pool = Pool()
        Leaf = pool.get('cooperative.trust.log.leaf')
        Node = pool.get('cooperative.trust.log.node')
        log = create_trust_party()
        with set_company(log.company):
            leaves = self.lead(log, self.create_leaves(log, 300))
        node = Node.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*node.delete(where=node.level != 8))
        cursor.execute(*node.update([node.level], [1]))
        self.assertTrue(log.fsck())
        Node.__register__('cooperative_trust')
        self.assertEqual(log.fsck(), [])
        Node.__register__('cooperative_trust')
        self.assertEqual(log.fsck(), [])
        for proof in Leaf.proofs(leaves):
            proof.verify(
                bytes(leaves[proof.index].entry), [log.verifier])

    @with_transaction()
    def test_consistency(self):
        "Test each checkpoint continues the one before"
        log = create_trust_party()
        with set_company(log.company):
            for count in [1, 3, 256, 5]:
                self.create_leaves(log, count)
                log.lead()
        checkpoints = [SignedCheckpoint.open(
                c.note.encode(), [log.verifier])
            for c in reversed(log.checkpoints)]
        for old, new in zip(checkpoints[1:], checkpoints[2:]):
            merkle.verify_consistency(
                old.size, new.size, old.root, new.root,
                log.prove(lambda node: merkle.consistency_proof(
                        node, old.size, new.size)))

    @with_transaction()
    def test_pair_chain(self):
        "Test each evidence names the one before of the same two"
        log = create_trust_party()
        with set_company(log.company):
            leaves = self.lead(log, self.create_leaves(log, 2))
            leaves += self.lead(log, self.create_leaves(log, 2))
        self.assertEqual(
            [l.previous for l in leaves],
            [None] + [l.digest for l in leaves[:-1]])

    @with_transaction()
    def test_commitment(self):
        "Test the same evidence never gives the same entry"
        log = create_trust_party()
        with set_company(log.company):
            leaves = self.lead(log, self.create_leaves(log, 20))
        self.assertEqual(len({bytes(l.nonce) for l in leaves}), 20)
        self.assertEqual({len(l.entry) for l in leaves}, {33})

    @with_transaction()
    def test_append_only(self):
        "Test nothing of the log can be changed or deleted"
        log = create_trust_party()
        with set_company(log.company):
            leaf, = self.lead(log, self.create_leaves(log, 1))
        for record in [leaf, log.checkpoints[0], log]:
            with self.subTest(record=record):
                with self.assertRaises(LogModifyError):
                    record.__class__.delete([record])
        with self.assertRaises(LogModifyError):
            leaf.__class__.write([leaf], {'entry': b'x'})
        with self.assertRaises(LogModifyError):
            log.checkpoints[0].__class__.write(
                [log.checkpoints[0]], {'root': 'x'})

    @with_transaction()
    def test_head_moved(self):
        "Test a leader that has an old head appends nothing"
        log = create_trust_party()
        head = log.head
        frontier = head.frontier
        frontier.append(b'1' * 32)
        head.move(frontier)
        with self.assertRaises(LogForkError):
            head.move(frontier)

    @with_transaction()
    def test_fsck(self):
        "Test whatever is damaged is found"
        pool = Pool()
        Checkpoint = pool.get('cooperative.trust.log.checkpoint')
        Head = pool.get('cooperative.trust.log.head')
        Leaf = pool.get('cooperative.trust.log.leaf')
        Log = pool.get('cooperative.trust.log')
        Message = pool.get('cooperative.edi.message')
        Node = pool.get('cooperative.trust.log.node')
        log = create_trust_party()
        with set_company(log.company):
            leaves = self.lead(log, self.create_leaves(log, 257))
        Log.check([log])
        self.assertEqual(log.checked_size, 257)
        leaf = leaves[100]
        node, = Node.search([('log', '=', log.id), ('level', '=', 8)])
        checkpoint = log.checkpoints[0]
        for Model, record, name, value in [
                (Leaf, leaf, 'hash', b'\0' * 32),
                (Leaf, leaf, 'entry', b'\1' + b'\0' * 32),
                (Leaf, leaf, 'nonce', b'\0' * 32),
                (Leaf, leaf, 'evidence', b'{}'),
                (Leaf, leaf, 'previous', '0' * 64),
                (Leaf, leaf, 'index', 1000),
                (Message, leaf.message, 'data', b'other'),
                (Message, leaf.message, 'signature', 'a..' + 'b' * 86),
                (Node, node, 'hash', b'\0' * 32),
                (Checkpoint, checkpoint, 'note', "other\n"),
                (Checkpoint, checkpoint, 'root', '0' * 64),
                (Checkpoint, checkpoint, 'size', 256),
                (Head, log.head, 'root', '0' * 64),
                (Head, log.head, 'hashes', b'\0' * 64),
                ]:
            with self.subTest(model=Model.__name__, name=name):
                before = getattr(record, name)
                self.damage(Model, record, **{name: value})
                Transaction().cache.clear()
                Transaction().counter += 1
                damaged = Log(log.id)
                self.assertTrue(damaged.fsck())
                with self.assertRaises(LogCheckError):
                    Log.check([damaged])
                self.damage(Model, record, **{name: before})
        self.assertEqual(Log(log.id).fsck(), [])

    @with_transaction()
    def test_tiles(self):
        "Test the tiles are those that rebuild the tree"
        pool = Pool()
        Leaf = pool.get('cooperative.trust.log.leaf')
        Node = pool.get('cooperative.trust.log.node')
        log = create_trust_party()
        with set_company(log.company):
            self.create_leaves(log, 600)
            log.lead()
        read = {}
        for wanted in tile.tiles(600):
            if wanted.level is None:
                data = tile.pack_entries(Leaf.column(
                        'entry', log, wanted.start, wanted.width))
            else:
                data = b''.join(Node.hashes(
                        log, 8 * wanted.level, wanted.start, wanted.width))
            read[wanted.level, wanted.index] = wanted.check(data)
        self.assertEqual(
            [merkle.leaf_hash(e) for i in range(3) for e in read[None, i]],
            [h for i in range(3) for h in read[0, i]])
        self.assertEqual(
            read[1, 0],
            [merkle.root(read[0, i]) for i in range(2)])

    @with_transaction()
    def test_members(self):
        "Test who is in the directory of the community served"
        pool = Pool()
        Directory = pool.get('cooperative.trust.directory')
        Member_ = pool.get('cooperative.trust.member')
        Peer = pool.get('cooperative.edi.peer')
        log = create_trust_party()
        company = log.company.id
        with set_company(log.company):
            community = Peer.get(company, COMMUNITY)
            seller, buyer = Member(SELLER), Member(BUYER)
            first = Member(TRUST).participant(kind='trust-party')
            directories = self.directories(
                [seller.participant(), buyer.participant(), first],
                [seller.participant(state='suspended'),
                    buyer.participant()],
                [buyer.participant()])
            previous = None
            for directory, state in zip(
                    directories, ['active', 'suspended', 'removed']):
                Directory._keep(
                    community, directory, directory.to_bytes(), "signed")
                Member_.synchronise(community, directory, previous)
                previous = directory
                peer = Peer.get(company, SELLER)
                with self.subTest(state=state):
                    self.assertEqual(peer.state, state)
                    self.assertEqual(
                        bool(Member_.active(peer)), state == 'active')
                    self.assertEqual(
                        Member_.active(Peer.get(company, BUYER)),
                        {community})
            self.assertIsNone(Peer.get(company, TRUST))

    def directories(self, *versions):
        from .tools import Community
        community = Community(COMMUNITY)
        return [community.directory(*v) for v in versions]


del ModuleTestCase
