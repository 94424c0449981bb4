# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
from trytond.exceptions import UserError
from trytond.model.exceptions import AccessError


class HoldAwardError(UserError):
    pass


class HoldDisputeError(UserError):
    pass


class HoldModifyError(AccessError):
    pass
