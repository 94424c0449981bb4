# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""A whole deal between separate Tryton instances, over real HTTP.

A trust party, a community, offerers and buyers, each a trytond process with a
port and a database of its own; the people in them are played by proteus.
"""
import contextlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .. import CommandError, catalogue, members, output, template
from ..client import fault_text

DATA = Path(__file__).parent / 'data'
MOST = 12
FEWEST = 12
COMMUNITY = members.Member(
    line=0, number=0, name="La Halle du Vercors", roles=(),
    kind='association', siren='901255331', vat_number='FR33901255331',
    street="1 place de la Fontaine", postal_code='26420',
    city="La Chapelle-en-Vercors", country='FR',
    email='bonjour@halle.example', phone='+33 4 75 00 00 00',
    iban='FR7630002005500000015784164')
TRUST = members.Member(
    line=0, number=0, name="Tiers de confiance des Alpes", roles=(),
    kind='company', siren='441028776', street="10 rue des Archives",
    postal_code='38000', city="Grenoble", country='FR')
INTRUDER = members.Member(
    line=0, number=0, name="Négoce Express", roles=('offerer', 'buyer'),
    kind='company', siren='612304998', street="99 zone industrielle",
    postal_code='69800', city="Saint-Priest", country='FR')


def add_arguments(parser):
    "Add the arguments of the command to the parser"
    parser.add_argument(
        '--members', metavar='FILE', default=DATA / 'members.csv',
        help="the CSV file of the members (default: an example)")
    parser.add_argument(
        '--offers', metavar='FILE', default=DATA / 'offers.csv',
        help="the CSV file of their offers (default: an example)")
    parser.add_argument(
        '--keep', metavar='DIR',
        help="leave instances, documents, evidence, log and report.json "
        "in the folder, which must be empty or new")
    parser.add_argument(
        '--serve', action='store_true',
        help="leave the instances running, to look at with a client, "
        "until interrupted")
    parser.add_argument(
        '--web-root', metavar='FOLDER', default=_web_root(),
        help="of the web client to serve, by default the one that "
        "make client has installed")
    parser.add_argument(
        '--pause', action='store_true',
        help="stop the trust party during the orders, for a while")


def _web_root():
    "Return the folder of the web client, or None"
    folders = sorted(template.cache().glob('clients/web-*/package'))
    return str(folders[-1]) if folders else None


def run(options):
    "Play the deal and return the exit status"
    started = time.monotonic()
    cast = members.read(options.members)
    sellers = {m.name: m.name for m in cast if 'offerer' in m.roles}
    sellers.update({m.siren: m.name for m in cast
            if 'offerer' in m.roles and m.siren})
    offers = catalogue.read(options.offers, sellers)
    _check_cast(cast, offers)
    with _folder(options.keep) as folder:
        return _Demonstration(options, folder, cast, offers, started).run()


def _check_cast(cast, offers):
    sellers = {o.seller for o in offers}
    if len(cast) > MOST:
        raise CommandError(
            f"the demonstration plays at most {MOST} members on one machine, "
            f"not {len(cast)}")
    if len(sellers) < 2:
        raise CommandError(
            "the demonstration needs offers of at least two offerers")
    if not any(
            o.kind == 'good' and (o.quantity is None or o.quantity >= FEWEST)
            for o in offers):
        raise CommandError(
            "the demonstration needs an offer of a good, of which there are "
            f"at least {FEWEST}")


@contextlib.contextmanager
def _folder(keep):
    if keep:
        folder = Path(keep).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise CommandError(f"the folder {keep} is not empty")
        yield folder
        return
    folder = Path(tempfile.mkdtemp(prefix='trycoton-'))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Demonstration:

    def __init__(self, options, folder, cast, offers, started):
        from .world import World
        self.options = options
        self.folder = folder
        self.offers = offers
        self.started = started
        self.world = World(
            folder, COMMUNITY, TRUST, cast, INTRUDER,
            web_root=options.web_root)

    def run(self):
        from .story import Fault, Story
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        world = self.world
        try:
            story = Story(
                world, self.offers, self.tell, self.say,
                pause=self.options.pause)
            self.tell("The instances are made")
            world.create(self.say)
            world.save_logins()
            world.start()
            for actor in world.actors:
                instance = actor.server.instance
                self.say(f"{instance.name}: {instance.company}, "
                    f"port {instance.port}")
            try:
                story.play()
            except Fault as exception:
                raise CommandError(
                    "the story stopped: " + fault_text(exception)
                    ) from exception
            report = self.keep(story)
            if not self.options.serve:
                world.stop()
            self.verify(report)
            output(self.options, report, self.conclusion(report))
            if self.options.serve:
                self.serve()
        finally:
            world.stop()
        return 0

    def keep(self, story):
        "Write what is left behind and return the report"
        from . import archive, report
        world = self.world
        self.tell("The proofs are exported")
        counts = archive.save_messages(self.folder, world)
        archive.save_directories(self.folder, world.manager)
        archive.save_applications(self.folder, world.manager)
        self.evidence = archive.save_evidence(
            self.folder, world, story.deals)
        log = archive.save_log(self.folder, world.trust, _fetch)
        self.keys = [
            (self.folder / 'log' / 'key').read_text().strip(),
            archive.community_key(world.manager)]
        value = report.make(
            world, story, counts, log, time.monotonic() - self.started)
        archive.save_report(self.folder, value)
        return value

    def verify(self, report):
        "Verify the log and the evidence, in processes without Tryton"
        from . import archive
        stopped = not self.options.serve
        self.tell("The proofs are verified"
            + (", with all servers stopped" if stopped else ""))
        archive.check_log(self.folder)
        self.say(f"log: {report['log']['size']} entries recomputed")
        with ThreadPoolExecutor(2) as executor:
            list(executor.map(self.verify_evidence, self.evidence))

    def verify_evidence(self, path):
        arguments = [
            sys.executable, '-m', 'trycoton.command.main', 'verify']
        for key in self.keys:
            arguments += ['--key', key]
        process = subprocess.run(
            [*arguments, str(path)], capture_output=True, text=True)
        if process.returncode:
            raise CommandError(
                f"{path.name} was not verified:\n{process.stdout}"
                f"{process.stderr}")
        told = re.findall(
            r'^ok .* witnessed, (\d+ of \d+) witnesses', process.stdout, re.M)
        self.say(f"{path.name}: verified" + (
                f", witnessed by {max(told)}" if told else ""))

    def conclusion(self, value):
        from . import report
        if any(float(r['difference']) for r in value['ledgers']):
            raise CommandError("the ledgers do not agree")
        text = report.text(value)
        if self.options.keep:
            text += f"\nEverything is in {self.folder}"
        return text

    def serve(self):
        for actor in self.world.actors:
            instance = actor.server.instance
            self.say(f"{instance.company}: "
                f"server 127.0.0.1:{instance.port}, "
                f"database {instance.name}, "
                f"login {actor.login}, password {actor.password}")
            if self.options.web_root:
                self.say(f"    web client: {instance.url}")
        if not self.options.web_root:
            self.say("no web client: make client installs one, with npm")
        self.tell("Press Ctrl-C to stop")
        with contextlib.suppress(KeyboardInterrupt):
            while not any(a.server.poll() for a in self.world.actors):
                time.sleep(0.5)

    def tell(self, text):
        self._print(f"\n{time.monotonic() - self.started:5.1f} s  {text}")

    def say(self, text):
        self._print(f"         {text}")

    def _print(self, text):
        file = sys.stderr if self.options.json else sys.stdout
        print(text, file=file, flush=True)


def _fetch(url):
    with urllib.request.urlopen(url, timeout=30) as response:
        return response.read()
