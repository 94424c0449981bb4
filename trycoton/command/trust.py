# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"Check the log of a trust party: its database and what it published"
import argparse
import configparser
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path

from trycoton.protocol.audit import audit
from trycoton.protocol.errors import ProtocolError
from trycoton.protocol.note import Verifier

from . import CommandError, output

DESCRIPTION = """\
Recompute a log from its bytes, and name each fault.

An instance is checked in its database: entries, nodes, head, checkpoints,
evidence and messages, and in its mirror if it has one.  With --mirror the
published files are checked, in a folder or at an address, without Tryton."""
EPILOG = """\
Exit status: 0 right, 1 damaged, 3 right but by no key that you named, 2 the
check could not be made."""
READ_BACK = """\
Bring an old backup of a trust party up to what its log signed since, with the
entries that it published.  The evidence of these entries is lost: restore a
more recent backup instead if there is one.  Nothing is signed."""
TIMEOUT = 30
LIMIT = 256 * (2 ** 16 + 1)


def add_arguments(parser):
    "Add the arguments of the command to the parser"
    commands = parser.add_subparsers(
        dest='action', metavar='ACTION', required=True)
    fsck = commands.add_parser(
        'fsck', help="recompute the log from its bytes",
        description=DESCRIPTION, epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    _add_instance(fsck, nargs='?')
    fsck.add_argument(
        '--mirror', metavar='FOLDER|URL',
        help="check the published files in a folder or at an address, as "
        "https://example.org/trust/cooperative/trust")
    fsck.add_argument(
        '--key', metavar='VKEY', action='append', default=[],
        help="the verifier key of the log (repeatable)")
    fsck.set_defaults(handle=_fsck)
    read_back = commands.add_parser(
        'read-back', help="continue an old backup with what was published",
        description=READ_BACK)
    _add_instance(read_back)
    read_back.add_argument(
        '--mirror', metavar='FOLDER|URL', required=True,
        help="where the published files are")
    read_back.set_defaults(handle=_read_back)


def _add_instance(parser, **values):
    parser.add_argument(
        'instance', metavar='INSTANCE', help="the name of the instance, or "
        "of the database with --config", **values)
    parser.add_argument(
        '--folder', metavar='FOLDER', default='.',
        help="the folder of the instances (default: the current one)")
    parser.add_argument(
        '--config', metavar='FILE',
        help="the configuration of trytond, when it is no instance of a "
        "folder")


def run(options):
    "Run the command and return its exit status"
    return options.handle(options)


def _fsck(options):
    if bool(options.instance) == bool(options.mirror):
        raise CommandError(
            "name either an instance or, with --mirror, published files")
    keys = _verifiers(options.key)
    if options.mirror:
        results = [_check_mirror(options.mirror, keys)]
    else:
        results = []
        for log in _run(options, {'action': 'fsck'}):
            log['faults'] = log['faults'] + _check_key(log, keys)
            results.append(log)
            if log['mirror']:
                results.append(_check_mirror(
                        log['mirror'], _verifiers([log['vkey']])))
    output(options, {'logs': results}, '\n'.join(
            line for result in results for line in _lines(result)))
    if any(r['faults'] for r in results):
        return 1
    return 0 if all(r['signed'] for r in results) else 3


def _verifiers(keys):
    try:
        return [Verifier.from_vkey(k.strip()) for k in keys]
    except ProtocolError as exception:
        raise CommandError(f"the key is not understood: {exception}") from None


def _check_key(log, keys):
    if keys and log['vkey'] not in {k.vkey for k in keys}:
        return [f"its verifier key {log['vkey']} is not the one you named"]
    return []


def _lines(result):
    name = f"{result['where']}: {result['log'] or 'no log'}"
    if result['size'] is not None:
        name += f", {result['size']} entries"
    for fault in result['faults']:
        yield f"{'WRONG':8}{fault}"
    if result.get('halt'):
        yield f"{'halted':8}{result['halt']}"
    if result['faults']:
        yield f"{name}: {len(result['faults'])} faults"
    elif result['signed']:
        yield f"{name}: right"
    else:
        yield f"{name}: consistent, signed by no key that you named"


def _check_mirror(mirror, keys):
    found = audit(reader(mirror), keys)
    checkpoint = found.checkpoint
    return {
        'where': mirror,
        'log': checkpoint.origin if checkpoint else None,
        'size': checkpoint.size if checkpoint else None,
        'root': checkpoint.root.hex() if checkpoint else None,
        'signed': found.signed,
        'faults': list(map(str, found.faults)),
        }


def reader(mirror):
    """Return the function that gives the bytes of a published file, or None,
    of a folder or an address.  Raise CommandError or OSError."""
    if mirror.startswith(('https://', 'http://')):
        base = mirror.rstrip('/') + '/'
        return lambda path: _get(base + path)
    folder = Path(mirror)
    if not folder.is_dir():
        raise CommandError(f"there is no folder {folder}")

    def read(path):
        try:
            return (folder / path).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
    return read


def _get(url):
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as response:
            data = response.read(LIMIT + 1)
    except urllib.error.HTTPError as exception:
        with exception:
            if exception.code == 404:
                return None
            raise CommandError(f"{url}: {exception}") from None
    except (OSError, HTTPException) as exception:
        raise CommandError(f"{url}: {exception}") from None
    return data if len(data) <= LIMIT else b''


def _read_back(options):
    result = _run(
        options, {'action': 'read_back', 'mirror': _absolute(options.mirror)})
    output(options, result,
        f"{result['log']}: {result['count']} entries read back, "
        f"{result['size']} in all")
    return 0


def _absolute(mirror):
    if mirror.startswith(('https://', 'http://')):
        return mirror
    return str(Path(mirror).absolute())


def _run(options, job):
    "Do the job on the database, in a process of its own with trytond"
    from .template import ROOT, environment
    config, name = _database(options)
    process = subprocess.run(
        [sys.executable, '-m', 'trycoton.command.log'],
        input=json.dumps({**job, 'database': name}), text=True, cwd=ROOT,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=_variables(environment(TRYTOND_CONFIG=str(config))))
    try:
        result = json.loads(process.stdout)
    except ValueError:
        raise CommandError(
            f"the database {name} could not be read: "
            + (process.stderr.strip().rpartition('\n')[-1]
                or "no reason given")) from None
    if 'error' in result:
        raise CommandError(result['error'])
    return result['result']


def _variables(env):
    # A container may say it all by its environment
    return env | {
        k: v for k, v in os.environ.items()
        if k.startswith('TRYTOND_') and k != 'TRYTOND_CONFIG'}


def _database(options):
    "Return the path of the configuration and the name of the database"
    if options.config:
        path = Path(options.config).absolute()
        parser = configparser.ConfigParser(interpolation=None)
        with open(path, encoding='utf-8') as file:
            parser.read_file(file)
        return path, options.instance
    from .instance import Instance
    instance = Instance.get(options.folder, options.instance)
    return instance.config_path, instance.name
