# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"The description of the routes is true, and the routes keep to it"
import ast
import json
import os
import re
import subprocess
import sys
import tempfile
import unittest
from importlib.util import find_spec
from pathlib import Path

from trycoton.protocol import canonical, openapi, problem, schema, vector

ROOT = Path(__file__).resolve().parents[2]
MISSING = "WHAT THE TESTS NEED IS NOT INSTALLED: pip install 'trycoton[test]'"
# How long each instance is called, in seconds
FUZZ = int(os.environ.get('TRYCOTON_FUZZ') or 40)


def described():
    "Return the methods of the routes that are described, by their path"
    return {
        re.sub(r'\{[^}]*\}', '*', path): {m.upper() for m in methods}
        for path, methods in openapi.description()['paths'].items()}


class DescriptionTestCase(unittest.TestCase):
    "Test the description"

    def test_shipped(self):
        "The file of the documentation is what the code gives"
        self.assertEqual(
            (ROOT / 'doc' / 'openapi.json').read_bytes(),
            openapi.to_bytes(), msg="make it again: "
            "python -m trycoton.protocol.openapi > doc/openapi.json")

    @unittest.skipUnless(find_spec('openapi_spec_validator'), MISSING)
    def test_valid(self):
        "It is OpenAPI 3.1"
        from openapi_spec_validator import OpenAPIV31SpecValidator, validate
        for modules in [
                None, {'cooperative_edi'},
                {'cooperative_edi', 'cooperative_trust'}]:
            with self.subTest(modules=modules):
                validate(
                    openapi.description(modules),
                    cls=OpenAPIV31SpecValidator)

    def test_modules(self):
        "Only the routes of the active modules are described"
        paths = openapi.description({'cooperative_edi', 'party'})['paths']
        self.assertIn('/edi/messages', paths)
        self.assertFalse([p for p in paths if p.startswith('/trust')])

    def test_routes(self):
        "All the routes are described, and nothing else"
        code = '\n'.join([
                'import json',
                'from cooperative_community import routes',
                'from cooperative_edi import routes',
                'from cooperative_offer import routes',
                'from cooperative_trust import routes',
                'from trytond.wsgi import app',
                'print(json.dumps([[r.rule, sorted(r.methods)]',
                '    for r in app.url_map.iter_rules()]))'])
        output = subprocess.run(
            [sys.executable, '-c', code], check=True, text=True,
            stdout=subprocess.PIPE, env={
                **os.environ, 'PYTHONPATH': os.pathsep.join([
                        str(ROOT), str(ROOT / 'modules'),
                        os.environ.get('PYTHONPATH', '')])}).stdout
        found = {}
        for rule, methods in json.loads(output):
            _, base, path = rule.partition('/cooperative')
            if base:
                found.setdefault(re.sub('<[^>]*>', '*', path), set()).update(
                    set(methods) - {'HEAD', 'OPTIONS'})
        self.assertEqual(found, described())

    def test_problems(self):
        "The problems are those of the code"
        found = set()
        for path in (ROOT / 'modules').glob('*/*.py'):
            for node in ast.walk(ast.parse(path.read_text('utf-8'))):
                if (isinstance(node, ast.Call) and len(node.args) > 1
                        and getattr(node.func, 'id', '') in {
                            'cls', 'Problem'}
                        and isinstance(
                            getattr(node.args[0], 'value', None), str)):
                    found.add(node.args[0].value)
                elif (path.name == 'exceptions.py'
                        and isinstance(node, ast.Assign)
                        and getattr(node.targets[0], 'id', '') == 'name'
                        and node.value.value):
                    # What halts a log is told as a problem
                    found.add(node.value.value)
        self.assertEqual(found, set(problem.PROBLEMS))

    def test_protocol(self):
        "The document of the protocol has all routes, problems and types"
        text = (ROOT / 'doc' / 'protocol.rst').read_text('utf-8')
        for name, (status, _, _) in problem.PROBLEMS.items():
            self.assertTrue(
                re.search(rf'``{name}`` +{status} ', text), msg=name)
        for path in openapi.description()['paths']:
            start = path.partition('{')[0].rstrip('/')
            if not path.startswith('/trust/tile'):
                self.assertTrue(
                    re.search(rf'``(GET|POST) {start}', text), msg=path)

    @unittest.skipUnless(find_spec('jsonschema'), MISSING)
    def test_examples(self):
        "Each example has the form that it is an example of"
        from jsonschema import Draft202012Validator
        from referencing import Registry
        from referencing.jsonschema import DRAFT202012
        description = openapi.description()
        registry = Registry().with_resource(
            'urn:x', DRAFT202012.create_resource(description))
        count = 0
        for part in _examples(description['paths']):
            # What refers to the description is read outside of it
            form = json.loads(json.dumps(part['schema']).replace(
                    '"#/', '"urn:x#/'))
            validator = Draft202012Validator(form, registry=registry)
            for value in [
                    *([part['example']] if 'example' in part else []),
                    *(e['value'] for e in part.get('examples', {}).values())]:
                validator.validate(value)
                count += 1
        self.assertGreater(count, 50)

    @unittest.skipUnless(find_spec('jsonschema'), MISSING)
    def test_schemas(self):
        "The schemas accept and refuse as the records do"
        from jsonschema import Draft202012Validator
        for case in vector.load('record')['cases']:
            form = schema.standalone(schema.RECORDS[case['record']])
            Draft202012Validator.check_schema(form)
            value = canonical.load(canonical.decode(case['data']))
            with self.subTest(case=case['name']):
                self.assertEqual(
                    Draft202012Validator(form).is_valid(value),
                    case['valid'])


