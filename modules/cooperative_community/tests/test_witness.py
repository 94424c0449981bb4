# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"The members that a community elects as witnesses of its logs"
import datetime as dt
from types import SimpleNamespace
from unittest.mock import call, patch

from trytond.exceptions import UserError
from trytond.modules.company.tests import set_company
from trytond.modules.currency.tests import create_currency
from trytond.pool import Pool
from trytond.tests.test_tryton import RouteTestCase
from trytond.transaction import Transaction

from cooperative_community import witness as module
from cooperative_edi import courier
from cooperative_edi.client import ClientError, Response
from cooperative_edi.exceptions import DocumentRefused
from cooperative_edi.identity import now
from cooperative_edi.peer import naive
from cooperative_edi.transaction import transact
from trycoton.protocol import canonical, entry, signature
from trycoton.protocol.announcement import WitnessAnnouncement
from trycoton.protocol.directory import Directory, Participant
from trycoton.protocol.note import (
    COSIGNATURE, Cosigner, Note, NoteSigner, Verifier)
from trycoton.protocol.policy import Policy
from trycoton.protocol.signature import SigningKey
from trycoton.protocol.tests.test_evidence import Log

from .tools import COMMUNITY, MEMBER, OTHER, TRUST_PARTY
from .tools import Response as DirectoryResponse
from .tools import (
    accept_trust_party, applied, configure, create_actor, create_community,
    deliver, identity_of, join)

HEADER = signature.SIGNATURE_HEADER


