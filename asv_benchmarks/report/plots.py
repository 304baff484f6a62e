"""The plots: speed-up of every cell, roofline, scaling, searches."""

import statistics
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import LogLocator

from . import text
from .roofline import limits
from .scaling import AXES, BASE
from .search import above_least, by_method, times_one_fit
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
    "axes.titlesize": 8,
    "axes.titleweight": "bold",
    "font.size": 9,
    "text.color": INK,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "savefig.dpi": 150,
}


def draw(reports: Mapping[str, dict], tables: Mapping[str, Table], folder: Path) -> list[Path]:
    """Draw what the reports have the figures for, and return the files."""
    groups, compared = {}, []
    for name, report in reports.items():
        if points := tables[name].speed_ups(report["cells"]):
            groups[tables[name].title] = points
            compared += report["machines"]
    drawn = []
    with plt.rc_context(STYLE):
        if groups:
            drawn.append(finish(speed_ups(groups), compared, folder / "speed-ups.png"))
        for name, plot in PLOTS.items():
            if name in reports:
                figure = plot(reports[name]["cells"])
                drawn.append(finish(figure, reports[name]["machines"], folder / f"{name}.png"))
    return drawn


def finish(figure, machines: Iterable[dict], path: Path) -> Path:
    """Name the machines below a figure and write it."""
    width = int(figure.get_figwidth() * 18)  # characters of this size: at most 4 points each
    words = textwrap.fill(text.describe_all(machines), width)
    figure.supxlabel(words, x=0.01, ha="left", fontsize=6.5, color=GREY)
    figure.savefig(path)
    plt.close(figure)
    return path


def speed_ups(groups: Mapping[str, list[SpeedUp]]):
    """Every cell's ratio on a logarithmic axis, a panel for each table, in two columns."""
    heights = {title: len({p.label for p in points}) + 3 for title, points in groups.items()}
    columns: list[list[str]] = [[], []]
    for title in sorted(groups, key=heights.__getitem__, reverse=True):
        min(columns, key=lambda titles: sum(heights[t] for t in titles)).append(title)
    columns = [titles for titles in columns if titles]
    tallest = max(sum(heights[title] for title in titles) for titles in columns)
    figure = plt.figure(figsize=(6 * len(columns), 0.19 * tallest + 0.7), layout="constrained")
    most = max(point.ratio for points in groups.values() for point in points)
    parts = figure.subfigures(1, len(columns), squeeze=False)[0]
    for part, titles in zip(parts, columns, strict=True):
        ratios = [heights[title] for title in titles]
        # the shorter column ends with empty space
        ratios += [tallest - sum(ratios)] * (sum(ratios) < tallest)
        panels = part.subplots(len(ratios), squeeze=False, height_ratios=ratios)[:, 0]
        for axes in panels[len(titles) :]:
            axes.set_axis_off()
        for axes, title in zip(panels, titles, strict=False):
            _speed_ups_of(axes, title, groups[title])
            axes.set_xlim(0.8, 2 * most)
    place = {"loc": "outside upper right", "ncols": len(DTYPES)}  # inside it would hide a cell
    figure.legend(handles=_dtype_marks(), **place, frameon=False, fontsize=7)
    return figure


def _speed_ups_of(axes, title, points):
    labels = list(dict.fromkeys(point.label for point in points))
    for point in points:
        colour, marker = DTYPES[point.dtype]
        y = labels.index(point.label)
        axes.plot(point.ratio, y, marker, color=colour, markersize=4, alpha=0.9)
    for y, label in enumerate(labels):
        mine = [point for point in points if point.label == label]
        axes.plot([1, max(p.ratio for p in mine)], [y, y], color=LIGHT, linewidth=2, zorder=0)
        peers = "/".join(dict.fromkeys(point.peer for point in mine))
        at = (max(p.ratio for p in mine), y)
        shift = {"textcoords": "offset points", "xytext": (6, 0), "va": "center"}
        axes.annotate(peers, at, fontsize=5.5, color=GREY, **shift)
    mean = statistics.geometric_mean(point.ratio for point in points)
    axes.axvline(mean, color=GREY, linewidth=0.8, linestyle=":")
    axes.axvline(1, color=INK, linewidth=0.8)
    axes.set_yticks(range(len(labels)), labels, fontsize=6.5, color=INK)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}×")
    axes.xaxis.set_minor_formatter("")
    axes.tick_params(axis="x", labelsize=6.5)
    axes.tick_params(axis="y", length=0)
    axes.set_title(f"{title}: geometric mean {text.times(mean)}× over {len(points)}", loc="left")
    axes.grid(axis="x", color=LIGHT, linewidth=0.6)


def _dtype_marks():
    return [
        plt.Line2D([], [], color=colour, marker=marker, linestyle="", label=dtype)
        for dtype, (colour, marker) in DTYPES.items()
    ]


