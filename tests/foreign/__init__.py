# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Verifiers that nobody here wrote: sumdb of Go, aics-tlog, tlog-scales"""
import os
import shutil
import subprocess
import sys
import unittest
from pathlib import Path

HERE = Path(__file__).parent
GO_PATH = Path('/usr/share/gocode')
GO_PACKAGE = GO_PATH / 'src' / 'golang.org' / 'x' / 'mod' / 'sumdb' / 'tlog'
TIMEOUT = 300


def skip(reason):
    "Skip the tests, and say so aloud"
    print(f"\n*** {reason} ***", file=sys.stderr)
    raise unittest.SkipTest(reason)


def build_go(folder):
    """Return the path of the verifier in Go, built in the folder.
    Raise SkipTest where Go or golang.org/x/mod is absent."""
    go = shutil.which('go')
    if not go or not GO_PACKAGE.exists():
        skip("THE VERIFIERS OF GO ARE NOT TRIED: apt install golang-go "
            "golang-golang-x-mod-dev")
    program = Path(folder, 'verify')
    process = subprocess.run(
        [go, 'build', '-o', program, HERE / 'verify.go'], cwd=folder,
        env={
            **os.environ, 'GO111MODULE': 'off', 'GOPATH': str(GO_PATH),
            'GOCACHE': str(Path(folder, 'cache')), 'GOFLAGS': '',
            'CGO_ENABLED': '0'},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        timeout=TIMEOUT)
    if process.returncode:
        raise AssertionError(process.stdout)
    return program


def build_python(folder):
    """Return the Python of a virtual environment, made in the folder, with
    the verifiers of PyPI.  Raise SkipTest where they cannot be had."""
    python = Path(folder, 'venv', 'bin', 'python')
    pip = [python, '-m', 'pip', 'install', '--quiet',
        '--disable-pip-version-check', '--ignore-requires-python']
    for command in [
            [sys.executable, '-m', 'venv', Path(folder, 'venv')],
            [*pip, 'tlog-scales'],
            # It asks for the next version of Python, and runs on this one
            [*pip, '--no-deps', 'aics-tlog']]:
        try:
            process = subprocess.run(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                text=True, timeout=TIMEOUT)
            found = not process.returncode
        except subprocess.TimeoutExpired:
            found = False
        if not found:
            skip("THE VERIFIERS OF PYPI ARE NOT TRIED: aics-tlog AND "
                "tlog-scales CANNOT BE INSTALLED")
    return python


def run(*command):
    "Return if the verifier accepts, and what it says"
    process = subprocess.run(
        list(map(str, command)), stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, timeout=TIMEOUT)
    return process.returncode == 0, process.stdout
