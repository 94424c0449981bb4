# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"Try whether a system speaks the protocol: vectors, probes, a guided deal"
import argparse
import json
import shutil
from decimal import Decimal, InvalidOperation
from pathlib import Path

from trycoton.protocol import vector
from trycoton.protocol.errors import ProtocolError
from trycoton.protocol.record import IDENTIFIER

from .. import CommandError, output, progress
from .deal import Deal
from .participant import Participant
from .probe import Known, Stranger
from .report import FAILED, INCOMPLETE, PASSED, Report

__all__ = ['add_arguments', 'run']

DESCRIPTION = """\
Try whether a system speaks the protocol.

Without an address, the vectors are tried on this very implementation, or on
the answers that another one gives in a file.

With the address of an endpoint, its descriptor and its refusals are probed.
With --listen a participant answers at that address: once the operator of the
system has added it as a peer, what only a peer may say is probed as well,
and --deal plays a deal, from the relation to the payment."""
EPILOG = f"""\
The file of answers is {{"VECTORS": {{"NAME": {{"valid": true, "result":
…}}}}}}: for each file of vectors, by the name of its cases, what was found.

Exit status: {PASSED} all that was tried holds, {FAILED} something does not,
{INCOMPLETE} what was asked could not all be tried, 2 nothing could be tried.
"""


def add_arguments(parser):
    "Add the arguments of the command to its parser"
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        'url', metavar='URL', nargs='?',
        help="the endpoint, as https://example.org/database/cooperative")
    parser.add_argument(
        '--vectors', metavar='DIR', help="write the vectors to the folder")
    parser.add_argument(
        '--answers', metavar='FILE',
        help="the answers of another implementation to the vectors")
    parser.add_argument(
        '--fingerprint', metavar='TEXT',
        help="the fingerprint that the system must have")
    parser.add_argument(
        '--listen', metavar='HOST:PORT',
        help="where to answer as a participant")
    parser.add_argument(
        '--endpoint', metavar='URL',
        help="the public address of what listens (default: the local one)")
    parser.add_argument(
        '--identifier', default='0225:100000009_CONFORMANCE',
        help="of the participant (default: %(default)s)")
    parser.add_argument(
        '--key', metavar='FILE',
        help="keep the key of the participant in the file, to be known "
        "again the next time")
    parser.add_argument(
        '--wait', type=float, default=600, metavar='SECONDS',
        help="how long to wait for the operator at each step "
        "(default: %(default)s)")
    parser.add_argument(
        '--limit', type=float, default=5, metavar='SECONDS',
        help="how long a refusal may take (default: %(default)s)")
    parser.add_argument(
        '--deal', metavar='CODE',
        help="order the item that the system sells under the code")
    for name, default, text in [
            ('price', '1.00', "its unit price"),
            ('quantity', '1', "how many of them"),
            ('unit', 'C62', "their unit, of UNECE Recommendation 20"),
            ('rate', '0', "their rate of VAT in percent")]:
        parser.add_argument(
            f'--{name}', default=default, help=f"{text} (default: {default})")


def run(options):
    "Try what the options ask for, tell it and return the exit status"
    if options.vectors:
        shutil.copytree(vector.FOLDER, options.vectors, dirs_exist_ok=True)
        progress(f"the vectors are in {options.vectors}")
    if options.deal and not options.listen:
        raise CommandError("a deal needs --listen")
    if options.listen and not options.url:
        raise CommandError("--listen needs the address of the system")
    report = Report(tell=None if options.json else print)
    if options.answers or not options.url:
        try_vectors(report, options.answers)
    if options.url:
        try:
            try_system(report, options)
        except OSError as exception:
            report.add("the system answers", False, str(exception))
    output(options, {
            'url': options.url,
            'status': report.status,
            'result': report.result,
            'checks': report.to_json(),
            }, report.result)
    return report.status


def try_vectors(report, path=None):
    "Compare the answers in the file, by default our own, to the vectors"
    answers = None
    if path:
        try:
            answers = json.loads(Path(path).read_text('utf-8'))
        except ValueError as exception:
            raise CommandError(f"{path} is not JSON: {exception}") from None
    for name in vector.names():
        content = vector.load(name)
        for case in content['cases']:
            if answers is None:
                wrong = vector.check(name, case)
            else:
                wrong = _compare(answers, name, case)
            report.add(
                f"{name}: {case['name']}", wrong is None, wrong or '')


def _compare(answers, name, case):
    "Return what is wrong with the answer to a case, or None"
    try:
        answer = answers[name][case['name']]
        valid, result = answer['valid'], answer.get('result')
    except (KeyError, TypeError, AttributeError):
        return "no answer"
    if valid is not case['valid']:
        return "accepted" if valid else "refused"
    if case['valid'] and case.get('result') not in (None, result):
        return f"found {result!r}"


def try_system(report, options):
    url = options.url.rstrip('/')
    stranger = Stranger(report, url, options.limit, options.fingerprint)
    if not stranger.run() or not options.listen:
        return
    with _participant(options) as participant:
        known = Known(
            report, url, options.limit, stranger.descriptor, participant)
        progress(
            f"Add the peer at {participant.endpoint} to the system;\n"
            f"its fingerprint is {participant.fingerprint}")
        if not known.wait(options.wait):
            report.skip("peer", "the system did not get to know us")
            return
        known.run(stranger.mailbox)
        if options.deal:
            deal = Deal(report, known, options.wait, progress)
            deal.run(_line(options))


def _participant(options):
    host, _, port = options.listen.rpartition(':')
    try:
        IDENTIFIER.load(options.identifier)
        return Participant(
            options.identifier, (host or '127.0.0.1', int(port)),
            options.endpoint, options.key)
    except (ProtocolError, ValueError) as exception:
        raise CommandError(str(exception)) from None


def _line(options):
    try:
        price, quantity, rate = map(
            Decimal, [options.price, options.quantity, options.rate])
    except InvalidOperation:
        raise CommandError(
            "price, quantity and rate are decimal numbers") from None
    return {
        'code': options.deal, 'price': price, 'quantity': quantity,
        'unit': options.unit, 'rate': rate}
