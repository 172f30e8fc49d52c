"""A walk through the service as people use it: a real browser on a running server, agent and batch system."""

from __future__ import annotations

import re
import time
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect
from rich.console import Console
from sqlalchemy import select

from poms.webservice.client import Client
from poms.webservice.demo.__main__ import Demonstration, free_port, prepare, sample_text
from poms.webservice.demo.person import Person
from poms.webservice.demo.processes import Processes
from poms.webservice.model import Launch, Submission
from poms.webservice.rules.campaign_text import parse
from poms.webservice.services import lookups, samples
from poms.webservice.services.core import Core
from poms.webservice.testing import browser as browsers

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
PATIENCE_MS = 90_000
TEXT = """# Three jobs that wait for a sign.
[campaign]
name = {name}

[campaign_stage work]
vo_role = Production
software_version = v1
dataset_or_split_data = None
completion_type = complete
completion_pct = 100
stage_type = generator
login_setup = here
job_type = {name}_job

[login_setup here]
host = localhost
account =
setup =

[job_type {name}_job]
launch_script = jobsub_submit -G sbnd -N 3 --memory 64MB file://{script}
"""


@dataclass
class Service:
    """A server and an agent at work, and the directory in which everything of them is."""

    core: Core
    url: str
    directory: Path

    def address(self, word: str, *path: object) -> str:
        return "/".join([f"{self.url}/poms/{word}/sbnd/superuser", *map(str, path)])

    def text(self, name: str) -> str:
        """A campaign whose jobs wait until ``let_go`` is called with its name."""
        script = self.directory / f"{name}.sh"
        script.write_text(f"#!/bin/sh\necho waiting\nwhile [ ! -e {script}.go ]; do sleep 0.2; done\necho done\n")
        script.chmod(0o755)
        return TEXT.format(name=name, script=script)

    def let_go(self, name: str) -> None:
        (self.directory / f"{name}.sh.go").touch()

    def upload(self, name: str, text: str = "") -> int:
        """A campaign sent by a program; its number."""
        return Person(self.url, "sbnd", "superuser").upload((text or self.text(name)).encode()).campaign_id

    def launch(self, name: str) -> int:
        """A campaign launched by a program; the number of its submission."""
        return Client(self.url, experiment="sbnd", role="superuser").launch(name, key=name)["submission_id"]

    def stage_id(self, campaign: str, stage: str = "work") -> int:
        return lookups.find_stage_id(self.core, "sbnd", campaign, stage)

    def rows(self, model: type, stage_id: int) -> list:
        with self.core.db.read() as session:
            return list(session.scalars(select(model).where(model.campaign_stage_id == stage_id)))


@pytest.fixture(scope="module")
def service(tmp_path_factory) -> Iterator[Service]:
    """The embedded service as bin/demo starts it, empty."""
    directory = tmp_path_factory.mktemp("walk")
    (directory / "data").mkdir()
    demonstration = Demonstration(Namespace(batch="local"), samples.find("sbnd_mc"), free_port(0), directory / "data",
                                  Console(quiet=True), time.monotonic())
    core = prepare(demonstration, "")
    processes = Processes(directory / "data" / "poms.ini", directory)
    processes.start()
    made = Service(core, f"http://{demonstration.listen}", directory)
    made.upload("walk_begin")
    yield made
    processes.stop()
    core.backends.close()
    core.db.close()


@pytest.fixture(scope="module")
def browser():
    with browsers.chromium() as started:
        yield started


@pytest.fixture
def tab(browser) -> Iterator[Page]:
    """A tab at a desk; what the browser complains of fails the test."""
    with browsers.tab(browser) as opened:
        opened.set_default_timeout(PATIENCE_MS)
        yield opened


@pytest.fixture(autouse=True)
def let_all_go(service: Service) -> Iterator[None]:
    """A test that fails half way leaves no job in the slots that the next one needs."""
    yield
    for script in service.directory.glob("*.sh"):
        service.let_go(script.stem)


def answer_question(tab: Page, opener: str, yes: str) -> None:
    """Press the button that asks, and then the one that says yes."""
    tab.get_by_role("button", name=opener).click()
    tab.get_by_role("dialog").get_by_role("button", name=yes).click()


