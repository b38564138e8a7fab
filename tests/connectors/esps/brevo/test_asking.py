"""Confirmation mails: nobody gets two because of our trying again."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from connectors.asgi import Reply
from connectors.base import Blame, Confirming, Contact, Member, Subscribe
from connectors.errors import Refused, Throttled
from connectors.esps.brevo import book
from connectors.esps.brevo.asking import AT_ONCE, GIVE_UP
from connectors.esps.brevo.connector import Brevo
from connectors.simulation import Fault, Kind, Simulation
from tests.connectors.esps.brevo.test_push import ADA, BOB, bodies, people
from tests.connectors.esps.specs import Recorder

PATH = "doubleOptinConfirmation"
MANY = 30


def is_asked(method: str, path: str) -> bool:
    return method == "POST" and path.endswith(PATH)


def calls(recorder: Recorder) -> Counter[str]:
    return Counter(str(body["email"]) for body in bodies(recorder, "POST", PATH))


@pytest.mark.parametrize(
    "fault", [Fault(Kind.AFTER, 504), Fault(Kind.DROP), Fault(Kind.ANSWER, 503)], ids=["504", "lost", "503"]
)
async def test_a_mail_whose_call_is_in_doubt_is_not_asked_for_again(
    asking: Brevo, simulation: Simulation, recorder: Recorder, fault: Fault
) -> None:
    simulation.fail(fault, when=is_asked)
    contacts = people(5, Subscribe.ASK, FIRSTNAME="A")

    assert await asking.push(contacts) == []

    assert calls(recorder) == {each.email: 1 for each in contacts}


@pytest.mark.parametrize(
    "fault",
    [
        Fault(Kind.ANSWER, 429, headers={"x-sib-ratelimit-reset": "3600"}),
        Fault(Kind.ANSWER, 401),
        Fault(Kind.ANSWER, 503),
        Fault(Kind.AFTER, 504),
    ],
    ids=["429", "401", "503", "504"],
)
async def test_trouble_in_the_middle_leaves_the_rest_for_later_and_asks_nobody_twice(
    asking: Brevo, simulation: Simulation, recorder: Recorder, fault: Fault
) -> None:
    pending = simulation.state.pending
    simulation.fail(
        fault, times=MANY, when=lambda method, path: is_asked(method, path) and len(pending) >= 10
    )
    contacts = people(MANY, Subscribe.ASK, FIRSTNAME="A")

    refusals = await asking.push(contacts)

    left = [each for each in contacts if each.profile in {refusal.profile for refusal in refusals}]
    assert {each.blame for each in refusals} == {Blame.LATER}
    assert MANY - 10 - GIVE_UP - AT_ONCE <= len(left) <= MANY - 10
    assert not pending.keys() & {each.email for each in left}

    simulation._planned.clear()
    recorder.sent.clear()
    assert await asking.push(left) == []
    assert calls(recorder) == {each.email: 1 for each in left}


async def test_a_brevo_that_gives_way_before_anybody_was_asked_ends_the_run(
    asking: Brevo, simulation: Simulation, recorder: Recorder
) -> None:
    simulation.fail(
        Fault(Kind.ANSWER, 429, headers={"x-sib-ratelimit-reset": "3600"}), times=MANY, when=is_asked
    )

    with pytest.raises(Throttled):
        await asking.push(people(MANY, Subscribe.ASK, FIRSTNAME="A"))

    assert sum(calls(recorder).values()) <= AT_ONCE
    assert simulation.state.pending == {}


async def test_trouble_with_other_contacts_comes_before_anybody_is_asked(
    asking: Brevo, simulation: Simulation
) -> None:
    simulation.fail(
        Fault(Kind.ANSWER, 401), when=lambda method, path: method == "POST" and path.endswith("/contacts")
    )

    with pytest.raises(Refused):
        await asking.push([*people(3, Subscribe.ASK, FIRSTNAME="A"), Contact(9, ADA, {"FIRSTNAME": "A"})])

    assert simulation.state.pending == {}


async def test_a_field_that_is_refused_costs_nobody_their_mail(
    asking: Brevo, simulation: Simulation, recorder: Recorder
) -> None:
    answers = iter([Reply(400, {"code": "invalid_parameter", "message": "LASTNAME is not valid"})])

    def refuse_once(_: str, path: Sequence[str], reply: Reply) -> Reply:
        return next(answers, reply) if path[-1] == PATH else reply

    simulation.state.mend = refuse_once

    (refusal,) = await asking.push([Contact(1, ADA, {"FIRSTNAME": "A", "LASTNAME": "L"}, Subscribe.ASK)])

    assert (refusal.blame, refusal.name) == (Blame.FIELD, "LASTNAME")
    assert bodies(recorder, "POST", PATH)[-1]["attributes"] == {"FIRSTNAME": "A"}


async def test_no_phone_number_goes_with_a_confirmation_mail(asking: Brevo, simulation: Simulation) -> None:
    phones = {"SMS": "+33612345678", "WHATSAPP": "+33612345678", "LANDLINE_NUMBER": None}

    refusals = await asking.push([Contact(1, ADA, {"FIRSTNAME": "A", **phones}, Subscribe.ASK)])
    simulation.state.confirm(ADA)

    assert [(each.blame, each.name) for each in refusals] == [(Blame.FIELD, "SMS"), (Blame.FIELD, "WHATSAPP")]
    assert simulation.state.contact(ADA).fields == {"FIRSTNAME": "A"}


@pytest.mark.parametrize("was", [None, "before@example.com"])
async def test_who_is_gone_and_was_written_before_is_not_asked_again(
    asking: Brevo, simulation: Simulation, recorder: Recorder, was: str | None
) -> None:
    (contact,) = people(1, Subscribe.ASK, FIRSTNAME="A")

    (refusal,) = await asking.push([replace(contact, known=True, was=was)])

    assert refusal.blame is Blame.CONTACT
    assert calls(recorder) == {}
    assert simulation.state.contacts == {}


async def test_two_syncs_that_push_at_once_forget_nobody_who_is_to_be_asked(
    asking: Brevo, recorder: Recorder
) -> None:
    contacts = people(6, Subscribe.ASK, FIRSTNAME="A")

    await asyncio.gather(asking.push(contacts[:3]), asking.push(contacts[3:]))

    assert calls(recorder) == {each.email: 1 for each in contacts}


# Who has confirmed


async def confirmed(esp: Confirming, since: datetime | None) -> list[str]:
    return [email async for page in esp.confirmed(since) for email in page]


async def test_who_has_clicked_since_is_told_and_nobody_before(
    asking: Brevo, simulation: Simulation, recorder: Recorder, pauses: list[float]
) -> None:
    await asking.push([Contact(1, ADA, {}, Subscribe.ASK), Contact(2, BOB, {}, Subscribe.ASK)])
    simulation.state.add("33612345678@mailin-sms.com")
    simulation.state.confirm(BOB)
    pauses.append(7200.0)
    since = simulation.state.clock() - timedelta(hours=1)

    assert await confirmed(asking, since) == []
    simulation.state.confirm(ADA)

    assert await confirmed(asking, since) == [ADA]
    assert {ADA, BOB} <= set(await confirmed(asking, None))
    assert isinstance(asking, Confirming)


async def test_who_is_dated_by_the_mail_is_told_after_the_click(
    asking: Brevo, simulation: Simulation
) -> None:
    since = simulation.state.clock() - timedelta(hours=1)
    await asking.push([Contact(1, ADA, {}, Subscribe.ASK)])
    simulation.state.confirm(ADA)
    simulation.state.existing(ADA).created -= timedelta(days=9)

    assert await confirmed(asking, since) == [ADA]


async def test_all_pages_of_those_who_clicked_are_read(
    asking: Brevo, simulation: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(book, "PAGE_SIZE", 10)
    people = [f"p{number}@example.com" for number in range(25)]
    for email in people:
        simulation.state.add(email)

    assert await confirmed(asking, simulation.state.clock() - timedelta(hours=1)) == people


@pytest.mark.parametrize("others", [[], [Member(2, BOB)]], ids=["alone", "with others"])
async def test_what_is_refused_before_the_click_says_so(
    asking: Brevo, simulation: Simulation, others: list[Member]
) -> None:
    simulation.state.add(BOB)
    await asking.prepare([], ["Fans"])
    asked = Contact(1, ADA, {"FIRSTNAME": "A"}, Subscribe.ASK)
    await asking.push([asked])

    (listed,) = await asking.change_list("Fans", [Member(1, ADA), *others], [])
    (written,) = await asking.push([replace(asked, known=True)])

    assert (listed.profile, listed.blame, written.blame) == (1, Blame.MEMBERSHIP, Blame.CONTACT)
    assert listed.reason == written.reason
    assert listed.reason.startswith(asking.unknown)
    assert "not clicked yet" in listed.reason
