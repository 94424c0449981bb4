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
    'signature': Problem(
        401, "missing, malformed, false or of another type"),
    'unknown-key': Problem(
        401, "no active peer has the key, or it is expired or revoked", True),
    'token': Problem(
        401, "missing, false, expired, used before or for another request"),
    'not-sender': Problem(403, "the key is not one of the sender"),
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
    'conflict': Problem(409, "another message has the same id"),
    'applied': Problem(409, "there is an application already"),
    'other-keys': Problem(409, "the applicant is known by other keys"),
    'directory': Problem(409, "the directory does not follow the known one"),
    'too-large': Problem(413, "more than the route accepts"),
    'malformed': Problem(422, "not in its form, or of an unknown type"),
    'charter': Problem(
        422, "the application accepts another charter than the one in force"),
    'roles': Problem(422, "the application names no role"),
    'trust-party': Problem(
        422, "the community does not work with the trust party"),
    'overload': Problem(
        429, "too many applications, or the log is behind", True),
    'internal': Problem(500, "a fault here"),
    'unavailable': Problem(503, "not possible at present", True),
    'no-log': Problem(503, "the log of the trust party is not open", True),
    }
