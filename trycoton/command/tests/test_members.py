# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
from pathlib import Path

from trycoton.command import demo, members

from .test_table import TableTestCase

HEADINGS = 'name;roles;siren;vat_number;postal_code;country;email;iban\n'
FARM = 'Ferme;offerer;521783415;FR50521783415;26400;;;\n'


class MembersTestCase(TableTestCase):
    "Test the table of the members"
    read = staticmethod(members.read)

    def test_demo(self):
        "Test the table of the demonstration"
        path = Path(demo.__file__).parent / 'data' / 'members.csv'
        people = members.read(path)
        self.assertGreaterEqual(len(people), 4)
        self.assertTrue(any(m.siren is None for m in people))

    def test_french(self):
        "Test French headings and values"
        member, = self.load(
            'IBAN;Courriel;Pays;Ville;CP;Numéro de TVA;SIREN;Rôles;Nature;'
            'Nom\n'
            'FR76 3000 2005 5000 0001 5797 841;a@b.example;Belgique;Ath;7800;'
            'fr 50 521783415;521 783 415;Offreurs et demandeur;Exploitation '
            'agricole;"Ferme\ndes Chênes"\n'.encode('cp1252'))
        self.assertEqual(member, members.Member(
                line=2, number=1, name="Ferme des Chênes", kind='farm',
                roles=('offerer', 'buyer'), siren='521783415',
                vat_number='FR50521783415', postal_code='7800', city="Ath",
                country='BE', email='a@b.example',
                iban='FR7630002005500000015797841'))

    def test_english(self):
        "Test English headings and what is optional"
        member, = self.load('roles,name,kind\n"buyer, seller",Ann,baker\n')
        self.assertEqual(member, members.Member(
                line=2, number=1, name="Ann", roles=('offerer', 'buyer'),
                kind='baker', country='FR'))

    def test_siren_of_vat_number(self):
        "Test a French VAT number names the SIREN"
        member, = self.load('name;roles;vat\nA;buyer;FR50521783415\n')
        self.assertEqual(member.identifier('901255331'), '0225:521783415')

    def test_identifier(self):
        "Test who has no SIREN has a number"
        _, member = self.load('name;roles\nA;buyer\nB;buyer\n')
        self.assertEqual(member.identifier('901255331'), '0225:901255331_2')

    def test_values(self):
        "Test wrong values"
        for row, value, reason in [
                ('A;king;;;;;;', 'king', "a role is offerer or buyer"),
                ('A;,;;;;;;', ',', "a role is offerer or buyer"),
                ('A;buyer;521783416;;;;;', '521783416',
                    "this is not a SIREN"),
                ('A;buyer;52178341500019;;;;;', '52178341500019',
                    "this is not a SIREN"),
                ('A;buyer;5,2178E+08;;;;;', '5,2178E+08',
                    "this is not a SIREN"),
                ('A;buyer;;FR99521783415;;;;', 'FR99521783415',
                    "this is not a VAT number of the European Union"),
                ('A;buyer;;US123;;;;', 'US123',
                    "this is not a VAT number of the European Union"),
                ('A;buyer;490267150;FR10813490273;;;;', 'FR10813490273',
                    "this VAT number is of another SIREN"),
                ('A;buyer;;;1340;;;', '1340',
                    "a French postal code has five digits"),
                ('A;buyer;;;;Atlantis;;', 'Atlantis',
                    "the country is not known"),
                ('A;buyer;;;;;ann.example.org;', 'ann.example.org',
                    "this is not an e-mail address"),
                ('A;buyer;;;;;a@b@c.org;', 'a@b@c.org',
                    "this is not an e-mail address"),
                ('A;buyer;;;;;;FR7630002005500000015797842',
                    'FR7630002005500000015797842', "this is not an IBAN"),
                (';buyer;;;;;;', '', 'the value of "name" is missing'),
                ('A;;;;;;;', '', 'the value of "roles" is missing'),
                ('FERME;buyer;;;;;;', 'FERME',
                    "another member, of line 2, has the same name"),
                ('A;buyer;521 783 415;;;;;', '521783415',
                    "another member, of line 2, has the same SIREN"),
                ]:
            with self.subTest(row):
                self.assertEqual(
                    self.faults(f'{HEADINGS}{FARM}{row}\n'),
                    [(3, value, reason)])

    def test_same_identifier(self):
        "Test two members of the same VAT number"
        self.assertEqual(
            self.faults(f'{HEADINGS}{FARM}A;buyer;;FR50521783415;;;;\n'), [
                (3, '521783415',
                    "another member, of line 2, has the same SIREN"),
                (3, 'FR50521783415',
                    "another member, of line 2, has the same VAT number"),
                ])

    def test_no_member(self):
        "Test a table of headings"
        self.assertEqual(
            self.faults(HEADINGS), [(2, '', "there are no members")])

    def test_instance_name(self):
        "Test the names of the instances"
        for name, expected in [
                ("Ferme des Trois Chênes", 'ferme_des'),
                ("3 Petits Cochons", 'm_3_petits'),
                ("Épicerie", 'epicerie'),
                ("Cœur", 'cur'),
                ("…", 'm'),
                ("x" * 60, 'x' * 24)]:
            with self.subTest(name):
                member, = self.load(f'name;roles\n{name};buyer\n')
                self.assertEqual(members.instance_name(member), expected)
        self.assertEqual(
            members.instance_name(member, {'x' * 24, 'x' * 24 + '_2'}),
            'x' * 24 + '_3')
