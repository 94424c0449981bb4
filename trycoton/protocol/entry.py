# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What a trust party puts in its log, and what it gives to the parties.

An entry is public and says nothing: a version byte and 32 bytes.  Version 1
is a commitment to a private :class:`Evidence`, version 2 the digest of a
directory, logged as published, version 3 the last known head of the log that
this one succeeds, its first entry.
"""
import hashlib
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from . import record
from .errors import Malformed
from .proof import Proof
from .record import (
    BINARY, DIGEST, IDENTIFIER, JWS, LONG_TEXT, TIME, UUID, Choice, Integer,
    Optional, Text, member)

COMMITMENT = b'\x01'
DIRECTORY = b'\x02'
PREDECESSOR = b'\x03'
NONCE_SIZE = 32
# In the order in which they happen to a message
SUBMISSION, REJECTION, CONSIGNMENT, DELIVERY, FAILURE = EVENTS = (
    'submission', 'submission-rejection', 'consignment', 'delivery',
    'delivery-failure')
# Exactly one of them ends the way of a message that was taken in
CLOSING = {DELIVERY, FAILURE}
# Why a message was not delivered
REFUSED, UNREACHABLE, EXPIRED, GIVEN_UP = FAILURES = (
    'refused', 'unreachable', 'expired', 'given-up')

_domain = b'trycoton-commitment@1\n'


def commitment(nonce, evidence):
    """Return the entry that commits to the bytes of an Evidence

    nonce is 32 random bytes, fresh for each entry: without it, nobody can
    guess what is committed.
    """
    if len(nonce) != NONCE_SIZE:
        raise Malformed("The nonce is not 32 bytes.")
    return COMMITMENT + hashlib.sha256(
        _domain + nonce + hashlib.sha256(evidence).digest()).digest()


def directory_entry(digest):
    "Return the entry of the hexadecimal digest of a directory"
    return DIRECTORY + bytes.fromhex(DIGEST.load(digest))


def predecessor_entry(checkpoint):
    "Return the entry of the last known Checkpoint of the log before"
    return PREDECESSOR + hashlib.sha256(
        checkpoint.text().encode('utf-8')).digest()


def parse(data):
    "Return the version byte and the 32 bytes of an entry; raise Malformed"
    version, value = data[:1], data[1:]
    if (version not in (COMMITMENT, DIRECTORY, PREDECESSOR)
            or len(value) != 32):
        raise Malformed("Not an entry of the log.")
    return version, value


@dataclass(frozen=True)
class Evidence(record.Record):
    """An event in the life of a message, as committed in the log

    The names in brackets are those of ETSI EN 319 522-1.
    'submission' (SubmissionAcceptance): signature is the sender's JWS over
    the message.
    'submission-rejection' (SubmissionRejection): the same, and reason is the
    name of the problem for which the trust party did not take it.
    'delivery' (ContentHandover): signature is the JWS of the recipient over
    receipt, the text of its Receipt.  So nobody's act can be invented.
    'consignment' (ContentConsignment), the message is at the disposal of the
    recipient, and 'delivery-failure' (ContentHandoverFailure), it was not
    handed over, are the word of the trust party alone, without signature.
    The reason of the last is 'refused' (ConsignmentRejection) by the
    recipient's instance, 'unreachable', 'expired'
    (AcceptanceRejectionExpiry): never fetched, or 'given-up' by a person.
    What the recipient has refused under its signature has it, over receipt,
    the text of its Refusal.
    text is what was said about the reason.
    message, sender, recipient, digest and sequence are those of the message.
    previous is the digest of the evidence, of any event, that the log took
    before for the same sender and recipient, or None for the first.
    """
    event: str = member(Choice(*EVENTS))
    message: str = member(UUID)
    sender: str = member(IDENTIFIER)
    recipient: str = member(IDENTIFIER)
    digest: str = member(DIGEST)
    time: datetime = member(TIME)
    sequence: int = member(Integer(1))
    previous: 'str | None' = member(Optional(DIGEST))
    signature: 'str | None' = member(Optional(JWS))
    receipt: 'str | None' = member(Optional(LONG_TEXT), default=None)
    reason: 'str | None' = member(
        Optional(Text(r'[a-z-]{1,100}')), default=None)
    text: 'str | None' = member(Optional(LONG_TEXT), default=None)

    def __post_init__(self):
        super().__post_init__()
        refusal = (self.event, self.reason) == (FAILURE, REFUSED)
        received = self.receipt is not None
        if received != (self.event == DELIVERY) and not (received and refusal):
            raise Malformed(
                "A delivery or refusal, and no other event, has a receipt.")
        signed = received or self.event in {SUBMISSION, REJECTION}
        if signed != (self.signature is not None):
            raise Malformed("The event is not signed by who acted.")
        if (self.event in {REJECTION, FAILURE}) != (self.reason is not None):
            raise Malformed("What failed, and nothing else, has a reason.")
        if self.event == FAILURE and self.reason not in FAILURES:
            raise Malformed("Not why a message is not delivered.")
        if self.text is not None and self.reason is None:
            raise Malformed("There is a text without a reason.")


@dataclass(frozen=True)
class Record(record.Record):
    """What the trust party gives to the parties of a message, for each event

    The bytes of the Evidence, the nonce that opens its commitment and the
    text of the .tlog-proof of the entry.  What is read is refused when one of
    them is not in its form; who makes one knows what it is made of.
    """
    evidence: bytes = member(BINARY)
    nonce: bytes = member(BINARY)
    proof: str = member(LONG_TEXT)

    @classmethod
    def from_json(cls, value):
        self = super().from_json(value)
        with record.at(None):
            if self.inclusion.extra is not None:
                raise Malformed("Nothing proves the extra line of the proof.")
            self.event, self.entry
        return self

    @cached_property
    def event(self):
        "The Evidence"
        return Evidence.parse(self.evidence)

    @cached_property
    def entry(self):
        "The bytes of the entry in the log"
        return commitment(self.nonce, self.evidence)

    @cached_property
    def inclusion(self):
        "The Proof"
        return Proof.parse(self.proof.encode('utf-8'))

    def verify(self, verifiers):
        """Return the Evidence and the Checkpoint that includes it

        verifiers are those of the logs that may have made it.
        Raise Malformed, or Rejected if the log does not hold the evidence.
        """
        return self.event, self.inclusion.verify(self.entry, verifiers)
