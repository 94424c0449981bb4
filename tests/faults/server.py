# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""A server that a fault of TRYCOTON_FAULT befalls.

``FUNCTION:before`` or ``FUNCTION:after`` kills it at the commit of the
transaction that the function is called in by itself.  ``network:before`` or
``network:after`` loses the first requests of other instances, or their
answers; the file TRYCOTON_FAULT_SEEN then exists."""
import io
import os
import signal
import sys
from pathlib import Path

from trytond.transaction import Transaction
from werkzeug.serving import WSGIRequestHandler

from trycoton.command import server

POINTS = [
    f'{function}:{when}'
    for function in [
        'receive_all', '_lead', 'claim', 'posted', 'process', 'network']
    for when in ['before', 'after']]
LOST = 3
_commit = Transaction.commit
_run_wsgi = WSGIRequestHandler.run_wsgi


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


class Lossy:
    "A network that loses the first requests, or their answers"

    def __init__(self, when, seen):
        self.when = when
        self.seen = Path(seen)
        self.left = LOST

    def run_wsgi(self, handler):
        if '/cooperative/' not in handler.path or not self.left:
            return _run_wsgi(handler)
        self.left -= 1
        self.seen.touch()
        if self.when == 'after':
            handler.wfile = io.BytesIO()
            _run_wsgi(handler)
        handler.close_connection = True


def main():
    what, when = os.environ['TRYCOTON_FAULT'].split(':')
    if what == 'network':
        network = Lossy(when, os.environ['TRYCOTON_FAULT_SEEN'])
        WSGIRequestHandler.run_wsgi = (
            lambda handler: network.run_wsgi(handler))
    else:
        Transaction.commit = commit
    server.main()


if __name__ == '__main__':
    main()
