"""The plots: speed-up of every cell, roofline, scaling."""

import statistics
from collections.abc import Mapping
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

from . import text
from .roofline import share
from .scaling import AXES
from .table import SpeedUp, Table

INK, GREY, LIGHT = "#1b1f24", "#6b7280", "#d9dde3"
COLOURS = ("#2a6fdb", "#d95f02", "#1b9e77", "#9a4fb5", "#c2930a", "#c23a5b")
DTYPES = {"float32": (COLOURS[1], "o"), "float64": (COLOURS[0], "s")}
STYLE = {
    "figure.facecolor": "white",
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "font.size": 9,
    "text.color": INK,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "savefig.dpi": 150,
}


def draw(reports: Mapping[str, dict], tables: Mapping[str, Table], folder: Path) -> list[Path]:
    """Draw what the reports have the figures for, and return the files."""
    drawn = []
    groups = {
        tables[name].title: points
        for name, report in reports.items()
        if (points := tables[name].speed_ups(report["cells"]))
    }
    with plt.rc_context(STYLE):
        for name, figure, report in (
            ("speed-ups", groups and speed_ups(groups), next(iter(reports.values()))),
            ("roofline", "roofline" in reports and roofline(reports["roofline"]["cells"]), None),
            ("scaling", "scaling" in reports and scaling(reports["scaling"]["cells"]), None),
        ):
            if figure:
                machine = (report or reports[name])["machine"]
                drawn.append(finish(figure, machine, folder / f"{name}.png"))
    return drawn


def finish(figure, machine: dict, path: Path) -> Path:
    """Name the machine below a figure and write it."""
    words = text.describe(machine)
    figure.text(0.01, 0.004, wrap(words, figure.get_figwidth() * 20), fontsize=6, color=GREY)
    figure.savefig(path)
    plt.close(figure)
    return path


def wrap(words: str, width: float) -> str:
    """Break lines at semicolons and commas."""
    lines = [""]
    for word in words.split(" "):
        if len(lines[-1]) + len(word) > width:
            lines.append("")
        lines[-1] += word + " "
    return "\n".join(lines)


def speed_ups(groups: Mapping[str, list[SpeedUp]]):
    """Every cell's ratio on one logarithmic axis, a panel for each table."""
    names = {
        title: list(dict.fromkeys(p.label for p in points)) for title, points in groups.items()
    }
    counts = [len(labels) for labels in names.values()]
    height = 0.17 * sum(counts) + 0.55 * len(counts) + 0.9
    figure, panels = plt.subplots(
        len(groups),
        sharex=True,
        squeeze=False,
        figsize=(8, height),
        height_ratios=[count + 1 for count in counts],
        layout="constrained",
    )
    figure.get_layout_engine().set(rect=(0, 0.35 / height, 1, 1 - 0.35 / height))
    for axes, (title, points) in zip(panels[:, 0], groups.items(), strict=True):
        labels = names[title]
        for point in points:
            colour, marker = DTYPES[point.dtype]
            y = labels.index(point.label) + (0.16 if point.dtype == "float32" else -0.16)
            axes.plot([1, point.ratio], [y, y], color=colour, alpha=0.25, linewidth=2)
            axes.plot(point.ratio, y, marker, color=colour, markersize=4)
            axes.annotate(
                point.peer,
                (point.ratio, y),
                (5, 0),
                textcoords="offset points",
                va="center",
                fontsize=5,
                color=GREY,
            )
        mean = statistics.geometric_mean(point.ratio for point in points)
        axes.axvline(mean, color=GREY, linewidth=0.8, linestyle=":")
        axes.axvline(1, color=INK, linewidth=0.8)
        axes.set_yticks(range(len(labels)), labels, fontsize=6.5, color=INK)
        axes.set_ylim(len(labels) - 0.4, -0.6)
        axes.set_xscale("log")
        axes.set_title(f"{title}: geometric mean {text.times(mean)}×", loc="left")
        axes.grid(axis="x", color=LIGHT, linewidth=0.6)
        axes.tick_params(axis="y", length=0)
    panels[-1, 0].xaxis.set_major_formatter(lambda value, _: f"{value:g}×")
    panels[-1, 0].set_xlabel("times as fast as the peer named beside the mark")
    handles = [
        plt.Line2D([], [], color=colour, marker=marker, linestyle="", label=dtype)
        for dtype, (colour, marker) in DTYPES.items()
    ]
    panels[0, 0].legend(handles=handles, loc="lower right", frameon=False, fontsize=7)
    return figure


