# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
import unittest

from trycoton.protocol import identifier
from trycoton.protocol.errors import Malformed


class IdentifierTestCase(unittest.TestCase):
    "Test participant identifiers"

    def test_parse(self):
        "Parse the identifiers of the schemes accepted"
        for text, siren in [
                ('0002:732829320', '732829320'),
                ('0009:73282932000074', '732829320'),
                ('0088:4006381333931', None),
                ('0225:732829320', '732829320'),
                ('0225:732829320_A-1.b_2', '732829320'),
                ]:
            with self.subTest(text=text):
                self.assertEqual(
                    ':'.join(identifier.parse(text)), text)
                self.assertEqual(identifier.siren(text), siren)

    def test_refused(self):
        "Refuse other schemes, forms and wrong check digits"
        for text in [
                None, '', '732829320', '0225', '0225:', '225:732829320',
                '0192:732829320', '0002:732829321', '0225:732829321_A',
                '0002:732829320_A', '0002:732 829 320', '0002:73282932',
                '0009:73282932000075', '0088:4006381333932',
                '0225:732829320_', '0225:732829320_\u00e9',
                '0225:732829320_a/b', '0225:732829320_' + 'a' * 81,
                ' 0225:732829320', '0225:732829320\n',
                '0225:\u0667\u0663\u0662829320']:
            with self.subTest(text=text):
                with self.assertRaises(Malformed):
                    identifier.parse(text)
