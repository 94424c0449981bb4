# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"Enter the offers of a CSV file as products and offers of an instance"
import argparse
import contextlib
from decimal import Decimal

from stdnum.fr import siren

from . import CommandError, catalogue, client, output, progress, table
from .client import opened
from .instance import Instance

DESCRIPTION = """\
Enter the offers of a CSV file: the products, with price and taxes, and what
is offered to the community, as drafts.

Nothing is entered unless all of it can be.  An offer that has the code of one
entered before replaces it: what members can order stays the version that the
community approved, until it has approved the new one."""
EPILOG = """\
Columns, in English or French and in any order: seller, code, name,
description, category, kind (good, service), unit, price, vat, min_quantity,
quantity, delivery.  Only seller, name, price and vat are required; offers
without a code get that of their line."""


def add_arguments(parser):
    "Add the arguments of the command to the parser"
    commands = parser.add_subparsers(
        dest='action', metavar='ACTION', required=True)
    import_ = commands.add_parser(
        'import', help="enter the offers of a CSV file",
        description=DESCRIPTION, epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    import_.add_argument(
        'offers', metavar='FILE.csv', help="the table of the offers")
    client.add_arguments(import_)
    import_.add_argument(
        '--community', metavar='IDENTIFIER',
        help="to which they are made (default: the only one joined)")
    import_.add_argument(
        '--seller', metavar='NAME',
        help="enter only the offers of this seller, whatever the company is "
        "called (default: all must be those of the company)")
    import_.add_argument(
        '--submit', action='store_true',
        help="submit them to the community")
    import_.set_defaults(handle=_import)


def run(options):
    "Run the command and return its exit status"
    return options.handle(options)


def _import(options):
    instance = Instance.get(options.folder, options.instance)
    offers = _read(options, instance)
    password = client.get_password(options)
    with opened(instance, options.user, password, progress) as client_:
        progress(f"{len(offers)} offers are checked")
        importer = Importer(options, client_, offers)
        importer.check()
        progress(f"{len(offers)} offers are entered")
        importer.enter()
    results = importer.results()
    counts = {}
    for result in results:
        counts[result['result']] = counts.get(result['result'], 0) + 1
    text = ', '.join(f"{n} {r}" for r, n in sorted(counts.items()))
    if options.submit:
        text += f"; {len(importer.submitted)} submitted"
    output(options, {
            'community': importer.community.peer.identifier,
            'offers': results,
            }, f"{instance.company}: {text}")
    return 0


def _read(options, instance):
    "Return the offers of the seller, those of a SIREN still to be checked"
    offers = catalogue.read(options.offers)
    if options.seller:
        offers = [o for o in offers
            if table.fold(o.seller) == table.fold(options.seller)]
        if not offers:
            raise CommandError(
                f'{options.offers} has no offer of "{options.seller}"')
        return offers
    company = instance.company
    _refuse(options, [
            table.Fault(o.line, o.seller,
                f"the seller is not {company} nor a SIREN: choose the "
                "lines with --seller")
            for o in offers if table.fold(o.seller) != table.fold(company)
            and not siren.is_valid(o.seller)])
    return offers


def _refuse(options, faults):
    if faults:
        raise table.TableError(options.offers, faults)


class Importer:
    """What the offers of the table become in the instance

    First check, then enter; all calls of a model are one, and what was made
    is removed again when a later one fails.
    """

    def __init__(self, options, client, offers):
        self.options = options
        self.client = client
        self.offers = offers
        self.submitted = []

    # What is there

    def check(self):
        "Raise TableError or CommandError for what could not be entered"
        self._check_seller()
        self.community = self._get_community()
        self.units = self._ids(
            'product.uom', 'unece_code', {o.unit for o in self.offers})
        self.taxes = self._ids(
            'product.category', 'code', set(map(_tax_code, self.offers)))
        faults = []
        for offer in self.offers:
            if offer.unit not in self.units:
                faults.append(table.Fault(
                        offer.line, offer.unit, "the instance has no unit "
                        "of this UNECE code"))
            if _tax_code(offer) not in self.taxes:
                faults.append(table.Fault(
                        offer.line, f"{offer.vat} %", "the instance has no "
                        "category of products with this VAT, of the code "
                        f"{_tax_code(offer)}"))
        self.existing = self._get_products(faults)
        self.known = self._get_offers()
        self.new = [o for o in self.offers if o.code not in self.known]
        self.changed = [o for o in self.offers if o.code in self.known
            and not self._same(o, self.known[o.code])]
        faults.extend(self._busy())
        _refuse(self.options, faults)
        self.ids = {code: known['id'] for code, known in self.known.items()}

    def _check_seller(self):
        company, = self.client.read(
            'company.company', [], ['party'])
        sirens = {
            siren.compact(i['code']) for i in self.client.read(
                'party.identifier', [
                    ('party', '=', company['party']),
                    ('type', '=', 'fr_siren'),
                    ], ['code'])}
        if not self.options.seller:
            _refuse(self.options, [
                    table.Fault(o.line, o.seller,
                        "this SIREN is not that of the company")
                    for o in self.offers if siren.is_valid(o.seller)
                    and siren.compact(o.seller) not in sirens])

    def _get_community(self):
        wanted = self.options.community
        communities = self.client.find(
            'cooperative.community', ('role', '=', 'member'))
        found = [c for c in communities
            if not wanted or c.peer.identifier == wanted]
        names = ', '.join(
            f"{c.name} ({c.peer.identifier})" for c in communities)
        if not communities:
            raise CommandError(
                f"{self.client.instance.name} has joined no community")
        elif not found:
            raise CommandError(
                f'there is no community "{wanted}", only {names}')
        elif len(found) > 1:
            raise CommandError(
                f"choose one of the communities with --community: {names}")
        community, = found
        if self.options.submit:
            self._check_membership(community)
        return community

    def _check_membership(self, community):
        for membership in community.memberships:
            if membership.state != 'active':
                raise CommandError(
                    f"nothing can be submitted to {community.name} before "
                    "the membership is active")
            if not membership.offerer:
                raise CommandError(
                    f"{community.name} has not accepted this member as an "
                    "offerer")

    def _ids(self, model, field, values):
        return {
            r[field]: r['id'] for r in self.client.read(
                model, [(field, 'in', list(values))], [field])}

    def _get_products(self, faults):
        "Return by its code each product that is there"
        codes = [o.code for o in self.offers]
        records = self.client.read(
            'product.product', [('code', 'in', codes)],
            ['code', 'template', 'template.type'])
        products = {r['code']: r for r in records}
        for offer in self.offers:
            product = products.get(offer.code)
            if product and product['template.']['type'] != _type(offer):
                faults.append(table.Fault(
                        offer.line, offer.code,
                        "the product of this code is of another kind"))
        return products

    def _get_offers(self):
        records = self.client.read(
            'cooperative.offer', [
                ('community', '=', self.community.peer.id),
                ('product', 'in', [p['id'] for p in self.existing.values()]),
                ], ['code', 'state', 'vat_rate', *self._terms(self.offers[0])])
        return {r['code']: r for r in records}

    def _busy(self):
        for offer in self.changed:
            if self.known[offer.code]['state'] == 'submitted':
                yield table.Fault(
                    offer.line, offer.code, "this offer waits for the "
                    "decision of the community and cannot be changed")

    # What is made of it

    def _terms(self, offer):
        return {
            'name': offer.name,
            'description': offer.description,
            'kind': offer.kind,
            'unit': self.units.get(offer.unit),
            'price': offer.price,
            'min_quantity': _float(offer.min_quantity),
            'quantity': _float(offer.quantity),
            'delivery': offer.delivery,
            }

    def _same(self, offer, known):
        return (
            (known['vat_rate'] or 0) == offer.vat / 100
            and all(
                value == (None if known[name] == '' else known[name])
                for name, value in self._terms(offer).items()))

    def _product(self, offer):
        "Return the values of the template that an import may change"
        return {
            'name': offer.name,
            'list_price': offer.price,
            'account_category': self.taxes[_tax_code(offer)],
            'sale_uom': self.units[offer.unit],
            'salable': True,
            }

    def enter(self):
        "Enter the offers, or none.  Raise ClientError."
        with contextlib.ExitStack() as undo:
            self._create_products(undo)
            self._update_products(undo)
            self._create_offers(undo)
            self._update_offers()
            if self.options.submit:
                self._submit()
            undo.pop_all()

    def _create_products(self, undo):
        offers = [o for o in self.offers if o.code not in self.existing]
        categories = self._create_categories(undo, offers)
        templates = self.client.create('product.template', [{
                    **self._product(o),
                    'code': o.code,
                    'type': _type(o),
                    'default_uom': self.units[o.unit],
                    'categories': [('add', [
                                categories[table.fold(o.category)]
                                ])] if o.category else [],
                    'products': [('create', [
                                {'description': o.description}])],
                    } for o in offers])
        undo.callback(self.client.delete, 'product.template', templates)
        self.products = {**self.existing, **{
                r['code']: r for r in self.client.read(
                    'product.product', [('template', 'in', templates)],
                    ['code'])}}

    def _create_categories(self, undo, offers):
        "Return the categories of the offers by their name"
        names = {table.fold(o.category): o.category
            for o in offers if o.category}
        known = {
            table.fold(r['name']): r['id'] for r in self.client.read(
                'product.category', [
                    ('accounting', '=', False),
                    ('parent', '=', None),
                    ], ['name'])}
        missing = sorted(set(names) - set(known))
        created = self.client.create(
            'product.category', [{'name': names[n]} for n in missing])
        undo.callback(self.client.delete, 'product.category', created)
        known.update(zip(missing, created))
        return known

    def _update_products(self, undo):
        offers = [
            o for o in [*self.new, *self.changed] if o.code in self.existing]
        self._write(undo, 'product.template', [
                (self.existing[o.code]['template'], self._product(o))
                for o in offers])
        self._write(undo, 'product.product', [
                (self.existing[o.code]['id'], {'description': o.description})
                for o in offers])

    def _write(self, undo, model, changes):
        if not changes:
            return
        olds = [
            (r.pop('id'), r) for r in self.client.read(
                model, [('id', 'in', [i for i, _ in changes])],
                list(changes[0][1]))]
        self.client.write(model, changes)
        undo.callback(self.client.write, model, olds)

    def _create_offers(self, undo):
        "Offer the products, as by the wizard, with the terms of the table"
        if not self.new:
            return
        Product = self.client.model('product.product')
        products = {self.products[o.code]['id']: o for o in self.new}
        wizard = self.client.wizard(
            'cooperative.offer.publish', [Product(i) for i in products])
        wizard.form.community = self.community.peer
        wizard.execute('publish')
        created = {
            r['id']: products[r['product']] for r in self.client.read(
                'cooperative.offer', [
                    ('community', '=', self.community.peer.id),
                    ('product', 'in', list(products)),
                    ], ['product'])}
        undo.callback(self.client.delete, 'cooperative.offer', list(created))
        self.client.write('cooperative.offer', [
                (i, self._terms(o)) for i, o in created.items()])
        self.ids.update((o.code, i) for i, o in created.items())

    def _update_offers(self):
        again = [self.known[o.code]['id'] for o in self.changed
            if self.known[o.code]['state'] != 'draft']
        if again:
            self.client.call('cooperative.offer', 'change', again)
        self.client.write('cooperative.offer', [
                (self.known[o.code]['id'], self._terms(o))
                for o in self.changed])

    def _submit(self):
        ids = [self.ids[o.code] for o in self.offers]
        self.submitted = [
            r['id'] for r in self.client.read(
                'cooperative.offer', [
                    ('id', 'in', ids),
                    ('state', '=', 'draft'),
                    ], ['id'])]
        if self.submitted:
            self.client.call('cooperative.offer', 'submit', self.submitted)

    def results(self):
        "Return what was done of each offer"
        return [{
                'line': offer.line,
                'code': offer.code,
                'name': offer.name,
                'result': ('created' if offer in self.new
                    else 'updated' if offer in self.changed
                    else 'unchanged'),
                'submitted': self.ids[offer.code] in self.submitted,
                } for offer in self.offers]


def _type(offer):
    return 'service' if offer.kind == 'service' else 'goods'


def _tax_code(offer):
    "Return the code of the accounting category of the product"
    kind = 'services' if offer.kind == 'service' else 'goods'
    return f"{kind}-{Decimal(offer.vat).normalize():f}"


def _float(value):
    return None if value is None else float(value)
