from connectors.esps.webhook.connector import Webhook

Connector = Webhook

__all__ = ["Connector", "Webhook"]
