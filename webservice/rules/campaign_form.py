"""A campaign text as a form that an editor changes, and the changed form back into the text.

The form holds the texts of keys as they are written, so nothing is interpreted twice: what a text means is
``campaign_text``'s. Invariant: ``apply(d, form_of(d))`` is ``d``; other lines than those of what changed
stay byte for byte.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from poms.webservice.errors import Invalid, Problem
from poms.webservice.rules.campaign_text import (
    Dependency,
    Document,
    NodePosition,
    rename_stage,
    update_document,
    values,
)
from poms.webservice.rules.campaign_text.model import DEFAULT_KEYS, STAGE_KEYS
from poms.webservice.rules.campaign_text.reading import CAMPAIGN_KEYS, JOB_TYPE_KEYS, LOGIN_SETUP_KEYS, read

NAMED = {"stages": ("campaign_stage", tuple(STAGE_KEYS)), "login_setups": ("login_setup", LOGIN_SETUP_KEYS),
         "job_types": ("job_type", JOB_TYPE_KEYS)}
"""List of the form -> kind of section, and the keys of one."""

EDITABLE = ("name", "campaign_type", "data_handling_service", "campaign_keywords")
MOST = 5000

_SHARED = ("data_handling_service", "campaign_keywords")
_SETTINGS = ("sam_settings", "data_dispatcher_settings")
_OTHER_SHORT = {"data_dispatcher_dataset_query": "query", "data_dispatcher_project_virtual": "project_virtual"}


@dataclass(frozen=True, slots=True)
class Block:
    """A stage, login setup or job type: its name, the one it had in the text (``was``), and the keys it states."""

    name: str
    was: str = ""
    values: Mapping[str, str] | None = None

    @property
    def stated(self) -> Mapping[str, str]:
        return self.values or {}


@dataclass(frozen=True, slots=True)
class Form:
    """Everything of a campaign text that the editor can change."""

    campaign: Mapping[str, str]
    defaults: Mapping[str, str]
    stages: tuple[Block, ...]
    login_setups: tuple[Block, ...]
    job_types: tuple[Block, ...]
    dependencies: tuple[Dependency, ...]
    positions: tuple[NodePosition, ...]


@dataclass(frozen=True, slots=True)
class Edited:
    """The changed document, and the changes that the syntax cannot express and that are therefore not in it."""

    document: Document
    problems: tuple[Problem, ...] = ()


# ------------------------------------------------------------------------------------ text to form


def form_of(document: Document) -> Form:
    """The form of a text; a key that means nothing where it stands (``None`` without a default) is left out."""
    campaign = read(document).campaign
    section = document.section("campaign")
    stated = {key: section.values[key].strip() for key in EDITABLE
              if section and not values.is_unset(section.values.get(key))}
    for key in _SHARED:
        text = document.value("campaign_defaults", key)
        if key not in stated and not values.is_unset(text):
            stated[key] = (text or "").strip()
    return Form(stated, _defaults_of(document), _blocks_of(document, "stages"), _blocks_of(document, "login_setups"),
                _blocks_of(document, "job_types"), campaign.dependencies, campaign.node_positions)


def _blocks_of(document: Document, which: str) -> tuple[Block, ...]:
    kind, keys = NAMED[which]
    found = []
    for section in document.of_kind(kind):
        if not section.name:
            continue
        stated = {key: section.values[key].strip() for key in keys if _counts(which, key, section.values.get(key))}
        if which == "stages":
            for key, text in _settings_of(document, section.title).items():
                stated.setdefault(key, text)
        found.append(Block(section.name, section.name, stated))
    return tuple(found)


def _counts(which: str, key: str, text: str | None) -> bool:
    """Whether a text in a section says something: ``None`` does where it overrules a default."""
    if text is None or not text.strip():
        return False
    return not values.is_unset(text) or (which == "stages" and STAGE_KEYS[key].none_counts)


def _settings_of(document: Document, title: str) -> dict[str, str]:
    """What the JSON settings objects of older texts state, in the spelling of the plain keys."""
    stated: dict[str, str] = {}
    for written in _SETTINGS:
        try:
            settings = values.json_object(document.value(title, written) or "{}")
        except values.BadValue:
            continue
        for key, names in _SHORT.items():
            for name in names:
                if settings.get(name) not in (None, ""):
                    value = settings[name]
                    stated.setdefault(key, value if isinstance(value, str) else
                                      str(value) if not isinstance(value, list | dict) else values.compact(value))
    return stated


_SHORT: Mapping[str, tuple[str, ...]] = {
    "dataset_or_split_data": ("dataset_or_split_data",),
    **{key.name: tuple(name for name in (key.default_key, _OTHER_SHORT.get(key.name, "")) if name)
       for key in STAGE_KEYS.values() if key.default_key}}


def _places(key: str) -> list[tuple[str, str]]:
    """Where a default may stand, the first that states it counts."""
    places = [("campaign_defaults", key)]
    if key == "dataset_or_split_data":
        places.append(("sam_defaults", key))
    elif key in _SHORT:
        places += [("data_dispatcher_defaults", name) for name in _SHORT[key]]
    return places


def _defaults_of(document: Document) -> dict[str, str]:
    from_settings = _settings_of(document, "campaign_defaults")
    stated: dict[str, str] = {}
    for key in STAGE_KEYS:
        texts = [document.value(*place) for place in _places(key)]
        text = next((text.strip() for text in texts if text and not values.is_unset(text)), from_settings.get(key, ""))
        if text:
            stated[key] = text
        elif key == "dataset_or_split_data" and any(text and text.strip() for text in texts):
            # Only for the dataset it makes a difference that somebody wrote None.
            stated[key] = "None"
    return stated


# ------------------------------------------------------------------------------------ form to text


def apply(document: Document, wanted: Form) -> Edited:
    """The document changed to say what the form says. ``was`` of a block is its name in the document."""
    problems: list[Problem] = []

    def attempt(now: Document, change: Callable[[Document], Document]) -> Document:
        try:
            return change(now)
        except Invalid as invalid:
            problems.extend(invalid.problems)
            return now

    base = form_of(document)
    for which in NAMED:
        document = _rename(document, which, getattr(base, which), getattr(wanted, which), attempt)
        document = _remove_and_add(document, which, getattr(base, which), getattr(wanted, which), attempt)
    document = _set_campaign(document, base.campaign, wanted.campaign, attempt)
    document = _set_defaults(document, base.defaults, wanted.defaults, attempt)
    for which in NAMED:
        document = _set_blocks(document, which, getattr(wanted, which), attempt)
    document = attempt(document, lambda now: _with_graph(now, wanted))
    return Edited(document, tuple(problems))


Attempt = Callable[[Document, Callable[[Document], Document]], Document]


def _rename(document: Document, which: str, base: Iterable[Block], wanted: Iterable[Block],
            attempt: Attempt) -> Document:
    """Rename blocks, by way of names that nothing has where two exchange theirs."""
    kind, _ = NAMED[which]
    there = {block.name for block in base}
    renames = [(block.was, block.name) for block in wanted if block.was in there and block.was != block.name]

    def rename(now: Document, old: str, new: str) -> Document:
        if which == "stages":
            return rename_stage(now, old, new)
        return now.with_title(f"{kind} {old}", f"{kind} {new}")

    late: list[tuple[str, str]] = []
    for number, (old, new) in enumerate(renames):
        if new in there:
            between = f"being renamed {number}"
            document = rename(document, old, between)
            late.append((between, new))
        else:
            document = attempt(document, lambda now, old=old, new=new: rename(now, old, new))
    gone = there - {block.was for block in wanted}
    for name in gone & {new for _, new in late}:
        document = document.without_section(f"{kind} {name}")
    for between, new in late:
        document = attempt(document, lambda now, between=between, new=new: rename(now, between, new))
    return document


def _remove_and_add(document: Document, which: str, base: Sequence[Block], wanted: Sequence[Block],
                    attempt: Attempt) -> Document:
    kind, keys = NAMED[which]
    kept = {block.was for block in wanted}
    taken = {block.name for block in wanted if block.was in {each.name for each in base}}
    for block in base:
        if block.name not in kept and block.name not in taken:
            document = document.without_section(f"{kind} {block.name}")
    for block in wanted:
        if block.was not in {each.name for each in base}:
            entries = {key: block.stated[key] for key in keys if block.stated.get(key, "").strip()}
            document = attempt(document, lambda now, name=block.name, entries=entries: now.with_section(
                f"{kind} {_named(kind, name)}", entries))
    return document


def _named(kind: str, name: str) -> str:
    """The name, if it is one; an unnamed section would belong to nobody."""
    if not name.strip():
        raise Invalid(Problem(kind, f"A {kind.replace('_', ' ')} has no name; give it one.", code="bad-name"))
    return name


def _set_blocks(document: Document, which: str, wanted: Sequence[Block], attempt: Attempt) -> Document:
    kind, keys = NAMED[which]
    now_there = {block.name: block.stated for block in _blocks_of(document, which)}
    for block in wanted:
        stated = now_there.get(block.name)
        if stated is None:
            continue
        title = f"{kind} {block.name}"
        for key in keys:
            text = block.stated.get(key, "").strip()
            if text != stated.get(key, ""):
                document = attempt(document, lambda now, title=title, key=key, text=text: _set_key(
                    _without_setting(now, title, key), title, key, text, order=keys))
    return document


def _set_key(document: Document, title: str, key: str, text: str, *, order: Sequence[str] = ()) -> Document:
    if text:
        return document.with_value(title, key, text, order=order)
    return document.without_key(title, key)


def _without_setting(document: Document, title: str, key: str) -> Document:
    """Take a value out of the JSON settings objects of a section, so that the plain key alone states it."""
    for written in _SETTINGS:
        text = document.value(title, written)
        if key not in _SHORT or values.is_unset(text):
            continue
        settings = values.json_object(text or "")
        kept = {name: value for name, value in settings.items() if name not in _SHORT[key]}
        if kept != settings:
            document = document.with_value(title, written, values.object_text(kept))
    return document


def _set_campaign(document: Document, base: Mapping[str, str], wanted: Mapping[str, str],
                  attempt: Attempt) -> Document:
    for key in EDITABLE:
        text = wanted.get(key, "").strip()
        if text == base.get(key, ""):
            continue
        title = "campaign"
        if key in _SHARED and values.is_unset(document.value("campaign", key)) \
                and not values.is_unset(document.value("campaign_defaults", key)):
            title = "campaign_defaults"
        order = CAMPAIGN_KEYS if title == "campaign" else DEFAULT_KEYS
        document = attempt(document, lambda now, title=title, key=key, text=text, order=order: _set_key(
            now, title, key, text, order=order))
    return document


def _set_defaults(document: Document, base: Mapping[str, str], wanted: Mapping[str, str],
                  attempt: Attempt) -> Document:
    for key in STAGE_KEYS:
        text = wanted.get(key, "").strip()
        if text != base.get(key, ""):
            document = attempt(document, lambda now, key=key, text=text: _set_default(now, key, text))
    return document


def _set_default(document: Document, key: str, text: str) -> Document:
    """Set a default where it is stated, or where its kind is written; "" takes it away wherever it is."""
    places = _places(key)
    there = [place for place in places if not values.is_unset(document.value(*place))]
    document = _without_setting(document, "campaign_defaults", key)
    if not text:
        for title, name in places:
            document = document.without_key(title, name)
        return document
    home = places[1] if key in _SHORT and key != "dataset_or_split_data" else places[0]
    title, name = there[0] if there else home
    return document.with_value(title, name, text, order=DEFAULT_KEYS if title == "campaign_defaults" else ())


def _with_graph(document: Document, wanted: Form) -> Document:
    campaign = read(document).campaign
    return update_document(document, replace(campaign, dependencies=wanted.dependencies,
                                             node_positions=wanted.positions))


# ----------------------------------------------------------------------------------- form and JSON


def plain(form: Form) -> dict[str, Any]:
    """The form as plain values, as programs get it."""
    return {
        "campaign": dict(form.campaign), "defaults": dict(form.defaults),
        **{which: [{"name": block.name, "was": block.was, "values": dict(block.stated)}
                   for block in getattr(form, which)] for which in NAMED},
        "dependencies": [{"needs": each.needs, "consumer": each.consumer, "pattern": each.file_pattern}
                         for each in form.dependencies],
        "positions": [{"label": each.label, "x": each.x, "y": each.y} for each in form.positions],
    }


def form_from(sent: Any) -> Form:
    """The form that a program sent as plain values; raises Invalid for anything else."""
    top = _mapping(sent, "model")
    return Form(
        _texts(top.get("campaign", {}), "campaign", EDITABLE), _texts(top.get("defaults", {}), "defaults", STAGE_KEYS),
        *(tuple(_block(each, which) for each in _list(top.get(which, []), which)) for which in NAMED),
        tuple(_dependency(each) for each in _list(top.get("dependencies", []), "dependencies")),
        tuple(_position(each) for each in _list(top.get("positions", []), "positions")))


def _bad(where: str) -> Invalid:
    return Invalid(Problem(where, "The change cannot be read; load the page again.", code="malformed"))


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _bad(where)
    return value


def _list(value: Any, where: str) -> Sequence[Any]:
    if not isinstance(value, list) or len(value) > MOST:
        raise _bad(where)
    return value


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise _bad(where)
    return value


def _texts(value: Any, where: str, known: Iterable[str]) -> dict[str, str]:
    allowed = frozenset(known)
    texts = {}
    for key, text in _mapping(value, where).items():
        if key not in allowed:
            raise _bad(f"{where}/{str(key)[:100]}")
        texts[key] = _text(text, f"{where}/{key}")
    return texts


def _block(value: Any, which: str) -> Block:
    one = _mapping(value, which)
    return Block(_text(one.get("name"), which).strip(), _text(one.get("was", ""), which),
                 _texts(one.get("values", {}), which, NAMED[which][1]))


def _dependency(value: Any) -> Dependency:
    one = _mapping(value, "dependencies")
    needs, consumer, pattern = (_text(one.get(key), "dependencies").strip() for key in ("needs", "consumer", "pattern"))
    if not needs or not consumer:
        raise _bad("dependencies")
    return Dependency(consumer, needs, values.normal_pattern(pattern))


def _position(value: Any) -> NodePosition:
    one = _mapping(value, "positions")
    x, y = (one.get(axis) for axis in ("x", "y"))
    for number in (x, y):
        if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number) \
                or abs(number) >= 1e9:
            raise _bad("positions")
    return NodePosition(_text(one.get("label"), "positions"), round(float(x or 0), 1), round(float(y or 0), 1))


# ------------------------------------------------------------------------------- two people's edits


@dataclass(frozen=True, slots=True)
class Clash:
    """Something that both changed, each in another way; ``None`` is "not there"."""

    where: str
    base: str | None
    theirs: str | None
    mine: str | None


@dataclass(frozen=True, slots=True)
class Merged:
    """A form with the changes of both; where they clash, mine, or what one of them did not delete."""

    form: Form
    clashes: tuple[Clash, ...]


# One thing of a form by what it is (kind, name): the texts of its keys.
Things = dict[tuple[str, str], dict[str, str]]


def merge(base: Form, theirs: Form, mine: Form) -> Merged:
    """Both changes of ``base`` in one form, ready to be applied to the document of ``theirs``.

    A stage that I renamed is still the one that they know by its old name.
    """
    old, left, right = _things(base), _things(theirs), _things(mine)
    clashes: list[Clash] = []
    result: Things = {}
    for thing in dict.fromkeys((*left, *right)):
        before, there, here = old.get(thing), left.get(thing), right.get(thing)
        kept = _merge_thing(thing, before, there, here, clashes)
        if kept is not None:
            result[thing] = kept
    return Merged(_form(result, theirs), tuple(clashes))


def _merge_thing(thing: tuple[str, str], before: dict[str, str] | None, there: dict[str, str] | None,
                 here: dict[str, str] | None, clashes: list[Clash]) -> dict[str, str] | None:
    where = " ".join(thing).strip()
    if here in (before, there):
        return there
    if there == before or (thing[0] == "position" and here is not None):
        return here
    if here is None or there is None:
        clashes.append(Clash(where, _shown(before), _shown(there), _shown(here)))
        return there if here is None else here
    kept = {}
    for key in dict.fromkeys((*there, *here)):
        one, other, origin = there.get(key), here.get(key), (before or {}).get(key)
        text = one if other == origin else other
        if other != origin and one not in (origin, other):
            clashes.append(Clash(f"{where}/{key}".rstrip("/"), origin, one, other))
        if text is not None:
            kept[key] = text
    return kept


def _shown(texts: Mapping[str, str] | None) -> str | None:
    return None if texts is None else ", ".join(f"{key}={text}" for key, text in texts.items())


def _things(form: Form) -> Things:
    known_as = {block.name: block.was or block.name for block in form.stages}
    things: Things = {("campaign", ""): dict(form.campaign), ("campaign_defaults", ""): dict(form.defaults)}
    for which, (kind, _) in NAMED.items():
        for block in getattr(form, which):
            things[kind, block.was or block.name] = {"": block.name, **block.stated}
    for each in form.dependencies:
        pair = (known_as.get(each.consumer, each.consumer), known_as.get(each.needs, each.needs))
        key = "dependency", values.compact(pair)
        # A second dependency between the same two stages is another pattern of the first.
        things.setdefault(key, {})[f"pattern {len(things.get(key, ()))}"] = each.file_pattern
    for place in form.positions:
        things["position", known_as.get(place.label, place.label)] = {"": values.compact([place.x, place.y])}
    return things


def _form(things: Things, theirs: Form) -> Form:
    called = {name: texts[""] for (kind, name), texts in things.items() if kind == "campaign_stage"}
    gone = {block.name for block in theirs.stages} - set(called)
    in_theirs = {(NAMED[which][0], block.name) for which in NAMED for block in getattr(theirs, which)}

    def blocks(which: str) -> tuple[Block, ...]:
        kind = NAMED[which][0]
        return tuple(Block(texts[""], name if (kind, name) in in_theirs else "",
                           {key: text for key, text in texts.items() if key})
                     for (one, name), texts in things.items() if one == kind)

    dependencies, positions = [], []
    for (kind, name), texts in things.items():
        if kind == "dependency":
            consumer, needs = values.load(name)
            if not {consumer, needs} & gone:
                dependencies += [Dependency(called.get(consumer, consumer), called.get(needs, needs), pattern)
                                 for pattern in texts.values()]
        elif kind == "position" and name not in gone:
            x, y = values.load(texts[""])
            positions.append(NodePosition(called.get(name, name), float(x), float(y)))
    return Form(things["campaign", ""], things["campaign_defaults", ""], blocks("stages"), blocks("login_setups"),
                blocks("job_types"), tuple(dependencies), tuple(positions))
