CONNECTOR = "connectors.esps.autopilot.connector:Autopilot"
SETTINGS = "connectors.esps.autopilot.settings:AutopilotSettings"
TRAITS = "connectors.esps.autopilot.traits:TRAITS"
"""By name: a check of files runs without the connector, and so does the simulator beside it."""
