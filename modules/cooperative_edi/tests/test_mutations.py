# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Messages spoiled in every way: none breaks the instance or leaves a half.

A thousand by default, TRYCOTON_MUTATIONS of them in make soak; the seed is
fixed, so that each failure can be repeated."""
import json
import logging
import os
import random
import re
import resource

from trytond.pool import Pool
from trytond.tests.test_tryton import RouteTestCase
from trytond.transaction import Transaction

from cooperative_edi import courier
from cooperative_edi.transaction import transact

from .tools import (
    THIRD, US, Other, configure, create_identity, create_relation, invoice)

COUNT = int(os.environ.get('TRYCOTON_MUTATIONS', 1000))
ENDED = {'processed', 'refused', 'held', 'parked'}
# Bytes, beyond which the memory is not bounded
GROWTH = 150 * 2 ** 20
BOMB = b'<!DOCTYPE a [<!ENTITY b "c"><!ENTITY d "&b;&b;&b;&b;">]>'
_tag = re.compile(rb'</?[A-Za-z][^<>]*>')
_text = re.compile(rb'>([^<>]+)<')


class Mutator:
    "Ways to spoil the bytes of a message"

    def __init__(self, seed):
        self.random = random.Random(seed)

    def spoil(self, data):
        ways = [self.flip, self.cut, self.swap, self.encode, self.blank]
        if data.startswith(b'<'):
            ways += [
                self.repeat, self.drop, self.rename, self.value, self.nest,
                self.bomb]
        else:
            ways += [self.member] * 5
        return self.random.choice(ways)(data)

    def member(self, data):
        value = json.loads(data)
        name = self.random.choice(list(value))
        changed = self.random.choice([
                None, -1, 1e308, True, [], {}, '', 'x' * 100_000, '\x00',
                [[]] * 10_000, {name: value[name]}, 2 ** 200])
        # As the canonical writer would, had it no limits
        return json.dumps(
            {**value, name: changed}, sort_keys=True, separators=(',', ':'),
            ensure_ascii=False).encode()

    def flip(self, data):
        result = bytearray(data)
        for _ in range(self.random.randint(1, 8)):
            result[self.random.randrange(len(result))] = (
                self.random.randrange(256))
        return bytes(result)

    def cut(self, data):
        return data[:self.random.randrange(len(data))]

    def _part(self, data):
        tags = [m.span() for m in _tag.finditer(data)]
        first, second = sorted(self.random.sample(tags, 2))
        return first[0], second[1]

    def repeat(self, data):
        start, end = self._part(data)
        times = self.random.choice([1, 2, 50])
        return data[:end] + data[start:end] * times + data[end:]

    def drop(self, data):
        start, end = self._part(data)
        return data[:start] + data[end:]

    def swap(self, data):
        names = [US.encode(), b'0225:732829320', THIRD.encode()]
        first, second = self.random.sample(names, 2)
        return data.replace(first, second)

    def rename(self, data):
        match = self.random.choice(list(_tag.finditer(data)))
        name = self.random.choice(
            [b'x:y', b'Invoice', b'cbc:ID', b'CBC:id', b'a' * 5000])
        tag = re.sub(
            rb'^(</?)[^\s/>]+', lambda m: m[1] + name, match[0], count=1)
        return data[:match.start()] + tag + data[match.end():]

    def value(self, data):
        match = self.random.choice(list(_text.finditer(data)))
        value = self.random.choice([
                b'', b'-1', b'1e999', b'NaN', b'99999999999999999999999',
                b'0.' + b'0' * 400 + b'1', b'2026-13-45', b'\xff\xfe',
                '٣'.encode(), b'&lt;a&gt;', b'&#0;', b'A' * 100_000,
                b'\xc2\xa0', b'XXX', b'true'])
        return data[:match.start(1)] + value + data[match.end(1):]

    def nest(self, data):
        start, end = self._part(data)
        depth = self.random.choice([10, 300, 20_000])
        return (data[:start] + b'<a>' * depth + data[start:end]
            + b'</a>' * depth + data[end:])

    def bomb(self, data):
        return self.random.choice([
                BOMB + data,
                b'<?xml version="1.0"?>' + BOMB + data,
                b'<!DOCTYPE a SYSTEM "file:///etc/passwd">' + data,
                data.replace(b'<cbc:ID>', b'<cbc:ID>&b;', 1)])

    def encode(self, data):
        return self.random.choice([
                data.decode().encode('utf-16'),
                b'\xef\xbb\xbf' + data,
                b'<?xml version="1.0" encoding="latin-1"?>' + data,
                data.replace(b'UTF-8', b'UTF-7'),
                data.replace(b'urn:', b'URN:', 3)])

    def blank(self, data):
        return self.random.choice([
                b'', b' ', b'\0' * 1000, b'{}', b'[' * 10_000, b'null',
                data + b' ', b'\n' + data, data + data])


class MutationTestCase(RouteTestCase):
    "Test reception of spoiled messages"
    module = 'cooperative_edi'

    @classmethod
    def setUpDatabase(cls):
        configure()
        cls.other = Other()
        cls.relation = create_relation(create_identity(), cls.other).uuid
        Transaction().commit()

    def post(self, data, typ):
        return self.client().post(
            f'/{self.db_name}/cooperative/edi/messages', data=data,
            headers=self.other.sign(data, typ))

    def message(self, number):
        if number % 3:
            document = invoice(
                self.other.identifier, US, number=f'F{number}')
            return self.other.envelope(document, self.relation)
        return self.other.statement(
            self.mutator.random.choice(
                ['relation-proposal', 'relation-answer', 'relation-end']))

    def test_mutations(self):
        "Test each gets an answer, and is stored whole or not at all"
        self.mutator = Mutator(20261122)
        handler = Seen()
        logger = logging.getLogger()
        logger.addHandler(handler)
        self.addCleanup(logger.removeHandler, handler)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        statuses = {}
        for number in range(COUNT):
            message = self.message(number)
            data = self.mutator.spoil(message.to_bytes())
            response = self.post(data, message.typ)
            statuses.setdefault(response.status_code, []).append(number)
            with self.subTest(number=number):
                self.assertLess(response.status_code, 500, response.data)
                self.assertNotIn(b'Traceback', response.data)
                if response.status_code >= 400:
                    self.assertEqual(
                        response.content_type, 'application/problem+json')
            if not number % 100:
                courier.exchange(self.db_name)
        courier.exchange(self.db_name)
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        self.assertLess((after - before) * 1024, GROWTH)
        self.assertEqual(handler.records, [])
        # Of both kinds, or nothing was tried
        self.assertTrue({201, 422} <= set(statuses), statuses.keys())
        states = transact(self.db_name, self.states)
        self.assertEqual(sum(states.values()), len(statuses[201]))
        self.assertLessEqual(set(states), ENDED)

    def states(self):
        Message = Pool().get('cooperative.edi.message')
        states = {}
        for message in Message.search([('direction', '=', 'in')]):
            states[message.state] = states.get(message.state, 0) + 1
        return states


class Seen(logging.Handler):
    "What the server tells of its own faults"

    def __init__(self):
        super().__init__(logging.ERROR)
        self.records = []

    def emit(self, record):
        self.records.append(record.getMessage())
