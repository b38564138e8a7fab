CONNECTOR = "connectors.esps.webhook.connector:Webhook"
"""By name: the simulator beside it runs without it."""