class WitnessTestCase(RouteTestCase):
    "Test elected witnesses"
    module = 'cooperative_community'

    @classmethod
    def setUpClass(cls):
        configure()
        cls.log = Log(NoteSigner('log.example', SigningKey.generate()))
        super().setUpClass()

    @classmethod
    def setUpDatabase(cls):
        pool = Pool()
        Membership = pool.get('cooperative.community.membership')
        Witness = pool.get('cooperative.edi.witness')
        currency = create_currency('EUR')
        trust_party = create_actor(
            TRUST_PARTY, "Tiers", 'trust-party', currency)
        manager = create_actor(
            COMMUNITY, "Community", 'community', currency)
        community = create_community(manager)
        peer = accept_trust_party(manager, trust_party)
        peer.log_key = cls.log.signer.vkey
        peer.save()
        community.trust_parties = [peer]
        community.save()
        cls.memberships = {}
        for identifier, name in [(MEMBER, "Farm"), (OTHER, "Shop")]:
            company = create_actor(identifier, name, currency=currency)
            own = join(company, community)
            membership = applied(company, community)
            with set_company(manager):
                Membership.accept([membership])
            deliver(manager)
            cls.memberships[identifier] = membership.id
            if identifier == MEMBER:
                cls.member, cls.own = company.id, own.community.id
                with set_company(company):
                    witness, = Witness.create([{'company': company.id}])
                    Witness.open([witness])
                    cls.vkey = witness.vkey
        cls.community, cls.manager = community.id, manager.id
        Transaction().commit()

    def setUp(self):
        super().setUp()
        self.Membership = Pool(self.db_name).get(
            'cooperative.community.membership')
        self.addCleanup(self.dismiss)

    def ask(self, function, *args, company=None):
        return transact(
            self.db_name, function, *args,
            context={'company': company or self.manager})

    def dismiss(self):
        self.ask(lambda: self.Membership.dismiss(
                self.Membership.browse(list(self.memberships.values()))))

    def descriptor(self, identifier=MEMBER, **values):
        "Return what the instance of the member answers"
        def read():
            Identity = Pool().get('cooperative.edi.identity')
            identity, = Identity.search([('identifier', '=', identifier)])
            if 'witness' in values:
                with patch.object(
                        Identity, 'witness_key',
                        lambda identity: values['witness']):
                    return identity.descriptor()
            return identity.descriptor()
        data, jws = self.ask(read)
        return Response(200, {HEADER: jws}, data)

    def elect(self, answer, identifier=MEMBER):
        "Elect the member, whose instance answers that"
        id_ = self.memberships[identifier]
        self.ask(lambda: self.Membership.elect([self.Membership(id_)]))
        with patch.object(
                module.client, 'get', side_effect=[answer]) as get:
            module.elect_due(self.db_name)
        url, = get.call_args.args
        self.assertTrue(url.endswith('/cooperative/edi/descriptor'), url)
        names = ['witness_state', 'witness_key', 'witness_error']

        def read():
            membership = self.Membership(id_)
            return tuple(getattr(membership, n) for n in names)
        return self.ask(read)

    def announce(self, vkey, created=None, **values):
        "Have the community receive what the member announces of its witness"
        def receive():
            pool = Pool()
            Document = pool.get('cooperative.edi.document')
            membership = self.Membership(self.memberships[MEMBER])
            announcement = WitnessAnnouncement(**{
                    'identifier': MEMBER, 'witness': vkey,
                    'created': created or now(), **values})
            Document.receive_witness_announcement(
                SimpleNamespace(
                    company=membership.company, peer=membership.peer),
                announcement.to_json())
        self.ask(receive)

    def forget(self):
        def forget():
            self.Membership.write(self.Membership.browse(
                    list(self.memberships.values())), {
                    'witness_announced': None})
        self.ask(forget)

    def test_replaced(self):
        "Test the directory tells the key that the member replaced its own by"
        self.addCleanup(self.forget)
        self.elect(self.descriptor())
        new = Cosigner(
            'member.example/witness', SigningKey.generate()).vkey
        self.announce(new)
        directory = self.directory()
        self.assertEqual(
            {i: v.vkey for i, v in directory.witnesses.items()},
            {MEMBER: new})
        # What comes late does not bring the old one back
        with self.assertRaises(DocumentRefused):
            self.announce(self.vkey, created=now() - dt.timedelta(hours=1))
        self.assertEqual(self.directory().digest, directory.digest)
        self.announce(new, created=now() + dt.timedelta(seconds=9))
        self.assertEqual(self.directory().digest, directory.digest)

    def test_resigned(self):
        "Test who resigned is named no more"
        self.addCleanup(self.forget)
        self.elect(self.descriptor())
        self.announce(None)
        self.assertEqual(self.directory().witnesses, {})
        self.assertIsNone(self.directory().quorum)
        # The manager may elect it again, not the member itself
        self.announce(self.vkey, created=now() + dt.timedelta(seconds=9))
        self.assertEqual(self.directory().witnesses, {})
        self.assertEqual(
            self.elect(self.descriptor())[0], 'elected')

    def test_announced_badly(self):
        "Test the key of somebody else, or of something else, is not taken"
        self.addCleanup(self.forget)
        later = now()

        def key():
            membership = self.Membership(self.memberships[MEMBER])
            return next(iter(membership.peer.public_keys().values()))
        own = Verifier('x.example/witness', self.ask(key), COSIGNATURE).vkey
        for vkey in [own, self.log.signer.vkey]:
            self.assertEqual(
                self.elect(self.descriptor())[0], 'elected')
            later += dt.timedelta(seconds=1)
            self.announce(vkey, created=later)
            self.assertEqual(self.directory().witnesses, {})
            self.assertEqual(self.ask(lambda: self.Membership(
                        self.memberships[MEMBER]).witness_state), 'failed')
        self.elect(self.descriptor())
        for values in [{'identifier': OTHER}, {'identifier': COMMUNITY}]:
            with self.assertRaises(DocumentRefused):
                self.announce(own, created=later + dt.timedelta(hours=1),
                    **values)
        self.assertEqual(len(self.directory().witnesses), 1)

    def test_announced_unelected(self):
        "Test who was not elected is not by its own word"
        self.addCleanup(self.forget)
        self.announce(self.vkey)
        self.assertEqual(self.directory().witnesses, {})

    def directory(self):
        response = self.client().get(
            f'/{self.db_name}/cooperative/community/directory')
        return Directory.open(response.data, response.headers[HEADER], {
                k.kid: k for k in self.ask(lambda: identity_of(
                        Pool().get('company.company')(self.manager)
                        ).public_keys()).values()})

    def test_elect(self):
        "Test the directory tells the key that the member published"
        self.assertEqual(
            self.elect(self.descriptor()), ('elected', self.vkey, None))
        directory = self.directory()
        self.assertEqual(
            {i: v.vkey for i, v in directory.witnesses.items()},
            {MEMBER: self.vkey})
        self.assertEqual(directory.quorum, 1)

        self.dismiss()
        directory = self.directory()
        self.assertEqual(directory.witnesses, {})
        self.assertIsNone(directory.quorum)

    def test_courier(self):
        "Test the courier comes to ask the member, then to push what changed"
        with patch.object(courier, 'wake') as wake:
            self.elect(self.descriptor())
        self.assertEqual(wake.call_args_list, [call(self.db_name)] * 2)

    def test_not_elected(self):
        "Test answers that elect nobody, and say why"
        stranger = self.descriptor(OTHER, witness=self.vkey)
        same = self.ask(lambda: NoteSigner('x', SigningKey.generate()).vkey)

        def signing_key():
            Key = Pool().get('cooperative.edi.identity.key')
            Identity = Pool().get('cooperative.edi.identity')
            identity, = Identity.search([('identifier', '=', MEMBER)])
            return Cosigner('x', Key.secret(identity)).vkey
        forged = self.descriptor()
        forged.data = forged.data.replace(b'"Farm"', b'"Form"')
        for answer, error in [
                (ClientError('https://a', "nobody there"), "nobody there"),
                (Response(404, {}, b''), "404"),
                (Response(200, {}, b'{}'), "."),
                (stranger, "key of this member"),
                (forged, "."),
                (self.descriptor(witness=None), "no witness yet"),
                (self.descriptor(witness=same), "Not the key of a witness"),
                (self.descriptor(witness=self.ask(signing_key)),
                    "something else"),
                ]:
            with self.subTest(error=error):
                state, key, text = self.elect(answer)
                self.assertEqual((state, key), ('failed', None))
                self.assertIn(error, text)
        self.assertEqual(self.directory().witnesses, {})

    def test_one_key(self):
        "Test a key is that of one witness only"
        self.elect(self.descriptor())
        state, key, error = self.elect(
            self.descriptor(OTHER, witness=self.vkey), OTHER)
        self.assertEqual((state, key), ('failed', None))
        self.assertIn("somebody else", error)

    def test_suspended(self):
        "Test a member that is suspended is no witness"
        self.elect(self.descriptor())
        membership = self.memberships[MEMBER]
        self.ask(lambda: self.Membership.suspend(
                [self.Membership(membership)], "Late"))
        self.assertEqual(self.directory().witnesses, {})
        self.ask(lambda: self.Membership.reactivate(
                [self.Membership(membership)]))
        self.assertEqual(len(self.directory().witnesses), 1)

    def test_quorum(self):
        "Test the quorum is that of the community, never less than half"
        Community = Pool(self.db_name).get('cooperative.community')
        for wanted, elected, quorum in [
                (None, 0, None), (3, 0, None), (None, 1, 1), (None, 5, 3),
                (None, 15, 10), (4, 5, 4), (1, 5, 3), (9, 5, 3), (5, 5, 5)]:
            with self.subTest(wanted=wanted, elected=elected):
                found = self.ask(lambda: Community(quorum=wanted).quorum_of([
                            Participant(f'{COMMUNITY}_{i}', "A",
                                witness=self.vkey)
                            for i in range(elected)]
                        + [Participant(COMMUNITY, "B")]))
                self.assertEqual(found, quorum)

    def synchronise(self):
        "Bring the directory to the member"
        def synchronise():
            Directory = Pool().get('cooperative.community.directory')
            Community = Pool().get('cooperative.community')
            last = Directory.last(Community(self.community))
            response = DirectoryResponse(last)
            with Transaction().set_context(company=self.member):
                Directory.synchronise(Community(self.own), response)
        self.ask(synchronise)

    def test_policy(self):
        "Test a member exports whom its community trusts"
        Export = Pool(self.db_name).get(
            'cooperative.community.policy.export', type='wizard')
        Community = Pool(self.db_name).get('cooperative.community')
        self.elect(self.descriptor())
        self.synchronise()

        def export(id_):
            session_id, _, _ = Export.create()
            with Transaction().set_context(
                    active_model=Community.__name__, active_id=id_,
                    active_ids=[id_]):
                result = Export.execute(session_id, {}, 'export')
            return result['view']['defaults']['file']
        data = self.ask(export, self.own, company=self.member)
        policy = Policy.parse(data)
        self.assertEqual(
            [v.vkey for v in policy.logs], [self.log.signer.vkey])
        self.assertEqual(
            {n: v.vkey for n, v in policy.witnesses.items()},
            {MEMBER: self.vkey})
        self.assertEqual(policy.groups, {'witnesses': (1, (MEMBER,))})
        self.assertEqual([c.name for c in policy.communities], [COMMUNITY])
        self.assertEqual(self.ask(export, self.community), data)

    def test_policies(self):
        "Test which policy a message is witnessed under"
        self.elect(self.descriptor())
        self.synchronise()

        def policies(via, community):
            pool = Pool()
            Message = pool.get('cooperative.edi.message')
            Peer = pool.get('cooperative.edi.peer')
            Relation = pool.get('cooperative.edi.relation')
            relation = Relation(
                community=Peer.get(self.member, COMMUNITY)
                ) if community else None
            message = Message(
                company=self.member, relation=relation,
                trust_party=Peer.get(self.member, via) if via else None)
            return [
                list(p.witnesses) for p in message.witness_policies()]

        def trust():
            Peer = Pool().get('cooperative.edi.peer')
            peer = Peer.get(self.member, TRUST_PARTY)
            peer.log_key = self.log.signer.vkey
            peer.save()
        self.ask(trust)
        for via, community, found in [
                (TRUST_PARTY, True, [[MEMBER]]),
                (TRUST_PARTY, False, [[MEMBER]]),
                (None, True, []),
                ]:
            with self.subTest(via=via, community=community):
                self.assertEqual(self.ask(policies, via, community), found)
        self.dismiss()
        self.synchronise()
        self.assertEqual(self.ask(policies, TRUST_PARTY, True), [])

    def test_record(self):
        "Test the record of the directory is asked for under the witnesses"
        self.elect(self.descriptor())
        Witness = Pool(self.db_name).get('cooperative.edi.witness')
        Record = Pool(self.db_name).get(
            'cooperative.community.directory.record')
        DirectoryModel = Pool(self.db_name).get(
            'cooperative.community.directory')
        cosigner = self.ask(lambda: Witness.search([])[0].cosigner)
        stranger = Cosigner('x.example', SigningKey.generate())

        def last():
            record, = DirectoryModel.last(self.community).records
            return record

        def answer(*witnesses):
            self.log.witnesses = witnesses
            digest = self.ask(lambda: last().directory.digest)
            self.log.append(entry.directory_entry(digest))
            index = self.log.frontier.size - 1
            return {'record': {'proof': self.log.prove(index, index + 1)}}

        def push(*witnesses):
            result = answer(*witnesses)
            self.ask(lambda: Record.pushed(last().id, result))
            return self.ask(lambda: (
                    last().witnessed, last().next_attempt,
                    last().directory.etag, bytes(last().record)))
        self.assertFalse(self.ask(lambda: last().record))
        witnessed, due, etag, first = push()
        self.assertFalse(witnessed)
        self.assertTrue(etag.endswith('-logged'))
        self.assertGreater(due, naive(now()))
        self.assertIsNotNone(self.ask(Record.next_due))
        self.ask(lambda: Record.write(
                [last()], {'next_attempt': naive(now())}))
        self.assertIn(
            self.ask(lambda: last().id), self.ask(Record.to_push))

        witnessed, due, etag, data = push(stranger)
        self.assertEqual((witnessed, data), (False, first))
        witnessed, due, etag, data = push(stranger, cosigner)
        self.assertTrue(witnessed)
        self.assertIsNone(due)
        self.assertTrue(etag.endswith('-witnessed'))
        proof = canonical.load(data)['proof']
        note = Note.parse(proof.partition('\n\n')[2].encode())
        self.assertEqual(
            [s.name for s in note.signatures], ['log.example', cosigner.name])

    def test_access(self):
        "Test only the manager's group elects"
        User = Pool(self.db_name).get('res.user')

        def create():
            user = User(
                name="Somebody", login='somebody',
                companies=[self.manager], company=self.manager)
            user.save()
            return user.id
        user = self.ask(create)

        def act(name):
            with Transaction().set_user(user), \
                    Transaction().set_context(_check_access=True):
                getattr(self.Membership, name)(
                    [self.Membership(self.memberships[MEMBER])])
        for name in ['elect', 'dismiss']:
            with self.subTest(name=name), self.assertRaises(UserError):
                self.ask(act, name)


del RouteTestCase
