"""Taking pictures: which there are of a scene, one after the other in a browser, and what is wrong with a page.

A picture that cannot be taken is an error: a page that does not answer, that is wider than its window, with a table
wider than its card, or whose scripts complain. What a page looks like is not judged here.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from poms.webservice.testing import browser as browsers
from poms.webservice.testing.bench import pages
from poms.webservice.testing.bench.pages import Look
from poms.webservice.testing.bench.shape import Landmarks
from poms.webservice.testing.pictures.scenes import Scene

SIZES: Mapping[str, tuple[int, int]] = {"1280": browsers.WIDE, "390": browsers.NARROW}
THEMES = ("light", "dark")
TALLEST = 3000
# Bars over time scroll sideways where they have to; what else is wider than its card is cut off there.
CUT_OFF = """() => [...document.querySelectorAll(".tablebox__scroll:not(:has(> .table--bars))")]
    .filter((box) => box.scrollWidth > box.clientWidth + 1)
    .map((box) => `a table of ${box.scrollWidth} pixels in a card of ${box.clientWidth}`)"""
NOWHERE = Landmarks("", "", "", 0, 0, 0, "", 0, (), 0)


class CannotBePictured(Exception):
    """A page did not come, is wider than the window, or complained; with its address and the reason."""


@dataclass(frozen=True)
class Subject:
    """What one picture shows: a page, perhaps after somebody did something there; ``status`` as it is answered.

    ``medium`` print: as it comes out on paper.
    """

    name: str
    path: str
    act: Callable[[Any], None] | None = None
    status: int = 200
    medium: str = "screen"


def subjects(scene: Scene) -> list[Subject]:
    """All pages that there can be of a scene; where there is nothing, those that are about nothing particular."""
    spots = scene.landmarks or Landmarks(scene.experiment, scene.role, "", 0, 0, 0, "", 0, (), 0)
    found = [Subject(file_name(look.name), look.path(spots)) for look in pages.looks() if scene.landmarks or not
             is_about_something(look)]
    return found + [subject for subject, _ in further(scene, spots)]


def is_about_something(look: Look) -> bool:
    """Does the page ask for one thing, such as a campaign?"""
    places = {"campaign", "stage", "submission", "old", "half"}
    return any(param.required and name not in ("search_term", "user") for name, param in look.route.arguments.items()) \
        or any(value in places for value in look.given.values())


def further(scene: Scene, spots: Landmarks) -> list[tuple[Subject, str]]:
    """Pages that are reached by doing something, each with the template that nothing else shows."""
    def at(word: str, *path: object, role: str = scene.role) -> str:
        return "/".join(["/poms", word, scene.experiment, role, *map(str, path)])

    found = [(Subject("error not found", at("campaign", 999_999), status=404), "error.html"),
             (Subject("upload with mistakes", at("campaigns"), _upload_mistakes, status=200), "upload_result.html"),
             (Subject("people as superuser", at("people", role="superuser")), ""),
             (Subject("nothing fits", at("people") + "?text=nobody+at+all&view=all"), ""),
             (Subject("dashboard on paper", at("dashboard"), medium="print"), "")]
    if scene.landmarks:
        found += [
            (Subject("bulk question", at("campaigns") + f"?made_as={scene.role}", _ask_about_all), "bulk.html"),
            (Subject("editor form", at("campaign_edit", spots.campaign_id), _open_form), ""),
            (Subject("campaign menu", at("campaign", spots.campaign_id), _open_menu), ""),
            (Subject("person as superuser", at("person", spots.username, role="superuser")), ""),
            (Subject("campaigns row menu", at("campaigns"), _open_row_menu), ""),
            (Subject("campaigns row question", at("campaigns"), _ask_about_a_row), ""),
            (Subject("campaigns chosen", at("campaigns"), _choose_all), ""),
            (Subject("campaign on paper", at("campaign", spots.campaign_id), medium="print"), ""),
            (Subject("submission on paper", at("submission", spots.submission_id), medium="print"), "")]
    return found


@dataclass
class Camera:
    """A window of one size and theme on one scene."""

    scene: Scene
    tab: Any
    complaints: list[str]

    def take(self, subject: Subject, file: Path | None = None, *, whole: bool = True) -> bytes:
        """A picture as PNG; raises CannotBePictured. ``whole``: the page down to its end, not only the window."""
        from playwright.sync_api import Error

        try:
            return self._take(subject, file, whole=whole)
        except Error as problem:
            raise CannotBePictured(f"{subject.path}: {str(problem).splitlines()[0]}") from problem

    def _take(self, subject: Subject, file: Path | None, *, whole: bool) -> bytes:
        self.complaints.clear()
        self.tab.emulate_media(media=subject.medium)
        answer = self.tab.goto(self.scene.address + subject.path)
        if answer is None or answer.status != subject.status:
            raise CannotBePictured(f"{subject.path}: answered with {answer and answer.status}")
        self._settle()
        if subject.act:
            subject.act(self.tab)
            self._settle()
        width, window, height = self.tab.evaluate(
            "() => [document.documentElement.scrollWidth, innerWidth, document.documentElement.scrollHeight]")
        if width > window:
            raise CannotBePictured(f"{subject.path}: {width} pixels wide in a window of {window}")
        if cut_off := self.tab.evaluate(CUT_OFF):
            raise CannotBePictured(f"{subject.path}: {'; '.join(cut_off)}")
        if self.complaints:
            raise CannotBePictured(f"{subject.path}: {'; '.join(self.complaints)}")
        size = self.tab.viewport_size
        # A dialog covers the window, however long the page behind it is.
        if whole and not subject.act:
            # What is fixed to the window's edge belongs to the end of the picture, not into its middle.
            self.tab.set_viewport_size({**size, "height": max(size["height"], min(height, TALLEST))})
        try:
            return bytes(self.tab.screenshot(path=file, animations="disabled", caret="hide"))
        finally:
            self.tab.set_viewport_size(size)

    def _settle(self) -> None:
        """Until scripts have done what they do at the beginning."""
        self.tab.wait_for_function(
            "() => document.fonts.status === 'loaded' && !document.querySelector('[data-editor]:not([data-ready])')")
        self.tab.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def cameras(browser: Any, scene: Scene, sizes: Sequence[str],
            themes: Sequence[str]) -> Iterator[tuple[str, str, Camera]]:
    """A camera for each size and theme, one after the other."""
    for size in sizes:
        width, height = SIZES[size]
        for theme in themes:
            context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=theme,
                                          reduced_motion="reduce", locale="en-GB", timezone_id="UTC")
            try:
                tab = context.new_page()
                yield size, theme, Camera(scene, tab, browsers.complaints_of(tab))
            finally:
                context.close()


def file_name(name: str) -> str:
    """A name for files, made of a page's name."""
    return "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in name.replace("=", "-"))


