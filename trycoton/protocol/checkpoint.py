# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"Checkpoints (c2sp.org/tlog-checkpoint): what a log says of its tree"
import re
from dataclasses import dataclass

from . import canonical, merkle
from .errors import Malformed, Rejected
from .note import ED25519, Note, sign_note

NUMBER = r'0|[1-9][0-9]{0,18}'

_text = re.compile(
    rf'([^\n]+)\n({NUMBER})\n([A-Za-z0-9+/=]{{44}})\n', re.ASCII)


@dataclass(frozen=True)
class Checkpoint:
    """The size and root of a log, which origin names

    Extension lines, which nobody can audit, are not accepted.
    """
    origin: str
    size: int
    root: bytes

    def __post_init__(self):
        if not self.origin or not self.origin.isprintable():
            raise Malformed("The origin of the checkpoint is not a text.")
        merkle.check_size(self.size)
        merkle.check_hashes([self.root])
        if self.size == 0 and self.root != merkle.EMPTY_ROOT:
            raise Malformed("The empty tree has another root.")

    def text(self):
        "Return the text that is signed"
        return f"{self.origin}\n{self.size}\n{canonical.encode(self.root)}\n"

    @classmethod
    def parse(cls, text):
        "Return the checkpoint of a note text; raise Malformed"
        match = _text.fullmatch(text)
        if not match:
            raise Malformed("Not the text of a checkpoint.")
        return cls(match[1], int(match[2]), canonical.decode(match[3]))

    def sign(self, *signers):
        "Return the bytes of the note that NoteSigners sign"
        return sign_note(self.text(), *signers)

    @classmethod
    def open(cls, data, verifiers):
        """Return the checkpoint of a note that its log signed

        The log is the one among the verifiers that is named as the origin.
        Raise Malformed, or Rejected if it did not sign.
        """
        note = Note.parse(data)
        checkpoint = cls.parse(note.text)
        if not checkpoint.logs(note.verify(verifiers)):
            raise Rejected(
                f"The checkpoint is not signed by the log "
                f"{checkpoint.origin}.")
        return checkpoint

    def logs(self, verifiers):
        "Return those of the verifiers that are the log of this checkpoint"
        return [
            v for v in verifiers
            if v.algorithm == ED25519 and v.name == self.origin]
