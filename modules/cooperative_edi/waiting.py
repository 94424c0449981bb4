# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What waits for the decision of a person"""
from sql import Cast, Null, Union
from sql.aggregate import Max
from sql.conditionals import Case, Coalesce
from sql.operators import Concat
from trytond.model import ModelSQL, ModelView, fields
from trytond.model.union import UnionMixin
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Eval, If, PYSONEncoder
from trytond.wizard import StateAction, StateTransition, Wizard

TASKS = [
    ('take_note', "Take note of the alarm"),
    ('answer_order', "Answer the order"),
    ('accept_changes', "Accept the changes or withdraw the order"),
    ('credit', "Credit what was not received"),
    ('check_invoice', "Check the invoice"),
    ('settle', "Settle the invoice with the customer"),
    ('answer_relation', "Answer the proposal"),
    ('answer_dispute', "Answer the claim"),
    ('name_arbiter', "Name an arbiter"),
    ('decide', "Decide the dispute"),
    ('carry_out', "Carry out what ended the dispute"),
    ('change_route', "Change the route"),
    ('complete', "Give what is missing"),
    ('retry', "Try again or give up"),
    ]


class Waiting(UnionMixin, ModelSQL, ModelView):
    __name__ = 'cooperative.edi.waiting'

    company = fields.Many2One('company.company', "Company")
    record = fields.Reference("Record", 'get_records')
    party = fields.Many2One(
        'party.party', "Party",
        context={
            'company': Eval('company', -1),
            },
        depends={'company'})
    since = fields.DateTime("Since")
    task = fields.Selection(TASKS, "To Do", sort=False)

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._order = [('since', 'ASC'), ('id', 'ASC')]

    @classmethod
    def union_models(cls):
        return ['cooperative.edi.message', 'cooperative.edi.relation']

    @classmethod
    def table_query(cls):
        return Union(*map(cls._query, cls.union_models()), all_=True)

    @classmethod
    def _query(cls, name):
        "Return what waits among the records of the model of that name"
        pool = Pool()
        Message = pool.get('cooperative.edi.message')
        table = pool.get(name).__table__()
        message = Message.__table__()
        task, party, from_ = getattr(
            cls, '_waiting_' + name.replace('.', '_'))(table)
        record = Concat(f'{name},', Cast(table.id, 'VARCHAR'))
        last = message.select(
            message.origin, Max(message.stored).as_('stored'),
            where=message.origin.like(f'{name},%'),
            group_by=message.origin)
        query = from_.join(last, 'LEFT', condition=last.origin == record)
        return query.select(
            cls.union_shard(table.id, name).as_('id'),
            table.company.as_('company'),
            record.as_('record'),
            party.as_('party'),
            cls.since.sql_cast(
                Coalesce(last.stored, table.create_date)).as_('since'),
            task.as_('task'),
            where=task != Null)

    @classmethod
    def _with_peer(cls, table):
        pool = Pool()
        Peer = pool.get('cooperative.edi.peer')
        peer = Peer.__table__()
        return peer.party, table.join(
            peer, 'LEFT', condition=table.peer == peer.id)

    @classmethod
    def _waiting_cooperative_edi_message(cls, table):
        task = Case(
            (table.state == 'held', 'complete'),
            (table.state == 'failed', 'retry'),
            ((table.state == 'sent') & (table.failure != Null)
                & (table.direction == 'out'), 'retry'),
            else_=Null)
        return task, *cls._with_peer(table)

    @classmethod
    def _waiting_cooperative_edi_relation(cls, table):
        pool = Pool()
        Relation = pool.get('cooperative.edi.relation')
        task = Case((
                (table.state == 'proposed') & (table.proposed_by == 'peer'),
                'answer_relation'),
            (Relation.without_route(table), 'change_route'), else_=Null)
        return task, *cls._with_peer(table)

    @classmethod
    def get_records(cls):
        pool = Pool()
        Model = pool.get('ir.model')
        get_name = Model.get_name
        return [(m, get_name(m)) for m in cls.union_models()]

    def get_rec_name(self, name):
        return self.record.rec_name if self.record else str(self.id)

    @classmethod
    def view_attributes(cls):
        return super().view_attributes() + [
            ('/tree/field[@name="task"]', 'visual',
                If(Eval('task').in_(['take_note', 'retry']), 'danger',
                    If(Eval('task').in_(
                            ['complete', 'settle', 'change_route']),
                        'warning', ''))),
            ]


class Waiting_Sale(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.waiting'

    @classmethod
    def union_models(cls):
        return super().union_models() + ['sale.sale', 'stock.shipment.out']

    @classmethod
    def _waiting_sale_sale(cls, table):
        task = Case((
                (table.edi_state == 'waiting')
                & table.state.in_(['draft', 'quotation']),
                'answer_order'), else_=Null)
        return task, table.party, table

    @classmethod
    def _waiting_stock_shipment_out(cls, table):
        task = Case(
            (table.edi_state == 'difference', 'credit'), else_=Null)
        return task, table.customer, table


class Waiting_Purchase(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.waiting'

    @classmethod
    def union_models(cls):
        return super().union_models() + ['purchase.purchase']

    @classmethod
    def _waiting_purchase_purchase(cls, table):
        task = Case((
                (table.edi_state == 'changed') & (table.state == 'confirmed'),
                'accept_changes'), else_=Null)
        return task, table.party, table


class Waiting_Invoice(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.waiting'

    @classmethod
    def union_models(cls):
        return super().union_models() + ['account.invoice']

    @classmethod
    def _waiting_account_invoice(cls, table):
        task = Case((
                (table.type == 'in') & (table.edi_message != Null)
                & table.state.in_(['draft', 'validated']),
                'check_invoice'), (
                (table.type == 'out') & (table.state == 'posted')
                & table.edi_state.in_(['queried', 'refused']),
                'settle'), else_=Null)
        return task, table.party, table


class Open(Wizard):
    __name__ = 'cooperative.edi.waiting.open'
    start = StateTransition()
    cooperative_edi_message = StateAction('cooperative_edi.act_message')
    cooperative_edi_relation = StateAction('cooperative_edi.act_relation')

    def transition_start(self):
        record = self.record.record
        return record.__name__.replace('.', '_') if record else 'end'

    def _open(self, action):
        "Show the record alone, in its form"
        record = self.record.record
        action['views'].sort(key=lambda v: v[1] != 'form')
        action['pyson_domain'] = PYSONEncoder().encode(
            [('id', '=', record.id)])
        action['domains'] = []
        return action, {'res_id': [record.id]}

    do_cooperative_edi_message = _open
    do_cooperative_edi_relation = _open


class Open_Sale(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.waiting.open'
    sale_sale = StateAction('sale.act_sale_form')
    stock_shipment_out = StateAction('stock.act_shipment_out_form')

    def do_sale_sale(self, action):
        return self._open(action)

    def do_stock_shipment_out(self, action):
        return self._open(action)


class Open_Purchase(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.waiting.open'
    purchase_purchase = StateAction('purchase.act_purchase_form')

    def do_purchase_purchase(self, action):
        return self._open(action)


class Open_Invoice(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.waiting.open'
    account_invoice = StateAction('account_invoice.act_invoice_form')

    def do_account_invoice(self, action):
        return self._open(action)
