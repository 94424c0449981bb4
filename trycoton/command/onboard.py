# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Enter the members of a CSV file: an instance for each, its identity and
keys, and its application to the community."""
import contextlib
import dataclasses
import fcntl
import ipaddress
import json
import os
import secrets
import shutil
import sys
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

from trycoton.protocol import identifier as identifiers
from trycoton.protocol import signature
from trycoton.protocol.descriptor import Descriptor
from trycoton.protocol.errors import ProtocolError

from . import CommandError, members, output, progress, table
from .client import opened
from .instance import Instance, Specification, create

STATE = 'onboard.json'
SECRETS = 'onboard-secrets.json'
MAX_DESCRIPTOR = 1024 * 1024
WORKERS = 2
TIMEOUT = 60
# Of an entry: what is kept apart from the state
PRIVATE = ['login', 'password', 'admin_password', 'recovery_key']
DESCRIPTION = """\
Set up the members of a CSV file on this machine: each gets an instance of its
own, with its identity and keys, and applies to the community.

Nothing is made unless the whole table is right.  Run the command again after
an interruption: it goes on with what is missing."""
EPILOG = f"""\
Columns, in English or French and in any order: name, kind, roles (offerer,
buyer), siren, vat_number, street, postal_code, city, country, email, phone,
iban.  Only name and roles are required.

