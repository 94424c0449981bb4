# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The web client in Chromium, as a person uses it."""
import json
import subprocess
from pathlib import Path

from . import clients

SIZE = 1360, 768
_MENU = '#menu .treeview td'
_TAB = '#tabcontent > .tab-pane'


class BrowserError(Exception):
    "Chromium did not do what was asked"


class Web:
    """The web client of the running instance, in a browser of its own.

    Raise BrowserError when something is not found in time."""

    def __init__(self, driver):
        self._expanded = set()
        self._process = subprocess.Popen(
            [
                'node', str(Path(__file__).with_name('browser.js')),
                str(driver), clients.chromium(), *map(str, SIZE)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def _do(self, name, **arguments):
        try:
            self._process.stdin.write(
                json.dumps({'name': name, 'arguments': arguments}) + '\n')
            self._process.stdin.flush()
            answer = json.loads(self._process.stdout.readline())
        except (OSError, ValueError):
            raise BrowserError("the browser ended") from None
        if error := answer.get('error'):
            raise BrowserError(f"{name} {arguments}: {error}")
        return answer['value']

    def login(self, instance, login, password):
        self._do('open', url=instance.url)
        self._do('wait', selector='#login')
        # The list of the databases comes after the dialog
        self._do('sleep', seconds=2)
        self._do('fill', selector='#login', text=login)
        self._do('click', selector='.login-dialog button[type=submit]')
        self._do('wait', selector='input[type=password]')
        self._do('fill', selector='input[type=password]', text=password)
        self._do('press', key='Enter')
        self._do('wait', selector=_MENU)
        self._do('rest')

    def expand(self, *names):
        "Expand the menus, each inside the one before"
        for i, name in enumerate(names):
            if names[:i + 1] not in self._expanded:
                self._do(
                    'click', selector=_MENU, text=name,
                    nth=names[:i].count(name))
                self._do('rest')
                self._expanded.add(names[:i + 1])

    def has_menu(self, *names):
        "Tell if the person may open the last of the menus"
        *parents, name = names
        if parents and not self.has_menu(*parents):
            return False
        self.expand(*parents)
        return self._do(
            'has', selector=_MENU, text=name, nth=parents.count(name))

    def menu(self, *names):
        "Open the last of the menus, each inside the one before"
        *parents, name = names
        self.expand(*parents)
        count = self._do('count', selector=_TAB)
        self._do(
            'click', selector=_MENU, text=name, nth=parents.count(name),
            double=True)
        self._do('more', selector=_TAB, count=count)
        self._do('rest')

    def part(self, name):
        "Turn to this part of the list"
        self._do('click', selector=f'{_TAB}.active .tab-domain a', text=name)
        self._do('rest')

    def page(self, name):
        "Turn to the page of the form"
        self._do('click', selector=f'{_TAB}.active .nav-tabs a', text=name)
        self._do('rest')

    def row(self, text):
        "Open the record of the list with the text in a cell"
        self._do(
            'click', selector=f'{_TAB}.active .treeview td', text=text,
            double=True)
        self._do('wait', selector=f'{_TAB}.active .form-container')
        self._do('rest')

    def look(self):
        "Return the texts that are visible"
        return self._do('look')

    def errors(self):
        "Return the errors of the scripts of the page"
        return self._do('errors')

    def screenshot(self, path):
        self._do('screenshot', path=str(path))

    def close(self):
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
