# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"The table of the offers of sellers"
from dataclasses import dataclass
from decimal import Decimal

from . import table
from .table import ValueRefused

KINDS = {
    'good': ["goods", "bien", "produit", "product", "marchandise",
        "article"],
    'service': ["prestation", "prestation de services", "travail", "work"],
    }
# UNECE recommendation 20
UNITS = {
    'KGM': ["kg", "kilo", "kilogramme", "kilogram"],
    'GRM': ["g", "gr", "gramme", "gram"],
    'LTR': ["l", "litre", "liter"],
    'C62': ["u", "unité", "unit", "pièce", "piece", "pcs", "pce", "each",
        "pot", "panier", "basket", "bocal", "bocaux", "jar", "bouteille",
        "bottle", "sachet", "bag", "sac", "lot", "botte", "bunch",
        "bouquet", "douzaine", "dozen", "boîte", "box", "boxes", "caisse",
        "carton", "plateau", "plateaux", "barquette", "tête", "forfait"],
    'HUR': ["h", "heure", "hour"],
    'MIN': ["minute"],
    'DAY': ["j", "jour", "journée", "day"],
    'MTR': ["m", "mètre", "meter", "metre"],
    'KMT': ["km", "kilomètre", "kilometer", "kilometre"],
    'MTK': ["m²", "mètre carré", "square meter"],
    'MTQ': ["m³", "mètre cube", "cubic meter"],
    'HAR': ["ha", "hectare"],
    }
# Decimals of a quantity, by unit
DIGITS = {'C62': 0}
RATES = {Decimal(r) for r in ['0', '2.1', '5.5', '10', '20']}
EXEMPT = {table.fold(n) for n in [
        "exonéré", "exempt", "non applicable", "néant", "none",
        "franchise"]}


def vat(text):
    "Return the rate of VAT in percent"
    if table.fold(text) in EXEMPT:
        return Decimal(0)
    rate = table.decimal(text.removesuffix('%'))
    for known in RATES:
        if rate == known:
            return known
    raise ValueRefused(
        "this is not a French rate of VAT: 20, 10, 5.5, 2.1 or 0")


COLUMNS = [
    table.Column('seller', "vendeur", "offreur", "producteur",
        required=True),
    table.Column('code', "référence", "ref"),
    table.Column('name', "nom", "désignation", "produit", "product",
        required=True),
    table.Column('description', read=str),
    table.Column('category', "catégorie"),
    table.Column('kind', "type", "nature",
        read=table.one_of(KINDS, "a kind is good or service")),
    table.Column('unit', "unité",
        read=table.one_of(UNITS, "the unit is not known")),
    table.Column('price', "prix", "prix unitaire", "prix ht",
        read=table.decimal, required=True),
    table.Column('vat', "TVA", "taux de TVA", read=vat, required=True),
    table.Column('min_quantity', "minimum", "quantité minimale",
        "quantité minimum", read=table.decimal),
    table.Column('quantity', "quantité", "stock", read=table.decimal),
    table.Column('delivery', "livraison"),
    ]


@dataclass(frozen=True)
class Offer:
    """A line of the table

    price is in euros without tax for a unit, a code of UNECE; vat in percent;
    quantity is what there is to sell, None when it has no limit.
    """
    line: int
    seller: str
    code: str
    name: str
    price: Decimal
    vat: Decimal
    description: str = None
    category: str = None
    kind: str = 'good'
    unit: str = 'C62'
    min_quantity: Decimal = None
    quantity: Decimal = None
    delivery: str = None


def read(path, sellers=None):
    """Return the offers of the file; raise TableError

    sellers, when given, are the names or SIREN that an offer may have as
    seller, as a dictionary to the name to keep.
    """
    offers, faults, codes = [], [], {}
    folded = {table.fold(k): v for k, v in (sellers or {}).items()}
    for line, record in table.read(path, COLUMNS):
        seller = record.pop('seller')
        if sellers is not None:
            try:
                seller = folded[table.fold(seller)]
            except KeyError:
                faults.append(table.Fault(
                        line, seller,
                        "no offerer has this name or SIREN"))
        code = record.pop('code') or f'{line:03}'
        first = codes.setdefault((table.fold(seller), code), line)
        if first != line:
            faults.append(table.Fault(
                    line, code, f"another offer of the seller, of line "
                    f"{first}, has the same code"))
        offer = Offer(line=line, seller=seller, code=code, **{
                **record,
                'kind': record['kind'] or 'good',
                'unit': record['unit'] or 'C62',
                })
        faults.extend(_contradictions(offer))
        offers.append(offer)
    if not offers:
        faults.append(table.Fault(2, '', "there are no offers"))
    if faults:
        raise table.TableError(path, faults)
    return offers


def _contradictions(offer):
    digits = DIGITS.get(offer.unit, 2)
    for quantity in [offer.min_quantity, offer.quantity]:
        if quantity is not None and quantity != round(quantity, digits):
            yield table.Fault(
                offer.line, str(quantity),
                f"the unit has at most {digits} decimals"
                if digits else "the unit cannot be divided")
    if (offer.quantity is not None and offer.min_quantity is not None
            and offer.min_quantity > offer.quantity):
        yield table.Fault(
            offer.line, str(offer.min_quantity),
            f"the minimum is more than the quantity, {offer.quantity}")
