"""Greedy k-means++ over one part's CSR rows, in plain NumPy."""

import numpy as np

_CHUNK_ROWS = 4096


class SparseGreedySeeder:
    """The same as ``seeding.GreedySeeder``, for CSR rows.

    Parameters
    ----------
    X : CSR matrix of shape (n_rows, n_features), float32 or float64
    sample_weight : None or ndarray of shape (n_rows,), float64
    scale : float
        A power of two that the rows are multiplied by.
    """

    def __init__(self, X, sample_weight, scale):
        self.X, self.sample_weight, self._scale = X, sample_weight, scale
        self.closest = np.full(X.shape[0], np.inf)
        self._candidates = None

    def _chunks(self):
        for start in range(0, self.X.shape[0], _CHUNK_ROWS):
            chunk = slice(start, start + _CHUNK_ROWS)
            weights = 1.0 if self.sample_weight is None else self.sample_weight[chunk]
            yield chunk, weights

    def _distances(self, chunk, centers):
        rows = self.X[chunk].astype(np.float64) * self._scale
        products = np.asarray(rows @ centers.T)
        distances = np.einsum("ij,ij->i", centers, centers) - 2 * products
        distances += np.asarray(rows.multiply(rows).sum(axis=1)).reshape(-1, 1)
        return np.maximum(distances, 0, out=distances)

    def add(self, point):
        """Make a row a seed; returns the potential afterwards."""
        self.screen(point[np.newaxis])
        self.try_candidates(np.zeros(1, np.intp))
        return self.accept(0)

    def locate(self, values):
        """The first rows up to which the weighted squared distances sum to at least the values."""
        found = np.full(len(values), self.X.shape[0] - 1)
        running = 0.0
        for chunk, weights in self._chunks():
            cumulated = running + np.cumsum(self.closest[chunk] * weights)
            here = (values <= cumulated[-1]) & ((values > running) | (chunk.start == 0))
            found[here] = chunk.start + np.searchsorted(cumulated, values[here])
            running = cumulated[-1]
        return found

    def screen(self, candidates):
        """Bounds on how much the potential would fall if a candidate were the next seed: none."""
        self._points = candidates.astype(np.float64) * self._scale
        return np.array([np.zeros(len(candidates)), np.full(len(candidates), np.inf)])

    def try_candidates(self, kept):
        """The potential that a candidate would leave if it were the next seed."""
        self._candidates = self._points[kept]
        potentials = np.zeros(len(kept))
        for chunk, weights in self._chunks():
            distances = self._distances(chunk, self._candidates)
            np.minimum(distances, self.closest[chunk][:, np.newaxis], out=distances)
            potentials += (distances.T * weights).sum(axis=1)
        return potentials

    def accept(self, index):
        """Make ``kept[index]`` of those just tried a seed; returns the potential afterwards."""
        potential = 0.0
        for chunk, weights in self._chunks():
            distances = self._distances(chunk, self._candidates[index : index + 1])[:, 0]
            nearer = distances < self.closest[chunk]
            self.closest[chunk][nearer] = distances[nearer]
            potential += (self.closest[chunk] * weights).sum()
        return float(potential)
