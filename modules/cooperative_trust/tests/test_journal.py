# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""A member and its trust party, two companies of one database"""
import base64
import datetime as dt
from unittest.mock import patch
from urllib.parse import urlsplit
from uuid import uuid4

from trytond.model.exceptions import AccessError
from trytond.pool import Pool
from trytond.protocols.wrappers import HTTPStatus
from trytond.tests.test_tryton import RouteTestCase
from trytond.transaction import Transaction

from cooperative_edi import client, courier, journal
from cooperative_edi.tests.tools import create_identity
from cooperative_edi.transaction import transact
from trycoton.protocol import canonical, evidence, merkle
from trycoton.protocol.note import NoteSigner, Verifier
from trycoton.protocol.proof import Proof
from trycoton.protocol.signature import SigningKey

from .tools import (
    BUYER, COMMUNITY, TRUST, Community, Member, create_trust_party, set_key)

US = '0225:552100554'
ENDPOINT = 'http://tiers/x/cooperative'


class JournalTestCase(RouteTestCase):
    "Test what a member sees of its acts in the log"
    module = 'cooperative_trust'

    @classmethod
    def setUpDatabase(cls):
        pool = Pool()
        Identity = pool.get('cooperative.edi.identity')
        Peer = pool.get('cooperative.edi.peer')
        set_key()
        log = create_trust_party()
        cls.verifier = Verifier.from_vkey(log.vkey)
        identity = create_identity(US, "Us")
        cls.us = identity.company.id
        cls.participant = Identity(identity.id).participant(
            ).__class__.from_json({
                **identity.participant().to_json(),
                'trust_parties': [TRUST]})
        trust = Identity.get(log.company.id).participant()
        trust = trust.__class__.from_json({
                **trust.to_json(), 'endpoint': ENDPOINT})
        peer = Peer.update_from(cls.us, trust)
        peer.accepted = True
        peer.save()
        cls.trust_party = peer.id
        Peer.update_from(cls.us, Member(BUYER).participant())

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.community = Community(COMMUNITY)
        cls.buyer = Member(BUYER)

    def setUp(self):
        super().setUp()
        self.answers, self.down = {}, False

        def answered():
            Pool().get('cooperative.edi.peer')(self.trust_party).answered()
        self.do(answered)
        wire = patch.object(client, 'request', self.request)
        wire.start()
        self.addCleanup(wire.stop)
        response = self.community.publish(
            self.client(), self.db_name, self.community.directory(
                self.participant, self.buyer.participant()))
        self.assertEqual(response.status_code, HTTPStatus.OK)

    def request(self, method, url, data=None, headers=None):
        "Call the trust party, unless the test answers for it"
        if self.down:
            raise client.ClientError(url, "down")
        parts = urlsplit(url)
        path = parts.path.replace('/x/', f'/{self.db_name}/', 1)
        name = path.partition('/trust/')[2].partition('/')[0]
        if headers:
            headers = dict(headers)
            # The address that the token is for is the one that is called
            if 'Authorization' in headers:
                headers.update(self.do(self.authorization, method, path))
        response = self.client().open(
            path, method=method, data=data, headers=headers,
            query_string=parts.query)
        status, body = response.status_code, response.data
        if name in self.answers and status == HTTPStatus.OK:
            body = self.answers[name](body)
        return client.Response(status, response.headers, body)

    def authorization(self, method, path):
        Identity = Pool().get('cooperative.edi.identity')
        token = Identity.get(self.us).token(TRUST, method, path)
        return {'Authorization': f'Bearer {token}'}

    def do(self, function, *args, **context):
        return transact(self.db_name, function, *args, context={
                'company': self.us, 'companies': [self.us], **context})

    def exchange(self):
        courier.exchange(self.db_name)

    def act(self, delivered=True):
        "Have us send a message by the trust party, and return its UUID"
        def propose():
            pool = Pool()
            Relation = pool.get('cooperative.edi.relation')
            Peer = pool.get('cooperative.edi.peer')
            relation = Relation(
                company=self.us, peer=Peer.get(self.us, BUYER),
                trust_party=self.trust_party)
            relation.save()
            Relation.propose([relation])
            Message = pool.get('cooperative.edi.message')
            message, = Message.search(
                [('origin', '=', str(relation))], limit=1)
            return message.id, message.uuid
        id_, uuid = self.do(propose)
        self.exchange()
        if delivered:
            def posted():
                Message = Pool().get('cooperative.edi.message')
                return bytes(Message(id_).data)
            from trycoton.protocol import envelope
            message = envelope.parse(self.do(posted))
            response = self.buyer.fetch(
                self.client(), self.db_name, message)
            self.assertEqual(response.status_code, HTTPStatus.NO_CONTENT)
            self.prove_now()
        return uuid

    def prove_now(self):
        def now():
            Message = Pool().get('cooperative.edi.message')
            Message.write(Message.search([('proof_at', '!=', None)]), {
                    'proof_at': dt.datetime(2026, 1, 1)})
        self.do(now)
        self.exchange()

    def acts(self, uuid):
        Journal = Pool().get('cooperative.edi.journal')
        return {a.event: a for a in Journal.search([
                    ('message.uuid', '=', uuid),
                    ('company', '=', self.us),
                    ])}

    def ask(self, task, uuid=None):
        "Return state, report, findings and file of a request once answered"
        def ask():
            pool = Pool()
            Journal = pool.get('cooperative.edi.journal')
            Request = pool.get('cooperative.edi.journal.request')
            if uuid:
                before = set(map(int, Request.search([])))
                Journal.verify(list(self.acts(uuid).values()))
                request, = [r for r in Request.search([])
                    if r.id not in before]
            else:
                request, = Request.ask([Request(
                            trust_party=self.trust_party, task=task)])
            self.assertEqual(request.state, 'asked')
            return request.id
        id_ = self.do(ask)
        self.exchange()

        def answer():
            Request = Pool().get('cooperative.edi.journal.request')
            request = Request(id_)
            return (request.state, request.report,
                sorted((f.kind, f.uuid, f.event) for f in request.findings),
                request.file and bytes(request.file))
        return self.do(answer)

    def test_acts(self):
        "Test each act is there with its proof, which anybody verifies"
        uuid = self.act(delivered=False)

        def first():
            acts = self.acts(uuid)
            self.assertEqual(
                {e: a.state for e, a in acts.items()},
                {'submission': 'recorded', 'delivery': 'awaited'})
            self.assertIsNone(acts['delivery'].index)
            self.assertIsNone(acts['delivery'].proof)
        self.do(first)
        uuid = self.act()

        def second():
            for act in self.acts(uuid).values():
                self.assertEqual(act.state, 'recorded')
                checkpoint = Proof.parse(bytes(act.proof)).verify(
                    bytes.fromhex(act.entry), [self.verifier])
                self.assertEqual(act.size, checkpoint.size)
                self.assertEqual(
                    act.root, base64.b64encode(checkpoint.root).decode())
                self.assertLess(act.index, act.size)
                self.assertTrue(act.time)
                self.assertTrue(act.proof_name.endswith('.tlog-proof'))
                self.assertIsNone(act.verified)
        self.do(second)

    def test_verify(self):
        "Test an act is found again in a later tree of the log"
        uuid = self.act()
        self.act()
        state, report, _, _ = self.ask('verify', uuid)
        self.assertEqual(state, 'right', report)
        # Submitted, placed in the mailbox and delivered
        self.assertEqual(len(report.splitlines()), 3)

        def verified():
            for act in self.acts(uuid).values():
                self.assertTrue(act.verified)
                self.assertEqual(len(act.requests), 1)
        self.do(verified)

    def test_verify_missing(self):
        "Test what was awaited is kept when it is verified"
        def drop(body):
            return canonical.dump({'submission': None, 'delivery': None})
        self.answers['records'] = drop
        uuid = self.act()

        def states():
            return {a.state for a in self.acts(uuid).values()}
        self.assertEqual(self.do(states), {'recorded', 'awaited'})
        del self.answers['records']
        state, report, _, _ = self.ask('verify', uuid)
        self.assertEqual(state, 'right', report)
        self.assertEqual(self.do(states), {'recorded'})

    def test_verify_tampered(self):
        "Test what the trust party changes is seen"
        uuid, other = self.act(), self.act()

        def tile(body):
            return bytes([body[0] ^ 1]) + body[1:]

        def swap(body):
            response = self.request(
                'GET', f'{ENDPOINT}/trust/records/{other}',
                headers={'Authorization': ''})
            return response.data

        def flip(body):
            value = canonical.load(body)
            record = value['submission']
            nonce = base64.b64decode(record['nonce'])
            record['nonce'] = base64.b64encode(
                bytes([nonce[0] ^ 1]) + nonce[1:]).decode()
            return canonical.dump(value)

        def cut(body):
            return body[:-1]
        for name, change in [
                ('tile', tile), ('records', flip), ('tile', cut),
                ('records', swap)]:
            with self.subTest(change=change.__name__):
                changes = [change]
                self.answers = {name: lambda body: (
                        changes.pop()(body) if changes and name == 'records'
                        else change(body) if name == 'tile' else body)}
                state, report, _, _ = self.ask('verify', uuid)
                self.assertEqual(state, 'wrong', report)
                self.assertTrue(report)
        self.answers = {}
        self.assertEqual(self.ask('verify', uuid)[0], 'right')

    def test_two_roots(self):
        "Test a log that signed two roots of a size is caught"
        uuid = self.act()

        def fork():
            pool = Pool()
            Log = pool.get('cooperative.trust.log')
            Peer = pool.get('cooperative.edi.peer')
            log, = Log.search([])
            message = self.acts(uuid)['delivery'].message
            record = message.log_records['delivery']
            from trycoton.protocol.checkpoint import Checkpoint
            size = Checkpoint.open(
                record.inclusion.checkpoint, [self.verifier]).size
            peer = Peer(self.trust_party)
            before = bytes(peer.checkpoint), peer.checkpoint_size
            peer.checkpoint = Checkpoint(
                log.origin, size, b'1' * 32).sign(log.signer)
            peer.checkpoint_size = size
            peer.save()
            return before

        def mend(before):
            Peer = Pool().get('cooperative.edi.peer')
            Peer.write([Peer(self.trust_party)], {
                    'checkpoint': before[0], 'checkpoint_size': before[1]})
        before = self.do(fork)
        try:
            state, report, _, _ = self.ask('verify', uuid)
        finally:
            self.do(mend, before)
        self.assertEqual(state, 'wrong')
        self.assertIn("2 roots", report)

    def test_other_key(self):
        "Test a proof by another key is no proof"
        uuid = self.act()

        def rekey(vkey):
            Peer = Pool().get('cooperative.edi.peer')
            Peer.write([Peer(self.trust_party)], {'log_key': vkey})
        self.do(rekey, NoteSigner(
                self.verifier.name, SigningKey.generate()).vkey)
        try:
            self.assertEqual(self.ask('verify', uuid)[0], 'wrong')
        finally:
            self.do(rekey, self.verifier.vkey)

    def test_down(self):
        "Test a trust party that does not answer is said so, and asked again"
        uuid = self.act()
        self.down = True
        state, report, _, _ = self.ask('verify', uuid)
        self.assertEqual(state, 'failed')
        self.assertIn("down", report)
        self.down = False

        def again():
            Request = Pool().get('cooperative.edi.journal.request')
            request, = Request.search([('state', '=', 'failed')], limit=1)
            Request.again([request])
        self.do(again)
        self.exchange()

        def last():
            Request = Pool().get('cooperative.edi.journal.request')
            return Request.search([], limit=1)[0].state
        self.assertEqual(self.do(last), 'right')

    def test_erased(self):
        "Test our proof holds when the trust party has erased its copy"
        uuid = self.act()

        def erase():
            Message = Pool().get('cooperative.edi.message')
            messages = Message.search([
                    ('relays.uuid', '=', uuid)])
            return len(Message.erase(messages))
        self.assertEqual(self.do(erase), 1)
        state, report, _, _ = self.ask('verify', uuid)
        self.assertEqual(state, 'right', report)
        self.assertIn("erased", report)
        self.assertEqual(self.ask('compare')[0], 'right')

    def test_compare(self):
        "Test both know the same acts"
        self.act()
        state, report, findings, _ = self.ask('compare')
        self.assertEqual((state, findings), ('right', []), report)

    def test_compare_differences(self):
        "Test each difference is named"
        uuid, late = self.act(), self.act(delivered=False)

        def change(body, function):
            value = canonical.load(body)
            value['entries'] = [
                e for e in map(function, value['entries']) if e]
            return canonical.dump(value)

        def drop(entry):
            return None if entry['message'] == uuid else entry

        def move(entry):
            if entry['message'] == uuid:
                entry['index'] += 1
            return entry

        def invent(entry):
            if entry['message'] == uuid:
                entry['message'] = late[:-1] + (
                    '0' if late[-1] != '0' else '1')
            return entry

        def coming(entry):
            if entry['message'] == late:
                entry['message'] = late[:-1] + (
                    '0' if late[-1] != '0' else '1')
                entry['sender'] = BUYER
            return entry
        for function, kinds in [
                (drop, {'unlisted'}), (move, {'moved'}),
                (invent, {'unlisted', 'unknown'}),
                (coming, {'unlisted', 'coming'})]:
            with self.subTest(function=function.__name__):
                self.answers['entries'] = lambda b: change(b, function)
                state, report, findings, _ = self.ask('compare')
                self.assertEqual(state, 'wrong', report)
                self.assertEqual(
                    {k for k, *_ in findings} - {'unproved'}, kinds)

    def test_compare_unproved(self):
        "Test what was not proved is asked for"
        self.answers['records'] = lambda body: canonical.dump({})
        uuid = self.act()
        del self.answers['records']
        state, _, findings, _ = self.ask('compare')
        self.assertEqual(state, 'right')
        self.assertIn(('unproved', uuid, 'delivery'), findings)
        self.assertEqual({f[:2] for f in findings}, {('unproved', uuid)})
        self.exchange()
        self.assertEqual(self.ask('compare')[2], [])

    def test_compare_unrecorded(self):
        "Test a message that was taken and left no trace is found"
        uuid = self.act()

        def forget():
            Message = Pool().get('cooperative.edi.message')
            message, = Message.search([
                    ('uuid', '=', uuid), ('company', '=', self.us)])
            values = {
                'submission_record': message.submission_record,
                'delivery_record': message.delivery_record,
                'created': message.created}
            Message.write([message], {
                    'submission_record': None, 'delivery_record': None,
                    'created': dt.datetime(2026, 1, 1)})
            return message.id, values

        def remember(id_, values):
            Message = Pool().get('cooperative.edi.message')
            Message.write([Message(id_)], values)

        def drop(body):
            value = canonical.load(body)
            value['entries'] = [
                e for e in value['entries'] if e['message'] != uuid]
            return canonical.dump(value)
        id_, values = self.do(forget)
        self.answers = {
            'entries': drop, 'records': lambda body: canonical.dump({})}
        state, _, findings, _ = self.ask('compare')
        self.do(remember, id_, values)
        self.assertEqual(state, 'wrong')
        self.assertIn(('unrecorded', uuid, 'submission'), findings)

    def test_compare_strange(self):
        "Test what is listed that is no act is refused"
        entry = {
            'index': 1, 'message': str(uuid4()), 'event': 'submission',
            'sender': US}
        for name, value in [
                ('message', ''), ('message', None), ('message', [US]),
                ('event', ''), ('event', 'In vented'), ('event', None),
                ('index', -1), ('index', True), ('index', 2 ** 40)]:
            with self.subTest(name, value=value):
                self.answers['entries'] = lambda _: canonical.dump({
                        'entries': [{**entry, name: value}],
                        'next': None})
                state, report, findings, _ = self.ask('compare')
                self.assertEqual((state, findings), ('wrong', []), report)
        # A newer trust party has other events
        self.answers['entries'] = lambda _: canonical.dump({
                'entries': [{**entry, 'event': 'handed-on'}], 'next': None})
        _, _, findings, _ = self.ask('compare')
        self.assertNotIn(
            entry['message'], [uuid for _, uuid, _ in findings])

    def test_strange(self):
        "Test a request that fails strangely ends, and holds up no other"
        uuid = self.act()
        Request = Pool(self.db_name).get('cooperative.edi.journal.request')
        for name, error in [
                ('_fetch_compare', KeyError("odd")),
                ('_keep_compare', KeyError("odd"))]:
            ids = self.do(lambda: [r.id for r in Request.ask([
                            Request(trust_party=self.trust_party, task=task)
                            for task in ['compare', 'export']])])
            with patch.object(Request, name, side_effect=error), \
                    self.assertLogs('cooperative_edi.journal', 'CRITICAL'):
                self.exchange()
            (state, report), (other, _) = self.do(lambda: [
                    (r.state, r.report) for r in Request.browse(ids)])
            with self.subTest(name, error=error):
                self.assertEqual((state, other), ('failed', 'right'))
                self.assertIn("in its log", report)
        self.assertEqual(self.ask('verify', uuid)[0], 'right')

    def test_pages(self):
        "Test pages that do not end, or are none, are refused"
        self.act()

        def endless(body):
            return canonical.dump(
                {'entries': [], 'messages': [], 'next': 0})
        for bad in [
                endless, lambda body: b'[]', lambda body: b'{"next":null}',
                lambda body: canonical.dump(
                    {'entries': [{'index': 'x'}], 'messages': 1,
                        'next': None})]:
            for name, task in [('entries', 'compare'), ('held', 'export')]:
                self.answers = {name: bad}
                state, report, _, _ = self.ask(task)
                self.assertEqual(state, 'wrong', (task, report))

    def test_many_pages(self):
        "Test pages are read until there is too much of them"
        asked = []

        def pages(count):
            def page(_):
                asked.append(count)
                return canonical.dump({
                        'entries': [{
                                'index': len(asked), 'message': str(uuid4()),
                                'event': 'submission', 'sender': US,
                                } for _ in range(count)],
                        'messages': [US] * count,
                        'next': len(asked)})
            return page
        for count, name, value, expected in [
                (0, 'PAGES_MAX', 20, ('wrong', 1)),
                (9, 'PAGES_MAX', 20, ('wrong', 20)),
                (9, 'LIST_MAX', 5000, ('wrong', 5)),
                (9, 'PAGES_LAST', 0, ('failed', 1))]:
            asked.clear()
            self.answers['entries'] = pages(count)
            with self.subTest(name, count=count), \
                    patch.object(journal, name, value):
                state, report, _, _ = self.ask('compare')
                self.assertEqual((state, len(asked)), expected, report)
        self.answers['held'] = pages(9)
        asked.clear()
        with patch.object(journal, 'FILE_MAX', 5000):
            self.assertEqual(self.ask('export')[0], 'wrong')
        self.assertTrue(1 < len(asked) < 9, len(asked))

    def test_export(self):
        "Test we get all that is held about us in a file"
        uuid = self.act()
        state, report, _, data = self.ask('export')
        self.assertEqual(state, 'right', report)
        value = canonical.load(data)
        self.assertEqual(value['participant']['identifier'], US)
        self.assertIn(uuid, [m['message'] for m in value['messages']])

    def test_proof_of_tree(self):
        "Test the hashes come from the tiles, not from what was kept"
        uuid = self.act()
        with patch.object(
                merkle, 'verify_inclusion',
                wraps=merkle.verify_inclusion) as verify:
            self.assertEqual(self.ask('verify', uuid)[0], 'right')
        self.assertTrue(verify.called)

    def test_evidence(self):
        "Test the acts export the evidence of their deal"
        uuid = self.act()

        def export():
            pool = Pool()
            Message = pool.get('cooperative.edi.message')
            Export = pool.get(
                'cooperative.edi.evidence.export', type='wizard')
            acts = list(self.acts(uuid).values())
            session, start, _ = Export.create()
            with Transaction().set_context(
                    active_model='cooperative.edi.journal',
                    active_id=acts[0].id,
                    active_ids=[a.id for a in acts]):
                with patch.object(
                        Message, 'evidence', lambda messages: b'%d' % len(
                            messages)):
                    view = Export.execute(session, {}, start)
            return view['view']['defaults']['file']
        self.assertEqual(self.do(export), b'1')
        self.assertTrue(evidence.FORMAT)

    def test_ask(self):
        "Test the wizard asks the only trust party"
        def ask():
            pool = Pool()
            Ask = pool.get('cooperative.edi.journal.ask', type='wizard')
            session, start, _ = Ask.create()
            with Transaction().set_context(
                    active_model='cooperative.edi.peer',
                    active_id=self.trust_party,
                    active_ids=[self.trust_party]):
                values = Ask.execute(session, {}, start)['view']['defaults']
                self.assertEqual(values['trust_party'], self.trust_party)
                result = Ask.execute(session, {'start': {
                            'trust_party': self.trust_party,
                            'task': 'export'}}, 'ask')
            return result['actions'][0][1]['res_id']
        id_, = self.do(ask)
        self.exchange()

        def state():
            Request = Pool().get('cooperative.edi.journal.request')
            return Request(id_).state
        self.assertEqual(self.do(state), 'right')

    def test_rights(self):
        "Test the acts are for those of the company who exchange"
        uuid = self.act()
        self.ask('compare')

        def create():
            pool = Pool()
            User = pool.get('res.user')
            Group = pool.get('res.group')
            Company = pool.get('company.company')
            edi, = Group.search([('name', '=', "EDI")])
            other, = Company.search([('id', '!=', self.us)], limit=1)
            return [u.id for u in User.create([{
                            'name': name, 'login': name,
                            'companies': [('add', [company])],
                            'company': company,
                            'groups': [('add', groups)],
                            } for name, company, groups in [
                            ('nobody', self.us, []),
                            ('clerk', self.us, [edi.id]),
                            ('stranger', other.id, [edi.id])]])], other.id
        (nobody, clerk, stranger), other = self.do(create)

        def count(name):
            with Transaction().set_context(_check_access=True):
                return len(Pool().get(name).search([]))

        def verify():
            with Transaction().set_context(_check_access=True):
                Journal = Pool().get('cooperative.edi.journal')
                with Transaction().set_user(0):
                    act = self.acts(uuid)['submission']
                Journal.verify([Journal(act.id)])
        for user, company, right in [
                (clerk, self.us, True), (stranger, other, False),
                (nobody, self.us, None)]:
            with Transaction().start(self.db_name, user, context={
                        'company': company, 'companies': [company],
                        }) as transaction:
                for name in ['journal', 'journal.request']:
                    name = f'cooperative.edi.{name}'
                    if right is None:
                        with self.assertRaises(AccessError):
                            count(name)
                    else:
                        self.assertEqual(bool(count(name)), right)
                if right:
                    verify()
                else:
                    with self.assertRaises(AccessError):
                        verify()
                transaction.rollback()


del RouteTestCase
