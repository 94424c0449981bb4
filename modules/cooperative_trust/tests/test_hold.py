# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What a licensed custodian has, and that nobody else has anything"""
import re
import uuid
from decimal import Decimal
from pathlib import Path

import polib
from trytond.model.exceptions import AccessError, SQLConstraintError
from trytond.model.modelview import AccessButtonError
from trytond.pool import Pool
from trytond.protocols.wrappers import HTTPStatus
from trytond.tests.test_tryton import RouteTestCase
from trytond.transaction import Transaction, inactive_records

from cooperative_edi.exceptions_dispute import DisputeArbiterError
from cooperative_trust.exceptions_hold import (
    HoldAwardError, HoldDisputeError, HoldModifyError)
from trycoton.protocol import custody, signature
from trycoton.protocol.dispute import Award, Due

from .tools import (
    ARBITER, BUYER, CUSTODIAN, SELLER, TRUST, HoldMixin, Member, now)

DISPUTE = '5cd2d2a0-67ab-4c1c-8fd9-4b3ab2eabc01'
MODULES = Path(__file__).resolve().parents[2]
# That money is with somebody, in both languages
WORDS = re.compile(
    r'\b(held|holds?|escrow|custod(?!ian)\w*|retenu\w*|séquestr\w*|'
    r'consign(?:é|ation)\w*|détien\w*|détenu\w*|en dépôt)\b', re.I)
# The models that only a custodian brings to a screen
CUSTODY = re.compile(r'cooperative\.trust\.hold\b')


