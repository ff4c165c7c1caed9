"""Line charts as SVG: without scripts, readable in light and dark themes, and with a text alternative."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

WIDTH, HEIGHT = 640, 240
LEFT, RIGHT, TOP, BOTTOM = 44, 8, 10, 30
PLOT = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
MOST_POINTS = 500  # of a line: more than the picture has dots

Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """A series of points in ascending order of x. Its place among the lines decides its colour and dashes."""

    label: str
    points: Sequence[Point]


@dataclass(frozen=True)
class Tick:
    """A mark on an axis: where, and its text."""

    place: float
    text: str


@dataclass(frozen=True)
class Chart:
    """What the template draws: paths in the picture's own units, ticks, and the words that stand for it."""

    title: str
    words: str
    paths: list[tuple[str, str]]  # label, and d of an SVG path
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    x_label: str
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    bottom: int = HEIGHT - BOTTOM


def chart(title: str, lines: Sequence[Line], low: float, high: float, x_label: str = "round") -> Chart | None:
    """The chart of lines whose values lie between low and high; None where there is nothing to draw yet."""
    drawn = [line for line in lines if line.points]
    if not drawn:
        return None
    first = min(line.points[0][0] for line in drawn)
    last = max(max(line.points[-1][0] for line in drawn), first + 1)

    def place(point: Point) -> Point:
        return (
            round(LEFT + (point[0] - first) / (last - first) * PLOT[0], 1),
            round(TOP + (high - point[1]) / (high - low) * PLOT[1], 1),
        )

    paths = [(line.label, _path([place(point) for point in _thinned(line.points)])) for line in drawn]
    steps = [low + (high - low) * i / 4 for i in range(5)]
    y_ticks = [Tick(place((first, value))[1], f"{value:g}") for value in steps]
    x_ticks = [Tick(place((value, low))[0], f"{value:g}") for value in _whole_steps(first, last)]
    words = "; ".join(f"{line.label} from {line.points[0][1]:g} to {line.points[-1][1]:g}" for line in drawn[:8])
    return Chart(title, f"{title} by {x_label}: {words}", paths, x_ticks, y_ticks, x_label)


def _path(points: Sequence[Point]) -> str:
    """The SVG path of a line; a single point becomes a dot, which round line caps make visible."""
    start = "M{:g} {:g}".format(*points[0])
    return start + ("".join(f"L{x:g} {y:g}" for _, (x, y) in pairwise(points)) or "h0")


def _thinned(points: Sequence[Point]) -> Sequence[Point]:
    step = -(-len(points) // MOST_POINTS)
    return [*points[:-1:step], points[-1]]


def _whole_steps(first: float, last: float) -> list[float]:
    """At most eleven integers, evenly spaced."""
    step = max(1, -(-int(last - first) // 10))
    return [first + i * step for i in range(int(last - first) // step + 1)]
