# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Instances killed by -9 and requests lost at each step of a deal: nothing
is lost or twice.

With TRYCOTON_FAULTS, a number, that many deals are played, so that each fault
befalls each process at each step: make soak does."""
import contextlib
import http.client
import os
import signal
import tempfile
import unittest
from itertools import product
from pathlib import Path

from trycoton.command import catalogue, members
from trycoton.command.demo import COMMUNITY, DATA, INTRUDER, TRUST
from trycoton.command.demo.actor import wait
from trycoton.command.demo.story import Story
from trycoton.command.demo.world import World
from trycoton.command.server import Server

from .server import POINTS

DEALS = int(os.environ.get('TRYCOTON_FAULTS', 1))
TIMEOUT = 300
BROKEN = ConnectionError, http.client.HTTPException, TimeoutError


class FaultTestCase(unittest.TestCase):
    "Test a deal while one process after the other is killed"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        folder = tempfile.TemporaryDirectory(prefix='faults-')
        cls.addClassCleanup(folder.cleanup)
        cast = members.read(DATA / 'members.csv')
        offers = catalogue.read(
            DATA / 'offers.csv', {m.name: m.name for m in cast})
        cls.world = World(
            Path(folder.name), COMMUNITY, TRUST, cast, INTRUDER)
        cls.addClassCleanup(cls.world.stop)
        cls.world.create(lambda text: None)
        cls.world.start()
        cls.story = Story(
            cls.world, offers, lambda text: None, lambda text: None)
        for step in [
                cls.story.found, cls.story.apply, cls.story.join,
                cls.story.publish, cls.story.moderate,
                cls.story.agree_routes]:
            step()
        cls.seller, cls.buyer = cls.story.sellers[0], cls.story.buyers[0]
        cls.seen = Path(folder.name) / 'seen'
        cls.faults = []

    def test_deals(self):
        "Each document takes effect once, and the books agree"
        for number in range(DEALS):
            deal = Deal(self, number)
            deal.play()
            deal.check()
        print(f"{len(self.faults)} faults in {DEALS} deals:",
            ', '.join(f'{name} {point}' for name, point in self.faults))
        # Some points are not on the way of some documents
        self.assertGreater(len(self.faults), 4 * DEALS)

    def disturb(self, victim, point, act, done):
        "Do it, or do it again, while the fault befalls the victim"
        self.restart(victim, point)
        try:
            act()
        except BROKEN:
            pass
        wait(lambda: not victim.server.pid or self.settled(),
            f"the end of {victim.name} or of the exchange", TIMEOUT)
        if not victim.server.pid or self.seen.exists():
            self.faults.append((victim.name, point))
        self.restart(victim)
        if not done():
            act()
        self.world.settle()

    def settled(self):
        "Tell if nothing is under way that could reach the point"
        with contextlib.suppress(*BROKEN):
            return self.world.settled()

    def restart(self, victim, point=None):
        "Kill the victim and start it again, with a fault at the point"
        server = victim.server
        self.seen.unlink(missing_ok=True)
        for process in server.processes.values():
            # With those that it has started itself
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        server.stop()
        server.module = 'tests.faults.server' if point else Server.module
        # What it did not come to send is left to the scheduled actions
        server.cron = not point
        if point:
            os.environ.update(
                TRYCOTON_FAULT=point, TRYCOTON_FAULT_SEEN=str(self.seen))
        server.start().wait_ready()


class Deal:
    "A deal of goods whose steps are disturbed, one fault each"

    def __init__(self, case, number):
        self.case = case
        self.number = number
        self.step = 0
        self.faults = list(product(
                POINTS, [case.seller, case.buyer, case.world.trust]))
        self.seller, self.buyer = case.seller, case.buyer

    def play(self):
        offer = self.case.story.goods[0]
        Purchase = self.buyer.model('purchase.purchase')
        relation = self.buyer.relation(self.seller)
        item = self.buyer.item(self.seller, offer.code)
        self.purchase = Purchase(
            party=relation.peer.party, relation=relation)
        line = self.purchase.lines.new()
        line.product, line.quantity = item.product, 5
        line.unit, line.unit_price = item.unit, item.price
        self.purchase.save()
        self.purchase.click('quote')
        self.click(self.purchase, 'confirm')

        self.disturb('change', self.change, self.changed)
        self.sale = self.seller.sale(self.buyer, self.purchase.number)
        self.click(self.sale, 'confirm')

        self.reach(self.sale, 'processing')
        self.reach(self.purchase, 'processing')
        shipment, = self.sale.shipments
        for button in ['assign_force', 'pick', 'pack']:
            shipment.click(button)
        self.click(shipment, 'ship')
        shipment.click('do')

        shipment, = self.purchase.shipments
        self.click(shipment, 'receive')
        shipment.click('do')

        self.sale.reload()
        invoice, = self.sale.invoices
        self.click(invoice, 'post')

        self.purchase.reload()
        invoice, = self.purchase.invoices
        self.click(invoice, 'post')

        payment, = self.buyer.process_payments(invoice)
        self.click(payment, 'succeed')
        self.amount = payment.amount

    def reach(self, record, state):
        "Wait for what a kill left in the queue"
        def reached():
            record.reload()
            return record.state == state
        wait(reached, f"the state {state} of {record.number}", TIMEOUT)

    def change(self):
        "Ask for one more"
        wizard = self.buyer.wizard('purchase.edi_change', [self.purchase])
        line, = wizard.form.lines
        line.quantity = 6
        wizard.execute('send')

    def changed(self):
        self.purchase.reload()
        return self.purchase.edi_request

    def fault(self):
        "Return another fault for each step, and all of them in the end"
        index = self.number + self.step * (len(POINTS) // 2)
        self.step += 1
        return self.faults[index % len(self.faults)]

    def click(self, record, button):
        before = record.state

        def done():
            record.reload()
            return record.state != before
        self.disturb(button, lambda: record.click(button), done)

    def disturb(self, name, act, done):
        point, victim = self.fault()
        with self.case.subTest(step=name, victim=victim.name, point=point):
            self.case.disturb(victim, point, act, done)

    def check(self):
        "Nothing was lost, nothing took effect twice"
        case = self.case
        for record in [self.purchase, self.sale]:
            record.reload()
        case.assertEqual(len(self.seller.find(
                    'sale.sale',
                    [('reference', '=', self.purchase.number)])), 1)
        case.assertEqual(
            [m.quantity for m in self.purchase.moves if m.state == 'done'],
            [6])
        case.assertEqual(
            [m.quantity for m in self.sale.moves if m.state == 'done'], [6])
        sold, = self.sale.invoices
        bought, = self.purchase.invoices
        case.assertEqual(
            (sold.number, sold.total_amount),
            (bought.reference, bought.total_amount))
        self.reach(bought, 'paid')
        # Nothing is booked by the announcement alone
        case.assertEqual(sold.state, 'posted')
        self.seller.bank_statement((sold.party, self.amount))
        sold.reload()
        case.assertEqual(sold.state, 'paid')
        case.assertEqual(self.seller.balance(self.buyer, 'receivable'), 0)
        case.assertEqual(self.buyer.balance(self.seller, 'payable'), 0)
        announcements = self.seller.find(
            'cooperative.edi.payment.announcement',
            [('lines.invoice', '=', sold.id)])
        case.assertEqual(len(announcements), 1)
        for actor in [self.seller, self.buyer]:
            messages = actor.read(
                'cooperative.edi.message', [],
                ['sender', 'direction', 'uuid'])
            keys = {tuple(m[n] for n in ['sender', 'direction', 'uuid'])
                for m in messages}
            case.assertEqual(len(keys), len(messages))
