from connectors.stores.csv.connector import CsvStore as Connector

__all__ = ["Connector"]
