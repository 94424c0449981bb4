# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
import contextlib
import io
import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from trycoton.command.main import available, get_parser, main


def call(*argv):
    "Return the exit status, the output and the errors of the command"
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), \
            contextlib.redirect_stderr(errors):
        try:
            status = main(list(argv))
        except SystemExit as exception:
            status = exception.code
    return status, output.getvalue(), errors.getvalue()


class MainTestCase(unittest.TestCase):
    "Test the command line"

    def test_help(self):
        "Each command explains itself"
        for command in available():
            with self.subTest(command=command):
                status, output, _ = call(command, '--help')
                self.assertEqual(status, 0)
                self.assertIn(f'trycoton {command}', output)
                self.assertIn('--json', output)

    def test_help_names_commands(self):
        "The help names each command"
        status, output, _ = call('--help')
        self.assertEqual(status, 0)
        for command in available():
            self.assertIn(command, output)

    def test_no_command(self):
        "Without a command the usage is shown"
        status, _, errors = call()
        self.assertEqual(status, 2)
        self.assertIn('usage', errors)

    def test_unknown_command(self):
        "An unknown command is refused"
        status, _, errors = call('unknown')
        self.assertEqual(status, 2)
        self.assertIn('unknown', errors)

    def test_json_anywhere(self):
        "--json stands before or after the command"
        for argv, expected in [
                (['instance', 'list'], False),
                (['--json', 'instance', 'list'], True),
                (['instance', '--json', 'list'], True),
                (['instance', 'list', '--json'], True)]:
            with self.subTest(argv=argv):
                options = get_parser('instance').parse_args(argv)
                self.assertIs(options.json, expected)

    def test_error(self):
        "An error is one sentence, and JSON when asked for"
        with tempfile.TemporaryDirectory() as folder:
            argv = ['instance', 'serve', '--folder', folder, 'nobody']
            status, output, errors = call(*argv)
            self.assertEqual(status, 2)
            self.assertEqual(output, '')
            self.assertEqual(
                errors,
                f"trycoton: there is no instance nobody in {folder}\n")

            status, output, _ = call('--json', *argv)
            self.assertEqual(status, 2)
            self.assertEqual(
                json.loads(output),
                {'error': f"there is no instance nobody in {folder}"})

    def test_without_tryton(self):
        "The command line and verify work without Tryton"
        program = (
            "import sys\n"
            "sys.modules['trytond'] = sys.modules['proteus'] = None\n"
            "from trycoton.command.main import main\n"
            "sys.exit(main(sys.argv[1:]))\n")
        root = Path(__file__).resolve().parents[3]
        for command in sorted({'instance', 'verify'} & set(available())):
            with self.subTest(command=command):
                process = subprocess.run(
                    [sys.executable, '-c', program, command, '--help'],
                    cwd=root, capture_output=True, text=True)
                self.assertEqual(process.returncode, 0, process.stderr)
