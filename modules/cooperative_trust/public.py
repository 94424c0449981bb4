# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The page that tells anybody what the trust party is, and its log now"""
import base64
import hashlib
from functools import lru_cache, partial
from itertools import groupby
from pathlib import Path

from genshi.template import MarkupTemplate
from trytond.i18n import gettext
from trytond.model import fields
from trytond.pool import Pool, PoolMeta
from trytond.transaction import Transaction

from cooperative_edi.identity import aware
from trycoton.protocol import canonical
from trycoton.protocol.descriptor import fingerprint

LANGUAGES = ['fr', 'en']
MONTHS = 12
STYLE = (
    "body{font:1em/1.5 sans-serif;max-width:46em;margin:2em auto;"
    "padding:0 1em;color:#222;background:#fff}"
    "h1{margin:0;font-size:1.8em}h2{margin:2em 0 .5em;font-size:1.2em;"
    "border-bottom:1px solid #bbb}"
    "header p{margin:.2em 0;color:#555}"
    "dt{font-weight:bold}dd{margin:0 0 .6em}"
    "code{font-family:monospace;overflow-wrap:anywhere}"
    ".policy{white-space:pre-line}"
    "@media(prefers-color-scheme:dark){"
    "body{color:#ddd;background:#181818}header p{color:#aaa}a{color:#8cf}}")
HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
HEADERS = {
    'Content-Security-Policy': (
        f"default-src 'none'; style-src 'sha256-{HASH}'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"),
    'X-Content-Type-Options': 'nosniff',
    'Referrer-Policy': 'no-referrer',
    'Cache-Control': 'no-cache',
    'Vary': 'Accept, Accept-Language',
    }
LINKS = {
    'checkpoint': 'checkpoint',
    'descriptor': '../edi/descriptor',
    'openapi': '../openapi.json',
    'tiles': 'https://c2sp.org/tlog-tiles',
    'notes': 'https://c2sp.org/tlog-checkpoint',
    }


@lru_cache
def _template():
    path = Path(__file__).with_name('public.html')
    return MarkupTemplate(path.read_text('utf-8'), filename=path.name)


class Log(metaclass=PoolMeta):
    __name__ = 'cooperative.trust.log'

    policy = fields.Text("Policy", translate=True,
        help="What the public page says of quotas, prices, holidays and "
        "whom to ask.")

    @classmethod
    def public_language(cls, accepted):
        "Return the best language of the page for an Accept-Language header"
        pool = Pool()
        Lang = pool.get('ir.lang')
        known = {l.code for l in Lang.search([('translatable', '=', True)])}
        known.add('en')
        return accepted.best_match(
            [l for l in LANGUAGES if l in known], default='en')

    def public_values(self, language):
        "Return the JSON value of what is public, in the language"
        pool = Pool()
        Checkpoint = pool.get('cooperative.trust.log.checkpoint')
        Identity = pool.get('cooperative.edi.identity')
        with Transaction().set_context(language=language):
            log = self.__class__(self.id)
            checkpoint = Checkpoint.shown(log)
            identity = Identity.get(log.company.id)
            return {
                'name': log.company.party.name,
                'identifier': identity.identifier,
                'fingerprint': identity.fingerprint,
                'language': language,
                'policy': log.policy or None,
                'facts': log.public_facts(),
                'retention': log._public_retention(),
                'log': {
                    'origin': log.origin,
                    'key': log.vkey,
                    'fingerprint': fingerprint(log.verifier.key),
                    },
                'checkpoint': {
                    'size': checkpoint.size,
                    'root': canonical.encode(bytes.fromhex(checkpoint.root)),
                    'time': canonical.format_time(aware(checkpoint.time)),
                    'note': checkpoint.note,
                    },
                'links': LINKS,
                }

    def public_facts(self):
        "Return what the trust party does and does not do, in sentences"
        return [gettext(f'cooperative_trust.msg_public_{name}') for name in [
                'relays', 'commitments', 'money', 'ledger']]

    @classmethod
    def _public_retention(cls):
        pool = Pool()
        Retention = pool.get('cooperative.trust.retention')
        retentions = Retention.search([])
        return [{
                'kind': r.kind,
                'name': r.kind_string,
                'months': r.months,
                'duration': cls._duration(r.months),
                'statutory': r.statutory,
                } for r in sorted(
                retentions, key=lambda r: (
                    -r.months, not r.statutory, r.kind_string))]

    @classmethod
    def _duration(cls, months):
        name, count = 'months', months
        if months > MONTHS and not months % MONTHS:
            name, count = 'years', months // MONTHS
        return gettext(
            f'cooperative_trust.msg_public_{name}', count=count)

    def public_page(self, language):
        "Return the HTML of the page"
        values = self.public_values(language)
        periods = groupby(
            values['retention'], lambda r: (r['duration'], r['statutory']))
        with Transaction().set_context(language=language):
            stream = _template().generate(
                style=STYLE,
                text=lambda name: gettext(
                    f'cooperative_trust.msg_public_{name}'),
                time=partial(self._public_time, language),
                periods=[
                    (duration, statutory, ", ".join(r['name'] for r in lines))
                    for (duration, statutory), lines in periods],
                **values)
            # Nothing in the stream is text by now but what was escaped
            return stream.render('html', doctype='html5').encode('utf-8')

    @classmethod
    def _public_time(cls, language, text):
        pool = Pool()
        Lang = pool.get('ir.lang')
        lang = Lang.get(language)
        time = canonical.parse_time(text)
        return lang.strftime(time, f'{lang.date} %H:%M:%S UTC')
