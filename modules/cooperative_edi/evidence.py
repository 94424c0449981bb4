# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What a third person needs to verify a deal without us"""
from dataclasses import fields as members
from dataclasses import is_dataclass, replace

from trytond.i18n import gettext
from trytond.model import ModelView, fields
from trytond.pool import Pool, PoolMeta
from trytond.wizard import Button, StateTransition, StateView, Wizard

from trycoton.protocol import canonical, evidence
from trycoton.protocol.entry import Record
from trycoton.protocol.errors import ProtocolError

from .exceptions import EvidenceError

# What the numbers are of, by the kind of document that has them
NUMBERED = {
    'order': 'order',
    'order_change': 'change',
    'despatch_advice': 'despatch',
    'invoice': 'invoice',
    'credit_note': 'invoice',
    }


def _references(document):
    "Return the (family, number) of what the document names, itself included"
    if family := NUMBERED.get(getattr(document, 'kind', None)):
        yield family, document.number
    for member in members(document):
        value = getattr(document, member.name)
        family, _, suffix = member.name.rpartition('_')
        if suffix == 'number' and value:
            yield family, value
        elif member.name == 'preceding':
            yield from (('invoice', number) for number, *_ in value)
        elif member.name == 'lines':
            for line in value:
                if is_dataclass(line):
                    yield from _references(line)


class Message(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.message'

    @property
    def document_references(self):
        "The numbered documents that the message is about"
        document = self.document
        return set(_references(document)) if document else set()

    @classmethod
    def deal(cls, messages):
        "Return the messages of the deals that the messages are part of"
        found = set(messages)
        for relation in {m.relation for m in messages if m.relation}:
            others = {m: m.document_references for m in cls.search([
                        ('relation', '=', relation.id),
                        ('state', 'not in', ['waiting', 'cancelled']),
                        ('digest', '!=', None),
                        ])}
            known = set().union(*[others.get(m, ()) for m in messages])
            while new := {m for m, references in others.items()
                    if m not in found and references & known}:
                found |= new
                known = known.union(*[others[m] for m in new])
        return sorted(found, key=lambda m: m.id)

    @classmethod
    def deal_of(cls, records):
        "Return the messages of the deals of the records of one model"
        if records and isinstance(records[0], cls):
            messages = list(records)
        else:
            messages = cls.search([
                    ('origin', 'in', [str(r) for r in records]),
                    ])
        return cls.deal(messages)

    @staticmethod
    def evidence_name(messages):
        "Return the name of the evidence file of the messages"
        number = next(
            (m.document_number for m in messages if m.document_number), '')
        return f"{number or 'messages'}.evidence"

    @classmethod
    def evidence(cls, messages):
        "Return the bytes of the evidence file of the messages"
        pool = Pool()
        Identity = pool.get('cooperative.edi.identity')
        messages = [m for m in messages if m.data and not m.unsigned]
        if not messages:
            raise EvidenceError(
                gettext('cooperative_edi.msg_evidence_empty'))
        company = messages[0].company
        identity = Identity.get(company.id)
        descriptors, directories = cls._evidence_sources(company)
        try:
            return evidence.build(
                [m._signed_message() for m in messages],
                exporter=identity.identifier,
                sign=lambda data: identity.sign(data, evidence.SEAL),
                descriptors=descriptors, directories=directories)
        except ProtocolError as exception:
            raise EvidenceError(gettext(
                    'cooperative_edi.msg_evidence_incomplete',
                    error=str(exception))) from exception

    @classmethod
    def _evidence_sources(cls, company):
        """Return the SignedDescriptors and the SignedDirectories that tell
        whose keys signed"""
        return [], []

    def _signed_message(self):
        message = evidence.SignedMessage(
            data=bytes(self.data), signature=self.signature,
            records=self._records())
        if self.receipt and not message.is_closed:
            message = replace(message, receipt=evidence.Signed(
                    data=bytes(self.receipt),
                    signature=self.receipt_signature))
        return message

    def _records(self):
        "Return the Records of the events of the message, in their order"
        return [
            Record.from_json(canonical.load(bytes(data)))
            for data in [self.submission_record, self.delivery_record]
            if data]


class FileExportMixin:
    "A wizard that makes a file of the records, to save"
    start_state = 'export'
    export = StateTransition()

    def default_result(self, fields):
        file = self.result.file
        self.result.file = None  # not kept in the session
        return {
            'name': self.result.name,
            'file': file,
            }


class EvidenceExport(FileExportMixin, Wizard):
    __name__ = 'cooperative.edi.evidence.export'
    result = StateView(
        'cooperative.edi.evidence.export.result',
        'cooperative_edi.evidence_export_result_view_form', [
            Button("Close", 'end', 'tryton-close', default=True),
            ])

    def transition_export(self):
        pool = Pool()
        Message = pool.get('cooperative.edi.message')
        messages = Message.deal_of(self.records)
        self.result.file = Message.evidence(messages)
        self.result.name = Message.evidence_name(messages)
        return 'result'


class EvidenceExportResult(ModelView):
    __name__ = 'cooperative.edi.evidence.export.result'

    name = fields.Char("Name", readonly=True)
    file = fields.Binary("File", readonly=True, filename='name',
        help="Whoever has this file can verify it without you.")
