# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""How long an order takes to become a sale, by the trust party.

``python -m tests.performance.deal [WAITING]`` confirms orders one by one
while the buyer, the trust party and the seller are idle, then starts them
with that many orders in the outbox, as after a night without network."""
import contextlib
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cryptography.fernet import Fernet

from trycoton.command import instance, template
from trycoton.command.client import Client
from trycoton.command.demo.world import free_port
from trycoton.command.server import Server

from . import postgresql
from .reception import cpu
from .trade import NAMES, PASSWORD

ORDERS = 11
WAITING = 100
LIMIT = 1200
PAUSE = 2


class SQLite:
    "Databases copied from the templates, in one folder"
    title = "SQLite"
    uri = 'sqlite://'

    def __init__(self, folder):
        self.folder = folder

    def create(self, name, role):
        shutil.copyfile(
            template.get(template.MODULES[role]),
            self.folder / f'{name}.sqlite')

    @contextlib.contextmanager
    def connect(self, name):
        import sqlite3
        connection = sqlite3.connect(self.folder / f'{name}.sqlite')
        yield connection
        connection.close()


class PostgreSQL:
    "Databases installed once for each role, then copied"
    title = "PostgreSQL"

    def __init__(self, folder, uri):
        self.folder = folder
        self.uri = uri
        self._templates = set()

    def create(self, name, role):
        source = f'template_{role}'
        if role not in self._templates:
            postgresql.execute(self.uri, f'CREATE DATABASE {source}')
            postgresql.install(self.uri, self.folder, source, role)
            self._templates.add(role)
        postgresql.execute(
            self.uri, f'CREATE DATABASE {name} TEMPLATE {source}')

    @contextlib.contextmanager
    def connect(self, name):
        import psycopg
        with psycopg.connect(self.uri + name, autocommit=True) as connection:
            yield connection


class Trade:
    "A buyer, a seller and a trust party, each with its server"

    def __init__(self, backend, orders, waiting):
        self.backend = backend
        self.folder = backend.folder
        self.servers = {}
        key = Fernet.generate_key().decode()
        for name, (role, _, _) in NAMES.items():
            backend.create(name, role)
            self._configure(name, role, key)
            self.servers[name] = Server(self.folder, name)
        process = subprocess.run([
                sys.executable, '-m', 'tests.performance.trade',
                str(orders), str(waiting)],
            input=json.dumps({
                    n: s.instance.cooperative_url
                    for n, s in self.servers.items()}),
            env=template.environment(
                TRYTOND_CONFIG=str(
                    self.servers['buyer'].instance.config_path),
                TRYTOND_COOPERATIVE__COURIER='False'),
            stdout=subprocess.PIPE, text=True, check=True)
        self.orders = json.loads(process.stdout)

    def _configure(self, name, role, key):
        made = instance.Instance(self.folder, name)
        made.path.mkdir(parents=True)
        instance._write_config(made, instance.Specification(
                name=name, role=role, company=name, port=free_port(),
                local=True))
        config = made.config
        config['database'].update(
            uri=self.backend.uri, path=str(self.folder))
        config['cooperative']['key'] = key
        with open(made.config_path, 'w', encoding='utf-8') as file:
            config.write(file)

    def start(self):
        for server in self.servers.values():
            server.start()
        for server in self.servers.values():
            server.wait_ready()
        client = Client(self.servers['buyer'].instance, 'admin', PASSWORD)
        self.purchases = client.model('purchase.purchase')

    def stop(self):
        for server in self.servers.values():
            server.stop()

    @property
    def cpu(self):
        "The seconds of CPU of each server"
        return {name: cpu(s.pid) for name, s in self.servers.items()}

    def sales(self, connection):
        count, = connection.execute(
            "SELECT count(*) FROM sale_sale WHERE reference IS NOT NULL"
            ).fetchone()
        return count

    def wait(self, connection, count, limit=LIMIT):
        end = time.monotonic() + limit
        while self.sales(connection) < count:
            if time.monotonic() > end:
                raise AssertionError(
                    f"{self.sales(connection)} of {count} sales")
            time.sleep(0.01)

    def settle(self, limit=LIMIT):
        "Wait until the answers have taken effect as well"
        end = time.monotonic() + limit
        while any(map(self._unsettled, self.servers)):
            if time.monotonic() > end:
                raise AssertionError("the answers do not arrive")
            time.sleep(PAUSE)

    def _unsettled(self, name):
        with self.backend.connect(name) as connection:
            count, = connection.execute(
                "SELECT count(*) FROM cooperative_edi_message "
                "WHERE state IN ('checking', 'waiting', 'received')"
                ).fetchone()
        return count

    def confirm(self):
        """Confirm the orders one after the other; return the seconds until
        each is a sale"""
        seconds = []
        while self.orders:
            seconds.append(self.deliver(1))
            self.settle()
            # All idle again
            time.sleep(PAUSE)
        return seconds

    def deliver(self, count):
        """Confirm an order; return the seconds until it is a sale, and all
        that is in the outbox with it: as many as count in all"""
        purchase = self.purchases(self.orders.pop())
        with self.backend.connect('seller') as connection:
            before = self.sales(connection)
            started = time.monotonic()
            purchase.click('confirm')
            self.wait(connection, before + count)
            return time.monotonic() - started


def measure(backend, waiting):
    trade = Trade(backend, ORDERS + 1, waiting - 1)
    try:
        trade.start()
        before = trade.cpu
        seconds = trade.deliver(waiting)
        used = ', '.join(
            f"{name} {value - before[name]:.1f} s"
            for name, value in trade.cpu.items())
        print(f"{waiting} orders of an outbox delivered and imported, "
            f"{backend.title}: {seconds:.0f} s (CPU: {used})", flush=True)
        trade.settle()
        seconds = trade.confirm()
        print(f"an order until it is a sale, {backend.title}: "
            f"median {statistics.median(seconds):.2f} s, "
            f"most {max(seconds):.2f} s", flush=True)
    finally:
        trade.stop()


def main(waiting=WAITING):
    with tempfile.TemporaryDirectory(prefix='bench-') as folder:
        measure(SQLite(Path(folder)), waiting)
    with postgresql.server() as uri, \
            tempfile.TemporaryDirectory(prefix='bench-') as folder:
        if uri:
            measure(PostgreSQL(Path(folder), uri), waiting)


if __name__ == '__main__':
    main(*map(int, sys.argv[1:]))
