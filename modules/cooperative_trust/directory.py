# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The communities served: whom they admit, and the log of their directory"""
from trytond.model import ModelSQL, ModelView, Unique, fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Eval, If
from trytond.transaction import Transaction

from cooperative_edi.column import BigInteger
from cooperative_edi.http import Problem, check_created
from cooperative_edi.identity import now
from cooperative_edi.peer import naive
from cooperative_edi.transaction import hold
from trycoton.protocol import entry, signature
from trycoton.protocol.directory import Directory as SignedDirectory
from trycoton.protocol.errors import ProtocolError

EVENT = 'directory'


class Directory(ModelSQL, ModelView):
    __name__ = 'cooperative.trust.directory'

    company = fields.Many2One(
        'company.company', "Company", required=True, readonly=True,
        ondelete='CASCADE')
    community = fields.Many2One(
        'cooperative.edi.peer', "Community", required=True, readonly=True,
        ondelete='RESTRICT')
    version = BigInteger("Version", required=True, readonly=True)
    digest = fields.Char("Digest", required=True, readonly=True)
    expires = fields.DateTime("Expires", required=True, readonly=True)
    data = fields.Binary("Directory", readonly=True,
        help="What the community signed; only the last version is kept.")
    signature = fields.Text("Signature", required=True, readonly=True)
    leaves = fields.One2Many(
        'cooperative.trust.log.leaf', 'directory', "Log", readonly=True)

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_constraints += [
            ('version_unique', Unique(t, t.community, t.version),
                'cooperative_trust.msg_directory_version_unique'),
            ]
        cls._order.insert(0, ('version', 'DESC'))

    def get_rec_name(self, name):
        return f'{self.community.rec_name} {self.version}'

    @classmethod
    def search_rec_name(cls, name, clause):
        return [('community.rec_name', *clause[1:])]

    @classmethod
    def last(cls, community):
        directories = cls.search(
            [('community', '=', community.id)],
            order=[('version', 'DESC')], limit=1)
        return directories[0] if directories else None

    @classmethod
    def receive(cls, data, jws):
        """Keep the new version of the directory of a community served here
        and return its leaf.  Raise Problem."""
        pool = Pool()
        Leaf = pool.get('cooperative.trust.log.leaf')
        Member = pool.get('cooperative.trust.member')
        community = cls._signer(data, jws)
        directory = cls._open(data, community)
        with Transaction().set_context(company=community.company.id):
            hold(community)
            known = cls.last(community)
            previous = known.check_before(directory) if known else None
            if known and known.digest == directory.digest:
                leaf, = known.leaves
                return leaf
            record = cls._keep(community, directory, data, jws)
            Member.synchronise(community, directory, previous)
            return Leaf.record_directory(record)

    @classmethod
    def _signer(cls, data, jws):
        pool = Pool()
        Key = pool.get('cooperative.edi.peer.key')
        Peer = pool.get('cooperative.edi.peer')
        try:
            kid = signature.kid_of(jws, signature.DIRECTORY)
            for signer in Key.signers([kid])[kid]:
                peer = Peer(signer.peer)
                if peer.kind == 'community':
                    signature.verify(
                        data, jws, signature.DIRECTORY,
                        {kid: signer.public_key})
                    return peer
        except ProtocolError as exception:
            raise Problem.signature(exception) from exception
        raise Problem.unknown_key(kid)

    @classmethod
    def _open(cls, data, community):
        try:
            directory = SignedDirectory.parse(data)
        except ProtocolError as exception:
            raise Problem.malformed(exception) from exception
        if directory.community != community.identifier:
            raise Problem.not_sender(directory.community)
        check_created(directory.created)
        if directory.expires <= now():
            raise Problem.malformed("The directory has expired.")
        return directory

    def check_before(self, directory):
        "Return the version kept here, unless the directory contradicts it"
        known = SignedDirectory.parse(bytes(self.data))
        try:
            directory.check_after(known)
        except ProtocolError as exception:
            raise Problem(
                'directory', "The directory does not follow.",
                str(exception)) from exception
        return known

    @classmethod
    def _keep(cls, community, directory, data, jws):
        cls.write(cls.search([
                    ('community', '=', community.id),
                    ('data', '!=', None),
                    ]), {'data': None})
        record = cls(
            company=community.company, community=community,
            version=directory.version, digest=directory.digest,
            expires=naive(directory.expires), data=data, signature=jws)
        record.save()
        return record


