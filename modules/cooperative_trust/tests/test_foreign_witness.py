# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"Our log before a witness of others, our witness before their client"
import json
import re
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, make_server

import trytond.config as config
from trytond.pool import Pool
from trytond.protocols.wrappers import HTTPStatus
from trytond.tests.test_tryton import RouteTestCase
from trytond.transaction import Transaction
from trytond.wsgi import app

from cooperative_edi import client
from cooperative_edi.transaction import transact
from cooperative_trust import witness as module
from trycoton.protocol import canonical, witness
from trycoton.protocol.checkpoint import Checkpoint
from trycoton.protocol.note import Note, Verifier
from trycoton.protocol.signature import SigningKey
from trycoton.protocol.tests.test_witness import Log

from . import aics
from .tools import (
    BUYER, COMMUNITY, SELLER, Community, Member, create_trust_party, set_key)

# Submits what it reads, a list of [note, old size, proof], to a witness
CLIENT = """
import base64, json, sys
from aics_witness.feeder import FeederError, WitnessClient
url, vkey, path = sys.argv[1:]
answers = []
for note, old, proof in json.load(open(path)):
    proof = [base64.b64decode(h) for h in proof]
    with WitnessClient(url, vkey, max_attempts=1) as client:
        try:
            answers.append(client.submit(note, (old, proof)))
        except FeederError as exception:
            answers.append([type(exception).__name__, str(exception)])
print(json.dumps(answers))
"""


class Quiet(WSGIRequestHandler):

    def log_message(self, *args):
        pass


