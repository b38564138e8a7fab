from connectors.esps.brevo.connector import Brevo

ALIASES = ("sendinblue",)
Connector = Brevo

__all__ = ["ALIASES", "Brevo", "Connector"]
