# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"A participant: who it is, whom it knows, what it said and was told"
import json
import uuid

from . import canonical, document, key, message, proof, web
from .canonical import Refused
from .store import Store

RETRIABLE = {401, 408, 429}
# What reading a document raises that leaves out what it must say
UNREADABLE = ArithmeticError, LookupError, TypeError, ValueError
# The types of the signatures over what is received
SIGNED = {
    'trycoton-envelope', 'trycoton-statement', 'trycoton-relation',
    'trycoton-offer-approval'}


class Partner:
    """trader is told of what takes effect

    party is what documents say of us: identifier, name, and so on.
    """

    def __init__(self, path, party, endpoint=None, trader=None):
        self.store = Store(path)
        self.party = party
        self.identifier = party['identifier']
        self.endpoint = endpoint
        self.trader = trader
        secret = self.store.get('key', 'signing')
        if not secret:
            secret = key.Key().secret.hex()
            self.store.put('key', 'signing', secret)
            self.store.put('key', 'since', canonical.now())
        self.key = key.Key(bytes.fromhex(secret))

    # Who we are

    @property
    def published(self):
        return [{
                'key': self.key.jwk,
                'valid_from': self.store.get('key', 'since'),
                'valid_to': None,
                'revoked': None,
                }]

    @property
    def fingerprint(self):
        return key.fingerprint(self.key.jwk)

    @property
    def legal(self):
        names = [
            'siren', 'vat', 'street', 'postal_code', 'city', 'country',
            'email', 'phone']
        return {name: self.party.get(name) for name in names}

    def descriptor(self):
        data = canonical.dump({
                'identifier': self.identifier, 'name': self.party['name'],
                'kind': 'participant', 'endpoint': self.endpoint,
                'keys': self.published, 'created': canonical.now(),
                'log': None, 'trust_parties': [], 'charter': None,
                'roles': [], 'legal': self.legal, 'recovery': None,
                'fee': None, 'commission': None, 'witness': None})
        return data, self.key.sign(data, 'trycoton-descriptor')

    # Whom we know

    def fetch_descriptor(self, url, fingerprint, path='/edi/descriptor'):
        "Return the descriptor at the address, if it has the fingerprint"
        status, headers, data = web.call('GET', url + path)
        if status != 200:
            raise Refused(f"{url} answers {status}")
        value = canonical.load(data)
        keys = key.valid(value['keys'])
        first = next(iter(keys))
        key.verify(data, headers[key.HEADER], 'trycoton-descriptor',
            {first: keys[first]})
        if key.fingerprint(keys[first]) != fingerprint:
            raise Refused("not the fingerprint that was given")
        return value

    def add_peer(self, url, fingerprint):
        value = self.fetch_descriptor(url, fingerprint)
        self._know(value, state='active')
        return value['identifier']

    def _know(self, value, **others):
        names = ['identifier', 'name', 'kind', 'endpoint', 'keys', 'log']
        others.setdefault('trust_parties', value.get('trust_parties', []))
        self.store.put('peer', value['identifier'], {
                **{name: value[name] for name in names}, **others,
                'legal': value['legal']})

    def peer(self, identifier):
        return self.store.get('peer', identifier)

    def party_of(self, identifier):
        "Return what documents say of a peer"
        peer = self.peer(identifier)
        return {
            **(peer['legal'] or {}), 'identifier': identifier,
            'name': peer['name']}

    # A community

    def join(self, url, fingerprint, roles, trust_party=None):
        "Apply to the community; its manager decides"
        value = self.fetch_descriptor(
            url, fingerprint, '/community/descriptor')
        community = value['identifier']
        self._know(value, state='active')
        for other in value['trust_parties']:
            self._know(
                {**other, 'kind': 'trust-party', 'legal': None},
                state='active')
        relation = str(uuid.uuid4())
        self._agree(relation, community, None, trust_party)
        body = {
            'participant': {
                'identifier': self.identifier, 'name': self.party['name'],
                'kind': 'participant', 'roles': sorted(roles),
                'state': 'active', 'keys': self.published, 'recovery': None,
                'endpoint': self.endpoint,
                'trust_parties': [trust_party] if trust_party else [],
                'direct': True, 'legal': self.legal, 'log': None,
                'witness': None},
            'roles': sorted(roles),
            'charter': {
                'version': value['charter']['version'],
                'digest': value['charter']['digest']},
            'relation': {'relation': relation, 'trust_party': trust_party},
            }
        self.say(community, 'application', body)
        return community

    def fetch_directory(self, community):
        "Take over the last version of the directory of the community"
        peer = self.peer(community)
        status, headers, data = web.call(
            'GET', peer['endpoint'] + '/community/directory')
        if status != 200:
            raise Refused(f"no directory: {status}")
        key.verify(data, headers[key.HEADER], 'trycoton-directory',
            key.valid(peer['keys']))
        value, digest = canonical.load(data), canonical.digest(data)
        known = self.store.get('directory', community)
        if known and (
                value['version'] < known['version']
                or value['version'] == known['version']
                and digest != known['digest']
                or value['version'] == known['version'] + 1
                and value['previous'] != known['digest']):
            raise Refused("the directory contradicts the known one")
        if value['community'] != community or (
                value['expires'] <= canonical.now()):
            raise Refused("the directory is of another community, or old")
        self.store.put('directory', community, {
                'version': value['version'], 'digest': digest})
        for entry in value['participants']:
            if entry['identifier'] != self.identifier:
                self._know(entry, state=entry['state'])

    def catalogue(self, community):
        "Return the offers on sale, each line with its seller"
        peer = self.peer(community)
        offers = []
        answer = self._ask(peer, 'GET', '/offer/catalogue')
        for part in answer['pages']:
            data = canonical.decode(part['page'])
            key.verify(data, part['signature'], 'trycoton-catalogue-page',
                key.valid(peer['keys']))
            for offer in canonical.load(data)['offers']:
                envelope = message.read(canonical.decode(offer['catalogue']))
                seller = envelope.header['sender']
                key.verify(
                    envelope.data, offer['signature'], 'trycoton-envelope',
                    key.valid(self.peer(seller)['keys']))
                offers += [
                    {'seller': seller, **line}
                    for line in document.offers(envelope.content)
                    if line['id'] in offer['lines']
                    and offer['state'] == 'approved']
        return offers

    # Relations

    def relate(self, identifier, community=None, trust_party=None):
        "Propose a relation; documents follow once it is agreed"
        relation = str(uuid.uuid4())
        self._agree(relation, identifier, community, trust_party, 'proposed')
        self.say(identifier, 'relation-proposal', {
                'relation': relation, 'community': community,
                'trust_party': trust_party, 'replaces': None,
                'sealed': None},
            via=trust_party)
        return relation

    def _agree(
            self, relation, identifier, community, trust_party,
            state='agreed'):
        self.store.put('relation', relation, {
                'peer': identifier, 'community': community,
                'trust_party': trust_party, 'state': state})

    def relations(self, identifier):
        "Return the agreed relations with a peer"
        return [
            name for name, relation in self.store.all('relation').items()
            if (relation['peer'], relation['state']) == (
                identifier, 'agreed')]

    def relation(self, relation):
        return self.store.get('relation', relation) if relation else None

    # Sending

    def say(self, identifier, kind, body, via=None, correlation=None):
        "Put a statement in the outbox"
        self._send(identifier, {
                'type': kind, 'via': via, 'correlation': correlation},
            lambda header: message.statement(header, body))

    def send(self, relation, data, correlation=None):
        "Put a UBL document in the outbox of the relation"
        agreed = self.relation(relation)
        self._send(agreed['peer'], {
                'relation': relation, 'via': agreed['trust_party'],
                'correlation': correlation},
            lambda header: message.envelope(header, data))

    def _send(self, identifier, header, write):
        with self.store.transaction():
            sent = self.store.messages(direction='out', peer=identifier)
            via = header['via']
            data = write({
                    **header, 'sender': self.identifier,
                    'receiver': identifier, 'id': str(uuid.uuid4()),
                    'created': canonical.now(), 'sequence': len(sent) + 1,
                    'previous': sent[-1]['digest'] if sent else None,
                    'checkpoint': self._checkpoint(via),
                    'country': self.party.get('country')})
            written = message.read(data)
            self.store.add(
                direction='out', peer=identifier, id=written.header['id'],
                sequence=len(sent) + 1, digest=written.digest, data=data,
                signature=self.key.sign(data, written.typ),
                hop=via or identifier, state='waiting')

    def post(self):
        "Post what waits, in order; return how many messages left"
        count = 0
        silent = set()
        for row in self.store.messages(direction='out', state='waiting'):
            if row['hop'] in silent or not self._post(row):
                # Nothing may overtake what did not leave
                silent.add(row['hop'])
            else:
                count += 1
        return count

    def _post(self, row):
        hop = self.peer(row['hop'])
        written = message.read(row['data'])
        path = ('/community/applications'
            if written.header['type'] == 'application' else '/edi/messages')
        try:
            status, headers, data = web.call(
                'POST', hop['endpoint'] + path, row['data'], **{
                    key.HEADER: row['signature'],
                    'Content-Type': 'application/xml'
                    if row['data'].startswith(b'<') else 'application/json'})
        except OSError as exception:
            self.store.change(row, error=str(exception))
            return False
        if status in {200, 201, 202}:
            self._acknowledged(row, hop, json.loads(data))
            return True
        final = status < 500 and status not in RETRIABLE and (
            'Retry-After' not in headers)
        self.store.change(
            row, error=data.decode(errors='replace'),
            state='failed' if final else 'waiting')
        return False

    def _acknowledged(self, row, hop, answer):
        "Keep the receipt of the next hop, and its proof"
        receipt = answer['receipt'].encode()
        key.verify(receipt, answer['signature'], 'trycoton-receipt',
            key.valid(hop['keys']))
        said = canonical.load(receipt)
        if (said['message'], said['digest'], said['receiver']) != (
                row['id'], row['digest'], hop['identifier']):
            raise Refused("the receipt of another message")
        self.store.change(
            row, state='sent', error=None, receipt=answer['receipt'],
            receipt_signature=answer['signature'])
        if answer.get('record'):
            self._keep_records(row, {'submission': answer['record']})

    # Receiving

    def receive(self, data, jws):
        """Store a message and return whether it was known, and the answer;
        refuse it with the problem of the protocol"""
        if len(data) > message.MAX_SIZE:
            raise Refused("too large", 'too-large', 413)
        header = key.head(jws)
        if header['typ'] not in SIGNED:
            raise Refused("signed for something else", 'signature', 401)
        signers = [
            p for p in self.store.all('peer').values()
            if header['kid'] in key.valid(p['keys'])]
        if not signers:
            raise Refused("nobody has this key", 'unknown-key', 401)
        key.verify(
            data, jws, header['typ'], key.valid(signers[0]['keys']))
        said = message.read(data)
        if said.typ != header['typ']:
            raise Refused("signed for something else", 'signature', 401)
        if said.header['receiver'] != self.identifier:
            raise Refused("not for us", 'not-addressed', 404)
        if said.header['sender'] not in {p['identifier'] for p in signers}:
            raise Refused("not the key of the sender", 'not-sender', 403)
        try:
            return self._admit(said, jws)
        except Refused as exception:
            if exception.name not in web.RETRY:
                self._decline(said, exception)
            raise

    def _admit(self, said, jws):
        "Store what its sender has really signed, once"
        self._check_kind(said)
        sender = said.header['sender']
        with self.store.transaction():
            for row in self.store.messages(
                    direction='in', peer=sender, id=said.header['id']):
                if row['digest'] != said.digest:
                    raise Refused("another message", 'conflict', 409)
                break
            else:
                row = self._keep(said, jws)
                return False, row
        return True, {
            'receipt': row['receipt'], 'signature': row['receipt_signature']}

    def _decline(self, said, exception):
        "Sign that we do not take the message: who relays it proves it so"
        refusal = canonical.dump({
                'message': said.header['id'], 'digest': said.digest,
                'receiver': self.identifier, 'time': canonical.now(),
                'problem': exception.name, 'text': str(exception),
                'checkpoint': None})
        exception.refusal = refusal.decode()
        exception.signature = self.key.sign(refusal, 'trycoton-refusal')

    def _check_kind(self, said):
        "Refuse what we would not understand"
        kind = said.header['type']
        if said.typ == 'trycoton-envelope':
            document.kind_of(kind)
        elif not self._handler(kind):
            raise Refused(f"{kind} is not known")

    def _handler(self, kind):
        return getattr(self, 'on_' + kind.replace('-', '_'), None)

    def _keep(self, said, jws):
        header = said.header
        if self.peer(header['sender'])['state'] != 'active':
            raise Refused("not active", 'suspended', 403)
        if said.typ == 'trycoton-envelope':
            relation = self.relation(header['relation'])
            if not relation or relation['state'] != 'agreed' or (
                    relation['peer'] != header['sender']):
                raise Refused("no relation", 'no-relation', 403)
            if relation['trust_party'] != header['via']:
                raise Refused("another route", 'other-route', 403)
        receipt = canonical.dump({
                'message': header['id'], 'digest': said.digest,
                'receiver': self.identifier, 'time': canonical.now(),
                'status': 'stored',
                'checkpoint': self._checkpoint(header['via'])})
        answer = {
            'receipt': receipt.decode(),
            'signature': self.key.sign(receipt, 'trycoton-receipt')}
        self.store.add(
            direction='in', peer=header['sender'], id=header['id'],
            sequence=header['sequence'], digest=said.digest, data=said.data,
            signature=jws, hop=header['via'] or header['sender'],
            receipt=answer['receipt'],
            receipt_signature=answer['signature'], state='received')
        self._show(header['via'], header['checkpoint'])
        return answer

    # Fetching

    def fetch(self, identifier):
        "Fetch what waits at a peer or a trust party; return how many came"
        peer = self.peer(identifier)
        count, query = 0, ''
        while ids := self._ask(
                peer, 'GET', f'/edi/mailbox{query}')['messages']:
            self._fetch(peer, ids)
            count, query = count + len(ids), f'?after={ids[-1]}'
        return count

    def _fetch(self, peer, ids):
        for id_ in ids:
            path = f'/edi/mailbox/{id_}'
            status, headers, data = self._call(peer, 'GET', path)
            if status == 200:
                try:
                    _, answer = self.receive(data, headers[key.HEADER])
                except Refused as exception:
                    # Given back to the mailbox if it may be taken later
                    answer = web.problem(exception)
                self._call(
                    peer, 'POST', f'{path}/receipt', canonical.dump(answer))

    def _call(self, peer, method, path, data=None):
        url = peer['endpoint'] + path
        token = self.key.token(
            self.identifier, peer['identifier'], method,
            web.urlsplit(url).path)
        return web.call(
            method, url, data, Authorization=f'Bearer {token}')

    def _ask(self, peer, method, path):
        status, _, data = self._call(peer, method, path)
        if status != 200:
            raise Refused(f"{path} answers {status}: {data[:200]}")
        return canonical.load(data)

    # Proofs

    def prove(self):
        "Fetch and verify what the trust parties recorded of the messages"
        for row in self.store.messages():
            hop = self.peer(row['hop'])
            if hop['kind'] == 'trust-party' and not (
                    json.loads(row['records']).keys() & {*proof.CLOSING}):
                self._keep_records(row, self._ask(
                        hop, 'GET', f"/trust/records/{row['id']}"))

    def _keep_records(self, row, records):
        kept = json.loads(row['records'])
        for name, record in records.items():
            if record and name not in kept:
                _, event, _ = proof.record(
                    record, self.peer(row['hop'])['log'])
                self._show(row['hop'], canonical.encode(
                        record['proof'].partition('\n\n')[2].encode()))
                if (event['event'], event['message'], event['digest']) != (
                        name, row['id'], row['digest']):
                    raise Refused("the record of another message")
                if event['reason'] and event['receipt']:
                    self._check_refusal(event)
                kept[name] = record
                if event['reason']:
                    self.store.change(row, error=' '.join(
                            filter(None, [event['reason'], event['text']])))
        self.store.change(row, records=json.dumps(kept))

    def _check_refusal(self, event):
        "Check that the recipient itself has refused the message"
        refusal = event['receipt'].encode()
        key.verify(refusal, event['signature'], 'trycoton-refusal',
            key.valid(self.peer(event['recipient'])['keys']))
        said = canonical.load(refusal)
        if (said['message'], said['digest'], said['receiver']) != (
                event['message'], event['digest'], event['recipient']):
            raise Refused("the refusal of another message")

    # Watching the logs

    def _checkpoint(self, trust_party):
        "Return the last checkpoint that we verified ourselves, in base64"
        return trust_party and self.store.get('checkpoint', trust_party)

    def _show(self, trust_party, note):
        "Have a checkpoint that somebody showed compared with ours"
        with self.store.transaction():
            shown = self.store.get('shown', trust_party) or []
            if trust_party and note and note not in shown:
                self.store.put('shown', trust_party, [*shown, note])

    def watch(self):
        "Follow the logs, and compare what others were shown of them"
        for trust_party, shown in self.store.all('shown').items():
            peer = self.peer(trust_party)
            if shown and peer and peer['log']:
                try:
                    self._watch(trust_party, peer, shown)
                except OSError:
                    # It is silent: again the next time
                    continue

    def _watch(self, trust_party, peer, shown):
        last = canonical.encode(self._read(peer, 'checkpoint'))
        for note in [last, *shown]:
            known = self._checkpoint(trust_party)
            try:
                self._compare(trust_party, peer, known, note)
            except Refused as exception:
                # For a person, who shows it to others
                self.store.put('alarm', f'{trust_party} {note}', {
                        'text': str(exception), 'known': known,
                        'shown': note})
        with self.store.transaction():
            self.store.put('shown', trust_party, [
                    n for n in self.store.get('shown', trust_party)
                    if n not in shown])

    def _compare(self, trust_party, peer, known, note):
        old, new = (
            n and proof.checkpoint(canonical.decode(n).decode(), peer['log'])
            for n in [known, note])
        if old == new:
            return
        grows = not old or old.size < new.size
        if not grows:
            old, new = new, old
        proof.grown(
            old, new, lambda path: self._read(peer, f'tile/{path}'))
        if grows:
            self.store.put('checkpoint', trust_party, note)

    def _read(self, peer, path):
        status, _, data = web.call('GET', f"{peer['endpoint']}/trust/{path}")
        if status != 200:
            raise OSError(f"{path} answers {status}")
        return data

    # Taking effect

    def work(self):
        "Have what was received take effect, and send what follows"
        count = 0
        for row in self.store.messages(direction='in', state='received'):
            said = message.read(row['data'])
            try:
                with self.store.transaction():
                    self.store.change(row, state='processed')
                    self._take(said)
            except (Refused, *UNREADABLE) as exception:
                with self.store.transaction():
                    self.store.change(
                        row, state='refused', error=str(exception))
                    self._refuse(said, exception)
            count += 1
        self.watch()
        return count + self.post()

    def _take(self, said):
        kind = said.header['type']
        if said.typ != 'trycoton-envelope':
            self._handler(kind)(said.header, said.content)
            return
        kind = document.kind_of(kind)
        read = document.read(said.content)
        if set(read['parties']) != {self.identifier, said.header['sender']}:
            raise Refused("the parties are not sender and receiver")
        getattr(self.trader, f'on_{kind}')(said.header, read)

    def _refuse(self, said, exception):
        "Tell the sender, unless it is an answer that is refused"
        if said.typ != 'trycoton-envelope':
            return
        kind = document.kind_of(said.header['type'])
        if not kind.endswith('response') and kind != 'receipt_advice':
            self.answer(said.header, 'RE', str(exception))

    def answer(self, header, code, text=None):
        "Send a message level response"
        self.send(header['relation'], document.message_level_response(
                f"{header['id'][:8]}-{code}", self.party,
                self.party_of(header['sender']), header['id'], code, text),
            correlation=header['id'])

    def on_relation_proposal(self, header, body):
        relation, community, trust_party, _, sealed = canonical.members(
            body, 'relation', 'community', 'trust_party', 'replaces',
            'sealed')
        if trust_party != header['via']:
            raise Refused("another route than the one proposed")
        if sealed is None:
            self._agree(relation, header['sender'], community, trust_party)
        self.say(header['sender'], 'relation-answer', {
                'relation': relation, 'agreed': sealed is None,
                'reason': "We take documents in clear only."
                if sealed else None, 'sealed': None},
            via=trust_party, correlation=header['id'])

    def on_relation_answer(self, header, body):
        relation, agreed, _, sealed = canonical.members(
            body, 'relation', 'agreed', 'reason', 'sealed')
        agreed = agreed and sealed is None
        known = self.relation(relation)
        if known and known['peer'] == header['sender'] and (
                known['state'] == 'proposed'):
            self.store.put('relation', relation, {
                    **known, 'state': 'agreed' if agreed else 'refused'})

    def on_relation_end(self, header, body):
        known = self.relation(body.get('relation'))
        if known and known['peer'] == header['sender']:
            self.store.put(
                'relation', body['relation'], {**known, 'state': 'ended'})

    def on_offer_decision(self, header, body):
        _, _, approved, _, _ = canonical.members(
            body, 'message', 'digest', 'approved', 'refused', 'reason')
        for line in approved:
            self.store.put('approved', line, header['sender'])

    def on_membership_decision(self, header, body):
        self.store.put('membership', header['sender'], body)

    on_membership_state = on_membership_decision
