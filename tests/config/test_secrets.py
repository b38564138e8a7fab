import pytest


def key_of(loaded):
    return loaded.settings.stores["boutique"].settings.key.get_secret_value()


def test_the_environment_wins_over_env_and_env_over_a_file(loaded, folder):
    (folder / "secret").write_text("from the file\n")
    (folder / ".env").write_text("SHOP_KEY=from env\nMAILER_KEY=x\n")

    both = loaded(environ={"SHOP_KEY": "from the environment", "SHOP_KEY_FILE": "secret"})
    env = loaded(environ={"SHOP_KEY_FILE": "secret"})

    assert key_of(both) == "from the environment"
    assert key_of(env) == "from env"


@pytest.mark.parametrize(
    ("content", "expected"),
    [("abc\n", "abc"), ("abc\r\n", "abc"), ("abc", "abc"), ("a\nb\n\n", "a\nb\n"), (" ş🎈 \n", " ş🎈 ")],
)
def test_a_container_secret_is_a_files_content_without_the_last_newline(loaded, folder, content, expected):
    (folder / "secret").write_bytes(content.encode())

    found = loaded(environ={"SHOP_KEY_FILE": str(folder / "secret"), "MAILER_KEY": "x"})

    assert key_of(found) == expected


def test_env_may_name_the_file_relative_to_the_folder(loaded, folder):
    (folder / "secret").write_text("abc")
    (folder / ".env").write_text("SHOP_KEY_FILE=secret\nMAILER_KEY=x\n")

    assert key_of(loaded(environ={})) == "abc"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "does not exist"),
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"\xff\xfe", "is not UTF-8"),
        (b"x" * 200_000, "is larger than 100,000 bytes"),
    ],
)
def test_a_container_secret_that_cannot_be_read_is_named_without_its_content(refused, folder, content, said):
    if content is not None:
        (folder / "secret").write_bytes(content)

    problems = refused(environ={"SHOP_KEY_FILE": "secret", "MAILER_KEY": "x"})

    which = f"`SHOP_KEY_FILE` names the file secret, which {said}"
    assert problems == [f"cartwire.yaml:7: stores.boutique.key: {which}"]


def test_env_is_read_as_python_dotenv_does_but_takes_dollars_as_they_stand(loaded, folder):
    text = "# remark\n\nexport SHOP_KEY='p${HOME}a$$ word # 1'\nMAILER_KEY=abc # a remark\n"
    (folder / ".env").write_text("\ufeff" + text)

    found = loaded(environ={})

    assert key_of(found) == "p${HOME}a$$ word # 1"
    assert found.settings.esps["news"].settings.api_key.get_secret_value() == "abc"


def test_broken_lines_of_env_are_problems_and_the_others_count(refused, folder):
    (folder / ".env").write_text("SHOP_KEY=x\nthis is nothing\nMAILER_KEY=y\n")

    assert refused(environ={}) == ['.env:2: this is not NAME=value; quote the value: NAME="…"']


def test_an_env_that_is_a_folder_or_not_utf_8_is_a_problem(refused, folder):
    (folder / ".env").write_bytes(b"A=1\nB=\xff\n")
    not_utf8 = refused()
    (folder / ".env").unlink()
    (folder / ".env").mkdir()
    a_folder = refused()

    assert not_utf8 == [".env:2: is not UTF-8; save the file in that encoding"]
    assert a_folder == [".env: is a folder, not a file"]


def test_a_set_but_empty_variable_is_a_problem(refused):
    assert refused(environ={"SHOP_KEY": "", "MAILER_KEY": "x"}) == [
        "cartwire.yaml:7: stores.boutique.key: `SHOP_KEY` is empty; give it a value in the environment or in .env"
    ]


def test_names_stand_anywhere_inside_text_and_two_dollars_escape(loaded, good):
    text = good.replace("${SHOP_KEY}", "a${SHOP_KEY}b$${SHOP_KEY}$c").replace(
        "shop.example", "${SHOP}.example"
    )

    found = loaded(text, {"SHOP_KEY": "1", "MAILER_KEY": "${SHOP_KEY}", "SHOP": "outlet"})

    assert key_of(found) == "a1b${SHOP_KEY}$c"
    assert found.settings.stores["boutique"].settings.url == "https://outlet.example"
    assert found.settings.esps["news"].settings.api_key.get_secret_value() == "${SHOP_KEY}"


def test_a_number_or_a_choice_can_come_from_the_environment(loaded, good):
    more = "    page_size: ${ROWS}\n    verify: ${VERIFY}\n    key:"

    found = loaded(
        good.replace("    key:", more), {"SHOP_KEY": "a", "MAILER_KEY": "b", "ROWS": "50", "VERIFY": "false"}
    )

    settings = found.settings.stores["boutique"].settings
    assert (settings.page_size, settings.verify) == (50, False)


def test_a_literal_secret_earns_a_warning_with_its_line_and_not_its_value(loaded, good):
    text = (
        good.replace("${SHOP_KEY}", "ck_literal") + "database: postgresql+psycopg://me:hunter2@db/cartwire\n"
    )

    found = loaded(text)

    advice = "a secret stands in the file; write `${NAME}` and set NAME in the environment or in .env"
    assert [str(warning) for warning in found.warnings] == [
        f"cartwire.yaml:19: database: {advice}",
        f"cartwire.yaml:7: stores.boutique.key: {advice}",
    ]
    assert found.secrets == {"ck_literal", "mk_canary", "hunter2"}


def test_p8_neither_a_problem_nor_a_repr_shows_a_value_from_the_environment(refused, loaded, good):
    canary = "canary-4711"
    environ = {"SHOP_KEY": "x", "MAILER_KEY": canary}
    fields = ("Europe/Paris", "EUR", "https://shop.example", "every 5 minutes", "mappings/crm.yaml")
    entries = ("type: shop", "[boutique]", "esp: news", "audience: abc123")
    text = good
    for value in fields:
        text = text.replace(value, "${MAILER_KEY}")
    for entry in entries:
        key = entry.partition(":")[0]
        text = text.replace(entry, f"{key}: ${{MAILER_KEY}}" if ":" in entry else '["${MAILER_KEY}"]')

    problems = refused(text + "    consent: ${MAILER_KEY}\n    limits: ${MAILER_KEY}\n", environ)
    good_one = loaded(good, environ)

    assert len(problems) == 9
    assert canary not in "\n".join(problems)
    assert canary not in repr(good_one)
