# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"A participant in memory, which answers at an address"
import os
import queue
import threading
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import uuid4

from trycoton.protocol import canonical, envelope, problem, signature, token
from trycoton.protocol.descriptor import Descriptor
from trycoton.protocol.directory import Legal, PublishedKey
from trycoton.protocol.errors import ProtocolError
from trycoton.protocol.receipt import Receipt
from trycoton.protocol.signature import SigningKey

NAME = "TryCoTon conformance"


def now():
    return datetime.now(timezone.utc).replace(microsecond=0)


class Participant:
    "peer is the Descriptor of the system, inbox the messages that it sent"

    def __init__(self, identifier, address, endpoint=None, key_path=None):
        self.identifier = identifier
        self.key = _key(key_path)
        self.since = now()
        self.peer = None
        self.inbox = queue.Queue()
        self.received = {}
        self.sequence, self.previous = 0, None
        self._server = ThreadingHTTPServer(address, _Handler)
        self._server.participant = self
        self.endpoint = (endpoint or 'http://{}:{}/cooperative'.format(
                *self._server.server_address)).rstrip('/')

    def __enter__(self):
        threading.Thread(
            target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    @property
    def fingerprint(self):
        return self.descriptor.fingerprint

    @property
    def descriptor(self):
        return Descriptor(
            identifier=self.identifier, name=NAME, kind='participant',
            endpoint=self.endpoint, created=now(),
            keys=[PublishedKey(self.key.public, self.since)],
            legal=Legal(country='FR'))

    # Speaking

    def header(self, **values):
        "Return a header of the next message, which is not counted yet"
        return {
            'sender': self.identifier,
            'receiver': self.peer.identifier,
            'id': str(uuid4()),
            'created': now(),
            'sequence': self.sequence + 1,
            'previous': self.previous,
            'country': 'FR',
            **values}

    def statement(self, kind, body, **values):
        return envelope.Statement(
            kind=kind, body=body, **self.header(**values))

    def envelope(self, document, relation, **values):
        return envelope.Envelope(
            payload=document.to_bytes(),
            **self.header(relation=relation, **values))

    def count(self, message):
        "Count the message, which the system stored"
        self.sequence = message.sequence
        self.previous = message.digest

    def sign(self, data, typ):
        return signature.sign(data, typ, self.key)

    def token(self, method, path, **values):
        return token.issue(**{
                'key': self.key, 'issuer': self.identifier,
                'audience': self.peer.identifier, 'method': method,
                'path': path, 'now': now(), **values})

    # Listening

    def receive(self, data, jws):
        """Return if the message was known, and the answer to it

        Raise ProtocolError, or Refused for what has a problem of its own.
        """
        if not self.peer:
            raise Refused('unknown-key')
        message = envelope.parse(data)
        signature.verify(data, jws, message.typ, self.peer.public_keys())
        if message.receiver != self.identifier:
            raise Refused('not-addressed')
        if message.sender != self.peer.identifier:
            raise Refused('not-sender')
        known = message.id in self.received
        if not known:
            receipt = Receipt(
                message=message.id, digest=message.digest,
                receiver=self.identifier, time=now()).to_bytes()
            self.received[message.id] = message.digest, {
                'receipt': receipt.decode('utf-8'),
                'signature': self.sign(receipt, signature.RECEIPT),
                }
            self.inbox.put(message)
        digest, answer = self.received[message.id]
        if digest != message.digest:
            raise Refused('conflict')
        return known, answer


class Refused(Exception):
    "With the name of the problem"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    timeout = 30

    def do_GET(self):
        if not self.path.endswith('/edi/descriptor'):
            self._refuse('not-found')
            return
        descriptor = self.server.participant.descriptor
        data = descriptor.to_bytes()
        self._answer(200, data, jws=self.server.participant.sign(
                data, descriptor.typ))

    def do_POST(self):
        try:
            size = int(self.headers.get('Content-Length', ''))
        except ValueError:
            self._refuse('malformed')
            return
        if size > envelope.MAX_SIZE:
            self._refuse('too-large')
            return
        try:
            known, answer = self.server.participant.receive(
                self.rfile.read(size),
                self.headers.get(signature.SIGNATURE_HEADER, ''))
        except Refused as exception:
            self._refuse(str(exception))
        except signature.UnknownKey:
            self._refuse('unknown-key')
        except ProtocolError:
            self._refuse('malformed')
        else:
            self._answer(200 if known else 201, canonical.dump(answer))

    def _refuse(self, name):
        self.close_connection = True
        status, cause, retry = problem.PROBLEMS[name]
        self._answer(
            status, canonical.dump({
                    'type': problem.BASE + name,
                    'title': cause,
                    'status': status,
                    }),
            problem.MEDIA_TYPE, retry=retry)

    def _answer(
            self, status, data, media_type='application/json', jws=None,
            retry=False):
        self.send_response(status)
        self.send_header('Content-Type', media_type)
        self.send_header('Content-Length', str(len(data)))
        if jws:
            self.send_header(signature.SIGNATURE_HEADER, jws)
        if retry:
            self.send_header('Retry-After', '1')
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


def _key(path):
    "Return the key kept in the file, or a fresh one"
    if not path:
        return SigningKey.generate()
    path = Path(path)
    if path.exists():
        return SigningKey.from_bytes(bytes.fromhex(path.read_text().strip()))
    key = SigningKey.generate()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, 'w') as file:
        file.write(key.to_bytes().hex() + '\n')
    return key
