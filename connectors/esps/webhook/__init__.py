CONNECTOR = "connectors.esps.webhook.connector:Webhook"
SETTINGS = "connectors.esps.webhook.settings:WebhookSettings"
TRAITS = "connectors.esps.webhook.traits:TRAITS"
"""By name: a check of files runs without the connector, and so does the simulator beside it."""
