# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The others, as a trust party meets them: keys and bytes"""
import datetime as dt
import uuid
from decimal import Decimal

import trytond.config as config
from cryptography.fernet import Fernet
from trytond.modules.company.tests import create_company, set_company
from trytond.pool import Pool
from trytond.protocols.wrappers import HTTPStatus
from trytond.transaction import Transaction

from cooperative_edi.transaction import transact
from trycoton.protocol import canonical, entry, problem, signature, token, ubl
from trycoton.protocol.checkpoint import Checkpoint
from trycoton.protocol.directory import (
    Directory, Legal, Participant, PublishedKey)
from trycoton.protocol.envelope import Envelope, Statement
from trycoton.protocol.note import Verifier
from trycoton.protocol.receipt import Receipt, Refusal

TRUST = '0225:833555675'
COMMUNITY = '0225:732829320'
SELLER = '0225:732829320_1'
BUYER = '0225:732829320_2'
CUSTODIAN = '0225:552100554'
ARBITER = '0225:732829320_7'


def now():
    return dt.datetime.now(dt.timezone.utc).replace(microsecond=0)


def set_key():
    "Give the configuration what encrypts the private keys"
    if not config.has_section('cooperative'):
        config.add_section('cooperative')
    config.set('cooperative', 'key', Fernet.generate_key().decode())
    config.set('cooperative', 'courier', 'False')


def create_trust_party():
    "Return the log of a new trust party that knows the community"
    pool = Pool()
    Identity = pool.get('cooperative.edi.identity')
    Log = pool.get('cooperative.trust.log')
    Peer = pool.get('cooperative.edi.peer')
    company = create_company(name="Tiers")
    with set_company(company):
        identity = Identity(
            company=company, identifier=TRUST, kind='trust-party')
        identity.save()
        identity.generate_keys()
        log = Log(company=company, origin='tiers.example.org/log')
        log.save()
        Log.open([log])
        Peer.update_from(company.id, Member(COMMUNITY).participant(
                kind='community'))
        return log


class TrustTestCase:
    "A trust party over HTTP, a community and two of its members"
    module = 'cooperative_trust'

    @classmethod
    def setUpDatabase(cls):
        set_key()
        log = create_trust_party()
        cls.verifier = Verifier.from_vkey(log.vkey)

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.community = Community(COMMUNITY)
        cls.seller, cls.buyer = Member(SELLER), Member(BUYER)

    def setUp(self):
        super().setUp()
        self.publish(self.seller.participant(), self.buyer.participant())

    def publish(self, *participants):
        directory = self.community.directory(*participants)
        response = self.community.publish(
            self.client(), self.db_name, directory)
        self.assertEqual(response.status_code, HTTPStatus.OK)
        return directory, canonical.load(response.data)

    def send(self, member, message, status=HTTPStatus.CREATED):
        response = member.send(self.client(), self.db_name, message)
        self.assertEqual(response.status_code, status, response.data)
        return canonical.load(response.data)

    def agree(self, community=COMMUNITY, agreed=True, sealed=None):
        "Have the two agree on a relation by the trust party"
        relation = str(uuid.uuid4())
        for member, receiver, kind, body in [
                (self.buyer, SELLER, 'relation-proposal', {
                        'relation': relation, 'community': community,
                        'trust_party': TRUST, 'replaces': None,
                        'sealed': sealed}),
                (self.seller, BUYER, 'relation-answer', {
                        'relation': relation, 'agreed': agreed,
                        'reason': None, 'sealed': sealed}),
                ]:
            message = member.statement(receiver, kind, body)
            self.send(member, message)
            other = {BUYER: self.buyer, SELLER: self.seller}[receiver]
            other.fetch(self.client(), self.db_name, message)
        return relation

    def path(self, path):
        return f'/{self.db_name}/cooperative/trust/{path}'

    def checkpoint(self):
        response = self.client().get(self.path('checkpoint'))
        self.assertEqual(response.status_code, HTTPStatus.OK)
        return Checkpoint.open(response.data, [self.verifier])


class HoldMixin:
    "A trust party with a hold of that uuid, and who asks for it"

    @classmethod
    def setUpDatabase(cls):
        set_key()
        log = create_trust_party()
        cls.company = log.company.id
        Currency = Pool().get('currency.currency')
        if not Currency.search([('code', '=', 'EUR')]):
            Currency.create([{
                        'name': "Euro", 'code': 'EUR', 'symbol': '€'}])

    def do(self, function, *args, user=0):
        def call():
            with Transaction().set_user(user):
                return function(*args)
        return transact(
            self.db_name, call, context={'company': self.company})

    def peer(self, identifier):
        Peer = Pool().get('cooperative.edi.peer')
        return Peer.get(self.company, identifier)

    def hold(self):
        Hold = Pool().get('cooperative.trust.hold')
        hold, = Hold.search([('uuid', '=', self.uuid)])
        return hold


