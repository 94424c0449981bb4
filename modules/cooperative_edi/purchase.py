# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
from trytond.i18n import gettext
from trytond.model import ModelView, Workflow, fields
from trytond.modules.currency.fields import Monetary
from trytond.modules.product import price_digits
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Bool, Equal, Eval, If
from trytond.transaction import Transaction, without_check_access
from trytond.wizard import Button, StateTransition, StateView, Wizard

from trycoton.protocol import ubl
from trycoton.protocol.ubl.change import CHANGED, DELETED, UNCHANGED

from .document import OrderMixin, decimal, today
from .exceptions import DocumentRefused
from .exceptions_document import (
    OrderQuantityError, OrderRelationError, OrderRequestError,
    OrderWithdrawnWarning)
from .transaction import hold

STATES = [
    ('none', "None"),
    ('waiting', "Waiting"),
    ('accepted', "Accepted"),
    ('changed', "Changed"),
    ('refused', "Refused"),
    ('cancelled', "Cancelled by Agreement"),
    ]
HELD = {'waiting', 'changed'}
ENDED = {'refused', 'cancelled'}
# What is asked after the order, by the kind of document that asks for it
REQUESTS = {'order_change': 'change', 'order_cancellation': 'cancellation'}


class Purchase(OrderMixin, metaclass=PoolMeta):
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
    edi_request = fields.Selection([
            (None, ""),
            ('change', "Change"),
            ('cancellation', "Cancellation"),
            ], "Asked", readonly=True, sort=False,
        states={
            'invisible': ~Eval('edi_request'),
            },
        help="What the supplier was asked after the order and has not "
        "answered yet.\n"
        "The purchase stays as it is until the supplier accepts.")

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
        proposed = ~Eval('edi_request') & (Eval('edi_state') == 'changed')
        cancellable = (Eval('edi_request') != 'cancellation') & (
            (Eval('state') == 'confirmed')
            & Eval('edi_state').in_(['waiting', 'accepted'])
            | (Eval('state') == 'processing')
            & (Eval('edi_state') == 'accepted'))
        for name, visible in [
                ('edi_accept', proposed),
                ('edi_refuse', proposed & (Eval('state') == 'confirmed')),
                ('edi_change', cls._edi_change_states()),
                ('edi_cancel', cancellable),
                ]:
            cls._buttons[name] = {
                'invisible': ~visible,
                'depends': ['state', 'edi_state', 'edi_request'],
                }

    @classmethod
    def _edi_change_states(cls):
        "When the buyer can ask for a change"
        return (
            ~Eval('edi_request')
            & (Eval('state') == 'confirmed')
            & Eval('edi_state').in_(['waiting', 'changed']))

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
                    If(Eval('edi_state').in_(['refused', 'cancelled']),
                        'danger', ''))),
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
        default.setdefault('edi_request', None)
        return super().copy(purchases, default=default)

    @property
    def edi_open(self):
        "Tell if the order itself waits for its answer"
        return self.state == 'confirmed' and self.edi_state in HELD

    @property
    def edi_held(self):
        "Tell if the purchase must not be processed before an answer"
        return self.edi_open or (
            self.state == 'confirmed' and bool(self.edi_request))

    @property
    def edi_changeable(self):
        "Tell if a change can be asked"
        return self.edi_open and not self.edi_request

    @property
    def edi_cancellable(self):
        "Tell if the cancellation can be asked"
        return self.edi_request != 'cancellation' and (
            self.edi_open
            or (self.state in {'confirmed', 'processing'}
                and self.edi_state == 'accepted'))

    @property
    def edi_order(self):
        "The last order sent"
        orders = self.edi_sent('order')
        return orders[0] if orders else None

    def edi_requests(self, kinds=tuple(REQUESTS)):
        """Return what was asked after the last order, last first, without
        what the supplier could not take into account"""
        order = self.edi_order
        requests = [m for k in kinds for m in self.edi_sent(k)
            if order and m.id > order.id
            and m.state not in {'refused', 'cancelled'}]
        return sorted(requests, key=int, reverse=True)

    def edi_unanswered(self):
        "Return what was asked and has no answer yet, last first"
        pool = Pool()
        Document = pool.get('cooperative.edi.document')
        Message = pool.get('cooperative.edi.message')
        requests = self.edi_requests()
        answered = {m.answers for m in Message.search([
                    ('direction', '=', 'in'),
                    ('kind', '=', 'order_response'),
                    ('state', '=', 'processed'),
                    ('answers', 'in', [r.id for r in requests]),
                    ]) if Document.content(m).code != 'AB'}
        return [r for r in requests if r not in answered]

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
        cls.write([p for p in purchases if p.edi_state not in ENDED], {
                'edi_state': 'none',
                })
        cls.write(purchases, {'edi_request': None})
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
        parties = {p.party for p in purchases if p.state == 'confirmed'}
        super().process(purchases)
        # What the suppliers already sent may have waited for this
        parked = Message.search([
                ['OR',
                    ('peer', 'in', [p.id for p in peers]),
                    # Unsigned
                    ('party', 'in', [p.id for p in parties]),
                    ],
                ('state', '=', 'parked'),
                ])
        if parked:
            Message.retry(parked)

    @classmethod
    @ModelView.button
    def edi_accept(cls, purchases):
        pool = Pool()
        Line = pool.get('purchase.line')
        for purchase in purchases:
            purchase = hold(purchase)
            if purchase.edi_state != 'changed' or purchase.edi_request:
                continue
            lines = Line.browse(purchase.line_lines)
            for line in lines:
                line.edi_apply()
            purchase._edi_ask_change(lines)
            purchase.edi_state = 'waiting'
            purchase.save()

    @classmethod
    @ModelView.button_action('cooperative_edi.wizard_purchase_edi_cancel')
    def edi_refuse(cls, purchases):
        pass

    @classmethod
    @ModelView.button_action('cooperative_edi.wizard_purchase_edi_change')
    def edi_change(cls, purchases):
        pass

    @classmethod
    @ModelView.button_action('cooperative_edi.wizard_purchase_edi_cancel')
    def edi_cancel(cls, purchases):
        pass

    def edi_ask_change(self, lines, note=None):
        "Ask the supplier for the lines as they are, though not saved"
        purchase = hold(self)
        if not purchase.edi_changeable:
            raise OrderRequestError(gettext(
                    'cooperative_edi.msg_purchase_request',
                    purchase=purchase.rec_name))
        purchase._check_change(lines)
        purchase._edi_ask_change(lines, note)

    def _check_change(self, lines):
        "Raise an error for what a change of the order cannot ask"
        for line in lines:
            if line.quantity < 0:
                raise OrderQuantityError(gettext(
                        'cooperative_edi.msg_purchase_line_quantity',
                        line=line.rec_name))

    def _edi_ask_change(self, lines, note=None):
        pool = Pool()
        Document = pool.get('cooperative.edi.document')
        if not any(line.quantity for line in lines):
            raise OrderQuantityError(gettext(
                    'cooperative_edi.msg_purchase_change_empty',
                    purchase=self.rec_name))
        self._edi_ask(Document.purchase_change(self, lines, note))

    def edi_ask_cancellation(self, reason):
        "Ask the supplier to cancel the order"
        pool = Pool()
        Document = pool.get('cooperative.edi.document')
        purchase = hold(self)
        if not purchase.edi_cancellable:
            raise OrderRequestError(gettext(
                    'cooperative_edi.msg_purchase_request',
                    purchase=purchase.rec_name))
        purchase._edi_ask(Document.purchase_cancellation(purchase, reason))

    def _edi_ask(self, document):
        pool = Pool()
        Message = pool.get('cooperative.edi.message')
        Message.send(self.relation, document, origin=self)
        self.edi_request = REQUESTS[document.kind]
        self.save()

    def _edi_answered(self, request, note):
        "Go on once the request is answered"
        self.edi_request = next(
            (REQUESTS[r.kind] for r in self.edi_unanswered() if r != request),
            None)
        self.edi_answer = note
        self.save()
        self.__class__.__queue__.process([self])

    def _edi_agree(self, change):
        "Make the order as the supplier accepted to change it"
        pool = Pool()
        Line = pool.get('purchase.line')
        lines = self._edi_lines(change)
        for line in lines:
            line.edi_apply()
        if self.state == 'confirmed':
            Line.save(lines)
        else:
            self._edi_amend(lines)
        self.__class__._edi_release([self])

    def _edi_lines(self, change):
        "Return the lines with what the change asks for as their answer"
        pool = Pool()
        Line = pool.get('purchase.line')
        asked = {l.id: l for l in change.lines}
        lines = [
            l for l in Line.browse(self.line_lines) if l.edi_line in asked]
        for line in lines:
            line.edi_ask(asked[line.edi_line])
        return lines

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

    def _edi_end(self):
        "Cancel the order as both agreed"
        cls = self.__class__
        cls.write([self], {'edi_state': 'cancelled'})
        if self.state == 'confirmed':
            cls.draft([self])
            cls.cancel([self])
        else:
            self._edi_stop()

    def _edi_stop(self):
        "Expect nothing any more"
        pool = Pool()
        Invoice = pool.get('account.invoice')
        Move = pool.get('stock.move')
        lines = self.line_lines
        Move.cancel([m for m in self.moves if m.state in {'staging', 'draft'}])
        invoices = [i for i in self.invoices if i.state == 'draft']
        Invoice.cancel(invoices)
        self._edi_stop_lines(lines, invoices)


