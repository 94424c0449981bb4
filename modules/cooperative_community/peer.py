# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
from trytond.pool import Pool, PoolMeta

from cooperative_edi.identity import aware
from trycoton.protocol.descriptor import TrustParty
from trycoton.protocol.directory import Participant, PublishedKey


class Peer(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.peer'

    def published_keys(self):
        return tuple(PublishedKey(
                key=k.public_key,
                valid_from=aware(k.valid_from),
                valid_to=k.valid_to and aware(k.valid_to),
                revoked=k.revoked and aware(k.revoked))
            for k in sorted(self.keys, key=lambda k: k.id)
            if k.purpose != 'recovery')

    def recovery_key(self):
        for key in self.keys:
            if key.purpose == 'recovery' and not key.revoked:
                return key.public_key

    def may_become(self, participant):
        """Tell if a community may say this of the peer: it cannot give it
        keys that the peer did not have"""
        known = {k.kid for k in self.keys}
        published = {k.key.kid for k in participant.keys}
        return self.kind != 'participant' or not known or published <= known

    def announce_keys(self, announcement, kid):
        pool = Pool()
        Alarm = pool.get('cooperative.edi.alarm')
        Directory = pool.get('cooperative.community.directory')
        Participant = pool.get('cooperative.community.participant')
        super().announce_keys(announcement, kid)
        if self.kind != 'participant':
            return
        peer = self.__class__(self.id)
        for participant in Participant.search([('peer', '=', peer.id)]):
            last = Directory.last(participant.community)
            item = last and last.content.participant(peer.identifier)
            if item and not peer.may_become(item):
                return
        # What a directory said before the peer did was true
        Alarm.settle(['keys'], peer)

    def participant(self, roles=(), state='active'):
        "Return what a directory says of the peer"
        return Participant(
            identifier=self.identifier,
            name=self.name,
            kind=self.kind,
            roles=tuple(roles),
            state=state,
            keys=self.published_keys(),
            recovery=self.recovery_key(),
            endpoint=self.endpoint or None,
            trust_parties=tuple((self.trust_parties or '').split()),
            direct=bool(self.direct),
            legal=self.party.edi_legal(),
            log=self.kind == 'trust-party' and self.log_key or None)

    @classmethod
    def accept_trust_party(cls, company, trust_party):
        "Return the peer of the trust party in a descriptor, now accepted"
        peer = cls.get(company, trust_party.identifier)
        if not peer:
            peer = cls.update_from(company, Participant(
                    identifier=trust_party.identifier,
                    name=trust_party.name,
                    kind='trust-party',
                    roles=('trust-party',),
                    keys=trust_party.keys,
                    endpoint=trust_party.endpoint,
                    log=trust_party.log))
        peer.accepted = True
        peer.save()
        return peer

    def as_trust_party(self):
        "Return what the descriptor of a community says of its trust party"
        return TrustParty(
            identifier=self.identifier, name=self.name,
            endpoint=self.endpoint or None, keys=self.published_keys(),
            log=self.log_key or None)


class Relation(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.relation'

    @classmethod
    def without_route(cls, table):
        """The relation loses its route as well when the directory of its
        community does not name the trust party any more"""
        pool = Pool()
        Community = pool.get('cooperative.community')
        Participant = pool.get('cooperative.community.participant')
        community = Community.__table__()
        participant = Participant.__table__()
        participants = participant.join(
            community, condition=participant.community == community.id)
        known = participants.select(
            community.peer,
            where=(community.peer == table.community)
            & (community.role == 'member'))
        named = participants.select(
            participant.peer,
            where=(community.peer == table.community)
            & (participant.state == 'active'))
        return super().without_route(table) | (
            (table.state == 'agreed')
            & table.community.in_(known)
            & ~table.trust_party.in_(named))


class Document(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.document'

    @classmethod
    def receive_key_announcement(cls, message, body):
        pool = Pool()
        Community = pool.get('cooperative.community')
        peer = super().receive_key_announcement(message, body)
        # The others learn from the directory which keys a newcomer finds
        Community.publish(Community.search([
                    ('company', '=', message.company.id),
                    ('role', '=', 'manager'),
                    ('charter', '!=', None),
                    ]))
        return peer
