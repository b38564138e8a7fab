import os
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from config.yaml import MAX_BYTES, Document, parse, read


def said(text: str | bytes) -> list[str]:
    content = text if isinstance(text, bytes) else text.encode()
    return [str(problem) for problem in parse(content, "f").problems]


def test_keys_and_numbers_stay_text_as_written():
    text = b"id: 0123456789\nexp: 12e4567890\n0123: 2.50\nnull: 1_000\ntrue: 2024-01-02\n"

    document = parse(text, "f")

    assert document.data == {
        "id": "0123456789",
        "exp": "12e4567890",
        "0123": "2.50",
        "null": "1_000",
        "true": "2024-01-02",
    }


def test_folded_text_is_one_line_without_marks_of_the_folds():
    text = b"when: >-\n  orders_count > 1\n  and country = 'FR'\ntitle: >\n  My\n  title\n"

    assert parse(text, "f").data == {"when": "orders_count > 1 and country = 'FR'", "title": "My title\n"}


def test_norway_is_a_country_and_only_true_false_and_null_are_more_than_text():
    text = b"a: NO\nb: off\nc: yes\nd: true\ne: False\nf: null\ng:\nh: ~\ni: 'true'\nj: !!str null\n"

    document = parse(text, "f")

    assert document.data == {
        "a": "NO", "b": "off", "c": "yes", "d": True, "e": False,
        "f": None, "g": None, "h": None, "i": "true", "j": "null",
    }  # fmt: skip


def test_a_directive_for_yaml_1_1_does_not_bring_back_its_booleans():
    document = parse(b"%YAML 1.1\n---\na: NO\n", "f")

    assert document.data == {"a": "NO"}


def test_lines_are_known_for_keys_entries_and_the_nearest_parent():
    document = parse(b"a:\n  b:\n    - one\n    - {c: 1,\n       d: 2}\n", "f")

    assert document.line_of(["a"]) == 1
    assert document.line_of(["a", "b"]) == 2
    assert document.line_of(("a", "b", 1)) == 4
    assert document.line_of(["a", "b", 1, "d"]) == 5
    assert document.line_of(["a", "b", 1, "missing", "deep"]) == 4
    assert document.line_of(["nothing"]) == 1


def test_a_file_may_begin_with_a_byte_order_mark_and_hold_turkish_and_emoji():
    document = parse("İstanbul: çiğ 🎈\n".encode("utf-8-sig"), "f")

    assert document.data == {"İstanbul": "çiğ 🎈"}


def test_windows_line_ends_are_fine():
    document = parse(b"a: 1\r\nb:\r\n  - x\r\n", "f")

    assert document.data == {"a": "1", "b": ["x"]}
    assert document.line_of(["b", 0]) == 3


def test_an_alias_stands_for_what_its_anchor_names():
    document = parse(b"a: &x {b: [1, &y two]}\nc: *x\nd: *y\n", "f")

    assert document.data == {"a": {"b": ["1", "two"]}, "c": {"b": ["1", "two"]}, "d": "two"}
    assert document.line_of(["c", "b"]) == 1


def test_duplicate_keys_are_all_named_and_the_rest_is_read():
    document = parse(b"a: 1\na: 2\nb:\n  c: 1\n  c: 2\nd: 3\n", "f")

    assert [str(problem) for problem in document.problems] == [
        "f:2: a: the key stands here twice, first on line 1; remove one of them",
        "f:5: b.c: the key stands here twice, first on line 4; remove one of them",
    ]
    assert document.data == {"a": "1", "b": {"c": "1"}, "d": "3"}


