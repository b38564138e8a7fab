"""P8 over the whole way: pull, plan, push and every failure on it, and nothing written gives anybody away."""

import io
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import pytest
import structlog

from config.logging import configure
from connectors.errors import ConnectorError
from connectors.esps.mailchimp import simulator as mailchimp
from connectors.esps.mailchimp.simulated.audience import Problem
from connectors.simulation import Fault, Kind
from connectors.stores.woocommerce import simulator as woocommerce
from state import runs
from sync.audit import audit
from sync.connections import check_connections
from sync.forget import forget_everywhere
from sync.plant import read_plant
from sync.status import status_of
from tests.canaries import leaks
from tests.sync.conftest import World

NOW = datetime(2026, 2, 1, tzinfo=UTC)
WHO = "zzcanary@example.com"
PERSON = {
    "email": WHO,
    "first_name": "Zzfirst",
    "last_name": "Zzlast",
    "phone": "+33698765432",
    "country": "FR",
}
CANARIES = ("zzcanary", "zzfirst", "zzlast", "98765432", "98 76 54 32")
QUOTE = f"{WHO} (+33 6 98 76 54 32) is not wanted, says "
"""What anybody at the other end might quote who has seen no more than a request's address, and its key."""
ESP_QUOTE = QUOTE + mailchimp.SETTINGS["api_key"]
MAPPING = """
fields: {FNAME: first_name, LNAME: last_name, PHONE: phone, ORDERS: orders_count, BADNUMBER: orders_count}
lists: {Customers: orders_count >= 1}
"""


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """Let the real log write into a stream, at its most talkative."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure(json=True, level="debug", secrets=[], stream=stream)
    yield stream
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


def given_away(text: str) -> list[str]:
    return [*leaks(text), *(canary for canary in CANARIES if canary in text.lower())]


async def everything_told(world: World) -> str:
    """Collect what an owner, a metric or a health check could be shown without asking for a person."""
    async with world.open() as cartwire:
        letters = await cartwire.db.read(runs.list_dead_letters, [*cartwire.stores, *cartwire.syncs])
        runs_made = await cartwire.db.read(runs.list_runs, most=99)
        told = [
            [asdict(letter) for letter in letters],
            [asdict(run) for run in runs_made],
            await status_of(cartwire),
            [report.as_dict() for report in world.reports],
        ]
        told.append(await check_connections(cartwire))
    return json.dumps(told, default=str)


def faults(quote: str) -> Iterator[tuple[Fault, int]]:
    """Quote people in every kind of error, and say how often in a row."""
    body = json.dumps({"title": "Invalid Resource", "detail": quote, "message": quote, "code": "x"}).encode()
    kind = {"content-type": "application/json"}
    for status in (400, 403, 422):
        yield Fault(status=status, headers=kind, body=body), 1
    yield Fault(status=200, headers=kind, body=quote.encode()), 1
    yield Fault(Kind.TRUNCATE), 1
    yield Fault(status=502, body=f"<html>{quote}</html>".encode()), 8


def objection(title: str, field: str) -> Callable[[Mapping[str, Any]], Problem | None]:
    """Refuse contacts with this field, with all that was sent of them in the words."""

    def refuse(body: Mapping[str, Any]) -> Problem | None:
        sent = body.get("merge_fields") or {}
        words = f"{', '.join(str(value) for value in sent.values())}: {ESP_QUOTE}"
        errors = [{"field": field, "message": words}] if title == "Invalid Resource" else []
        return Problem(400, title, words, errors) if field in sent else None

    return refuse


async def test_P8_nothing_that_is_written_on_the_whole_way_gives_anybody_away(
    world: World, written: io.StringIO
) -> None:
    world.configure(
        mapping=MAPPING, extra="    limits: {new_contacts: 999}\n"
    )  # so that faults meet the push
    number = world.shop.state.add_order(email=WHO, total="5.00")
    world.shop.state.update_order(number, row={"billing": PERSON})
    broken = world.shop.state.add_order(email=WHO, total="6.00")
    world.shop.state.update_order(broken, row={"billing": PERSON, "total": f"{WHO} Zzlast"})
    world.news.state.objection = objection("Invalid Resource", "BADNUMBER")
    for at_shop, at_news in zip(
        faults(QUOTE + woocommerce.SETTINGS["secret"]), faults(ESP_QUOTE), strict=True
    ):
        world.shop.fail(at_shop[0], times=at_shop[1])
        world.news.fail(at_news[0], times=at_news[1])
        await world.run()
    await world.backfill()
    world.news.state.objection = objection("Bad Request", "ORDERS")
    other = {**PERSON, "email": "zzcanary-2@example.com"}
    number = world.shop.state.add_order(email=other["email"], total="7.00")
    world.shop.state.update_order(number, row={"billing": other})
    await world.run()
    told = await everything_told(world)
    async with world.open() as cartwire:
        await audit(cartwire, cartwire.syncs["crm"], NOW, repair=True)
        world.news.fail(
            Fault(status=403, headers={"content-type": "application/json"}, body=ESP_QUOTE.encode())
        )
        failed = await forget_everywhere(cartwire, WHO, NOW)
        await forget_everywhere(cartwire, WHO, NOW)

    log = written.getvalue()
    assert log.count("\n") > 100
    assert "remote_failed" in log
    assert len(json.loads(told)[0]) >= 2
    assert given_away(log) == []
    assert given_away(told) == []
    assert given_away(" ".join(failed.failed.values())) == []


async def test_P8_a_wrong_configuration_is_refused_without_its_secrets(world: World) -> None:
    file = world.folder / "cartwire.yaml"
    text = file.read_text("utf-8")

    for wrong in (
        "syncs:\n  crm: {api_key: 0123456789abcdef0123456789abcdef}",
        "syncs: [cs_0123, {",
        "api_key",
    ):
        file.write_text(text.replace("syncs:", wrong, 1), "utf-8")
        with pytest.raises(Exception, match=r"cartwire\.yaml") as raised:
            read_plant(world.folder, {})
        assert given_away(str(raised.value)) == []


async def test_P8_what_a_connector_raises_quotes_nobody(world: World) -> None:
    async with world.open() as cartwire:
        for status in (400, 401, 403, 404, 409, 418, 451):
            fault = Fault(
                status=status, headers={"content-type": "application/json"}, body=ESP_QUOTE.encode()
            )
            world.news.fail(fault, times=2)
            with pytest.raises(ConnectorError) as raised:
                await cartwire.esps["news"].prepare(cartwire.syncs["crm"].job.mapping.fields, ["Customers"])
            assert given_away(str(raised.value)) == []
            world.news.fail(fault, times=0)
