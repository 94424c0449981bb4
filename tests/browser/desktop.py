# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The desktop client under a virtual screen, as a person uses it."""
import contextlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path

SIZE = 1280, 860
TIMEOUT = 60
_CONFIG = """\
[client]
check_version = False
lang = fr
[login]
profile = {name}
[menu]
pane = 240
"""


class DesktopError(Exception):
    "The desktop client did not do what was asked"


class Desktop:
    """The desktop client at the record of the running instance, on a screen
    of its own; folder keeps what the client writes.

    Raise DesktopError when something is not found in time."""

    def __init__(self, python, folder, instance, login, path):
        self._stack = contextlib.ExitStack()
        self._seen = Path(folder) / 'seen.json'
        self._pid = Path(folder) / 'seen.json.pid'
        self._log = self._stack.enter_context(
            open(Path(folder) / 'client.log', 'ab'))
        with contextlib.ExitStack() as stack:
            stack.callback(self.close)
            self._environment = {
                **os.environ,
                'DISPLAY': self._screen(),
                'HOME': str(folder),
                'XDG_CONFIG_HOME': str(Path(folder) / 'config'),
                'LANGUAGE': 'fr',
                'GDK_BACKEND': 'x11',
                'GTK_THEME': 'Adwaita',
                'NO_AT_BRIDGE': '1',
                }
            config = Path(folder) / 'tryton.conf'
            config.write_text(_CONFIG.format(name=instance.name))
            self._start('openbox')
            self._client = self._start(
                'dbus-run-session', '--', str(python),
                str(Path(__file__).with_name('client.py')),
                str(self._seen), '-c', str(config), '-u', login,
                f'tryton://127.0.0.1:{instance.port}/{instance.name}/{path}')
            stack.pop_all()

    def _start(self, *command):
        process = subprocess.Popen(
            command, env=self._environment, stdin=subprocess.DEVNULL,
            stdout=self._log, stderr=self._log, start_new_session=True)
        self._stack.callback(_end, process)
        return process

    def _screen(self):
        reader, writer = os.pipe()
        with open(reader) as file:
            process = subprocess.Popen(
                ['Xvfb', '-displayfd', str(writer), '-nolisten', 'tcp',
                    '-screen', '0', '{}x{}x24'.format(*SIZE)],
                pass_fds=[writer], stdin=subprocess.DEVNULL,
                stdout=self._log, stderr=self._log, start_new_session=True)
            self._stack.callback(_end, process)
            os.close(writer)
            number = file.readline().strip()
        if not number:
            raise DesktopError("the virtual screen did not start")
        return f':{number}'

    def _run(self, *command):
        process = subprocess.run(
            command, env=self._environment, capture_output=True, text=True)
        if process.returncode:
            raise DesktopError(f"{command}: {process.stderr.strip()}")
        return process.stdout

    def windows(self):
        "Return the titles of the windows"
        output = self._run(
            'xdotool', 'search', '--onlyvisible', '--name', '.+',
            'getwindowname', '%@')
        return output.splitlines()

    def login(self, password):
        "Answer the question for the password"
        self.click(self.find('*', 'Entry'))
        # Which may begin with a dash
        self._run('xdotool', 'type', '--delay', '30', '--', password)
        self._run('xdotool', 'key', 'Return')

    def look(self):
        "Return the texts that are visible, once they do not change any more"
        before, limit = None, time.monotonic() + TIMEOUT
        while time.monotonic() < limit:
            texts = [i['text'] for i in self._look()]
            if texts and texts == before:
                return texts
            before = texts
            time.sleep(1)
        raise DesktopError("the screen does not come to rest")

    def find(self, text, kind=None):
        "Wait until the text is there and return its place"
        limit = time.monotonic() + TIMEOUT
        while time.monotonic() < limit:
            for item in self._look():
                if item['text'] == text and kind in {None, item['kind']}:
                    return item
            if self._client.poll() is not None:
                raise DesktopError("the client ended")
            time.sleep(0.5)
        raise DesktopError(f"{text} is not on the screen")

    def _look(self):
        if not self._pid.exists():
            return []
        self._seen.unlink(missing_ok=True)
        os.kill(int(self._pid.read_text()), signal.SIGUSR1)
        limit = time.monotonic() + 5
        while time.monotonic() < limit:
            if self._seen.exists():
                return json.loads(self._seen.read_text())
            time.sleep(0.1)
        # It does something else
        return []

    def click(self, item):
        self._run(
            'xdotool', 'mousemove',
            str(item['x'] + item['width'] // 2),
            str(item['y'] + item['height'] // 2), 'click', '1')
        time.sleep(0.5)

    def screenshot(self, path):
        # The mouse away from what it would light up
        self._run('xdotool', 'mousemove', *map(str, SIZE))
        time.sleep(0.5)
        self._run(
            'import', '-window', 'root', '-strip',
            '-define', 'png:compression-level=9',
            '+dither', '-colors', '256', f'png8:{path}')

    def close(self):
        self._stack.close()


def _end(process):
    if process.poll() is None:
        # With what it has started itself
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
