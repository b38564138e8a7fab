import io
import json
import logging
import warnings

import pytest
import structlog

from config.logging import configure

SECRET = "s3cret/canary+4711"
ADDRESS = "ada.lövelace+shop@exämple.com"


@pytest.fixture
def out():
    """Give a stream to log to; put everything back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield io.StringIO()
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def events(out):
    return [json.loads(line) for line in out.getvalue().splitlines()]


@pytest.mark.parametrize("as_json", [True, False])
def test_p8_neither_a_secret_nor_an_address_is_ever_logged(out, as_json):
    configure(json=as_json, level="debug", secrets=[SECRET, "s3cret"], stream=out)
    log = structlog.get_logger().bind(key=SECRET)
    structlog.contextvars.bind_contextvars(who=ADDRESS)

    log.info(ADDRESS, text=f"token {SECRET}!", url="https://x.example/?q=ada%40example.com&k=1")
    log.info(
        "nested", rows=[{"email": ADDRESS, ADDRESS: 1}, (SECRET,)], kinds={SECRET}, exc=ValueError(ADDRESS)
    )
    log.info("encoded", url="https://x.example/s3cret%2Fcanary%2B4711/y", raw=f"<{SECRET}>".encode())
    try:
        int(f"{ADDRESS} and {SECRET}")
    except ValueError:
        log.exception("failed")
        logging.getLogger("uvicorn").exception("failed for %s with %s", ADDRESS, SECRET)
    logging.getLogger("httpx").warning("GET https://x.example/?email=%s", ADDRESS)

    text = out.getvalue()
    assert text.count("(secret)") >= 7
    for canary in (SECRET, "canary", "lövelace", "exämple", "@", "%40"):
        assert canary not in text


def test_events_are_json_lines_with_their_context(out):
    configure(json=True, level="info", secrets=[], stream=out)
    structlog.contextvars.bind_contextvars(run=7, sync="crm")

    structlog.get_logger().info("page_pulled", store="boutique", rows=100, seconds=0.5, done=True, gone=None)

    (event,) = events(out)
    moment = event.pop("timestamp")
    assert moment.endswith("Z")
    assert event == {
        "event": "page_pulled", "level": "info", "run": 7, "sync": "crm", "store": "boutique",
        "rows": 100, "seconds": 0.5, "done": True, "gone": None,
    }  # fmt: skip


def test_the_level_holds_for_ours_and_warning_for_others(out):
    configure(json=True, level="info", secrets=[], stream=out)

    structlog.get_logger().debug("unseen")
    structlog.get_logger().info("seen")
    logging.getLogger("httpx").info("unseen")
    logging.getLogger("alembic.runtime").warning("seen")

    assert [(event["event"], event.get("logger")) for event in events(out)] == [
        ("seen", None),
        ("seen", "alembic.runtime"),
    ]


def test_python_warnings_are_events(out):
    configure(json=True, level="info", secrets=[], stream=out)

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn(f"odd {ADDRESS}", stacklevel=1)
        logging.captureWarnings(capture=False)

    (event,) = events(out)
    assert event["logger"] == "py.warnings"
    assert "odd (address)" in event["event"]


def test_configuring_again_replaces_secrets_and_does_not_double_events(out):
    configure(json=True, level="info", secrets=[], stream=out)
    log = structlog.get_logger()
    log.info("before", key=SECRET)

    configure(json=True, level="info", secrets=[SECRET], stream=out)
    log.info("after", key=SECRET)
    logging.getLogger("x").warning("once")

    assert [event.get("key") for event in events(out)] == [SECRET, "(secret)", None]


def test_very_short_secrets_do_not_riddle_the_log(out):
    configure(json=True, level="info", secrets=["", "a", "abc"], stream=out)

    structlog.get_logger().info("an abc of it all")

    assert events(out)[0]["event"] == "an abc of it all"
