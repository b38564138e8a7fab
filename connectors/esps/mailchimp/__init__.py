from connectors.esps.mailchimp.connector import Mailchimp

Connector = Mailchimp

__all__ = ["Connector", "Mailchimp"]
