"""Where the stages of a campaign stand in its picture: a layered layout, left to right.

Pure and deterministic: the same stages and dependencies in the same order give the same picture.
Not for the order of launching (``rules.dag``); a cycle is drawn here, never refused.
Invariant: boxes never overlap, and every edge that is not a back edge goes to the right.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

_SWEEPS = 12
_STRAIGHTENINGS = 8


@dataclass(frozen=True, slots=True)
class Sizes:
    """Lengths of the picture, in its own units (CSS pixels at natural size)."""

    node_width: float = 160
    node_height: float = 76
    column_gap: float = 44
    row_gap: float = 20
    lane_gap: float = 18
    margin: float = 16


@dataclass(frozen=True, slots=True)
class Box:
    """One node: its upper left corner, its size, and its column counted from 0."""

    name: str
    x: float
    y: float
    width: float
    height: float
    column: int


@dataclass(frozen=True, slots=True)
class EdgePath:
    """One edge as SVG path data, with the place for its label. ``kind``: forward, back or loop."""

    tail: str
    head: str
    kind: str
    path: str
    label_x: float
    label_y: float


@dataclass(frozen=True, slots=True)
class Layout:
    """The whole picture; ``boxes`` in the order in which the nodes were given."""

    width: float
    height: float
    boxes: tuple[Box, ...]
    edges: tuple[EdgePath, ...]


Edge = tuple[str, str]
# A place in a column: a node's name, or (edge number, column) where a long edge passes.
Place = str | tuple[int, int]


def lay_out(nodes: Sequence[str], edges: Iterable[Edge], sizes: Sizes | None = None) -> Layout:
    """Lay out a stage graph. Edges that name an unknown node, and repetitions, are left out."""
    sizes = sizes or Sizes()
    names = list(dict.fromkeys(nodes))
    known = set(names)
    links = list(dict.fromkeys(edge for edge in edges if edge[0] in known and edge[1] in known))
    loops = {edge for edge in links if edge[0] == edge[1]}
    back = _back_edges(names, [edge for edge in links if edge not in loops])
    forward = [edge for edge in links if edge not in loops and edge not in back]

    column_of = _longest_paths(names, forward)
    columns, chains = _fill_columns(names, forward, column_of)
    columns = _fewest_crossings(columns, chains)
    heights = {place: sizes.node_height if isinstance(place, str) else sizes.lane_gap
               for column in columns for place in column}
    centres = _straighten(columns, chains, heights, sizes.row_gap)
    return _draw(names, links, loops, back, column_of, chains, centres, sizes)


def _back_edges(names: Sequence[str], edges: Sequence[Edge]) -> set[Edge]:
    """The edges that close a cycle when nodes are visited depth first, in the order given."""
    successors: dict[str, list[str]] = {name: [] for name in names}
    entered = dict.fromkeys(names, 0)
    for tail, head in edges:
        successors[tail].append(head)
        entered[head] += 1
    back: set[Edge] = set()
    open_nodes: set[str] = set()
    seen: set[str] = set()
    for start in sorted(names, key=lambda name: entered[name] > 0):
        if start in seen:
            continue
        seen.add(start)
        open_nodes.add(start)
        stack = [(start, iter(successors[start]))]
        while stack:
            node, rest = stack[-1]
            for head in rest:
                if head in open_nodes:
                    back.add((node, head))
                elif head not in seen:
                    seen.add(head)
                    open_nodes.add(head)
                    stack.append((head, iter(successors[head])))
                    break
            else:
                open_nodes.discard(node)
                stack.pop()
    return back


def _longest_paths(names: Sequence[str], forward: Sequence[Edge]) -> dict[str, int]:
    """Each node's column: the length of the longest way that leads to it."""
    waiting = dict.fromkeys(names, 0)
    successors: dict[str, list[str]] = {name: [] for name in names}
    for tail, head in forward:
        waiting[head] += 1
        successors[tail].append(head)
    column = dict.fromkeys(names, 0)
    ready = [name for name in names if not waiting[name]]
    for node in ready:
        for head in successors[node]:
            column[head] = max(column[head], column[node] + 1)
            waiting[head] -= 1
            if not waiting[head]:
                ready.append(head)
    return column


