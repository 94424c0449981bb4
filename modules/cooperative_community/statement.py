# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"What an applicant, a community and a member write to each other"
from dataclasses import dataclass
from datetime import date

from trycoton.protocol.directory import Participant
from trycoton.protocol.record import (
    AMOUNT, CURRENCY, DATE, DIGEST, IDENTIFIER, LONG_TEXT, TEXT, UUID, Choice,
    Integer, Many, Nested, Optional, Record, member)

ROLES = Many(Choice('offerer', 'buyer'), key=str)
STATES = [
    ('applicant', "Applicant"),
    ('refused', "Refused"),
    ('pending_payment', "Pending Payment"),
    ('active', "Active"),
    ('suspended', "Suspended"),
    ('left', "Left"),
    ]


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
    state: str = member(Choice(*(s for s, _ in STATES)))
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
