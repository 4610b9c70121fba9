"""Walking and drawing a lineage graph: pure functions over neighbours.

Both directions are walked on their own, each with its set of visited nodes, so what a node came
from never turns round into its siblings, and diamonds cost what their edges cost.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

__all__ = ["EDGES_PER_NODE", "Edge", "Place", "Walk", "distances", "layout", "walk"]

COLUMN_WIDTH = 376
ROW_HEIGHT = 124
COMPONENT_GAP = 60
_SWEEPS = 8
# More of them nobody can follow, and each costs as much as a node.
EDGES_PER_NODE = 3

Edge = tuple[str, str]
Neighbours = Callable[[Iterable[str]], Iterable[Edge]]


@dataclass(frozen=True, slots=True)
class Walk:
    """What was found: nodes, edges between them, and what the budget left out.

    ``hidden`` counts nodes; ``cut`` tells whether edges are left out between those that are shown.
    """

    nodes: frozenset[str]
    edges: frozenset[Edge]
    hidden: int
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """Where a node stands: its layer, its order there, and its coordinates."""

    layer: int
    order: int
    x: float
    y: float


def walk(
    root: str,
    *,
    upstream: Neighbours | None,
    downstream: Neighbours | None,
    depth: int,
    budget: int,
) -> Walk:
    """Walk from a node, ``depth`` edges far, and show at most ``budget`` nodes.

    There are at most ``EDGES_PER_NODE`` times as many edges.

    ``upstream`` answers the edges that end in the given nodes, ``downstream`` those that start
    there; None leaves a direction out.
    """
    nodes, edges, hidden, cut = {root}, set[Edge](), set[str](), False
    for neighbours, far in ((upstream, 0), (downstream, 1)):
        if neighbours is None:
            continue
        seen, frontier = {root}, [root]
        for _ in range(depth):
            found = sorted(set(neighbours(frontier))) if frontier else []
            frontier = []
            for edge in found:
                node = edge[far]
                if node not in nodes and len(nodes) >= budget:
                    hidden.add(node)
                    continue
                if len(edges) >= budget * EDGES_PER_NODE and edge not in edges:
                    cut = True
                    hidden.add(node)
                    continue
                nodes.add(node)
                edges.add(edge)
                if node not in seen:
                    seen.add(node)
                    frontier.append(node)
    return Walk(frozenset(nodes), frozenset(edges), len(hidden - nodes), cut)


def distances(root: str, edges: Iterable[Edge]) -> dict[str, int]:
    """Return how many edges lie between a node and each that it reaches; itself is left out."""
    after: dict[str, list[str]] = defaultdict(list)
    for source, target in edges:
        after[source].append(target)
    found, frontier = {root: 0}, [root]
    while frontier:
        fresh = {target for node in frontier for target in after[node]} - found.keys()
        found |= dict.fromkeys(fresh, found[frontier[0]] + 1)
        frontier = sorted(fresh)
    del found[root]
    return found


def layout(nodes: Set[str], edges: Set[Edge]) -> dict[str, Place]:
    """Place nodes in layers from left to right, component below component, stably."""
    places: dict[str, Place] = {}
    top = 0.0
    for part in _components(nodes, edges):
        inner = {edge for edge in edges if edge[0] in part}
        layers = _layers(part, inner)
        above, below = _adjacent(inner)
        columns = _ordered(part, layers, above, below)
        heights = _heights(columns, above, below)
        highest = min(heights.values())
        for layer, column in enumerate(columns):
            for order, node in enumerate(column):
                y = top + heights[node] - highest
                places[node] = Place(layer, order, layer * COLUMN_WIDTH, round(y, 1))
        top += max(heights.values()) - highest + ROW_HEIGHT + COMPONENT_GAP
    return places


def _components(nodes: Set[str], edges: Set[Edge]) -> list[frozenset[str]]:
    near: dict[str, set[str]] = defaultdict(set)
    for source, target in edges:
        near[source].add(target)
        near[target].add(source)
    parts, left = [], set(nodes)
    for start in sorted(nodes):
        if start not in left:
            continue
        part, frontier = {start}, [start]
        while frontier:
            fresh = {other for node in frontier for other in near[node]} - part
            part |= fresh
            frontier = sorted(fresh)
        left -= part
        parts.append(frozenset(part))
    return sorted(parts, key=lambda part: (-len(part), min(part)))


def _layers(nodes: Set[str], edges: Set[Edge]) -> dict[str, int]:
    """Return each node's layer: one beyond its farthest predecessor, edges of cycles left out."""
    after: dict[str, list[str]] = defaultdict(list)
    for source, target in sorted(edges):
        after[source].append(target)
    finished: list[str] = []
    state: dict[str, int] = {}
    forward: set[Edge] = set()
    # Sources first, so that a cycle is cut where it closes and not where it opens.
    ends = {target for _, target in edges}
    for start in sorted(nodes, key=lambda node: (node in ends, node)):
        stack = [(start, iter(after[start]))] if start not in state else []
        state.setdefault(start, 1)
        while stack:
            node, rest = stack[-1]
            # No node is called by the empty text.
            target = next(rest, "")
            if not target:
                state[node] = 2
                finished.append(node)
                stack.pop()
            elif state.get(target) != 1:
                forward.add((node, target))
                if target not in state:
                    state[target] = 1
                    stack.append((target, iter(after[target])))
    layer = dict.fromkeys(nodes, 0)
    for node in reversed(finished):
        for target in after[node]:
            if (node, target) in forward:
                layer[target] = max(layer[target], layer[node] + 1)
    return _pulled(layer, forward)


