# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
import datetime as dt
import unittest.mock
import uuid
from decimal import Decimal

from trytond.model.exceptions import AccessError
from trytond.modules.account.tests import create_chart, get_fiscalyear
from trytond.modules.account_invoice.tests import set_invoice_sequences
from trytond.modules.company.tests import (
    CompanyTestMixin, PartyCompanyCheckEraseMixin, set_company)
from trytond.modules.currency.tests import create_currency
from trytond.modules.party.tests import PartyCheckReplaceMixin
from trytond.pool import Pool
from trytond.tests.test_tryton import ModuleTestCase, with_transaction
from trytond.transaction import Transaction, check_access

from cooperative_community.exceptions import (
    AlreadyMemberError, CharterMissingError, CommunityIdentityError,
    DirectoryRefusedError)
from cooperative_edi.http import Problem
from cooperative_edi.identity import now
from cooperative_edi.tests.inheritance import InheritanceTestMixin
from cooperative_edi.tests.views import ViewsTestMixin
from cooperative_edi.transaction import hold
from trycoton.protocol import commission, directory, envelope, signature
from trycoton.protocol.errors import Rejected
from trycoton.protocol.note import NoteSigner

from .tools import (
    COMMUNITY, MEMBER, OTHER, TRUST_PARTY, Response, applied, configure,
    create_actor, create_community, deliver, identity_of, join, sent)

LOG = NoteSigner(
    'log.example', signature.SigningKey.from_bytes(bytes([7]) * 32)).vkey


