CONNECTOR = "connectors.esps.ortto.connector:Ortto"
"""By name: the simulator beside it runs without it."""
