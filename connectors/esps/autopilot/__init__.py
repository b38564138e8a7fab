from connectors.esps.autopilot.connector import Autopilot

Connector = Autopilot

__all__ = ["Autopilot", "Connector"]
