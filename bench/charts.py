"""The charts of `docs/performance.md`, drawn in an environment of their own: it needs matplotlib.

python -m bench.charts RESULTS.json DIRECTORY
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl

mpl.use("svg")
mpl.rcParams.update(
    {
        "svg.hashsalt": "llmlb",  # the same results give the same file
        "svg.fonttype": "none",
        "font.size": 8,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
)

from matplotlib import pyplot as plt  # noqa: E402 - it has to be told first what to draw for
from matplotlib.ticker import StrMethodFormatter  # noqa: E402

from bench.results import LLMLB, Results, load  # noqa: E402

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OWN, OTHERS = "#1f6fb2", "#b8bec6"


def draw(results: Results, into: Path) -> list[Path]:
    """All charts; where they are."""
    into.mkdir(parents=True, exist_ok=True)
    return [
        _compared(results, into / "performance-compared.svg"),
        _growth(results, into / "performance-growth.svg"),
    ]


def _compared(results: Results, path: Path) -> Path:
    figure, axes = plt.subplots(1, 2, figsize=(7.2, 2.2))
    _bars(axes[0], results, "plain_rps", "plain requests per second")
    _bars(axes[1], results, "fast_cpu_us", "CPU per relayed chunk, µs")
    return _save(figure, path)


def _bars(axes: Axes, results: Results, figure: str, title: str) -> None:
    """One bar for each contender that has this figure, on a scale by powers of ten."""
    values = {
        name: value
        for name in reversed(results.names)
        if (value := results.median(name, figure)) is not None and value > 0
    }
    colours = [OWN if name == LLMLB else OTHERS for name in values]
    bars = axes.barh(list(values), list(values.values()), color=colours, height=0.65)
    texts = [f"{value:,.{0 if value >= 100 else 1}f}" for value in values.values()]
    axes.bar_label(bars, texts, padding=3)
    axes.set_title(f"{title} (each decade as wide)", fontsize=9, loc="left")
    axes.set_xscale("log")
    if values:
        axes.set_xlim(min(values.values()) / 3, max(values.values()) * 6)
    axes.tick_params(left=False)
    axes.xaxis.set_visible(False)
    axes.spines["bottom"].set_visible(False)


def _growth(results: Results, path: Path) -> Path:
    figure, axes = plt.subplots(figsize=(4.2, 2.2))
    for what, other, colour in (("endpoints", "models", OWN), ("models", "endpoints", "#d1782c")):
        row = sorted((of[what], of["cpu_us"]) for of in results.growth if of[other] == 1)
        if row:
            axes.plot(*zip(*row, strict=True), marker="o", ms=3, color=colour, label=what)
    axes.set_title("CPU per plain request, µs", fontsize=9, loc="left")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.set_ylim(0, 1.15 * max((of["cpu_us"] for of in results.growth), default=1))
    axes.set_xlabel("how many there are")
    axes.legend(frameon=False, loc="lower right")
    return _save(figure, path)


def _save(figure: Figure, path: Path) -> Path:
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    return path


if __name__ == "__main__":
    draw(load(Path(sys.argv[1])), Path(sys.argv[2]))
