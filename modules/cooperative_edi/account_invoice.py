# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
from collections import defaultdict
from dataclasses import replace
from decimal import Decimal
from functools import partial
from itertools import chain

from trytond.i18n import gettext
from trytond.model import ModelView, Workflow, fields
from trytond.modules.product import round_price
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Eval, If

from trycoton.protocol import ubl

from .document import ExchangeMixin, decimal, today
from .exceptions import DocumentHeld, DocumentParked, DocumentRefused
from .exceptions_document import InvoiceDifferenceWarning, InvoiceQueryError

STATES = [
    ('none', "None"),
    ('sent', "Sent"),
    ('unsent', "Not Sent"),
    ('received', "Received"),
    ('in_process', "In Process"),
    ('queried', "Queried"),
    ('refused', "Refused"),
    ('accepted', "Accepted"),
    ('paid', "Paid"),
    ]
CODES = {
    'AB': 'received',
    'IP': 'in_process',
    'UQ': 'queried',
    'CA': 'queried',
    'RE': 'refused',
    'AP': 'accepted',
    'PD': 'paid',
    }
ISSUED = ['invoice', 'credit_note']
# Why no tax is charged: the code (VATEX) and, without legal notice, the text
EXEMPTIONS = {
    'AE': ('VATEX-EU-AE', 'msg_invoice_reverse_charge'),
    'K': ('VATEX-EU-IC', 'msg_invoice_intra_community'),
    'G': ('VATEX-EU-G', 'msg_invoice_export'),
    'O': ('VATEX-EU-O', 'msg_invoice_no_tax'),
    'E': (None, 'msg_invoice_no_tax'),
    }


def signed(sign, amount):
    "Return the amount with the sign, zero without sign"
    return sign * amount + 0