def as_webp(browser: Any, picture: bytes, *, quality: float = 0.85) -> bytes:
    """The same picture as WebP, made by the browser."""
    tab = browser.new_page()
    try:
        made = tab.evaluate("""async ([data, quality]) => {
            const image = new Image();
            image.src = `data:image/png;base64,${data}`;
            await image.decode();
            const canvas = document.createElement("canvas");
            [canvas.width, canvas.height] = [image.width, image.height];
            canvas.getContext("2d").drawImage(image, 0, 0);
            return canvas.toDataURL("image/webp", quality).split(",")[1];
        }""", [base64.b64encode(picture).decode(), quality])
        return base64.b64decode(made)
    finally:
        tab.close()


# ---------------------------------------------------------------------------------- what is done there


def _upload_mistakes(tab: Any) -> None:
    tab.set_input_files("input[type=file]", {
        "name": "wrong.ini", "mimeType": "text/plain",
        "buffer": b"[campaign]\nname = wrong\n\n[campaign_stage gen]\ncompletion_pct = 200\njob_typ = lar\n"})
    with tab.expect_navigation():
        tab.evaluate("() => document.querySelector('input[type=file]').form.requestSubmit()")


def _choose_all(tab: Any) -> None:
    tab.evaluate("() => document.querySelectorAll('main tbody .pick input:enabled').forEach((box) => {"
                 " box.checked = true; box.dispatchEvent(new Event('change', { bubbles: true })); })")


def _open_row_menu(tab: Any) -> None:
    tab.locator(".menu--row > summary").first.click()


def _ask_about_a_row(tab: Any) -> None:
    _open_row_menu(tab)
    tab.locator(".menu--row[open] a[data-ask=row-clone]").click()
    tab.locator("#row-clone:popover-open, #row-clone[open]").first.wait_for()


def _ask_about_all(tab: Any) -> None:
    _choose_all(tab)
    with tab.expect_navigation() as seen:
        tab.locator(".bulk button[name=act][value=deactivate]").click()
    if seen.value.status != 200:
        raise CannotBePictured(f"the question about all was answered with {seen.value.status}")


def _open_form(tab: Any) -> None:
    tab.locator("[data-node]:not([data-node=home])").last.focus()
    tab.keyboard.press("Enter")
    tab.locator("dialog[open]").wait_for()


def _open_menu(tab: Any) -> None:
    tab.locator("main [popovertarget]:visible").last.click()
