# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"The conformance suite, against Tryton and against the foreign partner"
import json
import re
import subprocess
import sys
import tempfile
import threading
import unittest
from pathlib import Path
from types import SimpleNamespace

from trycoton.command.demo.world import free_port
from trycoton.protocol import vector

from .community import FARM, FOREIGN
from .foreign import web
from .stage import Foreigner, Stage, product, wait

IDENTIFIER = '0225:100000009_CONFORMANCE'


def conformance(*arguments):
    return subprocess.run(
        [sys.executable, '-m', 'trycoton', 'conformance', '--json',
            *map(str, arguments)],
        text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def wrong(process):
    return [
        c for c in json.loads(process.stdout)['checks'] if not c['ok']]


class VectorsTestCase(unittest.TestCase):
    "Test what needs no system"

    def test_own(self):
        "This implementation holds to the vectors"
        process = conformance()
        self.assertEqual(process.returncode, 0, msg=process.stderr)
        self.assertGreater(len(json.loads(process.stdout)['checks']), 200)

    def test_answers(self):
        "The answers of another implementation are compared"
        answers = {
            name: {
                case['name']: {
                    'valid': case['valid'], 'result': case.get('result')}
                for case in vector.load(name)['cases']}
            for name in vector.names()}
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, 'answers.json')
            path.write_text(json.dumps(answers), 'utf-8')
            process = conformance('--answers', path)
            self.assertEqual(process.returncode, 0, msg=wrong(process))
            answers['canonical']['space']['valid'] = True
            answers['key']['signature']['result']['kid'] = 'another'
            del answers['note']['checkpoint']
            path.write_text(json.dumps(answers), 'utf-8')
            process = conformance('--answers', path)
        self.assertEqual(process.returncode, 1)
        self.assertEqual(
            [(c['name'], c['text'].partition(' ')[0])
                for c in wrong(process)],
            [('canonical: space', 'accepted'), ('key: signature', 'found'),
                ('note: checkpoint', 'no')])

    def test_written(self):
        "The vectors are written for others"
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, 'vectors')
            self.assertEqual(
                conformance('--vectors', path).returncode, 0)
            self.assertEqual(
                sorted(p.stem for p in path.iterdir()), vector.names())

    def test_nobody(self):
        "Who does not answer is not conformant"
        process = conformance(f'http://127.0.0.1:{free_port()}/x')
        self.assertEqual(process.returncode, 1)
        self.assertEqual(
            [c['name'] for c in wrong(process)], ['descriptor'])


