"""Where Bernoulli mixtures start: short runs from seeds, of which the best is taken.

Random responsibilities, the usual start, make all components alike when features are many, and EM
takes long to break the symmetry. Here seeds are drawn as in D. Arthur and S. Vassilvitskii,
"k-means++: the advantages of careful seeding", SODA 2007, and a component starts from the rows
nearest to its seed. A row's distance from a seed is what it loses in log-density if the seed, and
not the row itself, is blended with the mean of all rows; that is a Hamming distance with a weight
for each feature and value. If all weigh the same, where ones are rare, the rows with the fewest
ones are nearest to most others. Short runs find out which seeds are good: C. Biernacki, G. Celeux
and G. Govaert, "Choosing starting values for the EM algorithm for getting the highest likelihood in
multivariate Gaussian mixture models", Computational Statistics & Data Analysis 41, 2003. Of many
rows a sample does for all this.
"""

from collections.abc import Callable
from operator import itemgetter
from typing import Any

import numpy as np
import scipy.sparse

from fastem.kernels.bernoulli import BernoulliComponents, DensePass, SparsePass
from fastem.kernels.bernoulli.bits import packed_bits, unpacked_bits
from fastem.mixtures.model import pass_of
from fastem.rows.choice import choose_rows, count_positive

# Rows of the sample, at least and for each component.
_SAMPLE_ROWS, _ROWS_PER_COMPONENT = 4096, 64
# Up to so many rows are sorted and equal ones merged.
_FEW_ROWS = 1024
_RUNS, _ITERATIONS = 3, 5
# Weight of what keeps a component's probabilities from 0 and 1, as a share of the rows that an
# average component has: first, and in the iterations.
_FIRST_SHARE, _SHARE = 1.0, 0.01
# Keeps the mean's probabilities from 0 and 1: half a row of the smallest sample of many rows.
_LEAST = 0.5 / _SAMPLE_ROWS
# Distances are sums of multiples of this, and so the same in any order, for packed and CSR rows.
_STEP = 2.0**-20


def start_probabilities(
    rows: Any, make_pass: Callable, n_components: int, random_state: np.random.RandomState
) -> np.ndarray:
    """Probabilities of ones to start from, different for each component.

    Parameters
    ----------
    rows : rows as in :mod:`fastem.rows`
    make_pass : callable
        ``(X, sample_weight)`` to a pass, which is that of the fit.
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
    n_runs = _RUNS if n_components > 1 else 1
    runs = [_short_run(sample, n_components, random_state) for _ in range(n_runs)]
    return max(runs, key=itemgetter(0))[1]


def _short_run(sample, n_components, random_state):
    """The log-likelihood and the probabilities to which a few iterations lead from new seeds."""
    statistics = sample.nearest(sample.draw(n_components, random_state))
    total = statistics.counts.sum()
    # Components that have no rows of their own start from different places, too: near the mean by
    # their logits. Halfway from the mean to 1/2, where ones are rare, one component took all rows.
    prior = np.exp(random_state.uniform(-0.5, 0.5, size=statistics.sums.shape))
    prior *= sample.mean / (1.0 - sample.mean)
    prior /= 1.0 + prior
    weights = np.full(n_components, 1.0 / n_components)
    for iteration in range(_ITERATIONS + 1):
        weight = (_FIRST_SHARE if iteration == 0 else _SHARE) * total / n_components
        counts = statistics.counts[:, np.newaxis]
        probabilities = (statistics.sums + weight * prior) / (counts + weight)
        statistics = sample.e_step(BernoulliComponents.of(weights, probabilities))
    return statistics.objective, probabilities


def _collect(part, make_pass, indices):
    """The part's rows of positive weight, or those that were drawn by their weights."""
    rows = pass_of(part, make_pass).rows
    if indices is not None:
        local = indices - part.offset
        local = local[(local >= 0) & (local < part.n_rows)]
        weight = np.ones(len(local))
    elif part.sample_weight is None:
        local, weight = np.arange(part.n_rows), np.ones(part.n_rows)
    else:
        local = np.flatnonzero(part.sample_weight > 0)
        weight = part.sample_weight[local]
    if isinstance(rows, tuple):
        return _csr(*rows, local, part.X.shape[1]), weight
    return rows[local], weight


