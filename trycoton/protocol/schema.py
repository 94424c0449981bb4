# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"The JSON Schemas (2020-12) of the records, made of their description"
from . import (
    commission, custody, descriptor, directory, dispute, entry, envelope,
    evidence, offer, receipt, statement, token)

DIALECT = 'https://json-schema.org/draft/2020-12/schema'
# What is signed or answered, by the name of its schema
RECORDS = {
    'Application': statement.Application,
    'ApprovalStatement': offer.ApprovalStatement,
    'Award': dispute.Award,
    'Claims': token.Claims,
    'CommissionStatement': commission.CommissionStatement,
    'Confirmation': custody.Confirmation,
    'Descriptor': descriptor.Descriptor,
    'DisputeAnswer': dispute.Answer,
    'DisputeArbiter': dispute.ArbiterNaming,
    'DisputeAward': dispute.AwardNotice,
    'DisputeCase': dispute.CaseStatement,
    'DisputeEvidence': dispute.CaseEvidence,
    'DisputeOpening': dispute.Opening,
    'DisputeWithdrawal': dispute.Withdrawal,
    'Directory': directory.Directory,
    'Evidence': entry.Evidence,
    'EvidenceFile': evidence.File,
    'MembershipState': statement.MembershipState,
    'Page': offer.Page,
    'Receipt': receipt.Receipt,
    'Refusal': receipt.Refusal,
    'Record': entry.Record,
    'RelationAnswer': statement.RelationAnswer,
    'RelationArbiter': dispute.RelationArbiter,
    'RelationEnd': statement.RelationEnd,
    'RelationProposal': statement.RelationProposal,
    'Resignation': statement.Resignation,
    }
_names = {class_: name for name, class_ in RECORDS.items()}


def name_of(class_):
    "Return the name of the schema of a Record"
    return _names.get(class_, class_.__name__)


def definitions(prefix, classes=None):
    """Return the schemas of the classes and of those that they refer to

    They refer to one another as prefix and name; all the RECORDS and the
    statements are there when no classes are given.
    """
    found = {}

    def refer(class_):
        name = name_of(class_)
        if name not in found:
            found[name] = None
            found[name] = {**class_.schema(refer), 'title': name}
        return {'$ref': f'{prefix}{name}'}

    for class_ in classes or RECORDS.values():
        refer(class_)
    if not classes:
        found.update(dict(_statements(refer, prefix)))
    return dict(sorted(found.items()))


def standalone(class_):
    "Return a schema of the Record that refers to nothing outside"
    found = definitions('#/$defs/', [class_])
    schema = found.pop(name_of(class_))
    return {
        '$schema': DIALECT,
        **schema,
        **({'$defs': found} if found else {}),
        }


def statements():
    "Return the kinds of the statements by the name of their schema"
    return {
        ''.join(map(str.capitalize, kind.split('-'))) + 'Statement': kind
        for kind in statement.BODIES}


def _statements(refer, prefix):
    header = envelope.Header.schema(refer)
    header['properties']['protocol'] = {'const': envelope.PROTOCOL}
    header['required'].append('protocol')
    header['title'] = 'Header'
    yield 'Header', header
    for title, kind in statements().items():
        yield title, {
            'title': title,
            'description': f"The statement {kind}.",
            'type': 'object',
            'properties': {
                'header': {
                    'allOf': [{'$ref': f'{prefix}Header'}],
                    'properties': {'type': {'const': kind}},
                    },
                'body': refer(statement.BODIES[kind]),
                },
            'required': ['header', 'body'],
            'additionalProperties': False,
            }
