# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Run the compose file as a whole and trade an order through it.

It takes some ten minutes, so only with the environment variable
TRYCOTON_STACK, as ``make soak`` sets it.  Podman stands in for Docker, and
what Debian has for the images of PostgreSQL and nginx: the rest is what
compose.yaml says."""
import contextlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import types
import unittest
from decimal import Decimal
from pathlib import Path
from urllib.request import urlopen

from trycoton.command.demo.actor import wait
from trycoton.command.demo.member import Member
from trycoton.command.demo.office import Manager, Operator
from trycoton.command.demo.world import LOGIN, _enter

from ..partner.stage import product
from ..test_docker import DOCKER, free_port, skip
from . import test_image
from .test_image import BASE, IMAGE, Unavailable, build, make_base, podman

SERVICES = 'localhost/trycoton-test-services'
SUBNET = '10.197.73.0/24'
GATEWAY = '10.197.73.1'
TIMEOUT = 40 * 60
ROLES = {
    'trust': (Operator, '404833048', 'trust-party'),
    'community': (Manager, '732829320', 'community'),
    'garden': (Member, '542065479', 'participant'),
    'workshop': (Member, '552032534', 'participant'),
    }
PROGRAMS = ['', '-worker', '-cron']


class Stack:
    "The services of the compose file, in a folder of their own"

    def __init__(self):
        self.temporary = tempfile.TemporaryDirectory(prefix='stack-')
        self.folder = Path(self.temporary.name) / 'docker'
        self.port = free_port()
        # What another run left is not ours
        self.name = f'trycoton-test-{self.port}'
        shutil.copytree(
            DOCKER, self.folder, ignore=shutil.ignore_patterns(
                'secrets', '.env'))
        self._adapt()
        configuration = Path(self.temporary.name) / 'containers.conf'
        configuration.write_text(
            '[containers]\n'
            'default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]\n'
            '[network]\nnetwork_backend = "netavark"\n'
            + ('[engine]\nruntime = "runc"\n' if shutil.which('runc')
                else ''))
        self.environment = dict(
            os.environ, CONTAINERS_CONF=str(configuration),
            TRYCOTON_SUBNET=SUBNET,
            TRYCOTON_PUBLISH=f'127.0.0.1:{self.port}')
        subprocess.run(
            [self.folder / 'secrets.sh'], check=True,
            stdout=subprocess.DEVNULL,
            env=dict(os.environ, TRYCOTON_FOLDER=str(self.folder)))

    def _adapt(self):
        "Name our images, and the resolver of Podman"
        import yaml
        path = self.folder / 'compose.yaml'
        compose = yaml.safe_load(path.read_text())
        for service in compose['services'].values():
            service.pop('build', None)
            if service['image'] == 'trycoton':
                service['image'] = IMAGE
            else:
                service['image'] = SERVICES
        compose['services']['proxy'].update(
            user='33:33', entrypoint=[])
        path.write_text(yaml.safe_dump(compose, sort_keys=False))
        path = self.folder / 'nginx.conf'
        text = path.read_text()
        assert '127.0.0.11' in text
        path.write_text(text.replace('127.0.0.11', GATEWAY))

    def compose(self, *args, check=True):
        process = subprocess.run(
            [
                sys.executable, '-m', 'podman_compose', '--no-ansi',
                '--podman-run-args=--read-only-tmpfs=false',
                '-p', self.name, '-f', str(self.folder / 'compose.yaml'),
                *args],
            cwd=self.folder, env=self.environment, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, timeout=TIMEOUT)
        if check and process.returncode:
            raise AssertionError(process.stdout[-3000:])
        return process.stdout

    def podman(self, *args, check=True):
        process = subprocess.run(
            ['podman', *args], env=self.environment, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, timeout=TIMEOUT)
        if check and process.returncode:
            raise AssertionError(process.stdout[-3000:])
        return process

    def container(self, service):
        return f'{self.name}_{service}_1'

    def healthy(self, service):
        "Run the health check of the service, as Docker would by itself"
        return not self.podman(
            'healthcheck', 'run', self.container(service), check=False
            ).returncode

    def wait_healthy(self, *services):
        limit = time.monotonic() + TIMEOUT
        waiting = list(services)
        while waiting := [s for s in waiting if not self.healthy(s)]:
            for service in waiting:
                if time.monotonic() > limit or self.state(
                        service)['Status'] != 'running':
                    raise AssertionError(
                        f"{service}: {self.logs(service)}")
            time.sleep(2)

    def state(self, service):
        return json.loads(self.podman(
                'inspect', '--format', '{{json .State}}',
                self.container(service)).stdout.splitlines()[-1])

    def logs(self, service):
        return self.podman(
            'logs', self.container(service), check=False).stdout[-3000:]

    def start(self):
        """Start the services in the order that they depend on each other:
        Podman waits for no health check"""
        self.compose('up', '-d', 'postgres')
        self.wait_healthy('postgres')
        self.compose('up', '-d', '--no-deps', 'databases')
        limit = time.monotonic() + 120
        while self.state('databases')['Status'] == 'running':
            if time.monotonic() > limit:
                break
            time.sleep(1)
        if self.state('databases')['ExitCode']:
            raise AssertionError(self.logs('databases'))
        self.compose('up', '-d', '--no-deps', 'proxy', *ROLES)
        self.wait_healthy('proxy', *ROLES)
        others = [n + p for n in ROLES for p in PROGRAMS[1:]]
        self.compose('up', '-d', '--no-deps', *others)
        self.wait_healthy(*others)

    def stop(self):
        self.compose('down', '-v', '-t', '5', check=False)
        self.temporary.cleanup()

    def actor(self, name):
        "Return a person of the instance, made by the administrator"
        Actor, _, _ = ROLES[name]
        instance = types.SimpleNamespace(
            name=name, company=name,
            rpc_url=f'http://127.0.0.1:{self.port}/{name}/rpc/',
            cooperative_url=f'http://proxy/{name}/cooperative')
        server = types.SimpleNamespace(
            name=name, instance=instance, wait_ready=lambda: None)
        password = (
            self.folder / 'secrets' / f'{name}_admin').read_text().strip()
        arguments = [types.SimpleNamespace(roles={'offerer', 'buyer'})]
        if Actor is not Member:
            arguments.clear()
        admin = Actor(server, 'admin', password, *arguments)
        _enter(admin)
        User = admin.model('res.user')
        Group = admin.model('res.group')
        user = User(name=name, login=LOGIN)
        user.password = password
        for group in Actor.groups:
            user.groups.append(Group(admin.client.call(
                        'ir.model.data', 'get_id', *group.split('.'))))
        own, = User.find([('login', '=', 'admin')])
        for company in own.companies:
            user.companies.append(type(company)(company.id))
        user.company = type(own.company)(own.company.id)
        user.save()
        return Actor(server, LOGIN, password, *arguments)


@unittest.skipUnless(
    os.environ.get('TRYCOTON_STACK'), "the whole stack runs in make soak")
class StackTestCase(unittest.TestCase):
    "Test the services of compose.yaml together"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        test_image.END = time.monotonic() + TIMEOUT
        try:
            for program in ['podman', 'catatonit']:
                if not shutil.which(program):
                    raise Unavailable(f"{program} is absent")
            if not importlib.util.find_spec('podman_compose'):
                raise Unavailable("podman-compose is absent")
            make_base()
            build()
            podman(
                'build', *test_image.LIMITS, '--network', 'host',
                '--build-arg', f'BASE={BASE}', '-t', SERVICES,
                '-f', Path(__file__).with_name('services.dockerfile'),
                Path(__file__).parent)
        except Unavailable as exception:
            skip(f"THE STACK IS NOT TESTED: {exception}")
        cls.stack = Stack()
        cls.addClassCleanup(cls.stack.stop)
        cls.stack.start()

    def services(self):
        return [n + p for n in ROLES for p in PROGRAMS]

    def test_order(self):
        "The members join, and an order goes through the trust party"
        actors = {n: self.stack.actor(n) for n in ROLES}
        trust, manager, seller, buyer = map(actors.get, ROLES)
        for name, (_, siren, kind) in ROLES.items():
            actors[name].identify(f'0225:{siren}', kind)
        trust.open_log()
        manager.found(
            "La Commune", "Chacun tient ses comptes.", None, Decimal('0.05'),
            trust)
        trust.add_peer(manager)
        manager.community.click('publish')
        for actor in [seller, buyer]:
            actor.join(manager.url(), manager.fingerprint)
            wait(lambda: manager.find('cooperative.community.membership', [
                        ('identifier', '=', actor.identifier)]),
                "the application")
            manager.accept(actor)
        for actor, other in [(seller, buyer), (buyer, seller)]:
            wait(lambda: actor.find('cooperative.edi.peer', [
                        ('identifier', '=', other.identifier)])
                or actor.synchronise(), "the directory")
            actor.accept_trust_party(trust)
            wait(lambda: actor.membership.state == 'active', "the admission")
        honey = product('MIEL', "Miel", '8.50', '5.5')
        seller.offer({seller.make_product(honey): honey})
        manager.approve_offers(wait(manager.offers, "the offer"))

        def offered():
            buyer.fetch_offers()
            return buyer.find('cooperative.offer.item', [
                    ('code', '=', 'MIEL')])
        item, = wait(offered, "the offer in the catalogue")
        relation = buyer.relate(seller, manager, trust)
        wait(lambda: relation.reload() or relation.state == 'agreed',
            "the relation")
        purchase = buyer.order(relation, {item: Decimal(3)})
        sale, = wait(lambda: seller.find('sale.sale', [
                    ('reference', '=', purchase.number)]), "the sale")
        sale.click('confirm')
        wait(lambda: purchase.reload() or purchase.edi_state == 'accepted',
            "the answer")
        message, = buyer.messages(
            ('origin', '=', f'purchase.purchase,{purchase.id}'),
            ('direction', '=', 'out'), ('kind', '=', 'order'))
        wait(lambda: message.reload() or message.delivery_record,
            "the proof of the delivery")

        self.assertEqual(
            [s for s in self.services() if not self.stack.healthy(s)], [])
        url = f'http://127.0.0.1:{self.stack.port}/trust/cooperative/trust/'
        with contextlib.closing(urlopen(f'{url}checkpoint')) as answer:
            self.assertGreater(int(answer.read().split(b'\n')[1]), 3)

    def test_unprivileged(self):
        "No process of a container is root, nor sees a secret of another"
        for service in ['postgres', 'proxy', *self.services()]:
            with self.subTest(service=service):
                users = self.stack.podman(
                    'top', self.stack.container(service), 'huser'
                    ).stdout.split()
                self.assertNotIn('root', users)
                found = self.stack.podman(
                    'exec', self.stack.container(service), 'ls',
                    '/run/secrets', check=False)
                if service in ROLES:
                    self.assertEqual(
                        set(found.stdout.split()),
                        {'admin', 'database', 'key'})
                environment = self.stack.podman(
                    'exec', self.stack.container(service), 'env').stdout
                for path in (self.stack.folder / 'secrets').iterdir():
                    self.assertNotIn(path.read_text().strip(), environment)

    def test_closed(self):
        "The databases cannot be reached but by the instances"
        refused = self.stack.podman(
            'exec', self.stack.container('proxy'), 'curl', '-s', '-m', '3',
            'postgres:5432', check=False)
        self.assertNotEqual(refused.returncode, 0)
        self.assertNotEqual(refused.returncode, 52)
        with self.assertRaises(AssertionError):
            self.stack.podman(
                'exec', self.stack.container('trust'), 'touch', '/opt/x')
