# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
import contextlib
import io
import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import time
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import patch

from proteus import Model
from proteus import config as proteus_config

from trycoton.command import CommandError, template
from trycoton.command.demo.world import free_port
from trycoton.command.instance import (
    Instance, Specification, _free_port, create, create_user)
from trycoton.command.main import main
from trycoton.command.server import Server

# Small, since what is tested is not the modules
MODULES = {'trust': ['company']}


def specification(name, **values):
    return Specification(
        name=name, role='trust', company="Élise & Cie", **values)


class SpecificationTestCase(unittest.TestCase):
    "Test what an instance is made from"

    def test_compact(self):
        "Numbers are put in their compact form"
        values = specification(
            'elise', siren="732 829 320", siret="732 829 320 00074",
            vat_number="fr 44 732829320",
            iban="FR76 3000 6000 0112 3456 7890 189")
        values.check()
        self.assertEqual(values.siren, '732829320')
        self.assertEqual(values.siret, '73282932000074')
        self.assertEqual(values.vat_number, 'FR44732829320')
        self.assertEqual(values.iban, 'FR7630006000011234567890189')

    def test_refused(self):
        "A wrong value is named"
        for name, values, words in [
                ('elise', {'siren': '732829321'}, ['SIREN', '732829321']),
                ('elise', {'siret': '73282932000075'}, ['SIRET']),
                ('elise', {'vat_number': 'FR00732829320'}, ['VAT number']),
                ('elise', {'iban': 'FR7630006000011234567890188'}, ['IBAN']),
                ('Élise', {}, ['Élise']),
                ('../x', {}, ['../x']),
                ('', {}, ['name']),
                ]:
            with self.subTest(name=name, **values):
                with self.assertRaises(CommandError) as cm:
                    specification(name, **values).check()
                for word in words:
                    self.assertIn(word, str(cm.exception))

    def test_role(self):
        "An unknown role is refused"
        with self.assertRaisesRegex(CommandError, "king"):
            Specification('elise', 'king', "Élise").check()


