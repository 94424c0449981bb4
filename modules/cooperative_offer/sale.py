# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
from collections import defaultdict

from trytond.i18n import gettext
from trytond.model import fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Eval

from cooperative_edi.exceptions import DocumentRefused


class SaleLine(metaclass=PoolMeta):
    __name__ = 'sale.line'

    offer_version = fields.Many2One(
        'cooperative.offer.version', "Offer", readonly=True,
        ondelete='RESTRICT',
        states={
            'invisible': ~Eval('offer_version'),
            },
        help="The approved version of the offer that is ordered.")

    @classmethod
    def copy(cls, lines, default=None):
        default = default.copy() if default is not None else {}
        default.setdefault('offer_version')
        return super().copy(lines, default=default)


class Document(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.document'

    @classmethod
    def check_order(cls, message, order):
        super().check_order(message, order)
        if message.relation and message.relation.community:
            cls._check_offers(message, order)

    @classmethod
    def _check_offers(cls, message, order):
        "Refuse an order with a line that no approved version allows"
        community = message.relation.community
        versions = cls._versions_on_sale(community)
        ordered = defaultdict(int)
        for line in order.lines:
            version = versions.get(line.item.seller_code)
            if not version:
                problem = gettext(
                    'cooperative_offer.msg_order_unknown',
                    code=line.item.seller_code or '',
                    seller=message.company.rec_name)
            else:
                problem = cls._refusal(
                    order, line, version, ordered[version])
                ordered[version] += float(line.quantity)
            if problem:
                raise DocumentRefused('BV', gettext(
                        'cooperative_offer.msg_order_line_offer',
                        line=line.id, community=community.rec_name,
                        problem=problem))

    @classmethod
    def _versions_on_sale(cls, community):
        pool = Pool()
        Version = pool.get('cooperative.offer.version')
        return Version.on_sale_in(community)

    @classmethod
    def _refusal(cls, order, line, version, ordered):
        left = version.quantity_left
        if left is not None:
            left -= ordered
        unit, currency = version.unit, version.currency
        return version.refusal(
            float(line.quantity),
            unit if line.unit == unit.unece_code else None,
            line.price,
            currency if order.currency == currency.code else None,
            order.date, left)

    @classmethod
    def _sale_line(cls, sale, order, ordered):
        line = super()._sale_line(sale, order, ordered)
        community = sale.relation and sale.relation.community
        if community:
            line.offer_version = cls._versions_on_sale(community).get(
                ordered.item.seller_code)
        return line
