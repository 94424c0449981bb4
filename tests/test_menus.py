# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"The menus that the documentation names are there"
import re
import unittest
import xml.etree.ElementTree as ET
from pathlib import Path

import trytond

ROOT = Path(__file__).resolve().parent.parent
_SELECTION = re.compile(r':menuselection:`([^`]+)`')


def menus():
    "Return the names of each menu with those it is in, of Tryton's as well"
    items = {}
    for base in [ROOT / 'modules', Path(trytond.__file__).parent]:
        for file in sorted(base.rglob('*.xml')):
            if {'view', 'tests'}.intersection(file.parts):
                continue
            module, *_ = (
                n for n in file.relative_to(base).parts if n != 'modules')
            for node in ET.parse(file).iter('menuitem'):
                def full(name):
                    return name and (
                        name if '.' in name else f'{module}.{name}')
                items[full(node.get('id'))] = (
                    node.get('name'), node.get('action'),
                    full(node.get('parent')), file)
    return {path(items, id_) for id_ in items}


def path(items, id_):
    names = []
    while id_ in items:
        name, action, id_, file = items[id_]
        names.insert(0, name or action_name(file, action))
    return tuple(names)


def action_name(file, action):
    "Return the name of the action, which is the one of its menu"
    if '.' in (action or ''):
        module, action = action.split('.')
        files = (file.parent.parent / module).glob('*.xml')
    else:
        files = file.parent.glob('*.xml')
    for file in files:
        for record in ET.parse(file).iter('record'):
            if record.get('id') == action:
                for field in record.iter('field'):
                    if field.get('name') == 'name':
                        return field.text


def selections():
    "Yield the file and the names of the menus that the documents select"
    for file in [
            ROOT / 'README.rst', *sorted(ROOT.glob('doc/*.rst')),
            *sorted(ROOT.glob('modules/*/doc/*.rst'))]:
        for text in _SELECTION.findall(file.read_text(encoding='utf-8')):
            names = re.split(r'\s*-->\s*', ' '.join(text.split()))
            yield file, tuple(names)


class MenusTestCase(unittest.TestCase):
    "Test the menus in the documents"

    def test_menus(self):
        "Each is where the document says"
        known = menus()
        count = 0
        for file, names in selections():
            count += 1
            with self.subTest(file=str(file.relative_to(ROOT)), menu=names):
                if names[0] == '...':
                    self.assertIn(
                        names[1:], {k[-len(names) + 1:] for k in known})
                else:
                    self.assertIn(names, known)
        self.assertGreater(count, 30)
