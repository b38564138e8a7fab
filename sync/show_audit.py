"""What an audit found, shown to people and to scripts, with what to do about it."""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

from state.audits import Drift
from sync.audit import AuditReport, Month, StoreAudit, figures
from sync.show import as_json, as_table, say


def _document(report: AuditReport) -> dict[str, Any]:
    people = [asdict(drift) for drift in report.esp.samples]
    found = {"sync": report.sync, "people": report.esp.drifted, "orders": report.orders}
    return found | figures(report) | {"stores": [asdict(each) for each in report.stores], "samples": people}


def show_audit(report: AuditReport, *, json: bool) -> None:
    if json:
        as_json(_document(report))
        return
    for store in report.stores:
        _show_store(store)
    _show_esp(report)


def _show_store(store: StoreAudit) -> None:
    if store.skipped:
        say(f"stores.{store.store}: not compared: {store.skipped}")
        return
    rows = [
        (
            each.month,
            each.stored,
            each.counted,
            ", ".join(f"{amount} {currency}" for currency, amount in each.sales.items()),
        )
        for each in store.months
    ]
    as_table(f"orders of {store.store}", ["month", "here", "there", "paid, as stored"], rows)
    if store.unreadable:
        say(f"stores.{store.store}: {store.unreadable} orders are dead letters")
    for words in _advice(store):
        say(f"stores.{store.store}: {words}")


def _advice(store: StoreAudit) -> Iterator[str]:
    """Say what differs between a store and us, and what to do about it."""
    if store.deleted:
        yield f"{store.deleted} orders are gone there, and count here no more"
    if store.hidden:
        yield (
            f"{store.hidden} orders are not to be seen there: more than its count lacks, or too many to be gone."
            f" Nothing was changed{_letters(store)}; look at `url` and at the key's rights, and read again what is missing:"
            f" {_reading(store, lambda month: month.counted != month.stored)}"
        )
    elif store.surplus and not store.deleted:
        yield f"{store.surplus} orders are not there any more; to count them no more: cartwire audit … --repair"
    if store.drift > store.surplus:
        yield (
            f"{store.drift - store.surplus} orders are only there; read again what is missing:"
            f" {_reading(store, lambda month: (month.counted or 0) > month.stored)}"
        )


def _letters(store: StoreAudit) -> str:
    """Say that dead letters hide how many are gone: the store counts them, and here they do not."""
    return "; mend the dead letters first, if they are of those months" if store.unreadable else ""


def _reading(store: StoreAudit, differs: Callable[[Month], bool]) -> str:
    first = next(each.month for each in store.months if each.counted is not None and differs(each))
    return f"cartwire backfill … --store {store.store} --since {first}-01"


def _show_esp(report: AuditReport) -> None:
    esp = report.esp
    if esp.skipped:
        say(f"contacts: not compared: {esp.skipped}")
        return
    say(f"contacts: {esp.compared} compared, {esp.drifted} drifted, {esp.missing} of them missing")
    counts = [("field", *each) for each in esp.fields.most_common()]
    counts += [("list", *each) for each in esp.lists.most_common()]
    if counts:
        as_table("drift", ["of", "name", "people"], counts)
    if esp.lower or esp.higher:
        say(f"status: {esp.lower} not mailed though they agreed, {esp.higher} mailed without our doing")
        say("A status is nothing that Cartwire repairs: look at them at the ESP.")
    if esp.samples:
        as_table("first people", ["profile", "address", "repair"], [_plan(drift) for drift in esp.samples])
    if esp.drifted and not report.repaired:
        say("The next run writes this again after: cartwire audit … --repair")


def _plan(drift: Drift) -> tuple[int, str, str]:
    """Say what a repair would write."""
    if drift.missing:
        return drift.profile, drift.email, "create again, without a subscription"
    steps = [f"write {name}" for name in drift.fields]
    steps += [f"{'leave' if inside else 'join'} {name}" for name, inside in drift.lists.items()]
    return drift.profile, drift.email, ", ".join(steps)
