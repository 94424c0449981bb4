# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"The bodies of the statements, by their kind"
from dataclasses import dataclass
from datetime import date, datetime

from . import dispute
from .announcement import KeyAnnouncement, WitnessAnnouncement
from .directory import Participant
from .envelope import SEALED_KIND
from .offer import ApprovalStatement
from .record import (
    AMOUNT, CURRENCY, DATE, DIGEST, FLAG, IDENTIFIER, KID, LONG_TEXT, TEXT,
    TIME, UUID, Choice, Integer, Many, Nested, Optional, Record, Text, member)

ROLES = Many(Choice('offerer', 'buyer'), key=str)
STATES = [
    'applicant', 'refused', 'pending_payment', 'active', 'suspended', 'left']


@dataclass(frozen=True)
class RelationProposal(Record):
    """To trade by a route: the trust party, or directly when it is None.
    replaces is the relation that goes on by another route; sealed is the id
    of the key to encrypt documents for who proposes, None to send them in
    clear."""
    relation: str = member(UUID)
    community: str = member(Optional(IDENTIFIER))
    trust_party: str = member(Optional(IDENTIFIER))
    replaces: str = member(Optional(UUID), default=None)
    sealed: str = member(Optional(KID), default=None)


@dataclass(frozen=True)
class RelationAnswer(Record):
    """What is said to a proposal; sealed is the id of the key to encrypt
    documents for who answers, if they agree to encrypt them"""
    relation: str = member(UUID)
    agreed: bool = member(FLAG)
    reason: str = member(Optional(LONG_TEXT))
    sealed: str = member(Optional(KID), default=None)


@dataclass(frozen=True)
class RelationEnd(Record):
    "No document follows under the relation"
    relation: str = member(UUID)


@dataclass(frozen=True)
class DocumentRead(Record):
    "A person of the sender opened the message of that digest"
    message: str = member(UUID)
    digest: str = member(DIGEST)
    time: datetime = member(TIME)


@dataclass(frozen=True)
class SealedBody(Record):
    """A statement that its receiver alone reads: commitment is the digest
    that binds it and jwe what seal.py opens"""
    commitment: str = member(DIGEST)
    jwe: str = member(Text(r'[A-Za-z0-9._-]{1,100000}'))


@dataclass(frozen=True)
class Acceptance(Record):
    "The charter that is accepted: digest is the SHA-256 of its text"
    version: int = member(Integer(1))
    digest: str = member(DIGEST)


@dataclass(frozen=True)
class Route(Record):
    "A relation, and the trust party by which it goes or None"
    relation: str = member(UUID)
    trust_party: str = member(Optional(IDENTIFIER), default=None)


@dataclass(frozen=True)
class Application(Record):
    """Somebody asks to become a member

    participant is what the directory will say, and its keys sign the
    application; relation the one with the community, if it accepts.
    """
    participant: Participant = member(Nested(Participant))
    roles: tuple = member(ROLES)
    charter: Acceptance = member(Nested(Acceptance))
    relation: Route = member(Nested(Route))


@dataclass(frozen=True)
class Money(Record):
    "An amount without taxes"
    amount: str = member(AMOUNT)
    currency: str = member(CURRENCY)


@dataclass(frozen=True)
class MembershipState(Record):
    "What the community says of a membership, each time it changes"
    state: str = member(Choice(*STATES))
    reason: str = member(Optional(LONG_TEXT))
    number: str = member(Optional(TEXT))
    roles: tuple = member(ROLES)
    groups: tuple = member(Many(TEXT, key=str))
    fee: Money = member(Optional(Nested(Money)))
    start: date = member(Optional(DATE))
    end: date = member(Optional(DATE))
    relation: Route = member(Optional(Nested(Route)))


@dataclass(frozen=True)
class Resignation(Record):
    "The member leaves"
    reason: str = member(Optional(LONG_TEXT))


BODIES = {
    **dispute.BODIES,
    'application': Application,
    'document-read': DocumentRead,
    'key-announcement': KeyAnnouncement,
    'membership-decision': MembershipState,
    'membership-state': MembershipState,
    'membership-end': Resignation,
    'offer-decision': ApprovalStatement,
    'relation-proposal': RelationProposal,
    'relation-answer': RelationAnswer,
    'relation-end': RelationEnd,
    'witness-announcement': WitnessAnnouncement,
    SEALED_KIND: SealedBody,
    }
