"""What people watch, and what they were told."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "digests",
        sa.Column("digest_id", sa.Integer(), nullable=False),
        sa.Column("message_key", sa.String(length=32), nullable=False),
        sa.Column("experimenter_id", sa.Integer(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("is_test", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.ForeignKeyConstraint(
            ["experimenter_id"], ["experimenters.experimenter_id"], name=op.f("fk_digests_experimenter_id")
        ),
        sa.PrimaryKeyConstraint("digest_id", name=op.f("pk_digests")),
        sa.UniqueConstraint("message_key", name=op.f("uq_digests_message_key")),
    )
    with op.batch_alter_table("digests", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_digests_experimenter_id_digests_digest_id"), ["experimenter_id", "digest_id"], unique=False
        )
        batch_op.create_index(batch_op.f("ix_digests_made_at"), ["made_at"], unique=False)

    op.create_table(
        "notification_settings",
        sa.Column("experimenter_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("addresses", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.Column("digest_seconds", sa.Integer(), server_default="900", nullable=False),
        sa.Column("quiet_from", sa.Integer(), nullable=True),
        sa.Column("quiet_to", sa.Integer(), nullable=True),
        sa.Column("time_zone", sa.Text(), server_default="UTC", nullable=False),
        sa.Column("last_digest_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("updated", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["experimenter_id"],
            ["experimenters.experimenter_id"],
            name=op.f("fk_notification_settings_experimenter_id"),
        ),
        sa.PrimaryKeyConstraint("experimenter_id", name=op.f("pk_notification_settings")),
    )
    op.create_table(
        "digest_deliveries",
        sa.Column("digest_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="waiting", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("message", sa.Text(), server_default="", nullable=False),
        sa.CheckConstraint(
            "state IN ('waiting', 'sending', 'sent', 'given_up')", name=op.f("ck_digest_deliveries_state")
        ),
        sa.ForeignKeyConstraint(
            ["digest_id"], ["digests.digest_id"], name=op.f("fk_digest_deliveries_digest_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("digest_id", "channel", name=op.f("pk_digest_deliveries")),
    )
    with op.batch_alter_table("digest_deliveries", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_digest_deliveries_state_digest_deliveries_next_at"), ["state", "next_at"], unique=False
        )

    op.create_table(
        "notices",
        sa.Column("experimenter_id", sa.Integer(), nullable=False),
        sa.Column("event_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("news", sa.Text(), nullable=False),
        sa.Column("noticed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("digest_id", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["digest_id"], ["digests.digest_id"], name=op.f("fk_notices_digest_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["experimenter_id"], ["experimenters.experimenter_id"], name=op.f("fk_notices_experimenter_id")
        ),
        sa.PrimaryKeyConstraint("experimenter_id", "event_id", name=op.f("pk_notices")),
    )
    with op.batch_alter_table("notices", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_notices_digest_id_notices_experimenter_id"), ["digest_id", "experimenter_id"], unique=False
        )

    op.create_table(
        "watches",
        sa.Column("watch_id", sa.Integer(), nullable=False),
        sa.Column("experimenter_id", sa.Integer(), nullable=False),
        sa.Column("experiment", sa.String(length=32), nullable=False),
        sa.Column("campaign_id", sa.Integer(), nullable=True),
        sa.Column("campaign_stage_id", sa.Integer(), nullable=True),
        sa.Column("news", sa.JSON(), nullable=False),
        sa.Column("since_event_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("(campaign_id IS NULL) <> (campaign_stage_id IS NULL)", name=op.f("ck_watches_one_item")),
        sa.ForeignKeyConstraint(
            ["campaign_id"], ["campaigns.campaign_id"], name=op.f("fk_watches_campaign_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["campaign_stage_id"],
            ["campaign_stages.campaign_stage_id"],
            name=op.f("fk_watches_campaign_stage_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["experiment"], ["experiments.experiment"], name=op.f("fk_watches_experiment")),
        sa.ForeignKeyConstraint(
            ["experimenter_id"], ["experimenters.experimenter_id"], name=op.f("fk_watches_experimenter_id")
        ),
        sa.PrimaryKeyConstraint("watch_id", name=op.f("pk_watches")),
        sa.UniqueConstraint("experimenter_id", "campaign_id", name=op.f("uq_watches_experimenter_id_campaign_id")),
        sa.UniqueConstraint(
            "experimenter_id", "campaign_stage_id", name=op.f("uq_watches_experimenter_id_campaign_stage_id")
        ),
    )
    with op.batch_alter_table("watches", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_watches_campaign_id"), ["campaign_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_watches_campaign_stage_id"), ["campaign_stage_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_watches_experiment"), ["experiment"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("watches", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_watches_experiment"))
        batch_op.drop_index(batch_op.f("ix_watches_campaign_stage_id"))
        batch_op.drop_index(batch_op.f("ix_watches_campaign_id"))

    op.drop_table("watches")
    with op.batch_alter_table("notices", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_notices_digest_id_notices_experimenter_id"))

    op.drop_table("notices")
    with op.batch_alter_table("digest_deliveries", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_digest_deliveries_state_digest_deliveries_next_at"))

    op.drop_table("digest_deliveries")
    op.drop_table("notification_settings")
    with op.batch_alter_table("digests", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_digests_made_at"))
        batch_op.drop_index(batch_op.f("ix_digests_experimenter_id_digests_digest_id"))

    op.drop_table("digests")
