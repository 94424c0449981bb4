# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Nothing is extended that is not there: nobody would call it"""
import ast
import inspect
import textwrap

from trytond.pool import Pool
from trytond.tests.test_tryton import with_transaction

HOUSE = ('cooperative_', 'trytond.modules.cooperative_')


class InheritanceTestMixin:
    "Test what the classes of the modules of this house extend"

    @with_transaction()
    def test_super(self):
        "Test what a method calls of super() is in a class that is extended"
        missing = set()
        for kind in ['model', 'wizard', 'report']:
            for _, class_ in Pool().iterobject(kind):
                missing.update(missing_of(class_))
        self.assertFalse(missing)


def missing_of(class_):
    "Yield what the methods of the class call of super() in vain"
    order = class_.__mro__
    for rank, part in enumerate(order, 1):
        if part.__module__.startswith(HOUSE):
            for name, value in vars(part).items():
                for called in called_of(value):
                    if not any(called in vars(c) for c in order[rank:]):
                        yield part.__module__, part.__name__, name, called


def called_of(value):
    "Return the names of what the method calls of super()"
    value = getattr(value, 'fget', getattr(value, '__func__', value))
    if not inspect.isfunction(value):
        return []
    source = textwrap.dedent(inspect.getsource(inspect.unwrap(value)))
    return [
        node.attr for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Call)
        and isinstance(node.value.func, ast.Name)
        and node.value.func.id == 'super']
