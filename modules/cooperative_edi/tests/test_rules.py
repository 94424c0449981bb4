# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What is sent is checked by the official rules before it is signed"""
import datetime as dt
import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import unittest
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import trytond.config as config
from trytond.pool import Pool
from trytond.tests.test_tryton import with_transaction

from cooperative_edi import rules
from trycoton.rules import worker

from . import test_documents, test_exchange
from .tools import invoice


def conformance():
    "Return the folder of the official rules, or None"
    default = Path(__file__).resolve().parents[4] / 'shared' / 'conformance'
    folder = Path(os.environ.get('TRYCOTON_CONFORMANCE') or default) / 'rules'
    return folder if folder.is_dir() else None


def skip_without_rules():
    if not conformance():
        message = ("SKIPPED: the official rules are not there, "
            "set TRYCOTON_CONFORMANCE to their folder")
    elif not importlib.util.find_spec('saxonche'):
        message = "SKIPPED: saxonche is not installed"
    else:
        return
    print(message, file=sys.stderr)
    raise unittest.SkipTest(message)


def configure(folder):
    config.set('cooperative', 'rules', str(folder or ''))


def end(folder):
    "Kill the process that checks"
    if pid := worker.process(str(folder)):
        os.kill(pid, signal.SIGKILL)
        if started := worker._started.get(worker._address(str(folder))):
            started.wait()
    return pid


