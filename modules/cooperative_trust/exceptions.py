# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
from trytond.exceptions import UserError
from trytond.model.exceptions import AccessError, ValidationError


class LogKeyError(UserError):
    pass


class LogMissingError(UserError):
    pass


class LogOriginInvalid(ValidationError):
    pass


class LogModifyError(AccessError):
    pass


class LogCheckError(UserError):
    pass


class LogDurabilityError(UserError):
    pass


class LogForkError(UserError):
    pass


class LogHaltError(UserError):
    """Why nothing is signed: the cause as the senders are told, and the
    checkpoint that shows it, where there is one"""
    name = None

    def __init__(self, message, note=None):
        super().__init__(message)
        self.note = note


class LogBehindError(LogHaltError):
    name = 'log-behind'


class LogClosedError(LogHaltError):
    name = 'log-closed'


class LogMirrorError(LogHaltError):
    name = 'log-mirror'


class LogReadBackError(UserError):
    pass


class LogSuccessorError(UserError):
    pass


class WitnessInvalid(ValidationError):
    pass


class WitnessModifyError(AccessError):
    pass
