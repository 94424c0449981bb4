# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What is written in each language, from the translations of our modules."""
import functools

import polib

from trycoton.command.template import MODULES, ROOT

OURS = sorted({
        m for modules in MODULES.values() for m in modules
        if m.startswith('cooperative_')})


@functools.cache
def _entries(module):
    return polib.pofile(
        str(ROOT / 'modules' / module / 'locale' / 'fr.po'))


def french(module, context, text=None):
    """Return the French of the context, of the text when it has several;
    an AssertionError tells that there is none"""
    return _entry(module, context, text).msgstr


def word(language, module, context):
    "Return the text of the context in the language, en or fr"
    entry = _entry(module, context)
    return entry.msgid if language == 'en' else entry.msgstr


def _entry(module, context, text=None):
    found = {
        (e.msgid, e.msgstr): e for e in _entries(module)
        if e.msgctxt == context and text in {None, e.msgid}}
    assert len(found) == 1, (module, context, text, list(found))
    entry, = found.values()
    assert entry.msgstr, (module, context, text)
    return entry


@functools.cache
def foreign(language):
    "Return the texts that are not of the language, en or fr"
    english, french = set(), set()
    for module in OURS:
        for entry in _entries(module):
            english.add(entry.msgid)
            french.add(entry.msgstr)
    return english - french if language == 'fr' else french - english
