"""Iterations on several ranks or workers beside those of one process, for "Past one machine"."""

from argparse import Namespace
from typing import NamedTuple

from ..benchmarks import dask_rows, many_ranks, measure
from . import text
from .table import Table

PLACES = {
    "ranks": ("two ranks of MPI", ("kmeans", "full", "bernoulli", "kmedians")),
    "workers": (
        "two workers of Dask",
        ("kmeans", "kmeans, many rows", "full", "bernoulli", "kmedians"),
    ),
}
NAMES = {
    "kmeans": "K-means",
    "full": "full Gaussian mixture",
    "bernoulli": "Bernoulli mixture",
    "kmedians": "K-medians",
}


class Cell(NamedTuple):
    """A model at one place."""

    place: str
    case: str
    rows: int
    features: int
    clusters: int
    dtype: str

    @property
    def shape_name(self) -> str:
        """The model."""
        return self.case.replace(", ", "-").replace(" ", "-")

    @property
    def kind(self) -> str:
        """The place."""
        return self.place


class Places(Table):
    """Two processes of one thread each beside one of two threads."""

    name = "places"
    title = "Two processes beside one"
    page = "past-one-machine.md"
    in_readme = False
    seconds_a_cell = 40.0

    def all_cells(self):
        cells = []
        for place, (_, names) in PLACES.items():
            for name in names:
                case = many_ranks.CASES[name]
                cells.append(Cell(place, name, *case.size, case.dtype))
        return cells

    def is_short(self, cell):
        return cell.rows <= 1_000_000

    def is_quick(self, cell):
        return cell.case == "kmeans"

    def shrink(self, cell):
        return cell._replace(rows=cell.rows // 100)

    def choose(self, options):
        installed = {
            "ranks": measure.installed("mpi4py"),
            "workers": measure.installed("distributed"),
        }
        return [cell for cell in super().choose(options) if installed[cell.place]]

    def measure(self, cell: Cell, options: Namespace) -> dict:
        if cell.place == "workers":
            with dask_rows.Workers() as workers:
                seconds, n_bytes = dask_rows.compared(workers, cell.case, cell.rows)
        else:
            run = cell.case, cell.rows
            alone = [many_ranks.on_ranks(*run, 1)[0]]
            there, n_bytes, _ = many_ranks.on_ranks(*run)
            alone.append(many_ranks.on_ranks(*run, 1)[0])
            seconds = {"memory": min(alone), "there": there}
        return {
            **cell._asdict(),
            "shape_name": cell.shape_name,
            "seconds": seconds,
            "bytes": n_bytes,
        }

    def line(self, row):
        seconds = row["seconds"]
        return (
            f"{row['place']:>8} {row['shape_name']:>18} {row['rows']:>11,} rows: memory "
            f"{text.seconds(seconds['memory'])}, there {text.seconds(seconds['there'])}, "
            f"{share(row):.0%} of the speed; {row['bytes']:,.0f} bytes"
        )

    def markdown(self, rows):
        columns = [("", "left"), ("", "left"), ("rows", "right"), ("clusters", "right")]
        columns += [("one process", "right"), ("there", "right"), ("of its speed", "right")]
        columns += [("bytes", "right")]
        return text.markdown(
            columns,
            [
                [
                    PLACES[row["place"]][0],
                    NAMES[row["case"].split(",")[0]],
                    f"{row['rows']:,}",
                    str(row["clusters"]),
                    text.seconds(row["seconds"]["memory"]),
                    text.seconds(row["seconds"]["there"]),
                    f"{100 * share(row):.0f} %",
                    f"{row['bytes']:,.0f}",
                ]
                for row in rows
            ],
        )

    def caption(self, rows):
        return (
            "An iteration, once a fit has started, with 16 float64 features: in one process of two "
            "threads, and in two of one thread each. Bytes are what a rank sends, or what all "
            "connections between Dask's client, scheduler and workers move, in an iteration."
        )


def share(row: dict) -> float:
    """The speed there, as a share of that in one process."""
    return row["seconds"]["memory"] / row["seconds"]["there"]
