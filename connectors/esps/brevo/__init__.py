CONNECTOR = "connectors.esps.brevo.connector:Brevo"
SETTINGS = "connectors.esps.brevo.settings:BrevoSettings"
TRAITS = "connectors.esps.brevo.traits:traits_for"
"""By name: a check of files runs without the connector, and so does the simulator beside it."""
ALIASES = ("sendinblue",)
