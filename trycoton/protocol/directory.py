# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"Who takes part in a community, with which keys and by which route"
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from . import witness
from .errors import Malformed, Rejected
from .note import ED25519, Verifier
from .record import (
    COUNTRY, DIGEST, ENDPOINT, FLAG, IDENTIFIER, KEY, TEXT, TIME, VKEY, Choice,
    Integer, Many, Nested, Optional, Record, Text, member)
from .signature import DIRECTORY, PublicKey

RECORD_HEADER = 'TryCoTon-Record'
KIND = Choice('participant', 'community', 'trust-party')
ROLES = Many(
    Choice('offerer', 'buyer', 'manager', 'trust-party'), key=str)


@dataclass(frozen=True)
class PublishedKey(Record):
    "A key of somebody, and when it counts"
    key: PublicKey = member(KEY)
    valid_from: datetime = member(TIME)
    valid_to: datetime = member(Optional(TIME), default=None)
    revoked: datetime = member(Optional(TIME), default=None)

    def is_valid(self, at=None):
        "Not revoked and, if a time is given, valid then"
        return not self.revoked and (not at or (
                self.valid_from <= at
                and (not self.valid_to or at < self.valid_to)))


PUBLISHED_KEYS = Many(Nested(PublishedKey))


@dataclass(frozen=True)
class KeyHolder(Record):
    "A record with the keys of somebody, each once, and of the log kept"
    log = None

    def __post_init__(self):
        super().__post_init__()
        if len({k.key.kid for k in self.keys}) != len(self.keys):
            raise Malformed("A key is published twice.")
        if self.log is not None and (
                Verifier.from_vkey(self.log).algorithm != ED25519):
            raise Malformed("Not the key of a log.")

    def public_keys(self, at=None):
        "Return the signing keys that are valid, by their id"
        return self._keys('sig', at)

    def encryption_keys(self, at=None):
        "Return the encryption keys that are valid, by their id"
        return self._keys('enc', at)

    def _keys(self, use, at):
        return {
            k.key.kid: k.key for k in self.keys
            if k.key.use == use and k.is_valid(at)}


@dataclass(frozen=True)
class Legal(Record):
    "What an invoice to or from somebody must name, and how to reach it"
    siren: str = member(Optional(Text(r'[0-9]{9}')), default=None)
    vat: str = member(Optional(Text(r'[A-Z]{2}[0-9A-Z]{2,13}')), default=None)
    street: str = member(
        Optional(Text(r'[^\x00-\x09\x0b-\x1f\x7f]{1,1000}')), default=None)
    postal_code: str = member(Optional(TEXT), default=None)
    city: str = member(Optional(TEXT), default=None)
    country: str = member(Optional(COUNTRY), default=None)
    email: str = member(Optional(TEXT), default=None)
    phone: str = member(Optional(TEXT), default=None)


@dataclass(frozen=True)
class Participant(KeyHolder):
    """Somebody in a directory

    recovery is the key, kept offline, that signs the next signing key after
    a loss; endpoint the address of the instance, None if it can only pull;
    trust_parties those that it accepts to be reached through, in order of
    identifier; direct tells if it may be reached without any; log is the
    key of the log of a trust party, and witness the one by which a member
    that the community elected cosigns checkpoints.
    """
    identifier: str = member(IDENTIFIER)
    name: str = member(TEXT)
    kind: str = member(KIND, default='participant')
    roles: tuple = member(ROLES, default=())
    state: str = member(Choice('active', 'suspended'), default='active')
    keys: tuple = member(PUBLISHED_KEYS, default=())
    recovery: PublicKey = member(Optional(KEY), default=None)
    endpoint: str = member(Optional(ENDPOINT), default=None)
    trust_parties: tuple = member(Many(IDENTIFIER, key=str), default=())
    direct: bool = member(FLAG, default=False)
    legal: Legal = member(Optional(Nested(Legal)), default=None)
    log: str = member(Optional(VKEY), default=None)
    witness: str = member(Optional(VKEY), default=None)


def least_quorum(witnesses):
    "Return how many are more than half of the witnesses"
    return witnesses // 2 + 1


def default_quorum(witnesses):
    """Return how many of the witnesses make a quorum unless a community
    says otherwise: two thirds, ten of fifteen, or more than half where there
    are fewer"""
    if witnesses < 15:
        return least_quorum(witnesses)
    return -(-2 * witnesses // 3)


@dataclass(frozen=True)
class Directory(Record):
    """A version of the directory of a community

    Signed by the community; previous is the digest of the version before.
    quorum is how many of the witnesses must cosign a checkpoint: more than
    half, so that two checkpoints have one witness in common.  None if no
    witness is elected.
    """
    typ = DIRECTORY

    community: str = member(IDENTIFIER)
    version: int = member(Integer(1))
    previous: str = member(Optional(DIGEST))
    created: datetime = member(TIME)
    expires: datetime = member(TIME)
    participants: tuple = member(
        Many(Nested(Participant), key=lambda p: p.identifier))
    quorum: int = member(Optional(Integer(1)), default=None)

    def __post_init__(self):
        super().__post_init__()
        if (self.version == 1) != (self.previous is None):
            raise Malformed("All versions but the first name the previous.")
        if self.created >= self.expires:
            raise Malformed("The directory expires before its creation.")
        self._check_witnesses()

    def _check_witnesses(self):
        witnesses = [v.key.data for v in self.witnesses.values()]
        if self.quorum is None:
            if witnesses:
                raise Malformed("The witnesses have no quorum.")
            return
        if not least_quorum(
                len(witnesses)) <= self.quorum <= len(witnesses):
            raise Malformed("The quorum is not most of the witnesses.")
        if len(set(witnesses)) < len(witnesses):
            raise Malformed("Two witnesses have one key.")

    @cached_property
    def witnesses(self):
        "The Verifiers of the elected witnesses, by their identifier"
        return {
            p.identifier: witness.verifier(p.witness)
            for p in self.participants if p.witness}

    @cached_property
    def _participants(self):
        return {p.identifier: p for p in self.participants}

    def participant(self, identifier):
        "Return the participant of this identifier, or None"
        return self._participants.get(identifier)

    def keys(self, identifier, at=None):
        "Return the valid signing keys of a participant, by their id"
        participant = self.participant(identifier)
        return participant.public_keys(at) if participant else {}

    def says(self, other):
        "Tell if the other directory says the same, whatever its dates"
        return (self.participants, self.quorum) == (
            other.participants, other.quorum)

    def check_after(self, known):
        """Check that this directory may take the place of a known one

        Raise Rejected if it is of another community, older, or contradicts
        the known one.  Versions may have been skipped.
        """
        if self.community != known.community:
            raise Rejected("The directory is of another community.")
        if self.version < known.version:
            raise Rejected("The directory is older than the known one.")
        if self.version == known.version and self.digest != known.digest:
            raise Rejected("There are two directories of one version.")
        if (self.version == known.version + 1
                and self.previous != known.digest):
            raise Rejected("The directory does not follow the known one.")
