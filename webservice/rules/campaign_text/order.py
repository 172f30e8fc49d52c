"""Order and cycles of the stage graph: what feeds what, and what would never end.

Edges are (needed stage, consumer). Not for drawing, which needs other cuts of the same graph.
Invariant: the order depends on names and edges only, never on the order in which they are given.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Mapping

Edge = tuple[str, str]


def launch_order(names: Iterable[str], edges: Collection[Edge]) -> list[str]:
    """Every stage behind those that it needs, otherwise by name; the stages of a cycle together, by name."""
    names = sorted(set(names))
    group_of = {name: group[0] for group in knots(names, edges) for name in group}
    members: dict[str, list[str]] = {}
    for name in names:
        members.setdefault(group_of[name], []).append(name)
    between = {(group_of[tail], group_of[head]) for tail, head in edges
               if tail in group_of and head in group_of and group_of[tail] != group_of[head]}
    followers = _followers(members, between)
    waiting = dict.fromkeys(members, 0)
    for _, head in between:
        waiting[head] += 1
    ready = [group for group in members if not waiting[group]]
    heapq.heapify(ready)
    order: list[str] = []
    while ready:
        group = heapq.heappop(ready)
        order.extend(members[group])
        for head in followers[group]:
            waiting[head] -= 1
            if not waiting[head]:
                heapq.heappush(ready, head)
    return order


def knots(names: Iterable[str], edges: Iterable[Edge]) -> list[list[str]]:
    """The strongly connected components, each sorted; a component of several stages holds a cycle.

    Tarjan's algorithm with a stack of its own: a chain of thousands of stages is no reason to fail.
    """
    names = sorted(set(names))
    followers = _followers(names, edges)
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    held: list[str] = []
    is_held: set[str] = set()
    found: list[list[str]] = []
    for root in names:
        if root in number:
            continue
        path = [(root, iter(followers[root]))]
        number[root] = lowest[root] = len(number)
        held.append(root)
        is_held.add(root)
        while path:
            node, rest = path[-1]
            following = next(rest, None)
            if following is None:
                path.pop()
                if path:
                    lowest[path[-1][0]] = min(lowest[path[-1][0]], lowest[node])
                if lowest[node] == number[node]:
                    knot = [held.pop()]
                    while knot[-1] != node:
                        knot.append(held.pop())
                    is_held.difference_update(knot)
                    found.append(sorted(knot))
            elif following not in number:
                number[following] = lowest[following] = len(number)
                held.append(following)
                is_held.add(following)
                path.append((following, iter(followers[following])))
            elif following in is_held:
                lowest[node] = min(lowest[node], number[following])
    return found


def a_cycle(knot: Collection[str], edges: Iterable[Edge]) -> list[str]:
    """One cycle through stages of a knot of several, beginning with the first by name."""
    inside = set(knot)
    followers = _followers(sorted(inside), [edge for edge in edges if edge[0] != edge[1]])
    start = min(inside)
    came_from: dict[str, str] = {}
    waiting = [start]
    for node in waiting:
        for following in followers[node]:
            if following == start:
                cycle = [node]
                while cycle[-1] != start:
                    cycle.append(came_from[cycle[-1]])
                return cycle[::-1]
            if following not in came_from:
                came_from[following] = node
                waiting.append(following)
    return [start]


def _followers(names: Iterable[str], edges: Iterable[Edge]) -> Mapping[str, list[str]]:
    followers: dict[str, list[str]] = {name: [] for name in names}
    for tail, head in sorted(set(edges)):
        if tail in followers and head in followers:
            followers[tail].append(head)
    return followers
