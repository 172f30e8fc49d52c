"""The verbs of a client that make and change what is launched: stages, job types, login setups, tags.

The other half of ``calls.Client``. What is not named stays as it is.
"""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from poms.webservice.client.connection import Connection, overrides_text
from poms.webservice.errors import Invalid, NotFound

Pairs = Sequence[tuple[str, str]]
STAGE_FIELDS = {
    "vo_role": "ae_vo_role", "dataset": "ae_dataset", "dataset_or_split_data": "ae_dataset",
    "cs_split_type": "ae_split_type", "test_split_type": "ae_test_split_type",
    "software_version": "ae_software_version", "completion_type": "ae_completion_type",
    "completion_pct": "ae_completion_pct", "param_overrides": "ae_param_overrides",
    "test_param_overrides": "ae_test_param_overrides", "login_setup": "ae_launch_name",
    "job_type": "ae_campaign_definition", "stage_type": "ae_campaign_type",
    "output_ancestor_depth": "ae_output_ancestor_depth",
}
"""Keys of a campaign text, and the fields by which a new stage gets them."""


class Making(ABC):
    """Methods on a ``connection``; a stage is named by its number or as ``campaign/stage``."""

    connection: Connection

    @abstractmethod
    def stage_id(self, stage: str) -> int:
        """The number of a stage."""

    @abstractmethod
    def campaign_id(self, name: str) -> int:
        """The number of a campaign."""

    # --------------------------------------------------------------------------------- stages

    def change_stage(self, stage: str, values: Mapping[str, str], *, new_name: str = "") -> None:
        """Set keys of a stage, named as in the campaign text, and its name."""
        fields = {**values, **({"name": new_name} if new_name else {})}
        self.connection.call("update_campaign_stage", {"campaign_stage": self.stage_id(stage), **fields})

    def set_parameters(self, stage: str, pairs: Pairs, *, test: bool = False) -> None:
        """Set launch parameters of a stage by name, or those of its test launches; an empty value removes one."""
        name = "test_param_overrides" if test else "param_overrides"
        self.connection.call("update_stage_param_overrides", {
            "campaign_stage": self.stage_id(stage), name: overrides_text(tuple(pairs))})

    def add_stage(self, stage: str, values: Mapping[str, str], *, after: Pairs = ()) -> None:
        """Add ``campaign/stage``; ``after`` are the stages that feed it, each with a pattern of files."""
        campaign, slash, name = stage.partition("/")
        if not slash or not name:
            raise Invalid(f"name a new stage as CAMPAIGN/STAGE, not {stage}")
        unknown = sorted(set(values) - set(STAGE_FIELDS))
        if unknown:
            raise Invalid(f"a stage has no {unknown[0]}; it has {', '.join(sorted(STAGE_FIELDS))}")
        fed = {"ae_depends": json.dumps({"campaign_stages": [one for one, _ in after],
                                         "file_patterns": [pattern for _, pattern in after]})} if after else {}
        self._stage_edit("add", {"ae_campaign_name": campaign, "ae_stage_name": name, **fed,
                                 **{STAGE_FIELDS[key]: value for key, value in values.items()}})

    def remove_stage(self, stage: str) -> None:
        """Take a stage out of its campaign; its submissions are kept."""
        self._stage_edit("delete", {"campaign_stage_id": self.stage_id(stage)})

    def hold_stage(self, stage: str, *, hold: bool, reason: str = "", keep_schedule: bool = True) -> None:
        """Keep back, or let go, the launches of a stage."""
        self.connection.json("stage_act", {
            "fmt": "json", "campaign_stage_id": self.stage_id(stage), "reason": reason,
            "act": "hold_launches" if hold else "release_launches", "clear_cron": "0" if keep_schedule else "1"})

    def reset_split(self, stage: str) -> None:
        """Begin the split of a stage again at its first slice."""
        self.connection.json("stage_act", {"fmt": "json", "campaign_stage_id": self.stage_id(stage),
                                           "act": "reset_split"})

    def _stage_edit(self, action: str, fields: Mapping[str, Any]) -> None:
        self.connection.json("campaign_stage_edit", {"action": action, "pcl_call": "1", **fields})

    # ------------------------------------------------------------------------------ job types

    def job_types(self) -> list[str]:
        """The names of the experiment's job types."""
        return [row["name"] for row in self.connection.json("jobtype_list", method="GET")]

    def job_type(self, name: str) -> dict[str, Any]:
        """What a job type holds."""
        number = self.job_type_id(name)
        return dict(self._block({"ae_campaign_definition_id": number})["definition"])

    def job_type_id(self, name: str) -> int:
        return self._block_id("get_jobtype_id", name, "job type")

    def save_job_type(self, name: str, *, add: bool, script: str = "", parameters: Pairs | None = None,
                      patterns: str = "", recoveries: Sequence[tuple[str, Pairs]] | None = None) -> None:
        """Make a job type, or change what is given of one."""
        fields = {"ae_launch_script": script, "ae_output_file_patterns": patterns,
                  "ae_definition_parameters": None if parameters is None else overrides_text(tuple(parameters)),
                  "ae_definition_recovery": None if recoveries is None else _recoveries_text(recoveries)}
        self._save("job_type_edit", {"ae_definition_name": name, **fields}, add=add)

    def delete_job_type(self, name: str) -> str:
        """Delete a job type that no stage uses; what the server says of it."""
        return str(self.connection.json("job_type_rm", {"ae_definition_name": name})["message"])

    def set_recoveries(self, job_type: str, recoveries: Sequence[tuple[str, Pairs]]) -> list[Any]:
        """Give a job type recoveries, by name: known ones get these parameters, others follow. All it has then."""
        return list(self.connection.json("modify_job_type_recoveries", {
            "job_type_id": self.job_type_id(job_type), "recoveries": _recoveries_text(recoveries)}))

    # --------------------------------------------------------------------------- login setups

    def login_setups(self) -> list[dict[str, Any]]:
        """The login setups of the experiment, with what they hold."""
        return list(self.connection.json("loginsetup_list", {"full": "1"}, method="GET"))

    def save_login_setup(self, name: str, *, add: bool, host: str = "", account: str = "", setup: str = "") -> None:
        """Make a login setup, or change what is given of one."""
        self._save("login_setup_edit", {"ae_launch_name": name, "ae_launch_host": host,
                                        "ae_launch_account": account, "ae_launch_setup": setup}, add=add)

    def delete_login_setup(self, name: str) -> str:
        """Delete a login setup that no stage uses; what the server says of it."""
        return str(self.connection.json("login_setup_rm", {"ae_launch_name": name})["message"])

    def test_login_setup(self, name: str, *, key: str = "") -> dict[str, Any]:
        """Begin a test of a login setup: its number, and the login setup's."""
        return dict(self.connection.json("login_setup_test", {"login_setup_id": name, "fmt": "json"}, key=key))

    def login_setup_test_log(self, login_setup_id: int, test_id: int, *,
                             interval_seconds: float = 1) -> Iterator[dict[str, Any]]:
        """What a test writes, in pieces, until it ended: each with ``text``, ``state`` and ``message``."""
        offset = 0
        while True:
            piece = self.connection.json("login_setup_log_piece", {
                "login_setup_id": login_setup_id, "test_id": test_id, "offset": offset}, method="GET")
            yield piece
            moved, offset = piece["offset"] > offset, piece["offset"]
            if piece["done"]:
                return
            if not moved:
                time.sleep(interval_seconds)

    def _save(self, word: str, fields: Mapping[str, Any], *, add: bool) -> None:
        given = {key: value for key, value in fields.items() if value not in (None, "")}
        self.connection.json(word, {"action": "add" if add else "edit", **given})

    def _block(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        return dict(self.connection.json("campaign_stage_edit_query", fields, method="GET"))

    def _block_id(self, word: str, name: str, what: str) -> int:
        found = self.connection.json(word, {"name": name}, method="GET")
        if not isinstance(found, int):
            raise NotFound(f"there is no {what} {name} in {self.connection.experiment or 'your experiment'}")
        return found

    # ----------------------------------------------------------------------------------- tags

    def tags(self, *, fitting: str = "%") -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
        """Tags whose names fit a pattern (``%`` any text), each with the campaigns that carry it."""
        found = self.connection.json("search_tags", {"q": fitting}, method="GET")["results"]
        return [(tag, campaigns) for tag, campaigns in found]

    def untag(self, names: Sequence[str], tag: str) -> int:
        """Take a tag off campaigns; how many carried it. A tag that nothing carries any more goes."""
        number = next((one["tag_id"] for one, _ in self.tags() if one["tag_name"] == tag), None)
        if number is None:
            raise NotFound(f"there is no tag {tag} in {self.connection.experiment or 'your experiment'}")
        ids = ",".join(str(self.campaign_id(name)) for name in names)
        return int(self.connection.json("delete_campaigns_tags", {
            "campaign_id": ids, "tag_id": number, "delete_unused_tag": "1"})["changed"])


def _recoveries_text(recoveries: Sequence[tuple[str, Pairs]]) -> str:
    return json.dumps([[kind, [list(pair) for pair in pairs]] for kind, pairs in recoveries])
