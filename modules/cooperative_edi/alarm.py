# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What a person must know of those whom we should not have to trust.

An alarm says in words what was found, and keeps the bytes that show it to
anybody else.  What it says never changes: only its state does.
"""
from sql import Null
from sql.conditionals import Case
from trytond.i18n import gettext
from trytond.model import Index, ModelSQL, ModelView, Unique, Workflow, fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Eval, If
from trytond.transaction import Transaction, without_check_access
from trytond.wizard import StateAction

from .exceptions import AlarmModifyError
from .identity import now
from .peer import naive
from .transaction import hold

KINDS = [
    ('split', "Two Stories"),
    ('back', "Log Went Back"),
    ('silent', "Log Silent"),
    ('tiles', "Log Not Proven"),
    ('promise', "Promise Broken"),
    ('record', "Wrong Record"),
    ('gap', "Message Missing"),
    ('keys', "Keys Changed"),
    ('entry', "Own Entry Changed"),
    ('directory', "Directory Contradicted"),
    ('stale', "Directory Out of Date"),
    ('unlogged', "Directory Not Recorded"),
    ]


class Alarm(Workflow, ModelSQL, ModelView):
    __name__ = 'cooperative.edi.alarm'

    company = fields.Many2One(
        'company.company', "Company", required=True, readonly=True,
        ondelete='CASCADE')
    kind = fields.Selection(
        KINDS, "Type", required=True, readonly=True, sort=False)
    kind_string = kind.translated('kind')
    peer = fields.Many2One(
        'cooperative.edi.peer', "Peer", readonly=True, ondelete='RESTRICT',
        domain=[
            ('company', '=', Eval('company', -1)),
            ],
        help="Whom the alarm is about.")
    message = fields.Many2One(
        'cooperative.edi.message', "Message", readonly=True,
        ondelete='RESTRICT',
        states={
            'invisible': ~Eval('message'),
            },
        help="The message with which it was found.")
    time = fields.DateTime("Time", required=True, readonly=True,
        help="When it was found.")
    text = fields.Text("What Was Found", required=True, readonly=True)
    advice = fields.Function(fields.Text("What to Do"), 'get_advice')
    evidence = fields.One2Many(
        'cooperative.edi.alarm.evidence', 'alarm', "Evidence", readonly=True,
        help="The bytes that show it to others, to save in files.")
    key = fields.Char("Key", required=True, readonly=True,
        help="What is told only once.")
    state = fields.Selection([
            ('open', "Open"),
            ('settled', "Settled"),
            ('acknowledged', "Acknowledged"),
            ], "State", required=True, readonly=True, sort=False,
        help="Settled: what was found has passed.\n"
        "Acknowledged: somebody took note of it.")
    settled = fields.DateTime("Settled On", readonly=True,
        states={
            'invisible': ~Eval('settled'),
            })
    acknowledged = fields.DateTime("Acknowledged On", readonly=True,
        states={
            'invisible': ~Eval('acknowledged'),
            })
    acknowledged_by = fields.Many2One(
        'res.user', "Acknowledged By", readonly=True, ondelete='RESTRICT',
        states={
            'invisible': ~Eval('acknowledged_by'),
            })

    _changing = {'state', 'settled', 'acknowledged', 'acknowledged_by'}

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_constraints += [
            ('key_unique', Unique(t, t.company, t.kind, t.key),
                'cooperative_edi.msg_alarm_key_unique'),
            ]
        cls._sql_indexes.add(
            Index(t, (t.company, Index.Equality()),
                (t.state, Index.Equality())))
        cls._order = [('time', 'DESC'), ('id', 'DESC')]
        cls._transitions |= {
            ('open', 'settled'),
            ('open', 'acknowledged'),
            ('settled', 'acknowledged'),
            }
        cls._buttons.update(
            acknowledge={
                'invisible': Eval('state') == 'acknowledged',
                'depends': ['state'],
                },
            )

    @classmethod
    def default_state(cls):
        return 'open'

    @classmethod
    def default_time(cls):
        return naive(now())

    def get_rec_name(self, name):
        names = [self.kind_string]
        if self.peer:
            names.append(self.peer.rec_name)
        return ' - '.join(names)

    @classmethod
    def search_rec_name(cls, name, clause):
        return ['OR',
            ('kind', *clause[1:]),
            ('peer.rec_name', *clause[1:]),
            ('text', *clause[1:]),
            ]

    @classmethod
    def view_attributes(cls):
        return super().view_attributes() + [
            ('/tree', 'visual',
                If(Eval('state') == 'open', 'danger',
                    If(Eval('state') == 'settled', 'warning', 'muted'))),
            ]

    def get_advice(self, name):
        return gettext(f'cooperative_edi.msg_advice_{self.kind}')

    @classmethod
    def check_modification(cls, mode, alarms, values=None, external=False):
        super().check_modification(
            mode, alarms, values=values, external=external)
        if mode == 'delete' or (
                mode == 'write' and values.keys() - cls._changing):
            for alarm in alarms:
                raise AlarmModifyError(gettext(
                        'cooperative_edi.msg_alarm_modify',
                        alarm=alarm.rec_name))

    @classmethod
    @ModelView.button
    @Workflow.transition('acknowledged')
    def acknowledge(cls, alarms):
        cls.write([a for a in alarms if a.state != 'acknowledged'], {
                'acknowledged': naive(now()),
                'acknowledged_by': Transaction().user,
                })

    @classmethod
    @without_check_access
    def raise_alarm(
            cls, company, kind, key, text, peer=None, message=None,
            evidence=(), **values):
        """Return the alarm of the kind, which is told once for each key.

        company is the id; text that of an ir.message, with its values;
        evidence are names of files and bytes.
        """
        pool = Pool()
        Company = pool.get('company.company')
        # Two that find it at the same time tell it once
        company = hold(Company(company))
        alarms = cls.search([
                ('company', '=', company.id),
                ('kind', '=', kind),
                ('key', '=', key),
                ])
        if alarms:
            alarm, = alarms
            return alarm
        language = company.party.lang
        with Transaction().set_context(
                language=language.code if language
                else Transaction().language):
            text = gettext(text, **values)
        alarm = cls(
            company=company, kind=kind, key=key, text=text, peer=peer,
            message=message, evidence=[
                {'name': name, 'data': data} for name, data in evidence])
        alarm.save()
        return alarm

    @classmethod
    def is_open(cls, kind, peer):
        "Tell if a person has not taken note yet of such an alarm of the peer"
        return bool(cls._open([kind], peer))

    @classmethod
    def add_evidence(cls, kind, peer, files):
        "Keep with the open alarm of the peer the files that it lacks"
        pool = Pool()
        Evidence = pool.get('cooperative.edi.alarm.evidence')
        alarm = cls._open([kind], peer)[0]
        known = {bytes(e.data) for e in alarm.evidence}
        files = [(n, d) for n, d in files if d not in known]
        Evidence.create([
                {'alarm': alarm, 'name': f'{number}-{name}', 'data': data}
                for number, (name, data) in enumerate(
                    files, len(alarm.evidence) + 1)])

    @classmethod
    def _open(cls, kinds, peer):
        return cls.search([
                ('kind', 'in', kinds),
                ('peer', '=', peer),
                ('state', '=', 'open'),
                ])

    @classmethod
    @without_check_access
    @Workflow.transition('settled')
    def _settle(cls, alarms):
        cls.write(alarms, {'settled': naive(now())})

    @classmethod
    @without_check_access
    def settle(cls, kinds, peer):
        "What the open alarms of the peer say has passed by itself"
        if alarms := cls._open(kinds, peer):
            cls._settle(alarms)


class AlarmEvidence(ModelSQL, ModelView):
    __name__ = 'cooperative.edi.alarm.evidence'

    alarm = fields.Many2One(
        'cooperative.edi.alarm', "Alarm", required=True, readonly=True,
        ondelete='CASCADE')
    name = fields.Char("File Name", required=True, readonly=True)
    data = fields.Binary("File", required=True, readonly=True,
        filename='name')

    __access__ = {'alarm'}

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._order = [('id', 'ASC')]

    @classmethod
    def check_modification(cls, mode, evidence, values=None, external=False):
        super().check_modification(
            mode, evidence, values=values, external=external)
        if mode != 'create':
            for record in evidence:
                raise AlarmModifyError(gettext(
                        'cooperative_edi.msg_alarm_modify',
                        alarm=record.alarm.rec_name))


class Waiting(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.waiting'

    @classmethod
    def union_models(cls):
        return super().union_models() + ['cooperative.edi.alarm']

    @classmethod
    def _waiting_cooperative_edi_alarm(cls, table):
        task = Case((table.state == 'open', 'take_note'), else_=Null)
        return task, *cls._with_peer(table)


class Open(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.waiting.open'
    cooperative_edi_alarm = StateAction('cooperative_edi.act_alarm')
