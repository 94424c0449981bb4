# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
from trytond.i18n import gettext
from trytond.model import ModelView, Workflow, fields
from trytond.modules.currency.fields import Monetary
from trytond.modules.product import price_digits
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Bool, Equal, Eval, If
from trytond.transaction import Transaction, without_check_access

from trycoton.protocol import ubl

from .document import ExchangeMixin, decimal
from .exceptions import DocumentRefused
from .exceptions_document import (
    OrderQuantityError, OrderRelationError, OrderWithdrawnWarning)

STATES = [
    ('none', "None"),
    ('waiting', "Waiting"),
    ('accepted', "Accepted"),
    ('changed', "Changed"),
    ('refused', "Refused"),
    ]
HELD = {'waiting', 'changed'}


class Purchase(ExchangeMixin, metaclass=PoolMeta):
    __name__ = 'purchase.purchase'

    edi_state = fields.Selection(
        STATES, "Answer", required=True, readonly=True, sort=False,
        states={
            'invisible': Eval('edi_state') == 'none',
            },
        help="What the supplier answered to the order.")
    edi_answer = fields.Text(
        "Answer of the Supplier", readonly=True,
        states={
            'invisible': ~Eval('edi_answer'),
            })

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls.relation.readonly = False
        cls.relation.domain = [
            ('company', '=', Eval('company', -1)),
            If(Eval('state') == 'draft', [
                    ('peer.party', '=', Eval('party', -1)),
                    ('state', '=', 'agreed'),
                    ], []),
            ]
        cls.relation.states = {
            'readonly': Eval('state') != 'draft',
            }
        cls.relation.help = (
            "The order is sent under this agreement with the supplier, and "
            "waits for the answer once confirmed.\n"
            "Leave empty to send nothing.")
        cls._buttons.update(
            edi_accept={
                'invisible': Eval('edi_state') != 'changed',
                'depends': ['edi_state'],
                },
            )

    @classmethod
    def default_edi_state(cls):
        return 'none'

    @fields.depends('company', 'party')
    def on_change_party(self):
        super().on_change_party()
        self.relation = self._only_relation()
        if self.relation:
            self.invoice_method = 'manual'

    @without_check_access
    def _only_relation(self):
        "Return the relation with the supplier unless there is a choice"
        pool = Pool()
        Relation = pool.get('cooperative.edi.relation')
        if not self.company or not self.party:
            return
        relations = Relation.search([
                ('company', '=', self.company.id),
                ('peer.party', '=', self.party.id),
                ('state', '=', 'agreed'),
                ], limit=2)
        if len(relations) == 1:
            return relations[0]

    @classmethod
    def view_attributes(cls):
        return super().view_attributes() + [
            ('/tree/field[@name="edi_state"]', 'visual',
                If(Eval('edi_state') == 'changed', 'warning',
                    If(Eval('edi_state') == 'refused', 'danger', ''))),
            ]

    @classmethod
    def copy(cls, purchases, default=None):
        pool = Pool()
        Relation = pool.get('cooperative.edi.relation')

        def relation(data):
            id_ = data['relation']
            if id_ and Relation(id_).state == 'agreed':
                return id_

        default = default.copy() if default is not None else {}
        default.setdefault('relation', relation)
        default.setdefault('edi_state', 'none')
        default.setdefault('edi_answer', None)
        return super().copy(purchases, default=default)

    @property
    def edi_held(self):
        "Tell if the purchase must not be processed before its answer"
        return self.state == 'confirmed' and self.edi_state in HELD

    def check_for_quotation(self):
        super().check_for_quotation()
        if self.relation:
            self._check_order()

    def _check_order(self):
        "Raise an error for what an order cannot say"
        pool = Pool()
        Document = pool.get('cooperative.edi.document')
        if (self.relation.state != 'agreed'
                or self.relation.peer.party != self.party):
            raise OrderRelationError(gettext(
                    'cooperative_edi.msg_purchase_relation',
                    purchase=self.rec_name,
                    relation=self.relation.rec_name))
        for line in self.line_lines:
            if line.quantity <= 0:
                raise OrderQuantityError(gettext(
                        'cooperative_edi.msg_purchase_line_quantity',
                        line=line.rec_name))
            Document.check_item(line.edi_item(), line)
            Document.unit_code(line.unit)

    @classmethod
    @ModelView.button
    @Workflow.transition('draft')
    def draft(cls, purchases):
        pool = Pool()
        Warning = pool.get('res.user.warning')
        for purchase in purchases:
            if purchase.edi_held:
                name = Warning.format('edi_withdraw', [purchase])
                if Warning.check(name):
                    raise OrderWithdrawnWarning(name, gettext(
                            'cooperative_edi.msg_purchase_withdraw',
                            purchase=purchase.rec_name,
                            party=purchase.party.rec_name))
        cls.write([p for p in purchases if p.edi_state != 'refused'], {
                'edi_state': 'none',
                })
        super().draft(purchases)

    @classmethod
    @ModelView.button
    @Workflow.transition('quotation')
    def quote(cls, purchases):
        # The supplier's invoices arrive as messages
        cls.write([p for p in purchases
                if p.relation and p.invoice_method != 'manual'], {
                'invoice_method': 'manual',
                })
        super().quote(purchases)

    @classmethod
    @ModelView.button
    @Workflow.transition('confirmed')
    def confirm(cls, purchases):
        ordered = [p for p in purchases if p.relation]
        for purchase in ordered:
            purchase._check_order()
        cls.write(ordered, {'edi_state': 'waiting', 'edi_answer': None})
        super().confirm(purchases)
        for purchase in ordered:
            purchase._send_order()

    def _send_order(self):
        pool = Pool()
        Document = pool.get('cooperative.edi.document')
        Message = pool.get('cooperative.edi.message')
        self._set_edi_lines()
        Message.send(self.relation, Document.order(self), origin=self)

    def _set_edi_lines(self):
        "Give each line an identifier that does not change any more"
        pool = Pool()
        Line = pool.get('purchase.line')
        number = max(
            (int(l.edi_line) for l in self.line_lines if l.edi_line),
            default=0)
        lines = [l for l in self.line_lines if not l.edi_line]
        for number, line in enumerate(lines, number + 1):
            line.edi_line = str(number)
        Line.save(lines)

    @classmethod
    @ModelView.button
    def process(cls, purchases):
        pool = Pool()
        Message = pool.get('cooperative.edi.message')
        purchases = [p for p in purchases if not p.edi_held]
        peers = {p.relation.peer for p in purchases
            if p.relation and p.state == 'confirmed'}
        super().process(purchases)
        # What the suppliers already sent may have waited for this
        parked = Message.search([
                ('peer', 'in', [p.id for p in peers]),
                ('state', '=', 'parked'),
                ])
        if parked:
            Message.retry(parked)

    @classmethod
    @ModelView.button
    def edi_accept(cls, purchases):
        pool = Pool()
        Line = pool.get('purchase.line')
        purchases = [p for p in purchases if p.edi_state == 'changed']
        lines = [l for p in purchases for l in p.line_lines]
        for line in lines:
            line.edi_apply()
        Line.save(lines)
        cls._edi_release(purchases)

    @classmethod
    def _edi_release(cls, purchases):
        "Let the purchases that the suppliers accepted be processed"
        transaction = Transaction()
        context = transaction.context
        cls.write(purchases, {'edi_state': 'accepted'})
        cls.store_cache(purchases)
        with transaction.set_context(
                queue_batch=context.get('queue_batch', True)):
            cls.__queue__.process(purchases)

    @classmethod
    def _edi_refuse(cls, purchases, text):
        "Cancel the purchases that the suppliers refused"
        cls.write(purchases, {'edi_state': 'refused', 'edi_answer': text})
        cls.draft(purchases)
        cls.cancel(purchases)