class Purchase_Amendment(metaclass=PoolMeta):
    __name__ = 'purchase.purchase'

    @classmethod
    def _edi_change_states(cls):
        return super()._edi_change_states() | (
            ~Eval('edi_request')
            & (Eval('state') == 'processing')
            & Eval('edi_state').in_(['accepted', 'changed']))

    @property
    def edi_changeable(self):
        return super().edi_changeable or (
            not self.edi_request
            and self.state == 'processing'
            and self.edi_state in {'accepted', 'changed'})

    def _edi_amend(self, lines):
        "Change the lines of the purchase that is processed already"
        pool = Pool()
        Amendment = pool.get('purchase.amendment')
        AmendmentLine = pool.get('purchase.amendment.line')
        Line = pool.get('purchase.line')
        amended = []
        for line in lines:
            amendment = AmendmentLine(
                action='line', party=self.party, line=Line(line.id))
            amendment.on_change_line()
            amendment.quantity = line.quantity
            amendment.unit_price = line.unit_price
            amended.append(amendment)
            # An amendment cannot say when
            Line.write([Line(line.id)], {
                    'delivery_date_edit': line.delivery_date_edit,
                    'delivery_date_store': line.delivery_date_store,
                    })
        amendment = Amendment(
            purchase=self, description=self.edi_order.document_number,
            lines=amended)
        amendment.save()
        Amendment.validate_amendment([amendment])


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

    def edi_ask(self, asked):
        "Keep as answered what was asked for the line"
        self.edi_quantity = float(asked.quantity)
        self.edi_price = asked.price
        self.edi_date = asked.delivery_date

    def edi_is(self, item):
        "Tell if the supplier means the item of the line"
        own = self.edi_item()
        return any(
            getattr(item, name) and getattr(item, name) == getattr(own, name)
            for name in ['buyer_code', 'seller_code', 'gtin'])

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


