"""Names in texts, ``%(name)s``, of which nobody knows what they stand for: no launch could fill them in.

Only told, not forbidden: a campaign may be kept that is not launched. What the names become is ``rules.parameters``'.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from poms.webservice.errors import Invalid
from poms.webservice.rules import parameters
from poms.webservice.rules.campaign_text.model import Campaign

_LISTS = ("param_overrides", "test_param_overrides")
_KEYWORDS_ONLY = ("dataset_or_split_data", "software_version")


def unknown_words(campaign: Campaign) -> Iterator[tuple[str, str, str, str]]:
    """Section, key, code and message of each; what stages inherit is told once, with the defaults."""
    system = dict.fromkeys(parameters.SYSTEM_NAMES, "")
    words = {**dict.fromkeys(campaign.keywords, ""), **system}
    own = [("campaign_defaults", campaign.defaults, frozenset[str]())] if campaign.defaults else []
    own += [(f"campaign_stage {stage.name}", stage, stage.inherited) for stage in campaign.stages]
    for title, thing, inherited in own:
        for key in (*_LISTS, *_KEYWORDS_ONLY):
            value = None if key in inherited else getattr(thing, key)
            if key in _LISTS:
                yield from _faults(title, key, _joined(value), words)
            elif isinstance(value, str) and "%(" in value and ")s" in value:
                yield from _faults(title, key, value, campaign.keywords)
    for job_type in campaign.job_types:
        title = f"job_type {job_type.name}"
        for key, text in (("launch_script", job_type.launch_script), ("parameters", _joined(job_type.parameters)),
                          ("recoveries", "\n".join(_joined(pairs) for _, pairs in job_type.recoveries))):
            yield from _faults(title, key, text, words)
    for setup in campaign.login_setups:
        for key in ("host", "account", "setup"):
            yield from _faults(f"login_setup {setup.name}", key, getattr(setup, key), system)


def _joined(pairs: Any) -> str:
    return "\n".join(key + value for key, value in pairs or ())


def _faults(title: str, key: str, text: str, known: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    if "%" not in text:
        return
    try:
        parameters.substitute(text, dict.fromkeys(known, ""), key)
    except Invalid as invalid:
        for problem in invalid.problems:
            message = problem.message[:1].upper() + problem.message[1:]
            yield title, key, problem.code or "bad-substitution", f"No launch can fill this in: {message}."
