# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path
from unittest.mock import patch

from trycoton.protocol import ubl
from trycoton.protocol.ubl.schema import NAMESPACES
from trycoton.rules import CheckError, checker, worker

ORDER = """<Order xmlns="urn:oasis:names:specification:ubl:schema:xsd:Order-2"
    xmlns:cbc="%(cbc)s"><cbc:CustomizationID>%%s</cbc:CustomizationID>%%s
</Order>""" % NAMESPACES
T01 = 'urn:fdc:peppol.eu:poacc:trns:order:3'
SCHEMA = """<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema"
    targetNamespace="urn:oasis:names:specification:ubl:schema:xsd:Order-2">
<xs:element name="Order"><xs:complexType><xs:sequence>
<xs:any processContents="skip" minOccurs="0" maxOccurs="2"/>
</xs:sequence></xs:complexType></xs:element></xs:schema>"""
SHEET = """<xsl:stylesheet xmlns:xsl="http://www.w3.org/1999/XSL/Transform"
    xmlns:svrl="http://purl.oclc.org/dsdl/svrl" version="2.0">
<xsl:template match="/"><svrl:schematron-output>%s
</svrl:schematron-output></xsl:template></xsl:stylesheet>"""
FINDINGS = """
<svrl:failed-assert id="R1" flag="fatal"
    location="/*:Order[namespace-uri()='urn:x'][1]">
<svrl:text>[R1]-A buyer
MUST be named.</svrl:text></svrl:failed-assert>
<svrl:successful-report id="R2" flag="warning" location="">
<svrl:text>A seller SHOULD be named.</svrl:text></svrl:successful-report>"""
ENDLESS = '<xsl:value-of select="sum(for $i in 1 to 1000000, ' \
    '$j in 1 to 1000000 return $i * $j mod 7)"/>'


def conformance():
    "Return the folder of the official rules and samples, or None"
    default = Path(__file__).resolve().parents[4] / 'shared' / 'conformance'
    folder = Path(os.environ.get('TRYCOTON_CONFORMANCE') or default)
    return folder if (folder / 'rules').is_dir() else None


def skip_unless(found, what):
    if not found:
        message = f"SKIPPED: {what}"
        print(message, file=sys.stderr)
        raise unittest.SkipTest(message)


def end(folder):
    "Kill the process that holds the rules of the folder"
    if pid := worker.process(folder):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        while worker.process(folder) == pid:
            time.sleep(0.01)
        if started := worker._started.get(worker._address(folder)):
            started.poll()
    return pid


