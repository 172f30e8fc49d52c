"""Sample campaigns that an experiment keeps for itself."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "campaign_samples",
        sa.Column("sample_id", sa.Integer(), nullable=False),
        sa.Column("experiment", sa.String(length=32), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("outline", sa.JSON(), nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("creator", sa.Integer(), nullable=False),
        sa.Column("creator_role", sa.Text(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updater", sa.Integer(), nullable=True),
        sa.Column("updated", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["creator"], ["experimenters.experimenter_id"],
                                name=op.f("fk_campaign_samples_creator")),
        sa.ForeignKeyConstraint(["experiment"], ["experiments.experiment"],
                                name=op.f("fk_campaign_samples_experiment")),
        sa.ForeignKeyConstraint(["updater"], ["experimenters.experimenter_id"],
                                name=op.f("fk_campaign_samples_updater")),
        sa.PrimaryKeyConstraint("sample_id", name=op.f("pk_campaign_samples")),
        sa.UniqueConstraint("experiment", "name", name=op.f("uq_campaign_samples_experiment_name")),
    )


def downgrade() -> None:
    op.drop_table("campaign_samples")
