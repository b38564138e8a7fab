CONNECTOR = "connectors.stores.shopify.connector:Shopify"
"""By name: the simulator beside it runs without it."""
