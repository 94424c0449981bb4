# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Create, list and serve instances: each a Tryton database of its own, with
its configuration, in the folder ``instances/NAME`` of a folder."""
import argparse
import configparser
import contextlib
import dataclasses
import os
import re
import secrets
import shutil
import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import CommandError, output, progress, template
from .server import Server, memory

FIRST_PORT = 8100
ROLES = tuple(template.MODULES)
_NAME = re.compile(r'[a-z][a-z0-9_]{0,31}')


class Instance:
    "What the folder says of an instance"

    def __init__(self, folder, name):
        self.folder = Path(folder).resolve()
        self.name = name

    @classmethod
    def all(cls, folder):
        "Return the instances of the folder, by name"
        paths = Path(folder, 'instances').glob('*/trytond.conf')
        return [cls(folder, p.parent.name) for p in sorted(paths)]

    @classmethod
    def get(cls, folder, name):
        "Return the instance.  Raise CommandError when there is none."
        instance = cls(folder, name)
        if not instance.config_path.exists():
            raise CommandError(f"there is no instance {name} in {folder}")
        return instance

    @property
    def path(self):
        return self.folder / 'instances' / self.name

    @property
    def config_path(self):
        return self.path / 'trytond.conf'

    @property
    def database_path(self):
        return self.path / f'{self.name}.sqlite'

    @property
    def pid_path(self):
        return self.path / 'pid'

    @property
    def config(self):
        config = configparser.ConfigParser(interpolation=None)
        with open(self.config_path, encoding='utf-8') as file:
            config.read_file(file)
        return config

    @property
    def role(self):
        return self.config['instance']['role']

    @property
    def company(self):
        return self.config['instance']['company']

    @property
    def port(self):
        return int(self.config['web']['listen'].rpartition(':')[2])

    @property
    def url(self):
        "The address for the web client"
        return f'http://127.0.0.1:{self.port}/#{self.name}'

    @property
    def rpc_url(self):
        "The address for proteus"
        return f'http://127.0.0.1:{self.port}/{self.name}/rpc/'

    @property
    def cooperative_url(self):
        "The address that other instances know"
        return self.config['cooperative']['url']

    @property
    def pid(self):
        "The number of its process, None when it does not run"
        try:
            pid = int(self.pid_path.read_text())
            command = Path(f'/proc/{pid}/cmdline').read_bytes()
        except (OSError, ValueError):
            return None
        # The number may be another program's by now
        if str(self.config_path).encode() in command.split(b'\0'):
            return pid

    @property
    def size(self):
        "The size of the database in bytes"
        return sum(
            p.stat().st_size for p in self.path.glob(f'{self.name}.sqlite*'))

    def summary(self):
        "Return what ``instance list`` tells, as a dictionary"
        pid = self.pid
        return {
            'name': self.name,
            'role': self.role,
            'company': self.company,
            'port': self.port,
            'url': self.url,
            'rpc_url': self.rpc_url,
            'cooperative_url': self.cooperative_url,
            'state': 'running' if pid else 'stopped',
            'pid': pid,
            'memory': memory(pid) if pid else None,
            'size': self.size,
            }


@dataclasses.dataclass
class Specification:
    "What a new instance is made from; only name, role and company are needed"
    name: str
    role: str
    company: str
    siren: str = None
    siret: str = None
    vat_number: str = None
    street: str = None
    postal_code: str = None
    city: str = None
    country: str = 'FR'
    email: str = None
    phone: str = None
    website: str = None
    iban: str = None
    language: str = 'fr'
    port: int = None
    url: str = None
    local: bool = False
    retry: int = None
    fetch: int = None
    witness: int = None
    web_root: str = None
    password: str = None
    users: list = dataclasses.field(default_factory=list)

    def check(self):
        """Put the numbers in their compact form.
        Raise CommandError for what is no valid value."""
        from stdnum import iban
        from stdnum.eu import vat
        from stdnum.exceptions import ValidationError
        from stdnum.fr import siren, siret
        if not _NAME.fullmatch(self.name):
            raise CommandError(
                f'the name "{self.name}" must be of at most 32 lower case '
                'letters, digits and "_", the first a letter')
        if self.role not in ROLES:
            raise CommandError(
                f'the role "{self.role}" is none of {", ".join(ROLES)}')
        if not self.company.strip():
            raise CommandError(f"the instance {self.name} needs a company")
        for name, label, module in [
                ('siren', "SIREN", siren), ('siret', "SIRET", siret),
                ('vat_number', "VAT number", vat), ('iban', "IBAN", iban)]:
            if value := getattr(self, name):
                try:
                    setattr(self, name, module.validate(value))
                except ValidationError as exception:
                    raise CommandError(
                        f'the {label} "{value}" of {self.name} is not valid: '
                        f'{exception}') from None


def create(folder, specifications, progress=None):
    """Create the instances and return them, in the same order; each
    Specification gets its password when it had none.

    All or none: when one cannot be made the others are removed again.
    progress is called with a text.  Raise CommandError."""
    folder = Path(folder).resolve()
    specifications = list(specifications)
    instances, ports = [], _used_ports(folder)
    for specification in specifications:
        specification.check()
        instance = Instance(folder, specification.name)
        if instance.path.exists() or specification.name in {
                i.name for i in instances}:
            raise CommandError(
                f"there is already an instance {specification.name} "
                f"in {folder}")
        instances.append(instance)
        if not specification.port:
            specification.port = _free_port(ports)
        ports.add(specification.port)
    sources = _templates({s.role for s in specifications}, progress)
    try:
        for instance, specification in zip(instances, specifications):
            instance.path.mkdir(parents=True)
            _write_config(instance, specification)
            shutil.copyfile(
                sources[specification.role], instance.database_path)
            instance.database_path.chmod(0o600)
        _personalise(instances, specifications)
    except BaseException:
        for instance in instances:
            shutil.rmtree(instance.path, ignore_errors=True)
        raise
    return instances


def _templates(roles, progress):
    # At the same time when they have to be made
    modules = {r: tuple(template.MODULES[r]) for r in roles}
    with ThreadPoolExecutor() as executor:
        futures = {
            m: executor.submit(template.get, list(m), progress)
            for m in set(modules.values())}
        return {r: futures[m].result() for r, m in modules.items()}


def _personalise(instances, specifications):
    # The classes of a set of modules are loaded once for all its databases
    by_role = {}
    for instance, specification in zip(instances, specifications):
        if not specification.password:
            specification.password = secrets.token_urlsafe(9)
        values = dataclasses.asdict(specification)
        values['path'] = str(instance.database_path)
        modules = tuple(template.MODULES[specification.role])
        by_role.setdefault(modules, []).append(values)
    jobs = [
        {'action': 'personalise', 'instances': v} for v in by_role.values()]
    with ThreadPoolExecutor() as executor:
        list(executor.map(template.run, jobs))


def create_user(
        instance, login, name, password, groups=(), language='fr'):
    """Create in the stopped instance a user, also an employee of the company.
    groups are XML ids such as sale.group_sale; return the id of the user."""
    id_, = create_users(instance, [{
                'login': login,
                'name': name,
                'password': password,
                'groups': list(groups),
                'language': language,
                }])
    return id_


def create_users(instance, users):
    """Create the users, dictionaries with the arguments of create_user,
    and return their ids.  Raise CommandError when the instance runs."""
    if instance.pid:
        raise CommandError(
            f"the instance {instance.name} runs: stop it first")
    return template.run({
            'action': 'users',
            'path': str(instance.database_path),
            'users': users,
            })


def _used_ports(folder):
    return {i.port for i in Instance.all(folder)}


def _first_port():
    value = os.environ.get('TRYCOTON_PORT', str(FIRST_PORT))
    if not re.fullmatch('[0-9]{1,5}', value):
        raise CommandError(
            f"TRYCOTON_PORT is {value!r}: set it to the number of the port "
            "where those of the instances begin")
    return int(value)


def _free_port(used):
    for port in range(_first_port(), 2 ** 16):
        if port in used:
            continue
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                sock.bind(('127.0.0.1', port))
                return port
    raise CommandError("no port is free")


def _write_config(instance, specification):
    from cryptography.fernet import Fernet
    config = configparser.ConfigParser(interpolation=None)
    config['instance'] = {
        'role': specification.role,
        'company': ' '.join(specification.company.split()),
        }
    config['web'] = {
        'listen': f'127.0.0.1:{specification.port}',
        }
    if specification.web_root:
        config['web']['root'] = str(Path(specification.web_root).resolve())
    config['database'] = {
        'uri': 'sqlite://',
        'path': str(instance.path),
        'list': str(specification.local),
        }
    url = specification.url or (
        f'http://127.0.0.1:{specification.port}/{instance.name}/cooperative')
    config['cooperative'] = {
        'key': Fernet.generate_key().decode('ascii'),
        'url': url.rstrip('/'),
        }
    if specification.local:
        config['cooperative']['networks'] = '127.0.0.0/8'
    for option, value in [
            ('retry_min', specification.retry),
            ('fetch', specification.fetch),
            ('witness_interval', specification.witness)]:
        if value:
            config['cooperative'][option] = str(value)
    fd = os.open(
        instance.config_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(fd, 'w', encoding='utf-8') as file:
        file.write(
            "# Keep this file secret and safe: without the key the private\n"
            "# keys of the instance are lost.\n")
        config.write(file)


def serve(folder, names, cron=False, progress=None, stop=None):
    """Serve the instances until the event stop is set or one of them ends.
    Raise CommandError when one cannot be started or ends by itself."""
    stop = stop or threading.Event()
    servers = []
    try:
        for name in names:
            Instance.get(folder, name)
            servers.append(Server(folder, name, cron=cron))
            servers[-1].start()
        for server in servers:
            server.wait_ready()
            if progress:
                progress(f"{server.name}: {server.instance.url}")
        while not stop.wait(0.5):
            for server in servers:
                if program := server.poll():
                    raise CommandError(
                        f"the {program} of {server.name} ended by itself: "
                        f"see the logs in {server.instance.path}")
    finally:
        for server in servers:
            server.stop()


def add_arguments(parser):
    "Add the arguments of the command to the parser"
    commands = parser.add_subparsers(
        dest='action', metavar='ACTION', required=True)

    create_ = commands.add_parser(
        'create', help="create an instance",
        description="Create an instance: its database and configuration, "
        "in FOLDER/instances/NAME.")
    create_.add_argument('name', metavar='NAME')
    create_.add_argument('--role', choices=ROLES, default='actor')
    create_.add_argument(
        '--company', required=True, help="the name of the company")
    for name, text in [
            ('siren', "its SIREN"),
            ('siret', "its SIRET"),
            ('vat-number', "its VAT number"),
            ('street', "of its address"),
            ('postal-code', "of its address"),
            ('city', "of its address"),
            ('email', "its e-mail address"),
            ('phone', "its telephone number"),
            ('website', "its web site"),
            ('iban', "its bank account")]:
        create_.add_argument(f'--{name}', metavar='TEXT', help=text)
    create_.add_argument(
        '--country', default='FR', metavar='CODE',
        help="of its address (default: %(default)s)")
    create_.add_argument(
        '--language', default='fr', choices=['fr', 'en'],
        help="of the administrator (default: %(default)s)")
    create_.add_argument(
        '--port', type=int, metavar='N',
        help="to listen on (default: the first free one from "
        f"$TRYCOTON_PORT on, or from {FIRST_PORT})")
    create_.add_argument(
        '--url', help="the public address that other instances call "
        "(default: the local one)")
    create_.add_argument(
        '--local', action='store_true',
        help="a trial on one machine: call other instances of this machine "
        "without encryption and show the database in the clients")
    create_.add_argument(
        '--retry', type=int, metavar='SECONDS',
        help="before a message that could not be sent is tried again")
    create_.add_argument(
        '--fetch', type=int, metavar='SECONDS',
        help="between two looks into its mailboxes")
    create_.add_argument(
        '--web-root', metavar='FOLDER', help="of the web client to serve")
    create_.add_argument(
        '--admin-password-file', type=argparse.FileType(), metavar='FILE',
        help="the file that holds the password of the user admin "
        "(default: one is made and printed)")
    _add_folder(create_)
    create_.set_defaults(handle=_create)

    list_ = commands.add_parser(
        'list', help="list the instances",
        description="List the instances of the folder.")
    _add_folder(list_)
    list_.set_defaults(handle=_list)

    serve_ = commands.add_parser(
        'serve', help="serve instances until interrupted",
        description="Serve the instances until interrupted.")
    serve_.add_argument('names', nargs='+', metavar='NAME')
    serve_.add_argument(
        '--cron', action='store_true',
        help="run also the scheduled actions of each")
    _add_folder(serve_)
    serve_.set_defaults(handle=_serve)


def _add_folder(parser):
    parser.add_argument(
        '--folder', default='.', metavar='DIR',
        help="the folder of the instances (default: the current one)")


def run(options):
    "Run the command and return its exit status"
    return options.handle(options)


def _create(options):
    values = {
        f.name: getattr(options, f.name)
        for f in dataclasses.fields(Specification)
        if hasattr(options, f.name)}
    specification = Specification(**values)
    given = options.admin_password_file
    if given:
        with given:
            specification.password = given.read().rstrip('\n')
        if not specification.password:
            raise CommandError(f"the file {given.name} is empty")
    instance, = create(options.folder, [specification], progress)
    value = instance.summary()
    text = f"{instance.name}: {instance.url}"
    if not given:
        value['password'] = specification.password
        text += f"\nThe password of admin is {specification.password}"
    output(options, value, text)
    return 0


def _list(options):
    values = [i.summary() for i in Instance.all(options.folder)]
    rows = [("Name", "Role", "Port", "State", "Process", "Database")]
    for value in values:
        rows.append((
                value['name'], value['role'], str(value['port']),
                value['state'], str(value['pid'] or ''),
                f"{value['size'] / 1e6:.1f} MB"))
    widths = [max(map(len, column)) for column in zip(*rows)]
    text = '\n'.join(
        '  '.join(c.ljust(w) for c, w in zip(row, widths)).rstrip()
        for row in rows)
    output(options, values, text if values else "There is no instance.")
    return 0


def _serve(options):
    stop = threading.Event()
    for number in [signal.SIGINT, signal.SIGTERM]:
        signal.signal(number, lambda *_: stop.set())
    serve(options.folder, options.names, options.cron, progress, stop)
    return 0
