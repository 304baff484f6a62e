"""What mixtures are to the EM loop: a start, a pass over the rows, an objective."""

import math
from collections.abc import Callable
from time import perf_counter
from typing import Any, NamedTuple

from fastem.loop.model import Model
from fastem.rows import Part, Slot


class Resumed(NamedTuple):
    """Where an earlier fit ended, for a further one to go on from.

    Parameters
    ----------
    parameters : object
        The model's.
    objective : float
        The last that the earlier fit saw.
    """

    parameters: Any
    objective: float


# What a part keeps: the pass over its rows.
_PASS: Slot[Any] = Slot("pass")


def pass_of(part: Part, make_pass: Callable) -> Any:
    """The pass over a part's rows, made once."""
    return part.kept(_PASS, make_pass, part.X, part.sample_weight)


def e_step(part: Part, make_pass: Callable, components: Any, options: dict[str, Any]) -> Any:
    """Statistics of a part's rows."""
    return pass_of(part, make_pass).e_step(components, **options)


class MixtureModel(Model):
    """A mixture for the EM loop; a subclass writes ``first``, ``m_step`` and ``components``.

    Parameters
    ----------
    make_pass : callable
        ``(X, sample_weight)`` to an object whose ``step(parameters, hard=...)`` returns additive
        statistics of the rows with an attribute ``objective``: the weighted sum of the rows'
        log-densities, or with ``hard=True`` of their largest joint log-density. It can be pickled.
    total_weight : float
        Sum of all rows' weights: the objective is a mean over it.
    row_unit : float
        What counts as one row among these weights: what pseudo-counts are multiplied with.
    tol : float
        A change of the objective below which a run has converged.
    hard : bool
        Whether each row counts for its most probable component only: classification EM (Celeux
        and Govaert, Computational Statistics & Data Analysis 14, 1992).
    resumed : Resumed or None
        The end of an earlier fit to go on from.
    verbose, verbose_interval : int
        As for the estimators.
    """

    def __init__(
        self,
        make_pass: Callable,
        total_weight: float,
        *,
        row_unit: float = 1.0,
        tol: float,
        hard: bool = False,
        resumed: Resumed | None = None,
        verbose: int = 0,
        verbose_interval: int = 10,
    ):
        self.make_pass = make_pass
        self.total_weight = total_weight
        self.row_unit = row_unit
        self.tol = tol
        self.hard = hard
        self.resumed = resumed
        self.verbose = verbose
        self.verbose_interval = verbose_interval

    def first(self, rows: Any, random_state: Any) -> Any:
        """The parameters that a run starts from, unless it resumes an earlier fit."""
        raise NotImplementedError

    def components(self, parameters: Any) -> Any:
        """The parameters as the passes take them."""
        return parameters

    def start(self, rows, random_state):
        self._started = self._last = perf_counter()
        return rows.agree(
            self.resumed.parameters if self.resumed else self.first(rows, random_state)
        )

    def e_step(self, rows: Any, parameters: Any, **options: Any) -> Any:
        """A pass over all rows; ``options`` are for the pass."""
        options["hard"] = self.hard
        return rows.reduce(e_step, self.make_pass, self.components(parameters), options)

    def objective(self, statistics, parameters):
        return float(statistics.objective) / self.total_weight

    def _change(self, step):
        if step.previous is not None:
            return step.objective - step.previous
        return step.objective - self.resumed.objective if self.resumed else math.inf

    def converged(self, step):
        return abs(self._change(step)) < self.tol

    def better(self, rows, run, best):
        return run.objective > best.objective or best.objective == -math.inf

    def report(self, step):
        number = step.number + 1
        if number % self.verbose_interval:
            return
        if self.verbose == 1:
            print(f"  Iteration {number}")
            return
        now = perf_counter()
        print(
            f"  Iteration {number}\t time lapse {now - self._last:.5f}s"
            f"\t ll change {self._change(step):.5f}"
        )
        self._last = now

    def report_end(self, run):
        if not run.history:
            return
        message = "converged" if run.converged else "did not converge"
        if self.verbose == 1:
            print(f"Initialization {message}.")
            return
        elapsed = perf_counter() - self._started
        print(
            f"Initialization {message}. time lapse {elapsed:.5f}s"
            f"\t lower bound {run.objective:.5f}."
        )
