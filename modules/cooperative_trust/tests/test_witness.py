# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The log and its witnesses: asked, believed as far as they can be"""
import datetime as dt
import threading
from unittest.mock import patch

from trytond.pool import Pool
from trytond.protocols.wrappers import HTTPStatus
from trytond.tests.test_tryton import RouteTestCase
from trytond.transaction import Transaction, inactive_records

from cooperative_edi import client
from cooperative_edi.transaction import transact
from cooperative_trust import witness as module
from cooperative_trust.exceptions import (
    LogModifyError, WitnessInvalid, WitnessModifyError)
from trycoton.protocol import canonical, merkle, witness
from trycoton.protocol.checkpoint import Checkpoint
from trycoton.protocol.errors import Rejected
from trycoton.protocol.note import Cosigner, Note, Verifier
from trycoton.protocol.policy import Policy
from trycoton.protocol.signature import SigningKey

from .tools import (
    BUYER, COMMUNITY, SELLER, Community, Member, create_trust_party, record_of,
    set_key)

ADDRESS = 'https://witness%s.example/cooperative'


class Elsewhere:
    "The witness of a member, elsewhere, as the specification tells it"

    def __init__(self, number):
        self.identifier = f'{COMMUNITY}_{100 + number}'
        self.url = ADDRESS % number
        self.cosigner = Cosigner(
            f'witness{number}.example/cooperative/witness',
            SigningKey.generate())
        self.size, self.root = 0, merkle.EMPTY_ROOT
        self.skew, self.asked = dt.timedelta(), 0

    def participant(self, **values):
        return Member(self.identifier).participant(**{
                'endpoint': self.url, 'witness': self.cosigner.vkey,
                **values})

    def forget(self, size=0, root=merkle.EMPTY_ROOT):
        self.size, self.root = size, root

    def answer(self, data):
        self.asked += 1
        request = witness.Request.parse(data)
        try:
            request.check(self.size, self.root)
        except witness.Stale:
            return 409, witness.format_size(self.size)
        except Rejected:
            return 422, b'{"title":"No."}'
        self.size, self.root = request.value.size, request.value.root
        return 200, self.sign(request.note.text)

    def sign(self, text):
        time = dt.datetime.now(dt.timezone.utc) + self.skew
        return witness.cosign(self.cosigner, text, int(time.timestamp()))


