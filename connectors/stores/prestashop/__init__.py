CONNECTOR = "connectors.stores.prestashop.connector:PrestaShop"
"""By name: the simulator beside it runs without it."""
