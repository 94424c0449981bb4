# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
import re
from collections import defaultdict
from itertools import groupby

from trytond.i18n import gettext
from trytond.model import Index, ModelSQL, ModelView, Unique, Workflow, fields
from trytond.model.exceptions import ValidationError
from trytond.modules.company.model import employee_field, set_employee
from trytond.modules.currency.fields import Monetary
from trytond.modules.product import price_digits
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Bool, Eval
from trytond.transaction import Transaction
from trytond.wizard import Button, StateTransition, StateView, Wizard

from cooperative_edi.exceptions import DocumentRefused
from trycoton.protocol.offer import ApprovalStatement

from .exceptions import OfferCurrencyError, OfferUnitError
from .terms import TermsMixin, visual

# What the page of a catalogue can name
LINE = re.compile(r'[!-~]{1,200}')


class Moderation(TermsMixin, Workflow, ModelSQL, ModelView):
    __name__ = 'cooperative.offer.moderation'

    company = fields.Many2One(
        'company.company', "Company", required=True, readonly=True,
        ondelete='CASCADE')
    community = fields.Many2One(
        'cooperative.community', "Community", required=True, readonly=True,
        ondelete='RESTRICT')
    seller = fields.Many2One(
        'cooperative.edi.peer', "Seller", required=True, readonly=True,
        ondelete='RESTRICT')
    message = fields.Many2One(
        'cooperative.edi.message', "Message", required=True, readonly=True,
        ondelete='RESTRICT',
        help="The catalogue that the seller signed.")
    line = fields.Char("Line", required=True, readonly=True,
        help="The line of the catalogue, "
        "the same for each version of the offer.")
    groups = fields.Many2Many(
        'cooperative.offer.moderation-cooperative.community.group',
        'moderation', 'group', "Groups",
        domain=[
            ('community', '=', Eval('community', -1)),
            ],
        states={
            'readonly': Eval('state') != 'submitted',
            },
        help="The groups of members that can order.\n"
        "Leave empty for all the buyers of the community.")
    previous = fields.Function(fields.Many2One(
            'cooperative.offer.moderation', "On Sale",
            states={
                'invisible': ~Eval('previous'),
                },
            help="The approved version that would be replaced."),
        'get_previous')
    previous_price = fields.Function(Monetary(
            "Price On Sale", currency='currency', digits=price_digits,
            states={
                'invisible': ~Eval('previous'),
                }),
        'get_previous_price')
    reason = fields.Char(
        "Reason", readonly=True,
        states={
            'required': Eval('state') == 'refused',
            'invisible': ~Bool(Eval('reason')),
            },
        help="What the seller is told.")
    approved_by = employee_field(
        "Approved By", states=['approved', 'superseded', 'withdrawn'])
    refused_by = employee_field("Refused By", states=['refused'])
    state = fields.Selection([
            ('submitted', "Submitted"),
            ('approved', "Approved"),
            ('refused', "Refused"),
            ('superseded', "Superseded"),
            ('withdrawn', "Withdrawn"),
            ], "State", required=True, readonly=True, sort=False)

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_constraints += [
            ('line_unique', Unique(t, t.message, t.line),
                'cooperative_offer.msg_moderation_line_unique'),
            ]
        cls._sql_indexes.add(
            Index(
                t, (t.state, Index.Equality(cardinality='low')),
                where=t.state.in_(['submitted', 'approved'])))
        cls._order.insert(0, ('id', 'DESC'))
        cls._freeze_terms()
        cls._transitions |= {
            ('submitted', 'approved'),
            ('submitted', 'refused'),
            ('submitted', 'superseded'),
            ('submitted', 'withdrawn'),
            ('approved', 'superseded'),
            ('approved', 'withdrawn'),
            }
        cls._buttons.update(
            approve={
                'invisible': Eval('state') != 'submitted',
                'depends': ['state'],
                },
            refuse={
                'invisible': Eval('state') != 'submitted',
                'depends': ['state'],
                },
            )

    @classmethod
    def default_company(cls):
        return Transaction().context.get('company')

    @classmethod
    def default_state(cls):
        return 'submitted'

    def get_rec_name(self, name):
        return f"[{self.code}] {self.name}"

    @classmethod
    def search_rec_name(cls, name, clause):
        _, operator, *_ = clause
        bool_op = 'AND' if operator.startswith(('!', 'not ')) else 'OR'
        return [bool_op,
            ('name', *clause[1:]),
            ('code', *clause[1:]),
            ]

    @classmethod
    def get_previous(cls, moderations, name):
        previous = dict.fromkeys(map(int, moderations))
        keys = {m.key: m.id for m in moderations if m.state == 'submitted'}
        for moderation in cls.search([
                    ('seller', 'in', [s for s, _ in keys]),
                    ('line', 'in', [l for _, l in keys]),
                    ('state', '=', 'approved'),
                    ]):
            if moderation.key in keys:
                previous[keys[moderation.key]] = moderation.id
        return previous

    def get_previous_price(self, name):
        return self.previous.price if self.previous else None

    @classmethod
    def view_attributes(cls):
        return super().view_attributes() + [
            ('/tree', 'visual', visual()),
            ]

    @property
    def key(self):
        "What is the same for each version of an offer"
        return self.seller.id, self.line

    @classmethod
    @ModelView.button
    def approve(cls, moderations):
        moderations = [m for m in moderations if m.state == 'submitted']
        replaced = [m.previous for m in moderations if m.previous]
        cls.supersede(replaced)
        cls._approve(moderations)
        cls._tell(moderations)
        cls.publish([*moderations, *replaced])

    @classmethod
    def publish(cls, moderations):
        "Publish the pages that show the offers, or did"
        pool = Pool()
        Page = pool.get('cooperative.offer.page')
        scopes = defaultdict(set)
        for moderation in moderations:
            scopes[moderation.community].update(moderation.groups or [None])
        for community, groups in scopes.items():
            Page.publish(community, groups)

    @classmethod
    @Workflow.transition('approved')
    @set_employee('approved_by')
    def _approve(cls, moderations):
        pass

    @classmethod
    @ModelView.button_action('cooperative_offer.wizard_moderation_refuse')
    def refuse(cls, moderations):
        pass

    @classmethod
    def refuse_for(cls, moderations, reason):
        "Refuse the versions and tell the reason to their sellers"
        moderations = [m for m in moderations if m.state == 'submitted']
        cls.write(moderations, {'reason': reason})
        cls._refuse(moderations)
        cls._tell(moderations, reason)

    @classmethod
    @Workflow.transition('refused')
    @set_employee('refused_by')
    def _refuse(cls, moderations):
        pass

    @classmethod
    @Workflow.transition('superseded')
    def supersede(cls, moderations):
        pass

    @classmethod
    @Workflow.transition('withdrawn')
    def withdraw(cls, moderations):
        pass

    @classmethod
    def _tell(cls, moderations, reason=None):
        "Send to each seller the signed decision on its catalogue"
        pool = Pool()
        Message = pool.get('cooperative.edi.message')

        def key(moderation):
            return moderation.message.id
        for _, decided in groupby(sorted(moderations, key=key), key=key):
            decided = list(decided)
            catalogue = decided[0].message
            statement = ApprovalStatement(
                message=catalogue.uuid,
                digest=catalogue.digest,
                approved=tuple(
                    m.line for m in decided if m.state == 'approved'),
                refused=tuple(
                    m.line for m in decided if m.state == 'refused'),
                reason=reason)
            Message.send_statement(
                catalogue.peer, 'offer-decision', statement.to_json(),
                answers=catalogue)

    @classmethod
    def receive(cls, message, community, catalogue):
        "Take in the lines of a catalogue and return what is to be moderated"
        removed, added = [], []
        for line in catalogue.lines:
            if line.action == 'Delete':
                removed.append(line.id)
            else:
                added.append(cls._from_line(message, community, line))
        withdrawn = cls._open(message.peer, removed)
        replaced = cls._open(
            message.peer, [m.line for m in added], ['submitted'])
        cls.withdraw(withdrawn)
        cls.supersede(replaced)
        cls.save(added)
        cls.publish(withdrawn)
        return added

    @classmethod
    def _open(cls, seller, lines, states=('submitted', 'approved')):
        return cls.search([
                ('seller', '=', seller.id),
                ('line', 'in', lines),
                ('state', 'in', list(states)),
                ])

    @classmethod
    def _from_line(cls, message, community, line):
        return cls(
            company=message.company, community=community,
            seller=message.peer, message=message, line=line.id,
            **cls.terms_of(line))

    @classmethod
    def on_sale_in(cls, community, group):
        "Return what the members of the group can order, oldest first"
        pool = Pool()
        Membership = pool.get('cooperative.community.membership')
        sellers = {}

        def sells(seller):
            if seller not in sellers:
                membership = Membership.of_peer(community, seller)
                sellers[seller] = bool(
                    membership and membership.has_role('offerer'))
            return sellers[seller]
        return [m for m in cls.search([
                    ('community', '=', community.id),
                    ('groups', '=', group.id if group else None),
                    ('state', '=', 'approved'),
                    ], order=[('message', 'ASC'), ('id', 'ASC')])
            if sells(m.seller)]