class HoldTestCase(HoldMixin, RouteTestCase):
    "Test holds"
    module = 'cooperative_trust'

    @classmethod
    def setUpDatabase(cls):
        super().setUpDatabase()
        Peer = Pool().get('cooperative.edi.peer')
        for identifier in [BUYER, SELLER, CUSTODIAN, ARBITER]:
            Peer.update_from(
                cls.company, Member(identifier).participant())

    def setUp(self):
        super().setUp()
        self.custodian = Member(CUSTODIAN)
        self.uuid = self.do(self.fund)

    def tearDown(self):
        self.do(self.forget)
        super().tearDown()

    def forget(self):
        "Leave nothing but an instance without a custodian"
        Custodian = Pool().get('cooperative.trust.custodian')
        table = Custodian.__table__()
        Transaction().connection.cursor().execute(*table.update(
                [table.active], [False]))
        Custodian._show()

    def name_custodian(self):
        Custodian = Pool().get('cooperative.trust.custodian')
        with inactive_records():
            custodians = Custodian.search([])
        if custodians:
            Custodian.write(custodians, {'active': True})
            return custodians[0]
        custodian, = Custodian.create([{
                    'company': self.company,
                    'peer': self.peer(CUSTODIAN).id,
                    'licence': '16958', 'authority': 'ACPR'}])
        return custodian

    def agree(self, **values):
        Currency = Pool().get('currency.currency')
        Hold = Pool().get('cooperative.trust.hold')
        euro, = Currency.search([('code', '=', 'EUR')])
        hold, = Hold.create([{
                    'company': self.company,
                    'custodian': self.name_custodian().id,
                    'buyer': self.peer(BUYER).id,
                    'seller': self.peer(SELLER).id,
                    'amount': Decimal('100.10'), 'currency': euro.id,
                    **values}])
        return hold

    def fund(self):
        Hold = Pool().get('cooperative.trust.hold')
        hold = self.agree()
        Hold.fund([hold])
        return hold.uuid

    def read(self, *names):
        return tuple(
            self.do(lambda: [getattr(self.hold(), n) for n in names]))

    def confirmation(
            self, event='funded', amount='100.10', currency='EUR', **values):
        return custody.Confirmation(**{
                'custodian': CUSTODIAN,
                'hold': self.uuid,
                'event': event,
                'reference': str(uuid.uuid4()),
                'amount': Due(amount, currency),
                'nonce': str(uuid.uuid4()),
                'time': now(),
                **values})

    def post(self, confirmation, by=None, typ=signature.CUSTODY, data=None):
        data = data or confirmation.to_bytes()
        return self.client().post(
            f'/{self.db_name}/cooperative/trust/custody', data=data,
            headers=(by or self.custodian).sign(
                confirmation.to_bytes(), typ)).status_code

    def confirm(self, *args, status=HTTPStatus.CREATED, **values):
        self.assertEqual(
            self.post(self.confirmation(*args, **values)), status)

    def test_released(self):
        "What came is released in parts, and all is accounted for"
        self.assertEqual(self.read('state', 'held'), ('funding', 0))
        self.confirm()
        self.assertEqual(
            self.read('state', 'held', 'remaining', 'licence'),
            ('held', Decimal('100.10'), Decimal('100.10'), '16958'))
        self.confirm('released', '0.10')
        self.assertEqual(
            self.read('state', 'released', 'remaining'),
            ('part_released', Decimal('0.1'), Decimal(100)))
        self.confirm('released', '100')
        self.assertEqual(self.read('state', 'remaining'), ('released', 0))

    def test_refunded(self):
        "What came goes back once the operator has asked for it"
        self.confirm()
        self.confirm('refunded', status=HTTPStatus.CONFLICT)
        self.do(lambda: self.hold().__class__.refund([self.hold()]))
        self.confirm('refunded')
        self.assertEqual(self.read('state', 'remaining'), ('refunded', 0))

    def test_digits(self):
        "What has more digits than the currency is refused, and none is lost"
        self.confirm()
        for amount in ['0.001', '33.333']:
            self.confirm('released', amount, status=HTTPStatus.CONFLICT)
        for amount in ['12345678901.23', '999999999999.99']:
            def fund():
                hold = self.agree(amount=Decimal(amount))
                hold.__class__.fund([hold])
                return hold.uuid
            self.uuid = self.do(fund)
            self.confirm(amount=amount)
            for released in ['0.10', '0.01', '1234.56']:
                self.confirm('released', released)
            self.assertEqual(
                self.read('remaining'),
                (Decimal(amount) - Decimal('1234.67'),))

    def test_custodian_stays(self):
        "Who has money is not replaced, nor denied"
        def write(**values):
            custodian = self.hold().custodian
            custodian.__class__.write([custodian], values)
        self.confirm()
        for values in [
                {'peer': self.do(lambda: self.peer(ARBITER).id)},
                {'licence': 'other'}, {'authority': 'other'},
                {'active': False}]:
            with self.subTest(values=values):
                with self.assertRaises(HoldModifyError):
                    self.do(lambda: write(**values))
        self.confirm('released')

    def test_created(self):
        "What a person records is agreed, and nothing more"
        for values in [
                {'to_seller': Decimal(5)}, {'award': b'x'},
                {'licence': '16958'}]:
            def create():
                with Transaction().set_context(_check_access=True):
                    self.agree(**values)
            with self.subTest(values=values):
                with self.assertRaises(HoldModifyError):
                    self.do(create, user=1)

    def test_forged(self):
        "Nothing moves by the word of another one, or by none"
        stranger = Member('0225:732829320_9')
        impostor = Member(CUSTODIAN)
        impostor.key = signature.SigningKey.generate()
        confirmation = self.confirmation()
        for by, values, status in [
                (stranger, {}, HTTPStatus.UNAUTHORIZED),
                (impostor, {}, HTTPStatus.UNAUTHORIZED),
                # Who is known here, and no custodian
                (Member(SELLER), {}, HTTPStatus.UNAUTHORIZED),
                (None, {'typ': signature.STATEMENT}, HTTPStatus.UNAUTHORIZED),
                (None, {'data': confirmation.to_bytes().replace(
                            b'100.10', b'900.10')}, HTTPStatus.UNAUTHORIZED),
                ]:
            with self.subTest(by=by, values=values):
                self.assertEqual(
                    self.post(confirmation, by, **values), status)
        for values, status in [
                ({'custodian': SELLER}, HTTPStatus.FORBIDDEN),
                ({'hold': DISPUTE}, HTTPStatus.NOT_FOUND),
                ({'amount': '100.09'}, HTTPStatus.CONFLICT),
                ({'currency': 'USD'}, HTTPStatus.CONFLICT),
                ({'event': 'released'}, HTTPStatus.CONFLICT),
                ]:
            with self.subTest(values=values):
                self.assertEqual(
                    self.post(self.confirmation(**values)), status)
        unsigned = self.client().post(
            f'/{self.db_name}/cooperative/trust/custody',
            data=confirmation.to_bytes())
        self.assertEqual(unsigned.status_code, HTTPStatus.UNAUTHORIZED)
        self.assertEqual(self.read('state', 'held'), ('funding', 0))

    def test_malformed(self):
        "What is signed and no confirmation is refused"
        for data in [b'', b'{}', b'\xff', b'[' * 5000]:
            response = self.client().post(
                f'/{self.db_name}/cooperative/trust/custody', data=data,
                headers=self.custodian.sign(data, signature.CUSTODY))
            self.assertEqual(
                response.status_code, HTTPStatus.UNPROCESSABLE_ENTITY)
        large = b' ' * (64 * 1024 + 1)
        response = self.client().post(
            f'/{self.db_name}/cooperative/trust/custody', data=large,
            headers=self.custodian.sign(large, signature.CUSTODY))
        self.assertEqual(
            response.status_code, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)

    def test_twice(self):
        "The same bytes count once, a reference and a nonce as well"
        funded = self.confirmation()
        self.assertEqual(self.post(funded), HTTPStatus.CREATED)
        self.assertEqual(self.post(funded), HTTPStatus.OK)
        released = self.confirmation('released', '50')
        self.assertEqual(self.post(released), HTTPStatus.CREATED)
        self.assertEqual(self.post(released), HTTPStatus.OK)
        for values in [
                {'reference': released.reference},
                {'nonce': released.nonce},
                {'reference': funded.reference}]:
            self.confirm(
                'released', '50', status=HTTPStatus.CONFLICT, **values)
        self.assertEqual(self.read('released'), (Decimal(50),))
        # Nor by one that is fresh
        self.confirm('released', '50.11', status=HTTPStatus.CONFLICT)
        self.confirm('released', '50.10')
        self.confirm('released', '50.10', status=HTTPStatus.CONFLICT)

    def test_database(self):
        "The database itself keeps the balance and wants a custodian"
        for values in [
                {'remaining': Decimal(1)},
                {'released': Decimal(1)},
                {'held': Decimal(1)},
                {'held': Decimal(1), 'remaining': Decimal(1)},
                {'released': Decimal(-1), 'remaining': Decimal(1)},
                {'state': 'held'},
                {'state': 'held', 'held': Decimal(1),
                    'remaining': Decimal(1), 'licence': '16958'},
                ]:
            with self.subTest(values=values):
                with self.assertRaises(SQLConstraintError):
                    self.do(lambda: self.hold().__class__.write(
                            [self.hold()], values))
        self.confirm()
        with self.assertRaises(SQLConstraintError):
            self.do(lambda: self.hold().__class__.write(
                    [self.hold()], {'licence': None}))
        with self.assertRaises(SQLConstraintError):
            self.do(lambda: self.hold().__class__.write(
                    [self.hold()], {'confirmation': None}))

    def test_modify(self):
        "An operator records what is agreed, and none of what is confirmed"
        self.confirm()

        def change(values):
            with Transaction().set_context(_check_access=True):
                self.hold().__class__.write([self.hold()], values)

        def create():
            confirmation = self.hold().confirmation
            with Transaction().set_context(_check_access=True):
                self.agree(
                    state='held', held=Decimal(1), remaining=Decimal(1),
                    licence='16958', confirmation=confirmation.id)

        def delete():
            self.hold().__class__.delete([self.hold()])

        def erase():
            confirmation = self.hold().confirmation
            confirmation.__class__.delete([confirmation])
        for function, args in [
                (change, [{'state': 'released'}]),
                (change, [{'released': Decimal(100)}]),
                (change, [{'amount': Decimal(1)}]),
                (create, []), (delete, []),
                ]:
            with self.subTest(args=args):
                with self.assertRaises(HoldModifyError):
                    self.do(function, *args, user=1)
        with self.assertRaises(AccessError):
            self.do(erase)

    def test_rights(self):
        "Who is in no group sees and does nothing"
        def person():
            User = Pool().get('res.user')
            user, = User.create([{
                        'name': "Zoé", 'login': str(uuid.uuid4()),
                        'companies': [('add', [self.company])],
                        'company': self.company}])
            return user.id
        user = self.do(person)

        def read():
            with Transaction().set_context(_check_access=True):
                self.hold().__class__.search([])

        def press():
            hold = self.hold()
            with Transaction().set_context(_check_access=True):
                hold.__class__.refund([hold])
        for function in [read, press]:
            with self.assertRaises((AccessError, AccessButtonError)):
                self.do(function, user=user)

    # Disputes

    def freeze(self, arbiter=ARBITER):
        hold = self.hold()
        hold.dispute = DISPUTE
        hold.arbiter = self.peer(arbiter) if arbiter else None
        hold.save()
        hold.__class__.freeze([hold])

    def award(self, by=ARBITER, key=None, outcome='split', **values):
        award = Award(**{
                'dispute': DISPUTE,
                'opening': 'ab' * 32,
                'arbiter': by,
                'seller': SELLER,
                'buyer': BUYER,
                'outcome': outcome,
                'credited': Due('40', 'EUR') if outcome != 'seller' else None,
                'paid': Due('60.10', 'EUR') if outcome != 'buyer' else None,
                'reasons': "Vu.",
                'considered': [],
                'created': now(),
                **values})
        data = award.to_bytes()
        jws = signature.sign(data, award.typ, key or Member(by).key)
        self.do(lambda: self.hold().take_award(data, jws))

    def test_disputed(self):
        "A dispute freezes, and the award leaves to each what is its own"
        self.confirm()
        self.do(self.freeze)
        self.confirm('released', '1', status=HTTPStatus.CONFLICT)
        self.confirm('refunded', '1', status=HTTPStatus.CONFLICT)
        self.award()
        self.assertEqual(
            self.read('state', 'to_seller', 'to_buyer'),
            ('split', Decimal('60.1'), Decimal(40)))
        self.confirm('released', '60.11', status=HTTPStatus.CONFLICT)
        self.confirm('released', '60.10')
        self.confirm('released', '1', status=HTTPStatus.CONFLICT)
        self.confirm('refunded', '40')
        self.assertEqual(self.read('state', 'remaining'), ('settled', 0))

    def test_award_refused(self):
        "Only the arbiter of the dispute leaves anything to anybody"
        self.confirm()
        with self.assertRaises(HoldDisputeError):
            self.do(self.freeze, None)
        for arbiter in [BUYER, SELLER, CUSTODIAN]:
            with self.assertRaises(DisputeArbiterError):
                self.do(self.freeze, arbiter)
        self.do(self.freeze)
        for values in [
                {'by': SELLER}, {'by': CUSTODIAN},
                {'key': signature.SigningKey.generate()},
                {'dispute': '1' + DISPUTE[1:]},
                {'seller': BUYER, 'buyer': SELLER},
                {'seller': TRUST},
                {'credited': Due('40', 'USD'), 'paid': Due('60', 'USD')},
                ]:
            with self.subTest(values=values):
                with self.assertRaises(HoldAwardError):
                    self.award(**values)
        self.assertEqual(self.read('state'), ('disputed',))
        self.award(outcome='seller')
        self.assertEqual(
            self.read('state', 'to_seller', 'to_buyer'),
            ('awarded', Decimal('100.1'), 0))
        with self.assertRaises(HoldAwardError):
            self.award(outcome='buyer')

    # No custodian

    def menu(self):
        Data = Pool().get('ir.model.data')
        Menu = Pool().get('ir.ui.menu')
        with inactive_records():
            menu = Menu(Data.get_id('cooperative_trust', 'menu_hold'))
            return menu.active

    def notice(self):
        Log = Pool().get('cooperative.trust.log')
        log, = Log.search([])
        return log.notice

    def test_menu(self):
        "There is something to see as long as a custodian is named"
        self.assertTrue(self.do(self.menu))
        self.assertIn('16958', self.do(self.notice))
        self.do(self.forget)
        self.assertFalse(self.do(self.menu))
        self.assertIn("Neither", self.do(self.notice))
        self.assertNotRegex(self.do(self.notice), WORDS)

    def test_words(self):
        "Without a custodian no screen says that money is with anybody"
        pool = Pool(self.db_name)

        def names():
            View = Pool().get('ir.ui.view')
            for view in View.search([
                        ('module', 'in', [
                                'cooperative_edi', 'cooperative_trust']),
                        ]):
                if (view.model.startswith('cooperative.edi.dispute')
                        or view.model.startswith('cooperative.trust.')
                        and not CUSTODY.match(view.model)):
                    yield view.model, view.arch
        for model, arch in self.do(lambda: list(names())):
            for text in re.findall(r'string="([^"]*)"', arch):
                self.assertNotRegex(text, WORDS, model)
            Model = pool.get(model)
            for name, field in Model._fields.items():
                for text in [field.string, field.help]:
                    self.assertNotRegex(
                        str(text or ''), WORDS, f'{model} {name}')
        for path in MODULES.glob('cooperative_*/locale/fr.po'):
            for entry in polib.pofile(str(path)):
                if self.is_shown(entry.msgctxt):
                    for text in [entry.msgid, entry.msgstr]:
                        self.assertNotRegex(text, WORDS, entry.msgctxt)

    def is_shown(self, context):
        "Tell if disputes or the trust party show the text by themselves"
        return (('cooperative.trust.' in context or 'dispute' in context
                or 'msg_notice' in context)
            and not CUSTODY.search(context)
            # The technical name of a model
            and not re.match(r'model:cooperative[^,]*,string:', context)
            and not re.search(r'msg_hold|act_hold|menu_hold|_hold_', context))
