"""Bernoulli mixtures: EM iterations, beside NumPy, stepmix and pomegranate."""

from argparse import Namespace
from functools import partial
from typing import NamedTuple

import numpy as np

from ..benchmarks import data, measure, pomegranate_peer
from ..benchmarks.bernoulli import SHAPES, fit_fastem, fit_numpy, fit_stepmix, make_rows
from . import text
from .table import SpeedUp, Table

ITERATIONS = 20
# The names, and how many iterations are timed: enough to stand out of what a fit begins with.
PEERS = {
    "numpy": ("NumPy", fit_numpy, ITERATIONS),
    "stepmix": ("stepmix", fit_stepmix, 10),
    "pomegranate": ("pomegranate", pomegranate_peer.fit_bernoulli, 6),
}


class Cell(NamedTuple):
    """A mixture to be timed: of booleans, whose statistics are float64."""

    rows: int
    features: int
    components: int
    kind: str = "mixture"
    dtype: str = "float64"

    @property
    def shape_name(self) -> str:
        """Short name of rows, features and components, such as ``60k,784,10``."""
        return f"{data.short(self.rows)},{self.features},{self.components}"


class Bernoulli(Table):
    """An iteration's time is the difference of a longer and a shorter fit, over the iterations.

    So stepmix, which takes no start, is compared by its iterations and not by its own start.
    """

    name = "bernoulli"
    title = "Bernoulli mixtures, EM iterations"
    peers = tuple(PEERS)
    seconds_a_cell = 15.0

    def all_cells(self):
        return [Cell(*shape) for shape in SHAPES.values()]

    def is_short(self, cell):
        return True

    def shrink(self, cell):
        return cell._replace(rows=cell.rows // 20)

    def missing(self, names):
        return [f"{name}: {name} is not installed" for name in names if not measure.installed(name)]

    def measure(self, cell: Cell, options: Namespace) -> dict:
        X, *start = make_rows((cell.rows, cell.features, cell.components))
        dense = X.astype(np.float64)
        fits = {"fastem": (partial(fit_fastem, X, *start), 1, ITERATIONS)}
        for name, (_, fit, iterations) in PEERS.items():
            if name in options.peers and measure.installed(name):
                fits[name] = (partial(fit, dense, *start), 1, iterations)
        load = measure.OthersLoad()
        seconds = measure.seconds_an_iteration(fits, options.repeats)
        return {
            **cell._asdict(),
            "shape_name": cell.shape_name,
            "seconds": seconds,
            "others_load": round(load.share(), 3),
        }

    def line(self, row):
        theirs = [
            f"{name} {text.seconds(row['seconds'][name])} {ratio(row, name):.1f}x"
            for name in PEERS
            if name in row["seconds"]
        ]
        own = text.seconds(row["seconds"]["fastem"], row["others_load"] > text.BUSY)
        return f"{row['shape_name']:>12} fastem {own}, {', '.join(theirs)}"

    def summary(self, rows):
        notes = self.against_the_fastest(rows)
        for peer, (title, _, _) in PEERS.items():
            ratios = {row["shape_name"]: ratio(row, peer) for row in rows if peer in row["seconds"]}
            if ratios:
                notes.append(text.of_ratios(f"against {title}", ratios))
        return notes

    def markdown(self, rows):
        present = [peer for peer in PEERS if any(peer in row["seconds"] for row in rows)]
        columns = [("rows", "right"), ("features", "right"), ("components", "right")]
        columns += [("fastem", "right")]
        for peer in present:
            columns += [(PEERS[peer][0], "right"), ("ratio", "right")]
        lines = []
        for row in rows:
            parts = [f"{row['rows']:,}", str(row["features"]), str(row["components"])]
            parts += [text.seconds(row["seconds"]["fastem"], row["others_load"] > text.BUSY)]
            for peer in present:
                known = peer in row["seconds"]
                parts += [text.seconds(row["seconds"][peer]) if known else ""]
                parts += [f"**{text.times(ratio(row, peer))}**" if known else ""]
            lines.append(parts)
        return text.markdown(columns, lines)

    def caption(self, rows):
        return (
            "The time of an EM iteration; fastem got booleans, the others float64 rows. NumPy's "
            "takes two matrix products."
        )

    def speed_ups(self, rows):
        return [
            SpeedUp(
                row["shape_name"],
                row["dtype"],
                {PEERS[peer][0]: ratio(row, peer) for peer in compared},
            )
            for row in rows
            if (compared := [peer for peer in PEERS if peer in row["seconds"]])
        ]


def ratio(row: dict, peer: str) -> float:
    """Return how many times faster fastem is."""
    return row["seconds"][peer] / row["seconds"]["fastem"]
