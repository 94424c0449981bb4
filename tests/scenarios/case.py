# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"Scenarios played between the instances of a stage"
import doctest
import io
import re
import unittest
from decimal import Decimal
from pathlib import Path

from .stage import Stage

FOLDER = Path(__file__).parent
OPTIONS = (
    doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    | doctest.REPORT_ONLY_FIRST_FAILURE | doctest.FAIL_FAST)
ROUTES = ['direct', 'trust']
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
    def add_all(cls, routes=ROUTES, names=('*',)):
        "Add a test for each scenario, or those of the names, and route"
        for name in names:
            for path in sorted(FOLDER.glob(f'scenario_{name}.rst')):
                for route in routes:
                    cls.add(path, route)

    @classmethod
    def add(cls, path, route):
        def test(self):
            self.play(path, route)
        name = path.stem.removeprefix('scenario_')
        test.__doc__ = f"The scenario of {name.replace('_', ' ')}, {route}"
        setattr(cls, f'test_{name}_{route}', test)