def _csr(indices, indptr, chosen, n_features):
    """Some of the rows whose ones are given, as a matrix of their own."""
    ones = [indices[indptr[row] : indptr[row + 1]] for row in chosen]
    ends = np.cumsum([0, *map(len, ones)])
    columns = np.concatenate([indices[:0], *ones])
    data = np.ones(len(columns), np.uint8)
    return scipy.sparse.csr_array((data, columns, ends), shape=(len(chosen), n_features))


class _Sample:
    """A few thousand rows, packed or CSR, with their weights.

    Attributes
    ----------
    mean : ndarray of shape (n_features,)
        Neither 0 nor 1 anywhere.
    """

    def __init__(self, parts, n_features):
        rows = [x for x, _ in parts]
        self._n_features = n_features
        self._weight = np.concatenate([weight for _, weight in parts])
        self._sparse = not isinstance(rows[0], np.ndarray)
        self._rows = scipy.sparse.vstack(rows, "csr") if self._sparse else np.concatenate(rows)
        if len(self._weight) <= _FEW_ROWS:
            self._merge()
        one = BernoulliComponents(np.zeros(1), *np.zeros((2, 1, n_features)))
        statistics = self.e_step(one, hard=True)
        mean = statistics.sums[0] / statistics.counts[0]
        self.mean = (mean + _LEAST) / (1.0 + 2.0 * _LEAST)
        self._losses = _losses(self.mean)

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

    def _pass(self, n_components):
        if self._sparse:
            rows, kind = (self._rows.indices, self._rows.indptr), SparsePass
        else:
            rows, kind = self._rows, DensePass
        return kind(rows, self._n_features, self._weight, n_components)

    def e_step(self, parameters, hard=False):
        """Statistics of the rows."""
        return self._pass(len(parameters.log_weights)).e_step(parameters, hard)

    def nearest(self, points):
        """Statistics of the rows if each belongs to the nearest point."""
        return self.e_step(self._distances_from(points), hard=True)

    def draw(self, n_components, random_state):
        """Seeds, each the best of several rows drawn by their distance from the seeds before."""
        n_trials = 2 + int(np.log(n_components))
        closest = np.full(len(self._weight), 1.0 + self._losses.max(axis=0).sum())
        seeds = np.empty(n_components, int)
        for i in range(n_components):
            potential = np.cumsum(closest * self._weight)
            if potential[-1] == 0:  # every row is a seed
                potential = np.cumsum(self._weight)
            values = random_state.uniform(size=1 if i == 0 else n_trials) * potential[-1]
            candidates = np.searchsorted(potential, values, side="right")
            candidates = np.minimum(candidates, len(potential) - 1)
            log_joint = np.empty((len(closest), len(candidates)))
            points = self._points(candidates)
            self._pass(len(points)).evaluate(self._distances_from(points), log_joint=log_joint)
            distances = np.minimum(closest[:, np.newaxis], -log_joint)
            best = np.argmin(self._weight @ distances)
            closest, seeds[i] = distances[:, best], candidates[best]
        return self._points(seeds)

    def _distances_from(self, points):
        """Parameters for which the log-densities are the negative distances from points."""
        zero, one = self._losses
        absent, present = np.where(points, -zero, 0.0), np.where(points, 0.0, -one)
        return BernoulliComponents(np.zeros(len(points)), absent, present)


def _losses(mean):
    """What a row loses by a feature in which it isn't like the seed: by a zero, and by a one.

    Of a blend, (sqrt(n_features) * mean + seed) / (sqrt(n_features) + 1): were features independent
    of each other, log-densities of a row under the blends would differ by about 1.

    Returns
    -------
    ndarray of shape (2, n_features)
        Multiples of ``_STEP``.
    """
    share = len(mean) ** -0.5
    losses = np.log1p(share / np.stack([1.0 - mean, mean]))
    return _STEP * np.rint(losses / _STEP)
