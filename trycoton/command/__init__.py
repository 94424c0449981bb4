# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The ``trycoton`` command.

Each sub-command is a module with ``add_arguments(parser)`` and
``run(options)``, which returns the exit status.
"""
import json
import sys


class CommandError(Exception):
    "What the person who typed the command can put right, in one sentence"


def progress(text):
    "Tell the person at the terminal what is being done"
    print(text, file=sys.stderr, flush=True)


def output(options, value, text):
    "Print the value as JSON when it was asked for, else the text"
    if getattr(options, 'json', False):
        text = json.dumps(value, ensure_ascii=False, indent=2)
    if text:
        print(text, flush=True)
