# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"The partner at the command line: python -m partner --help"
import argparse
import json
import time
from pathlib import Path

from . import web
from .partner import Partner
from .trade import Trader


def main():
    parser = argparse.ArgumentParser(prog='python -m partner')
    parser.add_argument('folder', type=Path, help="with party.json")
    parser.add_argument('--port', type=int, default=8099)
    parser.add_argument('--endpoint', help="by which the others reach us")
    commands = parser.add_subparsers(dest='command', required=True)
    commands.add_parser('show', help="who we are")
    commands.add_parser('serve', help="receive, answer and send")
    for name, *arguments in [
            ('add', 'url', 'fingerprint'),
            ('join', 'url', 'fingerprint'),
            ('relate', 'identifier'), ('offer', 'relation', 'number'),
            ('buy', 'relation', 'number', 'lines'),
            ('receive', 'number'), ('pay', 'number'),
            ('despatch', 'number'), ('invoice', 'number')]:
        command = commands.add_parser(name)
        for argument in arguments:
            command.add_argument(argument)
    options = parser.parse_args()
    partner, trader = load(options)
    run = {'show': show, 'serve': serve}.get(options.command)
    if run:
        run(options, partner)
        return
    values = [
        value for name, value in vars(options).items()
        if name not in {'folder', 'port', 'endpoint', 'command'}]
    if options.command == 'add':
        print(partner.add_peer(*values))
    elif options.command == 'join':
        print(partner.join(*values, roles=['buyer', 'offerer']))
    elif options.command == 'relate':
        print(partner.relate(*values))
    elif options.command == 'buy':
        trader.buy(*values[:2], json.loads(values[2]))
    else:
        getattr(trader, options.command)(*values)
    partner.post()


def load(options):
    "Return the partner of the folder and its trader"
    catalogue = options.folder / 'catalogue.json'
    trader = Trader(
        json.loads(catalogue.read_text()) if catalogue.exists() else {})
    party = json.loads((options.folder / 'party.json').read_text())
    endpoint = options.endpoint or (
        f'http://127.0.0.1:{options.port}/cooperative')
    partner = Partner(
        options.folder / 'partner.sqlite', party, endpoint)
    trader.serve(partner)
    return partner, trader


def show(options, partner):
    print(f"{partner.party['name']}: {partner.identifier}")
    print(f"address: {partner.endpoint}")
    print(f"fingerprint: {partner.fingerprint}")
    for name, relation in partner.store.all('relation').items():
        print(f"relation {name}: {relation['peer']}, {relation['state']}")
    for name, deal in partner.store.all('deal').items():
        print(f"order {name}: {deal['state']}")
    for name, alarm in partner.store.all('alarm').items():
        print(f"ALARM {name.partition(' ')[0]}: {alarm['text']}")


def serve(options, partner):
    server = web.Server(('127.0.0.1', options.port))
    server.start(partner)
    show(options, partner)
    while True:
        partner.work()
        time.sleep(1)


if __name__ == '__main__':
    main()
