# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The log that goes on after one that has lost what it signed.

Its first entry commits to the last known head of the one before.
"""
from trytond.i18n import gettext
from trytond.model import ModelView, fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Bool, Eval

from trycoton.protocol import entry
from trycoton.protocol.checkpoint import Checkpoint as SignedCheckpoint
from trycoton.protocol.errors import ProtocolError

from .exceptions import LogSuccessorError
from .log import now

EVENT = 'predecessor'


class Log(metaclass=PoolMeta):
    __name__ = 'cooperative.trust.log'

    predecessor = fields.Many2One(
        'cooperative.trust.log', "Predecessor", readonly=True,
        ondelete='RESTRICT',
        states={
            'invisible': ~Eval('predecessor'),
            },
        help="The log that this one continues.")
    predecessor_note = fields.Text(
        "Last Head of the Predecessor", readonly=True, strip=False,
        states={
            'invisible': ~Eval('predecessor'),
            },
        help="To what the first entry commits.")

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._buttons.update(
            succeed={
                'invisible': ~Eval('ahead') & ~Bool(Eval('closed')),
                'depends': ['ahead', 'closed'],
                },
            )

    @classmethod
    def copy(cls, logs, default=None):
        default = default.copy() if default is not None else {}
        for name in ['predecessor', 'predecessor_note']:
            default.setdefault(name)
        return super().copy(logs, default=default)

    @classmethod
    @ModelView.button
    def succeed(cls, logs):
        for log in logs:
            log.start_successor()

    def start_successor(self):
        """Close the log for ever and return the one that continues it, with
        what waits"""
        pool = Pool()
        Leaf = pool.get('cooperative.trust.log.leaf')
        # The mirror may know more than what halted the log
        self.find_halt()
        if not self.known_halt or self.search(
                [('predecessor', '=', self.id)], limit=1):
            raise LogSuccessorError(gettext(
                    'cooperative_trust.msg_log_successor',
                    log=self.rec_name))
        self.closed = self.closed or now()
        self.save()
        rank = self.rank + 1
        successor = self.__class__(
            company=self.company, rank=rank, predecessor=self,
            predecessor_note=self.last_note,
            origin=f"{self.origin.removesuffix(f'/{rank}')}/{rank + 1}")
        successor.save()
        self.__class__.open([successor])
        # In the order in which they came, after the head of the predecessor
        waiting = Leaf.search(Leaf.waiting(self))
        first = Leaf.record_predecessor(successor)
        successor.append([first])
        Leaf.write(waiting, {'log': successor.id})
        return successor

    @property
    def last_note(self):
        "The last head that the log is known to have signed"
        pool = Pool()
        Checkpoint = pool.get('cooperative.trust.log.checkpoint')
        return self.ahead or Checkpoint.last(self).note

    @property
    def predecessor_checkpoint(self):
        "The last known checkpoint of the predecessor; raise ProtocolError"
        return SignedCheckpoint.open(
            self.predecessor_note.encode(), [self.predecessor.verifier])


class Leaf(metaclass=PoolMeta):
    __name__ = 'cooperative.trust.log.leaf'

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls.event.selection.append((EVENT, "Predecessor"))

    @classmethod
    def record_predecessor(cls, log):
        "Have the log take the last known head of the one before"
        leaf = cls(log=log, event=EVENT)
        leaf.save()
        return leaf

    @classmethod
    def seal(cls, leaves):
        super().seal(leaves)
        for leaf in leaves:
            if leaf.event == EVENT:
                leaf.entry = entry.predecessor_entry(
                    leaf.log.predecessor_checkpoint)

    @property
    def is_right(self):
        right = super().is_right
        if not right or self.event != EVENT:
            return right
        try:
            return bytes(self.entry) == entry.predecessor_entry(
                self.log.predecessor_checkpoint)
        except ProtocolError:
            return False
