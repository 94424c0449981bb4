#!/usr/bin/env python3
# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Run a program of an instance in a container.

``server`` waits for the database, makes it on the first start, brings it to
the installed version after an upgrade, and serves it.  ``worker`` and ``cron``
wait until that was done.  ``health`` tells if the program that was started
does its work.

What is secret is read from files, the rest from the environment: the settings
are in docker/README.rst.
"""
import configparser
import contextlib
import dataclasses
import datetime as dt
import http.client
import importlib
import ipaddress
import os
import signal
import sys
import time
from pathlib import Path
from urllib.parse import quote

import psycopg
from cryptography.fernet import Fernet, InvalidToken
from psycopg.sql import SQL, Literal
from sql import Null, Select, Table
from sql.functions import Function

from trycoton.command import CommandError, progress, template
from trycoton.command.instance import Specification
from trycoton.command.server import take_short_turns

PROGRAMS = {
    'server': 'trytond.cli',
    'worker': 'trytond.cli.worker',
    'cron': 'trytond.cli.cron',
    }
# Of Specification, from the environment
FIELDS = [
    'name', 'role', 'company', 'siren', 'siret', 'vat_number', 'street',
    'postal_code', 'city', 'country', 'email', 'phone', 'website', 'iban',
    'language']
# The tables with private keys
SEALED = ['cooperative_edi_key', 'cooperative_trust_log']
# How long a task or a scheduled action may be overdue
LATE = dt.timedelta(minutes=15)
CONFIGURATION_ERROR = 78


class Settings:
    "What the environment and the secret files say"

    def __init__(self, environ):
        self.environ = environ
        self.secrets = Path(self.get('secrets', '/run/secrets'))
        self.run = Path(self.get('run', '/run/trycoton'))
        self.data = Path(self.get('data', '/var/lib/trycoton'))
        host, _, port = self.get('database', 'database').partition(':')
        self.database = {'host': host, 'port': self._number(port or '5432')}
        self.wait = self._number(self.get('wait', '60'))
        self.wait_ready = self._number(self.get('wait_ready', '3600'))
        self.listen = self.get('listen', '0.0.0.0:8000')
        values = {f: self.get(f) for f in FIELDS}
        for name in ['name', 'role', 'company']:
            if not values[name]:
                raise CommandError(f"{self._variable(name)} is not set")
        self.specification = Specification(
            **{f: v for f, v in values.items() if v})
        self.specification.check()

    @property
    def name(self):
        return self.specification.name

    @property
    def modules(self):
        return template.MODULES[self.specification.role]

    @property
    def config_path(self):
        return self.run / 'trytond.conf'

    @property
    def program_path(self):
        return self.run / 'program'

    @staticmethod
    def _variable(name):
        return f'TRYCOTON_{name.upper()}'

    def get(self, name, default=None):
        "Return the value of the variable, the default if it is empty"
        return self.environ.get(self._variable(name)) or default

    def _number(self, value):
        try:
            return int(value)
        except ValueError:
            raise CommandError(f'"{value}" is not a number') from None

    def networks(self):
        "Return the private networks that may be called"
        networks = self.get('networks', '')
        for network in filter(None, map(str.strip, networks.split(','))):
            try:
                ipaddress.ip_network(network)
            except ValueError as exception:
                raise CommandError(
                    f"{self._variable('networks')}: {exception}") from None
        return networks

    def secret(self, name):
        """Return the only line of the secret file.
        Raise CommandError with the way out."""
        path = self.secrets / name
        try:
            lines = path.read_text(encoding='utf-8').splitlines()
        except (OSError, UnicodeDecodeError) as exception:
            reason = getattr(exception, 'strerror', None) or "it is no text"
            raise CommandError(
                f"the secret {path} cannot be read: {reason}") from None
        if len(lines) != 1 or not lines[0].strip():
            raise CommandError(
                f"the secret {path} must hold one line, "
                f"and it has {len(lines)}")
        return lines[0]

    def key(self):
        "Return the key that seals the private keys.  Raise CommandError."
        value = self.secret('key')
        try:
            Fernet(value)
        except ValueError:
            raise CommandError(
                f"the secret {self.secrets / 'key'} is not a Fernet key: "
                "32 bytes in the URL-safe base64") from None
        return value

    def uri(self):
        "Return the address of the database server, with the password"
        password = quote(self.secret('database'), safe='')
        return 'postgresql://{}:{}@{host}:{port}/'.format(
            self.name, password, **self.database)

    def connect(self, timeout=0):
        """Return a connection to the database, which may start meanwhile.
        Raise CommandError after timeout seconds."""
        password = self.secret('database')
        limit = time.monotonic() + timeout
        while True:
            try:
                return psycopg.connect(
                    dbname=self.name, user=self.name, password=password,
                    connect_timeout=5, autocommit=True, **self.database)
            except psycopg.OperationalError as exception:
                reason = str(exception).strip()
            if 'password authentication failed' in reason:
                raise CommandError(
                    f"the database refuses the password of {self.name}, "
                    f"which is in {self.secrets / 'database'}: {reason}")
            if time.monotonic() >= limit:
                raise CommandError(
                    f"the database {self.name} does not answer: {reason}")
            time.sleep(1)


def configure(settings):
    "Write the configuration of trytond, for this user alone"
    config = configparser.ConfigParser(interpolation=None)
    config['web'] = {
        'listen': settings.listen,
        'num_proxies': settings.get('proxies', '0'),
        'root': settings.get('web_root', ''),
        }
    config['database'] = {
        'uri': settings.uri(),
        'path': str(settings.data),
        'list': 'False',
        }
    config['queue'] = {'worker': 'True'}
    config['cooperative'] = {
        'key': settings.key(),
        'networks': settings.networks(),
        }
    if url := settings.get('url'):
        config['cooperative']['url'] = url.rstrip('/')
    with contextlib.suppress(FileNotFoundError):
        settings.config_path.unlink()
    fd = os.open(
        settings.config_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(fd, 'w', encoding='utf-8') as file:
        config.write(file)


class _AdvisoryLock(Function):
    __slots__ = ()
    _function = 'pg_advisory_lock'


class _AdvisoryUnlock(Function):
    __slots__ = ()
    _function = 'pg_advisory_unlock'


@contextlib.contextmanager
def hold(connection):
    "Have others wait who would change the same database"
    connection.execute(*Select([_AdvisoryLock(0)]))
    try:
        yield
    finally:
        connection.execute(*Select([_AdvisoryUnlock(0)]))


def first(connection, query):
    "Return the first row, None if there is none or no such table yet"
    try:
        return connection.execute(*query).fetchone()
    except psycopg.errors.UndefinedTable:
        return None


def is_installed(connection):
    "Tell if the database is the one of a company"
    company = Table('company_company')
    return bool(first(connection, company.select(company.id, limit=1)))


def version(connection):
    "Return the fingerprint of the modules that the database was brought to"
    # A comment is in every backup
    relation, description = Table('pg_class'), Table('pg_description')
    row = first(connection, relation
        .join(description, condition=relation.oid == description.objoid)
        .select(description.description,
            where=(relation.relname == 'ir_module')
            & (description.objsubid == 0)))
    return row[0] if row else None


def set_version(connection, fingerprint):
    "Have the database tell what it was brought to"
    connection.execute(SQL("COMMENT ON TABLE ir_module IS {}").format(
            Literal(fingerprint)))


def prepare(settings, connection):
    "Make the database, or bring it to the installed version, when needed"
    job = {
        'uri': settings.uri(),
        'folder': str(settings.data),
        'name': settings.name,
        'modules': settings.modules,
        }
    fingerprint = template.fingerprint(settings.modules)
    with hold(connection):
        if not is_installed(connection):
            progress(f"making the database {settings.name}, some minutes")
            settings.specification.password = settings.secret('admin')
            template.run({
                    'action': 'install',
                    'values': dataclasses.asdict(settings.specification),
                    **job})
        elif version(connection) != fingerprint:
            progress(f"bringing the database {settings.name} up to date")
            template.run({'action': 'upgrade', **job})
        else:
            return
        set_version(connection, fingerprint)
        progress(f"the database {settings.name} is ready")


def check_key(settings, connection):
    """Check that the key opens the private keys of the database.
    Raise CommandError when it does not."""
    fernet = Fernet(settings.key())
    for name in SEALED:
        table = Table(name)
        row = first(connection, table.select(
                table.sealed, where=table.sealed != Null, limit=1))
        if not row:
            continue
        try:
            fernet.decrypt(row[0])
        except InvalidToken:
            raise CommandError(
                f"the secret {settings.secrets / 'key'} does not open the "
                f"private keys of {settings.name}: "
                "put back the key that was there when they were made"
                ) from None


def wait_ready(settings, connection):
    "Wait until the server has made or upgraded the database"
    limit = time.monotonic() + settings.wait_ready
    fingerprint = template.fingerprint(settings.modules)
    while version(connection) != fingerprint:
        if time.monotonic() >= limit:
            raise CommandError(
                f"the database {settings.name} was not brought to this "
                "version: is the server of the same image?")
        time.sleep(5)


def _terminate(*_):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit(0)


def start(program, settings):
    "Run the program of trytond until it is told to stop"
    try:
        settings.program_path.unlink(missing_ok=True)
        configure(settings)
    except OSError as exception:
        raise CommandError(
            f"{settings.run} cannot be written: {exception.strerror}"
            ) from None
    with settings.connect(settings.wait) as connection:
        if program == 'server':
            prepare(settings, connection)
            check_key(settings, connection)
        else:
            wait_ready(settings, connection)
    settings.program_path.write_text(program)
    os.environ['TRYTOND_CONFIG'] = str(settings.config_path)
    sys.argv[:] = [
        f'trytond-{program}', '-v', '-c', str(settings.config_path),
        '-d', settings.name]
    if program != 'server':
        sys.argv += ['-n', '1']
    take_short_turns()
    importlib.import_module(PROGRAMS[program]).main()


def check_server(settings, connection):
    "Raise CommandError unless the server answers as it should"
    key = Table('cooperative_edi_key')
    path, expected = '/', range(500)
    if first(connection, key.select(key.id, limit=1)):
        # There is an identity to show, from the database
        path = f'/{settings.name}/cooperative/edi/descriptor'
        expected = [200]
    port = int(settings.listen.rpartition(':')[2])
    server = http.client.HTTPConnection('127.0.0.1', port, timeout=10)
    with contextlib.closing(server):
        try:
            server.request('GET', path)
            status = server.getresponse().status
        except (OSError, http.client.HTTPException) as exception:
            raise CommandError(
                f"the server does not answer: {exception}") from None
    if status not in expected:
        raise CommandError(f"the server answers {path} with {status}")


def check_worker(settings, connection):
    "Raise CommandError when tasks wait too long"
    task = Table('ir_queue')
    limit = dt.datetime.now() - LATE
    if first(connection, task.select(task.id, limit=1,
                where=(task.dequeued_at == Null)
                & (task.enqueued_at < limit)
                & ((task.scheduled_at == Null)
                    | (task.scheduled_at < limit)))):
        raise CommandError(f"tasks of {settings.name} wait since {limit}")


def check_cron(settings, connection):
    "Raise CommandError when scheduled actions are overdue"
    action = Table('ir_cron')
    limit = dt.datetime.now() - LATE
    if first(connection, action.select(action.id, limit=1,
                where=action.active & (action.next_call < limit))):
        raise CommandError(
            f"scheduled actions of {settings.name} are due since {limit}")


CHECKS = {
    'server': check_server,
    'worker': check_worker,
    'cron': check_cron,
    }


def health(settings):
    "Raise CommandError unless the started program does its work"
    try:
        program = settings.program_path.read_text()
    except FileNotFoundError:
        raise CommandError("the database is not ready yet") from None
    with settings.connect() as connection:
        CHECKS[program](settings, connection)


def main():
    signal.signal(signal.SIGTERM, _terminate)
    command = sys.argv[1] if len(sys.argv) == 2 else None
    if command not in {*PROGRAMS, 'health'}:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        settings = Settings(os.environ)
        if command == 'health':
            health(settings)
        else:
            start(command, settings)
    except CommandError as exception:
        print(f"trycoton {command}: {exception}", file=sys.stderr)
        return 1 if command == 'health' else CONFIGURATION_ERROR


if __name__ == '__main__':
    sys.exit(main())
