# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The scenarios on PostgreSQL: some, as its databases take minutes to be
made, or all with TRYCOTON_SCENARIOS=all"""
import os

from . import case
from .postgresql import open_backend

SOME = {'order', 'despatch', 'invoice', 'payment'}


class PostgreSQLTestCase(case.ScenarioTestCase):
    "Play scenarios on PostgreSQL"

    @classmethod
    def backend(cls):
        backend = open_backend()
        cls.addClassCleanup(backend.server.stop)
        return backend


if os.environ.get('TRYCOTON_SCENARIOS') == 'all':
    PostgreSQLTestCase.add_all()
else:
    PostgreSQLTestCase.add_all(
        lambda name, route: name in SOME and route == 'trust')
