# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""How a witness replaces its key, resigns, and remembers what it signed"""
import datetime as dt
import uuid
from unittest.mock import patch

from trytond.pool import Pool
from trytond.tests.test_tryton import RouteTestCase
from trytond.transaction import Transaction

from cooperative_edi import keystore, routes, witness_life
from cooperative_edi.client import ClientError, Response
from cooperative_edi.exceptions import WitnessKeyError, WitnessModifyError
from cooperative_edi.transaction import transact
from trycoton.protocol import envelope, merkle, signature, witness
from trycoton.protocol.announcement import WitnessAnnouncement
from trycoton.protocol.errors import Rejected
from trycoton.protocol.note import Cosigner, Note
from trycoton.protocol.signature import SigningKey
from trycoton.protocol.tests.test_witness import Log
from trycoton.protocol.tile import Tile

from .tools import THEM, US, Other, configure, create_identity, now

ENDPOINT = 'https://trust.example/db/cooperative'


class Published(Log):
    "A log that shows its checkpoints and tiles"

    def __init__(self):
        super().__init__(
            SigningKey.generate(), f'log.example/{uuid.uuid4()}')
        self.shown = {}
        self.status = 200
        self.read = []

    def get(self, url, headers=None):
        assert url.startswith(f'{ENDPOINT}/trust/'), url
        path = url.removeprefix(f'{ENDPOINT}/trust/')
        self.read.append(path)
        if self.status is None:
            raise ClientError(url, "no route to host")
        if self.status != 200:
            return Response(self.status, {}, b'{}')
        if path.startswith('tile/'):
            tile = Tile.parse(path)
            width = 1 << 8 * tile.level
            return Response(200, {}, b''.join(
                    merkle.root(self.hashes[i * width:(i + 1) * width])
                    for i in range(tile.start, tile.start + tile.width)))
        if path not in self.shown:
            return Response(404, {}, b'{}')
        return Response(200, {}, self.shown[path])


