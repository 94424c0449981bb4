# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What enough witnesses have seen, apart from what is only recorded.

A trust party proves at once that it recorded a message.  Once the witnesses
elected by the community have cosigned, the same is proved again, under their
signatures, and that proof takes the place of the first one.
"""
import datetime as dt
from dataclasses import replace

from trytond.i18n import gettext
from trytond.model import fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Eval

from trycoton.protocol import entry, witness
from trycoton.protocol.checkpoint import Checkpoint
from trycoton.protocol.errors import ProtocolError, Rejected
from trycoton.protocol.note import Note

from .identity import now
from .message import RETRY_LAST
from .peer import RETRY_MAX, naive

# Seconds after a proof of the log until the one of the witnesses is asked
# for the first time
WITNESSED_AFTER = 20


class Message(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.message'

    submission_witnesses = fields.Char("Witnesses of Submission",
        readonly=True,
        help="How many of the elected witnesses signed the proof.")
    delivery_witnesses = fields.Char("Witnesses of Delivery", readonly=True,
        help="How many of the elected witnesses signed the proof.")
    submission_proof = fields.Function(fields.Char(
            "Submission",
            states={
                'invisible': ~Eval('trust_party'),
                },
            help="Recorded: the trust party says that it has the message.\n"
            "Witnessed: so many members have seen that it says the same to "
            "everybody."),
        'get_proof')
    delivery_proof = fields.Function(fields.Char(
            "Delivery",
            states={
                'invisible': ~Eval('trust_party'),
                },
            help="Recorded: the trust party says that the message was handed "
            "over.\n"
            "Witnessed: so many members have seen that it says the same to "
            "everybody."),
        'get_proof')

    def get_proof(self, name):
        event, _ = name.split('_')
        if witnesses := getattr(self, f'{event}_witnesses'):
            signed, elected = witnesses.split('/')
            return gettext('cooperative_edi.msg_proof_witnessed',
                signed=signed, elected=elected)
        if getattr(self, f'{event}_record'):
            return gettext('cooperative_edi.msg_proof_recorded')

    def witness_policies(self):
        """Return the Policies of which one must hold for what the trust
        party recorded to be witnessed, none where nobody is elected"""
        return []

    def _keep_records(self, records):
        policies = self.witness_policies()
        records = {
            event: self._trim(value, policies)
            for event, value in records.items() if value}
        super()._keep_records(records)
        if not policies:
            return
        for event, places in self._record_places().items():
            if records.get(event):
                self._strengthen(event, records[event], policies, *places)

    def _record_places(self):
        """Return by event who keeps its record, and the names of the fields
        of the record and of its witnesses"""
        pool = Pool()
        Event = pool.get('cooperative.edi.message.event')
        places = {
            event: (self, f'{event}_record', f'{event}_witnesses')
            for event in ['submission', 'delivery']}
        for event in Event.search([('message', '=', self.id)]):
            places[event.event] = (event, 'record', 'witnesses')
        return places

    def _trim(self, value, policies):
        """Return the record without the signatures of those that nobody here
        knows: they prove nothing to who reads it later.  What is false
        without them is left as it is, and refused."""
        log = self.trust_party.log_verifier
        for keys in [self._witness_keys(policies), [log]]:
            try:
                record = entry.Record.from_json(value)
                proof = record.inclusion
                return replace(record, proof=replace(
                        proof,
                        checkpoint=witness.keep(proof.checkpoint, keys)
                        ).to_bytes().decode('utf-8')).to_json()
            except ProtocolError as exception:
                self.error = str(exception)
        return value

    def _witness_keys(self, policies):
        return [
            self.trust_party.log_verifier,
            *{k for p in policies for k in p.witnesses.values()}]

    def _strengthen(
            self, event, value, policies, keeper, name, witnesses_name):
        "Have the witnessed record take the place of the one of the log alone"
        if getattr(keeper, witnesses_name) or not getattr(keeper, name):
            return
        record = entry.Record.from_json(value)
        try:
            witnesses = self._count_witnesses(record, policies)
            if not witnesses:
                return
            self._check_record(event, record)
            known = entry.Record.parse(bytes(getattr(keeper, name)))
            if (record.evidence, record.nonce, record.inclusion.index) != (
                    known.evidence, known.nonce, known.inclusion.index):
                raise Rejected(gettext(
                        'cooperative_edi.msg_proof_other', event=event))
        except ProtocolError as exception:
            self.error = str(exception)
            return
        setattr(keeper, name, record.to_bytes())
        setattr(keeper, witnesses_name, witnesses)
        if keeper != self:
            keeper.save()
        self._recorded(record)

    def _count_witnesses(self, record, policies):
        """Return how many of how many witnesses signed the checkpoint of the
        record, None unless a policy has its quorum.  Raise Rejected."""
        note = Note.parse(record.inclusion.checkpoint)
        checkpoint = Checkpoint.parse(note.text)
        signed = note.verify(self._witness_keys(policies))
        for policy in policies:
            try:
                policy.check(checkpoint, signed)
            except Rejected:
                continue
            witnesses = policy.witnesses.values()
            return f'{len(set(witnesses) & set(signed))}/{len(witnesses)}'

    def _schedule_proof(self):
        super()._schedule_proof()
        age = (naive(now()) - self.stored).total_seconds()
        if not self._to_be_witnessed() or age > RETRY_LAST.total_seconds():
            return
        delay = min(max(WITNESSED_AFTER, age), RETRY_MAX)
        time = naive(now()) + dt.timedelta(seconds=delay)
        self.proof_at = min(filter(None, [self.proof_at, time]))

    def _to_be_witnessed(self):
        "Tell if a proof of the log is to be replaced by a stronger one"
        return self.witness_policies() and any(
            getattr(keeper, record) and not getattr(keeper, witnesses)
            for keeper, record, witnesses in self._record_places().values())


class Event(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.message.event'

    witnesses = fields.Char("Witnesses", readonly=True,
        help="How many of the elected witnesses signed the proof.")


class Peer(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.peer'

    def advance_checkpoint(self, note, base):
        if note is not None and len(Note.parse(note).signatures) > 1:
            # Each message carries it: what the log signed is enough
            note = witness.keep(note, [self.log_verifier])
        super().advance_checkpoint(note, base)
