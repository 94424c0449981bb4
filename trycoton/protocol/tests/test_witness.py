# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
import datetime as dt
import unittest

from trycoton.protocol import merkle, tile, witness
from trycoton.protocol.checkpoint import Checkpoint
from trycoton.protocol.errors import Malformed, ProtocolError, Rejected
from trycoton.protocol.note import Cosigner, Note, NoteSigner, Verifier
from trycoton.protocol.policy import Policy
from trycoton.protocol.signature import SigningKey

ORIGIN = 'log.example'
NOW = dt.datetime(2026, 11, 22, 12, tzinfo=dt.timezone.utc)


class Log:
    "A log in memory"

    def __init__(self, key=None, origin=ORIGIN):
        self.signer = NoteSigner(origin, key or SigningKey.generate())
        self.hashes = []

    def grow(self, count, salt=b''):
        for _ in range(count):
            self.hashes.append(merkle.leaf_hash(
                    salt + str(len(self.hashes)).encode()))
        return self

    @property
    def root(self):
        return merkle.root(self.hashes)

    def note(self):
        return Checkpoint(self.signer.name, len(self.hashes), self.root
            ).sign(self.signer)

    def ask(self, old):
        def hashes(level, start, count):
            width = 1 << level * tile.HEIGHT
            return [
                merkle.root(self.hashes[i * width:(i + 1) * width])
                for i in range(start, start + count)]
        proof = merkle.consistency_proof(
            tile.node_getter(hashes), old, len(self.hashes)) if old else ()
        return witness.Request(old, tuple(proof), self.note())


