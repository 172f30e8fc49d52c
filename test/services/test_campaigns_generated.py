"""Campaigns of every shape through a service: what was uploaded is downloaded, and an edit stays one line."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, given, settings
from sqlalchemy import delete

from poms.webservice.model import (
    Campaign,
    CampaignDependency,
    CampaignStage,
    CampaignVersion,
    Event,
    JobType,
    LoginSetup,
    Recovery,
)
from poms.webservice.services import campaigns
from poms.webservice.testing import campaign_texts

EXAMPLES = int(os.environ.get("POMS_TEST_EXAMPLES", "1000"))
TABLES = (CampaignDependency, CampaignStage, CampaignVersion, Campaign, Recovery, JobType, LoginSetup, Event)


def empty(core):
    """A service without any campaign."""
    with core.db.write() as session:
        for table in TABLES:
            session.execute(delete(table))


def test_what_was_uploaded_is_downloaded(world):
    """Into an empty service and back, byte for byte; a changed value is one changed line, there as well."""
    owner = world.person("olive")
    # The text is the same business on both databases; what differs there shows with fewer examples.
    examples = EXAMPLES // 5 if world.core.db.is_postgresql else EXAMPLES

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(campaign_texts.written())
    def upload(written):
        empty(world.core)
        data = written.text.encode()

        saved = campaigns.save_text(world.core, owner, data, source="upload")

        assert (saved.problems, saved.name, saved.version) == ((), written.name, 1)
        assert {name for _, name in saved.stages} == set(written.stages)
        assert campaigns.text_of(world.core, owner, written.name).encode() == data

        changed = campaigns.save_text(world.core, owner, written.changed_text.encode(), source="upload")

        found = campaigns.text_of(world.core, owner, written.name)
        assert found == written.changed_text
        assert (changed.version, changed.stages) == (2, saved.stages)
        kinds = [line["kind"] for line in changed.diff]
        assert (kinds.count("came"), kinds.count("gone")) == (1, 1)

    upload()
