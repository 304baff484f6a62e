"""Greedy k-means++ over one part's rows."""

import numpy as np

_CHUNK_ROWS = 4096


class GreedySeeder:
    """Each row's squared distance to the nearest of the seeds so far, times its weight.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features), float32 or float64, C-contiguous, or CSR matrix
    sample_weight : None or ndarray of shape (n_rows,), float64
    origin : ndarray of shape (n_features,), float64
        Seeds and candidates are relative to it.

    Attributes
    ----------
    labels : ndarray of shape (n_rows,), int32
        Each row's nearest seed, by the order of the calls.
    """

    def __init__(self, X, sample_weight, origin):
        self.X, self.sample_weight, self.origin = X, sample_weight, origin
        self.closest = np.full(X.shape[0], np.inf)
        self.labels = np.zeros(X.shape[0], np.int32)
        self.n_seeds = 0
        self.candidates = None

    def _chunks(self):
        for start in range(0, self.X.shape[0], _CHUNK_ROWS):
            yield slice(start, start + _CHUNK_ROWS)

    def _distances(self, chunk, centers):
        x = self.X[chunk]
        x = (x.toarray() if hasattr(x, "toarray") else x) - self.origin
        distances = np.einsum("ij,ij->i", centers, centers)[:, None] - 2 * (centers @ x.T)
        distances += np.einsum("ij,ij->i", x, x)
        return np.maximum(distances, 0, out=distances)

    def _weighted(self, chunk, distances):
        return distances if self.sample_weight is None else distances * self.sample_weight[chunk]

    def add(self, center):
        """Make a row a seed; returns the sum of the weighted squared distances afterwards."""
        for chunk in self._chunks():
            distances = self._distances(chunk, center[np.newaxis])[0]
            nearer = distances < self.closest[chunk]
            self.closest[chunk][nearer] = distances[nearer]
            self.labels[chunk][nearer] = self.n_seeds
        self.n_seeds += 1
        return float(self.chunk_potentials().sum())

    def chunk_potentials(self):
        """The sum of the weighted squared distances, chunk by chunk."""
        return np.array([self._weighted(c, self.closest[c]).sum() for c in self._chunks()])

    def locate(self, value):
        """The first row up to which the weighted squared distances sum to at least ``value``."""
        running = 0.0
        for chunk in self._chunks():
            cumulated = running + np.cumsum(self._weighted(chunk, self.closest[chunk]))
            if cumulated[-1] >= value:
                return chunk.start + int(np.searchsorted(cumulated, value))
            running = cumulated[-1]
        return self.X.shape[0] - 1

    def try_candidates(self, candidates):
        """For each candidate, what :meth:`add` would return."""
        self.candidates = candidates
        potentials = np.zeros(len(candidates))
        for chunk in self._chunks():
            distances = np.minimum(self._distances(chunk, candidates), self.closest[chunk])
            potentials += self._weighted(chunk, distances).sum(axis=1)
        return potentials

    def accept(self, index):
        """Make one of the candidates just tried a seed."""
        self.add(self.candidates[index])
