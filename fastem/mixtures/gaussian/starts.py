"""Where Gaussian mixtures start: the statistics that the first M-step works with.

Every start is a method of :class:`GaussianStarts` named as in ``init_params`` and returns
``GaussianStatistics`` about the centres that it returns with them.
"""

from collections.abc import Callable
from contextlib import nullcontext
from copy import deepcopy
from functools import partial, reduce
from itertools import pairwise
from typing import Any

import numpy as np

from fastem.kernels.gaussian import GaussianStatistics
from fastem.kernels.gaussian.base import Rules
from fastem.kernels.gaussian.driver import em_pass
from fastem.kernels.gaussian.linear.driver import linear_pass
from fastem.kernels.runtime.ahead import compiled_ahead
from fastem.mixtures.gaussian.covariances import Covariances
from fastem.mixtures.model import pass_of
from fastem.mixtures.sampled import Sample, kmeans_clusters, ward_clusters
from fastem.mixtures.starts import Starts, take_clusters
from fastem.rows import LocalRows, add
from fastem.rows.choice import count_positive

# Responsibilities in a block.
_BLOCK_SIZE = 1 << 20
# Rows of the samples: a hierarchy's time grows with their square.
_POOLED_ROWS, _WARD_ROWS = 5_000, 1_000


class GaussianStarts:
    """The starts of several runs over the same rows, which share what they learn of these.

    Parameters
    ----------
    make_pass : callable
        As for :class:`fastem.mixtures.model.MixtureModel`, and takes ``n_components``.
    n_components : int
    covariances : Covariances
    pooled : bool
        Whether seeds start with the covariance of all rows. Else they have none of their own, as in
        scikit-learn, and what regularises them is their start.
    noisy : bool
        Whether there is noise, to which all rows would go that seeds have no part in: they start
        with that covariance then, and so does one that is tied.
    """

    def __init__(
        self,
        make_pass: Callable,
        n_components: int,
        covariances: Covariances,
        pooled: bool,
        noisy: bool = False,
    ):
        self._make_pass = make_pass
        self._n_components = n_components
        self._covariances = covariances
        self._pooled = pooled
        self._noisy = noisy
        self._starts = Starts(n_components)

    def __call__(
        self, init_params: str, rows: Any, random_state: np.random.RandomState
    ) -> tuple[GaussianStatistics, np.ndarray]:
        """A start of this name."""
        start = {
            "kmeans": self.kmeans,
            "k-means++": self.kmeans_plusplus,
            "random": self.random,
            "random_from_data": self.random_from_data,
            "pooled": self.pooled,
            "ward": self.ward,
        }[init_params]
        return start(rows, random_state)

    def kmeans(self, rows, random_state):
        """Each row belongs to its cluster of K-means."""
        with self._compiled_ahead(rows):
            centers = self._starts.kmeans(rows, random_state)
        statistics = rows.reduce(_from_labels, self._make_pass, centers)
        self._starts.warn_of_duplicates(statistics.counts)
        return statistics, centers

    def _compiled_ahead(self, rows):
        """A context that ends once the kernels of what follows are compiled, most of all."""
        if not isinstance(rows, LocalRows):
            return nullcontext()
        longest = em_pass if self._covariances.passes == "full" else linear_pass
        sums = partial(_sums_of_some, self._make_pass, rows.dtype)
        factor = partial(self._covariances.factor, np.ones(self._covariances.shape(1, 1)))
        rehearsals = [sums, factor]
        if not (self._covariances.partly_shared or any(rows.map(_are_few, self._make_pass))):
            shape = self._covariances.shape(1, 1)
            rehearsals.append(partial(_steps_of_some, self._make_pass, rows.dtype, shape))
        return compiled_ahead(longest, *rehearsals)

    def kmeans_plusplus(self, rows, random_state):
        """Rows drawn by k-means++ are the only ones of their components."""
        return self._of_seeds(rows, self._starts.kmeans_plusplus(rows, random_state))

    def random_from_data(self, rows, random_state):
        """Rows drawn at random are the only ones of their components."""
        return self._of_seeds(rows, self._starts.random_rows(rows, random_state))

    def random(self, rows, random_state):
        """Each row's responsibilities are random."""
        centers = np.tile(self._starts.center(rows), (self._n_components, 1))
        tied = self._covariances.tied
        states = _states(rows, random_state, self._n_components)
        found = rows.map(_from_random, self._make_pass, tied, centers, states)
        random_state.set_state(found[-1][1].get_state(legacy=False))
        return reduce(add, [statistics for statistics, _ in found]), centers

    def pooled(self, rows, random_state):
        """Clusters of K-means in the metric of their covariance, of a sample of many rows."""
        sample = Sample.of(rows, max(_POOLED_ROWS, 100 * self._n_components), random_state)
        return self._of_sample(sample, kmeans_clusters(sample, self._n_components, random_state))

    def ward(self, rows, random_state):
        """Clusters of Ward's hierarchy of sphered rows, of a sample of many rows."""
        sample = Sample.of(rows, max(_WARD_ROWS, 2 * self._n_components), random_state)
        return self._of_sample(sample, ward_clusters(sample, self._n_components))

    def _of_sample(self, sample, labels):
        centers = sample.means(labels, self._n_components)
        return self._make_pass(sample.X, sample.weight).from_labels(labels, centers), centers

    def _of_seeds(self, rows, indices):
        # Whatever a seed's weight: of a row that is repeated, one copy is drawn.
        centers = rows.take(indices).astype(np.float64)
        if self._noisy:
            scatter = self._pooled_covariance(rows)
            tied = self._covariances.tied
            scatter = len(centers) * scatter if tied else np.repeat(scatter, len(centers), axis=0)
        elif self._covariances.tied:
            # scikit-learn's estimate is the second moment of all rows, not only of the seeds. Of
            # weighted rows it is that of as many rows, whatever the weights' unit; a seed takes
            # away no more than its row has put there, which leaves no negative variances.
            total, scatter = rows.reduce(_second_moment, self._make_pass)
            unit = total / rows.reduce(count_positive)
            own = np.minimum(_weights_at(rows, indices) / unit, 1.0)[:, np.newaxis]
            scatter = scatter / unit - self._covariances.products(0.5 * own * centers, centers)
        elif self._pooled:
            scatter = np.repeat(self._pooled_covariance(rows), len(centers), axis=0)
        else:
            scatter = np.zeros(self._covariances.shape(*centers.shape))
        statistics = GaussianStatistics(
            0.0, np.ones(len(centers)), np.zeros(centers.shape), scatter
        )
        return statistics, centers

    def _pooled_covariance(self, rows):
        """That of all rows, as the only one in a stack of scatters of one row."""
        center = self._starts.center(rows)[np.newaxis]
        _, counts, sums, scatter, _ = rows.reduce(_of_all, self._make_pass, center)
        delta = sums / counts[:, np.newaxis]
        return (scatter - self._covariances.products(0.5 * sums, delta)) / counts.sum()