FOLDER/{SECRETS} holds the first passwords and the recovery keys:
print them, give to each member its own, and delete the file."""


def add_arguments(parser):
    "Add the arguments of the command to the parser"
    import argparse
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        'members', metavar='MEMBERS.csv', help="the table of the members")
    parser.add_argument(
        '--community', metavar='URL', required=True,
        help="the address that the community gave, for example "
        "https://example.org/community/cooperative")
    parser.add_argument(
        '--folder', default='.', metavar='DIR',
        help="the folder of the instances (default: the current one)")
    parser.add_argument(
        '--fingerprint', metavar='TEXT',
        help="the fingerprint that the community gave on paper or by voice "
        "(default: it is shown, to be compared)")
    parser.add_argument(
        '--yes', action='store_true',
        help="the members have accepted the charter: do not ask; the "
        "fingerprint is still compared")
    parser.add_argument(
        '--url', metavar='URL',
        help="the public address of the instances, with {name} for the name "
        "of each (default: the local one)")
    parser.add_argument(
        '--first-number', type=int, default=1, metavar='N',
        help="of the members without a SIREN, known to the community by its "
        "own SIREN and a number: hosts of the same community must not use "
        "the same (default: %(default)s)")
    parser.add_argument(
        '--dry-run', action='store_true',
        help="check everything and tell what would be done")


def run(options):
    "Set the members up and return the exit status: 1 when some are missing"
    people = members.read(options.members)
    community = Community.fetch(options.community)
    people = list(_numbered(options, people, community))
    folder = Path(options.folder).resolve()
    if options.dry_run:
        if options.fingerprint:
            community.compare(options.fingerprint)
        book = Book(folder)
        entries = [book.get(p) or book.plan(p, community) for p in people]
        _tell(options, community, entries, [
                'planned' if not community.done(e) else 'skipped'
                for e in entries])
        return 0
    community.confirm(options.fingerprint, options.yes)
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        book = Book(folder)
        _create(options, book, people, community)
        entries = [book.get(p) for p in people]
        results = _apply(book, people, entries, community)
    _tell(options, community, entries, results, book.secrets_path)
    return int(any(isinstance(r, CommandError) for r in results))


def _numbered(options, people, community):
    faults = []
    for member in people:
        if not member.siren and not community.siren:
            faults.append(table.Fault(
                    member.line, member.name, "the member has no SIREN, and "
                    "the community none under which to number it"))
        yield dataclasses.replace(
            member, number=member.number + options.first_number - 1)
    if faults:
        raise table.TableError(options.members, faults)


@contextlib.contextmanager
def _alone(folder):
    with open(folder / '.onboard.lock', 'w') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CommandError(
                f"members are already being entered in {folder}") from None
        yield


class _NoRedirection(urllib.request.HTTPRedirectHandler):

    def redirect_request(self, *_):
        return None


class Community:
    "What the community says of itself, signed by its own key"

    def __init__(self, url, descriptor):
        self.url = url
        self.descriptor = descriptor

    @classmethod
    def fetch(cls, url):
        "Return the community at the address; raise CommandError"
        url = url.rstrip('/')
        parts = urlsplit(url)
        if parts.scheme not in {'http', 'https'} or not parts.hostname:
            raise CommandError(
                f'the address "{url}" of the community must begin with '
                'https://')
        opener = urllib.request.build_opener(_NoRedirection)
        try:
            with opener.open(
                    f'{url}/community/descriptor', timeout=30) as response:
                data = response.read(MAX_DESCRIPTOR)
                jws = response.headers.get(signature.SIGNATURE_HEADER, '')
        except urllib.error.HTTPError as exception:
            raise CommandError(
                f"there is no community at {url}: the answer is "
                f"{exception.code} {exception.reason}") from None
        except (OSError, ValueError) as exception:
            reason = getattr(exception, 'reason', exception)
            raise CommandError(
                f"the community at {url} does not answer: {reason}"
                ) from None
        try:
            descriptor = Descriptor.open(data, jws)
        except ProtocolError as exception:
            raise CommandError(
                f"what answers at {url} is no community: {exception}"
                ) from None
        if (descriptor.kind != 'community' or not descriptor.charter
                or descriptor.charter.text is None):
            raise CommandError(
                f"{descriptor.name} at {url} is no community with a charter")
        return cls(url, descriptor)

    @property
    def identifier(self):
        return self.descriptor.identifier

    @property
    def siren(self):
        return identifiers.siren(self.identifier)

    @property
    def local(self):
        "Tell if the community is a trial on this machine"
        host = urlsplit(self.url).hostname
        with contextlib.suppress(ValueError):
            return ipaddress.ip_address(host).is_loopback
        return host == 'localhost'

    def done(self, entry):
        return self.identifier in entry['applied']

    def compare(self, fingerprint):
        "Raise CommandError if this is not the fingerprint given"
        if table.fold(fingerprint) != table.fold(self.descriptor.fingerprint):
            raise CommandError(
                f'the fingerprint of {self.descriptor.name} is not '
                f'"{fingerprint}": do not join before you know why')

    def confirm(self, fingerprint, accepted):
        """Have the person compare the fingerprint, unless it was given, and
        accept the charter.  Raise CommandError when this is not done."""
        descriptor = self.descriptor
        charter = descriptor.charter
        if fingerprint:
            self.compare(fingerprint)
        else:
            progress(f"{descriptor.name} ({descriptor.identifier})\n"
                f"Fingerprint: {descriptor.fingerprint}")
            if not _ask(
                    "Is it the one that the community gave on paper or by "
                    "voice?", "--fingerprint"):
                raise CommandError(
                    "the fingerprint was not confirmed: nothing was done")
        if accepted:
            return
        progress(f"\nCharter, version {charter.version} of {charter.date}:\n"
            f"{charter.text}\n")
        if descriptor.fee:
            progress(f"Fee: {descriptor.fee['amount']} "
                f"{descriptor.fee['currency']}")
        if descriptor.commission:
            progress(f"Commission: {float(descriptor.commission):.2%}")
        if not _ask("Have all the members accepted this?", "--yes"):
            raise CommandError(
                "the charter was not accepted: nothing was done")


def _ask(question, option):
    if not sys.stdin.isatty():
        raise CommandError(
            f"without a terminal this cannot be asked, give {option}: "
            f"{question}")
    print(f"{question} [y/N] ", end='', file=sys.stderr, flush=True)
    answer = table.fold(sys.stdin.readline())
    return answer in {'y', 'yes', 'o', 'oui'}


class Book:
    """What was done for each member, in a file of the folder, and its
    passwords and recovery key, in another that only its owner can read

    An entry is a dictionary: name, instance, identifier, applied (the
    identifiers of communities), state (creating, created or identified) and,
    as long as that other file is there, PRIVATE.
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        self.state_path = self.folder / STATE
        self.secrets_path = self.folder / SECRETS
        self._lock = threading.Lock()
        self.entries = {e['name']: e for e in _load(self.state_path)}
        for secret in _load(self.secrets_path):
            if entry := self.entries.get(secret['name']):
                entry.update((k, secret.get(k)) for k in PRIVATE)

    def get(self, member):
        for name, entry in self.entries.items():
            if table.fold(name) == table.fold(member.name):
                return entry

    def instance(self, entry):
        return Instance(self.folder, entry['instance'])

    def plan(self, member, community):
        "Return a new entry for the member"
        names = {e['instance'] for e in self.entries.values()}
        names |= {
            p.name for p in (self.folder / 'instances').glob('*')}
        known = {e['identifier'] for e in self.entries.values()}
        identifier = member.identifier(community.siren)
        while identifier in known and not member.siren:
            member = dataclasses.replace(member, number=member.number + 1)
            identifier = member.identifier(community.siren)
        name = members.instance_name(member, names)
        entry = self.entries[member.name] = {
            'name': member.name,
            'instance': name,
            'identifier': identifier,
            'applied': [],
            'state': 'creating',
            'login': member.email or name,
            'password': secrets.token_urlsafe(9),
            'admin_password': secrets.token_urlsafe(12),
            'recovery_key': None,
            }
        return entry

    def save(self):
        with self._lock:
            entries = list(self.entries.values())
            _store(self.state_path, [
                    {k: v for k, v in e.items() if k not in PRIVATE}
                    for e in entries])
            private = [
                {k: e[k] for k in ['name', 'instance', 'identifier', *PRIVATE]}
                for e in entries if e.get('password')]
            if private:
                _store(self.secrets_path, private)