class RulesTestCase(test_exchange.ExchangeTestCase):
    "Test documents checked between instances"

    @classmethod
    def setUpClass(cls):
        skip_without_rules()
        super().setUpClass()
        cls.addClassCleanup(end, conformance())

    def setUp(self):
        super().setUp()
        self.relation = self.agree()
        self.handle(lambda message, document: None)
        configure(conformance())
        self.addCleanup(configure, None)

    def send_invoice(self, number='F1', **values):
        def send():
            document = invoice(
                self.anne.identifier, self.bruno.identifier, number)
            return self.anne.get('message').send(
                self.anne.get('relation')(self.relation),
                replace(document, **values)).id
        return self.anne.do(send)

    def send_broken(self):
        seller = invoice(self.anne.identifier, self.bruno.identifier).seller
        return self.send_invoice('F0', seller=replace(
                seller, address=replace(seller.address, country=None)))

    def sequence(self):
        return self.read(self.anne, 'sent_sequence', model='peer')

    def hasten(self):
        def hasten():
            Message = self.anne.get('message')
            Message.write(Message.search([('state', '=', 'checking')]), {
                    'next_attempt': dt.datetime(2026, 1, 1)})
        self.anne.do(hasten)

    def test_good(self):
        "What obeys the rules is signed and sent"
        before = self.sequence()
        sent = self.send_invoice()
        self.assertEqual(
            self.read(self.anne, 'state', 'data', 'signature', id=sent),
            [('checking', None, None)])
        self.assertEqual(self.sequence(), before)
        self.assertLessEqual(
            self.anne.do(self.anne.get('message').next_due), 0.1)
        self.round(self.anne, self.bruno)
        self.assertEqual(
            self.read(self.anne, 'state', 'error', 'payload', id=sent),
            [('sent', None, None)])
        self.assertEqual(
            self.read(
                self.bruno, 'document_number', 'state', 'in_sequence',
                kind='invoice'), [('F1', 'processed', True)])
        self.assertNotIn('saxonche', sys.modules)

    def test_broken(self):
        "What breaks a rule is held, takes no rank and leaves no gap"
        broken, good = self.send_broken(), self.send_invoice()
        self.calls.clear()
        self.round(self.anne)
        (state, error, data), = self.read(
            self.anne, 'state', 'error', 'data', id=broken)
        self.assertEqual((state, data), ('held', None))
        self.assertIn('BR-08', error)
        self.assertIn("postal address", error)
        self.assertEqual(len(self.calls), 1)
        self.round(self.bruno)
        self.assertEqual(
            self.read(
                self.bruno, 'document_number', 'in_sequence',
                kind='invoice'), [('F1', True)])

        Message = self.anne.get('message')
        self.anne.do(lambda: Message.retry([Message(broken)]))
        self.assertEqual(
            self.read(self.anne, 'state', 'error', id=broken),
            [('checking', None)])
        self.round(self.anne)
        self.assertEqual(self.read(self.anne, 'state', id=broken), ['held'])
        self.anne.do(lambda: Message.cancel([Message(broken)]))
        self.round(self.anne, self.bruno)
        self.assertEqual(
            self.read(self.anne, 'state', kind='invoice'),
            ['cancelled', 'sent'])
        self.assertLess(broken, good)

    def test_unchecked(self):
        "Without rules to check by all wait, visibly and in order"
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.addCleanup(end, folder.name)
        configure(folder.name)
        self.send_invoice('F1')
        self.send_invoice('F2')
        self.calls.clear()
        self.round(self.anne, self.anne)
        (state, attempts, error), second = self.read(
            self.anne, 'state', 'attempts', 'error', kind='invoice')
        self.assertEqual((state, attempts), ('checking', 1))
        self.assertIn('UBL-Invoice-2.1.xsd', error)
        self.assertEqual(second, ('checking', 0, None))
        self.assertEqual(self.calls, [])
        self.assertGreater(
            self.anne.do(self.anne.get('message').next_due), 0)

        configure(conformance())
        self.hasten()
        self.round(self.anne, self.bruno)
        self.assertEqual(
            self.read(self.anne, 'state', 'error', kind='invoice'),
            [('sent', None)] * 2)
        self.assertEqual(
            self.read(
                self.bruno, 'document_number', 'in_sequence',
                kind='invoice'), [('F1', True), ('F2', True)])

    def test_given_up(self):
        "What cannot be checked for days fails, and can be tried again"
        sent = self.send_invoice()
        Message = self.anne.get('message')
        self.anne.do(lambda: Message.write([Message(sent)], {
                    'stored': dt.datetime(2026, 1, 1)}))
        with patch.object(
                rules, 'check', side_effect=rules.CheckError("No.")):
            self.round(self.anne)
        self.assertEqual(
            self.read(self.anne, 'state', 'error', id=sent),
            [('failed', "No.")])
        self.anne.do(lambda: Message.retry([Message(sent)]))
        self.round(self.anne)
        self.assertEqual(self.read(self.anne, 'state', id=sent), ['sent'])

    def test_checker_killed(self):
        "Nothing is lost when the checker is killed with a document"
        sent = self.send_invoice()
        killed = []

        def ask(folder, data):
            with worker._connect(folder) as connection:
                killed.append(end(folder))
                worker._write(connection, data)
                return worker._read(connection)
        with patch.object(worker, '_ask', ask):
            self.round(self.anne)
        self.assertEqual(len(set(killed) - {None}), 2)
        (state, error), = self.read(self.anne, 'state', 'error', id=sent)
        self.assertEqual(state, 'checking')
        self.assertIn("no answer", error)
        self.hasten()
        self.round(self.anne)
        self.assertEqual(self.read(self.anne, 'state', id=sent), ['sent'])

    def test_courier_killed(self):
        "Nothing is lost nor sent twice when the courier stops half-way"
        sent = self.send_invoice()
        Message = self.anne.get('message')
        with patch.object(Message, 'checked', side_effect=SystemExit), \
                self.assertRaises(SystemExit):
            self.round(self.anne)
        self.assertEqual(
            self.read(self.anne, 'state', id=sent), ['checking'])
        self.round(self.anne, self.bruno)
        self.assertEqual(self.read(self.anne, 'state', id=sent), ['sent'])
        self.assertEqual(
            self.read(self.bruno, 'in_sequence', kind='invoice'), [True])

    def test_cancelled_meanwhile(self):
        "What is cancelled while it is checked is not signed"
        sent = self.send_invoice()
        Message = self.anne.get('message')
        before = self.sequence()

        def check(data):
            self.anne.do(lambda: Message.cancel([Message(sent)]))
            return []
        with patch.object(rules, 'check', check):
            self.round(self.anne)
        self.assertEqual(
            self.read(self.anne, 'state', 'data', id=sent),
            [('cancelled', None)])
        self.assertEqual(self.sequence(), before)

    def test_not_configured(self):
        "Without rules all is signed at once, and nothing is started"
        configure(None)
        with patch.object(worker, 'check') as check:
            sent = self.send_invoice()
            self.assertEqual(
                self.read(self.anne, 'state', id=sent), ['waiting'])
            self.round(self.anne)
            check.assert_not_called()
        self.assertEqual(self.read(self.anne, 'state', id=sent), ['sent'])

    def test_not_configured_any_more(self):
        "What waits for rules that nobody wants any more goes"
        sent = self.send_invoice()
        configure(None)
        self.round(self.anne)
        self.assertEqual(self.read(self.anne, 'state', id=sent), ['sent'])


