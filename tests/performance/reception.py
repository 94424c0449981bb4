# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""How fast orders are received, beside a bare route of the same server, from
few who send at the same time and from more."""
import http.client
import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cryptography.fernet import Fernet

from trycoton.command import template
from trycoton.protocol.signature import SIGNATURE_HEADER

from .postgresql import databases

COUNT = 1200
ROUNDS = 4
CLIENTS = [4, 16]
NAME = 'bench'


def measure(uri, path):
    """Yield for each number of clients how many messages a second are
    received, and how many bodies the bare route stores, by the database at
    uri, whose files are in path, and the seconds of CPU that the server uses
    for one of each"""
    folder = Path(path, 'messages')
    folder.mkdir()
    with socket.socket() as sock:
        sock.bind(('127.0.0.1', 0))
        port = sock.getsockname()[1]
    server = subprocess.Popen([
            sys.executable, '-m', 'tests.performance.serve', NAME, str(port),
            str(folder), str(COUNT * len(CLIENTS))],
        env=template.environment(
            TRYTOND_DATABASE_URI=uri, TRYTOND_DATABASE__PATH=str(path),
            TRYTOND_COOPERATIVE__KEY=Fernet.generate_key().decode(),
            TRYTOND_COOPERATIVE__COURIER='False'),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait(server, port)
        messages = [
            (p.read_bytes(), p.with_suffix('.jws').read_text())
            for p in sorted(folder.glob('*.xml'))]
        for number, clients in enumerate(CLIENTS):
            part = messages[number * COUNT:(number + 1) * COUNT]
            yield clients, _compare(server.pid, port, part, clients)
    finally:
        server.terminate()
        server.wait()


def _compare(pid, port, messages, clients):
    "Ask both in turn, so that the noise of the machine is shared"
    size = len(messages) // (ROUNDS + 1)
    routes = [
        (f'/{NAME}/cooperative/edi/messages', 201), (f'/{NAME}/bare', 200)]
    seconds, used = [0, 0], [0, 0]
    for number in range(ROUNDS + 1):
        part = messages[number * size:(number + 1) * size]
        for index, (path, status) in enumerate(routes):
            before = cpu(pid)
            elapsed = _post(port, path, part, status, clients)
            if number:  # the first warms the caches
                seconds[index] += elapsed
                used[index] += cpu(pid) - before
    count = ROUNDS * size
    return [count / s for s in seconds], [u / count for u in used]


def cpu(pid):
    "Return the seconds of CPU that the process has used"
    fields = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf('SC_CLK_TCK')


def _post(port, path, messages, status, clients):
    "Return the seconds that the clients take together"
    def client(part):
        connection = http.client.HTTPConnection('127.0.0.1', port, timeout=60)
        for data, jws in part:
            connection.request(
                'POST', path, data, {SIGNATURE_HEADER: jws})
            response = connection.getresponse()
            body = response.read()
            if response.status != status:
                raise AssertionError((response.status, body))
    started = time.perf_counter()
    with ThreadPoolExecutor(clients) as executor:
        list(executor.map(
                client, [messages[i::clients] for i in range(clients)]))
    return time.perf_counter() - started


def _wait(server, port):
    limit = time.monotonic() + 300
    while True:
        if server.poll() is not None:
            raise AssertionError("the server ended")
        with socket.socket() as sock:
            if not sock.connect_ex(('127.0.0.1', port)):
                return
        if time.monotonic() > limit:
            raise AssertionError("the server does not answer")
        time.sleep(0.2)


def main():
    for title, uri, path in databases(NAME):
        for clients, (rates, used) in measure(uri, path):
            (ours, bare), (our_cpu, bare_cpu) = rates, used
            print(f"orders received from {clients} at a time, {title}: "
                f"{ours:.0f} a second, bare route {bare:.0f}, ratio "
                f"{ours / bare:.2f}; CPU of the server "
                f"{our_cpu * 1000:.1f} ms, bare route "
                f"{bare_cpu * 1000:.1f} ms, ratio {bare_cpu / our_cpu:.2f}",
                flush=True)


if __name__ == '__main__':
    main()
