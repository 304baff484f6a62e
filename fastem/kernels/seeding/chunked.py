"""What the seeders share that compare all rows with the candidates, chunk by chunk."""

from abc import abstractmethod

import numpy as np

from fastem.kernels.runtime.arrays import as_weights
from fastem.kernels.seeding.base import Seeder, no_bounds


class ChunkedSeeder(Seeder):
    """A :class:`Seeder` of rows of any kind, by any distance.

    Parameters
    ----------
    n_rows : int
    sample_weight : None or ndarray of shape (n_rows,), float64
    chunk_rows, n_chunks : int
        How the rows are split.
    dtype : dtype
        Of the distances.
    """

    def __init__(self, n_rows, sample_weight, chunk_rows, n_chunks, dtype):
        self._weight = as_weights(sample_weight)
        self._chunk_rows, self._n_chunks = chunk_rows, n_chunks
        self._closest = np.full(n_rows, np.inf, dtype)

    def add(self, point):
        self._ends = np.cumsum(self._compare(point[np.newaxis], True)[0])
        return float(self._ends[-1])

    def screen(self, candidates):
        self._points = candidates
        return no_bounds(len(candidates))

    def try_candidates(self, kept):
        self._kept = kept
        return np.cumsum(self._compare(self._points[kept], False), axis=1)[:, -1]

    def accept(self, index):
        return self.add(self._points[self._kept[index]])

    def locate(self, values):
        chunks = np.minimum(np.searchsorted(self._ends, values), self._n_chunks - 1)
        found = np.empty(len(values), int)
        for i, (chunk, value) in enumerate(zip(chunks, values, strict=True)):
            rows = slice(chunk * self._chunk_rows, (chunk + 1) * self._chunk_rows)
            distances = self._closest[rows].astype(np.float64)
            if len(self._weight):
                distances *= self._weight[rows]
            cumulated = np.cumsum(distances)
            before = self._ends[chunk - 1] if chunk > 0 else 0.0
            # What rounding has lost is looked for at the chunk's end.
            wanted = min(value - before, cumulated[-1])
            found[i] = rows.start + np.searchsorted(cumulated, wanted)
        return found

    @abstractmethod
    def _compare(self, points, settle):
        """Each chunk's potential if a point were a seed, (n_points, n_chunks).

        With ``settle`` the first point becomes one.
        """
