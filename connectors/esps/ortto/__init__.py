CONNECTOR = "connectors.esps.ortto.connector:Ortto"
SETTINGS = "connectors.esps.ortto.settings:OrttoSettings"
TRAITS = "connectors.esps.ortto.traits:TRAITS"
"""By name: a check of files runs without the connector, and so does the simulator beside it."""
