# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What is done inside a database, with trytond, in a process of its own.

A job is read as JSON from the standard input and its result is written to the
standard output.  No other module imports this one.
"""
import argparse
import csv
import datetime as dt
import json
import os
import sqlite3
import sys
import tempfile
from decimal import Decimal
from pathlib import Path

NAME = 'template'
FRANCHISE = "TVA non applicable, art. 293 B du CGI"
ASSOCIATION = "Exonération de TVA, art. 261, 7 du CGI"
# Names of account_fr's taxes, by rate
TAXES = {
    '20': "Taux Normal",
    '10': "Taux Intermédiaire",
    '5.5': "5,5%",
    '2.1': "2,1%",
    }
KINDS = {
    'goods': ("Goods", "Biens", 'biens', '7071', '6071'),
    'services': ("Services", "Services", 'services', '706', '604'),
    }
ACCOUNTS = [
    # code, name, parent, account of the same type, reconcile
    ('581', "Virements émis, en attente de débit", '58', '58', True),
    ('7561', "Cotisations sans contrepartie", '75', '706', False),
    ('7562', "Cotisations avec contrepartie", '75', '706', False),
    ]
SESSIONS = [
    'ir.session', 'ir.session.wizard', 'web.user.session',
    'res.user.application', 'res.user.login.attempt', 'res.user.device']


def connect(path):
    "Configure trytond for the database in the folder of path"
    _configure('sqlite://', Path(path).parent)


def _configure(uri, folder):
    os.environ['TRYTOND_DATABASE_URI'] = uri
    os.environ['TRYTOND_DATABASE__PATH'] = str(folder)
    # Nothing is sent from here
    os.environ['TRYTOND_COOPERATIVE__COURIER'] = 'False'
    import trytond.config  # noqa: F401


def build(path, modules):
    """Make at path the database of the modules, ready to be copied:
    when it exists, it has a part of the modules and gets the others."""
    path = Path(path)
    assert path.stem == NAME
    connect(path)
    new = not path.exists()
    path.touch()
    _activate(NAME, _update(path, modules), new)
    if new:
        _transaction(setup, set(modules), lock=_locked(modules))
    else:
        _transaction(_finish_wizard)
    _vacuum(path)


def install(uri, folder, name, modules, values):
    """Make the empty database of the server at uri the one of a company.
    folder is the one of its files; values are those of personalise.

    Again after it was interrupted, it completes what it began."""
    _configure(uri, folder)
    for part in [['ir', 'res'], modules]:
        _activate(name, part, new=True)
        # Without, PostgreSQL looks for the keys of each table in loops
        # inside loops: it knows nothing of what a transaction has made
        _transaction(_analyse, name=name)
    _transaction(
        _install, set(modules), values, name=name, lock=_locked(modules))


def _analyse():
    from trytond.transaction import Transaction
    Transaction().connection.cursor().execute('ANALYZE')


def _install(modules, values):
    setup(modules)
    return _personalise(values)


def adopt(uri, folder, name, values):
    """Make the database of the server at uri, a copy of an installed one,
    that of its company, and return the id of the company.
    values are those of personalise."""
    _configure(uri, folder)
    from trytond.pool import Pool
    Pool.start()
    Pool(name).init()
    return _transaction(_personalise, values, name=name)


def upgrade(uri, folder, name, modules):
    "Bring the database of the server at uri to the modules that are installed"
    _configure(uri, folder)
    _activate(name, ['ir', 'res', *modules], new=False)
    _transaction(_finish_wizard, name=name)


def _locked(modules):
    # Known before, so that nothing is done twice
    if 'account_fr' in modules:
        return ['account_configuration', 'product_configuration']
    return []


def _activate(name, modules, new):
    import trytond.admin as admin
    with tempfile.NamedTemporaryFile('w') as password:
        # Nobody knows it and each copy gets another
        password.write(os.urandom(24).hex())
        password.flush()
        os.environ['TRYTONPASSFILE'] = password.name
        admin.run(argparse.Namespace(
                database_names=[name], update=modules,
                languages=['en', 'fr'], activatedeps=True, indexes=True,
                update_modules_list=False, test_email=None,
                email='' if new else None,
                password=False, reset_password=False, hostname=None,
                export_translations=False, validate=None))


def _update(path, modules):
    connection = sqlite3.connect(path)
    try:
        rows = connection.execute(
            "SELECT name FROM ir_module WHERE state = 'activated'").fetchall()
    except sqlite3.OperationalError:
        return ['ir', 'res', *modules]
    finally:
        connection.close()
    return sorted(set(modules) - {name for name, in rows})


def _transaction(function, *args, name=NAME, lock=()):
    # Again with the locks that it asked for
    from trytond.transaction import Transaction, TransactionError
    extras = {'_lock_tables': list(lock)}
    while True:
        with Transaction().start(name, 0, **extras) as transaction:
            try:
                return function(*args)
            except TransactionError as exception:
                transaction.rollback()
                exception.fix(extras)


def _vacuum(path):
    connection = sqlite3.connect(path)
    connection.execute('PRAGMA wal_checkpoint(TRUNCATE)')
    connection.execute('VACUUM')
    connection.close()


def setup(modules):
    "Fill the new database with what every French company needs"
    from trytond.pool import Pool
    from trytond.transaction import Transaction
    pool = Pool()
    User = pool.get('res.user')
    _finish_wizard()
    _countries()
    company = _company()
    admin = User(1)
    admin.companies = [company]
    admin.company = company
    admin.save()
    with Transaction().set_context(company=company.id):
        if 'account_fr' in modules:
            _tax_codes()
            accounts = _chart(company)
            _accounting(company, accounts)
            _products(company, accounts)


def _ref(xml_id, model):
    from trytond.pool import Pool
    pool = Pool()
    ModelData = pool.get('ir.model.data')
    Model = pool.get(model)
    return Model(ModelData.get_id(*xml_id.split('.')))


def _translate(record, field, value):
    from trytond.transaction import Transaction
    with Transaction().set_context(language='fr'):
        record.__class__.write([record], {field: value})


def _finish_wizard():
    from trytond.pool import Pool
    Item = Pool().get('ir.module.config_wizard.item')
    Item.write(Item.search([]), {'state': 'done'})


def _countries():
    from trytond.pool import Pool
    from trytond.transaction import Transaction
    Country = Pool().get('country.country')
    path = Path(__file__).parent / 'data' / 'countries.csv'
    with open(path, encoding='utf-8', newline='') as file:
        rows = list(csv.DictReader(file))
    countries = Country.create([{
                'name': row['en'],
                'code': row['code'],
                'code3': row['code3'],
                'code_numeric': row['numeric'],
                } for row in rows])
    for country, row in zip(countries, rows):
        country.name = row['fr']
    with Transaction().set_context(language='fr'):
        Country.save(countries)


def _company():
    from trytond.pool import Pool

    from trycoton.command.calendar import TIMEZONE
    pool = Pool()
    Company = pool.get('company.company')
    Currency = pool.get('currency.currency')
    Lang = pool.get('ir.lang')
    Party = pool.get('party.party')
    euro, = Currency.create([{
                'name': "Euro",
                'symbol': "€",
                'code': 'EUR',
                'numeric_code': '978',
                'rounding': Decimal('0.01'),
                'digits': 2,
                }])
    french, = Lang.search([('code', '=', 'fr')])
    party, = Party.create([{'name': "Template", 'lang': french.id}])
    company, = Company.create([{
                'party': party.id,
                'currency': euro.id,
                'timezone': TIMEZONE,
                }])
    return company


def _tax_codes():
    # On the templates, so that they last when the chart is updated
    from trytond.pool import Pool
    Template = Pool().get('account.tax.template')
    templates = Template.search([])
    for template in templates:
        template.unece_code = 'VAT'
        template.unece_category_code = _category(template)
    Template.save(templates)


def _category(template):
    name = template.name.lower()
    if 'intracommunautaire' in name:
        if 'vente' in name:
            return 'AE' if 'services' in name else 'K'
        return 'AE'
    if 'hors' in name:
        return 'G' if 'vente' in name else 'AE'
    return 'S'


def _chart(company):
    from trytond.pool import Pool
    pool = Pool()
    Account = pool.get('account.account')
    CreateChart = pool.get('account.create_chart', type='wizard')
    Template = pool.get('account.account.template')
    session_id, _, _ = CreateChart.create()
    wizard = CreateChart(session_id)
    # Its id in account_fr is the one of the root of the chart
    wizard.account.account_template = _ref(
        'account_fr.root', Template.__name__)
    wizard.account.company = company
    wizard.transition_create_account()

    accounts = {a.code: a for a in Account.search([
                ('company', '=', company.id),
                ('code', '!=', None),
                ])}
    for code, name, parent, like, reconcile in ACCOUNTS:
        accounts[code], = Account.create([{
                    'name': name,
                    'code': code,
                    'company': company.id,
                    'parent': accounts[parent].id,
                    'type': accounts[like].type.id,
                    'reconcile': reconcile,
                    }])

    form = wizard.properties
    form.company = company
    form.account_receivable = accounts['4111']
    form.account_payable = accounts['4011']
    form.category_account_revenue = accounts['7071']
    form.category_account_expense = accounts['6071']
    wizard.transition_create_properties()
    CreateChart.delete(session_id)
    return accounts


def _accounting(company, accounts):
    from trytond.pool import Pool
    pool = Pool()
    Configuration = pool.get('account.configuration')
    Journal = pool.get('account.journal')
    PaymentJournal = pool.get('account.payment.journal')
    PaymentMethod = pool.get('account.invoice.payment.method')
    PaymentTerm = pool.get('account.invoice.payment_term')
    StatementJournal = pool.get('account.statement.journal')

    year = dt.date.today().year
    for year in [year, year + 1]:
        _fiscalyear(company, year)

    configuration = Configuration(1)
    configuration.default_customer_payment_term = _ref(
        'account_invoice.payment_term_net30', PaymentTerm.__name__)
    configuration.save()

    bank, clearing, cash = Journal.create([
            {'name': "Bank", 'code': 'BANK', 'type': 'statement'},
            {'name': "Clearing", 'code': 'CLEAR', 'type': 'general'},
            {'name': "Bank Transfer", 'code': 'TRANS', 'type': 'cash'},
            ])
    _translate(bank, 'name', "Banque")
    _translate(clearing, 'name', "Paiements en attente")
    _translate(cash, 'name', "Virement")
    StatementJournal.create([{
                'name': "Banque",
                'company': company.id,
                'currency': company.currency.id,
                'journal': bank.id,
                'account': accounts['5121'].id,
                'validation': 'amount',
                }])
    PaymentJournal.create([{
                'name': "Virement",
                'company': company.id,
                'currency': company.currency.id,
                'process_method': 'manual',
                'clearing_account': accounts['581'].id,
                'clearing_journal': clearing.id,
                'clearing_posting_delay': dt.timedelta(),
                }])
    method, = PaymentMethod.create([{
                'name': "Bank Transfer",
                'company': company.id,
                'journal': cash.id,
                'credit_account': accounts['5121'].id,
                'debit_account': accounts['5121'].id,
                }])
    _translate(method, 'name', "Virement")


def _fiscalyear(company, year):
    from trytond.pool import Pool
    pool = Pool()
    FiscalYear = pool.get('account.fiscalyear')
    Sequence = pool.get('ir.sequence.strict')

    def sequence(name, type, prefix):
        sequence, = Sequence.create([{
                    'name': f"{name} {year}",
                    'sequence_type': _ref(type, 'ir.sequence.type').id,
                    'company': company.id,
                    'prefix': prefix,
                    'padding': 5,
                    }])
        return sequence.id

    invoice = 'account_invoice.sequence_type_account_invoice'
    fiscalyear, = FiscalYear.create([{
                'name': str(year),
                'start_date': dt.date(year, 1, 1),
                'end_date': dt.date(year, 12, 31),
                'company': company.id,
                'move_sequence': sequence(
                    "Écritures", 'account.sequence_type_account_move',
                    f'E{year}-'),
                'invoice_sequences': [('create', [{
                                'company': company.id,
                                'out_invoice_sequence': sequence(
                                    "Factures clients", invoice,
                                    f'F{year}-'),
                                'out_credit_note_sequence': sequence(
                                    "Avoirs clients", invoice, f'A{year}-'),
                                'in_invoice_sequence': sequence(
                                    "Factures fournisseurs", invoice,
                                    f'FF{year}-'),
                                'in_credit_note_sequence': sequence(
                                    "Avoirs fournisseurs", invoice,
                                    f'AF{year}-'),
                                }])],
                }])
    FiscalYear.create_period([fiscalyear])


def _exempt(company, accounts, name):
    from trytond.pool import Pool
    Tax = Pool().get('account.tax')
    tax, = Tax.create([{
                'name': name,
                'description': name,
                'legal_notice': name,
                'company': company.id,
                'type': 'percentage',
                'rate': Decimal(0),
                'invoice_account': accounts['44571'].id,
                'credit_note_account': accounts['44571'].id,
                'unece_code': 'VAT',
                'unece_category_code': 'E',
                }])
    return tax


def _products(company, accounts):
    from trytond.pool import Pool
    pool = Pool()
    Category = pool.get('product.category')
    Configuration = pool.get('product.configuration')
    Tax = pool.get('account.tax')

    def tax(direction, kind, name):
        tax, = Tax.search([
                ('company', '=', company.id),
                ('name', '=', f"T.V.A. {direction} de {kind} {name}"),
                ])
        return tax

    def category(code, name, french, revenue, expense, sale, purchase):
        category, = Category.create([{
                    'name': name,
                    'code': code,
                    'accounting': True,
                    'account_revenue': accounts[revenue].id,
                    'account_expense': accounts[expense].id,
                    'customer_taxes': [('add', [sale.id])],
                    'supplier_taxes': [('add', [purchase.id])],
                    }])
        _translate(category, 'name', french)

    franchise = _exempt(company, accounts, FRANCHISE)
    association = _exempt(company, accounts, ASSOCIATION)
    for code, (name, french, kind, revenue, expense) in KINDS.items():
        for rate, tax_name in TAXES.items():
            category(
                f'{code}-{rate}', f"{name} {rate}%",
                f"{french} {rate.replace('.', ',')} %", revenue, expense,
                tax('Vente', kind, tax_name), tax('Achat', kind, tax_name))
        category(
            f'{code}-0', f"{name} without VAT", f"{french} sans TVA",
            revenue, expense, franchise, franchise)
    category(
        'fee', "Membership Fees", "Cotisations", '7561', '6281',
        association, association)

    configuration = Configuration(1)
    # Without it a promised date would be lost
    configuration.default_lead_time = dt.timedelta()
    configuration.save()


def personalise(instances):
    """Make the copied databases those of their companies, and return for
    each the id of its company.

    instances is a list of dictionaries: path (the copy of a template),
    company, language, password of the administrator, and the optional siren,
    siret, vat_number, street, postal_code, city, country, email, phone,
    website, iban, bic and users."""
    return _each(instances, _personalise)


def add_users(path, users):
    """Create the users in the database at path and return their ids.

    users is a list of dictionaries: login, name, password, the optional
    language and groups, a list of XML ids such as sale.group_sale."""
    result, = _each(
        [{'path': path, 'users': users}], lambda v: _users(v['users']))
    return result


def _each(instances, function):
    folder = Path(instances[0]['path']).parent
    results = []
    with tempfile.TemporaryDirectory(
            prefix='.personalise-', dir=folder) as work:
        path = Path(work) / f'{NAME}.sqlite'
        connect(path)
        from trytond.cache import Cache
        from trytond.pool import Pool
        for values in instances:
            # Under one name, so that the classes are loaded once for all
            os.link(values['path'], path)
            if not results:
                Pool.start()
                Pool(NAME).init()
            Cache.drop(NAME)
            results.append(_transaction(function, values))
            _checkpoint(path)
            path.unlink()
    return results


def _checkpoint(path):
    connection = sqlite3.connect(path)
    connection.execute('PRAGMA wal_checkpoint(TRUNCATE)')
    connection.close()


def _personalise(values):
    from trytond.pool import Pool
    from trytond.transaction import Transaction
    pool = Pool()
    Company = pool.get('company.company')
    User = pool.get('res.user')
    _forget_sessions()
    company, = Company.search([])
    language = _language(values.get('language', 'fr'))
    admin = User(1)
    admin.password = values['password']
    admin.language = language
    admin.save()
    with Transaction().set_context(company=company.id):
        _party(company.party, values, language)
        # What is printed for those who say no other language
        configuration = pool.get('party.configuration')(1)
        configuration.party_lang = language
        configuration.save()
        if values.get('iban'):
            _bank_account(company, values)
        _users(values.get('users') or [])
    return company.id


def _forget_sessions():
    from trytond.pool import Pool
    pool = Pool()
    for name in SESSIONS:
        try:
            Model = pool.get(name)
        except KeyError:
            continue
        Model.delete(Model.search([]))


def _language(code):
    from trytond.pool import Pool
    Lang = Pool().get('ir.lang')
    language, = Lang.search([('code', '=', code)])
    return language


def _party(party, values, language):
    from trytond.pool import Pool
    pool = Pool()
    Address = pool.get('party.address')
    ContactMechanism = pool.get('party.contact_mechanism')
    Country = pool.get('country.country')
    Identifier = pool.get('party.identifier')
    party.name = values['company']
    party.lang = language
    party.save()
    country = None
    if code := values.get('country'):
        country, = Country.search([('code', '=', code)])
    # party makes no address by itself
    address, = party.addresses or [Address(party=party)]
    address.street = values.get('street')
    address.postal_code = values.get('postal_code')
    address.city = values.get('city')
    address.country = country
    address.save()
    for type, name in [
            ('fr_siren', 'siren'), ('fr_siret', 'siret'),
            ('eu_vat', 'vat_number')]:
        if values.get(name):
            identifier = Identifier(
                party=party, type=type, code=values[name])
            if type == 'fr_siret':
                identifier.address = address
            identifier.save()
    for type in ['email', 'phone', 'website']:
        if values.get(type):
            ContactMechanism(
                party=party, type=type, value=values[type]).save()


def _bank_account(company, values):
    from trytond.pool import Pool
    pool = Pool()
    try:
        Account = pool.get('bank.account')
        Journal = pool.get('account.statement.journal')
    except KeyError:
        return
    account = Account(
        owners=[company.party], currency=company.currency,
        numbers=[{'type': 'iban', 'number': values['iban']}])
    account.save()
    journals = Journal.search([('company', '=', company.id)])
    Journal.write(journals, {'bank_account': account.id})


def _users(users):
    from trytond.pool import Pool
    from trytond.transaction import Transaction
    pool = Pool()
    Company = pool.get('company.company')
    Employee = pool.get('company.employee')
    Party = pool.get('party.party')
    User = pool.get('res.user')
    company, = Company.search([], limit=1)
    result = []
    with Transaction().set_context(company=company.id):
        for values in users:
            language = _language(values.get('language', 'fr'))
            party = Party(name=values['name'], lang=language)
            party.save()
            employee = Employee(party=party, company=company)
            employee.save()
            user = User(
                name=values['name'],
                login=values['login'],
                password=values['password'],
                language=language,
                companies=[company],
                company=company,
                employees=[employee],
                employee=employee,
                groups=[
                    _ref(g, 'res.group') for g in values.get('groups', [])])
            user.save()
            result.append(user.id)
    return result


ACTIONS = {
    'build': build,
    'install': install,
    'adopt': adopt,
    'upgrade': upgrade,
    'personalise': personalise,
    'users': add_users,
    }


def main():
    "Do the job of the standard input"
    job = json.load(sys.stdin)
    # The result alone goes to the standard output
    output, sys.stdout = sys.stdout, sys.stderr
    from trytond.exceptions import TrytonException
    try:
        answer = {'result': ACTIONS[job.pop('action')](**job)}
    except TrytonException as exception:
        answer = {'error': getattr(exception, 'message', str(exception))}
    json.dump(answer, output)


if __name__ == '__main__':
    main()
