# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"What a stranger and a peer may see of a system, and how it refuses"
import datetime as dt
import http.client
import json
import time
from typing import NamedTuple
from urllib.parse import urlsplit
from uuid import uuid4

from trycoton.protocol import canonical, envelope, problem, signature, ubl
from trycoton.protocol.descriptor import Descriptor
from trycoton.protocol.errors import ProtocolError, Rejected
from trycoton.protocol.receipt import Receipt
from trycoton.protocol.signature import SigningKey

TIMEOUT = 30
STRANGER = '0225:100000009_STRANGER'
BOMB = (
    b'<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa">'
    + b''.join(
        b'<!ENTITY %c "%s">' % (letter, b'&%c;' % (letter - 1) * 10)
        for letter in range(ord('b'), ord('k')))
    + b']><a>&j;</a>')


class Response(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    data: bytes
    seconds: float

    @property
    def problem(self):
        "The name of the problem, or None"
        media_type = self.headers.get('Content-Type', '').partition(';')[0]
        try:
            body = json.loads(self.data)
            type_, status, title = (
                body['type'], body['status'], body['title'])
        except (ValueError, KeyError, TypeError):
            return
        if (media_type == problem.MEDIA_TYPE and status == self.status
                and isinstance(title, str)
                and str(type_).startswith(problem.BASE)):
            return type_[len(problem.BASE):]


class Probe:
    """Calls the system at an address and reports

    Nothing that is sent may keep it busy for longer than limit, in seconds.
    """

    def __init__(self, report, url, limit):
        self.report = report
        self.url = url
        self.limit = limit

    def call(self, method, path, data=None, **headers):
        "Return the Response; raise OSError when there is none"
        parts = urlsplit(self.url)
        connect = {
            'http': http.client.HTTPConnection,
            'https': http.client.HTTPSConnection,
            }.get(parts.scheme)
        if not connect or not parts.hostname:
            raise OSError(f"{self.url} is no address")
        begin = time.monotonic()
        connection = connect(parts.hostname, parts.port, timeout=TIMEOUT)
        try:
            try:
                connection.request(method, parts.path + path, data, {
                        n.replace('_', '-'): v for n, v in headers.items()})
            except (BrokenPipeError, ConnectionResetError):
                # It does not read to the end what it refuses
                pass
            response = connection.getresponse()
            return Response(
                response.status, response.headers, response.read(),
                time.monotonic() - begin)
        except http.client.HTTPException as exception:
            raise OSError(f"no answer of HTTP: {exception!r}") from exception
        finally:
            connection.close()

    def post(self, data, jws, path='/edi/messages'):
        headers = {signature.SIGNATURE_HEADER: jws} if jws else {}
        media_type = ('application/json' if data.startswith(b'{')
            else 'application/xml')
        return self.call(
            'POST', path, data, Content_Type=media_type, **headers)

    def expect(self, name, call, *problems):
        "Check that the call is refused by one of the problems, in time"
        try:
            response = call()
        except OSError as exception:
            return self.report.add(name, False, str(exception))
        found = response.problem
        wrong = []
        if found not in problems:
            wrong.append(
                f"{response.status} {found or 'without a problem'} instead "
                f"of {' or '.join(problems)}")
        elif response.status != problem.PROBLEMS[found].status:
            wrong.append(f"{found} with the status {response.status}")
        elif problem.PROBLEMS[found].retry and (
                'Retry-After' not in response.headers):
            wrong.append(f"{found} without Retry-After")
        if response.seconds > self.limit:
            wrong.append(f"after {response.seconds:.1f} seconds")
        return self.report.add(
            name, not wrong, '; '.join(wrong), response.seconds)

    def check(self, name, function):
        "Check that the function finds nothing wrong; return its value"
        begin = time.monotonic()
        try:
            value = function()
        except (ProtocolError, OSError, ValueError, LookupError,
                TypeError) as exception:
            text = str(exception) or repr(exception)
            self.report.add(name, False, text, time.monotonic() - begin)
            return
        self.report.add(name, True, '', time.monotonic() - begin)
        return value


def _wanted(condition, text):
    if not condition:
        raise Rejected(text)


class Stranger(Probe):
    "What anybody may see; descriptor is what the system says of itself"

    def __init__(self, report, url, limit, fingerprint=None):
        super().__init__(report, url, limit)
        self.fingerprint = fingerprint
        self.descriptor = None
        self.mailbox = True

    def run(self):
        "Probe the system and return if it has a descriptor"
        self.descriptor = self.check("descriptor", self.fetch_descriptor)
        if not self.descriptor:
            return False
        self.check("descriptor: names the endpoint", self.check_endpoint)
        if self.fingerprint:
            self.check("descriptor: fingerprint", self.check_fingerprint)
        self.probe_messages()
        self.probe_mailbox()
        return True

    def fetch_descriptor(self):
        response = self.call('GET', '/edi/descriptor')
        _wanted(response.status == 200, f"the status is {response.status}")
        _wanted(response.headers.get_content_type() == 'application/json',
            "the media type is not application/json")
        return Descriptor.open(
            response.data,
            response.headers.get(signature.SIGNATURE_HEADER, ''))

    def check_endpoint(self):
        _wanted(self.descriptor.endpoint in {None, self.url},
            f"it is {self.descriptor.endpoint}")
        return True

    def check_fingerprint(self):
        found = self.descriptor.fingerprint
        _wanted(found.split() == self.fingerprint.split(), f"it is {found}")
        return True

    def probe_messages(self):
        key = SigningKey.generate()
        message = envelope.Statement(
            sender=STRANGER, receiver=self.descriptor.identifier,
            id=str(uuid4()), created=dt.datetime.now(dt.timezone.utc),
            sequence=1, kind='relation-end', body={'relation': str(uuid4())})
        data = message.to_bytes()
        jws = signature.sign(data, message.typ, key)
        _, _, value = jws.split('.')
        for name, jws_ in [
                ("no signature", ''),
                ("a malformed signature", 'a.b.c'),
                ("an attached signature", jws.replace('..', '.e30.')),
                ("a signature of another type", signature.sign(
                        data, signature.RECEIPT, key)),
                ("a signature without algorithm", '..'.join([
                            signature.b64url(canonical.dump({
                                        'alg': 'none', 'kid': key.kid,
                                        'typ': message.typ})), value]))]:
            self.expect(
                f"message with {name}", lambda: self.post(data, jws_),
                'signature')
        self.expect(
            "message of an unknown key", lambda: self.post(data, jws),
            'unknown-key')
        self.expect(
            "unsigned entities, which nobody parses",
            lambda: self.post(BOMB, ''), 'signature')
        large = b'<' * (envelope.MAX_SIZE + 1)
        self.expect(
            "message of more than 5 MiB", lambda: self.post(large, jws),
            'too-large')

    def probe_mailbox(self):
        if self.call('GET', '/edi/mailbox').status == 404:
            self.mailbox = False
            self.report.skip(
                "mailbox", "none, for those who only fetch")
            return
        self.expect("mailbox without a token",
            lambda: self.call('GET', '/edi/mailbox'), 'token')
        self.expect("mailbox with a token that is none",
            lambda: self.call(
                'GET', '/edi/mailbox', Authorization='Bearer a.b.c'),
            'token')
        self.expect("receipt without a token",
            lambda: self.call(
                'POST', f'/edi/mailbox/{uuid4()}/receipt', b'{}',
                Content_Type='application/json'), 'token')


class Known(Probe):
    "What a peer may say; relation is the UUID of the one proposed"

    def __init__(self, report, url, limit, descriptor, participant):
        super().__init__(report, url, limit)
        self.descriptor = descriptor
        self.participant = participant
        participant.peer = descriptor
        self.relation = str(uuid4())
        self.proposal = None

    def send(self, message, **values):
        "Post a message signed as it must be"
        data = message.to_bytes()
        return self.post(
            data, self.participant.sign(data, values.get('typ', message.typ)))

    def wait(self, seconds):
        "Propose a relation until the system knows us"
        limit = time.monotonic() + seconds
        self.proposal = self.participant.statement('relation-proposal', {
                'relation': self.relation, 'community': None,
                'trust_party': None, 'replaces': None, 'sealed': None})
        while (response := self.send(self.proposal)
                ).problem == 'unknown-key':
            if time.monotonic() > limit:
                return False
            time.sleep(min(1, seconds))
        self.first = response
        self.participant.count(self.proposal)
        return True

    def run(self, mailbox=True):
        self.check("a message is stored, with a receipt", self.check_first)
        self.check("the same again gets the same receipt", self.check_again)
        other = self.participant.statement(
            'relation-end', {'relation': self.relation},
            id=self.proposal.id)
        self.expect("another message with the id of the first",
            lambda: self.send(other), 'conflict')
        self.probe_signatures()
        self.probe_parties()
        self.probe_forms()
        if mailbox:
            self.probe_tokens()

    def check_first(self):
        _wanted(self.first.status == 201,
            f"the status is {self.first.status} {self.first.problem or ''}")
        self.check_receipt(self.proposal, self.first)
        return True

    def check_again(self):
        response = self.send(self.proposal)
        _wanted(response.status == 200, f"the status is {response.status}")
        first, again = map(json.loads, [self.first.data, response.data])
        for name in ['receipt', 'signature']:
            _wanted(first[name] == again[name], f"another {name}")
        return True

    def check_receipt(self, message, response):
        "Check that the answer is the receipt of the message"
        answer = json.loads(response.data)
        receipt = Receipt.open(
            answer['receipt'].encode('utf-8'), answer['signature'],
            self.descriptor.public_keys())
        _wanted((receipt.message, receipt.digest, receipt.receiver) == (
                message.id, message.digest, self.descriptor.identifier),
            "the receipt is of another message")

    def statement(self, **values):
        return self.participant.statement(
            'relation-end', {'relation': str(uuid4())}, **values)

    def probe_signatures(self):
        message = self.statement()
        data = message.to_bytes()
        jws = self.participant.sign(data, message.typ)
        self.expect("the signature of other bytes",
            lambda: self.post(data + b' ', jws), 'signature')
        for typ in [signature.ENVELOPE, signature.TOKEN]:
            self.expect(f"a statement signed as {typ}",
                lambda: self.send(message, typ=typ), 'signature')

    def probe_parties(self):
        self.expect("a message to somebody else",
            lambda: self.send(self.statement(receiver=STRANGER)),
            'not-addressed')
        self.expect("a message of somebody else",
            lambda: self.send(self.statement(sender=STRANGER)),
            'not-sender')
        for name, relation in [("no", None), ("an unknown", str(uuid4()))]:
            self.expect(f"a document under {name} relation",
                lambda: self.send(self.participant.envelope(
                        self.document(), relation)), 'no-relation')

    def document(self):
        "Return a document of which no effect comes"
        return ubl.MessageLevelResponse(
            number='1', date=dt.date.today(),
            sender=ubl.Party(identifier=self.participant.identifier),
            receiver=ubl.Party(identifier=self.descriptor.identifier),
            document=str(uuid4()), code='AP')

    def probe_forms(self):
        good = self.participant.envelope(
            self.document(), self.relation).to_bytes()
        statement = self.statement().to_bytes()
        start = good.index(b'<sh:')
        for name, data in [
                ("text", b'hello'),
                ("XML that is not well-formed", good[:-10]),
                ("a DOCTYPE",
                    b'<!DOCTYPE a SYSTEM "http://127.0.0.1:9/">'
                    + good[start:]),
                ("entities that grow", BOMB),
                ("an instruction", good[:start] + b'<?a b?>' + good[start:]),
                ("too many levels", b'<a>' * 50000 + b'</a>' * 50000),
                ("another encoding", good.replace(b'UTF-8', b'UTF-7', 1)),
                ("an unknown scope",
                    good.replace(b'>RELATION<', b'>OTHER<', 1)),
                ("an unknown document",
                    good.replace(b'trns:mlr:3', b'trns:mlr:9')),
                ("JSON that is not canonical",
                    statement.replace(b':', b': ', 1)),
                ("a member twice", statement.replace(
                        b'{"body":', b'{"body":{},"body":', 1)),
                ("many levels of JSON", b'{"a":' * 100000),
                ("another protocol", statement.replace(
                        b'trycoton-1', b'trycoton-0')),
                ("an unknown kind of statement", statement.replace(
                        b'relation-end', b'relation-oth')),
                ]:
            typ = (signature.RELATION if data.startswith(b'{')
                else signature.ENVELOPE)
            self.expect(f"signed: {name}",
                lambda: self.post(data, self.participant.sign(data, typ)),
                'malformed')

    def probe_tokens(self):
        path = urlsplit(self.url).path + '/edi/mailbox'
        issue = self.participant.token
        first = issue('GET', path)
        self.check(
            "the mailbox with a token", lambda: self.check_mailbox(first))
        late = dt.datetime.now(dt.timezone.utc) - dt.timedelta(minutes=2)
        for name, token in [
                ("used before", first),
                ("expired", issue('GET', path, now=late)),
                ("for another path", issue('GET', path + '/x')),
                ("for another method", issue('POST', path)),
                ("for somebody else", issue(
                        'GET', path, audience=STRANGER)),
                ("of somebody else", issue('GET', path, issuer=STRANGER)),
                ]:
            self.expect(f"the mailbox with a token {name}",
                lambda: self.call(
                    'GET', '/edi/mailbox', Authorization=f'Bearer {token}'),
                'token')

    def check_mailbox(self, token):
        response = self.call(
            'GET', '/edi/mailbox', Authorization=f'Bearer {token}')
        _wanted(response.status == 200, f"the status is {response.status}")
        messages = canonical.load(response.data)['messages']
        _wanted(isinstance(messages, list), "no list of messages")
        return True
