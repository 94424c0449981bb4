# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"The keys of somebody, announced by their holder"
from dataclasses import dataclass
from datetime import datetime

from .directory import PUBLISHED_KEYS, KeyHolder
from .errors import Malformed, Rejected
from .record import IDENTIFIER, KEY, TIME, VKEY, Optional, Record, member
from .signature import PublicKey


@dataclass(frozen=True)
class KeyAnnouncement(KeyHolder):
    """The body of a statement 'key-announcement'

    keys are all those of identifier that still count, the one that signs
    from now on first, and those that are revoked.  recovery is the key,
    kept offline, that may announce other keys after a loss or a theft.
    A valid signing key may announce what it likes but another recovery
    key; only the recovery key may announce that.
    """
    kind = 'key-announcement'

    identifier: str = member(IDENTIFIER)
    keys: tuple = member(PUBLISHED_KEYS)
    created: datetime = member(TIME)
    recovery: PublicKey = member(Optional(KEY), default=None)

    def __post_init__(self):
        super().__post_init__()
        if not self.public_keys():
            raise Malformed("An announcement needs a signing key.")

    def check_after(self, known, kid, recovery):
        """Check that the announcement may follow what is known

        known is the time of the last announcement, or None; kid is the key
        that signed the statement and recovery the known recovery key, or
        None.  Raise Rejected.
        """
        if known and self.created <= known:
            raise Rejected("A later announcement of keys is known.")
        if not recovery or kid == recovery.kid:
            return
        if self.recovery and self.recovery.kid != recovery.kid:
            raise Rejected("Only the recovery key announces another one.")
        for published in self.keys:
            if published.key.kid == kid:
                return
        raise Rejected("The announcement leaves out the key that signs it.")


@dataclass(frozen=True)
class WitnessAnnouncement(Record):
    """The body of a statement 'witness-announcement'

    witness is the key by which identifier cosigns from now on, in the place
    of the one before, or None: it is no witness any more.
    """
    kind = 'witness-announcement'

    identifier: str = member(IDENTIFIER)
    witness: str = member(Optional(VKEY))
    created: datetime = member(TIME)
