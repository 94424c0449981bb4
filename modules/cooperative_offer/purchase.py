# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
from trytond.i18n import gettext
from trytond.model import fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Eval
from trytond.transaction import without_check_access

from .exceptions import OfferOrderError


class Purchase(metaclass=PoolMeta):
    __name__ = 'purchase.purchase'

    def _check_order(self):
        super()._check_order()
        if self.relation.community:
            self._check_offers()

    @without_check_access
    def _check_offers(self):
        "Raise an error for a line that no approved offer allows"
        pool = Pool()
        Community = pool.get('cooperative.community')
        Line = pool.get('purchase.line')
        community = Community.of_peer(self.relation.community)
        if not community or not community.membership.has_role('buyer'):
            raise OfferOrderError(gettext(
                    'cooperative_offer.msg_purchase_membership',
                    purchase=self.rec_name,
                    community=self.relation.community.rec_name))
        for line in self.line_lines:
            line.offer = line.approved_offer()
        Line.save(self.line_lines)

    def _check_change(self, lines):
        super()._check_change(lines)
        if self.relation.community:
            self._check_changed_offers(lines)

    @without_check_access
    def _check_changed_offers(self, lines):
        "Raise an error for more, or another price, than an offer allows"
        for line in lines:
            if line.edi_raised():
                line.approved_offer()


class PurchaseLine(metaclass=PoolMeta):
    __name__ = 'purchase.line'

    offer = fields.Many2One(
        'cooperative.offer.item', "Offer", readonly=True,
        ondelete='RESTRICT',
        states={
            'invisible': ~Eval('offer'),
            },
        help="The approved offer that is ordered.")

    @classmethod
    def copy(cls, lines, default=None):
        default = default.copy() if default is not None else {}
        default.setdefault('offer')
        return super().copy(lines, default=default)

    @fields.depends('purchase', '_parent_purchase.relation')
    def _get_product_supplier_pattern(self):
        pattern = super()._get_product_supplier_pattern()
        if self.purchase and self.purchase.relation:
            community = self.purchase.relation.community
            pattern['community'] = community.id if community else None
        return pattern

    def edi_raised(self):
        "Tell if more is asked for than ordered, or another price"
        ordered = self.__class__(self.id)
        return (
            self.quantity > ordered.quantity
            or self.unit_price != ordered.unit_price)

    def approved_offer(self):
        "Return the offer that the line follows, or raise an error"
        pool = Pool()
        Date = pool.get('ir.date')
        Item = pool.get('cooperative.offer.item')
        purchase = self.purchase
        code = self.edi_item().seller_code
        problem = gettext(
            'cooperative_offer.msg_order_unknown',
            code=code or '', seller=purchase.party.rec_name)
        others = sum(l.quantity for l in purchase.line_lines
            if l != self and l.edi_item().seller_code == code)
        for offer in Item.approved(purchase.relation, code):
            left = offer.quantity_left(purchase)
            if left is not None:
                left -= others
            problem = offer.refusal(
                self.quantity, self.unit, self.unit_price, purchase.currency,
                purchase.purchase_date or Date.today(), left)
            if not problem:
                return offer
        raise OfferOrderError(gettext(
                'cooperative_offer.msg_purchase_line_offer',
                line=self.rec_name, purchase=purchase.rec_name,
                community=purchase.relation.community.rec_name,
                problem=problem))
