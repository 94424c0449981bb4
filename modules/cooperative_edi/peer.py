# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
import datetime as dt
import itertools
import random
from collections import defaultdict
from typing import NamedTuple

import trytond.config as config
from sql import Literal, Null
from trytond.i18n import gettext
from trytond.model import (
    DeactivableMixin, Index, ModelSQL, ModelView, Unique, fields)
from trytond.pool import Pool
from trytond.pyson import Eval, If
from trytond.transaction import Transaction, inactive_records
from trytond.wizard import Button, StateAction, StateView, Wizard

from trycoton.protocol import signature
from trycoton.protocol.descriptor import Descriptor, fingerprint
from trycoton.protocol.directory import Participant
from trycoton.protocol.errors import ProtocolError
from trycoton.protocol.note import Verifier

from . import client
from .column import BigInteger
from .exceptions import DescriptorError
from .identity import KINDS, PURPOSES, now, public_key
from .transaction import hold, hold_all

RETRY_MIN = config.getint('cooperative', 'retry_min', default=60)
RETRY_MAX = 6 * 60 * 60


def naive(time):
    "Return the time as the database keeps it: UTC without zone"
    return time.astimezone(dt.timezone.utc).replace(tzinfo=None)


def later(attempts, wanted=0):
    """Return when to try again: after longer and longer delays, and not
    before the seconds that were asked for"""
    delay = min(RETRY_MIN * 2 ** min(max(attempts - 1, 0), 20), RETRY_MAX)
    delay = max(delay * random.uniform(0.5, 1), min(wanted, RETRY_MAX))
    return naive(now()) + dt.timedelta(seconds=delay)


