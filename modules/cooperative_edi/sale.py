# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
from trytond.i18n import gettext
from trytond.model import ModelView, Workflow, fields
from trytond.modules.currency.fields import Monetary
from trytond.modules.product import price_digits, round_price
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Bool, Equal, Eval, If

from trycoton.protocol import ubl

from .document import ExchangeMixin, decimal, today
from .exceptions import DocumentRefused
from .exceptions_document import SaleLineAddedError

STATES = [
    ('none', "None"),
    ('waiting', "Waiting"),
    ('accepted', "Accepted"),
    ('changed', "Changed"),
    ('refused', "Refused"),
    ]


class Sale(ExchangeMixin, metaclass=PoolMeta):
    __name__ = 'sale.sale'

    edi_state = fields.Selection(
        STATES, "Answer", required=True, readonly=True, sort=False,
        states={
            'invisible': Eval('edi_state') == 'none',
            },
        help="What was answered to the customer's order.\n"
        "Confirming the sale accepts the order, with its changes if any; "
        "cancelling it refuses the order.")
    edi_answer = fields.Text(
        "Answer to the Customer",
        states={
            'invisible': Eval('edi_state') == 'none',
            'readonly': Eval('edi_state') != 'waiting',
            },
        help="Why the order is changed or refused.")

    @classmethod
    def default_edi_state(cls):
        return 'none'

    @classmethod
    def view_attributes(cls):
        return super().view_attributes() + [
            ('/tree/field[@name="edi_state"]', 'visual',
                If(Eval('edi_state') == 'waiting', 'warning', '')),
            ]

    @classmethod
    def copy(cls, sales, default=None):
        default = default.copy() if default is not None else {}
        default.setdefault('edi_state', 'none')
        default.setdefault('edi_answer', None)
        return super().copy(sales, default=default)

    @classmethod
    @ModelView.button
    @Workflow.transition('confirmed')
    def confirm(cls, sales):
        answers = {
            s: s._edi_response() for s in sales if s.edi_state == 'waiting'}
        super().confirm(sales)
        for sale, (code, lines) in answers.items():
            sale._edi_respond(code, lines)

    @classmethod
    @ModelView.button
    @Workflow.transition('cancelled')
    def cancel(cls, sales):
        super().cancel(sales)
        for sale in sales:
            if sale.edi_state == 'waiting':
                sale._edi_respond('RE')

    def _edi_response(self):
        "Return code and lines of the answer to the order"
        pool = Pool()
        Document = pool.get('cooperative.edi.document')
        order = Document.content(self.edi_message)
        lines = {l.edi_line: l for l in self.line_lines}
        for line in lines.values():
            if not line.edi_line:
                raise SaleLineAddedError(gettext(
                        'cooperative_edi.msg_sale_line_added',
                        line=line.rec_name, sale=self.rec_name))
        answers = tuple(
            Document.answer_line(order, ordered, lines.get(ordered.id))
            for ordered in order.lines)
        if all(a.code == '7' for a in answers):
            return 'RE', ()
        if all(a.code == '5' for a in answers):
            return 'AP', ()
        return 'CA', answers

    def _edi_respond(self, code, lines=()):
        "Answer the order"
        pool = Pool()
        Document = pool.get('cooperative.edi.document')
        Message = pool.get('cooperative.edi.message')
        states = {'AP': 'accepted', 'CA': 'changed', 'RE': 'refused'}
        if code in states:
            self.edi_state = states[code]
            self.save()
        Message.send(
            self.relation, Document.answer_order(self, code, lines),
            origin=self, answers=self.edi_message)


class SaleLine(metaclass=PoolMeta):
    __name__ = 'sale.line'

    edi_line = fields.Char("Order Line", readonly=True,
        help="What identifies the line in the customer's order.")
    edi_quantity = fields.Float(
        "Ordered Quantity", digits='unit', readonly=True,
        states={
            'invisible': ~Bool(Eval('edi_line')),
            },
        help="The quantity that the customer ordered.")
    edi_price = Monetary(
        "Ordered Price", currency='currency', digits=price_digits,
        readonly=True,
        states={
            'invisible': ~Bool(Eval('edi_line')),
            },
        help="The unit price of the customer's order.")
    edi_date = fields.Date("Promised Date",
        states={
            'invisible': ~Bool(Eval('edi_line')),
            'readonly': ~Eval('sale_state').in_(['draft', 'quotation']),
            },
        help="The delivery date that is promised to the customer, by default "
        "the one that the order asks for.")

    @classmethod
    def copy(cls, lines, default=None):
        default = default.copy() if default is not None else {}
        for name in ['edi_line', 'edi_quantity', 'edi_price', 'edi_date']:
            default.setdefault(name, None)
        return super().copy(lines, default=default)

    @classmethod
    def view_attributes(cls):
        changed = (
            ~Equal(Eval('edi_quantity', None), None)
            & (Eval('edi_quantity', 0) != Eval('quantity', 0)))
        return super().view_attributes() + [
            ('/tree/field[@name="edi_quantity"]', 'visual',
                If(changed, 'warning', '')),
            ]

    def edi_item(self):
        pool = Pool()
        Document = pool.get('cooperative.edi.document')
        return Document.sold_item(self.product, name=self.summary or None)


