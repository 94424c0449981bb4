# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"A trust party that tells two stories, against two members who trade"
import dataclasses
import datetime as dt
import os
import sqlite3
import tempfile
import unittest
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from unittest.mock import patch
from urllib.parse import urlsplit

import trytond.config as config
from trytond import backend
from trytond.cache import Cache
from trytond.modules.company.tests import create_company
from trytond.pool import Pool
from trytond.protocols.wrappers import HTTPStatus, Response
from trytond.tests.test_tryton import DB_NAME, Client, activate_module, drop_db
from trytond.transaction import Transaction
from trytond.wsgi import app

from cooperative_edi import client, courier, monitor
from cooperative_edi.transaction import transact
from trycoton.protocol import signature
from trycoton.protocol.contradiction import Contradiction
from trycoton.protocol.note import Verifier

from .tools import (
    BUYER, COMMUNITY, SELLER, TRUST, Community, create_trust_party, set_key)

# The members, and by which copy each of them goes
MEMBERS = {'anne': BUYER, 'bruno': SELLER}
COPIES = {'anne': 'one', 'bruno': 'two'}


@unittest.skipIf(backend.name != 'sqlite', "copies files of SQLite")
class SplitViewTestCase(unittest.TestCase):
    "Two copies of a trust party, with the same key and one different leaf"

    def setUp(self):
        super().setUp()
        set_key()
        drop_db()
        activate_module('cooperative_trust')
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.addCleanup(
            config.set, 'database', 'path', config.get('database', 'path'))
        config.set('database', 'path', self.folder)
        with Transaction().start(DB_NAME, 0) as transaction:
            for name in ['one', *MEMBERS]:
                self.copy(transaction.connection, name)
        self.start('one', *MEMBERS)
        self.executor = ThreadPoolExecutor(1)
        self.addCleanup(self.executor.shutdown)
        for args in [
                (client, 'request', self.request),
                (monitor, 'SOON', dt.timedelta())]:
            patcher = patch.object(*args)
            patcher.start()
            self.addCleanup(patcher.stop)
        self.receipts = []
        self.vkey = self.do('one', lambda: create_trust_party().vkey)
        self.companies = {
            name: self.do(name, self.create_member, name)
            for name in MEMBERS}
        self.community = Community(COMMUNITY)
        self.entries = {
            name: self.do(name, self.entry) for name in MEMBERS}
        self.publish(['one'])

    def copy(self, source, name):
        target = sqlite3.connect(
            os.path.join(self.folder, f'{name}.sqlite'))
        source.backup(target)
        target.close()

    def start(self, *names):
        backend.Database.clear_cache()
        for name in names:
            with Transaction().start(name, 0, readonly=True):
                Pool(name).init()
            self.addCleanup(Pool.stop, name)
            self.addCleanup(Cache.drop, name)

    def do(self, name, function, *args):
        context = {}
        if name in getattr(self, 'companies', {}):
            context['company'] = self.companies[name]
        return transact(name, function, *args, context=context)

    def create_member(self, name):
        pool = Pool()
        Identity = pool.get('cooperative.edi.identity')
        company = create_company(name=name)
        identity = Identity(company=company, identifier=MEMBERS[name])
        identity.save()
        with Transaction().set_context(company=company.id):
            identity.generate_keys()
        return company.id

    def entry(self):
        Identity = Pool().get('cooperative.edi.identity')
        return dataclasses.replace(
            Identity.get().participant(), trust_parties=(TRUST,))

    def trust_party(self):
        Identity = Pool().get('cooperative.edi.identity')
        identity, = Identity.search([])
        with Transaction().set_context(company=identity.company.id):
            return identity.participant(['trust-party'])

    def publish(self, copies, **values):
        directory = self.community.directory(*[
                dataclasses.replace(e, **values)
                for e in self.entries.values()])
        for name in copies:
            data = directory.to_bytes()
            response = self.executor.submit(
                Client(app, Response).post,
                f'/{name}/cooperative/trust/directories', data=data,
                headers=self.community.sign(
                    data, signature.DIRECTORY)).result()
            self.assertEqual(response.status_code, HTTPStatus.OK)

    def fork(self):
        "Copy the trust party, and give the copies a different leaf"
        source = sqlite3.connect(os.path.join(self.folder, 'one.sqlite'))
        self.copy(source, 'two')
        source.close()
        self.start('two')
        version, previous = self.community.version, self.community.previous
        self.publish(['one'])
        self.community.version, self.community.previous = version, previous
        self.publish(['two'], name="Somebody Else")

    def grow(self, copies):
        "Have the copies take in what has nothing to do with the members"
        for _ in range(10):
            # Versions may be skipped, so it follows those of both
            self.community.version += 1
            self.publish(copies)

    def meet(self, copies):
        "Have the members know each other, and the copy that each is shown"
        entry = self.do('one', self.trust_party)

        def meet(name):
            Peer = Pool().get('cooperative.edi.peer')
            company = self.companies[name]
            for other in MEMBERS:
                if other != name:
                    Peer.update_from(company, self.entries[other])
            peer = Peer.update_from(company, dataclasses.replace(
                    entry, endpoint=(
                        f'https://{copies[name]}.example/{copies[name]}'
                        '/cooperative')))
            peer.accepted = True
            peer.save()
        for name in MEMBERS:
            self.do(name, meet, name)

    def request(self, method, url, data=None, headers=None):
        "Call the application as another process would"
        path = urlsplit(url).path
        if path.endswith('/receipt'):
            self.receipts.append((path.split('/')[-2], data))
        response = self.executor.submit(
            Client(app, Response).open, path, method=method, data=data,
            headers=headers).result()
        return client.Response(
            response.status_code, response.headers, response.data)

    @contextmanager
    def forging(self, name, other):
        """Have the operator carry what the member says to the copy that the
        other member is shown, so that they can trade"""
        self.receipts.clear()
        yield
        known = self.do(other, self.outbox, None)
        for uuid, data, jws in self.do(name, self.outbox, None):
            if uuid not in [k[0] for k in known]:
                response = self.executor.submit(
                    Client(app, Response).post,
                    f'/{other}/cooperative/edi/messages', data=data,
                    headers={signature.SIGNATURE_HEADER: jws}).result()
                self.assertEqual(
                    response.status_code, HTTPStatus.CREATED, response.data)
        for uuid, data in self.receipts:
            self.do(other, self.acknowledge, uuid, data)
            self.settle(other)

    def outbox(self, recipient):
        Message = Pool().get('cooperative.edi.message')
        return [
            (m.uuid, bytes(m.data), m.signature)
            for m in Message.search([
                    ('direction', '=', 'out'),
                    ('relays', '!=', None),
                    ], order=[('id', 'ASC')])]

    def acknowledge(self, uuid, data):
        Message = Pool().get('cooperative.edi.message')
        for message in Message.search([
                    ('direction', '=', 'out'), ('uuid', '=', uuid)]):
            Message.fetched(message.peer, uuid, data)

    def settle(self, name):
        Pool(name).get('cooperative.trust.log').sweep(name)

    def exchange(self, name, copies):
        "Have the courier of the member work, and the operator after it"
        def ask_again():
            Message = Pool().get('cooperative.edi.message')
            Peer = Pool().get('cooperative.edi.peer')
            Message.write(Message.search([('proof_at', '!=', None)]), {
                    'proof_at': dt.datetime(2026, 1, 1)})
            Peer.write(Peer.search([('kind', '=', 'trust-party')]), {
                    'monitor_at': None, 'silent_until': None})
        self.do(name, ask_again)
        courier.exchange(name)
        self.settle(copies[name])

    def trade(self, copies):
        "Have the two agree on a relation, by the trust party as shown"
        def turn(name):
            other, = set(MEMBERS) - {name}
            if copies[name] == copies[other]:
                self.exchange(name, copies)
            else:
                with self.forging(copies[name], copies[other]):
                    self.exchange(name, copies)

        def propose():
            pool = Pool()
            Peer = pool.get('cooperative.edi.peer')
            Relation = pool.get('cooperative.edi.relation')
            company = Transaction().context['company']
            relation = Relation(
                company=company, peer=Peer.get(company, SELLER),
                trust_party=Peer.get(company, TRUST))
            relation.save()
            Relation.propose([relation])

        def agree():
            Relation = Pool().get('cooperative.edi.relation')
            Relation.agree(Relation.search([]))

        def state():
            Relation = Pool().get('cooperative.edi.relation')
            relation, = Relation.search([])
            return relation.state
        for name in MEMBERS:
            turn(name)
        self.do('anne', propose)
        for name in ['anne', 'bruno']:
            turn(name)
        self.do('bruno', agree)
        for name in ['bruno', 'anne', 'bruno', 'anne', 'bruno']:
            turn(name)
        for name in MEMBERS:
            self.assertEqual(self.do(name, state), 'agreed')

    def alarms(self):
        Alarm = Pool().get('cooperative.edi.alarm')
        return [
            (a.kind, a.peer.identifier, {
                    e.name: bytes(e.data) for e in a.evidence})
            for a in Alarm.search([])]

    def notes(self):
        Checkpoint = Pool().get('cooperative.trust.log.checkpoint')
        return {c.note.encode() for c in Checkpoint.search([])}

    def test_split_view(self):
        "Test both members find out by trading, with no witness"
        self.fork()
        self.meet(COPIES)
        self.trade(COPIES)
        # What one was shown is compared once the other copy is as long
        self.grow(COPIES.values())
        for name in MEMBERS:
            self.exchange(name, COPIES)
        notes = {name: self.do(name, self.notes) for name in ['one', 'two']}
        verifier = Verifier.from_vkey(self.vkey)
        for name, copy in COPIES.items():
            other, = {'one', 'two'} - {copy}
            with self.subTest(name):
                (kind, peer, files), = self.do(name, self.alarms)
                self.assertEqual((kind, peer), ('split', TRUST))
                self.assertIn(files['known.txt'], notes[copy] - notes[other])
                self.assertIn(files['other.txt'], notes[other] - notes[copy])
                Contradiction.parse(
                    files['contradiction.json']).verify(verifier)

    def test_one_story(self):
        "Test the same trade by an honest trust party raises no alarm"
        copies = dict.fromkeys(MEMBERS, 'one')
        self.meet(copies)
        self.trade(copies)
        for name in MEMBERS:
            self.assertEqual(self.do(name, self.alarms), [])
            known = self.do(name, self.known)
            self.assertGreater(known, 3)
            self.assertEqual(self.do(name, self.seen), 0)

    def known(self):
        Peer = Pool().get('cooperative.edi.peer')
        peer, = Peer.search([('identifier', '=', TRUST)])
        return peer.checkpoint_size

    def seen(self):
        return Pool().get('cooperative.edi.checkpoint').search([], count=True)
