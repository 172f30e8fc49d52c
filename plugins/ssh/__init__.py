"""The ``ssh`` launch transport: runs launch scripts as other accounts on other hosts.

Not for copying files or for anything but launch scripts. Invariant: only an account on a host that the
operator listed is ever reached, and no text of a user becomes part of a command line here or there.
"""

from __future__ import annotations

from collections.abc import Callable

from poms.plugins.ssh.checks import check_surroundings
from poms.plugins.ssh.connection import SECTION
from poms.plugins.ssh.transport import SshTransport
from poms.webservice.hookspecs import hookimpl
from poms.webservice.interfaces import CheckResult, Offer, PluginContext, SettingsSection


@hookimpl
def poms_settings() -> list[SettingsSection]:
    return [SECTION]


@hookimpl
def poms_launch_transports() -> list[Offer]:
    return [Offer("ssh", "runs launch scripts as listed accounts on listed hosts, through ssh", SshTransport,
                  section=SECTION.name)]


@hookimpl
def poms_start_checks(context_for: Callable[[str, str], PluginContext]) -> list[CheckResult]:
    context = context_for("", SECTION.name)
    # Without a list nobody can be reached: the transport is installed, but not in use for all experiments.
    return check_surroundings(context) if context.options["allowed_hosts"] else []
