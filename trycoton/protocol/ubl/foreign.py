# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""UBL documents as others keep them: a file of a disk or of an e-mail

Nothing is signed: any encoding of XML, any prefixes, comments, instructions
of style sheets, and any StandardBusinessDocument around the document are
read.  A DOCTYPE, whose entities could fill the memory, is not.
"""
from xml.parsers import expat

from lxml import etree

from ..envelope import MAX_DEPTH, MAX_ELEMENTS, MAX_SIZE, SBDH
from ..errors import Malformed
from . import from_root
from .schema import located, parse_xml

__all__ = ['read']

_envelope = f'{{{SBDH}}}StandardBusinessDocument'
_header = f'{{{SBDH}}}StandardBusinessDocumentHeader'


def read(data):
    """Return the document of the bytes of a file, bare or in an envelope

    Raise Malformed or Rejected, as parse.
    """
    if len(data) > MAX_SIZE:
        raise Malformed("The file is too large.", rule='TCT-SIZE')
    _scan(data)
    root = parse_xml(data)
    if root.tag == _envelope:
        root = _content(root)
    return from_root(root)


def _content(envelope):
    "Return the root element of the only document in the envelope"
    documents = [e for e in envelope if e.tag != _header]
    with located(envelope):
        if len(documents) != 1:
            raise Malformed("The envelope must hold one document.")
    # Alone, so that what is wrong is found in the document
    return etree.fromstring(etree.tostring(documents[0], with_tail=False))


def _scan(data):
    "Refuse what makes XML dangerous, before a tree is made of it"
    parser = expat.ParserCreate()
    depth = count = 0

    def start(name, attributes):
        nonlocal depth, count
        depth += 1
        count += 1
        if depth > MAX_DEPTH or count > MAX_ELEMENTS:
            raise Malformed(
                "The document has too many elements.", rule='TCT-SIZE')

    def end(name):
        nonlocal depth
        depth -= 1

    def refuse(*args):
        raise Malformed("A DOCTYPE is not allowed.", rule='TCT-XML')

    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, ValueError, LookupError) as exception:
        raise Malformed(
            "Not well-formed XML.", rule='TCT-XML') from exception
