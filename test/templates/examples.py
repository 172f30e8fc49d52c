"""An example context for every page, as its template documents it; the canary stands in every text.

``pages()`` gives (name, template, context). What is here is what handlers fill; invented people and numbers.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from poms.webservice.rules.lists import LISTS, shown_columns

NOW = datetime(2026, 3, 14, 2, 41, 7, tzinfo=UTC)
EXPERIMENT, ROLE = "sbnd", "production"
ROUTES = frozenset(
    {
        "home",
        "help",
        "api",
        "campaigns",
        "campaign",
        "campaign_text",
        "campaign_versions",
        "campaign_new",
        "campaign_edit",
        "editor_data",
        "editor_check",
        "editor_preview",
        "editor_save",
        "editor_block",
        "stage",
        "stage_submissions",
        "campaign_submissions",
        "submission",
        "launch_log",
        "job",
        "held_launches",
        "watches",
        "file_uploads",
        "download_file",
        "samples",
        "sample_form",
        "sample_save",
        "sample_delete",
        "people",
        "person",
        "people_act",
        "people_add",
        "schedule",
        "agents",
        "openapi",
        "preview",
        "preview_recovery",
        "preview_following",
        "preview_schedule",
        "preview_campaign",
        "preview_stages",
        "download",
        "search",
        "dashboard",
        "submissions",
        "tags",
        "login_setups",
        "login_setup",
        "login_setup_new",
        "job_types",
        "job_type",
        "job_type_new",
        "time_bars",
        "sheet",
        # by POST
        "list_columns",
        "login_setup_save",
        "login_setup_act",
        "login_setup_test",
        "login_setup_log",
        "job_type_save",
        "job_type_act",
        "stages_switch",
        "launch_stage",
        "launch_campaign",
        "launch_stages",
        "preview_text",
        "jobs_act",
        "upload",
        "recover",
        "recovery_answer",
        "scout_answer",
        "force_locate",
        "campaign_act",
        "campaigns_act",
        "stage_act",
        "submission_act",
        "schedule_set",
        "schedule_delete",
        "held_launches_act",
        "launch_gate",
        "watch",
        "watch_change",
        "watch_times",
        "watch_address",
        "watch_test",
        "upload_file",
        "remove_uploaded_files",
        "sample_clone",
    }
)


def url(route: str, **arguments: Any) -> str:
    """An address as the server makes it; a route that is not agreed on is an error."""
    if route not in ROUTES:
        raise LookupError(f"no route {route!r} is agreed on")
    query = f"?{urlencode(arguments)}" if arguments else ""
    return f"/poms/{route}/{EXPERIMENT}/{ROLE}{query}"


def static(path: str) -> str:
    return f"/static/{path}"


def ago(**past: float) -> datetime:
    return NOW - timedelta(**past)


def frame(**more: Any) -> dict[str, Any]:
    return {
        "now": NOW,
        "url": url,
        "static": static,
        "page_url": "/poms/home/sbnd/production",
        "csrf_token": "t0ken",
        "experiment": EXPERIMENT,
        "role": ROLE,
        "experiments": [
            {"name": "dune", "url": "/poms/home/dune/production"},
            {"name": "sbnd", "url": "/poms/home/sbnd/production"},
        ],
        "roles": [
            {"name": "analysis", "url": "/poms/home/sbnd/analysis"},
            {"name": "production", "url": "/poms/home/sbnd/production"},
        ],
        "person": {"name": "Lena Ortiz", "username": "lortiz", "initials": "LO"},
        "launches": {"allowed": True, "text": "Launches allowed", "may_change": True},
        "nav_counts": {"board": 6, "held_launches": 3, "campaigns": 47},
        "elsewhere": [{"label": "Logbook <b>", "url": "https://elog.example.org/sbnd"}],
        "search_text": "",
        "messages": [],
        "live_seconds": 20,
        "events_url": "",
        "version": "5.0.0",
        **more,
    }


def columns(name: str, **seen: bool) -> dict[str, Any]:
    """What a page is told of the columns of its list; ``seen`` differs from the usual ones."""
    shown = shown_columns(name, seen)
    return {
        "list": name,
        "seen": shown,
        "chosen": bool(seen),
        "all": [{"key": one.key, "label": one.label, "seen": shown[one.key]} for one in LISTS[name]],
    }


def strip(*states: str) -> list[dict[str, str]]:
    names = ("gen", "g4", "detsim", "reco", "caf", "anatree", "detsim_wiremod", "reco_wiremod", "sign_off")
    return [
        {"name": name, "url": url("stage", campaign_stage_id=n), "state": state}
        for n, (name, state) in enumerate(zip(names, states, strict=False), 1)
    ]


L, C, R, I, N, H, F = "Located", "Completed", "Running", "Idle", "New", "Held", "Failed"  # noqa: E741
WIRE = strip(L, L, R, H, R, "LaunchFailed", I, C, "Awaiting Approval")

DIFF = [
    {"kind": "place", "text": "[campaign_stage detsim]"},
    {"kind": "same", "text": "cs_split_type = drainingn(400)"},
    {"kind": "gone", "text": "param_overrides = -Osubmit.memory=2000MB"},
    {"kind": "came", "text": "param_overrides = -Osubmit.memory=3000MB"},
]
PROBLEMS = [
    {"field": "detsim/cs_split_type", "line": 31, "message": "nothing is called “drainign”. Did you mean drainingn?"},
    {"field": "reco/vo_role", "line": None, "message": "is needed: Production or Analysis"},
]
FILES = {
    "count": 394,
    "query": "defname: mc2026a_detsim with limit 400",
    "first": [{"name": "mc2026a_detsim_00001.root", "bytes": 2_100_000_000}, {"name": "<b>odd</b>", "bytes": None}],
}
SLICES = [
    {"dataset": "mc2026a_detsim_slice_4", "files": 400, "query": "defname: mc2026a_detsim with limit 400"},
    {"dataset": "mc2026a_detsim_slice_5", "files": None, "query": ""},
]
ALLOWED = [
    {"role": "analysis", "why_not": "only the one who made it"},
    {"role": "production", "why_not": ""},
]
RECOVERIES = [
    {"name": "process_status", "description": "files whose job did not end well", "overrides": ""},
    {"name": "consumed_status", "description": "files that no job consumed", "overrides": "memory × 1.5"},
]
RULES = {
    "rules": ["when hold 34: memory x1.5", "when exit 65-69: other site", "otherwise: retry, at most 2 times"],
    "limits": ["memory at most 8,000 MB", "attempts at most 5"],
    "mode": "in force",
    "source": "the experiment sbnd",
    "learned": [
        {"amount": "2,000 MB of memory", "jobs": "650 jobs"},
        {"amount": "3,000 MB of memory", "jobs": "1 job"},
    ],
    "problem": "",
}
NO_RULES = {"rules": [], "limits": [], "mode": "", "source": "", "learned": [], "problem": "Line 1 of the rules: no"}
RECOVERY = {
    "decisions": [
        {
            "id": 7,
            "files": "363 files",
            "cause": "hold code 34, file transferred",
            "rule": "when hold 34: memory x1.5",
            "what": "launched again, 3,000 MB of memory",
            "note": "",
            "state": "launched",
            "answer": "",
            "submission": 812099,
            "url": url("submission", submission_id=812099),
            "actions": [],
        },
        {
            "id": 8,
            "files": "1 file",
            "cause": "exit code 3",
            "rule": "",
            "what": "a person is asked",
            "note": "the files were recovered 5 times, which is the limit",
            "state": "asking",
            "answer": "",
            "submission": None,
            "url": "",
            "actions": [
                {
                    "label": "Try again",
                    "url": url("recovery_answer"),
                    "method": "post",
                    "primary": True,
                    "fields": {"submission_id": 812044, "decision_id": 8, "act": "go_on"},
                }
            ],
        },
    ],
    "waits": True,
}
HAPPENED = [
    {
        "at": ago(minutes=10),
        "text": "Third launch of reco_wiremod refused",
        "url": url("submission", submission_id=812090),
    },
    {"at": ago(hours=1, minutes=29), "text": "detsim recovery 2 of 2 started, 40 files", "url": ""},
    {"at": ago(hours=2, minutes=43), "text": "First held job in detsim_wiremod", "url": ""},
    {"at": ago(hours=5), "text": "mruiz asked for approval of sign_off", "url": ""},
]


def pager(text: str) -> dict[str, str]:
    return {"text": text, "newer_url": "", "older_url": "/poms/campaigns/sbnd/production?before=811402"}


# --------------------------------------------------------------------------------------------- home


def home() -> dict[str, Any]:
    campaign = {"text": "mc2026a_bnb_nu_cosmic", "url": url("campaign", campaign_id=2417)}
    release = {
        "label": "Release with 3,000 MB",
        "url": url("jobs_act"),
        "method": "post",
        "primary": True,
        "fields": {"submission_id": 812044, "act": "release"},
        "ask": {
            "title": "Release 363 held jobs with 3,000 MB",
            "yes": "Release 363 jobs",
            "keep": "Keep held",
            "text": "The jobs go back to Idle and ask for 3,000 MB each.",
        },
    }
    board = [
        {
            "state": H,
            "what": "363 jobs held: more memory used than asked for",
            "since": ago(hours=2, minutes=43),
            "where": [campaign, {"text": "detsim_wiremod", "url": url("stage", campaign_stage_id=10388)}],
            "why": "Used 2,143 MB of 2,000 MB, at 11 sites, so it is the job and not a "
            "node. The recovery rule would ask for 3,000 MB.",
            "size": "363 jobs, 363 files",
            "actions": [release, {"label": "See why", "url": url("submission", submission_id=812044)}],
        },
        {
            "state": "LaunchFailed",
            "what": "Launch refused 3 times",
            "since": ago(minutes=51),
            "size": "800 files wait",
            "where": [campaign, {"text": "reco_wiremod", "url": url("stage", campaign_stage_id=10389)}],
            "why": "The vault token of sbndpro ran out at 01:50, so jobsub_submit gets no "
            "bearer token. Nothing was submitted.",
            "actions": [
                {
                    "label": "Try again",
                    "url": url("launch_stage"),
                    "method": "post",
                    "fields": {"campaign_stage_id": 10389},
                },
                {"label": "See output", "url": url("launch_log", submission_id=812090)},
            ],
        },
        {
            "state": F,
            "what": "Exit code 65 in a third of the jobs since 02:00",
            "since": ago(minutes=40),
            "size": "212 of 640 jobs",
            "where": [{"text": "keepup_2026_raw", "url": url("campaign", campaign_id=2390)}],
            "why": "188 of 212 failures come from 3 nodes of one site and end within 50 s.",
            "actions": [{"label": "See jobs", "url": url("submission", submission_id=811001)}],
        },
        {
            "state": "Awaiting Approval",
            "what": "Approval wanted before 06:00",
            "since": ago(hours=5, minutes=5),
            "where": [campaign],
            "why": "mruiz asks for a look at the wire-modification plots.",
            "size": "2 stages wait",
            "actions": [{"label": "Review", "url": url("submission", submission_id=812101)}],
        },
        {
            "state": "overdue",
            "what": "1,100 jobs idle, none has started",
            "since": None,
            "size": "1,100 jobs",
            "where": [{"text": "mc2026a_intrnue", "url": url("campaign", campaign_id=2420)}],
            "why": "Asks for 8,000 MB on one core and OFFSITE only: 2 of 14,300 slots match.",
            "actions": [],
        },
    ]
    running = [
        {
            "name": "mc2026a_dirt_overlay",
            "url": url("campaign", campaign_id=2418),
            "stages": strip(L, L, L, R, R),
            "counts": {L: 8120, C: 310, R: 640, I: 420, F: 41},
            "total": 9531,
            "done": "85 %",
            "running": 3214,
        },
        {
            "name": "keepup_2026_caf",
            "url": url("campaign", campaign_id=2391),
            "stages": strip(L, R),
            "counts": {L: 1870, R: 96, I: 24},
            "total": 1990,
            "done": "94 %",
            "running": 402,
        },
        {
            "name": "mc2026a_bnb_intime_cosmic",
            "url": url("campaign", campaign_id=2421),
            "stages": strip(L, R, R, I, N),
            "counts": {L: 2210, R: 1105, I: 1480},
            "total": 7995,
            "done": "28 %",
            "running": 5480,
        },
    ]
    return frame(
        scopes=[
            {"label": "sbnd", "url": url("home"), "current": True},
            {"label": "All mine", "url": url("home", mine=1), "current": False},
        ],
        board=board,
        board_total=5,
        quiet_count=43,
        running=running,
        jobs_now={R: 10914, I: 3487, H: 604},
        services=[
            {"name": "jobsub", "ok": True, "text": "asked 38 s ago, 1.2 s"},
            {"name": "SAM", "ok": False, "text": "slow: 9.4 s, usually 0.8 s"},
        ],
        happened=HAPPENED,
        may={"create": True},
        messages=[{"kind": "done", "title": "84 jobs released", "text": "of mc2026a_dirt_overlay"}],
    )


def home_quiet() -> dict[str, Any]:
    return home() | {
        "board": [],
        "board_total": 0,
        "running": [],
        "jobs_now": {},
        "services": [],
        "happened": [],
        "role": "analysis",
        "messages": [],
        "launches": {"allowed": False, "text": "Launches held by jpark", "may_change": False},
    }


# --------------------------------------------------------------------------------------- campaigns


def campaigns() -> dict[str, Any]:
    def row(
        number: int,
        name: str,
        stages: list[Any],
        counts: dict[str, int],
        total: int,
        done: str,
        jobs: tuple[int, int, int],
        end: str,
        minutes: int,
        tags: list[str] | None = None,
        *,
        active: bool = True,
    ) -> dict[str, Any]:
        return {
            "id": number,
            "name": name,
            "url": url("campaign", campaign_id=number),
            "tags": tags or [],
            "active": active,
            "stages": stages,
            "counts": counts,
            "total": total,
            "done": done,
            "running": jobs[0],
            "held": jobs[1],
            "failed": jobs[2],
            "changed_at": ago(minutes=minutes),
            "creator": "mruiz",
            "made_as": "production",
            "may": {"launch": True, "modify": active, "delete": not total},
            "launchable": [{"id": number, "name": "generate"}, {"id": number + 1, "name": "it's \"raw\" <b>"}],
        }

    return frame(
        page_url="/poms/campaigns/sbnd/production?view=active&text=mc2026a&sort=-changed",
        text="mc2026a",
        tag="",
        made_as=[
            {"label": "All", "url": url("campaigns"), "current": True},
            {"label": "Production", "url": url("campaigns", made_as="production"), "current": False},
            {"label": "Analysis", "url": url("campaigns", made_as="analysis"), "current": False},
        ],
        columns=columns("campaigns"),
        views=[
            {"label": "Active", "url": url("campaigns"), "count": 47, "current": True},
            {"label": "Mine", "url": url("campaigns", view="mine"), "count": 12, "current": False},
            {"label": "Watching", "url": url("campaigns", view="watching"), "count": None, "current": False},
            {"label": "Inactive", "url": url("campaigns", view="inactive"), "count": 1193, "current": False},
        ],
        campaigns=[
            row(
                2417,
                "mc2026a_bnb_nu_cosmic",
                WIRE,
                {L: 7834, C: 1402, R: 540, I: 792, H: 363, F: 51},
                12176,
                "64 %",
                (540, 363, 51),
                "Sun 18:00 ± 9 h",
                2,
                ["2026A", "mcc-priority"],
            ),
            row(
                2418,
                "mc2026a_dirt_overlay",
                strip(L, L, L, R, R),
                {L: 8120, C: 310, R: 640, I: 420, F: 41},
                9531,
                "85 %",
                (3214, 0, 41),
                "13:00 ± 2 h",
                4,
                ["2026A"],
            ),
            row(
                2420,
                "mc2026a_intrnue",
                strip(L, I, N, N, N),
                {L: 900, I: 1100},
                4500,
                "20 %",
                (0, 0, 0),
                "not known",
                6,
            ),
            row(
                2421,
                "mc2026a_test_with_a_very_long_name_that_people_do_write_in_production_campaigns",
                strip(*[L] * 4, *[N] * 5) * 2,
                {},
                0,
                "–",
                (0, 0, 0),
                "not known",
                300,
            ),
            row(
                2399,
                "mc2026a_test_gpu_wc",
                strip("Cancelled", "Removed"),
                {"Removed": 120},
                300,
                "0 %",
                (0, 0, 0),
                "stopped by jpark",
                4320,
                ["test"],
                active=False,
            ),
        ],
        pager=pager("5 of 19 campaigns, newest change first"),
        may={"create": True, "act": True},
        is_first=False,
    )


def campaigns_all_columns() -> dict[str, Any]:
    return campaigns() | {"tag": "2026A", "columns": columns("campaigns", id=True, creator=True, made_as=True)}


def campaigns_name_only() -> dict[str, Any]:
    return campaigns() | {"columns": columns("campaigns", **{one.key: False for one in LISTS["campaigns"]})}


def campaigns_none() -> dict[str, Any]:
    return campaigns() | {"campaigns": [], "text": "", "is_first": True, "page_url": url("campaigns")}


def campaigns_no_match() -> dict[str, Any]:
    return campaigns() | {"campaigns": [], "may": {"create": False, "act": False}}


def campaign_head() -> dict[str, Any]:
    return frame(
        page_url=url("campaign", campaign_id=2417),
        campaign={
            "id": 2417,
            "name": "mc2026a_bnb_nu_cosmic",
            "url": url("campaign", campaign_id=2417),
            "tags": ["2026A", "mcc-priority"],
            "active": True,
            "version": 7,
            "saved_at": ago(hours=8),
            "saved_by": "mruiz",
            "role": "production",
            "data_handling": "SAM",
            "stage_count": 9,
            "watched": True,
        },
        may={"launch": True, "modify": True, "watch": True, "delete": True, "create": True, "act": True},
        launchable=[{"id": 10380, "name": "gen"}],
        submission_count=64,
        version_count=7,
    )


STAGE_ROWS = [
    ("gen", L, "all 2,000 files", 0, "100 %", "2,000 of 2,000 files", {L: 2000}, 2000, (0, 0, 0)),
    ("g4", L, "6 files given up", 1, "99.7 %", "1,994 of 2,000 files", {L: 1994, F: 6}, 2000, (0, 0, 6)),
    (
        "detsim",
        R,
        "slice 8 of 10; recovery 2 of 2 running",
        2,
        "71 %",
        "1,412 of 1,994 files",
        {L: 1412, R: 310, I: 240, F: 32},
        1994,
        (310, 240, 32),
    ),
    (
        "reco",
        R,
        "follows detsim, starts per 200 files",
        3,
        "70 %",
        "988 of 1,412 files",
        {L: 988, R: 212, I: 204, F: 8},
        1412,
        (212, 204, 8),
    ),
    ("caf", I, "waits for slots", 4, "65 %", "640 of 988 files", {L: 640, I: 348}, 988, (0, 348, 0)),
    ("anatree", C, "outputs not located yet", 4, "0 %", "waiting for locations", {C: 988}, 988, (0, 0, 0)),
    (
        "detsim_wiremod",
        H,
        "363 jobs over their memory",
        2,
        "40 %",
        "363 jobs, memory",
        {L: 800, C: 414, R: 18, H: 363, F: 5},
        1994,
        (18, 0, 5),
    ),
    (
        "reco_wiremod_overlay_run2",
        "LaunchFailed",
        "vault token ran out; 3 tries",
        3,
        "0 %",
        "800 files wait",
        {},
        800,
        (0, 0, 0),
    ),
    ("sign_off", "Awaiting Approval", "mruiz asked; before 06:00", 4, "–", "asked 21:36 by mruiz", {}, 0, (0, 0, 0)),
]
EDGES = [
    ("gen", "g4", "100 %"),
    ("g4", "detsim", "71 %"),
    ("detsim", "reco", "70 %"),
    ("reco", "caf", "65 %"),
    ("reco", "anatree", "100 %"),
    ("g4", "detsim_wiremod", "40 %"),
    ("detsim_wiremod", "reco_wiremod_overlay_run2", "0 %"),
    ("reco_wiremod_overlay_run2", "sign_off", ""),
]


def stages() -> list[dict[str, Any]]:
    return [
        {
            "id": 10380 + n,
            "name": name,
            "url": url("stage", campaign_stage_id=10380 + n),
            "state": state,
            "why": why,
            "since": ago(hours=n + 1),
            "depth": depth,
            "done": done,
            "done_text": done_text,
            "counts": counts,
            "total": total,
            "running": jobs[0],
            "idle": jobs[1],
            "failed": jobs[2],
        }
        for n, (name, state, why, depth, done, done_text, counts, total, jobs) in enumerate(STAGE_ROWS)
    ]


def edges() -> list[dict[str, Any]]:
    return [{"tail": tail, "head": head, "label": label, "waits": label in ("", "0 %")} for tail, head, label in EDGES]


def campaign() -> dict[str, Any]:
    counts = {L: 7834, C: 1402, R: 540, I: 792, H: 363, F: 51}
    return campaign_head() | {
        "notices": [],
        "stages": stages(),
        "edges": edges(),
        "counts": counts,
        "timeline": {
            "begin": ago(days=1),
            "end": NOW,
            "ticks": TICKS,
            "lines": [
                {
                    "name": name,
                    "url": url("stage", campaign_stage_id=10380 + n),
                    "bars_url": url("time_bars", campaign_stage_id=10380 + n),
                    "pieces": pieces() if n % 2 else [],
                }
                for n, (name, *_) in enumerate(STAGE_ROWS)
            ],
        },
        "happened": HAPPENED,
        "figures": [
            {"label": "Done", "value": "64 %", "unit": "of 12,176 files", "counts": counts, "total": 12176},
            {"label": "Likely end", "value": "Sun 18:00", "unit": "± 9 h", "note": "without detsim_wiremod: not known"},
            {"label": "Jobs now", "value": "540", "unit": "running", "note": "792 idle, 363 held"},
            {"label": "Failed, not recovered", "value": "51", "unit": "files", "note": "6 given up after 2 recoveries"},
            {"label": "CPU efficiency, 24 h", "value": "87 %", "note": "31,400 core hours"},
        ],
        "definition": [
            {"label": "Creator", "value": "mruiz, 2 Mar 2026"},
            {"label": "Software version", "value": "v10_06_00 e26:prof", "mono": True},
            {"label": "Completion", "value": "located, 98 %"},
            {"label": "Keywords", "value": "mc_tag=2026A, flux=g4bnb_v3", "mono": True},
            {"label": "Login setup", "value": "sbndpro_gpvm_el9", "url": url("campaign", campaign_id=1)},
            {"label": "Split", "value": ""},
        ],
    }


def campaign_empty() -> dict[str, Any]:
    notice = {
        "state": "overdue",
        "title": "Nothing can be launched",
        "text": "The campaign has no stage.",
        "actions": [],
    }
    bare = campaign_head()["campaign"] | {"active": False, "stage_count": 0, "saved_at": None, "tags": []}
    return campaign() | {
        "stages": [],
        "edges": [],
        "counts": {},
        "notices": [notice],
        "happened": [],
        "launchable": [],
        "campaign": bare,
    }


TEXT = """[campaign]
experiment = sbnd
poms_role = production
name = mc2026a_bnb_nu_cosmic
# detsim needs more memory since the wire modification
[campaign_stage detsim]
cs_split_type = drainingn(400)
param_overrides = [["-Osubmit.memory=", "3000MB"]]
"""


def campaign_text() -> dict[str, Any]:
    return campaign_head() | {"text": TEXT, "shown_version": None, "problems": [], "result": None, "typed": ""}


def campaign_text_checked() -> dict[str, Any]:
    return campaign_text() | {
        "result": {"dry_run": True, "changed": True, "problems": [], "diff": DIFF, "version": None},
        "typed": TEXT,
    }


def campaign_text_refused() -> dict[str, Any]:
    return campaign_text() | {
        "result": {"dry_run": False, "changed": True, "problems": PROBLEMS, "diff": DIFF, "version": None},
        "problems": [PROBLEMS[0] | {"line": 7}],
        "shown_version": 5,
        "typed": TEXT,
    }


def campaign_versions() -> dict[str, Any]:
    return campaign_head() | {
        "versions": [
            {
                "number": 7,
                "saved_at": ago(hours=8),
                "saved_by": "mruiz",
                "source": "editor",
                "summary": "memory of detsim 2000 to 3000 MB",
                "current": True,
            },
            {
                "number": 6,
                "saved_at": ago(days=3),
                "saved_by": "lortiz",
                "source": "upload",
                "summary": "two stages added",
                "current": False,
            },
        ],
        "compared": {"old": 6, "new": 7, "diff": DIFF},
        "pager": pager("2 of 7 versions, newest first"),
    }


# ------------------------------------------------------------------------------------ submissions


def submission_rows() -> list[dict[str, Any]]:
    rows = [
        (812090, "LaunchFailed", "dependency", "of reco_wiremod", 1, {}, 0),
        (812044, H, "regular", "slice 4", 0, {C: 14, R: 18, H: 363, F: 5}, 400),
        (811833, C, "recovery", "188 files", 1, {C: 188}, 188),
        (811760, F, "regular", "slice 3", 0, {C: 212, F: 188}, 400),
        (811618, L, "regular", "slice 2", 0, {L: 400}, 400),
    ]
    return [
        {
            "id": number,
            "url": url("submission", submission_id=number),
            "state": state,
            "kind": kind,
            "kind_text": kind_text,
            "depth": depth,
            "stage": "detsim_wiremod",
            "stage_url": url("stage", campaign_stage_id=10388),
            "batch_id": "61244817@jobsub03.fnal.gov" if jobs else "",
            "counts": counts,
            "jobs": jobs,
            "failed": counts.get(F, 0),
            "files_in": jobs or None,
            "created_at": ago(hours=7),
            "creator": "mruiz",
            "changed_at": ago(minutes=12),
            "dataset": "mc2026a_g4_slice4",
            "files_located": None,
        }
        for number, state, kind, kind_text, depth, counts, jobs in rows
    ]


def submissions() -> dict[str, Any]:
    return campaign_head() | {
        "owner": {"kind": "campaign", "name": "mc2026a_bnb_nu_cosmic", "url": url("campaign", campaign_id=2417)},
        "stage": None,
        "text": "",
        "since": None,
        "until": None,
        "columns": columns("submissions"),
        "states": [
            {"label": "All 64", "url": url("campaign_submissions", campaign_id=2417), "current": True},
            {"label": "Held 1", "url": url("campaign_submissions", campaign_id=2417, state=H), "current": False},
        ],
        "submissions": submission_rows(),
        "pager": pager("5 of 64 submissions, newest first"),
    }


def submissions_of_experiment() -> dict[str, Any]:
    return submissions() | {
        "owner": {"kind": "experiment", "name": "sbnd", "url": url("campaigns")},
        "since": ago(days=2),
        "until": NOW,
        "columns": columns("submissions", dataset=True, files_located=True, batch_id=False),
    }


def submissions_of_stage() -> dict[str, Any]:
    return submissions() | {
        "owner": {"kind": "stage", "name": "detsim_wiremod", "url": url("stage", campaign_stage_id=10388)},
        "submissions": [],
        "text": "812",
        "stage": {
            "id": 10388,
            "name": "detsim_wiremod",
            "url": url("stage", campaign_stage_id=10388),
            "campaign": {"name": "mc2026a_bnb_nu_cosmic", "url": url("campaign", campaign_id=2417)},
        },
    }


def stage() -> dict[str, Any]:
    every = stages()
    near = [one for one in every if one["name"] in ("g4", "detsim_wiremod", "reco_wiremod_overlay_run2")]
    names = {one["name"] for one in near}
    return frame(
        page_url=url("stage", campaign_stage_id=10386),
        stage={
            "id": 10386,
            "name": "detsim_wiremod",
            "url": url("stage", campaign_stage_id=10386),
            "state": H,
            "why": "363 jobs over their memory",
            "since": ago(hours=2, minutes=43),
            "held": True,
            "held_by": "jpark",
            "watched": True,
            "campaign": {"id": 2417, "name": "mc2026a_bnb_nu_cosmic", "url": url("campaign", campaign_id=2417)},
            "job_type_url": url("job_type", job_type_id=7),
            "login_setup_url": "",
            "fed_by": [{"text": "g4", "url": url("stage", campaign_stage_id=10381)}],
            "feeds": [{"text": "reco_wiremod", "url": url("stage", campaign_stage_id=10387)}],
        },
        notices=[
            {
                "state": H,
                "title": "363 jobs are held for memory, and nothing else here will finish before they do",
                "text": "They used 2,143 MB of the 2,000 MB they asked for (hold code 34), at 11 sites.",
                "actions": [
                    {
                        "label": "Release 363 jobs",
                        "url": url("jobs_act"),
                        "method": "post",
                        "primary": True,
                        "fields": {"campaign_stage_id": 10386, "act": "release"},
                    },
                    {"label": "Look at one job", "url": url("job", batch_id="61244817.37@jobsub03")},
                ],
            }
        ],
        figures=[
            {
                "label": "Files done",
                "value": "40 %",
                "unit": "800 of 1,994",
                "counts": {L: 800, C: 414, H: 363, F: 5},
                "total": 1994,
            },
            {"label": "Slice", "value": "4", "unit": "of 5", "note": "drainingn(400)"},
            {"label": "Likely end", "value": "not known", "note": "until the held jobs go on"},
            {"label": "Wall time a job", "value": "2 h 14 min", "note": "80 % between 1 h 52 and 2 h 47"},
        ],
        submissions=submission_rows(),
        submission_count=11,
        settings=[
            {"label": "Dataset", "value": "from g4: %_g4.root", "mono": True},
            {"label": "Software version", "value": "v10_06_00", "mono": True, "inherited": "the campaign"},
            {"label": "Split", "value": "drainingn(400)", "mono": True},
            {"label": "Completion", "value": "located, 98 %", "inherited": "the campaign"},
            {
                "label": "Overrides",
                "value": "-Oglobal.fclfile=wcls-detsim-wiremod.fcl\n-Osubmit.memory=2000MB",
                "mono": True,
            },
        ],
        job_type=[
            {"label": "Name", "value": "sbnd_lar_chain"},
            {"label": "Script", "value": "fife_launch -c sbnd_launch.cfg", "mono": True},
        ],
        login_setup=[
            {"label": "Name", "value": "sbndpro_gpvm_el9"},
            {"label": "Host", "value": "sbndgpvm05.fnal.gov", "mono": True},
            {"label": "Made", "at": ago(days=40), "by": "mruiz"},
        ],
        split_marks=[{"id": 10412, "at": ago(days=1), "dataset": "<b>odd</b> " + "long_" * 30}],
        recoveries=RECOVERIES,
        rules=RULES,
        stages=near,
        edges=[edge for edge in edges() if edge["tail"] in names and edge["head"] in names],
        schedule="5 3 * * *, America/Chicago",
        schedule_words="at 03:05 every day",
        schedule_launcher="mruiz",
        schedule_message="no agent was at work at 2026-03-13 09:05 UTC",
        next_launch_at=NOW + timedelta(hours=6),
        live={"running": 18, "idle": 0, "held": 363},
        may={"launch": True, "act": True, "hold_launches": True, "edit": True},
    )


def stage_never_launched() -> dict[str, Any]:
    quiet = stage()["stage"] | {
        "state": N,
        "held": False,
        "held_by": "",
        "watched": False,
        "why": "",
        "since": None,
        "fed_by": [],
        "feeds": [],
    }
    return stage() | {
        "stage": quiet,
        "notices": [],
        "submissions": [],
        "submission_count": 0,
        "recoveries": [],
        "rules": NO_RULES,
        "schedule": "",
        "schedule_words": "",
        "schedule_launcher": "",
        "schedule_message": "",
        "next_launch_at": None,
        "live": {"running": 0, "idle": 0, "held": 0},
        "stages": stage()["stages"][:1],
        "edges": [],
    }


def schedule() -> dict[str, Any]:
    return frame(
        page_url=url("schedule", campaign_stage_id=10386),
        stage={
            "id": 10386,
            "name": "detsim_wiremod",
            "url": url("stage", campaign_stage_id=10386),
            "campaign": {"name": "mc2026a_bnb_nu_cosmic", "url": url("campaign", campaign_id=2417)},
        },
        schedule={
            "cron": "5 3 * * *",
            "words": "at 03:05 every day",
            "time_zone": "America/Chicago",
            "launcher": "mruiz",
            "next_at": NOW + timedelta(hours=6),
            "last_at": ago(hours=18),
            "message": "mruiz is not in experiment sbnd any more",
            "catch_up": "once",
            "clear_at_end": True,
        },
        form={
            "cron": "5 3 * * *",
            "minlist": "5",
            "hourlist": "3",
            "domlist": "*",
            "dowlist": "*",
            "catch_up": "once",
            "clear_at_end": "stage",
        },
        coming={
            "cron": "5 3 * * *",
            "words": "at 03:05 every day",
            "is_new": False,
            "launches": [
                {"at": NOW + timedelta(days=days, hours=6), "local": f"Sat 2026-03-{14 + days} 03:05 CDT"}
                for days in range(5)
            ],
        },
        problems=[],
        time_zone="America/Chicago",
        stage_clears=True,
        may={"edit": True},
    )


def schedule_none() -> dict[str, Any]:
    return schedule() | {"schedule": None, "coming": None, "form": schedule()["form"] | {"cron": "", "dowlist": ""}}


def schedule_refused() -> dict[str, Any]:
    wrong = {"field": "minlist", "line": None, "message": "“99” is no minute"}
    return schedule_none() | {"problems": [wrong], "form": schedule()["form"] | {"cron": "99 * * * *"}}


def schedule_of_others() -> dict[str, Any]:
    return schedule() | {"may": {"edit": False}}


def submission_common() -> dict[str, Any]:
    counts = {C: 14, R: 18, I: 0, H: 363, F: 5}
    return frame(
        page_url=url("submission", submission_id=812044),
        submission={
            "id": 812044,
            "url": url("submission", submission_id=812044),
            "state": H,
            "since": ago(hours=2, minutes=43),
            "batch_id": "61244817@jobsub03.fnal.gov",
            "created_at": ago(hours=6, minutes=39),
            "creator": "mruiz",
            "dataset": "mc2026a_bnb_nu_cosmic_detsim_wiremod_slice_4",
            "files_in": 400,
            "jobs": 400,
            "kind": "dependency",
            "kind_text": "launched after",
            "stage": {"id": 10386, "name": "detsim_wiremod", "url": url("stage", campaign_stage_id=10386)},
            "campaign": {"id": 2417, "name": "mc2026a_bnb_nu_cosmic", "url": url("campaign", campaign_id=2417)},
            "parent": {"id": 811870, "url": url("submission", submission_id=811870)},
            "log_url": url("launch_log", submission_id=812044),
            "links": [{"label": "FIFEmon", "url": "https://fifemon.fnal.gov/monitor/d/1?var-cluster=61244817"}],
        },
        history=[
            {"state": N, "at": ago(hours=6, minutes=39), "seconds": 89, "by": "", "note": ""},
            {"state": I, "at": ago(hours=6, minutes=38), "seconds": 1860, "by": "", "note": ""},
            {"state": R, "at": ago(hours=6, minutes=7), "seconds": 12180, "by": "", "note": ""},
            {"state": H, "at": ago(hours=2, minutes=43), "seconds": None, "by": "poms", "note": ""},
        ],
        ahead=[C, L],
        notices=[],
        counts=counts,
        figures=[
            {"label": "Jobs", "value": "400", "counts": counts, "note": "363 held"},
            {"label": "CPU efficiency", "value": "84 %", "note": "14 jobs that ended"},
            {"label": "Likely end", "value": "not known", "note": "until the held jobs go on"},
        ],
        face_counts={"jobs": 400, "files": 400, "events": 18},
        file_counts=[
            {"label": "In the slice", "value": "400"},
            {"label": "Consumed", "value": "14"},
            {"label": "Pending", "value": "389"},
        ],
        ran_with=[
            {"label": "Campaign text", "value": "version 7", "url": url("campaign_text", campaign_id=2417, version=7)},
            {"label": "Project", "value": "sbndpro_mc2026a_detsim_wm_812044", "mono": True},
        ],
        followers=[
            {
                "id": 812090,
                "url": url("submission", submission_id=812090),
                "kind_text": "reco_wiremod",
                "state": "LaunchFailed",
                "files_in": 800,
            }
        ],
        recovery=RECOVERY,
        recovery_kinds=RECOVERIES,
        may={
            "act": True,
            "abort": True,
            "recover": True,
            "relaunch": True,
            "complete": True,
            "locate": True,
            "approve": False,
        },
    )


def submission_jobs() -> dict[str, Any]:
    rows = [
        (".37", H, "more memory than asked", "FermiGrid", "fnpc23117", 2143, 7080),
        (".38", H, "more memory than asked", "UChicago", "uct2-c604", 2139, 7260),
        (".190", F, "exit code 1: art, bad wire 3801", "FermiGrid", "fnpc24003", 1902, 2460),
        (".311", R, "", "UCSD", "cabinet-7-7-4", None, None),
    ]
    return submission_common() | {
        "face": "jobs",
        "columns": columns("jobs", cpu=True, attempts=True),
        "page_url": url("submission", submission_id=812044, sort="-since"),
        "job_counts": {C: 14, R: 18, H: 363, F: 5},
        "job_states": [
            {"label": "All 400", "url": url("submission", submission_id=812044), "current": True},
            {"label": "Held 363", "url": url("submission", submission_id=812044, state=H), "current": False},
        ],
        "jobs": [
            {
                "batch_id": f"61244817{label}@jobsub03.fnal.gov",
                "label": label,
                "url": url("job", batch_id=f"61244817{label}@jobsub03.fnal.gov"),
                "state": state,
                "why": why,
                "site": site,
                "node": node,
                "memory_used_mb": used,
                "memory_asked_mb": 2000,
                "cpu_seconds": 6000,
                "wall_seconds": wall,
                "attempts": 2,
                "since": ago(hours=2),
            }
            for label, state, why, site, node, used, wall in rows
        ],
        "archive": None,
        "pager": pager("4 of 400 jobs, what needs a person first"),
    }


def submission_archived() -> dict[str, Any]:
    sites = [("FermiGrid", 300, 280, 15, 5, 91.5), ("", 100, 0, 0, 100, None)]
    return submission_jobs() | {
        "jobs": [],
        "archive": {
            "at": ago(days=12),
            "jobs": 400,
            "attempts": 431,
            "cpu_seconds": 1_900_000.0,
            "wall_seconds": 2_100_000.0,
            "efficiency": 90.5,
            "longest_seconds": 28_000.0,
            "memory_used_mb": 2143,
            "memory_asked_mb": None,
            "started_at": ago(days=200),
            "ended_at": ago(days=199),
            "outcomes": [
                {"state": C, "why": "", "jobs": 280},
                {"state": F, "why": "exit code 65", "jobs": 15},
                {"state": "Removed", "why": "held: Used more memory than it asked for", "jobs": 105},
            ],
            "sites": [
                {
                    "site": site,
                    "jobs": jobs,
                    "completed": good,
                    "failed": bad,
                    "removed": gone,
                    "cpu_seconds": 100.0,
                    "wall_seconds": 110.0,
                    "efficiency": efficiency,
                }
                for site, jobs, good, bad, gone, efficiency in sites
            ],
            "clusters": [
                {
                    "name": "61244817@jobsub03.fnal.gov",
                    "jobs": 400,
                    "first": "61244817.0@jobsub03.fnal.gov",
                    "logs": [{"label": "stdout", "url": url("job", batch_id="61244817.0@jobsub03.fnal.gov")}],
                }
            ],
            "more_clusters": 3,
        },
    }


def submission_files() -> dict[str, Any]:
    return submission_common() | {
        "face": "files",
        "columns": columns("files"),
        "files_asked_at": ago(minutes=3),
        "files_wait": False,
        "file_states": [
            {"label": "All 400", "url": url("submission", submission_id=812044, face="files"), "current": True}
        ],
        "files": [
            {
                "name": "prodgenie_nu_sbnd_0f3c_g4.root",
                "state": "consumed",
                "size_bytes": 2_100_000_000,
                "job_label": ".37",
                "job_url": url("job", batch_id="61244817.37"),
                "outputs": [{"name": "prodgenie_nu_sbnd_0f3c_detsim.root", "located": False}],
                "link_url": "https://sam.fnal.gov/x",
            },
            {
                "name": "prodgenie_nu_sbnd_0f3d_g4.root",
                "state": "unknown",
                "size_bytes": None,
                "job_label": "",
                "job_url": "",
                "outputs": [],
                "link_url": "",
            },
        ],
        "pager": pager("2 of 400 files"),
    }


COMMAND = """source /cvmfs/sbnd.opensciencegrid.org/products/sbnd/setup_sbnd.sh; setup fife_utils
fife_launch -c sbnd_launch.cfg --stage detsim \\
  -Oglobal.dataset=mc2026a_bnb_nu_cosmic_detsim_wiremod_slice_4 \\
  -Osubmit.memory=2000MB
