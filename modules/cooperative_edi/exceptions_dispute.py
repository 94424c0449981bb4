# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
from trytond.exceptions import UserError, UserWarning
from trytond.model.exceptions import AccessError


class DisputeError(UserError):
    "What is said has no place in the dispute"


class DisputeArbiterError(UserError):
    pass


class DisputeMessagesError(UserError):
    pass


class DisputeModifyError(AccessError):
    pass


class DisputeFrozenWarning(UserWarning):
    pass
