"""The parts of the simulated Shopify."""
