# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
from trytond.modules.company.tests import (
    CompanyTestMixin, PartyCompanyCheckEraseMixin)
from trytond.tests.test_tryton import ModuleTestCase, activate_module, drop_db

from .inheritance import InheritanceTestMixin
from .test_documents import MODULES
from .views import ViewsTestMixin


class CooperativeEdiTestCase(
        PartyCompanyCheckEraseMixin, CompanyTestMixin, InheritanceTestMixin,
        ViewsTestMixin, ModuleTestCase):
    "Test Cooperative EDI module"
    module = 'cooperative_edi'
    extras = [
        'account_invoice_stock', 'account_payment_clearing',
        'account_statement', 'edocument_unece', 'party_siret', 'purchase',
        'purchase_amendment', 'sale', 'sale_amendment']

    @classmethod
    def setUpClass(cls):
        drop_db()
        # Most of it is made for other tests as well
        for modules in [MODULES, [cls.module, *cls.extras]]:
            activate_module(modules)
        super().setUpClass()


del ModuleTestCase
