# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""A user of a running instance, by proteus over HTTP."""
import base64
import contextlib
import getpass
import http.client
import json
import os
import re
import sys
import threading
import xmlrpc.client
from pathlib import Path

from . import CommandError, template
from .server import Server

TIMEOUT = 600
PASSWORD = 'TRYTON_PASSWORD'
ANSWERS = {
    401: "the login or the password is wrong",
    403: "the user has not the right to do this",
    404: "there is no such database",
    429: "there were too many wrong passwords: wait before the next try",
    503: "the database cannot be opened",
    }
DESCRIPTION = re.compile(
    rb'<methodName>(system\.listMethods|[a-z0-9._]+\.fields_get)</methodName>')
# Faults of Tryton that are for the person
MEANT = range(1, 5)


class ClientError(CommandError):
    "The instance refused what was asked, or did not answer"


_describing = threading.Lock()


class Descriptions(dict):
    """How the models are described to users with the same modules and
    groups, kept beside the templates of the databases.

    The keys are requests, the values what is answered to them."""

    def __init__(self, modules, groups):
        super().__init__()
        name = template.fingerprint(modules, groups=groups)
        self.path = template.cache() / f'{name}.json'
        with contextlib.suppress(OSError, ValueError):
            self.update(json.loads(self.path.read_bytes()))
        self._size = len(self)

    def save(self):
        "Keep what is new for the next time"
        if len(self) > self._size:
            new = self.path.with_suffix(f'.{os.getpid()}')
            new.write_text(json.dumps(self))
            os.replace(new, self.path)


class _Transport(xmlrpc.client.Transport):
    """Asks only once how the models are described: proteus asks again in
    each thread, and for all the methods of all the models each time"""

    def __init__(self, headers, descriptions):
        super().__init__(use_builtin_types=True, headers=headers)
        self.descriptions = descriptions

    def make_connection(self, host):
        connection = super().make_connection(host)
        connection.timeout = TIMEOUT
        return connection

    def request(self, host, handler, request_body, verbose=False):
        if not DESCRIPTION.search(request_body):
            return super().request(host, handler, request_body, verbose)
        key = request_body.decode('utf-8')
        with _describing:
            if key not in self.descriptions:
                self.descriptions[key] = super().request(
                    host, handler, request_body, verbose)
            return self.descriptions[key]


def _server(url, headers=(), descriptions=None):
    return xmlrpc.client.ServerProxy(
        url, allow_none=True, use_builtin_types=True,
        transport=_Transport(
            headers, {} if descriptions is None else descriptions))


def fault_text(fault):
    "Return what the server says to the person, in one line"
    # Tryton joins the message and its description by a dash
    text = ' '.join(fault.faultString.split())
    return text.removesuffix(' -').strip() or "the server gives no reason"


@contextlib.contextmanager
def errors(name):
    """Raise ClientError, with the name of the instance, for what goes wrong
    in the calls of the block"""
    try:
        yield
    except xmlrpc.client.Fault as exception:
        text = fault_text(exception)
        if exception.faultCode not in MEANT:
            text = f"the server failed, its log tells why: {text}"
        raise ClientError(f"{name}: {text}") from exception
    except xmlrpc.client.ProtocolError as exception:
        reason = ANSWERS.get(exception.errcode, (
                f"the server answers {exception.errcode} "
                f"{exception.errmsg}"))
        raise ClientError(f"{name}: {reason}") from exception
    except (ConnectionError, TimeoutError) as exception:
        raise ClientError(
            f"{name}: the server does not answer: "
            f"{exception.strerror or exception}") from exception
    except (http.client.HTTPException, xmlrpc.client.ResponseError,
            SyntaxError) as exception:  # expat's is a kind of the last
        raise ClientError(
            f"{name}: what answers is not Tryton") from exception


class Client:
    """The models and wizards of an instance for a user

    Users with the same modules, rights and language may share the
    descriptions of the models, Descriptions or a dictionary.
    Raise ClientError, as errors, when the user cannot log in.
    """

    def __init__(self, instance, login, password, descriptions=None):
        from proteus.config import XmlrpcConfig
        self.instance = instance
        self.login = login
        url = instance.rpc_url
        with errors(instance.name):
            user, session, *_ = _server(url).common.db.login(
                login, {'password': password})
            # The password is compared once and not at each call
            authorization = base64.b64encode(
                f'{login}:{user}:{session}'.encode()).decode('ascii')
            headers = [('Authorization', f'Session {authorization}')]
            self.config = XmlrpcConfig(
                url, transport=_server(
                    url, headers, descriptions)('transport'))
        self.config.skip_warning = True

    def model(self, name):
        from proteus import Model
        return Model.get(name, config=self.config)

    def find(self, name, *domain, **options):
        return self.model(name).find(list(domain), **options)

    def wizard(self, name, records=None):
        from proteus import Wizard
        return Wizard(name, models=records, config=self.config)

    def call(self, name, method, *args):
        "Call the method of the model as it is, in one transaction"
        proxy = self.config.get_proxy(name)
        return getattr(proxy, method)(*args, self.config.context)

    def read(self, name, domain, fields):
        "Return the fields of the records as dictionaries"
        return self.call(name, 'search_read', domain, 0, None, None, fields)

    def create(self, name, values):
        "Create all the records or none and return their ids"
        return self.call(name, 'create', values) if values else []

    def write(self, name, changes):
        "Write all the changes, a list of (id, values), or none"
        if changes:
            self.call(
                name, 'write', *(a for i, v in changes for a in ([i], v)))

    def delete(self, name, ids):
        if ids:
            self.call(name, 'delete', ids)

    def close(self):
        with contextlib.suppress(Exception):
            self.config.server.common.db.logout()
        self.config.server('close')()


@contextlib.contextmanager
def opened(instance, login, password, progress=None):
    """Yield a Client of the instance, which is started for the time of the
    block when it does not run.

    What the calls of the block raise becomes a ClientError."""
    with contextlib.ExitStack() as stack:
        if not instance.pid:
            if progress:
                progress(f"{instance.name} is started for the time of this")
            server = Server(instance.folder, instance.name)
            stack.callback(server.stop)
            server.start().wait_ready()
        stack.enter_context(errors(instance.name))
        client = Client(instance, login, password)
        stack.callback(client.close)
        yield client


def add_arguments(parser):
    "Add who speaks to which instance to the arguments of the parser"
    parser.add_argument(
        '--instance', metavar='NAME', required=True,
        help="the instance, started for the time of the command when it "
        "does not run")
    parser.add_argument(
        '--folder', default='.', metavar='DIR',
        help="the folder of the instances (default: the current one)")
    parser.add_argument(
        '--user', default='admin', metavar='LOGIN',
        help="the login of the user (default: %(default)s)")
    parser.add_argument(
        '--password-file', metavar='FILE',
        help="the file that holds the password of the user (default: the "
        f"environment variable {PASSWORD}, else it is asked)")


def get_password(options):
    """Return the password of the user of the options, from the file, the
    environment or the terminal.  Raise CommandError."""
    if options.password_file:
        path = Path(options.password_file)
        lines = path.read_text(encoding='utf-8').splitlines()
        if not lines or not lines[0]:
            raise CommandError(f"the file {path} holds no password")
        return lines[0]
    if password := os.environ.get(PASSWORD):
        return password
    if not sys.stdin.isatty():
        raise CommandError(
            f"the password of {options.user} is needed: give "
            f"--password-file or the environment variable {PASSWORD}")
    return getpass.getpass(f"Password of {options.user}: ")
