# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
import random
import unittest
from dataclasses import replace
from decimal import Decimal

from trycoton.protocol import custody, signature
from trycoton.protocol.dispute import Due
from trycoton.protocol.errors import ProtocolError, Rejected

from . import sample
from .sample import COMMUNITY, ID, KEY, KEYS, TIME

D = Decimal


class CustodyTestCase(unittest.TestCase):
    "Test what a custodian confirms"

    def balance(self, state='held', **values):
        return custody.Balance(
            state, D(100), **{'held': D(100), **values})

    def test_ways(self):
        "The money goes its ways, and nowhere else"
        funding = custody.Balance('funding', D(100))
        for events, state in [
                ([], 'funding'),
                ([('funded', 100)], 'held'),
                ([('funded', 100), ('released', 40)], 'part_released'),
                ([('funded', 100), ('released', 40), ('released', 60)],
                    'released'),
                ]:
            balance = funding
            for event, amount in events:
                balance = balance.after(event, D(amount))
            self.assertEqual(balance.state, state)
        balance = self.balance('refunding', released=D(40))
        balance = balance.after('refunded', D(10))
        self.assertEqual((balance.state, balance.remaining), (
                'refunding', D(50)))
        balance = balance.after('refunded', D(50))
        self.assertEqual((balance.state, balance.remaining), (
                'refunded', D(0)))

    def test_refused(self):
        "Nothing comes twice, frozen or beyond what is there"
        awarded = self.balance('split', to_seller=D(60), to_buyer=D(40))
        for balance, event, amount in [
                (custody.Balance('agreed', D(100)), 'funded', 100),
                (custody.Balance('funding', D(100)), 'funded', 99),
                (custody.Balance('funding', D(100)), 'released', 1),
                (self.balance(), 'funded', 100),
                (self.balance(), 'released', 101),
                (self.balance(), 'released', 0),
                (self.balance(), 'released', -1),
                (self.balance(), 'refunded', 1),
                (self.balance(), 'award', 1),
                (self.balance('disputed'), 'released', 1),
                (self.balance('disputed'), 'refunded', 1),
                (self.balance('released', released=D(100)), 'released', 1),
                (self.balance('refunding'), 'released', 1),
                (awarded, 'released', 61), (awarded, 'refunded', 41),
                (awarded, 'funded', 100),
                (replace(awarded, state='settled'), 'released', 1),
                ]:
            with self.subTest(state=balance.state, event=event):
                with self.assertRaises(Rejected):
                    balance.after(event, D(amount))

    def test_award(self):
        "An award leaves to each what is its own"
        disputed = self.balance('disputed', released=D(20))
        for outcome, credited, to_seller, to_buyer, state in [
                ('seller', None, 80, 0, 'awarded'),
                ('buyer', None, 0, 80, 'awarded'),
                ('buyer', D(30), 50, 30, 'awarded'),
                ('buyer', D(500), 0, 80, 'awarded'),
                ('split', D(30), 50, 30, 'split'),
                ]:
            with self.subTest(outcome=outcome, credited=credited):
                balance = disputed.award(outcome, credited)
                self.assertEqual(
                    (balance.to_seller, balance.to_buyer, balance.state),
                    (to_seller, to_buyer, state))
                if to_seller:
                    balance = balance.after('released', D(to_seller))
                if to_buyer:
                    balance = balance.after('refunded', D(to_buyer))
                self.assertEqual(balance.state, 'settled')
        with self.assertRaises(Rejected):
            self.balance().award('seller', None)

    def test_sum(self):
        "Whatever is confirmed, what was there is accounted for"
        chance = random.Random(3)
        for _ in range(300):
            balance = custody.Balance('funding', D(100))
            for _ in range(12):
                try:
                    if chance.random() < 0.1:
                        balance = replace(balance, state='disputed')
                        balance = balance.award('split', D(33))
                    balance = balance.after(
                        chance.choice(custody.EVENTS),
                        D(chance.choice([100, 33, 67, 1, 50])))
                except Rejected:
                    continue
                self.assertEqual(
                    balance.held, balance.released + balance.refunded
                    + balance.remaining)
                self.assertGreaterEqual(balance.remaining, 0)

    def test_flips(self):
        "No bit of a confirmation changes unseen"
        data = custody.Confirmation(
            COMMUNITY, ID, 'funded', 'PSP-1', Due('1', 'EUR'), ID,
            TIME).to_bytes()
        jws = signature.sign(data, signature.CUSTODY, KEY)
        custody.Confirmation.open(data, jws, KEYS)
        for flipped in sample.flips(data):
            with self.assertRaises(ProtocolError):
                custody.Confirmation.open(flipped, jws, KEYS)
        with self.assertRaises(Rejected):
            custody.Confirmation.open(
                data, signature.sign(data, signature.AWARD, KEY), KEYS)
