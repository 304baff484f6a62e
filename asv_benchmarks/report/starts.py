"""Where Gaussian mixtures start: how high fits end, on data sets of many kinds."""

import statistics
import time
import warnings
from argparse import Namespace
from typing import NamedTuple

from ..benchmarks import measure
from ..benchmarks.starts import AUTO, DEFAULT, SEEDS, SETS, STARTS
from . import text
from .table import Table

QUICK = ("iris", "wine")  # the fewest rows
MUCH = 20  # thousandths of a nat


class Cell(NamedTuple):
    """One data set."""

    name: str
    dtype: str = "float64"

    @property
    def kind(self) -> str:
        """What clusters it has."""
        return SETS[self.name].kind

    @property
    def shape_name(self) -> str:
        """The set in one word."""
        return self.name.replace(", ", "-").replace(" ", "-")

    @property
    def rows(self) -> int:
        """How many there are."""
        return len(SETS[self.name].make())


class Starts(Table):
    """Every start on every data set, from the same seeds: as many as ``--repeats`` says."""

    name = "starts"
    title = "Starts of Gaussian mixtures"
    page = "gaussian-mixtures.md"
    in_readme = False
    seconds_a_cell = 5.0

    def all_cells(self):
        return [Cell(name) for name in SETS]

    def is_short(self, cell):
        return True

    def is_quick(self, cell):
        return cell.name in QUICK

    def measure(self, cell: Cell, options: Namespace) -> dict:
        X, n_components = SETS[cell.name].rows(), SETS[cell.name].n_components
        reached: dict[str, list[float]] = {start: [] for start in STARTS}
        times: dict[str, list[float]] = {start: [] for start in STARTS}
        load = measure.OthersLoad()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for seed in range(options.repeats or len(SEEDS)):
                for start, fit in STARTS.items():
                    begin = time.perf_counter()
                    reached[start].append(fit(X, n_components, seed))
                    times[start].append(time.perf_counter() - begin)
        return {
            **cell._asdict(),
            "shape_name": cell.shape_name,
            "kind": cell.kind,
            "log_likelihoods": reached,
            # Of three or more, none that compiled.
            "seconds": {start: statistics.median(taken) for start, taken in times.items()},
            "others_load": round(load.share(), 3),
        }

    def line(self, row):
        return f"{row['shape_name']:>26} " + ", ".join(
            f"{start} {gap:.0f}" for start, gap in below_best(row).items()
        )

    def summary(self, rows):
        gaps = {row["name"]: below_best(row)[AUTO] for row in rows}
        much = sorted((name for name in gaps if gaps[name] > MUCH), key=gaps.get, reverse=True)
        named = ", ".join(f"{name} ({gaps[name]:.0f})" for name in much)
        return [f"{AUTO} ends more than {MUCH} below on {len(much)} of {len(rows)}: {named}"]

    def markdown(self, rows):
        kinds = dict.fromkeys(row["kind"] for row in rows)
        columns = [("start", "left")]
        columns += [(f"{kind} ({_count(rows, kind)})", "right") for kind in kinds]
        columns += [("all", "right"), (f"above {MUCH}", "right"), ("time of a fit", "right")]
        lines = []
        for start in STARTS:
            gaps = [(row["kind"], below_best(row)[start]) for row in rows]
            means = [statistics.mean(gap for its, gap in gaps if its == kind) for kind in kinds]
            every = [gap for _, gap in gaps]
            lines.append(
                [
                    start,
                    *(f"{mean:.0f}" for mean in means),
                    f"**{statistics.mean(every):.0f}**",
                    str(sum(gap > MUCH for gap in every)),
                    f"{text.times(times_the_default(rows, start))}×{'~' * _is_busy(rows)}",
                ]
            )
        return text.markdown(columns, lines)

    def caption(self, rows):
        seeds = text.span(len(row["log_likelihoods"][AUTO]) for row in rows)
        return (
            "By how many thousandths of a nat a row the log-likelihood ends below the best that "
            f"any of these fits has found: means over {seeds} seeds and the data sets of a kind, "
            f"whose number is in brackets; on how many of all it is more than {MUCH}; and the "
            "geometric mean of the times as a multiple of the default's."
        )


def below_best(row: dict) -> dict[str, float]:
    """Return each start's mean gap to the best found, in thousandths of a nat a row."""
    best = max(max(found) for found in row["log_likelihoods"].values())
    return {
        start: 1e3 * (best - statistics.mean(found))
        for start, found in row["log_likelihoods"].items()
    }


def times_the_default(rows: list[dict], start: str) -> float:
    """Return how many times as long as from the default a fit takes."""
    return statistics.geometric_mean(
        row["seconds"][start] / row["seconds"][DEFAULT] for row in rows
    )


def _count(rows, kind):
    return sum(row["kind"] == kind for row in rows)


def _is_busy(rows):
    return statistics.mean(row["others_load"] for row in rows) > text.BUSY
