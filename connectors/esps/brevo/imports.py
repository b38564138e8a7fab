"""Brevo's background jobs: thousands of new contacts in one request, and a process that says when it is done.

An import here only ever creates: it changes nobody who is there, so one that comes late or twice harms
nobody. What became of each contact it does not say; that is read back.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from connectors.errors import Throttled
from connectors.esps.brevo.writes import Write
from connectors.http import LONGEST_PAUSE, Api, wait

LARGEST = 8_000_000
"""Bytes of contacts in one import: Brevo takes 10 MB and recommends 8."""
FIRST_PAUSE = 2.0
GROWTH = 2.0
PATIENCE = 20 * 60.0
"""Seconds after which we go on without the import. Looking at it has 100 requests an hour, for everybody."""
DONE = frozenset({"completed"})
OVER = frozenset({"failed", "cancelled"})

_encode = msgspec.json.Encoder(decimal_format="number").encode


def portions(writes: Sequence[Write]) -> Iterator[Sequence[Write]]:
    """Cut into imports of a size that Brevo takes."""
    portion: list[Write] = []
    size = 0
    for write in writes:
        length = len(_encode(write.row())) + 1
        if portion and size + length > LARGEST:
            yield portion
            portion, size = [], 0
        portion.append(write)
        size += length
    if portion:
        yield portion


def import_body(writes: Sequence[Write], list_id: int, *, blocked: bool) -> dict[str, Any]:
    """Make the request. What is blocked counts for all rows, so the two kinds go apart."""
    return {
        "jsonBody": [write.row() for write in writes],
        "listIds": [list_id],
        "updateExistingContacts": False,
        "emptyContactsAttributes": False,
        "disableNotification": True,
        "smsBlacklist": True,
        **({"emailBlacklist": True} if blocked else {}),
    }


async def run_import(api: Api, processes: Api, body: Mapping[str, Any]) -> bool:
    """Import and wait for the end; False when it failed, was lost, or takes too long."""
    answer = await api.send("POST", "/contacts/import", body, expect=frozenset({400}))
    if answer.status == 400:
        return False
    waited, pause = 0.0, FIRST_PAUSE
    while waited < PATIENCE:
        await wait(pause)
        waited, pause = waited + pause, min(pause * GROWTH, LONGEST_PAUSE)
        status = await _look(processes, answer.json["processId"])
        if status in DONE | OVER:
            return status in DONE
    return False


async def _look(processes: Api, process: int) -> str:
    """Ask how far a process is; one that Brevo does not know has failed."""
    try:
        answer = await processes.get(f"/processes/{process}", expect=frozenset({404}))
    except Throttled:  # the hour's looks are used up; the import goes on all the same
        return "unknown"
    return "failed" if answer.status == 404 else str(answer.json.get("status"))
