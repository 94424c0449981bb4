# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""A server that is killed at a point given by TRYCOTON_FAULT.

The point is ``FUNCTION:before`` or ``FUNCTION:after``: of the commit of the
transaction that the function is called in by itself."""
import os
import signal
import sys

from trytond.transaction import Transaction

from trycoton.command import server

POINTS = [
    f'{function}:{when}'
    for function in ['_receive', '_lead', 'claim', 'posted', 'process']
    for when in ['before', 'after']]
_commit = Transaction.commit


def _function():
    "Return the name of the function that is called in the transaction"
    frame = sys._getframe(2)
    if frame.f_code.co_name == 'transact':
        return frame.f_locals['function'].__name__


def commit(transaction):
    wanted, when = os.environ['TRYCOTON_FAULT'].split(':')
    found = _function() == wanted
    if found and when == 'before':
        os.kill(os.getpid(), signal.SIGKILL)
    _commit(transaction)
    if found:
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == '__main__':
    Transaction.commit = commit
    server.main()
