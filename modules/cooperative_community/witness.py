# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The members elected to witness the logs of the trust parties.

The manager elects; the key of the witness comes from the member itself, by
its descriptor.  The directory tells everybody who is elected and how many
must sign.
"""
import datetime as dt
import logging
from dataclasses import replace

from trytond.i18n import gettext
from trytond.model import ModelView, fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Eval
from trytond.transaction import Transaction
from trytond.wizard import Button, StateView, Wizard

from cooperative_edi import client
from cooperative_edi.evidence import FileExportMixin
from cooperative_edi.exceptions import DocumentHeld, DocumentRefused
from cooperative_edi.identity import now
from cooperative_edi.peer import naive
from cooperative_edi.transaction import hold, transact
from trycoton.protocol import canonical, note, signature, witness
from trycoton.protocol.announcement import WitnessAnnouncement
from trycoton.protocol.checkpoint import Checkpoint
from trycoton.protocol.descriptor import Descriptor
from trycoton.protocol.directory import default_quorum, least_quorum
from trycoton.protocol.errors import ProtocolError, Rejected
from trycoton.protocol.policy import Policy
from trycoton.protocol.proof import Proof

from .exceptions import PolicyMissingError

logger = logging.getLogger(__name__)

# When the record of a directory is asked for again, under witnesses
WITNESSED_AFTER = dt.timedelta(seconds=20)
WITNESSED_LAST = dt.timedelta(days=1)


class Community(metaclass=PoolMeta):
    __name__ = 'cooperative.community'

    quorum = fields.Integer(
        "Quorum of Witnesses",
        domain=[
            ['OR',
                ('quorum', '=', None),
                ('quorum', '>=', 1),
                ],
            ],
        states={
            'readonly': Eval('role') != 'manager',
            'invisible': Eval('role') != 'manager',
            },
        help="How many of the elected witnesses must sign what a trust party "
        "recorded.\n"
        "Empty for ten of fifteen, or more than half where there are fewer; "
        "never less than half.")

    def quorum_of(self, participants):
        "Return how many of the witnesses among them must sign, or None"
        elected = sum(bool(p.witness) for p in participants)
        if not elected:
            return None
        if self.quorum and self.quorum <= elected:
            return max(self.quorum, least_quorum(elected))
        return default_quorum(elected)

    def policy(self):
        "Return the Policy that its last directory tells"
        pool = Pool()
        Directory = pool.get('cooperative.community.directory')
        last = Directory.last(self)
        if not last or not last.policy:
            raise PolicyMissingError(gettext(
                    'cooperative_community.msg_policy_missing',
                    community=self.rec_name))
        owner = self.peer or self.identity
        return replace(
            Policy.parse(last.policy.encode('utf-8')),
            communities=tuple(
                note.Verifier(self.identifier, key)
                for key in owner.public_keys().values()))


class Membership(metaclass=PoolMeta):
    __name__ = 'cooperative.community.membership'

    witness_state = fields.Selection([
            (None, ""),
            ('asked', "Asked"),
            ('elected', "Elected"),
            ('failed', "Not Elected"),
            ], "Witness", readonly=True, sort=False,
        states={
            'invisible': Eval('role') != 'manager',
            },
        help="Whether the instance of the member is a witness of the logs.")
    witness_key = fields.Char("Witness Key", readonly=True,
        states={
            'invisible': Eval('witness_state') != 'elected',
            },
        help="What verifies what the member signs as a witness.")
    witness_announced = fields.DateTime("Witness Announced", readonly=True,
        states={
            'invisible': ~Eval('witness_announced'),
            },
        help="When the member last announced its key as a witness, or that "
        "it is none any more, by its clock.")
    witness_error = fields.Text("Witness Error", readonly=True,
        states={
            'invisible': ~Eval('witness_error'),
            },
        help="Why the member could not be elected.")

    @classmethod
    def __setup__(cls):
        super().__setup__()
        managed = (Eval('role') == 'manager') & (Eval('state') == 'active')
        known = Eval('witness_state').in_(['asked', 'elected'])
        cls._buttons.update(
            elect={
                'invisible': ~managed | known,
                'icon': 'tryton-ok',
                'depends': ['role', 'state', 'witness_state'],
                },
            dismiss={
                'invisible': (Eval('role') != 'manager') | ~known,
                'icon': 'tryton-cancel',
                'depends': ['role', 'witness_state'],
                },
            )

    @classmethod
    def copy(cls, memberships, default=None):
        default = default.copy() if default is not None else {}
        for name in [
                'witness_state', 'witness_key', 'witness_announced',
                'witness_error']:
            default.setdefault(name)
        return super().copy(memberships, default=default)

    def participant(self):
        participant = super().participant()
        if self.witness_state == 'elected' and self.state == 'active':
            participant = replace(participant, witness=self.witness_key)
        return participant

    @classmethod
    @ModelView.button
    def elect(cls, memberships):
        "Have the courier ask the members for the key of their witness"
        memberships = [
            m for m in memberships
            if m.role == 'manager' and m.state == 'active'
            and m.witness_state not in {'asked', 'elected'}]
        cls.write(memberships, {
                'witness_state': 'asked',
                'witness_error': None,
                })
        cls.call_courier(memberships)

    @classmethod
    @ModelView.button
    def dismiss(cls, memberships):
        pool = Pool()
        Directory = pool.get('cooperative.community.directory')
        memberships = [m for m in memberships if m.role == 'manager']
        cls.write(memberships, {
                'witness_state': None,
                'witness_key': None,
                'witness_error': None,
                })
        for community in {m.community for m in memberships}:
            Directory.publish(community)

    @classmethod
    def to_elect(cls):
        "Return id and address of the descriptor of those who are asked"
        return [
            (m.id, f"{m.peer.endpoint or ''}/edi/descriptor")
            for m in cls.search([
                    ('witness_state', '=', 'asked'),
                    ('state', '=', 'active'),
                    ('role', '=', 'manager'),
                    ])]

    @classmethod
    def elected(cls, id_, response):
        """Take the key of the witness from the descriptor that the member
        answered, and tell everybody.  Raise ProtocolError."""
        pool = Pool()
        Directory = pool.get('cooperative.community.directory')
        membership = cls._asked(id_)
        if not membership:
            return
        membership.witness_key = membership._witness_key(response)
        membership.witness_state = 'elected'
        membership.save()
        Directory.publish(membership.community)

    @classmethod
    def not_elected(cls, id_, error):
        membership = cls._asked(id_)
        if membership:
            membership.witness_state = 'failed'
            membership.witness_error = error
            membership.save()

    @classmethod
    def _asked(cls, id_):
        membership = hold(cls(id_))
        Transaction().set_context(company=membership.company.id)
        if membership.witness_state == 'asked':
            return cls(id_)

    def _witness_key(self, response):
        "Return the key in the descriptor, if it may be that of a witness"
        if response.status != 200:
            raise Rejected(f"HTTP {response.status}")
        descriptor = Descriptor.open(
            response.data,
            response.headers.get(signature.SIGNATURE_HEADER, ''))
        if (descriptor.identifier != self.identifier
                or descriptor.signer.kid not in self.peer.public_keys()):
            raise Rejected(gettext(
                    'cooperative_community.msg_witness_descriptor',
                    membership=self.rec_name))
        if not descriptor.witness:
            raise Rejected(gettext(
                    'cooperative_community.msg_witness_none',
                    membership=self.rec_name))
        self._check_witness_key(descriptor.witness)
        return descriptor.witness

    def _check_witness_key(self, vkey):
        "Raise ProtocolError unless the key may be that of the witness"
        key = witness.verifier(vkey).key
        for other in self._other_keys():
            if other == key:
                raise Rejected(gettext(
                        'cooperative_community.msg_witness_key_used',
                        membership=self.rec_name))

    def announce_witness(self, announcement):
        """Take the other key by which the elected member cosigns from now
        on, or that it is no witness any more.  Raise ProtocolError."""
        pool = Pool()
        Directory = pool.get('cooperative.community.directory')
        if announcement.identifier != self.identifier:
            raise Rejected("The witness is somebody else.")
        created = naive(announcement.created)
        if self.witness_announced and created <= self.witness_announced:
            raise Rejected("A later announcement is known.")
        self.witness_announced = created
        if self.witness_state == 'elected' and (
                announcement.witness != self.witness_key):
            self._take_announced(announcement.witness)
            self.save()
            Directory.publish(self.community)
        self.save()

    def _take_announced(self, vkey):
        self.witness_key = None
        self.witness_state = None
        if vkey:
            # Meanwhile its own key is none of the others
            self.save()
            try:
                self._check_witness_key(vkey)
            except ProtocolError as exception:
                self.witness_state = 'failed'
                self.witness_error = str(exception)
            else:
                self.witness_state = 'elected'
                self.witness_key = vkey

    def _other_keys(self):
        "Return the keys that serve for something else in the community"
        pool = Pool()
        Directory = pool.get('cooperative.community.directory')
        for participant in Directory._participants(
                self.community, self.community.identity):
            yield from participant.public_keys().values()
            if participant.witness:
                yield witness.verifier(participant.witness).key
        for trust_party in self.community.trust_parties:
            if trust_party.log_key:
                yield trust_party.log_verifier.key


def elect_due(database):
    "Fetch the keys of those who are to be elected"
    Membership = Pool(database).get('cooperative.community.membership')
    for id_, url in transact(database, Membership.to_elect, readonly=True):
        try:
            transact(database, Membership.elected, id_, client.get(url))
        except (client.ClientError, ProtocolError) as exception:
            transact(database, Membership.not_elected, id_, str(exception))


class Directory(metaclass=PoolMeta):
    __name__ = 'cooperative.community.directory'

    policy = fields.Text("Policy", readonly=True, strip=False,
        help="The logs, the witnesses and their quorum that the directory "
        "tells, as a verifier wants them.")

    @classmethod
    def _store(cls, community, content, jws):
        record = super()._store(community, content, jws)
        record.policy = Policy.of_directory(content).to_bytes().decode()
        return record

    @property
    def trust_policy(self):
        return Policy.parse((self.policy or 'quorum none').encode('utf-8'))

    @property
    def etag(self):
        etag = super().etag
        return f'{etag}-witnessed' if any(
            r.witnessed for r in self.records) else etag

    @property
    def record(self):
        for record in self.records:
            if record.witnessed:
                return bytes(record.record)
        return super().record

    def _keep_record(self, text):
        super()._keep_record(text)
        for record in self.records:
            if record.record and not record.witnessed and text:
                record.strengthen(canonical.decode(text))


class DirectoryRecord(metaclass=PoolMeta):
    __name__ = 'cooperative.community.directory.record'

    witnessed = fields.Boolean("Witnessed", readonly=True,
        help="Enough of the witnesses that the directory elects have signed.")

    @classmethod
    def default_witnessed(cls):
        return False

    @classmethod
    def _to_witness(cls):
        return [
            ('record', '!=', None),
            ('witnessed', '=', False),
            ('next_attempt', '!=', None),
            ('directory.community.role', '=', 'manager'),
            ('trust_party.endpoint', '!=', None),
            ]

    @classmethod
    def to_push(cls):
        return super().to_push() + [r.id for r in cls.search([
                    ('next_attempt', '<=', naive(now())), cls._to_witness(),
                    ], order=[('id', 'ASC')])]

    @classmethod
    def next_due(cls):
        delays = [super().next_due()]
        for record in cls.search(
                [cls._to_witness()], order=[('next_attempt', 'ASC')],
                limit=1):
            delay = record.next_attempt - naive(now())
            delays.append(max(delay.total_seconds(), 0))
        return min((d for d in delays if d is not None), default=None)

    @classmethod
    def pushed(cls, id_, answer):
        record = cls(id_)
        if not record.record:
            super().pushed(id_, answer)
            record = cls(id_)
        if record.record:
            record.strengthen(canonical.dump(answer.get('record')))
            record._ask_again()

    @classmethod
    def not_pushed(cls, id_, error):
        record = cls(id_)
        if record.record:
            record._ask_again()
        else:
            super().not_pushed(id_, error)

    def _ask_again(self):
        "Ask for the witnesses as long as this is the last version"
        pool = Pool()
        Directory = pool.get('cooperative.community.directory')
        age = naive(now()) - self.directory.created
        self.next_attempt = None
        if (not self.witnessed and self.directory.trust_policy.quorum
                and age < WITNESSED_LAST
                and Directory.last(self.directory.community)
                == self.directory):
            self.next_attempt = naive(now()) + max(age, WITNESSED_AFTER)
        self.save()

    def strengthen(self, data):
        "Take the record of the bytes if enough witnesses signed it"
        policy = self.directory.trust_policy
        try:
            proof = Proof.parse(
                canonical.load(data)['proof'].encode('utf-8'))
            keys = [
                self.trust_party.log_verifier, *policy.witnesses.values()]
            signed = note.Note.parse(proof.checkpoint)
            policy.check(
                Checkpoint.parse(signed.text), signed.verify(keys))
            data = canonical.dump({'proof': replace(
                        proof, checkpoint=witness.keep(
                            proof.checkpoint, keys)).to_bytes().decode()})
        except (ProtocolError, KeyError, TypeError, AttributeError):
            return
        if policy.quorum and self.proves(data):
            self.record = data
            self.witnessed = True
            self.save()


class Message(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.message'

    def witness_policies(self):
        pool = Pool()
        Community = pool.get('cooperative.community')
        Directory = pool.get('cooperative.community.directory')
        policies = super().witness_policies()
        if not self.trust_party or not self.trust_party.log_key:
            return policies
        peer = self.relation.community if self.relation else None
        for community in Community.search([
                    ('company', '=', self.company.id),
                    *([('peer', '=', peer.id)] if peer else []),
                    ]):
            directory = Directory.last(community)
            if not directory:
                continue
            policy = directory.trust_policy
            if policy.quorum and (
                    self.trust_party.log_verifier in policy.logs):
                policies.append(policy)
        return policies

    @classmethod
    def attend(cls, database):
        elect_due(database)
        super().attend(database)


class Document(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.document'

    @classmethod
    def receive_witness_announcement(cls, message, body):
        pool = Pool()
        Community = pool.get('cooperative.community')
        Membership = pool.get('cooperative.community.membership')
        announcement = cls._membership_statement(
            WitnessAnnouncement, message, body)
        community = Community.managed(message.company)
        membership = community and Membership.of_peer(
            community, message.peer)
        if not membership:
            raise DocumentHeld(gettext(
                    'cooperative_community.msg_membership_unknown',
                    peer=message.peer.rec_name))
        try:
            hold(membership).announce_witness(announcement)
        except ProtocolError as exception:
            raise DocumentRefused('BV', gettext(
                    'cooperative_community.msg_witness_announcement',
                    membership=membership.rec_name,
                    error=str(exception))) from exception
        return membership


class PolicyExport(FileExportMixin, Wizard):
    __name__ = 'cooperative.community.policy.export'
    result = StateView(
        'cooperative.community.policy.export.result',
        'cooperative_community.policy_export_result_view_form', [
            Button("Close", 'end', 'tryton-close', default=True),
            ])

    def transition_export(self):
        self.result.file = self.record.policy().to_bytes()
        self.result.name = f'{self.record.name}.policy'
        return 'result'


class PolicyExportResult(ModelView):
    __name__ = 'cooperative.community.policy.export.result'

    name = fields.Char("Name", readonly=True)
    file = fields.Binary("File", readonly=True, filename='name',
        help="Whom the community trusts: give it to who verifies your "
        "evidence, with \"trycoton verify --policy\".")