"""


def submission_command() -> dict[str, Any]:
    return submission_common() | {
        "face": "command",
        "command": COMMAND,
        "launched_on": "sbndgpvm05.fnal.gov as sbndpro",
    }


def submission_snapshots() -> dict[str, Any]:
    return submission_common() | {
        "face": "snapshots",
        "snapshots": [
            {"title": "Stage", "rows": stage()["settings"]},
            {"title": "Job type", "rows": stage()["job_type"]},
        ],
    }


def submission_events() -> dict[str, Any]:
    waiting = submission_common()["submission"] | {
        "state": "Awaiting Approval",
        "parent": None,
        "log_url": "",
        "links": [],
        "batch_id": "",
    }
    return submission_common() | {
        "face": "events",
        "happened": HAPPENED,
        "submission": waiting,
        "followers": [],
        "counts": {},
        "ahead": [],
        "may": {
            "act": False,
            "abort": False,
            "recover": False,
            "relaunch": False,
            "complete": False,
            "locate": False,
            "approve": True,
        },
    }


LOG = {
    "text": "Begin processing the 41st record. run: 1 subRun: 37 event: "
    "41\n%MSG-w WireMod: RSS 1871 MB after plane 0, memory pool not returned\n"
    "starter: job has gone over memory limit of 2000 megabytes. Peak usage: 2143 megabytes.\n"
    "fife_wrap: caught signal 15, copying logs\n",
    "url": "/poms/launch_log_text/sbnd/production?submission_id=812044",
    "offset": 1204311,
    "done": False,
    "skipped_bytes": 1_140_000,
    "size_bytes": 1_204_311,
    "full_url": "/poms/launch_log_text/sbnd/production?submission_id=812044&full=1",
}


def campaign_editor() -> dict[str, Any]:
    return frame(
        campaign={"id": 1204, "name": "mc2026a_bnb_nu_cosmic", "version": 7},
        data_url=url("editor_data", campaign_id=1204),
        stage="detsim",
        may={"save": True},
        live_seconds=0,
    )


def campaign_editor_new() -> dict[str, Any]:
    return campaign_editor() | {"campaign": None, "data_url": url("editor_data"), "stage": ""}


def launch_log() -> dict[str, Any]:
    return frame(
        title="Launch of submission 812044",
        path=[
            {"text": "detsim_wiremod", "url": url("stage", campaign_stage_id=10386)},
            {"text": "812044", "url": url("submission", submission_id=812044)},
        ],
        state_now=N,
        facts=["sbndgpvm05.fnal.gov as sbndpro", "attempt 1"],
        log=LOG,
        submission_id=812044,
        may={"abort": True},
        page_url=url("launch_log", submission_id=812044),
    )


def login_setup_log() -> dict[str, Any]:
    return launch_log() | {
        "title": "Test of sbndpro_gpvm_el9",
        "path": [{"text": "Login setups", "url": url("login_setups")}],
        "state_now": "Completed",
        "facts": ["sbndgpvm05.fnal.gov as sbndpro", "starts no jobs",
                  "Login and setup work, and jobsub_submit is there."],
        "submission_id": None,
        "may": {"abort": False},
    }


def job() -> dict[str, Any]:
    return frame(
        job={
            "batch_id": "61244817.37@jobsub03.fnal.gov",
            "state": H,
            "since": ago(hours=2, minutes=43),
            "site": "FermiGrid",
            "node": "fnpc23117.fnal.gov",
            "attempts": 2,
            "url": url("job", batch_id="61244817.37"),
            "cause": "It used more memory than it asked for",
            "cause_text": "Peak 2,143 MB, asked for 2,000 MB; held after 1 h 58 min (hold code "
            "34). 362 other jobs of this stage have the same cause.",
        },
        submission={"id": 812044, "url": url("submission", submission_id=812044)},
        stage={"name": "detsim_wiremod", "url": url("stage", campaign_stage_id=10386)},
        campaign={"name": "mc2026a_bnb_nu_cosmic", "url": url("campaign", campaign_id=2417)},
        facts=[
            {"label": "CPU efficiency", "value": "91 %"},
            {"label": "Wall, CPU", "value": "1 h 58 min, 1 h 47 min"},
            {"label": "Exit code", "value": None},
            {"label": "Input", "value": "prodgenie_nu_sbnd_0f3c_g4.root", "mono": True},
        ],
        history=HAPPENED,
        which="stderr",
        logs=[
            {"label": "stderr", "url": url("job", batch_id="61244817.37"), "current": True},
            {"label": "stdout", "url": url("job", batch_id="61244817.37", which="stdout"), "current": False},
        ],
        log=LOG,
        log_problem="",
        siblings={
            "previous_url": url("job", batch_id="61244817.36"),
            "next_url": url("job", batch_id="61244817.38"),
            "label": "held job",
        },
        links=[{"label": "FIFEmon", "url": "https://fifemon.fnal.gov/x"}],
        may={"act": True},
        page_url=url("job", batch_id="61244817.37"),
    )


def job_without_log() -> dict[str, Any]:
    return job() | {
        "log": None,
        "log_problem": "The job has not started, so it has written nothing.",
        "job": job()["job"] | {"state": I, "cause": "", "site": "", "attempts": 0},
        "siblings": {"previous_url": "", "next_url": "", "label": ""},
        "links": [],
    }


def launch_preview() -> dict[str, Any]:
    return frame(
        stage=stage()["stage"],
        test=False,
        page_url=url("preview", campaign_stage_id=10386),
        figures=[
            {"label": "Files", "value": "394", "note": "slice 5 of 5, 790 GB"},
            {"label": "Jobs", "value": "394", "unit": "1 file each", "note": "3,000 MB, 1 core, 3 h each"},
            {"label": "Expected work", "value": "880", "unit": "core hours"},
            {"label": "Afterwards", "value": "1", "unit": "stage", "note": "reco_wiremod, per 200 files"},
        ],
        command=COMMAND,
        runs_on="sbndgpvm05.fnal.gov as sbndpro",
        diff=DIFF[2:],
        last={"id": 812044, "url": url("submission", submission_id=812044), "at": ago(hours=6)},
        dataset={
            "name": "mc2026a_bnb_nu_cosmic_detsim_wiremod_slice_5",
            "query": "snapshot_id 4410927 with limit 400",
            "note": "minus the 1,600 files of slices 1 to 4",
        },
        checks=[
            {"ok": False, "text": "Token ends before the jobs may", "note": "2 h 10 min"},
            {"ok": True, "text": "You may launch", "note": "production"},
            {"ok": True, "text": "No file was given out before", "note": "394 of 394"},
        ],
        problems=[],
        recoveries=RECOVERIES,
        rules=RULES,
        files=FILES,
        slices=SLICES,
        allowed=ALLOWED,
        environment=[{"name": "GROUP", "value": "sbnd"}, {"name": "POMS_LAUNCHER", "value": "lortiz"}],
        file_count=394,
        job_count=394,
        hold_text="",
        launch_key="7f3a",
        may={"launch": True},
    )


def launch_preview_refused() -> dict[str, Any]:
    return launch_preview() | {
        "problems": [{"field": "param_overrides", "message": "%(mc_tag)s is used and not set", "line": None}],
        "hold_text": "jpark holds launches of this stage.",
        "dataset": None,
        "last": None,
        "diff": [],
        "recoveries": [],
        "job_count": None,
        "files": None,
        "slices": None,
        "environment": [],
        "test": True,
    }


def preview_launch(**more: Any) -> dict[str, Any]:
    return {
        "what": "launch",
        "what_text": "would be launched",
        "state": "Located",
        "why": "",
        "occasion": "",
        "at": None,
        "by": "lortiz",
        "kind": "manual",
        "test": False,
        "stage": stage()["stage"],
        "problems": [],
        "command": COMMAND,
        "dataset": "mc2026a_bnb_nu_cosmic_detsim_wiremod_slice_4",
        "runs_on": "sbndgpvm05.fnal.gov as sbndpro",
        "setup": "source setup_sbnd.sh",
        "text": COMMAND,
        "environment": [{"name": "GROUP", "value": "sbnd"}, {"name": "POMS_LAUNCHER", "value": "lortiz"}],
        "defines": [{"name": "mc2026a_detsim_slice_4", "query": "defname: mc2026a_detsim with limit 400"}],
        "jobs": 394,
        "files": FILES,
        "files_unknown": "",
        "slices": SLICES,
        **more,
    }


def previews(**more: Any) -> dict[str, Any]:
    return frame(
        page_url=url("preview_stages", campaign_stage_id=10386),
        **{
            "title": "Launch of 4 stages",
            "text": "Each is launched for itself; what one of them feeds follows besides.",
            "notes": ["Left out: caf: no output matches %.caf.root"],
            "problems": [],
            "back": url("campaign", campaign_id=2417),
            "groups": [
                {
                    "title": "As soon as it is Located",
                    "text": "",
                    "launches": [
                        preview_launch(),
                        preview_launch(what="hold", what_text="would be kept for later", state="Held", at=ago(hours=-3),
                                       why="Campaign mc2026a launches currently held", jobs=None, slices=None),
                        preview_launch(what="fail", what_text="cannot be launched like this", state="LaunchFailed",
                                       problems=PROBLEMS, command="", text="", defines=[], files=None, dataset="",
                                       environment=[], slices=None, runs_on="", jobs=None),
                        preview_launch(what="wait", what_text="would be tried again", state="overdue", why="silent",
                                       command="", text="", defines=[], files=None, files_unknown="no answer",
                                       environment=[], slices=None, runs_on="", jobs=None),
                    ],
                }
            ],
            "effects": [],
            "choices": [
                {"text": "process_status", "note": "12 files", "url": url("preview_recovery"), "current": True},
                {"text": "consumed_status", "note": "3 files", "url": url("preview_recovery"), "current": False},
                {"text": "added_files", "note": "0 files", "url": "", "current": False},
            ],
            "stage_choices": [{"id": 1, "name": "gen", "first": True}, {"id": 2, "name": "reco", "first": False}],
            "allowed": [{"stage": "detsim", "roles": ALLOWED}, {"stage": "reco", "roles": ALLOWED}],
            "action": {
                "url": url("launch_stages"),
                "label": "Launch 2 stages",
                "fields": {"campaign_stage_id": [1, 2]},
            },
            **more,
        },
    )


def previews_of_change() -> dict[str, Any]:
    return previews(
        title="Changed job type detsim",
        groups=[],
        choices=[],
        stage_choices=[],
        allowed=[],
        action=None,
        effects=[
            {"stage": "detsim", "launch_id": None, "changed": True, "url": url("stage"), "diff": DIFF[2:], "why": "",
             "before": "would be launched", "after": "would be launched"},
            {"stage": "reco", "launch_id": 51, "changed": True, "url": "", "diff": [], "why": "held for a downtime",
             "before": "would be launched", "after": "would be kept for later"},
        ],
    )


def previews_of_nothing() -> dict[str, Any]:
    return previews(groups=[], choices=[], stage_choices=[], allowed=[], action=None, notes=["Nothing follows."],
                    problems=PROBLEMS, text="")


def held_launches() -> dict[str, Any]:
    return frame(
        page_url=url("held_launches"),
        text="",
        columns=columns("held_launches"),
        gate={"held": False, "text": ""},
        may={"act": True, "gate": True},
        pager=pager("2 held launches, oldest first"),
        held=[
            {
                "id": 51,
                "created_at": ago(hours=9),
                "reason": "the stage’s launches are kept by jpark",
                "stage": "detsim_wiremod",
                "stage_url": url("stage", campaign_stage_id=10386),
                "campaign": "mc2026a_bnb_nu_cosmic",
                "campaign_url": url("campaign", campaign_id=2417),
                "dataset": "",
                "kind_text": "schedule",
                "asked_by": "mruiz",
            },
            {
                "id": 52,
                "created_at": ago(hours=2),
                "reason": "all launches were held for a downtime",
                "stage": "caf",
                "stage_url": url("stage", campaign_stage_id=10384),
                "campaign": "keepup_2026_caf",
                "campaign_url": url("campaign", campaign_id=2391),
                "dataset": "keepup_raw_2026_03_13",
                "kind_text": "after submission 811402",
                "asked_by": "poms",
            },
        ],
    )


def file_uploads() -> dict[str, Any]:
    stages = [{"text": "mcp › gen", "url": url("stage", campaign_stage_id=1)},
              {"text": "mcp › reco", "url": url("stage", campaign_stage_id=2)}]
    return frame(
        page_url=url("file_uploads"),
        files=[
            {"name": "setup_with_a_name_that_goes_on_and_on.fcl", "size": 1234, "changed_at": ago(days=3),
             "url": url("download_file", filename="setup.fcl"), "stages": stages, "more_stages": 12},
            {"name": "x509up_voms_sbnd_Analysis_lortiz", "size": 9_400_000, "changed_at": ago(hours=1),
             "url": url("download_file", filename="x"), "stages": [], "more_stages": 0},
        ],
        total=9_401_234,
        credentials=[
            {"kind": "proxy", "whose": "lortiz", "well": True, "problem": "", "expires_at": NOW + timedelta(hours=11),
             "note": ""},
            {"kind": "vault token", "whose": "lortiz", "well": False, "expires_at": None, "note": "",
             "problem": "The vault token of lortiz was not uploaded. Upload a new one as vt_sbnd_Analysis_lortiz."},
        ],
        quota=10_485_760,
        free=1_084_526,
        problems=[],
    )


def file_uploads_none() -> dict[str, Any]:
    return file_uploads() | {"files": [], "credentials": [], "total": 0, "free": 10_485_760}


def file_uploads_refused() -> dict[str, Any]:
    return file_uploads() | {"problems": [{"field": "filename", "message": "is no name of a file here", "line": None}]}


def watches() -> dict[str, Any]:
    words = ("finished", "attention", "approval", "held", "recovery", "next", "stopped", "changed")
    sent = {"is_test": False, "events": 12, "channel": "mail", "address": "lortiz@example.org", "state": "sent",
            "state_text": "Sent", "attempts": 1, "next_at": None, "sent_at": ago(hours=2), "message": ""}
    return frame(
        page_url=url("watches"),
        watches=[
            {"id": 1, "kind": "campaign", "experiment": "sbnd", "campaign": "MCP2025B", "stage": "",
             "url": url("campaign", campaign_id=7), "news": ["finished", "attention"], "created": ago(days=3)},
            {"id": 2, "kind": "stage", "experiment": "dune", "campaign": "keepup", "stage": "reco",
             "url": url("stage", campaign_stage_id=9), "news": ["attention"], "created": ago(hours=3)},
        ],
        news=[{"word": word, "text": f"What {word} means"} for word in words],
        channels=[
            {"name": "mail", "description": "Mail, as plain text", "hint": "a mail address, such as you@example.org",
             "address": "lortiz@example.org", "secret": "", "problem": ""},
            {"name": "webhook", "description": "A signed JSON document", "hint": "an https address",
             "address": "https://chat.example.org/x", "secret": "k" * 43, "problem": "It cannot be used now"},
        ],
        settings={"every": "15m", "quiet": "22:00-07:00", "time_zone": "America/Chicago"},
        every=["1m", "15m", "1h", "6h", "1d"],
        sent=[
            {"id": "9-mail", "made_at": ago(hours=2), **sent},
            {"id": "8-mail", "made_at": ago(hours=3), **sent, "state": "waiting", "state_text": "Waiting",
             "attempts": 2, "next_at": NOW, "sent_at": None, "message": "the mail server does not answer"},
            {"id": "7-mail", "made_at": ago(days=3), **sent, "state": "given_up", "state_text": "Given up",
             "is_test": True, "events": 0, "sent_at": None, "message": "no such mailbox"},
        ],
        waiting=3,
        problems=[],
    )


def watches_none() -> dict[str, Any]:
    return watches() | {"watches": [], "channels": [], "sent": [], "waiting": 0}


def watches_refused() -> dict[str, Any]:
    return watches() | {"problems": [{"message": "no hours", "field": "quiet", "line": None}],
                        "settings": {"every": "1h", "quiet": "late", "time_zone": "Moon"}}


def held_launches_none() -> dict[str, Any]:
    return held_launches() | {
        "held": [],
        "gate": {"held": True, "text": "jpark, since 01:10: dCache is down. Jobs that run go on."},
    }


def held_launches_no_match() -> dict[str, Any]:
    return held_launches() | {"held": [], "text": "nothing like it"}


def bulk() -> dict[str, Any]:
    return frame(
        title="Remove 394 jobs of 2 submissions",
        text="Jobs that run are stopped and their work is lost.",
        touched=[
            {
                "name": "812044, detsim_wiremod",
                "url": url("submission", submission_id=812044),
                "state": H,
                "effect": "394 jobs",
            }
        ],
        touched_total=2,
        left=[
            {
                "name": "811618, detsim_wiremod",
                "url": url("submission", submission_id=811618),
                "state": L,
                "effect": "left alone: no job to remove",
            }
        ],
        left_total=1,
        left_why=["1 left alone: no job to remove"],
        yes="Remove 394 jobs",
        keep="Keep the jobs as they are",
        danger=True,
        reason=True,
        rate=False,
        action=url("jobs_act"),
        fields={"submission_id": [812044, 811833, 811618], "act": "remove", "back": "/poms/campaigns/sbnd/production"},
        back="/poms/campaigns/sbnd/production",
    )


def bulk_held() -> dict[str, Any]:
    words = {"title": "Release 2 launches", "yes": "Release 2 launches", "keep": "Keep them held", "danger": False}
    return bulk() | words | {"reason": False, "rate": True, "left": [], "left_total": 0, "left_why": []}


def bulk_nothing() -> dict[str, Any]:
    return bulk() | {"touched": [], "touched_total": 0, "title": "Release 0 jobs of 0 submissions", "danger": False}


def tags() -> dict[str, Any]:
    return frame(
        page_url=url("tags", sort="-campaigns"),
        text="",
        columns=columns("tags"),
        tags=[
            {
                "id": 4,
                "name": "2026A",
                "url": url("campaigns", view="all", tag="2026A"),
                "campaigns": 12,
                "creator": "mruiz",
                "some": [{"id": 2417, "text": "mc2026a_bnb_nu_cosmic", "url": url("campaign", campaign_id=2417)}],
            },
            {
                "id": 5,
                "name": "unused",
                "url": url("campaigns", view="all", tag="unused"),
                "campaigns": 0,
                "creator": "jpark",
                "some": [],
            },
        ],
        pager=pager("1 to 2"),
        may={"act": True},
    )


def tags_none() -> dict[str, Any]:
    return tags() | {"tags": []}


def tags_no_match() -> dict[str, Any]:
    return tags() | {"tags": [], "text": "nothing like it"}


def block_row(kind: str, number: int, name: str, **more: Any) -> dict[str, Any]:
    return {
        "id": number,
        "name": name,
        "url": url(kind, **{f"{kind}_id": number}),
        "clone_url": url(f"{kind}_new", source=name),
        "active": True,
        "shared": False,
        "used": 3,
        "creator": "mruiz",
        "changed_at": ago(days=3),
        "may": {"modify": True},
        **more,
    }


def block_list(kind: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    return frame(
        page_url=url(f"{kind}s", sort="name"),
        views=[{"label": "Active", "url": url(f"{kind}s"), "count": None, "current": True}],
        blocks=rows,
        text="",
        columns=columns(f"{kind}s", creator=True),
        pager=pager("1 to 2"),
        may={"create": True},
    )


def tested(state: str, message: str, **when: int) -> dict[str, Any]:
    return {"state": state, "message": message, "at": ago(**when),
            "url": url("login_setup_log", login_setup_id=7, test_id=3)}


def login_setups() -> dict[str, Any]:
    passed = tested("passed", "Login and setup work, and jobsub_submit is there.", hours=2)
    failed = tested("failed", "The setup ended with exit status 1; the log says more.", days=4)
    more = {"host": "sbndgpvm05.fnal.gov", "account": "sbndpro", "setup": "source /cvmfs/sbnd/setup.sh; setup x",
            "test": passed}
    generic = {"url": "", "shared": True, "used": 0, "may": {"modify": False}, "test": None}
    return block_list(
        "login_setup",
        [
            block_row("login_setup", 7, "sbndpro_gpvm_el9", **more),
            block_row("login_setup", 1, "generic", **more | generic),
            block_row("login_setup", 9, "old", **more | {"active": False, "account": "", "setup": "", "test": failed}),
        ],
    )


def login_setups_none() -> dict[str, Any]:
    return login_setups() | {"blocks": []}


def login_setups_no_match() -> dict[str, Any]:
    return login_setups() | {"blocks": [], "text": "nothing like it", "may": {"create": False}}


def job_types() -> dict[str, Any]:
    more = {
        "script": "fife_launch -c sbnd_launch.cfg --stage detsim",
        "parameters": "-Osubmit.memory=3000MB",
        "patterns": "%_detsim.root",
        "recoveries": ["process_status", "consumed_status"],
    }
    return block_list("job_type", [block_row("job_type", 7, "sbnd_lar_chain", **more)])


def job_types_none() -> dict[str, Any]:
    return job_types() | {"blocks": []}


def login_setup() -> dict[str, Any]:
    return frame(
        page_url=url("login_setup", login_setup_id=7),
        block={
            "id": 7,
            "name": "sbndpro_gpvm_el9",
            "url": url("login_setup", login_setup_id=7),
            "active": True,
            "role": "production",
            "creator": "mruiz",
            "created_at": ago(days=90),
            "updater": "lortiz",
            "updated_at": ago(days=3),
        },
        kind="login_setup",
        form={
            "name": "sbndpro_gpvm_el9",
            "host": "sbndgpvm05.fnal.gov",
            "account": "sbndpro",
            "setup": "source setup.sh",
        },
        problems=[],
        uses=[
            {
                "id": 10386,
                "stage": "detsim_wiremod",
                "url": url("stage", campaign_stage_id=10386),
                "campaign": "mc2026a_bnb_nu_cosmic",
                "campaign_url": url("campaign", campaign_id=2417),
                "creator": "mruiz",
                "active": True,
                "test_url": url("preview", campaign_stage_id=10386, test=1),
                "may": {"switch": True},
            },
            {
                "id": 9001,
                "stage": "reco",
                "url": url("stage", campaign_stage_id=9001),
                "campaign": "",
                "campaign_url": "",
                "creator": "jpark",
                "active": False,
                "test_url": "",
                "may": {"switch": False},
            },
        ],
        use_count=412,
        tests=[
            tested("running", "") | {"id": 5, "tester": "lortiz", "asked_at": ago(seconds=9), "ended_at": None,
                                     "seconds": None},
            tested("passed", "Login and setup work, and jobsub_submit is there.")
            | {"id": 4, "tester": "mruiz", "asked_at": ago(hours=2), "ended_at": ago(hours=2), "seconds": 4.2},
            tested("failed", "The host key of sbndgpvm05.fnal.gov is not in known_hosts. Add it after comparing it.")
            | {"id": 3, "tester": "mruiz", "asked_at": ago(days=4), "ended_at": ago(days=4), "seconds": 0.3},
        ],
        credentials=[
            {"kind": "proxy", "whose": "sbnd as production", "well": True, "problem": "",
             "expires_at": NOW + timedelta(hours=11), "note": ""},
            {"kind": "token", "whose": "sbnd as production", "well": True, "problem": "",
             "expires_at": NOW + timedelta(hours=2), "note": "for /sbnd, /sbnd/production"},
            {"kind": "vault token", "whose": "sbnd as production", "well": False, "expires_at": None, "note": "",
             "problem": "The vault token of sbnd as production was stored 6 days ago; it may be 5 days old. Ask "
             "whoever looks after /var/lib/poms/credentials/sbnd.vault to renew it."},
        ],
        others=["generic", "sbndpro_gpvm_el8"],
        recovery_kinds=[],
        may={"modify": True, "create": True, "delete": False, "test": True},
    )


def login_setup_untested() -> dict[str, Any]:
    return login_setup() | {"tests": [], "credentials": []}


def login_setup_unused() -> dict[str, Any]:
    return login_setup() | {"uses": [], "use_count": 0, "may": {"modify": True, "create": True, "delete": True}}


def login_setup_of_others() -> dict[str, Any]:
    return login_setup() | {"may": {"modify": False, "create": False, "delete": False, "test": False}}


def login_setup_refused() -> dict[str, Any]:
    wrong = [
        {"field": "host", "line": None, "message": "A login setup needs a host."},
        {"field": "name", "line": None, "message": "exists already"},
    ]
    return login_setup() | {"problems": wrong}


def login_setup_new() -> dict[str, Any]:
    return login_setup_unused() | {
        "block": None,
        "form": {"name": "", "host": "", "account": "", "setup": ""},
        "may": {"modify": False, "create": True, "delete": False},
    }


def job_type() -> dict[str, Any]:
    return login_setup() | {
        "kind": "job_type",
        "form": {
            "name": "sbndpro_gpvm_el9",
            "script": "fife_launch -c x.cfg",
            "patterns": "%.root",
            "parameters": '[["-Osubmit.memory=", "3000MB"]]',
            "recoveries": "",
        },
        "recovery_kinds": RECOVERIES,
    }


def job_type_new() -> dict[str, Any]:
    return job_type() | {"block": None, "uses": [], "use_count": 0, "may": login_setup_new()["may"]}


def pieces() -> list[dict[str, Any]]:
    return [
        {
            "state": state,
            "at": ago(hours=20 - 5 * n),
            "x": 20.0 * n,
            "width": 20.0,
            "name": f"submission {n}",
            "url": url("submission", submission_id=n),
        }
        for n, state in enumerate((N, I, R, F))
    ]


TICKS = [{"at": ago(hours=24 - 6 * n), "x": 25.0 * n} for n in range(5)]


def time_bars() -> dict[str, Any]:
    path = [{"text": "mc2026a_bnb_nu_cosmic", "url": url("campaign", campaign_id=2417)}]
    return frame(
        page_url=url("time_bars", campaign_id=2417),
        owner={"name": "mc2026a_bnb_nu_cosmic", "url": path[0]["url"], "path": path},
        what="Submission",
        begin=ago(days=1),
        end=NOW,
        ticks=TICKS,
        windows=[
            {"label": "1 day", "url": url("time_bars", campaign_id=2417, days=1), "current": True},
            {"label": "7 days", "url": url("time_bars", campaign_id=2417, days=7), "current": False},
        ],
        earlier_url=url("time_bars", campaign_id=2417, days=1, until="2026-03-13"),
        later_url="",
        bars=[
            {
                "id": number,
                "name": str(number),
                "note": "detsim_wiremod",
                "state": state,
                "url": url("submission", submission_id=number),
                "more_url": url("time_bars", submission_id=number),
                "pieces": pieces() if state != N else [],
            }
            for number, state in ((812044, F), (812045, N))
        ],
        pager=pager("2 shown"),
    )


def time_bars_of_jobs() -> dict[str, Any]:
    shown = time_bars()
    jobs = [
        one | {"id": f"{n}@schedd", "name": f"61244817.{n}@jobsub03.fnal.gov", "more_url": ""}
        for n, one in enumerate(shown["bars"])
    ]
    return shown | {"what": "Job", "windows": [], "earlier_url": "", "bars": jobs}


def time_bars_none() -> dict[str, Any]:
    return time_bars() | {"bars": []}


def series(*, linked: bool = True) -> list[dict[str, Any]]:
    return [
        {
            "date": f"2026-03-{day:02}",
            "label": f"{day} Mar",
            "counts": {L: 40 * day, F: 7 * (day % 3)} if day % 5 else {},
            "url": url("submissions", since=f"2026-03-{day:02}") if linked else "",
        }
        for day in range(1, 15)
    ]


def sheet() -> dict[str, Any]:
    return frame(
        page_url=url("sheet", campaign_id=2417),
        owner=time_bars()["owner"],
        since=ago(days=7),
        is_cut=True,
        exit_codes=[
            {"label": "exit 0", "title": "ended well"},
            {"label": "exit 139", "title": "signal 11, segmentation fault"},
        ],
        windows=[{"label": "7 days", "url": url("sheet", campaign_id=2417, days=7), "current": True}],
        days=[
            {
                "day": "Friday",
                "date": "2026-03-13",
                "url": url("campaign_submissions", campaign_id=2417, since="2026-03-13"),
                "submissions": 12,
                "jobs": {L: 300, F: 12},
                "jobs_total": 312,
                "files_in": 3120,
                "files_out": 3000,
                "files_located": 2990,
                "efficiency": "87 %",
                "exits": [300, 12],
            }
        ],
        series=series(linked=False),
    )


def sheet_none() -> dict[str, Any]:
    return sheet() | {"days": [], "exit_codes": [], "is_cut": False}


def dashboard() -> dict[str, Any]:
    return frame(
        page_url=url("dashboard"),
        windows=[{"label": "14 days", "url": url("dashboard", days=14), "current": True}],
        figures=[
            {"label": "Jobs now", "value": "14,000", "unit": "jobs", "counts": {R: 10914, I: 3487}, "total": 14401},
            {"label": "CPU efficiency", "value": "87 %", "unit": "in 14 days", "note": "12,300 hours of jobs"},
        ],
        states=[{"state": state, "submissions": 12, "url": url("submissions", state=state)} for state in (R, H, L)],
        trouble=[{"state": H, "submissions": 12, "url": url("submissions", state=H)}],
        jobs_now={R: 10914, I: 3487},
        series=series(),
        looked_into=100,
        held_looked_into=10,
        failures=[
            {
                "state": F,
                "what": "exit 65: the program’s own code",
                "jobs": 212,
                "submissions": 3,
                "newest": 812044,
                "url": url("submission", submission_id=812044),
            }
        ],
        busiest=[
            {
                "name": "mc2026a_bnb_nu_cosmic",
                "url": url("campaign", campaign_id=2417),
                "bars_url": url("time_bars", campaign_id=2417),
                "counts": {R: 540, I: 792},
                "total": 1332,
            }
        ],
    )


def dashboard_quiet() -> dict[str, Any]:
    return dashboard() | {"states": [], "trouble": [], "jobs_now": {}, "failures": [], "busiest": [], "figures": []}


def search() -> dict[str, Any]:
    found = {"text": "mc2026a_bnb_nu_cosmic", "note": "inactive", "url": url("campaign", campaign_id=2417)}
    return frame(
        page_url=url("search", search_term="mc2026a"),
        wanted="mc2026a",
        submission_id=None,
        straight="",
        groups=[
            {"kind": "Campaigns", "results": [found], "more_url": url("campaigns", text="mc2026a"), "is_cut": True},
            {"kind": "Stages", "results": [found], "more_url": "", "is_cut": True},
            {"kind": "Tags", "results": [found | {"note": ""}], "more_url": "", "is_cut": False},
        ],
    )


def search_nothing() -> dict[str, Any]:
    return search() | {"groups": []}


def upload_checked() -> dict[str, Any]:
    return frame(
        file_name="mc2026a.ini",
        text=TEXT,
        campaign={"id": 2417, "name": "mc2026a_bnb_nu_cosmic", "url": url("campaign", campaign_id=2417), "version": 7},
        result={"dry_run": True, "changed": True, "problems": [], "diff": DIFF, "version": None},
    )


def upload_refused() -> dict[str, Any]:
    return upload_checked() | {
        "campaign": None,
        "result": {"dry_run": False, "changed": False, "problems": PROBLEMS, "diff": [], "version": None},
    }


def upload_saved() -> dict[str, Any]:
    return upload_checked() | {
        "result": {"dry_run": False, "changed": True, "problems": [], "diff": DIFF, "version": 8}
    }


def help_page() -> dict[str, Any]:
    return frame(states=[{"state": "Held", "text": "jobs are held: release or remove them"},
                         {"state": "Located", "text": "the output is there"}])


def member(username: str, role: str, **more: Any) -> dict[str, Any]:
    return {
        "username": username,
        "name": "",
        "role": role,
        "active": True,
        "is_root": False,
        "is_you": False,
        "seen_at": None,
        "changed_at": None,
        "changed_by": "",
        "source": "",
        "source_role": "",
        "kept": False,
        "url": url("person", username=username),
    } | more


ROLE_WORDS = [
    {"name": "analysis", "text": "has campaigns of his or her own"},
    {"name": "superuser", "text": "says who is in the experiment"},
]


def role_change(number: int, username: str, was: str, role: str, reason: str = "") -> dict[str, Any]:
    return {
        "id": number,
        "at": ago(hours=number),
        "by": "lortiz",
        "username": username,
        "url": url("person", username=username),
        "was": was,
        "role": role,
        "reason": reason,
    }


def people() -> dict[str, Any]:
    changed = {"changed_at": ago(days=3), "changed_by": "lortiz"}
    return frame(
        page_url=url("people", sort="-role"),
        views=[
            {"label": "Members", "url": url("people"), "count": 4, "current": True},
            {"label": "Ended", "url": url("people", view="ended"), "count": 1, "current": False},
        ],
        people=[
            member("lortiz", "superuser", name="Lena Ortiz", is_you=True, is_root=True, seen_at=NOW),
            member("mruiz", "production", name="Marta Ruiz", source="ferry", source_role="production", **changed),
            member("kept_by_hand", "production-shifter", source="ferry", source_role="analysis", kept=True, **changed),
            member("gone", "analysis", name="Gus O. Ne", active=False, seen_at=ago(days=200)),
        ],
        text="",
        held="",
        columns=columns("people"),
        role_words=ROLE_WORDS,
        latest=[
            role_change(2, "mruiz", "analysis", "production", "for <the> run"),
            role_change(1, "gone", "analysis", ""),
        ],
        pager=pager("1 to 4"),
        may={"appoint": True},
        typed={"username": "", "first_name": "", "last_name": "", "held": "analysis", "reason": ""},
        problems=[],
    )


def people_none() -> dict[str, Any]:
    return people() | {"people": [], "latest": [], "may": {"appoint": False}}


def people_no_match() -> dict[str, Any]:
    return people() | {"people": [], "text": "nobody like it", "held": "analysis"}


def people_refused() -> dict[str, Any]:
    wrong = [{"message": "This cannot be a user name", "field": "username", "line": None}]
    return people() | {"problems": wrong, "typed": people()["typed"] | {"username": "a b", "held": "superuser"}}


def person() -> dict[str, Any]:
    return frame(
        person_shown=people()["people"][2],
        role_words=ROLE_WORDS,
        campaigns_url=url("campaigns", view="all", text="kept_by_hand"),
        history=[role_change(3, "kept_by_hand", "", "analysis")],
        history_is_cut=True,
        may={"appoint": True},
    )


def person_gone() -> dict[str, Any]:
    return person() | {"person_shown": people()["people"][3], "history": [], "history_is_cut": False}


def person_seen_only() -> dict[str, Any]:
    return person() | {"person_shown": people()["people"][0], "may": {"appoint": False}}


def installed(name: str) -> dict[str, Any]:
    return {"own": False, "sample_id": None, "by": "", "changed_at": None, "edit_url": "", "new_name": f"my_{name}"}


def sample_form() -> dict[str, Any]:
    empty = {"name": "", "description": "", "text": "", "base_version": None}
    return frame(sample_id=None, typed=empty, problems=[], longest=200_000)


def sample_form_refused() -> dict[str, Any]:
    typed = {"name": "ours", "description": "As we do.", "text": "[campaign]\nname =\nx = <y>", "base_version": 3}
    wrong = [
        {"message": "is required", "field": "campaign/name", "line": 2},
        {"message": "Somebody changed it", "field": "", "line": None},
    ]
    return sample_form() | {"sample_id": 7, "typed": typed, "problems": wrong}


def samples() -> dict[str, Any]:
    return frame(
        may={"create": True},
        samples=[
            {
                "name": "physics",
                "title": "Generate, simulate, reconstruct",
                "description": "A small detector, made-up events, three stages that feed each other. "
                "Runs here in a minute.",
                "stage_count": 3,
                "facts": ["no grid needed"],
                "text_url": url("download", sample="physics"),
                "editor_url": url("campaign_new", sample="physics"),
                **installed("physics"),
                "graph": {"stages": ["generate", "simulate <b>", "reconstruct"],
                          "edges": [("generate", "simulate <b>"), ("simulate <b>", "reconstruct")]},
            },
            {
                "name": "keep up",
                "title": "Keep up with data",
                "description": "A stage that launches every hour on what is new.",
                "stage_count": 1,
                "facts": [],
                "text_url": url("download", sample="keepup"),
                "editor_url": url("campaign_new", sample="keepup"),
                **installed("keepup"),
                "graph": {"stages": ["take"], "edges": []},
            },
            {
                "name": "own:7",
                "title": "Ours <i>",
                "description": "As we do it at sbnd.",
                "stage_count": 1,
                "facts": [],
                "text_url": url("download", sample="own:7"),
                "editor_url": url("campaign_new", sample="own:7"),
                "graph": {"stages": ["ours"], "edges": []},
                "own": True,
                "sample_id": 7,
                "by": "mruiz",
                "changed_at": ago(days=2),
                "edit_url": url("sample_form", sample_id=7),
                "new_name": "my_Ours <i>",
            },
        ],
    )


def samples_none() -> dict[str, Any]:
    return samples() | {"samples": []}


def api() -> dict[str, Any]:
    return frame(
        document_url=url("openapi"),
        groups=[
            {
                "name": "stages",
                "operations": [
                    {
                        "address": "/poms/stage/{experiment}/{role}/{campaign_stage_id}",
                        "methods": "GET, POST",
                        "older": ["campaign_stage_info"],
                        "summary": "How a stage goes.",
                        "right": "view the stage",
                        "answer": "JSON, page, 303",
                        "arguments": [
                            {"name": "campaign_stage_id", "required": True, "kind": "number", "choices": []},
                            {"name": "face", "required": False, "kind": "text", "choices": ["jobs", "files"]},
                        ],
                    },
                    {
                        "address": "/poms/openapi/{experiment}/{role}",
                        "methods": "GET, POST",
                        "older": [],
                        "summary": "This interface.",
                        "right": "any known person",
                        "answer": "JSON",
                        "arguments": [],
                    },
                ],
            }
        ],
    )


def agents() -> dict[str, Any]:
    return frame(
        well=False,
        summary="1 of 5 tasks fails; launches go on.",
        figures=[
            {"label": "Launches waiting", "value": "3", "note": "oldest 40 s"},
            {"label": "Poll cycle", "value": "2.1", "unit": "s"},
        ],
        agents=[{"name": "agent-1", "host": "poms01.fnal.gov", "seen_at": ago(seconds=12), "well": True}],
        tasks=[
            {
                "name": "poll sbnd",
                "agent": "agent-1",
                "does": "asks the batch system for job states",
                "last_success_at": ago(seconds=38),
                "seconds": 2.13,
                "error": "",
                "error_at": None,
                "every_seconds": 60,
                "well": True,
            },
            {
                "name": "wrap up",
                "agent": "agent-1",
                "does": "completes submissions, starts recoveries and dependents",
                "last_success_at": None,
                "seconds": None,
                "error": "SAM answered 503",
                "error_at": ago(minutes=2),
                "every_seconds": 120,
                "well": False,
            },
        ],
        systems=[
            {"name": "jobsub", "kind": "batch", "well": True, "message": "1.2 s", "checked_at": ago(seconds=38)},
            {"name": "SAM", "kind": "data", "well": False, "message": "answered 503", "checked_at": ago(minutes=2)},
        ],
    )


def agents_none() -> dict[str, Any]:
    return agents() | {"agents": [], "tasks": [], "systems": [], "well": True}


def error() -> dict[str, Any]:
    return frame(
        status=404,
        title="There is no submission 12",
        text="sbnd never had a submission with this number, or it belongs to another experiment.",
        remedy="Look for it by its batch id with the search above.",
        problems=[],
        quote_id="",
        links=[{"label": "Shift board", "url": url("home")}],
        messages=[{"kind": "problem", "title": "Nothing was changed", "text": ""}],
        live_seconds=0,
    )


def error_outside() -> dict[str, Any]:
    return error() | {
        "status": 500,
        "title": "POMS made a mistake",
        "text": "",
        "quote_id": "9f2c-0141",
        "experiment": "",
        "role": "",
        "experiments": [],
        "roles": [],
        "person": None,
        "launches": None,
        "problems": PROBLEMS,
        "messages": [],
    }


def pages() -> list[tuple[str, str, dict[str, Any]]]:
    """Every page in every shape: (name of the shape, template, context)."""
    shapes = [
        ("home", home),
        ("home", home_quiet),
        ("campaigns", campaigns),
        ("campaigns", campaigns_all_columns),
        ("campaigns", campaigns_name_only),
        ("campaigns", campaigns_none),
        ("campaigns", campaigns_no_match),
        ("campaign", campaign),
        ("campaign", campaign_empty),
        ("campaign_text", campaign_text),
        ("campaign_text", campaign_text_checked),
        ("campaign_text", campaign_text_refused),
        ("campaign_versions", campaign_versions),
        ("campaign_editor", campaign_editor),
        ("campaign_editor", campaign_editor_new),
        ("submissions", submissions),
        ("submissions", submissions_of_stage),
        ("submissions", submissions_of_experiment),
        ("stage", stage),
        ("stage", stage_never_launched),
        ("schedule", schedule),
        ("schedule", schedule_none),
        ("schedule", schedule_refused),
        ("schedule", schedule_of_others),
        ("submission", submission_jobs),
        ("submission", submission_archived),
        ("submission", submission_files),
        ("submission", submission_command),
        ("submission", submission_snapshots),
        ("submission", submission_events),
        ("launch_log", launch_log),
        ("launch_log", login_setup_log),
        ("job", job),
        ("job", job_without_log),
        ("launch_preview", launch_preview),
        ("launch_preview", launch_preview_refused),
        ("previews", previews),
        ("previews", previews_of_change),
        ("previews", previews_of_nothing),
        ("held_launches", held_launches),
        ("held_launches", held_launches_none),
        ("file_uploads", file_uploads),
        ("file_uploads", file_uploads_none),
        ("file_uploads", file_uploads_refused),
        ("watches", watches),
        ("watches", watches_none),
        ("watches", watches_refused),
        ("held_launches", held_launches_no_match),
        ("search", search),
        ("search", search_nothing),
        ("bulk", bulk),
        ("bulk", bulk_held),
        ("bulk", bulk_nothing),
        ("tags", tags),
        ("tags", tags_none),
        ("tags", tags_no_match),
        ("login_setups", login_setups),
        ("login_setups", login_setups_none),
        ("login_setups", login_setups_no_match),
        ("job_types", job_types),
        ("job_types", job_types_none),
        ("login_setup", login_setup),
        ("login_setup", login_setup_untested),
        ("login_setup", login_setup_unused),
        ("login_setup", login_setup_of_others),
        ("login_setup", login_setup_refused),
        ("login_setup", login_setup_new),
        ("job_type", job_type),
        ("job_type", job_type_new),
        ("time_bars", time_bars),
        ("time_bars", time_bars_of_jobs),
        ("time_bars", time_bars_none),
        ("sheet", sheet),
        ("sheet", sheet_none),
        ("dashboard", dashboard),
        ("dashboard", dashboard_quiet),
        ("upload_result", upload_checked),
        ("upload_result", upload_refused),
        ("upload_result", upload_saved),
        ("help", help_page),
        ("people", people),
        ("people", people_none),
        ("people", people_no_match),
        ("people", people_refused),
        ("person", person),
        ("person", person_gone),
        ("person", person_seen_only),
        ("sample_form", sample_form),
        ("sample_form", sample_form_refused),
        ("samples", samples),
        ("samples", samples_none),
        ("api", api),
        ("agents", agents),
        ("agents", agents_none),
        ("error", error),
        ("error", error_outside),
    ]
    return [(make.__name__, f"{template}.html", make()) for template, make in shapes]
