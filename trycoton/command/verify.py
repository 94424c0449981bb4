# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
import argparse
from pathlib import Path

from trycoton.protocol import canonical, contradiction, envelope, evidence
from trycoton.protocol.errors import ProtocolError
from trycoton.protocol.policy import Policy

from . import CommandError, output

DESCRIPTION = """\
Verify an evidence file, with no network and without Tryton.

A "contradiction.json" of an alarm is verified as well: it shows that a log
signed two stories.

Whom to trust is said here, never by the file: the verifier key of a log, the
signing key of a community under its identifier (0225:123456789+id+key), or a
policy in a file (c2sp.org/tlog-policy, with lines "community VKEY" as well).
The policy that the file holds is shown, and compared with the directory that
tells it; it makes nobody trusted.
"""
EPILOG = """\
Exit status: 0 verified, 1 refused, 3 consistent but the signers are not
established, 2 the verification could not be made.
"""


def add_arguments(parser):
    "Add the arguments of the command to its parser"
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    trust = parser.add_mutually_exclusive_group()
    trust.add_argument(
        '--policy', metavar='FILE',
        help="a policy that tells whom you trust")
    trust.add_argument(
        '--key', metavar='VKEY', action='append', default=[],
        help="the key of a log or community that you trust (repeatable)")
    parser.add_argument(
        '--contents', metavar='FOLDER',
        help="write there what the messages say, a file for each, and the "
        "policy that each community that you trust tells, unless the "
        "evidence is refused; "
        "what it leaves sealed is not there")
    parser.add_argument('file', metavar='FILE', help="the evidence file")


def run(options):
    "Print what was checked and return the status of the verification"
    try:
        policy = get_policy(options)
    except ProtocolError as exception:
        raise CommandError(f"whom to trust is not understood: {exception}")
    data = Path(options.file).read_bytes()
    kind = contradiction if contradiction.is_one(data) else evidence
    report = kind.verify(data, policy)
    if (options.contents and kind is evidence
            and report.status != evidence.REFUSED):
        write_contents(data, Path(options.contents), policy)
    output(options, {
            'file': options.file,
            'status': report.status,
            'result': report.result,
            'checks': [vars(check) for check in report.checks],
            },
        '\n'.join([
                *(f"{get_mark(c):8}{c.text}" for c in report.checks),
                f"{options.file}: {report.result}"]))
    return report.status


def get_policy(options):
    "Return the policy of the options; raise OSError or Malformed"
    if options.policy:
        return Policy.parse(Path(options.policy).read_bytes())
    return Policy.of(key.strip() for key in options.key)


def write_contents(data, folder, policy):
    """Write what the messages of the evidence say, in order, and the policies
    that the communities that the policy trusts tell; raise OSError"""
    folder.mkdir(exist_ok=True)
    for number, message in enumerate(evidence.contents(data), 1):
        document = isinstance(message, envelope.Envelope)
        content = (message.payload if document
            else canonical.dump(message.body))
        name = message.root if document else message.kind
        path = folder / (
            f'{number:04}-{name}-{message.id}'
            f'.{"xml" if document else "json"}')
        path.write_bytes(content)
    for community, text in evidence.policies(data, policy).items():
        name = community.replace(':', '-')
        (folder / f'{name}.policy').write_bytes(text)


def get_mark(check):
    "Return the word for what a check found"
    if check.ok:
        return "ok"
    return "unknown" if check.name in evidence.TRUST else "WRONG"
