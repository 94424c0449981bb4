# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
import base64
import uuid
from dataclasses import replace
from unittest.mock import patch

from trytond.pool import Pool
from trytond.protocols.wrappers import HTTPStatus
from trytond.tests.test_tryton import RouteTestCase
from trytond.transaction import Transaction

from cooperative_edi.transaction import transact
from cooperative_trust import statement
from trycoton.protocol import canonical, entry, merkle, signature, tile
from trycoton.protocol.commission import CommissionStatement
from trycoton.protocol.note import open_note
from trycoton.protocol.proof import Proof
from trycoton.protocol.receipt import Receipt

from .tools import (
    BUYER, COMMUNITY, SELLER, TRUST, Community, Member, TrustTestCase,
    record_of)

STRANGER = '0225:732829320_9'


def unreadable(invoice):
    "Return the invoice with a line that nobody can read"
    return replace(invoice, payload=invoice.payload.replace(
            b'>1</cbc:InvoicedQuantity', b'>x</cbc:InvoicedQuantity'))


class TrustRouteTestCase(TrustTestCase, RouteTestCase):
    "Test the trust party over HTTP"

    def test_directory(self):
        "Test the digest of a directory is in the log"
        directory, answer = self.publish(
            self.seller.participant(), self.buyer.participant())
        proof = Proof.parse(answer['record']['proof'].encode())
        proof.verify(
            entry.directory_entry(directory.digest), [self.verifier])

        again = self.community.publish(
            self.client(), self.db_name, directory)
        self.assertEqual(canonical.load(again.data), answer)

    def test_directory_refused(self):
        "Test directories that are not those of the community"
        good = self.community.directory(self.seller.participant())
        self.community.publish(self.client(), self.db_name, good)
        stranger = Community(COMMUNITY)
        stranger.key = signature.SigningKey.generate()
        fork = Community(COMMUNITY)
        fork.version, fork.previous = good.version - 1, '0' * 64
        old = Community(COMMUNITY)
        for community, status in [
                (stranger, HTTPStatus.UNAUTHORIZED),
                (fork, HTTPStatus.CONFLICT),
                (old, HTTPStatus.CONFLICT),
                ]:
            with self.subTest(status=status):
                response = community.publish(
                    self.client(), self.db_name,
                    community.directory(self.buyer.participant()))
                self.assertEqual(response.status_code, status)

    def test_relay(self):
        "Test a message is recorded, relayed and handed over"
        relation = self.agree()
        message = self.seller.invoice(BUYER, relation)
        answer = self.send(self.seller, message)

        receipt = Receipt.parse(answer['receipt'].encode())
        self.assertEqual(receipt.status, 'relayed')
        self.assertEqual(receipt.digest, message.digest)
        evidence, _ = record_of(answer['record']).verify([self.verifier])
        self.assertEqual(evidence.event, 'submission')
        self.assertEqual(evidence.digest, message.digest)
        signature.verify(
            message.to_bytes(), evidence.signature, signature.ENVELOPE,
            {self.seller.key.kid: self.seller.key.public})

        mailbox = f'/{self.db_name}/cooperative/edi/mailbox'
        response = self.buyer.get(self.client(), mailbox)
        self.assertIn(
            message.id, canonical.load(response.data)['messages'])
        response = self.buyer.get(
            self.client(), f'{mailbox}/{message.id}')
        self.assertEqual(response.data, message.to_bytes())

        path = self.path(f'records/{message.id}')
        response = self.seller.get(self.client(), path)
        records = canonical.load(response.data)
        self.assertEqual(records['submission'], answer['record'])
        consignment, _ = record_of(
            records['consignment']).verify([self.verifier])
        self.assertEqual(
            consignment.previous, canonical.digest(evidence.to_bytes()))
        self.assertEqual(
            {n for n, r in records.items() if not r},
            {'submission-rejection', 'delivery', 'delivery-failure'})
        self.buyer.fetch(self.client(), self.db_name, message)
        for member in [self.seller, self.buyer]:
            response = member.get(self.client(), path)
            records = canonical.load(response.data)
            self.assertEqual(records['submission'], answer['record'])
            delivery, _ = record_of(
                records['delivery']).verify([self.verifier])
            self.assertEqual(delivery.event, 'delivery')
            self.assertEqual(
                delivery.previous,
                canonical.digest(consignment.to_bytes()))
            signature.verify(
                delivery.receipt.encode(), delivery.signature,
                signature.RECEIPT,
                {self.buyer.key.kid: self.buyer.key.public})

    def test_dispute(self):
        "Test a dispute passes as any statement, of which the log tells none"
        body = {
            'dispute': str(uuid.uuid4()), 'relation': None, 'side': 'buyer',
            'messages': [{
                    'message': str(uuid.uuid4()), 'digest': 'ab' * 32}],
            'claim': "Le miel est gâté.", 'asked': 'refund', 'amount': None,
            'freezes': [], 'arbiter': None,
            'answer_by': '2027-01-01T00:00:00Z',
            'award_by': '2027-02-01T00:00:00Z'}
        message = self.buyer.statement(SELLER, 'dispute-opening', body)
        answer = self.send(self.buyer, message)
        evidence, _ = record_of(answer['record']).verify([self.verifier])
        self.assertEqual(evidence.digest, message.digest)

        def read():
            Dispute = Pool().get('cooperative.edi.dispute')
            Leaf = Pool().get('cooperative.trust.log.leaf')
            leaf, = Leaf.search([
                    ('message.uuid', '=', message.id),
                    ('event', '=', entry.SUBMISSION),
                    ])
            return Dispute.search([], count=True), bytes(leaf.entry)
        disputes, leaf = transact(self.db_name, read)
        self.assertEqual(disputes, 0)
        self.assertEqual((len(leaf), leaf[:1]), (33, entry.COMMITMENT))
        self.assertEqual(leaf, record_of(answer['record']).entry)

    def test_duplicate(self):
        "Test the same bytes get the same answer, and are recorded once"
        message = self.seller.invoice(BUYER, self.agree())
        answer = self.send(self.seller, message)
        size = self.checkpoint().size
        again = self.send(self.seller, message, HTTPStatus.OK)
        self.assertEqual(again, answer)
        self.assertEqual(self.checkpoint().size, size)

        other = self.seller.invoice(BUYER, message.relation, id=message.id)
        self.send(self.seller, other, HTTPStatus.CONFLICT)

    def test_refused(self):
        "Test what is not relayed"
        relation = self.agree()
        refused = self.agree(agreed=False)
        invoice = self.seller.invoice
        stranger = Member(STRANGER)
        for member, message, status in [
                (self.seller, invoice(STRANGER, relation), 404),
                (self.seller, invoice(BUYER, str(uuid.uuid4())), 403),
                (self.seller, invoice(BUYER, refused), 403),
                (self.seller, invoice(BUYER, None), 403),
                (stranger, stranger.invoice(BUYER, relation), 401),
                (self.seller, invoice(BUYER, relation, via=None), 404),
                (self.seller, invoice(
                        BUYER, relation, via='0225:443061841'), 404),
                (self.buyer, invoice(BUYER, relation), 403),
                (self.seller, self.seller.statement(
                        BUYER, 'relation-proposal', {
                            'relation': {}, 'community': None,
                            'trust_party': TRUST, 'replaces': None,
                            'sealed': None}), 422),
                (self.seller, self.seller.statement(
                        BUYER, 'relation-proposal', {
                            'relation': str(uuid.uuid4()),
                            'community': STRANGER,
                            'trust_party': TRUST, 'replaces': None,
                            'sealed': None}), 403),
                ]:
            with self.subTest(receiver=message.receiver, status=status):
                self.send(member, message, status)
                self.assertFalse(self.taken(message))

    def test_read(self):
        "Test an invoice is read for its total alone, and refused without"
        invoice = self.seller.invoice(BUYER, self.agree())
        for old, new in [
                (b'>120.00</cbc:TaxInclusive', b'></cbc:TaxInclusive'),
                (b'>120.00</cbc:TaxInclusive', b'>1e9</cbc:TaxInclusive'),
                (b'>120.00</cbc:TaxInclusive', b'>-0.00</cbc:TaxInclusive'),
                (b'EUR', b'euro'),
                (b'<cbc:ID>', b'<cbc:ID>' + 1000 * b'1'),
                (b'2026-11-22', b'0001-11-22'),
                (b'>380<', b'>381<'),
                ]:
            with self.subTest(new=new):
                self.assertIn(old, invoice.payload)
                self.send(self.seller, replace(
                        invoice, payload=invoice.payload.replace(old, new)),
                    HTTPStatus.UNPROCESSABLE_ENTITY)
        self.send(self.seller, unreadable(invoice))

    def taken(self, message):
        "Tell if the message was taken in, or is sent on"
        Message = Pool(self.db_name).get('cooperative.edi.message')
        with Transaction().start(self.db_name, 0, readonly=True):
            return Message.search_count([('uuid', '=', message.id)])

    def test_suspended(self):
        "Test nothing is relayed from or to who is suspended"
        relation = self.agree()
        self.publish(
            self.seller.participant(state='suspended'),
            self.buyer.participant())
        self.send(
            self.seller, self.seller.invoice(BUYER, relation),
            HTTPStatus.FORBIDDEN)
        self.send(
            self.buyer, self.buyer.invoice(SELLER, relation),
            HTTPStatus.FORBIDDEN)
        self.publish(self.seller.participant(), self.buyer.participant())
        self.send(self.seller, self.seller.invoice(BUYER, relation))

    def test_route_refused(self):
        "Test who does not accept the trust party is not reached by it"
        self.publish(
            self.seller.participant(trust_parties=()),
            self.buyer.participant())
        self.send(
            self.buyer, self.buyer.statement(SELLER, 'relation-proposal', {
                    'relation': str(uuid.uuid4()), 'community': None,
                    'trust_party': TRUST, 'replaces': None,
                    'sealed': None}),
            HTTPStatus.FORBIDDEN)

    def test_community(self):
        "Test a community and its members need no relation to be relayed"
        invoice = self.community.invoice(BUYER, str(uuid.uuid4()))
        self.send(self.community, invoice)
        self.buyer.fetch(self.client(), self.db_name, invoice)
        self.send(
            self.buyer, self.buyer.invoice(COMMUNITY, str(uuid.uuid4())))

    def test_unknown(self):
        "Test who is not known yet may be later"
        message = self.seller.invoice(STRANGER, str(uuid.uuid4()))
        response = self.seller.send(self.client(), self.db_name, message)
        self.assertEqual(response.status_code, HTTPStatus.NOT_FOUND)
        self.assertIn('Retry-After', response.headers)

    def test_other_statement(self):
        "Test statements that the trust party does not know are relayed"
        message = self.seller.statement(BUYER, 'some-news', {'text': "x"})
        answer = self.send(self.seller, message)
        record_of(answer['record']).verify([self.verifier])
        response = self.buyer.fetch(self.client(), self.db_name, message)
        self.assertEqual(response.status_code, HTTPStatus.NO_CONTENT)

    def test_in_sequence(self):
        "Test what is missing between two is seen"
        Message = Pool(self.db_name).get('cooperative.edi.message')
        relation = self.agree()
        first = self.seller.invoice(BUYER, relation)
        self.send(self.seller, first)
        lost = self.seller.invoice(BUYER, relation)
        self.seller.sequences[BUYER] = lost.sequence, lost.digest
        last = self.seller.invoice(BUYER, relation)
        self.send(self.seller, last)
        with Transaction().start(self.db_name, 0, readonly=True):
            for sent, in_sequence in [(first, True), (last, False)]:
                message, = Message.search([
                        ('uuid', '=', sent.id),
                        ('direction', '=', 'in'),
                        ])
                self.assertEqual(message.in_sequence, in_sequence)

    def test_ended(self):
        "Test nothing is relayed once the relation is ended"
        relation = self.agree()
        self.send(self.buyer, self.buyer.statement(
                SELLER, 'relation-end', {'relation': relation}))
        self.send(
            self.seller, self.seller.invoice(BUYER, relation),
            HTTPStatus.FORBIDDEN)

    def test_records_private(self):
        "Test the records are for the parties only"
        message = self.seller.invoice(BUYER, self.agree())
        self.send(self.seller, message)
        path = self.path(f'records/{message.id}')
        response = self.client().get(path)
        self.assertEqual(response.status_code, HTTPStatus.UNAUTHORIZED)
        for member, of in [
                (self.community, message.id),
                (self.seller, uuid.uuid4()),
                ]:
            response = member.get(self.client(), self.path(f'records/{of}'))
            self.assertEqual(response.status_code, HTTPStatus.NOT_FOUND)

    def test_tiles(self):
        "Test anybody rebuilds the tree from the tiles"
        self.agree()
        checkpoint = self.checkpoint()
        hashes, entries = [], []
        for wanted in tile.tiles(checkpoint.size):
            response = self.client().get(self.path(wanted.path))
            self.assertEqual(response.status_code, HTTPStatus.OK)
            self.assertIn('immutable', response.headers['Cache-Control'])
            items = wanted.check(response.data)
            if wanted.level is None:
                entries += items
            elif not wanted.level:
                hashes += items
            cached = self.client().get(
                self.path(wanted.path),
                headers={'If-None-Match': response.headers['ETag']})
            self.assertEqual(
                cached.status_code, HTTPStatus.NOT_MODIFIED)
        self.assertEqual(merkle.root(hashes), checkpoint.root)
        self.assertEqual([merkle.leaf_hash(e) for e in entries], hashes)

    def test_no_tile(self):
        "Test the tiles that do not exist"
        for path in [
                'tile/0/001', 'tile/1/000.p/1', 'tile/0/000', 'tile/0/0',
                'tile/entries/000', 'tile/0/000.p/0', 'tile/0/000.p/256',
                'tile/64/000', 'tile/a/000', 'tile/0/x000/000',
                ]:
            with self.subTest(path=path):
                response = self.client().get(self.path(path))
                self.assertEqual(
                    response.status_code, HTTPStatus.NOT_FOUND)

    def test_statement(self):
        "Test the statement of what was handed over in the community"
        start = self.checkpoint().size
        relation, outside = self.agree(), self.agree(community=None)
        messages = [
            self.seller.invoice(BUYER, relation, untaxed='10.00'),
            unreadable(self.seller.invoice(BUYER, relation)),
            self.seller.invoice(BUYER, relation, untaxed='32.50'),
            self.seller.invoice(BUYER, outside, untaxed='1000.00'),
            ]
        for message in messages:
            self.send(self.seller, message)
        for message in messages[1:]:
            self.buyer.fetch(self.client(), self.db_name, message)
            self.sweep()

        with patch.object(statement, 'LINES_MAX', 1):
            response = self.community.get(
                self.client(), self.path('statements'),
                f'?community={COMMUNITY}&after={start}')
        self.assertEqual(response.status_code, HTTPStatus.OK)
        line, = CommissionStatement.parse(response.data).lines
        self.assertEqual(line.message, messages[2].id)
        self.assertEqual(line.untaxed, '32.50')
        self.assertEqual(line.total, '39.00')
        self.assertEqual((line.seller, line.buyer), (SELLER, BUYER))
        signature.verify(
            response.data, response.headers[signature.SIGNATURE_HEADER],
            signature.COMMISSION, self.keys())

        response = self.seller.get(
            self.client(), self.path('statements'),
            f'?community={COMMUNITY}')
        self.assertEqual(response.status_code, HTTPStatus.FORBIDDEN)

    def test_statement_unreadable(self):
        "Test an invoice that cannot be read is looked at once"
        start, relation = self.checkpoint().size, self.agree()
        for _ in range(3):
            message = unreadable(self.seller.invoice(BUYER, relation))
            self.send(self.seller, message)
            self.buyer.fetch(self.client(), self.db_name, message)
        self.sweep()
        with patch.object(
                statement.ubl, 'parse', wraps=statement.ubl.parse) as parse:
            for _ in range(2):
                response = self.community.get(
                    self.client(), self.path('statements'),
                    f'?after={start}')
                self.assertEqual(response.status_code, HTTPStatus.OK)
                self.assertFalse(
                    CommissionStatement.parse(response.data).lines)
        self.assertEqual(parse.call_count, 3)

    def sweep(self):
        "Do what the courier does between two messages"
        Message = Pool(self.db_name).get('cooperative.edi.message')
        Message.attend(self.db_name)

    def keys(self):
        with Transaction().start(self.db_name, 0, readonly=True):
            Identity = Pool().get('cooperative.edi.identity')
            identity, = Identity.search([])
            return identity.public_keys()

    def test_promise(self):
        "Test what is not in the log in time is promised"
        Leaf = Pool(self.db_name).get('cooperative.trust.log.leaf')
        message = self.seller.invoice(BUYER, self.agree())
        wait = Leaf.wait
        try:
            Leaf.wait = classmethod(lambda *args: False)
            answer = self.send(
                self.seller, message, HTTPStatus.ACCEPTED)
        finally:
            Leaf.wait = wait
        text, _ = open_note(answer['promise'].encode(), [self.verifier])
        self.assertIn(message.digest, text)
        self.assertNotIn('record', answer)
        self.sweep()
        again = self.send(self.seller, message, HTTPStatus.OK)
        record_of(again['record']).verify([self.verifier])

    def test_fsck(self):
        "Test the log is right after all this"
        self.send(self.seller, self.seller.invoice(BUYER, self.agree()))
        with Transaction().start(self.db_name, 0, readonly=True):
            Log = Pool().get('cooperative.trust.log')
            for log in Log.search([]):
                self.assertEqual(log.fsck(), [])
            self.assertEqual(
                base64.b64encode(bytes.fromhex(log.root)).decode(),
                log.checkpoints[0].note.splitlines()[2])


del RouteTestCase
