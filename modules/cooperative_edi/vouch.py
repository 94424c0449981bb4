# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Documents that nobody signed, brought in by a person who vouches for them

They have no receipt, no relation and no answer, and prove nothing.
"""
import hashlib
import uuid

from stdnum.fr import siren, siret
from trytond.i18n import gettext
from trytond.model import ModelView, fields
from trytond.model.exceptions import DigitsValidationError, SizeValidationError
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Eval, PYSONEncoder
from trytond.transaction import Transaction, without_check_access
from trytond.wizard import (
    Button, StateAction, StateTransition, StateView, Wizard)

from trycoton.protocol.errors import ProtocolError
from trycoton.protocol.ubl import foreign

from .document import Missing
from .exceptions import DocumentHeld, DocumentRefused
from .identity import now
from .peer import naive

# Who writes and who receives the documents that may come unsigned
SIDES = {
    'order': ('buyer', 'seller'),
    'order_response': ('seller', 'buyer'),
    'despatch_advice': ('seller', 'buyer'),
    'receipt_advice': ('buyer', 'seller'),
    'invoice': ('seller', 'buyer'),
    'credit_note': ('seller', 'buyer'),
    'invoice_response': ('buyer', 'seller'),
    'remittance_advice': ('payer', 'payee'),
    }
# The types of the identifiers of parties, by scheme
TYPES = {
    '0002': 'fr_siren',
    '0009': 'fr_siret',
    '0223': 'eu_vat',
    '0225': 'fr_siren',
    }
VAT = '99'  # begins the schemes of the VAT numbers of the countries
AGAIN = ['held', 'parked', 'failed', 'refused']


def codes(party):
    "Return the (type, code) that identify the party of a document"
    found = set()
    for identifier in filter(None, [party.identifier, party.legal_id]):
        scheme, colon, value = identifier.rpartition(':')
        value = ''.join(value.split())
        found.add((None, f'{scheme}{colon}{value}'))
        if type := TYPES.get(scheme):
            found.add((type, value))
        elif scheme.startswith(VAT):
            found.add(('eu_vat', value.upper()))
        elif scheme == '0088':
            found.add((None, value))
        elif not scheme and siren.is_valid(value):
            found.add(('fr_siren', value))
        elif not scheme and siret.is_valid(value):
            found.add(('fr_siret', value))
    for code in filter(None, [party.vat, party.tax_id]):
        code = ''.join(code.split()).upper()
        found.add(('eu_vat', code))
        number = code.removeprefix('FR')[-9:]
        if siren.is_valid(number) and len(code) in {9, 13}:
            found.add(('fr_siren', number))
    return found


class Party(metaclass=PoolMeta):
    __name__ = 'party.party'

    @classmethod
    def edi_named(cls, named):
        "Return the parties that the party of a document may be"
        return cls.search([
                ('identifiers', 'where', ['OR', *(
                            [('type', '=', type), ('code_compact', '=', code)]
                            for type, code in sorted(codes(named), key=str)
                            )]),
                ], limit=2)

    def edi_is(self, named):
        "Tell if the party of a document is this one"
        own = {(i.type, i.code_compact) for i in self.identifiers}
        return bool(own & codes(named))


class Message(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.message'

    unsigned = fields.Boolean("Unsigned", readonly=True,
        states={
            'invisible': ~Eval('unsigned'),
            },
        help="Nobody signed the document: it proves nothing and is not "
        "answered.")
    vouched_by = fields.Many2One(
        'res.user', "Vouched By", readonly=True, ondelete='RESTRICT',
        states={
            'invisible': ~Eval('unsigned'),
            },
        help="Who brought the document in.")
    party = fields.Many2One(
        'party.party', "Party", readonly=True, ondelete='RESTRICT',
        states={
            'invisible': ~Eval('unsigned'),
            },
        context={
            'company': Eval('company', -1),
            },
        depends={'company'},
        help="Who wrote the unsigned document.")
    rule = fields.Char("Rule", readonly=True,
        states={
            'invisible': ~Eval('rule'),
            },
        help="The rule that the document breaks.")
    missing = fields.Many2Many(
        'cooperative.edi.message-cooperative.edi.mapping', 'message',
        'mapping', "Missing", readonly=True,
        states={
            'invisible': Eval('state') != 'held',
            },
        help="What must be given before the message takes effect.")

    @classmethod
    def __setup__(cls):
        super().__setup__()
        for name in ['peer', 'sequence', 'signature']:
            field = getattr(cls, name)
            field.required = False
            field.states = {
                'required': ~Eval('unsigned'),
                'invisible': Eval('unsigned', False),
                }
        cls._buttons.update(
            complete={
                'invisible': (
                    (Eval('state') != 'held') | ~Eval('missing', [])),
                'depends': ['state', 'missing'],
                },
            )

    def get_rec_name(self, name):
        if not self.unsigned:
            return super().get_rec_name(name)
        return ' - '.join([
                self.kind_string, self.document_number,
                self.party.rec_name if self.party else self.sender])

    @classmethod
    def search_rec_name(cls, name, clause):
        return [*super().search_rec_name(name, clause),
            ('party.rec_name', *clause[1:]),
            ]

    @classmethod
    @ModelView.button_action('cooperative_edi.act_mapping_missing')
    def complete(cls, messages):
        pass

    # Bringing in

    @classmethod
    @without_check_access
    def vouch(cls, data):
        """Store the document of a file for which the user vouches.
        Return the message and whether it was known already.
        Raise ProtocolError or DocumentRefused for what is refused."""
        pool = Pool()
        Company = pool.get('company.company')
        company = Company(Transaction().context['company'])
        document = foreign.read(data)
        sender, receiver = cls._sides(document)
        if not cls._is_ours(company, receiver):
            raise DocumentRefused('BV', gettext(
                    'cooperative_edi.msg_vouch_receiver',
                    identifier=receiver.identifier,
                    company=company.rec_name), 'TCT-RECEIVER')
        if message := cls._brought_in(company, sender, document):
            known = True
        else:
            known = False
            message = cls._vouched(company, sender, receiver, document, data)
            message.save()
        cls.call_courier([message])
        return message, known

    @classmethod
    def _sides(cls, document):
        "Return who wrote the document and who is to receive it"
        if document.kind not in SIDES:
            raise DocumentRefused('BV', gettext(
                    'cooperative_edi.msg_vouch_kind',
                    kind=dict(cls.kind.selection).get(
                        document.kind, document.kind)), 'TCT-UNSIGNED')
        return (getattr(document, s) for s in SIDES[document.kind])

    @classmethod
    def _is_ours(cls, company, receiver):
        pool = Pool()
        Identity = pool.get('cooperative.edi.identity')
        return company.party.edi_is(receiver) or bool(Identity.search([
                    ('company', '=', company.id),
                    ('identifier', '=', receiver.identifier),
                    ], limit=1))

    @classmethod
    def _brought_in(cls, company, sender, document):
        "Return the message that has the same document, to be tried again"
        for message in cls.search([
                    ('company', '=', company.id),
                    ('direction', '=', 'in'),
                    ('sender', '=', sender.identifier),
                    ('kind', '=', document.kind),
                    ('document_number', '=', document.number),
                    ], order=[('id', 'ASC')]):
            if message.document == document:
                if message.unsigned and message.state in AGAIN:
                    message.state = 'received'
                    message.error = None
                    message.save()
                return message

    @classmethod
    def _vouched(cls, company, sender, receiver, document, data):
        return cls(
            company=company, direction='in', unsigned=True,
            vouched_by=Transaction().user,
            party=cls._find_party(company, sender),
            sender=sender.identifier, recipient=receiver.identifier,
            kind=document.kind, document_number=document.number,
            # Never the one of its envelope, which may come signed as well
            uuid=str(uuid.uuid4()), created=naive(now()),
            data=data, digest=hashlib.sha256(data).hexdigest(),
            state='received')

    @classmethod
    def _find_party(cls, company, named):
        "Return the party that the sender is known to be, or None"
        pool = Pool()
        Mapping = pool.get('cooperative.edi.mapping')
        Party = pool.get('party.party')
        Peer = pool.get('cooperative.edi.peer')
        if peer := Peer.get(company.id, named.identifier):
            return peer.party
        for mapping in Mapping.search([
                    ('company', '=', company.id),
                    ('kind', '=', 'party'),
                    ('code', '=', named.identifier),
                    ('party', '!=', None),
                    ]):
            return mapping.party
        parties = Party.edi_named(named)
        if len(parties) == 1:
            return parties[0]

    # Importing

    @property
    def content(self):
        if self.unsigned:
            return foreign.read(bytes(self.data))
        return super().content

    @property
    def partner(self):
        return self.party if self.unsigned else super().partner

    @property
    def with_partner(self):
        if not self.unsigned:
            return super().with_partner
        return ['OR',
            ('peer.party', '=', self.party.id),
            ('party', '=', self.party.id),
            ]

    def prepare(self, content):
        super().prepare(content)
        if self.missing:
            self.missing = []
        self.rule = None
        self._recognise()
        if self.unsigned and not self.party:
            sender, _ = self._sides(content)
            raise DocumentHeld(gettext(
                    'cooperative_edi.msg_vouch_party',
                    name=sender.name or '', identifier=self.sender),
                [Missing('party', self.sender, sender.name)])
        if self.unsigned:
            # What is made of it belongs to the party
            self.save()

    def _recognise(self):
        "Set the party that wrote the unsigned document as soon as it is known"
        if self.unsigned and not self.party:
            sender, _ = self._sides(self.content)
            self.party = self._find_party(self.company, sender)

    def check_vouched(self):
        "Hold what was brought in unsigned before, so that nothing is double"
        if self.unsigned:
            return
        for earlier in self.search([
                    ('company', '=', self.company.id),
                    ('unsigned', '=', True),
                    ('party', '=', self.partner.id),
                    ('kind', '=', self.kind),
                    ('document_number', '=', self.document_number),
                    ('state', '=', 'processed'),
                    ('origin', '!=', None),
                    ]):
            if record := earlier.living_origin:
                raise DocumentHeld(gettext(
                        'cooperative_edi.msg_vouch_before',
                        number=self.document_number,
                        record=record.rec_name))

    @property
    def living_origin(self):
        "The record that the message became, if it still counts"
        Model = self.origin.__class__
        for record in Model.search([('id', '=', self.origin.id)]):
            if getattr(record, 'state', None) != 'cancelled':
                return record

    def explain(self, exception):
        pool = Pool()
        Mapping = pool.get('cooperative.edi.mapping')
        if isinstance(
                exception, (DigitsValidationError, SizeValidationError)):
            # Written otherwise than any record could hold
            exception = DocumentRefused('BV', self.error, 'TCT-VALUE')
        self._recognise()
        self.rule = getattr(exception, 'rule', None)
        self.missing = Mapping.ask(self, getattr(exception, 'missing', []))
        return super().explain(exception)


class Import(Wizard):
    __name__ = 'cooperative.edi.import'
    start = StateView(
        'cooperative.edi.import.start',
        'cooperative_edi.import_start_view_form', [
            Button("Cancel", 'end', 'tryton-cancel'),
            Button("Import", 'import_', 'tryton-ok', default=True),
            ])
    import_ = StateTransition()
    result = StateView(
        'cooperative.edi.import.result',
        'cooperative_edi.import_result_view_form', [
            Button("Close", 'end', 'tryton-close'),
            Button("Open", 'open_', 'tryton-open', default=True),
            ])
    open_ = StateAction('cooperative_edi.act_message_unsigned')

    def transition_import_(self):
        self.result.files = [self._import(f) for f in self.start.files]
        # Not kept in the session
        self.start.files = []
        return 'result'

    def _import(self, file):
        pool = Pool()
        File = pool.get('cooperative.edi.import.file')
        Message = pool.get('cooperative.edi.message')
        result = File(
            name=file.name, message=None, known=False, rule=None, error=None)
        try:
            result.message, result.known = Message.vouch(bytes(file.data))
        except ProtocolError as exception:
            result.rule = exception.rule
            result.error = ': '.join(
                filter(None, [exception.path, str(exception)]))
        except DocumentRefused as exception:
            result.rule = exception.rule
            result.error = exception.text
        return result

    def default_result(self, fields):
        return {
            'files': [{
                    'name': f.name,
                    'message': f.message.id if f.message else None,
                    'known': f.known,
                    'rule': f.rule,
                    'error': f.error,
                    } for f in self.result.files],
            }

    def do_open_(self, action):
        messages = [f.message.id for f in self.result.files if f.message]
        action['pyson_domain'] = PYSONEncoder().encode(
            [('id', 'in', messages)])
        return action, {}


class ImportStart(ModelView):
    __name__ = 'cooperative.edi.import.start'

    files = fields.One2Many(
        'cooperative.edi.import.file', None, "Files", required=True,
        help="UBL documents, bare or in an envelope.")


class ImportFile(ModelView):
    __name__ = 'cooperative.edi.import.file'

    name = fields.Char("Name")
    data = fields.Binary("File", required=True, filename='name')
    message = fields.Many2One(
        'cooperative.edi.message', "Message", readonly=True)
    known = fields.Boolean("Known", readonly=True,
        help="The same document was brought in before.")
    rule = fields.Char("Rule", readonly=True)
    error = fields.Text("Error", readonly=True)


class ImportResult(ModelView):
    __name__ = 'cooperative.edi.import.result'

    files = fields.One2Many(
        'cooperative.edi.import.file', None, "Files", readonly=True)
