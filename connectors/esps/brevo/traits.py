"""What Brevo can express."""

from dataclasses import replace

from connectors.base import FieldType, Traits
from connectors.esps.brevo.settings import BrevoSettings

VENDOR_TYPES = {
    FieldType.TEXT: "text",
    FieldType.NUMBER: "float",
    FieldType.DATE: "date",
    FieldType.BOOLEAN: "boolean",
}
TEXT_LENGTH = 255
"""Characters of a text that we send: Brevo names no limit, and drops without a word what it does not take."""
PHONES = ("SMS", "WHATSAPP", "LANDLINE_NUMBER")
"""Attributes that are always there, and whose values no two contacts share."""
ASKING_SIZE = 25
"""People asked to confirm in one push, some three seconds' work: as many a kill can have asked twice."""

TRAITS = Traits(
    batch_size=10_000,
    list_batch_size=150,
    asking_size=ASKING_SIZE,
    shows_asked=False,
    field_types=frozenset(VENDOR_TYPES),
    name_pattern=r"(?!(EMAIL|EXT_ID)$)[A-Z0-9_]+",
    name_rule="upper-case letters, digits and _, and not EMAIL or EXT_ID",
    builtin_fields=frozenset(PHONES),
    text_length=TEXT_LENGTH,
    ask_needs="`confirmation_template` and `confirmation_url`",
)


def traits_for(settings: BrevoSettings) -> Traits:
    """Say what can be done with these settings: asking for a confirmation needs a template."""
    return replace(TRAITS, can_ask=settings.confirmation is not None)
