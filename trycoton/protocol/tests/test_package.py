# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
import ast
import os
import pathlib
import subprocess
import sys
import unittest

import trycoton.protocol

ROOT = pathlib.Path(trycoton.protocol.__file__).parent
FORBIDDEN = {
    'trytond', 'proteus', 'socket', 'ssl', 'urllib', 'urllib3', 'http',
    'requests', 'time', 'asyncio', 'subprocess'}
CLOCKS = {'now', 'utcnow', 'today'}


def sources():
    for path in sorted(ROOT.rglob('*.py')):
        name = path.relative_to(ROOT)
        if 'tests' not in name.parts:
            yield name, path


class PackageTestCase(unittest.TestCase):
    "Test the package"

    def test_without_tryton(self):
        "The package is imported where there is no Tryton"
        modules = []
        for name, _ in sources():
            parts = ['trycoton', 'protocol', *name.with_suffix('').parts]
            modules.append('.'.join(p for p in parts if p != '__init__'))
        self.assertGreater(len(modules), 10)
        code = '\n'.join([
                'import sys',
                'sys.modules["trytond"] = None',
                *(f'import {module}' for module in modules)])
        subprocess.run(
            [sys.executable, '-c', code], check=True,
            env={**os.environ, 'PYTHONPATH': str(ROOT.parent.parent)})

    def test_no_network_no_clock(self):
        "The package has no network and no clock"
        for name, path in sources():
            with self.subTest(str(name)):
                for node in ast.walk(ast.parse(path.read_text('utf-8'))):
                    if isinstance(node, ast.Import):
                        imported = {
                            a.name.split('.')[0] for a in node.names}
                    elif isinstance(node, ast.ImportFrom):
                        imported = (
                            set() if node.level
                            else {node.module.split('.')[0]})
                    elif isinstance(node, ast.Attribute):
                        self.assertNotIn(node.attr, CLOCKS)
                        continue
                    else:
                        continue
                    self.assertFalse(imported & FORBIDDEN)
