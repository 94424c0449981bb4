# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What an evidence file says, for a person to read.

Values without words: whoever prints them chooses the language.
"""
from dataclasses import dataclass
from datetime import datetime

from . import canonical, evidence, signature, ubl
from .checkpoint import Checkpoint
from .descriptor import fingerprint
from .directory import Directory
from .envelope import Envelope
from .errors import ProtocolError, Rejected
from .evidence import File
from .note import Note
from .policy import Policy
from .receipt import Receipt, Refusal

AMOUNTS = ['untaxed', 'tax', 'total', 'payable', 'amount']


@dataclass(frozen=True)
class Event:
    """A record of the trust party, and where its log proves it

    signed tells if who acted has signed it, and not the trust party alone.
    witnesses are the names of those that signed among the elected ones.
    """
    event: str
    time: datetime
    reason: 'str | None'
    text: 'str | None'
    signed: bool
    index: int
    origin: str
    size: int
    root: str
    witnesses: tuple


@dataclass(frozen=True)
class Message:
    """A message of the file

    kind and number are those of the document or statement; date, currency
    and amounts, pairs of name and Decimal, are None or empty without them.
    receipt is when the recipient says that it stored the message, or None;
    refusal the Refusal of the recipient, or None.
    """
    id: str
    digest: str
    kind: str
    number: 'str | None'
    date: object
    currency: 'str | None'
    amounts: tuple
    answers: 'str | None'
    sender: str
    recipient: str
    via: 'str | None'
    created: datetime
    kid: str
    events: tuple
    receipt: 'datetime | None'
    refusal: 'Refusal | None'


@dataclass(frozen=True)
class Key:
    """A key that signed, and what says whose it is

    community, version and index (in a log) are those of the directory, or
    None for a descriptor.  fingerprint is the one of the key that signed the
    directory or descriptor, as people compare it.
    """
    identifier: str
    name: str
    kid: str
    community: 'str | None'
    version: 'int | None'
    index: 'int | None'
    fingerprint: str


@dataclass(frozen=True)
class Told:
    """The policy that a community tells in a version of its directory:
    quorum, how many of the witnesses, by their names, must sign, or None"""
    community: str
    version: int
    quorum: 'int | None'
    witnesses: tuple


@dataclass(frozen=True)
class Certificate:
    "The contents of an evidence file, and the digest of its bytes"
    digest: str
    size: int
    exporter: str
    names: dict
    messages: tuple
    keys: tuple
    logs: tuple
    policies: tuple
    report: evidence.Report


def read(data, policy=None):
    """Return the Certificate of the bytes of an evidence file

    policy is the Policy of the reader.  Raise Malformed, or Rejected when
    the file does not hold: there is nothing to certify then.
    """
    report = evidence.verify(data, policy)
    if report.status == evidence.REFUSED:
        raise Rejected(next(
                c.text for c in report.checks
                if not c.ok and c.name not in evidence.TRUST))
    file = File.parse(data)
    verification = evidence._Verification(file, policy)
    sources = [*file.descriptors, *file.directories]
    return Certificate(
        digest=canonical.digest(data), size=len(data),
        exporter=file.exporter, names=_names(sources),
        messages=tuple(_message(m, verification) for m in file.messages),
        keys=tuple(_keys(verification)), logs=file.keys,
        policies=tuple(map(
                _policy, evidence.told_policies(file, policy))),
        report=report)


def _policy(told):
    policy = Policy.parse(told.text.encode('utf-8'))
    return Told(
        community=told.community, version=told.version,
        quorum=policy.quorum and policy.groups[policy.quorum][0],
        witnesses=tuple(v.name for v in policy.witnesses.values()))


def _names(sources):
    return {
        holder.identifier: holder.name
        for source in sources
        for holder in [source.value, *evidence._holders(source)]
        if hasattr(holder, 'name')}


def _message(message, verification):
    value = message.value
    shown = _shown(message)
    document = _document(shown)
    receipt = message.receipt and message.receipt.data
    refusal = None
    for record in message.records:
        if record.event.receipt:
            receipt = record.event.receipt.encode('utf-8')
    if evidence.is_refusal(message):
        receipt, refusal = None, Refusal.parse(receipt)
    return Message(
        id=value.id, digest=value.digest,
        kind=document.kind if document else getattr(
            shown, 'kind', shown.type),
        number=getattr(document, 'number', None),
        date=getattr(document, 'date', None),
        currency=getattr(document, 'currency', None),
        amounts=tuple(
            (name, amount) for name in AMOUNTS
            if (amount := getattr(document, name, None)) is not None),
        answers=value.correlation, sender=value.sender,
        recipient=value.receiver, via=value.via, created=value.created,
        kid=signature.kid_of(message.signature, value.typ),
        events=tuple(_event(r, verification) for r in message.records),
        receipt=Receipt.parse(receipt).time if receipt else None,
        refusal=refusal)


def _shown(message):
    "Return the message in clear, as it is when nothing shows it"
    try:
        return message.shown or message.value
    except ProtocolError:
        return message.value


def _document(value):
    "Return the UBL document of an envelope, if it can be read"
    if not isinstance(value, Envelope):
        return
    try:
        return ubl.parse(value.payload)
    except ProtocolError:
        # It is proved all the same
        return


def _event(record, verification):
    event, note = record.event, record.inclusion.checkpoint
    checkpoint = Checkpoint.parse(Note.parse(note).text)
    return Event(
        event=event.event, time=event.time, reason=event.reason,
        text=event.text, signed=event.signature is not None,
        index=record.inclusion.index,
        origin=checkpoint.origin, size=checkpoint.size,
        root=canonical.encode(checkpoint.root),
        witnesses=verification.elected(note))


def _keys(verification):
    "Yield the keys that signed the messages and receipts, each once"
    seen = set()
    for identifier, source, _ in verification.needs:
        if (identifier, source) in seen:
            continue
        seen.add((identifier, source))
        value = source.value
        is_directory = isinstance(value, Directory)
        logged = verification.logged.get(source)
        for holder in evidence._holders(source):
            if holder.identifier != identifier:
                continue
            for kid in holder.public_keys():
                yield Key(
                    identifier=identifier, name=holder.name, kid=kid,
                    community=value.community if is_directory else None,
                    version=value.version if is_directory else None,
                    index=logged.index if logged else None,
                    fingerprint=fingerprint(verification.signers[source]))
