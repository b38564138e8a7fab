"""What Mailchimp can express."""

from connectors.base import FieldType, Traits

MAX_FIELDS = 30
"""Merge fields that an audience holds, those that were there before us among them."""
VENDOR_TYPES = {FieldType.TEXT: "text", FieldType.NUMBER: "number", FieldType.DATE: "date"}
TEXT_BYTES = 255
"""What a text merge field holds, in UTF-8 bytes; longer text is cut, as Mailchimp would refuse it."""

TRAITS = Traits(
    place=frozenset({"audience"}),
    batch_size=1000,
    list_batch_size=500,
    pushes=8,  # of batches most of the time is waiting; what is in flight at once, CONNECTIONS says
    field_types=frozenset(VENDOR_TYPES),
    max_fields=MAX_FIELDS,
    short_names=True,
    name_pattern=r"^[A-Z][A-Z0-9_]{0,9}$",
    name_rule="up to 10 upper-case letters, digits and _, beginning with a letter (a merge tag)",
    builtin_fields=frozenset({"FNAME", "LNAME"}),
    text_bytes=TEXT_BYTES,
)