def upload_file(tab: Page, service: Service, name: str, text: str | bytes, *, dry: bool = False) -> None:
    """Upload a file from the list of campaigns, as a person does."""
    file = service.directory / f"{name}.ini"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    tab.goto(service.address("campaigns"))
    tab.get_by_role("button", name="Upload .ini…").first.click()
    tab.locator("input[type=file]").set_input_files(file)
    tab.get_by_label("Only check it").set_checked(dry)
    tab.get_by_role("dialog").get_by_role("button", name="Upload text").click()


def eventually(tab: Page, locator, text: str | re.Pattern) -> None:
    """Wait for a state that the page comes to by itself."""
    expect(locator).to_have_text(text, timeout=PATIENCE_MS)


# ----------------------------------------------------------------------------------------- texts


def test_a_text_is_checked_then_saved_and_comes_back(service, tab):
    """The check shows the difference and saves nothing; saving does; the download has the same bytes."""
    text = "\ufeff" + service.text("walk_text").replace("\n", "\r\n")

    upload_file(tab, service, "walk_text", text, dry=True)

    expect(tab.get_by_text("The text is in order. Nothing has been saved.")).to_be_visible()
    expect(tab.locator(".diff")).to_contain_text("+ [campaign_stage work]")
    assert lookups.find_campaign_id(service.core, "sbnd", "walk_text") is None

    upload_file(tab, service, "walk_text", text)

    expect(tab.get_by_role("heading", level=1)).to_have_text("walk_text")
    expect(tab.get_by_text("Saved walk_text as version 1")).to_be_visible()
    tab.get_by_label("More actions").click()
    with tab.expect_download() as loading:
        tab.get_by_role("link", name="Download text").click()
    assert Path(loading.value.path()).read_bytes() == text.encode()
    assert loading.value.suggested_filename == "walk_text.ini"


def test_what_was_only_checked_can_be_saved_from_there(service, tab):
    """Without choosing the file again."""
    upload_file(tab, service, "walk_checked", service.text("walk_checked"), dry=True)

    tab.get_by_role("button", name="Save campaign").click()

    expect(tab.get_by_role("heading", level=1)).to_have_text("walk_checked")


@pytest.mark.parametrize(("spoil", "words"), [
    (lambda text: text + "\n[campaign_stage work]\n", "campaign_stage work"),
    (lambda text: text + "\n[dependencies work]\ncampaign_stage_1 = wrok\n", "There is no stage 'wrok'"),
    (lambda text: text + "\n[dependencies work]\ncampaign_stage_1 = work\n", "infinite loop"),
    (lambda text: text.replace("vo_role", 'param_overrides = [["a"\nvo_role'), "not JSON"),
    (lambda text: text.encode() + b"# caf\xe9\n", "UTF-8"),
], ids=["duplicate section", "unknown stage", "cycle", "bad JSON", "not UTF-8"])
def test_a_wrong_text_is_explained_and_nothing_is_saved(service, tab, spoil, words):
    """What is wrong and in which line; the text can be put right on the spot."""
    upload_file(tab, service, "walk_wrong", spoil(service.text("walk_wrong")))

    expect(tab.get_by_text("Not saved: 1 problem in the text")).to_be_visible()
    expect(tab.get_by_role("alert")).to_contain_text(words)
    expect(tab.get_by_role("alert")).to_contain_text("Line")
    expect(tab.get_by_label("Put it right here")).to_have_value(re.compile("name = walk_wrong"))
    assert lookups.find_campaign_id(service.core, "sbnd", "walk_wrong") is None


def test_a_text_of_5_mb_is_refused(service, tab):
    """With the limit, and without a page of 5 MB."""
    upload_file(tab, service, "walk_large", "# " + "x" * 5_000_000 + "\n" + service.text("walk_large"))

    expect(tab.get_by_role("alert")).to_contain_text("1,000,000 bytes")
    assert len(tab.content()) < 300_000
    assert lookups.find_campaign_id(service.core, "sbnd", "walk_large") is None


def test_versions_are_compared_and_restored(service, tab):
    """A change made in the page is a version; the older one comes back as another."""
    number = service.upload("walk_versions")
    tab.goto(service.address("campaign_text", number))
    field = tab.get_by_label("Text of the campaign")
    field.fill(field.input_value().replace("= v1", "= v2"))
    tab.locator("form", has=field).get_by_role("button", name="Save new version").click()
    expect(tab.get_by_text("Saved walk_versions as version 2")).to_be_visible()

    tab.get_by_role("link", name="Versions").click()
    tab.get_by_role("link", name="Compare with 2").click()

    expect(tab.locator(".diff .came")).to_have_text("+ software_version = v2")
    tab.get_by_role("button", name="Restore").click()
    expect(tab.get_by_text("Version 1 is in force again, as version 3")).to_be_visible()
    tab.get_by_role("link", name="Text", exact=True).click()
    expect(tab.locator("#campaign-text")).to_contain_text("software_version = v1")


