"""Submissions keep the sums of their jobs' times, and how many of them ended how."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

# What the agents store from now on, of the jobs that are known already. States: 4 completed, 6 failed.
FILL = """
UPDATE submissions SET cpu_seconds = told.cpu, wall_seconds = told.wall, job_endings = told.endings
FROM (SELECT submission_id, sum(cpu) AS cpu, sum(wall) AS wall,
             coalesce({collect}(ending, jobs) FILTER (WHERE ending IS NOT NULL), '{{}}') AS endings
      FROM (SELECT submission_id,
                   CASE WHEN state IN (4, 6) THEN
                       CASE state WHEN 4 THEN 'C' ELSE 'F' END
                       || CASE WHEN exit_signal > 0 THEN 'S' || CAST(exit_signal AS TEXT)
                               ELSE coalesce(CAST(exit_code AS TEXT), '') END END AS ending,
                   count(*) AS jobs,
                   coalesce(sum(CASE WHEN tells THEN cpu_seconds END), 0) AS cpu,
                   coalesce(sum(CASE WHEN tells THEN wall_seconds END), 0) AS wall
            FROM (SELECT *, cpu_seconds > 0 AND wall_seconds > 0 AND cpu_seconds < 10 * wall_seconds AS tells
                  FROM jobs) AS each_job
            GROUP BY 1, 2) AS alike
      GROUP BY submission_id) AS told
WHERE told.submission_id = submissions.submission_id
"""


def upgrade() -> None:
    document = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    with op.batch_alter_table("submissions", schema=None) as batch_op:
        batch_op.add_column(sa.Column("cpu_seconds", sa.Float(), server_default="0", nullable=False))
        batch_op.add_column(sa.Column("wall_seconds", sa.Float(), server_default="0", nullable=False))
        batch_op.add_column(sa.Column("job_endings", document, server_default=sa.text("'{}'"), nullable=False))
    op.execute(FILL.format(collect="jsonb_object_agg" if is_postgresql else "json_group_object"))


def downgrade() -> None:
    with op.batch_alter_table("submissions", schema=None) as batch_op:
        for column in ("job_endings", "wall_seconds", "cpu_seconds"):
            batch_op.drop_column(column)
