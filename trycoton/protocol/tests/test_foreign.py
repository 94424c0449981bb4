# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
import datetime as dt
import unittest
from decimal import Decimal

from trycoton.protocol import ubl
from trycoton.protocol.envelope import MAX_SIZE, SBDH
from trycoton.protocol.errors import Malformed, Rejected
from trycoton.protocol.ubl import foreign


def order():
    def party(identifier):
        return ubl.Party(
            identifier=identifier, name="Épicerie",
            address=ubl.Address(country='FR'))
    return ubl.Order(
        number='C1', date=dt.date(2026, 11, 22), currency='EUR',
        buyer=party('0088:1'), seller=party('0088:2'),
        lines=tuple(
            ubl.OrderLine(
                id=str(number), quantity=Decimal(3), unit='KGM',
                price=Decimal('12.5'), item=ubl.Item(name="Miel"))
            for number in range(1, 4)))


def envelope(*documents):
    header = '<h:StandardBusinessDocumentHeader><a>1</a>' \
        '</h:StandardBusinessDocumentHeader>'
    return (
        f'<h:StandardBusinessDocument xmlns:h="{SBDH}">'.encode()
        + header.encode() + b''.join(documents)
        + b'</h:StandardBusinessDocument>')


class ForeignTestCase(unittest.TestCase):
    "Test documents as others keep them"

    def test_forms(self):
        "The form of the file does not matter"
        data = order().to_bytes()
        text = data.decode()
        for name, other in {
                'bare': data,
                'envelope': envelope(data),
                'byte order mark': text.encode('utf-8-sig'),
                'utf-16': text.encode('utf-16'),
                'latin': ('<?xml version="1.0" encoding="ISO-8859-1"?>'
                    + text).encode('latin-1'),
                'instruction': b'<?xml-stylesheet href="x"?>' + data,
                'comment': data.replace(b'>C1<', b'><!-- x -->C1<'),
                'prefix': data.replace(b'cac:', b'y:').replace(
                    b':cac=', b':y='),
                'space': b'\n\n' + data.replace(b'><', b'>\r\n\t<'),
                'attributes': data.replace(
                    b'<Order ', b'<Order xmlns:xsi="http://www.w3.org/2001/'
                    b'XMLSchema-instance" xsi:schemaLocation="a b" '),
                }.items():
            with self.subTest(name):
                self.assertEqual(foreign.read(other), order())

    def test_refused(self):
        "What is refused is named by its rule"
        data = order().to_bytes()
        bomb = b'<!DOCTYPE a [%s]>' % b''.join(
            b'<!ENTITY e%d "%s">' % (i, b'&e%d;' % (i - 1) * 10)
            for i in range(1, 30))
        for name, (other, error, rule, path) in {
                'empty': (b'', Malformed, 'TCT-XML', None),
                'cut': (data[:-9], Malformed, 'TCT-XML', None),
                'encoding': (b'<?xml version="1.0" encoding="no"?>' + data,
                    Malformed, 'TCT-XML', None),
                'bomb': (bomb + data, Malformed, 'TCT-XML', None),
                'doctype': (b'<!DOCTYPE Order SYSTEM "file:///etc/passwd">'
                    + data, Malformed, 'TCT-XML', None),
                'large': (data + b' ' * MAX_SIZE,
                    Malformed, 'TCT-SIZE', None),
                'deep': (b'<a>' * 100 + b'</a>' * 100,
                    Malformed, 'TCT-SIZE', None),
                'many': (b'<a>' + b'<b/>' * 200_000 + b'</a>',
                    Malformed, 'TCT-SIZE', None),
                'two': (envelope(data, data), Malformed, 'TCT-SYNTAX',
                    '/StandardBusinessDocument'),
                'none': (envelope(), Malformed, 'TCT-SYNTAX',
                    '/StandardBusinessDocument'),
                'type': (data.replace(b'order:3', b'order:4'),
                    Rejected, 'TCT-TYPE', None),
                'profile': (data.replace(b'advanced_ordering:3', b'x'),
                    Malformed, 'TCT-SYNTAX', '/Order'),
                'value': (data.replace(b'>2</cbc:ID>', b'></cbc:ID>'),
                    Malformed, 'TCT-SYNTAX', '/Order/OrderLine[2]/LineItem'),
                'enveloped': (
                    envelope(data.replace(b'>3</cbc:ID>', b'></cbc:ID>')),
                    Malformed, 'TCT-SYNTAX', '/Order/OrderLine[3]/LineItem'),
                'unsupported': (
                    data.replace(b'<cac:Price>',
                        b'<cac:AllowanceCharge/><cac:Price>'),
                    Rejected, 'TCT-UNSUPPORTED',
                    '/Order/OrderLine[1]/LineItem'),
                }.items():
            with self.subTest(name):
                with self.assertRaises(error) as context:
                    foreign.read(other)
                self.assertEqual(context.exception.rule, rule)
                self.assertEqual(context.exception.path, path)

    def test_base(self):
        "A price may be for several units"
        data = order().to_bytes()

        def based(base):
            return foreign.read(data.replace(
                    b'</cbc:PriceAmount>', b'</cbc:PriceAmount>' + base))
        for base, price in [
                (b'<cbc:BaseQuantity>1</cbc:BaseQuantity>', '12.5'),
                (b'<cbc:BaseQuantity>100.0</cbc:BaseQuantity>', '0.125'),
                (b'<cbc:BaseQuantity unitCode="KGM">5</cbc:BaseQuantity>',
                    '2.5')]:
            with self.subTest(base):
                self.assertEqual(
                    {l.price for l in based(base).lines}, {Decimal(price)})
        for base, error in [
                (b'<cbc:BaseQuantity>0</cbc:BaseQuantity>', Rejected),
                (b'<cbc:BaseQuantity>-1</cbc:BaseQuantity>', Rejected),
                (b'<cbc:BaseQuantity>x</cbc:BaseQuantity>', Malformed),
                (b'<cbc:BaseQuantity unitCode="GRM">5</cbc:BaseQuantity>',
                    Rejected),
                (b'<cbc:BaseQuantity>5</cbc:BaseQuantity>' * 2, Malformed)]:
            with self.subTest(base), self.assertRaises(error):
                based(base)
