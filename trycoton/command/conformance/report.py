# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"What was tried and what was found"
from typing import NamedTuple

PASSED, FAILED, INCOMPLETE = 0, 1, 3
RESULTS = {
    PASSED: "all that was tried holds",
    FAILED: "not conformant",
    INCOMPLETE: "what was tried holds, but not all could be tried",
    }


class Check(NamedTuple):
    "ok is None for what could not be tried"
    name: str
    ok: 'bool | None'
    text: str
    seconds: float


class Report:
    "tell, if any, is called with a line for each check"

    def __init__(self, tell=None):
        self.checks = []
        self._tell = tell

    def add(self, name, ok, text='', seconds=0):
        "Keep a check and return if it holds"
        check = Check(name, ok, text, round(seconds, 3))
        self.checks.append(check)
        if self._tell:
            mark = {True: "ok", False: "WRONG", None: "skipped"}[ok]
            detail = f": {text}" if text else ''
            self._tell(f"{mark:8}{name}{detail}")
        return ok

    def skip(self, name, text):
        self.add(name, None, text)

    @property
    def status(self):
        found = {check.ok for check in self.checks}
        if False in found:
            return FAILED
        return INCOMPLETE if None in found else PASSED

    @property
    def result(self):
        count = sum(1 for check in self.checks if check.ok)
        return f"{RESULTS[self.status]} ({count} of {len(self.checks)})"

    def to_json(self):
        return [check._asdict() for check in self.checks]
