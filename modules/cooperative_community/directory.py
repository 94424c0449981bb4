# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
import base64
import datetime as dt
import logging

import trytond.config as config
from sql import Null
from trytond.exceptions import UserError
from trytond.i18n import gettext
from trytond.model import Index, ModelSQL, ModelView, Unique, fields
from trytond.pool import Pool
from trytond.pyson import Eval, If
from trytond.transaction import Transaction

from cooperative_edi import client, courier
from cooperative_edi.column import BigInteger
from cooperative_edi.identity import now
from cooperative_edi.peer import naive
from cooperative_edi.transaction import hold, transact
from trycoton.protocol import canonical, directory, entry, note, signature
from trycoton.protocol.directory import RECORD_HEADER
from trycoton.protocol.errors import ProtocolError, Rejected
from trycoton.protocol.evidence import SignedDirectory
from trycoton.protocol.proof import Proof

from .exceptions import DirectoryRefusedError

logger = logging.getLogger(__name__)

LIFE = dt.timedelta(days=30)
RENEWAL = dt.timedelta(days=15)
RETRY = dt.timedelta(
    seconds=config.getint('cooperative', 'retry_min', default=60))
RETRY_MAX = dt.timedelta(hours=6)
# How long what is on its way may take: a key, a record
PATIENCE = dt.timedelta(days=1)

# The databases that met a key they did not know, and when each last asked
_unknown_keys = set()
_asked = {}


# The memberships that a directory lists
MEMBERSHIP_LISTED = {'pending_payment', 'active', 'suspended'}


def _files(version, data, jws, prefix=''):
    name = f'{prefix}directory-{version}'
    return [(f'{name}.json', data), (f'{name}.jws', jws.encode())]


