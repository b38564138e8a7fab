CONNECTOR = "connectors.esps.csv.connector:Csv"
"""By name: the simulator beside it runs without it."""
