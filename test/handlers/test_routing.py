"""Routes: denied unless declared, and addresses that lead where they say."""

from __future__ import annotations

import pytest

from poms.webservice import app
from poms.webservice.errors import ConfigurationError, NotFound
from poms.webservice.handlers.answers import Call, Text
from poms.webservice.handlers.params import choice, number
from poms.webservice.handlers.routing import Known, Need, Router, Routes


def refused(**options) -> str:
    routes = Routes()

    @routes.answer("thing", **options)
    def thing(call: Call) -> Text:
        return Text("never")

    with pytest.raises(ConfigurationError) as caught:
        Router([routes])
    return str(caught.value)


@pytest.fixture
def router() -> Router:
    return Router(app.ROUTES)


def test_a_route_without_a_permission_stops_the_start():
    """Nobody can forget to say who may use an address."""
    assert refused() == "the route thing declares no permission"


def test_an_empty_list_of_permissions_stops_the_start():
    """No rights needed is not the same as nothing said."""
    assert refused(permission=()) == "the route thing declares no permission"


@pytest.mark.parametrize(("need", "words"), [
    (Need("look", "experiment"), "unknown right: look"),
    (Need("view", "galaxy"), "unknown kind of item: galaxy"),
    (Need("view", "experiment", "campaign_id"), "experiment is no item that campaign_id could name"),
    (Need("view", "campaign", "campaign"), "needs a right on 'campaign', which it does not declare"),
    (Need("view", "campaign", "campaign_id"), "campaign_id must be required, or the right optional"),
])
def test_a_permission_that_means_nothing_stops_the_start(need, words):
    """A misspelt right would otherwise be no right at all."""
    assert words in refused(permission=need, arguments={"campaign_id": number()})


def test_an_act_without_a_right_of_its_own_stops_the_start():
    """Every word that a form may send as act has a declared right."""
    assert "each of its acts" in refused(
        permission=Need("view", "experiment"), arguments={"act": choice("hold", "delete", required=True)},
        by_act={"hold": Need("do", "experiment")})


def test_the_application_does_not_start_with_an_undeclared_route(site):
    """The check is made by the start itself, not by a test of it."""
    routes = Routes()
    routes.answer("thing")(lambda call: Text("never"))

    with pytest.raises(ConfigurationError, match="declares no permission"):
        app.build(site.core, groups=[*app.ROUTES, routes])


def test_two_routes_cannot_have_one_address():
    """Which of them answers would depend on the order of imports."""
    one, two = Routes(), Routes()
    one.answer("a", permission=Known("test"), words=("same",))(lambda call: Text("a"))
    two.answer("b", permission=Known("test"), words=("same",))(lambda call: Text("b"))

    with pytest.raises(ConfigurationError, match="the address same has two routes"):
        Router([one, two])


@pytest.mark.parametrize("path", [
    "/stage/samdev/production/7", "//stage//samdev/production/7", "/stage/samdev/production/7/",
    "/stage/samdev/production/7/somebody",
])
def test_doubled_slashes_and_more_segments_lead_to_the_same_place(router, path):
    """Clients join a base that ends in a slash with a path that begins with one."""
    match = router.match(path)

    assert (match.route.name, match.experiment, match.role) == ("stage", "samdev", "production")
    assert match.path_arguments == {"campaign_stage_id": "7"}


def test_the_old_name_of_a_page_leads_to_it(router):
    """Bookmarks of old keep working."""
    assert router.match("/campaign_stage_info/samdev/production").route.name == "stage"


def test_an_address_is_read_back_as_it_was_made(router):
    """Names with any letters survive the way into an address."""
    url = router.url("campaigns", experiment="sam dev", role="production", text="a&b=ü/%", offset=None)

    assert url == "/poms/campaigns/sam%20dev/production?text=a%26b%3D%C3%BC%2F%25"


def test_there_is_no_address_for_an_unknown_page(router):
    """A template that names a page wrongly fails its test, it does not make a dead link."""
    with pytest.raises(NotFound):
        router.url("nowhere", experiment="samdev", role="production")


def test_every_address_that_templates_use_exists(router):
    """No link and no form of a page leads nowhere."""
    import re
    from pathlib import Path

    import poms.templates

    folder = Path(next(iter(poms.templates.__path__)))
    used = {name for file in folder.rglob("*.html") for name in re.findall(r"url\('(\w+)'", file.read_text())}
    known = {route.name for route in router.routes}

    assert len(used) > 20
    assert used - known == set()