class Directory(courier.CourierMixin, ModelSQL, ModelView):
    __name__ = 'cooperative.community.directory'

    community = fields.Many2One(
        'cooperative.community', "Community", required=True, readonly=True,
        ondelete='CASCADE')
    version = BigInteger("Version", required=True, readonly=True)
    created = fields.DateTime("Created", required=True, readonly=True)
    expires = fields.DateTime("Expires", required=True, readonly=True)
    data = fields.Binary("Directory", required=True, readonly=True,
        filename='filename',
        help="The exact bytes that the community signed.")
    filename = fields.Function(fields.Char("File Name"), 'get_filename')
    digest = fields.Char("Digest", required=True, readonly=True)
    signature = fields.Text("Signature", required=True, readonly=True)
    records = fields.One2Many(
        'cooperative.community.directory.record', 'directory', "Records",
        readonly=True,
        help="What proves that the logs of the trust parties hold the digest.")

    __access__ = {'community'}

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_constraints += [
            ('version_unique', Unique(t, t.community, t.version),
                'cooperative_community.msg_directory_version_unique'),
            ]
        cls._order = [('version', 'DESC'), ('id', 'DESC')]

    def get_rec_name(self, name):
        return f'{self.community.rec_name} {self.version}'

    @classmethod
    def search_rec_name(cls, name, clause):
        return [('community.rec_name', *clause[1:])]

    def get_filename(self, name):
        return f'directory-{self.version}.json'

    @property
    def files(self):
        "The directory and its signature, to keep as evidence"
        return _files(self.version, bytes(self.data), self.signature)

    @property
    def content(self):
        return directory.Directory.parse(bytes(self.data))

    @property
    def evidence(self):
        record = self.record
        return SignedDirectory(
            data=bytes(self.data), signature=self.signature,
            proof=canonical.load(record)['proof'] if record else None)

    @classmethod
    def last(cls, community):
        "Return the last version of the community, or None"
        directories = cls.search([
                ('community', '=', community),
                ], order=[('version', 'DESC')], limit=1)
        return directories[0] if directories else None

    @classmethod
    def _store(cls, community, content, jws):
        return cls(
            community=community, version=content.version,
            created=naive(content.created), expires=naive(content.expires),
            data=content.to_bytes(), digest=content.digest, signature=jws)

    # The side of the manager

    @classmethod
    def publish(cls, community):
        "Return the last version, a new one if something changed"
        hold(community)
        identity = community.identity
        last = cls.last(community)
        participants = cls._participants(community, identity)
        content = directory.Directory(
            community=identity.identifier,
            version=last.version + 1 if last else 1,
            previous=last.digest if last else None,
            created=now(), expires=now() + LIFE,
            participants=participants,
            quorum=community.quorum_of(participants))
        if last and not last._renewable and last.content.says(content):
            return last
        new = cls._store(community, content, identity.sign(
                content.to_bytes(), signature.DIRECTORY))
        new.records = [{'trust_party': p} for p in community.trust_parties]
        new.save()
        cls.call_courier([new])
        return new

    @property
    def _renewable(self):
        return self.expires - naive(now()) < LIFE - RENEWAL

    @classmethod
    def _participants(cls, community, identity):
        pool = Pool()
        Membership = pool.get('cooperative.community.membership')
        memberships = Membership.search([
                ('community', '=', community),
                ('state', 'in', ['pending_payment', 'active', 'suspended']),
                ])
        return tuple(
            [identity.participant(['manager'])]
            + [p.participant(['trust-party'])
                for p in community.trust_parties]
            + [m.participant() for m in memberships])

    @property
    def record(self):
        "The first record of the digest in a log, or None"
        for record in self.records:
            if record.record:
                return bytes(record.record)

    @property
    def etag(self):
        return f'{self.digest}-logged' if self.record else self.digest

    # The side of the members

    @classmethod
    def request(cls, community):
        "Return the address of the directory and the headers to ask with"
        last = cls.last(community)
        headers = {'If-None-Match': f'"{last.etag}"'} if last else {}
        return community.peer.endpoint + '/community/directory', headers

    @classmethod
    def fetch(cls, community):
        "Return what the community answers; raise a UserError"
        try:
            return client.get(*cls.request(community))
        except client.ClientError as exception:
            raise exception.user_error() from exception

    @classmethod
    def synchronise(cls, community, response):
        "Verify what the community answered and update its participants"
        # A person and the courier may ask at the same time
        community = hold(community)
        last = cls.last(community)
        if response.status == 200:
            try:
                last = cls._take(community, last, response)
            except ProtocolError as exception:
                raise cls._refused(community, exception) from exception
        elif response.status != 304 or not last:
            raise cls._refused(community, courier.problem(response))
        if naive(now()) >= last.expires:
            raise cls._refused(community, gettext(
                    'cooperative_community.msg_directory_expired'))
        community.synchronised = naive(now())
        community.to_synchronise = False
        community.save()
        last._watch()

    def _watch(self):
        "Raise or settle the alarms that depend on the time"
        pool = Pool()
        Alarm = pool.get('cooperative.edi.alarm')
        community = self.community
        Alarm.settle(['stale'], community.peer)
        membership = community.membership
        if not membership or membership.state not in MEMBERSHIP_LISTED:
            Alarm.settle(['entry'], community.peer)
        if self.record or not community.trust_parties:
            Alarm.settle(['unlogged'], community.peer)
        elif (naive(now()) - self.create_date > PATIENCE
                and not Alarm.is_open('unlogged', community.peer)):
            Alarm.raise_alarm(
                community.company.id, 'unlogged',
                f'{community.id} {self.version}',
                'cooperative_community.msg_alarm_unlogged',
                peer=community.peer, evidence=self.files,
                community=community.rec_name, version=self.version)

    @classmethod
    def alarm(cls, community, exception):
        """Raise the alarm of a directory that could not be taken, in a
        transaction of its own"""
        pool = Pool()
        Alarm = pool.get('cooperative.edi.alarm')
        last = cls.last(community)
        if values := getattr(exception, 'alarm', None):
            Alarm.raise_alarm(
                community.company.id, peer=community.peer,
                community=community.rec_name, **values)
        if last and naive(now()) >= last.expires:
            Alarm.raise_alarm(
                community.company.id, 'stale',
                f'{community.id} {last.version}',
                'cooperative_community.msg_alarm_stale',
                peer=community.peer, evidence=last.files,
                community=community.rec_name, expires=str(last.expires),
                error=str(exception))

    @classmethod
    def alarm_at_end(cls, community, exception):
        "Raise the alarm after the transaction, which the error rolls back"
        transaction = Transaction()
        transaction.atexit(
            courier._attempt, transact, transaction.database.name, _alarm,
            community.id, exception)

    @classmethod
    def _refused(cls, community, error):
        exception = DirectoryRefusedError(gettext(
                'cooperative_community.msg_directory_refused',
                community=community.rec_name, error=str(error)))
        exception.alarm = getattr(error, 'alarm', None)
        return exception

    @classmethod
    def _take(cls, community, last, response):
        "Store the directory unless it is the known one, and return it"
        pool = Pool()
        Participant = pool.get('cooperative.community.participant')
        jws = response.headers.get(signature.SIGNATURE_HEADER, '')
        signature.verify(
            response.data, jws, signature.DIRECTORY,
            community.peer.public_keys())
        content = directory.Directory.parse(response.data)
        if content.community != community.peer.identifier:
            raise Rejected("The directory is of another community.")
        if last:
            last._check_next(content, jws)
        if content.expires <= now():
            raise Rejected("The directory has expired.")
        if last:
            if content.digest == last.digest:
                last._keep_record(response.headers.get(RECORD_HEADER))
                return last
        new = cls._store(community, content, jws)
        new.save()
        new._keep_record(response.headers.get(RECORD_HEADER))
        Participant.update(community, content, last and last.content)
        return new

    def _check_next(self, content, jws):
        "Refuse a signed directory that cannot follow, with what shows it"
        try:
            content.check_after(self.content)
        except Rejected as exception:
            exception.alarm = {
                'kind': 'directory',
                'key': f'{self.digest} {content.digest}',
                'text': 'cooperative_community.msg_alarm_directory',
                'evidence': self.files + _files(
                    content.version, content.to_bytes(), jws, 'refused-'),
                'version': self.version,
                'refused': content.version,
                'error': str(exception),
                }
            raise

    def _keep_record(self, text):
        "Keep the record of the log that proves to hold the digest"
        pool = Pool()
        Record = pool.get('cooperative.community.directory.record')
        try:
            data = base64.b64decode(text or '', validate=True)
        except ValueError:
            return
        for trust_party in self.community.trust_parties:
            record = Record(directory=self, trust_party=trust_party)
            if not self.record and record.proves(data):
                record.record = data
                record.save()
                # Another log than ours would prove another directory
                proof = Proof.parse(canonical.load(data)['proof'].encode())
                trust_party.see_checkpoint(proof.checkpoint)


