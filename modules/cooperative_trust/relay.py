# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What comes in for somebody else is recorded and sent on, byte for byte"""
import dataclasses
import datetime as dt
from typing import NamedTuple

from sql import Null
from sql.operators import Equal
from trytond.model import Exclude, Index, ModelSQL, ModelView, Unique, fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Bool, Eval
from trytond.transaction import Transaction

from cooperative_edi.http import RETRY, Problem
from cooperative_edi.identity import now
from cooperative_edi.peer import naive
from cooperative_edi.reception import Outline
from cooperative_edi.transaction import transact
from trycoton.protocol import commission, entry, envelope, ubl
from trycoton.protocol.promise import Promise
from trycoton.protocol.record import IDENTIFIER, KID, UUID, Optional, at

from .last import last_of
from .log import PENDING_MAX

PROMISE = dt.timedelta(minutes=10)
OTHER = Outline('other-statement')
SEALED = Outline(envelope.SEALED_KIND)
# The statements that change an agreement, and what is read of them
AGREEING = {'relation-proposal', 'relation-answer', 'relation-end'}
NAMED = {
    'relation': UUID,
    'community': Optional(IDENTIFIER),
    'trust_party': Optional(IDENTIFIER),
    'sealed': Optional(KID),
    }


class Agreed(NamedTuple):
    """What two parties agreed: the id of the agreement, if what they send is
    sealed, and the id of their community, or None"""
    id: int
    sealed: bool
    community: int


