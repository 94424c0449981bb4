# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What the records of Tryton mean to a peer, and the other way round.

Each module extended by documents adds to this model, in the file of its
name, the method that makes the document of a record and the method
receive_<kind> that makes the record of a document.
"""
import dataclasses
import datetime as dt
from decimal import Decimal
from typing import NamedTuple

from trytond.i18n import gettext
from trytond.model import Model, Unique, fields
from trytond.pool import Pool
from trytond.pyson import Eval
from trytond.tools.timezone import UTC, get_tzinfo

from trycoton.protocol import ubl

from .exceptions import DocumentHeld, DocumentParked, DocumentRefused
from .exceptions_document import ItemCodeError, UnitCodeError
from .exchange import ProgressMixin

# What an invoice can say of the VAT (UNCL 5305)
VAT_CATEGORIES = {'S', 'Z', 'E', 'AE', 'K', 'G', 'O', 'L', 'M', 'B'}
ONE = 'C62'  # UNECE code of what is counted
GTIN = {'ean'}


def decimal(number):
    "Return the float or the decimal as a decimal without useless zeros"
    return Decimal(str(number)).normalize() + 0


class Missing(NamedTuple):
    "What the partner names by a code that nothing has here"
    kind: str
    code: str
    name: str = None


class ExchangeMixin(ProgressMixin):
    "A record that is sent to a peer or made of what a peer sent"
    __slots__ = ()

    relation = fields.Many2One(
        'cooperative.edi.relation', "Relation", ondelete='RESTRICT',
        readonly=True,
        states={
            'invisible': ~Eval('relation'),
            },
        help="The agreement with the peer under which documents are "
        "exchanged.")
    edi_message = fields.Many2One(
        'cooperative.edi.message', "Received Message", ondelete='RESTRICT',
        readonly=True,
        states={
            'invisible': ~Eval('edi_message'),
            },
        help="The message that this was made of.")
    edi_messages = fields.One2Many(
        'cooperative.edi.message', 'origin', "Exchanges", readonly=True,
        help="The messages sent for this and those it was made of.")

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_constraints.append(
            ('edi_message_unique', Unique(t, t.edi_message),
                'cooperative_edi.msg_document_message_unique'))

    @classmethod
    def copy(cls, records, default=None):
        default = default.copy() if default is not None else {}
        default.setdefault('edi_message', None)
        default.setdefault('edi_messages', None)
        return super().copy(records, default=default)

    def edi_sent(self, kind):
        "Return the messages of the kind sent for the record"
        pool = Pool()
        Message = pool.get('cooperative.edi.message')
        return Message.search([
                ('direction', '=', 'out'),
                ('kind', '=', kind),
                ('origin', '=', str(self)),
                ])


class OrderMixin(ExchangeMixin):
    "A purchase or a sale"
    __slots__ = ()

    def _edi_stop_lines(self, lines, invoices):
        """Leave nothing to move or to invoice of the lines, whose moves are
        cancelled, as are the invoices.
        Tryton does not cancel an order that is processed."""
        cls = self.__class__
        cls.write([self], {
                # Ignored, they would be credited to reach the quantity 0
                'invoices_recreated': [('add', [i.id for i in invoices])],
                })
        for line in lines:
            line.moves_ignored = [
                m for m in line.moves if m.state == 'cancelled'
                and m not in line.moves_recreated]
            line.quantity = 0
        lines[0].__class__.save(lines)
        cls.store_cache([self])
        cls.__queue__.process([self])


class Document(Model):
    __name__ = 'cooperative.edi.document'

    # Parties

    @classmethod
    def us(cls, company):
        "Return our party as the peers know it"
        pool = Pool()
        Identity = pool.get('cooperative.edi.identity')
        return cls.party(Identity.get(company.id))

    @classmethod
    def party(cls, actor):
        "Return the party of a peer or of one of our identities"
        party = actor.party
        return cls.legal_party(
            party, party.address_get(), identifier=actor.identifier)

    @classmethod
    def legal_party(cls, party, address, identifier=None):
        "Return the party at the address"
        vat = party.edi_code('eu_vat')
        return ubl.Party(
            identifier=identifier,
            name=party.name,
            legal_id=cls._legal_id(party),
            vat=vat,
            tax_id=None if vat else party.edi_code('fr_siren'),
            address=cls.address(address),
            email=party.email or None,
            phone=party.phone or party.mobile or None)

    @classmethod
    def _legal_id(cls, party):
        for scheme, type in [('0002', 'fr_siren'), ('0009', 'fr_siret')]:
            if code := party.edi_code(type):
                return f'{scheme}:{code}'

    @classmethod
    def address(cls, address):
        if not address:
            return
        street, *others = (address.street or '').splitlines() or [None]
        return ubl.Address(
            street=street,
            additional=', '.join(others) or None,
            city=address.city or None,
            postal_code=address.postal_code or None,
            country=address.country.code if address.country else None)

    @classmethod
    def check_document(cls, message, document, sender, receiver):
        """Refuse what is not written by its sender for its receiver, or
        what contradicts itself"""
        for party, expected in [
                (sender, message.sender), (receiver, message.recipient)]:
            if party.identifier != expected:
                raise DocumentRefused('BV', gettext(
                        'cooperative_edi.msg_document_party',
                        identifier=party.identifier,
                        expected=expected), 'TCT-PARTY')
        if problems := document.check():
            rules = [getattr(p, 'rule', None) for p in problems]
            raise DocumentRefused(
                'BV', '\n'.join(problems),
                ', '.join(dict.fromkeys(filter(None, rules))))

    # References

    @classmethod
    def content(cls, message):
        "Return the document of the message"
        return message.content

    @classmethod
    def write_again(cls, message):
        """Return the document of the message, which has not left, as its
        record says it now: a method rewrite_<kind> makes it of the record and
        the document as it was"""
        pool = Pool()
        Message = pool.get('cooperative.edi.message')
        document = cls.content(message)
        rewrite = getattr(cls, f'rewrite_{message.kind}', None)
        if not rewrite or not message.origin or Message.search([
                    ('direction', '=', 'out'),
                    ('kind', '=', message.kind),
                    ('origin', '=', str(message.origin)),
                    ('id', '>', message.id),
                    ], limit=1):
            return document
        return dataclasses.replace(
            rewrite(message.origin, document), number=document.number)

    @classmethod
    def known(cls, message, document):
        """Return the record made earlier of the same document.
        Refuse another document that has its number."""
        for earlier in cls._search(
                message, 'in', [message.kind], message.document_number,
                [('id', '!=', message.id), ('state', '=', 'processed')]):
            if cls.content(earlier) != document:
                raise DocumentRefused('BV', gettext(
                        'cooperative_edi.msg_document_number',
                        number=message.document_number), 'TCT-NUMBER')
            return earlier.origin
        message.check_vouched()

    @classmethod
    def sent(cls, message, kinds, number):
        "Return the record that was sent to the peer under the number"
        origin = (
            cls._origin(message, 'out', kinds, number)
            or cls._recorded(message, kinds, number))
        if origin:
            return origin
        raise DocumentRefused('BV', gettext(
                'cooperative_edi.msg_document_reference', number=number),
            'TCT-REFERENCE')

    @classmethod
    def received(cls, message, kinds, number):
        "Return the record made of what the peer sent under the number"
        if origin := cls._origin(message, 'in', kinds, number):
            return origin
        raise DocumentParked(gettext(
                'cooperative_edi.msg_document_awaited', number=number))

    @classmethod
    def _recorded(cls, message, kinds, number):
        "Return the record that an unsigned message may refer to, not sent"

    @classmethod
    def _origin(cls, message, direction, kinds, number):
        for found in cls._search(
                message, direction, kinds, number, [('origin', '!=', None)]):
            return found.origin

    @classmethod
    def _search(cls, message, direction, kinds, number, domain):
        pool = Pool()
        Message = pool.get('cooperative.edi.message')
        return Message.search([
                ('company', '=', message.company.id),
                ('direction', '=', direction),
                message.with_partner,
                ('kind', 'in', kinds),
                ('document_number', '=', number),
                *domain,
                ], limit=1)

    # What is missing

    @classmethod
    def gather(cls, *calls):
        "Return what the calls return; what they miss is reported together"
        results, held = [], []
        for call in calls:
            try:
                results.append(call())
            except DocumentHeld as exception:
                held.append(exception)
        if held:
            texts = dict.fromkeys(e.text for e in held)
            raise DocumentHeld(
                '\n'.join(texts), dict.fromkeys(
                    m for e in held for m in e.missing))
        return results

    @classmethod
    def given(cls, message, kind, code, text, name=None):
        """Return what a person gave for the code of the partner.
        Hold the message until then, for the reason of the text."""
        pool = Pool()
        Mapping = pool.get('cooperative.edi.mapping')
        if not message:
            raise DocumentHeld(text)
        missing = Missing(kind, code, name)
        value = Mapping.get(message, missing)
        if not value:
            raise DocumentHeld(text, [missing])
        return value

    # Currencies, units and items

    @classmethod
    def currency(cls, code, message=None):
        "Return the currency of the ISO 4217 code"
        pool = Pool()
        Currency = pool.get('currency.currency')
        currencies = Currency.search([('code', '=', code)], limit=1)
        if not currencies:
            return cls.given(message, 'currency', code, gettext(
                    'cooperative_edi.msg_document_currency', code=code))
        return currencies[0]

    @classmethod
    def unit_code(cls, unit):
        "Return the UNECE code of the unit"
        if not unit:
            return ONE
        if not unit.unece_code:
            raise UnitCodeError(gettext(
                    'cooperative_edi.msg_unit_code', unit=unit.rec_name))
        return unit.unece_code

    @classmethod
    def unit(cls, code, like=None, message=None):
        """Return the unit of the UNECE code, or given for it.
        If like is set, the unit must be convertible to it."""
        pool = Pool()
        Uom = pool.get('product.uom')
        if like and like.unece_code == code:
            return like
        domain = [('unece_code', '=', code)]
        if like:
            domain.append(('category', '=', like.category.id))
        units = Uom.search(domain, limit=1)
        if units:
            return units[0]
        text = gettext('cooperative_edi.msg_document_unit', code=code)
        unit = cls.given(message, 'unit', code, text)
        if like and unit.category != like.category:
            raise DocumentHeld(gettext(
                    'cooperative_edi.msg_document_unit_category',
                    code=code, unit=unit.rec_name, other=like.rec_name),
                [Missing('unit', code, None)])
        return unit

    @classmethod
    def quantity(cls, quantity, unit):
        "Return the quantity as the unit can hold it"
        number = float(quantity)
        if unit and unit.round(number) != number:
            raise DocumentRefused('BV', gettext(
                    'cooperative_edi.msg_document_quantity',
                    quantity=quantity, unit=unit.rec_name), 'TCT-QUANTITY')
        return number

    @classmethod
    def item(cls, product, **values):
        "Return what is said of the product"
        if product:
            values.setdefault('name', product.name)
            values.setdefault('gtin', cls.gtin(product))
        return ubl.Item(**values)

    @classmethod
    def gtin(cls, product):
        for identifier in product.identifiers:
            if identifier.type in GTIN:
                return identifier.code

    @classmethod
    def check_item(cls, item, line):
        "Raise an error if the seller could not recognise the item"
        if not item.seller_code and not item.gtin:
            raise ItemCodeError(gettext(
                    'cooperative_edi.msg_item_code', line=line.rec_name))

    @classmethod
    def product(cls, item, domain, code=None, message=None):
        """Return the only product of the domain with the code or the GTIN,
        or the one given for it"""
        pool = Pool()
        Product = pool.get('product.product')
        for clause in filter(None, [
                    code,
                    item.gtin and ('identifiers', 'where', [
                            ('type', 'in', list(GTIN)),
                            ('code', '=', item.gtin),
                            ])]):
            products = Product.search([domain, clause], limit=2)
            if len(products) == 1:
                return products[0]
        return cls.given(message, 'product', cls._item_code(item), gettext(
                'cooperative_edi.msg_document_product',
                item=item.name or '',
                code=item.seller_code or item.gtin or ''), item.name)

    @classmethod
    def _item_code(cls, item):
        "Return what the partner always writes for the item"
        return (item.seller_code
            or item.gtin and f'GTIN {item.gtin}'
            or item.buyer_code and f'({item.buyer_code})'
            or f'"{item.name or ""}"')

    # Taxes

    @classmethod
    def tax_rate(cls, taxes, date):
        "Return the rate in percent of the taxes together"
        return decimal(100 * sum(
                (t.rate for t in cls._tax_leaves(taxes, date)), Decimal(0)))

    @classmethod
    def tax_category(cls, taxes, date, seller):
        "Return category and rate of the taxes of what the seller sells"
        rate = cls.tax_rate(taxes, date)
        for tax in [*cls._tax_leaves(taxes, date), *taxes]:
            if tax.unece_category_code:
                category = tax.unece_category_code
                break
        else:
            category = 'S' if rate else 'E'
        if category not in VAT_CATEGORIES:
            category = 'S' if rate else 'E'
        if category == 'E' and not (seller.vat or seller.tax_id):
            category = 'O'
        return category, None if category == 'O' else rate

    @classmethod
    def _tax_leaves(cls, taxes, date):
        pool = Pool()
        Tax = pool.get('account.tax')
        return [v['tax'] for v in Tax.compute(taxes, Decimal(1), 1, date)
            if v['tax'].type == 'percentage']

    # Orders

    @classmethod
    def check_order(cls, message, order):
        "Raise DocumentRefused for an order that breaks a rule"

    @classmethod
    def ordered_invoice_line(cls, message, document, line):
        "Return the line of the supplier invoice for what was ordered, if so"

    @classmethod
    def invoice_differences(cls, invoice):
        "Return a sentence for each difference that a person may accept"
        return []

    # Technical answers

    @classmethod
    def answer_message(cls, message, code, line_code=None, text=None):
        "Tell the sender that the message took effect, or why it did not"
        pool = Pool()
        Message = pool.get('cooperative.edi.message')
        relation = cls.answer_relation(message)
        if not relation:
            # What nobody signed as well
            return
        lines = ()
        if line_code:
            lines = (ubl.MessageLevelResponseLine('NA', line_code, text),)
        return Message.send(
            relation,
            ubl.MessageLevelResponse(
                number=f'{message.uuid}-{code}',
                date=today(message.company),
                sender=cls.us(message.company),
                receiver=cls.party(message.peer),
                document=message.uuid, code=code, text=text, lines=lines),
            origin=message.origin, answers=message)

    @classmethod
    def answer_relation(cls, message):
        "Return the relation by which the message is answered, or None"
        return message.relation

    @classmethod
    def receive_message_level_response(cls, message, document):
        "Note on the message answered whether it took effect"
        pool = Pool()
        Message = pool.get('cooperative.edi.message')
        answered = Message.search([
                ('company', '=', message.company.id),
                ('direction', '=', 'out'),
                ('peer', '=', message.peer.id),
                ('uuid', '=', document.document),
                ])
        if not answered:
            raise DocumentRefused('BV', gettext(
                    'cooperative_edi.msg_document_reference',
                    number=document.document))
        answered, = answered
        if document.code == 'RE':
            text = '\n'.join(filter(None, [
                        document.text, *(line.text for line in document.lines
                            if line.text != document.text)]))
            answered.state = 'refused'
            answered.error = text
            answered.save()
            cls.message_refused(answered, text)
        return answered.origin

    @classmethod
    def message_refused(cls, message, text):
        "Undo what waited for the message that the peer refused"


def moment(company):
    "Return date and time, to the second, where the company is"
    zone = get_tzinfo(company.timezone) if company.timezone else UTC
    return dt.datetime.now(zone).replace(tzinfo=None, microsecond=0)


def today(company):
    "Return the date where the company is"
    return moment(company).date()
