# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What the operator looks at first: traffic, queues, members, the log"""
import datetime as dt

from dateutil.relativedelta import relativedelta
from sql import Literal, Null, Union
from sql.aggregate import Count, Max, Min, Sum
from sql.conditionals import Case, Coalesce
from trytond.model import Index, ModelSQL, ModelView, fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Eval, If
from trytond.transaction import Transaction, without_check_access

from .log import now
from .relay import PROMISE

LIVING = ['waiting', 'failed']
DAY, WEEK = dt.timedelta(days=1), dt.timedelta(days=7)


class Cron(metaclass=PoolMeta):
    __name__ = 'ir.cron'

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls.method.selection.append(
            ('cooperative.trust.log|examine', "Check Logs"))


class Log(metaclass=PoolMeta):
    __name__ = 'cooperative.trust.log'

    examined = fields.DateTime("Last Check", readonly=True,
        help="When the log was last recomputed, whatever was found.")
    faults = fields.Text("Faults", readonly=True,
        states={
            'invisible': ~Eval('faults'),
            },
        help="What the last check found wrong.")
    oldest_pending = fields.Function(fields.DateTime(
            "Oldest Pending",
            help="Since when the first of them waits."),
        'get_oldest_pending')
    late = fields.Function(fields.Integer(
            "Late Promises",
            help="How many wait for longer than the log promises."),
        'get_late')
    signed = fields.Function(fields.DateTime(
            "Last Checkpoint",
            help="When the log last signed its state."),
        'get_signed')

    @classmethod
    def copy(cls, logs, default=None):
        default = default.copy() if default is not None else {}
        default.setdefault('examined')
        default.setdefault('faults')
        return super().copy(logs, default=default)

    def get_oldest_pending(self, name):
        pool = Pool()
        Leaf = pool.get('cooperative.trust.log.leaf')
        leaves = Leaf.search(
            Leaf.waiting(self), order=[('id', 'ASC')], limit=1)
        return leaves[0].time if leaves else None

    def get_late(self, name):
        pool = Pool()
        Leaf = pool.get('cooperative.trust.log.leaf')
        return Leaf.search_count(
            [Leaf.waiting(self), ('time', '<', now() - PROMISE)])

    def get_signed(self, name):
        pool = Pool()
        Checkpoint = pool.get('cooperative.trust.log.checkpoint')
        checkpoint = Checkpoint.last(self)
        return checkpoint.time if checkpoint else None

    @classmethod
    @ModelView.button
    def check(cls, logs):
        super().check(logs)
        cls.write(logs, {'examined': now(), 'faults': None})

    @classmethod
    @without_check_access
    def examine(cls):
        "Recompute the logs and keep what is found"
        for log in cls.search([('vkey', '!=', None)]):
            log.faults = '\n'.join(log.fsck()) or None
            log.examined = now()
            if not log.faults:
                log.checked, log.checked_size = log.examined, log.size
            log.save()


