# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What the log proves of the trade of a community, for its commission"""
from trytond.model import Model, fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Eval

from cooperative_edi.identity import now
from trycoton.protocol import entry, envelope, signature, ubl
from trycoton.protocol.commission import (
    KINDS, CommissionLine, CommissionStatement, Total)
from trycoton.protocol.errors import ProtocolError

LINES_MAX = 1000


class Message(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.message'

    uncounted = fields.Boolean("Not Counted", readonly=True,
        states={
            'invisible': ~Eval('uncounted'),
            },
        help="It cannot be read whole: no commission statement tells it.")


class Statement(Model):
    __name__ = 'cooperative.trust.statement'

    @classmethod
    def make(cls, identity, community, after):
        """Return the statement of what was handed over in the community
        since the log had after entries, and its signature"""
        statement = CommissionStatement(
            community=community.identifier,
            trust_party=identity.identifier,
            created=now(),
            after=after,
            lines=tuple(cls._lines(community, after)))
        data = statement.to_bytes()
        return data, identity.sign(data, signature.COMMISSION)

    @classmethod
    def _lines(cls, community, after):
        "Return the first lines that there are"
        pool = Pool()
        Message = pool.get('cooperative.edi.message')
        while leaves := cls._leaves(community, after):
            lines = {leaf: cls._line(leaf) for leaf in leaves}
            # Without lines the next statement starts here again
            Message.write(
                [leaf.message for leaf, line in lines.items() if not line],
                {'uncounted': True})
            if any(lines.values()):
                return filter(None, lines.values())
            after = leaves[-1].index + 1
        return []

    @classmethod
    def _leaves(cls, community, after):
        pool = Pool()
        Leaf = pool.get('cooperative.trust.log.leaf')
        return Leaf.search([
                ('log.company', '=', community.company.id),
                ('index', '>=', after),
                ['OR', [
                        ('event', '=', entry.DELIVERY),
                        ('message.agreement.community', '=', community.id),
                        ('message.kind', 'in', KINDS),
                        ], [
                        # What is sealed counts once both told its total
                        ('event', '=', entry.SUBMISSION),
                        ('message.confirms.agreement.community', '=',
                            community.id),
                        ('message.confirms.erased', '=', None),
                        ]],
                ('message.erased', '=', None),
                ('message.uncounted', '!=', True),
                # The community's own are not deals, nor do its answers count
                ('sender', '!=', community.identifier),
                ], order=[('index', 'ASC')], limit=LINES_MAX)

    @classmethod
    def _line(cls, leaf):
        "Return the line, None for what its recipient cannot read either"
        try:
            return cls._read_line(leaf)
        except ProtocolError:
            return None

    @classmethod
    def _read_line(cls, leaf):
        message = leaf.message.confirms or leaf.message
        if message.total:
            document, number = Total.read(message.total), message.uuid
        else:
            data = bytes(message.alone.data)
            document = ubl.parse(envelope.parse(data).payload)
            number = document.number
        return CommissionLine(
            message=message.uuid,
            kind=document.kind,
            number=number,
            date=document.date,
            seller=message.sender,
            buyer=message.recipient,
            relation=message.agreement.uuid,
            currency=document.currency,
            untaxed=document.untaxed,
            total=document.total,
            digest=message.digest,
            index=leaf.index)
