"""Draw accuracy against cost, with what no other method beats."""

import io
import math
from collections.abc import Callable, Mapping, Sequence
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
_DECADES = 2.5  # of an axis, beyond which each has one tick
_FONT = 8  # points
# inches of a line below the panels
_LINE = 0.16
# more or longer names would cover each other
_FEW = 3
_LONGEST = 22
# characters of a line, and of one of several columns
_WIDEST = 150
_NARROW = 45


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

    Points bear the names of their rows, or numbers where there are many or long ones; these are explained below.

    Raises:
        ImportError: there is no matplotlib.
    """
    # here, because a comparison without pictures needs none
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    panels: list[tuple[CostAxis, list[PlottedMethod]]] = []
    for axis in AXES:
        points = _points(group.methods, axis)
        if points:
            panels.append((axis, points))
    if not panels:
        return None
    names = [_plain(method.name) for method in group.methods]
    below = _explained(names)
    columns = len(panels) if max(map(len, names)) <= _NARROW else 1
    height = _HEIGHT + _LINE * math.ceil(len(below) / columns)
    figure = Figure((_WIDTH * len(panels), height), layout="constrained")
    FigureCanvasAgg(figure)
    places = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    numbers = [str(number) for number in range(1, len(names) + 1)]
    shown = dict(zip(names, numbers if below else names, strict=True))
    for place, (axis, points) in zip(places, panels, strict=True):
        _draw(place, axis, points, shown)
    title = "R@1" if group.methods[0].main == "R1" else "top-1"
    places[0].set_ylabel(f"{title} of the test, %")
    if below:
        # the names say it all, and their lines need no sample
        lines = [Line2D([], [], linestyle="none") for _ in below]
        figure.legend(
            lines,
            below,
            loc="outside lower left",
            ncols=columns,
            handlelength=0,
            fontsize=_FONT,
            frameon=False,
        )
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


def _explained(names: Sequence[str]) -> list[str]:
    """Return lines that say which number is which row; none where the names stand beside the points."""
    if len(names) <= _FEW and max(map(len, names)) <= _LONGEST:
        return []
    lines: list[str] = []
    for number, name in enumerate(names, start=1):
        lines.append(f"{number}  {name[:_WIDEST]}")
    return lines


def _draw(
    place: Any,
    axis: CostAxis,
    points: Sequence[PlottedMethod],
    shown: Mapping[str, str],
) -> None:
    """Draw one panel: points with their spread and names, and a line through what nothing beats.

    Args:
        place: axes of matplotlib.
        axis: the cost.
        points: at least one.
        shown: what is written beside a point, by the name of its row.
    """
    costs = [point.cost for point in points]
    values = [point.value for point in points]
    front = pareto(costs, values)
    wide = min(costs) > 0 and max(costs) > _WIDE * min(costs)
    _scale(place, costs, wide)
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
        # towards the middle, where there is room
        right = point.cost <= _middle(costs, wide)
        label = place.annotate(
            shown[point.name],
            (point.cost, point.value),
            xytext=(7 if right else -7, 5),
            textcoords="offset points",
            ha="left" if right else "right",
            fontsize=_FONT,
        )
        # or panels would shrink for the sake of a name
        label.set_in_layout(False)
    place.set_xlabel(axis.title)
    place.margins(0.15)
    place.grid(alpha=0.25)


def _scale(place: Any, costs: Sequence[float], wide: bool) -> None:
    """Set scale and ticks of the axis of a cost, with 1k for a thousand."""
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

    if wide:
        place.set_xscale("log")
        decades = math.log10(max(costs) / min(costs))
        steps = (1.0,) if decades > _DECADES else (1.0, 2.0, 5.0)
        place.xaxis.set_major_locator(LogLocator(subs=steps))
        place.xaxis.set_minor_formatter(NullFormatter())
    else:
        # numbers of many digits would run into each other
        place.locator_params(axis="x", nbins=4)
    if min(costs) >= 1:
        place.xaxis.set_major_formatter(EngFormatter(sep=""))


def _middle(costs: Sequence[float], wide: bool) -> float:
    low = min(costs)
    high = max(costs)
    return math.sqrt(low * high) if wide else (low + high) / 2


def _plain(name: str) -> str:
    """Return a name without what matplotlib takes for a formula."""
    return name.replace("$", r"\$")