def _fill_columns(names: Sequence[str], forward: Sequence[Edge],
                  column_of: Mapping[str, int]) -> tuple[list[list[Place]], dict[Edge, list[Place]]]:
    """Columns of places, and for each edge the chain of places it runs through."""
    columns: list[list[Place]] = [[] for _ in range(max(column_of.values(), default=-1) + 1)]
    for name in names:
        columns[column_of[name]].append(name)
    chains: dict[Edge, list[Place]] = {}
    for number, (tail, head) in enumerate(forward):
        between: list[Place] = [(number, column) for column in range(column_of[tail] + 1, column_of[head])]
        for column, place in enumerate(between, column_of[tail] + 1):
            columns[column].append(place)
        chains[tail, head] = [tail, *between, head]
    return columns, chains


def _neighbours(chains: Mapping[Edge, Sequence[Place]]) -> tuple[dict[Place, list[Place]], dict[Place, list[Place]]]:
    left: dict[Place, list[Place]] = {}
    right: dict[Place, list[Place]] = {}
    for chain in chains.values():
        for one, two in pairwise(chain):
            right.setdefault(one, []).append(two)
            left.setdefault(two, []).append(one)
    return left, right


def _fewest_crossings(columns: list[list[Place]], chains: Mapping[Edge, Sequence[Place]]) -> list[list[Place]]:
    """Reorder each column by the barycentre of its neighbours, forth and back; keep the best."""
    left, right = _neighbours(chains)
    best, fewest = [list(column) for column in columns], _crossings(columns, right)
    current = [list(column) for column in columns]
    for sweep in range(_SWEEPS):
        if not fewest:
            break
        neighbours = right if sweep % 2 else left
        indices = range(len(current) - 2, -1, -1) if sweep % 2 else range(1, len(current))
        for index in indices:
            beside = current[index + 1 if sweep % 2 else index - 1]
            rank = {place: position for position, place in enumerate(beside)}
            weight = {place: _mean([rank[other] for other in neighbours.get(place, ())], position)
                      for position, place in enumerate(current[index])}
            current[index].sort(key=weight.__getitem__)
        crossings = _crossings(current, right)
        if crossings < fewest:
            best, fewest = [list(column) for column in current], crossings
    return best


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _crossings(columns: Sequence[Sequence[Place]], right: Mapping[Place, Sequence[Place]]) -> int:
    """How many pairs of edge pieces cross, all columns together."""
    total = 0
    for one, two in pairwise(columns):
        rank = {place: position for position, place in enumerate(two)}
        ends: list[int] = []
        for place in one:
            mine = sorted(rank[other] for other in right.get(place, ()))
            total += sum(1 for end in mine for earlier in ends if earlier > end)
            ends.extend(mine)
    return total


def _straighten(columns: Sequence[Sequence[Place]], chains: Mapping[Edge, Sequence[Place]],
                heights: Mapping[Place, float], gap: float) -> dict[Place, float]:
    """The height of each place's centre: close to its neighbours, in its column's order, never overlapping."""
    left, right = _neighbours(chains)
    centres: dict[Place, float] = {}
    for column in columns:
        total = sum(heights[place] for place in column) + gap * (len(column) - 1)
        below = -total / 2
        for place in column:
            centres[place] = below + heights[place] / 2
            below += heights[place] + gap
    for pass_number in range(_STRAIGHTENINGS):
        order = columns if pass_number % 2 else columns[::-1]
        for column in order:
            wanted = [_mean([centres[other] for other in (*left.get(place, ()), *right.get(place, ()))], centres[place])
                      for place in column]
            centres.update(zip(column, _apart(wanted, [heights[place] for place in column], gap), strict=True))
    return centres


def _apart(wanted: Sequence[float], heights: Sequence[float], gap: float) -> list[float]:
    """The centres closest to those wanted (least squares) that keep order and distance.

    With each place's least offset taken off this is isotonic regression: pool adjacent violators.
    """
    offsets: list[float] = []
    below = 0.0
    for height in heights:
        offsets.append(below + height / 2)
        below += height + gap
    pools: list[tuple[float, int]] = []
    for value, offset in zip(wanted, offsets, strict=True):
        mean, count = value - offset, 1
        while pools and pools[-1][0] > mean:
            before, many = pools.pop()
            mean, count = (before * many + mean * count) / (many + count), many + count
        pools.append((mean, count))
    means = [mean for mean, count in pools for _ in range(count)]
    return [mean + offset for mean, offset in zip(means, offsets, strict=True)]


