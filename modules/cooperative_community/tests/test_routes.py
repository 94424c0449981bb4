# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
import base64
import dataclasses
import datetime as dt
import json
from unittest.mock import patch

from trytond.modules.company.tests import set_company
from trytond.modules.currency.tests import create_currency
from trytond.pool import Pool
from trytond.tests.test_tryton import RouteTestCase
from trytond.transaction import Transaction

from cooperative_community import directory
from cooperative_community import join as join_
from cooperative_community import routes
from cooperative_community.exceptions import (
    CharterNotAcceptedError, DescriptorChangedError, NotComparedError,
    RoleMissingError)
from cooperative_edi import client
from cooperative_edi.client import Response
from cooperative_edi.identity import now
from cooperative_edi.peer import naive
from cooperative_edi.transaction import transact
from trycoton.protocol import canonical, entry, merkle, note, signature
from trycoton.protocol.checkpoint import Checkpoint
from trycoton.protocol.descriptor import Descriptor
from trycoton.protocol.directory import Directory
from trycoton.protocol.proof import Proof
from trycoton.protocol.receipt import Receipt

from .tools import (
    COMMUNITY, MEMBER, OTHER, TRUST_PARTY, accept_trust_party, configure,
    create_actor, create_community, identity_of, join, sent)

HEADER = signature.SIGNATURE_HEADER


