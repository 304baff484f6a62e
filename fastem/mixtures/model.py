"""What mixtures are to the EM loop: a start, a pass over the rows, an objective."""

import copy
import math
from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from fastem.loop.model import Model, Until
from fastem.mixtures.sampled import Sample
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


class Split(NamedTuple):
    """Two components in the place of one.

    Parameters
    ----------
    gain : float
        Of the log-likelihoods of the one's share of the rows, in sum.
    least : float
        Weight of the rows of the one with less.
    children : object
        The two's parameters.
    """

    gain: float
    least: float
    children: Any


# Iterations in one call: Ctrl-C waits for them.
_AT_ONCE = 100

# What a part keeps: the pass over its rows, and one for another number of components.
_PASS: Slot[Any] = Slot("pass")
_RESIZED_PASS: Slot[Any] = Slot("resized pass")


def pass_of(part: Part, make_pass: Callable, slot: Slot = _PASS) -> Any:
    """The pass over a part's rows, made once."""
    return part.kept(slot, make_pass, part.X, part.sample_weight)


def e_step(
    part: Part, make_pass: Callable, slot: Slot, components: Any, options: dict[str, Any]
) -> Any:
    """Statistics of a part's rows."""
    return pass_of(part, make_pass, slot).e_step(components, **options)


def _drop(part, slot):
    part.drop(slot)


class MixtureModel(Model):
    """A mixture for the EM loop; a subclass writes what raises NotImplementedError here.

    Parameters
    ----------
    make_pass : callable
        ``(X, sample_weight)`` to an object whose ``e_step(parameters, hard=...)`` returns additive
        statistics of the rows with an attribute ``objective``: the weighted sum of the rows'
        log-densities, or with ``hard=True`` of their largest joint log-density. It can be pickled,
        and takes another ``n_components`` than its own.
    n_components : int
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
        n_components: int,
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
        self.n_components = n_components
        self.total_weight = total_weight
        self.row_unit = row_unit
        self.tol = tol
        self.hard = hard
        self.resumed = resumed
        self.verbose = verbose
        self.verbose_interval = verbose_interval
        self._slot = _PASS

    def first(self, rows: Any, random_state: Any) -> Any:
        """The parameters that a run starts from, unless it resumes an earlier fit."""
        raise NotImplementedError

    def components(self, parameters: Any) -> Any:
        """The parameters as the passes take them."""
        return parameters

    # What a search asks for.

    def arrays(self, parameters: Any) -> list[np.ndarray]:
        """What the parameters have of each component, but for the weights, as first axes."""
        raise NotImplementedError

    def replaced(self, parameters: Any, weights: np.ndarray, arrays: Sequence[np.ndarray]) -> Any:
        """The same with other weights and :meth:`arrays`."""
        raise NotImplementedError

    def halves(
        self, one: Sequence[np.ndarray], pair: Sequence[np.ndarray], counts: np.ndarray
    ) -> Sequence[np.ndarray]:
        """A component's halves, for all rows, of which a sample has found them.

        Parameters
        ----------
        one, pair : sequence of ndarray
            What :meth:`arrays` has of the component, and of its halves.
        counts : ndarray of shape (2,)
            Weight of the halves' rows.

        Returns
        -------
        sequence of ndarray
            Like ``pair``.
        """
        return pair

    def alone(self, parameters: Any) -> Any:
        """Only the components, without what else explains rows."""
        return parameters

    #: Columns of responsibilities behind the components'.
    n_others = 0

    def resized(self, n_components: int) -> "MixtureModel":
        """The same model for another number of components."""
        other = copy.copy(self)
        other.make_pass = partial(self.make_pass, n_components=n_components)
        other.n_components = n_components
        other._slot = _RESIZED_PASS
        return other

    def sampled(self, n_components: int, total_weight: float) -> "MixtureModel":
        """A model for some rows, to which each belongs by its responsibility for a component."""
        other = self.resized(n_components)
        other.total_weight, other.hard = total_weight, False
        return other

    def settled(
        self, rows: Any, parameters: Any, until: Until
    ) -> tuple[Any, Any, list[float]] | None:
        """Iterations until they have settled, in one call, where that can be.

        Returns
        -------
        parameters : object
            After the last M-step.
        statistics : object
            What the last E-step returned.
        history : list of float
            The objective that each iteration began with.
        """
        return None

    def advanced(
        self, rows: Any, parameters: Any, until: Until
    ) -> tuple[Any, Any, list[float]] | None:
        """Some iterations, as of :meth:`settled`, which they need not have when they end."""
        return None

    def breathed(
        self, rows: Any, sample: Sample, parameters: Any, untils: tuple[Until, Until]
    ) -> tuple[Any, Any, list[float], int] | None:
        """Iterations of more components, and of those that are missed most, where that can be.

        Parameters
        ----------
        rows : Rows
        sample : Sample
            Of these rows.
        parameters : object
            Of more components than the model has.
        untils : tuple of Until
            For more components, and for those that remain.

        Returns
        -------
        parameters, statistics, history
            As of :meth:`settled`, of those that remain.
        n_iter : int
            Iterations in all.
        """
        return None

    def splits(
        self, sample: Sample, shares: np.ndarray, parameters: Any, until: Until
    ) -> list[list[Split]] | None:
        """What components become that are split in two, all at once, where that can be.

        Parameters
        ----------
        sample : Sample
        shares : ndarray of shape (n_sample_rows, n_components)
            What share of each row a component is responsible for; nothing where it's negligible.
        parameters : object
            Of the components alone.
        until : Until

        Returns
        -------
        list of list of Split
            For each component, one for each way to begin that leads anywhere.
        """
        return None

    def begin(self, rows):
        if self._slot is _RESIZED_PASS:  # of yet another number
            rows.map(_drop, self._slot)

    def start(self, rows, random_state):
        self._started = self._last = perf_counter()
        return rows.agree(
            self.resumed.parameters if self.resumed else self.first(rows, random_state)
        )

    def e_step(self, rows: Any, parameters: Any, **options: Any) -> Any:
        """A pass over all rows; ``options`` are for the pass."""
        options["hard"] = self.hard
        components = self.components(parameters)
        return rows.reduce(e_step, self.make_pass, self._slot, components, options)

    def objective(self, statistics, parameters):
        return float(statistics.objective) / self.total_weight

    def iterated(self, rows, parameters, most, previous):
        before = self._before(previous)
        until = Until(self.tol, self.tol, min(most, _AT_ONCE), before=before)
        found = self.settled(rows, parameters, until)
        return self.advanced(rows, parameters, until) if found is None else found

    def _before(self, previous):
        """The objective before an iteration, -inf if none is known."""
        if previous is not None:
            return previous
        return self.resumed.objective if self.resumed else -math.inf

    def _change(self, step):
        return step.objective - self._before(step.previous)

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
