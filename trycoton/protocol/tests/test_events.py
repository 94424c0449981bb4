# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"What happens to a message, in the log and in an evidence file"
import json
import os
import unittest
from dataclasses import replace
from datetime import timedelta

from trycoton.protocol import (
    canonical, certificate, entry, evidence, signature)
from trycoton.protocol.directory import Participant
from trycoton.protocol.entry import (
    CONSIGNMENT, DELIVERY, EXPIRED, FAILURE, FAILURES, REFUSED, REJECTION,
    SUBMISSION)
from trycoton.protocol.errors import Malformed, ProtocolError, Rejected
from trycoton.protocol.evidence import File, SignedMessage, verify
from trycoton.protocol.note import NoteSigner
from trycoton.protocol.policy import Policy

from .test_entry import EVIDENCE
from .test_evidence import (
    BUYER, COMMUNITY, NOW, SELLER, TRUST, VERIFIED, Log, World, key, minutes)

# All the bytes where there is time for it
STEP = 1 if os.environ.get('TRYCOTON_SOAK') else 41


def tell(world, events, sender=BUYER, receiver=SELLER, created=minutes(1),
        time=None, order=None, refused=None, **values):
    """Add a message with the records of its events to the world

    refused: the recipient refuses it, 'signed', or 'alone' says so the trust
    party.
    """
    time = time or created
    said, jws = world.say(sender, receiver, created, via=TRUST, **values)
    records = {}
    for event in order or events:
        values = {'signature': None}
        if event in {SUBMISSION, REJECTION}:
            values['signature'] = jws
        elif event == DELIVERY:
            receipt = world.receive(said, time)
            values.update(
                signature=receipt.signature, receipt=receipt.data.decode())
        if event == REJECTION:
            values.update(reason='forbidden', text="Not for you.")
        elif event == FAILURE:
            values.update(reason=EXPIRED, text="Never fetched.")
            if refused:
                values.update(reason=REFUSED, text="Not for us.")
            if refused == 'signed':
                refusal = world.refuse(said, time)
                values.update(
                    signature=refusal.signature,
                    receipt=refusal.data.decode())
        records[event] = world.log.record(said, event, time, **values)
    world.messages.append(SignedMessage(
            data=said.to_bytes(), signature=jws,
            records=[records[e] for e in events]))
    return world


def world():
    world = World()
    world.direct(NOW)
    return world


