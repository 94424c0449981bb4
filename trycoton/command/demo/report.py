# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"The table at the end of the demonstration"
from decimal import Decimal

from .story import RATE


def make(world, story, documents, log, seconds):
    "Return the report, as it is saved for machines"
    return {
        'seconds': round(seconds, 1),
        'instances': [_instance(actor) for actor in world.actors],
        'documents': dict(sorted(documents.items())),
        'ledgers': [
            _ledger(seller, buyer)
            for seller in story.sellers[:2] for buyer in story.buyers[:2]] + [
            _ledger(story.manager, seller) for seller in story.sellers[:2]],
        'stock': [s for d in story.deals for s in _stock(d)],
        'commission': _commission(story),
        'log': log,
        'witnesses': _witnesses(story),
        }


def _instance(actor):
    instance = actor.server.instance
    return {
        'name': instance.name,
        'company': instance.company,
        'role': instance.role,
        'pid': actor.server.pid,
        'port': instance.port,
        'memory': actor.server.memory(),
        }


def _ledger(seller, buyer):
    receivable = seller.balance(buyer, 'receivable')
    payable = buyer.balance(seller, 'payable')
    return {
        'seller': seller.name,
        'buyer': buyer.name,
        'invoiced': _number(seller.invoiced(buyer, 'out')),
        'receivable': _number(receivable),
        'payable': _number(payable),
        'difference': _number(receivable - payable),
        }


def _stock(deal):
    for offer in deal.lines:
        if offer.kind != 'good':
            continue
        yield {
            'product': offer.code,
            'seller': deal.seller.name,
            'left': deal.seller.quantity(offer.code),
            'buyer': deal.buyer.name,
            'received': deal.buyer.received(deal.purchase, offer.code),
            }


def _commission(story):
    base = sum((c.base for c in story.commissions), Decimal(0))
    amount = sum((c.amount for c in story.commissions), Decimal(0))
    paid = sum((
            i.total_amount for i in story.commission_invoices
            if i.state == 'paid'), Decimal(0))
    return {
        'base': _number(base),
        'rate': float(RATE),
        'amount': _number(amount),
        'paid': _number(paid),
        }


def _witnesses(story):
    counts = [buyer.witnessed() for buyer in story.buyers[:2]]
    return {
        'elected': len(story.manager.elected()),
        'recorded': sum(r for r, _ in counts),
        'witnessed': sum(w for _, w in counts),
        }


def _number(amount):
    "Return the amount, to the cent, as a number of JSON"
    return float(round(Decimal(amount), 2)) + 0


def text(report):
    "Return the report for people"
    lines = []
    _table(lines, "Instances", ["name", "role", "port", "memory"], [
            [i['name'], i['role'], i['port'], f"{i['memory'] / 1e6:.0f} MB"]
            for i in report['instances']])
    _table(lines, "Documents exchanged", ["type", "number"],
        [[k, n] for k, n in report['documents'].items()])
    _table(lines, "Stock",
        ["product", "seller", "left", "buyer", "received"], [
            [s['product'], s['seller'], f"{s['left']:g}",
                s['buyer'], f"{s['received']:g}"]
            for s in report['stock']])
    _table(lines, "Ledgers", [
            "seller", "buyer", "invoiced", "receivable", "payable",
            "difference"], [
            [r['seller'], r['buyer'], *(f"{r[name]:.2f}" for name in [
                        'invoiced', 'receivable', 'payable', 'difference'])]
            for r in report['ledgers']])
    commission, log = report['commission'], report['log']
    witnesses = report['witnesses']
    lines += [
        "",
        f"Commission: {commission['amount']:.2f} without tax, "
        f"{commission['rate'] * 100:g} % of {commission['base']:.2f} "
        f"invoiced; {commission['paid']:.2f} paid with tax",
        f"Log: {log['origin']}, {log['size']} entries, root {log['root']}",
        f"Witnesses: {witnesses['elected']} elected; "
        f"{witnesses['witnessed']} of the {witnesses['recorded']} messages "
        "of the buyers witnessed so far, the others recorded",
        f"Time: {report['seconds']} s",
        ]
    return '\n'.join(lines)


def _table(lines, title, headings, rows):
    rows = [headings, *[list(map(str, row)) for row in rows]]
    widths = [max(len(row[i]) for row in rows) for i in range(len(headings))]
    lines += ["", title]
    for row in rows:
        lines.append('  ' + '  '.join(
                cell.ljust(width)
                for cell, width in zip(row, widths)).rstrip())
