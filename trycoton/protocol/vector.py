# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Vectors: what is accepted and what is refused, byte for byte.

They are JSON files, so that software in any language can be held to them.
Each has a title, how to read its cases, and the cases: a case has a name,
what is given, whether it is valid and, when it is, what must be found.
"""
import json
from datetime import datetime, timezone
from pathlib import Path

from . import (
    canonical, envelope, evidence, identifier, merkle, seal, signature, token)
from .checkpoint import Checkpoint
from .descriptor import fingerprint
from .entry import Record
from .errors import ProtocolError, Rejected
from .note import Verifier
from .policy import Policy
from .schema import RECORDS
from .signature import EncryptionKey, PublicKey

FOLDER = Path(__file__).parent / 'vectors'


def names():
    "Return the names of the vectors"
    return sorted(p.stem for p in FOLDER.glob('*.json'))


def load(name):
    "Return the content of a file of vectors"
    return json.loads((FOLDER / f'{name}.json').read_text('utf-8'))


def check(name, case):
    """Return what is wrong with the answer of this implementation to a case,
    None when it is the one expected"""
    try:
        found = _checks[name](case)
    except ProtocolError as exception:
        return f"refused: {exception}" if case['valid'] else None
    if not case['valid']:
        return "accepted"
    if found != case.get('result'):
        return f"found {found!r}"


def _canonical(case):
    data = canonical.decode(case['data'])
    return {
        'value': canonical.load(data),
        'digest': canonical.digest(data),
        }


def _identifier(case):
    scheme, value = identifier.parse(case['text'])
    return {'scheme': scheme, 'value': value}


def _key(case):
    key = PublicKey.from_jwk(case['key'])
    return {'kid': key.kid, 'fingerprint': fingerprint(key)}


def _signature(case):
    key = PublicKey.from_jwk(case['key'])
    signature.verify(
        canonical.decode(case['data']), case['jws'], case['typ'],
        {key.kid: key})


def _token(case):
    key = PublicKey.from_jwk(case['key'])

    def keys_of(issuer):
        return {key.kid: key} if issuer == case['issuer'] else {}
    return token.verify(
        case['token'], keys_of,
        audience=case['audience'], method=case['method'], path=case['path'],
        now=datetime.fromtimestamp(case['now'], timezone.utc))


def _message(case):
    message = envelope.parse(canonical.decode(case['data']))
    header = envelope.Header.to_json(message)
    header = {n: header[n] for n, _ in envelope.Header._members()}
    result = {
        'header': header, 'digest': message.digest, 'typ': message.typ}
    if isinstance(message, envelope.Statement):
        result['body'] = message.body
    else:
        result['payload'] = canonical.encode(message.payload)
    return result


def _seal(case):
    message = envelope.parse(canonical.decode(case['data']))
    key = EncryptionKey.from_bytes(bytes.fromhex(case['key']))
    kid = seal.kid_of(message)
    opened, content_key = seal.unseal(message, {key.kid: key})
    result = {'kid': kid, 'content_key': content_key.hex()}
    if isinstance(opened, envelope.Statement):
        result.update(kind=opened.kind, body=opened.body)
    else:
        result['payload'] = canonical.encode(opened.payload)
        result['total'] = message.total and str(message.total)
    return result


def _record(case):
    record = RECORDS[case['record']].parse(canonical.decode(case['data']))
    # Some have a digest of their own, of something else
    return {'digest': canonical.digest(record.to_bytes())}


def _merkle(case):
    proof = [bytes.fromhex(h) for h in case['proof']]
    root = bytes.fromhex(case['root'])
    if 'entry' in case:
        leaf = merkle.leaf_hash(bytes.fromhex(case['entry']))
        merkle.verify_inclusion(
            case['index'], case['size'], leaf, proof, root)
    else:
        merkle.verify_consistency(
            case['old'], case['size'], bytes.fromhex(case['old_root']), root,
            proof)


def _note(case):
    verifiers = [Verifier.from_vkey(case['vkey'])]
    checkpoint = Checkpoint.open(case['note'].encode('utf-8'), verifiers)
    return {
        'origin': checkpoint.origin,
        'size': checkpoint.size,
        'root': checkpoint.root.hex(),
        }


def _proof(case):
    record = Record.parse(canonical.decode(case['data']))
    event, checkpoint = record.verify([Verifier.from_vkey(case['vkey'])])
    return {
        'entry': record.entry.hex(),
        'event': event.to_json(),
        'size': checkpoint.size,
        }


def _evidence(case):
    report = evidence.verify(
        canonical.decode(case['data']), Policy.of(case['trusted']))
    if report.status == evidence.REFUSED:
        raise Rejected('; '.join(
                c.text for c in report.checks if not c.ok))
    return {'status': report.status}


_checks = {
    'canonical': _canonical,
    'evidence': _evidence,
    'identifier': _identifier,
    'key': _key,
    'merkle': _merkle,
    'message': _message,
    'note': _note,
    'proof': _proof,
    'record': _record,
    'seal': _seal,
    'signature': _signature,
    'token': _token,
    }
