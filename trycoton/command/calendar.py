# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The day where the companies of the instances are.

A little before midnight by the clock of a server it is tomorrow there."""
import datetime as dt

from trytond.tools.timezone import get_tzinfo

TIMEZONE = 'Europe/Paris'


def today():
    "Return the date there, as Tryton gives it to their people"
    return dt.datetime.now(get_tzinfo(TIMEZONE)).date()