class PurchaseChangeStart(ModelView):
    __name__ = 'purchase.edi_change.start'

    lines = fields.One2Many(
        'purchase.edi_change.line', None, "Lines",
        help="Set a quantity to 0 to order the line no more.")
    note = fields.Text("Note",
        help="What the supplier is told.")


class PurchaseChangeLine(ModelView):
    __name__ = 'purchase.edi_change.line'

    line = fields.Many2One('purchase.line', "Line", readonly=True)
    quantity = fields.Float(
        "Quantity", digits='unit', required=True,
        domain=[
            ('quantity', '>=', 0),
            ])
    unit = fields.Many2One('product.uom', "Unit", readonly=True)
    unit_price = Monetary(
        "Unit Price", currency='currency', digits=price_digits,
        required=True)
    currency = fields.Many2One('currency.currency', "Currency", readonly=True)
    delivery_date = fields.Date("Delivery Date",
        help="Leave empty to let the date as it is.")

    @classmethod
    def values(cls, line):
        "Return what the line orders now"
        return {
            'line': line.id,
            'line.': {'rec_name': line.rec_name},
            'quantity': line.quantity,
            'unit': line.unit.id if line.unit else None,
            'unit_price': line.unit_price,
            'currency': line.currency.id,
            'delivery_date': (
                line.delivery_date_store if line.delivery_date_edit else None),
            }

    def asked(self):
        "Return the line of the purchase, not saved, as it is asked for"
        pool = Pool()
        Line = pool.get('purchase.line')
        line = Line(self.line.id)
        line.quantity = self.quantity
        line.unit_price = self.unit_price
        if self.delivery_date:
            line.delivery_date_edit = True
            line.delivery_date_store = self.delivery_date
        return line


