# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Whatever is changed in the database is named"""
import os
import unittest
import uuid

from sql import Table
from trytond.modules.company.tests import set_company
from trytond.pool import Pool
from trytond.tests.test_tryton import activate_module, with_transaction
from trytond.transaction import Transaction

from trycoton.protocol import merkle, signature
from trycoton.protocol.receipt import Receipt

from .tools import BUYER, SELLER, Member, create_trust_party, now, set_key

SIZE = 258
# The one looked at, the second one of its pair
INDEX = 4
LEAF, NODE = f"The entry {INDEX} is", "The node 0 of level 8"
HEAD, CHECKPOINT = "The head of size", f"The checkpoint of size {SIZE}"
COUNT, RELAYED = "The log stores", "The message"


class FsckTestCase(unittest.TestCase):
    "Test the log is recomputed from the bytes"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        activate_module('cooperative_trust')

    def setUp(self):
        super().setUp()
        set_key()

    def create_messages(self, log, count):
        "Return messages that are received, sent on and handed over"
        pool = Pool()
        Message = pool.get('cooperative.edi.message')
        Peer = pool.get('cooperative.edi.peer')
        seller, buyer = Member(SELLER), Member(BUYER)
        company = log.company.id
        peers = [
            Peer.update_from(company, m.participant())
            for m in [seller, buyer]]
        values = []
        for _ in range(count):
            sent = seller.statement(BUYER, 'relation-end', {'relation': 'x'})
            seller.sequences[BUYER] = sent.sequence, sent.digest
            data = sent.to_bytes()
            receipt = Receipt(
                message=sent.id, digest=sent.digest, receiver=BUYER,
                time=now()).to_bytes()
            values.append({
                    'company': company, 'sender': SELLER,
                    'recipient': BUYER, 'kind': 'relation-end',
                    'uuid': sent.id, 'created': '2026-11-22 10:00:00',
                    'sequence': sent.sequence, 'data': data,
                    'digest': sent.digest, 'receipt': receipt,
                    'receipt_signature': signature.sign(
                        receipt, signature.RECEIPT, buyer.key),
                    'signature': seller.sign(
                        data, signature.STATEMENT).popitem()[1],
                    })
        received = Message.create([{
                    **v, 'direction': 'in', 'peer': peers[0].id,
                    'state': 'processed'} for v in values])
        sent = Message.create([{
                    **v, 'direction': 'out', 'peer': peers[1].id,
                    'state': 'sent', 'relays': m.id}
                for v, m in zip(values, received)])
        return received, sent

    def create_log(self):
        "Return a log, and a message of it as received and as sent on"
        pool = Pool()
        Leaf = pool.get('cooperative.trust.log.leaf')
        log = create_trust_party()
        with set_company(log.company):
            received, sent = self.create_messages(log, 5)
            for one, other in zip(received, sent):
                Leaf.record_event('submission', [one])
                Leaf.record_event('delivery', [other])
            self.assertTrue(log.lead())
            self.fill(log)
        log = log.__class__(log.id)
        self.assertEqual(log.size, SIZE)
        return log, received, sent

    def fill(self, log):
        "Have it end with entries of which only the commitment is there"
        pool = Pool()
        Checkpoint = pool.get('cooperative.trust.log.checkpoint')
        Leaf = pool.get('cooperative.trust.log.leaf')
        Node = pool.get('cooperative.trust.log.node')
        head = log.__class__(log.id).head
        frontier, nodes = head.frontier, []
        entries = [b'\1' + os.urandom(32) for _ in range(SIZE - head.size)]
        Leaf.put_back(log, head.size, entries)
        for entry in entries:
            nodes += frontier.append(merkle.leaf_hash(entry))
        Node.add(log, nodes)
        head.move(frontier)
        Checkpoint.sign(log, frontier)

    def change(self, table, id_, name, value):
        "Change the value behind the back of Tryton and return the old one"
        table = Table(table)
        cursor = Transaction().connection.cursor()
        cursor.execute(*table.select(
                getattr(table, name), where=table.id == id_))
        before, = cursor.fetchone()
        cursor.execute(*table.update(
                [getattr(table, name)], [value], where=table.id == id_))
        self.assertNotEqual(before, value, msg=name)
        return before

    def faults(self, log):
        for cache in Transaction().cache.values():
            cache.clear()
        Transaction().counter += 1
        return log.__class__(log.id).fsck()

    @with_transaction()
    def test_columns(self):
        "Test each column that proves something"
        pool = Pool()
        Leaf = pool.get('cooperative.trust.log.leaf')
        Node = pool.get('cooperative.trust.log.node')
        log, received, sent = self.create_log()
        self.assertEqual(self.faults(log), [])
        leaf, = Leaf.search([('index', '=', INDEX)])
        delivery, = Leaf.search([('index', '=', INDEX + 1)])
        self.assertEqual(leaf.event, 'submission')
        node, = Node.search([('level', '=', 8)])
        head = log.head
        checkpoint = log.checkpoints[0]
        message, other = leaf.message, delivery.message
        leaves, messages, nodes, heads, checkpoints = [
            pool.get(name)._table for name in [
                'cooperative.trust.log.leaf', 'cooperative.edi.message',
                'cooperative.trust.log.node', 'cooperative.trust.log.head',
                'cooperative.trust.log.checkpoint']]
        blank, digest = bytes(32), '0' * 64
        jws = received[0].signature
        note = checkpoint.note
        for table, id_, name, value, fault in [
                (leaves, leaf.id, 'hash', blank, LEAF),
                (leaves, leaf.id, 'entry', b'\1' + blank, LEAF),
                (leaves, leaf.id, 'index', 10 ** 6, LEAF),
                (leaves, leaf.id, 'index', None, LEAF),
                (leaves, leaf.id, 'event', 'restored', LEAF),
                (leaves, leaf.id, 'event', 'directory', LEAF),
                (leaves, leaf.id, 'time', '2026-01-01 00:00:00', LEAF),
                (leaves, leaf.id, 'message', None, LEAF),
                (leaves, leaf.id, 'sender', BUYER, LEAF),
                (leaves, leaf.id, 'recipient', SELLER, LEAF),
                (leaves, leaf.id, 'previous', digest, LEAF),
                (leaves, leaf.id, 'evidence', b'{}', LEAF),
                (leaves, leaf.id, 'evidence', None, LEAF),
                (leaves, leaf.id, 'digest', digest, LEAF),
                (leaves, leaf.id, 'nonce', blank, LEAF),
                (leaves, leaf.id, 'nonce', None, LEAF),
                (messages, message.id, 'data', b'other', LEAF),
                (messages, message.id, 'digest', digest, LEAF),
                (messages, message.id, 'signature', jws, LEAF),
                (messages, message.id, 'uuid', str(uuid.uuid4()), LEAF),
                (messages, message.id, 'sender', BUYER, LEAF),
                (messages, message.id, 'recipient', SELLER, LEAF),
                (messages, message.id, 'sequence', 999, LEAF),
                (messages, other.id, 'receipt', b'{}', "The entry 5 is"),
                (messages, other.id, 'receipt_signature', jws,
                    "The entry 5 is"),
                (messages, other.id, 'receipt', None, "The entry 5 is"),
                (messages, other.id, 'receipt', b'\xff', "The entry 5 is"),
                (leaves, leaf.id, 'closing', True, LEAF),
                (leaves, delivery.id, 'closing', None, "The entry 5 is"),
                (messages, other.id, 'data', b'other', RELAYED),
                (messages, other.id, 'signature', jws, RELAYED),
                (messages, other.id, 'signature', None, RELAYED),
                (nodes, node.id, 'hash', blank, NODE),
                (nodes, node.id, 'number', 1, NODE),
                (nodes, node.id, 'level', 2, NODE),
                (heads, head.id, 'root', digest, HEAD),
                (heads, head.id, 'hashes', blank * 2, HEAD),
                (heads, head.id, 'size', SIZE + 1, HEAD),
                (checkpoints, checkpoint.id, 'note', note.replace(
                        '\n\n', '\n\n\n'), CHECKPOINT),
                (checkpoints, checkpoint.id, 'note', flip(note), CHECKPOINT),
                (checkpoints, checkpoint.id, 'root', digest, CHECKPOINT),
                (checkpoints, checkpoint.id, 'size', SIZE - 1,
                    f"The checkpoint of size {SIZE - 1}"),
                (checkpoints, checkpoint.id, 'size', SIZE + 1,
                    f"The checkpoint of size {SIZE + 1}"),
                (log._table, log.id, 'origin', "other", "The private key"),
                (log._table, log.id, 'sealed', "other", "The private key"),
                ]:
            with self.subTest(table=table, name=name, value=value):
                before = self.change(table, id_, name, value)
                found = self.faults(log)
                self.assertTrue(
                    [f for f in found if f.startswith(fault)], msg=found)
                self.change(table, id_, name, before)
        self.assertEqual(self.faults(log), [])

    @with_transaction()
    def test_beside(self):
        "Test what is there and should not"
        pool = Pool()
        Node = pool.get('cooperative.trust.log.node')
        Leaf = pool.get('cooperative.trust.log.leaf')
        log, _, _ = self.create_log()
        Node.create([{
                    'log': log.id, 'level': 8, 'number': 77,
                    'hash': bytes(32)}])
        self.assertIn(COUNT, self.faults(log)[0])
        Leaf.put_back(log, 10 ** 7, [b'\1' + bytes(32)])
        self.assertEqual(
            len([f for f in self.faults(log) if f.startswith(COUNT)]), 2)

    @with_transaction()
    def test_erased(self):
        "Test what is erased is not damaged"
        pool = Pool()
        Leaf = pool.get('cooperative.trust.log.leaf')
        log, _, _ = self.create_log()
        leaf, = Leaf.search([('index', '=', INDEX)])
        for name in ['nonce', 'evidence']:
            self.change(Leaf._table, leaf.id, name, None)
        self.change(
            leaf.message._table, leaf.message.id, 'erased',
            '2026-11-22 10:00:00')
        self.assertEqual(self.faults(log), [])


def flip(note):
    "Return the note with one bit changed in its signature"
    position = len(note) - 20
    other = 'A' if note[position] != 'A' else 'B'
    return note[:position] + other + note[position + 1:]
