# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The others, as an instance meets them: keys and bytes"""
import datetime as dt
import functools
import importlib.util
import os
import uuid
from decimal import Decimal
from pathlib import Path

import trytond.config as config
from cryptography.fernet import Fernet
from trytond.modules.company.tests import create_company
from trytond.pool import Pool
from trytond.transaction import Transaction

from trycoton.protocol import signature, token, ubl
from trycoton.protocol.directory import Legal, Participant, PublishedKey
from trycoton.protocol.envelope import Envelope, Statement

US = '0225:833555675'
THEM = '0225:732829320'
THIRD = '0225:732829320_3'


def now():
    return dt.datetime.now(dt.timezone.utc).replace(microsecond=0)


@functools.cache
def _validator():
    "Return the module that checks with the official rules, if it is there"
    folder = Path(
        os.environ.get('TRYCOTON_CONFORMANCE')
        or Path(__file__).resolve().parents[4] / 'shared' / 'conformance')
    path = folder / 'validate.py'
    if not path.exists() or not importlib.util.find_spec('saxonche'):
        return
    spec = importlib.util.spec_from_file_location('validate', path)
    validator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(validator)
    return validator


def rule_errors(document):
    """Return what the official schema and rules find wrong in the document,
    nothing where they are not installed"""
    validator = _validator()
    if not validator:
        return []
    rules = document.kind != 'remittance_advice'
    return validator.validate(
        document.to_bytes(), xsd_only=not rules,
        require_rules=rules)['errors']


def configure():
    "Set what seals the private keys, and leave the courier to the test"
    if not config.has_section('cooperative'):
        config.add_section('cooperative')
    if not config.get('cooperative', 'key'):
        config.set('cooperative', 'key', Fernet.generate_key().decode())
    config.set('cooperative', 'courier', 'False')


def create_identity(identifier=US, name="Us", **values):
    "Return the identity, with keys, of a new company"
    pool = Pool()
    Identity = pool.get('cooperative.edi.identity')
    User = pool.get('res.user')
    company = create_company(name=name)
    User.write([User(Transaction().user)], {
            'companies': [('add', [company.id])],
            'company': company.id,
            })
    identity, = Identity.create([{
                'company': company.id,
                'identifier': identifier,
                **values}])
    identity.generate_keys()
    return identity


def create_relation(identity, other, **values):
    "Return the agreed relation of the identity with the other, its peer"
    pool = Pool()
    Peer = pool.get('cooperative.edi.peer')
    Relation = pool.get('cooperative.edi.relation')
    relation = Relation(
        company=identity.company,
        peer=Peer.update_from(identity.company.id, other.participant()),
        uuid=str(uuid.uuid4()), proposed_by='peer', state='agreed', **values)
    relation.save()
    return relation


class Other:
    "Somebody with a key, elsewhere"

    def __init__(self, identifier=THEM):
        self.identifier = identifier
        self.key = signature.SigningKey.generate()
        self.sequence, self.previous = 0, None

    def participant(self, **values):
        values.setdefault('direct', True)
        values.setdefault('kind', 'participant')
        return Participant(
            identifier=self.identifier, name=self.identifier,
            keys=(PublishedKey(key=self.key.public, valid_from=now()),),
            legal=Legal(country='FR'), **values)

    def sign(self, data, typ):
        return {signature.SIGNATURE_HEADER: signature.sign(
                data, typ, self.key)}

    def header(self, **values):
        self.sequence += 1
        return {
            'sender': self.identifier,
            'receiver': US,
            'id': str(uuid.uuid4()),
            'created': now(),
            'sequence': self.sequence,
            'previous': self.previous,
            **values,
            }

    def statement(self, kind='relation-end', body=None, **values):
        message = Statement(kind=kind, body=body or {
                'relation': str(uuid.uuid4()),
                }, **self.header(**values))
        self.previous = message.digest
        return message

    def invoice(self, relation, seller=None, **values):
        return self.envelope(
            invoice(seller or self.identifier, US), relation, **values)

    def envelope(self, document, relation, **values):
        message = Envelope(
            payload=document.to_bytes(),
            **self.header(relation=relation, **values))
        self.previous = message.digest
        return message

    def authorization(self, method, path, **values):
        values.setdefault('audience', US)
        values.setdefault('now', now())
        value = token.issue(
            self.key, issuer=self.identifier, method=method, path=path,
            **values)
        return {'Authorization': f'Bearer {value}'}


def invoice(seller, buyer, number='F1'):
    def party(identifier):
        return ubl.Party(
            identifier=identifier, name=identifier, vat='FR44732829320',
            legal_id='0002:732829320', address=ubl.Address(country='FR'))
    hundred, twenty = Decimal('100.00'), Decimal('20.00')
    return ubl.Invoice(
        number=number, date=dt.date(2026, 11, 22), currency='EUR',
        seller=party(seller), buyer=party(buyer), buyer_reference='-',
        due_date=dt.date(2026, 12, 22),
        lines=(ubl.InvoiceLine(
                id='1', quantity=Decimal(1), unit='C62', price=hundred,
                amount=hundred, item=ubl.Item(
                    name="Miel", vat_category='S', vat_rate=Decimal(20))),),
        taxes=(ubl.Tax(
                category='S', rate=Decimal(20), base=hundred,
                amount=twenty),),
        untaxed=hundred, tax=twenty, total=hundred + twenty,
        payable=hundred + twenty)