class InstanceTestCase(unittest.TestCase):
    "Test the life of instances"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = folder.name
        for patcher in [
                patch.dict(
                    os.environ, TRYCOTON_CACHE=str(Path(cls.folder, 'c'))),
                patch.dict(template.MODULES, MODULES)]:
            patcher.start()
            cls.addClassCleanup(patcher.stop)
        # Two at once make one template
        with ThreadPoolExecutor(2) as executor:
            cls.templates = list(
                executor.map(template.get, [MODULES['trust']] * 2))
        cls.elise, cls.bob = create(cls.folder, [
                specification(
                    'elise', siren='732829320', vat_number='FR44732829320',
                    street="1 rue de l'Église", postal_code='35000',
                    city="Rennes", email='elise@example.com', local=True,
                    password='un mot de passe'),
                specification('bob'),
                ])

    @contextlib.contextmanager
    def session(self, instance, login, password):
        with proteus_config.set_xmlrpc_session(
                instance.rpc_url, login, password) as config:
            yield config

    def test_template(self):
        "A template is made once and kept"
        first, second = self.templates
        self.assertEqual(first, second)
        changed = first.stat().st_ino
        self.assertEqual(template.get(MODULES['trust']), first)
        self.assertEqual(first.stat().st_ino, changed)

    def test_template_key(self):
        "Other modules, another template"
        self.assertEqual(
            template.key(['party', 'company']),
            template.key(['company', 'party']))
        self.assertNotEqual(
            template.key(['company']), template.key(['party']))

    def test_template_unknown_module(self):
        "A module that is absent is named"
        with self.assertRaisesRegex(CommandError, 'cooperative_unknown'):
            template.get(['cooperative_unknown'])

    def test_files(self):
        "Nobody else reads the key or the database"
        for path in [self.elise.config_path, self.elise.database_path]:
            self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)

    def test_configuration(self):
        "Each instance has its own key, port and address"
        elise, bob = self.elise.config, self.bob.config
        self.assertNotEqual(
            elise['cooperative']['key'], bob['cooperative']['key'])
        self.assertNotEqual(self.elise.port, self.bob.port)
        self.assertEqual(
            elise['cooperative']['url'],
            f'http://127.0.0.1:{self.elise.port}/elise/cooperative')
        self.assertEqual(elise['cooperative']['networks'], '127.0.0.0/8')
        self.assertNotIn('networks', bob['cooperative'])

    def test_nothing_shared(self):
        "Two copies differ in their passwords and have no session"
        hashes = set()
        for instance in [self.elise, self.bob]:
            with contextlib.closing(
                    sqlite3.connect(instance.database_path)) as connection:
                hash_, = connection.execute(
                    "SELECT password_hash FROM res_user "
                    "WHERE login = 'admin'").fetchone()
                sessions, = connection.execute(
                    "SELECT COUNT(*) FROM ir_session").fetchone()
            hashes.add(hash_)
            self.assertEqual(sessions, 0)
        self.assertEqual(len(hashes), 2)

    def test_exists(self):
        "An instance is not overwritten"
        with self.assertRaisesRegex(CommandError, "already"):
            create(self.folder, [specification('elise')])
        self.assertTrue(self.elise.database_path.exists())

    def test_all_or_none(self):
        "When one cannot be made none is"
        with self.assertRaises(CommandError):
            create(self.folder, [
                    specification('carl'),
                    specification('dora', language='xx')])
        self.assertEqual(
            [i.name for i in Instance.all(self.folder)], ['bob', 'elise'])

    def test_list(self):
        "The list tells what is there"
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            main(['instance', 'list', '--folder', self.folder, '--json'])
        bob, elise = json.loads(output.getvalue())
        self.assertEqual(bob['name'], 'bob')
        self.assertEqual(elise['role'], 'trust')
        self.assertEqual(elise['company'], "Élise & Cie")
        self.assertEqual(elise['state'], 'stopped')
        self.assertGreater(elise['size'], 100_000)

    def test_first_port(self):
        "The ports begin where the environment says, which must be a number"
        first = free_port()
        with patch.dict(os.environ, TRYCOTON_PORT=str(first)):
            self.assertGreater(_free_port({first}), first)
            self.assertEqual(_free_port(set()), first)
        with patch.dict(os.environ, TRYCOTON_PORT='eight'), \
                self.assertRaisesRegex(CommandError, "TRYCOTON_PORT"):
            _free_port(set())

    def test_serve(self):
        "The server answers with the company of the instance"
        create_user(
            self.elise, 'anne', "Anne", 'un autre mot',
            ['res.group_admin'])
        server = Server(self.folder, 'elise')
        with server:
            server.wait_ready()
            pid = server.pid
            self.assertEqual(self.elise.pid, pid)
            self.assertGreater(server.memory(), 10_000_000)
            with self.assertRaisesRegex(CommandError, "already runs"):
                Server(self.folder, 'elise').start()
            with self.assertRaisesRegex(CommandError, "stop it first"):
                create_user(self.elise, 'x', "X", 'un autre mot')
            with self.session(
                    self.elise, 'admin', 'un mot de passe') as config:
                Company = Model.get('company.company', config=config)
                company, = Company.find([])
                self.assertEqual(company.party.name, "Élise & Cie")
                self.assertEqual(company.timezone, 'Europe/Paris')
                # In which documents for others are printed
                Party = Model.get('party.party', config=config)
                party = Party(name="Bob")
                party.save()
                self.assertEqual(party.lang.code, 'fr')
                self.assertEqual(
                    {(i.type, i.code_compact)
                        for i in company.party.identifiers},
                    {('fr_siren', '732829320'),
                        ('eu_vat', 'FR44732829320')})
                address, = company.party.addresses
                self.assertEqual(address.city, "Rennes")
                self.assertEqual(address.country.code, 'FR')
            with self.session(self.elise, 'anne', 'un autre mot') as config:
                self.assertEqual(config.context['language'], 'fr')
                self.assertEqual(
                    config.context['employee.rec_name'], "Anne")
        self.assertIsNone(self.elise.pid)
        self.assertFalse(self.elise.pid_path.exists())
        with self.assertRaises(ProcessLookupError):
            os.kill(pid, 0)

    def test_serve_command(self):
        "The command serves until it is told to stop"
        process = subprocess.Popen(
            [sys.executable, '-m', 'trycoton', 'instance', 'serve',
                '--folder', self.folder, 'bob'],
            stderr=subprocess.PIPE, text=True)
        try:
            self.assertIn('bob: http://', process.stderr.readline())
            pid = self.bob.pid
            self.assertTrue(pid)
            process.send_signal(signal.SIGINT)
            self.assertEqual(process.wait(30), 0)
        finally:
            process.kill()
            process.wait()
            process.stderr.close()
        self.assertIsNone(self.bob.pid)

    def test_killed_parent(self):
        "The servers end with the process that started them"
        process = subprocess.Popen(
            [sys.executable, '-m', 'trycoton', 'instance', 'serve',
                '--folder', self.folder, 'bob'],
            stderr=subprocess.PIPE, text=True)
        with process.stderr:
            self.assertIn('bob: http://', process.stderr.readline())
            process.kill()
            process.wait()
        limit = time.monotonic() + 20
        while self.bob.pid and time.monotonic() < limit:
            time.sleep(0.1)
        self.assertIsNone(self.bob.pid)