def _pulled(layer: dict[str, int], forward: Set[Edge]) -> dict[str, int]:
    """Move sources next to what they feed, so that edges stay short."""
    after: dict[str, list[int]] = defaultdict(list)
    fed = {target for _, target in forward}
    for source, target in forward:
        after[source].append(layer[target])
    return {
        node: min(after[node]) - 1 if node not in fed and after[node] else at
        for node, at in layer.items()
    }


def _adjacent(edges: Set[Edge]) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    above: dict[str, list[str]] = defaultdict(list)
    below: dict[str, list[str]] = defaultdict(list)
    for source, target in sorted(edges):
        above[target].append(source)
        below[source].append(target)
    return above, below


def _ordered(
    nodes: Set[str],
    layers: Mapping[str, int],
    above: Mapping[str, Sequence[str]],
    below: Mapping[str, Sequence[str]],
) -> list[list[str]]:
    """Order every layer by the mean place of its neighbours, to and fro (barycentre sweeps)."""
    columns: list[list[str]] = [[] for _ in range(max(layers.values()) + 1)]
    for node in sorted(nodes):
        columns[layers[node]].append(node)
    columns = [column for column in columns if column]
    order = {node: float(i) for column in columns for i, node in enumerate(column)}
    for sweep in range(_SWEEPS):
        forth = sweep % 2 == 0
        near = above if forth else below
        for column in columns if forth else reversed(columns):
            mean = {
                node: sum(order[o] for o in near[node]) / len(near[node])
                if near.get(node)
                else order[node]
                for node in column
            }
            column.sort(key=lambda node: (mean[node], node))
            order.update({node: float(i) for i, node in enumerate(column)})
    return columns


def _heights(
    columns: Sequence[Sequence[str]],
    above: Mapping[str, Sequence[str]],
    below: Mapping[str, Sequence[str]],
) -> dict[str, float]:
    """Give each node a height near its neighbours', at least a row from the next in its layer."""
    height = {
        node: (i - (len(column) - 1) / 2) * ROW_HEIGHT
        for column in columns
        for i, node in enumerate(column)
    }
    for sweep in range(_SWEEPS):
        near = above if sweep % 2 == 0 else below
        for column in columns if sweep % 2 == 0 else reversed(columns):
            wished = [
                sum(height[o] for o in near[node]) / len(near[node])
                if near.get(node)
                else height[node]
                for node in column
            ]
            height.update(zip(column, _spaced(wished), strict=True))
    return height


def _spaced(wished: Sequence[float]) -> list[float]:
    """Return heights in the same order, a row apart, as near to the wished ones as their mean."""
    down, up = list(wished), list(wished)
    for i in range(1, len(down)):
        down[i] = max(down[i], down[i - 1] + ROW_HEIGHT)
    for i in range(len(up) - 2, -1, -1):
        up[i] = min(up[i], up[i + 1] - ROW_HEIGHT)
    return [(a + b) / 2 for a, b in zip(down, up, strict=True)]
