"""From the owner's files to everything wired: what is refused at the door (P7)."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from config.errors import ConfigError
from connectors.esps.autopilot import simulator as autopilot
from connectors.esps.mailchimp import simulator as mailchimp
from connectors.esps.mailchimp import traits
from sync.plant import read_plant, scope_of
from sync.reload import stamp
from tests.sync.conftest import MAPPING, World


def problems(folder: Path) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        read_plant(folder, {})
    return [str(problem) for problem in raised.value.problems]


def test_P7_an_ESP_that_cannot_ask_is_not_asked_for_double_opt_in(world: World) -> None:
    file = world.folder / "cartwire.yaml"
    text = file.read_text().replace("type: mailchimp", "type: autopilot")
    text = text.replace(mailchimp.SETTINGS["api_key"], autopilot.SETTINGS["api_key"])
    lines = [line for line in text.splitlines() if "audience" not in line]
    file.write_text("\n".join([*lines, "    consent: double_opt_in", ""]))

    (said,) = problems(world.folder)

    assert said.startswith(f"cartwire.yaml:{len(lines) + 1}: syncs.crm.consent: `news` cannot ask")
    assert "`never_subscribe`" in said


def test_P7_a_field_that_the_ESP_cannot_hold_is_named_with_its_line(world: World) -> None:
    (world.folder / "mappings" / "crm.yaml").write_text(MAPPING + "  A: true\n")
    text = MAPPING.replace("  ORDERS: orders_count", "  年齢: orders_count")
    (world.folder / "mappings" / "crm.yaml").write_text(text)

    (said,) = problems(world.folder)

    assert said.startswith("mappings/crm.yaml:4: fields.年齢:")


def test_a_mapping_may_extend_a_file_beside_it(world: World) -> None:
    (world.folder / "mappings" / "base.yaml").write_text(MAPPING)
    (world.folder / "mappings" / "crm.yaml").write_text("extends: base.yaml\nlists:\n  Loyal: null\n")

    plant = read_plant(world.folder, {})

    assert [each.name for each in plant.mappings["crm"].lists] == ["Customers"]


def test_P7_a_mapping_that_extends_itself_is_refused(world: World) -> None:
    (world.folder / "mappings" / "crm.yaml").write_text("extends: crm.yaml\n")

    (said,) = problems(world.folder)

    assert "extends itself" in said


def test_P7_mistakes_in_an_extended_file_name_that_file(world: World) -> None:
    (world.folder / "mappings" / "base.yaml").write_text("fields:\n\tX: 1\n")
    (world.folder / "mappings" / "crm.yaml").write_text("extends: base.yaml\n")

    (said,) = problems(world.folder)

    assert said.startswith("mappings/base.yaml:2")


def test_P7_a_trigger_is_named_where_the_ESP_has_none(world: World) -> None:
    text = MAPPING.replace("Loyal: orders_count >= 2", "Loyal: {when: orders_count >= 2, trigger: 0003}")
    (world.folder / "mappings" / "crm.yaml").write_text(text)

    (said,) = problems(world.folder)

    assert said.startswith("mappings/crm.yaml:9: lists.Loyal.trigger: news has no triggers")


def test_P7_brevo_asks_for_a_confirmation_only_with_a_template(world: World) -> None:
    file = world.folder / "cartwire.yaml"
    text = file.read_text().replace("type: mailchimp", "type: sendinblue")
    lines = [line for line in text.splitlines() if "audience" not in line]
    file.write_text("\n".join([*lines, "    consent: double_opt_in", ""]))

    (said,) = problems(world.folder)

    assert "give it `confirmation_template` and `confirmation_url`, or write `from_store`" in said
    template = "    confirmation_template: 3\n    confirmation_url: https://shop.example/thanks\n    api_key"
    file.write_text(file.read_text().replace("    api_key", template, 1))
    assert read_plant(world.folder, {}).loaded.warnings


def test_an_ESP_that_cannot_rename_earns_a_warning(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traits, "TRAITS", replace(traits.TRAITS, can_rename=False))

    warnings = [str(warning) for warning in read_plant(world.folder, {}).loaded.warnings]

    assert any("syncs.crm.esp: `news` cannot change a contact's address" in each for each in warnings)


def test_a_parameter_that_nothing_uses_earns_a_warning(world: World) -> None:
    text = """
