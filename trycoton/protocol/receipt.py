# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
from dataclasses import dataclass
from datetime import datetime

from . import signature
from .record import (
    BINARY, DIGEST, IDENTIFIER, TIME, UUID, Choice, Optional, Record, member)


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
    checkpoint: 'bytes | None' = member(Optional(BINARY), default=None)