def roofline(rows: list[dict]):
    """Every kernel and pass below the machine's roofs, a panel for each shape and dtype."""
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    dtypes = [dtype for dtype in DTYPES if any(row["dtype"] == dtype for row in rows)]
    figure, panels = plt.subplots(
        len(kinds), len(dtypes), squeeze=False, figsize=(5.2 * len(dtypes), 4 * len(kinds) + 0.4)
    )
    for line, kind in zip(panels, kinds, strict=True):
        for axes, dtype in zip(line, dtypes, strict=True):
            chosen = [r for r in rows if r["kind"] == kind and r["dtype"] == dtype]
            _roofs(axes, chosen)
            sizes = {(r["rows"], r["features"], r["components"]) for r in chosen}
            size = "; ".join(f"{n:,} × {d}, {k} components" for n, d, k in sizes)
            axes.set_title(f"{dtype}, {size}", loc="left")
    figure.tight_layout(rect=(0, 0.03, 1, 1))
    return figure


def _roofs(axes, rows):
    counted = [row for row in rows if row["flops"]]
    intensities = [row["flops"] / row["bytes"] for row in counted]
    least, most = min(intensities) / 4, max(intensities) * 16
    for unit in sorted({row["unit"] for row in counted}):
        row = next(row for row in counted if row["unit"] == unit)
        x = np.geomspace(least, most, 200)
        colour = DTYPES[unit][0]
        for name, style in (("matmul_peak", "--"), ("loop_peak", "-")):
            y = np.minimum(row[name], x * row["bandwidth"]) / 1e9
            axes.plot(x, y, style, color=colour, linewidth=1, alpha=0.8)
    numbered = list(enumerate(counted, 1))
    for number, row in numbered:
        x, y = row["flops"] / row["bytes"], row["flops"] / row["seconds"] / 1e9
        axes.plot(x, y, DTYPES[row["unit"]][1], color=DTYPES[row["unit"]][0], markersize=4)
        axes.annotate(str(number), (x, y), (3, 3), textcoords="offset points", fontsize=6)
    listed = [f"{number} {row['name']} {share(row):.0%}" for number, row in numbered]
    listed += [f"– {row['name']} {share(row):.0%}" for row in rows if not row["flops"]]
    axes.text(1.0, 0.02, "\n".join(listed), transform=axes.transAxes, fontsize=5.5, ha="right")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("flops per byte of memory traffic")
    axes.set_ylabel("GFLOP/s")
    axes.grid(color=LIGHT, linewidth=0.5)


def scaling(rows: list[dict]):
    """A curve for each model, a panel for each thing that changes."""
    figure, panels = plt.subplots(2, 2, figsize=(9, 7))
    models = list(dict.fromkeys(row["model"] for row in rows))
    for axes, axis in zip(panels.flat, AXES, strict=True):
        for model, colour in zip(models, COLOURS, strict=False):
            chosen = [r for r in rows if r["axis"] == axis and r["model"] == model]
            x = [row[axis] for row in chosen]
            seconds = [row["seconds"] for row in chosen]
            y = [seconds[0] / s for s in seconds] if axis == "threads" else seconds
            axes.plot(x, y, "o-", color=colour, markersize=3, linewidth=1.2, label=model)
        axes.set_xscale("log", base=2 if axis != "rows" else 10)
        axes.set_yscale("log", base=2 if axis == "threads" else 10)
        axes.set_xlabel(axis)
        axes.set_ylabel("times as fast as one thread" if axis == "threads" else "seconds a pass")
        axes.grid(color=LIGHT, linewidth=0.5)
    panels[0, 0].legend(frameon=False, fontsize=7)
    figure.tight_layout(rect=(0, 0.03, 1, 1))
    return figure