class EventTestCase(unittest.TestCase):
    "Test the events of a message"

    def assertVerified(self, world):
        data = world.build()
        policy = Policy.of([world.log.signer.vkey])
        report = verify(data, policy)
        self.assertEqual(
            report.status, VERIFIED, [c for c in report.checks if not c.ok])
        return report

    def assertNotBuilt(self, text, world, exporter=SELLER):
        with self.assertRaisesRegex(Rejected, text):
            world.build(exporter=exporter,
                sign=lambda d: world.sign(d, exporter))

    def test_lives(self):
        "Test all the ways that a message may go"
        for events in [
                [SUBMISSION], [SUBMISSION, CONSIGNMENT],
                [SUBMISSION, DELIVERY], [SUBMISSION, FAILURE],
                [SUBMISSION, CONSIGNMENT, DELIVERY],
                [SUBMISSION, CONSIGNMENT, FAILURE], [REJECTION]]:
            with self.subTest(events=events):
                report = self.assertVerified(tell(world(), events))
                names = [c.name for c in report.checks]
                self.assertEqual(
                    [n for n in names if n in entry.EVENTS], events)

    def test_reason(self):
        "Test the reason is told"
        for events, text in [
                ([REJECTION], "submission rejection (forbidden)"),
                ([SUBMISSION, FAILURE], "delivery failure (expired)")]:
            report = self.assertVerified(tell(world(), events))
            self.assertIn(text, '\n'.join(c.text for c in report.checks))

    def test_no_life(self):
        "Test the ways that no message may go"
        for events in [
                [CONSIGNMENT], [DELIVERY], [FAILURE],
                [REJECTION, SUBMISSION], [SUBMISSION, REJECTION],
                [REJECTION, FAILURE], [DELIVERY, SUBMISSION],
                [SUBMISSION, DELIVERY, CONSIGNMENT],
                [SUBMISSION, SUBMISSION]]:
            with self.subTest(events=events), self.assertRaises(Malformed):
                tell(world(), events)

    def test_closed_once(self):
        "Test nothing is both delivered and not delivered"
        with self.assertRaisesRegex(Malformed, "both delivered and not"):
            tell(world(), [SUBMISSION, DELIVERY, FAILURE])
        closed = tell(world(), [SUBMISSION, DELIVERY])
        data = closed.build()
        message, = closed.messages
        failure = closed.log.record(
            message.value, FAILURE, minutes(2), None, reason=REFUSED)
        file = json.loads(data)
        file['messages'][0]['records'].append(failure.to_json())
        file['signature'] = closed.sign(canonical.dump(
                {n: v for n, v in file.items() if n != 'signature'}))
        check, = verify(canonical.dump(file)).checks
        self.assertFalse(check.ok)
        self.assertIn("both delivered and not delivered", check.text)
        self.assertEqual(check.part, 'messages[0]')

    def test_receipt_of_what_failed(self):
        "Test a late receipt does not make a second end"
        failed = tell(world(), [SUBMISSION, FAILURE])
        message, = failed.messages
        with self.assertRaisesRegex(Malformed, "has no receipt"):
            replace(message, receipt=failed.receive(message.value, NOW))

    def test_order(self):
        "Test events stand in the log in the order in which they happen"
        for order in [
                [FAILURE, SUBMISSION], [CONSIGNMENT, SUBMISSION],
                [SUBMISSION, DELIVERY, CONSIGNMENT]]:
            events = [e for e in entry.EVENTS if e in order]
            with self.subTest(order=order):
                self.assertNotBuilt(
                    "comes before the", tell(world(), events, order=order))

    def test_evidence(self):
        "Test the members that each event has"
        for values in [
                {'reason': 'forbidden'}, {'text': "x"}, {'signature': None},
                {'event': FAILURE, 'signature': None},
                {'event': FAILURE, 'reason': EXPIRED},
                {'event': FAILURE, 'reason': 'x', 'signature': None},
                {'event': REJECTION},
                {'event': REJECTION, 'reason': 'X y'},
                {'event': REJECTION, 'reason': 'x', 'signature': None},
                {'event': CONSIGNMENT},
                {'event': CONSIGNMENT, 'signature': None, 'receipt': '{}'},
                {'event': DELIVERY, 'receipt': '{}', 'reason': EXPIRED},
                {'event': FAILURE, 'reason': EXPIRED, 'receipt': '{}'},
                {'event': FAILURE, 'reason': REFUSED},
                {'event': FAILURE, 'reason': REFUSED, 'receipt': '{}',
                    'signature': None},
                {'event': REJECTION, 'reason': 'x', 'receipt': '{}'}]:
            with self.subTest(values=values), self.assertRaises(Malformed):
                replace(EVIDENCE, **values)
        for values in [
                {'event': REJECTION, 'reason': 'forbidden', 'text': "x"},
                {'event': CONSIGNMENT, 'signature': None},
                {'event': FAILURE, 'reason': REFUSED, 'receipt': '{}'},
                *({'event': FAILURE, 'reason': r, 'signature': None}
                    for r in FAILURES)]:
            made = replace(EVIDENCE, **values)
            self.assertEqual(entry.Evidence.parse(made.to_bytes()), made)

    def test_refused(self):
        "Test a refusal that the recipient signed is told from one it did not"
        for refused, says, name in [
                ('signed', "(refused by the recipient, signed)", 'refusal'),
                ('alone', "(refused, says the trust party alone)", None)]:
            told = tell(world(), [SUBMISSION, FAILURE], refused=refused)
            checks = self.assertVerified(told).checks
            self.assertIn(says, '\n'.join(c.text for c in checks))
            self.assertEqual(
                [c.part for c in checks if c.name == 'refusal'],
                ['messages[0].records[1]'] if name else [])
            read, = certificate.read(told.build()).messages
            self.assertIsNone(read.receipt)
            self.assertEqual(read.events[1].signed, bool(name))
            self.assertEqual(
                read.refusal and (read.refusal.problem, read.refusal.text),
                ('suspended', "Not for us.") if name else None)

    def test_refusal_invented(self):
        "Test what the recipient did not sign so is not its refusal"
        stranger = key(40)
        for values, text in [
                ({'sign': stranger}, "not given as one of"),
                ({'digest': '0' * 64}, "about another message"),
                ({'message': EVIDENCE.message[:-1] + '9'},
                    "about another message"),
                ({'receiver': BUYER}, "about another message")]:
            told = world()
            said, jws = told.say(BUYER, SELLER, minutes(1), via=TRUST)
            refusal = told.refuse(said, minutes(1), **values)
            told.messages.append(SignedMessage(
                    data=said.to_bytes(), signature=jws, records=[
                        told.log.record(said, SUBMISSION, minutes(1), jws),
                        told.log.record(
                            said, FAILURE, minutes(2), refusal.signature,
                            refusal.data.decode(), reason=REFUSED)]))
            with self.subTest(values=values):
                self.assertNotBuilt(text, told)

    def test_receipt_as_refusal(self):
        "Test a receipt is not taken for a refusal, nor the other way round"
        for event, reason in [(FAILURE, REFUSED), (DELIVERY, None)]:
            told = world()
            said, jws = told.say(BUYER, SELLER, minutes(1), via=TRUST)
            answer = (told.receive if event == FAILURE else told.refuse)(
                said, minutes(1))
            told.messages.append(SignedMessage(
                    data=said.to_bytes(), signature=jws, records=[
                        told.log.record(said, SUBMISSION, minutes(1), jws),
                        told.log.record(
                            said, event, minutes(2), answer.signature,
                            answer.data.decode(), reason=reason)]))
            with self.subTest(event=event), self.assertRaises(ProtocolError):
                told.build()

    def test_refused_directly(self):
        "Test who refuses a message that no trust party saw"
        told = world()
        told.send(BUYER, SELLER, minutes(1), received=False)
        message, = told.messages
        told.messages = [replace(
                message, receipt=told.refuse(message.value, minutes(2)))]
        data = told.build()
        report = verify(data, Policy.of([told.vkey(COMMUNITY)]))
        self.assertEqual(report.status, VERIFIED)
        self.assertIn('refusal', [c.name for c in report.checks])
        read, = certificate.read(data).messages
        self.assertEqual(read.refusal.problem, 'suspended')
        told.messages = [replace(message, receipt=told.refuse(
                    message.value, minutes(2), sign=key(40)))]
        self.assertNotBuilt("not given as one of", told)

    def test_refusal_under_revoked_key(self):
        "Test a key of the recipient that was revoked refuses nothing"
        told = world()
        said, jws = told.say(BUYER, SELLER, minutes(1), via=TRUST)
        submission = told.log.record(said, SUBMISSION, minutes(1), jws)
        told.direct(minutes(2), revoked=[SELLER])
        refusal = told.refuse(said, minutes(3))
        told.messages.append(SignedMessage(
                data=said.to_bytes(), signature=jws, records=[
                    submission, told.log.record(
                        said, FAILURE, minutes(3), refusal.signature,
                        refusal.data.decode(), reason=REFUSED)]))
        self.assertNotBuilt("was revoked", told, exporter=BUYER)

    def test_guess(self):
        "Test who knows all of an event but the nonce cannot find its entry"
        told = tell(world(), [SUBMISSION])
        record, = told.messages[0].records
        for nonce in [bytes(32), bytes(range(32)), bytes([255] * 32)]:
            self.assertNotEqual(
                entry.commitment(nonce, record.evidence), record.entry)

    def test_other_kind(self):
        "Test an agreement of any kind is evidence"
        told = tell(
            world(), [SUBMISSION, DELIVERY], kind='loan-of-a-tractor',
            body={'from': '2026-10-01', 'to': '2026-10-08', 'diesel': None})
        report = self.assertVerified(told)
        self.assertIn(
            "loan-of-a-tractor", '\n'.join(c.text for c in report.checks))

    def test_answer(self):
        "Test an answer is recorded after what it answers"
        for first in [True, False]:
            told = world()
            order, _ = World().say(BUYER, SELLER, minutes(1), via=TRUST)
            answer = {
                'sender': SELLER, 'receiver': BUYER,
                'correlation': order.id,
                'id': '00000000-0000-4000-8000-00000000000a'}
            if first:
                tell(told, [SUBMISSION])
                tell(told, [SUBMISSION], **answer)
                report = self.assertVerified(told)
                self.assertIn('answer', [c.name for c in report.checks])
            else:
                tell(told, [SUBMISSION], **answer)
                tell(told, [SUBMISSION], id=order.id)
                self.assertNotBuilt("before it", told)

    # What somebody might try

    def revoke(self, told, time, revoked=None, **values):
        "Publish that the key of the buyer does not count any more"
        told.direct(time, participants=[
                Participant(
                    identifier=i, name=i,
                    keys=told.publish(i, **(
                            {'revoked': revoked} if i == BUYER else {})),
                    **told.keep(i))
                for i in told.keys], **values)

    def test_stolen_key(self):
        "Test a stolen key signs nothing after the index of its revocation"
        for created, revoked in [
                (minutes(9), minutes(5)),   # plainly
                (minutes(1), minutes(5)),   # back-dated
                (minutes(1), minutes(90))]:  # revoked by a clock ahead
            told = tell(world(), [SUBMISSION], created=minutes(1))
            self.revoke(told, minutes(5), revoked)
            with self.subTest(created=created, revoked=revoked):
                self.assertVerified(told)
                tell(told, [SUBMISSION], created=created, time=minutes(9))
                self.assertNotBuilt("was revoked", told)

    def test_stolen_key_and_clock_of_the_log(self):
        "Test a trust party that back-dates its records helps no thief"
        told = world()
        self.revoke(told, minutes(5), minutes(5))
        tell(told, [SUBMISSION], created=minutes(1), time=minutes(1))
        self.assertNotBuilt("was revoked", told)

    def test_withdrawn_key(self):
        "Test a key that a directory left out counts no more"
        told = tell(world(), [SUBMISSION])
        old, told.keys[BUYER] = told.keys[BUYER], key(30)
        told.direct(minutes(5))
        new, told.keys[BUYER] = told.keys[BUYER], old
        tell(told, [SUBMISSION], created=minutes(1), time=minutes(9))
        self.assertNotBuilt("was withdrawn", told)
        told.messages.pop()
        told.keys[BUYER] = new
        self.assertVerified(told)

    def test_left(self):
        "Test who left a community still trades by its own descriptor"
        told = World()
        told.direct(NOW, logged=False)
        told.direct(minutes(5), logged=False, participants=[
                Participant(
                    identifier=SELLER, name=SELLER,
                    keys=told.publish(SELLER))])
        told.send(BUYER, SELLER, minutes(9))
        self.assertNotBuilt("was withdrawn", told)
        data = told.build(
            descriptors=[told.descriptor, told.describe(BUYER)])
        report = verify(
            data, Policy.of([told.vkey(COMMUNITY), told.vkey(BUYER)]))
        self.assertEqual(report.status, VERIFIED)

    def test_denial(self):
        "Test who revokes a key by an older clock denies nothing it signed"
        told = tell(world(), [SUBMISSION, DELIVERY], created=minutes(2))
        self.revoke(told, minutes(5), NOW)
        told.keys[BUYER], old = key(30), told.keys[BUYER]
        told.direct(minutes(6), participants=[Participant(
                    identifier=i, name=i, keys=told.publish(i))
                for i in told.keys])
        told.keys[BUYER] = old
        data = told.build(exporter=SELLER,
            sign=lambda d: told.sign(d, SELLER))
        report = verify(data, Policy.of([told.log.signer.vkey]))
        self.assertEqual(report.status, VERIFIED)

    def test_back_dated(self):
        "Test a message dated before the one that it follows"
        told = tell(world(), [SUBMISSION], created=minutes(180))
        tell(told, [SUBMISSION], created=minutes(100), time=minutes(181))
        self.assertNotBuilt("is dated before number 1", told)
        told = tell(
            world(), [SUBMISSION], created=minutes(90), time=minutes(1))
        self.assertNotBuilt("dated after its record", told)
        # What one message says of its own date is told beside the log's
        told = tell(
            world(), [SUBMISSION], created=minutes(1),
            time=NOW + timedelta(days=20))
        text = '\n'.join(c.text for c in self.assertVerified(told).checks)
        self.assertIn(
            "dated 2026-09-01T12:01:00Z, recorded 2026-09-21T12:00:00Z",
            text)

    def test_reordered(self):
        "Test what was recorded in another order is told"
        told = world()
        one = told.say(BUYER, SELLER, minutes(1), via=TRUST)
        told.messages.append(None)
        two = told.say(BUYER, SELLER, minutes(2), via=TRUST)
        told.messages = [SignedMessage(
                data=said.to_bytes(), signature=jws,
                records=[told.log.record(said, SUBMISSION, minutes(3), jws)])
            for said, jws in [two, one]]
        report = self.assertVerified(told)
        self.assertIn(
            "recorded in the order 2, 1",
            '\n'.join(c.text for c in report.checks))

    def test_replay(self):
        "Test the same message recorded twice"
        told = tell(world(), [SUBMISSION])
        message, = told.messages
        again = replace(message, records=[told.log.record(
                    message.value, SUBMISSION, minutes(5),
                    message.signature)])
        told.messages.append(again)
        with self.assertRaises(ProtocolError):
            told.build()

    def test_old_receipt(self):
        "Test the receipt of another message delivers nothing"
        told = tell(world(), [SUBMISSION, DELIVERY])
        old = told.messages[0].records[1].event
        said, jws = told.say(BUYER, SELLER, minutes(2), via=TRUST)
        told.messages.append(SignedMessage(
                data=said.to_bytes(), signature=jws, records=[
                    told.log.record(said, SUBMISSION, minutes(2), jws),
                    told.log.record(
                        said, DELIVERY, minutes(2), old.signature,
                        old.receipt)]))
        self.assertNotBuilt("another message", told)

    def test_false_accusation(self):
        "Test a log that nobody named cannot say that all failed"
        told = tell(world(), [SUBMISSION, DELIVERY])
        data = told.build()
        honest = told.log
        told.log = Log(NoteSigner('other.example', key(77)))
        told.messages = []
        told.last.clear()
        tell(told, [SUBMISSION, FAILURE])
        forged = told.build(keys=[told.log.signer.vkey])
        policy = Policy.of([honest.signer.vkey])
        self.assertEqual(verify(data, policy).status, VERIFIED)
        self.assertEqual(
            verify(forged, policy).status, evidence.UNESTABLISHED)
        community = Policy.of([told.vkey(COMMUNITY)])
        self.assertEqual(
            verify(forged, community).status, evidence.UNESTABLISHED)


