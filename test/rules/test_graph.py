"""The picture of a stage graph: boxes apart, edges to the right, the same every time."""

import re
from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from poms.webservice.rules.graph import Sizes, lay_out

NAMES = st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=14, unique=True)


@st.composite
def graphs(draw):
    nodes = draw(NAMES)
    edge = st.tuples(st.sampled_from(nodes), st.sampled_from(nodes))
    return nodes, draw(st.lists(edge, max_size=30))


def _numbers(path):
    return [float(text) for text in re.findall(r"-?\d+(?:\.\d+)?", path)]


@settings(deadline=None)
@given(graphs())
def test_no_two_stages_overlap(graph):
    """Whatever depends on what, no two boxes touch."""
    layout = lay_out(*graph)

    for one, two in combinations(layout.boxes, 2):
        apart_sideways = one.x + one.width < two.x or two.x + two.width < one.x
        apart_upright = one.y + one.height < two.y or two.y + two.height < one.y
        assert apart_sideways or apart_upright


@settings(deadline=None)
@given(graphs())
def test_edges_go_to_the_right_unless_they_close_a_cycle(graph):
    """A forward edge starts at the right side of its tail and ends at the left side of its head."""
    layout = lay_out(*graph)
    boxes = {box.name: box for box in layout.boxes}

    for edge in layout.edges:
        tail, head = boxes[edge.tail], boxes[edge.head]
        if edge.kind == "forward":
            numbers = _numbers(edge.path)
            assert tail.x + tail.width < head.x
            assert numbers[0] == tail.x + tail.width
            assert numbers[-2] == head.x
        else:
            assert edge.kind == ("loop" if edge.tail == edge.head else "back")


@settings(deadline=None)
@given(graphs())
def test_without_its_back_edges_the_graph_has_no_cycle(graph):
    """The edges called back edges are enough to make the rest a sequence of columns."""
    layout = lay_out(*graph)
    column = {box.name: box.column for box in layout.boxes}

    assert all(column[edge.tail] < column[edge.head] for edge in layout.edges if edge.kind == "forward")
    assert len(layout.edges) == len(set(graph[1]))


@settings(deadline=None)
@given(graphs())
def test_everything_lies_within_the_picture(graph):
    """Boxes and edges stay inside the width and height that are announced."""
    layout = lay_out(*graph)

    for box in layout.boxes:
        assert box.x >= 0 and box.y >= 0
        assert box.x + box.width <= layout.width and box.y + box.height <= layout.height
    assert all(0 <= edge.label_y <= layout.height for edge in layout.edges)


@settings(deadline=None)
@given(graphs())
def test_the_same_graph_gives_the_same_picture(graph):
    """A page that refreshes itself does not rearrange the stages."""
    assert lay_out(*graph) == lay_out(list(graph[0]), tuple(graph[1]))


def test_a_chain_is_drawn_straight():
    """Stages that follow each other stand in one row."""
    layout = lay_out(["gen", "g4", "detsim"], [("gen", "g4"), ("g4", "detsim")])

    assert len({box.y for box in layout.boxes}) == 1
    assert [box.column for box in layout.boxes] == [0, 1, 2]


def test_a_long_edge_passes_beside_the_stages_between():
    """An edge over two columns does not run through the box that stands between."""
    layout = lay_out(["a", "b", "c"], [("a", "b"), ("b", "c"), ("a", "c")])
    middle = next(box for box in layout.boxes if box.name == "b")
    edge = next(edge for edge in layout.edges if (edge.tail, edge.head) == ("a", "c"))
    passing = float(re.search(r"([\d.]+)H", edge.path).group(1))

    assert not middle.y <= passing <= middle.y + middle.height


def test_two_crossing_pairs_are_uncrossed():
    """Where an order without crossings exists it is found."""
    layout = lay_out(["a", "b", "x", "y"], [("a", "y"), ("b", "x")])
    height = {box.name: box.y for box in layout.boxes}

    assert (height["a"] < height["b"]) == (height["y"] < height["x"])


def test_a_cycle_keeps_its_stages_and_shows_the_way_back():
    """Two stages that feed each other are drawn with one edge underneath."""
    layout = lay_out(["fit", "check"], [("fit", "check"), ("check", "fit"), ("fit", "fit")])

    assert sorted(edge.kind for edge in layout.edges) == ["back", "forward", "loop"]


def test_an_edge_to_nothing_is_left_out():
    """A dependency on a stage that is not in the picture is not drawn."""
    assert lay_out(["a"], [("a", "gone"), ("gone", "a")]).edges == ()


def test_no_stages_give_an_empty_picture():
    """A campaign without stages has a small, empty picture."""
    layout = lay_out([], [])

    assert layout.boxes == () and layout.width > 0


def test_sizes_are_kept():
    """The caller says how large a box is."""
    box = lay_out(["a"], [], Sizes(node_width=120, node_height=40, margin=8)).boxes[0]

    assert (box.x, box.y, box.width, box.height) == (8, 8, 120, 40)