def test_a_text_that_somebody_saved_meanwhile_is_not_overwritten(service, tab):
    """The one who comes second is told, and what was typed is not lost with the page."""
    number = service.upload("walk_conflict")
    tab.goto(service.address("campaign_text", number))
    field = tab.get_by_label("Text of the campaign")
    typed = field.input_value() + "# mine\n"
    service.upload("walk_conflict", service.text("walk_conflict") + "# theirs\n")

    field.fill(typed)
    tab.locator("form", has=field).get_by_role("button", name="Save new version").click()

    expect(tab.get_by_text("Somebody saved version 2 of walk_conflict")).to_be_visible()
    expect(tab.get_by_label("Text of the campaign")).to_have_value(re.compile("# mine"))


# ------------------------------------------------------------------------------------ launch and jobs


def test_a_double_click_launches_once_and_the_page_follows(service, tab):
    """One submission, whose page and campaign show each new state without being loaded again."""
    number = service.upload("walk_launch")
    tab.goto(service.address("campaign", number))
    tab.get_by_role("button", name="Launch…").click()

    tab.get_by_role("dialog").get_by_role("button", name="Launch campaign").dblclick()

    tab.wait_for_url(re.compile("/submission/"))
    tab.goto(service.address("campaign", number))
    tab.evaluate("window.notReloaded = true")
    state = tab.locator("[data-live=stages] tbody tr").first.locator("td").first
    eventually(tab, state, re.compile("Running"))
    service.let_go("walk_launch")
    eventually(tab, state, re.compile("Located"))
    assert tab.evaluate("window.notReloaded") is True
    assert len(service.rows(Submission, service.stage_id("walk_launch"))) == 1


def launched(service: Service, tab: Page, name: str) -> int:
    """A submission of the waiting campaign, with its page open and its jobs running."""
    service.upload(name)
    number = service.launch(name)
    tab.goto(service.address("submission", number))
    eventually(tab, tab.locator("[data-live=head] .chip"), re.compile("Running"))
    return number


def test_jobs_are_held_and_released(service, tab):
    """All of a submission by its button; the batch system does it, and the page says so."""
    launched(service, tab, "walk_hold")

    tab.get_by_role("button", name=re.compile("^Hold 3 jobs")).click()
    expect(tab.get_by_text("3 jobs held", exact=True).first).to_be_visible()
    eventually(tab, tab.locator("[data-live=head] .chip"), re.compile("Held"))
    tab.get_by_role("button", name="Release 3 jobs").click()
    expect(tab.get_by_text("3 jobs released")).to_be_visible()

    service.let_go("walk_hold")
    eventually(tab, tab.locator("[data-live=head] .chip"), re.compile("Located"))


def test_jobs_are_removed_only_after_the_question(service, tab):
    """Keeping them changes nothing; removing ends the submission."""
    number = launched(service, tab, "walk_remove")

    answer_question(tab, "Remove jobs…", "Keep the jobs")
    expect(tab.get_by_role("dialog")).to_have_count(0)
    expect(tab.locator("[data-live=head] .chip")).to_have_text(re.compile("Running"))
    tab.get_by_role("button", name="Remove jobs…").first.click()
    tab.get_by_label("Reason, for the log").fill("wrong <dataset>")
    tab.get_by_role("dialog").get_by_role("button", name="Remove 3 jobs").click()

    eventually(tab, tab.locator("[data-live=head] .chip"), re.compile("Removed"))
    tab.goto(service.address("submission", number) + "?face=events")
    expect(tab.get_by_text("wrong <dataset>").first).to_be_visible()


def test_one_job_is_chosen_and_removed(service, tab):
    """The others go on."""
    launched(service, tab, "walk_choose")
    tab.reload()

    tab.get_by_role("checkbox", name=re.compile("Choose job")).first.check()
    tab.locator(".bulk").get_by_role("button", name="Remove jobs…").click()
    expect(tab.get_by_text("Nothing has been done yet.")).to_be_visible()
    tab.get_by_role("button", name="Remove 1 job", exact=True).click()

    expect(tab.get_by_text("1 job removed", exact=True)).to_be_visible()
    expect(tab.locator("[data-live=figures]")).to_contain_text("1 removed", timeout=PATIENCE_MS)
    expect(tab.get_by_role("button", name=re.compile("^Hold 2 jobs"))).to_be_visible()


