"""Runs Alembic for ``poms.webservice.migrations``, which hands over the connection; never by itself."""

from alembic import context

from poms.webservice.migrations import render_type

attributes = context.config.attributes
chain = attributes["chain"]



def _drop_empty(_context, _revision, directives) -> None:
    """No file for a revision that would change nothing."""
    if directives and directives[0].upgrade_ops.is_empty():
        directives[:] = []


context.configure(
    connection=attributes["connection"],
    target_metadata=chain.metadata,
    version_table=chain.version_table,
    include_name=attributes["include_name"],
    compare_type=True,
    # SQLite changes a table by rebuilding it.
    render_as_batch=True,
    # Both databases can undo DDL, so a failed upgrade leaves nothing behind.
    transactional_ddl=True,
    render_item=render_type,
    process_revision_directives=_drop_empty if attributes.get("drop_empty") else None,
)
with context.begin_transaction():
    context.run_migrations()
