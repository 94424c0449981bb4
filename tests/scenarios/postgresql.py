# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"Instances on a PostgreSQL server of our own, copied from databases made once"
import configparser
import dataclasses
import os
import subprocess

from trycoton.command import template
from trycoton.command.instance import Instance, _write_config

from .. import postgresql


class Backend:
    "Make instances as trycoton.command.instance does, on the server"

    def __init__(self, server):
        self.server = server
        self.templates = {}

    def create(self, folder, specifications):
        for specification in specifications:
            specification.check()
            instance = Instance(folder, specification.name)
            instance.path.mkdir(parents=True)
            _write_config(instance, specification)
            self._set_uri(instance)
            self.make(
                instance.path, specification.name, specification.role,
                dataclasses.asdict(specification))

    def make(self, folder, name, role, values):
        """Make the database of that name and role.
        folder is the one of its files; values are those of personalise."""
        source = self.template(folder, role)
        self._execute(f'CREATE DATABASE "{name}" TEMPLATE "{source}"')
        template.run({
                'action': 'adopt',
                'uri': self.server.uri,
                'folder': str(folder),
                'name': name,
                'values': values,
                })

    def _set_uri(self, instance):
        config = configparser.ConfigParser(interpolation=None)
        config.read(instance.config_path, encoding='utf-8')
        config['database']['uri'] = self.server.uri
        with open(instance.config_path, 'w', encoding='utf-8') as file:
            config.write(file)

    def template(self, folder, role):
        """Return the name of the database to copy, made as the containers
        make theirs; what was made is kept as those on SQLite are"""
        modules = tuple(template.MODULES[role])
        if modules not in self.templates:
            name = self.templates[modules] = f'template_{role}'
            path = template.cache() / f'{template.key(modules)}.dump'
            path.parent.mkdir(parents=True, exist_ok=True)
            self._execute(f'CREATE DATABASE "{name}"')
            with template._lock(f'{path}.lock'):
                if path.exists():
                    self._run('pg_restore', '-d', name, path)
                else:
                    self._install(folder, name, modules)
                    self._keep(name, path)
        return self.templates[modules]

    def _install(self, folder, name, modules):
        template.run({
                'action': 'install',
                'uri': self.server.uri,
                'folder': str(folder),
                'name': name,
                'modules': modules,
                'values': {'company': "Template", 'password': 'template'},
                })

    def _keep(self, name, path):
        part = path.with_suffix(f'.{os.getpid()}')
        self._run('pg_dump', '-Fc', '-f', part, name)
        os.replace(part, path)

    def _run(self, program, *arguments):
        subprocess.run(
            [
                self.server.programs / program, '-h', '127.0.0.1',
                '-p', str(self.server.port), '-U', self.server.user,
                *arguments],
            check=True)

    def _execute(self, query):
        import psycopg
        with psycopg.connect(
                self.server.uri + 'postgres', autocommit=True) as connection:
            connection.execute(query)


def open_backend():
    "Return the backend on a server that is started, or skip the tests"
    return Backend(postgresql.start())
