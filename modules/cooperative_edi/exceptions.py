# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
from trytond.exceptions import UserError
from trytond.model.exceptions import AccessError, ValidationError


class KeyMissingError(UserError):
    pass


class KeyAccessError(UserError):
    pass


class IdentityMissingError(UserError):
    pass


class IdentityKeysError(UserError):
    pass


class RecoveryKeyError(UserError):
    pass


class IdentifierInvalid(ValidationError):
    pass


class AddressRefusedError(UserError):
    pass


class CommunicationError(UserError):
    pass


class DescriptorError(UserError):
    pass


class RelationRouteError(UserError):
    pass


class RelationSameRouteError(UserError):
    pass


class RelationMissingError(UserError):
    pass


class WitnessKeyError(UserError):
    pass


class WitnessAddressError(UserError):
    pass


class WitnessLogInvalid(ValidationError):
    pass


class WitnessModifyError(AccessError):
    pass


class EvidenceError(UserError):
    pass


class SealKeyMissingError(UserError):
    pass


class SealRelationError(UserError):
    pass


class AlarmModifyError(AccessError):
    pass


class DocumentError(UserError):
    "A received document did not take effect"

    def __init__(self, text):
        super().__init__(text)
        self.text = text


class DocumentParked(DocumentError):
    "It refers to something that has not arrived yet"


class DocumentHeld(DocumentError):
    """Somebody must first give what is missing here

    missing is a list of Missing.
    """

    def __init__(self, text, missing=()):
        super().__init__(text)
        self.missing = list(missing)


class DocumentRefused(DocumentError):
    """It breaks a rule: the sender is told by a message level response

    code is SV for the syntax or BV for a rule.
    """

    def __init__(self, code, text, rule=None):
        super().__init__(text)
        self.code = code
        self.rule = rule or f'TCT-{code}'
