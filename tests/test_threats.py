# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
import ast
import re
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_NAME = re.compile(r'^ +\* ``([\w.]+)\.(\w+)\.(test_\w+)``$', re.MULTILINE)
_THREAT = re.compile(
    r'^(\S.*)\n((?:(?:   .*)?\n)+)', re.MULTILINE)


class ThreatsTestCase(unittest.TestCase):
    "Test the document of the threats"

    @classmethod
    def setUpClass(cls):
        text = (ROOT / 'doc' / 'threats.rst').read_text(encoding='utf-8')
        cls.text = text.partition("What is not defended")[0]

    def test_tests(self):
        "Each test that is named exists"
        names = _NAME.findall(self.text)
        self.assertEqual(len(names), self.text.count('* ``'))
        for module, class_, method in names:
            with self.subTest(test=f'{module}.{class_}.{method}'):
                self.assertIn(method, self.methods(module, class_))

    def test_threats(self):
        "Each threat has a test"
        for threat, answer in _THREAT.findall(self.text):
            if not answer.strip() or threat.startswith('..'):
                continue
            with self.subTest(threat=threat):
                self.assertRegex(answer, _NAME)

    def methods(self, module, class_):
        path = Path(*module.split('.')).with_suffix('.py')
        root = ROOT / 'modules' if module.startswith('cooperative') else ROOT
        tree = ast.parse((root / path).read_text(encoding='utf-8'))
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and node.name == class_:
                return [n.name for n in node.body
                    if isinstance(n, ast.FunctionDef)]
        return []
