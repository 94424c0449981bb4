# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The PDF of an invoice shows and holds what the UBL invoice says"""
import io
import sys
from decimal import Decimal
from unittest.mock import patch

from lxml import etree
from trytond.model.exceptions import AccessError
from trytond.pool import Pool
from trytond.tests.test_tryton import with_transaction
from trytond.transaction import Transaction

from cooperative_edi.exceptions_document import (
    FacturXDocumentError, FacturXMissingError, FacturXStateError)
from trycoton.protocol import cii
from trycoton.protocol.tests.test_cii import Rules

from . import test_taxes
from .test_documents import NOTICE, DealTestCase, deliver

D = Decimal


class FacturXTestCase(DealTestCase):
    "Test the Factur-X invoice"

    new_invoice = test_taxes.TaxesTestCase.new_invoice
    credit = test_taxes.TaxesTestCase.credit
    taxes = test_taxes.TaxesTestCase.taxes

    @classmethod
    def setUpClass(cls):
        cls.rules = Rules.load('weasyprint')
        super().setUpClass()

    def set_up_deal(self):
        super().set_up_deal()
        self.accountant = self.user('account', 'group_account')

    def user(self, module, group):
        "Return a user of the group in both companies"
        pool = Pool()
        ModelData = pool.get('ir.model.data')
        User = pool.get('res.user')
        companies = [self.seller.company.id, self.buyer.company.id]
        user, = User.create([{
                    'name': group,
                    'login': group,
                    'companies': [('add', companies)],
                    'company': self.seller.company.id,
                    'company_filter': 'all',
                    'groups': [('add', [ModelData.get_id(module, group)])],
                    }])
        return user

    def print_(self, *invoices, user=None):
        Report = Pool().get('account.invoice.facturx', type='report')
        user = user or self.accountant
        with Transaction().set_user(user.id), self.seller.context():
            return Report.execute([i.id for i in invoices], {})

    def pdf(self, invoice):
        extension, pdf, direct, name = self.print_(invoice)
        self.assertEqual((extension, direct), ('pdf', False))
        self.assertEqual(name, f'Factur-X Invoice-{invoice.number}')
        return pdf

    def xml(self, pdf):
        "Return the XML in the PDF, after the official schema and rules"
        import facturx
        name, xml = facturx.get_xml_from_pdf(pdf)
        self.assertEqual(name, 'factur-x.xml')
        self.assertEqual(self.rules.findings(xml), [])
        return xml

    def text(self, pdf):
        "Return what a person reads, without spaces"
        from pypdf import PdfReader
        return ''.join(''.join(
                p.extract_text() for p in PdfReader(io.BytesIO(pdf)).pages
                ).split())

    def find(self, xml, path):
        return [
            e.text for e in etree.fromstring(xml).findall(
                f'.//{path}', cii.CII_NAMESPACES)]

    def paper_party(self, **values):
        "Return a party that is no peer"
        pool = Pool()
        Country = pool.get('country.country')
        Party = pool.get('party.party')
        country, = Country.search([('code', '=', 'FR')])
        with self.seller.context():
            party, = Party.create([{
                        'name': "Mairie de Foix",
                        'account_receivable': self.seller.receivable.id,
                        'addresses': [('create', [{
                                        'street_unstructured': "2 place Roy",
                                        'postal_code': '09000',
                                        'city': "Foix",
                                        'country': country.id,
                                        }])],
                        'identifiers': [('create', [{
                                        'type': 'eu_vat',
                                        'code': 'FR83404833048',
                                        }])],
                        **values}])
        return party

    def to_paper(self, invoice, party):
        "Address the draft invoice to the party"
        Invoice = Pool().get('account.invoice')
        with self.seller.context():
            invoice.party = party
            invoice.on_change_party()
            invoice.save()
        return Invoice(invoice.id)

    @with_transaction()
    def test_same(self):
        "Test the PDF of what was sent says the same, to the cent"
        self.set_up_deal()
        low, high = self.taxes()
        with self.seller.context():
            none = self.seller.tax("0 %", '0', 'sale', notice=NOTICE)
        invoice = self.new_invoice(
            ("Miel", 12.34, self.kilogram, '12.3457', low),
            ("Cire", 7, self.unit, '1.2699', high),
            ("Conseil", 2.5, self.day, '450', high),
            ("Formation", 1, self.day, '300', none),
            ("Remise de fidélité", -1, None, '10.01', high))
        self.post(self.seller, invoice)
        document = deliver('invoice')
        pdf = self.pdf(invoice)
        xml = self.xml(pdf)
        self.assertEqual(xml, cii.to_bytes(document))
        self.assertEqual(
            self.find(xml, 'rsm:ExchangedDocument/ram:TypeCode'), ['380'])
        for name, amount in [
                ('LineTotalAmount', invoice.untaxed_amount + D('10.01')),
                ('AllowanceTotalAmount', D('10.01')),
                ('TaxBasisTotalAmount', invoice.untaxed_amount),
                ('TaxTotalAmount', invoice.tax_amount),
                ('GrandTotalAmount', invoice.total_amount),
                ('DuePayableAmount', invoice.total_amount)]:
            self.assertEqual(
                [D(t) for t in self.find(
                        xml,
                        'ram:SpecifiedTradeSettlementHeaderMonetarySummation'
                        f'/ram:{name}')], [amount], msg=name)
        settlement = 'ram:ApplicableHeaderTradeSettlement'
        self.assertEqual(
            self.find(xml, f'{settlement}/ram:ApplicableTradeTax'
                '/ram:ExemptionReason'), [NOTICE])
        self.assertEqual(
            sorted(D(t) for t in self.find(
                    xml, f'{settlement}/ram:ApplicableTradeTax'
                    '/ram:RateApplicablePercent')), [0, D('5.5'), 20])
        self.assertEqual(
            etree.fromstring(xml).xpath(
                '//ram:BilledQuantity/@unitCode',
                namespaces=cii.CII_NAMESPACES), ['KGM', 'C62', 'DAY', 'DAY'])
        text = self.text(pdf)
        for expected in [
                invoice.number, "Rucher", "Épicerie", "Toulouse",
                'FR44732829320', 'SIREN732829320', "Miel", '12.34kg',
                '12.3457', '152.35', "Remisedefidélité", '-EUR10.01', '5.5%',
                '20%', ''.join(NOTICE.split()),
                f'{invoice.total_amount:,}']:
            self.assertIn(expected, text)

        credit = self.credit(invoice)
        self.post(self.seller, credit)
        note = deliver('credit_note')
        pdf = self.pdf(credit)
        xml = self.xml(pdf)
        self.assertEqual(xml, cii.to_bytes(note))
        self.assertEqual(
            self.find(xml, 'rsm:ExchangedDocument/ram:TypeCode'), ['381'])
        self.assertEqual(
            self.find(xml, 'ram:DuePayableAmount'),
            [str(invoice.total_amount)])
        self.assertEqual(
            self.find(xml, 'ram:InvoiceReferencedDocument'
                '/ram:IssuerAssignedID'), [invoice.number])
        text = self.text(pdf)
        self.assertIn(f'CreditNote{credit.number}', text)
        self.assertIn(f'CreditedtoYouEUR{invoice.total_amount:,}', text)

        extension, _, _, name = self.print_(invoice, credit)
        self.assertEqual((extension, name), (
                'zip', f'Factur-X Invoice-{invoice.number}-{credit.number}'))

    @with_transaction()
    def test_paper(self):
        "Test a partner who gets nothing by EDI, in each category of VAT"
        self.set_up_deal()
        party = self.paper_party()
        for category in ['E', 'AE', 'K', 'G', 'O']:
            with self.seller.context():
                tax = self.seller.tax(category, '0', 'sale', notice=NOTICE)
                tax.unece_category_code = category
                tax.save()
            invoice = self.to_paper(self.new_invoice(
                    ("Conseil", 3, self.day, '333.3333', tax),
                    ("Remise", -1, None, '0.5', tax)), party)
            self.post(self.seller, invoice)
            self.assertFalse(invoice.edi_messages)
            for printed in [invoice, self.credit(invoice)]:
                if printed.state == 'draft':
                    self.post(self.seller, printed)
                xml = self.xml(self.pdf(printed))
                self.assertEqual(
                    set(self.find(xml, 'ram:CategoryCode')), {category})
                self.assertEqual(
                    self.find(xml, 'ram:BuyerTradeParty/ram:Name'),
                    ["Mairie de Foix"])
                self.assertEqual(
                    self.find(xml, 'ram:BuyerTradeParty'
                        '/ram:PostalTradeAddress/ram:CityName'), ["Foix"])
                self.assertEqual(
                    self.find(xml, 'ram:BuyerTradeParty'
                        '/ram:URIUniversalCommunication'), [])
                self.assertEqual(
                    self.find(xml, 'ram:GrandTotalAmount'), ['999.50'])

    @with_transaction()
    def test_again(self):
        "Test an invoice is printed once, until an accountant renews it"
        pool = Pool()
        Invoice = pool.get('account.invoice')
        Lang = pool.get('ir.lang')
        Party = pool.get('party.party')
        self.set_up_deal()
        _, high = self.taxes()
        french, = Lang.search([('code', '=', 'fr')])
        party = self.paper_party(lang=french)
        invoice = self.to_paper(
            self.new_invoice(("Cire", 1234, self.unit, '1.5', high)), party)
        self.post(self.seller, invoice)
        first = self.pdf(invoice)
        self.assertIn('1851,00', self.text(first))
        Party.write([party], {'name': "Ville de Foix"})
        self.assertEqual(self.pdf(Invoice(invoice.id)), first)
        with self.seller.context():
            copy, = Invoice.copy([invoice])
        self.assertIsNone(copy.facturx)

        number = invoice.number
        invoice = Invoice(invoice.id)
        invoice.create_invoice_report_revision()
        invoice.save()
        self.assertIn(
            first, [
                r.invoice_report_cache
                for r in invoice.invoice_report_revisions])
        second = self.pdf(Invoice(invoice.id))
        self.assertEqual(
            self.find(self.xml(second), 'ram:BuyerTradeParty/ram:Name'),
            ["Ville de Foix"])
        self.assertEqual(
            self.find(self.xml(second), 'rsm:ExchangedDocument/ram:ID'),
            [number])

    @with_transaction()
    def test_archivable(self):
        "Test the PDF is made as PDF/A-3 and Factur-X ask for"
        from PIL import Image
        from pypdf import PdfReader
        self.set_up_deal()
        logo = io.BytesIO()
        Image.new('RGBA', (60, 25), (230, 160, 0, 128)).save(logo, 'png')
        with self.seller.context():
            self.seller.company.logo = logo.getvalue()
            self.seller.company.save()
        _, high = self.taxes()
        invoice = self.new_invoice(("Cire", 7, self.unit, '1.2699', high))
        self.post(self.seller, invoice)
        reader = PdfReader(io.BytesIO(self.pdf(invoice)))
        catalogue = reader.trailer['/Root']
        self.assertTrue(reader.trailer['/ID'])
        self.assertNotIn('/Encrypt', reader.trailer)
        intent, = catalogue['/OutputIntents']
        self.assertEqual(intent.get_object()['/S'], '/GTS_PDFA1')
        self.assertTrue(
            intent.get_object()['/DestOutputProfile'].get_data())
        attached, = catalogue['/AF']
        attached = attached.get_object()
        self.assertEqual(attached['/AFRelationship'], '/Data')
        self.assertEqual(attached['/UF'], 'factur-x.xml')
        self.assertEqual(
            attached['/EF']['/F'].get_object()['/Subtype'], '/text/xml')
        self.assertEqual(
            catalogue['/Names']['/EmbeddedFiles']['/Names'][0],
            'factur-x.xml')
        metadata = etree.fromstring(catalogue['/Metadata'].get_data())
        said = {e.tag.split('}')[1]: e.text for e in metadata.iter(
                '{http://www.aiim.org/pdfa/ns/id/}*',
                '{urn:factur-x:pdfa:CrossIndustryDocument:invoice:1p0#}*')}
        self.assertEqual(said, {
                'part': '3',
                'conformance': 'B',
                'DocumentType': 'INVOICE',
                'DocumentFileName': 'factur-x.xml',
                'Version': '1.0',
                'ConformanceLevel': 'EN 16931',
                })
        self.assertEqual(
            reader.metadata.title, f'Invoice {invoice.number} – Rucher')
        images = [
            i.get_object() for p in reader.pages
            for i in p['/Resources']['/XObject'].values()]
        self.assertEqual(
            [i['/Interpolate'].value for i in images], [False])
        fonts = [
            f.get_object() for p in reader.pages
            for f in p['/Resources']['/Font'].values()]
        self.assertTrue(fonts)
        for font in fonts:
            for part in font.get('/DescendantFonts', [font]):
                descriptor = part.get_object()['/FontDescriptor']
                self.assertTrue(
                    {'/FontFile', '/FontFile2', '/FontFile3'}
                    & descriptor.keys())

    @with_transaction()
    def test_refused(self):
        "Test what cannot be printed, and who may not"
        pool = Pool()
        Invoice = pool.get('account.invoice')
        self.set_up_deal()
        _, high = self.taxes()
        invoice = self.new_invoice(("Cire", 7, self.unit, '1.2699', high))
        with self.assertRaises(FacturXStateError):
            self.print_(invoice)
        self.post(self.seller, invoice)
        bill = self.invoice(deliver('invoice'))
        self.post(self.buyer, bill)
        with self.assertRaises(FacturXStateError):
            self.print_(bill)

        for library in ['facturx', 'weasyprint']:
            with patch.dict(sys.modules, {library: None}), \
                    self.assertRaisesRegex(FacturXMissingError, library):
                self.print_(invoice)

        paper = self.to_paper(
            self.new_invoice(("Cire", 1, self.unit, '1', high)),
            self.paper_party(addresses=[('create', [{'city': "Foix"}])]))
        self.post(self.seller, paper)
        with self.assertRaisesRegex(
                FacturXDocumentError, "Foix\" has no country"):
            self.print_(paper)
        self.assertIsNone(Invoice(paper.id).facturx)

        with self.assertRaises(AccessError):
            self.print_(invoice, user=self.user('sale', 'group_sale'))
        self.xml(self.pdf(invoice))
