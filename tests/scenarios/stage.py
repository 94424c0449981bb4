# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Companies whose people trade, each company with an instance of its own

A seller, two buyers and a trust party: one buyer exchanges directly with the
seller, the other one through the trust party.
"""
import contextlib
import functools
import secrets
import tempfile
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

from trycoton.command import instance, template
from trycoton.command.client import Descriptions
from trycoton.command.demo.actor import wait
from trycoton.command.demo.member import Member
from trycoton.command.demo.office import Manager, Operator
from trycoton.command.demo.world import World, _enter, free_port
from trycoton.command.server import Server

from ..partner.stage import vat_number

# What each person may do: the groups of Tryton, and ours
SALES = ['sale.group_sale']
PURCHASES = ['purchase.group_purchase']
STOCK = ['stock.group_stock']
ACCOUNTS = [
    'account.group_account',
    'account_payment.group_payment',
    'account_statement.group_statement',
    ]
OFFICE = [
    'account.group_account_admin',
    'account_payment.group_payment_approval',
    'account_product.group_account_product_admin',
    'bank.group_bank_admin',
    'cooperative_community.group_member',
    'cooperative_edi.group_edi_admin',
    'cooperative_offer.group_buyer',
    'cooperative_offer.group_offerer',
    'party.group_party_admin',
    'product.group_product_admin',
    'stock.group_stock',
    ]
SELLERS = {
    'anne': ("Anne Sorel", SALES),
    'marc': ("Marc Vidal", STOCK),
    'claire': ("Claire Roux", ACCOUNTS),
    'odile': ("Odile Girard", OFFICE),
    }
BUYERS = {
    'bruno': ("Bruno Petit", PURCHASES),
    'lucie': ("Lucie Morel", STOCK),
    'paul': ("Paul Lambert", ACCOUNTS),
    'hugo': ("Hugo Masson", OFFICE),
    }
RELAYS = {'theo': ("Théo Blanc", Operator.groups)}
MANAGERS = {'nadia': ("Nadia Colin", Manager.groups)}
CHARTER = "Chacun tient ses propres comptes."


class Person(Member):
    "One of those who work in a company, with the rights of their groups"

    def __init__(self, company, login, password, groups):
        super().__init__(
            company.server, login, password,
            SimpleNamespace(roles={'offerer', 'buyer'}))
        self.organisation = company
        self.groups = groups


class NetworkManager(Manager, Person):
    "Who admits the members of a community"


class NetworkOperator(Operator, Person):
    "Who keeps a trust party going"


class Company:
    "A company with its instance and the people who work there, by login"

    def __init__(self, stage, name, company, siren, people, role='actor'):
        self.stage = stage
        self.name = company
        self.siren = siren
        self.role = role
        self.server = Server(stage.folder, name)
        Class = {
            'trust': NetworkOperator, 'community': NetworkManager,
            }.get(role, Person)
        self.people = {
            login: Class(self, login, secrets.token_urlsafe(9), groups)
            for login, (_, groups) in people.items()}
        self.specification = instance.Specification(
            name=name, role=role, company=company, siren=siren,
            vat_number=vat_number(siren), port=free_port(),
            street="1 rue du Marché", postal_code='38000', city="Grenoble",
            local=True, retry=1, fetch=1, language='en',
            password=secrets.token_urlsafe(9),
            users=[{
                    'login': login,
                    'name': full_name,
                    'password': self.people[login].password,
                    'groups': groups,
                    'language': 'en',
                    } for login, (full_name, groups) in people.items()])

    @property
    def head(self):
        "Who sees all the messages of the company"
        return list(self.people.values())[-1]

    @property
    def identifier(self):
        return f'0225:{self.siren}'

    def __getattr__(self, login):
        try:
            return self.__dict__['people'][login]
        except KeyError:
            raise AttributeError(login) from None

    def start(self):
        # On a slow machine a person may do nothing for longer than a session
        # lasts
        with open(self.server.instance.config_path, 'a') as file:
            file.write(f'\n[session]\ntimeout = {24 * 60 * 60}\n')
        self.server.start()
        for person in self.people.values():
            person.descriptions = self.stage.descriptions(
                self.role, person.groups)

    def unsettled(self):
        return self.head.unsettled()

    def newest_message(self):
        return self.head.newest_message()

    def identify(self, kind='participant'):
        return self.head.identify(self.identifier, kind)

    @property
    def fingerprint(self):
        return self.head.fingerprint


class Route:
    "How a buyer and the seller exchange: directly, or through the trust party"

    def __init__(self, stage, name):
        self.stage = stage
        self.name = name
        self.direct = name == 'direct'
        self.trust = None if self.direct else stage.trust

    def __repr__(self):
        return self.name

    def documents(self, person, record):
        """Return the documents exchanged for the record, with the codes of
        the answers, once it is proved that they travelled by the route:
        the person sees all the messages of the company."""
        return self.messages(person, [
                ('origin', '=', f'{record.__class__.__name__},{record.id}')])

    def messages(self, person, domain):
        "Return as documents the messages of the domain"
        messages = []

        def proved():
            messages[:] = person.read('cooperative.edi.message', domain, [
                    'kind', 'code', 'uuid', 'direction', 'trust_party',
                    'receipt', 'relay_receipt', 'submission_record',
                    'delivery_record'])
            return all(map(self._proved, messages))
        wait(proved, f"the proof that {domain} went {self}", 60)
        for message in messages:
            self._check_relay(message['uuid'])
        messages.sort(key=lambda m: m['id'])
        return [
            ' '.join(filter(None, [m['kind'], m['code']])) for m in messages]

    def _proved(self, message):
        if self.direct:
            assert not message['trust_party'], message
            assert not message['relay_receipt'], message
            return message['direction'] == 'in' or message['receipt']
        assert message['trust_party'], message
        return message['submission_record'] and message['delivery_record']

    def _check_relay(self, uuid):
        "Both have it from the trust party, or the trust party knows nothing"
        known = self.stage.trust.theo.read(
            'cooperative.edi.message', [('uuid', '=', uuid)], ['direction'])
        expected = [] if self.direct else ['in', 'out']
        assert sorted(m['direction'] for m in known) == expected, known


class Stage:
    "The companies of the scenarios, on SQLite unless a backend says other"

    settle = World.settle
    settled = World.settled
    _quiet = World._quiet

    def __init__(self, backend=instance):
        self.backend = backend
        self.temporary = tempfile.TemporaryDirectory(prefix='scenarios-')
        self.folder = Path(self.temporary.name).resolve()
        self.actors = []
        self._busy = None
        self._descriptions = {}

    @functools.cached_property
    def routes(self):
        return {n: Route(self, n) for n in ['direct', 'trust']}

    def descriptions(self, role, groups):
        key = tuple(template.MODULES[role]), tuple(groups)
        if key not in self._descriptions:
            self._descriptions[key] = Descriptions(*key)
        return self._descriptions[key]

    def add(self, *companies):
        "Make and start the companies"
        self.backend.create(
            self.folder, [c.specification for c in companies])
        for company in companies:
            company.start()
            self.actors.append(company)
        for company in companies:
            _enter(company.head)
            if company.role == 'actor':
                company.identify()
        return companies

    def open(self):
        "Have the companies meet in a community and agree on how they exchange"
        self.trust, self.community, self.seller, first, second = self.add(
            Company(
                self, 'tiers', "Le Tiers", '404833048', RELAYS, 'trust'),
            Company(
                self, 'commune', "La Commune", '356000000', MANAGERS,
                'community'),
            Company(self, 'ferme', "La Ferme", '542065479', SELLERS),
            Company(self, 'cantine', "La Cantine", '552032534', BUYERS),
            Company(self, 'epicerie', "L'Épicerie", '732829320', BUYERS))
        self.buyers = {'direct': first, 'trust': second}
        self._found()
        self._join(self.seller, first, second)
        for name, buyer in self.buyers.items():
            trust = self.routes[name].trust
            buyer.head.relate(
                self.seller.head, trust_party=trust and trust.head)
        self.settle()

    def _found(self):
        self.trust.identify('trust-party')
        self.trust.theo.open_log()
        self.community.identify('community')
        nadia = self.community.nadia
        nadia.found(
            self.community.name, CHARTER, None, Decimal('0.05'),
            self.trust.head)
        self.trust.head.add_peer(nadia)
        nadia.community.click('publish')
        self.settle()

    def _join(self, *members):
        nadia = self.community.nadia
        for member in members:
            member.head.join(nadia.url(), nadia.fingerprint)
        self.settle()
        for member in members:
            nadia.accept(member.head)
        self.settle()
        for member in members:
            member.head.synchronise()
            member.head.accept_trust_party(self.trust.head)
        self.settle()
        for member in members:
            member.head.synchronise()

    def globs(self, name):
        "Return the names that a scenario of the route may use"
        buyer = self.buyers[name]
        return {
            'stage': self, 'route': self.routes[name], 'seller': self.seller,
            'buyer': buyer, **self.seller.people, **buyer.people}

    def close(self):
        for company in self.actors:
            company.server.stop()
        for descriptions in self._descriptions.values():
            with contextlib.suppress(OSError):
                descriptions.save()
        self.temporary.cleanup()
