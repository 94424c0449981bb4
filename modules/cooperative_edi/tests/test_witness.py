# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""An instance as a witness: what it signs, and what it never signs"""
import datetime as dt
import threading
import uuid
from unittest.mock import patch

import trytond.config as config
from sql import Table
from trytond.exceptions import UserError
from trytond.pool import Pool
from trytond.tests.test_tryton import RouteTestCase
from trytond.transaction import Transaction

from cooperative_edi import routes
from cooperative_edi import witness as module
from cooperative_edi.exceptions import (
    WitnessAddressError, WitnessKeyError, WitnessLogInvalid,
    WitnessModifyError)
from cooperative_edi.transaction import transact
from trycoton.protocol import witness
from trycoton.protocol.descriptor import Descriptor
from trycoton.protocol.note import Note
from trycoton.protocol.signature import SigningKey
from trycoton.protocol.tests.test_witness import Log

from .tools import configure, create_identity, now


class WitnessTestCase(RouteTestCase):
    "Test witness"
    module = 'cooperative_edi'

    @classmethod
    def setUpDatabase(cls):
        pool = Pool()
        Witness = pool.get('cooperative.edi.witness')
        configure()
        identity = create_identity()
        identity.endpoint = 'https://member.example/db/cooperative'
        identity.save()
        cls.company = identity.company.id
        witness_, = Witness.create([{'company': cls.company}])
        Witness.open([witness_])
        cls.id = witness_.id
        cls.key = witness.verifier(witness_.vkey)
        Transaction().commit()

    def setUp(self):
        super().setUp()
        routes._witness_rate._times.clear()

    def ask(self, function, *args, **context):
        return transact(self.db_name, function, *args, context=context)

    def add(self, log):
        "Have the witness know the log, and return it"
        WitnessLog = Pool(self.db_name).get('cooperative.edi.witness.log')
        self.ask(WitnessLog.create, [{
                    'witness': self.id, 'vkey': log.signer.vkey}])
        return log

    def create_log(self, size=5):
        return self.add(Log(
                SigningKey.generate(), f'log.example/{uuid.uuid4()}'
                ).grow(size))

    def state(self, log):
        WitnessLog = Pool(self.db_name).get('cooperative.edi.witness.log')

        def read():
            logs = WitnessLog.search(
                [('origin', '=', log.signer.name)])
            names = ['size', 'root', 'note', 'cosignature', 'claimed',
                'contradiction']
            return {n: getattr(l, n) for l in logs for n in names}
        return self.ask(read)

    def post(self, data):
        return self.client().post(
            f'/{self.db_name}/cooperative/witness/add-checkpoint', data=data)

    def cosign(self, log, old):
        "Check that the witness signs the log"
        response = self.post(log.ask(old).to_bytes())
        self.assertEqual(response.status_code, 200, response.data)
        signature, _ = witness.find_cosignature(
            response.data, Note.parse(log.note()).text, self.key, now())
        return signature

    def refuse(self, data, status, name=None):
        response = self.post(data)
        self.assertEqual(response.status_code, status, response.data)
        if name:
            self.assertEqual(response.json['type'].rpartition('/')[2], name)
        return response

    def test_descriptor(self):
        "Test the key is told by the descriptor"
        response = self.client().get(
            f'/{self.db_name}/cooperative/edi/descriptor')
        descriptor = Descriptor.parse(response.data)
        self.assertEqual(descriptor.witness, self.key.vkey)
        self.assertEqual(
            self.key.name, 'member.example/db/cooperative/witness')
        self.assertNotIn(
            self.key.key, descriptor.public_keys().values())

    def test_cosign(self):
        "Test what grew is signed, and kept"
        log = self.create_log()
        self.cosign(log, 0)
        self.assertEqual(self.state(log)['size'], 5)
        for size in [1, 3, 300]:
            old = len(log.hashes)
            log.grow(size)
            signature = self.cosign(log, old)
            self.assertEqual(self.state(log), {
                    'size': len(log.hashes),
                    'root': log.root.hex(),
                    'note': log.note().decode(),
                    'cosignature': str(signature),
                    'claimed': None,
                    'contradiction': None,
                    })
        # Asked again, it says so again
        self.cosign(log, len(log.hashes))

    def test_accepted(self):
        "Test the log of an accepted trust party is witnessed by itself"
        Peer = Pool(self.db_name).get('cooperative.edi.peer')
        Party = Pool(self.db_name).get('party.party')
        log = Log(SigningKey.generate(), 'accepted.example').grow(2)

        def create(accepted):
            party = Party(name="Tiers")
            party.save()
            peer = Peer(
                company=self.company, name="Tiers", kind='trust-party',
                identifier='0225:833555675', accepted=accepted, party=party,
                log_key=log.signer.vkey)
            peer.save()
            return peer.id
        peer = self.ask(create, False)
        self.refuse(log.ask(0).to_bytes(), 404, 'unknown-log')
        self.ask(lambda: Peer.write([Peer(peer)], {'accepted': True}))
        self.cosign(log, 0)
        # Another key of the same log does not make it forget
        other = Log(SigningKey.generate(), 'accepted.example').grow(2)
        self.ask(lambda: Peer.write(
                [Peer(peer)], {'log_key': other.signer.vkey}))
        self.refuse(log.ask(2).to_bytes(), 403, 'not-log')
        self.refuse(other.ask(0).to_bytes(), 409)
        self.cosign(other.grow(1), 2)

    def test_malformed(self):
        "Test what is no request"
        log = self.create_log()
        good = log.ask(0).to_bytes()
        for data in [
                b'', b'old 0\n', good[:-1], good + b'\n',
                good.replace(b'old 0', b'old 00'),
                good.replace(b'old 0', b'old 6'),
                good.replace(b'\n', b'\r\n'), b'\xff' + good]:
            with self.subTest(data=data[:40]):
                self.refuse(data, 400, 'not-a-request')
        self.refuse(
            good + b'x' * witness.MAX_SIZE, 413, 'too-large')
        self.assertEqual(self.state(log)['size'], 0)

    def test_unknown(self):
        "Test a log that is not witnessed, and one that did not sign"
        stranger = Log(SigningKey.generate(), 'other.example').grow(1)
        self.refuse(stranger.ask(0).to_bytes(), 404, 'unknown-log')
        log = self.create_log()
        thief = Log(SigningKey.generate(), log.signer.name).grow(5)
        self.refuse(thief.ask(0).to_bytes(), 403, 'not-log')
        note = Note.parse(log.note())
        data = log.ask(0).to_bytes()
        for changed in [
                data.replace(note.text.encode(), Note.parse(
                        thief.grow(1).note()).text.encode()),
                data.replace(
                    str(note.signatures[0])[-12:-6].encode(), b'AAAAAA'),
                ]:
            self.assertNotEqual(changed, data)
            self.refuse(changed, 403, 'not-log')
        self.assertEqual(self.state(log)['size'], 0)

    def test_stale(self):
        "Test who asks from another size is told the one that is known"
        log = self.create_log()
        self.cosign(log, 0)
        log.grow(5)
        for old in [0, 3, 6, 10]:
            response = self.refuse(log.ask(old).to_bytes(), 409)
            self.assertEqual(response.data, b'5\n')
            self.assertEqual(
                response.headers['Content-Type'], witness.SIZE_TYPE)
        self.cosign(log, 5)

    def test_old(self):
        "Test a checkpoint older than the known one is never signed"
        log = self.create_log(9)
        self.cosign(log, 0)
        older = Log(log.signer._signing_key, log.signer.name).grow(4)
        for old in range(5):
            response = self.refuse(older.ask(old).to_bytes(), 409)
            self.assertEqual(response.data, b'9\n')
        self.assertEqual(self.state(log)['size'], 9)

    def test_fork(self):
        "Test another tree of the same size is refused, and kept"
        log = self.create_log()
        self.cosign(log, 0)
        fork = Log(log.signer._signing_key, log.signer.name).grow(5, b'x')
        response = self.refuse(fork.ask(5).to_bytes(), 409)
        self.assertEqual(response.data, b'5\n')
        state = self.state(log)
        self.assertEqual(state['contradiction'], fork.note().decode())
        self.assertEqual(state['root'], log.root.hex())

    def test_inconsistent(self):
        "Test what did not grow out of what is known is not signed"
        log = self.create_log()
        self.cosign(log, 0)
        fork = Log(log.signer._signing_key, log.signer.name).grow(8, b'x')
        self.refuse(fork.ask(5).to_bytes(), 422, 'inconsistent')
        good = log.grow(3).ask(5)
        for hashes in [(), good.hashes[:-1], (*good.hashes, bytes(32))]:
            self.refuse(witness.Request(
                    5, hashes, good.checkpoint).to_bytes(),
                422, 'inconsistent')
        self.assertEqual(self.state(log)['size'], 5)
        self.cosign(log, 5)

    def test_amnesia(self):
        "Test a witness restored from a backup says so, and signs no fork"
        log = self.create_log()
        self.cosign(log, 0)
        backup = self.state(log)
        self.cosign(log.grow(5), 5)
        Model = Pool(self.db_name).get('cooperative.edi.witness.log')
        table = Model.__table__()
        names = ['size', 'root', 'note', 'cosignature']
        self.ask(lambda: Transaction().connection.cursor().execute(
                *table.update(
                    [getattr(table, n) for n in names],
                    [backup[n] for n in names],
                    where=table.origin == log.signer.name)))
        # The log goes on from what the witness signed
        response = self.refuse(log.grow(2).ask(10).to_bytes(), 409)
        self.assertEqual(response.data, b'5\n')
        self.assertEqual(self.state(log)['claimed'], 10)
        fork = Log(log.signer._signing_key, log.signer.name)
        self.refuse(fork.grow(12, b'x').ask(5).to_bytes(), 422)
        self.cosign(log, 5)
        self.assertIsNone(self.state(log)['claimed'])

    def test_kill(self):
        "Test nothing is handed out that is not kept"
        log = self.create_log()
        with patch.object(
                Transaction, 'commit', side_effect=MemoryError), \
                patch('cooperative_edi.http.logger'), \
                patch('cooperative_edi.refusal.Refusal.count_problem'):
            response = self.post(log.ask(0).to_bytes())
        self.assertEqual(response.status_code, 500)
        self.assertNotIn('—'.encode(), response.data)
        self.assertEqual(self.state(log)['size'], 0)
        self.cosign(log, 0)

    def test_restart(self):
        "Test another process knows what was signed"
        log = self.create_log()
        self.cosign(log, 0)
        Pool(self.db_name).get('cooperative.edi.witness')
        self.refuse(log.grow(1).ask(0).to_bytes(), 409)
        self.cosign(log, 5)

    def test_clock(self):
        "Test a witness whose clock is wrong by two hours does not count"
        log = self.create_log()
        with patch.object(
                module, 'now', lambda: now() - dt.timedelta(hours=2)):
            data = self.post(log.ask(0).to_bytes()).data
        text = Note.parse(log.note()).text
        witness.find_cosignature(
            data, text, self.key, now() - dt.timedelta(hours=1, minutes=1))
        with self.assertRaises(Exception):
            witness.find_cosignature(data, text, self.key, now())

    def test_rate(self):
        "Test nobody asks without end"
        config.set('cooperative', 'witness_rate', '3')
        try:
            for _ in range(3):
                self.refuse(b'', 400)
            response = self.refuse(b'', 429, 'overload')
            self.assertIn('Retry-After', response.headers)
        finally:
            config.set('cooperative', 'witness_rate', '120')

    def test_two_at_once(self):
        "Test contradictory checkpoints are never both signed"
        if self.db_name == ':memory:':
            # Each thread would have its own database
            self.skipTest("witness concurrency: use a database on disk")
        log = self.create_log()
        self.cosign(log, 0)
        key, name = log.signer._signing_key, log.signer.name
        requests = []
        for i in range(8):
            other = Log(key, name).grow(5).grow(1 + i, b'%d' % i)
            requests.append(other.ask(5).to_bytes())
        answers = []

        def post(data):
            answers.append(self.post(data).status_code)
        threads = [
            threading.Thread(target=post, args=[r]) for r in requests]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(sorted(answers), [200] + [409] * 7)

    def test_open(self):
        "Test one witness for each database, that can be reached"
        pool = Pool(self.db_name)
        Identity = pool.get('cooperative.edi.identity')
        Witness = pool.get('cooperative.edi.witness')

        def again():
            Witness.open([Witness(self.id)])

        def modify():
            Witness.write([Witness(self.id)], {'vkey': None})

        def delete():
            Witness.delete([Witness(self.id)])

        def unreachable():
            identity, = Identity.search([])
            identity.endpoint = None
            identity.save()
            Witness(company=identity.company)._key_name()

        for function, error in [
                (again, WitnessKeyError), (modify, WitnessModifyError),
                (delete, WitnessModifyError),
                (unreachable, WitnessAddressError)]:
            with self.subTest(function=function.__name__), \
                    self.assertRaises(error):
                self.ask(function)

    def test_memory(self):
        "Test nobody has the witness forget what it signed"
        log = self.create_log()
        self.cosign(log, 0)
        Model = Pool(self.db_name).get('cooperative.edi.witness.log')

        def find():
            return Model.search([('origin', '=', log.signer.name)])

        for function in [
                lambda: Model.delete(find()),
                lambda: Model.write(find(), {'size': 4}),
                lambda: Model.write(find(), {'vkey': None}),
                ]:
            with self.assertRaises(WitnessModifyError):
                self.ask(function)

        def write():
            with Transaction().set_user(1), Transaction().set_context(
                    _check_access=True, companies=[self.company]):
                Model.write(find(), {'root': 'x'})
        with self.assertRaises(WitnessModifyError):
            self.ask(write)
        for vkey in ['x', self.key.vkey]:
            with self.assertRaises(WitnessLogInvalid):
                self.ask(Model.create, [{
                            'witness': self.id, 'vkey': vkey}])

    def test_key_unreadable(self):
        "Test the key is no field, encrypted and its own"
        pool = Pool(self.db_name)
        Witness = pool.get('cooperative.edi.witness')

        def read():
            secret = Witness(self.id).cosigner._signing_key.to_bytes()
            self.assertNotIn('sealed', Witness._fields)
            cursor = Transaction().connection.cursor()
            table = Table(Witness._table)
            cursor.execute(*table.select(table.sealed))
            sealed, = cursor.fetchone()
            self.assertNotIn(secret.hex(), sealed)
            self.assertNotIn(secret, sealed.encode())
        self.ask(read)
        for name in ['sealed', 'cosigner']:
            with self.assertRaises((UserError, KeyError, AttributeError)):
                self.ask(lambda: Witness.read([self.id], [name]))

    def test_access(self):
        "Test nobody without the group sees or opens a witness"
        pool = Pool(self.db_name)
        User = pool.get('res.user')
        Witness = pool.get('cooperative.edi.witness')

        def create():
            user = User(
                name="Somebody", login=str(uuid.uuid4()),
                companies=[self.company], company=self.company)
            user.save()
            return user.id
        user = self.ask(create)

        def act(function, *args):
            with Transaction().set_user(user), \
                    Transaction().set_context(_check_access=True):
                return function(*args)
        for function, *args in [
                (Witness.search, []),
                (Witness.read, [self.id], ['vkey']),
                (Witness.open, [self.id]),
                (Witness.create, [{'company': self.company}]),
                ]:
            with self.subTest(function=function), \
                    self.assertRaises(UserError):
                self.ask(act, function, *args)


del RouteTestCase
