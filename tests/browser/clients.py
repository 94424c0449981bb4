# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The two clients of Tryton, installed from their registries into
``$TRYCOTON_CACHE/clients``, once, outside the repository.

``python -m tests.browser.clients`` installs them and prints their folders.
"""
import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

from trycoton.command.template import cache

# The clients speak only with servers of their own series
SERIES = '8.0'
PLAYWRIGHT = '1'
TIMEOUT = 10 * 60
CHROMIUM = ['chromium', 'chromium-browser', 'google-chrome']
PROGRAMS = ['Xvfb', 'openbox', 'xdotool', 'import', 'dbus-run-session']
_GTK = """\
import gi
gi.require_version('Gtk', '3.0')
gi.require_foreign('cairo')
from gi.repository import Gtk
"""


class Absent(Exception):
    "Something that a client needs is not on this machine"


def web():
    """Return the folder of the web client, to be served, and the one that
    has playwright-core for node.  Raise Absent."""
    _need('node', 'npm', 'tar')
    chromium()

    def install(folder):
        _run('npm', 'pack', '--silent', f'tryton-sao@{SERIES}', cwd=folder)
        archive, = folder.glob('tryton-sao-*.tgz')
        _run('tar', '-xzf', archive.name, cwd=folder)
        archive.unlink()
        options = ['--ignore-scripts', '--no-audit', '--no-fund']
        _run(
            'npm', 'install', '--omit=dev', '--legacy-peer-deps', *options,
            cwd=folder / 'package')
        driver = folder / 'driver'
        driver.mkdir()
        _run(
            'npm', 'install', f'playwright-core@{PLAYWRIGHT}',
            '--prefix', '.', *options, cwd=driver)
    folder = _installed(f'web-{SERIES}-{PLAYWRIGHT}', install)
    return folder / 'package', folder / 'driver'


def chromium():
    "Return the path of Chromium.  Raise Absent."
    for name in CHROMIUM:
        if path := shutil.which(name):
            return path
    raise Absent(f"none of the programs {', '.join(CHROMIUM)}")


def desktop():
    """Return the path of the Python that has the desktop client.
    Raise Absent."""
    _need(*PROGRAMS)
    python = _gtk_python()

    def install(folder):
        _run(
            python, '-m', 'venv', '--system-site-packages', '.', cwd=folder)
        _run(
            'bin/python', '-m', 'pip', 'install', '--quiet',
            '--disable-pip-version-check', f'tryton == {SERIES}.*',
            cwd=folder)
    return _installed(f'desktop-{SERIES}', install) / 'bin' / 'python'


def _gtk_python():
    # GTK comes with the Python of the system and not with a virtual one
    for python in ['/usr/bin/python3', shutil.which('python3')]:
        if python and Path(python).exists() and not subprocess.run(
                [python, '-c', _GTK], capture_output=True).returncode:
            return python
    raise Absent("no Python with GTK 3 (python3-gi, gir1.2-gtk-3.0)")


def _need(*programs):
    absent = [p for p in programs if not shutil.which(p)]
    if absent:
        raise Absent(f"no program {', '.join(absent)}")


def _run(*command, cwd):
    try:
        process = subprocess.run(
            command, cwd=cwd, stdin=subprocess.DEVNULL, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        raise Absent(f"{' '.join(command)} takes too long") from None
    if process.returncode:
        lines = process.stdout.strip().splitlines()[-3:]
        raise Absent(f"{' '.join(command)} failed: {' '.join(lines)}")


def _installed(name, install):
    "Return the folder of the cache, filled by install when it is new"
    base = cache() / 'clients'
    base.mkdir(parents=True, exist_ok=True)
    folder, done = base / name, base / f'{name}.done'
    with open(base / f'{name}.lock', 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            # A virtual environment cannot be moved: the mark comes last
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(folder)
            folder.mkdir()
            install(folder)
            done.touch()
    return folder


def main():
    for client in [web, desktop]:
        try:
            print(client.__name__, client())
        except Absent as exception:
            print(client.__name__, "cannot be installed:", exception)
            return 1
    return 0


if __name__ == '__main__':
    os.umask(0o022)
    sys.exit(main())
