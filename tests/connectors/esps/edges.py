"""The HTTP edge of connector tests: every request of the process goes to one simulator."""

from collections.abc import Iterator
from contextlib import contextmanager

import respx

from connectors.simulation import App
from tests.edge import edge


@contextmanager
def answered_by(app: App) -> Iterator[respx.MockRouter]:
    """Let `app` answer every request; a connection that it loses breaks for the client too."""
    with respx.mock(assert_all_called=False) as router:
        router.route().mock(side_effect=edge(app))
        yield router
