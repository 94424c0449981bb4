# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"The official rules, which are beside the project and not part of it"
import os
import subprocess
import sys
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Nobody publishes rules for it: its schema alone
RULELESS = 'remittance'


def faults(paths):
    """Return what the official rules say against the documents.
    Raise SkipTest when they are not there."""
    folder = Path(os.environ.get(
            'TRYCOTON_CONFORMANCE',
            ROOT.parent / 'shared' / 'conformance'))
    if not (folder / 'validate.py').exists():
        raise unittest.SkipTest(f"THE OFFICIAL RULES ARE NOT IN {folder}")
    ruled = [p for p in paths if RULELESS not in p.name]
    ruleless = [p for p in paths if RULELESS in p.name]
    # Without documents of both kinds, nothing is proved
    assert ruled and ruleless, paths
    found = []
    for option, part in [
            ('--require-rules', ruled), ('--xsd-only', ruleless)]:
        process = subprocess.run(
            [sys.executable, folder / 'validate.py', option, *part],
            text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        lines = [l for l in process.stdout.splitlines()
            if not l.startswith('PASS')]
        if process.returncode:
            found += lines or [f"exit status {process.returncode}"]
    return found