class PurchaseLine(metaclass=PoolMeta):
    __name__ = 'purchase.line'

    edi_line = fields.Char("Order Line", readonly=True,
        help="What identifies the line in the order sent.")
    edi_quantity = fields.Float(
        "Answered Quantity", digits='unit', readonly=True,
        states={
            'invisible': ~Bool(Eval('edi_line')),
            },
        help="The quantity that the supplier proposes.")
    edi_price = Monetary(
        "Answered Price", currency='currency', digits=price_digits,
        readonly=True,
        states={
            'invisible': ~Bool(Eval('edi_line')),
            },
        help="The unit price that the supplier proposes.")
    edi_date = fields.Date("Answered Date", readonly=True,
        states={
            'invisible': ~Bool(Eval('edi_line')),
            },
        help="The delivery date that the supplier promises.")

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
        supplier = self.product_supplier
        name = self.summary
        if supplier and supplier.name:
            name = supplier.name
        elif self.product:
            name = self.product.name
        return Document.item(
            self.product, name=name, description=self.description or None,
            seller_code=(supplier.code if supplier else None) or None,
            buyer_code=(self.product.code if self.product else None) or None)

    def edi_answer(self, answer):
        "Keep what the supplier answers for the line"
        pool = Pool()
        Document = pool.get('cooperative.edi.document')
        if answer.code == '7':
            self.edi_quantity = 0
            return
        if answer.quantity is not None:
            unit = Document.unit(answer.unit, like=self.unit)
            if unit != self.unit:
                raise DocumentRefused('BV', gettext(
                        'cooperative_edi.msg_document_unit_other',
                        unit=unit.rec_name, expected=self.unit.rec_name))
            self.edi_quantity = Document.quantity(answer.quantity, unit)
        if answer.price is not None:
            self.edi_price = answer.price
        if answer.delivery_date:
            self.edi_date = answer.delivery_date

    def edi_apply(self):
        "Make the line as the supplier answered"
        if self.edi_quantity is not None:
            self.quantity = self.edi_quantity
        if self.edi_price is not None:
            self.unit_price = self.edi_price
        if self.edi_date:
            self.delivery_date_edit = True
            self.delivery_date_store = self.edi_date


