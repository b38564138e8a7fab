from connectors.stores.shopify.connector import Shopify as Connector

__all__ = ["Connector"]
