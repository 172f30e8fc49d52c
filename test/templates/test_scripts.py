"""What scripts add to pages, in a real browser: themes, questions, refreshing in place, logs that grow."""

from __future__ import annotations

import json
import sys
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from jinja2 import Environment, FileSystemLoader

from poms.webservice.handlers import filters
from poms.webservice.testing import browser as browsers

sys.path.insert(0, str(Path(__file__).parent))
import examples  # noqa: E402

pytestmark = pytest.mark.browser
TOP = Path(__file__).parents[2]
TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


class Site:
    """The example pages behind the headers that the product sends; what they show can be changed."""

    def __init__(self):
        environment = Environment(
            loader=FileSystemLoader(TOP / "templates"), autoescape=True, undefined=filters.Demanding
        )
        filters.register(environment)
        self.render = lambda template, context: environment.get_template(template).render(context)
        self.pages, self.posts, self.log = {}, [], ["", True]
        self.refused = False
        site = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self, body, kind, status=200):
                data = body.encode()
                self.send_response(status)
                self.send_header("Content-Type", f"{kind}; charset=utf-8")
                self.send_header("Content-Length", str(len(data)))
                self.send_header("Content-Security-Policy", "default-src 'self'")
                self.end_headers()
                self.wfile.write(data)

            def do_GET(self):
                parts = urlsplit(self.path)
                file = TOP / parts.path.lstrip("/")
                if parts.path.startswith("/static/") and file.is_file():
                    self.answer(file.read_text(), TYPES[file.suffix])
                elif parts.path.startswith("/poms/launch_log_text/"):
                    offset = int(parse_qs(parts.query)["offset"][0])
                    text, done = site.log
                    self.answer(
                        json.dumps({"text": text[offset:], "offset": len(text), "done": done}), "application/json"
                    )
                elif parts.path in site.pages and not (site.refused and self.headers["Accept"] == "text/html"):
                    self.answer(site.pages[parts.path](), "text/html")
                else:
                    self.answer("nothing here", "text/plain", 503)

            def do_POST(self):
                length = int(self.headers["Content-Length"])
                site.posts.append((self.path, parse_qs(self.rfile.read(length).decode(), keep_blank_values=True)))
                self.answer("<!doctype html><title>done</title><h1>done</h1>", "text/html")

            def log_message(self, *_):
                """Requests are not part of what is tested."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def show(self, path, template, make):
        """Serve a page; ``make`` gives its context at each request."""
        self.pages[path] = lambda: self.render(template, make())
        return self.address + path


@pytest.fixture(scope="module")
def browser():
    with browsers.chromium() as started:
        yield started


@pytest.fixture
def site():
    made = Site()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def tab(browser):
    """A page in which any error of a script or breach of the content policy fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    wrong = []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on(
        "console", lambda message: wrong.append(message.text) if "Content Security Policy" in message.text else None
    )
    yield opened
    context.close()
    assert wrong == []


def test_the_theme_is_kept(site, tab):
    """Whoever chooses the dark theme finds it on the next page."""
    tab.goto(site.show("/a", "home.html", examples.home))
    before = tab.evaluate("getComputedStyle(document.body).backgroundColor")

    tab.click("[data-theme-switch]")
    tab.reload()

    assert tab.evaluate("document.documentElement.dataset.theme") == "dark"
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") != before


def test_a_question_is_asked_before_jobs_are_removed(site, tab):
    """The button opens a dialog that names the number; only its own button sends the form, with the token."""
    tab.goto(site.show("/a", "submission.html", examples.submission_jobs))

    tab.click("text=Remove jobs… >> nth=0")
    assert tab.locator("#remove-jobs:modal h2").inner_text() == "Remove 381 jobs of submission 812044"
    tab.keyboard.press("Escape")
    tab.wait_for_selector("#remove-jobs", state="hidden")
    assert site.posts == []

    tab.click("text=Remove jobs… >> nth=0")
    tab.fill("#remove-why", "wrong flux")
    tab.click("#remove-jobs >> text=Remove 381 jobs >> nth=1")
    tab.wait_for_selector("h1 >> text=done")
    assert [fields for _, fields in site.posts] == [
        {"csrf_token": ["t0ken"], "submission_id": ["812044"], "act": ["remove"], "reason": ["wrong flux"]}
    ]


