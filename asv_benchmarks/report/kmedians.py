"""K-medians: whole fits from the same centres, beside NumPy's and pyclustering's."""

from argparse import Namespace

import numpy as np

from ..benchmarks import data, measure
from ..benchmarks.kmedians import CELLS, fit_fastem, fit_numpy, fit_pyclustering, inertia
from . import text
from .table import SpeedUp, Table

SMALL = data.Cell(5_000, 3, 10, "overlapping", "float64")  # a size that pyclustering can bear


class KMedians(Table):
    """NumPy's time is taken over its first iterations: they all do the same work."""

    name = "kmedians"
    title = "K-medians, whole fits"
    peers = ("numpy", "pyclustering")
    seconds_a_cell = 8.0

    def all_cells(self):
        return [SMALL, *CELLS.values()]

    def is_short(self, cell):
        return cell.rows * cell.features * cell.clusters <= 1e8

    def is_quick(self, cell):
        return cell == SMALL or (cell.features == 16 and cell.dtype == "float64")

    def shrink(self, cell):
        return cell._replace(rows=cell.rows // 10)

    def missing(self, names):
        if "pyclustering" in names and not measure.installed("pyclustering"):
            return ["pyclustering: pyclustering is not installed"]
        return []

    def measure(self, cell: data.Cell, options: Namespace) -> dict:
        X = data.make_rows(cell)
        init = data.starting_centers(X, cell.clusters)
        fit_fastem(X, init)
        n_iter = int(fit_fastem(X, init).n_iter_)
        timed_iterations = min(n_iter, 60 if options.full else 20)
        runs = {"fastem": lambda: fit_fastem(X, init)}
        if "numpy" in options.peers:
            # the same iterations of both, to compare what they come to
            runs["fastem, first"] = lambda: fit_fastem(X, init, timed_iterations)
            runs["numpy, first"] = lambda: fit_numpy(X, init, timed_iterations)
        if "pyclustering" in options.peers and self._bearable(cell):
            runs["pyclustering"] = lambda: fit_pyclustering(X, init, n_iter)
        load = measure.OthersLoad()
        timed = measure.in_turns(runs, options.repeats, measure.PAUSE)
        seconds = {name: measure.median(times) for name, (times, _) in timed.items()}
        row = {
            **cell._asdict(),
            "shape_name": cell.shape_name,
            "n_iter": n_iter,
            "timed_iterations": timed_iterations,
            "repeats": len(timed["fastem"][0]),
            "seconds": seconds,
            "others_load": round(load.share(), 3),
        }
        if "numpy" in options.peers:
            seconds["numpy"] = seconds["numpy, first"] * n_iter / timed_iterations
            ours, theirs = timed["fastem, first"][1].cluster_centers_, timed["numpy, first"][1]
            row["relative_inertia"] = inertia(X, ours) / inertia(X, theirs)
            row["same_centers"] = bool(np.array_equal(ours, theirs))
        return row

    @staticmethod
    def _bearable(cell):
        return cell.rows <= SMALL.rows and measure.installed("pyclustering")

    def line(self, row):
        seconds = row["seconds"]
        theirs = [
            f"{name} {text.seconds(seconds[name])} {ratio(row, name):.1f}x"
            for name in self.peers
            if name in seconds
        ]
        own = text.seconds(seconds["fastem"], row["others_load"] > text.BUSY)
        checked = f"; inertia {row['relative_inertia'] - 1:+.0e}" if "numpy" in seconds else ""
        return (
            f"{row['shape_name']:>12} {row['dtype']} {row['n_iter']:>3} iterations: "
            f"fastem {own}, {', '.join(theirs)}{checked}"
        )

    def summary(self, rows):
        notes = self.against_the_fastest(rows)
        for peer in self.peers:
            ratios = {
                f"{row['shape_name']} {row['dtype']}": ratio(row, peer)
                for row in rows
                if peer in row["seconds"]
            }
            if ratios:
                notes.append(text.of_ratios(f"against {NAMES[peer]}", ratios))
        return notes

    def markdown(self, rows):
        columns = [("rows", "right"), ("features", "right"), ("clusters", "right")]
        columns += [("dtype", "left"), ("iterations", "right"), ("fastem", "right")]
        columns += [("NumPy", "right"), ("ratio", "right")]
        columns += [("pyclustering", "right"), ("ratio", "right")]
        lines = []
        for row in rows:
            seconds = row["seconds"]
            parts = [f"{row['rows']:,}", str(row["features"]), str(row["clusters"]), row["dtype"]]
            parts += [str(row["n_iter"])]
            parts += [text.seconds(seconds["fastem"], row["others_load"] > text.BUSY)]
            for peer in self.peers:
                known = peer in seconds
                parts += [text.seconds(seconds[peer]) if known else ""]
                parts += [f"**{text.times(ratio(row, peer))}**" if known else ""]
            lines.append(parts)
        return text.markdown(columns, lines)

    def caption(self, rows):
        said = [f"Each time is the median of {text.span(row['repeats'] for row in rows)} fits."]
        compared = [row for row in rows if "numpy" in row["seconds"]]
        if compared:
            first = [
                row["seconds"]["numpy, first"] / row["seconds"]["fastem, first"] for row in compared
            ]
            spans = text.span(row["timed_iterations"] for row in compared)
            said.append(
                f"NumPy's was taken over its first {spans} iterations and extended to all; over "
                f"these alone, where most rows still move, the ratios are {text.times(min(first))} "
                f"to {text.times(max(first))}."
            )
            if all(row["same_centers"] for row in compared):
                said.append("The centres after these were equal to the last bit.")
        return " ".join(said)

    def speed_ups(self, rows):
        return [
            SpeedUp(
                row["shape_name"],
                row["dtype"],
                {NAMES[peer]: ratio(row, peer) for peer in compared},
            )
            for row in rows
            if (compared := [peer for peer in self.peers if peer in row["seconds"]])
        ]


NAMES = {"numpy": "NumPy", "pyclustering": "pyclustering"}


def ratio(row: dict, peer: str) -> float:
    """Return how many times faster fastem is."""
    return row["seconds"][peer] / row["seconds"]["fastem"]
