# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"Export the evidence of the messages of a deal to a file"
import json
import re
from pathlib import Path

from . import CommandError, client, output, progress
from .client import opened
from .instance import Instance

DESCRIPTION = """\
Export the evidence of a deal: its messages, signatures, receipts and proofs,
in a file that anybody verifies with "trycoton verify", without you."""
DOCUMENTS = {
    'purchase': ('purchase.purchase', "purchase", ['number', 'reference']),
    'sale': ('sale.sale', "sale", ['number', 'reference']),
    'invoice': ('account.invoice', "invoice", ['number', 'reference']),
    'message': ('cooperative.edi.message', "message", ['uuid']),
    }


def add_arguments(parser):
    "Add the arguments of the command to the parser"
    commands = parser.add_subparsers(
        dest='action', metavar='ACTION', required=True)
    export = commands.add_parser(
        'export', help="export the evidence of a deal",
        description=DESCRIPTION)
    client.add_arguments(export)
    what = export.add_mutually_exclusive_group(required=True)
    for name, text in [
            ('purchase', "the number of a purchase"),
            ('sale', "the number of a sale"),
            ('invoice', "the number of an invoice, or its reference"),
            ('message', "the identifier of a message")]:
        what.add_argument(
            f'--{name}', help=text,
            metavar='UUID' if name == 'message' else 'NUMBER')
    export.add_argument(
        '--output', metavar='FILE',
        help="where to write it (default: NUMBER.evidence, which must not "
        "exist, in the current folder)")
    export.set_defaults(handle=_export)


def run(options):
    "Run the command and return its exit status"
    return options.handle(options)


def _export(options):
    instance = Instance.get(options.folder, options.instance)
    name, = [n for n in DOCUMENTS if getattr(options, n) is not None]
    number = getattr(options, name)
    if options.output:
        path = Path(options.output)
    else:
        # The number may be that of somebody else
        path = Path(re.sub(r'[^\w.-]', '_', number) + '.evidence')
        if path.exists():
            raise CommandError(
                f"the file {path} exists already: choose another with "
                "--output")
    if not path.absolute().parent.is_dir():
        raise CommandError(f"there is no folder {path.absolute().parent}")
    password = client.get_password(options)
    with opened(instance, options.user, password, progress) as client_:
        record = _find(client_, name, number)
        progress(f"the evidence of {record.rec_name} is gathered")
        wizard = client_.wizard('cooperative.edi.evidence.export', [record])
        data = bytes(wizard.form.file)
        wizard.execute('end')
    path.write_bytes(data)
    count = len(json.loads(data)['messages'])
    output(options, {
            'file': str(path),
            'size': len(data),
            'messages': count,
            }, f"{path}: the evidence of {count} messages")
    return 0


def _find(client, name, number):
    "Return the record of that number.  Raise CommandError."
    model, label, fields = DOCUMENTS[name]
    for field in fields:
        records = client.find(model, (field, '=', number))
        if len(records) > 1:
            raise CommandError(
                f"{client.instance.name} has several {label}s of the number "
                f"{number}: " + ', '.join(r.rec_name for r in records))
        if records:
            return records[0]
    raise CommandError(
        f"{client.instance.name} has no {label} of the number {number}")