class Suite(threading.Thread):
    "The suite against a system, whose operator is the test"

    def __init__(self, url, *arguments):
        super().__init__(daemon=True)
        self.port = free_port()
        self.process = subprocess.Popen(
            [sys.executable, '-m', 'trycoton', 'conformance', url, '--json',
                '--listen', f'127.0.0.1:{self.port}', '--wait', '300',
                # The machine of the tests may be busy with others
                '--limit', '60', *arguments],
            text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.said = []
        self.start()
        self.endpoint = f'http://127.0.0.1:{self.port}/cooperative'
        self.fingerprint = self.hear(
            r'fingerprint is ((?:[0-9a-f]{4} ?){8})').strip()
        self.peer = SimpleNamespace(
            identifier=IDENTIFIER, fingerprint=self.fingerprint,
            url=lambda: self.endpoint)

    def run(self):
        for line in self.process.stderr:
            self.said.append(line)

    def hear(self, pattern):
        "Wait for what the suite tells the operator"
        def heard():
            match = re.search(pattern, ''.join(self.said))
            if not match and self.process.poll() is not None:
                raise AssertionError(''.join(self.said))
            return match
        return wait(heard, pattern)[1]

    def finish(self):
        "Return the exit status and the report"
        output = self.process.stdout.read()
        status = self.process.wait(60)
        self.join()
        self.process.stdout.close()
        self.process.stderr.close()
        return status, json.loads(output)['checks']


class SystemTestCase(unittest.TestCase):
    "Test a system, from its descriptor to a deal"

    def assertConformant(self, suite, status, skipped=()):
        found, checks = suite.finish()
        self.assertEqual([c for c in checks if c['ok'] is False], [])
        self.assertEqual(
            [c['name'] for c in checks if c['ok'] is None], list(skipped))
        self.assertEqual(found, status)
        self.assertIn(
            'deal: the payment is taken', [c['name'] for c in checks])
        self.assertGreater(len(checks), 50)

    def test_tryton(self):
        "Tryton is conformant"
        stage = Stage(farm=('actor', "La Ferme", FARM))
        self.addCleanup(stage.close)
        farm = stage.farm
        farm.identify(f'0225:{FARM}')
        identity, = farm.find('cooperative.edi.identity')
        identity.direct = True
        identity.save()
        farm.make_product(product('MIEL', "Miel", '8.50', '20'))
        suite = Suite(
            farm.url(), '--fingerprint', farm.fingerprint, '--deal', 'MIEL',
            '--price', '8.50', '--quantity', '2', '--rate', '20')
        farm.add_peer(suite.peer)
        number = suite.hear(r'Accept the order (\S+)')
        sale = wait(lambda: farm.find('sale.sale', [
                    ('reference', '=', number)]), "the sale")[0]
        sale.click('confirm')
        suite.hear(r'(Deliver)')
        shipment = farm.ship(sale)
        suite.hear(r'(Invoice)')
        invoice = farm.invoice(sale)
        self.assertConformant(suite, 0)
        shipment.reload()
        self.assertEqual(shipment.edi_state, 'received')
        announcement, = farm.find(
            'cooperative.edi.payment.announcement',
            [('lines.invoice', '=', invoice.id)])
        self.assertEqual(announcement.amount, invoice.total_amount)
        self.assertEqual(farm.unsettled(), [])

    def test_foreign(self):
        "The foreign partner is conformant, but has no mailbox"
        with tempfile.TemporaryDirectory() as folder:
            foreign = Foreigner(folder, FOREIGN, "L'Étranger", {
                    'BOCAL': {
                        'name': "Bocal", 'unit': 'C62', 'price': '1.20',
                        'rate': '20'},
                    })
            self.addCleanup(foreign.close)
            self.deal(foreign)

    def deal(self, foreign):
        trader = foreign.trader
        suite = Suite(
            foreign.url(), '--fingerprint', foreign.fingerprint,
            '--deal', 'BOCAL', '--price', '1.20', '--rate', '20')
        foreign.partner.add_peer(suite.endpoint, suite.fingerprint)

        def work():
            while suite.process.poll() is None:
                foreign.partner.work()
                ended.wait(0.1)
        ended = threading.Event()
        worker = threading.Thread(target=work, daemon=True)
        worker.start()
        number = suite.hear(r'Deliver the order (\S+)')
        trader.despatch(number)
        suite.hear(r'(Invoice)')
        total = trader.invoice(number)
        self.assertConformant(suite, 3, ['mailbox'])
        ended.set()
        worker.join()
        deal = trader.deal(number)
        self.assertEqual(deal['responses'], ['AB', 'AP'])
        self.assertEqual(deal['paid'], str(total))

    def test_broken(self):
        "A system that takes everything is not conformant"
        class Broken(web.Handler):
            def do_POST(self):
                self.rfile.read(int(self.headers['Content-Length']))
                self.answer(201, b'{"receipt":"","signature":""}')
        with tempfile.TemporaryDirectory() as folder:
            foreign = Foreigner(folder, FOREIGN, "L'Étranger")
            self.addCleanup(foreign.close)
            foreign.server.RequestHandlerClass = Broken
            process = conformance(foreign.url())
        self.assertEqual(process.returncode, 1)
        names = [c['name'] for c in wrong(process)]
        self.assertIn('message with no signature', names)
        self.assertIn('message of more than 5 MiB', names)
