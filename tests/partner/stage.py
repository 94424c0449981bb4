# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"Instances of Tryton and a foreign partner, each in its own process or thread"
import secrets
import tempfile
from decimal import Decimal
from functools import partial
from pathlib import Path
from types import SimpleNamespace

from trycoton.command.demo.actor import wait as _wait
from trycoton.command.demo.member import Member
from trycoton.command.demo.office import Manager, Operator
from trycoton.command.demo.world import LOGIN, _enter, free_port
from trycoton.command.instance import Specification, create
from trycoton.command.server import Server

from .foreign import Partner, Trader, web

# The machine may be busy with other tests
wait = partial(_wait, timeout=240)
ROLES = {'actor': Member, 'community': Manager, 'trust': Operator}


class Stage:
    """Instances in a folder of their own, by name: (role, company, SIREN)

    config are options of their section cooperative.
    """

    def __init__(self, config=None, **instances):
        self.temporary = tempfile.TemporaryDirectory(prefix='partner-')
        self.folder = Path(self.temporary.name).resolve()
        self.actors = {}
        specifications = []
        for name, (role, company, siren) in instances.items():
            password = secrets.token_urlsafe(9)
            Actor = ROLES[role]
            specifications.append(Specification(
                    name=name, role=role, company=company, siren=siren,
                    vat_number=vat_number(siren), port=free_port(),
                    street="1 rue du Marché", postal_code='38000',
                    city="Grenoble", local=True, retry=1, fetch=1,
                    password=secrets.token_urlsafe(9),
                    users=[{
                            'login': LOGIN,
                            'name': company,
                            'password': password,
                            'groups': Actor.groups,
                            }]))
            arguments = [SimpleNamespace(roles={'offerer', 'buyer'})]
            self.actors[name] = Actor(
                Server(self.folder, name), LOGIN, password,
                *(arguments if role == 'actor' else []))
        for instance in create(self.folder, specifications):
            parser = instance.config
            parser['cooperative'].update(config or {})
            with open(instance.config_path, 'w') as file:
                parser.write(file)
        for actor in self.actors.values():
            actor.server.start()
        for actor in self.actors.values():
            _enter(actor)

    def __getattr__(self, name):
        return self.__dict__['actors'][name]

    def close(self):
        for actor in self.actors.values():
            actor.server.stop()
        self.temporary.cleanup()


class Foreigner:
    """The foreign partner at work, with the names by which the actors of the
    demonstration know each other"""

    def __init__(self, folder, siren, name, catalogue=None):
        self.identifier = f'0225:{siren}'
        self.trader = Trader(catalogue)
        self.server = web.Server()
        self.partner = Partner(
            Path(folder, f'{siren}.sqlite'), {
                'identifier': self.identifier, 'name': name, 'siren': siren,
                'vat': vat_number(siren), 'street': "2 place Verte",
                'postal_code': '69001', 'city': "Lyon", 'country': 'FR',
                }, self.server.endpoint)
        self.trader.serve(self.partner)
        self.server.start(self.partner)

    def url(self):
        return self.server.endpoint

    @property
    def fingerprint(self):
        return self.partner.fingerprint

    def wait(self, condition, what):
        "Work until the condition is true"
        def works():
            self.partner.work()
            return condition()
        return wait(works, what)

    def deal(self, number):
        return self.trader.deal(number)

    def wait_state(self, number, state):
        self.wait(lambda: self.deal(number)['state'] == state,
            f"the order {number} {state}")

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def vat_number(siren):
    return f'FR{(12 + 3 * (int(siren) % 97)) % 97:02}{siren}'


def product(code, name, price, vat, **values):
    return SimpleNamespace(**{
            'kind': 'good', 'code': code, 'name': name, 'unit': 'C62',
            'vat': Decimal(vat), 'price': Decimal(price),
            'description': None, 'quantity': Decimal(100),
            'min_quantity': None, 'delivery': None,
            **values})


def line(id_, code, name, quantity, price, rate):
    return {
        'id': id_, 'code': code, 'name': name, 'quantity': quantity,
        'unit': 'C62', 'price': price, 'rate': rate}


__all__ = ['Foreigner', 'Stage', 'line', 'product', 'wait']
