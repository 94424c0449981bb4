# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
import datetime as dt
from functools import lru_cache

import trytond.config as config
from sql import Null
from trytond.i18n import gettext
from trytond.model import ModelSQL, ModelView, Unique, fields
from trytond.pool import Pool
from trytond.pyson import Eval
from trytond.transaction import Transaction
from trytond.wizard import Button, StateTransition, StateView, Wizard

from trycoton.protocol import identifier as identifiers
from trycoton.protocol import signature, token
from trycoton.protocol.descriptor import Descriptor, fingerprint
from trycoton.protocol.directory import Participant, PublishedKey
from trycoton.protocol.errors import ProtocolError

from . import keystore
from .exceptions import (
    IdentifierInvalid, IdentityKeysError, IdentityMissingError)

KINDS = [
    ('participant', "Participant"),
    ('community', "Community"),
    ('trust-party', "Trust Party"),
    ]
PURPOSES = [
    ('signing', "Signing"),
    ('encryption', "Encryption"),
    ('recovery', "Recovery"),
    ]


def now():
    "Return the time in UTC, to the second"
    return dt.datetime.now(dt.timezone.utc).replace(microsecond=0)


def aware(time):
    "Return the UTC time of the database with its zone"
    return time.replace(tzinfo=dt.timezone.utc)


@lru_cache(maxsize=1024)
def public_key(purpose, text):
    use = 'enc' if purpose == 'encryption' else 'sig'
    return signature.PublicKey(use, signature.b64url_decode(text))


# Kept in the memory of the process only, beside what OpenSSL makes of it
_loaded = lru_cache(maxsize=256)(signature.SigningKey.from_bytes)


