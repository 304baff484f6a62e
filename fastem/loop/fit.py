"""The loop itself: runs from one start or several, of which the best is kept.

Dempster, Laird and Rubin, "Maximum likelihood from incomplete data via the EM algorithm", Journal
of the Royal Statistical Society B 39, 1977.
"""

from collections.abc import Callable
from math import inf
from typing import Any

from sklearn.exceptions import ConvergenceWarning

from fastem.loop.callbacks import UNWATCHED, Agreed
from fastem.loop.model import Model, Run, Step
from fastem.rows import Rows
from fastem.warning import warn_user


def fit(
    model: Model,
    rows: Rows,
    *,
    max_iter: int,
    n_init: int = 1,
    random_state: Any = None,
    verbose: int = 0,
    task: Any = UNWATCHED,
    search: Callable[..., Run] | None = None,
) -> Run:
    """Run EM from one start or several and return the best run.

    Parameters
    ----------
    model : Model
    rows : Rows
        As in :mod:`fastem.rows`.
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
    search : callable or None
        ``(model, rows, run, max_iter, verbose, task)`` to a run that is no worse, as in
        :mod:`fastem.loop.search`.

    Returns
    -------
    Run

    Warns
    -----
    ConvergenceWarning
        If the best run has not converged, unless the model doesn't warn.
    """
    best: Run | None = None
    with rows.together():
        # Where several processes run the fit, the first one's callbacks stop it for all.
        task = Agreed(task, rows.agree) if rows.agree(task is not UNWATCHED) else task
        for number in range(n_init):
            run_task = task.subtask("run", max_subtasks=None if search else max_iter)
            model.begin(rows)
            run = iterate(
                model,
                rows,
                _start(model, rows, random_state, number, verbose),  # held by nobody else
                max_iter,
                verbose,
                run_task,
            )
            if search is not None and run.n_iter > 0 and not run.stopped:
                run = search(model, rows, run, max_iter, verbose, run_task)
            if best is None or model.better(rows, run, best):
                best = run
                model.keep(rows)
            if run_task.end(run.parameters):
                break
    if best is None:
        raise ValueError(f"n_init={n_init} should be >= 1.")
    if model.warns and not best.converged:
        warn_user(
            "Best performing initialization did not converge. Try different init parameters, or "
            "increase max_iter, tol, or check for degenerate data.",
            ConvergenceWarning,
        )
    return best


def _start(model, rows, random_state, number, verbose):
    parameters = model.start(rows, random_state)
    if verbose:
        model.report_start(number)
    return parameters


def iterate(
    model: Model, rows: Any, parameters: Any, max_iter: int, verbose: int, task: Any
) -> Run:
    """The run from given parameters; the parameters are those of :func:`fit`."""
    history: list[float] = []
    statistics, objective = None, -inf
    converged: bool | str = False
    stopped = False
    watched, at_once = verbose or task is not UNWATCHED, True
    while len(history) < max_iter:
        iteration_task = task.subtask("iteration", parameters=parameters)
        statistics = None  # the last ones' memory is for the next
        found, previous = None, history[-1] if history else None
        if at_once:
            most = 1 if watched else max_iter - len(history)
            found = model.iterated(rows, parameters, most, previous)
        at_once = found is not None
        if found is None:
            statistics = model.e_step(rows, parameters)
            updated = model.m_step(rows, statistics, parameters)
            history.append(model.objective(statistics, parameters))
        else:
            updated, statistics, objectives = found
            history += objectives
            previous = history[-2] if len(history) > 1 else None
        number, objective = len(history) - 1, history[-1]
        step = Step(number, statistics, parameters, updated, objective, previous)
        if verbose:
            model.report(step)
        parameters = updated
        converged = model.converged(step)
        del step  # a model may write parameters anew that nobody holds
        stopped = iteration_task.end(parameters)
        if stopped or converged:
            break
    run = Run(parameters, history, converged, objective, statistics, stopped)
    if verbose:
        model.report_end(run)
    model.finish(rows, run)
    return run
