# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
import datetime as dt
from itertools import groupby

from sql.conditionals import Coalesce
from sql.operators import Equal
from trytond.model import Exclude, ModelSQL, ModelView, fields
from trytond.pool import Pool
from trytond.pyson import Eval
from trytond.transaction import Transaction

from cooperative_edi.column import BigInteger
from cooperative_edi.identity import now
from cooperative_edi.peer import naive
from trycoton.protocol import canonical, signature
from trycoton.protocol.offer import Approval
from trycoton.protocol.offer import Page as SignedPage

VALIDITY = dt.timedelta(days=90)
RENEWAL = VALIDITY / 2


class Page(ModelSQL, ModelView):
    __name__ = 'cooperative.offer.page'

    company = fields.Many2One(
        'company.company', "Company", required=True, readonly=True,
        ondelete='CASCADE')
    community = fields.Many2One(
        'cooperative.community', "Community", required=True, readonly=True,
        ondelete='CASCADE')
    group = fields.Many2One(
        'cooperative.community.group', "Group", readonly=True,
        ondelete='CASCADE',
        domain=[
            ('community', '=', Eval('community', -1)),
            ],
        help="Empty for the offers made to all the buyers.")
    version = BigInteger("Version", required=True, readonly=True)
    created = fields.DateTime("Created", required=True, readonly=True)
    expires = fields.DateTime("Expires", required=True, readonly=True)
    offers = fields.Integer("Offers", required=True, readonly=True)
    data = fields.Binary("Page", required=True, readonly=True,
        filename='filename',
        help="The exact bytes that are signed.")
    filename = fields.Function(fields.Char("File Name"), 'get_filename')
    digest = fields.Char("Digest", required=True, readonly=True)
    signature = fields.Text("Signature", required=True, readonly=True)

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_constraints += [
            ('version_unique',
                Exclude(t,
                    (t.community, Equal),
                    (Coalesce(t.group, -1), Equal),
                    (t.version, Equal)),
                'cooperative_offer.msg_page_version_unique'),
            ]
        cls._order = [('id', 'DESC')]

    def get_rec_name(self, name):
        owner = self.group or self.community
        return f"{owner.rec_name} {self.version}"

    def get_filename(self, name):
        return f'catalogue-{self.version}.json'

    @classmethod
    def last(cls, community, group):
        "Return the page that the members of the group receive, or None"
        pages = cls.search([
                ('community', '=', community.id),
                ('group', '=', group.id if group else None),
                ], order=[('version', 'DESC')], limit=1)
        return pages[0] if pages else None

    @classmethod
    def publish(cls, community, groups, renew=False):
        """Sign a new page for each of the groups whose offers have changed,
        None being all the buyers"""
        pages = []
        for group in groups:
            last = cls.last(community, group)
            approvals = cls._approvals(community, group)
            known = last.content.offers if last else ()
            if approvals != known or (last and renew and last.to_renew):
                pages.append(cls._sign(community, group, last, approvals))
        cls.save(pages)

    @classmethod
    def publish_due(cls):
        "Publish what sellers and dates have changed, before pages expire"
        pool = Pool()
        Community = pool.get('cooperative.community')
        for community in Community.search([('role', '=', 'manager')]):
            with Transaction().set_context(company=community.company.id):
                cls.publish(
                    community, [None, *community.groups], renew=True)

    @property
    def content(self):
        return SignedPage.parse(bytes(self.data))

    @property
    def to_renew(self):
        return naive(now()) > self.expires - RENEWAL

    @classmethod
    def _approvals(cls, community, group):
        pool = Pool()
        Moderation = pool.get('cooperative.offer.moderation')
        return tuple(
            Approval(
                catalogue=bytes(message.data),
                signature=message.signature,
                lines=tuple(sorted(m.line for m in moderations)))
            for message, moderations in groupby(
                Moderation.on_sale_in(community, group),
                key=lambda m: m.message))

    @classmethod
    def _sign(cls, community, group, last, approvals):
        identity = community.identity
        created = now().replace(microsecond=0)
        page = SignedPage(
            community=identity.identifier,
            version=last.version + 1 if last else 1,
            previous=last.digest if last else None,
            created=created,
            expires=created + VALIDITY,
            groups=(group.name,) if group else (),
            offers=approvals)
        data = page.to_bytes()
        return cls(
            company=community.company, community=community, group=group,
            version=page.version,
            created=naive(page.created), expires=naive(page.expires),
            offers=sum(len(a.lines) for a in approvals),
            data=data, digest=page.digest,
            signature=identity.sign(data, signature.CATALOGUE_PAGE))

    @classmethod
    def answer(cls, community, groups):
        "Return the bytes that a member of the groups receives and their tag"
        pages = [cls.last(community, g) for g in [
                None, *sorted(groups, key=lambda g: g.name)]]
        pages = [p for p in pages if p]
        tag = canonical.digest('\n'.join(p.digest for p in pages).encode())
        return canonical.dump({
                'pages': [{
                        'page': canonical.encode(bytes(p.data)),
                        'signature': p.signature,
                        } for p in pages],
                }), tag