def roofline(rows: list[dict]):
    """Every kernel and pass below the machine's roofs, a panel for each shape and dtype."""
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    dtypes = [dtype for dtype in DTYPES if any(row["dtype"] == dtype for row in rows)]
    size = (6 * len(dtypes), 3.6 * len(kinds) + 0.4)
    figure, panels = plt.subplots(
        len(kinds), len(dtypes), squeeze=False, figsize=size, layout="constrained"
    )
    found = limits(rows)
    for line, kind in zip(panels, kinds, strict=True):
        for axes, dtype in zip(line, dtypes, strict=True):
            chosen = [row for row in rows if row["kind"] == kind and row["dtype"] == dtype]
            first = chosen[0]
            _roofs(axes, chosen, found)
            _list(axes, chosen, found)
            axes.set_title(
                f"{dtype}: {first['rows']:,} × {first['features']}, "
                f"{first['components']} components",
                loc="left",
            )
    figure.draw_without_rendering()  # numbers are placed by where the points have come to lie
    for line, kind in zip(panels, kinds, strict=True):
        for axes, dtype in zip(line, dtypes, strict=True):
            _marks(axes, [row for row in rows if row["kind"] == kind and row["dtype"] == dtype])
    return figure


def _roofs(axes, rows, found):
    counted = [row for row in rows if row["flops"]]
    intensities = [row["flops"] / row["bytes"] for row in counted]
    x = np.geomspace(min(intensities) / 2, max(intensities) * 2, 200)
    for unit in sorted({row["unit"] for row in counted}):
        row = next(row for row in counted if row["unit"] == unit)
        roofs = (
            (found[unit].peak, "-", "the most reached"),
            (row["matmul_peak"], "--", "matrix product"),
        )
        for peak, style, words in roofs:
            y = np.minimum(peak, x * found[unit].bandwidth) / 1e9
            label = f"{unit}, {words}"
            axes.plot(x, y, style, color=DTYPES[unit][0], linewidth=1, zorder=0, label=label)
    axes.legend(loc="lower right", frameon=False, fontsize=6)
    axes.loglog()
    lowest = min(row["flops"] / row["seconds"] for row in counted) / 1e9
    highest = max(found[row["unit"]].peak for row in counted) / 1e9
    axes.set_ylim(lowest / 2, highest * 2)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if axis is axes.yaxis else (1,)))
        axis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.set_minor_formatter("")
    axes.set_xlabel("flops per byte of memory traffic")
    axes.set_ylabel("GFLOP/s")
    axes.grid(color=LIGHT, linewidth=0.5)


def _list(axes, rows, found):
    """Beside the panel, what the numbered points are and their share of the limit."""
    shares = {row["name"]: f"{found[row['unit']].share(row):.0%}" for row in rows}
    counted = [row["name"] for row in rows if row["flops"]]
    listed = [f"{number:>2}  {name}  {shares[name]}" for number, name in enumerate(counted, 1)]
    listed += [f" –  {row['name']}  {shares[row['name']]}" for row in rows if not row["flops"]]
    words = "\n".join(["share of the limit:", *listed])
    axes.annotate(
        words, (1, 1), (6, 0), xycoords="axes fraction", textcoords="offset points", va="top",
        fontsize=6,
    )  # fmt: skip


def _marks(axes, rows):
    """Points, and beside each its number, at the end of a line where others are in the way."""
    counted = [row for row in rows if row["flops"]]
    points = [(row["flops"] / row["bytes"], row["flops"] / row["seconds"] / 1e9) for row in counted]
    scale = 72 / axes.figure.dpi
    places = spread(axes.transData.transform(points) * scale)
    for number, (row, point, place) in enumerate(zip(counted, points, places, strict=True), 1):
        colour = DTYPES[row["unit"]][0]
        axes.plot(*point, "o", color=colour, markersize=4, markeredgewidth=0)
        axes.annotate(
            str(number),
            point,
            tuple(place),
            textcoords="offset points",
            fontsize=6,
            color=colour,
            ha="center",
            va="center",
            bbox={"boxstyle": "square,pad=0", "color": "white", "alpha": 0.8},  # on the roofs
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.4, "shrinkB": 0},
        )


def spread(points: np.ndarray, size: float = 9.0) -> np.ndarray:
    """Return where labels go, as offsets from their points: over no other label and no point.

    Parameters
    ----------
    points : array of shape (n, 2)
    size : float
        Of a label, in the points' unit.
    """
    angles = np.pi / 12 * np.arange(24)
    directions = np.column_stack([np.sin(angles), np.cos(angles)])
    rings = [step * size * directions for step in (1, 1.5, 2, 2.5, 3, 3.5, 4)]
    taken = list(points)
    offsets = []
    for point in points:
        candidates = np.concatenate(rings)
        gaps = np.linalg.norm(point + candidates[:, np.newaxis] - np.array(taken), axis=2)
        # the first that is free, or else the freest
        nearest = np.minimum(gaps.min(axis=1), 0.9 * size)
        offsets.append(candidates[nearest.argmax()])
        taken.append(point + offsets[-1])
    return np.array(offsets)


