"""Trials to split components of few rows, all in a few calls.

Around a split of some hundred rows, one in Python takes ten times as long as the iterations.
"""

from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from fastem.kernels.gaussian.differences import peaks_of_scales
from fastem.kernels.gaussian.few.iterations import Rules
from fastem.kernels.gaussian.few.splitting import (
    Shared,
    find_moments,
    fourth_moments,
    split_components,
)
from fastem.kernels.runtime.arrays import read_only
from fastem.mixtures.gaussian.parameters import GaussianParameters
from fastem.mixtures.halving import directions
from fastem.mixtures.model import Split
from fastem.mixtures.sampled import Sample

# Values of rows that are copied at once, unless one component has more.
_MOST_VALUES = 1 << 20

_EXTREMES = np.minimum, np.maximum


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
    owned = (shares > 0).T
    n_values = owned.sum(axis=1) * sample.X.shape[1]
    # The same number for components that are worked on together.
    groups = np.cumsum(n_values) // _MOST_VALUES
    starts = np.flatnonzero(np.diff(groups, prepend=-1))
    found = []
    for start, stop in pairwise([*starts, len(owned)]):
        some = slice(start, stop)
        part = parameters._replace(
            means=parameters.means[some],
            covariances=parameters.covariances[some],
            precisions_cholesky=parameters.precisions_cholesky[some],
        )
        splits = _splits(sample, owned[some], shares.T[some], part, rules)
        if splits is None:
            return None
        found += splits
    return found


def _splits(sample, owned, shares, parameters, rules):
    """Those of some components."""
    components, rows = np.nonzero(owned)
    counts = np.count_nonzero(owned, axis=1)
    shared = Shared(
        read_only(sample.X[rows]),
        read_only(shares[components, rows] * sample.weight[rows]),
        np.concatenate([[0], np.cumsum(counts)]),
    )
    _, means, covariances, factors, _ = parameters
    moments = find_moments(shared, means, factors)
    if not all(np.isfinite(values).all() for values in moments):
        return None
    centered = shared.X - moments.means[components]
    cuts = directions(moments.covariances, partial(fourth_moments, shared, moments.means))
    along = np.stack([np.einsum("ij,ij->i", centered, cut[components]) for cut in cuts])
    for values in along[1:]:  # the farthest row is on the first side
        farthest = [extreme.reduceat(values, shared.starts[:-1]) for extreme in _EXTREMES]
        values *= np.where(np.sum(farthest, axis=0) < 0.0, -1.0, 1.0)[components]
    sides = along <= 0.0
    after = split_components(shared, sides, moments.totals, means, covariances, factors, rules)
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
