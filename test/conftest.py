"""Options of the test run and the shared fixtures; see ``poms.webservice.testing``."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["poms.webservice.testing.fixtures"]

settings.register_profile("poms", deadline=None, suppress_health_check=[HealthCheck.too_slow],
                          print_blob=True)
settings.load_profile("poms")

SCHEDULES_IN_THE_ORDINARY_RUN = 6
SECONDS_A_SCHEDULE = 180


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("poms")
    group.addoption("--schedules", type=int, default=None, metavar="N",
                    help="how many random fault schedules each test marked faults runs")
    group.addoption("--seed", type=int, default=1, metavar="S",
                    help="where the random fault schedules begin; the same seed gives the same schedules")
    group.addoption("--files", type=int, default=100, metavar="N",
                    help="how many files go through the chain of three stages")
    group.addoption("--steps", type=int, default=1500, metavar="N",
                    help="how many steps the state machine of the engine takes")


@pytest.fixture(scope="session")
def schedules(request: pytest.FixtureRequest) -> int:
    """How many random fault schedules to run."""
    return request.config.getoption("--schedules") or SCHEDULES_IN_THE_ORDINARY_RUN


@pytest.fixture(scope="session")
def long_schedules(request: pytest.FixtureRequest) -> int:
    """The same for schedules that take about a minute each: one in the ordinary run."""
    return request.config.getoption("--schedules") or 1


@pytest.fixture(scope="session")
def steps(request: pytest.FixtureRequest) -> int:
    """How many steps the state machine of the engine takes."""
    return request.config.getoption("--steps")


@pytest.fixture(scope="session")
def chain_files(request: pytest.FixtureRequest) -> int:
    """How many files go through the chain of three stages."""
    return request.config.getoption("--files")


@pytest.fixture(scope="session")
def seed(request: pytest.FixtureRequest) -> int:
    """The number from which every random choice of a fault schedule follows."""
    return request.config.getoption("--seed")


# What takes minutes begins first, so that no worker is left with it alone at the end.
LONG = ("scenarios", "htcondor", "test_bench", "test_faults", "test_sample_plugin", "test_scripts")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests that run many schedules may take as much longer as there are schedules."""
    items.sort(key=lambda item: not any(name in item.nodeid for name in LONG))
    schedules = config.getoption("--schedules") or SCHEDULES_IN_THE_ORDINARY_RUN
    for item in items:
        if item.get_closest_marker("faults"):
            item.add_marker(pytest.mark.timeout(300 + SECONDS_A_SCHEDULE * schedules))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was not tested and why (a skip that nobody sees looks like a success), and what faults there were."""
    _tell_faults(terminalreporter)
    reasons: dict[str, int] = {}
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reasons[reason] = reasons.get(reason, 0) + 1
    if reasons:
        terminalreporter.section("not tested here")
        for reason, count in sorted(reasons.items()):
            terminalreporter.line(f"{count} skipped: {reason.removeprefix('Skipped: ')}")


def _tell_faults(terminalreporter: pytest.TerminalReporter) -> None:
    """What the random fault schedules did, added up over the tests that played them."""
    told: Counter[str] = Counter()
    for report in terminalreporter.stats.get("passed", []):
        for name, figures in report.user_properties:
            if name == "faults":
                told.update(figures)
    if told:
        terminalreporter.section("fault schedules")
        for what, count in sorted(told.items()):
            terminalreporter.line(f"{count:8,} {what}")
