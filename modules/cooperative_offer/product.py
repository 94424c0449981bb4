# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
from trytond.i18n import gettext
from trytond.model import fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Eval
from trytond.transaction import Transaction

from .exceptions import OfferTaxError
from .terms import percent


class Category(metaclass=PoolMeta):
    __name__ = 'product.category'

    @classmethod
    def for_purchase_vat(cls, rate, type):
        """Return the account category of the products of that type bought
        with VAT at that rate, created if needed"""
        rate = percent(rate) or 0
        categories = [
            c for c in cls.search([
                    ('accounting', '=', True),
                    ('account_parent', '=', False),
                    ('taxes_parent', '=', False),
                    ]) if c._fits_purchase(rate)]
        for category in categories:
            if any(t.type == type for t in category.accounting_templates):
                return category
        if categories:
            return categories[0]
        return cls._create_for_purchase(rate, type)

    def _fits_purchase(self, rate):
        return (self.get_multivalue('account_expense')
            and self._vat_rate(self.supplier_taxes_used) == rate)

    @classmethod
    def _vat_rate(cls, taxes):
        pool = Pool()
        Date = pool.get('ir.date')
        Document = pool.get('cooperative.edi.document')
        return Document.tax_rate(taxes, Date.today())

    @classmethod
    def _create_for_purchase(cls, rate, type):
        pool = Pool()
        Configuration = pool.get('account.configuration')
        Lang = pool.get('ir.lang')
        company = Transaction().context['company']
        account = Configuration(1).get_multivalue(
            'default_category_account_expense', company=company)
        rate_text = Lang.get().format_number(rate)
        if not account:
            raise OfferTaxError(gettext(
                    'cooperative_offer.msg_account_expense'))
        category = cls(
            name=gettext('cooperative_offer.msg_category_vat', rate=rate_text),
            accounting=True, account_parent=False, taxes_parent=False)
        category.account_expense = account
        if rate:
            category.supplier_taxes = [cls._purchase_tax(rate, type)]
        category.save()
        return category

    @classmethod
    def _purchase_tax(cls, rate, type):
        pool = Pool()
        Lang = pool.get('ir.lang')
        Tax = pool.get('account.tax')
        taxes = [t for t in Tax.search([
                    ('parent', '=', None),
                    ('company', '=', Transaction().context['company']),
                    ['OR',
                        ('group', '=', None),
                        ('group.kind', 'in', ['purchase', 'both']),
                        ],
                    ]) if cls._vat_rate([t]) == rate]
        if not taxes:
            raise OfferTaxError(gettext(
                    'cooperative_offer.msg_tax_missing',
                    rate=Lang.get().format_number(rate)))
        # Some charts, as the French one, have a group for the services
        return min(taxes, key=lambda t: (
                (type == 'service')
                != ('service' in (t.group.code if t.group else '').lower())))


class ProductSupplier(metaclass=PoolMeta):
    __name__ = 'purchase.product_supplier'

    community = fields.Many2One(
        'cooperative.edi.peer', "Community", readonly=True,
        ondelete='RESTRICT',
        states={
            'invisible': ~Eval('community'),
            },
        help="The community that approved the offer of the supplier.")
