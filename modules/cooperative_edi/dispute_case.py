# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What a dispute is made of: the messages in question, the case file and what
is drafted at its end"""
from trytond.i18n import gettext
from trytond.model import ModelSQL, ModelView, Unique, fields
from trytond.pool import Pool

from trycoton.protocol import dispute as rules
from trycoton.protocol import envelope, evidence

from .dispute_message import KINDS
from .exceptions_dispute import DisputeModifyError
from .peer import naive


class DisputeMessage(ModelSQL, ModelView):
    __name__ = 'cooperative.edi.dispute.message'

    dispute = fields.Many2One(
        'cooperative.edi.dispute', "Dispute", required=True, readonly=True,
        ondelete='CASCADE')
    message = fields.Many2One(
        'cooperative.edi.message', "Message", readonly=True,
        ondelete='RESTRICT',
        help="Empty if it never arrived here, or for the arbiter.")
    uuid = fields.Char("UUID", required=True, readonly=True)
    digest = fields.Char("Digest", required=True, readonly=True)

    __access__ = {'dispute'}

    def get_rec_name(self, name):
        return self.message.rec_name if self.message else self.uuid


class DisputeItem(ModelSQL, ModelView):
    __name__ = 'cooperative.edi.dispute.item'

    dispute = fields.Many2One(
        'cooperative.edi.dispute', "Dispute", required=True, readonly=True,
        ondelete='RESTRICT')
    author = fields.Char("Identifier of Author", required=True, readonly=True,
        help="The identifier of whose key signed it.")
    author_name = fields.Function(fields.Char("Author"), 'get_author_name')
    kind = fields.Selection(KINDS, "Type", required=True, readonly=True)
    created = fields.DateTime("Created", required=True, readonly=True,
        help="When the author wrote it, by its clock.")
    text = fields.Text("Text", readonly=True)
    name = fields.Char("File Name", readonly=True)
    file = fields.Binary("File", readonly=True, filename='name')
    checked = fields.Selection([
            (None, ""),
            ('verified', "Verified"),
            ('consistent', "Consistent"),
            ('refused', "Refused"),
            ], "Proofs", readonly=True,
        help="What the verifier says of the evidence file: consistent "
        "means that all fits, if its signers are who they say.")
    data = fields.Binary("Statement", required=True, readonly=True,
        help="The exact bytes that are signed.")
    signature = fields.Text("Signature", required=True, readonly=True)
    digest = fields.Char("Digest", required=True, readonly=True)

    __access__ = {'dispute'}

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_constraints += [
            ('digest_unique', Unique(t, t.dispute, t.digest),
                'cooperative_edi.msg_dispute_item_unique'),
            ]
        cls._order = [('created', 'ASC'), ('id', 'ASC')]

    def get_rec_name(self, name):
        return f'{self.author} {self.kind}'

    def get_author_name(self, name):
        return self.dispute.name_of(self.author)

    @classmethod
    def check_modification(cls, mode, items, values=None, external=False):
        super().check_modification(
            mode, items, values=values, external=external)
        if mode != 'create':
            for item in items:
                raise DisputeModifyError(gettext(
                        'cooperative_edi.msg_dispute_modify',
                        record=item.rec_name))

    @property
    def statement(self):
        return envelope.parse(bytes(self.data))

    @classmethod
    def of_statement(cls, dispute, statement, jws, body):
        text = [getattr(body, n, None) for n in ['claim', 'text', 'reason']]
        if arbiter := getattr(body, 'arbiter', None):
            text.append(gettext(
                    'cooperative_edi.msg_dispute_item_arbiter',
                    arbiter=dispute.name_of(arbiter)))
        return cls(
            dispute=dispute, author=statement.sender, kind=statement.kind,
            created=naive(statement.created),
            text='\n'.join(filter(None, text)) or None,
            name=getattr(body, 'name', None),
            file=getattr(body, 'file', None), checked=cls._check(body),
            data=statement.to_bytes(), signature=jws,
            digest=statement.digest)

    @classmethod
    def _check(cls, body):
        "Return what the verifier says of the evidence file, if it is one"
        # Once: it takes long for a large file
        if (getattr(body, 'name', None) or '').endswith('.evidence'):
            return {
                evidence.VERIFIED: 'verified',
                evidence.REFUSED: 'refused',
                }.get(evidence.verify(body.file or b'').status, 'consistent')

    @classmethod
    def hand_over(cls, items, arbiter):
        "Send the arbiter what was said, as it was signed"
        pool = Pool()
        Message = pool.get('cooperative.edi.message')
        for item in items:
            Message.send_statement(
                arbiter, 'dispute-case', rules.CaseStatement(
                    bytes(item.data), item.signature).to_json(),
                origin=item.dispute)


class DisputeProposal(ModelSQL, ModelView):
    __name__ = 'cooperative.edi.dispute.proposal'

    dispute = fields.Many2One(
        'cooperative.edi.dispute', "Dispute", required=True, readonly=True,
        ondelete='CASCADE')
    record = fields.Reference("Draft", 'get_records', readonly=True)

    __access__ = {'dispute'}

    @classmethod
    def _get_records(cls):
        "Return the names of the models of what is drafted"
        return []

    @classmethod
    def get_records(cls):
        pool = Pool()
        Model = pool.get('ir.model')
        return [(None, "")] + [
            (m, Model.get_name(m)) for m in cls._get_records()]

    def get_rec_name(self, name):
        return self.record.rec_name if self.record else str(self.id)
