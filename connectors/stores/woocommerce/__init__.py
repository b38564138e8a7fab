from connectors.stores.woocommerce.connector import WooCommerce as Connector

__all__ = ["Connector"]
