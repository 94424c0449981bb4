# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What a member or a stranger may try with a trust party, and what holds"""
import contextlib
import datetime as dt
import gzip
import io
import json
import socket
import time
import tracemalloc
import uuid
from collections import Counter
from dataclasses import replace
from unittest.mock import patch

from sql import Literal
from sql.aggregate import Count
from trytond.exceptions import UserError
from trytond.model.exceptions import AccessError
from trytond.pool import Pool
from trytond.tests.test_tryton import RouteTestCase
from trytond.transaction import Transaction

from cooperative_edi import client, courier, reception
from cooperative_edi.refusal import EVIDENCE_MAX
from cooperative_edi.transaction import transact
from cooperative_trust import held, quota
from trycoton.protocol import canonical, commission, seal, signature
from trycoton.protocol.envelope import MAX_SIZE
from trycoton.protocol.signature import EncryptionKey

from .tools import BUYER, SELLER, TRUST, Community, Member, TrustTestCase, now

THIRD = '0225:732829320_3'
MIB = 1024 * 1024


class ThreatTestCase(TrustTestCase, RouteTestCase):
    "Test the defences of the relay"

    def setUp(self):
        super().setUp()
        self.addCleanup(self.forget)
        self.relation = self.agree()
        self.empty()

    def forget(self):
        "Start again as a new process, with no quota used"
        self.restart()
        self.ask(lambda: self.Quota.write(self.Quota.search([]), {
                    'messages': None, 'size': None,
                    'messages_at': None, 'size_at': None,
                    }))

    def restart(self):
        "Forget what the process has in its memory alone"
        for memory in [quota._requests, quota._repeated, quota._closed]:
            memory.clear()

    def ask(self, function, *args):
        return transact(self.db_name, function, *args)

    @property
    def Quota(self):
        return Pool(self.db_name).get('cooperative.trust.quota')

    def limit(self, identifier, **values):
        "Give the member a quota of which nothing is used"
        def write():
            self.Quota.write(self.Quota.search(
                    [('peer.identifier', '=', identifier)]), {
                    'messages_at': None, 'size_at': None, **values})
        self.ask(write)
        self.restart()

    def usage(self, identifier):
        def read():
            found, = self.Quota.search([('peer.identifier', '=', identifier)])
            return found.messages_used, found.size_used, found.refused
        self.settle()
        return self.ask(read)

    def settle(self):
        "Have the refusals that were only counted be written"
        Refusal = Pool(self.db_name).get('cooperative.edi.refusal')
        with patch(
                'cooperative_edi.refusal.time.monotonic',
                lambda: time.time() + 10**6):
            Refusal.settle(self.db_name)

    def post(self, member, message):
        return member.send(self.client(), self.db_name, message)

    def post_bytes(self, data, headers, **options):
        return self.client().post(
            f'/{self.db_name}/cooperative/edi/messages', data=data,
            headers=headers, **options)

    def rows(self):
        "Return how many rows each table has"
        def count():
            cursor = Transaction().connection.cursor()
            counts = {}
            for name, Model in Pool().iterobject():
                if (hasattr(Model, '__table__')
                        and not callable(getattr(Model, 'table_query', None))
                        and name != 'cooperative.edi.refusal'):
                    cursor.execute(*Model.__table__().select(
                            Count(Literal(1))))
                    counts[name], = cursor.fetchone()
            return counts
        return self.ask(count)

    @contextlib.contextmanager
    def cheaply(self, seconds=1, memory=None):
        """What is done takes less time, or less memory, which is slow to
        measure, and opens no socket"""
        with patch.object(socket.socket, 'connect', self.no_socket), \
                patch.object(socket, 'getaddrinfo', self.no_socket):
            if not memory:
                start = time.thread_time()
                yield
                self.assertLess(time.thread_time() - start, seconds)
                return
            tracemalloc.start()
            try:
                yield
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
        self.assertLess(peak, memory)

    def no_socket(self, *args, **kwargs):
        raise AssertionError(f"a socket is opened: {args}")

    # Flood by one member

    def test_flood(self):
        "Test who sends too much is refused, and the others are not"
        self.limit(SELLER, messages=5)
        messages = [
            self.seller.invoice(BUYER, self.relation) for _ in range(30)]
        responses = [self.post(self.seller, m) for m in messages[:5]]
        self.assertEqual([r.status_code for r in responses], [201] * 5)
        self.assertIn('"messages";r=0', responses[-1].headers['RateLimit'])
        self.assertIn(
            '"messages";q=5;w=60',
            responses[-1].headers['RateLimit-Policy'])
        rows = self.rows()
        with self.cheaply():
            responses = [self.post(self.seller, m) for m in messages[5:]]
        for response in responses:
            self.assertEqual(response.status_code, 429)
            self.assertEqual(
                response.content_type, 'application/problem+json')
            self.assertTrue(canonical.load(
                    response.data)['type'].endswith('/quota'))
            self.assertIn(
                int(response.headers['Retry-After']), range(1, 61))
            self.assertIn('RateLimit', response.headers)
        self.assertEqual(self.rows(), rows)
        self.assertEqual(self.usage(SELLER)[0], 5)
        self.assertEqual(self.usage(SELLER)[2], 25)

        response = self.post(
            self.buyer, self.buyer.statement(SELLER, 'some-news', {}))
        self.assertEqual(response.status_code, 201)

    def test_flood_cost(self):
        "Test what is over the quota is refused without any transaction"
        self.limit(SELLER, messages=1)
        for _ in range(2):
            self.post(
                self.seller, self.seller.invoice(BUYER, self.relation))
        message = self.seller.invoice(BUYER, self.relation)
        for _ in range(30):  # more than are written one by one
            self.post(self.seller, message)
        with patch.object(reception, 'transact') as do, \
                patch('cooperative_edi.refusal.transact') as count:
            self.assertEqual(
                self.post(self.seller, message).status_code, 429)
        do.assert_not_called()
        count.assert_not_called()

    def test_flood_processes(self):
        "Test what one process stores counts for the others"
        self.limit(SELLER, messages=4)
        statuses = []
        for _ in range(8):
            self.restart()
            statuses.append(self.post(self.seller, self.seller.invoice(
                        BUYER, self.relation)).status_code)
        self.assertEqual(statuses, [201] * 4 + [429] * 4)

    def test_flood_given_back(self):
        "Test the quota is given back with time, and no more than it is"
        self.limit(SELLER, messages=6)

        def send():
            self.restart()
            return self.post(self.seller, self.seller.invoice(
                    BUYER, self.relation)).status_code
        self.assertEqual([send() for _ in range(7)], [201] * 6 + [429])
        start = time.time()
        for seconds, statuses in [
                (11, [201, 429]), (3600, [201] * 6 + [429])]:
            with patch.object(
                    quota.time, 'time', lambda: start + seconds):
                self.assertEqual([send() for _ in statuses], statuses)
        # A clock that is set back by an hour
        with patch.object(quota.time, 'time', lambda: start):
            self.assertEqual(send(), 201)

    def test_flood_bytes(self):
        "Test who sends too many bytes is refused"
        self.limit(SELLER, size=1)
        text = "x" * 150_000

        def send():
            self.restart()
            return self.post(self.seller, self.seller.statement(
                    BUYER, 'some-news', {'text': text})).status_code
        self.assertEqual([send() for _ in range(7)], [201] * 6 + [429])
        self.assertAlmostEqual(self.usage(SELLER)[1], 0.9, delta=0.01)
        # What is smaller still finds place
        self.restart()
        response = self.post(
            self.seller, self.seller.invoice(BUYER, self.relation))
        self.assertEqual(response.status_code, 201)

    def test_flood_unstored(self):
        "Test repeating what is known or refused is limited as well"
        self.limit(SELLER, messages=1)
        message = self.seller.invoice(BUYER, self.relation)
        self.assertEqual(self.post(self.seller, message).status_code, 201)
        self.limit(SELLER, messages=1)
        statuses = [
            self.post(self.seller, message).status_code
            for _ in range(quota.REQUESTS + 1)]
        self.assertEqual(statuses, [200] * quota.REQUESTS + [429])
        self.limit(SELLER, messages=1)
        refused = self.seller.invoice(BUYER, str(uuid.uuid4()))
        statuses = [
            self.post(self.seller, refused).status_code
            for _ in range(quota.REQUESTS + 1)]
        self.assertEqual(statuses, [403] * quota.REQUESTS + [429])

    def test_flood_repeated(self):
        "Test who repeats what a member sent uses up nothing of the member's"
        self.limit(SELLER, messages=2)
        message = self.seller.invoice(BUYER, self.relation)
        statuses = [
            self.post(self.seller, message).status_code
            for _ in range(3 * quota.REPEATS)]
        self.assertEqual(
            Counter(statuses),
            {201: 1, 200: quota.REPEATS, 429: 2 * quota.REPEATS - 1})
        path = f'/{self.db_name}/cooperative/edi/mailbox'
        self.assertEqual(
            self.seller.get(self.client(), path).status_code, 200)
        self.assertEqual(self.post(self.seller, self.seller.invoice(
                    BUYER, self.relation)).status_code, 201)

    def test_flood_conflicts(self):
        "Test who contradicts itself all the time does not fill the disk"
        Refusal = Pool(self.db_name).get('cooperative.edi.refusal')

        def kept():
            refusals = Refusal.search([('problem', '=', 'conflict')])
            return [bool(r.data) for r in refusals if r.digest]
        before = self.ask(kept)
        for _ in range(EVIDENCE_MAX + 2):
            message = self.seller.statement(BUYER, 'some-news', {})
            self.assertEqual(
                self.post(self.seller, message).status_code, 201)
            self.assertRefused(
                self.post(self.seller, self.seller.statement(
                        BUYER, 'some-news', {'more': "x"}, id=message.id)),
                (409, 'conflict'))
        found = self.ask(kept)
        self.assertEqual(len(found) - len(before), EVIDENCE_MAX + 2)
        self.assertEqual(sum(found), EVIDENCE_MAX)

    def test_flood_requests(self):
        "Test looking into the mailbox is limited"
        self.limit(SELLER, messages=1)
        path = f'/{self.db_name}/cooperative/edi/mailbox'
        statuses = [
            self.seller.get(self.client(), path).status_code
            for _ in range(quota.REQUESTS + 1)]
        self.assertEqual(statuses, [200] * quota.REQUESTS + [429])
        self.assertEqual(
            self.buyer.get(self.client(), path).status_code, 200)

    def test_flood_stranger(self):
        """Test what no known key signed is refused before anything is held,
        and uses nobody's quota"""
        self.limit(SELLER, messages=5)
        stranger = Member('0225:732829320_77')
        message = self.seller.invoice(BUYER, self.relation)
        data = message.to_bytes()
        forged = stranger.sign(data, message.typ)[signature.SIGNATURE_HEADER]
        good = self.seller.sign(data, message.typ)[signature.SIGNATURE_HEADER]
        # The header claims the key of the member
        claimed = '.'.join([*good.split('.')[:2], forged.split('.')[2]])
        rows = self.rows()
        Message = Pool(self.db_name).get('cooperative.edi.message')
        with patch.object(
                    Message, 'receive_all',
                    side_effect=AssertionError("held")), \
                self.cheaply(2):
            for jws in ['', 'x', good[:-1], forged, claimed]:
                for _ in range(30):
                    response = self.post_bytes(
                        data, {signature.SIGNATURE_HEADER: jws})
                    self.assertEqual(response.status_code, 401)
        self.assertEqual(self.rows(), rows)
        self.assertEqual(self.usage(SELLER)[0], 0)
        self.assertEqual(self.post(self.seller, message).status_code, 201)

    def test_flood_refusals(self):
        "Test a flood of refusals is counted, but not written one by one"
        Refusal = Pool(self.db_name).get('cooperative.edi.refusal')

        def counted():
            return sum(r.count for r in Refusal.search(
                    [('problem', '=', 'unknown-key')]))
        stranger = Member('0225:732829320_78')
        message = stranger.statement(BUYER, 'some-news', {})
        before = self.ask(counted)
        write = Refusal._count.__func__
        written = []

        def count(cls, *args):
            written.append(args)
            return write(cls, *args)
        with patch.object(Refusal, '_count', classmethod(count)):
            for _ in range(100):
                self.post(stranger, message)
        self.assertLess(len(written), 50)
        self.settle()
        self.assertEqual(self.ask(counted), before + 100)

    def test_quota_rights(self):
        "Test who may see and change quotas"
        def user(group):
            pool = Pool()
            User, Group = pool.get('res.user'), pool.get('res.group')
            Company = pool.get('company.company')
            companies = Company.search([])
            found = User.search([('login', '=', group or 'nobody')])
            if not found:
                found = User.create([{
                            'name': group or 'nobody',
                            'login': group or 'nobody',
                            'companies': [('add', companies)],
                            'company': companies[0].id,
                            'groups': [('add', Group.search(
                                        [('name', '=', group)]))],
                            }])
            return found[0].id

        def write():
            with Transaction().set_context(_check_access=True):
                found, = self.Quota.search(
                    [('peer.identifier', '=', SELLER)])
                self.Quota.write([found], {'messages': 7})
                return found.messages_limit
        for group, allowed in [
                ("Trust Operator", True), ("EDI", False), ('', False)]:
            id_ = self.ask(user, group)

            def attempt():
                Company = Pool().get('company.company')
                company, = Company.search([])
                with Transaction().set_user(id_), Transaction().set_context(
                        rights_of(id_)):
                    return write()
            with self.subTest(group):
                if allowed:
                    self.assertEqual(self.ask(attempt), 7)
                else:
                    with self.assertRaises((AccessError, UserError)):
                        self.ask(attempt)

    def test_quota_default(self):
        "Test a member has the quota of the configuration, a community more"
        def limits():
            return {q.peer.kind: (q.messages_limit, q.size_limit)
                for q in self.Quota.search([])}
        self.assertEqual(self.ask(limits), {
                'participant': (600, 200),
                'community': (600 * quota.COMMUNITY, 200 * quota.COMMUNITY),
                })
        self.limit(SELLER, messages=0, size=0)
        response = self.post(
            self.seller, self.seller.invoice(BUYER, self.relation))
        self.assertEqual(response.status_code, 201)
        self.assertNotIn('RateLimit', response.headers)

    # Oversized, deep, bomb

    def assertRefused(self, response, *problems):
        self.assertEqual(
            response.content_type, 'application/problem+json', response.data)
        name = canonical.load(response.data)['type'].rpartition('/')[2]
        self.assertIn((response.status_code, name), problems)

    def test_oversized(self):
        "Test what is too large is not read to its end"
        jws = self.seller.sign(b'', signature.ENVELOPE)
        with self.cheaply():
            self.assertRefused(
                self.post_bytes(b'<' * (MAX_SIZE + 1), jws),
                (413, 'too-large'))

        class Endless(io.RawIOBase):
            read_bytes = 0

            def readable(self):
                return True

            def readinto(self, buffer):
                Endless.read_bytes += len(buffer)
                assert Endless.read_bytes < 4 * MAX_SIZE, "all is read"
                buffer[:] = b'<' * len(buffer)
                return len(buffer)
        with self.cheaply(memory=64 * MIB):
            self.assertRefused(
                self.post_bytes(
                    b'', jws, environ_overrides={
                        'wsgi.input': io.BufferedReader(Endless()),
                        'wsgi.input_terminated': True,
                        'CONTENT_LENGTH': '',
                        'HTTP_TRANSFER_ENCODING': 'chunked',
                        }),
                (413, 'too-large'), (401, 'signature'))

    def test_oversized_receipt(self):
        "Test what is said of a fetched message is small"
        message = self.seller.invoice(BUYER, self.relation)
        self.post(self.seller, message)
        path = (f'/{self.db_name}/cooperative/edi/mailbox/{message.id}'
            '/receipt')
        with self.cheaply():
            self.assertRefused(
                self.client().post(
                    path, data=b'{' * (64 * 1024 + 1),
                    headers=self.buyer.authorization('POST', path)),
                (413, 'too-large'))

    def test_gzip(self):
        "Test nothing is ever inflated, so no bomb goes off"
        bomb = gzip.compress(b'<' * (64 * MIB), 1)
        jws = self.seller.sign(bomb, signature.ENVELOPE)
        path = (f'/{self.db_name}/cooperative/edi/mailbox/'
            f'{uuid.uuid4()}/receipt')
        for encoding in ['gzip', 'deflate', 'br', 'GZIP', 'identity, gzip']:
            for url, headers in [
                    (f'/{self.db_name}/cooperative/edi/messages', jws),
                    (self.path('directories'), jws),
                    (path, self.buyer.authorization('POST', path)),
                    ]:
                data = bomb if 'receipt' not in url else b'x'
                expected = [(415, 'encoding')]
                if url == path:
                    expected.append((404, 'not-found'))
                with self.subTest(encoding, url=url), self.cheaply(
                        memory=8 * MIB):
                    self.assertRefused(
                        self.client().post(url, data=data, headers={
                                **headers, 'Content-Encoding': encoding}),
                        *expected)

    def test_large_ones(self):
        "Test the large messages of a member are read one at a time"
        padding = 'x' * (MIB // 2)
        for _ in range(16):
            self.send(self.seller, self.seller.statement(
                    BUYER, 'dispute-opening', {'text': padding}))
            invoice = self.seller.invoice(BUYER, self.relation)
            invoice = replace(invoice, payload=invoice.payload.replace(
                    b'</Invoice>', f'<!--{padding}--></Invoice>'.encode()))
            self.send(self.seller, invoice)
            self.buyer.fetch(self.client(), self.db_name, invoice)
        self.sweep()

        def get(member, name):
            response = member.get(self.client(), self.path(name))
            self.assertEqual(response.status_code, 200)

        def keep():
            Message = Pool().get('cooperative.edi.message')
            Message.kept(Message.search([('relays', '!=', None)], limit=1))
        for title, read in {
                'held': lambda: get(self.seller, 'held'),
                'statement': lambda: get(self.community, 'statements'),
                'dispute': lambda: self.ask(keep),
                }.items():
            with self.subTest(title), \
                    patch.object(held, 'PAGE_MAX', MIB // 4), \
                    self.cheaply(memory=6 * MIB):
                read()

    def sweep(self):
        Pool(self.db_name).get('cooperative.trust.log').sweep(self.db_name)

    def mutated(self, old, new):
        "Return an invoice of which something was replaced"
        data = self.seller.invoice(BUYER, self.relation).to_bytes()
        self.assertIn(old, data)
        return data.replace(old, new, 1)

    def test_xml(self):
        "Test XML that fills the memory or calls others is refused"
        root = b'<sh:StandardBusinessDocument'
        server = socket.create_server(('127.0.0.1', 0))
        self.addCleanup(server.close)
        server.setblocking(False)
        port = server.getsockname()[1]
        url = b'http://127.0.0.1:%d/x' % port
        laughs = b''.join(
            b'<!ENTITY a%d "%s">' % (i, b'&a%d;' % (i - 1) * 10)
            for i in range(1, 12))
        quadratic = b'<!DOCTYPE a [<!ENTITY a "%s">]>' % (b'a' * MIB)
        name = b'<cbc:Name>Miel'
        include = (b'<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" '
            b'href="%s" parse="text"/>')
        wide = b'<cbc:Note>x</cbc:Note>' * 220_000
        for title, data in {
                'laughs': self.mutated(
                    root, b'<!DOCTYPE a [<!ENTITY a0 "ha">' + laughs + b']>'
                    + root).replace(name, b'<cbc:Name>&a11;', 1),
                'quadratic': self.mutated(root, quadratic + root).replace(
                    name, b'<cbc:Name>' + b'&a;' * 10_000, 1),
                'external entity': self.mutated(
                    root, b'<!DOCTYPE a [<!ENTITY x SYSTEM "' + url + b'">]>'
                    + root).replace(name, b'<cbc:Name>&x;', 1),
                'file': self.mutated(
                    root, b'<!DOCTYPE a [<!ENTITY x SYSTEM '
                    b'"file:///etc/passwd">]>' + root).replace(
                    name, b'<cbc:Name>&x;', 1),
                'parameter entity': self.mutated(
                    root, b'<!DOCTYPE a [<!ENTITY % x SYSTEM "' + url
                    + b'"> %x;]>' + root),
                'external DTD': self.mutated(
                    root, b'<!DOCTYPE a SYSTEM "' + url + b'">' + root),
                'public DTD': self.mutated(
                    root, b'<!DOCTYPE a PUBLIC "-//X" "' + url + b'">'
                    + root),
                'XInclude': self.mutated(name, include % url),
                'style sheet': self.mutated(
                    root, b'<?xml-stylesheet href="' + url + b'"?>' + root),
                'deep': self.mutated(
                    name, b'<cbc:Name>' * 100_000 + b'Miel'),
                'wide': self.mutated(b'<cbc:ID>', wide + b'<cbc:ID>'),
                'attributes': self.mutated(
                    root, root + b''.join(
                        b' a%d=""' % i for i in range(100_000))),
                }.items():
            jws = self.seller.sign(data, signature.ENVELOPE)
            with self.subTest(title), self.cheaply():
                self.assertRefused(
                    self.post_bytes(data, jws), (422, 'malformed'))
        with self.assertRaises(BlockingIOError):
            server.accept()

    def test_json(self):
        "Test JSON that fills the memory is refused"
        for title, data in {
                'deep': b'[' * (4 * MIB),
                'deep object': b'{"a":' * (MIB // 2),
                'number': b'{"a":' + b'9' * (4 * MIB) + b'}',
                'many': b'[' + b'1,' * MIB + b'1]',
                }.items():
            jws = self.seller.sign(data, signature.STATEMENT)
            with self.subTest(title), self.cheaply():
                self.assertRefused(
                    self.post_bytes(data, jws), (422, 'malformed'))

    # What a database cannot keep

    def test_unprintable(self):
        "Test a path or an argument with a zero is refused, and kept"
        client_ = self.client()
        base = f'/{self.db_name}/cooperative'
        for path in ['edi/mailbox/%00', 'trust/records/%00']:
            with self.subTest(path):
                self.assertRefused(
                    client_.get(f'{base}/{path}'), (401, 'token'))
        self.assertRefused(
            client_.post(f'{base}/edi/mailbox/%00/receipt'), (401, 'token'))
        for path, by in [
                ('held', self.buyer),
                ('entries', self.buyer),
                ('statements', self.community),
                ]:
            for after in ['%00', '9' * 16, '-1']:
                with self.subTest(path, after=after):
                    self.assertRefused(
                        by.get(client_, self.path(path), f'?after={after}'),
                        (422, 'malformed'))
        self.assertRefused(
            self.community.get(
                client_, self.path('statements'), '?community=%00'),
            (403, 'forbidden'))
        self.settle()
        for text in self.ask(self.refusals):
            self.assertTrue(text.isprintable(), text)

    def refusals(self):
        Refusal = Pool().get('cooperative.edi.refusal')
        return [f'{r.request} {r.detail}' for r in Refusal.search([])]

    def test_unprintable_key(self):
        "Test the id of a key that is none is not looked for"
        for typ, path in [
                (signature.DIRECTORY, self.path('directories')),
                (signature.CUSTODY, self.path('custody')),
                ]:
            for kid in ['\0', '\ud800', 43 * '\0']:
                header = signature.b64url(json.dumps({
                            'alg': 'Ed25519', 'kid': kid, 'typ': typ,
                            }).encode())
                with self.subTest(typ, kid=kid):
                    self.assertRefused(
                        self.client().post(path, data=b'{}', headers={
                                signature.SIGNATURE_HEADER:
                                f'{header}..{86 * "A"}'}),
                        (401, 'signature'))

    def test_unprintable_relation(self):
        "Test the names in a proposal are identifiers"
        news = self.buyer.statement(SELLER, 'some-news', {})
        self.assertEqual(self.post(self.buyer, news).status_code, 201)
        for name, value in [
                ('relation', '\0'),
                ('relation', 'x' * 100_000),
                ('relation', None),
                ('community', '\0'),
                ('trust_party', '\0'),
                ('sealed', '\0'),
                ]:
            with self.subTest(name, value=str(value)[:5]):
                self.assertRefused(
                    self.post(self.buyer, self.buyer.statement(
                            SELLER, 'relation-proposal', {
                                'relation': str(uuid.uuid4()),
                                'community': None, 'trust_party': TRUST,
                                'replaces': None, 'sealed': None,
                                name: value})),
                    (422, 'malformed'))

    def test_kind(self):
        "Test no kind of statement is a method of ours"
        for kind in ['named', 'table', 'validate', 'defaults']:
            with self.subTest(kind):
                self.assertEqual(self.post(
                        self.buyer, self.buyer.statement(
                            SELLER, kind, {'relation': self.relation}),
                        ).status_code, 201)

    def test_integers(self):
        "Test the numbers of the protocol are kept whole"
        self.addCleanup(self.seller.sequences.clear)
        taken = self.seller.statement(BUYER, 'some-news', {}, sequence=2**31)
        self.assertEqual(self.post(self.seller, taken).status_code, 201)
        # The log tells what was refused as well
        refused = self.seller.statement(
            BUYER, 'some-news', {}, id=taken.id,
            sequence=canonical.MAX_INTEGER)
        self.assertRefused(
            self.post(self.seller, refused), (409, 'conflict'))
        record = canonical.load(self.seller.get(
                self.client(), self.path(f'records/{refused.id}')).data)
        self.assertTrue(record['submission-rejection'])

    def test_versions(self):
        "Test a community may count its directories from where it wants"
        self.community.version = 2**31 - 1
        self.publish(self.seller.participant(), self.buyer.participant())

    # Replay, duplicate by retry, reorder

    def test_replay(self):
        "Test what comes again changes nothing, and nobody else can send it"
        message = self.seller.invoice(BUYER, self.relation)
        first = self.post(self.seller, message)
        self.buyer.fetch(self.client(), self.db_name, message)
        rows, size = self.rows(), self.checkpoint().size
        jws = self.seller.sign(message.to_bytes(), message.typ)
        for _ in range(3):
            again = self.post_bytes(message.to_bytes(), jws)
            self.assertEqual(
                (again.status_code, again.data), (200, first.data))
        other = self.buyer.sign(message.to_bytes(), message.typ)
        self.assertRefused(
            self.post_bytes(message.to_bytes(), other), (403, 'not-sender'))
        self.assertEqual(self.checkpoint().size, size)
        rows.pop('cooperative.edi.token')
        self.assertEqual(
            {n: c for n, c in self.rows().items() if n in rows}, rows)

    def test_early(self):
        "Test what is dated ahead, which no proof could hold, is not taken yet"
        for hours, status in [(3, 425), (0.9, 201)]:
            message = self.seller.statement(
                BUYER, 'some-news', {},
                created=now() + dt.timedelta(hours=hours))
            response = self.post(self.seller, message)
            self.assertEqual(response.status_code, status)
            if status == 425:
                self.assertIn(
                    int(response.headers['Retry-After']), range(7100, 7201))
        version, previous = self.community.version, self.community.previous
        self.assertRefused(
            self.community.publish(
                self.client(), self.db_name, self.community.directory(
                    self.seller.participant(), self.buyer.participant(),
                    created=now() + dt.timedelta(hours=3),
                    expires=now() + dt.timedelta(days=1))),
            (425, 'early'))
        self.community.version, self.community.previous = version, previous

    def test_replay_identifier(self):
        "Test nobody takes the identifier of the message of somebody else"
        third = Member(THIRD)
        self.publish(*(
                m.participant() for m in [self.seller, self.buyer, third]))
        message = self.seller.invoice(BUYER, self.relation)
        self.assertEqual(
            self.post(self.seller, message).status_code, 201)
        for member, receiver in [(self.buyer, SELLER), (third, BUYER)]:
            self.assertRefused(
                self.post(member, member.statement(
                        receiver, 'some-news', {}, id=message.id)),
                (409, 'conflict'))
        id_ = str(uuid.uuid4())
        arrived = self.arrive([
                (member, member.statement(BUYER, 'some-news', {}, id=id_))
                for member in [self.seller, third]])
        self.assertEqual(
            sorted(a.problem.name if a.problem else '' for a in arrived),
            ['', 'conflict'])

    def arrive(self, messages):
        "Have the messages arrive at the same time"
        queue = reception.Queue()
        queue.led = True
        queue.waiting = turns = [
            reception.Turn(reception.Arrival(
                    message.to_bytes(), member.sign(
                        message.to_bytes(), message.typ)[
                            signature.SIGNATURE_HEADER]))
            for member, message in messages]
        reception._lead(self.db_name, queue)
        for turn in turns:
            if not turn.arrival.id and not turn.arrival.problem:
                reception._receive_alone(self.db_name, turn.arrival)
        return [turn.arrival for turn in turns]

    def test_confirmed_once(self):
        "Test answers that come together confirm a sealed invoice once"
        Message = Pool(self.db_name).get('cooperative.edi.message')
        key = EncryptionKey.generate()
        relation = self.agree(sealed=key.public.kid)
        total = commission.Total(
            'invoice', dt.date(2026, 11, 22), 'EUR', '100.00', '120.00')

        def sealed(member, receiver, **values):
            message = seal.seal(
                member.invoice(receiver, relation, **values), key.public,
                total=total).message
            member.sequences[receiver] = message.sequence, message.digest
            return message
        invoice = sealed(self.seller, BUYER)
        self.assertEqual(self.post(self.seller, invoice).status_code, 201)
        self.buyer.fetch(self.client(), self.db_name, invoice)
        arrived = self.arrive([
                (self.buyer, sealed(
                        self.buyer, SELLER, correlation=invoice.id))
                for _ in range(3)])
        self.assertTrue(all(a.id for a in arrived))
        self.assertEqual(self.ask(
                lambda: Message.search_count(
                    [('confirms.uuid', '=', invoice.id)])), 1)

    def test_other_community(self):
        "Test a community takes over neither a member nor another community"
        other = Community('0225:552100554')
        self.ask(lambda: Pool().get('cooperative.edi.peer').update_from(
                Pool().get('company.company').search([])[0].id,
                other.participant(kind='community')))
        thief = Member(SELLER)
        thief.key = signature.SigningKey.generate()
        false = Community('0225:732829320_9')
        response = other.publish(
            self.client(), self.db_name, other.directory(
                thief.participant(endpoint='https://evil.example.org'),
                false.participant(kind='community')))
        self.assertEqual(response.status_code, 200)
        self.assertRefused(
            self.post(thief, thief.statement(BUYER, 'some-news', {})),
            (401, 'unknown-key'))
        message = self.seller.invoice(BUYER, self.relation)
        self.assertEqual(self.post(self.seller, message).status_code, 201)
        response = false.publish(
            self.client(), self.db_name,
            false.directory(self.buyer.participant()))
        self.assertRefused(response, (401, 'unknown-key'))

    def test_replay_token(self):
        "Test a pull token opens the mailbox once, and nothing else"
        path = f'/{self.db_name}/cooperative/edi/mailbox'
        token = self.buyer.authorization('GET', path)
        client_ = self.client()
        self.assertEqual(
            client_.get(path, headers=token).status_code, 200)
        self.assertRefused(
            client_.get(path, headers=token), (401, 'token'))
        token = self.buyer.authorization('GET', path)
        self.assertRefused(
            client_.get(f'{path}/{uuid.uuid4()}', headers=token),
            (401, 'token'))

    def test_replay_receipt(self):
        "Test the receipt of one message does not close another one"
        first, second = [
            self.seller.invoice(BUYER, self.relation) for _ in range(2)]
        for message in [first, second]:
            self.post(self.seller, message)
        path = (f'/{self.db_name}/cooperative/edi/mailbox/{second.id}'
            '/receipt')
        self.assertRefused(
            self.client().post(
                path, data=self.buyer.receipt(first),
                headers=self.buyer.authorization('POST', path)),
            (422, 'malformed'))
        self.assertIn(second.id, self.mailbox())

    def test_reorder(self):
        "Test two that arrive in another order are seen to have"
        Message = Pool(self.db_name).get('cooperative.edi.message')
        first, second = [self.prepare() for _ in range(2)]
        for message in [second, first]:
            self.assertEqual(self.post(
                    self.seller, message).status_code, 201)

        def read():
            return {m.uuid: m.in_sequence for m in Message.search([
                        ('uuid', 'in', [first.id, second.id]),
                        ('direction', '=', 'in'),
                        ])}
        self.assertEqual(
            self.ask(read), {first.id: False, second.id: False})

    def prepare(self):
        "Return an invoice that counts as sent"
        message = self.seller.invoice(BUYER, self.relation)
        self.seller.sequences[BUYER] = message.sequence, message.digest
        return message

    def test_stale_directory(self):
        "Test nothing is relayed by a directory that has expired"
        Directory = pool_get(self.db_name, 'cooperative.trust.directory')

        def expire(time):
            directories = Directory.search([])
            table = Directory.__table__()
            before = {d.id: d.expires for d in directories}
            Transaction().connection.cursor().execute(*table.update(
                    [table.expires], [time]))
            return max(before.values())
        before = self.ask(expire, dt.datetime(2026, 1, 1))
        try:
            message = self.seller.invoice(BUYER, self.relation)
            self.assertRefused(
                self.post(self.seller, message), (403, 'suspended'))
        finally:
            self.ask(expire, before)
        self.assertEqual(self.post(self.seller, message).status_code, 201)

    # The mailbox

    def mailbox(self, query=''):
        path = f'/{self.db_name}/cooperative/edi/mailbox'
        response = self.buyer.get(self.client(), path, query)
        self.assertEqual(response.status_code, 200)
        return canonical.load(response.data)['messages']

    def take(self, message):
        path = f'/{self.db_name}/cooperative/edi/mailbox/{message.id}'
        return self.buyer.get(self.client(), path)

    def answer(self, message, body):
        path = (f'/{self.db_name}/cooperative/edi/mailbox/{message.id}'
            '/receipt')
        return self.client().post(
            path, data=canonical.dump(body),
            headers=self.buyer.authorization('POST', path))

    def expire(self):
        Message = Pool(self.db_name).get('cooperative.edi.message')
        self.ask(lambda: Message.write(
                Message.search([('leased_until', '!=', None)]), {
                    'leased_until': dt.datetime(2026, 1, 1)}))

    def empty(self):
        "Have nothing wait for anybody"
        Message = Pool(self.db_name).get('cooperative.edi.message')
        self.ask(lambda: Message.write(
                Message.search([('state', '=', 'waiting')]),
                {'state': 'failed'}))

    def test_lease(self):
        "Test a message that one process fetches is not shown to the others"
        first, second = [
            self.seller.invoice(BUYER, self.relation) for _ in range(2)]
        for message in [first, second]:
            self.post(self.seller, message)
        other = self.community.invoice(BUYER, str(uuid.uuid4()))
        self.post(self.community, other)
        self.assertEqual(self.mailbox(), [first.id, second.id, other.id])
        self.assertEqual(self.take(first).status_code, 200)
        # What follows from the same sender waits, so that the order is kept
        self.assertEqual(self.mailbox(), [other.id])
        response = self.take(first)
        self.assertRefused(response, (409, 'leased'))
        self.assertIn(int(response.headers['Retry-After']), range(1, 301))
        # Killed before it could tell
        self.expire()
        self.assertEqual(self.mailbox(), [first.id, second.id, other.id])
        self.assertEqual(self.take(first).data, first.to_bytes())
        for message in [first, second]:
            self.buyer.fetch(self.client(), self.db_name, message)
        self.assertEqual(self.mailbox(), [other.id])
        self.assertRefused(self.take(first), (404, 'not-found'))

    def test_given_back(self):
        "Test who cannot tell yet gives the message back, or refuses it"
        message = self.seller.invoice(BUYER, self.relation)
        self.post(self.seller, message)
        for name in ['unknown-key', 'no-relation', 'unavailable']:
            self.assertEqual(self.take(message).status_code, 200)
            response = self.answer(message, {
                    'type': f'https://trycoton.org/problems/{name}',
                    'title': "Later", 'status': 403})
            self.assertEqual(response.status_code, 204)
            self.assertEqual(self.mailbox(), [message.id])
        self.take(message)
        self.answer(message, {
                'type': 'https://trycoton.org/problems/malformed',
                'title': "Never", 'status': 422})
        self.assertEqual(self.mailbox(), [])

    def test_pages(self):
        "Test the mailbox is shown page by page"
        messages = []
        for _ in range(5):
            message = self.seller.statement(BUYER, 'some-news', {})
            self.post(self.seller, message)
            messages.append(message.id)
        self.assertEqual(self.mailbox('?limit=2'), messages[:2])
        self.assertEqual(
            self.mailbox(f'?limit=2&after={messages[1]}'), messages[2:4])
        self.assertEqual(self.mailbox(f'?after={messages[3]}'), messages[4:])
        for query in ['?limit=0', '?limit=-1']:
            self.assertEqual(self.mailbox(query), messages[:1])
        for query in ['?limit=x&after=x', '?after=%00']:
            self.assertEqual(self.mailbox(query), messages)

    # The addresses that members give

    def test_endpoints(self):
        "Test no address of a member leads inside, nor holds the others up"
        endpoints = [
            'https://127.0.0.1/x', 'https://localhost:5432/x',
            'https://[::1]/x', 'https://[::ffff:169.254.169.254]/latest',
            'https://169.254.169.254/latest', 'http://example.org/x',
            ]
        inside = [
            Member(f'0225:732829320_5{i}') for i in range(len(endpoints))]
        third = Member(THIRD)
        self.publish(
            self.seller.participant(), self.buyer.participant(),
            third.participant(endpoint='https://third.example/x'),
            *[m.participant(endpoint=e) for m, e in zip(inside, endpoints)])
        messages = [
            self.seller.statement(m.identifier, 'some-news', {})
            for m in [*inside, third]]
        for message in messages:
            self.assertEqual(
                self.post(self.seller, message).status_code, 201)
        request, called = client.request, []

        def record(method, url, **options):
            if url.startswith('https://third.example'):
                called.append(url)
                return client.Response(201, {}, third.receipt(messages[-1]))
            return request(method, url, **options)
        with patch.object(client, 'request', record), \
                patch.object(
                    client.socket, 'create_connection',
                    side_effect=AssertionError("connected")):
            courier.send_due(self.db_name)
        self.assertEqual(
            called, ['https://third.example/x/edi/messages'])
        Message = Pool(self.db_name).get('cooperative.edi.message')

        def read():
            return [(m.state, m.attempts) for m in Message.search([
                        ('direction', '=', 'out'),
                        ('uuid', 'in', [m.id for m in messages]),
                        ], order=[('id', 'ASC')])]
        self.assertEqual(
            self.ask(read),
            [('waiting', 1)] * len(inside) + [('sent', 1)])

    def test_loops(self):
        """Test an address that leads to the trust party itself, or to another
        member, makes no loop and hands nothing over"""
        for target in ['self', 'other']:
            with self.subTest(target):
                self.loop(target)

    def loop(self, target):
        own = f'https://trust.example/{self.db_name}/cooperative'
        other = 'https://other.example/x'
        third = Member(THIRD)
        self.publish(
            self.seller.participant(), self.buyer.participant(),
            third.participant(endpoint=own if target == 'self' else other))
        message = self.seller.statement(THIRD, 'some-news', {})
        self.assertEqual(self.post(self.seller, message).status_code, 201)
        rows, calls = self.rows(), []

        def call(method, url, data=None, headers=None):
            calls.append(url)
            if target == 'self':
                response = self.client().open(
                    url.removeprefix('https://trust.example'),
                    method=method, data=data, headers=headers)
                return client.Response(
                    response.status_code, response.headers, response.data)
            return client.Response(201, {}, self.buyer.receipt(message))
        with patch.object(client, 'request', call):
            for _ in range(3):
                courier.send_due(self.db_name)
        self.assertEqual(len(calls), 1)
        self.assertEqual(self.rows(), rows)
        Message = Pool(self.db_name).get('cooperative.edi.message')

        def read():
            found, = Message.search([
                    ('direction', '=', 'out'), ('uuid', '=', message.id)])
            return found.state, found.receipt
        self.assertEqual(self.ask(read), ('waiting', None))

    # A recipient that is down, and a trust party that is killed

    def deliver(self, third, answer):
        "Send what is due to the third, that answers so"
        calls = []

        def request(method, url, data=None, headers=None):
            calls.append(data)
            return answer(url, data)
        with patch.object(client, 'request', request):
            courier.send_due(self.db_name)
        return calls

    def hasten(self):
        Message = Pool(self.db_name).get('cooperative.edi.message')
        Peer = Pool(self.db_name).get('cooperative.edi.peer')
        self.ask(lambda: Message.write(
                Message.search([('next_attempt', '!=', None)]), {
                    'next_attempt': dt.datetime(2026, 1, 1)}))
        self.ask(lambda: Peer.write(
                Peer.search([]), {'silent_until': None}))

    def test_push(self):
        """Test what a recipient that is down does not take is sent again,
        in order, and is handed over once though the trust party was killed"""
        third = Member(THIRD)
        self.publish(
            self.seller.participant(), self.buyer.participant(),
            third.participant(endpoint='https://third.example/x'))
        first = self.seller.statement(THIRD, 'some-news', {'n': '0'})
        self.post(self.seller, first)
        second = self.seller.statement(THIRD, 'some-news', {'n': '1'})
        self.post(self.seller, second)

        def down(url, data):
            raise client.ClientError(url, "down")
        self.assertEqual(self.deliver(third, down), [first.to_bytes()])
        self.assertEqual(self.deliver(third, down), [])
        self.hasten()

        def killed(url, data):
            raise SystemExit
        with self.assertRaises(SystemExit):
            self.deliver(third, killed)
        # Another process leaves it alone as long as an answer may come
        self.assertEqual(
            self.deliver(third, down), [second.to_bytes()])
        self.hasten()
        by_data = {m.to_bytes(): m for m in [first, second]}

        def up(url, data):
            return client.Response(
                200, {}, third.receipt(by_data[bytes(data)]))
        self.assertEqual(
            self.deliver(third, up), [first.to_bytes(), second.to_bytes()])
        self.assertEqual(self.deliver(third, up), [])
        path = self.path(f'records/{first.id}')
        records = canonical.load(self.seller.get(self.client(), path).data)
        self.assertIsNotNone(records['delivery'])


def pool_get(database, name):
    return Pool(database).get(name)


def rights_of(id_):
    "Return the context of the user"
    User = Pool().get('res.user')
    with Transaction().set_user(0):
        user = User(id_)
        return {
            'companies': [c.id for c in user.companies],
            'company': user.company.id if user.company else None,
            }


del RouteTestCase
