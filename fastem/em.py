"""The EM loop: restarts, convergence, history, progress. It knows no model.

For a model of your own, derive from :class:`Mixture` if it is a mixture, else from :class:`Model`.

Dempster, Laird and Rubin, "Maximum likelihood from incomplete data via the EM algorithm", Journal
of the Royal Statistical Society B 39, 1977.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple

from sklearn.exceptions import ConvergenceWarning

if TYPE_CHECKING:
    from fastem.own_mixture import Mixture

__all__ = ["Mixture", "Model", "Run", "Step", "Task", "fit", "watch"]


def __getattr__(name: str) -> Any:
    # Resolved on first use: it is built on this loop.
    if name == "Mixture":
        from fastem.own_mixture import Mixture

        globals()[name] = Mixture
        return Mixture
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class Step(NamedTuple):
    """One iteration.

    Parameters
    ----------
    number : int
        Counts from 0.
    statistics : object
        What the E-step returned.
    parameters, updated : object
        Before and after the M-step.
    objective : float
        Of ``parameters``.
    previous : float or None
        The objective one iteration before.
    """

    number: int
    statistics: Any
    parameters: Any
    updated: Any
    objective: float
    previous: float | None


@dataclass
class Run:
    """One run from one start.

    Parameters
    ----------
    parameters : object
        After the last M-step.
    history : list of float
        The objective that each iteration began with.
    converged : bool or str
        Whether the iterations ended by themselves; a model may give the reason.
    objective : float
        Of ``parameters``, as far as the model's ``finish`` knows.
    statistics : object
        What the last E-step returned.
    """

    parameters: Any
    history: list[float]
    converged: bool | str
    objective: float
    statistics: Any

    @property
    def n_iter(self) -> int:
        """Number of iterations."""
        return len(self.history)


class Model:
    """What the loop asks of a model: derive from it and write ``start``, ``e_step``, ``m_step``.

    The defaults of the other methods suit a log-likelihood: the statistics have an attribute
    ``objective`` that grows, and a run has converged once it changes by less than ``tol``.
    """

    tol: float = 1e-3
    #: Whether a fit without convergence warns.
    warns: bool = True

    def start(self, rows: Any, random_state: Any) -> Any:
        """The parameters that a run starts from."""
        raise NotImplementedError

    def e_step(self, rows: Any, parameters: Any) -> Any:
        """Additive statistics of all rows, usually ``rows.reduce(step, parameters)``."""
        raise NotImplementedError

    def m_step(self, rows: Any, statistics: Any, parameters: Any) -> Any:
        """The next parameters. Most models need only the statistics."""
        raise NotImplementedError

    def objective(self, statistics: Any, parameters: Any) -> float:
        """The objective of the parameters that led to the statistics."""
        return statistics.objective

    def converged(self, step: Step) -> bool | str:
        """Whether this iteration was the last one needed."""
        return step.previous is not None and abs(step.objective - step.previous) < self.tol

    def finish(self, rows: Any, run: Run) -> None:
        """Complete a run whose iterations have ended, say by a last E-step."""

    def better(self, rows: Any, run: Run, best: Run) -> bool:
        """Whether a run shall replace the best one so far."""
        return run.objective > best.objective

    def keep(self, rows: Any) -> None:
        """Set aside what the rows hold of the run just ended: it is the best so far."""

    def report_start(self, number: int) -> None:
        """Print that a run has its start (with ``verbose``)."""
        print(f"Initialization {number}")

    def report(self, step: Step) -> None:
        """Print an iteration (with ``verbose``)."""
        print(f"  Iteration {step.number}, objective {step.objective}")

    def report_end(self, run: Run) -> None:
        """Print how a run's iterations ended (with ``verbose``)."""
        if run.converged:
            print("Initialization converged.")
        else:
            print("Initialization did not converge.")


