from connectors.stores.prestashop.connector import PrestaShop as Connector

__all__ = ["Connector"]
