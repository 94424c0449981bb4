# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"The foreign partner, which does not seal, says so and goes on"
import tempfile
import unittest
import uuid
from pathlib import Path

from trycoton.protocol import canonical, seal, signature
from trycoton.protocol.envelope import Envelope, Statement, parse
from trycoton.protocol.receipt import Refusal
from trycoton.protocol.statement import RelationAnswer
from trycoton.protocol.tests import sample

from .foreign import Partner, Refused, message, web

US, THEM = '0225:732829320', '0225:404833048'


class SealedTestCase(unittest.TestCase):
    "Test a partner that does not know what is sealed"

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.partner = Partner(Path(folder.name, 'store'), {
                'identifier': US, 'name': "Foreign", 'country': 'FR'})
        self.key = signature.SigningKey.generate()
        self.partner.store.put('peer', THEM, {
                'identifier': THEM, 'name': "Them", 'kind': 'participant',
                'endpoint': None, 'legal': None, 'log': None,
                'trust_parties': [], 'state': 'active', 'keys': [{
                        'key': self.key.public.to_jwk(), 'revoked': None,
                        'valid_from': canonical.format_time(sample.TIME),
                        'valid_to': None}]})
        self.relation = str(uuid.uuid4())
        self.sequence = 0

    def header(self):
        self.sequence += 1
        return {
            'sender': THEM, 'receiver': US, 'id': str(uuid.uuid4()),
            'created': sample.TIME, 'sequence': self.sequence,
            'previous': 'a' * 64 if self.sequence > 1 else None}

    def post(self, said):
        data = said.to_bytes()
        return self.partner.receive(
            data, signature.sign(data, said.typ, self.key))

    def propose(self, sealed):
        self.post(Statement(
                kind='relation-proposal', body={
                    'relation': self.relation, 'community': None,
                    'trust_party': None, 'replaces': None,
                    'sealed': sealed},
                **self.header()))
        for row in self.partner.store.messages(
                direction='in', state='received'):
            with self.partner.store.transaction():
                self.partner._take(message.read(row['data']))
        *_, row = self.partner.store.messages(direction='out')
        return RelationAnswer.from_json(parse(row['data']).body)

    def envelope(self):
        return Envelope(
            payload=sample.ORDER, relation=self.relation, **self.header())

    def check_declined(self, refused):
        "Check that the partner has signed that it refuses the message"
        said = web.problem(refused)
        refusal = Refusal.open(said['refusal'].encode(), said['signature'], {
                self.partner.key.kid: signature.PublicKey.from_jwk(
                    self.partner.key.jwk)})
        self.assertEqual(
            (refusal.receiver, refusal.problem), (US, 'malformed'))
        return refusal

    def test_stranger(self):
        "It signs no refusal of what somebody else than its sender signed"
        other = signature.SigningKey.generate()
        said = self.envelope()
        data = said.to_bytes()
        peer = self.partner.store.get('peer', THEM)
        peer = {**peer, 'identifier': '0225:552100554', 'keys': [
                {**peer['keys'][0], 'key': other.public.to_jwk()}]}
        self.partner.store.put('peer', peer['identifier'], peer)
        with self.assertRaises(Refused) as refused:
            self.partner.receive(
                data, signature.sign(data, said.typ, other))
        self.assertEqual(refused.exception.name, 'not-sender')
        self.assertNotIn('refusal', web.problem(refused.exception))

    def test_proposal(self):
        "It refuses a sealed relation, with its reason, and takes another"
        answer = self.propose(sample.ENCRYPTION_KEY.kid)
        self.assertFalse(answer.agreed)
        self.assertIsNone(answer.sealed)
        self.assertIn("in clear", answer.reason)
        self.assertEqual(self.partner.relations(THEM), [])
        self.relation = str(uuid.uuid4())
        answer = self.propose(None)
        self.assertTrue(answer.agreed)
        self.assertEqual(self.partner.relations(THEM), [self.relation])

    def test_document(self):
        "It refuses what is sealed as it refuses what it does not know"
        self.propose(None)
        sealed, _ = seal.seal(self.envelope(), sample.ENCRYPTION_KEY.public)
        with self.assertRaises(Refused) as refused:
            self.post(sealed)
        self.assertEqual(refused.exception.name, 'malformed')
        notice, _ = seal.seal(
            Statement(kind='document-read', body={}, **self.header()),
            sample.ENCRYPTION_KEY.public)
        with self.assertRaises(Refused) as refused:
            self.post(notice)
        self.assertEqual(refused.exception.name, 'malformed')
        self.check_declined(refused.exception)
        known, _ = self.post(self.envelope())
        self.assertFalse(known)
