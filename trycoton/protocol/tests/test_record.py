# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
import dataclasses
import datetime as dt
import random
import unittest
from decimal import Decimal

from trycoton.protocol import canonical, signature
from trycoton.protocol.commission import CommissionLine, CommissionStatement
from trycoton.protocol.descriptor import (
    Charter, Descriptor, TrustParty, fingerprint)
from trycoton.protocol.directory import (
    Directory, Legal, Participant, PublishedKey, default_quorum, least_quorum)
from trycoton.protocol.errors import (
    Malformed, ProtocolError, Rejected, UnknownKey)
from trycoton.protocol.note import Cosigner, NoteSigner
from trycoton.protocol.offer import Approval, ApprovalStatement, Page
from trycoton.protocol.receipt import Receipt
from trycoton.protocol.signature import SigningKey

from . import sample
from .sample import (
    BUYER, COMMUNITY, DIGEST, ENCRYPTION_KEY, ID, KEY, KEYS, OTHER_KEY,
    PUBLISHED, SELLER, TIME, TRUST)

DAY = dt.timedelta(days=1)
VKEY = NoteSigner('log.example', KEY).vkey
LEGAL = Legal(
    siren='732829320', vat='FR44732829320', street="1 rue d'\u00c9t\u00e9",
    postal_code='38000', city='Grenoble', country='FR')


def receipt(**values):
    return Receipt(**{
            'message': ID,
            'digest': DIGEST,
            'receiver': SELLER,
            'time': TIME,
            'status': 'stored',
            **values})


def participant(**values):
    return Participant(**{
            'identifier': SELLER,
            'name': "Ferme d'\u00c9t\u00e9",
            'roles': ['offerer', 'buyer'],
            'keys': PUBLISHED,
            'recovery': OTHER_KEY.public,
            'endpoint': 'https://example.org/farm/cooperative',
            'trust_parties': [TRUST],
            'direct': True,
            'legal': LEGAL,
            **values})


def trust_party(**values):
    return participant(**{
            'identifier': TRUST,
            'kind': 'trust-party',
            'roles': ['trust-party'],
            'log': VKEY,
            **values})


def directory(**values):
    return Directory(**{
            'community': COMMUNITY,
            'version': 2,
            'previous': DIGEST,
            'created': TIME,
            'expires': TIME + DAY,
            'participants': [trust_party(), participant()],
            **values})


def charter(**values):
    return Charter(**{
            'version': 1,
            'date': TIME.date(),
            'digest': canonical.digest(b'Be fair.'),
            'text': 'Be fair.',
            **values})


def descriptor(**values):
    return Descriptor(**{
            'identifier': COMMUNITY,
            'name': "Cooperative",
            'kind': 'community',
            'endpoint': None,
            'keys': PUBLISHED,
            'created': TIME,
            'trust_parties': [TrustParty(
                    TRUST, "Notary", keys=PUBLISHED, log=VKEY)],
            'charter': charter(),
            'recovery': OTHER_KEY.public,
            'legal': LEGAL,
            'fee': {'amount': '10.00', 'currency': 'EUR'},
            'commission': Decimal('0.05'),
            **values})


def approval(**values):
    data = sample.envelope(sender=SELLER, payload=sample.CATALOGUE).to_bytes()
    return Approval(**{
            'catalogue': data,
            'signature': signature.sign(data, signature.ENVELOPE, KEY),
            'lines': ['2', '1'],
            **values})


def page(**values):
    return Page(**{
            'community': COMMUNITY,
            'version': 1,
            'previous': None,
            'created': TIME,
            'expires': TIME + DAY,
            'groups': ['Members'],
            'offers': [approval()],
            **values})


def decision(**values):
    return ApprovalStatement(**{
            'message': ID,
            'digest': DIGEST,
            'approved': ['1'],
            'refused': ['2'],
            'reason': "Not from here",
            **values})