class Task:
    """A node in the tree of tasks that scikit-learn's callbacks watch: fit, run, iteration."""

    def __init__(self, context, estimator, attributes, data):
        self._context = context
        self._estimator = estimator
        self._attributes = attributes
        self._data = data

    def _hook(self, hook, parameters):
        return hook(
            estimator=self._estimator,
            # Evaluated for those callbacks only that ask for a fitted estimator.
            reconstruction_attributes=(
                None if parameters is None else partial(self._attributes, parameters)
            ),
            **self._data,
        )

    def begin(self, parameters: Any = None) -> "Task":
        """Tell the callbacks that the task begins."""
        self._hook(self._context.call_on_fit_task_begin, parameters)
        return self

    def subtask(self, name: str, max_subtasks: int = 0, parameters: Any = None) -> "Task":
        """Begin a task inside this one."""
        context = self._context.subcontext(task_name=name, max_subtasks=max_subtasks)
        return Task(context, self._estimator, self._attributes, self._data).begin(parameters)

    def end(self, parameters: Any = None) -> bool:
        """Tell the callbacks that the task has ended; whether one asks to stop its siblings."""
        return self._hook(self._context.call_on_fit_task_end, parameters)


class _Unwatched:
    """The same without callbacks, for nothing."""

    def begin(self, parameters=None):
        return self

    def subtask(self, name, max_subtasks=0, parameters=None):
        return self

    def end(self, parameters=None):
        return False


UNWATCHED = _Unwatched()


def watch(
    estimator: Any, n_init: int, attributes: Callable[[Any], dict[str, Any]], **data: Any
) -> Any:
    """Begin the fit's task if anybody watches.

    Parameters
    ----------
    estimator : estimator with sklearn.callback.CallbackSupportMixin
        Its ``fit`` is decorated with scikit-learn's ``_fit_context``, which ends the callbacks.
    n_init : int
        Number of runs.
    attributes : callable
        Makes the fitted attributes, a dict, of parameters; for callbacks that ask for an
        estimator as if the fit had stopped.
    **data
        ``X``, ``y`` and ``metadata``, which callbacks may ask for.

    Returns
    -------
    Task
    """
    if not (hasattr(estimator, "_skl_callbacks") or hasattr(estimator, "_parent_callback_ctx")):
        return UNWATCHED
    context = estimator._init_callback_context(max_subtasks=n_init)
    return Task(context, estimator, attributes, data).begin()


def fit(
    model: Model,
    rows: Any,
    *,
    max_iter: int,
    n_init: int = 1,
    random_state: Any = None,
    verbose: int = 0,
    task: Any = UNWATCHED,
) -> Run:
    """Run EM from one start or several and return the best run.

    Parameters
    ----------
    model : Model
    rows : rows as in :mod:`fastem.rows`
    max_iter : int
        Largest number of iterations of a run; with none, its result is its start.
    n_init : int
        Number of runs.
    random_state : object
        Passed to the model's ``start``.
    verbose : int
        Whether the model reports its steps.
    task : Task
        As :func:`watch` returns it; the caller ends it.

    Returns
    -------
    Run

    Warns
    -----
    ConvergenceWarning
        If the best run has not converged, unless the model doesn't warn.
    """
    best = None
    for number in range(n_init):
        run_task = task.subtask("run", max_subtasks=max_iter)
        run = _run(model, rows, number, max_iter, random_state, verbose, run_task)
        if best is None or model.better(rows, run, best):
            best = run
            model.keep(rows)
        if run_task.end(run.parameters):
            break
    if model.warns and not best.converged:
        warnings.warn(
            "Best performing initialization did not converge. Try different init parameters, or "
            "increase max_iter, tol, or check for degenerate data.",
            ConvergenceWarning,
            stacklevel=2,
        )
    return best


def _run(model, rows, number, max_iter, random_state, verbose, task):
    parameters = model.start(rows, random_state)
    if verbose:
        model.report_start(number)
    history = []
    statistics, previous, objective, converged = None, None, -inf, False
    for iteration in range(max_iter):
        iteration_task = task.subtask("iteration", parameters=parameters)
        statistics = model.e_step(rows, parameters)
        updated = model.m_step(rows, statistics, parameters)
        objective = model.objective(statistics, parameters)
        step = Step(iteration, statistics, parameters, updated, objective, previous)
        history.append(objective)
        if verbose:
            model.report(step)
        parameters, previous = updated, objective
        converged = model.converged(step)
        if iteration_task.end(parameters) or converged:
            break
    run = Run(parameters, history, converged, objective, statistics)
    if verbose:
        model.report_end(run)
    model.finish(rows, run)
    return run
