# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"A deal with the system as seller, whose operator is told what to do"
import datetime as dt
import queue
import time
from decimal import Decimal

from trycoton.protocol import envelope, ubl

CURRENCY = 'EUR'
CENT = Decimal('0.01')


class Deal:
    "From the relation to the payment"

    def __init__(self, report, known, wait, tell):
        self.report = report
        self.known = known
        self.participant = known.participant
        self.seconds = wait
        self.tell = tell
        self.number = f'CONFORMANCE-{int(time.time())}'
        self.buyer = ubl.Party(
            identifier=self.participant.identifier,
            name=self.participant.descriptor.name, legal_id='0002:100000009',
            address=ubl.Address(
                street="1", city="Paris", postal_code='75001', country='FR'))
        legal = known.descriptor.legal
        self.seller = ubl.Party(
            identifier=known.descriptor.identifier,
            name=known.descriptor.name,
            address=ubl.Address(
                street=legal and legal.street, city=legal and legal.city,
                postal_code=legal and legal.postal_code,
                country=(legal and legal.country) or 'FR'))
        self.waiting = []

    def run(self, line):
        "Play the deal; stop where the system does not follow"
        for step in [
                self.relate, self.order, self.answer, self.deliver,
                self.invoice, self.pay]:
            if not step(line):
                return

    # Steps

    def relate(self, line):
        self.tell("Accept the relation that is proposed")
        answer = self.expect('relation-answer')
        if not answer:
            return False
        body = answer.body
        return self.report.add(
            "deal: the relation is agreed",
            body.get('relation') == self.known.relation
            and body.get('agreed') is True, body.get('reason') or '')

    def order(self, line):
        amount = (line['quantity'] * line['price']).quantize(CENT)
        tax = (amount * line['rate'] / 100).quantize(CENT)
        self.line = ubl.OrderLine(
            id='1', quantity=line['quantity'], unit=line['unit'],
            price=line['price'], amount=amount, item=ubl.Item(
                name=line['code'], seller_code=line['code'],
                vat_category='S' if line['rate'] else 'Z',
                vat_rate=line['rate']))
        return self.send("the order", ubl.Order(
                number=self.number, date=dt.date.today(), currency=CURRENCY,
                buyer=self.buyer, seller=self.seller, lines=(self.line,),
                untaxed=amount, tax=tax, total=amount + tax))

    def answer(self, line):
        self.tell(f"Accept the order {self.number}")
        while response := self.expect('order_response'):
            if not self.names(response, response.order_number):
                return False
            if response.code != 'AB':
                return self.report.add(
                    "deal: the order is accepted", response.code == 'AP',
                    f"{response.code} {response.note or ''}".strip())
        return False

    def deliver(self, line):
        self.tell(f"Deliver the order {self.number} in full")
        advice = self.expect('despatch_advice')
        if not advice or not self.names(advice, advice.order_number):
            return False
        sent = sum(l.quantity for l in advice.lines)
        if not self.report.add(
                "deal: what was ordered is despatched",
                sent == self.line.quantity
                and {l.order_line for l in advice.lines} == {self.line.id},
                f"{sent} of {self.line.quantity}"):
            return False
        now = dt.datetime.now(dt.timezone.utc)
        return self.send("the receipt advice", ubl.ReceiptAdvice(
                number=f'{self.number}-R', date=now.date(),
                time=now.timetz().replace(microsecond=0),
                order_number=self.number, despatch_number=advice.number,
                despatch_date=advice.date, despatch_time=advice.time,
                delivery_date=now.date(), buyer=self.buyer,
                seller=self.seller, lines=tuple(
                    ubl.ReceiptLine(
                        id=l.id, received=l.quantity, unit=l.unit,
                        despatch_line=l.id, order_line=l.order_line,
                        item=l.item)
                    for l in advice.lines)))

    def invoice(self, line):
        self.tell(f"Invoice the order {self.number}")
        invoice = self.expect('invoice')
        if not invoice or not self.names(invoice, invoice.order_number):
            return False
        self.invoiced = invoice
        wrong = invoice.check()
        if invoice.untaxed != self.line.amount:
            wrong.append(
                f"{invoice.untaxed} is invoiced for {self.line.amount}")
        if not self.report.add(
                "deal: what was ordered is invoiced", not wrong,
                ' '.join(wrong)):
            return False
        return all([self.send(
                    f"the answer {code} to the invoice", ubl.InvoiceResponse(
                        number=f'{self.number}-{code}',
                        date=dt.date.today(), invoice_number=invoice.number,
                        invoice_date=invoice.date, code=code,
                        seller=self.seller, buyer=self.buyer))
                for code in ['AB', 'AP']])

    def pay(self, line):
        invoice = self.invoiced
        message = self.send("the remittance advice", ubl.RemittanceAdvice(
                number=f'{self.number}-P', date=dt.date.today(),
                currency=CURRENCY, payer=self.buyer, payee=self.seller,
                total=invoice.payable, payment_date=dt.date.today(),
                lines=(ubl.RemittanceLine(
                        id='1', amount=invoice.payable,
                        invoice_number=invoice.number,
                        invoice_date=invoice.date),)))
        if not message:
            return False
        answer = self.expect('message_level_response')
        return answer and self.report.add(
            "deal: the payment is taken",
            answer.code == 'AP' and answer.document == message.id,
            answer.text or '')

    # Messages

    def names(self, document, number):
        "Check that a document is of the deal"
        return self.report.add(
            f"deal: {document.kind} names order and parties",
            number == self.number
            and (document.buyer.identifier, document.seller.identifier) == (
                self.buyer.identifier, self.seller.identifier))

    def send(self, name, document):
        "Send the document and return its message if it was stored"
        message = self.participant.envelope(document, self.known.relation)
        response = self.known.send(message)
        if not self.report.add(
                f"deal: {name} is stored", response.status == 201,
                '' if response.status == 201 else
                f"{response.status} {response.problem}", response.seconds):
            return
        self.participant.count(message)
        self.known.check(f"deal: the receipt of {name}",
            lambda: self.known.check_receipt(message, response) or True)
        return message

    def expect(self, kind):
        """Return the next message of the kind, its content if it is a
        document; others wait for their turn"""
        for found in self.waiting:
            if found.kind == kind:
                self.waiting.remove(found)
                return found
        limit = time.monotonic() + self.seconds
        while (left := limit - time.monotonic()) > 0:
            try:
                message = self.participant.inbox.get(timeout=left)
            except queue.Empty:
                break
            found = message
            if isinstance(message, envelope.Envelope):
                found = ubl.parse(message.payload)
            if found.kind == kind:
                return found
            if (found.kind == 'message_level_response'
                    and found.code == 'RE'):
                self.report.add(
                    "deal: nothing of it is refused", False, '; '.join(
                        line.text for line in found.lines))
                return
            self.waiting.append(found)
        self.report.skip(
            f"deal: {kind}", f"none came in {self.seconds:g} seconds")
