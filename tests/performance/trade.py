# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What the instances that are measured know of each other.

``python -m tests.performance.trade ORDERS WAITING`` fills the databases of
the configuration and makes that many orders of the buyer to be confirmed, and
that many confirmed ones that wait in its outbox.  It writes the ids of the
first as JSON."""
import datetime as dt
import json
import sys
import uuid
from dataclasses import replace
from decimal import Decimal

from trytond.pool import Pool
from trytond.transaction import Transaction

from cooperative_edi.transaction import transact
from trycoton.protocol import signature
from trycoton.protocol.directory import (
    Directory, Legal, Participant, PublishedKey)

NAMES = {
    'buyer': ('actor', '833555675', 'participant'),
    'seller': ('actor', '732829320', 'participant'),
    'trust': ('trust', '552100554', 'trust-party'),
    }
COMMUNITY = '0225:404833048'
RELATION = str(uuid.uuid4())
PASSWORD = 'to measure only'
CODE = 'POM'
BATCH = 50


def now():
    return dt.datetime.now(dt.timezone.utc).replace(microsecond=0)


def do(name, function, *args):
    "Call the function in the database, in its company"
    company, = transact(name, lambda: [
            c.id for c in Pool().get('company.company').search([])])
    return transact(name, function, *args, context={
            'company': company, '_skip_warnings': True})


def our_company():
    return Pool().get('company.company')(Transaction().context['company'])


def identify(name, endpoint):
    "Give the company its identity, and return what the others know of it"
    pool = Pool()
    Country = pool.get('country.country')
    Group = pool.get('res.group')
    Identity = pool.get('cooperative.edi.identity')
    User = pool.get('res.user')
    _, siren, kind = NAMES[name]
    User.write([User(1)], {
            'password': PASSWORD,
            'groups': [('add', [g.id for g in Group.search([])])],
            })
    company = our_company()
    party = company.party
    party.name = name.capitalize()
    party.identifiers = [{'type': 'fr_siren', 'code': siren}]
    country, = Country.search([('code', '=', 'FR')])
    party.addresses = [{'country': country.id}]
    party.save()
    identity, = Identity.create([{
                'company': company.id, 'identifier': f'0225:{siren}',
                'kind': kind, 'endpoint': endpoint}])
    identity.generate_keys()
    if kind == 'trust-party':
        Log = pool.get('cooperative.trust.log')
        log = Log(company=company, origin='trust.example/log')
        log.save()
        Log.open([log])
    return Identity(identity.id).participant()


def introduce(others, trust):
    "Make the others peers"
    pool = Pool()
    Peer = pool.get('cooperative.edi.peer')
    for other in others:
        peer = Peer.update_from(our_company().id, other)
        peer.accepted = other is trust
        peer.trust_parties = trust.identifier
        peer.save()


def relate(identifier, trust):
    pool = Pool()
    Peer = pool.get('cooperative.edi.peer')
    Relation = pool.get('cooperative.edi.relation')
    company = our_company()
    Relation(
        company=company, peer=Peer.get(company.id, identifier),
        uuid=RELATION, trust_party=Peer.get(company.id, trust),
        proposed_by='us', state='agreed').save()


def admit(trust, *members):
    "Have the trust party relay between the members of a community"
    pool = Pool()
    Agreement = pool.get('cooperative.trust.agreement')
    Directory_ = pool.get('cooperative.trust.directory')
    Peer = pool.get('cooperative.edi.peer')
    key = signature.SigningKey.generate()
    company = our_company().id
    Peer.update_from(company, Participant(
            identifier=COMMUNITY, name="Community", kind='community',
            keys=(PublishedKey(key=key.public, valid_from=now()),),
            legal=Legal(country='FR')))
    data = Directory(
        COMMUNITY, 1, None, now(), now() + dt.timedelta(days=1), [
            replace(m, trust_parties=(trust.identifier,)) for m in members]
        ).to_bytes()
    Directory_.receive(
        data, signature.sign(data, signature.DIRECTORY, key))
    peers = [Peer.get(company, m.identifier) for m in members]
    Agreement(
        uuid=RELATION, proposer=peers[0], acceptor=peers[1],
        state='agreed').save()


def make_product(flag):
    pool = Pool()
    Category = pool.get('product.category')
    Template = pool.get('product.template')
    Uom = pool.get('product.uom')
    unit, = Uom.search([('unece_code', '=', 'KGM')])
    category, = Category.search([('code', '=', 'goods-5.5')])
    template = Template(
        name="Pommes", code=CODE, type='goods', default_uom=unit,
        list_price=Decimal('1.45'), account_category=category,
        **{flag: True})
    for name in ['sale_uom', 'purchase_uom']:
        setattr(template, name, unit)
    template.products = [{}]
    template.save()
    return template.products[0].id


def supply(product, seller):
    pool = Pool()
    Peer = pool.get('cooperative.edi.peer')
    Product = pool.get('product.product')
    Supplier = pool.get('purchase.product_supplier')
    company = our_company()
    Supplier(
        template=Product(product).template, company=company, code=CODE,
        party=Peer.get(company.id, seller).party,
        currency=company.currency).save()


def order(product, seller, count):
    "Make quotations of the purchase of the product"
    pool = Pool()
    Line = pool.get('purchase.line')
    Peer = pool.get('cooperative.edi.peer')
    Purchase = pool.get('purchase.purchase')
    Relation = pool.get('cooperative.edi.relation')
    company = our_company()
    relation, = Relation.search([])
    purchases = []
    for _ in range(count):
        purchase = Purchase(
            company=company, party=Peer.get(company.id, seller).party)
        purchase.on_change_party()
        purchase.relation = relation
        line = Line(product=product, quantity=3, purchase=purchase)
        line.on_change_product()
        line.unit_price = Decimal('1.45')
        purchase.lines = [line]
        purchases.append(purchase)
    Purchase.save(purchases)
    Purchase.quote(purchases)
    return [p.id for p in purchases]


def confirm(ids):
    Purchase = Pool().get('purchase.purchase')
    Purchase.confirm(Purchase.browse(ids))
    # No courier here
    Transaction().tasks.clear()


def main():
    orders, waiting = map(int, sys.argv[1:3])
    endpoints = json.load(sys.stdin)
    Pool.start()
    known = {}
    for name in NAMES:
        Pool(name).init()
        known[name] = do(name, identify, name, endpoints[name])
    trust, buyer, seller = (known[n] for n in ['trust', 'buyer', 'seller'])
    for name in NAMES:
        do(name, introduce, [p for n, p in known.items() if n != name], trust)
    do('trust', admit, trust, buyer, seller)
    do('buyer', relate, seller.identifier, trust.identifier)
    do('seller', relate, buyer.identifier, trust.identifier)
    do('seller', make_product, 'salable')
    product = do('buyer', make_product, 'purchasable')
    do('buyer', supply, product, seller.identifier)
    for start in range(0, waiting, BATCH):
        ids = do('buyer', order, product, seller.identifier,
            min(BATCH, waiting - start))
        do('buyer', confirm, ids)
    ids = do('buyer', order, product, seller.identifier, orders)
    json.dump(ids, sys.__stdout__)


if __name__ == '__main__':
    main()
