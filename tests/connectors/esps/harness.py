"""What the contract suite must know of each ESP's simulator: one row a type, and nothing else.

A new ESP is a new row in `ROWS`; `test_every_type_has_a_row` asks for it. A row says how people come and go
at that ESP by themselves, how its contacts are read, and how it is made to refuse.
"""

import copy
import csv
import importlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from connectors.asgi import utc_now
from connectors.base import Blame, Contact, Esp, Field, FieldType, Member, Refusal, Value
from connectors.esps.brevo.account import EVERYBODY
from connectors.esps.brevo.simulated.contacts import invalid as brevo_invalid
from connectors.esps.csv.cells import read_lists
from connectors.esps.csv.table import OURS
from connectors.esps.mailchimp.simulated.audience import Problem as MailchimpProblem
from connectors.registry import esp_types
from connectors.simulation import Fault, Simulation
from tests.connectors.esps.edges import answered_by
from tests.connectors.esps.specs import Recorder, Sent, missing_specs, spec, violations

FIELDS = (
    Field("NOTE", FieldType.TEXT, "Note"),
    Field("ORDERS", FieldType.NUMBER, "Orders"),
    Field("SINCE", FieldType.DATE, "Customer since"),
)
LISTS = ("Fans", "Müşteriler ❤")


@dataclass(frozen=True)
class Shown:
    """A contact as anybody would read it at the ESP: `fields` as text, only those of `FIELDS` that are filled."""

    fields: Mapping[str, str]
    lists: frozenset[str]
    mailable: bool


Doing = Callable[[Any, str], object]


@dataclass(frozen=True, kw_only=True)
class Row:
    """How one type differs.

    `departures` are the ways in which somebody stops being mailable at the ESP, `told` those of them that
    `opt_outs` must tell. `vanish` is how somebody is gone there without a trace, `lose` how a list is, where that can be. `extent` counts what a write done twice would add to. `jobs` are the ways
    in which its background jobs go wrong, where it has such. `wrong` is a setting and a
    value at which the ESP does not let us in. `impossible` are names that `prepare` must refuse. `many` is more
    than what any connector writes one by one or in one request, `crowd` more than a list takes at once; both
    are smaller where each change is a request or a file.
    """

    show: Callable[[Any], Mapping[str, Shown]]
    extent: Callable[[Any], int]
    made: Callable[[Any], Sequence[str]]
    add: Doing
    departures: Mapping[str, Doing]
    told: frozenset[str]
    wrong: tuple[str, str]
    settings: Mapping[str, Any] = field(default_factory=dict)
    refuse: Callable[[Any, frozenset[str]], None] | None = None
    vanish: Doing | None = None
    lose: Doing | None = None
    jobs: Mapping[str, Callable[[Simulation], object]] = field(default_factory=dict)
    typed: bool = True
    impossible: tuple[Sequence[str], Sequence[str]] = ((), ())
    unhurried: Mapping[str, Any] = field(default_factory=dict)
    specs: Sequence[tuple[str, str]] = ()
    expand: Callable[[Sent], Iterable[Sent]] = lambda _: ()
    storage: str | None = None
    real_clock: bool = False
    many: int = 110
    crowd: int = 1000


