"""The tables of POMS. Import them from here, so that the metadata is always complete."""

from poms.webservice.model.base import Base
from poms.webservice.model.blocks import JobType, LoginSetup, Recovery
from poms.webservice.model.campaigns import (
    Campaign,
    CampaignDependency,
    CampaignStage,
    CampaignTag,
    CampaignVersion,
    StageStatusCount,
    Tag,
)
from poms.webservice.model.job_summaries import JobSummary
from poms.webservice.model.login_setup_tests import LoginSetupTest
from poms.webservice.model.notifications import (
    Digest,
    DigestDelivery,
    Notice,
    NotificationSetting,
    Watch,
)
from poms.webservice.model.people import Experiment, Experimenter, ListColumns, Membership, ServiceSetting
from poms.webservice.model.recoveries import RecoveryDecision, RecoveryFile, RecoveryRound, StageLevel
from poms.webservice.model.samples import CampaignSample
from poms.webservice.model.schedules import Schedule
from poms.webservice.model.scouts import Scout
from poms.webservice.model.submissions import (
    AgentTask,
    Delivery,
    Event,
    Job,
    Launch,
    Snapshot,
    Submission,
    SubmissionFile,
    SubmissionHistory,
    SubmissionStatus,
)
from poms.webservice.model.undos import Undo

__all__ = [
    "AgentTask", "Base", "Campaign", "CampaignDependency", "CampaignSample", "CampaignStage", "CampaignTag",
    "CampaignVersion", "RecoveryDecision", "RecoveryFile", "RecoveryRound", "StageLevel",
    "JobSummary",
    "Delivery", "Digest", "DigestDelivery", "Event", "Experiment", "Experimenter", "Job", "JobType", "Launch",
    "LoginSetupTest",
    "ListColumns", "LoginSetup", "Membership", "Notice", "NotificationSetting", "Recovery", "Schedule", "Scout",
    "ServiceSetting", "Snapshot", "StageStatusCount", "Submission", "SubmissionFile", "SubmissionHistory",
    "SubmissionStatus", "Tag", "Undo", "Watch",
]
