# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
import dataclasses
import datetime as dt
import random
import unittest

from lxml import etree

from trycoton.protocol import canonical, envelope, signature
from trycoton.protocol.errors import Malformed, ProtocolError, Rejected

from . import sample
from .sample import ID, KEY, KEYS, ORDER, TIME, UBL

SBDH = envelope.SBDH


def rewritten(data, *changes):
    for old, new in changes:
        assert old in data, old
        data = data.replace(old, new)
    return data


def foreign(payload, prefix='', **namespaces):
    "Return an envelope as another writer lays it out"
    root = etree.fromstring(sample.envelope(payload=ORDER).to_bytes())
    header = etree.tostring(root[0]).decode()
    header = header.replace('sh:', prefix).replace('><', '>\r\n\t<')
    declared = ' '.join(
        f'{name}="{uri}"' for name, uri in namespaces.items())
    return (f'<?xml version=\'1.0\' encoding="utf-8"?>\n<!-- by another -->'
        f'<{prefix}StandardBusinessDocument {declared}>\n  {header}\n  '
        ).encode() + payload + (
        f'\n</{prefix}StandardBusinessDocument>\n').encode()


class EnvelopeTestCase(unittest.TestCase):
    "Test envelopes"

    def test_round_trip(self):
        "The bytes of an envelope are those of the envelope parsed"
        optional = [
            'relation', 'correlation', 'via', 'checkpoint', 'replaces',
            'country']
        first = {'sequence': 1, 'previous': None}
        for values in [{}, *({name: None} for name in optional),
                {**dict.fromkeys(optional), **first}, first]:
            with self.subTest(values=values):
                written = sample.envelope(**values)
                data = written.to_bytes()
                parsed = envelope.parse(data)
                self.assertEqual(parsed, written)
                self.assertEqual(parsed.to_bytes(), data)
                self.assertEqual(parsed.digest, canonical.digest(data))
                self.assertEqual(parsed.payload, ORDER)

    def test_values(self):
        "The header tells the type and the process of its document"
        parsed = envelope.parse(sample.envelope().to_bytes())
        self.assertEqual(
            parsed.type, 'Order##urn:fdc:peppol.eu:poacc:trns:order:3')
        self.assertEqual(
            parsed.customization, 'urn:fdc:peppol.eu:poacc:trns:order:3')
        self.assertEqual(
            parsed.process, 'urn:fdc:peppol.eu:poacc:bis:advanced_ordering:3')
        self.assertEqual(parsed.document_id,
            f'{UBL}Order-2::Order'
            '##urn:fdc:peppol.eu:poacc:trns:order:3::2.1')
        self.assertEqual(parsed.created, TIME)
        self.assertEqual(parsed.checkpoint, b'log.example\n1\n')
        self.assertEqual(parsed.typ, signature.ENVELOPE)

    def test_replace(self):
        "A changed envelope does not keep the bytes of the other"
        parsed = envelope.parse(sample.envelope().to_bytes())
        changed = dataclasses.replace(parsed, via=None)
        self.assertNotEqual(changed.to_bytes(), parsed.to_bytes())
        self.assertIsNone(envelope.parse(changed.to_bytes()).via)

    def test_declaration(self):
        "The XML declaration of the document is left out"
        for declaration in [
                b'<?xml version="1.0"?>',
                b'<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n']:
            written = sample.envelope(payload=declaration + ORDER)
            self.assertEqual(written.payload, ORDER)

    def test_foreign(self):
        "Other prefixes and spaces are read, and the bytes kept"
        order = rewritten(ORDER,
            (b'<Order', b'<o:Order'), (b'</Order', b'</o:Order'),
            (b'xmlns=', b'xmlns:o='))
        start, end = order.index(b' xmlns'), order.index(b'>')
        bare = order[:start] + order[end:]
        ubl = {
            'xmlns:o': UBL + 'Order-2',
            'xmlns:cbc': UBL + 'CommonBasicComponents-2'}
        for name, data, payload in [
                ('default', foreign(ORDER, xmlns=SBDH), ORDER),
                ('prefix', foreign(ORDER, 'ns2:', **{'xmlns:ns2': SBDH}),
                    ORDER),
                ('outer', foreign(bare, xmlns=SBDH, **ubl), None),
                ]:
            with self.subTest(name):
                parsed = envelope.parse(data)
                self.assertEqual(parsed.to_bytes(), data)
                self.assertEqual(parsed.created, TIME)
                if payload:
                    self.assertEqual(parsed.payload, payload)
                root = etree.fromstring(parsed.payload)
                self.assertEqual(
                    etree.tostring(root, method='c14n2'),
                    etree.tostring(
                        etree.fromstring(order if payload is None else ORDER),
                        method='c14n2'))

    def test_inherited_namespace(self):
        "A document does not change its meaning when it is taken out"
        payload = rewritten(
            ORDER, (f' xmlns="{UBL}Order-2"'.encode(), b''))
        data = foreign(payload, 'ns2:', **{
                'xmlns:ns2': SBDH, 'xmlns': UBL + 'Order-2'})
        self.assertEqual(envelope.parse(data).namespace, UBL + 'Order-2')

    def test_time(self):
        "Times of creation have a zone"
        data = sample.envelope().to_bytes()
        for text, time in [
                (b'2026-01-31T14:00:00+02:00', TIME),
                (b'2026-01-31T12:00:00.123456Z', TIME)]:
            changed = rewritten(data, (b'2026-01-31T12:00:00Z', text))
            self.assertEqual(envelope.parse(changed).created, time)
            self.assertEqual(envelope.parse(changed).to_bytes(), changed)
        for text in [b'2026-01-31T12:00:00', b'2026-01-31', b'',
                b' 2026-01-31T12:00:00Z', b'2026-13-31T12:00:00Z',
                b'2026-01-31T12:00:00+99:00', b'0001-01-01T00:00:00+02:00']:
            with self.subTest(text=text):
                with self.assertRaises(Malformed):
                    envelope.parse(rewritten(
                            data, (b'2026-01-31T12:00:00Z', text)))

    def test_malformed(self):
        "Envelopes in another form are refused"
        data = sample.envelope().to_bytes()
        sequence = (b'<sh:Scope><sh:Type>SEQUENCE</sh:Type>'
            b'<sh:InstanceIdentifier>2</sh:InstanceIdentifier>'
            b'<sh:Identifier>trycoton-1</sh:Identifier></sh:Scope>')
        version = b'<sh:HeaderVersion>1.0</sh:HeaderVersion>'
        declaration = b'<?xml version="1.0" encoding="UTF-8"?>\n'
        id_ = ID.encode()
        for name, bad in [
                ('empty', b''),
                ('text', b'hello'),
                ('space', b' ' + data),
                ('byte order mark', b'\xef\xbb\xbf' + data),
                ('cut', data[:-3]),
                ('trailing', data + b'x'),
                ('twice', data + data),
                ('too large', data + b' ' * envelope.MAX_SIZE),
                ('too large a payload', rewritten(
                        data, (b'farine', b'x' * envelope.MAX_SIZE))),
                ('UTF-16', data.decode().encode('utf-16')),
                ('latin-1', rewritten(
                        data, (b'UTF-8', b'ISO-8859-1'))),
                ('not UTF-8', rewritten(data, (b'\xc3\xa9', b'\xe9'))),
                ('XML 1.1', rewritten(
                        data, (b'version="1.0"', b'version="1.1"'))),
                ('DOCTYPE', rewritten(
                        data, (declaration, declaration + b'<!DOCTYPE a>'))),
                ('external DTD', rewritten(data, (declaration,
                            declaration
                            + b'<!DOCTYPE a SYSTEM "http://127.0.0.1/">'))),
                ('bomb', rewritten(data, (declaration, declaration
                            + b'<!DOCTYPE a [<!ENTITY a "aa">'
                            b'<!ENTITY b "&a;&a;">]>'),
                        (b'farine', b'&b;'))),
                ('entity', rewritten(data, (b'farine', b'&eacute;'))),
                ('instruction', rewritten(
                        data, (b'<!-- kept -->', b'<?php 1 ?>'))),
                ('instruction before', rewritten(
                        data, (declaration, declaration + b'<?a?>'))),
                ('deep', rewritten(data, (b'<!-- kept -->',
                            b'<a>' * 100 + b'</a>' * 100))),
                ('very deep', rewritten(data, (b'<!-- kept -->',
                            b'<a>' * 100000 + b'</a>' * 100000))),
                ('unbound prefix', rewritten(
                        data, (b'<!-- kept -->', b'<zz:a/>'))),
                ('other root', rewritten(data,
                        (b'sh:StandardBusinessDocument>', b'sh:Other>'),
                        (b'sh:StandardBusinessDocument ', b'sh:Other '))),
                ('other namespace', rewritten(
                        data, (SBDH.encode(), b'urn:other'))),
                ('no payload', rewritten(data, (ORDER, b''))),
                ('two payloads', rewritten(data, (ORDER, ORDER + ORDER))),
                ('payload in text', rewritten(data, (ORDER, b'x' + ORDER))),
                ('XInclude', rewritten(data, (ORDER,
                            b'<i:include href="file:///etc/passwd" xmlns:i='
                            b'"http://www.w3.org/2001/XInclude"/>'))),
                ('no header version', rewritten(data, (version, b''))),
                ('header version', rewritten(
                        data, (version, version.replace(b'1.0', b'2.0')))),
                ('header version twice', rewritten(
                        data, (version, version + version))),
                ('text in header', rewritten(
                        data, (version, version + b'x'))),
                ('comment in header', rewritten(
                        data, (version, version + b'<!-- -->'))),
                ('comment in value', rewritten(
                        data, (b'732829320_B1', b'732829320<!-- -->_B1'))),
                ('element in value', rewritten(
                        data, (b'732829320_B1', b'732829320<a/>_B1'))),
                ('attribute', rewritten(data, (
                            b'<sh:HeaderVersion>',
                            b'<sh:HeaderVersion a="1">'))),
                ('attribute of root', rewritten(
                        data, (b'<sh:StandardBusinessDocument ',
                            b'<sh:StandardBusinessDocument a="1" '))),
                ('authority', rewritten(
                        data, (b'iso6523-actorid-upis', b'other'))),
                ('no authority', rewritten(
                        data, (b' Authority="iso6523-actorid-upis"', b''))),
                ('participant', rewritten(
                        data, (b'732829320_B1', b'732829321_B1'))),
                ('space in participant', rewritten(
                        data, (b'732829320_B1', b'732829320_B1 '))),
                ('id', rewritten(data, (id_, id_.upper()))),
                ('no id', rewritten(data, (id_, b''))),
                ('no sequence', rewritten(data, (sequence, b''))),
                ('sequence twice', rewritten(
                        data, (sequence, sequence + sequence))),
                *((f'sequence {bad!r}', rewritten(data, (
                                sequence, sequence.replace(
                                    b'>2<', b'>' + bad + b'<'))))
                    for bad in [b'0', b'02', b'-1', b'+2', b' 2', b'2.0', b'',
                        b'\xd9\xa2', b'9' * 30]),
                ('scheme', rewritten(
                        data, (b'trycoton-1', b'trycoton-2'))),
                ('scheme of country', rewritten(data, (
                            b'>FR</sh:InstanceIdentifier>',
                            b'>FR</sh:InstanceIdentifier>'
                            b'<sh:Identifier>a</sh:Identifier>'))),
                ('scope', rewritten(data, (b'SEQUENCE', b'OTHER'))),
                ('empty scope', rewritten(data, (
                            sequence, sequence + b'<sh:Scope/>'))),
                ('country', rewritten(data, (b'>FR<', b'>fr<'))),
                ('digest', rewritten(data, (
                            sample.DIGEST.encode(),
                            sample.DIGEST.upper().encode()))),
                ('checkpoint', rewritten(data, (
                            canonical.encode(b'log.example\n1\n').encode(),
                            b'YWJ='))),
                ('type', rewritten(
                        data, (b'<sh:Type>Order<', b'<sh:Type>Invoice<'))),
                ('standard', rewritten(data, (
                            f'<sh:Standard>{UBL}Order'.encode(),
                            f'<sh:Standard>{UBL}Invoice'.encode()))),
                ('document id', rewritten(data, (b'::2.1', b'::2.2'))),
                ('type version', rewritten(data, (
                            b'<sh:TypeVersion>2.1', b'<sh:TypeVersion>2.3'))),
                ('process', rewritten(data, (
                            b'advanced_ordering:3</sh', b'ordering:3</sh'))),
                ('customization', rewritten(data, (
                            b'trns:order:3</cbc', b'trns:order:4</cbc'))),
                ]:
            with self.subTest(name):
                with self.assertRaises(Malformed):
                    envelope.parse(bad)

    def test_refused(self):
        "An envelope that could not be read is not made"
        for values in [
                {'sender': 'me'}, {'sender': None}, {'id': ID.upper()},
                {'created': dt.datetime(2026, 1, 1)}, {'created': None},
                {'sequence': 0}, {'sequence': True}, {'sequence': '1'},
                {'sequence': 1.0}, {'sequence': 1}, {'previous': None},
                {'previous': 'AB' * 32}, {'checkpoint': 'text'},
                {'checkpoint': b'a' * (2 ** 16 + 1)}, {'country': 'France'},
                {'via': ''}, {'type': 'Invoice'}, {'process': 'other'},
                {'customization': 'other'}, {'version': '3'},
                {'payload': None}, {'payload': 'text'}, {'payload': b''},
                {'payload': b'<Order/>'}, {'payload': ORDER + ORDER},
                {'payload': b'<!DOCTYPE a>' + ORDER},
                {'payload': ORDER.replace(
                    f' xmlns="{UBL}Order-2"'.encode(), b'')},
                {'payload': ORDER.replace(b'CustomizationID', b'ID')},
                {'payload': ORDER.replace(b'ProfileID', b'ID')},
                ]:
            with self.subTest(values=values):
                with self.assertRaises(Malformed):
                    sample.envelope(**values)
        with self.assertRaises(Malformed):
            sample.envelope(payload=ORDER.replace(
                    b'farine', b'x' * (envelope.MAX_SIZE - len(ORDER)))
                ).to_bytes()

    def test_mutations(self):
        "A mutated envelope is read back as it is, or refused"
        data = sample.envelope().to_bytes()
        accepted = 0
        for mutated in sample.mutations(data, 2000, random.Random(1)):
            try:
                parsed = envelope.parse(mutated)
            except ProtocolError:
                continue
            accepted += 1
            self.assertEqual(parsed.to_bytes(), mutated)
            again = dataclasses.replace(parsed).to_bytes()
            self.assertEqual(envelope.parse(again), parsed)
        self.assertGreater(accepted, 10)

    def test_flips(self):
        "A bit flipped in a signed envelope is refused"
        data = sample.envelope().to_bytes()
        jws = signature.sign(data, signature.ENVELOPE, KEY)
        signature.verify(data, jws, signature.ENVELOPE, KEYS)
        for flipped in sample.flips(data):
            with self.assertRaises(Rejected):
                signature.verify(flipped, jws, signature.ENVELOPE, KEYS)