def text(value: Value) -> str:
    """Write a value in one way, however an ESP keeps it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float | Decimal):
        number = Decimal(str(value))
        return f"{number.normalize():f}" if number else "0"
    return value.isoformat() if isinstance(value, date) else str(value)


def _fields(values: Mapping[str, Any]) -> dict[str, str]:
    return {each.name: text(values[each.name]) for each in FIELDS if values.get(each.name) not in {None, ""}}


# Mailchimp


def _show_mailchimp(state: Any) -> Mapping[str, Shown]:
    return {
        email: Shown(_fields(each.fields), each.tags, each.status == "subscribed")
        for email, each in state.contacts.items()
    }


def _refuse_mailchimp(state: Any, emails: frozenset[str]) -> None:
    problem = MailchimpProblem(400, "Bad Request", "This contact is not wanted.")
    state.objection = lambda body: problem if body.get("email_address") in emails else None


def _spoil_batches(simulation: Simulation, status: int) -> None:
    """Answer every operation of a batch with this status, or lose it (0)."""
    simulation.state.batches.spoil = lambda _: status


def _slow_batches(simulation: Simulation) -> None:
    simulation.state.batches.seconds = 3600.0


def _forget_batches(simulation: Simulation) -> None:
    nobody = Fault(status=404, headers={"content-type": "application/json"}, body=b"{}")
    simulation.fail(nobody, times=100, when=lambda method, path: method == "GET" and "/batches/" in path)


def _operations(sent: Sent) -> Iterable[Sent]:
    mailchimp = importlib.import_module("tests.connectors.esps.mailchimp.conftest")
    found: Iterable[Sent] = mailchimp.operations(sent)
    return found


# Brevo


def _show_brevo(state: Any) -> Mapping[str, Shown]:
    return {
        email: Shown(_fields(each.fields), each.lists - {EVERYBODY}, not each.blocked)
        for email, each in state.contacts.items()
    }


def _refuse_brevo(state: Any, emails: frozenset[str]) -> None:
    problem = brevo_invalid("This contact is not wanted")
    state.objection = lambda body: problem if body.get("email") in emails else None


def _fate(fate: str) -> Callable[[Simulation], None]:
    def set_fate(simulation: Simulation) -> None:
        simulation.state.processes.fate = fate

    return set_fate


# Autopilot


def _show_autopilot(state: Any) -> Mapping[str, Shown]:
    shown = {}
    for person in state.people.values():
        each = state.contact(person.email)
        values = {**each.fields, "SINCE": str(each.fields.get("SINCE", ""))[:10]}
        mailable = not person.unsubscribed and not person.events
        shown[person.email] = Shown(_fields(values), each.tags, mailable)
    return shown


def _refuse_autopilot(state: Any, emails: frozenset[str]) -> None:
    state.objection = lambda body: "This contact is not wanted." if body.get("Email") in emails else None


# Ortto


def _show_ortto(state: Any) -> Mapping[str, Shown]:
    shown = {}
    for email, each in state.contacts.items():
        person = state.person(email)
        mailable = person.permitted and not (person.archived_at or person.suppressed_at or person.bounced)
        values = {id_.rpartition(":")[2].upper(): value for id_, value in each.fields.items()}
        if "ORDERS" in values:
            values["ORDERS"] = Decimal(values["ORDERS"]) / 1000
        if day := values.get("SINCE"):
            values["SINCE"] = date(day["year"], day["month"], day["day"])
        shown[email] = Shown(_fields(values), each.tags, mailable)
    return shown


def _refuse_ortto(state: Any, emails: frozenset[str]) -> None:
    def spoil(body: Mapping[str, Any]) -> str | None:
        return "This contact is not wanted" if body["fields"].get("str::email") in emails else None

    state.spoil = spoil


def _slow_queue(simulation: Simulation) -> None:
    simulation.state.queue_seconds = 60.0


def _lose_queue(simulation: Simulation) -> None:
    simulation.state.lose_queued = True


# Hooks


def _show_hook(state: Any) -> Mapping[str, Shown]:
    return {
        email: Shown(_fields(each.fields), frozenset(each.lists), each.subscribed)
        for email, each in state.contacts.items()
    }


def _refuse_hook(state: Any, emails: frozenset[str]) -> None:
    state.objection = lambda body: 422 if body["data"]["email"] in emails else None


def _sign_up_at_hook(state: Any, email: str) -> None:
    contact = importlib.import_module("connectors.esps.webhook.simulator").HookContact
    state.contacts[email] = contact(subscribed=True)


def _leave_hook(state: Any, email: str) -> None:
    state.contacts[email].subscribed = False


# Files: the state is the path


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _show_file(path: Path) -> Mapping[str, Shown]:
    return {
        row["email"]: Shown(
            _fields({name: value.removeprefix("'") for name, value in row.items() if name not in OURS}),
            frozenset(read_lists(row["lists"])),
            row["consent"] == "subscribed",
        )
        for row in _rows(path)
    }


def _drop_row(path: Path, email: str) -> None:
    _write_rows(path, [row for row in _rows(path) if row["email"] != email])


def _write_file(path: Path, email: str, consent: str) -> None:
    rows = [row for row in _rows(path) if row["email"] != email]
    _write_rows(path, [*rows, {"email": email, "consent": consent}])


def _write_rows(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    names = dict.fromkeys(name for row in [dict.fromkeys(OURS, ""), *rows] for name in row)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names, restval="")
        writer.writeheader()
        writer.writerows(rows)


def _columns(path: Path) -> list[str]:
    with path.open(encoding="utf-8", newline="") as file:
        return next(csv.reader(file))


ROWS: Mapping[str, Row] = {
    "autopilot": Row(
        show=_show_autopilot,
        extent=lambda state: len(state.people),
        made=lambda state: [*(label for _, label in state.custom_fields), *state.lists.values()],
        add=lambda state, email: state.add(email),
        departures={
            "unsubscribed": lambda state, email: state.unsubscribe(email),
            "bounced": lambda state, email: state.bounce(email),
            "complained": lambda state, email: state.complain(email),
        },
        told=frozenset({"unsubscribed", "bounced", "complained"}),
        wrong=("api_key", "fedcba9876543210fedcba9876543210"),
        refuse=_refuse_autopilot,
        vanish=lambda state, email: state.delete(email),
        lose=lambda state, name: state.delete_list(name),
        impossible=((), (" ",)),
        many=60,
        crowd=300,
        unhurried={"PER_SECOND": 1e6},
        specs=(("autopilot-v1-derived.openapi.yaml", "/v1"),),
    ),
    "brevo": Row(
        show=_show_brevo,
        extent=lambda state: len(state.stored),
        made=lambda state: [*state.attributes, *(each.name for each in state.lists.values())],
        add=lambda state, email: state.add(email),
        departures={"blocked": lambda state, email: state.block(email)},
        told=frozenset({"blocked"}),
        settings={"confirmation_template": 3, "confirmation_url": "https://shop.example/thanks"},
        wrong=("api_key", "xkeysib-fedcba9876543210"),
        refuse=_refuse_brevo,
        vanish=lambda state, email: state.delete(state.existing(email)),
        lose=lambda state, name: state.delete_list(name),
        jobs={"fails": _fate("failed"), "is never found": _fate("lost"), "never ends": _fate("stuck")},
        impossible=(("é!", "A B"), ()),
        unhurried={"CONTACTS_PER_SECOND": None},
        specs=(
            ("brevo-v3-2024-06.swagger.json", "/v3"),
            ("brevo-v3-2026-derived.openapi.json", "/v3"),
        ),
    ),
    "csv": Row(
        show=_show_file,
        extent=lambda path: len(_rows(path)),
        made=_columns,
        add=lambda path, email: _write_file(path, email, "subscribed"),
        departures={"unsubscribed": lambda path, email: _write_file(path, email, "unsubscribed")},
        told=frozenset({"unsubscribed"}),
        wrong=("path", "nowhere/contacts.csv"),
        vanish=_drop_row,
        typed=False,
        many=10,
    ),
    "mailchimp": Row(
        show=_show_mailchimp,
        extent=lambda state: len(state.members),
        made=lambda state: [*state.merge_fields, *(each.name for each in state.segments.values())],
        add=lambda state, email: state.add(email),
        departures={
            "unsubscribed": lambda state, email: state.unsubscribe(email),
            "cleaned": lambda state, email: state.clean(email),
            "archived": lambda state, email: state.archive(email),
            "forgotten": lambda state, email: state.forget(email),
        },
        lose=lambda state, name: state.delete_list(name),
        told=frozenset({"unsubscribed", "cleaned", "archived"}),
        wrong=("api_key", "fedcba9876543210fedcba9876543210-us21"),
        refuse=_refuse_mailchimp,
        jobs={
            "fails": lambda simulation: _spoil_batches(simulation, 500),
            "loses all": lambda simulation: _spoil_batches(simulation, 0),
            "is slow": _slow_batches,
            "is never found": _forget_batches,
        },
        impossible=(("é!", "A B", "TOOLONGANAME"), (" ",)),
        specs=(
            ("mailchimp-marketing-3.0.55.openapi.json", "/3.0"),
            ("mailchimp-marketing-2025-requests.openapi.json", "/3.0"),
        ),
        many=60,
        expand=_operations,
        storage="/batch-results/",
    ),
    "ortto": Row(
        show=_show_ortto,
        extent=lambda state: len(state.people),
        made=lambda state: [each.name for each in state.custom_fields],
        add=lambda state, email: state.add(email),
        departures={
            "unsubscribed": lambda state, email: state.unsubscribe(email),
            "bounced": lambda state, email: state.bounce(email),
            "suppressed": lambda state, email: state.suppress(email),
            "archived": lambda state, email: state.hide(email),
        },
        told=frozenset({"unsubscribed", "bounced", "suppressed", "archived"}),
        wrong=("api_key", "PRK-fedcba9876543210"),
        refuse=_refuse_ortto,
        vanish=lambda state, email: state.delete(email),
        jobs={"is slow": _slow_queue, "loses all": _lose_queue},
        impossible=(("bol::p",), (" ",)),
        unhurried={"PER_SECOND": 1e6},
        specs=(("ortto-v1-derived.openapi.yaml", "/v1"),),
    ),
    "webhook": Row(
        show=_show_hook,
        extent=lambda state: len(state.messages),
        made=lambda _: (),
        add=_sign_up_at_hook,
        departures={"unsubscribed": _leave_hook},
        told=frozenset(),
        wrong=("url", "http://hooks.test/catch/7654321/d4c3b2a1"),
        refuse=_refuse_hook,
        typed=False,
        real_clock=True,
        many=10,
        crowd=105,
    ),
}


Clock = Callable[[], datetime]
_FURNISHED: dict[str, tuple[Simulation, Clock]] = {}
"""A simulator of each type with fields and lists, and its clock: copies of it save most requests."""


def _furnished(type_: str, clock: Clock) -> Simulation | None:
    made = _FURNISHED.get(type_)
    return _copied(*made, clock) if made else None


def _copied(simulation: Simulation, old: Clock, new: Clock) -> Simulation:
    """Copy all of a simulator, which goes by another clock then and has seen no requests."""
    copied = copy.deepcopy(simulation, {id(old): new})
    copied.requests.clear()
    return copied


class Harness:
    """One ESP and its simulator; `simulation` and `recorder` are None where nothing goes over HTTP."""

    def __init__(self, type_: str, folder: Path, pauses: Sequence[float], *, bare: bool = False) -> None:
        """Make a simulator: with fields and lists where a test has made them before, `bare` without."""
        self.row = ROWS[type_]
        self._type = type_
        self._class = esp_types()[type_]
        self._stack = AsyncExitStack()
        self.simulation: Simulation | None = None
        self.recorder: Recorder | None = None
        if type_ == "csv":
            self.state: Any = folder / f"{len(list(folder.iterdir()))}.csv"
            self.settings: dict[str, Any] = {"path": str(self.state)}
            return
        module = importlib.import_module(f"connectors.esps.{type_}.simulator")
        began = datetime.now(UTC)
        clock = utc_now if self.row.real_clock else lambda: began + timedelta(seconds=sum(pauses))
        self.simulation = (None if bare else _furnished(type_, clock)) or module.simulator(clock=clock)
        self._clock = clock
        self.recorder = Recorder(self.simulation)
        self.state = self.simulation.state
        self.settings = {**module.SETTINGS, **self.row.settings}

    @asynccontextmanager
    async def life(self) -> AsyncIterator["Harness"]:
        """Let all HTTP end at the simulator; close every connector that was made."""
        async with self._stack:
            if self.recorder:
                self._stack.enter_context(answered_by(self.recorder))
            yield self

    def connect(self, **settings: Any) -> Esp:
        """Make a connector, as a process that has just been started would."""
        made: Esp = self._class(self._class.Settings(**{**self.settings, **settings}))
        self._stack.push_async_callback(made.aclose)
        return made

    async def ready(self) -> Esp:
        """Make a connector whose fields and lists are there."""
        esp = self.connect()
        untouched = self.simulation is not None and not self.simulation.requests
        assert await esp.prepare(FIELDS, LISTS) == {}
        if self.simulation and untouched and self._type not in _FURNISHED:
            _FURNISHED[self._type] = (_copied(self.simulation, self._clock, self._clock), self._clock)
        return esp

    def everybody(self) -> Mapping[str, Shown]:
        return self.row.show(self.state)

    def shown(self, email: str) -> Shown:
        return self.everybody()[email]

    @property
    def mailable(self) -> set[str]:
        return {email for email, shown in self.everybody().items() if shown.mailable}

    def add(self, email: str) -> None:
        """Let somebody sign up at the ESP itself."""
        self.row.add(self.state, email)

    def depart(self, how: str, email: str) -> None:
        self.row.departures[how](self.state, email)

    def refuse(self, emails: Iterable[str]) -> None:
        """Make the ESP take everybody but these, or skip where it takes whatever comes."""
        if self.row.refuse is None:
            pytest.skip("it takes whatever comes")
        self.row.refuse(self.state, frozenset(emails))

    def requests(self) -> int:
        return len(self.simulation.requests) if self.simulation else 0

    def violations(self) -> list[str]:
        """Say what in our requests the vendor's own descriptions do not know."""
        specs = self.row.specs
        if self.recorder is None or not specs or missing_specs(*(name for name, _ in specs)):
            return []
        storage = self.row.storage
        return violations(
            self.recorder.sent,
            [spec(name, base) for name, base in specs],
            expand=self.row.expand,
            ignore=lambda sent: storage is not None and sent.path.startswith(storage),
        )


def anew(refusals: Sequence[Refusal]) -> set[int]:
    """Say whose contacts had nothing of ours; everything landed."""
    assert {each.blame for each in refusals} <= {Blame.ANEW}
    assert len({each.profile for each in refusals}) == len(refusals)
    return {each.profile for each in refusals}


async def push_all(esp: Esp, contacts: Sequence[Contact]) -> list[Refusal]:
    """Push in batches of the ESP's own size."""
    size = esp.traits.batch_size
    found: list[Refusal] = []
    for start in range(0, len(contacts), size):
        found += await esp.push(contacts[start : start + size])
    return found


async def change_all(
    esp: Esp, name: str, join: Sequence[Member], leave: Sequence[Member] = ()
) -> list[Refusal]:
    """Change a list in batches of the ESP's own size."""
    size = esp.traits.list_batch_size
    found: list[Refusal] = []
    for start in range(0, max(len(join), len(leave)), size):
        found += await esp.change_list(name, join[start : start + size], leave[start : start + size])
    return found


async def told(esp: Esp, since: datetime | None = None) -> set[str]:
    return {opt_out.email for page in [page async for page in esp.opt_outs(since)] for opt_out in page}
