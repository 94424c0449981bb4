# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"Three companies of one database that know each other only by messages"
import trytond.config as config
from cryptography.fernet import Fernet
from trytond.modules.company.tests import create_company, set_company
from trytond.modules.currency.tests import create_currency
from trytond.pool import Pool
from trytond.transaction import Transaction

from trycoton.protocol import envelope

COMMUNITY = '0225:732829320'
MEMBER = '0225:404833048'
OTHER = '0225:552032534'
TRUST_PARTY = '0225:356000000'


def configure():
    "Have keys sealed, and no courier"
    if not config.has_section('cooperative'):
        config.add_section('cooperative')
    config.set('cooperative', 'key', Fernet.generate_key().decode('ascii'))
    config.set('cooperative', 'courier', 'False')


def create_actor(identifier, name, kind='participant', currency=None):
    "Return the company with its identity and keys"
    pool = Pool()
    Identity = pool.get('cooperative.edi.identity')
    company = create_company(name, currency or create_currency('EUR'))
    party = company.party
    party.identifiers = [{'type': 'fr_siren', 'code': identifier[5:]}]
    address, = party.addresses
    address.street_unstructured = "1 rue du Port"
    address.postal_code = "44000"
    address.city = "Nantes"
    address.country = get_country()
    address.save()
    party.save()
    with set_company(company):
        identity = Identity(
            company=company, identifier=identifier, kind=kind,
            endpoint=f'http://127.0.0.1:8/{identifier[5:]}/cooperative')
        identity.save()
        identity.generate_keys()
    return company


def get_country():
    pool = Pool()
    Country = pool.get('country.country')
    countries = Country.search([('code', '=', 'FR')])
    if not countries:
        countries = Country.create([{
                    'name': "France", 'code': 'FR', 'code3': 'FRA'}])
    return countries[0]


def create_community(company, trust_parties=(), **values):
    pool = Pool()
    Community = pool.get('cooperative.community')
    with set_company(company):
        peers = [accept_trust_party(company, t) for t in trust_parties]
        community = Community(
            company=company, charter="Be honest.\r\nBe kind.",
            trust_parties=peers,
            **values)
        community.save()
    return community


def accept_trust_party(company, trust_party):
    "Return the peer of the trust party, as a person adds it"
    pool = Pool()
    Peer = pool.get('cooperative.edi.peer')
    peer = Peer.update_from(
        company.id, identity_of(trust_party).participant(['trust-party']))
    peer.accepted = True
    peer.save()
    return peer


def identity_of(company):
    pool = Pool()
    Identity = pool.get('cooperative.edi.identity')
    return Identity.get(company.id)


def join(company, community, offerer=True, buyer=True):
    "Have the company apply and return its own membership"
    pool = Pool()
    Community = pool.get('cooperative.community')
    with set_company(community.company):
        data, jws = community.descriptor()
    with set_company(company):
        from cooperative_community.join import _open_descriptor
        return Community.join(
            _open_descriptor(data, jws), jws, offerer, buyer)


def applied(company, community):
    "Bring the application of the company and return its membership"
    pool = Pool()
    Membership = pool.get('cooperative.community.membership')
    message = sent(company)[-1]
    membership, known = Membership.receive(
        bytes(message.data), message.signature)
    message.state = 'sent'
    message.save()
    return membership


def sent(company):
    "Return the messages that wait in the outbox of the company"
    pool = Pool()
    Message = pool.get('cooperative.edi.message')
    return Message.search([
            ('company', '=', company),
            ('direction', '=', 'out'),
            ('state', '=', 'waiting'),
            ], order=[('id', 'ASC')])


def deliver(company, to=None):
    """Bring the statements of the company to whom they are for, or only those
    to the recipient"""
    pool = Pool()
    Message = pool.get('cooperative.edi.message')
    for message in sent(company):
        if (to not in {None, message.recipient}
                or not isinstance(
                    envelope.parse(bytes(message.data)), envelope.Statement)):
            continue
        with Transaction().set_context(company=None):
            received, _ = Message.receive(
                bytes(message.data), message.signature)
            Message.process(received.id)
        message.state = 'sent'
        message.save()


class Response:
    "What the directory route answers"

    def __init__(self, directory, status=200):
        self.status = status
        self.data = bytes(directory.data)
        self.headers = {'TryCoTon-Signature': directory.signature}
