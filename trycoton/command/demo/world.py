# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"The instances of the demonstration: made, started, waited for, stopped"
import json
import secrets
import socket
from concurrent.futures import ThreadPoolExecutor

from ..client import Descriptions
from ..instance import Specification, create
from ..members import instance_name
from ..server import Server
from ..template import MODULES
from .actor import STUCK, DemoError, wait
from .member import Member
from .office import Manager, Operator

LOGIN = 'demo'
RETRY = 1
# Seconds between two rounds in which the witnesses are asked
WITNESS = 5


class World:
    "Who takes part, each with an instance in the folder"

    def __init__(
            self, folder, community, trust, members, intruder,
            web_root=None):
        self.folder = folder
        self.web_root = web_root
        self.members = []
        self.actors = []
        self._busy = None
        self._threads = {}
        self._descriptions = {}
        self._specifications = []
        self.trust = self._add('trust', trust, 'trust', Operator)
        self.manager = self._add('community', community, 'community', Manager)
        for member in members:
            self.members.append(
                self._add(None, member, 'actor', Member, member))
        self.intruder = self._add(
            None, intruder, 'actor', Member, intruder)
        self._members = {
            self.trust: trust, self.manager: community,
            self.intruder: intruder,
            **{m: m.member for m in self.members}}

    def _add(self, name, who, role, Actor, *args):
        password = secrets.token_urlsafe(9)
        name = name or instance_name(
            who, {s.name for s in self._specifications})
        self._specifications.append(Specification(
                name=name, role=role, company=who.name, port=free_port(),
                siren=who.siren,
                vat_number=who.vat_number, street=who.street,
                postal_code=who.postal_code, city=who.city,
                country=who.country, email=who.email, phone=who.phone,
                iban=who.iban, local=True, retry=RETRY, fetch=RETRY,
                witness=WITNESS, web_root=self.web_root,
                password=secrets.token_urlsafe(9),
                users=[{
                        'login': LOGIN,
                        'name': who.name,
                        'password': password,
                        'groups': Actor.groups,
                        }]))
        actor = Actor(Server(self.folder, name), LOGIN, password, *args)
        if Actor not in self._descriptions:
            self._descriptions[Actor] = Descriptions(
                MODULES[role], Actor.groups)
        actor.descriptions = self._descriptions[Actor]
        self.actors.append(actor)
        return actor

    def identifier(self, actor):
        "Return by which identifier the actor takes part"
        return self._members[actor].identifier(
            self._members[self.manager].siren)

    def create(self, progress):
        create(self.folder, self._specifications, progress)

    def save_logins(self):
        "Write who may log in where, for those who look at it afterwards"
        path = self.folder / 'logins.json'
        logins = [{
                'name': a.name,
                'company': a.company,
                'port': a.server.instance.port,
                'database': a.name,
                'login': a.login,
                'password': a.password,
                } for a in self.actors]
        path.touch(mode=0o600)
        path.write_text(
            json.dumps(logins, ensure_ascii=False, indent=2) + '\n',
            encoding='utf-8')

    def start(self):
        "Start the servers: each is waited for when it is wanted first"
        for actor in self.actors:
            actor.server.start()
        _enter(self.trust)

    def together(self, function, items, actor=lambda item: item):
        """Return the results of the function for the items, called at the
        same time for different actors.

        Each actor has a thread for life: proteus keeps the models by
        thread."""
        futures = [
            self._thread(actor(item)).submit(function, item)
            for item in items]
        return [future.result() for future in futures]

    def side_by_side(self, functions):
        "Call the function of each actor at the same time"
        self.together(lambda actor: functions[actor](), functions)

    def _thread(self, actor):
        if actor not in self._threads:
            self._threads[actor] = ThreadPoolExecutor(
                1, initializer=_enter, initargs=[actor])
        return self._threads[actor]

    def stop(self):
        for thread in self._threads.values():
            thread.shutdown(cancel_futures=True)
        # Each takes a while to end
        with ThreadPoolExecutor() as executor:
            list(executor.map(lambda a: a.server.stop(), self.actors))
        for descriptions in self._descriptions.values():
            descriptions.save()

    def settle(self, timeout=300):
        "Wait until all messages have arrived and taken effect"
        wait(self.settled, "the exchange of all messages", timeout)

    def settled(self):
        "Tell if no message is to be sent or imported any more"
        # Asked twice, as a message may have gone to one who was asked before:
        # it is new there
        quiet = self._quiet()
        return quiet is not None and quiet == self._quiet()

    def _quiet(self):
        """Return the newest message of each, None if something is under way.
        Who was busy is asked first."""
        newest = {}
        for actor in sorted(self.actors, key=lambda a: a is not self._busy):
            newest[actor] = actor.newest_message()
            for message in actor.unsettled():
                if message['state'] in STUCK:
                    raise DemoError("{}: {rec_name}: {state}: {error}".format(
                            actor.name, **message))
                self._busy = actor
                return
        return newest


def _enter(actor):
    # proteus wants a configuration in each thread, any one
    from proteus import config
    config._CONFIG.current = actor.client.config


def free_port():
    """Return a port that nobody listens on, any one: two demonstrations
    may start at once"""
    with socket.socket() as sock:
        sock.bind(('127.0.0.1', 0))
        return sock.getsockname()[1]