def scaling(rows: list[dict]):
    """A curve for each model, a panel for each thing that changes."""
    axes_names = [axis for axis in AXES if any(row["axis"] == axis for row in rows)]
    models = list(dict.fromkeys(row["model"] for row in rows))
    size = (3.3 * len(axes_names), 3.6)
    figure, panels = plt.subplots(
        1, len(axes_names), squeeze=False, figsize=size, layout="constrained"
    )
    for axes, axis in zip(panels[0], axes_names, strict=True):
        for model, colour in zip(models, COLOURS, strict=False):
            chosen = [row for row in rows if row["axis"] == axis and row["model"] == model]
            x = [row[axis] for row in chosen]
            seconds = [row["seconds"] for row in chosen]
            y = [seconds[0] / s for s in seconds] if axis == "threads" else seconds
            axes.plot(x, y, "o-", color=colour, markersize=3, linewidth=1.2, label=model)
        first = next(row for row in rows if row["axis"] == axis)
        kept = [name for name in BASE if name != axis]
        axes.set_title(", ".join(f"{first[name]:,} {name}" for name in kept), loc="left")
        axes.set_xlabel(axis)
        axes.grid(color=LIGHT, linewidth=0.5)
        if axis == "threads":
            axes.plot(x, x, color=GREY, linewidth=0.8, linestyle=":")
            axes.set_xticks(x)
            axes.set_ylabel("times as fast as one thread")
        else:
            axes.set_xscale("log", base=10 if axis == "rows" else 2)
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
            axes.set_yscale("log")
            axes.set_ylabel("seconds a pass")
            axes.minorticks_off()
    panels[0, 0].legend(frameon=False, fontsize=7)
    return figure


# Methods that are one with other settings, each a line.
LINES = {
    "fastem, n_init=1, 10": ("one fit", "n_init=10"),
    "fastem, breathing, patient-breathing": ("breathing", "patient-breathing"),
    "scikit-learn, n_init=1, 10": ("scikit-learn", "scikit-learn, n_init=10"),
    "bkmeans": ("bkmeans",),
    "flspp": ("flspp",),
}


def searches(rows: list[dict]):
    """Gap to the least inertia found against time: the mean of all rows, and each kind's."""
    found = {
        name: (np.mean(gaps), statistics.geometric_mean(multiples))
        for name, (gaps, multiples) in by_method(rows).items()
    }
    panels = {f"mean of {len(rows)} kinds": found}
    for row in rows:
        gaps, multiples = above_least(row), times_one_fit(row)
        panels[f"{row['kind']}, {row['size'][2]} clusters"] = {
            name: (gaps[name], multiples[name]) for name in gaps
        }
    n_columns = 4
    n_lines = -(-len(panels) // n_columns)
    figure, places = plt.subplots(
        n_lines,
        n_columns,
        squeeze=False,
        figsize=(3 * n_columns, 2 * n_lines + 0.8),
        layout="constrained",
        sharex=True,
        sharey=True,
    )
    for axes in places.flat[len(panels) :]:
        axes.set_axis_off()
    for axes, (title, points) in zip(places.flat, panels.items(), strict=False):
        for (label, names), colour in zip(LINES.items(), COLOURS, strict=False):
            if mine := [points[name] for name in names if name in points]:
                gaps, multiples = zip(*mine, strict=True)
                axes.plot(multiples, gaps, "o-", color=colour, markersize=4, label=label)
        axes.set_title(title, loc="left")
        axes.set_xscale("log")
        axes.set_yscale("symlog", linthresh=0.1)  # linear below: many gaps are none
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}×")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g} %")
        axes.grid(color=LIGHT, linewidth=0.5)
    places[0, 0].set_ylim(-0.02, 1.5 * max(gap for p in panels.values() for gap, _ in p.values()))
    for axes in places[-1]:
        axes.set_xlabel("time, in single fits of fastem")
    for axes in places[:, 0]:
        axes.set_ylabel("above the least found")
    handles, labels = places[0, 0].get_legend_handles_labels()
    place = {"loc": "outside upper center", "ncols": len(labels)}
    figure.legend(handles, labels, **place, frameon=False, fontsize=8)
    return figure


PLOTS = {
    "roofline": roofline,
    "scaling": scaling,
    "search-kmeans": searches,
    "search-kmedians": searches,
}
