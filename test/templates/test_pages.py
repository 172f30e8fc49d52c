"""Every page with its example: it renders, is safe against hostile texts, works without scripts, and reads well."""

from __future__ import annotations

import re
import sys
from collections import Counter
from datetime import datetime
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from jinja2 import Environment, FileSystemLoader, UndefinedError

from poms.webservice.handlers import filters

sys.path.insert(0, str(Path(__file__).parent))
import examples  # noqa: E402

TOP = Path(__file__).parents[2]
CANARY = '"><svg/onload=1>'
PAGES = examples.pages()
SHAPES = [pytest.param(template, context, id=name) for name, template, context in PAGES]
# Words that choose a class, an icon or a branch are ours; everything else may come from anybody.
OUR_WORDS = frozenset({"state", "state_now", "kind", "method", "face", "which", "role", "csrf_token"})


def environment() -> Environment:
    made = Environment(loader=FileSystemLoader(TOP / "templates"), autoescape=True, undefined=filters.Demanding)
    filters.register(made)
    return made


ENVIRONMENT = environment()


def page(template, context):
    return BeautifulSoup(ENVIRONMENT.get_template(template).render(context), "html.parser")


def poison(value, key=""):
    """The same context with a canary at the end of every text that is not one of our own words."""
    if isinstance(value, str):
        return value + CANARY if value and key not in OUR_WORDS else value
    if isinstance(value, dict):
        return {name: poison(one, name) for name, one in value.items()}
    if isinstance(value, list):
        return [poison(one, key) for one in value]
    return value


@pytest.mark.parametrize(("template", "context"), SHAPES)
def test_no_text_becomes_markup(template, context):
    """Names with quotes, angle brackets and handlers in them appear as text, in whatever place."""
    html = ENVIRONMENT.get_template(template).render(poison(context))
    found = BeautifulSoup(html, "html.parser")

    assert "onload=1" in html
    assert CANARY not in html
    assert not [tag for tag in found.find_all(True) if any(name.startswith("on") for name in tag.attrs)]
    assert not [tag for tag in found.find_all(True) if not re.fullmatch("[a-z]+[1-6]?", tag.name)]


@pytest.mark.parametrize(("template", "context"), SHAPES)
def test_nothing_needs_more_than_default_src_self(template, context):
    """No style attributes, no inline scripts or styles, no handlers, nothing from elsewhere."""
    found = page(template, context)

    assert not found.select("[style], style, iframe, object, embed, base")
    assert not [tag for tag in found.find_all(True) if any(name.startswith("on") for name in tag.attrs)]
    assert all(
        script.get("src", "").startswith("/static/") and not script.string for script in found.find_all("script")
    )
    loaded = [tag.get("src") or tag.get("href") for tag in found.select("link, script, img, use")]
    assert all(address.startswith(("/static/", "#")) for address in loaded)


@pytest.mark.parametrize(("template", "context"), SHAPES)
def test_every_change_is_a_post_with_the_token(template, context):
    """Forms that change something carry the token, forms that ask do not spill it into addresses."""
    for form in page(template, context).find_all("form"):
        tokens = form.select("input[name=csrf_token]")
        if form["method"] == "post":
            assert [token["value"] for token in tokens] == ["t0ken"], form
        else:
            assert form["method"] == "get" and not tokens


@pytest.mark.parametrize(("template", "context"), SHAPES)
def test_every_button_does_something_without_scripts(template, context):
    """A button sends a form, opens a dialog by itself, or is hidden until a script can serve it."""
    found = page(template, context)
    forms = {form["id"] for form in found.select("form[id]")}

    for button in found.find_all("button"):
        if button.find_parent("template"):
            continue  # Not shown at all, but by a script.
        if button.get("type") == "button":
            target = button.get("popovertarget")
            assert button.has_attr("hidden") or found.select_one(f'dialog[popover][id="{target}"]'), button
        else:
            assert button.find_parent("form") or button["form"] in forms, button
    for field in found.select("input[name], select[name], textarea[name]"):
        assert field["form"] in forms if field.has_attr("form") else field.find_parent("form"), field


