"""Where Bernoulli mixtures start: components as far apart as k-means++ draws them.

Random responsibilities, the usual start, make all components alike when features are many, and EM
takes long to break the symmetry. Here seeds are drawn as in D. Arthur and S. Vassilvitskii,
"k-means++: the advantages of careful seeding", SODA 2007, by the Hamming distance, which is the
squared Euclidean distance of rows of zeros and ones, and a component starts from the rows nearest
to its seed. Of many rows a sample does.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse

from fastem.kernels.bernoulli import DensePass, Parameters, SparsePass
from fastem.kernels.bits import packed_bits, unpacked_bits
from fastem.sampling import choose_rows, count_positive

# Rows of the sample, at least and for each component.
_SAMPLE_ROWS, _ROWS_PER_COMPONENT = 8192, 64
# Up to so many rows are sorted and equal ones merged.
_FEW_ROWS = 1024
# Weight of what a component starts from beside its rows, as a share of an average component's.
_PRIOR_SHARE = 1.0


def start_probabilities(
    rows: Any, make_pass: Callable, n_components: int, random_state: np.random.RandomState
) -> np.ndarray:
    """Probabilities of ones to start from, different for each component.

    Parameters
    ----------
    rows : rows as in :mod:`fastem.rows`
    make_pass : callable
        ``(X, sample_weight)`` to a pass; kept in the parts' state as "mixture".
    n_components : int
    random_state : RandomState

    Returns
    -------
    ndarray of shape (n_components, n_features), float64
        Neither 0 nor 1 anywhere.
    """
    size = max(_SAMPLE_ROWS, _ROWS_PER_COMPONENT * n_components)
    indices = None
    if rows.reduce(count_positive) > size:
        indices = np.sort(choose_rows(rows, random_state, size))
    sample = _Sample(rows.map(_collect, make_pass, indices), rows.n_features)
    statistics = sample.nearest(sample.draw(n_components, random_state))
    counts, sums = statistics.counts[:, np.newaxis], statistics.sums
    mean = sums.sum(axis=0) / counts.sum()
    share = _PRIOR_SHARE * counts.sum() / n_components
    # Components that have no rows of their own start from different places, too.
    prior = 0.5 * (mean + random_state.uniform(0.25, 0.75, size=sums.shape))
    return (sums + share * prior) / (counts + share)


def _collect(part, make_pass, indices):
    """The part's rows of positive weight, or those that were drawn by their weights."""
    if "mixture" not in part.state:
        part.state["mixture"] = make_pass(part.X, part.sample_weight)
    rows = part.state["mixture"].rows
    if isinstance(rows, tuple):
        ones = np.ones(len(rows[0]), np.uint8)
        rows = scipy.sparse.csr_array((ones, *rows), shape=part.X.shape)
    if indices is not None:
        local = indices - part.offset
        local = local[(local >= 0) & (local < part.n_rows)]
        return rows[local], np.ones(len(local))
    if part.sample_weight is None:
        return rows, np.ones(part.n_rows)
    local = np.flatnonzero(part.sample_weight > 0)
    return rows[local], part.sample_weight[local]


class _Sample:
    """A few thousand rows, packed or CSR, with their weights."""

    def __init__(self, parts, n_features):
        rows = [x for x, _ in parts]
        self._n_features = n_features
        self._weight = np.concatenate([weight for _, weight in parts])
        self._sparse = not isinstance(rows[0], np.ndarray)
        self._rows = scipy.sparse.vstack(rows, "csr") if self._sparse else np.concatenate(rows)
        if len(self._weight) <= _FEW_ROWS:
            self._merge()

    def _merge(self):
        """Sort the rows and merge equal ones.

        So the start depends neither on their order nor on whether a row is repeated or has an
        integer weight.
        """
        if self._sparse:
            self._rows, self._sparse = packed_bits(self._rows.toarray(), 0), False
        self._rows, inverse = np.unique(self._rows, axis=0, return_inverse=True)
        self._weight = np.bincount(inverse, self._weight)

    def _points(self, indices):
        if self._sparse:
            return self._rows[indices].toarray()
        return unpacked_bits(self._rows[indices], self._n_features)

    def _passes(self, points):
        """A pass whose log-densities are the negative distances from points; its parameters."""
        points = points.astype(np.float64)
        parameters = Parameters(np.zeros(len(points)), -points, points - 1.0)
        sizes = self._n_features, self._weight, len(points)
        if self._sparse:
            return SparsePass((self._rows.indices, self._rows.indptr), *sizes), parameters
        return DensePass(self._rows, *sizes), parameters

    def draw(self, n_components, random_state):
        """Seeds, each the best of several rows drawn by their distance from the seeds before."""
        n_trials = 2 + int(np.log(n_components))
        closest = np.full(len(self._weight), self._n_features + 1.0)
        seeds = np.empty(n_components, int)
        for i in range(n_components):
            potential = np.cumsum(closest * self._weight)
            if potential[-1] == 0:  # every row is a seed
                potential = np.cumsum(self._weight)
            values = random_state.uniform(size=1 if i == 0 else n_trials) * potential[-1]
            candidates = np.searchsorted(potential, values, side="right")
            candidates = np.minimum(candidates, len(potential) - 1)
            candidates_pass, parameters = self._passes(self._points(candidates))
            log_joint = np.empty((len(closest), len(candidates)))
            candidates_pass.evaluate(parameters, log_joint=log_joint)
            distances = np.minimum(closest[:, np.newaxis], -log_joint)
            best = np.argmin(self._weight @ distances)
            closest, seeds[i] = distances[:, best], candidates[best]
        return self._points(seeds)

    def nearest(self, points):
        """Statistics of the rows if each belongs to the nearest point."""
        points_pass, parameters = self._passes(points)
        return points_pass.step(parameters, hard=True)
