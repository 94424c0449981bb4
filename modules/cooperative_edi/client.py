# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""HTTP towards other instances.

Never called inside a transaction that holds a lock.  The name of the host is
resolved once, its address checked, and the connection made to that address;
redirections are not followed.
"""
import http.client
import ipaddress
import re
import socket
import threading
from urllib.parse import urlsplit

import trytond.config as config
from trytond.i18n import gettext

from .exceptions import AddressRefusedError, CommunicationError
from .http import printable

TIMEOUT = 30
DEADLINE = 120
MAX_SIZE = 32 * 1024 * 1024
# The other ports below stand for services that are none of ours
PORTS = {80, 443}
PRIVILEGED = 1024
# Addresses of IPv4 behind a translator (RFC 6052)
TRANSLATED = ipaddress.ip_network('64:ff9b::/96')
# What the module ipaddress takes for public and nobody has: of translators,
# of relays, of documentation (RFC 6890, RFC 7526, RFC 8215, RFC 9637)
NOBODY = [ipaddress.ip_network(n) for n in [
        '192.0.0.0/24', '192.88.99.0/24', '64:ff9b:1::/48', '3fff::/20']]
_printable = re.compile(r'[!-\[\]-~]+')


class ClientError(Exception):
    "The call was not made or not answered"
    message = 'cooperative_edi.msg_communication'
    error = CommunicationError

    def __init__(self, url, reason=''):
        super().__init__(url, reason)
        self.url = url
        # It may cite the answer
        self.reason = printable(reason)

    def __str__(self):
        return f"{self.url}: {self.reason}"

    def user_error(self):
        "Return the same for a person, in the language of the transaction"
        return self.error(
            gettext(self.message, url=self.url, error=self.reason))


class AddressRefused(ClientError):
    "The address is none that this instance may call"
    message = 'cooperative_edi.msg_address_refused'
    error = AddressRefusedError


class Refused(ClientError):
    "The call was answered, with an error"

    def __init__(self, url, reason, response):
        super().__init__(url, reason)
        self.response = response


class Response:
    "What the other instance answered: status, headers and bytes"

    def __init__(self, status, headers, data):
        self.status = status
        self.headers = headers
        self.data = data


def _networks():
    names = config.get('cooperative', 'networks', default='')
    return [ipaddress.ip_network(n.strip()) for n in names.split(',')
        if n.strip()]


def _allowed(address):
    addresses = _embedded(ipaddress.ip_address(address))
    return all(_local(a) or _public(a) for a in addresses)


def _public(address):
    "Tell if the address may be of somebody on the internet"
    return (address.is_global
        and not address.is_multicast
        and (not address.is_reserved or address in TRANSLATED)
        and not getattr(address, 'is_site_local', False)
        and not any(address in network for network in NOBODY))


def _local(address):
    "Tell if the configuration names a network of the address"
    return any(address in network for network in _networks())


def _embedded(address):
    "Return the address, or with it the IPv4 addresses that it stands for"
    if address.version == 4:
        return [address]
    if address.ipv4_mapped:
        return [address.ipv4_mapped]
    addresses = [address, address.sixtofour, *(address.teredo or [])]
    if address in TRANSLATED:
        addresses.append(ipaddress.IPv4Address(address.packed[-4:]))
    return [a for a in addresses if a]


def resolve(url):
    "Return the parts of the url and the only address to connect to"
    try:
        parts = urlsplit(url)
        port = {'http': 80, 'https': 443}[parts.scheme]
        if parts.port is not None:
            port = parts.port
        if (not parts.hostname or '@' in parts.netloc
                # urlsplit() would drop some of them
                or not _printable.fullmatch(url)
                or port < PRIVILEGED and port not in PORTS):
            raise ValueError(url)
        infos = socket.getaddrinfo(
            parts.hostname, port, type=socket.SOCK_STREAM)
    except (KeyError, ValueError, TypeError, UnicodeError) as exception:
        raise AddressRefused(url) from exception
    except OSError as exception:
        raise ClientError(url, str(exception)) from exception
    addresses = [info[4][0] for info in infos]
    local = all(
        _local(e) for a in addresses
        for e in _embedded(ipaddress.ip_address(a)))
    if (not all(map(_allowed, addresses))
            or (parts.scheme == 'http' and not local)):
        raise AddressRefused(url)
    return parts, port, addresses[0]


def _connection(parts, port, address):
    Connection = {
        'http': http.client.HTTPConnection,
        'https': http.client.HTTPSConnection,
        }[parts.scheme]
    connection = Connection(parts.hostname, port, timeout=TIMEOUT)

    def connect(_, *args, **kwargs):
        # The name may have another address by now: stay with the checked one
        sock = socket.create_connection((address, port), *args, **kwargs)
        guard = sock.dup()
        timer = threading.Timer(
            DEADLINE, _hang_up, [guard, connection.late])
        timer.daemon = True
        timer.start()
        connection.guards.append((timer, guard))
        return sock
    connection._create_connection = connect
    connection.guards = []
    connection.late = threading.Event()
    return connection


def _hang_up(sock, late):
    "End the connection of somebody who answers byte by byte"
    late.set()
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


def request(method, url, data=None, headers=None):
    """Return the Response of url, which may be of any status.
    Raise ClientError when there is no answer."""
    parts, port, address = resolve(url)
    path = (parts.path or '/') + (f'?{parts.query}' if parts.query else '')
    try:
        connection = _connection(parts, port, address)
    except http.client.HTTPException as exception:
        raise AddressRefused(url) from exception
    try:
        connection.request(method, path, body=data, headers=headers or {})
        answer = connection.getresponse()
        body = answer.read(MAX_SIZE + 1)
        if len(body) > MAX_SIZE:
            raise http.client.HTTPException("answer too large")
        if connection.late.is_set():
            raise http.client.HTTPException("answer too slow")
        return Response(answer.status, answer.headers, body)
    except (OSError, http.client.HTTPException, ValueError) as exception:
        raise ClientError(
            url, str(exception) or repr(exception)) from exception
    finally:
        connection.close()
        for timer, guard in connection.guards:
            timer.cancel()
            guard.close()


def get(url, headers=None):
    return request('GET', url, headers=headers)


def post(url, data, headers=None):
    return request('POST', url, data=data, headers=headers)