class WitnessTestCase(unittest.TestCase):
    "Test witnesses"

    def setUp(self):
        self.log = Log(SigningKey.from_bytes(bytes(32))).grow(5)
        self.cosigner = Cosigner('witness.example/w', SigningKey.generate())
        self.text = Note.parse(self.log.note()).text

    def test_example(self):
        "Test the example of the specification"
        data = ("old 20852014\n"
            "PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n"
            "jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=\n"
            "5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=\n"
            "/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=\n"
            "\n"
            "example.com/behind-the-sofa\n20852163\n"
            "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
            "\n"
            "— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZ"
            "niMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8="
            "\n").encode()
        request = witness.Request.parse(data)
        self.assertEqual(request.old, 20852014)
        self.assertEqual(len(request.hashes), 4)
        self.assertEqual(request.value.size, 20852163)
        self.assertEqual(request.to_bytes(), data)

    def test_round_trip(self):
        "Test a request written is a request read"
        for old in range(6):
            request = self.log.ask(old)
            self.assertEqual(
                witness.Request.parse(request.to_bytes()), request)

    def test_malformed(self):
        "Test what a log would not write"
        hash_ = b'AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n'
        note = self.log.note()
        good = b'old 1\n' + hash_ + b'\n' + note
        self.assertTrue(witness.Request.parse(good))
        for data in [
                b'', b'\n', note, b'\n' + note, b'old 1\n', b'old 1\n\n',
                b'old 1\n' + note, b'old 01\n\n' + note,
                b'old  1\n\n' + note, b'old +1\n\n' + note,
                b'old -1\n\n' + note, b'old \xd9\xa1\n\n' + note,
                b'old 1 \n\n' + note, b'Old 1\n\n' + note,
                b'old 1\r\n\r\n' + note, b'old 6\n\n' + note,
                b'old 1\n\n\n' + note, b'old 1\n\n' + note + b'\n',
                b'old 1\n\n' + note[:-1], b'old 1\n' + hash_[:-3] + b'\n\n'
                + note, b'old 1\n' + hash_[4:] + b'\n' + note,
                b'old 1\n' + hash_[:-3] + b'9=\n\n' + note,
                b'old 1\n' + hash_ * 64 + b'\n' + note,
                good.replace(b'\n5\n', b'\n05\n'),
                good.replace(ORIGIN.encode() + b'\n5', b'\n5'),
                good + b'x' * witness.MAX_SIZE,
                b'old %d\n\n' % 2 ** 63 + note,
                ]:
            with self.subTest(data=data[:80]), self.assertRaises(Malformed):
                witness.Request.parse(data)

    def test_growth(self):
        "Test only what grew out of what is known is accepted"
        sizes = {n: Log(self.log.signer._signing_key).grow(n).root
            for n in range(6)}
        for size, root in sizes.items():
            self.log.ask(size).check(size, root)
            with self.subTest(size=size), self.assertRaises(witness.Stale):
                self.log.ask(size).check(size + 1, root)

    def test_proof(self):
        "Test a proof that does not hold"
        known = Log().grow(3)
        request = self.log.ask(3)
        request.check(3, known.root)
        fork = Log().grow(3, b'other').root
        for wrong in [
                witness.Request(3, (), request.checkpoint),
                witness.Request(3, request.hashes[:-1], request.checkpoint),
                witness.Request(
                    3, (*request.hashes, bytes(32)), request.checkpoint),
                witness.Request(
                    3, (bytes(32), *request.hashes[1:]), request.checkpoint),
                ]:
            with self.subTest(wrong=wrong), \
                    self.assertRaises(Rejected) as caught:
                wrong.check(3, known.root)
            self.assertNotIsInstance(caught.exception, witness.Stale)
        with self.assertRaises(Rejected):
            request.check(3, fork)
        with self.assertRaises(Rejected):
            witness.Request(0, (bytes(32),), request.checkpoint).check(
                0, merkle.EMPTY_ROOT)

    def test_fork(self):
        "Test two trees of one size"
        request = Log(self.log.signer._signing_key).grow(5, b'x').ask(5)
        self.assertTrue(request.is_fork(5, self.log.root))
        with self.assertRaises(witness.Stale):
            request.check(5, self.log.root)
        self.log.ask(5).check(5, self.log.root)

    def test_cosign(self):
        "Test what a witness signs is found and counts"
        answer = witness.cosign(
            self.cosigner, self.text, int(NOW.timestamp()))
        key = witness.verifier(self.cosigner.vkey)
        signature, time = witness.find_cosignature(
            answer, self.text, key, NOW)
        self.assertEqual(time, int(NOW.timestamp()))
        data = witness.join(Note.parse(self.log.note()), [signature])
        log = Verifier.from_vkey(self.log.signer.vkey)
        self.assertEqual(Note.parse(data).verify([log, key]), [log, key])
        self.assertEqual(
            witness.keep(data, [self.log.signer]), self.log.note())
        self.assertEqual(
            witness.join(Note.parse(data), [signature]), data)

    def test_cosign_refused(self):
        "Test answers that do not count"
        time = int(NOW.timestamp())
        answer = witness.cosign(self.cosigner, self.text, time)
        key = witness.verifier(self.cosigner.vkey)
        other = Cosigner(self.cosigner.name, SigningKey.generate())
        for data in [
                b'', b'\n', answer[:-1], answer + b'\n', answer * 2,
                b'x' + answer, answer.replace(b'\n', b'\r\n'),
                witness.cosign(other, self.text, time),
                witness.cosign(self.cosigner, self.text + 'x\n', time),
                str(NoteSigner(key.name, self.cosigner._signing_key
                        ).sign(self.text)).encode(),
                answer * 40, b'\xff' + answer,
                ]:
            with self.subTest(data=data[:60]), \
                    self.assertRaises(ProtocolError):
                witness.find_cosignature(data, self.text, key, NOW)
        unknown = witness.cosign(other, self.text, time)
        witness.find_cosignature(unknown + answer, self.text, key, NOW)

    def test_clock(self):
        "Test a clock may be wrong by an hour and no more"
        key = witness.verifier(self.cosigner.vkey)
        for seconds, right in [
                (-3600, True), (3600, True), (-3602, False), (3602, False),
                (-NOW.timestamp(), False)]:
            answer = witness.cosign(
                self.cosigner, self.text, int(NOW.timestamp() + seconds))
            with self.subTest(seconds=seconds):
                if right:
                    witness.find_cosignature(answer, self.text, key, NOW)
                else:
                    with self.assertRaises(Rejected):
                        witness.find_cosignature(
                            answer, self.text, key, NOW)

    def test_size(self):
        "Test the size in an answer 409"
        self.assertEqual(witness.parse_size(witness.format_size(7)), 7)
        for data in [
                b'', b'7', b'07\n', b'7\n\n', b'7\r\n', b'-7\n', b'+7\n',
                b' 7\n', b'\xff\n', b'1_0\n', b'9' * 40 + b'\n',
                b'%d\n' % 2 ** 63]:
            with self.subTest(data=data), self.assertRaises(Malformed):
                witness.parse_size(data)

    def test_colluding(self):
        "Test witnesses that sign a fork are not enough, however often"
        cosigners = [
            Cosigner(f'witness.example/{i}', SigningKey.generate())
            for i in range(5)]
        policy = Policy.parse('\n'.join([
                    f'log {self.log.signer.vkey}',
                    *[f'witness w{i} {c.vkey}'
                        for i, c in enumerate(cosigners)],
                    'group all 3 w0 w1 w2 w3 w4', 'quorum all']).encode())
        fork = Log(self.log.signer._signing_key).grow(5, b'fork')
        time = int(NOW.timestamp())

        def count(log, *cosigners):
            note = Note.parse(log.note())
            lines = [c.sign(note.text, time) for c in cosigners]
            data = witness.join(note, lines + lines)
            signed = Note.parse(data).verify(policy.verifiers)
            policy.check(Checkpoint.parse(note.text), signed)

        count(self.log, *cosigners[:3])
        with self.assertRaises(Rejected):
            count(fork, *cosigners[3:])
        # The same key under two names
        twice = Cosigner('witness.example/9', cosigners[3]._signing_key)
        with self.assertRaises(Rejected):
            count(fork, *cosigners[3:], twice)

    def test_key(self):
        "Test only the key of a witness is one"
        for vkey in ['', 'x', self.log.signer.vkey]:
            with self.assertRaises(Malformed):
                witness.verifier(vkey)
