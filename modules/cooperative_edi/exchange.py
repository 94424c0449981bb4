# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Where a document is, in words, for those who trade"""
import datetime as dt

from sql import Null
from sql.aggregate import Max
from sql.conditionals import Case, Coalesce
from trytond.i18n import gettext
from trytond.model import ModelSQL, ModelView, fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Eval, If
from trytond.tools import grouped_slice
from trytond.tools.timezone import UTC, get_tzinfo
from trytond.transaction import Transaction, without_check_access

from trycoton.protocol.entry import Record
from trycoton.protocol.receipt import Receipt

PROGRESS = [
    ('waiting', "To Send"),
    ('sent', "Sent"),
    ('recorded', "Recorded"),
    ('undelivered', "Not Delivered"),
    ('delivered', "Delivered"),
    ('opened', "Read"),
    ('answered', "Answered"),
    ('received', "Received"),
    ('parked', "Parked"),
    ('held', "Held"),
    ('refused', "Refused"),
    ('failed', "Failed"),
    ('cancelled', "Given Up"),
    ]
# The documents that tell what somebody decided
RESPONSES = ['order_response', 'receipt_advice', 'invoice_response']
# The code of what only says that a document arrived
ACKNOWLEDGED = 'AB'
SLICE = 1000
CODES = {'AB', 'IP', 'UQ', 'CA', 'RE', 'AP', 'PD'}


def in_words(document):
    "Return how the document answers, with its text"
    code = getattr(document, 'code', None)
    words = [gettext(f'cooperative_edi.msg_answer_{code}')
        if code in CODES else None]
    lines = getattr(document, 'lines', ())
    reasons = getattr(document, 'reasons', ())
    words += [getattr(document, n, None) for n in ['note', 'text']]
    words += [r.text for r in reasons]
    words += [getattr(l, 'text', None) or getattr(l, 'reject_reason', None)
        for l in lines]
    return '\n'.join(dict.fromkeys(filter(None, words)))


def visual(name):
    "Return the colour of the progress of that name"
    state = Eval(name)
    return If(state.in_(['refused', 'failed', 'undelivered']), 'danger',
        If(state.in_(['held', 'parked', 'cancelled']), 'warning',
            If(state.in_(['answered', 'opened']), 'success',
                If(state == 'waiting', 'muted', ''))))


