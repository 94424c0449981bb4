# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The log in the database of a trust party, with trytond.

``python -m trycoton.command.log`` does the job of the standard input on the
database of the configuration in the environment."""
import json
import sys
from pathlib import Path


def fsck():
    "Return for each log what is found wrong in the database"
    results = []
    for log in _logs():
        results.append({
                'where': "database",
                'log': log.origin,
                'vkey': log.vkey,
                'size': log.size,
                'root': log.root,
                'pending': log.pending,
                'signed': True,
                'halt': log.halt,
                'mirror': log.mirror,
                'faults': log.fsck(),
                })
    return results


def read_back(mirror):
    "Read the missing entries back from published files"
    from trycoton.command import CommandError
    from trycoton.command.trust import reader
    logs = [log for log in _logs() if not log.closed]
    if not logs:
        raise CommandError("the log is closed")
    log, = logs
    before = log.size
    folder = Path(mirror)
    if folder.is_dir() and not (folder / 'checkpoint').exists():
        # The folder of several logs, as it is configured
        mirror = str(folder / log.mirror_name)
    log.read_back_from(reader(mirror))
    log, = log.__class__.browse([log.id])
    return {
        'log': log.origin,
        'size': log.head.size,
        'count': log.head.size - before,
        }


def _logs():
    from trytond.pool import Pool

    from trycoton.command import CommandError
    Log = Pool().get('cooperative.trust.log')
    logs = Log.search([('vkey', '!=', None)], order=[('id', 'ASC')])
    if not logs:
        raise CommandError("the trust party has not opened its log")
    return logs


ACTIONS = {
    'fsck': (fsck, True),
    'read_back': (read_back, False),
    }


def do(database, action, **values):
    "Return the result of the action on the database"
    from trytond.pool import Pool
    from trytond.transaction import Transaction

    from trycoton.command import CommandError
    Pool.start()
    pool = Pool(database)
    pool.init()
    try:
        pool.get('cooperative.trust.log')
    except KeyError:
        raise CommandError(
            f"the database {database} is not the one of a trust "
            "party") from None
    function, readonly = ACTIONS[action]
    # Not tried again: what it read would be too old
    with Transaction().start(database, 0, readonly=readonly) as transaction:
        result = function(**values)
        if not readonly:
            transaction.commit()
        return result


def main():
    "Do the job of the standard input"
    job = json.load(sys.stdin)
    # The result alone goes to the standard output
    output, sys.stdout = sys.stdout, sys.stderr
    from trytond.exceptions import TrytonException

    from trycoton.command import CommandError
    try:
        answer = {'result': do(job.pop('database'), job.pop('action'), **job)}
    except (TrytonException, CommandError) as exception:
        answer = {'error': getattr(exception, 'message', str(exception))}
    json.dump(answer, output)


if __name__ == '__main__':
    main()