def commission_line(**values):
    return CommissionLine(**{
            'message': ID,
            'kind': 'credit_note',
            'number': 'F-2026/1',
            'date': TIME.date(),
            'seller': SELLER,
            'buyer': BUYER,
            'relation': ID,
            'currency': 'EUR',
            'untaxed': Decimal('100.00'),
            'total': '-120',
            'digest': DIGEST,
            'index': 7,
            **values})


def commission(**values):
    return CommissionStatement(**{
            'community': COMMUNITY,
            'trust_party': TRUST,
            'created': TIME,
            'after': 0,
            'lines': [commission_line(index=9), commission_line()],
            **values})


MAKERS = [
    receipt, participant, directory, charter, descriptor, approval, page,
    decision, commission_line, commission]


class RecordTestCase(unittest.TestCase):
    "Test records"

    def test_round_trip(self):
        "The bytes of a record are those of the record parsed"
        for make in MAKERS:
            with self.subTest(make.__name__):
                record = make()
                data = record.to_bytes()
                parsed = type(record).parse(data)
                self.assertEqual(parsed, record)
                self.assertEqual(parsed.to_bytes(), data)
                self.assertEqual(dataclasses.replace(parsed), parsed)

    def test_members(self):
        "Missing, added and null members are refused"
        for make in MAKERS:
            record = make()
            value = record.to_json()
            for name in value:
                for changed in [
                        {k: v for k, v in value.items() if k != name},
                        {**value, name + 's': None},
                        {**value, name: {'a': 1}},
                        {**value, name: [value[name]]},
                        {**value, name: 1.5 if name == 'direct' else '\x00'},
                        ]:
                    with self.subTest(make.__name__, name=name):
                        with self.assertRaises(Malformed):
                            type(record).from_json(changed)
            for bad in [None, [], 'text', {}]:
                with self.assertRaises(Malformed):
                    type(record).from_json(bad)

    def test_refused(self):
        "A record that could not be read is not made"
        published, encryption = PUBLISHED
        for make, values in [
                (receipt, {'message': 'x'}),
                (receipt, {'digest': DIGEST[:-1]}),
                (receipt, {'time': TIME.replace(tzinfo=None)}),
                (receipt, {'status': 'lost'}),
                (receipt, {'status': None}),
                (participant, {'identifier': 'x'}),
                (participant, {'name': ''}),
                (participant, {'name': 'a\nb'}),
                (participant, {'kind': 'other'}),
                (participant, {'roles': 'buyer'}),
                (participant, {'roles': ['buyer', 'buyer']}),
                (participant, {'roles': ['king']}),
                (participant, {'state': 'gone'}),
                (participant, {'keys': [published, published]}),
                (participant, {'keys': [KEY.public]}),
                (participant, {'keys': None}),
                (participant, {'recovery': KEY}),
                (participant, {'endpoint': 'ftp://example.org'}),
                (participant, {'endpoint': 'http://a b'}),
                (participant, {'endpoint': 'https://a/x?y='}),
                (participant, {'endpoint': 'https://a/x#y'}),
                (participant, {'endpoint': 'https://a@b/x'}),
                (participant, {'endpoint': 'https://a\\b/x'}),
                (participant, {'endpoint': 'https://a:b/x'}),
                (participant, {'endpoint': 'https:///x'}),
                (participant, {'trust_parties': ['x']}),
                (participant, {'direct': 1}),
                (participant, {'legal': {'siren': '732829320'}}),
                (participant, {'log': 'key'}),
                (participant, {'log': 'x+00000000+AAAA'}),
                (directory, {'version': 0}),
                (directory, {'version': 1}),
                (directory, {'previous': None}),
                (directory, {'expires': TIME}),
                (directory, {'participants': [participant()] * 2}),
                (descriptor, {'keys': []}),
                (descriptor, {'keys': [encryption]}),
                (descriptor, {'charter': {}}),
                (descriptor, {'trust_parties': [trust_party()]}),
                (charter, {'text': 'Be unfair.'}),
                (charter, {'text': '\ud800'}),
                (charter, {'date': '2026-01-01'}),
                (charter, {'version': '1'}),
                (descriptor, {'fee': {'amount': '10.00'}}),
                (descriptor, {'commission': '5%'}),
                (approval, {'catalogue': 'text'}),
                (approval, {'catalogue': b'text'}),
                (approval, {'catalogue': sample.envelope().to_bytes()}),
                (approval, {'signature': 'text'}),
                (approval, {'lines': ['1', '1']}),
                (decision, {'refused': ['1']}),
                (decision, {'reason': None}),
                (page, {'version': 2}),
                (page, {'expires': TIME - DAY}),
                (page, {'offers': [approval()] * 2}),
                (commission_line, {'kind': 'order'}),
                (commission_line, {'date': TIME}),
                (commission_line, {'currency': 'euro'}),
                (commission_line, {'index': -1}),
                (commission, {'lines': [commission_line()] * 2}),
                *((commission_line, {'total': bad}) for bad in [
                        '', '1,0', '01', '-0', '-0.00', '.5', '1.', '1e3',
                        '+1', 1, 1.0, Decimal('NaN'), Decimal('-0')]),
                ]:
            with self.subTest(make.__name__, values=values):
                with self.assertRaises(Malformed):
                    make(**values)

    def test_sorted(self):
        "Lists in another order are refused"
        for make, name in [
                (participant, 'roles'), (directory, 'participants'),
                (approval, 'lines'), (commission, 'lines')]:
            record = make()
            value = record.to_json()
            value[name].reverse()
            with self.subTest(make.__name__):
                with self.assertRaises(Malformed):
                    type(record).from_json(value)

    def test_mutations(self):
        "A mutated record is read back as it is, or refused"
        for make in MAKERS:
            record = make()
            for mutated in sample.mutations(
                    record.to_bytes(), 300, random.Random(1)):
                try:
                    parsed = type(record).parse(mutated)
                except ProtocolError:
                    continue
                self.assertEqual(parsed.to_bytes(), mutated)

    def test_flips(self):
        "A bit flipped in a signed record is refused"
        for make in [receipt, directory]:
            record = make()
            data = record.to_bytes()
            jws = signature.sign(data, record.typ, KEY)
            self.assertEqual(type(record).open(data, jws, KEYS), record)
            for flipped in sample.flips(data):
                with self.assertRaises(Rejected):
                    type(record).open(flipped, jws, KEYS)

    def test_typ(self):
        "A record signed for another purpose is refused"
        for make in [receipt, directory, page, commission]:
            record = make()
            data = record.to_bytes()
            for typ in signature.TYPES:
                if typ != record.typ:
                    jws = signature.sign(data, typ, KEY)
                    with self.assertRaises(Rejected):
                        type(record).open(data, jws, KEYS)


