# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
import sys
import threading
import unittest

from trytond.pool import Pool
from trytond.protocols.wrappers import HTTPStatus
from trytond.tests.test_tryton import DB_NAME, RouteTestCase
from trytond.transaction import Transaction

from trycoton.protocol import canonical
from trycoton.protocol.note import Verifier

from .tools import (
    BUYER, COMMUNITY, TRUST, Community, Member, create_trust_party, record_of,
    set_key)

THREADS = 8
EACH = 5
SKIPPED = "concurrency of the log: NOT TESTED, use a PostgreSQL database"


class ConcurrencyTestCase(RouteTestCase):
    "Test many submissions at once"
    module = 'cooperative_trust'

    @classmethod
    def setUpClass(cls):
        if DB_NAME == ':memory:':
            print(f"\n*** {SKIPPED} ***", file=sys.stderr)
            raise unittest.SkipTest(SKIPPED)
        super().setUpClass()

    @classmethod
    def setUpDatabase(cls):
        set_key()
        log = create_trust_party()
        cls.verifier = Verifier.from_vkey(log.vkey)

    def test_submissions(self):
        "Test each submission has one place and a proof of it"
        community = Community(COMMUNITY)
        members = [
            Member(f'0225:732829320_{i}') for i in range(10, 10 + THREADS)]
        community.publish(self.client(), DB_NAME, community.directory(
                Member(BUYER).participant(),
                *[m.participant() for m in members]))
        answers, late, errors = [], [], []

        def submit(member):
            for i in range(EACH):
                message = member.statement(BUYER, 'relation-proposal', {
                        'relation': f'00000000-0000-4000-8000-00000000000{i}',
                        'community': COMMUNITY,
                        'trust_party': TRUST,
                        'replaces': None,
                        'sealed': None,
                        })
                response = member.send(self.client(), DB_NAME, message)
                if response.status_code == HTTPStatus.CREATED:
                    answers.append(canonical.load(response.data))
                elif response.status_code == HTTPStatus.ACCEPTED:
                    late.append((member, message))
                else:
                    errors.append(response.data)

        threads = [threading.Thread(target=submit, args=[m])
            for m in members]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(errors, [])
        for member, message in late:
            response = member.send(self.client(), DB_NAME, message)
            answers.append(canonical.load(response.data))
        records = [record_of(a['record']) for a in answers]
        for record in records:
            record.verify([self.verifier])
        self.assertEqual(
            len({r.inclusion.index for r in records}), THREADS * EACH)
        with Transaction().start(DB_NAME, 0, readonly=True):
            Log = Pool().get('cooperative.trust.log')
            log, = Log.search([])
            self.assertEqual(log.fsck(), [])
            # Each was placed in a mailbox as well
            self.assertEqual(log.size, 1 + 2 * THREADS * EACH)
            # The leader takes several at once when they come together
            self.assertLessEqual(
                len(log.checkpoints), THREADS * EACH + 2)

    def test_readers(self):
        "Test who reads the log does not wait for who writes in it"
        path = f'/{DB_NAME}/cooperative/trust'
        before = self.client().get(f'{path}/checkpoint').data
        answers = []

        def read():
            for name in ['checkpoint', 'tile/0/000', 'tile/5/000',
                    'predecessor', 'tile/x']:
                answers.append(self.client().get(f'{path}/{name}'))
        with Transaction().start(DB_NAME, 0) as transaction:
            log, = Pool().get('cooperative.trust.log').search([])
            self.assertTrue(log._lock_id())
            frontier = log.head.frontier
            frontier.append(bytes(32))
            log.head.move(frontier)
            thread = threading.Thread(target=read)
            thread.start()
            thread.join(20)
            self.assertFalse(thread.is_alive())
            transaction.rollback()
        self.assertEqual(answers[0].data, before)
        self.assertEqual(
            {a.status_code for a in answers[1:]}, {HTTPStatus.NOT_FOUND})


del RouteTestCase