def test_what_a_job_wrote_grows_on_its_page(service, tab):
    """The output of a job that runs is followed, and complete when it has ended."""
    launched(service, tab, "walk_log")
    tab.reload()
    tab.locator("[data-live=jobs] tbody th a").first.click()

    expect(tab.locator("pre", has_text="waiting").first).to_be_visible()
    service.let_go("walk_log")

    expect(tab.locator("pre", has_text="done").first).to_be_visible(timeout=PATIENCE_MS)


def test_a_submission_is_found_by_its_number_and_by_its_job_id(service, tab):
    """From the search that stands above every page, reached by one key."""
    number = launched(service, tab, "walk_search")
    batch_id = tab.locator(".pagehead__facts .mono").inner_text()
    service.let_go("walk_search")

    for text in (str(number), batch_id):
        tab.goto(service.address("home"))
        tab.keyboard.press("/")
        tab.keyboard.type(text)
        tab.keyboard.press("Enter")
        expect(tab.get_by_role("heading", level=1)).to_have_text(f"Submission {number}")


def test_a_launch_of_a_held_stage_is_kept_and_let_go(service, tab):
    """Hold the stage, launch, find the launch among those that are kept, let it go: it is launched once."""
    service.upload("walk_held")
    service.let_go("walk_held")
    number = service.stage_id("walk_held")
    tab.goto(service.address("stage", number))
    tab.get_by_label("More actions").click()
    tab.get_by_role("button", name="Keep launches for later").click()
    expect(tab.get_by_text("Launches of this stage are kept for later")).to_be_visible()

    tab.goto(service.address("campaign", lookups.find_campaign_id(service.core, "sbnd", "walk_held")))
    answer_question(tab, "Launch…", "Launch campaign")

    tab.wait_for_url("**/held_launches/**")
    row = tab.get_by_role("row", name=re.compile("walk_held"))
    expect(row).to_contain_text("held")
    assert [launch.state for launch in service.rows(Launch, number)] == ["held"]
    tab.goto(service.address("stage", number))
    tab.get_by_label("More actions").click()
    tab.get_by_role("button", name="Allow launches again").click()
    tab.goto(service.address("held_launches"))
    row.get_by_role("checkbox").check()
    tab.get_by_role("button", name="Release launches…").click()
    tab.get_by_role("button", name="Release 1 launch", exact=True).click()
    expect(tab.get_by_role("row", name=re.compile("walk_held"))).to_have_count(0)
    tab.goto(service.address("stage", number))
    eventually(tab, tab.locator("[data-live=submissions] tbody .chip").first, re.compile("Located"))
    assert len(service.rows(Submission, number)) == 1


def two_stages(service: Service) -> str:
    """Generation and simulation of the sample; what fails is left to people."""
    document = parse(sample_text(service.core, samples.find("sbnd_mc")))
    for stage in ("detsim", "reco", "anatree"):
        document = document.without_section(f"campaign_stage {stage}").without_section(f"dependencies {stage}")
    document = document.with_value("campaign", "name", "walk_physics")
    document = document.with_value("campaign", "campaign_stage_list", "gen,g4")
    document = document.with_value("campaign_defaults", "completion_pct", "80")
    return document.with_value("job_type sbnd_mc_lar", "recoveries", "[]").text


def test_what_was_not_processed_is_recovered_by_hand(service, tab):
    """The second stage follows by itself and is located without one file; a person launches its recovery."""
    number = service.upload("walk_physics", two_stages(service))
    tab.goto(service.address("campaign", number))
    tab.get_by_role("button", name="Launch…").click()
    tab.get_by_role("dialog").get_by_label("Begin with").select_option(label="gen")
    tab.get_by_role("dialog").get_by_role("button", name="Launch campaign").click()
    tab.goto(service.address("campaign", number))
    state = tab.locator("[data-live=stages] tbody tr", has_text="g4").locator("td").first
    eventually(tab, state, re.compile("Located"))
    first = service.rows(Submission, service.stage_id("walk_physics", "g4"))[0].submission_id
    tab.goto(service.address("submission", first))

    tab.get_by_role("button", name="Recover…").click()
    tab.get_by_role("dialog").get_by_label("Which files").select_option("consumed_status")
    tab.get_by_role("dialog").get_by_role("button", name="Launch recovery").click()

    tab.wait_for_url(re.compile(rf"/submission/.*/(?!{first}$)"))
    expect(tab.locator(".pagehead__facts")).to_contain_text(f"recovery of {first}")
    submissions = service.rows(Submission, service.stage_id("walk_physics", "g4"))
    assert [row.recovery_tasks_parent for row in submissions] == [None, first]
    tab.get_by_role("link", name=str(first), exact=True).first.click()
    expect(tab.get_by_label("Facts about the submission")).to_contain_text("recovery: g4")


