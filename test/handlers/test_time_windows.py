"""The time window of older requests: so many days that no calendar has them are refused."""

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from poms.webservice.errors import Invalid
from poms.webservice.handlers import legacy

NOW = datetime(2026, 3, 1, tzinfo=UTC)


class Asked(dict):
    """The arguments of a request, and the time at which it came."""

    core = SimpleNamespace(clock=lambda: NOW)


@pytest.mark.parametrize("since", [None, NOW])
@pytest.mark.parametrize("days", [10**12, -10**12, 10**9, -10**9])
def test_windows_beyond_the_calendar_are_refused(since, days):
    """Too many for a date, and too many for a number of days."""
    with pytest.raises(Invalid, match="tdays"):
        legacy._window(Asked(tmin=since, tmax=None, tdays=days))
