# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What a partner would refuse, said before anything is committed"""
from trytond.i18n import gettext
from trytond.model import ModelView, Workflow
from trytond.pool import Pool, PoolMeta
from trytond.transaction import without_check_access

from .exceptions_document import (
    DocumentInvalidError, PartyCountryWarning, PeerSilentWarning,
    PeerSuspendedError, PeerSuspendedWarning, RelationEndedWarning,
    RelationUnusedWarning, TaxCodeWarning)

# The calls without answer, over more than an hour, that are worth a warning
SILENCES = 7


def warn(Warning_, name, records, message, **values):
    "Have the person accept, once, what the message says of the records"
    Warning = Pool().get('res.user.warning')
    key = Warning.format(name, records)
    if Warning.check(key):
        raise Warning_(key, gettext(f'cooperative_edi.{message}', **values))


class Message(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.message'

    @classmethod
    def send(cls, relation, document, origin=None, *args, **kwargs):
        if problems := list(document.check()):
            raise DocumentInvalidError(
                gettext('cooperative_edi.msg_document_invalid',
                    record=(origin.rec_name if origin else document.number),
                    peer=relation.peer.rec_name if relation else ''),
                '\n'.join(map(str, problems)))
        return super().send(relation, document, origin, *args, **kwargs)


class Relation(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.relation'

    @without_check_access
    def warn_peer(self, record):
        "Warn of what keeps the record from reaching the peer"
        values = {'record': record.rec_name, 'peer': self.peer.rec_name}
        if self.peer.state != 'active':
            warn(PeerSuspendedWarning, 'edi_suspended', [record],
                'msg_peer_suspended', **values)
        if not self.current:
            warn(RelationEndedWarning, 'edi_ended', [record],
                'msg_relation_ended', **values)
        hop = self.trust_party or self.peer
        if (hop.silences or 0) >= SILENCES:
            warn(PeerSilentWarning, 'edi_silent', [record],
                'msg_peer_silent', hop=hop.rec_name, **values)

    @classmethod
    @without_check_access
    def warn_unused(cls, company, party, record):
        "Warn that the record is not sent, although its party is a peer"
        pool = Pool()
        Peer = pool.get('cooperative.edi.peer')
        peer = Peer.for_party(company.id, party.id)
        if not peer or peer.kind != 'participant' or peer.state != 'active':
            return
        warn(RelationUnusedWarning, 'edi_unused', [record],
            'msg_relation_unused', record=record.rec_name,
            peer=peer.rec_name)

    @without_check_access
    def warn_countries(self, record):
        "Warn if an address of one of the two parties has no country"
        for party in [self.company.party, self.peer.party]:
            address = party.address_get()
            if not address or not address.country:
                warn(PartyCountryWarning, 'edi_country', [record, party],
                    'msg_party_country', record=record.rec_name,
                    party=party.rec_name)


class Purchase(metaclass=PoolMeta):
    __name__ = 'purchase.purchase'

    def check_for_quotation(self):
        pool = Pool()
        Relation = pool.get('cooperative.edi.relation')
        super().check_for_quotation()
        if not self.relation and self.party:
            Relation.warn_unused(self.company, self.party, self)

    def _check_order(self):
        super()._check_order()
        if self.relation.peer.state != 'active':
            raise PeerSuspendedError(gettext(
                    'cooperative_edi.msg_peer_suspended_order',
                    record=self.rec_name, peer=self.relation.peer.rec_name))

    @classmethod
    @ModelView.button
    @Workflow.transition('confirmed')
    def confirm(cls, purchases):
        for purchase in purchases:
            if purchase.relation:
                purchase.relation.warn_peer(purchase)
        super().confirm(purchases)


class Sale(metaclass=PoolMeta):
    __name__ = 'sale.sale'

    @classmethod
    @ModelView.button
    def confirm(cls, sales):
        # Not a transition: what is proposed stays a quotation
        for sale in sales:
            if sale.edi_state == 'waiting':
                sale.relation.warn_peer(sale)
        super().confirm(sales)


class ShipmentOut(metaclass=PoolMeta):
    __name__ = 'stock.shipment.out'

    @classmethod
    def _send_despatch(cls, shipments):
        pool = Pool()
        Document = pool.get('cooperative.edi.document')
        for shipment in shipments:
            if shipment.edi_state != 'none':
                continue
            for move in shipment.edi_moves:
                Document.check_item(move.origin.edi_item(), move.origin)
                move.origin.sale.relation.warn_peer(shipment)
        super()._send_despatch(shipments)


class ShipmentIn(metaclass=PoolMeta):
    __name__ = 'stock.shipment.in'

    @classmethod
    @ModelView.button
    @Workflow.transition('received')
    def receive(cls, shipments):
        for shipment in shipments:
            if shipment.edi_state == 'announced':
                shipment.relation.warn_peer(shipment)
        super().receive(shipments)


class Invoice(metaclass=PoolMeta):
    __name__ = 'account.invoice'

    @classmethod
    def _post(cls, invoices):
        for invoice in invoices:
            if (invoice.type == 'out' and invoice.edi_state == 'none'
                    and (not invoice.move
                        or invoice.move.state != 'posted')):
                invoice._warn_sending()
        super()._post(invoices)

    def _warn_sending(self):
        pool = Pool()
        Relation = pool.get('cooperative.edi.relation')
        relation = self.edi_relation
        if not relation:
            Relation.warn_unused(self.company, self.party, self)
            return
        relation.warn_peer(self)
        relation.warn_countries(self)
        for tax in {t for l in self.line_lines for t in l.taxes}:
            if (tax.type == 'percentage' and not tax.rate
                    and not tax.unece_category_code):
                warn(TaxCodeWarning, 'edi_tax', [self, tax],
                    'msg_tax_category', tax=tax.rec_name,
                    record=self.rec_name)
