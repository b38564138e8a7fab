CONNECTOR = "connectors.stores.woocommerce.connector:WooCommerce"
"""By name: the simulator beside it runs without it."""
