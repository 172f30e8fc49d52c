"""What functions of the older client library send over HTTP, and what they must get: one test for each pair.

The pairs are in ``test/data/older_client``: address, form, status and answer. A value of the answer is a literal
(``=text``), or a kind (``int``, ``str``, ``time`` ...); further keys of an object do not matter, as clients look at
what they know.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import requests

DATA = Path(__file__).parents[1] / "data" / "older_client"
PAIRS = json.loads((DATA / "pairs.json").read_text(encoding="utf-8"))
FILES = {"chain.ini": (DATA / "chain.ini").read_bytes().replace(b"= chain", b"= another"),
         "wrong.ini": b"[campaign]\nname = wrong\n", "setup.fcl": b"a: 1\n"}
KINDS = {
    "any": lambda value: True, "null": lambda value: value is None, "bool": lambda value: isinstance(value, bool),
    "int": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "str": lambda value: isinstance(value, str), "list": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
    "time": lambda value: re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", value),
    "zulu": lambda value: re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", value),
}


@pytest.fixture
def place(running) -> dict[str, str]:
    """A campaign, a submission, blocks and a file; numbers by the names that pairs use."""
    poms = running.client
    made = poms.upload((DATA / "chain.ini").read_bytes(), file_name="chain.ini")
    poms.upload((DATA / "chain.ini").read_bytes().replace(b"= chain", b"= spare").replace(b"gen", b"make"),
                file_name="spare.ini")
    stages = {name: number for number, name in made["campaign_stage_ids"]}
    connection = poms.connection
    connection.json("job_type_edit", {"action": "add", "ae_definition_name": "unused", "ae_launch_script": "x"})
    connection.json("login_setup_edit", {"action": "add", "ae_launch_name": "generic", "ae_launch_host": "localhost"})
    analysis = type(poms)(running.url, experiment="samdev", role="analysis")
    analysis.upload_file("kept.fcl", b"physics: true\n")
    return {"campaign": str(made["campaign_id"]), "gen": str(stages["gen"]), "reco": str(stages["reco"]),
            "submission": str(poms.register(stages["gen"], "jobsub_submit file:///x")),
            "job_type": str(connection.json("get_jobtype_id", {"name": "work"}))}


def filled(value: Any, place: dict[str, str]) -> Any:
    """A value of a pair with the numbers of this place."""
    if isinstance(value, list):
        return [filled(one, place) for one in value]
    for name, number in place.items():
        value = value.replace("{" + name + "}", number)
    return value


def fits(wanted: Any, found: Any, place: dict[str, str], where: str = "answer") -> None:
    """Fail unless what was found is of the kind that is wanted, with where it is not."""
    if isinstance(wanted, dict):
        assert isinstance(found, dict), where
        for key, kind in wanted.items():
            assert key in found, f"{where} has no {key}"
            fits(kind, found[key], place, f"{where}.{key}")
    elif isinstance(wanted, list):
        assert isinstance(found, list) and found, where
        # One kind is that of every element; several are those of the places.
        kinds = wanted * len(found) if len(wanted) == 1 else wanted
        assert len(kinds) == len(found), where
        for number, (kind, one) in enumerate(zip(kinds, found, strict=True)):
            fits(kind, one, place, f"{where}[{number}]")
    elif wanted.startswith("="):
        assert str(found) == filled(wanted[1:], place), where
    else:
        assert KINDS[wanted](found), f"{where} is {found!r}, not {wanted}"


def send(running, pair: dict[str, Any], place: dict[str, str]) -> requests.Response:
    """As the library does: a doubled slash, a form or a query, no redirect followed."""
    fields = {name: filled(value, place) for name, value in pair["fields"].items()}
    files = {name: (file, FILES[file]) for name, file in pair.get("files", {}).items()}
    sent = {"params": fields} if pair["method"] == "GET" else {"data": fields, "files": files or None}
    return requests.request(pair["method"], f"{running.url}/poms//{pair['endpoint']}", allow_redirects=False,
                            timeout=60, **sent)


@pytest.mark.parametrize("pair", PAIRS, ids=[f"{number}-{pair['function']}" for number, pair in enumerate(PAIRS)])
def test_a_function_gets_what_it_reads(running, place, pair):
    """Status, kind, and all that the function looks at."""
    answer = send(running, pair, place)

    assert answer.status_code == pair["status"], answer.text[:500]
    kind = answer.headers.get("Content-Type", "").split(";")[0]
    if pair["kind"] == "json":
        assert kind == "application/json"
        fits(pair["json"], answer.json(), place)
    elif pair["kind"] == "location":
        assert re.fullmatch(filled(pair["pattern"], place), answer.headers["Location"]), answer.headers["Location"]
    elif "text" in pair:
        assert (kind.startswith("text/"), answer.text) == (True, filled(pair["text"], place))
    elif "pattern" in pair:
        assert re.fullmatch(filled(pair["pattern"], place), answer.text)


def test_a_launch_by_the_deprecated_function_is_no_test_launch(running, place):
    """What it sends as test_launch is the name of an experiment."""
    pair = next(one for one in PAIRS if one["function"] == "launch_jobs")

    send(running, pair, place)

    assert [row.plan["test"] for row in running.world.launches()] == [False]


@pytest.mark.parametrize("fields", [{"submission_id": "999"}, {"submission_id": "x"}, {}])
def test_why_a_request_failed_is_shown_by_the_client(running, fields):
    """It shows what follows the word Traceback, up to the end of the answer, and nothing else."""
    answer = requests.post(f"{running.url}/poms//submission_details", data={"fmt": "json", **fields}, timeout=60)

    assert answer.status_code in (400, 404)
    assert "submission" in answer.text[answer.text.find("Traceback"):]


def test_a_launch_that_is_kept_is_an_error_to_older_clients(running, place):
    """423 with the reason, and the launch is there."""
    running.client.connection.json("mark_campaign_hold", {"ids2HR": place["gen"], "is_hold": "Hold", "reason": "full"})
    pair = next(one for one in PAIRS if one["endpoint"] == "launch_jobs")

    answer = send(running, pair, place)

    assert (answer.status_code, answer.text.startswith("Traceback: ")) == (423, True)
    assert [row.state for row in running.world.launches()] == ["held"]
