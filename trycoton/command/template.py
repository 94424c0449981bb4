# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Databases made once per set of modules, to be copied.

A Tryton database takes half a minute to build and milliseconds to copy.
The copies are kept in ``$TRYCOTON_CACHE``, by default
``~/.cache/trycoton``, under a name that changes with the modules, with their
versions and files, and with the year, whose accounting periods they hold.
"""
import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from . import CommandError

STANDARD = [
    'account_fr', 'account_invoice', 'account_invoice_stock',
    'account_payment', 'account_payment_clearing', 'account_payment_sepa',
    'account_statement', 'bank', 'edocument_unece', 'party_siret',
    'purchase', 'purchase_amendment', 'sale', 'sale_amendment', 'stock']
MEMBER = [
    *STANDARD, 'cooperative_community', 'cooperative_edi',
    'cooperative_offer']
MODULES = {
    'actor': MEMBER,
    'community': MEMBER,
    'trust': ['cooperative_edi', 'cooperative_trust'],
    }
NAME = 'template'
ROOT = Path(__file__).resolve().parents[2]
KEEP_DAYS = 30
_SUFFIXES = {
    '.cfg', '.csv', '.fodt', '.mjml', '.odt', '.po', '.py', '.svg', '.xml'}


def cache():
    "Return the folder of the templates"
    if folder := os.environ.get('TRYCOTON_CACHE'):
        return Path(folder)
    base = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    return Path(base) / 'trycoton'


def _versions(modules):
    # With the modules that they depend on, but not each distribution of
    # the machine
    names, todo = {}, ['trytond', 'trycoton'] + [
        f'trytond-{m}' for m in modules]
    while todo:
        name = todo.pop()
        if name in names:
            continue
        try:
            names[name] = version(name)
        except PackageNotFoundError:
            continue
        for requirement in requires(name) or []:
            required = re.match(r'[\w.-]+', requirement).group()
            required = required.lower().replace('_', '-')
            if required.startswith('trytond-'):
                todo.append(required)
    return names


def _digest(folder):
    digest = hashlib.sha256()
    for path in sorted(Path(folder).rglob('*')):
        relative = path.relative_to(folder)
        if (path.suffix in _SUFFIXES
                and not {'tests', 'doc'} & set(relative.parts)
                and path.is_file()):
            data = path.read_bytes()
            digest.update(f'{relative}\0{len(data)}\0'.encode())
            digest.update(data)
    return digest.hexdigest()


def _folder(module):
    spec = importlib.util.find_spec(module)
    if not spec or not spec.origin:
        raise CommandError(f"the module {module} is not installed")
    return Path(spec.origin).parent


def fingerprint(modules, **parts):
    """Return what tells one version of the modules from another.
    Raise CommandError when one of TryCoTon's is not installed."""
    parts |= {
        'modules': sorted(modules),
        'versions': _versions(modules),
        'files': {m: _digest(_folder(m)) for m in sorted(modules)
            if m.startswith('cooperative_')},
        }
    return hashlib.sha256(
        json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def key(modules):
    """Return the name of the template of the modules, in hexadecimal.
    Raise CommandError when one of TryCoTon's is not installed."""
    here = Path(__file__).parent
    return fingerprint(modules,
        setup=[
            hashlib.sha256(path.read_bytes()).hexdigest()
            for path in [
                here / 'database.py', here / 'data' / 'countries.csv']],
        year=time.localtime().tm_year)


@contextlib.contextmanager
def _lock(path):
    with open(path, 'w') as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _prune(folder):
    limit = time.time() - KEEP_DAYS * 24 * 60 * 60
    for path in [*folder.glob('*.sqlite'), *folder.glob('*.json')]:
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_mtime < limit:
                path.unlink()


def get(modules, progress=None):
    """Return the path of the template of the modules, made when needed:
    progress is then called with a text.
    Raise CommandError when it cannot be made."""
    folder = cache()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f'{key(modules)}.sqlite'
    if not path.exists():
        with _lock(path.with_suffix('.lock')):
            # Another process may have made it meanwhile
            if not path.exists():
                _build(path, sorted(modules), progress)
        _prune(folder)
    os.utime(path)
    return path


def _build(path, modules, progress):
    standard = [m for m in modules if not m.startswith('cooperative_')]
    with tempfile.TemporaryDirectory(
            prefix='build-', dir=path.parent) as build:
        built = Path(build) / f'{NAME}.sqlite'
        if standard and standard != modules:
            # They change less often than ours
            shutil.copyfile(get(standard, progress), built)
        if progress:
            progress(
                "making a template database, once: "
                + ', '.join(m for m in modules
                    if not built.exists() or m not in standard))
        run({
                'action': 'build',
                'path': str(built),
                'modules': modules,
                })
        os.replace(built, path)


def environment(**variables):
    "Return the environment of a trytond that reads no other configuration"
    env = {
        k: v for k, v in os.environ.items()
        if not k.startswith('TRYTON') and k != 'DB_NAME'}
    env.update(variables)
    # This very package, wherever the process starts
    env['PYTHONPATH'] = os.pathsep.join(
        filter(None, [str(ROOT), env.get('PYTHONPATH')]))
    return env


def run(job):
    """Do the job on a database in a process of its own, with trytond,
    and return its result.  Raise CommandError with the reason it gives."""
    # Building makes many records, with an assertion for each field
    optimise = ['-O'] if job['action'] in {'build', 'install'} else []
    process = subprocess.run(
        [sys.executable, *optimise, '-m', 'trycoton.command.database'],
        input=json.dumps(job), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, env=environment(),
        cwd=ROOT)
    try:
        result = json.loads(process.stdout)
    except ValueError:
        raise CommandError(
            "the database could not be made: "
            + (process.stderr.strip() or "no reason given")) from None
    if 'error' in result:
        raise CommandError(result['error'])
    return result['result']
