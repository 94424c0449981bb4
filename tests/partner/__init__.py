# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"The software of others: an example, the description, the conformance suite"
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[2] / 'examples'
