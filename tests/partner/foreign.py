# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"The foreign partner of examples, imported from there"
import sys

from . import EXAMPLES

sys.path.insert(0, str(EXAMPLES))

from partner import canonical, document, key, message, proof, web  # noqa: E402
from partner.canonical import Refused  # noqa: E402
from partner.partner import Partner  # noqa: E402
from partner.trade import Trader  # noqa: E402

__all__ = [
    'Partner', 'Refused', 'Trader', 'canonical', 'document', 'key',
    'message', 'proof', 'web']