class DirectoryRecord(ModelSQL, ModelView):
    __name__ = 'cooperative.community.directory.record'

    directory = fields.Many2One(
        'cooperative.community.directory', "Directory", required=True,
        readonly=True, ondelete='CASCADE')
    trust_party = fields.Many2One(
        'cooperative.edi.peer', "Trust Party", required=True, readonly=True,
        ondelete='RESTRICT')
    record = fields.Binary("Record", readonly=True,
        help="Proves that the log of the trust party holds the digest.")
    attempts = fields.Integer("Attempts", readonly=True)
    next_attempt = fields.DateTime("Next Attempt", readonly=True)
    error = fields.Text("Error", readonly=True,
        states={
            'invisible': ~Eval('error'),
            })

    __access__ = {'directory'}

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_constraints += [
            ('trust_party_unique', Unique(t, t.directory, t.trust_party),
                'cooperative_community.msg_directory_record_unique'),
            ]
        cls._sql_indexes.add(Index(
                t, (t.next_attempt, Index.Range()),
                where=t.record == Null))

    @classmethod
    def default_attempts(cls):
        return 0

    @classmethod
    def default_next_attempt(cls):
        return naive(now())

    def get_rec_name(self, name):
        return f'{self.directory.rec_name} - {self.trust_party.rec_name}'

    @classmethod
    def view_attributes(cls):
        return super().view_attributes() + [
            ('/tree', 'visual', If(Eval('error'), 'warning', '')),
            ]

    @classmethod
    def to_push(cls):
        "Return the ids of what the trust parties do not have yet, in order"
        return [r.id for r in cls.search([
                    ('record', '=', None),
                    ('directory.community.role', '=', 'manager'),
                    ('next_attempt', '<=', naive(now())),
                    ('trust_party.endpoint', '!=', None),
                    ], order=[('id', 'ASC')])]

    @classmethod
    def next_due(cls):
        "Return in how many seconds something is due, or None"
        records = cls.search([
                ('record', '=', None),
                ('directory.community.role', '=', 'manager'),
                ('trust_party.endpoint', '!=', None),
                ], order=[('next_attempt', 'ASC')], limit=1)
        for record in records:
            delay = record.next_attempt - naive(now())
            return max(delay.total_seconds(), 0)

    @classmethod
    def request(cls, id_):
        "Return the peer to call and what to post"
        record = cls(id_)
        return (
            record.trust_party.id, bytes(record.directory.data), {
                'Content-Type': 'application/json',
                signature.SIGNATURE_HEADER: record.directory.signature,
                })

    @classmethod
    def pushed(cls, id_, answer):
        "Keep the record that the trust party answered"
        record = cls(id_)
        data = canonical.dump(answer.get('record'))
        if record.proves(data):
            record.record = data
            record.next_attempt = record.error = None
            record.save()
        else:
            cls.not_pushed(id_, gettext(
                    'cooperative_community.msg_directory_not_recorded',
                    trust_party=record.trust_party.rec_name))

    @classmethod
    def not_pushed(cls, id_, error):
        "Try again later, after longer and longer delays"
        record = cls(id_)
        record.attempts = (record.attempts or 0) + 1
        delay = min(RETRY * 2 ** min(record.attempts - 1, 20), RETRY_MAX)
        record.next_attempt = naive(now()) + delay
        record.error = error
        record.save()

    def proves(self, data):
        "Tell if the bytes prove that the log holds the directory"
        try:
            value = canonical.load(data)
            proof = Proof.parse(value['proof'].encode('utf-8'))
            verifier = note.Verifier.from_vkey(self.trust_party.log_key)
            proof.verify(
                entry.directory_entry(self.directory.digest), [verifier])
        except (ProtocolError, KeyError, TypeError, AttributeError):
            return False
        return True


