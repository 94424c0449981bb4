# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
from collections import defaultdict
from dataclasses import replace

from trytond.i18n import gettext
from trytond.model import fields
from trytond.modules.product import round_price
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
    def check_change(cls, message, change, sale):
        super().check_change(message, change, sale)
        if message.relation.community:
            lines = {l.edi_line: l for l in sale.line_lines}
            raised = [l for l in change.lines
                if cls._raised(l, lines.get(l.id))]
            cls._check_offers(
                message, replace(change, lines=tuple(raised)),
                [lines[l.id] for l in raised if l.id in lines])

    @classmethod
    def _raised(cls, asked, line):
        "Tell if more is asked for than sold, or another price"
        return not line or (
            float(asked.quantity) > line.quantity
            or (asked.price is not None
                and round_price(asked.price) != line.unit_price))

    @classmethod
    def _check_offers(cls, message, order, sold=()):
        """Refuse an order with a line that no approved version allows.
        What the lines sold took of the offers is available to it."""
        community = message.relation.community
        versions = cls._versions_on_sale(community)
        ordered = defaultdict(int)
        for line in sold:
            ordered[line.offer_version] -= line.quantity
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
    def _sale_line(cls, sale, order, ordered, *args):
        line = super()._sale_line(sale, order, ordered, *args)
        community = sale.relation and sale.relation.community
        if community:
            line.offer_version = cls._versions_on_sale(community).get(
                ordered.item.seller_code)
        return line