class Invoice(ExchangeMixin, metaclass=PoolMeta):
    __name__ = 'account.invoice'

    _answered = (
        (Eval('type') == 'out')
        | ~Eval('state').in_(['draft', 'validated']))

    edi_state = fields.Selection(
        STATES, "Exchange", required=True, readonly=True, sort=False,
        states={
            'invisible': Eval('edi_state') == 'none',
            },
        help="What the customer last answered to the invoice.")
    edi_answer = fields.Text(
        "Answer",
        states={
            'invisible': (
                (Eval('edi_state') == 'none')
                | (_answered & ~Eval('edi_answer'))),
            'readonly': _answered,
            },
        help="Why the customer queries or refuses the invoice.")
    edi_difference = fields.Function(fields.Text(
            "Differences",
            states={
                'invisible': ~Eval('edi_difference'),
                },
            help="Where the invoice differs from what was ordered and "
            "received.\n"
            "Query it, or accept it by validating the invoice."),
        'get_edi_difference')

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._buttons.update(
            edi_query={
                'invisible': (
                    ~Eval('edi_message')
                    | (Eval('state') != 'draft')
                    | (Eval('edi_state') == 'queried')),
                'depends': ['edi_message', 'state', 'edi_state'],
                },
            )
        cls._check_modify_exclude |= {
            'relation', 'edi_state', 'edi_answer', 'edi_messages'}

    @classmethod
    def default_edi_state(cls):
        return 'none'

    @classmethod
    def view_attributes(cls):
        return super().view_attributes() + [
            ('/tree/field[@name="edi_state"]', 'visual',
                If(Eval('edi_state').in_(['queried', 'refused', 'unsent']),
                    'danger', '')),
            ]

    @classmethod
    def copy(cls, invoices, default=None):
        default = default.copy() if default is not None else {}
        default.setdefault('relation', None)
        default.setdefault('edi_state', 'none')
        default.setdefault('edi_answer', None)
        return super().copy(invoices, default=default)

    def get_edi_difference(self, name):
        pool = Pool()
        Document = pool.get('cooperative.edi.document')
        if self.edi_message and self.state in {'draft', 'validated'}:
            return '\n'.join(Document.invoice_differences(self)) or None

    @classmethod
    @ModelView.button
    def edi_query(cls, invoices):
        "Ask the suppliers about what differs"
        for invoice in invoices:
            if not invoice.edi_message or invoice.state != 'draft':
                continue
            if not invoice.edi_answer:
                invoice.edi_answer = invoice.edi_difference
            if not invoice.edi_answer:
                raise InvoiceQueryError(gettext(
                        'cooperative_edi.msg_invoice_query',
                        invoice=invoice.rec_name))
            invoice.edi_respond('UQ')

    @classmethod
    @ModelView.button
    @Workflow.transition('validated')
    def validate_invoice(cls, invoices):
        cls._edi_check_differences(
            [i for i in invoices if i.state == 'draft'])
        super().validate_invoice(invoices)
        for invoice in invoices:
            if invoice.edi_message:
                invoice.edi_respond('IP')

    @classmethod
    @Workflow.transition('posted')
    def post_batch(cls, invoices):
        cls._edi_check_differences(
            [i for i in invoices if i.state == 'draft'])
        super().post_batch(invoices)

    @classmethod
    @ModelView.button
    @Workflow.transition('posted')
    def post(cls, invoices):
        cls._edi_check_differences(
            [i for i in invoices if i.state == 'draft'])
        super().post(invoices)

    @classmethod
    def _edi_check_differences(cls, invoices):
        "Have a person accept what differs"
        pool = Pool()
        Warning = pool.get('res.user.warning')
        for invoice in invoices:
            if difference := invoice.edi_difference:
                name = Warning.format('edi_difference', [invoice])
                if Warning.check(name):
                    raise InvoiceDifferenceWarning(name, gettext(
                            'cooperative_edi.msg_invoice_difference',
                            invoice=invoice.rec_name,
                            difference=difference))

    @classmethod
    def _post(cls, invoices):
        posted = [i for i in invoices
            if not i.move or i.move.state != 'posted']
        super()._post(invoices)
        for invoice in posted:
            if invoice.type == 'out':
                invoice._edi_send()
            elif invoice.edi_message:
                invoice.edi_respond('AP')

    @classmethod
    @Workflow.transition('paid')
    def paid(cls, invoices):
        super().paid(invoices)
        for invoice in invoices:
            if invoice.edi_message:
                invoice.edi_respond('PD')

    @classmethod
    @ModelView.button
    @Workflow.transition('cancelled')
    def cancel(cls, invoices):
        refused = [i for i in invoices
            if i.edi_message and i.state in {'draft', 'validated'}]
        super().cancel(invoices)
        for invoice in refused:
            invoice.edi_respond('RE')

    @property
    def edi_relation(self):
        "The relation under which the invoice is sent, if any"
        pool = Pool()
        Peer = pool.get('cooperative.edi.peer')
        Relation = pool.get('cooperative.edi.relation')
        for record in [*getattr(self, 'sales', []), *self.origin_invoices]:
            relation = record.relation and record.relation.current
            if relation:
                return relation
        peer = Peer.for_party(self.company.id, self.party.id)
        if peer:
            return Relation.find(self.company.id, peer.id)

    def _edi_send(self):
        "Send the invoice once, if its party is a peer"
        pool = Pool()
        Document = pool.get('cooperative.edi.document')
        Message = pool.get('cooperative.edi.message')
        relation = self.edi_relation
        if not relation or self.edi_state != 'none':
            return
        self.relation = relation
        self.edi_state = 'sent'
        self.save()
        Message.send(relation, Document.invoice(self), origin=self)

    def edi_respond(self, code):
        "Tell the supplier what becomes of its invoice, each step once"
        pool = Pool()
        Document = pool.get('cooperative.edi.document')
        Message = pool.get('cooperative.edi.message')
        if not self.relation:
            # Nobody signed it
            return
        response = Document.invoice_response(self, code)
        if any(m.document_number == response.number
                for m in self.edi_sent('invoice_response')):
            return
        self.edi_state = CODES[code]
        self.save()
        Message.send(
            self.relation, response, origin=self, answers=self.edi_message)


class InvoiceLine(metaclass=PoolMeta):
    __name__ = 'account.invoice.line'

    @property
    def edi_origin(self):
        "The line of a sale or purchase behind the line, if any"
        origin = self.origin
        while isinstance(origin, self.__class__):
            origin = origin.origin
        if getattr(origin, 'edi_line', None):
            return origin

    @property
    def edi_allowance(self):
        "Tell if the line is a discount on the whole invoice"
        return (not self.product and not self.edi_origin
            and self.amount * self.invoice.untaxed_amount < 0)

    @property
    def edi_name(self):
        name = self.summary
        if not name:
            name = self.product.name if self.product else self.account.name
        return name


