"""What an iteration costs beside its passes, for "Past one machine"."""

from argparse import Namespace
from typing import NamedTuple

from ..benchmarks import dask_rows, many_ranks, measure
from . import text
from .table import Table


def _on_workers(function, *args):
    with dask_rows.Workers() as workers:
        return function(workers, *args)


def _on_one_thread(function):
    with measure.threads(1):
        return function()


# What is measured, in milliseconds or times, and which package it takes.
MEASURED = {
    "an empty iteration on two ranks": (
        "mpi4py",
        lambda rows: 1e3 * many_ranks.on_ranks("nothing", rows, 2)[0],
    ),
    "an empty iteration on three ranks": (
        "mpi4py",
        lambda rows: 1e3 * many_ranks.on_ranks("nothing", rows, 3)[0],
    ),
    "an empty iteration on two Dask workers": (
        "distributed",
        lambda rows: _on_workers(dask_rows.milliseconds_of_nothing),
    ),
    "a streamed block, beside reading it": (
        "dask",
        lambda rows: 1e-3 * _on_one_thread(dask_rows.microseconds_a_block),
    ),
    "20 iterations of dask-ml's K-means, beside ours": (
        "dask_ml",
        lambda rows: _on_workers(dask_rows.ratio_to_dask_ml, rows),
    ),
}
RATIO = "20 iterations of dask-ml's K-means, beside ours"


class Cell(NamedTuple):
    """One of them."""

    what: str
    rows: int
    kind: str = "overhead"
    dtype: str = "float64"

    @property
    def shape_name(self) -> str:
        """What is measured, in one word."""
        return self.what.split(",")[0].replace(" ", "-")


class Overheads(Table):
    """What is there once, however many rows there are; and a peer."""

    name = "overheads"
    title = "Overheads of several processes"
    page = "past-one-machine.md"
    in_readme = False
    seconds_a_cell = 20.0

    def all_cells(self):
        return [
            Cell(what, many_ranks.CASES["kmeans"].size.rows if what == RATIO else 1000)
            for what in MEASURED
        ]

    def is_short(self, cell):
        return True

    def shrink(self, cell):
        return cell._replace(rows=cell.rows // 10)

    def choose(self, options):
        return [
            cell for cell in super().choose(options) if measure.installed(MEASURED[cell.what][0])
        ]

    def measure(self, cell: Cell, options: Namespace) -> dict:
        _, run = MEASURED[cell.what]
        return {**cell._asdict(), "shape_name": cell.shape_name, "figure": run(cell.rows)}

    def line(self, row):
        return f"{row['what']}: {_shown(row)}"

    def markdown(self, rows):
        columns = [("", "left"), ("", "right")]
        return text.markdown(columns, [[row["what"], _shown(row)] for row in rows])

    def caption(self, rows):
        said = (
            "Three ranks share two cores, with `MPIR_CVAR_POLLS_BEFORE_YIELD=1`. The block has 64 "
            "rows of 16 features for eight clusters, on one thread."
        )
        if any(row["what"] == RATIO for row in rows):
            said += (
                " dask-ml starts from the same centres on the same two workers, with 1,000,000 "
                "rows of 16 features and 32 clusters."
            )
        return said


def _shown(row):
    return f"{text.digits(row['figure'], 2)} {'times' if row['what'] == RATIO else 'ms'}"
