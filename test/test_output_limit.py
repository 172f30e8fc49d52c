"""The service's own limit on what a launch prints holds whatever a back end would allow."""

from __future__ import annotations

import io

from poms.webservice.testing.fakes import installed_plugins
from poms.webservice.testing.fixtures import make_service


def test_a_launch_prints_no_more_than_the_service_allows(sqlite_database, tmp_path, clock):
    """[agent] max_output_bytes ends a launch although its batch system would take more."""
    service = make_service(sqlite_database, tmp_path, clock, plugins=installed_plugins("local_transport"),
                           text="[experiment chatty]\nlaunch_transport = local\n[agent]\nmax_output_bytes = 2000")
    log = io.BytesIO()

    result = service.core.backends.transport("chatty").run(
        "localhost", "", "yes", log=log, timeout_seconds=60, max_output_bytes=50_000_000)

    assert "2000 bytes" in result.reason
    assert len(log.getvalue()) == 2000
