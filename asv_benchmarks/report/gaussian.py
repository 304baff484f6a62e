"""Gaussian mixtures: single EM iterations from the same start, and whole default fits."""

import sys
from argparse import Namespace
from itertools import product

import numpy as np

from ..benchmarks import data, measure
from ..benchmarks.gaussian_mixture import (
    LIBRARIES,
    SEPARATED_KINDS,
    TYPES,
    Cell,
    able,
    all_cells,
    seconds_a_fit,
    seconds_an_iteration,
)
from . import text
from .table import SpeedUp, Table

# Whole fits take a hundred iterations and are measured on a part of the rows.
FIT_SHARE = 10
SHORT = ("500k,2,8", "100k,32,16")
OWN = tuple(name for name, library in LIBRARIES.items() if library.distribution == "fastem")
PEERS = tuple(name for name in LIBRARIES if name not in OWN)
NAMES = {"sklearn": "scikit-learn", "unskipped": "fastem when it skips nothing"}


class Gaussian(Table):
    """scikit-learn takes part in every cell, the others where they can."""

    name = "gaussian"
    title = "Gaussian mixtures, EM iterations"
    peers = PEERS
    seconds_a_cell = 10.0

    def all_cells(self):
        return all_cells()

    def is_short(self, cell):
        return cell.shape_name in SHORT and cell.dtype == "float64"

    def is_quick(self, cell):
        types = ("full", "diag")
        return cell.shape_name == SHORT[0] and self.is_short(cell) and cell.covariance_type in types

    def shrink(self, cell):
        return cell._replace(rows=max(cell.rows // 20, 2 * cell.components))

    def missing(self, names):
        return [
            f"{name}: {LIBRARIES[name].distribution} is not installed"
            for name in names
            if not LIBRARIES[name].installed
        ]

    def measure(self, cell: Cell, options: Namespace) -> dict:
        X = cell.make_rows()
        names = [
            name
            for name in able(cell)
            if name in OWN or (name in options.peers and fits(name, X, cell))
        ]
        load = measure.OthersLoad()
        iterations = seconds_an_iteration(X, cell, names, options.repeats)
        whole = {}
        if cell.kind == "overlapping" and "sklearn" in names:
            part = cell._replace(rows=max(cell.rows // FIT_SHARE, 2 * cell.components))
            repeats = options.repeats if options.full else 1
            found = seconds_a_fit(X[: part.rows], part, ["fastem", "sklearn"], repeats)
            whole = {name: seconds for name, (seconds, _) in found.items()}
        return {
            **cell._asdict(),
            "shape_name": cell.shape_name,
            "iterations": iterations,
            "fits": whole,
            "others_load": round(load.share(), 3),
        }

    def line(self, row):
        theirs = ", ".join(
            f"{name} {text.seconds(value)} {ratio(row, 'iterations', name):.1f}x"
            for name, value in row["iterations"].items()
            if name != "fastem"
        )
        own = text.seconds(row["iterations"]["fastem"], row["others_load"] > text.BUSY)
        return (
            f"{row['shape_name']:>11} {row['kind']:>11} {row['covariance_type']:>9} {row['dtype']} "
            f"fastem {own}, {theirs}"
        ) + (f"; fit {ratio(row, 'fits'):.1f}x" if row["fits"] else "")

    def summary(self, rows):
        notes = self.against_the_fastest(rows)
        compared = [("overlapping", "iterations", "an iteration", peer) for peer in PEERS]
        compared += [("overlapping", "fits", "default fits", peer) for peer in PEERS]
        for kind in SEPARATED_KINDS:
            name = f"an iteration, {kind} clusters"
            compared += [(kind, "iterations", name, peer) for peer in ("sklearn", "unskipped")]
        for (kind, what, name, peer), dtype in product(compared, data.DTYPES[::-1]):
            ratios = {
                f"{row['shape_name']} {row['covariance_type']}": ratio(row, what, peer)
                for row in rows
                if row["dtype"] == dtype and row["kind"] == kind and peer in row[what]
            }
            if ratios:
                title = f"{name}, {dtype}, against {NAMES.get(peer, peer)}"
                notes.append(text.of_ratios(title, ratios))
        return notes + self._dtypes(rows)

    @staticmethod
    def _dtypes(rows):
        """By how much float32 is faster than float64."""
        seconds = {
            (row["shape_name"], row["kind"], row["covariance_type"], row["dtype"]): row[
                "iterations"
            ]["fastem"]
            for row in rows
        }
        ratios = {
            f"{shape} {covariance_type}": value / seconds[shape, kind, covariance_type, "float32"]
            for (shape, kind, covariance_type, dtype), value in seconds.items()
            if dtype == "float64" and (shape, kind, covariance_type, "float32") in seconds
        }
        return [text.of_ratios("float32 against float64", ratios)] if ratios else []

    def markdown(self, rows):
        columns = [("rows", "right"), ("features", "right"), ("components", "right")]
        columns += [("data", "left"), ("dtype", "left")]
        columns += [(name, "right") for name in TYPES]
        grouped: dict[tuple, dict[str, dict]] = {}
        for row in rows:
            key = tuple(row[name] for name in ("rows", "features", "components", "kind", "dtype"))
            grouped.setdefault(key, {})[row["covariance_type"]] = row
        lines = []
        for (n_rows, *others), by_type in grouped.items():
            cells = [self._part(by_type.get(name)) for name in TYPES]
            lines.append([f"{n_rows:,}", *map(str, others), *cells])
        return text.markdown(columns, lines)

    @staticmethod
    def _part(row):
        if row is None:
            return ""
        own = text.seconds(row["iterations"]["fastem"], row["others_load"] > text.BUSY)
        if "sklearn" not in row["iterations"]:
            return own
        shown = f"{own}, **{text.times(ratio(row, 'iterations'))}**"
        if "unskipped" in row["iterations"]:
            shown += f" ({text.times(ratio(row, 'iterations', 'unskipped'))})"
        return shown

    def caption(self, rows):
        said = [
            "The time of an EM iteration of fastem and, in bold, how many times as long "
            "scikit-learn's takes."
        ]
        if any("unskipped" in row["iterations"] for row in rows):
            said.append(
                "Separated and distant clusters' nearest neighbours are "
                f"{data.GAPS['separated']:.0f} and {data.GAPS['distant']:.0f} standard deviations "
                "away, and EM begins with K-means' clusters; in brackets, how many times as long "
                "fastem takes when it skips nothing. Its first "
                f"{LIBRARIES['fastem'].first} iterations don't count, in which it finds out "
                "whether to skip, and sorts the rows."
            )
        limited = {
            name: library.most_rows
            for name, library in LIBRARIES.items()
            if library.most_rows and any(name in row["iterations"] for row in rows)
        }
        for name, most in limited.items():
            said.append(f"{name} got {most:,} rows at most, and its time is multiplied.")
        if any(row["fits"] for row in rows):
            said.append(f"Default fits are of one row in {FIT_SHARE}.")
        return " ".join(said)

    def speed_ups(self, rows):
        return [
            SpeedUp(
                f"{row['shape_name']} {row['covariance_type']}"
                + f" {row['kind']}" * (row["kind"] in SEPARATED_KINDS),
                row["dtype"],
                {NAMES.get(peer, peer): ratio(row, "iterations", peer) for peer in compared},
            )
            for row in rows
            if (compared := [peer for peer in PEERS if peer in row["iterations"]])
        ]

    def library(self, peer):
        return next(
            library.distribution
            for name, library in LIBRARIES.items()
            if peer == NAMES.get(name, name)
        )


def fits(name: str, X: np.ndarray, cell: Cell) -> bool:
    """Whether a library can fit a cell: some find no covariance, or one that isn't definite."""
    library = LIBRARIES[name]
    if name == "sklearn":
        return True
    try:
        library.fit(X[: library.most_rows], cell, 1 + library.iterations, cell.start(X))
    except RuntimeError as error:
        print(f"{cell.shape_name} {cell.covariance_type}: {name}: {error}", file=sys.stderr)
        return False
    return True


def ratio(row: dict, what: str, peer: str = "sklearn") -> float:
    """Return how many times faster fastem is, in ``"iterations"`` or ``"fits"``."""
    return row[what][peer] / row[what]["fastem"]
