# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The container files as they are written, and what they run, without any
container: the entry point on a PostgreSQL server of our own, behind nginx"""
import http.client
import http.server
import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import types
import unittest
from pathlib import Path

from .postgresql import Postgres, find_programs

ROOT = Path(__file__).resolve().parent.parent
DOCKER = ROOT / 'docker'
TIMEOUT = 10 * 60


def skip(reason):
    "Skip the tests of the class, and say it aloud"
    print(f"\n*** {reason} ***", file=sys.stderr)
    raise unittest.SkipTest(reason)


class ComposeTestCase(unittest.TestCase):
    "Check the compose file against the rules that it must keep"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if not importlib.util.find_spec('yaml'):
            skip("THE COMPOSE FILE IS NOT TESTED: PYYAML IS ABSENT")
        import yaml
        cls.compose = yaml.safe_load(
            (DOCKER / 'compose.yaml').read_text(encoding='utf-8'))
        cls.services = cls.compose['services']

    def each(self):
        for name, service in self.services.items():
            with self.subTest(service=name):
                yield name, service

    def programs(self):
        return {n: s for n, s in self.services.items()
            if s['image'] == 'trycoton'}

    def test_unprivileged(self):
        "No container is root nor gets more than it needs"
        for name, service in self.each():
            user = str(service.get('user', 'root')).partition(':')[0]
            self.assertNotIn(user, {'root', '0', ''})
            self.assertEqual(service['cap_drop'], ['ALL'])
            self.assertNotIn('cap_add', service)
            self.assertNotIn('privileged', service)
            self.assertIn('no-new-privileges:true', service['security_opt'])
            self.assertIs(service['read_only'], True)
            for limit in ['mem_limit', 'cpus', 'pids_limit']:
                self.assertTrue(service[limit])

    def test_lasting(self):
        "Each container that stays is restarted and has a health check"
        for name, service in self.each():
            if service['restart'] == 'no':
                continue
            self.assertEqual(service['restart'], 'unless-stopped')
            self.assertTrue(service['healthcheck']['test'])

    def test_programs(self):
        "Each instance has a server, a worker and a cron, with one database"
        roles = []
        for name, service in self.programs().items():
            with self.subTest(service=name):
                program, = service['command']
                instance, _, suffix = name.partition('-')
                self.assertEqual(suffix or 'server', program)
                environment = service['environment']
                self.assertEqual(environment['TRYCOTON_NAME'], instance)
                if program == 'server':
                    roles.append(environment['TRYCOTON_ROLE'])
                    self.assertIn(f'{instance}-worker', self.services)
                    self.assertIn(f'{instance}-cron', self.services)
                else:
                    self.assertEqual(
                        environment, self.services[instance]['environment'])
        self.assertEqual(
            sorted(roles), ['actor', 'actor', 'community', 'trust'])

    def test_variables(self):
        "No variable is made of itself, which podman-compose would do twice"
        for name, service in self.each():
            for variable, value in service.get('environment', {}).items():
                self.assertNotIn(variable, re.findall(r'\$\{(\w+)', value))

    def test_secrets(self):
        "Secrets are files, and each container gets only its own"
        for name, service in self.each():
            for variable, value in service.get('environment', {}).items():
                if re.search('PASSWORD|SECRET|KEY|ADMIN', variable):
                    self.assertRegex(variable, '_FILE$')
                    self.assertRegex(value, '^/run/secrets/')
            self.assertNotIn('env_file', service)
            for secret in service.get('secrets', []):
                if isinstance(secret, dict):
                    instance = name.partition('-')[0]
                    self.assertEqual(
                        secret['source'], f"{instance}_{secret['target']}")
                    self.assertIn(secret['source'], self.compose['secrets'])
                else:
                    self.assertIn(secret, self.compose['secrets'])
        for name, secret in self.compose['secrets'].items():
            self.assertEqual(secret, {'file': f'./secrets/{name}'})
        databases = set(self.services['databases']['secrets'])
        self.assertEqual(
            databases, {'postgres'} | {f'{n}_database'
                for n in self.programs() if '-' not in n})

    def test_networks(self):
        "Only the proxy is published, and nothing reaches the databases"
        self.assertIs(
            self.compose['networks']['databases']['internal'], True)
        for name, service in self.each():
            self.assertNotIn('network_mode', service)
            if name != 'proxy':
                self.assertNotIn('ports', service)
            if name in {'postgres', 'databases'}:
                self.assertEqual(service['networks'], ['databases'])
        self.assertNotIn('databases', self.services['proxy']['networks'])
        port, = self.services['proxy']['ports']
        self.assertIn('127.0.0.1', port)

    def test_references(self):
        "What is mounted, built and named is there"
        volumes = set()
        for name, service in self.each():
            for volume in service.get('volumes', []):
                source, _, rest = volume.partition(':')
                if source.startswith('.'):
                    self.assertTrue((DOCKER / source).exists(), source)
                    self.assertRegex(rest, ':ro$')
                else:
                    volumes.add(source)
            for other in service.get('depends_on', {}):
                self.assertIn(other, self.services)
            if build := service.get('build'):
                context = (DOCKER / build['context']).resolve()
                self.assertEqual(context, ROOT)
                self.assertTrue((context / build['dockerfile']).exists())
        self.assertEqual(volumes, set(self.compose['volumes']))

    def test_proxied(self):
        "The proxy knows each instance"
        text = (DOCKER / 'instances.conf').read_text()
        proxied = dict(re.findall(r'^(\w+)\s+([\w:]+);', text, re.MULTILINE))
        proxied.pop('rpc')
        self.assertEqual(
            proxied,
            {n: f'{n}:8000' for n in self.programs() if '-' not in n})


class DockerfileTestCase(unittest.TestCase):
    "Check what the image is made of"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        text = (DOCKER / 'Dockerfile').read_text(encoding='utf-8')
        text = re.sub(r'^#.*\n', '', text, flags=re.MULTILINE)
        text = re.sub(r'\\\n\s*', '', text)
        cls.steps = [
            line.split(None, 1) for line in text.splitlines() if line]

    def test_unprivileged(self):
        last = [v for k, v in self.steps if k == 'USER'][-1]
        self.assertRegex(last, r'^[1-9]\d{3,}:[1-9]\d{3,}$')

    def test_context(self):
        "What is copied is in the context, where no secret is"
        ignore = (ROOT / '.dockerignore').read_text().splitlines()
        self.assertIn('*', ignore)
        allowed = {i[1:] for i in ignore if i.startswith('!')}
        for keyword, value in self.steps:
            if keyword == 'COPY' and not value.startswith('--from'):
                for source in value.split()[:-1]:
                    self.assertTrue((ROOT / source).exists(), source)
                    self.assertIn(source, allowed)

    def test_no_secret(self):
        for keyword, value in self.steps:
            if keyword in {'ARG', 'ENV'}:
                self.assertNotRegex(value, r'(?i)password|secret|_key|token')

    def test_health(self):
        self.assertIn('HEALTHCHECK', [k for k, _ in self.steps])


class ProxyTestCase(unittest.TestCase):
    "Check that the proxy lets pass what the routes accept, and no more"

    def size(self, pattern):
        text = (DOCKER / 'nginx.conf').read_text()
        block = text[text.index(f'location ~ {pattern} '):]
        return int(re.search(
                r'client_max_body_size (\d+)m;', block).group(1)) * 2 ** 20

    def test_message(self):
        from trycoton.protocol.envelope import MAX_SIZE
        self.assertEqual(
            self.size('^/[a-z][a-z0-9_]*/cooperative/'), MAX_SIZE)

    def test_directory(self):
        source = (
            ROOT / 'modules' / 'cooperative_trust' / 'routes.py').read_text()
        factors = re.search(r'^DIRECTORY_MAX = (.*)$', source, re.MULTILINE)
        size = 1
        for factor in factors.group(1).split('*'):
            size *= int(factor)
        self.assertEqual(
            self.size(
                '^/[a-z][a-z0-9_]*/cooperative/trust/directories$'), size)


def free_port():
    with socket.socket() as sock:
        sock.bind(('127.0.0.1', 0))
        return sock.getsockname()[1]


class Host:
    "The secrets and the empty database of a trust party"

    def __init__(self, programs):
        self.programs = programs
        self.folder = Path(tempfile.mkdtemp(prefix='docker-'))
        # The user of a container passes
        self.folder.chmod(0o755)
        self.server = Postgres(programs)

    def start(self):
        self.server.start()
        # As in the container, all but the superuser of the tests give a
        # password
        (self.server.folder / 'data' / 'pg_hba.conf').write_text(
            f'host all {self.server.user} 127.0.0.1/32 trust\n'
            'host all all 127.0.0.1/32 scram-sha-256\n')
        self.server.process.send_signal(signal.SIGHUP)
        self.make_secrets()
        self.secrets = self.mounted()
        self.make_databases()

    def stop(self):
        self.server.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def make_secrets(self):
        subprocess.run(
            [DOCKER / 'secrets.sh', 'trust'], check=True,
            stdout=subprocess.DEVNULL,
            env=dict(os.environ, TRYCOTON_FOLDER=str(self.folder)))

    def mounted(self, **values):
        "Return a folder of the secrets as one container sees them"
        folder = Path(tempfile.mkdtemp(dir=self.folder, prefix='secrets-'))
        folder.chmod(0o755)
        for name in ['database', 'admin', 'key']:
            text = values.get(name, (
                    self.folder / 'secrets' / f'trust_{name}').read_text())
            if text is not None:
                (folder / name).write_text(text)
        return folder

    def make_databases(self):
        secrets = Path(tempfile.mkdtemp(dir=self.folder, prefix='databases-'))
        shutil.copy(self.folder / 'secrets' / 'trust_database', secrets)
        path = os.pathsep.join([str(self.programs), os.environ['PATH']])
        subprocess.run(
            [DOCKER / 'databases.sh'], check=True, stdout=subprocess.DEVNULL,
            env=dict(os.environ, PATH=path, TRYCOTON_SECRETS=str(secrets),
                PGHOST='127.0.0.1', PGPORT=str(self.server.port),
                PGUSER=self.server.user))

    def query(self, text, *args):
        "Return the rows of the statement in the database"
        import psycopg
        with psycopg.connect(
                host='127.0.0.1', port=self.server.port, dbname='trust',
                user=self.server.user, autocommit=True) as connection:
            cursor = connection.execute(text, args)
            return cursor.fetchall() if cursor.description else None


class Container:
    "A program of the entry point, with folders in the place of mounts"

    def __init__(self, host, program, port=None, **variables):
        self.program = program
        self.run = Path(tempfile.mkdtemp(dir=host.folder, prefix='run-'))
        self.env = {
            k: v for k, v in os.environ.items()
            if not k.startswith(('TRYTON', 'TRYCOTON'))}
        self.env['PYTHONPATH'] = os.pathsep.join(filter(None, [
                    str(ROOT), str(ROOT / 'modules'),
                    os.environ.get('PYTHONPATH')]))
        variables = {
            'name': 'trust',
            'role': 'trust',
            'company': "Tiers de confiance",
            'siren': '732 829 320',
            'city': "Liège",
            'secrets': host.secrets,
            'run': self.run,
            'data': host.folder,
            'database': f'127.0.0.1:{host.server.port}',
            'listen': f'127.0.0.1:{port}',
            'url': 'https://example.org/trust/cooperative',
            'proxies': 1,
            'wait': 5,
            'wait_ready': 5,
            **variables}
        for name, value in variables.items():
            self.env[f'TRYCOTON_{name.upper()}'] = str(value)

    def command(self, program):
        return [sys.executable, str(DOCKER / 'entrypoint.py'), program]

    def start(self):
        self.log = self.run / 'log'
        with open(self.log, 'wb') as log:
            self.process = subprocess.Popen(
                self.command(self.program), env=self.env, stdout=log,
                stderr=log, stdin=subprocess.DEVNULL)
        return self

    def health(self):
        "Return the exit status and the output of the health check"
        process = subprocess.run(
            self.command('health'), env=self.env, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return process.returncode, process.stdout

    def wait_healthy(self):
        limit = time.monotonic() + TIMEOUT
        while self.health()[0]:
            if self.process.poll() is not None or time.monotonic() > limit:
                raise AssertionError(self.log.read_text())
            time.sleep(2)
        return self

    def stop(self):
        "Stop it as a container is stopped, and return its exit status"
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def fail(self):
        "Run a program that cannot start; return its status and output"
        process = subprocess.run(
            self.command(self.program), env=self.env, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
        return process.returncode, process.stdout

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()


class EntrypointTestCase(unittest.TestCase):
    "Start the programs of a trust party"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        programs = find_programs()
        for missing, found in [
                ("POSTGRESQL", programs),
                ("PSYCOPG", importlib.util.find_spec('psycopg'))]:
            if not found:
                skip(f"THE ENTRY POINT IS NOT TESTED: {missing} IS ABSENT")
        cls.host = Host(programs)
        cls.host.start()
        cls.addClassCleanup(cls.host.stop)
        cls.port = free_port()
        with Container(cls.host, 'server', cls.port) as container:
            container.wait_healthy()
            cls.first_log = container.log.read_text()

    def query(self, *args):
        return self.host.query(*args)

    def company(self):
        return self.query(
            'SELECT party.name, identifier.code '
            'FROM company_company AS company '
            'JOIN party_party AS party ON party.id = company.party '
            'JOIN party_identifier AS identifier '
            'ON identifier.party = party.id')

    def client(self, port, password=None):
        from trycoton.command.client import Client
        if password is None:
            password = (self.host.secrets / 'admin').read_text().strip()
        client = Client(
            types.SimpleNamespace(
                name='trust', rpc_url=f'http://127.0.0.1:{port}/trust/rpc/'),
            'admin', password)
        self.addCleanup(client.close)
        return client

    def get(self, port, path, method='GET', body=None, headers={}):
        connection = http.client.HTTPConnection('127.0.0.1', port, timeout=30)
        self.addCleanup(connection.close)
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        response.body = response.read()
        return response

    def test_made(self):
        "The first start makes the database of the company"
        self.assertIn("making the database trust", self.first_log)
        self.assertIn(("Tiers de confiance", '732 829 320'), self.company())
        self.assertEqual(
            self.query('SELECT lang.code FROM res_user JOIN ir_lang AS lang '
                'ON lang.id = res_user.language WHERE login = %s', 'admin'),
            [('fr',)])
        states = dict(self.query(
                'SELECT name, state FROM ir_module WHERE name IN (%s, %s)',
                'cooperative_trust', 'sale'))
        self.assertEqual(states.pop('cooperative_trust'), 'activated')
        self.assertNotIn('activated', states.values())
        for secret in self.host.secrets.iterdir():
            self.assertNotIn(secret.read_text().strip(), self.first_log)

    def test_again(self):
        "A second start keeps everything and needs no administrator"
        secrets = self.host.mounted(admin=None)
        with Container(
                self.host, 'server', self.port, secrets=secrets,
                company="Another") as container:
            container.wait_healthy()
            log = container.log.read_text()
            self.assertEqual(
                (container.run / 'trytond.conf').stat().st_mode & 0o777,
                0o600)
            self.assertEqual(
                [u.login for u in self.client(self.port).find('res.user',
                        ('login', '=', 'admin'))], ['admin'])
            self.assertEqual(container.stop(), 0)
            status, output = container.health()
            self.assertEqual(status, 1)
            self.assertIn("does not answer", output)
        self.assertNotIn("making", log)
        self.assertNotIn("bringing", log)
        self.assertIn(("Tiers de confiance", '732 829 320'), self.company())

    def test_upgrade(self):
        "After a change of version the modules are updated, once"
        version = self.version()
        self.query("COMMENT ON TABLE ir_module IS 'older'")
        status, output = Container(self.host, 'worker', wait_ready=0).fail()
        self.assertEqual(status, 78)
        self.assertIn("not brought to this version", output)
        with Container(self.host, 'server', self.port) as container:
            container.wait_healthy()
            self.assertIn(
                "bringing the database trust", container.log.read_text())
        self.assertEqual(self.version(), version)
        self.assertIn(("Tiers de confiance", '732 829 320'), self.company())

    def version(self):
        "Return the version that a backup of the database tells"
        dump = subprocess.run([
                self.host.programs / 'pg_dump', '-h', '127.0.0.1',
                '-p', str(self.host.server.port), '-U', self.host.server.user,
                '-t', 'ir_module', '--schema-only', 'trust'],
            check=True, stdout=subprocess.PIPE, text=True).stdout
        return re.search(
            r"COMMENT ON TABLE public.ir_module IS '(\w+)'", dump).group(1)

    def test_worker(self):
        "The worker does what is queued, or is not healthy"
        self.query(
            'INSERT INTO ir_queue (name, data, enqueued_at) '
            "VALUES (%s, %s, now() AT TIME ZONE 'UTC' - interval '1 day')",
            'trust', '{"model": "cooperative.edi.message", "method": "wake", '
            '"user": 0, "context": {"_check_access": false}, '
            '"instances": null, "args": [[]], "kwargs": {}}')
        container = Container(self.host, 'worker')
        (container.run / 'program').write_text('worker')
        status, output = container.health()
        self.assertEqual(status, 1)
        self.assertIn("tasks of trust wait", output)
        with container:
            container.wait_healthy()
            self.assertFalse(self.query(
                    'SELECT id FROM ir_queue WHERE dequeued_at IS NULL'))

    def test_cron(self):
        "The cron does what is scheduled, or is not healthy"
        self.query(
            'UPDATE ir_cron SET next_call = '
            "now() AT TIME ZONE 'UTC' - interval '1 day' WHERE active")
        with Container(self.host, 'cron') as container:
            container.wait_healthy()
            self.assertTrue(self.query('SELECT id FROM ir_cron_log'))
        self.query(
            'UPDATE ir_cron SET next_call = '
            "now() AT TIME ZONE 'UTC' - interval '1 day' WHERE active")
        status, output = container.health()
        self.assertEqual(status, 1)
        self.assertIn("due since", output)

    def test_wrong_secrets(self):
        "A wrong secret is told, with the name of its file"
        for values, reason in [
                ({'database': 'other'}, "refuses the password of trust"),
                ({'database': None}, "No such file"),
                ({'database': ''}, "must hold one line"),
                ({'key': 'short'}, "is not a Fernet key"),
                ({'key': 'a\nb\n'}, "must hold one line"),
                ]:
            with self.subTest(**values):
                secrets = self.host.mounted(**values)
                container = Container(self.host, 'server', secrets=secrets)
                status, output = container.fail()
                self.assertEqual(status, 78, msg=output)
                self.assertIn(reason, output)
                name, = values
                self.assertIn(str(secrets / name), output)
                self.assertNotIn('Traceback', output)

    def test_wrong_settings(self):
        for values, reason in [
                ({'role': 'king'}, 'the role "king"'),
                ({'company': ''}, "TRYCOTON_COMPANY is not set"),
                ({'siren': '1'}, "SIREN"),
                ({'networks': '10.0.0.0/40'}, "TRYCOTON_NETWORKS"),
                ({'database': '127.0.0.1:x'}, "not a number"),
                ({'database': f'127.0.0.1:{free_port()}', 'wait': 0},
                    "does not answer"),
                ]:
            with self.subTest(**values):
                container = Container(self.host, 'server', **values)
                status, output = container.fail()
                self.assertEqual(status, 78, msg=output)
                self.assertIn(reason, output)
                self.assertNotIn('Traceback', output)

    def test_secrets(self):
        "Secrets are made once, in a folder that is closed to others"
        folder = self.host.folder / 'secrets'
        self.assertEqual(folder.stat().st_mode & 0o777, 0o700)
        before = {p.name: p.read_text() for p in folder.iterdir()}
        self.assertEqual(
            set(before),
            {'postgres', 'trust_database', 'trust_admin', 'trust_key'})
        self.assertEqual(len(set(before.values())), 4)
        self.host.make_secrets()
        self.assertEqual(
            {p.name: p.read_text() for p in folder.iterdir()}, before)

    def test_databases(self):
        "The databases are made once, and a password may change"
        import psycopg
        path = self.host.folder / 'secrets' / 'trust_database'
        old = path.read_text()
        self.addCleanup(self.host.make_databases)
        self.addCleanup(path.write_text, old)
        path.unlink()
        path.write_text("new ' \\ \"password\n")
        self.host.make_databases()
        for password, right in [
                ("new ' \\ \"password", True), (old.strip(), False)]:
            with self.subTest(right=right):
                def connect():
                    psycopg.connect(
                        host='127.0.0.1', port=self.host.server.port,
                        dbname='trust', user='trust', password=password
                        ).close()
                if right:
                    connect()
                else:
                    with self.assertRaises(psycopg.OperationalError):
                        connect()
        self.query("CREATE ROLE other LOGIN PASSWORD 'other'")
        self.addCleanup(self.query, 'DROP ROLE other')
        with self.assertRaises(psycopg.OperationalError) as context:
            psycopg.connect(
                host='127.0.0.1', port=self.host.server.port, dbname='trust',
                user='other', password='other')
        self.assertIn('permission denied', str(context.exception))

    def log(self):
        "Start a server of a log, which sends tiles as a trust party does"
        from cooperative_trust.routes import IMMUTABLE

        class Handler(http.server.BaseHTTPRequestHandler):

            def do_GET(self):
                self.send_response(200)
                self.send_header('Cache-Control', IMMUTABLE)
                self.send_header('Content-Length', '4')
                self.end_headers()
                self.wfile.write(b'tile')

            def log_message(self, *_):
                pass
        server = http.server.HTTPServer(('127.0.0.1', 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        return server.server_port

    def proxy(self):
        "Start nginx with the configuration of the container"
        program = shutil.which(
            'nginx', path=os.pathsep.join([os.environ['PATH'], '/usr/sbin']))
        if not program:
            reason = "THE PROXY IS NOT TESTED: NGINX IS ABSENT"
            print(f"\n*** {reason} ***", file=sys.stderr)
            self.skipTest(reason)
        folder = Path(tempfile.mkdtemp(dir=self.host.folder, prefix='nginx-'))
        port = free_port()
        text = (DOCKER / 'nginx.conf').read_text()
        for old, new in [
                ('/tmp/', f'{folder}/'),
                ('listen 80;', f'listen 127.0.0.1:{port};'),
                ('/dev/stdout', f'{folder}/access.log'),
                ('stderr', f'{folder}/error.log'),
                ('/srv/www', f'{folder}/www'),
                ]:
            self.assertIn(old, text)
            text = text.replace(old, new)
        if os.geteuid() == 0:
            text = f'user root;\n{text}'
        (folder / 'nginx.conf').write_text(text)
        (folder / 'instances.conf').write_text(
            f'trust 127.0.0.1:{self.port};\n'
            f'rpc 127.0.0.1:{self.port};\n'
            f'log 127.0.0.1:{self.log()};\n')
        (folder / 'www').mkdir()
        (folder / 'www' / 'index.html').write_text("the web client")
        process = subprocess.Popen([
                program, '-p', folder, '-c', folder / 'nginx.conf',
                '-e', folder / 'error.log', '-g', 'daemon off;'])
        self.addCleanup(process.wait)
        self.addCleanup(process.terminate)
        limit = time.monotonic() + 30
        while True:
            try:
                self.assertEqual(self.get(port, '/health').status, 204)
                return port
            except OSError:
                if time.monotonic() > limit or process.poll() is not None:
                    raise AssertionError((folder / 'error.log').read_text())
                time.sleep(0.1)

    def test_proxy(self):
        "Instances and clients pass the proxy, and the tiles are kept there"
        with Container(self.host, 'server', self.port) as container:
            container.wait_healthy()
            port = self.proxy()
            client = self.client(port)
            self.identify(client)
            # From now on the health check asks for the descriptor
            self.assertEqual(container.health(), (0, ''))

            base = '/trust/cooperative'
            response = self.get(port, f'{base}/edi/descriptor')
            self.assertEqual(response.status, 200)
            self.assertIn(
                b'https://example.org/trust/cooperative', response.body)
            for name, path, expected in [
                    ('tile', 'tile/0/000', ['MISS', 'HIT', 'HIT']),
                    ('checkpoint', 'checkpoint', [None] * 3),
                    ]:
                with self.subTest(name=name):
                    path = f'/log/cooperative/trust/{path}'
                    self.assertEqual([
                            self.get(port, path).headers['X-Cache']
                            for _ in range(3)], expected)
            for path, status in [
                    ('/', 200),
                    ('/other/cooperative/edi/descriptor', 404),
                    ('/trust/secret', 404),
                    ('/trust/model/party.party', 404),
                    ]:
                with self.subTest(path=path):
                    self.assertEqual(self.get(port, path).status, status)
            version = self.get(
                port, '/rpc/', 'POST',
                '{"id": 0, "method": "common.server.version", "params": []}',
                {'Content-Type': 'application/json'})
            self.assertIn(b'8.0', version.body)
            for size, status in [(5 * 2 ** 20, 401), (5 * 2 ** 20 + 1, 413)]:
                with self.subTest(size=size):
                    response = self.get(
                        port, f'{base}/edi/messages', 'POST', bytes(size))
                    self.assertEqual(response.status, status)
            # The address is the one of the caller, not what it claims
            self.get(
                port, f'{base}/edi/messages', 'POST', b'x',
                {'X-Forwarded-For': '192.0.2.1'})
            self.assertNotIn('192.0.2.1', container.log.read_text())
        status, output = Container(
            self.host, 'server', self.port, secrets=self.host.mounted(
                key='MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=')).fail()
        self.assertEqual(status, 78)
        self.assertIn("does not open the private keys of trust", output)

    def identify(self, client):
        "Make an identity with its keys, and open the log"
        identity = client.model('cooperative.edi.identity')(
            identifier='0225:732829320', kind='trust-party')
        identity.save()
        wizard = client.wizard('cooperative.edi.identity.generate', [identity])
        wizard.execute('end')
        log = client.model('cooperative.trust.log')(origin='example.org/trust')
        log.save()
        log.click('open')
