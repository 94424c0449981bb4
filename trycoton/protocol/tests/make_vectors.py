# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Write the vectors again: python -m trycoton.protocol.tests.make_vectors

What they find valid is what the reference writes; what is refused is made
of it by hand.
"""
import json
import random
from dataclasses import replace
from datetime import timedelta

from trycoton.protocol import (
    canonical, custody, dispute, entry, envelope, merkle, seal, signature,
    statement, token, vector)
from trycoton.protocol.canonical import encode
from trycoton.protocol.commission import (
    CommissionLine, CommissionStatement, Total)
from trycoton.protocol.descriptor import Charter, Descriptor, TrustParty
from trycoton.protocol.directory import Directory, Legal, Participant
from trycoton.protocol.note import Cosigner, Note, NoteSigner
from trycoton.protocol.offer import Approval, ApprovalStatement, Page
from trycoton.protocol.receipt import Receipt, Refusal
from trycoton.protocol.signature import SigningKey
from trycoton.protocol.witness import join

from . import sample, test_events, test_evidence
from .sample import (
    BUYER, COMMUNITY, DIGEST, ID, KEY, OTHER_KEY, PUBLISHED, SELLER, TIME,
    TRUST)

LATER = TIME + timedelta(days=30)
WITNESS_KEY = SigningKey.from_bytes(bytes([9]) * 32)
CHARTER = "Chacun tient ses propres comptes.\n"


def valid(name, given, **result):
    case = {'name': name, **given, 'valid': True}
    if result:
        case['result'] = result
    return case


def refused(name, **given):
    return {'name': name, **given, 'valid': False}


def canonicals():
    for name, value in [
            ("object", {'b': 1, 'a': [True, False, None]}),
            ("text", {'text': "Été & co <\u2028\U0001f33e> \"\\/\t\u007f"}),
            ("empty", {'list': [], 'object': {}, 'text': ''}),
            ("integers", [0, -1, 2 ** 53 - 1]),
            ("order", {'a': 1, 'B': 2, 'a1': 3, '_': 4}),
            ]:
        data = canonical.dump(value)
        yield valid(
            name, {'data': encode(data)}, value=value,
            digest=canonical.digest(data))
    for name, data in [
            ("space", b'{"a": 1}'),
            ("order of members", b'{"b":1,"a":2}'),
            ("member twice", b'{"a":1,"a":1}'),
            ("fraction", b'[1.5]'),
            ("exponent", b'[1e3]'),
            ("large integer", b'[9007199254740992]'),
            ("minus zero", b'[-0]'),
            ("escaped letter", b'["\\u00e9"]'),
            ("escaped solidus", b'["\\/"]'),
            ("not UTF-8", b'["\xe9"]'),
            ("half of a pair", b'["\\ud800"]'),
            ("member not in ASCII", '{"é":1}'.encode()),
            ("byte order mark", b'\xef\xbb\xbf{}'),
            ("new line at the end", b'{}\n'),
            ("too deep", b'[' * 40 + b']' * 40),
            ]:
        yield refused(name, data=encode(data))


def identifiers():
    for text in [
            '0002:732829320', '0009:73282932000074', '0088:7300010000001',
            '0225:732829320', '0225:732829320_4', SELLER]:
        scheme, value = text.split(':')
        yield valid(text, {'text': text}, scheme=scheme, value=value)
    for text in [
            '0002:732829321', '0002:73282932', '0009:73282932000075',
            '0088:7300010000002', '0225:732829320_', '0225:732829320_-a',
            '0225:732829320 4', '9999:732829320', '732829320', '0225:']:
        yield refused(text or "empty", text=text)


def keys():
    for name, key in [
            ("signature", KEY.public), ("encryption", sample.ENCRYPTION_KEY
                .public)]:
        given = {'key': key.to_jwk()}
        if name == "signature":
            yield valid(
                name, given, kid=key.kid, fingerprint=fingerprint(key))
        jwk = key.to_jwk()
        yield refused(f"{name} with padding",
            key={**jwk, 'x': jwk['x'] + '='})
        yield refused(f"{name} with another member", key={**jwk, 'a': 'b'})
    yield refused("other curve", key={**KEY.public.to_jwk(), 'crv': 'P-256'})
    for name, key in [
            ("point of small order", KEY),
            ("point of small order for encryption", sample.ENCRYPTION_KEY)]:
        yield refused(name, key={**key.public.to_jwk(), 'x': 'A' * 43})


def fingerprint(key):
    from trycoton.protocol.descriptor import fingerprint
    return fingerprint(key)


def signatures():
    data = b'{"a":1}'
    jwk = KEY.public.to_jwk()
    typ = signature.STATEMENT
    jws = signature.sign(data, typ, KEY)
    header, _, value = jws.split('.')
    given = {'data': encode(data), 'jws': jws, 'typ': typ, 'key': jwk}
    yield valid("Ed25519", given)

    def signed(**values):
        header = signature.b64url(json.dumps(
                {'alg': 'Ed25519', 'kid': KEY.kid, 'typ': typ, **values},
                separators=(',', ':')).encode())
        payload = signature.b64url(data)
        return (f'{header}..' + signature.b64url(
                KEY.sign(f'{header}.{payload}'.encode())))
    yield valid("EdDSA", {**given, 'jws': signed(alg='EdDSA')})
    for name, values in [
            ("other bytes", {'data': encode(b'{"a":2}')}),
            ("other key", {'key': OTHER_KEY.public.to_jwk()}),
            ("other type", {'typ': signature.RECEIPT}),
            ("no algorithm", {'jws': signed(alg='none')}),
            ("other algorithm", {'jws': signed(alg='HS256')}),
            ("critical member", {'jws': signed(crit=['b64'], b64=False)}),
            ("key in the header", {'jws': signed(jwk=jwk)}),
            ("attached", {'jws': '.'.join([
                            header, signature.b64url(data), value])}),
            ("padding", {'jws': jws + '=='}),
            ("other form of the last letter", {
                    'jws': jws[:-1] + chr(ord(jws[-1]) + 1)}),
            ("empty", {'jws': ''}),
            ]:
        yield refused(name, **{**given, **values})


def tokens():
    now = int(TIME.timestamp())
    text = token.issue(
        KEY, BUYER, SELLER, 'GET', '/database/cooperative/edi/mailbox', TIME,
        jti=ID)
    given = {
        'token': text, 'issuer': BUYER, 'key': KEY.public.to_jwk(),
        'audience': SELLER, 'method': 'GET',
        'path': '/database/cooperative/edi/mailbox', 'now': now}
    claims = canonical.load(signature.b64url_decode(text.split('.')[1]))
    for name, moment in [("at once", 0), ("clock late", -5), ("end", 59)]:
        yield valid(name, {**given, 'now': now + moment}, **claims)
    for name, values in [
            ("expired", {'now': now + 60}),
            ("from the future", {'now': now - 6}),
            ("other path", {'path': '/database/cooperative/edi/mailbox/1'}),
            ("other method", {'method': 'POST'}),
            ("other audience", {'audience': TRUST}),
            ("other issuer", {'issuer': SELLER}),
            ("other key", {'key': OTHER_KEY.public.to_jwk()}),
            ("detached", {'token': signature.sign(
                        canonical.dump(claims), signature.TOKEN, KEY)}),
            ("an hour", {'token': _token({**claims, 'exp': now + 3600})}),
            ("one more claim", {'token': _token({**claims, 'sub': BUYER})}),
            ]:
        case = refused(name, **{**given, **values})
        yield case


def _token(claims):
    data = canonical.dump(claims)
    header, _, value = signature.sign(
        data, signature.TOKEN, KEY).split('.')
    return '.'.join([header, signature.b64url(data), value])


def messages():
    full = sample.envelope()
    least = sample.envelope(
        id=ID, sequence=1, previous=None, correlation=None, via=None,
        checkpoint=None, replaces=None, country=None)
    said = sample.statement(body={
            'relation': ID, 'community': None, 'replaces': None,
            'sealed': None, 'trust_party': None})
    application = sample.statement(
        kind='application', body=bodies()['Application'].to_json())
    for name, message in [
            ("envelope with all the scopes", full),
            ("envelope with the fewest", least),
            ("statement", said), ("application", application)]:
        yield _message(name, message.to_bytes(), message)
    data = least.to_bytes()
    for name, old, new in [
            ("white space between the elements", b'<sh:Receiver>',
                b'\n  <sh:Receiver>'),
            ("fraction and zone", b'12:00:00Z', b'13:00:00.5+01:00'),
            ("other prefix", b'sh:', b's:'),
            ]:
        changed = data.replace(old, new)
        if name == "other prefix":
            changed = changed.replace(b'xmlns:sh', b'xmlns:s')
        assert changed != data
        yield _message(name, changed)
    for name, old, new in [
            ("DOCTYPE", b'<sh:Standard',
                b'<!DOCTYPE a [<!ENTITY b "c">]>\n<sh:Standard'),
            ("processing instruction", b'<sh:Standard',
                b'<?a b?>\n<sh:Standard'),
            ("not well-formed", b'</sh:BusinessScope>', b''),
            ("other encoding", b'UTF-8', b'UTF-16'),
            ("other version of the header", b'>1.0<', b'>1.1<'),
            ("other authority", b'iso6523-actorid-upis', b'other'),
            ("invalid identifier", SELLER.encode(), b'0225:732829321'),
            ("unknown scope", b'>RELATION<', b'>OTHER<'),
            ("scope twice", b'>RELATION<', b'>SEQUENCE<'),
            ("sequence missing", b'>SEQUENCE<', b'>REPLACES<'),
            ("other protocol", b'trycoton-1', b'trycoton-0'),
            ("other root than the header", b'<sh:Type>Order<',
                b'<sh:Type>Invoice<'),
            ("other process than the document",
                b'<sh:InstanceIdentifier>urn:fdc:peppol.eu:poacc:bis:adv',
                b'<sh:InstanceIdentifier>urn:fdc:peppol.eu:poacc:bis:xdv'),
            ("attribute", b'<sh:Sender>', b'<sh:Sender a="b">'),
            ("comment in the header", b'<sh:Sender>', b'<!--a--><sh:Sender>'),
            ("text in the header", b'<sh:Sender>', b'a<sh:Sender>'),
            ("two documents", b'</Order>', b'</Order><Order/>'),
            ("time without zone", b'12:00:00Z', b'12:00:00'),
            ]:
        changed = data.replace(old, new, 1)
        assert changed != data, name
        yield refused(name, data=encode(changed))
    data = said.to_bytes()
    for name, old, new in [
            ("statement with a space", b':1,', b': 1,'),
            ("statement of another protocol", b'trycoton-1', b'trycoton-2'),
            ("statement without sequence", b'"sequence":1,', b''),
            ("statement with another member", b'"body"', b'"a":1,"body"'),
            ("statement whose kind has no form", b'relation-proposal',
                b'Relation'),
            ]:
        changed = data.replace(old, new, 1)
        assert changed != data, name
        yield refused(name, data=encode(changed))


def seals():
    key = sample.ENCRYPTION_KEY
    document, _ = seal.seal(
        sample.envelope(), key.public, draw=random.Random(1).randbytes)
    invoice, _ = seal.seal(
        sample.envelope(), key.public, total=Total(
            'invoice', TIME.date(), 'EUR', '100.00', '120.00'),
        draw=random.Random(2).randbytes)
    said, _ = seal.seal(
        sample.statement(kind='document-read', body={
                'message': ID, 'digest': DIGEST,
                'time': canonical.format_time(TIME)}),
        key.public, draw=random.Random(3).randbytes)
    for name, message in [
            ("document", document), ("document with a total", invoice),
            ("statement", said)]:
        case = {
            'name': name, 'data': encode(message.to_bytes()),
            'key': key.to_bytes().hex(), 'valid': True}
        case['result'] = vector._checks['seal'](case)
        yield case
    header, *rest = document.sealed.split('.')

    def changed(**values):
        value = {**json.loads(signature.b64url_decode(header)), **values}
        return '.'.join([signature.b64url(canonical.dump(
                        {n: v for n, v in value.items() if v is not None})),
                *rest])

    def flipped(index):
        parts = [header, *rest]
        data = bytearray(signature.b64url_decode(parts[index]))
        data[len(data) // 2] ^= 1
        parts[index] = signature.b64url(bytes(data))
        return '.'.join(parts)

    for name, jwe in [
            ("no algorithm", changed(alg='none')),
            ("direct agreement", changed(alg='ECDH-ES')),
            ("other encryption", changed(enc='A128GCM')),
            ("compression", changed(zip='DEF')),
            ("nested", changed(cty='JWE')),
            ("critical header", changed(crit=['exp'])),
            ("no type", changed(typ=None)),
            ("other sender", changed(apu=signature.b64url(b'0225:1'))),
            ("other message", changed(apv=signature.b64url(b'a'))),
            ("point of small order", changed(epk={
                        'crv': 'X25519', 'kty': 'OKP', 'x': 'A' * 43})),
            ("other wrapped key", flipped(1)),
            ("other nonce", flipped(2)),
            ("other text", flipped(3)),
            ("other tag", flipped(4)),
            ("padding", document.sealed + '='),
            ]:
        message = replace(
            document, payload=envelope.sealed_payload(jwe), tree=None)
        yield refused(
            name, data=encode(message.to_bytes()), key=key.to_bytes().hex())
    for name, message, secret in [
            ("other key", document, OTHER_KEY.to_bytes()),
            ("other commitment", replace(
                    document, commitment='0' * 64, tree=None),
                key.to_bytes()),
            ("not sealed", sample.envelope(), key.to_bytes()),
            ]:
        yield refused(
            name, data=encode(message.to_bytes()), key=secret.hex())


def _message(name, data, message=None):
    case = {'name': name, 'data': encode(data), 'valid': True}
    case['result'] = vector._checks['message'](case)
    assert not message or case['result']['digest'] == message.digest
    return case


def bodies():
    participant = Participant(
        BUYER, "Épicerie Bleue", roles=['buyer'], keys=PUBLISHED,
        endpoint='https://buyer.example/cooperative', trust_parties=[TRUST],
        direct=True, legal=Legal(siren='732829320', country='FR'))
    charter = Charter(
        1, TIME.date(), canonical.digest(CHARTER.encode()), text=CHARTER)
    trust = TrustParty(
        TRUST, "Tiers", 'https://trust.example/cooperative', PUBLISHED,
        NoteSigner('log.example', KEY).vkey)
    catalogue = sample.envelope(payload=sample.CATALOGUE)
    receipt = Receipt(
        ID, DIGEST, SELLER, TIME, checkpoint=sample.envelope().checkpoint)
    route = statement.Route(ID, TRUST)
    world = test_evidence.deal()
    said = sample.statement()
    due = dispute.Due('120.00', 'EUR')
    award = dispute.Award(
        ID, DIGEST, COMMUNITY, SELLER, BUYER, 'split', due,
        dispute.Due('80.00', 'EUR'), "La moitié était gâtée.", [DIGEST], TIME)
    return {
        'Application': statement.Application(
            participant, ['buyer'],
            statement.Acceptance(1, charter.digest), route),
        'ApprovalStatement': ApprovalStatement(
            ID, DIGEST, ['1'], ['2'], "Non."),
        'Award': award,
        'Claims': token.Claims(
            BUYER, SELLER, 'GET', '/database/cooperative/edi/mailbox',
            int(TIME.timestamp()), int(TIME.timestamp()) + 60, ID),
        'CommissionStatement': CommissionStatement(
            COMMUNITY, TRUST, TIME, 0, [CommissionLine(
                    ID, 'invoice', '1', TIME.date(), SELLER, BUYER, ID,
                    'EUR', '100.00', '120.00', DIGEST, 7)]),
        'Confirmation': custody.Confirmation(
            COMMUNITY, ID, 'released', 'PSP-1', due, ID, TIME),
        'Descriptor': Descriptor(
            COMMUNITY, "La commune", 'community',
            'https://community.example/cooperative', PUBLISHED, TIME,
            trust_parties=[trust], charter=charter, roles=['manager'],
            recovery=OTHER_KEY.public, commission='0.05',
            fee={'amount': '30.00', 'currency': 'EUR'}),
        'Directory': Directory(
            COMMUNITY, 1, None, TIME, LATER, [
                replace(participant, witness=Cosigner(
                        'buyer.example/cooperative/witness', WITNESS_KEY
                        ).vkey)], 1),
        'DisputeAnswer': dispute.Answer(
            ID, False, "Livré en bon état.", ['payment'], COMMUNITY),
        'DisputeArbiter': dispute.ArbiterNaming(ID, COMMUNITY),
        'DisputeAward': dispute.AwardNotice(
            award.to_bytes(),
            signature.sign(award.to_bytes(), award.typ, KEY)),
        'DisputeCase': dispute.CaseStatement(
            said.to_bytes(), signature.sign(said.to_bytes(), said.typ, KEY)),
        'DisputeEvidence': dispute.CaseEvidence(
            ID, "Photo.", 'photo.jpg', b'\xff\xd8'),
        'DisputeOpening': dispute.Opening(
            ID, ID, 'buyer', [dispute.Contested(ID, DIGEST)],
            "Le miel est gâté.", 'refund', due, ['despatch', 'payment'],
            COMMUNITY, TIME, LATER),
        'DisputeWithdrawal': dispute.Withdrawal(ID, None),
        'Evidence': world.messages[0].records[0].event,
        'MembershipState': statement.MembershipState(
            'active', None, '4', ['buyer'], ["Nord"],
            statement.Money('30.00', 'EUR'), TIME.date(), None, route),
        'Page': Page(COMMUNITY, 1, None, TIME, LATER, [], [Approval(
                    catalogue.to_bytes(), signature.sign(
                        catalogue.to_bytes(), signature.ENVELOPE, KEY),
                    ['1', '2'])]),
        'Receipt': receipt,
        'Record': world.messages[0].records[1],
        'Refusal': Refusal(
            ID, DIGEST, SELLER, TIME, 'suspended', "The sender is not active.",
            sample.envelope().checkpoint),
        'RelationAnswer': statement.RelationAnswer(ID, True, None),
        'RelationArbiter': dispute.RelationArbiter(ID, COMMUNITY),
        'RelationEnd': statement.RelationEnd(ID),
        'RelationProposal': statement.RelationProposal(
            ID, COMMUNITY, TRUST, sealed=sample.ENCRYPTION_KEY.kid),
        'Resignation': statement.Resignation("Je pars."),
        }


def records():
    for name, record in bodies().items():
        data = record.to_bytes()
        given = {'record': name, 'data': encode(data)}
        yield valid(name, given, digest=canonical.digest(data))
        value = record.to_json()
        for what, changed in [
                ("one member more", {**value, 'other': None}),
                ("one member less", dict(list(value.items())[1:])),
                ]:
            yield refused(
                f"{name}: {what}", record=name,
                data=encode(canonical.dump(changed)))


def merkles():
    leaves = [bytes([n]) * 33 for n in range(13)]
    nodes, frontier, roots = {}, merkle.Frontier(), {}
    for number, leaf in enumerate(leaves, 1):
        for level, index, hash_ in frontier.append(merkle.leaf_hash(leaf)):
            nodes[level, index] = hash_
        roots[number] = frontier.root

    def node(level, index):
        return nodes[level, index]
    for index, size in [(0, 1), (0, 2), (1, 2), (2, 3), (4, 7), (12, 13)]:
        given = {
            'entry': leaves[index].hex(), 'index': index, 'size': size,
            'root': roots[size].hex(),
            'proof': [h.hex() for h in merkle.inclusion_proof(
                    node, index, size)]}
        yield valid(f"inclusion of {index} in {size}", given)
        yield refused(
            f"inclusion of another entry at {index} in {size}",
            **{**given, 'entry': leaves[index - 1].hex()[:-2] + 'ff'})
        yield refused(
            f"inclusion of {index} in {size} with a hash more",
            **{**given, 'proof': given['proof'] + ['00' * 32]})
        yield refused(
            f"inclusion of {index} beyond {size}", **{**given, 'index': size})
    for old, size in [(1, 1), (1, 2), (3, 7), (4, 8), (6, 13)]:
        given = {
            'old': old, 'size': size, 'old_root': roots[old].hex(),
            'root': roots[size].hex(),
            'proof': [h.hex() for h in merkle.consistency_proof(
                    node, old, size)]}
        yield valid(f"consistency of {old} and {size}", given)
        yield refused(
            f"consistency of {old} and {size} with another root",
            **{**given, 'old_root': 'ab' * 32})


def notes():
    world = test_evidence.deal()
    log = world.log
    proof = log.prove(0, 3)
    note = proof.partition('\n\n')[2]
    checkpoint = {'note': note, 'vkey': log.signer.vkey}
    case = {'name': "checkpoint", **checkpoint, 'valid': True}
    case['result'] = vector._checks['note'](case)
    yield case
    witness = Cosigner('witness.example/w', WITNESS_KEY)
    signed = Note.parse(note.encode())
    cosigned = join(signed, [
            witness.sign(signed.text, int(TIME.timestamp()))]).decode()
    case = {**checkpoint, 'name': "cosigned", 'note': cosigned, 'valid': True}
    case['result'] = vector._checks['note'](case)
    yield case
    yield refused("key of a witness", note=cosigned, vkey=witness.vkey)
    other = NoteSigner('log.example', OTHER_KEY)
    for name, values in [
            ("other key", {'vkey': other.vkey}),
            ("key whose id is not its own", {
                    'vkey': log.signer.vkey.replace(
                        log.signer.id.hex(), '00000000')}),
            ("other size", {'note': note.replace('\n3\n', '\n4\n')}),
            ("zero before the size", {
                    'note': note.replace('\n3\n', '\n03\n')}),
            ("without signature", {
                    'note': note.partition('\u2014')[0]}),
            ("end of line missing", {'note': note[:-1]}),
            ]:
        yield refused(name, **{**checkpoint, **values})


def proofs():
    world = test_evidence.deal()
    vkey = world.log.signer.vkey
    for message in world.messages:
        for record in message.records:
            yield _proof(record, vkey)
    for record in _undelivered().messages[0].records[1:]:
        yield _proof(record, vkey)
    signed, alone = (
        _refused(sign).messages[0].records[1] for sign in [True, False])
    yield {**_proof(signed, vkey), 'name': "refusal that is signed"}
    yield {**_proof(alone, vkey), 'name': "refusal that is not signed"}
    one, two = world.messages[0].records
    for name, changed in [
            ("other nonce", entry.Record(one.evidence, b'0' * 32, one.proof)),
            ("other evidence", entry.Record(
                    two.evidence, one.nonce, one.proof)),
            ("other proof", entry.Record(
                    one.evidence, one.nonce, two.proof)),
            ]:
        yield refused(name, data=encode(changed.to_bytes()), vkey=vkey)
    yield refused(
        "other log", data=encode(one.to_bytes()),
        vkey=NoteSigner('log.example', OTHER_KEY).vkey)


def _proof(record, vkey):
    case = {
        'name': f"{record.event.event} of {record.event.message[-2:]}",
        'data': encode(record.to_bytes()), 'vkey': vkey, 'valid': True}
    case['result'] = vector._checks['proof'](case)
    return case


def _undelivered():
    return test_events.tell(test_events.world(), [
            entry.SUBMISSION, entry.CONSIGNMENT, entry.FAILURE])


def _refused(sign):
    return test_events.tell(
        test_events.world(), [entry.SUBMISSION, entry.FAILURE],
        refused='signed' if sign else 'alone')


def evidences():
    world = test_evidence.deal()
    world.seal(
        test_evidence.SELLER, test_evidence.BUYER, test_evidence.minutes(9))
    data = world.build(consistency=world.log.consistency)
    log, community = world.log.signer.vkey, world.vkey(
        test_evidence.COMMUNITY)
    for name, trusted, status in [
            ("deal, nobody trusted", [], 3),
            ("deal, the log trusted", [log], 0),
            ("deal, the community trusted", [community], 0),
            ]:
        yield valid(
            name, {'data': encode(data), 'trusted': trusted}, status=status)
    undelivered = _undelivered()
    rejected = test_events.tell(test_events.world(), [entry.REJECTION])
    for name, world in [
            ("message not delivered", undelivered),
            ("message refused", rejected),
            ("refused by the recipient, signed", _refused(True)),
            ("refused by the recipient, not signed", _refused(False))]:
        yield valid(
            name, {'data': encode(world.build()), 'trusted': [log]},
            status=0)
    yield refused(
        "message delivered and not delivered", trusted=[log],
        data=encode(_delivered_twice()))
    value = json.loads(data)
    for name, change in [
            ("message changed", lambda v: _flip(v['messages'][0], 'data')),
            ("message missing", lambda v: v['messages'].pop(0)),
            ("receipt changed", lambda v: _flip(
                    v['messages'][0]['records'][1], 'evidence')),
            ("nonce changed", lambda v: _flip(
                    v['messages'][0]['records'][0], 'nonce')),
            ("directory missing", lambda v: v['directories'].pop()),
            ("content key changed", lambda v: _flip(
                    v['messages'][-1], 'content_key')),
            ("policy changed", lambda v: v['policies'][0].update(
                    text=v['policies'][0]['text'].replace(
                        'quorum none', 'quorum some'))),
            ("seal of another", lambda v: v.update(exporter=SELLER)),
            ("key added", lambda v: v['keys'].append(
                    NoteSigner('z.example', OTHER_KEY).vkey)),
            ]:
        changed = json.loads(json.dumps(value))
        change(changed)
        yield refused(
            name, data=encode(canonical.dump(changed)), trusted=[log])


def _delivered_twice():
    world = test_events.tell(
        test_events.world(), [entry.SUBMISSION, entry.DELIVERY])
    file = json.loads(world.build())
    file['messages'][0]['records'].append(world.log.record(
            world.messages[0].value, entry.FAILURE,
            test_evidence.minutes(2), None, reason=entry.EXPIRED).to_json())
    return canonical.dump(file)


def _flip(value, name):
    data = bytearray(canonical.decode(value[name]))
    data[len(data) // 2] ^= 1
    value[name] = encode(bytes(data))


VECTORS = {
    'canonical': (
        "Canonical JSON", "data is base64; value is what the bytes say and "
        "digest their SHA-256.", canonicals),
    'identifier': (
        "Identifiers of participants", "text is an identifier.", identifiers),
    'key': (
        "Public keys", "key is a JSON Web Key; kid is its thumbprint and "
        "fingerprint what people compare.", keys),
    'signature': (
        "Detached signatures", "data is base64, jws the signature over it, "
        "of type typ, by key.", signatures),
    'token': (
        "Pull tokens", "token comes from issuer, whose key is key, for the "
        "method and path at audience, at the Unix time now; the result is "
        "its claims.", tokens),
    'message': (
        "Envelopes and statements", "data is base64; header, digest and typ "
        "of the signature are found, and the body of a statement or the "
        "payload of an envelope.", messages),
    'seal': (
        "Sealed messages", "data is base64, key the 32 secret bytes of the "
        "X25519 key of the receiver, in hexadecimal; kid is the one that it "
        "is sealed for, content_key, in hexadecimal, the key of the content, "
        "which is the payload, with the total told, or kind and body.",
        seals),
    'record': (
        "Signed records and bodies", "data is base64, record the name of "
        "its schema in the OpenAPI description.", records),
    'merkle': (
        "Proofs of the tree", "Hashes and entries are hexadecimal: "
        "inclusion of entry at index in the tree of size and root, or "
        "consistency of the trees of sizes old and size.", merkles),
    'note': (
        "Signed checkpoints", "note is a text, vkey the key of the log.",
        notes),
    'proof': (
        "Records of the trust party", "data is base64, vkey the key of the "
        "log; entry is in the log, event the evidence and size that of the "
        "checkpoint.", proofs),
    'evidence': (
        "Evidence files", "data is base64, trusted the keys of the logs and "
        "communities that are trusted; status is the one of the verifier.",
        evidences),
    }


def make(name):
    "Return the text of a file of vectors"
    title, reading, cases = VECTORS[name]
    return json.dumps({
            'title': title,
            'reading': reading,
            'cases': list(cases()),
            }, ensure_ascii=False, indent=1, sort_keys=False) + '\n'


def main():
    vector.FOLDER.mkdir(exist_ok=True)
    for name in VECTORS:
        (vector.FOLDER / f'{name}.json').write_text(make(name), 'utf-8')


if __name__ == '__main__':
    main()
