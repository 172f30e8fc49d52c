"""Tests of login setups."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

UNDER_WAY = "state IN ('queued', 'running')"


def upgrade() -> None:
    op.create_table(
        "login_setup_tests",
        sa.Column("login_setup_test_id", sa.Integer(), nullable=False),
        sa.Column("login_setup_id", sa.Integer(), nullable=False),
        sa.Column("experiment", sa.String(length=32), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("tester", sa.Integer(), nullable=False),
        sa.Column("plan", sa.JSON(), nullable=False),
        sa.Column("log_name", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("exit_status", sa.Integer(), nullable=True),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lease_owner", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lease_epoch", sa.Integer(), server_default="0", nullable=False),
        sa.CheckConstraint("state IN ('queued', 'running', 'passed', 'failed')",
                           name=op.f("ck_login_setup_tests_state")),
        sa.ForeignKeyConstraint(["experiment"], ["experiments.experiment"],
                                name=op.f("fk_login_setup_tests_experiment")),
        sa.ForeignKeyConstraint(["login_setup_id"], ["login_setups.login_setup_id"],
                                name=op.f("fk_login_setup_tests_login_setup_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tester"], ["experimenters.experimenter_id"],
                                name=op.f("fk_login_setup_tests_tester")),
        sa.PrimaryKeyConstraint("login_setup_test_id", name=op.f("pk_login_setup_tests")),
        sa.UniqueConstraint("key", name=op.f("uq_login_setup_tests_key")),
    )
    with op.batch_alter_table("login_setup_tests", schema=None) as batch_op:
        batch_op.create_index("ix_login_setup_tests_due", ["login_setup_test_id"], unique=False,
                              postgresql_where=sa.text(UNDER_WAY), sqlite_where=sa.text(UNDER_WAY))
        batch_op.create_index("ix_login_setup_tests_newest", ["login_setup_id", "login_setup_test_id"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("login_setup_tests", schema=None) as batch_op:
        batch_op.drop_index("ix_login_setup_tests_newest")
        batch_op.drop_index("ix_login_setup_tests_due", postgresql_where=sa.text(UNDER_WAY),
                            sqlite_where=sa.text(UNDER_WAY))
    op.drop_table("login_setup_tests")
