"""Searches that leave local optima: how low fits end and how long they take, beside restarts."""

import time
import warnings
from argparse import Namespace
from typing import NamedTuple

import numpy as np

from ..benchmarks import measure
from ..benchmarks.search import METHODS, SETS, made
from . import text
from .table import Table

PACKAGES = {"scikit-learn": "sklearn", "bkmeans": "bkmeans", "flspp": "flspp"}
QUICK = ("digits", "wine")  # the fewest rows
SEEDS = 10
SINGLE = "one fit"
MANY = 64  # clusters, where restarts help least


class Cell(NamedTuple):
    """One kind of rows."""

    kind: str
    model: str
    dtype: str = "float64"

    @property
    def shape_name(self) -> str:
        """The kind in one word."""
        return self.kind.replace(", ", "-").replace(" ", "-")

    @property
    def rows(self) -> int:
        """How many there are."""
        return len(made(self.kind)[0])


class Search(Table):
    """Every method on every kind of rows, from the same seeds.

    ``--repeats`` are seeds here: 10 with ``--full``.
    """

    page = "better-optima.md"
    in_readme = False
    seconds_a_cell = 20.0

    def __init__(self, model: str, name: str, title: str, peers: tuple[str, ...]):
        self.model, self.name, self.title, self.peers = model, name, title, peers

    def all_cells(self):
        return [Cell(kind, self.model) for kind in SETS]

    def is_short(self, cell):
        return True

    def is_quick(self, cell):
        return cell.kind in QUICK

    def missing(self, names):
        return [f"{name}: {name} is not installed" for name in names if not _found(name)]

    def measure(self, cell: Cell, options: Namespace) -> dict:
        X, n_clusters = made(cell.kind)
        seeds = options.repeats or SEEDS
        fits = {
            name: fit
            for name, fit in METHODS[self.model].items()
            if _takes_part(name, options.peers)
        }
        inertias: dict[str, list[float]] = {name: [] for name in fits}
        seconds = dict.fromkeys(fits, 0.0)
        load = measure.OthersLoad()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for fit in fits.values():
                fit(X, n_clusters, seeds)  # compiles and loads
            for seed in range(seeds):
                for name, fit in fits.items():
                    time.sleep(measure.PAUSE)
                    begin = time.perf_counter()
                    inertias[name].append(fit(X, n_clusters, seed))
                    seconds[name] += (time.perf_counter() - begin) / seeds
        return {
            **cell._asdict(),
            "shape_name": cell.shape_name,
            "size": [*X.shape, n_clusters],
            "seeds": seeds,
            "timed_seeds": seeds,
            "inertias": inertias,
            "seconds": seconds,
            "others_load": round(load.share(), 3),
        }

    def line(self, row):
        gaps, multiples = above_least(row), times_one_fit(row)
        cells = [f"{name} {gaps[name]:.2f} % {multiples[name]:.1f}x" for name in gaps]
        return f"{row['shape_name']:>18} {', '.join(cells)}"

    def summary(self, rows):
        many = [row for row in rows if row["size"][2] >= MANY]
        return [
            f"{MANY} clusters and more, {name}: {np.mean(gaps):.2f} % above the least found, "
            f"at worst {max(gaps):.2f} %, in {_geometric_mean(multiples):.1f} times a single fit's "
            "time"
            for name, (gaps, multiples) in by_method(many).items()
        ]

    def markdown(self, rows):
        found = by_method(rows)
        columns = [("rows", "left"), ("size, clusters", "left"), (SINGLE, "right")]
        columns += [(name, "right") for name in found if name != SINGLE]
        lines = []
        for row in rows:
            n_rows, n_features, n_clusters = row["size"]
            gaps, multiples = above_least(row), times_one_fit(row)
            one = text.seconds(row["seconds"][SINGLE], row["others_load"] > text.BUSY)
            shown = [f"{gaps[SINGLE]:.2f} %, {one}"]
            shown += [
                f"{gaps[name]:.2f} %, {multiples[name]:.1f}×" if name in gaps else ""
                for name in found
                if name != SINGLE
            ]
            lines.append([row["kind"], f"{n_rows:,} × {n_features}, {n_clusters}", *shown])
        means = [
            f"**{np.mean(gaps):.2f} %, {_geometric_mean(multiples):.1f}×**"
            for gaps, multiples in found.values()
        ]
        lines.append(["mean", "", *means])
        lines.append(["worst", "", *(f"{max(gaps):.2f} %" for gaps, _ in found.values())])
        return text.markdown(columns, lines)

    def caption(self, rows):
        return (
            "Inertia above the least that any of these fits has found, and time as a multiple of "
            f"a single fit's: means over {text.span(row['seeds'] for row in rows)} seeds, of which "
            f"{text.span(row['timed_seeds'] for row in rows)} are timed; below them the mean and "
            "the worst gap, and the times' geometric mean."
        )


def above_least(row: dict) -> dict[str, float]:
    """Return by how much each method's mean inertia is above the least found, in per cent."""
    least = min(min(found) for found in row["inertias"].values())
    # Equal optima differ by rounding.
    return {
        name: 100 * max(np.mean(found) / least - 1, 0.0) for name, found in row["inertias"].items()
    }


def times_one_fit(row: dict) -> dict[str, float]:
    """Return how many times as long as a single fit each method takes."""
    return {name: seconds / row["seconds"][SINGLE] for name, seconds in row["seconds"].items()}


def by_method(rows: list[dict]) -> dict[str, tuple[list[float], list[float]]]:
    """Return each method's gaps and times, as above, of all rows that have it."""
    names = dict.fromkeys(name for row in rows for name in row["inertias"])
    found: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in names}
    for row in rows:
        gaps, multiples = above_least(row), times_one_fit(row)
        for name, gap in gaps.items():
            found[name][0].append(gap)
            found[name][1].append(multiples[name])
    return found


def _package(method):
    """The package that a method is of, None for fastem."""
    name = method.partition(",")[0]
    return name if name in PACKAGES else None


def _found(package):
    return measure.installed(PACKAGES[package])


def _takes_part(method, peers):
    package = _package(method)
    return package is None or (package in peers and _found(package))


def _geometric_mean(values):
    return np.exp(np.mean(np.log(values)))
