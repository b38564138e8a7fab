"""What a shop's webservice says when something is wrong, in an owner's words.

Error codes: https://github.com/PrestaShop/PrestaShop, classes/webservice/WebserviceRequest.php.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import msgspec

from connectors.http import Answer
from connectors.stores.prestashop.markup import as_json, cut_junk

MENU = "Advanced Parameters, Webservice"
OFF = 22
NOT_GRANTED = frozenset({25, 26})
PHP_FAULTS = frozenset(range(2, 16))
"""A notice, warning or error of PHP (2 to 15), mostly of a module, that the webservice makes a 500 of."""

_WRONG_KEY = f"the shop does not know this `key`, or it is switched off: copy it again from {MENU}"
_UNSEEN = (
    "the shop did not see `key`: its web server drops the Authorization header; in Apache put "
    "`CGIPassAuth On` into .htaccess"
)
SENTENCES: Mapping[int, str] = {
    16: _UNSEEN,
    17: "`key` is empty: copy it from " + MENU,
    18: "`key` is not what a key looks like (32 characters): copy it again from " + MENU,
    20: _WRONG_KEY,
    21: _WRONG_KEY,
    OFF: f"the webservice is switched off: switch it on in the shop's back office, {MENU}",
    132: f"`key` is not valid for this shop of a multistore: tick the shop in {MENU}",
    999: "there is no such shop in this multistore",
}
_NO_API = (
    "there is no webservice below this `url`: is it the address of the shop, and is the webservice switched "
    f"on in {MENU}? On nginx its rewrite rules must be added by hand"
)
_RESOURCE = re.compile(r"resource (?:of type )?\"?(\w+)", re.IGNORECASE)
_WORDS = 160
"""Characters that are shown of the shop's own words, which may list every field there is."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """One error that the webservice reports; `code` is 0 where it gives none."""

    code: int
    message: str


def troubles_of(body: bytes) -> Sequence[Trouble]:
    """Read the errors of an answer, JSON or XML; none for anything else, as a web page."""
    try:
        said = msgspec.json.decode(as_json(cut_junk(body)))
    except (msgspec.DecodeError, ValueError):
        return ()
    listed = said.get("errors") if isinstance(said, dict) else None
    if not isinstance(listed, list):
        return ()
    return [
        Trouble(_number(error.get("code")), str(error.get("message") or ""))
        for error in listed
        if isinstance(error, dict)
    ]


def explain(answer: Answer) -> str | None:
    """Make the owner's sentence out of a refusal; None where the shop's own words are the best."""
    if 300 <= answer.status < 400:
        return f"`url` leads to {_target(answer)}: put the address of the shop itself there"
    troubles = troubles_of(answer.body)
    if troubles:
        return _sentence(troubles[0])
    if answer.status == 401:
        return _UNSEEN
    if answer.status == 403:
        return "a firewall or a security module refuses us before the shop sees `key`: let this machine in"
    return _NO_API if answer.status == 404 else None


def _sentence(trouble: Trouble) -> str:
    if trouble.code in NOT_GRANTED:
        found = _RESOURCE.search(trouble.message)
        return f"`key` may not view `{found[1] if found else '?'}`: tick View (GET) beside it in {MENU}"
    return SENTENCES.get(trouble.code) or f"{trouble.message[:_WORDS]} (code {trouble.code})"


def _target(answer: Answer) -> str:
    """Name where a redirect leads, without the query: it may hold the key."""
    target = urlsplit(answer.headers.get("location", ""))
    path = target.path.partition("/api")[0]
    return f"{target.scheme}://{target.netloc}{path}" if target.netloc else "another page"


def _number(code: object) -> int:
    return int(code) if isinstance(code, int | str) and str(code).isdigit() else 0
