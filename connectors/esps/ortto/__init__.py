from connectors.esps.ortto.connector import Ortto

Connector = Ortto

__all__ = ["Connector", "Ortto"]
