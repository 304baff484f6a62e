"""Where Gaussian mixtures start: the statistics that the first M-step works with.

Every start is a method of :class:`Starts` named as in ``init_params`` and returns
``GaussianStatistics`` about the centres that it returns with them.
"""

import warnings
from collections.abc import Callable
from contextlib import contextmanager
from functools import reduce
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from fastem.clustering.euclidean.frame import measure
from fastem.clustering.euclidean.seeding import STRATEGIES, greedy_kmeans_plusplus
from fastem.clustering.kmeans import KMeansModel
from fastem.clustering.seeding import FEW_ROWS
from fastem.kernels.gaussian import GaussianStatistics
from fastem.kernels.kmeans import choose
from fastem.loop.fit import fit
from fastem.mixtures.gaussian.covariances import Covariances
from fastem.rows import add
from fastem.rows.choice import choose_rows

# scikit-learn's defaults for KMeans.
_KMEANS_ITERATIONS, _KMEANS_TOL = 300, 1e-4
# Responsibilities in a block.
_BLOCK_SIZE = 1 << 20


class Starts:
    """The starts of several runs over the same rows, which share what they learn of these.

    Parameters
    ----------
    make_pass : callable
        As for :class:`fastem.mixtures.base.MixtureModel`, and takes ``n_components``.
    n_components : int
    covariances : Covariances
    """

    def __init__(self, make_pass: Callable, n_components: int, covariances: Covariances):
        self._make_pass = make_pass
        self._n_components = n_components
        self._covariances = covariances
        self._spread = None

    def __call__(
        self, init_params: str, rows: Any, random_state: np.random.RandomState
    ) -> tuple[GaussianStatistics, np.ndarray]:
        """A start of this name."""
        start = {
            "kmeans": self.kmeans,
            "k-means++": self.kmeans_plusplus,
            "random": self.random,
            "random_from_data": self.random_from_data,
        }[init_params]
        return start(rows, random_state)

    def kmeans(self, rows, random_state):
        """Each row belongs to its cluster of K-means."""
        with self._in_range(rows) as spread:
            algorithm = choose(
                "auto", rows.n_rows, rows.n_features, self._n_components, rows.dtype, rows.sparse
            )
            model = KMeansModel(
                _seeds,
                self._n_components,
                algorithm,
                spread.frame,
                rows.dtype,
                _KMEANS_TOL * spread.variance,
                spread.squares,
            )
            run = fit(model, rows, max_iter=_KMEANS_ITERATIONS, random_state=random_state)
            centers = model.public(run.parameters).astype(np.float64) / spread.factor
        statistics = rows.reduce(_from_labels, self._make_pass, centers)
        n_distinct = np.count_nonzero(statistics.counts)
        if n_distinct < self._n_components:
            warnings.warn(
                f"Number of distinct clusters ({n_distinct}) found smaller than "
                f"n_clusters ({self._n_components}). Possibly due to duplicate points in X.",
                ConvergenceWarning,
                stacklevel=2,
            )
        return statistics, centers

    def kmeans_plusplus(self, rows, random_state):
        """Rows drawn by k-means++ are the only ones of their components."""
        with self._in_range(rows) as spread:
            indices = greedy_kmeans_plusplus(rows, self._n_components, spread.frame, random_state)[
                1
            ]
        return self._of_seeds(rows, indices)

    def random_from_data(self, rows, random_state):
        """Rows drawn at random are the only ones of their components."""
        if rows.weighted:
            indices = choose_rows(rows, random_state, self._n_components)
        else:
            indices = random_state.choice(rows.n_rows, size=self._n_components, replace=False)
        return self._of_seeds(rows, indices)

    def random(self, rows, random_state):
        """Each row's responsibilities are random."""
        with self._in_range(rows) as spread:
            center = spread.frame.origin / spread.factor
        centers = np.tile(center, (self._n_components, 1))
        tied = self._covariances.tied
        statistics = rows.reduce(_from_random, self._make_pass, tied, centers, random_state)
        return statistics, centers

    @contextmanager
    def _in_range(self, rows):
        """Rows whose squares neither overflow nor vanish, and their spread."""
        rows.map(_remember)
        try:
            if self._spread is None:
                self._spread = measure(rows)
            elif self._spread.factor != 1.0:
                rows.map(_scale, self._spread.factor)
            yield self._spread
        finally:
            rows.map(_restore)

    def _of_seeds(self, rows, indices):
        # Whatever a seed's weight: of a row that is repeated, one copy is drawn.
        centers = rows.take(indices).astype(np.float64)
        if self._covariances.tied:
            # scikit-learn's estimate is the second moment of all rows, not only of the seeds.
            scatter = rows.reduce(_second_moment, self._make_pass)
            scatter = scatter - self._covariances.products(0.5 * centers, centers)
        else:
            scatter = np.zeros(self._covariances.shape(*centers.shape))
        statistics = GaussianStatistics(
            0.0, np.ones(len(centers)), np.zeros(centers.shape), scatter
        )
        return statistics, centers


def _seeds(rows, n_clusters, frame, random_state):
    """Where K-means starts.

    As scikit-learn draws, but from few rows that are weighted or repeated as KMeans draws: either
    way gives the same.
    """
    if rows.n_rows <= FEW_ROWS and not rows.weighted:
        distinct = np.unique(rows.take(np.arange(rows.n_rows)), axis=0)
        if len(distinct) == rows.n_rows:
            return greedy_kmeans_plusplus(rows, n_clusters, frame, random_state)[0]
    return STRATEGIES["k-means++"](rows, n_clusters, frame, random_state)


# The steps that run where the rows are.


def _remember(part):
    part.state["rows"] = part.X


def _scale(part, factor):
    part.X = part.X * factor


def _restore(part):
    part.X = part.state.pop("rows")


def _from_labels(part, make_pass, centers):
    if "mixture" not in part.state:
        part.state["mixture"] = make_pass(part.X, part.sample_weight)
    return part.state["mixture"].from_labels(part.state.pop("labels"), centers)


def _from_random(part, make_pass, tied, centers, random_state):
    """Statistics of responsibilities from scikit-learn's random stream, block by block."""
    n_components = len(centers)
    size = max(_BLOCK_SIZE // n_components, 1024)
    blocks = []
    for start in range(0, part.n_rows, size):
        X = part.X[start : start + size]
        responsibilities = random_state.uniform(size=(len(X), n_components)).astype(X.dtype)
        responsibilities /= responsibilities.sum(axis=1)[:, np.newaxis]
        weights = responsibilities.T.astype(np.float64)
        if part.sample_weight is not None:
            weights *= part.sample_weight[start : start + size]
        # Rows with weights that belong to a single component.
        passes = [make_pass(X, weight, n_components=1) for weight in weights]
        labels = np.zeros(len(X), np.int32)
        statistics = [
            one.from_labels(labels, center[np.newaxis])
            for one, center in zip(passes, centers, strict=True)
        ]
        _, counts, sums, scatter = zip(*statistics, strict=True)
        scatter = sum(scatter) if tied else np.concatenate(scatter)
        blocks.append(
            GaussianStatistics(0.0, np.concatenate(counts), np.concatenate(sums), scatter)
        )
    return reduce(add, blocks)


def _second_moment(part, make_pass):
    rows = make_pass(part.X, part.sample_weight, n_components=1)
    origin = np.zeros((1, part.X.shape[1]))
    return rows.from_labels(np.zeros(part.n_rows, np.int32), origin).scatter
