"""The campaign editor in a real browser: with the mouse, by keyboard only, two people at once, hostile names."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import select

from poms.webservice.model import CampaignStage
from poms.webservice.rules.campaign_text import parse, read
from poms.webservice.rules.permissions import SHIFTER

pytestmark = pytest.mark.browser
NAMES = ["gen", "g4", "detsim", "reco", "ana"]


def opened(tab, address):
    tab.goto(address)
    tab.wait_for_selector("[data-editor][data-ready]")
    return tab


def node(tab, name):
    return tab.locator(f'[data-node][aria-label^="Stage {name},"]')


def link(tab, needs, consumer):
    return tab.locator(f'[data-link][aria-label^="Dependency: {consumer} takes"][aria-label$="from {needs}"]')


def field(tab, label):
    return tab.locator("dialog[open]").last.get_by_label(label, exact=True)


def apply(tab):
    """Accept the innermost dialog and wait until it is gone."""
    count = tab.locator("dialog[open]").count()
    tab.locator("dialog[open]").last.locator(".ask__foot .button--primary").last.click()
    tab.wait_for_function("count => document.querySelectorAll('dialog[open]').length < count", arg=count)


def in_step(tab, text):
    """Wait until the text beside the picture has these lines."""
    tab.wait_for_function("text => document.querySelector('.text__area').value.includes(text)", arg=text)


def shown(tab):
    return tab.eval_on_selector(".text__area", "area => area.value")


def save(tab, what="Saved as version"):
    tab.locator('[data-act="save"]').click()
    tab.locator("[data-notices]").get_by_text(what).wait_for()


def stages_of(text):
    campaign = read(parse(text)).campaign
    return campaign, {(each.needs, each.consumer): each.file_pattern for each in campaign.dependencies}


def drag(tab, start, end):
    box, other = start.bounding_box(), end.bounding_box() if hasattr(end, "bounding_box") else end
    tab.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    tab.mouse.down()
    tab.mouse.move(other["x"] + other["width"] / 2, other["y"] + other["height"] / 2, steps=6)
    tab.mouse.up()


def make_five_stages(tab):
    """Name, defaults, a job type with a recovery, five stages in a row."""
    tab.locator('[data-node="home"]').dblclick()
    field(tab, "Name of the campaign").fill("walk")
    field(tab, "Job type").fill("")
    tab.get_by_role("button", name="New job type").click()
    field(tab, "Name").fill("walk_job")
    field(tab, "Launch script").fill("run %(dataset)s")
    tab.get_by_role("button", name="Recovery").click()
    tab.get_by_label("Kind of recovery").select_option("process_status")
    tab.get_by_role("button", name="Override").click()
    tab.get_by_label("Key", exact=True).last.fill("-Omemory=")
    tab.get_by_label("Value", exact=True).last.fill("4000MB")
    apply(tab)
    tab.get_by_role("button", name="New login setup").click()
    field(tab, "Name").fill("walk_login")
    field(tab, "Host").fill("localhost")
    apply(tab)
    apply(tab)
    tab.locator('[data-act="stage"]').click()
    field(tab, "Name").fill("gen")
    apply(tab)
    for before, name in zip(NAMES, NAMES[1:], strict=False):
        node(tab, before).click(button="right")
        field(tab, "Name").fill(name)
        apply(tab)
        node(tab, name).wait_for()


def test_a_campaign_from_nothing_with_the_mouse(site, owner, open_tab):
    """Five stages, a pattern, a split and a recovery are drawn, saved, and there again after a reload."""
    tab = opened(open_tab(), site.url("campaign_new"))

    make_five_stages(tab)
    node(tab, "gen").dblclick()
    tab.get_by_role("button", name="Choose…").first.click()
    tab.get_by_label("Split type", exact=True).select_option("nfiles")
    tab.locator("dialog[open] .chooser__details").get_by_label("n", exact=True).fill("10")
    apply(tab)
    in_step(tab, "nfiles(10)")
    link(tab, "gen", "g4").focus()
    tab.keyboard.press("Enter")
    field(tab, "Files that match").fill("gen_%.root")
    apply(tab)
    node(tab, "reco").hover()
    drag(tab, node(tab, "gen").locator("[data-port]"), node(tab, "ana"))
    in_step(tab, "gen_%.root")
    tab.locator('[data-act="save"]').click()
    tab.wait_for_url("**/campaign_edit/**")
    tab.wait_for_selector("[data-editor][data-ready]")

    text = site.text(owner, "walk")
    campaign, links = stages_of(text)
    assert shown(tab) == text
    assert sorted(stage.name for stage in campaign.stages) == sorted(NAMES)
    assert links == {("gen", "g4"): "gen_%.root", ("g4", "detsim"): "%", ("detsim", "reco"): "%", ("reco", "ana"): "%",
                     ("gen", "ana"): "%"}
    assert campaign.stage("gen").cs_split_type == "nfiles(10)"
    assert campaign.job_types[0].recoveries == (("process_status", (("-Omemory=", "4000MB"),)),)
    assert {stage.job_type for stage in campaign.stages} == {"walk_job"}
    assert tab.locator("[data-node]").count() == 6


def test_a_campaign_from_nothing_by_keyboard(site, owner, open_tab):
    """No mouse: fields by Tab, stages by letters and arrows, saved by Control S."""
    tab = opened(open_tab(), site.url("campaign_new"))
    keys = tab.keyboard

    tab.locator('[data-node="home"]').focus()
    keys.press("Enter")
    field(tab, "Name of the campaign").wait_for()
    keys.type("keys")
    for label, value in (("Job type", "j"), ("Login/setup", "l")):
        while tab.evaluate("document.activeElement.labels?.[0]?.textContent") != label:
            keys.press("Tab")
        keys.press("Control+A")
        keys.type(value)
    keys.press("Enter")
    in_step(tab, "job_type=j")
    tab.locator(".text__area").focus()
    keys.press("Control+End")
    keys.insert_text("\n[login_setup l]\nhost=localhost\n[job_type j]\nlaunch_script=run\n")
    tab.locator('[data-node="home"]').focus()
    for name in NAMES:
        keys.press("a" if name == "gen" else "c")
        field(tab, "Name").wait_for()
        keys.type(name)
        keys.press("Enter")
        node(tab, name).wait_for()
    keys.press("Home")
    keys.press("ArrowDown")
    assert "Stage gen" in tab.evaluate("document.activeElement.getAttribute('aria-label')")
    keys.press("k")
    keys.press("ArrowDown")
    keys.press("ArrowDown")
    keys.press("Enter")
    link(tab, "gen", "detsim").wait_for()
    keys.press("Enter")
    field(tab, "Files that match").wait_for()
    keys.press("Control+A")
    keys.type("gen%")
    keys.press("Enter")
    in_step(tab, "gen%")
    keys.press("Control+S")
    tab.wait_for_url("**/campaign_edit/**")

    campaign, links = stages_of(site.text(owner, "keys"))
    assert sorted(stage.name for stage in campaign.stages) == sorted(NAMES)
    assert links["gen", "detsim"] == "gen%" and len(links) == 5


def test_open_move_edit_undo_save_and_reload(site, owner, open_tab):
    """Only the lines of what was changed differ, and a stage stands where it was put."""
    number = site.save(owner)
    before = site.text(owner)
    tab = opened(open_tab(), site.url("campaign_edit", number))
    old = node(tab, "reco").bounding_box()

    drag(tab, node(tab, "reco"), {**old, "x": old["x"] + 120, "y": old["y"] + 60})
    node(tab, "reco").press("Enter")
    field(tab, "Done at % of files").fill("70")
    apply(tab)
    in_step(tab, "completion_pct = 70")
    tab.locator('[data-act="undo"]').click()
    in_step(tab, "completion_pct = 80")
    tab.locator('[data-act="redo"]').click()
    in_step(tab, "completion_pct = 70")
    save(tab, "Saved as version 2")

    after = site.text(owner)
    assert read(parse(after)).campaign.stage("reco").completion_pct == 70
    assert "# makes the events" in after and "# agreed with the beam group" in after
    positions = after[after.index("[node_positions]"):after.index("# makes")]
    assert after.replace(positions, "").replace("= 70", "= 80") == before
    place = node(tab, "reco").get_attribute("transform")
    tab.reload()
    tab.wait_for_selector("[data-editor][data-ready]")
    assert node(tab, "reco").get_attribute("transform") == place


def test_what_is_inherited_is_shown_as_such_and_can_be_given_back(site, owner, open_tab):
    """The default stands in the empty field; going back to it takes the line out of the text."""
    tab = opened(open_tab(), site.url("campaign_edit", site.save(owner)))

    node(tab, "reco").dblclick()
    assert field(tab, "Version").get_attribute("placeholder") == "v1"
    assert field(tab, "Version").input_value() == ""
    assert tab.locator("dialog .editfield--inherited", has_text="Version").count() == 1
    tab.get_by_role("button", name="Done at % of files: back to inherited").click()
    apply(tab)

    tab.wait_for_function("() => !document.querySelector('.text__area').value.includes('completion_pct = 80')")


def test_the_text_can_be_edited_and_its_errors_show_in_the_picture(site, owner, open_tab):
    """A line that is wrong marks its stage; a line that cannot be read stops the picture, not the text."""
    tab = opened(open_tab(), site.url("campaign_edit", site.save(owner)))

    tab.locator(".text__area").fill(shown(tab).replace("completion_pct = 80", "completion_pct = lots"))
    tab.wait_for_selector(".node--wrong")
    assert "1 problem" in node(tab, "reco").get_attribute("aria-label")
    assert tab.locator(".text__back .t-wrong").inner_text().strip() == "completion_pct = lots"
    tab.locator('[data-act="problems"]').click()
    tab.locator("dialog[open]").get_by_text("'lots' is not a number").wait_for()
    tab.keyboard.press("Escape")
    tab.locator(".text__area").fill(shown(tab).replace("= lots", "= 60\n[campaign_stage more]"))

    node(tab, "more").wait_for()
    tab.wait_for_selector(".node--wrong", state="detached")


def test_a_stage_keeps_its_history_under_another_name(site, owner, open_tab):
    """The row of the stage is the same, so that its submissions stay with it."""
    number = site.save(owner)
    with site.core.db.read() as session:
        before = session.scalar(select(CampaignStage.campaign_stage_id).where(CampaignStage.name == "reco"))
    tab = opened(open_tab(), site.url("campaign_edit", number))

    node(tab, "reco").press("Enter")
    field(tab, "Name").fill("reco_new")
    apply(tab)
    in_step(tab, "[dependencies reco_new]")
    save(tab)

    with site.core.db.read() as session:
        row = session.get(CampaignStage, before)
        assert (row.name, row.campaign_id) == ("reco_new", number)


def test_two_people_lose_nothing(site, owner, open_tab):
    """The second to save sees both changes, and takes both."""
    number = site.save(owner)
    site.world.person("pat")
    first, second = (opened(open_tab(name), site.url("campaign_edit", number)) for name in ("olive", "pat"))
    for tab, stage, version in ((first, "gen", "v_olive"), (second, "reco", "v_pat")):
        node(tab, stage).press("Enter")
        field(tab, "Version").fill(version)
        apply(tab)
        in_step(tab, version)

    save(first, "Saved as version 2")
    second.locator('[data-act="save"]').click()
    dialog = second.locator("dialog[open]")
    dialog.get_by_text("olive saved version 2 meanwhile").wait_for()
    assert "v_olive" in dialog.inner_text() and "v_pat" in dialog.inner_text()
    dialog.get_by_role("button", name="Take both").click()
    in_step(second, "v_olive")
    save(second, "Saved as version 3")

    campaign = read(parse(site.text(owner))).campaign
    assert campaign.stage("gen").software_version == "v_olive"
    assert campaign.stage("reco").software_version == "v_pat"


def previewed(tab):
    """The dialog that says what would be launched."""
    dialog = tab.locator("dialog[open]", has_text="What would be launched")
    dialog.wait_for()
    return dialog


def test_what_would_be_launched_is_seen_before_saving(site, owner, open_tab):
    """The command as it is and as it would be, of what is typed just now; nothing is saved, nothing typed is lost."""
    number = site.save(owner)
    before = site.text(owner)
    tab = opened(open_tab(), site.url("campaign_edit", number))
    assert tab.locator('[data-act="preview"]').get_attribute("aria-disabled") == "true"
    node(tab, "gen").press("Enter")
    field(tab, "Version").fill("v_next")
    apply(tab)
    in_step(tab, "v_next")

    tab.locator('[data-act="preview"]').click()
    dialog = previewed(tab)
    sections = dialog.locator("section")
    assert sections.locator("h3").all_inner_texts() == ["gen"]
    assert "--version=v1" in sections.locator(".gone").all_inner_texts()[-1]
    assert "--version=v_next" in sections.locator(".came").all_inner_texts()[-1]
    assert "1 launch would stay as it is" in dialog.inner_text()
    dialog.get_by_role("button", name="Go on editing").click()
    assert site.text(owner) == before and "v_next" in shown(tab)

    tab.locator('[data-act="changes"]').click()
    tab.get_by_role("button", name="Preview what would be launched").click()
    previewed(tab).get_by_role("button", name="Save").click()
    tab.locator("[data-notices]").get_by_text("Saved as version 2").wait_for()

    assert site.text(owner) == shown(tab)


def test_a_preview_of_what_is_wrong_leads_to_the_line(site, owner, open_tab):
    """What the check finds, and what only the server finds, is told with its line; that line is gone to."""
    tab = opened(open_tab(), site.url("campaign_edit", site.save(owner)))
    tab.locator(".text__area").fill(shown(tab).replace("completion_pct = 80", "completion_pct = lots"))
    tab.wait_for_selector(".node--wrong")

    tab.locator('[data-act="preview"]').click()
    tab.locator("dialog[open]").get_by_role("button", name="Line").click()

    assert tab.evaluate("""() => {
        const area = document.querySelector('.text__area');
        const from = area.value.slice(area.selectionStart);
        return document.activeElement === area && from.startsWith('completion_pct = lots');
    }""")


def test_a_preview_by_keyboard(site, owner, open_tab):
    """W in the picture asks, Escape goes back to where one was."""
    tab = opened(open_tab(), site.url("campaign_edit", site.save(owner)))
    node(tab, "gen").press("Enter")
    field(tab, "Version").fill("v_next")
    tab.keyboard.press("Enter")
    in_step(tab, "v_next")

    node(tab, "gen").press("w")
    previewed(tab)
    tab.keyboard.press("Escape")

    tab.wait_for_selector("dialog[open]", state="detached")
    assert node(tab, "gen").evaluate("one => one === document.activeElement")
    assert "v_next" in shown(tab)


def test_a_preview_after_somebody_saved_says_so(site, owner, open_tab):
    """It would be a preview of what cannot be saved; what is typed stays."""
    number = site.save(owner)
    tab = opened(open_tab(), site.url("campaign_edit", number))
    node(tab, "gen").press("Enter")
    field(tab, "Version").fill("v_mine")
    apply(tab)
    in_step(tab, "v_mine")
    site.save(owner, site.text(owner).replace("completion_pct = 80", "completion_pct = 70"))

    tab.locator('[data-act="preview"]').click()

    tab.locator("[data-editor-status]").get_by_text("Somebody saved version 2 of mc since version 1").wait_for()
    assert "v_mine" in shown(tab)


@pytest.mark.parametrize("taken", [True, False])
def test_a_preview_under_another_name_is_of_a_new_campaign(site, owner, open_tab, taken):
    """All its stages are new; a name that is taken is refused as a save would be."""
    number = site.save(owner)
    if taken:
        site.save(owner, site.sample.replace("name = mc", "name = other"))
    tab = opened(open_tab(), site.url("campaign_edit", number))
    tab.locator(".text__area").fill(shown(tab).replace("name = mc", "name = other"))

    tab.locator('[data-act="preview"]').click()

    if taken:
        tab.locator("[data-editor-status]").get_by_text("There is a campaign other in samdev already").wait_for()
    else:
        assert previewed(tab).locator("h3").all_inner_texts() == ["gen", "reco"]


def test_a_save_whose_answer_was_lost_can_be_repeated(site, owner, open_tab):
    """The connection breaks after the server stored it: the second try finds that it is done, and stores nothing."""
    number = site.save(owner)
    tab = opened(open_tab(), site.url("campaign_edit", number))
    lost = []

    def lose(route):
        if lost:
            route.continue_()
            return
        lost.append(route.fetch().status)
        route.fulfill(status=502, body="bad gateway")

    tab.route("**/editor_save/**", lose)
    node(tab, "reco").press("Enter")
    field(tab, "Version").fill("v2")
    apply(tab)
    in_step(tab, "v2")
    tab.locator('[data-act="save"]').click()
    tab.get_by_text("The server answered 502").first.wait_for()
    assert tab.evaluate("Object.keys(localStorage).some(key => key.startsWith('poms-editor:'))")
    save(tab, "Saved as version 2")

    assert lost == [200]


def test_changes_that_were_not_saved_are_offered_again(site, owner, open_tab):
    """The page is left with changes; opened again, it brings them back."""
    tab = opened(open_tab(), site.url("campaign_edit", site.save(owner)))
    tab.on("dialog", lambda dialog: dialog.accept())
    node(tab, "reco").press("Enter")
    field(tab, "Version").fill("v_unsaved")
    apply(tab)
    in_step(tab, "v_unsaved")

    tab.reload()
    tab.wait_for_selector("[data-editor][data-ready]")
    assert "v_unsaved" not in shown(tab)
    tab.get_by_role("button", name="Bring them back").click()

    in_step(tab, "v_unsaved")


def test_a_page_with_changes_asks_before_it_is_left(site, owner, open_tab):
    """Going elsewhere by mistake loses nothing."""
    tab = opened(open_tab(), site.url("campaign_edit", site.save(owner)))
    asked = []
    node(tab, "reco").press("Delete")
    node(tab, "reco").wait_for(state="detached")
    tab.once("dialog", lambda dialog: (asked.append(dialog.type), dialog.dismiss()))

    tab.locator('.side a:has-text("Samples"), .side a:has-text("Sample campaigns")').first.click()

    assert asked == ["beforeunload"]
    assert "campaign_edit" in tab.url


@pytest.mark.parametrize("name", ['"><svg onload=window.hurt=1>', "<script>hurt()<b>x", "it's $(rm) `x` %s", "שלום 🚀"])
def test_hostile_names_are_shown_as_text(site, owner, open_tab, name):
    """In the picture, the text, the forms, and after a reload."""
    number = site.save(owner, f"{site.sample}\n[campaign_stage {name}]\nvo_role = Production\n")
    tab = opened(open_tab(), site.url("campaign_edit", number))

    element = tab.locator("[data-node]", has_text=name[:10]).first
    element.press("Enter")
    assert field(tab, "Name").input_value() == name
    assert f"Stage {name}" in tab.locator("dialog[open] h2").inner_text()
    assert tab.locator("dialog b, .draw b, [onload]").count() == 0
    assert tab.evaluate("window.hurt") is None


def test_several_stages_are_changed_and_deleted_together(site, owner, open_tab):
    """Chosen with Control, changed in one form; what was left alone stays; undo brings them back."""
    tab = opened(open_tab(), site.url("campaign_edit", site.save(owner)))

    node(tab, "gen").click()
    node(tab, "reco").click(modifiers=["Control"])
    tab.locator('[data-act="open"]').click()
    field(tab, "Version").fill("v7")
    apply(tab)
    tab.wait_for_function("() => document.querySelector('.text__area').value.split('v7').length === 3")
    assert "completion_pct = 80" in shown(tab)
    node(tab, "reco").press("d")
    tab.wait_for_function("() => document.querySelectorAll('[data-node]').length === 1")
    tab.keyboard.press("Control+Z")
    node(tab, "reco").wait_for()


def test_a_shared_job_type_is_changed_under_a_new_name(site, owner, open_tab):
    """The stored one stays; the stages that are ticked use the new one."""
    number = site.save(owner)
    tab = opened(open_tab(), site.url("campaign_edit", number))

    node(tab, "gen").press("Enter")
    tab.get_by_role("button", name="Open this job type").click()
    field(tab, "Launch script").fill("run2")
    apply_refused(tab, "The job type sim does exist. Please use a new name.")
    field(tab, "Name").fill("sim2")
    apply(tab)
    apply(tab)
    in_step(tab, "[job_type sim2]")
    save(tab)

    campaign = read(parse(site.text(owner))).campaign
    assert {each.name: each.launch_script for each in campaign.job_types} == {
        "sim": "run --version=%(version)s", "sim2": "run2"}
    assert campaign.stage("gen").job_type == "sim2"


def apply_refused(tab, words):
    tab.locator("dialog[open]").last.locator(".ask__foot .button--primary").click()
    tab.locator("dialog[open]").last.get_by_text(words).wait_for()


def test_a_stage_that_needs_itself_must_come_to_an_end(site, owner, open_tab):
    """Without a split it is refused in words that users know."""
    tab = opened(open_tab(), site.url("campaign_edit", site.save(owner)))

    node(tab, "gen").press("k")
    tab.keyboard.press("Enter")

    tab.get_by_text("Set 'cs_split_type' first!").wait_for()
    assert tab.locator("[data-link]").count() == 1


def test_who_may_not_change_it_can_look_at_it(site, owner, open_tab):
    """A shifter sees the picture and the text, and no button that would change them."""
    number = site.save(owner)
    site.world.person("shirley", SHIFTER)
    tab = opened(open_tab("shirley"), site.url("campaign_edit", number).replace("/production/", "/production-shifter/"))

    assert not tab.locator('[data-act="save"]').is_visible()
    assert tab.locator(".text__area").get_attribute("readonly") is not None
    node(tab, "gen").press("Delete")
    assert node(tab, "gen").count() == 1


def test_a_form_outlives_a_slip_of_the_hand(site, owner, open_tab):
    """Text that is marked to beyond the form, a click beside it, Escape pressed once: what was typed stays."""
    tab = opened(open_tab(), site.url("campaign_edit", site.save(owner)))
    node(tab, "reco").dblclick()
    field(tab, "Version").fill("v_kept")
    edge = field(tab, "Version").bounding_box()

    tab.mouse.move(edge["x"] + 40, edge["y"] + 10)
    tab.mouse.down()
    tab.mouse.move(5, 300, steps=4)
    tab.mouse.up()
    tab.mouse.click(5, 300)
    tab.keyboard.press("Escape")
    tab.get_by_text("Not applied yet. Escape again drops it.").wait_for()
    assert field(tab, "Version").input_value() == "v_kept"
    tab.keyboard.press("Escape")
    tab.wait_for_selector("dialog[open]", state="detached")

    assert "v_kept" not in shown(tab)


def test_from_a_stage_to_its_dependency_what_was_typed_is_applied(site, owner, open_tab):
    """The link in the form leads on, and does not throw the form away; a wrong name is said first."""
    tab = opened(open_tab(), site.url("campaign_edit", site.save(owner)))
    node(tab, "reco").dblclick()
    field(tab, "Version").fill("v_applied")
    field(tab, "Name").fill("gen")
    to_dependency = tab.locator("dialog[open] [data-answer]")
    to_dependency.click()
    tab.get_by_text("There is a stage gen already").wait_for()

    field(tab, "Name").fill("reco")
    to_dependency.click()
    field(tab, "Files that match").fill("best_%.root")
    apply(tab)

    in_step(tab, "software_version = v_applied")
    in_step(tab, "file_pattern_1 = best_%.root")


def test_a_text_that_cannot_be_read_is_told_before_a_form_is_filled_in(site, owner, open_tab):
    """Not after, when the form could only be dropped."""
    tab = opened(open_tab(), site.url("campaign_edit", site.save(owner)))
    tab.locator(".text__area").press("Control+Home")
    tab.keyboard.type("[broken\n")
    tab.get_by_text("1 problem").wait_for()

    node(tab, "reco").dblclick()

    assert tab.locator("dialog[open] h2").inner_text() == "What the check says"
    assert "cannot be read" in tab.locator("[data-say]").inner_text()


def test_what_is_refused_or_wrong_is_said_where_it_is_seen(site, owner, open_tab):
    """A dependency that is there already, and a value that the check refuses."""
    tab = opened(open_tab(), site.url("campaign_edit", site.save(owner)))
    said = tab.locator("[data-say]")

    node(tab, "gen").click()
    node(tab, "reco").click(modifiers=["Control"])
    tab.locator('[data-act="connect"]').click()
    said.get_by_text("They are connected already").wait_for()
    node(tab, "gen").dblclick()
    field(tab, "Done at % of files").fill("most")
    apply(tab)
    said.get_by_text("'most' is not a number").wait_for()


def test_a_double_click_on_save_does_not_close_what_it_opened(site, owner, open_tab):
    """What is wrong is listed, and the second click of a hurried hand leaves it there."""
    tab = opened(open_tab(), site.url("campaign_new"))

    tab.locator('[data-act="save"]').dblclick()

    tab.locator("dialog[open] >> text=What the check says").wait_for()
    # The list has been there for two pictures: the second click is through.
    tab.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert tab.locator("dialog[open]").count() == 1


def test_keys_work_at_once_and_save_reaches_into_a_form(site, owner, open_tab):
    """A adds a stage before anything was clicked; Control S applies the form that is open."""
    tab = opened(open_tab(), site.url("campaign_edit", site.save(owner)))

    tab.keyboard.press("a")
    field(tab, "Name").fill("fresh")
    tab.keyboard.press("Control+s")
    tab.wait_for_selector("dialog[open]", state="detached")

    in_step(tab, "[campaign_stage fresh]")
    tab.keyboard.press("?")
    tab.locator("dialog[open] dt", has_text="Right click").wait_for()


def test_a_sample_is_saved_as_it_is(site, owner, open_tab):
    """A new campaign needs no change before it can be saved."""
    tab = opened(open_tab(), site.url("campaign_new") + "?sample=keepup")
    name = read(parse(shown(tab))).campaign.name

    tab.locator('[data-act="save"]').click()
    tab.wait_for_url("**/campaign_edit/**")

    assert site.text(owner, name)


def test_it_works_on_a_phone(site, owner, open_tab):
    """At 390 pixels nothing is wider than the screen, and a stage can be opened and changed."""
    tab = opened(open_tab(width=390, height=844), site.url("campaign_edit", site.save(owner)))

    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    node(tab, "reco").click()
    tab.locator('[data-act="open"]').click()
    field(tab, "Version").fill("v3")
    apply(tab)

    in_step(tab, "software_version = v3")


def test_a_hundred_stages_open_and_stay_in_step(site, owner, open_tab):
    """A long campaign is drawn completely, without boxes upon each other."""
    more = "".join(f"\n[campaign_stage s{number}]\n\n[dependencies s{number}]\ncampaign_stage_1 = "
                   f"{'reco' if number < 3 else f's{number // 3}'}\n" for number in range(1, 99))
    tab = opened(open_tab(), site.url("campaign_edit", site.save(owner, site.sample + more)))

    assert tab.locator("[data-node]").count() == 101
    places = json.loads(tab.evaluate("""JSON.stringify([...document.querySelectorAll('[data-node]')].map(
        node => node.getAttribute('transform').match(/-?[\\d.]+/g).map(Number)))"""))
    assert not [(one, two) for index, one in enumerate(places) for two in places[:index]
                if abs(one[0] - two[0]) < 150 and abs(one[1] - two[1]) < 44]
