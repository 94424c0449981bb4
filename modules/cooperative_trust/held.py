# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What the trust party holds about a member, given to that member alone"""
import base64

from trytond.model import Index, Model, ModelView, fields
from trytond.pool import Pool, PoolMeta
from trytond.transaction import without_check_access
from trytond.wizard import Button, StateView, Wizard

from cooperative_edi.evidence import FileExportMixin
from cooperative_edi.identity import aware, now
from trycoton.protocol import canonical

ENTRIES_MAX = 1000
MESSAGES_MAX = 200
# A page is at most that long with the message that makes it full
PAGE_MAX = 4 * 1024 * 1024


def _time(time):
    return canonical.format_time(aware(time)) if time else None


def _text(data):
    return bytes(data).decode('utf-8') if data else None


class Held(Model):
    __name__ = 'cooperative.trust.held'

    @classmethod
    @without_check_access
    def page(cls, peer, after=0):
        """Return the JSON value of what is held about the peer, with some of
        the messages that come after the one of that number"""
        pool = Pool()
        Identity = pool.get('cooperative.edi.identity')
        messages, last = cls._messages(peer, after)
        return {
            'trust_party': Identity.get(peer.company.id).identifier,
            'created': canonical.format_time(now()),
            **cls._about(peer),
            'messages': messages,
            'next': last,
            }

    @classmethod
    def all(cls, peer):
        "Return the bytes of all that is held about the peer"
        page = cls.page(peer)
        while page['next'] is not None:
            more = cls.page(peer, page['next'])
            page['messages'] += more['messages']
            page['next'] = more['next']
        del page['next']
        return canonical.dump(page)

    @classmethod
    def _about(cls, peer):
        "Return the members of the value beside the messages"
        return {
            'participant': cls._participant(peer),
            'memberships': cls._memberships(peer),
            'agreements': cls._agreements(peer),
            'refusals': cls._refusals(peer),
            'rejections': cls._rejections(peer),
            'quota': cls._quota(peer),
            }

    @classmethod
    def _participant(cls, peer):
        legal = peer.party.edi_legal()
        return {
            'identifier': peer.identifier,
            'name': peer.name,
            'kind': peer.kind,
            'state': peer.state,
            'endpoint': peer.endpoint or None,
            'direct': bool(peer.direct),
            'trust_parties': (peer.trust_parties or '').split(),
            'legal': legal.to_json() if legal else None,
            'keys': [{
                    'purpose': k.purpose,
                    'id': k.kid,
                    'public': k.public,
                    'valid_from': _time(k.valid_from),
                    'valid_to': _time(k.valid_to),
                    'revoked': _time(k.revoked),
                    } for k in peer.keys],
            }

    @classmethod
    def _memberships(cls, peer):
        pool = Pool()
        Member = pool.get('cooperative.trust.member')
        return [{
                'community': m.community.identifier,
                'state': m.state,
                'since': _time(m.create_date),
                } for m in Member.search([('peer', '=', peer.id)])]

    @classmethod
    def _agreements(cls, peer):
        pool = Pool()
        Agreement = pool.get('cooperative.trust.agreement')
        return [{
                'relation': a.uuid,
                'proposer': a.proposer.identifier,
                'acceptor': a.acceptor.identifier,
                'community': a.community.identifier if a.community else None,
                'state': a.state,
                } for a in Agreement.search(['OR',
                    ('proposer', '=', peer.id),
                    ('acceptor', '=', peer.id),
                    ])]

    @classmethod
    def _refusals(cls, peer):
        pool = Pool()
        Refusal = pool.get('cooperative.edi.refusal')
        return [{
                'problem': r.problem,
                'detail': r.detail,
                'request': r.request,
                'address': r.address,
                'count': r.count,
                'first': _time(r.first),
                'last': _time(r.last),
                } for r in Refusal.search([('peer', '=', peer.id)])]

    @classmethod
    def _rejections(cls, peer):
        pool = Pool()
        Rejection = pool.get('cooperative.trust.rejection')
        return [{
                'message': r.uuid,
                'sender': r.sender,
                'recipient': r.recipient,
                'sequence': r.sequence,
                'digest': r.digest,
                'signature': r.signature,
                'reason': r.reason,
                'text': r.reason_text,
                'erased': _time(r.erased),
                'entries': [l.held for l in r.leaves if l.index is not None],
                } for r in Rejection.search([('peer', '=', peer.id)])]

    @classmethod
    def _quota(cls, peer):
        pool = Pool()
        Quota = pool.get('cooperative.trust.quota')
        for quota in Quota.search([('peer', '=', peer.id)]):
            return {
                'messages_minute': quota.messages_limit,
                'megabytes_day': quota.size_limit,
                }

    @classmethod
    def _messages(cls, peer, after):
        """Return the messages of a page, and after which one the next page
        starts, None if it is the last"""
        pool = Pool()
        Message = pool.get('cooperative.edi.message')
        messages = Message.search([
                ('company', '=', peer.company.id),
                ('relays', '=', None),
                ('digest', '!=', None),
                ('id', '>', after),
                ['OR',
                    ('sender', '=', peer.identifier),
                    ('recipient', '=', peer.identifier),
                    ],
                ], order=[('id', 'ASC')], limit=MESSAGES_MAX)
        relayed = {m.relays.id: m for m in Message.search([
                    ('relays', 'in', [m.id for m in messages]),
                    ])}
        values, size = [], 0
        for message in messages:
            message = message.alone
            values.append(cls._message(message, relayed.get(message.id)))
            size += len(message.data or b'')
            if size > PAGE_MAX or len(values) == MESSAGES_MAX:
                return values, message.id
        return values, None

    @classmethod
    def _message(cls, message, relayed):
        "Return the value of the message, and of what was sent on of it"
        return {
            'message': message.uuid,
            'kind': message.kind,
            'sender': message.sender,
            'recipient': message.recipient,
            'created': _time(message.created),
            'stored': _time(message.stored),
            'erased': _time(message.erased),
            'sequence': message.sequence,
            'digest': message.digest,
            'state': (relayed or message).state,
            'data': (base64.b64encode(message.data).decode()
                if message.data else None),
            'signature': message.signature,
            'receipt': _text(message.receipt),
            'receipt_signature': message.receipt_signature,
            'entries': [
                l.held for m in filter(None, [message, relayed])
                for l in m.leaves if l.index is not None],
            }


