# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The scenarios on PostgreSQL, through the trust party: directly as well with
TRYCOTON_SCENARIOS=all, or none with TRYCOTON_SCENARIOS=sqlite"""
import os
import sys
import unittest

from . import case
from .postgresql import open_backend

WISH = os.environ.get('TRYCOTON_SCENARIOS')


class PostgreSQLTestCase(case.ScenarioTestCase):
    "Play scenarios on PostgreSQL"

    @classmethod
    def backend(cls):
        if WISH == 'sqlite':
            reason = "POSTGRESQL IS NOT TESTED: TRYCOTON_SCENARIOS=sqlite"
            print(f"\n*** {reason} ***", file=sys.stderr)
            raise unittest.SkipTest(reason)
        backend = open_backend()
        cls.addClassCleanup(backend.server.stop)
        return backend


PostgreSQLTestCase.add_all(case.ROUTES if WISH == 'all' else ['trust'])
