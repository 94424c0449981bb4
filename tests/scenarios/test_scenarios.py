# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Each kind of document, told from both sides by the people who work there,
directly and through a trust party"""
import doctest
import io
import os
import re
import unittest
from decimal import Decimal
from pathlib import Path

from trycoton.command import instance

from .postgresql import open_backend
from .stage import Stage

FOLDER = Path(__file__).parent
OPTIONS = (
    doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    | doctest.REPORT_ONLY_FIRST_FAILURE | doctest.FAIL_FAST)
ROUTES = ['direct', 'trust']
# Else on PostgreSQL only these, as its databases take minutes to be made
ALL = os.environ.get('TRYCOTON_SCENARIOS') == 'all'
SOME = {
    (f'scenario_{n}', 'trust')
    for n in ['order', 'despatch', 'invoice', 'payment']}
DECIMAL = re.compile(r"Decimal\('(-?[\d.]+)'\)")


def decimal(text):
    return Decimal(text).normalize() + 0


class Checker(doctest.OutputChecker):
    "Compare amounts without the zeros, which depend on the database"

    def check_output(self, want, got, options):
        return super().check_output(*(
                DECIMAL.sub(lambda m: str(decimal(m[1])), t)
                for t in [want, got]), options)


class ScenarioTestCase(unittest.TestCase):
    "Play the scenarios between the instances of a stage"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.stage = Stage(cls.backend())
        cls.addClassCleanup(cls.stage.close)
        cls.stage.open()

    def play(self, path, route):
        text = path.read_text(encoding='utf-8')
        test = doctest.DocTestParser().get_doctest(
            text, self.stage.globs(route), f'{path.stem} {route}', str(path),
            0)
        output = io.StringIO()
        runner = doctest.DocTestRunner(
            checker=Checker(), verbose=False, optionflags=OPTIONS)
        result = runner.run(test, out=output.write)
        self.assertTrue(result.attempted)
        self.assertFalse(result.failed, msg=output.getvalue())

    @classmethod
    def add(cls, path, route):
        def test(self):
            self.play(path, route)
        name = path.stem.removeprefix('scenario_')
        test.__doc__ = f"The scenario of {name.replace('_', ' ')}, {route}"
        setattr(cls, f'test_{name}_{route}', test)


class SQLiteTestCase(ScenarioTestCase):
    "Play all scenarios on SQLite"

    @classmethod
    def backend(cls):
        return instance


class PostgreSQLTestCase(ScenarioTestCase):
    "Play scenarios on PostgreSQL"

    @classmethod
    def backend(cls):
        backend = open_backend()
        cls.addClassCleanup(backend.server.stop)
        return backend


for path in sorted(FOLDER.glob('scenario_*.rst')):
    for route in ROUTES:
        SQLiteTestCase.add(path, route)
        if ALL or (path.stem, route) in SOME:
            PostgreSQLTestCase.add(path, route)

# It has no scenario of its own
del ScenarioTestCase
