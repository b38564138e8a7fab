CONNECTOR = "connectors.stores.prestashop.connector:PrestaShop"
SETTINGS = "connectors.stores.prestashop.settings:PrestaShopSettings"
"""By name: a check of files runs without the connector, and so does the simulator beside it."""
