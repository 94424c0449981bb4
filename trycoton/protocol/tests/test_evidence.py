# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
import json
import random
import unittest
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from unittest import mock

from trycoton.protocol import (
    canonical, entry, envelope, evidence, merkle, seal, signature)
from trycoton.protocol.checkpoint import Checkpoint
from trycoton.protocol.descriptor import Descriptor
from trycoton.protocol.directory import Directory, Participant, PublishedKey
from trycoton.protocol.errors import ProtocolError, Rejected
from trycoton.protocol.evidence import (
    File, Signed, SignedDescriptor, SignedDirectory, SignedMessage, build,
    verify)
from trycoton.protocol.note import Cosigner, Note, NoteSigner
from trycoton.protocol.policy import Policy
from trycoton.protocol.proof import Proof
from trycoton.protocol.receipt import Receipt, Refusal
from trycoton.protocol.signature import SigningKey

from . import sample

COMMUNITY, TRUST = '0225:732829320', '0225:404833048'
SELLER, BUYER = '0225:542065479', '0225:552100554'
OTHER = '0225:552032534'
NOW = datetime(2026, 9, 1, 12, tzinfo=timezone.utc)
VERIFIED, REFUSED, UNESTABLISHED = 0, 1, 3


def key(number):
    return SigningKey.from_bytes(bytes([number]) * 32)


def minutes(number):
    return NOW + timedelta(minutes=number)


class Log:
    "A log in memory, with a checkpoint after each entry"

    def __init__(self, signer):
        self.signer = signer
        self.frontier = merkle.Frontier()
        self.nodes = {}
        self.previous = {}
        self.witnesses = []

    def append(self, data):
        for level, index, hash_ in self.frontier.append(
                merkle.leaf_hash(data)):
            self.nodes[level, index] = hash_
        return self.prove(self.frontier.size - 1, self.frontier.size)

    def node(self, level, index):
        return self.nodes[level, index]

    def prove(self, index, size):
        checkpoint = Checkpoint(
            self.signer.name, size, merkle.tree_root(self.node, size))
        text = checkpoint.text()
        note = Note(text, (self.signer.sign(text), *(
                    w.sign(text, 1790000000) for w in self.witnesses)))
        proof = Proof(
            index, tuple(merkle.inclusion_proof(self.node, index, size)),
            note.to_bytes())
        return proof.to_bytes().decode('utf-8')

    def record(self, said, event, time, signature, receipt=None, **values):
        pair = said.sender, said.receiver
        data = entry.Evidence(**{
                'event': event, 'message': said.id, 'sender': said.sender,
                'recipient': said.receiver, 'digest': said.digest,
                'time': time, 'sequence': said.sequence,
                'previous': self.previous.get(pair),
                'signature': signature, 'receipt': receipt,
                **values}).to_bytes()
        self.previous[pair] = canonical.digest(data)
        nonce = bytes([self.frontier.size]) * 32
        return entry.Record(
            evidence=data, nonce=nonce,
            proof=self.append(entry.commitment(nonce, data)))

    def consistency(self, origin, old, new):
        return merkle.consistency_proof(self.node, old, new)


