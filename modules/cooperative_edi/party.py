# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
from trytond.pool import Pool, PoolMeta
from trytond.transaction import inactive_records

from trycoton.protocol.directory import Legal

CODES = [('fr_siren', 'siren'), ('eu_vat', 'vat')]


class Party(metaclass=PoolMeta):
    __name__ = 'party.party'

    def edi_legal(self):
        """Return what a directory says of the party beside its name,
        or None"""
        address = self.address_get()
        legal = {
            'siren': self.edi_code('fr_siren'),
            'vat': self.edi_code('eu_vat'),
            'email': self.email,
            'phone': self.phone or self.mobile,
            }
        if address:
            legal.update(
                street=address.street_single_line,
                postal_code=address.postal_code,
                city=address.city,
                country=self.edi_country)
        legal = {k: v for k, v in legal.items() if v}
        return Legal(**legal) if legal else None

    @property
    def edi_country(self):
        "The code of the country of the party, None if it is not known"
        address = self.address_get()
        if address and address.country:
            return address.country.code

    def edi_code(self, type):
        for identifier in self.identifiers:
            if identifier.type == type:
                return identifier.code_compact

    @classmethod
    def edi_find(cls, entry):
        "Return the party that already has the SIREN or VAT number, if any"
        for type, name in CODES:
            if code := getattr(entry.legal, name, None):
                parties = cls.search([
                        ('identifiers', 'where', [
                                ('type', '=', type),
                                ('code_compact', '=', code),
                                ]),
                        ], limit=1)
                if parties:
                    return parties[0]

    @classmethod
    def edi_create(cls, entry):
        party, = cls.create([{'name': entry.name, 'addresses': None}])
        return party

    def edi_update(self, entry):
        "Complete the party with what its entry says"
        pool = Pool()
        Address = pool.get('party.address')
        Identifier = pool.get('party.identifier')
        Mechanism = pool.get('party.contact_mechanism')
        legal = entry.legal
        if self.name != entry.name:
            self.name = entry.name
            self.save()
        if not legal:
            return
        for type, name in CODES:
            code = getattr(legal, name)
            if code and not self.edi_code(type):
                Identifier.create([{
                            'party': self.id,
                            'type': type,
                            'code': code,
                            }])
        for type, value in [('email', legal.email), ('phone', legal.phone)]:
            if value and not self.contact_mechanism_get(type):
                Mechanism.create([{
                            'party': self.id, 'type': type, 'value': value}])
        address = self.address_get() or Address(party=self)
        self._edi_update_address(address, legal)
        address.save()

    def _edi_update_address(self, address, legal):
        pool = Pool()
        Country = pool.get('country.country')
        if legal.street:
            address.street_unstructured = legal.street
        address.postal_code = legal.postal_code
        address.city = legal.city
        with inactive_records():
            countries = Country.search(
                [('code', '=', legal.country)], limit=1)
        if countries:
            address.country, = countries


class Replace(metaclass=PoolMeta):
    __name__ = 'party.replace'

    @classmethod
    def fields_to_replace(cls):
        return super().fields_to_replace() + [
            ('cooperative.edi.mapping', 'party'),
            ('cooperative.edi.message', 'party'),
            ]
