# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The log of a trust party on PostgreSQL: submissions, proofs, size, start.

``python -m tests.performance.log [--seconds N] [--leaves N…]`` submits
messages of 4 kB by 48 clients, at a rate and then as fast as it goes beside a
bare route of the same server, then fills the log in bulk to each size."""
import argparse
import http.client
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from pathlib import Path

from cryptography.fernet import Fernet

from cooperative_trust.tests.tools import (
    BUYER, COMMUNITY, TRUST, Community, Member, record_of)
from trycoton.command import template
from trycoton.protocol import canonical, signature
from trycoton.protocol.note import Verifier

from . import postgresql
from .reception import _wait, cpu

NAME = 'trust'
CLIENTS = 48
RATE = 300
SECONDS = 60
ROUNDS = 4
LEAVES = [10_000, 100_000, 1_000_000, 10_000_000]


class Party:
    "The server of a trust party, and what is submitted to it"

    def __init__(self, uri, path):
        self.path = path
        postgresql.execute(uri, f'CREATE DATABASE {NAME}')
        postgresql.install(uri, path, NAME, 'trust')
        self.environment = template.environment(
            TRYTOND_DATABASE_URI=uri, TRYTOND_DATABASE__PATH=str(path),
            TRYTOND_COOPERATIVE__KEY=Fernet.generate_key().decode(),
            TRYTOND_COOPERATIVE__COURIER='False')
        self.community = Community(COMMUNITY)
        self.members = [
            Member(f'0225:732829320_{i}') for i in range(10, 10 + CLIENTS)]
        self.buyer = Member(BUYER)
        self.vkey = self.run('open', stdin=json.dumps(
                [COMMUNITY, self.community.key.public.to_jwk()])).strip()

    def run(self, action, *arguments, stdin=''):
        "Return what the action prints"
        return subprocess.run([
                sys.executable, '-m', 'tests.performance.serve_log', NAME,
                action, *map(str, arguments)],
            env=self.environment, input=stdin, stdout=subprocess.PIPE,
            check=True, text=True).stdout

    def start(self):
        with socket.socket() as sock:
            sock.bind(('127.0.0.1', 0))
            self.port = sock.getsockname()[1]
        self.server = subprocess.Popen([
                sys.executable, '-m', 'tests.performance.serve_log', NAME,
                'serve', str(self.port)],
            env=self.environment, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        _wait(self.server, self.port)

    def stop(self):
        self.server.terminate()
        self.server.wait()

    def publish(self):
        "Have the trust party know the members, who can be reached"
        data = self.community.directory(*[
                m.participant(endpoint='http://127.0.0.1:9/cooperative')
                for m in [self.buyer, *self.members]]).to_bytes()
        self.post('trust/directories', data,
            self.community.sign(data, signature.DIRECTORY))

    def agree(self):
        "Have the members agree with the buyer that they may trade"
        for member in self.members:
            member.relation = str(uuid.uuid4())
            for writer, reader, kind, body in [
                    (member, self.buyer, 'relation-proposal', {
                            'relation': member.relation,
                            'community': COMMUNITY, 'trust_party': TRUST,
                            'replaces': None, 'sealed': None}),
                    (self.buyer, member, 'relation-answer', {
                            'relation': member.relation, 'agreed': True,
                            'reason': None, 'sealed': None}),
                    ]:
                _, data, headers = written(
                    writer, writer.statement(reader.identifier, kind, body))
                self.post('edi/messages', data, headers)

    def post(self, path, data, headers):
        connection = http.client.HTTPConnection('127.0.0.1', self.port)
        connection.request(
            'POST', f'/{NAME}/cooperative/{path}', data, headers)
        response = connection.getresponse()
        assert response.status < 300, response.read()
        connection.close()

    def write(self, member):
        "Return the bytes of an invoice of 4 kB, with its signature"
        return written(member, member.invoice(BUYER, member.relation))

    def submit(self, messages, path, rate=None):
        """Return the seconds that each takes, the answers, and the seconds
        that all take.  messages is a list for each client."""
        times, answers = [], []
        begin = time.perf_counter() + 0.5

        def client(number, part):
            connection = http.client.HTTPConnection(
                '127.0.0.1', self.port, timeout=60)
            for rank, (id_, data, headers) in enumerate(part):
                due = begin
                if rate:
                    due += (rank * len(messages) + number) / rate
                time.sleep(max(due - time.perf_counter(), 0))
                started = due if rate else time.perf_counter()
                try:
                    connection.request('POST', path, data, headers)
                    response = connection.getresponse()
                    status, body = response.status, response.read()
                except (OSError, http.client.HTTPException) as exception:
                    status, body = type(exception).__name__, b''
                    connection.close()
                times.append(time.perf_counter() - started)
                answers.append((id_, status, body))
        threads = [
            threading.Thread(target=client, args=[n, part])
            for n, part in enumerate(messages)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return times, answers, time.perf_counter() - begin


def written(member, message):
    "Return the id and the bytes of the message, with its signature"
    member.sequences[message.receiver] = message.sequence, message.digest
    data = message.to_bytes()
    return message.id, data, member.sign(data, message.typ)


def percentile(times, part):
    return sorted(times)[min(int(len(times) * part), len(times) - 1)]


def check(party, answers):
    "Return how many have their receipt at once, are late, lost and double"
    verifier = Verifier.from_vkey(party.vkey)
    statuses = Counter(status for _, status, _ in answers)
    indexes = Counter()
    for _, status, body in answers:
        if status == 201:
            record = record_of(canonical.load(body)['record'])
            record.verify([verifier])
            indexes[record.inclusion.index] += 1
    lost, double = json.loads(party.run(
            'count', stdin=json.dumps([id_ for id_, _, _ in answers])))
    double += sum(c - 1 for c in indexes.values())
    errors = len(answers) - statuses[201] - statuses[202]
    return statuses[201], statuses[202], errors, lost, double


def submissions(party, seconds, rate):
    count = max(int(rate * seconds) // CLIENTS, 1)
    path = f'/{NAME}/cooperative/edi/messages'
    messages = [
        [party.write(m) for _ in range(count + 2)] for m in party.members]
    party.submit([part[:2] for part in messages], path)
    before = cpu(party.server.pid)
    times, answers, elapsed = party.submit(
        [part[2:] for part in messages], path, rate)
    used = cpu(party.server.pid) - before
    received, late, errors, lost, double = check(party, answers)
    print(f"submissions of 4 kB until the receipt, {CLIENTS} clients, "
        f"{len(answers) / elapsed:.0f} of {rate} a second for "
        f"{elapsed:.0f} s: p50 {statistics.median(times) * 1000:.0f} ms, "
        f"p99 {percentile(times, 0.99) * 1000:.0f} ms, {received} receipts, "
        f"{late} promises, {errors} errors, {lost} lost, {double} double; "
        f"CPU of the server {used / len(answers) * 1000:.1f} ms",
        flush=True)


def saturated(party, count):
    routes = [
        (f'/{NAME}/cooperative/edi/messages', 201), (f'/{NAME}/bare', 200)]
    seconds, used = [0, 0], [0, 0]
    for number in range(ROUNDS + 1):
        messages = [
            [party.write(m) for _ in range(count)] for m in party.members]
        for index, (path, status) in enumerate(routes):
            before = cpu(party.server.pid)
            _, answers, elapsed = party.submit(messages, path)
            statuses = {s for _, s, _ in answers} - {202}
            assert statuses <= {status}, statuses
            if number:  # the first warms the caches
                seconds[index] += elapsed
                used[index] += cpu(party.server.pid) - before
    total = ROUNDS * count * CLIENTS
    ours, bare = [total / s for s in seconds]
    print(f"submissions, saturated: {ours:.0f} a second, bare route "
        f"{bare:.0f}, ratio {ours / bare:.2f}; CPU of the server "
        f"{used[0] / total * 1000:.1f} ms, bare route "
        f"{used[1] / total * 1000:.1f} ms, ratio {used[1] / used[0]:.2f}",
        flush=True)


def growth(party, sizes, postgres):
    first, submitted = None, int(party.run('size'))
    for size in sizes:
        if size < submitted:
            # The submissions have made it larger
            continue
        party.run('fill', size)
        postgres.restart()
        found = json.loads(party.run('measure', size))
        first = first or found
        print(f"log of {size} entries: proof of a cold leaf "
            f"{found['cold'] * 1000:.2f} ms (worst "
            f"{found['worst'] * 1000:.2f} ms), warm "
            f"{found['warm'] * 1000:.2f} ms, {found['queries']} queries "
            f"({found['cold'] / first['cold']:.2f} times the first); "
            f"start {found['start'] * 1000:.1f} ms in "
            f"{found['start_queries']} queries "
            f"({found['start'] / first['start']:.2f} times); hashes and "
            f"entry {found['payload']:.1f} bytes a leaf, tables "
            f"{found['table']:.0f}, indexes {found['index']:.0f}",
            flush=True)


def main(argv=()):
    parser = argparse.ArgumentParser(prog='python -m tests.performance.log')
    parser.add_argument('--seconds', type=float, default=SECONDS)
    parser.add_argument('--rate', type=float, default=RATE)
    parser.add_argument('--count', type=int, default=20,
        help="of messages of a client in a saturated round")
    parser.add_argument('--leaves', type=int, nargs='*', default=LEAVES)
    options = parser.parse_args(argv)
    with postgresql.running() as postgres, tempfile.TemporaryDirectory(
            prefix='bench-') as path:
        if not postgres:
            print("the log of a trust party: NOT MEASURED, no PostgreSQL")
            return
        party = Party(postgres.uri, Path(path))
        party.start()
        try:
            party.publish()
            party.agree()
            submissions(party, options.seconds, options.rate)
            saturated(party, options.count)
        finally:
            party.stop()
        growth(party, options.leaves, postgres)


if __name__ == '__main__':
    main(sys.argv[1:])
