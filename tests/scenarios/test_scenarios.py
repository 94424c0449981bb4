# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Each kind of document, told from both sides by the people who work there,
directly and through a trust party"""
from trycoton.command import instance

from . import case


class SQLiteTestCase(case.ScenarioTestCase):
    "Play all scenarios on SQLite"

    @classmethod
    def backend(cls):
        return instance


SQLiteTestCase.add_all()
