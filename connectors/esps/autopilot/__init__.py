CONNECTOR = "connectors.esps.autopilot.connector:Autopilot"
"""By name: the simulator beside it runs without it."""
