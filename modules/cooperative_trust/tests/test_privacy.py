# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
import base64
import datetime as dt
import hashlib
import re
import uuid
from unittest.mock import patch

from trytond.exceptions import UserError
from trytond.model.exceptions import AccessError
from trytond.modules.company.tests import create_company, set_company
from trytond.pool import Pool
from trytond.protocols.wrappers import HTTPStatus
from trytond.transaction import Transaction

from cooperative_trust import held, overview, privacy
from cooperative_trust.exceptions import LogModifyError
from trycoton.protocol import canonical, dispute, entry, envelope, signature
from trycoton.protocol.checkpoint import Checkpoint

from .test_routes import TrustRouteTestCase
from .tools import BUYER, COMMUNITY, SELLER, Member, now, record_of

YEAR = dt.timedelta(days=366)


class PrivacyTestCase(TrustRouteTestCase):
    "Test what is erased and what is given to whom it is about"

    def deliver(self, message):
        "Have the message of the seller relayed and handed over"
        self.send(self.seller, message)
        self.buyer.fetch(self.client(), self.db_name, message)
        self.sweep()
        return self.records(self.seller, message)

    def records(self, member, message):
        response = member.get(
            self.client(), self.path(f'records/{message.id}'))
        self.assertEqual(response.status_code, HTTPStatus.OK)
        return {event: record
            for event, record in canonical.load(response.data).items()
            if record}

    def in_transaction(self, function, user=0, context=None):
        with Transaction().start(
                self.db_name, user, context=context) as transaction:
            result = function()
            transaction.commit()
        while transaction.tasks:
            from trytond.worker import run_task
            run_task(Pool(self.db_name), transaction.tasks.pop())
        return result

    def relayed(self, message):
        "Return the ids of the message as it came in and was sent on"
        def find():
            Message = Pool().get('cooperative.edi.message')
            return [m.id for m in Message.search([
                        ('uuid', '=', message.id)], order=[('id', 'ASC')])]
        return self.in_transaction(find)

    def age(self, message, years):
        "Have the message be that old"
        ids = self.relayed(message)

        def write():
            Message = Pool().get('cooperative.edi.message')
            Message.write(Message.browse(ids), {
                    'stored': dt.datetime.now() - years * YEAR})
        self.in_transaction(write)

    def expire(self):
        def expire():
            Pool().get('cooperative.edi.message').erase_expired()
        self.in_transaction(expire)

    def kept(self, message):
        "Tell if the bytes of the message are kept"
        ids = self.relayed(message)

        def kept():
            Message = Pool().get('cooperative.edi.message')
            return {bool(m.data) for m in Message.browse(ids)}
        result, = self.in_transaction(kept)
        return result

    def fsck(self):
        def fsck():
            log, = Pool().get('cooperative.trust.log').search([])
            return log.fsck()
        return self.in_transaction(fsck)

    def test_expired(self):
        "Test what is old enough is erased, and all the proofs hold"
        relation = self.agree()
        invoice = self.seller.invoice(BUYER, relation)
        news = self.seller.statement(BUYER, 'some-news', {'text': "x"})
        records = self.deliver(invoice)
        self.deliver(news)
        before = self.checkpoint()
        for years, left in [
                (0, [True, True]), (2, [True, False]), (9, [True, False]),
                (12, [False, False])]:
            with self.subTest(years=years):
                for message in [invoice, news]:
                    self.age(message, years)
                self.expire()
                self.assertEqual(
                    [self.kept(invoice), self.kept(news)], left)
                self.assertEqual(self.fsck(), [])
        # What the parties kept is proved as before, by the same tree
        after = self.checkpoint()
        self.assertEqual(after.root, before.root)
        for record in records.values():
            record_of(record).verify([self.verifier])
        # The log goes on
        more = self.deliver(self.seller.invoice(BUYER, relation))
        for record in more.values():
            record_of(record).verify([self.verifier])
        self.assertEqual(self.fsck(), [])

    def test_nothing_left(self):
        "Test nothing of the document or of the evidence is left"
        invoice = self.seller.invoice(BUYER, self.agree())
        records = self.deliver(invoice)
        number = envelope.parse(invoice.to_bytes()).number
        self.age(invoice, 12)
        self.expire()
        ids = self.relayed(invoice)

        def read():
            pool = Pool()
            result = []
            for name, domain in [
                    ('cooperative.edi.message', ('id', 'in', ids)),
                    ('cooperative.trust.log.leaf', ('message', 'in', ids)),
                    ]:
                Model = pool.get(name)
                table = Model.__table__()
                cursor = Transaction().connection.cursor()
                cursor.execute(*table.select(where=table.id.in_(
                            [r.id for r in Model.search([domain])])))
                result += [v for row in cursor for v in row]
            return result
        values = self.in_transaction(read)
        for record in map(record_of, records.values()):
            for secret in filter(None, [
                        record.nonce, record.evidence, number,
                        record.event.signature, record.event.receipt]):
                self.assertNotIn(secret, values)
                self.assertFalse([v for v in values
                        if isinstance(v, bytes) and isinstance(secret, bytes)
                        and secret in v])

    def test_end_of_year(self):
        "Test the statutory period counts from the end of the year"
        def limits():
            Retention = Pool().get('cooperative.trust.retention')
            for kind in ['invoice', 'catalogue']:
                retention, = Retention.search([('kind', '=', kind)])
                with patch.object(privacy, 'now') as now:
                    now.return_value = dt.datetime(2036, 12, 31, 23)
                    yield retention.limit
                yield retention.until(dt.datetime(2026, 3, 1))
        self.assertEqual(self.in_transaction(lambda: list(limits())), [
                dt.datetime(2026, 1, 1), dt.date(2037, 1, 1),
                dt.datetime(2035, 12, 31, 23), dt.date(2027, 3, 1)])

    def test_undelivered(self):
        "Test what is not handed over is kept"
        invoice = self.seller.invoice(BUYER, self.agree())
        self.send(self.seller, invoice)
        self.age(invoice, 20)
        self.expire()
        self.assertTrue(self.kept(invoice))
        self.buyer.fetch(self.client(), self.db_name, invoice)
        self.sweep()
        self.expire()
        self.assertFalse(self.kept(invoice))

    def opening(self, *messages):
        "Return what opens a dispute about the messages"
        return dispute.Opening(
            dispute=str(uuid.uuid4()), relation=None, side='buyer',
            messages=tuple(sorted(
                    (dispute.Contested(m.id, m.digest) for m in messages),
                    key=lambda c: c.message)),
            claim="It never came.", asked=dispute.ASKED[0], amount=None,
            freezes=(), arbiter=None, answer_by=now() + YEAR / 100,
            award_by=now() + YEAR / 50)

    def withdrawal(self, opening):
        return dispute.Withdrawal(
            dispute=opening.dispute, reason=None).to_json()

    def test_disputed(self):
        "Test what is disputed is kept, until it is withdrawn"
        relation = self.agree()
        invoice = self.seller.invoice(BUYER, relation)
        other = self.seller.invoice(BUYER, relation)
        for message in [invoice, other]:
            self.deliver(message)
            self.age(message, 20)
        opening = self.opening(invoice)
        self.send(self.buyer, self.buyer.statement(
                SELLER, 'dispute-opening', opening.to_json()))
        self.expire()
        self.assertTrue(self.kept(invoice))
        self.assertFalse(self.kept(other))
        self.send(self.buyer, self.buyer.statement(
                SELLER, 'dispute-withdrawal', self.withdrawal(opening)))
        self.expire()
        self.assertFalse(self.kept(invoice))

    def test_disputed_still(self):
        "Test nobody but who opened a dispute has it be over"
        invoice = self.seller.invoice(BUYER, self.agree())
        self.deliver(invoice)
        self.age(invoice, 20)
        opening = self.opening(invoice)
        opened = self.buyer.statement(
            SELLER, 'dispute-opening', opening.to_json())
        self.send(self.buyer, opened)
        self.seller.fetch(self.client(), self.db_name, opened)
        for member, recipient, kind, body in [
                (self.seller, BUYER, 'dispute-withdrawal',
                    self.withdrawal(opening)),
                (self.community, SELLER, 'dispute-withdrawal',
                    self.withdrawal(opening)),
                (self.buyer, COMMUNITY, 'dispute-withdrawal',
                    self.withdrawal(opening)),
                (self.seller, BUYER, 'dispute-award',
                    self.award(opened, opening)),
                (self.community, BUYER, 'dispute-award',
                    self.award(opened, opening)),
                ]:
            with self.subTest(kind, by=member.identifier):
                self.send(member, member.statement(recipient, kind, body))
                self.expire()
                self.assertTrue(self.kept(invoice))

        def erase():
            Message = Pool().get('cooperative.edi.message')
            Message.erase(Message.search([('relays.uuid', '=', opened.id)]))
        self.sweep()
        self.in_transaction(erase)
        self.assertTrue(self.kept(opened))

    def award(self, opened, opening):
        "Return how an award of the dispute is told, by anybody"
        data = dispute.Award(
            dispute=opening.dispute, opening=opened.digest,
            arbiter=COMMUNITY, seller=SELLER, buyer=BUYER, outcome='seller',
            credited=None, paid=None, reasons="It came.", considered=(),
            created=now()).to_bytes()
        return dispute.AwardNotice(data, signature.sign(
                data, dispute.Award.typ, self.community.key)).to_json()

    def test_disputed_first(self):
        "Test what is disputed is not in the way of what comes after"
        relation = self.agree()
        *disputed, last = [
            self.seller.invoice(BUYER, relation) for _ in range(4)]
        for message in [*disputed, last]:
            self.deliver(message)
            self.age(message, 20)
        self.send(self.seller, self.seller.statement(
                BUYER, 'dispute-opening',
                self.opening(*disputed).to_json()))
        with patch.object(privacy, 'RUN', 3), \
                patch.object(privacy, 'BATCH', 2):
            self.expire()
        self.assertFalse(self.kept(last))
        for message in disputed:
            self.assertTrue(self.kept(message))

    def test_disputed_by_others(self):
        "Test nobody keeps the messages of others by a dispute"
        relation = self.agree()
        invoice = self.seller.invoice(BUYER, relation)
        self.deliver(invoice)
        self.age(invoice, 20)
        for body in [{'any': 'thing'}, self.opening(invoice).to_json()]:
            self.send(self.community, self.community.statement(
                    BUYER, 'dispute-opening', body))
        self.expire()
        self.assertFalse(self.kept(invoice))

    def test_closed(self):
        "Test what was closed without delivery is erased in its time"
        invoice = self.seller.invoice(BUYER, self.agree())
        self.send(self.seller, invoice)
        id_ = self.relayed(invoice)[1]

        def fail():
            Pool().get('cooperative.edi.message')(id_).fail("gone")
        self.in_transaction(fail)
        self.sweep()
        self.age(invoice, 9)
        self.expire()
        self.assertTrue(self.kept(invoice))
        self.age(invoice, 12)
        self.expire()
        self.assertFalse(self.kept(invoice))
        self.assertEqual(self.fsck(), [])

    def test_rejection(self):
        "Test what opens the proof of a refusal is erased as well"
        invoice = self.seller.statement(BUYER, 'relation-proposal', {
                'relation': {}})
        self.send(self.seller, invoice, HTTPStatus.UNPROCESSABLE_ENTITY)
        self.sweep()
        _, before = self.get_all(self.seller, 'entries', 'entries')
        _, others = self.get_all(self.buyer, 'entries', 'entries')
        self.assertIn(invoice.id, [e['message'] for e in before])
        self.assertNotIn(invoice.id, [e['message'] for e in others])

        def age():
            Rejection = Pool().get('cooperative.trust.rejection')
            rejections = Rejection.search([('uuid', '=', invoice.id)])
            Rejection.write(rejections, {'date': dt.date(2020, 1, 1)})
            return [r.id for r in rejections]
        ids = self.in_transaction(age)
        self.expire()

        def look():
            Rejection = Pool().get('cooperative.trust.rejection')
            rejection, = Rejection.browse(ids)
            leaf, = rejection.leaves
            return (rejection.signature, rejection.reason_text,
                leaf.nonce, leaf.evidence, leaf.reason_text)
        self.assertEqual(self.in_transaction(look), (None,) * 5)
        self.assertEqual(self.fsck(), [])
        _, after = self.get_all(self.seller, 'entries', 'entries')
        self.assertEqual(
            [e['index'] for e in after], [e['index'] for e in before])

    def test_routes_erased(self):
        "Test what the routes answer of what was erased"
        invoice = self.seller.invoice(BUYER, self.agree())
        self.deliver(invoice)
        answer = self.send(self.seller, invoice, HTTPStatus.OK)
        self.age(invoice, 12)
        self.expire()
        for member in [self.seller, self.buyer]:
            response = member.get(
                self.client(), self.path(f'records/{invoice.id}'))
            self.assertEqual(response.status_code, HTTPStatus.GONE)
            self.assertEqual(
                canonical.load(response.data)['type'],
                'https://trycoton.org/problems/erased')
        # Nobody else learns that there was something
        response = self.community.get(
            self.client(), self.path(f'records/{invoice.id}'))
        self.assertEqual(response.status_code, HTTPStatus.NOT_FOUND)
        response = self.buyer.get(
            self.client(),
            f'/{self.db_name}/cooperative/edi/mailbox/{invoice.id}')
        self.assertEqual(response.status_code, HTTPStatus.NOT_FOUND)
        # The sender who repeats itself has the same receipt, and only it
        again = self.send(self.seller, invoice, HTTPStatus.OK)
        self.assertEqual(again['receipt'], answer['receipt'])
        self.assertFalse(again.get('record'))
        # And another message by that name is still a conflict
        self.send(self.seller, self.seller.invoice(
                BUYER, invoice.relation, id=invoice.id), HTTPStatus.CONFLICT)
        response = self.buyer.fetch(self.client(), self.db_name, invoice)
        self.assertEqual(response.status_code, HTTPStatus.NO_CONTENT)

    def test_statement_erased(self):
        "Test the statement of a community leaves out what was erased"
        start = self.checkpoint().size
        invoice = self.seller.invoice(BUYER, self.agree())
        self.deliver(invoice)
        query = f'?community={COMMUNITY}&after={start}'
        for years, count in [(0, 1), (12, 0)]:
            self.age(invoice, years)
            self.expire()
            response = self.community.get(
                self.client(), self.path('statements'), query)
            self.assertEqual(response.status_code, HTTPStatus.OK)
            self.assertEqual(
                len(canonical.load(response.data)['lines']), count)

    def test_guards(self):
        "Test nothing else of the log can be erased, nor by somebody else"
        invoice = self.seller.invoice(BUYER, self.agree())
        self.deliver(invoice)
        ids = self.relayed(invoice)

        def write():
            Leaf = Pool().get('cooperative.trust.log.leaf')
            leaves = Leaf.search([('message', 'in', ids)])
            self.assertTrue(leaves)
            for name in ['nonce', 'evidence', 'entry', 'hash']:
                with self.assertRaises(LogModifyError):
                    Leaf.write(leaves, {name: None})
        self.in_transaction(write)

        def damage(**values):
            Leaf = Pool().get('cooperative.trust.log.leaf')
            table = Leaf.__table__()
            Transaction().connection.cursor().execute(*table.update(
                    [getattr(table, n) for n in values],
                    list(values.values()), where=table.message.in_(ids)))
            log, = Pool().get('cooperative.trust.log').search([])
            self.assertTrue(log.fsck())
            Transaction().rollback()
        for values in [
                {'nonce': None}, {'evidence': None},
                {'nonce': None, 'evidence': None}]:
            with self.subTest(values=values):
                self.in_transaction(lambda: damage(**values))
        self.age(invoice, 12)
        self.expire()
        for values in [
                {'nonce': b'1' * 32}, {'entry': b'1' * 33},
                {'hash': b'1' * 32}]:
            with self.subTest(values=values):
                self.in_transaction(lambda: damage(**values))
        self.assertEqual(self.fsck(), [])

    def test_request(self):
        "Test a member has erased what the law does not keep"
        relation = self.agree()
        invoice = self.seller.invoice(BUYER, relation)
        news = self.seller.statement(BUYER, 'some-news', {'text': "x"})
        late = self.seller.statement(BUYER, 'some-news', {'text': "y"})
        other = self.community.statement(BUYER, 'some-news', {'text': "z"})
        self.deliver(invoice)
        self.deliver(news)
        self.send(self.seller, late)
        self.send(self.community, other)
        self.buyer.fetch(self.client(), self.db_name, other)
        self.sweep()

        def erase():
            pool = Pool()
            Erase = pool.get('cooperative.trust.member.erase', type='wizard')
            Member_ = pool.get('cooperative.trust.member')
            member, = Member_.search([('peer.identifier', '=', SELLER)])
            session, *_ = Erase.create()
            with Transaction().set_context(
                    active_model=member.__name__, active_id=member.id,
                    active_ids=[member.id]):
                start = Erase.execute(
                    session, {}, 'start')['view']['defaults']
                Erase.execute(session, {}, 'erase')
            return start
        start = self.in_transaction(erase)
        self.assertGreaterEqual(start['count'], 1)
        self.assertLessEqual(
            {("Invoice", 'law', True),
                ("Other Statement", 'undelivered', False)},
            {(k['kind'], k['reason'], bool(k.get('until')))
                for k in start['kept'] if k['count']})
        self.assertTrue(self.kept(invoice))
        self.assertTrue(self.kept(late))
        self.assertTrue(self.kept(other))
        self.assertFalse(self.kept(news))
        self.assertEqual(self.fsck(), [])

    def get_all(self, member, name, parts):
        "Return the parts of all the pages"
        result, after = [], 0
        while after is not None:
            response = member.get(
                self.client(), self.path(name), f'?after={after}')
            self.assertEqual(response.status_code, HTTPStatus.OK)
            page = canonical.load(response.data)
            result += page[parts]
            after = page['next']
        return page, result

    def test_held(self):
        "Test a member is given all that is held about it, and no more"
        relation = self.agree()
        invoice = self.seller.invoice(BUYER, relation)
        records = self.deliver(invoice)
        secret = self.community.statement(BUYER, 'some-news', {'text': "z"})
        self.send(self.community, secret)
        with patch.object(held, 'MESSAGES_MAX', 2):
            page, messages = self.get_all(self.seller, 'held', 'messages')
        self.assertEqual(page['participant']['identifier'], SELLER)
        self.assertEqual(
            page['participant']['keys'][0]['id'], self.seller.key.kid)
        self.assertEqual(
            [(m['community'], m['state']) for m in page['memberships']],
            [(COMMUNITY, 'active')])
        self.assertIn(relation, [a['relation'] for a in page['agreements']])
        found, = [m for m in messages if m['message'] == invoice.id]
        self.assertEqual(
            base64.b64decode(found['data']), invoice.to_bytes())
        self.assertEqual(
            {e['event']: e['record'] for e in found['entries']}, records)
        ids = [m['message'] for m in messages]
        self.assertEqual(len(ids), len(set(ids)))
        self.assertNotIn(secret.id, ids)
        for message in messages:
            self.assertIn(SELLER, [message['sender'], message['recipient']])
        # The operator gives the same

        def export():
            Peer = Pool().get('cooperative.edi.peer')
            Held = Pool().get('cooperative.trust.held')
            peer, = Peer.search([('identifier', '=', SELLER)])
            with patch.object(held, 'MESSAGES_MAX', 2):
                return Held.all(peer)
        data = canonical.load(self.in_transaction(export))
        self.assertEqual(data['messages'], messages)
        self.assertNotIn('next', data)
        # What was erased is said, without what it was
        self.age(invoice, 12)
        self.expire()
        _, messages = self.get_all(self.seller, 'held', 'messages')
        found, = [m for m in messages if m['message'] == invoice.id]
        self.assertTrue(found['erased'])
        self.assertIsNone(found['data'])
        self.assertEqual({e['record'] for e in found['entries']}, {None})

    def test_held_large(self):
        "Test a page ends with the message that makes it full"
        relation = self.agree()
        for _ in range(3):
            self.deliver(self.seller.invoice(BUYER, relation))
        with patch.object(held, 'PAGE_MAX', 10):
            response = self.seller.get(self.client(), self.path('held'))
        self.assertEqual(len(canonical.load(response.data)['messages']), 1)

    def test_entries(self):
        "Test a member lists its entries, those that were erased too"
        relation = self.agree()
        invoice = self.seller.invoice(BUYER, relation)
        records = self.deliver(invoice)
        with patch.object(held, 'ENTRIES_MAX', 2):
            _, entries = self.get_all(self.seller, 'entries', 'entries')
        index = [e['index'] for e in entries]
        self.assertEqual(index, sorted(set(index)))
        self.assertEqual(
            {e['event']: e['index'] for e in entries
                if e['message'] == invoice.id},
            {name: record_of(r).inclusion.index
                for name, r in records.items()})
        for e in entries:
            self.assertIn(SELLER, [e['sender'], e['recipient']])
        self.age(invoice, 12)
        self.expire()
        _, again = self.get_all(self.seller, 'entries', 'entries')
        self.assertEqual([e['index'] for e in again], index)
        self.assertEqual(
            {e['erased'] for e in again if e['message'] == invoice.id},
            {True})

    def test_private(self):
        "Test nobody asks without a token, or for a page that is none"
        for name in ['held', 'entries']:
            response = self.client().get(self.path(name))
            self.assertEqual(response.status_code, HTTPStatus.UNAUTHORIZED)
            stranger = Member('0225:732829320_9')
            response = stranger.get(self.client(), self.path(name))
            self.assertEqual(response.status_code, HTTPStatus.UNAUTHORIZED)
            for after in ['-1', 'x', '1' * 30, '']:
                response = self.seller.get(
                    self.client(), self.path(name), f'?after={after}')
                self.assertEqual(
                    response.status_code,
                    HTTPStatus.UNPROCESSABLE_ENTITY, after)

    def test_overview(self):
        "Test what the operator sees"
        relation = self.agree()
        waiting = self.seller.invoice(BUYER, relation)
        self.deliver(self.seller.invoice(BUYER, relation))
        self.send(self.seller, waiting)
        failed = self.seller.invoice(BUYER, relation)
        self.send(self.seller, failed)
        self.sweep()
        id_ = self.relayed(failed)[1]

        def fail():
            Message = Pool().get('cooperative.edi.message')
            Message(id_).fail("410 gone")
        self.in_transaction(fail)
        self.sweep()

        def look():
            pool = Pool()
            Overview = pool.get('cooperative.trust.overview')
            Traffic = pool.get('cooperative.trust.traffic')
            Queue = pool.get('cooperative.trust.queue')
            Usage = pool.get('cooperative.trust.usage')
            seen, = Overview.search([])
            self.assertEqual(seen.members, 2)
            self.assertGreaterEqual(seen.failed, 1)
            self.assertEqual(seen.pending, 0)
            self.assertEqual(seen.late, 0)
            self.assertTrue(seen.signed)
            self.assertEqual(
                seen.oldest, min(q.oldest for q in seen.queues
                    if q.state == 'waiting'))
            self.assertEqual(
                seen.day, sum(t.number for t in Traffic.search(
                        [('date', '>=', seen.oldest.date())])))
            lines = {(t.community.identifier, t.kind, t.state): t.number
                for t in Traffic.search([('kind', '=', 'invoice')])}
            self.assertGreaterEqual(
                lines[COMMUNITY, 'invoice', 'sent'], 1)
            queue, = Queue.search([('reason', '=', "410 gone")])
            self.assertEqual(
                (queue.peer.identifier, queue.state, queue.number),
                (BUYER, 'failed', 1))
            usage, = Usage.search([('peer.identifier', '=', SELLER)])
            self.assertGreaterEqual(usage.sent, 3)
            usage, = Usage.search([('peer.identifier', '=', BUYER)])
            self.assertGreaterEqual(usage.waiting, 2)
            return sum(t.number for t in Traffic.search([]))
        count = self.in_transaction(look)
        tomorrow = dt.date.today() + dt.timedelta(days=1)

        def period(**context):
            def search():
                Traffic = Pool().get('cooperative.trust.traffic')
                return sum(t.number for t in Traffic.search([]))
            return self.in_transaction(search, context=context)
        self.assertEqual(period(to_date=tomorrow), count)
        self.assertEqual(period(from_date=tomorrow + YEAR), 0)

    def test_health(self):
        "Test the check of every week keeps what it finds"
        invoice = self.seller.invoice(BUYER, self.agree())
        self.deliver(invoice)
        ids = self.relayed(invoice)

        def examine(entry=None):
            pool = Pool()
            Log = pool.get('cooperative.trust.log')
            Leaf = pool.get('cooperative.trust.log.leaf')
            Overview = pool.get('cooperative.trust.overview')
            if entry:
                table = Leaf.__table__()
                Transaction().connection.cursor().execute(*table.update(
                        [table.entry], [entry],
                        where=table.message.in_(ids)))
            Log.examine()
            seen, = Overview.search([])
            self.assertTrue(seen.examined)
            health = seen.health, bool(seen.faults)
            Transaction().rollback()
            return health
        self.assertEqual(
            self.in_transaction(examine), ('right', False))
        self.assertEqual(
            self.in_transaction(lambda: examine(b'1' * 33)),
            ('wrong', True))

    def test_late(self):
        "Test a promise that is not kept is seen"
        Log = Pool(self.db_name).get('cooperative.trust.log')
        Leaf = Pool(self.db_name).get('cooperative.trust.log.leaf')
        message = self.seller.invoice(BUYER, self.agree())
        self.sweep()
        with patch.object(Log, 'integrate', lambda *args: False), \
                patch.object(Leaf, 'wait', lambda *args: False):
            self.send(self.seller, message, HTTPStatus.ACCEPTED)

        def look():
            Overview = Pool().get('cooperative.trust.overview')
            seen, = Overview.search([])
            return seen.health, seen.pending, seen.late
        _, pending, late = self.in_transaction(look)
        self.assertTrue(pending)
        self.assertFalse(late)
        with patch.object(overview, 'now') as now:
            now.return_value = privacy.now() + dt.timedelta(hours=1)
            self.assertEqual(
                self.in_transaction(look), ('late', pending, pending))
        self.sweep()

    def test_rights(self):
        "Test who is no operator, or of another company, sees nothing"
        relation = self.agree()
        self.send(self.seller, self.seller.invoice(BUYER, relation))
        names = [
            f'cooperative.trust.{n}' for n in [
                'overview', 'traffic', 'queue', 'usage', 'retention']]

        def create():
            pool = Pool()
            User = pool.get('res.user')
            Group = pool.get('res.group')
            Company = pool.get('company.company')
            group, = Group.search([('name', '=', "Trust Operator")])
            company, = Company.search([('party.name', '=', "Tiers")])
            other = create_company(name="Other")
            with set_company(other):
                users = User.create([{
                            'name': name, 'login': name,
                            'companies': [('add', [c.id])],
                            'company': c.id,
                            'groups': [('add', [g.id for g in groups])],
                            } for name, c, groups in [
                            ('nobody', company, []),
                            ('operator', company, [group]),
                            ('stranger', other, [group]),
                            ]])
            return [(u.id, u.company.id) for u in users]
        (nobody, company), (operator, _), (stranger, other) = (
            self.in_transaction(create))

        def count(name):
            with Transaction().set_context(_check_access=True):
                return len(Pool().get(name).search([]))
        for name in names:
            with self.subTest(name=name):
                for user, where in [(operator, company), (stranger, other)]:
                    found = self.in_transaction(lambda: count(name), user, {
                            'company': where, 'companies': [where]})
                    self.assertEqual(bool(found), user == operator
                        or name.endswith('retention'))
                with self.assertRaises(AccessError):
                    self.in_transaction(lambda: count(name), nobody, {
                            'company': company, 'companies': [company]})

        def wizard(name):
            Wizard = Pool().get(name, type='wizard')
            Member_ = Pool().get('cooperative.trust.member')
            member, = Member_.search([('peer.identifier', '=', SELLER)])
            with Transaction().set_context(
                    _check_access=True, active_model=Member_.__name__,
                    active_id=member.id, active_ids=[member.id]):
                session, start, _ = Wizard.create()
                return Wizard.execute(session, {}, start)
        for name in ['cooperative.trust.member.erase',
                'cooperative.trust.member.export']:
            for user, where in [(nobody, company), (stranger, other)]:
                with self.subTest(name=name, user=user), \
                        self.assertRaises(UserError):
                    self.in_transaction(lambda: wizard(name), user, {
                            'company': where, 'companies': [where]})
            self.in_transaction(lambda: wizard(name), operator, {
                    'company': company, 'companies': [company]})

    def page(self, **headers):
        response = self.client().get(self.path(''), headers=headers)
        self.assertEqual(response.status_code, HTTPStatus.OK)
        return response

    def test_public(self):
        "Test the public page shows the live checkpoint, safely"
        def write():
            Log = Pool().get('cooperative.trust.log')
            log, = Log.search([])
            log.policy = "Quota: <script>alert(1)</script> & more"
            log.save()
        self.in_transaction(write)
        response = self.page(Accept='text/html,*/*;q=0.8')
        self.assertEqual(
            response.headers['Content-Type'], 'text/html; charset=utf-8')
        html = response.data.decode()
        checkpoint = self.checkpoint()
        self.assertIn(canonical.encode(checkpoint.root), html)
        self.assertIn(f'<dd>{checkpoint.size}</dd>', html)
        self.assertIn(self.verifier.vkey.replace('&', '&amp;'), html)
        self.assertIn("No money is held", html)
        self.assertIn("45k", html)
        self.assertIn("10 years", html)
        # Nothing runs, nothing is loaded, nothing is sent
        self.assertIn('&lt;script&gt;', html)
        for word in ['<script', 'src=', 'url(', '@import', '<form', ' on']:
            self.assertFalse(
                re.search(re.escape(word) + r'\w*=' if word == ' on'
                    else re.escape(word), html), word)
        style, = re.findall('<style>(.*)</style>', html)
        digest = base64.b64encode(
            hashlib.sha256(style.encode()).digest()).decode()
        policy = response.headers['Content-Security-Policy']
        self.assertIn("default-src 'none'", policy)
        self.assertIn(f"style-src 'sha256-{digest}'", policy)
        self.assertNotIn('unsafe', policy)
        self.assertEqual(
            response.headers['X-Content-Type-Options'], 'nosniff')
        again = self.client().get(self.path(''), headers={
                'If-None-Match': response.headers['ETag']})
        self.assertEqual(again.status_code, HTTPStatus.NOT_MODIFIED)
        self.agree()
        self.assertNotEqual(self.page().headers['ETag'],
            response.headers['ETag'])

    def test_public_json(self):
        "Test machines get the same as JSON"
        response = self.page(Accept='application/json')
        self.assertEqual(
            response.headers['Content-Type'], 'application/json')
        value = canonical.load(response.data)
        checkpoint = Checkpoint.open(
            value['checkpoint']['note'].encode(), [self.verifier])
        self.assertEqual(checkpoint, self.checkpoint())
        self.assertEqual(value['checkpoint']['size'], checkpoint.size)
        self.assertEqual(value['log']['key'], self.verifier.vkey)
        self.assertIn(
            {'invoice': 120, 'catalogue': 12}['invoice'],
            [r['months'] for r in value['retention'] if r['statutory']])

    def test_commitment(self):
        "Test erased entries are what the parties' records open"
        invoice = self.seller.invoice(BUYER, self.agree())
        records = self.deliver(invoice)
        self.age(invoice, 12)
        self.expire()

        def entries():
            Leaf = Pool().get('cooperative.trust.log.leaf')
            return {l.event: bytes(l.entry) for l in Leaf.search([
                        ('message.uuid', '=', invoice.id)])}
        self.assertEqual(self.in_transaction(entries), {
                name: entry.commitment(r.nonce, r.evidence)
                for name, r in (
                    (n, record_of(v)) for n, v in records.items())})


def load_tests(loader, tests, pattern):
    "Those that are inherited run beside their own class"
    suite = loader.suiteClass()
    for name in loader.getTestCaseNames(PrivacyTestCase):
        if name not in vars(TrustRouteTestCase):
            suite.addTest(PrivacyTestCase(name))
    return suite
