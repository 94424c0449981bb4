# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What comes in for somebody else is recorded and sent on, byte for byte"""
import datetime as dt

from sql import Null
from trytond.model import Index, ModelSQL, ModelView, Unique, fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Bool, Eval
from trytond.transaction import Transaction

from cooperative_edi.http import RETRY, Problem
from cooperative_edi.identity import now
from cooperative_edi.message import Outline
from cooperative_edi.peer import naive
from cooperative_edi.transaction import transact
from trycoton.protocol import entry, envelope, seal, ubl
from trycoton.protocol.promise import Promise

from .log import PENDING_MAX

PROMISE = dt.timedelta(minutes=10)
OTHER = Outline('other-statement')
SEALED = Outline(envelope.SEALED_KIND)


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
        cls._sql_indexes.add(
            Index(t, (t.confirms, Index.Equality()),
                where=t.confirms != Null))
        cls.kind.selection.append((OTHER.kind, "Other Statement"))
        # What was taken in is sent on
        cls._buttons['cancel']['invisible'] |= Bool(Eval('relays'))
        cls._buttons['cancel']['depends'].append('relays')

    @classmethod
    @ModelView.button
    def cancel(cls, messages):
        super().cancel([m for m in messages if not m.relays])

    @classmethod
    def _relay_of(cls, header):
        "Return the identity that the message only passes by, or None"
        pool = Pool()
        Identity = pool.get('cooperative.edi.identity')
        if header.via and not Identity.named(header.receiver):
            return Identity.named(header.via)

    @classmethod
    def _addressee(cls, header):
        return cls._relay_of(header) or super()._addressee(header)

    @classmethod
    def _outline(cls, header):
        if cls._relay_of(header):
            if seal.is_sealed(header):
                return SEALED
            if isinstance(header, envelope.Envelope):
                # The statements for the communities count on it
                ubl.parse(header.payload)
            elif header.kind not in dict(cls.kind.selection):
                # It is for the recipient to understand
                return OTHER
        return super()._outline(header)

    @classmethod
    def _admit(cls, identity, peer, header):
        pool = Pool()
        Member = pool.get('cooperative.trust.member')
        Peer = pool.get('cooperative.edi.peer')
        if header.receiver == identity.identifier:
            return super()._admit(identity, peer, header)
        communities = Member.active(peer)
        if not communities:
            raise Problem.suspended(peer.identifier)
        recipient = Peer.get(identity.company.id, header.receiver)
        if not recipient:
            problem = Problem.not_addressed(header.receiver)
            # Its community may be about to make it known
            problem.retry = RETRY
            raise problem
        communities &= Member.active(recipient)
        if not communities:
            raise Problem.forbidden(header.receiver)
        # A community and its member agreed when it joined
        if not {peer, recipient} & communities:
            cls._admit_route(identity, peer, recipient, header, communities)
        cls._admit_load(identity)

    @classmethod
    def _admit_route(cls, identity, peer, recipient, header, communities):
        pool = Pool()
        Agreement = pool.get('cooperative.trust.agreement')
        if isinstance(header, envelope.Statement):
            if not recipient.takes_from(identity):
                raise Problem.other_route(header.via)
            return
        agreement = Agreement.find(peer, recipient, header.relation)
        if not agreement or agreement.state != 'agreed':
            raise Problem.no_relation(header.relation)
        if seal.is_sealed(header) != bool(agreement.sealed):
            raise Problem.other_seal(header.relation)
        if agreement.community and agreement.community not in communities:
            raise Problem.suspended(peer.identifier)

    @classmethod
    def _admit_load(cls, identity):
        pool = Pool()
        Log = pool.get('cooperative.trust.log')
        logs = Log.search(Log.signing(identity.company.id))
        if not logs:
            raise Problem('no-log', "The log is not open.")
        log, = logs
        log.admit()
        if log.pending >= PENDING_MAX:
            raise Problem.overload(log.origin)

    @classmethod
    def _store(cls, identity, peer, relation, header, *args):
        relayed = header.receiver != identity.identifier
        with Transaction().set_context(_relayed=relayed):
            return super()._store(identity, peer, relation, header, *args)

    @classmethod
    def _follow(cls, peer, header):
        if not Transaction().context.get('_relayed'):
            return super()._follow(peer, header)
        last = cls.search([
                ('company', '=', peer.company.id),
                ('direction', '=', 'in'),
                ('sender', '=', header.sender),
                ('recipient', '=', header.receiver),
                ], order=[('sequence', 'DESC')], limit=1)
        number, digest = ((last[0].sequence, last[0].digest) if last
            else (0, None))
        return (header.sequence, header.previous) == (number + 1, digest)

    @classmethod
    def _receipt_status(cls):
        if Transaction().context.get('_relayed'):
            return 'relayed'
        return super()._receipt_status()

    def _stored(self, header):
        super()._stored(header)
        if Transaction().context.get('_relayed'):
            self._relay(header)

    def _relay(self, header):
        "Put the same bytes in the outbox, and the submission in the log"
        pool = Pool()
        Agreement = pool.get('cooperative.trust.agreement')
        Leaf = pool.get('cooperative.trust.log.leaf')
        Peer = pool.get('cooperative.edi.peer')
        recipient = Peer.get(self.company.id, self.recipient)
        self.__class__(
            company=self.company, direction='out', peer=recipient,
            sender=self.sender, recipient=self.recipient, kind=self.kind,
            document_number=self.document_number, uuid=self.uuid,
            created=self.created, sequence=self.sequence, data=self.data,
            digest=self.digest, signature=self.signature, relays=self,
            agreement=Agreement.of(self.peer, recipient, header),
            total=_total(header),
            state='waiting', next_attempt=naive(now())).save()
        self.state = 'processed'
        self.proof_at = None
        self.confirms = self._confirmed(header)
        self.save()
        Leaf.record_event(entry.SUBMISSION, [self])

    def _confirmed(self, header):
        "Return the invoice of which the answer tells the same total"
        answered, total = self.answers, _total(header)
        if (total and answered and answered.total == total
                and answered.sender == self.recipient
                and not self.search([('confirms', '=', answered.id)])):
            return answered

    def _acknowledged(self):
        pool = Pool()
        Leaf = pool.get('cooperative.trust.log.leaf')
        super()._acknowledged()
        if self.relays:
            Leaf.record_event(entry.DELIVERY, [self])

    @classmethod
    def concluded(cls, database, id_):
        pool = Pool(database)
        Leaf = pool.get('cooperative.trust.log.leaf')
        result = super().concluded(database, id_)
        leaf = transact(database, cls._submission, id_, readonly=True)
        if not leaf:
            return result
        if Leaf.wait(database, leaf):
            result['record'] = transact(
                database, Leaf.read_record, leaf, readonly=True)
        else:
            result['promise'] = transact(database, Leaf.promise, leaf)
        return result

    @classmethod
    def _submission(cls, id_):
        for leaf in cls(id_).leaves:
            if leaf.event == entry.SUBMISSION:
                return leaf.id

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
    def find(cls, sender, recipient, uuid):
        "Return what the two agreed under that UUID, or None"
        agreements = cls.search([
                ('uuid', '=', uuid),
                ['OR', [
                        ('proposer', '=', sender.id),
                        ('acceptor', '=', recipient.id),
                        ], [
                        ('proposer', '=', recipient.id),
                        ('acceptor', '=', sender.id),
                        ]],
                ])
        return agreements[0] if agreements else None

    @classmethod
    def of(cls, sender, recipient, header):
        "Return the agreement of the message, with what it changes in it"
        if isinstance(header, envelope.Envelope):
            return cls.find(sender, recipient, header.relation)
        method = getattr(cls, '_' + header.kind.replace('-', '_'), None)
        if method:
            uuid = cls._named(header, 'relation')
            agreement = cls.find(sender, recipient, uuid)
            return method(agreement, sender, recipient, header)

    @classmethod
    def _named(cls, header, name):
        value = header.body.get(name)
        if not isinstance(value, (str, type(None))):
            raise Problem.malformed(name)
        return value

    @classmethod
    def _relation_proposal(cls, agreement, sender, recipient, header):
        pool = Pool()
        Member = pool.get('cooperative.trust.member')
        uuid = cls._named(header, 'relation')
        if (agreement or not uuid
                or cls._named(header, 'trust_party') != header.via):
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
        return cls(leaf).record.to_json()

    @classmethod
    def promise(cls, leaf):
        "Return the word of the log to take the message before a deadline"
        leaf = cls(leaf)
        deadline = (leaf.time + PROMISE).replace(tzinfo=dt.timezone.utc)
        return Promise(
            leaf.log.origin, leaf.message.uuid, leaf.message.digest,
            deadline).sign(leaf.log.signer).decode()
