from collections.abc import Iterator

import pytest

from tests.mappings.base import Base
from tests.state.conftest import database, session

__all__ = ["base", "database", "session"]


@pytest.fixture
def base() -> Iterator[Base]:
    made = Base()
    yield made
    made.close()