class Leaf(metaclass=PoolMeta):
    __name__ = 'cooperative.trust.log.leaf'

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_indexes.add(Index(
                t,
                (t.log, Index.Equality()),
                (t.recipient, Index.Equality()),
                (t.index, Index.Range())))

    @property
    def held(self):
        "The JSON value of the entry for the parties of its message"
        return {
            'event': self.event,
            'index': self.index,
            'time': _time(self.time),
            # What the mirror does not have yet could be signed otherwise
            'record': (
                self.record.to_json()
                if not self.erased and self.log.has_published(self.index)
                else None),
            }

    @classmethod
    @without_check_access
    def listed(cls, peer, after=0):
        """Return the JSON value that lists the entries of the peer from that
        index on, and from which index the list goes on"""
        domain = [
            ('log.company', '=', peer.company.id),
            ('index', '>=', after),
            ['OR',
                ('sender', '=', peer.identifier),
                ('recipient', '=', peer.identifier),
                ],
            # To whom it was refused is nobody else's business
            ['OR',
                ('rejection', '=', None),
                ('rejection.peer', '=', peer.id),
                ],
            ]
        leaves = cls.search(
            domain, order=[('index', 'ASC')], limit=ENTRIES_MAX)
        more = len(leaves) == ENTRIES_MAX
        if more:
            # Other logs of the company have the same indexes
            leaves += cls.search([
                    *domain, ('index', '=', leaves[-1].index),
                    ('id', 'not in', [l.id for l in leaves])])
        return {
            'entries': [{
                    'message': l.subject.uuid,
                    'event': l.event,
                    'index': l.index,
                    'sender': l.sender,
                    'recipient': l.recipient,
                    'erased': l.erased,
                    } for l in leaves],
            'next': leaves[-1].index + 1 if more else None,
            }


class Export(FileExportMixin, Wizard):
    __name__ = 'cooperative.trust.member.export'
    result = StateView(
        'cooperative.trust.member.export.result',
        'cooperative_trust.member_export_result_view_form', [
            Button("Close", 'end', 'tryton-close', default=True),
            ])

    def transition_export(self):
        pool = Pool()
        Held = pool.get('cooperative.trust.held')
        peer = self.record.peer
        self.result.file = Held.all(peer)
        self.result.name = f"{peer.identifier.replace(':', '-')}.json"
        return 'result'


class ExportResult(ModelView):
    __name__ = 'cooperative.trust.member.export.result'

    name = fields.Char("Name", readonly=True)
    file = fields.Binary("File", readonly=True, filename='name',
        help="All that is kept about the member: give it to nobody else.")
