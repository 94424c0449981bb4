# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
from trytond.exceptions import UserError
from trytond.model.exceptions import ValidationError


class CommunityIdentityError(ValidationError):
    pass


class CharterMissingError(UserError):
    pass


class DescriptorChangedError(UserError):
    pass


class RoleMissingError(UserError):
    pass


class NotComparedError(UserError):
    pass


class CharterNotAcceptedError(UserError):
    pass


class AlreadyMemberError(UserError):
    pass


class DirectoryRefusedError(UserError):
    pass


class FeeProductMissingError(UserError):
    pass


class CommissionProductMissingError(UserError):
    pass


class StatementRefusedError(UserError):
    pass


class AccountMissingError(UserError):
    pass


class PolicyMissingError(UserError):
    pass
