# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""A trust party on PostgreSQL, served by several processes.

``python -m tests.faults.log_party DATABASE`` opens its log and makes the
community known whose public key is on the standard input, and prints the
verifier key of the log."""
import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
from pathlib import Path

from cryptography.fernet import Fernet

from tests.scenarios.postgresql import Backend
from trycoton.command import instance, template
from trycoton.command.demo.world import free_port
from trycoton.command.server import Server

NAME = 'trust'
IDENTIFIER = '0225:833555675'


class TrustParty:
    "The processes of a trust party, each with its configuration"

    def __init__(self, folder, server, community, processes=2, **options):
        self.folder = Path(folder)
        self.mirror = self.folder / 'mirror'
        self.mirror.mkdir()
        Backend(server).make(folder, NAME, 'trust', {
                'company': NAME, 'password': secrets.token_urlsafe()})
        options.setdefault('log_mirror', str(self.mirror))
        key = Fernet.generate_key().decode()
        self.servers = [
            self._configure(server.uri, self.folder / str(i), key, options)
            for i in range(processes)]
        process = subprocess.run(
            [sys.executable, '-m', 'tests.faults.log_party', NAME],
            input=json.dumps(community), text=True, check=True,
            env=template.environment(TRYTOND_CONFIG=str(
                    self.servers[0].instance.config_path)),
            stdout=subprocess.PIPE)
        self.vkey = process.stdout.strip()

    def _configure(self, uri, folder, key, options):
        made = instance.Instance(folder, NAME)
        made.path.mkdir(parents=True)
        instance._write_config(made, instance.Specification(
                name=NAME, role='trust', company=NAME, port=free_port(),
                local=True))
        config = made.config
        config['database'].update(uri=uri, path=str(self.folder))
        config['cooperative'].update({**options, 'key': key})
        with open(made.config_path, 'w', encoding='utf-8') as file:
            config.write(file)
        return Server(folder, NAME)

    @property
    def ports(self):
        return [s.instance.port for s in self.servers]

    def start(self):
        for server in self.servers:
            server.start()
        for server in self.servers:
            server.wait_ready()

    def stop(self):
        for server in self.servers:
            server.stop()

    def kill(self, server):
        "Kill the processes of the server by -9"
        for process in server.processes.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        server.stop()

    @property
    def published(self):
        "The folder of the mirror of the log"
        folder, = [p for p in self.mirror.iterdir() if p.is_dir()]
        return folder


def open_log(database, identifier, key):
    """Open the log in the database, whose pool is there, make the community
    of that key (JWK) known, and return the verifier key of the log"""
    from trytond.pool import Pool
    from trytond.transaction import Transaction

    from cooperative_trust.tests.tools import now
    from trycoton.protocol.directory import Legal, Participant, PublishedKey
    from trycoton.protocol.signature import PublicKey
    pool = Pool(database)
    with Transaction().start(database, 0) as transaction:
        Company = pool.get('company.company')
        Identity = pool.get('cooperative.edi.identity')
        Log = pool.get('cooperative.trust.log')
        Peer = pool.get('cooperative.edi.peer')
        company, = Company.search([])
        with transaction.set_context(company=company.id):
            identity = Identity(
                company=company, identifier=IDENTIFIER, kind='trust-party')
            identity.save()
            identity.generate_keys()
            log = Log(company=company, origin='example.org/trust')
            log.save()
            Log.open([log])
            Peer.update_from(company.id, Participant(
                    identifier=identifier, name="Community",
                    kind='community', keys=(PublishedKey(
                            key=PublicKey.from_jwk(key), valid_from=now()),),
                    legal=Legal(country='FR')))
        vkey = log.vkey
        transaction.commit()
    return vkey


def main():
    from trytond.pool import Pool
    database, = sys.argv[1:]
    Pool.start()
    Pool(database).init()
    print(open_log(database, *json.load(sys.stdin)))


if __name__ == '__main__':
    main()
