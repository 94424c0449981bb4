# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
import datetime as dt
import uuid
from types import SimpleNamespace
from unittest.mock import patch

from trytond.exceptions import UserError
from trytond.model.exceptions import AccessError
from trytond.pool import Pool
from trytond.protocols.wrappers import HTTPStatus
from trytond.tests.test_tryton import RouteTestCase
from trytond.transaction import Transaction

from cooperative_edi import client, courier, monitor
from cooperative_edi.client import ClientError, Response
from cooperative_edi.identity import now
from cooperative_edi.peer import naive
from cooperative_edi.transaction import transact
from trycoton.protocol import (
    canonical, contradiction, entry, merkle, signature)
from trycoton.protocol.checkpoint import Checkpoint
from trycoton.protocol.contradiction import Contradiction
from trycoton.protocol.note import NoteSigner
from trycoton.protocol.promise import Promise
from trycoton.protocol.proof import Proof
from trycoton.protocol.receipt import Receipt
from trycoton.protocol.tile import Tile

from .tools import THEM, Other, configure, create_identity, create_relation

TRUST = '0225:732829320_9'
ENDPOINT = 'https://trust.example/t/cooperative'
SIGNER = NoteSigner('log.example', signature.SigningKey.generate())


class Log:
    "A log in memory, served by the client"

    def __init__(self, *entries):
        self.entries = list(entries)
        self.head = None
        self.status = 200
        self.served, self.lie, self.whole = [], None, False

    @property
    def hashes(self):
        return [merkle.leaf_hash(e) for e in self.entries]

    @property
    def size(self):
        return len(self.entries)

    def note(self, size=None, signer=SIGNER):
        hashes = self.hashes[:size]
        return Checkpoint(
            signer.name, len(hashes), merkle.root(hashes)).sign(signer)

    def grow(self, count):
        self.entries += [f'entry {self.size + i}'.encode()
            for i in range(count)]
        return self

    def copy(self):
        return Log(*self.entries)

    def get(self, url, headers=None):
        prefix = ENDPOINT + '/trust/'
        assert url.startswith(prefix), url
        path = url[len(prefix):]
        self.served.append(path)
        if self.status is None:
            raise ClientError(url, "no route to host")
        if self.status != 200:
            return Response(self.status, {}, b'{"title":"Something"}')
        if path == 'checkpoint':
            return Response(200, {}, self.head or self.note())
        wanted = Tile.parse(path)
        if not wanted.exists(self.size) or (
                self.whole and wanted.width < 256
                and Tile(wanted.level, wanted.index).exists(self.size)):
            return Response(404, {}, b'{"title":"Not found"}')
        if self.lie:
            return Response(200, {}, self.lie(wanted))
        height = 8 * wanted.level
        return Response(200, {}, b''.join(
                merkle.root(self.hashes[i << height:i + 1 << height])
                for i in range(
                    wanted.start, wanted.start + wanted.width)))

    def record(self, of, event, jws, receipt=None, **values):
        "Return the record of a new entry for an event of the message"
        data = entry.Evidence(**{
                'event': event, 'message': of.uuid,
                'sender': of.sender, 'recipient': of.recipient,
                'digest': of.digest, 'time': now(),
                'sequence': of.sequence, 'previous': None,
                'signature': jws, 'receipt': receipt,
                **values}).to_bytes()
        nonce = bytes(32)
        self.entries.append(entry.commitment(nonce, data))

        def node(level, index):
            return merkle.root(self.hashes[index << level:index + 1 << level])
        proof = Proof(
            self.size - 1, tuple(
                merkle.inclusion_proof(node, self.size - 1, self.size)),
            self.note())
        return entry.Record(
            evidence=data, nonce=nonce,
            proof=proof.to_bytes().decode()).to_json()


