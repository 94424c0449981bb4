# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"Values that the tests share"
import datetime as dt

from trycoton.protocol.directory import PublishedKey
from trycoton.protocol.envelope import Envelope, Statement
from trycoton.protocol.signature import EncryptionKey, SigningKey

SELLER, BUYER, TRUST, COMMUNITY = (
    '0225:732829320_F1', '0225:732829320_B1', '0225:552100554',
    '0225:732829320')
TIME = dt.datetime(2026, 1, 31, 12, tzinfo=dt.timezone.utc)
ID = '0b9f1c6e-4a1d-4f3e-9a53-1c2d3e4f5a6b'
DIGEST = 'ab' * 32

KEY = SigningKey.from_bytes(bytes(range(32)))
OTHER_KEY = SigningKey.from_bytes(bytes(range(1, 33)))
ENCRYPTION_KEY = EncryptionKey.from_bytes(bytes(range(32)))
KEYS = {KEY.kid: KEY.public}
PUBLISHED = (
    PublishedKey(KEY.public, TIME), PublishedKey(ENCRYPTION_KEY.public, TIME))

UBL = 'urn:oasis:names:specification:ubl:schema:xsd:'
ORDER = (
    f'<Order xmlns="{UBL}Order-2"'
    f' xmlns:cac="{UBL}CommonAggregateComponents-2"'
    f' xmlns:cbc="{UBL}CommonBasicComponents-2">'
    '<cbc:CustomizationID>urn:fdc:peppol.eu:poacc:trns:order:3'
    '</cbc:CustomizationID>'
    '<cbc:ProfileID>urn:fdc:peppol.eu:poacc:bis:advanced_ordering:3'
    '</cbc:ProfileID>'
    '<!-- kept --><cbc:Note>Bl\u00e9 &amp; farine</cbc:Note>\r\n</Order>'
    ).encode('utf-8')
CATALOGUE = ORDER.replace(b'Order', b'Catalogue')


def envelope(**values):
    return Envelope(**{
            'sender': BUYER,
            'receiver': SELLER,
            'id': ID,
            'created': TIME,
            'sequence': 2,
            'previous': DIGEST,
            'relation': ID,
            'correlation': ID,
            'via': TRUST,
            'checkpoint': b'log.example\n1\n',
            'replaces': ID,
            'country': 'FR',
            'payload': ORDER,
            **values})


def statement(**values):
    return Statement(**{
            'sender': BUYER,
            'receiver': SELLER,
            'id': ID,
            'created': TIME,
            'sequence': 1,
            'kind': 'relation-proposal',
            'body': {'via': None, 'note': "\u00c9t\u00e9"},
            **values})


def mutations(data, count, random):
    "Yield bytes that differ from data in a few places"
    for _ in range(count):
        mutated = bytearray(data)
        for _ in range(random.randint(1, 4)):
            start = random.randrange(len(mutated))
            stop = start + random.choice([0, 1, 1, 1, 8])
            mutated[start:stop] = random.choice([
                    b'', random.randbytes(1), bytes(mutated[:40]),
                    bytes(mutated[start:stop]) * 2,
                    random.choice([
                        b'<', b'>', b'"', b'&', b'{', b'[', b'\x00', b':',
                        b'<!--', b'<![CDATA[', b'xmlns:', b'\xff', b'1e9',
                        b'-1', b'null', b'\\ud800', b'Z']),
                    ])
            if not mutated:
                mutated = bytearray(data)
        yield bytes(mutated)


def flips(data):
    "Yield data with a bit flipped, once in each byte"
    for index in range(len(data)):
        flipped = bytearray(data)
        flipped[index] ^= 1 << index % 8
        yield bytes(flipped)
