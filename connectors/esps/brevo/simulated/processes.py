"""The background jobs of Brevo's simulator: imports, and what they leave in their reports."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from connectors.esps.brevo.simulated.contacts import Problem, SimulatedContacts, not_found

STAGES = ("queued", "in_process", "completed")
Body = Mapping[str, Any]


@dataclass(slots=True)
class Process:
    number: int
    body: Body | None
    submitted: datetime
    stage: int = 0
    status: str | None = None
    reports: dict[str, list[str]] = field(default_factory=dict)

    @property
    def state(self) -> str:
        return self.status or STAGES[self.stage]


class Processes:
    """An import goes one stage further with each look, or is done `seconds` after it was sent.

    `fate` is what becomes of imports: "completed", "failed", "lost" (nobody knows them) or "stuck".
    """

    def __init__(
        self, contacts: SimulatedContacts, clock: Callable[[], datetime], seconds: float | None
    ) -> None:
        self.fate = "completed"
        self.notified: list[str] = []
        self.found: dict[int, Process] = {}
        self._contacts = contacts
        self._clock = clock
        self._seconds = seconds

    def submit(self, body: Body) -> int:
        number = len(self.found) + 78
        self.found[number] = Process(number, body, self._clock())
        return number

    def look(self, number: int) -> Process:
        """Go on with a process and return it."""
        process = self.found.get(number)
        if process is None or self.fate == "lost":
            raise not_found("Process ID does not exist")
        self._advance(process)
        return process

    def tick(self) -> None:
        """Finish what is due by the clock, whether anybody looks or not."""
        if self._seconds is not None:
            for process in self.found.values():
                self._advance(process)

    def _advance(self, process: Process) -> None:
        if process.body is None or self.fate == "stuck":
            return
        if self._seconds is None:
            process.stage += 1
        elif self._clock() - process.submitted >= timedelta(seconds=self._seconds):
            process.stage = len(STAGES) - 1
        if process.stage == len(STAGES) - 1:
            self._finish(process, process.body)

    def _finish(self, process: Process, body: Body) -> None:
        process.body = None
        if self.fate == "failed":
            process.status = "failed"
            return
        if "notifyUrl" in body:
            self.notified.append(body["notifyUrl"])
        for row in body["jsonBody"]:
            try:
                self._take(row, body)
            except Problem as problem:
                kind = "duplicate_phone_id" if problem.duplicates else "invalid_emails"
                process.reports.setdefault(kind, []).append(str(row.get("email")))

    def _take(self, row: Body, body: Body) -> None:
        """Take one row: flags and lists count for all of them, and booleans of old contacts do not change."""
        flags = {"emailBlacklisted": True} if body.get("emailBlacklist") else {}
        flags |= {"smsBlacklisted": True} if body.get("smsBlacklist") else {}
        attributes = row.get("attributes") or {}
        contact = self._contacts.find(row.get("email"))
        if contact is None:
            filled = {name: value for name, value in attributes.items() if value != ""}
            self._contacts.create(
                {**flags, "email": row.get("email"), "attributes": filled, "listIds": body.get("listIds")}
            )
            return
        if body.get("updateExistingContacts", True):
            kept = {name: value for name, value in attributes.items() if not isinstance(value, bool)}
            if not body.get("emptyContactsAttributes"):
                kept = {name: value for name, value in kept.items() if value != ""}
            self._contacts.update(contact, {**flags, "attributes": kept})
        for number in body.get("listIds") or ():
            self._contacts.existing_list(number).members.add(contact.number)
