"""The campaign text (.ini): parse, read, check, write, change and compare it.

``examine(text)`` does all of parsing, reading and checking and tells every problem; the single steps
are ``parse`` (lines), ``read_campaign`` (values), ``check`` (sense). Not for storing.
Invariant: what was not changed is written back byte for byte.
"""

from poms.webservice.rules.campaign_text.checking import Examination, check, check_name, examine
from poms.webservice.rules.campaign_text.differences import Change, diff, text_diff
from poms.webservice.rules.campaign_text.document import Document, Entry, Section
from poms.webservice.rules.campaign_text.findings import Findings, did_you_mean
from poms.webservice.rules.campaign_text.model import (
    COMPLETION_TYPES,
    RECOVERY_TYPES,
    STAGE_KEYS,
    STAGE_TYPES,
    Campaign,
    Defaults,
    Dependency,
    JobType,
    KnownNames,
    LoginSetup,
    NodePosition,
    StageSpec,
    stage_with,
    with_defaults,
)
from poms.webservice.rules.campaign_text.order import launch_order
from poms.webservice.rules.campaign_text.reading import Reading, read, read_campaign
from poms.webservice.rules.campaign_text.scanning import DEFAULT_LIMIT, Scan, parse, scan
from poms.webservice.rules.campaign_text.writing import rename_campaign, rename_stage, update_document, write_campaign

__all__ = [
    "COMPLETION_TYPES", "DEFAULT_LIMIT", "RECOVERY_TYPES", "STAGE_KEYS", "STAGE_TYPES",
    "Campaign", "Change", "Defaults", "Dependency", "Document", "Entry", "Examination", "Findings", "JobType",
    "KnownNames", "LoginSetup", "NodePosition", "Reading", "Scan", "Section", "StageSpec",
    "check", "check_name", "did_you_mean", "diff", "examine", "launch_order", "parse", "read", "read_campaign",
    "rename_campaign", "rename_stage", "scan", "stage_with", "text_diff", "update_document", "with_defaults",
    "write_campaign",
]
