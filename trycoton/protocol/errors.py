# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.


class ProtocolError(Exception):
    """The bytes are not accepted

    rule names the rule that they break, path where in a document, and place
    at which of its bytes, when no path can be told.
    """
    rule = path = place = None

    def __init__(self, *args, rule=None):
        super().__init__(*args)
        self.rule = rule or self.rule


class Malformed(ProtocolError):
    "The bytes are not in the form that the writer would have given them"
    rule = 'TCT-SYNTAX'


class Rejected(ProtocolError):
    "The bytes are well formed, but what they claim does not hold"
    rule = 'TCT-UNSUPPORTED'


class UnknownKey(Rejected):
    "The signing key is not among the known ones: it may be learned later"
