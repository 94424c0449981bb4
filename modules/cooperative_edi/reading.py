# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Telling a partner that a person opened what it sent, if we choose to"""
from trytond.i18n import gettext
from trytond.model import ModelView, fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Bool, Eval
from trytond.transaction import without_check_access

from trycoton.protocol import canonical
from trycoton.protocol.errors import ProtocolError
from trycoton.protocol.record import DIGEST, TIME, UUID

from .exceptions import DocumentRefused
from .identity import now
from .peer import naive

READ = 'document-read'


class Identity(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.identity'

    tell_opened = fields.Boolean(
        "Tell When Read",
        help="Tell the partners when a person here reads what they sent: "
        "the time at which somebody presses \"Mark as Read\" on the record "
        "is sent to them, once for each document, signed.\n"
        "The name of the person is not told.\n"
        "Leave unchecked to tell nothing.")


class Message(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.message'

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls.kind.selection += [(READ, "Read Notice")]

    @property
    def untold(self):
        "Tell if the sender may still be told that a person reads it"
        pool = Pool()
        Identity = pool.get('cooperative.edi.identity')
        return (self.direction == 'in' and not self.opened
            and bool(Identity.search([
                        ('company', '=', self.company.id),
                        ('tell_opened', '=', True),
                        ])))

    @classmethod
    @without_check_access
    def tell_opened(cls, messages):
        "Tell the senders, once, that a person reads the messages"
        time = now()
        for message in messages:
            if not message.untold:
                continue
            message.opened = naive(time)
            message.save()
            cls.send_statement(message.peer, READ, {
                    'message': message.uuid,
                    'digest': message.digest,
                    'time': canonical.format_time(time),
                    })

    def fail(self, error):
        super().fail(error)
        if self.kind == READ:
            # Nobody has to do anything about it
            self.cancel([self])


class Document(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.document'

    @classmethod
    def receive_document_read(cls, message, body):
        "Note on the message sent when a person of the peer opened it"
        pool = Pool()
        Message = pool.get('cooperative.edi.message')
        try:
            uuid = UUID.load(body.get('message'))
            digest = DIGEST.load(body.get('digest'))
            time = naive(TIME.load(body.get('time')))
        except ProtocolError as exception:
            raise DocumentRefused('SV', gettext(
                    'cooperative_edi.msg_relation_body',
                    error=str(exception))) from exception
        messages = Message.search([
                ('company', '=', message.company.id),
                ('direction', '=', 'out'),
                ('peer', '=', message.peer.id),
                ('uuid', '=', uuid),
                ('digest', '=', digest),
                ])
        if not messages:
            raise DocumentRefused('BV', gettext(
                    'cooperative_edi.msg_document_reference', number=uuid))
        sent, = messages
        # Nobody reads it before it is written, or tomorrow
        time = min(max(time, sent.created), naive(now()))
        sent.opened = min(filter(None, [sent.opened, time]))
        sent.save()


class ReadMixin:
    "A record made of a message, that a person reads"
    __slots__ = ()

    edi_to_open = fields.Function(
        fields.Boolean("To Mark as Read"), 'get_edi_to_open')

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._buttons.update(
            edi_open={
                'invisible': ~Bool(Eval('edi_to_open')),
                'depends': ['edi_to_open'],
                },
            )

    @without_check_access
    def get_edi_to_open(self, name):
        return bool(self.edi_message and self.edi_message.untold)

    @classmethod
    @ModelView.button
    def edi_open(cls, records):
        pool = Pool()
        Message = pool.get('cooperative.edi.message')
        Message.tell_opened([r.edi_message for r in records if r.edi_message])


class Sale(ReadMixin, metaclass=PoolMeta):
    __name__ = 'sale.sale'


class ShipmentIn(ReadMixin, metaclass=PoolMeta):
    __name__ = 'stock.shipment.in'


class Invoice(ReadMixin, metaclass=PoolMeta):
    __name__ = 'account.invoice'
