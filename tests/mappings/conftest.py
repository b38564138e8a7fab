from collections.abc import Iterator

import pytest

from tests.mappings.base import Base
from tests.state.conftest import connection, database

__all__ = ["base", "connection", "database"]


@pytest.fixture
def base() -> Iterator[Base]:
    made = Base()
    yield made
    made.close()
