# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What the codes of the others mean here, as a person said once"""
from sql.operators import Equal
from trytond.model import Exclude, ModelSQL, ModelView, Unique, fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Eval, If
from trytond.transaction import Transaction, without_check_access


class Mapping(ModelSQL, ModelView):
    __name__ = 'cooperative.edi.mapping'
    _rec_name = 'code'

    _known = {
        'readonly': Eval('id', -1) >= 0,
        }

    company = fields.Many2One(
        'company.company', "Company", required=True, readonly=True,
        ondelete='CASCADE')
    kind = fields.Selection([
            ('party', "Party"),
            ('product', "Product"),
            ('unit', "Unit"),
            ('tax', "Tax"),
            ('currency', "Currency"),
            ], "Kind", required=True, sort=False, states=_known)
    kind_string = kind.translated('kind')
    code = fields.Char("Code", required=True, states=_known,
        help="What the party writes.")
    name = fields.Char("Name", readonly=True,
        help="How the party names it.")
    party = fields.Many2One(
        'party.party', "Party", ondelete='CASCADE',
        states={
            'required': Eval('kind') != 'party',
            'readonly': (Eval('id', -1) >= 0) & (Eval('kind') != 'party'),
            },
        context={
            'company': Eval('company', -1),
            },
        depends={'company'},
        help="Who writes the code.")
    currency = fields.Many2One(
        'currency.currency', "Currency", ondelete='CASCADE',
        states={
            'invisible': Eval('kind') != 'currency',
            })
    given = fields.Function(
        fields.Boolean("Given"), 'get_given', searcher='search_given')
    messages = fields.Many2Many(
        'cooperative.edi.message-cooperative.edi.mapping', 'mapping',
        'message', "Messages", readonly=True,
        help="The messages that waited for it.")

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_constraints += [
            ('code_unique', Unique(t, t.company, t.party, t.kind, t.code),
                'cooperative_edi.msg_mapping_unique'),
            ('party_exclude',
                Exclude(t, (t.company, Equal), (t.code, Equal),
                    where=t.kind == 'party'),
                'cooperative_edi.msg_mapping_unique'),
            ]
        cls._order = [('party', 'ASC'), ('kind', 'ASC'), ('code', 'ASC'),
            ('id', 'ASC')]

    @classmethod
    def default_company(cls):
        return Transaction().context.get('company')

    def get_rec_name(self, name):
        return f'{self.kind_string} {self.code}'

    @property
    def value(self):
        "What a person gave for the code, or None"
        return getattr(self, self.kind, None)

    def get_given(self, name):
        return bool(self.value)

    @classmethod
    def search_given(cls, name, clause):
        _, operator, value = clause
        operator = '!=' if (operator == '=') == bool(value) else '='
        return ['OR', *(
                [('kind', '=', kind), (kind, operator, None)]
                for kind, _ in cls.kind.selection if kind in cls._fields)]

    @classmethod
    def view_attributes(cls):
        return super().view_attributes() + [
            ('/tree', 'visual', If(~Eval('given'), 'warning', '')),
            ]

    @classmethod
    def on_modification(cls, mode, mappings, field_names=None):
        super().on_modification(mode, mappings, field_names=field_names)
        if mode == 'write':
            cls._try_again(mappings)

    @classmethod
    @without_check_access
    def _try_again(cls, mappings):
        "Import the messages that miss nothing any more"
        pool = Pool()
        Message = pool.get('cooperative.edi.message')
        messages = {m for r in mappings for m in r.messages}
        Message.retry([
                m for m in sorted(messages, key=int)
                if m.state == 'held' and all(r.value for r in m.missing)])

    @classmethod
    def _domain(cls, message, missing):
        domain = [
            ('company', '=', message.company.id),
            ('kind', '=', missing.kind),
            ('code', '=', missing.code),
            ]
        if missing.kind != 'party':
            domain.append(('party', '=', message.partner.id))
        return domain

    @classmethod
    def get(cls, message, missing):
        "Return what was given for what the message misses, or None"
        for mapping in cls.search(cls._domain(message, missing), limit=1):
            return mapping.value

    @classmethod
    def ask(cls, message, missing):
        "Return the mappings to complete for what the message misses"
        mappings = []
        for one in missing:
            found = cls.search(cls._domain(message, one), limit=1)
            mappings += found or cls.create([{
                        'company': message.company.id,
                        'kind': one.kind,
                        'code': one.code,
                        'name': one.name,
                        'party': (None if one.kind == 'party'
                            else message.partner.id),
                        }])
        # One code may have several names
        return list(dict.fromkeys(mappings))


class Mapping_Product(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.mapping'

    product = fields.Many2One(
        'product.product', "Product", ondelete='CASCADE',
        states={
            'invisible': Eval('kind') != 'product',
            },
        context={
            'company': Eval('company', -1),
            },
        depends={'company'})
    unit = fields.Many2One(
        'product.uom', "Unit", ondelete='CASCADE',
        states={
            'invisible': Eval('kind') != 'unit',
            })


class Mapping_Account(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.mapping'

    tax = fields.Many2One(
        'account.tax', "Tax", ondelete='CASCADE',
        domain=[
            ('company', '=', Eval('company', -1)),
            ('parent', '=', None),
            ['OR',
                ('group', '=', None),
                ('group.kind', 'in', ['purchase', 'both']),
                ],
            ],
        states={
            'invisible': Eval('kind') != 'tax',
            })


class MessageMapping(ModelSQL):
    __name__ = 'cooperative.edi.message-cooperative.edi.mapping'

    message = fields.Many2One(
        'cooperative.edi.message', "Message", required=True,
        ondelete='CASCADE')
    mapping = fields.Many2One(
        'cooperative.edi.mapping', "Mapping", required=True,
        ondelete='CASCADE')
