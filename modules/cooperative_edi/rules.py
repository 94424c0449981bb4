# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The official rules that what is sent must obey, where they are set up"""
import trytond.config as config

from trycoton.rules import CheckError, worker

__all__ = ['CheckError', 'check', 'folder']


def folder():
    "Return the folder of the rules, or None when nothing is to be checked"
    return config.get('cooperative', 'rules', default=None) or None


def check(data):
    """Return the Findings on the bytes of a document.  Raise CheckError when
    they cannot be told.  Called outside any transaction."""
    return worker.check(folder(), data) if folder() else []
