# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Messages that arrive at the same time are received together"""
import contextlib
import unittest
from unittest.mock import patch

from trytond import backend
from trytond.pool import Pool
from trytond.tests.test_tryton import RouteTestCase
from trytond.transaction import Transaction

from cooperative_edi import reception
from cooperative_edi.http import Problem
from cooperative_edi.transaction import transact
from trycoton.protocol import signature

from .tools import BUYER, SELLER, Member, TrustTestCase, record_of


class TogetherTestCase(TrustTestCase, RouteTestCase):
    "Test what arrives while another thread receives"

    def setUp(self):
        super().setUp()
        self.relation = self.agree()

    def write(self, member=None, receiver=BUYER, **values):
        "Return the message of the member with its bytes and signature"
        member = member or self.seller
        message = member.invoice(receiver, self.relation, **values)
        member.sequences[receiver] = message.sequence, message.digest
        data = message.to_bytes()
        return message, data, member.sign(
            data, message.typ)[signature.SIGNATURE_HEADER]

    def arrive(self, *written):
        "Have one thread lead for the messages that wait"
        queue = reception.Queue()
        queue.led = True
        queue.waiting = turns = [
            reception.Turn(reception.Arrival(data, jws))
            for _, data, jws in written]
        reception._lead(self.db_name, queue)
        self.assertFalse(queue.led)
        for turn in turns:
            self.assertTrue(turn.called.is_set())
        return [turn.arrival for turn in turns]

    @contextlib.contextmanager
    def storing(self):
        "Count the messages that each transaction is to store"
        Message = Pool(self.db_name).get('cooperative.edi.message')
        store, counts = Message._store.__func__, []

        def counted(cls, arrivals):
            counts.append(len(arrivals))
            return store(cls, arrivals)
        with patch.object(Message, '_store', classmethod(counted)):
            yield counts

    def ask(self, function, *args):
        return transact(self.db_name, function, *args)

    def stored(self, *names, **domain):
        "Return the values of the messages that match"
        def read():
            Message = Pool().get('cooperative.edi.message')
            return [
                tuple(getattr(m, n) for n in names) for m in Message.search(
                    [(n, '=', v) for n, v in domain.items()],
                    order=[('id', 'ASC')])]
        return self.ask(read)

    def check_answers(self, written, arrivals):
        "Check that each arrival has the receipt and the proof of its own"
        indexes = set()
        for (message, _, _), arrival in zip(written, arrivals):
            self.assertIsNone(arrival.problem)
            record = record_of(arrival.answer['record'])
            evidence, _ = record.verify([self.verifier])
            self.assertEqual(
                (evidence.message, evidence.digest, evidence.event),
                (message.id, message.digest, 'submission'))
            self.assertIn(message.id, arrival.answer['receipt'])
            indexes.add(record.inclusion.index)
        self.assertEqual(len(indexes), len(written))

    def test_together(self):
        "Test all are stored, recorded and proved in one transaction"
        written = [self.write() for _ in range(3)] + [
            self.write(self.buyer, SELLER)]
        Pool(self.db_name).get('cooperative.trust.log').sweep(self.db_name)
        size = self.checkpoint().size
        with self.storing() as counts:
            # The last one that was written comes first
            arrivals = self.arrive(*reversed(written))
        self.assertEqual(counts, [4])
        self.check_answers(list(reversed(written)), arrivals)
        for message, _, _ in written:
            self.assertEqual(
                self.stored(
                    'in_sequence', 'state',
                    direction='in', uuid=message.id),
                [(True, 'processed')])
            self.assertEqual(
                self.stored('state', direction='out', uuid=message.id),
                [('waiting',)])
        # With the mailboxes, in which they are
        self.assertEqual(self.checkpoint().size, size + 8)

    def test_refused(self):
        "Test who is refused is refused alone"
        first, last = self.write(), self.write(self.buyer, SELLER)
        forged = self.write(self.buyer, SELLER)
        stranger = self.write(Member('0225:732829320_55'))
        other = self.buyer.invoice(
            SELLER, '00000000-0000-4000-8000-000000000000')
        data = other.to_bytes()
        with self.storing() as counts:
            arrivals = self.arrive(
                first, (forged[0], forged[1], last[2]), stranger,
                (other, data, self.buyer.sign(data, other.typ)[
                        signature.SIGNATURE_HEADER]),
                (None, b'<', first[2]), last)
        self.assertEqual(counts, [2])
        self.assertEqual(
            [a.problem and a.problem.name for a in arrivals], [
                None, 'signature', 'unknown-key', 'no-relation', 'signature',
                None])
        self.check_answers([first, last], [arrivals[0], arrivals[-1]])

    def test_twice(self):
        "Test the same message twice at once is stored once"
        written = self.write()
        conflict = self.write(id=written[0].id)
        arrivals = self.arrive(written, written, conflict)
        self.assertEqual(
            [a.settled for a in arrivals], [True, False, False])
        self.assertEqual(
            len(self.stored(direction='in', uuid=written[0].id)), 1)
        # Each of the others then comes alone
        again = reception.receive(self.db_name, *written[1:])
        self.assertTrue(again.known)
        self.assertEqual(again.answer, arrivals[0].answer)
        with self.assertRaises(Problem) as refusal:
            reception.receive(self.db_name, *conflict[1:])
        self.assertEqual(refusal.exception.name, 'conflict')

    def test_broken(self):
        "Test what breaks the transaction takes nobody with it"
        Message = Pool(self.db_name).get('cooperative.edi.message')
        first, bad, last = [self.write() for _ in range(3)]
        stored = Message._stored

        def broken(message, arrival):
            stored(message, arrival)
            if arrival.header.id == bad[0].id:
                raise ValueError("broken")
        with patch.object(Message, '_stored', broken):
            arrivals = self.arrive(first, bad, last)
            for arrival in arrivals:
                self.assertFalse(arrival.settled)
            for message, _, _ in [first, bad, last]:
                self.assertEqual(self.stored('id', uuid=message.id), [])
            self.check_answers([first, last], [
                    reception.receive(self.db_name, *w[1:])
                    for w in [first, last]])
            with self.assertRaisesRegex(ValueError, "broken"):
                reception.receive(self.db_name, *bad[1:])
        self.assertEqual(self.stored('id', uuid=bad[0].id), [])

    @unittest.skipIf(
        backend.name == 'sqlite', "one transaction writes at a time")
    def test_held(self):
        "Test who is held by another transaction waits alone"
        slow, quick = self.write(), self.write(self.buyer, SELLER)
        with Transaction().start(self.db_name, 0) as transaction:
            Peer = Pool().get('cooperative.edi.peer')
            table = Peer.__table__()
            transaction.connection.cursor().execute(*table.update(
                    [table.silences], [0],
                    where=table.identifier == SELLER))
            arrivals = self.arrive(slow, quick)
            self.assertEqual(
                [a.settled for a in arrivals], [False, True])
            transaction.rollback()
        self.check_answers(
            [slow], [reception.receive(self.db_name, *slow[1:])])


del RouteTestCase