class TrustWitnessTestCase(RouteTestCase):
    "Test the witnesses of a log"
    module = 'cooperative_trust'

    @classmethod
    def setUpDatabase(cls):
        set_key()
        log = create_trust_party()
        cls.log = log.id
        cls.verifier = Verifier.from_vkey(log.vkey)

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.community = Community(COMMUNITY)
        cls.seller, cls.buyer = Member(SELLER), Member(BUYER)

    def setUp(self):
        super().setUp()
        self.witnesses = {}
        patcher = patch.object(client, 'post', self.post)
        patcher.start()
        self.addCleanup(patcher.stop)

    def post(self, url, data, headers=None):
        for one in self.witnesses.values():
            if url == f'{one.url}/witness/add-checkpoint':
                status, body = one.answer(data)
                return client.Response(status, {}, body)
        raise client.ClientError(url, "nobody there")

    def first(self, url):
        "Have the answer from there be the first that is kept"
        post = module._post
        return patch.object(module, '_post', lambda asks: sorted(
                post(asks), key=lambda a: not a[0].url.startswith(url)))

    def test_strange(self):
        "Test a witness that answers strangely, or is gone, stops no round"
        ones = self.elect(3, quorum=2)

        def strange(data):
            raise client.ClientError("x", "\ud800\x00")
        ones[0].answer = strange
        self.send()
        with self.first(ones[0].url):
            self.round()
        self.assertEqual(len(self.signed(self.note('witnessed'))), 2)

        other = Elsewhere(777)

        def create():
            Witness = Pool().get('cooperative.trust.witness')
            witness, = Witness.create([{
                        'log': self.log, 'vkey': other.cosigner.vkey,
                        'url': f'{other.url}/witness'}])
            return witness.id
        id_ = self.ask(create)

        def delete():
            Witness = Pool().get('cooperative.trust.witness')
            Witness.delete([Witness(id_)])
        post = other.answer

        def gone(data):
            self.addCleanup(self.witnesses.pop, 'other')
            return post(data)
        other.answer = gone
        self.witnesses['other'] = other
        self.send()
        take = module._post

        def posted(asks):
            answers = take(asks)
            self.ask(delete)
            return sorted(answers, key=lambda a: a[0].witness != id_)
        with patch.object(module, '_post', posted):
            self.round()
        self.assertEqual(len(self.signed(self.note('witnessed'))), 2)

    def test_known_before(self):
        "Test a witness that the operator knew counts once it is elected"
        one = Elsewhere(778)
        self.witnesses[one.identifier] = one

        def create():
            Witness = Pool().get('cooperative.trust.witness')
            Witness.create([{
                        'log': self.log, 'vkey': one.cosigner.vkey,
                        'url': f'{one.url}/witness'}])
        self.ask(create)
        self.publish(quorum=1)
        self.send()
        self.round()
        self.assertEqual(
            self.signed(self.note('witnessed')), {one.cosigner.name})

    def ask(self, function, *args, **context):
        return transact(self.db_name, function, *args, context=context)

    def elect(self, count, quorum=None, **values):
        "Have the directory elect so many new witnesses"
        new = [
            Elsewhere(len(self.witnesses) + i + id(self) % 10 ** 6)
            for i in range(count)]
        self.witnesses.update({w.identifier: w for w in new})
        self.publish(quorum, **values)
        return new

    def publish(self, quorum=None, witnesses=None):
        if witnesses is None:
            witnesses = [w.participant() for w in self.witnesses.values()]
        elected = [w for w in witnesses if w.witness]
        directory = self.community.directory(
            self.seller.participant(), self.buyer.participant(),
            *witnesses, quorum=quorum or (
                len(elected) // 2 + 1 if elected else None))
        response = self.community.publish(
            self.client(), self.db_name, directory)
        self.assertEqual(
            response.status_code, HTTPStatus.OK, response.data)
        self.directory = directory
        return canonical.load(response.data)

    def send(self):
        "Have the log grow, and return the message and its record"
        message = self.seller.statement(BUYER, 'some-news', {'text': "x"})
        response = self.seller.send(self.client(), self.db_name, message)
        self.assertEqual(
            response.status_code, HTTPStatus.CREATED, response.data)
        return message, record_of(canonical.load(response.data)['record'])

    def round(self, later=False):
        "Have the witnesses asked, as if the pause was over"
        def due():
            Log = Pool().get('cooperative.trust.log')
            Witness = Pool().get('cooperative.trust.witness')
            table = Log.__table__()
            cursor = Transaction().connection.cursor()
            cursor.execute(*table.update([table.next_round], [None]))
            if later:
                table = Witness.__table__()
                cursor.execute(*table.update(
                        [table.next_ask], [dt.datetime(2026, 1, 1)]))
        self.ask(due)
        module.attend(self.db_name)

    def path(self, path):
        return f'/{self.db_name}/cooperative/trust/{path}'

    def get(self, path):
        return self.client().get(self.path(path))

    def note(self, path='checkpoint'):
        response = self.get(path)
        self.assertEqual(response.status_code, HTTPStatus.OK)
        return response.data

    def signed(self, data):
        "Return the names of the witnesses that signed the note"
        note = Note.parse(data)
        Checkpoint.open(data, [self.verifier])
        return {v.name for v in note.verify([
                    w.cosigner for w in self.witnesses.values()])}

    def record(self, message):
        response = self.seller.get(
            self.client(), self.path(f'records/{message.id}'))
        return record_of(canonical.load(response.data)['submission'])

    def policy(self):
        policy = Policy.of_directory(self.directory)
        return Policy(
            (self.verifier,), policy.witnesses, policy.groups,
            policy.quorum)

    def is_witnessed(self, record):
        note = Note.parse(record.inclusion.checkpoint)
        policy = self.policy()
        record.verify([self.verifier])
        try:
            policy.check(
                Checkpoint.parse(note.text), note.verify(policy.verifiers))
        except Rejected:
            return False
        return True

    def read(self, one):
        "Return what the operator sees of the witness"
        Witness = Pool(self.db_name).get('cooperative.trust.witness')

        def read():
            with inactive_records():
                found, = Witness.search(
                    [('vkey', '=', one.cosigner.vkey)])
            names = [
                'size', 'answered', 'forgot', 'failures', 'error', 'active']
            return {n: getattr(found, n) for n in names}
        return self.ask(read)

    def test_witnessed(self):
        "Test a record is witnessed once the quorum has signed, not before"
        self.elect(3)
        message, first = self.send()
        self.assertFalse(self.is_witnessed(first))
        self.assertFalse(self.is_witnessed(self.record(message)))
        self.round()
        record = self.record(message)
        self.assertTrue(self.is_witnessed(record))
        self.assertEqual(
            (record.evidence, record.nonce, record.inclusion.index),
            (first.evidence, first.nonce, first.inclusion.index))
        for path in ['checkpoint', 'witnessed']:
            self.assertEqual(len(self.signed(self.note(path))), 3)
        for one in self.witnesses.values():
            self.assertEqual(one.asked, 1)
            found = self.read(one)
            self.assertEqual((found['failures'], found['error']), (0, None))
            self.assertIsNotNone(found['answered'])

        # What comes later is not witnessed by what was signed before
        later, second = self.send()
        self.assertFalse(self.is_witnessed(second))
        self.assertFalse(self.is_witnessed(self.record(later)))
        self.assertEqual(self.signed(self.note()), set())
        self.assertEqual(len(self.signed(self.note('witnessed'))), 3)
        self.round()
        self.assertTrue(self.is_witnessed(self.record(later)))

    def test_pause(self):
        "Test nobody is asked twice for the same, nor too often"
        one, = self.elect(1)
        self.send()
        self.round()
        self.assertEqual(one.asked, 1)
        module.attend(self.db_name)
        self.assertEqual(one.asked, 1)
        self.send()
        module.attend(self.db_name)
        self.assertEqual(one.asked, 1)
        self.round()
        self.assertEqual(one.asked, 2)
        self.round()
        self.assertEqual(one.asked, 2)

    def test_directory(self):
        "Test the digest of a directory is witnessed as well"
        self.elect(1)
        self.round()
        response = self.community.publish(
            self.client(), self.db_name, self.directory)
        proof = canonical.load(response.data)['record']['proof']
        data = proof.partition('\n\n')[2].encode()
        self.assertEqual(len(self.signed(data)), 1)

    def test_quorum(self):
        "Test less than the quorum is shown, and counts for nothing"
        self.elect(4, quorum=3)
        dead = list(self.witnesses.values())[2:]
        for one in dead:
            one.answer = lambda data: (500, b'')
        before = self.get('witnessed').data
        message, _ = self.send()
        self.round()
        self.assertFalse(self.is_witnessed(self.record(message)))
        self.assertEqual(len(self.signed(self.note())), 2)
        self.assertEqual(self.get('witnessed').data, before)
        self.assertEqual(self.read(dead[0])['failures'], 1)
        self.assertIn('500', self.read(dead[0])['error'])

        def shown():
            Checkpoint = Pool().get('cooperative.trust.log.checkpoint')
            Log = Pool().get('cooperative.trust.log')
            return Checkpoint.last(Log(self.log)).witnessed
        self.assertEqual(self.ask(shown), "2 of 4")

    def test_silent(self):
        "Test who does not answer is left alone for longer and longer"
        one, = self.elect(1)
        one.answer = lambda data: 1 / 0
        self.send()
        for failures in [1, 2]:
            self.round(later=True)
            self.assertEqual(self.read(one)['failures'], failures)
        self.assertIn("division by zero", self.read(one)['error'])
        asked = one.asked
        self.round()
        self.assertEqual(one.asked, asked)
        del one.answer
        self.round(later=True)
        self.assertEqual(self.read(one)['failures'], 0)
        self.assertIsNone(self.read(one)['error'])

    def test_slow(self):
        "Test one that is slow does not hold up the others"
        fast, slow = self.elect(2, quorum=2)
        release = threading.Event()
        answer = slow.answer
        slow.answer = lambda data: release.wait(20) and answer(data)
        self.send()
        with patch.object(module, 'TIMEOUT', 0.5):
            self.round()
        release.set()
        self.assertIn("0.5 seconds", self.read(slow)['error'])
        self.assertEqual(self.signed(self.note()), {fast.cosigner.name})

    def test_behind(self):
        "Test a witness that knows another size is asked from there"
        one, = self.elect(1)
        self.send()
        self.round()
        checkpoint = Checkpoint.parse(Note.parse(self.note()).text)
        self.send()
        self.round()
        # Restored from a backup
        one.forget(checkpoint.size, checkpoint.root)
        self.send()
        asked = one.asked
        self.round()
        self.assertEqual(one.asked, asked + 2)
        found = self.read(one)
        self.assertIsNotNone(found['forgot'])
        self.assertIsNone(found['error'])
        self.assertEqual(len(self.signed(self.note())), 1)

    def test_contradicts(self):
        "Test a witness that saw another log is shown, and not counted"
        fork, ahead, stubborn = self.elect(3, quorum=2)
        for one in self.witnesses.values():
            self.assertIsNone(self.read(one)['error'])
        self.send()
        size = Checkpoint.parse(Note.parse(self.note()).text).size
        fork.forget(size - 1, bytes(32))
        ahead.forget(size + 5, bytes(32))
        stubborn.answer = lambda data: (409, b'0\n')
        self.round()
        for one, text in [
                (fork, "422"), (ahead, f"signed {size + 5} entries"),
                (stubborn, "another log")]:
            self.assertIn(text, self.read(one)['error'])
        self.assertEqual(self.signed(self.note()), set())

    def test_wrong(self):
        "Test what does not verify is refused, with the reason"
        self.elect(5, quorum=3)
        other, text, twice, late, junk = self.witnesses.values()
        other.cosigner = Cosigner(
            other.cosigner.name, SigningKey.generate())
        vkeys = {
            w: self.read_vkey(w.identifier) for w in self.witnesses.values()}
        sign = text.sign
        text.sign = lambda note: sign(note + 'x\n')
        both = twice.sign
        twice.sign = lambda note: both(note) * 2
        late.skew = dt.timedelta(hours=2)
        junk.sign = lambda note: b'<html>'
        self.send()
        self.round()
        self.assertEqual(self.signed(self.note()), set())
        for one in self.witnesses.values():
            error = self.ask(lambda: Pool().get(
                    'cooperative.trust.witness').search(
                        [('vkey', '=', vkeys[one])])[0].error)
            self.assertTrue(error)
        self.assertIn("clock", self.read(late)['error'])

    def read_vkey(self, identifier):
        return self.directory.participant(identifier).witness

    def test_skew(self):
        "Test a clock that is wrong by less than an hour counts"
        one, two = self.elect(2)
        one.skew = dt.timedelta(minutes=-59)
        two.skew = dt.timedelta(minutes=59)
        message, _ = self.send()
        self.round()
        self.assertTrue(self.is_witnessed(self.record(message)))

    def test_colluding(self):
        "Test witnesses that sign a fork do not make its quorum"
        self.elect(5, quorum=3)
        message, _ = self.send()
        self.round()
        record = self.record(message)
        self.assertTrue(self.is_witnessed(record))
        size = Checkpoint.parse(Note.parse(self.note()).text).size
        Log = Pool(self.db_name).get('cooperative.trust.log')
        signer = self.ask(lambda: Log(self.log).signer)
        fork = Note.parse(Checkpoint(
                signer.name, size, bytes(32)).sign(signer))
        colluding = list(self.witnesses.values())[:2]
        lines = [
            w.cosigner.sign(fork.text, 1800000000) for w in colluding]
        policy = self.policy()
        with self.assertRaises(Rejected):
            policy.check(
                Checkpoint.parse(fork.text), Note.parse(
                    witness.join(fork, lines * 2)).verify(policy.verifiers))

    def test_dismissed(self):
        "Test who is elected no more is asked no more, nor counted"
        first, second, third = self.elect(3)
        message, _ = self.send()
        self.publish(witnesses=[first.participant(), second.participant(
                    witness=None), third.participant()], quorum=2)
        self.assertFalse(self.read(second)['active'])
        self.round()
        self.assertEqual(second.asked, 0)
        self.assertTrue(self.is_witnessed(self.record(message)))
        # Elected again
        self.publish()
        self.assertTrue(self.read(second)['active'])

    def test_one_key(self):
        "Test a key is not counted for two members"
        one, = self.elect(1)
        thief = Elsewhere(1 + id(self) % 10 ** 7)
        for name in [one.cosigner.name, thief.cosigner.name]:
            thief.cosigner = Cosigner(name, one.cosigner._signing_key)
            with self.assertLogs('cooperative_trust.witness', 'WARNING'):
                self.publish(witnesses=[
                        one.participant(witness=None), thief.participant()])

        def count():
            Election = Pool().get('cooperative.trust.witness.election')
            return Election.search_count([])
        self.assertEqual(self.ask(count), 0)

    def test_foreign(self):
        "Test a witness from elsewhere is asked, and makes no quorum"
        Witness = Pool(self.db_name).get('cooperative.trust.witness')
        one = Elsewhere(2 + id(self) % 10 ** 7)
        self.publish()
        self.witnesses['foreign'] = one
        id_, = self.ask(lambda: [w.id for w in Witness.create([{
                            'log': self.log, 'vkey': one.cosigner.vkey,
                            'url': f'{one.url}/witness/'}])])
        message, _ = self.send()
        self.round()
        self.assertEqual(self.signed(self.note()), {one.cosigner.name})
        with self.assertRaises(WitnessModifyError):
            self.ask(lambda: Witness.write(
                    [Witness(id_)], {'vkey': one.cosigner.vkey}))
        for vkey in ['', 'x', self.verifier.vkey, Cosigner(
                    'a', self.ask(self.log_key)).vkey]:
            with self.assertRaises(Exception) as caught:
                self.ask(Witness.create, [{
                            'log': self.log, 'vkey': vkey,
                            'url': 'https://a.example'}])
            if vkey:
                self.assertIsInstance(caught.exception, WitnessInvalid)
        self.ask(lambda: Witness.write([Witness(id_)], {'active': False}))

    def test_room(self):
        "Test the elected ones come first where a note has no more room"
        Witness = Pool(self.db_name).get('cooperative.trust.witness')
        one = Elsewhere(3 + id(self) % 10 ** 7)
        id_, = self.ask(lambda: [w.id for w in Witness.create([{
                            'log': self.log, 'vkey': one.cosigner.vkey,
                            'url': f'{one.url}/witness/'}])])
        elected, = self.elect(1)
        self.send()
        self.witnesses = {'foreign': one}
        self.round()
        self.witnesses[elected.identifier] = elected
        self.round(later=True)
        self.assertEqual(
            self.signed(self.note()),
            {one.cosigner.name, elected.cosigner.name})
        with patch.object(module, 'MAX_SIGNATURES', 2):
            self.assertEqual(
                self.signed(self.note()), {elected.cosigner.name})
        self.ask(lambda: Witness.write([Witness(id_)], {'active': False}))

    def log_key(self):
        Log = Pool().get('cooperative.trust.log')
        return Log(self.log).signer._signing_key

    def test_append_only(self):
        "Test what witnesses signed is neither changed nor deleted"
        self.elect(1)
        self.send()
        self.round()
        for name in ['cosignature', 'quorum']:
            Model = Pool(self.db_name).get(f'cooperative.trust.{name}')
            for function in [
                    lambda: Model.delete(Model.search([], limit=1)),
                    lambda: Model.write(
                        Model.search([], limit=1), {'checkpoint': None}),
                    ]:
                with self.assertRaises(LogModifyError):
                    self.ask(function)

    def test_fsck(self):
        "Test a bit flipped in what a witness signed is found"
        one, = self.elect(1)
        self.send()
        self.round()
        Cosignature = Pool(self.db_name).get('cooperative.trust.cosignature')
        Log = Pool(self.db_name).get('cooperative.trust.log')

        def check():
            return [f for f in Log(self.log).fsck() if 'witness' in f]
        self.assertEqual(self.ask(check), [])
        table = Cosignature.__table__()

        def change(line):
            last, = Cosignature.search([], order=[('id', 'DESC')], limit=1)
            before = last.line
            Transaction().connection.cursor().execute(*table.update(
                    [table.line], [line or before.replace(
                            before[-10:-6], 'AAAA')],
                    where=table.id == last.id))
            return before
        line = self.ask(change, None)
        self.addCleanup(self.ask, change, line)
        fault, = self.ask(check)
        self.assertIn(one.cosigner.name, fault)

    def test_next_due(self):
        "Test the courier comes back when a witness is to be asked"
        def due():
            Witness = Pool().get('cooperative.trust.witness')
            return Witness.next_round()
        self.elect(1)
        self.round()
        self.assertIsNone(self.ask(due))
        self.send()
        self.assertIsNotNone(self.ask(due))
        Message = Pool(self.db_name).get('cooperative.edi.message')
        self.assertLessEqual(
            self.ask(Message.next_due), module.INTERVAL)


del RouteTestCase
