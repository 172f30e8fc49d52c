"""How much data, and where in it a measurement looks.

``small`` has a hundredth of the submissions, history and jobs of ``full``. It has more than a hundredth of
the campaigns, so that the first page of their list is as long in both: what is compared is the same page.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

STAGES = ("gen", "g4", "detsim", "reco")
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
FEWEST_CAMPAIGNS = 60
"""One page of the list of campaigns and a bit."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Numbers of rows. One campaign, one stage and one submission are much bigger than the others."""

    name: str
    campaigns: int
    submissions: int
    jobs: int
    live_jobs: int

    @property
    def stages(self) -> int:
        return self.campaigns * len(STAGES)

    @property
    def active_campaigns(self) -> int:
        return max(self.campaigns * 2 // 5, min(self.campaigns, FEWEST_CAMPAIGNS - 5))

    @property
    def biggest_stage(self) -> int:
        """Submissions of the biggest stage."""
        return max(self.submissions // 40, min(self.submissions, 120))

    @property
    def biggest_submission(self) -> int:
        """Jobs of the biggest submission."""
        return max(self.jobs // 100, min(600, self.jobs // 10))

    def with_jobs(self, jobs: int) -> Scale:
        """The same with another number of jobs; the share of live ones stays, up to the limit of ``FULL``."""
        return replace(self, jobs=jobs, live_jobs=min(jobs * 3 // 10, FULL.live_jobs))


FULL = Scale("full", campaigns=1_000, submissions=200_000, jobs=1_000_000, live_jobs=300_000)
SMALL = Scale("small", campaigns=FEWEST_CAMPAIGNS, submissions=2_000, jobs=10_000, live_jobs=3_000)
TINY = Scale("tiny", campaigns=4, submissions=200, jobs=800, live_jobs=200)
"""For tests of the measurements themselves."""

SCALES = {scale.name: scale for scale in (FULL, SMALL, TINY)}


def hundredth(scale: Scale) -> Scale:
    """The data that a page's time is compared with."""
    return SMALL if scale.name == FULL.name else replace(
        scale, name=f"hundredth of {scale.name}", campaigns=scale.campaigns,
        submissions=max(20, scale.submissions // 100), jobs=max(60, scale.jobs // 100),
        live_jobs=max(10, scale.live_jobs // 100))


@dataclass(frozen=True, slots=True)
class Landmarks:
    """What measurements look at: the busy experiment and the biggest of everything in it."""

    experiment: str
    role: str
    username: str
    campaign_id: int
    stage_id: int
    submission_id: int
    batch_id: str
    launched_submission_id: int
    live_submission_ids: tuple[int, ...]
    old_submission_id: int
    half_submission_id: int = 0
