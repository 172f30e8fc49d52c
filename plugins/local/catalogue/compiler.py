"""From the tree of a query to one SQL statement. Everything a user wrote travels as a bound parameter.

A query is compiled as a condition on a row of ``catalogue_files``; parts that are cut (limit, offset,
stride) are subqueries. With no availability said, files must be good and located, except in a frozen set
(snapshot, project), a definition, or a part that says its own: these are never filtered a second time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    Connection,
    FromClause,
    Select,
    and_,
    exists,
    func,
    literal,
    not_,
    or_,
    select,
    true,
    union_all,
)

from poms.webservice.errors import Invalid, NotFound

from . import conditions, language, tables
from .conditions import Column
from .language import AllOf, AnyOf, Combined, Definition, Dimension, Modified, Negated, Node, Relative, Value
from .vocabulary import ALWAYS_KNOWN_PARAMETERS, DIMENSIONS, DimensionType, suggestion

MAX_EXPANDED_TERMS = 600
SNAPSHOT_IDENTITIES = ("snapshot_id", "dataset_def_name", "dataset_def_id")
# SQLite reads neither a hundred nested parentheses nor five hundred selects in one union.
NESTED_SELECTS = 3
NESTED_CONDITIONS = 8
UNITED_AT_ONCE = 200
PROJECT_IDENTITIES = ("project_name", "project_id")
PROJECT_SNAPSHOTS = ("snapshot_for_project_name", "snapshot_for_project_id")
FROZEN_PLACES = ("snapshot", "frozen", "project", "process")


class Compiler:
    """Compiles queries of one experiment, looking up definitions and projects over one connection."""

    def __init__(self, connection: Connection, experiment: str) -> None:
        self._connection = connection
        self._experiment = experiment
        self._dialect = connection.dialect.name
        self._text = ""
        self._open: list[str] = []
        self._shared: dict[str, CTE | None] = {}
        self._terms = 0
        self._nesting = 0

    # ------------------------------------------------------------------------------- what is asked

    def file_ids(self, text: str) -> Select[Any]:
        """The numbers of the files of a query, in no order."""
        return self._start(text, lambda node: self._ids(node, implied=True))

    def rows(self, text: str, *columns: str) -> Select[Any]:
        """Columns of the files of a query, in the fixed order: by file number."""
        def build(node: Node) -> Select[Any]:
            source = tables.files.alias()
            found = select(*(source.c[column] for column in columns)).order_by(source.c.file_id)
            if isinstance(node, Modified) and node.is_cut:
                return found.where(source.c.file_id.in_(self._ids(node, implied=True)))
            return found.where(self._universe(source), self._condition(node, source, implied=True))
        return self._start(text, build)

    def check(self, text: str, *, within: str = "") -> None:
        """Raise what is wrong with a query, as the text of the definition ``within`` if that is given."""
        self._open = [within] if within else []
        try:
            self.file_ids(text)
        finally:
            self._open = []

    def _start(self, text: str, build: Callable[[Node], Select[Any]]) -> Select[Any]:
        self._text, self._terms, self._shared, self._nesting = text, 0, {}, 0
        try:
            return build(self._parsed(text))
        except language.Unreadable as problem:
            raise language.located(self._text, problem.position, problem.message) from None

    def _parsed(self, text: str) -> Node:
        node = language.parse(text)
        self._terms += len(language.walk(node))
        if self._terms > MAX_EXPANDED_TERMS:
            raise Invalid(f"query limit: with the definitions it refers to, the query has more than "
                          f"{MAX_EXPANDED_TERMS} terms")
        return node

    # ------------------------------------------------------------------------------------- sets

    def _universe(self, source: FromClause) -> Column:
        return and_(source.c.experiment == self._experiment, source.c.retired_at.is_(None))

    def _ids(self, node: Node, *, implied: bool) -> Select[Any]:
        source = tables.files.alias()
        if isinstance(node, Modified) and node.is_cut:
            return self._cut(node)
        found = select(source.c.file_id).where(
            self._universe(source), self._condition(node, source, implied=implied))
        return self._aside(found)

    def _aside(self, found: Select[Any]) -> Select[Any]:
        """What is nested deeply is written beside the statement, in its WITH, and only named in it."""
        return select(found.cte().c.file_id) if self._nesting > NESTED_SELECTS else found

    def _cut(self, node: Modified) -> Select[Any]:
        """Offset, then stride, then limit, over the files in their fixed order."""
        source = tables.files.alias()
        whole = select(source.c.file_id).where(self._universe(source), self._available(node, source))
        if node.stride > 1:
            place = (func.row_number().over(order_by=source.c.file_id) - 1).label("place")
            numbered = whole.add_columns(place).subquery()
            after = numbered.c.place - literal(node.offset, BigInteger)
            taken = select(numbered.c.file_id).where(after >= 0, after % literal(node.stride, BigInteger) == 0)
            taken = taken.order_by(numbered.c.file_id)
        else:
            taken = whole.order_by(source.c.file_id)
            if node.offset:
                taken = taken.offset(literal(node.offset, BigInteger))
        if node.limit is not None:
            taken = taken.limit(literal(node.limit, BigInteger))
        return self._aside(select(taken.subquery().c.file_id))

    def _available(self, node: Modified, source: FromClause) -> Column:
        """The files of what stands before ``with``, of the availability that it says."""
        if not node.availability:
            return self._condition(node.item, source, implied=True)
        named = [_availability(word, source) for word in node.availability]
        return and_(self._condition(node.item, source, implied=False), or_(*named))

    # -------------------------------------------------------------------------------- conditions

    def _condition(self, node: Node, source: FromClause, *, implied: bool) -> Column:
        """``implied``: the default availability applies to what has none of its own."""
        if self._nesting > language.MAX_DEPTH:
            raise Invalid(f"query limit: with the definitions it refers to, the query is nested more than "
                          f"{language.MAX_DEPTH} deep")
        self._nesting += 1
        try:
            if self._nesting % NESTED_CONDITIONS == 0:
                return source.c.file_id.in_(self._ids(node, implied=implied))
            return self._condition_of(node, source, implied=implied)
        finally:
            self._nesting -= 1

    def _condition_of(self, node: Node, source: FromClause, *, implied: bool) -> Column:
        if isinstance(node, Modified):
            if node.is_cut:
                return source.c.file_id.in_(self._cut(node))
            return self._available(node, source)
        if isinstance(node, AnyOf):
            return self._any(node.items, source, implied=implied)
        if isinstance(node, Combined):
            return self._combined(node, source, implied=implied)
        if isinstance(node, Definition):
            return self._definition(node, source)
        if isinstance(node, Negated):
            found = self._without(node.item, source)
        elif isinstance(node, Relative):
            found = source.c.file_id.in_(self._relatives(node))
        else:
            found = self._group(node.items if isinstance(node, AllOf) else (node,), source)
        if implied and not self._governed(node):
            return and_(_availability("default", source), found)
        return found

    def _governed(self, node: Node) -> bool:
        """Do its files carry an availability of their own?"""
        if isinstance(node, Modified | Definition):
            return True
        if isinstance(node, Dimension):
            return node.name in DIMENSIONS and DIMENSIONS[node.name].place in FROZEN_PLACES
        if isinstance(node, AllOf):
            return any(self._governed(item) for item in node.items)
        if isinstance(node, AnyOf):
            return all(self._governed(item) for item in node.items)
        if isinstance(node, Combined):
            if node.operator == "union":
                return self._governed(node.left) and self._governed(node.right)
            return self._governed(node.left) or (node.operator == "intersect" and self._governed(node.right))
        return False

    def _any(self, items: Sequence[Node], source: FromClause, *, implied: bool) -> Column:
        if all(self._is_simple(item) for item in items):
            return conditions.any_of([self._condition(item, source, implied=implied) for item in items])
        # A union of subqueries is planned well where alternatives of subqueries are not.
        found = [self._ids(item, implied=implied) for item in items]
        return conditions.any_of([source.c.file_id.in_(union_all(*found[start:start + UNITED_AT_ONCE]))
                                  for start in range(0, len(found), UNITED_AT_ONCE)])

    def _combined(self, node: Combined, source: FromClause, *, implied: bool) -> Column:
        if node.operator == "union":
            return self._any((node.left, node.right), source, implied=implied)
        if node.operator == "intersect":
            both = [self._condition(side, source, implied=False) for side in (node.left, node.right)]
            if implied and not self._governed(node):
                both.append(_availability("default", source))
            return and_(*both)
        return and_(self._condition(node.left, source, implied=implied), self._without(node.right, source))

    def _without(self, node: Node, source: FromClause) -> Column:
        """Every file but those of the node, also files that have no value to compare."""
        if self._is_simple(node):
            return self._condition(node, source, implied=False).is_not(true())
        # Whether the rows left out are files of this experiment, and not retired, is asked of the others already.
        excluded = self._snapshot_record([node]) if self._is_snapshot(node) else self._ids(node, implied=False)
        if self._dialect == "sqlite":
            return source.c.file_id.not_in(excluded)
        # PostgreSQL makes an anti-join of this, and a list in memory of NOT IN.
        inner = excluded.subquery()
        return not_(exists(select(1).select_from(inner).where(inner.c.file_id == source.c.file_id)))

    def _is_snapshot(self, node: Node) -> bool:
        """Is it nothing but the files of snapshots, by their numbers?"""
        return isinstance(node, Dimension) and node.name == "snapshot_id"

    def _is_simple(self, node: Node) -> bool:
        """Does it need the row of the file alone?"""
        if isinstance(node, Dimension):
            return node.name in DIMENSIONS and DIMENSIONS[node.name].place == "file"
        if isinstance(node, AllOf | AnyOf | Negated):
            return all(self._is_simple(part) for part in language.parts(node))
        return isinstance(node, Modified) and not node.is_cut and self._is_simple(node.item)

    # ------------------------------------------------------------------------------- definitions

    def _definition(self, node: Definition, source: FromClause) -> Column:
        """The files that the definition gives now, with its own modifiers applied inside.

        One that is named several times is worked out once more and then shared: definitions that
        double each other do not grow without bounds.
        """
        if node.name not in self._shared or node.name in self._open:
            self._shared[node.name] = None
            return self._expanded(node, lambda body: self._condition(body, source, implied=True))
        shared = self._shared[node.name]
        if shared is None:
            shared = self._expanded(node, lambda body: self._ids(body, implied=True)).cte()
            self._shared[node.name] = shared
        return source.c.file_id.in_(select(shared.c.file_id))

    def _expanded(self, node: Definition, build: Callable[[Node], Any]) -> Any:
        """Build something of what the definition says."""
        if node.name in self._open:
            chain = " -> ".join([*self._open, node.name])
            raise Invalid(f"the definition {node.name!r} refers to itself: {chain}")
        outer = self._text
        self._open.append(node.name)
        try:
            # A mistake inside is shown in the text of that definition.
            self._text = self._definition_text(node)
            return build(self._parsed(self._text))
        except language.Unreadable as problem:
            raise language.located(self._text, problem.position, f"in the definition {node.name!r}: {problem.message}"
                                   ) from None
        finally:
            self._open.pop()
            self._text = outer

    def _definition_text(self, node: Definition) -> str:
        table = tables.definitions
        dims = self._connection.scalar(
            select(table.c.dims).where(table.c.experiment == self._experiment, table.c.name == node.name))
        if dims is None:
            raise NotFound(f"there is no definition {node.name!r} in the catalogue of {self._experiment}")
        return dims

    # ----------------------------------------------------------------------------------- lineage

    def _relatives(self, node: Relative) -> Select[Any]:
        link = tables.parentage.alias()
        known = self._ids(node.query, implied=True)
        if node.kind == "isparentof":
            return select(link.c.parent_id).where(link.c.child_id.in_(known))
        if node.kind == "ischildof":
            return select(link.c.child_id).where(link.c.parent_id.in_(known))
        near, far = (link.c.child_id, link.c.parent_id) if node.kind == "isancestorof" else (
            link.c.parent_id, link.c.child_id)
        # UNION, not UNION ALL: it also ends where somebody declared a circle.
        reached = select(far.label("file_id")).where(near.in_(known)).cte(recursive=True)
        next_link = tables.parentage.alias()
        step_near, step_far = (next_link.c.child_id, next_link.c.parent_id) if node.kind == "isancestorof" else (
            next_link.c.parent_id, next_link.c.child_id)
        reached = reached.union(select(step_far).join(reached, step_near == reached.c.file_id))
        return select(reached.c.file_id)

    # -------------------------------------------------------------------------------- dimensions

    def _group(self, items: Sequence[Node], source: FromClause) -> Column:
        """One ``and``: what is said of a project, or of a snapshot, in it speaks of one record."""
        typed = [(item, self._type(item)) for item in items if isinstance(item, Dimension)]
        snapshot = [item for item, kind in typed if kind and kind.place == "snapshot"]
        project = [item for item, kind in typed if kind and kind.place in ("project", "process")]
        frozen = [item for item, kind in typed if kind and kind.place == "frozen"]
        found: list[Column] = []
        for item in items:
            if not isinstance(item, Dimension):
                found.append(self._condition(item, source, implied=False))
            elif item not in snapshot and item not in project:
                found.append(self._dimension(item, source))
        found += [source.c.file_id.in_(record) for record in self._snapshot_records(snapshot)]
        found += [source.c.file_id.in_(record) for record in self._project_records(project, frozen)]
        return and_(true(), *found)

    def _type(self, dimension: Dimension) -> DimensionType | None:
        """Its type; None for an experiment's own parameter. Unknown names are refused here."""
        if dimension.name in DIMENSIONS:
            return DIMENSIONS[dimension.name]
        if dimension.name not in ALWAYS_KNOWN_PARAMETERS:
            table = tables.parameters
            known = self._connection.scalars(select(table.c.name).where(table.c.experiment == self._experiment)).all()
            if dimension.name not in known:
                raise language.Unreadable(f"there is no dimension '{dimension.name}': "
                                          f"{suggestion(dimension.name, known)}", dimension.position)
        return None

    def _dimension(self, dimension: Dimension, source: FromClause) -> Column:
        kind = self._type(dimension)
        if kind is None:
            return source.c.file_id.in_(self._parameter(dimension))
        if kind.place == "file":
            return self._compared(source.c[kind.column], dimension, kind)
        if kind.place == "frozen":
            return source.c.file_id.in_(self._frozen(dimension, kind))
        if kind.place == "parent":
            parent, link = tables.files.alias(), tables.parentage.alias()
            return source.c.file_id.in_(
                select(link.c.child_id).join(parent, parent.c.file_id == link.c.parent_id)
                .where(parent.c.experiment == self._experiment, self._compared(parent.c.file_name, dimension, kind)))
        table = {"run": tables.runs, "checksum": tables.checksums, "location": tables.locations}[kind.place].alias()
        if kind.kind == "run":
            condition = conditions.run_condition(table.c.run, table.c.subrun, dimension)
        else:
            condition = self._compared(table.c[kind.column], dimension, kind)
        return source.c.file_id.in_(
            select(table.c.file_id).where(table.c.experiment == self._experiment, condition))

    def _compared(self, column: Column, dimension: Dimension, kind: DimensionType) -> Column:
        if kind.kind == "number":
            return conditions.number_condition(column, dimension)
        if kind.kind == "time":
            return conditions.time_condition(column, dimension)
        return conditions.text_condition(column, dimension, self._dialect)

    def _parameter(self, dimension: Dimension) -> Select[Any]:
        table = tables.file_parameters.alias()
        return select(table.c.file_id).where(
            table.c.experiment == self._experiment, table.c.name == dimension.name,
            conditions.parameter_condition(table.c.value_text, table.c.value_number, dimension, self._dialect))

    # -------------------------------------------------------------------- snapshots and projects

    def _frozen(self, dimension: Dimension, kind: DimensionType) -> Select[Any]:
        """The files of the snapshot of a project, or of the newest snapshot of a definition."""
        members = tables.snapshot_files.alias()
        if kind.column == "newest":
            shots = tables.snapshots.alias()
            newest = (select(func.max(shots.c.snapshot_id)).where(
                shots.c.experiment == self._experiment,
                conditions.text_condition(shots.c.definition_name, dimension, self._dialect))
                .group_by(shots.c.definition_name))
        else:
            self._require(dimension, tables.projects, kind.column, "project")
            project = tables.projects.alias()
            newest = select(project.c.snapshot_id).where(
                project.c.experiment == self._experiment, self._compared(project.c[kind.column], dimension, kind))
        return select(members.c.file_id).where(members.c.snapshot_id.in_(newest))

    def _snapshot_records(self, dimensions: Sequence[Dimension]) -> list[Select[Any]]:
        """For each snapshot named in a group, its files that also have the numbers asked for."""
        named = [each for each in dimensions if each.name in SNAPSHOT_IDENTITIES]
        others = [each for each in dimensions if each not in named]
        return [self._snapshot_record([*one, *others]) for one in ([[each] for each in named] or [[]])
                if one or others]

    def _snapshot_record(self, dimensions: Sequence[Dimension]) -> Select[Any]:
        members, shots = tables.snapshot_files.alias(), tables.snapshots.alias()
        found = select(members.c.file_id).where(members.c.experiment == self._experiment)
        if any(each.name not in ("snapshot_id", "snapshot_file_number") for each in dimensions):
            found = found.join(shots, shots.c.snapshot_id == members.c.snapshot_id)
        for each in dimensions:
            kind = DIMENSIONS[each.name]
            if each.name == "snapshot_id":
                self._require(each, tables.snapshots, "snapshot_id", "snapshot")
            table = members if each.name in ("snapshot_id", "snapshot_file_number") else shots
            found = found.where(self._compared(table.c[kind.column], each, kind))
        return found

    def _project_records(self, dimensions: Sequence[Dimension], frozen: Sequence[Dimension]) -> list[Select[Any]]:
        """For each project named in a group, its files whose record there fits the rest of the group."""
        named = [each for each in dimensions if each.name in PROJECT_IDENTITIES]
        others = [each for each in dimensions if each not in named]
        if not named and others:
            named = [each for each in frozen if each.name in PROJECT_SNAPSHOTS]
        return [self._project_record([*one, *others]) for one in ([[each] for each in named] or [[]])
                if one or others]

    def _project_record(self, dimensions: Sequence[Dimension]) -> Select[Any]:
        members, project, process = tables.project_files.alias(), tables.projects.alias(), tables.processes.alias()
        found = select(members.c.file_id).where(members.c.experiment == self._experiment)
        places = {_record_place(each) for each in dimensions}
        if "process" in places:
            found = found.join(process, process.c.process_id == members.c.process_id)
        chosen = select(project.c.project_id).where(project.c.experiment == self._experiment)
        sources: dict[str, ColumnElement[Any] | Any] = {"member": members, "project": project, "process": process}
        for each in dimensions:
            kind = DIMENSIONS[each.name]
            place = _record_place(each)
            if each.name in (*PROJECT_IDENTITIES, *PROJECT_SNAPSHOTS):
                self._require(each, tables.projects, kind.column, "project")
            condition = self._compared(sources[place].c[kind.column], each, kind)
            if place == "project":
                chosen = chosen.where(condition)
            else:
                found = found.where(condition)
        return found.where(members.c.project_id.in_(chosen)) if "project" in places else found

    def _require(self, dimension: Dimension, table: Any, column: str, what: str) -> None:
        """A snapshot or project named exactly must exist: a slip of the pen is not an empty set."""
        if dimension.operator not in ("=", "like"):
            return
        for value in dimension.values:
            if not isinstance(value, Value) or conditions.has_wildcards(value.text):
                continue
            wanted: Any = value.text
            if DIMENSIONS[dimension.name].kind == "number":
                wanted = conditions.number(value)
                if not isinstance(wanted, int):
                    continue
            if self._connection.scalar(select(1).where(table.c.experiment == self._experiment,
                                                       table.c[column] == wanted)) is None:
                raise NotFound(f"there is no {what} {value.text!r} in the catalogue of {self._experiment}")


def _record_place(dimension: Dimension) -> str:
    if DIMENSIONS[dimension.name].place == "process":
        return "process"
    return "member" if dimension.name == "consumed_status" else "project"


def _availability(word: str, source: FromClause) -> Column:
    if word == "default":
        return and_(source.c.located.is_(true()), source.c.content_status == "good")
    if word == "physical":
        return source.c.located.is_(true())
    if word == "virtual":
        return source.c.located.is_not(true())
    return true()
