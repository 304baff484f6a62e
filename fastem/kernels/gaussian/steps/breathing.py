"""A breath over few rows in one call: from more components to as many as before.

In three calls, what Python does around them takes longer than the iterations.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastem.kernels.gaussian.base import LOWEST, Iterated, Rules
from fastem.kernels.gaussian.driver import evaluate_pass
from fastem.kernels.gaussian.steps.iterations import iterate_pass, taken, where_ended
from fastem.kernels.gaussian.steps.maximizing import repack
from fastem.kernels.gaussian.sweep import Sweep
from fastem.kernels.mixtures.removing import remove
from fastem.kernels.runtime.arrays import read_only, wanted
from fastem.kernels.runtime.compiling import kernel
from fastem.kernels.runtime.linking import linked
from fastem.kernels.runtime.memory import aligned_array
from fastem.kernels.vectors.machine import LANES

_call_iterations, _call_evaluation = linked(iterate_pass), linked(evaluate_pass)


@kernel
def breath_pass(wide, own, removal):
    """Iterations of more components, the removal of some, and iterations of the others.

    Parameters
    ----------
    wide, own : tuple
        What :func:`iterate_pass` takes, for more components and for the others.
    removal : tuple
        What it takes to judge which components are missed least: float64 weights of all rows, what
        rows are shifted by, which is nothing, the noise's and the lowest logarithm as
        ``evaluate_pass`` takes them, an array for rows that are too far to tell, outputs of which
        there are responsibilities, and an array for the components' numbers.

    Returns
    -------
    n_wide, n_steps : int
        E-steps; negative if this can't be.
    reference : float
        What the last objective is relative to.
    """
    n_wide, _ = _call_iterations(wide)
    if n_wide < 0:
        return n_wide, -1, 0.0
    X, scratch_size, packed = wide[0], wide[2][2], wide[3]
    weights, means, covariances, factors = wide[10], wide[11], wide[12], wide[13]
    counted, shift, noise, lowest, far, outputs, gone = removal
    n_components, n_features = means.shape
    left, missed = aligned_array(len(X), np.float64), aligned_array(n_components, np.float64)
    repack(weights, means, factors, packed, missed)
    tickets = aligned_array(1, np.int64)
    tickets[0] = 0
    _call_evaluation(
        (
            tickets,
            1,
            len(X),
            scratch_size,
            n_components,
            X,
            shift,
            packed,
            noise,
            lowest,
            far,
            outputs,
        )
    )
    for i in range(len(X)):
        if far[i]:
            return n_wide, -1, 0.0
    total, kept = 0.0, 0.0
    for j in range(n_components):
        missed[j] = weights[j]
        total += weights[j]
    remove(outputs.responsibilities, counted, missed, left, gone)
    n_left = 0
    for j in range(n_components):
        if missed[j] >= 0.0:
            kept += weights[j]
            own[10][n_left] = weights[j]
            for f in range(n_features):
                own[11][n_left, f] = means[j, f]
                for g in range(n_features):
                    own[12][n_left, f, g] = covariances[j, f, g]
                    own[13][n_left, f, g] = factors[j, f, g]
            n_left += 1
    # In the loop, a product with the reciprocal would take its place, which rounds otherwise.
    growth = total / kept
    for j in range(n_left):
        own[10][j] *= growth
    n_steps, reference = _call_iterations(own)
    return n_wide, n_steps, reference


def breathe(
    wide: Sweep,
    sweep: Sweep,
    counted: np.ndarray,
    packs: tuple[Any, Any],
    places: Any,
    parameters: Sequence[np.ndarray],
    hard: bool,
    rules: tuple[Rules, Rules],
) -> tuple[Iterated, int] | None:
    """A breath over the rows of sweeps of few chunks.

    Parameters
    ----------
    wide, sweep : Sweep
        For more components, and for as many as remain.
    counted : ndarray of shape (n_rows,), float64
        The rows' weights.
    packs : tuple of FullPacked
        As :func:`iterate_pass` takes them, for each.
    places : tuple
        As ``estimate`` takes it.
    parameters : sequence of ndarray
        Weights, means, covariances and factors of more components.
    hard : bool
    rules : tuple of Rules
        For each.

    Returns
    -------
    iterated : Iterated
    n_steps : int
        E-steps in all. None in place of both where this can't be: step by step it is known why.
    """
    X, k = sweep.rows, sweep.n_components
    starts = [np.array(values) for values in parameters]
    own = [np.empty((k, *values.shape[1:])) for values in starts]
    responsibilities = np.empty((len(X), wide.n_components), X.dtype)
    numbers = np.arange(max(wide.n_components, wide.batch, sweep.batch))

    settled = taken(sweep, packs[1], places, own, hard, rules[1], numbers)
    n_wide, n_steps, reference = breath_pass(
        taken(wide, packs[0], places, starts, hard, rules[0], numbers),
        settled,
        (
            read_only(counted),
            read_only(np.zeros(X.shape[1] + LANES, X.dtype)),
            X.dtype.type(-np.inf),
            X.dtype.type(LOWEST[X.dtype]),
            np.zeros(len(X), np.bool_),
            wanted(responsibilities=responsibilities, dtype=X.dtype),
            np.empty(wide.n_components - k, np.int64),
        ),
    )
    if n_steps < 0:
        return None
    return where_ended(settled, sweep, packs[1], n_steps, reference), n_wide + n_steps
