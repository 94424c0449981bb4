# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
from trytond.modules.company.tests import CompanyTestMixin
from trytond.tests.test_tryton import ModuleTestCase

from cooperative_edi.tests.inheritance import InheritanceTestMixin
from cooperative_edi.tests.views import ViewsTestMixin


class CooperativeOfferTestCase(
        CompanyTestMixin, InheritanceTestMixin, ViewsTestMixin,
        ModuleTestCase):
    "Test Cooperative Offer module"
    module = 'cooperative_offer'


del ModuleTestCase
