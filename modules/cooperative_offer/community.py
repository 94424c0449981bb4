# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
import logging
from urllib.parse import urlsplit

from trytond.exceptions import UserError
from trytond.i18n import gettext
from trytond.model import ModelSQL, ModelView, Unique, fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Eval
from trytond.transaction import Transaction

from cooperative_edi import client
from cooperative_edi.column import BigInteger
from cooperative_edi.http import authorization
from cooperative_edi.identity import now
from cooperative_edi.peer import naive
from trycoton.protocol import canonical, signature
from trycoton.protocol.errors import Malformed, ProtocolError, Rejected
from trycoton.protocol.offer import Page as SignedPage

from .exceptions import CatalogueError

logger = logging.getLogger(__name__)
# Up to how many offers products are made of by themselves
AUTOMATIC = 500


class Community(metaclass=PoolMeta):
    __name__ = 'cooperative.community'

    make_purchasable = fields.Boolean(
        "Make Offers Purchasable",
        states={
            'invisible': Eval('role') != 'member',
            },
        help="Check to make by itself the products and the suppliers of the "
        "offers.\n"
        "If there are too many, it is done for the offers that are chosen.")
    offer_pages = fields.One2Many(
        'cooperative.community.offer_page', 'community', "Catalogue Pages",
        readonly=True,
        states={
            'invisible': Eval('role') != 'member',
            })
    offers_tag = fields.Char("Catalogue Tag", readonly=True,
        states={
            'invisible': True,
            })
    offers_synchronised = fields.DateTime(
        "Offers Synchronised", readonly=True,
        states={
            'invisible': Eval('role') != 'member',
            },
        help="When the offers were last compared with the community's.")
    offers_error = fields.Text("Offers Left Out", readonly=True,
        states={
            'invisible': ~Eval('offers_error'),
            },
        help="Why some offers of the community are not shown.")

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._buttons.update(
            synchronise_offers={
                'invisible': Eval('role') != 'member',
                'icon': 'tryton-refresh',
                'depends': ['role'],
                },
            )

    @classmethod
    def default_make_purchasable(cls):
        return True

    @classmethod
    def copy(cls, communities, default=None):
        default = default.copy() if default is not None else {}
        for name in [
                'offer_pages', 'offers_tag', 'offers_synchronised',
                'offers_error']:
            default.setdefault(name)
        return super().copy(communities, default=default)

    @classmethod
    @ModelView.button
    def synchronise_offers(cls, communities):
        "Fetch the offers approved for us and update the suppliers"
        fetched = [(c, c._fetch_offers()) for c in communities]
        # The network comes first: nothing is locked meanwhile
        for community, response in fetched:
            with Transaction().set_context(company=community.company.id):
                cls(community.id)._take_offers(response)

    @classmethod
    def synchronise_offers_due(cls):
        "Fetch the offers of each community, and note what prevents it"
        fetched, failed = [], []
        for community in cls.search([('role', '=', 'member')]):
            if not community.membership.has_role('buyer'):
                continue
            try:
                fetched.append((community, community._fetch_offers()))
            except UserError as exception:
                failed.append((community, exception))
        for community, response in fetched:
            with Transaction().set_context(company=community.company.id):
                try:
                    cls(community.id)._take_offers(response)
                except UserError as exception:
                    failed.append((community, exception))
        for community, exception in failed:
            logger.warning("offers of %s: %s", community.id, exception)
            cls.write([community], {'offers_error': str(exception)})

    def _fetch_offers(self):
        "Return what the community answers, None if nothing has changed"
        url = f'{self.peer.endpoint}/offer/catalogue'
        headers = authorization(
            self.identity, self.peer, 'GET', urlsplit(url).path)
        if self.offers_tag:
            headers['If-None-Match'] = f'"{self.offers_tag}"'
        try:
            response = client.get(url, headers)
        except client.ClientError as exception:
            raise exception.user_error() from exception
        if response.status == 304:
            return
        if response.status != 200:
            self._refuse_offers(f'HTTP {response.status}')
        return response

    def _refuse_offers(self, error):
        raise CatalogueError(gettext(
                'cooperative_offer.msg_catalogue_refused',
                community=self.rec_name, error=error))

    def _take_offers(self, response):
        pool = Pool()
        Item = pool.get('cooperative.offer.item')
        self.offers_synchronised = naive(now())
        if response:
            try:
                pages = self._parse_offers(response.data)
            except ProtocolError as exception:
                self._refuse_offers(str(exception))
            errors = Item.update_from(
                self.peer, [o for p in pages for o in p.offers])
            if self.make_purchasable:
                errors += Item.make_all_purchasable(self.peer, AUTOMATIC)
            self.offers_error = '\n'.join(errors) or None
            # What was left out is looked at again
            self.offers_tag = (None if errors
                else response.headers.get('ETag', '').strip('"') or None)
        Item.update_suppliers(self.peer)
        self.save()

    def _parse_offers(self, data):
        "Return the verified pages of the answer and remember their versions"
        pool = Pool()
        Known = pool.get('cooperative.community.offer_page')
        answer = canonical.load(data)
        try:
            entries = [
                (canonical.decode(e['page']), e['signature'])
                for e in answer['pages']]
        except (KeyError, TypeError) as exception:
            raise Malformed("not a list of pages") from exception
        pages = []
        for page, jws in entries:
            signature.verify(
                page, jws, signature.CATALOGUE_PAGE, self.peer.public_keys())
            pages.append(SignedPage.parse(page))
        for page in pages:
            if page.community != self.peer.identifier:
                raise Rejected("a page of another community")
            if naive(page.expires) < naive(now()):
                raise Rejected("the page has expired")
        Known.follow(self, pages)
        return pages


