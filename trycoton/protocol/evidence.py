# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The evidence file: a deal that a third person verifies, with no network.

It is canonical JSON, sealed by the party that exports it: the messages as
they were sent, with the receipt of the recipient and the records of the trust
party, the directories and descriptors that tell whose key signed, and the
keys of the logs.  Each part serves: what is not signed, proved or needed is
refused.  The keys inside only tell who claims to have signed; whom to trust
is the verifier's own word, a :class:`~trycoton.protocol.policy.Policy`.

A signer is *established* when its key is

* in a directory or descriptor signed by the key of a trusted community, or
* in a directory that a trusted log proves to hold, at an earlier index than
  the message.  A message that this log does not hold is taken to be of the
  time that its parties, or its own log, say.

The keys of a signer are those of the last directory that the log held before
the message: a revocation counts from its place in the log, whatever the clocks
say, and a key that it withdrew counts no more.

A log is established when it is trusted, or named by a directory or descriptor
that is.  Where the policy wants witnesses, each checkpoint has their quorum.

The file holds as well the policy that each community tells in the last of its
directories that serves, and how far the checkpoints fulfil what these
directories want is said.  That informs: nobody is trusted for it.

What a file cannot show is what its exporter leaves out: another message, or a
directory that came between the one shown and the message, as long as the one
shown had not expired.
"""
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from itertools import zip_longest

from . import canonical, entry, envelope, merkle, seal, signature, ubl
from .checkpoint import Checkpoint
from .commission import Total
from .descriptor import Descriptor
from .directory import Directory
from .errors import Malformed, ProtocolError, Rejected, UnknownKey
from .note import Note, Verifier
from .policy import Policy
from .proof import Proof
from .receipt import Receipt, Refusal
from .record import (
    BINARY, IDENTIFIER, JWS, LONG_TEXT, VKEY, Choice, Integer, Many, Nested,
    Optional, Record, Text, member)

FORMAT = 'trycoton-evidence@1'
# The seal is a statement of the exporter
SEAL = signature.STATEMENT
MAX_SIZE = 256 * 1024 * 1024
# Of messages, of directories and so on
MAX_PARTS = 10000
# What the clocks of honest parties may differ
SKEW = timedelta(hours=1)

VERIFIED, REFUSED, UNESTABLISHED = 0, 1, 3
RESULTS = {
    VERIFIED: 'verified',
    REFUSED: 'refused',
    UNESTABLISHED: 'consistent, but the signers are not established',
    }
# The checks on whom to trust; all the others are on what is said
TRUST = {'signer', 'log', 'witnesses'}


@dataclass(frozen=True)
class Check:
    """Something that was looked at, and what was found

    text is one line of printable characters, whatever it cites.
    part is the path in the file of what was looked at, if it is one part.
    """
    name: str
    ok: bool
    text: str
    part: 'str | None' = None

    def __post_init__(self):
        object.__setattr__(self, 'text', ''.join(
                c if c.isprintable() else ' ' for c in self.text))


@dataclass(frozen=True)
class Report:
    "What the verification of a file found"
    checks: tuple

    @property
    def status(self):
        "VERIFIED, REFUSED or UNESTABLISHED: the exit status of the command"
        failed = {c.name for c in self.checks if not c.ok}
        if failed - TRUST:
            return REFUSED
        return UNESTABLISHED if failed else VERIFIED

    @property
    def result(self):
        "The status in words"
        return RESULTS[self.status]


@dataclass(frozen=True, kw_only=True)
class Signed(Record):
    "Bytes and the detached JWS over them"
    data: bytes = member(BINARY)
    signature: str = member(JWS)


@dataclass(frozen=True, kw_only=True)
class SignedDescriptor(Signed):
    "The descriptor of a community or, in a direct deal, of a participant"

    @cached_property
    def value(self):
        return Descriptor.parse(self.data)

    @property
    def key(self):
        return self.value.identifier


@dataclass(frozen=True, kw_only=True)
class SignedDirectory(Signed):
    "A directory and the text of the .tlog-proof of its digest, if logged"
    proof: 'str | None' = member(Optional(LONG_TEXT), default=None)

    @cached_property
    def value(self):
        return Directory.parse(self.data)

    @property
    def key(self):
        return (self.value.community, self.value.version)


@dataclass(frozen=True, kw_only=True)
class SignedMessage(Signed):
    """A message and what is known of it

    records are the entry.Record of its events, those that exist, in the order
    of entry.EVENTS.  They begin with its submission, or are its rejection
    alone, and only one closes it.
    receipt is the Signed receipt, or refusal, of the recipient, when no
    record closes the message.
    content_key, which the sender and the recipient have, shows what a sealed
    message says; None leaves it sealed.
    """
    content_key: 'bytes | None' = member(Optional(BINARY), default=None)
    receipt: 'Signed | None' = member(Optional(Nested(Signed)), default=None)
    records: tuple = member(Many(Nested(entry.Record)), default=())

    def __post_init__(self):
        super().__post_init__()
        events = [r.event.event for r in self.records]
        if not events:
            return
        if (events != [e for e in entry.EVENTS if e in events]
                or (entry.SUBMISSION in events) == (
                    entry.REJECTION in events)
                or entry.REJECTION in events and len(events) > 1):
            raise Malformed("Not the records of a message, in order.")
        if entry.CLOSING <= {*events}:
            raise Malformed("It is both delivered and not delivered.")
        if self.receipt and self.is_closed:
            raise Malformed("A record has closed it: it has no receipt.")

    @property
    def is_closed(self):
        "Tell if a record says that it was delivered, or not"
        return any(r.event.event in entry.CLOSING for r in self.records)

    @cached_property
    def value(self):
        return envelope.parse(self.data)

    @property
    def shown(self):
        """The message in clear, None when it is left sealed

        Raise Malformed or Rejected when its key does not show it.
        """
        if not seal.is_sealed(self.value):
            if self.content_key is not None:
                raise Rejected("It is not sealed.")
            return self.value
        if self.content_key is not None:
            return seal.unseal_with(self.value, self.content_key)

    @property
    def key(self):
        value = self.value
        return (
            value.created, value.sender, value.receiver, value.sequence,
            value.id, value.digest)

    def __str__(self):
        value = self.value
        return f"{getattr(value, 'root', value.type)} {value.id}"


@dataclass(frozen=True, kw_only=True)
class Consistency(Record):
    "The proof that a checkpoint of a log grew into the next of the file"
    origin: str = member(Text(r'[!-*,-~]{1,250}'))
    old: int = member(Integer(1))
    new: int = member(Integer(1))
    hashes: tuple = member(Many(BINARY))


@dataclass(frozen=True, kw_only=True)
class ToldPolicy(Record):
    """The text of the Policy (tlog-policy) that a community tells

    version is that of its last directory in the file, out of which the text
    follows: the logs of its trust parties, the witnesses that it elected and
    their quorum, and its own keys.
    """
    community: str = member(IDENTIFIER)
    version: int = member(Integer(1))
    text: str = member(LONG_TEXT)

    @classmethod
    def of(cls, descriptor, directory):
        "Return what the values of a descriptor and a directory tell"
        communities = [
            Verifier(directory.community, key).vkey
            for key in descriptor.public_keys().values()]
        policy = Policy.of_directory(directory, communities)
        return cls(
            community=directory.community, version=directory.version,
            text=policy.to_bytes().decode('utf-8'))


def _key(part):
    return part.key


@dataclass(frozen=True, kw_only=True)
class Contents(Record):
    "All of a file but its seal"
    exporter: str = member(IDENTIFIER)
    messages: tuple = member(Many(Nested(SignedMessage), key=_key))
    descriptors: tuple = member(Many(Nested(SignedDescriptor), key=_key))
    directories: tuple = member(Many(Nested(SignedDirectory), key=_key))
    keys: tuple = member(Many(VKEY, key=str))
    consistency: tuple = member(
        Many(Nested(Consistency), key=lambda c: (c.origin, c.old)),
        default=())
    policies: tuple = member(
        Many(Nested(ToldPolicy), key=lambda p: p.community), default=())
    format: str = member(Choice(FORMAT), default=FORMAT)

    def __post_init__(self):
        super().__post_init__()
        if not self.messages:
            raise Malformed("There is no message.")
        for name in ['messages', 'descriptors', 'directories', 'keys']:
            if len(getattr(self, name)) > MAX_PARTS:
                raise Malformed(f"There are too many {name}.")

    def seal(self, sign):
        "Return the File that sign(bytes), which gives a JWS, seals"
        parts = {name: getattr(self, name) for name, _ in self._members()}
        return File(**parts, signature=sign(self.to_bytes()))


@dataclass(frozen=True, kw_only=True)
class File(Contents):
    "An evidence file; signature is the JWS of the exporter over the rest"
    signature: str = member(JWS)

    @property
    def sealed(self):
        "The bytes that the seal covers"
        value = self.to_json()
        del value['signature']
        return canonical.dump(value)


def build(messages, *, exporter, sign, descriptors=(), directories=(),
        keys=(), consistency=None):
    """Return the bytes of an evidence file

    messages are SignedMessages.
    exporter is the identifier of who seals, and sign(bytes) returns its
    detached JWS of typ SEAL; its key is in a directory or descriptor.
    descriptors and directories, Signed, are those to choose from: the
    descriptor of each community, and each version of its directory that may
    be needed.  The latest logged before a message is taken for it.
    keys are the vkeys of logs and witnesses to choose from, besides the logs
    that the directories and descriptors name.
    consistency(origin, old, new), optional, returns the hashes of the proof
    that the log's tree of size old grew into new, or None.
    Raise Malformed, or Rejected when the file would be refused.
    """
    descriptors, directories = list(descriptors), list(directories)
    contents = Contents(
        exporter=exporter,
        messages=messages,
        descriptors=descriptors,
        directories=directories,
        keys=sorted({
                *keys, *_named_logs([*descriptors, *directories]),
                *_named_witnesses(directories)}))
    contents = _only_used(contents, sign)
    contents = replace(
        contents,
        policies=[*_Verification(contents.seal(sign)).policies.values()])
    if consistency:
        verification = _Verification(contents.seal(sign))
        contents = replace(contents, consistency=[
                Consistency(origin=origin, old=old, new=new, hashes=hashes)
                for origin, old, new in verification.growths
                if (hashes := consistency(origin, old, new)) is not None])
    data = contents.seal(sign).to_bytes()
    _refuse(verify(data).checks)
    return data


def _only_used(contents, sign):
    """Return the contents without the parts that serve nothing, nor others
    that served nothing else; raise Rejected"""
    while True:
        verification = _Verification(contents.seal(sign))
        _refuse(c for c in verification.checks if c.name != 'use')
        before, contents = contents, replace(
            contents,
            descriptors=[
                d for d in contents.descriptors if d in verification.used],
            directories=[
                d for d in contents.directories if d in verification.used],
            keys=sorted(v.vkey for v in verification.used_keys))
        if all(
                len(getattr(before, name)) == len(getattr(contents, name))
                for name in ['descriptors', 'directories', 'keys']):
            return contents


def verify(data, policy=None):
    """Return the Report on the bytes of an evidence file

    policy is the Policy that tells whom to trust: nobody when None.
    """
    try:
        if len(data) > MAX_SIZE:
            raise Malformed("It is too large.")
        file = File.parse(data)
    except ProtocolError as exception:
        path = exception.path
        if not path and exception.place is not None:
            path = canonical.locate(data, exception.place)
        return Report((Check(
                    'form', False, "The file is not in its canonical form"
                    + (f", at {path}" if path else '')
                    + f": {exception}", path),))
    return Report((
            Check('form', True, "The file is in its canonical form"),
            *_Verification(file, policy).checks))


def contents(data):
    """Return the messages of a file as they are in clear, but those that it
    leaves sealed; raise ProtocolError"""
    messages = [m.shown for m in File.parse(data).messages]
    return [m for m in messages if m]


def _refuse(checks):
    for check in checks:
        if not check.ok and check.name not in TRUST:
            raise Rejected(check.text)


def _holders(source):
    "Those whose keys a descriptor or directory gives"
    value = source.value
    if isinstance(value, Directory):
        return value.participants
    return (value, *value.trust_parties)


def policies(data, policy=None):
    """Return the bytes of the policy that each community tells in a file, by
    its identifier; raise ProtocolError

    policy is the Policy of the reader, by which the descriptor of the
    community must be established; None looks at none.
    """
    return {
        p.community: p.text.encode('utf-8')
        for p in told_policies(File.parse(data), policy)}


def told_policies(file, policy=None):
    "Return those ToldPolicy of a File, as policies does"
    if policy is None:
        return file.policies
    verification = _Verification(file, policy)
    descriptors = {d.key for d in file.descriptors
        if verification.is_established(d)}
    return tuple(p for p in file.policies if p.community in descriptors)


def _logs(sources):
    """Return the vkeys of the logs of each trust party, by its identifier,
    that descriptors and directories give"""
    logs = {}
    for source in sources:
        for holder in _holders(source):
            if holder.log and holder.kind == 'trust-party':
                logs.setdefault(holder.identifier, set()).add(holder.log)
    return logs


def _named_logs(sources):
    return set().union(*_logs(sources).values())


def _named_witnesses(directories):
    return {
        v.vkey for d in directories for v in d.value.witnesses.values()}


@dataclass(frozen=True)
class _Logged:
    "Where an entry is proved to be"
    log: Verifier
    index: int


@dataclass(frozen=True)
class _Moment:
    "When something was signed: a time and, when recorded, where"
    time: datetime
    logged: '_Logged | None' = None


class _Verification:
    "One pass over a file"

    def __init__(self, file, policy=None):
        self.file = file
        self.policy = policy or Policy()
        self.checks = []
        self.verifiers = []
        self.signers = {}       # the sources that are valid, and their key
        self.logged = {}        # where directories are logged
        self.checkpoints = {}   # those of proofs, and who signed them
        self.places = {}        # where records are logged
        self.hashes = {}        # the hash of each range of each log
        self.needs = []         # (identifier, source, moment) of signatures
        self.used, self.used_keys = set(), set()
        self.parts = {
            part: f'{name}[{index}]'
            for name in [
                'messages', 'descriptors', 'directories', 'policies']
            for index, part in enumerate(getattr(file, name))}
        self._keys()
        self._descriptors()
        self._directories()
        for message in file.messages:
            self._message(message)
        self._seal()
        self._times()
        self._name_logs()
        self._sequences()
        self._chains()
        self._answers()
        self._consistency()
        self._policies()
        self._unused()
        self._trust()
        self._witnessed()

    @contextmanager
    def check(self, name, text, part=None):
        try:
            yield
        except ProtocolError as exception:
            self.checks.append(
                Check(name, False, f"{text}: {exception}", part))
        else:
            self.checks.append(Check(name, True, text, part))

    # What tells whose key it is

    def _keys(self):
        with self.check('keys', "Keys of logs and witnesses", 'keys'):
            self.verifiers = list(map(Verifier.from_vkey, self.file.keys))

    def _descriptors(self):
        for source in self.file.descriptors:
            with self.check(
                    'descriptor', _name(source), self.parts[source]):
                source.value.verify(source.signature)
                self.signers[source] = source.value.signer

    def _directories(self):
        descriptors = {d.key: d for d in self.signers}
        known = None
        for source in self.file.directories:
            directory = source.value
            with self.check(
                    'directory', _name(source), self.parts[source]):
                descriptor = descriptors.get(directory.community)
                if not descriptor:
                    raise Rejected("The community has no valid descriptor.")
                if known and known.community == directory.community:
                    directory.check_after(known)
                known = directory
                keys = {
                    k.key.kid: k.key for k in descriptor.value.keys
                    if not k.revoked or directory.created < k.revoked}
                kid = signature.verify(
                    source.data, source.signature, signature.DIRECTORY, keys)
                if source.proof is not None:
                    self.logged[source] = self._include(
                        Proof.parse(source.proof.encode('utf-8')),
                        entry.directory_entry(directory.digest))
                self.signers[source] = keys[kid]

    def _include(self, proof, data):
        "Check that a log holds an entry, and return where"
        if proof.extra is not None:
            raise Malformed("Nothing proves the extra line of the proof.")
        note = Note.parse(proof.checkpoint)
        checkpoint = Checkpoint.parse(note.text)
        signed = note.verify(self.verifiers)
        if len(signed) < len(note.signatures):
            raise Rejected("The file lacks a key that signed the checkpoint.")
        logs = checkpoint.logs(signed)
        if len(logs) != 1:
            raise Rejected("The checkpoint is not signed by its log.")
        self._see(checkpoint.origin, proof.ranges(data, checkpoint))
        self.checkpoints[proof.checkpoint] = (checkpoint, signed)
        self.used_keys.update(signed)
        return _Logged(logs[0], proof.index)

    def _see(self, origin, ranges):
        "Check that a log gives one hash only to each part of its tree"
        for range_, hash_ in ranges.items():
            if self.hashes.setdefault((origin, range_), hash_) != hash_:
                raise Rejected(
                    f"The log {origin} told two stories about its entries "
                    f"{range_[0]} to {range_[1] - 1}.")

    # What was said

    def _message(self, message):
        value, part = message.value, self.parts[message]
        receipt, receipt_moment = message.receipt, None
        receipt_part = f'{part}.receipt'
        moment, last = _Moment(value.created), None
        for index, record in enumerate(message.records):
            event = record.event
            place = f'{part}.records[{index}]'
            with self.check(event.event,
                    f"{message}: record of its {_in_words(event)}", place):
                logged = self._record(message, record)
                self.places[record] = logged
                if not index:
                    moment = _Moment(event.time, logged)
                before = message.records[index - 1].event
                if (last and last.log == logged.log
                        and last.index >= logged.index):
                    raise Rejected(f"It comes before the {before.event}.")
                if last and event.time + SKEW < before.time:
                    raise Rejected(f"It is dated before the {before.event}.")
                last = logged
                if event.receipt is not None:
                    receipt_moment = _Moment(event.time, logged)
            if event.receipt is not None:
                receipt, receipt_part = Signed(
                    data=event.receipt.encode('utf-8'),
                    signature=event.signature), place
        if receipt:
            time = self._answer(
                message, receipt, receipt_moment, receipt_part)
            if time and not message.records:
                moment = _Moment(time)
        with self.check(
                'message', f"{message}: signed by {value.sender}", part):
            self._verify(message, value.typ, value.sender, moment)
            if value.via and not message.records:
                raise Rejected(
                    f"It went through {value.via}, which has no record.")
        self._content(message, part)
        if message.records:
            with self.check('date', f"{message}: dated "
                    f"{canonical.format_time(value.created)}, recorded "
                    f"{canonical.format_time(moment.time)}", part):
                if value.created > moment.time + SKEW:
                    raise Rejected("It is dated after its record.")
        if value.checkpoint is not None:
            shown = self._open(value.checkpoint)
            with self.check(
                    'checkpoint', f"{message}: checkpoint in it" + (
                        "" if shown else ", which establishes nothing: no "
                        "log of the file signed it"), part):
                self._acknowledge(shown)

    def _content(self, message, part):
        "Check that what is shown of a sealed message is what was signed"
        if not seal.is_sealed(message.value) and message.content_key is None:
            return
        place = f'{part}.content_key'
        try:
            shown = message.shown
        except ProtocolError as exception:
            self.checks.append(Check(
                    'content', False,
                    f"{message}: what it says: {exception}", place))
            return
        self.checks.append(Check('content', True,
            f"{message}: it says {_what(shown)}, which its sender signed for"
            + (", beside the total of another document"
                if _tells_other_total(message.value, shown) else "")
            if shown else f"{message}: what it says is left sealed", place))

    def _record(self, message, record):
        event, value = record.event, message.value
        if (event.message, event.sender, event.recipient, event.digest,
                event.sequence) != (value.id, value.sender, value.receiver,
                value.digest, value.sequence):
            raise Rejected("It is about another message.")
        if (event.event in {entry.SUBMISSION, entry.REJECTION}
                and event.signature != message.signature):
            raise Rejected("It holds another signature of the sender.")
        return self._include(record.inclusion, record.entry)

    def _answer(self, message, signed, moment, part):
        "Check the receipt or refusal of the recipient, and return its time"
        value = message.value
        if is_refusal(message):
            with self.check('refusal', f"{message}: refused by "
                    f"{value.receiver}, under its signature", part):
                return self._signed_answer(Refusal, value, signed, moment)
        else:
            with self.check('receipt',
                    f"{message}: receipt of {value.receiver}", part):
                return self._signed_answer(Receipt, value, signed, moment)

    def _signed_answer(self, Answer, value, signed, moment):
        answer = Answer.parse(signed.data)
        if (answer.message, answer.digest, answer.receiver) != (
                value.id, value.digest, value.receiver):
            raise Rejected("It is about another message.")
        if Answer is Receipt and answer.status != 'stored':
            raise Rejected("It does not say that the message is stored.")
        # Where it is recorded, the log tells when: the recipient must not
        # spoil by its date what is proved of the delivery
        if not moment and answer.time + SKEW < value.created:
            raise Rejected("It is dated before the message.")
        self._verify(
            signed, Answer.typ, value.receiver,
            moment or _Moment(answer.time))
        self._acknowledge(self._open(answer.checkpoint or b''))
        return answer.time

    def _open(self, data):
        "Return the Checkpoint that a message or answer shows, or None"
        try:
            return Checkpoint.open(data, self.verifiers)
        except ProtocolError:
            # Nobody must lose its evidence by what another one wrote
            return

    def _acknowledge(self, shown):
        "Look if its signer was shown another log than the file shows"
        if shown:
            self._see(shown.origin, {(0, shown.size): shown.root})

    def _verify(self, signed, typ, identifier, moment):
        kid = signature.kid_of(signed.signature, typ)
        source, published = self._find(identifier, kid, moment)
        signature.verify(
            signed.data, signed.signature, typ, {kid: published.key})
        if published.revoked and (
                published.revoked <= moment.time
                or self._is_before(source, moment)):
            raise Rejected(f"The key {kid} was revoked.")
        if (moment.time + SKEW < published.valid_from
                or published.valid_to
                and published.valid_to < moment.time - SKEW):
            raise Rejected(f"The key {kid} was not valid at the time.")
        self._use(identifier, source, moment)

    def _find(self, identifier, kid, moment):
        "Return the source that tells best whose key it was, and the key"
        def rank(found):
            source, _ = found
            if isinstance(source, SignedDescriptor):
                return (0, 0, source.key)
            community, version = source.key
            if self._is_before(source, moment):
                return (2, version, community)
            return (1, -version, community)

        found = self._published(identifier, kid)
        if not found:
            raise UnknownKey(
                f"The key {kid} is not given as one of {identifier}.")
        last = self._last_versions(moment)
        found = [
            (source, published) for source, published in found
            if isinstance(source, SignedDescriptor)
            or source.value.version >= last.get(source.value.community, 0)]
        if not found:
            raise Rejected(f"The key {kid} was withdrawn.")
        return max(found, key=rank)

    def _last_versions(self, moment):
        """Return the version of the directory of each community that was
        there when something was signed"""
        last = {}
        for source in self.signers:
            if (isinstance(source, SignedDirectory)
                    and self._is_before(source, moment, skew=timedelta())):
                community, version = source.key
                last[community] = max(version, last.get(community, 0))
        return last

    def _published(self, identifier, kid):
        return self.published.get((identifier, kid), [])

    @cached_property
    def published(self):
        "The sources that give each key, by identifier and kid"
        published = {}
        for source in self.signers:
            for holder in _holders(source):
                for key in holder.keys:
                    published.setdefault(
                        (holder.identifier, key.key.kid), []).append(
                            (source, key))
        return published

    @cached_property
    def named(self):
        "The vkeys of the logs that each source names"
        return {s: _named_logs([s]) for s in self.signers}

    def _use(self, identifier, source, moment):
        self.needs.append((identifier, source, moment))
        self._keep(source)

    def _keep(self, source):
        self.used.add(source)
        if isinstance(source, SignedDirectory):
            self.used.update(
                d for d in self.file.descriptors
                if d.key == source.value.community)

    def _name_logs(self):
        """Keep for each log a source that names it: a community may have left
        the trust party before the directory that gives the keys"""
        for vkey in sorted(v.vkey for v in self.used_keys):
            sources = [s for s in self.signers
                if vkey in self.named[s]]
            if sources and self.used.isdisjoint(sources):
                self._keep(max(sources, key=lambda s: (
                            isinstance(s, SignedDirectory), s.key)))

    def _is_before(self, source, moment, skew=SKEW):
        "Tell if a directory was there when something was signed"
        logged = self.logged.get(source)
        if logged and moment.logged and logged.log == moment.logged.log:
            return logged.index < moment.logged.index
        return source.value.created <= moment.time + skew

    def _seal(self):
        file = self.file
        with self.check('seal', f"Seal of {file.exporter}", 'signature'):
            kid = signature.kid_of(file.signature, SEAL)
            found = self._published(file.exporter, kid)
            if not found:
                raise UnknownKey(
                    f"The key {kid} is not given as one of {file.exporter}.")
            # Do not ask for another directory than the messages do
            source, published = min(found, key=lambda f: (
                    f[0] not in self.used,
                    isinstance(f[0], SignedDescriptor), f[0].key))
            signature.verify(
                file.sealed, file.signature, SEAL, {kid: published.key})
            self._use(file.exporter, source, None)
            _, last = max(
                (f for f in found if f[0] in self.used),
                key=lambda f: f[0].value.created)
            if last.revoked:
                raise Rejected(f"The key {kid} was revoked.")

    # How it follows

    def _sequences(self):
        pairs = {}
        for message in self.file.messages:
            value = message.value
            pairs.setdefault(
                (value.sender, value.receiver), []).append(message)
        for (sender, receiver), messages in pairs.items():
            recorded = self._in_order_of_records(messages)
            values = sorted(
                (m.value for m in messages), key=lambda v: v.sequence)
            numbers = ', '.join(str(v.sequence) for v in values)
            with self.check('sequence',
                    f"Messages {numbers} of {sender} to {receiver}"
                    + recorded):
                if len({v.id for v in values}) < len(values):
                    raise Rejected("Two have one id.")
                for before, after in zip(values, values[1:]):
                    if before.sequence == after.sequence:
                        raise Rejected("Two have one number.")
                    if after.created + SKEW < before.created:
                        raise Rejected(
                            f"Number {after.sequence} is dated before "
                            f"number {before.sequence}.")
                    if (before.sequence + 1 == after.sequence
                            and after.previous != before.digest):
                        raise Rejected(
                            f"Number {after.sequence} does not follow "
                            f"number {before.sequence}.")

    def _in_order_of_records(self, messages):
        "Return in words if the log took the messages in another order"
        recorded = {
            m.value.sequence: place.index for m in messages
            if (place := self._place(m))}
        numbers = sorted(recorded, key=recorded.get)
        if numbers == sorted(numbers):
            return ''
        return f", recorded in the order {', '.join(map(str, numbers))}"

    def _times(self):
        "Check that time does not run backwards in a log"
        logs = {}
        for source, logged in self.logged.items():
            # It may have waited for its place in the log
            logs.setdefault(logged.log, []).append(
                (logged.index, source.value.created, None))
        for message in self.file.messages:
            for record in message.records:
                if logged := self.places.get(record):
                    logs.setdefault(logged.log, []).append(
                        (logged.index, record.event.time, message))
        for log, events in logs.items():
            self._time(log, sorted(events, key=lambda event: event[0]))

    def _time(self, log, events):
        last = None
        for index, time, message in events:
            if message and last and time + SKEW < last:
                self.checks.append(Check('date', False,
                    f"{message}: recorded {canonical.format_time(time)} at "
                    f"{index} of {log.name}, which had come to "
                    f"{canonical.format_time(last)}", self.parts[message]))
            last = max(last or time, time)

    def _chains(self):
        pairs = {}
        for message in self.file.messages:
            for record in message.records:
                event, proof = record.event, record.inclusion
                origin = Checkpoint.parse(
                    Note.parse(proof.checkpoint).text).origin
                pairs.setdefault(
                    (origin, event.sender, event.recipient), []).append((
                        proof.index, canonical.digest(record.evidence),
                        event.previous))
        for (origin, sender, recipient), links in pairs.items():
            links.sort(key=lambda link: link[0])
            with self.check('chain',
                    f"Records of {sender} to {recipient} in {origin}"):
                self._chain(links)

    def _chain(self, links):
        _, digests, previous = zip(*links)
        if len(set(previous)) < len(previous):
            raise Rejected("Two records follow the same one.")
        if None in previous[1:]:
            raise Rejected("A record forgets those before it.")
        places = {digest: i for i, digest in enumerate(digests)}
        for i, digest in enumerate(previous):
            if places.get(digest, -1) >= i:
                raise Rejected("A record follows one that comes after it.")

    def _answers(self):
        "Check that what answers another message was recorded after it"
        known = {
            (m.value.sender, m.value.receiver, m.value.id): m
            for m in self.file.messages}
        for message in self.file.messages:
            value = message.value
            answered = known.get(
                (value.receiver, value.sender, value.correlation))
            if not answered:
                continue
            with self.check('answer', f"{message}: answers {answered}",
                    self.parts[message]):
                places = [self._place(m) for m in [answered, message]]
                if all(places) and places[0].log == places[1].log and (
                        places[0].index > places[1].index):
                    raise Rejected("It was recorded before it.")

    def _place(self, message):
        "Return where the trust party took in the message, or None"
        for record in message.records[:1]:
            return self.places.get(record)

    @property
    def growths(self):
        "The consecutive sizes of each log: (origin, old, new)"
        origins = {}
        for checkpoint, _ in self.checkpoints.values():
            if checkpoint.size:
                origins.setdefault(
                    checkpoint.origin, set()).add(checkpoint.size)
        return [
            (origin, old, new)
            for origin, sizes in sorted(origins.items())
            for old, new in zip(sorted(sizes), sorted(sizes)[1:])]

    def _consistency(self):
        growths = self.growths
        for index, part in enumerate(self.file.consistency):
            growth = (part.origin, part.old, part.new)
            with self.check('consistency',
                    f"The log {part.origin} grew from {part.old} "
                    f"to {part.new}", f'consistency[{index}]'):
                if growth not in growths:
                    raise Rejected("No checkpoint of the file needs it.")
                old, new = (
                    self.hashes[part.origin, (0, size)]
                    for size in growth[1:])
                self._see(part.origin, merkle.verify_consistency(
                        part.old, part.new, old, new, part.hashes))
        unproved = {}
        proved = {(p.origin, p.old, p.new) for p in self.file.consistency}
        for origin, old, new in growths:
            if (origin, old, new) not in proved:
                unproved.setdefault(origin, []).append(f"{old} to {new}")
        for origin, steps in unproved.items():
            self.checks.append(Check('consistency', True,
                f"The log {origin} does not contradict itself; that it only "
                f"grew from {', '.join(steps)} is not proved here"))

    @cached_property
    def policies(self):
        "The ToldPolicy of each community with a directory in the file"
        descriptors = {d.key: d.value for d in self.signers}
        return {
            s.value.community: ToldPolicy.of(
                descriptors[s.value.community], s.value)
            for s in self.signers if isinstance(s, SignedDirectory)}

    def _policies(self):
        "Check that the policies of the file are what the directories tell"
        for part in self.file.policies:
            place = self.parts[part]
            with self.check('policy', f"Policy of {part.community}, as its "
                    f"directory, version {part.version}, tells it", place):
                told = self.policies.get(part.community)
                if not told or told.version != part.version:
                    raise Rejected("It is not of the last one in the file.")
                for number, (line, other) in enumerate(zip_longest(
                            part.text.split('\n'), told.text.split('\n')), 1):
                    if line != other:
                        raise Rejected(
                            f"The directory tells another line {number}.")

    def _unused(self):
        with self.check('use', "Every part serves"):
            for source in [*self.file.descriptors, *self.file.directories]:
                if source not in self.used:
                    raise Rejected(f"{_name(source)} does not.")
            for key in self.verifiers:
                if key not in self.used_keys:
                    raise Rejected(f"The key {key.vkey} does not.")

    # Whom to trust

    def _trust(self):
        checked = set()
        for identifier, source, moment in self.needs:
            check = self._signer(identifier, source, moment)
            if check not in checked:
                checked.add(check)
                self.checks.append(check)
        self._communities()
        named = _named_logs(filter(self._is_trusted, self.signers))
        for log in sorted({
                    log for checkpoint, signed in self.checkpoints.values()
                    for log in checkpoint.logs(signed)},
                key=lambda log: log.vkey):
            ok = log in self.policy.logs or log.vkey in named
            self.checks.append(Check('log', ok,
                f"The log {log.name} is " + (
                    "trusted" if ok else "not one that you trust")))
        self._recorders()
        if self.policy.quorum:
            for checkpoint, signed in self.checkpoints.values():
                ok = self.policy.is_witnessed(signed)
                self.checks.append(Check('witnesses', ok,
                    f"The checkpoint {checkpoint.size} of "
                    f"{checkpoint.origin} " + (
                        "has" if ok else "lacks")
                    + " the quorum of witnesses"))

    def _communities(self):
        "Look if the descriptors by which directories are read can be believed"
        communities = {
            s.value.community for s in self.used
            if isinstance(s, SignedDirectory)}
        for source in self.signers:
            if source.key in communities:
                ok = self.is_established(source)
                self.checks.append(Check('signer', ok,
                    _name(source) + (
                        "" if ok else ": signed by a key of which nobody "
                        "that you trust says that it is its own"),
                    self.parts[source]))

    def is_established(self, descriptor):
        """Tell if a descriptor is signed by a trusted key, or by one that a
        trusted directory gives to its community or is signed by"""
        signer = self.signers.get(descriptor)
        if not signer:
            return False
        keys = [
            v.key for v in self.policy.communities
            if v.name == descriptor.key]
        for source in self.signers:
            if (isinstance(source, SignedDirectory)
                    and source.value.community == descriptor.key
                    and self._is_trusted(source)):
                keys.append(self.signers[source])
                keys += source.value.keys(descriptor.key).values()
        return signer in keys

    def _recorders(self):
        "Look if each record is of a log of the trust party of its message"
        logs = _logs(filter(self._is_trusted, self.signers))
        for message in self.file.messages:
            via = message.value.via
            named = logs.get(via)
            for record in message.records:
                logged = self.places.get(record)
                if named and logged and logged.log.vkey not in named:
                    self.checks.append(Check('log', False,
                        f"{message}: the log {logged.log.name} is not one of "
                        f"{via}, through which it went",
                        self.parts[message]))
                    break

    def _witnessed(self):
        """Tell how many of the witnesses that the communities elected signed
        the checkpoints.  It informs: only a quorum of the policy of the
        verifier must be there."""
        sizes = {}
        for checkpoint, signed in self.checkpoints.values():
            for told in self._told(checkpoint, signed):
                sizes.setdefault((checkpoint.origin, *told), set()).add(
                    checkpoint.size)
        for (origin, source, count), found in sorted(
                sizes.items(), key=lambda i: (i[0][0], min(i[1]))):
            directory = source.value
            elected, quorum = len(directory.witnesses), directory.quorum
            strength = "witnessed" if count >= quorum else "only recorded"
            plural = "s" if len(found) > 1 else ""
            self.checks.append(Check('witnessed', True,
                f"Checkpoint{plural} {', '.join(map(str, sorted(found)))} of "
                f"{origin} {strength}, {count} of {elected} witnesses signed "
                f"and the quorum is {quorum}, says: {_name(source)}" + (
                    "" if self._is_trusted(source)
                    else ", which you do not trust")))

    def elected(self, note):
        """Return the names of the witnesses that signed the checkpoint of a
        note and that its communities elected"""
        checkpoint, signed = self.checkpoints[note]
        elected = {
            v for source, _ in self._told(checkpoint, signed)
            for v in source.value.witnesses.values()}
        return tuple(v.name for v in signed if v in elected)

    def _told(self, checkpoint, signed):
        """Yield for each community that keeps the log the directory that
        knows best the witnesses that signed, and how many they are"""
        logs = {v.vkey for v in checkpoint.logs(signed)}
        for versions in self.versions.values():
            ranked = []
            for source in self._current(versions, checkpoint, logs):
                directory = source.value
                if directory.quorum and logs & self.named[source]:
                    count = len({*directory.witnesses.values()} & {*signed})
                    ranked.append((
                            count >= directory.quorum, count,
                            directory.version, source))
            if ranked:
                _, count, _, source = max(ranked, key=lambda r: r[:3])
                yield source, count

    @cached_property
    def versions(self):
        "The directories of each community, in order"
        versions = {}
        for source in self.signers:
            if isinstance(source, SignedDirectory):
                versions.setdefault(source.value.community, []).append(source)
        return versions

    def _current(self, versions, checkpoint, logs):
        """Return the directories of a community that elect for a checkpoint

        They begin with the one before the last that the log held then: a
        change takes time to reach the witnesses.
        """
        held = [
            place for place, source in enumerate(versions)
            if (logged := self.logged.get(source))
            and logged.log.vkey in logs and logged.index < checkpoint.size]
        return versions[max(held[-1] - 1, 0):] if held else versions

    def _signer(self, identifier, source, moment):
        text = f"Signer {identifier}, named in: {_name(source)}"
        why = None
        if not self._is_trusted(source):
            why = "neither signed by a key nor held by a log that you trust"
        elif moment and isinstance(source, SignedDirectory):
            if moment.time > source.value.expires + SKEW:
                why = "it had expired when the message was signed"
            elif not (self._is_trusted_by_key(source)
                    or self._is_before(source, moment)):
                why = "the trusted log holds it only after the message"
        return Check('signer', not why, f"{text}: {why}" if why else text)

    def _is_trusted(self, source):
        return source in self.trusted

    @cached_property
    def trusted(self):
        "The sources that a trusted key signed, or that a trusted log holds"
        return {
            s for s in self.signers
            if self._is_trusted_by_key(s) or self._is_trusted_by_log(s)}

    def _is_trusted_by_key(self, source):
        "Tell if a trusted key signed it, or the descriptor of its signer"
        value = source.value
        identifier = getattr(value, 'community', None) or value.identifier
        keys = {self.signers[source], self.owners.get(identifier)}
        return any(
            v.name == identifier and v.key in keys
            for v in self.policy.communities)

    @cached_property
    def owners(self):
        "The key that signed each descriptor, by identifier"
        return {
            s.key: key for s, key in self.signers.items()
            if isinstance(s, SignedDescriptor)}

    def _is_trusted_by_log(self, source):
        logged = self.logged.get(source)
        return bool(logged) and logged.log in self.policy.logs


def _what(message):
    return ' '.join(filter(None, [
                getattr(message, 'root', message.type),
                getattr(message, 'number', None)]))


def _tells_other_total(message, shown):
    """Tell if a sealed message tells in clear another total than its own

    It is no reason to refuse: the recipient may want to show it.
    """
    told = getattr(message, 'total', None)
    if told is None:
        return False
    try:
        own = Total.of(ubl.parse(shown.payload))
    except ProtocolError:
        # It is proved all the same
        own = None
    # An answer repeats that of what it answers
    return told != own and not (own is None and message.correlation)


def is_refusal(message):
    "Tell if what a SignedMessage has of its recipient is a refusal"
    for record in message.records:
        if record.event.receipt is not None:
            return record.event.event == entry.FAILURE
    try:
        return bool(message.receipt) and (
            signature.type_of(message.receipt.signature) == signature.REFUSAL)
    except ProtocolError:
        return False


def _in_words(event):
    words = event.event.replace('-', ' ')
    if event.reason == entry.REFUSED:
        words += (' (refused, says the trust party alone)'
            if event.receipt is None
            else ' (refused by the recipient, signed)')
    elif event.reason is not None:
        words += f' ({event.reason})'
    return words


def _name(source):
    value = source.value
    if isinstance(value, Directory):
        return f"Directory of {value.community}, version {value.version}"
    return f"Descriptor of {value.identifier}"
