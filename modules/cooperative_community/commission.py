# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
from decimal import Decimal

from sql import Null
from trytond.i18n import gettext
from trytond.model import Index, ModelSQL, ModelView, Unique, fields
from trytond.model.exceptions import AccessError
from trytond.modules.currency.fields import Monetary
from trytond.pool import Pool
from trytond.pyson import Bool, Eval, If
from trytond.tools import grouped_slice, sortable_values
from trytond.transaction import Transaction
from trytond.wizard import Button, StateAction, StateView, Wizard

from cooperative_edi import client, courier
from cooperative_edi.column import BigInteger
from cooperative_edi.http import authorization
from cooperative_edi.peer import naive
from trycoton.protocol import signature
from trycoton.protocol.commission import CommissionStatement
from trycoton.protocol.errors import ProtocolError, Rejected

from .exceptions import CommissionProductMissingError, StatementRefusedError


class Statement(ModelSQL, ModelView):
    __name__ = 'cooperative.community.statement'

    community = fields.Many2One(
        'cooperative.community', "Community", required=True, readonly=True,
        ondelete='RESTRICT')
    trust_party = fields.Many2One(
        'cooperative.edi.peer', "Trust Party", required=True, readonly=True,
        ondelete='RESTRICT')
    created = fields.DateTime("Created", required=True, readonly=True)
    data = fields.Binary("Statement", required=True, readonly=True,
        filename='filename',
        help="The exact bytes that the trust party signed.")
    filename = fields.Function(fields.Char("File Name"), 'get_filename')
    signature = fields.Text("Signature", required=True, readonly=True)
    commissions = fields.One2Many(
        'cooperative.community.commission', 'statement', "Commissions",
        readonly=True)

    __access__ = {'community'}

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._order = [('created', 'DESC'), ('id', 'DESC')]

    def get_rec_name(self, name):
        return f'{self.trust_party.rec_name} {self.created}'

    def get_filename(self, name):
        return f'statement-{self.id}.json'

    @property
    def content(self):
        return CommissionStatement.parse(bytes(self.data))

    @classmethod
    def fetch(cls, community, trust_party):
        """Return the unsaved statements of what the trust party logged since
        the last one.  Raise a UserError."""
        statements = []
        after = cls._next_index(community, trust_party)
        while True:
            statement = cls._fetch(community, trust_party, after)
            lines = statement.content.lines
            if not lines:
                return statements
            statements.append(statement)
            after = lines[-1].index + 1

    @classmethod
    def _next_index(cls, community, trust_party):
        "Return the index in the log after the last line"
        statements = cls.search([
                ('community', '=', community),
                ('trust_party', '=', trust_party),
                ], order=[('id', 'DESC')], limit=1)
        for statement in statements:
            return statement.content.lines[-1].index + 1
        return 0

    @classmethod
    def _fetch(cls, community, trust_party, after):
        path = (f'/trust/statements?community={community.identifier}'
            f'&after={after}')
        url = trust_party.endpoint + path
        try:
            response = client.get(url, authorization(
                    community.identity, trust_party, 'GET', url))
        except client.ClientError as exception:
            raise exception.user_error() from exception
        if response.status != 200:
            raise cls._refused(trust_party, courier.problem(response))
        try:
            return cls._open(
                community, trust_party, after, response.data,
                response.headers.get(signature.SIGNATURE_HEADER, ''))
        except ProtocolError as exception:
            raise cls._refused(trust_party, exception) from exception

    @classmethod
    def _refused(cls, trust_party, error):
        return StatementRefusedError(gettext(
                'cooperative_community.msg_statement_refused',
                trust_party=trust_party.rec_name, error=str(error)))

    @classmethod
    def _open(cls, community, trust_party, after, data, jws):
        "Return the statement of signed bytes; raise ProtocolError"
        signature.verify(
            data, jws, signature.COMMISSION, trust_party.public_keys())
        content = CommissionStatement.parse(data)
        if (content.community != community.identifier
                or content.trust_party != trust_party.identifier):
            raise Rejected("The statement is for somebody else.")
        if content.after != after or any(
                l.index < after for l in content.lines):
            raise Rejected("The statement is not the one wanted.")
        return cls(
            community=community, trust_party=trust_party,
            created=naive(content.created), data=data, signature=jws)

    @classmethod
    def add(cls, statements):
        "Save the statements with the commissions of their lines"
        pool = Pool()
        Commission = pool.get('cooperative.community.commission')
        cls.save(statements)
        Commission.add(statements)


