from collections.abc import Iterator

import pytest

from tests.mappings.base import Base


@pytest.fixture
def base() -> Iterator[Base]:
    made = Base()
    yield made
    made.close()
