# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"What the people of the scenarios do again and again"
import datetime as dt
import hashlib
import itertools
from decimal import Decimal
from xmlrpc.client import Fault

from trycoton.command.client import MEANT, fault_text

from ..partner.stage import product

_numbers = itertools.count(1)
TODAY = dt.date.today()


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


def party(person, other):
    "Return the other company as the person's company knows it"
    return person.find_one('party.party', ('name', '=', other.name))


def make_product(
        seller, buyer, name, price, vat='5.5', kind='good', quantity=100):
    """Return the product that the seller sells and the one that the buyer
    buys, entered on both sides; its code is new each time"""
    code = f'{name[:4].upper()}{next(_numbers)}'
    vat, price = Decimal(vat), Decimal(price)
    sold = seller.odile.make_product(product(
            code, name, price, vat, kind=kind, quantity=Decimal(quantity)))
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
        template=template, party=party(buyer.bruno, seller), code=code)
    supplier.save()
    return sold, template.products[0]


def draft_purchase(bruno, seller, lines):
    "Return the draft purchase of the lines, (product, quantity, price)"
    Purchase = bruno.model('purchase.purchase')
    purchase = Purchase(party=party(bruno, seller))
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
    purchase.reload()
    sale.reload()
    return purchase, sale


def reload(*records):
    "Have the records be read again"
    for record in records:
        record.reload()


__all__ = [
    'TODAY', 'accept', 'accepted_order', 'draft_purchase', 'make_product',
    'order', 'party', 'refusal', 'reload', 'sale_of']
