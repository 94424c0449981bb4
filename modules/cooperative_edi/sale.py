# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
from dataclasses import replace
from functools import partial

from trytond.i18n import gettext
from trytond.model import ModelView, Workflow, fields
from trytond.modules.currency.fields import Monetary
from trytond.modules.product import price_digits, round_price
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Bool, Equal, Eval, If

from trycoton.protocol import ubl
from trycoton.protocol.ubl.change import DELETED

from .document import OrderMixin, decimal, today
from .exceptions import DocumentParked, DocumentRefused
from .exceptions_document import (
    SaleChangeError, SaleLineAddedError, SaleProposedError)
from .transaction import hold

STATES = [
    ('none', "None"),
    ('waiting', "Waiting"),
    ('accepted', "Accepted"),
    ('changed', "Changed"),
    ('refused', "Refused"),
    ('cancelled', "Cancelled by Agreement"),
    ]
# What can still become something else before it leaves
UNPREPARED = {'draft', 'waiting'}
SHIPPED = {'shipped', 'done'}


class Sale(OrderMixin, metaclass=PoolMeta):
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
            'invisible': (
                (Eval('edi_state') == 'none')
                | ((Eval('edi_state') != 'waiting') & ~Eval('edi_answer'))),
            'readonly': Eval('edi_state') != 'waiting',
            },
        help="Why the order or its change is not accepted as asked.")
    edi_change = fields.Many2One(
        'cooperative.edi.message', "Change", ondelete='RESTRICT',
        readonly=True,
        help="The change of the order that waits for an answer.")
    edi_sequence = fields.Integer("Changes", readonly=True,
        help="How many changes the customer has asked for.")
    edi_request = fields.Function(fields.Selection([
                (None, ""),
                ('change', "Change"),
                ], "Asked", sort=False,
            states={
                'invisible': ~Eval('edi_request'),
                },
            help="What the customer asks after the order.\n"
            "The lines show as ordered what is asked; until the sale is "
            "confirmed, they are already as asked."),
        'get_edi_request')

    @classmethod
    def __setup__(cls):
        super().__setup__()
        asked = Eval('edi_request') == 'change'
        cls._buttons.update(
            edi_accept={
                'invisible': ~(asked
                    & Eval('state').in_(['confirmed', 'processing'])),
                'depends': ['edi_request', 'state'],
                },
            edi_refuse={
                'invisible': ~asked,
                'depends': ['edi_request'],
                },
            )

    @classmethod
    def default_edi_state(cls):
        return 'none'

    def get_edi_request(self, name):
        return 'change' if self.edi_change else None

    @classmethod
    def view_attributes(cls):
        return super().view_attributes() + [
            ('/tree/field[@name="edi_state"]', 'visual',
                If(Eval('edi_state') == 'waiting', 'warning',
                    If(Eval('edi_state') == 'cancelled', 'danger', ''))),
            ]

    @classmethod
    def copy(cls, sales, default=None):
        default = default.copy() if default is not None else {}
        default.setdefault('edi_state', 'none')
        default.setdefault('edi_answer', None)
        default.setdefault('edi_change', None)
        default.setdefault('edi_sequence', None)
        return super().copy(sales, default=default)

    @classmethod
    @ModelView.button
    def confirm(cls, sales):
        # Not a transition: what is proposed stays a quotation
        sales = [s for s in sales if s.state == 'quotation']
        for sale in sales:
            if sale.edi_state == 'changed':
                raise SaleProposedError(gettext(
                        'cooperative_edi.msg_sale_proposed',
                        sale=sale.rec_name, party=sale.party.rec_name))
        answers = {
            s: s._edi_response() for s in sales if s.edi_state == 'waiting'}
        codes = {s: code for s, (code, _) in answers.items()}
        super().confirm([s for s in sales if codes.get(s, 'AP') == 'AP'])
        cls.cancel([s for s in sales if codes.get(s) == 'RE'])
        for sale, (code, lines) in answers.items():
            if code != 'RE':
                sale._edi_respond(code, lines)

    @classmethod
    @ModelView.button
    @Workflow.transition('cancelled')
    def cancel(cls, sales):
        super().cancel(sales)
        for sale in sales:
            if sale.edi_state in {'waiting', 'changed'}:
                if sale.edi_change:
                    sale._edi_respond('RE')
                sale._edi_respond('RE')

    @classmethod
    @ModelView.button
    def edi_accept(cls, sales):
        for sale in sales:
            sale = hold(sale)
            if sale.edi_change and sale.state in {'confirmed', 'processing'}:
                sale._edi_accept()

    @classmethod
    @ModelView.button
    def edi_refuse(cls, sales):
        for sale in sales:
            sale = hold(sale)
            if sale.edi_change:
                sale._edi_respond('RE')
                sale._edi_restore()

    @property
    def edi_order(self):
        "The customer's order with the changes that were not refused"
        pool = Pool()
        Document = pool.get('cooperative.edi.document')
        order = Document.content(self.edi_message)
        for change in self.edi_changes():
            order = Document.changed_order(order, Document.content(change))
        return order

    def edi_changes(self):
        "Return the changes asked for and not refused, in their order"
        pool = Pool()
        Document = pool.get('cooperative.edi.document')
        Message = pool.get('cooperative.edi.message')
        changes = set(Message.search([
                    ('direction', '=', 'in'),
                    ('kind', '=', 'order_change'),
                    ('origin', '=', str(self)),
                    ('state', '=', 'processed'),
                    ]))
        if self.edi_change:
            changes.add(self.edi_change)
        refused = {m.answers for m in Message.search([
                    ('direction', '=', 'out'),
                    ('kind', '=', 'order_response'),
                    ('origin', '=', str(self)),
                    ('answers', 'in', [c.id for c in changes]),
                    ]) if Document.content(m).code == 'RE'}
        return sorted(
            (c for c in changes if c not in refused),
            key=lambda c: Document.content(c).sequence)

    def _edi_response(self):
        "Return code and lines of the answer to the order"
        for line in self.line_lines:
            if not line.edi_line:
                raise SaleLineAddedError(gettext(
                        'cooperative_edi.msg_sale_line_added',
                        line=line.rec_name, sale=self.rec_name))
        answers = self._edi_answers(self.edi_order)
        if not any(line.quantity for line in self.line_lines):
            return 'RE', ()
        if all(a.code == '5' for a in answers):
            return 'AP', ()
        return 'CA', answers

    def _edi_answers(self, order):
        "Return what becomes of the lines of the order"
        pool = Pool()
        Document = pool.get('cooperative.edi.document')
        lines = {l.edi_line: l for l in self.line_lines}
        return tuple(
            Document.answer_line(order, ordered, lines.get(ordered.id))
            for ordered in order.lines)

    def _edi_is(self, order):
        "Tell if the sale is what is ordered"
        return (all(a.code == '5' for a in self._edi_answers(order))
            and all(l.edi_line for l in self.line_lines))

    def _edi_respond(self, code, lines=()):
        "Answer the change, or the order if there is none to answer"
        answered = self.edi_change or self.edi_message
        states = {'AP': 'accepted', 'CA': 'changed', 'RE': 'refused'}
        if code in states:
            self.edi_state = states[code]
            self.edi_change = None
            self.save()
        self._edi_answer(answered, code, self.edi_answer, lines)

    def _edi_answer(self, answered, code, note=None, lines=()):
        "Answer the message of the customer"
        pool = Pool()
        Document = pool.get('cooperative.edi.document')
        Message = pool.get('cooperative.edi.message')
        Message.send(
            self.relation,
            Document.answer_order(self, answered, code, note, lines),
            origin=self, answers=answered)

    def _edi_ask(self, message, change):
        "Take the change of the order into account, or refuse it"
        pool = Pool()
        Document = pool.get('cooperative.edi.document')
        order = Document.changed_order(self.edi_order, change)
        self.edi_sequence = change.sequence
        same = self._edi_is(order)
        if problem := self._edi_change_problem(order, same):
            self.save()
            self._edi_answer(message, 'RE', problem)
            return
        self._edi_show(order)
        proposed = self.edi_state == 'changed'
        self.edi_change = message
        self.edi_state = 'waiting'
        self.edi_answer = None
        self.save()
        if self.state == 'quotation' and proposed and same:
            self.__class__.confirm([self])
        elif self.state in {'draft', 'quotation'}:
            self._edi_set(order)
            self._edi_respond('AB')
        else:
            self._edi_respond('AP' if same else 'AB')

    def _edi_change_problem(self, order, same):
        "Return why the sale cannot become what the customer asks, if so"
        names = {'sale': self.number}
        if self.edi_change:
            return gettext('cooperative_edi.msg_sale_change_waiting', **names)
        if self.state in {'draft', 'quotation'}:
            return
        if self.state == 'cancelled':
            return gettext(
                'cooperative_edi.msg_sale_change_cancelled', **names)
        if self.edi_state == 'cancelled':
            return gettext('cooperative_edi.msg_sale_change_done', **names)
        if same:
            return
        if self.state == 'done':
            return gettext('cooperative_edi.msg_sale_change_done', **names)
        if self.state == 'processing' and not self._edi_amendable:
            return gettext('cooperative_edi.msg_sale_change_late', **names)
        return self._edi_shipment_problem(order)

    def _edi_shipment_problem(self, order):
        "Return what in the shipments forbids the change, if something does"
        if any(s.state not in {*UNPREPARED, *SHIPPED, 'cancelled'}
                for s in self.shipments):
            return gettext(
                'cooperative_edi.msg_sale_change_prepared', sale=self.number)
        lines = {l.edi_line: l for l in self.line_lines}
        for ordered in order.lines:
            line = lines.get(ordered.id)
            if not line and ordered.quantity:
                return gettext(
                    'cooperative_edi.msg_sale_change_added',
                    sale=self.number, line=ordered.id)
            if line and float(ordered.quantity) < line.edi_shipped_quantity:
                return gettext(
                    'cooperative_edi.msg_sale_change_shipped',
                    sale=self.number, line=ordered.id,
                    quantity=decimal(line.edi_shipped_quantity))

    _edi_amendable = False

    def _edi_show(self, order):
        "Show on the lines what is ordered"
        pool = Pool()
        Line = pool.get('sale.line')
        ordered = {l.id: l for l in order.lines}
        lines = [l for l in Line.browse(self.line_lines) if l.edi_line]
        for line in lines:
            line.edi_ask(ordered.get(line.edi_line))
        Line.save(lines)

    def _edi_set(self, order):
        "Make the sale that is not confirmed what is ordered"
        pool = Pool()
        Document = pool.get('cooperative.edi.document')
        Line = pool.get('sale.line')
        known = {l.edi_line for l in self.line_lines}
        lines = Line.browse(self.line_lines)
        for line in lines:
            line.edi_apply(order)
        Line.save(lines)
        added = [l for l in order.lines if l.id not in known and l.quantity]
        if added:
            quoted = self.state == 'quotation'
            self.__class__.draft([self])
            Line.save([
                    Document._sale_line(
                        self, order, line,
                        *Document._ordered_item(self.edi_message, line))
                    for line in added])
            if quoted:
                self.__class__.quote([self])
        self.shipping_date = order.delivery_date
        self.save()

    def _edi_accept(self):
        "Change the sale that is confirmed already"
        pool = Pool()
        Line = pool.get('sale.line')
        order = self.edi_order
        if problem := self._edi_shipment_problem(order):
            raise SaleChangeError(problem)
        lines = Line.browse(self.line_lines)
        for line in lines:
            line.edi_apply(order)
        if self.state == 'confirmed':
            Line.save(lines)
            self.__class__.store_cache([self])
        else:
            self._edi_amend(lines)
        self._edi_respond('AP')

    def _edi_restore(self):
        "Go on with the order as it was before the change refused"
        order = self.edi_order
        self._edi_show(order)
        if self.state in {'draft', 'quotation'}:
            self._edi_set(order)
            self.edi_state = 'waiting'
        else:
            self.edi_state = 'accepted'
        self.edi_answer = None
        self.save()

    def _edi_end(self, message):
        "Cancel the order as the customer asks, or tell why not"
        if problem := self._edi_cancel_problem():
            self._edi_answer(message, 'RE', problem)
            return
        if self.state != 'cancelled':
            self._edi_cancel()
        self._edi_answer(message, 'AP')

    def _edi_cancel_problem(self):
        "Return why the order cannot be cancelled any more, if so"
        if self.edi_state == 'cancelled':
            return
        if any(s.state in SHIPPED for s in self.shipments):
            return gettext(
                'cooperative_edi.msg_sale_cancel_shipped', sale=self.number)
        if any(i.state in {'posted', 'paid'} for i in self.invoices):
            return gettext(
                'cooperative_edi.msg_sale_cancel_invoiced', sale=self.number)
        if self.state == 'done':
            return gettext(
                'cooperative_edi.msg_sale_change_done', sale=self.number)

    def _edi_cancel(self):
        cls = self.__class__
        self.edi_state = 'cancelled'
        self.edi_change = None
        self.save()
        if self.state == 'processing':
            self._edi_stop()
        else:
            if self.state == 'confirmed':
                cls.draft([self])
            cls.cancel([self])

    def _edi_stop(self):
        "Deliver and invoice nothing any more"
        pool = Pool()
        Invoice = pool.get('account.invoice')
        Shipment = pool.get('stock.shipment.out')
        lines = self.line_lines
        Shipment.cancel([s for s in self.shipments if s.state != 'cancelled'])
        invoices = [i for i in self.invoices
            if i.state in {'draft', 'validated'}]
        Invoice.cancel(invoices)
        self._edi_stop_lines(lines, invoices)