class WitnessLifeTestCase(RouteTestCase):
    "Test the life of a witness"
    module = 'cooperative_edi'

    @classmethod
    def setUpDatabase(cls):
        pool = Pool()
        Peer = pool.get('cooperative.edi.peer')
        Witness = pool.get('cooperative.edi.witness')
        configure()
        identity = create_identity()
        identity.endpoint = 'https://member.example/db/cooperative'
        identity.save()
        cls.company = identity.company.id
        cls.community = Other(THEM)
        Peer.update_from(cls.company, cls.community.participant(
                kind='community', endpoint='https://them.example/cooperative'))
        witness_, = Witness.create([{'company': cls.company}])
        cls.id = witness_.id
        Transaction().commit()

    def setUp(self):
        super().setUp()
        routes._witness_rate._times.clear()
        Witness = Pool(self.db_name).get('cooperative.edi.witness')
        self.ask(lambda: Witness(self.id).vkey or Witness.open(
                [Witness(self.id)]))
        self.log = Published().grow(5)
        self.peer = self.ask(self.trust)
        patcher = patch.object(
            witness_life.client, 'get', lambda *a, **k: self.log.get(*a))
        patcher.start()
        self.addCleanup(patcher.stop)

    def ask(self, function, *args, **context):
        return transact(self.db_name, function, *args, context=context)

    def trust(self):
        "Return the id of the accepted peer that keeps the log"
        pool = Pool()
        Party = pool.get('party.party')
        Peer = pool.get('cooperative.edi.peer')
        Peer.write(Peer.search([('kind', '=', 'trust-party')]), {
                'accepted': False})
        party = Party(name="Tiers")
        party.save()
        peer = Peer(
            company=self.company, name="Tiers", kind='trust-party',
            identifier=f'0225:833555675_{uuid.uuid4().hex}', party=party,
            accepted=True, endpoint=ENDPOINT,
            log_key=self.log.signer.vkey)
        peer.save()
        return peer.id

    def do(self, name):
        "Press the button of the witness"
        Witness = Pool(self.db_name).get('cooperative.edi.witness')
        self.ask(lambda: getattr(Witness, name)([Witness(self.id)]))

    @property
    def key(self):
        Witness = Pool(self.db_name).get('cooperative.edi.witness')
        vkey = self.ask(lambda: Witness(self.id).vkey)
        return vkey and witness.verifier(vkey)

    def post(self, log, old):
        return self.client().post(
            f'/{self.db_name}/cooperative/witness/add-checkpoint',
            data=log.ask(old).to_bytes())

    def cosign(self, old, log=None):
        "Check that the witness signs the log, and return its line"
        log = log or self.log
        response = self.post(log, old)
        self.assertEqual(response.status_code, 200, response.data)
        return witness.find_cosignature(
            response.data, Note.parse(log.note()).text, self.key, now())[0]

    def refuse(self, old, status, log=None):
        response = self.post(log or self.log, old)
        self.assertEqual(response.status_code, status, response.data)
        return response

    def publish(self, line, path='checkpoint', note=None):
        "Have the log show a checkpoint with the line of the witness"
        self.log.shown[path] = witness.join(
            Note.parse(note or self.log.note()), [line])

    def table(self):
        return Pool(self.db_name).get(
            'cooperative.edi.witness.log').__table__()

    def backup(self):
        "Return what the witness remembers"
        names = ['size', 'root', 'note', 'cosignature', 'recalled']

        def read():
            WitnessLog = Pool().get('cooperative.edi.witness.log')
            log, = WitnessLog.search(
                [('origin', '=', self.log.signer.name)])
            return {n: getattr(log, n) for n in names}
        return self.ask(read)

    def restore(self, backup=None):
        "Stop, put the database back to the backup, and start again"
        table = self.table()
        backup = backup or {
            'size': 0, 'root': merkle.EMPTY_ROOT.hex(), 'note': None,
            'cosignature': None, 'recalled': None}

        def write():
            Transaction().connection.cursor().execute(*table.update(
                    [getattr(table, n) for n in backup], [*backup.values()],
                    where=table.origin == self.log.signer.name))
        self.ask(write)
        patcher = patch.object(
            witness_life, 'STARTED',
            now().replace(tzinfo=None) + dt.timedelta(seconds=1))
        patcher.start()
        self.addCleanup(patcher.stop)

    # What it has signed and forgot

    def test_looks_once(self):
        "It looks once what it has signed, before it signs anything"
        self.cosign(0)
        self.assertEqual(self.log.read, ['checkpoint', 'witnessed'])
        self.cosign(5)
        self.cosign(5, self.log.grow(1))
        self.assertEqual(len(self.log.read), 2)

    def test_restored(self):
        "What the log shows is remembered again, and no fork of it is signed"
        for path in ['checkpoint', 'witnessed']:
            with self.subTest(path=path):
                self.log = Published().grow(5)
                self.ask(self.trust)
                self.cosign(0)
                backup = self.backup()
                line = self.cosign(5, self.log.grow(300))
                self.publish(line, path)
                fork = Log(
                    self.log.signer._signing_key, self.log.signer.name)
                fork.hashes = self.log.hashes[:5]
                fork.grow(310, b'x')
                self.restore(backup)
                # It would have signed both, as the fork grew out of 5
                response = self.refuse(5, 409, fork)
                self.assertEqual(response.data, b'305\n')
                self.assertEqual(self.backup()['size'], 305)
                self.assertEqual(self.backup()['cosignature'], str(line))
                self.refuse(305, 422, fork)
                self.cosign(305, self.log.grow(2))

    def test_forgot_all(self):
        "A backup from before the first signature makes no difference"
        self.publish(self.cosign(0))
        self.restore()
        fork = Log(self.log.signer._signing_key, self.log.signer.name)
        response = self.refuse(0, 409, fork.grow(9, b'x'))
        self.assertEqual(response.data, b'5\n')
        WitnessLog = Pool(self.db_name).get('cooperative.edi.witness.log')
        table = self.table()
        self.ask(lambda: Transaction().connection.cursor().execute(
                *table.delete(where=table.origin == self.log.signer.name)))
        self.refuse(0, 409, fork)
        self.assertEqual(self.ask(lambda: WitnessLog.search(
                    [('origin', '=', self.log.signer.name)])[0].size), 5)

    def test_not_proved(self):
        "What did not grow out of what is remembered is not taken"
        self.cosign(0)
        backup = self.backup()
        honest = self.log.hashes[:]
        line = self.cosign(5, self.log.grow(3))
        self.publish(line)
        self.restore(backup)
        # The tiles are of another tree
        self.log.hashes[6] = bytes(32)
        self.refuse(5, 503)
        self.assertEqual(self.backup()['size'], 5)
        self.log.hashes = honest
        self.refuse(5, 503, self.log.grow(9, b'x'))

    def test_two_stories(self):
        "It signs nothing more of a log of which it has signed two trees"
        self.cosign(0)
        backup = self.backup()
        self.restore()
        self.log.hashes = []
        self.log.grow(8, b'x')
        self.publish(self.cosign(0))
        self.restore(backup)
        self.refuse(5, 503)
        self.assertEqual(self.backup()['size'], 5)

    def test_not_there(self):
        "As long as it cannot look, it signs nothing"
        for status in [None, 500, 503, 401]:
            self.log.status = status
            response = self.refuse(0, 503)
            self.assertTrue(
                response.json['type'].endswith('/unavailable'))
        self.log.status = 200
        for shown in [b'', b'x\n', self.log.note()[:-9]]:
            self.log.shown['checkpoint'] = shown
            self.refuse(0, 503)
        del self.log.shown['checkpoint']
        self.cosign(0)

    def test_false(self):
        "What somebody else signed in its name is not remembered"
        line = self.cosign(0)
        self.restore()
        self.log.grow(4)
        forged = witness.cosign(
            forger(self.key), Note.parse(
                self.log.note()).text, 1790000000).decode().rstrip('\n')
        self.publish(Note.parse(
                self.log.note() + forged.encode() + b'\n').signatures[1])
        self.refuse(0, 503)
        # Nor what the log itself did not sign
        other = Log(SigningKey.generate(), self.log.signer.name).grow(9)
        self.publish(line, note=other.note())
        self.refuse(0, 503)

    def test_claimed(self):
        "It looks again when the log says that more was signed"
        self.cosign(0)
        backup = self.backup()
        line = self.cosign(5, self.log.grow(5))
        # Put back while it runs
        table = self.table()
        self.ask(lambda: Transaction().connection.cursor().execute(
                *table.update(
                    [getattr(table, n) for n in backup], [*backup.values()],
                    where=table.origin == self.log.signer.name)))
        self.publish(line)
        self.cosign(10, self.log.grow(1))
        self.log.read.clear()
        # What the log does not show is only claimed
        for _ in range(3):
            self.refuse(13, 409, self.log.grow(3))
        self.assertEqual(len(self.log.read), 2)

    def test_no_address(self):
        "Of a log without an address nothing can be looked for"
        WitnessLog = Pool(self.db_name).get('cooperative.edi.witness.log')
        log = Log(SigningKey.generate(), 'elsewhere.example').grow(2)
        self.ask(WitnessLog.create, [{
                    'witness': self.id, 'vkey': log.signer.vkey}])
        self.cosign(0, log)
        self.assertEqual(self.log.read, [])

    # Its keys

    def announced(self):
        "Return what was last told to the community"
        def read():
            Message = Pool().get('cooperative.edi.message')
            messages = Message.search([
                    ('kind', '=', 'witness-announcement'),
                    ], order=[('id', 'ASC')])
            for message in messages:
                said = envelope.parse(bytes(message.data))
                self.assertEqual(said.receiver, THEM)
                self.assertEqual(
                    signature.type_of(message.signature),
                    signature.STATEMENT)
            return WitnessAnnouncement.from_json(said.body)
        return self.ask(read)

    def test_replace_key(self):
        "Another key goes on from what the one before signed"
        self.cosign(0)
        old = self.key
        self.do('replace_key')
        self.assertNotEqual(self.key.key, old.key)
        self.assertEqual(self.key.name, old.name)
        told = self.announced()
        self.assertEqual(
            (told.identifier, told.witness), (US, self.key.vkey))
        fork = Log(self.log.signer._signing_key, self.log.signer.name)
        self.refuse(0, 409, fork.grow(9, b'x'))
        self.refuse(5, 422, fork)
        line = self.cosign(5, self.log.grow(1))
        with self.assertRaises(Rejected):
            witness.find_cosignature(
                str(line).encode(), Note.parse(self.log.note()).text, old,
                now())
        self.assertIn(old.vkey, self.former())

    def former(self):
        Witness = Pool(self.db_name).get('cooperative.edi.witness')
        return self.ask(
            lambda: [k.vkey for k in Witness(self.id).former])

    def test_former_key(self):
        "What a former key has signed is looked for as well"
        self.publish(self.cosign(0))
        self.do('replace_key')
        self.restore()
        fork = Log(self.log.signer._signing_key, self.log.signer.name)
        self.refuse(0, 409, fork.grow(9, b'x'))

    def test_resign(self):
        "Who resigns signs nothing, and may begin again"
        self.cosign(0)
        old = self.key
        self.do('resign')
        self.assertIsNone(self.key)
        self.assertIsNone(self.announced().witness)
        self.refuse(5, 404)
        response = self.client().get(
            f'/{self.db_name}/cooperative/edi/descriptor')
        self.assertIsNone(response.json['witness'])
        self.do('resign')
        self.do('replace_key')
        self.assertIsNone(self.key)
        self.do('open')
        self.assertNotEqual(self.key.key, old.key)
        # It remembers
        self.assertEqual(self.refuse(0, 409).data, b'5\n')
        self.cosign(5, self.log.grow(1))

    def test_secret(self):
        "Nothing is left of a key that was replaced"
        Witness = Pool(self.db_name).get('cooperative.edi.witness')

        def secret():
            return keystore.unseal(Witness(self.id))
        before = self.ask(secret)
        self.do('replace_key')
        self.assertNotIn(self.ask(secret), {None, before})
        self.do('resign')
        self.assertIsNone(self.ask(secret))

    def test_modify(self):
        "A key that still signs is not taken away"
        Witness = Pool(self.db_name).get('cooperative.edi.witness')
        for function, error in [
                (lambda: Witness.write(
                        [Witness(self.id)], {'vkey': None}),
                    WitnessModifyError),
                (lambda: Witness.open([Witness(self.id)]), WitnessKeyError)]:
            with self.assertRaises(error):
                self.ask(function)


def forger(verifier):
    "Return who signs in the name of the witness, by another key"
    class Forger(Cosigner):
        id = verifier.id
    return Forger(verifier.name, SigningKey.generate())


del RouteTestCase
