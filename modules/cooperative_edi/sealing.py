# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Messages that the recipient alone reads.

A relation is sealed when both sides agreed so: its documents travel encrypted
to a key of their recipient, and the trust party sees who, to whom and when.
What is sent and received is kept as it was signed, and beside it, encrypted
as the private keys are, the key of its content.
"""
import dataclasses

from trytond.exceptions import UserError
from trytond.i18n import gettext
from trytond.model import fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Eval
from trytond.transaction import Transaction

from trycoton.protocol import canonical, envelope, seal, signature
from trycoton.protocol.commission import Total
from trycoton.protocol.errors import ProtocolError

from . import keystore
from .exceptions import (
    DocumentHeld, DocumentRefused, SealKeyMissingError, SealRelationError)
from .http import Problem
from .identity import now
from .peer import naive
from .reception import Outline
from .transaction import hold

KIND = envelope.SEALED_KIND
# The documents that tell the total of what they answer
CONFIRMING = {'invoice_response'}


class Relation(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.relation'

    def check_route(self):
        super().check_route()
        self.check_sealed()

    def check_sealed(self):
        "Raise an error if the two cannot seal for each other"
        if not self.sealed:
            return
        if self.peer.kind != 'participant':
            raise SealRelationError(gettext(
                    'cooperative_edi.msg_relation_sealed',
                    relation=self.rec_name, peer=self.peer.rec_name))
        self.peer.get_encryption_key()

    @classmethod
    def agree(cls, relations):
        for relation in relations:
            relation.check_sealed()
        super().agree(relations)

    @property
    def agreeable(self):
        if not super().agreeable:
            return False
        if not self.sealed and self.find(
                self.company.id, self.peer.id, sealed=True):
            # A person tells if what was sealed may go in clear
            return False
        try:
            self.check_sealed()
        except UserError:
            # A person is told why
            return False
        return True

    @property
    def sealed_for(self):
        "The id of the key to seal what is sent to us, None if it is in clear"
        pool = Pool()
        Identity = pool.get('cooperative.edi.identity')
        if self.sealed:
            return Identity.get(self.company.id).encryption_kid

    @property
    def tells_total(self):
        "Tell if somebody counts on the totals of the sealed invoices"
        return False


class Identity(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.identity'

    @property
    def encryption_kid(self):
        for key in self.keys:
            if key.purpose == 'encryption' and not key.valid_to:
                return key.kid

    def renew_encryption(self, revoked=None):
        """Replace the encryption key.  Those before it are kept: what was
        sealed for them is still to be read"""
        pool = Pool()
        Key = pool.get('cooperative.edi.identity.key')
        for key in self.keys:
            if key.purpose != 'encryption':
                continue
            if revoked:
                key.valid_to = key.valid_to or revoked
                key.revoked = key.revoked or revoked
                key.save()
            elif not key.valid_to:
                self._retire(key)
        Key.add(self, 'encryption', signature.EncryptionKey.generate())


class IdentityKey(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.identity.key'

    @classmethod
    def decryption_keys(cls, identity, kid):
        "Return by its id the private encryption key of that id, if it is ours"
        table = cls.__table__()
        secret = keystore.unseal_first(table,
            (table.identity == identity.id)
            & (table.purpose == 'encryption')
            & (table.kid == kid))
        if not secret:
            return {}
        return {kid: signature.EncryptionKey.from_bytes(secret)}


class Peer(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.peer'

    def get_encryption_key(self):
        """Return the public key to seal for: one that counts, among those
        that the peer itself named if it did: a directory is the word of
        another, who could name a key of its own"""
        time = naive(now())
        keys = [k for k in self.keys if k.purpose == 'encryption']
        keys = [k for k in keys if k.announced] or keys
        keys = [k for k in keys if k.valid and k.valid_from <= time]
        if not keys:
            raise SealKeyMissingError(gettext(
                    'cooperative_edi.msg_seal_key_missing',
                    peer=self.rec_name))
        return max(keys, key=lambda k: (not k.valid_to, -k.id)).public_key

    def name_encryption_key(self, kid):
        "Keep that the peer itself named the key to seal for"
        for key in self.keys:
            if key.purpose == 'encryption' and key.kid == kid and key.valid:
                key.announced = True
                key.save()
                return
        raise DocumentHeld(gettext(
                'cooperative_edi.msg_seal_key_unknown',
                peer=self.rec_name, key=kid))


class Message(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.message'

    encrypted = fields.Boolean("End-to-End Encrypted", readonly=True,
        states={
            'invisible': ~Eval('encrypted'),
            },
        help="Its content is encrypted: the sender and the recipient alone "
        "can read it.")
    clear = fields.Function(fields.Binary(
            "Content", filename='filename',
            states={
                'invisible': ~Eval('encrypted'),
                },
            help="What the message says, in clear."),
        'get_clear')

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls.kind.selection += [(KIND, "Sealed Document")]

    @classmethod
    def __register__(cls, module):
        super().__register__(module)
        keystore.register(cls, module)

    def get_filename(self, name):
        if self.kind == KIND:
            return f'{self.kind}-{self.uuid}.txt'
        return super().get_filename(name)

    def get_clear(self, name):
        "Return the document or statement in clear, None when it is not open"
        if not self.encrypted or not self.content_key:
            return
        message = self.parsed
        content = (message.payload if isinstance(message, envelope.Envelope)
            else canonical.dump(message.body))
        format_ = Transaction().context.get(f'{self.__name__}.{name}', '')
        return len(content) if format_ == 'size' else content

    # Sending

    @property
    def to_seal(self):
        "Tell if the message is to be sealed"
        pool = Pool()
        Relation = pool.get('cooperative.edi.relation')
        if self.relation:
            return self.relation.sealed
        return self.kind in seal.STATEMENTS and bool(Relation.find(
                self.company.id, self.peer.id, sealed=True))

    def _sign(self, Envelope, **values):
        self.encrypted = self.to_seal
        if not self.encrypted:
            super()._sign(Envelope, **values)
            return
        key = self.peer.get_encryption_key()
        content_key = None

        def sealed(**values):
            nonlocal content_key
            message = Envelope(**values)
            sealed, content_key = seal.seal(
                message, key, total=self._get_total(message))
            return sealed
        super()._sign(sealed, **values)
        keystore.seal(self, content_key)

    def _get_total(self, message):
        """Return what the message in clear tells of itself or, once it was
        found right, of what it answers"""
        if self.kind in CONFIRMING and self.answers and self.answers.encrypted:
            return envelope.parse(bytes(self.answers.data)).total
        if self.relation and self.relation.tells_total:
            return Total.of(self._document_of(message))

    # Receiving

    @classmethod
    def _outline(cls, header):
        if seal.is_sealed(header):
            return Outline(KIND)
        return super()._outline(header)

    @classmethod
    def _admit(cls, arrival):
        relation = super()._admit(arrival)
        if relation and arrival.sealed != bool(relation.sealed):
            raise Problem.other_seal(arrival.header.relation)
        return relation

    @classmethod
    def _arrived(cls, arrival):
        values = super()._arrived(arrival)
        if arrival.sealed and not arrival.relayed:
            values['encrypted'] = True
        return values

    def _stored(self, arrival):
        super()._stored(arrival)
        if arrival.sealed and not arrival.relayed:
            self._try_open()

    def _try_open(self):
        "Read what the message is; what prevents it is told when it matters"
        try:
            self._open()
        except (ProtocolError, UserError):
            pass

    def _open(self):
        "Keep what the sealed message is, and the key of its content"
        opened, content_key = self._unseal()
        outline = self._outline(opened)
        self.kind = outline.kind
        self.document_number = outline.number
        self.save()
        keystore.seal(self, content_key)

    def _unseal(self):
        "Return the message in clear and the key of its content"
        pool = Pool()
        Identity = pool.get('cooperative.edi.identity')
        Key = pool.get('cooperative.edi.identity.key')
        message = envelope.parse(bytes(self.data))
        identity = Identity.get(self.company.id)
        return seal.unseal(message, Key.decryption_keys(
                identity, seal.kid_of(message)))

    @classmethod
    def process(cls, id_):
        if cls(id_).kind == KIND:
            message = hold(cls(id_))
            if message.state in {'received', 'parked'}:
                message._open_or_refuse()
        super().process(id_)

    def _open_or_refuse(self):
        try:
            self._open()
        except ProtocolError as exception:
            text = gettext(
                'cooperative_edi.msg_seal_refused', error=str(exception))
            if envelope.parse(bytes(self.data)).correlation:
                # Nobody answers an answer
                raise DocumentHeld(text) from exception
            raise DocumentRefused('SV', text) from exception

    @classmethod
    def not_processed(cls, id_, exception):
        message = hold(cls(id_))
        if message.kind == KIND and message.state in {'received', 'parked'}:
            # What it is tells if it may be answered
            message._try_open()
        super().not_processed(id_, exception)

    def prepare(self, content):
        super().prepare(content)
        if self.encrypted and self.kind in {'invoice', 'credit_note'}:
            self._check_total(content)

    def _check_total(self, document):
        "Refuse an invoice that does not tell its total, or another one"
        told = envelope.parse(bytes(self.data)).total
        if (told or self.relation.tells_total) and (
                told != Total.of(document)):
            raise DocumentRefused('BV', gettext(
                    'cooperative_edi.msg_seal_total',
                    told=str(told) if told else '-',
                    total=str(Total.of(document))), 'TCT-TOTAL')

    # Reading

    @property
    def content_key(self):
        "The key of the content of a sealed message, None when it is not open"
        return keystore.unseal_content(self)

    @property
    def parsed(self):
        message = super().parsed
        if not self.encrypted:
            return message
        if content_key := self.content_key:
            return seal.unseal_with(message, content_key)
        return self._unseal().message

    def _signed_message(self):
        message = super()._signed_message()
        if self.encrypted and (content_key := self.content_key):
            message = dataclasses.replace(message, content_key=content_key)
        return message


class Document(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.document'

    @classmethod
    def receive_relation_proposal(cls, message, body):
        if kid := cls._relation_body(message, body).sealed:
            message.peer.name_encryption_key(kid)
        return super().receive_relation_proposal(message, body)

    @classmethod
    def receive_relation_answer(cls, message, body):
        answer = cls._relation_body(message, body)
        if answer.agreed and answer.sealed:
            message.peer.name_encryption_key(answer.sealed)
        return super().receive_relation_answer(message, body)

    @classmethod
    def answer_message(cls, message, *args, **kwargs):
        try:
            return super().answer_message(message, *args, **kwargs)
        except SealKeyMissingError:
            # The answer could not be read either
            return
