# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What is written in French, from the translations of our modules."""
import polib

from trycoton.command.template import MODULES, ROOT

OURS = sorted({
        m for modules in MODULES.values() for m in modules
        if m.startswith('cooperative_')})


def _entries(module):
    return polib.pofile(
        str(ROOT / 'modules' / module / 'locale' / 'fr.po'))


def french(module, context, text=None):
    """Return the French of the context, of the text when it has several;
    an AssertionError tells that there is none"""
    found = {
        e.msgstr for e in _entries(module)
        if e.msgctxt == context and text in {None, e.msgid}}
    assert len(found) == 1 and all(found), (module, context, text, found)
    return found.pop()


def english():
    "Return the texts that are not French"
    source, target = set(), set()
    for module in OURS:
        for entry in _entries(module):
            source.add(entry.msgid)
            target.add(entry.msgstr)
    return source - target