class PurchaseChange(Wizard):
    __name__ = 'purchase.edi_change'
    start = StateView(
        'purchase.edi_change.start',
        'cooperative_edi.purchase_edi_change_start_view_form', [
            Button("Cancel", 'end', 'tryton-cancel'),
            Button("Send", 'send', 'tryton-ok', default=True),
            ])
    send = StateTransition()

    def default_start(self, fields):
        pool = Pool()
        Line = pool.get('purchase.edi_change.line')
        return {'lines': [
                Line.values(l) for l in self.record.line_lines
                if l.edi_line]}

    def transition_send(self):
        lines = [
            l.asked() for l in self.start.lines
            if l.line.purchase == self.record]
        self.record.edi_ask_change(lines, self.start.note or None)
        return 'end'


class PurchaseCancelStart(ModelView):
    __name__ = 'purchase.edi_cancel.start'

    reason = fields.Text("Reason", required=True,
        help="What the supplier is told.")


class PurchaseCancel(Wizard):
    __name__ = 'purchase.edi_cancel'
    start = StateView(
        'purchase.edi_cancel.start',
        'cooperative_edi.purchase_edi_cancel_start_view_form', [
            Button("Keep the Order", 'end', 'tryton-cancel'),
            Button("Send", 'send', 'tryton-ok', default=True),
            ])
    send = StateTransition()

    def transition_send(self):
        self.record.edi_ask_cancellation(self.start.reason)
        return 'end'