class CooperativeCommunityRouteTestCase(RouteTestCase):
    "Test Cooperative Community routes"
    module = 'cooperative_community'

    @classmethod
    def setUpClass(cls):
        configure()
        super().setUpClass()

    @classmethod
    def setUpDatabase(cls):
        currency = create_currency('EUR')
        manager = create_actor(
            COMMUNITY, "Community", 'community', currency)
        member = create_actor(MEMBER, "Farm", currency=currency)
        community = create_community(manager)
        join(member, community)
        message, = sent(member)
        cls.application = bytes(message.data), message.signature
        cls.keys = identity_of(manager).public_keys()
        with set_company(manager):
            type(community).publish([community])
        cls.community = community.id

    def setUp(self):
        super().setUp()
        routes._applications.clear()

    def path(self, name):
        return f'/{self.db_name}/cooperative/community/{name}'

    def apply(self, data, jws):
        return self.client().post(
            self.path('applications'), data=data, headers={HEADER: jws})

    def test_descriptor(self):
        "Test the descriptor is signed by its own key"
        response = self.client().get(self.path('descriptor'))
        self.assertEqual(response.status_code, 200)
        descriptor = Descriptor.open(
            response.data, response.headers[HEADER])
        self.assertEqual(descriptor.identifier, COMMUNITY)
        self.assertEqual(descriptor.charter.text, "Be honest.\nBe kind.")

    def test_directory(self):
        "Test the directory is signed, and sent only when it is new"
        response = self.client().get(self.path('directory'))
        self.assertEqual(response.status_code, 200)
        signature.verify(
            response.data, response.headers[HEADER], signature.DIRECTORY,
            self.keys)
        directory = Directory.parse(response.data)
        self.assertEqual(
            [(p.identifier, p.roles) for p in directory.participants],
            [(COMMUNITY, ('manager',))])
        again = self.client().get(
            self.path('directory'),
            headers={'If-None-Match': response.headers['ETag']})
        self.assertEqual(again.status_code, 304)
        self.assertFalse(again.data)

    def test_push(self):
        "Test the trust party proves that it logged the directory"
        pool = Pool(self.db_name)
        Directory = pool.get('cooperative.community.directory')
        Record = pool.get('cooperative.community.directory.record')
        log = note.NoteSigner(
            'example.org/log', signature.SigningKey.generate())
        Community = pool.get('cooperative.community')

        def publish():
            community = Community(self.community)
            with set_company(community.company):
                trust_party = create_actor(
                    TRUST_PARTY, "Trust Party", 'trust-party',
                    community.currency)
                peer = accept_trust_party(community.company, trust_party)
                peer.log_key = log.vkey
                peer.save()
                community.trust_parties = [peer]
                community.save()
                Community.publish([community])
            record, = Record.search([])
            return (record, record.directory.signature,
                entry.directory_entry(record.directory.digest))
        record, jws, entry_ = transact(self.db_name, publish)

        def answer(leaf):
            checkpoint = Checkpoint(
                'example.org/log', 1, merkle.root([merkle.leaf_hash(leaf)]))
            proof = Proof(0, (), checkpoint.sign(log))
            return Response(200, {}, canonical.dump({
                        'record': {'proof': proof.to_bytes().decode()}}))
        with patch.object(directory.courier, 'call') as call:
            for result, error in [
                    (client.ClientError('http://t', "refused"), "refused"),
                    (Response(202, {}, b'{"record":null}'), "no proof"),
                    (answer(entry.directory_entry('0' * 64)), "no proof"),
                    ]:
                with self.subTest(error), \
                        Transaction().start(self.db_name, 1) as transaction:
                    Record.write([record], {'next_attempt': naive(now())})
                    transaction.commit()
                call.side_effect = [result]
                directory.push_due(self.db_name)
                with Transaction().start(self.db_name, 0, readonly=True):
                    self.assertIn(error, Record(record.id).error)
                    self.assertGreater(Record.next_due(), 0)
            with Transaction().start(self.db_name, 1) as transaction:
                Record.write([record], {'next_attempt': naive(now())})
                transaction.commit()
            call.side_effect = [answer(entry_)]
            directory.push_due(self.db_name)
            args = call.call_args.args
            self.assertEqual(args[2:4], ('POST', '/trust/directories'))
            self.assertEqual(args[5][HEADER], jws)
            directory.push_due(self.db_name)
            self.assertEqual(call.call_count, 4)
        with Transaction().start(self.db_name, 0, readonly=True):
            self.assertIsNone(Record.next_due())
            self.assertTrue(Directory.last(self.community).evidence.proof)
        response = self.client().get(self.path('directory'))
        record = json.loads(
            base64.b64decode(response.headers['TryCoTon-Record']))
        self.assertEqual(record.keys(), {'proof'})

    def test_synchronise_due(self):
        "Test the courier synchronises what a decision or a key asks for"
        pool = Pool(self.db_name)
        with Transaction().start(self.db_name, 1):
            Community = pool.get('cooperative.community')
            joined, = Community.search([
                    ('role', '=', 'member'),
                    ('company.party.name', '=', "Farm"),
                    ])
        with patch.object(directory.client, 'get', side_effect=self.get):
            # Somebody whom the last known directory does not list
            data = b'unknown'
            response = self.client().post(
                f'/{self.db_name}/cooperative/edi/messages', data=data,
                headers={HEADER: signature.sign(
                        data, signature.ENVELOPE,
                        signature.SigningKey.generate())})
            self.assertEqual(
                json.loads(response.data)['type'].rsplit('/', 1)[-1],
                'unknown-key')
            directory.exchange(self.db_name)
        with Transaction().start(self.db_name, 0, readonly=True):
            joined = Community(joined.id)
            self.assertTrue(joined.synchronised)
            self.assertFalse(joined.to_synchronise)
            self.assertIn(
                COMMUNITY, [p.peer.identifier for p in joined.participants])

    def test_synchronise_refused(self):
        "Test a directory that is refused leaves its alarm"
        pool = Pool(self.db_name)

        def forge():
            Community = pool.get('cooperative.community')
            community = Community(self.community)
            last = community.directories[0].content
            forged = dataclasses.replace(
                last, expires=last.expires + dt.timedelta(days=1))
            jws = identity_of(community.company).sign(
                forged.to_bytes(), signature.DIRECTORY)
            return Response(200, {HEADER: jws}, forged.to_bytes())

        def alarms():
            Alarm = pool.get('cooperative.edi.alarm')
            return [(a.kind, a.company.party.name) for a in Alarm.search([])]
        with patch.object(directory.client, 'get', side_effect=self.get):
            transact(self.db_name, directory._synchronise_all)
            directory.exchange(self.db_name)
        self.assertEqual(transact(self.db_name, alarms), [])
        with patch.object(
                directory.client, 'get',
                return_value=transact(self.db_name, forge)):
            for _ in range(2):
                transact(self.db_name, directory._synchronise_all)
                directory.exchange(self.db_name)
        found = transact(self.db_name, alarms)
        self.assertIn(('directory', "Farm"), found)
        # Other companies of the database joined as well
        self.assertEqual(len(found), len(set(found)))
        self.assertEqual({kind for kind, _ in found}, {'directory'})

    def get(self, url, headers=None):
        "Answer the client by the routes"
        name = url.rpartition('/')[-1]
        response = self.client().get(self.path(name), headers=headers)
        return Response(
            response.status_code, response.headers, response.data)

    def test_join(self):
        "Test the wizard shows what is compared and accepted, then applies"
        pool = Pool(self.db_name)
        descriptor = self.get('descriptor')
        with Transaction().start(self.db_name, 1), \
                patch.object(join_.client, 'get', return_value=descriptor):
            Message = pool.get('cooperative.edi.message')
            Join = pool.get('cooperative.community.join', type='wizard')
            company = create_actor(
                OTHER, "Other", currency=create_currency('USD'))
            with set_company(company):
                session_id, _, _ = Join.create()
                wizard = Join(session_id)
                wizard.start.url = 'http://127.0.0.1/db/cooperative'
                values = wizard.default_compare([])
                self.assertEqual(values['identifier'], COMMUNITY)
                for name, value in values.items():
                    setattr(wizard.compare, name, value)
                values = wizard.default_roles([])
                self.assertEqual(values['charter'], "Be honest.\nBe kind.")
                for name, value in values.items():
                    setattr(wizard.roles, name, value)
                wizard.compare.compared = False
                wizard.roles.accepted = False
                wizard.roles.offerer = wizard.roles.buyer = False
                with self.assertRaises(NotComparedError):
                    wizard.do_apply({})
                wizard.compare.compared = True
                with self.assertRaises(CharterNotAcceptedError):
                    wizard.do_apply({})
                wizard.roles.accepted = True
                with self.assertRaises(RoleMissingError):
                    wizard.do_apply({})
                wizard.roles.buyer = True
                wizard.roles.charter_version = 0
                with self.assertRaises(DescriptorChangedError):
                    wizard.do_apply({})
                wizard.roles.charter_version = 1
                _, data = wizard.do_apply({})
                message, = Message.search([('company', '=', company)])
                self.assertEqual(message.origin.id, data['res_id'][0])
                self.assertTrue(
                    message.url.endswith('/community/applications'))
                wizard.compare.fingerprint = '0000'
                with self.assertRaises(DescriptorChangedError):
                    wizard.do_apply({})

    def test_application(self):
        "Test an application is answered by a receipt, the same each time"
        data, jws = self.application
        response = self.apply(data, jws)
        self.assertEqual(response.status_code, 201)
        answer = json.loads(response.data)
        receipt = answer['receipt'].encode()
        signature.verify(
            receipt, answer['signature'], signature.RECEIPT, self.keys)
        self.assertEqual(Receipt.parse(receipt).receiver, COMMUNITY)
        again = self.apply(data, jws)
        self.assertEqual(again.status_code, 200)
        self.assertEqual(again.data, response.data)
        with Transaction().start(self.db_name, 0, readonly=True):
            pool = Pool(self.db_name)
            Membership = pool.get('cooperative.community.membership')
            membership, = Membership.search([
                    ('community', '=', self.community)])
            self.assertEqual(membership.identifier, MEMBER)
            self.assertEqual(membership.state, 'applicant')

    def test_application_refused(self):
        "Test what is refused says why and stores nothing"
        data, jws = self.application
        for name, status, request in [
                ('no signature', 401, (data, '')),
                ('other bytes', 401, (
                        data.replace(b'Farm', b'Firm'), jws)),
                ('not canonical', 422, (data + b'\n', jws)),
                ('large', 413, (b' ' * (64 * 1024 + 1), jws)),
                ]:
            with self.subTest(name):
                response = self.apply(*request)
                self.assertEqual(response.status_code, status)
                self.assertEqual(
                    response.headers['Content-Type'],
                    'application/problem+json')
                self.assertEqual(
                    json.loads(response.data)['status'], status)

    def test_application_rate(self):
        "Test an address cannot apply without end"
        with patch.object(routes, 'MAX_RATE', 2):
            for status in [422, 422, 429]:
                response = self.apply(b'{}', '')
                self.assertEqual(response.status_code, status)
        self.assertEqual(response.headers['Retry-After'], '60')


del RouteTestCase