class FolderTestCase(unittest.TestCase):
    "Test documents are checked by the files of a folder"

    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)
        self.addCleanup(end, self.folder)
        self.write('xsd/ubl21/maindoc/UBL-Order-2.1.xsd', SCHEMA)

    def write(self, name, text):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def write_sheet(self, text=FINDINGS):
        skip_unless(
            importlib.util.find_spec('saxonche'), "saxonche is not installed")
        self.write('xslt/PEPPOLBIS-T01.xslt', SHEET % text)

    def check(self, customization=T01, more='', check=None):
        check = check or checker.Checker(self.folder).check
        return check((ORDER % (customization, more)).encode())

    def check_apart(self, **values):
        return self.check(
            check=lambda data: worker.check(self.folder, data), **values)

    def test_findings(self):
        "What the rules say is told with its place"
        self.write_sheet()
        fatal, warning = self.check()
        self.assertEqual(
            fatal, ('R1', 'fatal', "A buyer MUST be named.", '/Order[1]'))
        self.assertEqual(
            str(fatal), "R1: A buyer MUST be named. (/Order[1])")
        self.assertTrue(fatal.fatal)
        self.assertEqual(str(warning), "R2: A seller SHOULD be named.")
        self.assertFalse(warning.fatal)

    def test_schema(self):
        "What breaks the schema is not read further"
        finding, = self.check(more='<cbc:ID>1</cbc:ID>' * 2)
        self.assertEqual(finding.rule, 'XSD')
        self.assertTrue(finding.fatal)

    def test_unknown(self):
        "What has no rules does not pass"
        for customization in ['', f'{T01}1', f'x{T01}', T01.upper()]:
            with self.subTest(customization):
                finding, = self.check(customization)
                self.assertEqual(finding.rule, 'TYPE')
                self.assertTrue(finding.fatal)

    def test_malformed(self):
        for data in [b'', b'<Order', b'<!DOCTYPE Order []><Order/>']:
            with self.subTest(data):
                finding, = checker.Checker(self.folder).check(data)
                self.assertEqual(finding.rule, 'XML')

    def test_missing(self):
        "Without its files nothing is checked, and so nothing passes"
        with self.assertRaisesRegex(CheckError, 'PEPPOLBIS-T01.xslt'):
            self.check()
        with self.assertRaisesRegex(CheckError, 'PEPPOLBIS-T01.xslt'):
            self.check_apart()
        with self.assertRaisesRegex(CheckError, 'not a folder'):
            worker.check(self.folder / 'other', b'')

    def test_without_saxon(self):
        self.write('xslt/PEPPOLBIS-T01.xslt', SHEET % '')
        with patch.dict(sys.modules, saxonche=None), \
                self.assertRaisesRegex(CheckError, 'validation'):
            self.check()

    def test_changed(self):
        "Rules that change are read again"
        self.write_sheet('')
        self.assertEqual(self.check_apart(), [])
        self.write_sheet()
        self.assertEqual([f.rule for f in self.check_apart()], ['R1', 'R2'])

    def test_apart(self):
        "All who ask share one process"
        self.write_sheet()
        found, pids = [], set()

        def ask():
            found.append(self.check_apart())
            pids.add(worker.process(self.folder))
        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual([len(f) for f in found], [2] * 4)
        self.assertEqual(len(pids), 1)
        self.assertNotIn(None, pids)
        self.assertNotIn(os.getpid(), pids)

    def test_killed(self):
        "Another process takes the place of one that was killed"
        self.write_sheet()
        self.check_apart()
        killed = end(self.folder)
        self.assertEqual(len(self.check_apart()), 2)
        self.assertNotEqual(worker.process(self.folder), killed)

    def test_killed_meanwhile(self):
        "Who waited for the process that was killed asks again"
        self.write_sheet(ENDLESS)
        found = []
        thread = threading.Thread(
            target=lambda: found.extend(self.check_apart()))
        thread.start()
        deadline = time.monotonic() + 20
        while (not worker.process(self.folder)
                and time.monotonic() < deadline):
            time.sleep(0.01)
        time.sleep(1)
        self.assertEqual(found, [])
        self.write_sheet()
        self.assertTrue(end(self.folder))
        thread.join()
        self.assertEqual([f.rule for f in found], ['R1', 'R2'])

    def test_endless(self):
        "A document that takes too long ends the process, not who asked"
        self.write_sheet(ENDLESS)
        address = worker._address(self.folder)
        process = subprocess.Popen(
            [sys.executable, '-c', '; '.join([
                        'import sys', 'from trycoton.rules import worker',
                        'worker.DOCUMENT_MAX = 1',
                        'worker.serve(*sys.argv[1:])']),
                str(self.folder), address],
            env={**os.environ, 'PYTHONPATH': str(
                    Path(worker.__file__).parents[2])})
        while worker.process(self.folder) != process.pid:
            time.sleep(0.01)
        with patch.object(worker, '_start') as start, \
                patch.object(worker, 'START_MAX', 0.2):
            start.return_value.poll.return_value = None
            with self.assertRaises(CheckError):
                self.check_apart()
        self.assertEqual(process.wait(10), -signal.SIGALRM)


class PackageTestCase(unittest.TestCase):

    def test_without_tryton(self):
        "Documents are checked where there is no Tryton"
        subprocess.run(
            [sys.executable, '-c', '; '.join([
                        'import sys', 'sys.modules["trytond"] = None',
                        'import trycoton.rules.checker',
                        'import trycoton.rules.worker'])],
            check=True, env={**os.environ, 'PYTHONPATH': str(
                    Path(worker.__file__).parents[2])})


class OfficialTestCase(unittest.TestCase):
    "Test documents are checked by the official rules"

    @classmethod
    def setUpClass(cls):
        skip_unless(
            conformance(), "the official rules are not there, set "
            "TRYCOTON_CONFORMANCE to their folder")
        skip_unless(
            importlib.util.find_spec('saxonche'), "saxonche is not installed")
        cls.folder = conformance() / 'rules'
        cls.checker = checker.Checker(cls.folder)

    def fatal(self, data):
        return {f.rule for f in self.checker.check(data) if f.fatal}

    def test_samples(self):
        "The official samples pass"
        paths = sorted((conformance() / 'samples').glob('*.xml'))
        self.assertGreater(len(paths), 5)
        for path in paths:
            with self.subTest(path.name):
                self.assertEqual(self.fatal(path.read_bytes()), set())

    def test_broken(self):
        "A sample that is spoiled is refused by the name of the rule"
        for name, old, new, rule in [
                ('Invoice.xml', b'EUR', b'EUX', 'BR-CL-04'),
                ('Order.xml', b'cbc:IssueDate>', b'cbc:Issued>', 'XSD'),
                ]:
            with self.subTest(name):
                data = (conformance() / 'samples' / name).read_bytes()
                self.assertIn(old, data)
                self.assertIn(rule, self.fatal(data.replace(old, new)))

    def test_types(self):
        "Every document that we write has rules"
        for kind, document in ubl.DOCUMENTS.items():
            with self.subTest(kind):
                self.assertEqual(len([
                            t for t in checker.TYPES
                            if t[0] == document.root
                            and t[1].fullmatch(document.customization)]), 1)
