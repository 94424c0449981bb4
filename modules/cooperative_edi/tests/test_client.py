# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What this instance calls, and what nobody makes it call"""
import http.server
import socket
import threading
import time
import unittest
from unittest.mock import patch

import trytond.config as config

from cooperative_edi import client

PUBLIC = '93.184.216.34'


class Handler(http.server.BaseHTTPRequestHandler):
    served = []

    def do_GET(self):
        self.served.append((self.path, self.headers['Host']))
        if self.path == '/redirect':
            self.send_response(302)
            self.send_header('Location', '/target')
            self.end_headers()
        elif self.path == '/large':
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'x' * 2000)
        elif self.path == '/garbage':
            self.wfile.write(b'\0garbage\r\n\r\n')
        elif self.path == '/slow':
            self.wfile.write(b'HTTP/1.1 200 OK\r\n')
            for _ in range(50):
                time.sleep(0.1)
                try:
                    self.wfile.write(b'X-A: b\r\n')
                except OSError:
                    break
        else:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'hello')

    def log_message(self, *args):
        pass


class ClientTestCase(unittest.TestCase):
    "Test calls of other instances"

    def setUp(self):
        if not config.has_section('cooperative'):
            config.add_section('cooperative')
        self.allow('')
        self.addCleanup(self.allow, '')

    def allow(self, networks):
        config.set('cooperative', 'networks', networks)

    def serve(self):
        Handler.served.clear()
        server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        self.port = server.server_port
        return f'http://127.0.0.1:{server.server_port}'

    def resolved(self, *addresses):
        return patch.object(client.socket, 'getaddrinfo', return_value=[
                (socket.AF_INET, socket.SOCK_STREAM, 6, '', (address, 443))
                for address in addresses])

    def test_garbage(self):
        "What is told of an answer that is none can be kept anywhere"
        url = self.serve()
        self.allow('127.0.0.0/8')
        with self.assertRaises(client.ClientError) as cm:
            client.get(f'{url}/garbage')
        self.assertIn("?garbage", str(cm.exception))

    def test_refused(self):
        "Nothing inside the house is called, however it is written"
        with patch.object(client.socket, 'create_connection') as connect:
            for host in [
                    '127.0.0.1', '127.1', '2130706433', '0x7f000001',
                    '0177.0.0.1', '0.0.0.0', '0', 'localhost', '[::1]',
                    '[::]', '[::ffff:127.0.0.1]', '[::ffff:10.0.0.1]',
                    '[64:ff9b::7f00:1]', '[2002:7f00:1::]', '10.0.0.1',
                    '172.16.0.1', '192.168.1.1', '169.254.169.254',
                    '100.64.0.1', '224.0.0.1', '255.255.255.255',
                    '[fe80::1]', '[fc00::1]', '[ff02::1]', '240.0.0.1',
                    '[::127.0.0.1]', '[::ffff:0:7f00:1]', '[fec0::1]',
                    '[64:ff9b:1::7f00:1]', '[3fff::1]', '[fe80::1%25lo]',
                    '[2001:0:7f00:1::]', '192.0.0.170', '192.88.99.1',
                    '198.18.0.1', '203.0.113.7', '①②⑦.0.0.1',
                    '127.0.0.1.', 'LOCALHOST', '%31%32%37.0.0.1']:
                for scheme in ['https', 'http']:
                    with self.subTest(host=host, scheme=scheme), \
                            self.assertRaises(client.ClientError):
                        client.get(f'{scheme}://{host}/x')
            connect.assert_not_called()

    def test_schemes(self):
        with patch.object(client.socket, 'create_connection') as connect, \
                self.resolved(PUBLIC):
            for url in [
                    'http://example.org/', 'ftp://example.org/',
                    'file:///etc/passwd', 'gopher://example.org/', '', 'x',
                    'https://', '//example.org/', 'https://a:b:c/',
                    'https://example.org:99999/',
                    'https://example.org:x/', 'https://example.org:0/',
                    'https://example.org:22/', 'https://example.org:25/',
                    'https://user@example.org/',
                    'https://user:secret@example.org/',
                    'https://example.org@127.0.0.1/',
                    'https://example.org\\@127.0.0.1/',
                    'https://exa\nmple.org/', 'https://example.org/a\tb',
                    'https://example.org/ b', '\x01https://example.org/',
                    'https://example.org/é', 'https://example.org\r\nX: y/']:
                with self.subTest(url), \
                        self.assertRaises(client.AddressRefused):
                    client.get(url)
            connect.assert_not_called()

    def test_one_private_address(self):
        "A name with one inner address among others is refused"
        with self.resolved(PUBLIC, '10.0.0.1'), \
                self.assertRaises(client.AddressRefused):
            client.get('https://example.org/')

    def test_pinned(self):
        "The connection is made to the address that was checked"
        with patch.object(
                    client.socket, 'create_connection',
                    side_effect=OSError("stop")) as connect, \
                self.resolved(PUBLIC) as resolve:
            with self.assertRaises(client.ClientError):
                client.get('https://example.org/')
            resolve.assert_called_once()
            self.assertEqual(connect.call_args.args[0], (PUBLIC, 443))

    def test_rebound(self):
        "A name that has another address at the second look is not asked again"
        answers = iter([[PUBLIC], ['127.0.0.1'], ['127.0.0.1']])

        def resolve(*args, **kwargs):
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, '', (a, 443))
                for a in next(answers)]
        with patch.object(client.socket, 'getaddrinfo', resolve), \
                patch.object(
                    client.socket, 'create_connection',
                    side_effect=OSError("stop")) as connect:
            with self.assertRaises(client.ClientError):
                client.get('https://example.org/')
            with self.assertRaises(client.AddressRefused):
                client.get('https://example.org/')
        connect.assert_called_once()
        self.assertEqual(connect.call_args.args[0], (PUBLIC, 443))

    def test_proxy(self):
        "A proxy of the environment is not used: it would resolve again"
        self.allow('127.0.0.0/8')
        url = self.serve()
        names = ['http_proxy', 'HTTP_PROXY', 'https_proxy', 'all_proxy']
        with patch.dict(
                'os.environ', dict.fromkeys(names, 'http://127.0.0.1:9')):
            self.assertEqual(client.get(url).status, 200)

    def test_public_clear(self):
        "Nothing is said in clear to somebody on the internet"
        with self.resolved(PUBLIC), self.assertRaises(client.AddressRefused):
            client.get('http://example.org:8080/')
        self.allow('10.0.0.0/8')
        with self.resolved(PUBLIC, '10.0.0.1'), \
                self.assertRaises(client.AddressRefused):
            client.get('http://example.org:8080/')

    def test_networks(self):
        "The setting opens exactly the networks that it names"
        url = self.serve()
        with self.assertRaises(client.AddressRefused):
            client.get(url)
        self.allow('127.0.0.1/32, 10.1.0.0/16')
        self.assertEqual(client.get(url + '/x').data, b'hello')
        self.assertEqual(
            Handler.served, [('/x', f'127.0.0.1:{self.port}')])
        for host in ['127.0.0.2', '10.2.0.1', '[::1]']:
            with self.subTest(host), \
                    self.assertRaises(client.AddressRefused):
                client.get(f'http://{host}:{self.port}/')

    def test_redirect(self):
        "Redirections are not followed"
        self.allow('127.0.0.0/8')
        response = client.get(self.serve() + '/redirect')
        self.assertEqual(response.status, 302)
        self.assertEqual([p for p, _ in Handler.served], ['/redirect'])

    def test_large(self):
        self.allow('127.0.0.0/8')
        url = self.serve()
        with patch.object(client, 'MAX_SIZE', 1000), \
                self.assertRaises(client.ClientError):
            client.get(url + '/large')

    def test_slow(self):
        "Somebody who answers byte by byte is left"
        self.allow('127.0.0.0/8')
        url = self.serve()
        start = time.monotonic()
        with patch.object(client, 'DEADLINE', 0.5), \
                self.assertRaises(client.ClientError):
            client.get(url + '/slow')
        self.assertLess(time.monotonic() - start, 3)

    def test_header_injection(self):
        self.allow('127.0.0.0/8')
        url = self.serve()
        for path in ['/a b', '/a\x00', '/é', '/a\r\nX: y', '\r\nX: y']:
            with self.subTest(path), \
                    self.assertRaises(client.ClientError):
                client.get(url + path)
        with self.assertRaises(client.ClientError):
            client.get(url, {'X': 'a\r\nY: b'})
        self.assertEqual(Handler.served, [])
