# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Disputes between instances: Bruno contests what Anne sold, Clara decides"""
import datetime as dt
from decimal import Decimal
from unittest.mock import patch

from trytond.model.exceptions import AccessError
from trytond.model.modelview import AccessButtonError
from trytond.pool import Pool
from trytond.transaction import Transaction

from cooperative_edi.exceptions_dispute import (
    DisputeArbiterError, DisputeError, DisputeMessagesError,
    DisputeModifyError)
from trycoton.protocol import canonical
from trycoton.protocol import dispute as rules
from trycoton.protocol import evidence, signature

from .test_exchange import InstancesTestCase
from .tools import THIRD, Other, now


def naive(time):
    return time.replace(tzinfo=None)


class DisputeTestCase(InstancesTestCase):
    "Test disputes"

    def setUp(self):
        super().setUp()
        self.clara = self.create('clara')
        self.meet(self.anne, self.bruno, self.clara)
        self.handle(lambda message, document: None)
        self.know_keys()
        for instance in [self.anne, self.bruno, self.clara]:
            instance.do(self.add_currency)
        self.relation = self.agree()
        self.send(self.relation)
        self.round(self.anne, self.bruno, self.anne)

    @staticmethod
    def add_currency():
        Currency = Pool().get('currency.currency')
        if not Currency.search([('code', '=', 'EUR')]):
            Currency.create([{
                        'name': "Euro", 'code': 'EUR', 'symbol': '€'}])

    def know_keys(self):
        "Have the exporters know the descriptors of who signs"
        def descriptor():
            Identity = Pool().get('cooperative.edi.identity')
            data, jws = Identity.get().descriptor()
            return evidence.SignedDescriptor(data=data, signature=jws)
        descriptors = [i.do(descriptor) for i in [self.anne, self.bruno]]
        for instance in [self.anne, self.bruno]:
            sources = patch.object(
                instance.get('message'), '_evidence_sources',
                lambda company: (descriptors, []))
            sources.start()
            self.addCleanup(sources.stop)

    def settle(self):
        "Take all there is to where it goes"
        for _ in range(3):
            self.round(self.anne, self.bruno, self.clara)

    def open(self, arbiter=None, **values):
        "Have Bruno contest the invoice of Anne"
        def open_():
            Message = self.bruno.get('message')
            Currency = Pool().get('currency.currency')
            euro, = Currency.search([('code', '=', 'EUR')])
            time = naive(now())
            return self.bruno.get('dispute').open_about(
                Message.search([('kind', '=', 'invoice')]), **{
                    'side': 'buyer',
                    'claim': "Le miel est gâté.",
                    'asked': 'refund',
                    'amount': Decimal('120.00'),
                    'currency': euro,
                    'freezes': ['despatch', 'payment'],
                    'arbiter': (
                        self.peer(self.bruno, arbiter) if arbiter else None),
                    'answer_by': time + dt.timedelta(14),
                    'award_by': time + dt.timedelta(60),
                    **values}).id
        dispute = self.bruno.do(open_)
        self.settle()
        return dispute

    def say(self, instance, method, *args, **kwargs):
        "Call the method of the only dispute of the instance"
        def say():
            dispute, = instance.get('dispute').search([])
            return getattr(dispute, method)(*args, **kwargs)
        result = instance.do(say)
        self.settle()
        return result

    def answer(self, agreed=False, arbiter=None, freezes=('payment',)):
        def answer():
            dispute, = self.anne.get('dispute').search([])
            dispute.say_answer(
                agreed, "Il était bon.", freezes,
                self.peer(self.anne, arbiter) if arbiter else None)
        self.anne.do(answer)
        self.settle()

    def award(self, outcome='buyer', **amounts):
        def award():
            dispute, = self.clara.get('dispute').search([])
            Currency = Pool().get('currency.currency')
            euro, = Currency.search([('code', '=', 'EUR')])
            dispute.sign_award(
                outcome, "La photo le montre.", currency=euro, **amounts)
        self.clara.do(award)
        self.settle()

    def states(self, *instances):
        return [s for i in instances or [self.anne, self.bruno, self.clara]
            for s in self.read(i, 'state', model='dispute')]

    def tasks(self, instance):
        return self.read(instance, 'task', model='waiting')

    def kinds(self, instance):
        return sorted(self.read(instance, 'kind', model='dispute.item'))

    def last(self, instance, kind='dispute-award'):
        "Return the state and the error of the last message of the kind"
        return self.read(
            instance, 'state', 'error', kind=kind, direction='in')[-1]

    def test_award(self):
        "A dispute goes from its opening to the award, on the three instances"
        self.open(self.clara)
        self.assertEqual(self.states(), ['opened', 'opened'])
        self.assertEqual(self.tasks(self.anne), ['answer_dispute'])
        self.assertEqual(self.tasks(self.bruno), [])
        self.answer(arbiter=self.clara)
        self.assertEqual(self.states(), ['answered'] * 3)
        self.assertEqual(self.tasks(self.anne), [])
        self.assertEqual(self.tasks(self.clara), ['decide'])
        self.say(self.bruno, 'say_proofs')
        self.say(self.anne, 'say_evidence', "Une photo.", 'a.jpg', b'\xff')
        kinds = [
            'dispute-answer', 'dispute-evidence', 'dispute-evidence',
            'dispute-opening']
        for instance in [self.anne, self.bruno, self.clara]:
            self.assertEqual(self.kinds(instance), kinds)
            self.assertIn('consistent', self.read(
                    instance, 'checked', model='dispute.item'))
            # People are called by their names
            for author, text in self.read(
                    instance, 'author_name', 'text', model='dispute.item'):
                self.assertNotIn('0225:', f'{author} {text}')
        self.award('split', credited=Decimal('60'), paid=Decimal('60.00'))
        self.assertEqual(self.states(), ['awarded'] * 3)
        for instance in [self.anne, self.bruno]:
            self.assertEqual(
                self.read(
                    instance, 'outcome', 'credited', 'paid', model='dispute'),
                [('split', Decimal(60), Decimal(60))])
            self.assertEqual(self.tasks(instance), ['carry_out'])
        (one, jws), = self.read(
            self.anne, 'award', 'award_signature', model='dispute')
        (other, _), = self.read(
            self.bruno, 'award', 'award_signature', model='dispute')
        self.assertEqual(bytes(one), bytes(other))
        award = rules.Award.open(bytes(one), jws, self.anne.do(
                lambda: self.peer(self.anne, self.clara).public_keys()))
        self.assertEqual(len(award.considered), 3)
        self.assertEqual(
            (award.seller, award.buyer),
            (self.anne.identifier, self.bruno.identifier))
        todo, = self.read(self.anne, 'to_do', model='dispute')
        self.assertIn('60', todo)
        self.say_button(self.anne, 'finish')
        self.assertEqual(self.tasks(self.anne), [])

    def say_button(self, instance, name):
        def press():
            Dispute = instance.get('dispute')
            getattr(Dispute, name)(Dispute.search([]))
        instance.do(press)
        self.settle()

    def run_wizard(self, instance, name, button, values, model='dispute'):
        "Have a person fill the form of the wizard, and press the button"
        def run():
            Model = instance.get(model)
            Wizard = Pool().get(f'cooperative.edi.dispute.{name}', 'wizard')
            clause = ('kind', '=', 'invoice') if model == 'message' else ()
            record, = Model.search([clause])
            session, start, _ = Wizard.create()
            with Transaction().set_context(
                    active_model=Model.__name__, active_id=record.id,
                    active_ids=[record.id]):
                shown = Wizard.execute(session, {}, start)['view']
                defaults = {
                    n: v for n, v in shown['defaults'].items()
                    if not n.endswith('.')}
                filled = values() if callable(values) else values
                Wizard.execute(
                    session, {start: {**defaults, **filled}}, button)
            return defaults
        defaults = instance.do(run)
        self.settle()
        return defaults

    def test_wizards(self):
        "What people fill in is what is said"
        found = self.run_wizard(self.bruno, 'open', 'open_', lambda: {
                'claim': "Le miel est gâté.",
                'amount': Decimal('120.00'),
                'arbiter': self.peer(self.bruno, self.clara).id,
                'currency': Pool().get('currency.currency').search(
                    [('code', '=', 'EUR')])[0].id,
                }, model='message')
        self.assertEqual(found['side'], 'buyer')
        self.assertIn('only records', found['notice'])
        self.assertEqual(
            self.kinds(self.anne), ['dispute-evidence', 'dispute-opening'])
        found = self.run_wizard(self.anne, 'answer', 'say', {
                'text': "Il était bon.", 'freeze_payments': False})
        self.assertEqual(found['claim'], "Le miel est gâté.")
        self.assertEqual(self.states(), ['answered'] * 3)
        self.assertEqual(
            self.read(self.bruno, 'freeze_payments', 'freeze_despatches',
                model='dispute'), [(False, True)])
        self.run_wizard(self.anne, 'evidence', 'say', {
                'text': "Une photo.", 'name': 'a.jpg', 'file': b'\xff'})
        self.assertEqual(self.read(
                self.clara, 'text', model='dispute.item', name='a.jpg'),
            ["Une photo."])
        # What is for the other side is not asked, and not said
        self.run_wizard(self.clara, 'decide', 'say', {
                'outcome': 'seller', 'reasons': "Bon.",
                'credited': Decimal(5), 'paid': Decimal(120)})
        self.assertEqual(
            self.read(self.bruno, 'state', 'outcome', 'credited', 'paid',
                model='dispute'), [('awarded', 'seller', None, Decimal(120))])

    def test_agreement(self):
        "Who agrees ends the dispute as asked"
        self.open()
        self.answer(agreed=True)
        self.assertEqual(self.states(), ['agreed', 'agreed'])
        self.assertEqual(
            self.read(self.bruno, 'credited', 'paid', model='dispute'),
            [(Decimal(120), None)])
        self.assertEqual(self.tasks(self.anne), ['carry_out'])

    def test_withdrawal(self):
        "Who opened the dispute withdraws it, and nobody else"
        self.open()
        with self.assertRaises(DisputeError):
            self.say_button(self.anne, 'withdraw')
        self.say_button(self.bruno, 'withdraw')
        self.assertEqual(self.states(), ['withdrawn', 'withdrawn'])
        with self.assertRaises(DisputeError):
            self.say_button(self.bruno, 'withdraw')

    def test_freeze(self):
        "What was asked waits until the answer tells what both agree to"
        self.open()
        frozen = ['freeze_payments', 'freeze_despatches']
        for instance in [self.anne, self.bruno]:
            self.assertEqual(
                self.read(instance, *frozen, model='dispute'),
                [(True, True)])
        self.answer(freezes=['payment'])
        for instance in [self.anne, self.bruno]:
            self.assertEqual(
                self.read(instance, *frozen, model='dispute'),
                [(True, False)])

    def test_freeze_more(self):
        "An answer freezes no more than was asked"
        self.open(freezes=[])
        self.answer(freezes=['payment'])
        self.assertEqual(
            self.read(self.bruno, 'freeze_payments', model='dispute'),
            [False])

    def test_other_arbiter(self):
        "Nobody decides before both name the same, and then that one"
        self.open(self.clara)
        self.answer()
        self.assertEqual(self.states(), ['answered', 'answered'])
        self.assertEqual(self.tasks(self.anne), ['name_arbiter'])
        self.anne.do(lambda: self.anne.get('dispute').search([])[0]
            .say_arbiter(self.peer(self.anne, self.clara)))
        self.settle()
        self.assertEqual(self.states(), ['answered'] * 3)
        for instance in [self.anne, self.bruno]:
            self.assertEqual(
                self.read(instance, 'arbiter_of_claimant',
                    'arbiter_of_respondent', model='dispute'),
                [(self.clara.identifier, self.clara.identifier)])

    def test_relation_arbiter(self):
        "The arbiter of the relation decides, be the other silent"
        for instance, other in [
                (self.anne, self.bruno), (self.bruno, self.anne)]:
            def name():
                Relation = instance.get('relation')
                relation, = Relation.search([])
                relation.arbiter = self.peer(instance, self.clara)
                relation.save()
                Relation.name_arbiter([relation])
            instance.do(name)
        self.settle()
        self.open()
        self.assertEqual(self.states(), ['opened'] * 3)
        self.assertEqual(
            self.kinds(self.clara), [
                'dispute-opening', 'relation-arbiter', 'relation-arbiter'])
        self.past(self.clara, 'answer_by')
        self.clara.do(self.clara.get('dispute').expire)
        self.assertEqual(self.states(self.clara), ['unanswered'])
        self.award(credited=Decimal(120))
        self.assertEqual(self.states(), ['awarded'] * 3)

    def test_not_an_arbiter(self):
        "Neither a party nor a trust party may be named"
        self.open()

        def name(instance, peer):
            dispute, = instance.get('dispute').search([])
            dispute.say_arbiter(peer)

        def operator():
            # A trust party known by any key of its own
            other = Other(THIRD)
            Peer = self.bruno.get('peer')
            return Peer.update_from(
                self.bruno.company, other.participant(kind='trust-party'))

        def same_key():
            Peer = self.bruno.get('peer')
            Key = self.bruno.get('peer.key')
            kid = self.peer(self.bruno, self.anne).keys[0].kid
            clara = self.peer(self.bruno, self.clara)
            Key.write([k for k in clara.keys][:1], {'kid': kid})
            return Peer(clara.id)
        for peer in [
                lambda: self.peer(self.bruno, self.anne), operator, same_key]:
            with self.subTest(peer=peer):
                with self.assertRaises(DisputeArbiterError):
                    self.bruno.do(lambda: name(self.bruno, peer()))
        self.assertEqual(self.kinds(self.bruno), ['dispute-opening'])

    # Awards that are none

    def forge(self, sender, key=None, **values):
        """Have the sender, an instance, send an award of its own to Anne, or
        signed by another key"""
        def read():
            dispute, = self.bruno.get('dispute').search([])
            return dispute.opening
        opening = self.bruno.do(read)

        def forge():
            Identity = sender.get('identity')
            Message = sender.get('message')
            award = rules.Award(**{
                    'dispute': opening.body['dispute'],
                    'opening': opening.digest,
                    'arbiter': sender.identifier,
                    'seller': self.anne.identifier,
                    'buyer': self.bruno.identifier,
                    'outcome': 'buyer',
                    'credited': rules.Due('120.00', 'EUR'),
                    'paid': None,
                    'reasons': "Parce que.",
                    'considered': [],
                    'created': now(),
                    **values})
            data = award.to_bytes()
            jws = (signature.sign(data, award.typ, key) if key
                else Identity.get().sign(data, award.typ))
            Message.send_statement(
                self.peer(sender, self.anne), 'dispute-award',
                rules.AwardNotice(data, jws).to_json())
        sender.do(forge)
        self.settle()

    def test_award_refused(self):
        "An award by another one, of another case or by another key is none"
        self.open(self.clara)
        self.answer(arbiter=self.clara)
        other = signature.SigningKey.generate()
        late = now() + dt.timedelta(61)
        for sender, values in [
                (self.bruno, {}),
                (self.bruno, {'arbiter': self.clara.identifier}),
                (self.clara, {'key': other}),
                (self.clara, {'opening': 'ab' * 32}),
                (self.clara, {'arbiter': self.bruno.identifier}),
                (self.clara, {
                        'seller': self.bruno.identifier,
                        'buyer': self.anne.identifier}),
                (self.clara, {'created': late}),
                ]:
            with self.subTest(sender=sender.name, values=values):
                self.forge(sender, **values)
                state, error = self.last(self.anne)
                self.assertEqual(state, 'refused', error)
                self.assertEqual(self.states(self.anne), ['answered'])
        self.forge(self.clara)
        self.assertEqual(self.last(self.anne)[0], 'processed')
        self.assertEqual(self.states(self.anne), ['awarded'])

    def test_award_operator(self):
        "An award by who became the operator is refused"
        self.open(self.clara)
        self.answer(arbiter=self.clara)

        def operate():
            peer = self.peer(self.anne, self.clara)
            peer.kind = 'trust-party'
            peer.save()
        self.anne.do(operate)
        self.award(credited=Decimal(1))
        state, error = self.last(self.anne)
        self.assertEqual(state, 'refused')
        self.assertIn('operator', error)
        self.assertEqual(
            self.states(self.anne, self.bruno), ['answered', 'awarded'])

    def test_award_without_arbiter(self):
        "Who was not named by both decides nothing"
        self.open(self.clara)
        self.answer()
        self.forge(self.clara)
        self.assertEqual(self.last(self.anne)[0], 'refused')
        self.assertEqual(self.states(self.anne), ['answered'])

    def test_award_twice(self):
        "The same award counts once, and another one after it never"
        self.open(self.clara)
        self.answer(arbiter=self.clara)
        self.award(credited=Decimal(10))
        (data, jws), = self.read(
            self.clara, 'award', 'award_signature', model='dispute')

        def again(sender):
            sender.get('message').send_statement(
                self.peer(sender, self.anne), 'dispute-award',
                rules.AwardNotice(bytes(data), jws).to_json())
        # Be it brought by the other party
        for sender in [self.clara, self.bruno]:
            sender.do(again, sender)
            self.settle()
            self.assertEqual(self.last(self.anne)[0], 'processed')
        self.forge(self.clara, credited=rules.Due('120.00', 'EUR'))
        self.assertEqual(self.last(self.anne)[0], 'refused')
        self.assertEqual(
            self.read(self.anne, 'credited', model='dispute'), [Decimal(10)])
        with self.assertRaises(DisputeError):
            self.award(credited=Decimal(20))

    def test_award_brought(self):
        "Who wins brings the award that the arbiter could not send"
        self.open(self.clara)
        self.answer(arbiter=self.clara)

        def award():
            dispute, = self.clara.get('dispute').search([])
            euro, = Pool().get('currency.currency').search(
                [('code', '=', 'EUR')])
            dispute.sign_award(
                'buyer', "Gâté.", credited=Decimal(5), currency=euro)
            Message = self.clara.get('message')
            Message.write(Message.search([
                        ('kind', '=', 'dispute-award'),
                        ('recipient', '=', self.anne.identifier)]),
                {'state': 'failed'})
        self.clara.do(award)
        self.settle()
        self.assertEqual(
            self.states(self.anne, self.bruno), ['answered', 'awarded'])
        (data, jws), = self.read(
            self.bruno, 'award', 'award_signature', model='dispute')
        self.bruno.do(lambda: self.bruno.get('message').send_statement(
                self.peer(self.bruno, self.anne), 'dispute-award',
                rules.AwardNotice(bytes(data), jws).to_json()))
        self.settle()
        self.assertEqual(self.states(self.anne), ['awarded'])

    # Time

    def past(self, instance, *names):
        "Have the deadlines be over"
        def past():
            Dispute = instance.get('dispute')
            Dispute.write(Dispute.search([]), {
                    name: naive(now()) - dt.timedelta(minutes=2)
                    for name in names})
        instance.do(past)

    def test_expiry(self):
        "What nobody answers or decides in time expires, by the cron"
        self.open(self.clara)
        for instance in [self.anne, self.bruno]:
            self.past(instance, 'answer_by')
            Cron = Pool(instance.name).get('ir.cron')

            def run():
                cron, = Cron.search(
                    [('method', '=', 'cooperative.edi.dispute|expire')])
                cron.run_once()
            instance.do(run)
        self.assertEqual(self.states(), ['unanswered', 'unanswered'])
        with self.assertRaises(DisputeError):
            self.answer()
        for instance in [self.anne, self.bruno]:
            self.past(instance, 'award_by')
            instance.do(instance.get('dispute').expire)
        self.assertEqual(self.states(), ['expired', 'expired'])
        with self.assertRaises(DisputeError):
            self.say(self.bruno, 'say_evidence', "Trop tard.")
        self.assertEqual(
            self.tasks(self.anne) + self.tasks(self.bruno), [])

    def test_late(self):
        "A late answer or award is refused, one given in time is not"
        self.open(self.clara)
        self.answer(arbiter=self.clara)
        self.past(self.anne, 'award_by')
        self.award(credited=Decimal(1))
        self.assertEqual(self.last(self.anne)[0], 'refused')
        self.assertEqual(
            self.states(self.anne, self.bruno), ['answered', 'awarded'])
        self.anne.do(self.anne.get('dispute').expire)
        self.assertEqual(self.states(self.anne), ['expired'])
        self.forge(self.clara, created=now() - dt.timedelta(minutes=5))
        self.assertEqual(self.states(self.anne), ['awarded'])

    # Who says what

    def test_malformed(self):
        "Strange words about disputes are refused, and change nothing"
        self.open()
        (uuid,) = self.read(self.bruno, 'uuid', model='dispute')
        invoice, = self.read(self.bruno, 'uuid', kind='invoice')
        for kind, body in [
                ('dispute-opening', {}),
                ('dispute-answer', {'dispute': uuid}),
                ('dispute-answer', {
                        'dispute': uuid, 'agreed': True, 'text': None,
                        'freezes': [], 'arbiter': None}),
                ('dispute-evidence', {
                        'dispute': uuid, 'text': None, 'name': None,
                        'file': None}),
                ('dispute-award', {'award': 'AAAA', 'signature': 'x'}),
                ('dispute-case', {'statement': '', 'signature': ''}),
                ('dispute-arbiter', {'dispute': uuid, 'arbiter': 'x'}),
                ('relation-arbiter', {'relation': 1, 'arbiter': None}),
                ]:
            with self.subTest(kind=kind, body=body):
                def send():
                    relation, = self.bruno.get('relation').search([])
                    self.bruno.get('message').send_statement(
                        self.peer(self.bruno, self.anne), kind, body,
                        origin=relation
                        if kind.startswith('relation') else None)
                self.bruno.do(send)
                self.settle()
                self.assertEqual(self.last(self.anne, kind)[0], 'refused')
        self.assertEqual(self.states(), ['opened', 'opened'])
        self.assertEqual(self.kinds(self.anne), ['dispute-opening'])

    def test_opening_refused(self):
        "What was not exchanged so is not contested"
        body = self.bruno.do(lambda: rules.Opening(
                dispute='5cd2d2a0-67ab-4c1c-8fd9-4b3ab2eabc01',
                relation=None, side='buyer', messages=[rules.Contested(
                    self.bruno.get('message').search(
                        [('kind', '=', 'invoice')])[0].uuid, 'ab' * 32)],
                claim="Rien.", asked='other', amount=None, freezes=[],
                arbiter=None, answer_by=now() + dt.timedelta(1),
                award_by=now() + dt.timedelta(2))).to_json()
        unknown = {**body, 'messages': [{
                    'message': '5cd2d2a0-67ab-4c1c-8fd9-4b3ab2eabc02',
                    'digest': 'ab' * 32}]}
        over = {**body, 'answer_by': '2026-01-01T00:00:00Z'}
        for body in [body, unknown, over]:
            self.bruno.do(lambda: self.bruno.get('message').send_statement(
                    self.peer(self.bruno, self.anne), 'dispute-opening',
                    body))
            self.settle()
            self.assertEqual(
                self.last(self.anne, 'dispute-opening')[0], 'refused')
        self.assertEqual(self.states(), [])
        # Who said it is told
        self.assertEqual(
            self.read(self.bruno, 'state', kind='dispute-opening'),
            ['refused'] * 3)

    def test_messages(self):
        "A dispute is about signed messages with one peer"
        with self.assertRaises(DisputeMessagesError):
            self.bruno.do(lambda: self.bruno.get('dispute').open_about(
                    [], side='buyer'))

    def test_denial(self):
        "Who denies what the log and its receipt prove is contradicted"
        self.open(self.clara)
        self.answer(arbiter=self.clara)
        self.say(self.anne, 'say_evidence', "Jamais envoyé.")
        self.say(self.bruno, 'say_proofs')

        def file():
            Item = self.clara.get('dispute.item')
            item, = Item.search([('name', '!=', None)])
            return bytes(item.file)
        self.assertIn(
            self.read(self.anne, 'uuid', kind='invoice')[0].encode(),
            self.decoded(self.clara.do(file)))
        self.assertEqual(self.states(self.clara), ['answered'])

    def decoded(self, file):
        value = canonical.load(file)
        return b''.join(canonical.decode(m['data'])
            for m in value['messages'])

    def test_forged_case(self):
        "The arbiter takes nothing that its author did not sign"
        self.open(self.clara)

        def hand(change):
            dispute, = self.bruno.get('dispute').search([])
            item, = dispute.items
            data = bytes(item.data).replace(*change)
            self.bruno.get('message').send_statement(
                self.peer(self.bruno, self.clara), 'dispute-case',
                rules.CaseStatement(data, item.signature).to_json())
        self.bruno.do(hand, (b'refund', b'credit'))
        self.settle()
        self.assertEqual(self.last(self.clara, 'dispute-case')[0], 'refused')
        self.assertEqual(self.states(self.clara), [])

        # What is signed opens a case, which nobody decides without the other
        self.bruno.do(hand, (b'', b''))
        self.settle()
        self.assertEqual(self.states(self.clara), ['opened'])
        with self.assertRaises(DisputeError):
            self.award(credited=Decimal(120))
        self.assertEqual(self.states(self.anne), ['opened'])

    def test_append_only(self):
        "Nothing is taken out of a case file"
        self.open()

        def items(change):
            Item = self.anne.get('dispute.item')
            change(Item, Item.search([]))

        def disputes(change):
            Dispute = self.anne.get('dispute')
            change(Dispute, Dispute.search([]))
        for where, change in [
                (items, lambda m, r: m.write(r, {'text': "x"})),
                (items, lambda m, r: m.delete(r)),
                (disputes, lambda m, r: m.delete(r)),
                (disputes, lambda m, r: m.copy(r)),
                ]:
            with self.assertRaises(DisputeModifyError):
                self.anne.do(where, change)

    def test_rights(self):
        "Who is in no group sees and decides nothing"
        self.open()

        def person(function):
            User = Pool().get('res.user')
            user, = User.create([{
                        'name': "Zoé", 'login': 'zoe',
                        'companies': [('add', [self.anne.company])],
                        'company': self.anne.company}])
            with Transaction().set_user(user.id), \
                    Transaction().set_context(_check_access=True):
                function(self.anne.get('dispute'))

        def read(Dispute):
            Dispute.search_read([], fields_names=['claim'])

        def press(Dispute):
            with Transaction().set_context(_check_access=False):
                disputes = Dispute.search([])
            Dispute.withdraw(disputes)

        def wizard(Dispute):
            Wizard = Pool().get(
                'cooperative.edi.dispute.answer', type='wizard')
            Wizard.create()
        for function, error in [
                (read, AccessError),
                (press, (AccessError, AccessButtonError)),
                (wizard, AccessError)]:
            with self.subTest(function=function.__name__):
                with self.assertRaises(error):
                    self.anne.do(person, function)