class Message(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.message'

    @classmethod
    def _get_origin(cls):
        return super()._get_origin() + ['purchase.purchase']


class Document(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.document'

    @classmethod
    def order(cls, purchase):
        "Return the order that the purchase is"
        return ubl.Order(
            number=cls._order_number(purchase),
            date=purchase.purchase_date,
            currency=purchase.currency.code,
            buyer=cls.us(purchase.company),
            seller=cls.party(purchase.relation.peer),
            note=purchase.comment or None,
            delivery_date=purchase.delivery_date,
            delivery_address=(cls.address(purchase.warehouse.address)
                if purchase.warehouse else None),
            untaxed=purchase.untaxed_amount,
            tax=purchase.tax_amount,
            total=purchase.total_amount,
            lines=tuple(map(cls._order_line, purchase.line_lines)))

    @classmethod
    def rewrite_order(cls, purchase, order):
        return cls.order(purchase)

    @classmethod
    def _order_number(cls, purchase):
        "Return the number, distinct from those of earlier orders"
        if sent := len(purchase.edi_sent('order')):
            return f'{purchase.number}-{sent + 1}'
        return purchase.number

    @classmethod
    def _order_line(cls, line):
        return ubl.OrderLine(
            id=line.edi_line,
            quantity=decimal(line.quantity),
            unit=cls.unit_code(line.unit),
            price=line.unit_price,
            amount=line.amount,
            item=line.edi_item(),
            note=line.note or None,
            delivery_date=(
                line.delivery_date_store if line.delivery_date_edit else None))

    @classmethod
    def receive_order_response(cls, message, response):
        "Release, change or cancel the purchase that waited for the answer"
        pool = Pool()
        Purchase = pool.get('purchase.purchase')
        cls.check_document(message, response, response.seller, response.buyer)
        purchase = cls.sent(message, ['order'], response.order_number)
        if response.code == 'AB':
            if response.sale_number and not purchase.reference:
                purchase.reference = response.sale_number
                purchase.save()
            return purchase
        if purchase.edi_state != 'waiting':
            raise DocumentRefused('BV', gettext(
                    'cooperative_edi.msg_purchase_answered',
                    purchase=purchase.rec_name))
        if response.code == 'AP':
            Purchase._edi_release([purchase])
        elif response.code == 'CA':
            cls._change_purchase(purchase, response)
        elif response.code == 'RE':
            Purchase._edi_refuse([purchase], response.note)
        return purchase

    @classmethod
    def _change_purchase(cls, purchase, response):
        pool = Pool()
        Line = pool.get('purchase.line')
        lines = {l.edi_line: l for l in purchase.line_lines}
        for answer in response.lines:
            if answer.order_line not in lines:
                raise DocumentRefused('BV', gettext(
                        'cooperative_edi.msg_document_line',
                        line=answer.order_line, number=response.order_number))
            lines[answer.order_line].edi_answer(answer)
        Line.save(lines.values())
        purchase.edi_state = 'changed'
        purchase.edi_answer = response.note
        purchase.save()

    @classmethod
    def message_refused(cls, message, text):
        pool = Pool()
        Purchase = pool.get('purchase.purchase')
        super().message_refused(message, text)
        if (message.kind == 'order'
                and isinstance(message.origin, Purchase)
                and message.origin.edi_held):
            Purchase._edi_refuse([message.origin], text)

    @classmethod
    def ordered_line(cls, message, number, line):
        "Return the purchase line that the supplier refers to"
        purchase = cls.sent(message, ['order'], number)
        for purchase_line in purchase.line_lines:
            if purchase_line.edi_line == line:
                return purchase_line
        raise DocumentRefused('BV', gettext(
                'cooperative_edi.msg_document_line',
                line=line, number=number))
