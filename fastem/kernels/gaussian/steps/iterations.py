"""EM iterations over few rows in one call.

Around a pass over some hundred rows, an iteration in Python takes ten times as long as the pass.
"""

import math

import numpy as np

from fastem.kernels.gaussian.base import Iterated
from fastem.kernels.gaussian.driver import em_pass
from fastem.kernels.gaussian.steps.maximizing import cancellation, estimate, repack, write_centers
from fastem.kernels.gaussian.sweep import NO_LABELS, add_up
from fastem.kernels.linalg.factors import factor_chunk
from fastem.kernels.runtime.compiling import kernel
from fastem.kernels.runtime.linking import linked
from fastem.kernels.runtime.memory import aligned_array

_call_pass, _call_factoring = linked(em_pass), linked(factor_chunk)


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
        As :func:`estimate` takes it.
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
    peaks = aligned_array(n_components, np.float64)
    definite = aligned_array(n_components, np.bool_)
    about = aligned_array((n_components, n_features), np.float64)
    centers = aligned_array((2, n_components, n_features), X.dtype)
    noise = X.dtype.type(-np.inf)
    own = totals[0].reshape(n_components, totals.shape[1] // n_components)
    labelled, ended = len(labels) > 0, False
    n_steps, before = 0, rules.before
    reference = repack(weights, means, factors, packed, peaks)
    while True:
        write_centers(means, about, centers)
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
            add_up(totals)
            add_up(objective)
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
            estimate(
                own, places, about, rules.least_count, rules.reg_covar, weights, means, covariances
            )
            tickets[0] = 0
            _call_factoring((tickets, 1, covariances, factors, definite))
            whole = True
            for j in range(n_components):
                whole &= definite[j]
            if whole and cancellation(means, about, factors) < rules.most_cancellation:
                break
            # About the new means there is none.
            write_centers(means, about, centers)
        if not whole:
            return -1, reference
        if ended:
            return n_steps, reference
        labelled = False
        reference = repack(weights, means, factors, packed, peaks)


def taken(sweep, packed, places, parameters, hard, rules, numbers):
    """What :func:`iterate_pass` takes for iterations over a sweep's rows, which have no labels.

    The parameters are those of :func:`iterate`; ``numbers`` as :func:`em_pass` takes it.
    """
    return (
        sweep.rows,
        sweep.weight,
        (sweep.chunk_rows, sweep.batch, sweep.scratch_size),
        packed,
        NO_LABELS,
        NO_LABELS,
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
        As :func:`estimate` takes it.
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
