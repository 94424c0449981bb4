# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Check documents with the files of a folder, in this process.

xsd/ubl21/maindoc and xsd/ubl23/maindoc hold the schemas of UBL under their
own names, xslt the rules of Schematron made style sheets, as named below.
"""
import re
from pathlib import Path

from lxml import etree

from . import FATAL, WARNING, CheckError, Finding

UBL = 'urn:oasis:names:specification:ubl:schema:xsd:'
SVRL = '{http://purl.oclc.org/dsdl/svrl}'
CUSTOMIZATION = f'{{{UBL}CommonBasicComponents-2}}CustomizationID'
WARNINGS = {'warning', 'warn', 'info', 'information'}
_step = re.compile(r"\*:(\w+)\[namespace-uri\(\)='[^']*'\]")
_namespace = re.compile(r'\{urn:[^}]*\}')

EN16931 = 'CEN-EN16931-UBL'
BILLING = [EN16931, 'PEPPOL-EN16931-UBL']
SELF_BILLING = [EN16931, 'PEPPOL-EN16931-UBL-SB']
EN_ID = r'urn:cen\.eu:en16931:2017'
PEPPOL_ID = r'#compliant#urn:fdc:peppol\.eu:2017:poacc:'
TRNS_ID = r'urn:fdc:peppol\.eu:poacc:trns:'
LOGISTICS_ID = r'urn:fdc:peppol\.eu:logistics:trns:'
# The root, the CustomizationID, the version of UBL and the rules.
# What is not here has no rules, and would always pass.
TYPES = [
    (root, re.compile(customization), version, sheets)
    for root, customization, version, sheets in [
        ('Order', TRNS_ID + 'order:3', '2.1', ['PEPPOLBIS-T01']),
        ('OrderChange', TRNS_ID + 'order_change:3', '2.3',
            ['PEPPOLBIS-T114']),
        ('OrderCancellation', TRNS_ID + 'order_cancellation:3', '2.3',
            ['PEPPOLBIS-T115']),
        ('OrderResponse', TRNS_ID + 'order_response_advanced:3', '2.3',
            ['PEPPOLBIS-T116']),
        ('OrderResponse', TRNS_ID + 'order_response:3', '2.1',
            ['PEPPOLBIS-T76']),
        ('OrderResponse', TRNS_ID + 'order_agreement:3', '2.1',
            ['PEPPOLBIS-T110']),
        ('DespatchAdvice', TRNS_ID + 'despatch_advice:3', '2.1',
            ['PEPPOLBIS-T16']),
        ('DespatchAdvice', LOGISTICS_ID + 'advanced_despatch_advice:1', '2.1',
            ['PEPPOLBIS-T120']),
        ('ReceiptAdvice', LOGISTICS_ID + 'receipt_advice:1', '2.3',
            ['PEPPOLBIS-T128']),
        ('Catalogue', TRNS_ID + 'catalogue:3', '2.1', ['PEPPOLBIS-T19']),
        ('ApplicationResponse', TRNS_ID + 'catalogue_response:3', '2.1',
            ['PEPPOLBIS-T58']),
        ('ApplicationResponse', TRNS_ID + 'mlr:3', '2.1',
            ['PEPPOLBIS-T71']),
        ('ApplicationResponse', TRNS_ID + 'invoice_response:3', '2.1',
            ['PEPPOLBIS-T111']),
        # There are none: the schema is all that can be checked
        ('RemittanceAdvice', r'urn:trycoton\.org:trns:remittance_advice:1',
            '2.1', []),
        *((root, customization, '2.1', sheets)
            for root in ['Invoice', 'CreditNote']
            for customization, sheets in [
                (EN_ID + PEPPOL_ID + r'billing:3\.0', BILLING),
                (EN_ID + PEPPOL_ID + r'selfbilling:3\.0', SELF_BILLING),
                (EN_ID, [EN16931]),
                ]),
        ]]


class Checker:
    "The schemas and rules of a folder, loaded as they are needed"

    def __init__(self, folder):
        self.folder = Path(folder)
        self._loaded = {}
        self._processor = None

    def check(self, data):
        """Return the Findings on the bytes of a document.

        Raise CheckError when they cannot be told."""
        try:
            root = _parse(data)
        except etree.XMLSyntaxError as exception:
            return [Finding('XML', FATAL, str(exception), '')]
        type_ = _type(root)
        if not type_:
            return [Finding(
                    'TYPE', FATAL, "No rules are known for "
                    f"{etree.QName(root).localname} with CustomizationID "
                    f"{root.findtext(CUSTOMIZATION)!r}.", '')]
        kind, _, version, sheets = type_
        if findings := self._check_schema(root, kind, version):
            return findings
        text = etree.tostring(root, encoding='unicode')
        return [f for sheet in sheets for f in self._check_rules(text, sheet)]

    def _check_schema(self, root, kind, version):
        schema = self._load(
            f"xsd/ubl{version.replace('.', '')}/maindoc/"
            f'UBL-{kind}-{version}.xsd', self._read_schema)
        if schema.validate(root):
            return []
        return [
            Finding('XSD', FATAL, _namespace.sub('', e.message), e.path or '')
            for e in schema.error_log]

    def _check_rules(self, text, name):
        sheet = self._load(f'xslt/{name}.xslt', self._read_sheet)
        node = self._processor.parse_xml(xml_text=text)
        report = sheet.transform_to_string(xdm_node=node)
        if not report:
            raise CheckError(f"{name}: no result")
        for found in etree.fromstring(report.encode('utf-8')).iter(
                SVRL + 'failed-assert', SVRL + 'successful-report'):
            rule = found.get('id') or name
            flag = found.get('flag') or found.get('role') or FATAL
            text = ' '.join(
                ''.join(found.find(SVRL + 'text').itertext()).split())
            yield Finding(
                rule, WARNING if flag.lower() in WARNINGS else FATAL,
                text.removeprefix(f'[{rule}]').lstrip('- '),
                _step.sub(r'\1', found.get('location') or ''))

    def _load(self, name, read):
        "Return what is read from the file, again when it has changed"
        path = self.folder / name
        try:
            changed = path.stat().st_mtime_ns
        except OSError as exception:
            raise CheckError(f"{path}: {exception.strerror}") from exception
        if self._loaded.get(path, (None,))[0] != changed:
            self._loaded[path] = changed, read(str(path))
        return self._loaded[path][1]

    def _read_schema(self, path):
        try:
            return etree.XMLSchema(etree.parse(path))
        except etree.LxmlError as exception:
            raise CheckError(f"{path}: {exception}") from exception

    def _read_sheet(self, path):
        try:
            from saxonche import PySaxonApiError, PySaxonProcessor
        except ImportError as exception:
            raise CheckError(
                "saxonche is not installed: "
                "pip install 'trycoton[validation]'") from exception
        if not self._processor:
            self._processor = PySaxonProcessor(license=False)
            self._processor.set_configuration_property(
                'http://saxon.sf.net/feature/allow-external-functions',
                'false')
        try:
            return self._processor.new_xslt30_processor().compile_stylesheet(
                stylesheet_file=path)
        except PySaxonApiError as exception:
            raise CheckError(f"{path}: {exception}") from exception


def _parse(data):
    root = etree.fromstring(data, etree.XMLParser(
            resolve_entities=False, no_network=True, load_dtd=False))
    if root.getroottree().docinfo.doctype:
        raise etree.XMLSyntaxError("A DOCTYPE is not allowed.", 0, 0, 0)
    return root


def _type(root):
    name = etree.QName(root)
    customization = (root.findtext(CUSTOMIZATION) or '').strip()
    for type_ in TYPES:
        if (name.namespace == f'{UBL}{type_[0]}-2'
                and name.localname == type_[0]
                and type_[1].fullmatch(customization)):
            return type_
