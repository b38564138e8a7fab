CONNECTOR = "connectors.esps.mailchimp.connector:Mailchimp"
SETTINGS = "connectors.esps.mailchimp.settings:MailchimpSettings"
TRAITS = "connectors.esps.mailchimp.traits:TRAITS"
"""By name: a check of files runs without the connector, and so does the simulator beside it."""
