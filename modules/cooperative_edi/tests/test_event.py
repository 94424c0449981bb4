# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"What a member learns and shows of a message that was not delivered"
import inspect
import io
import os
import re
import unittest
import zipfile
from pathlib import Path
from unittest.mock import patch

from lxml import etree
from trytond.model.exceptions import AccessError
from trytond.pool import Pool
from trytond.tests.test_tryton import activate_module, with_transaction
from trytond.transaction import Transaction

from cooperative_edi.client import Response
from cooperative_edi.exceptions import EvidenceError
from trycoton.protocol import canonical, entry, envelope, evidence, signature
from trycoton.protocol.descriptor import Descriptor
from trycoton.protocol.note import NoteSigner
from trycoton.protocol.policy import Policy
from trycoton.protocol.receipt import Receipt, Refusal
from trycoton.protocol.signature import SigningKey
from trycoton.protocol.tests.test_evidence import Log

from .tools import (
    THEM, THIRD, US, Other, configure, create_identity, create_relation,
    invoice, now)


class EventTestCase(unittest.TestCase):
    "Test the events of messages at a member"

    descriptors = None

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        activate_module('cooperative_edi', 'fr')
        configure()

    def set_up(self):
        "Return an invoice that was sent through a trust party"
        pool = Pool()
        Message = pool.get('cooperative.edi.message')
        Peer = pool.get('cooperative.edi.peer')
        self.log = Log(NoteSigner('log.example', SigningKey.generate()))
        self.them, self.trust = Other(THEM), Other(THIRD)
        self.identity = create_identity()
        company = self.identity.company.id
        Transaction().set_context(company=company, companies=[company])
        trust = Peer.update_from(company, self.trust.participant(
                kind='trust-party', log=self.log.signer.vkey,
                endpoint='https://trust.example/cooperative'))
        self.relation = create_relation(
            self.identity, self.them, trust_party=trust)
        message = Message.send(self.relation, invoice(US, THEM))
        return message

    def receipt(self, message, other, status='stored'):
        data = Receipt(
            message=message.uuid, digest=message.digest,
            receiver=other.identifier, time=now(), status=status).to_bytes()
        return data.decode(), signature.sign(
            data, signature.RECEIPT, other.key)

    def take(self, message, *events):
        """Have the trust party take the message, and return its records"""
        records = self.records(message, *events)
        receipt, jws = self.receipt(message, self.trust, 'relayed')
        self.post(message, 201, {
                'receipt': receipt, 'signature': jws,
                'record': records['submission']})
        return records

    def post(self, message, status, answer):
        Message = Pool().get('cooperative.edi.message')
        Message.posted(
            message.id, Response(status, {}, canonical.dump(answer)))

    def records(self, message, *events):
        said = envelope.parse(bytes(message.data))
        records = {}
        for event in events:
            values = {'signature': None}
            if event in {'submission', 'submission-rejection'}:
                values['signature'] = message.signature
            elif event == 'delivery':
                receipt, jws = self.receipt(message, self.them)
                values.update(receipt=receipt, signature=jws)
            if event == 'submission-rejection':
                values.update(reason='suspended', text="Suspended.")
            elif event == 'delivery-failure':
                values.update(reason='expired', text="Not in 30 days.")
            records[event] = self.log.record(
                said, event, now(), **values).to_json()
        return records

    def refusal(self, refused, other=None, **values):
        "Return what the recipient signs of its refusal, and the signature"
        other = other or self.them
        data = Refusal(**{
                'message': refused.uuid, 'digest': refused.digest,
                'receiver': THEM, 'time': now(), 'problem': 'suspended',
                'text': "Not from you.", **values}).to_bytes()
        return data.decode(), signature.sign(
            data, signature.REFUSAL, other.key)

    def refused(self, message, refusal=(None, None)):
        "Return the record by which the trust party says who refused it"
        receipt, jws = refusal
        return {'delivery-failure': self.log.record(
                envelope.parse(bytes(message.data)), 'delivery-failure',
                now(), jws, receipt, reason='refused', text="No."
                ).to_json()}

    def keep(self, message, records):
        "Have the member fetch the records"
        message.__class__.prove(message.id, canonical.dump(records))
        return message.__class__(message.id)

    def progress(self, message):
        Message = Pool().get('cooperative.edi.message')
        table = Message.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*table.select(
                Message.progress(table), where=table.id == message.id))
        return cursor.fetchone()[0]

    def tasks(self):
        Waiting = Pool().get('cooperative.edi.waiting')
        return [(w.record, w.task) for w in Waiting.search([])]

    @with_transaction()
    def test_undelivered(self):
        "Test the sender learns that, and why, and has something to do"
        message = self.set_up()
        records = self.take(
            message, 'submission', 'consignment', 'delivery-failure')
        self.assertEqual(self.progress(message), 'recorded')
        message = self.keep(message, records)
        self.assertEqual(message.state, 'sent')
        self.assertEqual(message.failure, 'expired')
        self.assertIsNone(message.proof_at)
        self.assertEqual(self.progress(message), 'undelivered')
        self.assertEqual(self.tasks(), [(message, 'retry')])
        self.assertIn("ne l'a pas relevé à temps", message.error)
        self.assertIn("Not in 30 days.", message.story)
        self.assertIn("mis en boîte aux lettres", message.story)
        self.assertEqual(
            [(e.event, e.index, e.reason) for e in message.events],
            [('consignment', 1, None), ('delivery-failure', 2, 'expired')])
        again = self.keep(message, records)
        self.assertEqual(len(again.events), 2)

    @with_transaction()
    def test_send_again(self):
        "Test what was not delivered is said again, once"
        Message = Pool().get('cooperative.edi.message')
        message = self.set_up()
        Message.send_again([message])
        self.assertEqual(Message.search_count([]), 1)
        message = self.keep(message, self.take(
                message, 'submission', 'delivery-failure'))
        for _ in range(2):
            Message.send_again([Message(message.id)])
        again, = Message.search([('replaces', '=', message.uuid)])
        self.assertEqual(again.state, 'waiting')
        self.assertEqual(
            envelope.parse(bytes(again.data)).payload,
            envelope.parse(bytes(message.data)).payload)
        self.assertEqual(Message(message.id).state, 'cancelled')
        self.assertEqual(self.tasks(), [])

    @with_transaction()
    def test_cancel(self):
        "Test only what was not delivered is given up after it was sent"
        Message = Pool().get('cooperative.edi.message')
        message = self.set_up()
        records = self.take(message, 'submission', 'delivery-failure')
        for method in [
                Message.cancel, lambda m: Message.abandon(m, "No more.")]:
            method([Message(message.id)])
            self.assertEqual(Message(message.id).state, 'sent')
        message = self.keep(message, records)
        Message.abandon([message], "No more.")
        message = Message(message.id)
        self.assertEqual(
            (message.state, message.error), ('cancelled', "No more."))
        self.assertEqual(message.failure, 'expired')

    @with_transaction()
    def test_rejected(self):
        "Test the proof that the trust party refused the message is kept"
        message = self.set_up()
        records = self.records(message, 'submission-rejection')
        self.post(message, 403, {
                'type': 'https://trycoton.org/problems/suspended',
                'title': "The sender is not active.", 'status': 403,
                'record': records['submission-rejection']})
        message = message.__class__(message.id)
        self.assertEqual(message.state, 'failed')
        self.assertIn("The sender is not active.", message.error)
        event, = message.events
        self.assertEqual(
            (event.event, event.reason), ('submission-rejection', 'suspended'))
        self.assertIsNone(message.failure)

    @with_transaction()
    def test_refused(self):
        "Test a signed refusal of the recipient is told from an unsigned one"
        Message = Pool().get('cooperative.edi.message')
        self.set_up()
        for signed, words in [
                (True, "sous sa signature"),
                (False, "selon le seul tiers de confiance")]:
            message = Message.send(
                self.relation, invoice(US, THEM, f'F{signed}'))
            self.take(message, 'submission')
            message = self.keep(message, self.refused(
                    message, *[self.refusal(message)] if signed else []))
            event, = message.events
            self.assertEqual(event.signed, signed)
            self.assertEqual(message.failure, 'refused')
            self.assertIn(words, message.error)
            with self.sources():
                report = evidence.verify(Message.evidence([message]))
            self.assertNotEqual(report.status, evidence.REFUSED)
            self.assertEqual(
                'refusal' in [c.name for c in report.checks], signed)

    @with_transaction()
    def test_refusal_invented(self):
        "Test a trust party that invents a refusal is caught"
        Alarm = Pool().get('cooperative.edi.alarm')
        message = self.set_up()
        self.take(message, 'submission')
        forger = Other(THEM)
        known = self.them.key
        for count, refusal in enumerate([
                self.refusal(message, digest='0' * 64),
                self.refusal(message, receiver=THIRD),
                (self.refusal(message)[0], self.refusal(
                        message, text="Yes.")[1])], 1):
            message = self.keep(message, self.refused(message, refusal))
            self.assertFalse(message.events)
            self.assertEqual(
                Alarm.search_count([('kind', '=', 'record')]), count)
        # By a key that may be on its way: not kept, and no alarm yet
        self.assertNotEqual(forger.key.kid, known.kid)
        message = self.keep(
            message, self.refused(message, self.refusal(message, forger)))
        self.assertFalse(message.events)

    @with_transaction()
    def test_refused_directly(self):
        "Test the signed refusal of who was sent the message is evidence"
        Message = Pool().get('cooperative.edi.message')
        self.set_up()
        self.relation = create_relation(self.identity, self.them)
        problem = {
            'type': 'https://trycoton.org/problems/suspended',
            'title': "No.", 'status': 403}
        for number, (refusal, kept) in enumerate([
                (self.refusal, True),
                (lambda m: self.refusal(m, Other(THEM)), False),
                (lambda m: self.refusal(m, message=self.relation.uuid),
                    False),
                (lambda m: ('{}', 'x'), False),
                (lambda m: (1, 2), False)]):
            message = Message.send(
                self.relation, invoice(US, THEM, f'F{number}'))
            text, jws = refusal(message)
            self.post(message, 403, {
                    **problem, 'refusal': text, 'signature': jws})
            message = Message(message.id)
            self.assertEqual(message.state, 'failed')
            self.assertEqual(bool(message.refusal), kept)
            self.assertEqual(bool(message.refusal_signature), kept)
            if kept:
                with self.sources():
                    report = evidence.verify(Message.evidence([message]))
                self.assertIn('refusal', [c.name for c in report.checks])
                self.assertEqual(
                    [c for c in report.checks
                        if not c.ok and c.name not in evidence.TRUST], [])

    @with_transaction()
    def test_false_record(self):
        "Test the record of another event, message or log is not kept"
        message = self.set_up()
        records = self.take(
            message, 'submission', 'consignment', 'delivery-failure')
        other = message.__class__.send(
            self.relation, invoice(US, THEM, 'F2'))
        foreign = self.records(other, 'delivery-failure')
        honest, self.log = self.log, Log(
            NoteSigner('log.example', SigningKey.generate()))
        forged = self.records(message, 'delivery-failure')
        self.log = honest
        for value in [
                records['consignment'], foreign['delivery-failure'],
                forged['delivery-failure'], {}, 1, "x"]:
            message = self.keep(message, {'delivery-failure': value})
            self.assertFalse(message.events)
            self.assertFalse(message.failure)

    @with_transaction()
    def test_contradiction(self):
        "Test a trust party that records both ends is told apart"
        message = self.set_up()
        records = self.take(
            message, 'submission', 'delivery', 'delivery-failure')
        message = self.keep(
            message, {n: records[n] for n in ['delivery']})
        self.assertEqual(self.progress(message), 'delivered')
        message.proof_at = message.stored
        message.save()
        message = self.keep(message, records)
        self.assertIn("a été remis et qu'il ne l'a pas été", message.error)
        self.assertTrue(message.delivery_record)
        self.assertEqual(len(message.events), 1)

    def sources(self):
        "Have the descriptors of the three be those of evidence files"
        Message = Pool().get('cooperative.edi.message')
        if not self.descriptors:
            self.descriptors = self.describe()
        return patch.object(
            Message, '_evidence_sources',
            lambda company: (self.descriptors, []))

    def describe(self):
        data, jws = self.identity.descriptor()
        theirs = Descriptor(
            identifier=THEM, name="Them", kind='participant', endpoint=None,
            keys=self.them.participant().keys, created=now()).to_bytes()
        sources = [
            evidence.SignedDescriptor(data=data, signature=jws),
            evidence.SignedDescriptor(data=theirs, signature=signature.sign(
                    theirs, signature.DESCRIPTOR, self.them.key))]
        trust = Descriptor(
            identifier=THIRD, name="Third", kind='trust-party',
            endpoint=None, keys=self.trust.participant().keys,
            log=self.log.signer.vkey, created=now()).to_bytes()
        sources.append(evidence.SignedDescriptor(
                data=trust, signature=signature.sign(
                    trust, signature.DESCRIPTOR, self.trust.key)))
        return sources

    @with_transaction()
    def test_evidence(self):
        "Test the evidence file tells that it was not delivered"
        Message = Pool().get('cooperative.edi.message')
        message = self.set_up()
        message = self.keep(message, self.take(
                message, 'submission', 'consignment', 'delivery-failure'))
        with self.sources():
            data = Message.evidence([message])
        report = evidence.verify(data, Policy.of([self.log.signer.vkey]))
        self.assertEqual(report.status, evidence.UNESTABLISHED)
        self.assertEqual(
            [c.name for c in report.checks if c.name in entry.EVENTS],
            ['submission', 'consignment', 'delivery-failure'])
        self.assertIn(
            "(expired)", '\n'.join(c.text for c in report.checks))

    def certificate(self, message, language):
        "Return what a person reads in the certificate of the message"
        Report = Pool().get('cooperative.edi.certificate', type='report')
        with self.sources(), Transaction().set_context(language=language):
            extension, data, _, name = Report.execute(
                [message.id], {'model': message.__name__})
        self.assertEqual(extension, 'odt')
        if folder := os.environ.get('TRYCOTON_CERTIFICATE'):
            Path(folder, f'{message.failure}-{language}.odt').write_bytes(
                data)
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            content = etree.fromstring(file.read('content.xml'))
        self.assertNotIn(b'placeholder', etree.tostring(content))
        return '\n'.join(
            ' '.join(p.itertext()).strip() for p in content.iter('{*}p'))

    @with_transaction()
    def test_certificate(self):
        "Test a judge reads what was said and what happened, twice"
        Message = Pool().get('cooperative.edi.message')
        message = self.set_up()
        delivered = self.keep(message, self.take(
                message, 'submission', 'consignment', 'delivery'))
        with self.sources():
            file = Message.evidence([delivered])
        common = [
            canonical.digest(file), str(len(file)), US, THEM, "F1",
            delivered.uuid, delivered.digest, 'log.example', '120',
            self.log.signer.vkey, 'trycoton verify --key',
            self.them.key.kid]
        for language, words in [
                ('en', ["Certificate of Evidence", "Invoice", "Delivered",
                        "2026", "entry 2 of the log", "45k", "blockchain",
                        "Placed in the mailbox",
                        "✓ The messages are signed by their senders (1)",
                        "✓ The records are in the logs of the trust parties "
                        "(3)",
                        "? not established: "]),
                ('fr', ["Attestation de preuve", "Facture", "Remis",
                        "entrée 2 du registre", "registre électronique non",
                        "Mis en boîte aux lettres", "Comment le vérifier",
                        "✓ Les messages sont signés par leurs expéditeurs "
                        "(1)",
                        "? non établi\N{NO-BREAK SPACE}: "]),
                ]:
            text = self.certificate(delivered, language)
            for word in [*common, *words]:
                with self.subTest(word=word):
                    self.assertIn(word, text)
            for word in ["Cosigned by", "Cosigné par", "qualified ledger",
                    # What was checked is in the language of the reader
                    "msg_certificate", "record of its"]:
                self.assertNotIn(word, text)

    @with_transaction()
    def test_certificate_checks(self):
        "Test there are words for whatever a file is checked for"
        pool = Pool()
        Message = pool.get('ir.message')
        ModelData = pool.get('ir.model.data')
        names = set(re.findall(
                r"Check\(\s*'([a-z]+)'|self\.check\(\s*'([a-z]+)'",
                inspect.getsource(evidence)))
        names = {n for found in names for n in found if n}
        self.assertGreater(len(names), 15)
        for name in names | {'record'}:
            with self.subTest(name=name):
                self.assertTrue(Message(ModelData.get_id(
                            'cooperative_edi',
                            f'msg_certificate_check_{name}')).text)

    @with_transaction()
    def test_certificate_undelivered(self):
        "Test the certificate tells why a message was not delivered"
        message = self.set_up()
        message = self.keep(message, self.take(
                message, 'submission', 'delivery-failure'))
        text = self.certificate(message, 'en')
        self.assertIn("Not delivered", text)
        self.assertIn("the recipient did not fetch it in time", text)
        self.assertNotIn("Stored, says the recipient", text)
        with patch.object(
                message.__class__, '_evidence_sources',
                lambda company: ([], [])), \
                self.assertRaises(EvidenceError):
            Pool().get('cooperative.edi.certificate', type='report').execute(
                [message.id], {'model': message.__name__})

    @with_transaction()
    def test_rights(self):
        "Test who does not follow the exchange sees no events"
        pool = Pool()
        Event = pool.get('cooperative.edi.message.event')
        Report = pool.get('cooperative.edi.certificate', type='report')
        User = pool.get('res.user')
        message = self.set_up()
        self.keep(message, self.take(
                message, 'submission', 'delivery-failure'))
        user = User(name="Nobody", login='nobody')
        user.companies = [message.company]
        user.company = message.company
        user.save()
        with Transaction().set_user(user.id), \
                Transaction().set_context(_check_access=True):
            with self.assertRaises(AccessError):
                Event.read([message.events[0].id], ['text'])
            # Without the group there is not even such a report
            with self.assertRaises((AccessError, AssertionError)):
                Report.execute([message.id], {'model': message.__name__})
