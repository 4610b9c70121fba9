"""Walking is linear in the edges; layers point forward; nothing overlaps."""

import itertools
import random

from dataspine.lineage.graph import ROW_HEIGHT, Edge, layout, walk


class Counted:
    """Neighbours over a set of edges that count how often an edge is read."""

    def __init__(self, edges: set[Edge]) -> None:
        self.edges = edges
        self.read = 0

    def upstream(self, nodes: object) -> list[Edge]:
        return self._having(1, nodes)

    def downstream(self, nodes: object) -> list[Edge]:
        return self._having(0, nodes)

    def _having(self, end: int, nodes: object) -> list[Edge]:
        assert isinstance(nodes, list)
        wanted = set(nodes)
        found = [edge for edge in self.edges if edge[end] in wanted]
        self.read += len(found)
        return found


def ladder(rungs: int) -> set[Edge]:
    edges = set()
    for i in range(rungs):
        for side in ("l", "r"):
            edges |= {(f"n{i}", f"{side}{i}"), (f"{side}{i}", f"n{i + 1}")}
    return edges


def test_a_ladder_of_diamonds_reads_each_edge_once() -> None:
    counted = Counted(ladder(40))
    found = walk(
        "n0", upstream=counted.upstream, downstream=counted.downstream, depth=100, budget=1000
    )
    assert (len(found.nodes), len(found.edges), counted.read) == (121, 160, 160)


def test_a_circle_ends() -> None:
    counted = Counted({("a", "b"), ("b", "c"), ("c", "a")})
    found = walk("a", upstream=counted.upstream, downstream=counted.downstream, depth=50, budget=50)
    assert (found.nodes, found.edges) == (frozenset("abc"), frozenset(counted.edges))
    assert sorted(p.layer for p in layout(found.nodes, found.edges).values()) == [0, 1, 2]


def test_edges_have_a_budget_as_nodes_have() -> None:
    counted = Counted({(f"a{i}", f"b{j}") for i in range(20) for j in range(20)})
    found = walk("a0", upstream=counted.upstream, downstream=counted.downstream, depth=9, budget=40)
    assert (len(found.nodes), len(found.edges), found.cut) == (21, 20, False)
    around = {("root", f"a{i}") for i in range(20)} | counted.edges
    counted = Counted(around)
    found = walk("root", upstream=None, downstream=counted.downstream, depth=9, budget=40)
    assert (len(found.nodes), len(found.edges), found.hidden, found.cut) == (40, 120, 1, True)


def test_edges_point_forward_and_nodes_do_not_overlap() -> None:
    dice = random.Random(7)
    for _ in range(30):
        size = dice.randint(2, 60)
        names = [f"n{i}" for i in range(size)]
        edges = {
            (names[a], names[b])
            for a, b in (sorted(dice.sample(range(size), 2)) for _ in range(size * 2))
        }
        places = layout(set(names), edges)
        assert set(places) == set(names)
        assert all(places[a].layer < places[b].layer for a, b in edges)
        columns: dict[float, list[float]] = {}
        for place in places.values():
            columns.setdefault(place.x, []).append(place.y)
        for column in columns.values():
            column.sort()
            gaps = [low - high for high, low in itertools.pairwise(column)]
            assert all(gap >= ROW_HEIGHT - 0.2 for gap in gaps)
        assert layout(set(names), set(edges)) == places


def test_nothing_is_laid_out_as_nothing() -> None:
    assert layout(frozenset(), frozenset()) == {}
