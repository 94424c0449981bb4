# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The trytond processes of an instance."""
import contextlib
import http.client
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from . import CommandError
from .template import ROOT, environment

PROGRAMS = {
    'server': 'trytond.cli',
    'cron': 'trytond.cli.cron',
    }
START_TIMEOUT = 120
STOP_TIMEOUT = 10
# How long after its start a server does what waited
PAUSE = 5
# How long, in seconds, a thread computes while another one could go on
SWITCH = 0.0005


class Server:
    """The trytond of one instance.

    With cron a second process runs the scheduled actions.  The processes end
    with the one that started them, even when that one is killed."""

    # What runs the programs
    module = 'trycoton.command.server'

    def __init__(self, folder, name, cron=False):
        from .instance import Instance
        self.instance = Instance(folder, name)
        self.cron = cron
        self.processes = {}

    @property
    def name(self):
        return self.instance.name

    @property
    def pid(self):
        "The number of the process that answers, None when it does not run"
        process = self.processes.get('server')
        if process and process.poll() is None:
            return process.pid

    def start(self):
        """Start the processes and return at once.
        Raise CommandError when the instance already runs."""
        if pid := self.instance.pid:
            raise CommandError(
                f"the instance {self.name} already runs as process {pid}")
        for program in PROGRAMS:
            if program == 'server' or self.cron:
                self.processes[program] = self._start(program)
        self.instance.pid_path.write_text(f'{self.pid}\n')
        return self

    def _start(self, program):
        log = self.instance.path / (
            'trytond.log' if program == 'server' else f'{program}.log')
        with open(log, 'ab') as file:
            return subprocess.Popen(
                [
                    sys.executable, '-m', self.module, program,
                    '-v', '-c', str(self.instance.config_path),
                    '-d', self.name],
                stdin=subprocess.PIPE, stdout=file, stderr=file,
                env=environment(TRYTOND_CONFIG=str(self.instance.config_path)),
                cwd=ROOT,
                # A key pressed at the terminal is for the parent
                start_new_session=True)

    def wait_ready(self, timeout=START_TIMEOUT):
        """Wait until the instance answers, at most timeout seconds.
        Raise CommandError when it ends or does not answer."""
        limit = time.monotonic() + timeout
        while not self._answers():
            if self.pid is None:
                raise CommandError(
                    f"the instance {self.name} stopped while starting: "
                    f"see {self.instance.path / 'trytond.log'}")
            if time.monotonic() > limit:
                raise CommandError(
                    f"the instance {self.name} does not answer "
                    f"after {timeout} seconds: "
                    f"see {self.instance.path / 'trytond.log'}")
            time.sleep(0.05)
        return self

    def _answers(self):
        connection = http.client.HTTPConnection(
            '127.0.0.1', self.instance.port, timeout=5)
        with contextlib.closing(connection):
            try:
                connection.request('HEAD', '/')
                connection.getresponse()
            except (OSError, http.client.HTTPException):
                return False
        # Another program may answer there
        return self.pid is not None

    def memory(self):
        """Return the resident memory of the processes, in bytes,
        0 when none runs or the system does not tell."""
        return sum(
            memory(p.pid) for p in self.processes.values()
            if p.poll() is None)

    def poll(self):
        "Return the name of a program that has ended by itself, or None"
        for program, process in self.processes.items():
            if process.poll() is not None:
                return program

    def stop(self, timeout=STOP_TIMEOUT):
        "Stop the processes, by force after timeout seconds"
        for process in self.processes.values():
            if process.poll() is None:
                process.terminate()
        for process in self.processes.values():
            try:
                process.wait(timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdin.close()
        self.processes.clear()
        self.instance.pid_path.unlink(missing_ok=True)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()


def memory(pid):
    """Return the resident memory of the process in bytes,
    0 when the system does not tell."""
    try:
        status = Path(f'/proc/{pid}/status').read_text()
    except OSError:
        return 0
    for line in status.splitlines():
        if line.startswith('VmRSS:'):
            return int(line.split()[1]) * 1024
    return 0


def _end_with_parent():
    # The pipe ends when the process that holds its other side does
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _terminate(*_):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit(0)


def take_short_turns():
    """Have a thread that computes let the others go on soon: each has the
    answers of the database to wait for, several for a row that it writes"""
    sys.setswitchinterval(SWITCH)


def wake_couriers():
    """Have what waited in a database when its server stopped be sent and
    imported some seconds after its models are loaded: nothing else may happen
    there for long, without a cron."""
    from trytond.pool import Pool
    from trytond.transaction import Transaction
    init = Pool.init

    def wake(database, Message):
        with Transaction().start(database, 0, readonly=True):
            Message.wake()

    def init_and_wake(self, *args, **kwargs):
        init(self, *args, **kwargs)
        models = dict(self.iterobject())
        if Message := models.get('cooperative.edi.message'):
            # Who caused it logs in first: on SQLite one at a time writes
            timer = threading.Timer(
                PAUSE, wake, [self.database_name, Message])
            timer.daemon = True
            timer.start()
    Pool.init = init_and_wake


def main():
    "Run a program of trytond that stops cleanly when it is told to"
    import importlib
    program = sys.argv.pop(1)
    signal.signal(signal.SIGTERM, _terminate)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    take_short_turns()
    from trycoton.command.sqlite import keep_connections
    keep_connections()
    if program == 'server':
        wake_couriers()
    importlib.import_module(PROGRAMS[program]).main()


if __name__ == '__main__':
    main()