UNQUOTED = (
    "an unquoted `${NAME}` inside braces or brackets; "
    'put it in quotes ("${NAME}"), or give each key a line of its own'
)
BOMB = "a0: &a0 [x]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n" for level in range(1, 7)
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "f: is empty; write `key: value` lines"),
        ("# only a remark\n", "f: is empty; write `key: value` lines"),
        ("---\n", "f: is empty; write `key: value` lines"),
        ("null\n", "f: is empty; write `key: value` lines"),
        ("- a\n- b\n", "f:1: must hold keys and values; write `key: value` lines"),
        ("just text\n", "f:1: must hold keys and values; write `key: value` lines"),
        ("a: 1\n\tb: 2\n", "f:2: a tab; YAML indents with spaces only"),
        ("a:\n\tb: 2\n", "f:2: a tab; YAML indents with spaces only"),
        (
            "a: 1\nb: {token: ${X}}\n",
            f"f:2: {UNQUOTED}",
        ),
        (
            "b: [${X}, ${Y}]\n",
            f"f:1: {UNQUOTED}",
        ),
        ("a: 'x\nb: 1\n", "f:1: a quote, a brace or a bracket is not closed"),
        ("a: {x: 1\nb: 2\n", "f:2: a brace or a bracket is not closed, or a comma is missing"),
        ("a: [1,\n", "f:2: a quote, a brace or a bracket is not closed"),
        ("a: @b\n", 'f:1: no text may start with `@`; put the text in quotes: "…"'),
        ("a: %b\n", 'f:1: no text may start with `%`; put the text in quotes: "…"'),
        ("a: * 2\n", 'f:1: no text may start with `*` or `&`; put the text in quotes: "…"'),
        ("a: *b\n", 'f:1: `*b` refers to nothing above; put the text in quotes: "…"'),
        ("a: &a [*a]\n", 'f:1: `*a` refers to nothing above; put the text in quotes: "…"'),
        ("a: b: c\n", 'f:1: a second `:` on this line, or a wrong indentation; put the text in quotes: "…"'),
        ('a: "b" c\n', 'f:1: text behind a closing quote, or a wrong indentation; put the text in quotes: "…"'),
        ('a: "\\q"\n', "f:1: an unknown escape in double quotes; use single quotes: '…'"),
        ("a: 1\n  b: 2\n", 'f:2: a second `:` on this line, or a wrong indentation; put the text in quotes: "…"'),
        ("a:\n    b: 1\n  c: 2\n", "f:3: the indentation does not fit the lines above"),
        ("a: 1\n---\nb: 2\n", "f:2: `---` begins a second document; one file holds one"),
        ("a: 1\n--- [\n", "f:2: `---` begins a second document; one file holds one"),
        ("a: !!python/object:os.system x\n", "f:1: the tag `!!python/object:os.system` means nothing here; remove it"),
        ("a: !mine {b: 1}\n", "f:1: the tag `!mine` means nothing here; remove it"),
        ("!x y: 1\n", "f:1: the tag `!x` means nothing here; remove it"),
        ("a: !!binary aGk=\n", "f:1: the tag `!!binary` means nothing here; remove it"),
        ("a: &x {b: 1}\nc:\n  <<: *x\n", "f:3: `<<` is not part of YAML 1.2; repeat the keys"),
        ("? [a]\n: b\n", "f:1: a key must be text; if braces or brackets belong to it, put it in quotes"),
        ("a: 1\n: b\n", "f:2: a key is missing before `:`"),
        ("a: 1\nb: \x07\n", "f:2: a character that YAML does not allow (U+0007)"),
        ("a: " + "[" * 5000, "f:1: nested more than 40 levels deep"),
        ("a: " + "{b: " * 5000, "f:1: nested more than 40 levels deep"),
        (BOMB, "f:6: more than 100,000 entries, aliases unfolded"),
        ('a: "\\UFFFFFFFF"\n', "f: is not YAML"),
    ],
)  # fmt: skip
def test_p7_what_is_no_yaml_is_said_with_its_line(text, expected):
    assert said(text) == [expected]


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_another_encoding_than_utf_8_is_said(encoding):
    content = "a: 1\nb: é\n".encode(encoding)

    (problem,) = parse(content, "f").problems

    assert problem.what == "is not UTF-8"
    assert problem.line == (2 if encoding == "latin-1" else 1)


def test_an_unquoted_name_outside_braces_is_text():
    document = parse(b"a: ${X}\nb: {c: '${X}', d: \"${Y}\"}\n", "f")

    assert document.data == {"a": "${X}", "b": {"c": "${X}", "d": "${Y}"}}


def test_what_is_no_readable_file_is_said(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "huge").write_bytes(b"#" * (MAX_BYTES + 1))

    found = {
        name: str(read(tmp_path / name, "f").problems[0])
        for name in (".", "pipe", "huge", "none", "a\0b", "x" * 300)
    }

    assert found == {
        ".": "f: is a folder, not a file",
        "pipe": "f: is not a regular file",
        "huge": f"f: is larger than {MAX_BYTES:,} bytes",
        "none": "f: does not exist",
        "a\0b": "f: cannot be read (no possible file name)",
        "x" * 300: "f: cannot be read (File name too long)",
    }


@given(st.binary(max_size=200))
@example(b'a: "\\UFFFFFFFF"')
@example(b"%YAML 9.9\n---\na: 1")
@example(b"%TAG ! \x00")
@example(b"{}")
def test_p7_no_bytes_at_all_crash_the_reading(content):
    document = parse(content, "f")

    assert isinstance(document, Document)
    assert document.problems or isinstance(document.data, dict)


@given(st.text(alphabet="ab:-?!&*#|>%@`'\"[]{},~<= \n\t$1.e", max_size=60))
@example("? a\n? b")
@example("a: |9\n x")
@example("a: !!str &x *x")
def test_p7_no_jumble_of_yaml_signs_crashes_the_reading(text):
    document = parse(text.encode(), "f")

    assert isinstance(document.data, dict)
