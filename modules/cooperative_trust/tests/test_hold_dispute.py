# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The dispute about a hold, and its award, as they pass the trust party"""
import datetime as dt
import uuid
from decimal import Decimal

from trytond.exceptions import UserError
from trytond.pool import Pool
from trytond.pyson import PYSONDecoder, PYSONEncoder
from trytond.tests.test_tryton import RouteTestCase
from trytond.transaction import Transaction

from cooperative_trust.exceptions_hold import (
    HoldAwardError, HoldDisputeError, HoldModifyError)
from trycoton.protocol import custody, dispute, signature
from trycoton.protocol.dispute import Due

from .tools import (
    ARBITER, BUYER, CUSTODIAN, SELLER, HoldMixin, Member, TrustTestCase, now)


class HoldDisputeTestCase(HoldMixin, TrustTestCase, RouteTestCase):
    "Test holds and the disputes that the trust party recorded"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.custodian, cls.arbiter = Member(CUSTODIAN), Member(ARBITER)

    def setUp(self):
        super().setUp()
        self.publish(*(m.participant() for m in [
                    self.seller, self.buyer, self.custodian, self.arbiter]))
        self.relation = self.agree()
        self.dispute = str(uuid.uuid4())
        self.uuid = self.do(self.fund)
        self.confirm()

    def fund(self):
        pool = Pool()
        Currency = pool.get('currency.currency')
        Custodian = pool.get('cooperative.trust.custodian')
        Hold = pool.get('cooperative.trust.hold')
        euro, = Currency.search([('code', '=', 'EUR')])
        custodians = Custodian.search([]) or Custodian.create([{
                    'company': self.company,
                    'peer': self.peer(CUSTODIAN).id,
                    'licence': '16958', 'authority': 'ACPR'}])
        hold, = Hold.create([{
                    'company': self.company,
                    'custodian': custodians[0].id,
                    'buyer': self.peer(BUYER).id,
                    'seller': self.peer(SELLER).id,
                    'amount': Decimal('100.10'), 'currency': euro.id}])
        Hold.fund([hold])
        return hold.uuid

    def confirm(self, event='funded', amount='100.10'):
        data = custody.Confirmation(
            custodian=CUSTODIAN, hold=self.uuid, event=event,
            reference=str(uuid.uuid4()), amount=Due(amount, 'EUR'),
            nonce=str(uuid.uuid4()), time=now()).to_bytes()
        return self.client().post(
            self.path('custody'), data=data,
            headers=self.custodian.sign(
                data, signature.CUSTODY)).status_code

    # What passes

    def say(self, member, receiver, kind, body):
        message = member.statement(
            receiver, kind,
            body if isinstance(body, dict) else body.to_json())
        self.send(member, message)
        return message

    def open(self, arbiter=ARBITER, side='buyer', **values):
        "Have the buyer open the dispute, by way of the trust party"
        member, receiver = {
            'buyer': (self.buyer, SELLER),
            'seller': (self.seller, BUYER)}[side]
        self.opening = self.say(
            member, receiver, 'dispute-opening', dispute.Opening(**{
                    'dispute': self.dispute, 'relation': self.relation,
                    'side': side,
                    'messages': [dispute.Contested(
                            str(uuid.uuid4()), 'ab' * 32)],
                    'claim': "Gâté.", 'asked': 'refund',
                    'amount': Due('40', 'EUR'), 'freezes': ['payment'],
                    'arbiter': arbiter, 'answer_by': now(),
                    'award_by': now() + dt.timedelta(days=9), **values}))
        return self.opening

    def answer(self, arbiter=ARBITER):
        return self.say(
            self.seller, BUYER, 'dispute-answer', dispute.Answer(
                self.dispute, False, None, ['payment'], arbiter))

    def award(self, receivers=(BUYER, SELLER), **values):
        award = dispute.Award(**{
                'dispute': self.dispute, 'opening': self.opening.digest,
                'arbiter': ARBITER, 'seller': SELLER, 'buyer': BUYER,
                'outcome': 'split', 'credited': Due('40', 'EUR'),
                'paid': Due('60.10', 'EUR'), 'reasons': "Vu.",
                'considered': [], 'created': now(), **values}).to_bytes()
        notice = dispute.AwardNotice(award, signature.sign(
                award, signature.AWARD, self.arbiter.key))
        for receiver in receivers:
            self.say(self.arbiter, receiver, 'dispute-award', notice)
        return notice

    def relayed(self, message):
        Message = Pool().get('cooperative.edi.message')
        relayed, = Message.search([
                ('uuid', '=', message.id), ('relays', '!=', None)])
        return relayed

    # What the operator does

    def choose(self, opening):
        "Choose the dispute as in the client, and freeze"
        record = self.hold()
        record.opening = self.relayed(opening)
        record.on_change_opening()
        named = record.arbiter and record.arbiter.identifier
        record.save()
        record.__class__.freeze([record])
        return named

    def offered(self):
        "Return what is to choose from, in the form of the hold"
        pool = Pool()
        Hold = pool.get('cooperative.trust.hold')
        Message = pool.get('cooperative.edi.message')
        record = self.hold()
        domain = PYSONDecoder({
                'company': record.company.id, 'buyer': record.buyer.id,
                'seller': record.seller.id,
                }).decode(PYSONEncoder().encode(Hold.opening.domain))
        return {m.uuid for m in Message.search(domain)}

    def record(self, choose=lambda notices: notices[0]):
        "Record one of the awards that are proposed"
        pool = Pool()
        Message = pool.get('cooperative.edi.message')
        Wizard = pool.get('cooperative.trust.hold.award', type='wizard')
        record = self.hold()
        session, start, _ = Wizard.create()
        with Transaction().set_context(
                active_model=record.__name__, active_id=record.id,
                active_ids=[record.id]):
            view = Wizard.execute(session, {}, start)['view']
            values = view['defaults']
            notice = choose(Message.browse(values['notices']))
            Wizard.execute(
                session, {'start': {'notice': notice.id}}, 'record_')
        return values

    def read(self, *names):
        return tuple(
            self.do(lambda: [getattr(self.hold(), n) for n in names]))

    def test_recorded(self):
        "The dispute and the award that passed are chosen, and split"
        self.open()
        self.answer()
        self.assertIn(self.opening.id, self.do(self.offered))
        self.assertEqual(self.do(self.choose, self.opening), ARBITER)
        self.assertEqual(
            self.read('dispute', 'state'), (self.dispute, 'disputed'))
        self.award()
        values = self.do(self.record)
        # The same was told to both
        self.assertEqual(len(values['notices']), 1)
        self.assertEqual(values['notice'], values['notices'][0])
        self.assertEqual(
            self.read('state', 'to_seller', 'to_buyer'),
            ('split', Decimal('60.1'), Decimal(40)))
        self.assertTrue(self.read('award_notice')[0])
        self.assertEqual(self.confirm('released', '60.11'), 409)
        self.assertEqual(self.confirm('released', '60.10'), 201)
        self.assertEqual(self.confirm('released', '1'), 409)
        self.assertEqual(self.confirm('refunded', '40'), 201)
        self.assertEqual(self.read('state', 'remaining'), ('settled', 0))

    def test_offered(self):
        "Only disputes between the two are there to choose from"
        other = self.say(
            self.buyer, CUSTODIAN, 'dispute-opening', self.opening_body())
        self.open(side='seller')
        offered = self.do(self.offered)
        self.assertIn(self.opening.id, offered)
        self.assertNotIn(other.id, offered)
        with self.assertRaises(UserError):
            self.do(self.choose, other)
        self.assertEqual(self.read('state'), ('held',))

    def opening_body(self):
        return dispute.Opening(
            self.dispute, None, 'buyer', [dispute.Contested(
                    str(uuid.uuid4()), 'ab' * 32)], "Non.", 'refund', None,
            [], ARBITER, now(), now() + dt.timedelta(days=9))

    def test_arbiter(self):
        "The arbiter is whom both named, as it stands at the end"
        self.open(arbiter=None)
        named = lambda: self.do(self.named)  # noqa: E731
        self.assertIsNone(named())
        self.answer()
        self.assertIsNone(named())
        other = dispute.ArbiterNaming(self.dispute, CUSTODIAN)
        self.say(self.buyer, SELLER, 'dispute-arbiter', other)
        self.assertIsNone(named())
        self.say(self.buyer, SELLER, 'dispute-arbiter',
            dispute.ArbiterNaming(self.dispute, ARBITER))
        self.assertEqual(named(), ARBITER)
        # What is said of another dispute does not count
        self.say(self.buyer, SELLER, 'dispute-arbiter',
            dispute.ArbiterNaming(str(uuid.uuid4()), CUSTODIAN))
        self.assertEqual(named(), ARBITER)

    def named(self):
        record = self.hold()
        record.opening = self.relayed(self.opening)
        record.on_change_opening()
        return record.arbiter and record.arbiter.identifier

    def test_arbiter_of_relation(self):
        "The arbiter may be agreed on for the relation, before any dispute"
        for member, receiver in [(self.buyer, SELLER), (self.seller, BUYER)]:
            self.say(member, receiver, 'relation-arbiter',
                dispute.RelationArbiter(self.relation, ARBITER))
        self.open(arbiter=None)
        self.assertEqual(self.do(self.named), ARBITER)
        self.dispute = str(uuid.uuid4())
        self.open(arbiter=None, relation=str(uuid.uuid4()))
        self.assertIsNone(self.do(self.named))

    def test_other(self):
        "A dispute that is another one, or between others, freezes nothing"
        self.open()

        def link(**values):
            record = self.hold()
            record.opening = self.relayed(self.opening)
            record.dispute = self.dispute
            for name, value in values.items():
                setattr(record, name, value)
            record.save()
        with self.assertRaises(HoldDisputeError):
            self.do(lambda: link(dispute=str(uuid.uuid4())))
        self.do(link)
        # The seller says that it is the buyer
        self.dispute = str(uuid.uuid4())
        body = {**self.opening_body().to_json(), 'side': 'buyer'}
        self.opening = self.say(self.seller, BUYER, 'dispute-opening', body)
        with self.assertRaises(HoldDisputeError):
            self.do(link)

    def test_not_understood(self):
        "What says nothing of a dispute is not chosen"
        self.opening = self.say(
            self.buyer, SELLER, 'dispute-opening', {'dispute': 'x'})
        self.assertIsNone(self.do(self.named))
        with self.assertRaises(HoldDisputeError):
            self.do(self.choose, self.opening)

    def test_settled(self):
        "Who decides is not changed once it is frozen"
        self.open()
        self.answer()
        self.do(self.choose, self.opening)

        def change(values):
            with Transaction().set_context(_check_access=True):
                self.hold().__class__.write([self.hold()], values)
        for name, value in [
                ('arbiter', None), ('dispute', str(uuid.uuid4())),
                ('opening', None), ('award_notice', None)]:
            with self.subTest(name=name):
                with self.assertRaises(HoldModifyError):
                    self.do(change, {name: value}, user=1)

    def test_award_of_another(self):
        "An award is about the opening that was chosen, or not taken"
        self.open()
        self.answer()
        self.do(self.choose, self.opening)
        self.award(dispute=str(uuid.uuid4()))
        self.assertEqual(self.do(self.proposed), 0)
        wrong = self.award(opening='cd' * 32)
        self.assertEqual(self.do(self.proposed), 1)
        with self.assertRaises(HoldAwardError):
            self.do(self.record)
        with self.assertRaises(HoldAwardError):
            self.do(lambda: self.hold().take_award(
                    wrong.award, wrong.signature))
        right = self.award(receivers=[SELLER])
        self.assertEqual(self.do(self.proposed), 2)
        values = self.do(
            self.record, lambda notices: next(
                n for n in notices
                if right.signature.encode() in bytes(n.data)))
        self.assertIsNone(values.get('notice'))
        self.assertEqual(self.read('state'), ('split',))

    def proposed(self):
        return len(self.hold().award_notices())

    def test_by_hand(self):
        "What did not pass here is written by hand, as before"
        self.opening = self.buyer.statement(
            SELLER, 'dispute-opening', self.opening_body().to_json())

        def freeze():
            record = self.hold()
            record.dispute = self.dispute
            record.arbiter = self.peer(ARBITER)
            record.save()
            record.__class__.freeze([record])
        self.do(freeze)
        award = self.award(receivers=[])
        self.assertEqual(self.do(self.proposed), 0)
        self.do(lambda: self.hold().take_award(award.award, award.signature))
        self.assertEqual(self.read('state', 'award_notice'), ('split', None))


del TrustTestCase, RouteTestCase