class Commission(ModelSQL, ModelView):
    __name__ = 'cooperative.community.commission'

    community = fields.Many2One(
        'cooperative.community', "Community", required=True, readonly=True,
        ondelete='RESTRICT')
    membership = fields.Many2One(
        'cooperative.community.membership', "Offerer", required=True,
        readonly=True, ondelete='RESTRICT',
        domain=[
            ('community', '=', Eval('community', -1)),
            ])
    statement = fields.Many2One(
        'cooperative.community.statement', "Statement", required=True,
        readonly=True, ondelete='RESTRICT',
        help="Where the trust party signed the line.")
    trust_party = fields.Many2One(
        'cooperative.edi.peer', "Trust Party", required=True, readonly=True,
        ondelete='RESTRICT')
    index = BigInteger("Log Index", required=True, readonly=True,
        help="Where the log of the trust party proves the document.")
    message = fields.Char("Message", required=True, readonly=True,
        help="The UUID of the message that carried the document.")
    kind = fields.Selection([
            ('invoice', "Invoice"),
            ('credit_note', "Credit Note"),
            ], "Type", required=True, readonly=True, sort=False)
    kind_string = kind.translated('kind')
    document_number = fields.Char("Document", required=True, readonly=True)
    buyer = fields.Char("Buyer", required=True, readonly=True)
    date = fields.Date("Date", required=True, readonly=True)
    currency = fields.Many2One(
        'currency.currency', "Currency", required=True, readonly=True,
        ondelete='RESTRICT')
    base = Monetary(
        "Base", currency='currency', digits='currency', required=True,
        readonly=True,
        help="The untaxed amount of the document, negative if it is a "
        "credit note.")
    rate = fields.Numeric(
        "Rate", digits=(None, 4), required=True, readonly=True,
        help="The rate in force at the date of the document.")
    amount = Monetary(
        "Amount", currency='currency', digits='currency', required=True,
        readonly=True)
    invoice_line = fields.Many2One(
        'account.invoice.line', "Invoice Line", readonly=True,
        ondelete='RESTRICT')
    invoice = fields.Function(
        fields.Many2One('account.invoice', "Invoice"),
        'on_change_with_invoice', searcher='search_invoice')
    invoice_state = fields.Function(
        fields.Selection('get_invoice_states', "Invoice State"),
        'on_change_with_invoice_state')

    __access__ = {'community'}

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_constraints += [
            ('message_unique', Unique(t, t.community, t.message),
                'cooperative_community.msg_commission_message_unique'),
            ]
        cls._sql_indexes.add(
            Index(t, (t.membership, Index.Equality()),
                where=t.invoice_line == Null))
        cls._order = [('date', 'DESC'), ('id', 'DESC')]

    @fields.depends('invoice_line', '_parent_invoice_line.invoice')
    def on_change_with_invoice(self, name=None):
        return self.invoice_line.invoice if self.invoice_line else None

    @classmethod
    def search_invoice(cls, name, clause):
        nested = clause[0][len(name):]
        return [('invoice_line.invoice' + nested, *clause[1:])]

    @fields.depends(methods=['on_change_with_invoice'])
    def on_change_with_invoice_state(self, name=None):
        invoice = self.on_change_with_invoice()
        return invoice.state if invoice else None

    @classmethod
    def get_invoice_states(cls):
        pool = Pool()
        Invoice = pool.get('account.invoice')
        return [(None, "")] + Invoice.fields_get(
            ['state'])['state']['selection']

    def get_rec_name(self, name):
        return f'{self.document_number} @ {self.membership.rec_name}'

    @classmethod
    def search_rec_name(cls, name, clause):
        _, operator, value = clause
        bool_op = 'AND' if operator.startswith(('!', 'not ')) else 'OR'
        return [bool_op,
            ('document_number', *clause[1:]),
            ('membership.rec_name', *clause[1:]),
            ]

    @classmethod
    def view_attributes(cls):
        return super().view_attributes() + [
            ('/tree', 'visual', If(Bool(Eval('invoice')), 'muted', '')),
            ]

    @classmethod
    def check_modification(
            cls, mode, commissions, values=None, external=False):
        super().check_modification(
            mode, commissions, values=values, external=external)
        if mode == 'delete':
            raise AccessError(gettext(
                    'cooperative_community.msg_commission_delete',
                    commission=commissions[0].rec_name))

    @classmethod
    def copy(cls, commissions, default=None):
        default = default.copy() if default is not None else {}
        default.setdefault('invoice_line')
        return super().copy(commissions, default=default)

    @classmethod
    def add(cls, statements):
        "Save the commissions of the lines that have none yet"
        known = cls._known(statements)
        commissions = []
        for statement in statements:
            for line in statement.content.lines:
                if (statement.community.id, line.message) in known:
                    continue
                known.add((statement.community.id, line.message))
                if commission := cls._get(statement, line):
                    commissions.append(commission)
        cls.save(commissions)

    @classmethod
    def _known(cls, statements):
        messages = [l.message for s in statements for l in s.content.lines]
        known = set()
        for slice in grouped_slice(messages):
            known.update((c.community.id, c.message) for c in cls.search([
                        ('message', 'in', list(slice)),
                        ]))
        return known

    @classmethod
    def _get(cls, statement, line):
        "Return the commission on the line, None if no member sold"
        pool = Pool()
        Currency = pool.get('currency.currency')
        Membership = pool.get('cooperative.community.membership')
        community = statement.community
        membership = Membership.of_identifier(community, line.seller)
        if not membership:
            return
        currencies = Currency.search([('code', '=', line.currency)])
        if not currencies:
            raise statement._refused(statement.trust_party, gettext(
                    'cooperative_community.msg_currency_unknown',
                    currency=line.currency))
        currency, = currencies
        base = abs(Decimal(line.untaxed))
        if line.kind == 'credit_note':
            base *= -1
        rate = community.rate_at(line.date) or Decimal(0)
        return cls(
            community=community, membership=membership, statement=statement,
            trust_party=statement.trust_party, index=line.index,
            message=line.message, kind=line.kind,
            document_number=line.number, buyer=line.buyer, date=line.date,
            currency=currency, base=currency.round(base), rate=rate,
            amount=currency.round(base * rate))

    @classmethod
    def to_invoice(cls, community, date=None):
        "Return what is not invoiced yet, by offerer and currency"
        commissions = cls.search([
                ('community', '=', community),
                ('invoice_line', '=', None),
                ('amount', '!=', 0),
                ('date', '<=', date) if date else (),
                ])
        return sorted(commissions, key=sortable_values(
                lambda c: (c._invoice_key, c.date, c.id)))

    @property
    def _invoice_key(self):
        return self.membership.id, self.currency.id

    @classmethod
    def create_invoices(cls, commissions):
        "Return the saved draft invoices of the commissions"
        pool = Pool()
        Invoice = pool.get('account.invoice')
        Line = pool.get('account.invoice.line')
        invoices, lines = {}, []
        for commission in commissions:
            invoice = invoices.get(commission._invoice_key)
            if not invoice:
                invoice = commission._get_invoice()
                invoices[commission._invoice_key] = invoice
            commission.invoice_line = commission._get_invoice_line(invoice)
            lines.append(commission.invoice_line)
        invoices = list(invoices.values())
        Invoice.save(invoices)
        Line.save(lines)
        cls.save(commissions)
        Invoice.update_taxes(invoices)
        return invoices

    def _get_invoice(self):
        invoice = self.membership._get_invoice()
        invoice.currency = self.currency
        return invoice

    def _get_invoice_line(self, invoice):
        product = self.community.commission_product
        if not product:
            raise CommissionProductMissingError(gettext(
                    'cooperative_community.msg_commission_product_missing',
                    community=self.community.rec_name))
        quantity = 1 if self.amount > 0 else -1
        return self.membership._get_invoice_line(
            invoice, product, quantity, abs(self.amount),
            description=self._description, origin=self)

    @property
    def _description(self):
        pool = Pool()
        Lang = pool.get('ir.lang')
        lang = self.membership.party.lang or Lang.get()
        with Transaction().set_context(language=lang.code):
            return gettext(
                'cooperative_community.msg_commission_line',
                kind=self.kind_string,
                document=self.document_number,
                date=lang.strftime(self.date),
                base=lang.currency(self.base, self.currency),
                rate=lang.format_number(self.rate * 100))


