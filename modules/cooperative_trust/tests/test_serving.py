# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The log as it is read, and when it is late"""
import datetime as dt
import os
from unittest.mock import patch

from trytond.pool import Pool
from trytond.protocols.wrappers import HTTPStatus
from trytond.transaction import Transaction

from cooperative_edi.transaction import transact
from trycoton.protocol import canonical
from trycoton.protocol.note import open_note

from . import test_mirror
from .tools import BUYER, now, record_of


class ServingTestCase(test_mirror.MirrorCase):
    "Test the routes of the log, and a log that is late"

    def test_cache(self):
        "Test what may be cached, and for how long"
        self.send()
        self.grow(300)
        self.attend()
        for path, seconds in [
                ('tile/0/000', 31536000),
                ('tile/entries/000', 31536000),
                ('tile/0/001.p/44', 86400),
                ('tile/0/001.p/43', 86400),
                ('tile/1/000.p/1', 86400),
                ]:
            with self.subTest(path=path):
                response = self.get(path)
                self.assertEqual(response.status_code, HTTPStatus.OK)
                self.assertEqual(
                    response.headers['Cache-Control'],
                    f'public, max-age={seconds}, immutable')
                self.assertEqual(
                    self.get(path, response.headers['ETag']).status_code,
                    HTTPStatus.NOT_MODIFIED)

    def test_checkpoint(self):
        "Test the checkpoint is asked for each time, and sent when it moves"
        self.send()
        first = self.get('checkpoint')
        self.assertEqual(first.headers['Cache-Control'], 'no-cache')
        etag = first.headers['ETag']
        self.assertEqual(
            self.get('checkpoint', etag).status_code,
            HTTPStatus.NOT_MODIFIED)
        self.send()
        second = self.get('checkpoint', etag)
        self.assertEqual(second.status_code, HTTPStatus.OK)
        self.assertNotEqual(second.data, first.data)

    def test_nothing_written(self):
        "Test nothing is written for who asks for what is not there"
        Refusal = Pool(self.db_name).get('cooperative.edi.refusal')

        def count():
            return transact(
                self.db_name, lambda: Refusal.search([], count=True),
                readonly=True)
        before = count()
        for path in ['tile/9/000', 'tile/x', 'predecessor']:
            response = self.get(path)
            self.assertEqual(response.status_code, HTTPStatus.NOT_FOUND)
            self.assertEqual(
                response.content_type, 'application/problem+json')
        self.assertEqual(count(), before)

    def test_push_back(self):
        "Test no more than 4,096 entries wait"
        self.send()
        self.wait_in_line(4096)
        self.send(HTTPStatus.TOO_MANY_REQUESTS, 'overload')
        self.assertEqual(self.log(lambda log: log.pending), 4096)
        for left in [3096, 2096, 1096, 96, 0]:
            self.attend()
            self.assertEqual(self.log(lambda log: log.pending), left)
        record = record_of(self.send()['record'])
        record.verify([self.verifier])
        self.assertEqual(self.log(lambda log: log.pending), 0)

    def wait_in_line(self, count):
        "Have so many entries wait for their place"
        def wait(log):
            Leaf = Pool().get('cooperative.trust.log.leaf')
            table = Leaf.__table__()
            cursor = Transaction().connection.cursor()
            row = [log.id, 'restored', '2026-11-22 10:00:00']
            for _ in range(count // 64):
                cursor.execute(*table.insert(
                        [table.log, table.event, table.time, table.entry],
                        [[*row, b'\1' + os.urandom(32)]
                            for _ in range(64)]))
        self.log(wait, readonly=False)

    def test_promise(self):
        "Test a promise is kept before its deadline"
        Log = Pool(self.db_name).get('cooperative.trust.log')
        message = self.seller.statement(BUYER, 'some-news', {})
        # Somebody else leads, and does not come to an end
        with patch.object(Log, '_lock', return_value=False), \
                patch('cooperative_trust.log.TIMEOUT', 0.1):
            answers = [
                self.post(message, HTTPStatus.ACCEPTED) for _ in range(2)]
        self.assertTrue(self.log(lambda log: log.pending))
        for answer in answers:
            self.assertNotIn('record', answer)
            text, _ = open_note(answer['promise'].encode(), [self.verifier])
            name, origin, id_, digest, deadline = text.splitlines()
            self.assertEqual(
                (id_, digest), (message.id, message.digest))
            deadline = canonical.parse_time(deadline)
            self.assertLess(deadline - now(), dt.timedelta(minutes=11))
        # The same deadline, however often it is asked
        self.assertEqual(*[a['promise'] for a in answers])

        self.attend()
        self.assertEqual(self.log(lambda log: log.pending), 0)
        self.assertLess(now(), deadline)
        record = record_of(
            self.post(message, HTTPStatus.OK)['record'])
        evidence, _ = record.verify([self.verifier])
        self.assertLess(evidence.time, deadline)
        self.assertEqual(self.log(lambda log: log.fsck()), [])