def _load(path):
    try:
        text = path.read_text(encoding='utf-8')
    except FileNotFoundError:
        return []
    try:
        return json.loads(text)['members']
    except (ValueError, KeyError, TypeError):
        raise CommandError(f"the file {path} was damaged") from None


def _store(path, entries):
    "Replace the file at once, readable by its owner only"
    new = path.with_name(f'.{path.name}.new')
    new.unlink(missing_ok=True)
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(fd, 'w', encoding='utf-8') as file:
        json.dump({'members': entries}, file, ensure_ascii=False, indent=2)
        file.write('\n')
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, path)


def _create(options, book, people, community):
    "Create the instances that are missing, all or none"
    missing = []
    for member in people:
        entry = book.get(member)
        if entry and book.instance(entry).path.exists():
            if entry['state'] != 'creating':
                continue
            _clear(book.instance(entry), entry)
        if entry:
            del book.entries[entry['name']]
        missing.append((member, book.plan(member, community)))
    if not missing:
        return
    # The passwords must be known before they are used
    book.save()
    progress(f"the instances of {len(missing)} members are made")
    try:
        create(
            book.folder,
            [_specification(options, m, e, community) for m, e in missing],
            progress)
    except BaseException:
        for _, entry in missing:
            del book.entries[entry['name']]
        book.save()
        raise
    for _, entry in missing:
        entry['state'] = 'created'
    book.save()


def _clear(instance, entry):
    "Remove what an interrupted run left of the instance"
    with contextlib.suppress(OSError, KeyError):
        if instance.pid or instance.company != ' '.join(
                entry['name'].split()):
            raise CommandError(
                f"{instance.path} is in the way of {entry['name']}")
    shutil.rmtree(instance.path)


def _specification(options, member, entry, community):
    from .demo.actor import MEMBER_GROUPS
    url = None
    if options.url:
        url = options.url.replace('{name}', entry['instance'])
    return Specification(
        name=entry['instance'], role='actor', company=member.name,
        siren=member.siren, vat_number=member.vat_number,
        street=member.street, postal_code=member.postal_code,
        city=member.city, country=member.country, email=member.email,
        phone=member.phone, iban=member.iban, url=url,
        local=community.local, password=entry['admin_password'],
        users=[{
                'login': entry['login'],
                'name': member.name,
                'password': entry['password'],
                'groups': MEMBER_GROUPS,
                }])


def _apply(book, people, entries, community):
    """Have each member apply; return for each 'applied', 'skipped' or the
    CommandError that was in the way"""
    count = len(entries)

    def apply(number, member, entry):
        try:
            result = _apply_one(book, member, entry, community)
            text = {
                'applied': "applied",
                'skipped': "had already applied",
                }[result]
        except CommandError as exception:
            result = exception
            text = f"failed: {exception}"
        progress(f"{number}/{count}  {member.name}: {text}")
        return result

    with ThreadPoolExecutor(WORKERS) as executor:
        try:
            return list(executor.map(
                    apply, range(1, count + 1), people, entries))
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            raise


