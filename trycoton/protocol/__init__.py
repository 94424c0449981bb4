# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What is said, signed and proved between instances.

Bytes to values and back: no Tryton, no network and no clock in here; a time
that matters is an argument.  Every function raises only
:class:`~trycoton.protocol.errors.ProtocolError`.
"""
