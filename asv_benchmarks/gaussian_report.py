"""Compare Gaussian mixtures with scikit-learn and oneDAL, for `report.py --table gaussian`."""

import re

import numpy as np

from .benchmarks import data, measure
from .benchmarks.gaussian_mixture import (
    LIBRARIES,
    TYPES,
    able,
    all_cells,
    seconds_a_fit,
    seconds_an_iteration,
)

NAMES = list(dict.fromkeys(cell.shape_name for cell in all_cells()))
# Whole fits take a hundred iterations and are measured on a part of the rows.
FIT_SHARE = 10


def run(shapes=None, dtypes=None, repeats=None, quick=False) -> list[dict]:
    """Measure the chosen cells, printing each as it is done."""
    rows = []
    for cell in all_cells():
        if (shapes and cell.shape_name not in shapes) or (dtypes and cell.dtype not in dtypes):
            continue
        shape_name = cell.shape_name
        if quick:
            cell = cell._replace(rows=max(cell.rows // 20, 2 * cell.components))
        X = cell.make_rows()
        load = measure.OthersLoad()
        iterations = seconds_an_iteration(X, cell, able(cell), 3 if quick else repeats)
        part = cell._replace(rows=max(cell.rows // FIT_SHARE, 2 * cell.components))
        fits = {}
        if cell.kind == "overlapping":
            pair = ["fastem", "sklearn"]
            found = seconds_a_fit(X[: part.rows], part, pair, 1 if quick else repeats)
            fits = {name: seconds for name, (seconds, _) in found.items()}
        row = {
            **cell._asdict(),
            "shape_name": shape_name,
            "iterations": iterations,
            "fits": fits,
            "others_load": round(load.share(), 3),
        }
        rows.append(row)
        print(line(row), flush=True)
    return rows


def line(row: dict) -> str:
    """Return a cell's line of the text table."""
    times = ", ".join(f"{name} {1e3 * s:.3g} ms" for name, s in row["iterations"].items())
    text = (
        f"{row['shape_name']:>11} {row['kind']:>11} {row['covariance_type']:>9} {row['dtype']} "
        f"iteration: {times} ({ratio(row, 'iterations'):.1f}x)"
    )
    return text + (f"; fit {ratio(row, 'fits'):.1f}x" if row["fits"] else "")


def ratio(row: dict, what: str, peer: str = "sklearn") -> float:
    """Return how many times faster fastem is, in ``"iterations"`` or ``"fits"``."""
    return row[what][peer] / row[what]["fastem"]


def summary(rows: list[dict]) -> str:
    """Return geometric means and worst ratios."""
    notes = []
    for what in ("iterations", "fits"):
        for peer in LIBRARIES:
            for dtype in data.DTYPES:
                ratios = [
                    ratio(row, what, peer)
                    for row in rows
                    if row["dtype"] == dtype and row["kind"] == "overlapping" and peer in row[what]
                ]
                if peer != "fastem" and ratios:
                    notes.append(
                        f"{what}, {dtype}, against {peer}: geometric mean "
                        f"{np.exp(np.mean(np.log(ratios))):.1f}x, worst {min(ratios):.1f}x"
                    )
    return "\n".join(notes)


def readme_table(rows: list[dict]) -> str:
    """Return the table as Markdown: a line for each shape, the covariance types side by side."""
    lines = [
        f"| rows | features | components | data | dtype | {' | '.join(TYPES)} |",
        f"| ---: | ---: | ---: | --- | --- |{' ---: |' * len(TYPES)}",
    ]
    grouped: dict[tuple, dict[str, dict]] = {}
    for row in rows:
        key = tuple(row[name] for name in ("rows", "features", "components", "kind", "dtype"))
        grouped.setdefault(key, {})[row["covariance_type"]] = row
    for (n_rows, *others), by_type in grouped.items():
        parts = [f"{n_rows:,}", *map(str, others)]
        for name in TYPES:
            row = by_type.get(name)
            parts.append(
                f"{1e3 * row['iterations']['fastem']:.3g} ms, **{ratio(row, 'iterations'):.0f}**"
                if row
                else ""
            )
        lines.append(f"| {' | '.join(parts)} |")
    notes = re.sub(r"(\d)x", r"\1×", summary(rows).replace("\n", "; "))
    return "\n".join(
        [*lines, "", f"{notes}. Fits are of a tenth of the rows, with default parameters."]
    )
