# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
from trytond.protocols.wrappers import with_pool, with_transaction
from trytond.wsgi import app

from cooperative_edi.http import (
    Problem, authenticate, problems, respond_cached)


@app.route('/<database_name>/cooperative/offer/catalogue', methods=['GET'])
@with_pool
@with_transaction()
@problems
def catalogue(request, pool):
    Community = pool.get('cooperative.community')
    Membership = pool.get('cooperative.community.membership')
    Page = pool.get('cooperative.offer.page')
    identity, peer = authenticate(request)
    community = Community.managed(identity.company.id)
    if not community:
        raise Problem.not_found('catalogue')
    membership = Membership.of_peer(community, peer)
    if not membership or not membership.has_role('buyer'):
        raise Problem.forbidden("only for the buyers of the community")
    data, tag = Page.answer(community, membership.groups)
    return respond_cached(request, data, None, tag)