class ForeignWitnessTestCase(RouteTestCase):
    "Test witnesses of others"
    module = 'cooperative_trust'

    @classmethod
    def setUpClass(cls):
        cls.python = aics.python()
        super().setUpClass()

    @classmethod
    def setUpDatabase(cls):
        pool = Pool()
        Identity = pool.get('cooperative.edi.identity')
        Witness = pool.get('cooperative.edi.witness')
        set_key()
        log = create_trust_party()
        cls.log = log.id
        cls.vkey = Verifier.from_vkey(log.vkey)
        identity, = Identity.search([])
        identity.endpoint = 'http://127.0.0.1:8/trust/cooperative'
        identity.save()
        witness_, = Witness.create([{'company': log.company.id}])
        Witness.open([witness_])
        cls.witness, cls.witness_vkey = witness_.id, witness_.vkey

    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        networks = config.get('cooperative', 'networks', default='')
        config.set('cooperative', 'networks', '127.0.0.0/8')
        self.addCleanup(config.set, 'cooperative', 'networks', networks)

    def ask(self, function, *args):
        return transact(self.db_name, function, *args)

    # Our log, their witness

    def aics(self, *arguments):
        return subprocess.run(
            [self.python, '-m', 'aics_witness', arguments[0],
                '--config', str(self.folder / 'witness.json'),
                *arguments[1:]],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            check=True, timeout=60).stdout

    def serve(self):
        "Return the address and the vkey of their witness, which knows us"
        with socket.socket() as free:
            free.bind(('127.0.0.1', 0))
            port = free.getsockname()[1]
        out = self.aics(
            'init', '--name', 'witness.example/w1',
            '--listen', f'127.0.0.1:{port}')
        vkey = re.search(r'witness\.example/w1\+\S+', out)[0]
        self.aics(
            'add-log', '--origin', self.vkey.name, '--vkey', self.vkey.vkey)
        self.start(port)
        return f'http://127.0.0.1:{port}', vkey

    def start(self, port):
        self.process = subprocess.Popen(
            [self.python, '-m', 'aics_witness', 'serve', '--config',
                str(self.folder / 'witness.json')],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(self.stop)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                socket.create_connection(('127.0.0.1', port), 1).close()
                return
            except OSError:
                time.sleep(0.1)
        self.fail("their witness does not start")

    def stop(self):
        self.process.terminate()
        self.process.wait()

    def grow(self):
        community = self.__class__.community
        message = community['seller'].statement(
            BUYER, 'some-news', {'text': "x"})
        response = community['seller'].send(
            self.client(), self.db_name, message)
        self.assertEqual(
            response.status_code, HTTPStatus.CREATED, response.data)

    def round(self):
        def due():
            Log = Pool().get('cooperative.trust.log')
            Log.write([Log(self.log)], {'next_round': None})
        self.ask(due)
        module.attend(self.db_name)

    def signed(self, vkey):
        "Tell if their witness signed the last checkpoint"
        data = self.client().get(
            f'/{self.db_name}/cooperative/trust/checkpoint').data
        Checkpoint.open(data, [self.vkey])
        return bool(Note.parse(data).verify([witness.verifier(vkey)]))

    def test_our_log(self):
        "Test their witness signs our log as it grows, and no other"
        Witness = Pool(self.db_name).get('cooperative.trust.witness')
        cls = self.__class__
        cls.community = {
            'community': Community(COMMUNITY), 'seller': Member(SELLER)}
        community = cls.community['community']
        response = community.publish(
            self.client(), self.db_name, community.directory(
                cls.community['seller'].participant(),
                Member(BUYER).participant()))
        self.assertEqual(response.status_code, HTTPStatus.OK)

        url, vkey = self.serve()
        id_, = self.ask(lambda: [w.id for w in Witness.create([{
                            'log': self.log, 'vkey': vkey, 'url': url}])])

        def error():
            return self.ask(lambda: Witness(id_).error)
        for _ in range(3):
            self.grow()
            self.assertFalse(self.signed(vkey))
            self.round()
            self.assertIsNone(error())
            self.assertTrue(self.signed(vkey))

        # It is told a tree that contradicts what it signed
        Log_ = Pool(self.db_name).get('cooperative.trust.log')
        signer, size = self.ask(
            lambda: (Log_(self.log).signer, Log_(self.log).size))
        note = Checkpoint(signer.name, size + 1, bytes(32)).sign(signer)
        answer = client.post(
            f'{url}/add-checkpoint', witness.Request(
                size, (bytes(32),), note).to_bytes())
        self.assertEqual(answer.status, 422)

        # It forgets: we start again from what it knows
        self.ask(lambda: self.forget(Witness, id_))
        self.grow()
        self.round()
        self.assertIsNone(error())
        self.assertTrue(self.signed(vkey))

    def forget(self, Witness, id_):
        table = Witness.__table__()
        Transaction().connection.cursor().execute(*table.update(
                [table.size], [0], where=table.id == id_))

    # Their client, our witness

    def submit(self, requests):
        "Return what their client says of each, with us as the server"
        path = self.folder / 'requests.json'
        path.write_text(json.dumps([[
                        r.checkpoint.decode(), r.old,
                        [canonical.encode(h) for h in r.hashes]]
                    for r in requests]))
        server = make_server('127.0.0.1', 0, app, handler_class=Quiet)
        self.addCleanup(server.server_close)
        server.timeout = 0.1
        url = (f'http://127.0.0.1:{server.server_port}/{self.db_name}'
            '/cooperative/witness')
        process = subprocess.Popen(
            [self.python, '-c', CLIENT, url, self.witness_vkey, str(path)],
            stdout=subprocess.PIPE, text=True)
        # In this thread, as the database is in its memory
        while process.poll() is None:
            server.handle_request()
        out, _ = process.communicate()
        self.assertEqual(process.returncode, 0)
        return json.loads(out)

    def test_our_witness(self):
        "Test their client gets from our witness what it should"
        WitnessLog = Pool(self.db_name).get('cooperative.edi.witness.log')
        key = SigningKey.generate()
        log = Log(key, 'log.example/foreign').grow(5)
        self.ask(WitnessLog.create, [{
                    'witness': self.witness, 'vkey': log.signer.vkey}])
        stranger = Log(SigningKey.generate(), 'other.example').grow(1)
        thief = Log(SigningKey.generate(), log.signer.name).grow(5)
        requests = [
            stranger.ask(0), thief.ask(0), log.ask(0), log.ask(5),
            log.grow(300).ask(5),
            Log(key, log.signer.name).grow(305, b'x').ask(305),
            Log(key, log.signer.name).grow(310, b'x').ask(305),
            log.grow(7).ask(305), log.grow(1).ask(0)]
        answers = self.submit(requests)
        self.assertEqual(
            [isinstance(a, str) for a in answers],
            [False, False, True, True, True, False, False, True, False],
            answers)
        for index, text in [
                (0, '404'), (1, '403'), (5, 'different root'), (6, '422')]:
            self.assertIn(text, answers[index][1])
        # Without the proof it cannot go on from what we told it
        self.assertEqual(answers[8][0], 'WitnessConflict')


del RouteTestCase
