# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
import argparse
import importlib
import importlib.util
import json
import os
import sys
from importlib.metadata import PackageNotFoundError, version

from . import CommandError

# A command is imported when it is asked for: ``verify`` needs no Tryton
COMMANDS = {
    'demo': ('demo', "run a whole deal between several instances"),
    'instance': ('instance', "create, list and serve Tryton instances"),
    'onboard': ('onboard', "enter the members of a CSV file"),
    'offers': ('offers', "enter the offers of a CSV file"),
    'edi': ('edi', "bring documents of others in by hand"),
    'evidence': ('evidence', "export the evidence of messages"),
    'verify': ('verify', "verify evidence, offline"),
    'trust': ('trust', "check the log of a trust party"),
    'conformance': (
        'conformance', "try whether a system speaks the protocol"),
    }


def available():
    """Return the commands of this installation,
    a dictionary of name to name of the module and help."""
    commands = {}
    for name, (module, text) in COMMANDS.items():
        module = f'trycoton.command.{module}'
        if importlib.util.find_spec(module):
            commands[name] = (module, text)
    return commands


def get_version():
    "Return the version of the installed distribution"
    try:
        return version('trycoton')
    except PackageNotFoundError:
        return 'not installed'


def get_parser(command=None):
    """Return the parser of the command line, with the arguments of the
    command only: the others are named but not imported."""
    parser = argparse.ArgumentParser(
        prog='trycoton',
        description="Trade between Tryton instances, signed and proved.")
    parser.add_argument(
        '--version', action='version', version=f'%(prog)s {get_version()}')
    subparsers = parser.add_subparsers(
        dest='command', metavar='COMMAND', required=True)
    for name, (module, text) in available().items():
        subparser = subparsers.add_parser(
            name, help=text, description=text[0].upper() + text[1:] + '.')
        if name == command:
            module = importlib.import_module(module)
            module.add_arguments(subparser)
            subparser.set_defaults(run=module.run)
    _add_json(parser)
    return parser


def _add_json(parser, default=False):
    if '--json' not in parser._option_string_actions:
        parser.add_argument(
            '--json', action='store_true', default=default,
            help="print the result as JSON")
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for subparser in action.choices.values():
                # A default would hide what was said before the command
                _add_json(subparser, default=argparse.SUPPRESS)


def _get_command(argv):
    for argument in argv:
        if not argument.startswith('-'):
            return argument


def main(argv=None):
    """Run the command line, by default that of the process,
    and return the exit status: 2 when the command could not be run."""
    if argv is None:
        argv = sys.argv[1:]
    try:
        parser = get_parser(_get_command(argv))
    except ModuleNotFoundError as exception:
        return _fail(
            f"this command needs the Python package {exception.name}, "
            "which is not installed", '--json' in argv)
    options = parser.parse_args(argv)
    try:
        return options.run(options) or 0
    except CommandError as exception:
        return _fail(str(exception), options.json)
    except OSError as exception:
        if isinstance(exception, BrokenPipeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        name = f"{exception.filename}: " if exception.filename else ''
        return _fail(
            f"{name}{exception.strerror or exception}", options.json)
    except KeyboardInterrupt:
        return 130


def _fail(message, as_json):
    if as_json:
        print(json.dumps({'error': message}, ensure_ascii=False))
    print(f"trycoton: {message}", file=sys.stderr)
    return 2


if __name__ == '__main__':
    sys.exit(main())
