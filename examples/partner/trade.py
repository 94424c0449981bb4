# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"Buying and selling: what each document does to a deal"
from decimal import Decimal

from . import document
from .canonical import Refused


class Trader:
    """Both sides of deals; catalogue is what we sell, by code, each with
    name, unit, price and rate"""

    def __init__(self, catalogue=None):
        self.catalogue = catalogue or {}
        self.partner = None

    def serve(self, partner):
        self.partner = partner
        partner.trader = self

    def deal(self, number):
        deal = self.partner.store.get('deal', number)
        if not deal:
            raise Refused(f"the order {number} is not known")
        return deal

    def keep(self, deal, **values):
        deal.update(values)
        self.partner.store.put('deal', deal['number'], deal)
        return deal

    def _send(self, deal, data, correlation=None):
        self.partner.send(deal['relation'], data, correlation)

    def _ours(self, header, number, side):
        "Return the deal in which the sender has the other side"
        deal = self.deal(number)
        if deal['relation'] != header['relation'] or deal['side'] != side:
            raise Refused(f"the order {number} is not of this relation")
        return deal

    # Buying

    def buy(self, relation, number, lines, currency='EUR'):
        "Order the lines"
        peer = self.partner.relation(relation)['peer']
        deal = self.keep({
                'number': number, 'relation': relation, 'side': 'buyer',
                'currency': currency, 'buyer': self.partner.party,
                'seller': self.partner.party_of(peer), 'lines': lines,
                'state': 'ordered', 'despatches': [], 'invoices': []})
        self._send(deal, document.order(deal))
        return deal

    def on_order_response(self, header, read):
        deal = self._ours(header, read['order'], 'buyer')
        states = {'AB': 'received', 'AP': 'accepted', 'RE': 'refused'}
        if read['code'] not in states:
            raise Refused("we take no other lines than those ordered")
        self.keep(deal, state=states[read['code']])

    def on_despatch_advice(self, header, read):
        deal = self._ours(header, read['order'], 'buyer')
        self.keep(deal, despatches=[*deal['despatches'], read])

    def receive(self, number):
        "All that was despatched has arrived: say so"
        deal = self.deal(number)
        for despatch in deal['despatches']:
            self._send(deal, document.receipt_advice(
                    deal, f"R-{despatch['number']}", despatch))

    def on_invoice(self, header, read):
        "Accept what was ordered, despatched and priced so"
        deal = self._ours(header, read['order'], 'buyer')
        ordered = {line['id']: line for line in deal['lines']}
        arrived = {}
        for line in [x for d in deal['despatches'] for x in d['lines']]:
            arrived[line['order_line']] = arrived.get(
                line['order_line'], 0) + Decimal(line['quantity'])
        for line in read['lines']:
            wanted = ordered.get(line['order_line'])
            if not wanted or Decimal(line['price']) != Decimal(
                    wanted['price']):
                raise Refused(f"line {line['id']} was not ordered so")
            if Decimal(line['quantity']) > arrived.get(
                    line['order_line'], Decimal(0)):
                raise Refused(f"line {line['id']} did not arrive")
        _, _, _, total = document.totals(read['lines'])
        if total != Decimal(read['total']):
            raise Refused(f"{read['total']} is due instead of {total}")
        self.keep(deal, invoices=[*deal['invoices'], read])
        for code in ['AB', 'AP']:
            self._send(
                deal, document.invoice_response(deal, read, code),
                header['id'])

    def pay(self, number):
        "The bank has paid the invoices: announce it"
        deal = self.deal(number)
        for invoice in deal['invoices']:
            self._send(deal, document.remittance_advice(
                    deal, f"P-{invoice['number']}", invoice))
        return sum(Decimal(i['total']) for i in deal['invoices'])

    # Selling

    def offer(self, relation, number, currency='EUR'):
        "Submit what we sell to the community of the relation"
        community = self.partner.relation(relation)['peer']
        self.partner.send(relation, document.catalogue(
                number, self.partner.party,
                self.partner.party_of(community), [
                    {'id': code, 'code': code, **offer}
                    for code, offer in self.catalogue.items()], currency))

    def on_order(self, header, read):
        "Take the order if it is for what we sell, at our prices"
        number = read['number']
        known = self.partner.store.get('deal', number)
        if known and known['lines'] != read['lines']:
            raise Refused(f"the order {number} is known already")
        sender = header['sender']
        deal = self.keep({
                'number': number, 'relation': header['relation'],
                'side': 'seller', 'currency': read['currency'],
                'buyer': self.partner.party_of(sender),
                'seller': self.partner.party, 'lines': read['lines'],
                'state': 'received', 'despatches': [], 'invoices': [],
                'responses': [], 'receipts': [], 'paid': '0'})
        self._send(deal, document.order_response(deal, 'AB'), header['id'])
        problem = self._problem(deal)
        self.keep(deal, state='refused' if problem else 'accepted')
        self._send(
            deal, document.order_response(
                deal, 'RE' if problem else 'AP', problem), header['id'])

    def _problem(self, deal):
        for line in deal['lines']:
            offer = self.catalogue.get(line['code'])
            if not offer:
                return f"{line['code']} is not sold here."
            if (offer['unit'] != line['unit']
                    or Decimal(line['price']) != Decimal(offer['price'])):
                return f"{line['code']} is sold at {offer['price']}."
            line.update(name=offer['name'], rate=offer['rate'])

    def despatch(self, number):
        deal = self.deal(number)
        self._send(deal, document.despatch_advice(
                deal, f'D-{number}', deal['lines']))

    def on_receipt_advice(self, header, read):
        deal = self._ours(header, read['order'], 'seller')
        self.keep(deal, receipts=[*deal['receipts'], read])

    def invoice(self, number):
        deal = self.deal(number)
        name = f'F-{number}'
        _, _, _, total = document.totals(deal['lines'])
        self.partner.store.put('invoice', name, number)
        self._send(deal, document.invoice(deal, name, deal['lines']))
        return total

    def on_invoice_response(self, header, read):
        number = self.partner.store.get('invoice', read['reference'])
        deal = self._ours(header, number, 'seller')
        self.keep(deal, responses=[*deal['responses'], read['code']])

    def on_remittance_advice(self, header, read):
        for line in read['lines']:
            number = self.partner.store.get('invoice', line['invoice'])
            deal = self._ours(header, number, 'seller')
        paid = Decimal(deal['paid']) + Decimal(read['total'])
        self.keep(deal, paid=str(paid))
        self.partner.answer(header, 'AP')

    # Technical answers

    def on_message_level_response(self, header, read):
        self.partner.store.put('answer', read['reference'], read['code'])
