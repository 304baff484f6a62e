"""Silhouettes beside scikit-learn's, and what the machine would allow."""

from argparse import Namespace

import numpy as np

from ..benchmarks import data, machine, measure
from . import text
from .table import Table

_SHAPES = ((20_000, 16, 10), (50_000, 64, 20))


class Silhouette(Table):
    """Each pair of rows takes a multiplication and an addition a feature, once: the limit."""

    name = "silhouette"
    title = "Silhouettes"
    peers = ("sklearn",)
    in_readme = False
    seconds_a_cell = 60.0

    def all_cells(self):
        return [
            data.Cell(*shape, "overlapping", dtype) for shape in _SHAPES for dtype in data.DTYPES
        ]

    def is_short(self, cell):
        return True

    def is_quick(self, cell):
        return cell.dtype == "float64"

    def shrink(self, cell):
        return cell._replace(rows=cell.rows // 20)

    def measure(self, cell: data.Cell, options: Namespace) -> dict:
        import sklearn.metrics

        import fastem

        X = data.make_rows(cell)
        labels = np.random.default_rng(0).integers(cell.clusters, size=cell.rows)
        runs = {
            "fastem": lambda: fastem.silhouette_samples(X, labels),
            "sklearn": lambda: sklearn.metrics.silhouette_samples(X, labels),
        }
        runs["fastem"]()
        load = measure.OthersLoad()
        timed = measure.in_turns(runs, options.repeats, measure.PAUSE)
        ours, theirs = timed["fastem"][1], timed["sklearn"][1]
        return {
            **cell._asdict(),
            "shape_name": cell.shape_name,
            "seconds": {name: measure.median(times) for name, (times, _) in timed.items()},
            "least": float(cell.rows) ** 2 * cell.features / machine.peak(cell.dtype),
            "repeats": min(len(times) for times, _ in timed.values()),
            "difference": float(np.abs(ours - theirs).max()),
            "others_load": round(load.share(), 3),
        }

    def line(self, row):
        own, theirs, ratio, limit = _figures(row)
        return (
            f"{row['shape_name']:>12} {row['dtype']} fastem {own}, sklearn {theirs} {ratio}x "
            f"(at the machine's peak {limit}x); at most {row['difference']:.1g} apart"
        )

    def markdown(self, rows):
        columns = [("rows", "right"), ("features", "right"), ("clusters", "right")]
        columns += [("dtype", "left"), ("fastem", "right"), ("scikit-learn", "right")]
        columns += [("ratio", "right"), ("at the machine's peak", "right")]
        columns += [("largest difference", "right")]
        lines = []
        for row in rows:
            own, theirs, ratio, limit = _figures(row)
            shape = [f"{row['rows']:,}", str(row["features"]), str(row["clusters"])]
            difference = f"{row['difference']:.0e}"
            lines.append([*shape, row["dtype"], own, theirs, f"**{ratio}**", limit, difference])
        return text.markdown(columns, lines)

    def caption(self, rows):
        return (
            "Overlapping blobs and random labels; each time is the median of at least "
            f"{min(row['repeats'] for row in rows)}. At the machine's peak: the ratio of nothing "
            "but a multiplication and an addition for each feature and pair of rows, at the speed "
            "of a matrix product or a plain loop."
        )


def _figures(row):
    """Both times, their ratio, and the ratio at the limit."""
    own, theirs = row["seconds"]["fastem"], row["seconds"]["sklearn"]
    return (
        text.seconds(own, row["others_load"] > text.BUSY),
        text.seconds(theirs),
        text.times(theirs / own),
        text.times(theirs / row["least"]),
    )
