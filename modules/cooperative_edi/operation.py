# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What operators do with messages that do not go through"""
from trytond.model import ModelView, fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Bool, Eval, If
from trytond.transaction import Transaction, without_check_access
from trytond.wizard import Button, StateTransition, StateView, Wizard

from .courier import CourierMixin
from .identity import now
from .message import RETRY_LAST
from .peer import naive

# The bytes to take away and the name of their file
FILES = {
    'receipt': 'receipt.json',
    'relay_receipt': 'relay-receipt.json',
    'refusal': 'refusal.json',
    'submission_record': 'submission.json',
    'delivery_record': 'delivery.json',
    'signature_file': 'jws',
    'receipt_signature_file': 'receipt.jws',
    'relay_receipt_signature_file': 'relay-receipt.jws',
    'refusal_signature_file': 'refusal.jws',
    }


class Message(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.message'

    retried = fields.DateTime("Tried Again", readonly=True,
        help="When a person last had the message tried again.")
    signature_file = fields.Function(fields.Binary(
            "Signature File", filename='signature_file_name',
            help="The detached signature of the message."),
        'get_signature_file')
    signature_file_name = fields.Function(
        fields.Char("Signature File Name"), 'get_filenames')
    receipt_name = fields.Function(
        fields.Char("Receipt Name"), 'get_filenames')
    receipt_signature_file = fields.Function(fields.Binary(
            "Signature File of the Receipt",
            filename='receipt_signature_file_name',
            states={
                'invisible': ~Eval('receipt_signature'),
                }),
        'get_signature_file')
    receipt_signature_file_name = fields.Function(
        fields.Char("Receipt Signature Name"), 'get_filenames')
    relay_receipt_name = fields.Function(
        fields.Char("Relay Receipt Name"), 'get_filenames')
    relay_receipt_signature_file = fields.Function(fields.Binary(
            "Signature File of the Receipt of the Trust Party",
            filename='relay_receipt_signature_file_name',
            states={
                'invisible': ~Eval('relay_receipt_signature'),
                }),
        'get_signature_file')
    relay_receipt_signature_file_name = fields.Function(
        fields.Char("Relay Receipt Signature Name"), 'get_filenames')
    submission_record_name = fields.Function(
        fields.Char("Proof of Submission Name"), 'get_filenames')
    delivery_record_name = fields.Function(
        fields.Char("Proof of Delivery Name"), 'get_filenames')

    @classmethod
    def __setup__(cls):
        super().__setup__()
        for name in FILES:
            getattr(cls, name).filename = f'{name}_name'
        cls._buttons.update(
            give_up={
                'invisible': (
                    (Eval('direction') != 'out')
                    | ~Eval('state').in_(
                        ['checking', 'waiting', 'held', 'failed'])),
                'depends': ['state', 'direction'],
                },
            )

    def get_filenames(self, name):
        return f"{self.kind}-{self.uuid}.{FILES[name.removesuffix('_name')]}"

    def get_signature_file(self, name):
        signature = getattr(self, name.removesuffix('_file'))
        return signature.encode('ascii') if signature else None

    @classmethod
    @ModelView.button_action('cooperative_edi.wizard_message_give_up')
    def give_up(cls, messages):
        pass

    @classmethod
    @ModelView.button
    def retry(cls, messages):
        super().retry(messages)
        cls.write([m for m in messages if m.state == 'waiting'], {
                'retried': naive(now()),
                })

    @property
    def _expired(self):
        since = max(filter(None, [self.stored, self.retried]))
        return naive(now()) - since > RETRY_LAST

    @classmethod
    def abandon(cls, messages, reason):
        "Send the messages no more, and tell the records why"
        messages = [
            m for m in messages
            if m.direction == 'out'
            and m.state in {'checking', 'waiting', 'held', 'failed'}]
        cls._abandon(messages, reason)

    @classmethod
    @without_check_access
    def _abandon(cls, messages, reason):
        "Give up the messages, and tell the records why"
        pool = Pool()
        Document = pool.get('cooperative.edi.document')
        cls.cancel(messages)
        cls.write(messages, {'error': reason, 'next_attempt': None})
        for message in messages:
            with Transaction().set_context(
                    company=message.company.id, _skip_warnings=True):
                Document.message_abandoned(message, reason)

    @classmethod
    def unanswered(cls, id_, error, wanted=0):
        super().unanswered(id_, error, wanted)
        message = cls(id_)
        if message.state == 'failed':
            message._fail_others(error)

    def _fail_others(self, error):
        "Have what waited as long for the same address fail as well"
        domain = [
            ('company', '=', self.company.id),
            ('direction', '=', 'out'),
            ('state', '=', 'waiting'),
            ]
        for message in self.search(domain):
            if message._hop == self._hop and message._expired:
                message.fail(error)


class Document(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.document'

    @classmethod
    def message_abandoned(cls, message, reason):
        "Do to the record what it means that the message is not sent"
        pool = Pool()
        Relation = pool.get('cooperative.edi.relation')
        if (message.kind == 'relation-proposal'
                and isinstance(message.origin, Relation)
                and message.origin.state == 'proposed'):
            relation = message.origin
            relation.state = 'ended'
            relation.reason = reason
            relation.save()


class Document_Purchase(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.document'

    @classmethod
    def message_abandoned(cls, message, reason):
        pool = Pool()
        Purchase = pool.get('purchase.purchase')
        super().message_abandoned(message, reason)
        purchase = message.origin
        if (message.kind == 'order'
                and isinstance(purchase, Purchase) and purchase.edi_held):
            Purchase.write(
                [purchase], {'edi_state': 'none', 'edi_answer': reason})
            Purchase.draft([purchase])


class Document_Sale(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.document'

    @classmethod
    def message_abandoned(cls, message, reason):
        pool = Pool()
        Shipment = pool.get('stock.shipment.out')
        super().message_abandoned(message, reason)
        if (message.kind == 'despatch_advice'
                and isinstance(message.origin, Shipment)):
            Shipment.write([message.origin], {
                    'edi_state': 'unsent', 'edi_answer': reason})


class Document_Invoice(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.document'

    @classmethod
    def message_abandoned(cls, message, reason):
        pool = Pool()
        Invoice = pool.get('account.invoice')
        super().message_abandoned(message, reason)
        if (message.kind in {'invoice', 'credit_note'}
                and isinstance(message.origin, Invoice)):
            Invoice.write([message.origin], {
                    'edi_state': 'unsent', 'edi_answer': reason})


class GiveUp(Wizard):
    __name__ = 'cooperative.edi.message.give_up'
    start = StateView(
        'cooperative.edi.message.give_up.start',
        'cooperative_edi.message_give_up_start_view_form', [
            Button("Cancel", 'end', 'tryton-cancel'),
            Button("Give Up", 'give_up', 'tryton-ok', default=True),
            ])
    give_up = StateTransition()

    def transition_give_up(self):
        self.model.abandon(list(self.records), self.start.reason)
        return 'end'


class GiveUpStart(ModelView):
    __name__ = 'cooperative.edi.message.give_up.start'

    reason = fields.Text("Reason", required=True,
        help="Shown on the record: an order goes back to draft, an invoice "
        "or a shipment is marked as not sent.\n"
        "The partner is told nothing, and may have received it if its "
        "answer was lost.")


class Peer(CourierMixin, metaclass=PoolMeta):
    __name__ = 'cooperative.edi.peer'

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._buttons.update(
            call={
                'invisible': ~Bool(Eval('silences')),
                'depends': ['silences'],
                },
            )

    @classmethod
    def view_attributes(cls):
        return super().view_attributes() + [
            ('/tree/field[@name="silent_until"]', 'visual',
                If(Bool(Eval('silent_until')), 'warning', '')),
            ]

    @classmethod
    @ModelView.button
    def call(cls, peers):
        "Try at once what waits for the peers"
        for peer in peers:
            peer.answered()
        cls.call_courier(peers)