extends: preset:crm
parameters: {recent_day: 20, churned_months: 4, ltv_high: 900}
formulas: {basket: spent_in(days => 90), unused: basket / 2}
lists: {Fans: null}
"""
    (world.folder / "mappings" / "crm.yaml").write_text(text)

    warnings = [str(warning) for warning in read_plant(world.folder, {}).loaded.warnings]

    assert [each for each in warnings if "no expression" in each] == [
        "mappings/crm.yaml:3: parameters.recent_day: no expression uses it; did you mean `recent_days`?",
        "mappings/crm.yaml:4: formulas.unused: no expression uses it",
    ]


def test_P4_what_is_refused_in_a_store_of_another_brand_is_none_of_ours(world: World) -> None:
    """Another brand is a store that only syncs into other ESPs read; one that no sync reads is none."""
    file = world.folder / "cartwire.yaml"
    (shop,) = re.findall(r"stores:\n(  shop:\n(?:    .*\n)+)", file.read_text())
    more = "".join(shop.replace("  shop:", f"  {name}:") for name in ("corner", "left", "brand"))
    text = file.read_text().replace(shop, shop + more)
    text = text.replace("esps:\n", "esps:\n  sheet: {type: csv, path: out.csv}\n")
    other = "  {0}:\n    stores: [{0}]\n    esp: {1}\n    mapping: mappings/crm.yaml\n"
    file.write_text(text + other.format("corner", "news") + other.format("brand", "sheet"))

    scope = scope_of(read_plant(world.folder, {}).settings, "crm")

    assert (scope.stores, scope.strangers) == (("shop",), ("brand",))


def test_a_shop_that_a_sync_reads_under_two_names_earns_a_warning(world: World) -> None:
    file = world.folder / "cartwire.yaml"
    (shop,) = re.findall(r"stores:\n(  shop:\n(?:    .*\n)+)", file.read_text())
    text = file.read_text().replace(shop, shop + shop.replace("  shop:", "  again:"))
    file.write_text(text.replace("stores: [shop]", "stores: [shop, again]"))

    warnings = [str(warning) for warning in read_plant(world.folder, {}).loaded.warnings]

    assert any(
        "`shop` and `again` are one shop: each of its orders would count twice" in each for each in warnings
    )


def test_syncs_that_would_undo_each_other_earn_a_warning(world: World) -> None:
    file = world.folder / "cartwire.yaml"
    second = "  second:\n    stores: [shop]\n    esp: news\n    mapping: mappings/{}.yaml\n"
    file.write_text(file.read_text() + second.format("crm"))

    warnings = [str(warning) for warning in read_plant(world.folder, {}).loaded.warnings]

    (said,) = (each for each in warnings if "syncs.second.mapping" in each)
    assert "writes Customers, FNAME, LASTORD, … into `news`, and so does `crm`" in said
    into_a_file = file.read_text().replace("esps:\n", "esps:\n  sheet: {type: csv, path: out.csv}\n")
    file.write_text("esp: sheet".join(into_a_file.rsplit("esp: news", 1)))
    assert not [each for each in read_plant(world.folder, {}).loaded.warnings if "so does" in str(each)]
    file.write_text("esp: news".join(into_a_file.rsplit("esp: news", 1)))
    (world.folder / "mappings" / "own.yaml").write_text(
        "fields: {MINE: orders_count}\nlists: {Own: orders_count > 1}\n"
    )
    file.write_text(
        file.read_text().replace("mapping: mappings/crm.yaml\n", "mapping: mappings/own.yaml\n", 1)
    )
    assert not [each for each in read_plant(world.folder, {}).loaded.warnings if "so does" in str(each)]


def test_a_parameter_of_another_kind_than_the_one_it_replaces_is_named_where_it_stands(world: World) -> None:
    text = """
extends: preset:crm
parameters:
  high_value_factor: 1,5
  loyal_orders: two
  ltv_by: orders
"""
    (world.folder / "mappings" / "crm.yaml").write_text(text)

    assert problems(world.folder)[:2] == [
        "mappings/crm.yaml:4: parameters.high_value_factor: `1,5` is not a number; write 1.5",
        "mappings/crm.yaml:5: parameters.loyal_orders: `two` is not a number; write a number, as the inherited 2",
    ]


@pytest.mark.parametrize(
    ("extends", "said"),
    [
        ("crm", "the file `crm` does not exist; did you mean `preset:crm`?"),
        ("foo.yaml", "the file `foo.yaml` does not exist; name a file beside it, or `preset:crm`"),
    ],
)
def test_a_mapping_that_extends_nothing_is_told_where_that_is_written(
    world: World, extends: str, said: str
) -> None:
    (world.folder / "mappings" / "crm.yaml").write_text(f"lists: {{}}\nextends: {extends}\n")

    assert problems(world.folder) == [f"mappings/crm.yaml:2: extends: {said}"]


def extending(world: World, base: str) -> str:
    """Let the sync's mapping extend a file in another folder; return what is said of the configuration."""
    folder = world.folder / "mappings" / "shared"
    folder.mkdir()
    (folder / "base.yaml").write_text(base)
    (world.folder / "mappings" / "crm.yaml").write_text("extends: shared/base.yaml\n")
    try:
        return "\n".join(map(str, read_plant(world.folder, {}).loaded.warnings))
    except ConfigError as error:
        return str(error)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("fields: {BAD: ordes_count}", "mappings/shared/base.yaml:2: fields.BAD: "),
        ("lists: {L: {when: true, journy: true}}", "mappings/shared/base.yaml:2: lists.L.journy: "),
        (
            "parameters: {nobodys: 3}",
            "mappings/shared/base.yaml:2: parameters.nobodys: no expression uses it",
        ),
    ],
)
def test_P7_a_mistake_in_a_file_that_a_mapping_extends_is_named_with_that_file(
    world: World, line: str, said: str
) -> None:
    assert said in extending(world, f"extends: preset:basics\n{line}\n")


def test_a_file_that_a_mapping_extends_is_watched_wherever_it_stands(world: World) -> None:
    extending(world, "extends: preset:basics\n")
    before = stamp(world.plant, {})

    (world.folder / "mappings" / "shared" / "base.yaml").write_text("extends: preset:crm\n# more\n")

    assert stamp(world.plant, {}) != before