class Message(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.message'

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_indexes.add(
            Index(t, (t.stored, Index.Range()), where=t.relays != Null))

    @classmethod
    def relayed(cls, table):
        """Return the expression of what is relayed in the companies and the
        period of the context"""
        context = Transaction().context
        expression = table.relays != Null
        if from_ := context.get('from_date'):
            expression &= table.stored >= _start(from_)
        if to := context.get('to_date'):
            expression &= table.stored < _start(to) + DAY
        return expression


def _start(date):
    return dt.datetime.combine(date, dt.time())


class Period(ModelView):
    __name__ = 'cooperative.trust.period'

    from_date = fields.Date("From Date",
        domain=[
            If(Eval('to_date') & Eval('from_date'),
                ('from_date', '<=', Eval('to_date')),
                ()),
            ])
    to_date = fields.Date("To Date",
        domain=[
            If(Eval('from_date') & Eval('to_date'),
                ('to_date', '>=', Eval('from_date')),
                ()),
            ])

    @classmethod
    def default_from_date(cls):
        pool = Pool()
        Date = pool.get('ir.date')
        context = Transaction().context
        return context.get(
            'from_date', Date.today() - relativedelta(months=1))

    @classmethod
    def default_to_date(cls):
        pool = Pool()
        Date = pool.get('ir.date')
        return Transaction().context.get('to_date', Date.today())


class Traffic(ModelSQL, ModelView):
    __name__ = 'cooperative.trust.traffic'

    company = fields.Many2One('company.company', "Company")
    date = fields.Date("Date")
    community = fields.Many2One('cooperative.edi.peer', "Community")
    kind = fields.Selection('get_kinds', "Type")
    state = fields.Selection('get_states', "State", sort=False)
    number = fields.Integer("Messages")

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._order = [('date', 'DESC'), ('id', 'DESC')]

    @classmethod
    def table_query(cls):
        pool = Pool()
        Agreement = pool.get('cooperative.trust.agreement')
        Message = pool.get('cooperative.edi.message')
        Peer = pool.get('cooperative.edi.peer')
        message, received = Message.__table__(), Message.__table__()
        sender, recipient = Peer.__table__(), Peer.__table__()
        agreement = Agreement.__table__()
        community = Coalesce(agreement.community, Case(
                (sender.kind == 'community', sender.id),
                (recipient.kind == 'community', recipient.id)))
        # An expression with values is none to group by in PostgreSQL
        relayed = (message
            .join(received, condition=message.relays == received.id)
            .join(sender, condition=received.peer == sender.id)
            .join(recipient, condition=message.peer == recipient.id)
            .join(agreement, 'LEFT',
                condition=message.agreement == agreement.id)
            .select(
                message.id,
                message.company,
                cls.date.sql_cast(message.stored).as_('date'),
                community.as_('community'),
                message.kind,
                message.state,
                where=Message.relayed(message)))
        names = ['company', 'date', 'community', 'kind', 'state']
        columns = [getattr(relayed, name) for name in names]
        return relayed.select(
            Min(relayed.id).as_('id'),
            *[c.as_(name) for c, name in zip(columns, names)],
            Count(Literal(1)).as_('number'),
            group_by=columns)

    @classmethod
    def get_kinds(cls):
        return cls._selection('kind')

    @classmethod
    def get_states(cls):
        return cls._selection('state')

    @classmethod
    def _selection(cls, name):
        pool = Pool()
        Message = pool.get('cooperative.edi.message')
        return Message.fields_get([name])[name]['selection']

    def get_rec_name(self, name):
        return str(self.date)


class Queue(ModelSQL, ModelView):
    __name__ = 'cooperative.trust.queue'

    company = fields.Many2One('company.company', "Company")
    peer = fields.Many2One('cooperative.edi.peer', "Recipient")
    state = fields.Selection([
            ('waiting', "Waiting"),
            ('failed', "Failed"),
            ], "State", sort=False)
    reason = fields.Text("Reason")
    number = fields.Integer("Messages")
    oldest = fields.DateTime("Oldest")
    attempts = fields.Integer("Attempts",
        help="Those of the message that was tried most often.")
    silent_until = fields.Function(
        fields.DateTime("Next Call"), 'get_silent_until')

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._order = [('oldest', 'ASC'), ('id', 'ASC')]

    @classmethod
    def table_query(cls):
        pool = Pool()
        Message = pool.get('cooperative.edi.message')
        message = Message.__table__()
        return message.select(
            Min(message.id).as_('id'),
            message.company.as_('company'),
            message.peer.as_('peer'),
            message.state.as_('state'),
            message.error.as_('reason'),
            Count(Literal(1)).as_('number'),
            cls.oldest.sql_cast(Min(message.stored)).as_('oldest'),
            Max(message.attempts).as_('attempts'),
            where=(message.relays != Null) & message.state.in_(LIVING),
            group_by=[
                message.company, message.peer, message.state, message.error])

    def get_silent_until(self, name):
        return self.peer.silent_until

    def get_rec_name(self, name):
        return self.peer.rec_name

    @classmethod
    def search_rec_name(cls, name, clause):
        return [('peer.rec_name', *clause[1:])]

    @classmethod
    def view_attributes(cls):
        return super().view_attributes() + [
            ('/tree', 'visual',
                If(Eval('state') == 'failed', 'danger', '')),
            ]


class Usage(ModelSQL, ModelView):
    __name__ = 'cooperative.trust.usage'

    company = fields.Many2One('company.company', "Company")
    peer = fields.Many2One('cooperative.edi.peer', "Member")
    sent = fields.Integer("Sent")
    received = fields.Integer("Received")
    waiting = fields.Integer("Waiting",
        help="What waits for the member, or could not be handed over to it.")
    last = fields.DateTime("Last Message")

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._order = [('sent', 'DESC'), ('id', 'ASC')]

    @classmethod
    def table_query(cls):
        sides = Union(cls._sent(), cls._received(), all_=True)
        return sides.select(
            sides.peer.as_('id'),
            sides.company.as_('company'),
            sides.peer.as_('peer'),
            cls.sent.sql_cast(Sum(sides.sent)).as_('sent'),
            cls.received.sql_cast(Sum(sides.received)).as_('received'),
            cls.waiting.sql_cast(Sum(sides.waiting)).as_('waiting'),
            cls.last.sql_cast(Max(sides.last)).as_('last'),
            group_by=[sides.company, sides.peer])

    @classmethod
    def _sent(cls):
        pool = Pool()
        Message = pool.get('cooperative.edi.message')
        message, origin = Message.__table__(), Message.__table__()
        return (message
            .join(origin, condition=message.relays == origin.id)
            .select(
                origin.company.as_('company'),
                origin.peer.as_('peer'),
                Count(Literal(1)).as_('sent'),
                Literal(0).as_('received'),
                Literal(0).as_('waiting'),
                Max(message.stored).as_('last'),
                where=Message.relayed(message),
                group_by=[origin.company, origin.peer]))

    @classmethod
    def _received(cls):
        pool = Pool()
        Message = pool.get('cooperative.edi.message')
        message = Message.__table__()
        waiting = Case((message.state.in_(LIVING), 1), else_=0)
        return message.select(
            message.company.as_('company'),
            message.peer.as_('peer'),
            Literal(0).as_('sent'),
            Count(Literal(1)).as_('received'),
            Sum(waiting).as_('waiting'),
            Max(message.stored).as_('last'),
            where=Message.relayed(message),
            group_by=[message.company, message.peer])

    def get_rec_name(self, name):
        return self.peer.rec_name

    @classmethod
    def search_rec_name(cls, name, clause):
        return [('peer.rec_name', *clause[1:])]


class Overview(ModelSQL, ModelView):
    __name__ = 'cooperative.trust.overview'

    company = fields.Many2One('company.company', "Company")
    log = fields.Many2One('cooperative.trust.log', "Log")
    size = fields.Function(fields.Integer("Size"), 'get_log')
    pending = fields.Function(fields.Integer("Pending"), 'get_log')
    oldest_pending = fields.Function(
        fields.DateTime("Oldest Pending"), 'get_log')
    late = fields.Function(fields.Integer(
            "Late Promises",
            help="How many wait for longer than the log promises."),
        'get_log')
    signed = fields.Function(
        fields.DateTime("Last Checkpoint"), 'get_log')
    examined = fields.Function(fields.DateTime("Last Check"), 'get_log')
    faults = fields.Function(fields.Text("Faults",
            states={
                'invisible': ~Eval('faults'),
                }), 'get_log')
    health = fields.Function(fields.Selection([
                ('right', "In Order"),
                ('unknown', "Never Checked"),
                ('late', "Late"),
                ('wrong', "Damaged"),
                ], "Health", sort=False), 'get_health')
    day = fields.Function(fields.Integer(
            "Relayed within a Day"), 'get_traffic')
    week = fields.Function(fields.Integer(
            "Relayed within a Week"), 'get_traffic')
    waiting = fields.Function(fields.Integer("Waiting"), 'get_traffic')
    failed = fields.Function(fields.Integer("Failed"), 'get_traffic')
    oldest = fields.Function(fields.DateTime(
            "Oldest Waiting"), 'get_oldest')
    refused = fields.Function(fields.Integer(
            "Refused Today",
            help="How many requests were refused since midnight, UTC."),
        'get_refused')
    members = fields.Function(fields.Integer(
            "Active Members"), 'get_members')
    queues = fields.Function(fields.Many2Many(
            'cooperative.trust.queue', None, None, "Queues"), 'get_queues')

    @classmethod
    def table_query(cls):
        pool = Pool()
        Log = pool.get('cooperative.trust.log')
        log = Log.__table__()
        return log.select(
            log.id.as_('id'),
            log.company.as_('company'),
            log.id.as_('log'),
            where=log.vkey != Null)

    def get_rec_name(self, name):
        return self.log.rec_name

    @classmethod
    def search_rec_name(cls, name, clause):
        return [('log.rec_name', *clause[1:])]

    @classmethod
    def view_attributes(cls):
        visual = If(Eval('health') == 'wrong', 'danger',
            If(Eval('health') == 'late', 'warning', ''))
        return super().view_attributes() + [
            ('/tree/field[@name="health"]', 'visual', visual),
            ('/form//separator[@name="faults"]', 'states', {
                    'invisible': ~Eval('faults'),
                    }, ['faults']),
            ]

    @classmethod
    def get_log(cls, overviews, names):
        return {
            name: {o.id: getattr(o.log, name) for o in overviews}
            for name in names}

    def get_health(self, name):
        if self.log.faults:
            return 'wrong'
        if self.log.late:
            return 'late'
        return 'right' if self.log.examined else 'unknown'

    @classmethod
    @without_check_access
    def get_traffic(cls, overviews, names):
        pool = Pool()
        Message = pool.get('cooperative.edi.message')
        domains = {
            'day': ('stored', '>=', now() - DAY),
            'week': ('stored', '>=', now() - WEEK),
            'waiting': ('state', '=', 'waiting'),
            'failed': ('state', '=', 'failed'),
            }
        return {
            name: {o.id: Message.search_count([
                        ('company', '=', o.company.id),
                        ('relays', '!=', None),
                        domains[name],
                        ]) for o in overviews}
            for name in names}

    @without_check_access
    def get_oldest(self, name):
        pool = Pool()
        Message = pool.get('cooperative.edi.message')
        messages = Message.search([
                ('company', '=', self.company.id),
                ('relays', '!=', None),
                ('state', '=', 'waiting'),
                ], order=[('stored', 'ASC')], limit=1)
        return messages[0].stored if messages else None

    @classmethod
    @without_check_access
    def get_refused(cls, overviews, name):
        "What is refused belongs to the instance, not to a company"
        pool = Pool()
        Refusal = pool.get('cooperative.edi.refusal')
        count = sum(r.count for r in Refusal.search(
                [('date', '=', now().date())]))
        return dict.fromkeys(map(int, overviews), count)

    @without_check_access
    def get_members(self, name):
        pool = Pool()
        Member = pool.get('cooperative.trust.member')
        members = Member.search([
                ('community.company', '=', self.company.id),
                ('peer.kind', '=', 'participant'),
                ('state', '=', 'active'),
                ])
        return len({m.peer for m in members})

    def get_queues(self, name):
        pool = Pool()
        Queue = pool.get('cooperative.trust.queue')
        return [q.id for q in Queue.search(
                [('company', '=', self.company.id)])]
