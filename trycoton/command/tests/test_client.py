# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
import os
import tempfile
import unittest
import xmlrpc.client
from unittest.mock import patch

from trycoton.command.client import Descriptions, _server

MODULES = ['cooperative_edi', 'cooperative_trust']


class DescriptionsTestCase(unittest.TestCase):
    "Test what is asked only once"

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        for patcher in [
                patch.dict(os.environ, TRYCOTON_CACHE=folder.name),
                patch.object(
                    xmlrpc.client.Transport, 'request', self.request)]:
            patcher.start()
            self.addCleanup(patcher.stop)
        self.asked = []

    def request(self, host, handler, body, verbose=False):
        _, name = xmlrpc.client.loads(body)
        self.asked.append(name)
        return [{'answer': len(self.asked)}]

    def ask(self, descriptions, context=None):
        server = _server('http://127.0.0.1/db/rpc/', descriptions=descriptions)
        return [
            server.system.listMethods(),
            server.model.res.user.fields_get(None, context or {}),
            server.model.res.user.read([1], [], context or {})]

    def test_once(self):
        "Test descriptions are asked once, and what changes each time"
        descriptions = {}
        first = self.ask(descriptions)
        second = self.ask(descriptions)
        self.assertEqual(self.asked, [
                'system.listMethods', 'model.res.user.fields_get',
                'model.res.user.read', 'model.res.user.read'])
        self.assertEqual(first[:2], second[:2])
        self.assertNotEqual(first[2], second[2])

    def test_context(self):
        "Test another context is another description"
        descriptions = {}
        self.ask(descriptions, {'language': 'fr'})
        self.ask(descriptions, {'language': 'en'})
        self.assertEqual(self.asked.count('model.res.user.fields_get'), 2)

    def test_saved(self):
        "Test descriptions are kept for the same modules and groups"
        kept = Descriptions(MODULES, ['res.group_admin'])
        answers = self.ask(kept)
        kept.save()
        self.asked.clear()
        self.assertEqual(
            self.ask(Descriptions(MODULES, ['res.group_admin']))[:2],
            answers[:2])
        self.assertEqual(self.asked, ['model.res.user.read'])
        self.assertEqual(Descriptions(MODULES, []), {})
        self.assertEqual(Descriptions(MODULES[:1], ['res.group_admin']), {})

    def test_damaged(self):
        "Test a file that is cut is as none"
        kept = Descriptions(MODULES, [])
        self.ask(kept)
        kept.save()
        kept.path.write_bytes(kept.path.read_bytes()[:-5])
        self.assertEqual(Descriptions(MODULES, []), {})
