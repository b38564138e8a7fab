CONNECTOR = "connectors.esps.mailchimp.connector:Mailchimp"
"""By name: the simulator beside it runs without it."""
