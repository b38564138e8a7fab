"""Sends alerts, in a process of its own: apprise holds a hundred services in memory, an idle worker none.

Reads one JSON object on standard input, `{"urls": […], "title": …, "text": …}`, and prints a list with true for
every address that took it. Without `text` nothing is sent: it says which addresses can be understood.
"""

import json
import logging
import sys
from typing import Any

import apprise


def main() -> None:
    """Do what standard input says, once."""
    logging.disable()
    order: dict[str, Any] = json.load(sys.stdin)
    targets = [apprise.Apprise.instantiate(url) for url in order["urls"]]
    text = order.get("text")
    good = [bool(target) and (text is None or _send(target, order["title"], text)) for target in targets]
    print(json.dumps(good))


def _send(target: Any, title: str, text: str) -> bool:
    try:
        return bool(target.notify(title=title, body=text))
    except Exception:  # noqa: BLE001 - a hundred services' clients: one that breaks must not keep the others
        return False


if __name__ == "__main__":
    main()