def _sums_of_some(make_pass, dtype):
    rows = make_pass(np.zeros((64, 1), dtype), None, n_components=1)
    rows.from_labels(np.zeros(64, np.int32), np.zeros((1, 1)))


def _are_few(part, make_pass):
    return pass_of(part, make_pass).few


def _steps_of_some(make_pass, dtype, shape):
    rows = make_pass(np.zeros((64, 1), dtype), None, n_components=1)
    parameters = np.ones(1), np.zeros((1, 1)), np.ones(shape), np.ones(shape)
    rows.advance(parameters, False, Rules(1, *np.ones(9)))


def _states(rows, random_state, n_components):
    """The random stream where each part's rows begin."""
    offsets = rows.map(_offset)
    ahead = deepcopy(random_state)
    states = {offsets[0]: random_state}
    for offset, following in pairwise(offsets):
        for start in range(offset * n_components, following * n_components, _BLOCK_SIZE):
            ahead.random_sample(min(_BLOCK_SIZE, following * n_components - start))
        states[following] = deepcopy(ahead)
    return states


# The steps that run where the rows are.


def _offset(part):
    return part.offset


def _from_labels(part, make_pass, centers):
    return pass_of(part, make_pass).from_labels(take_clusters(part), centers)


def _from_random(part, make_pass, tied, centers, states):
    """Statistics of responsibilities from scikit-learn's random stream, block by block.

    And the stream behind these rows.
    """
    random_state = deepcopy(states[part.offset])
    n_components = len(centers)
    size = max(_BLOCK_SIZE // n_components, 1024)
    blocks = []
    for start in range(0, part.n_rows, size):
        X = part.X[start : start + size]
        responsibilities = random_state.uniform(size=(len(X), n_components)).astype(X.dtype)
        responsibilities /= responsibilities.sum(axis=1)[:, np.newaxis]
        weights = responsibilities.T.astype(np.float64, order="C")  # as kernels take them
        if part.sample_weight is not None:
            weights *= part.sample_weight[start : start + size]
        # Rows with weights that belong to a single component.
        passes = [make_pass(X, weight, n_components=1) for weight in weights]
        labels = np.zeros(len(X), np.int32)
        statistics = [
            one.from_labels(labels, center[np.newaxis])
            for one, center in zip(passes, centers, strict=True)
        ]
        _, counts, sums, scatter, _ = zip(*statistics, strict=True)
        scatter = sum(scatter) if tied else np.concatenate(scatter)
        blocks.append(
            GaussianStatistics(0.0, np.concatenate(counts), np.concatenate(sums), scatter)
        )
    return reduce(add, blocks), random_state


def _of_all(part, make_pass, center):
    rows = make_pass(part.X, part.sample_weight, n_components=1)
    return rows.from_labels(np.zeros(part.n_rows, np.int32), center)


def _second_moment(part, make_pass):
    _, counts, _, scatter, _ = _of_all(part, make_pass, np.zeros((1, part.X.shape[1])))
    return counts.sum(), scatter


def _weights_at(rows, indices):
    """The weights of rows, by their index among all."""
    weights = np.ones(len(indices))
    for places, values in rows.map(_take_weights, np.asarray(indices)):
        weights[places] = values
    return weights


def _take_weights(part, indices):
    local = indices - part.offset
    places = np.flatnonzero((local >= 0) & (local < part.n_rows))
    return places, 1.0 if part.sample_weight is None else part.sample_weight[local[places]]
