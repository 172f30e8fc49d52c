"""Campaign texts as people write them: a plain one, and generated ones of which each is valid, and none is tidy.

For tests that send texts to a service. Texts that are only to be parsed, valid or not, are generated where the
parser is tested. Every text brings the login setups and job types that its stages need.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from hypothesis import strategies as st

names = st.text("abcXYZ 019'\"$()é日%#;=:,.-_", min_size=1, max_size=10).map(str.strip).filter(
    lambda name: name and name.lower() != "none")
words = st.text("abc019_%$()'\"{},#=é日/.-", min_size=1, max_size=12).filter(lambda word: word.lower() != "none")
pairs = st.lists(st.tuples(words, words), max_size=2)
comments = st.sampled_from(["", "", "  ", "# a comment", "; another = one", "   # [indented]", "#", "# é日"])
VALUES = {
    "vo_role": st.sampled_from(["Production", "Analysis"]), "software_version": words,
    "dataset_or_split_data": st.one_of(words, st.just("None")),
    "cs_split_type": st.sampled_from(["None", "nfiles(5)", "drainingn(3)", "mod(4)", "nfiles( 7 )"]),
    "test_split_type": st.sampled_from(["None", "nfiles(1)"]),
    "completion_type": st.sampled_from(["located", "complete"]),
    "completion_pct": st.sampled_from(["95", "100", "0.5", "99.9", "50.0"]),
    "stage_type": st.sampled_from(["regular", "test", "generator", "approval"]),
    "start_when": st.sampled_from(["None", "500 files", "10% or 2h"]),
    "scout": st.sampled_from(["None", "10 files", "5 files, 80%, memory x1.3, time, always"]),
    "output_ancestor_depth": st.sampled_from(["1", "2", "07"]),
    "merge_overrides": st.sampled_from(["True", "False", "yes", "0"]),
    "default_clear_cronjob": st.sampled_from(["True", "False"]),
}
NEEDED = ("vo_role", "software_version", "dataset_or_split_data", "completion_type", "completion_pct")


@dataclass(frozen=True)
class Written:
    """A text, its campaign's name, the names of its stages in order, and one of its values written otherwise."""

    text: str
    name: str
    stages: tuple[str, ...]
    changed_text: str


def pairs_text(items: list[tuple[str, str]]) -> str:
    """A parameter list in JSON, as forms write it."""
    return json.dumps([list(item) for item in items], ensure_ascii=False)


def plain(stages: Mapping[str, str], *, name: str = "typed", dataset: str = "None", defaults: str = "",
          dependencies: str = "", script: str = "fife_launch") -> str:
    """A text of which each line can be found and replaced; ``stages`` and ``defaults`` with further lines of theirs."""
    return f"""[campaign]
experiment = samdev
name = {name}
campaign_stage_list = {",".join(stages)}
[campaign_defaults]
vo_role = Production
software_version = v1
dataset_or_split_data = {dataset}
completion_type = complete
completion_pct = 95
login_setup = here
job_type = work
{defaults}{"".join(f"[campaign_stage {stage}]{chr(10)}{lines}" for stage, lines in stages.items())}{dependencies}\
[login_setup here]
host = localhost
account = samdevpro
setup = true
[job_type work]
launch_script = {script}
"""


@st.composite
def written(draw: st.DrawFn) -> Written:
    """A valid campaign of one to four stages, with comments, odd spacing and any line ends."""
    names_of_stages = draw(st.lists(names, min_size=1, max_size=4, unique=True))
    setups = draw(st.lists(names, min_size=1, max_size=2, unique=True))
    job_types = draw(st.lists(names, min_size=1, max_size=2, unique=True))
    name, sections = draw(names), []
    sections.append(("campaign", [("name", name)] + ([("campaign_keywords", "{}")] if draw(st.booleans()) else [])))
    defaults = {key: draw(VALUES[key]) for key in NEEDED}
    defaults |= {"login_setup": draw(st.sampled_from(setups)), "job_type": draw(st.sampled_from(job_types))}
    sections.append(("campaign_defaults", list(defaults.items())))
    for stage in names_of_stages:
        stated = draw(st.sets(st.sampled_from(sorted(VALUES)), max_size=4))
        values = {key: draw(VALUES[key]) for key in sorted(stated)}
        if values.get("stage_type") in ("generator", "approval"):
            values.pop("scout", None)  # They have no dataset of which a part could go first.
        entries = list(values.items())
        if draw(st.booleans()):
            entries.append(("param_overrides", pairs_text(draw(pairs))))
        if draw(st.booleans()):
            entries.append(("job_type", draw(st.sampled_from(job_types))))
        sections.append((f"campaign_stage {stage}", entries))
    for setup in setups:
        sections.append((f"login_setup {setup}", [("host", "localhost"), ("account", "samdevpro"),
                                                  ("setup", f"export A={draw(words)}")]))
    for job_type in job_types:
        sections.append((f"job_type {job_type}", [("launch_script", f"run {draw(words)}"),
                                                  ("parameters", pairs_text(draw(pairs))),
                                                  ("output_file_patterns", "%.root")]))
    for number, consumer in enumerate(names_of_stages[1:]):
        if draw(st.booleans()):
            needs = draw(st.sampled_from(names_of_stages[:number + 1]))
            sections.append((f"dependencies {consumer}", [("campaign_stage_1", needs), ("file_pattern_1", "%.root")]))
    return _written(draw, sections, name, tuple(names_of_stages))


def _written(draw: st.DrawFn, sections: list[tuple[str, list[tuple[str, str]]]], name: str,
             stages: tuple[str, ...]) -> Written:
    lines: list[tuple[str, str]] = []
    for title, entries in sections:
        lines += [(line, line) for line in draw(st.lists(comments, max_size=2))]
        lines.append((f"[{title}]",) * 2)
        for key, value in entries:
            lead = key + draw(st.sampled_from(["=", " = ", ": ", "   =", "=  "]))
            other = f"{value}x" if (title, key) == ("campaign_defaults", "software_version") else value
            tail = draw(st.sampled_from(["", "", "  "]))
            lines.append((lead + value + tail, lead + other + tail))
            lines += [(line, line) for line in draw(st.lists(comments, max_size=1))]
    end = draw(st.sampled_from(["\n", "\r\n"]))
    mark = draw(st.sampled_from(["", "", "\ufeff"]))
    last = draw(st.sampled_from([end, end, ""]))
    texts = [mark + end.join(line[which] for line in lines) + last for which in (0, 1)]
    return Written(texts[0], name, stages, texts[1])
