"""A Brevo with one account: the API v3 as far as contacts, attributes, lists and imports go.

It is as forgiving as Brevo where that hurts: unknown attributes and values of another type are dropped
without a word, `emailBlacklisted` is done exactly as sent, a changed address lifts a block.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from connectors.asgi import Asked, Reply, read_request, send_reply, utc_now
from connectors.esps.brevo.simulated.calls import Brevo, Call, answer
from connectors.esps.brevo.simulated.contacts import Problem, SimulatedContacts, invalid
from connectors.esps.brevo.simulated.processes import Processes
from connectors.simulation import Fault, Receive, Scope, Send, Simulation

SETTINGS = {"api_key": "xkeysib-" + "0123456789abcdef" * 4 + "-AbCdEfGhIjKlMnOp"}
ALONE = {"contacts_per_second": 10, "others_per_hour": 100, "import_seconds": 1.0}
REPORTS = "reports"


class Bucket:
    """Requests within a window of the clock: what Brevo limits, and says in every answer."""

    def __init__(self, limit: int, seconds: int, clock: Callable[[], datetime]) -> None:
        self.refused = 0
        self._limit = limit
        self._seconds = seconds
        self._clock = clock
        self._window = -1
        self._count = 0

    def take(self) -> tuple[bool, dict[str, str]]:
        """Count a request; return whether it may pass, and the headers."""
        now = self._clock().timestamp()
        window = math.floor(now / self._seconds)
        self._count = self._count + 1 if window == self._window else 1
        self._window = window
        passes = self._count <= self._limit
        self.refused += not passes
        return passes, {
            "x-sib-ratelimit-limit": str(self._limit),
            "x-sib-ratelimit-remaining": str(max(0, self._limit - self._count)),
            "x-sib-ratelimit-reset": str(math.ceil((window + 1) * self._seconds - now)),
        }


class SimulatedBrevo(SimulatedContacts):
    """The account behind HTTP; what `Simulation.state` is. `mend` may change what a call is answered."""

    def __init__(
        self,
        *,
        import_seconds: float | None,
        contacts_per_second: int | None,
        others_per_hour: int | None,
        clock: Callable[[], datetime],
    ) -> None:
        super().__init__(clock)
        self.api_key = SETTINGS["api_key"]
        self.processes = Processes(self, clock, import_seconds)
        self.contacts_bucket = Bucket(contacts_per_second, 1, clock) if contacts_per_second else None
        self.others_bucket = Bucket(others_per_hour, 3600, clock) if others_per_hour else None
        self.mend: Callable[[str, Sequence[str], Reply], Reply] = lambda _method, _path, reply: reply
        self._brevo = Brevo(self, self.processes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = await read_request(scope, receive)
        self.processes.tick()
        segments = asked.segments[1:]
        limits: Mapping[str, str] = {}
        try:
            self._admit(asked)
            limits = self._limit(segments)
            host = f"{scope.get('scheme', 'http')}://{asked.headers.get('host', 'localhost')}"
            call = Call(asked.query, _body(asked), len(asked.body), host)
            reply = answer(self._brevo, asked.method, segments, call)
        except Problem as problem:
            reply = _problem_reply(problem)
        reply = self.mend(asked.method, segments, reply)
        await send_reply(send, Reply(reply.status, reply.document, {**limits, **reply.headers}))

    def _admit(self, asked: Asked) -> None:
        if asked.segments[0] != "v3":
            raise Problem(404, "document_not_found", "Invalid route/method passed in the request")
        if asked.segments[1:2] == (REPORTS,):  # lies elsewhere, at an address that needs no key
            return
        key = asked.headers.get("api-key")
        if not key:
            raise Problem(401, "unauthorized", "authentication not found in headers")
        if key != self.api_key:
            raise Problem(401, "unauthorized", "Key not found")

    def _limit(self, segments: Sequence[str]) -> Mapping[str, str]:
        bucket = self.contacts_bucket if segments[:1] == ("contacts",) else self.others_bucket
        if bucket is None:
            return {}
        passes, headers = bucket.take()
        if not passes:
            raise _TooMany(headers)
        return headers


class _TooMany(Problem):
    def __init__(self, headers: Mapping[str, str]) -> None:
        super().__init__(429, "too_many_requests", "You have reached the limit of requests")
        self.headers = headers


def _body(asked: Asked) -> Mapping[str, Any]:
    try:
        document = asked.json()
    except msgspec.DecodeError:
        raise Problem(400, "bad_request", "Unable to parse the request body") from None
    if not isinstance(document, dict):
        raise invalid("The body must be an object")
    return document


def _problem_reply(problem: Problem) -> Reply:
    metadata = {"metadata": {"duplicate_identifiers": list(problem.duplicates)}} if problem.duplicates else {}
    headers = problem.headers if isinstance(problem, _TooMany) else {}
    return Reply(problem.status, {"code": problem.code, "message": problem.message, **metadata}, headers)


def simulator(
    *,
    import_seconds: float | None = None,
    contacts_per_second: int | None = None,
    others_per_hour: int | None = None,
    clock: Callable[[], datetime] = utc_now,
    chances: Mapping[Fault, float] | None = None,
    seed: int = 1,
) -> Simulation:
    """Make an account without contacts.

    An import goes one of its three stages further with each look at it, or, with `import_seconds`, is
    done so long after it was sent. The two limits are those of Brevo's plans; None is none.
    """
    state = SimulatedBrevo(
        import_seconds=import_seconds,
        contacts_per_second=contacts_per_second,
        others_per_hour=others_per_hour,
        clock=clock,
    )
    return Simulation(state, state, chances=chances, seed=seed)
