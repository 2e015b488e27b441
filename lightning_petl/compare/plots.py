"""Draw accuracy against cost, with what no other method beats."""

import io
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from lightning_petl.compare.groups import ComparedMethod, ProtocolGroup
from lightning_petl.compare.report import SHARES, MethodCost, cost_of
from lightning_petl.compare.statistics import pareto, spread

# inches of one panel
_WIDTH = 4.2
_HEIGHT = 3.8
# a cost that varies by more is drawn on a logarithmic axis
_WIDE = 8
_DOTS = 150  # an inch


class CostAxis(NamedTuple):
    """Describe one cost.

    Attributes:
        title: of the axis, with its unit.
        value: the cost of a row, None where it is not known.
    """

    title: str
    value: Callable[[MethodCost], float | None]


class PlottedMethod(NamedTuple):
    """Hold one point: a row with its cost and its metric."""

    name: str
    cost: float
    value: float
    deviation: float


AXES = (
    CostAxis("trained parameters, with head", lambda cost: cost.parameters),
    CostAxis("peak memory of training, MiB", lambda cost: cost.memory_mib),
    CostAxis(
        "GMACs a view",
        lambda cost: None if cost.macs is None else cost.macs / 1e9,
    ),
)


def drawn(group: ProtocolGroup) -> bytes | None:
    """Return a PNG with a panel a cost; None where no cost of the group is known.

    Raises:
        ImportError: there is no matplotlib.
    """
    # here, because a comparison without pictures needs none
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels: list[tuple[CostAxis, list[PlottedMethod]]] = []
    for axis in AXES:
        points = _points(group.methods, axis)
        if points:
            panels.append((axis, points))
    if not panels:
        return None
    figure = Figure((_WIDTH * len(panels), _HEIGHT), layout="constrained")
    FigureCanvasAgg(figure)
    places = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    metric = group.methods[0].main
    for place, (axis, points) in zip(places, panels, strict=True):
        _draw(place, axis, points)
    title = "R@1" if metric == "R1" else "top-1"
    places[0].set_ylabel(f"{title} of the test, %")
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=_DOTS)
    return file.getvalue()


def _points(
    methods: Sequence[ComparedMethod], axis: CostAxis
) -> list[PlottedMethod]:
    """Return the rows whose cost is known."""
    found: list[PlottedMethod] = []
    for method in methods:
        cost = axis.value(cost_of(method))
        if cost is None:
            continue
        factor = 100 if method.main in SHARES else 1
        deviation = spread(method.values(method.main)) or 0.0
        value = factor * method.mean(method.main)
        found.append(PlottedMethod(method.name, cost, value, factor * deviation))
    return found


def _draw(place: Any, axis: CostAxis, points: Sequence[PlottedMethod]) -> None:
    """Draw one panel: points with their spread, names, and a line through what nothing beats."""
    costs = [point.cost for point in points]
    values = [point.value for point in points]
    front = pareto(costs, values)
    if min(costs) > 0 and max(costs) > _WIDE * min(costs):
        place.set_xscale("log")
    place.step(
        [costs[index] for index in front],
        [values[index] for index in front],
        where="post",
        color="0.7",
        zorder=1,
    )
    for index, point in enumerate(points):
        best = index in front
        place.errorbar(
            point.cost,
            point.value,
            yerr=point.deviation,
            fmt="o",
            color="C0" if best else "0.55",
            capsize=3,
            zorder=2,
        )
        right = point.cost <= sum(costs) / len(costs)
        place.annotate(
            _plain(point.name),
            (point.cost, point.value),
            xytext=(7 if right else -7, 5),
            textcoords="offset points",
            ha="left" if right else "right",
            fontsize=8,
        )
    place.set_xlabel(axis.title)
    place.margins(0.15)
    place.grid(alpha=0.25)


def _plain(name: str) -> str:
    """Return a name without what matplotlib takes for a formula."""
    return name.replace("$", r"\$")
