"""Tokens and certificates before the whole application: who is let in, where, and that a source never hides another."""

from __future__ import annotations

import json
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from webtest import TestApp

from poms.webservice import app
from poms.webservice.testing.fakes import installed_plugins
from poms.webservice.testing.fixtures import make_service
from poms.webservice.testing.world import World, stage

ISSUER = "https://issuer.example.org/sbnd"
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
HERE = {"REMOTE_ADDR": "127.0.0.1", "HTTP_HOST": "poms.example.org"}
OLIVE = "/DC=org/CN=UID:olive"


@pytest.fixture
def place(sqlite_database, tmp_path: Path, clock):
    """A service that knows tokens, certificates and a front end's users, in this order: (world, application)."""
    key = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key()))
    (tmp_path / "keys.json").write_text(json.dumps({"keys": [{**key, "kid": "k1", "use": "sig"}]}))
    (tmp_path / "map").write_text(f'"{OLIVE}" olive\n')
    service = make_service(sqlite_database, tmp_path, clock, plugins=installed_plugins(
        "token_identity", "certificate_identity", "proxy_identity"), text=f"""
[identity]
sources = token, certificate, proxy
[identity_token]
issuers = {ISSUER} {tmp_path}/keys.json, {ISSUER}/nova {tmp_path}/keys.json nova
audiences = https://poms.example.org
[identity_certificate]
map_file = {tmp_path}/map
""")
    world = World(service.core, service.fakes)
    for experiment in ("samdev", "nova"):
        world.person("olive", experiment=experiment)
    return world, TestApp(app.build(service.core), extra_environ=dict(HERE))


def bearer(clock, **changes):
    now = int(clock().timestamp())
    claims = {"iss": ISSUER, "sub": "olive", "aud": "https://poms.example.org", "exp": now + 600, "wlcg.ver": "1.0"}
    text = jwt.encode(claims | changes, KEY, algorithm="RS256", headers={"kid": "k1"})
    return {"Authorization": f"Bearer {text}"}


def front_end(world, **headers):
    return {"X-Poms-Proxy-Secret": world.core.settings.secret("identity_proxy"), **headers}


def test_a_token_lets_a_program_report(place, clock):
    """By POST without a form's token, and by GET as wrappers do."""
    world, client = place
    made = world.campaign_with(stage("gen"), name="mc", owner=world.person("olive"))
    number = world.submission(made, "gen")

    posted = client.post("/poms//update_submission", {"submission_id": number, "jobsub_job_id": "7.0@s"},
                         headers=bearer(clock))
    got = client.get(f"/poms/update_submission?submission_id={number}&jobsub_job_id=8.0@s&status=Running",
                     headers=bearer(clock))

    assert (posted.text, got.text, world.get(number).jobsub_job_id) == ("Ok.", "Ok.", "8@s")


def test_a_token_of_one_experiment_opens_no_other(place, clock):
    """Though its person belongs to both."""
    _, client = place
    of_nova = bearer(clock, iss=f"{ISSUER}/nova")

    assert client.get("/poms/campaign_list_json/nova/production", headers=of_nova).json == []
    assert client.get("/poms/campaign_list_json/samdev/production", headers=of_nova, status=403)
    assert client.get("/poms/campaign_list_json/samdev/production", headers=bearer(clock)).json == []


def test_a_token_of_one_experiment_does_not_reach_an_item_of_another(place, clock):
    """By the item's number alone, as wrappers report."""
    world, client = place
    number = world.submission(world.campaign_with(stage("gen"), name="mc", owner=world.person("olive")), "gen")

    client.post("/poms/update_submission", {"submission_id": number, "status": "Running"},
                headers=bearer(clock, iss=f"{ISSUER}/nova"), status=404)


def test_a_token_of_one_experiment_does_not_make_an_administrator(place, clock):
    """What is of the whole service needs more."""
    world, client = place
    world.person("poms", "superuser", root=True)

    assert client.post("/poms/wrapup_tasks/samdev/superuser", headers=bearer(clock, sub="poms")).status_int == 200
    client.post("/poms/wrapup_tasks", headers=bearer(clock, sub="poms", iss=f"{ISSUER}/nova"), status=403)


@pytest.mark.parametrize("changes", [{"aud": "https://other"}, {"exp": 1}, {"sub": "nobody"}, {"iss": "https://evil"}])
def test_a_bad_token_is_refused_though_the_front_end_knows_who_it_is(place, clock, changes):
    """Somebody is playing; and the answer says what is wrong with it."""
    world, client = place
    known = front_end(world, **{"X-Shib-Userid": "olive"})
    client.get("/poms/experiment_list", headers=known, status=200)

    answer = client.get("/poms/experiment_list", headers={**known, **bearer(clock, **changes)}, status=401)

    assert "Traceback: " in answer.text and "token" in answer.text or "nobody" in answer.text


def test_a_certificate_lets_a_program_in_and_a_browser_only_with_its_form(place):
    """The same certificate; a page of another site could use a browser's."""
    world, client = place
    known = front_end(world, **{"X-SSL-Client-DN": OLIVE, "X-SSL-Client-Verify": "SUCCESS"})
    fields = {"session_experiment": "nova"}

    client.post("/poms/update_session_experiment", fields, headers=known, status=303)
    client.post("/poms/update_session_experiment", fields, headers={**known, "Origin": "https://evil"}, status=403)
    client.post("/poms/update_session_experiment", fields, headers={**known, "User-Agent": "Mozilla/5.0"}, status=403)
    client.post("/poms/update_session_experiment", fields, status=401,
                headers={**known, "X-SSL-Client-DN": "/DC=org/CN=UID:stranger"})


def test_nobody_is_somebody_by_default(place):
    """Three sources, and none of them guesses."""
    _, client = place

    client.get("/poms/experiment_list", status=401)
