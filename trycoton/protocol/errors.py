# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.


class ProtocolError(Exception):
    "The bytes are not accepted"


class Malformed(ProtocolError):
    "The bytes are not in the form that the writer would have given them"


class Rejected(ProtocolError):
    "The bytes are well formed, but what they claim does not hold"


class UnknownKey(Rejected):
    "The signing key is not among the known ones: it may be learned later"
