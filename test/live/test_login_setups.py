"""A login setup tested in a real browser: pressed, followed while it runs, and found again in the list."""

from __future__ import annotations

import threading

import pytest

from poms.webservice.interfaces import TransportResult
from poms.webservice.services import login_setup_tests
from poms.webservice.services.blocks import LoginSetupChange, save_login_setup

pytestmark = pytest.mark.browser


def test_the_log_grows_while_the_test_runs(site, tab):
    """What the setup prints is on the page before it has ended; then the page says how it ended."""
    olive = site.world.person("olive")
    number = save_login_setup(site.core, olive, "here", LoginSetupChange(host="localhost", setup="true"), add=True)
    may_end = threading.Event()

    def run(host, account, script, *, log, **limits):
        log.write(b"the setup says hello\n")
        may_end.wait(120)
        return TransportResult(0, "", "The host was shut down.")

    site.world.fakes.transport.run = run
    tab.goto(site.url("login_setup", number))
    tab.click("button:text-is('Test this login setup')")
    tab.wait_for_selector("h1:text-is('Test of here')")
    (claimed,) = login_setup_tests.claim(site.core, "agent one", 1)
    agent = threading.Thread(target=login_setup_tests.work_on, args=(site.core, claimed))
    agent.start()

    tab.wait_for_selector("pre[data-log] >> text=the setup says hello")
    may_end.set()
    agent.join(60)
    tab.wait_for_selector("pre[data-log][data-done='yes'] >> text=The host was shut down.")

    tab.goto(site.url("login_setups"))
    tab.click("td >> text=failed")
    tab.wait_for_selector(".pagehead >> text=The host was shut down.")
