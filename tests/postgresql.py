# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"A PostgreSQL server for the time of some tests"
import glob
import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path


def find_programs():
    "Return the folder of the programs of PostgreSQL, or None"
    folders = sorted(glob.glob('/usr/lib/postgresql/*/bin'), reverse=True)
    if path := shutil.which('initdb'):
        folders.append(os.path.dirname(path))
    for folder in folders:
        if all(Path(folder, p).exists() for p in ['initdb', 'postgres']):
            return Path(folder)


class Postgres:
    "A server on a loopback port, with its data in a folder that goes away"

    def __init__(self, programs, fsync='off'):
        self.programs = programs
        self.fsync = fsync
        self.folder = Path(tempfile.mkdtemp(prefix='postgresql-'))
        self.user = 'tryton'
        with socket.socket() as sock:
            sock.bind(('127.0.0.1', 0))
            self.port = sock.getsockname()[1]
        self.account = {}
        if os.geteuid() == 0:
            # The server refuses to run as root
            try:
                account = pwd.getpwnam('postgres')
            except KeyError:
                account = pwd.getpwnam('nobody')
            os.chown(self.folder, account.pw_uid, account.pw_gid)
            self.account = {
                'user': account.pw_uid, 'group': account.pw_gid,
                'extra_groups': []}

    @property
    def uri(self):
        return f'postgresql://{self.user}@127.0.0.1:{self.port}/'

    def start(self):
        data = self.folder / 'data'
        options = dict(cwd=self.folder, **self.account)
        subprocess.run([
                self.programs / 'initdb', '-D', data, '-U', self.user,
                '-A', 'trust', '-E', 'UTF8', '--no-sync', '--locale', 'C'],
            check=True, stdout=subprocess.DEVNULL, **options)
        self._serve(data, options)

    def restart(self):
        "Start the server again, with nothing in its memory"
        self.process.terminate()
        self.process.wait()
        self._serve(
            self.folder / 'data', dict(cwd=self.folder, **self.account))

    def _serve(self, data, options):
        with open(self.folder / 'log', 'ab') as log:
            self.process = subprocess.Popen([
                    self.programs / 'postgres', '-D', data,
                    '-p', str(self.port), '-c', 'listen_addresses=127.0.0.1',
                    '-c', f'unix_socket_directories={self.folder}',
                    '-c', f'fsync={self.fsync}',
                    '-c', f'full_page_writes={self.fsync}'],
                stdout=log, stderr=log, **options)
        limit = time.monotonic() + 30
        while True:
            with socket.socket() as sock:
                if not sock.connect_ex(('127.0.0.1', self.port)):
                    return
            if time.monotonic() > limit or self.process.poll() is not None:
                raise AssertionError((self.folder / 'log').read_text())
            time.sleep(0.1)

    def stop(self):
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def start():
    """Return a server that is started.
    Skip the tests, and say so aloud, where it cannot be."""
    programs = find_programs()
    for missing, found in [
            ("ITS PROGRAMS", programs),
            ("PSYCOPG", importlib.util.find_spec('psycopg'))]:
        if not found:
            reason = f"POSTGRESQL IS NOT TESTED: {missing} ARE ABSENT"
            print(f"\n*** {reason} ***", file=sys.stderr)
            raise unittest.SkipTest(reason)
    server = Postgres(programs)
    server.start()
    return server