def _draw(names: Sequence[str], links: Sequence[Edge], loops: set[Edge], back: set[Edge],
          column_of: Mapping[str, int], chains: Mapping[Edge, Sequence[Place]],
          centres: Mapping[Place, float], sizes: Sizes) -> Layout:
    """Turn columns and centres into boxes and paths, the topmost place at the margin."""
    loop_room = sizes.lane_gap if loops else 0
    tops = [centres[name] - sizes.node_height / 2 for name in names]
    shift = sizes.margin + loop_room - min([*tops, *(centres[place] for chain in chains.values() for place in chain)],
                                           default=0)
    pitch = sizes.node_width + sizes.column_gap

    def left_of(column: int) -> float:
        return sizes.margin + column * pitch

    boxes = {name: Box(name, left_of(column_of[name]), _round(centres[name] + shift - sizes.node_height / 2),
                       sizes.node_width, sizes.node_height, column_of[name]) for name in names}
    bottom = max([*(box.y + box.height for box in boxes.values()),
                  *(centres[place] + shift for chain in chains.values() for place in chain)], default=0)
    paths: list[EdgePath] = []
    for edge in links:
        tail, head = boxes[edge[0]], boxes[edge[1]]
        if edge in loops:
            paths.append(_loop(tail, sizes))
        elif edge in back:
            bottom += sizes.lane_gap
            paths.append(_back(tail, head, bottom))
        else:
            points = [(left_of(column_of[edge[0]] + step), centres[place] + shift)
                      for step, place in enumerate(chains[edge])]
            paths.append(_forward(edge, points, sizes.node_width))
    width = left_of(max(column_of.values(), default=0)) + sizes.node_width + sizes.margin if names else 2 * sizes.margin
    return Layout(_round(width), _round(bottom + sizes.margin), tuple(boxes.values()), tuple(paths))


def _forward(edge: Edge, points: Sequence[tuple[float, float]], node_width: float) -> EdgePath:
    """An S between columns; straight across the columns that the edge passes."""
    x, y = points[0][0] + node_width, points[0][1]
    parts = [f"M{_text(x)} {_text(y)}"]
    label = (x, y)
    for number, (next_x, next_y) in enumerate(points[1:], 1):
        middle = (x + next_x) / 2
        parts.append(f"C{_text(middle)} {_text(y)} {_text(middle)} {_text(next_y)} {_text(next_x)} {_text(next_y)}")
        label = (middle, (y + next_y) / 2)
        x, y = next_x, next_y
        if number < len(points) - 1:
            x += node_width
            parts.append(f"H{_text(x)}")
    return EdgePath(edge[0], edge[1], "forward", "".join(parts), _round(label[0]), _round(label[1]))


def _back(tail: Box, head: Box, lane: float) -> EdgePath:
    """Down from the tail, below everything, and up into the head."""
    start, end = tail.x + tail.width * 0.7, head.x + head.width * 0.3
    path = (f"M{_text(start)} {_text(tail.y + tail.height)}V{_text(lane)}H{_text(end)}V{_text(head.y + head.height)}")
    return EdgePath(tail.name, head.name, "back", path, _round((start + end) / 2), _round(lane))


def _loop(box: Box, sizes: Sizes) -> EdgePath:
    """A small ear above the box."""
    start, end = box.x + box.width * 0.7, box.x + box.width * 0.5
    peak = box.y - sizes.lane_gap
    path = (f"M{_text(start)} {_text(box.y)}"
            f"C{_text(start)} {_text(peak)} {_text(end)} {_text(peak)} {_text(end)} {_text(box.y)}")
    return EdgePath(box.name, box.name, "loop", path, _round((start + end) / 2), _round(box.y - sizes.lane_gap * 0.75))


def _round(value: float) -> float:
    return round(value, 1)


def _text(value: float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".")
