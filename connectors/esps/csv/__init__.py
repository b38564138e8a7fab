from connectors.esps.csv.connector import Csv

Connector = Csv

__all__ = ["Connector", "Csv"]