class Participant(ModelSQL, ModelView):
    __name__ = 'cooperative.community.participant'

    community = fields.Many2One(
        'cooperative.community', "Community", required=True, readonly=True,
        ondelete='CASCADE')
    peer = fields.Many2One(
        'cooperative.edi.peer', "Peer", required=True, readonly=True,
        ondelete='CASCADE')
    offerer = fields.Boolean("Offerer", readonly=True)
    buyer = fields.Boolean("Buyer", readonly=True)
    state = fields.Selection([
            ('active', "Active"),
            ('suspended', "Suspended"),
            ], "State", required=True, readonly=True, sort=False)

    __access__ = {'community'}

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_constraints += [
            ('peer_unique', Unique(t, t.community, t.peer),
                'cooperative_community.msg_participant_unique'),
            ]

    def get_rec_name(self, name):
        return self.peer.rec_name

    @classmethod
    def search_rec_name(cls, name, clause):
        return [('peer.rec_name', *clause[1:])]

    @classmethod
    def view_attributes(cls):
        return super().view_attributes() + [
            ('/tree', 'visual',
                If(Eval('state') == 'suspended', 'danger', '')),
            ]

    @classmethod
    def find(cls, community, peer, role=None):
        """Return the active entry of the peer in the directory of the
        community, given by its own peer, with the role; or None"""
        participants = cls.search([
                ('community.peer', '=', community),
                ('peer', '=', peer),
                ('state', '=', 'active'),
                *([(role, '=', True)] if role else []),
                ])
        return participants[0] if participants else None

    @classmethod
    def update(cls, community, content, known=None):
        "Make the participants those of the directory"
        pool = Pool()
        Peer = pool.get('cooperative.edi.peer')
        own = community.identity
        cls._watch_own(community, content, known)
        participants = {p.peer.identifier: p for p in community.participants}
        to_save, alarms = [], cls._alarms(own, content)
        for item in content.participants:
            if item.identifier == own.identifier:
                continue
            participant = participants.pop(item.identifier, None)
            if participant and known and (
                    known.participant(item.identifier) == item):
                continue
            peer = Peer.get(community.company.id, item.identifier)
            if peer and not peer.may_become(item):
                cls._raise_keys(community, peer, item)
                alarms.append(gettext(
                        'cooperative_community.msg_alarm_peer',
                        peer=peer.rec_name))
                continue
            if not peer or peer.kind != 'trust-party':
                peer = Peer.update_from(community.company.id, item)
            participant = participant or cls(community=community, peer=peer)
            participant.offerer = 'offerer' in item.roles
            participant.buyer = 'buyer' in item.roles
            participant.state = item.state
            to_save.append(participant)
        to_delete = list(participants.values())
        cls.save(to_save)
        changed = [p.peer for p in to_save + to_delete]
        cls.delete(to_delete)
        cls._update_states(changed)
        community.alarm = '\n'.join(alarms) or None
        community.save()

    @classmethod
    def _update_states(cls, peers):
        "A peer is as active as the best of what its communities say"
        pool = Pool()
        Peer = pool.get('cooperative.edi.peer')
        states = {p.id: set() for p in peers}
        for participant in cls.search([
                    ('peer', 'in', list(states)),
                    ]):
            states[participant.peer.id].add(participant.state)
        for peer in Peer.browse(list(states)):
            for state in ['active', 'suspended', 'removed']:
                if state in states[peer.id] or state == 'removed':
                    peer.state = state
                    break
            peer.save()

    @classmethod
    def _evidence(cls, community):
        "The last two directories of the community, the new one first"
        pool = Pool()
        Directory = pool.get('cooperative.community.directory')
        return [f for d in Directory.search([
                    ('community', '=', community),
                    ], order=[('version', 'DESC')], limit=2)
            for f in d.files]

    @classmethod
    def _raise_keys(cls, community, peer, item):
        "Raise the alarm of keys that the peer itself has not announced"
        pool = Pool()
        Alarm = pool.get('cooperative.edi.alarm')
        known = {k.kid for k in peer.keys}
        kids = sorted({k.key.kid for k in item.keys} - known)
        Alarm.raise_alarm(
            community.company.id, 'keys', ' '.join([peer.identifier, *kids]),
            'cooperative_community.msg_alarm_peer_keys', peer=peer,
            evidence=cls._evidence(community), community=community.rec_name,
            peer_name=peer.rec_name, keys=', '.join(kids))

    @classmethod
    def _watch_own(cls, community, content, known):
        "Raise or settle the alarm of what is said of the company itself"
        pool = Pool()
        Alarm = pool.get('cooperative.edi.alarm')
        own = community.identity
        values = {
            'community': community.rec_name,
            'identifier': own.identifier,
            'version': content.version,
            }
        if content.participant(own.identifier):
            kids = cls._wrong_keys(own, content)
            if not kids:
                Alarm.settle(['entry'], community.peer)
                return
            key = ' '.join([str(community.id), *sorted(kids)])
            text = 'msg_alarm_own_keys'
            values['keys'] = ', '.join(sorted(kids))
        else:
            membership = community.membership
            if (not known or not known.participant(own.identifier)
                    or not membership
                    or membership.state not in MEMBERSHIP_LISTED):
                return
            key = f'{community.id} {content.version}'
            text = 'msg_alarm_own_entry'
        Alarm.raise_alarm(
            community.company.id, 'entry', key,
            f'cooperative_community.{text}', peer=community.peer,
            evidence=cls._evidence(community), **values)

    @classmethod
    def _wrong_keys(cls, identity, content):
        """Return the ids of the keys with which the directory is wrong of
        the company: those it never had, and those that it has, or revoked,
        for long"""
        participant = content.participant(identity.identifier)
        published = {
            k.key.kid for k in participant.keys if not k.revoked}
        recovery = participant.recovery
        keys = {k.kid: k for k in identity.keys}
        wrong = published | ({recovery.kid} if recovery else set())
        wrong -= keys.keys()
        since = naive(content.created) - PATIENCE
        for kid, key in keys.items():
            if key.purpose != 'signing':
                continue
            if key.revoked:
                if key.revoked < since and kid in published:
                    wrong.add(kid)
            elif (not key.valid_to and key.valid_from < since
                    and kid not in published):
                wrong.add(kid)
        return wrong

    @classmethod
    def _alarms(cls, identity, content):
        "Return what the directory should not say of the company itself"
        published = content.keys(identity.identifier)
        if (content.participant(identity.identifier)
                and published.keys() != identity.public_keys().keys()):
            return [gettext(
                    'cooperative_community.msg_alarm_keys',
                    identifier=identity.identifier,
                    keys=', '.join(sorted(published)))]
        return []