class Message(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.message'

    relays = fields.Many2One(
        'cooperative.edi.message', "Relays", readonly=True,
        ondelete='RESTRICT',
        states={
            'invisible': ~Eval('relays'),
            },
        help="The message as received from the sender.")
    agreement = fields.Many2One(
        'cooperative.trust.agreement', "Agreement", readonly=True,
        ondelete='RESTRICT',
        states={
            'invisible': ~Eval('relays'),
            },
        help="The relation of the sender and the recipient.")
    leaves = fields.One2Many(
        'cooperative.trust.log.leaf', 'message', "Log", readonly=True)
    total = fields.Char("Total Told", readonly=True,
        states={
            'invisible': ~Eval('total'),
            },
        help="What a sealed invoice tells for the commission on it.")
    confirms = fields.Many2One(
        'cooperative.edi.message', "Confirms", readonly=True,
        ondelete='RESTRICT',
        states={
            'invisible': ~Eval('confirms'),
            },
        help="The sealed invoice of which the recipient tells the same "
        "total.")

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_indexes.add(
            Index(t, (t.sender, Index.Equality()),
                (t.recipient, Index.Equality()),
                (t.sequence, Index.Range())))
        cls._sql_constraints += [
            ('relays_uuid_unique',
                Exclude(t, (t.company, Equal), (t.uuid, Equal),
                    where=t.relays != Null),
                'cooperative_trust.msg_message_uuid_unique'),
            ('confirms_unique',
                Exclude(t, (t.confirms, Equal), where=t.confirms != Null),
                'cooperative_trust.msg_message_confirms_unique'),
            ]
        cls.kind.selection.append((OTHER.kind, "Other Statement"))
        # What was taken in is sent on
        cls._buttons['cancel']['invisible'] |= Bool(Eval('relays'))
        cls._buttons['cancel']['depends'].append('relays')

    @classmethod
    @ModelView.button
    def cancel(cls, messages):
        super().cancel([m for m in messages if not m.relays])

    @classmethod
    def _address(cls, arrival, identities):
        header = arrival.header
        if header.via in identities and header.receiver not in identities:
            arrival.identity = identities[header.via]
        else:
            super()._address(arrival, identities)

    @classmethod
    def _outline_of(cls, arrival):
        header = arrival.header
        if arrival.relayed:
            if arrival.sealed:
                return SEALED
            if (isinstance(header, envelope.Statement)
                    and header.kind not in dict(cls.kind.selection)):
                # It is for the recipient to understand
                return OTHER
        outline = super()._outline_of(arrival)
        if arrival.relayed and outline.kind in commission.KINDS:
            # The statements for the communities count it
            commission.check(ubl.read_total(header.payload))
        return outline

    @classmethod
    def _load(cls, arrivals):
        super()._load(arrivals)
        for arrival in arrivals:
            arrival.leaf = None
        relayed = [a for a in arrivals if a.relayed]
        if relayed:
            cls._load_relayed(relayed)

    @classmethod
    def _load_relayed(cls, arrivals):
        "Read by what the messages are relayed, and if the log takes them in"
        pool = Pool()
        Agreement = pool.get('cooperative.trust.agreement')
        Log = pool.get('cooperative.trust.log')
        Member = pool.get('cooperative.trust.member')
        Peer = pool.get('cooperative.edi.peer')
        identity = arrivals[0].identity
        recipients = Peer.named(
            identity.company.id, {a.header.receiver for a in arrivals})
        communities = Member.communities(
            {a.peer for a in arrivals} | set(recipients.values()))
        agreed = Agreement.standing(
            {a.header.relation for a in arrivals if a.header.relation})
        logs = Log.search(Log.signing(identity.company.id))
        for arrival in arrivals:
            arrival.recipient = recipient = recipients.get(
                arrival.header.receiver)
            arrival.communities = communities[arrival.peer]
            arrival.common = (
                arrival.communities & communities.get(recipient, set()))
            arrival.agreement = recipient and agreed.get((
                    arrival.header.relation,
                    frozenset([arrival.peer.id, recipient.id])))
            arrival.log = logs[0] if logs else None

    @classmethod
    def _admit(cls, arrival):
        if not arrival.relayed:
            return super()._admit(arrival)
        peer, recipient = arrival.peer, arrival.recipient
        if arrival.used:
            # Both parties ask for what is proved of a message by its id
            raise Problem.conflict(arrival.header.id)
        if not arrival.communities:
            raise Problem.suspended(peer.identifier)
        if not recipient:
            problem = Problem.not_addressed(arrival.header.receiver)
            # Its community may be about to make it known
            problem.retry = RETRY
            raise problem
        if not arrival.common:
            raise Problem.forbidden(recipient.identifier)
        # A community and its member agreed when it joined
        if not {peer, recipient} & arrival.common:
            cls._admit_route(arrival)
        cls._admit_load(arrival)

    @classmethod
    def _admit_route(cls, arrival):
        header, agreement = arrival.header, arrival.agreement
        if isinstance(header, envelope.Statement):
            if not arrival.recipient.takes_from(arrival.identity):
                raise Problem.other_route(header.via)
            return
        if not agreement:
            raise Problem.no_relation(header.relation)
        if arrival.sealed != agreement.sealed:
            raise Problem.other_seal(header.relation)
        if (agreement.community
                and agreement.community not in map(int, arrival.common)):
            raise Problem.suspended(header.sender)

    @classmethod
    def _admit_load(cls, arrival):
        log = arrival.log
        if not log:
            raise Problem('no-log', "The log is not open.")
        log.admit()
        if log.pending >= PENDING_MAX:
            raise Problem.overload(log.origin)

    @classmethod
    def _follow(cls, arrivals):
        super()._follow([a for a in arrivals if not a.relayed])
        relayed = [a for a in arrivals if a.relayed]
        last = cls._last_taken({
                (a.header.sender, a.header.receiver) for a in relayed})
        for arrival in relayed:
            header = arrival.header
            pair = header.sender, header.receiver
            number, digest = last.get(pair, (0, None))
            arrival.in_sequence = (
                (header.sequence, header.previous) == (number + 1, digest))
            if header.sequence > number:
                last[pair] = header.sequence, header.digest

    @classmethod
    def _last_taken(cls, pairs):
        """Return by sender and recipient the rank and the digest of the last
        message taken in"""
        company = Transaction().context['company']
        return last_of(
            cls, pairs, 'sequence',
            lambda t: (t.company == company) & (t.direction == 'in'),
            'sequence', 'digest') if pairs else {}

    @classmethod
    def _arrived(cls, arrival):
        values = super()._arrived(arrival)
        if arrival.relayed:
            confirmed = cls._confirmed(arrival)
            values.update(
                state='processed', proof_at=None,
                confirms=confirmed.id if confirmed else None)
        return values

    @classmethod
    def _receipt(cls, arrival):
        receipt = super()._receipt(arrival)
        if arrival.relayed:
            receipt = dataclasses.replace(receipt, status='relayed')
        return receipt

    @classmethod
    def _store(cls, arrivals):
        super()._store(arrivals)
        relayed = [a for a in arrivals if a.relayed]
        if relayed:
            cls._relay(relayed)

    @classmethod
    def _relay(cls, arrivals):
        "Put the same bytes in the outbox, and the submissions in the log"
        pool = Pool()
        Leaf = pool.get('cooperative.trust.log.leaf')
        copies = cls.create([cls._copied(a) for a in arrivals])
        leaves = Leaf.record_submissions(arrivals)
        for arrival, copied, leaf in zip(arrivals, copies, leaves):
            arrival.copied, arrival.leaf = copied, leaf.id

    @classmethod
    def _copied(cls, arrival):
        "Return the values of the message as it is sent on"
        pool = Pool()
        Agreement = pool.get('cooperative.trust.agreement')
        header, outline = arrival.header, arrival.outline
        agreement = Agreement.of(arrival)
        return {
            'company': Transaction().context['company'],
            'direction': 'out',
            'peer': arrival.recipient.id,
            'sender': header.sender,
            'recipient': header.receiver,
            'kind': outline.kind,
            'document_number': outline.number,
            'uuid': header.id,
            'created': naive(header.created),
            'sequence': header.sequence,
            'data': arrival.data,
            'digest': header.digest,
            'signature': arrival.jws,
            'relays': arrival.message.id,
            'agreement': agreement.id if agreement else None,
            'total': _total(header),
            'state': 'waiting',
            'next_attempt': naive(now()),
            }

    @classmethod
    def _confirmed(cls, arrival):
        "Return the invoice of which the answer tells the same total"
        answered, total = arrival.answers, _total(arrival.header)
        if (total and answered and answered.total == total
                and answered.sender == arrival.header.receiver
                and not cls.search([('confirms', '=', answered.id)])):
            return answered

    def _acknowledged(self):
        pool = Pool()
        Leaf = pool.get('cooperative.trust.log.leaf')
        super()._acknowledged()
        if self.relays:
            Leaf.record_event(entry.DELIVERY, [self])

    @classmethod
    def conclude(cls, database, arrivals):
        pool = Pool(database)
        Leaf = pool.get('cooperative.trust.log.leaf')
        super().conclude(database, arrivals)
        leaves = {a.id: a.leaf for a in arrivals if not a.known and a.leaf}
        if known := [a.id for a in arrivals if a.known]:
            leaves.update(transact(
                    database, cls._submissions, known, readonly=True))
        if not leaves:
            return
        records = Leaf.records(database, list(leaves.values()))
        for arrival in arrivals:
            leaf = leaves.get(arrival.id)
            if leaf in records:
                arrival.answer['record'] = records[leaf]
            elif leaf:
                arrival.answer['promise'] = transact(
                    database, Leaf.promise, leaf)

    @classmethod
    def _submissions(cls, ids):
        "Return the leaves of submission of the messages that have one"
        pool = Pool()
        Leaf = pool.get('cooperative.trust.log.leaf')
        return {l.message.id: l.id for l in Leaf.search([
                    ('message', 'in', ids),
                    ('event', '=', entry.SUBMISSION),
                    ])}

    @classmethod
    def attend(cls, database):
        super().attend(database)
        Log = Pool(database).get('cooperative.trust.log')
        Log.sweep(database)

    @classmethod
    def copy(cls, messages, default=None):
        default = default.copy() if default is not None else {}
        default.setdefault('leaves')
        return super().copy(messages, default=default)


def _total(header):
    total = getattr(header, 'total', None)
    return str(total) if total else None


class Peer(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.peer'

    def takes_from(self, identity):
        "Tell if the peer accepts what the trust party relays"
        return (
            self.kind != 'participant'
            or identity.identifier in (self.trust_parties or '').split())


class Agreement(ModelSQL, ModelView):
    __name__ = 'cooperative.trust.agreement'

    uuid = fields.Char("UUID", required=True, readonly=True)
    proposer = fields.Many2One(
        'cooperative.edi.peer', "Proposer", required=True, readonly=True,
        ondelete='RESTRICT')
    acceptor = fields.Many2One(
        'cooperative.edi.peer', "Acceptor", required=True, readonly=True,
        ondelete='RESTRICT')
    community = fields.Many2One(
        'cooperative.edi.peer', "Community", readonly=True,
        ondelete='RESTRICT',
        help="The community under whose rules they trade.")
    sealed = fields.Boolean("End-to-End Encrypted", readonly=True,
        help="The two read their documents, and nobody here.")
    state = fields.Selection([
            ('proposed', "Proposed"),
            ('agreed', "Agreed"),
            ('refused', "Refused"),
            ('ended', "Ended"),
            ], "State", required=True, readonly=True, sort=False)

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_constraints += [
            ('uuid_unique', Unique(t, t.proposer, t.acceptor, t.uuid),
                'cooperative_trust.msg_agreement_uuid_unique'),
            ]
        cls._order.insert(0, ('id', 'DESC'))

    def get_rec_name(self, name):
        names = [self.proposer.rec_name, self.acceptor.rec_name]
        if self.community:
            names.append(self.community.rec_name)
        return ' - '.join(names)

    @classmethod
    def search_rec_name(cls, name, clause):
        return ['OR',
            ('proposer.rec_name', *clause[1:]),
            ('acceptor.rec_name', *clause[1:]),
            ('community.rec_name', *clause[1:]),
            ]

    @classmethod
    def named(cls, uuid, *parties):
        "Return what the two parties proposed to each other under the UUID"
        ids = [p.id for p in parties]
        for agreement in cls.search([
                    ('uuid', '=', uuid),
                    ('proposer', 'in', ids),
                    ('acceptor', 'in', ids),
                    ], order=[('id', 'ASC')], limit=1):
            return agreement

    @classmethod
    def standing(cls, uuids):
        """Return what was Agreed under the UUIDs, by them and the ids of the
        two parties"""
        # Each message asks
        table = cls.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*table.select(
                table.uuid, table.proposer, table.acceptor,
                table.id, table.sealed, table.community,
                where=table.uuid.in_(list(uuids) or [None])
                & (table.state == 'agreed')))
        return {
            (uuid, frozenset([proposer, acceptor])): Agreed(
                id_, bool(sealed), community)
            for uuid, proposer, acceptor, id_, sealed, community in cursor}

    @classmethod
    def of(cls, arrival):
        "Return the agreement of the message, with what it changes in it"
        header = arrival.header
        if isinstance(header, envelope.Envelope):
            return arrival.agreement
        if header.kind in AGREEING:
            method = getattr(cls, '_' + header.kind.replace('-', '_'))
            sender, recipient = arrival.peer, arrival.recipient
            uuid = cls._named(header, 'relation')
            agreement = cls.named(uuid, sender, recipient)
            return method(agreement, sender, recipient, header)

    @classmethod
    def _named(cls, header, name):
        with at(name):
            return NAMED[name].load(header.body.get(name))

    @classmethod
    def _relation_proposal(cls, agreement, sender, recipient, header):
        pool = Pool()
        Member = pool.get('cooperative.trust.member')
        uuid = cls._named(header, 'relation')
        if agreement or cls._named(header, 'trust_party') != header.via:
            return agreement
        named = cls._named(header, 'community')
        common = {c.identifier: c
            for c in Member.active(sender) & Member.active(recipient)}
        if named is not None and named not in common:
            raise Problem.forbidden(named)
        agreement = cls(
            uuid=uuid, proposer=sender, acceptor=recipient,
            community=common.get(named),
            sealed=bool(cls._named(header, 'sealed')),
            state='proposed')
        agreement.save()
        return agreement

    @classmethod
    def _relation_answer(cls, agreement, sender, recipient, header):
        if (agreement
                and agreement.state == 'proposed'
                and agreement.acceptor == sender):
            agreed = header.body.get('agreed') is True and (
                bool(cls._named(header, 'sealed')) == bool(agreement.sealed))
            agreement.state = 'agreed' if agreed else 'refused'
            agreement.save()
        return agreement

    @classmethod
    def _relation_end(cls, agreement, sender, recipient, header):
        if agreement and agreement.state in {'proposed', 'agreed'}:
            agreement.state = 'ended'
            agreement.save()
        return agreement


class Leaf(metaclass=PoolMeta):
    __name__ = 'cooperative.trust.log.leaf'

    @classmethod
    def read_record(cls, leaf):
        return cls.read_records([leaf])[leaf]

    @classmethod
    def read_records(cls, leaves):
        # Of their twenty columns, those of a record
        leaves = [
            cls(**values)
            for values in cls.read(leaves, ['evidence', 'nonce'])]
        return {
            leaf.id: leaf.record_of(proof).to_json()
            for leaf, proof in zip(leaves, cls.proofs(leaves))}

    @classmethod
    def records(cls, database, leaves):
        "Lead or wait, and return the records of those that have their place"
        placed = cls.wait(database, *leaves)
        if not placed:
            return {}
        return transact(database, cls.read_records, placed, readonly=True)

    @classmethod
    def promise(cls, leaf):
        "Return the word of the log to take the message before a deadline"
        leaf = cls(leaf)
        deadline = (leaf.time + PROMISE).replace(tzinfo=dt.timezone.utc)
        return Promise(
            leaf.log.origin, leaf.message.uuid, leaf.message.digest,
            deadline).sign(leaf.log.signer).decode()
