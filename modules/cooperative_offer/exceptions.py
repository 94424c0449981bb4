# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
from trytond.exceptions import UserError


class OfferIncompleteError(UserError):
    pass


class OfferRelationError(UserError):
    pass


class OfferUnitError(UserError):
    pass


class OfferCurrencyError(UserError):
    pass


class OfferTaxError(UserError):
    pass


class OfferOrderError(UserError):
    pass


class OfferSupplierError(UserError):
    pass


class CatalogueError(UserError):
    pass
