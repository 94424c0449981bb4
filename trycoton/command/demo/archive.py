# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"What the demonstration leaves behind: documents, evidence, log"
import base64
import json
import re
from pathlib import Path

from .actor import DemoError

FIELDS = [
    'kind', 'sender', 'created', 'data', 'signature', 'receipt',
    'receipt_signature', 'relay_receipt', 'relay_receipt_signature']


def save_messages(folder, world):
    """Write each message exchanged, as sent, beside its signature and
    receipt.  Return how many there are, by type."""
    documents = Path(folder, 'documents')
    statements = documents / 'json'
    statements.mkdir(parents=True, exist_ok=True)
    sent = sorted((
            (message['created'], actor.name, message['id'], message)
            for actor, messages in zip(
                world.actors, world.together(_sent, world.actors))
            for message in messages), key=lambda row: row[:3])
    counts = {}
    for number, (_, name, _, message) in enumerate(sent, 1):
        kind = message['kind']
        counts[kind] = counts.get(kind, 0) + 1
        is_document = message['data'].startswith(b'<')
        path = documents if is_document else statements
        name = f"{number:03}-{name}-{kind}"
        extension = 'xml' if is_document else 'json'
        _write(path / f'{name}.{extension}', message['data'])
        _write(path / f'{name}.jws', message['signature'])
        for suffix, prefix in [('receipt', ''), ('relay-receipt', 'relay_')]:
            if receipt := message[f'{prefix}receipt']:
                _write(path / f'{name}.{suffix}', receipt)
                _write(path / f'{name}.{suffix}.jws',
                    message[f'{prefix}receipt_signature'])
    return counts


def _sent(actor):
    "Return what the actor sent itself, as dictionaries"
    return actor.read('cooperative.edi.message', [
            ('direction', '=', 'out'),
            ('sender', '=', actor.identifier),
            ], FIELDS)


def save_directories(folder, manager):
    "Write the versions of the directory of the community"
    path = Path(folder, 'documents', 'json')
    for directory in manager.find('cooperative.community.directory'):
        name = f"directory-{directory.version:03}"
        _write(path / f'{name}.json', directory.data)
        _write(path / f'{name}.jws', directory.signature)


def save_applications(folder, manager):
    path = Path(folder, 'documents', 'json')
    for membership in manager.find('cooperative.community.membership'):
        name = f"application-{re.sub(r'[^0-9]+', '_', membership.identifier)}"
        _write(path / f'{name}.json', membership.application)
        _write(path / f'{name}.jws', membership.application_signature)


def _write(path, data):
    if isinstance(data, str):
        data = data.encode('utf-8')
    path.write_bytes(bytes(data))


def save_evidence(folder, world, deals):
    "Write the evidence file of each deal; return their paths"
    path = Path(folder, 'evidence')
    path.mkdir(parents=True, exist_ok=True)

    def save(deal):
        wizard = deal.buyer.wizard(
            'cooperative.edi.evidence.export', [deal.purchase])
        file = path / (
            f"{deal.buyer.name}-{deal.seller.name}-{deal.number}.evidence")
        file.write_bytes(bytes(wizard.form.file))
        wizard.execute('end')
        return file
    return world.together(save, deals, lambda deal: deal.buyer)


def save_log(folder, operator, fetch):
    """Write the log as a static tree; return its origin, size and root.
    fetch(url) returns the bytes at an address of the trust party."""
    from trycoton.protocol import tile
    from trycoton.protocol.checkpoint import Checkpoint
    from trycoton.protocol.note import Note
    path = Path(folder, 'log')
    base = f'{operator.url()}/trust'
    note = fetch(f'{base}/checkpoint')
    checkpoint = Checkpoint.parse(Note.parse(note).text)
    _store(path / 'checkpoint', note)
    for part in tile.tiles(checkpoint.size):
        _store(path / part.path, fetch(f'{base}/{part.path}'))
    log, = operator.find('cooperative.trust.log')
    _store(path / 'key', f'{log.vkey}\n'.encode())
    return {
        'origin': checkpoint.origin,
        'size': checkpoint.size,
        'root': base64.b64encode(checkpoint.root).decode('ascii'),
        }


def _store(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def save_report(folder, report):
    text = json.dumps(report, ensure_ascii=False, indent=2, default=str)
    Path(folder, 'report.json').write_text(text + '\n', encoding='utf-8')


def check_log(folder):
    "Recompute the root of the log from its entries, as anybody can"
    from trycoton.protocol import merkle, tile
    from trycoton.protocol.checkpoint import Checkpoint
    from trycoton.protocol.note import Note, Verifier
    path = Path(folder, 'log')
    note = (path / 'checkpoint').read_bytes()
    verifier = Verifier.from_vkey((path / 'key').read_text().strip())
    Note.parse(note).verify([verifier])
    checkpoint = Checkpoint.parse(Note.parse(note).text)
    entries = []
    for part in tile.tiles(checkpoint.size):
        if part.level is None:
            entries.extend(
                tile.parse_entries((path / part.path).read_bytes()))
    root = merkle.root([merkle.leaf_hash(e) for e in entries])
    if len(entries) != checkpoint.size or root != checkpoint.root:
        raise DemoError("the log is not what its checkpoint says")


def community_key(manager):
    "Return the verifier key by which others trust the community"
    from trycoton.protocol import signature
    from trycoton.protocol.note import Verifier
    identity, = manager.find('cooperative.edi.identity')
    key, = [k for k in identity.keys
        if k.purpose == 'signing' and not k.valid_to]
    return Verifier(
        identity.identifier, signature.PublicKey(
            'sig', signature.b64url_decode(key.public))).vkey
