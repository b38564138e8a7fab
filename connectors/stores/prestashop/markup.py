"""From the bytes of an answer to JSON: the shop's XML is written anew in the shape of its own JSON.

- XML is what the webservice answers unless it is asked for JSON, and whenever it fails before it has read
  the question. Some servers cannot write JSON at all: one byte that is no UTF-8 makes PHP's `json_encode`
  give up, with nothing at all as the answer.
- XML keeps the empty fields that JSON leaves out of single rows.
- Modules print notices, blank lines and byte order marks before the answer.
"""

import re
from typing import Any
from xml.etree.ElementTree import Element, ParseError

import msgspec
from defusedxml import ElementTree

XML = (b"<?xml", b"<prestashop")
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
"""Characters that XML cannot hold, and that shops put there all the same."""
_START = re.compile(rb'\[\s*[\]{]|\{\s*["}]|<\?xml|<prestashop')


def cut_junk(body: bytes) -> bytes:
    """Cut off what stands before the JSON or the XML; empty when there is neither."""
    if body.startswith((b"[", b"{", *XML)):
        return body
    start = _START.search(body)
    return body[start.start() :] if start else b""


def as_json(body: bytes) -> bytes:
    """Write XML as the JSON that the shop would have sent; leave anything else as it is.

    Raises ValueError for XML that is broken, or that does what no shop does (entities, DTDs).
    """
    if not body.startswith(XML):
        return body
    try:
        text = _FORBIDDEN.sub("", body.decode("utf-8", "replace"))
        root = ElementTree.fromstring(text, forbid_dtd=True)
    except ParseError as error:
        raise ValueError("broken XML") from error
    return msgspec.json.encode({} if not len(root) else _document(root[0]))


def _document(container: Element) -> Any:
    """Read the one element below the root: errors, one row, or a list of rows."""
    if any(child.tag == "id" for child in container):
        return {container.tag: _row(container)}
    return {container.tag: [_row(child) for child in container]}


def _row(element: Element) -> dict[str, Any]:
    if not len(element):  # a list of ids alone has them as attributes
        return {"id": element.attrib["id"]} if "id" in element.attrib else {}
    row = {child.tag: _value(child) for child in element if child.tag != "associations"}
    linked = element.find("associations")
    if linked is not None and len(linked):
        row["associations"] = {rows.tag: [_row(one) for one in rows] for rows in linked if len(rows)}
    return row


def _value(element: Element) -> Any:
    """Read a field: text, or one text per language."""
    if len(element):
        return [{"id": child.attrib.get("id"), "value": child.text or ""} for child in element]
    return element.text or ""