class Message(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.message'

    opened = fields.DateTime("Read", readonly=True,
        help="When a person of the recipient opened it, as far as the "
        "recipient tells.")

    @classmethod
    def progress(cls, table):
        "Return the expression of how far the message of the table is"
        answer = cls.__table__()
        answered = table.id.in_(answer.select(
                answer.answers,
                where=(answer.direction == 'in')
                & (answer.state == 'processed')
                & answer.kind.in_(RESPONSES)
                & (answer.answers != Null)
                & (Coalesce(answer.code, '') != ACKNOWLEDGED)))
        return Case(
            (table.state.in_(['parked', 'held', 'refused', 'failed']),
                table.state),
            (table.direction == 'in', 'received'),
            (table.state.in_(['waiting', 'cancelled']), table.state),
            (answered, 'answered'),
            (table.failure != Null, 'undelivered'),
            (table.opened != Null, 'opened'),
            (table.receipt != Null, 'delivered'),
            (table.submission_record != Null, 'recorded'),
            else_='sent')

    @property
    def progress_times(self):
        "The times of the way of the message, from what was signed, in UTC"
        times = dict.fromkeys(
            ['sent', 'recorded', 'log_index', 'delivered', 'opened'])
        if self.submission_record:
            record = Record.parse(bytes(self.submission_record))
            times['recorded'] = _naive(record.event.time)
            times['log_index'] = record.inclusion.index
        for data in [self.relay_receipt, self.receipt]:
            if data and self.direction == 'out' and not times['sent']:
                times['sent'] = _naive(Receipt.parse(bytes(data)).time)
        if self.direction == 'in':
            times['sent'] = self.created
            times['delivered'] = self.stored
        elif self.receipt:
            times['delivered'] = _naive(
                Receipt.parse(bytes(self.receipt)).time)
        times['opened'] = self.opened
        return times

    @property
    def answers_received(self):
        "What the recipient answered, in order"
        return self.search([
                ('answers', '=', self.id),
                ('direction', '!=', self.direction),
                ('state', '=', 'processed'),
                ], order=[('id', 'ASC')])

    @property
    def answer_in_words(self):
        document = self.document
        return in_words(document) if document else ''

    @property
    def story(self):
        "The life of the message in words, a line for each event"
        times = self.progress_times
        lines = [(self.created, gettext(
                    f'cooperative_edi.msg_exchange_written_{self.direction}',
                    document=self.document_name,
                    party=self.peer.rec_name if self.peer else ''))]
        for name in ['sent', 'recorded', 'delivered', 'opened']:
            if times[name] and (name, self.direction) != ('sent', 'in'):
                lines.append((times[name], gettext(
                            f'cooperative_edi.msg_exchange_{name}',
                            index=times['log_index'],
                            trust_party=(self.trust_party.rec_name
                                if self.trust_party else ''),
                            party=self._reader)))
        lines += [(e.time, e.in_words) for e in self.events]
        for answer in self.answers_received:
            if text := answer.answer_in_words:
                lines.append((answer.created, text.replace('\n', " – ")))
        lines.sort(key=lambda l: l[0])
        texts = [f"{self._local(time)}  {text}" for time, text in lines]
        if self.state == 'waiting' and self.attempts:
            texts.append(gettext(
                    'cooperative_edi.msg_exchange_attempts',
                    attempts=self.attempts))
        if self.attempts and self.due:
            texts.append(gettext(
                    'cooperative_edi.msg_exchange_next',
                    time=self._local(self.due)))
        if self.error:
            texts.append(self.error)
        return '\n'.join(texts)

    @property
    def _reader(self):
        party = (
            self.peer if self.direction == 'out' else self.company)
        return party.rec_name if party else ''

    @property
    def document_name(self):
        return ' '.join(filter(None, [self.kind_string, self.document_number]))

    def _local(self, time):
        "Return the time in words where the company is"
        pool = Pool()
        Lang = pool.get('ir.lang')
        company = self.company
        zone = get_tzinfo(company.timezone) if company.timezone else UTC
        lang = Lang.get()
        return lang.strftime(
            time.replace(tzinfo=dt.timezone.utc).astimezone(zone),
            f'{lang.date} %H:%M')


def _naive(time):
    return time.astimezone(dt.timezone.utc).replace(tzinfo=None)


class Exchange(ModelSQL, ModelView):
    __name__ = 'cooperative.edi.exchange'

    company = fields.Many2One('company.company', "Company")
    party = fields.Many2One(
        'party.party', "Party",
        context={
            'company': Eval('company', -1),
            },
        depends={'company'})
    origin = fields.Reference("Record", 'get_origins')
    message = fields.Many2One('cooperative.edi.message', "Message")
    direction = fields.Selection([
            ('in', "In"),
            ('out', "Out"),
            ], "Direction")
    kind = fields.Selection('get_kinds', "Document")
    number = fields.Char("Number")
    created = fields.DateTime("Date")
    sent = fields.Function(fields.DateTime("Sent"), 'get_times')
    recorded = fields.Function(fields.DateTime(
            "Recorded",
            help="When the trust party took it into its log."),
        'get_times')
    log_index = fields.Function(fields.Integer(
            "Log Entry",
            help="The number of the entry in the log of the trust party."),
        'get_times')
    delivered = fields.Function(fields.DateTime(
            "Delivered",
            help="When the other instance signed that it had stored it."),
        'get_times')
    opened = fields.DateTime("Read",
        help="When a person opened it, told only where that company chose "
        "to tell it.")
    answer = fields.Function(fields.Text(
            "Answer",
            help="What the document says, or what was answered to it."),
        'get_words')
    story = fields.Function(fields.Text("Life"), 'get_words')
    error = fields.Text("Error",
        states={
            'invisible': ~Eval('error'),
            })
    state = fields.Selection(PROGRESS, "State", sort=False)
    state_string = state.translated('state')

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._order = [('created', 'ASC'), ('id', 'ASC')]

    @classmethod
    def table_query(cls):
        pool = Pool()
        Message = pool.get('cooperative.edi.message')
        Peer = pool.get('cooperative.edi.peer')
        table = Message.__table__()
        peer = Peer.__table__()
        return (table
            .join(peer, 'LEFT', condition=table.peer == peer.id)
            .select(
                table.id.as_('id'),
                table.company.as_('company'),
                peer.party.as_('party'),
                table.origin.as_('origin'),
                table.id.as_('message'),
                table.direction.as_('direction'),
                table.kind.as_('kind'),
                table.document_number.as_('number'),
                table.created.as_('created'),
                table.opened.as_('opened'),
                table.error.as_('error'),
                Message.progress(table).as_('state'),
                where=(table.origin != Null)
                & (table.kind != 'message_level_response')))

    @classmethod
    def get_origins(cls):
        pool = Pool()
        Message = pool.get('cooperative.edi.message')
        return Message.get_origins()

    @classmethod
    def get_kinds(cls):
        pool = Pool()
        Message = pool.get('cooperative.edi.message')
        return Message.fields_get(['kind'])['kind']['selection']

    def get_rec_name(self, name):
        return self.message.document_name

    @classmethod
    def search_rec_name(cls, name, clause):
        return [('number', *clause[1:])]

    @classmethod
    def view_attributes(cls):
        return super().view_attributes() + [
            ('/tree/field[@name="state"]', 'visual', visual('state')),
            ]

    @classmethod
    @without_check_access
    def get_times(cls, exchanges, names):
        times = {e.id: e.message.progress_times for e in exchanges}
        return {
            name: {id_: values[name] for id_, values in times.items()}
            for name in names}

    @classmethod
    @without_check_access
    def get_words(cls, exchanges, names):
        words = {
            'answer': lambda e: e._answer(),
            'story': lambda e: e.message.story,
            }
        return {name: {e.id: words[name](e) for e in exchanges}
            for name in names}

    def _answer(self):
        if self.kind in RESPONSES:
            return self.message.answer_in_words
        texts = [
            a.answer_in_words for a in self.message.answers_received
            if a.kind in RESPONSES and a.code != ACKNOWLEDGED]
        return '\n'.join(filter(None, texts))


class ProgressMixin:
    "A record that people follow"
    __slots__ = ()

    edi_exchanges = fields.One2Many(
        'cooperative.edi.exchange', 'origin', "Follow-Up", readonly=True,
        help="What was sent and received for this, and where it is.")
    edi_progress = fields.Function(fields.Selection(
            [(None, "")] + PROGRESS, "Progress", sort=False,
            states={
                'invisible': ~Eval('edi_progress'),
                },
            help="Where the last document is that was sent or received for "
            "this."),
        'get_edi_progress', searcher='search_edi_progress')

    @classmethod
    def view_attributes(cls):
        return super().view_attributes() + [
            ('/tree/field[@name="edi_progress"]', 'visual',
                visual('edi_progress')),
            ]

    @classmethod
    def copy(cls, records, default=None):
        default = default.copy() if default is not None else {}
        default.setdefault('edi_exchanges', None)
        return super().copy(records, default=default)

    @classmethod
    def _edi_last(cls, origins=None):
        """Return the query of the last exchange of the records: its origin
        and its state"""
        pool = Pool()
        Exchange = pool.get('cooperative.edi.exchange')
        Message = pool.get('cooperative.edi.message')
        message = Message.__table__()
        where = (message.origin.like(f'{cls.__name__},%')
            & (message.kind != 'message_level_response')
            & (Coalesce(message.code, '') != ACKNOWLEDGED))
        if origins is not None:
            where &= message.origin.in_(origins)
        last = message.select(
            Max(message.id).as_('id'), where=where, group_by=message.origin)
        exchange = Exchange.table_query()
        answered = (
            (exchange.direction == 'in')
            & (exchange.state == 'received')
            & exchange.kind.in_(RESPONSES))
        return exchange.select(
            exchange.origin.as_('origin'),
            Case((answered, 'answered'), else_=exchange.state).as_('state'),
            where=exchange.id.in_(last))

    @classmethod
    def get_edi_progress(cls, records, name):
        cursor = Transaction().connection.cursor()
        result = dict.fromkeys(map(int, records))
        ids = {str(r): r.id for r in records}
        for origins in grouped_slice(list(ids), SLICE):
            cursor.execute(*cls._edi_last(list(origins)))
            for origin, state in cursor:
                result[ids[origin]] = state
        return result

    @classmethod
    def search_edi_progress(cls, name, clause):
        pool = Pool()
        Message = pool.get('cooperative.edi.message')
        _, operator, value = clause
        values = value if operator in {'in', 'not in'} else [value]
        last = cls._edi_last()
        id_ = Message.origin.sql_id(last.origin, cls)
        found = last.select(
            id_, where=last.state.in_([v for v in values if v] or ['']))
        domain = ['OR', ('id', 'in', found)]
        if None in values:
            domain.append(('id', 'not in', last.select(id_)))
        if operator in {'=', 'in'}:
            return domain
        return [('id', 'not in', cls.search(domain, query=True))]


class Payment(metaclass=PoolMeta):
    __name__ = 'account.payment'

    edi_exchanges = fields.Function(fields.Many2Many(
            'cooperative.edi.exchange', None, None, "Follow-Up",
            help="What was sent to tell of the payment, and where it is."),
        'get_edi_exchanges')

    @classmethod
    @without_check_access
    def get_edi_exchanges(cls, payments, name):
        pool = Pool()
        Exchange = pool.get('cooperative.edi.exchange')
        origins = {str(p) for p in payments}
        origins |= {str(p.group) for p in payments if p.group}
        result = {p.id: [] for p in payments}
        exchanges = Exchange.search([('origin', 'in', list(origins))])
        for payment in payments:
            result[payment.id] = [
                e.id for e in exchanges
                if e.origin in {payment, payment.group}
                and e.party == payment.party]
        return result