class Message(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.message'

    @classmethod
    def _get_origin(cls):
        return super()._get_origin() + ['sale.sale']


class Document(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.document'

    @classmethod
    def receive_order(cls, message, order):
        "Make the sale that a person confirms or cancels"
        pool = Pool()
        Sale = pool.get('sale.sale')
        cls.check_document(message, order, order.buyer, order.seller)
        if sale := cls.known(message, order):
            return sale
        cls.check_order(message, order)
        sale = cls._sale(message, order)
        sale.save()
        Sale.quote([sale])
        sale._edi_respond('AB')
        return sale

    @classmethod
    def _sale(cls, message, order):
        pool = Pool()
        Sale = pool.get('sale.sale')
        sale = Sale(
            company=message.company,
            party=message.peer.party,
            reference=order.number,
            comment=order.note,
            relation=message.relation,
            edi_message=message,
            edi_state='waiting')
        sale.on_change_party()
        sale.currency = cls.currency(order.currency)
        sale.shipping_date = order.delivery_date
        sale.lines = [
            cls._sale_line(sale, order, line) for line in order.lines]
        if any(l.on_change_with_movable() for l in sale.lines):
            # What was shipped is invoiced
            sale.invoice_method = 'fulfillment'
        return sale

    @classmethod
    def _sale_line(cls, sale, order, ordered):
        pool = Pool()
        Line = pool.get('sale.line')
        product = cls.sold_product(ordered.item)
        unit = cls.unit(ordered.unit, like=product.sale_uom)
        quantity = cls.quantity(ordered.quantity, unit)
        if quantity <= 0 or (ordered.price or 0) < 0:
            raise DocumentRefused('BV', gettext(
                    'cooperative_edi.msg_document_negative',
                    line=ordered.id, number=order.number))
        line = Line(
            type='line', sale=sale, product=product, unit=unit,
            quantity=quantity, edi_line=ordered.id, edi_quantity=quantity,
            note=ordered.note,
            edi_date=ordered.delivery_date or order.delivery_date)
        line.on_change_product()
        if ordered.price is not None:
            line.unit_price = line.edi_price = round_price(ordered.price)
        return line

    @classmethod
    def sold_product(cls, item):
        "Return the product sold by us that the customer refers to"
        return cls.product(
            item, ('salable', '=', True),
            item.seller_code and ('code', '=', item.seller_code))

    @classmethod
    def sold_item(cls, product, **values):
        "Return what we say of the product that we sell"
        if product and not values.get('name'):
            values['name'] = product.name
        return cls.item(
            product,
            seller_code=(product.code if product else None) or None,
            **values)

    @classmethod
    def answer_order(cls, sale, code, lines=()):
        "Return the answer to the order that the sale was made of"
        order = cls.content(sale.edi_message)
        return ubl.OrderResponse(
            number=f'{sale.number}-{code}',
            date=today(sale.company),
            code=code,
            order_number=order.number,
            sale_number=sale.number,
            currency=order.currency,
            buyer=cls.party(sale.relation.peer),
            seller=cls.us(sale.company),
            note=sale.edi_answer or None,
            lines=tuple(lines))

    @classmethod
    def rewrite_order_response(cls, sale, response):
        return cls.answer_order(sale, response.code, response.lines)

    @classmethod
    def answer_line(cls, order, ordered, line):
        "Return the answer for the line of the order"
        values = {
            'id': ordered.id,
            'order_line': ordered.id,
            'item': ordered.item,
            }
        if not line or not line.quantity:
            return ubl.OrderResponseLine(code='7', **values)
        asked = ordered.delivery_date or order.delivery_date
        same = (
            decimal(line.quantity) == ordered.quantity
            and cls.unit_code(line.unit) == ordered.unit
            and (ordered.price is None
                or round_price(ordered.price) == line.unit_price)
            and line.edi_date in {None, asked})
        return ubl.OrderResponseLine(
            code='5' if same else '3',
            quantity=decimal(line.quantity),
            unit=cls.unit_code(line.unit),
            price=line.unit_price,
            delivery_date=line.edi_date,
            **values)
