# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"How often an address may ask in a minute"
import threading
import time
from collections import defaultdict, deque

import trytond.config as config

from .http import Problem

MINUTE = 60
ADDRESSES_MAX = 10000


class Limit:
    """So many requests of an address to a database in a minute

    They are counted in the memory of the process.
    """

    def __init__(self, name, default):
        self.name = name
        self.default = default
        self._times = defaultdict(deque)
        self._lock = threading.Lock()

    def check(self, database, address):
        "Raise Problem if the address asked too often in the last minute"
        most = config.getint('cooperative', self.name, default=self.default)
        now = time.monotonic()
        with self._lock:
            if len(self._times) > ADDRESSES_MAX:
                self._times.clear()
            times = self._times[database, address]
            while times and now - times[0] > MINUTE:
                times.popleft()
            if len(times) >= most:
                raise Problem.overload("Ask again in a minute.")
            times.append(now)
