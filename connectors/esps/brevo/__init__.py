CONNECTOR = "connectors.esps.brevo.connector:Brevo"
"""By name: the simulator beside it runs without it."""
ALIASES = ("sendinblue",)