class Member:
    "Somebody with a key, elsewhere"
    _keys = {}

    def __init__(self, identifier):
        self.identifier = identifier
        self.key = self._keys.setdefault(
            identifier, signature.SigningKey.generate())
        self.sequences = {}

    def participant(self, **values):
        values.setdefault('trust_parties', (TRUST,))
        return Participant(
            identifier=self.identifier, name=self.identifier,
            keys=(PublishedKey(key=self.key.public, valid_from=now()),),
            legal=Legal(country='FR'), **values)

    def sign(self, data, typ):
        return {signature.SIGNATURE_HEADER: signature.sign(
                data, typ, self.key)}

    def header(self, receiver, **values):
        sequence, previous = self.sequences.get(receiver, (0, None))
        return {
            'sender': self.identifier,
            'receiver': receiver,
            'id': str(uuid.uuid4()),
            'created': now(),
            'sequence': sequence + 1,
            'previous': previous,
            'via': TRUST,
            **values,
            }

    def send(self, client, db_name, message):
        "Post the message and return the response"
        self.sequences[message.receiver] = message.sequence, message.digest
        return client.post(
            f'/{db_name}/cooperative/edi/messages', data=message.to_bytes(),
            headers=self.sign(message.to_bytes(), message.typ))

    def statement(self, receiver, kind, body, **values):
        return Statement(
            kind=kind, body=body, **self.header(receiver, **values))

    def invoice(self, receiver, relation, untaxed='100.00', **values):
        tax = Decimal(untaxed) * Decimal('0.2')
        total = Decimal(untaxed) + tax
        document = ubl.Invoice(
            number=str(uuid.uuid4())[:8], date=dt.date(2026, 11, 22),
            currency='EUR', seller=party(self.identifier),
            buyer=party(receiver), buyer_reference='-',
            lines=(ubl.InvoiceLine(
                    id='1', quantity=Decimal(1), unit='C62',
                    price=Decimal(untaxed), amount=Decimal(untaxed),
                    item=ubl.Item(
                        name="Miel", vat_category='S',
                        vat_rate=Decimal(20))),),
            taxes=(ubl.Tax(
                    category='S', rate=Decimal(20), base=Decimal(untaxed),
                    amount=tax.quantize(Decimal('0.01'))),),
            untaxed=Decimal(untaxed), tax=tax.quantize(Decimal('0.01')),
            total=total.quantize(Decimal('0.01')),
            payable=total.quantize(Decimal('0.01')))
        return Envelope(
            payload=document.to_bytes(),
            **self.header(receiver, relation=relation, **values))

    def receipt(self, message):
        "Return the answer that acknowledges the message"
        data = Receipt(
            message=message.id, digest=message.digest,
            receiver=self.identifier, time=now()).to_bytes()
        return canonical.dump({
                'receipt': data.decode(),
                'signature': signature.sign(
                    data, signature.RECEIPT, self.key),
                })

    def refusal(self, refused, name='suspended', **values):
        "Return the problem by which the member refuses the message for good"
        data = Refusal(**{
                'message': refused.id, 'digest': refused.digest,
                'receiver': self.identifier, 'time': now(), 'problem': name,
                'text': "No.", **values}).to_bytes()
        return canonical.dump({
                'type': problem.BASE + name, 'title': "No.", 'status': 403,
                'refusal': data.decode(),
                'signature': signature.sign(
                    data, signature.REFUSAL, self.key),
                })

    def authorization(self, method, path):
        value = token.issue(
            self.key, issuer=self.identifier, audience=TRUST, method=method,
            path=path, now=now())
        return {'Authorization': f'Bearer {value}'}

    def get(self, client, path, query=''):
        return client.get(
            path + query, headers=self.authorization('GET', path))

    def fetch(self, client, db_name, message):
        "Acknowledge the message as one fetched from the mailbox"
        path = f'/{db_name}/cooperative/edi/mailbox/{message.id}/receipt'
        return client.post(
            path, data=self.receipt(message),
            headers=self.authorization('POST', path))


class Community(Member):
    version = 0
    previous = None

    def directory(self, *participants, **values):
        self.version += 1
        directory = Directory(**{
                'community': self.identifier, 'version': self.version,
                'previous': self.previous, 'created': now(),
                'expires': now() + dt.timedelta(days=1),
                'participants': tuple(
                    sorted(participants, key=lambda p: p.identifier)),
                **values})
        self.previous = directory.digest
        return directory

    def publish(self, client, db_name, directory):
        data = directory.to_bytes()
        return client.post(
            f'/{db_name}/cooperative/trust/directories', data=data,
            headers=self.sign(data, signature.DIRECTORY))


def party(identifier):
    return ubl.Party(
        identifier=identifier, name=identifier, vat='FR44732829320',
        legal_id='0002:732829320', address=ubl.Address(country='FR'))


def record_of(value):
    return entry.Record.from_json(value)
