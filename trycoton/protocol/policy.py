# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Whom a verifier trusts (c2sp.org/tlog-policy), and for what.

::

    log <vkey> [<url>]
    witness <name> <vkey> [<url>]
    group <name> all|any|<k> <name>...
    quorum <name>|none
    community <vkey>

The line ``community`` is our own: the signing key of a community, whose name
is its identifier (``0225:123456789+<id>+<key>``).  The directories that it
signs tell whose key is whose, and which logs its trust parties keep.  In a
deal outside any community, the key of a participant is given the same way.
"""
from dataclasses import dataclass, field
from inspect import signature

from .errors import Malformed, Rejected
from .note import COSIGNATURE, ED25519, Verifier

MAX_LINES = 1000
# The group that the witnesses of a directory make
WITNESSES = 'witnesses'


@dataclass(frozen=True)
class Policy:
    """The Verifiers of the trusted logs, witnesses and communities

    witnesses maps names to verifiers, groups maps names to (k, names), and
    quorum is the name of one of them, or None.
    """
    logs: tuple = ()
    witnesses: dict = field(default_factory=dict)
    groups: dict = field(default_factory=dict)
    quorum: 'str | None' = None
    communities: tuple = ()

    @classmethod
    def of(cls, vkeys):
        """Return the policy that trusts keys, each as log and as community

        A log and a community go by different names, so a key is not taken
        for another.  Raise Malformed.
        """
        keys = tuple(map(Verifier.from_vkey, vkeys))
        for key in keys:
            _check(key, ED25519)
        return cls(logs=keys, communities=keys)

    @classmethod
    def of_directory(cls, directory, communities=()):
        """Return the policy that a Directory tells: its logs, its witnesses
        by their identifier, and their quorum

        communities are the vkeys of the community that signs it.
        Raise Malformed.
        """
        logs = sorted({
                p.log for p in directory.participants
                if p.log and p.kind == 'trust-party'})
        groups, quorum = {}, None
        if directory.quorum:
            quorum = WITNESSES
            groups[quorum] = (directory.quorum, tuple(directory.witnesses))
        return cls(
            tuple(map(Verifier.from_vkey, logs)), directory.witnesses,
            groups, quorum, tuple(map(Verifier.from_vkey, communities)))

    def to_bytes(self):
        "Return the bytes of a file that parse reads"
        lines = [f'log {log.vkey}' for log in self.logs]
        lines += [
            f'witness {name} {key.vkey}'
            for name, key in self.witnesses.items()]
        lines += [
            ' '.join(['group', name, str(minimum), *members])
            for name, (minimum, members) in self.groups.items()]
        lines.append(f"quorum {self.quorum or 'none'}")
        lines += [f'community {key.vkey}' for key in self.communities]
        return '\n'.join([*lines, '']).encode('utf-8')

    @classmethod
    def parse(cls, data):
        "Return the policy of the bytes of a file; raise Malformed"
        if any(byte < 0x20 and byte not in b'\t\n' or byte == 0x7f
                for byte in data):
            raise Malformed("The policy has a control character.")
        reader = _Reader()
        lines = data.decode('utf-8', 'surrogateescape').split('\n')
        if len(lines) > MAX_LINES:
            raise Malformed("The policy is too long.")
        for number, line in enumerate(lines, 1):
            words = line.replace('\t', ' ').split(' ')
            words = [w for w in words if w]
            if words and not words[0].startswith('#'):
                try:
                    reader.read(*words)
                except Malformed as exception:
                    raise Malformed(
                        f"Line {number} of the policy: {exception}"
                        ) from exception
        return reader.policy()

    @property
    def verifiers(self):
        "The verifiers of all who sign checkpoints"
        return [*self.logs, *self.witnesses.values()]

    def is_witnessed(self, verifiers):
        "Tell if the verifiers that signed a checkpoint make the quorum"
        def holds(name):
            if name in self.witnesses:
                return self.witnesses[name] in verifiers
            minimum, members = self.groups[name]
            return sum(map(holds, members)) >= minimum
        return self.quorum is None or holds(self.quorum)

    def check(self, checkpoint, verifiers):
        """Check that a Checkpoint signed by verifiers is one to accept

        Raise Rejected if no trusted log signed, or witnesses are missing.
        """
        if not set(checkpoint.logs(verifiers)) & set(self.logs):
            raise Rejected(
                f"The log {checkpoint.origin} is not in the policy.")
        if not self.is_witnessed(verifiers):
            raise Rejected(
                f"The checkpoint {checkpoint.size} of {checkpoint.origin} "
                "lacks the quorum of witnesses.")


class _Reader:

    def __init__(self):
        self.keys = {'log': [], 'community': [], 'witness': []}
        self.names, self.groups, self.members = {}, {}, set()
        self.quorums = []

    def read(self, keyword, *words):
        method = getattr(self, f'read_{keyword}', None)
        if not method:
            raise Malformed(f"the word '{keyword}' is not known.")
        try:
            arguments = signature(method).bind(*words)
        except TypeError as exception:
            raise Malformed("too few or too many words.") from exception
        method(*arguments.args)

    def read_log(self, vkey, url=None):
        self._key('log', vkey, ED25519)

    def read_community(self, vkey):
        self._key('community', vkey, ED25519)

    def read_witness(self, name, vkey, url=None):
        self._name(name)
        self.names[name] = self._key('witness', vkey, COSIGNATURE)

    def read_group(self, name, minimum, *members):
        for member in members:
            if member not in self.names and member not in self.groups:
                raise Malformed(f"'{member}' is not defined above.")
            if member in self.members:
                raise Malformed(f"'{member}' is already in a group.")
            self.members.add(member)
        counts = {'all': len(members), 'any': 1}
        counts.update((str(k), k) for k in range(1, len(members) + 1))
        if not members or minimum not in counts:
            raise Malformed("a group counts from 1 to all of its members.")
        self._name(name)
        self.groups[name] = (counts[minimum], members)

    def read_quorum(self, name):
        if self.quorums:
            raise Malformed("there is a quorum already.")
        if name != 'none' and not {name} & {*self.names, *self.groups}:
            raise Malformed(f"'{name}' is not defined above.")
        self.quorums.append(None if name == 'none' else name)

    def _name(self, name):
        if name == 'none' or name in self.names or name in self.groups:
            raise Malformed(f"the name '{name}' is taken.")

    def _key(self, kind, vkey, algorithm):
        key = Verifier.from_vkey(vkey)
        _check(key, algorithm)
        if key.key in {k.key for k in self.keys[kind]}:
            raise Malformed("the key is there twice.")
        self.keys[kind].append(key)
        return key

    def policy(self):
        if not self.quorums:
            raise Malformed("The policy has no line quorum.")
        return Policy(
            tuple(self.keys['log']), self.names, self.groups,
            self.quorums[0], tuple(self.keys['community']))


def _check(key, algorithm):
    if key.algorithm != algorithm:
        raise Malformed(f"The key {key.name} is not one for this use.")
