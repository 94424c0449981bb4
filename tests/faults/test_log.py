# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Processes of a trust party killed by -9 under load: nothing is lost or
logged twice, and no second story is told.

With TRYCOTON_KILLS, a number, that many processes are killed: make soak
does."""
import http.client
import os
import random
import shutil
import tempfile
import threading
import time
import unittest
import uuid

from cooperative_trust.tests.tools import (
    BUYER, COMMUNITY, TRUST, Community, Member, record_of)
from tests import postgresql
from tests.foreign import build_go, run
from trycoton.command.server import Server
from trycoton.command.tests.test_main import call
from trycoton.command.trust import reader
from trycoton.protocol import canonical, merkle, signature, tile
from trycoton.protocol.audit import audit, read_tile
from trycoton.protocol.checkpoint import Checkpoint
from trycoton.protocol.note import Verifier

from .log_party import NAME, TrustParty

KILLS = int(os.environ.get('TRYCOTON_KILLS') or 3)
MEMBERS = 6
# Submitted, and placed in the mailbox
EVENTS = 2
LIMIT = 120
# Anywhere, then between the signature and the commit, then between the
# commit and the copy, which comes before what is handed out
FAULTS = [None, '_lead:before', '_lead:after', 'receive_all:after']
BROKEN = OSError, http.client.HTTPException


class LogTestCase(unittest.TestCase):
    "Test the log while its processes are killed"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        server = postgresql.start()
        cls.addClassCleanup(server.stop)
        folder = tempfile.mkdtemp(prefix='kills-')
        cls.addClassCleanup(shutil.rmtree, folder, ignore_errors=True)
        cls.community = Community(COMMUNITY)
        cls.party = TrustParty(
            folder, server,
            [COMMUNITY, cls.community.key.public.to_jwk()])
        cls.addClassCleanup(cls.party.stop)
        cls.verifier = Verifier.from_vkey(cls.party.vkey)

    def setUp(self):
        super().setUp()
        self.members = [
            Member(f'0225:732829320_{i}') for i in range(10, 10 + MEMBERS)]
        self.notes, self.answers, self.faults = [], {}, []
        self.stopped = threading.Event()

    def request(self, method, path, body=None, headers={}, port=None):
        connection = http.client.HTTPConnection(
            '127.0.0.1', port or random.choice(self.party.ports), timeout=30)
        try:
            connection.request(
                method, f'/{NAME}/cooperative{path}', body, headers)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def publish(self):
        directory = self.community.directory(
            Member(BUYER).participant(),
            *[m.participant() for m in self.members]).to_bytes()
        status, data = self.request('POST', '/trust/directories', directory,
            self.community.sign(directory, signature.DIRECTORY))
        self.assertEqual(status, 200, data)

    def submit(self, member, message):
        "Send the message again until its record comes"
        data = message.to_bytes()
        headers = member.sign(data, message.typ)
        limit = time.monotonic() + LIMIT
        while time.monotonic() < limit:
            try:
                status, answer = self.request(
                    'POST', '/edi/messages', data, headers)
            except BROKEN:
                status = None
            if status in {200, 201}:
                return canonical.load(answer)['record']
            if status not in {None, 202, 500, 502, 503}:
                break
            time.sleep(0.05)
        self.faults.append(f"{message.id}: {status} {answer}")

    def work(self, member):
        while not self.stopped.is_set():
            message = member.statement(BUYER, 'relation-proposal', {
                    'relation': str(uuid.uuid4()), 'community': COMMUNITY,
                    'trust_party': TRUST, 'replaces': None, 'sealed': None})
            member.sequences[BUYER] = message.sequence, message.digest
            record = self.submit(member, message)
            if record:
                self.answers[message.id] = record_of(record)

    def watch(self):
        "Keep each checkpoint that is handed out"
        while not self.stopped.is_set():
            try:
                status, data = self.request('GET', '/trust/checkpoint')
            except BROKEN:
                continue
            if status == 200:
                self.notes.append(data)
            time.sleep(0.02)

    def kill(self, number):
        "Kill one of the processes while the others work, and start it again"
        victim = random.choice(self.party.servers)
        fault = FAULTS[number % len(FAULTS)]
        if fault:
            self.party.kill(victim)
            os.environ['TRYCOTON_FAULT'] = fault
            victim.module = 'tests.faults.server'
            victim.start()
            limit = time.monotonic() + LIMIT
            while victim.pid:
                self.assertLess(time.monotonic(), limit, msg=fault)
                time.sleep(0.02)
        else:
            time.sleep(random.uniform(0.5, 2))
        self.party.kill(victim)
        victim.module = Server.module
        victim.start().wait_ready()

    def test_kills(self):
        "Test what was received is in the log once, and all agree on it"
        self.party.start()
        self.publish()
        threads = [
            threading.Thread(target=self.work, args=[m])
            for m in self.members] + [threading.Thread(target=self.watch)]
        for thread in threads:
            thread.start()
        try:
            for number in range(KILLS):
                self.kill(number)
            time.sleep(1)
        finally:
            self.stopped.set()
            for thread in threads:
                thread.join()
        self.assertEqual(self.faults, [])
        self.check()
        print(f"{KILLS} kills, {len(self.answers)} messages, "
            f"{len(self.notes)} checkpoints handed out")

    def check(self):
        read = reader(str(self.party.published))
        found = audit(read, [self.verifier])
        self.assertEqual(found.faults, ())
        size = found.checkpoint.size
        entries = [
            e for t in tile.tiles(size) if t.level is None
            for e in read_tile(read, t)]
        # The directory, and the events of each message once
        self.assertEqual(size, 1 + EVENTS * len(self.answers))
        for record in self.answers.values():
            record.verify([self.verifier])
            self.assertEqual(entries[record.inclusion.index], record.entry)
        self.assertEqual(
            len({r.inclusion.index for r in self.answers.values()}),
            len(self.answers))
        frontier, roots = merkle.Frontier(), [merkle.EMPTY_ROOT]
        for entry in entries:
            frontier.append(merkle.leaf_hash(entry))
            roots.append(frontier.root)
        notes = set(self.notes) | {
            r.inclusion.checkpoint for r in self.answers.values()}
        self.assertGreater(len(notes), KILLS)
        for note in notes:
            checkpoint = Checkpoint.open(note, [self.verifier])
            self.assertEqual(checkpoint.root, roots[checkpoint.size])
        self.fsck()
        self.verify_by_go(notes)

    def fsck(self):
        config = self.party.servers[0].instance.config_path
        status, out, err = call(
            'trust', 'fsck', NAME, '--config', str(config),
            '--key', self.party.vkey)
        self.assertEqual(status, 0, out + err)
        self.assertEqual(out.count(": right"), 2, out)

    def verify_by_go(self, notes):
        "Have a foreign verifier prove that each checkpoint is a prefix"
        folder = self.party.folder / 'go'
        folder.mkdir()
        try:
            program = build_go(folder)
        except unittest.SkipTest:
            return
        paths = []
        for number, note in enumerate(notes):
            if Checkpoint.open(note, [self.verifier]).size:
                path = folder / f'checkpoint-{number}'
                path.write_bytes(note)
                paths.append(path)
        accepted, text = run(program, 'tiles', self.party.published,
            self.party.vkey, *paths)
        self.assertTrue(accepted, text)
