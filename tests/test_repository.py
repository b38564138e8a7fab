"""Facts about the repository itself that nobody should have to remember."""

import re
import subprocess
import tomllib
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from sqlalchemy import create_engine
from sqlalchemy.exc import StatementError
from sqlmodel import Session, SQLModel

from state.bookkeeping import CursorRow

ROOT = Path(__file__).parents[1]
PACKAGES = {"connectors", "config", "state", "mappings", "sync"}
TOP_LEVEL = PACKAGES | {
    ".ci",
    ".dockerignore",
    ".gitignore",
    ".importlinter",
    "CHANGELOG.md",
    "Dockerfile",
    "LICENSE",
    "Makefile",
    "README.md",
    "bench",
    "compose.yaml",
    "docs",
    "pyproject.toml",
    "requirements-dev.lock",
    "requirements.lock",
    "tests",
}
REGISTRIES = ("pypi" + ".org", "python" + "hosted.org", "npmjs" + ".org", "deb.debian" + ".org")
"""Hosts that no file may name: everybody has their own mirror. Joined here so that this file names none."""


def files() -> list[Path]:
    """List what git has or would take."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    if listed.returncode != 0:
        pytest.skip("this is no git clone")
    return [ROOT / name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


def test_the_top_level_holds_only_what_is_known():
    found = {path.relative_to(ROOT).parts[0] for path in files()}

    assert found - TOP_LEVEL == set()


def test_code_lies_in_the_five_packages_tests_and_bench_only():
    folders = {path.relative_to(ROOT).parts[0] for path in files() if path.suffix == ".py"}

    assert folders - {"bench"} == PACKAGES | {"tests"}


def test_every_folder_of_tests_is_a_package():
    folders = {path.parent for path in files() if ROOT / "tests" in path.parents and path.suffix == ".py"}

    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_a_lock_pins_every_package_with_hashes_and_names_no_index(name):
    text = (ROOT / name).read_text()
    entries = re.split(r"\n(?=\S)", text.strip())

    assert len(entries) > 20
    assert [entry for entry in entries if not re.match(r"[\w.\[\],-]+==\S+.*\\\n", entry)] == []
    assert [entry for entry in entries if "--hash=sha256:" not in entry] == []
    assert "://" not in text
    assert "index-url" not in text


def test_the_locks_hold_every_dependency_and_agree():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    run, dev = (
        dict(re.findall(r"^([\w.-]+)(?:\[[^\]]*\])?==([^\s;]+)", (ROOT / name).read_text(), re.MULTILINE))
        for name in ("requirements.lock", "requirements-dev.lock")
    )

    def names(wanted):
        return {re.match(r"[\w.-]+", line)[0].replace(".", "-").lower() for line in wanted}

    assert names(project["dependencies"] + extras["build"]) - run.keys() == set()
    assert names(extras["dev"]) - dev.keys() == set()
    assert run.items() - dev.items() == set()


def test_no_file_names_the_host_of_a_package_registry():
    texts = {path: path.read_bytes() for path in files()}

    named = [path for path, text in texts.items() if any(host.encode() in text for host in REGISTRIES)]

    assert named == []


@pytest.fixture
def session():
    engine = create_engine("sqlite://")
    SQLModel.metadata.create_all(engine)
    with Session(engine) as session:
        yield session
    engine.dispose()


def test_sqlmodel_refuses_a_naive_datetime(session):
    session.add(CursorRow(store="s", resource="orders", since=datetime(2024, 1, 1)))  # noqa: DTZ001 - the point

    with pytest.raises(StatementError):
        session.commit()


def test_sqlmodel_gives_every_moment_back_as_aware_utc(session):
    moment = datetime(2024, 1, 1, 12, tzinfo=timezone(timedelta(hours=3)))
    session.add(CursorRow(store="s", resource="orders", since=moment))
    session.commit()
    session.expire_all()

    found = session.get(CursorRow, ("s", "orders"))

    assert found.since == datetime(2024, 1, 1, 9, tzinfo=UTC)
    assert found.since.utcoffset() == timedelta(0)
