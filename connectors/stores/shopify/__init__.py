CONNECTOR = "connectors.stores.shopify.connector:Shopify"
SETTINGS = "connectors.stores.shopify.settings:ShopifySettings"
"""By name: a check of files runs without the connector, and so does the simulator beside it."""