def test_questions_work_without_scripts(site, browser):
    """With scripts off the same dialog opens, and its form is sent."""
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(site.show("/a", "submission.html", examples.submission_jobs))

    tab.click("button[popovertarget=recover]")
    tab.select_option("#recovery-type", "consumed_status")
    tab.click("text=Launch recovery")
    tab.wait_for_selector("h1 >> text=done")
    context.close()

    assert site.posts[0][1] == {
        "csrf_token": ["t0ken"],
        "submission_id": ["812044"],
        "recovery_type": ["consumed_status"],
    }


def test_chosen_jobs_are_sent(site, tab):
    """The bar appears with the first job chosen, counts, and sends exactly those."""
    tab.goto(site.show("/a", "submission.html", examples.submission_jobs))
    assert not tab.is_visible(".bulk")

    tab.check("input[value='61244817.37@jobsub03.fnal.gov']")
    tab.check("input[value='61244817.190@jobsub03.fnal.gov']")
    assert tab.inner_text("[data-chosen]") == "2"
    tab.click(".bulk >> text=Release jobs")
    tab.wait_for_selector("h1 >> text=done")

    assert site.posts[0][1]["batch_id"] == ["61244817.37@jobsub03.fnal.gov", "61244817.190@jobsub03.fnal.gov"]
    assert site.posts[0][1]["act"] == ["release"]


def changing_home(quiet):
    return lambda: examples.home() | {"live_seconds": 0.2} | ({"board": [], "board_total": 0} if quiet else {})


def test_a_page_refreshes_in_place(site, tab):
    """Counts change where they stand; what did not change is the same element, and keeps the focus."""
    quiet = []
    address = site.show("/a", "home.html", lambda: changing_home(bool(quiet))())
    tab.goto(address)
    link = tab.locator("[data-live=running] a >> nth=0")
    link.focus()
    tab.evaluate("document.activeElement.mine = true")

    quiet.append(True)
    tab.wait_for_selector("h1 >> text=Nothing needs a person")

    assert tab.evaluate("document.activeElement.mine") is True
    assert tab.locator(".entry").count() == 0


LOOK_NOW = "document.dispatchEvent(new Event('visibilitychange'))"


def test_a_page_waits_while_a_question_is_open(site, tab):
    """Nothing is fetched or changed under a dialog; it is when the dialog is closed."""
    quiet = []
    tab.goto(site.show("/a", "home.html", lambda: changing_home(bool(quiet))() | {"live_seconds": 1000}))
    tab.click("text=Release with 3,000 MB")
    tab.wait_for_selector("dialog:modal")
    asked = []
    tab.on("request", lambda request: asked.append(request.url))
    quiet.append(True)

    tab.evaluate(LOOK_NOW)
    assert tab.inner_text("h1") == "5 things need a person" and asked == []

    tab.click("dialog:modal >> text=Keep held")
    tab.evaluate(LOOK_NOW)
    tab.wait_for_selector("h1 >> text=Nothing needs a person")


def test_a_page_says_that_it_is_not_up_to_date(site, tab):
    """When the server stops answering the page keeps what it shows and says so, and recovers."""
    tab.goto(site.show("/a", "home.html", changing_home(False)))

    site.refused = True
    tab.wait_for_selector("[data-live-status] >> text=Not up to date")
    assert tab.locator(".entry").count() == 5

    site.refused = False
    tab.wait_for_selector("[data-live-status]:empty", state="attached")


