# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The certificate: what an evidence file proves, for people"""
from collections import Counter

from trytond.i18n import gettext
from trytond.pool import Pool
from trytond.report import Report

from trycoton.protocol import certificate, entry
from trycoton.protocol.errors import ProtocolError
from trycoton.protocol.note import Verifier
from trycoton.protocol.policy import Policy

from .exceptions import EvidenceError


def _(name, **values):
    return gettext(f'cooperative_edi.msg_certificate_{name}', **values)


class Certificate(Report):
    __name__ = 'cooperative.edi.certificate'

    @classmethod
    def get_context(cls, records, header, data):
        pool = Pool()
        Message = pool.get('cooperative.edi.message')
        context = super().get_context(records, header, data)
        if records:
            Model = records[0].__class__
            messages = Message.deal_of(Model.browse(list(map(int, records))))
            context.update(cls._values(
                    Message.evidence(messages),
                    Message.evidence_name(messages),
                    messages[0].company if messages else None))
        return context

    @classmethod
    def _values(cls, file, name, company):
        "Return what the template shows of the bytes of an evidence file"
        policy = cls._policy(company)
        try:
            read = certificate.read(file, policy)
        except ProtocolError as exception:
            raise EvidenceError(gettext(
                    'cooperative_edi.msg_evidence_incomplete',
                    error=str(exception))) from exception
        words = _Words(read)
        trusted = [v.vkey for v in [*policy.logs, *policy.communities]]
        return {
            'certificate': read,
            'name': name,
            'exporter': words.party(read.exporter),
            'parties': sorted({
                    (words.name(i), i) for m in read.messages
                    for i in [m.sender, m.recipient, m.via] if i}),
            'messages': [
                {'title': words.title(m), 'lines': words.lines(m)}
                for m in read.messages],
            'keys': list(map(words.key, read.keys)),
            'logs': [
                *(map(words.log, read.logs) if read.logs else [_('no_log')]),
                *map(words.policy, read.policies)],
            'options': ' '.join(f'--key {k}' for k in trusted),
            'result': _(f'result_{read.report.status}'),
            'checks': words.checks(read.report.checks),
            }

    @classmethod
    def _policy(cls, company):
        "Return whom the company trusts itself"
        pool = Pool()
        Peer = pool.get('cooperative.edi.peer')
        peers = Peer.search([
                ('company', '=', company.id),
                ('kind', 'in', ['community', 'trust-party']),
                ])
        logs = tuple(p.log_verifier for p in peers if p.log_key)
        communities = tuple(
            Verifier(p.identifier, key)
            for p in peers if p.kind == 'community'
            for key in p.public_keys().values())
        return Policy(logs=logs, communities=communities)


class _Words:
    "What a certificate says, in the language of the reader"

    def __init__(self, read):
        pool = Pool()
        Message = pool.get('cooperative.edi.message')
        Lang = pool.get('ir.lang')
        self.read = read
        self.lang = Lang.get()
        self.kinds = dict(
            Message.fields_get(['kind'])['kind']['selection'])
        self.titles = {}
        for message in read.messages:
            self.titles[message.id] = self.title(message)

    def name(self, identifier):
        return self.read.names.get(identifier) or identifier

    def party(self, identifier):
        name = self.name(identifier)
        return f'{name} ({identifier})' if name != identifier else name

    def time(self, value):
        # Not of a place: all that is signed is in UTC
        return f"{self.lang.strftime(value, self.lang.date + ' %H:%M:%S')} UTC"

    def title(self, message):
        return ' '.join(filter(None, [
                    self.kinds.get(message.kind, message.kind),
                    message.number]))

    def lines(self, message):
        "Return the labels and values of what is known of the message"
        lines = [
            (_('from'), self.party(message.sender)),
            (_('to'), self.party(message.recipient)),
            ]
        if message.date:
            lines.append((_('date'), self.lang.strftime(message.date)))
        lines += [
            (_(f'amount_{name}'), self.amount(amount, message.currency))
            for name, amount in message.amounts]
        if message.answers:
            lines.append((_('answers'), self.titles.get(
                        message.answers, message.answers)))
        lines.append((_('written'), self.time(message.created)))
        for event in message.events:
            lines += self.event(event)
        if message.refusal:
            refusal = message.refusal
            lines.append((_('refusal'), ' – '.join(filter(None, [
                                self.time(refusal.time), refusal.problem,
                                refusal.text]))))
        elif message.receipt:
            lines.append((_('receipt'), self.time(message.receipt)))
        elif not message.events:
            lines.append((_('receipt'), _('none')))
        return [
            *lines,
            (_('id'), message.id),
            (_('digest'), message.digest),
            (_('key'), message.kid),
            ]

    def amount(self, amount, currency):
        digits = max(0, -amount.as_tuple().exponent)
        text = self.lang.format_number(amount, digits=digits)
        return f'{text} {currency or ""}'.strip()

    def event(self, event):
        "Return the lines of a record of the trust party"
        reason = event.reason
        if event.event == entry.FAILURE and event.signed:
            reason = gettext('cooperative_edi.msg_failure_refused_signed')
        elif reason in entry.FAILURES:
            reason = gettext(
                f"cooperative_edi.msg_failure_{reason.replace('-', '_')}")
        what = ' – '.join(filter(
                None, [self.time(event.time), reason, event.text]))
        proof = _('proof', index=event.index, origin=event.origin,
            size=event.size, root=event.root)
        if event.witnesses:
            proof += ' ' + _(
                'witnesses', count=len(event.witnesses),
                names=', '.join(event.witnesses))
        return [
            (_(f"event_{event.event.replace('-', '_')}"), what),
            ('', proof)]

    def checks(self, checks):
        "Return what was checked, of each kind how many times"
        counts = Counter(
            ('record' if c.name in entry.EVENTS else c.name, c.ok)
            for c in checks)
        lines = []
        for (name, ok), count in counts.items():
            text = _(f'check_{name}')
            lines.append(
                '✓ ' + _('counted', text=text, count=count) if ok else
                '? ' + _('open', text=text, count=count))
        return lines

    def key(self, key):
        party = self.party(key.identifier)
        if not key.community:
            return _('key_descriptor', party=party, key=key.kid,
                fingerprint=key.fingerprint)
        text = _('key_directory', party=party, key=key.kid,
            community=self.party(key.community), version=key.version,
            fingerprint=key.fingerprint)
        if key.index is not None:
            text += ' ' + _('key_logged', index=key.index)
        return text

    def log(self, vkey):
        verifier = Verifier.from_vkey(vkey)
        return _('log', origin=verifier.name, vkey=vkey)

    def policy(self, told):
        "Return what a community tells of the witnesses of the logs"
        if not told.quorum:
            return _('policy_none', community=self.party(told.community),
                version=told.version)
        return _('policy', community=self.party(told.community),
            version=told.version, quorum=told.quorum,
            count=len(told.witnesses), names=', '.join(told.witnesses))
