# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"The problems (RFC 9457) by which a request is refused, by their name"
from typing import NamedTuple

BASE = 'https://trycoton.org/problems/'
MEDIA_TYPE = 'application/problem+json'


class Problem(NamedTuple):
    "retry tells if the same request may succeed later, after Retry-After"
    status: int
    cause: str
    retry: bool = False


PROBLEMS = {
    'not-a-request': Problem(400, "not a request to add a checkpoint"),
    'signature': Problem(
        401, "missing, malformed, false or of another type"),
    'unknown-key': Problem(
        401, "no active peer has the key, or it is expired or revoked", True),
    'token': Problem(
        401, "missing, false, expired, used before or for another request"),
    'not-sender': Problem(403, "the key is not one of the sender"),
    'not-log': Problem(403, "no key of the log signed the checkpoint"),
    'suspended': Problem(403, "the sender is not active"),
    'no-relation': Problem(
        403, "the relation is missing or not agreed", True),
    'other-route': Problem(
        403, "the relation was agreed for another route"),
    'other-seal': Problem(
        403, "the relation was agreed for sealed documents, or for none"),
    'forbidden': Problem(
        403, "not for the caller, or the two are in no common community"),
    'not-addressed': Problem(
        404, "nobody here has the identifier of the receiver"),
    'not-found': Problem(404, "no such thing"),
    'unknown-log': Problem(404, "the log is not one that is witnessed here"),
    'conflict': Problem(409, "another message has the same id"),
    'closed': Problem(409, "the message was closed as not delivered"),
    'leased': Problem(
        409, "another one of the caller has just fetched the message", True),
    'applied': Problem(409, "there is an application already"),
    'other-keys': Problem(409, "the applicant is known by other keys"),
    'directory': Problem(409, "the directory does not follow the known one"),
    'erased': Problem(410, "it was erased, the parties keep it"),
    'custody': Problem(409, "the confirmation contradicts what is recorded"),
    'too-large': Problem(413, "more than the route accepts"),
    'encoding': Problem(415, "compressed, or otherwise encoded"),
    'malformed': Problem(422, "not in its form, or of an unknown type"),
    'inconsistent': Problem(
        422, "the log does not prove that it only grew"),
    'charter': Problem(
        422, "the application accepts another charter than the one in force"),
    'roles': Problem(422, "the application names no role"),
    'trust-party': Problem(
        422, "the community does not work with the trust party"),
    'early': Problem(425, "dated more than an hour ahead", True),
    'overload': Problem(
        429, "too many applications, or the log is behind", True),
    'quota': Problem(429, "more than the quota of the caller", True),
    'internal': Problem(500, "a fault here"),
    'unavailable': Problem(503, "not possible at present", True),
    'no-log': Problem(503, "the log of the trust party is not open", True),
    'log-behind': Problem(
        503, "the log was restored and lacks what it signed", True),
    'log-closed': Problem(
        503, "the log is closed, and has no successor yet", True),
    'log-mirror': Problem(
        503, "the copy of the log is not there or cannot be written", True),
    }


def may_pass(body):
    """Tell if the same request may succeed later after a problem

    body is the JSON object of the problem (RFC 9457).  One of a name that is
    not known is final, unless its status is of the server (5xx).
    """
    type_, status = body.get('type'), body.get('status')
    if isinstance(type_, str) and type_.startswith(BASE):
        known = PROBLEMS.get(type_.removeprefix(BASE))
        if known:
            return known.retry or known.status >= 500
    return type(status) is int and status >= 500
