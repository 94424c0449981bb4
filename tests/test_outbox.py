# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"What waited while the server of an instance was stopped"
import contextlib
import sqlite3
import tempfile
import time
import unittest

from trycoton.command.instance import Specification, create
from trycoton.command.server import Server

TIMEOUT = 60


class OutboxTestCase(unittest.TestCase):
    "Test the courier of a server that has just started"

    def test_start(self):
        "It does what waits, without a cron and though nobody calls"
        temporary = tempfile.TemporaryDirectory(prefix='outbox-')
        self.addCleanup(temporary.cleanup)
        instance, = create(temporary.name, [Specification(
                    name='elise', role='trust', company="Élise & Cie")])
        with self.connect(instance) as database:
            peer = database.execute(
                'INSERT INTO cooperative_edi_peer '
                '(company, identifier, name, kind, state) '
                "VALUES (1, '0225:732829320', 'Bob', 'participant', 'active')"
                ).lastrowid
            message = database.execute(
                'INSERT INTO cooperative_edi_message '
                '(company, peer, uuid, direction, kind, data, state) '
                "VALUES (1, ?, '0b9f1c6e-4a1d-4f3e-9a53-1c2d3e4f5a6b', 'in', "
                "'relation-end', 'unreadable', 'received')",
                [peer]).lastrowid
        with Server(temporary.name, 'elise') as server:
            server.wait_ready()
            limit = time.monotonic() + TIMEOUT
            while (state := self.state(instance, message)) == 'received':
                self.assertLess(time.monotonic(), limit, msg="nothing done")
                time.sleep(0.2)
        self.assertEqual(state, 'refused')

    @contextlib.contextmanager
    def connect(self, instance):
        database = sqlite3.connect(instance.database_path)
        with contextlib.closing(database), database:
            yield database

    def state(self, instance, message):
        with self.connect(instance) as database:
            state, = database.execute(
                'SELECT state FROM cooperative_edi_message WHERE id = ?',
                [message]).fetchone()
            return state
