# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Keys that are replaced, on both sides."""
import datetime as dt
from unittest.mock import patch

from trytond.pool import Pool
from trytond.transaction import Transaction

from cooperative_edi import client, keystore
from cooperative_edi.exceptions import RecoveryKeyError
from trycoton.protocol import signature
from trycoton.protocol.announcement import KeyAnnouncement
from trycoton.protocol.descriptor import Descriptor
from trycoton.protocol.directory import PublishedKey
from trycoton.protocol.envelope import Statement

from .test_exchange import InstancesTestCase
from .tools import Other, now


class RolloverTestCase(InstancesTestCase):
    "Test keys are replaced by those before them only"

    def setUp(self):
        self.recovery = {}
        super().setUp()
        self.imported = []
        self.handle(
            lambda message, document: self.imported.append(document.number))
        self.relation = self.agree()

    def meet(self, *instances):
        for instance in instances:
            if instance not in self.recovery:
                self.recovery[instance] = instance.do(
                    self.set_recovery, instance)
        super().meet(*instances)

    def set_recovery(self, instance):
        "Return the recovery key of the instance, to use it"
        Key = instance.get('identity.key')
        identity = instance.get('identity').get()
        Key.delete([k for k in identity.keys if k.purpose == 'recovery'])
        secret = signature.SigningKey.generate()
        Key.add(identity, 'recovery', secret, keep=False)
        return secret

    def stolen(self):
        "Return the signing key of Anne"
        return self.anne.do(lambda: signature.SigningKey.from_bytes(
                keystore.unseal(
                    self.anne.get('identity').get().signing_key)))

    def replace(self, reason, recovery=None):
        "Replace the key as a person does; return what is shown"
        def replace():
            pool = Pool()
            Wizard = pool.get(
                'cooperative.edi.identity.replace_key', type='wizard')
            Session = pool.get('ir.session.wizard')
            identity = self.anne.get('identity').get()
            with Transaction().set_user(1), Transaction().set_context(
                    active_model='cooperative.edi.identity',
                    active_id=identity.id, active_ids=[identity.id]):
                id_, _, _ = Wizard.create()
                result = Wizard.execute(id_, {
                        'start': {'reason': reason, 'recovery': recovery},
                        }, 'replace')
            shown = result.get('view', {}).get('defaults', {})
            data = Session(id_).data or ''
            for secret in filter(None, [recovery, shown.get('recovery')]):
                self.assertNotIn(secret, data)
            return shown
        return self.anne.do(replace)

    def exchange(self):
        "Have what the new key signs wait until it is known"
        self.round(self.anne, self.bruno)
        self.hasten(self.anne)
        self.round(self.anne, self.bruno)

    def keys(self, instance, other):
        "Return the valid signing keys of the other that the instance knows"
        return instance.do(
            lambda: set(self.peer(instance, other).public_keys()))

    def own(self):
        return self.anne.do(
            lambda: self.anne.get('identity').get().signing_key.kid)

    def post(self, statement, key):
        data = statement.to_bytes()
        return client.request(
            'POST', f'{self.bruno.endpoint}/edi/messages', data, {
                'Content-Type': 'application/json',
                signature.SIGNATURE_HEADER: signature.sign(
                    data, statement.typ, key)}).status

    def announce(self, key, *keys, recovery=None, **values):
        "Post what a thief announces as Anne; return the status"
        thief = Other(self.anne.identifier)
        body = KeyAnnouncement(
            identifier=values.pop('identifier', self.anne.identifier),
            created=values.pop('created', now()),
            keys=tuple(PublishedKey(
                    key=k.public, valid_from=now()) for k in keys),
            recovery=recovery and recovery.public).to_json()
        return self.post(Statement(
                kind='key-announcement', body=body, **thief.header(
                    receiver=self.bruno.identifier)), key)

    def announcements(self):
        return self.read(self.bruno, 'state', kind='key-announcement')

    def test_planned(self):
        "The key before announces the next; both count for a time"
        old = self.own()
        self.send(self.relation, 'F1')
        self.replace('planned')
        new = self.own()
        self.assertNotEqual(old, new)
        self.send(self.relation, 'F2')
        self.exchange()
        self.assertEqual(self.imported, ['F1', 'F2'])
        self.assertEqual(self.keys(self.bruno, self.anne), {old, new})
        signatures = self.read(
            self.bruno, 'signature', kind='invoice', direction='in')
        self.assertEqual(
            [signature.kid_of(s, signature.ENVELOPE) for s in signatures],
            [old, new])
        with patch('cooperative_edi.peer.now',
                lambda: now() + dt.timedelta(days=31)):
            self.assertEqual(self.keys(self.bruno, self.anne), {new})
        # What was signed stays proved
        (data, jws), *_ = self.read(
            self.bruno, 'data', 'signature', kind='invoice')
        signature.verify(
            bytes(data), jws, signature.ENVELOPE, self.bruno.do(lambda: {
                    k.kid: k.public_key
                    for k in self.peer(self.bruno, self.anne).keys}))

        def published():
            return self.anne.get('identity').get().descriptor()
        data, jws = self.anne.do(published)
        self.assertEqual(Descriptor.open(data, jws).signer.kid, new)
        self.assertEqual(
            self.read(self.bruno, 'fingerprint', model='peer'),
            self.read(self.anne, 'fingerprint', model='identity'))

    def test_lost(self):
        "The recovery key revokes what a thief uses and announced"
        stolen, own = self.stolen(), signature.SigningKey.generate()
        sent = self.send(self.relation, 'F1')
        self.assertEqual(self.announce(stolen, own, stolen), 201)
        self.round(self.bruno)
        self.assertEqual(
            self.keys(self.bruno, self.anne), {stolen.kid, own.kid})

        with self.assertRaises(RecoveryKeyError):
            self.replace('lost', '00' * 32)
        with self.assertRaises(RecoveryKeyError):
            self.replace('lost', stolen.to_bytes().hex())
        self.assertEqual(self.own(), stolen.kid)
        with patch('cooperative_edi.keys.now',
                lambda: now() + dt.timedelta(seconds=2)):
            shown = self.replace(
                'lost', self.recovery[self.anne].to_bytes().hex())
        self.exchange()
        new = self.own()
        self.assertEqual(self.keys(self.bruno, self.anne), {new})
        self.assertEqual(self.read(self.anne, 'state', id=sent), ['sent'])
        self.assertEqual(self.imported, ['F1'])
        for key in [stolen, own]:
            self.assertEqual(self.announce(key, key), 401)

        used = self.recovery[self.anne]
        self.assertEqual(self.announce(used, used), 401)
        with patch('cooperative_edi.keys.now',
                lambda: now() + dt.timedelta(seconds=4)):
            self.replace('lost', shown['recovery'])
        self.round(self.anne, self.bruno)
        self.assertEqual(self.keys(self.bruno, self.anne), {self.own()})
        self.assertNotEqual(self.own(), new)

    def test_refused(self):
        "What a key must not announce changes nothing"
        key, recovery = self.stolen(), self.recovery[self.anne]
        other = signature.SigningKey.generate()
        before = self.keys(self.bruno, self.anne)
        for values in [
                {'keys': [other]},
                {'keys': [key, other], 'recovery': other},
                {'keys': [key, other], 'identifier': '0225:552100554'},
                ]:
            with self.subTest(values):
                keys = values.pop('keys')
                self.assertEqual(self.announce(key, *keys, **values), 201)
                self.round(self.bruno)
                self.assertEqual(self.announcements()[-1], 'refused')
                self.assertEqual(
                    self.keys(self.bruno, self.anne), before)
        self.assertEqual(self.announce(other, key, other), 401)
        thief = Other(self.anne.identifier)
        end = thief.statement(receiver=self.bruno.identifier)
        self.assertEqual(self.post(end, recovery), 401)
        self.assertEqual(self.announce(recovery, other), 201)
        self.round(self.bruno)
        # Delivered late, and after the other
        self.assertEqual(self.announce(
                recovery, key, created=now() - dt.timedelta(1)), 201)
        self.round(self.bruno)
        self.assertEqual(self.announcements()[-1], 'refused')
        self.assertEqual(self.keys(self.bruno, self.anne), {other.kid})

    def test_directory(self):
        "A directory gives a peer no other recovery key, nor undoes anything"
        Identity = self.anne.get('identity')
        stale = self.anne.do(lambda: Identity.get().participant())
        self.replace('lost', self.recovery[self.anne].to_bytes().hex())
        self.round(self.anne, self.bruno)
        new = self.own()

        def update():
            peer = self.bruno.get('peer').update_from(
                self.bruno.company, stale)
            return [k.kid for k in peer.keys
                if k.purpose == 'recovery' and not k.revoked]
        recovery = self.bruno.do(update)
        self.assertEqual(self.keys(self.bruno, self.anne), {new})
        self.assertEqual(
            recovery, [self.anne.do(
                    lambda: Identity.get().recovery_key().kid)])