def unknown_key(database):
    "Have the courier of the database refresh the directories, once a minute"
    asked = _asked.get(database)
    if not asked or now() - asked >= RETRY:
        _asked[database] = now()
        _unknown_keys.add(database)


def exchange(database):
    "Push the new directories and refresh those to synchronise"
    push_due(database)
    if database in _unknown_keys:
        _unknown_keys.discard(database)
        transact(database, _synchronise_all)
    synchronise_due(database)


def _synchronise_all():
    pool = Pool()
    Community = pool.get('cooperative.community')
    Community.write(
        Community.search([('role', '=', 'member')]), {
            'to_synchronise': True,
            })


def push_due(database):
    "Post the directories in order: a trust party that is silent waits"
    Record = Pool(database).get('cooperative.community.directory.record')
    silent = set()
    for id_ in transact(database, Record.to_push, readonly=True):
        peer, data, headers = transact(
            database, Record.request, id_, readonly=True)
        if peer in silent:
            continue
        try:
            response = courier.call(
                database, peer, 'POST', '/trust/directories', data, headers)
        except client.ClientError as exception:
            silent.add(peer)
            transact(database, Record.not_pushed, id_, str(exception))
        else:
            transact(
                database, Record.pushed, id_,
                courier.parse_answer(response.data))


