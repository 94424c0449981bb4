# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
from collections import defaultdict

from trytond.i18n import gettext
from trytond.model import ModelView, Workflow, fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Equal, Eval, If

from trycoton.protocol import ubl
from trycoton.protocol.ubl.receipt import CREDIT, OTHER_REASON

from .document import ExchangeMixin, decimal, moment
from .exceptions import DocumentParked, DocumentRefused
from .exceptions_document import ShipmentCreditError


class Move(metaclass=PoolMeta):
    __name__ = 'stock.move'

    edi_line = fields.Char("Despatch Line", readonly=True,
        help="What identifies the line in the despatch advice.")
    edi_despatched_quantity = fields.Float(
        "Despatched Quantity", digits='unit', readonly=True,
        states={
            'invisible': ~Eval('edi_line'),
            },
        help="The quantity that the supplier says was despatched.")
    edi_rejected_quantity = fields.Float(
        "Rejected Quantity", digits='unit',
        domain=['OR',
            ('edi_rejected_quantity', '=', None),
            ('edi_rejected_quantity', '>=', 0),
            ],
        states={
            'invisible': ~Eval('edi_line'),
            'readonly': Eval('state').in_(['done', 'cancelled']),
            },
        help="The quantity that arrived but is not accepted.\n"
        "Do not count it in the quantity of the move.")
    edi_reject_reason = fields.Char(
        "Reject Reason",
        states={
            'invisible': ~Eval('edi_line'),
            'readonly': Eval('state').in_(['done', 'cancelled']),
            })
    edi_received_quantity = fields.Float(
        "Received Quantity", digits='unit', readonly=True,
        states={
            'invisible': ~Eval('edi_line'),
            },
        help="The quantity that the customer says it received and accepted.")

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._allow_modify_closed_period.update({
                'edi_line', 'edi_received_quantity', 'edi_rejected_quantity',
                'edi_reject_reason'})

    @classmethod
    def copy(cls, moves, default=None):
        default = default.copy() if default is not None else {}
        for name in [
                'edi_line', 'edi_despatched_quantity',
                'edi_rejected_quantity', 'edi_reject_reason',
                'edi_received_quantity']:
            default.setdefault(name, None)
        return super().copy(moves, default=default)

    @classmethod
    def view_attributes(cls):
        different = (
            ~Equal(Eval('edi_received_quantity', None), None)
            & (Eval('edi_received_quantity', 0) != Eval('quantity', 0)))
        return super().view_attributes() + [
            ('/tree/field[@name="edi_received_quantity"]', 'visual',
                If(different, 'warning', '')),
            ]

    @property
    def edi_missing_quantity(self):
        "What was shipped but not received"
        if self.edi_received_quantity is None:
            return 0
        return self.unit.round(self.quantity - self.edi_received_quantity)