class DirectoryTestCase(unittest.TestCase):
    "Test directories"

    def test_keys(self):
        "The keys are those of the participant, for signing, not revoked"
        revoked = PublishedKey(OTHER_KEY.public, TIME, revoked=TIME)
        known = directory(participants=[
                participant(keys=[*PUBLISHED, revoked])])
        self.assertEqual(known.keys(SELLER), KEYS)
        self.assertEqual(known.keys(BUYER), {})
        self.assertIsNone(known.participant(BUYER))
        self.assertEqual(
            known.participant(SELLER).encryption_keys(),
            {ENCRYPTION_KEY.kid: ENCRYPTION_KEY.public})

    def test_witnesses(self):
        "Test the witnesses of a directory and their quorum"
        def witness(name, number):
            return Cosigner(
                name, SigningKey.from_bytes(bytes([number]) * 32)).vkey

        def elected(quorum, *vkeys):
            members = [
                participant(identifier=f'{SELLER}_{i}', witness=vkey)
                for i, vkey in enumerate(vkeys)]
            return directory(
                participants=[trust_party(), *members], quorum=quorum)

        vkeys = [witness(f'w{i}', 10 + i) for i in range(4)]
        found = elected(3, *vkeys)
        self.assertEqual(
            [v.vkey for v in found.witnesses.values()], vkeys)
        self.assertEqual(Directory.parse(found.to_bytes()), found)
        self.assertTrue(found.says(elected(3, *vkeys)))
        self.assertFalse(found.says(elected(4, *vkeys)))
        for quorum, *keys in [
                (None, *vkeys), (2, *vkeys), (5, *vkeys), (1,), (0, *vkeys),
                (2, vkeys[0], vkeys[0]), (2, vkeys[0], witness('w9', 10)),
                (1, VKEY), (1, vkeys[0][:-2] + 'A='),
                ]:
            with self.subTest(quorum=quorum, keys=keys), \
                    self.assertRaises(Malformed):
                elected(quorum, *keys)

    def test_default_quorum(self):
        "Test how many of the witnesses must sign"
        for witnesses, quorum in [
                (1, 1), (2, 2), (3, 2), (4, 3), (7, 4), (14, 8), (15, 10),
                (16, 11), (20, 14)]:
            with self.subTest(witnesses=witnesses):
                self.assertEqual(default_quorum(witnesses), quorum)
                self.assertGreaterEqual(quorum, least_quorum(witnesses))

    def test_validity(self):
        "A key is valid from a time to another"
        key = PublishedKey(KEY.public, TIME, TIME + DAY)
        for at, valid in [
                (None, True), (TIME - DAY, False), (TIME, True),
                (TIME + DAY, False)]:
            with self.subTest(at=at):
                self.assertEqual(key.is_valid(at), valid)

    def test_check_after(self):
        "A directory never goes back nor tells two stories"
        first = directory(version=1, previous=None)
        second = directory(previous=first.digest)
        second.check_after(first)
        second.check_after(second)
        directory(version=5).check_after(first)
        for known, bad in [
                (second, first),
                (first, directory(community=BUYER)),
                (first, directory()),
                (second, directory())]:
            with self.assertRaises(Rejected):
                bad.check_after(known)


