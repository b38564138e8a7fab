"""The shape of cartwire.yaml: every key with its check and its description. Docs and JSON Schema read this."""

from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    InstanceOf,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from config import checks
from config.errors import Wrong, suggestion
from config.yaml import is_file

Currency = Annotated[str, AfterValidator(checks.currency)]
Rate = Annotated[Decimal, AfterValidator(checks.rate)]
Schedule = Annotated[str, AfterValidator(checks.schedule)]
Share = Annotated[Decimal, BeforeValidator(checks.share, json_schema_input_type=str)]
Count = Annotated[int, Field(ge=0)]
Name = Annotated[str, AfterValidator(checks.name)]
Alert = Annotated[SecretStr, AfterValidator(checks.alert)]


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=False)


class StoreConfig(Model):
    """A store, or an ESP: its type, and what its connector reads."""

    type: str = Field(description="The shop system.")
    settings: InstanceOf[BaseModel] = Field(description="The other keys, as the type's connector reads them.")


class EspConfig(Model):
    type: str = Field(description="The e-mail marketing platform.")
    settings: InstanceOf[BaseModel] = Field(description="The other keys, as the type's connector reads them.")


def _off(value: object) -> object:
    return None if value == "off" or value is False else value


def _one_limit(value: object) -> object:
    if value is None:
        raise Wrong("is empty", "leave it out for the default, or write `off`")
    return _off(value)


def _all_limits(value: object) -> object:
    if isinstance(value, str) and value != "off":
        raise Wrong("must be keys and values", "write `off`, or keys such as `new_contacts: 200`")
    return {} if value is None else _off(value)


LimitCount = Annotated[
    Count | None, BeforeValidator(_one_limit, json_schema_input_type=Count | Literal["off"])
]
LimitShare = Annotated[Share | None, BeforeValidator(_one_limit, json_schema_input_type=str)]


class Limits(Model):
    """A run that would go beyond one of these stops before its first write and waits for `cartwire approve`."""

    new_contacts: LimitCount = Field(default=200, description="Contacts that one run may create, or `off`.")
    list_changes: LimitCount = Field(
        default=500, description="Entries into and exits from lists that one run may make, or `off`."
    )
    list_share: LimitShare = Field(
        default=Decimal("0.05"),
        description="Share of a list's members that one run may add or take out, such as `5%`, or `off`.",
    )
    list_floor: Count = Field(
        default=50,
        description="So many changes of one list are never too large a share of it, however short the list.",
    )

    @model_validator(mode="after")
    def _limits_something(self) -> "Limits":
        if {self.new_contacts, self.list_changes, self.list_share} == {None}:
            raise Wrong("limits nothing", "leave one limit on, or write `limits: off`")
        return self


Days = Annotated[int, Field(ge=0, le=36_500)]


class Keep(Model):
    """For how many days what is only there for looking back stays; a day's cleaning drops the rest."""

    runs: Days = Field(
        default=90, description="Days for which runs are kept; the last one of each sync stays."
    )
    webhooks: Days = Field(
        default=7,
        description="Days for which webhooks that were read are known again when they come once more, and for which "
        "those wait whose records the store forbids us to read, or whose store no sync reads any more.",
    )

    def __str__(self) -> str:
        """Write it as an owner would."""
        return "{" + ", ".join(f"{name}: {days}" for name, days in self) + "}"


def _known_store(name: str, info: ValidationInfo) -> str:
    return _known(name, "store", info)


def _known_esp(name: str, info: ValidationInfo) -> str:
    return _known(name, "ESP", info)


def _known(name: str, kind: str, info: ValidationInfo) -> str:
    names = (info.context or {})[kind]
    if name not in names:
        raise Wrong(f"unknown {kind}", suggestion(name, names))
    return name


StoreName = Annotated[str, AfterValidator(_known_store)]
EspName = Annotated[str, AfterValidator(_known_esp)]


