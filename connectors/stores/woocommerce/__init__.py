CONNECTOR = "connectors.stores.woocommerce.connector:WooCommerce"
SETTINGS = "connectors.stores.woocommerce.settings:WooCommerceSettings"
"""By name: a check of files runs without the connector, and so does the simulator beside it."""