class CooperativeCommunityTestCase(
        PartyCompanyCheckEraseMixin, PartyCheckReplaceMixin,
        CompanyTestMixin, InheritanceTestMixin, ViewsTestMixin,
        ModuleTestCase):
    "Test Cooperative Community module"
    module = 'cooperative_community'

    @classmethod
    def setUpClass(cls):
        configure()
        super().setUpClass()

    def setUpActors(self, **values):
        currency = create_currency('EUR')
        self.trust_party = create_actor(
            TRUST_PARTY, "Trust Party", 'trust-party', currency)
        self.manager = create_actor(
            COMMUNITY, "Community", 'community', currency)
        self.member = create_actor(MEMBER, "Farm", currency=currency)
        self.community = create_community(
            self.manager, [self.trust_party], **values)

    def accept(self, membership):
        pool = Pool()
        Membership = pool.get('cooperative.community.membership')
        with set_company(self.manager):
            Membership.accept([membership])
        deliver(self.manager)

    def join(self, company=None):
        "Return the own and the managed membership, accepted"
        own = join(company or self.member, self.community)
        membership = applied(company or self.member, self.community)
        self.accept(membership)
        return own, membership

    def setUpAccount(self, company):
        "Create the accounts of the company and return a service"
        pool = Pool()
        Category = pool.get('product.category')
        FiscalYear = pool.get('account.fiscalyear')
        Account = pool.get('account.account')
        Template = pool.get('product.template')
        Uom = pool.get('product.uom')
        create_chart(company)
        fiscalyear = set_invoice_sequences(get_fiscalyear(company))
        fiscalyear.save()
        FiscalYear.create_period([fiscalyear])
        revenue, = Account.search([
                ('type.revenue', '=', True),
                ('closed', '!=', True),
                ('company', '=', company.id),
                ], limit=1)
        category = Category(
            name="Services", accounting=True, account_revenue=revenue)
        category.save()
        unit, = Uom.search([('name', '=', "Unit")])
        template = Template(
            name="Service", code="S", type='service', default_uom=unit,
            account_category=category, list_price=Decimal(0),
            products=[{}])
        template.save()
        return template.products[0]

    @with_transaction()
    def test_community_identity(self):
        "Test only a company known as a community manages one"
        company = create_actor(MEMBER, "Farm")
        with self.assertRaises(CommunityIdentityError):
            create_community(company)

    @with_transaction()
    def test_charter_missing(self):
        "Test a community without charter has no descriptor"
        company = create_actor(COMMUNITY, "Community", 'community')
        community = create_community(company)
        community.charter = None
        community.save()
        with self.assertRaises(CharterMissingError):
            community.descriptor()

    @with_transaction()
    def test_join_accept(self):
        "Test a member joins a community without fee"
        self.setUpActors()
        own = join(self.member, self.community)
        self.assertEqual(own.state, 'applicant')
        self.assertEqual(own.community.role, 'member')
        self.assertEqual(
            own.community.charter_digest, self.community.charter_digest)
        self.assertEqual(
            [t.identifier for t in own.community.trust_parties],
            [TRUST_PARTY])
        self.assertTrue(own.community.trust_parties[0].accepted)

        membership = applied(self.member, self.community)
        self.assertEqual(membership.state, 'applicant')
        self.assertEqual(membership.name, "Farm")
        self.assertFalse(membership.peer)

        self.accept(membership)
        self.assertEqual(membership.state, 'active')
        self.assertEqual(membership.number, '1')
        self.assertTrue(membership.has_role('offerer'))
        self.assertEqual([g.name for g in membership.groups], ["All members"])
        self.assertEqual(membership.relation.state, 'agreed')

        self.assertEqual(own.state, 'active')
        self.assertEqual(own.number, '1')
        self.assertEqual([g.name for g in own.groups], ["All members"])
        self.assertEqual(own.relation.uuid, membership.relation.uuid)
        self.assertEqual(own.relation.trust_party.identifier, TRUST_PARTY)
        self.assertTrue(own.community.to_synchronise)
        self.assertEqual(
            type(own.community).joined(self.member, 'buyer'),
            [own.community])

    @with_transaction()
    def test_join_twice(self):
        "Test an applicant cannot apply again before the decision"
        self.setUpActors()
        join(self.member, self.community)
        with self.assertRaises(AlreadyMemberError):
            join(self.member, self.community)

    @with_transaction()
    def test_refuse(self):
        "Test an applicant is refused with a reason, and may apply again"
        pool = Pool()
        Membership = pool.get('cooperative.community.membership')
        self.setUpActors()
        own = join(self.member, self.community)
        membership = applied(self.member, self.community)
        with set_company(self.manager):
            Membership.refuse([membership], "Too far away.")
        deliver(self.manager)

        self.assertEqual(membership.state, 'refused')
        self.assertEqual(membership.peer.state, 'removed')
        self.assertFalse(membership.number)
        self.assertEqual(own.state, 'refused')
        self.assertEqual(own.reason, "Too far away.")
        self.assertEqual(own.relation.state, 'ended')

        Membership.write([membership], {
                'applied': membership.applied - dt.timedelta(days=1)})
        again = join(self.member, self.community)
        self.assertEqual(again, own)
        self.assertEqual(
            applied(self.member, self.community), membership)
        self.accept(membership)
        self.assertEqual(own.state, 'active')
        self.assertEqual(membership.peer.state, 'active')

    @with_transaction()
    def test_states(self):
        "Test each change of state reaches the member and the directory"
        pool = Pool()
        Directory = pool.get('cooperative.community.directory')
        Membership = pool.get('cooperative.community.membership')
        self.setUpActors()
        own, membership = self.join()

        def entry():
            return Directory.last(self.community).content.participant(MEMBER)
        self.assertEqual(entry().roles, ('buyer', 'offerer'))
        with set_company(self.manager):
            Membership.suspend([membership], "Not delivered.")
        deliver(self.manager)
        self.assertEqual(own.state, 'suspended')
        self.assertEqual(own.reason, "Not delivered.")
        self.assertFalse(own.has_role())
        self.assertEqual(entry().state, 'suspended')
        with set_company(self.manager):
            Membership.reactivate([membership])
        deliver(self.manager)
        self.assertEqual(own.state, 'active')
        self.assertEqual(entry().state, 'active')
        with set_company(self.manager):
            Membership.write([membership], {'offerer': False})
        deliver(self.manager)
        self.assertFalse(own.offerer)
        self.assertEqual(entry().roles, ('buyer',))
        with set_company(self.member):
            Membership.leave([own])
        deliver(self.member)
        self.assertEqual(membership.state, 'left')
        self.assertTrue(membership.end_date)
        deliver(self.manager)
        self.assertEqual(own.state, 'left')
        self.assertIsNone(entry())

    @with_transaction()
    def test_transitions(self):
        "Test what is not allowed does not happen"
        pool = Pool()
        Membership = pool.get('cooperative.community.membership')
        self.setUpActors()
        _, membership = self.join()
        with set_company(self.manager):
            Membership.refuse([membership], "Too late.")
            Membership.accept([membership])
            self.assertEqual(membership.state, 'active')
            Membership.end([membership])
            for name in ['accept', 'reactivate', 'activate']:
                getattr(Membership, name)([membership])
            Membership.suspend([membership], "No.")
        self.assertEqual(Membership(membership.id).state, 'left')

    @with_transaction()
    def test_fee(self):
        "Test the fee is invoiced, and its payment activates the membership"
        pool = Pool()
        Directory = pool.get('cooperative.community.directory')
        Fee = pool.get('cooperative.community.fee')
        Invoice = pool.get('account.invoice')
        self.setUpActors()
        with set_company(self.manager):
            self.community.fee_product = self.setUpAccount(self.manager)
            self.community.fees = [
                Fee(start_date=dt.date(2020, 1, 1), amount=Decimal('10')),
                Fee(start_date=dt.date(2021, 1, 1), amount=Decimal('20'))]
            self.community.save()
        own, membership = self.join()

        self.assertEqual(membership.state, 'pending_payment')
        self.assertEqual(own.state, 'pending_payment')
        self.assertEqual(own.fee, Decimal('20'))
        entry = Directory.last(self.community).content.participant(MEMBER)
        self.assertEqual(entry.roles, ())
        invoice = membership.fee_invoice
        self.assertEqual(invoice.state, 'posted')
        self.assertEqual(invoice.party, membership.party)
        self.assertEqual(invoice.untaxed_amount, Decimal('20'))
        self.assertEqual(invoice.lines[0].origin, membership)
        self.assertEqual(
            [m.kind for m in sent(self.manager)], ['invoice'])

        with set_company(self.manager):
            Invoice.paid([invoice])
        deliver(self.manager)
        self.assertEqual(membership.state, 'active')
        self.assertEqual(own.state, 'active')
        self.assertTrue(own.start_date)

    @with_transaction()
    def test_log(self):
        "Test the directory names the logs of trust parties, and no others"
        pool = Pool()
        Directory = pool.get('cooperative.community.directory')
        self.setUpActors()
        _, membership = self.join()
        trust_party, = self.community.trust_parties
        for peer in [membership.peer, trust_party]:
            peer.log_key = LOG
            peer.save()
        with set_company(self.manager):
            self.community.publish([self.community])
        content = Directory.last(self.community).content
        self.assertEqual(
            [p.identifier for p in content.participants if p.log],
            [TRUST_PARTY])

    @with_transaction()
    def test_receive(self):
        "Test what is answered to applications"
        pool = Pool()
        Membership = pool.get('cooperative.community.membership')
        self.setUpActors()
        join(self.member, self.community)
        message, = sent(self.member)
        data, jws = bytes(message.data), message.signature
        identity = identity_of(self.member)
        other = identity_of(create_actor(OTHER, "Other"))

        def change(identity=identity, **values):
            statement = envelope.parse(data)
            body = statement.body
            for name in values.keys() & body.keys():
                body[name] = values.pop(name)
            header = {
                'sender': MEMBER, 'receiver': COMMUNITY,
                'id': str(uuid.uuid4()), 'created': now(), 'sequence': 1,
                'kind': 'application', **values}
            changed = envelope.Statement(body=body, **header)
            return (
                changed.to_bytes(),
                identity.sign(changed.to_bytes(), signature.APPLICATION))

        def claim(**values):
            participant = envelope.parse(data).body['participant']
            return change(participant={**participant, **values})

        charter = {'version': 2, 'digest': '0' * 64}
        for name, status, request in [
                ('bytes', 422, (b'{}', jws)),
                ('no signature', 401, (data, '')),
                ('other bytes', 401, (change()[0], jws)),
                ('other signer', 401, change(other)),
                ('type', 401, (data, identity.sign(
                        data, signature.STATEMENT))),
                ('kind', 422, change(kind='membership-end')),
                ('sender', 422, change(sender=OTHER)),
                ('addressee', 404, change(receiver=OTHER)),
                ('charter', 422, change(charter=charter)),
                ('roles', 422, change(roles=[])),
                ('unknown role', 422, change(roles=['manager'])),
                ('trust party', 422, change(relation={
                            'relation': str(uuid.uuid4()),
                            'trust_party': OTHER})),
                ('trust party itself', 422, claim(kind='trust-party')),
                ('community', 422, claim(kind='community')),
                ('log', 422, claim(log=LOG)),
                ('not a log', 422, claim(log='x+00000000+AAAA')),
                ('witness', 422, claim(witness=LOG)),
                ]:
            with self.subTest(name):
                with self.assertRaises(Problem) as cm:
                    Membership.receive(*request)
                self.assertEqual(cm.exception.status, status)
        self.assertFalse(Membership.search([
                    ('community', '=', self.community),
                    ]))

        membership, known = Membership.receive(data, jws)
        self.assertFalse(known)
        answer = membership.answer
        again, known = Membership.receive(data, jws)
        self.assertTrue(known)
        self.assertEqual(again, membership)
        self.assertEqual(again.answer, answer)
        for name, request in [
                ('same id', change(id=message.uuid)),
                ('second', change()),
                ]:
            with self.subTest(name):
                with self.assertRaises(Problem) as cm:
                    Membership.receive(*request)
                self.assertEqual(cm.exception.status, 409)

    @with_transaction()
    def test_receive_other_keys(self):
        "Test nobody applies in the place of a known peer"
        pool = Pool()
        Peer = pool.get('cooperative.edi.peer')
        self.setUpActors()
        other = identity_of(create_actor(OTHER, "Other"))
        Peer.update_from(self.manager.id, directory.Participant(
                identifier=MEMBER, name="Farm",
                keys=other.published_keys()))
        join(self.member, self.community)
        with self.assertRaises(Problem) as cm:
            applied(self.member, self.community)
        self.assertEqual(cm.exception.name, 'other-keys')

    @with_transaction()
    def test_access(self):
        "Test a member does not see what managers do, nor nobody anything"
        pool = Pool()
        Community = pool.get('cooperative.community')
        Membership = pool.get('cooperative.community.membership')
        ModelData = pool.get('ir.model.data')
        User = pool.get('res.user')
        self.setUpActors()
        own, membership = self.join()

        def see(Model, group=None):
            user = User(
                name="User", login=str(uuid.uuid4()),
                companies=[self.manager, self.member], company=self.member,
                company_filter='all',
                groups=[ModelData.get_id('cooperative_community', group)]
                if group else [])
            user.save()
            with Transaction().set_user(user.id):
                context = User.get_preferences(context_only=True)
                with Transaction().set_context(context), check_access():
                    return Model.search([])
        for Model, record, managed in [
                (Community, own.community, self.community),
                (Membership, own, membership)]:
            with self.subTest(Model.__name__):
                self.assertEqual(see(Model, 'group_member'), [record])
                self.assertEqual(see(Model, 'group_manager'), [managed])
                with self.assertRaises(AccessError):
                    see(Model)

    @with_transaction()
    def test_directory_at_once(self):
        "Test a person and the courier take the same directory at once"
        pool = Pool()
        Directory = pool.get('cooperative.community.directory')
        self.setUpActors()
        own, _ = self.join()
        joined = own.community
        response = Response(Directory.last(self.community))

        name = 'cooperative_community.directory.hold'
        with unittest.mock.patch(name) as holding:
            def courier_first(record):
                with unittest.mock.patch(name, hold):
                    Directory.synchronise(joined, response)
                return hold(record)
            holding.side_effect = courier_first
            Directory.synchronise(joined, response)
        holding.assert_called_once()
        self.assertEqual(
            len(Directory.search([('community', '=', joined.id)])), 1)

    @with_transaction()
    def test_directory(self):
        "Test the members take only the directory that follows"
        pool = Pool()
        Directory = pool.get('cooperative.community.directory')
        Message = pool.get('cooperative.edi.message')
        Participant = pool.get('cooperative.community.participant')
        Membership = pool.get('cooperative.community.membership')
        self.setUpActors()
        own, membership = self.join()
        joined = own.community
        first = Directory.last(self.community)
        self.assertEqual(Directory.publish(self.community), first)
        self.assertEqual(
            [r.trust_party.identifier for r in first.records],
            [TRUST_PARTY])
        Directory.synchronise(joined, Response(first))
        self.assertFalse(joined.alarm)
        self.assertFalse(joined.to_synchronise)
        self.assertEqual(
            {p.peer.identifier for p in joined.participants},
            {COMMUNITY, TRUST_PARTY})

        other = create_actor(OTHER, "Other")
        self.join(other)
        second = Directory.last(self.community)
        self.assertEqual(second.content.previous, first.digest)
        Directory.synchronise(joined, Response(second))
        peer, = [p.peer for p in joined.participants
            if p.peer.identifier == OTHER]
        self.assertEqual(peer.public_keys().keys(),
            identity_of(other).public_keys().keys())
        self.assertTrue(
            Participant.find(joined.peer, peer, 'offerer'))
        descriptors, directories = Message._evidence_sources(self.member)
        self.assertEqual([d.key for d in descriptors], [COMMUNITY])
        self.assertEqual(
            [d.key for d in directories], [(COMMUNITY, 2), (COMMUNITY, 1)])

        tampered = Response(second)
        tampered.data = tampered.data.replace(b'Other', b'0ther')
        for response in [Response(first), tampered, Response(first, 500)]:
            with self.assertRaises(DirectoryRefusedError):
                Directory.synchronise(joined, response)

        with set_company(self.manager):
            Membership.suspend(
                Membership.search([('peer.identifier', '=', OTHER),
                        ('community', '=', self.community)]), "Reason")
        Directory.synchronise(
            joined, Response(Directory.last(self.community)))
        self.assertEqual(peer.state, 'suspended')
        self.assertFalse(Participant.find(joined.peer, peer, 'offerer'))

        with set_company(self.manager):
            Membership.end(
                Membership.search([('peer.identifier', '=', OTHER),
                        ('community', '=', self.community)]))
        Directory.synchronise(
            joined, Response(Directory.last(self.community)))
        self.assertEqual(peer.state, 'removed')

    @with_transaction()
    def test_route_lost(self):
        "Test members see when a community leaves a trust party"
        pool = Pool()
        Community = pool.get('cooperative.community')
        Directory = pool.get('cooperative.community.directory')
        Relation = pool.get('cooperative.edi.relation')
        Waiting = pool.get('cooperative.edi.waiting')
        self.setUpActors()
        own, membership = self.join()
        joined = own.community
        Directory.synchronise(
            joined, Response(Directory.last(self.community)))
        trust_party, = [p.peer for p in joined.participants
            if p.peer.identifier == TRUST_PARTY]
        within, outside = Relation.create([{
                    'uuid': Relation.default_uuid(),
                    'company': self.member.id,
                    'peer': joined.peer.id,
                    'community': community,
                    'trust_party': trust_party.id,
                    'state': 'agreed',
                    } for community in [joined.peer.id, None]])

        def lost():
            found = Relation.search([
                    ('route_lost', '=', True),
                    ('company', '=', self.member.id),
                    ('state', '=', 'agreed'),
                    ])
            self.assertTrue(all(r.route_lost for r in found))
            return {within, outside} & set(found)
        self.assertEqual(lost(), set())

        self.community.trust_parties = []
        self.community.save()
        with set_company(self.manager):
            Community.publish([self.community])
        Directory.synchronise(
            joined, Response(Directory.last(self.community)))
        self.assertEqual(lost(), {within, outside})
        self.assertIn(('change_route', within), [
                (w.task, w.record) for w in Waiting.search([])])
        # Another community still works with it
        trust_party.state = 'active'
        trust_party.save()
        self.assertEqual(lost(), {within})
        Relation.write([within], {'state': 'ended'})
        self.assertEqual(lost(), set())

    @with_transaction()
    def test_directory_keys(self):
        "Test a community cannot give its members keys"
        pool = Pool()
        Directory = pool.get('cooperative.community.directory')
        self.setUpActors()
        own, membership = self.join()
        other = create_actor(OTHER, "Other")
        self.join(other)
        joined = own.community
        Directory.synchronise(
            joined, Response(Directory.last(self.community)))

        last = Directory.last(self.community).content
        keys = identity_of(self.trust_party).published_keys()
        for identifier, count in [(MEMBER, 1), (OTHER, 2)]:
            with self.subTest(identifier):
                last = directory.Directory(
                    community=COMMUNITY, version=last.version + 1,
                    previous=last.digest, created=now(),
                    expires=now() + dt.timedelta(days=1),
                    participants=tuple(
                        p if p.identifier != identifier
                        else directory.Participant(
                            identifier=p.identifier, name=p.name, keys=keys)
                        for p in last.participants))
                forged = Directory._store(
                    joined, last, identity_of(self.manager).sign(
                        last.to_bytes(), signature.DIRECTORY))
                Directory.synchronise(joined, Response(forged))
                self.assertEqual(len(joined.alarm.splitlines()), count)
        alarms = self.alarms()
        self.assertEqual(
            [(a.kind, a.peer.identifier, a.state) for a in alarms], [
                ('entry', COMMUNITY, 'open'), ('keys', OTHER, 'open')])
        for alarm in alarms:
            (_, new), (_, jws), (_, old), _ = [
                (e.name, bytes(e.data)) for e in alarm.evidence]
            signature.verify(
                new, jws.decode(), signature.DIRECTORY,
                identity_of(self.manager).public_keys())
            self.assertIn(
                old, [bytes(d.data) for d in joined.directories])
        # The same again is told once
        Directory.synchronise(joined, Response(forged))
        self.assertEqual(len(self.alarms()), 2)

    def alarms(self):
        Alarm = Pool().get('cooperative.edi.alarm')
        return Alarm.search([], order=[('id', 'ASC')])

    def publish(self, joined, last, participants=None, **values):
        "Return what the manager answers with a directory after the last"
        pool = Pool()
        Directory = pool.get('cooperative.community.directory')
        content = directory.Directory(**{
                'community': COMMUNITY, 'version': last.version + 1,
                'previous': last.digest, 'created': now(),
                'expires': now() + dt.timedelta(days=20),
                'participants': participants or last.participants,
                **values})
        return Response(Directory._store(
                joined, content, identity_of(self.manager).sign(
                    content.to_bytes(), signature.DIRECTORY)))

    @with_transaction()
    def test_directory_alarm_at_once(self):
        "Test who synchronises by hand raises the alarm beside the error"
        pool = Pool()
        Community = pool.get('cooperative.community')
        Directory = pool.get('cooperative.community.directory')
        self.setUpActors()
        own, _ = self.join()
        joined = own.community
        first = Directory.last(self.community).content
        Directory.synchronise(joined, Response(Directory.last(
                    self.community)))
        contradictory = self.publish(
            joined, first, version=first.version, previous=first.previous)

        with unittest.mock.patch(
                'cooperative_community.directory.transact',
                lambda database, function, *args: function(*args)), \
                unittest.mock.patch.object(
                    Directory, 'fetch', return_value=contradictory):
            with self.assertRaises(DirectoryRefusedError):
                Community.synchronise([joined])
        # What is written now is rolled back with the error
        self.assertEqual(self.alarms(), [])
        function, args, kwargs = Transaction()._atexit.pop()
        function(*args, **kwargs)
        alarm, = self.alarms()
        self.assertEqual((alarm.kind, alarm.state), ('directory', 'open'))

    @with_transaction()
    def test_directory_own_entry(self):
        "Test a member that the directory does not have any more"
        pool = Pool()
        Directory = pool.get('cooperative.community.directory')
        self.setUpActors()
        own, membership = self.join()
        joined = own.community
        Directory.synchronise(
            joined, Response(Directory.last(self.community)))
        self.assertFalse(self.alarms())
        last = Directory.last(joined).content
        without = tuple(
            p for p in last.participants if p.identifier != MEMBER)
        Directory.synchronise(joined, self.publish(joined, last, without))
        alarm, = self.alarms()
        self.assertEqual((alarm.kind, alarm.state), ('entry', 'open'))
        again = self.publish(
            joined, Directory.last(joined).content, last.participants)
        Directory.synchronise(joined, again)
        self.assertEqual(alarm.state, 'settled')
        Directory.synchronise(joined, self.publish(
                joined, Directory.last(joined).content, without))
        _, alarm = self.alarms()
        self.assertEqual(alarm.state, 'open')
        # The notice of the end arrives
        own.state = 'left'
        own.save()
        Directory.synchronise(joined, Response(Directory.last(joined), 304))
        self.assertEqual(alarm.state, 'settled')

    @with_transaction()
    def test_directory_contradiction(self):
        "Test directories that cannot follow are refused, and kept"
        pool = Pool()
        Directory = pool.get('cooperative.community.directory')
        self.setUpActors()
        own, membership = self.join()
        joined = own.community
        first = Response(Directory.last(self.community))
        Directory.synchronise(joined, first)
        content = Directory.last(joined).content
        Directory.synchronise(joined, self.publish(joined, content))
        known = Directory.last(joined)
        other = self.publish(
            joined, content, expires=now() + dt.timedelta(days=19))
        skipping = self.publish(joined, known.content, previous='0' * 64)
        stolen = self.publish(joined, known.content)
        stolen.headers = {k: v[:-6] + 'AAAAAA'
            for k, v in stolen.headers.items()}
        for count, (response, kind) in enumerate([
                (first, 'directory'), (other, 'directory'),
                (skipping, 'directory'), (stolen, None)], 1):
            for _ in range(2):
                with self.assertRaises(DirectoryRefusedError) as context:
                    Directory.synchronise(joined, response)
                Directory.alarm(joined, context.exception)
            self.assertEqual(Directory.last(joined), known)
            alarms = self.alarms()
            if not kind:
                self.assertEqual(len(alarms), count - 1)
                continue
            self.assertEqual([a.kind for a in alarms], [kind] * count)
            files = [bytes(e.data) for e in alarms[-1].evidence]
            self.assertEqual(files[0], bytes(known.data))
            self.assertEqual(files[2], response.data)

    @with_transaction()
    def test_directory_late(self):
        "Test a directory that expires, or that no log has"
        pool = Pool()
        Directory = pool.get('cooperative.community.directory')
        self.setUpActors()
        own, membership = self.join()
        joined = own.community
        Directory.synchronise(
            joined, Response(Directory.last(self.community)))
        last = Directory.last(joined)
        error = DirectoryRefusedError("It does not answer.")
        Directory.alarm(joined, error)
        self.assertFalse(self.alarms())
        for delay, kinds in [
                # A clock may be wrong by an hour
                (dt.timedelta(hours=1), []),
                (dt.timedelta(hours=25), ['unlogged']),
                (dt.timedelta(days=31), ['unlogged', 'stale'])]:
            with unittest.mock.patch(
                    'cooperative_community.directory.now',
                    lambda: now() + delay):
                try:
                    Directory.synchronise(joined, Response(last, 304))
                except DirectoryRefusedError as exception:
                    Directory.alarm(joined, exception)
                Directory.alarm(joined, error)
            self.assertEqual([a.kind for a in self.alarms()], kinds)
        Directory.synchronise(joined, Response(last, 304))
        self.assertEqual(
            [a.state for a in self.alarms()], ['open', 'settled'])

    @with_transaction()
    def test_directory_replaced_key(self):
        "Test the key that a member announces is in the next directory"
        pool = Pool()
        Directory = pool.get('cooperative.community.directory')
        self.setUpActors()
        own, membership = self.join()
        joined = own.community
        old = set(identity_of(self.member).public_keys())
        with set_company(self.member):
            identity_of(self.member).roll_over()
        new = set(identity_of(self.member).public_keys()) - old
        self.assertEqual(len(new), 1)
        deliver(self.member, to=COMMUNITY)
        last = Directory.last(self.community)
        self.assertEqual(set(last.content.keys(MEMBER)), old | new)
        Directory.synchronise(joined, Response(last))
        self.assertFalse(joined.alarm)

    @with_transaction()
    def test_directory_expired(self):
        "Test an expired directory is refused and renewed"
        pool = Pool()
        Community = pool.get('cooperative.community')
        Directory = pool.get('cooperative.community.directory')
        self.setUpActors()
        own, membership = self.join()
        last = Directory.last(self.community)
        last.expires = dt.datetime.now() + dt.timedelta(days=10)
        last.save()
        Community.publish_due()
        self.assertEqual(
            Directory.last(self.community).version, last.version + 1)
        Directory.synchronise(own.community, Response(last))
        known = Directory.last(own.community)
        known.expires = dt.datetime(2020, 1, 1)
        known.save()
        with self.assertRaises(DirectoryRefusedError):
            Directory.synchronise(own.community, Response(known, 304))

    @with_transaction()
    def test_commission(self):
        "Test commissions are computed, once, and invoiced"
        pool = Pool()
        Commission = pool.get('cooperative.community.commission')
        Rate = pool.get('cooperative.community.rate')
        Statement = pool.get('cooperative.community.statement')
        self.setUpActors()
        _, membership = self.join()
        with set_company(self.manager):
            self.community.commission_product = self.setUpAccount(
                self.manager)
            self.community.rates = [
                Rate(start_date=dt.date(2026, 1, 1), rate=Decimal('.05')),
                Rate(start_date=dt.date(2026, 7, 1), rate=Decimal('.04'))]
            self.community.save()

        def line(index, date, untaxed, kind='invoice', seller=MEMBER):
            return commission.CommissionLine(
                message=str(uuid.UUID(int=index)), kind=kind,
                number=str(index), date=date, seller=seller, buyer=OTHER,
                relation=str(uuid.UUID(int=1)), currency='EUR',
                untaxed=untaxed, total=untaxed, digest='0' * 64,
                index=index)
        content = commission.CommissionStatement(
            community=COMMUNITY, trust_party=TRUST_PARTY, created=now(),
            after=0, lines=(
                line(1, dt.date(2026, 6, 30), '100.10'),
                line(2, dt.date(2026, 7, 1), '100.00'),
                line(3, dt.date(2026, 7, 2), '50.00', 'credit_note'),
                line(4, dt.date(2026, 7, 2), '50.00', seller=OTHER),
                line(5, dt.date(2025, 7, 2), '50.00')))
        trust_party = self.community.trust_parties[0]
        data = content.to_bytes()
        jws = identity_of(self.trust_party).sign(data, signature.COMMISSION)
        with set_company(self.manager):
            with self.assertRaises(Rejected):
                Statement._open(self.community, trust_party, 1, data, jws)
            for _ in range(2):
                Statement.add([Statement._open(
                            self.community, trust_party, 0, data, jws)])
            self.assertEqual(
                Statement._next_index(self.community, trust_party), 6)
            commissions = Commission.search([], order=[('index', 'ASC')])
            self.assertEqual(
                [(c.base, c.rate, c.amount) for c in commissions], [
                    (Decimal('100.10'), Decimal('.05'), Decimal('5.00')),
                    (Decimal('100.00'), Decimal('.04'), Decimal('4.00')),
                    (Decimal('-50.00'), Decimal('.04'), Decimal('-2.00')),
                    (Decimal('50.00'), Decimal(0), Decimal('0.00'))])
            invoice, = Commission.create_invoices(
                Commission.to_invoice(self.community))
            self.assertEqual(invoice.party, membership.party)
            self.assertEqual(invoice.untaxed_amount, Decimal('7.00'))
            self.assertEqual(
                {l.origin for l in invoice.lines}, set(commissions[:3]))
            self.assertFalse(Commission.to_invoice(self.community))
            self.assertEqual(commissions[0].invoice, invoice)

    @with_transaction()
    def test_tells_total(self):
        "Test sealed invoices tell their total for a commission only"
        pool = Pool()
        Rate = pool.get('cooperative.community.rate')
        Relation = pool.get('cooperative.edi.relation')
        self.setUpActors()
        own, _ = self.join()
        community = own.community
        with set_company(self.member):
            relation = Relation(
                company=self.member, peer=community.peer,
                community=community.peer,
                trust_party=community.trust_parties[0])
            for rate, told in [
                    (None, False), ('0', False), ('0.05', True)]:
                community.rates = [Rate(rate=Decimal(rate))] if rate else []
                community.save()
                self.assertEqual(relation.tells_total, told, rate)
            relation.trust_party = None
            self.assertFalse(relation.tells_total)
            relation.trust_party = community.trust_parties[0]
            relation.community = None
            self.assertFalse(relation.tells_total)


del ModuleTestCase
