# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"What the people of the scenarios do again and again"
import hashlib
import itertools
from decimal import Decimal
from xmlrpc.client import Fault

from trycoton.command.calendar import today
from trycoton.command.client import MEANT, fault_text
from trycoton.command.demo.actor import wait

from ..partner.stage import product

_numbers = itertools.count(1)
TODAY = today()
PAYER = 'FR7630006000011234567890189'
PAYEE = 'FR7630004000031234567890143'


def refusal(call, *args):
    "Return what the instance tells the person who may not do this"
    try:
        call(*args)
    except Fault as fault:
        if fault.faultCode not in MEANT:
            raise
        return fault_text(fault)
    raise AssertionError("it was not refused")


def accept(person, name, *records):
    "Have the person accept the warning of that name about the records"
    key = '|'.join(f'{r.__class__.__name__},{r.id}' for r in records)
    digest = hashlib.md5(key.encode('utf-8')).hexdigest()
    person.client.call('res.user.warning', 'skip', f'{digest}.{name}')


def code(name):
    "Return a code that no product has yet"
    return f'{name[:4].upper()}{next(_numbers)}'


def relation_of(person, other):
    "Return the relation with the other company outside the community"
    return person.find_one(
        'cooperative.edi.relation', ('state', '=', 'agreed'),
        ('peer.party.name', '=', other.name), ('community', '=', None))


def change_route(stage, person, other, route):
    "Have the messages to the other company go by the route from now on"
    relation = relation_of(person, other)
    trust = route.trust and person.peer(route.trust.head)
    if relation.trust_party == trust:
        return
    wizard = person.wizard('cooperative.edi.relation.route', [relation])
    wizard.form.trust_party = trust
    wizard.execute('propose')
    stage.settle()


def party(person, other):
    "Return the other company as the person's company knows it"
    return person.find_one('party.party', ('name', '=', other.name))


def make_product(
        seller, buyer, name, price, vat='5.5', kind='good', quantity=100):
    """Return the product that the seller sells and the one that the buyer
    buys, entered on both sides; its code is new each time"""
    number = code(name)
    vat, price = Decimal(vat), Decimal(price)
    sold = seller.odile.make_product(product(
            number, name, price, vat, kind=kind, quantity=Decimal(quantity)))
    Template = buyer.hugo.model('product.template')
    category = '{}-{}'.format(
        'services' if kind == 'service' else 'goods', vat)
    template = Template(
        name=name, type='service' if kind == 'service' else 'goods',
        purchasable=True, account_category=buyer.hugo.find_one(
            'product.category', ('code', '=', category)))
    template.default_uom = template.purchase_uom = buyer.hugo.find_one(
        'product.uom', ('unece_code', '=', 'C62'))
    template.save()
    ProductSupplier = buyer.bruno.model('purchase.product_supplier')
    supplier = ProductSupplier(
        template=template, party=party(buyer.bruno, seller), code=number)
    supplier.save()
    return sold, template.products[0]


def draft_purchase(bruno, seller, lines, relation=None):
    "Return the draft purchase of the lines, (product, quantity, price)"
    Purchase = bruno.model('purchase.purchase')
    Relation = bruno.model('cooperative.edi.relation')
    purchase = Purchase(party=party(bruno, seller))
    relation = relation or relation_of(bruno, seller)
    purchase.relation = Relation(relation.id)
    for bought, quantity, price in lines:
        line = purchase.lines.new()
        line.product = bought
        line.quantity = quantity
        line.unit_price = Decimal(price)
    purchase.save()
    return purchase


def sale_of(person, purchase):
    "Return the sale that the purchase became, for the seller's person"
    buyer = purchase.company.party.name
    return person.find_one(
        'sale.sale', ('reference', '=', purchase.number),
        ('party.name', '=', buyer))


def order(stage, buyer, *lines):
    "Return the purchase of the lines, sent, and the sale made of it"
    purchase = draft_purchase(buyer.bruno, stage.seller, lines)
    purchase.click('quote')
    purchase.click('confirm')
    stage.settle()
    return purchase, sale_of(stage.seller.anne, purchase)


