# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The routes of an instance, described as OpenAPI 3.1.

The schemas are those of the records, the problems those of the protocol and
the examples come from the vectors: nothing is said twice.
``python -m trycoton.protocol.openapi`` prints the description of all routes.
"""
import json
import sys

from . import canonical, entry, problem, schema, vector, witness
from .directory import RECORD_HEADER
from .envelope import PROTOCOL
from .problem import PROBLEMS
from .record import (
    BINARY, FLAG, IDENTIFIER, JWS, LONG_TEXT, TEXT, TIME, UUID, VKEY, Integer,
    Many, Members, Optional)
from .signature import SIGNATURE_HEADER

VERSION = '3.1.0'
SERVER = 'https://example.org/database/cooperative'
SCHEMAS = '#/components/schemas/'

_objects = {'type': 'array', 'items': {'type': 'object'}}

_any = ['internal', 'unavailable']
_signed = ['signature', 'malformed', 'too-large', 'encoding']
_message = [
    *_signed, 'unknown-key', 'not-sender', 'suspended', 'no-relation',
    'other-route', 'forbidden', 'not-addressed', 'conflict', 'early',
    'overload', 'quota', 'no-log', 'log-behind', 'log-closed', 'log-mirror']


def description(modules=None, server=SERVER):
    """Return the description of the routes of the modules, a JSON value

    All the routes when no modules are named; server is the address under
    which they stand.
    """
    paths = {}
    for module, routes in PATHS.items():
        if modules is None or module in modules:
            for path, methods in routes.items():
                paths[path] = methods
    return {
        'openapi': VERSION,
        'info': {
            'title': "TryCoTon",
            'version': PROTOCOL,
            'summary': "Trade between instances, signed and proved.",
            'license': {
                'name': "GPL-3.0-or-later",
                'identifier': 'GPL-3.0-or-later',
                },
            },
        'jsonSchemaDialect': schema.DIALECT,
        'servers': [{'url': server}],
        'paths': paths,
        'components': {
            'schemas': _schemas(),
            'securitySchemes': {
                'pullToken': {
                    'type': 'http',
                    'scheme': 'bearer',
                    'bearerFormat': 'trycoton-pull-token',
                    'description': "A compact JWS over Claims, by a key of "
                    "the caller, good for one request within a minute.",
                    },
                },
            },
        }


def to_bytes():
    "Return the description of all the routes as it is shipped"
    return (json.dumps(
            description(), ensure_ascii=False, indent=1) + '\n').encode()


def _refer(name):
    return {'$ref': f'{SCHEMAS}{name}'}


def _schemas():
    def plain(value):
        return value.schema(None)

    stored = Members({'receipt': LONG_TEXT, 'signature': JWS})
    return {
        **schema.definitions(SCHEMAS),
        'Stored': {
            'description': "The text of a Receipt and its signature; a trust "
            "party adds the record of the submission or, when its log is "
            "late, a promise.",
            **plain(stored),
            'properties': {
                **plain(stored)['properties'],
                'record': {'anyOf': [_refer('Record'), {'type': 'null'}]},
                'promise': plain(LONG_TEXT),
                },
            },
        'Mailbox': plain(Members({'messages': Many(UUID)})),
        'Catalogue': {
            'description': "Each page is the base64 of a Page.",
            **plain(Members({
                        'pages': Many(Members({
                                    'page': BINARY,
                                    'signature': JWS,
                                    })),
                        })),
            },
        'Records': {
            'description': "Null as long as it did not happen.",
            **plain(Members({
                        event: Optional(_Named('Record'))
                        for event in entry.EVENTS
                        })),
            },
        'Entries': {
            'description': "The entries about the messages of the caller, "
            "by index; next is where the list goes on.",
            **plain(Members({
                        'entries': Many(Members({
                                    'message': UUID,
                                    'event': TEXT,
                                    'index': Integer(),
                                    'sender': IDENTIFIER,
                                    'recipient': IDENTIFIER,
                                    'erased': FLAG,
                                    })),
                        'next': Optional(Integer()),
                        })),
            },
        'Held': {
            'description': "All that is held about the caller, with some of "
            "the messages; next is after which one the next page starts.",
            'type': 'object',
            'properties': {
                'trust_party': IDENTIFIER.schema(None),
                'created': TIME.schema(None),
                'participant': {'type': 'object'},
                'memberships': _objects,
                'agreements': _objects,
                'refusals': _objects,
                'rejections': _objects,
                'quota': {
                    'anyOf': [{'type': 'object'}, {'type': 'null'}],
                    },
                'messages': _objects,
                'next': Optional(Integer()).schema(None),
                },
            'required': [
                'trust_party', 'created', 'participant', 'memberships',
                'agreements', 'refusals', 'rejections', 'quota', 'messages',
                'next'],
            },
        'Public': {
            'description': "What is public of a trust party.",
            'type': 'object',
            'properties': {
                'name': TEXT.schema(None),
                'identifier': IDENTIFIER.schema(None),
                'fingerprint': TEXT.schema(None),
                'language': {'type': 'string', 'enum': ['en', 'fr']},
                'policy': Optional(LONG_TEXT).schema(None),
                'facts': {'type': 'array', 'items': {'type': 'string'}},
                'retention': _objects,
                'log': plain(Members({
                            'origin': TEXT,
                            'key': VKEY,
                            'fingerprint': TEXT,
                            })),
                'checkpoint': plain(Members({
                            'size': Integer(),
                            'root': BINARY,
                            'time': TIME,
                            'note': LONG_TEXT,
                            })),
                'links': {'type': 'object'},
                },
            'required': [
                'name', 'identifier', 'fingerprint', 'language', 'policy',
                'facts', 'retention', 'log', 'checkpoint', 'links'],
            },
        'Logged': {
            'description': "The .tlog-proof of the digest, null as long as "
            "the log is late.",
            **plain(Members({
                        'record': Optional(Members({'proof': LONG_TEXT})),
                        })),
            },
        'Problem': {
            'description': "RFC 9457.",
            'type': 'object',
            'properties': {
                'type': {
                    'type': 'string',
                    'enum': [problem.BASE + name for name in PROBLEMS],
                    },
                'title': {'type': 'string'},
                'status': {
                    'type': 'integer',
                    'enum': sorted({p.status for p in PROBLEMS.values()}),
                    },
                'detail': {'type': 'string', 'maxLength': 500},
                'record': {
                    'description': "What a trust party proves of its "
                    "refusal of a message.",
                    **_refer('Record'),
                    },
                'refusal': {
                    'description': "The text of the Refusal by which the "
                    "recipient refuses for good a message that its sender "
                    "has really signed.",
                    **plain(LONG_TEXT),
                    },
                'signature': {
                    'description': "The one over the refusal.",
                    **plain(JWS),
                    },
                },
            'required': ['type', 'title', 'status'],
            'dependentRequired': {
                'refusal': ['signature'],
                'signature': ['refusal'],
                },
            'additionalProperties': False,
            },
        }


class _Named:
    "A value by the name of its schema"

    def __init__(self, name):
        self._name = name

    def schema(self, refer):
        return _refer(self._name)


# The parts of an operation

def _operation(id_, summary, *responses, problems=(), token=False, **others):
    answers = {}
    for response in responses:
        answers.update(response)
    if token:
        problems = [*problems, 'token', 'quota']
        others['security'] = [{'pullToken': []}]
    for name in [*problems, *_any]:
        _add_problem(answers, name)
    return {
        'operationId': id_,
        'summary': summary,
        **others,
        'responses': dict(sorted(answers.items())),
        }


def _add_problem(answers, name):
    status, cause, retry = PROBLEMS[name]
    answer = answers.setdefault(str(status), {
            'description': "",
            'content': {
                problem.MEDIA_TYPE: {
                    'schema': _refer('Problem'),
                    'examples': {},
                    },
                },
            })
    answer['description'] = ' · '.join(
        filter(None, [answer['description'], f"{name}: {cause}"]))
    if retry:
        answer['headers'] = {
            'Retry-After': {
                'description': "Seconds after which to try again.",
                'schema': {'type': 'integer', 'minimum': 0},
                },
            }
    answer['content'][problem.MEDIA_TYPE]['examples'][name] = {
        'value': {
            'type': problem.BASE + name,
            'title': f"{cause[0].upper()}{cause[1:]}.",
            'status': status,
            },
        }


def _answer(status, text, content=None, *headers):
    response = {'description': text}
    if content:
        response['content'] = content
    if headers:
        response['headers'] = dict(headers)
    return {str(status): response}


def _json(name):
    return {'application/json': {'schema': _refer(name)}}


def _bytes(media_type, text):
    # Bytes have no schema in OpenAPI 3.1
    return {media_type: {'schema': {'description': text}}}


def _header(name, text, schema):
    return name, {'description': text, 'required': True, 'schema': schema}


def _signature(of):
    return _header(
        SIGNATURE_HEADER, f"The detached JWS over the bytes, by {of}.",
        JWS.schema(None))


_limits = [(name, {'description': text, 'schema': {'type': 'string'}})
    for name, text in [
        ('RateLimit-Policy', "The quota of the caller at a trust party."),
        ('RateLimit', "What is left of it, and when all is given back.")]]
_etag = (
    'ETag', {'description': "Of the bytes.", 'schema': {'type': 'string'}})
_unchanged = _answer(304, "The caller has it already, by its If-None-Match.")
_signature_parameter = {
    'name': SIGNATURE_HEADER,
    'in': 'header',
    'required': True,
    'description': "The detached JWS over the bytes of the body.",
    'schema': JWS.schema(None),
    }
_none_match = {
    'name': 'If-None-Match',
    'in': 'header',
    'schema': {'type': 'string'},
    }


def _id(text):
    return {
        'name': 'id',
        'in': 'path',
        'required': True,
        'description': text,
        'schema': UUID.schema(None),
        }


def _body(content):
    return {'required': True, 'content': content}


def _case(name, title):
    "Return the case of the vectors with the title"
    case, = [c for c in vector.load(name)['cases'] if c['name'] == title]
    return case


def _bytes_of(name, title):
    return canonical.decode(_case(name, title)['data']).decode('utf-8')


def _value_of(name):
    return canonical.load(_bytes_of('record', name).encode('utf-8'))


def _stored():
    jws = _case('signature', "Ed25519")['jws']
    return {'receipt': _bytes_of('record', 'Receipt'), 'signature': jws}


def _json_example(name, value):
    return {'application/json': {
            'schema': _refer(name), 'example': value}}


def _after(text):
    return {
        'name': 'after',
        'in': 'query',
        'description': text,
        'schema': {
            'type': 'integer',
            'minimum': 0,
            'default': 0,
            'maximum': 999999999,
            },
        }


def _text(example):
    return {'text/plain; charset=utf-8': {
            'schema': {'type': 'string'}, 'example': example}}


def _witness_request():
    return f"old 0\n\n{_case('note', 'checkpoint')['note']}"


def _cosignature():
    *_, line = _case('note', "cosigned")['note'].splitlines()
    return f'{line}\n'


_evidence = _value_of('Evidence')
_uuid = _value_of('RelationEnd')['relation']
_jws = _case('signature', "Ed25519")['jws']
_stores = [
    _answer(201, "Stored.", _json_example('Stored', _stored()), *_limits),
    _answer(200, "Known already: the same receipt as the first time.",
        _json_example('Stored', _stored()), *_limits),
    ]
_messages = {
    'application/xml': {
        'schema': {
            'type': 'string',
            'description': "An envelope: a StandardBusinessDocument that "
            "holds a UBL document.",
            },
        'examples': {
            'order': {
                'value': _bytes_of('message', "envelope with the fewest"),
                },
            },
        },
    'application/json': {
        'schema': {
            'oneOf': [
                _refer(name) for name in schema.statements()
                if name != 'ApplicationStatement'],
            },
        'examples': {
            'relation-proposal': {
                'value': canonical.load(
                    _bytes_of('message', "statement").encode('utf-8')),
                },
            },
        },
    }

PATHS = {
    'cooperative_edi': {
        '/openapi.json': {
            'get': _operation(
                'description', "This description, of the routes of the "
                "instance",
                _answer(200, "OpenAPI 3.1.", {
                        'application/json': {
                            'schema': {'type': 'object'},
                            }}, _etag),
                _unchanged,
                parameters=[_none_match]),
            },
        '/edi/descriptor': {
            'get': _operation(
                'descriptor', "Who the instance is",
                _answer(200, "Canonical JSON.",
                    _json_example('Descriptor', _value_of('Descriptor')),
                    _signature("the first valid signing key in it")),
                problems=['not-found']),
            },
        '/edi/messages': {
            'post': _operation(
                'send', "Send a message, of at most 5 MiB",
                *_stores,
                _answer(202, "Stored by a trust party whose log is late: "
                    "with a promise.", _json('Stored'), *_limits),
                problems=_message,
                parameters=[_signature_parameter],
                requestBody=_body(_messages)),
            },
        '/witness/add-checkpoint': {
            'post': _operation(
                'addCheckpoint', "Have the instance witness a checkpoint "
                "of a log (c2sp.org/tlog-witness)",
                _answer(200, "The line of the witness, cosignature/v1.",
                    _text(_cosignature())),
                _answer(409, "Not from what the witness knows: the size of "
                    "the last checkpoint that it signed.", {
                        witness.SIZE_TYPE: {
                            'schema': {'type': 'string'},
                            'example': '7\n',
                            },
                        }),
                problems=[
                    'not-a-request', 'not-log', 'not-found', 'unknown-log',
                    'too-large', 'inconsistent', 'overload'],
                requestBody=_body(_text(_witness_request()))),
            },
        '/edi/mailbox': {
            'get': _operation(
                'mailbox', "The messages that wait for the caller, oldest "
                "first",
                _answer(200, "Their ids, without those that are leased and "
                    "what follows them from the same sender.",
                    _json_example('Mailbox', {'messages': [_uuid]})),
                token=True,
                parameters=[{
                        'name': 'limit',
                        'in': 'query',
                        'description': "How many ids at most.",
                        'schema': {
                            'type': 'integer',
                            'minimum': 1,
                            'default': 100,
                            'maximum': 1000,
                            },
                        }, {
                        'name': 'after',
                        'in': 'query',
                        'description': "The last id of the page before.",
                        'schema': UUID.schema(None),
                        }]),
            },
        '/edi/mailbox/{id}': {
            'get': _operation(
                'fetch', "A message that waits for the caller, which then "
                "has it alone for 5 minutes",
                _answer(200, "The bytes.", _messages,
                    _signature("the sender of the message")),
                problems=['not-found', 'leased'], token=True,
                parameters=[_id("Of a message in the mailbox.")]),
            },
        '/edi/mailbox/{id}/receipt': {
            'post': _operation(
                'acknowledge', "Post what POST /edi/messages would have "
                "answered: a problem that may pass gives the message back",
                _answer(204, "Kept, also when it was known already."),
                problems=[
                    'not-found', 'closed', 'malformed', 'too-large',
                    'encoding'],
                token=True,
                parameters=[_id("Of the message that was fetched.")],
                requestBody=_body({
                        'application/json': {
                            'schema': {
                                'anyOf': [
                                    _refer('Stored'), _refer('Problem')],
                                },
                            'example': _stored(),
                            }})),
            },
        },
    'cooperative_community': {
        '/community/descriptor': {
            'get': _operation(
                'communityDescriptor', "Who the community is, with its "
                "charter, fee, commission and trust parties",
                _answer(200, "Canonical JSON.",
                    _json_example('Descriptor', _value_of('Descriptor')),
                    _signature("the first valid signing key in it")),
                problems=['not-found']),
            },
        '/community/directory': {
            'get': _operation(
                'directory', "The last version of the directory",
                _answer(200, "Canonical JSON.",
                    _json_example('Directory', _value_of('Directory')),
                    _signature("a key of the community"), _etag,
                    (RECORD_HEADER, {
                            'description': "Base64 of {\"proof\": text}, "
                            "the .tlog-proof of the digest, once logged.",
                            'schema': {'type': 'string'},
                            })),
                _unchanged,
                problems=['not-found'], parameters=[_none_match]),
            },
        '/community/applications': {
            'post': _operation(
                'apply', "Apply to become a member, in at most 64 KiB",
                *_stores,
                problems=[
                    *_signed, 'not-addressed', 'conflict', 'applied',
                    'other-keys', 'charter', 'roles', 'trust-party',
                    'overload'],
                parameters=[_signature_parameter],
                requestBody=_body(_json_example(
                        'ApplicationStatement', canonical.load(_bytes_of(
                                'message', "application").encode())))),
            },
        },
    'cooperative_offer': {
        '/offer/catalogue': {
            'get': _operation(
                'catalogue', "The approved offers, for an active buyer",
                _answer(200, "The page for all buyers and those of the "
                    "groups of the caller.",
                    _json_example('Catalogue', {
                            'pages': [{
                                    'page': _case('record', 'Page')['data'],
                                    'signature': _jws,
                                    }],
                            }), _etag),
                _unchanged,
                problems=['not-found', 'forbidden'], token=True,
                parameters=[_none_match]),
            },
        },
    'cooperative_trust': {
        '/trust/': {
            'get': _operation(
                'public', "What the trust party is, its policy and its log "
                "now, for people and machines",
                _answer(200, "In French or English, by Accept-Language.", {
                        **_bytes('text/html; charset=utf-8', "A page."),
                        **_json('Public'),
                        }, _etag),
                _unchanged,
                problems=['not-found'], parameters=[_none_match]),
            },
        '/trust/checkpoint': {
            'get': _operation(
                'checkpoint', "The last checkpoint of the log",
                _answer(200, "A signed note, with the lines of the "
                    "witnesses that signed it by now.",
                    _text(_case('note', "checkpoint")['note']), _etag),
                _unchanged,
                problems=['not-found'], parameters=[_none_match]),
            },
        '/trust/witnessed': {
            'get': _operation(
                'witnessed', "The last checkpoint that the quorum of a "
                "community signed",
                _answer(200, "A signed note.",
                    _text(_case('note', "checkpoint")['note']), _etag),
                _unchanged,
                problems=['not-found', 'log-behind'],
                parameters=[_none_match]),
            },
        '/trust/predecessor': {
            'get': _operation(
                'predecessor', "The last known checkpoint of the log before, "
                "to which the first entry commits",
                _answer(200, "A signed note.", {
                        'text/plain; charset=utf-8': {
                            'schema': {'type': 'string'},
                            'example': _case('note', "checkpoint")['note'],
                            },
                        }, _etag),
                _unchanged,
                problems=['not-found'], parameters=[_none_match]),
            },
        '/trust/tile/{path}': {
            'get': _operation(
                'tile', "A tile of hashes, L/N, or a bundle of entries, "
                "entries/N, each followed by .p/W when partial",
                _answer(200, "Immutable.", _bytes(
                        'application/octet-stream',
                        "Hashes of 32 bytes, or entries each after its "
                        "length in 2 bytes."), _etag),
                _unchanged,
                problems=['not-found'],
                parameters=[{
                        'name': 'path',
                        'in': 'path',
                        'required': True,
                        'description': "With its slashes as they are.",
                        'schema': {
                            'type': 'string',
                            'pattern': '^([0-5]|entries)/(x[0-9]{3}/)*'
                            '[0-9]{3}([.]p/[0-9]{1,3})?$',
                            },
                        'example': '0/000.p/7',
                        }, _none_match]),
            },
        '/trust/records/{id}': {
            'get': _operation(
                'records', "The records of a message, for its parties",
                _answer(200, "As far as they exist.", _json_example(
                        'Records', {
                            **dict.fromkeys(entry.EVENTS),
                            entry.DELIVERY: _value_of('Record'),
                            })),
                problems=['not-found', 'erased'], token=True,
                parameters=[_id("Of the message.")]),
            },
        '/trust/custody': {
            'post': _operation(
                'confirm', "What a licensed custodian confirms of the money "
                "that it has, in at most 64 KiB",
                _answer(201, "Recorded."),
                _answer(200, "Recorded already, by the same bytes."),
                problems=[
                    *_signed, 'unknown-key', 'not-sender', 'not-found',
                    'custody'],
                parameters=[_signature_parameter],
                requestBody=_body(_json_example(
                        'Confirmation', _value_of('Confirmation')))),
            },
        '/trust/entries': {
            'get': _operation(
                'entries', "What the log holds about the messages of the "
                "caller, at most 1,000 entries",
                _answer(200, "In the order of the log.", _json_example(
                        'Entries', {
                            'entries': [{
                                    'message': _uuid,
                                    'event': 'submission',
                                    'index': 3,
                                    'sender': _evidence['sender'],
                                    'recipient': _evidence['recipient'],
                                    'erased': False,
                                    }],
                            'next': None,
                            })),
                problems=['malformed'], token=True,
                parameters=[_after("The least index in the log.")]),
            },
        '/trust/held': {
            'get': _operation(
                'held', "All that is held about the caller, at most 200 "
                "messages at a time",
                _answer(200, "A page.", _json('Held')),
                problems=['malformed'], token=True,
                parameters=[_after("What next of the page before says.")]),
            },
        '/trust/directories': {
            'post': _operation(
                'logDirectory', "Log a version of a directory, in at most "
                "32 MiB",
                _answer(200, "Logged.", _json('Logged')),
                _answer(202, "The log is late: the same request gets the "
                    "proof later.",
                    _json_example('Logged', {'record': None})),
                problems=[
                    *_signed, 'unknown-key', 'not-sender', 'forbidden',
                    'suspended', 'directory', 'early', 'overload', 'no-log',
                    'log-behind', 'log-closed', 'log-mirror'],
                parameters=[_signature_parameter],
                requestBody=_body(_json_example(
                        'Directory', _value_of('Directory')))),
            },
        '/trust/statements': {
            'get': _operation(
                'statement', "What the log proves of the trade of a "
                "community, for that community",
                _answer(200, "Canonical JSON.",
                    _json_example(
                        'CommissionStatement',
                        _value_of('CommissionStatement')),
                    _signature("the trust party")),
                problems=[
                    'forbidden', 'malformed', 'not-found', 'log-behind',
                    'log-closed'],
                token=True,
                parameters=[{
                        'name': 'community',
                        'in': 'query',
                        'description': "The identifier, by default that of "
                        "the caller.",
                        'schema': {'type': 'string'},
                        }, {
                        'name': 'after',
                        'in': 'query',
                        'description': "The least index in the log.",
                        'schema': {
                            'type': 'integer',
                            'minimum': 0,
                            'default': 0,
                            'maximum': canonical.MAX_INTEGER,
                            },
                        }]),
            },
        },
    }

if __name__ == '__main__':
    sys.stdout.buffer.write(to_bytes())
