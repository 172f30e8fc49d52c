"""Changes that people may take back for a while."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "undos",
        sa.Column("undo_id", sa.Integer(), nullable=False),
        sa.Column("experimenter_id", sa.Integer(), nullable=False),
        sa.Column("experiment", sa.String(length=32), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("steps", sa.JSON(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("undone_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["experiment"], ["experiments.experiment"], name=op.f("fk_undos_experiment")),
        sa.ForeignKeyConstraint(["experimenter_id"], ["experimenters.experimenter_id"],
                                name=op.f("fk_undos_experimenter_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("undo_id", name=op.f("pk_undos")),
    )
    with op.batch_alter_table("undos", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_undos_expires_at"), ["expires_at"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("undos", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_undos_expires_at"))
    op.drop_table("undos")