class Member(ModelSQL, ModelView):
    __name__ = 'cooperative.trust.member'

    community = fields.Many2One(
        'cooperative.edi.peer', "Community", required=True, readonly=True,
        ondelete='CASCADE')
    peer = fields.Many2One(
        'cooperative.edi.peer', "Member", required=True, readonly=True,
        ondelete='CASCADE')
    state = fields.Selection([
            ('active', "Active"),
            ('suspended', "Suspended"),
            ('removed', "Removed"),
            ], "State", required=True, readonly=True, sort=False,
        help="Only messages between active members of a community "
        "are relayed.")

    __access__ = {'community'}

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_constraints += [
            ('peer_unique', Unique(t, t.community, t.peer),
                'cooperative_trust.msg_member_peer_unique'),
            ]

    def get_rec_name(self, name):
        return f'{self.peer.rec_name} - {self.community.rec_name}'

    @classmethod
    def search_rec_name(cls, name, clause):
        return ['OR',
            ('peer.rec_name', *clause[1:]),
            ('community.rec_name', *clause[1:]),
            ]

    @classmethod
    def view_attributes(cls):
        return super().view_attributes() + [
            ('/tree/field[@name="state"]', 'visual',
                If(Eval('state') != 'active', 'warning', '')),
            ]

    @classmethod
    def active(cls, peer):
        """Return the communities of which the peer is an active member, by a
        directory that has not expired"""
        return cls.communities([peer])[peer]

    @classmethod
    def communities(cls, peers):
        "Return those of which each of the peers is an active member"
        pool = Pool()
        Directory = pool.get('cooperative.trust.directory')
        Peer = pool.get('cooperative.edi.peer')
        # Each message asks
        table, community = cls.__table__(), Peer.__table__()
        directory = Directory.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*table
            .join(community, condition=table.community == community.id)
            .select(
                table.peer, table.community,
                where=table.peer.in_([p.id for p in peers] or [None])
                & (table.state == 'active') & community.active
                & community.id.in_(directory.select(
                        directory.community,
                        where=directory.expires > naive(now())))))
        result = {peer: set() for peer in peers}
        for peer, community in cursor:
            result[Peer(peer)].add(Peer(community))
        return result

    @classmethod
    def synchronise(cls, community, directory, previous):
        "Make the members those of the directory, where it differs"
        pool = Pool()
        Peer = pool.get('cooperative.edi.peer')
        members = {m.peer.identifier: m for m in cls.search([
                    ('community', '=', community.id),
                    ])}
        states = dict.fromkeys(members, 'removed')
        for participant in directory.participants:
            states[participant.identifier] = participant.state
            if previous and participant == previous.participant(
                    participant.identifier):
                continue
            peer = cls._peer(community, participant)
            if peer and participant.identifier not in members:
                members[peer.identifier] = cls(
                    community=community, peer=peer)
        # The community may write to its members
        states[community.identifier] = 'active'
        if community.identifier not in members:
            members[community.identifier] = cls(
                community=community, peer=community)
        for identifier, member in members.items():
            member.state = states[identifier]
        cls.save(list(members.values()))
        Peer.follow_communities([m.peer for m in members.values()])

    @classmethod
    def _peer(cls, community, participant):
        "Return the peer of the participant, updated, unless it is not one"
        pool = Pool()
        Peer = pool.get('cooperative.edi.peer')
        Identity = pool.get('cooperative.edi.identity')
        company = community.company.id
        if participant.identifier == Identity.get(company).identifier:
            return
        known = Peer.get(company, participant.identifier)
        if known and (
                {known.kind, participant.kind} != {'participant'}
                or not cls._tells(community, known)):
            # Its keys are its own, fetched from it, or another's to tell
            return known
        if participant.kind != 'community':
            # A community is served once a person has added it
            return Peer.update_from(company, participant)

    @classmethod
    def _tells(cls, community, peer):
        """Tell if the community is who says by which keys the peer signs: the
        first of those that it is a member of, or the others took it over"""
        members = cls.search([
                ('peer', '=', peer.id),
                ('state', '!=', 'removed'),
                ('community.active', '=', True),
                ], order=[('id', 'ASC')], limit=1)
        return not members or members[0].community == community


class Peer(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.peer'

    members = fields.One2Many(
        'cooperative.trust.member', 'community', "Members", readonly=True)
    directories = fields.One2Many(
        'cooperative.trust.directory', 'community', "Directories",
        readonly=True)

    @classmethod
    def view_attributes(cls):
        return super().view_attributes() + [
            ('//page[@id="community"]', 'states', {
                    'invisible': Eval('kind') != 'community',
                    }, ['kind']),
            ]

    @classmethod
    def copy(cls, peers, default=None):
        default = default.copy() if default is not None else {}
        default.setdefault('members')
        default.setdefault('directories')
        return super().copy(peers, default=default)

    @classmethod
    def follow_communities(cls, peers):
        "Make a peer active as long as it is in one of its communities"
        pool = Pool()
        Member = pool.get('cooperative.trust.member')
        for peer in peers:
            states = {m.state for m in Member.search([
                        ('peer', '=', peer.id),
                        ])}
            for state in ['active', 'suspended', 'removed']:
                if state in states:
                    peer.state = state
                    break
        cls.save(peers)


class Leaf(metaclass=PoolMeta):
    __name__ = 'cooperative.trust.log.leaf'

    directory = fields.Many2One(
        'cooperative.trust.directory', "Directory", readonly=True,
        ondelete='RESTRICT',
        states={
            'invisible': Eval('event') != EVENT,
            'required': Eval('event') == EVENT,
            })

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls.event.selection.append((EVENT, "Directory"))
        t = cls.__table__()
        cls._sql_constraints += [
            ('directory_unique', Unique(t, t.directory),
                'cooperative_trust.msg_leaf_directory_unique'),
            ]

    @classmethod
    def record_directory(cls, directory):
        "Have the log take the digest of the directory"
        pool = Pool()
        Log = pool.get('cooperative.trust.log')
        leaf = cls(
            log=Log.get(directory.company.id), event=EVENT,
            directory=directory)
        leaf.save()
        return leaf

    @classmethod
    def seal(cls, leaves):
        super().seal(leaves)
        for leaf in leaves:
            if leaf.directory:
                leaf.entry = entry.directory_entry(leaf.directory.digest)

    @property
    def is_right(self):
        return super().is_right and (
            not self.directory
            or bytes(self.entry) == entry.directory_entry(
                self.directory.digest))

    def get_rec_name(self, name):
        rec_name = super().get_rec_name(name)
        if self.directory:
            rec_name = f'{rec_name} - {self.directory.rec_name}'
        return rec_name
