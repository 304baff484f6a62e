"""A hundredth of what dislib's authors ran on a supercomputer, for "Past one machine"."""

from argparse import Namespace
from typing import NamedTuple

from ..benchmarks import many_ranks, measure
from . import text
from .table import Table

# Seconds of five iterations with a hundred times as many rows, read off a plot, and cores.
SECONDS = {"kmeans, dislib's": 112.0, "full, dislib's": 480.0}
CORES = 896
NAMES = {"kmeans, dislib's": "K-means", "full, dislib's": "full Gaussian mixture"}


class Cell(NamedTuple):
    """A model."""

    case: str
    rows: int
    features: int
    clusters: int
    dtype: str
    kind: str = "overlapping"

    @property
    def shape_name(self) -> str:
        """The model, and whose run it is."""
        return self.case.replace(", ", "-").replace("'", "")


class Published(Table):
    """Core-seconds for a million rows."""

    name = "published"
    title = "Five iterations beside dislib's"
    page = "past-one-machine.md"
    in_readme = False
    seconds_a_cell = 150.0

    def all_cells(self):
        cases = ((name, many_ranks.CASES[name]) for name in SECONDS)
        return [Cell(name, *case.size, case.dtype) for name, case in cases]

    def is_short(self, cell):
        return False

    def is_quick(self, cell):
        return True

    def shrink(self, cell):
        return cell._replace(rows=cell.rows // 20)  # of fewer, covariances are singular

    def choose(self, options):
        return super().choose(options) if measure.installed("mpi4py") else []

    def measure(self, cell: Cell, options: Namespace) -> dict:
        seconds = {
            ranks: many_ranks.on_ranks(cell.case, cell.rows, ranks, whole=True)[2]
            for ranks in (1, 2)
        }
        return {
            **cell._asdict(),
            "shape_name": cell.shape_name,
            "memory": seconds[1],
            "ranks": seconds[2],
        }

    def line(self, row):
        return (
            f"{row['shape_name']}: {text.seconds(row['memory'])} in one process, "
            f"{text.seconds(row['ranks'])} on two ranks"
        )

    def markdown(self, rows):
        columns = [("", "left"), ("dislib", "right"), ("core-seconds a million rows", "right")]
        columns += [("rows here", "right"), ("one process", "right"), ("two ranks", "right")]
        columns += [("core-seconds a million rows", "right")]
        lines = []
        for row in rows:
            theirs = SECONDS[row["case"]]
            million = row["rows"] / 1e6
            lines.append(
                [
                    NAMES[row["case"]],
                    text.seconds(theirs),
                    text.digits(theirs * CORES / (100 * million)),
                    f"{row['rows']:,}",
                    text.seconds(row["memory"]),
                    text.seconds(row["ranks"]),
                    text.digits(2 * row["memory"] / million),
                ]
            )
        return text.markdown(columns, lines)

    def caption(self, rows):
        return "Five iterations in float32, 100 features; here on two cores, there on 896."