class Peer(DeactivableMixin, ModelSQL, ModelView):
    __name__ = 'cooperative.edi.peer'

    company = fields.Many2One(
        'company.company', "Company", required=True, ondelete='CASCADE',
        help="The company that deals with this peer.")
    identifier = fields.Char("Identifier", required=True, readonly=True)
    name = fields.Char("Name", required=True)
    kind = fields.Selection(KINDS, "Kind", required=True, readonly=True)
    party = fields.Many2One(
        'party.party', "Party", required=True, ondelete='RESTRICT',
        context={
            'company': Eval('company', -1),
            },
        depends={'company'},
        help="The party that stands for this peer in our own books.")
    state = fields.Selection([
            ('active', "Active"),
            ('suspended', "Suspended"),
            ('removed', "Removed"),
            ], "State", required=True, readonly=True,
        help="What its community says of the peer.")
    endpoint = fields.Char("Address", readonly=True,
        help="Where it receives its messages.\n"
        "Empty if it only fetches them.")
    direct = fields.Boolean("Direct Exchange", readonly=True,
        help="The peer accepts to exchange without a trust party.")
    accepted = fields.Boolean(
        "Accepted",
        states={
            'invisible': Eval('kind') != 'trust-party',
            },
        help="Check to accept that messages pass through this trust party.")
    trust_parties = fields.Char("Trust Parties", readonly=True,
        help="The identifiers of the trust parties that the peer accepts.")
    log_key = fields.Char("Log Key", readonly=True,
        states={
            'invisible': Eval('kind') != 'trust-party',
            },
        help="What verifies the checkpoints of the log of the trust party.")
    checkpoint = fields.Binary("Checkpoint", readonly=True,
        states={
            'invisible': Eval('kind') != 'trust-party',
            },
        help="The last signed state of its log that was verified here.")
    checkpoint_size = fields.Integer("Log Size", readonly=True,
        states={
            'invisible': Eval('kind') != 'trust-party',
            })
    keys = fields.One2Many(
        'cooperative.edi.peer.key', 'peer', "Keys", readonly=True)
    relations = fields.One2Many(
        'cooperative.edi.relation', 'peer', "Relations", readonly=True)
    fingerprint = fields.Function(
        fields.Char("Fingerprint"), 'get_fingerprint')

    silences = fields.Integer("Failed Calls", readonly=True,
        help="How many times in a row it did not answer.")
    silent_until = fields.DateTime("Next Call", readonly=True,
        states={
            'invisible': ~Eval('silences'),
            },
        help="It does not answer and is not called before.")
    sent_sequence = BigInteger("Messages Sent", readonly=True)
    sent_digest = fields.Char("Last Sent", readonly=True)
    received_sequence = BigInteger("Messages Received", readonly=True)
    received_digest = fields.Char("Last Received", readonly=True)

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_constraints += [
            ('identifier_unique', Unique(t, t.company, t.identifier),
                'cooperative_edi.msg_peer_identifier_unique'),
            ]

    @classmethod
    def default_company(cls):
        return Transaction().context.get('company')

    @classmethod
    def default_state(cls):
        return 'active'

    @classmethod
    def default_sent_sequence(cls):
        return 0

    @classmethod
    def default_received_sequence(cls):
        return 0

    def get_rec_name(self, name):
        return self.name

    @classmethod
    def search_rec_name(cls, name, clause):
        return ['OR',
            ('name', *clause[1:]),
            ('identifier', *clause[1:]),
            ]

    @classmethod
    def view_attributes(cls):
        return super().view_attributes() + [
            ('/tree/field[@name="state"]', 'visual',
                If(Eval('state') != 'active', 'warning', '')),
            ('/form/notebook/page[@id="log"]', 'states', {
                    'invisible': Eval('kind') != 'trust-party',
                    }),
            ]

    def get_fingerprint(self, name):
        for key in self.keys:
            if key.purpose == 'signing' and not key.revoked:
                return fingerprint(key.public_key)

    @classmethod
    def get(cls, company, identifier):
        "Return the peer of the company, even if it is inactive, or None"
        with inactive_records():
            peers = cls.search([
                    ('company', '=', company),
                    ('identifier', '=', identifier),
                    ])
        return peers[0] if peers else None

    @classmethod
    def named(cls, company, identifiers):
        "Return the peers of the company by identifier, even if inactive"
        if not identifiers:
            return {}
        with inactive_records():
            return {p.identifier: p for p in cls.search([
                        ('company', '=', company),
                        ('identifier', 'in', list(identifiers)),
                        ])}

    @classmethod
    def for_party(cls, company, party):
        "Return the peer that the party stands for, or None"
        peers = cls.search([
                ('company', '=', company),
                ('party', '=', party),
                ], limit=1)
        return peers[0] if peers else None

    @classmethod
    def accepted_trust_parties(cls, company):
        return cls.search([
                ('company', '=', company),
                ('kind', '=', 'trust-party'),
                ('accepted', '=', True),
                ])

    def public_keys(self):
        "Return by their id the signing keys valid now"
        return {k.kid: k.public_key for k in self.keys
            if k.purpose == 'signing' and k.valid}

    @classmethod
    def update_from(cls, company, entry):
        """Create or update the peer from its entry in a directory or from
        its descriptor, with its keys and its party"""
        pool = Pool()
        Party = pool.get('party.party')
        Key = pool.get('cooperative.edi.peer.key')
        peer = cls.get(company, entry.identifier)
        if not peer:
            peer = cls(
                company=company, identifier=entry.identifier, direct=None)
            peer.party = Party.edi_find(entry) or Party.edi_create(entry)
        peer.party.edi_update(entry)
        peer.name = entry.name
        peer.kind = entry.kind
        peer.state = getattr(entry, 'state', 'active')
        peer.endpoint = entry.endpoint
        if hasattr(entry, 'direct'):
            peer.direct = entry.direct
            peer.trust_parties = ' '.join(entry.trust_parties)
        elif peer.direct is None:
            # A descriptor does not tell; who has an address may be asked
            peer.direct = bool(entry.endpoint)
        if entry.log:
            peer.log_key = entry.log
        peer.save()
        Key.synchronise(peer, entry)
        return peer

    def accepts(self, trust_party):
        "Tell if the peer accepts the trust party, or to do without"
        if trust_party is None:
            return self.direct
        return trust_party.identifier in (self.trust_parties or '').split()

    @classmethod
    def to_fetch_from(cls):
        "Return the ids of where messages wait for us: we have no address"
        pool = Pool()
        Identity = pool.get('cooperative.edi.identity')
        companies = [i.company.id for i in Identity.search([
                    ('endpoint', 'in', [None, '']),
                    ])]
        peers = cls.search([
                ('company', 'in', companies),
                ('endpoint', 'not in', [None, '']),
                ('state', '=', 'active'),
                ['OR',
                    ('silent_until', '=', None),
                    ('silent_until', '<=', naive(now())),
                    ],
                ])
        relayed = {p.company for p in peers
            if p.kind == 'trust-party' and p.accepted}
        return [p.id for p in peers
            if p.kind != 'participant'
            or p.company not in relayed
            or any(not r.trust_party for r in p.relations)]

    def silent(self, wanted=0):
        "Leave the peer alone for a time, as it does not answer"
        peer = hold(self)
        peer.silences = (peer.silences or 0) + 1
        peer.silent_until = later(peer.silences, wanted)
        peer.save()

    def admit_request(self):
        "Raise Problem if the peer asks too often, whatever it asks for"

    @classmethod
    def hold_all(cls, ids, patient=True):
        """Return the Held peers by their ids, as the others do not change
        them meanwhile.  They are not silent, as they have just written."""
        names = Held._fields[1:]
        peers = {p.id: p for p in cls.browse(ids)}
        result = {
            id_: Held(peers[id_], *values) for id_, values in hold_all(
                cls, ids, names, patient).items()}
        for held in result.values():
            if held.silences:
                hold(held.peer, silences=0, silent_until=None)
        return result

    @classmethod
    def standing(cls, ids, uuids):
        """Return by peer and UUID the id of the relation that was agreed, the
        identifier of the trust party that it passes by, and if it is
        sealed"""
        if not ids:
            return {}
        pool = Pool()
        Relation = pool.get('cooperative.edi.relation')
        relation, trust_party = Relation.__table__(), cls.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*relation
            .join(trust_party, 'LEFT',
                condition=relation.trust_party == trust_party.id)
            .select(
                relation.peer, relation.uuid, relation.id,
                trust_party.identifier, relation.sealed,
                where=relation.peer.in_(list(ids))
                & relation.uuid.in_(list(uuids))
                & (relation.state == 'agreed')))
        return {
            (peer, uuid): standing for peer, uuid, *standing in cursor}

    def answered(self):
        "Call the peer again as soon as something is due"
        if self.silences:
            peer = hold(self)
            peer.silences = 0
            peer.silent_until = None
            peer.save()

    @property
    def log_verifier(self):
        "What verifies the checkpoints of the trust party"
        return Verifier.from_vkey(self.log_key)

    @property
    def known_checkpoint(self):
        "The last checkpoint of its log that was verified here, or None"
        return bytes(self.checkpoint) if self.checkpoint else None


