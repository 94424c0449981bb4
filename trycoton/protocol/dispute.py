# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Disputes: what is said in one, by whom, until when, and how it ends.

The two parties of a deal say it by statements to each other.  The arbiter
that both named is handed the same statements, and signs an :class:`Award`.
"""
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from . import signature
from .errors import Malformed, Rejected
from .record import (
    AMOUNT, BINARY, CURRENCY, DIGEST, FLAG, IDENTIFIER, JWS, LONG_TEXT, TEXT,
    TIME, UUID, Choice, Many, Nested, Optional, Record, member)

MESSAGES_MAX = 100
# What the proofs handed over may weigh, twice in base64 in one message
FILE_MAX = 2 * 1024 * 1024
SKEW = timedelta(hours=1)
# What was said in time may arrive as long as it is sent again
LATEST = timedelta(days=5)

SIDES = ('buyer', 'seller')
ASKED = ('credit', 'other', 'payment', 'refund', 'replacement')
FREEZES = ('despatch', 'payment')
OUTCOMES = ('buyer', 'seller', 'split')

OPEN = ('opened', 'unanswered', 'answered')
ENDED = ('agreed', 'withdrawn', 'awarded', 'expired')

_transitions = {
    ('opened', 'answer'): 'answered',
    ('unanswered', 'answer'): 'answered',
    ('opened', 'agreement'): 'agreed',
    ('unanswered', 'agreement'): 'agreed',
    ('answered', 'agreement'): 'agreed',
    **{(state, 'withdrawal'): 'withdrawn' for state in OPEN},
    **{(state, 'award'): 'awarded' for state in [*OPEN, 'expired']},
    **{(state, 'evidence'): state for state in OPEN},
    **{(state, 'arbiter'): state for state in OPEN},
    ('opened', 'silence'): 'unanswered',
    **{(state, 'expiry'): 'expired' for state in OPEN},
    }
_freezes = Many(Choice(*FREEZES), key=str)


@dataclass(frozen=True)
class Due(Record):
    "An amount above zero, with its taxes"
    amount: str = member(AMOUNT)
    currency: str = member(CURRENCY)

    def __post_init__(self):
        super().__post_init__()
        if Decimal(self.amount) <= 0:
            raise Malformed("The amount is not above zero.")


@dataclass(frozen=True)
class Contested(Record):
    "A message in question; digest is the one of its bytes"
    message: str = member(UUID)
    digest: str = member(DIGEST)


@dataclass(frozen=True)
class Opening(Record):
    """The sender contests messages that it exchanged with the receiver

    side is the one of the sender in the deal and relation theirs.
    freezes is what both leave alone until the end, and arbiter whom the
    sender accepts to decide.
    """
    dispute: str = member(UUID)
    relation: 'str | None' = member(Optional(UUID))
    side: str = member(Choice(*SIDES))
    messages: tuple = member(Many(Nested(Contested), key=lambda c: c.message))
    claim: str = member(LONG_TEXT)
    asked: str = member(Choice(*ASKED))
    amount: 'Due | None' = member(Optional(Nested(Due)))
    freezes: tuple = member(_freezes)
    arbiter: 'str | None' = member(Optional(IDENTIFIER))
    answer_by: datetime = member(TIME)
    award_by: datetime = member(TIME)

    def __post_init__(self):
        super().__post_init__()
        if not 1 <= len(self.messages) <= MESSAGES_MAX:
            raise Malformed("Not one message in question, or too many.")
        if self.answer_by >= self.award_by:
            raise Malformed("The award is wanted before the answer.")


@dataclass(frozen=True)
class Answer(Record):
    """What the receiver of the opening says to it

    agreed ends the dispute as asked.  freezes is what remains frozen of
    what was asked, and arbiter whom the sender accepts to decide.
    """
    dispute: str = member(UUID)
    agreed: bool = member(FLAG)
    text: 'str | None' = member(Optional(LONG_TEXT))
    freezes: tuple = member(_freezes)
    arbiter: 'str | None' = member(Optional(IDENTIFIER))


@dataclass(frozen=True)
class ArbiterNaming(Record):
    "Whom the sender accepts to decide, until both named the same"
    dispute: str = member(UUID)
    arbiter: str = member(IDENTIFIER)


@dataclass(frozen=True)
class RelationArbiter(Record):
    "Whom the sender accepts to decide the disputes of the relation, if any"
    relation: str = member(UUID)
    arbiter: 'str | None' = member(Optional(IDENTIFIER))


@dataclass(frozen=True)
class CaseEvidence(Record):
    """What the sender adds to the case

    file may be an evidence file, which opens what the log committed to.
    """
    dispute: str = member(UUID)
    text: 'str | None' = member(Optional(LONG_TEXT))
    name: 'str | None' = member(Optional(TEXT))
    file: 'bytes | None' = member(Optional(BINARY))

    def __post_init__(self):
        super().__post_init__()
        if self.text is None and self.file is None:
            raise Malformed("Neither a text nor a file.")
        if (self.name is None) != (self.file is None):
            raise Malformed("A file, and nothing else, has a name.")
        if self.file and len(self.file) > FILE_MAX:
            raise Malformed("The file is too large.")


@dataclass(frozen=True)
class Withdrawal(Record):
    "Who opened the dispute ends it"
    dispute: str = member(UUID)
    reason: 'str | None' = member(Optional(LONG_TEXT))


@dataclass(frozen=True)
class CaseStatement(Record):
    "A statement of the case, handed to the arbiter as it was signed"
    statement: bytes = member(BINARY)
    signature: str = member(JWS)


@dataclass(frozen=True)
class AwardNotice(Record):
    "The bytes of an Award and its signature, the same to both parties"
    award: bytes = member(BINARY)
    signature: str = member(JWS)


@dataclass(frozen=True)
class Award(Record):
    """What the arbiter decides

    opening is the digest of the statement that opened the dispute.
    credited is what the seller credits or refunds, paid what the buyer
    pays: none when that side wins, or nothing is to be counted, and both of
    one currency when it is split.  considered are the digests of the other
    statements that the arbiter was handed.
    """
    typ = signature.AWARD

    dispute: str = member(UUID)
    opening: str = member(DIGEST)
    arbiter: str = member(IDENTIFIER)
    seller: str = member(IDENTIFIER)
    buyer: str = member(IDENTIFIER)
    outcome: str = member(Choice(*OUTCOMES))
    credited: 'Due | None' = member(Optional(Nested(Due)))
    paid: 'Due | None' = member(Optional(Nested(Due)))
    reasons: str = member(LONG_TEXT)
    considered: tuple = member(Many(DIGEST, key=str))
    created: datetime = member(TIME)

    def __post_init__(self):
        super().__post_init__()
        if self.outcome == 'split':
            if not (self.credited and self.paid
                    and self.credited.currency == self.paid.currency):
                raise Malformed("A split needs two amounts of a currency.")
        elif self.credited if self.outcome == 'seller' else self.paid:
            raise Malformed("Who wins gives nothing.")

    def check_case(self, opening, arbiter):
        """Check that the award is about the dispute

        opening is the Statement that opened it and arbiter the identifier
        of the one whom both named.  Raise Malformed or Rejected.
        """
        body = Opening.from_json(opening.body)
        parties = [opening.sender, opening.receiver]
        if body.side == 'seller':
            parties.reverse()
        if (self.dispute, self.opening) != (body.dispute, opening.digest):
            raise Rejected("The award is about another dispute.")
        if [self.buyer, self.seller] != parties:
            raise Rejected("The award names other parties.")
        if self.arbiter != arbiter:
            raise Rejected("Not the arbiter whom both named.")


BODIES = {
    'dispute-answer': Answer,
    'dispute-arbiter': ArbiterNaming,
    'dispute-award': AwardNotice,
    'dispute-case': CaseStatement,
    'dispute-evidence': CaseEvidence,
    'dispute-opening': Opening,
    'dispute-withdrawal': Withdrawal,
    'relation-arbiter': RelationArbiter,
    }


def after(state, event):
    """Return the state of a dispute after an event

    The events are answer, agreement, arbiter, evidence, withdrawal and
    award, and those of time: silence and expiry.
    Raise Rejected if the dispute does not admit it any more.
    """
    try:
        return _transitions[state, event]
    except KeyError as exception:
        raise Rejected(
            f"The dispute is {state}: there is no {event}.") from exception


def event_of(body):
    "Return the event that the body of a statement is"
    return {
        Answer: 'agreement' if getattr(body, 'agreed', None) else 'answer',
        ArbiterNaming: 'arbiter',
        RelationArbiter: 'arbiter',
        CaseEvidence: 'evidence',
        Withdrawal: 'withdrawal',
        }[type(body)]


def check_speaker(body, speaker, claimant, respondent):
    """Check that the speaker may say the body in the dispute

    All are identifiers; the claimant is who opened it.  Raise Rejected.
    """
    allowed = {
        Opening: {claimant},
        Answer: {respondent},
        Withdrawal: {claimant},
        }.get(type(body), {claimant, respondent})
    if speaker not in allowed:
        raise Rejected("This is not for the sender to say.")


def check_in_time(deadline, said, received):
    """Check that what was said, by the clock of its sender, and received, by
    ours, respects the deadline.  All are aware.  Raise Rejected.
    """
    if said > deadline or received > deadline + LATEST:
        raise Rejected("The deadline is over.")
    if said > received + SKEW:
        raise Rejected("It is dated from the future.")


def check_arbiter(arbiter, parties, operators):
    """Check that the arbiter is neither a party nor an operator

    arbiter is an identifier and the ids of its keys; parties and operators
    are several of those.  Raise Rejected.
    """
    identifier, kids = arbiter
    for name, others in [("a party", parties), ("the operator", operators)]:
        for other, other_kids in others:
            if other == identifier or set(kids) & set(other_kids):
                raise Rejected(f"The arbiter is {name}.")