class Identity(ModelSQL, ModelView):
    __name__ = 'cooperative.edi.identity'

    company = fields.Many2One(
        'company.company', "Company", required=True, ondelete='CASCADE',
        help="The company that speaks under this identity.")
    identifier = fields.Char(
        "Identifier", required=True,
        states={
            'readonly': Eval('keys', [-1]) != [],
            },
        help="The scheme and the value by which the others know the company, "
        "for example 0225:732829320 for the SIREN 732 829 320.")
    kind = fields.Selection(KINDS, "Kind", required=True,
        help="What the company is for the others.")
    endpoint = fields.Char(
        "Address",
        help="Where the others send their messages.\n"
        "Leave empty if this instance can only fetch them.")
    direct = fields.Boolean(
        "Direct Exchange",
        help="Accept to exchange without a trust party.")
    agree_relations = fields.Boolean(
        "Agree Relations",
        help="Agree by itself to the relations that the active members "
        "of a common community propose by an accepted route.")
    keys = fields.One2Many(
        'cooperative.edi.identity.key', 'identity', "Keys", readonly=True)
    fingerprint = fields.Function(fields.Char(
            "Fingerprint",
            help="What the others compare before they trust this identity."),
        'get_fingerprint')

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_constraints += [
            ('company_unique', Unique(t, t.company),
                'cooperative_edi.msg_identity_company_unique'),
            ('identifier_unique', Unique(t, t.identifier),
                'cooperative_edi.msg_identity_identifier_unique'),
            ]
        cls._buttons.update(
            generate={
                'invisible': Eval('keys', [-1]) != [],
                'depends': ['keys'],
                })

    @classmethod
    def default_company(cls):
        return Transaction().context.get('company')

    @classmethod
    def default_kind(cls):
        return 'participant'

    @classmethod
    def default_endpoint(cls):
        return config.get('cooperative', 'url')

    @classmethod
    def default_direct(cls):
        return True

    @classmethod
    def default_agree_relations(cls):
        return True

    def get_rec_name(self, name):
        return f"{self.company.rec_name} ({self.identifier})"

    @classmethod
    def search_rec_name(cls, name, clause):
        return ['OR',
            ('company.rec_name', *clause[1:]),
            ('identifier', *clause[1:]),
            ]

    def get_fingerprint(self, name):
        key = self.signing_key
        return fingerprint(key.public_key) if key else None

    @classmethod
    def validate_fields(cls, identities, field_names):
        super().validate_fields(identities, field_names)
        if field_names and 'identifier' not in field_names:
            return
        for identity in identities:
            try:
                identifiers.parse(identity.identifier)
            except ProtocolError as exception:
                raise IdentifierInvalid(gettext(
                        'cooperative_edi.msg_identifier_invalid',
                        identifier=identity.identifier)) from exception

    @classmethod
    def copy(cls, identities, default=None):
        default = default.copy() if default is not None else {}
        default.setdefault('keys')
        return super().copy(identities, default=default)

    @classmethod
    @ModelView.button_action('cooperative_edi.wizard_identity_generate')
    def generate(cls, identities):
        pass

    def generate_keys(self):
        "Make the keys and return the recovery key, which is not kept"
        pool = Pool()
        Key = pool.get('cooperative.edi.identity.key')
        if self.keys:
            raise IdentityKeysError(gettext(
                    'cooperative_edi.msg_identity_keys',
                    identity=self.rec_name))
        signing = signature.SigningKey.generate()
        encryption = signature.EncryptionKey.generate()
        recovery = signature.SigningKey.generate()
        Key.add(self, 'signing', signing)
        Key.add(self, 'encryption', encryption)
        Key.add(self, 'recovery', recovery, keep=False)
        return recovery.to_bytes().hex()

    @classmethod
    def get(cls, company=None):
        "Return the identity of the company, by default the current one"
        company = company or Transaction().context.get('company')
        identities = cls.search([
                ('company', '=', company),
                ('keys', '!=', None),
                ])
        if not identities:
            raise IdentityMissingError(
                gettext('cooperative_edi.msg_identity_missing'))
        identity, = identities
        return identity

    @classmethod
    def named(cls, identifiers):
        "Return the identities of these identifiers, by them"
        if not identifiers:
            return {}
        table = cls.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*table.select(
                table.identifier, table.id, table.company,
                where=table.identifier.in_(list(identifiers))))
        return {
            identifier: cls(id_, company=company, identifier=identifier)
            for identifier, id_, company in cursor.fetchall()}

    @property
    def signing_key(self):
        for key in self.keys:
            if key.purpose == 'signing' and not key.valid_to:
                return key

    @property
    def party(self):
        return self.company.party

    def sign(self, data, typ):
        "Return the detached signature of the bytes"
        pool = Pool()
        Key = pool.get('cooperative.edi.identity.key')
        return signature.sign(data, typ, Key.secret(self))

    def signing(self):
        "Return what signs as the identity does, with the key read once"
        pool = Pool()
        Key = pool.get('cooperative.edi.identity.key')
        secret = Key.secret(self)
        return lambda data, typ: signature.sign(data, typ, secret)

    def token(self, audience, method, path, time=None):
        "Return what authenticates a request to the audience for a minute"
        pool = Pool()
        Key = pool.get('cooperative.edi.identity.key')
        return token.issue(
            Key.secret(self), issuer=self.identifier, audience=audience,
            method=method, path=path, now=time or now())

    def public_keys(self):
        "Return the public signing keys by their id"
        return {k.kid: k.public_key for k in self.keys
            if k.purpose == 'signing'}

    def published_keys(self):
        return tuple(PublishedKey(
                key=k.public_key,
                valid_from=aware(k.valid_from),
                valid_to=k.valid_to and aware(k.valid_to))
            for k in sorted(self.keys, key=lambda k: k.id)
            if k.purpose != 'recovery')

    def recovery_key(self):
        for key in self.keys:
            if key.purpose == 'recovery' and not key.valid_to:
                return key.public_key

    def participant(self, roles=(), state='active'):
        "Return what a directory says of the company"
        pool = Pool()
        Peer = pool.get('cooperative.edi.peer')
        return Participant(
            identifier=self.identifier,
            name=self.party.name,
            kind=self.kind,
            roles=tuple(roles),
            state=state,
            keys=self.published_keys(),
            recovery=self.recovery_key(),
            endpoint=self.endpoint or None,
            trust_parties=tuple(sorted(
                    p.identifier for p in Peer.accepted_trust_parties(
                        self.company))),
            direct=bool(self.direct),
            legal=self.party.edi_legal(),
            log=self.log_key())

    def log_key(self):
        "Return the verifier key of the log kept here, if any"

    def witness_key(self):
        "Return the verifier key of the witness kept here, if any"

    def descriptor(self, **values):
        "Return the descriptor of the company and its signature"
        descriptor = Descriptor(
            identifier=self.identifier, name=self.party.name,
            kind=self.kind, endpoint=self.endpoint or None,
            keys=self.published_keys(), recovery=self.recovery_key(),
            created=now(), log=self.log_key(),
            legal=self.party.edi_legal(), witness=self.witness_key(),
            **values)
        data = descriptor.to_bytes()
        return data, self.sign(data, signature.DESCRIPTOR)


