# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Figures, as ratios of what is measured in one run on one machine.

``python -m tests.performance`` plays the demonstration with an empty cache
and again with what the first run left there, receives orders beside a bare
route of the same server, sends and receives after many messages, and has
orders travel by a trust party, whose log is then filled.
"""
import json
import os
import resource
import subprocess
import sys
import tempfile
import time

from . import deal, growth, log, reception


def demonstrate(cache):
    "Return the report of a demonstration, its seconds and those of CPU"
    env = dict(os.environ, TRYCOTON_CACHE=cache)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.monotonic()
    process = subprocess.run(
        [sys.executable, '-m', 'trycoton.command.main', '--json', 'demo'],
        env=env, check=True, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True)
    seconds = time.monotonic() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = sum(
        getattr(after, n) - getattr(before, n)
        for n in ['ru_utime', 'ru_stime'])
    return json.loads(process.stdout), seconds, cpu


def main():
    with tempfile.TemporaryDirectory(prefix='bench-') as cache:
        _, first, first_cpu = demonstrate(cache)
        report, second, second_cpu = demonstrate(cache)
    print(f"demonstration, empty cache: {first:.1f} s, {first_cpu:.1f} s CPU")
    print(f"demonstration, again: {second:.1f} s, {second_cpu:.1f} s CPU")
    print(f"again / empty cache: {second / first:.2f}")
    memory = {i['name']: i['memory'] for i in report['instances']}
    for name, value in memory.items():
        print(f"memory of {name}, idle after the deal: {value / 1e6:.0f} MB")
    trust = next(
        i['name'] for i in report['instances'] if i['role'] == 'trust')
    actors = [i['memory'] for i in report['instances']
        if i['role'] == 'actor']
    print("largest actor / trust party: "
        f"{max(actors) / memory[trust]:.2f}")
    reception.main()
    growth.main()
    deal.main()
    log.main()
    return 0


if __name__ == '__main__':
    sys.exit(main())
