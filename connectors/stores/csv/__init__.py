CONNECTOR = "connectors.stores.csv.connector:CsvStore"
SETTINGS = "connectors.stores.csv.settings:CsvStoreSettings"
"""By name: a check of files runs without the connector, and so does the simulator beside it."""