class InvoiceCommissions(Wizard):
    __name__ = 'cooperative.community.commission.invoice'

    start = StateView(
        'cooperative.community.commission.invoice.start',
        'cooperative_community.commission_invoice_start_view_form', [
            Button("Cancel", 'end', 'tryton-cancel'),
            Button("Invoice", 'invoice', 'tryton-ok', default=True),
            ])
    invoice = StateAction('account_invoice.act_invoice_out_form')

    def do_invoice(self, action):
        pool = Pool()
        Commission = pool.get('cooperative.community.commission')
        commissions = Commission.to_invoice(
            self.start.community, self.start.date)
        invoices = Commission.create_invoices(commissions)
        action['domains'] = []
        return action, {'res_id': [i.id for i in invoices]}


class InvoiceStart(ModelView):
    __name__ = 'cooperative.community.commission.invoice.start'

    community = fields.Many2One(
        'cooperative.community', "Community", required=True,
        domain=[
            ('role', '=', 'manager'),
            ])
    date = fields.Date("Until",
        help="Invoice the commissions on the documents up to this date.\n"
        "Leave empty to invoice them all.")

    @classmethod
    def default_community(cls):
        pool = Pool()
        Community = pool.get('cooperative.community')
        community = Community.managed(Transaction().context.get('company'))
        return community.id if community else None
