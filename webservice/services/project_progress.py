"""How far the delivery of files to jobs is, by the names of projects; for programs that watch many at once."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select

from poms.webservice.errors import NotFound
from poms.webservice.model import Submission
from poms.webservice.services.core import Core

MOST = 500


def percent_consumed(core: Core, projects: Sequence[str]) -> dict[str, float | None]:
    """For each project how many per cent of its files are consumed; None for one that no submission has.

    Raises BackendUnavailable if a catalogue does not answer: no answer is not none consumed.
    """
    wanted = list(dict.fromkeys(projects))[:MOST]
    with core.db.read() as session:
        experiments = dict(session.execute(
            select(Submission.project, Submission.experiment).where(Submission.project.in_(wanted))
            .order_by(Submission.submission_id)).all())
    return {project: _percent(core, experiments[project], project) if project in experiments else None
            for project in wanted}


def _percent(core: Core, experiment: str, project: str) -> float | None:
    try:
        summary = core.backends.data(experiment).project_summary(project)
    except NotFound:
        return None
    return round(100 * summary.consumed / summary.files_in_snapshot, 2) if summary.files_in_snapshot else None
