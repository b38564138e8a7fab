import gzip
import io
import json
import tarfile
from typing import Any

import pytest

from connectors.base import Contact
from connectors.errors import RemoteFault, Unreachable
from connectors.esps.mailchimp import batches as ours
from connectors.esps.mailchimp.batches import Outcome, read_results
from connectors.esps.mailchimp.connector import Mailchimp
from connectors.simulation import Fault, Kind, Simulation
from tests.connectors.esps.specs import Recorder

PEOPLE = [Contact(number, f"person-{number}@example.com", {"FNAME": "Ada"}) for number in range(1, 61)]
LANDED = {"status_code": 200, "operation_id": "7", "response": '{"id": "1"}'}


def results_only(_: str, path: str) -> bool:
    return path.startswith("/batch-results/")


def archive(files: dict[str, Any]) -> bytes:
    """Pack files of JSON; None makes a directory, text stays as it is."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, rows in files.items():
            text = rows if isinstance(rows, str) else json.dumps(rows)
            entry = tarfile.TarInfo(name)
            entry.type = tarfile.DIRTYPE if rows is None else tarfile.REGTYPE
            entry.size = len(text) if rows is not None else 0
            tar.addfile(entry, io.BytesIO(text.encode()))
    return gzip.compress(buffer.getvalue())


async def test_an_operation_carries_its_profile_and_its_own_body(esp: Mailchimp, recorder: Recorder) -> None:
    await esp.push(PEOPLE)

    sent = json.loads(recorder.sent[0].body)["operations"]
    assert [each["operation_id"] for each in sent] == [str(contact.profile) for contact in PEOPLE]
    assert {each["method"] for each in sent} == {"PUT"}
    assert json.loads(sent[0]["body"]) == {
        "email_address": "person-1@example.com",
        "status_if_new": "transactional",
        "merge_fields": {"FNAME": "Ada"},
    }


async def test_a_thousand_contacts_are_one_batch(esp: Mailchimp, simulation: Simulation) -> None:
    refusals = await esp.push([Contact(number, f"person-{number}@example.com", {}) for number in range(1000)])

    assert refusals == []
    assert simulation.counts() == {"POST": 1, "GET": 5}
    assert len(simulation.state.contacts) == 1000


async def test_it_looks_ever_less_often(esp: Mailchimp, simulation: Simulation, pauses: list[float]) -> None:
    simulation.state.batches.seconds = 600

    await esp.push(PEOPLE)

    assert pauses[:4] == [1.0, 1.5, 2.25, 3.375]
    assert pauses[-1] == 60.0
    assert 600 <= sum(pauses) < 660


async def test_it_looks_sooner_while_batches_are_done_at_the_first_look(
    esp: Mailchimp, simulation: Simulation, pauses: list[float]
) -> None:
    for seconds in (0, 0, 0, 2, 2):
        simulation.state.batches.seconds = seconds
        await esp.push(PEOPLE)

    assert pauses == [1.0, 0.5, 0.25, 0.125, 1.5, 2.25, 1.0, 1.5]


async def test_a_batch_that_does_not_finish_within_hours_is_called_off(
    esp: Mailchimp, simulation: Simulation, pauses: list[float]
) -> None:
    simulation.state.batches.seconds = 24 * 3600

    with pytest.raises(RemoteFault, match="has not finished after 6 hours"):
        await esp.push(PEOPLE)

    assert 6 * 3600 <= sum(pauses) < 6.1 * 3600
    assert simulation.state.batches.found == {}
    assert simulation.state.contacts == {}


async def test_operations_that_got_lost_or_failed_are_sent_alone(
    esp: Mailchimp, simulation: Simulation
) -> None:
    answers = {"1": 0, "2": 500, "3": 429, "4": 403, "5": 503}
    simulation.state.batches.spoil = lambda asked: answers.get(asked["operation_id"])

    assert await esp.push(PEOPLE) == []

    assert simulation.counts()["PUT"] == len(answers)
    assert len(simulation.state.contacts) == len(PEOPLE)


async def test_a_batch_that_mailchimp_forgot_is_sent_alone(
    esp: Mailchimp, simulation: Simulation, pauses: list[float]
) -> None:
    simulation.state.batches.advance = lambda _: simulation.state.batches.found.clear()

    assert await esp.push(PEOPLE) == []

    assert len(simulation.state.contacts) == len(PEOPLE)


async def test_the_results_are_fetched_without_credentials(esp: Mailchimp, simulation: Simulation) -> None:
    await esp.push(PEOPLE)

    (download,) = (seen for seen in simulation.requests if seen.path.startswith("/batch-results/"))
    assert download.status == 200
    assert esp.tally == simulation.counts()


async def test_an_expired_link_is_asked_for_again(esp: Mailchimp, simulation: Simulation) -> None:
    simulation.fail(
        Fault(status=403, headers={"content-type": "application/xml"}), times=2, when=results_only
    )

    assert await esp.push(PEOPLE) == []

    downloads = [seen for seen in simulation.requests if seen.path.startswith("/batch-results/")]
    assert [seen.status for seen in downloads] == [403, 403, 200]
    assert len({seen.path for seen in downloads}) == 3
    assert simulation.counts()["PUT"] == 0


async def test_a_link_that_is_not_there_yet_is_asked_for_again(
    esp: Mailchimp, simulation: Simulation
) -> None:
    plain, asked = simulation.state.batches.link, []

    def late(*known: Any) -> str:
        asked.append(known)
        return plain(*known) if len(asked) > 1 else ""

    simulation.state.batches.link = late

    assert await esp.push(PEOPLE) == []
    assert len(asked) == 2
    assert simulation.counts()["PUT"] == 0


@pytest.mark.parametrize(
    "body",
    [b"", b"not gzip", gzip.compress(b"not tar"), gzip.compress(b"a" * 600)[:-9], archive({"1.json": "[{"})],
    ids=range(5),  # the bytes hold the time of day, which two workers would collect under two names
)
async def test_a_file_that_broke_off_is_fetched_again(
    esp: Mailchimp, simulation: Simulation, body: bytes
) -> None:
    simulation.fail(Fault(status=200, body=body), when=results_only)

    assert await esp.push(PEOPLE) == []
    assert simulation.counts()["PUT"] == 0


async def test_results_that_are_never_whole_end_the_push(esp: Mailchimp, simulation: Simulation) -> None:
    simulation.fail(Fault(status=200, body=b"no"), times=99, when=results_only)

    with pytest.raises(RemoteFault, match="results of a finished batch cannot be read"):
        await esp.push(PEOPLE)


async def test_a_download_that_is_lost_is_tried_again(esp: Mailchimp, simulation: Simulation) -> None:
    simulation.fail(Fault(Kind.TRUNCATE), when=results_only)
    assert await esp.push(PEOPLE) == []

    simulation.fail(Fault(Kind.DROP), times=99, when=results_only)
    with pytest.raises(Unreachable):
        await esp.push(PEOPLE)


async def test_a_batch_whose_answer_got_lost_is_sent_again(esp: Mailchimp, simulation: Simulation) -> None:
    simulation.fail(Fault(Kind.DROP), when=lambda method, _: method == "POST")

    assert await esp.push(PEOPLE) == []
    assert len(simulation.state.batches.found) == 2
    assert len(simulation.state.contacts) == len(PEOPLE)


def test_results_are_read_from_all_files() -> None:
    problem = {"title": "Invalid Resource", "status": 400}
    files = {
        "b": None,
        "b/1.json": [LANDED],
        "b/2.json": "",
        "b/3.json": [{"status_code": 400, "operation_id": "8", "response": json.dumps(problem)}],
        "../../outside.json": [{"status_code": 502, "operation_id": "9", "response": "<html>"}],
        "b/4.json": [{"status_code": 500, "operation_id": "10"}],
    }

    assert read_results(archive(files)) == {
        "7": Outcome(200, {}),
        "8": Outcome(400, problem),
        "9": Outcome(502, {}),
        "10": Outcome(500, {}),
    }


def test_results_that_were_unpacked_on_the_way_are_read() -> None:
    unpacked = gzip.decompress(archive({"1.json": [LANDED]}))

    assert read_results(unpacked) == {"7": Outcome(200, {})}


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"PK\x03\x04",
        archive({"1.json": [LANDED]})[:-20],
        archive({"1.json": {"title": "x"}}),
        archive({"1.json": ["text"]}),
        archive({"1.json": [{"status_code": "soon", "operation_id": "1"}]}),
        archive({"1.json": [{"operation_id": "1"}]}),
        archive({"1.json": "[1, 2"}),
    ],
    ids=range(8),
)
def test_a_broken_file_is_no_result(broken: bytes) -> None:
    with pytest.raises(ours._Unreadable):
        read_results(broken)


def test_a_file_that_unpacks_to_a_monster_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ours, "LARGEST_RESULT", 5000)

    with pytest.raises(ours._Unreadable):
        read_results(archive({"1.json": [LANDED] * 200}))
