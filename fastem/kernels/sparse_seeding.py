"""Greedy k-means++ over one part's CSR rows, in plain NumPy."""

import numpy as np

_CHUNK_ROWS = 4096


class SparseGreedySeeder:
    """The same as ``seeding.GreedySeeder``, for CSR rows.

    Parameters
    ----------
    X : CSR matrix of shape (n_rows, n_features), float32 or float64
    sample_weight : None or ndarray of shape (n_rows,), float64
    origin : ndarray of shape (n_features,), float64
        Zeros, as sparse rows can't be shifted.

    Attributes
    ----------
    labels : ndarray of shape (n_rows,), int32
        Each row's nearest seed, by the order of the calls.
    """

    def __init__(self, X, sample_weight, origin):
        self.X, self.sample_weight = X, sample_weight
        self.closest = np.full(X.shape[0], np.inf)
        self.labels = np.zeros(X.shape[0], np.int32)
        self._n_seeds = 0
        self._candidates = None

    def _chunks(self):
        for start in range(0, self.X.shape[0], _CHUNK_ROWS):
            chunk = slice(start, start + _CHUNK_ROWS)
            weights = 1.0 if self.sample_weight is None else self.sample_weight[chunk]
            yield chunk, weights

    def _distances(self, chunk, centers):
        rows = self.X[chunk].astype(np.float64)
        products = np.asarray(rows @ centers.T)
        distances = np.einsum("ij,ij->i", centers, centers) - 2 * products
        distances += np.asarray(rows.multiply(rows).sum(axis=1)).reshape(-1, 1)
        return np.maximum(distances, 0, out=distances)

    def add(self, center):
        """Make a row a seed; returns the sum of the weighted squared distances afterwards."""
        for chunk, _ in self._chunks():
            distances = self._distances(chunk, center[np.newaxis])[:, 0]
            nearer = distances < self.closest[chunk]
            self.closest[chunk][nearer] = distances[nearer]
            self.labels[chunk][nearer] = self._n_seeds
        self._n_seeds += 1
        return float(self.chunk_potentials().sum())

    def chunk_potentials(self):
        """The sum of the weighted squared distances, chunk by chunk."""
        return np.array([(self.closest[c] * weights).sum() for c, weights in self._chunks()])

    def locate(self, value):
        """The first row up to which the weighted squared distances sum to at least ``value``."""
        running = 0.0
        for chunk, weights in self._chunks():
            cumulated = running + np.cumsum(self.closest[chunk] * weights)
            if cumulated[-1] >= value:
                return chunk.start + int(np.searchsorted(cumulated, value))
            running = cumulated[-1]
        return self.X.shape[0] - 1

    def try_candidates(self, candidates):
        """For each candidate, what :meth:`add` would return."""
        self._candidates = candidates
        potentials = np.zeros(len(candidates))
        for chunk, weights in self._chunks():
            distances = self._distances(chunk, candidates)
            np.minimum(distances, self.closest[chunk][:, np.newaxis], out=distances)
            potentials += (distances.T * weights).sum(axis=1)
        return potentials

    def accept(self, index):
        """Make one of the candidates just tried a seed."""
        self.add(self._candidates[index])
