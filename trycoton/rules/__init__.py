# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Documents checked against the schemas and the official rules.

They are read from a folder that the user fills, as not all of them may be
distributed.  It needs neither Tryton nor the network.
"""
from typing import NamedTuple

__all__ = ['CheckError', 'Finding']

FATAL = 'fatal'
WARNING = 'warning'


class Finding(NamedTuple):
    "What a document does against a rule, and where"
    rule: str
    severity: str
    text: str
    location: str

    @property
    def fatal(self):
        return self.severity == FATAL

    def __str__(self):
        where = f" ({self.location})" if self.location else ''
        return f"{self.rule}: {self.text}{where}"


class CheckError(Exception):
    "The document could not be checked"
