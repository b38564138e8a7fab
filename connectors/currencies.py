"""Currencies and their digits: today's of ISO 4217, and those in which a shop's past orders stand.

ISO drops a currency from its list on the day when nobody pays in it any more, as the lev on 1 January 2026, and the
library follows with its next release. A history goes on to hold it.
"""

from collections.abc import Mapping
from functools import lru_cache

from iso4217 import Currency

RETIRED: Mapping[str, int] = {
    **dict.fromkeys(("ANG", "AZM", "BGN", "CSD", "CUC", "CYP", "EEK", "GHC", "HRK", "LTL", "LVL"), 2),
    **dict.fromkeys(("MRO", "MTL", "MZM", "SDD", "SIT", "SKK", "SLL", "STD", "TMM", "VEB", "VEF"), 2),
    **dict.fromkeys(("ZMK", "ZWD", "ZWL", "ZWR"), 2),
    **dict.fromkeys(("BYR", "ROL", "TRL"), 0),
}
"""Withdrawn since 2003: https://www.six-group.com/en/products-services/financial-information/data-standards.html, list three."""
UNLISTED: Mapping[str, int] = {
    **dict.fromkeys(("GGP", "IMP", "IRT", "JEP", "KID", "PRB"), 2),
    "USDC": 6,
    "BTC": 8,
}
"""What ISO never had, and Shopify (`CurrencyCode`) or WooCommerce (`get_woocommerce_currencies`) has."""


@lru_cache(maxsize=256)
def exponent(currency: str) -> int:
    """Decimal digits of a currency's minor unit: 2 for EUR, 0 for JPY, 3 for KWD.

    Raises ValueError for a code that never was a currency.
    """
    try:
        return Currency(currency).exponent or 0
    except ValueError:
        if (digits := RETIRED.get(currency, UNLISTED.get(currency))) is None:
            raise
        return digits
