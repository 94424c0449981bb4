# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"Bring the documents of files in an instance"
import argparse
import time
from pathlib import Path

from . import CommandError, client, output, progress
from .client import opened
from .instance import Instance

DESCRIPTION = """\
Bring in UBL documents as they are found on a disk or in an e-mail, bare or in
an envelope (SBDH).

Nobody signed them: the user vouches for them.  They become records, as drafts
as far as possible, marked as made of an unsigned message; nobody is answered,
and they prove nothing.  The same document again is the same message, which is
tried again if it did not take effect.

For each file is printed what it became: the record; or held, with what is
missing, to be given in Tryton; or refused, with the rule that it breaks."""
EPILOG = """\
The exit status is 0 when each file became a record or is held, 1 when one was
refused, cannot be read or is not imported yet, and 2 when the command could
not be run.
The user must be in the group "EDI Unsigned Documents"."""
MESSAGE = 'cooperative.edi.message'
FIELDS = [
    'kind', 'kind:string', 'document_number', 'sender', 'party.rec_name',
    'state', 'error', 'rule', 'origin', 'origin.rec_name', 'missing']
POLL = 0.2
# What becomes of a file, by the state of its message
RESULTS = {
    'processed': 'record',
    'held': 'held',
    'parked': 'held',
    'received': 'waiting',
    'refused': 'refused',
    'failed': 'failed',
    }
GOOD = {'record', 'held'}


def add_arguments(parser):
    "Add the arguments of the command to the parser"
    commands = parser.add_subparsers(
        dest='action', metavar='ACTION', required=True)
    import_ = commands.add_parser(
        'import', help="bring in the documents of files",
        description=DESCRIPTION, epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    import_.add_argument(
        'files', metavar='FILE', nargs='+', help="a UBL document")
    client.add_arguments(import_)
    import_.add_argument(
        '--wait', type=float, default=60, metavar='SECONDS',
        help="how long to wait for what becomes of a document "
        "(default: %(default)s)")
    import_.set_defaults(handle=_import)


def run(options):
    "Run the command and return its exit status"
    return options.handle(options)


def _import(options):
    instance = Instance.get(options.folder, options.instance)
    password = client.get_password(options)
    results = []
    with opened(instance, options.user, password, progress) as client_:
        for file in options.files:
            result = _bring_in(client_, file, options.wait)
            results.append(result)
            if not options.json:
                output(options, None, _line(result))
    if options.json:
        output(options, {
                'instance': instance.name,
                'documents': results,
                }, None)
    return 0 if all(r['result'] in GOOD for r in results) else 1


def _bring_in(client_, file, wait):
    "Return what becomes of the file"
    try:
        data = Path(file).read_bytes()
    except OSError as exception:
        return {
            'file': file,
            'result': 'unreadable',
            'error': exception.strerror or str(exception),
            }
    wizard = client_.wizard('cooperative.edi.import')
    try:
        wizard.form.files.new(name=Path(file).name, data=data)
        wizard.execute('import_')
        brought, = wizard.form.files
        if not brought.message:
            return {
                'file': file,
                'result': 'refused',
                'rule': brought.rule,
                'error': brought.error,
                }
        id_, known = brought.message.id, bool(brought.known)
    finally:
        if wizard.state != wizard.end_state:
            wizard.execute('end')
    return {'file': file, 'known': known, **_outcome(client_, id_, wait)}


def _outcome(client_, id_, wait):
    "Return what the message became, once it did or after the wait"
    limit = time.monotonic() + wait
    while True:
        message, = client_.read(MESSAGE, [('id', '=', id_)], FIELDS)
        if message['state'] != 'received' or time.monotonic() > limit:
            break
        time.sleep(POLL)
    if message['state'] not in RESULTS:
        raise CommandError(f"the message {id_} is {message['state']}")
    party, origin = message.get('party.'), message.get('origin.')
    return {
        'result': RESULTS[message['state']],
        'message': id_,
        'kind': message['kind'],
        'name': message['kind:string'],
        'number': message['document_number'],
        'sender': message['sender'],
        'party': party and party['rec_name'],
        'record': message['origin'] and {
            'model': message['origin'].partition(',')[0],
            'id': int(message['origin'].partition(',')[2]),
            'name': origin and origin['rec_name'],
            },
        'rule': message['rule'],
        'error': message['error'],
        'missing': client_.read(
            'cooperative.edi.mapping', [('id', 'in', message['missing'])],
            ['kind', 'code', 'name']) if message['state'] == 'held' else [],
        }


def _line(result):
    "Return what is printed of a file"
    text = ' '.join((result.get('error') or '').split())
    if result['result'] == 'record':
        record = result['record']
        text = (f"{record['model']} {record['name'] or record['id']}"
            if record else '')
    name = ' '.join(filter(
            None, [result.get('name'), result.get('number')]))
    return ': '.join(filter(None, [
                result['file'], name, result['result'], result.get('rule'),
                text]))