class StatementTestCase(unittest.TestCase):
    "Test statements"

    def test_round_trip(self):
        "The bytes of a statement are those of the statement parsed"
        for values in [
                {}, {'body': {}}, {'via': sample.TRUST}, {
                    'checkpoint': b'a', 'country': 'FR', 'sequence': 7,
                    'previous': 'a' * 64}]:
            with self.subTest(values=values):
                written = sample.statement(**values)
                parsed = envelope.parse(written.to_bytes())
                self.assertEqual(parsed, written)
                self.assertEqual(parsed.to_bytes(), written.to_bytes())
                self.assertEqual(parsed.type, 'relation-proposal')

    def test_typ(self):
        "The kind of statement tells the type of its signature"
        for kind, typ in [
                ('application', signature.APPLICATION),
                ('relation-agreement', signature.RELATION),
                ('offer-decision', signature.OFFER_APPROVAL),
                ('membership-decision', signature.STATEMENT)]:
            written = sample.statement(kind=kind)
            self.assertEqual(written.typ, typ)
            self.assertIn(typ, envelope.TYPES)

    def test_malformed(self):
        "Statements in another form are refused"
        value = canonical.load(sample.statement().to_bytes())
        header, body = value['header'], value['body']

        def statement(**values):
            return {'header': {**header, **values}, 'body': body}
        for bad in [
                {}, {'header': header}, {**value, 'more': 1},
                {'header': None, 'body': body},
                {'header': header, 'body': []},
                statement(protocol='trycoton-2'), statement(protocol=None),
                statement(type='Not A Kind'), statement(type=None),
                statement(kind='relation-proposal'), statement(body={}),
                statement(sender='me'), statement(sequence=0),
                statement(sequence='1'), statement(created=1),
                statement(checkpoint='YWJ='), statement(extra=None),
                {'body': body, 'header': {
                        k: v for k, v in header.items() if k != 'via'}},
                ]:
            with self.subTest(value=bad):
                with self.assertRaises(Malformed):
                    envelope.parse(canonical.dump(bad))
        with self.assertRaises(Malformed):
            envelope.parse(sample.statement().to_bytes() + b'\n')

    def test_refused(self):
        "A statement that could not be read is not made"
        for values in [
                {'kind': 'Relation'}, {'kind': None}, {'kind': 'a' * 30},
                {'type': 'other'}, {'body': None}, {'body': {'a': 1.0}}]:
            with self.subTest(values=values):
                with self.assertRaises(Malformed):
                    sample.statement(**values)

    def test_mutations(self):
        "A mutated statement is read back as it is, or refused"
        data = sample.statement().to_bytes()
        for mutated in sample.mutations(data, 2000, random.Random(1)):
            try:
                parsed = envelope.parse(mutated)
            except ProtocolError:
                continue
            self.assertEqual(parsed.to_bytes(), mutated)
            self.assertEqual(dataclasses.replace(parsed).to_bytes(), mutated)
