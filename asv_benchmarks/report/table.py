"""What all tables have in common: which cells are measured, and what is said of them."""

from argparse import Namespace
from collections.abc import Iterable
from typing import Any, NamedTuple

from ..benchmarks import data
from . import text


class SpeedUp(NamedTuple):
    """A cell beside all others that it was measured with: the fastest of them counts.

    ``ratios`` are how many times as long as fastem each takes, by name.
    """

    label: str
    dtype: str
    ratios: dict[str, float]

    @property
    def peer(self) -> str:
        """The fastest of the others."""
        return min(self.ratios, key=self.ratios.__getitem__)

    @property
    def ratio(self) -> float:
        """How many times as long as fastem the fastest of the others takes."""
        return self.ratios[self.peer]


class Table:
    """One table: its cells, how one is measured, and how the results are shown.

    A result is a dict of JSON's types. The subclasses' modules measure with the functions that
    airspeed velocity's benchmarks use.

    Attributes
    ----------
    name : str
        Of the table on the command line and in the page's markers.
    title : str
    peers : tuple of str
        The libraries that take part, each if it is installed.
    page : str or None
        The page in docs/ that has the table's markers.
    in_readme : bool
        Whether the README has a line of what it comes to.
    seconds_a_cell : float
        What a cell of the short run takes, roughly: for the progress bar.
    """

    name: str
    title: str
    peers: tuple[str, ...] = ()
    page: str | None = "performance.md"
    in_readme = True
    seconds_a_cell = 10.0

    def all_cells(self) -> list[Any]:
        """Return every cell: NamedTuples with ``shape_name``, ``kind`` and ``dtype``."""
        raise NotImplementedError

    def is_short(self, cell: Any) -> bool:
        """Whether a cell belongs to the run of about ten minutes."""
        raise NotImplementedError

    def is_quick(self, cell: Any) -> bool:
        """Whether a cell belongs to the pass that only shows that all runs."""
        return self.is_short(cell)

    def shrink(self, cell: Any) -> Any:
        """Return a cell with few rows, for the same pass."""
        return cell

    def missing(self, names: Iterable[str]) -> list[str]:
        """Say which of the named peers can't take part."""
        return []

    def measure(self, cell: Any, options: Namespace) -> dict:
        """Return a cell's result; ``options`` are those of the command line."""
        raise NotImplementedError

    def header(self) -> str:
        """Return the head of the text table."""
        return self.title

    def line(self, row: dict) -> str:
        """Return a result's line of the text table."""
        raise NotImplementedError

    def summary(self, rows: list[dict]) -> list[str]:
        """Return what all results come to, each in a line."""
        return []

    def markdown(self, rows: list[dict]) -> str:
        """Return the table as Markdown."""
        raise NotImplementedError

    def caption(self, rows: list[dict]) -> str:
        """Return the sentences below the table that say how it was measured."""
        return ""

    def speed_ups(self, rows: list[dict]) -> list[SpeedUp]:
        """Return every cell that another library was measured in."""
        return []

    def library(self, peer: str) -> str:
        """Return the library that one of the names in ``speed_ups`` stands for."""
        return peer

    def against_the_fastest(self, rows: list[dict]) -> list[str]:
        """Return what the ratios to each cell's fastest other come to, for each dtype."""
        points = self.speed_ups(rows)
        notes = []
        for dtype in data.DTYPES:
            ratios = {point.label: point.ratio for point in points if point.dtype == dtype}
            if ratios:
                notes.append(text.of_ratios(f"{dtype}, against the fastest in each cell", ratios))
        return notes

    def in_order(self, rows: list[dict]) -> list[dict]:
        """Return the last result of every cell, in the order of all cells."""
        cells = self.all_cells()
        last = {tuple(row[field] for field in cells[0]._fields): row for row in rows}
        order = {tuple(cell): i for i, cell in enumerate(cells)}
        return [last[key] for key in sorted(last, key=lambda key: order.get(key, len(order)))]

    def choose(self, options: Namespace) -> list[Any]:
        """Return the cells that the command line asks for."""
        cells = self.all_cells()
        if options.cells or options.kind:
            cells = [
                cell
                for cell in cells
                if (not options.cells or cell.shape_name in options.cells)
                and (not options.kind or cell.kind in options.kind)
            ]
        elif options.quick:
            cells = [cell for cell in cells if self.is_quick(cell)]
        elif not options.full:
            cells = [cell for cell in cells if self.is_short(cell)]
        cells = [cell for cell in cells if not options.dtype or cell.dtype in options.dtype]
        return [self.shrink(cell) for cell in cells] if options.quick else cells
