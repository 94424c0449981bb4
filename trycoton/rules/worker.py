# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The process that holds the rules: one for each folder, user and host.

The rules take 400 MB once they are all loaded.  So they are not loaded in
each server, but in a process that the first to need it starts, and that ends
when nobody has needed it for a while.  It is reached by a socket in a folder
of the user.  A document that it cannot finish ends it, not who asked.
"""
import contextlib
import fcntl
import hashlib
import json
import os
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from . import CheckError, Finding

IDLE = 15 * 60
# The seconds for one document, to wait for one's turn, and to be started
DOCUMENT_MAX, ANSWER_MAX, START_MAX, CLIENT_MAX = 30, 60, 20, 5
SIZE_MAX = 16 * 2 ** 20
_size = struct.Struct('!I')
# Another version of this does not talk to the process of this one
_version = os.stat(__file__).st_mtime_ns
# What was started here, so that it is waited for once it ends
_started = {}
_lock = threading.Lock()
_reset = (EOFError, ConnectionResetError, BrokenPipeError)


def check(folder, data):
    """Return the Findings on the bytes of a document by the rules of the
    folder.  Raise CheckError when they cannot be told."""
    if not os.path.isdir(folder):
        raise CheckError(f"{folder} is not a folder")
    try:
        try:
            answer = _ask(folder, data)
        except _reset:
            # It may have ended just then, and is about to be gone
            time.sleep(0.2)
            answer = _ask(folder, data)
    except (OSError, EOFError, ValueError) as exception:
        raise CheckError(
            f"the checker gave no answer: {exception}") from exception
    if 'error' in answer:
        raise CheckError(answer['error'])
    return [Finding(*f) for f in answer['findings']]


def process(folder):
    "Return the id of the process that holds the rules of the folder, if any"
    with contextlib.suppress(OSError, ValueError):
        with open(_address(folder) + '.lock') as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(lock.read())


def _ask(folder, data):
    with _connect(folder) as connection:
        _write(connection, data)
        return json.loads(_read(connection))


def _connect(folder):
    "Return a connection to the process, which is started if it is not there"
    address = _address(folder)
    deadline = time.monotonic() + START_MAX
    started = False
    while True:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(ANSWER_MAX)
        try:
            connection.connect(address)
            return connection
        except (FileNotFoundError, ConnectionRefusedError):
            connection.close()
        if time.monotonic() > deadline:
            raise CheckError("the checker did not start")
        with _lock:
            process = _started.get(address)
            status = process.poll() if process else 0
            if started and status:
                raise CheckError(f"the checker ended with status {status}")
            if status is not None:
                # It ended, or found another one
                _started[address] = _start(folder, address)
                started = True
        time.sleep(0.05)


def _start(folder, address):
    path = [str(Path(__file__).resolve().parents[2])]
    path += filter(None, [os.environ.get('PYTHONPATH')])
    return subprocess.Popen(
        [_python(), '-m', 'trycoton.rules.worker', os.path.abspath(folder),
            address],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(path)})


def _python():
    "Return the path of Python, even when another program runs it"
    if os.path.basename(sys.executable or '').startswith('python'):
        return sys.executable
    return os.path.join(sys.prefix, 'bin', 'python3')


def _address(folder):
    "Return the path of the socket, which only the user can reach"
    home = os.path.join(tempfile.gettempdir(), f'trycoton-{os.getuid()}')
    with contextlib.suppress(FileExistsError):
        os.mkdir(home, 0o700)
    status = os.lstat(home)
    if (not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid()
            or status.st_mode & 0o077):
        raise CheckError(f"{home} is not a folder of this user alone")
    key = f'{os.path.abspath(folder)} {_version}'
    name = hashlib.sha256(key.encode()).hexdigest()[:16]
    return os.path.join(home, f'rules-{name}')


def _write(connection, data):
    connection.sendall(_size.pack(len(data)) + data)


def _read(connection):
    size, = _size.unpack(_read_exactly(connection, _size.size))
    if size > SIZE_MAX:
        raise ValueError(f"{size} bytes")
    return _read_exactly(connection, size)


def _read_exactly(connection, size):
    data = bytearray()
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise EOFError("it ended")
        data += part
    return bytes(data)


# The process


def serve(folder, address):
    "Answer until nobody asks any more, unless another process does"
    with open(f'{address}.lock', 'a+') as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(address)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(address)
            server.listen(64)
            server.settimeout(IDLE)
            _answer_all(server, folder)


def _answer_all(server, folder):
    from .checker import Checker
    checker = Checker(folder)
    while True:
        try:
            connection, _ = server.accept()
        except TimeoutError:
            return
        with connection, contextlib.suppress(OSError, EOFError, ValueError):
            connection.settimeout(CLIENT_MAX)
            _write(connection, _answer(checker, _read(connection)))


def _answer(checker, data):
    # It ends the process, whatever the rules are busy with
    signal.alarm(DOCUMENT_MAX)
    try:
        answer = {'findings': checker.check(data)}
    except Exception as exception:
        # Whatever it is, the document is not checked
        answer = {'error': f"{exception}" or repr(exception)}
    signal.alarm(0)
    return json.dumps(answer).encode('utf-8')


if __name__ == '__main__':
    serve(*sys.argv[1:])