class Sale_Amendment(metaclass=PoolMeta):
    __name__ = 'sale.sale'

    _edi_amendable = True

    def _edi_amend(self, lines):
        "Change the lines of the sale that is processed already"
        pool = Pool()
        Amendment = pool.get('sale.amendment')
        AmendmentLine = pool.get('sale.amendment.line')
        Line = pool.get('sale.line')
        amended = []
        for line in lines:
            amendment = AmendmentLine(action='line', line=Line(line.id))
            amendment.on_change_line()
            amendment.quantity = line.quantity
            amendment.unit_price = line.unit_price
            amended.append(amendment)
            # An amendment cannot say when
            Line.write([Line(line.id)], {'edi_date': line.edi_date})
        amendment = Amendment(
            sale=self, description=self.edi_change.document_number,
            lines=amended)
        amendment.save()
        Amendment.validate_amendment([amendment])


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

    @property
    def edi_shipped_quantity(self):
        "What has left, or is about to"
        pool = Pool()
        Uom = pool.get('product.uom')
        return sum(
            Uom.compute_qty(m.unit, m.quantity, self.unit) for m in self.moves
            if m.state in {'assigned', 'done'})

    def edi_ask(self, ordered):
        "Keep what is ordered for the line, if anything is any more"
        pool = Pool()
        Document = pool.get('cooperative.edi.document')
        if not ordered:
            self.edi_quantity = 0
            return
        Document.check_unit(ordered.unit, self.unit)
        self.edi_quantity = Document.quantity(ordered.quantity, self.unit)
        if ordered.price is not None:
            self.edi_price = round_price(ordered.price)

    def edi_apply(self, order):
        "Make the line what is ordered"
        if self.edi_quantity is not None:
            self.quantity = self.edi_quantity
        if self.edi_price is not None:
            self.unit_price = self.edi_price
        for ordered in order.lines:
            if ordered.id == self.edi_line:
                self.edi_date = (
                    ordered.delivery_date or order.delivery_date
                    or self.edi_date)

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
        currency, *items = cls.gather(
            partial(cls.currency, order.currency, message),
            *(partial(cls._ordered_item, message, l) for l in order.lines))
        sale = cls._sale(message, order, currency, items)
        sale.save()
        if sale.relation:
            Sale.quote([sale])
            sale._edi_respond('AB')
        return sale

    @classmethod
    def receive_order_change(cls, message, change):
        "Have a person accept or refuse the change of an order"
        cls.check_document(message, change, change.buyer, change.seller)
        if sale := cls.known(message, change):
            return sale
        sale = hold(cls.received(message, ['order'], change.order_number))
        cls._check_sequence(sale, change)
        cls.check_change(message, change, sale)
        sale._edi_ask(message, change)
        return sale

    @classmethod
    def _check_sequence(cls, sale, change):
        "Have a change wait for those before it"
        expected = (sale.edi_sequence or 0) + 1
        if change.sequence > expected:
            raise DocumentParked(gettext(
                    'cooperative_edi.msg_document_change_early',
                    number=change.order_number, sequence=expected))
        if change.sequence < expected:
            raise DocumentRefused('BV', gettext(
                    'cooperative_edi.msg_document_change_late',
                    number=change.order_number, sequence=expected))

    @classmethod
    def check_change(cls, message, change, sale):
        "Raise DocumentRefused for a change of the sale that breaks a rule"
        if change.currency != sale.currency.code:
            raise DocumentRefused('BV', gettext(
                    'cooperative_edi.msg_document_currency_other',
                    currency=change.currency, expected=sale.currency.code))
        for line in change.lines:
            if (line.quantity < 0 or (line.price or 0) < 0
                    or (line.code == DELETED and line.quantity)):
                raise DocumentRefused('BV', gettext(
                        'cooperative_edi.msg_document_negative',
                        line=line.id, number=change.number))

    @classmethod
    def check_unit(cls, code, expected):
        "Refuse another unit than the one expected"
        if code != cls.unit_code(expected):
            raise DocumentRefused('BV', gettext(
                    'cooperative_edi.msg_document_unit_other',
                    unit=code, expected=expected.rec_name if expected else ''))

    @classmethod
    def changed_order(cls, order, change):
        "Return the order as the change makes it"
        lines = {l.id: l for l in order.lines}
        lines.update((l.id, l) for l in change.lines)
        return replace(
            order, lines=tuple(lines.values()),
            delivery_date=change.delivery_date or order.delivery_date)

    @classmethod
    def receive_order_cancellation(cls, message, cancellation):
        "Cancel the sale, or tell why it is too late"
        cls.check_document(
            message, cancellation, cancellation.buyer, cancellation.seller)
        if sale := cls.known(message, cancellation):
            return sale
        sale = hold(
            cls.received(message, ['order'], cancellation.order_number))
        sale._edi_end(message)
        return sale

    @classmethod
    def _sale(cls, message, order, currency, items):
        pool = Pool()
        Sale = pool.get('sale.sale')
        sale = Sale(
            company=message.company,
            party=message.partner,
            reference=order.number,
            comment=order.note,
            relation=message.relation,
            edi_message=message,
            edi_state='waiting' if message.relation else 'none')
        sale.on_change_party()
        sale.currency = currency
        sale.shipping_date = order.delivery_date
        sale.lines = [
            cls._sale_line(sale, order, line, *item)
            for line, item in zip(order.lines, items)]
        if any(l.on_change_with_movable() for l in sale.lines):
            # What was shipped is invoiced
            sale.invoice_method = 'fulfillment'
        return sale

    @classmethod
    def _sale_line(cls, sale, order, ordered, product, unit):
        pool = Pool()
        Line = pool.get('sale.line')
        quantity = cls.quantity(ordered.quantity, unit)
        if quantity <= 0 or (ordered.price or 0) < 0:
            raise DocumentRefused('BV', gettext(
                    'cooperative_edi.msg_document_negative',
                    line=ordered.id, number=order.number), 'TCT-NEGATIVE')
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
    def _ordered_item(cls, message, line):
        "Return product and unit of the line of the order"
        product, _ = cls.gather(
            partial(cls.sold_product, line.item, message),
            partial(cls.unit, line.unit, message=message))
        return product, cls.unit(
            line.unit, like=product.sale_uom or product.default_uom,
            message=message)

    @classmethod
    def sold_product(cls, item, message=None):
        "Return the product sold by us that the customer refers to"
        return cls.product(
            item, ('salable', '=', True),
            item.seller_code and ('code', '=', item.seller_code), message)

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
    def answer_order(cls, sale, answered, code, note=None, lines=()):
        """Return the answer to the order that the sale was made of, or to
        what was asked after it"""
        order = cls.content(sale.edi_message)
        number, change = sale.number, None
        if answered != sale.edi_message:
            number = answered.document_number
        if answered.kind == 'order_change':
            change = number
        return ubl.OrderResponse(
            number=f'{number}-{code}',
            date=today(sale.company),
            code=code,
            order_number=order.number,
            change_number=change,
            sale_number=sale.number,
            currency=order.currency,
            buyer=cls.party(sale.relation.peer),
            seller=cls.us(sale.company),
            note=note or None,
            lines=tuple(lines))

    @classmethod
    def rewrite_order_response(cls, sale, response):
        return replace(
            response, buyer=cls.party(sale.relation.peer),
            seller=cls.us(sale.company))

    @classmethod
    def answer_line(cls, order, ordered, line):
        "Return the answer for the line of the order"
        values = {
            'id': ordered.id,
            'order_line': ordered.id,
            'item': ordered.item,
            }
        if ordered.quantity and (not line or not line.quantity):
            return ubl.OrderResponseLine(code='7', **values)
        if not line:
            return ubl.OrderResponseLine(code='5', **values)
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
