# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Nobody reads a private key out of an instance"""
import base64
import json
import sqlite3
import unittest
import xmlrpc.client
from unittest.mock import patch

import trytond.config as config
from cryptography.fernet import Fernet
from trytond import backend
from trytond.pool import Pool
from trytond.tests.test_tryton import RouteTestCase
from trytond.transaction import Transaction

from cooperative_edi import keystore
from cooperative_edi.exceptions import KeyMissingError
from cooperative_edi.transaction import transact
from trycoton.protocol import signature

from .tools import configure, create_identity

MODEL = 'cooperative.edi.identity.key'
NAMES = ['sealed', 'private', 'secret', '_sealed', 'identity.keys.sealed']


class KeysTestCase(RouteTestCase):
    "Test private keys"
    module = 'cooperative_edi'

    @classmethod
    def setUpDatabase(cls):
        configure()
        pool = Pool()
        Application = pool.get('res.user.application')
        Key = pool.get(MODEL)
        User = pool.get('res.user')
        generate = signature.SigningKey.generate
        cls.generated = []

        def keep():
            key = generate()
            cls.generated.append(key)
            return key
        with patch.object(signature.SigningKey, 'generate', keep):
            identity = create_identity()
        cls.identity = identity.id
        key, = Key.search([('purpose', '=', 'signing')])
        cls.id = key.id
        cls.secret = keystore.unseal(key)
        cls.token, = cls.row(cls.id)
        user = User(1)
        user.password = 'a-long-password'
        user.save()
        application, = Application.create([{
                    'application': 'rest', 'user': 1, 'state': 'validated'}])
        cls.application = application.key
        Transaction().commit()

    @classmethod
    def row(cls, id_):
        table = Pool().get(MODEL).__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*table.select(table.sealed, where=table.id == id_))
        return cursor.fetchone()

    def assertSecret(self, data):
        "Test that the bytes say nothing of the private key"
        for secret in [self.secret, self.token.encode(), *[
                    k.to_bytes() for k in self.generated]]:
            for form in [
                    secret, secret.hex().encode(), base64.b64encode(secret),
                    base64.urlsafe_b64encode(secret).rstrip(b'=')]:
                self.assertNotIn(form, data)

    def calls(self):
        "The ways to ask for a field"
        for name in NAMES:
            yield 'read', [[self.id], [name], {}]
            yield 'search_read', [[], 0, None, None, [name], {}]
            yield 'search', [[(name, 'like', 'g%')], 0, None, None, {}]
            yield 'search', [[], 0, None, [(name, 'ASC')], {}]
            yield 'export_data', [[self.id], [name], False, {}]
            yield 'fields_get', [[name], 0, {}]
        yield 'read', [[self.id], [], {}]
        yield 'search_read', [[], 0, None, None, [
                'kid', 'public', 'purpose', 'rec_name'], {}]
        for name in ['unseal', 'sign', 'signing_key', '__table__']:
            yield name, [[self.id], {}]

    def session(self):
        response = self.client().post(
            f'/{self.db_name}/rpc/',
            data=json.dumps({
                    'id': 1, 'method': 'common.db.login', 'params': [
                        'admin', {'password': 'a-long-password'}],
                    }), content_type='application/json')
        result = json.loads(response.data)['result']
        return base64.b64encode(
            f'admin:{result[0]}:{result[1]}'.encode()).decode()

    def test_json_rpc(self):
        headers = {'Authorization': f'Session {self.session()}'}
        read = 0
        for method, params in self.calls():
            with self.subTest(method=method, params=params):
                response = self.client().post(
                    f'/{self.db_name}/rpc/', data=json.dumps({
                            'id': 2, 'method': f'model.{MODEL}.{method}',
                            'params': params}),
                    content_type='application/json', headers=headers)
                self.assertSecret(response.data)
                read += b'"kid"' in response.data
        self.assertTrue(read)

    def test_xml_rpc(self):
        headers = {'Authorization': f'Session {self.session()}'}
        for method, params in self.calls():
            with self.subTest(method=method, params=params):
                response = self.client().post(
                    f'/{self.db_name}/rpc/', data=xmlrpc.client.dumps(
                        tuple(params), f'model.{MODEL}.{method}',
                        allow_none=True),
                    content_type='text/xml', headers=headers)
                self.assertSecret(response.data)

    def test_rest(self):
        headers = {'Authorization': f'Bearer {self.application}'}
        good = self.client().get(
            f'/{self.db_name}/rest/model/{MODEL}?f=kid', headers=headers)
        self.assertEqual(good.status_code, 200, good.data)
        self.assertIn(b'kid', good.data)
        for query in ['', *[f'?f={n}' for n in NAMES]]:
            for path in ['', f'/{self.id}']:
                with self.subTest(query=query, path=path):
                    try:
                        data = self.client().get(
                            f'/{self.db_name}/rest/model/{MODEL}'
                            f'{path}{query}', headers=headers).data
                    except (AttributeError, KeyError):
                        continue
                    self.assertSecret(data)

    def test_report(self):
        "A report of an administrator prints no private key"
        def render(expression):
            Report = Pool().get('ir.action.report')
            Model = Pool().get(MODEL)
            report, = Report.create([{
                        'name': "Keys",
                        'model': MODEL,
                        'report_name': 'cooperative.edi.test',
                        'template_extension': 'txt',
                        'report_content_custom': (
                            '{% for r in records %}${' + expression
                            + '}{% end %}').encode(),
                        }])
            from trytond.report import Report
            Test = type('Test', (Report,), {
                    '__name__': 'cooperative.edi.test'})
            Test.__setup__()
            context = Test.get_context(
                [Model(self.id)], {'action': report.id}, {})
            return Test.render(report, context)
        for expression in [
                'r.kid', 'r.sealed', 'r.private', 'r.secret', 'r._values',
                'r.identity.signing_key.sealed', 'vars(r)', 'dir(r)',
                'r._fields', 'r.read([r.id])',
                "r.identity.sign(b'', 'trycoton-envelope')",
                "__import__('cooperative_edi.keystore').keystore.unseal(r)"]:
            with self.subTest(expression):
                try:
                    result = transact(self.db_name, render, expression)
                except Exception as exception:
                    result = str(exception)
                if isinstance(result, str):
                    result = result.encode()
                self.assertSecret(result)
                if 'sign(' in expression or 'unseal' in expression:
                    self.assertRegex(
                        result, b'not for reports|invalid name')
                if expression == 'r.kid':
                    self.assertEqual(len(result), 43, result)

    @unittest.skipUnless(backend.name == 'sqlite', "reads SQLite's bytes")
    def test_at_rest(self):
        "The private key is not in the database, and what is there is sealed"
        def dump():
            connection = Transaction().connection
            if hasattr(connection, 'serialize'):
                return connection.serialize()
            return '\n'.join(connection.iterdump()).encode()
        data = transact(self.db_name, dump)
        self.assertIn(self.token.encode(), data)
        for key in [self.secret, *[k.to_bytes() for k in self.generated]]:
            for form in [
                    key, key.hex().encode(), base64.b64encode(key),
                    base64.urlsafe_b64encode(key).rstrip(b'=')]:
                self.assertNotIn(form, data)
        self.assertIsInstance(sqlite3.sqlite_version, str)

    def test_recovery(self):
        "The recovery key is shown once and kept nowhere"
        def generate():
            pool = Pool()
            Session = pool.get('ir.session.wizard')
            Generate = pool.get(
                'cooperative.edi.identity.generate', type='wizard')
            identity = create_identity('0225:732829320_4', "Others")
            Key = pool.get(MODEL)
            Key.delete(identity.keys)
            session_id, start, end = Generate.create()
            with Transaction().set_context(
                    active_model='cooperative.edi.identity',
                    active_id=identity.id, active_ids=[identity.id]):
                result = Generate.execute(session_id, {}, start)
                values = {
                    **result['view']['defaults'], **result['view']['values']}
                recovery = values['recovery']
                Generate.execute(session_id, {'show': values}, end)
            data = Session(session_id).data
            Generate.delete(session_id)
            public = {k.purpose: k.kid for k in Key.search(
                    [('identity.identifier', '=', '0225:732829320_4')])}
            sealed = {k.purpose: self.row(k.id)[0] for k in Key.search(
                    [('identity.identifier', '=', '0225:732829320_4')])}
            return recovery, data, public, sealed
        recovery, data, public, sealed = transact(self.db_name, generate)
        key = signature.SigningKey.from_bytes(bytes.fromhex(recovery))
        self.assertEqual(key.kid, public['recovery'])
        self.assertNotIn(recovery, data)
        self.assertIsNone(sealed['recovery'])
        self.assertTrue(sealed['signing'] and sealed['encryption'])

    def test_wrong_key(self):
        "Another key of the configuration gives a clear error"
        def sign():
            Identity = Pool().get('cooperative.edi.identity')
            return Identity(self.identity).sign(b'x', signature.ENVELOPE)
        self.assertTrue(transact(self.db_name, sign))
        key = config.get('cooperative', 'key')
        self.addCleanup(config.set, 'cooperative', 'key', key)
        for other in [Fernet.generate_key().decode(), 'nonsense', '']:
            config.set('cooperative', 'key', other)
            with self.subTest(other), \
                    self.assertRaisesRegex(KeyMissingError, 'cooperative'):
                transact(self.db_name, sign)

    def test_access(self):
        "Who may read may not write, and who is not in a group sees nothing"
        def models(user):
            Access = Pool().get('ir.model.access')
            result = {}
            with Transaction().set_user(user), \
                    Transaction().set_context(_check_access=True):
                for name in [
                        'identity', 'identity.key', 'peer', 'peer.key',
                        'relation', 'message', 'refusal', 'token']:
                    result[name] = ''.join(
                        mode[0] for mode in [
                            'read', 'write', 'create', 'delete']
                        if Access.check(
                            f'cooperative.edi.{name}', mode,
                            raise_exception=False))
            return result

        def check():
            pool = Pool()
            Data = pool.get('ir.model.data')
            User = pool.get('res.user')
            rights = []
            for group in [None, 'group_edi', 'group_edi_admin']:
                groups = [] if not group else [
                    Data.get_id('cooperative_edi', group)]
                user, = User.create([{
                            'name': str(group), 'login': str(group),
                            'groups': [('add', groups)]}])
                rights.append(models(user.id))
            return rights
        nobody, reader, admin = transact(self.db_name, check)
        self.assertEqual(set(nobody.values()), {''})
        self.assertEqual(reader, {
                'identity': 'r', 'identity.key': 'r', 'peer': 'r',
                'peer.key': 'r', 'relation': 'rwc', 'message': 'r',
                'refusal': 'r', 'token': ''})
        self.assertEqual(admin, {
                'identity': 'rwcd', 'identity.key': 'r', 'peer': 'rw',
                'peer.key': 'r', 'relation': 'rwcd', 'message': 'r',
                'refusal': 'rd', 'token': ''})


del RouteTestCase