class Message(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.message'

    @classmethod
    def _get_origin(cls):
        return super()._get_origin() + ['account.invoice']


class Document(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.document'

    # Issued

    @classmethod
    def invoice(cls, invoice):
        "Return the invoice or the credit note that the invoice is"
        # The sequence is the one of invoices if a discount is taken back
        credit = (
            invoice.total_amount < 0
            or invoice.sequence_type == 'credit_note')
        sign = -1 if credit else 1
        seller, buyer = cls._invoice_parties(invoice)
        taxes = cls._invoice_taxes(invoice, sign, seller)
        if any(t.category == 'O' for t in taxes):
            # No VAT number where no VAT applies
            seller, buyer = replace(seller, vat=None), replace(buyer, vat=None)
        Class = ubl.CreditNote if sign < 0 else ubl.Invoice
        orders = cls._invoice_orders(invoice)
        delivery = cls._invoice_delivery(invoice, taxes)
        return Class(
            **delivery,
            number=invoice.number,
            date=invoice.invoice_date,
            due_date=max((
                    l.maturity_date for l in invoice.lines_to_pay
                    if l.maturity_date), default=None),
            currency=invoice.currency.code,
            seller=seller,
            buyer=buyer,
            buyer_reference=invoice.reference or invoice.number,
            order_number=orders[0] if orders else None,
            despatch_number=cls._invoice_despatch(invoice),
            note=invoice.comment or None,
            lines=tuple(
                cls._invoice_line(l, sign, seller, orders)
                for l in invoice.line_lines if not l.edi_allowance),
            charges=tuple(
                cls._invoice_allowance(l, sign, seller)
                for l in invoice.line_lines if l.edi_allowance),
            taxes=taxes,
            untaxed=signed(sign, invoice.untaxed_amount),
            tax=signed(sign, invoice.tax_amount),
            total=signed(sign, invoice.total_amount),
            payable=signed(sign, invoice.total_amount),
            iban=cls._iban(invoice),
            payment_reference=invoice.number,
            preceding=tuple(
                ubl.Preceding(i.number, i.invoice_date)
                for i in invoice.origin_invoices if i.number))

    @classmethod
    def _invoice_parties(cls, invoice):
        "Return the seller and the buyer of the invoice"
        return cls.us(invoice.company), cls.party(invoice.relation.peer)

    @classmethod
    def _invoice_orders(cls, invoice):
        "Return the numbers of the customer's orders"
        origins = [l.edi_origin for l in invoice.line_lines]
        return list(dict.fromkeys(
                o.sale.reference for o in origins if o and o.sale.reference))

    @classmethod
    def _invoice_despatch(cls, invoice):
        "Return the number of the only despatch invoiced"
        shipments = {
            m.shipment for l in invoice.line_lines
            for m in getattr(l, 'stock_moves', []) if m.shipment}
        if len(shipments) == 1:
            shipment, = shipments
            return shipment.number

    @classmethod
    def _invoice_delivery(cls, invoice, taxes):
        "Return when and where, which another country's tax office asks for"
        if not any(t.category == 'K' for t in taxes):
            return {}
        shipments = {
            m.shipment for l in invoice.line_lines
            for m in getattr(l, 'stock_moves', []) if m.shipment}
        dates = [s.effective_date for s in shipments if s.effective_date]
        addresses = [
            getattr(s, 'delivery_address', None) for s in shipments]
        return {
            'delivery_date': max(dates, default=invoice.invoice_date),
            'delivery_address': cls.address(
                next(filter(None, addresses), invoice.invoice_address)),
            }

    @classmethod
    def _invoice_allowance(cls, line, sign, seller):
        "Return the discount on the whole document that the line is"
        category, rate = cls.tax_category(line.taxes, line.tax_date, seller)
        return ubl.Charge(
            charge=False, amount=-signed(sign, line.amount),
            reason=line.edi_name, vat_category=category, vat_rate=rate)

    @classmethod
    def _invoice_line(cls, line, sign, seller, orders):
        quantity, price = sign * decimal(line.quantity), line.unit_price
        if price < 0:
            quantity, price = -quantity, -price
        ordered = line.edi_origin
        other = ordered and ordered.sale.reference != orders[0]
        return ubl.InvoiceLine(
            id=str(line.id),
            quantity=quantity,
            unit=cls.unit_code(line.unit),
            price=price,
            amount=signed(sign, line.amount),
            item=cls._invoice_item(line, seller),
            order_line=ordered.edi_line if ordered else None,
            order_number=ordered.sale.reference if other else None,
            note=line.note or None)

    @classmethod
    def _invoice_item(cls, line, seller):
        category, rate = cls.tax_category(line.taxes, line.tax_date, seller)
        return cls.item(
            line.product, name=line.edi_name,
            description=line.description or None,
            seller_code=(line.product.code if line.product else None) or None,
            vat_category=category, vat_rate=rate)

    @classmethod
    def _invoice_taxes(cls, invoice, sign, seller):
        bases, amounts = defaultdict(Decimal), defaultdict(Decimal)
        reasons = defaultdict(dict)
        for line in invoice.line_lines:
            key = cls.tax_category(line.taxes, line.tax_date, seller)
            bases[key] += signed(sign, line.amount)
        for tax in invoice.taxes:
            taxes = [tax.tax] if tax.tax else []
            key = cls.tax_category(taxes, invoice.tax_date, seller)
            amounts[key] += signed(sign, tax.amount)
            if tax.legal_notice:
                reasons[key][tax.legal_notice] = None
        return tuple(
            ubl.Tax(
                category=category, rate=rate, base=base,
                amount=amounts[category, rate],
                **cls._exemption(category, reasons[category, rate]))
            for (category, rate), base in bases.items())

    @classmethod
    def _exemption(cls, category, reasons):
        "Return why no tax is charged, in the words of the taxes"
        if category not in EXEMPTIONS:
            return {}
        code, text = EXEMPTIONS[category]
        return {
            'reason': '; '.join(reasons) or gettext(f'cooperative_edi.{text}'),
            'reason_code': code,
            }

    @classmethod
    def _iban(cls, invoice):
        "Return the IBAN that the invoice is to be paid to"
        accounts = [
            getattr(m.instrument, 'iban_compact', None)
            for m in invoice.payment_means]
        accounts += [
            a.iban_compact
            for a in getattr(invoice.company.party, 'bank_accounts', [])]
        return next(filter(None, accounts), None)

    @classmethod
    def message_refused(cls, message, text):
        super().message_refused(message, text)
        if message.kind in ISSUED and message.origin:
            invoice = message.origin
            invoice.edi_state = 'refused'
            invoice.edi_answer = text
            invoice.save()

    # Answered

    @classmethod
    def invoice_response(cls, invoice, code):
        "Return what becomes of the supplier's invoice"
        reasons = ()
        if code in {'RE', 'UQ', 'CA'}:
            reasons = (ubl.Reason('OTH', invoice.edi_answer or None),)
        return ubl.InvoiceResponse(
            number=f'{invoice.reference}-{code}',
            date=today(invoice.company),
            invoice_number=invoice.reference,
            invoice_date=invoice.invoice_date,
            invoice_type=(
                '381' if invoice.edi_message.kind == 'credit_note'
                else '380'),
            code=code,
            seller=cls.party(invoice.relation.peer),
            buyer=cls.us(invoice.company),
            reasons=reasons)

    @classmethod
    def _recorded(cls, message, kinds, number):
        pool = Pool()
        Invoice = pool.get('account.invoice')
        if message.unsigned and set(ISSUED) & set(kinds):
            for invoice in Invoice.search([
                        ('company', '=', message.company.id),
                        ('type', '=', 'out'),
                        ('party', '=', message.partner.id),
                        ('number', '=', number),
                        ], limit=1):
                return invoice
        return super()._recorded(message, kinds, number)

    @classmethod
    def rewrite_invoice(cls, invoice, document):
        return cls.invoice(invoice)

    rewrite_credit_note = rewrite_invoice

    @classmethod
    def rewrite_invoice_response(cls, invoice, response):
        return cls.invoice_response(invoice, response.code)

    @classmethod
    def receive_invoice_response(cls, message, response):
        "Show on the invoice what the customer answers"
        cls.check_document(message, response, response.buyer, response.seller)
        invoice = cls.sent(message, ISSUED, response.invoice_number)
        invoice.edi_state = CODES[response.code]
        texts = [r.text for r in response.reasons] + [response.note]
        invoice.edi_answer = '\n'.join(filter(None, texts)) or None
        invoice.save()
        return invoice

    # Received

    @classmethod
    def receive_invoice(cls, message, document):
        "Make the supplier invoice that a person verifies and posts"
        cls.check_document(message, document, document.seller, document.buyer)
        if invoice := cls.known(message, document):
            return invoice
        return cls._supplier_invoice(message, document, 1)

    @classmethod
    def receive_credit_note(cls, message, document):
        "Make the negative supplier invoice"
        cls.check_document(message, document, document.seller, document.buyer)
        if invoice := cls.known(message, document):
            return invoice
        return cls._supplier_invoice(message, document, -1)

    @classmethod
    def _supplier_invoice(cls, message, document, sign):
        invoice = cls._supplier_header(message, document)
        lines = cls.gather(*(
                partial(
                    cls._supplier_lines, message, document, invoice, line,
                    sign)
                for line in document.lines), *(
                partial(
                    cls._supplier_charge, document, invoice, charge, sign)
                for charge in document.charges))
        count = len(document.lines)
        invoice.lines = [*chain(*lines[:count]), *lines[count:]]
        rounding = sign * (document.rounding or 0)
        if rounding:
            invoice.lines = [
                *invoice.lines, cls._rounding_line(invoice, rounding)]
        # Others may write useless zeros
        invoice.source_total_amount = decimal(
            sign * document.total + rounding)
        if cls._deductible(invoice):
            invoice.source_untaxed_amount = decimal(
                sign * document.untaxed + rounding)
            invoice.source_tax_amount = decimal(sign * document.tax)
        invoice.save()
        cls._settle_taxes(invoice, document, sign)
        cls._settle_total(invoice)
        cls._check_total(invoice)
        invoice.edi_respond('AB')
        return invoice

    @classmethod
    def _supplier_header(cls, message, document):
        pool = Pool()
        Invoice = pool.get('account.invoice')
        invoice = Invoice(
            company=message.company,
            type='in',
            party=message.partner,
            currency=cls.currency(document.currency, message),
            reference=document.number,
            invoice_date=document.date,
            comment=document.note,
            relation=message.relation,
            edi_message=message)
        invoice.set_journal()
        invoice.on_change_party()
        if document.due_date:
            invoice.payment_term = None
            invoice.payment_term_date = document.due_date
        if document.payment_reference:
            invoice.supplier_payment_reference = document.payment_reference
        if not invoice.account or not invoice.invoice_address:
            raise DocumentHeld(gettext(
                    'cooperative_edi.msg_invoice_party',
                    party=invoice.party.rec_name))
        return invoice

    @classmethod
    def _supplier_lines(cls, message, document, invoice, line, sign):
        """Return the line, and another one for what the decimals of its
        price and quantity cannot express of its amount"""
        supplier_line = cls._supplier_line(
            message, document, invoice, line, sign)
        round_ = invoice.currency.round
        quantity, amount = decimal(supplier_line.quantity), sign * line.amount
        if line.charges and quantity:
            price = round_price(amount / quantity)
            if round_(price * quantity) == amount:
                supplier_line.unit_price = price
        difference = amount - round_(supplier_line.unit_price * quantity)
        if not difference:
            return [supplier_line]
        reasons = dict.fromkeys(c.reason for c in line.charges if c.reason)
        other = cls._expense_line(
            invoice, ', '.join(reasons)
            or gettext('cooperative_edi.msg_invoice_rounding'))
        other.account = supplier_line.account
        other.taxes = supplier_line.taxes
        other.taxes_deductible_rate = supplier_line.taxes_deductible_rate
        other.quantity = 1 if difference > 0 else -1
        other.unit_price = abs(difference)
        return [supplier_line, other]

    @classmethod
    def _supplier_line(cls, message, document, invoice, line, sign):
        "Return the line with the quantity, price and taxes of the message"
        supplier_line = cls.ordered_invoice_line(message, document, line)
        if not supplier_line:
            supplier_line = cls._expense_line(
                invoice, line.item.description or line.item.name)
        unit = supplier_line.unit
        if unit:
            unit = cls.unit(line.unit, like=unit, message=message)
        supplier_line.unit = unit
        supplier_line.quantity = sign * cls.quantity(line.quantity, unit)
        supplier_line.unit_price = round_price(line.price)
        supplier_line.taxes = cls.supplier_taxes(
            invoice, getattr(supplier_line, 'taxes', []),
            line.item.vat_rate)
        return supplier_line

    @classmethod
    def _expense_line(cls, invoice, description):
        "Return a line of the default expense account"
        pool = Pool()
        Configuration = pool.get('account.configuration')
        Line = pool.get('account.invoice.line')
        account = Configuration(1).get_multivalue(
            'default_category_account_expense', company=invoice.company.id)
        if not account:
            raise DocumentHeld(
                gettext('cooperative_edi.msg_invoice_account'))
        deductible = not invoice.company.purchase_taxes_expense
        return Line(
            type='line', invoice_type='in', company=invoice.company,
            currency=invoice.currency, account=account, unit=None,
            description=description, taxes=account.taxes,
            taxes_deductible_rate=int(deductible))

    @classmethod
    def _supplier_charge(cls, document, invoice, charge, sign):
        "Return the line of the charge or allowance on the whole document"
        line = cls._expense_line(invoice, charge.reason)
        line.quantity = sign * (1 if charge.charge else -1)
        line.unit_price = decimal(charge.amount)
        line.taxes = cls.supplier_taxes(invoice, line.taxes, charge.vat_rate)
        return line

    @classmethod
    def supplier_taxes(cls, invoice, taxes, rate):
        """Return the taxes if they have the rate, else those that have it.
        A supplier who charges no tax leaves none to deduct."""
        pool = Pool()
        Tax = pool.get('account.tax')
        rate = rate or 0
        date = invoice.invoice_date
        if cls.tax_rate(taxes, date) == rate:
            return taxes
        if not rate:
            return []
        for tax in Tax.search([
                    ('parent', '=', None),
                    ('company', '=', invoice.company.id),
                    ['OR',
                        ('group', '=', None),
                        ('group.kind', 'in', ['purchase', 'both']),
                        ],
                    ]):
            if cls.tax_rate([tax], date) == rate:
                return [tax]
        rate = decimal(rate)
        return [cls.given(invoice.edi_message, 'tax', f'{rate} %', gettext(
                    'cooperative_edi.msg_invoice_tax', rate=rate))]

    @classmethod
    def _deductible(cls, invoice):
        "Tell if all the taxes can be deducted"
        return all(getattr(l, 'taxes_deductible_rate', 1) in {None, 1}
            for l in invoice.lines)

    @classmethod
    def _settle_taxes(cls, invoice, document, sign):
        "Make the taxes of the invoice those of the message to the cent"
        pool = Pool()
        InvoiceTax = pool.get('account.invoice.tax')
        if not cls._deductible(invoice):
            return
        taxes = defaultdict(list)
        for tax in invoice.taxes:
            if tax.tax and not cls._reversed(tax.tax, invoice.tax_date):
                rate = cls.tax_rate([tax.tax], invoice.tax_date)
                taxes[rate].append(tax)
        for tax in document.taxes:
            if found := taxes.get(tax.rate or 0):
                difference = decimal(
                    sign * tax.amount - sum(t.amount for t in found))
                if cls._small(invoice, difference):
                    found[0].amount += difference
        InvoiceTax.save([t for found in taxes.values() for t in found])

    @classmethod
    def _settle_total(cls, invoice):
        "Add the cents that the supplier rounds in another way"
        difference = invoice.source_total_amount - invoice.total_amount
        if difference and cls._small(invoice, difference):
            invoice.lines = [
                *invoice.lines, cls._rounding_line(invoice, difference)]
            invoice.save()

    @classmethod
    def _rounding_line(cls, invoice, amount):
        "Return the line of the cents, booked as the largest line is"
        largest = max(
            invoice.lines, key=lambda l: abs(l.unit_price * decimal(
                    l.quantity)))
        line = cls._expense_line(
            invoice, gettext('cooperative_edi.msg_invoice_rounding'))
        line.account = largest.account
        line.taxes = []
        line.quantity = 1
        line.unit_price = amount
        return line

    @classmethod
    def _check_total(cls, invoice):
        "Hold what our taxes do not make the amount of the message"
        if invoice.total_amount != invoice.source_total_amount:
            raise DocumentHeld(gettext(
                    'cooperative_edi.msg_invoice_total',
                    number=invoice.reference,
                    total=invoice.source_total_amount,
                    computed=invoice.total_amount))

    @classmethod
    def invoice_differences(cls, invoice):
        differences = super().invoice_differences(invoice)
        document = cls.content(invoice.edi_message)
        if document.prepaid:
            differences.append(gettext(
                    'cooperative_edi.msg_invoice_prepaid',
                    prepaid=document.prepaid, total=document.total,
                    payable=document.payable))
        if not cls._self_assessed(invoice):
            differences += [gettext(
                    'cooperative_edi.msg_invoice_self_assess',
                    line=line.item.name)
                for line in document.lines
                if line.item.vat_category in {'AE', 'K'}]
        return differences

    @classmethod
    def _self_assessed(cls, invoice):
        "Tell if the taxes of the invoice are due and deducted by the buyer"
        return any(
            t.tax and cls._reversed(t.tax, invoice.tax_date)
            for t in invoice.taxes)

    @classmethod
    def _reversed(cls, tax, date):
        "Tell if another part of the tax makes up for it"
        root = tax
        while root.parent:
            root = root.parent
        return root != tax and not cls.tax_rate([root], date)

    @classmethod
    def _small(cls, invoice, difference):
        "Tell if rounding each line explains the difference"
        most = invoice.currency.rounding * (len(invoice.lines) + 1)
        return abs(difference) <= most


class Invoice_Purchase(metaclass=PoolMeta):
    __name__ = 'account.invoice'

    @classmethod
    def _post(cls, invoices):
        credits = [i for i in invoices
            if i.type == 'in' and i.edi_message
            and i.edi_message.kind == 'credit_note'
            and (not i.move or i.move.state != 'posted')]
        super()._post(invoices)
        for credit in credits:
            credit._edi_close_missing()

    def _edi_close_missing(self):
        "Stop waiting for what was credited as missing at the receipt"
        pool = Pool()
        Purchase = pool.get('purchase.purchase')
        purchases = set()
        for line in self.line_lines:
            if (ordered := line.edi_origin) and line.quantity < 0:
                if ordered.edi_close_missing(-line.quantity, line.unit):
                    purchases.add(ordered.purchase)
        if purchases:
            Purchase.__queue__.process(list(purchases))


class InvoiceLine_Purchase(metaclass=PoolMeta):
    __name__ = 'account.invoice.line'

    def edi_differences(self):
        "Yield where the line differs from what was ordered and received"
        pool = Pool()
        Uom = pool.get('product.uom')
        ordered = self.edi_origin
        price = ordered.unit_price
        if self.unit and ordered.unit:
            price = Uom.compute_price(ordered.unit, price, self.unit)
        if round_price(price) != self.unit_price:
            yield gettext(
                'cooperative_edi.msg_invoice_line_price',
                line=self.edi_name, invoiced=self.unit_price,
                ordered=round_price(price))
        invoiced = ordered.edi_invoiced
        message, expected = 'ordered', ordered.quantity
        if ordered.on_change_with_movable():
            received = ordered.edi_received
            if received < expected:
                message, expected = 'received', received
        if invoiced > expected:
            yield gettext(
                f'cooperative_edi.msg_invoice_line_{message}',
                line=self.edi_name, invoiced=decimal(invoiced),
                expected=decimal(expected))


class PurchaseLine(metaclass=PoolMeta):
    __name__ = 'purchase.line'

    @property
    def edi_invoiced(self):
        "The quantity of all the invoices, credit notes deducted"
        pool = Pool()
        Line = pool.get('account.invoice.line')
        Uom = pool.get('product.uom')
        lines = list(self.invoice_lines)
        # What is credited comes from the line of the invoice
        lines += Line.search([('origin', 'in', list(map(str, lines)))])
        quantity = sum(
            Uom.compute_qty(l.unit, l.quantity, self.unit, round=False)
            for l in lines if not l.invoice or l.invoice.state != 'cancelled')
        return self.unit.round(quantity) if self.unit else quantity

    @property
    def edi_received(self):
        "The quantity that arrived, what was sent back deducted"
        pool = Pool()
        Uom = pool.get('product.uom')
        quantity = 0
        for move in self.moves:
            if move.state == 'done':
                sign = -1 if move.from_location.type == 'storage' else 1
                quantity += sign * Uom.compute_qty(
                    move.unit, move.quantity, self.unit, round=False)
        return self.unit.round(quantity) if self.unit else quantity

    def edi_close_missing(self, quantity, unit):
        """Cancel the quantity of the moves still expected, at most what was
        announced but not received"""
        pool = Pool()
        Move = pool.get('stock.move')
        Uom = pool.get('product.uom')
        missing = min(
            Uom.compute_qty(unit, quantity, self.unit), self.edi_missing)
        for move in self.moves:
            if missing > 0 and move.state == 'draft' and not move.shipment:
                closed = min(missing, move.quantity)
                move.quantity = closed
                move.save()
                Move.cancel([move])
                self.moves_ignored = [*self.moves_ignored, move]
                self.save()
                return closed

    @property
    def edi_missing(self):
        "What was announced, not received and is not given up yet"
        pool = Pool()
        Uom = pool.get('product.uom')
        missing = 0
        for move in self.moves:
            if move.state == 'done' and move.edi_line:
                missing += Uom.compute_qty(
                    move.unit, move.edi_despatched_quantity - move.quantity,
                    self.unit)
            elif move in self.moves_ignored:
                missing -= Uom.compute_qty(
                    move.unit, move.quantity, self.unit)
        return self.unit.round(missing)


class Document_Purchase(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.document'

    @classmethod
    def ordered_invoice_line(cls, message, document, line):
        ordered = cls._invoiced_order_line(message, document, line)
        if original := cls._credited_line(message, document, ordered, line):
            return original._credit()
        if ordered:
            return cls._purchase_invoice_line(ordered)
        return super().ordered_invoice_line(message, document, line)

    @classmethod
    def _invoiced_order_line(cls, message, document, line):
        number = line.order_number or document.order_number
        if not number or not line.order_line:
            return
        try:
            ordered = cls.ordered_line(
                message, number, line.order_line, line.item)
        except DocumentRefused:
            if not message.unsigned:
                raise
            # Ordered in another way
            return
        if ordered.purchase.invoice_method != 'manual':
            raise DocumentHeld(gettext(
                    'cooperative_edi.msg_invoice_method',
                    purchase=ordered.purchase.rec_name))
        if ordered.purchase.currency.code != document.currency:
            raise DocumentRefused('BV', gettext(
                    'cooperative_edi.msg_invoice_currency',
                    currency=document.currency, number=number,
                    ordered=ordered.purchase.currency.code))
        if ordered.purchase.state not in {'processing', 'done'}:
            raise DocumentParked(gettext(
                    'cooperative_edi.msg_document_awaited', number=number))
        return ordered

    @classmethod
    def _credited_line(cls, message, document, ordered, line):
        "Return the line of the preceding invoice that is credited"
        for preceding in document.preceding:
            original = cls._credited_invoice(message, preceding.number)
            if not original:
                continue
            for original_line in original.line_lines:
                if ordered:
                    if original_line.edi_origin == ordered:
                        return original_line
                elif original_line.description in {
                        line.item.description, line.item.name}:
                    return original_line

    @classmethod
    def _credited_invoice(cls, message, number):
        pool = Pool()
        Invoice = pool.get('account.invoice')
        invoices = Invoice.search([
                ('company', '=', message.company.id),
                ('type', '=', 'in'),
                ('party', '=', message.partner.id),
                ('reference', '=', number),
                ('state', '!=', 'cancelled'),
                ], limit=1)
        if invoices:
            return invoices[0]
        if message.unsigned:
            return
        return cls.received(message, ['invoice'], number)

    @classmethod
    def invoice_differences(cls, invoice):
        differences = super().invoice_differences(invoice)
        ordered = any(l.edi_origin for l in invoice.line_lines)
        cents = invoice.currency.rounding * (len(invoice.lines) + 1)
        for line in invoice.line_lines:
            if line.quantity <= 0:
                continue
            if line.edi_origin:
                differences += line.edi_differences()
            elif ordered and line.amount > cents:
                differences.append(gettext(
                        'cooperative_edi.msg_invoice_line_not_ordered',
                        line=line.edi_name, amount=line.amount))
        return differences

    @classmethod
    def _purchase_invoice_line(cls, ordered):
        "Return the line by which the purchase line is invoiced"
        pool = Pool()
        Line = pool.get('account.invoice.line')
        lines = ordered.get_invoice_line()
        if lines:
            return lines[0]
        # More is invoiced than was ordered
        line = Line(
            type='line', invoice_type='in', company=ordered.company,
            currency=ordered.currency, product=ordered.product,
            unit=ordered.unit, description=ordered.description,
            origin=ordered)
        line.on_change_product()
        line.taxes = ordered.taxes
        line.stock_moves = ordered.moves
        return line
