# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
import random
import unittest
from dataclasses import replace
from datetime import timedelta

from trycoton.protocol import canonical, dispute, signature, statement
from trycoton.protocol.errors import Malformed, ProtocolError, Rejected

from . import sample
from .sample import (
    BUYER, COMMUNITY, DIGEST, ID, KEY, KEYS, OTHER_KEY, SELLER, TIME, TRUST)

LATER = TIME + timedelta(days=30)
DUE = dispute.Due('120.00', 'EUR')
OTHER = '1' + ID[1:]


def opening(**values):
    return dispute.Opening(**{
            'dispute': ID,
            'relation': ID,
            'side': 'buyer',
            'messages': [dispute.Contested(ID, DIGEST)],
            'claim': "Gâté.",
            'asked': 'refund',
            'amount': DUE,
            'freezes': ['payment'],
            'arbiter': COMMUNITY,
            'answer_by': TIME,
            'award_by': LATER,
            **values})


def opened(body=None):
    return sample.statement(
        kind='dispute-opening', body=(body or opening()).to_json())


def award(**values):
    return dispute.Award(**{
            'dispute': ID,
            'opening': opened().digest,
            'arbiter': COMMUNITY,
            'seller': SELLER,
            'buyer': BUYER,
            'outcome': 'buyer',
            'credited': DUE,
            'paid': None,
            'reasons': "La photo le montre.",
            'considered': [DIGEST],
            'created': TIME,
            **values})


