"""State stores for tests, opened cheaply: each test opens some of them."""

from typing import Any

from sqlalchemy import Dialect, Engine, create_engine

_dialects: dict[str, Dialect] = {}
_compiled: dict[Any, Any] = {}


def engine(*arguments: Any, **options: Any) -> Engine:
    """Make an engine; all of them share the statements that SQLAlchemy has compiled."""
    made = create_engine(*arguments, **options)
    made.dialect = made.pool._dialect = _dialects.setdefault(made.name, made.dialect)
    made.update_execution_options(compiled_cache=_compiled)
    return made
