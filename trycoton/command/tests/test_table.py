# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
import codecs
import tempfile
import unittest
from decimal import Decimal
from pathlib import Path

from trycoton.command import CommandError, table

COLUMNS = [
    table.Column('name', "nom", required=True),
    table.Column('price', "prix", "prix HT", read=table.decimal,
        required=True),
    table.Column('note', read=str),
    ]


class TableTestCase(unittest.TestCase):
    "Base of the tests of tables"
    read = staticmethod(lambda path: table.read(path, COLUMNS))

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / 'table.csv'

    def load(self, data):
        if isinstance(data, str):
            data = data.encode('utf-8')
        self.path.write_bytes(data)
        return self.read(self.path)

    def faults(self, data):
        with self.assertRaises(table.TableError) as context:
            self.load(data)
        text = str(context.exception)
        self.assertIn("nothing was imported", text)
        for fault in context.exception.faults[:table.MAX_FAULTS]:
            self.assertIn(f'line {fault.line}:', text)
        return [
            (f.line, f.value, f.reason) for f in context.exception.faults]


class ReadTestCase(TableTestCase):
    "Test the reading of any table"

    def test_forms(self):
        "Test what spreadsheets write"
        expected = [(2, {
                    'name': "Crème, brûlée",
                    'price': Decimal('1.5'),
                    'note': None,
                    })]
        text = 'Nom;Prix HT\n"Crème, brûlée";1,5\n'
        for name, data in [
                ("plain", text.encode()),
                ("byte order mark", codecs.BOM_UTF8 + text.encode()),
                ("cp1252", text.encode('cp1252')),
                ("UTF-16", text.encode('utf-16')),
                ("carriage returns", text.replace('\n', '\r\n').encode()),
                ("old line ends", text.replace('\n', '\r').encode()),
                ("no last end", text.strip().encode()),
                ("tabs", text.replace(';', '\t').encode()),
                ("commas", b'name,price\n"Cr\xc3\xa8me, br\xc3\xbbl\xc3\xa9e"'
                    b',"1,50"\n'),
                ("another order", 'PRIX;nom\n1.5;"Crème, brûlée"'.encode()),
                ("accents and case", text.replace("Prix", "PRÎX").encode()),
                ("empty column", text.replace('\n', ';;\n').encode()),
                ("separators in a heading", (
                        'Nom\t"prix;;;HT"\n"Crème, brûlée"\t1,5'.encode())),
                ]:
            with self.subTest(name):
                self.assertEqual(self.load(data), expected)

    def test_lines(self):
        "Test the line is where the row starts"
        records = self.load(
            '\nname;price;note\n'
            'A;1;"two\nlines with ""quotes"""\n'
            '\n;;\n'
            'B;2;\n')
        self.assertEqual([line for line, _ in records], [3, 7])
        self.assertEqual(
            records[0][1]['note'], 'two\nlines with "quotes"')
        self.assertEqual(
            self.faults('name;price;note\nA;1;"two\nlines"\nB;x;\n'),
            [(4, 'x', "this is not a number")])

    def test_headings(self):
        "Test wrong headings"
        for text, expected in [
                ('name;price;colour\nA;1;red',
                    (1, 'colour', "no column has this heading")),
                ('name;price;Prix\nA;1;2',
                    (1, 'Prix', "the column is there twice")),
                ('name\nA', (1, 'price', "the column is missing")),
                ('\n\nname;price;-\nA;1;',
                    (3, '-', "no column has this heading")),
                ('A;1\n', (1, 'A', "no column has this heading"))]:
            with self.subTest(text):
                self.assertIn(expected, self.faults(text))

    def test_values(self):
        "Test wrong values"
        for row, value, reason in [
                ('A;-3', '-3', "the number is negative"),
                ('A;−3,5', '−3,5', "the number is negative"),
                ('A;abc', 'abc', "this is not a number"),
                ('A;1e5', '1e5', "this is not a number"),
                ('A;1_000', '1_000', "this is not a number"),
                ('A;NaN', 'NaN', "this is not a number"),
                ('A;1.234,50', '1.234,50', "this is not a number"),
                ('A;12€50', '12€50', "this is not a number"),
                ('A;12 50', '12 50', "this is not a number"),
                ('A;٣', '٣', "this is not a number"),
                ('A;1' + 30 * '0', '1' + 30 * '0',
                    "the number is too large"),
                ('A;0,12345', '0,12345',
                    "the number has more than 4 decimals"),
                ('A;=1+1', '=1+1', "this is a formula, not a value"),
                ('"=cmd|\' /C calc\'!A0";1', "=cmd|' /C calc'!A0",
                    "this is a formula, not a value"),
                ("+cmd|' /C calc'!A0;1", "+cmd|' /C calc'!A0",
                    "this is a formula, not a value"),
                ('@SUM(A1);1', '@SUM(A1)',
                    "this is a formula, not a value"),
                ('A\x07;1', 'A\x07', "this has control characters"),
                (300 * 'A' + ';1', 300 * 'A',
                    "the text has more than 250 characters"),
                ('A;1;note;more', 'more', "the column has no heading"),
                (';1', '', 'the value of "name" is missing'),
                ('A', '', 'the value of "price" is missing')]:
            with self.subTest(row):
                self.assertEqual(
                    self.faults(f'name;price;note\nZ;1;\n{row}\n'),
                    [(3, value, reason)])

    def test_all_faults(self):
        "Test all the faults are told, in order and not without end"
        self.assertEqual(
            self.faults('name;price\n;x\nA;\nB;1\n'), [
                (2, 'x', "this is not a number"),
                (2, '', 'the value of "name" is missing'),
                (3, '', 'the value of "price" is missing'),
                ])
        self.path.write_text('name;price\n' + 200 * 'A;x\n')
        with self.assertRaises(table.TableError) as context:
            self.read(self.path)
        self.assertEqual(len(context.exception.faults), 200)
        self.assertIn("and 150 more", str(context.exception))
        self.assertLess(len(str(context.exception)), 5000)

    def test_numbers(self):
        "Test the numbers that people write"
        for text, value in [
                ('1,45', '1.45'), ('1.45', '1.45'), ('0', '0'), ('+3', '3'),
                ('1 234,50', '1234.5'), ('1\xa0234', '1234'),
                ('1\u202f234\u202f567', '1234567'), ('12,50 €', '12.5'),
                ('€ 3', '3'), ('3 EUR', '3')]:
            with self.subTest(text):
                (_, record), = self.load(f'name;price\nA;"{text}"')
                self.assertEqual(record['price'], Decimal(value))

    def test_texts(self):
        "Test texts that are no formula"
        for text in ["+33 (0)4 75 00 00 11", "- bio !", "@home", "3 = 3"]:
            with self.subTest(text):
                (_, record), = self.load(f'name;price\n{text};1')
                self.assertEqual(record['name'], text)

    def test_quotes(self):
        "Test quotes that are not right"
        for text, line, value in [
                ('name;price\nA;1\nB;"2\nC;3\n', 3, 'B;"2'),
                ('name;price\nA;"1"2\n', 2, 'A;"1"2')]:
            with self.subTest(text):
                (number, found, reason), = self.faults(text)
                self.assertEqual((number, found.strip()), (line, value))
                self.assertIn("quotes", reason)

    def test_empty(self):
        "Test files without a line"
        for data in [b'', b'\n\n', b' ; ;\n', codecs.BOM_UTF8]:
            with self.subTest(data):
                self.assertEqual(
                    self.faults(data),
                    [(1, '', "there are no headings")])

    def test_not_text(self):
        "Test files that are no table"
        for data in [b'PK\x03\x04\0\0', b'\x89PNG\r\n\x81\x8d', b'\xff\xfea']:
            with self.subTest(data):
                with self.assertRaisesRegex(
                        CommandError, "table.csv: the file is not a text"):
                    self.load(data)

    def test_large(self):
        "Test a file that is too large"
        with open(self.path, 'wb') as file:
            file.truncate(table.MAX_SIZE + 1)
        with self.assertRaisesRegex(CommandError, "larger than 20 MiB"):
            self.read(self.path)
