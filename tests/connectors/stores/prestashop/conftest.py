from collections.abc import AsyncIterator, Callable

import pytest
import respx

from connectors.stores.prestashop.connector import PrestaShop
from connectors.stores.prestashop.simulator import SETTINGS
from tests.connectors.stores.conftest import connecting

Connect = Callable[..., PrestaShop]


@pytest.fixture
async def connect(router: respx.MockRouter) -> AsyncIterator[Connect]:
    """Open connectors to a simulator, as `connecting` has it."""
    async with connecting(router, PrestaShop, SETTINGS) as to:
        yield to
