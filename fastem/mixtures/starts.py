"""Where any mixture may start: the clusters of K-means, rows at random."""

from hashlib import sha256

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from fastem.clustering.euclidean.frame import measure_spread
from fastem.clustering.euclidean.model import KMeansModel
from fastem.clustering.euclidean.seeding import (
    STRATEGIES,
    greedy_kmeans_plusplus,
    plusplus_indices,
)
from fastem.clustering.labels import LABELS, labels_of
from fastem.clustering.seeding import FEW_ROWS
from fastem.kernels.kmeans import choose
from fastem.loop.fit import fit
from fastem.mixtures.memory import is_shared, remembered
from fastem.rows import Part
from fastem.rows.choice import choose_rows
from fastem.warning import warn_user

# scikit-learn's defaults for KMeans.
_KMEANS_ITERATIONS, _KMEANS_TOL = 300, 1e-4


class Starts:
    """The starts of several runs over the same rows, which share what they learn of these.

    Parameters
    ----------
    n_components : int
    """

    def __init__(self, n_components: int):
        self._n_components = n_components
        self._spread = None

    def kmeans(self, rows, random_state):
        """The centres of K-means; each part keeps its rows' clusters for :func:`take_clusters`."""
        if not is_shared(rows):
            return self._kmeans(rows, random_state)
        centers, clusters = _clusters(rows, self._n_components, random_state, starts=self)
        for part, labels in zip(rows.parts, clusters, strict=True):
            part.keep(LABELS, labels.astype(np.int32))
        return centers

    def _kmeans(self, rows, random_state):
        rows, spread = self._in_range(rows)
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
            spread.factor,
        )
        run = fit(model, rows, max_iter=_KMEANS_ITERATIONS, random_state=random_state)
        return model.public(run.parameters).astype(np.float64)

    def warn_of_duplicates(self, counts):
        """As scikit-learn's K-means does, if some of its clusters have no rows."""
        n_distinct = np.count_nonzero(counts)
        if n_distinct < self._n_components:
            warn_user(
                f"Number of distinct clusters ({n_distinct}) found smaller than "
                f"n_clusters ({self._n_components}). Possibly due to duplicate points in X.",
                ConvergenceWarning,
            )

    def kmeans_plusplus(self, rows, random_state):
        """The indices of rows drawn by k-means++."""
        rows, spread = self._in_range(rows)
        return plusplus_indices(rows, self._n_components, spread.frame, random_state)

    def random_rows(self, rows, random_state):
        """The indices of different rows drawn at random, by their weights if they have any."""
        if rows.weighted:
            return choose_rows(rows, random_state, self._n_components)
        return random_state.choice(rows.n_rows, size=self._n_components, replace=False)

    def center(self, rows):
        """The rows' mean, or what is near it."""
        _, spread = self._in_range(rows)
        return spread.frame.origin / spread.factor

    def _in_range(self, rows):
        """Rows whose squares neither overflow nor vanish, scaled for that if need be; their spread.

        What scaled rows keep is kept with the rows.
        """
        if self._spread is None:
            scaled, self._spread = measure_spread(rows)
            return scaled, self._spread
        return rows.scaled(self._spread.factor), self._spread


def take_clusters(part: Part) -> np.ndarray:
    """The clusters that K-means has left with a part, once."""
    labels = labels_of(part)
    part.drop(LABELS)
    return labels


@remembered
def _clusters(rows, n_components, random_state, *, starts):
    """The centres of K-means, and the parts' clusters in as few bytes as hold them."""
    centers = starts._kmeans(rows, random_state)
    dtype = np.min_scalar_type(n_components - 1)
    return centers, [labels.astype(dtype) for labels in rows.map(labels_of)]


def _digests(part):
    """A digest of each row, the same for equal ones: less memory than a copy of long rows."""
    # Zero has one sign then.
    return [sha256((row + part.X.dtype.type(0)).tobytes()).digest() for row in part.X]


def _seeds(rows, n_clusters, frame, random_state):
    """Where K-means starts.

    As scikit-learn draws, but from few rows that are weighted or repeated as KMeans draws: either
    way gives the same.
    """
    if rows.n_rows <= FEW_ROWS and not rows.weighted:
        digests = [digest for part in rows.map(_digests) for digest in part]
        if len(set(digests)) == rows.n_rows:
            return greedy_kmeans_plusplus(rows, n_clusters, frame, random_state)[0]
    return STRATEGIES["k-means++"](rows, n_clusters, frame, random_state)
