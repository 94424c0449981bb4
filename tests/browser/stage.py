# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Copies of the instances of a demonstration, to look at.

The environment variable TRYCOTON_DEMO names a folder that
``trycoton demo --keep`` left behind; without it the demonstration is played
with tables that are not its own, as anybody may."""
import configparser
import contextlib
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

from trycoton.command.instance import Instance
from trycoton.command.server import Server
from trycoton.command.template import ROOT

DATA = Path(__file__).parent / 'data'
TIMEOUT = 10 * 60


class StageError(Exception):
    "The demonstration could not be played"


def demonstration(folder):
    """Return the folder of a demonstration, played in folder when none is
    given.  Raise StageError."""
    if kept := os.environ.get('TRYCOTON_DEMO'):
        return Path(kept).resolve()
    demo = Path(folder) / 'demo'
    process = subprocess.run(
        [
            sys.executable, '-m', 'trycoton', 'demo', '--keep', str(demo),
            '--members', str(DATA / 'members.csv'),
            '--offers', str(DATA / 'offers.csv')],
        cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, timeout=TIMEOUT)
    if process.returncode:
        raise StageError(process.stdout[-4000:])
    return demo


class Stage:
    "Instances in the folder, copied from the demonstration"

    def __init__(self, folder, demo, web_root=None):
        self.folder = Path(folder)
        self.demo = Path(demo)
        self.web_root = web_root
        logins = json.loads((self.demo / 'logins.json').read_text())
        self.logins = {l['name']: l for l in logins}

    def actor(self, role):
        "Return the name of the instance of the role"
        return next(n for n in self.logins
            if Instance(self.demo, n).role == role)

    def record(self, table, column):
        """Return the name of the first instance that has a record of the
        table with a value in the column, and the id of this record"""
        name, (id_,) = self._first(
            f'SELECT id FROM "{table}" '
            f'WHERE "{column}" IS NOT NULL ORDER BY id')
        return name, id_

    def origin(self, model, kind):
        """Return the name of the first instance with a message of the kind
        for a record of the model, and the id of this record"""
        name, (origin,) = self._first(
            'SELECT origin FROM cooperative_edi_message '
            'WHERE kind = ? AND origin LIKE ? ORDER BY id',
            kind, f'{model},%')
        return name, int(origin.split(',')[1])

    def _first(self, query, *values):
        "Return the name of the first actor with a row, and the row"
        for name in self.logins:
            instance = Instance(self.demo, name)
            if instance.role != 'actor':
                continue
            database = sqlite3.connect(
                f'file:{instance.database_path}?mode=ro', uri=True)
            with contextlib.closing(database):
                row = database.execute(query, values).fetchone()
            if row:
                return name, row
        raise StageError(f"nothing for {query} {values} in {self.demo}")

    @contextlib.contextmanager
    def serve(self, name, language='fr'):
        """Serve a copy of the instance, which sends nothing to the others
        and speaks the language, and yield it"""
        instance = Instance(self.folder, name)
        if not instance.path.exists():
            self._copy(Instance(self.demo, name), instance)
            _speak(instance, language)
        with Server(self.folder, name) as server:
            server.wait_ready()
            yield instance

    def _copy(self, source, target):
        shutil.copytree(
            source.path, target.path,
            ignore=shutil.ignore_patterns('pid', '*.log'))
        config = configparser.ConfigParser(interpolation=None)
        config.read(target.config_path, encoding='utf-8')
        config['database']['path'] = str(target.path)
        config['database']['list'] = 'True'
        config['cooperative']['courier'] = 'False'
        config['web']['listen'] = f'127.0.0.1:{_free_port()}'
        if self.web_root:
            config['web']['root'] = str(self.web_root)
        with open(target.config_path, 'w', encoding='utf-8') as file:
            config.write(file)


def _speak(instance, language):
    database = sqlite3.connect(instance.database_path)
    with contextlib.closing(database), database:
        database.execute(
            'UPDATE "res_user" SET "language" = '
            '(SELECT "id" FROM "ir_lang" WHERE "code" = ?)', [language])


def _free_port():
    with socket.socket() as socket_:
        socket_.bind(('127.0.0.1', 0))
        return socket_.getsockname()[1]