def _apply_one(book, member, entry, community):
    if community.done(entry):
        return 'skipped'
    if not entry.get('password'):
        raise CommandError(
            f"the password of {member.name} is no longer in "
            f"{book.secrets_path}: apply in its own Tryton")
    instance = book.instance(entry)
    with opened(instance, entry['login'], entry['password']) as client:
        _identify(book, client, entry)
        known = client.find(
            'cooperative.community.membership',
            ('community.peer.identifier', '=', community.identifier))
        if not known:
            _join(client, member, community)
        _wait_sent(client, community, again=bool(known))
    entry['applied'].append(community.identifier)
    book.save()
    return 'skipped' if known else 'applied'


def _identify(book, client, entry):
    "Make the identity and the keys, and keep the recovery key"
    if entry['state'] == 'identified':
        return
    # Of a run interrupted before the key was written down
    for identity in client.find('cooperative.edi.identity'):
        identity.delete()
    Identity = client.model('cooperative.edi.identity')
    identity = Identity(identifier=entry['identifier'], kind='participant')
    identity.save()
    wizard = client.wizard('cooperative.edi.identity.generate', [identity])
    entry['recovery_key'] = wizard.form.recovery
    entry['state'] = 'identified'
    book.save()
    wizard.execute('end')


def _join(client, member, community):
    descriptor = community.descriptor
    wizard = client.wizard('cooperative.community.join')
    wizard.form.url = community.url
    wizard.execute('compare')
    if wizard.form.fingerprint != descriptor.fingerprint:
        raise CommandError(
            "the fingerprint of the community is no longer the one that was "
            "confirmed")
    wizard.form.compared = True
    wizard.execute('roles')
    if wizard.form.charter_version != descriptor.charter.version or (
            wizard.form.charter != descriptor.charter.text):
        raise CommandError("the charter of the community has changed")
    wizard.form.offerer = 'offerer' in member.roles
    wizard.form.buyer = 'buyer' in member.roles
    wizard.form.accepted = True
    wizard.execute('apply')


def _wait_sent(client, community, again=False):
    "Wait until the community has the application; raise CommandError"
    def message():
        return client.find(
            'cooperative.edi.message', ('kind', '=', 'application'),
            ('direction', '=', 'out'),
            ('peer.identifier', '=', community.identifier),
            order=[('id', 'DESC')], limit=1)[0]

    if again and message().state in {'waiting', 'failed'}:
        message().click('retry')
        community, = client.find(
            'cooperative.community',
            ('peer.identifier', '=', community.identifier))
        # An application that was never tried is not tried again
        community.click('synchronise')
    limit = time.monotonic() + (TIMEOUT / 4 if again else TIMEOUT)
    while True:
        last = message()
        if last.state not in {'waiting', 'failed'}:
            return
        # After a retry the error may still be that of the time before
        if (last.state == 'failed' or (last.error and not again)
                or time.monotonic() > limit):
            raise CommandError(
                "the community has not taken the application: "
                f"{last.error or 'it does not answer'}")
        time.sleep(0.1)


def _tell(options, community, entries, results, secrets_path=None):
    descriptor = community.descriptor
    values, lines = [], []
    for entry, result in zip(entries, results):
        value = {
            'name': entry['name'],
            'instance': entry['instance'],
            'identifier': entry['identifier'],
            'state': result,
            'error': None,
            }
        if isinstance(result, CommandError):
            value.update(state='failed', error=str(result))
        values.append(value)
        lines.append(
            f"{value['state']:8}  {entry['instance']:24}  "
            f"{entry['identifier']:24}  {entry['name']}")
    if failed := len([v for v in values if v['error']]):
        lines.append(
            f"{failed} of {len(values)} members are not entered: run the "
            "command again once the reasons are settled")
    if secrets_path and secrets_path.exists():
        lines.append(
            f"The first passwords and the recovery keys are in "
            f"{secrets_path}: print them, give each member its own, and "
            "delete the file.")
    output(options, {
            'community': {
                'identifier': descriptor.identifier,
                'name': descriptor.name,
                'fingerprint': descriptor.fingerprint,
                'charter': descriptor.charter.version,
                },
            'members': values,
            'secrets': str(secrets_path) if secrets_path else None,
            }, '\n'.join(lines))
