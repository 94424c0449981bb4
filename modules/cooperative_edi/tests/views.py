# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What the clients need of views, and the schemas of Tryton do not tell"""
import functools
import unittest.mock

from lxml import etree
from trytond.pool import Pool
from trytond.tests.test_tryton import with_transaction
from trytond.tools import resolve


class ViewsTestMixin:
    "Test the views of the module can be shown"

    @classmethod
    def setUpClass(cls):
        # The tests of Tryton look up all our classes for each model of all
        patch = unittest.mock.patch(
            'trytond.pool.resolve', functools.cache(resolve))
        patch.start()
        cls.addClassCleanup(patch.stop)
        super().setUpClass()

    @with_transaction()
    def test_times_in_trees(self):
        "Test trees show dates and times apart: the desktop client must"
        pool = Pool()
        View = pool.get('ir.ui.view')
        for view in View.search([
                    ('module', '=', self.module),
                    ['OR', ('type', '=', 'tree'),
                        ('inherit.type', '=', 'tree')]]):
            Model = pool.get(view.model)
            for node in etree.fromstring(view.arch.encode()).iter('field'):
                field = Model._fields.get(node.get('name'))
                if field and field._type in {'datetime', 'timestamp'}:
                    with self.subTest(view=view.name, field=node.get('name')):
                        self.assertIn(node.get('widget'), {'date', 'time'})

    @with_transaction()
    def test_conditions(self):
        "Test conditions come from the model: clients read no other ones"
        pool = Pool()
        View = pool.get('ir.ui.view')
        for view in View.search([('module', '=', self.module)]):
            for node in etree.fromstring(view.arch.encode()).iter():
                with self.subTest(view=view.name, tag=node.tag):
                    self.assertFalse({'visual', 'states'} & {*node.attrib})
