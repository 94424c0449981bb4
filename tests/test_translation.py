# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import polib

from trycoton.command import template

LANGUAGE = 'fr'
MODULES = {
    m for modules in template.MODULES.values() for m in modules
    if m.startswith('cooperative_')}
_PLACEHOLDER = re.compile(r'%\(\w+\)[a-z]|%%')
# Guillemets and double punctuation follow a space that does not break
_BREAKING = re.compile(r'« | »| [:;?!](?:\s|$)|["“”]| %%')


def catalogue(module):
    "Return the translations of the module"
    folder = template.ROOT / 'modules' / module / 'locale'
    return polib.pofile(str(folder / f'{LANGUAGE}.po'))


class TranslationTestCase(unittest.TestCase):
    "Test the French of our modules"

    def _test(self, message, wrong):
        for module in sorted(MODULES):
            with self.subTest(module=module):
                self.assertEqual(
                    [(e.msgctxt, e.msgid, e.msgstr)
                        for e in catalogue(module) if wrong(e)],
                    [], msg=message)

    def test_complete(self):
        "No translation is empty, guessed or obsolete"
        self._test("to translate",
            lambda e: not e.msgstr.strip() or e.fuzzy or e.obsolete)

    def test_unique(self):
        "A string is translated only once"
        for module in sorted(MODULES):
            with self.subTest(module=module):
                keys = [(e.msgctxt, e.msgid) for e in catalogue(module)]
                self.assertEqual(len(keys), len(set(keys)))

    def test_placeholders(self):
        "The values of a text are in its translation"
        self._test("other values",
            lambda e: sorted(_PLACEHOLDER.findall(e.msgid))
            != sorted(_PLACEHOLDER.findall(e.msgstr)))

    def test_lines(self):
        "A translation has the lines of its text"
        self._test("other lines",
            lambda e: e.msgid.count('\n') != e.msgstr.count('\n'))

    def test_typography(self):
        "Quotes and punctuation are French"
        self._test("other typography", lambda e: _BREAKING.search(e.msgstr))


class DatabaseTranslationTestCase(unittest.TestCase):
    "Test that everything that trytond can translate is translated"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.strings = {}
        for modules in {
                tuple(sorted(m)) for m in template.MODULES.values()}:
            for module, key in strings(modules):
                cls.strings.setdefault(module, set()).add(tuple(key))

    def test_all(self):
        "Each label, help, message, menu and button is in French"
        self.assertEqual(self.strings.keys(), MODULES)
        for module in sorted(MODULES):
            with self.subTest(module=module):
                translated = {
                    (e.msgctxt, e.msgid) for e in catalogue(module)}
                self.assertEqual(
                    sorted(self.strings[module] - translated), [],
                    msg=f"to add to {module}/locale/{LANGUAGE}.po")

    def test_obsolete(self):
        "Nothing is translated that is no longer shown"
        for module in sorted(MODULES):
            with self.subTest(module=module):
                translated = {
                    (e.msgctxt, e.msgid) for e in catalogue(module)}
                self.assertEqual(
                    sorted(translated - self.strings[module]), [],
                    msg=f"to remove from {module}/locale/{LANGUAGE}.po")

    def test_kinds(self):
        "Nothing that trytond can translate is forgotten"
        kinds = {
            context.split(':', 1)[0]
            for keys in self.strings.values() for context, _ in keys}
        self.assertLessEqual(
            {'field', 'help', 'model', 'selection', 'view', 'wizard_button'},
            kinds)
        names = {
            context.rsplit(':', 1)[0]
            for keys in self.strings.values() for context, _ in keys}
        self.assertLessEqual({
                'model:ir.action,name', 'model:ir.message,text',
                'model:ir.model.button,string', 'model:ir.ui.menu,name',
                'model:res.group,name'}, names)


def strings(modules):
    """Return what can be translated of our modules in a database of the
    modules: pairs of module and [context, text]"""
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / f'{template.NAME}.sqlite'
        shutil.copyfile(template.get(modules), database)
        process = subprocess.run(
            [sys.executable, '-O', os.path.abspath(__file__)],
            stdout=subprocess.PIPE, check=True, text=True, cwd=template.ROOT,
            env=template.environment(
                TRYTOND_DATABASE_URI='sqlite://',
                TRYTOND_DATABASE__PATH=folder,
                TRYTOND_COOPERATIVE__COURIER='False'))
    return json.loads(process.stdout)


def export(database):
    "Return the strings of the database as trytond would export them"
    from trytond.pool import Pool
    from trytond.transaction import Transaction
    pool = Pool(database)
    pool.init()
    Set = pool.get('ir.translation.set', type='wizard')
    Translation = pool.get('ir.translation')
    result = []
    with Transaction().start(database, 0) as transaction:
        for name in ['ir.ui.view', 'ir.action.report']:
            records = pool.get(name).search(
                [('module', 'in', list(MODULES))])
            if not records:
                continue
            # Views and reports are read only when it is asked for
            with transaction.set_context(
                    active_model=name, active_ids=[r.id for r in records]):
                session, _, _ = Set.create()
                Set.execute(session, {}, 'set_')
        for module in sorted(MODULES):
            # Nothing when the module is not activated
            exported = Translation.translation_export('en', module)
            for entry in polib.pofile((exported or b'').decode()):
                result.append((module, (entry.msgctxt, entry.msgid)))
        transaction.rollback()
    return result


if __name__ == '__main__':
    json.dump(export(template.NAME), sys.stdout)