class MonitorTestCase(RouteTestCase):
    "Test the logs of the trust parties are watched"
    module = 'cooperative_edi'

    @classmethod
    def setUpDatabase(cls):
        pool = Pool()
        Peer = pool.get('cooperative.edi.peer')
        configure()
        identity = create_identity()
        cls.company = identity.company.id
        cls.other, trust = Other(THEM), Other(TRUST)
        cls.trust = trust
        peer = Peer.update_from(cls.company, trust.participant(
                kind='trust-party', endpoint=ENDPOINT, log=SIGNER.vkey))
        peer.accepted = True
        peer.save()
        cls.peer = peer.id
        relation = create_relation(identity, cls.other, trust_party=peer)
        relation.peer.trust_parties = TRUST
        relation.peer.save()
        cls.relation, cls.them = relation.uuid, relation.peer.id

    def setUp(self):
        super().setUp()
        self.log = Log(b'a', b'b', b'c')
        self.patch(monitor.client, 'get', lambda *a, **k: self.log.get(*a))
        self.patch(client, 'request', self.unreachable)
        self.patch(monitor, 'SOON', dt.timedelta())
        self.patch(monitor, 'AGAIN', dt.timedelta())
        self.addCleanup(self.forget)

    def unreachable(self, method, url, data=None, headers=None):
        raise ClientError(url, "nobody")

    def patch(self, *args):
        patcher = patch.object(*args)
        patcher.start()
        self.addCleanup(patcher.stop)

    def at(self, **delta):
        "Have the instance live so much later"
        self.patch(monitor, 'now', lambda: now() + dt.timedelta(**delta))

    def transact(self, function, *args):
        return transact(self.db_name, function, *args, context={
                'company': self.company})

    def forget(self):
        def forget():
            pool = Pool()
            Message = pool.get('cooperative.edi.message')
            Peer = pool.get('cooperative.edi.peer')
            cursor = Transaction().connection.cursor()
            for name in [
                    'cooperative.edi.alarm.evidence', 'cooperative.edi.alarm',
                    'cooperative.edi.checkpoint']:
                cursor.execute(*pool.get(name).__table__().delete())
            Message.write(Message.search([]), {
                    'proof_at': None, 'gap_at': None})
            Peer.write([Peer(self.peer)], {
                    'log_key': SIGNER.vkey, 'checkpoint': None,
                    'checkpoint_size': None, 'monitored': None,
                    'monitor_at': None, 'monitor_failures': None,
                    'monitor_error': None, 'monitor_failing': None,
                    'silences': 0,
                    'silent_until': None})
        self.transact(forget)

    def monitor(self, again=True):
        "Have the courier watch; return the size of the checkpoint kept"
        pool = Pool(self.db_name)
        Message = pool.get('cooperative.edi.message')
        Peer = pool.get('cooperative.edi.peer')

        def due():
            Peer.write([Peer(self.peer)], {'monitor_at': None})
        if again:
            self.transact(due)
        Message.watch(self.db_name)
        return self.read(self.peer, 'checkpoint_size')

    def read(self, peer, name):
        Peer = Pool(self.db_name).get('cooperative.edi.peer')
        return self.transact(lambda: getattr(Peer(peer), name))

    def alarms(self):
        "Return kind, state and evidence of the alarms, oldest first"
        Alarm = Pool(self.db_name).get('cooperative.edi.alarm')
        return self.transact(lambda: [
                (a.kind, a.state, {
                        e.name: bytes(e.data) for e in a.evidence})
                for a in Alarm.search([], order=[('id', 'ASC')])])

    def kinds(self):
        return [kind for kind, _, _ in self.alarms()]

    def to_check(self):
        Checkpoint = Pool(self.db_name).get('cooperative.edi.checkpoint')
        return self.transact(lambda: Checkpoint.search([], count=True))

    def post(self, **values):
        message = self.other.statement(
            via=TRUST, relation=self.relation, **values)
        response = self.client().post(
            f'/{self.db_name}/cooperative/edi/messages',
            data=message.to_bytes(),
            headers=self.other.sign(message.to_bytes(), message.typ))
        self.assertEqual(
            response.status_code, HTTPStatus.CREATED, response.data)
        return canonical.load(response.data)

    def send(self):
        "Put a message by the trust party in the outbox; return its id"
        Message = Pool(self.db_name).get('cooperative.edi.message')
        Relation = Pool(self.db_name).get('cooperative.edi.relation')

        def send():
            relation, = Relation.search([('uuid', '=', self.relation)])
            return Message.send_statement(
                relation.peer, 'relation-end',
                {'relation': str(uuid.uuid4())}, origin=relation).id
        return self.transact(send)

    def message(self, id_):
        "Return the values of a message, outside of any transaction"
        Message = Pool(self.db_name).get('cooperative.edi.message')

        def read():
            values, = Message.read([id_], [
                    'id', 'uuid', 'sender', 'recipient', 'digest', 'sequence',
                    'signature', 'state', 'promise', 'submission_record',
                    'delivery_record'])
            return SimpleNamespace(**values)
        return self.transact(read)

    def prove(self, id_, records):
        Message = Pool(self.db_name).get('cooperative.edi.message')
        self.transact(Message.prove, id_, canonical.dump(records))

    def test_growth(self):
        "Test the checkpoint kept follows the log, and is what we sign"
        self.assertEqual(self.monitor(), 3)
        self.assertEqual(self.log.served, ['checkpoint'])
        self.assertEqual(self.monitor(again=False), 3)
        self.assertEqual(self.log.served, ['checkpoint'])
        for count in [1, 4, 250, 300]:
            note = self.log.grow(count).note()
            self.assertEqual(self.monitor(), self.log.size)
            self.assertEqual(bytes(self.read(self.peer, 'checkpoint')), note)
            receipt = Receipt.parse(self.post()['receipt'].encode())
            self.assertEqual(receipt.checkpoint, note)
        self.assertFalse(self.alarms())
        self.assertIn('tile/1/000.p/2', self.log.served)

    def test_witnessed(self):
        "Test what is kept and sent on is signed by the log alone"
        witness = NoteSigner('witness.example', SIGNER._signing_key)
        note = self.log.note()
        text = note.split(b'\n\n')[0].decode() + '\n'
        self.log.head = note + str(witness.sign(text)).encode()
        self.assertEqual(self.monitor(), 3)
        self.assertEqual(bytes(self.read(self.peer, 'checkpoint')), note)
        self.post(checkpoint=self.log.head)
        self.assertFalse(self.to_check())
        old = self.log.note(2)
        text = old.split(b'\n\n')[0].decode() + '\n'
        self.post(checkpoint=old + str(witness.sign(text)).encode())
        Checkpoint = Pool(self.db_name).get('cooperative.edi.checkpoint')
        self.assertEqual(
            self.transact(lambda: [
                    bytes(c.note) for c in Checkpoint.search([])]), [old])
        Peer = Pool(self.db_name).get('cooperative.edi.peer')
        self.log.head = None
        self.log.grow(4)
        self.transact(lambda: Peer(self.peer).see_checkpoint(
                self.log.note()))
        self.assertEqual(self.read(self.peer, 'checkpoint_size'), 3)
        self.assertEqual(self.monitor(again=False), 7)
        self.assertFalse(self.alarms())

    def test_whole_tiles(self):
        "Test a log that keeps only whole tiles"
        self.log.grow(200)
        self.assertEqual(self.monitor(), 203)
        self.log.whole = True
        self.log.grow(400)
        self.assertEqual(self.monitor(), 603)
        self.log.grow(300)
        self.post(checkpoint=self.log.note(300))
        self.assertEqual(self.monitor(), 903)
        self.assertFalse(self.alarms())
        self.assertFalse(self.to_check())

    def test_hourly(self):
        "Test the log is checked about every hour, and after a failure sooner"
        self.monitor()
        delays = set()
        for _ in range(5):
            self.monitor()
            delay = self.read(self.peer, 'monitor_at') - naive(now())
            delays.add(delay)
            self.assertTrue(dt.timedelta(minutes=29) < delay
                <= dt.timedelta(minutes=90), delay)
        self.assertGreater(len(delays), 1)
        Message = Pool(self.db_name).get('cooperative.edi.message')
        self.assertLessEqual(self.transact(Message.next_due), 5400)
        self.log.status = None
        self.monitor()
        self.assertLessEqual(
            self.read(self.peer, 'monitor_at') - naive(now()),
            dt.timedelta(minutes=2))
        self.assertIn("no route", self.read(self.peer, 'monitor_error'))

    def test_rewritten(self):
        "Test a log that changed an entry is found by its own checkpoint"
        self.log.grow(20)
        self.monitor()
        old = self.log.note()
        for count in [0, 1, 300]:
            self.log = Log(b'a', b'z', b'c').grow(20 + count)
            with self.subTest(count=count):
                self.assertEqual(self.monitor(), 23)
                (kind, state, files), = self.alarms()
                self.assertEqual((kind, state), ('split', 'open'))
                self.assertEqual(files['known.txt'], old)
                self.assertEqual(files['other.txt'], self.log.note())
                self.assertTrue(contradiction.is_one(
                        files['contradiction.json']))
                Contradiction.parse(
                    files['contradiction.json']).verify(SIGNER)
            # It goes on: one is enough
            self.log.grow(1)
            self.monitor()
            self.assertEqual(len(self.alarms()), 1)
            self.forget_alarms()
        self.assertEqual(bytes(self.read(self.peer, 'checkpoint')), old)

    def forget_alarms(self):
        def forget():
            cursor = Transaction().connection.cursor()
            for name in ['alarm.evidence', 'alarm']:
                cursor.execute(*Pool().get(
                        f'cooperative.edi.{name}').__table__().delete())
        self.transact(forget)

    def test_partner_other_story(self):
        "Test the checkpoint in a message of a partner who was shown another"
        self.log.grow(7)
        self.monitor()
        fork = Log(b'a', b'z', b'c').grow(40)
        for size in [2, 10, 12]:
            known = self.log.note()
            self.post(checkpoint=fork.note(size))
            if size > self.log.size:
                self.monitor(again=False)
                self.assertFalse(self.alarms())
                self.log.grow(5)
                known = self.log.note()
            with self.subTest(size=size):
                self.monitor(again=False)
                (kind, _, files), = self.alarms()
                self.assertEqual(kind, 'split')
                self.assertEqual(files['known.txt'], known)
                self.assertEqual(files['other.txt'], fork.note(size))
                self.assertFalse(self.to_check())
                self.forget_alarms()

    def test_many_stories(self):
        "Test what partners were shown is kept with the alarm that is open"
        self.log.grow(20)
        self.monitor()
        forks = [
            Log(letter, b'z').grow(7).note() for letter in [b'p', b'q', b'r']]
        for note in [*forks, forks[1]]:
            self.post(checkpoint=note)
            self.monitor()
        self.assertFalse(self.to_check())
        (_, _, files), = self.alarms()
        self.assertEqual(list(files), [
                'known.txt', 'other.txt', 'contradiction.json',
                '4-other.txt', '5-contradiction.json',
                '6-other.txt', '7-contradiction.json'])
        self.assertEqual(
            [files[n] for n in ['other.txt', '4-other.txt', '6-other.txt']],
            forks)
        Contradiction.parse(files['7-contradiction.json']).verify(SIGNER)

    def test_same_past(self):
        "Test old checkpoints, again and again, raise no alarm"
        self.log.grow(300)
        self.monitor()
        for size in [300, 1, 2, 2, 256, 17, 300, 0]:
            self.post(checkpoint=self.log.note(size))
        self.post()
        self.assertEqual(self.to_check(), 5)
        self.assertEqual(self.monitor(again=False), 303)
        self.assertFalse(self.alarms())
        self.assertFalse(self.to_check())

    def test_notes(self):
        "Test what is no checkpoint that the log signed accuses nobody"
        self.monitor()
        note = self.log.note(2)
        text, line = note.split(b'\n\n')
        stranger = NoteSigner('log.example', signature.SigningKey.generate())
        big = Checkpoint('log.example', 2 ** 40, bytes(32)).sign(SIGNER)
        for other in [
                b'\n', b'no note', note[:-1],
                note.replace(b'\n2\n', b'\n02\n'),
                note + line, text + b'\nextension\n\n' + line,
                note.replace(b'\n', b'\r\n'), note.replace(b'=\n', b'\n'),
                Log(b'x', b'y').note(2, stranger), big,
                note.replace(b'\n2\n', b'\n1\n')]:
            with self.subTest(other):
                self.post(checkpoint=other)
                self.assertFalse(self.to_check())
                self.log.head = other
                self.assertEqual(self.monitor(), 3)
                self.assertTrue(self.read(self.peer, 'monitor_error'))
        self.assertFalse(self.alarms())

    def test_tiles_lie(self):
        "Test tiles that are not those of the log are not taken for a fork"
        self.monitor()
        old = self.log.note()
        self.log.grow(9)
        for lie in [
                lambda t: bytes(32 * t.width), lambda t: b'',
                lambda t: bytes(31)]:
            self.log.lie = lie
            self.assertEqual(self.monitor(), 3)
            (kind, state, files), = self.alarms()
            self.assertEqual((kind, state), ('tiles', 'open'))
            self.assertEqual(files, {
                    'known.txt': old, 'other.txt': self.log.note()})
        self.log.lie = None
        self.assertEqual(self.monitor(), 12)
        self.assertEqual(
            [(k, s) for k, s, _ in self.alarms()], [('tiles', 'settled')])
        self.log.lie = lie
        self.post(checkpoint=self.log.note(5))
        for _ in range(2):
            self.assertEqual(self.monitor(), 12)
            self.assertEqual(
                [(k, s) for k, s, _ in self.alarms()],
                [('tiles', 'settled'), ('tiles', 'open')])
            self.assertEqual(self.to_check(), 1)
        self.log.lie = None
        self.monitor()
        self.assertEqual(self.alarms()[-1][1], 'settled')
        self.assertFalse(self.to_check())

    def test_silent(self):
        "Test a log that serves nothing for long"
        self.monitor()
        self.log.grow(5)
        for status in [None, 404, 500]:
            self.log.status = status
            self.assertEqual(self.monitor(), 3)
        self.assertFalse(self.alarms())
        self.at(hours=2)
        self.monitor()
        self.assertFalse(self.alarms())
        self.at(hours=7)
        for _ in range(2):
            self.monitor()
            (kind, state, files), = self.alarms()
            self.assertEqual((kind, state), ('silent', 'open'))
        self.log.status = 200
        self.assertEqual(self.monitor(), 8)
        (kind, state, files), = self.alarms()
        self.assertEqual(state, 'settled')

    def test_no_tiles(self):
        "Test a trust party that gives checkpoints without tiles"
        self.monitor()
        self.log.grow(5)
        get = self.log.get

        def no_tiles(url, *args):
            if 'tile' in url:
                return Response(404, {}, b'')
            return get(url)
        self.log.get = no_tiles
        self.assertEqual(self.monitor(), 3)
        self.assertFalse(self.alarms())
        self.at(hours=7)
        self.assertEqual(self.monitor(), 3)
        self.assertEqual(self.kinds(), ['silent'])

    def test_went_back(self):
        "Test a log that shows less than what it signed, for long"
        self.log.grow(20)
        self.monitor()
        note = self.log.note()
        self.log = Log(*self.log.entries[:10])
        self.assertEqual(self.monitor(), 23)
        self.assertFalse(self.alarms())
        self.at(hours=1)
        self.post(checkpoint=note)
        self.monitor()
        self.assertFalse(self.alarms())
        self.at(hours=4)
        for _ in range(2):
            self.assertEqual(self.monitor(), 23)
            (kind, state, files), = self.alarms()
            self.assertEqual((kind, state), ('back', 'open'))
            self.assertEqual(files, {
                    'shown-now.txt': self.log.note(),
                    'shown-before.txt': note})
        self.log.entries = [b'a', b'b', b'c']
        self.log.grow(30)
        self.assertEqual(self.monitor(), 33)
        self.assertEqual(self.alarms()[0][1], 'settled')

    def test_hidden(self):
        "Test a log that shows less to us than to others, for long"
        self.monitor()
        self.post(checkpoint=self.log.copy().grow(4).note())
        self.monitor()
        self.at(hours=2)
        self.monitor()
        self.assertFalse(self.alarms())
        self.assertEqual(self.to_check(), 1)
        self.at(hours=4)
        self.monitor()
        self.assertEqual(self.kinds(), ['back'])
        self.log.grow(4)
        self.assertEqual(self.monitor(), 7)
        self.assertEqual(self.alarms()[0][1], 'settled')
        self.assertFalse(self.to_check())

    def test_never_back(self):
        "Test two that check at the same time do not go back"
        Peer = Pool(self.db_name).get('cooperative.edi.peer')
        self.monitor()
        slow = self.transact(Peer.claim_log, self.peer)
        view = slow.check()
        self.log.grow(1)
        late = self.transact(Peer.claim_log, self.peer).check()
        self.log.grow(9)
        self.assertEqual(self.monitor(), 13)
        for view in [view, late]:
            self.transact(Peer.keep_view, self.peer, view)
            self.assertEqual(self.read(self.peer, 'checkpoint_size'), 13)

    def test_log_key(self):
        "Test a log under another key starts again, with an alarm"
        self.monitor()
        note = self.log.note()
        stranger = NoteSigner('log2.example', signature.SigningKey.generate())
        Peer = Pool(self.db_name).get('cooperative.edi.peer')
        self.transact(Peer.update_from, self.company, self.trust.participant(
                kind='trust-party', endpoint=ENDPOINT, log=stranger.vkey))
        (kind, _, files), = self.alarms()
        self.assertEqual(kind, 'keys')
        self.assertEqual(files, {
                'log.vkey': SIGNER.vkey.encode(), 'checkpoint.txt': note})
        self.assertIsNone(self.read(self.peer, 'checkpoint'))
        self.log.head = self.log.note(signer=stranger)
        self.assertEqual(self.monitor(), 3)

    def receipt(self, message, key=None, **values):
        receipt = Receipt(**{
                'message': message.uuid, 'digest': message.digest,
                'receiver': THEM, 'time': now(), **values}).to_bytes()
        return receipt.decode(), signature.sign(
            receipt, signature.RECEIPT, key or self.other.key)

    def test_receipt(self):
        "Test the checkpoint in the receipt of the recipient"
        self.log.grow(20)
        self.monitor()
        fork = Log(b'a', b'z', b'c').grow(4)
        for note, kinds in [
                (None, []), (self.log.note(5), []), (b'no note', []),
                (fork.note(), ['split'])]:
            id_ = self.send()
            message = self.message(id_)
            text, jws = self.receipt(message, checkpoint=note)
            self.prove(id_, {'delivery': self.log.record(
                        message, 'delivery', jws, text)})
            self.monitor()
            with self.subTest(note):
                self.assertEqual(self.kinds(), kinds)
                self.assertTrue(self.message(id_).delivery_record)
        self.assertEqual(self.alarms()[0][2]['other.txt'], fork.note())

    def test_wrong_record(self):
        "Test records that are not of the message, or of nobody's act"
        self.monitor()
        id_ = self.send()
        message = self.message(id_)
        text, jws = self.receipt(message)
        stranger = signature.SigningKey.generate()
        unknown = self.receipt(message, stranger)
        submission = {'event': 'submission', 'jws': message.signature}
        delivery = {'event': 'delivery', 'jws': jws, 'receipt': text}
        invented = {
            **delivery,
            'jws': jws[:-6] + ('A' * 6 if jws[-6:] != 'A' * 6 else 'B' * 6)}
        for count, values in enumerate([
                    {**submission, 'digest': '0' * 64},
                    {**submission, 'sequence': 999},
                    {**submission, 'sender': THEM},
                    {**submission, 'message': str(uuid.uuid4())},
                    invented,
                    {**delivery, 'receipt': self.receipt(
                            message, digest='1' * 64)[0]},
                    ], 1):
            record = self.log.record(message, **values)
            with self.subTest(values):
                self.prove(id_, {values['event']: record})
                self.prove(id_, {values['event']: record})
                self.assertEqual(self.kinds(), ['record'] * count)
                files = self.alarms()[-1][2]
                self.assertEqual(
                    files[f'{values["event"]}.json'], canonical.dump(record))
        text, jws = unknown
        self.prove(id_, {'delivery': self.log.record(
                    message, 'delivery', jws, text)})
        self.assertEqual(len(self.alarms()), count)
        other = {**self.log.record(message, **submission), 'nonce': 'AAAA'}
        self.prove(id_, {'submission': other})
        self.assertEqual(len(self.alarms()), count + 1)
        message = self.message(id_)
        self.assertFalse(message.submission_record or message.delivery_record)
        self.prove(id_, {
                'submission': self.log.record(message, **submission),
                'delivery': self.log.record(message, **delivery)})
        message = self.message(id_)
        self.assertTrue(message.submission_record and message.delivery_record)
        self.assertEqual(len(self.alarms()), count + 1)

    def test_strange_proof(self):
        "Test a proof that fails strangely is put off, and stops no other"
        Message = Pool(self.db_name).get('cooperative.edi.message')

        def due(ids):
            Message.write(Message.browse(ids), {
                    'proof_at': naive(now()) - dt.timedelta(hours=1)})
        ancient = Response(
            401, {'Date': 'Fri, 01 Jan 1960 00:00:00 GMT'}, b'{}')

        def strange(*args):
            raise KeyError("strange")
        for answer, name in [
                (ancient, 'keep_records'),
                (Response(404, {}, b''), '_check_promise'),
                (Response(200, {}, b'{}'), 'keep_records')]:
            ids = [self.send(), self.send()]
            self.transact(due, ids)
            asked = []

            def request(method, url, data=None, headers=None):
                asked.append(url)
                return answer
            with patch.object(client, 'request', request), \
                    patch.object(Message, name, strange), \
                    self.assertLogs('cooperative_edi.courier'):
                courier.fetch_records(self.db_name)
            with self.subTest(answer.status, name=name):
                self.assertEqual(len(set(asked)), 2)
                self.assertFalse(self.transact(Message.to_prove))

    def test_large_log(self):
        "Test a record at an index that no log reaches is a wrong one"
        id_ = self.send()
        message = self.message(id_)
        record = self.log.record(message, 'consignment', None)
        root = merkle.leaf_hash(entry.commitment(
                bytes(32), canonical.decode(record['evidence'])))
        hashes = (bytes(32),) * 40
        for sibling in hashes:
            root = merkle.node_hash(sibling, root)
        note = Checkpoint(SIGNER.name, 2 ** 40, root).sign(SIGNER)
        record['proof'] = Proof(
            2 ** 40 - 1, hashes, note).to_bytes().decode()
        self.prove(id_, {'consignment': record})
        (kind, _, files), = self.alarms()
        self.assertEqual(kind, 'record')
        self.assertEqual(files['consignment.json'], canonical.dump(record))
        Event = Pool(self.db_name).get('cooperative.edi.message.event')
        self.assertFalse(self.transact(
                Event.search, [('message', '=', id_)]))

    def promise(self, **values):
        "Have the trust party promise what was sent; return the message"
        id_ = self.send()
        message = self.message(id_)
        receipt = Receipt(
            message=message.uuid, digest=message.digest, receiver=TRUST,
            time=now(), status='relayed').to_bytes()
        promise = Promise(**{
                'origin': SIGNER.name, 'message': message.uuid,
                'digest': message.digest,
                'deadline': now() + dt.timedelta(minutes=10), **values})
        answer = {
            'receipt': receipt.decode(),
            'signature': signature.sign(
                receipt, signature.RECEIPT, self.trust.key),
            'promise': promise.sign(SIGNER).decode(),
            }
        Message = Pool(self.db_name).get('cooperative.edi.message')
        self.transact(lambda: Message(id_).accept_receipt(
                canonical.dump(answer)))
        return self.message(id_), answer['promise'].encode()

    def test_promise(self):
        "Test a promise that is not kept, by a clock that may be wrong"
        Message = Pool(self.db_name).get('cooperative.edi.message')
        message, promise = self.promise()
        self.assertEqual(bytes(message.promise), promise)
        self.prove(message.id, {})
        # The clock of the trust party may be an hour off
        self.at(minutes=65)
        self.prove(message.id, {'submission': None})
        self.transact(Message.not_proven, message.id, 404)
        self.assertFalse(self.alarms())
        self.at(minutes=75)
        # Who does not answer is silent, and broke nothing yet
        self.transact(Message.prove_later, message.id)
        self.transact(Message.not_proven, message.id, 503)
        self.assertFalse(self.alarms())
        for _ in range(2):
            self.prove(message.id, {'submission': None})
            self.transact(Message.not_proven, message.id, 404)
            (kind, _, files), = self.alarms()
            self.assertEqual(kind, 'promise')
            self.assertEqual(files['promise.txt'], promise)
            self.assertIn('relay-receipt.json', files)

    def test_promise_kept(self):
        "Test a promise that is kept, and what is none"
        message, _ = self.promise()
        self.at(days=1)
        self.prove(message.id, {'submission': self.log.record(
                    message, 'submission', message.signature)})
        for values in [
                {'digest': '0' * 64}, {'message': str(uuid.uuid4())},
                {'origin': 'other.example'}]:
            message, _ = self.promise(**values)
            self.assertIsNone(message.promise)
            self.assertEqual(message.state, 'sent')
            self.prove(message.id, {'submission': None})
        self.assertFalse(self.alarms())

    def test_gap(self):
        "Test a message that does not arrive"
        self.post()
        kept_back = self.other.statement(via=TRUST, relation=self.relation)
        self.post()
        self.at(hours=23)
        self.monitor()
        self.assertFalse(self.alarms())
        self.at(hours=25)
        for _ in range(2):
            self.monitor()
            (kind, _, files), = self.alarms()
            self.assertEqual(kind, 'gap')
        self.forget_alarms()
        # Out of order, but there
        late = self.other.statement(via=TRUST, relation=self.relation)
        self.post()
        response = self.client().post(
            f'/{self.db_name}/cooperative/edi/messages',
            data=late.to_bytes(),
            headers=self.other.sign(late.to_bytes(), late.typ))
        self.assertEqual(response.status_code, HTTPStatus.CREATED)
        self.at(hours=50)
        self.monitor()
        self.assertFalse(self.alarms())
        self.assertNotEqual(kept_back.digest, late.digest)

    def test_alarm(self):
        "Test an alarm is told once, does not change and is acknowledged"
        pool = Pool(self.db_name)
        Alarm = pool.get('cooperative.edi.alarm')

        def raise_alarm(key):
            Peer = pool.get('cooperative.edi.peer')
            return Alarm.raise_alarm(
                self.company, 'back', key, 'cooperative_edi.msg_alarm_back',
                peer=Peer(self.peer), evidence=[('a.txt', b'a')],
                peer_name="Trust", size=2, head=1, since="now").id
        first = self.transact(raise_alarm, 'a')
        self.assertEqual(self.transact(raise_alarm, 'a'), first)
        second = self.transact(raise_alarm, 'b')
        self.assertNotEqual(second, first)

        def waiting():
            Waiting = pool.get('cooperative.edi.waiting')
            return [(w.record.id, w.task) for w in Waiting.search([])]
        self.assertEqual(
            sorted(self.transact(waiting)),
            [(first, 'take_note'), (second, 'take_note')])

        def change(name, value):
            Alarm.write([Alarm(first)], {name: value})
        for args in [
                (change, 'text', "Nothing"), (change, 'kind', 'split'),
                (change, 'time', None), (change, 'evidence', [
                        ('delete', [1])]),
                (lambda: Alarm.delete([Alarm(first)]),),
                (lambda: type(Alarm(first).evidence[0]).write(
                        list(Alarm(first).evidence), {'data': b'b'}),),
                (lambda: type(Alarm(first).evidence[0]).delete(
                        list(Alarm(first).evidence)),)]:
            with self.assertRaises(UserError):
                self.transact(*args)

        def acknowledge():
            Alarm.acknowledge([Alarm(first)])
            Alarm.acknowledge([Alarm(first)])
            return Alarm(first).state, Alarm(first).advice
        state, advice = self.transact(acknowledge)
        self.assertEqual(state, 'acknowledged')
        self.assertIn("ask the trust party", advice)
        self.transact(Alarm.settle, ['back'], self.peer)
        self.assertEqual(
            [s for _, s, _ in self.alarms()], ['acknowledged', 'settled'])
        self.assertFalse(self.transact(waiting))
        self.assertEqual(self.transact(raise_alarm, 'b'), second)

    def test_advice(self):
        "Test each kind of alarm says what to do"
        Alarm = Pool(self.db_name).get('cooperative.edi.alarm')
        for kind, _ in Alarm.kind.selection:
            with self.subTest(kind):
                advice = self.transact(
                    lambda: Alarm(kind=kind).get_advice(None))
                self.assertGreater(len(advice), 50)

    def test_rights(self):
        "Test who sees the alarms, and who takes note of them"
        pool = Pool(self.db_name)
        Alarm = pool.get('cooperative.edi.alarm')

        def run(groups, action, companies=True):
            User = pool.get('res.user')
            ModelData = pool.get('ir.model.data')
            user, = User.create([{
                        'name': "User", 'login': str(uuid.uuid4()),
                        'companies': [('add', [self.company])]
                        if companies else None,
                        'company': self.company if companies else None,
                        'groups': [('add', [
                                    ModelData.get_id('cooperative_edi', g)
                                    for g in groups])],
                        }])
            alarm = Alarm.raise_alarm(
                self.company, 'gap', str(uuid.uuid4()),
                'cooperative_edi.msg_alarm_key_unique',
                evidence=[('a.txt', b'a')])
            with Transaction().set_user(user.id), \
                    Transaction().set_context(
                        _check_access=True, company=self.company), \
                    Transaction().set_context(User.get_preferences(
                            context_only=True)):
                return action(alarm.id)

        def read(id_):
            alarm, = Alarm.read([id_], ['text', 'evidence'])
            Evidence = pool.get('cooperative.edi.alarm.evidence')
            return bytes(Evidence.read(alarm['evidence'], ['data'])[0]['data'])

        def acknowledge(id_):
            Alarm.acknowledge([Alarm(id_)])

        def write(id_):
            Alarm.write([Alarm(id_)], {'state': 'acknowledged'})
        self.assertEqual(self.transact(run, ['group_edi'], read), b'a')
        self.transact(run, ['group_edi_admin'], acknowledge)
        for groups, action, companies in [
                ([], read, True),
                (['group_edi'], read, False),
                ([], acknowledge, True),
                (['group_edi'], acknowledge, True),
                (['group_edi_admin'], write, True)]:
            with self.subTest(groups, action=action), \
                    self.assertRaises((AccessError, UserError)):
                self.transact(run, groups, action, companies)