class Held(NamedTuple):
    "A peer that nobody else changes, and the last that it sent"
    peer: Peer
    active: bool
    state: str
    silences: int
    received_sequence: int
    received_digest: str


class Signer(NamedTuple):
    "A key that may sign now, and the peer that signs with it"
    kid: str
    purpose: str
    public: str
    peer: int
    company: int
    identifier: str

    @property
    def public_key(self):
        return public_key(self.purpose, self.public)


class PeerKey(ModelSQL, ModelView):
    __name__ = 'cooperative.edi.peer.key'

    peer = fields.Many2One(
        'cooperative.edi.peer', "Peer", required=True, ondelete='CASCADE')
    purpose = fields.Selection(PURPOSES, "Purpose", required=True)
    kid = fields.Char("Key ID", required=True,
        help="The thumbprint of the public key.")
    public = fields.Char("Public Key", required=True)
    valid_from = fields.DateTime("Valid From", required=True)
    valid_to = fields.DateTime("Valid To")
    revoked = fields.DateTime("Revoked")

    __access__ = {'peer'}

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_constraints += [
            ('kid_unique', Unique(t, t.peer, t.kid),
                'cooperative_edi.msg_key_unique'),
            ]
        cls._sql_indexes.add(Index(t, (t.kid, Index.Equality())))

    def get_rec_name(self, name):
        return self.kid

    @property
    def public_key(self):
        return public_key(self.purpose, self.public)

    @property
    def valid(self):
        return (not self.revoked
            and (not self.valid_to or naive(now()) < self.valid_to))

    @classmethod
    def signers(cls, kids, purpose='signing'):
        "Return who may sign now by the keys, in lists by their ids"
        if not kids:
            return {}
        pool = Pool()
        Peer = pool.get('cooperative.edi.peer')
        table, peer = cls.__table__(), Peer.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*table
            .join(peer, condition=table.peer == peer.id)
            .select(
                table.kid, table.purpose, table.public,
                peer.id, peer.company, peer.identifier,
                where=table.kid.in_(list(kids))
                & (table.purpose == purpose)
                & (table.revoked == Null)
                & ((table.valid_to == Null)
                    | (table.valid_to > naive(now())))
                & (peer.active == Literal(True))))
        result = defaultdict(list)
        for signer in itertools.starmap(Signer, cursor):
            result[signer.kid].append(signer)
        return result

    @classmethod
    def synchronise(cls, peer, entry):
        "Make the keys of the peer those of its entry, keeping the old ones"
        recovery = getattr(entry, 'recovery', None)
        if peer.keys and isinstance(entry, Participant):
            # Who publishes a directory could take the peer over by it
            recovery = None
        known = {k.kid: k for k in peer.keys
            if recovery or k.purpose != 'recovery'}
        to_save = []
        for published in entry.keys:
            purpose = (
                'encryption' if published.key.use == 'enc' else 'signing')
            key = known.pop(published.key.kid, None) or cls(peer=peer)
            key._set(
                purpose, published.key, published.valid_from,
                published.valid_to, published.revoked)
            to_save.append(key)
        if recovery and not known.pop(recovery.kid, None):
            key = cls(peer=peer)
            key._set('recovery', recovery, now())
            to_save.append(key)
        for key in known.values():
            if key.kept_from(entry):
                continue
            key.revoked = key.revoked or naive(now())
            to_save.append(key)
        cls.save(to_save)

    def kept_from(self, entry):
        "Tell if the key stays although the entry does not have it"
        return False

    def _set(self, purpose, key, valid_from, valid_to=None, revoked=None):
        self.purpose = purpose
        self.kid = key.kid
        self.public = signature.b64url(key.data)
        self.valid_from = naive(valid_from)
        self.valid_to = valid_to and naive(valid_to)
        self.revoked = revoked and naive(revoked)