class DescriptorTestCase(unittest.TestCase):
    "Test descriptors"

    def test_open(self):
        "A descriptor is signed by the key of its fingerprint"
        record = descriptor(keys=[
                PublishedKey(KEY.public, TIME),
                PublishedKey(OTHER_KEY.public, TIME)])
        data = record.to_bytes()
        self.assertRegex(record.fingerprint, r'\A([0-9a-f]{4} ){7}\w{4}\Z')
        self.assertEqual(record.fingerprint, fingerprint(KEY.public))
        self.assertEqual(
            Descriptor.open(
                data, signature.sign(data, signature.DESCRIPTOR, KEY)),
            record)
        for typ, key in [
                (signature.DESCRIPTOR, OTHER_KEY),
                (signature.DIRECTORY, KEY)]:
            with self.assertRaises(Rejected):
                Descriptor.open(data, signature.sign(data, typ, key))

    def test_revoked(self):
        "A revoked key does not sign"
        record = descriptor(keys=[
                PublishedKey(KEY.public, TIME, revoked=TIME),
                PublishedKey(OTHER_KEY.public, TIME)])
        self.assertEqual(record.fingerprint, fingerprint(OTHER_KEY.public))
        with self.assertRaises(UnknownKey):
            record.verify(signature.sign(
                    record.to_bytes(), signature.DESCRIPTOR, KEY))


class OfferTestCase(unittest.TestCase):
    "Test offers"

    def test_approval(self):
        "An approval has the seller's own signature"
        record = approval()
        self.assertEqual(record.seller, SELLER)
        self.assertEqual(record.lines, ('1', '2'))
        self.assertEqual(record.envelope.payload, sample.CATALOGUE)
        self.assertEqual(record.verify(KEYS), KEY.kid)
        with self.assertRaises(UnknownKey):
            record.verify({})
        other = approval(signature=signature.sign(
                b'other', signature.ENVELOPE, KEY))
        with self.assertRaises(Rejected):
            other.verify(KEYS)