class IdentityKey(ModelSQL, ModelView):
    __name__ = 'cooperative.edi.identity.key'

    identity = fields.Many2One(
        'cooperative.edi.identity', "Identity", required=True,
        ondelete='CASCADE')
    purpose = fields.Selection(PURPOSES, "Purpose", required=True)
    kid = fields.Char("Key ID", required=True,
        help="The thumbprint of the public key.")
    public = fields.Char("Public Key", required=True)
    valid_from = fields.DateTime("Valid From", required=True)
    valid_to = fields.DateTime("Valid To")

    __access__ = {'identity'}

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_constraints += [
            ('kid_unique', Unique(t, t.kid),
                'cooperative_edi.msg_key_unique'),
            ]

    @classmethod
    def __register__(cls, module):
        super().__register__(module)
        keystore.register(cls, module)

    def get_rec_name(self, name):
        return self.kid

    @property
    def public_key(self):
        return public_key(self.purpose, self.public)

    @classmethod
    def secret(cls, identity):
        "Return the private key by which the identity signs now"
        table = cls.__table__()
        secret = keystore.unseal_first(table,
            (table.identity == identity.id)
            & (table.purpose == 'signing')
            & (table.valid_to == Null))
        if not secret:
            raise IdentityMissingError(
                gettext('cooperative_edi.msg_identity_missing'))
        return _loaded(secret)

    @classmethod
    def add(cls, identity, purpose, secret, keep=True):
        "Publish the key, and keep its private part sealed"
        key, = cls.create([{
                    'identity': identity.id,
                    'purpose': purpose,
                    'kid': secret.kid,
                    'public': signature.b64url(secret.public.data),
                    'valid_from': now().replace(tzinfo=None),
                    }])
        if keep:
            keystore.seal(key, secret.to_bytes())
        return key


class IdentityGenerate(Wizard):
    __name__ = 'cooperative.edi.identity.generate'
    start_state = 'generate'
    generate = StateTransition()
    show = StateView(
        'cooperative.edi.identity.generate.show',
        'cooperative_edi.identity_generate_show_view_form', [
            Button("I Keep It Safe", 'end', 'tryton-ok', default=True),
            ])

    def transition_generate(self):
        self.show.recovery = self.record.generate_keys()
        self.show.fingerprint = self.record.fingerprint
        return 'show'

    def default_show(self, fields):
        return {
            'recovery': self.show.recovery,
            'fingerprint': self.show.fingerprint,
            }

    def _save(self):
        self.show.recovery = None  # not kept in the session
        super()._save()


class IdentityGenerateShow(ModelView):
    __name__ = 'cooperative.edi.identity.generate.show'

    recovery = fields.Char(
        "Recovery Key", readonly=True,
        help="Print it and keep it off this machine: it is shown once and "
        "alone can replace a signing key that was lost.")
    fingerprint = fields.Char("Fingerprint", readonly=True)
