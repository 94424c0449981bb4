# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What a recipient does not take, under its signature: who relays a message
cannot invent that it was refused"""
from dataclasses import replace

from trytond.i18n import gettext
from trytond.model import fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Eval
from trytond.transaction import Transaction

from trycoton.protocol import entry, evidence
from trycoton.protocol.errors import ProtocolError, Rejected
from trycoton.protocol.receipt import Refusal

from . import courier
from .http import printable
from .identity import now


class Message(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.message'

    _states = {
        'invisible': ~Eval('refusal'),
        }
    refusal = fields.Binary("Refusal", readonly=True, states=_states,
        help="What the recipient signed when it did not take the message.")
    refusal_name = fields.Function(
        fields.Char("Refusal Name"), 'get_filenames')
    refusal_signature = fields.Text(
        "Refusal Signature", readonly=True, states=_states)
    refusal_signature_file = fields.Function(fields.Binary(
            "Signature File of the Refusal",
            filename='refusal_signature_file_name', states=_states),
        'get_signature_file')
    refusal_signature_file_name = fields.Function(
        fields.Char("Refusal Signature Name"), 'get_filenames')

    @classmethod
    def copy(cls, messages, default=None):
        default = default.copy() if default is not None else {}
        default.setdefault('refusal')
        default.setdefault('refusal_signature')
        return super().copy(messages, default=default)

    # Refusing

    @classmethod
    def authenticate(cls, arrivals):
        super().authenticate(arrivals)
        cls._decline(arrivals)

    @classmethod
    def receive_all(cls, arrivals, patient=True):
        super().receive_all(arrivals, patient)
        cls._decline(arrivals)

    @classmethod
    def _decline(cls, arrivals):
        """Sign that those are refused for good that are for one of us and
        really by their sender: who signs what others wrote must not have it
        refused"""
        for arrival in arrivals:
            problem = arrival.problem
            if (problem and not problem.retry and not problem.refusal
                    and arrival.signer and not arrival.relayed):
                problem.refusal = cls._refusal(arrival)

    @classmethod
    def _refusal(cls, arrival):
        "Return the text of the Refusal and its signature"
        pool = Pool()
        Peer = pool.get('cooperative.edi.peer')
        header, identity = arrival.header, arrival.identity
        trust_party = header.via and Peer.get(
            identity.company.id, header.via)
        refusal = Refusal(
            message=header.id, digest=header.digest,
            receiver=identity.identifier, time=now(),
            problem=arrival.problem.name,
            text=printable(
                arrival.problem.title, arrival.problem.detail) or None,
            checkpoint=trust_party.known_checkpoint if trust_party else None,
            ).to_bytes()
        return refusal.decode('utf-8'), identity.sign(refusal, Refusal.typ)

    # Refused

    @classmethod
    def posted(cls, id_, response):
        with Transaction().set_context(_answer=response.data):
            super().posted(id_, response)

    @classmethod
    def fetched(cls, peer, uuid, data):
        with Transaction().set_context(_answer=data):
            return super().fetched(peer, uuid, data)

    def fail(self, error):
        self._keep_refusal(Transaction().context.get('_answer'))
        super().fail(error)

    def _keep_refusal(self, data):
        """Keep the refusal that the recipient signed, if the answer has it:
        without it, the word of who asked is all there is"""
        answer = courier.parse_answer(data or b'')
        try:
            refusal = Refusal.open(
                answer['refusal'].encode('utf-8'), answer['signature'],
                self.peer.public_keys())
            self._check_refusal(refusal)
        except (ProtocolError, KeyError, AttributeError, UnicodeError):
            return
        self.refusal = refusal.to_bytes()
        self.refusal_signature = answer['signature']

    def _check_refusal(self, refusal):
        if ((refusal.message, refusal.digest, refusal.receiver)
                != (self.uuid, self.digest, self.recipient)):
            raise Rejected("the refusal is of something else")

    def _check_record(self, event, record):
        super()._check_record(event, record)
        if event == entry.FAILURE and record.event.receipt is not None:
            refusal = Refusal.open(
                record.event.receipt.encode('utf-8'), record.event.signature,
                {k.kid: k.public_key for k in self._recipient_keys()})
            self._check_refusal(refusal)

    def _recipient_keys(self):
        "Return the signing keys that the recipient has or had"
        pool = Pool()
        Identity = pool.get('cooperative.edi.identity')
        holder = (self.peer if self.direction == 'out'
            else Identity.get(self.company.id))
        return [k for k in holder.keys if k.purpose == 'signing']

    def _signed_message(self):
        message = super()._signed_message()
        if self.refusal and not message.receipt and not message.is_closed:
            message = replace(message, receipt=evidence.Signed(
                    data=bytes(self.refusal),
                    signature=self.refusal_signature))
        return message


class Event(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.message.event'

    signed = fields.Boolean("Signed by the Recipient", readonly=True,
        states={
            'invisible': (
                (Eval('event') != entry.FAILURE)
                | (Eval('reason') != entry.REFUSED)),
            },
        help="The recipient has signed that it refuses the message.\n"
        "Otherwise it is the word of the trust party alone.")

    @classmethod
    def of(cls, message, record):
        event = super().of(message, record)
        event.signed = record.event.receipt is not None
        return event

    @property
    def reason_words(self):
        if self.signed:
            return gettext('cooperative_edi.msg_failure_refused_signed')
        return super().reason_words
