"""Every verb of a client as one method: campaigns, launches, submissions, jobs, files, reports.

More of them are in ``making`` and ``people``.
Not for showing anything (``cli``). A stage is named by its number or as ``campaign/stage``, a campaign by its name or
number. What starts something takes an optional ``key``: the same key starts it once.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from poms.webservice.client.connection import Connection, Unreachable, overrides_text
from poms.webservice.client.making import Making
from poms.webservice.client.people import People
from poms.webservice.errors import BackendUnavailable, Invalid, NotFound

ENDED = frozenset({"Located", "Failed", "Removed", "Cancelled", "LaunchFailed"})
GOOD_END = {"located": frozenset({"Located"}), "completed": frozenset({"Located", "Completed"})}
WAIT_SECONDS = 10
SILENT_ANSWERS = 20
"""How often in a row a server may fail to answer while it is being waited for something."""

Pairs = Sequence[tuple[str, str]]


def _if_test(test: bool) -> dict[str, str]:
    return {"test": "1"} if test else {}


class Client(Making, People):
    """One server, as one person in one experiment and role."""

    def __init__(self, server: str | Connection, **options: Any) -> None:
        self.connection = server if isinstance(server, Connection) else Connection(server, **options)

    @property
    def server(self) -> str:
        """The address of the server, in one spelling."""
        return self.connection.base

    def within(self, experiment: str, role: str = "") -> Client:
        """The same person at the same server, acting elsewhere; without an experiment in that of each item."""
        return Client(self.connection.within(experiment, role))

    # ------------------------------------------------------------------------------- campaigns

    def campaigns(self, *, inactive: bool = False) -> list[dict[str, Any]]:
        """The campaigns of the experiment with their stages."""
        fields = {"fmt": "json", "view_active": "1", **({"view_inactive": "1"} if inactive else {})}
        return list(self.connection.json("show_campaigns", fields)["tl"])

    def campaign(self, name: str) -> dict[str, Any]:
        """One campaign with its stages."""
        number = name.isascii() and name.isdigit()
        for row in self.campaigns(inactive=True):
            if row["name"] == name or (number and row["campaign_id"] == int(name)):
                return row
        raise NotFound(f"there is no campaign {name} in {self.connection.experiment or 'your experiment'}")

    def campaign_id(self, name: str) -> int:
        """The number of a campaign; a number is taken as it is."""
        if name.isascii() and name.isdigit():
            return int(name)
        found = self.connection.json("get_campaign_id", {"campaign_name": name})
        if not isinstance(found, int):
            raise NotFound(f"there is no campaign {name} in {self.connection.experiment or 'your experiment'}")
        return found

    def upload(self, text: bytes, *, file_name: str = "campaign.ini", replace: bool = False,
               dry_run: bool = False) -> dict[str, Any]:
        """Save a campaign's text, or only have it checked. The answer's ``status`` says how it went."""
        fields = {"replace": str(replace), "pcl_call": "1", **({"dry_run": "1"} if dry_run else {})}
        answer = self.connection.json("ini_to_campaign", fields, files={"upload": (file_name, text, "text/plain")})
        if not isinstance(answer, dict):
            raise Invalid(str(answer))
        return answer

    def download(self, name: str, *, positions: bool = False) -> bytes:
        """The text of a campaign, byte for byte; with where the editor draws its stages, if asked."""
        fields = {"name": name, **({"full": "1"} if positions else {})}
        text = self.connection.call("campaign_deps_ini", fields, method="GET").content
        if text.startswith(b"Error:"):
            raise NotFound(text.decode("utf-8", "replace").strip())
        return text

    def clone(self, name: str, new_name: str) -> int:
        """Save a campaign's text under another name; the number of the new one."""
        return int(self._campaign_act(name, "clone", new_name=new_name)["campaign_id"])

    def delete(self, name: str) -> None:
        """Delete a campaign that was never launched."""
        self._campaign_act(name, "delete")

    def set_active(self, name: str, active: bool) -> None:
        self._campaign_act(name, "activate" if active else "deactivate")

    def set_launches(self, name: str, *, hold: bool, reason: str = "") -> None:
        """Keep back, or let go, the launches of a campaign."""
        self._campaign_act(name, "hold_launches" if hold else "release_launches", reason=reason)

    def tag(self, names: Sequence[str], tag: str) -> None:
        """Put a tag on campaigns."""
        self.connection.json("link_tags", {"campaign_id": ",".join(str(self.campaign_id(name)) for name in names),
                                           "tag_name": tag})

    def _campaign_act(self, name: str, act: str, **fields: str) -> dict[str, Any]:
        return dict(self.connection.json("campaign_act", {"campaign_id": self.campaign_id(name), "act": act, **fields,
                                                          "fmt": "json"}))

    # --------------------------------------------------------------------------------- stages

    def stages(self, campaign: str = "") -> list[dict[str, Any]]:
        """The stages of a campaign, or of the whole experiment."""
        fields = {"fmt": "json", **({"campaign_id": self.campaign_id(campaign)} if campaign else {})}
        return list(self.connection.json("show_campaign_stages", fields)["campaign_stages"])

    def stage_id(self, stage: str) -> int:
        """The number of ``campaign/stage``; a number is taken as it is."""
        if stage.isascii() and stage.isdigit():
            return int(stage)
        campaign, slash, name = stage.partition("/")
        if not slash:
            raise Invalid(f"name a stage as CAMPAIGN/STAGE or by its number, not {stage}")
        found = self.connection.json("get_campaign_stage_id", {"campaign_name": campaign, "campaign_stage_name": name})
        if not isinstance(found, int):
            raise NotFound(f"there is no stage {name} in a campaign {campaign}")
        return found

    # ------------------------------------------------------------------------------- launching

    def launch(self, what: str, *, test: bool = False, dataset: str = "", overrides: Pairs = (),
               key: str = "") -> dict[str, Any]:
        """Launch a stage (``campaign/stage``), or a campaign at its beginning: state, launch and submission."""
        fields: dict[str, Any] = {"fmt": "json", **({"test_launch": "1"} if test else {})}
        if "/" not in what:
            if dataset or overrides:
                raise Invalid("a dataset and parameters are of a stage; launch CAMPAIGN/STAGE")
            return self._launched("launch_campaign", {**fields, "campaign_id": self.campaign_id(what)}, key)
        return self.launch_stage(self.stage_id(what), test=test, dataset=dataset, overrides=overrides, key=key)

    def launch_stage(self, stage_id: int, *, test: bool = False, dataset: str = "", overrides: Pairs = (),
                     key: str = "") -> dict[str, Any]:
        """Launch a stage by its number."""
        fields: dict[str, Any] = {"fmt": "json", "campaign_stage_id": stage_id}
        if test:
            fields["test_launch"] = "1"
        if dataset:
            fields["dataset_override"] = dataset
        if overrides:
            fields["param_overrides"] = overrides_text(tuple(overrides))
        return self._launched("launch_jobs", fields, key)

    def _launched(self, word: str, fields: dict[str, Any], key: str) -> dict[str, Any]:
        answer = self.connection.call(word, fields, key=key)
        if answer.status_code != 303:
            return dict(answer.json())
        # A server that does not know of JSON here: its older way of saying which submission it is.
        where = answer.headers.get("Location", "")
        number = re.search(r"_([0-9]+)$", where)
        return {"state": "queued", "submission_id": int(number[1]) if number else None, "url": where}

    def preview(self, stage: str, *, test: bool = False, dataset: str = "") -> dict[str, Any]:
        """What a launch would do; nothing is written."""
        fields = {"fmt": "json", "campaign_stage_id": self.stage_id(stage), "dataset": dataset,
                  **({"test": "1"} if test else {})}
        return dict(self.connection.json("preview", fields, method="GET"))

    def preview_campaign(self, campaign: str, *, test: bool = False) -> dict[str, Any]:
        """What launching a campaign at its beginning would do."""
        return self._previewed("preview_campaign", campaign_id=self.campaign_id(campaign), **_if_test(test))

    def preview_stages(self, stages: Sequence[str], *, test: bool = False) -> dict[str, Any]:
        """What launching several stages (``campaign/stage``) would do."""
        numbers = ",".join(str(self.stage_id(stage)) for stage in stages)
        return self._previewed("preview_stages", campaign_stage_id=numbers, **_if_test(test))

    def preview_recovery(self, submission_id: int, kind: str = "") -> dict[str, Any]:
        """What a recovery of this kind would do again; without one ``choices`` says how many files each kind would."""
        return self._previewed("preview_recovery", submission_id=submission_id, recovery_type=kind)

    def preview_following(self, submission_id: int) -> dict[str, Any]:
        """Which recoveries and next stages would follow a submission if it were Located now."""
        return self._previewed("preview_following", submission_id=submission_id)

    def preview_schedule(self, stage: str, *, cron: str = "", runs: int = 5) -> dict[str, Any]:
        """What the next runs of a stage's schedule would launch, or those of ``cron``."""
        return self._previewed("preview_schedule", campaign_stage_id=self.stage_id(stage), cron=cron, runs=runs)

    def preview_text(self, text: bytes, *, file_name: str = "campaign.ini") -> dict[str, Any]:
        """What saving a campaign's text would do to launches of its stages; raises Invalid with what is wrong."""
        return dict(self.connection.json("preview_text", {"fmt": "json"},
                                         files={"campaign_file": (file_name, text, "text/plain")}))

    def _previewed(self, word: str, **fields: Any) -> dict[str, Any]:
        return dict(self.connection.json(word, {"fmt": "json", **fields}, method="GET"))

    def launch_stages(self, stages: Sequence[str], *, test: bool = False, key: str = "") -> list[dict[str, Any]]:
        """Launch several stages, each for itself; what became of each."""
        fields = {"fmt": "json", "campaign_stage_id": ",".join(str(self.stage_id(stage)) for stage in stages),
                  **_if_test(test)}
        return list(self.connection.json("launch_stages", fields, key=key)["launches"])

    def held(self) -> list[dict[str, Any]]:
        """Launches that wait until somebody lets them go."""
        found: list[dict[str, Any]] = []
        after: int | None = None
        while True:
            page = self.connection.json("held_launches", {"fmt": "json", **({"after": after} if after else {})},
                                        method="GET")
            found += page["held"]
            if not page["pager"]["older_url"] or not page["held"]:
                return found
            after = page["held"][-1]["id"]

    def act_on_held(self, launch_ids: Sequence[int], act: str, *, per_minute: int | None = None) -> int:
        """``release`` (``per_minute`` of them each minute) or ``delete`` held launches; how many there were."""
        fields: dict[str, Any] = {"fmt": "json", "launch_id": ",".join(map(str, launch_ids)), "act": act}
        if per_minute is not None:
            fields["per_minute"] = per_minute
        return int(self.connection.json("held_launches_act", fields)["changed"])

    # ------------------------------------------------------------------------------ submissions

    def submissions(self, campaign: str = "", stage: str = "", *, days: float | None = None) -> list[dict[str, Any]]:
        """Submissions of a campaign, a stage or the experiment, oldest first."""
        fields = {"fmt": "json", "campaign_name": campaign, "stage_name": stage or "*",
                  **({} if days is None else {"tdays": days})}
        return list((self.connection.json("campaign_stage_submissions", fields).get("data") or {})
                    .get("submissions") or [])

    def submission(self, submission_id: int) -> dict[str, Any]:
        """Everything of one submission: ``submission``, ``history``, ``dataset``, ``recovery_ids`` and more."""
        return dict(self.connection.json("submission_details", {"fmt": "json", "submission_id": submission_id}))

    def wait(self, submission_id: int, *, until: str = "located", timeout_seconds: float | None = None,
             interval_seconds: float = WAIT_SECONDS, tell: Callable[[dict[str, Any]], None] = lambda _: None) -> str:
        """Wait until a submission ended (``until`` located or completed); its status then.

        ``tell`` is given the submission at each look. Raises TimeoutError; Unreachable if the server stays silent.
        """
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        silent = 0
        while True:
            try:
                found = self.submission(submission_id)["submission"]
            except BackendUnavailable as problem:
                # A server that is being restarted comes back; one that refuses is another matter.
                silent += 1
                if silent > SILENT_ANSWERS:
                    raise Unreachable(str(problem)) from problem
            else:
                silent = 0
                tell(found)
                if found["status"] in ENDED | GOOD_END[until]:
                    return str(found["status"])
            if deadline is not None and time.monotonic() + interval_seconds > deadline:
                raise TimeoutError(f"submission {submission_id} did not end in time")
            time.sleep(interval_seconds)

    def awaiting(self) -> list[dict[str, Any]]:
        """Submissions that wait until somebody approves or refuses them."""
        return [row for row in self.submissions() if row["status"] == "Awaiting Approval"]

    def recover(self, submission_id: int, kind: str, *, key: str = "") -> dict[str, Any]:
        """Launch a recovery of what a submission did not process."""
        return dict(self.connection.json("recover", {"fmt": "json", "submission_id": submission_id,
                                                     "recovery_type": kind}, key=key))

    def locate(self, submission_id: int) -> None:
        """Have a submission taken as Located, whatever its files say."""
        self.connection.json("force_locate", {"fmt": "json", "submission_id": submission_id})

    def mark(self, submission_id: int, act: str, *, key: str = "") -> dict[str, Any]:
        """``complete``, ``approve``, ``refuse``, ``relaunch`` or ``abort`` a submission."""
        return dict(self.connection.json("submission_act", {"fmt": "json", "submission_id": submission_id,
                                                            "act": act}, key=key))

    # --------------------------------------------------------------------------------------- jobs

    def jobs(self, submission_id: int | None = None, *, stage: str = "", campaign: str = "", site: str = "",
             state: str = "", days: float | None = None,
             archived: Callable[[list[int]], None] = lambda _: None) -> Iterator[dict[str, Any]]:
        """Jobs one by one, newest submission first: of a submission, stage, campaign, or of the last ``days``.

        ``archived`` is told which submissions in question have sums only, see the page of each.
        """
        asked: dict[str, Any] = {"submission_id": submission_id, "site": site, "state": state, "days": days}
        if stage:
            asked["campaign_stage_id"] = self.stage_id(stage)
        if campaign:
            asked["campaign_id"] = self.campaign_id(campaign)
        fields = {name: value for name, value in asked.items() if value not in (None, "")}
        after = ""
        while True:
            page = self.connection.json("jobs_list", {**fields, **({"after": after} if after else {})}, method="GET")
            if page["archived"]:
                archived(page["archived"])
            yield from page["jobs"]
            after = page["next"]
            if not after:
                return

    def act_on_jobs(self, action: str, *, submission: int | None = None, stage: str = "", campaign: str = "",
                    jobs: Sequence[str] = (), reason: str = "") -> dict[str, Any]:
        """``hold``, ``release``, ``kill`` or ``cancel`` jobs of one submission, stage or campaign; how many changed."""
        fields: dict[str, Any] = {"fmt": "json", "reason": reason}
        if jobs:
            words = {"kill": "remove", "cancel": "remove"}
            return dict(self.connection.json("jobs_act", {**fields, "submission_id": submission, "batch_id": list(jobs),
                                                          "act": words.get(action, action)}))
        fields["act"] = action
        if submission is not None:
            fields["submission_id"] = submission
        elif stage:
            fields["campaign_stage_id"] = self.stage_id(stage)
        elif campaign:
            fields["campaign_id"] = self.campaign_id(campaign)
        return dict(self.connection.json("kill_jobs", fields))

    # --------------------------------------------------------------------------------------- logs

    def launch_log(self, submission_id: int, *, follow: bool = False,
                   interval_seconds: float = 2) -> Iterator[str]:
        """The launch log in pieces; ``follow`` goes on until the launch ended."""
        offset = 0
        while True:
            piece = self.connection.json("launch_log_piece", {"submission_id": submission_id, "offset": offset},
                                         method="GET")
            yield piece["text"]
            moved, offset = piece["offset"] > offset, piece["offset"]
            if piece["done"] or not (moved or follow):
                return
            if not moved:
                time.sleep(interval_seconds)

    def job_log(self, submission_id: int, batch_id: str, which: str = "stdout") -> str:
        """What a job wrote: ``stdout``, ``stderr`` or the batch system's ``log``."""
        return self.connection.call("job_log_text", {"submission_id": submission_id, "batch_id": batch_id,
                                                     "which": which}, method="GET").text

    # -------------------------------------------------------------------------------------- files

    def files(self) -> dict[str, Any]:
        """The files that you keep with the service, and how much room there is."""
        return dict(self.connection.json("file_uploads", {"fmt": "json"}, method="GET"))

    def upload_file(self, name: str, data: bytes) -> None:
        self.connection.call("upload_file", files={"filename": (name, data, "application/octet-stream")})

    def download_file(self, name: str) -> bytes:
        return self.connection.call("download_file", {"filename": name}, method="GET").content

    def remove_files(self, names: Sequence[str]) -> None:
        self.connection.call("remove_uploaded_files", {"filename": list(names), "redirect": "0"})

    # ------------------------------------------------------------------------------------ watches

    def watches(self) -> dict[str, Any]:
        """What you watch, where and when you are told, and how the last messages went."""
        return dict(self.connection.json("watch_list", method="GET"))

    def watch(self, what: str, *, about: Sequence[str] = ()) -> dict[str, Any]:
        """Be told of a campaign, or of a stage as ``campaign/stage``; ``about``: of what, else the usual."""
        return dict(self.connection.json("watch", {**self._watched(what), "about": list(about), "fmt": "json"}))

    def unwatch(self, what: str) -> bool:
        """Be told of it no more; False if you were not."""
        return bool(self.connection.json("watch", {**self._watched(what), "act": "unwatch", "fmt": "json"})["changed"])

    def set_watch_address(self, channel: str, address: str) -> None:
        """Where you are told by a channel such as ``mail``; an empty address ends that."""
        self.connection.json("watch_address", {"channel": channel, "address": address, "fmt": "json"})

    def set_watch_times(self, times: Mapping[str, str]) -> None:
        """How often at most (``every``), not in which hours (``quiet``), in which ``time_zone``; the rest stays."""
        now = self.watches()["settings"]
        self.connection.json("watch_times", {**now, **times, "fmt": "json"})

    def test_watch(self, channel: str) -> None:
        """Have a test message sent to your address."""
        self.connection.json("watch_test", {"channel": channel, "fmt": "json"})

    def _watched(self, what: str) -> dict[str, int]:
        return {"campaign_stage_id": self.stage_id(what)} if "/" in what else {"campaign_id": self.campaign_id(what)}

    # ------------------------------------------------------------------------------------ reports

    def register(self, stage: str | int, command: str, *, parent: int | None = None, submission: int | None = None,
                 launch_time: str = "") -> int:
        """The number under which a command that runs outside of POMS is followed; or describe a known one."""
        fields = {"campaign_stage_id": stage, "command_executed": command, "parent_submission_id": parent,
                  "submission_id": submission, "launch_time": launch_time}
        text = self.connection.call("get_submission_id_for", {
            name: value for name, value in fields.items() if value not in (None, "")}).text
        found = re.fullmatch(r"Task=([0-9]+)\s*", text)
        if not found:
            raise BackendUnavailable(f"get_submission_id_for: not understood: {text[:100]}")
        return int(found[1])

    def report(self, submission_id: int, *, status: str = "", job_id: str = "", project: str = "",
               percent: float | None = None) -> None:
        """Say how a submission is."""
        fields = {"submission_id": submission_id, "status": status, "jobsub_job_id": job_id, "project": project,
                  "pct_complete": percent}
        self.connection.call("update_submission", {
            name: value for name, value in fields.items() if value not in (None, "")})

    def service(self) -> dict[str, Any]:
        """How the service is: its agents, their tasks, the systems that it asks."""
        return dict(self.connection.json("agents", {"fmt": "json"}, method="GET"))
