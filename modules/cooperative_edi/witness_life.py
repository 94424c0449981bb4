# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""A witness replaces its key, resigns, and looks, once it starts, whether it
has signed more than it remembers"""
from typing import NamedTuple

from trytond.model import ModelSQL, ModelView, Unique, fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Bool, Eval
from trytond.transaction import Transaction, without_check_access

from trycoton.protocol.announcement import WitnessAnnouncement
from trycoton.protocol.checkpoint import Checkpoint
from trycoton.protocol.contradiction import compare
from trycoton.protocol.errors import ProtocolError, Rejected
from trycoton.protocol.note import Note, Verifier

from . import client, keystore
from .http import Problem
from .identity import now
from .monitor import LogView, Unavailable
from .peer import naive
from .transaction import hold, transact

KIND = WitnessAnnouncement.kind
# A database may have been restored before this process, not while it runs
STARTED = naive(now())
# Where a log shows what its witnesses signed
PUBLISHED = ['checkpoint', 'witnessed']


class Forgetful(Exception):
    "The witness must look first what it has signed: the Recall of it"


class Recall(NamedTuple):
    """What is to be looked for: what the witness with the verifiers own has
    signed of a log, of which the last that it remembers is note, or None"""
    witness: int
    url: str
    log: Verifier
    own: tuple
    note: 'bytes | None'

    def fetch(self):
        """Return the last checkpoint in the log that the witness has signed,
        as a note, or None when it remembers as much.  Raise Unavailable, or
        ProtocolError if the log does not prove that it only grew."""
        found = None
        for path in PUBLISHED:
            note = self._signed(path)
            if note and (not found or _size(note) > _size(found)):
                found = note
        if not found or self.note and _size(found) <= _size(self.note):
            return
        if self.note:
            view = LogView(self.url, self.log, None, [])
            if compare(self.note, found, self.log, view._fetch_tile):
                raise Rejected("The log tells two stories.")
        return found

    def _signed(self, path):
        "Return the note that the log shows, if the witness has signed it"
        try:
            response = client.get(self.url + path)
        except client.ClientError as exception:
            raise Unavailable(str(exception)) from exception
        if response.status == 404:
            return
        if response.status != 200:
            raise Unavailable(f"{path}: {response.status}")
        signed = Note.parse(response.data).verify([self.log, *self.own])
        if self.log in signed and set(signed) & set(self.own):
            return response.data


def _size(note):
    return Checkpoint.parse(Note.parse(note).text).size


class Witness(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.witness'

    former = fields.One2Many(
        'cooperative.edi.witness.key', 'witness', "Former Keys",
        readonly=True,
        states={
            'invisible': ~Eval('former'),
            },
        help="They sign nothing any more; what they signed remains valid.")

    @classmethod
    def __setup__(cls):
        super().__setup__()
        for name in ['replace_key', 'resign']:
            cls._buttons[name] = {
                'invisible': ~Bool(Eval('vkey')),
                'depends': ['vkey'],
                }

    @classmethod
    def copy(cls, witnesses, default=None):
        default = default.copy() if default is not None else {}
        default.setdefault('former')
        return super().copy(witnesses, default=default)

    @classmethod
    @ModelView.button
    def replace_key(cls, witnesses):
        for witness in cls._retire(witnesses):
            witness.generate()
            witness._announce()

    @classmethod
    @ModelView.button
    def resign(cls, witnesses):
        for witness in cls._retire(witnesses):
            witness._announce()

    @classmethod
    def _retire(cls, witnesses):
        """Forget the secret keys, and return who had one; what was signed is
        remembered"""
        pool = Pool()
        Key = pool.get('cooperative.edi.witness.key')
        retired = [w for w in map(hold, witnesses) if w.vkey]
        Key.save([
                Key(witness=w, vkey=w.vkey, ended=naive(now()))
                for w in retired])
        for witness in retired:
            keystore.erase(witness)
            witness.vkey = None
        cls.save(retired)
        return retired

    @without_check_access
    def _announce(self):
        "Tell the communities, which name the witness in their directories"
        pool = Pool()
        Identity = pool.get('cooperative.edi.identity')
        Message = pool.get('cooperative.edi.message')
        Peer = pool.get('cooperative.edi.peer')
        body = WitnessAnnouncement(
            identifier=Identity.get(self.company.id).identifier,
            witness=self.vkey, created=now()).to_json()
        for peer in Peer.search([
                    ('company', '=', self.company.id),
                    ('kind', '=', 'community'),
                    ('state', '=', 'active'),
                    ]):
            Message.send_statement(peer, KIND, body, origin=self)

    # What it has signed and may have forgotten

    @classmethod
    def answer(cls, database, data):
        """Return the status and the body for a request of a log, once it is
        looked for what was signed before.  Outside any transaction."""
        def add(**context):
            return transact(
                database, cls.add_checkpoint, data, turn='witness',
                context=context)
        try:
            return add()
        except Forgetful as exception:
            recall, = exception.args
        try:
            note = recall.fetch()
        except (Unavailable, ProtocolError) as exception:
            # Who cannot tell what it has signed signs nothing
            raise Problem('unavailable', "What was signed is not known.",
                str(exception)) from exception
        transact(database, cls._recalled, recall, note, turn='witness')
        return add(_recalled=True)

    def _log(self, request):
        log = super()._log(request)
        if (not Transaction().context.get('_recalled')
                and log.is_forgetful(request.old)
                and (recall := log.recall())):
            raise Forgetful(recall)
        return log

    @classmethod
    def _recalled(cls, recall, note):
        "Remember what was found, and that it was looked for"
        pool = Pool()
        Log = pool.get('cooperative.edi.witness.log')
        witness = hold(cls(recall.witness))
        logs = Log.search([
                ('witness', '=', witness.id),
                ('origin', '=', recall.log.name),
                ])
        log, = logs or [Log(
                witness=witness, origin=recall.log.name,
                size=Log.default_size(), root=Log.default_root(),
                claimed=None)]
        log.remember(note, recall.own)


class WitnessKey(ModelSQL, ModelView):
    __name__ = 'cooperative.edi.witness.key'

    witness = fields.Many2One(
        'cooperative.edi.witness', "Witness", required=True, readonly=True,
        ondelete='CASCADE')
    vkey = fields.Char("Verifier Key", required=True, readonly=True)
    ended = fields.DateTime("Ended", required=True, readonly=True,
        help="When the key was destroyed here.")

    __access__ = {'witness'}

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_constraints += [
            ('vkey_unique', Unique(t, t.vkey),
                'cooperative_edi.msg_witness_former_unique'),
            ]
        cls._order = [('ended', 'DESC'), ('id', 'DESC')]

    def get_rec_name(self, name):
        return self.vkey


class WitnessLog(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.witness.log'

    recalled = fields.DateTime("Memory Checked", readonly=True,
        help="When it was last looked whether the log shows more that was "
        "signed here than is known, as after a restore from a backup.")

    def is_forgetful(self, old):
        """Tell if more may have been signed than is known: this process has
        not looked yet, or the log says so"""
        recalled = self.recalled if self.id else None
        return not recalled or recalled < STARTED or (
            old > self.size and self.claimed != old)

    def recall(self):
        "Return the Recall for the log, None if it is at no known address"
        pool = Pool()
        Peer = pool.get('cooperative.edi.peer')
        witness = self.witness
        own = [witness.vkey, *(k.vkey for k in witness.former)]
        for peer in Peer.accepted_trust_parties(witness.company.id):
            if peer.endpoint and peer.log_key and (
                    peer.log_verifier.name == self.origin):
                note = self.note if self.id else None
                return Recall(
                    witness.id, f'{peer.endpoint}/trust/', peer.log_verifier,
                    tuple(map(Verifier.from_vkey, own)),
                    note and note.encode('utf-8'))

    def remember(self, note, own):
        "Keep the checkpoint that one of our keys has signed, if it is later"
        if note and _size(note) > self.size:
            parsed = Note.parse(note)
            checkpoint = Checkpoint.parse(parsed.text)
            keys = {(v.name, v.id) for v in own}
            self.size = checkpoint.size
            self.root = checkpoint.root.hex()
            self.note = note.decode('utf-8')
            self.cosignature = next(
                str(s) for s in parsed.signatures if (s.name, s.id) in keys)
            if self.claimed and self.claimed <= self.size:
                self.claimed = None
        self.recalled = naive(now())
        self.save()


class Message(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.message'

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls.kind.selection += [(KIND, "Witness Announcement")]

    @classmethod
    def _get_origin(cls):
        return super()._get_origin() + ['cooperative.edi.witness']
