# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"The table of the members of a community"
import csv
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from stdnum import iban
from stdnum.eu import vat
from stdnum.fr import siren

from . import table

ROLES = {
    'offerer': ["offreur", "offreuse", "vendeur", "vendeuse", "seller",
        "supplier", "fournisseur", "producteur", "productrice", "producer"],
    'buyer': ["demandeur", "demandeuse", "acheteur", "acheteuse", "client",
        "cliente", "customer", "consommateur"],
    'both': ["les deux", "tous", "all"],
    }
# What nobody named here is kept as it was written
KINDS = {
    'person': ["personne", "particulier", "individual", "individu"],
    'company': ["société", "entreprise", "business"],
    'independent': ["indépendant", "indépendante", "freelance"],
    'farm': ["ferme", "exploitation", "exploitation agricole",
        "agriculteur", "agricultrice", "farmer"],
    'association': ["asso"],
    'authority': ["collectivité", "commune"],
    }
_KINDS = {table.fold(n): k for k, names in KINDS.items()
    for n in [k, *names]}
_role = table.one_of(ROLES, "a role is offerer or buyer")
_and = re.compile(r'[,;+/|&\n]|\bet\b|\band\b', re.IGNORECASE)


def kind(text):
    return _KINDS.get(table.fold(text)) or table.line(text)


def roles(text):
    found = {_role(p) for p in _and.split(text) if p.strip()}
    if 'both' in found:
        found = {'offerer', 'buyer'}
    if not found:
        raise table.ValueRefused("a role is offerer or buyer")
    return tuple(r for r in ['offerer', 'buyer'] if r in found)


def email(text):
    if not re.fullmatch(r'[^@\s<>",;]+@[^@\s<>",;]+\.[^@\s<>",;.]+', text):
        raise table.ValueRefused("this is not an e-mail address")
    return text


def _countries():
    path = Path(__file__).parent / 'data' / 'countries.csv'
    with open(path, encoding='utf-8', newline='') as file:
        return {
            row['code']: [row['code3'], row['en'], row['fr']]
            for row in csv.DictReader(file)}


COLUMNS = [
    table.Column('name', "nom", "raison sociale", required=True),
    table.Column('kind', "type", "nature", read=kind),
    table.Column('roles', "role", "rôles", read=roles, required=True),
    table.Column('siren', "numéro siren",
        read=table.number(siren, "this is not a SIREN")),
    table.Column('vat_number', "numéro de TVA", "TVA intracommunautaire",
        "vat", "TVA", read=table.number(
            vat, "this is not a VAT number of the European Union")),
    table.Column('street', "rue", "adresse", "address"),
    table.Column('postal_code', "code postal", "zip", "cp"),
    table.Column('city', "ville", "commune", "town"),
    table.Column('country', "pays",
        read=table.one_of(_countries(), "the country is not known")),
    table.Column('email', "courriel", "e-mail", "mail", read=email),
    table.Column('phone', "téléphone", "tel", "tél."),
    table.Column('iban', "compte bancaire",
        read=table.number(iban, "this is not an IBAN")),
    ]


@dataclass(frozen=True)
class Member:
    "A line of the table; number is its rank, line its place in the file"
    line: int
    number: int
    name: str
    roles: tuple
    kind: str = None
    siren: str = None
    vat_number: str = None
    street: str = None
    postal_code: str = None
    city: str = None
    country: str = None
    email: str = None
    phone: str = None
    iban: str = None

    def identifier(self, community):
        """Return by which identifier the member takes part

        Who has no SIREN is known by a number under the one of the
        community.
        """
        if self.siren:
            return f'0225:{self.siren}'
        return f'0225:{community}_{self.number}'


def read(path):
    "Return the members of the file; raise TableError"
    members = [
        Member(line=line, number=number, **{
                **record,
                'siren': record['siren'] or _siren(record['vat_number']),
                'country': record['country'] or 'FR',
                })
        for number, (line, record) in enumerate(
            table.read(path, COLUMNS), 1)]
    faults = list(_duplicates(members)) + list(_contradictions(members))
    if not members:
        faults.append(table.Fault(2, '', "there are no members"))
    if faults:
        raise table.TableError(path, faults)
    return members


def _siren(vat_number):
    "Return the SIREN inside a French VAT number, or None"
    if (vat_number and vat_number.startswith('FR')
            and siren.is_valid(vat_number[4:])):
        return vat_number[4:]


def _duplicates(members):
    for name, label in [
            ('name', "name"), ('siren', "SIREN"),
            ('vat_number', "VAT number")]:
        seen = {}
        for member in members:
            if value := getattr(member, name):
                first = seen.setdefault(table.fold(value), member)
                if first is not member:
                    yield table.Fault(
                        member.line, value,
                        f"another member, of line {first.line}, "
                        f"has the same {label}")


def _contradictions(members):
    for member in members:
        number = member.vat_number
        if (member.siren and number and number.startswith('FR')
                and not number.endswith(member.siren)):
            yield table.Fault(
                member.line, number, "this VAT number is of another SIREN")
        if (member.country == 'FR' and member.postal_code
                and re.fullmatch('[0-9]{1,4}', member.postal_code)):
            yield table.Fault(
                member.line, member.postal_code,
                "a French postal code has five digits")


def instance_name(member, taken=()):
    "Return a name of instance for the member that is none of those taken"
    text = unicodedata.normalize('NFKD', member.name.lower())
    words = re.findall(
        '[a-z0-9]+', text.encode('ascii', 'ignore').decode())
    name = '_'.join(words[:2])[:24]
    if not name[:1].isalpha():
        name = f'm_{name}'.rstrip('_')
    number, base = 1, name
    while name in taken:
        number += 1
        name = f'{base}_{number}'
    return name