class Posted(Exception):
    "The invoice is posted, and not delivered yet"


class RewriteTestCase(test_documents.DocumentsTestCase):
    "Test documents of records that are checked again"

    @classmethod
    def setUpClass(cls):
        skip_without_rules()
        super().setUpClass()
        cls.addClassCleanup(end, conformance())

    def setUp(self):
        super().setUp()
        configure(conformance())
        self.addCleanup(configure, None)

    def check(self):
        "Do what the courier does, in one transaction"
        Message = Pool().get('cooperative.edi.message')
        for id_ in Message.to_check():
            payload = Message.to_check_now(id_)
            Message.checked(id_, payload, rules.check(payload))
        return Message(id_)

    @with_transaction()
    def test_correct(self):
        "Test an invoice is written again once its record is correct"
        self.set_up_deal()
        Message = Pool().get('cooperative.edi.message')
        address, = self.seller.company.party.addresses
        country = address.country
        address.country = None
        address.save()
        with patch.object(
                test_documents, 'deliver', side_effect=Posted), \
                self.assertRaises(Posted):
            self.issue(("Conseil", 3, '100'))
        message = self.check()
        self.assertEqual((message.kind, message.state), ('invoice', 'held'))
        self.assertIn('BR-09', message.error)
        number = message.document_number

        address.country = country
        address.save()
        Message.retry([message])
        self.assertEqual(self.check(), message)
        self.assertEqual(message.state, 'waiting', message.error)
        self.assertEqual(message.document_number, number)
        document = test_documents.deliver('invoice')
        self.assertEqual(document.number, number)
        self.assertEqual(document.seller.address.country, 'FR')

    @with_transaction()
    def test_order(self):
        "Test an order keeps its number when it is written again"
        self.set_up_deal()
        Message = Pool().get('cooperative.edi.message')
        purchase = self.purchase(MIEL=(10, '12'))
        message, = Message.search([('state', '=', 'checking')])
        payload = bytes(message.payload)
        message.attempts = 1
        message.save()
        Message.retry([message])
        self.assertEqual(message.document_number, purchase.number)
        self.assertEqual(bytes(message.payload), payload)
        self.assertEqual(self.check().state, 'waiting')

    @with_transaction()
    def test_order_response(self):
        "Test an answer says the same of the parties as they are now"
        self.set_up_deal()
        Message = Pool().get('cooperative.edi.message')
        self.purchase(MIEL=(10, '12'))
        self.check()
        test_documents.deliver('order')
        message, = Message.search([
                ('kind', '=', 'order_response'),
                ('state', '=', 'checking'),
                ])
        before = message.document
        self.seller.company.party.name = "La Ferme d'Anne"
        self.seller.company.party.save()
        message.attempts = 1
        message.save()
        Message.retry([message])
        document = message.document
        self.assertEqual(document.seller.name, "La Ferme d'Anne")
        self.assertEqual(
            replace(document, seller=before.seller), before)
        self.assertEqual(self.check().state, 'waiting')


class ImportTestCase(unittest.TestCase):

    def test_without_saxon(self):
        "What holds the rules is not loaded in the server"
        subprocess.run([sys.executable, '-c', '; '.join([
                        'import sys', 'import cooperative_edi.message',
                        'assert "saxonche" not in sys.modules',
                        'assert "trycoton.rules.checker" not in sys.modules',
                        ])], check=True)


def load_tests(loader, tests, pattern):
    "Without those that are inherited"
    return unittest.TestSuite(
        case(name) for case in [RulesTestCase, RewriteTestCase, ImportTestCase]
        for name in vars(case) if name.startswith('test_'))
