"""EM iterations over few rows in one call.

Around a pass over some hundred rows, an iteration in Python takes ten times as long as the pass.
"""

import math
from typing import NamedTuple

import numpy as np

from fastem.kernels.gaussian.base import GaussianStatistics
from fastem.kernels.gaussian.driver import em_pass
from fastem.kernels.gaussian.few.maximizing import maximize, repack, write_centers
from fastem.kernels.runtime.arrays import read_only
from fastem.kernels.runtime.compiling import kernel
from fastem.kernels.runtime.linking import linked
from fastem.kernels.runtime.memory import aligned_array

_call_pass = linked(em_pass)
#: For rows without labels.
NONE = read_only(np.empty(0, np.int32))


class Rules(NamedTuple):
    """How iterations go on, and when they end.

    Parameters
    ----------
    most : int
        E-steps, at the most.
    tol : float
        They end when the objective gains less
    fall : float
        and falls by less,
    before : float
        Before the first step, -inf if nothing is known.
    best, hopeless : float
        or when it is behind ``best`` by more than ``hopeless`` times what it has gained.
    total_weight : float
        Of the rows: the objective is a mean over it.
    least_count : float
        Keeps counts from zero.
    reg_covar : float
    most_cancellation : float
        Beyond this, statistics are found once more about the new means.
    """

    most: int
    tol: float
    fall: float
    before: float
    best: float
    hopeless: float
    total_weight: float
    least_count: float
    reg_covar: float
    most_cancellation: float


class Iterated(NamedTuple):
    """Where iterations have ended.

    Parameters
    ----------
    weights, means, covariances, precisions_cholesky : ndarray
        After the last M-step.
    statistics : GaussianStatistics
        What the E-step before it found, perhaps about the new means.
    history : list of float
        The objective, by each E-step.
    """

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray
    precisions_cholesky: np.ndarray
    statistics: GaussianStatistics
    history: list[float]


@kernel
def iterate_pass(
    X,
    sample_weight,
    sizes,
    packed,
    labels,
    unlabelled,
    hard,
    numbers,
    places,
    rules,
    weights,
    means,
    covariances,
    factors,
    totals,
    objective,
    history,
):
    """Iterations as ``rules`` say; all arrays behind these are written over.

    Chunks are passed over one after the other: waking a thread for one takes as long.

    Parameters
    ----------
    sizes : tuple of int
        Chunk, batch and scratch, as :func:`em_pass` takes them.
    packed : FullPacked
        For components, its triangles filled with zeros; written over.
    labels, unlabelled : int32 arrays of shape (n_rows,) or (0,)
        With labels, iterations begin with the M-step of these about the means.
    places : tuple
        As :func:`maximize` takes it.
    totals : float64 array of shape (n_chunks, size)
    objective : float64 array of shape (n_chunks, 3)
        The first of each receive the sums.
    history : float64 array of shape (rules.most,)
        Receives the objective by each E-step.

    Returns
    -------
    n_steps : int
        E-steps; negative if a component has collapsed, or if something isn't finite.
    reference : float
        What the objective is relative to.
    """
    chunk_rows, batch, scratch_size = sizes
    n_components, n_features = means.shape
    tickets = aligned_array(1, np.int64)
    n_chunks = len(totals)
    counted = aligned_array((n_chunks, 2), np.int64)
    row = aligned_array(n_features, np.float64)
    about = aligned_array((n_components, n_features), np.float64)
    centers = aligned_array((2, n_components, n_features), X.dtype)
    noise = X.dtype.type(-np.inf)
    own = totals[0].reshape(n_components, totals.shape[1] // n_components)
    labelled, ended = len(labels) > 0, False
    n_steps, before = 0, rules.before
    reference = repack(weights, means, factors, packed)
    while True:
        write_centers(means, about, centers)
        cancellation = math.inf
        for attempt in range(2):
            tickets[0] = 0
            _call_pass(
                (
                    tickets,
                    n_chunks,
                    chunk_rows,
                    batch,
                    scratch_size,
                    X,
                    sample_weight,
                    packed,
                    centers,
                    labels if labelled else unlabelled,
                    hard,
                    noise,
                    numbers,
                    totals,
                    objective,
                    counted,
                )
            )
            for chunk in range(1, n_chunks):
                for i in range(totals.shape[1]):
                    totals[0, i] += totals[chunk, i]
                for i in range(3):
                    objective[0, i] += objective[chunk, i]
            if attempt == 0 and not labelled:
                n_steps += 1
                value = objective[0, 0] + reference * objective[0, 1]
                value /= rules.total_weight
                if not math.isfinite(value):
                    return -1, reference
                history[n_steps - 1] = value
                gain = value - before
                ended = n_steps == rules.most or -rules.fall < gain < rules.tol
                ended |= rules.best - value > rules.hopeless * gain
                before = value
            cancellation = maximize(
                own,
                places,
                about,
                rules.least_count,
                rules.reg_covar,
                weights,
                means,
                covariances,
                factors,
                row,
            )
            if cancellation < rules.most_cancellation:
                break
            # About the new means there is none.
            write_centers(means, about, centers)
        if not cancellation < math.inf:
            return -1, reference
        if ended:
            return n_steps, reference
        labelled = False
        reference = repack(weights, means, factors, packed)


def taken(sweep, packed, places, parameters, hard, rules, numbers):
    """What :func:`iterate_pass` takes for iterations over a sweep's rows, which have no labels.

    The parameters are those of :func:`iterate`; ``numbers`` as :func:`em_pass` takes it.
    """
    return (
        sweep.rows,
        sweep.weight,
        (sweep.chunk_rows, sweep.batch, sweep.scratch_size),
        packed,
        NONE,
        NONE,
        hard,
        numbers,
        places,
        rules,
        *parameters,
        np.empty((sweep.n_chunks, sweep.totals_size)),
        np.empty((sweep.n_chunks, 3)),
        np.empty(rules.most),
    )


def where_ended(arguments, sweep, packed, n_steps, reference):
    """Where iterations have ended that were given these arguments, and have returned the rest."""
    *_, weights, means, covariances, factors, totals, objective, history = arguments
    statistics = sweep.statistics(totals[0], objective[0], packed._replace(reference=reference))
    reached = history[:n_steps].tolist()
    return Iterated(weights, means, covariances, factors, statistics, reached)


def iterate(sweep, packed, places, parameters, hard, rules):
    """Iterations over the rows of a sweep of few chunks.

    Parameters
    ----------
    sweep : Sweep
    packed : FullPacked
        As :func:`iterate_pass` takes it.
    places : tuple
        As :func:`maximize` takes it.
    parameters, hard, rules
        As for ``GaussianPass.iterate``.

    Returns
    -------
    Iterated or None
        None where this can't be: step by step it is known why.
    """
    parameters = [np.array(values) for values in parameters]
    numbers = np.arange(max(sweep.n_components, sweep.batch))
    arguments = taken(sweep, packed, places, parameters, hard, rules, numbers)
    n_steps, reference = iterate_pass(*arguments)
    return None if n_steps < 0 else where_ended(arguments, sweep, packed, n_steps, reference)
