# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What the witnesses sign of the log.

When the head has moved, each witness is asked to cosign it, every few
seconds and all for the same checkpoint: only so a quorum comes together.
The requests are read from the database, made without any transaction, and
their answers stored one by one.
"""
import datetime as dt
import logging
import queue
import threading
import time
from typing import NamedTuple

import trytond.config as config
from sql import Null
from sql.aggregate import Max
from trytond.i18n import gettext
from trytond.model import (
    DeactivableMixin, Index, ModelSQL, ModelView, Unique, fields)
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Bool, Eval, If
from trytond.transaction import Transaction, inactive_records

from cooperative_edi import client, courier
from cooperative_edi.http import printable
from cooperative_edi.identity import now
from cooperative_edi.peer import naive
from cooperative_edi.transaction import hold, transact
from trycoton.protocol import canonical, merkle
from trycoton.protocol import witness as protocol
from trycoton.protocol.errors import ProtocolError
from trycoton.protocol.note import MAX_SIGNATURES, Note, Verifier

from .exceptions import WitnessInvalid, WitnessModifyError
from .log import AppendOnlyMixin

logger = logging.getLogger(__name__)

# Seconds between two rounds, and until what does not answer counts as silent
INTERVAL = config.getint('cooperative', 'witness_interval', default=15)
TIMEOUT = config.getint('cooperative', 'witness_timeout', default=10)
INTERVAL_MAX = 60 * 60

_rounds = set()
_lock = threading.Lock()


class Ask(NamedTuple):
    "What is posted to a witness"
    witness: int
    checkpoint: int
    old: int
    url: str
    data: bytes
    again: bool = False


class Witness(DeactivableMixin, ModelSQL, ModelView):
    __name__ = 'cooperative.trust.witness'

    log = fields.Many2One(
        'cooperative.trust.log', "Log", required=True, ondelete='CASCADE',
        states={
            'readonly': Eval('id', -1) >= 0,
            })
    name = fields.Char("Name", readonly=True, required=True)
    vkey = fields.Char("Verifier Key", required=True,
        states={
            'readonly': Eval('id', -1) >= 0,
            },
        help="The line that the witness publishes.")
    key = fields.Char("Public Key", readonly=True, required=True)
    peer = fields.Many2One(
        'cooperative.edi.peer', "Member", readonly=True, ondelete='RESTRICT',
        states={
            'invisible': ~Eval('peer'),
            },
        help="The member elected by its community.\n"
        "Empty for a witness from elsewhere.")
    url = fields.Char("Address",
        states={
            'invisible': Bool(Eval('peer')),
            'required': ~Eval('peer'),
            },
        depends=['peer'],
        help="Where a witness from elsewhere is asked: the address before "
        "/add-checkpoint.")
    elections = fields.One2Many(
        'cooperative.trust.witness.election', 'witness', "Elections",
        readonly=True)
    size = fields.Integer("Size", readonly=True,
        help="The size of the last checkpoint that it signed.")
    answered = fields.DateTime("Last Answer", readonly=True,
        help="When it last signed what it was asked.")
    forgot = fields.DateTime("Forgot", readonly=True,
        states={
            'invisible': ~Eval('forgot'),
            },
        help="When it last knew less than it had signed before: it was "
        "restored from a backup, or it lies.")
    failures = fields.Integer("Failures", readonly=True,
        help="How many times in a row it did not sign.")
    next_ask = fields.DateTime("Next Request", readonly=True)
    error = fields.Text("Error", readonly=True,
        states={
            'invisible': ~Eval('error'),
            },
        help="Why it did not sign the last time.")

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_constraints += [
            ('key_unique', Unique(t, t.log, t.key),
                'cooperative_trust.msg_witness_key_unique'),
            ]
        cls._order.insert(0, ('name', 'ASC'))

    @classmethod
    def default_log(cls):
        pool = Pool()
        Log = pool.get('cooperative.trust.log')
        logs = Log.search(
            Log.signing(Transaction().context.get('company')))
        if len(logs) == 1:
            return logs[0].id

    @classmethod
    def default_size(cls):
        return 0

    @classmethod
    def default_failures(cls):
        return 0

    @classmethod
    def default_next_ask(cls):
        return naive(now())

    @classmethod
    def view_attributes(cls):
        return super().view_attributes() + [
            ('/tree', 'visual', If(Eval('error'), 'danger',
                    If(Bool(Eval('forgot')), 'warning', ''))),
            ]

    @fields.depends('vkey')
    def on_change_vkey(self):
        try:
            self.name = protocol.verifier(self.vkey).name
        except ProtocolError:
            self.name = None

    @classmethod
    def preprocess_values(cls, mode, values):
        values = super().preprocess_values(mode, values)
        if mode == 'create' and values.get('vkey'):
            try:
                verifier = protocol.verifier(values['vkey'])
            except ProtocolError as exception:
                raise WitnessInvalid(gettext(
                        'cooperative_trust.msg_witness_invalid',
                        vkey=values['vkey'],
                        error=str(exception))) from exception
            values['name'] = verifier.name
            values['key'] = canonical.encode(verifier.key.data)
        return values

    @classmethod
    def validate_fields(cls, witnesses, field_names):
        super().validate_fields(witnesses, field_names)
        for witness in witnesses:
            if witness.log.vkey and (
                    witness.verifier.key == witness.log.verifier.key):
                raise WitnessInvalid(gettext(
                        'cooperative_trust.msg_witness_log_key',
                        vkey=witness.vkey))

    @classmethod
    def check_modification(cls, mode, witnesses, values=None, external=False):
        super().check_modification(
            mode, witnesses, values=values, external=external)
        if mode == 'write' and (
                values.keys() & {'log', 'vkey', 'name', 'key'}
                or external and values.keys() - {'url', 'active'}):
            for witness in witnesses:
                raise WitnessModifyError(gettext(
                        'cooperative_trust.msg_witness_modify',
                        witness=witness.rec_name))

    @classmethod
    def copy(cls, witnesses, default=None):
        default = default.copy() if default is not None else {}
        for name in ['elections', 'answered', 'forgot', 'error']:
            default.setdefault(name)
        for name in ['size', 'failures']:
            default.setdefault(name, 0)
        return super().copy(witnesses, default=default)

    @property
    def verifier(self):
        return Verifier.from_vkey(self.vkey)

    @property
    def prefix(self):
        "Where it is asked, None if it has no address"
        if not self.peer:
            return self.url.rstrip('/')
        if self.peer.endpoint:
            return f'{self.peer.endpoint}/witness'

    @classmethod
    def reach(cls, logs):
        """Return for each id of the logs the size of the largest checkpoint
        that a witness has ever signed"""
        # Each proof asks
        table = cls.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*table.select(
                table.log, Max(table.size),
                where=table.log.in_(list(logs)), group_by=table.log))
        return {**dict.fromkeys(logs, 0), **dict(cursor)}

    # Who is elected

    @classmethod
    def elect(cls, community, directory):
        "Make the elected witnesses of the community those of the directory"
        pool = Pool()
        Log = pool.get('cooperative.trust.log')
        Peer = pool.get('cooperative.edi.peer')
        Election = pool.get('cooperative.trust.witness.election')
        company = community.company.id
        logs = Log.search(Log.signing(company))
        witnesses = []
        for log in logs:
            for identifier, verifier in directory.witnesses.items():
                if witness := cls._of_member(
                        log, Peer.get(company, identifier), verifier):
                    witnesses.append(witness)
        Election.replace(community, witnesses)
        community.quorum = directory.quorum
        community.save()
        cls._retire(logs)

    @classmethod
    def _of_member(cls, log, peer, verifier):
        "Return the witness of the member, None if the key is another's"
        with inactive_records():
            witnesses = cls.search([
                    ('log', '=', log.id),
                    ('key', '=', canonical.encode(verifier.key.data)),
                    ])
        if not witnesses:
            if not peer:
                return
            witness = cls(log=log, vkey=verifier.vkey, peer=peer)
            witness.save()
            return witness
        witness, = witnesses
        if not witness.peer:
            # The operator knew it before
            witness.peer = peer
        if not peer or witness.peer != peer or witness.vkey != verifier.vkey:
            # Counted for both, one person would be two witnesses
            logger.warning("witness key %s of %s is that of %s",
                verifier.vkey, peer.identifier if peer else None,
                witness.vkey)
            return
        witness.active = True
        witness.save()
        return witness

    @classmethod
    def _retire(cls, logs):
        "Ask no more who is elected by nobody"
        witnesses = cls.search([
                ('log', 'in', [l.id for l in logs]),
                ('peer', '!=', None),
                ])
        cls.write(
            [w for w in witnesses if not w.elections], {'active': False})

    # What they are asked

    @classmethod
    def next_round(cls):
        "Return when the next witness is to be asked, or None"
        pool = Pool()
        Log = pool.get('cooperative.trust.log')
        times = []
        for log in Log.search(cls._open_logs()):
            waiting = cls._behind(log, log.published_checkpoint)
            if waiting:
                times.append(max(filter(None, [
                                log.next_round,
                                min(w.next_ask for w in waiting)])))
        return min(times, default=None)

    @classmethod
    def _open_logs(cls):
        "The domain of the logs that sign"
        return [('vkey', '!=', None), ('closed', '=', None)]

    @classmethod
    def _behind(cls, log, checkpoint):
        "Return the witnesses of the log that have not signed the checkpoint"
        if not checkpoint:
            return []
        return [w for w in cls.search([
                    ('log', '=', log.id),
                    ('size', '<', checkpoint.size),
                    ]) if w.prefix]

    @classmethod
    def claim(cls):
        "Return the Asks of a new round: nobody else makes it"
        pool = Pool()
        Log = pool.get('cooperative.trust.log')
        asks, moment = [], naive(now())
        for log in Log.search(cls._open_logs()):
            if log.next_round and log.next_round > moment:
                continue
            checkpoint = log.published_checkpoint
            witnesses = [
                w for w in cls._behind(log, checkpoint)
                if w.next_ask <= moment]
            if witnesses:
                hold(log, next_round=moment + dt.timedelta(seconds=INTERVAL))
                asks += [w.ask(checkpoint, w.size) for w in witnesses]
        return asks

    def ask(self, checkpoint, old, again=False):
        "Return the Ask for the checkpoint from a size that it knows"
        hashes = self.log.prove(
            lambda node: merkle.consistency_proof(
                node, old, checkpoint.size)) if old else ()
        return Ask(
            self.id, checkpoint.id, old, f'{self.prefix}/add-checkpoint',
            protocol.Request(
                old, tuple(hashes), checkpoint.note.encode()).to_bytes(),
            again)

    @classmethod
    def take(cls, ask, response):
        """Keep what the witness answered: a client.Response or an exception.
        Return what to ask it instead, if anything."""
        pool = Pool()
        Checkpoint = pool.get('cooperative.trust.log.checkpoint')
        with inactive_records():
            if not cls.search([('id', '=', ask.witness)]):
                # Removed meanwhile
                return
            witness = hold(cls(ask.witness))
        checkpoint = Checkpoint(ask.checkpoint)
        try:
            if isinstance(response, Exception):
                witness.fail(str(response))
            elif response.status == 200:
                witness.sign(checkpoint, response.data)
            elif response.status == 409:
                return witness.contradict(checkpoint, ask, response)
            else:
                witness.fail(courier.problem(response))
        except ProtocolError as exception:
            witness.fail(str(exception))

    def sign(self, checkpoint, data):
        "Keep the cosignature of the checkpoint; raise ProtocolError"
        pool = Pool()
        Cosignature = pool.get('cooperative.trust.cosignature')
        text = Note.parse(checkpoint.note.encode()).text
        Cosignature.add(checkpoint, self, *protocol.find_cosignature(
                data, text, self.verifier, now()))
        self.size = max(self.size, checkpoint.size)
        self.answered = naive(now())
        self.failures = 0
        self.next_ask = naive(now())
        self.error = None
        self.save()

    def contradict(self, checkpoint, ask, response):
        """Return what to ask when the witness knows another size than it is
        believed to, unless that explains nothing; raise ProtocolError"""
        size = protocol.parse_size(response.data)
        if size < self.size:
            self.forgot = naive(now())
        if ask.again or size == ask.old:
            self.fail(gettext('cooperative_trust.msg_witness_contradicts',
                    size=size))
        elif size > checkpoint.size:
            self.fail(gettext('cooperative_trust.msg_witness_ahead',
                    size=size, checkpoint=checkpoint.size))
        else:
            self.save()
            return self.ask(checkpoint, size, again=True)

    def fail(self, error):
        "Keep why it did not sign, and ask it later and later"
        self.failures += 1
        delay = min(INTERVAL * 2 ** min(self.failures, 20), INTERVAL_MAX)
        self.next_ask = naive(now()) + dt.timedelta(seconds=delay)
        self.error = printable(error)
        self.save()


def attend(database):
    "Have the witnesses asked, beside the courier where there is one"
    due = transact(database, _next_round, readonly=True)
    if not due or due > naive(now()):
        return
    if not config.getboolean('cooperative', 'courier', default=True):
        ask(database)
        return
    with _lock:
        if database in _rounds:
            return
        _rounds.add(database)
    threading.Thread(
        target=_round, args=[database], name=f'witnesses-{database}',
        daemon=True).start()


def _next_round():
    return Pool().get('cooperative.trust.witness').next_round()


def _round(database):
    try:
        ask(database)
    except Exception:
        logger.critical("witnesses of %s", database, exc_info=True)
    finally:
        with _lock:
            _rounds.discard(database)
        courier.wake(database)


def ask(database):
    "Ask all the witnesses that are due, and keep what they answer"
    Witness = Pool(database).get('cooperative.trust.witness')
    Quorum = Pool(database).get('cooperative.trust.quorum')
    asks = transact(database, Witness.claim)
    checkpoints = {a.checkpoint for a in asks}
    while asks:
        answers, asks = _post(asks), []
        for asked, response in answers:
            if instead := transact(database, Witness.take, asked, response):
                asks.append(instead)
    for checkpoint in checkpoints:
        transact(database, Quorum.settle, checkpoint)


def _post(asks):
    """Return the (Ask, client.Response or exception) of all, at the same
    time: one that is slow holds up no other"""
    answers = queue.Queue()

    def post(ask):
        try:
            response = client.post(ask.url, ask.data, {
                    'Content-Type': 'text/plain; charset=utf-8'})
        except Exception as exception:
            response = exception
        answers.put((ask, response))
    for asked in asks:
        threading.Thread(target=post, args=[asked], daemon=True).start()
    deadline = time.monotonic() + TIMEOUT
    waiting, result = set(asks), []
    while waiting:
        try:
            asked, response = answers.get(
                timeout=max(deadline - time.monotonic(), 0.01))
        except queue.Empty:
            break
        waiting.discard(asked)
        result.append((asked, response))
    late = TimeoutError(f"no answer within {TIMEOUT} seconds")
    return result + [(asked, late) for asked in waiting]


class Election(ModelSQL, ModelView):
    __name__ = 'cooperative.trust.witness.election'

    witness = fields.Many2One(
        'cooperative.trust.witness', "Witness", required=True, readonly=True,
        ondelete='CASCADE')
    community = fields.Many2One(
        'cooperative.edi.peer', "Community", required=True, readonly=True,
        ondelete='CASCADE')

    __access__ = {'witness'}

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_constraints += [
            ('witness_unique', Unique(t, t.community, t.witness),
                'cooperative_trust.msg_election_witness_unique'),
            ]

    def get_rec_name(self, name):
        return f'{self.witness.rec_name} - {self.community.rec_name}'

    @classmethod
    def replace(cls, community, witnesses):
        "Make the witnesses those of the community"
        elections = {e.witness: e for e in cls.search(
                [('community', '=', community.id)])}
        cls.save([
                cls(community=community, witness=w)
                for w in witnesses if w not in elections])
        cls.delete([
                e for w, e in elections.items() if w not in witnesses])


class Cosignature(AppendOnlyMixin, ModelSQL, ModelView):
    __name__ = 'cooperative.trust.cosignature'

    checkpoint = fields.Many2One(
        'cooperative.trust.log.checkpoint', "Checkpoint", required=True,
        readonly=True, ondelete='RESTRICT')
    witness = fields.Many2One(
        'cooperative.trust.witness', "Witness", required=True, readonly=True,
        ondelete='RESTRICT')
    time = fields.DateTime("Time", required=True, readonly=True,
        help="When the witness signed, by its clock.")
    line = fields.Text("Line", required=True, readonly=True, strip=False)

    __access__ = {'checkpoint'}

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_constraints += [
            ('witness_unique', Unique(t, t.checkpoint, t.witness),
                'cooperative_trust.msg_cosignature_unique'),
            ]
        cls._order.insert(0, ('id', 'ASC'))

    def get_rec_name(self, name):
        return f'{self.checkpoint.rec_name} - {self.witness.rec_name}'

    @property
    def is_right(self):
        "Tell if the witness signed the checkpoint by the line"
        try:
            signature = protocol.Signature.parse(self.line.rstrip('\n'))
            text = Note.parse(self.checkpoint.note.encode()).text
            return bool(
                Note(text, (signature,)).verify([self.witness.verifier]))
        except ProtocolError:
            return False

    @classmethod
    def add(cls, checkpoint, witness, signature, time):
        "Keep the first signature of the witness"
        if not cls.search([
                    ('checkpoint', '=', checkpoint.id),
                    ('witness', '=', witness.id),
                    ], limit=1):
            cls.create([{
                        'checkpoint': checkpoint.id,
                        'witness': witness.id,
                        'time': dt.datetime.fromtimestamp(
                            time, dt.timezone.utc).replace(tzinfo=None),
                        'line': str(signature),
                        }])

    @classmethod
    def lines(cls, checkpoint):
        """Return what the witnesses signed the checkpoint by, the elected
        ones first: a note has room for so many"""
        pool = Pool()
        Witness = pool.get('cooperative.trust.witness')
        table, witness = cls.__table__(), Witness.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*table
            .join(witness, condition=table.witness == witness.id)
            .select(
                table.line,
                where=table.checkpoint == checkpoint.id,
                order_by=[witness.peer == Null, table.id]))
        return [line for line, in cursor]


class Quorum(AppendOnlyMixin, ModelSQL, ModelView):
    "A checkpoint that enough of the witnesses of a community signed"
    __name__ = 'cooperative.trust.quorum'

    checkpoint = fields.Many2One(
        'cooperative.trust.log.checkpoint', "Checkpoint", required=True,
        readonly=True, ondelete='RESTRICT')
    community = fields.Many2One(
        'cooperative.edi.peer', "Community", required=True, readonly=True,
        ondelete='RESTRICT')
    size = fields.Integer("Size", required=True, readonly=True)

    __access__ = {'checkpoint'}

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_constraints += [
            ('community_unique', Unique(t, t.checkpoint, t.community),
                'cooperative_trust.msg_quorum_unique'),
            ]
        cls._sql_indexes.add(Index(t, (t.size, Index.Range(order='DESC'))))
        cls._order.insert(0, ('size', 'DESC'))

    def get_rec_name(self, name):
        return f'{self.checkpoint.rec_name} - {self.community.rec_name}'

    @classmethod
    def settle(cls, checkpoint):
        "Note for which communities enough have signed the checkpoint"
        pool = Pool()
        Checkpoint = pool.get('cooperative.trust.log.checkpoint')
        Election = pool.get('cooperative.trust.witness.election')
        checkpoint = Checkpoint(checkpoint)
        signed = {c.witness for c in checkpoint.cosignatures}
        counts = {}
        for election in Election.search([
                    ('witness', 'in', [w.id for w in signed]),
                    ]):
            counts[election.community] = counts.get(
                election.community, 0) + 1
        known = {q.community for q in cls.search([
                    ('checkpoint', '=', checkpoint.id),
                    ])}
        cls.create([{
                    'checkpoint': checkpoint.id,
                    'community': community.id,
                    'size': checkpoint.size,
                    } for community, count in counts.items()
                if community not in known
                and community.quorum and count >= community.quorum])

    @classmethod
    def last(cls, log, communities=None):
        """Return the last checkpoint that has the quorum of one of the
        communities, or of any"""
        domain = [('checkpoint.log', '=', log.id)]
        if communities is not None:
            domain.append(('community', 'in', [c.id for c in communities]))
        for quorum in cls.search(
                domain, order=[('size', 'DESC')], limit=1):
            return quorum.checkpoint


class Log(metaclass=PoolMeta):
    __name__ = 'cooperative.trust.log'

    witnesses = fields.One2Many(
        'cooperative.trust.witness', 'log', "Witnesses")
    next_round = fields.DateTime("Next Round", readonly=True,
        help="When the witnesses are asked again, if the log has grown.")

    @classmethod
    def copy(cls, logs, default=None):
        default = default.copy() if default is not None else {}
        default.setdefault('witnesses')
        default.setdefault('next_round')
        return super().copy(logs, default=default)

    @property
    def published_checkpoint(self):
        """What the witnesses are asked to sign: the last checkpoint that may
        be handed out, none while the log signs nothing"""
        pool = Pool()
        Checkpoint = pool.get('cooperative.trust.log.checkpoint')
        if not self.known_halt:
            return Checkpoint.published(self)

    def _check_checkpoint(self, checkpoint, frontier):
        return super()._check_checkpoint(checkpoint, frontier) + [
            gettext('cooperative_trust.msg_fault_cosignature',
                witness=c.witness.rec_name, size=checkpoint.size)
            for c in checkpoint.cosignatures if not c.is_right]


class Checkpoint(metaclass=PoolMeta):
    __name__ = 'cooperative.trust.log.checkpoint'

    cosignatures = fields.One2Many(
        'cooperative.trust.cosignature', 'checkpoint', "Cosignatures",
        readonly=True)
    witnessed = fields.Function(fields.Char(
            "Witnesses",
            help="How many of the witnesses asked now have signed it."),
        'get_witnessed')

    @classmethod
    def get_witnessed(cls, checkpoints, name):
        pool = Pool()
        Witness = pool.get('cooperative.trust.witness')
        counts = {
            log: Witness.search_count([('log', '=', log.id)])
            for log in {c.log for c in checkpoints}}
        result = {}
        for checkpoint in checkpoints:
            signed = [
                c for c in checkpoint.cosignatures if c.witness.active]
            result[checkpoint.id] = gettext(
                'cooperative_trust.msg_checkpoint_witnessed',
                signed=len(signed), asked=counts[checkpoint.log]
                ) if counts[checkpoint.log] else None
        return result

    @property
    def cosigned(self):
        pool = Pool()
        Cosignature = pool.get('cooperative.trust.cosignature')
        cosigned, lines = super().cosigned, Cosignature.lines(self)
        if not lines:
            return cosigned
        note = Note.parse(cosigned)
        return protocol.join(note, [
                protocol.Signature.parse(line.rstrip('\n'))
                for line in lines[:MAX_SIGNATURES - len(note.signatures)]])

    @classmethod
    def copy(cls, checkpoints, default=None):
        default = default.copy() if default is not None else {}
        default.setdefault('cosignatures')
        return super().copy(checkpoints, default=default)


class Leaf(metaclass=PoolMeta):
    __name__ = 'cooperative.trust.log.leaf'

    @classmethod
    def places(cls, leaves):
        """Return them in the last witnessed checkpoint for those that it
        covers, and with what the witnesses signed"""
        pool = Pool()
        Checkpoint = pool.get('cooperative.trust.log.checkpoint')
        Witness = pool.get('cooperative.trust.witness')
        places = super().places(leaves)
        reach = Witness.reach({place.log for place in places.values()})
        for leaf, place in places.items():
            # Most are asked for at once: then nobody can have signed them
            if place.index < reach[place.log]:
                checkpoint = leaf.witnessed or Checkpoint(place.checkpoint)
                places[leaf] = place._replace(
                    size=checkpoint.size, note=checkpoint.cosigned.decode())
        return places

    @property
    def witnessed(self):
        "The last witnessed checkpoint if it covers the leaf"
        pool = Pool()
        Quorum = pool.get('cooperative.trust.quorum')
        witnessed = Quorum.last(self.log, self.communities)
        if witnessed and witnessed.size > self.index:
            return witnessed

    @property
    def communities(self):
        "Those whose witnesses count for what the leaf records"
        pool = Pool()
        Member = pool.get('cooperative.trust.member')
        Message = pool.get('cooperative.edi.message')
        Peer = pool.get('cooperative.edi.peer')
        if self.directory:
            return {self.directory.community}
        if not self.message:
            return set()
        relay = self.message
        if not relay.relays:
            relay, = Message.search([
                    ('uuid', '=', relay.uuid),
                    ('relays', '=', relay.id),
                    ], limit=1) or [relay]
        if relay.agreement and relay.agreement.community:
            return {relay.agreement.community}
        company = self.log.company.id
        members = [
            Peer.get(company, i) for i in [self.sender, self.recipient]]
        return set.intersection(*[
                Member.active(m) if m else set() for m in members])


class Member(metaclass=PoolMeta):
    __name__ = 'cooperative.trust.member'

    @classmethod
    def synchronise(cls, community, directory, previous):
        pool = Pool()
        Witness = pool.get('cooperative.trust.witness')
        super().synchronise(community, directory, previous)
        Witness.elect(community, directory)


class Peer(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.peer'

    quorum = fields.Integer("Quorum", readonly=True,
        states={
            'invisible': Eval('kind') != 'community',
            },
        help="How many of the witnesses that the community elected must sign "
        "a checkpoint.")


class Message(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.message'

    @classmethod
    def attend(cls, database):
        super().attend(database)
        attend(database)

    @classmethod
    def next_due(cls):
        delay, due = super().next_due(), _next_round()
        if due:
            # Not at once, if a round goes on in another thread
            seconds = max((due - naive(now())).total_seconds(), 1)
            delay = seconds if delay is None else min(delay, seconds)
        return delay
