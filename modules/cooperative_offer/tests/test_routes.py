# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
from http import HTTPStatus

from trytond.pool import Pool
from trytond.tests.test_tryton import RouteTestCase, with_transaction
from trytond.transaction import Transaction

from cooperative_edi.http import authorization
from trycoton.protocol import canonical, signature
from trycoton.protocol.offer import Page

from .tools import Market, configure


class CatalogueRouteTestCase(RouteTestCase):
    "Test the route of the catalogue"
    module = 'cooperative_offer'

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        configure()
        cls.set_up_market()

    @classmethod
    @with_transaction()
    def set_up_market(cls):
        market = Market()
        market.on_sale()
        cls.keys = market.manager.identity.public_keys()
        cls.ids = {
            'seller': market.seller.identity.id,
            'buyer': market.buyer.identity.id,
            }
        Transaction().commit()

    @property
    def url(self):
        return f'/{self.db_name}/cooperative/offer/catalogue'

    def get(self, caller=None, path=None, **headers):
        if caller:
            headers.update(self.authorization(caller, path or self.url))
        return self.client().get(self.url, headers=headers)

    def authorization(self, caller, path):
        @with_transaction()
        def headers():
            Identity = Pool().get('cooperative.edi.identity')
            Peer = Pool().get('cooperative.edi.peer')
            identity = Identity(self.ids[caller])
            peer, = Peer.search([
                    ('company', '=', identity.company.id),
                    ('kind', '=', 'community'),
                    ])
            with Transaction().set_context(company=identity.company.id):
                return authorization(identity, peer, 'GET', path)
        return headers()

    def test_buyer(self):
        "Test a buyer receives the signed pages, once"
        response = self.get('buyer')
        self.assertEqual(response.status_code, HTTPStatus.OK)
        entry, = canonical.load(response.data)['pages']
        data = canonical.decode(entry['page'])
        signature.verify(
            data, entry['signature'], signature.CATALOGUE_PAGE, self.keys)
        self.assertEqual(len(Page.parse(data).offers), 1)

        tag = response.headers['ETag']
        response = self.get('buyer', **{'If-None-Match': tag})
        self.assertEqual(response.status_code, HTTPStatus.NOT_MODIFIED)
        self.assertFalse(response.data)

    def test_refused(self):
        "Test who receives nothing"
        for name, response, status in [
                ('nobody', self.get(), HTTPStatus.UNAUTHORIZED),
                ('malformed', self.get(Authorization='Bearer x'),
                    HTTPStatus.UNAUTHORIZED),
                ('other path', self.get('buyer', path='/other'),
                    HTTPStatus.UNAUTHORIZED),
                ('seller', self.get('seller'), HTTPStatus.FORBIDDEN),
                ]:
            with self.subTest(name=name):
                self.assertEqual(response.status_code, status)
                self.assertEqual(
                    response.content_type, 'application/problem+json')


del RouteTestCase
