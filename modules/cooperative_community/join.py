# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
from decimal import Decimal

from trytond.i18n import gettext
from trytond.model import ModelView, fields
from trytond.modules.currency.fields import Monetary
from trytond.pool import Pool
from trytond.pyson import Eval
from trytond.wizard import Button, StateAction, StateView, Wizard

from cooperative_edi import client, courier
from cooperative_edi.column import BigInteger
from cooperative_edi.exceptions import DescriptorError
from trycoton.protocol import signature
from trycoton.protocol.descriptor import Descriptor
from trycoton.protocol.errors import ProtocolError, Rejected

from .exceptions import (
    CharterNotAcceptedError, DescriptorChangedError, NotComparedError,
    RoleMissingError)


def fetch_descriptor(url):
    """Return the descriptor of the community at the address with its
    signature, verified.  Raise a UserError."""
    try:
        response = client.get(url.rstrip('/') + '/community/descriptor')
    except client.ClientError as exception:
        raise exception.user_error() from exception
    try:
        if response.status != 200:
            raise Rejected(courier.problem(response))
        jws = response.headers.get(signature.SIGNATURE_HEADER, '')
        return _open_descriptor(response.data, jws), jws
    except ProtocolError as exception:
        raise DescriptorError(gettext(
                'cooperative_edi.msg_descriptor',
                url=url, error=str(exception))) from exception


def _open_descriptor(data, jws):
    descriptor = Descriptor.open(data, jws)
    if (descriptor.kind != 'community' or not descriptor.charter
            or descriptor.charter.text is None):
        raise Rejected("Not the descriptor of a community.")
    return descriptor


class Join(Wizard):
    __name__ = 'cooperative.community.join'

    start = StateView(
        'cooperative.community.join.start',
        'cooperative_community.join_start_view_form', [
            Button("Cancel", 'end', 'tryton-cancel'),
            Button("Fetch", 'compare', 'tryton-forward', default=True),
            ])
    compare = StateView(
        'cooperative.community.join.compare',
        'cooperative_community.join_compare_view_form', [
            Button("Cancel", 'end', 'tryton-cancel'),
            Button("Next", 'roles', 'tryton-forward', default=True),
            ])
    roles = StateView(
        'cooperative.community.join.roles',
        'cooperative_community.join_roles_view_form', [
            Button("Cancel", 'end', 'tryton-cancel'),
            Button("Back", 'compare', 'tryton-back'),
            Button("Apply", 'apply', 'tryton-ok', default=True),
            ])
    apply = StateAction('cooperative_community.act_membership_own')

    def default_compare(self, fields):
        descriptor, _ = fetch_descriptor(self.start.url)
        return {
            'identifier': descriptor.identifier,
            'name': descriptor.name,
            'fingerprint': descriptor.fingerprint,
            'trust_parties': '\n'.join(
                f'{t.name} ({t.identifier})'
                for t in descriptor.trust_parties),
            }

    def default_roles(self, fields):
        pool = Pool()
        Currency = pool.get('currency.currency')
        descriptor, _ = self._descriptor()
        values = {
            'charter': descriptor.charter.text,
            'charter_version': descriptor.charter.version,
            'charter_date': descriptor.charter.date,
            'offerer': True,
            'buyer': True,
            }
        if descriptor.fee:
            currencies = Currency.search([
                    ('code', '=', descriptor.fee['currency'])], limit=1)
            if currencies:
                values['currency'] = currencies[0].id
            values['fee'] = Decimal(descriptor.fee['amount'])
        if descriptor.commission:
            values['commission'] = Decimal(descriptor.commission)
        return values

    def _descriptor(self):
        "Return the descriptor, still the one that was compared"
        descriptor, jws = fetch_descriptor(self.start.url)
        if descriptor.fingerprint != self.compare.fingerprint:
            raise DescriptorChangedError(gettext(
                    'cooperative_community.msg_descriptor_changed',
                    community=descriptor.name))
        return descriptor, jws

    def _check(self):
        "Raise an error unless the person did what only a person can"
        if not self.compare.compared:
            raise NotComparedError(gettext(
                    'cooperative_community.msg_not_compared'))
        if not self.roles.accepted:
            raise CharterNotAcceptedError(gettext(
                    'cooperative_community.msg_charter_not_accepted'))
        if not (self.roles.offerer or self.roles.buyer):
            raise RoleMissingError(gettext(
                    'cooperative_community.msg_role_missing'))

    def do_apply(self, action):
        pool = Pool()
        Community = pool.get('cooperative.community')
        self._check()
        descriptor, jws = self._descriptor()
        if descriptor.charter.version != self.roles.charter_version:
            raise DescriptorChangedError(gettext(
                    'cooperative_community.msg_descriptor_changed',
                    community=descriptor.name))
        membership = Community.join(
            descriptor, jws, self.roles.offerer, self.roles.buyer)
        return action, {'res_id': [membership.id]}


class JoinStart(ModelView):
    __name__ = 'cooperative.community.join.start'

    url = fields.Char("Address", required=True,
        help="The address that the community gave, for example "
        "https://example.org/community/cooperative.")


class JoinCompare(ModelView):
    __name__ = 'cooperative.community.join.compare'

    identifier = fields.Char("Identifier", readonly=True)
    name = fields.Char("Name", readonly=True)
    fingerprint = fields.Char("Fingerprint", readonly=True,
        help="Compare it with what the community gave on paper or by voice.")
    trust_parties = fields.Text("Trust Parties", readonly=True,
        help="What relays and records the deals of the members.")
    compared = fields.Boolean("Compared",
        domain=[
            ('compared', '=', True),
            ],
        help="Check once the fingerprint has been compared.")


class JoinRoles(ModelView):
    __name__ = 'cooperative.community.join.roles'

    charter = fields.Text("Charter", readonly=True)
    charter_version = BigInteger("Charter Version", readonly=True)
    charter_date = fields.Date("Charter Date", readonly=True)
    currency = fields.Many2One(
        'currency.currency', "Currency", readonly=True)
    fee = Monetary(
        "Fee", currency='currency', digits='currency', readonly=True,
        states={
            'invisible': ~Eval('fee'),
            },
        help="To pay once to join, without taxes.")
    commission = fields.Numeric(
        "Commission", digits=(None, 4), readonly=True,
        states={
            'invisible': ~Eval('commission'),
            },
        help="The part that the community takes of the untaxed amounts that "
        "the offerers invoice.")
    offerer = fields.Boolean("Offerer", help="Check to offer.")
    buyer = fields.Boolean("Buyer", help="Check to order.")
    accepted = fields.Boolean("Charter Accepted",
        domain=[
            ('accepted', '=', True),
            ],
        help="Check to accept the charter.")