def accepted_order(stage, buyer, *lines):
    "Return the purchase and the sale, which the seller has accepted"
    purchase, sale = order(stage, buyer, *lines)
    sale.click('confirm')
    stage.settle()
    reach(purchase, 'processing')
    sale.reload()
    return purchase, sale


def ask_change(bruno, purchase, quantities, note=None):
    "Have the buyer ask for other quantities of the lines"
    wizard = bruno.wizard('purchase.edi_change', [purchase])
    for line, quantity in zip(wizard.form.lines, quantities):
        line.quantity = quantity
    wizard.form.note = note
    wizard.execute('send')


def ask_cancellation(bruno, purchase, reason):
    "Have the buyer ask to cancel the order"
    wizard = bruno.wizard('purchase.edi_cancel', [purchase])
    wizard.form.reason = reason
    wizard.execute('send')


def shipments_of(marc, sale, *states):
    "Return the shipments of the sale, for the seller's stock keeper"
    Shipment = marc.model('stock.shipment.out')
    sale.reload()
    return [Shipment(s.id) for s in sale.shipments
        if not states or s.state in states]


def ship(marc, shipment, **quantities):
    "Ship what is there, or other quantities by the name of the product"
    for move in shipment.inventory_moves:
        move.quantity = quantities.get(move.product.name, move.quantity)
    shipment.save()
    for button in ['assign_try', 'pick', 'pack', 'ship', 'do']:
        shipment.click(button)


def arrival(lucie, shipment):
    "Return what the shipment of the seller is for the buyer's stock keeper"
    return lucie.find_one(
        'stock.shipment.in', ('reference', '=', shipment.number),
        ('supplier.name', '=', shipment.company.party.name))


def deliver(stage, buyer, sale, **quantities):
    "Ship what the sale waits for, or less, and receive it"
    shipment, = shipments_of(stage.seller.marc, sale, 'waiting')
    ship(stage.seller.marc, shipment, **quantities)
    stage.settle()
    incoming = arrival(buyer.lucie, shipment)
    incoming.click('receive')
    incoming.click('do')
    stage.settle()


def drafts_of(claire, sale):
    "Return the draft invoices of the sale, for the seller's accountant"
    Invoice = claire.model('account.invoice')
    sale.reload()
    return [Invoice(i.id) for i in sale.invoices if i.state == 'draft']


def post(claire, invoice):
    "Post the invoice of today and return it"
    invoice.invoice_date = TODAY
    invoice.save()
    invoice.click('post')
    invoice.reload()
    return invoice


def bill_of(paul, invoice):
    "Return what the invoice of the seller is for the buyer's accountant"
    return paul.find_one(
        'account.invoice', ('type', '=', 'in'),
        ('reference', '=', invoice.number),
        ('party.name', '=', invoice.company.party.name))


def invoiced(stage, buyer, *lines):
    "Return the invoice of the lines, delivered, and the buyer's bill"
    _, sale = accepted_order(stage, buyer, *lines)
    deliver(stage, buyer, sale)
    draft, = drafts_of(stage.seller.claire, sale)
    invoice = post(stage.seller.claire, draft)
    stage.settle()
    invoice.reload()
    return invoice, bill_of(buyer.paul, invoice)


def books(invoice, bill):
    """Return what both books say is to be paid of the invoice: they must
    agree on it, on its amounts, on its taxes and on when it is due"""
    entries = []
    for record, sign in [(invoice, 1), (bill, -1)]:
        record.reload()
        due = list(record.lines_to_pay)
        paid = [l for l in record.payment_lines if not l.reconciliation]
        entries.append({
                'amounts': (
                    record.untaxed_amount, record.tax_amount,
                    record.total_amount),
                'taxes': sorted((t.base, t.amount) for t in record.taxes),
                'booked': sign * sum(l.debit - l.credit for l in due),
                'due': sorted(l.maturity_date for l in due),
                'open': sign * sum(
                    (l.debit - l.credit for l in [
                            *(l for l in due if not l.reconciliation),
                            *paid]), Decimal(0)),
                'posted': record.move.state == 'posted',
                })
    ours, theirs = entries
    assert ours == theirs, (ours, theirs)
    assert ours['booked'] == invoice.total_amount and ours['posted'], ours
    return ours['open']


