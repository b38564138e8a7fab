"""The rows of syncs, their runs and what waits for them: nobody touches another's."""

from datetime import timedelta

from sqlalchemy import Connection

from state import approvals, inbox, runs, syncs
from state.inbox import Received
from tests.state.makers import START

MINUTE = timedelta(minutes=1)


def begin(connection: Connection, *names: str) -> None:
    for name in names:
        connection.execute(syncs.SYNCS.insert().values(name=name))


def test_what_is_noted_of_a_sync_is_noted_of_no_other(connection: Connection) -> None:
    begin(connection, "crm", "other")

    syncs.note(connection, "crm", place="here", opt_outs_at=START)

    rows = [syncs.find(connection, name) for name in ("crm", "other")]
    assert [row and (row.place, row.opt_outs_at) for row in rows] == [("here", START), (None, None)]


def test_P11_nothing_is_let_go_where_nothing_was_held(connection: Connection) -> None:
    begin(connection, "crm")

    assert not approvals.approve(connection, "crm")
    assert not approvals.approve(connection, "unknown")


def test_P2_a_run_that_was_stopped_broke_off_and_one_that_ended_makes_up_for_it(
    connection: Connection,
) -> None:
    stopped = runs.start_run(connection, "crm", "backfill", START)
    runs.end_run(connection, stopped, runs.STOPPED, {}, START)
    left = runs.broke_off(connection, "crm", "backfill")

    done = runs.start_run(connection, "crm", "backfill", START + MINUTE)
    runs.end_run(connection, done, "done", {}, START + MINUTE)

    assert left == START
    assert runs.broke_off(connection, "crm", "backfill") is None


def test_P2_a_delivery_that_was_put_off_waits_until_its_moment_and_then_comes_again(
    connection: Connection,
) -> None:
    inbox.receive(connection, [Received("shop", "1", "order.created", b"{}", START)])
    (first,) = inbox.waiting(connection, "shop", START, 0, 9)
    inbox.put_off(connection, {first.id: START + 10 * MINUTE})

    later = {
        minutes: inbox.waiting(connection, "shop", START + minutes * MINUTE, 0, 9) for minutes in (9, 10, 11)
    }

    assert {minutes: len(found) for minutes, found in later.items()} == {9: 0, 10: 1, 11: 1}
    assert later[10][0].tries == 1
