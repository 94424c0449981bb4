# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"HTTP: calls to the instances, and the two routes that they call"
import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from . import canonical, key
from .canonical import Refused
from .message import MAX_SIZE

TIMEOUT = 30
PROBLEM = 'application/problem+json'
# What may be known or agreed in a moment
RETRY = {'unknown-key', 'no-relation'}


def call(method, url, data=None, **headers):
    "Return status, headers and body; redirections are not followed"
    parts = urlsplit(url)
    connect = {
        'http': http.client.HTTPConnection,
        'https': http.client.HTTPSConnection}[parts.scheme]
    connection = connect(parts.hostname, parts.port, timeout=TIMEOUT)
    try:
        path = parts.path + (f'?{parts.query}' if parts.query else '')
        connection.request(method, path, data, {
                n.replace('_', '-'): v for n, v in headers.items()})
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def problem(exception):
    "Return how a refusal is told (RFC 9457)"
    value = {
        'type': 'https://trycoton.org/problems/' + exception.name,
        'title': str(exception),
        'status': exception.status,
        }
    if exception.refusal:
        value['refusal'] = exception.refusal
        value['signature'] = exception.signature
    return value


class Server(ThreadingHTTPServer):
    "Serves the partner at /cooperative, in a thread"
    daemon_threads = True

    def __init__(self, address=('127.0.0.1', 0)):
        super().__init__(address, Handler)
        self.partner = None
        self.endpoint = 'http://{}:{}/cooperative'.format(
            *self.server_address)

    def start(self, partner):
        self.partner = partner
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def do_GET(self):
        if self.path != '/cooperative/edi/descriptor':
            return self.refuse(Refused("no such thing", 'not-found', 404))
        data, signature = self.server.partner.descriptor()
        self.answer(200, data, signature)

    def do_POST(self):
        try:
            size = int(self.headers.get('Content-Length', ''))
            if self.path != '/cooperative/edi/messages':
                raise Refused("no such thing", 'not-found', 404)
            if size > MAX_SIZE:
                raise Refused("too large", 'too-large', 413)
            known, answer = self.server.partner.receive(
                self.rfile.read(size), self.headers.get(key.HEADER))
        except ValueError:
            self.refuse(Refused("the length is missing"))
        except Refused as exception:
            self.refuse(exception)
        else:
            self.answer(200 if known else 201, canonical.dump(answer))

    def refuse(self, exception):
        self.close_connection = True
        self.answer(
            exception.status, canonical.dump(problem(exception)),
            media_type=PROBLEM, retry=exception.name in RETRY)

    def answer(
            self, status, data, signature=None,
            media_type='application/json', retry=False):
        self.send_response(status)
        self.send_header('Content-Type', media_type)
        self.send_header('Content-Length', str(len(data)))
        if signature:
            self.send_header(key.HEADER, signature)
        if retry:
            self.send_header('Retry-After', '1')
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass
