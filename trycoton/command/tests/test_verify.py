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

from trycoton.command import main
from trycoton.protocol import signature
from trycoton.protocol.checkpoint import Checkpoint
from trycoton.protocol.contradiction import Contradiction
from trycoton.protocol.note import NoteSigner, Verifier
from trycoton.protocol.policy import Policy
from trycoton.protocol.tests import sample
from trycoton.protocol.tests.test_evidence import (
    BUYER, COMMUNITY, SELLER, deal, minutes)


class VerifyTestCase(unittest.TestCase):
    "Test the command verify"

    def setUp(self):
        self.world = deal()
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = Path(directory.name) / 'deal.evidence'
        self.path.write_bytes(self.world.build())
        self.policy = Path(directory.name) / 'policy'

    def run_command(self, *arguments, error=False):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                status = main.main(
                    ['verify', *map(str, arguments), str(self.path)])
            except SystemExit as exception:
                status = exception.code
        return status, out.getvalue(), err.getvalue()

    def test_status(self):
        "Test the exit status and what is said"
        log, community, seller = (
            self.world.log.signer.vkey, self.world.vkey(COMMUNITY),
            self.world.vkey(SELLER))
        for keys, status, text in [
                ([], 3, "unknown Signer 0225:"),
                ([seller], 3, "signers are not established"),
                ([log], 0, "verified"),
                ([community + '\n'], 0, "verified"),
                ([seller, log], 0, "ok ")]:
            code, out, err = self.run_command(
                *(a for key in keys for a in ['--key', key]))
            self.assertEqual(code, status, out)
            self.assertIn(text, out)
            self.assertEqual(err, '')
        data = self.path.read_bytes()
        self.path.write_bytes(data[:-1])
        code, out, _ = self.run_command()
        self.assertEqual(code, 1)
        self.assertIn("WRONG   The file is not in its canonical form", out)

    def test_contradiction(self):
        "Test the file of an alarm about a log with two stories"
        log = self.world.log
        size = log.frontier.size
        other = NoteSigner('log.example', signature.SigningKey.generate())
        notes = [
            Checkpoint('log.example', size, bytes([i] * 32)).sign(log.signer)
            for i in range(2)]
        self.path.write_bytes(Contradiction(*notes).to_bytes())
        for keys, status, text in [
                ([log.signer.vkey], 0, f"of {size} and of {size} entries"),
                ([], 3, "unknown The key of the log log.example"),
                ([other.vkey], 1, "WRONG   The log signed")]:
            code, out, err = self.run_command(
                *(a for key in keys for a in ['--key', key]))
            self.assertEqual(code, status, out + err)
            self.assertIn(text, out)
        self.path.write_bytes(Contradiction(notes[0], notes[0]).to_bytes())
        code, out, _ = self.run_command('--key', log.signer.vkey)
        self.assertEqual(code, 1)
        self.assertIn("begins with", out)

    def test_policy(self):
        "Test a policy in a file"
        self.policy.write_text(
            f"community {self.world.vkey(COMMUNITY)}\nquorum none\n")
        code, out, _ = self.run_command('--policy', self.policy)
        self.assertEqual(code, 0, out)

    def test_json(self):
        "Test what machines read"
        code, out, _ = self.run_command(
            '--json', '--key', self.world.log.signer.vkey)
        report = json.loads(out)
        self.assertEqual((code, report['status']), (0, 0))
        self.assertEqual(report['result'], 'verified')
        for check in report['checks']:
            self.assertEqual(set(check), {'name', 'ok', 'text', 'part'})
        names = {check['name'] for check in report['checks']}
        self.assertLessEqual({
                'form', 'message', 'receipt', 'submission', 'delivery',
                'seal', 'signer', 'log', 'chain', 'sequence', 'use'}, names)

    def test_contents(self):
        "Test what the messages say is written, unless it is refused"
        folder = self.path.parent / 'contents'
        self.world.seal(SELLER, BUYER, minutes(20))
        self.path.write_bytes(self.world.build())
        code, out, _ = self.run_command(
            '--contents', folder, '--key', self.world.log.signer.vkey)
        self.assertEqual(code, 0, out)
        told, = folder.glob('*.policy')
        self.assertEqual(Policy.parse(told.read_bytes()).communities, (
                Verifier.from_vkey(self.world.vkey(COMMUNITY)),))
        told.unlink()
        paths = sorted(folder.iterdir())
        self.assertEqual(len(paths), len(self.world.messages))
        self.assertIn('-Order-', paths[-1].name)
        self.assertEqual(paths[-1].read_bytes(), sample.ORDER)
        self.assertIn('-relation-proposal-', paths[0].name)
        data = self.path.read_bytes()
        self.path.write_bytes(data[:-1])
        folder = self.path.parent / 'other'
        code, _, _ = self.run_command('--contents', folder)
        self.assertEqual(code, 1)
        self.assertFalse(folder.exists())

    def test_errors(self):
        "Test what cannot be verified"
        self.policy.write_text("quorum none\nlog\n")
        for arguments, text in [
                (['--policy', self.policy], "Line 2 of the policy"),
                (['--policy', self.policy / 'missing'], "policy"),
                (['--key', 'wrong'], "Not a verifier key"),
                (['--key', 'a', '--policy', 'b'], "not allowed with")]:
            code, out, err = self.run_command(*arguments)
            self.assertEqual((code, out), (2, ''))
            self.assertIn(text, err)
        self.path.unlink()
        code, _, err = self.run_command()
        self.assertEqual(code, 2)
        self.assertIn("No such file", err)
        self.assertEqual(len(err.splitlines()), 1)

    def test_without_tryton(self):
        "Test an auditor needs no Tryton"
        code = (
            "import sys\n"
            "for name in [\n"
            "        'trytond', 'proteus', 'sql', 'relatorio', 'genshi',\n"
            "        'werkzeug']:\n"
            "    sys.modules[name] = None\n"
            "from trycoton.command.main import main\n"
            "sys.exit(main(sys.argv[1:]))\n")
        process = subprocess.run(
            [sys.executable, '-c', code, 'verify', str(self.path)],
            capture_output=True, text=True)
        self.assertEqual(process.returncode, 3, process.stderr)
        self.assertEqual(process.stderr, '')
