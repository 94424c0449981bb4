# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
import datetime as dt
from decimal import Decimal

from trytond.i18n import gettext
from trytond.model import fields
from trytond.modules.currency.fields import Monetary
from trytond.modules.product import price_digits
from trytond.pool import Pool
from trytond.pyson import Eval, If, TimeDelta

from .exceptions import OfferCurrencyError, OfferUnitError

KINDS = [
    ('good', "Good"),
    ('service', "Service"),
    ('knowledge', "Knowledge"),
    ('rental', "Rental or Loan"),
    ('gift', "Gift"),
    ]
VAT_CATEGORIES = [
    (None, ""),
    ('S', "Taxed"),
    ('Z', "Zero Rated"),
    ('E', "Exempt"),
    ('AE', "Reverse Charge"),
    ('K', "Intra-Community"),
    ('G', "Export"),
    ('O', "Outside VAT"),
    ]
TERMS = [
    'code', 'name', 'description', 'kind', 'unit', 'price', 'currency',
    'vat_category', 'vat_rate', 'min_quantity', 'quantity', 'delivery',
    'lead_time', 'valid_from', 'valid_to']


class TermsMixin:
    "What is offered, and at which conditions"
    __slots__ = ()

    code = fields.Char("Code", required=True,
        help="The seller's code of the product.")
    name = fields.Char("Name", required=True)
    description = fields.Text("Description")
    kind = fields.Selection(KINDS, "Kind", required=True)
    unit = fields.Many2One(
        'product.uom', "Unit", required=True, ondelete='RESTRICT',
        help="The unit in which it is sold.")
    price = Monetary(
        "Price", currency='currency', digits=price_digits, required=True,
        domain=[
            ('price', '>=', Decimal(0)),
            ],
        help="The price of a unit, without tax.")
    currency = fields.Many2One(
        'currency.currency', "Currency", required=True, ondelete='RESTRICT')
    vat_category = fields.Selection(
        VAT_CATEGORIES, "VAT Category", translate=True)
    vat_rate = fields.Numeric("VAT Rate", digits=(None, 6))
    min_quantity = fields.Float(
        "Minimum Quantity", digits='unit',
        domain=['OR',
            ('min_quantity', '=', None),
            ('min_quantity', '>=', 0),
            ],
        help="The least that can be ordered at once.")
    quantity = fields.Float(
        "Quantity", digits='unit',
        domain=['OR',
            ('quantity', '=', None),
            ('quantity', '>=', 0),
            ],
        help="What can be ordered in all.\n"
        "Leave empty if there is no limit.")
    delivery = fields.Char("Delivery",
        help="Where and when it is delivered or done.")
    lead_time = fields.TimeDelta(
        "Lead Time",
        domain=['OR',
            ('lead_time', '=', None),
            ('lead_time', '>=', TimeDelta()),
            ],
        help="The time from the order to the delivery.")
    valid_from = fields.Date(
        "Valid From",
        domain=[
            If(Eval('valid_from') & Eval('valid_to'),
                ('valid_from', '<=', Eval('valid_to')),
                ()),
            ])
    valid_to = fields.Date(
        "Valid To",
        domain=[
            If(Eval('valid_from') & Eval('valid_to'),
                ('valid_to', '>=', Eval('valid_from')),
                ()),
            ])

    @classmethod
    def _freeze_terms(cls, readonly=True):
        for name in TERMS:
            field = getattr(cls, name)
            if readonly is True:
                field.readonly = True
            else:
                field.states = {**field.states, 'readonly': readonly}

    @property
    def terms(self):
        "Return the values of the terms, to create another record with"
        return {name: _value(getattr(self, name)) for name in TERMS}

    @classmethod
    def terms_of(cls, line):
        """Return the values of the terms of a catalogue line.
        Raise OfferUnitError or OfferCurrencyError for those unknown here."""
        return {
            'code': line.item.seller_code,
            'name': line.item.name,
            'description': line.item.description,
            'kind': line.kind if line.kind in dict(KINDS) else 'good',
            'unit': cls._unit(line.unit),
            'price': line.price,
            'currency': cls._currency(line.currency),
            'vat_category': (line.item.vat_category
                if line.item.vat_category in dict(VAT_CATEGORIES) else None),
            'vat_rate': ratio(line.item.vat_rate),
            'min_quantity': _float(line.min_quantity),
            'quantity': _float(line.max_quantity),
            'delivery': line.delivery,
            'lead_time': _days(line.lead_time),
            'valid_from': line.valid_from,
            'valid_to': line.valid_to,
            }

    @classmethod
    def _unit(cls, code):
        pool = Pool()
        Uom = pool.get('product.uom')
        units = Uom.search([('unece_code', '=', code)], limit=1)
        if not units:
            raise OfferUnitError(gettext(
                    'cooperative_offer.msg_unit_unknown', unit=code))
        return units[0].id

    @classmethod
    def _currency(cls, code):
        pool = Pool()
        Currency = pool.get('currency.currency')
        currencies = Currency.search([('code', '=', code)], limit=1)
        if not currencies:
            raise OfferCurrencyError(gettext(
                    'cooperative_offer.msg_currency_unknown', currency=code))
        return currencies[0].id

    def is_valid_on(self, date):
        return ((not self.valid_from or self.valid_from <= date)
            and (not self.valid_to or date <= self.valid_to))

    @property
    def _price_digits(self):
        exponent = self.price.normalize().as_tuple().exponent
        return max(self.currency.digits, -exponent)

    def refusal(self, quantity, unit, price, currency, date, left):
        """Return in words why what is ordered does not follow the terms, or
        None.  unit and currency are None if unknown here, left is what can
        still be ordered, None without limit."""
        pool = Pool()
        Lang = pool.get('ir.lang')
        lang = Lang.get()
        names = {
            'offer': f"[{self.code}] {self.name}",
            'unit': self.unit.symbol,
            }
        if unit != self.unit:
            return gettext('cooperative_offer.msg_order_unit', **names)
        if price != self.price or currency != self.currency:
            return gettext(
                'cooperative_offer.msg_order_price',
                price=lang.currency(
                    self.price, self.currency, digits=self._price_digits),
                **names)
        if self.min_quantity and quantity < self.min_quantity:
            return gettext(
                'cooperative_offer.msg_order_minimum',
                quantity=lang.format_number(self.min_quantity), **names)
        if not self.is_valid_on(date):
            return gettext(
                'cooperative_offer.msg_order_dates',
                valid_from=_date(lang, self.valid_from),
                valid_to=_date(lang, self.valid_to), **names)
        if left is not None and quantity > left:
            return gettext(
                'cooperative_offer.msg_order_left',
                quantity=lang.format_number(max(left, 0)), **names)


def _value(value):
    return getattr(value, 'id', value)


def _float(quantity):
    return None if quantity is None else float(quantity)


def _days(number):
    return None if number is None else dt.timedelta(days=number)


def _date(lang, date):
    return lang.strftime(date) if date else '-'


def percent(rate):
    "Return the rate of a tax as documents say it"
    if rate is not None:
        return _plain(rate * 100)


def ratio(percent):
    "Return the rate of a tax as Tryton keeps it"
    if percent is not None:
        return _plain(percent / 100)


def decimal(quantity):
    "Return the quantity as documents say it"
    if quantity is not None:
        return _plain(Decimal(str(quantity)))


def _plain(value):
    return Decimal(format(value.normalize(), 'f'))


def visual():
    "Return how the lists show the states"
    return If(Eval('state') == 'submitted', 'warning',
        If(Eval('state') == 'refused', 'danger',
            If(Eval('state').in_(['withdrawn', 'superseded']), 'muted', '')))