class ShipmentOut(ExchangeMixin, metaclass=PoolMeta):
    __name__ = 'stock.shipment.out'

    edi_state = fields.Selection([
            ('none', "None"),
            ('sent', "Announced"),
            ('unsent', "Not Announced"),
            ('received', "Received"),
            ('difference', "Difference"),
            ('credited', "Credited"),
            ], "Receipt", required=True, readonly=True, sort=False,
        states={
            'invisible': Eval('edi_state') == 'none',
            },
        help="What the customer says of the despatch.")
    edi_answer = fields.Text(
        "Answer of the Customer", readonly=True,
        states={
            'invisible': ~Eval('edi_answer'),
            })

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._buttons.update(
            edi_credit={
                'invisible': Eval('edi_state') != 'difference',
                'depends': ['edi_state'],
                },
            )

    @classmethod
    def default_edi_state(cls):
        return 'none'

    @classmethod
    def view_attributes(cls):
        return super().view_attributes() + [
            ('/tree/field[@name="edi_state"]', 'visual',
                If(Eval('edi_state') == 'difference', 'warning', '')),
            ]

    @classmethod
    def copy(cls, shipments, default=None):
        default = default.copy() if default is not None else {}
        default.setdefault('relation', None)
        default.setdefault('edi_state', 'none')
        default.setdefault('edi_answer', None)
        return super().copy(shipments, default=default)

    @classmethod
    @ModelView.button
    @Workflow.transition('shipped')
    def ship(cls, shipments):
        super().ship(shipments)
        cls._send_despatch(shipments)

    @classmethod
    @ModelView.button
    @Workflow.transition('done')
    def do(cls, shipments):
        super().do(shipments)
        cls._send_despatch(shipments)

    @classmethod
    def _send_despatch(cls, shipments):
        "Announce once the shipments of the orders received"
        pool = Pool()
        Document = pool.get('cooperative.edi.document')
        Message = pool.get('cooperative.edi.message')
        for shipment in shipments:
            if shipment.edi_state != 'none' or not shipment.edi_moves:
                continue
            relations = {
                m.origin.sale.relation for m in shipment.edi_moves}
            shipment.relation, *_ = sorted(relations, key=int)
            shipment.edi_state = 'sent'
            shipment._set_edi_lines()
            shipment.save()
            Message.send(
                shipment.relation, Document.despatch_advice(shipment),
                origin=shipment)

    def _set_edi_lines(self):
        pool = Pool()
        Move = pool.get('stock.move')
        moves = self.edi_moves
        for move in moves:
            move.edi_line = str(move.id)
        Move.save(moves)

    @property
    def edi_moves(self):
        "The outgoing moves of the orders received"
        pool = Pool()
        SaleLine = pool.get('sale.line')
        return [m for m in self.outgoing_moves
            if m.state != 'cancelled' and m.quantity
            and isinstance(m.origin, SaleLine) and m.origin.edi_line
            and m.origin.sale.relation]

    @classmethod
    @ModelView.button
    def edi_credit(cls, shipments):
        pool = Pool()
        Invoice = pool.get('account.invoice')
        shipments = [s for s in shipments if s.edi_state == 'difference']
        credits = [c for s in shipments for c in s._edi_credits()]
        Invoice.save(credits)
        cls.write(shipments, {'edi_state': 'credited'})

    def _edi_credits(self):
        "Return the credit notes of what was not received"
        lines = defaultdict(list)
        for move in self.edi_moves:
            if move.edi_missing_quantity > 0:
                line = self._edi_invoice_line(move)
                lines[line.invoice].append((line, move))
        for invoice, credited in lines.items():
            credit = invoice._credit()
            credit.lines = [
                self._edi_credit_line(line, move) for line, move in credited]
            credit.taxes = []
            yield credit

    def _edi_invoice_line(self, move):
        "Return the invoice line by which the move was invoiced"
        lines = [l for l in move.origin.invoice_lines
            if l.invoice and l.invoice.state in {'posted', 'paid'}
            and l.quantity > 0]
        for line in lines:
            if move in line.stock_moves:
                return line
        if lines:
            return lines[0]
        raise ShipmentCreditError(gettext(
                'cooperative_edi.msg_shipment_credit',
                shipment=self.rec_name, product=move.product.rec_name))

    def _edi_credit_line(self, line, move):
        pool = Pool()
        Uom = pool.get('product.uom')
        credit = line._credit()
        credit.quantity = -Uom.compute_qty(
            move.unit, move.edi_missing_quantity, line.unit)
        return credit


class ShipmentIn(ExchangeMixin, metaclass=PoolMeta):
    __name__ = 'stock.shipment.in'

    edi_state = fields.Selection([
            ('none', "None"),
            ('announced', "Announced"),
            ('answered', "Answered"),
            ], "Announcement", required=True, readonly=True, sort=False,
        states={
            'invisible': Eval('edi_state') == 'none',
            },
        help="The supplier announced the despatch; receiving it tells the "
        "supplier what was received.")

    @classmethod
    def default_edi_state(cls):
        return 'none'

    @classmethod
    def copy(cls, shipments, default=None):
        default = default.copy() if default is not None else {}
        default.setdefault('relation', None)
        default.setdefault('edi_state', 'none')
        return super().copy(shipments, default=default)

    @classmethod
    @ModelView.button
    @Workflow.transition('received')
    def receive(cls, shipments):
        super().receive(shipments)
        for shipment in shipments:
            if shipment.edi_state == 'announced':
                shipment._send_receipt()

    def _send_receipt(self):
        pool = Pool()
        Document = pool.get('cooperative.edi.document')
        Message = pool.get('cooperative.edi.message')
        self.edi_state = 'answered'
        self.save()
        Message.send(
            self.relation, Document.receipt_advice(self),
            origin=self, answers=self.edi_message)


