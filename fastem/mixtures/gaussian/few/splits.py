"""Trials to split components of few rows, all in a few calls.

Around a split of some hundred rows, one in Python takes ten times as long as the iterations.
"""

from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from fastem.kernels.gaussian.base import Rules
from fastem.kernels.gaussian.differences import peaks_of_scales
from fastem.kernels.gaussian.steps.splitting import (
    fourth_moments,
    share_rows,
    shares_of,
    split_components,
)
from fastem.mixtures.gaussian.few.directions import least_peaked
from fastem.mixtures.gaussian.parameters import GaussianParameters
from fastem.mixtures.model import Split
from fastem.mixtures.sampled import Sample

# Values of rows that are copied at once, unless one component has more.
_MOST_VALUES = 1 << 20


def splits(
    sample: Sample, shares: np.ndarray, parameters: Any, rules: Rules
) -> list[list[Split]] | None:
    """As ``MixtureModel.splits``, of covariances that are matrices of the components' own.

    Parameters
    ----------
    sample : Sample
    shares : ndarray of shape (n_sample_rows, n_components)
    parameters : GaussianParameters
        Of the components.
    rules : Rules
        Of a total weight of 1, and least counts for rows of weight 1.

    Returns
    -------
    list of list of Split or None
        None where this can't be: one by one it is known why.
    """
    X, shares = np.ascontiguousarray(sample.X), np.ascontiguousarray(shares)
    counts = shares_of(shares)
    # The same number for components that are worked on together.
    groups = np.cumsum(counts * X.shape[1]) // _MOST_VALUES
    if groups[-1] == 0:
        return _splits(X, sample.weight, shares, counts, parameters, rules)
    starts = np.flatnonzero(np.diff(groups, prepend=-1))
    found = []
    for start, stop in pairwise([*starts, len(counts)]):
        some = slice(start, stop)
        own = np.ascontiguousarray(shares[:, some])
        part = (values[some] for values in parameters[:4])
        splits = _splits(X, sample.weight, own, counts[some], GaussianParameters(*part), rules)
        if splits is None:
            return None
        found += splits
    return found


def _splits(X, weight, shares, counts, parameters, rules):
    """Those of some components."""
    _, means, covariances, factors, _ = parameters
    shared, moments = share_rows(X, weight, shares, counts, means, factors)
    if not all(np.isfinite(values).all() for values in moments):
        return None
    cuts = [moments.directions]
    second = least_peaked(moments.covariances, partial(fourth_moments, shared, moments.means))
    if second is not None:
        cuts.append(second)
    after = split_components(shared, moments, np.stack(cuts), means, covariances, factors, rules)
    peaks = peaks_of_scales(np.zeros(len(means)), np.einsum("kii->ki", factors))
    before = moments.totals * peaks - 0.5 * moments.distances
    gains = after.objectives - before[:, np.newaxis]
    return [
        [
            Split(
                gains[number, way],
                after.counts[number, way],
                GaussianParameters(*(values[number, way] for values in after[:4])),
            )
            for way in np.flatnonzero(after.counts[number])
        ]
        for number in range(len(means))
    ]
