# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"The word of a log that is late: to hold a message before a deadline"
from dataclasses import dataclass
from datetime import datetime

from . import canonical
from .errors import Malformed, Rejected
from .note import ED25519, Note, sign_note
from .record import DIGEST, UUID

HEADER = 'trycoton-promise'


@dataclass(frozen=True)
class Promise:
    """That the log of that origin holds the submission of a message, named
    by its id and digest, before the deadline, an aware time"""
    origin: str
    message: str
    digest: str
    deadline: datetime

    def __post_init__(self):
        if not self.origin or not self.origin.isprintable():
            raise Malformed("The origin of the promise is not a text.")
        UUID.load(self.message)
        DIGEST.load(self.digest)

    def text(self):
        "Return the text that is signed"
        return '\n'.join([
                HEADER, self.origin, self.message, self.digest,
                canonical.format_time(self.deadline), ''])

    @classmethod
    def parse(cls, text):
        "Return the promise of a note text; raise Malformed"
        lines = text.split('\n')
        if len(lines) != 6 or lines[0] != HEADER or lines[5]:
            raise Malformed("Not the text of a promise.")
        return cls(*lines[1:4], canonical.parse_time(lines[4]))

    def sign(self, signer):
        "Return the bytes of the note that the NoteSigner of the log signs"
        return sign_note(self.text(), signer)

    @classmethod
    def open(cls, data, verifiers):
        """Return the promise of a note that its log signed

        Raise Malformed, or Rejected if it did not sign.
        """
        note = Note.parse(data)
        promise = cls.parse(note.text)
        if not any(
                v.algorithm == ED25519 and v.name == promise.origin
                for v in note.verify(verifiers)):
            raise Rejected("The promise is not signed by its log.")
        return promise
