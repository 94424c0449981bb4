# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
from trytond.exceptions import UserError, UserWarning


class UnitCodeError(UserError):
    pass


class ItemCodeError(UserError):
    pass


class OrderQuantityError(UserError):
    pass


class OrderRelationError(UserError):
    pass


class OrderRequestError(UserError):
    pass


class OrderWithdrawnWarning(UserWarning):
    pass


class SaleLineAddedError(UserError):
    pass


class SaleProposedError(UserError):
    pass


class SaleChangeError(UserError):
    pass


class ShipmentCreditError(UserError):
    pass


class InvoiceDifferenceWarning(UserWarning):
    pass


class InvoiceQueryError(UserError):
    pass


class AnnouncementBankError(UserError):
    pass


class DocumentInvalidError(UserError):
    pass


class PeerSuspendedError(UserError):
    pass


class PeerSuspendedWarning(UserWarning):
    pass


class PeerSilentWarning(UserWarning):
    pass


class RelationEndedWarning(UserWarning):
    pass


class RelationUnusedWarning(UserWarning):
    pass


class PartyCountryWarning(UserWarning):
    pass


class TaxCodeWarning(UserWarning):
    pass


class FacturXStateError(UserError):
    pass


class FacturXMissingError(UserError):
    pass


class FacturXDocumentError(UserError):
    pass
