# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"The documents of the foreign partner are those of the protocol"
import json
import subprocess
import sys
import tempfile
import unittest
from decimal import Decimal
from pathlib import Path

from lxml import etree

from trycoton.protocol import ubl

from .. import conformance
from . import EXAMPLES
from .foreign import document

ID = '0b9f1c6e-4a1d-4f3e-9a53-1c2d3e4f5a6b'


def party(siren, vat, name):
    return {
        'identifier': f'0225:{siren}', 'siren': siren, 'vat': vat,
        'name': name, 'street': "1 rue", 'postal_code': '38000',
        'city': "Grenoble", 'country': 'FR'}


def line(id_, code, quantity, price, rate):
    return {
        'id': id_, 'code': code, 'name': code.title(), 'quantity': quantity,
        'unit': 'C62', 'price': price, 'rate': rate}


DEAL = {
    'number': 'C-1', 'currency': 'EUR',
    'buyer': party('552032534', 'FR27552032534', "L'Étranger & fils"),
    'seller': party('542065479', 'FR92542065479', "La Ferme"),
    'lines': [
        line('1', 'MIEL', '6', '8.50', '5.5'),
        line('2', 'BOCAL', '10', '1.20', '20'),
        line('3', 'CONSIGNE', '1', '3.00', '0')],
    }


def documents():
    despatch = document.despatch_advice(DEAL, 'D-1', DEAL['lines'])
    invoice = document.invoice(DEAL, 'F-1', DEAL['lines'])
    invoiced = document.read(etree.fromstring(invoice))
    return {
        'catalogue': document.catalogue(
            'K-1', DEAL['seller'], DEAL['buyer'], DEAL['lines'], 'EUR'),
        'order': document.order(DEAL),
        'order_response': document.order_response(DEAL, 'AP'),
        'despatch_advice': despatch,
        'receipt_advice': document.receipt_advice(
            DEAL, 'R-1', document.read(etree.fromstring(despatch))),
        'invoice': invoice,
        'invoice_response': document.invoice_response(DEAL, invoiced, 'AP'),
        'remittance_advice': document.remittance_advice(
            DEAL, 'P-1', invoiced),
        'message_level_response': document.message_level_response(
            'M-1', DEAL['buyer'], DEAL['seller'], ID, 'RE', "Non."),
        }


class DocumentTestCase(unittest.TestCase):
    "Test the documents of the foreign partner"

    def test_reference(self):
        "The reference reads them and finds no fault"
        for kind, data in documents().items():
            with self.subTest(kind=kind):
                parsed = ubl.parse(data)
                self.assertEqual(parsed.kind, kind)
                self.assertEqual(parsed.check(), [])

    def test_amounts(self):
        "The reference finds the same amounts"
        parsed = ubl.parse(documents()['invoice'])
        self.assertEqual(parsed.untaxed, Decimal('66.00'))
        self.assertEqual(parsed.payable, Decimal('71.20'))

    def test_rules(self):
        "The official rules accept them"
        with tempfile.TemporaryDirectory() as temporary:
            paths = [Path(temporary, f'{k}.xml') for k in documents()]
            for path, data in zip(paths, documents().values()):
                path.write_bytes(data)
            self.assertEqual(conformance.faults(paths), [])

    def test_command(self):
        "The command line tells who the partner is"
        with tempfile.TemporaryDirectory() as temporary:
            Path(temporary, 'party.json').write_text(
                json.dumps(DEAL['buyer']), 'utf-8')
            output = [subprocess.run(
                    [sys.executable, '-m', 'partner', temporary, 'show'],
                    cwd=EXAMPLES, text=True, check=True,
                    stdout=subprocess.PIPE).stdout for _ in range(2)]
        self.assertEqual(*output)
        self.assertIn('0225:552032534', output[0])
        self.assertRegex(output[0], 'fingerprint: ([0-9a-f]{4} ?){8}')