class SyncConfig(Model):
    """Stores → ESP under one mapping on one schedule."""

    stores: list[StoreName] = Field(description="Names of the stores to read, at least one.")
    esp: EspName = Field(description="Name of the ESP to push to.")
    mapping: str = Field(description="The mapping file, relative to this folder.")
    schedule: Schedule | None = Field(
        default=None,
        description="When to run: `every 5 minutes`, `every 2 hours`, `daily at 03:00` or a cron line. "
        "Without it the sync runs by command and by webhook only.",
    )
    refresh: Schedule | None = Field(
        default=None,
        description="When to work out anew what rests on the whole base (averages, top percent). "
        "Without it, daily at 03:00, and up to 20,000 profiles also in every run that finds news.",
    )
    consent: Literal["from_store", "never_subscribe", "double_opt_in"] = Field(
        default="from_store",
        description="Whom to subscribe: those with proof of consent from the store, nobody, "
        "or those with proof once they confirmed a mail.",
    )
    limits: Annotated[
        Limits | None, BeforeValidator(_all_limits, json_schema_input_type=Limits | Literal["off"] | None)
    ] = Field(
        default_factory=Limits,
        description="How much one run may change without being asked: see below; `off` is without limit.",
    )

    @field_validator("stores")
    @classmethod
    def _each_once(cls, names: list[str]) -> list[str]:
        if not names:
            raise Wrong("a sync without stores", "name at least one")
        twice = next((name for position, name in enumerate(names) if name in names[:position]), None)
        if twice:
            raise Wrong(f"the store `{twice}` is named twice", "name it once")
        return names

    @field_validator("mapping")
    @classmethod
    def _there(cls, file: str, info: ValidationInfo) -> str:
        folder: Path = (info.context or {})["folder"]
        if not is_file(folder / file):
            found = sorted(path.relative_to(folder).as_posix() for path in folder.glob("mappings/*.y*ml"))
            raise Wrong("the file does not exist", suggestion(file, found))
        return file


def _web(value: object) -> object:
    if value == "off" or value is False:
        return None
    if value is None or isinstance(value, str):
        raise Wrong("must be keys and values", "write `off`, or keys such as `listen: 127.0.0.1:8080`")
    return value


class Web(Model):
    """Where `cartwire run` is reached: by stores that send webhooks, and by whoever watches it."""

    listen: Annotated[str, AfterValidator(checks.listen)] = Field(
        default="127.0.0.1:8080",
        description="Address and port to listen on; `0.0.0.0:8080` in a container.",
    )
    public_url: Annotated[str, AfterValidator(checks.folder_address)] | None = Field(
        default=None,
        description="How stores reach that address from outside, such as `https://cartwire.example`; webhooks are "
        "made with it.",
    )

    def __str__(self) -> str:
        return f"listen: {self.listen}"

    @property
    def host(self) -> str:
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        return int(self.listen.rpartition(":")[2])


class Settings(Model):
    """Everything in cartwire.yaml."""

    folder: Path = Field(exclude=True, description="Where cartwire.yaml stands.")  # --dir names it
    timezone: Annotated[str, AfterValidator(checks.time_zone)] = Field(
        description="IANA time zone in which pushed dates and day counts are meant: `Europe/Paris`."
    )
    currency: Currency = Field(description="ISO 4217 currency of all totals: `EUR`.")
    rates: dict[Currency, Rate] = Field(
        default_factory=dict,
        description="How much of `currency` one unit of another is worth (`USD: 0.92`), at most 8 significant "
        "digits. Needed when stores take several currencies.",
    )
    database: Annotated[str, AfterValidator(checks.database)] = Field(
        default="sqlite:///state.db",
        repr=False,  # may hold a password
        description="The state store: an SQLite file, relative to this folder, or `postgresql+psycopg://…`.",
    )
    keep: Keep = Field(default_factory=Keep, description="Days for which things are kept for looking back.")
    web: Annotated[Web | None, BeforeValidator(_web, json_schema_input_type=Web | Literal["off"])] = Field(
        default_factory=Web,
        description="Where `cartwire run` takes webhooks and shows how it is doing, or `off`.",
    )
    stores: dict[str, StoreConfig] = Field(description="The stores, each under a name of your own.")
    esps: dict[str, EspConfig] = Field(description="The ESPs, each under a name of your own.")
    alerts: list[Alert] = Field(
        default_factory=list,
        repr=False,
        description="Where `cartwire run` tells you of trouble: addresses as apprise takes them, "
        "`jsons://example.com/hook` for a webhook, `mailtos://user:password@example.com` for mail.",
    )
    syncs: dict[Name, SyncConfig] = Field(
        min_length=1, description="The syncs, each under a name of your own."
    )

    @field_validator("rates")
    @classmethod
    def _own_rate_is_one(cls, rates: dict[str, Decimal], info: ValidationInfo) -> dict[str, Decimal]:
        own = info.data.get("currency")
        if rates.get(own or "", Decimal(1)) != 1:
            raise Wrong(f"one {own} is worth one {own}", "leave it out")
        return rates

    @property
    def database_url(self) -> str:
        """The state store with its file's full path."""
        file = self.database.removeprefix("sqlite:///")
        return self.database if file == self.database else f"sqlite:///{self.folder.resolve() / file}"