class Message_Sale(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.message'

    @classmethod
    def _get_origin(cls):
        return super()._get_origin() + ['stock.shipment.out']


class Message_Purchase(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.message'

    @classmethod
    def _get_origin(cls):
        return super()._get_origin() + ['stock.shipment.in']


class Document_Sale(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.document'

    @classmethod
    def despatch_advice(cls, shipment):
        "Return what announces the shipment"
        moves = shipment.edi_moves
        now = moment(shipment.company)
        return ubl.DespatchAdvice(
            number=shipment.number,
            date=now.date(),
            time=now.time(),
            order_number=moves[0].origin.sale.reference,
            buyer=cls.party(shipment.relation.peer),
            seller=cls.us(shipment.company),
            delivery_date=shipment.effective_date or shipment.planned_date,
            lines=tuple(map(cls._despatch_line, moves)))

    @classmethod
    def rewrite_despatch_advice(cls, shipment, advice):
        return cls.despatch_advice(shipment)

    @classmethod
    def _despatch_line(cls, move):
        line = move.origin
        outstanding = cls._outstanding(line, move.unit)
        reason = outstanding and gettext(
            'cooperative_edi.msg_despatch_outstanding')
        return ubl.DespatchLine(
            id=move.edi_line,
            quantity=decimal(move.quantity),
            unit=cls.unit_code(move.unit),
            outstanding=decimal(outstanding) if outstanding else None,
            outstanding_reason=reason or None,
            order_line=line.edi_line,
            order_number=line.sale.reference,
            item=line.edi_item())

    @classmethod
    def _outstanding(cls, line, unit):
        "Return what remains to despatch of the sale line"
        pool = Pool()
        Uom = pool.get('product.uom')
        quantity = line.quantity
        for move in line.moves:
            if move.edi_line and move.state != 'cancelled':
                quantity -= Uom.compute_qty(
                    move.unit, move.quantity, line.unit, round=False)
        return max(Uom.compute_qty(line.unit, quantity, unit), 0)

    @classmethod
    def message_refused(cls, message, text):
        super().message_refused(message, text)
        if message.kind == 'despatch_advice' and message.origin:
            message.origin.edi_answer = text
            message.origin.save()

    @classmethod
    def _recorded(cls, message, kinds, number):
        pool = Pool()
        Shipment = pool.get('stock.shipment.out')
        if message.unsigned and 'despatch_advice' in kinds:
            for shipment in Shipment.search([
                        ('company', '=', message.company.id),
                        ('customer', '=', message.partner.id),
                        ('number', '=', number),
                        ], limit=1):
                return shipment
        return super()._recorded(message, kinds, number)

    @classmethod
    def receive_receipt_advice(cls, message, advice):
        "Note on the shipment what was received"
        pool = Pool()
        Move = pool.get('stock.move')
        cls.check_document(message, advice, advice.buyer, advice.seller)
        shipment = cls.sent(
            message, ['despatch_advice'], advice.despatch_number)
        moves = {m.edi_line: m for m in shipment.edi_moves}
        for line in advice.lines:
            if line.despatch_line not in moves:
                raise DocumentRefused('BV', gettext(
                        'cooperative_edi.msg_document_line',
                        line=line.despatch_line,
                        number=advice.despatch_number))
            cls._receipt_move(message, moves[line.despatch_line], line)
        Move.save(moves.values())
        missing = any(m.edi_missing_quantity for m in moves.values())
        shipment.edi_state = 'difference' if missing else 'received'
        shipment.edi_answer = advice.note
        shipment.save()
        return shipment

    @classmethod
    def _receipt_move(cls, message, move, line):
        pool = Pool()
        Uom = pool.get('product.uom')
        unit = move.unit
        if line.unit:
            unit = cls.unit(line.unit, like=unit, message=message)
        rejected = line.rejected or 0
        move.edi_received_quantity = Uom.compute_qty(
            unit, float((line.received or 0) - rejected), move.unit)
        move.edi_rejected_quantity = Uom.compute_qty(
            unit, float(rejected), move.unit)
        move.edi_reject_reason = line.reject_reason


class Document_Purchase(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.document'

    @classmethod
    def receive_despatch_advice(cls, message, advice):
        "Make the shipment to receive of the moves of the purchases"
        pool = Pool()
        Move = pool.get('stock.move')
        Purchase = pool.get('purchase.purchase')
        cls.check_document(message, advice, advice.seller, advice.buyer)
        if shipment := cls.known(message, advice):
            return shipment
        lines = [
            (line, cls._despatched_line(message, advice, line))
            for line in advice.lines]
        shipment = cls._shipment(message, advice, lines)
        shipment.save()
        moves = []
        for line, ordered in lines:
            move = cls._despatched_move(message, line, ordered, moves)
            move.shipment = shipment
            moves.append(move)
        Move.save(moves)
        # What is not despatched yet is awaited by one move again
        Move.delete([
                m for _, line in lines for m in line.moves
                if m.state == 'draft' and not m.shipment and m not in moves])
        Purchase.__queue__.process(
            list({line.purchase for _, line in lines}))
        return shipment

    @classmethod
    def _despatched_line(cls, message, advice, line):
        "Return the purchase line that the despatched line delivers"
        number = line.order_number or advice.order_number
        ordered = cls.ordered_line(
            message, number, line.order_line, line.item)
        if ordered.purchase.edi_held or ordered.purchase.state == 'confirmed':
            raise DocumentParked(gettext(
                    'cooperative_edi.msg_document_awaited', number=number))
        if (not ordered.movable
                or ordered.purchase.state not in {'processing', 'done'}):
            raise DocumentRefused('BV', gettext(
                    'cooperative_edi.msg_document_despatch',
                    line=line.order_line, number=number), 'TCT-DESPATCH')
        return ordered

    @classmethod
    def _shipment(cls, message, advice, lines):
        pool = Pool()
        Shipment = pool.get('stock.shipment.in')
        _, line = lines[0]
        shipment = Shipment(
            company=message.company,
            supplier=message.partner,
            warehouse=line.purchase.warehouse,
            reference=advice.number,
            planned_date=advice.delivery_date or advice.date,
            relation=message.relation,
            edi_message=message,
            edi_state='announced' if message.relation else 'none')
        shipment.on_change_warehouse()
        shipment.on_change_supplier()
        return shipment

    @classmethod
    def _despatched_move(cls, message, line, ordered, taken):
        "Return the move of the purchase line with the quantity despatched"
        pool = Pool()
        Uom = pool.get('product.uom')
        for move in ordered.moves:
            if (move.state == 'draft' and not move.shipment
                    and move not in taken):
                break
        else:
            move = cls._other_move(ordered)
        unit = cls.unit(line.unit, like=move.unit, message=message)
        move.quantity = Uom.compute_qty(
            unit, cls.quantity(line.quantity, unit), move.unit)
        move.edi_line = line.id
        move.edi_despatched_quantity = move.quantity
        return move

    @classmethod
    def _other_move(cls, line):
        "Return a move for the purchase line beside those that it has"
        pool = Pool()
        Move = pool.get('stock.move')
        move = Move(
            product=line.product, unit=line.unit,
            from_location=line.from_location, to_location=line.to_location,
            company=line.purchase.company, origin=line)
        if move.on_change_with_unit_price_required():
            move.unit_price = line.unit_price
            move.currency = line.purchase.currency
        return move

    @classmethod
    def receipt_advice(cls, shipment):
        "Return what tells the supplier what was received"
        advice = cls.content(shipment.edi_message)
        announced = {l.id: l for l in advice.lines}
        received = {m.edi_line: m for m in shipment.incoming_moves
            if m.edi_line in announced and m.state != 'cancelled'}
        now = moment(shipment.company)
        return ubl.ReceiptAdvice(
            number=shipment.number,
            date=now.date(),
            time=now.time(),
            despatch_number=advice.number,
            despatch_date=advice.date,
            despatch_time=advice.time,
            delivery_date=now.date(),
            order_number=advice.order_number,
            buyer=cls.us(shipment.company),
            seller=cls.party(shipment.relation.peer),
            lines=tuple(
                cls._receipt_line(line, received.get(line.id))
                for line in announced.values()))

    @classmethod
    def rewrite_receipt_advice(cls, shipment, advice):
        return cls.receipt_advice(shipment)

    @classmethod
    def _receipt_line(cls, line, move):
        pool = Pool()
        Uom = pool.get('product.uom')
        accepted = rejected = decimal(0)
        if move:
            unit = cls.unit(line.unit, like=move.unit)
            accepted, rejected = (
                decimal(Uom.compute_qty(move.unit, quantity or 0, unit))
                for quantity in [move.quantity, move.edi_rejected_quantity])
        received = accepted + rejected
        values = {}
        if line.quantity > received:
            values['short'] = line.quantity - received
            values['short_action'] = CREDIT
        if rejected:
            values['rejected'] = rejected
            values['reject_action'] = CREDIT
            values['reject_code'] = OTHER_REASON
            values['reject_reason'] = move.edi_reject_reason or gettext(
                'cooperative_edi.msg_receipt_rejected')
        return ubl.ReceiptLine(
            id=line.id,
            received=received,
            unit=line.unit,
            despatch_line=line.id,
            order_line=line.order_line,
            order_number=line.order_number,
            item=line.item,
            **values)
