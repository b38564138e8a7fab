"""Alerts to the owner, by webhook, mail or whatever apprise knows; what they say stands in the log too.

Sending never hurts a run: it happens beside the work, has a limit, and a failure is a line in the log.
"""

import asyncio
import json
import sys
from collections.abc import Sequence
from typing import Any

import structlog

from config.errors import ConfigError, Problem
from config.settings import MAIN_FILE
from sync.plant import Plant

log = structlog.get_logger()

LIMIT = 60.0
"""Seconds for one alert to reach every address."""
MOST = 20
"""Alerts under way; more at once say nothing new."""


class Alerts:
    """Sends to the addresses of the configuration. `urls` may be replaced at any time."""

    def __init__(self, urls: Sequence[str]) -> None:
        self.urls = urls
        self._sending: set[asyncio.Task[None]] = set()

    async def tell(self, title: str, text: str) -> None:
        """Begin to send, and return at once."""
        if self.urls and len(self._sending) < MOST:
            task = asyncio.ensure_future(self._send(title, text))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def aclose(self, seconds: float) -> None:
        """Give what is under way a few seconds."""
        if self._sending:
            _, late = await asyncio.wait(self._sending, timeout=seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _send(self, title: str, text: str) -> None:
        taken = await _messenger({"urls": list(self.urls), "title": title, "text": text})
        if not all(taken):
            log.warning("alert_not_sent", addresses=[at for at, good in enumerate(taken, 1) if not good])


async def check_alerts(plant: Plant) -> None:
    """Hold `alerts` to what apprise understands. Raises ConfigError, which names the place and not the address."""
    urls = urls_of(plant)
    if not urls:
        return
    good = await _messenger({"urls": urls})
    document = plant.loaded.documents[MAIN_FILE]
    problems: list[Problem] = [
        document.problem(("alerts", position), "no address that an alert can be sent to", INSTEAD)
        for position, known in enumerate(good)
        if not known
    ]
    if problems:
        raise ConfigError(problems)


INSTEAD = (
    "one that apprise knows, such as `jsons://example.com/hook` or `mailtos://user:password@example.com`"
)


def urls_of(plant: Plant) -> list[str]:
    return [url.get_secret_value() for url in plant.settings.alerts]


async def _messenger(order: dict[str, Any]) -> list[bool]:
    """Let a process of its own send; one that takes too long is killed. Never raises but for a stop."""
    none = [False] * len(order["urls"])
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "sync.messenger",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError as error:
        log.warning("alert_not_sent", reason=type(error).__name__)
        return none
    try:
        async with asyncio.timeout(LIMIT):
            answer, _ = await process.communicate(json.dumps(order).encode())
        found: list[bool] = json.loads(answer)
    except (TimeoutError, ValueError):
        return none
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return found