class FlipTestCase(unittest.TestCase):
    "Test the part where a bit flipped is named"

    def test_named(self):
        "Test a flipped bit is named, wherever it is"
        told = tell(world(), [SUBMISSION, CONSIGNMENT, DELIVERY])
        tell(told, [SUBMISSION, FAILURE], created=minutes(2))
        tell(told, [SUBMISSION, FAILURE], created=minutes(2),
            refused='signed')
        told.send(SELLER, BUYER, minutes(3))
        data = told.build(consistency=told.log.consistency)
        policy = Policy.of([told.log.signer.vkey])
        self.assertEqual(verify(data, policy).status, VERIFIED)
        for place in range(0, len(data), STEP):
            for bit in {0, place % 8}:
                flipped = bytearray(data)
                flipped[place] ^= 1 << bit
                self.check(data, place, bytes(flipped), policy)

    def check(self, data, place, flipped, policy):
        report = verify(flipped, policy)
        self.assertEqual(report.status, evidence.REFUSED, place)
        where = canonical.locate(data, place) or ''
        parts = [c.part for c in report.checks if not c.ok]
        if not {'.', '['} & {*where} and report.checks[0].name == 'form':
            # The name of a member of the file, or what is beside it
            self.assertTrue(
                parts[0] or 'at byte' in report.checks[0].text, place)
            return
        if where in {'exporter', 'signature'}:
            self.assertIn(parts[0], {'signature', 'exporter'}, place)
            return
        self.assertTrue([
                part for part in parts for near in range(-1, 2)
                if self.near(
                    part or '', canonical.locate(data, place + near) or '')],
            (place, where, parts))

    @staticmethod
    def near(part, where):
        "Tell if one is the other, a part of it, or beside it"
        if part.startswith(where) or where.startswith(part) and part:
            return True
        # What is lost or added may join it with what is beside it
        parent = part.rpartition('.')[0]
        return parent and where.startswith(parent)

    def test_locate(self):
        "Test the path of each place in a text"
        data = canonical.dump({
                'a': [{'b': "x,]}\"\\"}, [1, 2]], 'c': {'d': None}, 'e': 1})
        for text, path in [
                (b'"x', 'a[0].b'), (b'1,2', 'a[1][0]'), (b'2]', 'a[1][1]'),
                (b'null', 'c.d'), (b'1}', 'e'), (b'"d"', 'c.d')]:
            self.assertEqual(
                canonical.locate(data, data.rindex(text)), path)
        self.assertIsNone(canonical.locate(data, 0))
        for data, path in [
                (b'{"a":[1,', 'a[1]'), (b'{"a":1,"b":"\xff"}', 'b'),
                (b'{"b":1,"a":2}', 'b'), (b'{"a":"b', 'a'), (b'', None),
                (b'{"a": 1}', 'a')]:
            with self.assertRaises(Malformed) as context:
                canonical.load(data)
            self.assertEqual(
                canonical.locate(data, context.exception.place), path, data)

    def test_path(self):
        "Test what is malformed tells where it is"
        file = json.loads(tell(world(), [SUBMISSION]).build())
        file['messages'][0]['records'][0]['proof'] = 'x'
        with self.assertRaises(Malformed) as context:
            File.from_json(file)
        self.assertEqual(
            context.exception.path, 'messages[0].records[0]')
        file['messages'][0]['records'][0]['nonce'] = '.'
        with self.assertRaises(Malformed) as context:
            File.from_json(file)
        self.assertEqual(
            context.exception.path, 'messages[0].records[0].nonce')

    def test_signature_type(self):
        "Test the seal of a file is no other signature"
        told = tell(world(), [SUBMISSION])
        with self.assertRaises(Rejected):
            told.build(sign=lambda d: signature.sign(
                    d, signature.RECEIPT, told.keys[BUYER]))
