# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Replacing keys, ours and those of the peers.

A new key is announced to each peer by a statement that the key before it or
the recovery key signs: nobody else can, a community included.
"""
import datetime as dt

from trytond.i18n import gettext
from trytond.model import ModelView, fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Eval
from trytond.transaction import without_check_access
from trytond.wizard import Button, StateTransition, StateView, Wizard

from trycoton.protocol import signature
from trycoton.protocol.announcement import KeyAnnouncement
from trycoton.protocol.descriptor import fingerprint
from trycoton.protocol.directory import PublishedKey
from trycoton.protocol.errors import ProtocolError, Rejected

from . import keystore
from .exceptions import DocumentRefused, RecoveryKeyError
from .http import Problem
from .identity import aware, now
from .peer import naive

KIND = KeyAnnouncement.kind
# How long what the key before signed is still on its way
OVERLAP = dt.timedelta(days=30)


class Identity(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.identity'

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._buttons.update(
            replace_key={
                'invisible': Eval('keys', [-1]) == [],
                'depends': ['keys'],
                },
            )

    @classmethod
    @ModelView.button_action('cooperative_edi.wizard_identity_replace_key')
    def replace_key(cls, identities):
        pass

    def public_keys(self):
        revoked = {k.kid for k in self.keys if k.revoked}
        return {
            kid: key for kid, key in super().public_keys().items()
            if kid not in revoked}

    def published_keys(self):
        "Return the keys, the one that signs now first"
        current = self.signing_key
        keys = [k for k in self.keys if k.purpose != 'recovery']
        return tuple(PublishedKey(
                key=k.public_key,
                valid_from=aware(k.valid_from),
                valid_to=k.valid_to and aware(k.valid_to),
                revoked=k.revoked and aware(k.revoked))
            for k in sorted(keys, key=lambda k: (k != current, k.id)))

    @without_check_access
    def roll_over(self):
        "Replace the signing key by one that it announces"
        pool = Pool()
        Key = pool.get('cooperative.edi.identity.key')
        old = self.signing_key
        secret = signature.SigningKey.from_bytes(keystore.unseal(old))
        self._retire(old)
        Key.add(self, 'signing', signature.SigningKey.generate())
        self.renew_encryption()
        self._announce(secret)

    @without_check_access
    def recover(self, text):
        """Revoke the signing keys and replace them by one that the recovery
        key announces; return the next recovery key, which is not kept"""
        pool = Pool()
        Key = pool.get('cooperative.edi.identity.key')
        secret = self._recovery_secret(text)
        next_ = signature.SigningKey.generate()
        time = naive(now())
        for key in self.keys:
            if key.purpose == 'signing':
                key.valid_to = key.valid_to or time
                key.revoked = key.revoked or time
            elif key.purpose == 'recovery':
                key.valid_to = key.valid_to or time
        Key.save(self.keys)
        Key.add(self, 'signing', signature.SigningKey.generate())
        Key.add(self, 'recovery', next_, keep=False)
        self.renew_encryption(revoked=time)
        self._announce(secret)
        self._sign_again()
        return next_.to_bytes().hex()

    def _recovery_secret(self, text):
        known = self.recovery_key()
        try:
            secret = signature.SigningKey.from_bytes(
                bytes.fromhex((text or '').strip()))
        except (ValueError, ProtocolError):
            secret = None
        if not known or not secret or secret.kid != known.kid:
            raise RecoveryKeyError(gettext(
                    'cooperative_edi.msg_recovery_key',
                    identity=self.rec_name))
        return secret

    def _retire(self, key):
        "Have the key count only for what is under way"
        key.valid_to = naive(now() + OVERLAP)
        key.save()

    def _announce(self, secret):
        "Tell the peers the keys, signed by the secret that they know"
        pool = Pool()
        Message = pool.get('cooperative.edi.message')
        Peer = pool.get('cooperative.edi.peer')
        self = self.__class__(self.id)
        body = KeyAnnouncement(
            identifier=self.identifier, keys=self.published_keys(),
            created=now(), recovery=self.recovery_key()).to_json()
        for peer in Peer.search([
                    ('company', '=', self.company.id),
                    ('state', '=', 'active'),
                    ]):
            message = Message.send_statement(peer, KIND, body, origin=self)
            message.signature = signature.sign(
                bytes(message.data), signature.STATEMENT, secret)
            message.save()

    def _sign_again(self):
        "Sign what waits, as the keys that signed it are revoked"
        pool = Pool()
        Message = pool.get('cooperative.edi.message')
        identity = self.__class__(self.id)
        messages = Message.search([
                ('company', '=', self.company.id),
                ('direction', '=', 'out'),
                ('sender', '=', self.identifier),
                ('state', 'in', ['waiting', 'failed']),
                ('kind', '!=', KIND),
                ])
        for message in messages:
            typ = signature.type_of(message.signature)
            message.signature = identity.sign(bytes(message.data), typ)
        Message.save(messages)


class IdentityKey(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.identity.key'

    revoked = fields.DateTime("Revoked", readonly=True)


class Peer(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.peer'

    keys_announced = fields.DateTime("Keys Announced", readonly=True,
        help="When the peer last announced its keys, by its clock.")

    def get_fingerprint(self, name):
        keys = [k for k in self.keys
            if k.purpose == 'signing' and not k.revoked]
        lasting = [k for k in keys if not k.valid_to]
        if len(lasting) == 1 and len(keys) > 1:
            return fingerprint(lasting[0].public_key)
        return super().get_fingerprint(name)

    def recovery_public_key(self):
        for key in self.keys:
            if key.purpose == 'recovery' and not key.revoked:
                return key.public_key

    def announce_keys(self, announcement, kid):
        """Take the keys that the peer announces by the key of that id.
        Raise Rejected."""
        pool = Pool()
        Key = pool.get('cooperative.edi.peer.key')
        recovery = self.recovery_public_key()
        announcement.check_after(
            self.keys_announced and aware(self.keys_announced), kid,
            recovery)
        known = {k.kid for k in self.keys if k.purpose != 'recovery'}
        if not (recovery and recovery.kid == kid) and kid not in known:
            raise Rejected("The key that signs is not one of the peer.")
        Key.synchronise(self, announcement)
        kids = {p.key.kid for p in announcement.keys}
        if announcement.recovery:
            kids.add(announcement.recovery.kid)
        Key.write([k for k in self.__class__(self.id).keys
                if k.kid in kids], {'announced': True})
        self.keys_announced = naive(announcement.created)
        self.save()


class PeerKey(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.peer.key'

    announced = fields.Boolean("Announced", readonly=True,
        help="The peer itself announced it: a directory that does not know "
        "it yet does not revoke it.")

    def kept_from(self, entry):
        return (self.announced
            and not isinstance(entry, KeyAnnouncement))

    def _set(self, purpose, key, valid_from, valid_to=None, revoked=None):
        known = self if self.id else None
        before = known and (known.valid_to, known.revoked)
        super()._set(purpose, key, valid_from, valid_to, revoked)
        if before:
            # What was ended or revoked stays so
            ends = [t for t in [before[0], self.valid_to] if t]
            self.valid_to = min(ends, default=None)
            self.revoked = before[1] or self.revoked


class Message(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.message'

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls.kind.selection += [(KIND, "Key Announcement")]

    @classmethod
    def _get_origin(cls):
        return super()._get_origin() + [
            'cooperative.edi.identity', 'cooperative.edi.peer']

    def fail(self, error):
        super().fail(error)
        if self.kind == KIND and not self.peer.relations:
            # It learns the keys from its directory
            self.cancel([self])

    @classmethod
    def _signers(cls, kids):
        pool = Pool()
        Key = pool.get('cooperative.edi.peer.key')
        signers = super()._signers(kids)
        if others := [k for k in kids if k not in signers]:
            signers.update(Key.signers(others, 'recovery'))
        return signers

    @classmethod
    def _read_envelope(cls, arrival):
        super()._read_envelope(arrival)
        if (arrival.signers[0].purpose == 'recovery'
                and getattr(arrival.header, 'kind', None) != KIND):
            raise Problem.signature(
                Rejected("A recovery key only announces keys."))


class Document(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.document'

    @classmethod
    def receive_key_announcement(cls, message, body):
        "Take the keys of the peer, which the one before them announces"
        kid = signature.kid_of(message.signature, signature.STATEMENT)
        try:
            announcement = KeyAnnouncement.from_json(body)
            if announcement.identifier != message.sender:
                raise Rejected("The keys are not those of the sender.")
            message.peer.announce_keys(announcement, kid)
        except ProtocolError as exception:
            raise DocumentRefused('BV', gettext(
                    'cooperative_edi.msg_key_announcement',
                    peer=message.peer.rec_name,
                    error=str(exception))) from exception
        return message.peer


class ReplaceKey(Wizard):
    __name__ = 'cooperative.edi.identity.replace_key'
    start = StateView(
        'cooperative.edi.identity.replace_key.start',
        'cooperative_edi.identity_replace_key_start_view_form', [
            Button("Cancel", 'end', 'tryton-cancel'),
            Button("Replace", 'replace', 'tryton-ok', default=True),
            ])
    replace = StateTransition()
    show = StateView(
        'cooperative.edi.identity.generate.show',
        'cooperative_edi.identity_generate_show_view_form', [
            Button("I Keep It Safe", 'end', 'tryton-ok', default=True),
            ])

    def transition_replace(self):
        if self.start.reason == 'planned':
            self.record.roll_over()
            return 'end'
        self.show.recovery = self.record.recover(self.start.recovery)
        self.show.fingerprint = self.record.__class__(
            self.record.id).fingerprint
        return 'show'

    def default_show(self, fields):
        return {
            'recovery': self.show.recovery,
            'fingerprint': self.show.fingerprint,
            }

    def _save(self):
        # Not kept in the session
        for state in [self.start, self.show]:
            state.recovery = None
        super()._save()


class ReplaceKeyStart(ModelView):
    __name__ = 'cooperative.edi.identity.replace_key.start'

    reason = fields.Selection([
            ('planned', "It has served long enough"),
            ('lost', "It is lost, or somebody else may have it"),
            ], "Reason", required=True, sort=False,
        help="In the first case the present key announces the next one, and "
        "counts for 30 more days for what is under way.\n"
        "In the second it is revoked at once, which the recovery key signs.")
    recovery = fields.Char("Recovery Key",
        states={
            'invisible': Eval('reason') != 'lost',
            'required': Eval('reason') == 'lost',
            },
        help="What was shown and printed when the keys were made.\n"
        "It is replaced by another one to print.")

    @classmethod
    def default_reason(cls):
        return 'planned'