class DisputeTestCase(unittest.TestCase):
    "Test what is said in a dispute"

    def test_bodies(self):
        "Each body is one of the statements, and comes back"
        for kind, class_ in dispute.BODIES.items():
            self.assertIs(statement.BODIES[kind], class_)
        body = opening()
        self.assertEqual(
            dispute.Opening.from_json(
                canonical.load(canonical.dump(body.to_json()))), body)

    def test_malformed(self):
        "What contradicts itself is refused"
        other = dispute.Due('5', 'USD')
        for function, values in [
                (opening, {'messages': []}),
                (opening, {'messages': [
                            dispute.Contested(ID, DIGEST),
                            dispute.Contested(ID, '0' * 64)]}),
                (opening, {'messages': [
                            dispute.Contested(f'{n:08x}{ID[8:]}', DIGEST)
                            for n in range(dispute.MESSAGES_MAX + 1)]}),
                (opening, {'claim': ''}),
                (opening, {'asked': 'blood'}),
                (opening, {'side': 'arbiter'}),
                (opening, {'freezes': ['payment', 'payment']}),
                (opening, {'freezes': ['breath']}),
                (opening, {'award_by': TIME}),
                (award, {'outcome': 'nobody'}),
                (award, {'outcome': 'split'}),
                (award, {'outcome': 'split', 'paid': other}),
                (award, {'outcome': 'seller'}),
                (award, {'paid': DUE}),
                (award, {'reasons': ''}),
                ]:
            with self.subTest(values=values):
                with self.assertRaises(Malformed):
                    function(**values)
        for amount in ['0', '0.00', '-1', '01', '1,5', 1]:
            with self.subTest(amount=amount):
                with self.assertRaises(Malformed):
                    dispute.Due(amount, 'EUR')
        for values in [
                (None, None, None), ("a", 'n', None), ("a", None, b'f'),
                (None, 'n', b'f' * (dispute.FILE_MAX + 1))]:
            with self.assertRaises(Malformed):
                dispute.CaseEvidence(ID, *values)

    def test_award(self):
        "An award is about one dispute, its parties and its arbiter"
        statement = opened()
        award().check_case(statement, COMMUNITY)
        award(outcome='split', paid=dispute.Due('1', 'EUR')).check_case(
            statement, COMMUNITY)
        sold = opened(opening(side='seller'))
        award(opening=sold.digest, seller=BUYER, buyer=SELLER).check_case(
            sold, COMMUNITY)
        for values in [
                {'dispute': OTHER}, {'opening': DIGEST}, {'arbiter': TRUST},
                {'seller': TRUST}, {'buyer': SELLER, 'seller': BUYER}]:
            with self.subTest(values=values):
                with self.assertRaises(Rejected):
                    award(**values).check_case(statement, COMMUNITY)
        with self.assertRaises(Rejected):
            award().check_case(statement, SELLER)

    def test_award_signature(self):
        "An award has a signature of its own type, and no bit of it changes"
        data = award().to_bytes()
        jws = signature.sign(data, signature.AWARD, KEY)
        self.assertEqual(dispute.Award.open(data, jws, KEYS), award())
        for flipped in sample.flips(data):
            with self.assertRaises(ProtocolError):
                dispute.Award.open(flipped, jws, KEYS)
        for mutated in sample.mutations(data, 300, random.Random(7)):
            if mutated != data:
                with self.assertRaises(ProtocolError):
                    dispute.Award.parse(mutated)
                    dispute.Award.open(mutated, jws, KEYS)
        for wrong in [
                signature.sign(data, signature.STATEMENT, KEY),
                signature.sign(data, signature.AWARD, OTHER_KEY)]:
            with self.assertRaises(Rejected):
                dispute.Award.open(data, wrong, KEYS)

    def test_flips(self):
        "No bit of what is said may change unseen"
        said = opened()
        jws = signature.sign(said.to_bytes(), said.typ, KEY)
        for flipped in sample.flips(said.to_bytes()):
            with self.assertRaises(ProtocolError):
                signature.verify(flipped, jws, said.typ, KEYS)

    def test_states(self):
        "A dispute ends once, and an ended one admits nothing but its award"
        events = {e for _, e in dispute._transitions}
        for state in dispute.OPEN:
            for event in ['evidence', 'arbiter']:
                self.assertEqual(dispute.after(state, event), state)
            for event in ['withdrawal', 'award', 'expiry', 'agreement']:
                self.assertIn(dispute.after(state, event), dispute.ENDED)
        self.assertEqual(dispute.after('opened', 'silence'), 'unanswered')
        self.assertEqual(dispute.after('unanswered', 'answer'), 'answered')
        # It was given in time and arrives late
        self.assertEqual(dispute.after('expired', 'award'), 'awarded')
        for state in dispute.ENDED:
            for event in events - {'award'}:
                with self.assertRaises(Rejected):
                    dispute.after(state, event)
        for state in ['agreed', 'withdrawn', 'awarded']:
            with self.assertRaises(Rejected):
                dispute.after(state, 'award')
        with self.assertRaises(Rejected):
            dispute.after('answered', 'answer')

    def test_events(self):
        answer = dispute.Answer(ID, True, None, [], None)
        self.assertEqual(dispute.event_of(answer), 'agreement')
        self.assertEqual(
            dispute.event_of(replace(answer, agreed=False)), 'answer')

    def test_speakers(self):
        "Nobody speaks for another one"
        answer = dispute.Answer(ID, False, None, [], None)
        text = dispute.CaseEvidence(ID, "Vu.", None, None)
        for body, speaker, allowed in [
                (opening(), BUYER, True), (opening(), SELLER, False),
                (answer, SELLER, True), (answer, BUYER, False),
                (text, SELLER, True), (text, BUYER, True),
                (text, TRUST, False), (text, COMMUNITY, False),
                (dispute.Withdrawal(ID, None), SELLER, False),
                (dispute.Withdrawal(ID, None), BUYER, True),
                (dispute.ArbiterNaming(ID, TRUST), TRUST, False),
                ]:
            with self.subTest(body=body, speaker=speaker):
                if allowed:
                    dispute.check_speaker(body, speaker, BUYER, SELLER)
                else:
                    with self.assertRaises(Rejected):
                        dispute.check_speaker(body, speaker, BUYER, SELLER)

    def test_time(self):
        "A deadline counts, and neither a late message nor a lying clock"
        second, hour = timedelta(seconds=1), timedelta(hours=1)
        dispute.check_in_time(LATER, LATER, LATER + dispute.LATEST)
        dispute.check_in_time(LATER, TIME + hour, TIME)
        for said, received in [
                (LATER + second, LATER + second),
                (LATER, LATER + dispute.LATEST + second),
                (TIME + hour + second, TIME)]:
            with self.assertRaises(Rejected):
                dispute.check_in_time(LATER, said, received)

    def test_arbiter(self):
        "The arbiter is neither a party nor the operator, by name or key"
        parties = [(BUYER, {'b'}), (SELLER, {'s'})]
        operators = [(TRUST, {'t', 'log'})]
        dispute.check_arbiter((COMMUNITY, {'c'}), parties, operators)
        for arbiter in [
                (BUYER, {'c'}), (SELLER, {'c'}), (TRUST, {'c'}),
                (COMMUNITY, {'c', 'b'}), (COMMUNITY, {'log'})]:
            with self.subTest(arbiter=arbiter):
                with self.assertRaises(Rejected):
                    dispute.check_arbiter(arbiter, parties, operators)
