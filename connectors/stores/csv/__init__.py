CONNECTOR = "connectors.stores.csv.connector:CsvStore"
"""By name: the simulator beside it runs without it."""