def synchronise_due(database):
    "Fetch the directories and update their participants"
    for id_ in transact(database, _to_synchronise, readonly=True):
        url, headers = transact(database, _request, id_, readonly=True)
        try:
            transact(
                database, _synchronise, id_, client.get(url, headers))
        except (client.ClientError, UserError) as exception:
            logger.warning("directory of %s: %s", database, exception)
            transact(database, _give_up, id_, exception)


def _to_synchronise():
    pool = Pool()
    Community = pool.get('cooperative.community')
    return [c.id for c in Community.search([
                ('role', '=', 'member'),
                ('to_synchronise', '=', True),
                ])]


def _community(id_):
    pool = Pool()
    Community = pool.get('cooperative.community')
    community = Community(id_)
    Transaction().set_context(company=community.company.id)
    return community


def _request(id_):
    pool = Pool()
    Directory = pool.get('cooperative.community.directory')
    return Directory.request(_community(id_))


def _synchronise(id_, response):
    pool = Pool()
    Directory = pool.get('cooperative.community.directory')
    Directory.synchronise(_community(id_), response)


def _give_up(id_, exception):
    pool = Pool()
    Community = pool.get('cooperative.community')
    Community.write([_community(id_)], {'to_synchronise': False})
    _alarm(id_, exception)


def _alarm(id_, exception):
    pool = Pool()
    Directory = pool.get('cooperative.community.directory')
    Directory.alarm(_community(id_), exception)
