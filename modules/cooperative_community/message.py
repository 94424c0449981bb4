# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
from trytond.pool import Pool, PoolMeta

from cooperative_edi import courier

from .directory import exchange, unknown_key


class Message(metaclass=PoolMeta):
    __name__ = 'cooperative.edi.message'

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls.kind.selection += [
            ('application', "Application"),
            ('membership-decision', "Membership Decision"),
            ('membership-state', "Membership State"),
            ('membership-end', "End of Membership"),
            ]

    @classmethod
    def _get_origin(cls):
        return super()._get_origin() + ['cooperative.community.membership']

    @classmethod
    def _evidence_sources(cls, company):
        pool = Pool()
        Community = pool.get('cooperative.community')
        descriptors, directories = super()._evidence_sources(company)
        for community in Community.search([
                    ('company', '=', company),
                    ('charter', '!=', None),
                    ]):
            descriptor, versions = community.evidence
            descriptors.append(descriptor)
            directories.extend(versions)
        return descriptors, directories

    def _path(self):
        if self.kind == 'application':
            return '/community/applications'
        return super()._path()

    @classmethod
    def refuse(cls, database, arrival):
        if arrival.problem.name == 'unknown-key':
            # It may be the one of somebody who has just been admitted
            unknown_key(database)
            courier.wake(database)
        super().refuse(database, arrival)

    @classmethod
    def attend(cls, database):
        super().attend(database)
        exchange(database)

    @classmethod
    def next_due(cls):
        pool = Pool()
        Record = pool.get('cooperative.community.directory.record')
        delays = [super().next_due(), Record.next_due()]
        return min((d for d in delays if d is not None), default=None)
