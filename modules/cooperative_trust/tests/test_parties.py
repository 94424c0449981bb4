# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Two communities, two trust parties and two members who trade by them"""
from unittest.mock import patch

from trytond.pool import Pool

from cooperative_edi.tests.test_exchange import InstancesTestCase
from trycoton.protocol import canonical, evidence, signature
from trycoton.protocol.descriptor import Descriptor
from trycoton.protocol.note import NoteSigner
from trycoton.protocol.policy import Policy

from .tools import Community, Member, now

COMMUNITIES = ['0225:732829320', '0225:732829320_50']


class PartiesTestCase(InstancesTestCase):
    "Test relations by several trust parties, under several communities"
    module = 'cooperative_trust'
    identifiers = {
        'anne': '0225:833555675',
        'bruno': '0225:732829320_1',
        'tiers': '0225:552100554',
        'relais': '0225:443061841',
        }

    @classmethod
    def prepare(cls, instance):
        if instance.name in {'tiers', 'relais'}:
            instance.do(_keep_log, instance)

    def setUp(self):
        super().setUp()
        self.tiers, self.relais = map(self.create, ['tiers', 'relais'])
        self.handle(lambda message, document: None)
        self.communities = [Community(i) for i in COMMUNITIES]
        self.sources = [], []
        trust_parties = [self.tiers, self.relais]
        for instance in [self.anne, self.bruno]:
            instance.do(self.know, instance, trust_parties)
        for instance in trust_parties:
            instance.do(self.know, instance, [])
        # Each tells which trust parties it accepts
        self.meet(self.anne, self.bruno)
        for community in self.communities:
            self.sources[0].append(self.describe(community))
            self.publish(
                community, trust_parties,
                [self.anne, self.bruno, *trust_parties])

    def know(self, instance, trust_parties):
        "Have the instance know the communities and accept trust parties"
        Peer = instance.get('peer')
        for community in self.communities:
            Peer.update_from(instance.company, Member(
                    community.identifier).participant(
                    kind='community', trust_parties=()))
        for trust_party in trust_parties:
            peer = Peer.update_from(
                instance.company, trust_party.do(_entry))
            peer.accepted = True
            peer.save()

    def describe(self, community):
        data = Descriptor(
            identifier=community.identifier, name=community.identifier,
            kind='community', endpoint=None,
            keys=community.participant().keys, created=now()).to_bytes()
        return evidence.SignedDescriptor(
            data=data, signature=community.sign(
                data, signature.DESCRIPTOR)[signature.SIGNATURE_HEADER])

    def publish(self, community, trust_parties, instances, state='active'):
        "Send the directory of the instances to the trust parties"
        entries = [i.do(_entry) for i in instances]
        directory = community.directory(*entries)
        data = directory.to_bytes()
        headers = community.sign(data, signature.DIRECTORY)
        self.sources[1].append(evidence.SignedDirectory(
                data=data, signature=headers[signature.SIGNATURE_HEADER]))
        for trust_party in trust_parties:
            response = self.request(
                'POST', f'{trust_party.endpoint}/trust/directories', data,
                headers)
            self.assertEqual(response.status, 200, response.data)

    def propose_by(self, trust_party, community, replaces=None):
        "Return the id of the relation that Anne proposes to Bruno"
        def propose():
            Relation = self.anne.get('relation')
            relation = Relation(
                peer=self.peer(self.anne, self.bruno), replaces=replaces,
                community=self.peer(self.anne, community),
                trust_party=self.peer(self.anne, trust_party))
            relation.save()
            Relation.propose([relation])
            return relation.id
        return self.anne.do(propose)

    def agree_by(self, *args, **kwargs):
        relation = self.propose_by(*args, **kwargs)
        self.settle()
        self.assertEqual(
            self.read(self.anne, 'state', model='relation', id=relation),
            ['agreed'])
        return relation

    def settle(self):
        "Have all that is under way arrive"
        for _ in range(3):
            for instance in [
                    self.anne, self.tiers, self.relais, self.bruno]:
                self.hasten(instance)
            self.round(self.anne, self.tiers, self.relais, self.bruno)

    def prove(self):
        "Have the members fetch the proofs that they miss"
        def due():
            Message = self.anne.get('message')
            Message.write(Message.search([('proof_at', '!=', None)]), {
                    'proof_at': '2026-01-01 00:00:00'})
        self.anne.do(due)
        self.round(self.anne)

    def export(self):
        "Return the evidence file of Anne on all that was said"
        Message = self.anne.get('message')

        def export():
            with patch.object(
                    Message, '_evidence_sources',
                    lambda company: self.sources):
                return Message.evidence(Message.search([
                            ('digest', '!=', None),
                            ('state', 'in', ['sent', 'processed']),
                            ], order=[('id', 'ASC')]))
        return self.anne.do(export)

    def policy(self):
        return Policy.of([
                NoteSigner(c.identifier, c.key).vkey
                for c in self.communities])

    def size(self, trust_party):
        def size():
            log, = trust_party.log.search([])
            return log.size
        trust_party.log = Pool(trust_party.name).get('cooperative.trust.log')
        return trust_party.do(size)

    def test_change(self):
        """Test a deal of which each half is in the log of another trust party
        is proved by one file, the former one being gone"""
        community, _ = self.communities
        former = self.agree_by(self.tiers, community)
        self.send(former, 'F1')
        self.settle()
        self.prove()
        # The trust party stops, with an invoice under way
        self.down.add('tiers')
        under_way = self.send(former, 'F2')
        self.round(self.anne)
        self.assertEqual(
            self.read(self.anne, 'state', id=under_way), ['waiting'])
        # From now on the community works with the other one only
        self.publish(
            community, [self.relais], [self.anne, self.bruno, self.relais])
        relation = self.agree_by(self.relais, community, replaces=former)
        self.send(relation, 'F3')
        self.settle()
        self.prove()
        self.assertEqual(
            self.read(self.bruno, 'document_number', kind='invoice'),
            ['F1', 'F2', 'F3'])

        data = self.export()
        report = evidence.verify(data, self.policy())
        self.assertEqual(report.status, evidence.VERIFIED, [
                c.text for c in report.checks if not c.ok])
        file = evidence.File.parse(data)
        self.assertEqual(len(file.keys), 2)
        origins = {}
        for message in file.messages:
            for record in message.records:
                checkpoint = record.inclusion.checkpoint.decode()
                origins.setdefault(
                    checkpoint.partition('\n')[0], set()).add(
                    message.value.via)
        self.assertEqual(origins, {
                'tiers.example.org/log': {self.tiers.identifier},
                'relais.example.org/log': {self.relais.identifier},
                })
        # Without what named the former log it proves nothing any more
        value = canonical.load(data)
        value['keys'] = [
            k for k in value['keys'] if not k.startswith('tiers')]
        self.assertEqual(
            evidence.verify(canonical.dump(value), self.policy()).status,
            evidence.REFUSED)

    def test_communities(self):
        """Test who leaves one community goes on under the other, by the same
        trust party"""
        first, second = self.communities
        ended = self.agree_by(self.tiers, first)
        kept = self.agree_by(self.tiers, second)
        for relation in [ended, kept]:
            self.send(relation, f'F{relation}')
        self.settle()
        self.assertEqual(
            self.read(self.anne, 'state', kind='invoice'), ['sent'] * 2)
        # Bruno leaves the first one
        self.publish(
            first, [self.tiers, self.relais],
            [self.anne, self.tiers, self.relais])
        size = self.size(self.tiers)
        refused, sent = self.send(ended, 'F8'), self.send(kept, 'F9')
        self.settle()
        self.assertEqual(
            self.read(self.anne, 'state', id=refused), ['failed'])
        self.assertEqual(self.read(self.anne, 'state', id=sent), ['sent'])
        self.assertEqual(
            self.read(self.bruno, 'document_number', kind='invoice'),
            [f'F{ended}', f'F{kept}', 'F9'])
        # The rejection of one, submission and delivery of the other
        self.assertEqual(self.size(self.tiers), size + 3)

    def test_two_at_once(self):
        "Test relations of the same two by different trust parties"
        first, second = self.communities
        relations = [
            self.agree_by(self.tiers, first),
            self.agree_by(self.relais, second)]
        sizes = self.size(self.tiers), self.size(self.relais)
        for number, relation in enumerate(relations):
            self.send(relation, f'F{number}')
        self.settle()
        self.prove()
        self.assertEqual(
            (self.size(self.tiers), self.size(self.relais)),
            tuple(s + 2 for s in sizes))
        report = evidence.verify(self.export(), self.policy())
        self.assertEqual(report.status, evidence.VERIFIED)

    def test_other_trust_party(self):
        "Test a trust party relays nothing that was agreed by the other one"
        community, _ = self.communities
        relation = self.agree_by(self.tiers, community)
        size = self.size(self.relais)

        def divert():
            Relation = self.anne.get('relation')
            Relation.write([Relation(relation)], {
                    'trust_party': self.peer(
                        self.anne, self.relais).id})
        self.anne.do(divert)
        sent = self.send(relation, 'F1')
        self.round(self.anne)
        (state, error), = self.read(self.anne, 'state', 'error', id=sent)
        self.assertEqual(state, 'waiting')
        self.assertIn('403', error)
        self.assertEqual(self.size(self.relais), size)


def _keep_log(instance):
    "Make the instance the one of a trust party"
    Identity = instance.get('identity')
    Log = Pool(instance.name).get('cooperative.trust.log')
    identity, = Identity.search([])
    identity.kind = 'trust-party'
    identity.save()
    log = Log(
        company=identity.company, origin=f'{instance.name}.example.org/log')
    log.save()
    Log.open([log])


def _entry():
    Identity = Pool().get('cooperative.edi.identity')
    return Identity.get().participant()


del InstancesTestCase