def test_a_log_grows_and_says_when_it_is_complete(site, tab):
    """New lines are added, not fetched again, until nothing more will come; hostile lines stay text."""
    first = "Begin\n"
    site.log = [first, False]
    log = examples.LOG | {"text": first, "offset": len(first), "done": False, "skipped_bytes": 0}
    tab.goto(site.show("/a", "launch_log.html", lambda: examples.launch_log() | {"log": log, "live_seconds": 0}))

    site.log = [first + "<script>wrong()</script> end\n", True]
    tab.wait_for_selector("#launch-log-status >> text=Complete")

    assert tab.locator("#launch-log").text_content() == "Begin\n<script>wrong()</script> end\n"


def test_ages_are_written_as_the_server_writes_them(site, tab):
    """The script that keeps ages going uses the same words."""
    tab.goto(site.show("/a", "home.html", examples.home))
    seconds = [0, 59, 60, 3599, 3600, 9780, 86399, 86400, 90000, 863999, 864000, 31 * 86400]

    written = tab.evaluate("async (list) => list.map((await import('/static/js/times.js')).duration)", seconds)

    assert written == [filters.duration(one) for one in seconds]


def test_slash_goes_to_the_search(site, tab):
    """One key leads to the search, but not while somebody writes."""
    tab.goto(site.show("/a", "campaigns.html", examples.campaigns))

    tab.keyboard.press("/")
    assert tab.evaluate("document.activeElement.name") == "search_term"
    tab.keyboard.type("a/b")

    assert tab.input_value("[data-search]") == "a/b"


def test_menus_are_walked_by_arrow_keys(site, tab):
    """Arrow keys open and walk a menu, Escape closes it and gives the focus back."""
    tab.goto(site.show("/a", "home.html", examples.home))
    tab.focus(".plate > summary")

    tab.keyboard.press("ArrowDown")
    assert tab.evaluate("document.activeElement.textContent") == "analysis"
    tab.keyboard.press("ArrowDown")
    assert tab.evaluate("document.activeElement.textContent") == "production"
    tab.keyboard.press("Escape")

    assert tab.evaluate("document.activeElement.matches('.plate > summary') && !document.activeElement.parentNode.open")


@pytest.mark.parametrize("width", [1280, 390])
def test_no_page_is_wider_than_the_window(site, browser, width):
    """Pages fit a desk and a phone; only lists, pictures and logs scroll by themselves."""
    context = browser.new_context(viewport={"width": width, "height": 800})
    tab = context.new_page()
    too_wide = []
    for name, template, page in examples.pages():
        tab.goto(site.show(f"/{name}", template, partial(dict, page)))
        if tab.evaluate("document.documentElement.scrollWidth > innerWidth"):
            too_wide.append(name)
    context.close()

    assert too_wide == []


def test_the_menu_of_a_phone_opens_and_closes(site, browser):
    """On a phone the navigation is one tap away, without scripts."""
    context = browser.new_context(viewport={"width": 390, "height": 800}, java_script_enabled=False)
    tab = context.new_page()
    tab.goto(site.show("/a", "home.html", examples.home))
    assert not tab.is_visible(".side")

    tab.click(".bottomtabs >> text=Menu")
    assert tab.is_visible(".side >> text=Sample campaigns")
    tab.click(".side__close")

    assert not tab.is_visible(".side")
    context.close()


def test_the_tab_in_force_is_in_view_on_a_phone(site, browser):
    """Also when it is the last of more than fit."""
    context = browser.new_context(viewport={"width": 390, "height": 800})
    tab = context.new_page()
    tab.goto(site.show("/a", "submission.html", examples.submission_events))
    tab.wait_for_function("document.querySelector('.tabs').scrollLeft > 0")

    left, right = tab.evaluate("(() => { const it = document.querySelector('.tabs [aria-current]')"
                               ".getBoundingClientRect(); return [it.left, it.right]; })()")
    context.close()

    assert 0 <= left < right <= 390
