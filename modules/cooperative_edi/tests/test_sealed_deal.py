# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""A whole deal of which nobody else reads a document"""
from unittest.mock import patch

from trytond.pool import Pool

from trycoton.protocol import envelope, seal

from . import test_documents

KINDS = {
    'order', 'order_response', 'despatch_advice', 'receipt_advice',
    'invoice', 'invoice_response', 'credit_note', 'remittance_advice',
    'message_level_response'}
# What names a document, or what it is about
WORDS = [
    b'oasis', b'poacc', b'billing', b'Miel', b'MIEL', b'12.345', b'Rucher']


class SealedDealTestCase(test_documents.DealTestCase):
    "Test the deal of test_documents under a sealed relation"

    test_deal = test_documents.DocumentsTestCase.test_deal
    _pay = test_documents.DocumentsTestCase._pay

    def set_up_deal(self):
        Relation = Pool().get('cooperative.edi.relation')
        super().set_up_deal()
        Relation.write(Relation.search([]), {'sealed': True})

    def setUp(self):
        super().setUp()
        self.received = []
        receive = test_documents.receive

        def look(message):
            received = receive(message)
            self.received.append((received.kind, bytes(received.data)))
            return received
        looking = patch.object(test_documents, 'receive', look)
        looking.start()
        self.addCleanup(looking.stop)

    def tearDown(self):
        self.assertEqual({kind for kind, _ in self.received}, KINDS)
        for kind, data in self.received:
            with self.subTest(kind):
                self.assertTrue(seal.is_sealed(envelope.parse(data)))
                for word in WORDS:
                    self.assertNotIn(word, data)
        super().tearDown()
