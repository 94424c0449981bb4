# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
from dataclasses import dataclass
from datetime import datetime

from . import signature
from .record import (
    DIGEST, IDENTIFIER, NOTE, TEXT, TIME, UUID, Choice, Optional, Record, Text,
    member)

PROBLEM = Text(r'[a-z-]{1,100}')


@dataclass(frozen=True)
class Receipt(Record):
    """The word of a receiver that a message is durably stored

    message and digest (SHA-256 of its exact bytes) name the message.
    status is 'stored' by the addressee, or 'relayed' by a trust party.
    checkpoint is the last signed note of the trust party of the message that
    the receiver has verified, None without trust party or before the first.
    Signed by the receiver, after its commit.
    """
    typ = signature.RECEIPT

    message: str = member(UUID)
    digest: str = member(DIGEST)
    receiver: str = member(IDENTIFIER)
    time: datetime = member(TIME)
    status: str = member(Choice('stored', 'relayed'), default='stored')
    checkpoint: 'bytes | None' = member(Optional(NOTE), default=None)


@dataclass(frozen=True)
class Refusal(Record):
    """The word of a receiver that it does not take a message, and will not

    message and digest (SHA-256 of its exact bytes) name the message.
    problem is the name of the problem that it answered, and text what it
    said about it.
    checkpoint is as in a Receipt.
    Signed by the receiver, once it has verified who sent the message.
    """
    typ = signature.REFUSAL

    message: str = member(UUID)
    digest: str = member(DIGEST)
    receiver: str = member(IDENTIFIER)
    time: datetime = member(TIME)
    problem: str = member(PROBLEM)
    text: 'str | None' = member(Optional(TEXT), default=None)
    checkpoint: 'bytes | None' = member(Optional(NOTE), default=None)