class OfferPage(ModelSQL, ModelView):
    __name__ = 'cooperative.community.offer_page'

    community = fields.Many2One(
        'cooperative.community', "Community", required=True, readonly=True,
        ondelete='CASCADE')
    name = fields.Char("Groups", required=True, readonly=True)
    version = BigInteger("Version", required=True, readonly=True)
    digest = fields.Char("Digest", required=True, readonly=True)

    __access__ = {'community'}

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_constraints += [
            ('name_unique', Unique(t, t.community, t.name),
                'cooperative_offer.msg_offer_page_unique'),
            ]

    @classmethod
    def follow(cls, community, pages):
        "Remember the pages; raise Rejected if one goes back"
        known = {k.name: k for k in community.offer_pages}
        for page in pages:
            name = ', '.join(page.groups) or '*'
            last = known.get(name) or cls(community=community, name=name)
            if getattr(last, 'version', None):
                last._check_next(page)
            last.version = page.version
            last.digest = page.digest
            last.save()

    def _check_next(self, page):
        if page.version < self.version:
            raise Rejected("the page is older than the known one")
        if page.version == self.version and page.digest != self.digest:
            raise Rejected("there are two pages of one version")
        if page.version == self.version + 1 and page.previous != self.digest:
            raise Rejected("the page does not follow the known one")


class Membership(metaclass=PoolMeta):
    __name__ = 'cooperative.community.membership'

    @classmethod
    def on_modification(cls, mode, memberships, field_names=None):
        super().on_modification(mode, memberships, field_names=field_names)
        if mode == 'write' and field_names & {'state', 'offerer'}:
            cls._publish_offers(memberships)

    @classmethod
    def _publish_offers(cls, memberships):
        "Show or hide the offers of the sellers whose state has changed"
        pool = Pool()
        Moderation = pool.get('cooperative.offer.moderation')
        sellers = [
            m.peer for m in memberships
            if m.community.role == 'manager' and m.peer]
        Moderation.publish(Moderation.search([
                    ('seller', 'in', [s.id for s in sellers]),
                    ('state', '=', 'approved'),
                    ]))
