# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What else the trust party records of a message: that it was refused,
placed at the disposal of its recipient, or not delivered"""
import datetime as dt

from trytond.i18n import gettext
from trytond.model import ModelSQL, ModelView, Unique, fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Eval
from trytond.transaction import Transaction

from trycoton.protocol import canonical, entry
from trycoton.protocol.entry import Record
from trycoton.protocol.errors import ProtocolError

from .identity import now
from .peer import RETRY_MAX, naive

# How long the end of a message is asked for
CLOSING_LAST = dt.timedelta(days=90)
EVENTS = [
    (entry.REJECTION, "Submission Refused"),
    (entry.CONSIGNMENT, "Placed in the Mailbox"),
    (entry.FAILURE, "Not Delivered"),
    ]
FAILURES = [
    (None, ""),
    (entry.REFUSED, "Refused by the Recipient"),
    (entry.UNREACHABLE, "Recipient Not Reached"),
    (entry.EXPIRED, "Not Fetched in Time"),
    (entry.GIVEN_UP, "Given Up by the Trust Party"),
    ]


class Event(ModelSQL, ModelView):
    __name__ = 'cooperative.edi.message.event'

    message = fields.Many2One(
        'cooperative.edi.message', "Message", required=True, readonly=True,
        ondelete='CASCADE')
    event = fields.Selection(
        EVENTS, "Event", required=True, readonly=True, sort=False)
    event_string = event.translated('event')
    time = fields.DateTime("Time", required=True, readonly=True,
        help="When it happened, by the clock of the trust party.")
    index = fields.Integer("Log Entry", required=True, readonly=True,
        help="The number of the entry in the log of the trust party.")
    reason = fields.Char("Reason", readonly=True)
    text = fields.Text("Explanation", readonly=True)
    record = fields.Binary("Proof", readonly=True, filename='record_name',
        help="Proves that the log of the trust party holds the event.")
    record_name = fields.Function(
        fields.Char("Proof Name"), 'get_record_name')

    __access__ = {'message'}

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_constraints += [
            ('event_unique', Unique(t, t.message, t.event),
                'cooperative_edi.msg_event_unique'),
            ]
        cls._order = [
            ('message', 'ASC'), ('index', 'ASC'), ('id', 'ASC')]

    def get_rec_name(self, name):
        return f'{self.event_string} - {self.message.rec_name}'

    @classmethod
    def search_rec_name(cls, name, clause):
        return [('message.rec_name', *clause[1:])]

    def get_record_name(self, name):
        return f'{self.message.kind}-{self.message.uuid}.{self.event}.json'

    @classmethod
    def of(cls, message, record):
        "Return the event that the record proves, not saved"
        event = record.event
        return cls(
            message=message, event=event.event, time=naive(event.time),
            index=record.inclusion.index, reason=event.reason,
            text=event.text, record=record.to_bytes())

    @property
    def in_words(self):
        "What happened, in a line"
        words = gettext(
            'cooperative_edi.msg_event_' + self.event.replace('-', '_'),
            trust_party=self.message.trust_party.rec_name,
            reason=self.reason_words)
        return ' – '.join(filter(None, [words, self.text]))

    @property
    def reason_words(self):
        "The reason in words, if it is one of those known here"
        if self.reason in entry.FAILURES:
            return gettext(
                'cooperative_edi.msg_failure_'
                + self.reason.replace('-', '_'))
        return self.reason


class Message(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.message'

    events = fields.One2Many(
        'cooperative.edi.message.event', 'message', "Events", readonly=True,
        help="What else the log of the trust party holds of the message.")
    failure = fields.Selection(FAILURES, "Not Delivered", readonly=True,
        sort=False,
        states={
            'invisible': ~Eval('failure'),
            },
        help="Why the trust party has closed the message without "
        "delivering it.")

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._transitions.add(('sent', 'cancelled'))
        undelivered = (
            (Eval('direction') == 'out')
            & (Eval('state') == 'sent') & Eval('failure'))
        cls._buttons['give_up']['invisible'] &= ~undelivered
        cls._buttons['give_up']['depends'].append('failure')
        cls._buttons.update(
            send_again={
                'invisible': ~undelivered,
                'depends': ['direction', 'state', 'failure'],
                },
            )

    @classmethod
    def copy(cls, messages, default=None):
        default = default.copy() if default is not None else {}
        default.setdefault('events')
        default.setdefault('failure')
        return super().copy(messages, default=default)

    @property
    def is_undelivered(self):
        "Tell if somebody must decide what becomes of the message"
        return (
            self.direction == 'out' and self.state == 'sent'
            and bool(self.failure))

    @classmethod
    @ModelView.button
    def cancel(cls, messages):
        # What is under way cannot be called back
        super().cancel([
                m for m in messages
                if m.state != 'sent' or m.is_undelivered])

    @classmethod
    @ModelView.button
    def send_again(cls, messages):
        for message in messages:
            if message.is_undelivered:
                message._send_again()
        cls.call_courier(messages)

    def _send_again(self):
        "Say the same in a new message, as the former one is closed"
        if self.relation:
            self._reroute(self.relation.current or self.relation)
        else:
            content = self.parsed
            self.send_statement(
                self.peer, content.kind, content.body, origin=self.origin,
                answers=self.answers)
        self.error = gettext('cooperative_edi.msg_message_sent_again')
        self.save()
        self.cancel([self])

    @classmethod
    def abandon(cls, messages, reason):
        undelivered = [m for m in messages if m.is_undelivered]
        super().abandon(
            [m for m in messages if m not in undelivered], reason)
        cls._abandon(undelivered, reason)

    @classmethod
    def posted(cls, id_, response):
        super().posted(id_, response)
        message = cls(id_)
        if message.state == 'failed' and message.trust_party:
            message._keep_rejection(response)

    def _keep_rejection(self, response):
        "Keep what the trust party proves of its refusal"
        try:
            record = canonical.load(response.data)['record']
        except (ProtocolError, KeyError, TypeError):
            return
        self.keep_records({entry.REJECTION: record})

    def _keep_records(self, records):
        with Transaction().set_context(language=self._language):
            self._keep_events(records)
        super()._keep_records(records)

    def _keep_events(self, records):
        known = {e.event for e in self.events}
        for event, _ in EVENTS:
            if not records.get(event) or event in known:
                continue
            try:
                record = Record.from_json(records[event])
                self._check_record(event, record)
            except ProtocolError as exception:
                self._refuse_record(event, records[event], exception)
                continue
            self._keep_event(record)
            self._recorded(record)

    def _keep_event(self, record):
        pool = Pool()
        Event = pool.get('cooperative.edi.message.event')
        event = Event.of(self, record)
        event.save()
        if event.event != entry.FAILURE:
            return
        self.failure = event.reason
        if self.direction == 'out':
            self.error = event.in_words

    def _schedule_proof(self):
        super()._schedule_proof()
        if self.failure and self.delivery_record:
            # Both are kept: they show what the trust party did
            self.error = gettext(
                'cooperative_edi.msg_event_contradiction',
                trust_party=self.trust_party.rec_name)
        if self.failure:
            self.proof_at = None
        elif (not self.proof_at and self.submission_record
                and not self.delivery_record
                and naive(now()) - self.stored < CLOSING_LAST):
            self.proof_at = naive(now()) + dt.timedelta(seconds=RETRY_MAX)

    def _records(self):
        "Return the Records of the events of the message, in their order"
        records = {r.event.event: r for r in super()._records()}
        for event in self.events:
            records[event.event] = Record.parse(bytes(event.record))
        if entry.SUBMISSION in records:
            # Refused at first, it was taken in later
            records.pop(entry.REJECTION, None)
        if entry.DELIVERY in records:
            records.pop(entry.FAILURE, None)
        return [records[e] for e in entry.EVENTS if e in records]