def bank_account(person, owner, iban):
    "Return the IBAN at a bank, entered for the owner"
    Account = person.model('bank.account')
    account = Account()
    account.bank = _bank(person)
    account.owners.append(person.model('party.party')(owner.id))
    number = account.numbers.new()
    number.type = 'iban'
    number.number = iban
    account.save()
    return account.numbers[0]


def _bank(person):
    Bank = person.model('bank')
    if banks := Bank.find([]):
        return banks[0]
    party = person.model('party.party')(name="Crédit du Marché")
    party.save()
    bank = Bank(party=party, bic='BNPAFRPP')
    bank.save()
    return bank


def sepa_journal(hugo, seller):
    "Return the journal of SEPA transfers and the IBAN of the seller"
    Journal = hugo.model('account.payment.journal')
    if journals := Journal.find([('process_method', '=', 'sepa')]):
        return journals[0], PAYEE
    company, = hugo.find('company.company')
    journal = Journal(name="SEPA", process_method='sepa')
    journal.sepa_bank_account_number = bank_account(
        hugo, company.party, PAYER)
    journal.sepa_payable_flavor = 'pain.001.001.03'
    journal.sepa_receivable_flavor = 'pain.008.001.02'
    journal.clearing_account = hugo.find_one(
        'account.account', ('code', '=', '581'))
    journal.clearing_journal = hugo.find_one(
        'account.journal', ('code', '=', 'CLEAR'))
    journal.save()
    bank_account(hugo, party(hugo, seller), PAYEE)
    return journal, PAYEE


def cash(person):
    "Return the method by which the company pays and is paid in cash"
    Method = person.model('account.invoice.payment.method')
    if methods := Method.find([('name', '=', "Cash")]):
        return methods[0]
    Journal = person.model('account.journal')
    journal = Journal(name="Cash", code='CASH', type='cash')
    journal.save()
    account = person.find_one('account.account', ('code', '=', '5311'))
    method = Method(name="Cash", journal=journal)
    method.credit_account = method.debit_account = account
    method.save()
    return method


def announcement_of(claire, invoice):
    "Return what the customer announced to pay of the invoice"
    return claire.find_one(
        'cooperative.edi.payment.announcement',
        ('lines.invoice', '=', invoice.id))


def statement(claire, payer, amount, text):
    "Post the bank's statement of what was paid"
    journal, = claire.find('account.statement.journal')
    statement = claire.model('account.statement')(
        name=text, journal=journal, total_amount=amount)
    line = statement.lines.new()
    line.number = '1'
    line.date = TODAY
    line.description = text
    line.party = payer
    line.amount = amount
    statement.save()
    statement.click('validate_statement')
    statement.click('post')


def reach(record, state):
    "Wait until the record is in the state, to which a queued task brings it"
    until(record, lambda r: r.state == state)


def until(record, condition):
    "Wait until what is queued has made the record fulfil the condition"
    def fulfilled():
        record.reload()
        return condition(record)
    wait(fulfilled, f"what is expected of {record.rec_name}", 60)


def reload(*records):
    "Have the records be read again"
    for record in records:
        record.reload()


__all__ = [
    'TODAY', 'accept', 'accepted_order', 'announcement_of', 'arrival',
    'ask_cancellation', 'ask_change', 'bank_account', 'bill_of', 'books',
    'cash', 'change_route', 'code', 'deliver', 'draft_purchase', 'drafts_of',
    'invoiced', 'make_product', 'order', 'party', 'post', 'reach', 'refusal',
    'relation_of', 'reload', 'sale_of', 'sepa_journal', 'ship', 'shipments_of',
    'statement', 'until',
    ]
