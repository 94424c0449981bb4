# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The invoice on paper, or as a PDF that holds it as data as well."""
import base64

from stdnum import iban
from trytond.i18n import gettext
from trytond.model import fields
from trytond.modules.account_invoice.invoice import file_id, store_prefix
from trytond.pool import Pool, PoolMeta
from trytond.report import Report
from trytond.report.report import NO_BREAKING_SPACE
from trytond.rpc import RPC
from trytond.transaction import Transaction

from trycoton.protocol import cii
from trycoton.protocol.errors import Malformed

from .account_invoice import ISSUED
from .document import decimal
from .exceptions_document import (
    FacturXDocumentError, FacturXMissingError, FacturXStateError)

# Registers of businesses in France (ISO 6523)
NUMBERS = {'0002': "SIREN", '0009': "SIRET"}


def digits(number):
    "Return how many digits the number needs after the point"
    return max(0, -decimal(number).as_tuple().exponent)


class Invoice(metaclass=PoolMeta):
    __name__ = 'account.invoice'

    facturx = fields.Binary(
        "Factur-X", readonly=True,
        file_id='facturx_id' if file_id else None, store_prefix=store_prefix)
    facturx_id = fields.Char("Factur-X ID", readonly=True)

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._check_modify_exclude |= {'facturx', 'facturx_id'}

    @classmethod
    def copy(cls, invoices, default=None):
        default = default.copy() if default is not None else {}
        default.setdefault('facturx', None)
        default.setdefault('facturx_id', None)
        return super().copy(invoices, default=default)

    def create_invoice_report_revision(self):
        pool = Pool()
        Revision = pool.get('account.invoice.report.revision')
        revision = super().create_invoice_report_revision()
        if revision and self.facturx:
            self.invoice_report_revisions += (Revision(
                    invoice=self, invoice_report_cache=self.facturx,
                    invoice_report_format='pdf'),)
            self.facturx = self.facturx_id = None
        return revision


