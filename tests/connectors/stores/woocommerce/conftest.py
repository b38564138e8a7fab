from collections.abc import AsyncIterator, Callable

import pytest
import respx

from connectors.stores.woocommerce.connector import WooCommerce
from connectors.stores.woocommerce.simulator import SETTINGS
from tests.connectors.stores.conftest import connecting

Connect = Callable[..., WooCommerce]


@pytest.fixture
async def connect(router: respx.MockRouter) -> AsyncIterator[Connect]:
    """Open connectors to a simulator, as `connecting` has it."""
    async with connecting(router, WooCommerce, SETTINGS) as to:
        yield to
