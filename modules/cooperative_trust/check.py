# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The log recomputed from its bytes"""
from itertools import count

from trytond.i18n import gettext
from trytond.model import ModelView, fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Eval

from trycoton.protocol import merkle, tile

from .exceptions import LogCheckError
from .log import BATCH, now

FAULTS_SHOWN = 20


class Log(metaclass=PoolMeta):
    __name__ = 'cooperative.trust.log'

    checked = fields.DateTime(
        "Checked On", readonly=True,
        help="When the whole log was last recomputed from its bytes "
        "and found right.")
    checked_size = fields.Integer(
        "Checked Size", readonly=True,
        help="The size of the log when it was last found right.")

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._buttons.update(
            check={
                'invisible': ~Eval('vkey'),
                'depends': ['vkey'],
                })

    @classmethod
    def copy(cls, logs, default=None):
        default = default.copy() if default is not None else {}
        default.setdefault('checked')
        default.setdefault('checked_size')
        return super().copy(logs, default=default)

    @classmethod
    @ModelView.button
    def check(cls, logs):
        for log in logs:
            faults = log.fsck()
            if faults:
                raise LogCheckError(gettext(
                        'cooperative_trust.msg_log_check',
                        log=log.rec_name,
                        faults='\n'.join(faults[:FAULTS_SHOWN])))
            log.checked = now()
            log.checked_size = log.size
        cls.save(logs)

    def fsck(self):
        "Recompute everything from the bytes and return the faults found"
        pool = Pool()
        Checkpoint = pool.get('cooperative.trust.log.checkpoint')
        frontier = merkle.Frontier()
        checkpoints = {c.size: c for c in Checkpoint.search([
                    ('log', '=', self.id),
                    ])}
        faults = self._check_checkpoint(checkpoints, frontier)
        pairs = {}
        for leaf in self._leaves():
            faults += self._check_leaf(leaf, frontier.size, pairs)
            faults += self._check_nodes(
                frontier.append(merkle.leaf_hash(bytes(leaf.entry or b''))))
            faults += self._check_checkpoint(checkpoints, frontier)
        faults += [
            gettext('cooperative_trust.msg_fault_checkpoint', size=size)
            for size in sorted(checkpoints)]
        faults += self._check_head(frontier)
        return faults

    def _leaves(self):
        pool = Pool()
        Leaf = pool.get('cooperative.trust.log.leaf')
        for first in count(0, BATCH):
            leaves = Leaf.search([
                    ('log', '=', self.id),
                    ('index', '>=', first),
                    ('index', '<', first + BATCH),
                    ], order=[('index', 'ASC')])
            yield from leaves
            if len(leaves) < BATCH:
                break

    def _check_leaf(self, leaf, index, pairs):
        "Check the leaf, and that it names the one before of the same two"
        faults = []
        if leaf.index != index or not leaf.is_right:
            faults.append(gettext(
                    'cooperative_trust.msg_fault_leaf', index=index))
        if leaf.sender:
            pair = leaf.sender, leaf.recipient
            if leaf.previous != pairs.get(pair):
                faults.append(gettext(
                        'cooperative_trust.msg_fault_pair', index=index))
            pairs[pair] = leaf.digest
        return faults

    def _check_nodes(self, nodes):
        pool = Pool()
        Node = pool.get('cooperative.trust.log.node')
        faults = []
        for level, number, hash_ in nodes:
            level, height = divmod(level, tile.HEIGHT)
            if (level and not height
                    and Node.hashes(self, level, number, 1) != [hash_]):
                faults.append(gettext(
                        'cooperative_trust.msg_fault_node',
                        level=level, number=number))
        return faults

    def _check_checkpoint(self, checkpoints, frontier):
        checkpoint = checkpoints.pop(frontier.size, None)
        if checkpoint and not checkpoint.signs(frontier):
            return [gettext(
                    'cooperative_trust.msg_fault_checkpoint',
                    size=frontier.size)]
        return []

    def _check_head(self, frontier):
        pool = Pool()
        Checkpoint = pool.get('cooperative.trust.log.checkpoint')
        head = self.head
        last = Checkpoint.last(self)
        right = (
            head.size == frontier.size == (last.size if last else None)
            and bytes(head.hashes or b'') == frontier.to_bytes()
            and head.root == frontier.root.hex())
        if not right:
            return [gettext(
                    'cooperative_trust.msg_fault_head', size=head.size)]
        return []