def _examples(value):
    if isinstance(value, dict):
        if 'schema' in value and {'example', 'examples'} & set(value):
            yield value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _examples(item)


@unittest.skipUnless(find_spec('schemathesis'), MISSING)
class RoutesTestCase(unittest.TestCase):
    "Test that no call makes an instance fail or answer what is not said"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        from .community import Community
        cls.community = Community(
            config={
                'applications_rate': '1000000',
                'quota_messages': '0',
                })
        cls.addClassCleanup(cls.community.close)
        cls.community.join()

    def check(self, actor):
        community = self.community
        with tempfile.TemporaryDirectory() as temporary:
            process = subprocess.run([
                    sys.executable, '-m', 'schemathesis.cli', 'run',
                    f'{actor.url()}/openapi.json', '--no-color',
                    '--phases', 'examples,coverage,fuzzing',
                    '--max-time', str(FUZZ), '--continue-on-failure',
                    '--request-timeout', '120', '--checks', ','.join([
                            'not_a_server_error', 'status_code_conformance',
                            'content_type_conformance',
                            'response_schema_conformance',
                            'response_headers_conformance'])],
                cwd=temporary, text=True, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, env={
                    **os.environ,
                    'SCHEMATHESIS_HOOKS': 'tests.partner.hooks',
                    'PYTHONPATH': os.pathsep.join([
                            str(ROOT), os.environ.get('PYTHONPATH', '')]),
                    'PARTNER_SECRET': community.partner.key.secret.hex(),
                    'PARTNER': community.partner.identifier,
                    'PARTNER_CALLS': actor.identifier,
                    })
        self.assertEqual(process.returncode, 0, msg=process.stdout)
        count = int(re.search(r'(\d+) generated', process.stdout)[1])
        self.assertGreater(count, 50)
        # It was let in, and not only refused at the door
        log = (actor.server.instance.path / 'trytond.log').read_text()
        self.assertRegex(log, r'GET /\w+/cooperative/edi/mailbox[^"]*" 200')
        self.assertNotIn('CRITICAL', log)

    def test_community(self):
        "The community answers what it says it does"
        self.check(self.community.stage.community)

    def test_trust(self):
        "The trust party answers what it says it does"
        self.check(self.community.stage.trust)