@pytest.mark.parametrize(("template", "context"), SHAPES)
def test_forms_do_not_stand_in_forms(template, context):
    """Browsers drop a form within a form, and with it what it would have sent."""
    assert not page(template, context).select("form form")


@pytest.mark.parametrize(("template", "context"), SHAPES)
def test_ids_are_unique_and_references_lead_somewhere(template, context):
    """Labels, descriptions, titles and jumps name an element that is there."""
    found = page(template, context)
    ids = [tag["id"] for tag in found.select("[id]")]

    assert [name for name, count in Counter(ids).items() if count > 1] == []
    named = {
        tag[attribute]
        for attribute in ("for", "aria-labelledby", "aria-describedby", "popovertarget", "data-copy", "data-status")
        for tag in found.select(f"[{attribute}]")
    }
    named |= {tag["href"][1:] for tag in found.select('a[href^="#"]') if len(tag["href"]) > 1}
    if context.get("problems") and template == "campaign_text.html":
        named = {name for name in named if not name.startswith("line-")}
    assert named - set(ids) == set()


@pytest.mark.parametrize(("template", "context"), SHAPES)
def test_a_page_is_painted_when_its_content_is_there(template, context):
    """What the first paint waits for stands behind all that could move while it arrives."""
    found = page(template, context)

    (waits,) = found.select("head link[rel=expect][blocking=render]")
    (last,) = found.select(f"main {waits['href']}")
    assert last.find_next_sibling() is None


@pytest.mark.parametrize(("template", "context"), SHAPES)
def test_headings_form_an_outline(template, context):
    """One first heading, and no level left out on the way down."""
    levels = [int(tag.name[1]) for tag in page(template, context).find_all(["h1", "h2", "h3", "h4"])]

    assert levels.count(1) == 1 and levels[0] == 1
    assert all(two <= one + 1 for one, two in zip(levels, levels[1:], strict=False))


@pytest.mark.parametrize(("template", "context"), SHAPES)
def test_everything_has_a_name(template, context):
    """Pictures say what they show or are hidden; fields, buttons and links can be told apart by ear."""
    found = page(template, context)

    for picture in found.find_all("svg"):
        hidden = picture.get("aria-hidden") == "true" or picture.find_parent("svg")
        assert hidden or picture.get("aria-label"), picture
    labelled = {label["for"] for label in found.select("label[for]")}
    for field in found.select("input:not([type=hidden]), select, textarea"):
        assert field.get("aria-label") or field.get("id") in labelled or field.find_parent("label"), field
    for one in found.select("a[href], button, summary"):
        inner = [tag["aria-label"] for tag in one.select("[aria-label]")]
        assert one.get("aria-label") or one.get_text(strip=True) or inner, one
    assert found.html["lang"] == "en" and found.title.get_text(strip=True)


@pytest.mark.parametrize(("template", "context"), SHAPES)
def test_lists_have_headings_for_their_columns(template, context):
    """A table's columns and rows are named, so that a cell can be read on its own."""
    for table in page(template, context).find_all("table"):
        columns = table.select("thead th[scope=col]")
        assert columns
        for row in table.select("tbody tr"):
            cells = row.find_all(["td", "th"], recursive=False)
            assert len(cells) == len(columns) or cells[0].get("colspan") == str(len(columns))


@pytest.mark.parametrize(("template", "context"), SHAPES)
def test_live_regions_have_names_of_their_own(template, context):
    """A page fetched again is matched region by region."""
    names = [tag["data-live"] for tag in page(template, context).select("[data-live]")]

    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", sorted({template for _, template, _ in PAGES}))
