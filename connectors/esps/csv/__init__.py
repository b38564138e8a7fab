CONNECTOR = "connectors.esps.csv.connector:Csv"
SETTINGS = "connectors.esps.csv.settings:CsvSettings"
TRAITS = "connectors.esps.csv.traits:TRAITS"
"""By name: a check of files runs without the connector, and so does the simulator beside it."""