class World:
    "A community, its trust party, a seller and a buyer"

    def __init__(self):
        self.keys = {
            COMMUNITY: key(1), TRUST: key(2), SELLER: key(3), BUYER: key(4)}
        self.log = Log(NoteSigner('log.example', key(5)))
        self.directories = []
        self.descriptor = self.describe(COMMUNITY, 'community')
        self.last = {}
        self.messages = []

    def publish(self, identifier, **values):
        return [PublishedKey(
                key=self.keys[identifier].public, valid_from=NOW, **values)]

    def describe(self, identifier, kind='participant'):
        data = Descriptor(
            identifier=identifier, name=identifier, kind=kind, endpoint=None,
            keys=self.publish(identifier), created=NOW).to_bytes()
        return SignedDescriptor(data=data, signature=signature.sign(
                data, signature.DESCRIPTOR, self.keys[identifier]))

    def keep(self, identifier, log=None):
        "Return what a directory says of who keeps a log, the trust party"
        if identifier != TRUST:
            return {}
        return {
            'kind': 'trust-party', 'log': (log or self.log).signer.vkey}

    def direct(self, time, logged=True, revoked=(), **values):
        "Publish a version of the directory"
        previous = self.directories and self.directories[-1].value
        data = Directory(**{
                'community': COMMUNITY,
                'version': len(self.directories) + 1,
                'previous': previous.digest if previous else None,
                'created': time, 'expires': time + timedelta(days=30),
                'participants': [
                    Participant(
                        identifier=i, name=i,
                        keys=self.publish(i, revoked=(
                                time if i in revoked else None)),
                        **self.keep(i))
                    for i in self.keys],
                **values}).to_bytes()
        proof = None
        if logged:
            proof = self.log.append(
                entry.directory_entry(canonical.digest(data)))
        self.directories.append(SignedDirectory(
                data=data, proof=proof, signature=signature.sign(
                    data, signature.DIRECTORY, self.keys[COMMUNITY])))

    def say(self, sender, receiver, time, via=None, **values):
        number = len(self.messages) + 1
        last = self.last.get((sender, receiver))
        message = self.last[sender, receiver] = envelope.Statement(**{
                'sender': sender, 'receiver': receiver,
                'id': f'00000000-0000-4000-8000-{number:012}',
                'created': time, 'kind': 'relation-proposal', 'via': via,
                'sequence': last.sequence + 1 if last else 1,
                'previous': last.digest if last else None,
                'body': {'number': number},
                **values})
        return message, signature.sign(
            message.to_bytes(), message.typ, self.keys[sender])

    def receive(self, message, time, **values):
        data = Receipt(**{
                'message': message.id, 'digest': message.digest,
                'receiver': message.receiver, 'time': time,
                **values}).to_bytes()
        return Signed(data=data, signature=signature.sign(
                data, signature.RECEIPT, self.keys[message.receiver]))

    def refuse(self, said, time, sign=None, **values):
        "The recipient refuses the message under its signature"
        data = Refusal(**{
                'message': said.id, 'digest': said.digest,
                'receiver': said.receiver, 'time': time,
                'problem': 'suspended', 'text': "Not for us.",
                **values}).to_bytes()
        return Signed(data=data, signature=signature.sign(
                data, signature.REFUSAL, sign or self.keys[said.receiver]))

    def send(self, sender, receiver, time, received=True, **values):
        "Send a message without trust party"
        message, jws = self.say(sender, receiver, time, **values)
        self.messages.append(SignedMessage(
                data=message.to_bytes(), signature=jws,
                receipt=self.receive(message, time) if received else None))

    def relay(self, sender, receiver, time, received=True, **values):
        "Send a message through the trust party"
        message, jws = self.say(
            sender, receiver, time, via=TRUST, **values)
        records = [self.log.record(message, 'submission', time, jws)]
        if received:
            receipt = self.receive(message, time)
            records.append(self.log.record(
                    message, 'delivery', time, receipt.signature,
                    receipt.data.decode('utf-8')))
        self.messages.append(SignedMessage(
                data=message.to_bytes(), signature=jws, records=records))

    def seal(self, sender, receiver, time, shown=True, total=None,
            payload=sample.ORDER, **values):
        "Send a sealed order through the trust party"
        plain, _ = self.say(sender, receiver, time, via=TRUST, **values)
        header = {n: getattr(plain, n) for n, _ in
            envelope.Header._members() if n != 'type'}
        sealed, content_key = seal.seal(
            envelope.Envelope(payload=payload, **header),
            sample.ENCRYPTION_KEY.public, total=total,
            draw=random.Random(len(self.messages)).randbytes)
        self.last[sender, receiver] = sealed
        jws = signature.sign(
            sealed.to_bytes(), sealed.typ, self.keys[sender])
        receipt = self.receive(sealed, time)
        self.messages.append(SignedMessage(
                data=sealed.to_bytes(), signature=jws,
                content_key=content_key if shown else None,
                records=[
                    self.log.record(sealed, 'submission', time, jws),
                    self.log.record(
                        sealed, 'delivery', time, receipt.signature,
                        receipt.data.decode('utf-8'))]))

    def sign(self, data, exporter=BUYER):
        return signature.sign(data, evidence.SEAL, self.keys[exporter])

    def build(self, **values):
        return build(**{
                'messages': self.messages, 'exporter': BUYER,
                'sign': self.sign, 'descriptors': [self.descriptor],
                'directories': self.directories,
                **values})

    def reseal(self, data, **values):
        "The file changed by its own exporter, who seals it again"
        file = File.parse(data)
        parts = {n: getattr(file, n) for n, _ in evidence.Contents._members()}
        return evidence.Contents(
            **{**parts, **values}).seal(self.sign).to_bytes()

    def vkey(self, identifier):
        return NoteSigner(identifier, self.keys[identifier]).vkey


