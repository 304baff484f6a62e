"""The roofline: what each public kernel and each pass reaches of the machine's limits.

S. Williams, A. Waterman and D. Patterson, "Roofline: an insightful visual performance model for
multicore architectures", Communications of the ACM 52 (2009).
"""

from argparse import Namespace
from typing import NamedTuple

from ..benchmarks import machine, measure
from ..benchmarks.kernels import PROBLEMS, SHAPES
from ..benchmarks.passes import PASSES, Pass
from . import text
from .table import Table

QUICK = {
    *("squared_euclidean", "nearest", "gaussian_log_density", "normalize_responsibilities"),
    *("KMeans", "KMedians", "Gaussian full", "Gaussian diag", "Bernoulli"),
}


class Cell(NamedTuple):
    """A public kernel or a model's pass on rows of a shape."""

    name: str
    rows: int
    features: int
    components: int
    kind: str
    dtype: str

    @property
    def shape_name(self) -> str:
        """The name of the kernel or the pass."""
        return self.name.replace(" ", "-")

    def make(self) -> Pass:
        """Return what is to be timed."""
        shape = self.rows, self.features, self.components
        if self.name in PASSES:
            return PASSES[self.name](*shape, self.dtype)
        from fastem import kernels

        kernel = getattr(kernels, self.name)
        arguments, work = PROBLEMS[self.name](*shape, self.dtype)
        # Compared in float32 first, for float64 rows too.
        unit = "float32" if self.name == "nearest" else self.dtype
        return Pass(lambda: kernel(*arguments), work, unit)


class Roofline(Table):
    """The machine's limits are taken in the same process."""

    name = "roofline"
    title = "Kernels and passes: shares of the machine's limits"
    page = None
    in_readme = False
    seconds_a_cell = 0.6

    def all_cells(self):
        return [
            Cell(name, *shape, kind, dtype)
            for dtype in ("float64", "float32")
            for kind, shape in SHAPES.items()
            for name in (*PROBLEMS, *PASSES)
            if not (name == "Bernoulli" and dtype == "float32")
        ]

    def is_short(self, cell):
        return True

    def is_quick(self, cell):
        return cell.name in QUICK and cell.dtype == "float64" and cell.kind == "few features"

    def shrink(self, cell):
        return cell._replace(rows=cell.rows // 20)

    def measure(self, cell: Cell, options: Namespace) -> dict:
        run, work, unit = cell.make()
        with measure.threads(options.threads):
            seconds = machine.least_time(run)
        return {
            **cell._asdict(),
            "unit": unit,
            "seconds": seconds,
            "flops": work.flops,
            "bytes": work.bytes,
            "matmul_peak": machine.matmul_peak(unit),
            "loop_peak": machine.loop_peak(unit),
            "bandwidth": machine.bandwidth(),
        }

    def line(self, row):
        rates = f"{row['bytes'] / row['seconds'] / 1e9:6.1f} GB/s"
        if row["flops"]:
            rates = f"{row['flops'] / row['seconds'] / 1e9:6.1f} GFLOP/s, {rates}"
        return (
            f"{row['name']:>26} {row['kind']:>13} {row['dtype']} "
            f"{text.seconds(row['seconds']):>8}, {limits([row])[row['unit']].share(row):4.0%} of "
            f"the limit ({rates})"
        )

    def summary(self, rows):
        lines = []
        for unit, found in limits(rows).items():
            row = next(row for row in rows if row["unit"] == unit)
            lines.append(
                f"{unit}: at most {found.peak / 1e9:.0f} GFLOP/s and "
                f"{found.bandwidth / 1e9:.0f} GB/s; NumPy's matrix product "
                f"{row['matmul_peak'] / 1e9:.0f} GFLOP/s, a plain loop {row['loop_peak'] / 1e9:.0f}"
            )
        return lines

    def markdown(self, rows):
        columns = [("kernel or pass", "left"), ("rows", "right"), ("features", "right")]
        columns += [("components", "right"), ("dtype", "left"), ("time", "right")]
        columns += [("GFLOP/s", "right"), ("GB/s", "right"), ("of the limit", "right")]
        found = limits(rows)
        return text.markdown(
            columns,
            [
                [
                    *(row["name"], f"{row['rows']:,}", str(row["features"])),
                    *(str(row["components"]), row["dtype"], text.seconds(row["seconds"])),
                    f"{row['flops'] / row['seconds'] / 1e9:.0f}" if row["flops"] else "",
                    f"{row['bytes'] / row['seconds'] / 1e9:.1f}",
                    f"{found[row['unit']].share(row):.0%}",
                ]
                for row in rows
            ],
        )


class Limits(NamedTuple):
    """The most that anything reached: flops and bytes per second."""

    peak: float
    bandwidth: float

    def share(self, row: dict) -> float:
        """Return the least time that the limits allow, over the time taken."""
        return max(row["flops"] / self.peak, row["bytes"] / self.bandwidth) / row["seconds"]


def limits(rows: list[dict]) -> dict[str, Limits]:
    """Return the limits by the dtype of the arithmetic.

    The peak is that of the matrix product, of the plain loop or of a row, whichever is greatest,
    and likewise the bandwidth: what was reached is no less than what can be. (The loop's and the
    product's are measured for a moment only, and additions may have units of their own.)
    """
    bandwidth = max(max(row["bandwidth"], row["bytes"] / row["seconds"]) for row in rows)
    found = {}
    for unit in sorted({row["unit"] for row in rows}):
        mine = [row for row in rows if row["unit"] == unit]
        peak = max(
            max(row["matmul_peak"], row["loop_peak"], row["flops"] / row["seconds"]) for row in mine
        )
        found[unit] = Limits(peak, bandwidth)
    return found
