# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Build the image and run it, with Podman, on a base made by debootstrap"""
import http.client
import os
import shutil
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

from ..postgresql import find_programs
from ..test_docker import DOCKER, ROOT, Host, free_port, skip

BASE = 'localhost/trycoton-base'
IMAGE = 'localhost/trycoton-test'
# The default ones may be above those of this machine
LIMITS = ['--ulimit', 'nofile=1024:1024', '--ulimit', 'nproc=1024:1024']
# Less than what python -m tests gives to a file
END = time.monotonic() + 12 * 60


class Unavailable(Exception):
    "Why there is no container here"


def left():
    "Return the seconds that are left for all this"
    return max(END - time.monotonic(), 30)


def podman(*args, **options):
    "Run the command of podman and return what it tells"
    command = ['podman']
    if shutil.which('runc'):
        # crun refuses the mixed control groups of some machines
        command += ['--runtime', 'runc']
    try:
        process = subprocess.run(
            [*command, *map(str, args)], timeout=left(), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            stdin=options.pop('stdin', subprocess.DEVNULL), **options)
    except subprocess.TimeoutExpired:
        raise Unavailable(f"podman {args[0]}: too slow") from None
    if process.returncode:
        raise Unavailable(f"podman {args[0]}: {process.stdout[-2000:]}")
    return process.stdout.strip()


def mirror():
    "Return the release and the address of Debian that this machine uses"
    targets = subprocess.run([
            'apt-get', 'indextargets', '--format', '$(RELEASE) $(REPO_URI)',
            'Created-By: Packages'],
        check=True, stdout=subprocess.PIPE, text=True).stdout
    for line in targets.splitlines():
        release, _, address = line.partition(' ')
        if '-' not in release:
            return release, address
    raise Unavailable("apt knows no release of Debian")


def make_base():
    "Make the base image, once"
    try:
        podman('image', 'exists', BASE)
        return
    except Unavailable:
        pass
    for program in ['debootstrap', 'apt-get']:
        if not shutil.which(program):
            raise Unavailable(f"{program} is absent")
    if os.geteuid():
        raise Unavailable("debootstrap wants root")
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.run([
                'debootstrap', '--variant=minbase',
                '--include=ca-certificates,python3,python3-venv',
                mirror()[0], folder, mirror()[1]],
            timeout=left(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True)
        if process.returncode:
            raise Unavailable(f"debootstrap: {process.stdout[-2000:]}")
        tar = subprocess.Popen(
            ['tar', '-C', folder, '-c', '.'], stdout=subprocess.PIPE)
        podman('import', '-q', '-', BASE, stdin=tar.stdout)
        tar.stdout.close()
        if tar.wait():
            raise Unavailable("tar failed")


def build():
    "Build the image"
    # pip inside asks where pip outside does
    mounts = []
    for path in ['/etc/pip.conf', '/etc/ssl/certs']:
        if Path(path).exists():
            mounts += ['-v', f'{path}:{path}:ro']
    podman(
        'build', *LIMITS, *mounts, '--format', 'docker', '--network', 'host',
        '--build-arg', f'BASE={BASE}', '-t', IMAGE,
        '-f', DOCKER / 'Dockerfile', ROOT)


class ImageTestCase(unittest.TestCase):
    "Run a trust party in a container, without root and on a closed system"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        try:
            if not shutil.which('podman'):
                raise Unavailable("podman is absent")
            make_base()
            # Some machines allow no container
            podman('run', '--rm', *LIMITS, '--network', 'host', BASE, 'true')
        except (Unavailable, subprocess.TimeoutExpired) as exception:
            skip(f"THE IMAGE IS NOT TESTED: {exception}")
        build()

    def run_(self, *args, **options):
        return podman(
            'run', *LIMITS, '--network', 'host', '--read-only',
            '--read-only-tmpfs=false',
            '--cap-drop', 'all', '--security-opt', 'no-new-privileges',
            '--tmpfs', '/tmp:mode=1777',
            *args, **options)

    def test_closed(self):
        "The image holds neither pip nor the tests nor a secret"
        found = self.run_(
            '--rm', '--entrypoint', 'python3', IMAGE, '-c',
            'import importlib.util as u, os\n'
            'print(os.getuid(), os.getgid())\n'
            'print(bool(u.find_spec("pip")), bool(u.find_spec("trycoton")))\n'
            'print(os.path.exists("/build"), os.listdir("/run/secrets")\n'
            '    if os.path.exists("/run/secrets") else [])')
        # podman complains that systemd is not there
        self.assertEqual(
            found.splitlines()[-3:], ['10001 10001', 'False True', 'False []'])

    def test_help(self):
        with self.assertRaises(Unavailable) as context:
            self.run_('--rm', IMAGE, 'server')
        self.assertIn("TRYCOTON_NAME is not set", str(context.exception))

    def test_server(self):
        "The server makes its database, answers, and is stopped at once"
        if not (programs := find_programs()):
            self.skipTest("POSTGRESQL IS ABSENT")
        host = Host(programs)
        self.addCleanup(host.stop)
        host.start()
        port = free_port()
        name = f'trycoton-test-{port}'
        environment = {
            'name': 'trust', 'role': 'trust', 'company': "Tiers",
            'database': f'127.0.0.1:{host.server.port}',
            'listen': f'127.0.0.1:{port}'}
        variables = []
        for variable, value in environment.items():
            variables += ['-e', f'TRYCOTON_{variable.upper()}={value}']
        self.addCleanup(podman, 'rm', '-f', '-v', '-i', name)
        self.run_(
            '-d', '--name', name, *variables,
            '--tmpfs', '/run/trycoton:mode=1777',
            '-v', f'{host.secrets}:/run/secrets:ro', IMAGE)
        while True:
            try:
                podman('healthcheck', 'run', name)
                break
            except Unavailable as exception:
                running = podman(
                    'inspect', '--format', '{{.State.Running}}', name)
                if running != 'true' or left() <= 30:
                    raise AssertionError(
                        podman('logs', name)) from exception
            time.sleep(2)
        connection = http.client.HTTPConnection('127.0.0.1', port, timeout=30)
        self.addCleanup(connection.close)
        connection.request('POST', '/rpc/',
            '{"id": 0, "method": "common.server.version", "params": []}',
            {'Content-Type': 'application/json'})
        self.assertIn(b'8.0', connection.getresponse().read())
        self.assertEqual(
            host.query('SELECT name FROM party_party ORDER BY id LIMIT 1'),
            [("Tiers",)])
        begin = time.monotonic()
        podman('stop', '-t', '30', name)
        self.assertLess(time.monotonic() - begin, 25)
