# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What a licensed custodian confirms of the money that it has for a deal.

The trust party has none: it records what the custodian signs, and nothing
moves here but by such a :class:`Confirmation`.
"""
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from . import signature
from .dispute import Due
from .errors import Rejected
from .record import (
    IDENTIFIER, TEXT, TIME, UUID, Choice, Nested, Record, member)

FUNDED, RELEASED, REFUNDED = EVENTS = 'funded', 'released', 'refunded'

ZERO = Decimal(0)


@dataclass(frozen=True)
class Confirmation(Record):
    """What happened to the money of a hold, at its custodian

    funded: it came from the buyer; released: it went to the seller;
    refunded: it went back.  reference is the one of the movement in the
    books of the custodian, and nonce is fresh: both are used once.
    """
    typ = signature.CUSTODY

    custodian: str = member(IDENTIFIER)
    hold: str = member(UUID)
    event: str = member(Choice(*EVENTS))
    reference: str = member(TEXT)
    amount: Due = member(Nested(Due))
    nonce: str = member(UUID)
    time: datetime = member(TIME)


@dataclass(frozen=True)
class Balance:
    """Where the money of a hold is

    agreed is what the parties agreed on, and to_seller and to_buyer what an
    award leaves to each, none before it.  held = released + refunded +
    remaining, always.
    """
    state: str
    agreed: Decimal
    held: Decimal = ZERO
    released: Decimal = ZERO
    refunded: Decimal = ZERO
    to_seller: Decimal = ZERO
    to_buyer: Decimal = ZERO

    @property
    def remaining(self):
        return self.held - self.released - self.refunded

    def after(self, event, amount):
        """Return the balance after the custodian confirmed the event

        Raise Rejected for what is not agreed, awarded or there.
        """
        method = getattr(self, f'_{event}', None)
        if amount <= 0 or not method:
            raise Rejected("Nothing that happens to money.")
        return method(amount)

    def _funded(self, amount):
        if self.state != 'funding':
            raise self._refused('funded')
        if amount != self.agreed:
            raise Rejected("Another amount than what was agreed.")
        return replace(self, state='held', held=amount)

    def _released(self, amount):
        if self.state in {'awarded', 'split'}:
            return self._awarded('released', 'to_seller', amount)
        if self.state not in {'held', 'part_released'}:
            raise self._refused('released')
        balance = self._move('released', amount)
        return replace(balance, state=(
                'part_released' if balance.remaining else 'released'))

    def _refunded(self, amount):
        if self.state in {'awarded', 'split'}:
            return self._awarded('refunded', 'to_buyer', amount)
        if self.state != 'refunding':
            raise self._refused('refunded')
        balance = self._move('refunded', amount)
        return replace(balance, state=(
                'refunding' if balance.remaining else 'refunded'))

    def _awarded(self, name, to, amount):
        left = getattr(self, to) - amount
        if left < 0:
            raise Rejected("More than what was awarded.")
        balance = replace(self._move(name, amount), **{to: left})
        if not balance.remaining:
            balance = replace(balance, state='settled')
        return balance

    def _move(self, name, amount):
        if amount > self.remaining:
            raise Rejected("More than what remains.")
        return replace(self, **{name: getattr(self, name) + amount})

    def _refused(self, event):
        return Rejected(f"It is {self.state}: nothing is {event}.")

    def award(self, outcome, credited):
        """Return the balance that an award leaves to be paid out

        outcome is the one of the award, and credited what the buyer gets
        back of what remains: the rest is for the seller.
        """
        if self.state != 'disputed':
            raise self._refused('awarded')
        back = ZERO if outcome == 'seller' else credited or self.remaining
        back = min(back, self.remaining)
        return replace(
            self, state='split' if outcome == 'split' else 'awarded',
            to_buyer=back, to_seller=self.remaining - back)