class ModerationGroup(ModelSQL):
    __name__ = 'cooperative.offer.moderation-cooperative.community.group'

    moderation = fields.Many2One(
        'cooperative.offer.moderation', "Moderation", required=True,
        ondelete='CASCADE')
    group = fields.Many2One(
        'cooperative.community.group', "Group", required=True,
        ondelete='CASCADE')


class ModerationRefuse(Wizard):
    __name__ = 'cooperative.offer.moderation.refuse'
    start = StateView(
        'cooperative.offer.moderation.refuse.start',
        'cooperative_offer.moderation_refuse_start_view_form', [
            Button("Cancel", 'end', 'tryton-cancel'),
            Button("Refuse", 'refuse', 'tryton-ok', default=True),
            ])
    refuse = StateTransition()

    def transition_refuse(self):
        self.model.refuse_for(self.records, self.start.reason)
        return 'end'


class ModerationRefuseStart(ModelView):
    __name__ = 'cooperative.offer.moderation.refuse.start'

    reason = fields.Char("Reason", required=True,
        help="What the sellers are told: why, and what they could change.")


class Document(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.document'

    @classmethod
    def receive_catalogue(cls, message, catalogue):
        "Have what an active offerer submits moderated"
        pool = Pool()
        Community = pool.get('cooperative.community')
        Membership = pool.get('cooperative.community.membership')
        Moderation = pool.get('cooperative.offer.moderation')
        cls.check_document(
            message, catalogue, catalogue.provider, catalogue.receiver)
        community = Community.managed(message.company.id)
        membership = community and Membership.of_peer(
            community, message.peer)
        if not membership or not membership.has_role('offerer'):
            raise DocumentRefused('BV', gettext(
                    'cooperative_offer.msg_catalogue_offerer',
                    seller=message.peer.rec_name))
        cls._check_catalogue(catalogue)
        try:
            Moderation.receive(message, community, catalogue)
        except (
                OfferUnitError, OfferCurrencyError,
                ValidationError) as exception:
            raise DocumentRefused('BV', str(exception)) from exception

    @classmethod
    def _check_catalogue(cls, catalogue):
        "Refuse what could not be approved line by line"
        provider, seller = catalogue.provider, catalogue.seller
        if seller and seller.identifier != provider.identifier:
            raise DocumentRefused('BV', gettext(
                    'cooperative_offer.msg_catalogue_seller',
                    seller=seller.identifier))
        for line in catalogue.lines:
            if not LINE.fullmatch(line.id):
                raise DocumentRefused('BV', gettext(
                        'cooperative_offer.msg_catalogue_line_id',
                        line=line.id))
            if line.action != 'Delete' and not cls._complete(line):
                raise DocumentRefused('BV', gettext(
                        'cooperative_offer.msg_catalogue_line',
                        line=line.id))

    @classmethod
    def _complete(cls, line):
        return (line.item.seller_code and line.item.name and line.unit
            and line.currency and line.price is not None
            and line.price >= 0)