class Document(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.document'

    @classmethod
    def facturx(cls, invoice):
        "Return what the partner was sent, or would be, as invoice"
        messages = [m for kind in ISSUED for m in invoice.edi_sent(kind)]
        if messages:
            return cls.content(max(messages, key=lambda m: m.id))
        return cls.invoice(invoice)

    @classmethod
    def _invoice_parties(cls, invoice):
        if invoice.relation:
            return super()._invoice_parties(invoice)
        company = invoice.company.party
        return (
            cls.legal_party(company, company.address_get()),
            cls.legal_party(invoice.party, invoice.invoice_address))


class FacturX(Report):
    __name__ = 'account.invoice.facturx'

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls.__rpc__['execute'] = RPC(False)

    @classmethod
    def execute(cls, ids, data):
        "Return the PDF, named after the number of the invoice"
        pool = Pool()
        Invoice = pool.get('account.invoice')
        named = Transaction().context.get('with_rec_name', True)
        with Transaction().set_context(with_rec_name=False):
            extension, content, direct, name = super().execute(ids, data)
        if named:
            numbers = [i.number for i in Invoice.browse(ids[:5])]
            name = '-'.join([name, *numbers])
        return extension, content, direct, name

    @classmethod
    def _execute(cls, records, header, data, action):
        pool = Pool()
        Invoice = pool.get('account.invoice')
        # Re-instantiate because records are TranslateModel
        invoice, = Invoice.browse(records)
        if not invoice.invoice_report_versioned:
            raise FacturXStateError(gettext(
                    'cooperative_edi.msg_facturx_state',
                    invoice=invoice.rec_name))
        if not invoice.facturx:
            with Transaction().set_context(language=cls._language(invoice)):
                invoice.facturx = cls._generate(
                    Invoice(invoice.id), header, data, action)
            invoice.save()
        return 'pdf', bytes(invoice.facturx)

    @classmethod
    def _language(cls, invoice):
        pool = Pool()
        Configuration = pool.get('ir.configuration')
        for party in [invoice.party, invoice.company.party]:
            if party.lang:
                return party.lang.code
        return Configuration.get_language()

    @classmethod
    def _generate(cls, invoice, header, data, action):
        "Return the PDF that shows and holds the same document"
        facturx, _ = cls._libraries(invoice)
        document, xml = cls._document(invoice)
        data = {**data, 'document': document}
        _, pdf = super()._execute([invoice], header, data, action)
        title = cls._title(document)
        return facturx.generate_from_binary(
            pdf, xml, flavor='factur-x', level='en16931', check_xsd=True,
            lang=Transaction().language,
            pdf_metadata={
                'author': document.seller.name,
                'title': f'{title} – {document.seller.name}',
                'subject': title,
                'keywords': 'Factur-X',
                })

    @classmethod
    def _libraries(cls, invoice):
        "Return factur-x and WeasyPrint, which are loaded when first used"
        try:
            import facturx
            import weasyprint
        except (ImportError, OSError) as exception:
            raise FacturXMissingError(gettext(
                    'cooperative_edi.msg_facturx_missing',
                    invoice=invoice.rec_name,
                    error=exception)) from exception
        return facturx, weasyprint

    @classmethod
    def _document(cls, invoice):
        "Return the document of the invoice with its XML"
        pool = Pool()
        Document = pool.get('cooperative.edi.document')
        document = Document.facturx(invoice)
        problems = [*document.check(), *cls._missing(document)]
        try:
            xml = cii.to_bytes(document)
        except Malformed as exception:
            problems = problems or [str(exception)]
        if problems:
            raise FacturXDocumentError(gettext(
                    'cooperative_edi.msg_facturx_document',
                    invoice=invoice.rec_name, problems='\n'.join(problems)))
        return document, xml

    @classmethod
    def _missing(cls, document):
        "Yield what the UBL document would ask for as well"
        for party in [document.seller, document.buyer]:
            if not party.address or not party.address.country:
                yield gettext(
                    'cooperative_edi.msg_facturx_country', party=party.name)

    @classmethod
    def _title(cls, document):
        return gettext(
            f'cooperative_edi.msg_facturx_{document.kind}',
            number=document.number)

    @classmethod
    def get_context(cls, records, header, data):
        pool = Pool()
        Lang = pool.get('ir.lang')
        context = super().get_context(records, header, data)
        context['invoice'] = invoice = context['record']
        context['document'] = document = data['document']
        context['lang'] = Lang.get()
        context['title'] = cls._title(document)
        context['logo'] = cls.logo(invoice.company)
        context['iban'] = document.iban and iban.format(document.iban)
        context['lines'] = {line.id: line for line in document.lines}
        # The lines of a credit note are negative in Tryton
        context['sign'] = -1 if document.kind == 'credit_note' else 1
        for method in [
                cls.address_lines, cls.official_number, cls.description_lines,
                cls.format_price, cls.format_quantity, cls.format_rate]:
            context[method.__name__] = method
        return context

    @classmethod
    def address_lines(cls, address):
        "Return the lines of the address of the document"
        pool = Pool()
        Country = pool.get('country.country')
        countries = Country.search([('code', '=', address.country)], limit=1)
        return list(filter(None, [
                    address.street, address.additional,
                    ' '.join(filter(
                            None, [address.postal_code, address.city])),
                    countries[0].name if countries else address.country]))

    @classmethod
    def official_number(cls, party):
        "Return the number of the party in its register, with its name"
        scheme, _, number = (party.legal_id or '').rpartition(':')
        return f'{NUMBERS.get(scheme, "")} {number}'.strip()

    @classmethod
    def description_lines(cls, item):
        "Return what the description of the item adds to its name"
        lines = (item.description or '').splitlines()
        return lines[1:] if lines[:1] == [item.name] else lines

    @classmethod
    def format_price(cls, price, lang, currency):
        return cls.format_currency(
            price, lang, currency,
            digits=max(currency.digits, digits(price)))

    @classmethod
    def format_quantity(cls, quantity, lang, unit):
        if not unit:
            return cls.format_number(quantity, lang, digits=digits(quantity))
        return cls.format_number_symbol(
            quantity, lang, unit, digits=digits(quantity))

    @classmethod
    def format_rate(cls, rate, lang):
        if rate is None:
            return '–'
        rate = cls.format_number(rate, lang, digits=digits(rate))
        return f'{rate}{NO_BREAKING_SPACE}%'

    @classmethod
    def logo(cls, company):
        "Return the logo as an address that holds it"
        if company.logo:
            return 'data:image/png;base64,' + base64.b64encode(
                company.logo).decode()

    @classmethod
    def convert(cls, report, data, **options):
        "Return a PDF/A-3 made without fetching anything"
        import weasyprint
        html = weasyprint.HTML(
            string=data,
            url_fetcher=weasyprint.URLFetcher(allowed_protocols={'data'}))
        return 'pdf', html.write_pdf(pdf_variant='pdf/a-3b', dpi=300)
