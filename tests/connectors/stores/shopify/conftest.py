from collections.abc import AsyncIterator, Callable

import pytest
import respx

from connectors.stores.shopify.connector import Shopify
from connectors.stores.shopify.simulator import SETTINGS
from tests.connectors.stores.conftest import connecting

Connect = Callable[..., Shopify]


@pytest.fixture
async def connect(router: respx.MockRouter) -> AsyncIterator[Connect]:
    """Open connectors to a simulator, as `connecting` has it."""
    async with connecting(router, Shopify, SETTINGS) as to:
        yield to
