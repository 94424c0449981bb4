# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Run the tests: each file in a process of its own, several at a time.

``python -m tests`` runs all of them, ``python -m tests NAME…`` those whose
dotted names contain one of the names.
"""
import argparse
import itertools
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# The files that take longest, outside the modules
SLOW = [
    'browser', 'scenarios', 'faults', 'federation', 'postgresql', 'docker',
    'partner', 'instance', 'commands', 'foreign']
# Many wait, for clients, for processes that were killed or for a server
LANES = min((os.cpu_count() or 1) + 1, 4)
TIMEOUT = 30 * 60
# Where the ports of the instances of the first file begin, and how many each
# file has
FIRST_PORT, PORTS = 9000, 100
_numbers = itertools.count()
_COUNT = re.compile(r'^Ran (\d+) tests? in', re.MULTILINE)
_RESULT = re.compile(r'^(?:OK|FAILED|NO TESTS RAN)(?: \((.*)\))?$')
_SKIPPED = re.compile(r'^(.*) \.\.\. skipped (.*)$', re.MULTILINE)


def discover():
    """Return the dotted names of the files of tests, in lists of those that
    run one after the other, the longest lists first.

    The files of a module share its databases, which are kept between them
    and must not be made by two at once."""
    groups = {}
    for base, pattern in [
            (ROOT / 'modules', '*/tests/**/test_*.py'),
            (ROOT, 'trycoton/**/tests/**/test_*.py'),
            (ROOT, 'tests/**/test_*.py')]:
        for path in sorted(base.glob(pattern)):
            relative = path.relative_to(base).with_suffix('')
            if 'performance' in relative.parts:
                continue
            name = '.'.join(relative.parts)
            group = relative.parts[0] if base != ROOT else name
            groups.setdefault(group, []).append(name)

    def key(names):
        return (
            -len(names),
            min([i for i, word in enumerate(SLOW) if word in names[0]],
                default=len(SLOW)),
            names)
    return sorted(groups.values(), key=key)


def run(name, cache):
    """Run the file of tests with databases kept in the folder cache.

    Return its output and the numbers of tests that passed, failed and were
    skipped, with the reasons of these."""
    env = dict(os.environ)
    env.setdefault('DB_CACHE', cache)
    # Those that run at the same time must not choose the same ports
    env['TRYCOTON_PORT'] = str(FIRST_PORT + PORTS * next(_numbers))
    env['PYTHONPATH'] = os.pathsep.join(
        filter(None, [str(ROOT), env.get('PYTHONPATH')]))
    if not name.startswith('tests.'):
        # To clean its cache, Tryton opens a connection, which commits the
        # transaction of the test when the database is in memory
        env['TRYTOND_CACHE__CLEAN_TIMEOUT'] = str(24 * 60 * 60)
    try:
        process = subprocess.run(
            [sys.executable, '-m', 'unittest', '--verbose', name], cwd=ROOT,
            env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL, text=True, errors='replace',
            timeout=TIMEOUT)
    except subprocess.TimeoutExpired as exception:
        output = exception.stdout or b''
        return output.decode(errors='replace') + '\ntimeout\n', 0, 1, 0, []
    output = process.stdout
    count, failed, skipped = _count(output)
    if process.returncode and not failed and count:
        failed += 1
        count += 1
    reasons = [f'{n}: {r}' for n, r in _SKIPPED.findall(output)]
    return output, count - failed - skipped, failed, skipped, reasons


def _count(output):
    match = None
    for match in _COUNT.finditer(output):
        pass
    results = [
        m for m in map(_RESULT.match, output.splitlines()) if m]
    if not match or not results:
        # It broke before its end
        return 1, 1, 0
    numbers = dict(
        re.findall(r'([a-z ]+)=(\d+)', results[-1].group(1) or ''))
    numbers = {k.strip(): int(v) for k, v in numbers.items()}
    failed = sum(numbers.get(k, 0)
        for k in ['failures', 'errors', 'unexpected successes'])
    skipped = numbers.get('skipped', 0)
    # A class that cannot be set up fails without a test
    return max(int(match.group(1)), failed + skipped), failed, skipped


def main():
    "Run the tests, print what failed and the totals"
    parser = argparse.ArgumentParser(
        prog='python -m tests', description="Run the tests.")
    parser.add_argument(
        'names', nargs='*', metavar='NAME',
        help="a part of the name of the files to run (default: all)")
    parser.add_argument(
        '-j', '--processes', type=int, default=LANES, metavar='N',
        help="how many at a time (default: %(default)s)")
    options = parser.parse_args()
    groups = [
        [n for n in names
            if not options.names or any(p in n for p in options.names)]
        for names in discover()]
    totals = Counter()
    reasons = []
    begin = time.monotonic()

    def report(name, seconds, output, passed, failed, skipped, why):
        if failed:
            print(output)
        print(
            f"{'FAILED' if failed else 'ok':6} {name}: {passed} passed, "
            f"{failed} failed, {skipped} skipped in {seconds:.0f} s",
            flush=True)
        totals.update(passed=passed, failed=failed, skipped=skipped)
        reasons.extend(why)

    def work(names):
        with tempfile.TemporaryDirectory() as cache:
            for name in names:
                started = time.monotonic()
                result = run(name, cache)
                with lock:
                    report(name, time.monotonic() - started, *result)

    lock = threading.Lock()
    with ThreadPoolExecutor(options.processes) as executor:
        for future in [executor.submit(work, g) for g in groups]:
            future.result()
    for reason in reasons:
        print(f"SKIPPED {reason}")
    print(f"in {time.monotonic() - begin:.0f} s")
    print(
        f"{totals['passed']} passed, {totals['failed']} failed, "
        f"{totals['skipped']} skipped")
    if not totals['passed']:
        return 5
    return 1 if totals['failed'] else 0


if __name__ == '__main__':
    sys.exit(main())
