# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""aics-witness, a witness and a client of witnesses that others wrote, in a
virtual environment of its own"""
import os
import subprocess
import sys
import unittest
from pathlib import Path

# They ask for Python 3.12 and run on 3.10
PACKAGES = ['aics-witness==0.1.0', 'aics-tlog==0.2.1']
DEPENDENCIES = ['cryptography>=45']
SKIPPED = "aics-witness: SKIPPED, it cannot be installed"


def python():
    "Return the interpreter that has it, or skip the test loudly"
    cache = Path(
        os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache')
    folder = cache / 'trycoton' / 'aics-witness-0.1.0'
    path = folder / 'bin' / 'python'
    if not _works(path):
        try:
            _install(folder, path)
        except (OSError, subprocess.SubprocessError) as exception:
            _skip(exception)
    if not _works(path):
        _skip("it does not start")
    return str(path)


def _install(folder, path):
    def run(*arguments):
        subprocess.run(
            arguments, check=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, timeout=300)

    folder.parent.mkdir(parents=True, exist_ok=True)
    run(sys.executable, '-m', 'venv', '--clear', str(folder))
    pip = [str(path), '-m', 'pip', 'install', '-q']
    run(*pip, '--ignore-requires-python', '--no-deps', *PACKAGES)
    run(*pip, *DEPENDENCIES)


def _works(path):
    return path.exists() and not subprocess.run(
        [str(path), '-m', 'aics_witness', '--version'],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode


def _skip(reason):
    print(f"\n*** {SKIPPED}: {reason} ***", file=sys.stderr)
    raise unittest.SkipTest(SKIPPED)
