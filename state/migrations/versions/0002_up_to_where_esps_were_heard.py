"""Up to where ESPs were heard; a person's orders by time; opt-outs of ESPs under addresses as ours are."""

import sqlalchemy as sa
from alembic import op

from connectors.facts import normal_email

revision = "0002"
down_revision = "0001"

CONSENTS = sa.table("consents", *map(sa.column, ("origin", "record", "email")))
TOUCHED = sa.table("touched", *map(sa.column, ("email", "revision", "news")))
SYNCS = sa.table("syncs", *map(sa.column, ("revision", "heard_revision")))
REVISED = (TOUCHED, SYNCS, sa.table("renames", sa.column("revision")))


def upgrade() -> None:
    with op.batch_alter_table("syncs") as batch:
        batch.add_column(sa.Column("heard_revision", sa.Integer(), nullable=False, server_default="0"))
    with op.batch_alter_table("orders") as batch:
        batch.drop_index("orders_person")
        batch.create_index("orders_person", ["person", "store", "created_at"], unique=False)
    connection = op.get_bind()
    connection.execute(sa.update(SYNCS).values(heard_revision=_newest(connection)))
    _normalise_opt_outs(connection)


def _normalise_opt_outs(connection: sa.Connection) -> None:
    """Give opt-outs that were kept as an ESP writes addresses to the people whose they are."""
    theirs = sa.select(CONSENTS).where(CONSENTS.c.origin.startswith("esp:"))
    rows = connection.execute(theirs).all()
    known = {(row.origin, row.record) for row in rows}
    typed = [row for row in rows if row.email and normal_email(row.email) != row.email]
    for row in typed:
        email = normal_email(row.email)
        record = f"contact {email}"
        this = (CONSENTS.c.origin == row.origin, CONSENTS.c.record == row.record)
        if (row.origin, record) in known:
            connection.execute(sa.delete(CONSENTS).where(*this))
            continue
        known.add((row.origin, record))
        connection.execute(sa.update(CONSENTS).where(*this).values(email=email, record=record))
        _touch(connection, email)


def _touch(connection: sa.Connection, email: str | None) -> None:
    revision = _newest(connection) + 1
    known = connection.execute(sa.update(TOUCHED).where(TOUCHED.c.email == email).values(revision=revision))
    if not known.rowcount:
        connection.execute(sa.insert(TOUCHED).values(email=email, revision=revision, news=0))


def _newest(connection: sa.Connection) -> int:
    return max(connection.scalar(sa.select(sa.func.max(each.c.revision))) or 0 for each in REVISED)
