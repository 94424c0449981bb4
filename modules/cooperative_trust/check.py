# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The log recomputed from its bytes"""
from itertools import count

from sql import Null
from sql.operators import Or
from trytond.i18n import gettext
from trytond.model import ModelView, fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Eval
from trytond.transaction import Transaction

from cooperative_edi.exceptions import KeyMissingError
from trycoton.protocol import entry, merkle
from trycoton.protocol.errors import ProtocolError

from .evidence import EVENTS
from .exceptions import LogCheckError
from .log import BATCH, STEP, now

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
        frontier = merkle.Frontier()
        checkpoints = self._checkpoints()
        checkpoint = next(checkpoints)
        pairs, faults = {}, []

        def check_checkpoints(checkpoint):
            while checkpoint and checkpoint.size <= frontier.size:
                faults.extend(self._check_checkpoint(checkpoint, frontier))
                checkpoint = next(checkpoints)
            return checkpoint
        checkpoint = check_checkpoints(checkpoint)
        for leaf in self._leaves():
            faults += self._check_leaf(leaf, frontier.size, pairs)
            faults += self._check_nodes(
                frontier.append(merkle.leaf_hash(bytes(leaf.entry or b''))))
            checkpoint = check_checkpoints(checkpoint)
        while checkpoint:
            faults.append(self._fault_checkpoint(checkpoint))
            checkpoint = next(checkpoints)
        faults += self._check_counts(frontier)
        faults += self._check_head(frontier)
        faults += self._check_relayed()
        faults += self._check_key()
        return faults

    def _checkpoints(self):
        "Yield the checkpoints by their sizes, and None after the last"
        pool = Pool()
        Checkpoint = pool.get('cooperative.trust.log.checkpoint')
        size = -1
        while checkpoints := Checkpoint.search([
                    ('log', '=', self.id),
                    ('size', '>', size),
                    ], order=[('size', 'ASC')], limit=BATCH):
            yield from checkpoints
            size = checkpoints[-1].size
        yield None

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
        if leaf.index != index or not self._is_right(leaf):
            faults.append(gettext(
                    'cooperative_trust.msg_fault_leaf', index=index))
        if leaf.sender:
            pair = leaf.sender, leaf.recipient
            if leaf.previous != pairs.get(pair):
                faults.append(gettext(
                        'cooperative_trust.msg_fault_pair', index=index))
            pairs[pair] = leaf.digest
        return faults

    def _is_right(self, leaf):
        message = leaf.message
        if bool(message) != (leaf.event in dict(EVENTS)):
            return False
        closing = leaf.event in entry.CLOSING
        if closing != bool(leaf.closing) or leaf.rejection and (
                (leaf.sender, leaf.recipient)
                != (leaf.rejection.sender, leaf.rejection.recipient)):
            return False
        if message and (
                # They are erased together
                bool(leaf.nonce) != bool(leaf.evidence)
                or (leaf.sender, leaf.recipient)
                != (message.sender, message.recipient)):
            return False
        return leaf.is_right

    def _check_nodes(self, nodes):
        pool = Pool()
        Node = pool.get('cooperative.trust.log.node')
        faults = []
        for level, number, hash_ in nodes:
            if (level and not level % STEP
                    and Node.hashes(self, level, number, 1) != [hash_]):
                faults.append(gettext(
                        'cooperative_trust.msg_fault_node',
                        level=level, number=number))
        return faults

    def _check_counts(self, frontier):
        "Check that there is nothing beside the entries up to the size"
        pool = Pool()
        Leaf = pool.get('cooperative.trust.log.leaf')
        Node = pool.get('cooperative.trust.log.node')
        nodes = sum(
            frontier.size >> level
            for level in range(STEP, 64, STEP))
        faults = []
        for Model, domain, wanted, message in [
                (Leaf, [('index', '!=', None)], frontier.size,
                    'cooperative_trust.msg_fault_leaf_count'),
                (Node, [], nodes, 'cooperative_trust.msg_fault_node_count'),
                ]:
            found = Model.search_count([('log', '=', self.id), *domain])
            if found != wanted:
                faults.append(gettext(message, found=found, count=wanted))
        return faults

    def _check_checkpoint(self, checkpoint, frontier):
        if not checkpoint.signs(frontier):
            return [self._fault_checkpoint(checkpoint)]
        return []

    def _fault_checkpoint(self, checkpoint):
        return gettext(
            'cooperative_trust.msg_fault_checkpoint', size=checkpoint.size)

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

    def _check_relayed(self):
        "Check that what is sent on is what was received"
        pool = Pool()
        Message = pool.get('cooperative.edi.message')
        sent, received = Message.__table__(), Message.__table__()
        names = [
            'data', 'digest', 'signature', 'uuid', 'sender', 'recipient',
            'sequence']
        different = Or([
                (getattr(sent, n) != getattr(received, n))
                | ((getattr(sent, n) == Null)
                    != (getattr(received, n) == Null)) for n in names])
        cursor = Transaction().connection.cursor()
        cursor.execute(*sent.join(received,
                condition=sent.relays == received.id).select(
                received.uuid,
                where=(received.company == self.company.id) & different,
                order_by=received.id))
        return [
            gettext('cooperative_trust.msg_fault_relayed', message=uuid)
            for uuid, in cursor.fetchall()]

    def _check_key(self):
        try:
            right = (
                self.signer.vkey == self.vkey
                and self.verifier.name == self.origin)
        except (KeyMissingError, ProtocolError, ValueError):
            right = False
        if not right:
            return [gettext('cooperative_trust.msg_fault_key')]
        return []
