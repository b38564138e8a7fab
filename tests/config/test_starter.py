import re
import stat

from config.secrets import REFERENCE
from config.settings import load
from config.starter import STARTERS, init, left_alone
from connectors.registry import esp_settings, store_settings


def test_init_makes_the_folder_and_every_file(tmp_path):
    folder = tmp_path / "new" / "shop"

    written = init(folder)

    assert written == [folder / name for name in STARTERS.values()]
    assert all(path.read_text() for path in written)
    assert left_alone(folder, written) == []
    assert stat.S_IMODE((folder / ".env").stat().st_mode) == 0o600


def test_init_leaves_alone_what_is_there(tmp_path):
    (tmp_path / "cartwire.yaml").write_text("mine")
    (tmp_path / ".env").symlink_to(tmp_path / "elsewhere")

    written = init(tmp_path)

    assert written == [tmp_path / "mappings/crm.yaml", tmp_path / ".gitignore"]
    assert left_alone(tmp_path, written) == [tmp_path / "cartwire.yaml", tmp_path / ".env"]
    assert (tmp_path / "cartwire.yaml").read_text() == "mine"
    assert not (tmp_path / "elsewhere").exists()


def test_the_starter_loads_once_its_secrets_are_set(tmp_path):
    init(tmp_path)
    names = re.findall(r"^(\w+)=$", (tmp_path / ".env").read_text(), re.MULTILINE)
    (tmp_path / ".env").write_text("".join(f"{name}=abcdef0123-us21\n" for name in names))
    environ = {"MAILCHIMP_AUDIENCE": "abc123def4"}

    loaded = load(tmp_path, store_settings(), esp_settings(), environ)

    text = (tmp_path / "cartwire.yaml").read_text()
    assert {found[2] for found in REFERENCE.finditer(text)} == set(names)
    assert loaded.warnings == ()
    assert loaded.settings.syncs["crm"].limits is not None
    assert loaded.documents["mappings/crm.yaml"].data == {"extends": "preset:crm"}


def test_secrets_and_the_state_store_stay_out_of_git(tmp_path):
    init(tmp_path)

    ignored = (tmp_path / ".gitignore").read_text().split()

    assert {".env", "state.db*"} <= set(ignored)
