# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What schemathesis cannot make up: calls signed by a member.

Half of the bodies are signed as they are, so that what is behind the
signature is tried as well; a statement mostly gets a header that is ours.
"""
import json
import os
import random
import uuid
from urllib.parse import urlsplit

import schemathesis
from requests.auth import AuthBase

from .foreign import Refused, canonical, key, message

KEY = key.Key(bytes.fromhex(os.environ['PARTNER_SECRET']))
US, THEM = os.environ['PARTNER'], os.environ['PARTNER_CALLS']


class Member(AuthBase):
    "Adds a pull token and a signature to what is called"

    def __call__(self, request):
        if 'Authorization' not in request.headers or random.random() < 0.9:
            request.headers['Authorization'] = 'Bearer ' + KEY.token(
                US, THEM, request.method, urlsplit(request.url).path)
        if request.body and random.random() < 0.5:
            self.sign(request)
        return request

    def sign(self, request):
        body = request.body
        if isinstance(body, str):
            body = body.encode('utf-8', 'replace')
        body = repair(body)
        try:
            typ = message.read(body).typ
        except (Refused, ValueError, TypeError):
            typ = random.choice([
                    'trycoton-statement', 'trycoton-envelope',
                    'trycoton-relation', 'trycoton-directory'])
        request.prepare_body(body, None)
        request.headers[key.HEADER] = KEY.sign(body, typ)


def repair(body):
    "Return the body in its canonical form, with our header in a statement"
    try:
        value = json.loads(body)
        header = value['header']
    except (ValueError, KeyError, TypeError):
        return body
    if isinstance(header, dict) and random.random() < 0.8:
        header.update(
            sender=US, receiver=THEM, id=str(uuid.uuid4()),
            created=canonical.now(), protocol='trycoton-1', via=None)
    try:
        return canonical.dump(value)
    except (ValueError, TypeError):
        return body


schemathesis.auth.set_from_requests(Member())
