# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
from decimal import Decimal
from pathlib import Path

from trycoton.command import catalogue, demo

from .test_table import TableTestCase

HEADINGS = (
    'seller;code;name;kind;unit;price;vat;min_quantity;quantity\n'
    'Ferme;POM;Pommes;good;kg;1,45;5,5 %;5;400\n')


class CatalogueTestCase(TableTestCase):
    "Test the table of the offers"
    sellers = {'Ferme': 'Ferme', '521783415': 'Ferme'}

    def read(self, path):
        return catalogue.read(path, self.sellers)

    def test_demo(self):
        "Test the table of the demonstration"
        path = Path(demo.__file__).parent / 'data' / 'offers.csv'
        self.assertGreaterEqual(len(catalogue.read(path)), 6)

    def test_french(self):
        "Test French headings and values"
        offer, = self.load(
            'Livraison;Quantité;Quantité minimale;TVA;Prix HT;Unité;Nature;'
            'Catégorie;Description;Désignation;Référence;Vendeur\n'
            'le jeudi;1 000,5;0,5;"5,50 %";"1 234,50 €";Litres;Produits;'
            'Boissons;"Pressé\nà froid";Jus d’œillet;JUS;521 783 415\n')
        self.assertEqual(offer, catalogue.Offer(
                line=2, seller="Ferme", code='JUS', name="Jus d’œillet",
                price=Decimal('1234.5'), vat=Decimal('5.5'),
                description="Pressé\nà froid", category="Boissons",
                kind='good', unit='LTR', min_quantity=Decimal('0.5'),
                quantity=Decimal('1000.5'), delivery="le jeudi"))

    def test_english(self):
        "Test English headings and what is optional"
        offer, = self.load('vat,price,name,seller\n20,3.5,Soap,FERME\n')
        self.assertEqual(offer, catalogue.Offer(
                line=2, seller="Ferme", code='002', name="Soap",
                price=Decimal('3.5'), vat=Decimal(20)))

    def test_any_seller(self):
        "Test the sellers are not looked at when they are not given"
        self.path.write_text('seller;name;price;vat\nZoé;A;1;exonéré\n')
        offer, = catalogue.read(self.path)
        self.assertEqual((offer.seller, offer.vat), ("Zoé", 0))

    def test_values(self):
        "Test wrong values"
        for row, value, reason in [
                ('Ferme;A;A;good;kg;-1;20;;', '-1',
                    "the number is negative"),
                ('Ferme;A;A;good;kg;gratuit;20;;', 'gratuit',
                    "this is not a number"),
                ('Ferme;A;A;good;kg;1;19,6 %;;', '19,6 %',
                    "this is not a French rate of VAT: 20, 10, 5.5, 2.1 or "
                    "0"),
                ('Ferme;A;A;good;kg;1;2%0;;', '2%0', "this is not a number"),
                ('Ferme;A;A;good;kg;1;-20;;', '-20',
                    "the number is negative"),
                ('Ferme;A;A;magic;kg;1;20;;', 'magic',
                    "a kind is good or service"),
                ('Ferme;A;A;good;parsec;1;20;;', 'parsec',
                    "the unit is not known"),
                ('Ferme;A;;good;kg;1;20;;', '',
                    'the value of "name" is missing'),
                ('Ferme;A;A;good;kg;;20;;', '',
                    'the value of "price" is missing'),
                ('Ferme;A;A;good;kg;1;;;', '',
                    'the value of "vat" is missing'),
                (';A;A;good;kg;1;20;;', '',
                    'the value of "seller" is missing'),
                ('Nobody;A;A;good;kg;1;20;;', 'Nobody',
                    "no offerer has this name or SIREN"),
                ('521783415;POM;A;good;kg;1;20;;', 'POM',
                    "another offer of the seller, of line 2, has the same "
                    "code"),
                ('Ferme;A;A;good;kg;1;20;10;5', '10',
                    "the minimum is more than the quantity, 5"),
                ('Ferme;A;A;good;pot;1;20;0,5;', '0.5',
                    "the unit cannot be divided"),
                ('Ferme;A;A;good;kg;1;20;;1,255', '1.255',
                    "the unit has at most 2 decimals"),
                ('Ferme;A;=A1;good;kg;1;20;;', '=A1',
                    "this is a formula, not a value"),
                ]:
            with self.subTest(row):
                self.assertEqual(
                    self.faults(f'{HEADINGS}{row}\n'),
                    [(3, value, reason)])

    def test_no_offer(self):
        "Test a table of headings"
        self.assertEqual(
            self.faults('seller;name;price;vat\n'),
            [(2, '', "there are no offers")])
