# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""An instance as a witness: it cosigns what the logs of trust parties sign,
once for each size, and only if they prove that they grew"""
from urllib.parse import urlsplit

from trytond.i18n import gettext
from trytond.model import ModelSQL, ModelView, Unique, fields
from trytond.pool import Pool, PoolMeta
from trytond.protocols.wrappers import HTTPStatus
from trytond.pyson import Bool, Eval, If
from trytond.transaction import Transaction

from trycoton.protocol import merkle
from trycoton.protocol import witness as protocol
from trycoton.protocol.errors import Malformed, ProtocolError
from trycoton.protocol.note import ED25519, Cosigner, Verifier
from trycoton.protocol.signature import SigningKey

from . import keystore
from .column import BigInteger
from .exceptions import (
    WitnessAddressError, WitnessKeyError, WitnessLogInvalid,
    WitnessModifyError)
from .http import Problem
from .identity import now
from .peer import naive
from .transaction import hold


class Witness(ModelSQL, ModelView):
    __name__ = 'cooperative.edi.witness'

    company = fields.Many2One(
        'company.company', "Company", required=True, ondelete='RESTRICT',
        states={
            'readonly': Bool(Eval('vkey')),
            },
        help="The company that is a witness.")
    vkey = fields.Char(
        "Verifier Key", readonly=True,
        help="What everybody needs to verify what the witness signs.")
    logs = fields.One2Many(
        'cooperative.edi.witness.log', 'witness', "Logs",
        help="The logs of which the checkpoints are signed.\n"
        "Those of the accepted trust parties are added by themselves.")

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_constraints += [
            ('company_unique', Unique(t, t.company),
                'cooperative_edi.msg_witness_company_unique'),
            ]
        cls._buttons.update(
            open={
                'invisible': Bool(Eval('vkey')),
                'depends': ['vkey'],
                })

    @classmethod
    def __register__(cls, module):
        super().__register__(module)
        keystore.register(cls, module)

    @classmethod
    def default_company(cls):
        return Transaction().context.get('company')

    def get_rec_name(self, name):
        if self.vkey:
            return self.verifier.name
        return self.company.rec_name

    @classmethod
    def check_modification(cls, mode, witnesses, values=None, external=False):
        super().check_modification(
            mode, witnesses, values=values, external=external)
        if mode == 'delete' or (
                mode == 'write' and values.keys() & {'company', 'vkey'}):
            for witness in witnesses:
                # A key goes once nothing can sign by it
                if witness.vkey and (
                        mode == 'delete' or external
                        or keystore.unseal(witness)):
                    raise WitnessModifyError(gettext(
                            'cooperative_edi.msg_witness_modify',
                            record=witness.rec_name))

    @classmethod
    def copy(cls, witnesses, default=None):
        default = default.copy() if default is not None else {}
        default.setdefault('vkey')
        default.setdefault('logs')
        return super().copy(witnesses, default=default)

    @classmethod
    @ModelView.button
    def open(cls, witnesses):
        for witness in witnesses:
            witness.generate()

    def generate(self):
        "Make the key of the witness, which signs nothing else"
        # Two of one database would count twice what one person sees
        if self.vkey or self.search([('vkey', '!=', None)], limit=1):
            raise WitnessKeyError(gettext(
                    'cooperative_edi.msg_witness_key',
                    witness=self.rec_name))
        key = SigningKey.generate()
        self.vkey = Cosigner(self._key_name(), key).vkey
        self.save()
        keystore.seal(self, key.to_bytes())

    def _key_name(self):
        pool = Pool()
        Identity = pool.get('cooperative.edi.identity')
        identity = Identity.get(self.company.id)
        if not identity.endpoint:
            raise WitnessAddressError(gettext(
                    'cooperative_edi.msg_witness_address',
                    identity=identity.rec_name))
        parts = urlsplit(identity.endpoint)
        return f"{parts.netloc}{parts.path.rstrip('/')}/witness"

    @property
    def verifier(self):
        return Verifier.from_vkey(self.vkey)

    @property
    def cosigner(self):
        return Cosigner(
            self.verifier.name, SigningKey.from_bytes(keystore.unseal(self)))

    @classmethod
    def opened(cls):
        "Return the witness of the database, or None"
        witnesses = cls.search([('vkey', '!=', None)], limit=1)
        return witnesses[0] if witnesses else None

    # What is asked

    @classmethod
    def add_checkpoint(cls, data):
        """Return the status and the body for a request of a log.  Raise
        Problem for what is refused and not to be kept.

        What is answered is stored before: the transaction must be committed
        first, and nobody else is answered meanwhile."""
        witness = cls.opened()
        if not witness:
            raise Problem.not_found('witness')
        try:
            request = protocol.Request.parse(data)
        except ProtocolError as exception:
            raise Problem.not_a_request(exception) from exception
        witness = hold(witness)
        log = witness._log(request)
        try:
            request.check(log.size, log.last_root)
        except protocol.Stale:
            log.contradicted(request)
            return HTTPStatus.CONFLICT, protocol.format_size(log.size)
        except ProtocolError as exception:
            raise Problem.inconsistent(exception) from exception
        return HTTPStatus.OK, log.cosign(request)

    def _log(self, request):
        "Return the log that signed the checkpoint of the request"
        pool = Pool()
        Log = pool.get('cooperative.edi.witness.log')
        origin = request.value.origin
        logs = Log.search([
                ('witness', '=', self.id),
                ('origin', '=', origin),
                ])
        log, = logs or [Log(
                witness=self, origin=origin, vkey=None,
                size=Log.default_size(), root=Log.default_root(),
                claimed=None, contradiction=None)]
        keys = log.keys()
        if not keys:
            raise Problem.unknown_log(origin)
        try:
            signed = request.note.verify(keys)
        except ProtocolError as exception:
            raise Problem.not_log(exception) from exception
        if not signed:
            raise Problem.not_log(origin)
        return log


class WitnessLog(ModelSQL, ModelView):
    __name__ = 'cooperative.edi.witness.log'

    witness = fields.Many2One(
        'cooperative.edi.witness', "Witness", required=True,
        ondelete='RESTRICT')
    origin = fields.Char("Log", readonly=True, required=True,
        help="The name under which the log signs.")
    vkey = fields.Char("Verifier Key",
        states={
            'readonly': Eval('id', -1) >= 0,
            },
        help="What verifies the checkpoints of the log.\n"
        "Empty for the log of a trust party that is accepted: its own key "
        "counts.")
    size = BigInteger("Size", readonly=True,
        help="How many entries the log had when it was last signed here.")
    root = fields.Char("Root", readonly=True)
    note = fields.Text("Note", readonly=True, strip=False,
        help="The last checkpoint that was signed here.")
    cosignature = fields.Text("Cosignature", readonly=True, strip=False)
    time = fields.DateTime("Signed On", readonly=True)
    claimed = BigInteger("Claimed Size", readonly=True,
        states={
            'invisible': ~Eval('claimed'),
            },
        help="The log says that more was signed here than is known.\n"
        "That is so when this database was restored from a backup.")
    contradiction = fields.Text("Contradiction", readonly=True, strip=False,
        states={
            'invisible': ~Eval('contradiction'),
            },
        help="Another checkpoint of the same size, signed by the log: it "
        "tells two stories.")

    __access__ = {'witness'}

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_constraints += [
            ('origin_unique', Unique(t, t.witness, t.origin),
                'cooperative_edi.msg_witness_log_unique'),
            ]
        cls._order.insert(0, ('origin', 'ASC'))

    @classmethod
    def default_size(cls):
        return 0

    @classmethod
    def default_root(cls):
        return merkle.EMPTY_ROOT.hex()

    def get_rec_name(self, name):
        return self.origin

    @classmethod
    def search_rec_name(cls, name, clause):
        return [('origin', *clause[1:])]

    @classmethod
    def view_attributes(cls):
        return super().view_attributes() + [
            ('/tree', 'visual', If(Eval('contradiction'), 'danger',
                    If(Eval('claimed', 0) > 0, 'warning', ''))),
            ]

    @fields.depends('vkey')
    def on_change_vkey(self):
        try:
            self.origin = self._verifier.name if self.vkey else None
        except ProtocolError:
            self.origin = None

    @classmethod
    def preprocess_values(cls, mode, values):
        values = super().preprocess_values(mode, values)
        if mode == 'create' and values.get('vkey'):
            log = cls(vkey=values['vkey'])
            try:
                values['origin'] = log._verifier.name
            except ProtocolError as exception:
                raise WitnessLogInvalid(gettext(
                        'cooperative_edi.msg_witness_log_invalid',
                        vkey=values['vkey'],
                        error=str(exception))) from exception
        return values

    @classmethod
    def check_modification(cls, mode, logs, values=None, external=False):
        super().check_modification(
            mode, logs, values=values, external=external)
        if mode == 'create':
            return
        for log in logs:
            # Who forgets what was signed may sign what contradicts it
            if log.size and (mode == 'delete' or external
                    or values.keys() & {'witness', 'origin', 'vkey'}
                    or values.get('size', log.size) < log.size):
                raise WitnessModifyError(gettext(
                        'cooperative_edi.msg_witness_modify',
                        record=log.rec_name))

    @property
    def _verifier(self):
        key = Verifier.from_vkey(self.vkey)
        if key.algorithm != ED25519:
            raise Malformed("Not the key of a log.")
        return key

    def keys(self):
        "Return the Verifiers of the log: its own, and of who is accepted"
        pool = Pool()
        Peer = pool.get('cooperative.edi.peer')
        vkeys = {
            p.log_key for p in Peer.accepted_trust_parties(
                self.witness.company.id) if p.log_key}
        if self.vkey:
            vkeys.add(self.vkey)
        return [
            key for key in map(Verifier.from_vkey, vkeys)
            if key.name == self.origin]

    @property
    def last_root(self):
        return bytes.fromhex(self.root)

    def contradicted(self, request):
        "Keep what the request says that cannot be"
        changed = False
        if request.old > self.size and self.claimed != request.old:
            self.claimed = request.old
            changed = True
        if (request.is_fork(self.size, self.last_root)
                and not self.contradiction):
            self.contradiction = request.checkpoint.decode('utf-8')
            changed = True
        if changed:
            self.save()

    def cosign(self, request):
        "Remember the checkpoint and return the line that signs it"
        cosigner = self.witness.cosigner
        time = now()
        answer = protocol.cosign(
            cosigner, request.note.text, int(time.timestamp()))
        self.size = request.value.size
        self.root = request.value.root.hex()
        self.note = request.checkpoint.decode('utf-8')
        self.cosignature = answer.decode('utf-8')
        self.time = naive(time)
        if self.claimed and self.claimed <= self.size:
            self.claimed = None
        self.save()
        return answer


class Identity(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.identity'

    def witness_key(self):
        pool = Pool()
        Witness = pool.get('cooperative.edi.witness')
        for witness in Witness.search([
                    ('company', '=', self.company.id),
                    ('vkey', '!=', None),
                    ]):
            return witness.vkey
        return super().witness_key()