def fetch_descriptor(url):
    "Return the descriptor published at the address, its signature verified"
    try:
        response = client.get(url.rstrip('/') + '/edi/descriptor')
    except client.ClientError as exception:
        raise exception.user_error() from exception
    try:
        if response.status != 200:
            raise ProtocolError(f"HTTP {response.status}")
        descriptor = Descriptor.parse(response.data)
        descriptor.verify(
            response.headers.get(signature.SIGNATURE_HEADER, ''))
        return descriptor
    except ProtocolError as exception:
        raise DescriptorError(gettext(
                'cooperative_edi.msg_descriptor',
                url=url, error=str(exception))) from exception


class PeerAdd(Wizard):
    __name__ = 'cooperative.edi.peer.add'
    start = StateView(
        'cooperative.edi.peer.add.start',
        'cooperative_edi.peer_add_start_view_form', [
            Button("Cancel", 'end', 'tryton-cancel'),
            Button("Fetch", 'compare', 'tryton-forward', default=True),
            ])
    compare = StateView(
        'cooperative.edi.peer.add.compare',
        'cooperative_edi.peer_add_compare_view_form', [
            Button("Cancel", 'end', 'tryton-cancel'),
            Button("Trust", 'add', 'tryton-ok', default=True),
            ])
    add = StateAction('cooperative_edi.act_peer')

    def default_compare(self, fields):
        descriptor = fetch_descriptor(self.start.url)
        return {
            'identifier': descriptor.identifier,
            'name': descriptor.name,
            'kind': descriptor.kind,
            'fingerprint': descriptor.fingerprint,
            }

    def do_add(self, action):
        pool = Pool()
        Peer = pool.get('cooperative.edi.peer')
        descriptor = fetch_descriptor(self.start.url)
        if descriptor.fingerprint != self.compare.fingerprint:
            raise DescriptorError(gettext(
                    'cooperative_edi.msg_descriptor_changed',
                    url=self.start.url))
        peer = Peer.update_from(
            Transaction().context.get('company'), descriptor)
        peer.accepted = descriptor.kind == 'trust-party'
        peer.save()
        return action, {'res_id': peer.id}


class PeerAddStart(ModelView):
    __name__ = 'cooperative.edi.peer.add.start'

    url = fields.Char("Address", required=True,
        help="The address that the other gave, for example "
        "https://example.org/tiers/cooperative.")


class PeerAddCompare(ModelView):
    __name__ = 'cooperative.edi.peer.add.compare'

    identifier = fields.Char("Identifier", readonly=True)
    name = fields.Char("Name", readonly=True)
    kind = fields.Selection(KINDS, "Kind", readonly=True)
    fingerprint = fields.Char("Fingerprint", readonly=True,
        help="Compare it with what the other gave on paper or by voice.")
    compared = fields.Boolean("Compared",
        help="Check once the fingerprint has been compared.",
        states={
            'required': True,
            })
