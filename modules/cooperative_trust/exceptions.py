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


class WitnessInvalid(ValidationError):
    pass


class WitnessModifyError(AccessError):
    pass
