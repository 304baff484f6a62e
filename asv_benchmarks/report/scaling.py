"""How a pass of each model grows with threads, rows, features and components."""

from argparse import Namespace
from typing import NamedTuple

from ..benchmarks import machine, measure
from ..benchmarks.passes import PASSES
from . import text
from .table import Table

MODELS = ("KMeans", "KMedians", "Gaussian full", "Gaussian diag", "Bernoulli")
BASE = {"rows": 100_000, "features": 16, "components": 16}
STEPS = {
    "rows": (1_000, 10_000, 100_000, 1_000_000),
    "features": (2, 4, 8, 16, 32, 64, 128),
    "components": (1, 2, 4, 8, 16, 32, 64, 128),
}
AXES = ("threads", *STEPS)


class Cell(NamedTuple):
    """A model's pass at one point of a curve."""

    model: str
    axis: str
    threads: int
    rows: int
    features: int
    components: int
    dtype: str = "float64"

    @property
    def shape_name(self) -> str:
        """The model."""
        return self.model.replace(" ", "-")

    @property
    def kind(self) -> str:
        """The axis."""
        return self.axis


class Scaling(Table):
    """All around one size; one thing changes at a time."""

    name = "scaling"
    title = "Scaling of a pass"
    page = None
    in_readme = False
    seconds_a_cell = 0.3

    def all_cells(self):
        most = measure.N_THREADS
        threads = sorted({*(2**i for i in range(most.bit_length())), most})
        cells = [Cell(model, "threads", n, **BASE) for model in MODELS for n in threads]
        return cells + [
            Cell(model, axis, most, **{**BASE, axis: value})
            for axis, values in STEPS.items()
            for model in MODELS
            for value in values
        ]

    def is_short(self, cell):
        return cell.rows < 1_000_000

    def is_quick(self, cell):
        return cell.axis == "threads"

    def shrink(self, cell):
        return cell._replace(rows=cell.rows // 10)

    def measure(self, cell: Cell, options: Namespace) -> dict:
        shape = cell.rows, cell.features, cell.components
        run, _, _ = PASSES[cell.model](*shape, cell.dtype)
        with measure.threads(cell.threads):
            return {
                **cell._asdict(),
                "seconds": machine.least_time(run, 5 if cell.rows > 1e5 else 20),
            }

    def line(self, row):
        return (
            f"{row['model']:>14} {row['axis']:>10} = {row[row['axis']]:>9,}: "
            f"{text.seconds(row['seconds'])}"
        )

    def markdown(self, rows):
        columns = [("model", "left"), ("along", "left"), ("value", "right"), ("a pass", "right")]
        return text.markdown(
            columns,
            [
                [row["model"], row["axis"], f"{row[row['axis']]:,}", text.seconds(row["seconds"])]
                for row in rows
            ],
        )
