"""Greedy k-means++ beside scikit-learn's, from the same random stream."""

from argparse import Namespace

import numpy as np

from ..benchmarks import data, measure
from . import text
from .table import SpeedUp, Table

SHORT = ("1M,2,8", "500k,16,64", "50k,784,10")


class Seeding(Table):
    """The same rows are picked, up to rounding."""

    name = "seeding"
    title = "Greedy k-means++"
    peers = ("sklearn",)
    seconds_a_cell = 8.0

    def all_cells(self):
        return [
            data.Cell(*shape, "overlapping", dtype)
            for shape in data.SHAPES
            for dtype in data.DTYPES
        ]

    def is_short(self, cell):
        return cell.shape_name in SHORT

    def is_quick(self, cell):
        return self.is_short(cell) and cell.dtype == "float64"

    def shrink(self, cell):
        return cell._replace(rows=max(cell.rows // 20, 2 * cell.clusters))

    def measure(self, cell: data.Cell, options: Namespace) -> dict:
        import sklearn.cluster

        import fastem

        X = data.make_rows(cell)
        runs = {
            name: lambda pick=pick: pick(X, cell.clusters, random_state=0)
            for name, pick in {
                "fastem": fastem.kmeans_plusplus,
                "sklearn": sklearn.cluster.kmeans_plusplus,
            }.items()
        }
        runs["fastem"]()
        load = measure.OthersLoad()
        timed = measure.in_turns(runs, options.repeats, measure.PAUSE)
        (_, ours), (_, theirs) = timed["fastem"][1], timed["sklearn"][1]
        return {
            **cell._asdict(),
            "shape_name": cell.shape_name,
            "seconds": {name: measure.median(times) for name, (times, _) in timed.items()},
            "repeats": min(len(times) for times, _ in timed.values()),
            "same_picks": int(np.sum(ours == theirs)),
            "others_load": round(load.share(), 3),
        }

    def line(self, row):
        seconds = row["seconds"]
        own = text.seconds(seconds["fastem"], row["others_load"] > text.BUSY)
        return (
            f"{row['shape_name']:>12} {row['dtype']} fastem {own}, sklearn "
            f"{text.seconds(seconds['sklearn'])} {ratio(row):.1f}x; "
            f"{row['same_picks']} of {row['clusters']} picks are the same"
        )

    def summary(self, rows):
        notes = []
        for dtype in data.DTYPES:
            ratios = {row["shape_name"]: ratio(row) for row in rows if row["dtype"] == dtype}
            if ratios:
                notes.append(text.of_ratios(dtype, ratios))
        return notes

    def markdown(self, rows):
        columns = [("rows", "right"), ("features", "right"), ("clusters", "right")]
        for dtype in data.DTYPES:
            columns += [(f"{dtype}: fastem", "right"), ("scikit-learn", "right")]
            columns += [("ratio", "right")]
        grouped: dict[tuple, dict[str, dict]] = {}
        for row in rows:
            key = (row["rows"], row["features"], row["clusters"])
            grouped.setdefault(key, {})[row["dtype"]] = row
        lines = []
        for (n_rows, *others), by_dtype in grouped.items():
            parts = [f"{n_rows:,}", *map(str, others)]
            for dtype in data.DTYPES:
                row = by_dtype.get(dtype)
                if row is None:
                    parts += ["", "", ""]
                    continue
                parts += [text.seconds(row["seconds"]["fastem"], row["others_load"] > text.BUSY)]
                parts += [text.seconds(row["seconds"]["sklearn"]), f"**{text.times(ratio(row))}**"]
            lines.append(parts)
        return text.markdown(columns, lines)

    def caption(self, rows):
        return (
            "Greedy k-means++ from the same random stream, overlapping blobs; each time is the "
            f"median of at least {min(row['repeats'] for row in rows)}."
        )

    def speed_ups(self, rows):
        return [
            SpeedUp(row["shape_name"], row["dtype"], {"scikit-learn": ratio(row)}) for row in rows
        ]


def ratio(row: dict) -> float:
    """Return how many times faster fastem is."""
    return row["seconds"]["sklearn"] / row["seconds"]["fastem"]
