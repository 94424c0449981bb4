# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What locks or runs side by side, on a PostgreSQL server of our own, with
some of what instances say to each other: all of it with
TRYCOTON_POSTGRESQL=all"""
import os
import subprocess
import sys
import unittest
from pathlib import Path

from . import postgresql

ROOT = Path(__file__).resolve().parent.parent
TESTS = [
    # The first one makes the database for all
    'cooperative_trust.tests.test_concurrency',
    'cooperative_trust.tests.test_events',
    'cooperative_trust.tests.test_hold',
    'cooperative_trust.tests.test_hold_dispute',
    'cooperative_trust.tests.test_mirror',
    ('cooperative_trust.tests.test_module.CooperativeTrustTestCase'
        '.test_nodes_completed'),
    'cooperative_trust.tests.test_routes',
    'cooperative_trust.tests.test_serving',
    'cooperative_trust.tests.test_threats',
    'cooperative_trust.tests.test_together',
    'cooperative_trust.tests.test_witness',
    ]
INSTANCES = [
    'cooperative_edi.tests.test_dispute',
    'cooperative_edi.tests.test_exchange',
    'cooperative_edi.tests.test_operation',
    'cooperative_edi.tests.test_rollover',
    'cooperative_edi.tests.test_sealing',
    'cooperative_trust.tests.test_parties',
    'cooperative_trust.tests.test_sealed',
    ]
SOME = [
    f'cooperative_edi.tests.test_dispute.DisputeTestCase.test_{name}'
    for name in ['expiry', 'freeze', 'relation_arbiter']]


class PostgreSQLTestCase(unittest.TestCase):
    "Run on PostgreSQL the tests that it alone can pass or fail"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server = postgresql.start()
        cls.addClassCleanup(cls.server.stop)

    def test_modules(self):
        "The log takes many at once, and no two stories"
        for name in TESTS:
            self.run_test(name)

    def test_instances(self):
        "Instances agree, trade and contest"
        if os.environ.get('TRYCOTON_POSTGRESQL') == 'all':
            for name in INSTANCES:
                self.run_test(name)
        else:
            self.run_test(*SOME)

    def run_test(self, *names):
        env = dict(os.environ, TRYTOND_DATABASE_URI=self.server.uri,
            DB_NAME='test', DB_CACHE='postgresql://')
        env['PYTHONPATH'] = os.pathsep.join(
            filter(None, [str(ROOT), env.get('PYTHONPATH')]))
        with self.subTest(tests=names):
            process = subprocess.run(
                [sys.executable, '-m', 'unittest', '-v', *names],
                cwd=ROOT, env=env, text=True, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            self.assertEqual(
                process.returncode, 0, msg=process.stdout[-3000:])
            self.assertNotIn('skipped', process.stdout)
            self.assertRegex(process.stdout, r'Ran [1-9]\d* test')
