"""How the simulator writes an answer: JSON as the webservice's own, or the XML that it prefers."""

from collections.abc import Mapping, Sequence
from typing import Any
from xml.sax.saxutils import quoteattr

import msgspec

from connectors.stores.prestashop.simulated.rows import Shelf
from connectors.stores.prestashop.simulated.shop import Row

HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n<prestashop xmlns:xlink="http://www.w3.org/1999/xlink">\n'
FOOT = "</prestashop>\n"
LINKS: Mapping[str, str] = {
    "id_address_delivery": "addresses",
    "id_address_invoice": "addresses",
    "id_cart": "carts",
    "id_currency": "currencies",
    "id_customer": "customers",
    "id_order": "orders",
    "current_state": "order_states",
    "id_country": "countries",
    "product_id": "products",
    "id_product": "products",
    "id_category_default": "categories",
}

Errors = Sequence[tuple[int, str]]


def errors_json(errors: Errors) -> bytes:
    return msgspec.json.encode({"errors": [{"code": code, "message": text} for code, text in errors]})


def errors_xml(errors: Errors) -> bytes:
    inner = "".join(
        f"<error>\n<code>{_cdata(code)}</code>\n<message>{_cdata(text)}</message>\n</error>\n"
        for code, text in errors
    )
    return f"{HEAD}<errors>\n{inner}</errors>\n{FOOT}".encode()


def ids_json(shelf: Shelf, ids: Sequence[int]) -> bytes:
    return msgspec.json.encode({shelf.plural: [{"id": number} for number in ids]} if ids else [])


def ids_xml(shelf: Shelf, ids: Sequence[int], base: str) -> bytes:
    inner = "".join(
        f'<{shelf.single} id="{number}" xlink:href={quoteattr(f"{base}/{shelf.path}/{number}")}/>\n'
        for number in ids
    )
    return f"{HEAD}<{shelf.plural}>\n{inner}</{shelf.plural}>\n{FOOT}".encode()


def rows_json(shelf: Shelf, rows: Sequence[Row], languages: Sequence[int], *, as_text: bool) -> bytes:
    """Write a list; `as_text` as versions that write every value as text."""
    written = [_worded(row, languages) for row in rows]
    body: Any = {shelf.plural: written} if rows else []
    return msgspec.json.encode(_as_text(body) if as_text else body)


def row_json(shelf: Shelf, row: Row, languages: Sequence[int]) -> bytes:
    """Write a single row, which leaves out whatever PHP takes for nothing."""
    kept = {name: value for name, value in _worded(row, languages).items() if value not in (0, "0", "", None)}
    return msgspec.json.encode({shelf.single: kept})


def rows_xml(shelf: Shelf, rows: Sequence[Row], languages: Sequence[int], base: str) -> bytes:
    inner = "".join(_element(shelf, row, languages, base) for row in rows)
    return f"{HEAD}<{shelf.plural}>\n{inner}</{shelf.plural}>\n{FOOT}".encode()


def row_xml(shelf: Shelf, row: Row, languages: Sequence[int], base: str) -> bytes:
    return f"{HEAD}{_element(shelf, row, languages, base)}{FOOT}".encode()


def index_xml(rights: Mapping[str, set[str]], base: str) -> bytes:
    """List what the key may do, by resource."""
    lines = []
    for path in sorted(rights):
        allowed = " ".join(
            f'{method.lower()}="{str(method in rights[path]).lower()}"'
            for method in ("GET", "PUT", "POST", "PATCH", "DELETE", "HEAD")
        )
        href = f"xlink:href={quoteattr(f'{base}/{path}')}"
        lines.append(f"<{path} {href} {allowed}>\n<description {href}>{path}</description>\n</{path}>\n")
    return f'{HEAD}<api shopName="Shop">\n{"".join(lines)}</api>\n{FOOT}'.encode()


def _worded(row: Row, languages: Sequence[int]) -> Row:
    """Write texts in the languages asked for: plain when it is one."""
    return {name: _in_json(value, languages) for name, value in row.items()}


def _in_json(value: Any, languages: Sequence[int]) -> Any:
    if not isinstance(value, dict) or not value or not isinstance(next(iter(value)), int):
        return value
    texts = [{"id": one, "value": value.get(one, "")} for one in languages]
    return texts[0]["value"] if len(texts) == 1 else texts


def _as_text(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _as_text(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_as_text(inner) for inner in value]
    return str(value)


def _element(shelf: Shelf, row: Row, languages: Sequence[int], base: str) -> str:
    fields = "".join(
        _field(name, value, languages, base) for name, value in row.items() if name != "associations"
    )
    linked = "".join(
        f'<{name} nodeType="{shelf.linked[name].item}">\n'
        + "".join(_linked(shelf.linked[name].item, one, base) for one in rows)
        + f"</{name}>\n"
        for name, rows in row.get("associations", {}).items()
    )
    return f"<{shelf.single}>\n{fields}<associations>\n{linked}</associations>\n</{shelf.single}>\n"


def _linked(item: str, row: Row, base: str) -> str:
    return (
        f"\t<{item}>\n"
        + "".join(_field(name, value, (), base) for name, value in row.items())
        + f"\t</{item}>\n"
    )


def _field(name: str, value: Any, languages: Sequence[int], base: str) -> str:
    if isinstance(value, dict):
        texts = "".join(f'<language id="{one}">{_cdata(value.get(one, ""))}</language>' for one in languages)
        return f"\t<{name}>{texts}</{name}>\n"
    href = f" xlink:href={quoteattr(f'{base}/{LINKS[name]}/{value}')}" if name in LINKS else ""
    return f"\t<{name}{href}>{_cdata(value)}</{name}>\n"


def _cdata(value: Any) -> str:
    return f"<![CDATA[{str(value).replace(']]>', ']]]]><![CDATA[>')}]]>"
