"""CSR rows like texts': K-means, its seeding and Bernoulli mixtures, beside the fastest peers."""

from argparse import Namespace
from typing import NamedTuple

import numpy as np

from ..benchmarks import measure
from ..benchmarks.data import DTYPES
from ..benchmarks.memory import added_to_texts, texts_bytes
from ..benchmarks.texts import ITERATIONS, SHAPES, Texts, fits, make_texts, mixtures, seedings
from . import text
from .table import SpeedUp, Table

LIBRARIES = {
    "lloyd": "scikit-learn",
    "elkan": "scikit-learn",
    "sklearnex": "scikit-learn-intelex",
    "sklearn": "scikit-learn",
    "products": "SciPy",
}
KINDS = {"K-means": fits, "k-means++": seedings, "Bernoulli mixture": mixtures}
# What takes longer is timed once, so that all cells take less than ten minutes.
LONGEST = 1.5


class Cell(NamedTuple):
    """What is timed, on which rows."""

    kind: str
    rows: int
    columns: int
    stored: int
    clusters: int
    dtype: str

    @property
    def texts(self) -> Texts:
        """The rows' shape."""
        return Texts(self.rows, self.columns, self.stored, self.clusters)

    @property
    def shape_name(self) -> str:
        """Short name of the shape."""
        return self.texts.name


class TextRows(Table):
    """The fastest of the others counts; K-means also tells what memory a fit adds at its peak."""

    name = "texts"
    title = "CSR rows, whole fits and seeding"
    peers = tuple(LIBRARIES)
    seconds_a_cell = 13.0

    def all_cells(self):
        cells = [
            Cell(kind, *shape, dtype)
            for kind in ("K-means", "k-means++")
            for shape in SHAPES
            for dtype in DTYPES
        ]
        return cells + [Cell("Bernoulli mixture", *shape, "float64") for shape in SHAPES[:3]]

    def is_short(self, cell):
        return cell.texts in SHAPES[:2]

    def shrink(self, cell):
        return cell._replace(rows=cell.rows // 20)

    def missing(self, names):
        absent = "sklearnex" in names and not measure.installed("sklearnex")
        return ["sklearnex: scikit-learn-intelex is not installed"] if absent else []

    def measure(self, cell: Cell, options: Namespace) -> dict:
        X = make_texts(cell.texts, cell.dtype)
        known = {"fastem", *options.peers}
        runs, on_few = (
            {
                name: run
                for name, run in KINDS[cell.kind](rows, cell.clusters).items()
                if name in known
            }
            for rows in (X, X[: 2 * cell.clusters, :500])
        )
        for run in (*on_few.values(), runs["fastem"]):
            run()  # loads libraries, starts threads, compiles
        load = measure.OthersLoad()
        timed = measure.in_turns(runs, options.repeats, measure.PAUSE, LONGEST)
        row = {
            **cell._asdict(),
            "shape_name": cell.shape_name,
            "seconds": {name: measure.median(times) for name, (times, _) in timed.items()},
            "repeats": len(timed["fastem"][0]),
            "others_load": round(load.share(), 3),
            "check": _check(cell.kind, {name: result for name, (_, result) in timed.items()}),
        }
        if cell.kind == "K-means":
            row["memory"] = {
                "added": added_to_texts(X, cell.clusters),
                "rows": texts_bytes(X),
                "centers": 8 * cell.clusters * cell.columns,
            }
        return row

    def line(self, row):
        theirs = [
            f"{name} {text.seconds(row['seconds'][name])} {ratio(row, name):.1f}x"
            for name in others(row)
        ]
        own = text.seconds(row["seconds"]["fastem"], row["others_load"] > text.BUSY)
        told = [*theirs, row["check"], *([f"adds {_memory(row)}"] if "memory" in row else [])]
        return f"{row['kind']:>17} {row['shape_name']:>17} {row['dtype']} fastem {own}, " + (
            ", ".join(part for part in told if part)
        )

    def summary(self, rows):
        notes = []
        for kind in KINDS:
            for dtype in DTYPES:
                ratios = {
                    row["shape_name"]: ratio(row)
                    for row in rows
                    if (row["kind"], row["dtype"]) == (kind, dtype) and others(row)
                }
                if ratios:
                    notes.append(text.of_ratios(f"{kind}, {dtype}", ratios))
        return notes

    def markdown(self, rows):
        columns = [("", "left"), ("rows", "right"), ("columns", "right")]
        columns += [("non-zeros a row", "right"), ("clusters", "right")]
        for dtype in DTYPES:
            columns += [(f"{dtype}: fastem", "right"), ("fastest peer", "left")]
            columns += [("ratio", "right"), ("memory", "right")]
        grouped: dict[tuple, dict[str, dict]] = {}
        for row in rows:
            key = tuple(row[field] for field in Cell._fields[:-1])
            grouped.setdefault(key, {})[row["dtype"]] = row
        lines = []
        for (kind, *shape), by_dtype in grouped.items():
            parts = [kind, *(f"{number:,}" for number in shape)]
            for dtype in DTYPES:
                parts += self._parts(by_dtype.get(dtype))
            lines.append(parts)
        return text.markdown(columns, lines)

    @staticmethod
    def _parts(row):
        if row is None or not others(row):
            return [""] * 4
        peer = fastest(row)
        return [
            text.seconds(row["seconds"]["fastem"], row["others_load"] > text.BUSY),
            f"{text.seconds(row['seconds'][peer])} {peer}",
            f"**{text.times(ratio(row))}**",
            _memory(row) if "memory" in row else "",
        ]

    def caption(self, rows):
        return (
            f"{ITERATIONS} iterations, K-means' with its seeding; each time is the median of "
            f"{text.span(row['repeats'] for row in rows)}, others' above {LONGEST} seconds taken "
            "once. *lloyd*, *elkan* and *sklearn* are scikit-learn's, *sklearnex* is "
            "scikit-learn-intelex; *products* are SciPy's of CSR rows with NumPy's arrays. Memory: "
            "what a fit adds at its peak, beside the CSR arrays and one float64 array of centres."
        )

    def speed_ups(self, rows):
        return [
            SpeedUp(
                f"{row['shape_name']} {row['kind']}",
                row["dtype"],
                {name: ratio(row, name) for name in others(row)},
            )
            for row in rows
            if others(row)
        ]

    def library(self, peer):
        return LIBRARIES[peer]


def others(row: dict) -> list[str]:
    """Return the others that were measured."""
    return [name for name in row["seconds"] if name != "fastem"]


def fastest(row: dict) -> str:
    """Return the fastest of the others."""
    return min(others(row), key=row["seconds"].__getitem__)


def ratio(row: dict, peer: str | None = None) -> float:
    """Return how many times as long as fastem the fastest or the named one of the others takes."""
    return row["seconds"][peer or fastest(row)] / row["seconds"]["fastem"]


def _memory(row):
    """What a fit adds, the CSR arrays and the centres, in megabytes."""
    added, *beside = (text.digits(number / 1e6, 2) for number in row["memory"].values())
    return f"{added} beside {' + '.join(beside)} MB"


def _check(kind, results):
    """How far fastem's result is from that of scikit-learn or of the products."""
    ours = results["fastem"]
    if "lloyd" in results:
        return f"inertia {ours.inertia_ / results['lloyd'].inertia_ - 1:+.0e}"
    if "sklearn" in results:
        same = int(np.sum(ours[1] == results["sklearn"][1]))
        return f"{same} of {len(ours[1])} picks are the same"
    if "products" in results:
        return f"at most {np.abs(ours - results['products']).max():.0e} apart"
    return ""