def test_a_page_names_what_it_misses(name):
    """A handler that forgets a variable is told so, instead of showing a page with a hole in it."""
    with pytest.raises(UndefinedError):
        ENVIRONMENT.get_template(name).render(examples.frame())


def test_every_page_has_an_example():
    """No template is without a context that shows how it is filled."""
    own = {path.name for path in (TOP / "templates").glob("*.html")} - {"layout.html"}

    assert {template for _, template, _ in PAGES} == own


def test_examples_use_aware_times():
    """Times in examples are aware, as they are everywhere."""

    def times(value):
        if isinstance(value, datetime):
            yield value
        elif isinstance(value, dict):
            for one in value.values():
                yield from times(one)
        elif isinstance(value, list):
            for one in value:
                yield from times(one)

    assert all(moment.tzinfo for _, _, context in PAGES for moment in times(context))


def test_an_unsafe_link_of_another_system_leads_nowhere():
    """A link that a plugin gives cannot run anything."""
    context = examples.job() | {"links": [{"label": "x", "url": "javascript:alert(1)"}]}

    assert "javascript:" not in ENVIRONMENT.get_template("job.html").render(context)


def test_what_nobody_may_do_is_not_offered():
    """A person without rights sees the submission and no means to change it."""
    nothing = dict.fromkeys(examples.submission_common()["may"], False)
    context = examples.submission_jobs() | {"may": nothing}
    # Answers are offered, or not, by what their page gives.
    decisions = [decision | {"actions": []} for decision in context["recovery"]["decisions"]]
    found = page("submission.html", context | {"recovery": context["recovery"] | {"decisions": decisions}})

    # Which columns one sees is one's own affair.
    buttons = [one for one in found.select("form[method=post] button")
               if not one.find_parent(class_="menu__list--form")]
    assert not buttons
    assert not found.select("input[name=batch_id]")


@pytest.mark.parametrize(
    "state",
    [
        "New",
        "Idle",
        "Running",
        "Held",
        "Failed",
        "Completed",
        "Located",
        "Removed",
        "Cancelled",
        "LaunchFailed",
        "Awaiting Approval",
        "Approved",
    ],
)
def test_every_state_has_its_shape_and_colour(state):
    """Each state has a drawing, three colours, and its own word beside them."""
    slug = filters.state_slug(state)
    icons = BeautifulSoup((TOP / "static/img/icons.svg").read_text(), "html.parser")
    tokens = (TOP / "static/css/tokens.css").read_text()

    assert icons.select_one(f"symbol#s-{slug}")
    assert all(f"--st-{slug}{part}:" in tokens for part in ("", "-ink", "-soft"))
    assert f".s-{slug} {{" in (TOP / "static/css/parts.css").read_text()
    assert (
        state
        in page(
            "submission.html",
            examples.submission_jobs() | {"submission": examples.submission_jobs()["submission"] | {"state": state}},
        )
        .select_one(".pagehead .chip")
        .get_text()
    )


@pytest.mark.parametrize(("template", "context"), SHAPES)
def test_every_icon_is_drawn(template, context):
    """A reference into the file of icons names one that is in it."""
    symbols = {
        tag["id"] for tag in BeautifulSoup((TOP / "static/img/icons.svg").read_text(), "html.parser").select("symbol")
    }
    used = {tag["href"].partition("#")[2] for tag in page(template, context).find_all("use")}

    assert used <= symbols


def test_static_files_that_the_frame_names_are_there():
    """Styles, scripts and pictures of the frame exist, and scripts import only each other."""
    found = page("home.html", examples.home())
    assert found.select_one(found.select_one("link[rel=expect]")["href"])
    for tag in found.select("link[href]:not([rel=expect]), script[src]"):
        assert (TOP / (tag.get("href") or tag["src"]).lstrip("/")).is_file()
    for script in (TOP / "static/js").glob("*.js"):
        for line in script.read_text().splitlines():
            if line.startswith("import "):
                assert (script.parent / line.split('"')[1]).is_file()