class Message(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.message'

    @classmethod
    def _get_origin(cls):
        return super()._get_origin() + ['purchase.purchase']

    @classmethod
    @ModelView.button
    @Workflow.transition('cancelled')
    def cancel(cls, messages):
        pool = Pool()
        Document = pool.get('cooperative.edi.document')
        super().cancel(messages)
        for message in messages:
            if message.kind in REQUESTS:
                # Nobody answers what is not sent
                Document.message_refused(message, message.error)


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
    def purchase_change(cls, purchase, lines, note=None):
        "Return the change that asks for the lines"
        order = purchase.edi_order
        sent = len(purchase.edi_sent('order_change'))
        return ubl.OrderChange(
            number=f'{order.document_number}-C{sent + 1}',
            date=today(purchase.company),
            sequence=len(purchase.edi_requests(['order_change'])) + 1,
            order_number=order.document_number,
            currency=purchase.currency.code,
            buyer=cls.us(purchase.company),
            seller=cls.party(purchase.relation.peer),
            note=note,
            lines=tuple(cls._change_line(l) for l in lines if l.edi_line))

    @classmethod
    def _change_line(cls, line):
        pool = Pool()
        Line = pool.get('purchase.line')
        price = line.unit_price
        values = {
            **vars(cls._order_line(line)),
            'amount': line.currency.round(decimal(line.quantity) * price),
            }
        if not line.quantity:
            code = DELETED
        elif values == {
                **vars(cls._order_line(Line(line.id))),
                'amount': values['amount']}:
            code = UNCHANGED
        else:
            code = CHANGED
        return ubl.OrderChangeLine(code=code, **values)

    @classmethod
    def purchase_cancellation(cls, purchase, reason):
        "Return what asks the supplier to cancel the order"
        order = purchase.edi_order
        sent = len(purchase.edi_sent('order_cancellation'))
        return ubl.OrderCancellation(
            number=f'{order.document_number}-X{sent + 1}',
            date=today(purchase.company),
            reason=reason,
            order_number=order.document_number,
            buyer=cls.us(purchase.company),
            seller=cls.party(purchase.relation.peer))

    @classmethod
    def receive_order_response(cls, message, response):
        "Release, change or cancel the purchase that waited for the answer"
        cls.check_document(message, response, response.seller, response.buyer)
        purchase = hold(
            cls.sent(message, ['order'], response.order_number))
        if not purchase.relation:
            return cls._note_response(purchase, response)
        message.answers = cls._answered(message, purchase, response)
        if response.code == 'AB':
            if response.sale_number and not purchase.reference:
                purchase.reference = response.sale_number
                purchase.save()
        elif message.answers.kind == 'order':
            cls._order_answered(purchase, response)
        elif purchase.edi_state not in ENDED:
            cls._request_answered(purchase, message.answers, response)
        return purchase

    @classmethod
    def _answered(cls, message, purchase, response):
        "Return the message that the response answers"
        pool = Pool()
        Message = pool.get('cooperative.edi.message')
        order = purchase.edi_order
        if response.change_number:
            answered = Message.search([
                    ('id', 'in', [
                            m.id for m in purchase.edi_sent('order_change')]),
                    ('document_number', '=', response.change_number),
                    ], limit=1)
        elif message.answers and message.answers.origin == purchase:
            answered = [message.answers]
        elif purchase.edi_open:
            answered = [order]
        else:
            answered = purchase.edi_unanswered() or [order]
        if (not answered
                or order.document_number != response.order_number
                or answered[0].id < order.id):
            raise DocumentRefused('BV', gettext(
                    'cooperative_edi.msg_purchase_answered',
                    purchase=purchase.rec_name))
        return answered[0]

    @classmethod
    def _order_answered(cls, purchase, response):
        pool = Pool()
        Purchase = pool.get('purchase.purchase')
        if not purchase.edi_open:
            raise DocumentRefused('BV', gettext(
                    'cooperative_edi.msg_purchase_answered',
                    purchase=purchase.rec_name), 'TCT-ANSWERED')
        if response.code == 'AP':
            Purchase._edi_release([purchase])
        elif response.code == 'CA':
            cls._change_purchase(purchase, purchase.line_lines, response)
        elif response.code == 'RE':
            Purchase._edi_refuse([purchase], response.note)

    @classmethod
    def _request_answered(cls, purchase, request, response):
        "Do what was asked, unless the supplier refuses"
        if (not purchase.edi_request
                or request not in purchase.edi_unanswered()
                or (response.code == 'CA' and request.kind != 'order_change')):
            raise DocumentRefused('BV', gettext(
                    'cooperative_edi.msg_purchase_answered',
                    purchase=purchase.rec_name))
        asked = cls.content(request)
        if response.code == 'CA':
            cls._change_purchase(
                purchase, purchase._edi_lines(asked), response)
        purchase._edi_answered(request, response.note)
        if response.code == 'AP':
            if request.kind == 'order_change':
                purchase._edi_agree(asked)
            else:
                purchase._edi_end()

    @classmethod
    def _note_response(cls, purchase, response):
        "Keep what is answered to an order that was not sent as a document"
        if response.code not in {'AB', 'AP'}:
            raise DocumentRefused('BV', gettext(
                    'cooperative_edi.msg_purchase_not_sent',
                    purchase=purchase.rec_name), 'TCT-NOT-SENT')
        if response.sale_number and not purchase.reference:
            purchase.reference = response.sale_number
            purchase.save()
        return purchase

    @classmethod
    def _recorded(cls, message, kinds, number):
        pool = Pool()
        Purchase = pool.get('purchase.purchase')
        if message.unsigned and 'order' in kinds:
            for purchase in Purchase.search([
                        ('company', '=', message.company.id),
                        ('party', '=', message.partner.id),
                        ('number', '=', number),
                        ], limit=1):
                return purchase
        return super()._recorded(message, kinds, number)

    @classmethod
    def _change_purchase(cls, purchase, lines, response):
        pool = Pool()
        Line = pool.get('purchase.line')
        lines = {l.edi_line: l for l in lines}
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
        if not isinstance(message.origin, Purchase):
            return
        purchase = hold(message.origin)
        if message.kind == 'order' and purchase.edi_open:
            Purchase._edi_refuse([purchase], text)
        elif (message.kind in REQUESTS
                and purchase.edi_request
                and message.id > purchase.edi_order.id):
            purchase._edi_answered(message, text)

    @classmethod
    def ordered_line(cls, message, number, line, item=None):
        "Return the purchase line that the supplier refers to"
        purchase = cls.sent(message, ['order'], number)
        for purchase_line in purchase.line_lines:
            if purchase_line.edi_line == line:
                return purchase_line
        if not purchase.relation and item:
            lines = [l for l in purchase.line_lines if l.edi_is(item)]
            if len(lines) == 1:
                return lines[0]
        raise DocumentRefused('BV', gettext(
                'cooperative_edi.msg_document_line',
                line=line, number=number), 'TCT-LINE')
