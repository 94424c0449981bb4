# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Some scenarios on PostgreSQL, through the trust party: all of them, directly
as well, with TRYCOTON_SCENARIOS=all, or none with TRYCOTON_SCENARIOS=sqlite"""
import os
import sys
import unittest

from . import case
from .postgresql import open_backend

WISH = os.environ.get('TRYCOTON_SCENARIOS')
SOME = ['order', 'despatch', 'invoice', 'credit_note', 'payment']


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


if WISH == 'all':
    PostgreSQLTestCase.add_all()
else:
    PostgreSQLTestCase.add_all(['trust'], SOME)
