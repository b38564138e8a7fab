"""What comes from stores is shown as it is written: it is no markup, and steers no terminal."""

import io
import json
import sys

import pytest

from sync.show import STAND_IN, as_json, as_table, say
from sync.terminal import stop

TITLE, COLOUR, DELETE, ONE_BYTE, TURN = "\x1b]0;mine\x07", "\x1b[31m", "\x7f", "\x9b31m", "\u202e"
STEERING = f"{TITLE}{COLOUR}{DELETE}{ONE_BYTE}{TURN}"
LEFT = f"{STAND_IN}]0;mine{STAND_IN}{STAND_IN}[31m{STAND_IN}{STAND_IN}31m{STAND_IN}"


def test_a_table_shows_brackets_and_colons_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    as_table("Buyers [b2b]", ["list [red]"], [["Ada [/b]"], ["[bold]"], [":smile:"], [None]])

    shown = capsys.readouterr().out

    for text in ("Buyers [b2b]", "list [red]", "Ada [/b]", "[bold]", ":smile:", " - "):
        assert text in shown


def test_a_table_without_a_header_begins_with_its_rows(capsys: pytest.CaptureFixture[str]) -> None:
    as_table("", (), [["one", "two"]])

    assert "one" in capsys.readouterr().out.splitlines()[1]


def test_what_steers_a_terminal_stays_out_of_tables_and_lines(capsys: pytest.CaptureFixture[str]) -> None:
    as_table(f"a{STEERING}", [f"b{STEERING}"], [[f"c{STEERING}"]])
    say(f"d{STEERING}\nAda")
    say(f"e{STEERING}", err=True)
    with pytest.raises(SystemExit):
        stop(f"f{STEERING}\ng", 2)

    shown = capsys.readouterr()

    assert shown.out.splitlines()[-1] == f"d{LEFT} Ada"
    assert shown.err.splitlines() == [f"e{LEFT}", f"f{LEFT}", "g"]
    for name in "abc":
        assert f"{name}{LEFT}" in shown.out


@pytest.mark.parametrize(("encoding", "written"), [("latin-1", 0), ("ascii", 0), ("utf8", 4)])
def test_JSON_is_exact_whatever_the_output_can_write(
    monkeypatch: pytest.MonkeyPatch, encoding: str, written: int
) -> None:
    content = {"Käufer": "日本 😀 \\u2026"}
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, encoding=encoding, errors="replace"))

    as_json(content)

    text = out.getvalue().decode(encoding)
    assert json.loads(text) == content
    assert sum(not sign.isascii() for sign in text) == written


def test_a_narrow_terminal_cuts_nothing_off(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")

    as_table("orders", ["status", "counts?", "number"], [["partially_refunded", "counted in full", "1" * 30]])

    shown = capsys.readouterr().out
    assert "…" not in shown
    assert [shown.count(sign) for sign in "1dy"] == [30, 4, 1]