def small(**values):
    "The smallest world: one message through the trust party"
    world = World()
    world.direct(NOW, participants=[
            Participant(identifier=i, name=i, keys=world.publish(i))
            for i in [SELLER, BUYER]])
    world.relay(BUYER, SELLER, minutes(1), **values)
    return world


def deal():
    "Directories, messages relayed in both directions, and direct ones"
    world = World()
    world.direct(NOW)
    world.direct(minutes(1))
    world.relay(BUYER, SELLER, minutes(2))
    world.relay(SELLER, BUYER, minutes(3))
    world.relay(BUYER, SELLER, minutes(4))
    world.direct(minutes(5))
    world.send(SELLER, BUYER, minutes(6))
    world.relay(SELLER, BUYER, minutes(7), received=False)
    return world


class EvidenceTestCase(unittest.TestCase):
    "Test evidence files"

    def setUp(self):
        self.world = deal()

    def policy(self, *names):
        keys = {
            'log': self.world.log.signer.vkey,
            'community': self.world.vkey(COMMUNITY),
            'other log': NoteSigner('log.example', key(99)).vkey,
            'other community': NoteSigner(COMMUNITY, key(99)).vkey,
            'seller': self.world.vkey(SELLER),
            'buyer': self.world.vkey(BUYER),
            }
        return Policy.of(keys[name] for name in names)

    def status(self, data, *names):
        return verify(data, self.policy(*names)).status

    def assertStatus(self, data, status, *names, text='^'):
        report = verify(data, self.policy(*names))
        wrong = [c.text for c in report.checks if not c.ok]
        self.assertEqual(report.status, status, wrong)
        self.assertRegex('\n'.join(wrong), text)

    def assertRefused(self, data, text='^'):
        self.assertStatus(data, REFUSED, 'log', 'community', text=text)

    def assertNotBuilt(self, text, **values):
        with self.assertRaisesRegex(Rejected, text):
            self.world.build(**values)

    # Whom to trust

    def test_trust(self):
        "Test who must be trusted for a deal to be verified"
        data = self.world.build()
        for names, status in [
                (['community'], VERIFIED),
                (['log'], VERIFIED),
                (['log', 'community'], VERIFIED),
                ([], UNESTABLISHED),
                (['other log'], UNESTABLISHED),
                (['other community'], UNESTABLISHED),
                (['other log', 'other community'], UNESTABLISHED),
                (['seller'], UNESTABLISHED),
                (['seller', 'buyer'], UNESTABLISHED)]:
            with self.subTest(names=names):
                self.assertStatus(data, status, *names)
        self.assertEqual(verify(data).status, UNESTABLISHED)

    def test_not_logged(self):
        "Test a directory that no log holds needs the community"
        world = self.world = World()
        world.direct(NOW, logged=False)
        world.relay(BUYER, SELLER, minutes(1))
        data = world.build()
        self.assertStatus(data, VERIFIED, 'community')
        self.assertStatus(data, UNESTABLISHED, 'log')

    def test_logged_after(self):
        "Test a directory logged after the message needs the community"
        world = self.world = World()
        world.relay(BUYER, SELLER, NOW)
        world.direct(NOW)
        data = world.build()
        self.assertStatus(data, VERIFIED, 'community')
        self.assertStatus(data, UNESTABLISHED, 'log', text="after the")

    def test_expired(self):
        "Test a directory that had expired establishes nobody"
        world = self.world = World()
        world.direct(NOW)
        world.relay(BUYER, SELLER, NOW + timedelta(days=31))
        self.assertStatus(
            world.build(), UNESTABLISHED, 'log', 'community', text="expired")

    def test_unnamed_log(self):
        "Test a log that the community does not name must be trusted"
        world = self.world = small()
        data = world.build(keys=[world.log.signer.vkey])
        self.assertStatus(data, UNESTABLISHED, 'community', text="The log")
        self.assertStatus(data, VERIFIED, 'community', 'log')
        self.assertNotBuilt("lacks a key")

    def test_direct_deal(self):
        "Test a deal outside any community"
        world = self.world = World()
        world.send(BUYER, SELLER, minutes(1))
        world.send(SELLER, BUYER, minutes(2))
        world.send(BUYER, SELLER, minutes(3), received=False)
        data = world.build(descriptors=[
                world.describe(SELLER), world.describe(BUYER)])
        self.assertStatus(data, VERIFIED, 'seller', 'buyer')
        for names in [[], ['seller'], ['buyer'], ['community', 'log']]:
            self.assertStatus(data, UNESTABLISHED, *names)

    def test_direct_message_in_community(self):
        "Test a message that no trust party saw, between members"
        world = self.world = World()
        world.direct(NOW)
        world.send(BUYER, SELLER, minutes(1))
        data = world.build()
        self.assertStatus(data, VERIFIED, 'community')
        self.assertStatus(data, VERIFIED, 'log')
        self.assertStatus(data, UNESTABLISHED)

    def test_direct_message_logged_before(self):
        "Test a log that only recorded a directory that does not serve"
        world = self.world = World()
        world.direct(NOW)
        world.direct(minutes(1), logged=False)
        world.send(BUYER, SELLER, minutes(2))
        data = world.build()
        file = File.parse(data)
        self.assertEqual([d.value.version for d in file.directories], [2])
        self.assertEqual(file.keys, ())
        self.assertStatus(data, VERIFIED, 'community')

    def test_witnesses(self):
        "Test a policy that wants witnesses"
        world = self.world
        witness = Cosigner('witness.example', key(7))
        policy = Policy.parse('\n'.join([
                    f"log {world.log.signer.vkey}",
                    f"witness W {witness.vkey}",
                    "quorum W"]).encode())
        self.assertEqual(verify(world.build(), policy).status, UNESTABLISHED)
        world = self.world = World()
        world.log.witnesses.append(witness)
        world.direct(NOW)
        world.relay(BUYER, SELLER, minutes(1))
        self.assertNotBuilt("lacks a key")
        data = world.build(keys=[witness.vkey])
        self.assertEqual(verify(data, policy).status, VERIFIED)
        self.assertStatus(data, VERIFIED, 'log')

    def test_policy_inside(self):
        "Test a file does not bring its own policy"
        data = json.loads(self.world.build())
        policy = f"community {self.world.vkey(COMMUNITY)}\nquorum none\n"
        self.assertStatus(
            canonical.dump({**data, 'policy': policy}), REFUSED,
            text="canonical form")

    def test_forged_world(self):
        "Test the same words signed by other keys are not established"
        data = deal().build()
        names = ['log', 'community']
        forged = deal()
        forged.keys = {i: key(50 + n) for n, i in enumerate(forged.keys)}
        forged.log = Log(NoteSigner('log.example', key(60)))
        forged.descriptor = forged.describe(COMMUNITY, 'community')
        forged.directories, forged.messages, forged.last = [], [], {}
        forged.direct(NOW)
        forged.relay(BUYER, SELLER, minutes(2))
        self.assertStatus(data, VERIFIED, *names)
        self.assertStatus(forged.build(), UNESTABLISHED, *names)

    # One form

    def test_build_again(self):
        "Test the same parts make the same bytes, in any order"
        world = self.world
        data = world.build()
        self.assertEqual(data, world.build(
                messages=world.messages[::-1],
                directories=world.directories[::-1],
                keys=[world.log.signer.vkey]))
        self.assertEqual(File.parse(data).to_bytes(), data)

    def test_selection(self):
        "Test only the directories that serve are exported"
        world = self.world
        versions = [
            d.value.version for d in File.parse(world.build()).directories]
        self.assertEqual(versions, [2, 3])
        versions = [d.value.version for d in File.parse(world.build(
                    messages=world.messages[:1])).directories]
        self.assertEqual(versions, [2])
        other = SignedDescriptor(
            data=self.world.describe(SELLER).data,
            signature=self.world.describe(SELLER).signature)
        self.assertEqual(
            world.build(), world.build(
                descriptors=[world.descriptor, other]))

    def test_flips(self):
        "Test every byte of a file counts"
        world = self.world = small(received=False)
        data = world.build(keys=[world.log.signer.vkey])
        self.assertStatus(data, VERIFIED, 'log')
        policy = self.policy('log', 'community')
        for i in range(len(data)):
            self.check_refused(
                data[:i] + bytes([data[i] ^ 1]) + data[i + 1:], policy)

    def test_additions_and_removals(self):
        "Test a byte more or less anywhere is refused"
        world = self.world = World()
        world.send(BUYER, SELLER, minutes(1), received=False)
        data = world.build(descriptors=[world.describe(BUYER)])
        self.assertStatus(data, VERIFIED, 'buyer')
        policy = self.policy('buyer')
        for i in range(len(data) + 1):
            for middle in [b'A', b' ', b'"', data[i:i + 1]]:
                if middle:
                    self.check_refused(data[:i] + middle + data[i:], policy)
            if i < len(data):
                self.check_refused(data[:i] + data[i + 1:], policy)

    def check_refused(self, changed, policy):
        report = verify(changed, policy)
        self.assertEqual(report.status, REFUSED, changed)
        self.assertTrue([c.text for c in report.checks if not c.ok])

    def test_flips_of_values(self):
        "Test every part of every value counts, in canonical form"
        world = self.world = small()
        data = world.build(
            keys=[world.log.signer.vkey], consistency=world.log.consistency)
        policy = self.policy('log', 'community')
        value = json.loads(data)

        def walk(part):
            items = part.items() if isinstance(part, dict) else (
                enumerate(part) if isinstance(part, list) else [])
            for name, item in list(items):
                if isinstance(item, (dict, list)):
                    yield from walk(item)
                    changes = [type(item)()]
                    if isinstance(item, list) and item:
                        changes += [item[1:], item[:-1], item + item[-1:]]
                        changes += [item[::-1]] if len(item) > 1 else []
                    elif isinstance(item, dict):
                        changes += [
                            {k: v for k, v in item.items() if k != name_}
                            for name_ in item]
                        changes += [{**item, 'more': ''}, None]
                elif isinstance(item, str):
                    changes = [None, item[1:], item[:-1], item + 'A', ''] + [
                        item[:i] + chr(ord(item[i]) ^ 1) + item[i + 1:]
                        for i in {*range(0, len(item), 20), len(item) - 1}]
                else:
                    changes = ['', 0, 1, [], {}]
                for change in changes:
                    if change != item:
                        part[name] = change
                        yield canonical.dump(value)
                part[name] = item

        count = 0
        for changed in walk(value):
            count += 1
            report = verify(changed, policy)
            self.assertEqual(report.status, REFUSED, changed)
        self.assertGreater(count, 200)
        self.assertEqual(canonical.dump(value), data)

    def test_not_a_file(self):
        "Test anything else is refused"
        for data in [b'', b'{}', b'[]', b'null', b'\xff', b'{"a":' * 50000]:
            self.assertEqual(verify(data).status, REFUSED)

    # What the exporter, who can seal, might try

    def test_reseal_same(self):
        "Test sealing the same contents gives the same file"
        data = self.world.build()
        self.assertEqual(self.world.reseal(data), data)

    def test_exporter(self):
        "Test who may seal a file"
        world = self.world
        world.keys[OTHER] = key(9)
        for exporter in [SELLER, BUYER, TRUST]:
            data = world.build(exporter=exporter,
                sign=lambda d: world.sign(d, exporter))
            self.assertStatus(data, VERIFIED, 'log')
        for exporter, signer in [
                (OTHER, OTHER), (BUYER, OTHER), (BUYER, SELLER)]:
            self.assertNotBuilt("^Seal of .* is not given",
                exporter=exporter, sign=lambda d: world.sign(d, signer))

    def test_drop_message(self):
        "Test only the exporter may leave out a message"
        file = json.loads(self.world.build())
        for i in range(len(file['messages'])):
            messages = file['messages'][:i] + file['messages'][i + 1:]
            self.assertRefused(
                canonical.dump({**file, 'messages': messages}), "^Seal of ")

    def test_drop_record(self):
        "Test records cannot be left out"
        world = self.world
        data = world.build()
        messages = world.messages
        for i, message in enumerate(messages):
            for records in [message.records[:1], ()]:
                if records == message.records:
                    continue
                changed = [*messages]
                changed[i] = replace(message, records=records)
                file = json.loads(data)
                file['messages'] = [m.to_json() for m in sorted(
                        changed, key=lambda m: m.key)]
                self.assertRefused(canonical.dump(file), "Seal of ")
                if not records:
                    self.assertRefused(
                        world.reseal(data, messages=changed),
                        "which has no record")
            with self.assertRaises(ProtocolError):
                replace(message, records=message.records[1:] or [1])

    def test_replace_message(self):
        "Test a message cannot take the place of another"
        world = self.world
        data = world.build()
        first, second = world.messages[0], world.messages[2]
        for changed in [
                replace(first, data=second.data),
                replace(first, data=second.data, signature=second.signature),
                replace(first, signature=second.signature),
                replace(first, records=second.records),
                replace(first, records=[
                        first.records[0], second.records[1]]),
                replace(first, records=[
                        second.records[0], first.records[1]])]:
            with self.subTest(changed=changed):
                try:
                    file = world.reseal(
                        data, messages=[changed, *world.messages[1:]])
                except ProtocolError:  # it has no form at all
                    continue
                self.assertRefused(file)

    def test_receipt(self):
        "Test receipts of other messages, other parties or other words"
        world = World()
        world.direct(NOW)
        world.send(BUYER, SELLER, minutes(1))
        world.send(BUYER, SELLER, minutes(2))
        self.world = world
        first, second = world.messages
        message = first.value
        for receipt, text in [
                (second.receipt, "another message"),
                (world.receive(message, NOW, digest='0' * 64), "another"),
                (world.receive(message, NOW, receiver=OTHER), "another"),
                (world.receive(message, NOW, status='relayed'), "stored"),
                (replace(first.receipt, signature=signature.sign(
                            first.receipt.data, signature.RECEIPT,
                            world.keys[BUYER])), "not given as one"),
                (replace(first.receipt, signature=signature.sign(
                            first.receipt.data, signature.STATEMENT,
                            world.keys[SELLER])), "something else"),
                (replace(first.receipt, data=b'{}'), "")]:
            with self.subTest(text=text):
                self.assertNotBuilt(text, messages=[
                        replace(first, receipt=receipt), second])

    def test_record(self):
        "Test records that tell something else"
        for values, text in [
                ({'message': '0' * 8 + '-0000-0000-0000-' + '0' * 12}, ""),
                ({'sender': OTHER}, "another message"),
                ({'recipient': OTHER}, "another message"),
                ({'digest': '0' * 64}, "another message"),
                ({'sequence': 2}, "another message"),
                ({'signature': 'AA..' + 'A' * 86}, "another signature")]:
            with self.subTest(values=values):
                world = self.world = World()
                world.direct(NOW)
                message, jws = world.say(
                    BUYER, SELLER, minutes(1), via=TRUST)
                submitted = values.pop('signature', jws)
                record = world.log.record(
                    message, 'submission', minutes(1), submitted, **values)
                world.messages.append(SignedMessage(
                        data=message.to_bytes(), signature=jws,
                        records=[record]))
                self.assertNotBuilt(text)

    def test_opened_with_other_nonce(self):
        "Test an evidence is committed by its nonce"
        message = self.world.messages[0]
        records = [
            replace(message.records[0], nonce=bytes(32)), message.records[1]]
        self.assertNotBuilt("does not lead to the root", messages=[
                replace(message, records=records)])

    def test_sequence(self):
        "Test messages that do not follow one another"
        for values, text in [
                ({'previous': '0' * 64}, "does not follow"),
                ({'sequence': 1, 'previous': None}, "one number"),
                ({'sequence': 3}, None),
                ({'id': '00000000-0000-4000-8000-000000000001'}, "one id")]:
            with self.subTest(values=values):
                world = self.world = World()
                world.direct(NOW)
                world.send(BUYER, SELLER, minutes(1))
                world.send(BUYER, SELLER, minutes(2), **values)
                if text:
                    self.assertNotBuilt(text)
                else:
                    self.assertStatus(world.build(), VERIFIED, 'log')

    def test_chain(self):
        "Test records that do not follow one another"
        for previous, text in [
                (None, "forgets"),
                ('first', "the same one"),
                ('0' * 64, None)]:
            world = self.world = World()
            world.direct(NOW)
            world.log.previous[BUYER, SELLER] = '1' * 64
            world.relay(BUYER, SELLER, minutes(1), received=False)
            world.relay(BUYER, SELLER, minutes(2), received=False)
            if previous == 'first':
                previous = canonical.digest(
                    world.messages[0].records[0].evidence)
            message, jws = world.say(BUYER, SELLER, minutes(3), via=TRUST)
            world.messages.append(SignedMessage(
                    data=message.to_bytes(), signature=jws,
                    records=[world.log.record(
                            message, 'submission', minutes(3), jws,
                            previous=previous)]))
            with self.subTest(text=text):
                if text:
                    self.assertNotBuilt(text)
                else:
                    self.assertStatus(world.build(), VERIFIED, 'log')

    def test_delivery_before_submission(self):
        "Test a delivery is logged after the submission"
        world = self.world
        message, jws = world.say(BUYER, SELLER, minutes(9), via=TRUST)
        receipt = world.receive(message, minutes(9))
        delivery = world.log.record(
            message, 'delivery', minutes(9), receipt.signature,
            receipt.data.decode('utf-8'))
        submission = world.log.record(
            message, 'submission', minutes(9), jws)
        self.assertNotBuilt("before the submission", messages=[SignedMessage(
                    data=message.to_bytes(), signature=jws,
                    records=[submission, delivery])])

    def test_receipt_twice(self):
        "Test a receipt is there once: the record holds it"
        world = self.world
        message = world.messages[0]
        with self.assertRaises(ProtocolError):
            replace(message, receipt=world.receive(message.value, NOW))

    def test_unused(self):
        "Test what serves nothing is refused"
        world = self.world
        data = world.build()
        for values in [
                {'directories': world.directories},
                {'descriptors': [world.descriptor, world.describe(SELLER)]},
                {'keys': [world.log.signer.vkey,
                        NoteSigner('other.example', key(8)).vkey]},
                {'keys': [world.log.signer.vkey,
                        NoteSigner('log.example', key(8)).vkey]}]:
            with self.subTest(values=list(values)):
                self.assertRefused(
                    world.reseal(data, **values), "^Every part serves: ")

    def test_missing(self):
        "Test what is needed cannot be left out"
        world = self.world
        data = world.build()
        for values, text in [
                ({'directories': []}, "is not given as one"),
                ({'descriptors': []}, "no valid descriptor"),
                ({'keys': []}, "lacks a key")]:
            with self.subTest(values=values):
                self.assertRefused(world.reseal(data, **values), text)

    def test_directory(self):
        "Test directories that do not hold"
        world = self.world
        first, second, _ = world.directories
        signed = signature.sign(
            second.data, signature.DIRECTORY, world.keys[SELLER])
        for changed, text in [
                (replace(second, signature=signed), "is not known"),
                (replace(second, signature=first.signature), "not match"),
                (replace(second, proof=first.proof), "does not lead"),
                (replace(second, data=first.data), "")]:
            with self.subTest(text=text):
                self.assertNotBuilt(
                    text or '.', directories=[changed],
                    messages=world.messages[:1])

    def test_directory_fork(self):
        "Test two stories about the directory are refused"
        world = World()
        world.direct(NOW)
        world.relay(BUYER, SELLER, minutes(1))
        world.direct(minutes(2), previous='0' * 64)
        world.relay(BUYER, SELLER, minutes(3))
        self.world = world
        self.assertNotBuilt("does not follow the known one")

    def test_revoked(self):
        "Test a key revoked before the message is logged"
        world = self.world = World()
        world.direct(NOW)
        world.relay(BUYER, SELLER, minutes(1))
        world.direct(minutes(2), revoked={BUYER})
        self.assertStatus(world.build(), VERIFIED, 'log')
        world.relay(BUYER, SELLER, minutes(3))
        self.assertNotBuilt("was revoked", exporter=SELLER,
            sign=lambda d: world.sign(d, SELLER))

    def test_key_not_valid(self):
        "Test a key that is not of the time"
        for time in [NOW - timedelta(hours=2), NOW - timedelta(minutes=59)]:
            world = self.world = World()
            world.direct(NOW)
            world.relay(BUYER, SELLER, time)
            if time < NOW - timedelta(hours=1):
                self.assertNotBuilt("not valid at the time")
            else:
                self.assertStatus(world.build(), VERIFIED, 'log')

    # What the log might try

    def test_two_roots(self):
        "Test a log that signs two trees of one size"
        world = self.world
        fork = Log(world.log.signer)
        for number in range(world.log.frontier.size - 2):
            fork.append(b'\x01' + bytes([number]) * 32)
        message, jws = world.say(BUYER, SELLER, minutes(9), via=TRUST)
        world.messages.append(SignedMessage(
                data=message.to_bytes(), signature=jws,
                records=[fork.record(
                        message, 'submission', minutes(9), jws,
                        previous='0' * 64)]))
        self.assertNotBuilt("told two stories")

    def test_checkpoint_in_message(self):
        "Test a sender who was shown another log"
        world = self.world
        size = world.log.frontier.size + 1
        for root, text in [
                (bytes(32), "told two stories"), (None, None)]:
            world = self.world = deal()
            size = world.log.frontier.size
            root = root or merkle.tree_root(world.log.node, size)
            note = Checkpoint(
                'log.example', size, root).sign(world.log.signer)
            world.send(BUYER, SELLER, minutes(9), checkpoint=note)
            with self.subTest(text=text):
                if text:
                    self.assertNotBuilt(text)
                else:
                    self.assertStatus(world.build(), VERIFIED, 'log')

    def test_checkpoint_in_receipt(self):
        "Test a recipient who was shown another log"
        size = self.world.log.frontier.size
        signer = self.world.log.signer
        for note, text in [
                (Checkpoint('log.example', size, bytes(32)).sign(signer),
                    "told two stories"),
                (Checkpoint('log.example', size, bytes(32)).sign(
                        NoteSigner('log.example', signature.SigningKey
                            .generate())), None),
                (b'neither a note', None),
                ]:
            world = self.world = deal()
            message, jws = world.say(BUYER, SELLER, minutes(9))
            world.messages.append(SignedMessage(
                    data=message.to_bytes(), signature=jws,
                    receipt=world.receive(
                        message, minutes(9), checkpoint=note)))
            with self.subTest(note):
                if text:
                    self.assertNotBuilt(text)
                else:
                    self.assertStatus(world.build(), VERIFIED, 'log')

    def test_consistency(self):
        "Test the growth of the log"
        world = self.world
        data = world.build(consistency=world.log.consistency)
        self.assertStatus(data, VERIFIED, 'log')
        parts = File.parse(data).consistency
        self.assertGreater(len(parts), 3)
        self.assertStatus(
            world.build(consistency=lambda *a: None), VERIFIED, 'log')
        part = replace(
            parts[0], hashes=[bytes(32) for _ in parts[0].hashes])
        self.assertRefused(
            world.reseal(data, consistency=[part, *parts[1:]]),
            "^The log log.example grew from")
        self.assertRefused(
            world.reseal(data, consistency=[
                    replace(parts[0], new=parts[1].new), *parts[1:]]),
            "No checkpoint")
        self.assertRefused(
            world.reseal(data, consistency=[
                    replace(parts[0], origin='other'), *parts[1:]]),
            "No checkpoint")

    def test_rewritten_log(self):
        "Test a log that changed an entry cannot prove that it grew"
        world = self.world
        fork = Log(world.log.signer)
        for number in range(world.log.frontier.size):
            fork.append(b'\x01' + bytes([number]) * 32)
        message, jws = world.say(BUYER, SELLER, minutes(9), via=TRUST)
        world.messages.append(SignedMessage(
                data=message.to_bytes(), signature=jws,
                records=[fork.record(
                        message, 'submission', minutes(9), jws,
                        previous='0' * 64)]))
        for log in [fork, world.log]:
            with self.assertRaises((Rejected, KeyError)):
                world.build(consistency=log.consistency)

    # What is sealed

    def test_sealed(self):
        "Test what is sealed is shown by the key of its content, or not"
        world = self.world
        world.seal(SELLER, BUYER, minutes(9))
        world.seal(SELLER, BUYER, minutes(10), shown=False)
        data = world.build()
        report = verify(data, self.policy('log'))
        self.assertEqual(report.status, VERIFIED)
        contents, left = [
            c.text for c in report.checks if c.name == 'content']
        self.assertIn("it says Order, which its sender signed for", contents)
        self.assertIn("left sealed", left)
        shown = evidence.contents(data)
        self.assertEqual(len(shown), len(world.messages) - 1)
        self.assertEqual(shown[-1].payload, sample.ORDER)
        self.assertNotIn(canonical.encode(sample.ORDER), data.decode())

    def test_sealed_changed(self):
        "Test a key that does not show what was signed for is refused"
        world = self.world
        world.seal(SELLER, BUYER, minutes(9))
        data = world.build()
        messages = File.parse(data).messages
        clear = replace(messages[0], content_key=bytes(32))
        self.assertRefused(
            world.reseal(data, messages=[clear, *messages[1:]]),
            "It is not sealed")
        for flipped in sample.flips(messages[-1].content_key):
            other = replace(messages[-1], content_key=flipped)
            self.assertRefused(
                world.reseal(data, messages=[*messages[:-1], other]),
                "does not open")
        other = replace(messages[-1], content_key=b'short')
        self.assertRefused(
            world.reseal(data, messages=[*messages[:-1], other]), "32 bytes")

    def test_sealed_other(self):
        "Test the sender cannot show another document than it signed for"
        world = self.world
        world.seal(SELLER, BUYER, minutes(9))
        with mock.patch.object(
                seal, '_commitment', return_value='0' * 64):
            world.seal(SELLER, BUYER, minutes(10))
        self.assertNotBuilt("not the one that is signed for")