# ------------------------------------------------------------------------------- every page: reach, shape

WORDS = {"home", "campaigns", "campaign", "campaign_submissions", "campaign_text", "campaign_versions", "stage",
         "stage_submissions", "submission", "job", "launch_log", "preview", "held_launches", "samples", "agents"}


def links_of(tab: Page) -> set[str]:
    """Where the links of a page lead, within the service."""
    # Links in a drawing have no plain ``href``.
    found = tab.eval_on_selector_all(
        "a[href]", "links => links.map(link => new URL(link.getAttribute('href'), location).href)")
    return {link.split("#")[0] for link in found if urlsplit(link).path.startswith("/poms/")}


def word_of(address: str) -> str:
    return urlsplit(address).path.split("/")[2]


def test_every_page_is_three_clicks_away_and_fits(service, browser):
    """From the shift board, by links alone, at a desk and on a phone, light and dark; nothing complains."""
    service.upload("walk_crawl")
    service.let_go("walk_crawl")
    number = service.launch("walk_crawl")
    with browsers.tab(browser) as first:
        first.set_default_timeout(PATIENCE_MS)
        first.goto(service.address("submission", number))
        eventually(first, first.locator("[data-live=head] .chip"), re.compile("Located"))
        seen = {service.address("home"): 0}
        frontier = list(seen)
        for clicks in (1, 2, 3):
            reached = set()
            for address in frontier:
                first.goto(address)
                reached |= links_of(first)
            wanted = {word_of(address) for address in seen}
            frontier = []
            for address in sorted(reached - set(seen)):
                if word_of(address) in WORDS:
                    # Of pages of one kind, one is followed; its address is enough to know of the others.
                    if word_of(address) not in wanted or clicks == 3:
                        frontier.append(address)
                        wanted.add(word_of(address))
                    seen[address] = clicks
    assert {word_of(address) for address in seen} >= WORDS
    shown = {}
    for address in seen:
        shown.setdefault(word_of(address), address)
    for size in (browsers.WIDE, browsers.NARROW):
        for scheme in ("light", "dark"):
            with browsers.tab(browser, size=size, scheme=scheme) as page:
                for word, address in shown.items():
                    page.goto(address)
                    expect(page.get_by_role("heading", level=1)).to_be_visible()
                    width = page.evaluate("document.documentElement.scrollWidth")
                    assert width <= size[0], f"{word} is {width} wide at {size[0]}"


def test_pages_are_used_by_keyboard(service, tab):
    """Tab reaches the main action with a focus that can be seen; Enter opens the question, Escape leaves it."""
    number = service.upload("walk_keys")
    tab.goto(service.address("campaign", number))
    tab.keyboard.press("Tab")
    expect(tab.get_by_text("Skip to content")).to_be_in_viewport()
    tab.keyboard.press("Enter")
    names = []
    for _ in range(30):
        tab.keyboard.press("Tab")
        focus = tab.evaluate("""() => { const one = document.activeElement; const style = getComputedStyle(one);
            return [one.innerText.trim(), style.outlineStyle, parseFloat(style.outlineWidth)]; }""")
        names.append(focus[0])
        assert focus[1] != "none" and focus[2] >= 2, focus
        if focus[0] == "Launch…":
            break
    assert "Edit" in names and names[-1] == "Launch…"

    tab.keyboard.press("Enter")
    dialog = tab.get_by_role("dialog")
    expect(dialog).to_be_visible()
    tab.keyboard.press("Escape")

    expect(dialog).to_have_count(0)
    assert tab.evaluate("document.activeElement.innerText.trim()") == "Launch…"
    assert service.rows(Launch, service.stage_id("walk_keys")) == []
