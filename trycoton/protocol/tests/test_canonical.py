# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
import datetime as dt
import json
import unittest

from trycoton.protocol import canonical
from trycoton.protocol.errors import Malformed

UTC = dt.timezone.utc


class CanonicalTestCase(unittest.TestCase):
    "Test canonical JSON"

    def test_dump(self):
        "A value has one text"
        for value, data in [
                (None, b'null'),
                (True, b'true'),
                ({'b': 1, 'a': [-2, 'x']}, b'{"a":[-2,"x"],"b":1}'),
                ("\u00e9\n\"\u2028", b'"\xc3\xa9\\n\\"\xe2\x80\xa8"'),
                ]:
            with self.subTest(value=value):
                self.assertEqual(canonical.dump(value), data)
                self.assertEqual(canonical.load(data), value)

    def test_dump_refused(self):
        "What has no canonical form is refused"
        deep = []
        for _ in range(100):
            deep = [deep]
        for value in [
                1.0, float('nan'), b'', {1: 'a'}, {'\u00e9': 1}, '\ud800',
                2 ** 53, [{1, 2}], deep, dt.date(2026, 1, 1)]:
            with self.subTest(value=value):
                with self.assertRaises(Malformed):
                    canonical.dump(value)

    def test_load_refused(self):
        "Another text of a value is refused"
        for data in [
                b'', b' null', b'null\n', b'{"a": 1}', b'{"b":1,"a":1}',
                b'{"a":1,"a":1}', b'1.0', b'1e3', b'-0', b'NaN', b'Infinity',
                b'"\\u00e9"', b'"\\ud800"', b'"\\/"', b"'a'", b'[1,]',
                b'\xef\xbb\xbfnull', b'"\xff"', b'"\xed\xa0\x80"',
                b'[' * 100000, b'9' * 10000, b'9007199254740992',
                'null'.encode('utf-16')]:
            with self.subTest(data=data[:40]):
                with self.assertRaises(Malformed):
                    canonical.load(data)

    def test_json(self):
        "Other parsers read the same value"
        value = {'a': ["\u00e9\x7f\x01", 1, None], 'B': False}
        self.assertEqual(json.loads(canonical.dump(value)), value)

    def test_binary(self):
        "Base64 has one text"
        self.assertEqual(canonical.decode(canonical.encode(b'ab')), b'ab')
        for text in ['YWI', 'YWJ=', 'YW I=', 'YWI=\n', 'YW-_', '\u00e9', '=']:
            with self.subTest(text=text):
                with self.assertRaises(Malformed):
                    canonical.decode(text)

    def test_time(self):
        "Times are in UTC and whole seconds"
        time = dt.datetime(
            2026, 1, 31, 14, 0, 0, 999, dt.timezone(dt.timedelta(hours=2)))
        text = canonical.format_time(time)
        self.assertEqual(text, '2026-01-31T12:00:00Z')
        self.assertEqual(
            canonical.parse_time(text),
            dt.datetime(2026, 1, 31, 12, tzinfo=UTC))
        for text in [
                '2026-01-31T12:00:00', '2026-01-31 12:00:00Z',
                '2026-01-31T12:00:00+00:00', '2026-02-30T12:00:00Z',
                '2026-01-31T12:00:60Z', '2026-01-31T12:00:00Z\n', '', None]:
            with self.subTest(text=text):
                with self.assertRaises(Malformed):
                    canonical.parse_time(text)
        for value in [None, '', dt.datetime(2026, 1, 31),
                dt.datetime.min.replace(
                    tzinfo=dt.timezone(dt.timedelta(hours=2)))]:
            with self.subTest(value=value):
                with self.assertRaises(Malformed):
                    canonical.format_time(value)

    def test_date(self):
        "Dates have no time"
        self.assertEqual(
            canonical.parse_date('2026-01-31'), dt.date(2026, 1, 31))
        self.assertEqual(
            canonical.format_date(dt.date(2026, 1, 31)), '2026-01-31')
        for text in ['20260131', '2026-02-30', '2026-1-31', '', None]:
            with self.subTest(text=text):
                with self.assertRaises(Malformed):
                    canonical.parse_date(text)
        with self.assertRaises(Malformed):
            canonical.format_date(dt.datetime(2026, 1, 31))
