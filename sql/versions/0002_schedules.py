"""When stages are launched by themselves."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "schedules",
        sa.Column("campaign_stage_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("experiment", sa.String(length=32), nullable=False),
        sa.Column("cron", sa.Text(), nullable=False),
        sa.Column("time_zone", sa.Text(), nullable=False),
        sa.Column("launcher", sa.Integer(), nullable=False),
        sa.Column("catch_up", sa.Text(), server_default="once", nullable=False),
        sa.Column("clear_at_end", sa.Boolean(), nullable=True),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_tick", sa.DateTime(timezone=True), nullable=True),
        sa.Column("message", sa.Text(), server_default="", nullable=False),
        sa.Column("creator", sa.Integer(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updater", sa.Integer(), nullable=False),
        sa.Column("updated", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("catch_up IN ('none', 'once')", name=op.f("ck_schedules_catch_up")),
        sa.ForeignKeyConstraint(
            ["campaign_stage_id"],
            ["campaign_stages.campaign_stage_id"],
            name=op.f("fk_schedules_campaign_stage_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["creator"], ["experimenters.experimenter_id"], name=op.f("fk_schedules_creator")),
        sa.ForeignKeyConstraint(["experiment"], ["experiments.experiment"], name=op.f("fk_schedules_experiment")),
        sa.ForeignKeyConstraint(["launcher"], ["experimenters.experimenter_id"], name=op.f("fk_schedules_launcher")),
        sa.ForeignKeyConstraint(["updater"], ["experimenters.experimenter_id"], name=op.f("fk_schedules_updater")),
        sa.PrimaryKeyConstraint("campaign_stage_id", name=op.f("pk_schedules")),
    )
    with op.batch_alter_table("schedules", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_schedules_experiment_schedules_next_at"), ["experiment", "next_at"], unique=False
        )



def downgrade() -> None:
    with op.batch_alter_table("schedules", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_schedules_experiment_schedules_next_at"))

    op.drop_table("schedules")
