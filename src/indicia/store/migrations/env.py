"""Alembic's entry: runs the migrations on the connection that `migrate` (or a test) hands over."""

from alembic import context

from indicia.store.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    render_as_batch=True,
    compare_type=True,
)
# The transaction is the caller's: with it all migrations of one start are done or none.
context.run_migrations()
