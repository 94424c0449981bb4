# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""A PostgreSQL server of our own, as durable as one in production"""
import contextlib
import importlib.util
import secrets
import shutil
import tempfile
from pathlib import Path

from tests.postgresql import Postgres, find_programs
from trycoton.command import template


@contextlib.contextmanager
def server():
    "Yield the address of a server, None where there are no programs"
    with running() as postgres:
        yield postgres.uri if postgres else None


@contextlib.contextmanager
def running():
    "Yield a server, None where there are no programs"
    programs = find_programs()
    if not programs or not importlib.util.find_spec('psycopg'):
        yield
        return
    postgres = Postgres(programs, fsync='on')
    postgres.start()
    try:
        yield postgres
    finally:
        postgres.stop()


def databases(name):
    """Yield for SQLite, and for PostgreSQL where it is there, its title, the
    address and the folder of the database of that name of an actor"""
    with tempfile.TemporaryDirectory(prefix='bench-') as path:
        shutil.copyfile(
            template.get(template.MODULES['actor']),
            Path(path, f'{name}.sqlite'))
        yield "SQLite", 'sqlite://', path
    with server() as uri, tempfile.TemporaryDirectory(
            prefix='bench-') as path:
        if uri:
            execute(uri, f'CREATE DATABASE {name}')
            install(uri, path, name, 'actor')
            yield "PostgreSQL", uri, path


def execute(uri, query):
    "Execute the query outside any transaction"
    import psycopg
    with psycopg.connect(uri + 'postgres', autocommit=True) as connection:
        connection.execute(query)


def install(uri, folder, name, role):
    "Make the empty database the one of a company"
    template.run({
            'action': 'install',
            'uri': uri,
            'folder': str(folder),
            'name': name,
            'modules': template.MODULES[role],
            'values': {'company': name, 'password': secrets.token_urlsafe()},
            })
